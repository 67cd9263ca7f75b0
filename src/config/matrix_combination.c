/* Combinations of a matrix: their values, names and configurations. */

#include "config/matrix_impl.h"

#include <string.h>

static const mr_registry_key *about_key(const mr_matrix *matrix, int key)
{
    return &matrix->source->registry->at[key];
}

mr_status mr_matrix_fail(const mr_matrix *matrix, int node, const char *key, const char *what)
{
    return mr_source_fail_at(matrix->source, &matrix->yaml->nodes[node],
                             mr_fail(MR_ERR_CONFIG, "%s: %s", key, what));
}

static const char *name_of_key(const mr_matrix *matrix, int key)
{
    return about_key(matrix, key)->key->key;
}

int mr_matrix_key(const mr_matrix *matrix, const char *key)
{
    return mr_registry_find(matrix->source->registry, key);
}

static bool is_run_name(const mr_matrix *matrix, int key)
{
    return strcmp(name_of_key(matrix, key), "run.name") == 0;
}

const mr_matrix_value *mr_matrix_value_in(const mr_matrix *matrix, const mr_combination *one,
                                          int dimension)
{
    const mr_matrix_dimension *of = &matrix->dimensions[dimension];
    return &matrix->values[of->first + (int)(one->number / of->stride % of->count)];
}

mr_combination mr_matrix_combination(const mr_matrix *matrix, int64_t number)
{
    MR_INVARIANT(number >= 0 && number < matrix->combinations);
    int low = 0, high = matrix->block_count - 1; /* the last block that starts at or before it */
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        if (matrix->blocks[middle].first_run <= number)
            low = middle;
        else
            high = middle - 1;
    }
    mr_combination one = {.of = &matrix->blocks[low]};
    one.number = number - one.of->first_run;
    mr_registry_chosen(&matrix->source->config, one.chosen);
    for (int d = one.of->first; d < one.of->first + one.of->count; d++) {
        int table = mr_registry_table_of(matrix->source->registry, matrix->dimensions[d].key);
        if (table >= 0) one.chosen[table] = UINT64_C(1) << mr_matrix_value_in(matrix, &one, d)->row;
    }
    return one;
}

mr_combination mr_matrix_combination_of(const mr_matrix *matrix, int run)
{
    MR_INVARIANT(run >= 0 && run < matrix->runs);
    return mr_matrix_combination(matrix, matrix->run_at ? matrix->run_at[run] : run);
}

bool mr_matrix_any_has(const mr_matrix *matrix, const uint64_t *chosen, int key)
{
    const mr_registry_key *about = about_key(matrix, key);
    return about->table < 0 || (about->rows & chosen[about->table]);
}

bool mr_matrix_has(const mr_matrix *matrix, const mr_combination *one, int key)
{
    return mr_matrix_any_has(matrix, one->chosen, key);
}

const char *mr_matrix_base_name(const mr_matrix *matrix, const mr_combination *one)
{
    for (int d = one->of->first; d < one->of->first + one->of->count; d++)
        if (is_run_name(matrix, matrix->dimensions[d].key))
            return mr_matrix_value_in(matrix, one, d)->piece;
    return matrix->source->config.run.name;
}

static void append(char out[MR_CONFIG_STRING], size_t *length, const char *text)
{
    size_t bytes = strlen(text);
    if (*length + bytes < MR_CONFIG_STRING) memcpy(out + *length, text, bytes);
    *length += bytes;
}

mr_status mr_matrix_name_of(const mr_matrix *matrix, const mr_combination *one,
                            char out[MR_CONFIG_STRING])
{
    size_t length = 0;
    memset(out, 0, MR_CONFIG_STRING);
    append(out, &length, mr_matrix_base_name(matrix, one));
    const char *separator = ".";
    for (int d = one->of->first; d < one->of->first + one->of->count; d++) {
        int key = matrix->dimensions[d].key;
        const char *path = name_of_key(matrix, key);
        if (!matrix->spreads[key].varies || is_run_name(matrix, key)) continue;
        if (!mr_matrix_has(matrix, one, key)) continue;
        append(out, &length, separator);
        separator = "-";
        if (strcmp(path, "method.name") != 0) append(out, &length, strchr(path, '.') + 1);
        append(out, &length, mr_matrix_value_in(matrix, one, d)->piece);
    }
    if (length < MR_CONFIG_STRING) return MR_OK;
    return mr_matrix_fail(matrix, matrix->node, "run.name", "the name of a run has over 511 bytes");
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
    return mr_matrix_fail(matrix, matrix->node, "run.save_model",
                          "the folder of a run has over 511 bytes");
}

/* Copies the run of the choices alone into out. Runs one after another mostly make the same. */
static mr_status start_from_base(const mr_matrix *matrix, const mr_combination *one, mr_config *out)
{
    const mr_registry *registry = matrix->source->registry;
    uint64_t chosen[MR_REGISTRY_TABLES];
    mr_registry_chosen(matrix->base, chosen);
    bool same = true;
    for (int t = 0; t < registry->tables; t++)
        same = same && chosen[t] == one->chosen[t];
    if (!same) {
        *matrix->base = matrix->source->config;
        for (int d = one->of->first; d < one->of->first + one->of->count; d++) {
            int key = matrix->dimensions[d].key, table = mr_registry_table_of(registry, key);
            if (table < 0) continue;
            int row = mr_matrix_value_in(matrix, one, d)->row;
            MR_TRY(mr_source_choose(table, registry->table[table].rows[row].name, matrix->base));
        }
        MR_TRY(mr_source_fill(matrix->source, matrix->base));
    }
    *out = *matrix->base;
    return MR_OK;
}

mr_status mr_matrix_fail_run(const mr_matrix *matrix, const mr_combination *one, const char *name,
                             const char *at_fault, mr_status status)
{
    if (one->of->count > 0) mr_fail_in(status, "run '%.210s'", name);
    int key = mr_matrix_key(matrix, at_fault);
    for (int d = one->of->first; d < one->of->first + one->of->count; d++) {
        const mr_matrix_value *given = mr_matrix_value_in(matrix, one, d);
        if (given->key == key && given->node > 0)
            return mr_source_fail_at(matrix->source, &matrix->yaml->nodes[given->node], status);
    }
    return mr_source_fail_of(matrix->source, key, status);
}

mr_status mr_matrix_make(const mr_matrix *matrix, const mr_combination *one, mr_config *out)
{
    const int save_model = mr_matrix_key(matrix, "run.save_model");
    bool own_folder = false;
    MR_TRY(start_from_base(matrix, one, out));
    for (int d = one->of->first; d < one->of->first + one->of->count; d++) {
        const mr_matrix_value *given = mr_matrix_value_in(matrix, one, d);
        if (given->node == 0) continue;
        MR_TRY(mr_source_set(matrix->source, matrix->yaml, given->node, given->key, out));
        own_folder = own_folder || given->key == save_model;
    }
    MR_TRY(mr_matrix_name_of(matrix, one, out->run.name));
    const char *at_fault = NULL;
    mr_status status = mr_config_expand_paths(out, &at_fault);
    if (status != MR_OK) return mr_matrix_fail_run(matrix, one, out->run.name, at_fault, status);
    return one->of->count > 0 && !own_folder ? part_models(matrix, out) : MR_OK;
}
