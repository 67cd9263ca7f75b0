#ifndef MR_STORE_CHECKPOINT_H
#define MR_STORE_CHECKPOINT_H

/** @file
 * Checkpoints: named one-dimensional F32 arrays cut over the ranks, and one JSON object of scalars.
 *
 *     <folder>/step-00000020/shard-00000-of-00002.h5    what rank 0 of 2 held
 *                            shard-00001-of-00002.h5
 *                            manifest.json              state, sizes, SHA-256 of every shard
 *
 * A shard is an HDF5 file: one dataset [count] for each array this rank has a part of, with the
 * attributes `first` and `extent`, and the file attributes `rank`, `ranks` and `step`. The manifest
 * carries the SHA-256 of itself. All is written in `.step-00000020.partial` beside, synced, the
 * manifest last, and renamed; so whatever stands under the final name is whole at any time, also
 * after a kill -9. It is read back on any number of ranks.
 */

#include "base/text.h"
#include "comm/comm.h"

#include <jansson.h>

#include <stdbool.h>
#include <stdint.h>

#define MR_CHECKPOINT_FORMAT "mora-checkpoint" /**< the field `format` of every manifest */
enum { MR_CHECKPOINT_VERSION = 1 };            /**< the field `version` */

/** One array as a rank sees it. Over the ranks, in their order, the parts cover [0, extent). */
typedef struct mr_checkpoint_slab {
    const char *name; /**< as a path in HDF5 without the first slash, for example "m/layers.0" */
    int64_t extent;   /**< elements of the whole array; the same on every rank */
    int64_t first;    /**< where this rank's part starts */
    int64_t count;    /**< elements of this rank's part; may be 0 */
} mr_checkpoint_slab;

/** Copies elements first..first+count-1 of an array, within this rank's part, to out [count].
 * Called for a whole part at once by staged writers, for pieces of it in order by others.
 * @param slab  index of the array in what was given at the create */
typedef void (*mr_checkpoint_read)(void *context, int slab, int64_t first, int64_t count,
                                   float *out);

/** What writes checkpoints of one run. Owns its copy of the slabs; borrows comm. */
typedef struct mr_checkpointer mr_checkpointer;

/** A checkpoint being read. To be closed before the next start of a writer in the same folder,
 * which may rename or remove it. */
typedef struct mr_checkpoint mr_checkpoint;

/** Makes a writer. Nothing is touched on the disk. Collective.
 * @param[in] comm    borrowed until destroy
 * @param[in] folder  that of the run's checkpoints; made with its parents at the first start
 * @param[in] keep    checkpoints that stay, at least 1
 * @param[in] slabs   [count], copied; the same names and extents in the same order on every rank
 * @param[in] staging bytes (MR_MEM_CHECKPOINT) of a copy of what is saved, at least those of this
 *                    rank's parts: the writer works in the background. 0: none, and
 *                    mr_checkpointer_start writes before it returns
 * @param[out] out    set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_ARG (slabs that do not cover their arrays), MR_ERR_MEMORY; the same on
 *         every rank */
MR_NODISCARD mr_status mr_checkpointer_create(const mr_comm *comm, const char *folder, int64_t keep,
                                              const mr_checkpoint_slab *slabs, int count,
                                              size_t staging, mr_checkpointer **out);

/** Starts a checkpoint; none may be under way. What is saved is taken over before it returns, so
 * the caller may change it then. Removes what killed writers left in the folder. Collective.
 * @param[in] state  scalars, on rank 0 (borrowed for the call; ignored elsewhere); reals come back
 *                   bit for bit
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY, the same on every rank; nothing is under way after a
 *         failure. A failure to write the data itself is reported by mr_checkpointer_finish. */
MR_NODISCARD mr_status mr_checkpointer_start(mr_checkpointer *cp, int64_t step, const json_t *state,
                                             mr_checkpoint_read read, void *context);

/** Tells whether this rank's background writer still works; once false it stays so until the next
 * start. Local. */
bool mr_checkpointer_busy(const mr_checkpointer *cp);

/** Tells whether a checkpoint was started and not finished: the same on every rank. Local. */
bool mr_checkpointer_under_way(const mr_checkpointer *cp);

/** Waits for the writers of all ranks. Does nothing where none is under way. Collective.
 * @return MR_OK, MR_ERR_IO (message names file and reason), the same on every rank. After a failure
 *         the unfinished folder is gone and nothing is under way. */
MR_NODISCARD mr_status mr_checkpointer_wait(mr_checkpointer *cp);

/** Gives up what is under way, on all ranks: its folder is gone then. Collective. */
void mr_checkpointer_cancel(mr_checkpointer *cp);

/** Waits as mr_checkpointer_wait, makes the checkpoint visible under its name and removes old
 * ones: those beyond `keep`, and those of later steps, which a run that was set back has left
 * behind, so that the one saved last is the one found first. Does nothing where none is under way.
 * Collective.
 * @return MR_OK, MR_ERR_IO (message names file and reason), the same on every rank. After a failure
 *         the unfinished folder is gone, older checkpoints stand, and the writer can be used again.
 */
MR_NODISCARD mr_status mr_checkpointer_finish(mr_checkpointer *cp);

/** Renames checkpoints of steps above `step` in a run's folder to `<name>.damaged.N`, where a run
 * goes on from an earlier one because they are not sound: they would count among those kept. Local.
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_checkpoint_set_aside(const char *folder, int64_t step);

/** Frees *cp and sets it to NULL; NULL is allowed. What is under way is given up: its files are
 * removed. Local. */
void mr_checkpointer_destroy(mr_checkpointer **cp);

/** Tells whether a path is a checkpoint (a folder with a manifest). Local. */
bool mr_checkpoint_is(const char *path);

/** Opens one checkpoint and tests all of it: sizes, checksums, cover of the arrays. The files are
 * dealt over the ranks. Collective.
 * @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (message "path: file: what"), MR_ERR_MEMORY; the same on
 *         every rank */
MR_NODISCARD mr_status mr_checkpoint_open(const mr_comm *comm, const char *path,
                                          mr_checkpoint **out);

/** Opens the newest sound checkpoint of a folder, or the one checkpoint that path is itself.
 * Damaged ones of a folder are passed over: rank 0 warns by name and reason. Changes nothing on the
 * disk. Collective.
 * @param[out] out          NULL with MR_OK where there is none, also where the path is absent
 * @param[out] passed_over  gets a line "path: file: what; passed over" for each damaged one, the
 *                          same on every rank; start from {0}; may be NULL
 * @return as mr_checkpoint_open; the same on every rank */
MR_NODISCARD mr_status mr_checkpoint_find(const mr_comm *comm, const char *path,
                                          mr_checkpoint **out, mr_text *passed_over);

/** Returns the path of the checkpoint. Borrowed until close. Local. */
const char *mr_checkpoint_path(const mr_checkpoint *checkpoint);

/** Returns the optimizer step that it was saved after. Local. */
int64_t mr_checkpoint_step(const mr_checkpoint *checkpoint);

/** Returns the number of ranks that saved it. Local. */
int64_t mr_checkpoint_ranks(const mr_checkpoint *checkpoint);

/** Returns the bytes of all its shards. Local. */
int64_t mr_checkpoint_bytes(const mr_checkpoint *checkpoint);

/** Returns the scalars, the same on every rank. Borrowed until close. Local. */
const json_t *mr_checkpoint_state(const mr_checkpoint *checkpoint);

/** Returns the number of arrays. Local. */
int64_t mr_checkpoint_arrays(const mr_checkpoint *checkpoint);

/** Returns the name of array 0 <= i < mr_checkpoint_arrays, and its extent. Local. */
const char *mr_checkpoint_array(const mr_checkpoint *checkpoint, int64_t i, int64_t *extent);

/** Reads elements first..first+count-1 of an array from whichever shards hold them. Local.
 * @param[in]  extent  of the whole array, as the caller needs it
 * @param[out] out     [count]
 * @return MR_OK, MR_ERR_FORMAT (no such array, or another extent), MR_ERR_IO */
MR_NODISCARD mr_status mr_checkpoint_read_slab(mr_checkpoint *checkpoint, const char *name,
                                               int64_t extent, int64_t first, int64_t count,
                                               float *out);

/** Frees *checkpoint and sets it to NULL; NULL is allowed. Local. */
void mr_checkpoint_close(mr_checkpoint **checkpoint);

#endif
