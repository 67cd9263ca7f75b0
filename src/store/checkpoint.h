#ifndef MR_STORE_CHECKPOINT_H
#define MR_STORE_CHECKPOINT_H

/** @file
 * Checkpoints: named tensors of F32 or BF16 cut over the ranks, and one JSON object of scalars.
 *
 *     <folder>/step-00000020/shard-00000-of-00002.safetensors   what rank 0 of 2 held
 *                            shard-00001-of-00002.safetensors
 *                            manifest.json   state, tensors and their parts, SHA-256 of every shard
 *
 * Any tool for safetensors opens a shard. A tensor of which a rank has all stands there by its name
 * and shape; of another the rank's part stands as `name[begin:end]`, one-dimensional: elements
 * begin..end-1 of the whole one, row after row. The manifest lists name, dtype and whole shape of
 * every tensor, with `first_file` and `ends`: shard first_file + i ends with element ends[i] - 1.
 * It carries the SHA-256 of itself. All is written in `.step-00000020.partial` beside, synced, the
 * manifest last, and renamed; so whatever stands under the final name is whole at any time, also
 * after a kill -9. It is read back on any number of ranks.
 */

#include "base/text.h"
#include "comm/comm.h"
#include "store/safetensors.h"

#include <jansson.h>

#include <stdbool.h>
#include <stdint.h>

#define MR_CHECKPOINT_FORMAT "mora-checkpoint" /**< the field `format` of every manifest */
enum { MR_CHECKPOINT_VERSION = 2 };            /**< the field `version`; 1 had shards of HDF5 */

/** One tensor as a rank sees it. Over the ranks, in their order, the parts cover its elements, row
 * after row. */
typedef struct mr_checkpoint_slab {
    const char *name; /**< without square brackets, which name parts */
    int dims;
    int64_t shape[MR_SAFETENSORS_DIMS]; /**< [dims] of the whole tensor; the same on every rank */
    mr_safetensors_dtype dtype;         /**< F32, or BF16 where all its elements are numbers of it */
    int64_t first;                      /**< element of the whole that this rank's part starts at */
    int64_t count;                      /**< elements of this rank's part; may be 0 */
} mr_checkpoint_slab;

/** Copies elements first..first+count-1 of a tensor, within this rank's part, to out [count].
 * Called for a whole part at once by staged writers, for pieces of it in order by others.
 * @param slab  index of the tensor in what was given at the create */
typedef void (*mr_checkpoint_source)(void *context, int slab, int64_t first, int64_t count,
                                     float *out);

/** Takes elements first..first+count-1 of a tensor, within what was asked for, from values [count].
 * @param slab  index of the tensor in what was asked for */
typedef void (*mr_checkpoint_sink)(void *context, int slab, int64_t first, int64_t count,
                                   const float *values);

/** What writes checkpoints of one run. Owns its copy of the slabs; borrows comm. */
typedef struct mr_checkpointer mr_checkpointer;

/** A checkpoint being read. To be closed before the next start of a writer in the same folder,
 * which may rename or remove it. */
typedef struct mr_checkpoint mr_checkpoint;

/** Makes a writer. Nothing is touched on the disk. Collective.
 * @param[in] comm    borrowed until destroy
 * @param[in] folder  that of the run's checkpoints; made with its parents at the first start
 * @param[in] keep    checkpoints that stay, at least 1
 * @param[in] slabs   [count], copied; the same names and shapes in the same order on every rank
 * @param[in] staging bytes (MR_MEM_CHECKPOINT) of a copy of what is saved, at least those of this
 *                    rank's parts: the writer works in the background. 0: none, and
 *                    mr_checkpointer_start writes before it returns
 * @param[out] out    set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_ARG (slabs that do not cover their tensors), MR_ERR_MEMORY; the same on
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
                                             mr_checkpoint_source source, void *context);

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

/** Opens one checkpoint and tests all of it: sizes, checksums, headers. The files are dealt over
 * the ranks and opened once each. Collective.
 * @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_FORMAT (damaged, a missing file included: message "path: file: what"),
 *         MR_ERR_IO (a file is there and cannot be read now), MR_ERR_ARG (written by another
 * version of this program), MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_checkpoint_open(const mr_comm *comm, const char *path,
                                          mr_checkpoint **out);

/** Opens the newest sound checkpoint of a folder, or the one checkpoint that path is itself.
 * Damaged ones of a folder are passed over: rank 0 warns by name and reason. One that cannot be
 * read now or is of another version is not: what it holds may be read later, or by another program.
 * Changes nothing on the disk. Collective.
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

/** Returns the number of tensors. Local. */
int64_t mr_checkpoint_tensors(const mr_checkpoint *checkpoint);

/** Returns the name of tensor 0 <= i < mr_checkpoint_tensors, and its shape [*dims]. Borrowed until
 * close. Local. */
const char *mr_checkpoint_tensor(const mr_checkpoint *checkpoint, int64_t i, int *dims,
                                 const int64_t **shape);

/** Reads what slabs [count] ask for, in pieces, from whichever shards hold it: these one after
 * another, each opened once at most, and no others. Local.
 * @return MR_OK, MR_ERR_FORMAT (no such tensor, or another shape), MR_ERR_IO (also where a shard
 * has changed since it was tested), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_checkpoint_read(mr_checkpoint *checkpoint,
                                          const mr_checkpoint_slab *slabs, int count,
                                          mr_checkpoint_sink sink, void *context);

/** Frees *checkpoint and sets it to NULL; NULL is allowed. Local. */
void mr_checkpoint_close(mr_checkpoint **checkpoint);

#endif
