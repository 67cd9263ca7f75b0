#define _GNU_SOURCE /* mincore with C11 */ /* NOLINT(bugprone-reserved-identifier) */

#include "comm/nodes.h"
#include "ranks.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* Of so many ranks a node; 0: of as many as there are. */
static mr_nodes nodes_of(const char *ranks)
{
    setenv("MORA_NODE_RANKS", ranks, 1);
    mr_nodes nodes = mr_nodes_create(&world);
    unsetenv("MORA_NODE_RANKS");
    return nodes;
}

static bool are(const mr_nodes *nodes, int ranks)
{
    const int count = world.size / ranks, node = world.rank / ranks, place = world.rank % ranks;
    return nodes->ranks == ranks && nodes->count == count && nodes->place == place &&
           nodes->part == place * count + node && nodes->node.size == ranks &&
           nodes->across.size == count && nodes->parts.size == world.size &&
           nodes->parts.rank == nodes->part && (ranks == 1 || nodes->node.rank == place) &&
           (ranks == 1 || nodes->across.rank == node);
}

static void ranks_are_found_by_node(void **state)
{
    (void)state;
    mr_nodes one = nodes_of("0");
    assert_on_all_ranks(are(&one, world.size));
    mr_nodes_destroy(&one);
    mr_nodes apart = nodes_of("1");
    assert_on_all_ranks(are(&apart, 1));
    mr_nodes_destroy(&apart);
    if (world.size < 4) return;
    mr_nodes two = nodes_of("2"), planned = mr_nodes_planned(&world, 2);
    assert_on_all_ranks(are(&two, 2));
    assert_on_all_ranks(planned.part == two.part && planned.count == two.count);
    mr_nodes_destroy(&two);
    mr_nodes uneven = nodes_of("3"); /* three and one: each for itself */
    assert_on_all_ranks(are(&uneven, 1));
    mr_nodes_destroy(&uneven);
}

/* Every rank writes, announces, and reads what its neighbours wrote, time and again. */
static void what_is_announced_is_there(void **state)
{
    (void)state;
    enum { ROUNDS = 300, NUMBERS = 64, WRITTEN = 0, READ = 1 };
    if (world.size == 1) skip_because("for several ranks");
    for (int of_two = 0; of_two <= (world.size == 4); of_two++) {
        mr_nodes nodes = nodes_of(of_two ? "2" : "0");
        mr_window *window;
        must(mr_window_create(&nodes, (size_t)nodes.ranks * NUMBERS * sizeof(int64_t), 2, &window));
        int64_t *data = mr_window_data(window);
        bool right = true;
        for (int i = 0; i < nodes.ranks * NUMBERS; i++)
            right = right && data[i] == 0;
        mr_window_post(window, READ, 1);
        for (int64_t round = 1; round <= ROUNDS; round++) {
            mr_window_await(window, READ, (uint64_t)round);
            for (int i = 0; i < NUMBERS; i++)
                data[nodes.place * NUMBERS + i] = 1000 * round + i + nodes.place;
            mr_window_post(window, WRITTEN, (uint64_t)round);
            mr_window_await(window, WRITTEN, (uint64_t)round);
            for (int r = 0; r < nodes.ranks; r++)
                for (int i = 0; i < NUMBERS; i++)
                    right = right && data[r * NUMBERS + i] == 1000 * round + i + r;
            mr_window_post(window, READ, (uint64_t)round + 1);
        }
        mr_window_destroy(&window);
        mr_nodes_destroy(&nodes);
        assert_on_all_ranks(right);
    }
}

/* Numbers of errors that calls for a window fail by, on place 0 of the node or on rank 1, and
 * whether who knocks is another user's, and whether there is room for one at the door. */
static int no_memory, no_socket, no_way, no_handle;
static bool stranger, narrow;

/* The linker puts the one in the other's place. */
int __real_memfd_create(const char *name, unsigned flags);
int __wrap_memfd_create(const char *name, unsigned flags);
int __wrap_memfd_create(const char *name, unsigned flags)
{
    errno = no_memory;
    return no_memory ? -1 : __real_memfd_create(name, flags);
}

int __real_bind(int handle, const struct sockaddr *name, socklen_t length);
int __wrap_bind(int handle, const struct sockaddr *name, socklen_t length);
int __wrap_bind(int handle, const struct sockaddr *name, socklen_t length)
{
    errno = no_socket;
    return no_socket ? -1 : __real_bind(handle, name, length);
}

int __real_connect(int handle, const struct sockaddr *name, socklen_t length);
int __wrap_connect(int handle, const struct sockaddr *name, socklen_t length);
int __wrap_connect(int handle, const struct sockaddr *name, socklen_t length)
{
    errno = no_way;
    return no_way && world.rank == 1 ? -1 : __real_connect(handle, name, length);
}

/* As systems that let few wait at a socket: one, here. */
int __real_listen(int handle, int most);
int __wrap_listen(int handle, int most);
int __wrap_listen(int handle, int most)
{
    return __real_listen(handle, narrow ? 0 : most);
}

ssize_t __real_sendmsg(int handle, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int handle, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int handle, const struct msghdr *message, int flags)
{
    errno = no_handle;
    return no_handle ? -1 : __real_sendmsg(handle, message, flags);
}

int __real_getsockopt(int handle, int level, int option, void *value, socklen_t *length);
int __wrap_getsockopt(int handle, int level, int option, void *value, socklen_t *length);
int __wrap_getsockopt(int handle, int level, int option, void *value, socklen_t *length)
{
    const int failed = __real_getsockopt(handle, level, option, value, length);
    if (stranger && option == SO_PEERCRED) ((struct ucred *)value)->uid++;
    return failed;
}

/* That it is refused on all ranks, so many a node, in these words. */
static void assert_refused(const char *ranks, const char *reason)
{
    mr_nodes nodes = nodes_of(ranks);
    mr_window *window;
    const mr_status status = mr_window_create(&nodes, (size_t)3 << 20, 1, &window);
    const bool told = strstr(mr_message(), "shared memory of 3.004 MiB: ") != NULL;
    const bool said = strstr(mr_message(), reason) != NULL;
    mr_window_destroy(&window);
    mr_nodes_destroy(&nodes);
    no_memory = no_socket = no_way = no_handle = 0;
    stranger = false;
    if (!told || !said) print_error("%s\n", mr_message());
    assert_on_all_ranks(status == MR_ERR_MEMORY && told && said);
}

static void memory_that_ranks_cannot_share_is_refused_on_all(void **state)
{
    (void)state;
    if (world.size == 1) skip_because("for several ranks");
    no_memory = ENOSPC;
    assert_refused("0", "the system gives none: No space left on device");
    no_socket = EACCES;
    assert_refused("0", "there is no socket to hand it out: Permission denied");
    no_way = ECONNREFUSED;
    assert_refused("0", "the rank that made it cannot be reached: Connection refused");
    no_handle = EPERM;
    assert_refused("0", "it cannot be handed out: Operation not permitted");
    stranger = true;
    assert_refused("0", "it cannot be handed out: who came for it is another user's");
    no_way = EAGAIN;
    assert_refused("0", "the rank that made it cannot be reached: others wait there");
    if (world.size < 4) return;
    no_way = ECONNREFUSED;
    assert_refused("2", ": rank 1 of 4 (1 failed): the rank that made it cannot be reached");
}

/* None waits for one who waits for it. */
static void memory_reaches_more_ranks_than_find_room_at_its_door(void **state)
{
    (void)state;
    if (world.size < 4) skip_because("for four ranks");
    for (int of_two = 0; of_two <= 1; of_two++) {
        mr_nodes nodes = nodes_of(of_two ? "2" : "0");
        mr_window *window;
        narrow = true;
        must(mr_window_create(&nodes, sizeof(int64_t), 1, &window));
        narrow = false;
        int64_t *data = mr_window_data(window);
        if (nodes.place == nodes.ranks - 1) *data = world.size;
        mr_window_post(window, 0, 1);
        mr_window_await(window, 0, 1);
        const bool reached = *data == world.size;
        mr_window_destroy(&window);
        mr_nodes_destroy(&nodes);
        assert_on_all_ranks(reached);
    }
}

enum { PAGE = 4096, PAGES = 40 };

/* Whether the pages of this rank's part of a window are taken. */
static bool are_taken(const mr_nodes *nodes, const mr_window *window)
{
    unsigned char there[PAGES];
    char *own = (char *)mr_window_data(window) + nodes->place * PAGES * PAGE;
    bool all = mincore(own, (size_t)PAGES * PAGE, there) == 0;
    for (int i = 0; i < PAGES; i++)
        all = all && there[i] & 1;
    return all;
}

/* What is reserved cannot be missing when it is written; what cannot be had is told before. */
static void pages_are_taken_before_they_are_written(void **state)
{
    (void)state;
    if (world.size == 1) skip_because("for several ranks");
    const size_t part = (size_t)PAGES * PAGE;
    mr_nodes nodes = nodes_of("0");
    mr_window *window;
    must(mr_window_create(&nodes, (size_t)nodes.ranks * part, 1, &window));
    const bool aligned = (uintptr_t)mr_window_data(window) % PAGE == 0;
    bool before = are_taken(&nodes, window);
    mr_status status = mr_window_reserve(window, (size_t)nodes.place * part, part);
    bool after = are_taken(&nodes, window);
    char *own = (char *)mr_window_data(window) + (size_t)nodes.place * part;
    bool gone = munmap(own + part / 2, part / 2) == 0;
    mr_status missing = mr_window_reserve(window, (size_t)nodes.place * part, part);
    bool said =
        strstr(mr_message(), "there is no room for 0.1562 MiB of what ranks of a node share: "
                             "Cannot allocate memory");
    mr_window_destroy(&window);
    mr_nodes_destroy(&nodes);
    assert_on_all_ranks(aligned && !before && status == MR_OK && after);
    assert_on_all_ranks(gone && missing == MR_ERR_MEMORY && said);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_are_found_by_node),
        cmocka_unit_test(what_is_announced_is_there),
        cmocka_unit_test(pages_are_taken_before_they_are_written),
        cmocka_unit_test(memory_that_ranks_cannot_share_is_refused_on_all),
        cmocka_unit_test(memory_reaches_more_ranks_than_find_room_at_its_door),
    };
    return ranks_end(cmocka_run_group_tests(tests, NULL, NULL));
}
