#ifndef MR_TRAIN_TRAINER_H
#define MR_TRAIN_TRAINER_H

/** @file
 * A model being trained on a task: set-up in two steps (lay out, allocate), then one call an
 * optimizer step. Everything a step depends on is (configuration, weights, step number). */

#include "data/batch.h"
#include "optim/optimizer.h"
#include "train/plan.h"

/** What one optimizer step did. */
typedef struct mr_step_result {
    double loss;      /**< nats a scored token, over the whole global batch */
    double grad_norm; /**< before clipping */
    double lr;
    int64_t scored; /**< scored tokens of the global batch */
    int64_t tokens; /**< tokens of the global batch, padding included */
    double seconds;
} mr_step_result;

/** Owns all but comm, config and be. */
typedef struct mr_trainer {
    const mr_comm *comm;
    const mr_config *config;
    mr_backend *be;
    mr_tokenizer *tokenizer;
    mr_dataset *dataset;
    mr_model *model;
    mr_generator *generator; /**< NULL where the task is not scored by generation */
    mr_optimizer optimizer;
    mr_order order;
    mr_plan plan;
    size_t memory_limit; /**< bytes a rank may take */
    int64_t seq_len;
    int64_t micro_batches; /**< of a step, over all ranks */
    int64_t total_steps;
    bool rank_free;  /**< the bits of a run do not depend on the number of ranks */
    int32_t *tokens; /**< [micro-batches here, N] of the step */
    int32_t *targets;
    double *losses; /**< [N] */
} mr_trainer;

/** Reads the architecture a configuration names (model.path or model.config). Collective.
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT; the same on every rank */
MR_NODISCARD mr_status mr_trainer_arch(const mr_comm *comm, const mr_config *config,
                                       mr_hf_config *arch);

/** Lays out a run: data, model, plan; allocates no tensors yet. Collective.
 * @return MR_OK, MR_ERR_CONFIG, MR_ERR_ARG (batch not divisible, r, target_modules),
 *         MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_trainer_create(const mr_comm *comm, const mr_config *config,
                                         mr_backend *be, const mr_hf_config *arch,
                                         mr_trainer **out);

/** Tells whether the plan fits the memory a rank may take. Local.
 * @return MR_OK, MR_ERR_ARG (with both sizes, and what would take less) */
MR_NODISCARD mr_status mr_trainer_check_memory(const mr_trainer *trainer);

/** Allocates what was planned and sets the starting weights (drawn, or read from model.path).
 * Collective. @return MR_OK, MR_ERR_ARG (the plan does not fit), MR_ERR_MEMORY, MR_ERR_IO,
 * MR_ERR_FORMAT; the same on every rank */
MR_NODISCARD mr_status mr_trainer_allocate(mr_trainer *trainer);

/** Frees everything and sets *out to NULL; NULL is allowed. */
void mr_trainer_destroy(mr_trainer **out);

/** Does one optimizer step. Collective; allocates nothing.
 * @return MR_OK; MR_ERR_NUMERIC where loss or gradient norm is not finite (nothing is updated);
 *         errors of the data; the same on every rank */
MR_NODISCARD mr_status mr_trainer_step(mr_trainer *trainer, mr_step_result *result);

/** Does the step on what stands in tokens and targets already, of which all_scored targets are
 * scored over all ranks; seconds is left alone. As mr_trainer_step otherwise. */
MR_NODISCARD mr_status mr_trainer_compute(mr_trainer *trainer, int64_t all_scored,
                                          mr_step_result *result);

/** Scores the first eval.items items (0: all) by generation. Collective.
 * @param[out] items  [count of items] scores in [0, 1], the same on every rank
 * @param[out] mean   of items
 * @return MR_OK, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_trainer_score(mr_trainer *trainer, float *items, double *mean);

/** Returns the items mr_trainer_score scores. */
int64_t mr_trainer_scored_items(const mr_trainer *trainer);

/** Returns the threads a rank should compute on: `wanted`, or with 0 the processors this process
 * may use shared among the ranks of its node. Collective. */
int mr_trainer_threads(const mr_comm *comm, int64_t wanted);

#endif
