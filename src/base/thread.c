#include "base/thread.h"

#include <signal.h>

static void *run(void *of)
{
    mr_thread *thread = of;
    thread->work(thread->context);
    atomic_store(&thread->busy, false);
    return NULL;
}

void mr_thread_start(mr_thread *thread, void (*work)(void *context), void *context)
{
    sigset_t all, old;
    thread->work = work;
    thread->context = context;
    atomic_store(&thread->busy, true);
    /* A new thread inherits what is blocked now. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    thread->joinable = pthread_create(&thread->handle, NULL, run, thread) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!thread->joinable) run(thread);
}

bool mr_thread_busy(const mr_thread *thread)
{
    return atomic_load(&thread->busy);
}

void mr_thread_wait(mr_thread *thread)
{
    if (thread->joinable) pthread_join(thread->handle, NULL);
    thread->joinable = false;
}
