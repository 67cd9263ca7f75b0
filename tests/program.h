#ifndef MR_TESTS_PROGRAM_H
#define MR_TESTS_PROGRAM_H

/** @file
 * What the tests of the whole program share: running it as its users do, on a command line and
 * under mpirun, and a folder of its own for each test file, with tiny models to train. Local. */

#include "base/status.h"
#include "folder.h"
#include "test.h"

#include <stdbool.h>

/** How a command line is run. Start from {0}; what is 0 has the meaning given. */
typedef struct program_setting {
    int ranks;           /**< under mpirun; 0: the program alone */
    const char *folder;  /**< it is started in; NULL: the present one */
    const char *wrapper; /**< script that gets the program and its arguments as its own; or NULL */
    int columns; /**< of a terminal that stdout and stderr are both, read as err; 0: pipes */
    int seconds; /**< after which it is ended and the test fails; 0: 180 */
} program_setting;

/** What a command line came to. */
typedef struct program_result {
    int exit_code;  /**< 128 and the signal's number where one ended it */
    char *out;      /**< all of its stdout, zero-terminated; owned */
    char *err;      /**< all of its stderr; owned */
    double seconds; /**< it took */
} program_result;

/** Runs "mora <arguments>", cut at blanks, and waits for its end. Fails the test where it cannot be
 * started, or has not ended in time. */
program_result program_run(program_setting setting, const char *arguments, ...) MR_PRINTF(2, 3);

/** As program_run, and fails the test, showing stderr, unless the exit code is 0. */
program_result program_succeed(program_setting setting, const char *arguments, ...) MR_PRINTF(2, 3);

/** As program_run, and fails the test unless the program ends with this exit code and one message,
 * which contains a part. */
void program_fail(program_setting setting, int exit_code, const char *message,
                  const char *arguments, ...) MR_PRINTF(4, 5);

/** A command line that is running. */
typedef struct program_child {
    int pid;      /**< of the launcher where there is one, else of the program; leads a group */
    int out, err; /**< to be read to their ends by program_finish */
    int ranks;
    double began, deadline;
} program_child;

/** Starts "mora <arguments>" and does not wait; program_finish must follow. */
program_child program_start(program_setting setting, const char *arguments, ...) MR_PRINTF(2, 3);

/** Waits for the end of what was started, as program_run. */
program_result program_finish(program_child *child);

/** Kills a rank of what was started under mpirun, and waits for its end: fails the test unless one
 * message names that rank's process, all have ended within ten seconds, and nothing is left in
 * /dev/shm of what the rank had there. */
void program_kill_rank(program_child *child);

/** Kills the launcher of what was started, and waits until its ranks have ended, ten seconds at
 * most.
 */
void program_kill_launcher(program_child *child);

/** Frees the texts of a result. */
void program_free(program_result *result);

/** Returns how many lines of a text contain a part. */
int program_lines_with(const char *text, const char *part);

/** As folder_enter, which folder_leave undoes, and writes tiny.json, the shape of a LLaMA of 32
 * columns and two layers, and tied.json, the same with a tied head.
 * @return 0, or -1 where it cannot, or MR_PROGRAM does not name the program to be tested */
int program_enter_folder(void **state);

/** Trains tiny.json from random weights for two steps: run.yaml, out/one.h5 and the folder model.
 */
void program_make_model(void);

/** Writes a text file. */
void program_write(const char *path, const char *fmt, ...) MR_PRINTF(2, 3);

/** Writes the config.json of a tiny LLaMA of so many columns and words of vocabulary. */
void program_write_shape(const char *path, int hidden, int vocabulary, bool tied);

/** Returns the bytes of a file, zero-terminated, for mr_free; size may be NULL. */
char *program_read(const char *path, size_t *size);

/** Makes a folder. */
void program_make_folder(const char *path);

#endif
