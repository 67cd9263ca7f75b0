/* LoRA: delta(x) = (lora_alpha / r) B A x, A [r, I], B [O, r].
 *
 * Source: Hu et al. 2021 (arXiv 2106.09685) section 4.1.
 * Deviation: A ~ U(-1/sqrt(I), 1/sqrt(I)) as PEFT draws it; the paper draws a Gaussian. */

#include "adapter/lora.h"

#include <math.h>
#include <stdio.h>

enum { A = MR_LORA_A, B = MR_LORA_B };

static const mr_key keys[] = {MR_LORA_KEYS};

const mr_schema mr_lora_schema = MR_SCHEMA(mr_adapter_config, keys);

mr_status mr_lora_setup(mr_adapter *a, const mr_adapter_config *config, const char *const *names)
{
    (void)config;
    (void)names;
    a->params = 2;
    for (int i = 0; i < a->linears; i++) {
        a->param[i][A] = (mr_adapter_param){.suffix = "lora_A",
                                            .rows = a->r,
                                            .cols = a->in,
                                            .init = MR_INIT_UNIFORM,
                                            .init_scale = 1.0 / sqrt((double)a->in)};
        a->param[i][B] = (mr_adapter_param){
            .suffix = "lora_B", .rows = a->out[i], .cols = a->r, .init = MR_INIT_ZERO};
        a->macs += a->r * (a->in + a->out[i]);
    }
    a->saved_cols = a->linears * a->r; /* A x of every linear */
    a->work_cols = a->linears * a->r;  /* its gradient */
    return MR_OK;
}

float mr_lora_scale(const mr_adapter *a)
{
    const double r = (double)a->r;
    return (float)(a->lora_alpha / (a->use_rslora ? sqrt(r) : r));
}

void mr_lora_compress(const mr_adapter *a, const mr_adapter_call *call)
{
    call->be->ops->gemm(call->be, false, true, 1, call->x,
                        mr_adapter_stacked(call->weight, A, 0, a->linears), 0, call->saved);
}

void mr_lora_forward(const mr_adapter *a, const mr_adapter_call *call)
{
    mr_backend *be = call->be;
    mr_lora_compress(a, call);
    for (int i = 0; i < a->linears; i++)
        be->ops->gemm(be, false, true, mr_lora_scale(a),
                      mr_tensor_cols(call->saved, i * a->r, a->r), call->weight[i][B], 1,
                      call->y[i]);
}

void mr_lora_backward(const mr_adapter *a, const mr_adapter_call *call)
{
    mr_backend *be = call->be;
    bool learns_a = mr_tensor_exists(call->grad[0][A]), d_x = mr_tensor_exists(call->d_x);
    for (int i = 0; i < a->linears; i++) {
        /* With u = A x: dB = s dy^T u, du = s dy B. */
        if (mr_tensor_exists(call->grad[i][B]))
            be->ops->gemm(be, true, false, mr_lora_scale(a), call->y[i],
                          mr_tensor_cols(call->saved, i * a->r, a->r), 0, call->grad[i][B]);
        if (learns_a || d_x)
            be->ops->gemm(be, false, false, mr_lora_scale(a), call->y[i], call->weight[i][B], 0,
                          mr_tensor_cols(call->work, i * a->r, a->r));
    }
    if (learns_a)
        be->ops->gemm(be, true, false, 1, call->work, call->x, 0,
                      mr_adapter_stacked(call->grad, A, 0, a->linears));
    if (d_x)
        be->ops->gemm(be, false, false, 1, call->work,
                      mr_adapter_stacked(call->weight, A, 0, a->linears), 1, call->d_x);
}

void mr_lora_update(const mr_adapter *a, const mr_adapter_call *call, int linear, mr_update *out)
{
    *out = (mr_update){.kind = MR_UPDATE_PRODUCT,
                       .scale = mr_lora_scale(a),
                       .a = call->weight[linear][A],
                       .b = call->weight[linear][B],
                       .d_a = call->grad[linear][A],
                       .d_b = call->grad[linear][B]};
}

void mr_lora_merge_rows(const mr_adapter *a, const mr_adapter_call *call, int linear, int64_t first,
                        mr_tensor rows)
{
    call->be->ops->gemm(call->be, false, false, mr_lora_scale(a),
                        mr_tensor_rows(call->weight[linear][B], first, rows.rows),
                        call->weight[linear][A], 1, rows);
}

void mr_lora_describe(const mr_adapter *a, int linear, char *text, size_t room)
{
    (void)linear;
    snprintf(text, room, "r %lld, scale %g", (long long)a->r, (double)mr_lora_scale(a));
}

const mr_adapter_method mr_method_lora = {
    .name = "lora",
    .summary = "low-rank update B A (Hu et al. 2021)",
    .schema = &mr_lora_schema,
    .setup = mr_lora_setup,
    .forward = mr_lora_forward,
    .backward = mr_lora_backward,
    .update = mr_lora_update,
    .merge_rows = mr_lora_merge_rows,
    .describe = mr_lora_describe,
};
