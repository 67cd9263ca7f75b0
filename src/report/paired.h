#ifndef MR_REPORT_PAIRED_H
#define MR_REPORT_PAIRED_H

/** @file
 * Two runs over the same items: whether what they differ in is more than the choice of the items
 * would make. All functions are Local. */

#include "eval/metric.h"
#include "eval/resample.h"

#include <stdbool.h>

/** A difference, second less first. */
typedef struct mr_paired {
    int64_t items;
    double first, second, difference; /**< of the two, over all items */
    double deviation;                 /**< standard, of the difference over samples of items */
    mr_interval interval;
    bool binary;                     /**< all values are 0 or 1; else what follows is 0 and NAN */
    int64_t only_first, only_second; /**< items that are 1 in one of the two alone */
    double p;                        /**< McNemar's */
} mr_paired;

/** Returns the probability that as many items or more fall to one side of the two, were each as
 * likely to fall to either: McNemar's exact test, two-sided, 1 where there are none.
 * Source: McNemar 1947; the binomial distribution in place of chi squared. */
double mr_mcnemar(int64_t only_first, int64_t only_second);

/** Compares means of values [items]. Samples of items draw as many, with replacement, the same of
 * both. Of values that are 0 or 1 the distribution over all samples is computed, not drawn: that of
 * the sum of items that each are -1, 0 or 1 as often as found.
 * @return MR_OK, MR_ERR_ARG (no items, or values that are not finite), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_paired_compare(const double *first, const double *second, int64_t items,
                                         const mr_resampling *how, mr_paired *out);

/** Compares a metric of labels; samples that it is not defined of (no item of a group) are left
 * out.
 * @param second  [items] predictions of the second, those of the first being labels->prediction
 * @return MR_OK, errors of mr_metric_of */
MR_NODISCARD mr_status mr_paired_metric(const mr_metric *metric, const mr_labels *labels,
                                        const int32_t *second, const mr_resampling *how,
                                        mr_paired *out);

#endif
