#ifndef MR_LINALG_LEADING_H
#define MR_LINALG_LEADING_H

/** @file
 * The largest singular values of an operator that is known by its products alone, with their
 * vectors. */

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A linear map A [rows, cols]. */
typedef struct mr_operator {
    int64_t rows, cols;
    /** Computes y [count, rows] = x A^T of x [count, cols], or y [count, cols] = x A of x
     * [count, rows] where transposed: A, or A^T, times each of count vectors.
     * @return MR_OK, or what ends mr_leading */
    mr_status (*apply)(const void *context, bool transpose, int64_t count, const double *x,
                       double *y);
    const void *context; /**< borrowed */
} mr_operator;

/** A dense matrix as the context of an operator. Borrows values. */
typedef struct mr_dense_matrix {
    int64_t rows, cols;
    const double *values; /**< [rows, cols], row-major */
} mr_dense_matrix;

/** Returns the operator of a dense matrix. Borrows it. */
mr_operator mr_dense_operator(const mr_dense_matrix *matrix);

/** Computes the k largest singular values of an operator and their vectors. Local.
 *
 * Golub-Kahan-Lanczos in blocks of k, so that values of multiplicity up to k are found, with full
 * reorthogonalisation, restarted from the leading pairs; ends where the residual ||A^T u - sigma
 * v|| of each is below 1e-14 of the largest value, or with the whole space. The start is the same
 * in every call. Source: Golub, Luk and Overton 1981 (blocks); Baglama and Reichel 2005 (restarts).
 * @param[in]  k       1..min(rows, cols)
 * @param[out] values  [k], descending
 * @param[out] u       [k, rows]: row j is left vector j
 * @param[out] v       [k, cols]
 * @return MR_OK; MR_ERR_ARG (k, extents); MR_ERR_NUMERIC (a product that is not finite);
 *         MR_ERR_MEMORY; what apply returns */
MR_NODISCARD mr_status mr_leading(const mr_operator *op, int64_t k, double *values, double *u,
                                  double *v);

/** Returns an upper bound of the bytes that mr_leading comes to hold, but for values so close that
 * dozens of restarts do not tell them apart: then it takes more, at most the whole space. Local. */
size_t mr_leading_bytes(int64_t rows, int64_t cols, int64_t k);

#endif
