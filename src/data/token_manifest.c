#include "data/token_manifest.h"

#include "store/json.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char file_name[] = "manifest.json";
static const char *const split_names[MR_SPLITS] = {"train", "heldout"};
static const char *const policy_names[] = {"error", "skip"};
static const char *const documents_names[] = {"lines", "file"};
static const char *const dtype_names[] = {[2] = "uint16", [4] = "uint32"};
static const char plain[] = "plain"; /* text with EOS behind, all of it learned */
static const char *const learned_names[] = {"all", "marked"};
static const char shard_ending[] = ".bin", index_ending[] = ".idx";

enum { ENDING = sizeof shard_ending - 1 };

const char *mr_split_name(mr_split split)
{
    return split_names[split];
}

const char *mr_learned_name(bool marked)
{
    return learned_names[marked];
}

static int token_bytes_of(int32_t vocabulary, bool marked)
{
    enum { TWO_BYTES = 1 << 16 }; /* ids that two bytes tell apart */
    return vocabulary <= (marked ? TWO_BYTES / 2 : TWO_BYTES) ? 2 : 4;
}

mr_token_document mr_token_document_of(const uint8_t *learned, int64_t count)
{
    const uint32_t tokens = (uint32_t)count;
    mr_token_document d = {.tokens = tokens};
    MR_INVARIANT(count > 0 && count == (int64_t)tokens);
    if (!learned)
        return (mr_token_document){.tokens = tokens, .learned = tokens, .behind_learned = tokens};
    for (uint32_t i = 0; i < tokens; i++) {
        if (!learned[i]) continue;
        if (d.learned++ == 0) d.first_learned = i;
        d.behind_learned = i + 1;
    }
    if (d.learned == 0) d.first_learned = tokens;
    return d;
}

void mr_token_totals_add(mr_token_totals *totals, mr_token_document document)
{
    totals->documents++;
    totals->tokens += document.tokens;
    totals->learned += document.learned;
    totals->none_learned += document.learned == 0;
    totals->all_learned += document.learned == document.tokens;
}

static bool is_shard_name(const char *path)
{
    const size_t length = strlen(path);
    return length > ENDING && strcmp(path + length - ENDING, shard_ending) == 0;
}

mr_status mr_token_index_path(char out[PATH_MAX], const char *shard)
{
    MR_INVARIANT(is_shard_name(shard));
    return mr_file_path(out, "%.*s%s", (int)strlen(shard) - ENDING, shard, index_ending);
}

void mr_token_manifest_set_origin(mr_token_manifest *manifest, const mr_tokenizer *tokenizer,
                                  const mr_template *template)
{
    snprintf(manifest->template_name, sizeof manifest->template_name, "%s",
             template ? mr_template_name(template) : plain);
    snprintf(manifest->template_hash, sizeof manifest->template_hash, "%s",
             template ? mr_template_hash(template) : "");
    manifest->marked = template != NULL;
    manifest->end = tokenizer->eos;
    manifest->end_learned = true;
    if (template) manifest->end = mr_template_end(template, &manifest->end_learned);
    memcpy(manifest->tokenizer, tokenizer->name, sizeof manifest->tokenizer);
    memcpy(manifest->tokenizer_hash, tokenizer->hash, sizeof manifest->tokenizer_hash);
    manifest->vocabulary = tokenizer->vocabulary;
    manifest->eos = tokenizer->eos;
    manifest->token_bytes = token_bytes_of(tokenizer->vocabulary, manifest->marked);
}

/* Writing. A part that could not be made is NULL, which the whole then is too. */

static json_t *inputs_json(const mr_token_manifest *m)
{
    json_t *list = json_array();
    for (int i = 0; i < m->inputs; i++) {
        const mr_token_manifest_input *in = &m->input[i];
        mr_json_append(&list, json_pack("{s:s, s:s, s:I, s:s, s:I, s:I, s:I}", "path", in->path,
                                        "format", mr_input_format_names[in->format], "bytes",
                                        (json_int_t)in->bytes, "sha256", in->sha256, "documents",
                                        (json_int_t)in->documents, "tokens", (json_int_t)in->tokens,
                                        "errors", (json_int_t)in->errors));
    }
    return list;
}

static json_t *shards_json(const mr_token_manifest *m)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < m->shards; i++) {
        const mr_token_manifest_shard *shard = &m->shard[i];
        mr_json_append(&list,
                       json_pack("{s:s, s:s, s:I, s:I, s:s, s:s}", "file", shard->file, "split",
                                 split_names[shard->split], "tokens", (json_int_t)shard->tokens,
                                 "documents", (json_int_t)shard->documents, "sha256", shard->sha256,
                                 "index_sha256", shard->index_sha256));
    }
    return list;
}

json_t *mr_token_totals_json(const mr_token_totals *split)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "documents", (json_int_t)split->documents,
                     "tokens", (json_int_t)split->tokens, "bytes", (json_int_t)split->bytes,
                     "learned", (json_int_t)split->learned, "none_learned",
                     (json_int_t)split->none_learned, "all_learned",
                     (json_int_t)split->all_learned);
}

static json_t *totals_json(const mr_token_manifest *m)
{
    return json_pack("{s:o, s:o}", split_names[MR_SPLIT_TRAIN],
                     mr_token_totals_json(&m->split[MR_SPLIT_TRAIN]), split_names[MR_SPLIT_HELDOUT],
                     mr_token_totals_json(&m->split[MR_SPLIT_HELDOUT]));
}

json_t *mr_token_errors_json(const mr_token_manifest *m)
{
    json_t *errors = json_object();
    for (int f = 0; f < MR_FAULTS; f++)
        if (json_object_set_new(errors, mr_fault_name((mr_fault)f),
                                json_integer((json_int_t)m->errors[f]))) {
            json_decref(errors);
            return NULL;
        }
    return errors;
}

mr_status mr_token_manifest_write(const mr_token_manifest *m, const char *folder)
{
    char path[PATH_MAX];
    MR_TRY(mr_file_path(path, "%s/%s", folder, file_name));
    json_t *tokenizer =
        json_pack("{s:s, s:s, s:i, s:i}", "name", m->tokenizer, "sha256", m->tokenizer_hash,
                  "vocabulary", (int)m->vocabulary, "eos", (int)m->eos);
    json_t *settings = json_pack("{s:s, s:s, s:s, s:f, s:I}", "field", m->recipe.field, "documents",
                                 documents_names[m->recipe.documents], "on_error",
                                 policy_names[m->recipe.on_error], "heldout", m->recipe.heldout,
                                 "unit_bytes", (json_int_t)m->recipe.unit_bytes);
    json_t *root = json_pack(
        "{s:s, s:i, s:o, s:s, s:{s:s, s:s, s:i, s:b}, s:s, s:o, s:o, s:o, s:o, s:o}", "format",
        MR_TOKEN_MANIFEST_FORMAT, "version", (int)MR_TOKEN_MANIFEST_VERSION, "tokenizer", tokenizer,
        "dtype", dtype_names[m->token_bytes], "template", "name", m->template_name, "sha256",
        m->template_hash, "end", (int)m->end, "end_learned", m->end_learned, "learned",
        learned_names[m->marked], "settings", settings, "splits", totals_json(m), "errors",
        mr_token_errors_json(m), "inputs", inputs_json(m), "shards", shards_json(m));
    mr_status status = mr_json_write(path, root);
    json_decref(root);
    return status;
}

/* Reading. */

/* The place of a name in a table, or -1. */
static int find_name(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (names[i] && strcmp(names[i], name) == 0) return i;
    return -1;
}

static mr_status read_name(const char *path, const char *what, const char *const *names, int count,
                           const char *name, int *out)
{
    *out = find_name(names, count, name);
    MR_CHECK(*out >= 0, MR_ERR_FORMAT, "%s: %s: unknown value \"%.100s\"", path, what, name);
    return MR_OK;
}

static mr_status read_text(const char *path, const char *what, const char *text, char *out,
                           size_t room)
{
    size_t length = strlen(text);
    MR_CHECK(length < room, MR_ERR_FORMAT, "%s: %s: more than %zu bytes", path, what, room - 1);
    memcpy(out, text, length + 1);
    return MR_OK;
}

static mr_status read_hash(const char *path, const char *what, const char *text,
                           char out[MR_HASH_TEXT])
{
    MR_CHECK(strlen(text) == MR_HASH_TEXT - 1 &&
                 strspn(text, "0123456789abcdef") == MR_HASH_TEXT - 1,
             MR_ERR_FORMAT, "%s: %s: expected 64 hexadecimal digits, found \"%.100s\"", path, what,
             text);
    memcpy(out, text, MR_HASH_TEXT);
    return MR_OK;
}

/* Counts add up without overflow: each is below 2^62 and so is the sum of what was added before. */
static mr_status read_count(const char *path, const char *what, json_int_t value, int64_t *out)
{
    MR_CHECK(value >= 0 && value < (json_int_t)1 << 62, MR_ERR_FORMAT,
             "%s: %s: expected a count, found %lld", path, what, (long long)value);
    *out = (int64_t)value;
    return MR_OK;
}

static mr_status unpack_failed(const char *path, const char *what, const json_error_t *error)
{
    return mr_fail(MR_ERR_FORMAT, "%s: %s: %s", path, what, error->text);
}

static mr_status read_tokenizer(const char *path, json_t *root, mr_token_manifest *m)
{
    const char *name, *hash;
    json_int_t vocabulary, eos;
    json_error_t error;
    if (json_unpack_ex(root, &error, 0, "{s:{s:s, s:s, s:I, s:I}}", "tokenizer", "name", &name,
                       "sha256", &hash, "vocabulary", &vocabulary, "eos", &eos) != 0)
        return unpack_failed(path, "tokenizer", &error);
    MR_TRY(read_text(path, "tokenizer.name", name, m->tokenizer, sizeof m->tokenizer));
    if (hash[0] != '\0') MR_TRY(read_hash(path, "tokenizer.sha256", hash, m->tokenizer_hash));
    MR_CHECK(vocabulary > 0 && vocabulary <= INT32_MAX && eos >= 0 && eos < vocabulary,
             MR_ERR_FORMAT, "%s: tokenizer: eos %lld does not fit a vocabulary of %lld", path,
             (long long)eos, (long long)vocabulary);
    m->vocabulary = (int32_t)vocabulary;
    m->eos = (int32_t)eos;
    return MR_OK;
}

static mr_status read_dtype(const char *path, json_t *root, mr_token_manifest *m)
{
    const char *dtype;
    json_error_t error;
    if (json_unpack_ex(root, &error, 0, "{s:s}", "dtype", &dtype) != 0)
        return unpack_failed(path, "dtype", &error);
    m->token_bytes = token_bytes_of(m->vocabulary, m->marked);
    MR_CHECK(strcmp(dtype, dtype_names[m->token_bytes]) == 0, MR_ERR_FORMAT,
             "%s: dtype: expected %s for a vocabulary of %d, found \"%.100s\"", path,
             dtype_names[m->token_bytes], m->vocabulary, dtype);
    return MR_OK;
}

/* Folders of version 1 are plain text. */
static mr_status read_template(const char *path, json_t *root, mr_token_manifest *m)
{
    const char *name = plain, *hash = "", *learned = learned_names[false];
    int marked, end_learned = true;
    json_int_t end = m->eos;
    json_error_t error;
    if (m->version > 1 && json_unpack_ex(root, &error, 0, "{s:{s:s, s:s, s:I, s:b}, s:s}",
                                         "template", "name", &name, "sha256", &hash, "end", &end,
                                         "end_learned", &end_learned, "learned", &learned) != 0)
        return unpack_failed(path, "template", &error);
    MR_CHECK(end >= -1 && end < m->vocabulary, MR_ERR_FORMAT,
             "%s: template.end: %lld does not fit a vocabulary of %d", path, (long long)end,
             m->vocabulary);
    m->end = (int32_t)end;
    m->end_learned = end_learned != 0;
    MR_TRY(read_text(path, "template.name", name, m->template_name, sizeof m->template_name));
    if (hash[0] != '\0') MR_TRY(read_hash(path, "template.sha256", hash, m->template_hash));
    MR_TRY(read_name(path, "learned", learned_names, 2, learned, &marked));
    m->marked = marked == 1;
    return read_dtype(path, root, m);
}

static mr_status read_settings(const char *path, json_t *root, mr_recipe *out)
{
    const char *field, *documents, *policy;
    int documents_are, on_error;
    json_int_t unit_bytes;
    json_error_t error;
    if (json_unpack_ex(root, &error, 0, "{s:{s:s, s:s, s:s, s:F, s:I}}", "settings", "field",
                       &field, "documents", &documents, "on_error", &policy, "heldout",
                       &out->heldout, "unit_bytes", &unit_bytes) != 0)
        return unpack_failed(path, "settings", &error);
    MR_TRY(read_text(path, "settings.field", field, out->field, sizeof out->field));
    MR_TRY(read_name(path, "settings.documents", documents_names, 2, documents, &documents_are));
    MR_TRY(read_name(path, "settings.on_error", policy_names, 2, policy, &on_error));
    MR_TRY(read_count(path, "settings.unit_bytes", unit_bytes, &out->unit_bytes));
    MR_CHECK(out->heldout >= 0 && out->heldout < 1, MR_ERR_FORMAT,
             "%s: settings.heldout: expected a share of 0 to below 1, found %g", path,
             out->heldout);
    out->documents = (mr_documents_are)documents_are;
    out->on_error = (mr_fault_policy)on_error;
    return MR_OK;
}

static mr_status read_split(const char *path, json_t *root, const mr_token_manifest *m,
                            const char *name, mr_token_totals *out)
{
    json_int_t documents, tokens, bytes, learned, none, all;
    json_error_t error;
    if (json_unpack_ex(root, &error, 0, "{s:{s:{s:I, s:I, s:I}}}", "splits", name, "documents",
                       &documents, "tokens", &tokens, "bytes", &bytes) != 0)
        return unpack_failed(path, name, &error);
    learned = tokens;
    none = 0;
    all = documents;
    if (m->version > 1 &&
        json_unpack_ex(root, &error, 0, "{s:{s:{s:I, s:I, s:I}}}", "splits", name, "learned",
                       &learned, "none_learned", &none, "all_learned", &all) != 0)
        return unpack_failed(path, name, &error);
    MR_TRY(read_count(path, "documents", documents, &out->documents));
    MR_TRY(read_count(path, "tokens", tokens, &out->tokens));
    MR_TRY(read_count(path, "bytes", bytes, &out->bytes));
    MR_TRY(read_count(path, "learned", learned, &out->learned));
    MR_TRY(read_count(path, "none_learned", none, &out->none_learned));
    MR_TRY(read_count(path, "all_learned", all, &out->all_learned));
    return MR_OK;
}

static mr_status read_totals(const char *path, json_t *root, mr_token_manifest *m)
{
    json_error_t error;
    for (int s = 0; s < MR_SPLITS; s++)
        MR_TRY(read_split(path, root, m, split_names[s], &m->split[s]));
    for (int f = 0; f < MR_FAULTS; f++) {
        json_int_t count = 0; /* of a fault that was not known when the folder was made */
        const char *form = f >= MR_FAULT_LONG ? "{s:{s?I}}" : "{s:{s:I}}";
        if (json_unpack_ex(root, &error, 0, form, "errors", mr_fault_name((mr_fault)f), &count) !=
            0)
            return unpack_failed(path, "errors", &error);
        MR_TRY(read_count(path, "errors", count, &m->errors[f]));
    }
    return MR_OK;
}

static mr_status read_input(const char *path, json_t *from, mr_token_manifest_input *out)
{
    const char *name, *format, *hash;
    int number;
    json_int_t bytes, documents, tokens, errors;
    json_error_t error;
    if (json_unpack_ex(from, &error, 0, "{s:s, s:s, s:I, s:s, s:I, s:I, s:I}", "path", &name,
                       "format", &format, "bytes", &bytes, "sha256", &hash, "documents", &documents,
                       "tokens", &tokens, "errors", &errors) != 0)
        return unpack_failed(path, "inputs", &error);
    MR_TRY(read_name(path, "inputs", mr_input_format_names, MR_INPUTS, format, &number));
    MR_CHECK(number != MR_INPUT_AUTO, MR_ERR_FORMAT, "%s: inputs: format: not known for \"%.200s\"",
             path, name);
    MR_TRY(read_hash(path, "inputs", hash, out->sha256));
    MR_TRY(read_count(path, "inputs", bytes, &out->bytes));
    MR_TRY(read_count(path, "inputs", documents, &out->documents));
    MR_TRY(read_count(path, "inputs", tokens, &out->tokens));
    MR_TRY(read_count(path, "inputs", errors, &out->errors));
    out->format = (mr_input_format)number;
    out->path = mr_strdup(name);
    return out->path ? MR_OK : MR_ERR_MEMORY;
}

static mr_status read_inputs(const char *path, json_t *root, mr_token_manifest *m)
{
    json_t *list = json_object_get(root, "inputs");
    MR_CHECK(json_is_array(list), MR_ERR_FORMAT, "%s: inputs: expected a list, found %s", path,
             mr_json_kind(list));
    size_t count = json_array_size(list);
    m->input = mr_alloc_array(MR_MEM_DATA, count, sizeof *m->input);
    if (!m->input) return MR_ERR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        MR_TRY(read_input(path, json_array_get(list, i), &m->input[i]));
        m->inputs++;
    }
    return MR_OK;
}

/* A shard's name is opened as a file of the folder, so it must not lead out of it. */
static mr_status read_shard(const char *path, json_t *from, int version,
                            mr_token_manifest_shard *out)
{
    const char *file, *split, *hash, *index_hash;
    int number;
    json_int_t tokens, documents;
    json_error_t error;
    if (json_unpack_ex(from, &error, 0, "{s:s, s:s, s:I, s:s}", "file", &file, "split", &split,
                       "tokens", &tokens, "sha256", &hash) != 0)
        return unpack_failed(path, "shards", &error);
    MR_TRY(read_text(path, "shards", file, out->file, sizeof out->file));
    MR_CHECK(file[0] != '\0' && file[0] != '.' && !strchr(file, '/'), MR_ERR_FORMAT,
             "%s: shards: expected a file name, found \"%s\"", path, file);
    MR_TRY(read_name(path, file, split_names, MR_SPLITS, split, &number));
    MR_TRY(read_count(path, file, tokens, &out->tokens));
    MR_TRY(read_hash(path, file, hash, out->sha256));
    out->split = (mr_split)number;
    if (version == 1) return MR_OK;
    if (json_unpack_ex(from, &error, 0, "{s:I, s:s}", "documents", &documents, "index_sha256",
                       &index_hash) != 0)
        return unpack_failed(path, "shards", &error);
    MR_CHECK(is_shard_name(file), MR_ERR_FORMAT,
             "%s: shards: expected a file name that ends in %s, found \"%s\"", path, shard_ending,
             file);
    MR_TRY(read_count(path, file, documents, &out->documents));
    return read_hash(path, file, index_hash, out->index_sha256);
}

/* Holds the totals of a split against those of its shards, and against each other. */
static mr_status check_split(const char *path, const mr_token_manifest *m, mr_split split,
                             int64_t tokens, int64_t documents)
{
    const mr_token_totals *of = &m->split[split];
    MR_CHECK(tokens == of->tokens, MR_ERR_FORMAT,
             "%s: split %s: its shards have %lld tokens, the total is %lld", path,
             split_names[split], (long long)tokens, (long long)of->tokens);
    MR_CHECK(m->version == 1 || documents == of->documents, MR_ERR_FORMAT,
             "%s: split %s: its shards have %lld documents, the total is %lld", path,
             split_names[split], (long long)documents, (long long)of->documents);
    const bool fits =
        m->marked ? of->learned <= of->tokens && of->none_learned + of->all_learned <= of->documents
                  : of->learned == of->tokens && of->none_learned == 0 &&
                        of->all_learned == of->documents;
    MR_CHECK(fits, MR_ERR_FORMAT,
             "%s: split %s: %lld of %lld tokens learned, none in %lld and all in %lld of %lld "
             "documents, which does not fit learned \"%s\"",
             path, split_names[split], (long long)of->learned, (long long)of->tokens,
             (long long)of->none_learned, (long long)of->all_learned, (long long)of->documents,
             learned_names[m->marked]);
    return MR_OK;
}

static mr_status read_shards(const char *path, json_t *root, mr_token_manifest *m)
{
    json_t *list = json_object_get(root, "shards");
    MR_CHECK(json_is_array(list), MR_ERR_FORMAT, "%s: shards: expected a list, found %s", path,
             mr_json_kind(list));
    size_t count = json_array_size(list);
    int64_t tokens[MR_SPLITS] = {0}, documents[MR_SPLITS] = {0};
    m->shard = mr_alloc_array(MR_MEM_DATA, count, sizeof *m->shard);
    if (!m->shard) return MR_ERR_MEMORY;
    for (size_t i = 0; i < count; i++) {
        mr_token_manifest_shard *shard = &m->shard[i];
        MR_TRY(read_shard(path, json_array_get(list, i), m->version, shard));
        int64_t *sum = &tokens[shard->split];
        MR_TRY(read_count(path, shard->file, *sum + shard->tokens, sum));
        sum = &documents[shard->split];
        MR_TRY(read_count(path, shard->file, *sum + shard->documents, sum));
    }
    m->shards = (int64_t)count;
    for (int s = 0; s < MR_SPLITS; s++)
        MR_TRY(check_split(path, m, (mr_split)s, tokens[s], documents[s]));
    return MR_OK;
}

static mr_status read_root(const char *path, json_t *root, mr_token_manifest *m)
{
    const char *format;
    json_int_t version;
    json_error_t error;
    if (json_unpack_ex(root, &error, 0, "{s:s, s:I}", "format", &format, "version", &version) != 0)
        return unpack_failed(path, "format", &error);
    MR_CHECK(strcmp(format, MR_TOKEN_MANIFEST_FORMAT) == 0, MR_ERR_FORMAT,
             "%s: format: expected \"%s\", found \"%.100s\"", path, MR_TOKEN_MANIFEST_FORMAT,
             format);
    MR_CHECK(version >= 1 && version <= MR_TOKEN_MANIFEST_VERSION, MR_ERR_FORMAT,
             "%s: version: expected 1 to %d, found %lld", path, MR_TOKEN_MANIFEST_VERSION,
             (long long)version);
    m->version = (int)version;
    MR_TRY(read_tokenizer(path, root, m));
    MR_TRY(read_template(path, root, m));
    MR_TRY(read_settings(path, root, &m->recipe));
    MR_TRY(read_totals(path, root, m));
    MR_TRY(read_inputs(path, root, m));
    return read_shards(path, root, m);
}

mr_status mr_token_manifest_read(const char *folder, mr_token_manifest *out)
{
    char path[PATH_MAX];
    json_t *root;
    *out = (mr_token_manifest){.shards = 0};
    struct stat about;
    MR_CHECK(stat(folder, &about) != 0 || S_ISDIR(about.st_mode), MR_ERR_FORMAT,
             "'%s' is a file; expected a folder that `mora data prepare` makes of such", folder);
    MR_TRY(mr_file_path(path, "%s/%s", folder, file_name));
    MR_TRY(mr_json_read(path, &root));
    mr_status status = read_root(path, root, out);
    json_decref(root);
    return status;
}

void mr_token_manifest_free(mr_token_manifest *manifest)
{
    for (int i = 0; i < manifest->inputs; i++)
        mr_free(manifest->input[i].path);
    mr_free(manifest->input);
    mr_free(manifest->shard);
    *manifest = (mr_token_manifest){.shards = 0};
}
