#ifndef MR_EVAL_STATISTICS_H
#define MR_EVAL_STATISTICS_H

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

/** Where something is, for all that is known. */
typedef struct mr_interval {
    double low, high; /**< NAN, both: nothing is known */
} mr_interval;

/** Returns the standard error of a mean, spread / sqrt(n); NAN where n is below 2. Local. */
double mr_estimate_error(mr_estimate estimate);

/** Puts groups of values together: their mean, weighted by how many they are, and the spread
 * within them, sqrt(sum (n_i - 1) s_i^2 / (N - K)), which is 0 where each has one; no group is
 * empty. Local.
 * Source: lm-evaluation-harness 0.4.13, pooled_sample_stderr. */
mr_estimate mr_estimate_pool(const mr_estimate *group, int64_t groups);

/** Returns the number that Student's t of so many degrees of freedom, at least 1, stays below with
 * probability p, 0 < p < 1, to 1e-12 of itself. Local.
 * Source: Abramowitz and Stegun, 26.7.3 and 26.7.4. */
double mr_student_quantile(double p, int64_t freedom);

/** Returns the interval that holds the mean of normal values with a probability, by Student's t;
 * one value tells of none. Local. */
mr_interval mr_estimate_interval(mr_estimate estimate, double probability);

/** Returns by how much score a is ahead of score b, below 0 where it is behind. What differs by
 * rounding alone is a tie, 0: sums over seeds in another order would turn it around. Local. */
double mr_statistics_lead(double a, double b, bool lower_is_better);

#endif
