#ifndef MR_TESTS_REPORT_LOGS_H
#define MR_TESTS_REPORT_LOGS_H

/** @file
 * Run logs as training writes them, with scores made up: what tests of tables start from. */

#include <stdbool.h>
#include <stdint.h>

enum { REPORT_EVALUATIONS = 12, REPORT_SETS = 8 };

/** A published set, evaluated once, at the last step: its score is the mean of its items, which are
 * 0 or 1. */
typedef struct report_set {
    const char *set, *name;
    int right, items;
    const char *group; /**< its name in the log; NULL: that of the set */
} report_set;

/** A log. What is 0 has the meaning given. */
typedef struct report_log {
    const char *lr;
    double score[REPORT_EVALUATIONS]; /**< accuracy; for the task pretrain perplexity */
    int64_t seed;                     /**< 0: 1 */
    const char *method;               /**< NULL: mora */
    int64_t r;                        /**< 0: 8, but fft has none */
    int evaluations;                  /**< at 100, 200, ...; 0: two, -1: none */
    int64_t apart;                    /**< steps between evaluations; 0: 100 */
    const char *folder;               /**< below the study's; NULL: itself */
    const char *set;                  /**< one more key of the configuration; NULL: none */
    const char *stop_reason;          /**< NULL: completed */
    double exact;                     /**< a second score of the task uuid, at every evaluation */
    const char *task;                 /**< a task on a prepared folder; NULL: as is said beside */
    const char *became;               /**< what the adapter of the first linear became; or NULL */
    double held_out;                  /**< its held-out loss at 200 and 400; 0: none */
    double forgotten;                 /**< loss of other text, 2 at step 0, gains it; 0: none */
    report_set sets[REPORT_SETS];
} report_log;

/** Writes the log of a run of the study in a folder, of the task pretrain or else uuid. */
void report_make_log(const char *folder, bool pretrain, report_log log);

/** Writes a list of logs that ends with one without a rate. */
void report_make_logs(const char *folder, bool pretrain, const report_log *log);

#endif
