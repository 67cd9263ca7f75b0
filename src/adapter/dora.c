/* DoRA: W' = diag(m / n) V with V = W0 + (lora_alpha / r) B A, n the lengths of the rows of V and m
 * [1, O] trained, so that length and direction of a row are learnt apart.
 *
 * Source: Liu et al. 2024 (arXiv 2402.09353) Eq. 5, n a constant in the backward pass as in its
 * section 4.3; with dropout W' x as PEFT computes it, only the updates of W0 seeing the masked x.
 * Deviation: without dropout the two products with W0 are one. n is computed once a step, from
 * n_i^2 = |W0_i|^2 + H_i B_i with H = 2 s W0 A^T + s^2 B A A^T, so that V is never formed, and
 * |W0_i|^2 once (arXiv 2603.22276). A row of V of length 0 gives a row 0 of W'; the published code
 * divides by it. */

#include "adapter/lora.h"

#include <math.h>

enum { A = MR_LORA_A, B = MR_LORA_B, MAGNITUDE = 2 };

static const mr_tensor none; /* where an operation may go without one */

enum { MIXED = 1 << 16 }; /* elements of H that are there at once: whatever else, its bits stay */

/* Factors of the columns of a linear's output, [1, O] each. */
typedef struct dora_factors {
    mr_tensor inverse; /* 1 / n */
    mr_tensor ratio;   /* m / n */
    mr_tensor gain;    /* m / n - 1 */
} dora_factors;

typedef struct dora_state {
    int64_t outputs, most; /* of all linears, and of one at most */
    int64_t mixed_rows;
    mr_tensor memory; /* of all factors, owned */
    dora_factors factors[MR_SITE_LINEARS];
    mr_tensor base_squares[MR_SITE_LINEARS]; /* F64 [1, O]: |W0_i|^2, parts of the first, owned */
    bool measured;                           /* they are there */
    mr_tensor gram;  /* A A^T [linears r, linears r], of which blocks of a linear count, owned */
    mr_tensor mixed; /* some rows of H [.., r], owned */
} dora_state;

/* Columns before a linear's in what has one for every output. */
static int64_t outputs_before(const mr_adapter *a, int linear)
{
    int64_t before = 0;
    for (int i = 0; i < linear; i++)
        before += a->out[i];
    return before;
}

static mr_status setup(mr_adapter *a, const mr_adapter_config *config, const char *const *names)
{
    MR_TRY(mr_lora_setup(a, config, names));
    dora_state *state = mr_alloc(MR_MEM_OTHER, sizeof *state);
    if (!state) return MR_ERR_MEMORY;
    a->state = state;
    a->params = 3;
    int64_t all = 0, most = 0;
    for (int i = 0; i < a->linears; i++) {
        a->param[i][MAGNITUDE] = (mr_adapter_param){
            .suffix = "lora_magnitude_vector", .rows = 1, .cols = a->out[i], .init = MR_INIT_ONE};
        all += a->out[i];
        most = a->out[i] > most ? a->out[i] : most;
    }
    a->saved_cols += all;                         /* V x, then the gradient there */
    if (a->lora_dropout > 0) a->work_cols += all; /* the parts of a masked call */
    int64_t rows = MIXED / a->r > 1 ? MIXED / a->r : 1;
    state->outputs = all;
    state->most = most;
    state->mixed_rows = rows < most ? rows : most;
    const int64_t ranks = a->linears * a->r;
    a->table_bytes = (size_t)(3 * all) * sizeof(float) + (size_t)all * sizeof(double) +
                     (size_t)(ranks * ranks + state->mixed_rows * a->r) * mr_dtype_size(a->compute);
    return MR_OK;
}

static mr_status allocate(mr_adapter *a)
{
    dora_state *state = a->state;
    mr_backend *be = a->be;
    const mr_purpose tables = MR_MEM_ACTIVATIONS;
    MR_TRY(mr_backend_tensor(be, tables, MR_F32, 1, 3 * state->outputs, &state->memory));
    int64_t at = 0;
    for (int i = 0; i < a->linears; i++) {
        mr_tensor *const places[] = {&state->factors[i].inverse, &state->factors[i].ratio,
                                     &state->factors[i].gain};
        for (int k = 0; k < 3; k++, at += a->out[i])
            *places[k] = mr_tensor_cols(state->memory, at, a->out[i]);
    }
    MR_TRY(mr_backend_tensor(be, tables, MR_F64, 1, state->outputs, &state->base_squares[0]));
    for (int i = a->linears - 1; i >= 0; i--)
        state->base_squares[i] =
            mr_tensor_cols(state->base_squares[0], outputs_before(a, i), a->out[i]);
    const int64_t ranks = a->linears * a->r;
    MR_TRY(mr_backend_tensor(be, tables, a->compute, ranks, ranks, &state->gram));
    return mr_backend_tensor(be, tables, a->compute, state->mixed_rows, a->r, &state->mixed);
}

static void teardown(mr_adapter *a)
{
    dora_state *state = a->state;
    if (!state) return;
    mr_backend_free(a->be, &state->memory);
    mr_backend_free(a->be, &state->base_squares[0]);
    mr_backend_free(a->be, &state->gram);
    mr_backend_free(a->be, &state->mixed);
    mr_free(state);
    a->state = NULL;
}

static void measure_base(const mr_adapter *a, const mr_adapter_call *call)
{
    dora_state *state = a->state;
    for (int i = 0; i < a->linears; i++)
        call->be->ops->row_dots(call->be, state->base_squares[i], call->base[i], call->base[i], 0);
    state->measured = true;
}

/* The lengths of the rows of W0, into the magnitudes: from the host, as it is done once. */
static mr_status start(const mr_adapter *a, const mr_adapter_call *call)
{
    mr_backend *be = call->be;
    const dora_state *state = a->state;
    const int64_t most = state->most;
    double *squares = mr_alloc_array(MR_MEM_OTHER, (size_t)most, sizeof *squares);
    float *lengths = mr_alloc_array(MR_MEM_OTHER, (size_t)most, sizeof *lengths);
    mr_status status = squares && lengths ? MR_OK : MR_ERR_MEMORY;
    measure_base(a, call);
    for (int i = 0; i < a->linears && status == MR_OK; i++) {
        be->ops->download(be, squares, state->base_squares[i]);
        for (int64_t o = 0; o < a->out[i] && status == MR_OK; o++) {
            lengths[o] = (float)sqrt(squares[o]);
            if (!isfinite(squares[o]))
                status =
                    mr_fail(MR_ERR_NUMERIC,
                            "dora: row %lld of a weight [%lld, %lld] has length %g, expected "
                            "a finite one",
                            (long long)o, (long long)a->out[i], (long long)a->in, sqrt(squares[o]));
        }
        if (status == MR_OK) be->ops->upload(be, call->weight[i][MAGNITUDE], lengths);
    }
    mr_free(squares);
    mr_free(lengths);
    return status;
}

/* Factors of the rows of one linear. */
static void refresh_rows(const mr_adapter *a, const mr_adapter_call *call, int linear)
{
    mr_backend *be = call->be;
    const dora_state *state = a->state;
    const dora_factors *factors = &state->factors[linear];
    const float s = mr_lora_scale(a);
    mr_tensor down = call->weight[linear][A];
    mr_tensor gram =
        mr_tensor_cols(mr_tensor_rows(state->gram, linear * a->r, a->r), linear * a->r, a->r);
    for (int64_t first = 0; first < a->out[linear]; first += state->mixed.rows) {
        int64_t left = a->out[linear] - first;
        int64_t count = left < state->mixed.rows ? left : state->mixed.rows;
        mr_tensor up = mr_tensor_rows(call->weight[linear][B], first, count);
        mr_tensor mixed = mr_tensor_rows(state->mixed, 0, count);
        be->ops->gemm(be, false, true, 2 * s, mr_tensor_rows(call->base[linear], first, count),
                      down, 0, mixed);
        be->ops->gemm(be, false, false, s * s, up, gram, 1, mixed);
        be->ops->row_factors(
            be, &(mr_row_factors_args){
                    .inverse = mr_tensor_cols(factors->inverse, first, count),
                    .ratio = mr_tensor_cols(factors->ratio, first, count),
                    .gain = mr_tensor_cols(factors->gain, first, count),
                    .base = mr_tensor_cols(state->base_squares[linear], first, count),
                    .h = mixed,
                    .b = up,
                    .magnitude = mr_tensor_cols(call->weight[linear][MAGNITUDE], first, count)});
    }
}

static void refresh(const mr_adapter *a, const mr_adapter_call *call)
{
    const dora_state *state = a->state;
    const mr_tensor down = mr_adapter_stacked(call->weight, A, 0, a->linears);
    if (!state->measured) measure_base(a, call);
    call->be->ops->gemm(call->be, false, true, 1, down, down, 0, state->gram);
    for (int i = 0; i < a->linears; i++)
        refresh_rows(a, call, i);
}

/* The call for LoRA's functions: of saved they see the part that holds A x, of work their own. */
static mr_adapter_call lora_call(const mr_adapter *a, const mr_adapter_call *call)
{
    mr_adapter_call inner = *call;
    inner.saved = mr_tensor_cols(call->saved, 0, a->linears * a->r);
    inner.work = mr_tensor_carve(call->work, 0, a->linears * a->r);
    return inner;
}

/* V x of a linear, and in its place, once the backward pass has read it, the gradient there. */
static mr_tensor saved_product(const mr_adapter *a, const mr_adapter_call *call, int linear)
{
    return mr_tensor_cols(call->saved, a->linears * a->r + outputs_before(a, linear),
                          a->out[linear]);
}

/* Scratch [N, O] of a linear in a masked call. */
static mr_tensor work_output(const mr_adapter *a, const mr_adapter_call *call, int linear)
{
    return mr_tensor_carve(call->work, a->linears * a->r + outputs_before(a, linear),
                           a->out[linear]);
}

/* y = x W0^T becomes x W'^T where x is the same for both parts. */
static void forward_fused(const mr_adapter *a, const mr_adapter_call *call)
{
    mr_backend *be = call->be;
    const dora_state *state = a->state;
    mr_adapter_call inner = lora_call(a, call);
    mr_lora_forward(a, &inner);
    for (int i = 0; i < a->linears; i++)
        be->ops->scale_columns(be, call->y[i], saved_product(a, call, i), call->y[i],
                               state->factors[i].ratio, 0);
}

/* y = W0 x + (m/n - 1) W0 xd + (m/n) s B A xd, xd the masked x. */
static void forward_masked(const mr_adapter *a, const mr_adapter_call *call)
{
    mr_backend *be = call->be;
    const dora_state *state = a->state;
    mr_adapter_call inner = lora_call(a, call);
    mr_lora_compress(a, &inner);
    for (int i = 0; i < a->linears; i++) {
        mr_tensor product = saved_product(a, call, i), update = work_output(a, call, i);
        be->ops->gemm(be, false, true, 1, call->x, call->base[i], 0, product);
        be->ops->scale_columns(be, call->y[i], none, product, state->factors[i].gain, 1);
        be->ops->gemm(be, false, true, mr_lora_scale(a),
                      mr_tensor_cols(inner.saved, i * a->r, a->r), call->weight[i][B], 0, update);
        be->ops->scale_columns(be, call->y[i], none, update, state->factors[i].ratio, 1);
        be->ops->add(be, product, update);
    }
}

static void forward(const mr_adapter *a, const mr_adapter_call *call)
{
    (call->dropout ? forward_masked : forward_fused)(a, call);
}

static void backward_output(const mr_adapter *a, mr_adapter_call *call)
{
    mr_backend *be = call->be;
    const dora_state *state = a->state;
    for (int i = 0; i < a->linears; i++) {
        mr_tensor grad = call->grad[i][MAGNITUDE], product = saved_product(a, call, i);
        if (mr_tensor_exists(grad)) {
            /* dm_i = sum over tokens of dy_i (V x)_i, over n_i. */
            be->ops->scale_columns_backward(be, product, grad, call->y[i], product,
                                            state->factors[i].ratio);
            be->ops->scale_columns(be, grad, none, grad, state->factors[i].inverse, 0);
        } else {
            be->ops->scale_columns(be, product, none, call->y[i], state->factors[i].ratio, 0);
        }
        /* With dropout the base's product is that of W0, and reads dy as it is. */
        if (!call->dropout) call->y[i] = product;
    }
}

static void backward(const mr_adapter *a, const mr_adapter_call *call)
{
    mr_backend *be = call->be;
    const dora_state *state = a->state;
    mr_adapter_call inner = lora_call(a, call);
    for (int i = 0; i < a->linears; i++)
        inner.y[i] = saved_product(a, call, i);
    mr_lora_backward(a, &inner);
    for (int i = 0; call->dropout && mr_tensor_exists(call->d_x) && i < a->linears; i++) {
        mr_tensor scaled = work_output(a, call, i);
        be->ops->scale_columns(be, scaled, none, call->y[i], state->factors[i].gain, 0);
        be->ops->gemm(be, false, false, 1, scaled, call->base[i], 1, call->d_x);
    }
}

static void update(const mr_adapter *a, const mr_adapter_call *call, int linear, mr_update *out)
{
    const dora_state *state = a->state;
    mr_lora_update(a, call, linear, out);
    out->ratio = state->factors[linear].ratio;
    out->inverse = state->factors[linear].inverse;
    out->d_magnitude = call->grad[linear][MAGNITUDE];
}

static void merge_rows(const mr_adapter *a, const mr_adapter_call *call, int linear, int64_t first,
                       mr_tensor rows)
{
    mr_backend *be = call->be;
    const dora_state *state = a->state;
    mr_lora_merge_rows(a, call, linear, first, rows);
    be->ops->scale_rows(be, rows, mr_tensor_cols(state->factors[linear].ratio, first, rows.rows));
}

const mr_adapter_method mr_method_dora = {
    .name = "dora",
    .summary = "LoRA with the lengths of the rows learnt apart (Liu et al. 2024)",
    .schema = &mr_lora_schema,
    .scales_rows = true,
    .setup = setup,
    .allocate = allocate,
    .teardown = teardown,
    .start = start,
    .refresh = refresh,
    .forward = forward,
    .backward_output = backward_output,
    .backward = backward,
    .update = update,
    .merge_rows = merge_rows,
    .describe = mr_lora_describe,
};
