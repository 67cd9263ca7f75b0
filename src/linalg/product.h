#ifndef MR_LINALG_PRODUCT_H
#define MR_LINALG_PRODUCT_H

/** @file
 * Products and triangular factors of dense matrices of doubles that one rank holds, row-major and
 * without gaps, through BLAS and LAPACK. */

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/** Computes c [m, n] = alpha op(a) op(b) + beta c, with an inner extent of k: a [m, k], or [k, m]
 * where transposed, b [k, n], or [n, k]. Extents 0..INT_MAX. Local, no allocation. */
void mr_product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, double alpha,
                const double *a, const double *b, double beta, double *c);

/** Computes the lower triangle L of a = L Q, the rows of Q orthonormal, by Householder reflections.
 * Local.
 * @param[in,out] a         [rows, cols], finite; overwritten
 * @param[in]     rows      1..cols
 * @param[in]     cols      1..INT_MAX
 * @param[out]    triangle  [rows, rows], zeros above the diagonal
 * @return MR_OK; MR_ERR_ARG (extents); MR_ERR_NUMERIC (LAPACK's info); MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_triangle_of_rows(double *a, int64_t rows, int64_t cols, double *triangle);

/** Replaces a symmetric matrix by the lower triangle L of a = L L^T, zeros above. Local.
 * @param[in,out] a  [n, n], n 1..INT_MAX; its lower triangle is read
 * @return MR_OK; MR_ERR_ARG (extent); MR_ERR_NUMERIC (not positive definite: names the row) */
MR_NODISCARD mr_status mr_cholesky(double *a, int64_t n);

#endif
