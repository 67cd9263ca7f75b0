#include "program.h"

#include <jansson.h>

#include <stdlib.h>
#include <unistd.h>

/* A model whose waves are worth narrowing: each micro-batch of a wave takes megabytes. */
static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_write("wide.yaml", "run: {name: wide, output: out}\n"
                               "model: {config: tiny.json, init: random}\n"
                               "task: {name: uuid, pairs: 64}\n"
                               "method: {name: lora, r: 4}\n"
                               "train: {steps: 4, global_batch: 64, micro_batch: 1, lr: 1e-3}\n"
                               "eval: {batch: 4}\n");
    return 0;
}

/* What stands in a list of one plan. */
static json_t *plan_of(const program_result *result)
{
    json_error_t error;
    json_t *rows = json_loads(result->out, 0, &error);
    if (!rows) fail_msg("%s in \"%s\"", error.text, result->out);
    assert_int_equal(json_array_size(rows), 1);
    json_t *plan = json_incref(json_array_get(rows, 0));
    json_decref(rows);
    return plan;
}

/* The plan of N ranks, made by them or by one process alone. */
static json_t *plan_by(int processes, const char *options, int ranks)
{
    program_result result =
        processes > 1
            ? program_succeed((program_setting){.ranks = processes},
                              "run wide.yaml --dry-run --json %s", options)
            : program_succeed((program_setting){0},
                              "run wide.yaml --dry-run --json --ranks %d --ranks-per-node %d %s",
                              ranks, ranks, options);
    json_t *plan = plan_of(&result);
    program_free(&result);
    return plan;
}

static long long field(const json_t *plan, const char *key)
{
    json_t *value = json_object_get(plan, key);
    if (!json_is_integer(value)) fail_msg("there is no %s", key);
    return json_integer_value(value);
}

static void assert_equal_plans(json_t *one, json_t *many)
{
    const char *key;
    json_t *value;
    assert_int_equal(json_object_size(one), json_object_size(many));
    json_object_foreach(one, key, value)
    {
        json_t *other = json_object_get(many, key);
        if (!json_equal(value, other)) {
            char *a = json_dumps(value, JSON_ENCODE_ANY), *b = json_dumps(other, JSON_ENCODE_ANY);
            fail_msg("%s: planned %s for ranks that plan %s", key, a, b);
        }
    }
}

/* Compares the plans of one process with those of the ranks themselves; returns how many
 * micro-batches the widest of them takes at once. */
static long long compare_plans(const char *options)
{
    long long widest = 0;
    for (int ranks = 1; ranks <= 4; ranks *= 2) {
        json_t *one = plan_by(1, options, ranks), *many = plan_by(ranks, options, ranks);
        assert_int_equal(field(one, "ranks"), ranks);
        assert_equal_plans(one, many);
        long long at_once = field(one, "micro_batches_in_wave");
        widest = at_once > widest ? at_once : widest;
        json_decref(one);
        json_decref(many);
    }
    return widest;
}

static void one_process_plans_what_its_ranks_would(void **state)
{
    (void)state;
    assert_int_equal(compare_plans("--set parallel.memory_gib=8"), 32);
    long long narrower = compare_plans("--set parallel.memory_gib=0.006");
    assert_true(narrower > 1 && narrower < 32);
}

/* The memory of a job stands for that of a node: smaller than it, and the same all the time. */
static void so_it_does_with_the_memory_of_the_node(void **state)
{
    (void)state;
    setenv("SLURM_JOB_ID", "1", 1);
    setenv("SLURM_MEM_PER_NODE", "64", 1);
    assert_int_equal(compare_plans(""), 32);
    setenv("SLURM_MEM_PER_NODE", "16", 1);
    long long narrower = compare_plans("");
    unsetenv("SLURM_MEM_PER_NODE");
    unsetenv("SLURM_JOB_ID");
    assert_true(narrower > 1 && narrower < 32);
}

static void the_limit_and_its_source_are_printed(void **state)
{
    (void)state;
    const program_setting alone = {0};
    setenv("SLURM_JOB_ID", "1", 1);
    setenv("SLURM_MEM_PER_NODE", "320", 1);
    program_result own = program_succeed(alone, "run wide.yaml --dry-run");
    assert_contains(own.out, "256.00 MiB a rank allowed: 0.8 of 0.312 GiB, the Slurm job's memory "
                             "(SLURM_MEM_PER_NODE)\n");
    program_result told =
        program_succeed(alone, "run wide.yaml --dry-run --ranks 8 --ranks-per-node 4");
    assert_contains(told.out, "64.00 MiB a rank allowed: 0.8 of 0.312 GiB, the Slurm job's memory "
                              "(SLURM_MEM_PER_NODE), for 4 ranks a node\n");
    /* A node cannot hold more ranks than there are. */
    program_result few =
        program_succeed(alone, "run wide.yaml --dry-run --ranks 2 --ranks-per-node 64");
    assert_contains(few.out, "128.00 MiB a rank allowed");
    program_result guess =
        program_succeed(alone, "run wide.yaml --dry-run --ranks 2 --set parallel.threads=60000");
    assert_contains(guess.out, "256.00 MiB a rank allowed");
    program_result word =
        program_succeed(alone, "run wide.yaml --dry-run --ranks 64 --set parallel.memory_gib=0.5");
    assert_contains(word.out, "512.00 MiB a rank allowed: parallel.memory_gib\n");
    unsetenv("SLURM_MEM_PER_NODE");
    unsetenv("SLURM_JOB_ID");
    program_free(&own);
    program_free(&told);
    program_free(&few);
    program_free(&guess);
    program_free(&word);
}

static void what_is_assumed_of_a_node_is_said(void **state)
{
    (void)state;
    program_result plan =
        program_succeed((program_setting){0}, "run wide.yaml --dry-run --ranks 64");
    bool several = sysconf(_SC_NPROCESSORS_ONLN) > 1;
    if (several)
        assert_contains(plan.out, "ranks a node, assumed by the cores of this one "
                                  "(--ranks-per-node)\n");
    program_free(&plan);
}

static void a_run_fits_what_the_job_has(void **state)
{
    (void)state;
    setenv("SLURM_JOB_ID", "1", 1);
    setenv("SLURM_MEM_PER_NODE", "1", 1);
    program_result run = program_run((program_setting){.ranks = 2}, "run wide.yaml");
    unsetenv("SLURM_MEM_PER_NODE");
    unsetenv("SLURM_JOB_ID");
    assert_int_equal(run.exit_code, 1);
    assert_contains(run.err, "GiB are allowed (0.8 of 0.000977 GiB, the Slurm job's memory "
                             "(SLURM_MEM_PER_NODE), for 2 ranks a node); smaller");
    program_free(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_process_plans_what_its_ranks_would),
        cmocka_unit_test(so_it_does_with_the_memory_of_the_node),
        cmocka_unit_test(the_limit_and_its_source_are_printed),
        cmocka_unit_test(what_is_assumed_of_a_node_is_said),
        cmocka_unit_test(a_run_fits_what_the_job_has),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
