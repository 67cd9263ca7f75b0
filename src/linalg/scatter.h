#ifndef MR_LINALG_SCATTER_H
#define MR_LINALG_SCATTER_H

/** @file
 * Filling a block-cyclic matrix from what the ranks can give of it: no rank ever holds more than
 * its blocks and some MiB on their way.
 */

#include "linalg/grid.h"

/** Writes elements [rows, cols] from (row, col) on into out, row-major, without gaps. Local: it is
 * called as often as a rank has something to give, so it may not communicate. */
typedef mr_status (*mr_matrix_source)(void *context, int64_t row, int64_t col, int64_t rows,
                                      int64_t cols, double *out);

/** A matrix [rows, cols] that is given by the ranks together: counted in row-major order, rank 0
 * gives the first elements, rank 1 the next ones, and so on. So a flat buffer that is sharded can
 * be given as it lies; rows of files are dealt by mr_matrix_by_rows. */
typedef struct mr_matrix_parts {
    int64_t rows, cols;
    int64_t count; /**< elements that this rank gives; may be 0 */
    mr_matrix_source source;
    void *context; /**< borrowed */
} mr_matrix_parts;

/** Deals whole rows evenly over the ranks. Local. */
mr_matrix_parts mr_matrix_by_rows(const mr_comm *comm, int64_t rows, int64_t cols,
                                  mr_matrix_source source, void *context);

/** Fills out from parts: with the matrix itself where it has at least as many rows as columns, else
 * with its transpose, so that out is never wide. Checks that every element is finite. Collective.
 * @param out  [max(rows, cols), min(rows, cols)]
 * @return MR_OK; MR_ERR_ARG (counts that do not add up to the matrix); MR_ERR_NUMERIC (an element
 *         is not finite: the first in row-major order is named, on whichever rank it is); what a
 *         source returned; MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_scatter(const mr_matrix_parts *parts, mr_block_matrix *out);

/** Returns the most bytes that mr_scatter takes on a rank of `size`. Local. */
size_t mr_scatter_bytes(int size);

#endif
