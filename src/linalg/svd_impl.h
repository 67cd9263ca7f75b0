#ifndef MR_LINALG_SVD_IMPL_H
#define MR_LINALG_SVD_IMPL_H

/** @file
 * What the ways to singular values check alike: svd.c has those with vectors, svd_values.c those
 * alone. */

#include "base/status.h"

#include <stdint.h>

/** Checks extents and elements of a matrix; *largest becomes the largest magnitude.
 * @return MR_OK, MR_ERR_ARG, MR_ERR_NUMERIC (names the place) */
MR_NODISCARD mr_status mr_svd_check(const double *a, int64_t rows, int64_t cols, double *largest);

/** Checks that the largest value came out finite. @return MR_OK, MR_ERR_NUMERIC */
MR_NODISCARD mr_status mr_svd_check_largest(int64_t rows, int64_t cols, double value);

#endif
