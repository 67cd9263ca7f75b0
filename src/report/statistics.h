#ifndef MR_REPORT_STATISTICS_H
#define MR_REPORT_STATISTICS_H

/** @file
 * What several runs of one thing say together. */

#include <stdbool.h>
#include <stdint.h>

/** A mean and how sure it is. Zero bytes say that nothing is known. */
typedef struct mr_estimate {
    int64_t n; /**< values that it is the mean of; 0: missing */
    double mean;
    double spread; /**< sample standard deviation; 0 where n is 1, whose spread is unknown */
} mr_estimate;

/** Returns mean and spread of values [n], taken in two passes. Local. */
mr_estimate mr_estimate_of(const double *value, int64_t n);

/** Returns by how much score a is ahead of score b, below 0 where it is behind. What differs by
 * rounding alone is a tie, 0: sums over seeds in another order would turn it around. Local. */
double mr_statistics_lead(double a, double b, bool lower_is_better);

#endif
