#ifndef MR_DATA_BATCH_H
#define MR_DATA_BATCH_H

/** @file
 * A block of samples as the model takes it: rows of one length. */

#include "data/order.h"
#include "data/task.h"

/** Fills rows with the samples at positions first_position..first_position + count - 1 of a run,
 * one a row, padded on the right with MR_NOT_SCORED and the tokenizer's pad id, or its EOS where it
 * has none. Local; what a position holds does not depend on the ranks or on how a batch is cut. No
 * allocation.
 * @param[in]  order    of dataset->items items
 * @param[in]  seq_len  tokens of a row
 * @param[out] tokens   [count, seq_len]
 * @param[out] targets  [count, seq_len]
 * @param[out] scored   targets that are not MR_NOT_SCORED
 * @return MR_OK, MR_ERR_CONFIG (a sample is longer than seq_len), as mr_tokenizer_encode */
MR_NODISCARD mr_status mr_batch_fill(const mr_dataset *dataset, const mr_order *order,
                                     int64_t first_position, int64_t count, int64_t seq_len,
                                     int32_t *tokens, int32_t *targets, int64_t *scored);

/** As mr_batch_fill, with items first..first + count - 1 of `items` that are spread evenly over the
 * samples of a part (mr_order_spread), in their own order: the few stand for the whole, not for its
 * first documents. Rows past the last item are padding that is not scored.
 * @param items  0..mr_dataset_part_items */
MR_NODISCARD mr_status mr_batch_fill_part(const mr_dataset *dataset, mr_part part, int64_t items,
                                          int64_t first, int64_t count, int64_t seq_len,
                                          int32_t *tokens, int32_t *targets, int64_t *scored);

#endif
