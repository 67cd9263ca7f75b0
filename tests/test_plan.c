#include "logs.h"
#include "program.h"

#include <jansson.h>

#include <stdlib.h>
#include <sys/stat.h>
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
    const char *off = "--set parallel.memory_gib=8 --set parallel.shared_memory=off";
    assert_int_equal(compare_plans(off), 32);
    assert_int_equal(compare_plans("--set parallel.memory_gib=8"), 1);
    compare_plans("--set parallel.memory_gib=8 --set log.spectrum_every=2");
    long long narrower =
        compare_plans("--set parallel.memory_gib=0.006 --set parallel.shared_memory=off");
    assert_true(narrower > 1 && narrower < 32);
}

/* The memory of a job stands for that of a node: smaller than it, and the same all the time. */
static void so_it_does_with_the_memory_of_the_node(void **state)
{
    (void)state;
    setenv("SLURM_JOB_ID", "1", 1);
    setenv("SLURM_MEM_PER_NODE", "64", 1);
    assert_int_equal(compare_plans("--set parallel.shared_memory=off"), 32);
    setenv("SLURM_MEM_PER_NODE", "16", 1);
    long long narrower = compare_plans("--set parallel.shared_memory=off");
    unsetenv("SLURM_MEM_PER_NODE");
    unsetenv("SLURM_JOB_ID");
    assert_true(narrower > 1 && narrower < 32);
}

/* A number of what a rank receives of a kind. */
static double received(const json_t *plan, const char *kind, const char *what)
{
    json_t *all = json_object_get(plan, "received_per_step");
    return json_number_value(json_object_get(json_object_get(all, kind), what));
}

/* Bytes of sums of gradients of a run of full fine-tuning of 64 micro-batches. */
static long long gradient_bytes(int ranks, int most)
{
    char options[256];
    snprintf(options, sizeof options,
             "--set parallel.memory_gib=8 --set method.name=fft --set parallel.shard=optimizer "
             "--set parallel.same_bits_up_to=%d",
             most);
    json_t *plan = plan_by(1, options, ranks);
    long long bytes =
        json_integer_value(json_object_get(json_object_get(plan, "bytes"), "gradients"));
    json_decref(plan);
    return bytes;
}

static void fewer_ranks_of_the_same_bits_take_fewer_sums_of_gradients(void **state)
{
    (void)state;
    const long long one = gradient_bytes(1, 1);
    assert_int_equal(gradient_bytes(1, 8), 4 * one); /* log2(8) + 1 */
    assert_int_equal(gradient_bytes(1, 0), 6 * one); /* log2(64) */
    assert_int_equal(gradient_bytes(1, 64), 6 * one);
    assert_true(2 * gradient_bytes(8, 8) < gradient_bytes(8, 0)); /* 1 + 1/8, 3 + 1/8 */
    program_result small =
        program_run((program_setting){0},
                    "run wide.yaml --set parallel.memory_gib=0.0001 --set method.name=fft");
    assert_int_equal(small.exit_code, 1);
    assert_contains(small.err, "and so may parallel.same_bits_up_to");
    program_free(&small);
    program_result odd =
        program_run((program_setting){0}, "run wide.yaml --set parallel.same_bits_up_to=6");
    assert_int_equal(odd.exit_code, 1);
    assert_contains(odd.err, "parallel.same_bits_up_to: expected a power of two or 0, found 6");
    program_free(&odd);
}

static void gradients_travel_once_a_step(void **state)
{
    (void)state;
    static const char *const shards[] = {"optimizer", "none", "full"};
    for (size_t s = 0; s < 3; s++)
        for (int ranks = 2; ranks <= 64; ranks *= 8) {
            char options[128];
            snprintf(options, sizeof options,
                     "--set parallel.memory_gib=8 --set parallel.shard=%s "
                     "--set parallel.shared_memory=off",
                     shards[s]);
            json_t *plan = plan_by(1, options, ranks);
            const double units = received(plan, "exchanges", "units");
            assert_true(units > 0 && units <= 4); /* embedding, two layers, head */
            assert_true(received(plan, "exchanges", "messages") >= units * (ranks - 1));
            assert_true(received(plan, "exchanges", "messages_across") <= 0);
            assert_true((received(plan, "gathers", "units") > 0) == (s == 2));
            json_decref(plan);
        }
}

/* Bytes beside what is planned by purpose, of a method on a backend. */
static long long other_of(const char *method, const char *backend)
{
    char options[192];
    snprintf(options, sizeof options,
             "--set method.name=%s --set method.r=4 --set parallel.backend=%s --set "
             "train.micro_batch=64 --set parallel.memory_gib=8",
             method, backend);
    json_t *plan = plan_by(1, options, 1);
    const long long bytes = field(json_object_get(plan, "bytes"), "other");
    json_decref(plan);
    return bytes;
}

/* Of 4,224 rows: the input's columns, their gradient and the products of q, k and v are 16 each, in
 * the place of four heads' sums of attention. */
static void a_device_is_planned_with_room_for_square_matrices(void **state)
{
    (void)state;
    static const char sharing[] = "mora --set method.operator=sharing";
    const long long columns = 4224LL * 5 * 16 * 4 - 4224 * 4 * 4;
    const long long apart = other_of(sharing, "cuda") - other_of("lora", "cuda");
    const long long host = other_of(sharing, "cpu") - other_of("lora", "cpu");
    assert_in_range(apart - host, columns - (32 << 10), columns + (32 << 10));
}

/* On one node no weights are copied, and gradients are read where they are. */
static void ranks_that_share_memory_send_nothing_before_an_update(void **state)
{
    (void)state;
    static const char *const shards[] = {"optimizer", "none", "full"};
    for (size_t s = 0; s < 3; s++) {
        char options[128];
        snprintf(options, sizeof options, "--set parallel.memory_gib=8 --set parallel.shard=%s",
                 shards[s]);
        json_t *plan = plan_by(1, options, 4);
        assert_true(received(plan, "gathers", "bytes") <= 0);
        assert_true(received(plan, "exchanges", "messages") <= 0);
        assert_true(received(plan, "exchanges", "bytes_across") <= 0);
        assert_true(received(plan, "exchanges", "bytes") > 0);
        json_decref(plan);
    }
    program_result result = program_succeed(
        (program_setting){0}, "run wide.yaml --dry-run --json --ranks 8 --ranks-per-node 2 --set "
                              "parallel.memory_gib=8");
    json_t *plan = plan_of(&result);
    program_free(&result);
    /* From three other nodes; of a node's weights each of two ranks gathers half. */
    const double gathers = received(plan, "gathers", "messages");
    assert_true(gathers > 0);
    assert_float_equal(gathers, received(plan, "gathers", "messages_across"), 1e-9);
    assert_float_equal(received(plan, "gathers", "bytes"),
                       received(plan, "gathers", "bytes_across"), 1e-9);
    assert_float_equal(received(plan, "exchanges", "messages"),
                       received(plan, "exchanges", "messages_across"), 1e-9);
    json_decref(plan);
}

/* Of 7 other ranks one is of this node where two are. */
static void messages_are_told_inside_and_across_nodes(void **state)
{
    (void)state;
    program_result result = program_succeed(
        (program_setting){0}, "run wide.yaml --dry-run --json --ranks 8 --ranks-per-node 2 --set "
                              "parallel.memory_gib=8 --set parallel.shared_memory=off");
    json_t *plan = plan_of(&result);
    program_free(&result);
    const char *const kinds[] = {"gathers", "exchanges", "updates"};
    for (int k = 0; k < 3; k++) {
        const double messages = received(plan, kinds[k], "messages");
        assert_true(messages > 0);
        assert_float_equal(received(plan, kinds[k], "messages_across"), messages * 6 / 7, 1e-9);
        assert_float_equal(received(plan, kinds[k], "bytes_across"),
                           received(plan, kinds[k], "bytes") * 6 / 7, 1e-6);
    }
    json_decref(plan);
    result = program_succeed((program_setting){0},
                             "run wide.yaml --dry-run --ranks 8 --ranks-per-node 2");
    assert_contains(result.out, "  received                units   messages            MiB     "
                                "across     MiB across\n    gathers ");
    program_free(&result);
}

/* What is planned for a device: its own scratch counts, and where there is none, one is assumed. */
static void a_device_is_planned_for_that_is_not_here(void **state)
{
    (void)state;
    program_result result = program_succeed(
        (program_setting){0}, "run wide.yaml --dry-run --json --set parallel.backend=cuda");
    json_t *plan = plan_of(&result), *host = plan_by(1, "", 1);
    const char *limit = json_string_value(json_object_get(plan, "memory_limit"));
    const long long own = field(json_object_get(plan, "bytes"), "other") -
                          field(json_object_get(host, "bytes"), "other");
    assert_true(own > 200ll << 20);
    if (strstr(limit, "assumed")) {
        assert_contains(limit,
                        "0.8 of 139 GiB, an H200's, assumed as there is no CUDA device here, "
                        "of each of 8 devices");
        assert_true(field(plan, "memory_limit_bytes") == (long long)(0.8 * (double)(139ll << 30)));
    }
    json_decref(plan);
    json_decref(host);
    program_free(&result);
}

static void a_model_that_is_not_there_yet_is_planned_by_its_configuration(void **state)
{
    (void)state;
    static const char options[] =
        "run wide.yaml --dry-run --set model.path=later --set parallel.memory_gib=8";
    program_result result =
        program_run((program_setting){0}, "%s --set model.init=pretrained", options);
    assert_contains(result.err, "there is no model.path 'later'; planned by model.config alone");
    assert_int_equal(result.exit_code, 0);
    program_result drawn = program_succeed((program_setting){0}, "%s", options);
    assert_string_equal(result.out, drawn.out);
    program_free(&drawn);
    program_free(&result);
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

/* A program alone in 2 GB of address space, of which its libraries take most; AddressSanitizer
 * takes terabytes, so that there the program has what it wants. */
static program_setting in_little_memory(void)
{
#ifdef __SANITIZE_ADDRESS__
    static const char limit[] = "";
#else
    static const char limit[] = "ulimit -v 2000000\n";
#endif
    program_write("little.sh", "#!/bin/sh\n%sexec \"$@\"\n", limit);
    assert_int_equal(chmod("little.sh", 0755), 0);
    return (program_setting){.wrapper = "./little.sh", .seconds = 60};
}

/* What has no place in any machine is refused by the plan, before any of it is allocated: in little
 * memory, and at once. */
static void sizes_beyond_all_measure_are_refused_by_the_plan(void **state)
{
    (void)state;
    static const struct {
        const char *options, *message;
    } cases[] = {
        {"--set train.global_batch=1000000000", "GiB a rank and 8 GiB are allowed"},
        {"--set train.global_batch=1000000000 --ranks 4", "GiB a rank and 8 GiB are allowed"},
        {"--set train.seq_len=16777216 --set model.config=long.json",
         "GiB a rank and 8 GiB are allowed"},
        {"--set model.config=large.json --set train.micro_batch=1000 --set train.global_batch=1000",
         "GiB a rank and 8 GiB are allowed"},
        {"--set model.config=large.json --set method.name=dora --set method.r=65536",
         "GiB a rank and 8 GiB are allowed"},
        {"--set model.config=large.json --set method.name=asylora --set method.r=65536",
         "GiB a rank and 8 GiB are allowed"},
        {"--set model.config=huge.json",
         "model.layers.0.self_attn.v_proj.weight [16777216, 16777216]: the model has more than "
         "2^50 parameters"},
        {"--set eval.batch=1000000000 --set task.pairs=1000000000",
         "GiB a rank and 8 GiB are allowed"},
        {"--set task.name=copy --set task.copies=1000000 --set model.config=long.json "
         "--set eval.batch=1000000000",
         "GiB a rank and 8 GiB are allowed"},
        {"--set train.micro_batch=16000000 --set train.global_batch=16000000 --set "
         "method.name=mora --set method.operator=rotation --set method.r=1",
         "train.micro_batch: 16000000 samples of 66 tokens are 4224000000 rows of a product of "
         "method mora, 4 a token, and more than 2147483647"},
    };
    static const char shape[] = "{\"model_type\": \"llama\", \"hidden_size\": %d, "
                                "\"intermediate_size\": %d, \"num_hidden_layers\": %d, "
                                "\"num_attention_heads\": 64, \"vocab_size\": 16777216, "
                                "\"max_position_embeddings\": 1073741824}";
    program_write("long.json", shape, 128, 128, 1);
    program_write("large.json", shape, 65536, 262144, 200);
    program_write("huge.json", shape, 16777216, 16777216, 65536);
    const program_setting little = in_little_memory();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        program_result plan = program_run(
            little, "run wide.yaml --dry-run --set parallel.memory_gib=8 %s", cases[i].options);
        print_message("  %s: %.0f ms\n", cases[i].options, 1e3 * plan.seconds);
        assert_int_equal(plan.exit_code, 1);
        assert_contains(plan.err, cases[i].message);
        program_free(&plan);
    }
}

/* As many as there may be: their scores are planned, they themselves take nothing. */
static void a_billion_pairs_are_planned_in_little_memory(void **state)
{
    (void)state;
    const program_setting little = in_little_memory();
    program_result plan = program_succeed(
        little, "run wide.yaml --dry-run --json --set task.pairs=1000000000 --set eval.items=1000 "
                "--set parallel.memory_gib=8");
    json_t *few = plan_of(&plan);
    program_free(&plan);
    plan = program_succeed(little, "run wide.yaml --dry-run --json --set task.pairs=1000000000 "
                                   "--set parallel.memory_gib=16");
    json_t *all = plan_of(&plan);
    program_free(&plan);
    json_t *some = json_object_get(few, "bytes"), *most = json_object_get(all, "bytes");
    assert_int_equal(field(most, "eval") - field(some, "eval"), 4 * (1000000000LL - 1000));
    assert_int_equal(field(most, "other") - field(some, "other"), 4 * (1000000000LL - 1000));
    json_decref(few);
    json_decref(all);
}

/* What a run takes at any time is what its plan says, but for texts, what a thread works in, and
 * pieces of files: some MiB, whatever the shape. */
static void a_run_never_takes_more_than_its_plan(void **state)
{
    (void)state;
    enum { PIECES = 6 << 20 };
    static const char *const methods[][2] = {
        {"fft", ""},
        {"dora", "--set method.r=256"},
        {"asylora", "--set method.r=256 --set method.freeze_a=true"},
        {"remora", "--set method.r=256 --set method.merge_every=1"},
    };
    program_write("stout.json",
                  "{\"model_type\": \"llama\", \"hidden_size\": 256, \"intermediate_size\": 1024, "
                  "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"vocab_size\": 20000, "
                  "\"max_position_embeddings\": 128}");
    program_write("stout.yaml", "run: {name: stout, output: out}\n"
                                "model: {config: stout.json, init: random}\n"
                                "task: {name: uuid, pairs: 64}\n"
                                "method: {name: fft}\n"
                                "train: {steps: 2, global_batch: 8, micro_batch: 2, lr: 1e-3,\n"
                                "        check_every: 1}\n"
                                "eval: {batch: 8, every: 1, items: 8}\n"
                                "checkpoint: {every_steps: 1}\n");
    for (size_t m = 0; m < sizeof methods / sizeof methods[0]; m++) {
        char log[64];
        const char *name = methods[m][0];
        program_result run = program_succeed(
            (program_setting){.ranks = 2, .seconds = 600},
            "run stout.yaml --set method.name=%s --set run.name=%s %s", name, name, methods[m][1]);
        program_free(&run);
        snprintf(log, sizeof log, "out/%s.h5", name);
        int64_t planned = log_int(log, "planned_bytes"), peak = log_int(log, "peak_bytes");
        print_message("  %s: planned %lld, at most %lld\n", name, (long long)planned,
                      (long long)peak);
        assert_true(peak <= planned + PIECES);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_process_plans_what_its_ranks_would),
        cmocka_unit_test(so_it_does_with_the_memory_of_the_node),
        cmocka_unit_test(fewer_ranks_of_the_same_bits_take_fewer_sums_of_gradients),
        cmocka_unit_test(gradients_travel_once_a_step),
        cmocka_unit_test(a_device_is_planned_with_room_for_square_matrices),
        cmocka_unit_test(messages_are_told_inside_and_across_nodes),
        cmocka_unit_test(ranks_that_share_memory_send_nothing_before_an_update),
        cmocka_unit_test(a_device_is_planned_for_that_is_not_here),
        cmocka_unit_test(a_model_that_is_not_there_yet_is_planned_by_its_configuration),
        cmocka_unit_test(the_limit_and_its_source_are_printed),
        cmocka_unit_test(what_is_assumed_of_a_node_is_said),
        cmocka_unit_test(a_run_fits_what_the_job_has),
        cmocka_unit_test(sizes_beyond_all_measure_are_refused_by_the_plan),
        cmocka_unit_test(a_billion_pairs_are_planned_in_little_memory),
        cmocka_unit_test(a_run_never_takes_more_than_its_plan),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
