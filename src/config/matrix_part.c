/* Runs of a matrix are told apart: equal combinations are one, names and folders are not shared. */

#include "base/hash.h"
#include "config/matrix_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The text of a key in a combination; NULL where it has no such key. */
static const char *text_in(const mr_matrix *matrix, const mr_combination *one, int key)
{
    if (!mr_matrix_has(matrix, one, key)) return NULL;
    for (int d = one->of->first; d < one->of->first + one->of->count; d++)
        if (matrix->dimensions[d].key == key) return mr_matrix_value_in(matrix, one, d)->text;
    return matrix->spreads[key].base;
}

/* Whether a key tells runs apart: one of the matrix, but for the name, which is looked at apart. */
static bool tells_apart(const mr_matrix *matrix, int key)
{
    return matrix->spreads[key].blocks > 0 &&
           strcmp(matrix->source->registry->at[key].key->key, "run.name") != 0;
}

static uint64_t hash_of(const mr_matrix *matrix, const mr_combination *one)
{
    const char *name = mr_matrix_base_name(matrix, one);
    uint64_t hash = mr_hash_fnv(MR_HASH_FNV, name, strlen(name) + 1);
    for (int key = 0; key < matrix->source->registry->count; key++) {
        if (!tells_apart(matrix, key)) continue;
        const char *text = text_in(matrix, one, key);
        hash = mr_hash_fnv(hash, text ? text : "", text ? strlen(text) + 1 : 1);
    }
    return hash;
}

/* Returns a key in which two combinations differ; NULL: none. */
static const char *differing_key(const mr_matrix *matrix, const mr_combination *a,
                                 const mr_combination *b)
{
    for (int key = 0; key < matrix->source->registry->count; key++) {
        if (!tells_apart(matrix, key)) continue;
        const char *left = text_in(matrix, a, key), *right = text_in(matrix, b, key);
        if (!left != !right || (left && strcmp(left, right) != 0))
            return matrix->source->registry->at[key].key->key;
    }
    return NULL;
}

/* Whether its block gives a key that the combination does not have. */
static bool has_dropped(const mr_matrix *matrix, const mr_combination *one)
{
    for (int d = one->of->first; d < one->of->first + one->of->count; d++)
        if (!mr_matrix_has(matrix, one, matrix->dimensions[d].key)) return true;
    return false;
}

/* Says what two runs of one name are: a combination given twice, or different ones. */
static mr_status refuse_pair(const mr_matrix *matrix, int a, int b, const char *key,
                             const char *name)
{
    char what[2 * MR_CONFIG_STRING];
    if (key)
        snprintf(what, sizeof what,
                 "runs %d and %d differ in %s, yet both are named '%s'; give each a run.name", a, b,
                 key, name);
    else
        snprintf(what, sizeof what, "runs %d and %d are the same, '%s'; give each combination once",
                 a, b, name);
    return mr_matrix_fail(matrix, matrix->node, "matrix", what);
}

/* Something of combinations, for sorting equal ones next to each other. */
typedef struct hashed {
    uint64_t hash;
    int32_t number;
} hashed;

static int by_hash(const void *left, const void *right)
{
    const hashed *a = left, *b = right;
    if (a->hash != b->hash) return a->hash < b->hash ? -1 : 1;
    return (a->number > b->number) - (a->number < b->number);
}

static int by_number(const void *left, const void *right)
{
    int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
    return (a > b) - (a < b);
}

/* Whether b is the same run as a, which comes first. What the matrix gives twice as it stands is
 * refused: it is a slip, where what became equal by a key that dropped out is not. */
static mr_status is_same(const mr_matrix *matrix, int a, int b, bool *same)
{
    mr_combination first = mr_matrix_combination(matrix, a);
    mr_combination second = mr_matrix_combination(matrix, b);
    char name[MR_CONFIG_STRING], other[MR_CONFIG_STRING];
    *same =
        strcmp(mr_matrix_base_name(matrix, &first), mr_matrix_base_name(matrix, &second)) == 0 &&
        !differing_key(matrix, &first, &second);
    if (!*same || has_dropped(matrix, &first) || has_dropped(matrix, &second)) return MR_OK;
    MR_TRY(mr_matrix_name_of(matrix, &first, name));
    MR_TRY(mr_matrix_name_of(matrix, &second, other));
    return strcmp(name, other) == 0 ? refuse_pair(matrix, a, b, NULL, name) : MR_OK;
}

/* Lists the combinations that are runs. */
static mr_status merge_equal(mr_matrix *matrix)
{
    const int count = (int)matrix->combinations;
    hashed *all = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *all);
    int32_t *kept = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *kept);
    mr_status status = all && kept ? MR_OK : MR_ERR_MEMORY;
    int runs = 0;
    for (int i = 0; i < count && status == MR_OK; i++) {
        mr_combination one = mr_matrix_combination(matrix, i);
        all[i] = (hashed){hash_of(matrix, &one), i};
    }
    if (status == MR_OK) qsort(all, (size_t)count, sizeof *all, by_hash);
    for (int i = 0, first = 0; i < count && status == MR_OK; i++) {
        bool same = false;
        if (all[i].hash != all[first].hash) first = i;
        if (i > first) status = is_same(matrix, all[first].number, all[i].number, &same);
        if (!same) kept[runs++] = all[i].number;
    }
    mr_free(all);
    matrix->runs = runs;
    if (status == MR_OK && runs < count) {
        qsort(kept, (size_t)runs, sizeof *kept, by_number);
        matrix->run_at = kept;
        kept = NULL;
    }
    mr_free(kept);
    return status;
}

static mr_status name_of_run(const mr_matrix *matrix, int run, char name[MR_CONFIG_STRING])
{
    mr_combination one = mr_matrix_combination_of(matrix, run);
    return mr_matrix_name_of(matrix, &one, name);
}

static mr_status refuse_equal_names(const mr_matrix *matrix)
{
    const int count = matrix->runs;
    char name[MR_CONFIG_STRING], next[MR_CONFIG_STRING];
    hashed *names = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *names);
    mr_status status = names ? MR_OK : MR_ERR_MEMORY;
    for (int i = 0; i < count && status == MR_OK; i++) {
        status = name_of_run(matrix, i, name);
        names[i] = (hashed){mr_hash_fnv(MR_HASH_FNV, name, strlen(name)), i};
    }
    if (status == MR_OK) qsort(names, (size_t)count, sizeof *names, by_hash);
    for (int i = 1; i < count && status == MR_OK; i++) {
        const hashed *a = &names[i - 1], *b = &names[i];
        if (a->hash != b->hash) continue;
        status = name_of_run(matrix, a->number, name);
        if (status == MR_OK) status = name_of_run(matrix, b->number, next);
        if (status != MR_OK || strcmp(name, next) != 0) continue;
        mr_combination left = mr_matrix_combination_of(matrix, a->number);
        mr_combination right = mr_matrix_combination_of(matrix, b->number);
        const char *key = differing_key(matrix, &left, &right);
        status = refuse_pair(matrix, a->number, b->number, key ? key : "run.name", name);
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
static mr_status model_folder(const mr_matrix *matrix, int run, mr_config *scratch,
                              char out[MR_CONFIG_STRING])
{
    mr_combination one = mr_matrix_combination_of(matrix, run);
    MR_TRY(mr_matrix_make(matrix, &one, scratch));
    shorten(scratch->run.save_model, out);
    return MR_OK;
}

/* Only where the matrix itself names folders may two runs have one. */
static mr_status refuse_equal_folders(const mr_matrix *matrix)
{
    const int count = matrix->runs, key = mr_matrix_key(matrix, "run.save_model");
    if (matrix->spreads[key].blocks == 0) return MR_OK;
    char folder[MR_CONFIG_STRING], next[MR_CONFIG_STRING];
    hashed *names = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *names);
    mr_config *scratch = mr_alloc(MR_MEM_OTHER, sizeof *scratch);
    mr_status status = names && scratch ? MR_OK : MR_ERR_MEMORY;
    for (int i = 0; i < count && status == MR_OK; i++) {
        status = model_folder(matrix, i, scratch, folder);
        names[i] = (hashed){mr_hash_fnv(MR_HASH_FNV, folder, strlen(folder)), i};
    }
    if (status == MR_OK) qsort(names, (size_t)count, sizeof *names, by_hash);
    for (int i = 1; i < count && status == MR_OK; i++) {
        const hashed *a = &names[i - 1], *b = &names[i];
        if (a->hash != b->hash) continue;
        status = model_folder(matrix, a->number, scratch, folder);
        if (status == MR_OK) status = model_folder(matrix, b->number, scratch, next);
        if (status != MR_OK || folder[0] == '\0' || strcmp(folder, next) != 0) continue;
        char what[MR_CONFIG_STRING + 200];
        snprintf(what, sizeof what,
                 "runs %d and %d both save their model to '%s'; outside the matrix, "
                 "run.save_model gives each a folder below it",
                 a->number, b->number, folder);
        status = mr_matrix_fail(matrix, matrix->node, "run.save_model", what);
    }
    mr_free(names);
    mr_free(scratch);
    return status;
}

mr_status mr_matrix_part(mr_matrix *matrix)
{
    MR_TRY(merge_equal(matrix));
    MR_TRY(refuse_equal_names(matrix));
    return refuse_equal_folders(matrix);
}
