#ifndef MR_SPECTRA_OVERLAP_H
#define MR_SPECTRA_OVERLAP_H

/** @file
 * How the directions of an update lie to those of the base weight W0: principal angles, intruder
 * dimensions, and noise of equal norm as the control for both. Vectors lie one a row. */

#include "base/status.h"

#include <stdint.h>

/** Computes the cosines of the principal angles between the spaces of two sets of orthonormal
 * vectors, at most 1, descending. Local.
 * Source: Bjorck and Golub 1973.
 * @param[in]  x, y     [k, n], rows orthonormal
 * @param[out] cosines  [k]
 * @return as mr_svd_values */
MR_NODISCARD mr_status mr_principal_cosines(const double *x, const double *y, int64_t k, int64_t n,
                                            double *cosines);

/** The leading directions of W0 + dW that are new. */
typedef struct mr_intruders {
    int64_t count;
    double energy_share; /**< of their sigma^2 in that of the k looked at; NaN where all are 0 */
} mr_intruders;

/** Finds the intruder dimensions among the k leading left vectors of W0 + dW: those whose |cosine|
 * to every left vector of W0 is below epsilon. Local.
 * Source: Shuttleworth et al. 2024 (arXiv 2410.21228), as PEFT's reduce_intruder_dimension counts.
 * @param[in]  values   [k], singular values of W0 + dW, descending
 * @param[in]  u        [k, rows], left vectors of W0 + dW
 * @param[in]  u_base   [n, rows], all left vectors of W0
 * @param[in]  epsilon  0.5 as a rule
 * @param[out] cosines  [k], the largest |cosine| of each
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_intruders_find(const double *values, const double *u, int64_t k,
                                         const double *u_base, int64_t n, int64_t rows,
                                         double epsilon, double *cosines, mr_intruders *out);

/** Fills out [rows, cols] with independent Gaussian numbers, scaled to a Frobenius norm; stream
 * tells matrices of a seed apart. Local. */
void mr_noise(uint64_t seed, uint64_t stream, int64_t rows, int64_t cols, double frobenius,
              double *out);

#endif
