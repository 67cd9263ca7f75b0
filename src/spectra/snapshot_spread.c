/* What is too large for one rank: worked off by all of them, one matrix after another. */

#include "linalg/distributed.h"
#include "spectra/snapshot_impl.h"

#include <math.h>

static const mr_distributed_route ROUTE = MR_DISTRIBUTED_BIDIAGONAL;

/* A matrix on its way: the base, or what was learnt. */
typedef struct spread_matrix {
    mr_snapshots *s;
    int linear;
    bool learnt;
    int64_t merged; /* first of the merged rows that are there; -1: none */
    float *rows;    /* [MR_MERGE_ROWS, cols], owned */
    float *start;   /* [cols], owned */
} spread_matrix;

/* Merged rows are made by whole chunks, as a merge makes them. */
static const float *merged_row(spread_matrix *m, int64_t row)
{
    const mr_source_linear *at = &m->s->source.at[m->linear];
    const int64_t first = row / MR_MERGE_ROWS * MR_MERGE_ROWS, left = at->rows - first;
    if (first != m->merged)
        mr_model_merged_rows(m->s->source.model, &at->linear, first,
                             left < MR_MERGE_ROWS ? left : MR_MERGE_ROWS, &m->s->source.scratch,
                             m->rows);
    m->merged = first;
    return m->rows + (row - first) * at->cols;
}

static mr_status give(void *context, int64_t row, int64_t col, int64_t rows, int64_t cols,
                      double *out)
{
    spread_matrix *m = context;
    const mr_model_source *source = &m->s->source;
    const mr_source_linear *at = &source->at[m->linear];
    for (int64_t i = 0; i < rows; i++) {
        MR_TRY(mr_model_start_values(source->model, source->seed, source->weights,
                                     at->linear.weight, (row + i) * at->cols + col, cols,
                                     m->start));
        const float *now = m->learnt ? merged_row(m, row + i) + col : NULL;
        for (int64_t j = 0; j < cols; j++)
            out[i * cols + j] = now ? (double)now[j] - (double)m->start[j] : (double)m->start[j];
    }
    return MR_OK;
}

/* All singular values of a spread linear, the same on every rank. Collective. */
static mr_status values_of(mr_snapshots *s, int i, bool learnt, double *values)
{
    const mr_source_linear *at = &s->source.at[i];
    const size_t cols = (size_t)at->cols;
    spread_matrix m = {.s = s, .linear = i, .learnt = learnt, .merged = -1};
    m.rows = mr_alloc_array(MR_MEM_OTHER, MR_MERGE_ROWS * cols, sizeof *m.rows);
    m.start = mr_alloc_array(MR_MEM_OTHER, cols, sizeof *m.start);
    mr_status status = mr_comm_agree(s->comm, m.rows && m.start ? MR_OK : MR_ERR_MEMORY);
    if (status == MR_OK) {
        if (learnt) mr_model_use_layer(s->source.model, at->linear.layer, -1);
        const mr_matrix_parts parts = mr_matrix_by_rows(s->comm, at->rows, at->cols, give, &m);
        status = mr_distributed_values(s->comm, &parts, ROUTE, values);
    }
    mr_free(m.rows);
    mr_free(m.start);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "%s", at->name);
}

/* Calls `use` with the values of every linear that is spread now. Collective. */
static mr_status for_each(mr_snapshots *s, bool learnt, bool stoppable,
                          void (*use)(mr_snapshots *s, int i, const double *values, int64_t count))
{
    for (int i = 0; i < s->source.count; i++) {
        const mr_source_linear *at = &s->source.at[i];
        const int64_t side = at->rows < at->cols ? at->rows : at->cols;
        if (learnt ? s->linear[i].round != MR_SNAPSHOT_SPREAD : !s->linear[i].spread) continue;
        MR_TRY(mr_snapshots_go_on(s, stoppable));
        double *values = mr_alloc_array(MR_MEM_OTHER, (size_t)side, sizeof *values);
        mr_status status = mr_comm_agree(s->comm, values ? MR_OK : MR_ERR_MEMORY);
        if (status == MR_OK) status = values_of(s, i, learnt, values);
        if (status == MR_OK)
            use(s, i, values, side);
        else
            mr_snapshots_fail(s, i, status);
        mr_free(values);
    }
    return MR_OK;
}

static void take_base(mr_snapshots *s, int i, const double *values, int64_t count)
{
    const mr_source_linear *at = &s->source.at[i];
    double sum = 0;
    for (int64_t j = 0; j < count; j++)
        sum += values[j] * values[j];
    s->linear[i].base = (mr_base_facts){.sigma1 = values[0],
                                        .frobenius = sqrt(sum),
                                        .theta = mr_intruder_theta(values, at->rows, at->cols)};
}

static void take_record(mr_snapshots *s, int i, const double *values, int64_t count)
{
    (void)count;
    if (mr_snapshot_is_own(s, i)) mr_snapshots_record(s, i, values, MR_ROUTES + (int)ROUTE);
}

mr_status mr_snapshots_measure_spread(mr_snapshots *s, bool stoppable)
{
    return for_each(s, false, stoppable, take_base);
}

mr_status mr_snapshots_work_off_spread(mr_snapshots *s, bool stoppable)
{
    return for_each(s, true, stoppable, take_record);
}

size_t mr_snapshots_spread_bytes(const mr_snapshots *s, int i)
{
    const mr_source_linear *at = &s->source.at[i];
    const int64_t side = at->rows < at->cols ? at->rows : at->cols;
    size_t bytes = mr_distributed_bytes(at->rows, at->cols, s->comm->size, ROUTE);
    bytes = mr_bytes_add(bytes, (MR_MERGE_ROWS + 1) * at->cols, sizeof(float));
    return mr_bytes_add(bytes, side, sizeof(double));
}
