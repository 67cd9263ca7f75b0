/* Every entry of a backend's table against its formula in double: over ragged shapes, strided views
 * and the types that it computes in. MORA_BACKEND names the backend (cpu).
 *
 * Each row of the table below runs one entry on one draw of shapes; an entry without a row fails.
 * What a formula leaves out (NaN, ties, threads) stands in the other tests of backends. */
#include "base/hash.h"
#include "harness_eight.h"
#include "reference.h"
#include "test.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { CASES = 10 };

/* A draw of shapes: rows and columns of 1 first, then at random. */
static int64_t rows_of(mr_lab *lab, int i)
{
    return i == 0 ? 1 : mr_lab_extent(lab, 1, 70);
}

static int64_t cols_of(mr_lab *lab, int i)
{
    return i <= 1 ? 1 : mr_lab_extent(lab, 1, 300);
}

/* Rows begin at 16 bytes, for what a device takes by these. */
static bool even;

static int64_t gap_of(mr_lab *lab)
{
    return even ? 8 * mr_lab_extent(lab, 0, 1) : mr_lab_extent(lab, 0, 6);
}

/* Half of the cases are of rows that begin at 16 bytes. */
static int64_t some_even(mr_lab *lab, int i)
{
    even = i >= CASES / 2;
    return even ? (cols_of(lab, i) + 7) / 8 * 8 : cols_of(lab, i);
}

/* The nearest to zero that the type holds: BF16 has 8 bits of F32's mantissa. */
static double held(mr_dtype dtype, double wanted)
{
    int exponent;
    double mantissa = frexp((double)(float)wanted, &exponent);
    return dtype == MR_BF16 ? ldexp(trunc(256 * mantissa), exponent - 8) : (double)(float)wanted;
}

/* Values that the type holds exactly. */
static double *values_of(mr_lab *lab, mr_dtype dtype, int64_t count)
{
    double *values = mr_lab_normals(lab, count);
    for (int64_t i = 0; i < count; i++)
        values[i] = held(dtype, values[i]);
    return values;
}

/* A tensor of a type and the values in it, strided. */
static mr_tensor input(mr_lab *lab, mr_dtype dtype, int64_t rows, int64_t cols, double **values)
{
    *values = values_of(lab, dtype, rows * cols);
    return mr_lab_upload_as(lab, dtype, *values, rows, cols, gap_of(lab));
}

/* As input, of the type that the lab is about. */
static mr_tensor in(mr_lab *lab, int64_t rows, int64_t cols, double **values)
{
    return input(lab, lab->dtype, rows, cols, values);
}

/* As input, of F32 without gaps, as what is no activation is. */
static mr_tensor vector(mr_lab *lab, int64_t cols, double **values)
{
    *values = values_of(lab, MR_F32, cols);
    return mr_lab_upload(lab, *values, 1, cols, 0);
}

static mr_tensor out(mr_lab *lab, int64_t rows, int64_t cols)
{
    return mr_lab_poison(lab, lab->dtype, rows, cols, gap_of(lab));
}

static mr_tensor dense(mr_lab *lab, mr_dtype dtype, int64_t rows, int64_t cols)
{
    return mr_lab_poison(lab, dtype, rows, cols, 0);
}

static void fill(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i);
    double *want = mr_lab_zeros(lab, rows * cols);
    for (int64_t k = 0; k < rows * cols; k++)
        want[k] = -1.25;
    mr_tensor t = out(lab, rows, cols);
    MR_LAB_RUN(lab, fill, t, -1.25f);
    mr_lab_expect(lab, MR_BOUND_EXACT, t, want, "case %d", i);
}

static void copy(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i);
    double *x;
    mr_tensor y = out(lab, rows, cols);
    MR_LAB_RUN(lab, copy, y, in(lab, rows, cols, &x));
    mr_lab_expect(lab, MR_BOUND_EXACT, y, x, "case %d", i);
}

static void convert(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i);
    double *x, *want = mr_lab_zeros(lab, rows * cols);
    mr_tensor half = mr_lab_poison(lab, MR_BF16, rows, cols, gap_of(lab));
    mr_tensor back = mr_lab_poison(lab, MR_F32, rows, cols, gap_of(lab));
    x = values_of(lab, MR_F32, rows * cols);
    for (int64_t k = 0; k < rows * cols; k++) {
        int exponent; /* x is 8 bits before the point times a power of two, rint is to even */
        double mantissa = frexp(x[k], &exponent);
        if (k % 4 == 0) mantissa = ((double)(128 + k % 100) + 0.5) / 256; /* halfway */
        x[k] = ldexp(mantissa, exponent);
        want[k] = ldexp(rint(256 * mantissa), exponent - 8);
    }
    MR_LAB_RUN(lab, convert, half, mr_lab_upload(lab, x, rows, cols, gap_of(lab)));
    MR_LAB_RUN(lab, convert, back, half);
    mr_lab_expect(lab, MR_BOUND_EXACT, back, want, "case %d", i);
}

static void add(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i);
    double *x, *y;
    mr_tensor tx = in(lab, rows, cols, &x), ty = in(lab, rows, cols, &y);
    MR_LAB_RUN(lab, add, ty, tx);
    for (int64_t k = 0; k < rows * cols; k++)
        y[k] += x[k];
    mr_lab_expect(lab, MR_BOUND_ROUNDED, ty, y, "case %d", i);
}

/* Whether an element stays, by the formula of the mask: a word of Philox at the flat index. */
static bool stays(mr_random stream, uint64_t index, double p)
{
    const uint32_t counter[4] = {(uint32_t)(index / 4), (uint32_t)(index / 4 >> 32),
                                 stream.stream[0], stream.stream[1]};
    uint32_t words[4];
    mr_philox(stream.key, counter, words);
    return words[index % 4] >= (uint32_t)(p * 0x1p32);
}

static void dropout(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i);
    const int64_t first = i % 3 == 0 ? 0 : i % 3 == 1 ? 1000003 * i : (int64_t)1 << 40;
    const double p = 0.3, beta = i % 2;
    const mr_random stream = mr_random_stream(7, MR_RANDOM_DROPOUT, (uint64_t)i);
    double *x, *y;
    mr_tensor tx = in(lab, rows, cols, &x), ty = in(lab, rows, cols, &y);
    if (i > 6) {
        ty = tx;
        memcpy(y, x, (size_t)(rows * cols) * sizeof *y);
    }
    MR_LAB_RUN(lab, dropout, ty, tx, (float)beta, p, stream, first);
    for (int64_t k = 0; k < rows * cols; k++) {
        bool kept = stays(stream, (uint64_t)(first * cols + k), p);
        y[k] = beta * y[k] + (kept ? x[k] / (1 - p) : 0);
    }
    mr_lab_expect(lab, MR_BOUND_ROUNDED, ty, y, "case %d", i);
}

/* The binary tree over `count` elements: its first half is the largest power of two below. */
static double tree_sum(const double *x, int64_t stride, int64_t count)
{
    int64_t half = 1;
    while (2 * half < count)
        half *= 2;
    if (count == 1) return *x;
    return (double)(float)(tree_sum(x, stride, half) +
                           tree_sum(x + half * stride, stride, count - half));
}

static void sum_pieces(mr_lab *lab, int i)
{
    int64_t pieces = 1 + i % 8, n = cols_of(lab, i);
    double *x = values_of(lab, MR_F32, pieces * n), *want = mr_lab_zeros(lab, n);
    mr_tensor y = dense(lab, MR_F32, 1, n), tx = mr_lab_upload(lab, x, pieces, n, gap_of(lab));
    MR_LAB_RUN(lab, sum_pieces, y, tx);
    for (int64_t k = 0; k < n; k++)
        want[k] = tree_sum(x + k, n, pieces);
    mr_lab_expect(lab, MR_BOUND_EXACT, y, want, "%d pieces", (int)pieces);
}

static void square_sums(mr_lab *lab, int i)
{
    int64_t n = i == 0 ? 1 : mr_lab_extent(lab, 1, 9000);
    int64_t runs = (n + MR_SQUARE_RUN - 1) / MR_SQUARE_RUN;
    double *x, *want = mr_lab_zeros(lab, runs);
    mr_tensor y = dense(lab, MR_F64, 1, runs);
    MR_LAB_RUN(lab, square_sums, y, vector(lab, n, &x));
    for (int64_t k = 0; k < n; k++)
        want[k / MR_SQUARE_RUN] += x[k] * x[k];
    mr_lab_expect(lab, MR_BOUND_ROUNDED, y, want, "case %d", i);
}

static void count_nonzero(mr_lab *lab, int i)
{
    int64_t n = i == 0 ? 1 : mr_lab_extent(lab, 1, 9000);
    double *x = values_of(lab, MR_F32, n), want = 0;
    for (int64_t k = 0; k < n; k++) {
        if (k % 3 == i % 3) x[k] = k % 2 ? -0.0 : k % 4 ? 0 : NAN;
        want += x[k] < 0 || x[k] > 0;
    }
    mr_tensor y = dense(lab, MR_F64, 1, 1);
    MR_LAB_RUN(lab, count_nonzero, y, mr_lab_upload(lab, x, 1, n, 0));
    mr_lab_expect(lab, MR_BOUND_EXACT, y, &want, "case %d", i);
}

/* Numbers are bits: those of I32, and of F64 twice as many. */
static void exact_sum(mr_lab *lab, int i)
{
    int64_t n = i == 0 ? 1 : mr_lab_extent(lab, 1, 9000);
    double *x = mr_lab_zeros(lab, n);
    mr_exact want = {0}, got;
    for (int64_t k = 0; k < n; k++) {
        /* From numbers of one size to such as no double could add, with a few that are none. */
        int64_t exponent = i % 2 ? mr_lab_extent(lab, -1074, 1023) : mr_lab_extent(lab, -3, 3);
        x[k] = ldexp((double)mr_lab_extent(lab, -(1 << 30), 1 << 30), (int)exponent);
        if (i == 2 && k % 97 == 0) x[k] = k % 2 ? (double)INFINITY : (double)NAN;
        mr_exact_add(&want, x[k]);
    }
    mr_tensor in = mr_lab_poison(lab, MR_F64, 1, n, gap_of(lab)), y = dense(lab, MR_I32, 1, 138);
    lab->be->ops->upload(lab->be, in, x);
    assert_int_equal(MR_EXACT_WORDS, 138);
    MR_LAB_RUN(lab, exact_sum, y, in);
    lab->be->ops->download(lab->be, &got, y);
    mr_exact_reduce(mr_comm_self(), &want, 1);
    mr_exact_reduce(mr_comm_self(), &got, 1);
    assert_memory_equal(&got, &want, sizeof got);
}

static void digest(mr_lab *lab, int i)
{
    static const mr_dtype types[] = {MR_I32, MR_F64, MR_BF16};
    const mr_dtype type = types[i % 3];
    const uint64_t place = i < 3 ? 0 : (uint64_t)i << 60;
    int64_t n = i == 0 ? 1 : mr_lab_extent(lab, 1, 9000);
    int32_t *x = mr_lab_ids(lab, 2 * n, INT32_MAX);
    uint64_t sum = 0;
    mr_tensor t = mr_lab_poison(lab, type, 1, n, gap_of(lab));
    for (int64_t k = 0; k < n; k++) {
        if (type == MR_BF16) x[k] &= (int32_t)0xbfff0000; /* as F32 a number, and held */
        uint64_t bits = (uint32_t)x[k];
        if (type == MR_F64) memcpy(&bits, &x[2 * k], sizeof bits);
        sum += mr_hash_mix(bits + (place + (uint64_t)k) * 0x9e3779b97f4a7c15u);
    }
    lab->be->ops->upload(lab->be, t, x);
    double want[2] = {(double)(int32_t)(uint32_t)sum, (double)(int32_t)(uint32_t)(sum >> 32)};
    mr_tensor y = dense(lab, MR_I32, 1, 2);
    MR_LAB_RUN(lab, digest, y, t, place);
    mr_lab_expect(lab, MR_BOUND_EXACT, y, want, "case %d", i);
}

/* To the bit: also where the double lies near the border of two floats. */
static void normal(mr_lab *lab, int i)
{
    const bool half = i % 2, many = i > 7; /* of which the bits near a border are some */
    const int64_t n = i == 0 ? 1 : many ? 1 << 18 : mr_lab_extent(lab, 1, 3000);
    const int64_t first = i < 2 ? i : mr_lab_extent(lab, 0, 1 << 20);
    const double scale = i % 4 == 1 ? 1 : 0.02;
    const mr_random stream = mr_random_stream((uint64_t)i, MR_RANDOM_WEIGHTS, (uint64_t)n);
    mr_tensor t = dense(lab, half ? MR_BF16 : MR_F32, 1, n);
    mr_tensor want = dense(lab, half ? MR_BF16 : MR_F32, 1, n);
    float *values = mr_alloc_array(MR_MEM_OTHER, (size_t)n, sizeof *values);
    double *held_values = mr_lab_zeros(lab, n);
    for (int64_t k = 0; k < n; k++)
        values[k] = (float)(scale * mr_random_normal(&stream, (uint64_t)(first + k)));
    lab->be->ops->upload(lab->be, want, values);
    lab->be->ops->download(lab->be, values, want);
    for (int64_t k = 0; k < n; k++)
        held_values[k] = (double)values[k];
    mr_free(values);
    MR_LAB_RUN(lab, normal, t, stream, first, scale);
    mr_lab_expect(lab, MR_BOUND_EXACT, t, held_values, "case %d", i);
}

static double beta_of(int i)
{
    return i % 3 == 0 ? 0 : i % 3 == 1 ? 1 : -0.5;
}

static void gemm(mr_lab *lab, int i)
{
    int64_t m = rows_of(lab, i), n = cols_of(lab, i), k = i == 0 ? 1 : mr_lab_extent(lab, 1, 90);
    bool ta = i & 1, tb = i & 2;
    if (i > 5) { /* work for several threads, cut by rows and by columns */
        m = mr_lab_extent(lab, 90, 200);
        n = m + (i & 1 ? -10 : 10);
        k += 40;
    }
    double *a, *b, *c, alpha = 0.5, beta = beta_of(i);
    mr_tensor x = in(lab, ta ? k : m, ta ? m : k, &a), y = in(lab, tb ? n : k, tb ? k : n, &b);
    mr_tensor z = in(lab, m, n, &c);
    if (beta == 0) z = out(lab, m, n);
    MR_LAB_RUN(lab, gemm, ta, tb, (float)alpha, x, y, (float)beta, z);
    mr_reference_gemm(ta, tb, alpha, a, b, beta, c, m, n, k);
    mr_lab_expect(lab, MR_BOUND_SUMMED, z, c, "case %d", i);
}

static void row_dots(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i);
    double *a, *b, *want = mr_lab_normals(lab, rows), beta = beta_of(i);
    mr_tensor x = in(lab, rows, cols, &a), y = in(lab, rows, cols, &b);
    mr_tensor t = dense(lab, MR_F64, 1, rows);
    if (beta != 0) lab->be->ops->upload(lab->be, t, want);
    MR_LAB_RUN(lab, row_dots, t, x, y, beta);
    for (int64_t n = 0; n < rows; n++)
        want[n] = beta * want[n] + mr_reference_dot(a + n * cols, b + n * cols, cols);
    mr_lab_expect(lab, MR_BOUND_SUMMED, t, want, "case %d", i);
}

static void scale_columns(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i);
    const bool keeps = i % 2, same = i > 6;
    double *x, *y, *s, beta = beta_of(i);
    mr_tensor tx = in(lab, rows, cols, &x), ty = in(lab, rows, cols, &y);
    mr_tensor kept = keeps ? out(lab, rows, cols) : (mr_tensor){0};
    if (beta == 0) ty = out(lab, rows, cols);
    if (same) ty = tx;
    MR_LAB_RUN(lab, scale_columns, ty, kept, tx, vector(lab, cols, &s), (float)beta);
    for (int64_t k = 0; k < rows * cols; k++)
        y[k] = beta * (same ? x[k] : y[k]) + x[k] * s[k % cols];
    mr_lab_expect(lab, MR_BOUND_ROUNDED, ty, y, "case %d", i);
    if (keeps) mr_lab_expect(lab, MR_BOUND_EXACT, kept, x, "kept, case %d", i);
}

static void scale_rows(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i);
    double *x, *s;
    mr_tensor t = in(lab, rows, cols, &x);
    MR_LAB_RUN(lab, scale_rows, t, vector(lab, rows, &s));
    for (int64_t k = 0; k < rows * cols; k++)
        x[k] *= s[k / cols];
    mr_lab_expect(lab, MR_BOUND_ROUNDED, t, x, "case %d", i);
}

/* The magnitudes are near the lengths, as they are trained from there: gain is what is left. */
static void row_factors(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i);
    double *squares = mr_lab_normals(lab, rows), *m = mr_lab_normals(lab, rows), *want[3];
    mr_tensor t[3], s = dense(lab, MR_F64, 1, rows), h = {0}, b = {0};
    double *with = NULL, *by = NULL;
    int64_t cols = 0;
    if (i % 2 == 0) {
        cols = mr_lab_extent(lab, 1, 40);
        h = in(lab, rows, cols, &with);
        b = in(lab, rows, cols, &by);
    }
    for (int k = 0; k < 3; k++) {
        want[k] = mr_lab_zeros(lab, rows);
        t[k] = dense(lab, MR_F32, 1, rows);
    }
    for (int64_t n = 0; n < rows; n++) {
        squares[n] = squares[n] * squares[n];
        m[n] = (double)(float)(sqrt(squares[n]) * (1 + 1e-3 * m[n]));
        if (n % 5 == 4 && i % 2) squares[n] = 0;
        want[0][n] = squares[n] > 0 ? 1 / sqrt(squares[n]) : 0;
        want[1][n] = m[n] * want[0][n];
        want[2][n] = want[1][n] - 1;
        if (cols > 0) squares[n] -= mr_reference_dot(with + n * cols, by + n * cols, cols);
    }
    const mr_row_factors_args args = {.inverse = t[0],
                                      .ratio = t[1],
                                      .gain = t[2],
                                      .base = s,
                                      .h = h,
                                      .b = b,
                                      .magnitude = mr_lab_upload(lab, m, 1, rows, 0)};
    lab->be->ops->upload(lab->be, s, squares);
    MR_LAB_RUN(lab, row_factors, &args);
    for (int k = 0; k < 3; k++)
        mr_lab_expect(lab, MR_BOUND_ROUNDED, t[k], want[k], "factor %d, case %d", k, i);
    squares[rows - 1] = NAN;
    lab->be->ops->upload(lab->be, s, squares);
    MR_LAB_RUN(lab, row_factors, &args);
    for (int k = 0; k < 3; k++)
        assert_true(isnan(mr_lab_download(lab, t[k])[rows - 1]));
}

static void scale_columns_backward(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i);
    double *x, *dy, *s, *ds = mr_lab_zeros(lab, cols);
    mr_tensor tx = in(lab, rows, cols, &x), tdy = in(lab, rows, cols, &dy);
    mr_tensor tds = dense(lab, MR_F32, 1, cols), ts = vector(lab, cols, &s), tdx = {0};
    if (i % 3) tdx = i % 2 ? tx : out(lab, rows, cols);
    MR_LAB_RUN(lab, scale_columns_backward, tdx, tds, tdy, tx, i % 3 ? ts : (mr_tensor){0});
    for (int64_t k = 0; k < rows * cols; k++) {
        ds[k % cols] += dy[k] * x[k];
        x[k] = dy[k] * s[k % cols];
    }
    mr_lab_expect(lab, MR_BOUND_SUMMED, tds, ds, "ds, case %d", i);
    if (i % 3) mr_lab_expect(lab, MR_BOUND_ROUNDED, tdx, x, "dx, case %d", i);
}

static void rmsnorm_forward(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = 1 + cols_of(lab, i);
    const double eps = 1e-3;
    double *x, *a, *w, *y = mr_lab_zeros(lab, rows * cols), *r = mr_lab_zeros(lab, rows);
    mr_tensor tx = in(lab, rows, cols, &x), ta = {0}, sum = {0};
    mr_tensor ty = out(lab, rows, cols), tr = dense(lab, MR_F32, 1, rows);
    const mr_tensor tw = vector(lab, cols, &w);
    if (i % 2) {
        ta = in(lab, rows, cols, &a);
        sum = i % 3 == 0 ? tx : i % 3 == 1 ? ta : out(lab, rows, cols);
        for (int64_t k = 0; k < rows * cols; k++)
            x[k] += a[k];
    }
    MR_LAB_RUN(lab, rmsnorm_forward, ty, tr, sum, tx, ta, tw, eps);
    if (i % 2) mr_lab_expect(lab, MR_BOUND_ROUNDED, sum, x, "sum, case %d", i);
    if (i % 2) x = mr_lab_copy(lab, mr_lab_download(lab, sum), rows * cols); /* what is stored */
    mr_reference_rmsnorm(y, r, x, w, eps, rows, cols);
    mr_lab_expect(lab, MR_BOUND_SUMMED, ty, y, "y, case %d", i);
    mr_lab_expect(lab, MR_BOUND_SUMMED, tr, r, "rstd, case %d", i);
    if (i % 2 == 0) return;
    const double *stored = mr_lab_copy(lab, mr_lab_download(lab, ty), rows * cols);
    const double *scale = mr_lab_copy(lab, mr_lab_download(lab, tr), rows);
    MR_LAB_RUN(lab, rmsnorm_forward, ty, tr, sum, sum, (mr_tensor){0}, tw, eps);
    mr_lab_expect(lab, MR_BOUND_EXACT, ty, stored, "y of the sum, case %d", i);
    mr_lab_expect(lab, MR_BOUND_EXACT, tr, scale, "rstd of the sum, case %d", i);
}

static void rmsnorm_backward(mr_lab *lab, int i)
{
    int64_t rows = i < CASES - 2 ? rows_of(lab, i) : 9000,
            cols = some_even(lab, i) + (i == CASES - 3 ? 5000 : 0);
    double *x, *dy, *w, *dx, *y = mr_lab_zeros(lab, rows * cols), *r = mr_lab_zeros(lab, rows),
                             *dw = mr_lab_zeros(lab, cols);
    mr_tensor tx = in(lab, rows, cols, &x), tdy = in(lab, rows, cols, &dy);
    mr_tensor tdx = in(lab, rows, cols, &dx), tw = vector(lab, cols, &w);
    mr_reference_rmsnorm(y, r, x, w, 1e-5, rows, cols);
    mr_tensor tr = mr_lab_upload(lab, r, 1, rows, 0), tdw = dense(lab, MR_F32, 1, cols);
    MR_LAB_RUN(lab, rmsnorm_backward, tdx, i % 3 ? tdw : (mr_tensor){0}, tdy, tx, tr, tw);
    for (int64_t n = 0; n < rows; n++) {
        double mean = 0;
        const double *xn = x + n * cols, *gn = dy + n * cols;
        for (int64_t c = 0; c < cols; c++)
            mean += gn[c] * w[c] * xn[c] / (double)cols;
        for (int64_t c = 0; c < cols; c++) {
            dx[n * cols + c] += r[n] * (gn[c] * w[c] - xn[c] * r[n] * r[n] * mean);
            dw[c] += gn[c] * xn[c] * r[n];
        }
    }
    mr_lab_expect(lab, MR_BOUND_SUMMED, tdx, dx, "dx, case %d", i);
    if (i % 3) mr_lab_expect(lab, MR_BOUND_SUMMED, tdw, dw, "dw, case %d", i);
}

static void rope(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), heads = 1 + i % 4, head = 2 * mr_lab_extent(lab, 1, 24);
    double *x, *y = mr_lab_zeros(lab, rows * heads * head);
    int32_t *positions = mr_lab_ids(lab, rows, 90);
    mr_tensor cosine, sine, t = in(lab, rows, heads * head, &x);
    mr_lab_angles(lab, 90, head, &cosine, &sine);
    mr_tensor ids = mr_lab_upload_ids(lab, positions, rows);
    MR_LAB_RUN(lab, rope, t, cosine, sine, ids, head, false);
    mr_reference_rope(y, x, positions, rows, heads * head, head);
    mr_lab_expect(lab, MR_BOUND_ROUNDED, t, y, "case %d", i);
    MR_LAB_RUN(lab, rope, t, cosine, sine, ids, head, true);
    mr_lab_expect(lab, MR_BOUND_ROUNDED, t, x, "and back, case %d", i);
}

/* One attention of a draw, its gradients by differences of the reference along each output. */
static mr_attention_shape attention_shape(int i)
{
    static const mr_attention_shape shapes[CASES] = {
        {1, 1, 1, 1, 8},    {2, 5, 4, 2, 16},  {1, 200, 2, 1, 64}, {3, 65, 8, 1, 8},
        {2, 7, 1, 1, 80},   {1, 130, 4, 4, 8}, {1, 512, 2, 2, 48}, {1, 129, 3, 3, 48},
        {2, 300, 1, 1, 64}, {1, 257, 2, 1, 8}};
    return shapes[i];
}

static void attention_forward(mr_lab *lab, int i)
{
    even = i >= CASES / 2; /* as a device takes them */
    mr_attention_shape s = attention_shape(i);
    int64_t rows = s.batch * s.tokens, qc = s.heads * s.head_size, kc = s.kv_heads * s.head_size;
    double *q, *k, *v, *o = mr_lab_zeros(lab, rows * qc), *lse = mr_lab_zeros(lab, rows * s.heads);
    const int32_t *starts = mr_lab_starts(lab, s, i % 3 * 20);
    mr_attention_args args = {.shape = s,
                              .q = in(lab, rows, qc, &q),
                              .k = in(lab, rows, kc, &k),
                              .v = in(lab, rows, kc, &v),
                              .o = out(lab, rows, qc),
                              .lse = dense(lab, MR_F32, s.batch * s.heads, s.tokens)};
    if (starts) args.starts = mr_lab_upload_ids(lab, starts, rows);
    MR_LAB_RUN(lab, attention_forward, &args);
    mr_reference_attention(o, lse, q, k, v, starts, s);
    mr_lab_expect(lab, MR_BOUND_SUMMED, args.o, o, "o, case %d", i);
    mr_lab_expect(lab, MR_BOUND_SUMMED, args.lse, lse, "lse, case %d", i);
}

/* The textbook's gradients, head by head: P = exp(s - lse), dP = dO V^T, dS = P (dP - sum P dP). */
static void attention_gradients(const mr_attention_shape *s, const int32_t *starts, const double *q,
                                const double *k, const double *v, const double *lse,
                                const double *d_o, double *d_q, double *d_k, double *d_v)
{
    int64_t hs = s->head_size, qc = s->heads * hs, kc = s->kv_heads * hs;
    double scale = 1 / sqrt((double)hs);
    for (int64_t b = 0; b < s->batch; b++)
        for (int64_t h = 0; h < s->heads; h++)
            for (int64_t t = 0; t < s->tokens; t++) {
                int64_t row = b * s->tokens + t, kv = h / (s->heads / s->kv_heads);
                const double *qt = q + row * qc + h * hs, *gt = d_o + row * qc + h * hs;
                double mean = 0;
                for (int pass = 0; pass < 2; pass++)
                    for (int64_t j = starts ? starts[row] : 0; j <= t; j++) {
                        int64_t at = (b * s->tokens + j) * kc + kv * hs;
                        double p = exp(scale * mr_reference_dot(qt, k + at, hs) -
                                       lse[(b * s->heads + h) * s->tokens + t]);
                        double dp = mr_reference_dot(gt, v + at, hs);
                        if (pass == 0) mean += p * dp;
                        for (int64_t c = 0; pass == 1 && c < hs; c++) {
                            d_v[at + c] += p * gt[c];
                            d_q[row * qc + h * hs + c] += p * (dp - mean) * scale * k[at + c];
                            d_k[at + c] += p * (dp - mean) * scale * qt[c];
                        }
                    }
            }
}

static void attention_backward(mr_lab *lab, int i)
{
    even = i >= CASES / 2;                                  /* as a device takes them */
    mr_attention_shape s = attention_shape(i == 0 ? 1 : i); /* of one key, gradients are rounding */
    int64_t rows = s.batch * s.tokens, qc = s.heads * s.head_size, kc = s.kv_heads * s.head_size;
    double *q, *k, *v, *g, *o = mr_lab_zeros(lab, rows * qc);
    double *lse = mr_lab_zeros(lab, rows * s.heads), *d_q = mr_lab_zeros(lab, rows * qc);
    double *d_k = mr_lab_zeros(lab, rows * kc), *d_v = mr_lab_zeros(lab, rows * kc);
    const int32_t *starts = mr_lab_starts(lab, s, i % 3 * 20);
    mr_attention_args args = {.shape = s,
                              .q = in(lab, rows, qc, &q),
                              .k = in(lab, rows, kc, &k),
                              .v = in(lab, rows, kc, &v),
                              .d_o = in(lab, rows, qc, &g),
                              .d_q = out(lab, rows, qc),
                              .d_k = out(lab, rows, kc),
                              .d_v = out(lab, rows, kc)};
    if (starts) args.starts = mr_lab_upload_ids(lab, starts, rows);
    mr_reference_attention(o, lse, q, k, v, starts, s);
    args.o = mr_lab_upload_as(lab, lab->dtype, o, rows, qc, gap_of(lab));
    args.lse = mr_lab_upload(lab, lse, s.batch * s.heads, s.tokens, 0);
    MR_LAB_RUN(lab, attention_backward, &args);
    attention_gradients(&s, starts, q, k, v, lse, g, d_q, d_k, d_v);
    mr_lab_expect(lab, MR_BOUND_GRADIENT, args.d_q, d_q, "d_q, case %d", i);
    mr_lab_expect(lab, MR_BOUND_GRADIENT, args.d_k, d_k, "d_k, case %d", i);
    mr_lab_expect(lab, MR_BOUND_GRADIENT, args.d_v, d_v, "d_v, case %d", i);
}

/* One sequence of the next function: its keys, or values, brought together from their pages. */
static double *of_pages(mr_lab *lab, const double *cache, const int32_t *pages, int64_t length,
                        int64_t cols)
{
    double *out = mr_lab_zeros(lab, length * cols);
    for (int64_t t = 0; t < length; t++)
        memcpy(out + t * cols,
               cache +
                   ((int64_t)pages[t / MR_CACHE_PAGE] * MR_CACHE_PAGE + t % MR_CACHE_PAGE) * cols,
               (size_t)cols * sizeof *out);
    return out;
}

/* The last `fresh` rows of a sequence against the plain attention. */
static void cached_reference(mr_lab *lab, mr_attention_shape s, const double *q, const double *k,
                             const double *v, int64_t length, int64_t fresh, double *want)
{
    int64_t qc = s.heads * s.head_size;
    double *wq = mr_lab_zeros(lab, length * qc), *o = mr_lab_zeros(lab, length * qc);
    memcpy(wq + (length - fresh) * qc, q, (size_t)(fresh * qc) * sizeof *q);
    s.batch = 1;
    s.tokens = length;
    mr_reference_attention(o, NULL, wq, k, v, NULL, s);
    memcpy(want, o + (length - fresh) * qc, (size_t)(fresh * qc) * sizeof *o);
}

/* Sequences of any length, with none, one or several new tokens each, in pages dealt in turn; in
 * every other case they have all but their last page in common. */
static void attend_cached(mr_lab *lab, int i, mr_attention_shape s)
{
    int64_t qc = s.heads * s.head_size, kc = s.kv_heads * s.head_size, batch = s.batch + 1;
    int64_t longest = s.tokens + 70 * (i % 4), each = longest / MR_CACHE_PAGE + 1;
    int32_t *offsets = mr_lab_ids(lab, batch + 1, 1), *lengths = mr_lab_ids(lab, batch, longest);
    int32_t *pages = mr_lab_ids(lab, batch * each, 1);
    for (int64_t b = 0; b < batch; b++) {
        if (b == 0) lengths[b] = (int32_t)longest;
        int32_t half = (lengths[b] + 1) / 2, fresh = i % 3 == 0 ? 1 : i % 3 == 1 ? half : 0;
        if (b == 0) fresh = i % 2 ? half : lengths[b];
        if (lengths[b] < fresh) lengths[b] = fresh;
        offsets[b + 1] = offsets[b] + fresh;
        for (int64_t p = 0; p < each; p++)
            pages[b * each + p] =
                (int32_t)(p * batch + (i % 2 && p < lengths[b] / MR_CACHE_PAGE ? 0 : b));
    }
    int64_t rows = offsets[batch], room = batch * each * MR_CACHE_PAGE;
    double *q, *k, *v, *want = mr_lab_zeros(lab, rows * qc);
    mr_tensor ids = mr_lab_upload_ids(lab, pages, batch * each);
    mr_cached_attention_args args = {
        .shape = s,
        .q = in(lab, rows, qc, &q),
        .k = in(lab, room, kc, &k),
        .v = in(lab, room, kc, &v),
        .o = out(lab, rows, qc),
        .offsets = mr_lab_upload_ids(lab, offsets, batch + 1),
        .lengths = mr_lab_upload_ids(lab, lengths, batch),
        .pages = mr_tensor_reshape(ids, batch, each),
    };
    args.shape.batch = batch;
    MR_LAB_RUN(lab, attention_cached, &args);
    for (int64_t b = 0; b < batch; b++) {
        if (offsets[b + 1] == offsets[b]) continue;
        const int32_t *own = pages + b * each;
        cached_reference(lab, s, q + offsets[b] * qc, of_pages(lab, k, own, lengths[b], kc),
                         of_pages(lab, v, own, lengths[b], kc), lengths[b],
                         offsets[b + 1] - offsets[b], want + offsets[b] * qc);
    }
    mr_lab_expect(lab, MR_BOUND_SUMMED, args.o, want, "case %d", i);
}

static void attention_cached(mr_lab *lab, int i)
{
    attend_cached(lab, i, attention_shape(i));
}

/* Heads of all sizes that tiles are made for, and more new tokens than one of these has. */
static void attention_cached_in_tiles(mr_lab *lab, int i)
{
    static const int64_t sizes[] = {128, 64, 48, 72, 8};
    even = true;
    attend_cached(lab, i,
                  (mr_attention_shape){.batch = 1 + i % 3,
                                       .tokens = mr_lab_extent(lab, 1, 200),
                                       .heads = 2,
                                       .kv_heads = 1 + i % 2,
                                       .head_size = sizes[i % 5]});
}

static void swiglu_forward(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i);
    double *gate, *up, *y = mr_lab_zeros(lab, rows * cols);
    mr_tensor tg = in(lab, rows, cols, &gate), tu = in(lab, rows, cols, &up);
    mr_tensor ty = i % 3 == 0 ? tg : i % 3 == 1 ? tu : out(lab, rows, cols);
    MR_LAB_RUN(lab, swiglu_forward, ty, tg, tu);
    mr_reference_swiglu(y, gate, up, rows * cols);
    mr_lab_expect(lab, MR_BOUND_ROUNDED, ty, y, "case %d", i);
}

static void swiglu_backward(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i);
    double *gate, *up, *dy;
    mr_tensor tg = in(lab, rows, cols, &gate), tu = in(lab, rows, cols, &up);
    mr_tensor tdy = in(lab, rows, cols, &dy);
    mr_tensor dg = i % 2 ? tg : out(lab, rows, cols), du = i % 2 ? tu : out(lab, rows, cols);
    MR_LAB_RUN(lab, swiglu_backward, dg, du, tdy, tg, tu);
    for (int64_t k = 0; k < rows * cols; k++) {
        double s = 1 / (1 + exp(-gate[k])), g = gate[k];
        gate[k] = dy[k] * up[k] * s * (1 + g * (1 - s));
        up[k] = dy[k] * g * s;
    }
    mr_lab_expect(lab, MR_BOUND_ROUNDED, dg, gate, "dgate, case %d", i);
    mr_lab_expect(lab, MR_BOUND_ROUNDED, du, up, "dup, case %d", i);
}

static void gather_rows(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i), vocabulary = 2 * rows + 3;
    double *w, *y = mr_lab_zeros(lab, rows * cols);
    int32_t *ids = mr_lab_ids(lab, rows, vocabulary);
    mr_tensor tw = in(lab, vocabulary, cols, &w), ty = out(lab, rows, cols);
    MR_LAB_RUN(lab, gather_rows, ty, tw, mr_lab_upload_ids(lab, ids, rows));
    mr_reference_gather(y, w, ids, rows, cols);
    mr_lab_expect(lab, MR_BOUND_EXACT, ty, y, "case %d", i);
}

static void scatter_rows(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i), room = 2 * rows + 3;
    double *x, *y;
    int32_t *ids = mr_lab_distinct(lab, rows, room);
    mr_tensor tx = in(lab, rows, cols, &x), ty = in(lab, room, cols, &y);
    MR_LAB_RUN(lab, scatter_rows, ty, tx, mr_lab_upload_ids(lab, ids, rows));
    for (int64_t n = 0; n < rows; n++)
        memcpy(y + ids[n] * cols, x + n * cols, (size_t)cols * sizeof *y);
    mr_lab_expect(lab, MR_BOUND_EXACT, ty, y, "case %d", i);
}

static void scatter_add_rows(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i), room = rows / 2 + 2;
    double *x, *y;
    int32_t *ids = mr_lab_ids(lab, rows, room);
    mr_tensor tx = in(lab, rows, cols, &x), ty = input(lab, MR_F32, room, cols, &y);
    MR_LAB_RUN(lab, scatter_add_rows, ty, tx, mr_lab_upload_ids(lab, ids, rows));
    for (int64_t k = 0; k < rows * cols; k++)
        y[ids[k / cols] * cols + k % cols] += x[k];
    mr_lab_expect(lab, MR_BOUND_SUMMED, ty, y, "case %d", i);
}

static void cross_entropy(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = (i < CASES - 3 ? 2 : 33000) + cols_of(lab, i),
            gap = i % 4 < 2 ? -cols & 7 : gap_of(lab); /* rows that begin at packs, too */
    double *x = values_of(lab, lab->dtype, rows * cols), *losses = mr_lab_zeros(lab, rows),
           *want = mr_lab_zeros(lab, rows * cols);
    int32_t *ids = mr_lab_ids(lab, rows, cols);
    for (int64_t k = 0; k < rows * cols; k++) /* a few rows far from 0, and far apart in them */
        if (k / cols % 8 == 7) x[k] = held(lab->dtype, x[k] - 100 + (double)(k % 3 * 100));
    mr_tensor logits = mr_lab_upload_as(lab, lab->dtype, x, rows, cols, gap);
    mr_tensor tl = dense(lab, MR_F64, 1, rows);
    for (int64_t n = 0; n < rows; n += 3)
        if (n > 0) ids[n] = -1;
    MR_LAB_RUN(lab, cross_entropy, logits, mr_lab_upload_ids(lab, ids, rows), tl, i % 2, 0.125f);
    mr_reference_cross_entropy(losses, x, ids, rows, cols);
    for (int64_t n = 0; n < rows; n++) {
        double sum = 0;
        for (int64_t c = 0; c < cols; c++)
            sum += exp(x[n * cols + c]);
        for (int64_t c = 0; ids[n] >= 0 && c < cols; c++)
            want[n * cols + c] = 0.125 * (exp(x[n * cols + c]) / sum - (c == ids[n]));
    }
    mr_lab_expect(lab, MR_BOUND_SUMMED, tl, losses, "losses, case %d", i);
    mr_lab_expect(lab, i % 2 ? MR_BOUND_SUMMED : MR_BOUND_EXACT, logits, i % 2 ? want : x,
                  "logits, case %d", i);
}

static void argmax(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), cols = cols_of(lab, i);
    double *x = values_of(lab, lab->dtype, rows * cols), *want = mr_lab_zeros(lab, rows);
    for (int64_t k = 0; i % 2 && k < rows * cols; k++)
        x[k] = rint(x[k]); /* there are equals */
    mr_tensor logits = mr_lab_upload_as(lab, lab->dtype, x, rows, cols, gap_of(lab));
    mr_tensor ids = dense(lab, MR_I32, 1, rows);
    MR_LAB_RUN(lab, argmax, ids, logits);
    for (int64_t n = 0; n < rows; n++)
        for (int64_t c = 1; c < cols; c++)
            if (x[n * cols + c] > x[n * cols + (int64_t)want[n]]) want[n] = (double)c;
    mr_lab_expect(lab, MR_BOUND_EXACT, ids, want, "case %d", i);
}

static mr_group_map group_map(mr_lab *lab, int i, int64_t n)
{
    int64_t groups = mr_lab_extent(lab, 1, n);
    if (even && i % 2) groups = (groups + 7) / 8 * 8;
    if (i % 3 == 0) return (mr_group_map){.contiguous = true, .groups = groups, .length = n};
    if (i % 3 == 1) return (mr_group_map){.groups = groups, .length = groups};
    return (mr_group_map){.groups = groups, .length = (n + groups - 1) / groups * groups};
}

static void group_sum(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), n = some_even(lab, i);
    mr_group_map map = group_map(lab, i, n);
    double *x, *y = mr_lab_zeros(lab, rows * map.groups);
    mr_tensor tx = in(lab, rows, n, &x), ty = out(lab, rows, map.groups);
    MR_LAB_RUN(lab, group_sum, ty, tx, map);
    mr_reference_group_sum(y, x, map, rows, n);
    mr_lab_expect(lab, MR_BOUND_SUMMED, ty, y, "case %d", i);
}

static void group_spread(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), n = some_even(lab, i);
    mr_group_map map = group_map(lab, i, n);
    double *x, *y;
    mr_tensor tx = in(lab, rows, map.groups, &x), ty = in(lab, rows, n, &y);
    MR_LAB_RUN(lab, group_spread, ty, tx, map);
    mr_reference_group_spread(y, x, map, rows, n);
    mr_lab_expect(lab, MR_BOUND_ROUNDED, ty, y, "case %d", i);
}

/* Rows from some position on, the last of them past the end of the map. */
static void group_rows(mr_lab *lab, int i)
{
    int64_t side = mr_lab_extent(lab, 1, 9), blocks = mr_lab_extent(lab, 1, 4);
    int64_t groups = side * blocks, n = groups + mr_lab_extent(lab, 0, 40);
    int64_t first = mr_lab_extent(lab, 0, n - 1), rows = n - first + i % 3;
    mr_group_map map = {.contiguous = i % 2, .groups = groups, .length = n};
    double *m, *number = mr_lab_zeros(lab, groups), *of = mr_lab_zeros(lab, n);
    double *want = mr_lab_zeros(lab, rows * groups);
    for (int64_t g = 0; g < groups; g++)
        number[g] = (double)(g + 1);
    mr_reference_group_spread(of, number, map, 1, n);
    mr_tensor tm = input(lab, MR_F32, side, side, &m);
    mr_tensor ty = mr_lab_poison(lab, MR_F32, rows, groups, 2);
    MR_LAB_RUN(lab, group_rows, ty, tm, map, first);
    for (int64_t r = 0; r < rows && first + r < n; r++)
        for (int64_t c = 0; c < side; c++) {
            int64_t group = (int64_t)of[first + r] - 1;
            want[r * groups + group / side * side + c] = m[group % side * side + c];
        }
    mr_lab_expect(lab, MR_BOUND_EXACT, ty, want, "case %d", i);
}

static void block_rotate(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), n = cols_of(lab, i), width = 2 * mr_lab_extent(lab, 1, 30);
    int64_t blocks = (n + width - 1) / width;
    double *x, *y = mr_lab_zeros(lab, rows * blocks * width);
    mr_tensor cosine, sine, tx = in(lab, rows, n, &x), ty = out(lab, rows, blocks * width);
    mr_lab_angles(lab, blocks, width, &cosine, &sine);
    MR_LAB_RUN(lab, block_rotate, ty, tx, width, i % 2, cosine, sine);
    mr_reference_block_rotate(y, x, rows, n, blocks, width, i % 2);
    mr_lab_expect(lab, MR_BOUND_ROUNDED, ty, y, "case %d", i);
}

/* The adjoint of a linear map, column by column: its matrix is what it makes of unit vectors. */
static void block_rotate_adjoint(mr_lab *lab, int i)
{
    int64_t rows = rows_of(lab, i), n = 1 + cols_of(lab, i) % 90,
            width = 2 * mr_lab_extent(lab, 1, 20);
    int64_t blocks = (n + width - 1) / width, wide = blocks * width;
    double *x, *y, *unit = mr_lab_zeros(lab, n * n), *map = mr_lab_zeros(lab, n * wide);
    for (int64_t k = 0; k < n; k++)
        unit[k * n + k] = 1;
    mr_tensor cosine, sine, ty = in(lab, rows, n, &y), tx = in(lab, rows, wide, &x);
    mr_lab_angles(lab, blocks, width, &cosine, &sine);
    MR_LAB_RUN(lab, block_rotate_adjoint, ty, tx, width, i % 2, cosine, sine);
    mr_reference_block_rotate(map, unit, n, n, blocks, width, i % 2);
    mr_reference_gemm(false, true, 1, x, map, 1, y, rows, n, wide);
    mr_lab_expect(lab, MR_BOUND_SUMMED, ty, y, "case %d", i);
}

/* The copy is the new weight, rounded by the entry for that. */
static void expect_copy(mr_lab *lab, const mr_adamw_args *args, int64_t n, int i)
{
    float *weight = mr_alloc_array(MR_MEM_OTHER, (size_t)n, sizeof *weight);
    mr_tensor rounded = dense(lab, MR_BF16, 1, n);
    double *want = mr_lab_zeros(lab, n);
    lab->be->ops->convert(lab->be, rounded, args->weight);
    lab->be->ops->download(lab->be, weight, rounded);
    for (int64_t k = 0; k < n; k++)
        want[k] = (double)weight[k];
    mr_free(weight);
    mr_lab_expect(lab, MR_BOUND_EXACT, args->copy, want, "copy, case %d", i);
}

static void adamw(mr_lab *lab, int i)
{
    enum { LIST = 3 };
    mr_adamw_args args[LIST];
    double *w[LIST], *g[LIST], *m[LIST], *v[LIST];
    int64_t n[LIST];
    for (int k = 0; k < LIST; k++) {
        n[k] = i == 0 ? 1 : mr_lab_extent(lab, 1, 3000);
        args[k] = (mr_adamw_args){.weight = vector(lab, n[k], &w[k]),
                                  .grad = vector(lab, n[k], &g[k]),
                                  .m = vector(lab, n[k], &m[k]),
                                  .grad_scale = 0.5,
                                  .lr = 0.01 * (k + 1),
                                  .beta1 = 0.9,
                                  .beta2 = 0.95,
                                  .eps = i % 2 ? 1e-8 : 0.1,
                                  .weight_decay = 0.5 * (i % 3),
                                  .step = 1 + k};
        v[k] = values_of(lab, MR_F32, n[k]);
        for (int64_t e = 0; e < n[k]; e++)
            v[k][e] = fabs(v[k][e]);
        args[k].v = mr_lab_upload(lab, v[k], 1, n[k], 0);
        if (k > 0) args[k].copy = dense(lab, MR_BF16, 1, n[k]);
    }
    MR_LAB_RUN(lab, adamw, args, LIST);
    for (int k = 0; k < LIST; k++) {
        mr_reference_adamw(w[k], g[k], m[k], v[k], n[k], &args[k]);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, args[k].weight, w[k], "weight %d, case %d", k, i);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, args[k].m, m[k], "m %d, case %d", k, i);
        mr_lab_expect(lab, MR_BOUND_ROUNDED, args[k].v, v[k], "v %d, case %d", k, i);
        if (k > 0) expect_copy(lab, &args[k], n[k], i);
    }
}

/* One row an entry. Those that do not compute are for other tests: what creates, moves, waits and
 * tells the time stands before `normal`, and a site (test_site.c) is made of entries. */
#define ENTRY_BY(name, run)                                                                        \
    {                                                                                              \
#run, offsetof(mr_backend_ops, name), run                                                  \
    }
#define ENTRY(name) ENTRY_BY(name, name)

static const struct row {
    const char *name;
    size_t place; /* in the table */
    void (*run)(mr_lab *lab, int i);
} rows[] = {
    ENTRY(normal),
    ENTRY(fill),
    ENTRY(copy),
    ENTRY(convert),
    ENTRY(add),
    ENTRY(dropout),
    ENTRY(sum_pieces),
    ENTRY(square_sums),
    ENTRY(count_nonzero),
    ENTRY(exact_sum),
    ENTRY(digest),
    ENTRY(gemm),
    ENTRY_BY(quantize, eight_quantize),
    ENTRY_BY(gemm_scaled, eight_gemm_scaled),
    ENTRY(row_dots),
    ENTRY(scale_columns),
    ENTRY(scale_rows),
    ENTRY(row_factors),
    ENTRY(scale_columns_backward),
    ENTRY(rmsnorm_forward),
    ENTRY(rmsnorm_backward),
    ENTRY(rope),
    ENTRY(attention_forward),
    ENTRY(attention_backward),
    ENTRY(attention_cached),
    ENTRY_BY(attention_cached, attention_cached_in_tiles),
    ENTRY(swiglu_forward),
    ENTRY(swiglu_backward),
    ENTRY(gather_rows),
    ENTRY(scatter_rows),
    ENTRY(scatter_add_rows),
    ENTRY(cross_entropy),
    ENTRY(argmax),
    ENTRY(group_sum),
    ENTRY(group_spread),
    ENTRY(group_rows),
    ENTRY(block_rotate),
    ENTRY(block_rotate_adjoint),
    ENTRY(adamw),
};

enum { ROWS = sizeof rows / sizeof *rows };

static void every_entry_has_a_row(void **state)
{
    (void)state;
    const size_t one = sizeof(void (*)(void));
    for (size_t place = offsetof(mr_backend_ops, normal); place < sizeof(mr_backend_ops);
         place += one) {
        bool found = place == offsetof(mr_backend_ops, site_forward) ||
                     place == offsetof(mr_backend_ops, site_backward);
        for (int i = 0; i < ROWS; i++)
            found = found || rows[i].place == place;
        if (!found)
            fail_msg("entry %zu behind normal has no row",
                     (place - offsetof(mr_backend_ops, normal)) / one);
    }
}

/* A test a row and type. */
typedef struct job {
    const struct row *row;
    mr_dtype dtype;
    char name[64];
} job;

static void run_job(void **state)
{
    const job *one = *state;
    mr_lab *lab = mr_lab_create(2, 20240520);
    if (!lab->be->ops->computes(lab->be, one->dtype)) {
        mr_lab_destroy(&lab);
        skip_because("the backend does not compute in this type");
    }
    lab->dtype = one->dtype;
    for (int i = 0; i < CASES; i++) {
        even = false;
        one->row->run(lab, i);
        mr_lab_clear(lab);
    }
    mr_lab_destroy(&lab);
}

int main(void)
{
    static job jobs[2 * ROWS];
    struct CMUnitTest tests[2 * ROWS + 1] = {cmocka_unit_test(every_entry_has_a_row)};
    int count = 1;
    mr_lab *lab = mr_lab_create(1, 1);
    for (int i = 0; i < 2 * ROWS; i++) {
        const mr_dtype dtype = i < ROWS ? MR_F32 : MR_BF16;
        if (!lab->be->ops->computes(lab->be, dtype)) continue;
        jobs[i] = (job){.row = &rows[i % ROWS], .dtype = dtype};
        snprintf(jobs[i].name, sizeof jobs[i].name, "%s %s", rows[i % ROWS].name,
                 dtype == MR_BF16 ? "bf16" : "f32");
        tests[count++] = (struct CMUnitTest){
            .name = jobs[i].name, .test_func = run_job, .initial_state = &jobs[i]};
    }
    mr_lab_destroy(&lab);
    return _cmocka_run_group_tests("backend harness", tests, (size_t)count, NULL, NULL);
}
