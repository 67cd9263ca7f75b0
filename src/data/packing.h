#ifndef MR_DATA_PACKING_H
#define MR_DATA_PACKING_H

/** @file
 * Which samples share a row: a plan made once, from the lengths of all samples alone, so that every
 * rank, and every run on the same data, has the same one.
 */

#include "base/status.h"

#include <stdint.h>

/** Rows of several samples each. Every sample stands in one row. */
typedef struct mr_packing {
    int64_t rows, samples;
    int64_t row_tokens; /**< of a row, padding included */
    int64_t *first;     /**< [rows + 1] place in sample of each row's first; owned */
    int64_t *sample;    /**< [samples] numbers of samples, row after row; owned */
    uint64_t hash;      /**< FNV-1a of row_tokens, first and sample */
} mr_packing;

/** Plans rows by best fit, the longest samples first: each goes to the row with the least room that
 * has enough, of equals to the one that came to that room last, else to a new one. O(samples +
 * row_tokens) steps, but for a search of a few words a sample. Local.
 *
 * Source: best-fit decreasing (Johnson 1974, "Fast algorithms for bin packing"), by a table of room
 * as lengths are small integers. Deviation: none.
 * @param[in]  length      [samples] tokens of each, 1..row_tokens
 * @param[in]  row_tokens  1 or more
 * @param[out] out         set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_packing_plan(const int64_t *length, int64_t samples, int64_t row_tokens,
                                       mr_packing **out);

/** Frees *packing and sets it to NULL; NULL is allowed. Local. */
void mr_packing_destroy(mr_packing **packing);

#endif
