#ifndef MR_TRAIN_RUN_FILES_H
#define MR_TRAIN_RUN_FILES_H

/** @file
 * What a run has left of what it learnt: the tensors it keeps, or a checkpoint. */

#include "store/checkpoint.h"
#include "train/kept.h"

/** Owns kept and checkpoint, of which one is there. */
typedef struct mr_run_files {
    mr_kept_about about; /**< whose they are */
    mr_safetensors *kept;
    mr_checkpoint *checkpoint;
} mr_run_files;

/** Opens what a run left: by the path of its log, the tensors it keeps, or where there are none its
 * newest sound checkpoint; by that of kept tensors, of a checkpoint or of a folder of them, these.
 * Kept tensors that were cut are opened for what they have (mr_safetensors_open_partly).
 * Collective.
 * @param[out] out  for mr_run_files_close; empty on failure
 * @return MR_OK, MR_ERR_IO (nothing is left of it), MR_ERR_FORMAT (damaged), MR_ERR_CONFIG,
 *         MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_run_files_open(const mr_comm *comm, const char *path, mr_run_files *out);

/** Closes what is open. Local. */
void mr_run_files_close(mr_run_files *files);

/** Sees that base weights are those that the run began with. Collective.
 * @return MR_OK, MR_ERR_FORMAT, MR_ERR_IO, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_run_files_check_base(const mr_comm *comm, const mr_run_files *files,
                                               const mr_hf *weights, const mr_hf_config *arch);

/** Tells whether a parameter is among what was left. Local. */
bool mr_run_files_hold(const mr_run_files *files, const mr_param *param);

/** Reads elements first..first+count-1 of a parameter to out. Local; threads may call it at once.
 * @return MR_OK, MR_ERR_FORMAT (no such tensor, or another shape), MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_run_files_read(const mr_run_files *files, const mr_param *param,
                                         int64_t first, int64_t count, float *out);

#endif
