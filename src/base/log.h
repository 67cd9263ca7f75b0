#ifndef MR_BASE_LOG_H
#define MR_BASE_LOG_H

/** @file
 * Progress on stderr; results go to stdout and never through here. Ranks above 0 are silent.
 * Control characters in what is printed stand as \xNN.
 */

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/** Silences this process (ranks above 0) or lets it speak. */
void mr_log_set_quiet(bool quiet);

/** Prints one line "mora: ..." on stderr, after wiping a live bar if one stands there. */
void mr_log(const char *fmt, ...) MR_PRINTF(1, 2);

/** Prints one line "mora: warning: ..." on stderr; the same warning again, as every run of a matrix
 * may have it, is not repeated. */
void mr_warn(const char *fmt, ...) MR_PRINTF(1, 2);

/** Prints one line "mora: error: <name of status>: <recorded message>" on stderr. */
void mr_log_error(mr_status status);

/** Shows progress: a bar redrawn in place on a terminal (at most ten times a second), elsewhere a
 * plain line at every tenth of the way and every minute. text holds what the caller wants to be
 * seen (loss, lr). Local. */
void mr_log_progress(const char *what, int64_t done, int64_t total, const char *text);

/** Ends a progress display, leaving its last state. */
void mr_log_progress_end(void);

#endif
