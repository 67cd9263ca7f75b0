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

/** How progress is shown. */
typedef enum mr_progress {
    MR_PROGRESS_AUTO,  /**< a bar where stderr is a terminal, else lines */
    MR_PROGRESS_BAR,   /**< one line, redrawn in place at most ten times a second */
    MR_PROGRESS_LINES, /**< a line at every tenth of the way, and every minute */
    MR_PROGRESS_NONE,
} mr_progress;

/** Sets how progress is shown. A bar is as wide as the terminal; where stderr is none, as behind a
 * launcher that passes it on, as the environment's COLUMNS says, else 80 columns. Local. */
void mr_log_set_progress(mr_progress how);

/** Sets what stands before the names of what goes on ("run 2 of 9"); "": nothing. Local. */
void mr_log_set_part(const char *part);

/** Shows that done of total of something named is done. text holds what the caller wants to be seen
 * (loss, lr). Where a bar has no room for all, its cells and the beginning of the name go first.
 * Local. */
void mr_log_progress(const char *what, int64_t done, int64_t total, const char *text);

/** Ends a progress display, leaving its last state. Local. */
void mr_log_progress_end(void);

#endif
