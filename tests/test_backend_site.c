/** @file
 * Sites that a backend takes as one, in BF16: what they and their gradients are, against the
 * formulas in double. What is rounded on the way is what the entries of their own round too. */

#include "reference.h"
#include "test.h"

#include <math.h>

enum { ROWS = 192, IN = 96, OUT = 352, LINEARS = 2 };

static const double SCALE = 0.5;

/* A matrix that BF16 holds, on both sides. */
typedef struct operand {
    double *values;
    mr_tensor t;
} operand;

static operand given(mr_lab *lab, mr_dtype dtype, int64_t rows, int64_t cols, double size)
{
    operand o = {.values = mr_lab_normals(lab, rows * cols)};
    for (int64_t i = 0; i < rows * cols; i++)
        o.values[i] = size * round(16 * fmax(-7, fmin(7, o.values[i])));
    o.t = mr_lab_upload_as(lab, dtype, o.values, rows, cols, 0);
    return o;
}

static operand wanted(mr_lab *lab, mr_dtype dtype, int64_t rows, int64_t cols)
{
    return (operand){mr_lab_zeros(lab, rows * cols), mr_lab_poison(lab, dtype, rows, cols, 0)};
}

/* Within a few roundings of BF16 of the size of the whole. */
static void expect(mr_lab *lab, const char *what, operand o)
{
    double *got = mr_lab_download(lab, o.t), difference = 0, size = 0;
    for (int64_t i = 0; i < mr_tensor_count(o.t); i++) {
        difference += (got[i] - o.values[i]) * (got[i] - o.values[i]);
        size += o.values[i] * o.values[i];
    }
    if (!(size > 0 && sqrt(difference) <= 6e-3 * sqrt(size)))
        fail_msg("%s: relative difference %.3g", what, sqrt(difference / size));
}

static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

/* y = silu(g) u, and from dy in d_g and d_u theirs. */
static void gate(int64_t count, const double *g, const double *u, double *y, const double *dy,
                 double *d_g, double *d_u)
{
    for (int64_t i = 0; i < count; i++) {
        const double s = logistic(g[i]);
        y[i] = g[i] * s * u[i];
        d_u[i] = dy[i] * g[i] * s;
        d_g[i] = dy[i] * u[i] * s * (1 + g[i] * (1 - s));
    }
}

static void need_sites(const mr_lab *lab)
{
    if (!lab->be->ops->site_forward) skip_because("this backend takes no site as one");
}

/* Two linears that are gated, with low-rank updates of which all are told by their factors. */
static void gated_updates_are_those_of_the_formula(void **state)
{
    mr_lab *lab = *state;
    need_sites(lab);
    for (int64_t r = 8; r <= 24; r += 8) {
        operand x = given(lab, MR_BF16, ROWS, IN, 1 / 16.0);
        operand a = given(lab, MR_BF16, LINEARS * r, IN, 1 / 256.0);
        operand d_a = wanted(lab, MR_F32, LINEARS * r, IN), d_x = wanted(lab, MR_BF16, ROWS, IN);
        operand product = wanted(lab, MR_BF16, ROWS, OUT), dy = given(lab, MR_BF16, ROWS, OUT, 1);
        operand w[LINEARS], b[LINEARS], d_b[LINEARS], y[LINEARS];
        double *d_y[LINEARS], *u = mr_lab_zeros(lab, ROWS * LINEARS * r);
        mr_site_args args = {.linears = LINEARS, .x = x.t, .gated = product.t};
        mr_reference_gemm(false, true, 1, x.values, a.values, 0, u, ROWS, LINEARS * r, IN);
        for (int i = 0; i < LINEARS; i++) {
            w[i] = given(lab, MR_BF16, OUT, IN, 1 / 128.0);
            b[i] = given(lab, MR_BF16, OUT, r, 1 / 32.0);
            d_b[i] = wanted(lab, MR_F32, OUT, r);
            y[i] = wanted(lab, MR_BF16, ROWS, OUT);
            d_y[i] = mr_lab_zeros(lab, ROWS * OUT);
            args.w[i] = w[i].t;
            args.y[i] = y[i].t;
            args.update[i] = (mr_update){.kind = MR_UPDATE_PRODUCT,
                                         .scale = (float)SCALE,
                                         .a = mr_tensor_rows(a.t, i * r, r),
                                         .b = b[i].t,
                                         .d_a = mr_tensor_rows(d_a.t, i * r, r),
                                         .d_b = d_b[i].t};
            double *own = mr_lab_zeros(lab, ROWS * r);
            for (int64_t k = 0; k < ROWS * r; k++)
                own[k] = u[k / r * LINEARS * r + i * r + k % r];
            mr_reference_gemm(false, true, 1, x.values, w[i].values, 0, y[i].values, ROWS, OUT, IN);
            mr_reference_gemm(false, true, SCALE, own, b[i].values, 1, y[i].values, ROWS, OUT, r);
        }
        gate(ROWS * OUT, y[0].values, y[1].values, product.values, dy.values, d_y[0], d_y[1]);
        for (int i = 0; i < LINEARS; i++) {
            double *t = mr_lab_zeros(lab, ROWS * r), *own = mr_lab_zeros(lab, ROWS * r);
            for (int64_t k = 0; k < ROWS * r; k++)
                own[k] = u[k / r * LINEARS * r + i * r + k % r];
            mr_reference_gemm(true, false, SCALE, d_y[i], own, 0, d_b[i].values, OUT, r, ROWS);
            mr_reference_gemm(false, false, SCALE, d_y[i], b[i].values, 0, t, ROWS, r, OUT);
            mr_reference_gemm(true, false, 1, t, x.values, 0, d_a.values + i * r * IN, r, IN, ROWS);
            mr_reference_gemm(false, false, 1, t, a.values + i * r * IN, 1, d_x.values, ROWS, IN,
                              r);
            mr_reference_gemm(false, false, 1, d_y[i], w[i].values, 1, d_x.values, ROWS, IN, OUT);
        }
        args.saved = mr_lab_poison(lab, MR_BF16, ROWS, LINEARS * r, 0);
        args.work = mr_lab_poison(lab, MR_BF16, ROWS, LINEARS * r, 0);
        assert_true(lab->be->ops->site_forward(lab->be, &args));
        expect(lab, "what is gated", product);
        args.gated = (mr_tensor){0};
        args.d_gated = dy.t;
        args.d_x = d_x.t;
        assert_true(lab->be->ops->site_backward(lab->be, &args));
        expect(lab, "d_x", d_x);
        expect(lab, "d_a", d_a);
        for (int i = 0; i < LINEARS; i++)
            expect(lab, "d_b", d_b[i]);
        mr_lab_clear(lab);
    }
}

/* Two linears with square updates between maps, of sides whose rows begin at 16 bytes or do not,
 * with the compressed input kept or made again. */
static void square_updates_are_those_of_the_formula(void **state)
{
    mr_lab *lab = *state;
    need_sites(lab);
    const int64_t sides[] = {24, 30, 27, 104, 30, 27};
    for (size_t k = 0; k < sizeof sides / sizeof sides[0]; k++) {
        const int64_t side = sides[k];
        const mr_group_map in = {.groups = side, .length = (IN + side - 1) / side * side},
                           out = {.groups = side, .length = OUT};
        operand x = given(lab, MR_BF16, ROWS, IN, 1 / 16.0), d_x = wanted(lab, MR_BF16, ROWS, IN);
        operand m = given(lab, MR_BF16, LINEARS * side, side, 1 / 256.0);
        operand d_m = wanted(lab, MR_F32, LINEARS * side, side), y[LINEARS], d_y[LINEARS];
        mr_tensor compressed = {0};
        if (k % 2) compressed = mr_lab_poison(lab, MR_BF16, ROWS, mr_even_cols(side, MR_BF16), 0);
        double *c = mr_lab_zeros(lab, ROWS * side), *d_c = mr_lab_zeros(lab, ROWS * side);
        mr_site_args args = {.linears = LINEARS, .x = x.t};
        mr_reference_group_sum(c, x.values, in, ROWS, IN);
        for (int i = 0; i < LINEARS; i++) {
            operand w = given(lab, MR_BF16, OUT, IN, 1 / 128.0);
            double *z = mr_lab_zeros(lab, ROWS * side), *own = m.values + i * side * side;
            y[i] = wanted(lab, MR_BF16, ROWS, OUT);
            d_y[i] = given(lab, MR_BF16, ROWS, OUT, 1 / 16.0);
            args.w[i] = w.t;
            args.y[i] = y[i].t;
            args.update[i] = (mr_update){.kind = MR_UPDATE_GROUPS,
                                         .scale = 1,
                                         .m = mr_tensor_rows(m.t, i * side, side),
                                         .d_m = mr_tensor_rows(d_m.t, i * side, side),
                                         .in = in,
                                         .out = out,
                                         .compressed = compressed};
            mr_reference_gemm(false, true, 1, x.values, w.values, 0, y[i].values, ROWS, OUT, IN);
            mr_reference_gemm(false, true, 1, c, own, 0, z, ROWS, side, side);
            mr_reference_group_spread(y[i].values, z, out, ROWS, OUT);
            mr_reference_group_sum(z, d_y[i].values, out, ROWS, OUT);
            mr_reference_gemm(true, false, 1, z, c, 0, d_m.values + i * side * side, side, side,
                              ROWS);
            mr_reference_gemm(false, false, 1, z, own, 1, d_c, ROWS, side, side);
            mr_reference_gemm(false, false, 1, d_y[i].values, w.values, 1, d_x.values, ROWS, IN,
                              OUT);
        }
        mr_reference_group_spread(d_x.values, d_c, in, ROWS, IN);
        args.saved = args.work = mr_lab_poison(lab, MR_BF16, ROWS, 3 * side, 0);
        assert_true(lab->be->ops->site_forward(lab->be, &args));
        for (int i = 0; i < LINEARS; i++) {
            expect(lab, "y", y[i]);
            args.y[i] = d_y[i].t;
        }
        args.d_x = d_x.t;
        assert_true(lab->be->ops->site_backward(lab->be, &args));
        expect(lab, "d_x", d_x);
        expect(lab, "d_m", d_m);
        mr_lab_clear(lab);
    }
}

/* Whole numbers up to 8, which 8 bits hold: with a power of two a row, products lose nothing. */
static operand whole(mr_lab *lab, int64_t rows, int64_t cols, double size)
{
    operand o = {.values = mr_lab_normals(lab, rows * cols)};
    for (int64_t i = 0; i < rows * cols; i++)
        o.values[i] = size * round(fmax(-8, fmin(8, 3 * o.values[i])));
    o.t = mr_lab_upload_as(lab, MR_BF16, o.values, rows, cols, 0);
    return o;
}

static mr_scaled eight(mr_lab *lab, int64_t rows, int64_t cols)
{
    return (mr_scaled){mr_lab_poison(lab, MR_E4M3, rows, cols, 0),
                       mr_lab_poison(lab, MR_F32, 1, rows, 0)};
}

/* Two linears with low-rank updates, of which one multiplies in 8 bits, or both do. */
static void weights_in_eight_bits_are_those_of_the_formula(void **state)
{
    mr_lab *lab = *state;
    const int64_t r = 8, longer = OUT > IN ? OUT : IN;
    need_sites(lab);
    for (int first = 0; first < LINEARS; first++) {
        operand x = whole(lab, ROWS, IN, 1 / 16.0), d_x = wanted(lab, MR_BF16, ROWS, IN);
        operand a = given(lab, MR_BF16, LINEARS * r, IN, 1 / 256.0), y[LINEARS], d_y[LINEARS];
        operand d_a = wanted(lab, MR_F32, LINEARS * r, IN);
        mr_scaled back[LINEARS] = {{.scale = {0}}};
        mr_site_args args = {.linears = LINEARS, .x = x.t};
        for (int i = 0; i < LINEARS; i++) {
            operand w = whole(lab, OUT, IN, 1 / 128.0), b = given(lab, MR_BF16, OUT, r, 1 / 32.0);
            double *u = mr_lab_zeros(lab, ROWS * r), *own = a.values + i * r * IN;
            y[i] = wanted(lab, MR_BF16, ROWS, OUT);
            d_y[i] = whole(lab, ROWS, OUT, 1 / 4.0);
            args.w[i] = w.t;
            args.y[i] = y[i].t;
            args.update[i] = (mr_update){.kind = MR_UPDATE_PRODUCT,
                                         .scale = (float)SCALE,
                                         .a = mr_tensor_rows(a.t, i * r, r),
                                         .b = b.t,
                                         .d_a = mr_tensor_rows(d_a.t, i * r, r)};
            mr_reference_gemm(false, true, 1, x.values, own, 0, u, ROWS, r, IN);
            mr_reference_gemm(false, true, 1, x.values, w.values, 0, y[i].values, ROWS, OUT, IN);
            mr_reference_gemm(false, true, SCALE, u, b.values, 1, y[i].values, ROWS, OUT, r);
            mr_reference_gemm(false, false, SCALE, d_y[i].values, b.values, 0, u, ROWS, r, OUT);
            mr_reference_gemm(true, false, 1, u, x.values, 0, d_a.values + i * r * IN, r, IN, ROWS);
            mr_reference_gemm(false, false, 1, u, own, 1, d_x.values, ROWS, IN, r);
            mr_reference_gemm(false, false, 1, d_y[i].values, w.values, 1, d_x.values, ROWS, IN,
                              OUT);
            if (i < first) continue;
            args.w8[i] = eight(lab, OUT, IN);
            back[i] = eight(lab, IN, OUT);
            MR_LAB_RUN(lab, quantize, args.w8[i], w.t, false);
            MR_LAB_RUN(lab, quantize, back[i], w.t, true);
        }
        args.cast = (mr_scaled){mr_lab_poison(lab, MR_E4M3, 1, ROWS * longer, 0),
                                mr_lab_poison(lab, MR_F32, 1, ROWS, 0)};
        args.saved = mr_lab_poison(lab, MR_BF16, ROWS, LINEARS * r, 0);
        args.work = mr_lab_poison(lab, MR_BF16, ROWS, LINEARS * r, 0);
        assert_true(lab->be->ops->site_forward(lab->be, &args));
        for (int i = 0; i < LINEARS; i++) {
            expect(lab, "y", y[i]);
            args.y[i] = d_y[i].t;
            args.w8[i] = back[i];
        }
        args.d_x = d_x.t;
        assert_true(lab->be->ops->site_backward(lab->be, &args));
        expect(lab, "d_x", d_x);
        expect(lab, "d_a", d_a);
        mr_lab_clear(lab);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MR_LAB_TEST(gated_updates_are_those_of_the_formula),
        MR_LAB_TEST(square_updates_are_those_of_the_formula),
        MR_LAB_TEST(weights_in_eight_bits_are_those_of_the_formula),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
