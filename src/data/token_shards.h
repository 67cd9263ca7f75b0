#ifndef MR_DATA_TOKEN_SHARDS_H
#define MR_DATA_TOKEN_SHARDS_H

/** @file
 * Reading a folder of token shards, as sequences of one length or as documents.
 *
 * The tokens of a split are one stream, shard after shard in the order of the text, and sequence i
 * is its tokens i * seq_len to (i + 1) * seq_len - 1: a split of T tokens has T / seq_len
 * sequences, rounded down, and only its last T % seq_len tokens are dropped. A document may start,
 * end, or do both anywhere in a sequence, and so may a shard.
 *
 * Source: ReLoRA (arXiv 2307.05695), whose preprocessing joins documents with EOS and cuts the
 * whole. Deviation: its code drops the remainder of every batch of documents it maps, the seams of
 * which depend on the size of such a batch; here nothing is lost but at the end.
 */

#include "comm/comm.h"
#include "data/token_manifest.h"

/** Most files of a folder that are held open at a time; fewer where that would be more than an
 * eighth of what the process may open. */
enum { MR_TOKEN_SHARDS_OPEN = 256 };

/** An open folder. */
typedef struct mr_token_shards mr_token_shards;

/** Opens a folder that `mora data prepare` wrote: reads its manifest; the shards are opened when
 * they are used. Local.
 * @param[in]  seq_len  tokens of a sequence, 1 or more
 * @param[out] out      set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_IO (not there), MR_ERR_FORMAT (damaged; the message names the file and what
 * differs), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_token_shards_open(const char *folder, int64_t seq_len,
                                            mr_token_shards **out);

/** Closes *shards and sets it to NULL; NULL is allowed. Local. */
void mr_token_shards_close(mr_token_shards **shards);

/** Returns what the folder says about itself; borrowed until close. Local. */
const mr_token_manifest *mr_token_shards_manifest(const mr_token_shards *shards);

/** Returns the hash that names the folder's sequences (mr_token_manifest_hash); borrowed until
 * close. Local.
 */
const char *mr_token_shards_hash(const mr_token_shards *shards);

/** Returns the number of whole sequences of a split: its tokens / seq_len, rounded down. Local. */
int64_t mr_token_shards_sequences(const mr_token_shards *shards, mr_split split);

/** Reads tokens first..first + count - 1 of a sequence. A shard that is not what it was when it was
 * verified, or first used, by size and by times, is compared with its SHA-256 again, so that what
 * is read is what the manifest says, or an error. Local. Allocates where a shard has changed only.
 * @param[in]  sequence  0..mr_token_shards_sequences - 1
 * @param[out] ids       [count] without their marks
 * @return MR_OK, MR_ERR_IO (also: a shard is gone), MR_ERR_FORMAT (an id past the vocabulary, or a
 * shard that has changed; the message names it), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_token_shards_read(mr_token_shards *shards, mr_split split,
                                            int64_t sequence, int64_t first, int64_t count,
                                            int32_t *ids);

/** Reads which documents there are, from the index of every shard, and compares it with the
 * manifest: needed before the functions below. The folder's hash becomes the one that names its
 * documents. Local.
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (damaged, or of version 1, which has no index; the
 * message names the file), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_token_shards_load_documents(mr_token_shards *shards);

/** Returns the number of documents of a split. Local. */
int64_t mr_token_shards_documents(const mr_token_shards *shards, mr_split split);

/** Returns what the index says of a document. Local.
 * @param index  0..mr_token_shards_documents - 1, in the order of the text */
mr_token_document mr_token_shards_document(const mr_token_shards *shards, mr_split split,
                                           int64_t index);

/** Reads tokens first..first + count - 1 of a document. As mr_token_shards_read otherwise.
 * @param[out] ids      [count]
 * @param[out] learned  [count] 1 where a token is learned, else 0 */
MR_NODISCARD mr_status mr_token_shards_read_document(mr_token_shards *shards, mr_split split,
                                                     int64_t index, int64_t first, int64_t count,
                                                     int32_t *ids, uint8_t *learned);

/** Checks that every shard and its index are there and have their sizes. Local.
 * @return MR_OK, MR_ERR_FORMAT (the message names the first that is not as it should be) */
MR_NODISCARD mr_status mr_token_shards_check(const mr_token_shards *shards);

/** Reads every shard and its index, each on one rank, and compares size and SHA-256 with the
 * manifest.
 * Collective; on mr_comm_self() it needs no other.
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (the message names the first that differs),
 * MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_token_shards_verify(mr_token_shards *shards, const mr_comm *comm);

#endif
