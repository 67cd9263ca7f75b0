#include "config/matrix.h"

#include "base/hash.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A value of a key. */
typedef struct value {
    int key;
    int node;          /* -1: that of --set, which stands in the configuration already */
    const char *text;  /* as YAML: equal for equal values, and for no others */
    const char *piece; /* of the names of its runs, without the key */
} value;

/* One key of a block with its values. */
typedef struct dimension {
    int key;
    int first; /* of its values in matrix.values */
    int count;
    int64_t stride; /* runs of the block from one of its values to the next */
} dimension;

typedef struct block {
    int first; /* of its dimensions in matrix.dimensions */
    int count;
    int64_t first_run, runs;
} block;

/* What is known of a key over all blocks. */
typedef struct spread {
    int blocks;        /* that hold the key */
    const char *first; /* text of its first value; NULL before */
    bool varies;       /* the runs differ in it */
} spread;

struct mr_matrix {
    const mr_source *source;
    const mr_yaml *yaml;
    int node;
    dimension *dimensions;
    int dimension_count;
    value *values;
    int value_count;
    mr_texts texts; /* of the values */
    block *blocks;
    int block_count;
    spread *spreads; /* by key */
    int64_t runs;
    mr_config scratch; /* a value being read */
};

static mr_status fail_at(const mr_matrix *matrix, int node, const char *key, const char *what)
{
    return mr_source_fail_at(matrix->source, &matrix->yaml->nodes[node],
                             mr_fail(MR_ERR_CONFIG, "%s: %s", key, what));
}

/* Appends text with what does not belong in a file name replaced. */
static void add_safe(const char *text, mr_text *out)
{
    for (; *text; text++) {
        bool safe = isalnum((unsigned char)*text) || strchr("._+-", *text);
        mr_text_add(out, "%c", safe ? *text : *text == ',' ? '+' : '_');
    }
}

static bool is_run_name(int key)
{
    return strcmp(mr_schema_at(key)->key, "run.name") == 0;
}

static bool is_model_folder(int key)
{
    return strcmp(mr_schema_at(key)->key, "run.save_model") == 0;
}

/* Appends the value that config has of a key, as its texts. */
static mr_status add_value(mr_matrix *matrix, int key, int node, const mr_config *config)
{
    const mr_key *about = mr_schema_at(key);
    mr_text text = {0}, plain = {0}, piece = {0};
    mr_value_text(about, config, MR_VALUE_YAML, &text);
    mr_value_text(about, config, MR_VALUE_PLAIN, &plain);
    if (is_run_name(key))
        mr_text_add(&piece, "%s", mr_text_get(&plain));
    else
        add_safe(mr_text_get(&plain), &piece);
    bool failed = text.failed || plain.failed || piece.failed;
    value *one = &matrix->values[matrix->value_count++];
    *one = (value){.key = key,
                   .node = node,
                   .text = mr_texts_keep(&matrix->texts, mr_text_get(&text)),
                   .piece = mr_texts_keep(&matrix->texts, mr_text_get(&piece))};
    mr_text_free(&text);
    mr_text_free(&plain);
    mr_text_free(&piece);
    return failed || !one->text || !one->piece ? MR_ERR_MEMORY : MR_OK;
}

static mr_status take_value(mr_matrix *matrix, int key, int node)
{
    MR_TRY(mr_source_set(matrix->source, matrix->yaml, node, key, &matrix->scratch));
    MR_TRY(add_value(matrix, key, node, &matrix->scratch));
    const char *text = matrix->values[matrix->value_count - 1].text;
    spread *about = &matrix->spreads[key];
    if (!about->first) about->first = text;
    about->varies = about->varies || strcmp(about->first, text) != 0;
    return MR_OK;
}

/* Takes one key of a block: a value alone, or a list of values. */
static mr_status take_dimension(void *context, int key, int node)
{
    mr_matrix *matrix = context;
    const mr_key *about = mr_schema_at(key);
    const mr_yaml_node *nodes = matrix->yaml->nodes;
    dimension *one = &matrix->dimensions[matrix->dimension_count++];
    *one = (dimension){.key = key, .first = matrix->value_count};
    bool is_list = about->type == MR_KEY_STRINGS || about->type == MR_KEY_INTS;
    if (nodes[node].kind != MR_YAML_SEQUENCE) MR_TRY(take_value(matrix, key, node));
    for (int at = node + 1; at < nodes[node].end; at = nodes[at].end) {
        if (is_list && nodes[at].kind != MR_YAML_SEQUENCE)
            return fail_at(
                matrix, at, about->key,
                "each value of a list key in the matrix is a list itself: [[a, b], [c]]");
        MR_TRY(take_value(matrix, key, at));
    }
    one->count = matrix->value_count - one->first;
    if (one->count == 0)
        return fail_at(matrix, node, about->key, "a list of no values, so no runs");
    if (matrix->source->origins[key].set) {
        *one = (dimension){.key = key, .first = matrix->value_count, .count = 1};
        MR_TRY(add_value(matrix, key, -1, &matrix->source->config));
    }
    matrix->spreads[key].blocks++;
    matrix->blocks[matrix->block_count - 1].count++;
    return MR_OK;
}

static mr_status take_block(mr_matrix *matrix, int node, size_t prefix)
{
    block *one = &matrix->blocks[matrix->block_count++];
    *one = (block){.first = matrix->dimension_count, .first_run = matrix->runs, .runs = 1};
    MR_TRY(
        mr_source_each(matrix->source, matrix->yaml, node, prefix, NULL, take_dimension, matrix));
    for (int d = one->first + one->count - 1; d >= one->first; d--) {
        matrix->dimensions[d].stride = one->runs;
        one->runs *= matrix->dimensions[d].count;
        if (matrix->runs + one->runs > MR_CONFIG_RUNS) {
            char what[64];
            snprintf(what, sizeof what, "more than %d runs", (int)MR_CONFIG_RUNS);
            return fail_at(matrix, matrix->node, "matrix", what);
        }
    }
    matrix->runs += one->runs;
    return MR_OK;
}

static mr_status take_blocks(mr_matrix *matrix)
{
    const mr_yaml_node *nodes = matrix->yaml->nodes;
    int node = matrix->node;
    if (node < 0 || mr_yaml_is_null(&nodes[node])) {
        matrix->blocks[matrix->block_count++] = (block){.runs = 1};
        matrix->runs = 1;
        return MR_OK;
    }
    if (nodes[node].kind == MR_YAML_MAPPING) return take_block(matrix, node, strlen("matrix."));
    if (nodes[node].kind == MR_YAML_SCALAR)
        return fail_at(matrix, node, "matrix",
                       "expected a mapping of keys to values, or a list of such mappings");
    for (int at = node + 1; at < nodes[node].end; at = nodes[at].end) {
        if (nodes[at].kind != MR_YAML_MAPPING)
            return fail_at(matrix, at, "matrix", "expected a mapping of keys to values");
        MR_TRY(take_block(matrix, at, 0));
    }
    if (matrix->block_count == 0)
        return fail_at(matrix, node, "matrix", "a list of no mappings, so no runs");
    return MR_OK;
}

/* Runs differ in a key also where some blocks leave it as the file says. */
static mr_status compare_with_file(mr_matrix *matrix)
{
    for (int key = 0; key < mr_schema_count(); key++) {
        spread *about = &matrix->spreads[key];
        if (!about->first || about->blocks == matrix->block_count) continue;
        mr_text written = {0};
        mr_value_text(mr_schema_at(key), &matrix->source->written, MR_VALUE_YAML, &written);
        about->varies = about->varies || strcmp(about->first, mr_text_get(&written)) != 0;
        bool failed = written.failed;
        mr_text_free(&written);
        if (failed) return MR_ERR_MEMORY;
    }
    return MR_OK;
}

static int by_piece(const void *left, const void *right)
{
    const value *a = *(value *const *)left, *b = *(value *const *)right;
    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    int order = strcmp(a->piece, b->piece);
    if (order != 0) return order;
    return a < b ? -1 : a > b;
}

/* Values of one key may differ in characters alone that names cannot hold. The first of them in the
 * file has the plain name; a hash tells the others from it, whatever is added to the list later. */
static mr_status distinguish(mr_matrix *matrix)
{
    value **sorted = mr_alloc_array(MR_MEM_OTHER, (size_t)matrix->value_count + 1, sizeof(value *));
    if (!sorted) return MR_ERR_MEMORY;
    int count = matrix->value_count;
    for (int i = 0; i < count; i++)
        sorted[i] = &matrix->values[i];
    qsort(sorted, (size_t)count, sizeof(value *), by_piece);
    mr_status status = MR_OK;
    for (int first = 0, i = 1; i < count && status == MR_OK; i++) {
        const value *plain = sorted[first];
        value *other = sorted[i];
        if (other->key != plain->key || strcmp(other->piece, plain->piece) != 0) {
            first = i;
        } else if (strcmp(other->text, plain->text) != 0) {
            mr_text piece = {0};
            mr_text_add(
                &piece, "%s_%06x", other->piece,
                (unsigned)(mr_hash_fnv(MR_HASH_FNV, other->text, strlen(other->text)) & 0xffffff));
            other->piece = mr_texts_keep(&matrix->texts, mr_text_get(&piece));
            if (piece.failed || !other->piece) status = MR_ERR_MEMORY;
            mr_text_free(&piece);
        }
    }
    mr_free(sorted);
    return status;
}

/* One combination of the values of a block. */
typedef struct combination {
    const block *of;
    int64_t number; /* in its block */
} combination;

static combination combination_of(const mr_matrix *matrix, int run)
{
    MR_INVARIANT(run >= 0 && run < matrix->runs);
    int low = 0, high = matrix->block_count - 1; /* the last block that starts at or before it */
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        if (matrix->blocks[middle].first_run <= run)
            low = middle;
        else
            high = middle - 1;
    }
    const block *of = &matrix->blocks[low];
    return (combination){of, run - of->first_run};
}

static const value *value_in(const mr_matrix *matrix, combination one, int d)
{
    const dimension *of = &matrix->dimensions[d];
    return &matrix->values[of->first + (int)(one.number / of->stride % of->count)];
}

static void append(char out[MR_CONFIG_STRING], size_t *length, const char *text)
{
    size_t bytes = strlen(text);
    if (*length + bytes < MR_CONFIG_STRING) memcpy(out + *length, text, bytes);
    *length += bytes;
}

mr_status mr_matrix_name(const mr_matrix *matrix, int run, char out[MR_CONFIG_STRING])
{
    combination one = combination_of(matrix, run);
    const int first = one.of->first, end = one.of->first + one.of->count;
    const char *base = matrix->source->config.run.name;
    for (int d = first; d < end; d++)
        if (is_run_name(matrix->dimensions[d].key)) base = value_in(matrix, one, d)->piece;
    size_t length = 0;
    memset(out, 0, MR_CONFIG_STRING);
    append(out, &length, base);
    const char *separator = ".";
    for (int d = first; d < end; d++) {
        int key = matrix->dimensions[d].key;
        const char *path = mr_schema_at(key)->key;
        if (!matrix->spreads[key].varies || is_run_name(key)) continue;
        append(out, &length, separator);
        separator = "-";
        if (strcmp(path, "method.name") != 0) append(out, &length, strchr(path, '.') + 1);
        append(out, &length, value_in(matrix, one, d)->piece);
    }
    if (length < MR_CONFIG_STRING) return MR_OK;
    return fail_at(matrix, matrix->node, "run.name", "the name of a run has over 511 bytes");
}

/* Runs of a matrix that are given one folder for their models save them below it, each under its
 * name: in one place the last would be all that is left. */
static mr_status part_models(const mr_matrix *matrix, mr_config *out)
{
    char *folder = out->run.save_model;
    size_t length = strlen(folder);
    if (length == 0) return MR_OK;
    append(folder, &length, folder[length - 1] == '/' ? "" : "/");
    append(folder, &length, out->run.name);
    if (length < sizeof out->run.save_model) return MR_OK;
    return fail_at(matrix, matrix->node, "run.save_model",
                   "the folder of a run has over 511 bytes");
}

/* Puts before the recorded message the run, and the place where the value at fault was given. */
static mr_status fail_in_run(const mr_matrix *matrix, combination one, const char *name,
                             const char *at_fault, mr_status status)
{
    if (one.of->count > 0) mr_fail_in(status, "run '%.210s'", name);
    int key = mr_schema_find(at_fault);
    for (int d = one.of->first; d < one.of->first + one.of->count; d++) {
        const value *given = value_in(matrix, one, d);
        if (given->key == key && given->node >= 0)
            return mr_source_fail_at(matrix->source, &matrix->yaml->nodes[given->node], status);
    }
    return mr_source_fail_of(matrix->source, key, status);
}

static mr_status make_run(const mr_matrix *matrix, int run, mr_config *out)
{
    combination one = combination_of(matrix, run);
    bool own_folder = false;
    *out = matrix->source->config;
    for (int d = one.of->first; d < one.of->first + one.of->count; d++) {
        const value *given = value_in(matrix, one, d);
        if (given->node < 0) continue;
        MR_TRY(mr_source_set(matrix->source, matrix->yaml, given->node, given->key, out));
        own_folder = own_folder || is_model_folder(given->key);
    }
    MR_TRY(mr_matrix_name(matrix, run, out->run.name));
    const char *at_fault = NULL;
    mr_status status = mr_config_expand_paths(out, &at_fault);
    if (status != MR_OK) return fail_in_run(matrix, one, out->run.name, at_fault, status);
    return one.of->count > 0 && !own_folder ? part_models(matrix, out) : MR_OK;
}

mr_status mr_matrix_run(const mr_matrix *matrix, int run, mr_config *out)
{
    MR_TRY(make_run(matrix, run, out));
    const char *at_fault = NULL;
    mr_status status = mr_config_check(out, &at_fault);
    if (status == MR_OK) return MR_OK;
    return fail_in_run(matrix, combination_of(matrix, run), out->run.name, at_fault, status);
}

/* Returns a key in which two configurations differ, besides the names of the runs; NULL: none. */
static const char *differing_key(const mr_config *a, const mr_config *b)
{
    const char *found = NULL;
    for (int key = 0; key < mr_schema_count() && !found; key++) {
        mr_text left = {0}, right = {0};
        mr_value_text(mr_schema_at(key), a, MR_VALUE_YAML, &left);
        mr_value_text(mr_schema_at(key), b, MR_VALUE_YAML, &right);
        if (!is_run_name(key) && strcmp(mr_text_get(&left), mr_text_get(&right)) != 0)
            found = mr_schema_at(key)->key;
        mr_text_free(&left);
        mr_text_free(&right);
    }
    return found;
}

/* Says what two runs of one name are: a combination given twice, or different ones. */
static mr_status refuse_pair(mr_matrix *matrix, int a, int b, const char *name)
{
    mr_config *other = mr_alloc(MR_MEM_OTHER, sizeof *other);
    mr_status status = other ? make_run(matrix, a, &matrix->scratch) : MR_ERR_MEMORY;
    if (status == MR_OK) status = make_run(matrix, b, other);
    if (status == MR_OK) {
        const char *key = differing_key(&matrix->scratch, other);
        char what[2 * MR_CONFIG_STRING];
        if (key)
            snprintf(what, sizeof what,
                     "runs %d and %d differ in %s, yet both are named '%s'; give each a run.name",
                     a, b, key, name);
        else
            snprintf(what, sizeof what,
                     "runs %d and %d are the same, '%s'; give each combination once", a, b, name);
        status = fail_at(matrix, matrix->node, "matrix", what);
    }
    mr_free(other);
    return status;
}

typedef struct named {
    uint64_t hash; /* of the name */
    int run;
} named;

static int by_hash(const void *left, const void *right)
{
    const named *a = left, *b = right;
    if (a->hash != b->hash) return a->hash < b->hash ? -1 : 1;
    return a->run - b->run;
}

static mr_status refuse_equal_names(mr_matrix *matrix)
{
    const int count = mr_matrix_count(matrix);
    char name[MR_CONFIG_STRING], next[MR_CONFIG_STRING];
    named *names = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *names);
    mr_status status = names ? MR_OK : MR_ERR_MEMORY;
    for (int i = 0; i < count && status == MR_OK; i++) {
        status = mr_matrix_name(matrix, i, name);
        names[i] = (named){mr_hash_fnv(MR_HASH_FNV, name, strlen(name)), i};
    }
    if (status == MR_OK) qsort(names, (size_t)count, sizeof *names, by_hash);
    for (int i = 1; i < count && status == MR_OK; i++) {
        const named *a = &names[i - 1], *b = &names[i];
        if (a->hash != b->hash) continue;
        status = mr_matrix_name(matrix, a->run, name);
        if (status == MR_OK) status = mr_matrix_name(matrix, b->run, next);
        if (status == MR_OK && strcmp(name, next) == 0)
            status = refuse_pair(matrix, a->run, b->run, name);
    }
    mr_free(names);
    return status;
}

/* Writes a path without what says nothing: "./a//b/" is "a/b". */
static void shorten(const char *path, char out[MR_CONFIG_STRING])
{
    size_t length = 0;
    if (*path == '/') out[length++] = '/';
    while (*path) {
        size_t part = strcspn(path, "/");
        bool counts = part > 0 && !(part == 1 && *path == '.');
        if (counts && length > 0 && out[length - 1] != '/') out[length++] = '/';
        if (counts) memcpy(out + length, path, part);
        if (counts) length += part;
        path += part + (path[part] == '/');
    }
    out[length] = '\0';
}

/* The folder a run saves its model to, without what says nothing. */
static mr_status model_folder(mr_matrix *matrix, int run, char out[MR_CONFIG_STRING])
{
    MR_TRY(make_run(matrix, run, &matrix->scratch));
    shorten(matrix->scratch.run.save_model, out);
    return MR_OK;
}

/* Only where the matrix itself names folders may two runs have one. */
static mr_status refuse_equal_folders(mr_matrix *matrix)
{
    const int count = mr_matrix_count(matrix), key = mr_schema_find("run.save_model");
    if (matrix->spreads[key].blocks == 0) return MR_OK;
    char folder[MR_CONFIG_STRING], next[MR_CONFIG_STRING];
    named *names = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *names);
    mr_status status = names ? MR_OK : MR_ERR_MEMORY;
    for (int i = 0; i < count && status == MR_OK; i++) {
        status = model_folder(matrix, i, folder);
        names[i] = (named){mr_hash_fnv(MR_HASH_FNV, folder, strlen(folder)), i};
    }
    if (status == MR_OK) qsort(names, (size_t)count, sizeof *names, by_hash);
    for (int i = 1; i < count && status == MR_OK; i++) {
        const named *a = &names[i - 1], *b = &names[i];
        if (a->hash != b->hash) continue;
        status = model_folder(matrix, a->run, folder);
        if (status == MR_OK) status = model_folder(matrix, b->run, next);
        if (status != MR_OK || folder[0] == '\0' || strcmp(folder, next) != 0) continue;
        char what[MR_CONFIG_STRING + 200];
        snprintf(what, sizeof what,
                 "runs %d and %d both save their model to '%s'; outside the matrix, "
                 "run.save_model gives each a folder below it",
                 a->run, b->run, folder);
        status = fail_at(matrix, matrix->node, "run.save_model", what);
    }
    mr_free(names);
    return status;
}

mr_status mr_matrix_create(const mr_source *source, const mr_yaml *yaml, int node, mr_matrix **out)
{
    *out = NULL;
    mr_matrix *matrix = mr_alloc(MR_MEM_OTHER, sizeof *matrix);
    if (!matrix) return MR_ERR_MEMORY;
    matrix->source = source;
    matrix->yaml = yaml;
    matrix->node = node;
    /* No more keys, values or blocks than the matrix has nodes; one value more a key by --set. */
    size_t nodes = node < 0 ? 1 : (size_t)(yaml->nodes[node].end - node);
    matrix->dimensions = mr_alloc_array(MR_MEM_OTHER, nodes, sizeof *matrix->dimensions);
    matrix->values = mr_alloc_array(MR_MEM_OTHER, 2 * nodes, sizeof *matrix->values);
    matrix->blocks = mr_alloc_array(MR_MEM_OTHER, nodes, sizeof *matrix->blocks);
    matrix->spreads =
        mr_alloc_array(MR_MEM_OTHER, (size_t)mr_schema_count(), sizeof *matrix->spreads);
    mr_status status = MR_ERR_MEMORY;
    if (matrix->dimensions && matrix->values && matrix->blocks && matrix->spreads)
        status = take_blocks(matrix);
    if (status == MR_OK) status = compare_with_file(matrix);
    if (status == MR_OK) status = distinguish(matrix);
    if (status == MR_OK) status = refuse_equal_names(matrix);
    if (status == MR_OK) status = refuse_equal_folders(matrix);
    if (status != MR_OK) mr_matrix_destroy(&matrix);
    *out = matrix;
    return status;
}

int mr_matrix_count(const mr_matrix *matrix)
{
    return (int)matrix->runs;
}

void mr_matrix_destroy(mr_matrix **matrix)
{
    mr_matrix *m = *matrix;
    if (!m) return;
    mr_texts_free(&m->texts);
    mr_free(m->spreads);
    mr_free(m->blocks);
    mr_free(m->values);
    mr_free(m->dimensions);
    mr_free(m);
    *matrix = NULL;
}
