#ifndef MR_CORPUS_SHARD_WRITER_H
#define MR_CORPUS_SHARD_WRITER_H

/** @file
 * Writing one shard: a file of tokens (data/token_manifest.h), hashed on its way to the disk. */

#include "base/file.h"
#include "base/hash.h"

/** A writer of one shard after another. Start from {0}; free with mr_shard_writer_free. */
typedef struct mr_shard_writer {
    char path[PATH_MAX];
    int token_bytes;       /**< 2 or 4 */
    int64_t tokens;        /**< of the shard that is open; 0 where none is */
    int handle;            /**< valid while tokens > 0 */
    int64_t written;       /**< bytes of it */
    mr_hash *hash;         /**< owned; NULL while no shard is open */
    unsigned char *buffer; /**< owned */
    size_t used;           /**< bytes */
} mr_shard_writer;

/** Adds tokens to the file at path, which is created by the first of them: a shard without tokens
 * is no file. Local.
 * @param ids  [count] below 2^16 where token_bytes is 2
 * @return MR_OK, MR_ERR_IO (message names the path), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_shard_writer_add(mr_shard_writer *writer, const char *path,
                                           const int32_t *ids, int64_t count);

/** Ends the shard, synced to the disk; nothing where none is open. Local.
 * @param[out] tokens  it has
 * @param[out] sha256  of the file, where it has tokens */
MR_NODISCARD mr_status mr_shard_writer_end(mr_shard_writer *writer, int64_t *tokens,
                                           char sha256[MR_HASH_TEXT]);

/** Closes and frees what the writer has; a file that was not ended stays as it is. Local. */
void mr_shard_writer_free(mr_shard_writer *writer);

#endif
