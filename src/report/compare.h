#ifndef MR_REPORT_COMPARE_H
#define MR_REPORT_COMPARE_H

/** @file
 * Two runs beside each other, item by item, by the records of the evaluations that both logs have;
 * or two files of rows of items (eval/row_file.h), which tell what was found, too.
 * All functions are Local. */

#include "base/text.h"
#include "report/paired.h"
#include "store/runlog_read.h"

#include <jansson.h>

/** One of the two. Owns its texts. */
typedef struct mr_compared_run {
    char *path, *run, *task, *method; /**< all but path NULL of rows */
    char *model;                      /**< that rows are of; NULL of a log */
    int64_t r, seed;
} mr_compared_run;

/** What rows say of an item. Owns its texts. */
typedef struct mr_compared_answer {
    char *id, *gold, *found[2];
} mr_compared_answer;

/** An item whose records differ. */
typedef struct mr_compared_item {
    int64_t item;
    double apart; /**< |B - A| */
} mr_compared_item;

/** A set of evaluations that both have, at the last evaluation of each. Owns its pointers. */
typedef struct mr_compared_set {
    char *name;
    mr_runlog_about about; /**< as the first log tells; its score is the primary one */
    int64_t step[2];
    double score[2];     /**< the primary one; NAN where the logs do not tell which that is */
    double *value[2];    /**< [paired.items] records */
    mr_paired paired;    /**< B less A: of means of the records, or of by */
    const mr_metric *by; /**< what the set is scored by, no mean of its records; NULL: it is one */
    char *not_by;        /**< why paired is of means of the records, not of by; NULL: it is of by */
    int64_t differ;      /**< items whose records differ */
    mr_compared_item *order;    /**< [differ] these, what differs most before others */
    mr_compared_answer *answer; /**< [differ] of these; NULL of logs */
} mr_compared_set;

/** All of it. Start from {0}; free with mr_comparison_free. Owns everything. */
typedef struct mr_comparison {
    mr_compared_run run[2]; /**< A and B */
    int64_t sets, room;
    mr_compared_set *set; /**< [sets] by name */
    mr_names left_out;    /**< sets that are not compared, each with the reason */
} mr_comparison;

/** Compares two logs, or two files of rows. Items of a run's data are the same where task, data,
 * tokenizer and length of sequences are, and of a set kind, part and number of items; those of a
 * published evaluation where it is, with its version, rules and number of items, and, in logs by a
 * hash, names and prompts of all items. A set of logs that is scored by what is no mean of its
 * records is compared by that where its rows stand beside both.
 * @param set  the one that is compared; NULL: all that both have
 * @param out  to be freed on failure, too
 * @return MR_OK, errors of opening logs, MR_ERR_ARG (they hold other items, or no records of the
 *         same set; message tells of what), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_comparison_make(const char *const path[2], const char *set,
                                          const mr_resampling *how, mr_comparison *out);

/** Appends it for people. @param items  most of each set that are listed
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_comparison_print(const mr_comparison *comparison, int64_t items,
                                           mr_text *out);

/** Returns it as JSON, with every item that differs; NULL where there is no memory. Owned by the
 * caller. */
json_t *mr_comparison_json(const mr_comparison *comparison);

/** Tells whether runs differ in a set by more than the choice of its items would make. */
bool mr_compared_differ(const mr_compared_set *set);

/** Frees everything and empties it. */
void mr_comparison_free(mr_comparison *comparison);

#endif
