#ifndef MR_TRAIN_GUARD_H
#define MR_TRAIN_GUARD_H

/** @file
 * Whether a step may update the weights: losses and gradients that are not finite, spikes of the
 * loss, and ranks whose copies of one state have come apart. */

#include "optim/optimizer.h"

/** What was seen so far. Plain data; part of a checkpoint. */
typedef struct mr_guard_state {
    int64_t seen;          /**< losses in mean and variance */
    double mean, variance; /**< of the loss, exponentially weighted */
    int64_t nonfinite;     /**< steps whose loss or gradient was not finite */
    int64_t spikes;        /**< steps whose loss was a spike */
    int64_t skipped;       /**< updates left out */
} mr_guard_state;

typedef enum mr_verdict {
    MR_VERDICT_SOUND,
    MR_VERDICT_NOT_FINITE,
    MR_VERDICT_SPIKE,
} mr_verdict;

/** Judges a step by its loss and gradient norm and remembers them. A spike is a loss more than
 * train.spike_zscore standard deviations above the running mean, once 32 losses were seen; into the
 * mean it goes as if it were just that high, so that a lasting rise is accepted in time. The
 * statistics weigh the last 64 losses or so. Local; the same on every rank.
 * @param[out] act  what is to be done: MR_GUARD_LOG for a sound step */
mr_verdict mr_guard_judge(mr_guard_state *state, const mr_config *config, double loss,
                          double grad_norm, mr_guard *act);

/** Compares what every rank should hold alike: replicated weights and moments, step counts. Under
 * parallel.shard full that is the adapters; of a sharded weight there is no second copy.
 * Allocates scratch. Collective.
 * @return MR_OK, MR_ERR_RANKS (names those that differ from most), MR_ERR_MEMORY; the same on
 *         every rank */
MR_NODISCARD mr_status mr_guard_check_ranks(const mr_optimizer *optimizer);

#endif
