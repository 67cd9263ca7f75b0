/* Published evaluations and general text within runs: the same rows and scores as `mora eval` gives
 * afterwards, on any number of ranks, and behind what was broken off. */

#include "base/file.h"
#include "base/text.h"
#include "logs.h"
#include "program.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const program_setting alone = {0};

enum { TEXTS = 120, STEPS = 4 };

#define WRITE                                                                                      \
    "sets:\n"                                                                                      \
    "  - name: write\n"                                                                            \
    "    about: texts\n"                                                                           \
    "    source: nobody\n"                                                                         \
    "    version: 2\n"                                                                             \
    "    items: [t.txt]\n"                                                                         \
    "    read: lines\n"                                                                            \
    "    item: [{field: line}]\n"                                                                  \
    "    gold: line\n"                                                                             \
    "    rules: [first_line, adaptllm_ner]\n"                                                      \
    "    stops: [\"e\"]\n"

static void write_texts(void)
{
    mr_text text = {0};
    for (int i = 0; i < TEXTS; i++)
        mr_text_add(&text, "text %d\n", i);
    program_write("t.txt", "%s", mr_text_get(&text));
    mr_text_free(&text);
}

static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_write("ask.yaml", "sets:\n"
                              "  - name: ask\n"
                              "    about: questions\n"
                              "    source: nobody\n"
                              "    version: 3\n"
                              "    items: [q.csv]\n"
                              "    read: csv\n"
                              "    class: kind\n"
                              "    item: [{field: q}, {text: \"?\"}]\n"
                              "    options: [yes, never]\n"
                              "    gold: a\n"
                              "    metric: accuracy\n");
    program_write("q.csv", "q,a,kind\nis it,yes,x\nwas it so,never,y\n\"who, me\",yes,x\nare we,"
                           "yes,x\nso,never,y\nor,never,x\nif it be,yes,y\nand,yes,y\nbut,never,x\n"
                           "no,yes,x\n");
    program_write("write.yaml", WRITE "    new_tokens: 24\n");
    program_write("long.yaml", WRITE "    new_tokens: 128\n");
    write_texts();
    program_write("general.txt",
                  "the cat sat on the mat\nand the dog lay on the wood\nall day long "
                  "they saw nothing but the sun\n");
    program_result made =
        program_succeed(alone, "data prepare general.txt --to general --heldout 0");
    program_free(&made);
    program_write("run.yaml",
                  "run: {name: one, seed: 3, output: out}\n"
                  "model: {config: tiny.json, init: random}\n"
                  "task: {name: uuid, pairs: 8}\n"
                  "method: {name: lora, r: 4, lora_alpha: 8}\n"
                  "train: {steps: 4, global_batch: 8, micro_batch: 2, lr: 0.1}\n"
                  "eval:\n"
                  "  every: 2\n"
                  "  sets:\n"
                  "    - {kind: benchmark, set: ask.yaml, data: ./}\n"
                  "    - {kind: benchmark, set: write.yaml, data: ., when: ends, batch: 1}\n"
                  "    - {kind: predict, name: general, data: general, part: train, when: ends, "
                  "items: 2}\n"
                  "    - {kind: generate, items: 2}\n"
                  "checkpoint: {every_minutes: 0}\n"
                  "parallel: {threads: 1}\n");
    return 0;
}

/* Behind the path of the log in a head, which is the one thing that says where a run is. */
static void assert_same_rows(const char *a, const char *b)
{
    char *one = program_read(a, NULL), *other = program_read(b, NULL);
    const char *x = strstr(one, "\"weights\""), *y = strstr(other, "\"weights\"");
    assert_non_null(x);
    assert_non_null(y);
    assert_string_equal(x, y);
    mr_free(one);
    mr_free(other);
}

static void steps_are(const char *set, int count, const double *steps)
{
    char dataset[64];
    int64_t found;
    snprintf(dataset, sizeof dataset, "/eval/%s/step", set);
    double *series = log_series("out/one.h5", dataset, &found);
    assert_int_equal(found, count);
    for (int i = 0; i < count; i++)
        assert_true(series[i] == steps[i]);
    mr_free(series);
}

static void sets_are_scored_when_they_are_due(void **state)
{
    (void)state;
    program_result result = program_succeed(alone, "run run.yaml");
    steps_are("ask", 1, (double[]){STEPS});
    steps_are("write", 2, (double[]){0, STEPS});
    steps_are("general", 2, (double[]){0, STEPS});
    steps_are("generate", 2, (double[]){2, STEPS});
    int64_t count;
    double *loss = log_series("out/one.h5", "/eval/general/loss", &count);
    char line[128];
    snprintf(line, sizeof line, "one: general: loss %.4g before, %.4g after (%+.3g nats a token)",
             loss[0], loss[1], loss[1] - loss[0]);
    assert_contains(result.err, line);
    assert_contains(result.err, "one: write: first_line 0 before, 0 after (+0)\n");
    assert_int_equal(log_rows("out/one.h5", "/eval/write/adaptllm_ner"), 2);
    mr_free(loss);
    program_free(&result);
}

/* What is asked of a run afterwards is the same in every byte, scores included. */
static void rows_are_those_of_an_evaluation_afterwards(void **state)
{
    (void)state;
    program_result result = program_succeed(alone, "eval out/one.h5 --set ask.yaml --data ./ "
                                                   "--threads 1 --out ask.jsonl");
    program_free(&result);
    file_assert_same("ask.jsonl", "out/one.ask.rows.jsonl");
    result = program_succeed(alone, "eval out/one.h5 --set write.yaml --data . --threads 1 --out "
                                    "write.jsonl");
    program_free(&result);
    file_assert_same("write.jsonl", "out/one.write.rows.jsonl");
    char *rows = program_read("ask.jsonl", NULL);
    int64_t count;
    double *value = log_series("out/one.h5", "/eval/ask/accuracy", &count);
    double *error = log_series("out/one.h5", "/eval/ask/accuracy_standard_error", &count);
    const char *scores = strstr(rows, "\"scores\":[{\"name\":\"accuracy\",\"value\":");
    assert_non_null(scores);
    assert_true(strtod(strstr(scores, "\"value\":") + 8, NULL) == value[0]);
    assert_true(strtod(strstr(scores, "\"standard_error\":") + 17, NULL) == error[0]);
    mr_free(value);
    mr_free(error);
    mr_free(rows);
    result = program_succeed(alone, "info ask.jsonl");
    assert_contains(result.out, "rows of an evaluation");
    assert_contains(result.out, "  ask        3  nobody  accuracy     10    10  yes\n");
    assert_contains(result.out, "  ask  kind  x         6  [");
    program_free(&result);
}

static void rows_are_the_same_on_any_number_of_ranks(void **state)
{
    (void)state;
    for (int ranks = 2; ranks <= 4; ranks *= 2) {
        program_result result = program_succeed((program_setting){.ranks = ranks},
                                                "run run.yaml --set run.output=out%d", ranks);
        program_free(&result);
        char path[64];
        snprintf(path, sizeof path, "out%d/one.ask.rows.jsonl", ranks);
        assert_same_rows("out/one.ask.rows.jsonl", path);
        snprintf(path, sizeof path, "out%d/one.write.rows.jsonl", ranks);
        assert_same_rows("out/one.write.rows.jsonl", path);
        snprintf(path, sizeof path, "out%d/one.h5", ranks);
        log_assert_same_bits("out/one.h5", path, "/eval/ask/accuracy", 0);
        log_assert_same_bits("out/one.h5", path, "/eval/ask/accuracy_standard_error", 0);
        log_assert_same_bits("out/one.h5", path, "/eval/general/loss", 0);
    }
}

static void prints(const char *arguments, const char *const *parts)
{
    program_result result = program_succeed(alone, "%s", arguments);
    for (; *parts; parts++)
        assert_contains(result.out, *parts);
    program_free(&result);
}

static void what_sets_are_is_told(void **state)
{
    (void)state;
    prints("run run.yaml --dry-run",
           (const char *const[]){"  evaluations    ask: benchmark, 10 items, 1 time\n"
                                 "                 write: benchmark, 120 items, 2 times\n"
                                 "                 general: predict, 1 items, 2 times\n"
                                 "                 generate: generate, 2 items, 2 times\n",
                                 NULL});
    prints("info out/one.h5",
           (const char *const[]){
               "accuracy_standard_error",
               "  ask      ask          3  nobody  accuracy                      .   "
               "     out/one.ask.rows.jsonl\n",
               "  general  -            -  -       -                             "
               "general  out/one.general.rows.jsonl\n",
               "  write    write        2  nobody  first_line 1, adaptllm_ner 1  .   "
               "     out/one.write.rows.jsonl\n",
               "  ask  kind  x         6  [", NULL});
    prints(
        "compare out/one.h5 out2/one.h5",
        (const char *const[]){"ask: score of an answer, 0 to 1, by the first rule; 0 of 10 items "
                              "differ\n",
                              "general: mean loss of a sequence", NULL});
    prints("compare out/one.write.rows.jsonl out2/one.write.rows.jsonl",
           (const char *const[]){"A  out/one.write.rows.jsonl: rows of out/one.h5\n",
                                 "write first_line: ", "write adaptllm_ner: ", NULL});
    prints("compare out/one.general.rows.jsonl out2/one.general.rows.jsonl",
           (const char *const[]){"general: mean loss of a sequence, nats a scored token; 0 of 1 "
                                 "items differ\n",
                                 NULL});
    prints("info out/one.generate.rows.jsonl",
           (const char *const[]){"rows of an evaluation",
                                 "  generate  -        -       accuracy      2     2  yes\n",
                                 NULL});
}

/* Waits until a file has so many bytes. */
static void await(const char *path, long bytes)
{
    struct stat about;
    for (int i = 0; i < 20000; i++) {
        if (stat(path, &about) == 0 && about.st_size >= bytes) return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    fail_msg("%s never came to %ld bytes", path, bytes);
}

/* Broken off in the middle of the last evaluation a run goes on behind the rows that are there, and
 * neither trains nor asks again. */
static void an_evaluation_goes_on_behind_its_rows(void **state)
{
    (void)state;
    static const struct {
        int signal, exit_code;
        const char *name;
    } ways[] = {{SIGKILL, 128 + SIGKILL, "killed"}, {SIGTERM, 75, "stopped"}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char rows[64], name[64];
        snprintf(name, sizeof name, "run.name=%s", ways[i].name);
        snprintf(rows, sizeof rows, "out/%s.write.rows.jsonl", ways[i].name);
        /* At step 0: rows of the start, and of the end. */
        for (int end = 0; end < 2; end++) {
            const program_setting setting = {.ranks = i == 0 && end == 0 ? 2 : 0};
            program_child child = program_start(setting, "run run.yaml --set %s", name);
            if (end) {
                char ask[64];
                snprintf(ask, sizeof ask, "out/%s.ask.rows.jsonl", ways[i].name);
                await(ask, 1);
            }
            await(rows, 2000);
            if (setting.ranks > 0) { /* one of two, at the start */
                program_kill_rank(&child);
                continue;
            }
            kill(child.pid, ways[i].signal);
            program_result result = program_finish(&child);
            if (result.exit_code != 0) assert_int_equal(result.exit_code, ways[i].exit_code);
            program_free(&result);
        }
        program_result result = program_succeed(alone, "run run.yaml --set %s", name);
        program_free(&result);
        assert_same_rows(rows, "out/one.write.rows.jsonl");
        char log[64];
        snprintf(log, sizeof log, "out/%s.h5", ways[i].name);
        log_assert_same_bits("out/one.h5", log, "/eval/write/step", 0);
        log_assert_same_bits("out/one.h5", log, "/eval/general/loss", 0);
        log_assert_same_bits("out/one.h5", log, "/eval/ask/accuracy", 0);
    }
}

/* Waits for rows of a set, and kills the run or one of its ranks. Returns how many rows are left of
 * a set that is not complete, else -1. */
static int64_t kill_within(const char *name, const char *set, int ranks, long bytes)
{
    char path[128];
    snprintf(path, sizeof path, "out/%s.%s.rows.jsonl", name, set);
    program_child child = program_start((program_setting){.ranks = ranks},
                                        "run several.yaml --set run.name=%s", name);
    await(path, bytes);
    if (ranks > 0) {
        program_kill_rank(&child);
    } else {
        kill(child.pid, SIGKILL);
        program_result result = program_finish(&child);
        program_free(&result);
    }
    size_t length;
    char *rows = program_read(path, &length);
    while (length > 0 && rows[length - 1] != '\n')
        rows[--length] = '\0';
    const int64_t count = program_lines_with(rows, "\"item\":");
    const bool complete = program_lines_with(rows, "\"scores\":") > 0;
    mr_free(rows);
    return complete ? -1 : count;
}

static void assert_same_several(const char *name)
{
    static const char *const sets[] = {"ask", "general", "copy"};
    static const char *const found[] = {"/eval/general/loss", "/eval/general/tokens",
                                        "/eval/copy/accuracy", "/eval/copy/exact"};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        char path[128], whole[64];
        snprintf(path, sizeof path, "out/%s.%s.rows.jsonl", name, sets[i]);
        snprintf(whole, sizeof whole, "out/whole.%s.rows.jsonl", sets[i]);
        assert_same_rows(path, whole);
    }
    char log[128];
    snprintf(log, sizeof log, "out/%s.h5", name);
    for (size_t i = 0; i < sizeof found / sizeof *found; i++)
        log_assert_same_bits("out/whole.h5", log, found[i], 0);
}

/* So do sets of data, killed on some ranks and gone on with on others. */
static void every_set_goes_on_behind_its_rows(void **state)
{
    (void)state;
    static const char *const sets[] = {"general", "copy"};
    int within = 0;
    FILE *text = fopen("lines.txt", "w");
    assert_non_null(text);
    for (int i = 0; i < 4000; i++)
        fprintf(text, "line %d of %d lines of text\n", i * 7919 % 4001, i);
    assert_int_equal(fclose(text), 0);
    program_result result = program_succeed(alone, "data prepare lines.txt --to lines --heldout 0");
    program_free(&result);
    program_write("several.yaml",
                  "run: {name: whole, seed: 3, output: out}\n"
                  "model: {config: tiny.json, init: random}\n"
                  "task: {name: uuid, pairs: 201}\n"
                  "method: {name: lora, r: 4, lora_alpha: 8}\n"
                  "train: {steps: 3, global_batch: 8, micro_batch: 4, lr: 0.1}\n"
                  "eval:\n"
                  "  sets:\n"
                  "    - {kind: benchmark, set: ask.yaml, data: ./}\n"
                  "    - {kind: predict, name: general, data: lines, part: train, batch: 3}\n"
                  "    - {kind: generate, name: copy, batch: 2}\n"
                  "parallel: {threads: 1}\n");
    result = program_succeed(alone, "run several.yaml");
    program_free(&result);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        for (int ranks = 0; ranks <= 2; ranks += 2) {
            char name[32], whole[64], there[64];
            struct stat about;
            snprintf(name, sizeof name, "%s%d", sets[i], ranks);
            snprintf(whole, sizeof whole, "out/whole.%s.rows.jsonl", sets[i]);
            assert_int_equal(stat(whole, &about), 0);
            const int64_t rows = kill_within(name, sets[i], ranks, about.st_size / 3);
            result = program_succeed((program_setting){.ranks = ranks > 0 ? 0 : 2},
                                     "run several.yaml --set run.name=%s", name);
            snprintf(there, sizeof there, "%s: %lld of ", sets[i], (long long)rows);
            if (rows > 0) assert_contains(result.err, there);
            if (rows > 0) assert_contains(result.err, " items are there already\n");
            within += rows > 0;
            program_free(&result);
            assert_same_several(name);
        }
    print_message("%d of 4 kills were within a set\n", within);
    assert_true(within >= 2);
}

/* What a disk does not take of the rows of a short set costs the run nothing else. */
static void a_short_set_does_without_rows(void **state)
{
    (void)state;
    program_write("rowless.sh",
                  "#!/bin/sh\nMR_FAULT=write:%d:general.rows MR_FAULT_NUMBER=100 "
                  "LD_PRELOAD=%s exec \"$@\"\n",
                  ENOSPC, MR_TEST_FAULTS);
    assert_int_equal(chmod("rowless.sh", 0700), 0);
    for (int ranks = 0; ranks <= 2; ranks += 2) {
        char name[32], log[64];
        snprintf(name, sizeof name, "rowless%d", ranks);
        snprintf(log, sizeof log, "out/%s.h5", name);
        program_result result =
            program_succeed((program_setting){.ranks = ranks, .wrapper = "./rowless.sh"},
                            "run several.yaml --set run.name=%s", name);
        assert_contains(result.err,
                        "warning: general: asked again, without rows: cannot write to 'out/");
        program_free(&result);
        log_assert_same_bits("out/whole.h5", log, "/eval/general/loss", 0);
        log_assert_same_bits("out/whole.h5", log, "/eval/general/tokens", 0);
    }
}

/* The disk fails for the rows alone, at a known row: what is gone on behind is known, too. */
static void rows_that_are_there_are_not_asked_again(void **state)
{
    (void)state;
    program_write("broken.sh",
                  "#!/bin/sh\nMR_FAULT=write:%d:write.rows MR_FAULT_NUMBER=%d "
                  "LD_PRELOAD=%s exec \"$@\"\n",
                  ENOSPC, TEXTS + 2 + 52, MR_TEST_FAULTS);
    assert_int_equal(chmod("broken.sh", 0700), 0);
    program_result result =
        program_run((program_setting){.wrapper = "./broken.sh"},
                    "run run.yaml --set run.name=full --set checkpoint.every_steps=3");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err, "cannot write to 'out/full.write.rows.jsonl'");
    program_free(&result);
    result = program_succeed(alone, "run run.yaml --set run.name=full");
    assert_contains(result.err, "full: goes on at step 4 from");
    assert_contains(result.err, "write: 50 of 120 items are there already");
    assert_same_rows("out/full.write.rows.jsonl", "out/one.write.rows.jsonl");
    program_free(&result);
}

/* Breaks a run off in its last evaluation, with some rows. */
static void break_off(const char *name)
{
    program_result result = program_run((program_setting){.wrapper = "./broken.sh"},
                                        "run run.yaml --set run.name=%s", name);
    assert_int_equal(result.exit_code, 1);
    program_free(&result);
}

/* What was asked is not what is asked now, or the rows are damaged: they are not gone on with. */
static void rows_of_another_evaluation_are_put_aside(void **state)
{
    (void)state;
    break_off("other");
    char *set = program_read("write.yaml", NULL);
    char *version = strstr(set, "version: 2");
    version[9] = '9';
    program_write("write.yaml", "%s", set);
    program_result result = program_succeed(alone, "run run.yaml --set run.name=other");
    assert_contains(result.err, "warning: out/other.write.rows.jsonl:1: it is of another "
                                "evaluation: \"version\" is 2 there, 9 here\n");
    assert_contains(result.err, "out/other.write.rows.jsonl kept as "
                                "out/other.write.rows.jsonl.previous.1\n");
    program_free(&result);
    version[9] = '2';
    program_write("write.yaml", "%s", set);
    mr_free(set);
    break_off("damaged");
    char *rows = program_read("out/damaged.write.rows.jsonl", NULL);
    FILE *file = fopen("out/damaged.write.rows.jsonl", "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, strstr(rows, "\"item\":\"3\"") - rows, SEEK_SET), 0);
    assert_int_equal(fputc('!', file), '!');
    assert_int_equal(fclose(file), 0);
    mr_free(rows);
    result = program_succeed(alone, "run run.yaml --set run.name=damaged");
    assert_contains(result.err, "out/damaged.write.rows.jsonl:5: cannot read JSON");
    assert_same_rows("out/damaged.write.rows.jsonl", "out/one.write.rows.jsonl");
    program_free(&result);
}

/* Rows of other weights are another run's: they are kept under another name. */
static void rows_of_others_are_put_aside(void **state)
{
    (void)state;
    program_result result =
        program_succeed(alone, "run run.yaml --set run.name=full --resume never");
    assert_contains(result.err, "out/full.write.rows.jsonl kept as out/full.write.rows.jsonl."
                                "previous.1");
    assert_same_rows("out/full.write.rows.jsonl", "out/full.write.rows.jsonl.previous.1");
    program_free(&result);
}

/* Scores before and after are of the same items, or none are told. */
static void a_run_does_not_go_on_with_other_items(void **state)
{
    (void)state;
    const char *const moved = "run run.yaml --set run.name=moved";
    break_off("moved");
    program_write("general2.txt", "nothing of this is what was read before\nand there is more\n"
                                  "of what nobody has read or written until now, all day long\n");
    assert_int_equal(rename("general", "general.kept"), 0);
    program_result result =
        program_succeed(alone, "data prepare general2.txt --to general --heldout 0");
    program_free(&result);
    program_fail(alone, 1, "eval: set general: what is in 'general' now (items_hash ", moved);
    assert_int_equal(rename("general", "general.other"), 0);
    assert_int_equal(rename("general.kept", "general"), 0);
    char *texts = program_read("t.txt", NULL);
    texts[0] = 'n';
    program_write("t.txt", "%s", texts);
    program_fail(alone, 1, "eval: set write: what is in '.' now (items_hash ", moved);
    texts[0] = 't';
    program_write("t.txt", "%s", texts);
    mr_free(texts);
    result = program_succeed(alone, moved);
    assert_contains(result.err, "general: loss ");
    program_free(&result);
    program_write("text.yaml",
                  "run: {name: text, output: out}\n"
                  "model: {config: tiny.json, init: random}\n"
                  "task: {name: uuid, pairs: 8}\n"
                  "train: {steps: 1, global_batch: 8, micro_batch: 8}\n"
                  "eval: {sets: [{kind: predict, data: general, part: train, when: ends}]}\n");
    result = program_succeed(alone, "run text.yaml");
    assert_contains(result.err, "predict: loss ");
    program_free(&result);
}

/* A finished run is of the files it was scored on. */
static void a_finished_run_notices_other_items(void **state)
{
    (void)state;
    const char *const run = "run noticed.yaml";
    program_write(
        "noticed.yaml",
        "run: {name: noticed, output: out}\n"
        "model: {config: tiny.json, init: random}\n"
        "task: {name: uuid, pairs: 8}\n"
        "train: {steps: 1, global_batch: 8, micro_batch: 8}\n"
        "eval: {sets: [{kind: generate, items: 1}, {kind: benchmark, set: ask.yaml, data: .}]}\n"
        "parallel: {threads: 1}\n");
    program_result result = program_succeed(alone, run);
    program_free(&result);
    result = program_succeed(alone, run);
    assert_contains(result.err, "noticed: done already");
    program_free(&result);
    char *items = program_read("q.csv", NULL);
    char *first = strstr(items, "is it");
    assert_non_null(first);
    first[0] = 'I';
    program_write("q.csv", "%s", items);
    result = program_succeed(alone, run);
    assert_contains(result.err, "out/noticed.h5 is of other inputs (eval.sets item 2 ");
    program_free(&result);
    first[0] = 'i';
    program_write("q.csv", "%s", items);
    mr_free(items);
    assert_int_equal(rename("q.csv", "q.gone"), 0);
    result = program_succeed(alone, run);
    assert_contains(result.err, "its inputs cannot be compared: eval.sets: item 2: set ask: '.' "
                                "has none of its files: q.csv");
    program_free(&result);
    assert_int_equal(rename("q.gone", "q.csv"), 0);
}

static void runs_are_named_by_their_sets(void **state)
{
    (void)state;
    program_write("matrix.yaml",
                  "run: {name: m, output: m}\n"
                  "model: {config: tiny.json, init: random}\n"
                  "task: {name: uuid, pairs: 8}\n"
                  "train: {steps: 1, global_batch: 8, micro_batch: 8}\n"
                  "matrix:\n"
                  "  eval.sets:\n"
                  "    - [{kind: benchmark, set: a/ask.yaml, data: .}, {kind: generate}]\n"
                  "    - [{kind: predict, name: wiki, data: general}]\n"
                  "    - [{kind: predict, name: wiki, data: general, items: 2}]\n"
                  "    - [{kind: generate, name: a_long_name_of_a_set_that_says_all_about_it}, "
                  "{kind: generate, name: and_another_name_that_is_just_as_long_as_the_first}]\n");
    program_result result = program_succeed(alone, "run matrix.yaml --list");
    assert_contains(result.out, "0 m.setsask.yaml+generate\n1 m.setswiki\n2 m.setswiki_");
    assert_contains(result.out, "3 m.setsa_long_name_of_a_set_that_says_all_about_it+and_another_"
                                "name_that_is_just_as_lon_9530a0\n");
    program_free(&result);
}

static void fails(const char *sets, const char *message)
{
    program_write("bad.yaml",
                  "run: {name: bad, output: bad}\n"
                  "model: {config: tiny.json, init: random}\n"
                  "task: {name: uuid, pairs: 8}\n"
                  "train: {steps: 1, global_batch: 8, micro_batch: 8}\n"
                  "eval: {sets: [%s]}\n",
                  sets);
    program_fail(alone, 1, message, "run bad.yaml");
    assert_false(file_exists("bad/bad.h5"));
}

static void what_cannot_be_asked_is_told(void **state)
{
    (void)state;
    fails("{kind: benchmark, data: .}",
          "bad.yaml: bad: eval.sets: item 1 (benchmark): set: missing: the name of a set");
    fails("{kind: benchmark, set: fpb}",
          "eval.sets: item 1 (benchmark): data: missing: the folder");
    fails("{kind: benchmark, set: mmlu, data: .}",
          "eval.sets: item 1 (benchmark): set: there is no set \"mmlu\"; expected one of "
          "mmlu_lm_eval_5");
    fails("{kind: benchmark, set: 'fpb,usmle', data: .}",
          "set: expected one, found 2 in \"fpb,usmle\": fpb, usmle");
    fails("{kind: benchmark, set: fpb, data: .}",
          "eval.sets: item 1 (benchmark): set fpb: '.' has none of its files: FinancialPhraseBank");
    fails("{kind: benchmark, set: fpb, data: nowhere}",
          "eval.sets: item 1 (benchmark): set fpb: 'nowhere' has none of its files");
    fails(
        "{kind: benchmark, set: long.yaml, data: .}",
        "eval.sets: item 1 (write): ./t.txt: item 0: the model takes 128 tokens, and 128 are to be "
        "generated");
    fails("{kind: benchmark, set: ask.yaml, data: .}, {kind: benchmark, set: ask.yaml, data: .}",
          "eval.sets: items 1 and 2 both have the name \"ask\"");
    fails("{kind: predict, name: general, data: nowhere}", "eval.sets: item 1 (general): data: ");
    fails("{kind: predict, name: general, data: general}",
          "eval.sets: item 1 (general): kind predict of part heldout: the data has nothing of that "
          "part");
    fails("{kind: generate, data: general}", "data");
    fails("{kind: generate, name: a/b}", "eval.sets: item 1: a set cannot have the name \"a/b\"");
    program_result result =
        program_succeed(alone, "data prepare general.txt --to others --heldout 0");
    program_free(&result);
    char *manifest = program_read("others/manifest.json", NULL);
    char *name = strstr(manifest, "\"bytes\"");
    assert_non_null(name);
    memcpy(name, "\"other\"", 7);
    program_write("others/manifest.json", "%s", manifest);
    mr_free(manifest);
    fails("{kind: predict, name: general, data: others, part: train}",
          "eval.sets: item 1 (general): data: 'others' was prepared with tokenizer other (");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_are_scored_when_they_are_due),
        cmocka_unit_test(rows_are_those_of_an_evaluation_afterwards),
        cmocka_unit_test(rows_are_the_same_on_any_number_of_ranks),
        cmocka_unit_test(what_sets_are_is_told),
        cmocka_unit_test(an_evaluation_goes_on_behind_its_rows),
        cmocka_unit_test(every_set_goes_on_behind_its_rows),
        cmocka_unit_test(a_short_set_does_without_rows),
        cmocka_unit_test(rows_that_are_there_are_not_asked_again),
        cmocka_unit_test(rows_of_another_evaluation_are_put_aside),
        cmocka_unit_test(rows_of_others_are_put_aside),
        cmocka_unit_test(a_run_does_not_go_on_with_other_items),
        cmocka_unit_test(a_finished_run_notices_other_items),
        cmocka_unit_test(runs_are_named_by_their_sets),
        cmocka_unit_test(what_cannot_be_asked_is_told),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
