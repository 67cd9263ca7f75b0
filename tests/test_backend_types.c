/* Types of elements: moving, rounding, counting and naming them by their bits. */
#include "backend/optimizer.h"
#include "base/hash.h"
#include "reference.h"
#include "test.h"

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

/* Of every number between two neighbours each of all random bits is one rounding. */
static void a_stochastic_rounding_is_right_on_average(void **state)
{
    (void)state;
    const uint32_t units[] = {0x3f80, 0xc2f7, 0x0001, 0x7f7e};
    const uint32_t cut[] = {0, 1, 0x4000, 0x8000, 0xfffe, 0xffff};
    for (int i = 0; i < 24; i++) {
        const uint32_t bits = units[i % 4] << 16 | cut[i / 4];
        uint32_t up = 0;
        float value;
        memcpy(&value, &bits, sizeof value);
        for (uint32_t random = 0; random < 1 << 16; random++) {
            const uint16_t half = mr_round_stochastic(value, 0xabcd0000u | random);
            assert_true(half == units[i % 4] || half == units[i % 4] + 1);
            up += half != units[i % 4];
        }
        assert_int_equal(up, cut[i / 4]);
    }
    assert_int_equal(mr_round_stochastic(INFINITY, 0xffff), 0x7f80);
    assert_int_equal(mr_round_stochastic(-INFINITY, 0xffff), 0xff80);
    assert_true((mr_round_stochastic(NAN, 0xffff) & 0x7fff) > 0x7f80);
}

/* First moments a quarter of a unit above a number of BF16, of one step after another. */
static void what_the_optimizer_keeps_is_right_on_average(void **state)
{
    enum { COUNT = 1 << 12, STEPS = 16 };
    mr_lab *lab = *state;
    const double sure = sqrt(COUNT * STEPS * 0.25 * 0.75);
    double ups = 0, both = 0, *gradients = mr_lab_zeros(lab, COUNT);
    for (int64_t i = 0; i < COUNT; i++)
        gradients[i] = 2 * (1 + 0x1p-9); /* m = 1 + 2^-9, v = 2 (1 + 2^-9)^2 */
    for (int step = 1; step <= STEPS; step++) {
        double *zeros = mr_lab_zeros(lab, COUNT);
        mr_adamw_args args = {.weight = mr_lab_upload_as(lab, MR_BF16, zeros, 1, COUNT, 0),
                              .grad = mr_lab_upload(lab, gradients, 1, COUNT, 0),
                              .m = mr_lab_upload_as(lab, MR_BF16, zeros, 1, COUNT, 0),
                              .v = mr_lab_upload_as(lab, MR_BF16, zeros, 1, COUNT, 0),
                              .grad_scale = 1,
                              .beta1 = 0.5,
                              .beta2 = 0.5,
                              .eps = 1,
                              .step = step,
                              .rounding =
                                  mr_random_stream(3, MR_RANDOM_ROUNDING, (uint64_t)step << 24)};
        MR_LAB_RUN(lab, adamw, &args, 1);
        const double *m = mr_lab_copy(lab, mr_lab_download(lab, args.m), COUNT);
        const double *v = mr_lab_download(lab, args.v);
        for (int64_t i = 0; i < COUNT; i++) {
            assert_true(m[i] == 1 || m[i] == 1 + 0x1p-7);
            assert_true(v[i] == 2 || v[i] == 2 * (1 + 0x1p-7));
            ups += m[i] > 1;
            both += m[i] > 1 && v[i] > 2;
        }
        mr_lab_clear(lab);
        gradients = mr_lab_zeros(lab, COUNT);
        for (int64_t i = 0; i < COUNT; i++)
            gradients[i] = 2 * (1 + 0x1p-9);
    }
    assert_true(fabs(ups - 0.25 * COUNT * STEPS) < 4 * sure);
    /* v lies half a unit above 2, and is rounded by other bits. */
    assert_true(fabs(both - 0.125 * COUNT * STEPS) < 4 * sure);
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
        n[k] = i == 0 ? 1 : mr_lab_extent(lab, 1, 3000);
        double *g = multiples(lab, n[k], 2000, 1.0 / 64);
        w[k] = multiples(lab, n[k], 255, 1.0 / 64);
        m[k] = multiples(lab, n[k], 255, 1.0 / 64);
        v[k] = multiples(lab, n[k], 255, 1.0 / 64);
        for (int64_t e = 0; e < n[k]; e++)
            v[k][e] = fabs(v[k][e]);
        args[k] = (mr_adamw_args){.weight = mr_lab_upload_as(lab, MR_BF16, w[k], 1, n[k], 0),
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
                                  .first = i < 4 ? i : mr_lab_extent(lab, 0, 1000)};
        if (k > 0) args[k].copy = mr_lab_poison(lab, MR_F32, 1, n[k], 0);
        for (int64_t e = 0; e < n[k]; e++) {
            const uint64_t at = (uint64_t)(args[k].first + e);
            const uint32_t counter[4] = {(uint32_t)(at / 2), 0, args[k].rounding.stream[0],
                                         args[k].rounding.stream[1]};
            uint32_t words[4];
            mr_philox(args[k].rounding.key, counter, words);
            m[k][e] = m[k][e] / 2 + g[e] / 4;
            v[k][e] = v[k][e] / 2 + g[e] * g[e] / 8;
            w[k][e] = rounded(w[k][e] - m[k][e], words[0] >> 16 * (at % 2));
            m[k][e] = rounded(m[k][e], words[1] >> 16 * (at % 2));
            v[k][e] = rounded(v[k][e], words[2] >> 16 * (at % 2));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        MR_LAB_TEST(copy_moves_every_dtype_between_any_strides),
        MR_LAB_TEST(convert_rounds_to_the_nearest_and_to_even_of_two),
        MR_LAB_TEST(convert_stays_inside_strided_views),
        MR_LAB_TEST(nonzero_elements_are_counted),
        MR_LAB_TEST(a_digest_is_that_of_bits_and_places),
        cmocka_unit_test(a_stochastic_rounding_is_right_on_average),
        MR_LAB_TEST(what_the_optimizer_keeps_is_right_on_average),
        MR_LAB_TEST(the_optimizer_rounds_what_it_keeps_by_its_random_bits),
    };
    return cmocka_run_group_tests_name("backend types", tests, NULL, NULL);
}
