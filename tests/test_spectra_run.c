/** @file
 * Spectra of runs: they change no bit of what is trained, hold what a dense SVD has, and each due
 * step once, whatever stops the run. */

#include "base/clock.h"
#include "base/file.h"
#include "base/random.h"
#include "linalg/svd.h"
#include "logs.h"
#include "program.h"
#include "store/hf.h"
#include "store/spectra_file.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { STEPS = 14, KILLS = 20 };

/* Merges at 5 and 10; snapshots at 3, 5, 6, 9, 10, 12 and 14. */
static const char yaml[] = "run: {name: whole, seed: 3, output: out}\n"
                           "model: {config: tiny.json, init: random}\n"
                           "task: {name: uuid, pairs: 16}\n"
                           "method: {name: relora, r: 4, merge_every: 5}\n"
                           "train: {steps: 14, global_batch: 16, micro_batch: 2, lr: 0.01}\n"
                           "eval: {every: 7, items: 4}\n"
                           "parallel: {threads: 1}\n"
                           "log: {spectrum_every: 3, spectrum_cosines: 2, spectrum_base: true}\n";

static const int64_t due[] = {3, 5, 6, 9, 10, 12, 14};

enum { DUE = sizeof due / sizeof *due };

static const program_setting alone = {0};

static const char *const methods[] = {"fft", "lora", "dora", "relora", "mora", "remora"};

enum { METHODS = sizeof methods / sizeof *methods };

static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_write("base.yaml", "%s", yaml);
    return 0;
}

static void run(int ranks, const char *name, const char *more)
{
    program_result result = program_succeed((program_setting){.ranks = ranks},
                                            "run base.yaml --set run.name=%s %s", name, more);
    program_free(&result);
}

/* A file of spectra, for mr_spectra_file_close. */
static mr_spectra_file *open_spectra(const char *name)
{
    char path[96];
    mr_spectra_file *file;
    snprintf(path, sizeof path, "out/%s.spectra.h5", name);
    must(mr_spectra_file_open(path, &file));
    return file;
}

static void assert_steps(const char *name, const int64_t *expected, int64_t wanted)
{
    int64_t count;
    mr_spectra_file *file = open_spectra(name);
    const int64_t *steps = mr_spectra_file_steps(file, &count);
    assert_int_equal(count, wanted);
    for (int64_t i = 0; i < count; i++)
        assert_int_equal(steps[i], expected[i]);
    mr_spectra_file_close(&file);
}

/* Compares numbers bit by bit, and tells of the first that differ. */
static bool same_numbers(const char *what, const double *a, const double *b, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0) {
            print_error("%s, number %lld: %.17g and %.17g\n", what, (long long)i, a[i], b[i]);
            return false;
        }
    return true;
}

/* Compares two files bit by bit. */
static void assert_same_spectra(const char *name, const char *other)
{
    mr_spectra_file *file = open_spectra(name), *reference = open_spectra(other);
    const mr_spectra_layout *layout = mr_spectra_file_layout(reference);
    int64_t count, wanted;
    const int64_t *steps = mr_spectra_file_steps(file, &count);
    const int64_t *expected = mr_spectra_file_steps(reference, &wanted);
    assert_int_equal(count, wanted);
    for (int64_t i = 0; i < count; i++) {
        assert_int_equal(steps[i], expected[i]);
        for (int64_t g = 0; g < layout->groups; g++) {
            const mr_spectra_group *group = &layout->group[g];
            mr_spectra_row a = {0}, b = {0};
            must(mr_spectra_row_make(layout, g, &a));
            must(mr_spectra_row_make(layout, g, &b));
            must(mr_spectra_file_read(file, i, g, &a));
            must(mr_spectra_file_read(reference, i, g, &b));
            const int64_t layers = group->layers, cosines = layers * group->cosines;
            bool same = same_numbers("sigma", a.sigma, b.sigma, layers * group->values) &&
                        same_numbers("column", a.column, b.column, layers * layout->columns) &&
                        same_numbers("cosines_left", a.cosines_left, b.cosines_left, cosines) &&
                        same_numbers("cosines_right", a.cosines_right, b.cosines_right, cosines) &&
                        memcmp(a.route, b.route, (size_t)layers * sizeof *a.route) == 0;
            mr_spectra_row_free(&a);
            mr_spectra_row_free(&b);
            if (!same)
                fail_msg("%s and %s: step %lld, %s", name, other, (long long)steps[i],
                         group->projection);
        }
    }
    mr_spectra_file_close(&file);
    mr_spectra_file_close(&reference);
}

static void assert_same_training(const char *name, const char *other)
{
    static const char *const series[] = {"/train/step", "/train/loss", "/train/grad_norm",
                                         "/eval/uuid/accuracy"};
    char path[96], reference[96];
    snprintf(path, sizeof path, "out/%s.h5", name);
    snprintf(reference, sizeof reference, "out/%s.h5", other);
    for (size_t i = 0; i < sizeof series / sizeof *series; i++)
        log_assert_same_bits(path, reference, series[i], 0);
    snprintf(path, sizeof path, "out/%s.trained.safetensors", name);
    snprintf(reference, sizeof reference, "out/%s.trained.safetensors", other);
    file_assert_same_tensors(path, reference);
}

static void spectra_change_no_bit_and_are_the_same_on_any_ranks(void **state)
{
    (void)state;
    static const struct {
        int ranks;
        const char *more;
    } ways[] = {{0, "--set parallel.shard=none"},      {2, "--set parallel.shard=full"},
                {2, "--set parallel.shard=optimizer"}, {2, "--set parallel.shard=none"},
                {4, "--set parallel.shard=full"},      {2, "--set parallel.threads=2"}};
    for (int m = 0; m < METHODS; m++) {
        char bare[64], first[64], name[64], more[160];
        snprintf(bare, sizeof bare, "%s_bare", methods[m]);
        snprintf(more, sizeof more, "--set method.name=%s --set log.spectrum_every=0", methods[m]);
        run(0, bare, more);
        snprintf(first, sizeof first, "%s_0", methods[m]);
        /* The last two, four ranks and threads, are tried where a merge comes between. */
        const size_t tried =
            sizeof ways / sizeof *ways - (strcmp(methods[m], "relora") != 0 ? 2 : 0);
        for (size_t i = 0; i < tried; i++) {
            snprintf(name, sizeof name, "%s_%zu", methods[m], i);
            snprintf(more, sizeof more, "--set method.name=%s %s", methods[m], ways[i].more);
            run(ways[i].ranks, name, more);
            /* Products of other threads have other bits. */
            if (strstr(more, "threads=2")) continue;
            assert_same_training(name, bare);
            assert_same_spectra(name, first);
        }
    }
    assert_steps("relora_0", due, DUE);
    assert_steps("lora_0", (const int64_t[]){3, 6, 9, 12, 14}, 5);
}

/* All values of a tensor of a folder. */
static float *tensor_of(const mr_hf *folder, const char *name, int64_t *count)
{
    const mr_safetensors *file;
    const mr_safetensors_entry *entry;
    must(mr_hf_find(folder, name, &file, &entry));
    *count = entry->count;
    float *values = mr_alloc_array(MR_MEM_OTHER, (size_t)*count, sizeof *values);
    assert_non_null(values);
    must(mr_safetensors_read_f32(file, entry, 0, *count, values));
    return values;
}

/* Compares the last snapshot of a run with the SVD of its saved model minus its base; returns the
 * largest difference over the largest value. */
static double hold_against_folders(const char *name, const char *saved, const char *base)
{
    mr_spectra_file *file = open_spectra(name);
    const mr_spectra_layout *layout = mr_spectra_file_layout(file);
    mr_hf *after, *before;
    int64_t snapshots, compared = 0;
    double worst = 0;
    must(mr_hf_open(saved, &after));
    must(mr_hf_open(base, &before));
    mr_spectra_file_steps(file, &snapshots);
    for (int64_t g = 0; g < layout->groups; g++) {
        const mr_spectra_group *group = &layout->group[g];
        mr_spectra_row row = {0};
        must(mr_spectra_row_make(layout, g, &row));
        must(mr_spectra_file_read(file, snapshots - 1, g, &row));
        for (int64_t l = 0; l < group->layers; l++, compared++) {
            static const char *const blocks[] = {"self_attn", "mlp"};
            char weight[128];
            int64_t count;
            int block = 0;
            do
                snprintf(weight, sizeof weight, "model.layers.%lld.%s.%s.weight",
                         (long long)group->layer[l], blocks[block], group->projection);
            while (!mr_hf_has(after, weight) && block++ < 1);
            float *now = tensor_of(after, weight, &count),
                  *then = tensor_of(before, weight, &count);
            double *dense = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *dense);
            double *values = mr_alloc_array(MR_MEM_OTHER, (size_t)group->values, sizeof *values);
            assert_true(dense && values);
            for (int64_t i = 0; i < count; i++)
                dense[i] = (double)now[i] - (double)then[i];
            must(mr_svd_values(dense, group->rows, group->cols, values));
            for (int64_t j = 0; j < group->values; j++)
                worst = fmax(worst, fabs(row.sigma[l * group->values + j] - values[j]) / values[0]);
            mr_free(values);
            mr_free(dense);
            mr_free(now);
            mr_free(then);
        }
        mr_spectra_row_free(&row);
    }
    assert_int_equal(compared, 14);
    mr_hf_close(&after);
    mr_hf_close(&before);
    mr_spectra_file_close(&file);
    return worst;
}

static void make_base(void)
{
    if (file_exists("base/model.safetensors")) return;
    run(0, "base",
        "--set run.save_model=base --set method.name=fft --set train.steps=1 --set "
        "log.spectrum_every=0");
}

static void a_snapshot_is_the_svd_of_the_saved_model_minus_its_base(void **state)
{
    (void)state;
    make_base();
    for (int m = 0; m < METHODS; m++) {
        char name[64], more[256];
        snprintf(name, sizeof name, "read_%s", methods[m]);
        snprintf(more, sizeof more,
                 "--set method.name=%s --set model.init=pretrained --set model.config= --set "
                 "model.path=base --set run.save_model=read_%s.model",
                 methods[m], methods[m]);
        run(m % 2 == 0 ? 2 : 0, name, more);
        char saved[80];
        snprintf(saved, sizeof saved, "%s.model", name);
        double worst = hold_against_folders(name, saved, "base");
        /* What has a structure is not rounded to float32 as the merged weights are. */
        bool structured = strcmp(methods[m], "lora") == 0 || strcmp(methods[m], "mora") == 0;
        if (!(worst < (structured ? 1e-5 : 1e-12))) fail_msg("%s: %g", methods[m], worst);
    }
}

static void a_run_stopped_after_any_step_has_each_due_step_once(void **state)
{
    (void)state;
    run(0, "whole", "");
    for (int stop = 1; stop < STEPS; stop++) {
        char name[32], more[64];
        snprintf(name, sizeof name, "stop%d", stop);
        snprintf(more, sizeof more, "--set train.stop_after=%d", stop);
        run(0, name, more);
        run(stop % 4 == 0 ? 2 : 0, name, "");
        assert_same_spectra(name, "whole");
        assert_same_training(name, "whole");
    }
    assert_steps("whole", due, DUE);
}

/* Waits until the spectra of a run change, no longer than so many seconds. */
static void await_snapshot(const char *name, double seconds)
{
    char path[64];
    struct stat before = {0}, now = {0};
    const double until = mr_clock() + seconds;
    snprintf(path, sizeof path, "out/%s.spectra.h5", name);
    stat(path, &before);
    do {
        test_nap(0.002);
        stat(path, &now);
    } while (now.st_mtim.tv_sec == before.st_mtim.tv_sec &&
             now.st_mtim.tv_nsec == before.st_mtim.tv_nsec && mr_clock() < until);
}

static void a_run_killed_at_any_time_has_each_due_step_once(void **state)
{
    (void)state;
    const char *const command =
        "run base.yaml --set run.name=%s --set train.steps=60 --set checkpoint.every_steps=1";
    mr_random random = mr_random_stream(7, MR_RANDOM_DATA, 0);
    program_result result = program_succeed(alone, command, "long");
    double length = result.seconds;
    int kills = 0, rounds = 0, went_on = 0;
    char name[32];
    program_free(&result);
    snprintf(name, sizeof name, "killed0");
    for (uint64_t i = 0; kills < KILLS; i++) {
        program_child child = program_start(alone, command, name);
        char path[64];
        /* Every other time it comes to a snapshot, however slow the machine is now. */
        if (i % 2 == 0) await_snapshot(name, length);
        test_nap(0.25 * length * mr_random_uniform(&random, i));
        kill(child.pid, SIGKILL);
        result = program_finish(&child);
        kills += result.exit_code == 128 + SIGKILL;
        went_on += strstr(result.err, "goes on at step") != NULL;
        bool done = result.exit_code == 0;
        if (!done && result.exit_code != 128 + SIGKILL)
            fail_msg("exit code %d: %s", result.exit_code, result.err);
        program_free(&result);
        snprintf(path, sizeof path, "out/%s.spectra.h5", name);
        if (file_exists(path)) {
            mr_spectra_file *file = open_spectra(name);
            mr_spectra_file_close(&file);
        }
        if (!done) continue;
        assert_same_spectra(name, "long");
        snprintf(name, sizeof name, "killed%d", ++rounds);
    }
    result = program_succeed(alone, command, name);
    program_free(&result);
    assert_same_spectra(name, "long");
    print_message("%d kills, %d times gone on\n", kills, went_on);
    assert_true(went_on > KILLS / 4);
}

static void spectra_that_a_stop_left_out_are_made_up_for(void **state)
{
    (void)state;
    const char *const command = "run base.yaml --set run.name=%s --set method.name=fft --set "
                                "train.steps=100 --set log.spectrum_every=1";
    program_child child = program_start(alone, command, "owed");
    for (int i = 0; i < 60000 && !file_exists("out/owed.spectra.h5"); i++)
        test_nap(0.001);
    kill(child.pid, SIGTERM);
    program_result result = program_finish(&child);
    assert_int_equal(result.exit_code, 75);
    program_free(&result);
    mr_spectra_file *file = open_spectra("owed");
    int64_t count;
    mr_spectra_file_steps(file, &count);
    mr_spectra_file_close(&file);
    /* The step it stopped at has none. */
    assert_int_equal(count, log_rows("out/owed.h5", "/train/step") - 1);
    result = program_succeed(alone, command, "owed");
    program_free(&result);
    result = program_succeed(alone, command, "owed_whole");
    program_free(&result);
    assert_same_spectra("owed", "owed_whole");
}

static void other_spectra_are_put_aside_with_a_word(void **state)
{
    (void)state;
    const char *const command = "run base.yaml --set run.name=other %s";
    program_result result = program_succeed(alone, command, "--set train.stop_after=7");
    program_free(&result);
    result = program_succeed(alone, command,
                             "--set log.spectrum_threshold=0.5 --set "
                             "train.stop_after=9");
    assert_contains(result.err, "out/other.spectra.h5");
    assert_contains(result.err, "threshold");
    assert_contains(result.err, "kept as out/other.spectra.h5.previous.1");
    program_free(&result);
    assert_steps("other", (const int64_t[]){9}, 1);
    /* Begun anew, the run has its own from the start. */
    result = program_succeed(alone, command, "--resume never");
    assert_true(file_exists("out/other.spectra.h5.previous.2"));
    program_free(&result);
    assert_steps("other", due, DUE);
}

static void a_finished_run_without_spectra_is_told_of(void **state)
{
    (void)state;
    run(0, "plain", "--set log.spectrum_every=0");
    program_result result = program_succeed(alone, "run base.yaml --set run.name=plain");
    assert_contains(result.err, "done already");
    assert_contains(result.err, "without the spectra that log.spectrum_every asks for");
    program_free(&result);
    assert_false(file_exists("out/plain.spectra.h5"));
}

static void the_plan_counts_spectra(void **state)
{
    (void)state;
    for (int every = 0; every <= 3; every += 3) {
        long long bytes = -1;
        program_result plan =
            program_succeed(alone, "run base.yaml --dry-run --set log.spectrum_every=%d", every);
        const char *line = strstr(plan.out, "spectra ");
        assert_non_null(line);
        assert_int_equal(sscanf(line, "spectra %*f (%lld bytes)", &bytes), 1);
        assert_int_equal(bytes > 0, every > 0);
        program_free(&plan);
    }
}

/* The bytes that a plan has for something, which fits. */
static long long planned(const char *purpose, double gib)
{
    long long bytes = -1;
    program_result plan = program_succeed(
        alone,
        "run base.yaml --dry-run --ranks 64 --ranks-per-node 8 --set model.config=%s/experiments/"
        "models/llama-2-7b.json --set method.name=fft --set train.global_batch=64 --set "
        "train.micro_batch=1 --set checkpoint.every_minutes=0 --set parallel.threads=4 --set "
        "parallel.memory_gib=%g",
        getenv("MR_SOURCE_DIR"), gib);
    const char *line = strstr(plan.out, purpose);
    assert_non_null(line);
    assert_int_equal(sscanf(line + strlen(purpose), "%*f (%lld bytes)", &bytes), 1);
    program_free(&plan);
    return bytes;
}

static void what_does_not_fit_is_looked_at_one_by_one_and_then_by_all_ranks(void **state)
{
    (void)state;
    const long long matrix = 8LL * 4096 * 11008, square = 8LL * 4096 * 4096;
    double roomy = (double)planned("total", 1000) / 0x1p30;
    assert_true(planned("spectra", 1000) / matrix == 4);
    assert_true(planned("spectra", roomy - 0.5) / matrix == 2);
    assert_true(planned("spectra", roomy - 1.5) / matrix == 1);
    long long few = planned("spectra", roomy - 2.2);
    assert_true(few > square && few < matrix);
    assert_true(planned("spectra", roomy - 2.6) < 1 << 20);
}

static void modules_that_are_none_are_refused(void **state)
{
    (void)state;
    program_result result =
        program_run((program_setting){.ranks = 2}, "run base.yaml --set run.name=modules --set "
                                                   "log.spectrum_modules=[q_proj,k_prj]");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err,
                    "log.spectrum_modules: \"k_prj\" matches no linear that is trained; "
                    "there are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, "
                    "down_proj, all");
    assert_int_equal(program_lines_with(result.err, "error"), 1);
    program_free(&result);
}

/* Runs with calls on some files that fail; when says further which (tests/faults.c). */
static program_result run_failing(int ranks, const char *fault, const char *when, const char *more)
{
    program_write("failing.sh", "#!/bin/sh\nMR_FAULT=%s %s LD_PRELOAD=%s exec \"$@\"\n", fault,
                  when, MR_TEST_FAULTS);
    assert_int_equal(chmod("failing.sh", 0755), 0);
    return program_run((program_setting){.ranks = ranks, .wrapper = "./failing.sh"},
                       "run base.yaml %s", more);
}

static void a_base_that_cannot_be_read_again_is_one_message(void **state)
{
    (void)state;
    char fault[64];
    make_base();
    for (int ranks = 0; ranks <= 2; ranks += 2) {
        char more[256];
        snprintf(more, sizeof more,
                 "--set run.name=unread%d --set method.name=fft --set model.init=pretrained --set "
                 "model.config= --set model.path=base",
                 ranks);
        char present[64];
        snprintf(fault, sizeof fault, "read:%d:base/model.safetensors", EIO);
        snprintf(present, sizeof present, "MR_FAULT_WHILE=out/unread%d.spectra.h5", ranks);
        program_result result = run_failing(ranks, fault, present, more);
        assert_int_equal(result.exit_code, 1);
        assert_int_equal(program_lines_with(result.err, "error"), 1);
        assert_contains(result.err, "step 6: ");
        assert_contains(result.err, "_proj.weight: ");
        program_free(&result);
        result = program_succeed((program_setting){.ranks = ranks}, "run base.yaml %s", more);
        program_free(&result);
        char name[32];
        snprintf(name, sizeof name, "unread%d", ranks);
        assert_steps(name, (const int64_t[]){3, 6, 9, 12, 14}, 5);
    }
}

static void spectra_that_cannot_be_written_are_one_message(void **state)
{
    (void)state;
    char fault[64];
    snprintf(fault, sizeof fault, "write:%d:.spectra.h5", ENOSPC);
    program_result result = run_failing(2, fault, "", "--set run.name=full");
    assert_int_equal(result.exit_code, 1);
    assert_int_equal(program_lines_with(result.err, "error"), 1);
    assert_contains(result.err, "full.spectra.h5");
    program_free(&result);
    run(0, "full", "");
    assert_steps("full", due, DUE);
}

static void a_disk_that_fails_for_a_while_is_waited_out(void **state)
{
    (void)state;
    char fault[64];
    snprintf(fault, sizeof fault, "sync:%d:.spectra.h5", EIO);
    program_result result = run_failing(2, fault, "MR_FAULT_NUMBER=8", "--set run.name=while");
    if (result.exit_code != 0) fail_msg("%s", result.err);
    assert_contains(result.err, "it is tried again while the run goes on");
    assert_contains(result.err, "while.spectra.h5: written again");
    program_free(&result);
    assert_same_spectra("while", "whole");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spectra_change_no_bit_and_are_the_same_on_any_ranks),
        cmocka_unit_test(a_snapshot_is_the_svd_of_the_saved_model_minus_its_base),
        cmocka_unit_test(a_run_stopped_after_any_step_has_each_due_step_once),
        cmocka_unit_test(a_run_killed_at_any_time_has_each_due_step_once),
        cmocka_unit_test(spectra_that_a_stop_left_out_are_made_up_for),
        cmocka_unit_test(other_spectra_are_put_aside_with_a_word),
        cmocka_unit_test(a_finished_run_without_spectra_is_told_of),
        cmocka_unit_test(the_plan_counts_spectra),
        cmocka_unit_test(what_does_not_fit_is_looked_at_one_by_one_and_then_by_all_ranks),
        cmocka_unit_test(modules_that_are_none_are_refused),
        cmocka_unit_test(a_base_that_cannot_be_read_again_is_one_message),
        cmocka_unit_test(spectra_that_cannot_be_written_are_one_message),
        cmocka_unit_test(a_disk_that_fails_for_a_while_is_waited_out),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
