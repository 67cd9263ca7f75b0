/** @file
 * Paths as users write them: ~/, blanks, letters of any alphabet, "..", slashes at the end; and
 * what of them is refused. */

#include "logs.h"
#include "program.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define LAST "\u0434\u0430\u043d\u043d\u044b\u0435 \u6570\u636e's"
#define ODD "a b/" LAST

static const program_setting alone = {0};

static int enter(void **state)
{
    char home[PATH_MAX];
    if (program_enter_folder(state) != 0 || !getcwd(home, sizeof home)) return -1;
    program_make_folder("home/" ODD);
    strcat(home, "/home");
    setenv("HOME", home, 1);
    program_write_shape("home/tiny.json", 32, 259, false);
    program_write_shape("home/" ODD "/tiny.json", 32, 259, false);
    program_write("home/u.yaml", "run: {output: ~/out, save_model: ~/model}\n"
                                 "model: {config: ~/tiny.json, init: random}\ntask: {pairs: 4}\n"
                                 "method: {name: fft}\nparallel: {threads: 1}\n"
                                 "train: {steps: 2, global_batch: 4}\neval: {items: 2}\n"
                                 "checkpoint: {every_steps: 1}\n");
    program_write("home/odd.yaml",
                  "run: {output: \"~/" ODD "/../" LAST "/out//\", save_model: \"~/" ODD
                  "/model/\"}\n"
                  "model: {config: \"~/" ODD "/tiny.json\", init: random}\n"
                  "method: {name: fft}\nparallel: {threads: 1}\n"
                  "train: {steps: 2, global_batch: 4, seq_len: 16}\neval: {items: 2}\n"
                  "task: {name: pretrain, data: \"~/" ODD "/shards/\"}\n");
    return 0;
}

static void succeed(const char *arguments, const char *said)
{
    program_result result = program_succeed(alone, "%s", arguments);
    assert_contains(result.out, said);
    program_free(&result);
}

static void paths_of_a_file_and_of_a_command_line_may_start_at_home(void **state)
{
    (void)state;
    succeed("run ~/u.yaml", "home/out/u.h5");
    assert_true(file_exists("home/out/u.h5"));
    assert_true(file_exists("home/model/model.safetensors"));
    succeed("run ~/u.yaml", "(done before)");
    succeed("info ~/out/u.h5", "run log");
    succeed("info ~/model", "model");
    succeed("table ~/out", "fft");
    succeed("run ~/u.yaml --set model.path=~/model --set model.init=pretrained "
            "--set model.config= --set run.name=more --set run.save_model=",
            "home/out/more.h5");
    assert_false(file_exists("~"));
}

static void options_of_paths_may_start_at_home(void **state)
{
    (void)state;
    program_write("home/text.txt", "one line of text that is long enough for a few tokens\n");
    succeed("data prepare ~/text.txt --to=~/shards --heldout 0", "1 documents");
    succeed("data inspect ~/shards --seq-len 16", "one line of text");
    program_result stopped = program_run(alone, "run ~/u.yaml --set run.name=part --set "
                                                "run.save_model= --set train.stop_after=1");
    assert_int_equal(stopped.exit_code, 0);
    program_free(&stopped);
    program_result result =
        program_succeed(alone, "run ~/u.yaml --set run.name=part --set run.save_model= --set "
                               "train.stop_after=1 --resume=~/out/part.checkpoints");
    assert_contains(result.err, "goes on at step 1 from ");
    assert_contains(result.err, "/home/out/part.checkpoints");
    program_free(&result);
    succeed("bench --model=~/tiny.json --steps 1 --batch 1 --seq 16 --methods fft", "fft");
    assert_false(file_exists("~"));
}

static void paths_may_hold_blanks_letters_and_dots(void **state)
{
    (void)state;
    program_write("home/text.txt", "one line of text that is long enough for a few tokens\n");
    program_result made =
        program_succeed(alone, "data prepare ~/text.txt --to ~/made/../made/ --heldout 0.5");
    program_free(&made);
    assert_int_equal(rename("home/made", "home/" ODD "/shards"), 0);
    program_result result =
        program_succeed((program_setting){.ranks = 2}, "run ~/odd.yaml --set eval.at_steps=[]");
    assert_contains(result.out, "/home/" ODD "/../" LAST "/out/odd.h5");
    assert_true(file_exists("home/" ODD "/out/odd.h5"));
    assert_true(file_exists("home/" ODD "/model/model.safetensors"));
    program_free(&result);
    /* With and without a slash at its end a path is one. */
    result =
        program_succeed((program_setting){.ranks = 2},
                        "run ~/odd.yaml --set eval.at_steps=[] --set model.config=home/tiny.json "
                        "--set run.output=out/ --set run.save_model=");
    program_free(&result);
    result = program_run(alone,
                         "run ~/odd.yaml --set eval.at_steps=[] --set model.config=home/tiny.json/ "
                         "--set run.output=out --set run.save_model=");
    assert_contains(result.err, "odd: done already, see out/odd.h5");
    program_free(&result);
}

static void a_matrix_names_its_runs_by_what_was_written(void **state)
{
    (void)state;
    program_write("home/two.yaml", "run: {output: ~/out}\nmodel: {init: random}\n"
                                   "train: {steps: 2}\n"
                                   "matrix: {model.config: [~/tiny.json, ./tiny.json]}\n");
    succeed("run ~/two.yaml --list", "0 two.config__tiny.json\n1 two.config._tiny.json\n");
}

static void refuse(int code, const char *arguments, const char *message)
{
    program_result result = program_run((program_setting){.ranks = 2}, "%s", arguments);
    assert_contains(result.err, message);
    assert_int_equal(program_lines_with(result.err, "mora: error"), 1);
    assert_int_equal(result.exit_code, code);
    program_free(&result);
}

static void what_cannot_be_a_path_is_named_with_its_key(void **state)
{
    (void)state;
    refuse(
        1, "run ~/u.yaml --set run.output=~bob/out",
        "config: --set run.output=~bob/out: run.output: '~bob/out': homes of other users are not "
        "looked up; write the whole path, or './~bob/out' for a file of this name\n");
    program_write("home/bob.yaml", "model: {init: random, config: ~/tiny.json}\ntrain.steps: 2\n"
                                   "matrix: {model.path: [a, ~bob/model]}\n");
    refuse(1, "run ~/bob.yaml",
           "/home/bob.yaml:3:26: run 'bob.path_bob_model': model.path: '~bob/model': homes");
    refuse(1, "run ~/u.yaml --set run.output=",
           "config: --set run.output=: run.output: expected a folder, found an empty text");
    program_write("home/there.yaml", "run: {output: $here}\nmodel: {init: random, config: "
                                     "~/tiny.json}\ntrain: {steps: 1, global_batch: 4}\n");
    refuse(1, "run ~/there.yaml",
           "/home/there.yaml:1:15: run.output: '$here': variables of the environment are not put "
           "in; write the whole path");
    program_make_folder("$here");
    succeed("run ~/there.yaml --dry-run", "parameters");
    refuse(2, "run ~bob/u.yaml", "usage: mora run: '~bob/u.yaml': homes of other users");
    refuse(2, "data prepare x --to=",
           "usage: mora data prepare: --to: expected a path, found an "
           "empty text");
    char long_path[600];
    snprintf(long_path, sizeof long_path, "run ~/u.yaml --set model.path=~/%0500d", 0);
    refuse(1, long_path, "bytes long in full, at most 511 are");
    setenv("HOME", "", 1);
    refuse(2, "run ~/u.yaml",
           "usage: mora run: '~/u.yaml': the environment has no HOME; write the whole path\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_of_a_file_and_of_a_command_line_may_start_at_home),
        cmocka_unit_test(options_of_paths_may_start_at_home),
        cmocka_unit_test(paths_may_hold_blanks_letters_and_dots),
        cmocka_unit_test(a_matrix_names_its_runs_by_what_was_written),
        cmocka_unit_test(what_cannot_be_a_path_is_named_with_its_key),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
