#ifndef MR_LINALG_ORTHONORMAL_H
#define MR_LINALG_ORTHONORMAL_H

/** @file
 * Orthonormal rows, through LAPACK's QR factorisation. */

#include "base/status.h"

#include <stdint.h>

/** Orthonormalises the rows of a in place, in their order: row i becomes the part of it that is at
 * right angles to rows 0..i-1, of length 1, as Gram and Schmidt would make it. Local.
 * @param[in,out] a     [rows, cols], row-major, dense
 * @param[in]     rows  1..cols
 * @param[in]     cols  1..INT_MAX
 * @return MR_OK; MR_ERR_ARG (extents); MR_ERR_NUMERIC (LAPACK's info, or rows that depend on one
 *         another); MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_orthonormal_rows(double *a, int64_t rows, int64_t cols);

#endif
