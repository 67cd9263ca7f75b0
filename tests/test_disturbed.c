/** @file
 * Runs whose files others take away, lock, fill up or refuse while they write or before they go on:
 * nothing of the log is lost where it can still be written at the end, and what cannot be read now
 * is not taken for damaged. */

#include "base/file.h"
#include "logs.h"
#include "program.h"

#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char yaml[] = "run: {name: base, seed: 3, output: out}\n"
                           "model: {config: tiny.json, init: random}\n"
                           "task: {name: uuid, pairs: 16}\n"
                           "method: {name: lora, r: 4}\n"
                           "train: {steps: 20, global_batch: 8, micro_batch: 4, lr: 0.003}\n"
                           "eval: {items: 2, at_steps: [20]}\n"
                           "parallel: {threads: 1}\n"
                           "checkpoint: {every_minutes: 0}\n";

enum { LONG = 600 };
static const char lengthy[] = "--set train.steps=600 --set eval.at_steps=[600]";

static const program_setting alone = {0};

/* Waits until something is so, for a minute at most. */
static void await(bool (*is_so)(const char *path), const char *path)
{
    for (int i = 0; i < 6000 && !is_so(path); i++)
        test_nap(0.01);
    if (!is_so(path)) fail_msg("waited in vain: %s", path);
}

static void shell(const char *line)
{
    if (system(line) != 0) fail_msg("%s", line);
}

/* Calls have failed since it was written, in two tries of the run. */
static bool is_met_twice(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && about.st_size > 1;
}

static bool tells_steps(const char *path)
{
    return file_exists(path) && log_int(path, "steps") > 1;
}

static bool has_checkpoint(const char *stem)
{
    char path[128];
    glob_t found;
    snprintf(path, sizeof path, "%s.checkpoints/step-*", stem);
    const bool there = glob(path, 0, NULL, &found) == 0;
    if (there) globfree(&found);
    snprintf(path, sizeof path, "%s.h5", stem);
    return there && tells_steps(path);
}

/* A wrapper under which a call fails, always or while the file "stuck" is there, which then grows
 * by a byte each time: see faults.c. */
static program_setting failing(const char *fault, bool while_stuck)
{
    program_write("failing.sh", "#!/bin/sh\nMR_FAULT=%s %s LD_PRELOAD=%s exec \"$@\"\n", fault,
                  while_stuck ? "MR_FAULT_WHILE=stuck MR_FAULT_MARK=stuck" : "", MR_TEST_FAULTS);
    assert_int_equal(chmod("failing.sh", 0755), 0);
    return (program_setting){.wrapper = "./failing.sh"};
}

static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_write("base.yaml", "%s", yaml);
    program_result whole = program_run(alone, "run base.yaml --set run.name=whole");
    bool done = whole.exit_code == 0;
    if (!done) print_error("%s", whole.err);
    program_free(&whole);
    return done ? 0 : -1;
}

static void stop_at_ten(const char *name)
{
    program_result result =
        program_succeed(alone, "run base.yaml --set run.name=%s --set train.stop_after=10", name);
    program_free(&result);
}

/* A run that goes on has all the steps, with the values of one that was never stopped. */
static void assert_whole(const char *path)
{
    log_assert_text(path, "stop_reason", "completed");
    assert_int_equal(log_rows(path, "/train/step"), 20);
    log_assert_same_bits(path, "out/whole.h5", "/train/loss", 0);
    char aside[128];
    snprintf(aside, sizeof aside, "%s.previous.1", path);
    assert_false(file_exists(aside));
}

/* Whoever holds the log, and whatever the environment says of HDF5's locks. */
static void a_log_that_others_hold_is_gone_on_with(void **state)
{
    (void)state;
    static const struct {
        const char *setting;
        int kind;
    } locks[] = {{"TRUE", LOCK_SH}, {"TRUE", LOCK_EX}, {"BEST_EFFORT", LOCK_EX}, {"", LOCK_EX}};
    for (size_t i = 0; i < sizeof locks / sizeof locks[0]; i++) {
        char name[32], path[64];
        snprintf(name, sizeof name, "held%zu", i);
        snprintf(path, sizeof path, "out/%s.h5", name);
        stop_at_ten(name);
        FILE *holder = fopen(path, "r+b");
        assert_non_null(holder);
        assert_int_equal(flock(fileno(holder), locks[i].kind | LOCK_NB), 0);
        setenv("HDF5_USE_FILE_LOCKING", locks[i].setting, 1);
        program_result result = program_succeed(alone, "run base.yaml --set run.name=%s", name);
        assert_int_equal(program_lines_with(result.err, "mora: warning"), 0);
        program_free(&result);
        assert_int_equal(flock(fileno(holder), LOCK_UN), 0);
        fclose(holder);
        assert_whole(path);
        unsetenv("HDF5_USE_FILE_LOCKING");
    }
}

static void a_finished_log_that_others_hold_is_done_and_shown(void **state)
{
    (void)state;
    FILE *holder = fopen("out/whole.h5", "r+b");
    assert_non_null(holder);
    assert_int_equal(flock(fileno(holder), LOCK_EX | LOCK_NB), 0);
    setenv("HDF5_USE_FILE_LOCKING", "TRUE", 1);
    program_result again = program_succeed(alone, "run base.yaml --set run.name=whole");
    program_result info = program_succeed(alone, "info out/whole.h5");
    program_result table = program_succeed(alone, "table out");
    unsetenv("HDF5_USE_FILE_LOCKING");
    fclose(holder);
    assert_contains(again.err, "whole: done already");
    assert_contains(info.out, "stop_reason");
    assert_null(strstr(table.out, "unsound"));
    program_free(&again);
    program_free(&info);
    program_free(&table);
}

/* Refused with the reason, and left as it is, to be gone on with another time. */
static void assert_refused(program_setting setting, const char *name, const char *reason)
{
    char path[64], aside[128];
    size_t size, size_after;
    snprintf(path, sizeof path, "out/%s.h5", name);
    snprintf(aside, sizeof aside, "%s.previous.1", path);
    char *before = program_read(path, &size);
    program_result result = program_run(setting, "run base.yaml --set run.name=%s", name);
    if (result.exit_code != 1) fail_msg("exit code %d: %s", result.exit_code, result.err);
    assert_int_equal(program_lines_with(result.err, "mora: error: i/o: "), 1);
    assert_contains(result.err, reason);
    assert_contains(result.err, path);
    assert_null(strstr(result.err, "not a sound run log"));
    program_free(&result);
    char *after = program_read(path, &size_after);
    assert_int_equal(size, size_after);
    assert_memory_equal(before, after, size);
    mr_free(before);
    mr_free(after);
    assert_false(file_exists(aside));
}

static void a_log_that_cannot_be_read_now_is_not_taken_for_damaged(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        int error;
    } faults[] = {{"open", EACCES}, {"open", EMFILE}, {"open", EIO},  {"open", ENFILE},
                  {"read", EIO},    {"read", ESTALE}, {"open", ELOOP}};
    stop_at_ten("resting");
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        char fault[64];
        snprintf(fault, sizeof fault, "%s:%d:out/resting.h5", faults[i].call, faults[i].error);
        assert_refused(failing(fault, false), "resting", strerror(faults[i].error));
        snprintf(fault, sizeof fault, "%s:%d:out/whole.h5", faults[i].call, faults[i].error);
        assert_refused(failing(fault, false), "whole", strerror(faults[i].error));
    }
    program_result result = program_succeed(alone, "run base.yaml --set run.name=resting");
    program_free(&result);
    assert_whole("out/resting.h5");
}

static void a_folder_in_place_of_the_log_is_named(void **state)
{
    (void)state;
    program_make_folder("out/taken.h5");
    program_result result = program_run(alone, "run base.yaml --set run.name=taken");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err, "cannot open 'out/taken.h5': not a regular file");
    program_free(&result);
}

/* The run may write into a folder while it is being removed. */
#define REMOVE(folder) "until rm -rf " folder " 2> /dev/null; do :; done"

/* Something happens to a run under way; it must end as if nothing had. */
static void disturb(const char *name, const char *what, const char *more, const char *warning)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s.h5", name, name);
    program_child child =
        program_start(alone, "run base.yaml --set run.name=%s --set run.output=%s %s %s", name,
                      name, lengthy, more);
    await(file_exists, path);
    shell(what);
    program_result result = program_finish(&child);
    if (result.exit_code != 0) fail_msg("%s: exit code %d: %s", name, result.exit_code, result.err);
    assert_contains(result.err, warning);
    if (program_lines_with(result.err, "mora: warning") > 2) fail_msg("%s", result.err);
    program_free(&result);
    log_assert_text(path, "stop_reason", "completed");
    assert_int_equal(log_rows(path, "/train/step"), LONG);
}

static void what_is_removed_in_a_run_is_made_again(void **state)
{
    (void)state;
    static const char often[] = "--set checkpoint.every_steps=100";
    disturb("gone", REMOVE("gone"), "", "'gone' was taken away; it is made again");
    disturb("moved", "mv moved elsewhere", "", "'moved' was taken away; it is made again");
    disturb("saved", REMOVE("saved"), often, "");
    shell("mkdir cleared && ln -s cleared linked");
    disturb("linked", REMOVE("cleared"), "", "'linked' was taken away; it is made again");
    disturb("no_log", "rm no_log/no_log.h5", "", "");
    disturb("no_lock", "rm no_lock/no_lock.lock", "", "");
    disturb("no_checkpoints", REMOVE("no_checkpoints/no_checkpoints.checkpoints"), often, "");
}

static void what_stands_in_the_way_of_the_log_is_put_aside(void **state)
{
    (void)state;
    disturb("file", REMOVE("file") "; echo mine > file", "",
            "'file' was in the way of a run log and is now 'file.previous.1'");
    char *kept = program_read("file.previous.1", NULL);
    assert_string_equal(kept, "mine\n");
    mr_free(kept);
    disturb("folder", "rm folder/folder.h5; mkdir -p folder/folder.h5/inner", "",
            "'folder/folder.h5' was in the way of a run log");
    disturb("beside", "mkdir -p beside/beside.h5.tmp/inner", "",
            "'beside/beside.h5.tmp' was in the way of a run log");
}

/* The folder in which the program was started is removed, and with it the relative output. */
static void a_run_whose_present_folder_is_removed_writes_its_log_all_the_same(void **state)
{
    (void)state;
    program_make_folder("present");
    program_child child = program_start(
        (program_setting){.folder = "present"},
        "run ../base.yaml --set model.config=../tiny.json --set run.name=lost %s", lengthy);
    await(file_exists, "present/out/lost.h5");
    shell(REMOVE("present"));
    program_result result = program_finish(&child);
    if (result.exit_code != 0) fail_msg("exit code %d: %s", result.exit_code, result.err);
    program_free(&result);
    log_assert_text("present/out/lost.h5", "stop_reason", "completed");
    assert_int_equal(log_rows("present/out/lost.h5", "/train/step"), LONG);
}

/* Tried again, named once, nothing lost. */
static void a_disk_that_refuses_for_a_while_costs_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *call;
        int error;
    } faults[] = {{"write", EDQUOT}, {"open", EROFS}, {"sync", EIO}};
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        char fault[64], name[32], path[64];
        snprintf(name, sizeof name, "patient%zu", i);
        snprintf(path, sizeof path, "out/%s.h5", name);
        snprintf(fault, sizeof fault, "%s:%d:out/%s.h5.tmp", faults[i].call, faults[i].error, name);
        program_child child =
            program_start(failing(fault, true),
                          "run base.yaml --set run.name=%s --set train.steps=6000 --set "
                          "eval.at_steps=[6000]",
                          name);
        await(file_exists, path);
        program_write("stuck", "%s", "");
        await(is_met_twice, "stuck");
        assert_int_equal(unlink("stuck"), 0);
        kill(child.pid, SIGTERM);
        program_result result = program_finish(&child);
        if (result.exit_code != 75) fail_msg("exit code %d: %s", result.exit_code, result.err);
        assert_int_equal(program_lines_with(result.err, "mora: warning"), 1);
        assert_contains(result.err, strerror(faults[i].error));
        assert_contains(result.err, "it is tried again while the run goes on");
        program_free(&result);
        assert_int_equal(log_rows(path, "/train/step"), log_int(path, "steps"));
    }
}

static void a_disk_that_refuses_at_the_end_is_an_error(void **state)
{
    (void)state;
    program_child child = program_start(failing("write:28:out/late.h5.tmp", true),
                                        "run base.yaml --set run.name=late %s", lengthy);
    await(file_exists, "out/late.h5");
    program_write("stuck", "%s", "");
    program_result result = program_finish(&child);
    assert_int_equal(unlink("stuck"), 0);
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err,
                    "mora: error: i/o: late: cannot write 'out/late.h5': No space left");
    program_free(&result);
    /* What could be written before is still a log. */
    assert_true(log_rows("out/late.h5", "/train/step") > 0);
}

/* Checkpoints that fail one after the other are named once. */
static void checkpoints_on_a_full_disk_are_named_once(void **state)
{
    (void)state;
    program_result result =
        program_run(failing("write:28:full.checkpoints", false),
                    "run base.yaml --set run.name=full --set checkpoint.every_steps=2");
    if (result.exit_code != 0) fail_msg("exit code %d: %s", result.exit_code, result.err);
    assert_int_equal(program_lines_with(result.err, "no checkpoint: "), 1);
    program_free(&result);
    assert_whole("out/full.h5");
}

/* A log says while it runs, and after a kill, how far it has come. */
static void a_killed_run_tells_its_steps(void **state)
{
    (void)state;
    program_child child =
        program_start(alone, "run base.yaml --set run.name=killed --set train.steps=100000 --set "
                             "eval.at_steps=[100000]");
    await(tells_steps, "out/killed.h5");
    kill(child.pid, SIGKILL);
    program_result result = program_finish(&child);
    assert_int_equal(result.exit_code, 128 + SIGKILL);
    program_free(&result);
    log_assert_text("out/killed.h5", "stop_reason", "running, or killed");
    assert_true(log_int("out/killed.h5", "steps") > 1);
    assert_int_equal(log_int("out/killed.h5", "steps"), log_rows("out/killed.h5", "/train/step"));
}

/* A rank is killed in the middle of a step: the others end soon, and the run goes on. */
static void a_killed_rank_ends_its_run(void **state)
{
    (void)state;
    const program_setting two = {.ranks = 2};
    static const char torn[] = "run base.yaml --set run.name=torn --set train.steps=100000 --set "
                               "eval.at_steps=[100000] --set checkpoint.every_steps=5";
    program_child child = program_start(two, "%s", torn);
    await(has_checkpoint, "out/torn");
    program_kill_rank(&child);
    program_result again = program_succeed(two, "%s --set train.stop_after=%lld", torn,
                                           (long long)log_int("out/torn.h5", "steps") + 5);
    assert_contains(again.err, "torn: goes on at step ");
    program_free(&again);
}

/* Nobody reads what its ranks say any more: they end, and free the run for the next. */
static void a_killed_launcher_ends_its_ranks(void **state)
{
    (void)state;
    static const char left[] = "run base.yaml --set run.name=left --set train.steps=100000 --set "
                               "eval.at_steps=[100000] --set checkpoint.every_steps=5";
    program_write("said.sh", "#!/bin/sh\nexec \"$@\" 2>> said\n");
    assert_int_equal(chmod("said.sh", 0755), 0);
    program_child child =
        program_start((program_setting){.ranks = 2, .wrapper = "./said.sh"}, "%s", left);
    char gone[64];
    snprintf(gone, sizeof gone, "the launcher, process %d, is gone", child.pid);
    await(has_checkpoint, "out/left");
    program_kill_launcher(&child);
    char *said = program_read("said", NULL);
    if (program_lines_with(said, gone) != 1 || program_lines_with(said, "mora: fatal") != 1)
        fail_msg("not one message \"%s\": %s", gone, said);
    mr_free(said);
    program_result again = program_succeed(alone, "%s --set train.stop_after=%lld", left,
                                           (long long)log_int("out/left.h5", "steps") + 5);
    assert_contains(again.err, "left: goes on at step ");
    program_free(&again);
}

/* Each rank has its own memory, and the bits are the same. */
static void where_ranks_may_not_share_memory_each_has_its_own(void **state)
{
    (void)state;
    program_setting refused = failing("memory:38:mora", false);
    refused.ranks = 2;
    program_result run = program_succeed(refused, "run base.yaml --set run.name=apart");
    assert_contains(run.err, "apart: ranks of a node share no memory (parallel.shared_memory): "
                             "shared memory of 0.003907 MiB: rank 0 of 2 (1 failed): "
                             "the system gives none: Function not implemented");
    assert_int_equal(program_lines_with(run.err, "mora: warning"), 1);
    program_free(&run);
    assert_whole("out/apart.h5");
    program_result off = program_succeed(
        refused, "run base.yaml --set run.name=off --set parallel.shared_memory=off");
    assert_int_equal(program_lines_with(off.err, "mora: warning"), 0);
    program_free(&off);
    /* Nor where its model is read again. */
    off = program_succeed(refused, "export out/off.h5 --to merged --out off");
    assert_int_equal(program_lines_with(off.err, "mora: warning"), 0);
    program_free(&off);
}

/* Of files, which counts memory that is shared too. */
static void a_limit_that_forbids_sharing_names_the_key(void **state)
{
    (void)state;
    program_write("big.json",
                  "{\"model_type\": \"llama\", \"hidden_act\": \"silu\", \"hidden_size\": 256, "
                  "\"intermediate_size\": 1024, \"num_attention_heads\": 4, "
                  "\"num_key_value_heads\": 4, \"num_hidden_layers\": 4, \"vocab_size\": 259, "
                  "\"max_position_embeddings\": 128, \"rms_norm_eps\": 1e-6, "
                  "\"initializer_range\": 0.02, \"tie_word_embeddings\": false}\n");
    program_write("limited.sh", "#!/bin/sh\nulimit -f 16384\nexec \"$@\"\n");
    assert_int_equal(chmod("limited.sh", 0755), 0);
    program_fail((program_setting){.ranks = 2, .wrapper = "./limited.sh"}, 1,
                 "memory: big: parallel.shared_memory: shared memory of ",
                 "run base.yaml --set run.name=big --set model.config=big.json");
}

static void an_mpi_without_threads_is_refused(void **state)
{
    (void)state;
    program_write("single.sh", "#!/bin/sh\nMR_FAULT_MPI=0 LD_PRELOAD=%s exec \"$@\"\n",
                  MR_TEST_FAULTS);
    assert_int_equal(chmod("single.sh", 0755), 0);
    program_result result =
        program_run((program_setting){.wrapper = "./single.sh"}, "info out/whole.h5");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err,
                    "mora: error: argument: this MPI allows no threads beside its own: "
                    "expected a thread level of 1 (MPI_THREAD_FUNNELED) or more, found 0");
    program_free(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_log_that_others_hold_is_gone_on_with),
        cmocka_unit_test(a_finished_log_that_others_hold_is_done_and_shown),
        cmocka_unit_test(a_log_that_cannot_be_read_now_is_not_taken_for_damaged),
        cmocka_unit_test(a_folder_in_place_of_the_log_is_named),
        cmocka_unit_test(what_is_removed_in_a_run_is_made_again),
        cmocka_unit_test(what_stands_in_the_way_of_the_log_is_put_aside),
        cmocka_unit_test(a_run_whose_present_folder_is_removed_writes_its_log_all_the_same),
        cmocka_unit_test(a_disk_that_refuses_for_a_while_costs_nothing),
        cmocka_unit_test(a_disk_that_refuses_at_the_end_is_an_error),
        cmocka_unit_test(checkpoints_on_a_full_disk_are_named_once),
        cmocka_unit_test(a_killed_run_tells_its_steps),
        cmocka_unit_test(a_killed_rank_ends_its_run),
        cmocka_unit_test(a_killed_launcher_ends_its_ranks),
        cmocka_unit_test(where_ranks_may_not_share_memory_each_has_its_own),
        cmocka_unit_test(a_limit_that_forbids_sharing_names_the_key),
        cmocka_unit_test(an_mpi_without_threads_is_refused),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
