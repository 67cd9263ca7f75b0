#ifndef MR_EVAL_SET_SCORES_H
#define MR_EVAL_SET_SCORES_H

/** @file
 * What a set says of a model: its scores, how sure they are, and those of groups of its items. */

#include "eval/set_run.h"
#include "eval/statistics.h"

#include <jansson.h>

/** A score. */
typedef struct mr_set_score {
    const char *name; /**< of the metric, or of the rule of answers */
    int version;      /**< of the rule; 0: of a metric */
    double value;     /**< a fraction */
    double error;     /**< standard; NAN: unknown */
    int64_t items;
} mr_set_score;

/** Items of one name. */
typedef struct mr_set_group_score {
    char *name; /**< owned */
    int by;     /**< as of mr_set_group */
    mr_estimate score[MR_SET_RULES];
} mr_set_group_score;

/** All scores of a set. Start from {0}. */
typedef struct mr_set_scores {
    const mr_set *set; /**< borrowed */
    mr_set_score score[MR_SET_RULES];
    int scores;
    mr_set_group_score *group; /**< [groups], in the order in which they come; owned */
    int64_t groups, room;
    int64_t cut; /**< items whose beginning was cut off */
} mr_set_scores;

/** Scores outcomes [run->items]. Where a set has classes, the error of a mean, of all items or of a
 * group of them, is that within classes, and each counts by its items, as lm-evaluation-harness has
 * it of groups; that of an F1 is its deviation over 1,000 samples of the items. Local.
 * @return MR_OK, errors of mr_metric_of */
MR_NODISCARD mr_status mr_set_scores_of(const mr_set_run *run, const mr_set_outcome *outcomes,
                                        mr_set_scores *out);

/** Appends scores as text, or returns them as JSON (NULL: no memory). Local. @{ */
void mr_set_scores_print(const mr_set_scores *scores, mr_text *out);
json_t *mr_set_scores_json(const mr_set_scores *scores);
/** @} */

/** Frees everything and empties it. Local. */
void mr_set_scores_free(mr_set_scores *scores);

#endif
