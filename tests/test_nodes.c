#define _GNU_SOURCE /* mincore with C11 */ /* NOLINT(bugprone-reserved-identifier) */

#include "comm/nodes.h"
#include "ranks.h"

#include <stdlib.h>
#include <sys/mman.h>

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

static void a_window_without_room_is_refused_with_its_size(void **state)
{
    (void)state;
    if (world.size == 1) skip_because("for several ranks");
    mr_nodes nodes = nodes_of("0");
    mr_window *window;
    setenv("OMPI_MCA_osc_sm_backing_directory", "/proc", 1); /* where nothing is free */
    mr_status status = mr_window_create(&nodes, (size_t)3 << 20, 1, &window);
    unsetenv("OMPI_MCA_osc_sm_backing_directory");
    bool said =
        strstr(mr_message(), "/proc has 0 MiB free, and 3.008 MiB are needed for what ranks "
                             "of a node share: give it more room, or set "
                             "parallel.shared_memory: off");
    mr_nodes_destroy(&nodes);
    assert_on_all_ranks(status == MR_ERR_MEMORY && said && !window);
}

/* MPI would end all ranks, of runs that need no window too. */
static void where_nothing_can_be_written_there_is_no_room(void **state)
{
    (void)state;
    char what[64];
    setenv("OMPI_MCA_osc_sm_backing_directory", "/missing", 1);
    const int64_t room = mr_window_room(&world, what);
    unsetenv("OMPI_MCA_osc_sm_backing_directory");
    assert_on_all_ranks(room == 0 && strcmp(what, "/missing") == 0);
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
    bool said = strstr(mr_message(), " has no room any more for 0.1562 MiB of what ranks of a node "
                                     "share (Cannot allocate memory): give it more room, or set "
                                     "parallel.shared_memory: off");
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
        cmocka_unit_test(a_window_without_room_is_refused_with_its_size),
        cmocka_unit_test(where_nothing_can_be_written_there_is_no_room),
    };
    return ranks_end(cmocka_run_group_tests(tests, NULL, NULL));
}
