#include "base/hash.h"
#include "base/log.h"
#include "config/matrix_impl.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const mr_registry_key *about_key(const mr_matrix *matrix, int key)
{
    return &matrix->source->registry->at[key];
}

/* Appends text with what does not belong in a file name replaced. */
static void add_safe(const char *text, mr_text *out)
{
    for (; *text; text++) {
        bool safe = isalnum((unsigned char)*text) || strchr("._+-", *text);
        mr_text_add(out, "%c", safe ? *text : *text == ',' ? '+' : '_');
    }
}

static unsigned short_hash(const char *text)
{
    return (unsigned)(mr_hash_fnv(MR_HASH_FNV, text, strlen(text)) & 0xffffff);
}

/* Appends what a list of mappings is called: of many their beginning, and a hash of all. */
static void add_mappings(const char *names, const char *yaml, mr_text *out)
{
    enum { MOST = 80 };
    mr_text all = {0};
    add_safe(names, &all);
    if (all.length <= MOST)
        mr_text_add(out, "%s", mr_text_get(&all));
    else
        mr_text_add(out, "%.*s_%06x", MOST, mr_text_get(&all), short_hash(yaml));
    out->failed = out->failed || all.failed;
    mr_text_free(&all);
}

/* Appends a value, and frees its texts. */
static mr_status add_value(mr_matrix *matrix, int key, int node, mr_source_texts *texts)
{
    const mr_registry *registry = matrix->source->registry;
    const char *plain = mr_text_get(&texts->plain);
    int table = mr_registry_table_of(registry, key);
    mr_text piece = {0};
    if (strcmp(about_key(matrix, key)->key->key, "run.name") == 0)
        mr_text_add(&piece, "%s", plain);
    else if (about_key(matrix, key)->key->type == MR_KEY_ITEMS)
        add_mappings(plain, mr_text_get(&texts->yaml), &piece);
    else
        add_safe(plain, &piece);
    mr_matrix_value *one = &matrix->values[matrix->value_count++];
    *one = (mr_matrix_value){.key = key,
                             .node = node,
                             .row = table < 0 ? -1 : mr_registry_row(registry, table, plain),
                             .text = mr_texts_keep(&matrix->texts, mr_text_get(&texts->yaml)),
                             .piece = mr_texts_keep(&matrix->texts, mr_text_get(&piece))};
    bool failed = piece.failed || !one->text || !one->piece;
    mr_text_free(&piece);
    mr_text_free(&texts->yaml);
    mr_text_free(&texts->plain);
    return failed ? MR_ERR_MEMORY : MR_OK;
}

static mr_status take_value(mr_matrix *matrix, int key, int node)
{
    mr_source_texts texts = {0};
    MR_TRY(mr_source_check(matrix->source, matrix->yaml, node, key, &texts));
    return add_value(matrix, key, node, &texts);
}

/* The value of --set takes the place of a dimension's. */
static mr_status take_override(mr_matrix *matrix, int key, mr_matrix_dimension *one)
{
    mr_source_texts texts = {0};
    one->first = matrix->value_count;
    one->count = 1;
    MR_TRY(mr_source_value(matrix->source, key, true, &texts));
    return add_value(matrix, key, 0, &texts);
}

/* Takes one key of a block: a value alone, or a list of values. */
static mr_status take_dimension(void *context, int key, int node)
{
    mr_matrix *matrix = context;
    const mr_key *about = about_key(matrix, key)->key;
    const mr_yaml_node *nodes = matrix->yaml->nodes;
    mr_matrix_dimension *one = &matrix->dimensions[matrix->dimension_count++];
    *one = (mr_matrix_dimension){
        .key = key, .listed = matrix->value_count, .first = matrix->value_count};
    bool is_list = about->type >= MR_KEY_STRINGS;
    if (nodes[node].kind != MR_YAML_SEQUENCE) MR_TRY(take_value(matrix, key, node));
    for (int at = node + 1; at < nodes[node].end; at = nodes[at].end) {
        if (nodes[node].kind != MR_YAML_SEQUENCE) break;
        if (is_list && nodes[at].kind != MR_YAML_SEQUENCE)
            return mr_matrix_fail(
                matrix, at, about->key,
                "each value of a list key in the matrix is a list itself: [[a, b], [c]]");
        MR_TRY(take_value(matrix, key, at));
    }
    one->listed_count = one->count = matrix->value_count - one->listed;
    if (one->count == 0)
        return mr_matrix_fail(matrix, node, about->key, "a list of no values, so no runs");
    if (matrix->source->origins[key].set) MR_TRY(take_override(matrix, key, one));
    matrix->spreads[key].blocks++;
    matrix->blocks[matrix->block_count - 1].count++;
    return MR_OK;
}

static mr_status take_block(mr_matrix *matrix, int node, size_t prefix)
{
    mr_matrix_block *one = &matrix->blocks[matrix->block_count++];
    *one = (mr_matrix_block){
        .first = matrix->dimension_count, .first_run = matrix->combinations, .runs = 1};
    MR_TRY(
        mr_source_each(matrix->source, matrix->yaml, node, prefix, NULL, take_dimension, matrix));
    for (int d = one->first + one->count - 1; d >= one->first; d--) {
        matrix->dimensions[d].stride = one->runs;
        one->runs *= matrix->dimensions[d].count;
        if (matrix->combinations + one->runs > MR_CONFIG_RUNS) {
            char what[64];
            snprintf(what, sizeof what, "more than %d runs", (int)MR_CONFIG_RUNS);
            return mr_matrix_fail(matrix, matrix->node, "matrix", what);
        }
    }
    matrix->combinations += one->runs;
    return MR_OK;
}

static mr_status take_blocks(mr_matrix *matrix)
{
    const mr_yaml_node *nodes = matrix->yaml->nodes;
    int node = matrix->node;
    if (node == 0 || mr_yaml_is_null(&nodes[node])) {
        matrix->blocks[matrix->block_count++] = (mr_matrix_block){.runs = 1};
        matrix->combinations = 1;
        return MR_OK;
    }
    if (nodes[node].kind == MR_YAML_MAPPING) return take_block(matrix, node, strlen("matrix."));
    if (nodes[node].kind == MR_YAML_SCALAR)
        return mr_matrix_fail(matrix, node, "matrix",
                              "expected a mapping of keys to values, or a list of such mappings");
    for (int at = node + 1; at < nodes[node].end; at = nodes[at].end) {
        if (nodes[at].kind != MR_YAML_MAPPING)
            return mr_matrix_fail(matrix, at, "matrix", "expected a mapping of keys to values");
        MR_TRY(take_block(matrix, at, 0));
    }
    if (matrix->block_count == 0)
        return mr_matrix_fail(matrix, node, "matrix", "a list of no mappings, so no runs");
    return MR_OK;
}

/* The rows that the runs of a block choose; with `listed`, also those that --set puts aside. */
static void choices_of(const mr_matrix *matrix, const mr_matrix_block *one, bool listed,
                       uint64_t chosen[MR_REGISTRY_TABLES])
{
    const mr_registry *registry = matrix->source->registry;
    mr_registry_chosen(&matrix->source->config, chosen);
    for (int t = 0; t < registry->tables && listed; t++)
        chosen[t] |= matrix->source->written[t];
    for (int d = one->first; d < one->first + one->count; d++) {
        const mr_matrix_dimension *of = &matrix->dimensions[d];
        int table = mr_registry_table_of(registry, of->key);
        if (table < 0) continue;
        chosen[table] = 0;
        for (int i = 0; i < of->count; i++)
            chosen[table] |= UINT64_C(1) << matrix->values[of->first + i].row;
        for (int i = 0; i < of->listed_count && listed; i++)
            chosen[table] |= UINT64_C(1) << matrix->values[of->listed + i].row;
    }
}

/* A key of the file is to be of a method or task that the file names, one of --set of one that runs
 * have. In the matrix it drops out, and is told. */
static mr_status check_choices(const mr_matrix *matrix)
{
    uint64_t listed[MR_REGISTRY_TABLES] = {0}, made[MR_REGISTRY_TABLES] = {0};
    for (int b = 0; b < matrix->block_count; b++) {
        uint64_t here[MR_REGISTRY_TABLES];
        choices_of(matrix, &matrix->blocks[b], true, here);
        for (int t = 0; t < matrix->source->registry->tables; t++)
            listed[t] |= here[t];
        choices_of(matrix, &matrix->blocks[b], false, here);
        for (int t = 0; t < matrix->source->registry->tables; t++)
            made[t] |= here[t];
    }
    MR_TRY(mr_source_check_choices(matrix->source, listed, made));
    for (int d = 0; d < matrix->dimension_count; d++) {
        int key = matrix->dimensions[d].key, table = about_key(matrix, key)->table;
        if (mr_matrix_any_has(matrix, listed, key)) continue;
        mr_registry_fail_choice(matrix->source->registry, key, listed[table]);
        mr_warn("%s: %s: it drops out of every run", matrix->source->file, mr_message());
    }
    return MR_OK;
}

static void note(mr_matrix_spread *about, const char *text)
{
    if (!about->first) about->first = text;
    about->varies = about->varies || strcmp(about->first, text) != 0;
}

static mr_status value_outside(mr_matrix *matrix, int key, bool set, const char **out)
{
    mr_source_texts texts = {0};
    mr_status status = mr_source_value(matrix->source, key, set, &texts);
    if (status == MR_OK) *out = mr_texts_keep(&matrix->texts, mr_text_get(&texts.yaml));
    mr_text_free(&texts.yaml);
    mr_text_free(&texts.plain);
    return status != MR_OK || *out ? status : MR_ERR_MEMORY;
}

/* Finds the keys in which runs differ, by the file alone: --set leaves the names as they are. A
 * block that does not hold a key leaves it as it stands outside. */
static mr_status compare(mr_matrix *matrix)
{
    for (int key = 0; key < matrix->source->registry->count; key++) {
        mr_matrix_spread *about = &matrix->spreads[key];
        if (about->blocks == 0) continue;
        MR_TRY(value_outside(matrix, key, true, &about->base));
        MR_TRY(value_outside(matrix, key, false, &about->written));
        for (int b = 0; b < matrix->block_count; b++) {
            const mr_matrix_block *block = &matrix->blocks[b];
            uint64_t chosen[MR_REGISTRY_TABLES];
            bool holds = false;
            choices_of(matrix, block, true, chosen);
            if (!mr_matrix_any_has(matrix, chosen, key)) continue;
            for (int d = block->first; d < block->first + block->count; d++) {
                const mr_matrix_dimension *of = &matrix->dimensions[d];
                holds = holds || of->key == key;
                for (int i = 0; i < of->listed_count && of->key == key; i++)
                    note(about, matrix->values[of->listed + i].text);
            }
            if (!holds) note(about, about->written);
        }
    }
    return MR_OK;
}

static int by_piece(const void *left, const void *right)
{
    const mr_matrix_value *a = *(mr_matrix_value *const *)left;
    const mr_matrix_value *b = *(mr_matrix_value *const *)right;
    if (a->key != b->key) return a->key < b->key ? -1 : 1;
    int order = strcmp(a->piece, b->piece);
    if (order != 0) return order;
    return a < b ? -1 : a > b;
}

/* Values of one key may differ in characters alone that names cannot hold. The first of them in the
 * file has the plain name; a hash tells the others from it, whatever is added to the list later. */
static mr_status distinguish(mr_matrix *matrix)
{
    mr_matrix_value **sorted =
        mr_alloc_array(MR_MEM_OTHER, (size_t)matrix->value_count + 1, sizeof(mr_matrix_value *));
    if (!sorted) return MR_ERR_MEMORY;
    int count = matrix->value_count;
    for (int i = 0; i < count; i++)
        sorted[i] = &matrix->values[i];
    qsort(sorted, (size_t)count, sizeof(mr_matrix_value *), by_piece);
    mr_status status = MR_OK;
    for (int first = 0, i = 1; i < count && status == MR_OK; i++) {
        const mr_matrix_value *plain = sorted[first];
        mr_matrix_value *other = sorted[i];
        if (other->key != plain->key || strcmp(other->piece, plain->piece) != 0) {
            first = i;
        } else if (strcmp(other->text, plain->text) != 0) {
            mr_text piece = {0};
            mr_text_add(&piece, "%s_%06x", other->piece, short_hash(other->text));
            other->piece = mr_texts_keep(&matrix->texts, mr_text_get(&piece));
            if (piece.failed || !other->piece) status = MR_ERR_MEMORY;
            mr_text_free(&piece);
        }
    }
    mr_free(sorted);
    return status;
}

mr_status mr_matrix_name(const mr_matrix *matrix, int run, char out[MR_CONFIG_STRING])
{
    mr_combination one = mr_matrix_combination_of(matrix, run);
    return mr_matrix_name_of(matrix, &one, out);
}

mr_status mr_matrix_run(const mr_matrix *matrix, int run, mr_config *out)
{
    mr_combination one = mr_matrix_combination_of(matrix, run);
    MR_TRY(mr_matrix_make(matrix, &one, out));
    MR_TRY(mr_source_check_names(matrix->source, out));
    const char *at_fault = NULL;
    mr_status status = mr_config_check(out, &at_fault);
    return status == MR_OK ? MR_OK
                           : mr_matrix_fail_run(matrix, &one, out->run.name, at_fault, status);
}

mr_status mr_matrix_create(const mr_source *source, const mr_yaml *yaml, int node, mr_matrix **out)
{
    *out = NULL;
    mr_matrix *matrix = mr_alloc(MR_MEM_OTHER, sizeof *matrix);
    if (!matrix) return MR_ERR_MEMORY;
    *matrix = (mr_matrix){.source = source, .yaml = yaml, .node = node};
    /* No more keys, values or blocks than the matrix has nodes; one value more a key by --set. */
    size_t nodes = node == 0 ? 1 : (size_t)(yaml->nodes[node].end - node);
    matrix->dimensions = mr_alloc_array(MR_MEM_OTHER, nodes, sizeof *matrix->dimensions);
    matrix->values = mr_alloc_array(MR_MEM_OTHER, 2 * nodes, sizeof *matrix->values);
    matrix->blocks = mr_alloc_array(MR_MEM_OTHER, nodes, sizeof *matrix->blocks);
    matrix->spreads =
        mr_alloc_array(MR_MEM_OTHER, (size_t)source->registry->count, sizeof *matrix->spreads);
    matrix->base = mr_alloc(MR_MEM_OTHER, sizeof *matrix->base);
    mr_status status = MR_ERR_MEMORY;
    if (matrix->dimensions && matrix->values && matrix->blocks && matrix->spreads && matrix->base)
        status = take_blocks(matrix);
    if (status == MR_OK) {
        *matrix->base = source->config;
        status = mr_source_fill(source, matrix->base);
    }
    if (status == MR_OK) status = check_choices(matrix);
    if (status == MR_OK) status = compare(matrix);
    if (status == MR_OK) status = distinguish(matrix);
    if (status == MR_OK) status = mr_matrix_part(matrix);
    if (status != MR_OK) mr_matrix_destroy(&matrix);
    *out = matrix;
    return status;
}

int mr_matrix_count(const mr_matrix *matrix, int *merged)
{
    *merged = (int)matrix->combinations - matrix->runs;
    return matrix->runs;
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
    mr_free(m->run_at);
    mr_free(m->base);
    mr_free(m);
    *matrix = NULL;
}
