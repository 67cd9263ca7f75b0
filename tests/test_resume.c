/** @file
 * Runs that stop, are killed, run out of disk or lose a file, and go on: whatever happens, the end
 * has the bits of a run that nothing happened to. */

#include "base/clock.h"
#include "base/file.h"
#include "base/random.h"
#include "logs.h"
#include "program.h"
#include "store/runlog_read.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STEPS = 20, KILLS = 100 };

/* Merges at 6, 12, 18 and dropout: every part of a run's state is in play. */
static const char yaml[] =
    "run: {name: whole, seed: 3, output: out}\n"
    "model: {config: tiny.json, init: random}\n"
    "task: {name: uuid, pairs: 16}\n"
    "method: {name: relora, r: 4, lora_dropout: 0.1, merge_every: 6,\n"
    "         modules_to_save: [embed_tokens, lm_head, norm]}\n"
    "train: {steps: 20, global_batch: 16, micro_batch: 2, lr: 0.003, schedule: jagged_cosine,\n"
    "        warmup_steps: 2, restart_warmup_steps: 2, check_every: 7}\n"
    "eval: {every: 5, items: 6}\n"
    "parallel: {threads: 1}\n"
    "checkpoint: {every_minutes: 30}\n";

static const program_setting alone = {0};

static void run_whole(const char *name, const char *more)
{
    program_result result =
        program_succeed(alone, "run base.yaml --set run.name=%s --set run.save_model=%s.model %s",
                        name, name, more);
    program_free(&result);
}

static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_write("base.yaml", "%s", yaml);
    return 0;
}

/* Everything that must not depend on what happened on the way. */
static void assert_same_run(const char *name, const char *other)
{
    static const char *const series[] = {
        "/train/step",   "/train/loss",     "/train/lr",           "/train/grad_norm",
        "/train/tokens", "/eval/uuid/step", "/eval/uuid/accuracy", "/eval/uuid/exact"};
    char path[256], reference[256];
    snprintf(path, sizeof path, "out/%s.h5", name);
    snprintf(reference, sizeof reference, "out/%s.h5", other);
    log_assert_text(path, "stop_reason", "completed");
    for (size_t i = 0; i < sizeof series / sizeof *series; i++)
        log_assert_same_bits(path, reference, series[i], 0);
    snprintf(path, sizeof path, "%s.model/model.safetensors", name);
    snprintf(reference, sizeof reference, "%s.model/model.safetensors", other);
    file_assert_same(path, reference);
    snprintf(path, sizeof path, "out/%s.trained.safetensors", name);
    snprintf(reference, sizeof reference, "out/%s.trained.safetensors", other);
    file_assert_same_tensors(path, reference);
}

static void a_run_stopped_after_any_step_ends_alike(void **state)
{
    (void)state;
    run_whole("whole", "");
    for (int stop = 1; stop < STEPS; stop++) {
        char name[32], more[64];
        snprintf(name, sizeof name, "stop%d", stop);
        snprintf(more, sizeof more, "--set train.stop_after=%d", stop);
        run_whole(name, more);
        run_whole(name, "");
        assert_same_run(name, "whole");
    }
}

/* A checkpoint holds them in their type, and is of no run with another. */
static void check_states_in_bf16(const char *name)
{
    char path[128];
    size_t size;
    snprintf(path, sizeof path, "out/%s.checkpoints/step-00000009/manifest.json", name);
    char *manifest = program_read(path, &size);
    assert_contains(manifest, "\"BF16\"");
    assert_null(strstr(manifest, "\"F32\""));
    mr_free(manifest);
    program_fail(alone, 1, "is of another configuration: train.optimizer_dtype differs",
                 "run base.yaml --set run.name=other --set method.name=fft --resume "
                 "out/%s.checkpoints",
                 name);
}

static void every_method_goes_on_alike(void **state)
{
    (void)state;
    static const char *const methods[] = {"fft",  "lora",   "lora_plus", "asylora",
                                          "dora", "remora", "mora"};
    /* fft with states in bf16; of relora's trained base they are f32. */
    static const char *const kept[] = {" --set train.optimizer_dtype=bf16", ""};
    /* Between the first merge and the second, where another grouping than the first is in use. */
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char name[32], more[128];
        snprintf(more, sizeof more, "--set method.name=%s%s", methods[i], kept[i > 0]);
        run_whole(methods[i], more);
        snprintf(name, sizeof name, "%s_in_two", methods[i]);
        snprintf(more, sizeof more, "--set method.name=%s%s --set train.stop_after=9", methods[i],
                 kept[i > 0]);
        run_whole(name, more);
        if (i == 0) check_states_in_bf16(name);
        snprintf(more, sizeof more, "--set method.name=%s%s", methods[i], kept[i > 0]);
        run_whole(name, more);
        assert_same_run(name, methods[i]);
    }
}

static void a_run_goes_on_alike_on_another_number_of_ranks(void **state)
{
    (void)state;
    static const struct {
        int before, after;
        const char *shard, *then;
    } changes[] = {{2, 4, "full", "full"}, {2, 1, "full", "full"},      {1, 4, "full", "optimizer"},
                   {4, 2, "none", "full"}, {2, 4, "optimizer", "none"}, {1, 2, "full", "none"}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const char *const command = "run base.yaml --set run.name=ranks%zu --set "
                                    "run.save_model=ranks%zu.model --set parallel.shard=%s %s";
        program_result result =
            program_succeed((program_setting){.ranks = changes[i].before}, command, i, i,
                            changes[i].shard, "--set train.stop_after=11");
        program_free(&result);
        result = program_succeed((program_setting){.ranks = changes[i].after}, command, i, i,
                                 changes[i].then, "");
        assert_contains(result.err, "goes on at step 11");
        program_free(&result);
        char name[32];
        snprintf(name, sizeof name, "ranks%zu", i);
        assert_same_run(name, "whole");
    }
}

static void a_run_goes_on_alike_where_layers_keep_more_or_less(void **state)
{
    (void)state;
    static const char *const then[] = {"layer", "none", "attention"};
    for (size_t i = 0; i < sizeof then / sizeof *then; i++) {
        program_result result = program_succeed(
            alone,
            "run base.yaml --set run.name=keeps --set run.save_model=keeps.model --set "
            "train.recompute=%s --set train.stop_after=%zu",
            then[i], i < 2 ? 7 * (i + 1) : 0);
        if (i > 0) assert_contains(result.err, "goes on at step ");
        program_free(&result);
    }
    assert_same_run("keeps", "whole");
}

/* A log that exists can be read, and nothing half-written stands under a final name. */
static void assert_sound(const char *path)
{
    mr_runlog_reader *reader;
    if (!file_exists(path)) return;
    must(mr_runlog_open(path, &reader));
    mr_runlog_close_reader(&reader);
}

/* The newest checkpoint of a run, finished or not; "" where it has none. */
static void newest_checkpoint(const char *name, char newest[64])
{
    char folder[96];
    newest[0] = '\0';
    snprintf(folder, sizeof folder, "out/%s.checkpoints", name);
    DIR *list = opendir(folder);
    if (!list) return;
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list))
        if (strncmp(entry->d_name, "step-", 5) == 0 && strcmp(entry->d_name, newest) > 0)
            snprintf(newest, 64, "%.60s", entry->d_name);
    closedir(list);
}

/* Waits until a run has another checkpoint than it had, no longer than so many seconds. */
static void await_checkpoint(const char *name, const char *before, double seconds)
{
    char newest[64];
    const double until = mr_clock() + seconds;
    do {
        test_nap(0.002);
        newest_checkpoint(name, newest);
    } while (strcmp(newest, before) == 0 && mr_clock() < until);
}

/* Counts checkpoints that a kill left unfinished. */
static int count_partial(const char *name)
{
    char folder[96];
    int count = 0;
    snprintf(folder, sizeof folder, "out/%s.checkpoints", name);
    DIR *list = opendir(folder);
    if (!list) return 0;
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list))
        count += strstr(entry->d_name, ".partial") != NULL;
    closedir(list);
    return count;
}

/* Returns the bytes of a line of the plan of a run that writes a checkpoint each step. */
static long long planned_bytes(const char *what)
{
    char format[64];
    long long bytes = -1;
    program_result plan =
        program_succeed(alone, "run base.yaml --dry-run --set checkpoint.every_steps=1");
    const char *line = strstr(plan.out, what);
    assert_non_null(line);
    snprintf(format, sizeof format, "%s %%*f (%%lld bytes)", what);
    assert_int_equal(sscanf(line, format, &bytes), 1);
    program_free(&plan);
    return bytes;
}

/* Returns how many unfinished checkpoints the kills left. */
static int kill_again_and_again(const char *name, const char *more, int wanted)
{
    const char *const command = "run base.yaml --set run.name=%s --set run.save_model=%s.model "
                                "--set train.steps=60 --set checkpoint.every_steps=1 %s";
    mr_random random = mr_random_stream(20, MR_RANDOM_DATA, 0);
    int kills = 0, went_on = 0, partial = 0, round = 0;
    char now[64], reference[64], newest[64];
    snprintf(reference, sizeof reference, "%.32s_whole", name);
    program_result result = program_succeed(alone, command, reference, reference, more);
    double length = result.seconds;
    program_free(&result);
    snprintf(now, sizeof now, "%.32s0", name);
    for (uint64_t i = 0; kills < wanted; i++) {
        newest_checkpoint(now, newest);
        program_child child = program_start(alone, command, now, now, more);
        /* Every other time it comes to a checkpoint, however slow the machine is now. */
        if (i % 2 == 0) await_checkpoint(now, newest, length);
        test_nap(0.25 * length * mr_random_uniform(&random, i));
        kill(child.pid, SIGKILL);
        result = program_finish(&child);
        char path[96];
        snprintf(path, sizeof path, "out/%.60s.h5", now);
        assert_sound(path);
        if (strstr(result.err, "passed over"))
            fail_msg("a half-written checkpoint: %s", result.err);
        kills += result.exit_code == 128 + SIGKILL;
        went_on += strstr(result.err, "goes on at step") != NULL;
        partial += count_partial(now);
        if (result.exit_code == 0) {
            assert_same_run(now, reference);
            snprintf(now, sizeof now, "%.32s%d", name, ++round);
        } else if (result.exit_code != 128 + SIGKILL) {
            fail_msg("exit code %d: %s", result.exit_code, result.err);
        }
        program_free(&result);
    }
    result = program_succeed(alone, command, now, now, more);
    program_free(&result);
    assert_same_run(now, reference);
    print_message("%d kills, %d times gone on, %d unfinished checkpoints left, %d runs completed\n",
                  kills, went_on, partial, round);
    assert_true(went_on > wanted / 4);
    return partial;
}

static void a_run_killed_a_hundred_times_ends_alike(void **state)
{
    (void)state;
    int partial = kill_again_and_again("killed", "", KILLS - KILLS / 4);
    /* Without room for a copy they are written before a step ends. */
    char scarce[64];
    snprintf(scarce, sizeof scarce, "--set parallel.memory_gib=%.17g",
             (double)(planned_bytes("total") - 1024) / 0x1p30);
    partial += kill_again_and_again("unstaged", scarce, KILLS / 4);
    assert_true(partial > 0);
}

static void a_model_larger_than_a_piece_goes_on_alike(void **state)
{
    (void)state;
    static const char *const ways[] = {"", "--set checkpoint.every_minutes=0"};
    program_write_shape("wide.json", 256, 2000, false);
    const char *const command =
        "run base.yaml --set model.config=wide.json --set train.steps=4 --set method.merge_every=1 "
        "--set train.restart_warmup_steps=0 --set train.warmup_steps=1 --set eval.every=2 --set "
        "run.name=%s%zu --set run.save_model=%s%zu.model %s %s";
    for (size_t i = 0; i < 2; i++) {
        program_result result =
            program_succeed(alone, command, "wide_whole", i, "wide_whole", i, ways[i], "");
        program_free(&result);
        const program_setting two = {.ranks = 2};
        result = program_succeed(two, command, "wide", i, "wide", i, ways[i],
                                 "--set train.stop_after=2");
        program_free(&result);
        result = program_succeed(alone, command, "wide", i, "wide", i, ways[i], "");
        assert_contains(result.err, "goes on at step 2");
        program_free(&result);
        char name[32], reference[32];
        snprintf(name, sizeof name, "wide%zu", i);
        snprintf(reference, sizeof reference, "wide_whole%zu", i);
        assert_same_run(name, reference);
    }
}

static void checkpoints_at_their_times_are_written_from_a_planned_copy(void **state)
{
    (void)state;
    for (int minutes = 0; minutes <= 30; minutes += 30) {
        long long bytes = -1;
        program_result plan = program_succeed(
            alone, "run base.yaml --dry-run --set checkpoint.every_minutes=%d", minutes);
        const char *line = strstr(plan.out, "checkpoint");
        assert_non_null(line);
        assert_int_equal(sscanf(line, "checkpoint %*f (%lld bytes)", &bytes), 1);
        assert_int_equal(bytes > 0, minutes > 0);
        program_free(&plan);
    }
}

static void a_log_of_every_third_step_goes_on_alike(void **state)
{
    (void)state;
    run_whole("third_whole", "--set log.every=3");
    run_whole("third", "--set log.every=3 --set train.stop_after=10");
    run_whole("third", "--set log.every=3");
    assert_same_run("third", "third_whole");
}

static void an_evaluation_that_a_stop_left_out_is_made_up_for(void **state)
{
    (void)state;
    static const char every_step[] = "--set train.steps=120 --set eval.every=1";
    program_child child = program_start(
        alone, "run base.yaml --set run.name=owed --set run.save_model=owed.model %s", every_step);
    for (int i = 0; i < 60000 && !file_exists("out/owed.h5"); i++)
        test_nap(0.001);
    kill(child.pid, SIGTERM);
    program_result result = program_finish(&child);
    assert_int_equal(result.exit_code, 75);
    program_free(&result);
    /* Stopped at the first step it has none. */
    assert_int_equal(log_rows("out/owed.h5", "/eval/uuid/step"),
                     log_rows("out/owed.h5", "/train/step") - 1);
    run_whole("owed", every_step);
    run_whole("owed_whole", every_step);
    assert_same_run("owed", "owed_whole");
}

static void another_number_of_threads_is_told(void **state)
{
    (void)state;
    run_whole("threads", "--set train.stop_after=3");
    program_result result = program_succeed(
        alone,
        "run base.yaml --set run.name=threads --set parallel.threads=2 --set run.save_model=");
    assert_contains(result.err, "saved on 1 threads a rank, on 2 now: bits depend on that number");
    program_free(&result);
}

static void another_architecture_or_other_data_are_refused(void **state)
{
    (void)state;
    program_write_shape("changing.json", 32, 259, false);
    run_whole("moved", "--set model.config=changing.json --set train.stop_after=3");
    char *text = program_read("changing.json", NULL);
    char *theta = strstr(text, "10000.0");
    assert_non_null(theta);
    *theta = '2';
    program_write("changing.json", "%s", text);
    mr_free(text);
    program_result result =
        program_run(alone, "run base.yaml --set run.name=moved --set model.config=changing.json");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err,
                    "the inputs of its run are others now: rope_theta 20000 instead of 10000");
    program_free(&result);
}

/* Long enough to be met by a signal. */
static const char lengthy[] = "--set train.steps=4000 --set eval.every=0 --set "
                              "eval.at_steps=[4000] --set method.merge_every=7";

static void expect_stop_by(int number, int ranks, const char *name)
{
    char path[64], folder[64];
    const program_setting setting = {.ranks = ranks};
    program_child child =
        program_start(setting, "run base.yaml --set run.name=%s %s", name, lengthy);
    snprintf(path, sizeof path, "out/%s.h5", name);
    for (int i = 0; i < 6000 && !file_exists(path); i++)
        test_nap(0.01);
    kill(child.pid, number);
    program_result result = program_finish(&child);
    if (result.exit_code != 75) fail_msg("exit code %d: %s", result.exit_code, result.err);
    assert_contains(result.err, "by a signal, at a checkpoint; the same command goes on");
    assert_int_equal(program_lines_with(result.err, "error"), 0);
    program_free(&result);
    log_assert_text(path, "stop_reason", "stopped by a signal, at a checkpoint");
    snprintf(folder, sizeof folder, "out/%s.checkpoints", name);
    assert_int_equal(access(folder, F_OK), 0);
    int64_t step = log_int(path, "steps");
    assert_true(step > 0 && step < 4000);
    result =
        program_succeed(setting, "run base.yaml --set run.name=%s %s --set train.stop_after=%lld",
                        name, lengthy, (long long)step + 3);
    assert_contains(result.err, "goes on at step");
    program_free(&result);
    assert_int_equal(log_int(path, "steps"), step + 3);
}

static void signals_stop_a_run_at_a_checkpoint_with_code_75(void **state)
{
    (void)state;
    expect_stop_by(SIGTERM, 0, "term");
    expect_stop_by(SIGUSR2, 0, "usr2");
    /* mpirun passes it on to the ranks. */
    expect_stop_by(SIGUSR2, 2, "usr2_of_two");
}

static void the_stop_signal_can_be_chosen(void **state)
{
    (void)state;
    program_child child = program_start(
        alone, "run base.yaml --set run.name=usr1 %s --set checkpoint.signal=USR1", lengthy);
    for (int i = 0; i < 6000 && !file_exists("out/usr1.h5"); i++)
        test_nap(0.01);
    kill(child.pid, SIGUSR1);
    program_result result = program_finish(&child);
    assert_int_equal(result.exit_code, 75);
    program_free(&result);
}

static void a_damaged_checkpoint_is_named_and_the_one_before_it_used(void **state)
{
    (void)state;
    char newest[64], path[256];
    size_t size;
    run_whole("flipped", "--set checkpoint.every_steps=5 --set train.stop_after=13");
    newest_checkpoint("flipped", newest);
    snprintf(path, sizeof path, "out/flipped.checkpoints/%s/shard-00000-of-00001.safetensors",
             newest);
    char *data = program_read(path, &size);
    data[size / 2] ^= 1;
    assert_int_equal(mr_file_write(path, data, size), MR_OK);
    mr_free(data);
    program_result result = program_succeed(
        alone, "run base.yaml --set run.name=flipped --set run.save_model=flipped.model");
    assert_contains(result.err, "out/flipped.checkpoints/step-00000013: "
                                "shard-00000-of-00001.safetensors: checksum differs; passed over");
    assert_contains(result.err, "goes on at step 10");
    program_free(&result);
    assert_same_run("flipped", "whole");
    /* It is not counted among those that stay. */
    assert_int_equal(access("out/flipped.checkpoints/step-00000013.damaged.1", F_OK), 0);
    assert_int_equal(access("out/flipped.checkpoints/step-00000010/manifest.json", F_OK), 0);
}

static void without_a_sound_checkpoint_a_run_does_not_start_over(void **state)
{
    (void)state;
    run_whole("lost", "--set train.stop_after=2");
    program_write("out/lost.checkpoints/step-00000002/manifest.json", "{}");
    program_result result = program_run(alone, "run base.yaml --set run.name=lost");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err, "out/lost.checkpoints: no checkpoint is sound; --resume never");
    program_free(&result);
    run_whole("lost", "--resume never");
    assert_same_run("lost", "whole");
}

/* What the version before left of a run after its second step. */
static const char version_1[] =
    "{\"format\":\"mora-checkpoint\",\"version\":1,\"step\":2,\"ranks\":1,\"state\":{},"
    "\"arrays\":[],\"files\":[{\"name\":\"shard-00000-of-00001.h5\",\"bytes\":6,\"sha256\":"
    "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}],\"sha256\":"
    "\"35d416be23f3ed460214ea34fdd2f3db6b3c8b019d4b4a1cd44920b6e91e5243\"}";

static void checkpoints_of_an_earlier_version_are_kept(void **state)
{
    (void)state;
    static const char folder[] = "out/old.checkpoints/step-00000002";
    run_whole("old", "--set train.stop_after=2");
    assert_int_equal(unlink("out/old.checkpoints/step-00000002/shard-00000-of-00001.safetensors"),
                     0);
    program_write("out/old.checkpoints/step-00000002/shard-00000-of-00001.h5", "shard\n");
    program_write("out/old.checkpoints/step-00000002/manifest.json", "%s", version_1);
    program_result result =
        program_run((program_setting){.ranks = 2}, "run base.yaml --set run.name=old");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err, folder);
    assert_contains(
        result.err,
        ": manifest.json: version: expected 2, found 1 (shards in HDF5): the version of "
        "mora that wrote it can go on from it; nothing is changed; --resume never "
        "starts over and keeps it");
    assert_int_equal(program_lines_with(result.err, "error"), 1);
    program_free(&result);
    assert_int_equal(access(folder, F_OK), 0);
    log_assert_text("out/old.h5", "stop_reason", "stopped by train.stop_after");
    run_whole("old", "--resume never");
    assert_same_run("old", "whole");
    assert_true(file_exists("out/old.checkpoints.previous.1/step-00000002/manifest.json"));
    assert_true(
        file_exists("out/old.checkpoints.previous.1/step-00000002/shard-00000-of-00001.h5"));
}

static void only_the_newest_checkpoints_stay(void **state)
{
    (void)state;
    run_whole("kept", "--set checkpoint.every_steps=3 --set checkpoint.keep=3");
    int count = 0;
    DIR *list = opendir("out/kept.checkpoints");
    assert_non_null(list);
    for (struct dirent *entry = readdir(list); entry; entry = readdir(list))
        count += entry->d_name[0] != '.' || strlen(entry->d_name) > 2;
    closedir(list);
    assert_int_equal(count, 3);
    assert_int_equal(access("out/kept.checkpoints/step-00000018/manifest.json", F_OK), 0);
    assert_same_run("kept", "whole");
}

static void a_full_disk_costs_a_checkpoint_and_nothing_else(void **state)
{
    (void)state;
    assert_int_equal(mkdir("out/small.checkpoints", 0777), 0);
    if (mount("none", "out/small.checkpoints", "tmpfs", 0, "size=500k") != 0) {
        rmdir("out/small.checkpoints");
        skip_because("a small file system cannot be mounted here");
    }
    program_result result = program_succeed(
        alone, "run base.yaml --set run.name=small --set run.save_model=small.model --set "
               "checkpoint.every_steps=4 --set train.stop_after=4");
    program_free(&result);
    /* One fits, a second beside it does not. */
    result = program_run(alone, "run base.yaml --set run.name=small --set "
                                "run.save_model=small.model --set checkpoint.every_steps=4 --set "
                                "train.stop_after=11");
    int worn = result.exit_code;
    bool named = strstr(result.err, "No space left on device") &&
                 strstr(result.err, "out/small.checkpoints/");
    bool went_on = strstr(result.err, "no checkpoint: ") != NULL;
    program_free(&result);
    bool intact = access("out/small.checkpoints/step-00000004/manifest.json", F_OK) == 0;
    bool grown = mount("none", "out/small.checkpoints", "tmpfs", MS_REMOUNT, "size=20m") == 0;
    result = program_run(alone, "run base.yaml --set run.name=small --set "
                                "run.save_model=small.model --set checkpoint.every_steps=4");
    bool resumed = strstr(result.err, "goes on at step 4 ") != NULL;
    int last = result.exit_code;
    program_free(&result);
    assert_int_equal(umount("out/small.checkpoints"), 0);
    rmdir("out/small.checkpoints");
    assert_int_equal(worn, 1); /* the checkpoint that train.stop_after asks for is not there */
    assert_true(named);
    assert_true(went_on);
    assert_true(intact);
    assert_true(grown);
    assert_true(resumed);
    assert_int_equal(last, 0);
    assert_same_run("small", "whole");
}

/* Log and checkpoints on one disk, as they are unless somebody arranges it otherwise. On the
 * smaller one a second checkpoint has no room, on the larger one the log that is to go with it. */
static void a_checkpoint_that_fills_the_disk_leaves_room_for_the_log(void **state)
{
    (void)state;
    static const struct {
        const char *size, *message;
    } disks[] = {{"size=700k", " bytes for 'disk/tight.checkpoints/"},
                 {"size=850k", "no checkpoint: cannot write 'disk/tight.h5'"}};
    for (size_t i = 0; i < sizeof disks / sizeof *disks; i++) {
        if (i == 0) program_make_folder("disk");
        if (mount("none", "disk", "tmpfs", 0, disks[i].size) != 0) {
            skip_because("a small file system cannot be mounted here");
        }
        program_result result =
            program_run(alone, "run base.yaml --set run.name=tight --set run.output=disk --set "
                               "run.save_model=tight.model --set checkpoint.every_steps=4 --set "
                               "run.keep=none");
        bool first = access("disk/tight.checkpoints/step-00000004/manifest.json", F_OK) == 0;
        bool readable = file_exists("disk/tight.h5");
        if (readable) {
            log_assert_text("disk/tight.h5", "stop_reason", "completed");
            log_assert_same_bits("disk/tight.h5", "out/whole.h5", "/train/loss", 0);
        }
        assert_int_equal(umount("disk"), 0);
        if (result.exit_code != 0) fail_msg("%s: %s", disks[i].size, result.err);
        assert_contains(result.err, disks[i].message);
        assert_contains(result.err, "No space left on device; the run goes on");
        program_free(&result);
        assert_true(first && readable);
        file_assert_same("tight.model/model.safetensors", "whole.model/model.safetensors");
    }
}

static void an_evaluation_is_broken_off_by_a_signal_and_logged_once(void **state)
{
    (void)state;
    /* Evaluations of many items, one at a time: the signal comes in the middle of one. */
    static const char slow[] = "--set task.pairs=400 --set eval.items=400 --set eval.batch=1 --set "
                               "eval.every=10";
    program_child child = program_start(
        alone, "run base.yaml --set run.name=cut --set run.save_model=cut.model %s", slow);
    for (int i = 0;
         i < 60000 && (!file_exists("out/cut.h5") || log_rows("out/cut.h5", "/train/step") < 1);
         i++)
        test_nap(0.001);
    test_nap(0.3);
    kill(child.pid, SIGUSR2);
    program_result result = program_finish(&child);
    assert_int_equal(result.exit_code, 75);
    program_free(&result);
    /* Gone on with, killed before the next checkpoint, and gone on with again. */
    child = program_start(
        alone, "run base.yaml --set run.name=cut --set run.save_model=cut.model %s", slow);
    int64_t before = log_rows("out/cut.h5", "/eval/uuid/step");
    for (int i = 0; i < 60000 && log_rows("out/cut.h5", "/eval/uuid/step") <= before; i++)
        test_nap(0.001);
    kill(child.pid, SIGKILL);
    result = program_finish(&child);
    program_free(&result);
    run_whole("cut", slow);
    run_whole("cut_whole", slow);
    assert_same_run("cut", "cut_whole");
}

static void two_processes_on_one_run_do_not_mix(void **state)
{
    (void)state;
    program_child first = program_start(alone, "run base.yaml --set run.name=twice %s", lengthy);
    for (int i = 0; i < 60000 && !file_exists("out/twice.h5"); i++)
        test_nap(0.001);
    program_result second = program_run(alone, "run base.yaml --set run.name=twice %s", lengthy);
    assert_int_equal(second.exit_code, 1);
    assert_contains(second.err, "'out/twice.lock' is locked: another process is writing here");
    program_free(&second);
    kill(first.pid, SIGTERM);
    program_result result = program_finish(&first);
    assert_int_equal(result.exit_code, 75);
    program_free(&result);
    assert_int_equal(access("out/twice.lock", F_OK), -1);
}

static void base_weights_that_changed_are_told(void **state)
{
    (void)state;
    const char *const tune = "--set model.path=base.model --set model.init=pretrained "
                             "--set method.name=lora";
    char more[256];
    run_whole("base", "--set method.name=fft --set train.steps=2");
    snprintf(more, sizeof more, "%s --set train.stop_after=3", tune);
    run_whole("tuned", more);
    run_whole("base", "--set method.name=fft --set train.steps=3");
    program_result result = program_run(alone, "run base.yaml --set run.name=tuned %s", tune);
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err, ": the inputs of its run are others now: base weights ");
    program_free(&result);
}

static void a_signal_before_the_configuration_is_read_is_a_request_too(void **state)
{
    (void)state;
    for (int ms = 20; ms <= 260; ms += 60) {
        char name[32];
        snprintf(name, sizeof name, "early%d", ms);
        program_child child =
            program_start(alone, "run base.yaml --set run.name=%s %s --set checkpoint.signal=USR1",
                          name, lengthy);
        test_nap(1e-3 * (double)ms);
        kill(child.pid, SIGUSR1);
        program_result result = program_finish(&child);
        /* Before main it is still the system's, and ends the program. */
        if (result.exit_code != 128 + SIGUSR1) assert_int_equal(result.exit_code, 75);
        program_free(&result);
    }
}

static void another_configuration_starts_anew_and_keeps_the_old(void **state)
{
    (void)state;
    run_whole("changed", "--set train.stop_after=5");
    program_result result = program_succeed(
        alone, "run base.yaml --set run.name=changed --set train.lr=0.002 --set run.save_model=");
    assert_contains(result.err, "of another configuration (train.lr differs): it starts anew");
    assert_contains(result.err, "out/changed.h5 kept as out/changed.h5.previous.1");
    assert_contains(result.err, "kept as out/changed.checkpoints.previous.1");
    program_free(&result);
    result = program_run(alone, "run base.yaml --set run.name=other --set train.lr=0.002 --resume "
                                "out/changed.checkpoints.previous.1");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err, "step-00000005 is of another configuration: train.lr differs");
    program_free(&result);
}

static void a_checkpoint_can_be_named(void **state)
{
    (void)state;
    run_whole("donor", "--set train.stop_after=9");
    program_result result = program_succeed(
        alone, "run base.yaml --set run.name=heir --set run.save_model=heir.model --resume "
               "out/donor.checkpoints/step-00000009");
    assert_contains(result.err, "goes on at step 9");
    assert_contains(result.err, "no log of this run to go on with");
    program_free(&result);
    file_assert_same("heir.model/model.safetensors", "whole.model/model.safetensors");
    /* What the heir had before is kept. */
    run_whole("rich", "--set train.lr=0.001 --set train.stop_after=15");
    result =
        program_succeed(alone, "run base.yaml --set run.name=rich --set run.save_model=rich.model "
                               "--resume out/donor.checkpoints");
    assert_int_equal(access("out/rich.checkpoints.previous.1/step-00000015/manifest.json", F_OK),
                     0);
    program_free(&result);
    result = program_run(alone, "run base.yaml --set run.name=none --resume nowhere");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err, "--resume: nowhere: there is no sound checkpoint");
    program_free(&result);
}

static void never_starts_from_the_beginning(void **state)
{
    (void)state;
    run_whole("again", "--set train.stop_after=5");
    program_result result = program_succeed(alone, "run base.yaml --set run.name=again --set "
                                                   "run.save_model=again.model --resume never");
    assert_null(strstr(result.err, "goes on"));
    program_free(&result);
    assert_same_run("again", "whole");
    assert_int_equal(access("out/again.checkpoints.previous.1", F_OK), 0);
    result = program_succeed(alone, "run base.yaml --set run.name=again --resume never");
    assert_contains(result.err, "out/again.h5 kept as out/again.h5.previous.2");
    program_free(&result);
}

/* Returns the merges that stand in a log, after a look at what they say. */
static int count_merges(const char *path)
{
    mr_runlog_reader *reader;
    mr_names kinds, texts;
    int merges = 0;
    assert_int_equal(mr_runlog_open(path, &reader), MR_OK);
    assert_int_equal(mr_runlog_texts(reader, "/events/kind", &kinds), MR_OK);
    assert_int_equal(mr_runlog_texts(reader, "/events/text", &texts), MR_OK);
    for (int64_t i = 0; i < kinds.count; i++) {
        long long number, cleared, entries;
        if (strcmp(kinds.item[i], "merge") != 0) continue;
        merges++;
        assert_int_equal(sscanf(texts.item[i],
                                "merge %lld: updates added to the weights, adapters begun anew; "
                                "%lld of %lld moments",
                                &number, &cleared, &entries),
                         3);
        assert_int_equal(number, merges);
        /* 4 (in + out) of 7 linears in 2 layers, two moments each; hardly any is exactly zero. */
        assert_int_equal(entries, 2 * 2 * 4 * (2 * 64 + 2 * 48 + 3 * 76));
        assert_true(cleared > entries * 9 / 10);
    }
    mr_names_free(&kinds);
    mr_names_free(&texts);
    mr_runlog_close_reader(&reader);
    return merges;
}

static void steps_that_are_not_finite_are_skipped_and_counted(void **state)
{
    (void)state;
    program_result result = program_run(
        alone, "run base.yaml --set run.name=skipped --set method.name=lora --set train.lr=1e38 "
               "--set train.schedule=constant --set train.warmup_steps=0 --set "
               "train.on_nonfinite=skip");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err, "skipped: step 2: not finite");
    assert_contains(result.err, "ended at step 20 with loss nan; 19 updates were skipped");
    program_free(&result);
    log_assert_text("out/skipped.h5", "stop_reason", "loss or gradient not finite");
    assert_int_equal(log_int("out/skipped.h5", "updates_skipped"), STEPS - 1);
    assert_int_equal(log_int("out/skipped.h5", "steps_not_finite"), STEPS - 1);
}

static void what_is_not_finite_is_not_merged(void **state)
{
    (void)state;
    program_result result = program_run(
        alone, "run base.yaml --set run.name=unmerged --set train.lr=1e38 --set "
               "train.schedule=constant --set train.warmup_steps=0 --set train.on_nonfinite=skip");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err, "step 6: loss nan, gradient norm nan: not finite");
    program_free(&result);
    assert_int_equal(log_int("out/unmerged.h5", "steps"), 6);
    assert_int_equal(count_merges("out/unmerged.h5"), 0);
}

static void a_spike_is_logged_skipped_or_the_end(void **state)
{
    (void)state;
    static const struct {
        const char *act;
        int exit_code;
    } acts[] = {{"log", 0}, {"skip", 0}, {"stop", 1}};
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        program_result result = program_run(
            alone,
            "run base.yaml --set run.name=spike_%s --set method.name=fft --set train.steps=60 "
            "--set train.spike_zscore=0.05 --set train.on_spike=%s --set train.lr=3 "
            "--set train.schedule=constant --set train.warmup_steps=0",
            acts[i].act, acts[i].act);
        assert_int_equal(result.exit_code, acts[i].exit_code);
        assert_contains(result.err, "a spike: loss");
        if (acts[i].exit_code != 0)
            assert_contains(result.err, "is a spike: more than 0.05 deviations above");
        program_free(&result);
    }
    int64_t spikes = log_int("out/spike_log.h5", "steps_with_spike");
    assert_true(spikes > 0);
    assert_int_equal(log_int("out/spike_log.h5", "updates_skipped"), 0);
    assert_true(log_int("out/spike_skip.h5", "updates_skipped") > 0);
    log_assert_text("out/spike_stop.h5", "stop_reason", "spike of the loss");
}

static void merges_stand_in_the_log_with_what_they_cleared(void **state)
{
    (void)state;
    assert_int_equal(count_merges("out/whole.h5"), 3);
    /* The end of a run is a time to merge like any other. */
    run_whole("last_merge", "--set train.steps=18");
    assert_int_equal(count_merges("out/last_merge.h5"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_stopped_after_any_step_ends_alike),
        cmocka_unit_test(merges_stand_in_the_log_with_what_they_cleared),
        cmocka_unit_test(every_method_goes_on_alike),
        cmocka_unit_test(a_run_goes_on_alike_on_another_number_of_ranks),
        cmocka_unit_test(a_run_goes_on_alike_where_layers_keep_more_or_less),
        cmocka_unit_test(a_model_larger_than_a_piece_goes_on_alike),
        cmocka_unit_test(checkpoints_at_their_times_are_written_from_a_planned_copy),
        cmocka_unit_test(a_log_of_every_third_step_goes_on_alike),
        cmocka_unit_test(an_evaluation_that_a_stop_left_out_is_made_up_for),
        cmocka_unit_test(another_number_of_threads_is_told),
        cmocka_unit_test(another_architecture_or_other_data_are_refused),
        cmocka_unit_test(without_a_sound_checkpoint_a_run_does_not_start_over),
        cmocka_unit_test(a_run_killed_a_hundred_times_ends_alike),
        cmocka_unit_test(signals_stop_a_run_at_a_checkpoint_with_code_75),
        cmocka_unit_test(the_stop_signal_can_be_chosen),
        cmocka_unit_test(a_damaged_checkpoint_is_named_and_the_one_before_it_used),
        cmocka_unit_test(checkpoints_of_an_earlier_version_are_kept),
        cmocka_unit_test(only_the_newest_checkpoints_stay),
        cmocka_unit_test(a_full_disk_costs_a_checkpoint_and_nothing_else),
        cmocka_unit_test(a_checkpoint_that_fills_the_disk_leaves_room_for_the_log),
        cmocka_unit_test(an_evaluation_is_broken_off_by_a_signal_and_logged_once),
        cmocka_unit_test(two_processes_on_one_run_do_not_mix),
        cmocka_unit_test(base_weights_that_changed_are_told),
        cmocka_unit_test(a_signal_before_the_configuration_is_read_is_a_request_too),
        cmocka_unit_test(another_configuration_starts_anew_and_keeps_the_old),
        cmocka_unit_test(a_checkpoint_can_be_named),
        cmocka_unit_test(never_starts_from_the_beginning),
        cmocka_unit_test(steps_that_are_not_finite_are_skipped_and_counted),
        cmocka_unit_test(what_is_not_finite_is_not_merged),
        cmocka_unit_test(a_spike_is_logged_skipped_or_the_end),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
