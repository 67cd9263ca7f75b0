#ifndef MR_BASE_UTF8_H
#define MR_BASE_UTF8_H

/** @file
 * Strict UTF-8. Source: RFC 3629, section 4. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MR_UTF8_MARK = 3 }; /**< bytes of a byte-order mark */

/** Returns the bytes of a byte-order mark at the start: MR_UTF8_MARK, or 0 where there is none.
 * Local. */
size_t mr_utf8_mark(const char *text, size_t bytes);

/** Returns how many of the bytes are whole characters of UTF-8: `bytes` where all are, else the
 * place of the first that is not. Overlong forms, surrogates and what is past U+10FFFF are no
 * characters; U+0000 and other control characters are. Local. No allocation. */
size_t mr_utf8_valid(const char *text, size_t bytes);

/** Returns the bytes of the character at text and its code point; 0 where there is none. Local.
 * @param bytes  from text to its end */
int mr_utf8_decode(const char *text, size_t bytes, uint32_t *point);

/** Returns how many bytes of a text, at most `most`, end with a whole character. Local. */
size_t mr_utf8_cut(const char *text, size_t most);

/** Returns the characters of UTF-8 among bytes, each of which takes one column. Local. */
int mr_utf8_width(const char *text, size_t bytes);

/** Tells whether a character is white space (White_Space of Unicode). Local. */
bool mr_utf8_is_space(uint32_t point);

/** Returns the bytes of white space at the start, and at the end, of UTF-8: what Python's strip()
 * takes off, which is White_Space and U+001C to U+001F. Local. */
size_t mr_utf8_spaces_at_start(const char *text, size_t bytes);
size_t mr_utf8_spaces_at_end(const char *text, size_t bytes);

#endif
