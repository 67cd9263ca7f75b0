#ifndef MR_TESTS_TEST_H
#define MR_TESTS_TEST_H

/** @file
 * What every test file includes: cmocka in the order it needs, and a few assertions of ours. */

#include "base/random.h"
#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/** Fails unless text holds part; prints both. */
#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        if (!strstr((text), (part))) fail_msg("expected \"%s\" in \"%s\"", (part), (text));        \
    } while (0)

/** Fails the test unless a call returns MR_OK; prints its message. Where other ranks would wait for
 * this one it ends them all. */
#define must(...) test_must((__VA_ARGS__), __FILE__, __LINE__)
void test_must(mr_status status, const char *file, int line);

/** Tells that a failure ends all ranks: those of a program of several. */
void test_set_peers(bool peers);

/** Returns the name of the backend that tests are to be run on: what MORA_BACKEND says, or "cpu".
 */
const char *test_backend(void);

/** Waits. */
void test_nap(double seconds);

/** Writes a file without the sync of mr_file_write, for tests of thousands of files. */
void test_put_bytes(const char *path, const char *bytes, size_t size);

/** Skips the test for a reason, by which .ci/run lists it. */
#define skip_because(...)                                                                          \
    do {                                                                                           \
        print_message("skipped: ");                                                                \
        print_message(__VA_ARGS__);                                                                \
        print_message("\n");                                                                       \
        skip();                                                                                    \
    } while (0)

/** Skips the test: no root of references has what it needs, which a format and its arguments say.
 */
#define skip_without_golden(...)                                                                   \
    skip_because("needs ../shared/golden, or MORA_GOLDEN, with " __VA_ARGS__)

/** Fills order[count] with a permutation of 0..count-1 drawn from a stream. */
void test_permutation(const mr_random *random, int64_t *order, int64_t count);

enum { TEST_PATH = 4096 };

/** Tells whether there is a folder shared beside the sources' own. */
bool test_has_shared(void);

/** Returns the path of a file below ../shared. Without that folder the test is skipped; with it,
 * but not the file, it fails. */
const char *test_shared(const char *name, char out[TEST_PATH]);

#endif
