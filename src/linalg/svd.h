#ifndef MR_LINALG_SVD_H
#define MR_LINALG_SVD_H

/** @file
 * Singular values of a dense matrix that one rank holds, through LAPACK. */

#include "base/status.h"

#include <stdint.h>

/** Computes all singular values of a in descending order, by dgesdd without vectors. Local.
 * Takes a copy of a and LAPACK's workspace while it runs.
 * @param[in]  a       [rows, cols], row-major, dense; left as it is
 * @param[in]  rows    1..INT_MAX
 * @param[in]  cols    1..INT_MAX
 * @param[out] values  [min(rows, cols)]; undefined on failure
 * @return MR_OK; MR_ERR_ARG (extents); MR_ERR_NUMERIC (an element or a singular value is not
 *         finite, or the iteration did not converge: the message has dgesdd's info);
 *         MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_svd_values(const double *a, int64_t rows, int64_t cols, double *values);

#endif
