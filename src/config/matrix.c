#include "config/matrix.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One key of a block with its values. */
typedef struct dimension {
    int key;
    int first; /* of its values in plan.values */
    int count;
    int at;   /* of the run being made */
    bool set; /* by --set, which stands in the configuration already */
} dimension;

typedef struct block {
    int first; /* of its dimensions in plan.dimensions */
    int count;
    int64_t runs;
} block;

/* What is known of a key over all blocks. */
typedef struct spread {
    int blocks;  /* that hold the key */
    bool seen;   /* its first value stands in plan.first */
    bool varies; /* the runs differ in it */
} spread;

typedef struct plan {
    const mr_source *source;
    const mr_yaml *yaml;
    int matrix;
    dimension *dimensions;
    int dimension_count;
    int *values; /* nodes */
    int value_count;
    block *blocks;
    int block_count;
    spread *spreads;    /* by key */
    mr_config *first;   /* the first value of every key in the matrix */
    mr_config *scratch; /* a value being checked */
    int64_t runs;
} plan;

static bool same_value(int key, const mr_config *a, const mr_config *b)
{
    const mr_key *about = mr_schema_at(key);
    return memcmp((const char *)a + about->offset, (const char *)b + about->offset, about->bytes) ==
           0;
}

static void copy_value(int key, mr_config *to, const mr_config *from)
{
    const mr_key *about = mr_schema_at(key);
    memcpy((char *)to + about->offset, (const char *)from + about->offset, about->bytes);
}

static mr_status add_value(plan *made, int key, int node)
{
    MR_TRY(mr_source_set(made->source, made->yaml, node, key, made->scratch));
    spread *about = &made->spreads[key];
    if (!about->seen) copy_value(key, made->first, made->scratch);
    about->varies = about->varies || !same_value(key, made->first, made->scratch);
    about->seen = true;
    made->values[made->value_count++] = node;
    return MR_OK;
}

static mr_status fail_at(const plan *made, int node, const char *key, const char *what)
{
    return mr_source_fail_at(made->source, &made->yaml->nodes[node],
                             mr_fail(MR_ERR_CONFIG, "%s: %s", key, what));
}

/* Takes one key of a block: a value alone, or a list of values. */
static mr_status take_dimension(void *context, int key, int node)
{
    plan *made = context;
    const mr_key *about = mr_schema_at(key);
    const mr_yaml_node *nodes = made->yaml->nodes;
    dimension *one = &made->dimensions[made->dimension_count++];
    *one = (dimension){
        .key = key, .first = made->value_count, .set = made->source->origins[key].set != NULL};
    bool is_list = about->type == MR_KEY_STRINGS || about->type == MR_KEY_INTS;
    if (nodes[node].kind != MR_YAML_SEQUENCE) MR_TRY(add_value(made, key, node));
    for (int at = node + 1; at < nodes[node].end; at = nodes[at].end) {
        if (is_list && nodes[at].kind != MR_YAML_SEQUENCE)
            return fail_at(
                made, at, about->key,
                "each value of a list key in the matrix is a list itself: [[a, b], [c]]");
        MR_TRY(add_value(made, key, at));
    }
    one->count = made->value_count - one->first;
    if (one->count == 0) return fail_at(made, node, about->key, "a list of no values, so no runs");
    if (one->set) one->count = 1;
    made->spreads[key].blocks++;
    made->blocks[made->block_count - 1].count++;
    return MR_OK;
}

static mr_status take_block(plan *made, int node, size_t prefix)
{
    block *one = &made->blocks[made->block_count++];
    *one = (block){.first = made->dimension_count, .runs = 1};
    MR_TRY(mr_source_each(made->source, made->yaml, node, prefix, NULL, take_dimension, made));
    for (int d = one->first; d < one->first + one->count; d++) {
        one->runs *= made->dimensions[d].count;
        if (made->runs + one->runs > MR_CONFIG_RUNS) {
            char what[64];
            snprintf(what, sizeof what, "more than %d runs", (int)MR_CONFIG_RUNS);
            return fail_at(made, made->matrix, "matrix", what);
        }
    }
    made->runs += one->runs;
    return MR_OK;
}

static mr_status take_blocks(plan *made)
{
    const mr_yaml_node *nodes = made->yaml->nodes;
    int matrix = made->matrix;
    if (matrix < 0 || mr_yaml_is_null(&nodes[matrix])) {
        made->blocks[made->block_count++] = (block){.runs = 1};
        made->runs = 1;
        return MR_OK;
    }
    if (nodes[matrix].kind == MR_YAML_MAPPING) return take_block(made, matrix, strlen("matrix."));
    if (nodes[matrix].kind == MR_YAML_SCALAR)
        return fail_at(made, matrix, "matrix",
                       "expected a mapping of keys to values, or a list of such mappings");
    for (int at = matrix + 1; at < nodes[matrix].end; at = nodes[at].end) {
        if (nodes[at].kind != MR_YAML_MAPPING)
            return fail_at(made, at, "matrix", "expected a mapping of keys to values");
        MR_TRY(take_block(made, at, 0));
    }
    if (made->block_count == 0)
        return fail_at(made, matrix, "matrix", "a list of no mappings, so no runs");
    return MR_OK;
}

/* Runs differ in a key also where some blocks leave it as the file says. */
static void compare_with_file(plan *made)
{
    for (int key = 0; key < mr_schema_count(); key++) {
        spread *about = &made->spreads[key];
        if (about->seen && about->blocks < made->block_count)
            about->varies = about->varies || !same_value(key, made->first, &made->source->written);
    }
}

/* Appends text with what does not belong in a file name replaced. */
static void add_safe(const char *text, mr_text *out)
{
    for (; *text; text++) {
        bool safe = isalnum((unsigned char)*text) || strchr("._+-", *text);
        mr_text_add(out, "%c", safe ? *text : *text == ',' ? '+' : '_');
    }
}

static mr_status name_run(const plan *made, const block *of, mr_config *run)
{
    mr_text name = {0}, value = {0};
    mr_text_add(&name, "%s", run->run.name);
    char separator = '.';
    for (int d = of->first; d < of->first + of->count; d++) {
        int key = made->dimensions[d].key;
        const char *path = mr_schema_at(key)->key;
        if (!made->spreads[key].varies || strcmp(path, "run.name") == 0) continue;
        mr_text_add(&name, "%c", separator);
        separator = '-';
        if (strcmp(path, "method.name") != 0) add_safe(strchr(path, '.') + 1, &name);
        mr_value_text(mr_schema_at(key), run, MR_VALUE_PLAIN, &value);
        add_safe(mr_text_get(&value), &name);
        mr_text_free(&value);
    }
    mr_status status = MR_OK;
    if (name.failed)
        status = MR_ERR_MEMORY;
    else if (name.length >= sizeof run->run.name)
        status = fail_at(made, made->matrix, "run.name", "the name of a run has over 511 bytes");
    else if (name.length > 0)
        memcpy(run->run.name, name.data, name.length);
    mr_text_free(&name);
    return status;
}

/* Checks a run; its message names where the value at fault was given. */
static mr_status check_run(const plan *made, const block *of, const mr_config *run)
{
    const char *at_fault = NULL;
    mr_status status = mr_config_check(run, &at_fault);
    if (status == MR_OK) return MR_OK;
    if (of->count > 0) mr_fail_in(status, "run '%.210s'", run->run.name);
    int key = mr_schema_find(at_fault);
    for (int d = of->first; d < of->first + of->count; d++) {
        const dimension *one = &made->dimensions[d];
        if (one->key != key || one->set) continue;
        int node = made->values[one->first + one->at];
        return mr_source_fail_at(made->source, &made->yaml->nodes[node], status);
    }
    return mr_source_fail_of(made->source, key, status);
}

static mr_status make_run(const plan *made, const block *of, int64_t index, mr_config *run)
{
    *run = made->source->config;
    for (int d = of->first + of->count - 1; d >= of->first; d--) {
        dimension *one = &made->dimensions[d];
        one->at = (int)(index % one->count);
        index /= one->count;
        int node = made->values[one->first + one->at];
        if (!one->set) MR_TRY(mr_source_set(made->source, made->yaml, node, one->key, run));
    }
    MR_TRY(name_run(made, of, run));
    return check_run(made, of, run);
}

static int by_name(const void *left, const void *right)
{
    const mr_config *a = *(const mr_config *const *)left, *b = *(const mr_config *const *)right;
    return strcmp(a->run.name, b->run.name);
}

static mr_status refuse_equal_names(const plan *made, const mr_run_list *list)
{
    const mr_config **sorted =
        mr_alloc_array(MR_MEM_OTHER, (size_t)list->count, sizeof(const mr_config *));
    if (!sorted) return MR_ERR_MEMORY;
    for (int i = 0; i < list->count; i++)
        sorted[i] = &list->runs[i];
    qsort(sorted, (size_t)list->count, sizeof(const mr_config *), by_name);
    mr_status status = MR_OK;
    for (int i = 1; i < list->count && status == MR_OK; i++) {
        if (strcmp(sorted[i - 1]->run.name, sorted[i]->run.name) != 0) continue;
        char what[MR_CONFIG_STRING + 100];
        snprintf(what, sizeof what,
                 "two runs are named '%s'; give each combination once, or a run.name to each",
                 sorted[i]->run.name);
        status = fail_at(made, made->matrix, "matrix", what);
    }
    mr_free(sorted);
    return status;
}

static mr_status make_runs(const plan *made, mr_run_list *out)
{
    out->runs = mr_alloc_array(MR_MEM_OTHER, (size_t)made->runs, sizeof *out->runs);
    if (!out->runs) return MR_ERR_MEMORY;
    for (int b = 0; b < made->block_count; b++) {
        const block *of = &made->blocks[b];
        for (int64_t i = 0; i < of->runs; i++)
            MR_TRY(make_run(made, of, i, &out->runs[out->count++]));
    }
    return refuse_equal_names(made, out);
}

mr_status mr_matrix_expand(const mr_source *source, const mr_yaml *yaml, int matrix,
                           mr_run_list *out)
{
    *out = (mr_run_list){0};
    plan made = {.source = source, .yaml = yaml, .matrix = matrix};
    /* No more keys, values or blocks than the matrix has nodes. */
    size_t nodes = matrix < 0 ? 1 : (size_t)(yaml->nodes[matrix].end - matrix);
    made.dimensions = mr_alloc_array(MR_MEM_OTHER, nodes, sizeof *made.dimensions);
    made.values = mr_alloc_array(MR_MEM_OTHER, nodes, sizeof *made.values);
    made.blocks = mr_alloc_array(MR_MEM_OTHER, nodes, sizeof *made.blocks);
    made.spreads = mr_alloc_array(MR_MEM_OTHER, (size_t)mr_schema_count(), sizeof *made.spreads);
    made.first = mr_alloc(MR_MEM_OTHER, sizeof *made.first);
    made.scratch = mr_alloc(MR_MEM_OTHER, sizeof *made.scratch);
    mr_status status = MR_ERR_MEMORY;
    if (!made.dimensions || !made.values || !made.blocks || !made.spreads || !made.first ||
        !made.scratch)
        goto cleanup;
    status = take_blocks(&made);
    if (status != MR_OK) goto cleanup;
    compare_with_file(&made);
    status = make_runs(&made, out);
cleanup:
    if (status != MR_OK) mr_run_list_free(out);
    mr_free(made.scratch);
    mr_free(made.first);
    mr_free(made.spreads);
    mr_free(made.blocks);
    mr_free(made.values);
    mr_free(made.dimensions);
    return status;
}
