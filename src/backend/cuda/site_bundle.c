/* Which linears of a site are taken together. */

#include "backend/cuda/site_impl.h"

/* Whether b begins where a ends, so that their rows are those of one matrix. */
static bool follows(mr_tensor a, mr_tensor b)
{
    return mr_tensor_exists(a) == mr_tensor_exists(b) &&
           (!mr_tensor_exists(a) ||
            (a.buffer == b.buffer && a.cols == b.cols && b.offset == a.offset + a.rows * a.cols));
}

/* The parameters of an update that are stacked, and their gradients. */
static mr_tensor shared_weight(const mr_update *u)
{
    return u->kind == MR_UPDATE_PRODUCT ? u->a : u->m;
}

static mr_tensor shared_gradient(const mr_update *u)
{
    return u->kind == MR_UPDATE_PRODUCT ? u->d_a : u->d_m;
}

static bool same_maps(const mr_update *a, const mr_update *b)
{
    return a->m.cols == b->m.cols && a->blocks == b->blocks && a->out.length == b->out.length &&
           follows(shared_weight(a), shared_weight(b)) &&
           follows(shared_gradient(a), shared_gradient(b));
}

bool mr_cuda_next_bundle(const mr_site_args *args, mr_cuda_bundle *b)
{
    int64_t saved = b->saved + b->count * b->inner;
    int i = b->last + 1;
    while (i < args->linears && !mr_cuda_is_adapted(args, i))
        i++;
    if (i >= args->linears) return false;
    const mr_update *last = &args->update[i];
    *b = (mr_cuda_bundle){.first = i,
                          .last = i,
                          .count = 1,
                          .inner = last->kind == MR_UPDATE_PRODUCT ? last->a.rows : last->m.rows,
                          .saved = saved,
                          .weight = shared_weight(last),
                          .gradient = shared_gradient(last)};
    for (i++; i < args->linears; i++) {
        const mr_update *next = &args->update[i];
        if (!mr_cuda_is_adapted(args, i)) continue;
        if (!same_maps(last, next)) break;
        b->weight = mr_tensor_stack(b->weight, shared_weight(next));
        b->gradient = mr_tensor_stack(b->gradient, shared_gradient(next));
        b->last = i;
        b->count++;
        last = next;
    }
    return true;
}
