/* `mora info` of spectra, and of a run log with spectra beside it; `mora table` among them. */

#include "base/memory.h"
#include "program.h"
#include "report_logs.h"
#include "spectra_case.h"

#include <jansson.h>

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { LAST = 15 };

static const char log_path[] = "logs/first.h5", path[] = "logs/first.spectra.h5";

static int make_files(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    report_make_log("logs", false, (report_log){.lr = "1e-3", .score = {0.25, 0.5}});
    if (system("mv logs/*.h5 logs/first.h5") != 0) return -1;
    must(mr_spectra_file_create(path, &spectra_layout));
    for (int64_t step = 5; step <= LAST; step += 5)
        must(spectra_append(path, &spectra_layout, step));
    return 0;
}

/* Compares a row of a table with the values that the case is made of. */
static void assert_row(const json_t *row, int64_t group, int64_t dataset)
{
    double sum = 0, least = INFINITY, most = -INFINITY;
    int defined = 0;
    for (int64_t i = 0; i < 3; i++) {
        double value = spectra_value(LAST, group, dataset, i);
        if (isnan(value)) continue;
        sum += value;
        least = fmin(least, value);
        most = fmax(most, value);
        defined++;
    }
    assert_string_equal(json_string_value(json_object_get(row, "projection")),
                        spectra_layout.group[group].projection);
    assert_int_equal(json_integer_value(json_object_get(row, "defined")), defined);
    const double mean = json_number_value(json_object_get(row, "mean"));
    assert_true(fabs(mean - sum / defined) < 1e-12 * fabs(mean));
    assert_true(json_number_value(json_object_get(row, "least")) == least);
    assert_true(json_number_value(json_object_get(row, "most")) == most);
}

static void assert_described(const json_t *spectra)
{
    static const char *const measures[] = {"count", "erank_sigma", "k90"};
    const json_t *last = json_object_get(spectra, "last_snapshot");
    assert_int_equal(json_integer_value(json_object_get(spectra, "snapshots")), 3);
    assert_int_equal(json_integer_value(json_object_get(spectra, "last_step")), LAST);
    assert_int_equal(json_object_size(last), 3);
    for (int64_t m = 0; m < 3; m++) {
        const json_t *table = json_object_get(last, measures[m]);
        assert_int_equal(json_array_size(table), SPECTRA_GROUPS);
        for (int64_t g = 0; g < SPECTRA_GROUPS; g++)
            assert_row(json_array_get(table, (size_t)g), g, m + 1);
    }
}

static json_t *info_json(const char *of)
{
    program_result result = program_succeed((program_setting){0}, "info %s --json", of);
    json_t *root = json_loads(result.out, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    program_free(&result);
    return root;
}

static void spectra_show_their_last_snapshot(void **state)
{
    (void)state;
    json_t *root = info_json(path);
    assert_string_equal(json_string_value(json_object_get(root, "kind")), "spectra");
    assert_described(root);
    json_decref(root);
    program_result result = program_succeed((program_setting){0}, "info %s", path);
    assert_contains(result.out, "kind        spectra\nfile        logs/first.spectra.h5\n"
                                "run         first\nmethod      mora\nr           8\n");
    assert_contains(result.out, "snapshots   3\nfirst_step  5\nlast_step   15\nmatrices:\n"
                                "  projection  layers  rows  cols  singular_values  cosines\n"
                                "  q_proj           3     8     8                8        2\n"
                                "  down_proj        3    16    40                5        0\n"
                                "last_snapshot:\n  count:\n"
                                "    projection  defined  mean  least  most\n");
    program_free(&result);
}

static void a_run_log_shows_the_spectra_beside_it(void **state)
{
    (void)state;
    json_t *root = info_json(log_path);
    assert_string_equal(json_string_value(json_object_get(root, "kind")), "run log");
    assert_described(json_object_get(root, "spectra"));
    json_decref(root);
}

static void a_run_log_without_spectra_shows_none(void **state)
{
    (void)state;
    assert_int_equal(rename(path, "elsewhere"), 0);
    json_t *root = info_json(log_path);
    assert_null(json_object_get(root, "spectra"));
    json_decref(root);
    assert_int_equal(rename("elsewhere", path), 0);
}

/* Content tells what a file is, whatever its name. */
static void spectra_of_any_name_are_known(void **state)
{
    (void)state;
    assert_int_equal(rename(path, "elsewhere"), 0);
    json_t *root = info_json("elsewhere");
    assert_described(root);
    json_decref(root);
    assert_int_equal(rename("elsewhere", path), 0);
}

static void spectra_without_snapshots_show_none(void **state)
{
    (void)state;
    must(mr_spectra_file_create("none", &spectra_layout));
    program_result result = program_succeed((program_setting){0}, "info none");
    assert_contains(result.out, "snapshots      0\nfirst_step     -\nlast_step      -\n");
    assert_contains(result.out, "last_snapshot  none\n");
    program_free(&result);
}

/* What is wrong with spectra is told, and is no failure of the log. */
static void cut_spectra_are_named(void **state)
{
    (void)state;
    size_t size;
    char *bytes = program_read(path, &size);
    test_put_bytes("logs/second.spectra.h5", bytes, size / 2);
    mr_free(bytes);
    program_result result = program_run((program_setting){0}, "info logs/second.spectra.h5");
    assert_int_equal(result.exit_code, 1);
    assert_contains(result.err,
                    "logs/second.spectra.h5: not sound spectra: cannot open it: truncated file");
    program_free(&result);
    bytes = program_read(log_path, &size);
    test_put_bytes("logs/second.h5", bytes, size);
    mr_free(bytes);
    result = program_succeed((program_setting){0}, "info logs/second.h5");
    assert_contains(result.out, "logs/second.spectra.h5: not sound spectra: cannot open it: "
                                "truncated file");
    program_free(&result);
    unlink("logs/second.spectra.h5");
    unlink("logs/second.h5");
}

static void tables_take_spectra_for_no_log(void **state)
{
    (void)state;
    program_result result = program_succeed((program_setting){0}, "table logs");
    assert_null(strstr(result.err, "spectra"));
    assert_null(strstr(result.out, "spectra"));
    program_free(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spectra_show_their_last_snapshot),
        cmocka_unit_test(a_run_log_shows_the_spectra_beside_it),
        cmocka_unit_test(a_run_log_without_spectra_shows_none),
        cmocka_unit_test(spectra_of_any_name_are_known),
        cmocka_unit_test(spectra_without_snapshots_show_none),
        cmocka_unit_test(cut_spectra_are_named),
        cmocka_unit_test(tables_take_spectra_for_no_log),
    };
    return cmocka_run_group_tests(tests, make_files, folder_leave);
}
