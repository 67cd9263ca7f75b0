#ifndef MR_STORE_CHECKPOINT_MANIFEST_H
#define MR_STORE_CHECKPOINT_MANIFEST_H

/** @file
 * The manifest of a checkpoint: written last, it says what the checkpoint holds. Its field `sha256`
 * is that of its other fields in their compact form, keys sorted, so that no change of a value goes
 * unseen. All functions are local. */

#include "base/hash.h"
#include "store/checkpoint.h"

/** A shard as the manifest has it; its name follows from its rank. */
typedef struct mr_manifest_file {
    int64_t bytes;
    char sha256[MR_HASH_TEXT];
} mr_manifest_file;

/** A whole array. */
typedef struct mr_manifest_array {
    const char *name; /**< borrowed */
    int64_t extent;
} mr_manifest_array;

/** What a manifest says. Start from {0}; free with mr_manifest_free. Owns all but the names. */
typedef struct mr_manifest {
    json_t *root;
    const json_t *state; /**< borrowed from root */
    int64_t step;
    int64_t ranks;
    int64_t arrays;
    mr_manifest_array *array; /**< [arrays] */
    mr_manifest_file *file;   /**< [ranks] */
} mr_manifest;

/** Writes a manifest so that it is whole or absent.
 * @param[in] state  an object; its count of references is the same afterwards
 * @param[in] slabs  [count], for their names and extents
 * @param[in] files  [ranks]
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_manifest_write(const char *path, int64_t step, json_t *state,
                                         const mr_checkpoint_slab *slabs, int count,
                                         const mr_manifest_file *files, int64_t ranks);

/** Reads the text of a manifest and checks every field.
 * @param[in] path       for messages
 * @param[out] manifest  {0} on failure
 * @return MR_OK, MR_ERR_FORMAT (message names path and field), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_manifest_parse(const char *path, const char *text, size_t bytes,
                                         mr_manifest *manifest);

/** Frees a manifest and empties it. */
void mr_manifest_free(mr_manifest *manifest);

#endif
