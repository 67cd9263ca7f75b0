/* What of each parameter a rank keeps, answers for and updates; the contract stands in
 * model/params.h. */

#include "model/params_impl.h"

mr_flat_size mr_flat_size_of(const mr_params *params, int unit, int kind)
{
    const mr_flat *flat = &params->unit[unit].flat[kind];
    const int64_t shared_slots = mr_params_shares_sums(params);
    mr_flat_size size = {.weights =
                             mr_flat_kept(params, flat, (mr_flat_kind)kind, MR_SLAB_WEIGHTS).count,
                         .weight = mr_dtype_size(mr_flat_kept_type(params, kind))};
    if (mr_flat_is_copied(params, kind)) size.weight += mr_dtype_size(params->types.compute);
    if (kind == MR_FLAT_FROZEN || flat->count == 0) return size;
    size.moment = mr_flat_kept(params, flat, (mr_flat_kind)kind, MR_SLAB_M).count;
    size.partial_rows = params->slots - 1;
    size.partial_cols = mr_flat_shard_count(params, flat);
    size.grad = size.moment;
    if (!params->whole) return size;
    size.grad = 0;
    size.sums = shared_slots * flat->count;
    size.partial_rows = params->slots - shared_slots;
    size.partial_cols = flat->count;
    return size;
}

/* The part [first, first + count) of a parameter that lies in a run of its flat. */
static int64_t overlap(const mr_param *param, mr_run run, int64_t *first)
{
    int64_t begin = param->offset, end = begin + param->rows * param->cols;
    int64_t low = begin > run.from ? begin : run.from;
    int64_t high = end < run.from + run.count ? end : run.from + run.count;
    *first = low - begin;
    return high > low ? high - low : 0;
}

mr_own mr_params_own(const mr_params *params, int id)
{
    const mr_param *param = &params->param[id];
    const mr_flat *flat = &params->unit[param->unit].flat[param->kind];
    const mr_run own_run = mr_flat_kept(params, flat, param->kind, MR_SLAB_M);
    mr_own own = {0};
    MR_INVARIANT(param->trained);
    own.count = overlap(param, own_run, &own.first);
    if (own.count == 0) return own;
    const int64_t in_flat = param->offset + own.first, in_own = in_flat - own_run.from;
    const int64_t in_kept = in_flat - mr_flat_kept(params, flat, param->kind, MR_SLAB_WEIGHTS).from;
    own.weight = mr_tensor_cols(flat->weights, in_kept, own.count);
    if (mr_tensor_exists(flat->copy)) own.copy = mr_tensor_cols(flat->copy, in_kept, own.count);
    own.grad = mr_tensor_cols(flat->grad, in_own, own.count);
    own.m = mr_tensor_cols(flat->m, in_own, own.count);
    own.v = mr_tensor_cols(flat->v, in_own, own.count);
    return own;
}

static mr_tensor memory_of(const mr_flat *flat, mr_slab_kind what)
{
    switch (what) {
    case MR_SLAB_M:
        return flat->m;
    case MR_SLAB_V:
        return flat->v;
    default:
        return flat->weights;
    }
}

/* The part of a parameter that lies in what this rank keeps of its flat, all of it or the shard. */
static mr_slab slab_of(const mr_params *params, const mr_param *param, mr_slab_kind what, bool all)
{
    const mr_flat *flat = &params->unit[param->unit].flat[param->kind];
    const mr_run kept = mr_flat_kept(params, flat, param->kind, what);
    const mr_tensor memory = memory_of(flat, what);
    mr_slab slab = {0};
    if (param->kind == MR_FLAT_FROZEN && what != MR_SLAB_WEIGHTS) return slab;
    slab.count = overlap(param, all ? kept : mr_flat_shard(params, flat), &slab.first);
    if (slab.count == 0) return (mr_slab){0};
    /* Before the allocation a slab has its place and its size, and no values. */
    if (mr_tensor_exists(memory))
        slab.values = mr_tensor_cols(memory, param->offset + slab.first - kept.from, slab.count);
    return slab;
}

mr_slab mr_params_shard(const mr_params *params, int id, mr_slab_kind what)
{
    return slab_of(params, &params->param[id], what, false);
}

mr_slab mr_params_kept(const mr_params *params, int id, mr_slab_kind what)
{
    return slab_of(params, &params->param[id], what, true);
}

bool mr_params_replicated(const mr_params *params, int id, mr_slab_kind what)
{
    const mr_param *param = &params->param[id];
    return mr_flat_kept_whole(params, param->kind, what) &&
           (param->trained || what == MR_SLAB_WEIGHTS);
}

int64_t mr_params_shard_most(const mr_params *params, bool frozen)
{
    int64_t count = 0;
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++) {
            const mr_flat *flat = &params->unit[u].flat[k];
            int64_t shard = mr_flat_shard_count(params, flat);
            int64_t most = shard < flat->used ? shard : flat->used;
            if (k != MR_FLAT_FROZEN) count += 3 * most;
            if (k == MR_FLAT_FROZEN && frozen) count += most;
        }
    return count;
}

mr_status mr_params_fill(mr_params *params, int id, mr_params_source source, void *context)
{
    enum { CHUNK = 1 << 20 };
    mr_slab kept = mr_params_kept(params, id, MR_SLAB_WEIGHTS);
    int64_t room = kept.count < CHUNK ? kept.count : CHUNK;
    if (kept.count == 0) return MR_OK;
    float *values = mr_alloc_array(MR_MEM_OTHER, (size_t)room, sizeof *values);
    mr_status status = values ? MR_OK : MR_ERR_MEMORY;
    for (int64_t done = 0; done < kept.count && status == MR_OK; done += room) {
        int64_t part = kept.count - done < room ? kept.count - done : room;
        status = source(context, &params->param[id], kept.first + done, part, values);
        if (status == MR_OK)
            params->be->ops->upload(params->be, mr_tensor_cols(kept.values, done, part), values);
    }
    mr_free(values);
    return status;
}
