/* The files of a set. */

#include "base/file.h"
#include "corpus/compressed.h"
#include "corpus/documents.h"
#include "eval/set_impl.h"
#include "store/json.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

/* JSON. */

static mr_status read_documents(mr_set_reader *reader, mr_documents *documents)
{
    for (;;) {
        mr_document d;
        MR_TRY(mr_documents_next(documents, &d));
        if (!d.text && !d.faulty) return MR_OK;
        const mr_set_record place = {.file = reader->path, .line = d.line};
        if (d.faulty) return mr_set_fail(&place, "%s", d.what);
        if (d.blank) continue;
        if (reader->set->reading == MR_READ_CONVERSATIONS)
            MR_TRY(mr_set_add_conversation(reader, d.record, d.line));
        else
            MR_TRY(mr_set_add_record(reader, json_incref((json_t *)(uintptr_t)d.record), d.line));
    }
}

/* A file of one object, over several lines, or of an object of objects. */
static mr_status read_object(mr_set_reader *reader)
{
    mr_text text = {0};
    json_error_t error = {.line = -1};
    mr_set_record place = {.file = reader->path};
    const bool keyed = reader->set->reading == MR_READ_KEYED;
    const char *key;
    json_t *value;
    MR_TRY(mr_set_read_all(reader->path, &text));
    json_t *root =
        json_loadb(mr_text_get(&text), text.length,
                   JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL | JSON_REJECT_DUPLICATES, &error);
    mr_text_free(&text);
    place.line = root ? 1 : error.line;
    mr_status status = root ? MR_OK : mr_set_fail(&place, "cannot read JSON: %s", error.text);
    if (root && !json_is_object(root))
        status = mr_set_fail(&place, "expected an object, found %s", mr_json_kind(root));
    if (status == MR_OK && !keyed) status = mr_set_add_record(reader, json_incref(root), 1);
    place.line = 0;
    if (status == MR_OK && keyed) {
        json_object_foreach(root, key, value)
        {
            if (!json_is_object(value))
                status = mr_set_fail(&place, "expected an object under \"%.64s\", found %s", key,
                                     mr_json_kind(value));
            if (status == MR_OK)
                status = json_object_set_new(value, "@key", json_string(key)) == 0 ? MR_OK
                                                                                   : MR_ERR_MEMORY;
            if (status == MR_OK) status = mr_set_add_record(reader, json_incref(value), 0);
            if (status != MR_OK) break;
        }
    }
    json_decref(root);
    return status;
}

static mr_status read_json(mr_set_reader *reader)
{
    enum { LONGEST = 64 << 20 };
    mr_lines_place place = {.path = reader->path, .longest = LONGEST};
    mr_input_format format;
    mr_documents *documents;
    MR_TRY(mr_compressed_probe(reader->path, &place.compressed));
    MR_TRY(mr_documents_probe(reader->path, place.compressed, false, &format));
    if (format == MR_INPUT_TEXT) return read_object(reader);
    MR_TRY(mr_documents_open(&place, format, &documents));
    mr_status status = read_documents(reader, documents);
    mr_documents_close(&documents);
    return status;
}

static mr_status read_file(mr_set_reader *reader)
{
    switch ((mr_set_reading)reader->set->reading) {
    case MR_READ_JSON:
    case MR_READ_CONVERSATIONS:
        return read_json(reader);
    case MR_READ_KEYED:
        return read_object(reader);
    case MR_READ_CSV:
        return mr_set_read_table(reader, ',');
    case MR_READ_TSV:
        return mr_set_read_table(reader, '\t');
    case MR_READ_LINES:
        return mr_set_read_lines(reader);
    case MR_READ_ABSTRACTS:
        return mr_set_read_abstracts(reader);
    case MR_READ_CONLL:
        return mr_set_read_conll(reader);
    }
    return MR_OK;
}

/* Files. */

/* What stands in a path from the first * of the pattern that it matches to the last; "" without
 * one. */
static void find_stem(const char *pattern, const char *path, char out[PATH_MAX])
{
    const char *star = strchr(pattern, '*'), *last = strrchr(pattern, '*');
    out[0] = '\0';
    if (!star) return;
    const char *start = star, *at = path + strlen(path);
    while (start > pattern && start[-1] != '/')
        start--;
    /* As many steps of the path, from its end, as the pattern has from the star's on. */
    int steps = 1;
    for (const char *c = start; *c != '\0'; c++)
        steps += *c == '/';
    while (at > path && (at[-1] != '/' || --steps > 0))
        at--;
    at += star - start;
    const size_t behind = strlen(last + 1);
    size_t length = strlen(at);
    /* .xz and its like may stand behind what the pattern names. */
    for (; behind > 0 && length >= behind; length--)
        if (memcmp(at + length - behind, last + 1, behind) == 0) break;
    length -= length >= behind ? behind : 0;
    snprintf(out, PATH_MAX, "%.*s", (int)length, at);
}

/* Finds the files of a pattern below a folder. @param found  for globfree where *any */
static mr_status find_files(const char *data, const char *pattern, glob_t *found, bool *any)
{
    static const char *const endings[] = {"", ".xz", ".gz", ".zst"};
    char full[PATH_MAX];
    mr_text folder = {0};
    for (const char *c = data; *c != '\0'; c++)
        mr_text_add(&folder, "%s%c", strchr("*?[\\", *c) ? "\\" : "", *c);
    mr_status status = folder.failed ? MR_ERR_MEMORY : MR_OK;
    *any = false;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0] && status == MR_OK && !*any; i++) {
        status = mr_file_path(full, "%s/%s%s", mr_text_get(&folder), pattern, endings[i]);
        if (status != MR_OK) break;
        const int failed = glob(full, 0, NULL, found);
        *any = failed == 0;
        if (failed == GLOB_NOSPACE) status = MR_ERR_MEMORY;
        if (failed) globfree(found);
    }
    mr_text_free(&folder);
    return status;
}

/* What is done with a file that a pattern found. */
typedef mr_status act(void *context, const char *pattern, const char *path);

static mr_status read_found(void *context, const char *pattern, const char *path)
{
    mr_set *set = context;
    char stem[PATH_MAX];
    mr_set_reader reader = {.set = set, .stem = stem};
    reader.path = mr_texts_keep(&set->files, path);
    if (!reader.path) return MR_ERR_MEMORY;
    find_stem(pattern, reader.path, stem);
    const int64_t before = set->records;
    MR_TRY(read_file(&reader));
    MR_CHECK(reader.row > 0 || set->records > before, MR_ERR_FORMAT, "%s: there is no record in it",
             reader.path);
    return MR_OK;
}

static mr_status hash_found(void *context, const char *pattern, const char *path)
{
    (void)pattern;
    mr_text text = {0};
    mr_status status = mr_set_read_all(path, &text);
    if (status == MR_OK) mr_hash_add(context, &text.length, sizeof text.length);
    if (status == MR_OK) mr_hash_add(context, mr_text_get(&text), text.length);
    mr_text_free(&text);
    return status;
}

/* Goes through the files of all patterns of a choice, or of none where one has no files. */
static mr_status walk_choice(const char *data, const mr_set_texts *choice, act *do_it,
                             void *context, bool *any)
{
    glob_t found;
    *any = true;
    for (int i = 0; i < choice->count && *any; i++) {
        MR_TRY(find_files(data, choice->item[i], &found, any));
        if (*any) globfree(&found);
    }
    for (int i = 0; i < choice->count && *any; i++) {
        MR_TRY(find_files(data, choice->item[i], &found, any));
        mr_status status = MR_OK;
        for (size_t f = 0; *any && f < found.gl_pathc && status == MR_OK; f++)
            status = do_it(context, choice->item[i], found.gl_pathv[f]);
        if (*any) globfree(&found);
        MR_TRY(status);
    }
    return MR_OK;
}

static mr_status walk_place(const mr_set *set, const char *data, const mr_set_place *place,
                            act *do_it, void *context)
{
    bool any = false;
    for (int c = 0; c < place->choices && !any; c++)
        MR_TRY(walk_choice(data, &place->choice[c], do_it, context, &any));
    if (any) return MR_OK;
    mr_text sought = {0};
    for (int c = 0; c < place->choices; c++)
        for (int i = 0; i < place->choice[c].count; i++)
            mr_text_add(&sought, "%s%s",
                        i > 0   ? " with "
                        : c > 0 ? ", "
                                : "",
                        place->choice[c].item[i]);
    mr_status status = mr_fail(MR_ERR_IO, "set %s: '%s' has none of its files: %s", set->name, data,
                               mr_text_get(&sought));
    mr_text_free(&sought);
    return status;
}

mr_status mr_set_read(mr_set *set, const char *data)
{
    MR_INVARIANT(set->records == 0);
    MR_TRY(mr_grow(MR_MEM_DATA, &set->class_name, &set->class_room, set->classes.count + 1,
                   sizeof *set->class_name));
    for (int c = 0; c < set->classes.count; c++) {
        set->class_name[c] = mr_strdup(set->classes.item[c]);
        if (!set->class_name[c]) return MR_ERR_MEMORY;
        set->class_count++;
    }
    MR_TRY(walk_place(set, data, &set->items_from, read_found, set));
    const int64_t items = set->records;
    MR_CHECK(items > 0, MR_ERR_FORMAT, "set %s: its files hold no item", set->name);
    if (set->shots.count > 0 && set->shots.from.choices > 0)
        MR_TRY(walk_place(set, data, &set->shots.from, read_found, set));
    return mr_set_choose(set, items);
}

mr_status mr_set_hash_files(const mr_set *set, const char *data, mr_hash *hash)
{
    MR_TRY(walk_place(set, data, &set->items_from, hash_found, hash));
    if (set->shots.count == 0 || set->shots.from.choices == 0) return MR_OK;
    return walk_place(set, data, &set->shots.from, hash_found, hash);
}
