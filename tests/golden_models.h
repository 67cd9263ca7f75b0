#ifndef MR_TESTS_GOLDEN_MODELS_H
#define MR_TESTS_GOLDEN_MODELS_H

/** @file
 * References of a model that are a file of JSON lines: <root>/<kind>/<model>.jsonl, for the roots
 * that MORA_GOLDEN names (colon-separated; without it ../shared/golden). */

#include "ranks.h"

#include <jansson.h>

#include <limits.h>

enum { GOLDEN_MODELS = 16, GOLDEN_LINES = 64 }; /* at most */

/** A model and its lines. */
typedef struct golden_model {
    char name[256];
    char folder[PATH_MAX], file[PATH_MAX];
} golden_model;

/** Makes tests, which have a model for their state, of every model of a kind of references: those
 * of a root, and of the data beside it. Local.
 * @param each       [count]
 * @param[out] tests [GOLDEN_MODELS * count] at most
 * @return how many there are */
size_t golden_model_tests(const char *kind, const struct CMUnitTest *each, size_t count,
                          struct CMUnitTest *tests);

/** Lines of a file, read. Owns them. */
typedef struct golden_file {
    int count;
    json_t *line[GOLDEN_LINES];
} golden_file;

/** Reads the lines of a model; fails the test where it cannot, or there are none. */
void golden_file_open(const golden_model *model, golden_file *file);

/** Frees the lines. */
void golden_file_close(golden_file *file);

#endif
