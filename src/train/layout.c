/* What a run is made of, laid out for a geometry and planned; the contract stands in
 * train/layout.h. */

#include "train/layout.h"

#include "train/due.h"
#include "train/state.h"

#include <stdio.h>

mr_dtype mr_trainer_dtype(const mr_config *config)
{
    return config->model.dtype == 1 ? MR_BF16 : MR_F32;
}

mr_dtype mr_trainer_states(const mr_config *config)
{
    return config->train.optimizer_dtype == 1 ? MR_BF16 : MR_F32;
}

/* Checkpoints at their times are written in the background, from a copy, where there is room. */
static void plan_staging(mr_trainer *t)
{
    if (t->config->checkpoint.every_steps == 0 && t->config->checkpoint.every_minutes <= 0) return;
    size_t bytes = mr_state_staging_bytes(t->model);
    if (mr_bytes_add(t->plan.total, 1, bytes) > t->limit.bytes) return;
    mr_plan_add(&t->plan, MR_MEM_CHECKPOINT, bytes);
}

/* What the task holds by now, and the samples of a step. */
static size_t data_bytes(const mr_trainer *t)
{
    const mr_geometry *g = mr_model_geometry(t->model);
    int64_t tokens = g->micros * g->batch * g->tokens;
    return mr_bytes_add(mr_memory_live(MR_MEM_DATA), tokens,
                        (g->packed ? 4 : 2) * sizeof *t->rows.tokens);
}

/* The log of a run as it stands in memory, on rank 0: rows of training, and scores of items. */
static size_t log_bytes(const mr_trainer *t)
{
    enum { TRAINING_ROW = 6 * sizeof(double), SCORES_ROW = 8 * sizeof(double) };
    const mr_config *c = t->config;
    size_t bytes = mr_bytes_add(0, t->total_steps / c->log.every, TRAINING_ROW);
    for (int i = 0; t->evaluator && i < t->evaluator->sets; i++) {
        const mr_eval_set *set = &t->evaluator->set[i];
        size_t row = mr_bytes_add(SCORES_ROW, set->items, sizeof(float));
        bytes = mr_bytes_add(bytes, mr_set_times(t, set), row);
    }
    return bytes;
}

/* What the layout holds by now, what the optimizer and the log will, and scratch. */
static size_t other_bytes(const mr_trainer *t)
{
    size_t bytes[MR_MEM_PURPOSES] = {0};
    mr_optimizer_bytes(mr_model_params(t->model), bytes);
    bytes[MR_MEM_OTHER] =
        mr_bytes_add(bytes[MR_MEM_OTHER], 1, mr_memory_live(MR_MEM_OTHER) - t->held);
    bytes[MR_MEM_OTHER] = mr_bytes_add(bytes[MR_MEM_OTHER], 1, log_bytes(t));
    return mr_bytes_add(bytes[MR_MEM_OTHER], 1, mr_model_scratch(t->model));
}

/* Lays out the spectra where they are asked for: so many dense matrices at a time, none of more
 * elements than most. */
static mr_status create_snapshots(mr_trainer *t, int slots, int64_t most)
{
    const mr_config *c = t->config;
    mr_snapshots_destroy(&t->snapshots);
    if (c->log.spectrum_every == 0) return MR_OK;
    const bool merges =
        mr_model_method(t->model)->merges && mr_adapter_config_of(c)->merge_every <= t->total_steps;
    return mr_snapshots_create(t->model,
                               &(mr_snapshot_options){.modules = &c->log.spectrum_modules,
                                                      .threshold = c->log.spectrum_threshold,
                                                      .top = c->log.spectrum_top,
                                                      .cosines = c->log.spectrum_cosines,
                                                      .base = c->log.spectrum_base,
                                                      .merges = merges,
                                                      .slots = slots,
                                                      .most = most,
                                                      .threads = t->be->threads},
                               &t->snapshots);
}

static void plan(mr_trainer *t)
{
    size_t bytes[MR_MEM_PURPOSES] = {0};
    t->plan =
        mr_plan_of(t->model, t->evaluator, t->limit.node_ranks, data_bytes(t), other_bytes(t));
    if (t->snapshots) mr_snapshots_bytes(t->snapshots, bytes);
    for (int i = 0; i < MR_MEM_PURPOSES; i++)
        mr_plan_add(&t->plan, (mr_purpose)i, bytes[i]);
}

/* Lays out spectra and plans all: where that does not fit, with fewer matrices at a time, and then
 * with the largest ones spread over the ranks. */
static mr_status plan_with_spectra(mr_trainer *t)
{
    int slots = t->be->threads;
    int64_t most = INT64_MAX;
    for (;;) {
        MR_TRY(create_snapshots(t, slots, most));
        plan(t);
        if (!t->snapshots || t->plan.total <= t->limit.bytes) return MR_OK;
        const int64_t largest = mr_snapshots_largest(t->snapshots);
        if (slots == 1 && largest == 0) return MR_OK;
        if (slots > 1)
            slots /= 2;
        else
            most = largest - 1;
    }
}

mr_status mr_trainer_lay_out(mr_trainer *t, const mr_hf_config *arch, mr_geometry geometry)
{
    mr_snapshots_destroy(&t->snapshots);
    if (t->evaluator) MR_TRY(mr_evaluator_lay_out(t->evaluator, NULL));
    mr_model_destroy(&t->model);
    MR_TRY(
        mr_model_create(&(mr_model_options){.comm = t->comm,
                                            .nodes = &t->nodes,
                                            .be = t->be,
                                            .arch = arch,
                                            .method = mr_adapter_find(t->config->method.name),
                                            .adapter = mr_adapter_config_of(t->config),
                                            .lr_scale = &t->config->train.lr_scale,
                                            .lr = t->config->train.lr,
                                            .shard = (mr_shard)t->config->parallel.shard,
                                            .states = mr_trainer_states(t->config),
                                            .compute = mr_trainer_dtype(t->config),
                                            .fp8 = t->config->model.matmul == MR_MATMUL_FP8,
                                            .recompute = (mr_recompute)t->config->train.recompute,
                                            .seed = (uint64_t)t->config->run.seed,
                                            .geometry = geometry},
                        &t->model));
    if (t->evaluator) MR_TRY(mr_evaluator_lay_out(t->evaluator, t->model));
    MR_TRY(plan_with_spectra(t));
    plan_staging(t);
    return MR_OK;
}
