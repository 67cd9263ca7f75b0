#ifndef MR_TESTS_DATA_FILES_H
#define MR_TESTS_DATA_FILES_H

/** @file
 * Files that tests of data share: compressed ones, the tokenizer models that stand beside the
 * sources, and a text with all that is hard about text. Local. */

#include "base/status.h"
#include "test.h"

#include <stdbool.h>

enum { DATA_PATH = 4096 };

/** Forms of compression to write. */
typedef enum data_packing { DATA_GZ, DATA_ZST, DATA_XZ, DATA_PACKINGS } data_packing;

/** Returns the ending of a form of compression ("gz"). */
const char *data_ending(data_packing packing);

/** Writes a file of bytes; fails the test where it cannot. */
void data_write(const char *path, const void *data, size_t bytes);

/** Appends to a file; fails the test where it cannot. */
void data_append(const char *path, const void *data, size_t bytes);

/** Compresses a file; fails the test where it cannot. */
void data_pack(const char *from, const char *to, data_packing packing);

/** Unpacks a compressed file; false where it is not there. */
bool data_unpack(const char *from, const char *to);

/** Unpacks a file below ../shared, whose name ends on .xz, to a file here unless that is there;
 * skips the test where there is no ../shared. */
void data_unpack_shared(const char *name, const char *to);

/** Tells whether a program can be started. */
bool data_has_program(const char *name);

/** Skips the test where a program cannot be started. */
void data_need_program(const char *name);

/** Skips the test where spm_encode cannot be started, telling whether ../shared was for nothing. */
void data_need_encoder(bool shared);

/** Runs a shell command; fails the test unless it exits with 0. */
void data_shell(const char *fmt, ...) MR_PRINTF(1, 2);

/** Returns a text of lines that are hard to tokenise: empty ones, blanks at both ends, control
 * characters and zeros, scripts of one to four bytes a character, what normalisation changes or
 * makes longer, names of special pieces; the last line without a newline. */
const char *data_hard_text(size_t *bytes);

#endif
