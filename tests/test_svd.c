#include "base/memory.h"
#include "base/random.h"
#include "linalg/svd.h"
#include "scarce.h"
#include "test.h"

#include <float.h>
#include <limits.h>
#include <math.h>

static void assert_near(double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance))
        fail_msg("expected %.17g, found %.17g", expected, found);
}

static void fill(double *a, int64_t count, uint64_t seed)
{
    mr_random random = mr_random_stream(seed, MR_RANDOM_WEIGHTS, 0);
    for (int64_t i = 0; i < count; i++)
        a[i] = mr_random_normal(&random, (uint64_t)i);
}

static void a_diagonal_gives_its_magnitudes_in_descending_order(void **state)
{
    (void)state;
    const double a[9] = {2, 0, 0, 0, -7, 0, 0, 0, 3};
    double values[3];
    assert_int_equal(mr_svd_values(a, 3, 3, values), MR_OK);
    assert_near(values[0], 7, 1e-14);
    assert_near(values[1], 3, 1e-14);
    assert_near(values[2], 2, 1e-14);
}

static void a_matrix_of_known_values_gives_them(void **state)
{
    (void)state;
    /* A A^T = [[17, 8], [8, 17]], whose eigenvalues are 25 and 9. */
    const double a[6] = {3, 2, 2, 2, 3, -2};
    double values[2];
    assert_int_equal(mr_svd_values(a, 2, 3, values), MR_OK);
    assert_near(values[0], 5, 1e-14);
    assert_near(values[1], 3, 1e-14);
}

static void a_single_row_gives_its_length(void **state)
{
    (void)state;
    const double a[2] = {3, -4};
    double value = 0;
    assert_int_equal(mr_svd_values(a, 1, 2, &value), MR_OK);
    assert_near(value, 5, 1e-14);
}

static void a_matrix_and_its_transpose_have_the_same_values(void **state)
{
    (void)state;
    enum { ROWS = 23, COLS = 9 };
    double a[ROWS * COLS], transposed[COLS * ROWS], values[COLS], again[COLS];
    fill(a, ROWS * COLS, 1);
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLS; j++)
            transposed[j * ROWS + i] = a[i * COLS + j];
    assert_int_equal(mr_svd_values(a, ROWS, COLS, values), MR_OK);
    assert_int_equal(mr_svd_values(transposed, COLS, ROWS, again), MR_OK);
    for (int i = 0; i < COLS; i++)
        assert_near(again[i], values[i], 1e-13);
}

static void squares_of_the_values_sum_to_the_frobenius_norm(void **state)
{
    (void)state;
    enum { ROWS = 40, COLS = 70 };
    double a[ROWS * COLS], values[ROWS], norm = 0, sum = 0;
    fill(a, ROWS * COLS, 2);
    for (int i = 0; i < ROWS * COLS; i++)
        norm += a[i] * a[i];
    assert_int_equal(mr_svd_values(a, ROWS, COLS, values), MR_OK);
    for (int i = 0; i < ROWS; i++) {
        if (i > 0) assert_true(values[i] <= values[i - 1]);
        sum += values[i] * values[i];
    }
    assert_near(sum / norm, 1, 1e-13);
}

static void a_product_of_rank_two_has_two_values_above_zero(void **state)
{
    (void)state;
    enum { SIDE = 30 };
    double left[SIDE * 2], right[2 * SIDE], a[SIDE * SIDE], values[SIDE];
    fill(left, SIDE * 2, 3);
    fill(right, 2 * SIDE, 4);
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            a[i * SIDE + j] = left[2 * i] * right[j] + left[2 * i + 1] * right[SIDE + j];
    assert_int_equal(mr_svd_values(a, SIDE, SIDE, values), MR_OK);
    assert_true(values[1] > 1);
    assert_true(values[2] < 1e-13 * values[0]);
}

static void the_matrix_is_left_as_it_was(void **state)
{
    (void)state;
    double a[12], before[12], values[3];
    fill(a, 12, 5);
    memcpy(before, a, sizeof a);
    assert_int_equal(mr_svd_values(a, 4, 3, values), MR_OK);
    assert_memory_equal(a, before, sizeof a);
}

enum { MOST = 400 * 240 };

static double big[MOST], left[MOST], right[MOST], values_with[240], values_alone[240];

/* Shapes on both sides of what the two stages are cut by: blocks of 32, and three to five. */
static const int shapes[][2] = {{1, 1},   {1, 40},   {2, 2},    {31, 31},   {32, 32},   {33, 33},
                                {33, 65}, {63, 64},  {65, 64},  {64, 106},  {64, 107},  {97, 96},
                                {96, 97}, {129, 40}, {160, 96}, {240, 240}, {400, 240}, {130, 131}};

enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void values_alone_are_those_with_vectors(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        const int rows = shapes[i][0], cols = shapes[i][1], n = rows < cols ? rows : cols;
        fill(big, rows * cols, (uint64_t)i + 10);
        assert_int_equal(mr_svd(big, rows, cols, values_with, left, right), MR_OK);
        assert_int_equal(mr_svd_values(big, rows, cols, values_alone), MR_OK);
        for (int j = 0; j < n; j++)
            assert_near(values_alone[j], values_with[j], 1e-14 * values_with[0]);
    }
}

static void vectors_compose_the_matrix(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        const int rows = shapes[i][0], cols = shapes[i][1], n = rows < cols ? rows : cols;
        fill(big, rows * cols, (uint64_t)i + 40);
        assert_int_equal(mr_svd(big, rows, cols, values_with, left, right), MR_OK);
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < cols; c++) {
                double sum = 0;
                for (int j = 0; j < n; j++)
                    sum += values_with[j] * left[j * rows + r] * right[j * cols + c];
                assert_near(sum, big[r * cols + c], 1e-13 * values_with[0]);
            }
        for (int j = 0; j < n; j++)
            for (int k = 0; k <= j; k++) {
                double u = 0, v = 0;
                for (int r = 0; r < rows; r++)
                    u += left[j * rows + r] * left[k * rows + r];
                for (int c = 0; c < cols; c++)
                    v += right[j * cols + c] * right[k * cols + c];
                assert_near(u, j == k, 1e-13);
                assert_near(v, j == k, 1e-13);
            }
    }
}

static void the_scale_of_a_matrix_does_not_matter(void **state)
{
    (void)state;
    static const double scales[] = {1e-307, 1e-160, 1e-25, 1e25, 1e160, 1e300};
    enum { ROWS = 50, COLS = 40 };
    fill(big, ROWS * COLS, 6);
    assert_int_equal(mr_svd_values(big, ROWS, COLS, values_with), MR_OK);
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++) {
        for (int j = 0; j < ROWS * COLS; j++)
            left[j] = big[j] * scales[i];
        assert_int_equal(mr_svd_values(left, ROWS, COLS, values_alone), MR_OK);
        for (int j = 0; j < COLS; j++)
            assert_near(values_alone[j] / scales[i], values_with[j], 1e-14 * values_with[0]);
    }
}

static void zeros_have_values_of_zero(void **state)
{
    (void)state;
    memset(big, 0, sizeof big);
    assert_int_equal(mr_svd_values(big, 70, 50, values_alone), MR_OK);
    for (int j = 0; j < 50; j++)
        assert_true(values_alone[j] == 0);
}

/* A spectrum of twelve orders of magnitude: small values within the same distance as large ones. */
static void graded_values_are_within_the_bound(void **state)
{
    (void)state;
    enum { SIDE = 120 };
    double wanted[SIDE];
    fill(big, SIDE * SIDE, 7);
    assert_int_equal(mr_svd(big, SIDE, SIDE, values_with, left, right), MR_OK);
    for (int j = 0; j < SIDE; j++)
        wanted[j] = pow(10, -j / 10.0);
    for (int r = 0; r < SIDE; r++)
        for (int c = 0; c < SIDE; c++) {
            double sum = 0;
            for (int j = 0; j < SIDE; j++)
                sum += wanted[j] * left[j * SIDE + r] * right[j * SIDE + c];
            big[r * SIDE + c] = sum;
        }
    assert_int_equal(mr_svd_values(big, SIDE, SIDE, values_alone), MR_OK);
    for (int j = 0; j < SIDE; j++)
        assert_near(values_alone[j], wanted[j], 1e-14);
}

/* One matrix a thread: the same bits as one after another. */
static void threads_do_not_disturb_one_another(void **state)
{
    (void)state;
    enum { SIDE = 100, MATRICES = 16 };
    static double matrix[MATRICES][SIDE * SIDE], alone[MATRICES][SIDE], together[MATRICES][SIDE];
    mr_status status[MATRICES];
    for (int i = 0; i < MATRICES; i++) {
        fill(matrix[i], SIDE * SIDE, (uint64_t)i);
        assert_int_equal(mr_svd_values(matrix[i], SIDE, SIDE, alone[i]), MR_OK);
    }
    matrix[5][7] = NAN;
#pragma omp parallel for num_threads(4) schedule(dynamic, 1)
    for (int i = 0; i < MATRICES; i++)
        status[i] = mr_svd_values(matrix[i], SIDE, SIDE, together[i]);
    for (int i = 0; i < MATRICES; i++) {
        assert_int_equal(status[i], i == 5 ? MR_ERR_NUMERIC : MR_OK);
        if (i != 5) assert_memory_equal(together[i], alone[i], sizeof alone[i]);
    }
    assert_int_equal(mr_memory_live_total(), 0);
}

/* Run first: the peak is that of the whole program. */
static void what_is_held_is_what_is_told(void **state)
{
    (void)state;
    fill(big, 400 * 240, 8);
    assert_int_equal(mr_svd_values(big, 400, 240, values_alone), MR_OK);
    assert_int_equal(mr_memory_peak_total(), mr_svd_bytes(400, 240));
    assert_int_equal(mr_svd_bytes(240, 400), mr_svd_bytes(400, 240));
    assert_true(mr_svd_bytes(INT_MAX, INT_MAX) == MR_BYTES_MOST);
}

static mr_status values_of_big(void *context)
{
    (void)context;
    return mr_svd_values(big, 40, 30, values_alone);
}

static mr_status vectors_of_big(void *context)
{
    (void)context;
    return mr_svd(big, 40, 30, values_with, left, right);
}

static void scarce_memory_is_told(void **state)
{
    (void)state;
    fill(big, 40 * 30, 8);
    scarce_try(values_of_big, NULL);
    scarce_try(vectors_of_big, NULL);
}

static void no_memory_is_held_afterwards(void **state)
{
    (void)state;
    double a[12], values[3];
    fill(a, 12, 5);
    assert_int_equal(mr_svd_values(a, 4, 3, values), MR_OK);
    a[0] = NAN;
    assert_int_equal(mr_svd_values(a, 4, 3, values), MR_ERR_NUMERIC);
    assert_int_equal(mr_memory_live_total(), 0);
}

static void a_nan_is_refused_by_its_place(void **state)
{
    (void)state;
    const double a[6] = {1, 2, 3, 4, 5, NAN};
    double values[2];
    assert_int_equal(mr_svd_values(a, 2, 3, values), MR_ERR_NUMERIC);
    assert_contains(mr_message(), "row 1, column 2 of a 2 x 3 matrix is nan, expected a finite");
}

static void an_infinity_is_refused_by_its_place(void **state)
{
    (void)state;
    const double a[6] = {1, -INFINITY, 3, 4, 5, 6};
    double values[2];
    assert_int_equal(mr_svd_values(a, 3, 2, values), MR_ERR_NUMERIC);
    assert_contains(mr_message(), "row 0, column 1 of a 3 x 2 matrix is -inf");
}

static void a_value_beyond_double_is_refused(void **state)
{
    (void)state;
    const double a[4] = {DBL_MAX, DBL_MAX, DBL_MAX, DBL_MAX};
    double values[2];
    assert_int_equal(mr_svd_values(a, 2, 2, values), MR_ERR_NUMERIC);
    assert_contains(mr_message(), "the largest one of a 2 x 2 matrix is inf, expected a finite");
}

static void an_empty_matrix_is_refused(void **state)
{
    (void)state;
    double a = 0, value;
    assert_int_equal(mr_svd_values(&a, 0, 3, &value), MR_ERR_ARG);
    assert_contains(mr_message(), "expected a matrix with extents of 1..2147483647, found 0 x 3");
}

static void an_extent_beyond_int_is_refused(void **state)
{
    (void)state;
    double a = 0, value;
    assert_int_equal(mr_svd_values(&a, 1, (int64_t)INT_MAX + 1, &value), MR_ERR_ARG);
    assert_contains(mr_message(), "found 1 x 2147483648");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_held_is_what_is_told),
        cmocka_unit_test(a_diagonal_gives_its_magnitudes_in_descending_order),
        cmocka_unit_test(a_matrix_of_known_values_gives_them),
        cmocka_unit_test(a_single_row_gives_its_length),
        cmocka_unit_test(a_matrix_and_its_transpose_have_the_same_values),
        cmocka_unit_test(squares_of_the_values_sum_to_the_frobenius_norm),
        cmocka_unit_test(a_product_of_rank_two_has_two_values_above_zero),
        cmocka_unit_test(the_matrix_is_left_as_it_was),
        cmocka_unit_test(values_alone_are_those_with_vectors),
        cmocka_unit_test(vectors_compose_the_matrix),
        cmocka_unit_test(the_scale_of_a_matrix_does_not_matter),
        cmocka_unit_test(zeros_have_values_of_zero),
        cmocka_unit_test(graded_values_are_within_the_bound),
        cmocka_unit_test(threads_do_not_disturb_one_another),
        cmocka_unit_test(scarce_memory_is_told),
        cmocka_unit_test(no_memory_is_held_afterwards),
        cmocka_unit_test(a_nan_is_refused_by_its_place),
        cmocka_unit_test(an_infinity_is_refused_by_its_place),
        cmocka_unit_test(a_value_beyond_double_is_refused),
        cmocka_unit_test(an_empty_matrix_is_refused),
        cmocka_unit_test(an_extent_beyond_int_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
