#include "store/checkpoint_manifest.h"

#include "store/checkpoint_folder.h"
#include "store/checkpoint_shard.h"
#include "store/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* 17 digits bring every double back. */
static const size_t COMPACT = JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17);

static mr_status no_memory(const char *path)
{
    return mr_fail(MR_ERR_MEMORY, "%s: cannot allocate the manifest", path);
}

/* Hashes all fields of a manifest that has no field sha256 yet, or no more. */
static mr_status hash_fields(const char *path, const json_t *root, char out[MR_HASH_TEXT])
{
    char *text = json_dumps(root, COMPACT);
    if (!text) return no_memory(path);
    mr_status status = mr_hash_bytes(text, strlen(text), out);
    free(text);
    return status;
}

static json_t *make_tensor(const mr_checkpoint_slab *slab)
{
    json_t *shape = json_array();
    for (int d = 0; d < slab->dims; d++)
        mr_json_append(&shape, json_integer((json_int_t)slab->shape[d]));
    return json_pack("{s:s, s:s, s:o, s:i, s:[]}", "name", slab->name, "dtype",
                     mr_safetensors_dtype_name(slab->dtype), "shape", shape, "first_file", 0,
                     "ends");
}

/* A file between that holds nothing ends where the one before it does. Returns false without
 * memory. */
static bool add_part(json_t *tensor, const mr_manifest_part *part)
{
    json_t *ends = json_object_get(tensor, "ends"), *first = json_object_get(tensor, "first_file");
    bool added = json_array_size(ends) > 0 || json_integer_set(first, part->file) == 0;
    while (added && json_integer_value(first) + (json_int_t)json_array_size(ends) < part->file)
        added = json_array_append_new(ends, json_integer((json_int_t)part->begin)) == 0;
    return added && json_array_append_new(ends, json_integer((json_int_t)part->end)) == 0;
}

static json_t *make_tensors(const mr_checkpoint_slab *slabs, int count,
                            const mr_manifest_part *parts, int64_t n_parts)
{
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        mr_json_append(&list, make_tensor(&slabs[i]));
    for (int64_t i = 0; i < n_parts && list; i++)
        if (!add_part(json_array_get(list, (size_t)parts[i].tensor), &parts[i])) {
            json_decref(list);
            list = NULL;
        }
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
                            const mr_manifest_part *parts, int64_t n_parts,
                            const mr_manifest_file *files, int64_t ranks)
{
    char sha256[MR_HASH_TEXT];
    json_t *root = json_pack(
        "{s:s, s:i, s:I, s:I, s:O, s:o, s:o}", "format", MR_CHECKPOINT_FORMAT, "version",
        MR_CHECKPOINT_VERSION, "step", (json_int_t)step, "ranks", (json_int_t)ranks, "state", state,
        "tensors", make_tensors(slabs, count, parts, n_parts), "files", make_files(files, ranks));
    if (!root) return no_memory(path);
    mr_status status = hash_fields(path, root, sha256);
    if (status == MR_OK && json_object_set_new(root, "sha256", json_string(sha256)) != 0)
        status = no_memory(path);
    if (status == MR_OK) status = mr_json_write(path, root);
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

/* A manifest of another version is another program's only where it is whole. */
static mr_status check_format(const char *path, json_t *root)
{
    const char *format = "";
    int64_t version = 0;
    MR_TRY(get_text(path, root, "format", &format));
    MR_CHECK(strcmp(format, MR_CHECKPOINT_FORMAT) == 0, MR_ERR_FORMAT,
             "%s: format: expected '%s', found '%.64s'", path, MR_CHECKPOINT_FORMAT, format);
    MR_TRY(get_count(path, root, "version", 0, &version));
    MR_TRY(check_hash(path, root));
    MR_CHECK(version == MR_CHECKPOINT_VERSION, MR_ERR_ARG,
             "%s: version: expected %d, found %" PRId64 "%s: the version of mora that wrote it can "
             "go on from it",
             path, MR_CHECKPOINT_VERSION, version, version == 1 ? " (shards in HDF5)" : "");
    return MR_OK;
}

static mr_status read_shape(const char *path, const json_t *item, mr_manifest_tensor *tensor)
{
    json_t *shape;
    MR_TRY(get_list(path, item, "shape", &shape));
    tensor->dims = (int)json_array_size(shape);
    bool sound = json_array_size(shape) <= MR_SAFETENSORS_DIMS;
    for (int d = 0; d < tensor->dims && sound; d++) {
        const json_t *extent = json_array_get(shape, (size_t)d);
        sound = json_is_integer(extent);
        tensor->shape[d] = json_integer_value(extent);
    }
    MR_CHECK(sound && mr_checkpoint_extent(tensor->dims, tensor->shape, &tensor->extent),
             MR_ERR_FORMAT, "%s: tensor %.64s: its shape is none", path, tensor->name);
    return MR_OK;
}

/* Reads where the parts of a tensor end, to ends, and checks that they cover it. */
static mr_status read_ends(const char *path, const mr_manifest *manifest, const json_t *item,
                           mr_manifest_tensor *tensor, int64_t *ends)
{
    json_t *list;
    MR_TRY(get_list(path, item, "ends", &list));
    MR_TRY(get_count(path, item, "first_file", 0, &tensor->first_file));
    tensor->files = (int64_t)json_array_size(list);
    tensor->end = ends;
    int64_t at = 0;
    bool sound =
        tensor->files <= manifest->ranks && tensor->first_file <= manifest->ranks - tensor->files;
    for (int64_t i = 0; i < tensor->files && sound; i++) {
        const json_t *end = json_array_get(list, (size_t)i);
        ends[i] = json_integer_value(end);
        sound = json_is_integer(end) && ends[i] >= at;
        at = ends[i];
    }
    MR_CHECK(sound && at == tensor->extent, MR_ERR_FORMAT,
             "%s: tensor %.64s: its parts do not cover its %" PRId64 " elements in order", path,
             tensor->name, tensor->extent);
    return MR_OK;
}

static int compare_names(const void *a, const void *b)
{
    const mr_manifest_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static mr_status sort_by_name(const char *path, mr_manifest *manifest)
{
    size_t count = (size_t)manifest->tensors;
    for (size_t i = 0; i < count; i++)
        manifest->by_name[i] = &manifest->tensor[i];
    qsort(manifest->by_name, count, sizeof(mr_manifest_tensor *), compare_names);
    for (size_t i = 1; i < count; i++)
        MR_CHECK(compare_names(&manifest->by_name[i - 1], &manifest->by_name[i]) != 0,
                 MR_ERR_FORMAT, "%s: tensor %.64s stands twice", path, manifest->by_name[i]->name);
    return MR_OK;
}

static mr_status read_tensors(const char *path, mr_manifest *manifest)
{
    json_t *list, *item;
    size_t i, all = 0;
    MR_TRY(get_list(path, manifest->root, "tensors", &list));
    size_t count = json_array_size(list);
    json_array_foreach(list, i, item) all += json_array_size(json_object_get(item, "ends"));
    manifest->tensor = mr_alloc_array(MR_MEM_OTHER, count, sizeof *manifest->tensor);
    manifest->by_name = mr_alloc_array(MR_MEM_OTHER, count, sizeof(mr_manifest_tensor *));
    manifest->end = mr_alloc_array(MR_MEM_OTHER, all, sizeof *manifest->end);
    if (!manifest->tensor || !manifest->by_name || !manifest->end) return MR_ERR_MEMORY;
    manifest->tensors = (int64_t)count;
    all = 0;
    json_array_foreach(list, i, item)
    {
        mr_manifest_tensor *tensor = &manifest->tensor[i];
        MR_TRY(get_text(path, item, "name", &tensor->name));
        MR_CHECK(strlen(tensor->name) < MR_CHECKPOINT_TENSOR, MR_ERR_FORMAT,
                 "%s: tensor %.64s...: its name is too long", path, tensor->name);
        MR_TRY(get_text(path, item, "dtype", &tensor->dtype));
        MR_TRY(read_shape(path, item, tensor));
        MR_TRY(read_ends(path, manifest, item, tensor, manifest->end + all));
        all += (size_t)tensor->files;
    }
    return sort_by_name(path, manifest);
}

const mr_manifest_tensor *mr_manifest_find(const mr_manifest *manifest, const char *name)
{
    const mr_manifest_tensor key = {.name = name}, *wanted = &key;
    const mr_manifest_tensor **found =
        bsearch(&wanted, manifest->by_name, (size_t)manifest->tensors, sizeof(mr_manifest_tensor *),
                compare_names);
    return found ? *found : NULL;
}

bool mr_manifest_part_in(const mr_manifest_tensor *tensor, int64_t file, int64_t *begin,
                         int64_t *end)
{
    int64_t i = file - tensor->first_file;
    if (i < 0 || i >= tensor->files) return false;
    *begin = i > 0 ? tensor->end[i - 1] : 0;
    *end = tensor->end[i];
    return *begin < *end;
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
    MR_TRY(get_count(path, manifest->root, "step", 0, &manifest->step));
    MR_TRY(get_count(path, manifest->root, "ranks", 1, &manifest->ranks));
    manifest->state = json_object_get(manifest->root, "state");
    MR_CHECK(json_is_object(manifest->state), MR_ERR_FORMAT,
             "%s: state: expected an object, found %s", path, mr_json_kind(manifest->state));
    MR_TRY(read_files(path, manifest));
    return read_tensors(path, manifest);
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
    mr_free(manifest->tensor);
    mr_free(manifest->by_name);
    mr_free(manifest->end);
    mr_free(manifest->file);
    *manifest = (mr_manifest){0};
}
