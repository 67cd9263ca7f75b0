/** @file
 * `mora approximate` as its users meet it. */

#include "program.h"

#include <jansson.h>

static const char RUNS[] = "task: {rows: 24, cols: 18, rank: 3}\n"
                           "method: {r: 2, operator: sharing, merge_every: 40}\n"
                           "train: {steps: 120, restart_warmup_steps: 5}\n"
                           "matrix:\n"
                           "  - task.name: [flat, low_rank]\n"
                           "    method.name: [fft, lora, mora, relora]\n"
                           "    train.lr: [3e-3, 3e-2]\n"
                           "    run.seed: [1, 2]\n";

static json_t *approximations(int ranks)
{
    program_result result = program_succeed((program_setting){.ranks = ranks},
                                            "approximate runs.yaml --progress none --json");
    json_t *root = json_loads(result.out, 0, NULL);
    assert_non_null(root);
    program_free(&result);
    return root;
}

/* The number of a key of the best rate's first run. */
static double number_of(const json_t *method, const char *key)
{
    const json_t *rates = json_object_get(method, "rates");
    const json_t *best =
        json_array_get(rates, (size_t)json_integer_value(json_object_get(method, "best")));
    return json_number_value(
        json_object_get(json_array_get(json_object_get(best, "runs"), 0), key));
}

static void every_method_stands_beside_its_optimum(void **state)
{
    (void)state;
    json_t *root = approximations(0);
    const json_t *methods = json_object_get(root, "approximations"), *method;
    size_t i;
    assert_int_equal(json_array_size(methods), 8);
    json_array_foreach(methods, i, method)
    {
        double error = number_of(method, "error"), optimum = number_of(method, "optimum");
        assert_int_equal(json_array_size(json_object_get(method, "rates")), 2);
        assert_true(error >= optimum - 1e-4 && error < optimum + 0.3);
    }
    /* flat and lora of rank 2, of 18 equal values */
    const json_t *lora = json_array_get(methods, 1);
    assert_string_equal(json_string_value(json_object_get(lora, "method")), "lora");
    assert_string_equal(json_string_value(json_object_get(lora, "target")),
                        "flat, 24 x 18, norm 1");
    assert_true(number_of(lora, "optimum") > 0.94280 && number_of(lora, "optimum") < 0.94282);
    assert_int_equal(json_integer_value(json_object_get(lora, "trained")), 2 * (24 + 18));
    json_decref(root);
}

static void ranks_share_the_runs_and_change_nothing(void **state)
{
    (void)state;
    json_t *one = approximations(0), *three = approximations(3);
    assert_true(json_equal(one, three));
    json_decref(one);
    json_decref(three);
}

static void the_table_names_targets_methods_and_rates(void **state)
{
    (void)state;
    program_result result =
        program_succeed((program_setting){0}, "approximate runs.yaml --progress none");
    assert_contains(result.out, "flat, 24 x 18, norm 1: effective rank 18.0\n");
    assert_contains(result.out, "low_rank rank=3 noise=0.1, 24 x 18, norm 1: effective rank ");
    assert_contains(result.out, "mora operator=sharing");
    assert_int_equal(program_lines_with(result.out, "  lora "), 2);
    assert_contains(result.out, " 0.9428  0.94");
    program_free(&result);
}

static void expect_failure(int code, const char *arguments, const char *message)
{
    program_result result = program_run((program_setting){0}, "%s", arguments);
    assert_int_equal(result.exit_code, code);
    assert_contains(result.err, message);
    program_free(&result);
}

static void keys_without_effect_are_refused(void **state)
{
    (void)state;
    program_write("batch.yaml", "%strain.global_batch: 4\n", "task.name: flat\n");
    expect_failure(1, "approximate batch.yaml", "unknown key \"train.global_batch\"");
    program_write("model.yaml", "%smodel: {path: x}\n", "task.name: flat\n");
    expect_failure(1, "approximate model.yaml", "unknown key \"model.path\"");
    expect_failure(1, "approximate runs.yaml --set eval.every=3", "unknown key \"eval.every\"");
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    program_write("target.yaml", "%s", "method.name: fft\ntrain.steps: 5\n");
    expect_failure(1, "approximate target.yaml", "task.name: expected one of flat, gaussian, ");
    program_write("steps.yaml", "%s", "method.name: fft\ntask.name: flat\n");
    expect_failure(1, "approximate steps.yaml", "train.steps: the run has no length");
    expect_failure(2, "approximate", "mora approximate: expected a YAML file");
    expect_failure(1, "approximate none.yaml", "none.yaml");
    program_write("rank.yaml", "%s",
                  "method.name: fft\ntask: {name: low_rank, rows: 4, cols: 9}\n"
                  "train.steps: 5\n");
    expect_failure(1, "approximate rank.yaml",
                   "rank: task.rank: expected at most 4, the smaller side of the matrix, found 8");
}

static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_write("runs.yaml", "%s", RUNS);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_stands_beside_its_optimum),
        cmocka_unit_test(ranks_share_the_runs_and_change_nothing),
        cmocka_unit_test(the_table_names_targets_methods_and_rates),
        cmocka_unit_test(keys_without_effect_are_refused),
        cmocka_unit_test(what_is_missing_is_named),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
