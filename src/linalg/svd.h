#ifndef MR_LINALG_SVD_H
#define MR_LINALG_SVD_H

/** @file
 * Singular values and vectors of a dense matrix that one rank holds, through LAPACK.
 *
 * Threads may each work on a matrix of their own; BLAS is to be left to one thread a call, as the
 * backend sets it. */

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/** Computes all singular values of a in descending order, each within 1e-13 of the largest (seen:
 * 1e-14 up to 2048 x 2048); small ones have no more digits than that leaves. Local.
 * Holds mr_svd_bytes while it runs, a copy of a among them.
 * @param[in]  a       [rows, cols], row-major, dense; left as it is
 * @param[in]  rows    1..INT_MAX
 * @param[in]  cols    1..INT_MAX
 * @param[out] values  [min(rows, cols)]; undefined on failure
 * @return MR_OK; MR_ERR_ARG (extents); MR_ERR_NUMERIC (an element or a singular value is not
 *         finite, or the iteration did not converge: the message has LAPACK's info);
 *         MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_svd_values(const double *a, int64_t rows, int64_t cols, double *values);

/** Computes a = sum over j of values[j] u_j v_j^T, n = min(rows, cols), values descending. Local.
 * Small values may differ from those of mr_svd_values by 1e-15 of the largest.
 * @param[in]  a, rows, cols  as of mr_svd_values
 * @param[out] values  [n]
 * @param[out] u       [n, rows]: row j is u_j
 * @param[out] v       [n, cols]: row j is v_j
 * @return as mr_svd_values */
MR_NODISCARD mr_status mr_svd(const double *a, int64_t rows, int64_t cols, double *values,
                              double *u, double *v);

/** Returns the floating-point operations of mr_svd_values. Local. */
double mr_svd_flops(int64_t rows, int64_t cols);

/** Returns the bytes that mr_svd_values holds while it runs, MR_BYTES_MOST at most. Local. */
size_t mr_svd_bytes(int64_t rows, int64_t cols);

#endif
