#ifndef MR_TRAIN_DONE_H
#define MR_TRAIN_DONE_H

/** @file
 * Whether there is anything left to do of a run: its log tells that it came to its end, with these
 * inputs, and what it leaves behind is there. */

#include "train/run.h"

typedef enum mr_done {
    MR_DONE_NO,      /**< it is to be run, or gone on with */
    MR_DONE_OTHERS,  /**< what is there has other inputs: it is to be run from the beginning */
    MR_DONE_UNSAVED, /**< but for its model, which its kept tensors give */
    MR_DONE_YES
} mr_done;

/** Compares a run with the log at outcome->log, and says on rank 0 what it finds. What cannot be
 * compared, as data that are gone, counts as it was. On MR_DONE_YES and MR_DONE_UNSAVED the outcome
 * is filled from the log. Collective; the same on every rank.
 * @return MR_OK; MR_ERR_IO, MR_ERR_MEMORY (the log may be there, but cannot be read now) */
MR_NODISCARD mr_status mr_done_find(const mr_comm *comm, const mr_config *config,
                                    mr_run_outcome *outcome, mr_done *done);

#endif
