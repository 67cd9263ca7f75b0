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

/** What a shard holds of a tensor: elements begin..end-1 of the whole. */
typedef struct mr_manifest_part {
    int64_t tensor, file, begin, end;
} mr_manifest_part;

/** A whole tensor. */
typedef struct mr_manifest_tensor {
    const char *name;  /**< borrowed */
    const char *dtype; /**< as safetensors has it; borrowed */
    int dims;
    int64_t shape[MR_SAFETENSORS_DIMS];
    int64_t extent;     /**< elements */
    int64_t first_file; /**< the shard its first elements stand in */
    int64_t files;      /**< shards it is spread over, neighbours; 0 where there are no elements */
    const int64_t *end; /**< [files] element behind the last one that stands in each; borrowed */
} mr_manifest_tensor;

/** What a manifest says. Start from {0}; free with mr_manifest_free. Owns all but texts. */
typedef struct mr_manifest {
    json_t *root;
    const json_t *state; /**< borrowed from root */
    int64_t step;
    int64_t ranks;
    int64_t tensors;
    mr_manifest_tensor *tensor;         /**< [tensors] */
    const mr_manifest_tensor **by_name; /**< [tensors] */
    int64_t *end;                       /**< those of all tensors */
    mr_manifest_file *file;             /**< [ranks] */
} mr_manifest;

/** Writes a manifest so that it is whole or absent.
 * @param[in] state  an object; its count of references is the same afterwards
 * @param[in] slabs  [count], for their names and shapes
 * @param[in] parts  [n_parts], those that are not empty, by file and tensor; they cover the tensors
 * @param[in] files  [ranks]
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_manifest_write(const char *path, int64_t step, json_t *state,
                                         const mr_checkpoint_slab *slabs, int count,
                                         const mr_manifest_part *parts, int64_t n_parts,
                                         const mr_manifest_file *files, int64_t ranks);

/** Reads the text of a manifest and checks every field.
 * @param[in] path       for messages
 * @param[out] manifest  {0} on failure
 * @return MR_OK, MR_ERR_FORMAT (message names path and field), MR_ERR_ARG (whole, and written by
 *         another version of this program), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_manifest_parse(const char *path, const char *text, size_t bytes,
                                         mr_manifest *manifest);

/** Returns the tensor of a name, or NULL. */
const mr_manifest_tensor *mr_manifest_find(const mr_manifest *manifest, const char *name);

/** Finds the elements *begin..*end-1 of a tensor that stand in a file. @return false: none do */
bool mr_manifest_part_in(const mr_manifest_tensor *tensor, int64_t file, int64_t *begin,
                         int64_t *end);

/** Frees a manifest and empties it. */
void mr_manifest_free(mr_manifest *manifest);

#endif
