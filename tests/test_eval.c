/* mora eval: sets of a user's own, asked of a model that a run made. */

#include "base/clock.h"
#include "base/file.h"
#include "data_files.h"
#include "eval/set.h"
#include "program.h"

#include <jansson.h>

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const program_setting alone = {0};

enum { ITEMS = 23 }; /* 10 questions less 2 shots, and 15 texts */

static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_make_model();
    program_write("own.yaml",
                  "sets:\n"
                  "  - name: ask\n"
                  "    about: questions\n"
                  "    source: nobody\n"
                  "    version: 3\n"
                  "    items: [q.csv]\n"
                  "    read: csv\n"
                  "    class: kind\n"
                  "    shots: {count: 1}\n"
                  "    shot: [{field: q}, {text: \"? \"}, {field: \"@option\"}, {text: \". \"}]\n"
                  "    item: [{field: q}, {text: \"?\"}]\n"
                  "    options: [yes, never]\n"
                  "    gold: a\n"
                  "    metric: accuracy\n"
                  "  - name: write\n"
                  "    about: texts\n"
                  "    source: nobody\n"
                  "    version: 1\n"
                  "    items: [t.txt]\n"
                  "    read: lines\n"
                  "    item: [{field: line}]\n"
                  "    gold: line\n"
                  "    rules: [first_line, adaptllm_ner]\n"
                  "    stops: [\"e\"]\n"
                  "    new_tokens: 9\n");
    program_write("q.csv", "q,a,kind\nis it,yes,x\nwas it so,never,y\n\"who, me\",yes,x\nare we,"
                           "yes,x\nso,never,y\nor,never,x\nif it be,yes,y\nand,yes,y\nbut,never,x\n"
                           "no,yes,x\n");
    program_write("t.txt", "one\ntwo\na third text\nfour\nfive\n6\nseven of them\neight\nnine\n10\n"
                           "eleven\n12\nthirteen\nfourteen\nfifteen\n");
    program_make_folder("f");
    return 0;
}

static void fails(int exit_code, const char *arguments, const char *message)
{
    program_fail(alone, exit_code, message, "eval %s", arguments);
}

static void the_command_line_is_checked(void **state)
{
    (void)state;
    fails(2, "--set fpb", "mora eval: expected a model folder or a run");
    fails(2, "model --data .", "expected --set; `mora eval --help` lists the sets");
    fails(2, "model --set fpb", "expected --data, the folder of the sets' files");
    fails(2, "model --set mmlu --data .",
          "there is no set \"mmlu\"; expected one of mmlu_lm_eval_5");
    fails(2, "model --set own.yaml --data . --window 129",
          "--window: expected at most the model's max_position_embeddings, 128");
    fails(2, "model --set own.yaml --data . --limit 0", "--limit: expected at least 1, found 0");
    fails(2, "model --set own.yaml --data . --limit -1",
          "--limit: expected a whole number, found \"-1\"");
    fails(2, "model --set own.yaml --data . --window 0", "--window: expected at least 1, found 0");
    fails(2, "model --set own.yaml --data . --batch 0", "--batch: expected 1..65536, found 0");
    fails(2, "model --set own.yaml --data . --override parallel.shard=none",
          "parallel.shard has no effect on a model that is run and not trained");
    fails(1, "model --set own.yaml,own.yaml --data .", "the set \"ask\" is there already");
    fails(1, "model --set own.yaml --data nowhere",
          "set ask: 'nowhere' has none of its files: q.csv");
    fails(1, "model --set own.yaml --data . --out nowhere/r.jsonl",
          "cannot open 'nowhere/r.jsonl'");
    fails(1, "model --set own.yaml --data . --out /dev/full", "'/dev/full': not a regular file");
    fails(1, "model --set fpb --data .", "set fpb: '.' has none of its files: FinancialPhraseBank");
    fails(1, "model --set none.yaml --data .", "none.yaml");
    fails(1, "nowhere --set own.yaml --data .", "cannot open the model folder 'nowhere'");
    fails(1, "model --set own.yaml --data . --window 9",
          "set write: ./t.txt: item 0: the model "
          "takes 9 tokens, and 9 are to be generated");
    program_write("wide.yaml",
                  "sets: [{name: wide, version: 1, items: [q.csv], read: csv, item: "
                  "[{field: q}], options: [yes, never], gold: a, metric: accuracy}]\n");
    fails(1, "model --set wide.yaml --data . --window 3",
          "set wide, items 0 to 9: option 1: it has 4 tokens, and the model takes 3");
    fails(1, "model --set own.yaml --data . --out f", "cannot open 'f'");
}

static void help_names_every_set_with_its_rule(void **state)
{
    (void)state;
    program_result result = program_succeed(alone, "eval --help");
    assert_contains(result.out, "mmlu_lm_eval_5 ");
    assert_contains(result.out, "(1; lm-evaluation-harness 0.4.13, mmlu (version 2); accuracy)");
    assert_contains(result.out, "(1; MetaMath@fe667b1, eval_gsm8k.py; metamath_gsm8k 1)");
    mr_sets sets;
    must(mr_sets_load(NULL, &sets));
    for (int i = 0; i < sets.count; i++) {
        char line[256];
        snprintf(line, sizeof line, "\n  %s ", sets.set[i].name);
        assert_contains(result.out, line);
        for (int r = 0; r < sets.set[i].rule_names.count; r++) {
            snprintf(line, sizeof line, "; %s %d", sets.set[i].rule[r]->name,
                     sets.set[i].rule[r]->version);
            assert_contains(result.out, line);
        }
    }
    mr_sets_free(&sets);
    program_free(&result);
}

/* As somebody who copies what --help shows. */
static void the_examples_of_help_are_sets(void **state)
{
    (void)state;
    program_result result = program_succeed(alone, "eval --help");
    const char *from = strstr(result.out, "\n  sets:\n"), *to = strstr(from, "\n\n");
    FILE *file = fopen("example.yaml", "w");
    for (from++; from < to; from = strchr(from, '\n') + 1)
        fprintf(file, "%.*s\n", (int)strcspn(from + 2, "\n"), from + 2);
    fclose(file);
    program_free(&result);
    program_write("quiz.csv", "question,right\nSnow is white.,yes\nGrass is red.,no\n");
    program_write("capitals.jsonl", "{\"land\": \"France\", \"capital\": \"Paris\"}\n"
                                    "{\"land\": \"Peru\", \"capital\": \"Lima\"}\n"
                                    "{\"land\": \"Kenya\", \"capital\": \"Nairobi\"}\n");
    result = program_succeed(alone, "eval model --set example.yaml --data . --show");
    assert_contains(result.out, "Is it so? Snow is white.\nAnswer:\n"
                                "-- option 0, 4 tokens: yes (right)\n-- option 1, 3 tokens: no\n");
    assert_contains(result.out,
                    "\nCapital of France: Paris\nCapital of Peru: Lima\nCapital of Kenya:\n");
    program_free(&result);
    result = program_succeed(alone, "eval model --set example.yaml --data . --threads 1");
    assert_contains(result.out, "capitals, version 1");
    program_free(&result);
}

static void the_first_prompt_is_shown(void **state)
{
    (void)state;
    program_result result = program_succeed(alone, "eval model --set own.yaml --data . --show");
    assert_string_equal(
        result.out,
        "== ask, item 2: 21 tokens, the first of them begins a text\nis it? yes. who, me?\n"
        "-- option 0, 4 tokens: yes (right)\n-- option 1, 6 tokens: never\n"
        "== write, item 0: 4 tokens, the first of them begins a text\none\n");
    program_free(&result);
}

/* Prompts that are longer than the model keep their end, and are counted. */
static void long_prompts_lose_their_beginning(void **state)
{
    enum { LENGTH = 300, POSITIONS = 128, NEW = 9 };
    (void)state;
    char line[LENGTH + 1];
    memset(line, 'a', LENGTH);
    line[LENGTH] = '\0';
    program_write("long.txt", "short\n%s\n%s\n", line, line);
    program_write("long.yaml",
                  "sets:\n"
                  "  - {name: ask, version: 1, items: [long.txt], read: lines,\n"
                  "     fields: [{name: right, of: line, pattern: \"(a|s)\"}],\n"
                  "     item: [{field: line}], options: [a, s], gold: right, metric: accuracy}\n"
                  "  - {name: write, version: 1, items: [long.txt], read: lines,\n"
                  "     item: [{field: line}], gold: line, rules: [first_line], new_tokens: %d}\n",
                  NEW);
    remove("l.jsonl");
    program_result result =
        program_succeed(alone, "eval model --set long.yaml --data . --threads 1 --out l.jsonl");
    assert_int_equal(program_lines_with(result.out,
                                        "2 items were longer than the model takes and lost their "
                                        "beginning"),
                     2);
    assert_contains(result.out, "first_line ");
    assert_contains(result.out, "±0.00: all items (3) score the same; up to 63.16 of others may "
                                "not, at 95 %\n");
    program_free(&result);
    char *rows = program_read("l.jsonl", NULL), cut[32];
    /* BOS, the text and an option less its last byte; BOS and the text. */
    snprintf(cut, sizeof cut, "\"cut\":%d,", 1 + LENGTH + 1 - POSITIONS);
    assert_int_equal(program_lines_with(rows, cut), 2);
    snprintf(cut, sizeof cut, "\"cut\":%d,", 1 + LENGTH - (POSITIONS - NEW));
    assert_int_equal(program_lines_with(rows, cut), 2);
    assert_int_equal(program_lines_with(rows, "\"cut\""), 4 + 2);
    mr_free(rows);
}

/* Evaluates on ranks into a new file, and returns that. */
static char *records(int ranks, const char *more)
{
    remove("r.jsonl");
    program_result result = program_succeed((program_setting){.ranks = ranks},
                                            "eval model --set own.yaml --data . --threads 1 "
                                            "--out r.jsonl %s",
                                            more);
    program_free(&result);
    assert_int_not_equal(access("r.jsonl.lock", F_OK), 0);
    return program_read("r.jsonl", NULL);
}

static void records_are_the_same_on_any_number_of_ranks(void **state)
{
    (void)state;
    char *one = records(0, "");
    assert_int_equal(program_lines_with(one, "\"item\":"), ITEMS);
    assert_int_equal(program_lines_with(one, "\"scores\":"), 2);
    for (int ranks = 2; ranks <= 4; ranks++) {
        char *other = records(ranks, ranks == 3 ? "--batch 2" : "");
        assert_string_equal(one, other);
        mr_free(other);
    }
    char *apart = records(0, "--no-sharing --batch 1");
    assert_string_equal(one, apart);
    mr_free(apart);
    mr_free(one);
}

/* Scores a set whose questions have a beginning in common; *whole gets what its texts have. */
static int64_t tokens_that_ran(const char *more, int64_t *whole)
{
    long long ran = 0, common = 0;
    program_result result =
        program_succeed(alone, "eval model --set quiz.yaml --data . --threads 1 %s", more);
    const char *line = strstr(result.err, "quiz: ran ");
    assert_non_null(line);
    assert_int_equal(sscanf(line, "quiz: ran %lld tokens", &ran), 1);
    line = strstr(line, " tok/s; ");
    assert_non_null(line);
    assert_int_equal(sscanf(line, " tok/s; %lld more are in common with texts before", &common), 1);
    program_free(&result);
    *whole = ran + common;
    return ran;
}

static void what_texts_have_in_common_runs_once(void **state)
{
    (void)state;
    int64_t whole, all;
    program_write("quiz.yaml",
                  "sets:\n"
                  "  - name: quiz\n"
                  "    about: questions\n"
                  "    source: nobody\n"
                  "    version: 1\n"
                  "    items: [q.csv]\n"
                  "    read: csv\n"
                  "    begin: [{text: \"Five examples would stand here, as long as this. \"}]\n"
                  "    item: [{field: q}, {text: \"?\"}]\n"
                  "    options: [yes, never, soon, now]\n"
                  "    gold: a\n"
                  "    metric: accuracy\n");
    const int64_t apart = tokens_that_ran("--no-sharing", &all);
    assert_int_equal(apart, all);
    const int64_t shared = tokens_that_ran("", &whole);
    assert_int_equal(whole, all);
    assert_true(5 * shared < apart);
}

static void what_was_broken_off_goes_on(void **state)
{
    (void)state;
    size_t bytes;
    mr_free(records(0, ""));
    char *whole = program_read("r.jsonl", &bytes);
    for (size_t cut = 0; cut < 11; cut++) {
        FILE *file = fopen("r.jsonl", "wb");
        assert_int_equal(fwrite(whole, 1, bytes * cut / 10 - (cut > 0 && cut < 10), file),
                         bytes * cut / 10 - (cut > 0 && cut < 10));
        fclose(file);
        program_result result =
            program_succeed(alone, "eval model --set own.yaml --data . --threads 1 --out r.jsonl");
        char *again = program_read("r.jsonl", NULL);
        assert_string_equal(again, whole);
        assert_contains(result.out, "ask, version 3 (nobody)");
        assert_contains(result.out, "first_line");
        mr_free(again);
        program_free(&result);
    }
    mr_free(whole);
}

static size_t bytes_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (size_t)info.st_size : 0;
}

/* Options and texts enough for several pieces of each. */
static void write_many(void)
{
    enum { QUESTIONS = 600, TEXTS = 100, LETTERS = 72 };
    FILE *questions = fopen("many.csv", "w"), *texts = fopen("many.txt", "w");
    fprintf(questions, "q,a\n");
    for (int i = 0; i < QUESTIONS + TEXTS; i++) {
        char text[LETTERS + 1] = "";
        for (int c = 0; c < LETTERS; c++)
            text[c] = (char)('a' + (i * 31 + c * c * 7 + i * c) % 8);
        if (i < QUESTIONS)
            fprintf(questions, "%s,%s\n", text, i % 3 ? "yes" : "never");
        else
            fprintf(texts, "%s\n", text);
    }
    fclose(questions);
    fclose(texts);
    program_write("many.yaml",
                  "sets:\n"
                  "  - {name: ask, version: 1, items: [many.csv], read: csv, class: a,\n"
                  "     item: [{field: q}], options: [\"yes\", never], gold: a, metric: accuracy}\n"
                  "  - {name: write, version: 1, items: [many.txt], read: lines,\n"
                  "     item: [{field: line}], gold: line, rules: [first_line], new_tokens: 30}\n");
}

/* Killed at instants spread over what it writes, the last time a rank of two, an evaluation leaves
 * what it can go on behind. */
static void a_killed_evaluation_goes_on(void **state)
{
    (void)state;
    enum { KILLS = 10 };
    static const char arguments[] =
        "eval model --set many.yaml --data . --threads 1 --batch 1 --out r.jsonl";
    size_t bytes;
    int killed = 0;
    write_many();
    remove("r.jsonl");
    program_result result = program_succeed(alone, "%s", arguments);
    char *whole = program_read("r.jsonl", &bytes);
    program_free(&result);
    remove("r.jsonl");
    for (size_t k = 1; k <= KILLS; k++) {
        const program_setting setting = {.ranks = k == KILLS ? 2 : 0};
        program_child child = program_start(setting, "%s", arguments);
        const double until = mr_clock() + 60;
        while (bytes_of("r.jsonl") < bytes * k / (KILLS + 1) && mr_clock() < until)
            nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
        if (setting.ranks > 0) {
            program_kill_rank(&child);
            continue;
        }
        kill(child.pid, SIGKILL);
        result = program_finish(&child);
        killed += result.exit_code == 128 + SIGKILL;
        program_free(&result);
    }
    assert_true(killed > KILLS / 2);
    result = program_succeed(alone, "%s", arguments);
    program_free(&result);
    char *again = program_read("r.jsonl", NULL);
    assert_string_equal(again, whole);
    mr_free(again);
    mr_free(whole);
}

static void a_file_of_another_evaluation_is_refused(void **state)
{
    (void)state;
    static const char same[] = "model --set own.yaml --data . --threads 1 --out r.jsonl";
    mr_free(records(0, ""));
    fails(1, "model --set own.yaml --data . --limit 2 --out r.jsonl",
          "r.jsonl:1: it is of another evaluation: \"items\" is 8 there, 4 here");
    fails(1, "model --set own.yaml --data . --no-bos --out r.jsonl",
          "\"bos\" is true there, false");
    fails(1, "out/one.h5 --set own.yaml --data . --out r.jsonl",
          "\"model\" is \"model\" there, \"out/one.h5\" here");
    char *text = program_read("r.jsonl", NULL), *second = strchr(text, '\n') + 1;
    char *third = strchr(second, '\n') + 1;
    data_write("r.jsonl", text, (size_t)(second - text));
    data_append("r.jsonl", third, strlen(third));
    fails(1, same, "r.jsonl:2: expected item 2, found 3");
    program_write("r.jsonl", "%.*s{\"item\": \"2\", \"prompt\": \"0\"}\n", (int)(second - text),
                  text);
    fails(1, same, "r.jsonl:2: item 2 was asked by another text than now: its hash is 0, now ");
    program_write("r.jsonl", "%.*snothing\n", (int)(second - text), text);
    fails(1, same, "r.jsonl:2: cannot read JSON");
    data_write("r.jsonl", text, (size_t)(second - text));
    data_append("r.jsonl", "\0\0\n", 3);
    data_append("r.jsonl", second, strlen(second));
    fails(1, same, "r.jsonl:2: cannot read JSON");
    program_write("other.yaml",
                  "sets:\n  - {name: other, version: 1, items: [t.txt], read: lines,\n"
                  "     item: [{field: line}], gold: line, rules: [first_line],\n"
                  "     new_tokens: 9}\n");
    data_write("r.jsonl", text, strlen(text));
    fails(1, "model --set other.yaml --data . --out r.jsonl",
          "r.jsonl:1: it is of another evaluation: \"set\" is \"ask\" there, \"other\" here");
    program_write("r.jsonl", "%.*s%.*s", (int)(second - text), text, (int)(second - text), text);
    fails(1, same, "r.jsonl:2: expected the row of an item, found lines of another set");
    mr_free(text);
}

/* What stands behind the head of the first set. */
static const char *rows_of(const char *text)
{
    return strchr(text, '\n');
}

/* Fails under a call of the operating system that does, on ranks, with one message. */
static void fails_by(const char *call, int error, int ranks, const char *message)
{
    program_write("failing.sh", "#!/bin/sh\nMR_FAULT=%s:%d:r.jsonl LD_PRELOAD=%s exec \"$@\"\n",
                  call, error, MR_TEST_FAULTS);
    assert_int_equal(chmod("failing.sh", 0700), 0);
    program_fail((program_setting){.ranks = ranks, .wrapper = "./failing.sh"}, 1, message,
                 "eval model --set own.yaml --data . --threads 1 --out r.jsonl");
}

static void a_file_that_cannot_be_written_is_told_of(void **state)
{
    (void)state;
    char *whole = records(0, "");
    for (int ranks = 0; ranks <= 3; ranks += 3) {
        remove("r.jsonl");
        fails_by("open", EROFS, ranks, "cannot open 'r.jsonl': Read-only file system");
        fails_by("write", ENOSPC, ranks, "cannot write to 'r.jsonl': No space left on device");
        fails_by("sync", EIO, ranks, "cannot sync 'r.jsonl': Input/output error");
    }
    program_result result =
        program_succeed(alone, "eval model --set own.yaml --data . --threads 1 --out r.jsonl");
    program_free(&result);
    char *again = program_read("r.jsonl", NULL);
    assert_string_equal(again, whole);
    mr_free(again);
    mr_free(whole);
    program_write("wrong.yaml", "sets:\n  - {name: a, colour: red}\n");
    program_fail((program_setting){.ranks = 3}, 1, "wrong.yaml:2:23: unknown key \"colour\"",
                 "eval model --set wrong.yaml --data .");
    program_fail((program_setting){.ranks = 3}, 1, "set ask: 'f' has none of its files: q.csv",
                 "eval model --set own.yaml --data f");
}

static void an_adapter_scores_as_the_run_that_it_is_of(void **state)
{
    (void)state;
    static const struct {
        const char *method, *form;
    } kinds[] = {{"{name: lora, r: 4, lora_alpha: 8, target_modules: [q_proj, down_proj]}", "peft"},
                 {"{name: mora, r: 4, operator: sharing}", "mora-fork"}};
    for (int i = 0; i < 2; i++) {
        program_write("two.yaml",
                      "run: {name: two%d, seed: 3, output: out}\n"
                      "model: {path: model}\n"
                      "task: {name: uuid, pairs: 8}\n"
                      "method: %s\n"
                      "train: {steps: 3, global_batch: 8, micro_batch: 4, lr: 0.1}\n"
                      "eval: {items: 1}\n"
                      "checkpoint: {every_minutes: 0}\n"
                      "parallel: {threads: 1}\n",
                      i, kinds[i].method);
        program_result result = program_succeed(alone, "run two.yaml");
        program_free(&result);
        result = program_succeed(alone, "export out/two%d.h5 --to %s --out adapter%d", i,
                                 kinds[i].form, i);
        program_free(&result);
        static const char rest[] = "--set own.yaml --data . --threads 1 --limit 4 --out";
        remove("a.jsonl");
        remove("b.jsonl");
        remove("c.jsonl");
        result = program_succeed(alone, "eval out/two%d.h5 %s a.jsonl", i, rest);
        program_free(&result);
        result = program_succeed(alone, "eval model --adapter adapter%d %s b.jsonl", i, rest);
        program_free(&result);
        result = program_succeed(alone, "eval model %s c.jsonl", rest);
        program_free(&result);
        char *a = program_read("a.jsonl", NULL), *b = program_read("b.jsonl", NULL);
        char *c = program_read("c.jsonl", NULL);
        const size_t first = (size_t)(strstr(a, "{\"set\":\"write\"") - rows_of(a));
        assert_memory_equal(rows_of(a), rows_of(b), first);
        assert_memory_not_equal(rows_of(a), rows_of(c), first);
        mr_free(a);
        mr_free(b);
        mr_free(c);
    }
    fails(2, "out/one.h5 --adapter adapter0 --set own.yaml --data .",
          "an adapter goes on a model folder, and what a run left has its own");
    fails(1, "model --adapter nowhere --set own.yaml --data .", "nowhere");
    fails(1, "model --adapter adapter0 --set own.yaml --data . --limit 4 --out c.jsonl",
          "c.jsonl:1: it is of another evaluation: \"adapter\" is \"\" there, ");
    data_shell("sed -i 's/\"r\": *4/\"r\": 5/' adapter0/adapter_config.json");
    fails(1, "model --adapter adapter0 --set own.yaml --data .",
          "r of model.layers.0.self_attn.q_proj is 4 in 'adapter0', method.r is 5");
}

static void scores_are_told_as_json(void **state)
{
    (void)state;
    program_result result =
        program_succeed(alone, "eval out/one.h5 --set own.yaml --data . --limit 3 --json");
    json_t *root = json_loads(result.out, 0, NULL);
    assert_non_null(root);
    const json_t *sets = json_object_get(root, "sets"), *ask = json_array_get(sets, 0);
    const json_t *score = json_array_get(json_object_get(ask, "scores"), 0);
    assert_int_equal(json_array_size(sets), 2);
    assert_int_equal(json_integer_value(json_object_get(ask, "version")), 3);
    assert_int_equal(json_integer_value(json_object_get(score, "items")), 6);
    assert_int_equal(json_array_size(json_object_get(ask, "groups")), 2);
    double mean = 0;
    for (size_t g = 0; g < 2; g++) {
        const json_t *group = json_array_get(json_object_get(ask, "groups"), g);
        mean += json_number_value(json_array_get(json_object_get(group, "values"), 0)) / 2;
    }
    assert_true(fabs(mean - json_number_value(json_object_get(score, "value"))) < 1e-12);
    json_decref(root);
    program_free(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_command_line_is_checked),
        cmocka_unit_test(help_names_every_set_with_its_rule),
        cmocka_unit_test(the_examples_of_help_are_sets),
        cmocka_unit_test(the_first_prompt_is_shown),
        cmocka_unit_test(long_prompts_lose_their_beginning),
        cmocka_unit_test(records_are_the_same_on_any_number_of_ranks),
        cmocka_unit_test(what_texts_have_in_common_runs_once),
        cmocka_unit_test(what_was_broken_off_goes_on),
        cmocka_unit_test(a_killed_evaluation_goes_on),
        cmocka_unit_test(a_file_of_another_evaluation_is_refused),
        cmocka_unit_test(a_file_that_cannot_be_written_is_told_of),
        cmocka_unit_test(an_adapter_scores_as_the_run_that_it_is_of),
        cmocka_unit_test(scores_are_told_as_json),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
