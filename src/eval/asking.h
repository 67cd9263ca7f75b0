#ifndef MR_EVAL_ASKING_H
#define MR_EVAL_ASKING_H

/** @file
 * What a model is asked item by item, to its scores, with a row an item kept in a file, and behind
 * the rows that are there: what all evaluations have in common, whatever they ask. */

#include "comm/comm.h"
#include "data/tokenizer.h"
#include "eval/row_file.h"

/** Which model is asked: what the head of rows says of it. Borrows its texts. */
typedef struct mr_asked_model {
    const char *path;    /**< of its folder, or of what the run left */
    const char *weights; /**< hash of the base weights; "" of drawn ones */
    const char *adapter; /**< hash of the adapter that stands on them; "" of none */
    const char *trained; /**< digest of what a run has trained; "" of none */
    int64_t steps;       /**< of the run; 0 of a folder */
} mr_asked_model;

/** What is told the row of an item; row is borrowed. */
typedef mr_status mr_item_row(void *context, int64_t index, const json_t *row);

/** How items are asked. Each is given what is asked as `of`. */
typedef struct mr_asked_ops {
    /** Begins with no row taken in, again after rows that did not fit. On rank 0; Local.
     * @return MR_OK, MR_ERR_MEMORY */
    mr_status (*begin)(void *of);
    /** Takes in what a row says: rows come in the order of their items, each once. On rank 0;
     * Local.
     * @return MR_OK, MR_ERR_FORMAT (no such row, or not of this item; message without a place),
     *         MR_ERR_MEMORY */
    mr_status (*read)(void *of, int64_t index, const json_t *row);
    /** Asks items from `first` on and tells their rows, on rank 0 and in their order. What is found
     * of an item depends neither on `first` nor on the number of ranks. Collective.
     * @return MR_OK, MR_STOPPED, errors of what is asked and of row; the same on every rank */
    mr_status (*ask)(void *of, int64_t first, mr_item_row *row, void *context);
    /** Scores all, once every row is taken in, and gives what the rows end with. On rank 0; Local.
     * @param[out] json  for json_decref; NULL: no memory */
    mr_status (*score)(void *of, json_t **json);
} mr_asked_ops;

/** Items to be asked. Borrows all. */
typedef struct mr_asked {
    const char *name;
    int64_t items;
    void *of;
    const mr_asked_ops *ops;
} mr_asked;

/** Adds to the head of rows which model is asked. Local. @return false: no memory, or no head */
bool mr_asking_put_model(json_t *head, const mr_asked_model *of, const mr_tokenizer *tokenizer);

/** Begins, and takes in the rows that a file has. On rank 0; Local.
 * @param file  NULL: no rows are kept
 * @param head  what was asked of which model, which must be the same for rows to be gone on with;
 *              NULL: no memory
 * @param[out] done  items whose rows are there
 * @return MR_OK, MR_ERR_FORMAT (what is there is of another evaluation, or damaged), MR_ERR_IO,
 *         MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_asking_begin(const mr_asked *asked, mr_row_file *file, const json_t *head,
                                       int64_t *done);

/** Asks the items that are missing, scores all, and ends the file with the scores. Collective.
 * @param done  rank 0's counts
 * @return MR_OK, errors of asking, of scoring and of the file; the same on every rank */
MR_NODISCARD mr_status mr_asking_finish(const mr_comm *comm, const mr_asked *asked,
                                        mr_row_file *file, int64_t done);

#endif
