/* One linear: its values, its measures, and how it lies to its base. */

#include "base/hash.h"
#include "linalg/svd.h"
#include "spectra/analysis_impl.h"
#include "spectra/overlap.h"

#include <math.h>
#include <string.h>

static int64_t side(const mr_updates_item *item)
{
    return item->rows < item->cols ? item->rows : item->cols;
}

/* Noise of the update's norm in its place, once it was compared. */
static mr_status compare_both(const mr_updates_item *item, const mr_structure *update,
                              const mr_base_space *base, const mr_analysis_options *options,
                              mr_analysis *out)
{
    const int64_t n = side(item);
    const mr_comparison_options asked = {
        .k = out->k,
        .rank = mr_numerical_rank(out->values, n, item->rows, item->cols),
        .epsilon = options->epsilon};
    double *x = mr_alloc_array(MR_MEM_OTHER, (size_t)(item->rows * item->cols), sizeof *x);
    mr_status status = x ? mr_structure_dense(update, x) : MR_ERR_MEMORY;
    if (status == MR_OK) status = mr_compare(base, x, &asked, out->left, out->right, &out->own);
    if (status == MR_OK) {
        /* Of a stream of the name: other matrices that are looked at change nothing. */
        const uint64_t stream = mr_hash_fnv(MR_HASH_FNV, item->name, strlen(item->name));
        mr_noise(options->seed, stream, item->rows, item->cols, out->measures.frobenius, x);
        status = mr_compare(base, x, &asked, NULL, NULL, &out->noise);
    }
    mr_free(x);
    return status;
}

static void relate(const double *values, int64_t n, const mr_updates_item *item,
                   mr_measures *measures)
{
    mr_measures base;
    mr_measures_of(values, n, 0, &base);
    mr_measures_relate(measures,
                       (mr_base_facts){base.sigma1, base.frobenius,
                                       mr_intruder_theta(values, item->rows, item->cols)});
}

static mr_status beside_base(const mr_updates_item *item, const mr_stored *weight,
                             const mr_structure *update, const mr_analysis_options *options,
                             mr_analysis *out)
{
    const int64_t n = side(item);
    mr_base_space base;
    MR_TRY(mr_base_space_make(item->rows, item->cols, &base));
    mr_status status = mr_stored_rows(weight, 0, item->rows, base.weight);
    if (status == MR_OK) {
        status = options->directions > 0
                     ? mr_base_space_solve(&base)
                     : mr_svd_values(base.weight, item->rows, item->cols, base.values);
        if (status != MR_OK) status = mr_fail_in(status, "base");
    }
    if (status == MR_OK) relate(base.values, n, item, &out->measures);
    if (status == MR_OK && options->directions > 0) {
        out->compared = true;
        out->k = options->directions < n ? options->directions : n;
        out->left = mr_alloc_array(MR_MEM_OTHER, (size_t)(2 * out->k), sizeof *out->left);
        if (!out->left) status = MR_ERR_MEMORY;
        out->right = out->left ? out->left + out->k : NULL;
        for (int64_t i = 0; out->left && i < 2 * out->k; i++)
            out->left[i] = NAN;
        if (status == MR_OK) status = compare_both(item, update, &base, options, out);
    }
    mr_base_space_free(&base);
    return status;
}

/* Makes room for the values of an item, and clears its numbers. */
static mr_status begin(const mr_updates_item *item, mr_analysis *out)
{
    mr_comparison_clear(&out->own);
    mr_comparison_clear(&out->noise);
    out->values = mr_alloc_array(MR_MEM_OTHER, (size_t)side(item), sizeof *out->values);
    return out->values ? MR_OK : MR_ERR_MEMORY;
}

mr_status mr_analyse_one(const mr_updates *updates, int64_t index,
                         const mr_analysis_options *options, mr_analysis *out)
{
    const mr_updates_item *item = &updates->item[index];
    mr_updates_parts parts;
    mr_structure update;
    MR_TRY(mr_updates_parts_of(updates, item, &parts));
    MR_TRY(begin(item, out));
    MR_TRY(mr_updates_take(item, &parts, &update));
    out->route = (int)mr_structure_route(&update);
    mr_status status = mr_structure_values(&update, out->values);
    if (status == MR_OK) {
        mr_measures_of(out->values, side(item), options->threshold, &out->measures);
        if (mr_stored_exists(&parts.base))
            status = beside_base(item, &parts.base, &update, options, out);
    }
    mr_structure_free(&update);
    return status;
}

/* Rows of a matrix by pieces, for a part of their columns. */
typedef struct tile_source {
    mr_updates_reader *update; /* NULL: of the base */
    const mr_stored *base;
    double *row; /* [cols], owned */
    int64_t cols;
} tile_source;

static mr_status read_tile(void *context, int64_t row, int64_t col, int64_t rows, int64_t cols,
                           double *out)
{
    const tile_source *t = context;
    const bool whole = cols == t->cols;
    const int64_t step = whole ? rows : 1;
    for (int64_t i = 0; i < rows; i += step) {
        double *to = whole ? out : t->row;
        MR_TRY(t->update ? mr_updates_reader_rows(t->update, row + i, step, to)
                         : mr_stored_rows(t->base, row + i, step, to));
        if (!whole) memcpy(out + i * cols, t->row + col, (size_t)cols * sizeof *out);
    }
    return MR_OK;
}

static mr_status values_together(const mr_comm *comm, const mr_updates_item *item,
                                 tile_source *source, mr_distributed_route route, double *values)
{
    source->cols = item->cols;
    source->row = mr_alloc_array(MR_MEM_OTHER, (size_t)item->cols, sizeof *source->row);
    mr_status status = mr_comm_agree_first(comm, source->row ? MR_OK : MR_ERR_MEMORY, 0);
    if (status == MR_OK) {
        const mr_matrix_parts parts =
            mr_matrix_by_rows(comm, item->rows, item->cols, read_tile, source);
        status = mr_distributed_values(comm, &parts, route, values);
    }
    mr_free(source->row);
    return status;
}

/* What every rank does for itself before all work together. */
static mr_status prepare(const mr_updates *updates, const mr_updates_item *item,
                         mr_updates_parts *parts, mr_updates_reader *reader, mr_analysis *out)
{
    MR_TRY(mr_updates_parts_of(updates, item, parts));
    MR_TRY(begin(item, out));
    return mr_updates_reader_open(item, parts, reader);
}

mr_status mr_analyse_together(const mr_comm *comm, const mr_updates *updates, int64_t index,
                              const mr_analysis_options *options, mr_analysis *out)
{
    const mr_updates_item *item = &updates->item[index];
    const int64_t n = side(item);
    mr_updates_parts parts;
    mr_updates_reader reader = {.length = NULL};
    mr_status status = prepare(updates, item, &parts, &reader, out);
    status = mr_comm_agree_first(comm, status, comm->rank);
    out->route = MR_ROUTES + (int)options->route;
    tile_source source = {.update = &reader, .base = &parts.base};
    if (status == MR_OK) status = values_together(comm, item, &source, options->route, out->values);
    if (status == MR_OK) {
        mr_measures_of(out->values, n, options->threshold, &out->measures);
        double *base = mr_alloc_array(MR_MEM_OTHER, (size_t)n, sizeof *base);
        status = mr_comm_agree_first(comm, base ? MR_OK : MR_ERR_MEMORY, 0);
        source.update = NULL;
        if (status == MR_OK && mr_stored_exists(&parts.base)) {
            status = values_together(comm, item, &source, options->route, base);
            if (status == MR_OK)
                relate(base, n, item, &out->measures);
            else
                status = mr_fail_in(status, "base");
        }
        mr_free(base);
    }
    mr_updates_reader_close(&reader);
    return status;
}
