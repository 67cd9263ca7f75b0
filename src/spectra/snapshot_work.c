/* Working off a snapshot: base facts once, copies, dense rounds, and one update. */

#include "base/signals.h"
#include "linalg/leading.h"
#include "linalg/svd.h"
#include "linalg/thread.h"
#include "spectra/overlap.h"
#include "spectra/snapshot_impl.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int64_t side_of(const mr_source_linear *at)
{
    return at->rows < at->cols ? at->rows : at->cols;
}

void mr_snapshots_fail(mr_snapshots *s, int i, mr_status status)
{
    pthread_mutex_lock(&s->lock);
    if (s->failure.status == MR_OK || i < s->failure.linear) {
        s->failure.status = status;
        s->failure.linear = i;
        snprintf(s->failure.message, sizeof s->failure.message, "%s", mr_message());
    }
    pthread_mutex_unlock(&s->lock);
}

/* How many of values [n], descending, have directions that are more than rounding. */
static int64_t defined(const double *values, int64_t n, const mr_source_linear *at)
{
    const double longer = (double)(at->rows > at->cols ? at->rows : at->cols);
    int64_t count = 0;
    while (count < n && values[count] > longer * DBL_EPSILON * values[0])
        count++;
    return count;
}

static double *left_of_base(const mr_snapshots *s, int i)
{
    return s->vector + s->linear[i].vectors;
}

static double *right_of_base(const mr_snapshots *s, int i)
{
    return left_of_base(s, i) + s->linear[i].cosines * s->source.at[i].rows;
}

/* Cosines between the leading directions of an update and of the base, as many as both have. */
static mr_status compare(const mr_snapshots *s, int i, const mr_structure *update,
                         const double *values, double *left, double *right)
{
    const mr_source_linear *at = &s->source.at[i];
    const mr_snapshot_linear *l = &s->linear[i];
    int64_t k = defined(values, l->cosines, at);
    if (l->base_rank < k) k = l->base_rank;
    if (k == 0) return MR_OK;
    double *lead =
        mr_alloc_array(MR_MEM_OTHER, (size_t)(k * (1 + at->rows + at->cols)), sizeof *lead);
    if (!lead) return MR_ERR_MEMORY;
    double *u = lead + k, *v = u + k * at->rows;
    const mr_operator op = mr_structure_operator(update);
    mr_status status = mr_leading(&op, k, lead, u, v);
    if (status == MR_OK) status = mr_principal_cosines(left_of_base(s, i), u, k, at->rows, left);
    if (status == MR_OK) status = mr_principal_cosines(right_of_base(s, i), v, k, at->cols, right);
    mr_free(lead);
    return status;
}

double *mr_snapshots_record(mr_snapshots *s, int i, const double *values, int route)
{
    const mr_snapshot_linear *l = &s->linear[i];
    double *at = s->record + l->record;
    mr_measures measures;
    mr_measures_of(values, side_of(&s->source.at[i]), s->options.threshold, &measures);
    mr_measures_relate(&measures, l->base);
    memcpy(at, values, (size_t)l->values * sizeof *at);
    at += l->values;
    for (int m = 0; m < mr_measure_count; m++)
        *at++ = mr_measure_value(&measures, m);
    for (int64_t j = 0; j < 2 * l->cosines; j++)
        at[j] = NAN;
    at[2 * l->cosines] = route;
    return at;
}

static mr_status measure(mr_snapshots *s, int i, const mr_structure *update, double *values)
{
    const int64_t k = s->linear[i].cosines;
    MR_TRY(mr_structure_values(update, values));
    double *cosines = mr_snapshots_record(s, i, values, (int)mr_structure_route(update));
    return k > 0 ? compare(s, i, update, values, cosines, cosines + k) : MR_OK;
}

static void work_off(mr_snapshots *s, int i, const mr_structure *update)
{
    double *values =
        mr_alloc_array(MR_MEM_OTHER, (size_t)side_of(&s->source.at[i]), sizeof *values);
    mr_status status = values ? measure(s, i, update, values) : MR_ERR_MEMORY;
    if (status != MR_OK) mr_snapshots_fail(s, i, mr_fail_in(status, "%s", s->source.at[i].name));
    mr_free(values);
}

mr_status mr_snapshots_copy(mr_snapshots *s)
{
    mr_status status = MR_OK;
    int64_t in_use = -1;
    mr_params_read_begin(mr_model_params(s->source.model));
    for (int i = 0; i < s->source.count; i++) {
        const mr_model_linear *linear = &s->source.at[i].linear;
        if (s->linear[i].round != MR_SNAPSHOT_COPIED) continue;
        if (linear->layer != in_use && mr_model_update_is_sharded(s->source.model, linear)) {
            in_use = linear->layer;
            mr_model_use_layer(s->source.model, in_use, -1);
        }
        if (status == MR_OK && mr_snapshot_is_own(s, i))
            status = mr_model_source_take(&s->source, i, &s->linear[i].copy);
    }
    return mr_comm_agree(s->comm, status);
}

void mr_snapshots_work_off(mr_snapshots *s, int threads)
{
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int i = 0; i < s->source.count; i++) {
        if (s->linear[i].round != MR_SNAPSHOT_COPIED || !mr_snapshot_is_own(s, i)) continue;
        work_off(s, i, &s->linear[i].copy);
        mr_structure_free(&s->linear[i].copy);
    }
}

/* Puts the own linears of a round into the slots, merged; returns how many. Collective. */
static int fill_slots(mr_snapshots *s, int round)
{
    const mr_model_source *source = &s->source;
    int next = 0, count = 0;
    for (int i = 0; i < source->count; i = next) {
        const int64_t layer = source->at[i].linear.layer;
        int64_t after = -1;
        bool due = false;
        for (next = i; next < source->count && source->at[next].linear.layer == layer; next++)
            due = due || s->linear[next].round == round;
        for (int j = next; j < source->count && after < 0; j++)
            if (s->linear[j].round == round) after = source->at[j].linear.layer;
        if (due) mr_model_use_layer(source->model, layer, after);
        for (int j = i; due && j < next; j++) {
            if (s->linear[j].round != round || !mr_snapshot_is_own(s, j)) continue;
            mr_model_source_now(&s->source, j, s->slot[count]);
            s->in_slot[count++] = j;
        }
    }
    return count;
}

static void work_off_slot(mr_snapshots *s, int i, double *dense)
{
    mr_structure update;
    mr_model_source_describe(&s->source, i, &update);
    update.dense = dense; /* of the slot */
    mr_status status = mr_model_source_add_start(&s->source, i, -1, dense);
    if (status == MR_OK)
        work_off(s, i, &update);
    else
        mr_snapshots_fail(s, i, status);
}

mr_status mr_snapshots_go_on(const mr_snapshots *s, bool stoppable)
{
    MR_CHECK(!stoppable || !mr_comm_any(s->comm, mr_signals_caught() != 0), MR_STOPPED,
             "spectra were broken off by a signal");
    return MR_OK;
}

mr_status mr_snapshots_work_off_dense(mr_snapshots *s, bool stoppable)
{
    int rounds = 0;
    for (int i = 0; i < s->source.count; i++)
        if (s->linear[i].round >= rounds) rounds = s->linear[i].round + 1;
    for (int round = 0; round < rounds; round++) {
        MR_TRY(mr_snapshots_go_on(s, stoppable));
        const int count = fill_slots(s, round);
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->options.slots)
        for (int j = 0; j < count; j++)
            work_off_slot(s, s->in_slot[j], s->slot[j]);
    }
    return MR_OK;
}

static double frobenius_of(const double *values, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum +=
            values[i] * values[i]; /* of float32: none too large, and none too small that counts */
    return sqrt(sum);
}

/* All singular values of the base, for theta. */
static mr_status measure_all(const mr_source_linear *at, const double *dense, mr_base_facts *base)
{
    double *values = mr_alloc_array(MR_MEM_OTHER, (size_t)side_of(at), sizeof *values);
    mr_status status = values ? mr_svd_values(dense, at->rows, at->cols, values) : MR_ERR_MEMORY;
    if (status == MR_OK) {
        base->sigma1 = values[0];
        base->theta = mr_intruder_theta(values, at->rows, at->cols);
    }
    mr_free(values);
    return status;
}

/* The leading directions of the base, one at least, for sigma_1. */
static mr_status measure_leading(mr_snapshots *s, int i, const double *dense)
{
    const mr_source_linear *at = &s->source.at[i];
    mr_snapshot_linear *l = &s->linear[i];
    const int64_t k = l->cosines > 0 ? l->cosines : 1;
    const mr_dense_matrix matrix = {.rows = at->rows, .cols = at->cols, .values = dense};
    const mr_operator op = mr_dense_operator(&matrix);
    const size_t spare = l->cosines > 0 ? 0 : (size_t)(at->rows + at->cols);
    double *lead = mr_alloc_array(MR_MEM_OTHER, (size_t)k + spare, sizeof *lead);
    if (!lead) return MR_ERR_MEMORY;
    double *u = l->cosines > 0 ? left_of_base(s, i) : lead + k;
    double *v = l->cosines > 0 ? right_of_base(s, i) : u + at->rows;
    mr_status status = mr_leading(&op, k, lead, u, v);
    if (status == MR_OK) {
        l->base.sigma1 = lead[0];
        l->base_rank = defined(lead, k, at);
    }
    mr_free(lead);
    return status;
}

static void measure_base(mr_snapshots *s, int i, double *dense)
{
    const mr_source_linear *at = &s->source.at[i];
    mr_snapshot_linear *l = &s->linear[i];
    const int64_t elements = at->rows * at->cols;
    memset(dense, 0, (size_t)elements * sizeof *dense);
    mr_status status = mr_model_source_add_start(&s->source, i, 1, dense);
    if (status == MR_OK) {
        l->base = (mr_base_facts){.frobenius = frobenius_of(dense, elements), .theta = NAN};
        if (l->cosines > 0 || !s->options.base) status = measure_leading(s, i, dense);
        if (status == MR_OK && s->options.base) status = measure_all(at, dense, &l->base);
        if (status != MR_OK) status = mr_fail_in(status, "%s at the start", at->name);
    }
    if (status != MR_OK) mr_snapshots_fail(s, i, status);
}

mr_status mr_snapshots_measure_base(mr_snapshots *s, bool stoppable)
{
    int next = 0;
    /* Ranks go on together until the last one has no linear left. */
    while (mr_comm_any(s->comm, next < s->source.count)) {
        int count = 0;
        MR_TRY(mr_snapshots_go_on(s, stoppable));
        for (; next < s->source.count && count < s->options.slots; next++)
            if (mr_snapshot_is_own(s, next) && !s->linear[next].spread) s->in_slot[count++] = next;
#pragma omp parallel for schedule(dynamic, 1) num_threads(s->options.slots)
        for (int j = 0; j < count; j++)
            measure_base(s, s->in_slot[j], s->slot[j]);
    }
    return MR_OK;
}
