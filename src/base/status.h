#ifndef MR_BASE_STATUS_H
#define MR_BASE_STATUS_H

/** @file
 * One status type for the whole program, and one message record a thread: work that is dealt over
 * threads brings the message of what failed to the one that waits for it.
 *
 * A function that can fail returns an mr_status; the message is set once, where the failure
 * happened, and names the file, the place in it, what was found and what was expected. A status
 * may travel up only to the next agreement point (comm/comm.h: MR_AGREE); a broken invariant, or a
 * failure while peers wait in a collective, is mr_abort.
 */

#include <stdarg.h>
#include <stdnoreturn.h>

typedef enum mr_status {
    MR_OK = 0,
    MR_ERR_USAGE,   /**< bad command line; exit code 2 */
    MR_ERR_CONFIG,  /**< bad key or value in a configuration */
    MR_ERR_ARG,     /**< arguments that do not fit together (shapes, r, ranks) */
    MR_ERR_IO,      /**< the operating system refused */
    MR_ERR_FORMAT,  /**< a file that is not what it should be */
    MR_ERR_MEMORY,  /**< an allocation failed */
    MR_ERR_NUMERIC, /**< a result that is not finite */
    MR_ERR_RANKS,   /**< ranks whose copies of one state differ */
    MR_STOPPED,     /**< stopped on request, to be gone on with; exit code 75 */
} mr_status;

#define MR_NODISCARD __attribute__((warn_unused_result))
#define MR_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

enum { MR_MESSAGE_MAX = 1024 }; /**< bytes of a message with its terminating zero */

/** Records the message and returns code. Local. */
mr_status mr_fail(mr_status code, const char *fmt, ...) MR_PRINTF(2, 3);

/** Puts "prefix: " before the recorded message, for a caller that knows the place better. Local. */
mr_status mr_fail_in(mr_status code, const char *fmt, ...) MR_PRINTF(2, 3);

/** Returns the last recorded message, "" where none was. Local. */
const char *mr_message(void);

/** Returns the word printed for a code ("i/o", "config", ...). Local. */
const char *mr_status_name(mr_status code);

/** Prints "mora: fatal on rank R: ..." and ends every rank. For broken invariants only. */
noreturn void mr_abort(const char *fmt, ...) MR_PRINTF(1, 2);

/** Sets what mr_abort calls after formatting; comm installs MPI_Abort. NULL restores abort(). */
void mr_abort_set_handler(void (*handler)(const char *message));

/** Returns the status of call from the enclosing function unless it is MR_OK. */
#define MR_TRY(call)                                                                               \
    do {                                                                                           \
        mr_status mr_try_status_ = (call);                                                         \
        if (mr_try_status_ != MR_OK) return mr_try_status_;                                        \
    } while (0)

/** Returns code with a message from the enclosing function unless cond holds. */
#define MR_CHECK(cond, code, ...)                                                                  \
    do {                                                                                           \
        if (!(cond)) return mr_fail((code), __VA_ARGS__);                                          \
    } while (0)

/** Aborts unless cond holds: for what only a bug can break. */
#define MR_INVARIANT(cond)                                                                         \
    do {                                                                                           \
        if (!(cond)) mr_abort("%s:%d: broken invariant: %s", __FILE__, __LINE__, #cond);           \
    } while (0)

#endif
