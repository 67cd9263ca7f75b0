/** @file
 * `mora compare`: logs as runs write them, with records made up. */

#include "base/file.h"
#include "program.h"
#include "report/compare.h"
#include "store/runlog.h"

#include <math.h>

enum { ITEMS = 40 };

/* A log. What is 0 has the meaning given. */
typedef struct made {
    const char *task, *data, *tokenizer; /* NULL: uuid, 0123, abcd */
    int64_t seq_len;                     /* 0: 66 */
    const char *set, *kind, *part;       /* NULL: uuid, generate, train */
    int64_t items;                       /* 0: ITEMS, -1: no records */
    int wrong_from, wrong_to;            /* items that are wrong, the others being right */
    double wrong;                        /* what a wrong one is worth */
    const char *more;                    /* a second set, without a description */
    int64_t step;                        /* 0: 100 */
    const char *hash;                    /* of items that are not of the run's data */
    int64_t version;
    const char *metric, *rows; /* NULL: accuracy, none */
} made;

static const char * or (const char *text, const char *other)
{
    return text ? text : other;
}

static void add_set(mr_runlog *log, const char *name, const made *m, int64_t step)
{
    const char *const names[] = { or (m->metric, "accuracy")};
    float records[2 * ITEMS] = {0};
    double sum = 0;
    const int64_t items = m->items < 0 ? 0 : m->items > 0 ? m->items : ITEMS;
    for (int64_t i = 0; i < items; i++) {
        records[i] = i >= m->wrong_from && i < m->wrong_to ? (float)m->wrong : 1;
        sum += (double)records[i];
    }
    sum /= ITEMS;
    must(mr_runlog_eval(log, name, step, names, &sum, 1, items > 0 ? records : NULL, items));
}

static void make(const char *path, made m)
{
    mr_runlog *log;
    const struct {
        const char *name, *value;
    } texts[] = {
        {"run", path},
        {"task", or (m.task, "uuid")},
        {"method", "mora"},
        {"data_hash", or (m.data, "0123")},
        {"tokenizer_hash", or (m.tokenizer, "abcd")},
    };
    const mr_runlog_score score = { or (m.metric, "accuracy"), "fraction", false};
    const mr_runlog_set about = {.kind = or (m.kind, "generate"),
                                 .part = or (m.part, "train"),
                                 .item = "score of an answer, 0 to 1",
                                 .items_hash = m.hash,
                                 .set = m.rows ? m.set : NULL,
                                 .rows = m.rows,
                                 .version = m.version,
                                 .scores = 1,
                                 .score = &score};
    const int64_t step = m.step > 0 ? m.step : 100;
    must(mr_runlog_create(path, &log));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        must(mr_runlog_set_text(log, texts[i].name, texts[i].value));
    must(mr_runlog_set_int(log, "r", 8));
    must(mr_runlog_set_int(log, "seed", 1));
    must(mr_runlog_set_int(log, "seq_len", m.seq_len > 0 ? m.seq_len : 66));
    /* An earlier evaluation, which does not count. */
    add_set(log, or (m.set, "uuid"),
            &(made){.items = m.items, .wrong_to = ITEMS, .metric = m.metric}, step - 1);
    add_set(log, or (m.set, "uuid"), &m, step);
    must(mr_runlog_describe(log, or (m.set, "uuid"), &about));
    if (m.more) add_set(log, m.more, &m, step);
    must(mr_runlog_close(&log));
}

static mr_comparison compare_two(made a, made b, const char *set, mr_status expected)
{
    static const char *const paths[] = {"a.h5", "b.h5"};
    mr_comparison c = {.sets = 0};
    make(paths[0], a);
    make(paths[1], b);
    assert_int_equal(mr_comparison_make(paths, set, &(mr_resampling){.samples = 500}, &c),
                     expected);
    return c;
}

static void refuses(made a, made b, const char *message)
{
    mr_comparison c = compare_two(a, b, NULL, MR_ERR_ARG);
    assert_contains(mr_message(), message);
    mr_comparison_free(&c);
}

static void rights_and_wrongs_are_compared_by_their_split(void **state)
{
    (void)state;
    mr_comparison c = compare_two(
        (made){.wrong_to = 12}, (made){.wrong_from = 10, .wrong_to = 14, .step = 200}, NULL, MR_OK);
    const mr_compared_set *set = &c.set[0];
    assert_int_equal(c.sets, 1);
    assert_string_equal(set->name, "uuid");
    assert_string_equal(set->about.item, "score of an answer, 0 to 1");
    assert_int_equal(set->step[0], 100);
    assert_int_equal(set->step[1], 200);
    assert_true(fabs(set->score[1] - 0.9) < 1e-12);
    assert_int_equal(set->paired.only_first, 2);
    assert_int_equal(set->paired.only_second, 10);
    /* 2 (1 + 12 + 66) / 2^12 */
    assert_true(fabs(set->paired.p - 158. / 4096) < 1e-12);
    assert_true(mr_compared_differ(set));
    assert_int_equal(set->differ, 12);
    assert_int_equal(set->order[0].item, 0);
    assert_int_equal(set->order[11].item, 13);
    mr_comparison_free(&c);
}

static void other_records_are_compared_by_samples(void **state)
{
    (void)state;
    mr_comparison c =
        compare_two((made){.wrong_to = 1, .wrong = 0.5},
                    (made){.wrong_from = 1, .wrong_to = 3, .wrong = 0.25}, NULL, MR_OK);
    const mr_compared_set *set = &c.set[0];
    assert_false(set->paired.binary);
    assert_true(fabs(set->paired.difference - (0.5 - 1.5) / ITEMS) < 1e-12);
    assert_true(set->paired.interval.low < -0.025 && set->paired.interval.high > -0.025);
    assert_false(mr_compared_differ(set));
    /* What differs most comes first, of equals the first. */
    assert_int_equal(set->order[0].item, 1);
    assert_int_equal(set->order[1].item, 2);
    assert_int_equal(set->order[2].item, 0);
    mr_comparison_free(&c);
}

static void sets_that_one_lacks_are_named(void **state)
{
    (void)state;
    mr_comparison c = compare_two((made){.more = "extra"}, (made){.wrong_to = 1}, NULL, MR_OK);
    assert_int_equal(c.sets, 1);
    assert_int_equal(c.left_out.count, 1);
    assert_string_equal(c.left_out.item[0], "extra: B has no such set");
    mr_comparison_free(&c);
    /* A set without a description, of an older log, has no primary score. */
    c = compare_two((made){.more = "extra"}, (made){.more = "extra"}, "extra", MR_OK);
    assert_int_equal(c.sets, 1);
    assert_string_equal(c.set[0].name, "extra");
    assert_true(isnan(c.set[0].score[0]));
    mr_comparison_free(&c);
}

static void what_has_other_items_is_refused(void **state)
{
    (void)state;
    refuses((made){.data = "0123"}, (made){.data = "4567"},
            "a.h5 and b.h5 cannot be compared item by item: the data (data_hash) differs, "
            "\"0123\" and \"4567\"");
    refuses((made){.task = "uuid"}, (made){.task = "pretrain"}, "the task differs, \"uuid\" and");
    refuses((made){.tokenizer = "abcd"}, (made){.tokenizer = ""},
            "the tokenizer (tokenizer_hash) differs, \"abcd\" and \"\"");
    refuses((made){.seq_len = 128}, (made){.seq_len = 256}, "seq_len differs, 128 and 256");
    refuses((made){.kind = "generate"}, (made){.kind = "predict"},
            "/eval/uuid holds generate of the part train, and predict of the part train");
    refuses((made){.part = "test"}, (made){.part = "validation"},
            "/eval/uuid holds generate of the part test, and generate of the part validation");
    refuses((made){.items = 20}, (made){.items = 30}, "/eval/uuid has 20 items and 30");
    refuses((made){.items = -1}, (made){.items = 0},
            "a.h5 and b.h5 have no records of the same set of evaluations: uuid: A has no records "
            "of its items");
    refuses((made){.set = "one"}, (made){.set = "two"},
            "of evaluations: one: B has no such set; two: A has no such set");
    refuses((made){.wrong_to = 1, .wrong = NAN}, (made){.wrong_to = 0},
            "a.h5 and b.h5: /eval/uuid: item 0: expected finite numbers, found nan and 1");
    mr_comparison c = compare_two((made){0}, (made){0}, "mmlu", MR_ERR_ARG);
    assert_contains(mr_message(), "same set of evaluations: mmlu: A has no such set");
    mr_comparison_free(&c);
}

static void prints(const char *arguments, const char *const *parts)
{
    program_result result = program_succeed((program_setting){0}, "compare %s", arguments);
    for (; *parts; parts++)
        assert_contains(result.out, *parts);
    program_free(&result);
}

static void the_command_prints_where_two_runs_differ(void **state)
{
    (void)state;
    make("a.h5", (made){.wrong_to = 12});
    make("b.h5", (made){.wrong_from = 10, .wrong_to = 14, .more = "extra"});
    prints(
        "a.h5 b.h5 --items 2",
        (const char *const[]){
            "A  a.h5: mora, r 8, seed 1\nB  b.h5: mora, r 8, seed 1\n\n",
            "set   step  items       A       B    B - A   95 % of samples  A only  B only      p",
            "uuid   100     40  0.7000  0.9000  +0.2000  +0.0500..+0.3500       2      10  "
            "0.039  more than chance\n",
            "uuid: score of an answer, 0 to 1; 12 of 40 items differ, most:\n",
            "  item  A  B  B - A\n     0  0  1     +1\n     1  0  1     +1\n\n",
            "left out: extra: A has no such set\n", NULL});
    prints("a.h5 b.h5 --json",
           (const char *const[]){"\"only_a\": 2", "\"only_b\": 10", "\"differ\": true",
                                 "\"score\": \"accuracy\"", "\"item\": 13,", NULL});
    /* Without a split of right and wrong there are no columns of it. */
    make("c.h5", (made){.wrong_to = 12, .wrong = 0.5});
    program_result result = program_succeed((program_setting){0}, "compare c.h5 b.h5");
    assert_null(strstr(result.out, "only"));
    program_free(&result);
}

static void the_command_tells_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *arguments, *message;
        int exit_code;
    } cases[] = {
        {"a.h5", "mora compare: expected two run logs, or two files of rows, found 1", 2},
        {"a.h5 b.h5 --samples 5", "mora compare: --samples: expected 100..10000000, found 5", 2},
        {"a.h5 none.h5", "cannot open 'none.h5'", 1},
        {"a.h5 tiny.json", "tiny.json: not a sound run log", 1},
        {"a.h5 b.h5 --set none", "none: A has no such set", 1},
    };
    make("a.h5", (made){0});
    make("b.h5", (made){0});
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        program_result result = program_run((program_setting){0}, "compare %s", cases[i].arguments);
        assert_contains(result.err, cases[i].message);
        assert_int_equal(result.exit_code, cases[i].exit_code);
        assert_string_equal(result.out, "");
        program_free(&result);
    }
}

/* Published evaluations of two runs are the same where these are not. */
static void a_published_set_is_compared_whatever_the_runs_are_of(void **state)
{
    (void)state;
    mr_comparison c = compare_two((made){.task = "math", .hash = "12", .version = 1, .wrong_to = 3},
                                  (made){.task = "copy", .hash = "12", .version = 1}, NULL, MR_OK);
    assert_int_equal(c.sets, 1);
    assert_int_equal(c.set[0].differ, 3);
    mr_comparison_free(&c);
    c = compare_two((made){.task = "math", .hash = "12", .more = "own"},
                    (made){.task = "copy", .hash = "12", .more = "own"}, NULL, MR_OK);
    assert_int_equal(c.left_out.count, 1);
    assert_string_equal(c.left_out.item[0], "own: a.h5 and b.h5 cannot be compared item by item: "
                                            "the task differs, \"math\" and \"copy\"");
    mr_comparison_free(&c);
    refuses((made){.hash = "12", .version = 1}, (made){.hash = "12", .version = 2},
            "/eval/uuid: its version differs, \"1\" and \"2\"");
    refuses((made){.hash = "12", .version = 1}, (made){.hash = "34", .version = 1},
            "/eval/uuid: what was asked (items_hash) differs, \"12\" and \"34\"");
}

/* Rows. */

#define HEAD(set, version, items, more)                                                            \
    "{\"set\":\"" set "\",\"version\":" version ",\"source\":\"nobody\",\"items\":" items more     \
    ",\"model\":\"m\",\"steps\":7}\n"
#define RULES                                                                                      \
    ",\"rules\":[{\"name\":\"strict\",\"version\":1},{\"name\":\"flexible\",\"version\":1}]"
#define ANSWER(item, prompt, found, strict, flexible)                                              \
    "{\"item\":\"" item "\",\"prompt\":\"" prompt "\",\"gold\":\"four\",\"found\":[\"" found       \
    "\",\"" found "\"],\"score\":[" strict "," flexible "]}\n"
#define OPTION(item, class, gold, found, score)                                                    \
    "{\"item\":\"" item "\",\"class\":\"" class "\",\"prompt\":\"p\",\"gold\":" gold               \
                                                ",\"found\":" found ",\"score\":" score "}\n"

static void rows_refused(const char *a, const char *b, const char *message)
{
    program_write("a.jsonl", "%s", a);
    program_write("b.jsonl", "%s", b);
    program_fail((program_setting){0}, 1, message, "compare a.jsonl b.jsonl");
}

static void rows_are_compared_by_each_rule(void **state)
{
    (void)state;
    static const char head[] = HEAD("gsm", "1", "3", RULES);
    program_write("a.jsonl", "%s%s", head,
                  ANSWER("0", "p", "four", "1", "1") ANSWER("1", "q", "5", "0", "0")
                      ANSWER("x", "r", "4", "0", "1"));
    program_write("b.jsonl", "%s%s", head,
                  ANSWER("0", "p", "four", "1", "1") ANSWER("1", "q", "four", "1", "1")
                      ANSWER("x", "r", "of all that there is, nothing", "0", "0"));
    prints("a.jsonl b.jsonl",
           (const char *const[]){
               "A  a.jsonl: rows of m\nB  b.jsonl: rows of m\n\n",
               "gsm strict       7      3  0.3333  0.6667  +0.3333",
               "gsm flexible     7      3  0.6667  0.6667  +0.0000",
               "gsm strict: score of an answer by strict, 0 to 1; 1 of 3 items differ\n"
               "  item  right  A found  B found  A  B\n"
               "  1     four   5        four     0  1\n",
               "  x     four   4        of all that there is, nothin...  1  0\n", NULL});
    prints("a.jsonl b.jsonl --set gsm --json",
           (const char *const[]){"\"model\": \"m\"", "\"set\": \"gsm strict\"", "\"id\": \"1\"",
                                 "\"found_a\": \"5\"", "\"found_b\": \"four\"", NULL});
    program_fail((program_setting){0}, 1, "other: neither has such a set",
                 "compare a.jsonl b.jsonl --set other");
    make("a.h5", (made){0});
    program_fail((program_setting){0}, 1, "a.jsonl holds rows of items, a.h5 does not",
                 "compare a.h5 a.jsonl");
    program_fail((program_setting){0}, 1, "cannot open 'none.jsonl': No such file",
                 "compare a.jsonl none.jsonl");
}

/* F1 is no mean over items: 2/3 and 1, which are told as they are. */
static void rows_are_compared_by_the_metric_of_their_set(void **state)
{
    (void)state;
    static const char head[] =
        HEAD("news", "1", "4", ",\"rules\":[],\"metric\":\"grouped_weighted_f1\"");
    program_write("a.jsonl", "%s%s", head,
                  OPTION("0", "up", "0", "0", "1") OPTION("1", "up", "1", "0", "0")
                      OPTION("2", "down", "0", "0", "1") OPTION("3", "down", "1", "1", "1"));
    program_write("b.jsonl", "%s%s", head,
                  OPTION("0", "up", "0", "0", "1") OPTION("1", "up", "1", "1", "1")
                      OPTION("2", "down", "0", "0", "1") OPTION("3", "down", "1", "1", "1"));
    /* The group `up`: F1 of class 0 is 2/3, of class 1 it is 0, so 1/3; of `down` it is 1. */
    prints("a.jsonl b.jsonl",
           (const char *const[]){"news     7      4  0.6667  1.0000  +0.3333",
                                 "  1     1      0        1        0  1\n", NULL});
    /* So are logs, by the rows beside them; without these that is told. */
    made log = {.set = "news",
                .items = 4,
                .wrong_from = 1,
                .wrong_to = 2,
                .hash = "12",
                .step = 7,
                .metric = "grouped_weighted_f1",
                .rows = "a.jsonl"};
    make("a.h5", log);
    log.wrong_from = log.wrong_to = 0;
    log.rows = "b.jsonl";
    make("b.h5", log);
    prints("a.h5 b.h5",
           (const char *const[]){"news     7      4  0.6667  1.0000  +0.3333",
                                 "  1     1      0        1        0  1\n",
                                 "A, B: means over items, of news its grouped_weighted_f1.", NULL});
    log.rows = "gone.jsonl";
    make("b.h5", log);
    prints("a.h5 b.h5", (const char *const[]){"news     7      4  0.7500  1.0000  +0.2500",
                                              "news: A, B are the share of right answers, not its "
                                              "grouped_weighted_f1, which is 0.0750 and 0.1000",
                                              "cannot open 'gone.jsonl'", NULL});
    prints("a.h5 b.h5 --json", (const char *const[]){"\"compared\": \"mean of items\"", NULL});
    log.rows = "b.jsonl";
    log.step = 9;
    make("b.h5", log);
    prints("a.h5 b.h5", (const char *const[]){"b.jsonl is of step 7, the log of 9", NULL});
}

static void rows_of_other_items_are_refused(void **state)
{
    (void)state;
    static const char one[] = HEAD("gsm", "1", "1", RULES) ANSWER("0", "p", "four", "1", "1");
    rows_refused(one, HEAD("gsm", "2", "1", RULES) ANSWER("0", "p", "four", "1", "1"),
                 "a.jsonl and b.jsonl cannot be compared item by item: gsm: version differs, 1 and "
                 "2");
    rows_refused(one, HEAD("gsm", "1", "1", ",\"rules\":[],\"metric\":\"accuracy\""),
                 "gsm: rules differs, [{\"name\":\"strict\"");
    rows_refused(one, HEAD("gsm", "1", "2", RULES), "gsm: items differs, 1 and 2");
    rows_refused(one, HEAD("gsm", "1", "1", RULES),
                 "b.jsonl: gsm is not complete: 0 of 1 items are there");
    rows_refused(one, HEAD("gsm", "1", "1", RULES) ANSWER("9", "p", "four", "1", "1"),
                 "gsm: item number 0 differs, \"0\" and \"9\"");
    rows_refused(one, HEAD("gsm", "1", "1", RULES) ANSWER("0", "q", "four", "1", "1"),
                 "gsm: the prompt of item number 0 differs, \"p\" and \"q\"");
    rows_refused(one, HEAD("math", "1", "1", RULES),
                 "of evaluations: gsm: B has no such set; math: A has no such set");
    rows_refused(one, HEAD("gsm", "1", "1", RULES) ANSWER("0", "p", "four", "null", "1"),
                 "b.jsonl: gsm: item number 0: expected a number as \"score\"");
    rows_refused(one, HEAD("gsm", "1", "1", RULES) "nothing\n", "b.jsonl:2: cannot read JSON");
    rows_refused(one, HEAD("gsm", "1", "1", RULES) "{}\n",
                 "b.jsonl:2: expected what a set of `mora eval --out` begins with");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rights_and_wrongs_are_compared_by_their_split),
        cmocka_unit_test(other_records_are_compared_by_samples),
        cmocka_unit_test(sets_that_one_lacks_are_named),
        cmocka_unit_test(what_has_other_items_is_refused),
        cmocka_unit_test(the_command_prints_where_two_runs_differ),
        cmocka_unit_test(the_command_tells_what_is_wrong),
        cmocka_unit_test(a_published_set_is_compared_whatever_the_runs_are_of),
        cmocka_unit_test(rows_are_compared_by_each_rule),
        cmocka_unit_test(rows_are_compared_by_the_metric_of_their_set),
        cmocka_unit_test(rows_of_other_items_are_refused),
    };
    return cmocka_run_group_tests(tests, program_enter_folder, folder_leave);
}
