/* Operations on matrices that have zeros behind their rows, and numbers of others below: results
 * are as without, and all that is not theirs stays as it was. On a device, in BF16, products are
 * large enough to take both in. MORA_BACKEND names the backend (cpu). */
#include "reference.h"
#include "test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EVEN = 8, BELOW = 7 };

/* A matrix in the midst of others. */
typedef struct framed {
    mr_tensor t, whole; /* with what is behind and below */
    double *values;     /* of the whole */
} framed;

static framed frame(mr_lab *lab, mr_dtype dtype, int64_t rows, int64_t cols, bool behind,
                    bool below)
{
    const int64_t wide = behind ? (cols + EVEN - 1) / EVEN * EVEN + EVEN : cols;
    const int64_t high = below ? rows + BELOW : rows;
    framed f = {.values = mr_lab_normals(lab, high * wide)};
    for (int64_t k = 0; k < high * wide; k++) {
        f.values[k] = rint(256 * fmod(f.values[k], 1)) / 256; /* which BF16 holds */
        if (k / wide < rows && k % wide >= cols) f.values[k] = 0;
    }
    f.whole = f.t = mr_lab_upload_as(lab, dtype, f.values, high, wide, 0);
    f.t.rows = rows;
    f.t.cols = cols;
    f.t.spare = wide - cols;
    f.t.below = high - rows;
    return f;
}

/* Fails unless all that is not the matrix's own, or all of it, is as it was, to the bit. */
static void expect_kept(mr_lab *lab, const framed *f, bool all, const char *what)
{
    const double *got = mr_lab_download(lab, f->whole);
    for (int64_t k = 0; k < mr_tensor_count(f->whole); k++) {
        const int64_t row = k / f->whole.cols, col = k % f->whole.cols;
        const bool own = row < f->t.rows && col < f->t.cols;
        if ((all || !own) && !(got[k] == f->values[k]))
            fail_msg("%s: element %lld of row %lld of [%lld, %lld] is %.9g and was %.9g", what,
                     (long long)col, (long long)row, (long long)f->t.rows, (long long)f->t.cols,
                     got[k], f->values[k]);
    }
}

/* Rows that are compared: of many the first, the last, and some between, as the others are of the
 * same tiles. */
static bool is_compared(int64_t row, int64_t rows)
{
    return rows <= 128 || row < 9 || row >= rows - 9 || row % 61 == 0;
}

/* Fails unless rows that are compared are as want tells of the whole, and what is not its own as it
 * was. */
static void expect(mr_lab *lab, mr_bound bound, const framed *f, const double *want,
                   const char *what)
{
    for (int64_t i = 0; i < f->t.rows; i++)
        if (is_compared(i, f->t.rows))
            mr_lab_expect(
                lab, bound,
                mr_tensor_reshape(mr_tensor_cols(mr_tensor_rows(f->whole, i, 1), 0, f->t.cols), 1,
                                  f->t.cols),
                want + i * f->whole.cols, "%s, row %d", what, (int)i);
    expect_kept(lab, f, false, what);
}

enum { M = 1, N = 2, K = 4, A = 1, B = 2, C = 4, ALL = 7 };

static const struct product {
    const char *name;
    bool ta, tb;
    int odd;           /* extents */
    int behind, below; /* matrices that have zeros, or numbers, there */
    bool full;         /* c is F32 */
    float beta;
} products[] = {
    {"gate", false, true, N, C, B, false, 0},
    {"gate, added", false, true, N, C, B, false, 1},
    {"gate's input", false, false, K, A, B, false, 1},
    {"gate's weight", true, false, M, A, C, true, 0},
    {"gate's weight, added", true, false, M, A, C, true, 1},
    {"down", false, true, K, A, 0, false, 0},
    {"down's input", false, false, N, C, 0, false, 0},
    {"down's weight", true, false, N, B, 0, true, -0.5f},
    {"all odd", false, false, ALL, ALL, ALL, false, 1},
    {"all odd, a turned", true, false, ALL, ALL, ALL, true, 1},
    {"all odd, b turned", false, true, ALL, ALL, ALL, true, 0},
    {"all odd, both turned", true, true, ALL, ALL, ALL, false, 0},
    {"all odd and bare", true, true, ALL, 0, 0, true, 1},
};

static void multiply(mr_lab *lab, const struct product *p, int64_t m, int64_t n, int64_t k)
{
    const framed a =
        frame(lab, lab->dtype, p->ta ? k : m, p->ta ? m : k, p->behind & A, p->below & A);
    const framed b =
        frame(lab, lab->dtype, p->tb ? n : k, p->tb ? k : n, p->behind & B, p->below & B);
    const framed c = frame(lab, p->full ? MR_F32 : lab->dtype, m, n, p->behind & C, p->below & C);
    double *row = mr_lab_zeros(lab, k), *bare = mr_lab_zeros(lab, n * k);
    double *want = mr_lab_copy(lab, c.values, mr_tensor_count(c.whole));
    MR_LAB_RUN(lab, gemm, p->ta, p->tb, 0.5f, a.t, b.t, p->beta, c.t);
    for (int64_t i = 0; i < b.t.rows; i++)
        memcpy(bare + i * b.t.cols, b.values + i * b.whole.cols, (size_t)b.t.cols * sizeof *bare);
    for (int64_t i = 0; i < m; i++) {
        if (!is_compared(i, m)) continue;
        for (int64_t l = 0; l < k; l++)
            row[l] = a.values[p->ta ? l * a.whole.cols + i : i * a.whole.cols + l];
        mr_reference_gemm(false, p->tb, 0.5, row, bare, (double)p->beta, want + i * c.whole.cols, 1,
                          n, k);
    }
    expect(lab, MR_BOUND_SUMMED, &c, want, p->name);
    expect_kept(lab, &a, true, p->name);
    expect_kept(lab, &b, true, p->name);
}

static void products_take_in_what_counts_for_nothing(void **state)
{
    mr_lab *lab = *state;
    const int64_t size = lab->dtype == MR_BF16 ? 1024 : 64;
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        const struct product *p = &products[i];
        multiply(lab, p, p->odd & M ? size + 5 : size, p->odd & N ? size + 3 : size,
                 p->odd & K ? size + 1 : size);
        mr_lab_clear(lab);
    }
}

/* As an update's are from what it has compressed. */
static void products_of_few_terms_leave_alone_what_is_not_theirs(void **state)
{
    mr_lab *lab = *state;
    static const int64_t extents[][2] = {{1, 8}, {16, 64}, {77, 520}, {100, 37}, {300, 1032}};
    for (int64_t k = 4; k <= 40; k += 4)
        for (int i = 0; i < 10; i++) {
            const bool around = k % 16 == 8 || i % 3 == 0;
            const struct product p = {.name = i % 2 ? "few terms, b turned" : "few terms",
                                      .tb = i % 2,
                                      .behind = around ? ALL : 0,
                                      .below = around ? ALL : 0,
                                      .beta = i == 3 ? 1 : 0};
            multiply(lab, &p, extents[i / 2][0], extents[i / 2][1], k);
            mr_lab_clear(lab);
        }
}

static void swiglu_leaves_zeros_behind_rows(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < 16; i++) {
        const int64_t rows = mr_lab_extent(lab, 1, 70), cols = mr_lab_extent(lab, 1, 300);
        const bool all = i % 4 != 3; /* have zeros behind */
        framed gate = frame(lab, lab->dtype, rows, cols, true, false);
        framed up = frame(lab, lab->dtype, rows, cols, all, false);
        framed y = frame(lab, lab->dtype, rows, cols, true, false);
        double *want = mr_lab_copy(lab, y.values, mr_tensor_count(y.whole));
        double *d_gate = mr_lab_copy(lab, gate.values, mr_tensor_count(gate.whole));
        double *d_up = mr_lab_copy(lab, up.values, mr_tensor_count(up.whole));
        for (int64_t k = 0; k < rows * cols; k++) {
            const int64_t row = k / cols, col = k % cols;
            const int64_t at = row * gate.whole.cols + col, at_up = row * up.whole.cols + col;
            const double g = gate.values[at], u = up.values[at_up], s = 1 / (1 + exp(-g));
            const double d = y.values[at];
            want[at] = g * s * u;
            d_gate[at] = d * u * s * (1 + g * (1 - s));
            d_up[at_up] = d * g * s;
        }
        if (i % 2) {
            MR_LAB_RUN(lab, swiglu_forward, y.t, gate.t, up.t);
            expect(lab, MR_BOUND_ROUNDED, &y, want, "y");
        } else {
            MR_LAB_RUN(lab, swiglu_backward, gate.t, up.t, y.t, gate.t, up.t);
            expect(lab, MR_BOUND_ROUNDED, &gate, d_gate, "dgate");
            expect(lab, MR_BOUND_ROUNDED, &up, d_up, "dup");
        }
        mr_lab_clear(lab);
    }
}

/* Parts of a matrix have neither, and of two that follow one another what is below the second. */
static void parts_have_nothing_behind_or_below(void **state)
{
    (void)state;
    mr_tensor t = mr_tensor_of(NULL, MR_F32, 24, 4, 12);
    t.below = 3;
    mr_tensor next = mr_tensor_of(NULL, MR_F32, 72, 2, 12);
    next.below = 1;
    const mr_tensor both = mr_tensor_stack(t, next);
    assert_int_equal(both.rows, 6);
    assert_int_equal(both.below, 1);
    t.cols = 9;
    t.spare = 3;
    assert_int_equal(mr_tensor_rows(t, 0, 4).below, 0);
    assert_int_equal(mr_tensor_rows(t, 0, 4).spare, 3);
    assert_int_equal(mr_tensor_cols(t, 0, 9).below, 0);
    assert_int_equal(mr_tensor_cols(t, 0, 9).spare, 0);
    assert_int_equal(mr_tensor_reshape(next, 1, 24).below, 0);
}

static int setup(mr_dtype dtype, void **state)
{
    if (mr_lab_setup(state) != 0) return -1;
    mr_lab *lab = *state;
    lab->dtype = dtype;
    return 0;
}

static int setup_full(void **state)
{
    return setup(MR_F32, state);
}

static int setup_half(void **state)
{
    return setup(MR_BF16, state);
}

#define TEST(function, type)                                                                       \
    {                                                                                              \
#function " " #type, function, setup_##type, mr_lab_teardown, NULL                         \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_have_nothing_behind_or_below),
        TEST(products_take_in_what_counts_for_nothing, full),
        TEST(products_of_few_terms_leave_alone_what_is_not_theirs, full),
        TEST(swiglu_leaves_zeros_behind_rows, full),
        TEST(products_take_in_what_counts_for_nothing, half),
        TEST(products_of_few_terms_leave_alone_what_is_not_theirs, half),
        TEST(swiglu_leaves_zeros_behind_rows, half),
    };
    mr_lab *lab = mr_lab_create(1, 1);
    const size_t count = lab->be->ops->computes(lab->be, MR_BF16) ? 7 : 4;
    mr_lab_destroy(&lab);
    return _cmocka_run_group_tests("spare", tests, count, NULL, NULL);
}
