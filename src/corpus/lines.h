#ifndef MR_CORPUS_LINES_H
#define MR_CORPUS_LINES_H

/** @file
 * Lines of a text file, plain or compressed, in memory bounded by the longest line that is taken.
 *
 * A line ends before a newline, a carriage return, or a carriage return and a newline, whatever
 * system wrote it, or at the end of the file; an end of line at the very end starts no further
 * line. A byte-order mark at the very start is no part of the text. Offsets count the bytes of the
 * file, after decompression.
 */

#include "base/memory.h"

#include <stdint.h>

/** A file being read. */
typedef struct mr_lines mr_lines;

/** Where and how to read. */
typedef struct mr_lines_place {
    const char *path;     /**< borrowed until close */
    bool compressed;      /**< as mr_compressed_probe tells */
    bool whole;           /**< all of the file is one line, its ends of lines as newlines */
    int64_t offset;       /**< the first line starts here or later; 0 where compressed */
    int64_t end;          /**< where offset is not 0: no line that starts here or later is wanted */
    int64_t lines_before; /**< mr_lines_count of what stands before offset */
    size_t longest;       /**< bytes of a line; a longer one is passed over */
} mr_lines_place;

/** Opens a file. Local. @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_lines_open(const mr_lines_place *place, mr_lines **out);

/** Closes *lines and sets it to NULL; NULL is allowed. Local. */
void mr_lines_close(mr_lines **lines);

/** Gives the next line. Local.
 * @param[out] text  borrowed until the next call; NULL at the end of the file
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (compressed data damaged; message names the file),
 * MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_lines_next(mr_lines *lines, const char **text, size_t *bytes);

/** Returns where the next line starts. Local. */
int64_t mr_lines_offset(const mr_lines *lines);

/** Returns the number, from 1, of the line last given. Local. */
int64_t mr_lines_number(const mr_lines *lines);

/** Tells whether the line last given had more bytes than are taken: it was given as no text, and
 * the next one follows it. Local. */
bool mr_lines_too_long(const mr_lines *lines);

/** Counts the ends of lines in a stretch of a file. Local. @param before  the byte before the
 * stretch, 0 at the start of the file: where it is a carriage return, which was counted as one with
 * the stretch before, a newline that follows it is none */
int64_t mr_lines_count(const char *text, size_t bytes, char before);

/** Returns how many bytes of the file itself have been gone through since open. Local. */
int64_t mr_lines_consumed(const mr_lines *lines);

#endif
