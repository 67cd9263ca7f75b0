#ifndef MR_BASE_THREAD_H
#define MR_BASE_THREAD_H

/** @file
 * Threads that work beside the program's first one. */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/** A piece of work beside the rest. Start from {0}; its own thread has no part in MPI. */
typedef struct mr_thread {
    void (*work)(void *context);
    void *context;
    pthread_t handle; /**< valid while joinable */
    bool joinable;
    atomic_bool busy;
} mr_thread;

/** Starts work on a thread of its own, which takes no signals: they are for the one that runs the
 * steps. Where the system gives none, the work is done before this returns. The last work must have
 * been waited for. Local.
 * @param context  borrowed until mr_thread_wait */
void mr_thread_start(mr_thread *thread, void (*work)(void *context), void *context);

/** Tells whether the work still goes on; once false it stays so until the next start. Local. */
bool mr_thread_busy(const mr_thread *thread);

/** Waits for the work, if there is any. Local. */
void mr_thread_wait(mr_thread *thread);

#endif
