#define _GNU_SOURCE /* kill with C11 */ /* NOLINT(bugprone-reserved-identifier) */

#include "comm/watch.h"

#include "base/thread.h"
#include "comm/nodes.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOOK = 100000000 }; /* nanoseconds */

/* What becomes of the ranks of a node. */
enum { GO_ON, ONE_IS_GONE, ABORTED }; /* one: of them, or who launched them */

/* What they know of each other. */
typedef struct board {
    atomic_int fate;
    struct process {
        int64_t pid, space; /* a number, and the space of numbers it is of; 0: not to be told */
    } process[];            /* by place */
} board;

static struct watch {
    int rank;
    pid_t launcher;      /* that started this process, whatever it is */
    int next, next_rank; /* place and number of the rank that is looked after */
    mr_nodes nodes;
    mr_window *window; /* NULL: nobody is */
    board *board;
    atomic_bool over;
    pthread_t caller;
    mr_thread thread;
} watch;

static struct process introduce(void)
{
    struct stat facts;
    const bool told = stat("/proc/self/ns/pid", &facts) == 0;
    return (struct process){.pid = getpid(), .space = told ? (int64_t)facts.st_ino : 0};
}

static bool is_there(int place)
{
    return kill((pid_t)watch.board->process[place].pid, 0) == 0 || errno != ESRCH;
}

/* In other spaces the number is another process's, or nobody's. */
static bool can_see(int place)
{
    const int64_t own = watch.board->process[watch.nodes.place].space;
    return own != 0 && own == watch.board->process[place].space && is_there(place);
}

static void pass_time(void)
{
    nanosleep(&(struct timespec){.tv_nsec = LOOK}, NULL);
}

static void say_who_is_gone(bool neighbour_is_there)
{
    char who[32] = "the launcher";
    int64_t pid = watch.launcher;
    if (!neighbour_is_there) {
        snprintf(who, sizeof who, "rank %d", watch.next_rank);
        pid = watch.board->process[watch.next].pid;
    }
    fprintf(stderr, "mora: fatal on rank %d: %s, process %lld, is gone\n", watch.rank, who,
            (long long)pid);
}

/* Who ends one rank may be about to end them all, this one too: that is left some time. */
static void look(void *none)
{
    (void)none;
    if (pthread_equal(pthread_self(), watch.caller)) return; /* there was no thread */
    while (!atomic_load(&watch.over)) {
        const bool there = is_there(watch.next), launched = getppid() == watch.launcher;
        int fate = atomic_load(&watch.board->fate);
        if (fate == ABORTED) return;
        pass_time();
        if ((there && launched && fate == GO_ON) || atomic_load(&watch.over)) continue;
        if (fate == GO_ON && atomic_compare_exchange_strong(&watch.board->fate, &fate, ONE_IS_GONE))
            say_who_is_gone(there);
        if (fate != ABORTED) _exit(1);
    }
}

static void stop(void)
{
    atomic_store(&watch.over, true);
    mr_thread_wait(&watch.thread);
}

/* This rank ends all and says why. */
static void leave(void)
{
    int fate = GO_ON;
    atomic_compare_exchange_strong(&watch.board->fate, &fate, ABORTED);
    stop();
}

static void end(void)
{
    mr_window_destroy(&watch.window);
    mr_nodes_destroy(&watch.nodes);
}

void mr_watch_begin(const mr_comm *comm)
{
    watch =
        (struct watch){.rank = comm->rank, .launcher = getppid(), .nodes = mr_nodes_create(comm)};
    const mr_nodes *n = &watch.nodes;
    const size_t bytes = sizeof(board) + (size_t)n->ranks * sizeof *watch.board->process;
    if (n->ranks == 1 || mr_window_create(n, bytes, 0, &watch.window) != MR_OK) {
        end();
        return;
    }
    watch.next = (n->place + 1) % n->ranks;
    watch.next_rank = comm->rank - n->place + watch.next;
    watch.board = mr_window_data(watch.window);
    watch.board->process[n->place] = introduce();
    mr_comm_barrier(&n->node);
    if (mr_comm_any(comm, !can_see(watch.next))) {
        end();
        return;
    }
    watch.caller = pthread_self();
    mr_comm_before_abort(leave);
    mr_thread_start(&watch.thread, look, NULL);
}

void mr_watch_end(void)
{
    if (!watch.window) return;
    mr_comm_before_abort(NULL);
    stop();
    mr_comm_barrier(&watch.nodes.node); /* nobody may find this process gone */
    end();
}
