/* Published tables as data, several scores, and the neutral table that forms are rendered from. */

#include "folder.h"
#include "report_logs.h"
#include "reported.h"
#include "store/spectra_file.h"
#include "test.h"

#include <math.h>

#define HEAD                                                                                       \
    "tables:\n"                                                                                    \
    "- {name: t, task: uuid, source: S, setting: s, note: n, sample: pairs, columns: [a, b],\n"    \
    "   scores: [{set: uuid, name: accuracy, caption: acc, scale: 100, decimals: 1, better: "

/* cmocka's assertion is of single precision. */
static void assert_near(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-12))
        fail_msg("expected %.17g, found %.17g", expected, value);
}

static void parse(const char *text, mr_paper *out)
{
    must(mr_paper_parse("p.yaml", text, strlen(text), out));
}

static void the_programs_own_tables_are_sound(void **state)
{
    (void)state;
    mr_paper paper = {0};
    mr_text names = {0};
    must(mr_paper_read(&paper));
    mr_paper_names(&paper, &names);
    assert_string_equal(mr_text_get(&names),
                        "table1, table2, table3, table4, table6, table7, figure5");
    assert_int_equal(paper.table[0].rows, 13);
    assert_near(paper.table[0].row[12].value[5], 68.7);
    assert_true(isnan(paper.table[0].row[9].value[0]));
    assert_int_equal(paper.table[0].tasks, 4);
    assert_int_equal(paper.table[1].rows, 5);
    assert_near(paper.table[1].row[4].value[0], 41.6);
    assert_int_equal(mr_paper_only_r(&paper.table[2]), 128);
    mr_text_free(&names);
    mr_paper_free(&paper);
}

/* What is wrong in a file of tables, and the message. */
static const struct {
    const char *text, *message;
} faults[] = {
    {"tables: 7\n", "p.yaml:1:9: expected a list, found \"7\""},
    {"tables: []\n", "p.yaml:1:9: expected a list, found an empty list"},
    {"table: [a]\n", "p.yaml:1:8: unknown key \"table\""},
    {"tables: [{name: a}]\n", "p.yaml:1:10: the key \"task\" is missing"},
    {"tables: [a]\n", "p.yaml:1:10: expected a mapping, found \"a\""},
    {HEAD "higher}],\n  rows: [{method: m, values: [1]}]}\n",
     "p.yaml:4:30: expected as many values as the table has columns"},
    {HEAD "higher}],\n  rows: [{method: m, values: [1, x]}]}\n",
     "p.yaml:4:34: expected a number, found \"x\""},
    {HEAD "higher}],\n  rows: [{method: m, r: -8, values: [1, 2]}]}\n",
     "p.yaml:4:25: expected a whole number, found \"-8\""},
    {HEAD "higher}],\n  rows: [{method: [m], values: [1, 2]}]}\n",
     "p.yaml:4:19: expected a text, found a list"},
    {HEAD "higher}],\n  rows: [{method: m, with: {method.no: 1}, values: [1, 2]}]}\n",
     "p.yaml:4:40: unknown key \"method.no\""},
    {HEAD "best}],\n  rows: [{method: m, values: [1, 2]}]}\n",
     "p.yaml:3:88: expected higher or lower, found \"best\""},
    {HEAD "higher}], choice: loss,\n  rows: [{method: m, values: [1, 2]}]}\n",
     "p.yaml:3:12: choice: no score has the name \"loss\""},
    {HEAD "higher}], by_step: maybe,\n  rows: [{method: m, values: [1, 2]}]}\n",
     "p.yaml:3:107: expected true or false, found \"maybe\""},
    {HEAD "higher},\n   {of: {us: [a/b]}, caption: c, scale: 1, decimals: 1, better: lower}],\n"
          "  rows: [{method: m, values: [1, 2]}]}\n",
     "p.yaml:4:9: of: only where the table has searched: true"},
    {HEAD "higher, column: d}],\n  rows: [{method: m, values: [1, 2]}]}\n",
     "p.yaml:3:13: column: the table has none of the name \"d\""},
    {HEAD "higher},\n   {task: math, set: a, name: b, caption: c, scale: 1, decimals: 1, better: "
          "lower}],\n  rows: [{method: m, values: [1, 2]}]}\n",
     "p.yaml:4:4: task: several only where the table has searched: true"},
    {HEAD "higher},\n   {of: {us: [ab]}, caption: c, scale: 1, decimals: 1, better: lower}],\n"
          "  searched: true, rows: [{method: m, values: [1, 2]}]}\n",
     "p.yaml:4:15: expected SET/DATASET, found \"ab\""},
    {HEAD "higher},\n   {of: {us: a/b}, caption: c, scale: 1, decimals: 1, better: lower}],\n"
          "  searched: true, rows: [{method: m, values: [1, 2]}]}\n",
     "p.yaml:4:14: expected a list of SET/DATASET"},
    {"tables:\n"
     "- {name: t, task: uuid, source: S, setting: s, note: n, sample: pairs, columns: [a],\n"
     "   scores: [{name: n, caption: c, scale: 1, decimals: 1, better: lower}],\n"
     "   rows: [{method: m, values: [1]}]}\n",
     "p.yaml:3:13: expected one of the keys set, spectra and of"},
};

static void a_fault_in_the_tables_is_named_with_its_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        mr_paper paper = {0};
        mr_status status = mr_paper_parse("p.yaml", faults[i].text, strlen(faults[i].text), &paper);
        assert_string_equal(mr_message(), faults[i].message);
        assert_int_equal(status, MR_ERR_CONFIG);
        mr_paper_free(&paper);
    }
}

static void assert_renders(const reported *r, const char *form, const char *part)
{
    mr_text text = {0};
    reported_render(r, form, &text);
    assert_contains(mr_text_get(&text), part);
    mr_text_free(&text);
}

static const char two_scores[] =
    "tables:\n"
    "- {name: two, task: uuid, source: S, setting: s, note: n, sample: pairs, columns: [a],\n"
    "   scores: [{set: uuid, name: accuracy, caption: accuracy (%), scale: 100, decimals: 1,\n"
    "             better: higher},\n"
    "            {set: uuid, name: exact, caption: values missed, scale: 10, decimals: 2,\n"
    "             better: lower, chance: 10}],\n"
    "   choice: exact, rows: [{method: mora, r: 8, values: [~]}]}\n";

static const report_log two_rates[] = {
    {.lr = "0.001", {0.4, 0.9}, .exact = 0.5},
    {.lr = "0.003", {0.2, 0.3}, .exact = 0.25},
    {0},
};

static void one_of_several_scores_chooses_the_rate(void **state)
{
    (void)state;
    reported r;
    report_make_logs("two", false, two_rates);
    reported_make(two_scores, NULL, "two", &r);
    assert_near(r.results[0].setting[0].group[0].best->lr, 0.003);
    assert_renders(
        &r, "text",
        "                         | ours: accuracy (%) | values missed   | paper: r 8\n"
        "method  r  lr      seeds |     step 200       | step 200        |          a\n"
        "mora    8  0.003*  1     |         30.0       |     2.50        |          -\n");
    assert_renders(&r, "text",
                   "ours: rates tried, accuracy (%), values missed at the last step and averaged "
                   "over all evaluations\n");
    assert_renders(&r, "text", "lr: the rate with the best mean of values missed at our last step");
    assert_renders(&r, "text", "; on ties the lower mean");
    assert_renders(&r, "json", "\"score\": \"values missed\",\n     \"chosen_by\"");
    assert_renders(&r, "json",
                   "\"score\": \"accuracy (%)\",\n       \"rules\": null,\n       \"projection\": "
                   "null,\n       \"sets\": [\n        \"uuid/accuracy\"");
    reported_free(&r);
}

/* Writes spectra with snapshots at steps 100 and 200 beside the log of a seed: counts of the layers
 * are step + seed, and twice that. */
static void make_spectra(const char *folder, int64_t seed)
{
    static const int64_t layers[] = {0, 1};
    static const mr_spectra_column column = {"count", "singular values", "above 0.1", true};
    static const mr_spectra_group group = {"q_proj", 4, 4, 2, layers, 1, 0};
    static const mr_spectra_layout layout = {.run = "study",
                                             .method = "mora",
                                             .update = "dW",
                                             .r = 8,
                                             .threshold = 0.1,
                                             .columns = 1,
                                             .column = &column,
                                             .groups = 1,
                                             .group = &group};
    char path[256];
    snprintf(path, sizeof path, "%s/study.mora-r8-lr0.001-seed%lld.spectra.h5", folder,
             (long long)seed);
    mr_spectra_row row;
    must(mr_spectra_row_make(&layout, 0, &row));
    must(mr_spectra_file_create(path, &layout));
    for (int64_t step = 100; step <= 200; step += 100) {
        row.column[0] = (double)(step + seed);
        row.column[1] = 2 * row.column[0];
        must(mr_spectra_file_append(path, &layout, step, &row));
    }
    mr_spectra_row_free(&row);
}

static void counts_of_spectra_stand_beside_the_score_that_chooses(void **state)
{
    (void)state;
    static const char counts[] =
        "tables:\n"
        "- {name: t, task: pretrain, source: S, setting: s, note: n, sample: x, columns: "
        "[ceiling],\n"
        "   scores: [{set: pretrain, name: perplexity, caption: ppl, scale: 1, decimals: 2,\n"
        "             better: lower},\n"
        "            {spectra: q_proj, name: count, caption: q, scale: 1, decimals: 1,\n"
        "             better: higher}],\n"
        "   choice: perplexity, rows: [{method: mora, r: 128, values: [443]}]}\n";
    static const report_log logs[] = {
        {.lr = "0.001", {8, 6}, 2}, {.lr = "0.001", {8, 7}, 4}, {.lr = "0.001", {8, 5}, 6}, {0}};
    reported r;
    report_make_logs("spectra", true, logs);
    make_spectra("spectra", 2);
    make_spectra("spectra", 4);
    reported_make(counts, "t", "spectra", &r);
    /* (202 + 404) / 2 and (204 + 408) / 2, of seeds 2 and 4. */
    assert_renders(&r, "text",
                   "method  r  lr      seeds | step 200        | step 200       |      ceiling\n"
                   "mora    8  0.001+  2     |     6.50 ±0.71  |    304.5 ±2.1  |        443.0\n");
    assert_renders(
        &r, "text",
        "                                         | ppl                        | q\n"
        "method  r  trained  rates  lr      seeds | step 200         all steps | step 200\n"
        "mora    8   12,345  1      0.001+  2     |     6.50 ±0.71        7.25 |    304.5 ±2.1   "
        "best\n");
    assert_renders(&r, "text", "completed, but without");
    assert_renders(&r, "json", "\"projection\": \"q_proj\",\n       \"sets\": []");
    reported_free(&r);
}

/* The cell of our row and the column of a score and step. */
static const mr_cell *cell_of(const mr_table *table, const char *lr, int score, double step)
{
    for (int64_t i = 0; i < table->rows; i++)
        for (int64_t c = 0; c < table->columns; c++)
            if (strcmp(table->cell[i * table->columns + 4].text, lr) == 0 &&
                table->column[c].score == score && fabs(table->column[c].step - step) < 0.5)
                return mr_table_cell(table, i, c);
    fail_msg("no cell %s %d %g", lr, score, step);
    return NULL;
}

static void the_table_holds_mean_spread_and_n_in_the_captions_unit(void **state)
{
    (void)state;
    static const report_log logs[] = {
        {.lr = "0.001", {0.4, 0.9}, 1},
        {.lr = "0.001", {0.2, 0.7}, 2},
        {.lr = "0.003", {0.5, 0.5}, 1},
        {.lr = "0.01", .evaluations = -1},
        {0},
    };
    reported r;
    report_make_logs("cells", false, logs);
    reported_make(two_scores, NULL, "cells", &r);
    const mr_table *rates = &r.report.section[0].table[MR_TABLE_RATES];
    const mr_estimate both = cell_of(rates, "0.001", 0, 100)->value;
    assert_int_equal(both.n, 2);
    assert_near(both.mean, 30);
    assert_near(both.spread, 100 * sqrt(0.02));
    assert_int_equal(cell_of(rates, "0.003", 0, 200)->value.n, 1);
    assert_near(cell_of(rates, "0.003", 0, 200)->value.mean, 50);
    assert_int_equal(cell_of(rates, "0.01", 0, 200)->value.n, 0);
    const mr_table *scores = &r.report.section[0].table[MR_TABLE_SCORES];
    assert_int_equal(scores->column[scores->columns - 1].part, MR_COLUMN_PAPER);
    assert_int_equal(mr_table_cell(scores, 0, scores->columns - 1)->value.n, 0);
    reported_free(&r);
}

static void rows_of_the_paper_are_found_by_keys(void **state)
{
    (void)state;
    static const char operators[] =
        "tables:\n"
        "- {name: four, task: uuid, source: S, setting: s, note: n, sample: pairs, columns: [a],\n"
        "   scores: [{set: uuid, name: accuracy, caption: acc, scale: 100, decimals: 1,\n"
        "             better: higher}],\n"
        "   rows: [{method: mora, r: 8, with: {method.operator: sharing}, values: [62.5]},\n"
        "          {method: mora, r: 8, with: {method: {operator: rotation}}, values: [64.2]}]}\n";
    static const report_log log = {.lr = "0.001", {0.1, 0.5}, .set = "method.operator=rotation"};
    reported r;
    report_make_log("keys", false, log);
    reported_make(operators, "four", "keys", &r);
    assert_renders(&r, "text",
                   "method                  r  lr     seeds | step 200       |          a\n"
                   "mora operator=sharing   -  -      -     |        -       |       62.5\n"
                   "mora operator=rotation  8  0.001  1     |     50.0       |       64.2\n");
    reported_free(&r);
}

static void of_tables_of_one_name_the_task_of_the_logs_decides(void **state)
{
    (void)state;
    static const char shared[] =
        "tables:\n"
        "- {name: one, task: pretrain, source: S, setting: s, note: n, sample: x, columns: [a],\n"
        "   scores: [{set: pretrain, name: perplexity, caption: ppl, scale: 1, decimals: 1,\n"
        "             better: lower}], rows: [{method: mora, r: 8, values: [1]}]}\n"
        "- {name: one, task: uuid, source: S, setting: s, note: n, sample: x, columns: [a],\n"
        "   scores: [{set: uuid, name: accuracy, caption: acc, scale: 1, decimals: 1,\n"
        "             better: higher}], rows: [{method: mora, r: 8, values: [2]}]}\n";
    mr_paper paper = {0};
    mr_text names = {0};
    const mr_paper_table *table;
    parse(shared, &paper);
    mr_paper_names(&paper, &names);
    assert_string_equal(mr_text_get(&names), "one");
    report_make_logs("shared_uuid", false, two_rates);
    const char *const folder = "shared_uuid";
    mr_text others = {0};
    must(mr_paper_choose(&paper, "one", &folder, 1, &table, &others));
    assert_string_equal(table->measure->task, "uuid");
    assert_string_equal(mr_text_get(&others), "");
    assert_int_equal(mr_paper_choose(&paper, "two", &folder, 1, &table, &others), MR_ERR_USAGE);
    assert_string_equal(mr_message(), "unknown table \"two\"; known are: one");
    mr_text_free(&names);
    mr_paper_free(&paper);
}

static void what_differs_by_rounding_is_a_tie(void **state)
{
    (void)state;
    const double value[] = {0.1, 0.2, 0.3};
    mr_estimate three = mr_estimate_of(value, 3), one = mr_estimate_of(value, 1);
    assert_int_equal(three.n, 3);
    assert_near(three.mean, 0.2);
    assert_near(three.spread, 0.1);
    assert_int_equal(one.n, 1);
    assert_near(one.spread, 0);
    assert_int_equal(mr_estimate_of(NULL, 0).n, 0);
    assert_true(mr_statistics_lead(0.1 + 0.2, 0.3, false) >= 0);
    assert_near(mr_statistics_lead(0.1 + 0.2, 0.3, false), 0);
    assert_near(mr_statistics_lead(1e20 * (1 + 1e-14), 1e20, false), 0);
    assert_true(mr_statistics_lead(2, 1, false) > 0 && mr_statistics_lead(2, 1, true) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_programs_own_tables_are_sound),
        cmocka_unit_test(a_fault_in_the_tables_is_named_with_its_place),
        cmocka_unit_test(one_of_several_scores_chooses_the_rate),
        cmocka_unit_test(counts_of_spectra_stand_beside_the_score_that_chooses),
        cmocka_unit_test(the_table_holds_mean_spread_and_n_in_the_captions_unit),
        cmocka_unit_test(rows_of_the_paper_are_found_by_keys),
        cmocka_unit_test(of_tables_of_one_name_the_task_of_the_logs_decides),
        cmocka_unit_test(what_differs_by_rounding_is_a_tie),
    };
    return cmocka_run_group_tests_name("report_paper", tests, folder_enter, folder_leave);
}
