/** @file
 * Products of matrices element by element: summed over rows or columns, and by a factor a column.
 */

#include "reference.h"
#include "test.h"

#include <inttypes.h>
#include <math.h>

enum { CASES = 12 };

static void row_dots_match_the_formula(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t rows = i == 0 ? 1 : mr_lab_extent(lab, 1, 70);
        int64_t cols = i == 1 ? 1 : mr_lab_extent(lab, 1, 300);
        double beta = i % 3 == 0 ? 0 : 0.5 * (double)(i % 3);
        double *a = mr_lab_normals(lab, rows * cols), *b = mr_lab_normals(lab, rows * cols);
        double *want = mr_lab_zeros(lab, rows);
        mr_tensor out = mr_lab_poison(lab, MR_F64, 1, rows, 0);
        if (beta != 0) {
            want = mr_lab_normals(lab, rows);
            lab->be->ops->upload(lab->be, out, want);
        }
        for (int64_t n = 0; n < rows; n++)
            want[n] = beta * want[n] + mr_reference_dot(a + n * cols, b + n * cols, cols);
        mr_tensor ta = mr_lab_upload(lab, a, rows, cols, i % 4);
        mr_tensor tb = mr_lab_upload(lab, b, rows, cols, (i + 1) % 3);
        MR_LAB_RUN(lab, row_dots, out, ta, tb, beta);
        double *got = mr_lab_download(lab, out);
        for (int64_t n = 0; n < rows; n++)
            if (!(got[n] - want[n] <= 1e-11 && want[n] - got[n] <= 1e-11))
                fail_msg("row %" PRId64 " of %" PRId64 " x %" PRId64 ": %.17g, expected %.17g", n,
                         rows, cols, got[n], want[n]);
        mr_lab_clear(lab);
    }
}

static void scale_columns_matches_the_formula_in_place_too(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t rows = i == 0 ? 1 : mr_lab_extent(lab, 1, 90);
        int64_t cols = i == 1 ? 1 : mr_lab_extent(lab, 1, 200), count = rows * cols;
        float beta = i % 3 == 0 ? 0 : 0.5f * (float)(i % 3);
        double *x = mr_lab_normals(lab, count), *s = mr_lab_normals(lab, cols);
        double *y = mr_lab_normals(lab, count), *want = mr_lab_zeros(lab, count);
        double *alone = mr_lab_zeros(lab, count);
        for (int64_t n = 0; n < count; n++) {
            alone[n] = x[n] * s[n % cols];
            want[n] = (double)beta * y[n] + alone[n];
        }
        mr_tensor tx = mr_lab_upload(lab, x, rows, cols, i % 4), kept = {0};
        mr_tensor ts = mr_lab_upload(lab, s, 1, cols, 0);
        mr_tensor ty = beta == 0 ? mr_lab_poison(lab, MR_F32, rows, cols, i % 2)
                                 : mr_lab_upload(lab, y, rows, cols, i % 2);
        if (i % 2 == 0) kept = mr_lab_poison(lab, MR_F32, rows, cols, i % 5);
        MR_LAB_RUN(lab, scale_columns, ty, kept, tx, ts, beta);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, ty, want, "case %d", i);
        if (i % 2 == 0) mr_lab_expect(lab, MR_BOUND_EXACT, kept, x, "what is kept, case %d", i);
        MR_LAB_RUN(lab, scale_columns, tx, kept, tx, ts, 0);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, tx, alone, "in place, case %d", i);
        if (i % 2 == 0) mr_lab_expect(lab, MR_BOUND_EXACT, kept, x, "in place, case %d", i);
        mr_lab_clear(lab);
    }
}

static void scale_rows_matches_the_formula(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t rows = i == 0 ? 1 : mr_lab_extent(lab, 1, 90);
        int64_t cols = i == 1 ? 1 : mr_lab_extent(lab, 1, 500);
        double *x = mr_lab_normals(lab, rows * cols), *s = mr_lab_normals(lab, rows);
        mr_tensor tx = mr_lab_upload(lab, x, rows, cols, i % 4);
        MR_LAB_RUN(lab, scale_rows, tx, mr_lab_upload(lab, s, 1, rows, 0));
        for (int64_t n = 0; n < rows * cols; n++)
            x[n] *= s[n / cols];
        mr_lab_expect(lab, MR_BOUND_ROUNDED, tx, x, "case %d", i);
        mr_lab_clear(lab);
    }
}

static void row_factors_match_the_formula(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t rows = i == 0 ? 1 : mr_lab_extent(lab, 1, 3000);
        double *squares = mr_lab_normals(lab, rows), *magnitude = mr_lab_normals(lab, rows);
        double *inverse = mr_lab_zeros(lab, rows), *ratio = mr_lab_zeros(lab, rows);
        double *gain = mr_lab_zeros(lab, rows);
        for (int64_t n = 0; n < rows; n++) {
            squares[n] = n % 7 == 3 ? 0 : squares[n] * squares[n]; /* rows of length 0 */
            inverse[n] = squares[n] > 0 ? 1 / sqrt(squares[n]) : 0;
            ratio[n] = magnitude[n] * inverse[n];
            gain[n] = ratio[n] - 1;
        }
        mr_tensor out[3], tsquares = mr_lab_poison(lab, MR_F64, 1, rows, 0);
        for (int k = 0; k < 3; k++)
            out[k] = mr_lab_poison(lab, MR_F32, 1, rows, 0);
        lab->be->ops->upload(lab->be, tsquares, squares);
        const mr_row_factors_args args = {.inverse = out[0],
                                          .ratio = out[1],
                                          .gain = out[2],
                                          .base = tsquares,
                                          .magnitude = mr_lab_upload(lab, magnitude, 1, rows, 0)};
        MR_LAB_RUN(lab, row_factors, &args);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, out[0], inverse, "inverse, case %d", i);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, out[1], ratio, "ratio, case %d", i);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, out[2], gain, "gain, case %d", i);
        mr_lab_clear(lab);
    }
}

/* What is not finite must be seen in the loss; a sum of squares below 0 is rounding of 0. */
static void row_factors_keep_nan_and_take_less_than_nothing_for_nothing(void **state)
{
    mr_lab *lab = *state;
    double squares[2] = {NAN, -1e-12}, magnitude[2] = {1, 1};
    mr_tensor out[3], tsquares = mr_lab_poison(lab, MR_F64, 1, 2, 0);
    for (int k = 0; k < 3; k++)
        out[k] = mr_lab_poison(lab, MR_F32, 1, 2, 0);
    lab->be->ops->upload(lab->be, tsquares, squares);
    const mr_row_factors_args args = {.inverse = out[0],
                                      .ratio = out[1],
                                      .gain = out[2],
                                      .base = tsquares,
                                      .magnitude = mr_lab_upload(lab, magnitude, 1, 2, 0)};
    MR_LAB_RUN(lab, row_factors, &args);
    for (int k = 0; k < 3; k++) {
        double *got = mr_lab_download(lab, out[k]);
        assert_true(isnan(got[0]));
        assert_true(got[1] == (k == 2 ? -1 : 0));
    }
}

static void scale_columns_backward_matches_the_formula(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t rows = i == 0 ? 1 : mr_lab_extent(lab, 1, 300);
        int64_t cols = i == 1 ? 1 : mr_lab_extent(lab, 1, i == 2 ? 6000 : 600);
        int64_t count = rows * cols;
        double *x = mr_lab_normals(lab, count), *dy = mr_lab_normals(lab, count);
        double *s = mr_lab_normals(lab, cols), *ds = mr_lab_zeros(lab, cols);
        double *dx = mr_lab_zeros(lab, count);
        for (int64_t n = 0; n < count; n++) {
            ds[n % cols] += dy[n] * x[n];
            dx[n] = dy[n] * s[n % cols];
        }
        mr_tensor tds = mr_lab_poison(lab, MR_F32, 1, cols, 0), tdx = {0};
        mr_tensor tx = mr_lab_upload(lab, x, rows, cols, i % 4);
        mr_tensor tdy = mr_lab_upload(lab, dy, rows, cols, (i + 1) % 3);
        mr_tensor ts = i % 2 ? mr_lab_upload(lab, s, 1, cols, 0) : (mr_tensor){0};
        if (i % 2) tdx = mr_lab_poison(lab, MR_F32, rows, cols, i % 5);
        MR_LAB_RUN(lab, scale_columns_backward, tdx, tds, tdy, tx, ts);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, tds, ds, "ds, case %d", i);
        if (i % 2) mr_lab_expect(lab, MR_BOUND_ROUNDED, tdx, dx, "dx, case %d", i);
        mr_lab_clear(lab);
    }
}

/* <g, x diag(s)> is linear in s and in x: each times its gradient is the value itself. */
static void scale_columns_backward_is_the_adjoint(void **state)
{
    mr_lab *lab = *state;
    int64_t rows = 37, cols = 53, count = rows * cols;
    double *x = mr_lab_normals(lab, count), *g = mr_lab_normals(lab, count);
    double *s = mr_lab_normals(lab, cols);
    mr_tensor tx = mr_lab_upload(lab, x, rows, cols, 0), tg = mr_lab_upload(lab, g, rows, cols, 0);
    mr_tensor ts = mr_lab_upload(lab, s, 1, cols, 0);
    mr_tensor y = mr_lab_poison(lab, MR_F32, rows, cols, 0);
    mr_tensor ds = mr_lab_poison(lab, MR_F32, 1, cols, 0);
    mr_tensor dx = mr_lab_poison(lab, MR_F32, rows, cols, 0);
    MR_LAB_RUN(lab, scale_columns, y, (mr_tensor){0}, tx, ts, 0);
    MR_LAB_RUN(lab, scale_columns_backward, dx, ds, tg, tx, ts);
    double value = mr_reference_dot(g, mr_lab_download(lab, y), count);
    double by_s = mr_reference_dot(s, mr_lab_download(lab, ds), cols);
    double by_x = mr_reference_dot(x, mr_lab_download(lab, dx), count);
    mr_lab_expect_values(MR_BOUND_SUMMED, &by_s, &value, 1, "by the factors");
    mr_lab_expect_values(MR_BOUND_SUMMED, &by_x, &value, 1, "by the values");
}

/* What the operations make of one draw of inputs, one after another. */
static double *outcome(mr_lab *lab, int64_t rows, int64_t cols)
{
    mr_tensor a = mr_lab_upload(lab, mr_lab_normals(lab, rows * cols), rows, cols, 0);
    mr_tensor b = mr_lab_upload(lab, mr_lab_normals(lab, rows * cols), rows, cols, 0);
    mr_tensor by_row = mr_lab_poison(lab, MR_F64, 1, rows, 0);
    mr_tensor by_column = mr_lab_poison(lab, MR_F32, 1, cols, 0);
    MR_LAB_RUN(lab, row_dots, by_row, a, b, 0);
    MR_LAB_RUN(lab, scale_columns_backward, (mr_tensor){0}, by_column, a, b, (mr_tensor){0});
    MR_LAB_RUN(lab, scale_columns, b, (mr_tensor){0}, a, by_column, 0.5f);
    double *all = mr_lab_zeros(lab, rows + cols + rows * cols);
    memcpy(all, mr_lab_download(lab, by_row), (size_t)rows * sizeof *all);
    memcpy(all + rows, mr_lab_download(lab, by_column), (size_t)cols * sizeof *all);
    memcpy(all + rows + cols, mr_lab_download(lab, b), (size_t)(rows * cols) * sizeof *all);
    return all;
}

static void the_same_bits_on_any_number_of_threads(void **state)
{
    (void)state;
    int64_t rows = 211, cols = 633, count = rows + cols + rows * cols;
    mr_lab *first = mr_lab_create(1, 5);
    double *want = outcome(first, rows, cols);
    for (int threads = 2; threads <= 4; threads++) {
        mr_lab *lab = mr_lab_create(threads, 5);
        mr_lab_expect_values(MR_BOUND_EXACT, outcome(lab, rows, cols), want, count, "%d threads",
                             threads);
        mr_lab_destroy(&lab);
    }
    mr_lab_destroy(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MR_LAB_TEST(row_dots_match_the_formula),
        MR_LAB_TEST(scale_columns_matches_the_formula_in_place_too),
        MR_LAB_TEST(scale_rows_matches_the_formula),
        MR_LAB_TEST(row_factors_match_the_formula),
        MR_LAB_TEST(row_factors_keep_nan_and_take_less_than_nothing_for_nothing),
        MR_LAB_TEST(scale_columns_backward_matches_the_formula),
        MR_LAB_TEST(scale_columns_backward_is_the_adjoint),
        cmocka_unit_test(the_same_bits_on_any_number_of_threads),
    };
    return cmocka_run_group_tests_name("backend scale", tests, NULL, NULL);
}
