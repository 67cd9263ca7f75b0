/* Sets of evaluation as data: what their YAML may say, how files are read, and what is said of bad
 * ones. */

#include "data_files.h"
#include "eval/set_scores.h"
#include "folder.h"

#include <math.h>

static void write_text(const char *path, const char *text)
{
    data_write(path, text, strlen(text));
}

static void every_set_of_the_program_is_one(void **state)
{
    (void)state;
    mr_sets sets;
    must(mr_sets_load(NULL, &sets));
    assert_true(sets.count >= 30);
    for (int i = 0; i < sets.count; i++) {
        assert_true(sets.set[i].version >= 1);
        assert_true(sets.set[i].about[0] != '\0' && sets.set[i].source[0] != '\0');
    }
    mr_sets_free(&sets);
}

#define HEAD "sets:\n  - name: own\n    version: 1\n"
#define OPTIONS "    options: [a, b]\n    gold: label\n    metric: accuracy\n"
#define RULES "    rules: [first_line]\n    gold: label\n    new_tokens: 4\n"
#define ASK "    item: [{field: text}]\n"
#define ITEMS "    items: [items.txt]\n"

static mr_set *load(mr_sets *sets, const char *yaml)
{
    write_text("own.yaml", yaml);
    must(mr_sets_load("own.yaml", sets));
    return &sets->set[0];
}

static void prompt_is(const mr_set *set, int64_t item, const char *expected)
{
    mr_text text = {0};
    must(mr_set_prompt(set, item, set->shots.count, &text));
    assert_string_equal(mr_text_get(&text), expected);
    mr_text_free(&text);
}

static void id_is(const mr_set *set, int64_t item, const char *expected)
{
    mr_text text = {0};
    must(mr_set_id(set, item, &text));
    assert_string_equal(mr_text_get(&text), expected);
    mr_text_free(&text);
}

static void option_is(const mr_set *set, int64_t item, int64_t option, const char *expected)
{
    mr_text text = {0};
    must(mr_set_option(set, item, option, &text));
    assert_string_equal(mr_text_get(&text), expected);
    mr_text_free(&text);
}

static void rows_of_cells_are_read(void **state)
{
    (void)state;
    mr_sets sets;
    mr_set *set =
        load(&sets, HEAD "    items: [x/*_test.csv]\n    read: csv\n"
                         "    columns: [text, label]\n    class: \"@file\"\n" OPTIONS ASK);
    data_shell("mkdir -p x");
    write_text("x/one_test.csv", "plain,a\r\n\"two\r\nlines, and \"\"quotes\"\"\",b\r\n");
    write_text("x/two_test.csv", "\xef\xbb\xbfnot \"quoted\",b\n , a"
                                 "\n"
                                 "\" \",a");
    assert_int_equal(mr_set_read(set, "."), MR_ERR_FORMAT);
    assert_contains(mr_message(),
                    "x/two_test.csv:2: expected one of a, b in field \"label\", found \" a\"");
    mr_sets_free(&sets);
    set = load(&sets, HEAD "    items: [x/*_test.csv]\n    read: csv\n"
                           "    columns: [text, label]\n    class: \"@file\"\n" OPTIONS ASK);
    write_text("x/two_test.csv", "\xef\xbb\xbfnot \"quoted\",b\n\n\" \",a");
    must(mr_set_read(set, "."));
    assert_int_equal(set->items, 4);
    prompt_is(set, 0, "plain");
    prompt_is(set, 1, "two\r\nlines, and \"quotes\"");
    prompt_is(set, 2, "not \"quoted\"");
    prompt_is(set, 3, " ");
    id_is(set, 1, "one/1");
    id_is(set, 3, "two/1");
    option_is(set, 3, 1, " b");
    assert_int_equal(set->record[set->at[1]].gold, 1);
    assert_int_equal(set->class_count, 2);
    mr_sets_free(&sets);
    /* Rows that end as spreadsheets of older systems write them. */
    set = load(&sets, HEAD "    items: [x/two_test.csv]\n    read: csv\n" OPTIONS ASK);
    write_text("x/two_test.csv", "text,label\rone,a\rtwo,b\r\r\nthree,a\r");
    must(mr_set_read(set, "."));
    assert_int_equal(set->items, 3);
    prompt_is(set, 1, "two");
    prompt_is(set, 2, "three");
    mr_sets_free(&sets);
}

static void json_of_any_form_is_read(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "{\"text\": \"q\", \"o\": [\"x\", \"y\"], \"label\": 1}\n",
        "[{\"text\": \"q\",\n \"o\": [\"x\", \"y\"], \"label\": 1}]",
        "{\n \"text\": \"q\",\n \"o\": [\"x\", \"y\"],\n \"label\": 1\n}\n",
    };
    for (int i = 0; i < 3; i++) {
        mr_sets sets;
        mr_set *set = load(&sets, HEAD ITEMS "    options_from: [o]\n    gold: label\n"
                                             "    metric: accuracy\n" ASK);
        write_text("items.txt", forms[i]);
        must(mr_set_read(set, "."));
        assert_int_equal(set->items, 1);
        prompt_is(set, 0, "q");
        option_is(set, 0, 1, " y");
        assert_int_equal(mr_set_options(set, 0), 2);
        mr_sets_free(&sets);
    }
}

static void a_file_a_record_is_named_by_its_path(void **state)
{
    (void)state;
    mr_sets sets;
    mr_set *set = load(&sets, HEAD "    items: [m/*/t_*.json]\n" OPTIONS ASK);
    data_shell("mkdir -p m/one m/two");
    write_text("m/one/t_1.json", "{\n\"text\": \"q\",\n\"label\": \"a\"\n}\n");
    write_text("m/two/t_1.json", "{\n\"text\": \"r\",\n\"label\": \"b\"\n}\n");
    data_pack("m/two/t_1.json", "m/two/t_2.json.xz", DATA_XZ);
    must(mr_set_read(set, "./."));
    assert_int_equal(set->items, 2); /* what is compressed counts where nothing else is there */
    id_is(set, 0, "one/t_1/0");
    id_is(set, 1, "two/t_1/0");
    prompt_is(set, 1, "r");
    mr_sets_free(&sets);
    remove("m/one/t_1.json");
    remove("m/two/t_1.json");
    set = load(&sets, HEAD "    items: [m/*/t_*.json]\n" OPTIONS ASK);
    must(mr_set_read(set, "."));
    id_is(set, 0, "two/t_2/0");
    mr_sets_free(&sets);
}

static void lines_of_two_encodings_are_read(void **state)
{
    (void)state;
    mr_sets sets;
    mr_set *set = load(&sets, HEAD ITEMS
                       "    read: lines\n    latin1: true\n    fields:\n"
                       "      - {name: text, of: line, pattern: \"^(.*)@\"}\n"
                       "      - {name: label, of: line, pattern: \"@([^@]*)$\"}\n" OPTIONS ASK);
    write_text("items.txt", "M\xe4nts@l\xe4@a\r\n\xc3\xa4@b\n");
    must(mr_set_read(set, "."));
    prompt_is(set, 0, "M\xc3\xa4nts@l\xc3\xa4");
    prompt_is(set, 1, "\xc3\xa4");
    mr_sets_free(&sets);
}

static void a_published_file_of_latin1_is_read(void **state)
{
    (void)state;
    mr_sets sets;
    char data[TEST_PATH];
    test_shared("data", data);
    mr_set *set = load(&sets, "sets:\n  - name: own\n    like: fpb\n"
                              "    items: [finance/fpb_Sentences_AllAgree.txt]\n");
    must(mr_set_read(set, data));
    assert_int_equal(set->items, 2264 - 5);
    mr_sets_free(&sets);
}

static void names_in_tokens_are_entities(void **state)
{
    (void)state;
    mr_sets sets;
    mr_set *set =
        load(&sets, HEAD ITEMS "    read: conll\n    needs: entities\n    rules: [adaptllm_ner]\n"
                               "    gold: entities\n    new_tokens: 4\n" ASK);
    write_text("items.txt", "-DOCSTART- -X- O\n\nno NN - O\n\nAn NN - B-PER\nna NN - I-PER\n"
                            "of NN - O\nRome NN - I-LOC\nBob NN - I-PER");
    must(mr_set_read(set, "."));
    char room[32];
    size_t bytes;
    assert_int_equal(set->items, 1);
    id_is(set, 0, "1");
    prompt_is(set, 0, "An na of Rome Bob");
    assert_string_equal(mr_set_answer(set, 0, room, &bytes), "An na (PER), Rome (LOC), Bob (PER)");
    mr_sets_free(&sets);
}

static void shots_are_left_out_of_the_items_they_are_of(void **state)
{
    (void)state;
    mr_sets sets;
    mr_set *set = load(&sets, HEAD ITEMS "    shots: {count: 3, take: round_robin}\n"
                                         "    shot: [{field: text}, {text: \" \"}, {field: "
                                         "\"@option\"}, {text: \" \"}]\n" OPTIONS ASK);
    write_text("items.txt",
               "{\"text\": \"1\", \"label\": \"b\"}\n{\"text\": \"2\", \"label\": \"b\"}\n"
               "{\"text\": \"3\", \"label\": \"a\"}\n{\"text\": \"4\", \"label\": \"b\"}\n");
    must(mr_set_read(set, "."));
    assert_int_equal(set->items, 1);
    prompt_is(set, 0, "3 a 1 b 2 b 4");
    mr_sets_free(&sets);
}

static const mr_set_group_score *group_of(const mr_set_scores *scores, int by, const char *name)
{
    for (int64_t g = 0; g < scores->groups; g++)
        if (scores->group[g].by == by && strcmp(scores->group[g].name, name) == 0)
            return &scores->group[g];
    fail_msg("no group %s", name);
    return NULL;
}

/* Three subjects, two of them of one group: 1 1 0 0, 1 0 and 1 1 1 0 right. */
static void groups_of_subjects_are_scored(void **state)
{
    (void)state;
    static const double right[] = {1, 1, 0, 0, 1, 0, 1, 1, 1, 0};
    static const char yaml[] =
        HEAD ITEMS "    read: csv\n    fields:\n      - name: group\n        of: subject\n"
                   "        among: [{name: one, texts: [x, y]}, {name: two, texts: [z]}]\n"
                   "    class: subject\n    by: [group]\n" OPTIONS ASK
                   "  - {name: plain, like: own, by: []}\n";
    mr_sets sets;
    mr_set *set = load(&sets, yaml);
    const mr_set_run_options options = {.limit = 0};
    mr_set_run run;
    mr_set_outcome outcomes[10] = {0};
    mr_set_scores scores;
    write_text("items.txt", "subject,text,label\nx,q,a\nx,q,a\ny,q,a\nx,q,a\nx,q,a\ny,q,a\nz,q,a\n"
                            "z,q,a\nz,q,a\nz,q,a\n");
    must(mr_set_read(set, "."));
    must(mr_set_run_begin(set, &options, &run));
    for (int i = 0; i < 10; i++)
        outcomes[i].score[0] = right[i];
    must(mr_set_scores_of(&run, outcomes, &scores));
    assert_int_equal(scores.groups, 5);
    const mr_estimate one = group_of(&scores, 1, "one")->score[0];
    const mr_estimate two = group_of(&scores, 1, "two")->score[0];
    /* Within x 4 (1/2)^2, within y 2 (1/2)^2: 1.5 of 6 - 2; within z 3/4 of 4 - 1. */
    assert_int_equal(one.n, 6);
    assert_true(fabs(one.mean - 0.5) < 1e-12);
    assert_true(fabs(mr_estimate_error(one) - sqrt(1.5 / 4 / 6)) < 1e-12);
    assert_true(fabs(mr_estimate_error(two) - sqrt(0.75 / 3 / 4)) < 1e-12);
    assert_true(fabs(scores.score[0].value - 0.6) < 1e-12);
    assert_true(fabs(scores.score[0].error - sqrt(2.25 / 7 / 10)) < 1e-12);
    mr_set_scores_free(&scores);
    mr_set_run_end(&run);
    assert_int_equal(sets.set[1].by.count, 0);
    write_text("items.txt", "subject,text,label\nw,q,a\n");
    assert_int_equal(mr_set_read(&sets.set[1], "."), MR_ERR_FORMAT);
    assert_contains(
        mr_message(),
        "items.txt:2: \"w\" of field \"subject\" is not among the texts of field \"group\"");
    mr_sets_free(&sets);
}

static void a_set_that_is_none_is_told_of(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *message;
    } cases[] = {
        {"sets: []\n", "own.yaml:1:7: expected a list, found an empty list"},
        {HEAD ITEMS OPTIONS ASK "    colour: red\n", "unknown key \"colour\""},
        {HEAD OPTIONS ASK, "own.yaml:2:5: set \"own\": the key \"items\" is missing"},
        {HEAD ITEMS OPTIONS, "the key \"item\" is missing"},
        {HEAD ITEMS OPTIONS ASK "    new_tokens: 3\n", "are for what is generated"},
        {HEAD ITEMS ASK "    gold: label\n", "one of the keys options, options_from and rules"},
        {HEAD ITEMS RULES ASK "    metric: accuracy\n",
         "metric, labels and most_tokens are for options"},
        {HEAD ITEMS ASK "    gold: label\n    rules: [nothing]\n",
         "one of lm_eval_gsm8k_strict, lm_eval_gsm8k_flexible"},
        {HEAD ITEMS OPTIONS ASK "    labels: [x]\n", "expected as many labels as options"},
        {HEAD ITEMS ASK "    options: [a]\n    gold: l\n    metric: f2\n",
         "expected a metric, one of accuracy, micro_f1, weighted_f1, macro_f1, "
         "grouped_weighted_f1; found \"f2\""},
        {HEAD ITEMS ASK "    options: [a]\n    gold: l\n    metric: grouped_weighted_f1\n",
         "needs the key \"class\""},
        {HEAD ITEMS OPTIONS "    item: [{token: eos}]\n",
         "own.yaml:8:12: expected a text or a field, and nothing learned"},
        {HEAD ITEMS OPTIONS ASK "    shots: {count: 2}\n", "the key \"shot\" is missing"},
        {HEAD ITEMS OPTIONS ASK "    shots: {take: last}\n",
         "expected first, round_robin or drawn"},
        {HEAD ITEMS OPTIONS ASK "    like: nothing\n", "there is no set \"nothing\" to be like"},
        {HEAD ITEMS OPTIONS ASK "    like: own\n", "without end"},
        {HEAD ITEMS OPTIONS ASK "    fields: [{name: x, of: y}]\n",
         "expected one of the keys pattern, join, words, rule and among"},
        {HEAD ITEMS OPTIONS ASK "    fields: [{name: x, of: y, pattern: \"(a\"}]\n",
         "own.yaml:9:14: '(a' is no regular expression: missing closing parenthesis"},
        {HEAD ITEMS OPTIONS ASK "    fields: [{name: x, of: y, pattern: a}]\n",
         "own.yaml:9:14: expected a group in the pattern 'a'"},
        {HEAD ITEMS OPTIONS ASK "    read: csv\n    columns: [text, label, text]\n",
         "two columns of one name"},
        {HEAD ITEMS OPTIONS ASK "    metrik: accuracy\n", "own.yaml:9:13: unknown key \"metrik\""},
        {"sets:\n  - name: own\n" ITEMS RULES ASK, "the key \"version\" is missing"},
        {"sets:\n  - {name: a, like: b}\n  - {name: b, like: a}\n", "without end"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mr_sets sets;
        write_text("own.yaml", cases[i].yaml);
        assert_int_equal(mr_sets_load("own.yaml", &sets), MR_ERR_CONFIG);
        assert_contains(mr_message(), cases[i].message);
    }
    mr_sets sets;
    assert_int_equal(mr_sets_load("mmlu", &sets), MR_ERR_USAGE);
    assert_contains(mr_message(), "there is no set \"mmlu\"; expected one of mmlu_lm_eval_5, ");
    assert_int_equal(mr_sets_load("fpb,fpb", &sets), MR_ERR_CONFIG);
    assert_string_equal(mr_message(), "the set \"fpb\" is there already");
    assert_int_equal(mr_sets_load("fpb,,ner", &sets), MR_ERR_USAGE);
    assert_contains(mr_message(), "the name of a set before every comma, found \"fpb,,ner\"");
    assert_int_equal(mr_sets_load("none.yaml", &sets), MR_ERR_IO);
}

static void a_file_that_does_not_fit_is_told_of(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *file, *message;
        mr_status status;
    } cases[] = {
        {OPTIONS ASK, "{\"text\": \"q\"}\n",
         "items.txt:1: expected the right answer in field \"label\", found nothing", MR_ERR_FORMAT},
        {OPTIONS ASK, "{\"text\": \"q\", \"label\": \"c\"}\n",
         "items.txt:1: expected one of a, b in field \"label\", found \"c\"", MR_ERR_FORMAT},
        {OPTIONS ASK, "{\"text\": \"q\", \"label\": 2}\n",
         "items.txt:1: expected the right option, 0..1, in field \"label\", found 2",
         MR_ERR_FORMAT},
        {OPTIONS ASK, "{\"label\": \"a\"}\n\n{\"label\": \"a\"\n", "items.txt:3: ", MR_ERR_FORMAT},
        {RULES ASK, "{\"text\": \"q\", \"label\": null}\n", "found null", MR_ERR_FORMAT},
        {OPTIONS ASK "    class: c\n", "{\"text\": \"q\", \"label\": \"a\"}\n",
         "items.txt:1: expected text in field \"c\", found nothing", MR_ERR_FORMAT},
        {OPTIONS ASK "    class: label\n    classes: [b]\n",
         "{\"text\": \"q\", \"label\": \"a\"}\n", "set own: its files hold no item", MR_ERR_FORMAT},
        {OPTIONS ASK "    shots: {count: 2}\n    shot: [{field: text}]\n",
         "{\"text\": \"q\", \"label\": \"a\"}\n", "expected 2 records to take shots from, found 1",
         MR_ERR_FORMAT},
        {OPTIONS ASK "    shots: {count: 1}\n    shot: [{field: text}]\n",
         "{\"text\": \"q\", \"label\": \"a\"}\n", "all of its records are shots", MR_ERR_FORMAT},
        {OPTIONS ASK "    read: csv\n", "text,label\nq\n", "items.txt:2: expected 2 cells, found 1",
         MR_ERR_FORMAT},
        {OPTIONS ASK "    read: csv\n", "text,label\n\"q,a\n",
         "items.txt:2: a quote that is not closed", MR_ERR_FORMAT},
        {OPTIONS ASK "    read: csv\n", "text,label,text\nq,a,r\n",
         "items.txt:1: two columns \"text\"", MR_ERR_FORMAT},
        {OPTIONS ASK "    read: csv\n", "text,label\nq\xff,a\n",
         "items.txt:2: a cell that is not UTF-8", MR_ERR_FORMAT},
        {OPTIONS ASK, "{\"label\": \"a\"}\n",
         "items.txt:1: expected text in field \"text\", found nothing", MR_ERR_FORMAT},
        {OPTIONS ASK "    begin: [{field: head}]\n", "{\"text\": \"q\", \"label\": \"a\"}\n",
         "items.txt:1: expected text in field \"head\", found nothing", MR_ERR_FORMAT},
        {RULES ASK "    shots: {count: 1}\n    shot: [{field: done}]\n",
         "{\"text\": \"q\", \"label\": \"a\"}\n{\"text\": \"q\", \"label\": \"a\"}\n",
         "items.txt:1: expected text in field \"done\", found nothing", MR_ERR_FORMAT},
        {OPTIONS ASK "    read: lines\n", "\xe4\n", "items.txt:1: not UTF-8", MR_ERR_FORMAT},
        {OPTIONS ASK "    read: abstracts\n", "A\tb\n", "items.txt:1: expected \"###\"",
         MR_ERR_FORMAT},
        {OPTIONS ASK "    read: abstracts\n", "###1\nA b\n",
         "items.txt:2: expected a label, a tab and a sentence", MR_ERR_FORMAT},
        {OPTIONS ASK "    read: conll\n", "word\n", "items.txt:1: expected a token and its tag",
         MR_ERR_FORMAT},
        {OPTIONS ASK "    read: conll\n", "word X\n", "items.txt:1: expected a tag O, or as I-PER",
         MR_ERR_FORMAT},
        {OPTIONS ASK "    read: conll\n", "word I-\n", "items.txt:1: expected a tag O, or as I-PER",
         MR_ERR_FORMAT},
        {OPTIONS ASK "    read: keyed\n", "{\"1\": 2}", "expected an object under \"1\"",
         MR_ERR_FORMAT},
        {OPTIONS ASK "    read: conversations\n", "{\"questions\": []}\n",
         "items.txt:1: expected lists of as many questions as answers", MR_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mr_sets sets;
        char yaml[2048];
        snprintf(yaml, sizeof yaml, HEAD ITEMS "%s", cases[i].yaml);
        mr_set *set = load(&sets, yaml);
        write_text("items.txt", cases[i].file);
        assert_int_equal(mr_set_read(set, "."), cases[i].status);
        assert_contains(mr_message(), cases[i].message);
        mr_sets_free(&sets);
    }
    mr_sets sets;
    mr_set *set = load(&sets, HEAD "    items: [[a.x, b.x], c*.x]\n" OPTIONS ASK);
    assert_int_equal(mr_set_read(set, "."), MR_ERR_IO);
    assert_contains(mr_message(), "set own: '.' has none of its files: a.x with b.x, c*.x");
    mr_sets_free(&sets);
}

static void options_stand_behind_prompts_by_two_rules(void **state)
{
    (void)state;
    static const char *const rules[] = {"lm_eval", "whole"};
    mr_tokenizer *bytes;
    must(mr_tokenizer_create("bytes", &bytes));
    for (int i = 0; i < 2; i++) {
        mr_sets sets;
        mr_set_encoded ids;
        char yaml[1024];
        snprintf(yaml, sizeof yaml, HEAD ITEMS OPTIONS ASK "    border: %s\n", rules[i]);
        mr_set *set = load(&sets, yaml);
        write_text("items.txt", "{\"text\": \"q \", \"label\": \"a\"}\n");
        must(mr_set_read(set, "."));
        must(mr_set_encode(set, 0, bytes, true, 64, &ids));
        assert_int_equal(ids.tokens.count, 2);
        assert_int_equal(ids.tokens.options[1].prompt.length,
                         bytes->before_count + (i == 0 ? 1 : 2));
        assert_int_equal(ids.tokens.options[1].text.length, i == 0 ? 3 : 2);
        mr_item_tokens_free(&ids.tokens);
        mr_sets_free(&sets);
    }
    mr_sets sets;
    mr_set_encoded ids;
    mr_set *set = load(&sets, HEAD ITEMS RULES ASK "    prompt_tokens: 9\n");
    write_text("items.txt", "{\"text\": \"0123456789\", \"label\": \"a\"}\n");
    must(mr_set_read(set, "."));
    must(mr_set_encode(set, 0, bytes, false, 12, &ids));
    assert_int_equal(ids.tokens.options[0].prompt.length, 8); /* 12 less 4 to be generated */
    assert_int_equal(ids.tokens.options[0].prompt.ids[0], '2');
    assert_int_equal(ids.cut, 2);
    mr_item_tokens_free(&ids.tokens);
    must(mr_set_encode(set, 0, bytes, false, 64, &ids));
    assert_int_equal(ids.tokens.options[0].prompt.length, 9);
    mr_item_tokens_free(&ids.tokens);
    assert_int_equal(mr_set_encode(set, 0, bytes, false, 4, &ids), MR_ERR_ARG);
    assert_contains(mr_message(), "items.txt: item 0: the model takes 4 tokens, and 4 are to be");
    mr_sets_free(&sets);
    mr_tokenizer_destroy(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_set_of_the_program_is_one),
        cmocka_unit_test(rows_of_cells_are_read),
        cmocka_unit_test(json_of_any_form_is_read),
        cmocka_unit_test(a_file_a_record_is_named_by_its_path),
        cmocka_unit_test(lines_of_two_encodings_are_read),
        cmocka_unit_test(a_published_file_of_latin1_is_read),
        cmocka_unit_test(names_in_tokens_are_entities),
        cmocka_unit_test(shots_are_left_out_of_the_items_they_are_of),
        cmocka_unit_test(groups_of_subjects_are_scored),
        cmocka_unit_test(a_set_that_is_none_is_told_of),
        cmocka_unit_test(a_file_that_does_not_fit_is_told_of),
        cmocka_unit_test(options_stand_behind_prompts_by_two_rules),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave);
}
