#ifndef MR_TESTS_TEST_H
#define MR_TESTS_TEST_H

/** @file
 * What every test file includes: cmocka in the order it needs, and a few assertions of ours. */

#include <setjmp.h>
#include <stdarg.h>
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

enum { MR_TEST_SKIP = 77 }; /**< exit code ctest takes for "skipped" */

#endif
