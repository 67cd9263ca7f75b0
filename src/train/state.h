#ifndef MR_TRAIN_STATE_H
#define MR_TRAIN_STATE_H

/** @file
 * What of a trainer goes into a checkpoint, and back: weights that training changes, moments, step
 * counts, guards. Everything else follows from the configuration and the step: random numbers, the
 * position in the data, the learning rate, the grouping of a restart. */

#include "store/checkpoint.h"
#include "train/trainer.h"

/** Makes the trainer's writer in `<run.output>/<run.name>.checkpoints`, staged where the trainer's
 * plan has room for it. Collective. @return as mr_checkpointer_create */
MR_NODISCARD mr_status mr_state_create_writer(mr_trainer *trainer);

/** Returns the bytes a staged writer of a laid-out model takes on every rank. Local. */
size_t mr_state_staging_bytes(const mr_model *model);

/** Starts a checkpoint of the trainer as it stands. Collective.
 * @param[in] run  further scalars under the key `run`, on rank 0; borrowed
 * @return as mr_checkpointer_start */
MR_NODISCARD mr_status mr_state_save(mr_trainer *trainer, json_t *run);

/** Brings an allocated trainer to the state of a checkpoint, of any number of ranks. Collective.
 * @return MR_OK, MR_ERR_FORMAT (of another model or other data; scalars missing), MR_ERR_IO; the
 * same on every rank */
MR_NODISCARD mr_status mr_state_restore(mr_trainer *trainer, mr_checkpoint *checkpoint);

/** Reads the configuration a checkpoint was saved under. Local.
 * @return MR_OK, MR_ERR_FORMAT, MR_ERR_CONFIG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_state_config(const mr_checkpoint *checkpoint, mr_config *out);

/** Returns the first key that tells two runs apart, or NULL: all keys but those about where and how
 * a run is computed, saved and stopped. Local. */
const char *mr_state_differing_key(const mr_config *a, const mr_config *b);

/** Writes the path of a configuration's folder of checkpoints. Local. */
void mr_state_folder(const mr_config *config, char *path, size_t room);

#endif
