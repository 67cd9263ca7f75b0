#ifndef MR_CORPUS_COMPRESSED_H
#define MR_CORPUS_COMPRESSED_H

/** @file
 * The bytes of a text file, plain or compressed as gzip, zstd or xz.
 *
 * All of a compressed file is text of it or the reading fails: what follows a gzip member, zstd
 * frame or xz stream must be a whole further one, or zeros to the end of the file where the format
 * pads with them. Any number of them may hold no text, and any zstd frame may be a skippable one.
 */

#include "base/memory.h"

#include <stdint.h>

/** A file being read. */
typedef struct mr_compressed mr_compressed;

/** Looks at the first bytes of a file and at its name: one that says what the file is (.gz, .zst,
 * .xz and those of formats that are not read, in any spelling) must be right; what is compressed
 * may have any other. Local.
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (the content is not what the name says; it is, or holds,
 * something else than text; it is compressed twice; its text is not in UTF-8 by its first bytes),
 * MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_compressed_probe(const char *path, bool *compressed);

/** Opens a file. Local.
 * @param[in]  path        borrowed until close
 * @param[in]  compressed  as mr_compressed_probe tells; else the file's bytes are given as they are
 * @param[out] out         set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_compressed_open(const char *path, bool compressed, mr_compressed **out);

/** Closes *file and sets it to NULL; NULL is allowed. Local. */
void mr_compressed_close(mr_compressed **file);

/** Goes to an offset of a file that is not compressed. Local. @return MR_OK, MR_ERR_IO */
MR_NODISCARD mr_status mr_compressed_seek(mr_compressed *file, int64_t offset);

/** Reads the next bytes of the text. Local.
 * @param[out] to   [room], room above 0
 * @param[out] got  0 at the end of the file only
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (damaged or cut short; message names file and offset),
 * MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_compressed_read(mr_compressed *file, char *to, size_t room, size_t *got);

/** Returns how many bytes of the file itself have been gone through; where it is not compressed,
 * those since open. Local. */
int64_t mr_compressed_consumed(const mr_compressed *file);

#endif
