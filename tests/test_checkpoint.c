#include "base/log.h"
#include "base/random.h"
#include "checkpoint_case.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static mr_checkpoint_slab slab_of(const char *name, int64_t extent, int64_t first, int64_t count)
{
    return (mr_checkpoint_slab){
        .name = name, .dims = 1, .shape = {extent}, .first = first, .count = count};
}

static void what_was_saved_is_read_on_any_number_of_ranks(void **unused)
{
    (void)unused;
    for (int writers = 1; writers <= world.size; writers++) {
        const int64_t step = writers;
        if (world.rank < writers) case_save_steps(&case_groups[writers], 1, &step);
        for (int readers = 1; readers <= world.size; readers++) {
            mr_comm_barrier(&world);
            int64_t got = world.rank < readers ? case_find(&case_groups[readers], NULL) : step;
            assert_on_all_ranks(got == step);
        }
    }
}

static void what_was_saved_without_staging_is_read_back(void **unused)
{
    (void)unused;
    mr_checkpointer *cp = case_writer(&world, 2, false);
    size_t staging = mr_memory_live(MR_MEM_CHECKPOINT);
    mr_status result = case_save(cp, 5);
    mr_checkpointer_destroy(&cp);
    assert_on_all_ranks(staging == 0);
    assert_on_all_ranks(result == MR_OK);
    assert_on_all_ranks(case_found() == 5);
}

static void any_range_is_read(void **unused)
{
    (void)unused;
    CASE_SAVE(3);
    mr_checkpoint *checkpoint = case_open_newest();
    mr_random random = mr_random_stream(11, MR_RANDOM_DATA, (uint64_t)world.rank);
    bool same = true;
    for (uint64_t i = 0; i < 300; i++) {
        int tensor = (int)mr_random_below(&random, 3 * i, CASE_TENSORS);
        int64_t extent = case_extents[tensor];
        int64_t first = (int64_t)mr_random_below(&random, 3 * i + 1, (uint64_t)extent + 1);
        int64_t count =
            (int64_t)mr_random_below(&random, 3 * i + 2, (uint64_t)(extent - first) + 1);
        same = same && case_reads_range(checkpoint, tensor, first, count);
    }
    mr_checkpoint_close(&checkpoint);
    assert_on_all_ranks(same);
}

static void take_none(void *context, int slab, int64_t first, int64_t count, const float *values)
{
    (void)slab;
    (void)first;
    (void)count;
    (void)values;
    *(bool *)context = true;
}

/* Tells whether reading the first element of a tensor is refused with this message. */
static bool refuses_to_read(mr_checkpoint_slab slab, const char *message)
{
    bool taken = false;
    CASE_SAVE(3);
    mr_checkpoint *checkpoint = case_open_newest();
    case_status = mr_checkpoint_read(checkpoint, &slab, 1, take_none, &taken);
    mr_checkpoint_close(&checkpoint);
    return case_status == MR_ERR_FORMAT && !taken && strstr(mr_message(), message) != NULL;
}

static void an_unknown_tensor_is_named(void **unused)
{
    (void)unused;
    mr_checkpoint_slab slab = case_slab(3, 0, 1);
    slab.name = "absent";
    assert_on_all_ranks(refuses_to_read(slab, "step-00000003: no tensor 'absent'"));
}

static void another_shape_is_refused(void **unused)
{
    (void)unused;
    mr_checkpoint_slab slab = case_slab(3, 0, 1);
    slab.shape[0] = 38;
    assert_on_all_ranks(
        refuses_to_read(slab, "step-00000003: tensor 'tail' has shape [37], expected [38]"));
    slab = case_slab(0, 0, 1);
    slab.shape[0] = 100;
    slab.shape[1] = 200;
    assert_on_all_ranks(refuses_to_read(
        slab, "step-00000003: tensor 'weights' has shape [200, 100], expected [100, 200]"));
}

static void a_checkpoint_describes_itself(void **unused)
{
    (void)unused;
    CASE_SAVE(3);
    char path[2 * CASE_PATH];
    snprintf(path, sizeof path, "%s", case_below("step-00000003"));
    mr_checkpoint *checkpoint;
    case_status = mr_checkpoint_open(&world, path, &checkpoint);
    assert_on_all_ranks(case_status == MR_OK);
    int dims = 0;
    const int64_t *shape = NULL;
    bool same = mr_checkpoint_is(path) && !mr_checkpoint_is(case_folder) &&
                strcmp(mr_checkpoint_path(checkpoint), path) == 0 &&
                mr_checkpoint_step(checkpoint) == 3 &&
                mr_checkpoint_ranks(checkpoint) == world.size &&
                mr_checkpoint_bytes(checkpoint) > 4 * (int64_t)CASE_LARGEST &&
                mr_checkpoint_tensors(checkpoint) == CASE_TENSORS &&
                strcmp(mr_checkpoint_tensor(checkpoint, 0, &dims, &shape), case_names[0]) == 0 &&
                dims == 2 && shape[0] == 200 && shape[1] == 100;
    mr_checkpoint_close(&checkpoint);
    assert_on_all_ranks(same);
}

static void the_state_comes_back_bit_for_bit(void **unused)
{
    (void)unused;
    static const double reals[] = {0.1, 1.0 / 3.0, 1e-310, 1.7976931348623157e308, -0.0, 2.0};
    enum { REALS = sizeof reals / sizeof *reals };
    json_t *list = json_array();
    for (int i = 0; i < REALS; i++)
        json_array_append_new(list, json_real(reals[i]));
    json_t *state =
        json_pack("{s:o, s:I, s:I, s:s, s:{s:b}}", "reals", list, "low", (json_int_t)INT64_MIN,
                  "high", (json_int_t)INT64_MAX, "text", "h\u00e9 \"quoted\"\n", "inner", "on", 1);
    mr_checkpointer *cp = case_writer(&world, 1, true);
    int64_t step = 1;
    case_status = mr_checkpointer_start(cp, step, world.rank == 0 ? state : NULL, case_read, &step);
    if (case_status == MR_OK) case_status = mr_checkpointer_finish(cp);
    mr_checkpointer_destroy(&cp);
    assert_on_all_ranks(case_status == MR_OK);
    mr_checkpoint *checkpoint = case_open_newest();
    const json_t *back = mr_checkpoint_state(checkpoint);
    bool same = json_equal(back, state);
    for (size_t i = 0; i < REALS; i++) {
        double value = json_real_value(json_array_get(json_object_get(back, "reals"), i));
        same = same && value == reals[i] && signbit(value) == signbit(reals[i]);
    }
    mr_checkpoint_close(&checkpoint);
    json_decref(state);
    assert_on_all_ranks(same);
}

static void an_absent_folder_has_no_checkpoint(void **unused)
{
    (void)unused;
    mr_checkpoint *checkpoint;
    mr_text text = {0};
    case_status = mr_checkpoint_find(&world, case_folder, &checkpoint, &text);
    assert_on_all_ranks(case_status == MR_OK && !checkpoint && text.length == 0);
}

static void the_newest_is_found_and_those_beyond_keep_are_gone(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20, 30, 100000000);
    assert_on_all_ranks(case_found() == 100000000);
    assert_on_all_ranks(!case_there("step-00000010") && !case_there("step-00000020"));
    assert_on_all_ranks(case_there("step-00000030") && case_there("step-100000000"));
}

static void later_steps_of_a_run_that_was_set_back_are_removed(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 40);
    CASE_SAVE(20);
    assert_on_all_ranks(case_found() == 20);
    assert_on_all_ranks(case_there("step-00000010") && !case_there("step-00000040"));
}

static void the_same_step_can_be_saved_again(void **unused)
{
    (void)unused;
    CASE_SAVE(10);
    case_flip(case_last_shard("step-00000010"), -1);
    CASE_SAVE(10);
    assert_on_all_ranks(case_found() == 10);
    assert_on_all_ranks(!case_there(".step-00000010.replaced"));
}

static void a_path_can_be_one_checkpoint(void **unused)
{
    (void)unused;
    CASE_SAVE(10, 20);
    char path[3 * CASE_PATH];
    snprintf(path, sizeof path, "%s/", case_below("step-00000010"));
    mr_checkpoint *checkpoint;
    case_status = mr_checkpoint_find(&world, path, &checkpoint, NULL);
    int64_t step = checkpoint ? mr_checkpoint_step(checkpoint) : -1;
    mr_checkpoint_close(&checkpoint);
    assert_on_all_ranks(step == 10);
}

/* The caller's tensor, which changes while it is being written. */
static void read_whole(void *context, int slab, int64_t first, int64_t count, float *out)
{
    (void)slab;
    (void)first;
    memcpy(out, context, (size_t)count * sizeof *out);
}

static void put_back(void *context, int slab, int64_t first, int64_t count, const float *values)
{
    const mr_checkpoint_slab *asked = *(void **)context;
    float *out = ((void **)context)[1];
    memcpy(out + (first - asked[slab].first), values, (size_t)count * sizeof *values);
}

static void what_is_saved_may_change_after_the_start(void **unused)
{
    (void)unused;
    enum { N = 1 << 22 };
    float *values = malloc(N * sizeof *values);
    for (int i = 0; i < N; i++)
        values[i] = (float)i;
    const mr_checkpoint_slab slab =
        slab_of("large", (int64_t)N * world.size, (int64_t)N * world.rank, N);
    mr_checkpointer *cp;
    case_status = mr_checkpointer_create(&world, case_folder, 1, &slab, 1, N * sizeof(float), &cp);
    assert_on_all_ranks(case_status == MR_OK);
    size_t staging = mr_memory_live(MR_MEM_CHECKPOINT);
    json_t *state = json_object();
    case_status = mr_checkpointer_start(cp, 1, state, read_whole, values);
    bool under_way = mr_checkpointer_under_way(cp);
    for (int i = 0; i < N; i++)
        values[i] = -1.0f;
    if (case_status == MR_OK) case_status = mr_checkpointer_finish(cp);
    bool idle = !mr_checkpointer_busy(cp) && !mr_checkpointer_under_way(cp);
    json_decref(state);
    mr_checkpointer_destroy(&cp);
    assert_on_all_ranks(case_status == MR_OK);
    mr_checkpoint *checkpoint;
    case_status = mr_checkpoint_find(&world, case_folder, &checkpoint, NULL);
    const void *const into[] = {&slab, values};
    bool same = case_status == MR_OK && checkpoint &&
                mr_checkpoint_read(checkpoint, &slab, 1, put_back, (void *)into) == MR_OK;
    for (int i = 0; i < N && same; i++)
        same = values[i] == (float)i;
    mr_checkpoint_close(&checkpoint);
    free(values);
    assert_on_all_ranks(staging == N * sizeof(float));
    assert_on_all_ranks(under_way && idle);
    assert_on_all_ranks(same);
}

static volatile sig_atomic_t signals_seen;

static void count_signal(int number)
{
    (void)number;
    signals_seen++;
}

/* Blocks a signal in the first thread while the writer works: nobody is left to take it. */
static void signal_while_writing(void)
{
    enum { N = 1 << 22 };
    float *values = calloc(N, sizeof *values);
    const mr_checkpoint_slab slab = slab_of("large", N, 0, N);
    mr_checkpointer *cp;
    if (mr_checkpointer_create(&case_alone, case_folder, 1, &slab, 1, N * sizeof(float), &cp) !=
        MR_OK)
        _exit(1);
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    signal(SIGUSR1, count_signal);
    if (mr_checkpointer_start(cp, 1, json_object(), read_whole, values) != MR_OK) _exit(1);
    sigprocmask(SIG_BLOCK, &set, &old);
    kill(getpid(), SIGUSR1);
    if (mr_checkpointer_finish(cp) != MR_OK) _exit(1);
    int by_writer = signals_seen;
    sigprocmask(SIG_SETMASK, &old, NULL);
    _exit(by_writer == 0 && signals_seen == 1 ? 0 : 2);
}

static void signals_are_left_to_the_thread_of_the_steps(void **unused)
{
    (void)unused;
    if (world.size > 1) skip_because("for one rank");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) signal_while_writing();
    assert_int_equal(case_wait(child), 0);
}

/* Tries to make a writer of one slab and returns whether it was refused with this message. */
static bool refuses(const mr_checkpoint_slab *slabs, int count, int64_t keep, const char *message)
{
    mr_checkpointer *cp;
    case_status = mr_checkpointer_create(&world, case_folder, keep, slabs, count, 0, &cp);
    return case_status == MR_ERR_ARG && !cp && strstr(mr_message(), message) != NULL;
}

static void nothing_can_be_kept_but_one_checkpoint_at_least(void **unused)
{
    (void)unused;
    mr_checkpoint_slab slabs[CASE_TENSORS];
    case_cut(&world, slabs);
    assert_on_all_ranks(
        refuses(slabs, CASE_TENSORS, 0, "run.checkpoints: cannot keep 0 checkpoints"));
}

static void parts_that_leave_a_gap_are_refused(void **unused)
{
    (void)unused;
    const mr_checkpoint_slab slab = slab_of("a", world.size + 1, world.rank, 1);
    assert_on_all_ranks(
        refuses(&slab, 1, 1, "checkpoint tensor 'a': the parts of the ranks do not cover its "));
}

static void parts_that_overlap_are_refused(void **unused)
{
    (void)unused;
    const mr_checkpoint_slab slab = slab_of("a", world.size, 0, 1);
    if (world.size == 1) skip_because("for several ranks");
    assert_on_all_ranks(
        refuses(&slab, 1, 1, "checkpoint tensor 'a': the parts of the ranks do not cover its "));
}

static void a_part_outside_of_its_tensor_is_refused(void **unused)
{
    (void)unused;
    const mr_checkpoint_slab slab = slab_of("a", 10, 5, 6);
    assert_on_all_ranks(
        refuses(&slab, 1, 1, "checkpoint tensor 'a': 6 elements from 5 are not within 10"));
}

static void a_name_that_stands_twice_is_refused(void **unused)
{
    (void)unused;
    const int64_t all = world.size;
    const mr_checkpoint_slab slabs[] = {slab_of("a", all, world.rank, 1),
                                        slab_of("b", all, world.rank, 1),
                                        slab_of("a", all, world.rank, 1)};
    mr_checkpointer *cp;
    must(mr_checkpointer_create(&world, case_folder, 1, slabs, 3, 0, &cp));
    case_status = case_save(cp, 1);
    mr_checkpointer_destroy(&cp);
    assert_on_all_ranks(case_status == MR_ERR_ARG && strstr(mr_message(), "' is named twice"));
    assert_on_all_ranks(case_found() == -1);
}

static void a_name_that_is_none_is_refused(void **unused)
{
    (void)unused;
    const mr_checkpoint_slab slab = slab_of("a[0:1]", 0, 0, 0);
    assert_on_all_ranks(refuses(&slab, 1, 1, "checkpoint tensor 'a[0:1]': not a name"));
}

static void tensors_that_differ_between_ranks_are_refused(void **unused)
{
    (void)unused;
    if (world.size == 1) skip_because("for several ranks");
    const mr_checkpoint_slab slab = slab_of(world.rank == 1 ? "b" : "a", 0, 0, 0);
    assert_on_all_ranks(
        refuses(&slab, 1, 1, "checkpoint tensors: names or shapes differ from rank 0"));
}

/* Prints what the last rank's shard holds, by the format's own package. */
static const char python[] =
    "import sys\n"
    "from safetensors import safe_open\n"
    "with safe_open(sys.argv[1], framework='numpy') as file:\n"
    "    print({k: v for k, v in sorted(file.metadata().items())})\n"
    "    for name in file.keys():\n"
    "        t = file.get_tensor(name)\n"
    "        print(name, t.dtype, list(t.shape), t.ravel()[:3].tolist())\n";

static void the_format_s_own_package_reads_a_shard(void **unused)
{
    (void)unused;
    int installed =
        world.rank > 0 || system("python3 -c 'import safetensors, numpy' 2> /dev/null") == 0;
    MPI_Bcast(&installed, 1, MPI_INT, 0, world.handle);
    if (!installed) skip_because("the Python packages safetensors and numpy are not installed");
    CASE_SAVE(2);
    char text[4 * CASE_PATH], output[16384] = "";
    snprintf(text, sizeof text, "python3 - %s <<'END'\n%sEND\n",
             case_below(case_last_shard("step-00000002")), python);
    if (world.rank == 0) {
        FILE *pipe = popen(text, "r");
        size_t got = pipe ? fread(output, 1, sizeof output - 1, pipe) : 0;
        output[got] = '\0';
        if (pipe) pclose(pipe);
    }
    mr_comm_broadcast(&world, output, sizeof output, 0);
    mr_comm_barrier(&world);
    /* All of a small tensor is the last rank's; of a large one, a part behind those before it. */
    assert_on_all_ranks(strstr(output, "moments/first float32 [3] [1.001953125, 8.001953125, "));
    char expected[256];
    const int64_t begin = (int64_t)CASE_LARGEST * (world.size - 1) / world.size;
    if (world.size == 1)
        snprintf(expected, sizeof expected, "weights float32 [200, 100] [");
    else /* the fraction of such large numbers is below float32's resolution */
        snprintf(expected, sizeof expected, "weights[%lld:%d] float32 [%lld] [%lld.0, ",
                 (long long)begin, CASE_LARGEST, (long long)(CASE_LARGEST - begin),
                 (long long)(7 * begin));
    assert_on_all_ranks(strstr(output, expected));
    snprintf(expected, sizeof expected, "'rank': '%d', 'ranks': '%d', %s'step': '2'",
             world.size - 1, world.size,
             world.size == 1 ? "" : "'shape of tail': '[37]', 'shape of weights': '[200, 100]', ");
    assert_on_all_ranks(strstr(output, expected));
}

#define TEST(function) cmocka_unit_test_teardown(function, case_clear)

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    mr_log_set_quiet(true);
    const struct CMUnitTest tests[] = {
        TEST(what_was_saved_is_read_on_any_number_of_ranks),
        TEST(what_was_saved_without_staging_is_read_back),
        TEST(any_range_is_read),
        TEST(an_unknown_tensor_is_named),
        TEST(another_shape_is_refused),
        TEST(a_checkpoint_describes_itself),
        TEST(the_state_comes_back_bit_for_bit),
        TEST(an_absent_folder_has_no_checkpoint),
        TEST(the_newest_is_found_and_those_beyond_keep_are_gone),
        TEST(later_steps_of_a_run_that_was_set_back_are_removed),
        TEST(the_same_step_can_be_saved_again),
        TEST(a_path_can_be_one_checkpoint),
        TEST(what_is_saved_may_change_after_the_start),
        TEST(signals_are_left_to_the_thread_of_the_steps),
        TEST(nothing_can_be_kept_but_one_checkpoint_at_least),
        TEST(parts_that_leave_a_gap_are_refused),
        TEST(parts_that_overlap_are_refused),
        TEST(a_part_outside_of_its_tensor_is_refused),
        TEST(a_name_that_stands_twice_is_refused),
        TEST(a_name_that_is_none_is_refused),
        TEST(tensors_that_differ_between_ranks_are_refused),
        TEST(the_format_s_own_package_reads_a_shard),
    };
    return ranks_end(cmocka_run_group_tests(tests, case_make, case_remove));
}
