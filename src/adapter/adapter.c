#include "adapter/adapter.h"

#include <string.h>

static const mr_adapter_method *const methods[] = {
    &mr_method_fft,
    &mr_method_lora,
    &mr_method_mora,
};

enum { METHODS = sizeof methods / sizeof methods[0] };

const char *const *mr_adapter_names(void)
{
    static const char *names[METHODS + 1];
    for (int i = 0; i < METHODS; i++)
        names[i] = methods[i]->name;
    return names;
}

const mr_adapter_method *mr_adapter_find(const char *name)
{
    for (int i = 0; i < METHODS; i++)
        if (strcmp(methods[i]->name, name) == 0) return methods[i];
    return NULL;
}

mr_status mr_adapter_create(mr_backend *be, const mr_config *config, int linears, int64_t in,
                            const int64_t *out, const char *const *names, mr_adapter **out_adapter)
{
    *out_adapter = NULL;
    const mr_adapter_method *method = mr_adapter_find(config->method.name);
    MR_CHECK(method, MR_ERR_ARG, "method.name: unknown method '%s'", config->method.name);
    for (int i = 0; i < linears; i++) {
        /* Beyond the smaller side a budget buys no rank, but is legal, as in PEFT; beyond the
         * larger the adapter outgrows the linear. */
        int64_t most = in > out[i] ? in : out[i];
        MR_CHECK(config->method.r <= most, MR_ERR_ARG,
                 "method.r: expected at most %lld, the larger side of %s [%lld, %lld], found %lld",
                 (long long)most, names[i], (long long)out[i], (long long)in,
                 (long long)config->method.r);
    }
    mr_adapter *a = mr_alloc(MR_MEM_OTHER, sizeof *a);
    if (!a) return MR_ERR_MEMORY;
    *a = (mr_adapter){.method = method,
                      .be = be,
                      .r = config->method.r,
                      .lora_alpha = config->method.lora_alpha,
                      .lora_dropout = config->method.lora_dropout,
                      .mora_operator = (mr_mora_operator)config->method.operator,
                      .linears = linears,
                      .in = in};
    memcpy(a->out, out, (size_t)linears * sizeof *out);
    mr_status status = method->setup(a);
    if (status != MR_OK) {
        mr_adapter_destroy(&a);
        return status;
    }
    *out_adapter = a;
    return MR_OK;
}

void mr_adapter_destroy(mr_adapter **a)
{
    if (!*a) return;
    if ((*a)->method->teardown) (*a)->method->teardown(*a);
    mr_free(*a);
    *a = NULL;
}

int64_t mr_adapter_work_cols(const mr_adapter *a)
{
    /* Dropout keeps the masked input, and in the backward pass its gradient, beside the method's.
     */
    return a->work_cols + (a->lora_dropout > 0 ? 2 * a->in : 0);
}

/* Rewrites a call so that the method sees the masked input and its own part of the scratch. */
static mr_adapter_call with_dropout(const mr_adapter *a, const mr_adapter_call *call)
{
    mr_adapter_call inner = *call;
    inner.x = mr_tensor_carve(call->work, a->work_cols, a->in);
    if (mr_tensor_exists(call->d_x))
        inner.d_x = mr_tensor_carve(call->work, a->work_cols + a->in, a->in);
    inner.work = mr_tensor_carve(call->work, 0, a->work_cols);
    /* Deviation from PEFT: one mask a site, not one a linear, so that q, k and v share their
     * compressed input with dropout as without. */
    call->be->ops->dropout(call->be, inner.x, call->x, 0, a->lora_dropout, call->stream,
                           call->first_row);
    return inner;
}

void mr_adapter_forward(const mr_adapter *a, const mr_adapter_call *call)
{
    double began = mr_phase_begin();
    if (call->dropout && a->lora_dropout > 0) {
        mr_adapter_call inner = with_dropout(a, call);
        a->method->forward(a, &inner);
    } else {
        a->method->forward(a, call);
    }
    mr_phase_end(call->be, MR_PHASE_ADAPTER, began);
}

void mr_adapter_backward(const mr_adapter *a, const mr_adapter_call *call)
{
    double began = mr_phase_begin();
    if (call->dropout && a->lora_dropout > 0) {
        mr_adapter_call inner = with_dropout(a, call);
        if (mr_tensor_exists(inner.d_x)) call->be->ops->fill(call->be, inner.d_x, 0);
        a->method->backward(a, &inner);
        if (mr_tensor_exists(inner.d_x))
            call->be->ops->dropout(call->be, call->d_x, inner.d_x, 1, a->lora_dropout, call->stream,
                                   call->first_row);
    } else {
        a->method->backward(a, call);
    }
    mr_phase_end(call->be, MR_PHASE_ADAPTER, began);
}

mr_tensor mr_adapter_stacked(const mr_tensor tensors[][MR_ADAPTER_PARAMS], int k, int first,
                             int count)
{
    mr_tensor stacked = tensors[first][k];
    for (int i = first + 1; i < first + count; i++) {
        mr_tensor next = tensors[i][k];
        MR_INVARIANT(next.buffer == stacked.buffer && next.cols == stacked.cols &&
                     next.offset == stacked.offset + stacked.rows * stacked.cols);
        stacked.rows += next.rows;
    }
    return stacked;
}

/* Identity rows [from, from + count) of side `in`, uploaded into x. */
static mr_status upload_identity(mr_backend *be, mr_tensor x, int64_t from, int64_t count)
{
    float *rows = mr_alloc_array(MR_MEM_OTHER, (size_t)(count * x.cols), sizeof *rows);
    if (!rows) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++)
        rows[i * x.cols + from + i] = 1;
    be->ops->upload(be, mr_tensor_rows(x, 0, count), rows);
    mr_free(rows);
    return MR_OK;
}

mr_status mr_adapter_delta(const mr_adapter *a, mr_tensor weight[][MR_ADAPTER_PARAMS],
                           mr_tensor *delta)
{
    enum { CHUNK = 256 };
    mr_backend *be = a->be;
    int64_t chunk = a->in < CHUNK ? a->in : CHUNK;
    mr_tensor x = {0}, saved = {0}, work = {0};
    mr_status status = mr_backend_tensor(be, MR_MEM_OTHER, MR_F32, chunk, a->in, &x);
    if (status == MR_OK)
        status = mr_backend_tensor(be, MR_MEM_OTHER, MR_F32, chunk, a->saved_cols, &saved);
    if (status == MR_OK)
        status = mr_backend_tensor(be, MR_MEM_OTHER, MR_F32, chunk, a->work_cols, &work);
    for (int64_t from = 0; status == MR_OK && from < a->in; from += chunk) {
        int64_t count = a->in - from < chunk ? a->in - from : chunk;
        status = upload_identity(be, x, from, count);
        if (status != MR_OK) break;
        mr_adapter_call call = {.be = be,
                                .x = mr_tensor_rows(x, 0, count),
                                .saved = mr_tensor_rows(saved, 0, count),
                                .work = mr_tensor_rows(work, 0, count)};
        memcpy(call.weight, weight, sizeof call.weight);
        for (int i = 0; i < a->linears; i++) {
            call.y[i] = mr_tensor_rows(delta[i], from, count);
            be->ops->fill(be, call.y[i], 0);
        }
        mr_adapter_forward(a, &call);
    }
    mr_backend_free(be, &x);
    mr_backend_free(be, &saved);
    mr_backend_free(be, &work);
    return status;
}
