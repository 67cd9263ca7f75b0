#ifndef MR_TRAIN_RUN_UPDATES_H
#define MR_TRAIN_RUN_UPDATES_H

/** @file
 * The updates that a run has learnt, as they lie on disk: W of the step, the adapter merged, minus
 * W at the start, which is read again from the base or drawn again. */

#include "comm/comm.h"
#include "spectra/updates.h"

/** Opens what a run left behind: by the path of its log, the tensors it keeps, or where there are
 * none its newest sound checkpoint; by that of kept tensors, of a checkpoint or of a folder of
 * them, these. The base weights are those that the run began with. Collective.
 * @param be    CPU; borrowed until close
 * @param base  folder of the base, where it is no longer where the run read it; NULL
 * @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_IO (nothing is left of it; the base is not there), MR_ERR_FORMAT (damaged,
 *         of other base weights), MR_ERR_CONFIG, MR_ERR_USAGE, MR_ERR_MEMORY; the same on every
 *         rank */
MR_NODISCARD mr_status mr_run_updates_open(const mr_comm *comm, mr_backend *be, const char *path,
                                           const char *base, mr_updates **out);

#endif
