#ifndef MR_EVAL_SET_ASK_H
#define MR_EVAL_SET_ASK_H

/** @file
 * A set asked of a model to its scores, with a row an item kept in a file, and behind the rows that
 * are there: what an evaluation that stands alone and one within a run have in common. */

#include "eval/row_file.h"
#include "eval/set_scores.h"

/** Which model is asked: what the head of rows says of it. Borrows its texts. */
typedef struct mr_asked_model {
    const char *path;    /**< of its folder, or of what the run left */
    const char *weights; /**< hash of the base weights; "" of drawn ones */
    const char *adapter; /**< hash of the adapter that stands on them; "" of none */
    const char *trained; /**< digest of what a run has trained; "" of none */
    int64_t steps;       /**< of the run; 0 of a folder */
} mr_asked_model;

/** A set being asked. Borrows run and file; owns the rest. */
typedef struct mr_asking {
    mr_set_run *run;
    mr_row_file *file;        /**< rank 0's; NULL: no rows are kept */
    int64_t done;             /**< items whose rows are there, the same on every rank */
    mr_set_outcome *outcomes; /**< [run->items], rank 0's */
    uint64_t items_hash;      /**< FNV-1a of names and prompts of the items so far, rank 0's */
    mr_set_scores scores;     /**< at the end, rank 0's */
} mr_asking;

/** Returns the head of a set's rows: what was asked of which model, which must be the same for rows
 * to be gone on with. NULL: no memory. Local. */
json_t *mr_asking_head(const mr_set_run *run, const mr_asked_model *of);

/** Begins, and goes through what a file has of a set. On rank 0; Local.
 * @param file  NULL: no rows are kept
 * @return MR_OK, MR_ERR_FORMAT (what is there is of another evaluation, or damaged), MR_ERR_IO,
 *         MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_asking_begin(mr_asking *asking, mr_set_run *run, mr_row_file *file,
                                       const json_t *head);

/** Asks the items that are missing, in room that is made for that where the run has none, scores
 * all, and ends the file with the scores. Collective; run is set on every rank.
 * @return MR_OK, MR_STOPPED, errors of mr_set_run_items, of scoring and of the file; the same on
 *         every rank */
MR_NODISCARD mr_status mr_asking_finish(mr_asking *asking, mr_model *model);

/** Frees everything and empties it. Local. */
void mr_asking_free(mr_asking *asking);

#endif
