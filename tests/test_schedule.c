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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
