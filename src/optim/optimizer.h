#ifndef MR_OPTIM_OPTIMIZER_H
#define MR_OPTIM_OPTIMIZER_H

/** @file
 * AdamW over sharded parameters, with clipping by the global norm.
 *
 * The norm is a sum that does not depend on how gradients are cut over ranks (comm/exact.h), so
 * every rank and every number of ranks clips by the same bits.
 */

#include "model/params.h"

/** AdamW's constants and state that is not per element. Borrows params. */
typedef struct mr_optimizer {
    mr_params *params;
    double beta1, beta2, eps, weight_decay;
    double clip_norm;       /**< 0: no clipping */
    uint64_t seed;          /**< of stochastic rounding */
    int64_t *param_steps;   /**< [parameters] updates since the start or the last reset; owned */
    mr_adamw_args *updates; /**< [parameters], room for the list of one step; owned */
} mr_optimizer;

/** Creates the optimizer of allocated parameters. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_optimizer_create(mr_params *params, const mr_config *config,
                                           mr_optimizer *out);

/** Adds to bytes[purpose] what mr_optimizer_create will take. Local. */
void mr_optimizer_bytes(const mr_params *params, size_t bytes[MR_MEM_PURPOSES]);

/** Frees what the optimizer owns. */
void mr_optimizer_destroy(mr_optimizer *optimizer);

/** Updates all trained parameters, what is kept in BF16 rounded by (run.seed, its step count, its
 * id, the element) alone, each by its own step count, at learning rate lr (times each one's
 * lr_scale), gradients times min(1, clip_norm / (grad_norm + 1e-6)) as
 * torch.nn.utils.clip_grad_norm_. Collective. */
void mr_optimizer_update(mr_optimizer *optimizer, double lr, double grad_norm);

/** What a reset cleared, over all ranks. */
typedef struct mr_optimizer_reset_count {
    int64_t entries; /**< moments of the tensors that were reset: two an element */
    int64_t cleared; /**< those of them that were not zero */
} mr_optimizer_reset_count;

/** Clears moments and step counts of every adapter's tensors; those of trained base weights stay.
 * Allocates scratch. Collective.
 * Source: MoRA (arXiv 2405.12130) appendix B, the published code's deletion of the state.
 * @return MR_OK, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_optimizer_reset_adapters(mr_optimizer *optimizer,
                                                   mr_optimizer_reset_count *out);

#endif
