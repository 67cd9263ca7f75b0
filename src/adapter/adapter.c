#include "adapter/adapter.h"

#include <string.h>

/* One row a method: mr_method_<name> of adapter/<name>.c. */
#define METHODS(ROW)                                                                               \
    ROW(fft)                                                                                       \
    ROW(lora)                                                                                      \
    ROW(lora_plus)                                                                                 \
    ROW(asylora)                                                                                   \
    ROW(dora)                                                                                      \
    ROW(relora)                                                                                    \
    ROW(mora)                                                                                      \
    ROW(remora)

#define DECLARED(name) extern const mr_adapter_method mr_method_##name;
#define ADDRESS(name) &mr_method_##name,

METHODS(DECLARED)
static const mr_adapter_method *const methods[] = {METHODS(ADDRESS)};

enum { COUNT = sizeof methods / sizeof methods[0] };

const mr_choice *mr_adapter_choices(void)
{
    static mr_choice rows[COUNT + 1];
    for (int i = 0; i < COUNT; i++)
        rows[i] = (mr_choice){methods[i]->name, methods[i]->summary, methods[i]->schema};
    return rows;
}

const mr_adapter_config *mr_adapter_config_of(const mr_config *config)
{
    return (const void *)&config->method.keys;
}

const mr_adapter_method *mr_adapter_find(const char *name)
{
    for (int i = 0; i < COUNT; i++)
        if (strcmp(methods[i]->name, name) == 0) return methods[i];
    return NULL;
}

mr_status mr_adapter_create(mr_backend *be, mr_dtype compute, const mr_adapter_method *method,
                            const mr_adapter_config *config, int linears, int64_t in,
                            const int64_t *out, const char *const *names, mr_adapter **out_adapter)
{
    *out_adapter = NULL;
    MR_INVARIANT(!method->trains_base);
    for (int i = 0; i < linears; i++) {
        /* Beyond the smaller side a budget buys no rank, but is legal, as in PEFT; beyond the
         * larger the adapter outgrows the linear. */
        int64_t most = in > out[i] ? in : out[i];
        MR_CHECK(config->r <= most, MR_ERR_ARG,
                 "method.r: expected at most %lld, the larger side of %s [%lld, %lld], found %lld",
                 (long long)most, names[i], (long long)out[i], (long long)in, (long long)config->r);
    }
    mr_adapter *a = mr_alloc(MR_MEM_OTHER, sizeof *a);
    if (!a) return MR_ERR_MEMORY;
    *a = (mr_adapter){.method = method,
                      .be = be,
                      .compute = compute,
                      .r = config->r,
                      .lora_alpha = config->lora_alpha,
                      .lora_dropout = config->lora_dropout,
                      .use_rslora = config->use_rslora,
                      .linears = linears,
                      .in = in,
                      .product_rows = 1};
    memcpy(a->out, out, (size_t)linears * sizeof *out);
    mr_status status = method->setup(a, config, names);
    if (status != MR_OK) {
        mr_adapter_destroy(&a);
        return status;
    }
    *out_adapter = a;
    return MR_OK;
}

mr_status mr_adapter_allocate(mr_adapter *a)
{
    return a->method->allocate ? a->method->allocate(a) : MR_OK;
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

void mr_adapter_set_restart(mr_adapter *a, int64_t restart)
{
    if (a->method->set_restart) a->method->set_restart(a, restart);
}

mr_status mr_adapter_start(const mr_adapter *a, const mr_adapter_call *call)
{
    return a->method->start ? a->method->start(a, call) : MR_OK;
}

void mr_adapter_refresh(mr_adapter *a, const mr_adapter_call *call, uint64_t generation)
{
    if (!a->method->refresh || a->refreshed == generation) return;
    mr_phase_begin(call->be, MR_PHASE_ADAPTER);
    a->method->refresh(a, call);
    a->refreshed = generation;
    mr_phase_end(call->be, MR_PHASE_ADAPTER);
}

/* The call as the method sees it: its own part of the scratch, and dropout only where there is a
 * probability. */
static mr_adapter_call own_call(const mr_adapter *a, const mr_adapter_call *call)
{
    mr_adapter_call own = *call;
    own.work = mr_tensor_carve(call->work, 0, a->work_cols);
    own.dropout = call->dropout && a->lora_dropout > 0;
    return own;
}

/* Puts the masked input, and room for the gradient there, in their places. */
static void mask_input(const mr_adapter *a, const mr_adapter_call *call, mr_adapter_call *own)
{
    own->x = mr_tensor_carve(call->work, a->work_cols, a->in);
    if (mr_tensor_exists(call->d_x))
        own->d_x = mr_tensor_carve(call->work, a->work_cols + a->in, a->in);
    /* Deviation from PEFT: one mask a site, not one a linear, so that q, k and v share their
     * compressed input with dropout as without. */
    call->be->ops->dropout(call->be, own->x, call->x, 0, a->lora_dropout, call->stream,
                           call->first_row);
}

void mr_adapter_forward(const mr_adapter *a, const mr_adapter_call *call)
{
    mr_phase_begin(call->be, MR_PHASE_ADAPTER);
    mr_adapter_call own = own_call(a, call);
    if (own.dropout) mask_input(a, call, &own);
    a->method->forward(a, &own);
    mr_phase_end(call->be, MR_PHASE_ADAPTER);
}

void mr_adapter_backward_output(const mr_adapter *a, mr_adapter_call *call)
{
    if (!a->method->backward_output) return;
    mr_phase_begin(call->be, MR_PHASE_ADAPTER);
    mr_adapter_call own = own_call(a, call);
    own.x = own.d_x = (mr_tensor){0};
    a->method->backward_output(a, &own);
    memcpy(call->y, own.y, sizeof call->y);
    mr_phase_end(call->be, MR_PHASE_ADAPTER);
}

void mr_adapter_backward(const mr_adapter *a, const mr_adapter_call *call)
{
    mr_backend *be = call->be;
    mr_phase_begin(be, MR_PHASE_ADAPTER);
    mr_adapter_call own = own_call(a, call);
    bool masked = own.dropout && mr_tensor_exists(call->d_x);
    if (own.dropout) mask_input(a, call, &own);
    if (masked) be->ops->fill(be, own.d_x, 0);
    a->method->backward(a, &own);
    if (masked)
        be->ops->dropout(be, call->d_x, own.d_x, 1, a->lora_dropout, call->stream, call->first_row);
    mr_phase_end(be, MR_PHASE_ADAPTER);
}

bool mr_adapter_update(const mr_adapter *a, const mr_adapter_call *call, int linear, mr_update *out)
{
    *out = (mr_update){0};
    if (!a->method->update) return false;
    a->method->update(a, call, linear, out);
    return true;
}

void mr_adapter_merge_rows(const mr_adapter *a, const mr_adapter_call *call, int linear,
                           int64_t first, mr_tensor rows)
{
    MR_INVARIANT(linear >= 0 && linear < a->linears && rows.cols == a->in &&
                 first + rows.rows <= a->out[linear] && call->work.rows >= rows.rows);
    mr_adapter_call own = *call;
    own.work = mr_tensor_carve(mr_tensor_rows(call->work, 0, rows.rows), 0, a->work_cols);
    a->method->merge_rows(a, &own, linear, first, rows);
}

mr_tensor mr_adapter_stacked(const mr_tensor tensors[][MR_ADAPTER_PARAMS], int k, int first,
                             int count)
{
    mr_tensor stacked = tensors[first][k];
    for (int i = first + 1; i < first + count; i++)
        stacked = mr_tensor_stack(stacked, tensors[i][k]);
    return stacked;
}
