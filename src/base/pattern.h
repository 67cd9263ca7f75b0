#ifndef MR_BASE_PATTERN_H
#define MR_BASE_PATTERN_H

/** @file
 * Regular expressions, by PCRE2, whose syntax is Perl's and, but for corners, Python's. A pattern
 * that would take too long or too much memory is refused, not tried. Texts may hold zero bytes;
 * \d, \w and their like mean Unicode's, and what is not UTF-8 matches nothing. */

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { MR_PATTERN_PROBLEM = 128 }; /**< bytes of what is wrong with a pattern, with zero */

/** A pattern. Read-only once made: any thread may match. */
typedef struct mr_pattern mr_pattern;

/** A part of a text. */
typedef struct mr_span {
    size_t from, to; /**< its first byte, and the one behind its last */
} mr_span;

/** Compiles a pattern. Local.
 * @param[out] out      set on MR_OK, else NULL; for mr_pattern_destroy
 * @param[out] problem  what is wrong with it, for a message of the caller's; "" on MR_OK
 * @return MR_OK, MR_ERR_FORMAT (no pattern; no message is set), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_pattern_create(const char *pattern, mr_pattern **out,
                                         char problem[MR_PATTERN_PROBLEM]);

/** Frees *pattern and sets it to NULL; NULL is allowed. Local. */
void mr_pattern_destroy(mr_pattern **pattern);

/** Returns how many groups of a pattern are kept: its pairs of parentheses. Local. */
int mr_pattern_groups(const mr_pattern *pattern);

/** Finds the first match that starts at byte `from` or behind. Local.
 * @param[out] spans    [1 + groups] of the whole and of each group, one that took no part being
 *                      empty; set where found. NULL: not asked for
 * @param[out] problem  as for mr_pattern_create
 * @return MR_OK, MR_ERR_FORMAT (it takes too long; no message is set), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_pattern_search(const mr_pattern *pattern, const char *text, size_t bytes,
                                         size_t from, mr_span *spans, bool *found,
                                         char problem[MR_PATTERN_PROBLEM]);

/** Tells whether a pattern matches all of a text. Local.
 * @param[out] problem  what is wrong with the pattern, for a message of the caller's; "" on MR_OK
 * @return MR_OK, MR_ERR_FORMAT (no pattern, or it takes too long; no message is set), MR_ERR_MEMORY
 */
MR_NODISCARD mr_status mr_pattern_matches(const char *pattern, const char *text, bool *matches,
                                          char problem[MR_PATTERN_PROBLEM]);

#endif
