#ifndef MR_EVAL_RESAMPLE_H
#define MR_EVAL_RESAMPLE_H

/** @file
 * How sure what is told of items is: by samples of as many of them, with replacement. All functions
 * are Local.
 *
 * Source: Efron 1979, percentiles. */

#include "base/status.h"
#include "eval/statistics.h"

/** How an interval is made. Zeros have the meaning given. */
typedef struct mr_resampling {
    double probability; /**< that it holds the truth; 0: 0.95 */
    int64_t samples;    /**< that are drawn; 0: 10,000 */
    uint64_t seed;
} mr_resampling;

/** Returns it with what zeros stand for. */
mr_resampling mr_resampling_completed(const mr_resampling *how);

/** A statistic of items that each count times[i] times; NAN: it is not defined of these. */
typedef double mr_statistic(const void *of, const int32_t *times);

/** What samples tell of a statistic. */
typedef struct mr_resampled {
    double deviation; /**< standard; NAN where it is defined of fewer than two samples */
    mr_interval interval;
} mr_resampled;

/** Draws samples of items; those that the statistic is not defined of are left out. Sample s is the
 * same of every statistic.
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_resample(const mr_resampling *how, int64_t items, mr_statistic *of,
                                   const void *what, mr_resampled *out);

#endif
