#ifndef MR_TESTS_LOGS_H
#define MR_TESTS_LOGS_H

/** @file
 * Reading and comparing what runs leave behind. All functions fail the test on trouble. */

#include "test.h"

#include <stdbool.h>

/** Returns a series of a log, for mr_free. */
double *log_series(const char *path, const char *dataset, int64_t *count);

/** Returns the rows of a series, 0 where the log has none of that name. */
int64_t log_rows(const char *path, const char *dataset);

/** Returns a number that is an attribute of a log. */
int64_t log_int(const char *path, const char *name);

/** Expects a text that is an attribute of a log. */
void log_assert_text(const char *path, const char *name, const char *expected);

/** Compares the first `first` rows (0: all) of a series of two logs bit by bit. */
void log_assert_same_bits(const char *path, const char *other, const char *dataset, int64_t first);

/** Compares a series of two logs within a relative bound. */
void log_assert_close(const char *path, const char *other, const char *dataset, double bound);

/** Tells whether a file can be read. */
bool file_exists(const char *path);

/** Compares two files byte by byte. */
void file_assert_same(const char *path, const char *other);

/** Compares the tensors of two safetensors files bit by bit, whatever their metadata. */
void file_assert_same_tensors(const char *path, const char *other);

#endif
