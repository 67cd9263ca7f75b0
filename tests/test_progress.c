/** @file
 * What a user sees of a run that goes on: on a terminal, behind mpirun, and in a file. */

#include "base/text.h"
#include "data_files.h"
#include "program.h"

#include <stdlib.h>

enum { LINES = 64, COLUMNS = 200 };

/* A terminal of so many columns, after all that was written to it. */
typedef struct screen {
    char line[LINES][COLUMNS + 1];
    int columns, row, column;
    int redrawn; /* times something was written over what stood in its line */
} screen;

static void put(screen *on, char c)
{
    if (on->column == on->columns) {
        on->row++;
        on->column = 0;
    }
    assert_true(on->row < LINES);
    char *line = on->line[on->row];
    for (size_t length = strlen(line); length < (size_t)on->column; length++)
        line[length] = ' ';
    if (on->column == 0 && line[0]) on->redrawn++;
    line[on->column++] = c;
}

/* Takes what was written as a terminal does: a control that the bar does not use is a failure. */
static screen show(const char *written, int columns)
{
    screen on = {.columns = columns};
    assert_true(columns <= COLUMNS);
    for (const char *at = written; *at; at++) {
        if (*at == '\r') {
            on.column = 0;
        } else if (*at == '\n') {
            on.row++;
        } else if (strncmp(at, "\033[K", 3) == 0) {
            memset(on.line[on.row] + on.column, 0, (size_t)(COLUMNS - on.column));
            at += 2;
        } else {
            assert_true((unsigned char)*at >= 0x20);
            put(&on, *at);
        }
    }
    return on;
}

/* The only line with a text, which must be one. */
static const char *line_with(const screen *on, const char *text)
{
    const char *found = NULL;
    for (int i = 0; i < LINES; i++) {
        if (!strstr(on->line[i], text)) continue;
        if (found) fail_msg("two lines with \"%s\": \"%s\" and \"%s\"", text, found, on->line[i]);
        found = on->line[i];
    }
    if (!found) fail_msg("no line with \"%s\"", text);
    return found;
}

/* Two runs of 80 steps, each of which ends with a bar that tells all, its result below. */
static void assert_two_bars(const screen *on)
{
    static const char *const parts[] = {"run 1 of 2 ", "run 2 of 2 "};
    static const char *const names[] = {"two.seed1 ", "two.seed2 "};
    for (int i = 0; i < 2; i++) {
        const char *bar = line_with(on, parts[i]);
        assert_contains(bar, names[i]);
        assert_contains(bar, "=] 80/80 loss ");
        assert_contains(bar, " tok/s in 0:");
        assert_true(strncmp(bar, parts[i], strlen(parts[i])) == 0);
        const char *result = bar + sizeof on->line[0];
        if (i == 0) result += sizeof on->line[0]; /* behind the head of the table */
        assert_true(strncmp(result, names[i], strlen(names[i])) == 0);
    }
    assert_true(on->redrawn >= 2); /* once a run, however fast */
}

static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_write("two.yaml", "run: {output: out}\nmodel: {config: tiny.json, init: random}\n"
                              "task: {pairs: 16}\nmethod: {name: fft}\nparallel: {threads: 1}\n"
                              "train: {steps: 80, global_batch: 16, micro_batch: 8}\n"
                              "eval: {at_steps: [40], items: 4}\nmatrix: {run.seed: [1, 2]}\n");
    return 0;
}

static void a_terminal_shows_one_line_that_updates(void **state)
{
    (void)state;
    program_result result = program_succeed((program_setting){.columns = 160}, "run two.yaml");
    screen on = show(result.err, 160);
    assert_two_bars(&on);
    program_free(&result);
}

/* Its stderr is a terminal; that of the ranks a pipe, whose width COLUMNS tells, or nobody. */
static void behind_mpirun_the_bar_is_asked_for(void **state)
{
    (void)state;
    program_result result = program_succeed((program_setting){.ranks = 2, .columns = 80},
                                            "run two.yaml --resume never --progress bar");
    screen on = show(result.err, 80);
    assert_contains(line_with(&on, "run 1 of 2 "), "80/80 loss ");
    assert_contains(line_with(&on, "run 2 of 2 "), "80/80 loss ");
    assert_true(on.redrawn >= 2);
    program_free(&result);
    setenv("COLUMNS", "160", 1);
    result = program_succeed((program_setting){.ranks = 2, .columns = 160},
                             "run two.yaml --resume never --progress bar");
    unsetenv("COLUMNS");
    on = show(result.err, 160);
    assert_two_bars(&on);
    program_free(&result);
}

static void a_file_gets_lines_without_controls(void **state)
{
    (void)state;
    for (int ranks = 0; ranks <= 2; ranks += 2) {
        program_result result =
            program_succeed((program_setting){.ranks = ranks}, "run two.yaml --resume never");
        assert_null(strchr(result.err, '\r'));
        assert_null(strchr(result.err, '\033'));
        assert_null(strchr(result.out, '\033'));
        assert_contains(result.err, "mora: run 1 of 2 two.seed1 8/80 loss ");
        assert_contains(result.err, "mora: run 2 of 2 two.seed2 80/80 loss ");
        assert_int_equal(program_lines_with(result.err, "/80 loss "), 22);
        program_free(&result);
    }
}

static void progress_may_be_lines_on_a_terminal_or_nothing(void **state)
{
    (void)state;
    program_result lines = program_succeed((program_setting){.columns = 80},
                                           "run two.yaml --resume never --progress lines");
    assert_null(strchr(lines.err, '\033'));
    assert_contains(lines.err, "mora: run 2 of 2 two.seed2 80/80 loss ");
    program_free(&lines);
    program_result none = program_succeed((program_setting){.columns = 80},
                                          "run two.yaml --resume never --progress none");
    assert_null(strchr(none.err, '\033'));
    assert_null(strstr(none.err, "/80"));
    assert_contains(none.err, "two.seed2: step 40: uuid: accuracy");
    program_free(&none);
}

static void one_run_is_no_part(void **state)
{
    (void)state;
    program_result one =
        program_succeed((program_setting){0}, "run two.yaml --resume never --index 1");
    assert_contains(one.err, "mora: two.seed2 80/80 loss ");
    program_free(&one);
}

static void preparing_shows_the_same(void **state)
{
    (void)state;
    enum { LONG = 2500000 };
    static char text[LONG];
    memset(text, 'x', LONG);
    data_write("long.txt", text, LONG);
    program_result bar =
        program_succeed((program_setting){.columns = 80}, "data prepare long.txt --to bar");
    screen on = show(bar.err, 80);
    assert_contains(line_with(&on, "looking at inputs"), "=] 2/2 MB");
    assert_contains(line_with(&on, "prepare ["), "=] 2/2 MB, ");
    program_free(&bar);
    program_result none = program_succeed((program_setting){.columns = 80},
                                          "data prepare long.txt --to none --progress none");
    assert_null(strstr(none.err, "2/2"));
    program_free(&none);
}

static void a_word_that_is_no_way_to_show_progress_is_named(void **state)
{
    (void)state;
    program_result result = program_run((program_setting){0}, "run two.yaml --progress fancy");
    assert_int_equal(result.exit_code, 2);
    assert_contains(result.err, "mora run: --progress: expected auto, bar, lines or none, found "
                                "\"fancy\"");
    program_free(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_terminal_shows_one_line_that_updates),
        cmocka_unit_test(behind_mpirun_the_bar_is_asked_for),
        cmocka_unit_test(a_file_gets_lines_without_controls),
        cmocka_unit_test(progress_may_be_lines_on_a_terminal_or_nothing),
        cmocka_unit_test(one_run_is_no_part),
        cmocka_unit_test(preparing_shows_the_same),
        cmocka_unit_test(a_word_that_is_no_way_to_show_progress_is_named),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
