#ifndef MR_TESTS_GOLDEN_ROWS_H
#define MR_TESTS_GOLDEN_ROWS_H

/** @file
 * Packed references by way of the batches of training: their documents become the samples of a
 * dataset, their rows its packing. */

#include "golden_case.h"

/** Fills the rows of a packed batch anew, by mr_batch_fill on a dataset of its documents, and holds
 * what comes out against what the file has: ids, targets, positions and starts of every document.
 * Local.
 * @param segments  [share * ranks, T] document of each token in its row, -1 where there is none
 * @return MR_OK, MR_ERR_FORMAT (message names the first place that differs), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_golden_refill(mr_golden_rig *rig, const int32_t *segments);

#endif
