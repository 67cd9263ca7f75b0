#include "base/text.h"
#include "program.h"
#include "store/runlog_read.h"

#include <jansson.h>

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* One command line that must fail, and how. */
typedef struct failure {
    const char *name; /* of the test */
    int exit_code;
    int ranks;
    const char *arguments;
    const char *message; /* part of the line of stderr that starts with "mora: error: " */
} failure;

#define PRETRAINED "run base.yaml --set model.init=pretrained --set model.path="

static const failure failures[] = {
    /* Configuration. */
    {"an unknown key offers the nearest one", 1, 4, "run base.yaml --set method.rr=3",
     "config: --set method.rr=3: unknown key \"method.rr\"; did you mean \"method.r\"?"},
    {"an unknown key of a file has a place", 1, 4, "run unknown.yaml",
     "config: unknown.yaml:2:3: unknown key \"train.setps\"; did you mean \"train.steps\"?"},
    {"a value of the wrong type is shown", 1, 4, "run eight.yaml",
     "config: eight.yaml:1:13: method.r: expected an integer in 1..65536, found \"eight\""},
    {"a value out of range is shown", 1, 4, "run base.yaml --set method.lora_dropout=1",
     "config: --set method.lora_dropout=1: method.lora_dropout: expected a number in [0, 1), "
     "found \"1\""},
    {"an unknown method lists the known ones", 1, 4, "run base.yaml --set method.name=moar",
     "method.name: expected one of "},
    {"a key of another method is refused in a file", 1, 4, "run other.yaml",
     "config: other.yaml:1:22: method.operator: not a key of method dora; mora and remora have it"},
    {"full fine-tuning has no modules to adapt", 1, 4,
     "run base.yaml --set method.name=fft --set method.target_modules=[nonsense]",
     "config: --set method.target_modules=[nonsense]: method.target_modules: not a key of method "
     "fft; lora, lora_plus, "},
    {"a key of another task is refused", 1, 4, "run base.yaml --set task.data=text",
     "config: --set task.data=text: task.data: not a key of task uuid; pretrain, instruct, math, "
     "biomed and finance have it"},
    {"a help on nothing tells what there is help on", 2, 1, "run --help method.moar",
     "usage: mora run: --help: expected a section, a key, or a choice such as method.mora, found "
     "\"method.moar\""},
    {"a missing file is named", 1, 4, "run nothing.yaml",
     "i/o: cannot open 'nothing.yaml': No such file or directory"},
    {"a global batch of no whole micro-batches is refused", 1, 4,
     "run base.yaml --set train.global_batch=6 --set train.micro_batch=4",
     "config: --set train.micro_batch=4: train.micro_batch: 4 does not divide "
     "train.global_batch 6"},
    {"an empty output folder is named", 1, 4, "run base.yaml --set run.output=",
     "config: --set run.output=: run.output: expected a folder, found an empty text"},
    /* Models. */
    {"a missing model folder is named", 1, 4, PRETRAINED "nowhere",
     "i/o: base: cannot open the model folder 'nowhere': No such file or directory"},
    {"a missing config.json is named", 1, 4, "run base.yaml --set model.config=nowhere.json",
     "cannot open 'nowhere.json': No such file or directory"},
    {"a config.json that is not JSON has a place", 1, 4,
     PRETRAINED "garbage --set model.config=", "garbage/config.json:1:"},
    {"a model folder without weights is named", 1, 4, PRETRAINED "empty --set model.config=",
     "i/o: base: model folder 'empty': neither model.safetensors nor "
     "model.safetensors.index.json in it"},
    {"weights of another shape show both", 1, 4, PRETRAINED "wide --set model.config=",
     "format: base: wide/model.safetensors: tensor 'model.embed_tokens.weight': shape [259, 32], "
     "expected [259, 64]"},
    {"truncated weights are named with their tensor", 1, 4,
     PRETRAINED "cut --set model.config=", "format: base: cut/model.safetensors: tensor 'model."},
    {"a vocabulary smaller than the tokenizer's is refused", 1, 4,
     "run base.yaml --set model.config=small.json",
     "argument: base: the tokenizer has 259 ids, the model's vocab_size is 200"},
    /* Adapters. */
    {"an r beyond the larger side is refused", 1, 4,
     "run base.yaml --set method.name=lora --set method.r=33",
     "argument: base: method.r: expected at most 32, the larger side of "
     "model.layers.0.self_attn.q_proj [32, 32], found 33"},
    {"an r beyond the larger side of a narrow linear is refused", 1, 4,
     "run base.yaml --set method.name=mora --set method.r=33 "
     "--set method.target_modules=k_proj",
     "argument: base: method.r: expected at most 32, the larger side of "
     "model.layers.0.self_attn.k_proj [16, 32], found 33"},
    {"bf16 is refused by a backend that computes in f32", 1, 4,
     "run base.yaml --set model.dtype=bf16",
     "config: base.yaml: base: model.dtype: backend 'cpu' computes in f32 only, found \"bf16\""},
    {"epochs beyond counting are refused", 1, 4,
     "run base.yaml --set train.steps=0 --set train.epochs=1e30",
     "config: base.yaml: base: train.epochs: 1e+30 passes over "},
    {"target modules that match nothing are named", 1, 4,
     "run base.yaml --set method.name=lora --set method.target_modules=[q_proj,query]",
     "config: base.yaml: base: method.target_modules: \"query\" matches no linear; there are "
     "q_proj, "},
    /* Batches over ranks. */
    {"a global batch that two ranks cannot share is refused", 1, 2,
     "run base.yaml --set train.global_batch=6 --set train.micro_batch=2",
     "argument: base: train.global_batch: 3 micro-batches of 2 samples do not divide among 2 "
     "ranks; set train.micro_batch to a divisor of 3"},
    {"a global batch that four ranks cannot share is refused", 1, 4,
     "run base.yaml --set train.global_batch=6 --set train.micro_batch=0",
     "argument: base: train.global_batch: 6 samples do not divide among 4 ranks"},
    /* Data. */
    {"a prompt without its key is refused", 1, 4, "run base.yaml --set task.prompt=key:",
     "config: base.yaml: base: task.prompt: expected a template with one {key}, found \"key:\""},
    {"samples longer than seq_len are refused", 1, 4, "run base.yaml --set train.seq_len=65",
     "train.seq_len: expected at least 66, the tokens of sample "},
    /* Resources. */
    {"a plan beyond the memory is refused", 1, 4, "run base.yaml --set parallel.memory_gib=0.0001",
     "are allowed (parallel.memory_gib)"},
    {"ranks of a node are those of a plan", 2, 1, "run base.yaml --ranks-per-node 4",
     "mora run: --ranks-per-node goes with --ranks"},
    {"a dry run beyond the memory fails too", 1, 4,
     "run base.yaml --dry-run --set parallel.memory_gib=0.0001 --set method.name=fft",
     "are allowed (parallel.memory_gib); smaller train.micro_batch, train.global_batch or "
     "eval.batch, train.recompute: layer, train.optimizer_dtype: bf16, parallel.shard: full or "
     "more ranks take less"},
    {"an output folder that cannot be made is named", 1, 4,
     "run base.yaml --set run.output=plain/out", "cannot make folder 'plain/out'"},
    {"a folder for the model that cannot be made is named", 1, 4,
     "run base.yaml --set run.name=unsaved --set run.save_model=plain/model",
     "cannot make folder 'plain/model'"},
    /* Command lines. */
    {"no command is usage", 2, 4, "", "usage: expected a command; `mora --help` lists them"},
    {"an unknown command is named", 2, 4, "jog", "usage: unknown command \"jog\""},
    {"an unknown option offers the nearest one", 2, 4, "run base.yaml --lst",
     "usage: mora run: unknown option --lst; did you mean --list?"},
    {"an option without its value is named", 2, 4, "run base.yaml --index",
     "usage: mora run: --index needs a value (N)"},
    {"a flag with a value is refused", 2, 4, "run base.yaml --list=yes",
     "usage: mora run: --list takes no value"},
    {"an index beyond the matrix is refused", 2, 4, "run base.yaml --index 1",
     "usage: mora run: --index: expected 0..0, found \"1\""},
    {"an index that is no number is refused", 2, 4, "run base.yaml --index 0x",
     "usage: mora run: --index: expected 0..0, found \"0x\""},
    {"a run without a file is usage", 2, 4, "run", "usage: mora run: expected a YAML file"},
    {"a second file is refused", 2, 4, "run base.yaml eight.yaml",
     "usage: mora run: unexpected \"eight.yaml\""},
    {"an override without a value is refused", 2, 4, "run base.yaml --set train.lr",
     "usage: --set train.lr: expected key=value"},
    {"an unknown method of bench is named", 2, 4, "bench --model tiny.json --methods nope",
     "usage: mora bench: --methods: unknown method \"nope\""},
    {"a bench of no steps is refused", 2, 4, "bench --model tiny.json --steps 0",
     "usage: mora bench: --steps, --batch, --seq and --r must be at least 1"},
    {"a missing model of bench is named", 1, 4, "bench --model nowhere.json",
     "cannot open 'nowhere.json': No such file or directory"},
    /* One process, without mpirun. */
    {"a process alone says the same", 1, 0, "run nothing.yaml",
     "i/o: cannot open 'nothing.yaml': No such file or directory"},
};

enum { FAILURES = sizeof failures / sizeof failures[0] };

/* A folder of a model of so many columns that holds the weights of tiny.json, or half of them. */
static void make_model(const char *folder, int hidden, bool cut)
{
    char path[64];
    size_t size;
    program_make_folder(folder);
    snprintf(path, sizeof path, "%s/config.json", folder);
    program_write_shape(path, hidden, 259, false);
    char *weights = program_read("model/model.safetensors", &size);
    size_t bytes = cut ? size / 2 : size;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(weights, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
    mr_free(weights);
}

static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_write("base.yaml", "run: {name: base, output: out}\n"
                               "model: {config: tiny.json, init: random}\n"
                               "task: {pairs: 8}\n"
                               "method: {name: fft}\n"
                               "train: {steps: 2, global_batch: 8, micro_batch: 1}\n"
                               "eval: {items: 1}\n"
                               "parallel: {threads: 1}\n");
    program_write("unknown.yaml", "train:\n  setps: 4\n");
    program_write("eight.yaml", "method: {r: eight}\n");
    program_write("other.yaml", "method: {name: dora, operator: sharing}\n");
    program_write("plain", "a regular file\n");
    program_write_shape("small.json", 32, 200, false);
    program_make_folder("garbage");
    program_write("garbage/config.json", "{{{\n");
    program_make_folder("empty");
    program_write_shape("empty/config.json", 32, 259, false);
    program_result made = program_succeed((program_setting){0}, "run base.yaml --set run.name=made "
                                                                "--set run.save_model=model");
    program_free(&made);
    make_model("wide", 64, false);
    make_model("cut", 32, true);
    return 0;
}

/* One message on stderr, of the kind and with the text that are expected. */
static void assert_one_error(const program_result *result, int exit_code, const char *message)
{
    assert_contains(result->err, message);
    const char *line = strstr(result->err, "mora: error: ");
    const char *text = strstr(result->err, message);
    assert_true(line && line < text);
    assert_int_equal(program_lines_with(result->err, "mora: error"), 1);
    assert_int_equal(program_lines_with(result->err, "mora: fatal"), 0);
    assert_int_equal(result->exit_code, exit_code);
}

static void fails_with_one_message(void **state)
{
    const failure *expected = *state;
    program_result result =
        program_run((program_setting){.ranks = expected->ranks}, "%s", expected->arguments);
    assert_one_error(&result, expected->exit_code, expected->message);
    program_free(&result);
}

/* Opens the log of a run of base.yaml and compares the beginning of its stop_reason. */
static mr_runlog_reader *open_log(const char *path, const char *reason)
{
    mr_runlog_reader *reader;
    char *text;
    must(mr_runlog_open(path, &reader));
    must(mr_runlog_get_text(reader, "stop_reason", &text));
    assert_contains(text, reason);
    mr_free(text);
    return reader;
}

/* Something stands in the way of the file that is written last. */
static void a_failed_run_leaves_its_reason_in_the_log(void **state)
{
    (void)state;
    program_make_folder("out/reason.trained.safetensors.tmp");
    program_result failed =
        program_run((program_setting){.ranks = 2}, "run base.yaml --set run.name=reason");
    assert_int_equal(failed.exit_code, 1);
    mr_runlog_reader *log = open_log("out/reason.h5", "reason.trained.safetensors.tmp");
    assert_true(mr_runlog_has(log, "/train/loss"));
    mr_runlog_close_reader(&log);
    program_free(&failed);
}

static void a_diverged_run_is_recorded_and_fails(void **state)
{
    (void)state;
    program_result diverged = program_run(
        (program_setting){.ranks = 4},
        "run base.yaml --set run.name=diverged --set train.steps=9 --set train.lr=1e30");
    assert_one_error(&diverged, 1, "numeric: diverged: step ");
    assert_contains(diverged.err, "not finite");
    mr_runlog_reader *log = open_log("out/diverged.h5", "loss or gradient not finite");
    double *loss;
    int64_t count, steps;
    assert_int_equal(mr_runlog_series(log, "/train/loss", &loss, &count), MR_OK);
    assert_int_equal(mr_runlog_get_int(log, "steps", &steps), MR_OK);
    assert_true(count == steps && count < 9);
    assert_true(loss[count - 1] != loss[count - 1]);
    mr_free(loss);
    mr_runlog_close_reader(&log);
    program_free(&diverged);
}

static void the_runs_behind_a_diverged_one_are_still_run(void **state)
{
    (void)state;
    program_write("rates.yaml", "run: {output: out}\nmodel: {config: tiny.json, init: random}\n"
                                "task: {pairs: 8}\nmethod: {name: fft}\nparallel: {threads: 1}\n"
                                "train: {steps: 3, global_batch: 8}\neval: {items: 1}\n"
                                "matrix: {train.lr: [1.0e+30, 0.001]}\n");
    program_result result = program_run((program_setting){.ranks = 4}, "run rates.yaml");
    assert_one_error(&result, 1, "numeric: rates.lr1e+30: step ");
    mr_runlog_reader *log = open_log("out/rates.lr0.001.h5", "completed");
    mr_runlog_close_reader(&log);
    program_free(&result);
}

static void write_budgets(const char *output)
{
    program_write("budgets.yaml",
                  "run: {output: %s}\nmodel: {config: tiny.json, init: random}\n"
                  "task: {pairs: 8}\nmethod: {name: mora}\n"
                  "parallel: {threads: 1}\n"
                  "train: {steps: 1, global_batch: 8}\neval: {items: 1}\n"
                  "matrix: {method.r: [60000, 8, 4, 33]}\n",
                  output);
}

static void the_runs_behind_a_failed_one_are_still_run(void **state)
{
    (void)state;
    write_budgets("sweep");
    program_result result = program_run((program_setting){.ranks = 4}, "run budgets.yaml");
    assert_one_error(&result, 1,
                     "argument: 2 of 4 runs failed, named above; the same command does what is "
                     "missing");
    assert_contains(result.err, "mora: warning: budgets.r60000: argument: method.r: expected at "
                                "most 32, the larger side of model.layers.0.self_attn.q_proj [32, "
                                "32], found 60000; the other runs go on\n");
    const char *end = strstr(result.err, "mora: failed: budgets.r60000: argument: method.r: ");
    assert_non_null(end);
    assert_contains(end, "\nmora: failed: budgets.r33: argument: method.r: ");
    assert_int_equal(program_lines_with(result.out, "(failed)"), 2);
    static const char *const logs[] = {"sweep/budgets.r8.h5", "sweep/budgets.r4.h5"};
    for (int i = 0; i < 2; i++) {
        mr_runlog_reader *log = open_log(logs[i], "completed");
        mr_runlog_close_reader(&log);
    }
    program_free(&result);
}

static void a_sweep_again_does_only_what_is_missing(void **state)
{
    (void)state;
    program_result again = program_run((program_setting){.ranks = 2}, "run budgets.yaml --json");
    assert_one_error(&again, 1, "argument: 2 of 4 runs failed");
    assert_int_equal(program_lines_with(again.err, "done already"), 2);
    json_t *rows = json_loads(again.out, 0, NULL);
    assert_int_equal(json_array_size(rows), 4);
    for (size_t i = 0; i < 4; i++) {
        const json_t *row = json_array_get(rows, i), *error = json_object_get(row, "error");
        if (i % 3 == 0)
            assert_contains(json_string_value(error), "argument: method.r: expected at most 32");
        else
            assert_true(json_is_null(error) && json_is_true(json_object_get(row, "skipped")));
    }
    json_decref(rows);
    program_free(&again);
    program_result two = program_run((program_setting){0}, "run budgets.yaml --index 3");
    assert_one_error(&two, 1, "argument: budgets.r33: method.r: expected at most 32");
    assert_int_equal(program_lines_with(two.err, "mora: warning"), 0);
    program_free(&two);
}

static void a_dry_run_goes_past_what_cannot_be_planned(void **state)
{
    (void)state;
    program_result plans = program_run((program_setting){.ranks = 2}, "run budgets.yaml --dry-run");
    assert_one_error(&plans, 1, "argument: 2 of 4 runs failed");
    assert_contains(plans.err, "mora: failed: budgets.r33: argument: method.r: ");
    assert_int_equal(program_lines_with(plans.out, "total"), 2);
    program_free(&plans);
}

static void a_request_to_stop_ends_a_sweep_and_names_what_failed(void **state)
{
    (void)state;
    write_budgets("asked");
    program_child child =
        program_start((program_setting){0},
                      "run budgets.yaml --set train.steps=1000000 --set eval.every=1000000");
    for (int i = 0; i < 10000 && access("asked/budgets.r8.h5", F_OK) != 0; i++)
        test_nap(0.01);
    kill(child.pid, SIGUSR2);
    program_result result = program_finish(&child);
    assert_int_equal(result.exit_code, 75);
    assert_contains(result.err, "mora: failed: budgets.r60000: argument: method.r: ");
    assert_contains(result.err, "mora: budgets.r8: stopped at step ");
    assert_null(strstr(result.err, "budgets.r33"));
    program_free(&result);
}

static void a_sweep_into_a_folder_that_cannot_be_made_ends_at_once(void **state)
{
    (void)state;
    program_write("seeds.yaml",
                  "run: {output: plain/out}\nmodel: {config: tiny.json, init: random}\n"
                  "task: {pairs: 8}\nmethod: {name: fft}\nparallel: {threads: 1}\n"
                  "train: {steps: 1, global_batch: 8}\neval: {items: 1}\n"
                  "matrix: {run.seed: [7, 8, 9, 10]}\n");
    program_result result = program_run((program_setting){.ranks = 2}, "run seeds.yaml");
    assert_one_error(&result, 1, "i/o: seeds.seed7: cannot make folder 'plain/out'");
    assert_contains(result.err, "mora: 3 more runs into 'plain/out' were not tried\n");
    assert_int_equal(program_lines_with(result.err, "cannot make folder"), 1);
    program_free(&result);
}

static void a_truncated_log_is_named_and_its_run_done_again(void **state)
{
    (void)state;
    size_t size;
    char *whole = program_read("out/made.h5", &size);
    program_make_folder("again");
    FILE *file = fopen("again/made.h5", "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(whole, 1, size / 2, file), size / 2);
    assert_int_equal(fclose(file), 0);
    program_result result = program_succeed(
        (program_setting){.ranks = 4}, "run base.yaml --set run.name=made --set run.output=again");
    assert_contains(result.err, "mora: warning: again/made.h5: not a sound run log: ");
    assert_contains(result.err, "the run is done again");
    assert_int_equal(program_lines_with(result.err, "mora: warning"), 1);
    mr_runlog_reader *log = open_log("again/made.h5", "completed");
    mr_runlog_close_reader(&log);
    program_free(&result);
    mr_free(whole);
}

/* A file that is no log at all must not be taken for one. */
static void a_log_that_is_none_is_named_and_its_run_done_again(void **state)
{
    (void)state;
    program_make_folder("other");
    program_write("other/made.h5", "not HDF5\n");
    program_result result = program_succeed(
        (program_setting){0}, "run base.yaml --set run.name=made --set run.output=other");
    assert_contains(result.err, "mora: warning: other/made.h5: not a sound run log: ");
    mr_runlog_reader *log = open_log("other/made.h5", "completed");
    mr_runlog_close_reader(&log);
    program_free(&result);
}

/* Rank 2 starts elsewhere, so the relative folder of the model is missing for it alone. */
static void one_failing_rank_of_four_is_named(void **state)
{
    (void)state;
    program_make_folder("elsewhere");
    program_write("astray.sh", "#!/bin/sh\n"
                               "if [ \"$OMPI_COMM_WORLD_RANK\" = 2 ]; then cd elsewhere; fi\n"
                               "exec \"$@\"\n");
    assert_int_equal(chmod("astray.sh", 0755), 0);
    program_result result =
        program_run((program_setting){.ranks = 4, .wrapper = "./astray.sh"},
                    PRETRAINED "model --set model.config= --set run.name=astray");
    assert_one_error(&result, 1,
                     "i/o: astray: rank 2 of 4 (1 failed): cannot open the model folder 'model': "
                     "No such file or directory");
    program_free(&result);
}

static void three_failing_ranks_of_four_are_counted(void **state)
{
    (void)state;
    program_write("apart.sh", "#!/bin/sh\n"
                              "if [ \"$OMPI_COMM_WORLD_RANK\" != 0 ]; then cd elsewhere; fi\n"
                              "exec \"$@\"\n");
    assert_int_equal(chmod("apart.sh", 0755), 0);
    program_result result =
        program_run((program_setting){.ranks = 4, .wrapper = "./apart.sh"},
                    PRETRAINED "model --set model.config= --set run.name=apart");
    assert_one_error(&result, 1, "i/o: apart: rank 1 of 4 (3 failed): ");
    program_free(&result);
}

static void a_failed_run_keeps_the_log_that_was_there(void **state)
{
    (void)state;
    size_t size, size_after;
    char *before = program_read("out/made.h5", &size);
    program_result failed = program_run((program_setting){.ranks = 2}, PRETRAINED
                                        "nowhere --set run.name=made --set train.lr=0.5");
    assert_int_equal(failed.exit_code, 1);
    char *after = program_read("out/made.h5", &size_after);
    assert_int_equal(size, size_after);
    assert_memory_equal(before, after, size);
    program_free(&failed);
    mr_free(before);
    mr_free(after);
}

int main(void)
{
    const struct CMUnitTest others[] = {
        cmocka_unit_test(a_failed_run_leaves_its_reason_in_the_log),
        cmocka_unit_test(a_diverged_run_is_recorded_and_fails),
        cmocka_unit_test(the_runs_behind_a_diverged_one_are_still_run),
        cmocka_unit_test(the_runs_behind_a_failed_one_are_still_run),
        cmocka_unit_test(a_sweep_again_does_only_what_is_missing),
        cmocka_unit_test(a_dry_run_goes_past_what_cannot_be_planned),
        cmocka_unit_test(a_request_to_stop_ends_a_sweep_and_names_what_failed),
        cmocka_unit_test(a_sweep_into_a_folder_that_cannot_be_made_ends_at_once),
        cmocka_unit_test(a_truncated_log_is_named_and_its_run_done_again),
        cmocka_unit_test(a_log_that_is_none_is_named_and_its_run_done_again),
        cmocka_unit_test(one_failing_rank_of_four_is_named),
        cmocka_unit_test(three_failing_ranks_of_four_are_counted),
        cmocka_unit_test(a_failed_run_keeps_the_log_that_was_there),
    };
    enum { OTHERS = sizeof others / sizeof others[0] };
    struct CMUnitTest tests[FAILURES + OTHERS];
    for (int i = 0; i < FAILURES; i++)
        tests[i] = (struct CMUnitTest){.name = failures[i].name,
                                       .test_func = fails_with_one_message,
                                       .initial_state = (void *)(uintptr_t)&failures[i]};
    memcpy(tests + FAILURES, others, sizeof others);
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
