#ifndef MR_TRAIN_TRAINER_H
#define MR_TRAIN_TRAINER_H

/** @file
 * A model being trained on a task: set-up in two steps (lay out, allocate), then one call an
 * optimizer step. Everything a step depends on is (configuration, weights, step number). */

#include "base/file.h"
#include "data/batch.h"
#include "eval/evaluator.h"
#include "optim/schedule.h"
#include "spectra/snapshot.h"
#include "store/checkpoint.h"
#include "train/frozen.h"
#include "train/guard.h"
#include "train/inputs.h"
#include "train/plan.h"

enum { MR_RIDERS = 4 }; /**< most numbers that travel with what is told of a step's data */

/** What one optimizer step did. */
typedef struct mr_step_result {
    int64_t step;     /**< its number, from 1 */
    double loss;      /**< nats a scored token, over the whole global batch */
    double grad_norm; /**< before clipping */
    double lr;
    int64_t tokens; /**< tokens of the global batch, padding included */
    double seconds;
    mr_verdict verdict;
    bool updated;                   /**< the weights were changed */
    int64_t restart;                /**< above 0: the adapters were merged, so many times by now */
    mr_optimizer_reset_count reset; /**< what that cleared */
} mr_step_result;

/** The data of a step that stand in rows. */
typedef struct mr_step_data {
    bool there; /**< on every rank */
    int64_t step;
    int64_t scored; /**< targets, over all ranks */
    double seconds; /**< that it took to read them and to meet the other ranks */
} mr_step_data;

/** Owns all but comm, config, be and merge_context. */
typedef struct mr_trainer {
    const mr_comm *comm;
    const mr_config *config;
    mr_backend *be;
    mr_tokenizer *tokenizer;
    mr_dataset *dataset;
    mr_model *model;
    mr_evaluator *evaluator; /**< of no sets where the task has nothing to score */
    mr_optimizer optimizer;
    mr_order order;
    mr_nodes nodes; /**< whose ranks share memory */
    mr_plan plan;
    mr_memory_limit limit;
    mr_inputs inputs;                      /**< set by mr_trainer_allocate, as the next */
    char frozen_digest[MR_WEIGHTS_DIGEST]; /**< mr_frozen_digest at the start of this process */
    int64_t seq_len;
    int64_t micro_batches; /**< of a step, over all ranks */
    int64_t stretches;     /**< that they are summed by: most ranks of the same bits */
    int64_t total_steps;
    mr_schedule schedule;
    int64_t step; /**< steps taken, skipped updates included: the position in the data */
    mr_guard_state guard;
    mr_checkpointer *checkpointer; /**< the writer of this run's checkpoints */
    mr_snapshots *snapshots;       /**< of the spectra of what is learnt; NULL where off */
    mr_hf *base;                   /**< what they read the start from, where it was read */
    /** Called before each merge, with the adapters as they are then. Collective; optional. */
    mr_status (*before_merge)(void *context);
    void *merge_context; /**< borrowed */
    bool rank_free;      /**< the bits of a run do not depend on the number of ranks */
    mr_rows rows;        /**< of the step, this rank's micro-batches one after another */
    mr_step_data data;
    size_t held; /**< bytes of MR_MEM_OTHER that were there before the trainer */
} mr_trainer;

/** Returns the type that models of a configuration compute in. Local. */
mr_dtype mr_trainer_dtype(const mr_config *config);

/** Returns the type that train.optimizer_dtype keeps trained weights of the base and their moments
 * in. Local. */
mr_dtype mr_trainer_states(const mr_config *config);

/** Writes the path of the config.json a configuration names. Local. @return MR_OK, MR_ERR_IO */
MR_NODISCARD mr_status mr_trainer_config_path(const mr_config *config, char path[PATH_MAX]);

/** Reads the architecture a configuration names (model.path or model.config). Collective.
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_CONFIG (model.config contradicts the folder the
 *         weights are read from); the same on every rank */
MR_NODISCARD mr_status mr_trainer_arch(const mr_comm *comm, const mr_config *config,
                                       mr_hf_config *arch);

/** Opens the folder that the base weights are read from, and holds it against the architecture.
 * Collective.
 * @param[out] weights  for mr_hf_close, also after a failure
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_trainer_open_weights(const mr_comm *comm, const mr_config *config,
                                               const mr_hf_config *arch, mr_hf **weights);

/** Reads what a configuration's inputs are by now, the base weights in full. Collective.
 * @return MR_OK, MR_ERR_IO (one is not there), MR_ERR_FORMAT, MR_ERR_CONFIG, MR_ERR_MEMORY; the
 * same on every rank */
MR_NODISCARD mr_status mr_trainer_inputs(const mr_comm *comm, const mr_config *config,
                                         mr_inputs *out);

/** Lays out a run: data, model, plan; allocates no tensors yet. Collective.
 * @return MR_OK, MR_ERR_CONFIG, MR_ERR_ARG (batch not divisible, r, target_modules),
 *         MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_trainer_create(const mr_comm *comm, const mr_config *config,
                                         mr_backend *be, const mr_hf_config *arch,
                                         mr_trainer **out);

/** As mr_trainer_create, for plans only: within a given limit, and data that are not there are done
 * without where the configuration gives train.steps and train.seq_len. Collective.
 * @param node_ranks  ranks of a node, 0 for those that comm has there */
MR_NODISCARD mr_status mr_trainer_plan(const mr_comm *comm, const mr_config *config, mr_backend *be,
                                       const mr_hf_config *arch, mr_memory_limit limit,
                                       int64_t node_ranks, mr_trainer **out);

/** Tells whether the plan fits the memory a rank may take. Local.
 * @return MR_OK, MR_ERR_ARG (with both sizes, and what would take less) */
MR_NODISCARD mr_status mr_trainer_check_memory(const mr_trainer *trainer);

/** Verifies the data (mr_dataset_verify, a share a rank), allocates what was planned and sets the
 * starting weights (drawn, or read from model.path). Collective. @return MR_OK, MR_ERR_ARG (the
 * plan does not fit), MR_ERR_MEMORY, MR_ERR_IO, MR_ERR_FORMAT; the same on every rank */
MR_NODISCARD mr_status mr_trainer_allocate(mr_trainer *trainer);

/** Frees everything and sets *out to NULL; NULL is allowed. */
void mr_trainer_destroy(mr_trainer **out);

/** Does one optimizer step, with the merge that follows it where one is due. Collective; allocates
 * nothing but for merges and comparisons of ranks.
 * @return MR_OK, also where the update was skipped; MR_ERR_NUMERIC where loss or gradient norm is
 *         not finite or a spike and the configuration says stop (nothing is updated); MR_ERR_RANKS
 *         where the ranks' states differ; errors of the data; the same on every rank */
MR_NODISCARD mr_status mr_trainer_step(mr_trainer *trainer, mr_step_result *result);

/** Adds numbers up over all ranks, in place, and reads the data of the next step, if there is one:
 * how much of them is scored travels with the numbers, so that the step need not ask. Data that
 * cannot be read are the step's failure. Collective; no allocation.
 * @param sums  [count], count <= MR_RIDERS */
void mr_trainer_read_ahead(mr_trainer *trainer, int64_t *sums, int count);

/** Does the step on what stands in rows already, of which all_scored targets are
 * scored over all ranks; seconds is left alone. As mr_trainer_step otherwise. */
MR_NODISCARD mr_status mr_trainer_compute(mr_trainer *trainer, int64_t all_scored,
                                          mr_step_result *result);

/** Tells whether a merge follows the step with a number. Local. */
bool mr_trainer_merges_after(const mr_trainer *trainer, int64_t step);

/** Compares what every rank should hold alike, as mr_guard_check_ranks; the message names the step.
 * Collective. */
MR_NODISCARD mr_status mr_trainer_check_ranks(const mr_trainer *trainer);

#endif
