#ifndef MR_CORPUS_SHARD_WRITER_H
#define MR_CORPUS_SHARD_WRITER_H

/** @file
 * Writing one shard: a file of tokens and the index of its documents (data/token_manifest.h),
 * hashed on their way to the disk. */

#include "base/file.h"
#include "base/hash.h"
#include "data/token_manifest.h"

/** A file being written. */
typedef struct mr_shard_file {
    char path[PATH_MAX];
    int handle;            /**< valid while hash is not NULL */
    int64_t written;       /**< bytes of it */
    mr_hash *hash;         /**< owned; NULL while no file is open */
    unsigned char *buffer; /**< owned */
    size_t used;           /**< bytes */
} mr_shard_file;

/** A writer of one shard after another. Start from {0}; free with mr_shard_writer_free. */
typedef struct mr_shard_writer {
    int token_bytes;           /**< 2 or 4 */
    bool marked;               /**< tokens say whether they are learned */
    int64_t tokens, documents; /**< of the shard that is open; 0 where none is */
    mr_shard_file file, index;
} mr_shard_writer;

/** Adds a document to the shard at path, whose files are created by the first one: a shard without
 * documents is no file. Local.
 * @param path     of the tokens, ending in .bin
 * @param ids      [count] below 2^16 where token_bytes is 2, half of that where marked; count > 0
 * @param learned  [count] which tokens are; NULL, which is all, where tokens are not marked
 * @param out      what the index says of it
 * @return MR_OK, MR_ERR_IO (message names the path), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_shard_writer_add(mr_shard_writer *writer, const char *path,
                                           const int32_t *ids, const uint8_t *learned,
                                           int64_t count, mr_token_document *out);

/** Ends the shard, synced to the disk; nothing where none is open. Local.
 * @param[out] out  its tokens and documents, and the hashes of its files where it has some
 * @return MR_OK, MR_ERR_IO (message names the path) */
MR_NODISCARD mr_status mr_shard_writer_end(mr_shard_writer *writer, mr_token_manifest_shard *out);

/** Closes and frees what the writer has; files that were not ended stay as they are. Local. */
void mr_shard_writer_free(mr_shard_writer *writer);

#endif
