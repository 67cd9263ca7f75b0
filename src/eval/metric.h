#ifndef MR_EVAL_METRIC_H
#define MR_EVAL_METRIC_H

/** @file
 * Metrics of whole sets, as fractions, of what was told of their items. All functions are Local.
 *
 * Source: scikit-learn's f1_score, as LMOps/adaptllm@4f2a9de (src/utils/metric.py) uses it. */

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/** Classes of items and what was predicted of them. Borrowed. */
typedef struct mr_labels {
    int64_t items;
    int32_t classes;
    const int32_t *label, *prediction; /**< [items], 0..classes - 1 */
    const int32_t *group;              /**< [items], 0..groups - 1; NULL where there are none */
    int32_t groups;
} mr_labels;

/** A metric of labels. */
typedef struct mr_metric {
    const char *name;
    const char *summary; /**< one line for --help */
    bool grouped;        /**< needs groups, each of which has items */
    bool is_mean;        /**< the mean over items of what is 1 where the label was predicted */
    /** @param times  [items] how often each item counts; NULL: once
     * @param room    [classes, 3], scratch
     * @return the metric; NAN where no item counts, or none of a group */
    double (*of)(const mr_labels *labels, const int32_t *times, int64_t *room);
} mr_metric;

/** Returns metric number index, NULL behind the last one: accuracy, micro_f1, weighted_f1,
 * macro_f1, grouped_weighted_f1. */
const mr_metric *mr_metric_at(int index);

/** Returns the metric of a name, or NULL. */
const mr_metric *mr_metric_find(const char *name);

/** Computes a metric. @return MR_OK, MR_ERR_ARG (no items, a class or group out of range, a group
 * that has none: the published code stops there), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_metric_of(const mr_metric *metric, const mr_labels *labels, double *out);

#endif
