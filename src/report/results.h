#ifndef MR_REPORT_RESULTS_H
#define MR_REPORT_RESULTS_H

/** @file
 * The run logs of one task below a folder, sorted into what may be averaged: settings, in a setting
 * methods, in a method learning rates, in a rate seeds.
 *
 * Every key of a configuration is of one of four kinds:
 * - a setting's: what runs must share to be compared. Two runs are of one setting when they agree
 * in all of these and their data have the same hash;
 * - a method's, method.* and the shape of its schedule (train.schedule, train.restart_warmup_steps,
 *   train.min_lr_ratio): methods that restart have a schedule that restarts, and are compared with
 *   those that do not. Runs of one method that differ in such a key are variants, never averaged;
 * - train.lr and run.seed: what is chosen and averaged over;
 * - of no effect on what a run computes, but on how, where and how safely: names and folders,
 *   parallel.*, log.*, checkpoint.*, train.micro_batch, train.recompute, train.check_every,
 *   eval.at_start, eval.batch.
 * Guards (train.on_nonfinite, train.spike_zscore, train.on_spike) are of the setting: they decide
 * which runs end and which updates are left out. Nothing here knows a method.
 */

#include "config/config.h"
#include "eval/statistics.h"
#include "store/names.h"
#include "store/runlog_read.h"

/** One score of a log, and how people read it. Borrows its texts; owns part. */
typedef struct mr_score {
    const char *set;        /**< evaluation set: a group of /eval; NULL: see projection, parts */
    const char *projection; /**< its group in the spectra beside the log, of which the last snapshot
                                 counts, in the mean over layers; NULL: see set */
    const char *name;       /**< dataset in it; of a mean what stands for it in messages */
    int parts;              /**< sets that it is the mean of, all of them or none; 0: see set */
    const char **part;      /**< [parts] "set/dataset" */
    const char *rules;      /**< whose they are, where the same is asked in several ways; or NULL */
    bool again;             /**< the same as the score before it, by other rules */
    int column;             /**< of the paper, which stands beside it; -1: none */
    const char *count;      /**< dataset beside it that counts what was scored; NULL: none */
    const char *caption;    /**< what a number says, with its unit */
    double scale;           /**< a number of the log times this is in the caption's unit */
    double chance;          /**< what guessing scores, in the caption's unit; NAN: not a constant */
    int decimals;           /**< that are worth telling */
    bool lower_is_better;   /**< of two */
} mr_score;

/** What of logs is compared. Borrows its texts and scores. */
typedef struct mr_measure {
    const char *task; /**< whose logs are read */
    int scores;
    mr_score *score; /**< [scores], at least one */
    int choice;      /**< index of the score that chooses a method's rate */
    /** Dataset of what the task holds out, by which rates are chosen where all runs have it, lower
     * being better; NULL: the score that chooses, of the validation part. */
    const char *held_out;
    bool partial; /**< a run counts that lacks some scores, as all runs of its setting do */
} mr_measure;

/** One score of a run over its evaluations. Owns its arrays. */
typedef struct mr_series {
    int64_t count;  /**< evaluations; 0: the run ended before the first */
    double *step;   /**< [count], ascending */
    double *value;  /**< [count], as in the log */
    int64_t scored; /**< the score's count at the last evaluation; 0: not recorded */
    double error;   /**< standard, of the choice of items, at the last; NAN: not known */
    int there;      /**< of the score's parts, that the log has */
} mr_series;

/** What a run was evaluated on. Owns group. */
typedef struct mr_result_set {
    char *group;           /**< its name in the log */
    mr_runlog_about about; /**< as the log tells */
    int64_t items;         /**< scored of it; 0: no record of items */
} mr_result_set;

/** A sound log of the task. Owns its pointers. */
typedef struct mr_result {
    char *path;
    mr_config config;
    char *setting;         /**< "task.pairs=128\n...": what all runs of its setting share */
    int64_t setting_index; /**< in the order of the first path of each setting */
    char *variant;         /**< "method.operator=sharing\n...": a method's keys but name and r */
    char *method, *data_hash, *commit, *stop_reason;
    char *became;            /**< what `auto` became in the first linear ("sharing, r_hat 20") */
    char *held_out;          /**< set that the last of series is of; NULL: none */
    int64_t r;               /**< 0: the base weights are trained */
    int64_t base_parameters; /**< of the model without what an update adds */
    int64_t trainable;
    int64_t steps, seq_len;
    int64_t merges;         /**< of the update into the weights, until the run's end */
    double tokens, seconds; /**< of all steps, in training alone; 0: none is logged */
    /** Loss a token of the first text that is not the task's, after the last step less that before
     * the first; NAN: none was told at both. */
    double forgotten;
    int64_t sets;
    mr_result_set *set; /**< [sets] by name of the group */
    /** [scores of the measure + 1], the last of what chooses apart from the scores: what is held
     * out, or the score that chooses over the validation part; of no evaluations where the run has
     * none. */
    mr_series *series;
    mr_runlog_about *told; /**< [scores of the measure] what the log says of them */
    char *left_out;        /**< why it does not count; NULL: it does */
} mr_result;

/** One score of a rate over its evaluations. Owns at. */
typedef struct mr_course {
    int64_t count;   /**< evaluations */
    mr_estimate *at; /**< [count] over seeds, as in the logs */
    double average;  /**< of the means over all evaluations */
} mr_course;

/** The runs of one learning rate that count. Owns its pointers but run. */
typedef struct mr_rate {
    double lr;
    int64_t seeds;
    int64_t left_out;       /**< runs at this rate that do not count */
    const mr_result **run;  /**< [seeds] by seed; borrowed from mr_results */
    mr_course *course;      /**< [scores of the measure + 1] as series; NULL where seeds is 0 */
    double *error;          /**< [scores] of the choice of items, of one run on average, or NULL */
    double tokens, seconds; /**< mean over seeds, as of mr_result; NAN unless all tell it */
    mr_estimate forgotten;  /**< over seeds, as of mr_result; of none unless all tell it */
} mr_rate;

/** One method at one r and one variant. Owns rate. */
typedef struct mr_group {
    const mr_result *first; /**< a run of it, borrowed; one that counts where there is one */
    int64_t rates, tried;   /**< all, and those with a run that counts */
    mr_rate *rate;          /**< [rates], ascending by lr */
    /** The rate of the best mean at the last step of what chooses; on ties the better average, then
     * the lower rate; NULL: no run counts. */
    const mr_rate *best;
    bool edge; /**< best is the first or last of several rates */
} mr_group;

/** Runs that may stand in one table. Owns group. */
typedef struct mr_setting {
    const mr_result *first; /**< as in mr_group */
    int64_t begin, end;     /**< its runs in mr_results.run */
    int64_t groups;
    mr_group *group; /**< [groups] by r, method, variant */
    int chooses;     /**< series that chooses rates: a score, or the last where all runs have it */
} mr_setting;

/** All of them. Start from {0}; free with mr_results_free. Owns everything. */
typedef struct mr_results {
    mr_measure measure;  /**< borrows as that does */
    int64_t logs;        /**< sound ones, of any task */
    mr_names unsound;    /**< messages of files that are none */
    int64_t count, room; /**< of the task */
    mr_result **run;     /**< [count] by setting, r, method, variant, rate, seed */
    int64_t settings;
    mr_setting *setting; /**< [settings] in the order of their first path */
} mr_results;

/** Reads every log below some folders and sorts those of each of some tasks. Links to folders are
 * not followed. Local.
 * @param out  [tasks]; the first has the messages of unsound files and counts logs of all tasks
 * @return MR_OK, MR_ERR_IO (a folder cannot be read), MR_ERR_FORMAT (no sound log, or none of a
 *         task; message names the first folder), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_results_read(const char *const *folder, int folders,
                                       const mr_measure *measure, int tasks, mr_results *out);

/** Tells whether one rate is better than another of the setting by what chooses; both have runs
 * that count. Local. */
bool mr_results_better(const mr_results *results, const mr_setting *setting, const mr_rate *a,
                       const mr_rate *b);

/** Finds what a run was asked of a set, which its group may have another name than. Local.
 * @param name  of a published evaluation, or of a group of none; it ends before a slash
 * @return NULL: it was not evaluated on that */
const mr_result_set *mr_result_find(const mr_result *run, const char *name);

/** Tells which way is better of a score: as the logs say, or where they are older and do not, as
 * the measure does. Local. */
bool mr_results_lower_is_better(const mr_results *results, int score);

/** Returns the unit of a score as the logs say it; NULL where they are older and do not. Local. */
const char *mr_results_unit(const mr_results *results, int score);

/** Tells whether a key of the schema is part of a setting. Local. */
bool mr_results_in_setting(const char *key);

/** Tells whether a key of the schema is part of a variant. Local. */
bool mr_results_in_variant(const char *key);

/** Frees everything and empties the results. Local. */
void mr_results_free(mr_results *results);

#endif
