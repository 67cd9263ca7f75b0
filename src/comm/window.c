/* Memory that the ranks of a node share; the contract stands in comm/nodes.h. */

#define _GNU_SOURCE /* madvise with C11 */ /* NOLINT(bugprone-reserved-identifier) */

#include "comm/nodes.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older headers lack it */
#endif

enum { PAGE = 4096, LINE = 64 };

struct mr_window {
    mr_comm node; /* borrowed */
    MPI_Win handle;
    char *base;           /* a page's start */
    size_t counter_bytes; /* of one rank, on cache lines of its own */
    size_t head;          /* of all, in pages */
};

static const char *folder(void)
{
    const char *set = getenv("OMPI_MCA_osc_sm_backing_directory");
    return set ? set : "/dev/shm";
}

int64_t mr_window_room(const mr_comm *comm, char what[64])
{
    struct statvfs facts;
    snprintf(what, 64, "%.63s", folder());
    int64_t least = INT64_MIN;
    if (statvfs(folder(), &facts) == 0)
        least = -(int64_t)((uint64_t)facts.f_bavail * facts.f_frsize);
    if (access(folder(), W_OK) != 0) least = 0; /* MPI would end all ranks */
    mr_comm_max_i64(comm, &least, 1);
    return least == INT64_MIN ? INT64_MAX : -least;
}

static _Atomic uint64_t *counter_of(const mr_window *w, int rank, int counter)
{
    return (_Atomic uint64_t *)(void *)(w->base + (size_t)rank * w->counter_bytes) + counter;
}

mr_status mr_window_create(const mr_nodes *nodes, size_t bytes, int counters, mr_window **out)
{
    char what[64];
    const size_t one = (size_t)counters * sizeof(uint64_t);
    const size_t lines = (one + LINE - 1) / LINE * LINE;
    const size_t head = ((size_t)nodes->ranks * lines + PAGE - 1) / PAGE * PAGE;
    const int64_t need = (int64_t)(PAGE + head + bytes), room = mr_window_room(&nodes->parts, what);
    *out = NULL;
    MR_CHECK(need <= room, MR_ERR_MEMORY,
             "%s has %.4g MiB free, and %.4g MiB are needed for what ranks of a node share: give "
             "it more room, or set parallel.shared_memory: off",
             what, (double)room / 0x1p20, (double)need / 0x1p20);
    mr_window *w = mr_alloc(MR_MEM_OTHER, sizeof *w);
    MR_AGREE(&nodes->parts, w ? MR_OK : MR_ERR_MEMORY);
    *w = (mr_window){.node = nodes->node, .counter_bytes = lines, .head = head};
    MPI_Aint length;
    int unit;
    MR_MPI(MPI_Win_allocate_shared(nodes->place == 0 ? (MPI_Aint)need : 0, 1, MPI_INFO_NULL,
                                   nodes->node.handle, &w->base, &w->handle));
    MR_MPI(MPI_Win_shared_query(w->handle, 0, &length, &unit, &w->base));
    /* MPI promises no alignment; how far it is from a page's start is the same for all ranks. */
    w->base += (PAGE - (uintptr_t)w->base % PAGE) % PAGE;
    *out = w;
    return MR_OK;
}

void mr_window_destroy(mr_window **out)
{
    mr_window *w = *out;
    if (!w) return;
    MR_MPI(MPI_Win_free(&w->handle));
    mr_free(w);
    *out = NULL;
}

void *mr_window_data(const mr_window *w)
{
    return w->base + w->head;
}

/* As older kernels want it: where there is no room any more that ends the process. */
static void touch(char *first, const char *end)
{
    for (char *at = first; at < end; at += PAGE)
        atomic_fetch_or((_Atomic char *)at, 0);
}

mr_status mr_window_reserve(const mr_window *w, size_t first, size_t bytes)
{
    const size_t from = (w->head + first) / PAGE * PAGE;
    const size_t end = (w->head + first + bytes + PAGE - 1) / PAGE * PAGE;
    int failed;
    do
        failed = madvise(w->base + from, end - from, MADV_POPULATE_WRITE) ? errno : 0;
    while (failed == EINTR || failed == EAGAIN);
    MR_CHECK(
        failed == 0 || failed == EINVAL, MR_ERR_MEMORY,
        "%s has no room any more for %.4g MiB of what ranks of a node share (%s): give it more "
        "room, or set parallel.shared_memory: off",
        folder(), (double)bytes / 0x1p20, strerror(failed));
    if (failed == EINVAL) touch(w->base + from, w->base + end);
    return MR_OK;
}

void mr_window_post(mr_window *w, int counter, uint64_t value)
{
    atomic_store_explicit(counter_of(w, w->node.rank, counter), value, memory_order_release);
}

/* Waits for one rank: at first awake, then by turns with whoever else wants the
 * processor, with MPI under way, which another rank may wait for. */
static void await_rank(const mr_window *w, int rank, int counter, uint64_t value)
{
    enum { AWAKE = 2000, TURNS = 64 };
    _Atomic uint64_t *at = counter_of(w, rank, counter);
    for (int64_t i = 0; atomic_load_explicit(at, memory_order_acquire) < value; i++) {
        if (i < AWAKE) continue;
        sched_yield();
        if (i % TURNS != 0) continue;
        int flag;
        MR_MPI(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, w->node.handle, &flag, MPI_STATUS_IGNORE));
    }
}

bool mr_window_reached(const mr_window *w, int counter, uint64_t value)
{
    for (int r = 0; r < w->node.size; r++)
        if (atomic_load_explicit(counter_of(w, r, counter), memory_order_acquire) < value)
            return false;
    return true;
}

void mr_window_await(mr_window *w, int counter, uint64_t value)
{
    for (int r = 0; r < w->node.size; r++)
        await_rank(w, r, counter, value);
}
