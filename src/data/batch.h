#ifndef MR_DATA_BATCH_H
#define MR_DATA_BATCH_H

/** @file
 * A block of samples as the model takes it: rows of one length. */

#include "data/order.h"
#include "data/task.h"

/** Rows of seq_len tokens, one after another. Borrows all. */
typedef struct mr_rows {
    int32_t *tokens;    /**< [rows, seq_len] */
    int32_t *targets;   /**< [rows, seq_len] MR_NOT_SCORED where nothing is predicted */
    int32_t *positions; /**< [rows, seq_len] of a token in its sample; NULL: not wanted */
    int32_t *starts;    /**< [rows, seq_len] token of the row that its sample starts at; as that */
} mr_rows;

/** Returns the rows behind the first `count`. Local. */
mr_rows mr_rows_behind(mr_rows rows, int64_t count, int64_t seq_len);

/** Fills rows with those at positions first_position..first_position + count - 1 of a run: each one
 * sample, or, where the dataset is packed, the samples of a row of its plan, one behind the other.
 * What is left of a row is padding, which is not scored and sees nothing but itself: the
 * tokenizer's pad id, or its EOS where it has none. Local; what a position holds does not depend on
 * the ranks or on how a batch is cut. No allocation.
 * @param[in]  order    of mr_dataset_rows items
 * @param[in]  seq_len  tokens of a row
 * @param[out] rows     positions and starts are both wanted or both not; a packed dataset needs
 *                      both
 * @param[out] scored   targets that are not MR_NOT_SCORED
 * @return MR_OK, MR_ERR_CONFIG (a sample is longer than seq_len), as mr_tokenizer_encode */
MR_NODISCARD mr_status mr_batch_fill(const mr_dataset *dataset, const mr_order *order,
                                     int64_t first_position, int64_t count, int64_t seq_len,
                                     mr_rows rows, int64_t *scored);

/** Fills rows with items first..first + count - 1 of `items` that are spread evenly over the
 * samples of a part (mr_order_spread), in their own order: the few stand for the whole, not for its
 * first documents. One a row, whether the dataset is packed or not; rows past the last item are
 * padding that is not scored. As mr_batch_fill otherwise.
 * @param items  0..mr_dataset_part_items */
MR_NODISCARD mr_status mr_batch_fill_part(const mr_dataset *dataset, mr_part part, int64_t items,
                                          int64_t first, int64_t count, int64_t seq_len,
                                          int32_t *tokens, int32_t *targets, int64_t *scored);

#endif
