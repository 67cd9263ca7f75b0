#ifndef MR_TESTS_CALLS_H
#define MR_TESTS_CALLS_H

/** @file
 * The system's open and read as they are called from what is linked into a test: counted, and made
 * to fail. The test's linker gets `-Wl,--wrap=open,--wrap=read` (mr_watch_calls in CMakeLists.txt).
 * One process. */

/** Counts from now on what is opened to be read at paths that contain part. */
void calls_watch(const char *part);

/** Returns how often such a path has been opened since. */
int calls_opened(void);

/** Lets opening such a path to read it fail by an error number; 0: no more. */
void calls_fail_to_open(int error);

/** Lets reading what is opened at such a path from now on fail by an error number; 0: no more. */
void calls_fail_to_read(int error);

#endif
