#ifndef MR_TESTS_FUZZ_H
#define MR_TESTS_FUZZ_H

/** @file
 * What the fuzz targets share: one file fuzz_<loader>.c each, with its first inputs in
 * corpus/<loader>. A loader may refuse an input by a message; a crash, a report of a sanitizer, or
 * memory that the input does not justify ends the run (limits in CMakeLists.txt). */

#include <stddef.h>
#include <stdint.h>

/** libFuzzer's entries. Source: https://llvm.org/docs/LibFuzzer.html */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** Returns a folder of this process in memory where there is such a place; borrowed. */
const char *fuzz_folder(void);

/** Writes an input to a file of that folder and returns its path; borrowed until the next call. */
const char *fuzz_file(const char *name, const uint8_t *data, size_t size);

#endif
