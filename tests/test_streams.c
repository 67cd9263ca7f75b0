/** @file
 * Standard streams that are full, closed or gone, limits of a shell, and the signals that come of
 * these: what cannot be written is an error with its reason, what was trained is not lost. */

#include "base/file.h"
#include "logs.h"
#include "program.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char yaml[] = "run: {name: base, seed: 3, output: out}\n"
                           "model: {config: tiny.json, init: random}\n"
                           "task: {name: uuid, pairs: 16}\n"
                           "method: {name: lora, r: 4}\n"
                           "train: {steps: 6, global_batch: 8, micro_batch: 4, lr: 0.003}\n"
                           "eval: {items: 2}\n"
                           "parallel: {threads: 1}\n"
                           "checkpoint: {every_minutes: 30}\n";

/* Long enough to be met by a signal. */
static const char lengthy[] = "--set train.steps=8000 --set eval.at_steps=[8000]";

/* The wrapper of a setting: a script that gets the program and its arguments as "$@". */
static program_setting through(const char *name, int ranks, const char *script)
{
    program_write(name, "#!/bin/bash\n%s\n", script);
    assert_int_equal(chmod(name, 0755), 0);
    return (program_setting){.ranks = ranks, .wrapper = name};
}

static void await(const char *path)
{
    for (int i = 0; i < 6000 && !file_exists(path); i++)
        test_nap(0.01);
}

static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_write("base.yaml", "%s", yaml);
    program_write("text.txt", "a line of text that is long enough to be cut into tokens\n");
    program_result run = program_run((program_setting){0}, "run base.yaml");
    program_result prepared =
        program_run((program_setting){0}, "data prepare text.txt --to shards --heldout 0");
    int failed = run.exit_code != 0 || prepared.exit_code != 0;
    if (failed) print_error("%s%s", run.err, prepared.err);
    program_free(&run);
    program_free(&prepared);
    return failed ? -1 : 0;
}

/* Every command that prints results, and every way to ask one of them for others. */
static const char *const printing[] = {
    "--help",
    "--version",
    "run --help",
    "run base.yaml",
    "run base.yaml --json",
    "run base.yaml --list",
    "run base.yaml --list --json",
    "run base.yaml --dry-run",
    "run base.yaml --dry-run --json",
    "info out/base.h5",
    "info out/base.h5 --json",
    "info base.yaml",
    "table out",
    "table out --json",
    "data inspect shards --seq-len 8",
    "data inspect shards --seq-len 8 --json",
    "data prepare text.txt --to shards --heldout 0",
};

static void assert_not_written(program_setting setting, size_t stride, const char *reason)
{
    for (size_t i = 0; i < sizeof printing / sizeof printing[0]; i += stride) {
        program_result result = program_run(setting, "%s", printing[i]);
        if (result.exit_code != 1 || program_lines_with(result.err, "mora: error: ") != 1)
            fail_msg("mora %s: exit code %d: %s", printing[i], result.exit_code, result.err);
        assert_contains(result.err,
                        "mora: error: i/o: cannot write the results to standard output: ");
        assert_contains(result.err, reason);
        program_free(&result);
    }
}

static void results_on_a_full_device_are_an_error(void **state)
{
    (void)state;
    assert_not_written(through("./full.sh", 0, "exec \"$@\" > /dev/full"), 1,
                       "No space left on device");
}

static void results_on_a_closed_standard_output_are_an_error(void **state)
{
    (void)state;
    assert_not_written(through("./closed.sh", 0, "exec \"$@\" >&-"), 3, "Bad file descriptor");
}

static void results_on_a_closed_pipe_are_an_error(void **state)
{
    (void)state;
    assert_not_written(through("./pipe.sh", 0,
                               "exec \"$@\" > >(exec true)"
                               " 2> >(sleep 0.2; exec cat >&2)"),
                       3, "Broken pipe");
}

/* The files that a run opens must not get the numbers of streams that were closed. */
static void a_run_without_any_streams_is_whole(void **state)
{
    (void)state;
    program_setting bare = through("./bare.sh", 0, "exec \"$@\" <&- >&- 2>&-");
    program_result result = program_run(bare, "run base.yaml --set run.name=bare");
    assert_int_equal(result.exit_code, 1);
    program_free(&result);
    log_assert_text("out/bare.h5", "stop_reason", "completed");
    log_assert_same_bits("out/bare.h5", "out/base.h5", "/train/loss", 0);
}

static void two_ranks_name_a_full_device_once(void **state)
{
    (void)state;
    program_setting full = through("./full.sh", 2, "exec \"$@\" > /dev/full");
    program_result result = program_run(full, "info out/base.h5");
    assert_int_equal(result.exit_code, 1);
    assert_int_equal(program_lines_with(result.err, "mora: error: "), 1);
    assert_contains(result.err, "mora: error: i/o: cannot write the results to standard output: "
                                "No space left on device");
    program_free(&result);
}

static void what_rank_0_alone_does_is_said_without_ranks(void **state)
{
    (void)state;
    static const char *const failing[] = {"table nowhere", "table nowhere --paper table2",
                                          "info nowhere", "data inspect nowhere"};
    for (size_t i = 0; i < sizeof failing / sizeof failing[0]; i++) {
        program_result result = program_run((program_setting){.ranks = 2}, "%s", failing[i]);
        assert_int_equal(result.exit_code, 1);
        assert_int_equal(program_lines_with(result.err, "mora: error: "), 1);
        assert_contains(result.err, "nowhere");
        if (strstr(result.err, "rank")) fail_msg("%s: %s", failing[i], result.err);
        program_free(&result);
    }
}

static void a_reader_of_messages_that_goes_away_stops_nothing(void **state)
{
    (void)state;
    static const int ranks[] = {0, 2};
    for (size_t i = 0; i < sizeof ranks / sizeof ranks[0]; i++) {
        program_setting deaf = through("./deaf.sh", ranks[i], "exec \"$@\" 2> >(head -n 1)");
        char log[64];
        program_result result = program_run(
            deaf, "run base.yaml --set run.name=deaf%d --set train.steps=200", ranks[i]);
        if (result.exit_code != 0) fail_msg("exit code %d: %s", result.exit_code, result.err);
        program_free(&result);
        snprintf(log, sizeof log, "out/deaf%d.h5", ranks[i]);
        log_assert_text(log, "stop_reason", "completed");
        assert_int_equal(log_rows(log, "/train/loss"), 200);
    }
}

/* A limit on the size of files is as a full disk: it costs the checkpoints, not the run. */
static void a_limit_on_file_sizes_costs_a_checkpoint_and_nothing_else(void **state)
{
    (void)state;
    program_setting limited = through("./limited.sh", 0, "ulimit -f 300; exec \"$@\"");
    program_result result =
        program_run(limited, "run base.yaml --set run.name=limited --set method.name=fft "
                             "--set checkpoint.every_steps=1");
    if (result.exit_code != 0) fail_msg("exit code %d: %s", result.exit_code, result.err);
    assert_contains(result.err, "no checkpoint: ");
    assert_contains(result.err, "File too large");
    program_free(&result);
    log_assert_text("out/limited.h5", "stop_reason", "completed");
    assert_int_equal(log_rows("out/limited.h5", "/train/loss"), 6);
}

static void a_log_over_a_limit_on_file_sizes_is_an_error(void **state)
{
    (void)state;
    program_setting limited = through("./limited.sh", 0, "ulimit -f 4; exec \"$@\"");
    program_result result = program_run(limited, "run base.yaml --set run.name=longer");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err,
                    "mora: error: i/o: longer: cannot write 'out/longer.h5': File too large");
    program_free(&result);
}

/* Sends signals to a run under way and returns how it ended. */
static program_result interrupted(program_setting setting, const char *name, int number, int again,
                                  const char *more)
{
    char path[64];
    program_child child =
        program_start(setting, "run base.yaml --set run.name=%s %s %s", name, lengthy, more);
    snprintf(path, sizeof path, "out/%s.h5", name);
    await(path);
    kill(child.pid, number);
    if (again > 0) {
        /* Two within half a second are one. In one go: on a busy machine each nap takes longer. */
        test_nap(0.7);
        kill(child.pid, again);
    }
    return program_finish(&child);
}

static void assert_stopped(program_result *result, const char *name)
{
    char path[64], folder[64];
    if (result->exit_code != 75)
        fail_msg("%s: exit code %d: %s", name, result->exit_code, result->err);
    assert_contains(result->err, "by a signal, at a checkpoint; the same command goes on");
    program_free(result);
    snprintf(path, sizeof path, "out/%s.h5", name);
    log_assert_text(path, "stop_reason", "stopped by a signal, at a checkpoint");
    snprintf(folder, sizeof folder, "out/%s.checkpoints", name);
    assert_int_equal(access(folder, F_OK), 0);
}

static void signals_of_terminals_and_limits_ask_to_stop(void **state)
{
    (void)state;
    static const struct {
        int number, again;
        const char *name;
    } asking[] = {
        {SIGHUP, SIGHUP, "hung_up"}, {SIGXCPU, SIGXCPU, "out_of_time"}, {SIGINT, 0, "asked"}};
    for (size_t i = 0; i < sizeof asking / sizeof asking[0]; i++) {
        program_result result = interrupted((program_setting){0}, asking[i].name, asking[i].number,
                                            asking[i].again, "");
        assert_stopped(&result, asking[i].name);
    }
}

static void a_limit_on_processor_time_asks_to_stop(void **state)
{
    (void)state;
    program_setting limited = through("./brief.sh", 0, "ulimit -S -t 2; exec \"$@\"");
    program_result result = program_run(limited, "run base.yaml --set run.name=brief %s", lengthy);
    assert_stopped(&result, "brief");
}

/* The launcher answers these itself, by ending its ranks: the rank is met here. */
static void a_signal_to_one_rank_stops_all(void **state)
{
    (void)state;
    program_setting told =
        through("./told.sh", 2, "echo $$ > pid.$OMPI_COMM_WORLD_RANK; exec \"$@\"");
    program_child child = program_start(told, "run base.yaml --set run.name=both %s", lengthy);
    await("out/both.h5");
    char *text = program_read("pid.1", NULL);
    kill((pid_t)strtol(text, NULL, 10), SIGHUP);
    mr_free(text);
    program_result result = program_finish(&child);
    assert_int_equal(program_lines_with(result.err, ": stopped at step "), 1);
    assert_stopped(&result, "both");
}

static void a_second_interrupt_ends_at_once(void **state)
{
    (void)state;
    /* A step takes longer than the signals are apart. */
    program_result result = interrupted((program_setting){0}, "twice", SIGINT, SIGINT,
                                        "--set train.global_batch=40000 --set task.pairs=40000");
    assert_int_equal(result.exit_code, 128 + SIGINT);
    program_free(&result);
}

static void nohup_and_the_background_keep_their_signals_ignored(void **state)
{
    (void)state;
    program_setting kept = through("./nohup.sh", 0, "trap '' HUP INT; exec \"$@\"");
    program_result result = interrupted(kept, "kept", SIGHUP, SIGINT, "--set train.stop_after=400");
    if (result.exit_code != 0) fail_msg("exit code %d: %s", result.exit_code, result.err);
    program_free(&result);
    log_assert_text("out/kept.h5", "stop_reason", "stopped by train.stop_after");
}

static void a_run_that_is_suspended_goes_on(void **state)
{
    (void)state;
    program_child child = program_start((program_setting){0}, "run base.yaml --set "
                                                              "run.name=suspended --set "
                                                              "train.steps=400");
    await("out/suspended.h5");
    kill(child.pid, SIGTSTP);
    for (int i = 0; i < 50; i++)
        test_nap(0.01);
    kill(child.pid, SIGCONT);
    program_result result = program_finish(&child);
    assert_int_equal(result.exit_code, 0);
    program_free(&result);
    assert_int_equal(log_rows("out/suspended.h5", "/train/loss"), 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_on_a_full_device_are_an_error),
        cmocka_unit_test(results_on_a_closed_standard_output_are_an_error),
        cmocka_unit_test(results_on_a_closed_pipe_are_an_error),
        cmocka_unit_test(a_run_without_any_streams_is_whole),
        cmocka_unit_test(two_ranks_name_a_full_device_once),
        cmocka_unit_test(what_rank_0_alone_does_is_said_without_ranks),
        cmocka_unit_test(a_reader_of_messages_that_goes_away_stops_nothing),
        cmocka_unit_test(a_limit_on_file_sizes_costs_a_checkpoint_and_nothing_else),
        cmocka_unit_test(a_log_over_a_limit_on_file_sizes_is_an_error),
        cmocka_unit_test(signals_of_terminals_and_limits_ask_to_stop),
        cmocka_unit_test(a_limit_on_processor_time_asks_to_stop),
        cmocka_unit_test(a_signal_to_one_rank_stops_all),
        cmocka_unit_test(a_second_interrupt_ends_at_once),
        cmocka_unit_test(nohup_and_the_background_keep_their_signals_ignored),
        cmocka_unit_test(a_run_that_is_suspended_goes_on),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
