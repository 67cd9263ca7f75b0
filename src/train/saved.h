#ifndef MR_TRAIN_SAVED_H
#define MR_TRAIN_SAVED_H

/** @file
 * The folder a run saves its model to (run.save_model): a model that any reader of Hugging Face's
 * layout loads, the update merged into its weights, and beside it MR_HF_MARK, which tells whose
 * it is and that it is whole. */

#include "train/trainer.h"

typedef struct mr_saved mr_saved; /**< a folder a run has taken; all of it on rank 0 */

/** Takes the folder of a configuration before anything is trained: makes it, tries whether it can
 * be written, and reads what will stand beside the weights, as it is now. The folder must hold no
 * model yet, or one of an earlier run of this name and log. Collective; rank 0 works.
 * @return MR_OK, MR_ERR_CONFIG (it is model.path, or holds what another saved), MR_ERR_IO,
 *         MR_ERR_FORMAT, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_saved_take(const mr_comm *comm, const mr_config *config, mr_saved **out);

/** Merges the update into the weights, so that the trainer can train no further, and writes the
 * model: weights in F32. Until it is whole its mark says that it is not. Collective.
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_saved_write(const mr_saved *saved, mr_trainer *trainer);

/** Frees *saved and sets it to NULL; NULL is allowed. Local. */
void mr_saved_free(mr_saved **saved);

/** Tells whether the folder of a configuration holds the model that the run had after so many
 * steps from these inputs, whole. Local.
 * @param unmarked  what a model without a mark counts as
 * @return MR_OK, MR_ERR_FORMAT (a mark that cannot be read), MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_saved_find(const mr_config *config, int64_t steps,
                                     const mr_inputs *inputs, bool unmarked, bool *whole);

#endif
