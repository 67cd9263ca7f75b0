#include "base/memory.h"
#include "data_files.h"
#include "logs.h"
#include "program.h"
#include "store/runlog_read.h"

#include <jansson.h>

#include <unistd.h>

static const program_setting alone = {.ranks = 0};

/* A hundred documents a line, of 40 tokens each with EOS. */
static void write_documents(const char *path)
{
    char line[64];
    data_write(path, "", 0);
    for (int i = 0; i < 100; i++) {
        int length = snprintf(line, sizeof line, "document %02d of a hundred that are alike\n", i);
        data_append(path, line, (size_t)length);
    }
}

/* The hash of a folder as logs of runs on it have it. */
static void hash_of(const char *folder, char out[32])
{
    program_result result = program_succeed(alone, "info %s --json", folder);
    json_t *root = json_loads(result.out, 0, NULL);
    const char *hash = json_string_value(json_object_get(root, "data_hash"));
    assert_non_null(hash);
    snprintf(out, 32, "%s", hash);
    json_decref(root);
    program_free(&result);
}

static void another_spelling_of_a_path_is_the_same_data(void **state)
{
    (void)state;
    char plain[32], spelled[32], changed[32];
    write_documents("spelled.txt");
    program_result result = program_succeed(alone, "data prepare spelled.txt --to spelled-a");
    program_free(&result);
    result = program_succeed(alone, "data prepare ./spelled.txt --to spelled-b");
    program_free(&result);
    data_append("spelled.txt", "!", 1);
    result = program_succeed(alone, "data prepare spelled.txt --to spelled-c");
    program_free(&result);
    hash_of("spelled-a", plain);
    hash_of("spelled-b", spelled);
    hash_of("spelled-c", changed);
    assert_string_equal(plain, spelled);
    assert_string_not_equal(plain, changed);
}

static void write_run(void)
{
    program_write("run.yaml", "run: {name: one, seed: 3, output: out}\n"
                              "model: {config: tiny.json, init: random}\n"
                              "task: {name: pretrain}\n"
                              "method: {name: fft}\n"
                              "train: {steps: 2, seq_len: 16, global_batch: 4, micro_batch: 1, "
                              "lr: 0.003}\n"
                              "parallel: {threads: 1}\n");
}

/* Runs on a folder, which must be refused with a message, before any log is written. */
static void run_refused(int ranks, const char *arguments, const char *message)
{
    program_result result =
        program_run((program_setting){.ranks = ranks}, "run run.yaml %s", arguments);
    assert_contains(result.err, message);
    assert_int_equal(result.exit_code, 1);
    assert_int_equal(access("out/one.h5", F_OK), -1);
    program_free(&result);
}

static void a_changed_token_is_found_before_training(void **state)
{
    (void)state;
    size_t size;
    write_run();
    write_documents("changed.txt");
    program_result result =
        program_succeed(alone, "data prepare changed.txt --to changed --heldout 0.2");
    program_free(&result);
    const char *const shard = "changed/heldout-00000-000000.bin";
    char *tokens = program_read(shard, &size);
    tokens[20] ^= 1; /* an id of the vocabulary still */
    data_write(shard, tokens, size);
    mr_free(tokens);
    for (int ranks = 0; ranks <= 2; ranks += 2)
        run_refused(ranks, "--set task.data=changed",
                    "task.data: changed/heldout-00000-000000.bin: damaged: its SHA-256 is ");
}

static void a_shard_that_changes_in_a_run_ends_it_with_its_name(void **state)
{
    (void)state;
    static const char shard[] = "moving/train-00000-000000.bin";
    static const char *const changes[] = {
        "truncate -s 0 moving/train-00000-000000.bin", "rm moving/train-00000-000000.bin",
        "printf no > moving/new && mv moving/new moving/train-00000-000000.bin"};
    write_run();
    write_documents("moving.txt");
    for (size_t c = 0; c < sizeof changes / sizeof changes[0]; c++) {
        data_shell("rm -rf moving out");
        program_result result = program_succeed(alone, "data prepare moving.txt --to moving");
        program_free(&result);
        program_child child =
            program_start((program_setting){.ranks = c == 0 ? 2 : 0},
                          "run run.yaml --set task.data=moving --set train.steps=100000 --set "
                          "checkpoint.every_minutes=0");
        data_shell("for i in $(seq 600); do test -s out/one.h5 && break; sleep 0.05; done; %s",
                   changes[c]);
        result = program_finish(&child);
        assert_int_equal(result.exit_code, 1);
        assert_contains(result.err, "'moving' has changed since it was first read: ");
        assert_contains(result.err, shard);
        assert_int_equal(program_lines_with(result.err, "error:"), 1);
        program_free(&result);
    }
    data_shell("rm -rf out");
}

static void an_evaluation_of_nothing_is_refused(void **state)
{
    (void)state;
    write_run();
    write_documents("whole.txt");
    program_result result = program_succeed(alone, "data prepare whole.txt --to whole --heldout 0");
    program_free(&result);
    run_refused(0, "--set task.data=whole --set eval.every=1 --set eval.items=301",
                "eval.every: nothing to evaluate on: task.data 'whole' has 0 held-out tokens, "
                "which is no sequence of train.seq_len 16; prepare it with a larger --heldout, or "
                "take eval.every out");
    run_refused(0, "--set task.data=whole --set eval.at_steps=[2]",
                "eval.at_steps: nothing to evaluate on: task.data 'whole'");
    result = program_succeed(alone, "run run.yaml --set task.data=whole --set run.name=unasked");
    program_free(&result);
}

static void an_evaluation_is_the_same_on_any_number_of_ranks(void **state)
{
    (void)state;
    static const char *const logs[] = {"out/ranks0.h5", "out/ranks2.h5", "out/ranks4.h5"};
    int64_t count;
    write_run();
    write_documents("scored.txt");
    program_result result =
        program_succeed(alone, "data prepare scored.txt --to scored --heldout 0.3");
    program_free(&result);
    for (int ranks = 0; ranks <= 4; ranks += 2) {
        result = program_succeed((program_setting){.ranks = ranks},
                                 "run run.yaml --set task.data=scored --set eval.at_steps=[2] "
                                 "--set eval.items=7 --set run.name=ranks%d",
                                 ranks);
        program_free(&result);
    }
    double *tokens = log_series(logs[0], "/eval/pretrain/tokens", &count);
    assert_int_equal(count, 1);
    assert_true(tokens[0] == 7 * 15);
    mr_free(tokens);
    for (int i = 1; i < 3; i++)
        log_assert_same_bits(logs[0], logs[i], "/eval/pretrain/loss", 0);
}

/* However many are scored at once, down to one of a micro-batch of four. */
static void an_evaluation_is_the_same_in_batches_of_any_size(void **state)
{
    (void)state;
    static const int batches[] = {256, 1, 3};
    write_run();
    write_documents("batches.txt");
    program_result result =
        program_succeed(alone, "data prepare batches.txt --to batches --heldout 0.3");
    program_free(&result);
    for (int i = 0; i < 6; i++) {
        char log[64];
        result = program_succeed((program_setting){.ranks = i % 2 ? 2 : 0},
                                 "run run.yaml --set task.data=batches --set train.global_batch=8 "
                                 "--set train.micro_batch=4 --set eval.at_steps=[2] "
                                 "--set eval.batch=%d --set run.name=batches%d",
                                 batches[i / 2], i);
        program_free(&result);
        snprintf(log, sizeof log, "out/batches%d.h5", i);
        log_assert_same_bits("out/batches0.h5", log, "/eval/pretrain/loss", 0);
    }
}

static void the_log_says_what_scores_are_and_what_was_known_before(void **state)
{
    (void)state;
    int64_t count;
    write_run();
    write_documents("before.txt");
    program_result result =
        program_succeed(alone, "data prepare before.txt --to before --heldout 0.3");
    program_free(&result);
    result = program_succeed(alone, "run run.yaml --set task.data=before --set run.name=before "
                                    "--set eval.at_start=true --set eval.every=1");
    program_free(&result);
    double *steps = log_series("out/before.h5", "/eval/pretrain/step", &count);
    double *ppl = log_series("out/before.h5", "/eval/pretrain/perplexity", &count);
    assert_int_equal(count, 3);
    for (int i = 0; i < 3; i++)
        assert_true(steps[i] == i);
    assert_true(ppl[0] > ppl[2]);
    mr_free(steps);
    mr_free(ppl);
    mr_runlog_reader *reader = NULL;
    mr_runlog_about about;
    must(mr_runlog_open("out/before.h5", &reader));
    must(mr_runlog_tells(reader, "pretrain", NULL, &about));
    assert_string_equal(about.kind, "predict");
    assert_string_equal(about.part, "heldout");
    assert_string_equal(about.primary, "perplexity");
    must(mr_runlog_tells(reader, "pretrain", "perplexity", &about));
    assert_true(about.told && about.lower_is_better);
    assert_string_equal(about.unit, "ppl");
    must(mr_runlog_tells(reader, "pretrain", "nothing", &about));
    assert_false(about.told);
    mr_runlog_close_reader(&reader);
}

static void rates_are_chosen_on_one_part_and_reported_on_another(void **state)
{
    (void)state;
    int64_t count;
    write_run();
    write_documents("parts.txt");
    program_result result =
        program_succeed(alone, "data prepare parts.txt --to parts --heldout 0.3");
    program_free(&result);
    program_write("parts.yaml", "run: {name: parts, output: parts-out}\n"
                                "model: {config: tiny.json, init: random}\n"
                                "task: {name: pretrain, data: parts}\n"
                                "method: {name: fft}\n"
                                "train: {steps: 2, seq_len: 16, global_batch: 4, micro_batch: 2}\n"
                                "eval:\n"
                                "  sets:\n"
                                "    - {kind: predict, name: validation, part: validation}\n"
                                "    - {kind: predict, name: pretrain, part: test, items: 5}\n"
                                "matrix: {train.lr: [1e-3, 1e-2]}\n");
    result = program_succeed(alone, "run parts.yaml");
    program_free(&result);
    for (int i = 0; i < 2; i++) {
        static const char *const sets[] = {"validation", "test"};
        const char *log = i ? "parts-out/parts.lr0.01.h5" : "parts-out/parts.lr0.001.h5";
        mr_runlog_reader *reader = NULL;
        mr_runlog_about about;
        must(mr_runlog_open(log, &reader));
        for (int k = 0; k < 2; k++) {
            must(mr_runlog_tells(reader, k ? "pretrain" : "validation", NULL, &about));
            assert_string_equal(about.part, sets[k]);
        }
        mr_runlog_close_reader(&reader);
        double *tokens = log_series(log, "/eval/pretrain/tokens", &count);
        assert_true(count == 1 && tokens[0] == 5 * 15);
        mr_free(tokens);
    }
    result = program_succeed(alone, "table parts-out --paper table3");
    assert_contains(result.out, "the rate with the best mean on the validation part");
    assert_contains(result.out, "perplexity is logged as ppl, lower is better");
    program_free(&result);
    static const char *const wrong[][2] = {
        {"[{kind: generate}]",
         "eval.sets: item 1 (generate): kind generate of part train: the task has no prompts"},
        {"[{kind: predict, part: test}, {kind: predict}]",
         "eval.sets: items 1 and 2 both have the name \"predict\""},
    };
    for (int i = 0; i < 2; i++) {
        char yaml[512];
        snprintf(yaml, sizeof yaml,
                 "run: {name: wrong, output: parts-out}\n"
                 "model: {config: tiny.json, init: random}\n"
                 "task: {name: pretrain, data: parts}\n"
                 "method: {name: fft}\n"
                 "train: {steps: 2, seq_len: 16, global_batch: 4}\n"
                 "eval: {sets: %s}\n",
                 wrong[i][0]);
        program_write("wrong.yaml", yaml);
        result = program_run(alone, "run wrong.yaml");
        assert_int_equal(result.exit_code, 1);
        assert_contains(result.err, wrong[i][1]);
        program_free(&result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(another_spelling_of_a_path_is_the_same_data),
        cmocka_unit_test(a_changed_token_is_found_before_training),
        cmocka_unit_test(a_shard_that_changes_in_a_run_ends_it_with_its_name),
        cmocka_unit_test(an_evaluation_of_nothing_is_refused),
        cmocka_unit_test(an_evaluation_is_the_same_on_any_number_of_ranks),
        cmocka_unit_test(an_evaluation_is_the_same_in_batches_of_any_size),
        cmocka_unit_test(the_log_says_what_scores_are_and_what_was_known_before),
        cmocka_unit_test(rates_are_chosen_on_one_part_and_reported_on_another),
    };
    return cmocka_run_group_tests(tests, program_enter_folder, folder_leave);
}
