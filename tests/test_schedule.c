#include "optim/schedule.h"
#include "test.h"

#include <math.h>

/* Values of Hugging Face Transformers' schedules at base rate 1, printed as float. */
static const double as_float = 1e-7;

static void assert_factor(mr_schedule_kind kind, int64_t warmup, int64_t total, int64_t step,
                          double expected)
{
    double found = mr_schedule_factor(kind, warmup, total, step);
    if (!(fabs(found - expected) <= as_float))
        fail_msg("kind %d, warmup %lld, total %lld, step %lld: expected %.9g, found %.9g",
                 (int)kind, (long long)warmup, (long long)total, (long long)step, expected, found);
}

static void linear_gives_the_values_of_transformers(void **state)
{
    (void)state;
    assert_factor(MR_SCHEDULE_LINEAR, 7, 50, 0, 0.0);
    assert_factor(MR_SCHEDULE_LINEAR, 7, 50, 3, 0.428571433);
    assert_factor(MR_SCHEDULE_LINEAR, 7, 50, 7, 1.0);
    assert_factor(MR_SCHEDULE_LINEAR, 7, 50, 47, 0.0697674453);
    assert_factor(MR_SCHEDULE_LINEAR, 7, 50, 49, 0.0232558139);
}

static void cosine_gives_the_values_of_transformers(void **state)
{
    (void)state;
    assert_factor(MR_SCHEDULE_COSINE, 0, 31, 0, 1.0);
    assert_factor(MR_SCHEDULE_COSINE, 0, 31, 1, 0.997434676);
    assert_factor(MR_SCHEDULE_COSINE, 0, 31, 30, 0.00256533828);
    assert_factor(MR_SCHEDULE_COSINE, 7, 50, 5, 0.714285731);
    assert_factor(MR_SCHEDULE_COSINE, 7, 50, 49, 0.00133385812);
}

static void constant_gives_the_values_of_transformers(void **state)
{
    (void)state;
    assert_factor(MR_SCHEDULE_CONSTANT, 5, 20, 0, 0.0);
    assert_factor(MR_SCHEDULE_CONSTANT, 5, 20, 3, 0.600000024);
    assert_factor(MR_SCHEDULE_CONSTANT, 5, 20, 5, 1.0);
    assert_factor(MR_SCHEDULE_CONSTANT, 5, 20, 1000000, 1.0);
}

static void without_warmup_the_first_step_has_the_full_rate(void **state)
{
    (void)state;
    for (int kind = MR_SCHEDULE_LINEAR; kind <= MR_SCHEDULE_CONSTANT; kind++)
        assert_true(mr_schedule_factor((mr_schedule_kind)kind, 0, 100, 0) == 1.0);
}

static void linear_and_cosine_fall_to_zero_at_the_end(void **state)
{
    (void)state;
    for (int kind = MR_SCHEDULE_LINEAR; kind <= MR_SCHEDULE_COSINE; kind++) {
        double before = 1.0;
        for (int64_t step = 11; step <= 200; step++) {
            double factor = mr_schedule_factor((mr_schedule_kind)kind, 10, 200, step);
            assert_true(factor < before && factor >= 0);
            before = factor;
        }
        assert_true(before < 1e-15);
    }
}

static void past_the_end_linear_stays_zero(void **state)
{
    (void)state;
    assert_true(mr_schedule_factor(MR_SCHEDULE_LINEAR, 10, 200, 300) == 0.0);
}

static void a_warmup_as_long_as_the_run_only_rises(void **state)
{
    (void)state;
    for (int kind = MR_SCHEDULE_LINEAR; kind <= MR_SCHEDULE_CONSTANT; kind++)
        for (int64_t step = 0; step < 8; step++)
            assert_true(mr_schedule_factor((mr_schedule_kind)kind, 8, 8, step) ==
                        (double)step / 8.0);
}

/* Samples at peak 5e-4, W 1000, T 2000, N 10000, w 50, floor 0.1. They were rounded to four digits
 * and then to three: a tenth of a unit of the last one more than one rounding. */
static void assert_samples(mr_schedule_kind kind, const double *expected)
{
    static const int64_t steps[] = {1000, 1999, 2000, 2001, 2050, 4050, 6050, 8050, 9999};
    const mr_schedule schedule = {.kind = kind,
                                  .warmup = 1000,
                                  .total = 10000,
                                  .period = 2000,
                                  .restart_warmup = 50,
                                  .floor = 0.1};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        double found = 5e-4 * mr_schedule_at(&schedule, steps[i]);
        double unit = expected[i] > 0 ? pow(10, floor(log10(expected[i])) - 2) : 0;
        if (!(fabs(found - expected[i]) <= 0.6 * unit))
            fail_msg("kind %d, step %lld: expected %.3g, found %.5g", (int)kind,
                     (long long)steps[i], expected[i], found);
    }
}

static void the_jagged_cosine_has_the_published_values(void **state)
{
    (void)state;
    assert_samples(MR_SCHEDULE_JAGGED_COSINE, (double[]){5.00e-4, 4.87e-4, 0, 9.70e-6, 4.85e-4,
                                                         3.84e-4, 2.32e-4, 1.00e-4, 5.00e-5});
}

static void the_rebased_cosine_has_the_published_values(void **state)
{
    (void)state;
    assert_samples(MR_SCHEDULE_REBASED_COSINE,
                   (double[]){5.00e-4, 4.85e-4, 4.85e-4, 9.70e-6, 4.85e-4, 4.16e-4, 3.16e-4,
                              1.61e-4, 1.04e-10});
}

static void
the_jagged_cosine_ends_at_its_floor_also_where_periods_do_not_divide_the_run(void **state)
{
    (void)state;
    const mr_schedule schedule = {.kind = MR_SCHEDULE_JAGGED_COSINE,
                                  .warmup = 10,
                                  .total = 95,
                                  .period = 20,
                                  .restart_warmup = 0,
                                  .floor = 0.25};
    assert_true(fabs(mr_schedule_at(&schedule, 100) - 0.25) < 1e-12);
    assert_true(mr_schedule_at(&schedule, 94) > 0.25);
    for (int64_t step = 11; step < 95; step++)
        assert_true(mr_schedule_at(&schedule, step) < mr_schedule_at(&schedule, step - 1));
}

static void without_restarts_a_schedule_is_its_plain_curve(void **state)
{
    (void)state;
    const mr_schedule schedule = {
        .kind = MR_SCHEDULE_COSINE, .warmup = 5, .total = 50, .period = 7};
    for (int64_t step = 0; step < 50; step++)
        assert_true(mr_schedule_at(&schedule, step) ==
                    mr_schedule_factor(MR_SCHEDULE_COSINE, 5, 50, step));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_gives_the_values_of_transformers),
        cmocka_unit_test(cosine_gives_the_values_of_transformers),
        cmocka_unit_test(constant_gives_the_values_of_transformers),
        cmocka_unit_test(without_warmup_the_first_step_has_the_full_rate),
        cmocka_unit_test(linear_and_cosine_fall_to_zero_at_the_end),
        cmocka_unit_test(past_the_end_linear_stays_zero),
        cmocka_unit_test(a_warmup_as_long_as_the_run_only_rises),
        cmocka_unit_test(the_jagged_cosine_has_the_published_values),
        cmocka_unit_test(the_rebased_cosine_has_the_published_values),
        cmocka_unit_test(
            the_jagged_cosine_ends_at_its_floor_also_where_periods_do_not_divide_the_run),
        cmocka_unit_test(without_restarts_a_schedule_is_its_plain_curve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
