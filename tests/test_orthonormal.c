#include "base/memory.h"
#include "base/random.h"
#include "linalg/orthonormal.h"
#include "test.h"

#include <math.h>

static double *normals(int64_t rows, int64_t cols, uint64_t stream)
{
    double *a = mr_alloc_array(MR_MEM_OTHER, (size_t)(rows * cols), sizeof *a);
    assert_non_null(a);
    mr_random random = mr_random_stream(1, MR_RANDOM_ADAPTER, stream);
    for (int64_t i = 0; i < rows * cols; i++)
        a[i] = mr_random_normal(&random, (uint64_t)i);
    return a;
}

static double dot(const double *a, const double *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += a[i] * b[i];
    return sum;
}

static const int64_t shapes[][2] = {{1, 1}, {1, 5}, {4, 4}, {3, 17}, {8, 64}, {60, 61}, {32, 1000}};

enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void rows_become_orthonormal(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPES; s++) {
        int64_t rows = shapes[s][0], cols = shapes[s][1];
        double *a = normals(rows, cols, (uint64_t)s);
        assert_int_equal(mr_orthonormal_rows(a, rows, cols), MR_OK);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j <= i; j++)
                assert_true(fabs(dot(a + i * cols, a + j * cols, cols) - (i == j)) < 1e-13);
        mr_free(a);
    }
}

/* Row i of the original must lie in rows 0..i of the result, on the positive side of row i. */
static void rows_are_those_of_gram_and_schmidt(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPES; s++) {
        int64_t rows = shapes[s][0], cols = shapes[s][1];
        double *a = normals(rows, cols, (uint64_t)s), *original = normals(rows, cols, (uint64_t)s);
        assert_int_equal(mr_orthonormal_rows(a, rows, cols), MR_OK);
        for (int64_t i = 0; i < rows; i++) {
            double *left = original + i * cols, last = 0;
            for (int64_t j = 0; j <= i; j++) {
                last = dot(left, a + j * cols, cols);
                for (int64_t c = 0; c < cols; c++)
                    left[c] -= last * a[j * cols + c];
            }
            assert_true(last > 0);
            assert_true(dot(left, left, cols) < 1e-24);
        }
        mr_free(a);
        mr_free(original);
    }
}

static void more_rows_than_columns_are_refused(void **state)
{
    (void)state;
    double a[6] = {1, 2, 3, 4, 5, 6};
    assert_int_equal(mr_orthonormal_rows(a, 3, 2), MR_ERR_ARG);
    assert_contains(mr_message(), "no more rows than columns, found 3 x 2");
    assert_int_equal(mr_orthonormal_rows(a, 0, 2), MR_ERR_ARG);
}

static void rows_that_depend_on_one_another_are_refused(void **state)
{
    (void)state;
    double a[6] = {0, 0, 0, 1, 2, 3}, b[4] = {1, NAN, 2, 3};
    assert_int_equal(mr_orthonormal_rows(a, 2, 3), MR_ERR_NUMERIC);
    assert_contains(mr_message(), "row 0 of a 2 x 3 matrix depends on those before it");
    assert_int_equal(mr_orthonormal_rows(b, 2, 2), MR_ERR_NUMERIC);
}

static int nothing_is_left(void **state)
{
    (void)state;
    return mr_memory_live_total() != 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_become_orthonormal),
        cmocka_unit_test(rows_are_those_of_gram_and_schmidt),
        cmocka_unit_test(more_rows_than_columns_are_refused),
        cmocka_unit_test(rows_that_depend_on_one_another_are_refused),
    };
    return cmocka_run_group_tests_name("orthonormal", tests, NULL, nothing_is_left);
}
