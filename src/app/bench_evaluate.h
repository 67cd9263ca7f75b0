#ifndef MR_APP_BENCH_EVALUATE_H
#define MR_APP_BENCH_EVALUATE_H

/** @file
 * What evaluation costs: for `mora bench`. */

#include "train/trainer.h"

/** Prompts with options behind them, and texts written behind the same prompts. */
typedef struct mr_evaluate_cost {
    int64_t items, options; /**< prompts, and options of each */
    int64_t scored;         /**< tokens that ran for them, over all ranks */
    double scoring;         /**< seconds */
    int64_t texts, tokens;  /**< continued at once on a rank, and new tokens of each */
    double prompts;         /**< seconds to the first token of all texts */
    double writing;         /**< seconds of the others */
} mr_evaluate_cost;

/** Scores `items` prompts of the trainer's sequence length, which have nothing in common, with four
 * options of one token, and continues as many, or as many at once as the model takes, by the most
 * probable tokens. Collective.
 * @return MR_OK, MR_ERR_MEMORY, errors of scoring and continuing; the same on every rank */
MR_NODISCARD mr_status mr_bench_evaluate(mr_trainer *trainer, int64_t items,
                                         mr_evaluate_cost *cost);

#endif
