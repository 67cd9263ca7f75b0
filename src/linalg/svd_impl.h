#ifndef MR_LINALG_SVD_IMPL_H
#define MR_LINALG_SVD_IMPL_H

/** @file
 * What the ways to singular values check alike: svd.c has those with vectors, svd_values.c those
 * alone, distributed.c those of a matrix that the ranks hold together. */

#include "base/status.h"

#include <stdint.h>

/** Checks that LAPACK can count the extents of a matrix. @return MR_OK, MR_ERR_ARG */
MR_NODISCARD mr_status mr_svd_check_extents(int64_t rows, int64_t cols);

/** Refuses element (row, col) of a matrix, which is not finite. @return MR_ERR_NUMERIC */
MR_NODISCARD mr_status mr_svd_refuse(int64_t rows, int64_t cols, int64_t row, int64_t col,
                                     double value);

/** Checks extents and elements of a matrix; *largest becomes the largest magnitude.
 * @return MR_OK, MR_ERR_ARG, MR_ERR_NUMERIC (names the place) */
MR_NODISCARD mr_status mr_svd_check(const double *a, int64_t rows, int64_t cols, double *largest);

/** Checks that the largest value came out finite. @return MR_OK, MR_ERR_NUMERIC */
MR_NODISCARD mr_status mr_svd_check_largest(int64_t rows, int64_t cols, double value);

#endif
