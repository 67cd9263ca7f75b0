/* What of each parameter a rank keeps, answers for and updates; the contract stands in
 * model/params.h. */

#include "model/params_impl.h"

/* The part [first, first + count) of a parameter that lies in [from, from + extent) of its flat. */
static int64_t overlap(const mr_param *param, int64_t from, int64_t extent, int64_t *first)
{
    int64_t begin = param->offset, end = begin + param->rows * param->cols;
    int64_t low = begin > from ? begin : from;
    int64_t high = end < from + extent ? end : from + extent;
    *first = low - begin;
    return high > low ? high - low : 0;
}

mr_own mr_params_own(const mr_params *params, int id)
{
    const mr_param *param = &params->param[id];
    const mr_flat *flat = &params->unit[param->unit].flat[param->kind];
    int64_t from = 0, extent = flat->count;
    MR_INVARIANT(param->trained);
    if (params->shard != MR_SHARD_NONE) {
        extent = mr_flat_shard_count(params, flat);
        from = params->nodes.part * extent;
    }
    mr_own own = {0};
    own.count = overlap(param, from, extent, &own.first);
    if (own.count == 0) return own;
    int64_t in_flat = param->offset + own.first, in_own = in_flat - from;
    bool sharded = !mr_flat_kept_whole(params, param->kind, MR_SLAB_WEIGHTS);
    own.weight = mr_tensor_cols(flat->weights, sharded ? in_own : in_flat, own.count);
    if (mr_tensor_exists(flat->copy))
        own.copy = mr_tensor_cols(flat->copy, sharded ? in_own : in_flat, own.count);
    own.grad = mr_tensor_cols(flat->grad, in_own, own.count);
    own.m = mr_tensor_cols(flat->m, in_own, own.count);
    own.v = mr_tensor_cols(flat->v, in_own, own.count);
    return own;
}

/* Elements [from, from + extent) of a flat, cut to what is used, of memory whose first element is
 * element `base` of the flat. */
static mr_slab slab_of(const mr_flat *flat, mr_tensor memory, int64_t base, int64_t from,
                       int64_t extent)
{
    int64_t end = from + extent < flat->used ? from + extent : flat->used;
    if (end <= from) return (mr_slab){0};
    mr_slab slab = {.first = from, .count = end - from};
    /* Before the allocation a slab has its place and its size, and no values. */
    if (mr_tensor_exists(memory)) slab.values = mr_tensor_cols(memory, from - base, end - from);
    return slab;
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

/* Element of the flat that its kept memory starts with. */
static int64_t kept_from(const mr_params *params, const mr_flat *flat, mr_flat_kind kind,
                         mr_slab_kind what)
{
    return mr_flat_kept_whole(params, kind, what)
               ? 0
               : params->nodes.part * mr_flat_shard_count(params, flat);
}

/* As mr_params_shard and mr_params_kept, of a whole flat; first counts its elements. */
static mr_slab flat_shard(const mr_params *params, int unit, mr_flat_kind kind, mr_slab_kind what)
{
    const mr_flat *flat = &params->unit[unit].flat[kind];
    int64_t extent = mr_flat_shard_count(params, flat);
    if (kind == MR_FLAT_FROZEN && what != MR_SLAB_WEIGHTS) return (mr_slab){0};
    return slab_of(flat, memory_of(flat, what), kept_from(params, flat, kind, what),
                   params->nodes.part * extent, extent);
}

static mr_slab flat_kept(const mr_params *params, int unit, mr_flat_kind kind, mr_slab_kind what)
{
    const mr_flat *flat = &params->unit[unit].flat[kind];
    int64_t from = kept_from(params, flat, kind, what);
    int64_t extent =
        mr_flat_kept_whole(params, kind, what) ? flat->count : mr_flat_shard_count(params, flat);
    if (kind == MR_FLAT_FROZEN && what != MR_SLAB_WEIGHTS) return (mr_slab){0};
    return slab_of(flat, memory_of(flat, what), from, from, extent);
}

/* The part of a parameter that lies in a slab of its flat. */
static mr_slab within(const mr_param *param, mr_slab flat)
{
    mr_slab slab = {0};
    slab.count = overlap(param, flat.first, flat.count, &slab.first);
    if (slab.count == 0) return (mr_slab){0};
    if (mr_tensor_exists(flat.values))
        slab.values =
            mr_tensor_cols(flat.values, param->offset + slab.first - flat.first, slab.count);
    return slab;
}

mr_slab mr_params_shard(const mr_params *params, int id, mr_slab_kind what)
{
    const mr_param *param = &params->param[id];
    return within(param, flat_shard(params, param->unit, param->kind, what));
}

mr_slab mr_params_kept(const mr_params *params, int id, mr_slab_kind what)
{
    const mr_param *param = &params->param[id];
    return within(param, flat_kept(params, param->unit, param->kind, what));
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
