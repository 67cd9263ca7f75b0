#ifndef MR_STORE_CHECKPOINT_SHARD_H
#define MR_STORE_CHECKPOINT_SHARD_H

/** @file
 * One shard of a checkpoint, an HDF5 file: made with all but its data, whose places are handed out
 * so that a thread can write them without HDF5; and read. All functions are local. */

#include "store/checkpoint.h"
#include "store/h5.h"

/** What a shard says about itself. */
typedef struct mr_checkpoint_shard {
    int64_t rank;
    int64_t ranks;
    int64_t step;
} mr_checkpoint_shard;

/** The part of an array that a shard holds. */
typedef struct mr_checkpoint_part {
    int64_t first;
    int64_t count; /**< 0: none, then first is 0 too */
} mr_checkpoint_part;

/** Creates a shard without the data of its arrays.
 * @param[in] slabs     [count]
 * @param[out] offsets  [count] bytes from the start of the file to the data; 0 for empty parts
 * @param[out] handle   open for reading and writing, the caller's; -1 on failure
 * @return MR_OK, MR_ERR_IO (message names the path) */
MR_NODISCARD mr_status mr_checkpoint_shard_make(const char *path, const mr_checkpoint_shard *about,
                                                const mr_checkpoint_slab *slabs, int count,
                                                int64_t *offsets, int *handle);

/** Opens a shard and checks what it says about itself.
 * @param[out] file  H5Fclose is the caller's; invalid on failure
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (message names the path) */
MR_NODISCARD mr_status mr_checkpoint_shard_open(const char *path, const mr_checkpoint_shard *about,
                                                hid_t *file);

/** Finds the part of an array in an open shard and checks it against the extent.
 * @return MR_OK, MR_ERR_FORMAT (message names path and array) */
MR_NODISCARD mr_status mr_checkpoint_shard_part(hid_t file, const char *path, const char *name,
                                                int64_t extent, mr_checkpoint_part *part);

/** Reads elements at..at+count-1 of the part itself (0: its first) to out [count].
 * @return MR_OK, MR_ERR_FORMAT (message names path and array) */
MR_NODISCARD mr_status mr_checkpoint_shard_read(hid_t file, const char *path, const char *name,
                                                int64_t at, int64_t count, float *out);

#endif
