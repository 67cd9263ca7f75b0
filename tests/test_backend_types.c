/* Types of elements: moving, rounding, counting and naming them by their bits; and what a session
 * asks of the host. */
#include "backend/optimizer.h"
#include "base/hash.h"
#include "reference.h"
#include "test.h"

#include <omp.h>

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { CASES = 12 }; /* random shapes an operation is tried on */

/* Uploading, copying and downloading strided tensors must give back the same bytes. */
static void copy_moves_every_dtype_between_any_strides(void **state)
{
    mr_lab *lab = *state;
    const mr_dtype dtypes[] = {MR_F32, MR_BF16, MR_F64, MR_I32, MR_E4M3};
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        for (int64_t turn = 0; turn < 8; turn++) {
            const int64_t gaps = turn % 4, most = turn < 4 ? 40 : 5000;
            int64_t rows = mr_lab_extent(lab, 1, 40), cols = mr_lab_extent(lab, 1, most);
            /* On the host BF16 is F32: of numbers that it holds. */
            bool half = dtypes[i] == MR_BF16;
            size_t bytes = (size_t)(rows * cols) * mr_dtype_size(half ? MR_F32 : dtypes[i]);
            char *sent = (char *)mr_lab_normals(lab, rows * cols);
            for (int64_t j = 0; half && j < rows * cols; j++)
                ((float *)sent)[j] = (float)(j % 251) - 125;
            char *received = (char *)mr_lab_zeros(lab, rows * cols);
            mr_tensor src = mr_lab_poison(lab, dtypes[i], rows, cols, gaps & 1 ? 5 : 0);
            mr_tensor dst = mr_lab_poison(lab, dtypes[i], rows, cols, gaps & 2 ? 3 : 0);
            lab->be->ops->upload(lab->be, src, sent);
            MR_LAB_RUN(lab, copy, dst, src);
            lab->be->ops->download(lab->be, received, dst);
            if (memcmp(sent, received, bytes) != 0)
                fail_msg("dtype %d [%" PRId64 ", %" PRId64 "] gaps %" PRId64 ": bytes differ",
                         (int)dtypes[i], rows, cols, gaps);
        }
    }
}

/* Round to nearest, to even of two: 8 bits of mantissa, so that near 1 the step is 2^-7. */
static void convert_rounds_to_the_nearest_and_to_even_of_two(void **state)
{
    mr_lab *lab = *state;
    const double step = 0x1p-7;
    const double given[] = {1,
                            1 + step / 2,
                            1 + 3 * step / 2,
                            1 + 0.499 * step,
                            1 + 0.501 * step,
                            -1 - 3 * step / 2,
                            0,
                            -0.0,
                            INFINITY,
                            -INFINITY,
                            3.4028234e38, /* the largest F32: rounds up */
                            0x1p-133,     /* the smallest BF16 */
                            NAN};
    const double want[] = {1,  1,    1 + 2 * step, 1,         1 + step, -1 - 2 * step,
                           0,  -0.0, INFINITY,     -INFINITY, INFINITY, 0x1p-133,
                           NAN};
    enum { COUNT = sizeof given / sizeof *given };
    mr_tensor src = mr_lab_upload(lab, given, 1, COUNT, 0);
    mr_tensor half = mr_lab_poison(lab, MR_BF16, 1, COUNT, 0);
    mr_tensor back = mr_lab_poison(lab, MR_F32, 1, COUNT, 0);
    float sent[COUNT], direct[COUNT];
    MR_LAB_RUN(lab, convert, half, src);
    MR_LAB_RUN(lab, convert, back, half);
    double *got = mr_lab_download(lab, back);
    for (int i = 0; i < COUNT; i++)
        sent[i] = (float)given[i];
    lab->be->ops->upload(lab->be, half, sent);
    lab->be->ops->download(lab->be, direct, half);
    for (int i = 0; i < COUNT; i++) {
        bool right = isnan(want[i]) ? isnan(got[i])
                                    : got[i] == want[i] && signbit(got[i]) == signbit(want[i]);
        if (!right) fail_msg("%.9g became %.9g, expected %.9g", given[i], got[i], want[i]);
        assert_true((double)direct[i] == got[i] || (isnan(direct[i]) && isnan(got[i])));
    }
}

static void convert_stays_inside_strided_views(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t rows = mr_lab_extent(lab, 1, 60), cols = mr_lab_extent(lab, 1, 300);
        double *x = mr_lab_zeros(lab, rows * cols);
        for (int64_t j = 0; j < rows * cols; j++)
            x[j] = (double)(j % 251) - 125;
        mr_tensor half = mr_lab_poison(lab, MR_BF16, rows, cols, i % 4);
        mr_tensor back = mr_lab_poison(lab, MR_F32, rows, cols, (i + 1) % 3);
        MR_LAB_RUN(lab, convert, half, mr_lab_upload(lab, x, rows, cols, i % 3));
        MR_LAB_RUN(lab, convert, back, half);
        mr_lab_expect(lab, MR_BOUND_EXACT, back, x, "case %d", i);
        mr_lab_clear(lab);
    }
}

static void nonzero_elements_are_counted(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t count = i == 0 ? 1 : mr_lab_extent(lab, 1, 100000), want = 0;
        double *x = mr_lab_normals(lab, count);
        for (int64_t n = 0; n < count; n++) {
            if (n % 3 == i % 3) x[n] = n % 2 ? -0.0 : n % 5 ? 0 : NAN;
            want += x[n] < 0 || x[n] > 0;
        }
        mr_tensor out = mr_lab_poison(lab, MR_F64, 1, 1, 0);
        MR_LAB_RUN(lab, count_nonzero, out, mr_lab_upload(lab, x, 1, count, 0));
        assert_true(*mr_lab_download(lab, out) == (double)want);
        mr_lab_clear(lab);
    }
}

static void two_halves(mr_lab *lab, mr_tensor x, double halves[2])
{
    mr_tensor out = mr_lab_poison(lab, MR_I32, 1, 2, 0);
    MR_LAB_RUN(lab, digest, out, x, 0);
    memcpy(halves, mr_lab_download(lab, out), 2 * sizeof *halves);
}

/* The formula of backend.h over the elements' bits. */
static uint64_t digest_of(const void *data, size_t size, int64_t count)
{
    const int shift = size == 2 ? 16 : 0; /* of BF16, which is the upper half of F32 */
    uint64_t sum = 0;
    for (int64_t i = 0; i < count; i++) {
        uint64_t bits = 0;
        memcpy(&bits, (const char *)data + (size_t)i * size, size);
        sum += mr_hash_mix((bits << shift) + (uint64_t)i * 0x9e3779b97f4a7c15u);
    }
    return sum;
}

/* Uploads elements given by their bits; on the host BF16 is F32. */
static void send(mr_lab *lab, mr_tensor x, unsigned char *data)
{
    float *wide = (float *)mr_lab_zeros(lab, x.cols);
    for (int64_t j = 0; x.dtype == MR_BF16 && j < x.cols; j++) {
        data[2 * j + 1] &= 0x3f; /* no NaN, whose bits may change */
        uint32_t bits = (uint32_t)data[2 * j] << 16 | (uint32_t)data[2 * j + 1] << 24;
        memcpy(&wide[j], &bits, sizeof bits);
    }
    lab->be->ops->upload(lab->be, x, x.dtype == MR_BF16 ? (const void *)wide : data);
}

/* Rounds a number as each of what is kept. */
static void round_thrice(float value, uint32_t random, uint16_t out[MR_KEPT])
{
    const float kept[MR_KEPT] = {value, value, value};
    uint32_t bits[MR_KEPT];
    mr_round_kept(kept, random, bits);
    for (int k = 0; k < MR_KEPT; k++)
        out[k] = (uint16_t)(bits[k] >> 16);
}

/* Of every number between two neighbours each of all random bits is one rounding. */
static void a_stochastic_rounding_is_right_on_average(void **state)
{
    (void)state;
    const uint32_t units[] = {0x3f80, 0xc2f7, 0x0001, 0x7f7e};
    const uint32_t cut[] = {0, 1, 0x4000, 0x8000, 0xfffe, 0xffff};
    for (int i = 0; i < 24; i++) {
        const uint32_t bits = units[i % 4] << 16 | cut[i / 4];
        uint32_t up[MR_KEPT] = {0};
        float value;
        memcpy(&value, &bits, sizeof value);
        for (uint32_t random = 0; random < 1 << 16; random++) {
            /* Times x in the field of 2^16: the lower half, the upper one and their exclusive or
             * each run through all bits. */
            const uint32_t upper = (random << 1 ^ (random >> 15) * 0x1100bu) & 0xffffu;
            uint16_t half[MR_KEPT];
            round_thrice(value, random | upper << 16, half);
            for (int k = 0; k < MR_KEPT; k++) {
                assert_true(half[k] == units[i % 4] || half[k] == units[i % 4] + 1);
                up[k] += half[k] != units[i % 4];
            }
        }
        for (int k = 0; k < MR_KEPT; k++)
            assert_int_equal(up[k], cut[i / 4]);
    }
}

/* Weights and first moments a quarter of a unit beside a number of BF16, and second ones a half, of
 * one step after another: those of an element are rounded independently, two by two. */
static void what_the_optimizer_keeps_is_right_on_average(void **state)
{
    enum { COUNT = 1 << 12, STEPS = 16, ALL = COUNT * STEPS };
    mr_lab *lab = *state;
    int64_t ups[MR_KEPT] = {0}, both[MR_KEPT] = {0};
    for (int step = 1; step <= STEPS; step++) {
        double *gradients = mr_lab_zeros(lab, COUNT), *ones = mr_lab_zeros(lab, COUNT);
        for (int64_t i = 0; i < COUNT; i++) {
            gradients[i] = 2 * (1 + 0x1p-9); /* m = 1 + 2^-9, v = 2 (1 + 2^-9)^2 */
            ones[i] = 1;                     /* which decay to 1 - 2^-10 */
        }
        const double *zeros = mr_lab_zeros(lab, COUNT);
        mr_adamw_args args = {.weight = mr_lab_upload_as(lab, MR_BF16, ones, 1, COUNT, 0),
                              .grad = mr_lab_upload(lab, gradients, 1, COUNT, 0),
                              .m = mr_lab_upload_as(lab, MR_BF16, zeros, 1, COUNT, 0),
                              .v = mr_lab_upload_as(lab, MR_BF16, zeros, 1, COUNT, 0),
                              .grad_scale = 1,
                              .lr = 0x1p-10,
                              .beta1 = 0.5,
                              .beta2 = 0.5,
                              .eps = 0x1p60,
                              .weight_decay = 1,
                              .step = step,
                              .rounding =
                                  mr_random_stream(3, MR_RANDOM_ROUNDING, (uint64_t)step << 24)};
        MR_LAB_RUN(lab, adamw, &args, 1);
        const double *w = mr_lab_copy(lab, mr_lab_download(lab, args.weight), COUNT);
        const double *m = mr_lab_copy(lab, mr_lab_download(lab, args.m), COUNT);
        const double *v = mr_lab_download(lab, args.v);
        for (int64_t i = 0; i < COUNT; i++) {
            assert_true(w[i] == 1 || w[i] == 1 - 0x1p-8);
            assert_true(m[i] == 1 || m[i] == 1 + 0x1p-7);
            assert_true(v[i] == 2 || v[i] == 2 * (1 + 0x1p-7));
            const bool up[MR_KEPT] = {w[i]<1, m[i]> 1, v[i] > 2};
            for (int k = 0; k < MR_KEPT; k++) {
                ups[k] += up[k];
                both[k] += up[k] && up[(k + 1) % MR_KEPT];
            }
        }
        mr_lab_clear(lab);
    }
    const double chance[MR_KEPT] = {0.25, 0.25, 0.5};
    for (int k = 0; k < MR_KEPT; k++) {
        const double pair = chance[k] * chance[(k + 1) % MR_KEPT];
        assert_true(fabs((double)ups[k] - chance[k] * ALL) < 4 * sqrt(ALL) / 2);
        assert_true(fabs((double)both[k] - pair * ALL) < 4 * sqrt(ALL) / 2);
    }
}

/* What an element begins with, and whether its weight, m and v are numbers then. */
static const struct uncommon {
    double w, m, v, gradient;
    double want[MR_KEPT];
} uncommon[] = {
    {0, 0, 0, 0, {0, 0, 0}},
    {1, 0, 0, 0, {1, 0, 0}},
    {INFINITY, 0, 0, 0, {INFINITY, 0, 0}},
    {-INFINITY, 0, 0, 0, {-INFINITY, 0, 0}},
    {1, 0, INFINITY, 0, {1, 0, INFINITY}},
    {1, -INFINITY, 0, 0, {INFINITY, -INFINITY, 0}},
    {1, 0, 0, INFINITY, {NAN, INFINITY, INFINITY}},
    {1, 0, 0, NAN, {NAN, NAN, NAN}},
    {NAN, 0, 0, 0, {NAN, 0, 0}},
    {1, NAN, 0, 0, {NAN, NAN, 0}},
    {1, 0, NAN, 0, {NAN, 0, NAN}},
};

static void check_uncommon(mr_lab *lab, mr_dtype dtype)
{
    enum { KINDS = sizeof uncommon / sizeof uncommon[0], COUNT = 1000 * KINDS };
    double *of[4];
    for (int k = 0; k < 4; k++)
        of[k] = mr_lab_zeros(lab, COUNT);
    for (int64_t i = 0; i < COUNT; i++) {
        const struct uncommon *u = &uncommon[i % KINDS];
        of[0][i] = u->w, of[1][i] = u->m, of[2][i] = u->v, of[3][i] = u->gradient;
    }
    mr_adamw_args args = {.weight = mr_lab_upload_as(lab, dtype, of[0], 1, COUNT, 0),
                          .m = mr_lab_upload_as(lab, dtype, of[1], 1, COUNT, 0),
                          .v = mr_lab_upload_as(lab, dtype, of[2], 1, COUNT, 0),
                          .grad = mr_lab_upload(lab, of[3], 1, COUNT, 0),
                          .grad_scale = 1,
                          .lr = 0.5,
                          .beta1 = 0.5,
                          .beta2 = 0.5,
                          .eps = 1e-8,
                          .step = 1,
                          .rounding = mr_random_stream(3, MR_RANDOM_ROUNDING, 1)};
    MR_LAB_RUN(lab, adamw, &args, 1);
    const mr_tensor kept[MR_KEPT] = {args.weight, args.m, args.v};
    for (int k = 0; k < MR_KEPT; k++) {
        const double *got = mr_lab_download(lab, kept[k]);
        for (int64_t i = 0; i < COUNT; i++) {
            const double want = uncommon[i % KINDS].want[k];
            if (isnan(want) ? !isnan(got[i]) : got[i] != want)
                fail_msg("%g instead of %g: dtype %d, number %d of kind %d", got[i], want,
                         (int)dtype, k, (int)(i % KINDS));
        }
    }
}

static void the_optimizer_keeps_zeros_infinities_and_what_is_not_a_number(void **state)
{
    mr_lab *lab = *state;
    check_uncommon(lab, MR_F32);
    check_uncommon(lab, MR_BF16);
}

/* Normal numbers, in one tensor and in parts of it that begin anywhere. */
static void a_part_of_a_tensor_is_updated_as_in_the_whole(void **state)
{
    enum { PARTS = 4, LONGEST = 20000 };
    mr_lab *lab = *state;
    const mr_dtype dtypes[] = {MR_F32, MR_BF16};
    for (int i = 0; i < CASES; i++) {
        const int64_t n = mr_lab_extent(lab, PARTS, LONGEST);
        const int64_t first = i < 6 ? 0 : mr_lab_extent(lab, 0, 1000);
        double *v = mr_lab_normals(lab, n), *w = mr_lab_normals(lab, n);
        double *m = mr_lab_normals(lab, n), *g = mr_lab_normals(lab, n);
        for (int64_t e = 0; e < n; e++)
            v[e] = fabs(v[e]);
        mr_adamw_args whole[2], parts[PARTS];
        for (int k = 0; k < 2; k++)
            whole[k] =
                (mr_adamw_args){.weight = mr_lab_upload_as(lab, dtypes[i % 2], w, 1, n, 0),
                                .m = mr_lab_upload_as(lab, dtypes[i % 2], m, 1, n, 0),
                                .v = mr_lab_upload_as(lab, dtypes[i % 2], v, 1, n, 0),
                                .grad = mr_lab_upload(lab, g, 1, n, 0),
                                .grad_scale = 0.7,
                                .lr = 0.03,
                                .beta1 = 0.9,
                                .beta2 = 0.99,
                                .eps = 1e-8,
                                .weight_decay = 0.1,
                                .step = 3,
                                .rounding = mr_random_stream(5, MR_RANDOM_ROUNDING, (uint64_t)i),
                                .first = first};
        for (int64_t k = 0, at = 0; k < PARTS; k++) {
            const int64_t most = n - at - (PARTS - 1 - k);
            const int64_t count = k == PARTS - 1 ? n - at : mr_lab_extent(lab, 1, most);
            parts[k] = whole[1];
            parts[k].weight = mr_tensor_cols(whole[1].weight, at, count);
            parts[k].m = mr_tensor_cols(whole[1].m, at, count);
            parts[k].v = mr_tensor_cols(whole[1].v, at, count);
            parts[k].grad = mr_tensor_cols(whole[1].grad, at, count);
            parts[k].first += at;
            at += count;
        }
        MR_LAB_RUN(lab, adamw, &whole[0], 1);
        MR_LAB_RUN(lab, adamw, parts, PARTS);
        mr_lab_expect(lab, MR_BOUND_EXACT, whole[1].weight, mr_lab_download(lab, whole[0].weight),
                      "weight, case %d", i);
        mr_lab_expect(lab, MR_BOUND_EXACT, whole[1].m, mr_lab_download(lab, whole[0].m),
                      "m, case %d", i);
        mr_lab_expect(lab, MR_BOUND_EXACT, whole[1].v, mr_lab_download(lab, whole[0].v),
                      "v, case %d", i);
        mr_lab_clear(lab);
    }
}

/* What a number held in F32 is in BF16, by 16 random bits. */
static double rounded(double value, uint32_t random)
{
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    bits = (bits + (random & 0xffff)) & 0xffff0000;
    memcpy(&single, &bits, sizeof single);
    return (double)single;
}

/* count multiples of a power of two, with no more of it than `most`. */
static double *multiples(mr_lab *lab, int64_t count, int64_t most, double of)
{
    double *values = mr_lab_zeros(lab, count);
    for (int64_t i = 0; i < count; i++)
        values[i] = of * (double)mr_lab_extent(lab, -most, most);
    return values;
}

/* Every sum is exact in F32, and the denominator eps alone: what is stored follows from the random
 * bits to the last bit. */
static void check_halves(mr_lab *lab, int i)
{
    enum { LIST = 3 };
    mr_adamw_args args[LIST];
    double *w[LIST], *m[LIST], *v[LIST];
    int64_t n[LIST];
    for (int k = 0; k < LIST; k++) {
        n[k] = i == 0 ? 1 : mr_lab_extent(lab, 1, 9000);
        double *g = multiples(lab, n[k], 2000, 1.0 / 64);
        w[k] = multiples(lab, n[k], 255, 1.0 / 64);
        m[k] = multiples(lab, n[k], 255, 1.0 / 64);
        v[k] = multiples(lab, n[k], 255, 1.0 / 64);
        for (int64_t e = 0; e < n[k]; e++)
            v[k][e] = fabs(v[k][e]);
        args[k] =
            (mr_adamw_args){.weight = mr_lab_upload_as(lab, MR_BF16, w[k], 1, n[k], 0),
                            .grad = mr_lab_upload(lab, g, 1, n[k], 0),
                            .m = mr_lab_upload_as(lab, MR_BF16, m[k], 1, n[k], 0),
                            .v = mr_lab_upload_as(lab, MR_BF16, v[k], 1, n[k], 0),
                            .grad_scale = 0.5,
                            .lr = 0x1p39,
                            .beta1 = 0.5,
                            .beta2 = 0.5,
                            .eps = 0x1p40,
                            .step = 1,
                            .rounding = mr_random_stream((uint64_t)i, MR_RANDOM_ROUNDING, 7),
                            .first = i < 4 ? i : (i % 2 ? 8 : 1) * mr_lab_extent(lab, 0, 1000)};
        if (k > 0) args[k].copy = mr_lab_poison(lab, MR_F32, 1, n[k], 0);
        for (int64_t e = 0; e < n[k]; e++) {
            const uint64_t at = (uint64_t)(args[k].first + e);
            const uint32_t random = mr_random_u32(&args[k].rounding, at);
            m[k][e] = m[k][e] / 2 + g[e] / 4;
            v[k][e] = v[k][e] / 2 + g[e] * g[e] / 8;
            w[k][e] = rounded(w[k][e] - m[k][e], random);
            m[k][e] = rounded(m[k][e], random >> 16);
            v[k][e] = rounded(v[k][e], random ^ random >> 16);
        }
    }
    MR_LAB_RUN(lab, adamw, args, LIST);
    for (int k = 0; k < LIST; k++) {
        mr_lab_expect(lab, MR_BOUND_EXACT, args[k].weight, w[k], "weight %d, case %d", k, i);
        mr_lab_expect(lab, MR_BOUND_EXACT, args[k].m, m[k], "m %d, case %d", k, i);
        mr_lab_expect(lab, MR_BOUND_EXACT, args[k].v, v[k], "v %d, case %d", k, i);
        if (k > 0) mr_lab_expect(lab, MR_BOUND_EXACT, args[k].copy, w[k], "copy %d, case %d", k, i);
    }
}

static void the_optimizer_rounds_what_it_keeps_by_its_random_bits(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        check_halves(lab, i);
        mr_lab_clear(lab);
    }
}

static void a_digest_is_that_of_bits_and_places(void **state)
{
    mr_lab *lab = *state;
    const int64_t counts[] = {1, 2, 1000, 70000};
    const mr_dtype dtypes[] = {MR_F32, MR_BF16, MR_F64, MR_I32};
    for (int i = 0; i < 16; i++) {
        int64_t count = counts[i / 4];
        mr_tensor x = mr_lab_poison(lab, dtypes[i % 4], 1, count, 0);
        size_t size = mr_dtype_size(x.dtype);
        unsigned char *data = (unsigned char *)mr_lab_zeros(lab, count);
        for (size_t b = 0; b < (size_t)count * size; b++)
            data[b] = (unsigned char)(7 * b + b / 251);
        send(lab, x, data);
        double got[2], moved[2];
        two_halves(lab, x, got);
        uint64_t want = digest_of(data, size, count);
        assert_true(got[0] == (double)(int32_t)(uint32_t)want);
        assert_true(got[1] == (double)(int32_t)(uint32_t)(want >> 32));
        data[(size_t)(count - 1) * size] ^= 1;
        send(lab, x, data);
        two_halves(lab, x, moved);
        assert_true(moved[0] != got[0] || moved[1] != got[1]);
        mr_lab_clear(lab);
    }
}

/* Takes the place of OpenBLAS's own, which then goes on as any other library does. */
void openblas_set_num_threads(int num_threads);

static int told; /* to OpenBLAS */

void openblas_set_num_threads(int num_threads)
{
    told = num_threads;
}

/* What the host computes beside a session, of several ranks at once, is on their own threads:
 * OpenBLAS is told so, and others take as many as OpenMP would. */
static void the_hosts_blas_takes_one_thread(void **state)
{
    (void)state;
    omp_set_num_threads(2);
    mr_lab *lab = mr_lab_create(2, 1);
    mr_lab_destroy(&lab);
    assert_int_equal(told, 1);
    assert_int_equal(omp_get_max_threads(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_hosts_blas_takes_one_thread),
        MR_LAB_TEST(copy_moves_every_dtype_between_any_strides),
        MR_LAB_TEST(convert_rounds_to_the_nearest_and_to_even_of_two),
        MR_LAB_TEST(convert_stays_inside_strided_views),
        MR_LAB_TEST(nonzero_elements_are_counted),
        MR_LAB_TEST(a_digest_is_that_of_bits_and_places),
        cmocka_unit_test(a_stochastic_rounding_is_right_on_average),
        MR_LAB_TEST(what_the_optimizer_keeps_is_right_on_average),
        MR_LAB_TEST(the_optimizer_keeps_zeros_infinities_and_what_is_not_a_number),
        MR_LAB_TEST(a_part_of_a_tensor_is_updated_as_in_the_whole),
        MR_LAB_TEST(the_optimizer_rounds_what_it_keeps_by_its_random_bits),
    };
    return cmocka_run_group_tests_name("backend types", tests, NULL, NULL);
}
