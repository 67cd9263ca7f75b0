#ifndef MR_TESTS_GOLDEN_LINES_H
#define MR_TESTS_GOLDEN_LINES_H

/** @file
 * References that are JSON lines, below the roots that MORA_GOLDEN names (golden_find.h). Local. */

#include "test.h"

#include <jansson.h>

/** What a test does with a line. Whole numbers are reals, as some are larger than 64 bits. */
typedef void golden_line(const json_t *line);

/** A kind of line, and what is done with it. */
typedef struct golden_kind {
    const char *name; /**< the line's "kind", or "*" for every line; NULL behind the last one */
    golden_line *check;
} golden_kind;

/** Calls what is said of its kind for every line of <root>/<name>; a kind of which nothing is said
 * fails. Skips the test where no root has the file. */
void golden_lines(const char *name, const golden_kind *kinds);

/** Returns the root of the line being checked. Borrowed. */
const char *golden_root(void);

/** Returns a member of a line: a text and its bytes, a number, a truth, the items of a list. One
 * that is not there, or another kind of value, fails. @{ */
const char *golden_text(const json_t *line, const char *key, size_t *bytes);
double golden_number(const json_t *line, const char *key);
bool golden_truth(const json_t *line, const char *key);
size_t golden_list(const json_t *line, const char *key);
/** @} */

/** Returns numbers [*count] of a list, for mr_free. */
double *golden_numbers(const json_t *line, const char *key, size_t *count);

/** Fails, with the line, unless a condition holds. */
#define golden_assert(line, condition) golden_hold((line), (condition), #condition)
void golden_hold(const json_t *line, bool holds, const char *condition);

#endif
