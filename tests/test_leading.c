/** @file
 * The leading singular triples of operators, beside LAPACK's. */

#include "base/memory.h"
#include "linalg/leading.h"
#include "linalg/product.h"
#include "linalg/svd.h"
#include "scarce.h"
#include "test.h"

#include <math.h>

enum { MOST = 400 * 300 };

static double a[MOST], u[MOST], v[MOST], all[400], values[400];

static void fill(double *x, int64_t count, uint64_t seed)
{
    const mr_random random = mr_random_stream(seed, MR_RANDOM_DATA, 0);
    for (int64_t i = 0; i < count; i++)
        x[i] = mr_random_normal(&random, (uint64_t)i);
}

/* a = sum of sigma_j x_j y_j^T with random orthonormal vectors, those of another Gaussian matrix.
 */
static void compose(int64_t rows, int64_t cols, const double *sigma)
{
    const int64_t n = rows < cols ? rows : cols;
    fill(a, rows * cols, (uint64_t)(rows + 1000 * cols));
    must(mr_svd(a, rows, cols, all, u, v));
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < rows; i++)
            u[j * rows + i] *= sigma[j];
    mr_product(true, false, rows, cols, n, 1, u, v, 0, a);
}

/* Values as LAPACK's, vectors orthonormal, A v = sigma u and A^T u = sigma v. */
static void assert_leading(int64_t rows, int64_t cols, int64_t k)
{
    static double product[MOST], gram[400 * 400];
    const mr_dense_matrix matrix = {rows, cols, a};
    const mr_operator op = mr_dense_operator(&matrix);
    must(mr_svd_values(a, rows, cols, all));
    must(mr_leading(&op, k, values, u, v));
    const double bound = 1e-13 * all[0];
    for (int64_t j = 0; j < k; j++)
        if (!(fabs(values[j] - all[j]) <= bound))
            fail_msg("%d x %d: value %d of %d: expected %.17g, found %.17g", (int)rows, (int)cols,
                     (int)j, (int)k, all[j], values[j]);
    for (int side = 0; side < 2; side++) {
        const double *x = side ? u : v, *y = side ? v : u;
        const int64_t n = side ? cols : rows, own = side ? rows : cols;
        must(op.apply(op.context, side, k, x, product));
        for (int64_t j = 0; j < k; j++)
            for (int64_t i = 0; i < n; i++)
                assert_true(fabs(product[j * n + i] - values[j] * y[j * n + i]) <= bound);
        mr_product(false, true, k, k, own, 1, x, x, 0, gram);
        for (int64_t i = 0; i < k * k; i++)
            assert_true(fabs(gram[i] - (i / k == i % k)) <= 1e-13);
    }
    assert_int_equal(mr_memory_live_total(), 0);
}

static void gaussian_matrices_have_lapacks_triples(void **state)
{
    (void)state;
    static const int shapes[][3] = {{1, 1, 1},     {1, 9, 1},      {9, 1, 1},     {7, 5, 5},
                                    {40, 30, 1},   {30, 40, 3},    {60, 60, 60},  {200, 150, 10},
                                    {150, 200, 8}, {300, 300, 10}, {400, 200, 16}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        fill(a, shapes[i][0] * shapes[i][1], i);
        assert_leading(shapes[i][0], shapes[i][1], shapes[i][2]);
    }
}

static void equal_values_are_all_found(void **state)
{
    (void)state;
    double sigma[60];
    for (int i = 0; i < 60; i++)
        sigma[i] = i < 4 ? 3 : i < 9 ? 2 : 1;
    compose(80, 60, sigma);
    assert_leading(80, 60, 4);
    compose(80, 60, sigma);
    assert_leading(80, 60, 7);
    for (int i = 0; i < 60; i++)
        sigma[i] = 1;
    compose(60, 70, sigma);
    assert_leading(60, 70, 5);
}

/* The k-th value and the next one agree in ten digits: many restarts, or more memory. */
static void close_values_are_told_apart(void **state)
{
    (void)state;
    double sigma[200];
    for (int i = 0; i < 200; i++)
        sigma[i] = i < 3 ? 3 - 0.1 * i : i == 3 ? 2.8 * (1 - 1e-10) : 2 - 0.01 * (i - 4);
    compose(220, 200, sigma);
    assert_leading(220, 200, 3);
    compose(200, 220, sigma);
    assert_leading(200, 220, 1);
    for (int i = 0; i < 200; i++)
        sigma[i] = 1 - 1e-9 * i;
    compose(220, 200, sigma);
    assert_leading(220, 200, 2);
}

static void what_is_held_is_within_what_is_told(void **state)
{
    (void)state;
    static const int cases[][3] = {{400, 300, 1}, {400, 300, 10}, {300, 400, 25}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const mr_dense_matrix matrix = {cases[i][0], cases[i][1], a};
        const mr_operator op = mr_dense_operator(&matrix);
        const size_t before = mr_memory_peak_total();
        const size_t told = mr_leading_bytes(matrix.rows, matrix.cols, cases[i][2]);
        fill(a, MOST, i);
        must(mr_leading(&op, cases[i][2], values, u, v));
        assert_true(mr_memory_peak_total() > before);
        assert_in_range(mr_memory_peak_total(), told / 2, told);
    }
}

static void a_rank_below_k_gives_values_of_zero(void **state)
{
    (void)state;
    double sigma[50] = {5, 1e-3};
    compose(50, 90, sigma);
    assert_leading(50, 90, 6);
    memset(a, 0, sizeof a);
    assert_leading(50, 90, 4);
    assert_true(values[0] == 0 && values[3] == 0);
}

static void graded_values_are_found(void **state)
{
    (void)state;
    double sigma[120];
    for (int i = 0; i < 120; i++)
        sigma[i] = pow(10, -i / 10.0);
    compose(130, 120, sigma);
    assert_leading(130, 120, 12);
}

static void the_same_call_gives_the_same_bits(void **state)
{
    (void)state;
    static double again[40 * 5], again_values[5];
    const mr_dense_matrix matrix = {50, 40, a};
    const mr_operator op = mr_dense_operator(&matrix);
    fill(a, 50 * 40, 3);
    must(mr_leading(&op, 5, values, u, v));
    must(mr_leading(&op, 5, again_values, u, again));
    assert_memory_equal(values, again_values, sizeof again_values);
    assert_memory_equal(v, again, sizeof again);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    const mr_dense_matrix matrix = {5, 4, a};
    const mr_operator op = mr_dense_operator(&matrix);
    fill(a, 20, 3);
    assert_int_equal(mr_leading(&op, 5, values, u, v), MR_ERR_ARG);
    assert_contains(mr_message(), "expected 1..4 of a 5 x 4 operator, found 5");
    a[7] = NAN;
    assert_int_equal(mr_leading(&op, 2, values, u, v), MR_ERR_NUMERIC);
    assert_contains(mr_message(), "a product of a 5 x 4 operator is");
    assert_int_equal(mr_memory_live_total(), 0);
}

static mr_status refuse(const void *context, bool transpose, int64_t count, const double *x,
                        double *y)
{
    (void)context, (void)transpose, (void)count, (void)x, (void)y;
    return mr_fail(MR_ERR_IO, "gone");
}

static void what_the_operator_returns_ends_it(void **state)
{
    (void)state;
    const mr_operator op = {.rows = 5, .cols = 4, .apply = refuse};
    assert_int_equal(mr_leading(&op, 2, values, u, v), MR_ERR_IO);
    assert_int_equal(mr_memory_live_total(), 0);
}

static mr_status lead(void *context)
{
    return mr_leading(context, 3, values, u, v);
}

static void scarce_memory_is_told(void **state)
{
    (void)state;
    const mr_dense_matrix matrix = {50, 40, a};
    mr_operator op = mr_dense_operator(&matrix);
    fill(a, 50 * 40, 3);
    scarce_try(lead, &op);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_held_is_within_what_is_told),
        cmocka_unit_test(gaussian_matrices_have_lapacks_triples),
        cmocka_unit_test(equal_values_are_all_found),
        cmocka_unit_test(close_values_are_told_apart),
        cmocka_unit_test(a_rank_below_k_gives_values_of_zero),
        cmocka_unit_test(graded_values_are_found),
        cmocka_unit_test(the_same_call_gives_the_same_bits),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(what_the_operator_returns_ends_it),
        cmocka_unit_test(scarce_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
