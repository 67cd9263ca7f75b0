#ifndef MR_SPECTRA_COMPARISON_H
#define MR_SPECTRA_COMPARISON_H

/** @file
 * How the directions of W0 + X lie to those of the base weight W0, X an update or noise of its
 * norm: intruder dimensions and principal angles. One table names all numbers. */

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The numbers of a comparison; NaN where one is undefined. */
typedef struct mr_comparison {
    double intruders, energy_share;
    double update_left, update_right, sum_left, sum_right;
} mr_comparison;

/** A number of a comparison: a row of the table. */
typedef struct mr_comparison_row {
    const char *name, *unit, *definition;
    bool whole;
    size_t offset; /**< of its double in mr_comparison */
} mr_comparison_row;

extern const mr_comparison_row mr_comparison_rows[];
extern const int mr_comparison_count;

/** Returns the value of row `row` of the table. Local. */
double mr_comparison_value(const mr_comparison *comparison, int row);

/** Sets all numbers to NaN. Local. */
void mr_comparison_clear(mr_comparison *comparison);

/** A base weight and all its directions, n = min(rows, cols). Owns weight, which the others are
 * parts of. */
typedef struct mr_base_space {
    int64_t rows, cols;
    double *weight; /**< [rows, cols] */
    double *values; /**< [n], descending */
    double *u, *v;  /**< [n, rows], [n, cols]: row j is a vector */
} mr_base_space;

/** Makes room for a base; its weight is the caller's to fill. Local.
 * @return MR_OK, MR_ERR_MEMORY (nothing is held) */
MR_NODISCARD mr_status mr_base_space_make(int64_t rows, int64_t cols, mr_base_space *out);

/** Computes values and directions of the weight. Local. @return as mr_svd */
MR_NODISCARD mr_status mr_base_space_solve(mr_base_space *base);

/** Frees a base and empties it. Local. */
void mr_base_space_free(mr_base_space *base);

/** Returns how many of values [n], descending, are more than rounding of a matrix. Local. */
int64_t mr_numerical_rank(const double *values, int64_t n, int64_t rows, int64_t cols);

/** What is compared. */
typedef struct mr_comparison_options {
    int64_t k;      /**< leading directions of W0 + X and W0, at most min(rows, cols) */
    int64_t rank;   /**< those of X that are defined; at most so many of X are compared */
    double epsilon; /**< of intruders */
} mr_comparison_options;

/** Compares W0 + X with W0. Local.
 * @param[in,out] x  [rows, cols]: X, W0 + X afterwards
 * @param[out] left, right  [k] cosines of the principal angles between the leading spaces of X and
 *                          W0, descending, NaN behind the rank; NULL: not asked for
 * @return as mr_leading */
MR_NODISCARD mr_status mr_compare(const mr_base_space *base, double *x,
                                  const mr_comparison_options *options, double *left, double *right,
                                  mr_comparison *out);

#endif
