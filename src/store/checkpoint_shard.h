#ifndef MR_STORE_CHECKPOINT_SHARD_H
#define MR_STORE_CHECKPOINT_SHARD_H

/** @file
 * One shard of a checkpoint, a safetensors file: made with all but its data, so that a thread can
 * write these; and found again. All functions are local. */

#include "store/checkpoint.h"

enum {
    MR_CHECKPOINT_TENSOR = 256, /**< bytes of a tensor's name with its zero */
    MR_CHECKPOINT_ENTRY = MR_CHECKPOINT_TENSOR + 2 * 24 /**< and of the name of a part */
};

/** What a shard says about itself in its metadata. */
typedef struct mr_checkpoint_shard {
    int64_t rank;
    int64_t ranks;
    int64_t step;
} mr_checkpoint_shard;

/** Computes the elements of a shape. @return false where it is none, or too large */
bool mr_checkpoint_extent(int dims, const int64_t *shape, int64_t *extent);

/** Makes the name under which elements begin..end-1 of a tensor of extent stand in a shard: its
 * own, or "name[begin:end]" where they are not all. */
void mr_checkpoint_entry_name(const char *name, int64_t begin, int64_t end, int64_t extent,
                              char out[MR_CHECKPOINT_ENTRY]);

/** Starts a shard of the parts of slabs [count] that are not empty, in their order.
 * @return as mr_safetensors_create */
MR_NODISCARD mr_status mr_checkpoint_shard_create(const char *path,
                                                  const mr_checkpoint_shard *about,
                                                  const mr_checkpoint_slab *slabs, int count,
                                                  mr_safetensors_writer **out);

#endif
