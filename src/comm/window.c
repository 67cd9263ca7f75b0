/* Memory that the ranks of a node share; the contract stands in comm/nodes.h. */

#define _GNU_SOURCE /* memfd_create, madvise */ /* NOLINT(bugprone-reserved-identifier) */

#include "comm/nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older headers lack it */
#endif

enum { PAGE = 4096, LINE = 64 };

struct mr_window {
    mr_comm node; /* borrowed */
    char *base;
    size_t bytes;
    size_t counter_bytes; /* of one rank, on cache lines of its own */
    size_t head;          /* of all, in pages */
};

/* Memory that place 0 of a node makes, for the others to find. It has no name in a file system,
 * which could be left behind, and no file system's bound. */
typedef struct memory {
    int64_t process, handle;
    uint64_t device, inode; /* in another space of processes these numbers are another file's */
} memory;

static _Atomic uint64_t *counter_of(const mr_window *w, int rank, int counter)
{
    return (_Atomic uint64_t *)(void *)(w->base + (size_t)rank * w->counter_bytes) + counter;
}

static mr_status make(size_t bytes, int *handle, memory *made)
{
    struct stat facts;
    *handle = memfd_create("mora", MFD_CLOEXEC);
    MR_CHECK(*handle >= 0 && ftruncate(*handle, (off_t)bytes) == 0 && fstat(*handle, &facts) == 0,
             MR_ERR_MEMORY, "the system gives none: %s", strerror(errno));
    *made = (memory){.process = getpid(),
                     .handle = *handle,
                     .device = (uint64_t)facts.st_dev,
                     .inode = (uint64_t)facts.st_ino};
    return MR_OK;
}

static mr_status find(const memory *made, int *handle)
{
    char path[64];
    struct stat facts;
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)made->process,
             (long long)made->handle);
    *handle = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    MR_CHECK(*handle >= 0 && fstat(*handle, &facts) == 0, MR_ERR_MEMORY,
             "another rank's cannot be opened, '%s': %s", path, strerror(errno));
    MR_CHECK((uint64_t)facts.st_dev == made->device && (uint64_t)facts.st_ino == made->inode,
             MR_ERR_MEMORY, "another rank's process is not to be seen from here");
    return MR_OK;
}

static mr_status map(mr_window *w, int handle)
{
    void *base = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, handle, 0);
    MR_CHECK(base != MAP_FAILED, MR_ERR_MEMORY, "it cannot be mapped: %s", strerror(errno));
    w->base = base;
    return MR_OK;
}

/* Makes the memory and maps it on all ranks, or on none. */
static mr_status share(const mr_nodes *nodes, mr_window *w)
{
    int handle = -1;
    memory made = {0};
    mr_status status = nodes->place == 0 ? make(w->bytes, &handle, &made) : MR_OK;
    status = mr_comm_agree(&nodes->all, status);
    if (status == MR_OK) {
        mr_comm_broadcast(&nodes->node, &made, sizeof made, 0);
        if (nodes->place > 0) status = find(&made, &handle);
        if (status == MR_OK) status = map(w, handle);
        status = mr_comm_agree(&nodes->all, status);
    }
    if (handle >= 0) close(handle);
    return status;
}

mr_status mr_window_create(const mr_nodes *nodes, size_t bytes, int counters, mr_window **out)
{
    const size_t one = (size_t)counters * sizeof(uint64_t);
    const size_t lines = (one + LINE - 1) / LINE * LINE;
    const size_t head = ((size_t)nodes->ranks * lines + PAGE - 1) / PAGE * PAGE;
    *out = NULL;
    mr_window *w = mr_alloc(MR_MEM_OTHER, sizeof *w);
    mr_status status = mr_comm_agree(&nodes->all, w ? MR_OK : MR_ERR_MEMORY);
    if (w)
        *w = (mr_window){
            .node = nodes->node, .bytes = head + bytes, .counter_bytes = lines, .head = head};
    if (status == MR_OK) status = share(nodes, w);
    if (status == MR_OK) {
        *out = w;
        return MR_OK;
    }
    mr_window_destroy(&w);
    return mr_fail_in(status, "shared memory of %.4g MiB", (double)(head + bytes) / 0x1p20);
}

void mr_window_destroy(mr_window **out)
{
    mr_window *w = *out;
    if (!w) return;
    if (w->base) munmap(w->base, w->bytes);
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
    MR_CHECK(failed == 0 || failed == EINVAL, MR_ERR_MEMORY,
             "there is no room for %.4g MiB of what ranks of a node share: %s",
             (double)bytes / 0x1p20, strerror(failed));
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
