#ifndef MR_TRAIN_KEPT_H
#define MR_TRAIN_KEPT_H

/** @file
 * What a finished run keeps of its model (run.keep), beside its log:
 * `<run.output>/<run.name>.trained.safetensors`. With the configuration, and the base weights where
 * they are read from a folder, it gives the model that was trained. Tensors have the names that
 * they have in the public format, those of adapters behind their linear's; adapters stand unmerged,
 * and what earlier merges changed is there as it was at the end. The metadata tells whose they are.
 */

#include "train/trainer.h"

enum { MR_KEPT_PATH = 2 * MR_CONFIG_STRING + 32 }; /**< bytes of a path with its zero */

/** Writes the path of a configuration's kept tensors. Local. */
void mr_kept_path(const mr_config *config, char path[MR_KEPT_PATH]);

/** Returns the word of a value of run.keep. Local. */
const char *mr_kept_word(mr_keep keep);

/** Writes the kept tensors of a trainer as it stands: all of the model where run.keep says so, else
 * what was trained. What stood at the path is replaced once the new file is whole. Collective.
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_kept_write(const mr_trainer *trainer);

/** Whose kept tensors are. */
typedef struct mr_kept_about {
    mr_config config; /**< of the run */
    mr_inputs inputs;
    int64_t steps, restart;
} mr_kept_about;

/** Reads from a file whose tensors it keeps. Local.
 * @return MR_OK, MR_ERR_FORMAT (not such a file), MR_ERR_CONFIG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_kept_tell(const mr_safetensors *file, mr_kept_about *out);

/** Brings an allocated trainer to the weights a run ended with; moments are not kept. Collective.
 * @return MR_OK, MR_ERR_IO (there are none), MR_ERR_FORMAT (not of this run and these inputs);
 * the same on every rank */
MR_NODISCARD mr_status mr_kept_read(mr_trainer *trainer);

#endif
