#ifndef MR_APP_RESULTS_H
#define MR_APP_RESULTS_H

/** @file
 * The run logs of one task below a folder, sorted into what may be averaged: settings, in a setting
 * methods, in a method learning rates, in a rate seeds.
 *
 * Two runs are of one setting when their resolved configurations agree in every key that is not
 * the method's, not train.lr, not a name or seed of the run, and not only about how the run is
 * computed and recorded (parallel.*, log.*, train.micro_batch, train.recompute, eval.batch); and
 * when their data have the same hash. Nothing here knows a method.
 */

#include "config/config.h"
#include "store/names.h"

/** A sound log of the task. Owns its pointers. */
typedef struct mr_result {
    char *path;
    mr_config config;
    char *setting;         /**< "task.pairs=128\n...": what all runs of its setting share */
    int64_t setting_index; /**< in the order of the first path of each setting */
    char *variant;         /**< "method.operator=sharing\n...": the method's keys but name and r */
    char *method, *data_hash, *commit, *stop_reason;
    int64_t r; /**< 0: the base weights are trained */
    int64_t parameters, trainable;
    int64_t steps, seq_len;
    int64_t evaluations;
    double *step;   /**< [evaluations], ascending */
    double *score;  /**< [evaluations], as in the log */
    char *left_out; /**< why it does not count; NULL: it does */
} mr_result;

/** The runs of one learning rate that count. Owns its pointers but run. */
typedef struct mr_rate {
    double lr;
    int64_t seeds;
    int64_t left_out;      /**< runs at this rate that do not count */
    const mr_result **run; /**< [seeds] by seed; borrowed from mr_results */
    double *mean;          /**< [evaluations] over seeds; NULL where seeds is 0 */
    double *spread;        /**< [evaluations] sample standard deviation; 0 where seeds is 1 */
    double average;        /**< of mean over all evaluations */
} mr_rate;

/** One method at one r and one variant. Owns rate. */
typedef struct mr_group {
    const mr_result *first; /**< a run of it, borrowed; one that counts where there is one */
    int64_t rates, tried;   /**< all, and those with a run that counts */
    mr_rate *rate;          /**< [rates], ascending by lr */
    /** The rate of the best mean at the last step; on ties the higher average, then the lower rate;
     * NULL: no run counts. */
    const mr_rate *best;
    bool edge; /**< best is the first or last of several rates */
} mr_group;

/** Runs that may stand in one table. Owns group. */
typedef struct mr_setting {
    const mr_result *first; /**< as in mr_group */
    int64_t begin, end;     /**< its runs in mr_results.run */
    int64_t groups;
    mr_group *group; /**< [groups] by r, method, variant */
} mr_setting;

/** All of them. Start from {0}; free with mr_results_free. Owns everything. */
typedef struct mr_results {
    int64_t logs;        /**< sound ones, of any task */
    mr_names unsound;    /**< messages of files that are none */
    int64_t count, room; /**< of the task */
    mr_result **run;     /**< [count] by setting, r, method, variant, rate, seed */
    int64_t settings;
    mr_setting *setting; /**< [settings] in the order of their first path */
} mr_results;

/** Reads every log below a folder and sorts those of a task. Links to folders are not followed.
 * Local.
 * @param score  dataset of /eval/<task> that is read
 * @return MR_OK, MR_ERR_IO (the folder cannot be read), MR_ERR_FORMAT (no sound log, or none of the
 *         task; message names the folder), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_results_read(const char *folder, const char *task, const char *score,
                                       mr_results *out);

/** Tells whether a key of the schema is part of a setting. Local. */
bool mr_results_in_setting(const char *key);

/** Tells whether a key of the schema is part of a variant. Local. */
bool mr_results_in_variant(const char *key);

/** Frees everything and empties the results. Local. */
void mr_results_free(mr_results *results);

#endif
