/* Singular values alone, in two stages: blocks of Householder reflections from both sides leave a
 * band, which works in matrix products where bidiagonalising at once reads the whole matrix from
 * memory for every column; then a row at a time is cut down to two elements and what that fills in
 * behind it is chased out of the band, which stays in the cache. LAPACK has the values of the
 * bidiagonal matrix. Only orthogonal transformations, so the values are within a few roundings of
 * the largest.
 *
 * Source: Grosser and Lang 1999 (reduction to a band), Lang 1996 (band to bidiagonal). Deviation:
 * none. Matrices are column by column in here. */

#include "base/memory.h"
#include "linalg/lapack_impl.h"
#include "linalg/svd.h"
#include "linalg/svd_impl.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <string.h>

enum {
    BAND = 32,           /* diagonals above the main one that the first stage leaves */
    COLUMN = 3 * BAND,   /* a column of the band, with room for what the chase fills in */
    DIAGONAL = 2 * BAND, /* place of the main diagonal in it */
    TILE = 16            /* side of what is transposed at once */
};

/* A tall matrix and what its factorisations need, in one block of memory. */
typedef struct reduction {
    int m, n;      /* m >= n */
    double *a;     /* [m x n] */
    double *panel; /* [n x BAND]: rows of a, transposed */
    double *t;     /* [BAND x n]: triangles of blocks of reflections */
    double *work;  /* [BAND x m] */
    double *band;  /* [COLUMN x n] */
    double *e;     /* [n] */
} reduction;

static double *at(const reduction *s, int row, int col)
{
    return s->a + (size_t)col * (size_t)s->m + (size_t)row;
}

/* Element (row, col) of the band. */
static double *in_band(double *band, int row, int col)
{
    return band + (size_t)col * COLUMN + (size_t)(DIAGONAL + row - col);
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Leaves the upper triangle of the QR factorisation of an m x n matrix, reflections below. */
static void qr(const reduction *s, int m, int n, double *a, int lda)
{
    const int block = least(BAND, least(m, n));
    int info = 0;
    dgeqrt_(&m, &n, &block, a, &lda, s->t, &block, s->work, &info);
    MR_INVARIANT(info == 0);
}

/* c [m x n] = Q^T c from the left, or c Q from the right, Q of the `count` reflections of q. */
static void multiply(const reduction *s, bool left, int m, int n, int count, const double *q,
                     int ldq, double *c)
{
    int info = 0;
    dgemqrt_(left ? "L" : "R", left ? "T" : "N", &m, &n, &count, &count, q, &ldq, s->t, &count, c,
             &s->m, s->work, &info, 1, 1);
    MR_INVARIANT(info == 0);
}

/* Reflects rows from k on so that columns k.. become triangular, then the columns to their right so
 * that rows k.. do; both triangles go to the band. */
static void reduce_block(const reduction *s, int rows, int k)
{
    const int width = least(BAND, s->n - k), rest = s->n - k - width;
    qr(s, rows - k, width, at(s, k, k), s->m);
    for (int j = 0; j < width; j++)
        memcpy(in_band(s->band, k, k + j), at(s, k, k + j), (size_t)(j + 1) * sizeof(double));
    if (rest == 0) return;
    multiply(s, true, rows - k, rest, width, at(s, k, k), s->m, at(s, k, k + width));
    for (int j = 0; j < rest; j++)
        for (int i = 0; i < width; i++)
            s->panel[i * rest + j] = *at(s, k + i, k + width + j);
    qr(s, rest, width, s->panel, rest);
    for (int i = 0; i < width; i++)
        for (int j = 0; j <= i && j < rest; j++)
            *in_band(s->band, k + i, k + width + j) = s->panel[i * rest + j];
    multiply(s, false, rows - k - width, rest, least(width, rest), s->panel, rest,
             at(s, k + width, k + width));
}

/* The first stage. */
static void reduce(const reduction *s)
{
    int rows = s->m;
    /* From here on it is cheaper to reduce the triangle of a QR factorisation. */
    if (3 * (double)s->m >= 5 * (double)s->n) {
        rows = s->n;
        qr(s, s->m, s->n, s->a, s->m);
        for (int j = 0; j < rows - 1; j++)
            memset(at(s, j + 1, j), 0, (size_t)(rows - j - 1) * sizeof *s->a);
    }
    for (int k = 0; k < s->n; k += BAND)
        reduce_block(s, rows, k);
}

/* Makes v [count] the reflection that leaves of it a multiple of the first unit vector, which it
 * returns; tau 0 where there is nothing to do. */
static double reflection(double *v, int count, double *tau)
{
    double tail = 0;
    const double head = v[0];
    for (int i = 1; i < count; i++)
        tail += v[i] * v[i];
    *tau = 0;
    v[0] = 1;
    if (tail == 0) return head;
    const double length = -copysign(sqrt(head * head + tail), head);
    *tau = (length - head) / length;
    for (int i = 1; i < count; i++)
        v[i] /= head - length;
    return length;
}

/* Reflects columns first..last so that row `row` has nothing beyond the first of them, and with
 * them the rows below it down to `last`. */
static void reflect_columns(double *band, int row, int first, int last)
{
    double v[BAND] = {0}, y[2 * BAND] = {0}, tau;
    const int count = last - first + 1, rows = last - row;
    for (int j = 0; j < count; j++) {
        double *x = in_band(band, row, first + j);
        v[j] = *x;
        *x = 0;
    }
    *in_band(band, row, first) = reflection(v, count, &tau);
    if (tau == 0) return;
    for (int j = 0; j < count; j++) {
        const double *x = in_band(band, row + 1, first + j);
#pragma omp simd
        for (int i = 0; i < rows; i++)
            y[i] += v[j] * x[i];
    }
    for (int j = 0; j < count; j++) {
        double *x = in_band(band, row + 1, first + j);
        const double factor = tau * v[j];
#pragma omp simd
        for (int i = 0; i < rows; i++)
            x[i] -= factor * y[i];
    }
}

/* Reflects rows first..last so that column `first` has nothing below the diagonal, and with it the
 * columns up to `end`. */
static void reflect_rows(double *band, int first, int last, int end)
{
    double v[BAND] = {0}, tau;
    const int count = last - first + 1;
    double *column = in_band(band, first, first);
    memcpy(v, column, (size_t)count * sizeof *v);
    memset(column, 0, (size_t)count * sizeof *v);
    *column = reflection(v, count, &tau);
    if (tau == 0) return;
    for (int j = first + 1; j <= end; j++) {
        double *x = in_band(band, first, j), sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int i = 0; i < count; i++)
            sum += v[i] * x[i];
        sum *= tau;
#pragma omp simd
        for (int i = 0; i < count; i++)
            x[i] -= sum * v[i];
    }
}

/* The second stage: cuts the band down to two diagonals, d [n] and e [n - 1]. */
static void chase(double *band, int n, double *d, double *e)
{
    for (int i = 0; i < n - 1; i++) {
        int row = i, first = i + 1;
        while (first < n) {
            const int last = least(first + BAND - 1, n - 1);
            reflect_columns(band, row, first, last);
            reflect_rows(band, first, last, least(last + BAND, n - 1));
            row = first;
            first = last + 1;
        }
    }
    for (int i = 0; i < n; i++)
        d[i] = *in_band(band, i, i);
    for (int i = 0; i < n - 1; i++)
        e[i] = *in_band(band, i, i + 1);
}

/* Copies factor times a row-major matrix in the tall one of it and its transpose. */
static void copy_tall(const reduction *s, const double *a, int64_t rows, int64_t cols,
                      double factor)
{
    const int64_t count = rows * cols;
    if (cols >= rows) {
        for (int64_t i = 0; i < count; i++)
            s->a[i] = factor * a[i];
        return;
    }
    for (int64_t top = 0; top < rows; top += TILE)
        for (int64_t left = 0; left < cols; left += TILE)
            for (int64_t j = left; j < left + TILE && j < cols; j++)
                for (int64_t i = top; i < top + TILE && i < rows; i++)
                    s->a[j * rows + i] = factor * a[i * cols + j];
}

/* Doubles of all arrays of a reduction. */
static size_t doubles_of(int64_t m, int64_t n)
{
    size_t count = mr_bytes_add(0, n, (size_t)m);
    count = mr_bytes_add(count, n, 2 * BAND + COLUMN + 1);
    return mr_bytes_add(count, m, BAND);
}

static void lay_out(reduction *s, double *memory)
{
    const size_t m = (size_t)s->m, n = (size_t)s->n;
    s->a = memory;
    s->panel = s->a + m * n;
    s->t = s->panel + n * BAND;
    s->work = s->t + n * BAND;
    s->band = s->work + m * BAND;
    s->e = s->band + n * COLUMN;
}

/* d [n] and e of an upper bidiagonal matrix become its values. */
static mr_status solve(const reduction *s, double *d)
{
    const int none = 0, one = 1;
    int info = 0;
    double unused = 0;
    dbdsqr_("U", &s->n, &none, &none, &none, d, s->e, &unused, &one, &unused, &one, &unused, &one,
            s->work, &info, 1);
    MR_CHECK(info == 0, MR_ERR_NUMERIC, "singular values: dbdsqr of %d values: info %d", s->n,
             info);
    return MR_OK;
}

mr_status mr_svd_values(const double *a, int64_t rows, int64_t cols, double *values)
{
    double largest;
    MR_TRY(mr_svd_check(a, rows, cols, &largest));
    reduction s = {.m = (int)(rows > cols ? rows : cols), .n = (int)(rows > cols ? cols : rows)};
    double *memory = mr_alloc_array(MR_MEM_OTHER, doubles_of(s.m, s.n), sizeof *memory);
    if (!memory) return MR_ERR_MEMORY;
    /* Squares are taken along the way: of elements of about 1. */
    int exponent = 0;
    frexp(largest, &exponent);
    if (exponent < -1000) exponent = -1000;
    if (exponent > 1000) exponent = 1000;
    lay_out(&s, memory);
    copy_tall(&s, a, rows, cols, ldexp(1, -exponent));
    reduce(&s);
    chase(s.band, s.n, values, s.e);
    mr_status status = solve(&s, values);
    mr_free(memory);
    for (int j = 0; status == MR_OK && j < s.n; j++)
        values[j] = ldexp(values[j], exponent);
    if (status == MR_OK) status = mr_svd_check_largest(rows, cols, values[0]);
    return status;
}

double mr_svd_flops(int64_t rows, int64_t cols)
{
    /* Golub and Van Loan, 5.4: bidiagonalisation, of the triangle of a QR where that is cheaper. */
    const double large = (double)(rows > cols ? rows : cols);
    const double small = (double)(rows > cols ? cols : rows);
    return 3 * large >= 5 * small ? 2 * small * small * (large + small)
                                  : 4 * small * small * (large - small / 3);
}

size_t mr_svd_bytes(int64_t rows, int64_t cols)
{
    const size_t count = doubles_of(rows > cols ? rows : cols, rows > cols ? cols : rows);
    return mr_bytes_add(0, (int64_t)count, sizeof(double));
}
