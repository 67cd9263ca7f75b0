#ifndef MR_CORPUS_FORMAT_H
#define MR_CORPUS_FORMAT_H

/** @file
 * What a file is, by its first bytes and by its name: text, text compressed in a way that is read
 * here, or something else, which is refused for what it is. */

#include <stddef.h>

/** A format. Values from MR_FORMAT_FOREIGN on are those that are known but not read. */
typedef enum mr_format {
    MR_FORMAT_PLAIN,
    MR_FORMAT_GZIP,
    MR_FORMAT_ZSTD,
    MR_FORMAT_XZ,
    MR_FORMAT_FOREIGN,
} mr_format;

enum { MR_FORMAT_BLOCK = 512 }; /**< bytes that are enough to tell: the first block of an archive */

/** Tells what a file holds. Local.
 * @param[in] bytes  [count] its first: MR_FORMAT_BLOCK, or all of a shorter file */
mr_format mr_format_of(const void *bytes, size_t count);

/** Tells what the ending of a name says, in upper or lower case; plain where it says nothing.
 * Local.
 * @param[out] stem  bytes of the name before that ending; may be NULL */
mr_format mr_format_of_name(const char *path, size_t *stem);

/** Returns a format's name ("gzip"). Local. */
const char *mr_format_name(mr_format format);

/** Tells in which encoding a text is, as far as its first bytes show that it is not UTF-8: by its
 * byte-order mark, or by zeros where UTF-16 and UTF-32 have them in most languages of letters.
 * Local.
 * @return its name as iconv knows it, or NULL */
const char *mr_format_encoding(const void *bytes, size_t count);

#endif
