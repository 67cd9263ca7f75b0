#include "nn/nn.h"

static void check_shape(const mr_attention_shape *s)
{
    MR_INVARIANT(s->batch > 0 && s->kv_heads > 0 && s->heads % s->kv_heads == 0 &&
                 s->head_size > 0);
}

static void check_args(const mr_attention_args *args)
{
    const mr_attention_shape *s = &args->shape;
    check_shape(s);
    int64_t rows = s->batch * s->tokens;
    MR_INVARIANT(args->q.rows == rows && args->q.cols == s->heads * s->head_size);
    MR_INVARIANT(args->k.rows == rows && args->k.cols == s->kv_heads * s->head_size);
    MR_INVARIANT(mr_tensor_alike(args->v, args->k) && mr_tensor_alike(args->o, args->q));
    MR_INVARIANT(args->lse.rows == s->batch * s->heads && args->lse.cols == s->tokens);
    MR_INVARIANT(!mr_tensor_exists(args->starts) || args->starts.cols == rows);
}

void mr_attention_forward(mr_backend *be, const mr_attention_args *args)
{
    check_args(args);
    mr_phase_begin(be, MR_PHASE_ATTENTION);
    be->ops->attention_forward(be, args);
    mr_phase_end(be, MR_PHASE_ATTENTION);
}

void mr_attention_backward(mr_backend *be, const mr_attention_args *args)
{
    check_args(args);
    MR_INVARIANT(mr_tensor_alike(args->d_q, args->q) && mr_tensor_alike(args->d_k, args->k));
    MR_INVARIANT(mr_tensor_alike(args->d_v, args->k) && mr_tensor_alike(args->d_o, args->q));
    mr_phase_begin(be, MR_PHASE_ATTENTION);
    be->ops->attention_backward(be, args);
    mr_phase_end(be, MR_PHASE_ATTENTION);
}

void mr_attention_cached(mr_backend *be, const mr_cached_attention_args *args)
{
    const mr_attention_shape *s = &args->shape;
    check_shape(s);
    MR_INVARIANT(args->q.cols == s->heads * s->head_size && mr_tensor_alike(args->o, args->q));
    MR_INVARIANT(args->k.rows % MR_CACHE_PAGE == 0 && args->k.cols == s->kv_heads * s->head_size &&
                 mr_tensor_alike(args->v, args->k));
    MR_INVARIANT(args->offsets.cols == s->batch + 1 && args->lengths.cols == s->batch &&
                 args->pages.rows == s->batch);
    mr_phase_begin(be, MR_PHASE_ATTENTION);
    be->ops->attention_cached(be, args);
    mr_phase_end(be, MR_PHASE_ATTENTION);
}
