#ifndef MR_CORPUS_VALUE_H
#define MR_CORPUS_VALUE_H

/** @file
 * An object or list of JSON being followed to its end, piece by piece, without being read.
 *
 * What breaks the grammar of JSON is found where it stands, but for what numbers and words look
 * like. From there on nothing is sure: brackets may be missing, or quotes, so that what follows
 * looks like text. So a broken value ends with its brackets, or before what looks like the next one
 * of its kind: an object of the same first name, or one that begins a line as those before did. In
 * a sound string no name in quotes stands behind a brace, as quotes have backslashes there. One
 * that lacks its end without breaking the grammar holds the next one as `inner`, and does not end.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MR_VALUE_DEPTH = 2048, /**< most brackets in one another, as the library that reads it has it */
    MR_VALUE_NAME = 64,    /**< bytes of a first name that is known again, with terminating zero */
};

/** A value. Start from {0} and what is known of others. */
typedef struct mr_value {
    const char *known; /**< first name of objects before, "" where there is none; borrowed */
    int64_t indent;    /**< blanks before those that began a line; -1: none did, so any number */
    bool broken;
    size_t
        inner; /**< byte of the first object within it that has the known name; 0: there is none */
    char name[MR_VALUE_NAME]; /**< its first, as it stands between quotes; "" where too long */

    int next; /* what the grammar has next */
    int64_t depth;
    uint8_t object[MR_VALUE_DEPTH / 8]; /* bits: whether a bracket is one of an object */
    bool string, escaped, word;
    size_t name_bytes; /* taken of it so far */
    size_t suspect;    /* byte where the last string began: its end may have been missing */
    bool naming, named;
    int64_t column; /* blanks before the next byte in its line; -1: not blanks alone */
} mr_value;

/** Begins a value. Local. */
void mr_value_begin(mr_value *value, const char *known, int64_t indent);

/** Follows a value, which starts at text, through bytes from..bytes - 1. Local. No allocation.
 * @param[in]  last   no more bytes follow these
 * @param[out] ended  the value ends here, whole or broken
 * @return how many bytes are gone through, from text on: at the end those of the value; else from
 * where to go on when there are more */
size_t mr_value_follow(mr_value *value, const char *text, size_t bytes, size_t from, bool last,
                       bool *ended);

/** Tells whether a byte is white space between values. Local. */
static inline bool mr_value_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

#endif
