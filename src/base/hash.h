#ifndef MR_BASE_HASH_H
#define MR_BASE_HASH_H

/** @file
 * SHA-256 of streams and files: what names data and checkpoints for good, and what `sha256sum`
 * prints for the same bytes. And short hashes, which are no proof against intent: FNV-1a of bytes,
 * and the mixing of one number. What is drawn and written depends on them, so they never change. */

#include "base/device.h"
#include "base/memory.h"

#include <stdint.h>

enum {
    MR_HASH_BYTES = 32,
    MR_HASH_TEXT = 2 * MR_HASH_BYTES + 1, /**< hexadecimal digits with the terminating zero */
};

/** A hash being computed. */
typedef struct mr_hash mr_hash;

/** Starts a hash. Local. @param[out] out  set on MR_OK, else NULL @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hash_create(mr_hash **out);

/** Takes bytes in. Local. */
void mr_hash_add(mr_hash *hash, const void *data, size_t bytes);

/** Writes the digest of what was taken in as lower-case hexadecimal text, frees *hash and sets it
 * to NULL. Local. */
void mr_hash_finish(mr_hash **hash, char out[MR_HASH_TEXT]);

/** Frees *hash unfinished and sets it to NULL; NULL is allowed. Local. */
void mr_hash_destroy(mr_hash **hash);

/** Hashes bytes in memory. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hash_bytes(const void *data, size_t bytes, char out[MR_HASH_TEXT]);

/** Hashes an open file in pieces, from where it stands to its end. Local.
 * @param path   for messages
 * @param bytes  gets how many there were; may be NULL
 * @return MR_OK, MR_ERR_IO (message names the path), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hash_handle(int handle, const char *path, char out[MR_HASH_TEXT],
                                      int64_t *bytes);

/** Hashes a whole file in pieces. Local.
 * @param[out] bytes  its size; may be NULL
 * @return MR_OK, MR_ERR_IO (message names the path), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hash_file(const char *path, char out[MR_HASH_TEXT], int64_t *bytes);

#define MR_HASH_FNV UINT64_C(0xcbf29ce484222325) /**< FNV-1a of no bytes */

/** Returns the 64-bit FNV-1a of some bytes behind those that gave hash. Local. */
static inline uint64_t mr_hash_fnv(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *byte = (const unsigned char *)data;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ byte[i]) * 0x100000001b3u;
    return hash;
}

/** Returns a 64-bit number in which every bit of x has a say, each x its own: the finaliser of
 * MurmurHash3. Local. */
MR_DEVICE static inline uint64_t mr_hash_mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdu;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

#endif
