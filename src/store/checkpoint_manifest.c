#include "store/checkpoint_manifest.h"

#include "base/file.h"
#include "store/checkpoint_folder.h"
#include "store/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* 17 digits bring every double back. */
static const size_t COMPACT = JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17);
static const size_t READABLE = JSON_INDENT(1) | JSON_REAL_PRECISION(17);

static mr_status no_memory(const char *path)
{
    return mr_fail(MR_ERR_MEMORY, "%s: cannot allocate the manifest", path);
}

/* Hashes all fields of a manifest that has no field sha256 yet, or no more. */
static mr_status hash_fields(const char *path, const json_t *root, char out[MR_HASH_TEXT])
{
    char *text = json_dumps(root, COMPACT);
    if (!text) return no_memory(path);
    mr_hash *hash = NULL;
    mr_status status = mr_hash_create(&hash);
    if (status == MR_OK) {
        mr_hash_add(hash, text, strlen(text));
        mr_hash_finish(&hash, out);
    }
    free(text);
    return status;
}

static json_t *make_arrays(const mr_checkpoint_slab *slabs, int count)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        mr_json_append(&list, json_pack("{s:s, s:I}", "name", slabs[i].name, "extent",
                                        (json_int_t)slabs[i].extent));
    return list;
}

static json_t *make_files(const mr_manifest_file *files, int64_t ranks)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < ranks; i++) {
        char name[MR_CHECKPOINT_NAME];
        mr_checkpoint_shard_name(i, ranks, name);
        mr_json_append(&list, json_pack("{s:s, s:I, s:s}", "name", name, "bytes",
                                        (json_int_t)files[i].bytes, "sha256", files[i].sha256));
    }
    return list;
}

mr_status mr_manifest_write(const char *path, int64_t step, json_t *state,
                            const mr_checkpoint_slab *slabs, int count,
                            const mr_manifest_file *files, int64_t ranks)
{
    char *text = NULL, sha256[MR_HASH_TEXT];
    mr_status status = MR_OK;
    json_t *root = json_pack("{s:s, s:i, s:I, s:I, s:O, s:o, s:o}", "format", MR_CHECKPOINT_FORMAT,
                             "version", MR_CHECKPOINT_VERSION, "step", (json_int_t)step, "ranks",
                             (json_int_t)ranks, "state", state, "arrays", make_arrays(slabs, count),
                             "files", make_files(files, ranks));
    if (!root) return no_memory(path);
    status = hash_fields(path, root, sha256);
    if (status == MR_OK && json_object_set_new(root, "sha256", json_string(sha256)) != 0)
        status = no_memory(path);
    if (status == MR_OK && !(text = json_dumps(root, READABLE))) status = no_memory(path);
    if (status == MR_OK && text) status = mr_file_write(path, text, strlen(text));
    free(text);
    json_decref(root);
    return status;
}

static mr_status get_text(const char *path, const json_t *object, const char *key, const char **out)
{
    const json_t *value = json_object_get(object, key);
    MR_CHECK(json_is_string(value), MR_ERR_FORMAT, "%s: %s: expected a string, found %s", path, key,
             mr_json_kind(value));
    *out = json_string_value(value);
    return MR_OK;
}

static mr_status get_count(const char *path, const json_t *object, const char *key, int64_t lowest,
                           int64_t *out)
{
    const json_t *value = json_object_get(object, key);
    MR_CHECK(json_is_integer(value), MR_ERR_FORMAT, "%s: %s: expected a whole number, found %s",
             path, key, mr_json_kind(value));
    *out = json_integer_value(value);
    MR_CHECK(*out >= lowest, MR_ERR_FORMAT, "%s: %s: expected %" PRId64 " or more, found %" PRId64,
             path, key, lowest, *out);
    return MR_OK;
}

static mr_status get_list(const char *path, const json_t *object, const char *key, json_t **out)
{
    *out = json_object_get(object, key);
    MR_CHECK(json_is_array(*out), MR_ERR_FORMAT, "%s: %s: expected a list, found %s", path, key,
             mr_json_kind(*out));
    return MR_OK;
}

static mr_status check_format(const char *path, const json_t *root)
{
    const char *format = "";
    int64_t version = 0;
    MR_TRY(get_text(path, root, "format", &format));
    MR_CHECK(strcmp(format, MR_CHECKPOINT_FORMAT) == 0, MR_ERR_FORMAT,
             "%s: format: expected '%s', found '%.64s'", path, MR_CHECKPOINT_FORMAT, format);
    MR_TRY(get_count(path, root, "version", 0, &version));
    MR_CHECK(version == MR_CHECKPOINT_VERSION, MR_ERR_FORMAT,
             "%s: version: expected %d, found %" PRId64 ": written by another version of mora",
             path, MR_CHECKPOINT_VERSION, version);
    return MR_OK;
}

static mr_status check_hash(const char *path, json_t *root)
{
    const char *text = "";
    char stated[MR_HASH_TEXT], found[MR_HASH_TEXT];
    MR_TRY(get_text(path, root, "sha256", &text));
    MR_CHECK(strlen(text) == MR_HASH_TEXT - 1, MR_ERR_FORMAT,
             "%s: sha256: expected %d hexadecimal digits", path, MR_HASH_TEXT - 1);
    memcpy(stated, text, sizeof stated);
    json_object_del(root, "sha256");
    MR_TRY(hash_fields(path, root, found));
    MR_CHECK(strcmp(stated, found) == 0, MR_ERR_FORMAT, "%s: checksum differs", path);
    return MR_OK;
}

static mr_status read_arrays(const char *path, mr_manifest *manifest)
{
    json_t *list;
    MR_TRY(get_list(path, manifest->root, "arrays", &list));
    manifest->array = mr_alloc_array(MR_MEM_OTHER, json_array_size(list), sizeof *manifest->array);
    if (!manifest->array) return MR_ERR_MEMORY;
    manifest->arrays = (int64_t)json_array_size(list);
    for (int64_t i = 0; i < manifest->arrays; i++) {
        const json_t *item = json_array_get(list, (size_t)i);
        mr_manifest_array *array = &manifest->array[i];
        MR_TRY(get_text(path, item, "name", &array->name));
        MR_TRY(get_count(path, item, "extent", 0, &array->extent));
        MR_CHECK(array->extent <= INT64_MAX / (int64_t)sizeof(float), MR_ERR_FORMAT,
                 "%s: extent: %" PRId64 " is too large", path, array->extent);
    }
    return MR_OK;
}

static mr_status read_files(const char *path, mr_manifest *manifest)
{
    json_t *list;
    MR_TRY(get_list(path, manifest->root, "files", &list));
    MR_CHECK(json_array_size(list) == (size_t)manifest->ranks, MR_ERR_FORMAT,
             "%s: files: expected %" PRId64 " for as many ranks, found %zu", path, manifest->ranks,
             json_array_size(list));
    manifest->file = mr_alloc_array(MR_MEM_OTHER, json_array_size(list), sizeof *manifest->file);
    if (!manifest->file) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < manifest->ranks; i++) {
        const json_t *item = json_array_get(list, (size_t)i);
        const char *name = "", *sha256 = "";
        char expected[MR_CHECKPOINT_NAME];
        mr_checkpoint_shard_name(i, manifest->ranks, expected);
        MR_TRY(get_text(path, item, "name", &name));
        MR_CHECK(strcmp(name, expected) == 0, MR_ERR_FORMAT,
                 "%s: files: expected '%s', found '%.64s'", path, expected, name);
        MR_TRY(get_count(path, item, "bytes", 0, &manifest->file[i].bytes));
        MR_TRY(get_text(path, item, "sha256", &sha256));
        MR_CHECK(strlen(sha256) == MR_HASH_TEXT - 1, MR_ERR_FORMAT,
                 "%s: files: %s: expected a SHA-256 of %d digits", path, name, MR_HASH_TEXT - 1);
        memcpy(manifest->file[i].sha256, sha256, MR_HASH_TEXT);
    }
    return MR_OK;
}

static mr_status read_fields(const char *path, mr_manifest *manifest)
{
    MR_TRY(check_format(path, manifest->root));
    MR_TRY(check_hash(path, manifest->root));
    MR_TRY(get_count(path, manifest->root, "step", 0, &manifest->step));
    MR_TRY(get_count(path, manifest->root, "ranks", 1, &manifest->ranks));
    manifest->state = json_object_get(manifest->root, "state");
    MR_CHECK(json_is_object(manifest->state), MR_ERR_FORMAT,
             "%s: state: expected an object, found %s", path, mr_json_kind(manifest->state));
    MR_TRY(read_arrays(path, manifest));
    return read_files(path, manifest);
}

mr_status mr_manifest_parse(const char *path, const char *text, size_t bytes, mr_manifest *manifest)
{
    *manifest = (mr_manifest){0};
    json_error_t error;
    manifest->root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    MR_CHECK(manifest->root, MR_ERR_FORMAT, "%s:%d:%d: %s", path, error.line, error.column,
             error.text);
    mr_status status = read_fields(path, manifest);
    if (status != MR_OK) mr_manifest_free(manifest);
    return status;
}

void mr_manifest_free(mr_manifest *manifest)
{
    if (manifest->root) json_decref(manifest->root);
    mr_free(manifest->array);
    mr_free(manifest->file);
    *manifest = (mr_manifest){0};
}
