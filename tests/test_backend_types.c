/* Types of elements: moving, rounding, counting and naming them by their bits. */
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
    const mr_dtype dtypes[] = {MR_F32, MR_BF16, MR_F64, MR_I32};
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        for (int64_t gaps = 0; gaps < 4; gaps++) {
            int64_t rows = mr_lab_extent(lab, 1, 40), cols = mr_lab_extent(lab, 1, 40);
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
    };
    return cmocka_run_group_tests_name("backend types", tests, NULL, NULL);
}
