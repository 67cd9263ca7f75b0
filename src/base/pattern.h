#ifndef MR_BASE_PATTERN_H
#define MR_BASE_PATTERN_H

/** @file
 * Regular expressions of users' files, by PCRE2, whose syntax is Perl's and, but for corners,
 * Python's. A pattern that would take too long or too much memory is refused, not tried. */

#include "base/status.h"

#include <stdbool.h>

enum { MR_PATTERN_PROBLEM = 128 }; /**< bytes of what is wrong with a pattern, with zero */

/** Tells whether a pattern matches all of a text. Local.
 * @param[out] problem  what is wrong with the pattern, for a message of the caller's; "" on MR_OK
 * @return MR_OK, MR_ERR_FORMAT (no pattern, or it takes too long; no message is set), MR_ERR_MEMORY
 */
MR_NODISCARD mr_status mr_pattern_matches(const char *pattern, const char *text, bool *matches,
                                          char problem[MR_PATTERN_PROBLEM]);

#endif
