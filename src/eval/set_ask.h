#ifndef MR_EVAL_SET_ASK_H
#define MR_EVAL_SET_ASK_H

/** @file
 * A set asked of a model as eval/asking.h has it: what an evaluation that stands alone and one
 * within a run have in common. */

#include "eval/set_scores.h"

/** A set being asked. Borrows run and model; owns the rest. */
typedef struct mr_set_asking {
    mr_set_run *run;
    mr_model *model;
    mr_set_outcome *outcomes; /**< [run->items], rank 0's */
    uint64_t items_hash;      /**< FNV-1a of names and prompts of the items so far, rank 0's */
    mr_set_scores scores;     /**< at the end, rank 0's */
} mr_set_asking;

/** Returns the head of a set's rows. NULL: no memory. Local. */
json_t *mr_set_head(const mr_set_run *run, const mr_asked_model *of);

/** Returns what is asked, of mr_set_asking. Asking takes place in room that is made for that where
 * the run has none. Local. */
mr_asked mr_set_asked(mr_set_asking *asking);

/** Frees everything and empties it. Local. */
void mr_set_asking_free(mr_set_asking *asking);

#endif
