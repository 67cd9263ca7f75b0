#ifndef MR_EVAL_SCORE_H
#define MR_EVAL_SCORE_H

/** @file
 * Scores of a task, one number an item: by what a model generates, or by how well it predicts text
 * that it was not trained on. */

#include "data/batch.h"
#include "eval/generate.h"

/** Scores the first `count` items by generation. Allocates scratch. Collective.
 * @param[out] items  [count] scores in [0, 1], the same on every rank
 * @param[out] mean   of items
 * @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY, MR_STOPPED (a signal asked for it); the same on
 * every rank */
MR_NODISCARD mr_status mr_score_generated(mr_generator *g, const mr_dataset *dataset, int64_t count,
                                          float *items, double *mean);

/** How well a model predicts text. */
typedef struct mr_prediction {
    double loss;       /**< nats a scored token, over all tokens alike */
    double perplexity; /**< e to the loss */
    int64_t tokens;    /**< scored tokens */
} mr_prediction;

/** Predicts `count` held-out sequences as long as the model's, spread evenly over all of
 * them: item i is sequence i * dataset->heldout / count. Which these are does not depend on the
 * number of ranks, and the sums are exact, so neither does the result. Allocates scratch.
 * Collective.
 * @param      count  0..dataset->heldout
 * @param[out] items  [count] mean loss of each sequence, the same on every rank
 * @return MR_OK, errors of the data, MR_ERR_MEMORY, MR_STOPPED (a signal asked for it); the same on
 *         every rank */
MR_NODISCARD mr_status mr_score_predicted(mr_model *model, const mr_dataset *dataset, int64_t count,
                                          float *items, mr_prediction *out);

#endif
