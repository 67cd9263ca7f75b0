/** @file
 * Measures of singular values, against closed forms. */

#include "base/memory.h"
#include "linalg/svd.h"
#include "scarce.h"
#include "spectra/measures.h"
#include "spectra/overlap.h"
#include "test.h"

#include <math.h>

static void assert_near(double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance * fmax(1, fabs(expected))))
        fail_msg("expected %.17g, found %.17g", expected, found);
}

static void equal_values_have_full_rank_by_every_measure(void **state)
{
    (void)state;
    for (int e = -300; e <= 300; e += 150) {
        const double x = pow(10, e), values[] = {x, x, x, x};
        mr_measures m;
        mr_measures_of(values, 4, 0.1, &m);
        assert_near(m.effective_rank, 4, 1e-14);
        assert_near(m.per, 1, 1e-14);
        assert_near(m.stable_rank, 4, 1e-14);
        assert_near(m.participation_ratio, 4, 1e-14);
        assert_true(m.k90 == 4 && m.sigma1 == x);
        assert_near(m.frobenius / x, 2, 1e-14);
        assert_true(m.count == (x > 0.1 ? 4 : 0));
    }
}

static void one_value_has_rank_one_by_every_measure(void **state)
{
    (void)state;
    const double values[] = {0.1000001, 0, 0};
    mr_measures m;
    mr_measures_of(values, 3, 0.1, &m);
    assert_true(m.count == 1 && m.k90 == 1);
    assert_near(m.effective_rank, 1, 1e-15);
    assert_near(m.per, 1.0 / 3, 1e-15);
    assert_near(m.stable_rank, 1, 1e-15);
    assert_near(m.participation_ratio, 1, 1e-15);
    mr_measures_of(values, 3, 0.1000001, &m);
    assert_true(m.count == 0);
}

static void an_update_of_zeros_has_rank_zero_and_nothing_else(void **state)
{
    (void)state;
    const double values[] = {0, 0};
    mr_measures m;
    mr_measures_of(values, 2, 0.1, &m);
    mr_measures_relate(&m, (mr_base_facts){.sigma1 = 2, .frobenius = 3, .theta = 1});
    assert_true(m.count == 0 && m.sigma1 == 0 && m.frobenius == 0);
    assert_true(m.sigma1_ratio == 0 && m.frobenius_ratio == 0);
    assert_true(isnan(m.effective_rank) && isnan(m.per) && isnan(m.stable_rank) && isnan(m.k90));
    assert_true(isnan(m.participation_ratio) && isnan(m.intruder_threshold));
    assert_true(isnan(mr_energy_top(values, 2, 1)));
}

static void what_is_not_known_of_the_base_is_undefined(void **state)
{
    (void)state;
    const double values[] = {2, 1};
    mr_measures m;
    mr_measures_of(values, 2, 0.1, &m);
    assert_true(isnan(m.sigma1_ratio) && isnan(m.frobenius_ratio) && isnan(m.intruder_threshold));
    mr_measures_relate(&m, (mr_base_facts){.sigma1 = 4, .frobenius = NAN, .theta = NAN});
    assert_true(m.sigma1_ratio == 0.5 && isnan(m.frobenius_ratio) && isnan(m.intruder_threshold));
    mr_measures_relate(&m, (mr_base_facts){.sigma1 = 0, .frobenius = 0, .theta = 1});
    assert_true(isnan(m.sigma1_ratio) && isnan(m.frobenius_ratio) && m.intruder_threshold == 0.5);
}

static void shares_of_energy_are_those_of_the_squares(void **state)
{
    (void)state;
    const double values[] = {4e200, 2e200, 2e200, 1e200};
    assert_near(mr_energy_top(values, 4, 1), 16.0 / 25, 1e-15);
    assert_near(mr_energy_top(values, 4, 2), 20.0 / 25, 1e-15);
    assert_near(mr_energy_top(values, 4, 9), 1, 1e-15);
    mr_measures m;
    mr_measures_of(values, 4, 0.1, &m);
    assert_true(m.k90 == 3);
}

static void the_table_names_every_measure_once(void **state)
{
    (void)state;
    assert_int_equal((size_t)mr_measure_count * sizeof(double), sizeof(mr_measures));
    for (int i = 0; i < mr_measure_count; i++) {
        assert_true(strlen(mr_measure_rows[i].name) > 0 && strlen(mr_measure_rows[i].unit) > 0);
        assert_true(strlen(mr_measure_rows[i].definition) > 10);
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(mr_measure_rows[i].name, mr_measure_rows[j].name);
            assert_true(mr_measure_rows[i].offset != mr_measure_rows[j].offset);
        }
    }
    const mr_measures m = {.count = 3, .intruder_threshold = 7};
    assert_true(mr_measure_value(&m, 0) == 3);
    assert_true(mr_measure_value(&m, mr_measure_count - 1) == 7);
}

enum { ROWS = 300, COLS = 200 };

static double base[ROWS * COLS], sum[ROWS * COLS], values[COLS], left[ROWS * COLS];
static double right[COLS * COLS], left_sum[ROWS * COLS], right_sum[COLS * COLS];

/* For a Gaussian W0 the threshold is known: the standard deviation times (rows cols)^(1/4). */
static void theta_of_a_gaussian_matrix_is_the_known_one(void **state)
{
    (void)state;
    mr_noise(5, 0, ROWS, COLS, sqrt(ROWS * COLS), base);
    must(mr_svd_values(base, ROWS, COLS, values));
    const double known = pow(ROWS * COLS, 0.25);
    const double theta = mr_intruder_theta(values, ROWS, COLS);
    if (!(theta > 0.7 * known && theta < 1.1 * known))
        fail_msg("expected about %.3f, found %.3f", known, theta);
    assert_near(mr_intruder_theta(values, COLS, ROWS), theta, 0);
    for (int i = 0; i < COLS; i++)
        values[i] *= 1e-200;
    assert_near(mr_intruder_theta(values, ROWS, COLS) * 1e200, theta, 1e-13);
}

static void theta_has_no_value_where_it_makes_no_sense(void **state)
{
    (void)state;
    const double equal[] = {2, 2, 1}, zeros[] = {0, 0};
    assert_true(mr_intruder_theta(equal, 3, 5) == 0);
    assert_true(mr_intruder_theta(zeros, 2, 2) == 0);
    assert_true(isnan(mr_intruder_theta(equal, 1, 5)));
}

/* A rank-one update well above the threshold is a new leading direction, one well below is not. */
static void s_star_separates_updates_with_intruders_from_those_without(void **state)
{
    (void)state;
    const mr_random random = mr_random_stream(9, MR_RANDOM_DATA, 0);
    mr_intruders found;
    double cosines[10];
    mr_noise(5, 0, ROWS, COLS, sqrt(ROWS * COLS), base);
    must(mr_svd(base, ROWS, COLS, values, left, right));
    const double theta = mr_intruder_theta(values, ROWS, COLS);
    for (int strong = 0; strong < 2; strong++) {
        const double sigma1 = (strong ? 3 : 1.0 / 3) * theta;
        double u[ROWS], v[COLS], uu = 0, vv = 0;
        for (int i = 0; i < ROWS; i++)
            uu += pow(u[i] = mr_random_normal(&random, (uint64_t)i), 2);
        for (int j = 0; j < COLS; j++)
            vv += pow(v[j] = mr_random_normal(&random, (uint64_t)(ROWS + j)), 2);
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < COLS; j++)
                sum[i * COLS + j] = base[i * COLS + j] + sigma1 * u[i] * v[j] / sqrt(uu * vv);
        must(mr_svd(sum, ROWS, COLS, values, left_sum, right_sum));
        must(mr_intruders_find(values, left_sum, 1, left, COLS, ROWS, 0.5, cosines, &found));
        assert_int_equal(found.count, strong);
        assert_true(found.energy_share == strong);
    }
}

static void noise_has_the_norm_asked_for(void **state)
{
    (void)state;
    double squares = 0, total = 0;
    mr_noise(1, 2, ROWS, COLS, 7, base);
    mr_noise(1, 3, ROWS, COLS, 7, sum);
    for (int i = 0; i < ROWS * COLS; i++) {
        squares += base[i] * base[i];
        total += base[i] * sum[i];
    }
    assert_near(sqrt(squares), 7, 1e-13);
    assert_true(fabs(total) < 1); /* of 49, were streams the same */
}

static void spaces_at_known_angles_have_their_cosines(void **state)
{
    (void)state;
    const double x[] = {1, 0, 0, 0, 0, 1, 0, 0};
    const double y[] = {0, 0, 0.8, 0.6, 0.6, 0, 0.8 * 0.6, -0.8 * 0.8};
    double cosines[2];
    must(mr_principal_cosines(x, y, 2, 4, cosines));
    assert_near(cosines[0], 0.6, 1e-15);
    assert_near(cosines[1], 0, 1e-15);
    must(mr_principal_cosines(x, x, 2, 4, cosines));
    assert_true(cosines[0] == 1 && cosines[1] == 1);
    assert_int_equal(mr_memory_live_total(), 0);
}

static mr_status compare_spaces(void *context)
{
    const double x[] = {1, 0, 0, 0, 1, 0};
    double cosines[2];
    mr_intruders found;
    (void)context;
    MR_TRY(mr_principal_cosines(x, x, 2, 3, cosines));
    return mr_intruders_find(cosines, x, 2, x, 2, 3, 0.5, cosines, &found);
}

static void scarce_memory_is_told(void **state)
{
    (void)state;
    scarce_try(compare_spaces, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_values_have_full_rank_by_every_measure),
        cmocka_unit_test(one_value_has_rank_one_by_every_measure),
        cmocka_unit_test(an_update_of_zeros_has_rank_zero_and_nothing_else),
        cmocka_unit_test(what_is_not_known_of_the_base_is_undefined),
        cmocka_unit_test(shares_of_energy_are_those_of_the_squares),
        cmocka_unit_test(the_table_names_every_measure_once),
        cmocka_unit_test(theta_of_a_gaussian_matrix_is_the_known_one),
        cmocka_unit_test(theta_has_no_value_where_it_makes_no_sense),
        cmocka_unit_test(s_star_separates_updates_with_intruders_from_those_without),
        cmocka_unit_test(noise_has_the_norm_asked_for),
        cmocka_unit_test(spaces_at_known_angles_have_their_cosines),
        cmocka_unit_test(scarce_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
