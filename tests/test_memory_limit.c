/* What a rank may take is what its backend tells of, shared with the ranks on the same device. */
#include "ranks.h"
#include "test.h"
#include "train/plan.h"
#include "train/registry.h"

#include <stdio.h>
#include <stdlib.h>

/* A backend of another memory than the host's. */
static mr_backend_memory told;

static mr_backend_memory told_memory(mr_backend *be)
{
    (void)be;
    return told;
}

static mr_memory_limit limit_of(size_t bytes, int devices, int64_t node_ranks, double gib)
{
    mr_config config;
    mr_config_defaults(mr_registry_of_program(), &config);
    config.parallel.memory_gib = gib;
    const mr_backend_ops ops = {.memory = told_memory};
    mr_backend be = {.ops = &ops};
    told = (mr_backend_memory){.each = {.bytes = bytes}, .devices = devices};
    snprintf(told.each.what, sizeof told.each.what, "free memory");
    return mr_memory_limit_of(&world, &config, &be, node_ranks, NULL);
}

static void a_rank_has_its_part_of_what_the_backend_tells(void **state)
{
    (void)state;
    mr_memory_limit limit = limit_of((size_t)10 << 30, 1, 4, 0);
    assert_int_equal(limit.bytes, (size_t)2 << 30);
    assert_string_equal(limit.why, "0.8 of 10 GiB, free memory, for 4 ranks a node");
    assert_int_equal(limit_of((size_t)10 << 30, 1, 1, 0).bytes, (size_t)8 << 30);
}

static void ranks_are_dealt_over_devices(void **state)
{
    (void)state;
    assert_int_equal(limit_of((size_t)10 << 30, 4, 4, 0).bytes, (size_t)8 << 30);
    assert_int_equal(limit_of((size_t)10 << 30, 4, 1, 0).bytes, (size_t)8 << 30);
    mr_memory_limit limit = limit_of((size_t)10 << 30, 2, 3, 0);
    assert_int_equal(limit.bytes, (size_t)4 << 30);
    assert_string_equal(limit.why,
                        "0.8 of 10 GiB, free memory of each of 2 devices, for 3 ranks a node");
}

static void the_smallest_of_all_ranks_holds(void **state)
{
    (void)state;
    size_t own = (size_t)(10 + 5 * (world.size - 1 - world.rank)) << 30;
    mr_memory_limit limit = limit_of(own, 1, 0, 0);
    assert_on_all_ranks(limit.bytes == ((size_t)8 << 30) / (size_t)world.size);
    assert_on_all_ranks(limit.node_ranks == world.size);
}

static void the_users_word_comes_first(void **state)
{
    (void)state;
    mr_memory_limit limit = limit_of((size_t)10 << 30, 2, 3, 0.5);
    assert_int_equal(limit.bytes, (size_t)1 << 29);
    assert_string_equal(limit.why, "parallel.memory_gib");
}

/* The cpu's is the node's memory. What is available moves from one look to the next; the memory of
 * a job does not. */
static void the_cpu_tells_of_the_nodes_memory(void **state)
{
    (void)state;
    setenv("SLURM_JOB_ID", "1", 1);
    setenv("SLURM_MEM_PER_NODE", "64", 1);
    mr_backend *be;
    must(mr_backend_create("cpu", 0, 1, &be));
    mr_backend_memory memory = be->ops->memory(be);
    mr_backend_destroy(&be);
    unsetenv("SLURM_MEM_PER_NODE");
    unsetenv("SLURM_JOB_ID");
    assert_int_equal(memory.devices, 1);
    assert_int_equal(memory.each.bytes, (size_t)64 << 20);
    assert_string_equal(memory.each.what, "the Slurm job's memory (SLURM_MEM_PER_NODE)");
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rank_has_its_part_of_what_the_backend_tells),
        cmocka_unit_test(ranks_are_dealt_over_devices),
        cmocka_unit_test(the_smallest_of_all_ranks_holds),
        cmocka_unit_test(the_users_word_comes_first),
        cmocka_unit_test(the_cpu_tells_of_the_nodes_memory),
    };
    return ranks_end(cmocka_run_group_tests_name("memory limit", tests, NULL, NULL));
}
