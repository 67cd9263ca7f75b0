#include "base/clock.h"
#include "base/file.h"
#include "base/random.h"
#include "folder.h"
#include "store/runlog.h"
#include "store/runlog_read.h"
#include "test.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const char path[] = "run.h5", beside[] = "run.h5.tmp";

static int remove_file(void **state)
{
    (void)state;
    unlink(path);
    unlink(beside);
    return 0;
}

static mr_runlog *create(void)
{
    mr_runlog *log;
    must(mr_runlog_create(path, &log));
    return log;
}

static mr_runlog_reader *open_log(void)
{
    mr_runlog_reader *reader;
    must(mr_runlog_open(path, &reader));
    return reader;
}

/* The training row of a step: every value follows from the step. */
static mr_runlog_step row_of(int64_t step)
{
    double x = (double)step;
    return (mr_runlog_step){step, 1000.25 + x, 1e-3 / x, x / 3.0, 512 * step, 0.5 * x};
}

static void train(mr_runlog *log, int64_t first, int64_t last)
{
    for (int64_t step = first; step <= last; step++) {
        mr_runlog_step row = row_of(step);
        must(mr_runlog_train(log, &row));
    }
}

static void evaluate(mr_runlog *log, int64_t step, double accuracy)
{
    const char *const names[] = {"accuracy", "loss"};
    const double scores[] = {accuracy, 2.0 * accuracy};
    const float items[] = {0.0f, (float)step, 1.0f};
    must(mr_runlog_eval(log, "uuid", step, names, scores, 2, items, 3));
}

/* Checks one series: its count, and each value against row_of. */
static int64_t check_series(mr_runlog_reader *reader, const char *name, size_t offset, bool whole)
{
    double *values;
    int64_t count;
    must(mr_runlog_series(reader, name, &values, &count));
    bool same = true;
    for (int64_t i = 0; i < count; i++) {
        mr_runlog_step row = row_of(i + 1);
        const char *at = (const char *)&row + offset;
        double expected;
        if (whole) {
            int64_t number;
            memcpy(&number, at, sizeof number);
            expected = (double)number;
        } else {
            memcpy(&expected, at, sizeof expected);
        }
        same = same && values[i] == expected;
    }
    mr_free(values);
    assert_true(same);
    return count;
}

/* Checks that /train holds steps 1..n for some n, which is returned. */
static int64_t check_train(mr_runlog_reader *reader)
{
    int64_t n = check_series(reader, "/train/step", offsetof(mr_runlog_step, step), true);
    assert_int_equal(check_series(reader, "/train/tokens", offsetof(mr_runlog_step, tokens), true),
                     n);
    assert_int_equal(check_series(reader, "/train/loss", offsetof(mr_runlog_step, loss), false), n);
    assert_int_equal(check_series(reader, "/train/lr", offsetof(mr_runlog_step, lr), false), n);
    assert_int_equal(
        check_series(reader, "/train/grad_norm", offsetof(mr_runlog_step, grad_norm), false), n);
    assert_int_equal(
        check_series(reader, "/train/seconds", offsetof(mr_runlog_step, seconds), false), n);
    return n;
}

static void training_rows_are_read_back(void **state)
{
    (void)state;
    mr_runlog *log = create();
    train(log, 1, 3000);
    must(mr_runlog_close(&log));
    assert_null(log);
    mr_runlog_reader *reader = open_log();
    int64_t count = check_train(reader);
    mr_runlog_close_reader(&reader);
    assert_null(reader);
    assert_int_equal(count, 3000);
}

static void a_loss_that_is_not_finite_is_kept(void **state)
{
    (void)state;
    mr_runlog *log = create();
    must(mr_runlog_train(log, &(mr_runlog_step){1, NAN, 0.1, INFINITY, 1, 1.0}));
    must(mr_runlog_close(&log));
    mr_runlog_reader *reader = open_log();
    double *loss;
    int64_t count;
    must(mr_runlog_series(reader, "/train/loss", &loss, &count));
    bool kept = count == 1 && isnan(loss[0]);
    mr_free(loss);
    mr_runlog_close_reader(&reader);
    assert_true(kept);
}

static void attributes_are_read_back(void **state)
{
    (void)state;
    mr_runlog *log = create();
    must(mr_runlog_set_text(log, "method", "mora"));
    must(mr_runlog_set_text(log, "empty", ""));
    must(mr_runlog_set_int(log, "seed", -42));
    must(mr_runlog_set_double(log, "lr", 0.1));
    must(mr_runlog_close(&log));
    mr_runlog_reader *reader = open_log();
    char *method, *empty;
    int64_t seed;
    double lr;
    must(mr_runlog_get_text(reader, "method", &method));
    must(mr_runlog_get_text(reader, "empty", &empty));
    must(mr_runlog_get_int(reader, "seed", &seed));
    must(mr_runlog_get_double(reader, "lr", &lr));
    assert_true(mr_runlog_has_attribute(reader, "seed"));
    assert_false(mr_runlog_has_attribute(reader, "speed"));
    mr_runlog_close_reader(&reader);
    assert_string_equal(method, "mora");
    assert_string_equal(empty, "");
    mr_free(method);
    mr_free(empty);
    assert_int_equal(seed, -42);
    assert_true(lr == 0.1);
}

static void the_format_and_its_version_are_in_the_file(void **state)
{
    (void)state;
    mr_runlog *log = create();
    must(mr_runlog_close(&log));
    mr_runlog_reader *reader = open_log();
    char *format;
    int64_t version;
    must(mr_runlog_get_text(reader, "format", &format));
    must(mr_runlog_get_int(reader, "format_version", &version));
    mr_runlog_close_reader(&reader);
    assert_string_equal(format, "mora-run-log");
    mr_free(format);
    assert_int_equal(version, 1);
}

static void attributes_can_be_set_again(void **state)
{
    (void)state;
    mr_runlog *log = create();
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "key%d", i);
        must(mr_runlog_set_text(log, name, "a first value"));
    }
    must(mr_runlog_set_text(log, "stop_reason", "running"));
    must(mr_runlog_flush(log, true));
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "key%d", i);
        must(mr_runlog_set_int(log, name, i));
    }
    must(mr_runlog_set_text(log, "stop_reason", "all steps were taken"));
    must(mr_runlog_close(&log));
    mr_runlog_reader *reader = open_log();
    char *reason;
    int64_t value;
    must(mr_runlog_get_text(reader, "stop_reason", &reason));
    must(mr_runlog_get_int(reader, "key39", &value));
    mr_runlog_close_reader(&reader);
    assert_string_equal(reason, "all steps were taken");
    mr_free(reason);
    assert_int_equal(value, 39);
}

static void a_long_text_is_an_attribute_too(void **state)
{
    (void)state;
    enum { LENGTH = 200000 };
    char *text = mr_alloc(MR_MEM_OTHER, LENGTH + 1), *got;
    memset(text, 'y', LENGTH);
    mr_runlog *log = create();
    must(mr_runlog_set_text(log, "config", text));
    must(mr_runlog_close(&log));
    mr_runlog_reader *reader = open_log();
    must(mr_runlog_get_text(reader, "config", &got));
    mr_runlog_close_reader(&reader);
    bool same = strcmp(got, text) == 0;
    mr_free(got);
    mr_free(text);
    assert_true(same);
}

static void a_missing_attribute_is_named(void **state)
{
    (void)state;
    mr_runlog *log = create();
    must(mr_runlog_close(&log));
    mr_runlog_reader *reader = open_log();
    int64_t value;
    assert_int_equal(mr_runlog_get_int(reader, "seed", &value), MR_ERR_FORMAT);
    mr_runlog_close_reader(&reader);
    assert_contains(mr_message(), "run.h5: no attribute 'seed'");
}

static void an_attribute_of_another_kind_is_named(void **state)
{
    (void)state;
    mr_runlog *log = create();
    must(mr_runlog_set_double(log, "lr", 0.5));
    must(mr_runlog_close(&log));
    mr_runlog_reader *reader = open_log();
    int64_t value;
    assert_int_equal(mr_runlog_get_int(reader, "lr", &value), MR_ERR_FORMAT);
    mr_runlog_close_reader(&reader);
    assert_contains(mr_message(), "run.h5: attribute 'lr' is not a whole number");
}

static void evaluations_are_read_back(void **state)
{
    (void)state;
    mr_runlog *log = create();
    evaluate(log, 100, 0.25);
    evaluate(log, 200, 0.5);
    must(mr_runlog_eval(log, "perplexity", 200, (const char *const[]){"value"},
                        (const double[]){7.0}, 1, NULL, 0));
    must(mr_runlog_close(&log));

    mr_runlog_reader *reader = open_log();
    mr_names groups, scores;
    must(mr_runlog_list(reader, "/eval", &groups));
    must(mr_runlog_scores(reader, "uuid", &scores));
    assert_int_equal(groups.count, 2);
    assert_string_equal(groups.item[0], "perplexity");
    assert_string_equal(groups.item[1], "uuid");
    assert_int_equal(scores.count, 2);
    assert_string_equal(scores.item[0], "accuracy");
    assert_string_equal(scores.item[1], "loss");
    mr_names_free(&groups);
    mr_names_free(&scores);
    double *accuracy, *items;
    int64_t count, rows, columns;
    must(mr_runlog_series(reader, "/eval/uuid/accuracy", &accuracy, &count));
    must(mr_runlog_matrix(reader, "/eval/uuid/items", &items, &rows, &columns));
    assert_false(mr_runlog_has(reader, "/eval/perplexity/items"));
    mr_runlog_close_reader(&reader);
    assert_int_equal(count, 2);
    assert_true(accuracy[0] == 0.25 && accuracy[1] == 0.5);
    assert_int_equal(rows, 2);
    assert_int_equal(columns, 3);
    assert_true(items[1] == 100.0 && items[4] == 200.0 && items[5] == 1.0);
    mr_free(accuracy);
    mr_free(items);
}

static void a_log_without_evaluations_lists_none(void **state)
{
    (void)state;
    mr_runlog *log = create();
    must(mr_runlog_close(&log));
    mr_runlog_reader *reader = open_log();
    mr_names groups;
    must(mr_runlog_list(reader, "/eval", &groups));
    mr_runlog_close_reader(&reader);
    assert_int_equal(groups.count, 0);
}

static void another_number_of_items_is_refused(void **state)
{
    (void)state;
    mr_runlog *log = create();
    evaluate(log, 1, 0.5);
    const char *const names[] = {"accuracy", "loss"};
    const double scores[] = {0.0, 0.0};
    const float items[4] = {0};
    assert_int_equal(mr_runlog_eval(log, "uuid", 2, names, scores, 2, items, 4), MR_ERR_ARG);
    assert_contains(mr_message(), "evaluation 'uuid' comes with other scores or another number of");
    mr_runlog_abandon(&log);
}

static void another_set_of_scores_is_refused(void **state)
{
    (void)state;
    mr_runlog *log = create();
    evaluate(log, 1, 0.5);
    const char *const names[] = {"accuracy", "perplexity"};
    const double scores[] = {0.0, 0.0};
    const float items[3] = {0};
    assert_int_equal(mr_runlog_eval(log, "uuid", 2, names, scores, 2, items, 3), MR_ERR_ARG);
    assert_contains(mr_message(), "evaluation 'uuid' comes with other scores or another number of");
    mr_runlog_abandon(&log);
}

static mr_status evaluate_score(const char *name, const char *first, const char *second)
{
    mr_runlog *log = create();
    mr_status status = mr_runlog_eval(log, name, 1, (const char *const[]){first, second},
                                      (const double[]){1.0, 2.0}, 2, NULL, 0);
    mr_runlog_abandon(&log);
    return status;
}

static void a_score_cannot_be_named_step(void **state)
{
    (void)state;
    assert_int_equal(evaluate_score("uuid", "step", "x"), MR_ERR_ARG);
    assert_contains(mr_message(), "a score of 'uuid' cannot be named 'step'");
}

static void a_score_cannot_stand_twice(void **state)
{
    (void)state;
    assert_int_equal(evaluate_score("uuid", "x", "x"), MR_ERR_ARG);
    assert_contains(mr_message(), "'uuid' has the score 'x' twice");
}

static void a_name_cannot_be_a_path(void **state)
{
    (void)state;
    assert_int_equal(evaluate_score("a/b", "x", "y"), MR_ERR_ARG);
    assert_contains(mr_message(), "'a/b' cannot name an evaluation or a score");
}

static void events_are_read_back(void **state)
{
    (void)state;
    mr_runlog *log = create();
    must(mr_runlog_event(log, 7, "checkpoint", "written"));
    must(mr_runlog_event(log, 9, "merge", "restart 1: 0 of 2048 moments kept"));
    must(mr_runlog_close(&log));
    mr_runlog_reader *reader = open_log();
    mr_names kinds, texts;
    double *steps, *seconds;
    int64_t count;
    must(mr_runlog_texts(reader, "/events/kind", &kinds));
    must(mr_runlog_texts(reader, "/events/text", &texts));
    must(mr_runlog_series(reader, "/events/seconds", &seconds, &count));
    must(mr_runlog_series(reader, "/events/step", &steps, &count));
    mr_runlog_close_reader(&reader);
    assert_int_equal(count, 2);
    assert_true(steps[1] == 9.0 && seconds[0] >= 0.0 && seconds[1] >= seconds[0]);
    assert_string_equal(kinds.item[0], "checkpoint");
    assert_string_equal(texts.item[1], "restart 1: 0 of 2048 moments kept");
    mr_free(steps);
    mr_free(seconds);
    mr_names_free(&kinds);
    mr_names_free(&texts);
}

static void a_long_event_is_cut_between_characters(void **state)
{
    (void)state;
    char text[2000] = "x";
    for (size_t i = 1; i + 2 < sizeof text; i += 2)
        snprintf(text + i, 3, "ä");
    mr_runlog *log = create();
    must(mr_runlog_event(log, 1, "long", text));
    must(mr_runlog_close(&log));
    mr_runlog_reader *reader = open_log();
    mr_names texts;
    must(mr_runlog_texts(reader, "/events/text", &texts));
    mr_runlog_close_reader(&reader);
    assert_int_equal(strlen(texts.item[0]), 1023);
    assert_memory_equal(texts.item[0], text, 1023);
    mr_names_free(&texts);
}

static void an_existing_file_stands_until_the_first_flush(void **state)
{
    (void)state;
    must(mr_file_write(path, "before", 6));
    mr_runlog *log = create();
    train(log, 1, 1000);
    mr_runlog_abandon(&log);
    char *text;
    must(mr_file_read(path, MR_MEM_OTHER, &text, NULL));
    bool same = strcmp(text, "before") == 0;
    mr_free(text);
    assert_true(same);
}

static void a_reader_sees_the_state_of_the_last_flush(void **state)
{
    (void)state;
    mr_runlog *log = create();
    train(log, 1, 10);
    must(mr_runlog_flush(log, true));
    mr_runlog_reader *before = open_log();
    train(log, 11, 25);
    must(mr_runlog_flush(log, true));
    mr_runlog_reader *after = open_log();
    int64_t rows_before = check_train(before), rows_after = check_train(after);
    mr_runlog_close_reader(&before);
    mr_runlog_close_reader(&after);
    must(mr_runlog_close(&log));
    assert_int_equal(rows_before, 10);
    assert_int_equal(rows_after, 25);
}

static void flushes_without_force_are_rare(void **state)
{
    (void)state;
    mr_runlog *log = create();
    double begin = mr_clock();
    train(log, 1, 1);
    must(mr_runlog_flush(log, false));
    train(log, 2, 2);
    must(mr_runlog_flush(log, false));
    bool within_a_second = mr_clock() - begin < 1.0;
    mr_runlog_reader *reader = open_log();
    int64_t rows = check_train(reader);
    mr_runlog_close_reader(&reader);
    mr_runlog_abandon(&log);
    if (!within_a_second) skip_because("the machine is too slow");
    assert_int_equal(rows, 1);
}

static void a_folder_that_vanished_is_reported_at_the_flush(void **state)
{
    (void)state;
    mr_runlog *log;
    must(mr_runlog_create("no_such_folder/run.h5", &log));
    assert_int_equal(mr_runlog_close(&log), MR_ERR_IO);
    assert_null(log);
    assert_contains(mr_message(), "no_such_folder/run.h5");
}

/* A limit on file sizes stands in for a full disk. */
static void a_full_disk_leaves_the_last_flush(void **state)
{
    (void)state;
    mr_runlog *log = create();
    train(log, 1, 10);
    must(mr_runlog_flush(log, true));
    train(log, 11, 5000);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 4096;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    mr_status status = mr_runlog_close(&log);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, MR_ERR_IO);
    assert_contains(mr_message(), "File too large");
    mr_runlog_reader *reader = open_log();
    int64_t rows = check_train(reader);
    mr_runlog_close_reader(&reader);
    assert_int_equal(rows, 10);
}

static void a_reopened_log_goes_on(void **state)
{
    (void)state;
    mr_runlog *log = create();
    must(mr_runlog_set_text(log, "stop_reason", "signal"));
    train(log, 1, 700);
    evaluate(log, 700, 0.5);
    must(mr_runlog_event(log, 700, "stop", "signal"));
    must(mr_runlog_close(&log));
    must(mr_runlog_reopen(path, &log));
    must(mr_runlog_set_text(log, "stop_reason", "done"));
    train(log, 701, 1500);
    evaluate(log, 1500, 0.75);
    must(mr_runlog_event(log, 700, "resume", "from step 700"));
    must(mr_runlog_close(&log));

    mr_runlog_reader *reader = open_log();
    assert_int_equal(check_train(reader), 1500);
    double *accuracy, *seconds;
    int64_t count;
    char *reason;
    must(mr_runlog_series(reader, "/eval/uuid/accuracy", &accuracy, &count));
    must(mr_runlog_series(reader, "/events/seconds", &seconds, &count));
    must(mr_runlog_get_text(reader, "stop_reason", &reason));
    mr_runlog_close_reader(&reader);
    assert_int_equal(count, 2);
    assert_true(accuracy[1] == 0.75);
    assert_true(seconds[1] >= seconds[0]);
    assert_string_equal(reason, "done");
    mr_free(accuracy);
    mr_free(seconds);
    mr_free(reason);
}

static void rewinding_drops_what_came_after_a_step(void **state)
{
    (void)state;
    mr_runlog *log = create();
    train(log, 1, 2500);
    evaluate(log, 1000, 0.25);
    evaluate(log, 2000, 0.5);
    must(mr_runlog_event(log, 2400, "stop", "killed"));
    must(mr_runlog_close(&log));
    must(mr_runlog_reopen(path, &log));
    must(mr_runlog_rewind(log, 1300, true));
    train(log, 1301, 1400);
    must(mr_runlog_close(&log));

    mr_runlog_reader *reader = open_log();
    assert_int_equal(check_train(reader), 1400);
    double *values;
    int64_t count, rows, columns;
    must(mr_runlog_series(reader, "/eval/uuid/loss", &values, &count));
    mr_free(values);
    assert_int_equal(count, 1);
    must(mr_runlog_matrix(reader, "/eval/uuid/items", &values, &rows, &columns));
    mr_free(values);
    assert_int_equal(rows, 1);
    must(mr_runlog_series(reader, "/events/step", &values, &count));
    mr_free(values);
    assert_int_equal(count, 1);
    mr_runlog_close_reader(&reader);
}

static void a_missing_log_is_named(void **state)
{
    (void)state;
    mr_runlog_reader *reader;
    assert_int_equal(mr_runlog_open("no.h5", &reader), MR_ERR_IO);
    assert_contains(mr_message(), "cannot open 'no.h5': No such file or directory");
}

static void a_missing_log_is_not_reopened(void **state)
{
    (void)state;
    mr_runlog *log;
    assert_int_equal(mr_runlog_reopen("no.h5", &log), MR_ERR_IO);
    assert_contains(mr_message(), "cannot open 'no.h5': No such file or directory");
}

static void a_text_file_is_not_a_log(void **state)
{
    (void)state;
    must(mr_file_write(path, "not an HDF5 file at all, only text", 34));
    mr_runlog_reader *reader;
    assert_int_equal(mr_runlog_open(path, &reader), MR_ERR_FORMAT);
    assert_null(reader);
    assert_contains(mr_message(), "run.h5: not a sound run log: cannot open it: ");
}

static void a_text_file_is_not_reopened(void **state)
{
    (void)state;
    must(mr_file_write(path, "not an HDF5 file at all, only text", 34));
    mr_runlog *log;
    assert_int_equal(mr_runlog_reopen(path, &log), MR_ERR_FORMAT);
    assert_null(log);
    assert_contains(mr_message(), "run.h5: not a sound run log: cannot open it: ");
}

/* Changes attributes a reader relies on, and returns what it says. */
static void open_other_format(const char *format, int64_t version)
{
    mr_runlog *log = create();
    must(mr_runlog_set_text(log, "format", format));
    must(mr_runlog_set_int(log, "format_version", version));
    must(mr_runlog_close(&log));
    mr_runlog_reader *reader;
    assert_int_equal(mr_runlog_open(path, &reader), MR_ERR_FORMAT);
}

static void another_format_is_refused(void **state)
{
    (void)state;
    open_other_format("something", 1);
    assert_contains(mr_message(), "not a sound run log: format: expected 'mora-run-log', found "
                                  "'something'");
}

static void another_version_is_refused(void **state)
{
    (void)state;
    open_other_format("mora-run-log", 2);
    assert_contains(mr_message(), "not a sound run log: format_version: expected 1, found 2");
}

static void a_missing_dataset_is_named(void **state)
{
    (void)state;
    mr_runlog *log = create();
    must(mr_runlog_close(&log));
    mr_runlog_reader *reader = open_log();
    double *values;
    int64_t count;
    assert_int_equal(mr_runlog_series(reader, "/train/loss", &values, &count), MR_ERR_FORMAT);
    mr_runlog_close_reader(&reader);
    assert_contains(mr_message(), "run.h5: no dataset /train/loss");
}

static void a_dataset_of_another_kind_is_named(void **state)
{
    (void)state;
    mr_runlog *log = create();
    evaluate(log, 1, 0.5);
    must(mr_runlog_close(&log));
    mr_runlog_reader *reader = open_log();
    double *values;
    int64_t count;
    assert_int_equal(mr_runlog_series(reader, "/eval/uuid/items", &values, &count), MR_ERR_FORMAT);
    mr_runlog_close_reader(&reader);
    assert_contains(mr_message(), "/eval/uuid/items: expected numbers in 1 dimension");
}

static void write_sample(char **bytes, size_t *size)
{
    mr_runlog *log = create();
    train(log, 1, 50);
    evaluate(log, 50, 0.5);
    must(mr_runlog_close(&log));
    must(mr_file_read(path, MR_MEM_OTHER, bytes, size));
}

static void cut_logs_are_refused(void **state)
{
    (void)state;
    char *bytes;
    size_t size;
    write_sample(&bytes, &size);
    for (size_t i = 0; i < 60; i++) {
        test_put_bytes(path, bytes, i < 20 ? size - 1 - i : i < 40 ? i - 20 : size * (i - 40) / 20);
        mr_runlog_reader *reader;
        mr_runlog *log;
        assert_int_equal(mr_runlog_open(path, &reader), MR_ERR_FORMAT);
        assert_contains(mr_message(), "run.h5: not a sound run log: ");
        assert_int_equal(mr_runlog_reopen(path, &log), MR_ERR_FORMAT);
        assert_contains(mr_message(), "run.h5: not a sound run log: ");
    }
    mr_free(bytes);
}

static char *find_bytes(char *bytes, size_t size, const void *part, size_t length)
{
    for (size_t i = 0; i + length <= size; i++)
        if (memcmp(bytes + i, part, length) == 0) return bytes + i;
    return NULL;
}

/* Writes a log with one bit of the loss of step 20 flipped. */
static void put_flipped(void)
{
    char *bytes;
    size_t size;
    write_sample(&bytes, &size);
    double loss = row_of(20).loss;
    char *at = find_bytes(bytes, size, &loss, sizeof loss);
    assert_non_null(at);
    at[1] ^= 4;
    test_put_bytes(path, bytes, size);
    mr_free(bytes);
}

static void a_flipped_bit_in_a_dataset_is_found(void **state)
{
    (void)state;
    put_flipped();
    mr_runlog_reader *reader = open_log();
    double *values;
    int64_t count;
    assert_int_equal(mr_runlog_series(reader, "/train/loss", &values, &count), MR_ERR_FORMAT);
    assert_null(values);
    assert_contains(mr_message(), "run.h5: cannot read /train/loss: ");
    assert_contains(mr_message(), "Fletcher32");
    must(mr_runlog_series(reader, "/train/lr", &values, &count));
    mr_free(values);
    mr_runlog_close_reader(&reader);
}

static void a_log_with_a_flipped_bit_is_not_reopened(void **state)
{
    (void)state;
    put_flipped();
    mr_runlog *log;
    assert_int_equal(mr_runlog_reopen(path, &log), MR_ERR_FORMAT);
    assert_null(log);
    assert_contains(mr_message(), "run.h5: not a sound run log: cannot read /train/loss: ");
}

/* Reads every row of a log that a killed process left; -1 where it left none yet. */
static int64_t rows_left_behind(void)
{
    if (access(path, F_OK) != 0) return -1;
    mr_runlog_reader *reader = open_log();
    int64_t rows = mr_runlog_has(reader, "/train") ? check_train(reader) : 0;
    mr_runlog_close_reader(&reader);
    return rows;
}

static void write_until_killed(void)
{
    mr_runlog *log;
    if (mr_runlog_create(path, &log) != MR_OK) _exit(1);
    for (int64_t step = 1;; step++) {
        mr_runlog_step row = row_of(step);
        if (mr_runlog_train(log, &row) != MR_OK) _exit(1);
        if (step % 5 == 0 && mr_runlog_flush(log, true) != MR_OK) _exit(1);
    }
}

static void a_killed_writer_leaves_a_sound_prefix(void **state)
{
    (void)state;
    enum { KILLS = 30, MOST_WAITS = 60000 };
    mr_random random = mr_random_stream(3, MR_RANDOM_DATA, 0);
    int with_rows = 0;
    for (uint64_t i = 0; i < KILLS; i++) {
        remove_file(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) write_until_killed();
        /* Every other time it gets as far as a first flush, however slow the disk is. */
        for (int waits = 0; i % 2 == 0 && access(path, F_OK) != 0 && waits < MOST_WAITS; waits++)
            test_nap(0.001);
        test_nap(0.005 + 0.095 * mr_random_uniform(&random, i));
        assert_int_equal(kill(child, SIGKILL), 0);
        int status;
        while (waitpid(child, &status, 0) < 0)
            assert_int_equal(errno, EINTR);
        assert_true(WIFSIGNALED(status));
        int64_t rows = rows_left_behind();
        if (rows > 0) {
            assert_int_equal(rows % 5, 0);
            with_rows++;
            mr_runlog *log;
            must(mr_runlog_reopen(path, &log));
            mr_runlog_abandon(&log);
        }
    }
    assert_true(with_rows >= KILLS / 2);
}

static void h5dump_reads_a_log_still_being_written(void **state)
{
    (void)state;
    if (system("h5dump --version > /dev/null 2>&1") != 0) skip_because("h5dump is not installed");
    mr_runlog *log = create();
    train(log, 1, 3);
    must(mr_runlog_event(log, 3, "note", "seen by h5dump"));
    must(mr_runlog_flush(log, true));
    char command[256], text[8192];
    snprintf(command, sizeof command, "h5dump -d /train/loss -d /events/text -a /format %s 2>&1",
             path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t got = fread(text, 1, sizeof text - 1, pipe);
    text[got] = '\0';
    int code = pclose(pipe);
    mr_runlog_abandon(&log);
    assert_int_equal(code, 0);
    assert_contains(text, "1001.25, 1002.25, 1003.25");
    assert_contains(text, "\"seen by h5dump\"");
    assert_contains(text, "mora-run-log");
}

#define TEST(function) cmocka_unit_test_teardown(function, remove_file)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_killed_writer_leaves_a_sound_prefix),
        TEST(training_rows_are_read_back),
        TEST(a_loss_that_is_not_finite_is_kept),
        TEST(attributes_are_read_back),
        TEST(the_format_and_its_version_are_in_the_file),
        TEST(attributes_can_be_set_again),
        TEST(a_long_text_is_an_attribute_too),
        TEST(a_missing_attribute_is_named),
        TEST(an_attribute_of_another_kind_is_named),
        TEST(evaluations_are_read_back),
        TEST(a_log_without_evaluations_lists_none),
        TEST(another_number_of_items_is_refused),
        TEST(another_set_of_scores_is_refused),
        TEST(a_score_cannot_be_named_step),
        TEST(a_score_cannot_stand_twice),
        TEST(a_name_cannot_be_a_path),
        TEST(events_are_read_back),
        TEST(a_long_event_is_cut_between_characters),
        TEST(an_existing_file_stands_until_the_first_flush),
        TEST(a_reader_sees_the_state_of_the_last_flush),
        TEST(flushes_without_force_are_rare),
        TEST(a_folder_that_vanished_is_reported_at_the_flush),
        TEST(a_full_disk_leaves_the_last_flush),
        TEST(a_reopened_log_goes_on),
        TEST(rewinding_drops_what_came_after_a_step),
        TEST(a_missing_log_is_named),
        TEST(a_missing_log_is_not_reopened),
        TEST(a_text_file_is_not_a_log),
        TEST(a_text_file_is_not_reopened),
        TEST(another_format_is_refused),
        TEST(another_version_is_refused),
        TEST(a_missing_dataset_is_named),
        TEST(a_dataset_of_another_kind_is_named),
        TEST(cut_logs_are_refused),
        TEST(a_flipped_bit_in_a_dataset_is_found),
        TEST(a_log_with_a_flipped_bit_is_not_reopened),
        TEST(h5dump_reads_a_log_still_being_written),
    };
    return cmocka_run_group_tests(tests, folder_enter, folder_leave_empty);
}
