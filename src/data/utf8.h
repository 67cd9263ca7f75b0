#ifndef MR_DATA_UTF8_H
#define MR_DATA_UTF8_H

/** @file
 * Strict UTF-8. Source: RFC 3629, section 4. */

#include <stddef.h>

/** Returns how many of the bytes are whole characters of UTF-8: `bytes` where all are, else the
 * place of the first that is not. Overlong forms, surrogates and what is past U+10FFFF are no
 * characters; U+0000 and other control characters are. Local. No allocation. */
size_t mr_utf8_valid(const char *text, size_t bytes);

#endif
