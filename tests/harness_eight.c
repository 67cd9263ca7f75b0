#include "harness_eight.h"

#include "test.h"

#include <math.h>

static int64_t rows_of(mr_lab *lab, int i)
{
    return i == 0 ? 1 : mr_lab_extent(lab, 1, 70);
}

static int64_t cols_of(mr_lab *lab, int i)
{
    return i <= 1 ? 1 : mr_lab_extent(lab, 1, 300);
}

/* Of elements between rows; even where these begin at 16 bytes. */
static int64_t gap_of(mr_lab *lab, bool even)
{
    return even ? 8 * mr_lab_extent(lab, 0, 1) : mr_lab_extent(lab, 0, 6);
}

/* Numbers that all types hold. */
static double *whole_numbers(mr_lab *lab, int64_t count, int64_t most)
{
    double *values = mr_lab_zeros(lab, count);
    for (int64_t k = 0; k < count; k++)
        values[k] = (double)mr_lab_extent(lab, -most, most);
    return values;
}

static mr_scaled eight(mr_lab *lab, int64_t rows, int64_t cols)
{
    return (mr_scaled){mr_lab_poison(lab, MR_E4M3, rows, cols, 0),
                       mr_lab_poison(lab, MR_F32, 1, rows, 0)};
}

/* Rows of any size, some of them zeros, of numbers of which some are too small for what their row's
 * largest leaves, and some halfway between two. */
static double *rows_of_any_size(mr_lab *lab, int64_t rows, int64_t cols)
{
    double *x = whole_numbers(lab, rows * cols, 127);
    for (int64_t n = 0; n < rows; n++) {
        const int size = (int)mr_lab_extent(lab, -100, 60);
        for (int64_t c = 0; c < cols; c++) {
            double *one = &x[n * cols + c];
            if (c % 5 == 3) *one = ldexp(*one, -(int)mr_lab_extent(lab, 0, 20));
            if (c % 7 == 2) *one = (double)mr_lab_extent(lab, -63, 63) / 32;
            *one = n % 6 == 5 ? 0 : ldexp(*one, size);
        }
    }
    return x;
}

static void quantize_as(mr_lab *lab, int i, bool transposed)
{
    static const int64_t wide[] = {4104, 11008, 17000}; /* rows of a few packs a thread, and many */
    const int64_t rows = i > 6 && !transposed ? 3 : rows_of(lab, i);
    const int64_t cols = i > 6 && !transposed ? wide[i - 7] : i > 6 ? 600 : cols_of(lab, i);
    double *x = rows_of_any_size(lab, rows, cols), *turned = mr_lab_copy(lab, x, rows * cols);
    double *want = mr_lab_zeros(lab, rows * cols), *scale = mr_lab_zeros(lab, rows);
    for (int64_t k = 0; transposed && k < rows * cols; k++)
        turned[k % cols * rows + k / cols] = x[k];
    const int64_t down = transposed ? cols : rows, across = transposed ? rows : cols;
    const char *of = transposed ? "columns" : "rows";
    mr_tensor in = mr_lab_upload_as(lab, lab->dtype, turned, down, across, gap_of(lab, i > 3));
    mr_scaled y = eight(lab, rows, cols);
    MR_LAB_RUN(lab, quantize, y, in, transposed);
    mr_reference_quantize(want, scale, x, rows, cols);
    mr_lab_expect(lab, MR_BOUND_EXACT, y.scale, scale, "scales of %s, case %d", of, i);
    mr_lab_expect(lab, MR_BOUND_EXACT, y.values, want, "values of %s, case %d", of, i);
    turned[0] = i % 3 == 0 ? NAN : i % 3 == 1 ? (double)INFINITY : -(double)INFINITY;
    in = mr_lab_upload_as(lab, lab->dtype, turned, down, across, gap_of(lab, i > 3));
    MR_LAB_RUN(lab, quantize, y, in, transposed);
    double *got = mr_lab_download(lab, y.scale);
    for (int64_t n = 0; n < rows; n++)
        assert_true(n == 0 ? isnan(got[n]) : got[n] == scale[n]);
}

void eight_quantize(mr_lab *lab, int i)
{
    quantize_as(lab, i, false);
    quantize_as(lab, i, true);
}

/* A matrix in 8 bits, of all there are, or of whole numbers so small that a device may add many of
 * their products up in a few bits. */
static mr_scaled factor(mr_lab *lab, int64_t rows, int64_t cols, bool small, double **values)
{
    const mr_scaled t = eight(lab, rows, cols);
    int32_t *bits = mr_lab_ids(lab, rows * cols, 254);
    uint8_t *bytes = (uint8_t *)mr_lab_zeros(lab, rows * cols);
    double *scale = mr_lab_zeros(lab, rows);
    static const uint8_t few[] = {0x00, 0x38, 0xb8, 0x40, 0xc0}; /* 0, 1, -1, 2, -2 */
    *values = mr_lab_zeros(lab, rows * cols);
    for (int64_t n = 0; n < rows; n++)
        scale[n] = ldexp(1, (int)mr_lab_extent(lab, -9, 9));
    for (int64_t k = 0; k < rows * cols; k++) {
        bytes[k] = small ? few[bits[k] % 5] : (uint8_t)(bits[k] + (bits[k] > 126)); /* no NaN */
        (*values)[k] = scale[k / cols] * mr_reference_e4m3(bytes[k]);
    }
    lab->be->ops->upload(lab->be, t.values, bytes);
    mr_tensor scales = mr_lab_upload(lab, scale, 1, rows, 0);
    lab->be->ops->copy(lab->be, t.scale, scales);
    return t;
}

void eight_gemm_scaled(mr_lab *lab, int i)
{
    int64_t m = rows_of(lab, i), n = cols_of(lab, i), k = i == 0 ? 1 : mr_lab_extent(lab, 1, 300);
    if (i > 3) { /* what a device has products for, one of them worth a choice between several */
        n = 16 * mr_lab_extent(lab, 1, 20);
        k = 16 * mr_lab_extent(lab, 1, 20);
    }
    if (i == 9) {
        m = 130;
        n = 512;
        k = 1024;
    }
    double *a, *b, *c, beta = i % 3 == 0 ? 0 : i % 3 == 1 ? 1 : -0.5;
    const mr_scaled x = factor(lab, m, k, i > 3, &a), y = factor(lab, n, k, i > 3, &b);
    const int64_t gap = gap_of(lab, i % 2);
    c = whole_numbers(lab, m * n, 127);
    mr_tensor z = beta == 0 ? mr_lab_poison(lab, lab->dtype, m, n, gap)
                            : mr_lab_upload_as(lab, lab->dtype, c, m, n, gap);
    MR_LAB_RUN(lab, gemm_scaled, x, y, (float)beta, z);
    mr_reference_gemm(false, true, 1, a, b, beta, c, m, n, k);
    mr_lab_expect(lab, MR_BOUND_SUMMED, z, c, "case %d", i);
}
