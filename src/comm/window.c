/* Memory that the ranks of a node share; the contract stands in comm/nodes.h. */

#define _GNU_SOURCE /* memfd_create, ucred, madvise */ /* NOLINT(bugprone-reserved-identifier) */

#include "comm/nodes.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
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

/* Place 0 of a node makes memory and hands it to the others through a socket. It has no name in a
 * file system, which could be left behind, and no file system's bound; and ranks that may not look
 * at each other, as in containers of their own, may still be handed it. */
typedef struct door {
    struct sockaddr_un name; /* that the system gives it, in no file system either */
    socklen_t length;
} door;

/* What is sent with a handle: a byte, and room for the handle. */
typedef struct parcel {
    char byte;
    _Alignas(struct cmsghdr) char handle[CMSG_SPACE(sizeof(int))];
    struct iovec text;
    struct msghdr message;
} parcel;

static _Atomic uint64_t *counter_of(const mr_window *w, int rank, int counter)
{
    return (_Atomic uint64_t *)(void *)(w->base + (size_t)rank * w->counter_bytes) + counter;
}

static mr_status make(size_t bytes, int *memory)
{
    *memory = memfd_create("mora", MFD_CLOEXEC);
    MR_CHECK(*memory >= 0 && ftruncate(*memory, (off_t)bytes) == 0, MR_ERR_MEMORY,
             "the system gives none: %s", strerror(errno));
    return MR_OK;
}

static mr_status open_door(int *handle, door *at)
{
    at->name.sun_family = AF_UNIX;
    at->length = sizeof at->name;
    *handle = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr *name = (struct sockaddr *)&at->name;
    MR_CHECK(*handle >= 0 && bind(*handle, name, sizeof(sa_family_t)) == 0 &&
                 getsockname(*handle, name, &at->length) == 0 && listen(*handle, SOMAXCONN) == 0,
             MR_ERR_MEMORY, "there is no socket to hand it out: %s", strerror(errno));
    return MR_OK;
}

/* came: whether there was room at the door, where the system lets so many wait and no more. */
static mr_status knock(const door *at, int *handle, bool *came)
{
    if (*handle < 0) *handle = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    *came = *handle >= 0 && connect(*handle, (const struct sockaddr *)&at->name, at->length) == 0;
    const bool full = *handle >= 0 && !*came && errno == EAGAIN;
    MR_CHECK(full || (*came && fcntl(*handle, F_SETFL, 0) == 0), MR_ERR_MEMORY,
             "the rank that made it cannot be reached: %s", strerror(errno));
    return MR_OK;
}

static void pack(parcel *p)
{
    *p = (parcel){.text = {.iov_base = &p->byte, .iov_len = 1}};
    p->message = (struct msghdr){.msg_iov = &p->text,
                                 .msg_iovlen = 1,
                                 .msg_control = p->handle,
                                 .msg_controllen = sizeof p->handle};
}

static bool give(int to, int memory)
{
    parcel p;
    pack(&p);
    struct cmsghdr *head = CMSG_FIRSTHDR(&p.message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof memory);
    memcpy(CMSG_DATA(head), &memory, sizeof memory);
    return sendmsg(to, &p.message, MSG_NOSIGNAL) == 1;
}

/* So many guests are at the door by now; who else is there and is another user's gets nothing. */
static mr_status hand_out(int handle, int memory, int64_t guests)
{
    for (int64_t given = 0; given < guests;) {
        struct ucred who = {0};
        socklen_t length = sizeof who;
        const int guest = accept(handle, NULL, NULL);
        const bool ours = guest >= 0 &&
                          getsockopt(guest, SOL_SOCKET, SO_PEERCRED, &who, &length) == 0 &&
                          who.uid == geteuid();
        const bool failed = guest < 0 ? errno != EINTR : ours && !give(guest, memory);
        const int error = errno;
        if (guest >= 0) close(guest);
        MR_CHECK(guest >= 0 || error != EAGAIN, MR_ERR_MEMORY,
                 "it cannot be handed out: who came for it is another user's");
        MR_CHECK(!failed, MR_ERR_MEMORY, "it cannot be handed out: %s", strerror(error));
        given += ours;
    }
    return MR_OK;
}

static mr_status take(int from, int *memory)
{
    parcel p;
    ssize_t got;
    pack(&p);
    do
        got = recvmsg(from, &p.message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    const struct cmsghdr *head = got == 1 ? CMSG_FIRSTHDR(&p.message) : NULL;
    const bool there = head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS;
    MR_CHECK(there, MR_ERR_MEMORY, "the rank that made it gave none: %s",
             got < 0 ? strerror(errno) : "the connection ended");
    memcpy(memory, CMSG_DATA(head), sizeof *memory);
    return MR_OK;
}

static mr_status map(mr_window *w, int memory)
{
    void *base = mmap(NULL, w->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    MR_CHECK(base != MAP_FAILED, MR_ERR_MEMORY, "it cannot be mapped: %s", strerror(errno));
    w->base = base;
    return MR_OK;
}

/* Hands the memory to those for whom there is room at the door; outside: how many, of all nodes,
 * have not got it yet. The same on all ranks. */
static mr_status let_in(const mr_nodes *nodes, const door *at, int *handle, int *memory,
                        int64_t *outside)
{
    const int64_t before = *outside;
    bool came = false;
    MR_AGREE(&nodes->parts, *memory < 0 ? knock(at, handle, &came) : MR_OK);
    int64_t guests = came;
    mr_comm_sum_i64(&nodes->node, &guests, 1);
    mr_status status = MR_OK;
    if (nodes->place == 0) status = hand_out(*handle, *memory, guests);
    if (came) status = take(*handle, memory);
    if (came || status != MR_OK) { /* lets those go who would wait for what will not come */
        close(*handle);
        *handle = -1;
    }
    MR_AGREE(&nodes->parts, status);
    *outside = *memory < 0;
    mr_comm_sum_i64(&nodes->parts, outside, 1);
    MR_CHECK(*outside < before, MR_ERR_MEMORY,
             "the rank that made it cannot be reached: others wait there");
    return MR_OK;
}

/* Makes the memory and maps it on all ranks, or on none. */
static mr_status share(const mr_nodes *nodes, mr_window *w)
{
    const bool first = nodes->place == 0;
    int memory = -1, handle = -1;
    int64_t outside = INT64_MAX;
    door at = {0};
    mr_status status = first ? make(w->bytes, &memory) : MR_OK;
    if (first && status == MR_OK) status = open_door(&handle, &at);
    status = mr_comm_agree(&nodes->parts, status);
    if (status == MR_OK) mr_comm_broadcast(&nodes->node, &at, sizeof at, 0);
    while (status == MR_OK && outside > 0)
        status = let_in(nodes, &at, &handle, &memory, &outside);
    if (status == MR_OK) status = mr_comm_agree(&nodes->parts, map(w, memory));
    if (handle >= 0) close(handle);
    if (memory >= 0) close(memory);
    return status;
}

mr_status mr_window_create(const mr_nodes *nodes, size_t bytes, int counters, mr_window **out)
{
    const size_t one = (size_t)counters * sizeof(uint64_t);
    const size_t lines = (one + LINE - 1) / LINE * LINE;
    const size_t head = ((size_t)nodes->ranks * lines + PAGE - 1) / PAGE * PAGE;
    *out = NULL;
    mr_window *w = mr_alloc(MR_MEM_OTHER, sizeof *w);
    mr_status status = mr_comm_agree(&nodes->parts, w ? MR_OK : MR_ERR_MEMORY);
    if (w) {
        *w = (mr_window){
            .node = nodes->node, .bytes = head + bytes, .counter_bytes = lines, .head = head};
        if (status == MR_OK) status = share(nodes, w);
    }
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
