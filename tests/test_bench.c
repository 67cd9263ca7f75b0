/** @file
 * `mora bench` on a tiny shape: that what it prints hangs together. */

#include "program.h"

#include <jansson.h>

#include <math.h>
#include <stdio.h>

/* Of each method: the parts make up the whole, which is spread over log.spectrum_every steps. */
static void the_cost_of_spectra_is_told_by_its_parts(void **state)
{
    (void)state;
    program_result result = program_succeed(
        (program_setting){0},
        "bench --model tiny.json --methods lora,fft --batch 1 --seq 16 --steps 3 --threads 1 "
        "--spectra --set log.spectrum_every=20");
    const char *at = result.out;
    for (int methods = 0; methods < 2; methods++) {
        int linears, every;
        double all, calls, beside, steps, each, step, share;
        at = strstr(at, "spectra of ");
        assert_non_null(at);
        assert_int_equal(sscanf(at,
                                "spectra of %d linears: %lf ms a snapshot (%lf ms its own calls, "
                                "%lf ms %lf steps beside), every %d steps %lf ms a step of %lf "
                                "ms, %lf %%",
                                &linears, &all, &calls, &beside, &steps, &every, &each, &step,
                                &share),
                         9);
        assert_int_equal(linears, 14);
        assert_int_equal(every, 20);
        assert_true(calls > 0 && steps >= 1 && step > 0 && isfinite(beside));
        /* To the digits that are printed. */
        assert_true(fabs(all / every - each) < 0.001);
        assert_true(fabs(share * step - 100 * each) < 0.006 * share + 0.001 * step + 0.1);
        at++;
    }
    assert_null(strstr(at, "spectra of "));
    program_free(&result);
}

/* As many prompts and tokens as were asked for, and rates that follow from the times. */
static void what_evaluation_costs_is_told(void **state)
{
    (void)state;
    program_result result = program_succeed(
        (program_setting){0},
        "bench --model tiny.json --methods lora --batch 1 --seq 16 --steps 1 --threads 1 "
        "--evaluate 3");
    const char *at = strstr(result.out, "memory a rank: planned ");
    double items, scored, first, each, rate, planned, held;
    assert_non_null(at);
    assert_int_equal(sscanf(at, "memory a rank: planned %lf MiB, held %lf MiB\n", &planned, &held),
                     2);
    assert_true(held > 0 && held <= planned);
    at = strstr(result.out, "3 prompts of 16 tokens");
    int options, texts;
    assert_non_null(at);
    assert_int_equal(sscanf(at,
                            "3 prompts of 16 tokens with %d options: %lf items/s, %lf tokens/s; %d "
                            "texts a rank at once behind them: first tokens after %lf s, then %lf "
                            "ms a token of all, %lf tokens/s",
                            &options, &items, &scored, &texts, &first, &each, &rate),
                     7);
    assert_int_equal(options, 4);
    assert_int_equal(texts, 3);
    /* 16 of the prompt, which runs once; the options' own tokens are behind the last position. */
    assert_true(fabs(scored / items - 16) < 4.5);
    assert_true(fabs(rate * each / 1e3 - texts) < 0.2 * texts);
    program_free(&result);
    program_fail((program_setting){0}, 2, "mora bench: --evaluate: expected at least 1, found 0",
                 "bench --model tiny.json --evaluate 0");
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_real(value));
    return json_real_value(value);
}

/* Of one step of two ranks: that of the least is a part of rank 0's. */
static void exchanges_are_told_apart_from_waiting(void **state)
{
    (void)state;
    program_result result = program_succeed(
        (program_setting){.ranks = 2},
        "bench --model tiny.json --methods fft --batch 1 --seq 16 --steps 1 --threads 1 --json");
    json_t *rows = json_loads(result.out, 0, NULL);
    const json_t *row = json_array_get(rows, 0), *phases = json_object_get(row, "phase_seconds");
    const double exchanges = number(phases, "communication");
    assert_true(exchanges > 0 && exchanges <= number(row, "step_seconds"));
    assert_true(number(phases, "waiting") >= 0);
    assert_true(json_is_integer(json_object_get(row, "planned_bytes")));
    assert_true(json_is_integer(json_object_get(row, "held_bytes")));
    assert_int_equal(json_integer_value(json_object_get(row, "device_bytes")), 0);
    const double ratio =
        number(row, "flops_per_second") / number(row, "gemm_at_once_flops_per_second");
    assert_true(fabs(ratio - number(row, "ratio_to_gemm_at_once")) < 1e-9 * ratio);
    json_decref(rows);
    program_free(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exchanges_are_told_apart_from_waiting),
        cmocka_unit_test(what_evaluation_costs_is_told),
        cmocka_unit_test(the_cost_of_spectra_is_told_by_its_parts),
    };
    return cmocka_run_group_tests(tests, program_enter_folder, folder_leave);
}
