#include "reference.h"
#include "test.h"

#include <inttypes.h>
#include <math.h>

/* The gradient of <cotangent, f(inputs)> that the backend gives is compared with central
 * differences of the reference f in double, over every input. Inputs are numbers F32 holds exactly,
 * so both sides differentiate at the same point. The maps of MoRA, being linear, are
 * compared with the reference in both directions here. */

enum {
    INPUTS = 3,
    CASES = 10,     /* random shapes an operation is tried on */
    DIRECTIONS = 4, /* random directions where there are too many inputs to move one by one */
};

/* What an objective is computed from: not every operation uses every field. */
typedef struct problem {
    double *in[INPUTS];
    double *out;             /* room for f */
    const double *cotangent; /* of f, of count elements */
    int64_t count;
    int64_t rows, cols, inner;
    const int32_t *ids;
    mr_attention_shape shape;
    const int32_t *starts; /* of attention's segments, or NULL */
    mr_group_map map;
    bool rotate;
} problem;

/* Gives a problem's output room and a random cotangent. */
static void set_output(mr_lab *lab, problem *p, int64_t count)
{
    p->count = count;
    p->out = mr_lab_zeros(lab, count);
    p->cotangent = mr_lab_normals(lab, count);
}

static double *differences(mr_lab *lab, problem *p, int input, int64_t count,
                           double (*objective)(const void *))
{
    double *gradient = mr_lab_zeros(lab, count);
    mr_reference_differences(gradient, p->in[input], count, objective, p);
    return gradient;
}

/* start + gradient, for operations that add to what is there. */
static double *added(mr_lab *lab, const double *start, const double *gradient, int64_t count)
{
    double *sum = mr_lab_copy(lab, start, count);
    for (int64_t i = 0; i < count; i++)
        sum[i] += gradient[i];
    return sum;
}

/* in[0] x [rows, inner], in[1] w [cols, inner]: y = x w^T. */
static double linear_objective(const void *problem_)
{
    const problem *p = problem_;
    mr_reference_gemm(false, true, 1, p->in[0], p->in[1], 0, p->out, p->rows, p->cols, p->inner);
    return mr_reference_dot(p->cotangent, p->out, p->count);
}

static void gemm_gives_the_gradients_of_a_linear_layer(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        problem p = {.rows = i == 0 ? 1 : mr_lab_extent(lab, 1, 20),
                     .cols = i == 1 ? 1 : mr_lab_extent(lab, 1, 20),
                     .inner = i == 2 ? 1 : mr_lab_extent(lab, 1, 20)};
        int64_t x_count = p.rows * p.inner, w_count = p.cols * p.inner;
        p.in[0] = mr_lab_normals(lab, x_count);
        p.in[1] = mr_lab_normals(lab, w_count);
        set_output(lab, &p, p.rows * p.cols);
        double *dx = differences(lab, &p, 0, x_count, linear_objective);
        double *dw = differences(lab, &p, 1, w_count, linear_objective);
        double *start = mr_lab_normals(lab, x_count);
        mr_tensor x = mr_lab_upload(lab, p.in[0], p.rows, p.inner, 0);
        mr_tensor w = mr_lab_upload(lab, p.in[1], p.cols, p.inner, 0);
        mr_tensor dy = mr_lab_upload(lab, p.cotangent, p.rows, p.cols, i % 3);
        mr_tensor tdx = mr_lab_upload(lab, start, p.rows, p.inner, 0);
        mr_tensor tdw = mr_lab_poison(lab, MR_F32, p.cols, p.inner, 0);
        MR_LAB_RUN(lab, gemm, false, false, 1, dy, w, 1, tdx);
        MR_LAB_RUN(lab, gemm, true, false, 1, dy, x, 0, tdw);
        mr_lab_expect(lab, MR_BOUND_GRADIENT, tdx, added(lab, start, dx, x_count), "dx, case %d",
                      i);
        mr_lab_expect(lab, MR_BOUND_GRADIENT, tdw, dw, "dw, case %d", i);
        mr_lab_clear(lab);
    }
}

static const double EPS = 1e-5;

/* in[0] x [rows, cols], in[1] w [cols]. */
static double rmsnorm_objective(const void *problem_)
{
    const problem *p = problem_;
    mr_reference_rmsnorm(p->out, NULL, p->in[0], p->in[1], EPS, p->rows, p->cols);
    return mr_reference_dot(p->cotangent, p->out, p->count);
}

static void rmsnorm_case(mr_lab *lab, int64_t rows, int64_t cols, bool with_weight)
{
    int64_t count = rows * cols;
    problem p = {.rows = rows, .cols = cols};
    p.in[0] = mr_lab_normals(lab, count);
    p.in[1] = mr_lab_normals(lab, cols);
    set_output(lab, &p, count);
    double *dx = differences(lab, &p, 0, count, rmsnorm_objective);
    double *dw = differences(lab, &p, 1, cols, rmsnorm_objective);
    double *start = mr_lab_normals(lab, count);
    mr_tensor x = mr_lab_upload(lab, p.in[0], rows, cols, 0);
    mr_tensor w = mr_lab_upload(lab, p.in[1], 1, cols, 0);
    mr_tensor dy = mr_lab_upload(lab, p.cotangent, rows, cols, 0);
    mr_tensor y = mr_lab_poison(lab, MR_F32, rows, cols, 0);
    mr_tensor rstd = mr_lab_poison(lab, MR_F32, 1, rows, 0);
    mr_tensor tdx = mr_lab_upload(lab, start, rows, cols, 0), tdw = {0};
    if (with_weight) tdw = mr_lab_poison(lab, MR_F32, 1, cols, 0);
    MR_LAB_RUN(lab, rmsnorm_forward, y, rstd, (mr_tensor){0}, x, (mr_tensor){0}, w, EPS);
    MR_LAB_RUN(lab, rmsnorm_backward, tdx, tdw, dy, x, rstd, w);
    mr_lab_expect(lab, MR_BOUND_GRADIENT, tdx, added(lab, start, dx, count),
                  "dx [%" PRId64 ", %" PRId64 "]", rows, cols);
    if (with_weight)
        mr_lab_expect(lab, MR_BOUND_GRADIENT, tdw, dw, "dw [%" PRId64 ", %" PRId64 "]", rows, cols);
    mr_lab_clear(lab);
}

static void rmsnorm_gradients_match_the_differences(void **state)
{
    mr_lab *lab = *state;
    rmsnorm_case(lab, 1, 2, true);
    rmsnorm_case(lab, 1, 67, true);
    rmsnorm_case(lab, 67, 1, true);
    for (int i = 0; i < CASES; i++)
        rmsnorm_case(lab, mr_lab_extent(lab, 1, 15), mr_lab_extent(lab, 2, 30), i % 2);
}

/* Many rows, so that several threads sum dw: dw [c] = sum of dy x rstd. */
static void rmsnorm_sums_the_weight_gradient_over_many_rows(void **state)
{
    mr_lab *lab = *state;
    int64_t rows = 701, cols = 93, count = rows * cols;
    problem p = {.rows = rows, .cols = cols};
    p.in[0] = mr_lab_normals(lab, count);
    p.in[1] = mr_lab_normals(lab, cols);
    set_output(lab, &p, count);
    double *dw = differences(lab, &p, 1, cols, rmsnorm_objective);
    double *zeros = mr_lab_zeros(lab, count);
    mr_tensor x = mr_lab_upload(lab, p.in[0], rows, cols, 0);
    mr_tensor w = mr_lab_upload(lab, p.in[1], 1, cols, 0);
    mr_tensor y = mr_lab_poison(lab, MR_F32, rows, cols, 0);
    mr_tensor rstd = mr_lab_poison(lab, MR_F32, 1, rows, 0);
    mr_tensor tdx = mr_lab_upload(lab, zeros, rows, cols, 0);
    mr_tensor tdw = mr_lab_poison(lab, MR_F32, 1, cols, 0);
    MR_LAB_RUN(lab, rmsnorm_forward, y, rstd, (mr_tensor){0}, x, (mr_tensor){0}, w, EPS);
    MR_LAB_RUN(lab, rmsnorm_backward, tdx, tdw, mr_lab_upload(lab, p.cotangent, rows, cols, 0), x,
               rstd, w);
    mr_lab_expect(lab, MR_BOUND_GRADIENT, tdw, dw, "dw of 701 rows");
    double *dx = mr_lab_download(lab, tdx);
    for (int d = 0; d < DIRECTIONS; d++) {
        double *direction = mr_lab_normals(lab, count);
        double want = mr_reference_slope(direction, p.in[0], count, rmsnorm_objective, &p);
        double off = fabs(mr_reference_dot(dx, direction, count) - want);
        if (!(off <= 1e-5 * sqrt(mr_reference_dot(dx, dx, count))))
            fail_msg("slope %d of 701 rows is %.3g off %.6g", d, off, want);
    }
}

/* in[0] x [rows, cols], heads of inner. */
static double rope_objective(const void *problem_)
{
    const problem *p = problem_;
    mr_reference_rope(p->out, p->in[0], p->ids, p->rows, p->cols, p->inner);
    return mr_reference_dot(p->cotangent, p->out, p->count);
}

static void inverse_rope_gives_the_gradient_of_rope(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        problem p = {.rows = i == 0 ? 1 : mr_lab_extent(lab, 1, 12),
                     .inner = 2 * mr_lab_extent(lab, 1, 8)};
        p.cols = p.inner * (i == 1 ? 1 : mr_lab_extent(lab, 1, 4));
        p.ids = mr_lab_ids(lab, p.rows, 200);
        int64_t count = p.rows * p.cols;
        p.in[0] = mr_lab_normals(lab, count);
        set_output(lab, &p, count);
        double *dx = differences(lab, &p, 0, count, rope_objective);
        mr_tensor cosine, sine, t = mr_lab_upload(lab, p.cotangent, p.rows, p.cols, 0);
        mr_lab_angles(lab, 200, p.inner, &cosine, &sine);
        MR_LAB_RUN(lab, rope, t, cosine, sine, mr_lab_upload_ids(lab, p.ids, p.rows), p.inner,
                   true);
        mr_lab_expect(lab, MR_BOUND_GRADIENT, t, dx, "dx, case %d", i);
        mr_lab_clear(lab);
    }
}

/* in[0] q, in[1] k, in[2] v. */
static double attention_objective(const void *problem_)
{
    const problem *p = problem_;
    mr_reference_attention(p->out, NULL, p->in[0], p->in[1], p->in[2], p->starts, p->shape);
    return mr_reference_dot(p->cotangent, p->out, p->count);
}

/* A random problem of attention, and the backend's gradients of q, k, v. */
static void attention_gradients(mr_lab *lab, problem *p, double *gradients[INPUTS],
                                int64_t counts[INPUTS])
{
    int64_t rows = p->shape.batch * p->shape.tokens;
    int64_t cols[INPUTS] = {p->shape.heads * p->shape.head_size,
                            p->shape.kv_heads * p->shape.head_size,
                            p->shape.kv_heads * p->shape.head_size};
    mr_tensor in[INPUTS], out[INPUTS];
    for (int i = 0; i < INPUTS; i++) {
        counts[i] = rows * cols[i];
        p->in[i] = mr_lab_normals(lab, counts[i]);
        in[i] = mr_lab_upload(lab, p->in[i], rows, cols[i], 0);
        out[i] = mr_lab_poison(lab, MR_F32, rows, cols[i], 0);
    }
    set_output(lab, p, counts[0]);
    mr_attention_args args = {
        .shape = p->shape,
        .q = in[0],
        .k = in[1],
        .v = in[2],
        .o = mr_lab_poison(lab, MR_F32, rows, cols[0], 0),
        .lse = mr_lab_poison(lab, MR_F32, p->shape.batch * p->shape.heads, p->shape.tokens, 0),
        .d_o = mr_lab_upload(lab, p->cotangent, rows, cols[0], 0),
        .d_q = out[0],
        .d_k = out[1],
        .d_v = out[2],
    };
    if (p->starts) args.starts = mr_lab_upload_ids(lab, p->starts, rows);
    MR_LAB_RUN(lab, attention_forward, &args);
    MR_LAB_RUN(lab, attention_backward, &args);
    for (int i = 0; i < INPUTS; i++)
        gradients[i] = mr_lab_download(lab, out[i]);
}

static void attention_gradients_match_the_differences(void **state)
{
    mr_lab *lab = *state;
    const mr_attention_shape shapes[] = {
        /* B, T, NH, NKV, HS */
        {1, 1, 1, 1, 2},
        {2, 5, 4, 2, 4},
        {1, 9, 6, 2, 8},
        {1, 13, 8, 1, 2},
        {3, 7, 1, 1, 6},
        {1, 3, 2, 1, 80},
        {2, 2, 4, 4, 2},
        {1, 66, 1, 1, 2},
        {1, 130, 2, 1, 2},
        /* in segments */
        {1, 2, 1, 1, 2},
        {2, 5, 4, 2, 4},
        {1, 9, 6, 2, 8},
        {3, 13, 8, 1, 2},
        {2, 66, 1, 1, 2},
        {1, 150, 2, 1, 2},
    };
    const int64_t longest[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 5, 9, 60};
    const char *const names[INPUTS] = {"d_q", "d_k", "d_v"};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        problem p = {.shape = shapes[s]};
        p.starts = mr_lab_starts(lab, p.shape, longest[s]);
        double *got[INPUTS];
        int64_t counts[INPUTS];
        attention_gradients(lab, &p, got, counts);
        for (int i = 0; i < INPUTS; i++) {
            double *want = differences(lab, &p, i, counts[i], attention_objective);
            /* With one key the softmax is 1 whatever q and k are: their gradient is 0, and what
             * remains is rounding. */
            if (shapes[s].tokens == 1 && i < 2) {
                assert_true(sqrt(mr_reference_dot(got[i], got[i], counts[i])) < 1e-5);
                continue;
            }
            mr_lab_expect_values(MR_BOUND_GRADIENT, got[i], want, counts[i], "%s, shape %zu",
                                 names[i], s);
        }
        mr_lab_clear(lab);
    }
}

static void attention_gradients_of_long_sequences_match_along_directions(void **state)
{
    mr_lab *lab = *state;
    const mr_attention_shape shapes[] = {
        {1, 64, 2, 2, 16},  {2, 127, 4, 2, 16}, {1, 128, 2, 1, 64},
        {1, 129, 6, 2, 8},  {1, 257, 2, 1, 80}, {1, 140, 2, 1, 128},
        {2, 127, 4, 2, 16}, {1, 257, 2, 1, 80}, {1, 400, 4, 2, 16}, /* in segments */
    };
    const int64_t longest[] = {0, 0, 0, 0, 0, 0, 20, 100, 300};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        problem p = {.shape = shapes[s]};
        p.starts = mr_lab_starts(lab, p.shape, longest[s]);
        double *got[INPUTS];
        int64_t counts[INPUTS];
        attention_gradients(lab, &p, got, counts);
        for (int i = 0; i < INPUTS; i++) {
            double norm = sqrt(mr_reference_dot(got[i], got[i], counts[i]));
            for (int d = 0; d < DIRECTIONS; d++) {
                double *direction = mr_lab_normals(lab, counts[i]);
                double want =
                    mr_reference_slope(direction, p.in[i], counts[i], attention_objective, &p);
                double off = fabs(mr_reference_dot(got[i], direction, counts[i]) - want);
                if (!(off <= 1e-5 * norm))
                    fail_msg("shape %zu, input %d: slope %.9g is %.3g off, gradient norm %.3g", s,
                             i, want, off, norm);
            }
        }
        mr_lab_clear(lab);
    }
}

/* in[0] gate, in[1] up. */
static double swiglu_objective(const void *problem_)
{
    const problem *p = problem_;
    mr_reference_swiglu(p->out, p->in[0], p->in[1], p->count);
    return mr_reference_dot(p->cotangent, p->out, p->count);
}

static void swiglu_gradients_match_the_differences_in_place_too(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t rows = mr_lab_extent(lab, 1, 12), cols = mr_lab_extent(lab, 1, 40);
        problem p = {0};
        p.in[0] = mr_lab_normals(lab, rows * cols);
        p.in[1] = mr_lab_normals(lab, rows * cols);
        set_output(lab, &p, rows * cols);
        double *dgate = differences(lab, &p, 0, p.count, swiglu_objective);
        double *dup = differences(lab, &p, 1, p.count, swiglu_objective);
        mr_tensor gate = mr_lab_upload(lab, p.in[0], rows, cols, 0);
        mr_tensor up = mr_lab_upload(lab, p.in[1], rows, cols, 0);
        mr_tensor tg = i % 2 ? gate : mr_lab_poison(lab, MR_F32, rows, cols, 0);
        mr_tensor tu = i % 3 ? up : mr_lab_poison(lab, MR_F32, rows, cols, 0);
        MR_LAB_RUN(lab, swiglu_backward, tg, tu, mr_lab_upload(lab, p.cotangent, rows, cols, 0),
                   gate, up);
        mr_lab_expect(lab, MR_BOUND_GRADIENT, tg, dgate, "dgate, case %d", i);
        mr_lab_expect(lab, MR_BOUND_GRADIENT, tu, dup, "dup, case %d", i);
        mr_lab_clear(lab);
    }
}

static void swiglu_gradients_of_huge_gates_are_finite(void **state)
{
    mr_lab *lab = *state;
    double gate[4] = {1e4, -1e4, 100, -100}, up[4] = {2, 2, 2, 2}, dy[4] = {3, 3, 3, 3};
    double dgate[4] = {6, 0, 6, 0}, dup[4] = {3e4, 0, 300, 0};
    mr_tensor tg = mr_lab_poison(lab, MR_F32, 1, 4, 0), tu = mr_lab_poison(lab, MR_F32, 1, 4, 0);
    MR_LAB_RUN(lab, swiglu_backward, tg, tu, mr_lab_upload(lab, dy, 1, 4, 0),
               mr_lab_upload(lab, gate, 1, 4, 0), mr_lab_upload(lab, up, 1, 4, 0));
    mr_lab_expect(lab, MR_BOUND_GRADIENT, tg, dgate, "dgate");
    mr_lab_expect(lab, MR_BOUND_GRADIENT, tu, dup, "dup");
}

/* in[0] table [inner, cols]. */
static double embedding_objective(const void *problem_)
{
    const problem *p = problem_;
    mr_reference_gather(p->out, p->in[0], p->ids, p->rows, p->cols);
    return mr_reference_dot(p->cotangent, p->out, p->count);
}

static void scatter_add_gives_the_gradient_of_an_embedding(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        problem p = {.rows = i == 0 ? 1 : mr_lab_extent(lab, 1, 30),
                     .cols = mr_lab_extent(lab, 1, 12),
                     .inner = mr_lab_extent(lab, 1, 15)};
        int64_t count = p.inner * p.cols;
        p.in[0] = mr_lab_normals(lab, count);
        p.ids = mr_lab_ids(lab, p.rows, p.inner);
        set_output(lab, &p, p.rows * p.cols);
        double *dw = differences(lab, &p, 0, count, embedding_objective);
        double *start = mr_lab_normals(lab, count);
        mr_tensor t = mr_lab_upload(lab, start, p.inner, p.cols, 0);
        MR_LAB_RUN(lab, scatter_add_rows, t, mr_lab_upload(lab, p.cotangent, p.rows, p.cols, 0),
                   mr_lab_upload_ids(lab, p.ids, p.rows));
        mr_lab_expect(lab, MR_BOUND_GRADIENT, t, added(lab, start, dw, count), "case %d", i);
        mr_lab_clear(lab);
    }
}

static void repeated_ids_are_added_in_their_order(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t vocab = mr_lab_extent(lab, 1, 9), cols = i % 2 ? 513 : mr_lab_extent(lab, 1, 70);
        int64_t rows = mr_lab_extent(lab, 20, 100);
        double *y = mr_lab_normals(lab, vocab * cols), *x = mr_lab_normals(lab, rows * cols);
        int32_t *ids = mr_lab_ids(lab, rows, vocab);
        mr_tensor ty = mr_lab_upload(lab, y, vocab, cols, 0);
        MR_LAB_RUN(lab, scatter_add_rows, ty, mr_lab_upload(lab, x, rows, cols, 0),
                   mr_lab_upload_ids(lab, ids, rows));
        for (int64_t n = 0; n < rows; n++)
            for (int64_t c = 0; c < cols; c++)
                y[ids[n] * cols + c] =
                    (double)((float)y[ids[n] * cols + c] + (float)x[n * cols + c]);
        mr_lab_expect(lab, MR_BOUND_EXACT, ty, y, "scatter_add, case %d", i);
    }
}

enum { SCALE_BITS = 3 }; /* losses are weighted by 2^-3 */

/* in[0] logits [rows, cols]; the sum of losses over 2^SCALE_BITS. */
static double loss_objective(const void *problem_)
{
    const problem *p = problem_;
    double sum = 0;
    mr_reference_cross_entropy(p->out, p->in[0], p->ids, p->rows, p->cols);
    for (int64_t i = 0; i < p->rows; i++)
        sum += p->out[i];
    return ldexp(sum, -SCALE_BITS);
}

static void cross_entropy_gradients_match_the_differences(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        problem p = {.rows = i == 0 ? 1 : mr_lab_extent(lab, 1, 12),
                     .cols = mr_lab_extent(lab, 2, 60)};
        int64_t count = p.rows * p.cols;
        int32_t *targets = mr_lab_ids(lab, p.rows, p.cols);
        for (int64_t n = 1; n < p.rows; n += 4)
            targets[n] = -1;
        p.ids = targets;
        p.in[0] = mr_lab_normals(lab, count);
        p.out = mr_lab_zeros(lab, p.rows);
        double *want = differences(lab, &p, 0, count, loss_objective);
        mr_tensor logits = mr_lab_upload(lab, p.in[0], p.rows, p.cols, 0);
        MR_LAB_RUN(lab, cross_entropy, logits, mr_lab_upload_ids(lab, targets, p.rows),
                   mr_lab_poison(lab, MR_F64, 1, p.rows, 0), true, ldexpf(1, -SCALE_BITS));
        mr_lab_expect(lab, MR_BOUND_GRADIENT, logits, want, "case %d", i);
        double *got = mr_lab_download(lab, logits);
        for (int64_t n = 1; n < p.rows; n += 4)
            for (int64_t c = 0; c < p.cols; c++)
                assert_true(got[n * p.cols + c] == 0);
        mr_lab_clear(lab);
    }
}

static void cross_entropy_stands_huge_logits(void **state)
{
    mr_lab *lab = *state;
    double logits[] = {1e4,        -1e4,  0,    /* */ -1e4, -1e4, -1e4,
                       /* */ 1e30, -1e30, 1e30, /* */ 0,    1e4,  0};
    int32_t targets[] = {1, 2, 1, 1};
    double want[4], probabilities[12] = {1, -1, 0, 0, 0, 0, 0.5, -1, 0.5, 0, 0, 0};
    for (int c = 0; c < 3; c++)
        probabilities[3 + c] = 1 / 3.0 - (c == 2);
    mr_reference_cross_entropy(want, logits, targets, 4, 3);
    mr_tensor t = mr_lab_upload(lab, logits, 4, 3, 0), ids = mr_lab_upload_ids(lab, targets, 4);
    mr_tensor losses = mr_lab_poison(lab, MR_F64, 1, 4, 0);
    MR_LAB_RUN(lab, cross_entropy, t, ids, losses, true, 1);
    double *got = mr_lab_download(lab, losses);
    for (int i = 0; i < 4; i++)
        if (!(fabs(got[i] - want[i]) <= 1e-6 * want[i]))
            fail_msg("row %d: loss %.9g, expected %.9g", i, got[i], want[i]);
    mr_lab_expect(lab, MR_BOUND_ROUNDED, t, probabilities, "gradient of huge logits");
}

/* The loss of a logit among others that are equal. */
static double loss_of(mr_lab *lab, mr_dtype dtype, int64_t vocab, int64_t at, double own,
                      double others)
{
    double *logits = mr_lab_zeros(lab, vocab);
    int32_t target = (int32_t)at;
    mr_tensor loss = mr_lab_poison(lab, MR_F64, 1, 1, 0);
    for (int64_t i = 0; i < vocab; i++)
        logits[i] = i == at ? own : others;
    lab->be->ops->upload(lab->be, loss, &(double){-1});
    MR_LAB_RUN(lab, cross_entropy, mr_lab_upload_as(lab, dtype, logits, 1, vocab, 0),
               mr_lab_upload_ids(lab, &target, 1), loss, false, 0);
    return *mr_lab_download(lab, loss);
}

/* As for attention: what diverged must be seen, wherever it stands; and what is excluded is. */
static void cross_entropy_tells_a_nan_from_minus_infinity(void **state)
{
    mr_lab *lab = *state;
    const int64_t sizes[] = {3, 1000, 40001};
    const mr_dtype dtypes[] = {MR_F32, MR_BF16};
    for (int i = 0; i < 18; i++) {
        const mr_dtype dtype = dtypes[i / 9];
        const int64_t vocab = sizes[i / 3 % 3], at = i % 3 * (vocab - 1) / 2;
        if (!lab->be->ops->computes(lab->be, dtype)) continue;
        if (!isnan(loss_of(lab, dtype, vocab, at, NAN, 0)) ||
            !isnan(loss_of(lab, dtype, vocab, at, 0, NAN)))
            fail_msg("NaN at logit %d of %d gives a number", (int)at, (int)vocab);
        assert_true(loss_of(lab, dtype, vocab, at, 0, -INFINITY) == 0);
        assert_true(loss_of(lab, dtype, vocab, at, -INFINITY, 0) == INFINITY);
        mr_lab_clear(lab);
    }
}

static void group_forward_case(mr_lab *lab, mr_group_map map, int64_t rows, int64_t n, int64_t gap)
{
    double *x = mr_lab_normals(lab, rows * n), *z = mr_lab_normals(lab, rows * map.groups);
    double *sums = mr_lab_zeros(lab, rows * map.groups), *spread = mr_lab_normals(lab, rows * n);
    mr_tensor ty = mr_lab_poison(lab, MR_F32, rows, map.groups, gap);
    mr_tensor to = mr_lab_upload(lab, spread, rows, n, gap);
    MR_LAB_RUN(lab, group_sum, ty, mr_lab_upload(lab, x, rows, n, 2 * gap), map);
    MR_LAB_RUN(lab, group_spread, to, mr_lab_upload(lab, z, rows, map.groups, 2 * gap), map);
    mr_reference_group_sum(sums, x, map, rows, n);
    mr_reference_group_spread(spread, z, map, rows, n);
    const char *kind = map.contiguous ? "contiguous" : "strided";
    mr_lab_expect(lab, MR_BOUND_SUMMED, ty, sums,
                  "%s sum, n %" PRId64 " groups %" PRId64 " length %" PRId64 " rows %" PRId64, kind,
                  n, map.groups, map.length, rows);
    mr_lab_expect(lab, MR_BOUND_ROUNDED, to, spread,
                  "%s spread, n %" PRId64 " groups %" PRId64 " length %" PRId64 " rows %" PRId64,
                  kind, n, map.groups, map.length, rows);
    mr_lab_clear(lab);
}

static void groups_match_their_maps_position_by_position(void **state)
{
    mr_lab *lab = *state;
    const int64_t shapes[][2] = {/* n, groups */
                                 {1, 1},   {1, 4},    {7, 1},    {12, 4},    {13, 4},   {15, 4},
                                 {9, 9},   {5, 8},    {5, 11},   {5, 16},    {64, 64},  {63, 64},
                                 {65, 64}, {300, 97}, {97, 300}, {1000, 33}, {768, 923}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        int64_t n = shapes[i][0], groups = shapes[i][1];
        int64_t padded = n + (groups - n % groups) % groups, cut = n < groups ? n : groups;
        for (int64_t rows = 1; rows <= 40; rows += 13) {
            for (int64_t gap = 0; gap <= 3; gap += 3) {
                group_forward_case(lab, (mr_group_map){true, groups, n}, rows, n, gap);
                group_forward_case(lab, (mr_group_map){false, groups, n}, rows, n, gap);
                group_forward_case(lab, (mr_group_map){false, groups, padded}, rows, n, gap);
                group_forward_case(lab, (mr_group_map){false, groups, cut}, rows, n, gap);
                /* Any other length: the end falls inside a group and a turn of the elements. */
                int64_t any = mr_lab_extent(lab, 1, 3 * n + 5);
                group_forward_case(lab, (mr_group_map){false, groups, any}, rows, n, gap);
            }
        }
    }
}

static double group_sum_objective(const void *problem_)
{
    const problem *p = problem_;
    mr_reference_group_sum(p->out, p->in[0], p->map, p->rows, p->cols);
    return mr_reference_dot(p->cotangent, p->out, p->count);
}

static double group_spread_objective(const void *problem_)
{
    const problem *p = problem_;
    memset(p->out, 0, (size_t)p->count * sizeof *p->out);
    mr_reference_group_spread(p->out, p->in[0], p->map, p->rows, p->cols);
    return mr_reference_dot(p->cotangent, p->out, p->count);
}

static void group_case(mr_lab *lab, mr_group_map map, int64_t rows, int64_t n)
{
    int64_t wide = rows * n, narrow = rows * map.groups;
    const char *kind = map.contiguous ? "contiguous" : "strided";
    problem compress = {.rows = rows, .cols = n, .map = map}, decompress = compress;
    compress.in[0] = mr_lab_normals(lab, wide);
    set_output(lab, &compress, narrow);
    decompress.in[0] = mr_lab_normals(lab, narrow);
    set_output(lab, &decompress, wide);
    double *dx = differences(lab, &compress, 0, wide, group_sum_objective);
    double *dz = differences(lab, &decompress, 0, narrow, group_spread_objective);
    double *start = mr_lab_normals(lab, wide);
    mr_tensor tx = mr_lab_upload(lab, start, rows, n, 2);
    mr_tensor tz = mr_lab_poison(lab, MR_F32, rows, map.groups, 1);
    MR_LAB_RUN(lab, group_spread, tx, mr_lab_upload(lab, compress.cotangent, rows, map.groups, 0),
               map);
    MR_LAB_RUN(lab, group_sum, tz, mr_lab_upload(lab, decompress.cotangent, rows, n, 0), map);
    mr_lab_expect(lab, MR_BOUND_GRADIENT, tx, added(lab, start, dx, wide),
                  "%s spread, n %" PRId64 " groups %" PRId64 " length %" PRId64, kind, n,
                  map.groups, map.length);
    mr_lab_expect(lab, MR_BOUND_GRADIENT, tz, dz,
                  "%s sum, n %" PRId64 " groups %" PRId64 " length %" PRId64, kind, n, map.groups,
                  map.length);
    mr_lab_clear(lab);
}

static void group_sum_and_spread_are_each_others_gradient(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < 4 * CASES; i++) {
        int64_t rows = i % 4 == 0 ? 1 : mr_lab_extent(lab, 2, 7), n = mr_lab_extent(lab, 1, 40);
        /* Any number of groups, as many as elements, and more: up to several turns of padding. */
        int64_t groups = i % 5 == 0   ? n
                         : i % 5 == 1 ? n + mr_lab_extent(lab, 1, 3 * n)
                                      : mr_lab_extent(lab, 1, n);
        int64_t padded = n + (groups - n % groups) % groups, cut = n < groups ? n : groups;
        group_case(lab, (mr_group_map){true, groups, n}, rows, n);
        group_case(lab, (mr_group_map){false, groups, n}, rows, n);
        group_case(lab, (mr_group_map){false, groups, padded}, rows, n);
        group_case(lab, (mr_group_map){false, groups, cut}, rows, n);
        group_case(lab, (mr_group_map){false, groups, mr_lab_extent(lab, 1, 3 * n + 5)}, rows, n);
    }
}

/* The whole update of a layer: delta = spread(M sum(x)), in[0] x [rows, cols], in[1] M. */
typedef struct layer {
    problem base;
    mr_group_map out_map;
    int64_t outputs;
    double *compressed, *mixed;
} layer;

static double layer_objective(const void *layer_)
{
    const layer *l = layer_;
    const problem *p = &l->base;
    int64_t side = p->map.groups;
    mr_reference_group_sum(l->compressed, p->in[0], p->map, p->rows, p->cols);
    mr_reference_gemm(false, true, 1, l->compressed, p->in[1], 0, l->mixed, p->rows, side, side);
    memset(p->out, 0, (size_t)p->count * sizeof *p->out);
    mr_reference_group_spread(p->out, l->mixed, l->out_map, p->rows, l->outputs);
    return mr_reference_dot(p->cotangent, p->out, p->count);
}

static void layer_case(mr_lab *lab, int64_t rows, int64_t in, int64_t out, int64_t side, int type)
{
    /* Types 1 to 4 of the published code: grouping of inputs, of outputs. */
    bool in_contiguous = type == 2 || type == 3, out_contiguous = type == 2 || type == 4;
    int64_t padded = in + (side - in % side) % side;
    layer l = {
        .base = {.rows = rows,
                 .cols = in,
                 .map = {in_contiguous, side, in_contiguous ? in : padded}},
        .out_map = {out_contiguous, side, out},
        .outputs = out,
        .compressed = mr_lab_zeros(lab, rows * side),
        .mixed = mr_lab_zeros(lab, rows * side),
    };
    problem *p = &l.base;
    p->in[0] = mr_lab_normals(lab, rows * in);
    p->in[1] = mr_lab_normals(lab, side * side);
    set_output(lab, p, rows * out);
    double *dx = mr_lab_zeros(lab, rows * in), *dm = mr_lab_zeros(lab, side * side);
    mr_reference_differences(dx, p->in[0], rows * in, layer_objective, &l);
    mr_reference_differences(dm, p->in[1], side * side, layer_objective, &l);

    mr_tensor x = mr_lab_upload(lab, p->in[0], rows, in, 0);
    mr_tensor m = mr_lab_upload(lab, p->in[1], side, side, 0);
    mr_tensor y = mr_lab_poison(lab, MR_F32, rows, side, 0);
    mr_tensor gz = mr_lab_poison(lab, MR_F32, rows, side, 0);
    mr_tensor u = mr_lab_poison(lab, MR_F32, rows, side, 0);
    mr_tensor tdm = mr_lab_poison(lab, MR_F32, side, side, 0);
    mr_tensor tdx = mr_lab_upload(lab, mr_lab_zeros(lab, rows * in), rows, in, 0);
    MR_LAB_RUN(lab, group_sum, y, x, p->map);
    MR_LAB_RUN(lab, group_sum, gz, mr_lab_upload(lab, p->cotangent, rows, out, 0), l.out_map);
    MR_LAB_RUN(lab, gemm, true, false, 1, gz, y, 0, tdm);
    MR_LAB_RUN(lab, gemm, false, false, 1, gz, m, 0, u);
    MR_LAB_RUN(lab, group_spread, tdx, u, p->map);
    mr_lab_expect(lab, MR_BOUND_GRADIENT, tdm, dm,
                  "dM, type %d, %" PRId64 " -> %" PRId64 ", r_hat %" PRId64, type, in, out, side);
    mr_lab_expect(lab, MR_BOUND_GRADIENT, tdx, dx,
                  "dx, type %d, %" PRId64 " -> %" PRId64 ", r_hat %" PRId64, type, in, out, side);
    mr_lab_clear(lab);
}

static void a_grouped_square_matrix_gets_its_gradients_in_ragged_shapes(void **state)
{
    mr_lab *lab = *state;
    const int64_t shapes[][4] = {/* rows, in, out, r_hat */
                                 {3, 12, 8, 4}, {1, 13, 9, 4}, {2, 7, 5, 7},
                                 {2, 5, 14, 8}, {3, 6, 4, 9},  {1, 1, 1, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int type = 1; type <= 4; type++)
            layer_case(lab, shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], type);
}

static void block_forward_case(mr_lab *lab, int64_t rows, int64_t n, int64_t blocks, int64_t width,
                               bool rotate)
{
    int64_t length = blocks * width;
    double *x = mr_lab_normals(lab, rows * n), *y = mr_lab_zeros(lab, rows * length);
    mr_tensor cosine = {0}, sine = {0};
    if (rotate) mr_lab_angles(lab, blocks, width, &cosine, &sine);
    mr_tensor ty = mr_lab_poison(lab, MR_F32, rows, length, 2);
    MR_LAB_RUN(lab, block_rotate, ty, mr_lab_upload(lab, x, rows, n, 3), width, rotate, cosine,
               sine);
    mr_reference_block_rotate(y, x, rows, n, blocks, width, rotate);
    mr_lab_expect(lab, rotate ? MR_BOUND_ROUNDED : MR_BOUND_EXACT, ty, y,
                  "rows %" PRId64 " n %" PRId64 " blocks %" PRId64 " width %" PRId64 " rotate %d",
                  rows, n, blocks, width, rotate);
    mr_lab_clear(lab);
}

static void blocks_are_rotated_by_their_position(void **state)
{
    mr_lab *lab = *state;
    const int64_t shapes[][2] = {/* n, width */ {1, 2},
                                 {2, 2},
                                 {12, 4},
                                 {13, 4},
                                 {5, 8},
                                 {3, 8},
                                 {64, 16},
                                 {70, 16},
                                 {300, 98},
                                 {97, 300},
                                 {768, 28}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        int64_t n = shapes[i][0], width = shapes[i][1], blocks = (n + width - 1) / width;
        for (int64_t rows = 1; rows <= 60; rows += 29) {
            block_forward_case(lab, rows, n, blocks, width, true);
            block_forward_case(lab, rows, n, blocks + 1, width, true);
            block_forward_case(lab, rows, n, blocks, width, false);
            block_forward_case(lab, rows, n, 1, width, true);
            /* An odd width is allowed where nothing turns. */
            block_forward_case(lab, rows, n, n / (width - 1) + 1, width - 1, false);
        }
    }
}

/* in[0] x [rows, cols], blocks of width inner. */
static double block_objective(const void *problem_)
{
    const problem *p = problem_;
    mr_reference_block_rotate(p->out, p->in[0], p->rows, p->cols, p->count / p->rows / p->inner,
                              p->inner, p->rotate);
    return mr_reference_dot(p->cotangent, p->out, p->count);
}

static void block_case(mr_lab *lab, int64_t rows, int64_t n, int64_t blocks, int64_t width,
                       bool rotate)
{
    problem p = {.rows = rows, .cols = n, .inner = width, .rotate = rotate};
    p.in[0] = mr_lab_normals(lab, rows * n);
    set_output(lab, &p, rows * blocks * width);
    double *dx = differences(lab, &p, 0, rows * n, block_objective);
    double *start = mr_lab_normals(lab, rows * n);
    mr_tensor cosine = {0}, sine = {0}, t = mr_lab_upload(lab, start, rows, n, 2);
    if (rotate) mr_lab_angles(lab, blocks, width, &cosine, &sine);
    MR_LAB_RUN(lab, block_rotate_adjoint, t,
               mr_lab_upload(lab, p.cotangent, rows, blocks * width, 1), width, rotate, cosine,
               sine);
    mr_lab_expect(lab, MR_BOUND_GRADIENT, t, added(lab, start, dx, rows * n),
                  "rows %" PRId64 " n %" PRId64 " blocks %" PRId64 " width %" PRId64 " rotate %d",
                  rows, n, blocks, width, rotate);
    mr_lab_clear(lab);
}

static void block_rotate_adjoint_gives_the_gradient(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < 4 * CASES; i++) {
        int64_t rows = i % 4 == 0 ? 1 : mr_lab_extent(lab, 2, 6), n = mr_lab_extent(lab, 1, 40);
        /* Also wider than x, where one block wraps around several times. */
        int64_t width = 2 * mr_lab_extent(lab, 1, i % 3 == 0 ? n + 5 : 1 + n / 2);
        int64_t blocks = (n + width - 1) / width;
        block_case(lab, rows, n, blocks, width, true);
        block_case(lab, rows, n, blocks, width, false);
        block_case(lab, rows, n, blocks + 1, width, true);
        block_case(lab, rows, n, 1, width, true);
        block_case(lab, rows, n, n / (width - 1) + 1, width - 1, false);
    }
}

static void dropout_is_its_own_adjoint(void **state)
{
    mr_lab *lab = *state;
    for (int i = 0; i < CASES; i++) {
        int64_t rows = i == 0 ? 1 : mr_lab_extent(lab, 1, 30), cols = mr_lab_extent(lab, 1, 50);
        int64_t count = rows * cols, first_row = mr_lab_extent(lab, 0, 1000);
        mr_random stream = mr_random_stream(3, MR_RANDOM_DROPOUT, (uint64_t)i);
        double *x = mr_lab_normals(lab, count), *y = mr_lab_normals(lab, count);
        mr_tensor dx = mr_lab_poison(lab, MR_F32, rows, cols, 1);
        mr_tensor dy = mr_lab_poison(lab, MR_F32, rows, cols, 0);
        MR_LAB_RUN(lab, dropout, dx, mr_lab_upload(lab, x, rows, cols, 2), 0, 0.3, stream,
                   first_row);
        MR_LAB_RUN(lab, dropout, dy, mr_lab_upload(lab, y, rows, cols, 0), 0, 0.3, stream,
                   first_row);
        double left = mr_reference_dot(mr_lab_download(lab, dx), y, count);
        double right = mr_reference_dot(x, mr_lab_download(lab, dy), count);
        double scale = sqrt(mr_reference_dot(x, x, count) * mr_reference_dot(y, y, count));
        if (!(fabs(left - right) <= 1e-6 * scale))
            fail_msg("case %d: <dropout(x), y> = %.9g, <x, dropout(y)> = %.9g", i, left, right);
        mr_lab_clear(lab);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MR_LAB_TEST(gemm_gives_the_gradients_of_a_linear_layer),
        MR_LAB_TEST(rmsnorm_gradients_match_the_differences),
        MR_LAB_TEST(rmsnorm_sums_the_weight_gradient_over_many_rows),
        MR_LAB_TEST(inverse_rope_gives_the_gradient_of_rope),
        MR_LAB_TEST(attention_gradients_match_the_differences),
        MR_LAB_TEST(attention_gradients_of_long_sequences_match_along_directions),
        MR_LAB_TEST(swiglu_gradients_match_the_differences_in_place_too),
        MR_LAB_TEST(swiglu_gradients_of_huge_gates_are_finite),
        MR_LAB_TEST(scatter_add_gives_the_gradient_of_an_embedding),
        MR_LAB_TEST(repeated_ids_are_added_in_their_order),
        MR_LAB_TEST(cross_entropy_gradients_match_the_differences),
        MR_LAB_TEST(cross_entropy_stands_huge_logits),
        MR_LAB_TEST(cross_entropy_tells_a_nan_from_minus_infinity),
        MR_LAB_TEST(groups_match_their_maps_position_by_position),
        MR_LAB_TEST(group_sum_and_spread_are_each_others_gradient),
        MR_LAB_TEST(a_grouped_square_matrix_gets_its_gradients_in_ragged_shapes),
        MR_LAB_TEST(blocks_are_rotated_by_their_position),
        MR_LAB_TEST(block_rotate_adjoint_gives_the_gradient),
        MR_LAB_TEST(dropout_is_its_own_adjoint),
    };
    return cmocka_run_group_tests_name("backend_gradients", tests, NULL, NULL);
}
