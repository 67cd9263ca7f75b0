#include "model/params_impl.h"

#include <stdio.h>
#include <string.h>

/* Elements of all parameters: with any number of copies bytes stay below 2^62. */
static const int64_t MOST_ELEMENTS = (int64_t)1 << 50;

mr_status mr_params_create(const mr_comm *comm, mr_backend *be, mr_shard shard,
                           mr_params_types types, int units, mr_params **out)
{
    *out = NULL;
    mr_params *params = mr_alloc(MR_MEM_OTHER, sizeof *params);
    if (!params) return MR_ERR_MEMORY;
    *params = (mr_params){.comm = comm,
                          .nodes = mr_nodes_apart(comm),
                          .be = be,
                          .shard = shard,
                          .types = types,
                          .unit_count = units,
                          .slots = 1,
                          .written = true,
                          .generation = 1,
                          .rewritten = 1};
    params->unit = mr_alloc_array(MR_MEM_OTHER, (size_t)units, sizeof *params->unit);
    if (!params->unit) {
        mr_params_destroy(&params);
        return MR_ERR_MEMORY;
    }
    *out = params;
    return MR_OK;
}

void mr_params_share_memory(mr_params *params, const mr_nodes *nodes)
{
    if (params->be->ops->buffer_share) params->nodes = *nodes;
}

mr_status mr_params_add(mr_params *params, int unit, mr_flat_kind kind, const char *name,
                        int64_t rows, int64_t cols, mr_init_kind init, double init_scale, int *id)
{
    MR_CHECK(rows <= (MOST_ELEMENTS - params->elements) / cols, MR_ERR_ARG,
             "%s [%lld, %lld]: the model has more than 2^50 parameters", name, (long long)rows,
             (long long)cols);
    params->elements += rows * cols;
    MR_TRY(mr_grow(MR_MEM_OTHER, &params->param, &params->param_room, params->param_count + 1,
                   sizeof *params->param));
    mr_flat *flat = &params->unit[unit].flat[kind];
    mr_param *param = &params->param[params->param_count];
    *param = (mr_param){.rows = rows,
                        .cols = cols,
                        .trained = kind != MR_FLAT_FROZEN,
                        .adapter = kind == MR_FLAT_ADAPTER,
                        .init = init,
                        .init_scale = init_scale,
                        .lr_scale = 1,
                        .unit = unit,
                        .kind = kind,
                        .offset = flat->used};
    int length = snprintf(param->name, sizeof param->name, "%s", name);
    MR_INVARIANT(length > 0 && (size_t)length < sizeof param->name);
    flat->used += rows * cols;
    *id = params->param_count++;
    return MR_OK;
}

mr_status mr_params_add_adapter(mr_params *params, int unit, const char *linear,
                                const mr_adapter_param *param, int *id)
{
    char name[MR_PARAM_NAME + 32];
    snprintf(name, sizeof name, "%s.%s", linear, param->suffix);
    MR_TRY(mr_params_add(params, unit, param->frozen ? MR_FLAT_FROZEN : MR_FLAT_ADAPTER, name,
                         param->rows, param->cols, param->init, param->init_scale, id));
    params->param[*id].adapter = true;
    if (param->lr_scale > 0) params->param[*id].lr_scale = param->lr_scale;
    return MR_OK;
}

void mr_params_layout(mr_params *params, int slots, bool whole)
{
    int64_t unit = (int64_t)params->comm->size * MR_SHARD_BLOCK;
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++) {
            mr_flat *flat = &params->unit[u].flat[k];
            flat->count = (flat->used + unit - 1) / unit * unit;
        }
    params->slots = slots;
    params->whole = whole;
}

void mr_params_bytes(const mr_params *params, size_t bytes[MR_MEM_PURPOSES])
{
    mr_params_part_bytes(params, bytes);
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++) {
            const mr_flat_size size = mr_flat_size_of(params, u, k);
            bytes[MR_MEM_GRADIENTS] +=
                sizeof(float) * (size_t)(size.grad + size.partial_rows * size.partial_cols);
            bytes[MR_MEM_OPTIMIZER] +=
                2 * mr_dtype_size(mr_flat_moment_type(params, k)) * (size_t)size.moment;
        }
}

/* Creates a tensor, unless it is there in shared memory. */
static mr_status create(mr_backend *be, mr_purpose purpose, mr_dtype dtype, int64_t rows,
                        int64_t cols, mr_tensor *out)
{
    if (mr_tensor_exists(*out)) return MR_OK;
    return mr_backend_tensor(be, purpose, dtype, rows, cols, out);
}

static void release(const mr_params *params, mr_tensor *t)
{
    if (params->shared && t->buffer == params->shared)
        *t = (mr_tensor){0};
    else
        mr_backend_free(params->be, t);
}

/* What this rank keeps of what is computed with. */
static mr_tensor computed(const mr_flat *flat)
{
    return mr_tensor_exists(flat->copy) ? flat->copy : flat->weights;
}

static mr_status allocate_flat(mr_params *params, int unit, int kind)
{
    mr_backend *be = params->be;
    mr_flat *flat = &params->unit[unit].flat[kind];
    if (flat->count == 0) return MR_OK;
    const mr_flat_size size = mr_flat_size_of(params, unit, kind);
    MR_TRY(create(be, MR_MEM_WEIGHTS, mr_flat_kept_type(params, kind), 1, size.weights,
                  &flat->weights));
    if (mr_flat_is_copied(params, kind))
        MR_TRY(create(be, MR_MEM_WEIGHTS, params->types.compute, 1, size.weights, &flat->copy));
    if (!mr_params_shares(params)) {
        flat->all = flat->weights;
        flat->node = computed(flat);
    }
    if (kind == MR_FLAT_FROZEN) return MR_OK;
    if (size.partial_rows > 0)
        MR_TRY(mr_backend_tensor(be, MR_MEM_GRADIENTS, MR_F32, size.partial_rows, size.partial_cols,
                                 &flat->partial));
    if (size.grad > 0)
        MR_TRY(mr_backend_tensor(be, MR_MEM_GRADIENTS, MR_F32, 1, size.grad, &flat->grad));
    if (params->whole) {
        const mr_run kept = mr_flat_kept(params, flat, (mr_flat_kind)kind, MR_SLAB_M);
        flat->grad = mr_tensor_cols(mr_flat_slot(params, flat, 0), kept.from, kept.count);
    }
    const mr_dtype moment = mr_flat_moment_type(params, kind);
    MR_TRY(mr_backend_tensor(be, MR_MEM_OPTIMIZER, moment, 1, size.moment, &flat->m));
    return mr_backend_tensor(be, MR_MEM_OPTIMIZER, moment, 1, size.moment, &flat->v);
}

mr_status mr_params_allocate(mr_params *params)
{
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++)
            MR_TRY(allocate_flat(params, u, k));
    int64_t gathered = mr_params_gather_count(params);
    if (gathered == 0) return MR_OK;
    if (!params->gather)
        params->gather = mr_alloc_array(MR_MEM_OTHER, MR_GATHER_LANES, sizeof *params->gather);
    if (!params->gather) return MR_ERR_MEMORY;
    for (int i = 0; i < MR_GATHER_LANES; i++) {
        params->gather[i].unit = -1;
        MR_TRY(create(params->be, MR_MEM_GATHER, params->types.compute, 1, gathered,
                      &params->gather[i].memory));
    }
    return MR_OK;
}

void mr_params_destroy(mr_params **out)
{
    mr_params *params = *out;
    if (!params) return;
    mr_params_invalidate(params); /* a gather may still be writing into what is freed here */
    for (int u = 0; params->unit && u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++) {
            mr_flat *flat = &params->unit[u].flat[k];
            release(params, &flat->weights);
            release(params, &flat->copy);
            if (!params->whole) release(params, &flat->grad);
            release(params, &flat->partial);
            release(params, &flat->m);
            release(params, &flat->v);
        }
    for (int i = 0; params->gather && i < MR_GATHER_LANES; i++)
        release(params, &params->gather[i].memory);
    mr_free(params->gather);
    mr_params_close(params);
    mr_free(params->unit);
    mr_free(params->param);
    mr_free(params);
    *out = NULL;
}

const mr_comm *mr_params_comm(const mr_params *params)
{
    return params->comm;
}

const mr_nodes *mr_params_nodes(const mr_params *params)
{
    return &params->nodes;
}

mr_backend *mr_params_backend(const mr_params *params)
{
    return params->be;
}

bool mr_params_next(const mr_params *params, mr_params_walk *walk)
{
    if (walk->next == params->param_count) return false;
    walk->id = walk->next++;
    walk->param = &params->param[walk->id];
    return true;
}

int mr_params_length(const mr_params *params)
{
    return params->param_count;
}

const mr_param *mr_params_at(const mr_params *params, int id)
{
    MR_INVARIANT(id >= 0 && id < params->param_count);
    return &params->param[id];
}

mr_dtype mr_params_type(const mr_params *params, int id, mr_slab_kind what)
{
    const int kind = params->param[id].kind;
    return what == MR_SLAB_WEIGHTS ? mr_flat_kept_type(params, kind)
                                   : mr_flat_moment_type(params, kind);
}

int64_t mr_params_count(const mr_params *params, bool trained_only)
{
    int64_t count = 0;
    for (int i = 0; i < params->param_count; i++)
        if (!trained_only || params->param[i].trained)
            count += params->param[i].rows * params->param[i].cols;
    return count;
}

/* Brings the copies up to the weights. */
static void copy_weights(mr_params *params)
{
    for (int k = 0; k < MR_FLATS; k++) {
        for (int u = 0; params->stale[k] && u < params->unit_count; u++) {
            const mr_flat *flat = &params->unit[u].flat[k];
            if (mr_tensor_exists(flat->copy))
                params->be->ops->convert(params->be, flat->copy, flat->weights);
        }
        params->stale[k] = false;
    }
}

static int lane_index(const mr_params *params, const mr_gather_lane *lane)
{
    return (int)(lane - params->gather);
}

static void start_gather(mr_params *params, mr_gather_lane *lane, int unit)
{
    lane->unit = unit;
    lane->coming = true;
    int64_t at = 0;
    if (mr_params_shares(params)) mr_params_meet(params, MR_TELL_LEFT + lane_index(params, lane));
    for (int k = 0; k < MR_FLATS; k++) {
        mr_flat *flat = &params->unit[unit].flat[k];
        if (flat->count == 0 || mr_flat_kept_whole(params, (mr_flat_kind)k, MR_SLAB_WEIGHTS))
            continue;
        mr_tensor place = mr_tensor_cols(lane->memory, at, flat->count);
        params->be->ops->gather_start(params->be, &params->nodes.across,
                                      mr_params_own_part(params, place), computed(flat),
                                      &lane->transfer[k]);
        at += flat->count;
    }
}

static void finish_gather(mr_params *params, mr_gather_lane *lane)
{
    if (!lane->coming) return;
    for (int k = 0; k < MR_FLATS; k++)
        params->be->ops->wait(params->be, &lane->transfer[k]);
    lane->coming = false;
    if (mr_params_shares(params))
        mr_params_meet(params, MR_TELL_ARRIVED + lane_index(params, lane));
}

/* Starts putting together what nodes keep all of, of which this rank has its shard in place. */
static void start_sharing(const mr_params *params, mr_flat *flat, mr_tensor kept)
{
    params->be->ops->gather_start(params->be, &params->nodes.across, kept, (mr_tensor){0},
                                  &flat->publish);
}

static void finish_sharing(mr_params *params)
{
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++)
            params->be->ops->wait(params->be, &params->unit[u].flat[k].publish);
}

void mr_params_read_begin(mr_params *params)
{
    copy_weights(params);
    if (!params->window || !params->written) return;
    mr_phase_begin(params->be, MR_PHASE_COMM);
    mr_params_meet(params, MR_TELL_WRITTEN);
    params->written = false;
    mr_phase_end(params->be, MR_PHASE_COMM);
}

void mr_params_write_begin(mr_params *params)
{
    if (!params->window) return;
    mr_phase_begin(params->be, MR_PHASE_COMM);
    mr_params_meet(params, MR_TELL_READ);
    mr_phase_end(params->be, MR_PHASE_COMM);
}

void mr_params_use(mr_params *params, int unit, int next)
{
    mr_params_read_begin(params);
    if (!params->gather) return;
    mr_phase_begin(params->be, MR_PHASE_COMM);
    int lane = params->lane_in_use;
    if (params->gather[lane].unit != unit) {
        lane = 1 - lane;
        if (params->gather[lane].unit != unit) {
            finish_gather(params, &params->gather[lane]);
            start_gather(params, &params->gather[lane], unit);
        }
        params->lane_in_use = lane;
    }
    finish_gather(params, &params->gather[lane]);
    mr_gather_lane *other = &params->gather[1 - lane];
    if (next >= 0 && next != unit && other->unit != next) {
        finish_gather(params, other);
        start_gather(params, other, next);
    }
    mr_phase_end(params->be, MR_PHASE_COMM);
}

mr_tensor mr_params_weight(const mr_params *params, int id)
{
    const mr_param *param = &params->param[id];
    const mr_unit *unit = &params->unit[param->unit];
    mr_tensor flat = unit->flat[param->kind].node;
    if (params->gather && !mr_flat_kept_whole(params, param->kind, MR_SLAB_WEIGHTS)) {
        const mr_gather_lane *lane = &params->gather[params->lane_in_use];
        MR_INVARIANT(lane->unit == param->unit);
        int64_t at = param->kind == MR_FLAT_TRAINED ? unit->flat[MR_FLAT_FROZEN].count : 0;
        flat = mr_tensor_cols(lane->memory, at, unit->flat[param->kind].count);
    }
    return mr_flat_part(flat, param);
}

mr_tensor mr_params_adapter(const mr_params *params, int id)
{
    const mr_param *param = &params->param[id];
    MR_INVARIANT(param->kind == MR_FLAT_ADAPTER);
    return mr_flat_part(params->unit[param->unit].flat[param->kind].all, param);
}

/* Forgets what was gathered, once it is there. */
static void forget_gathered(mr_params *params)
{
    params->generation++;
    for (int i = 0; params->gather && i < MR_GATHER_LANES; i++) {
        finish_gather(params, &params->gather[i]);
        params->gather[i].unit = -1;
    }
}

void mr_params_invalidate(mr_params *params)
{
    forget_gathered(params);
    params->rewritten++;
    params->written = true;
    for (int k = 0; k < MR_FLATS; k++)
        params->stale[k] = true;
}

mr_tensor mr_flat_slot(const mr_params *params, const mr_flat *flat, int slot)
{
    const bool shared = mr_params_shares_sums(params);
    if (slot == 0 && !params->whole) return mr_flat_own_grad(params, flat);
    if (slot == 0 && shared) return mr_tensor_rows(flat->sums, params->nodes.place, 1);
    return mr_tensor_rows(flat->partial, slot - (shared || !params->whole), 1);
}

mr_tensor mr_flat_own_grad(const mr_params *params, const mr_flat *flat)
{
    const mr_run shard = mr_flat_shard(params, flat);
    const int64_t from = mr_flat_kept(params, flat, MR_FLAT_TRAINED, MR_SLAB_M).from;
    return mr_tensor_cols(flat->grad, shard.from - from, shard.count);
}

/* Sums of squares are of whole blocks, so that they are the same ones however a flat is dealt out.
 */
_Static_assert(MR_SHARD_BLOCK % MR_SQUARE_RUN == 0, "a shard must be whole runs of squares");

int64_t mr_params_square_count(const mr_params *params)
{
    int64_t count = 0;
    for (int u = 0; u < params->unit_count; u++)
        for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++)
            count += mr_flat_shard_count(params, &params->unit[u].flat[k]) / MR_SQUARE_RUN;
    return count;
}

void mr_params_square_sums(const mr_params *params, mr_tensor sums)
{
    int64_t at = 0;
    for (int u = 0; u < params->unit_count; u++)
        for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
            const mr_flat *flat = &params->unit[u].flat[k];
            int64_t runs = mr_flat_shard_count(params, flat) / MR_SQUARE_RUN;
            if (runs == 0) continue;
            params->be->ops->square_sums(params->be, mr_tensor_cols(sums, at, runs),
                                         mr_flat_own_grad(params, flat));
            at += runs;
        }
}

void mr_params_share_gradients(mr_params *params)
{
    forget_gathered(params);
    if (mr_params_updates_in_place(params)) {
        mr_params_write_begin(params);
        params->written = true;
    }
    if (params->shard != MR_SHARD_NONE || params->nodes.count == 1) return;
    mr_phase_begin(params->be, MR_PHASE_COMM);
    for (int u = 0; u < params->unit_count; u++)
        for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
            mr_flat *flat = &params->unit[u].flat[k];
            if (flat->count == 0) continue;
            start_sharing(params, flat, flat->grad);
        }
    finish_sharing(params);
    mr_phase_end(params->be, MR_PHASE_COMM);
}

void mr_params_publish(mr_params *params)
{
    mr_phase_begin(params->be, MR_PHASE_COMM);
    forget_gathered(params);
    bool shared = params->shard != MR_SHARD_NONE && params->nodes.count > 1;
    /* The optimizer has written the copies of its own part; of others' the weights come here. */
    for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++)
        if (shared && mr_flat_kept_whole(params, (mr_flat_kind)k, MR_SLAB_WEIGHTS))
            params->stale[k] = true;
    for (int u = 0; shared && u < params->unit_count; u++)
        for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
            mr_flat *flat = &params->unit[u].flat[k];
            if (flat->count == 0 || !mr_flat_kept_whole(params, (mr_flat_kind)k, MR_SLAB_WEIGHTS))
                continue;
            start_sharing(params, flat, flat->weights);
        }
    finish_sharing(params);
    mr_phase_end(params->be, MR_PHASE_COMM);
}

void mr_params_share(mr_params *params, bool frozen)
{
    mr_params_invalidate(params);
    for (int u = 0; params->nodes.count > 1 && u < params->unit_count; u++)
        for (int k = frozen ? MR_FLAT_FROZEN : MR_FLAT_TRAINED; k < MR_FLATS; k++) {
            mr_flat *flat = &params->unit[u].flat[k];
            const mr_tensor memory[] = {
                [MR_SLAB_WEIGHTS] = flat->weights, [MR_SLAB_M] = flat->m, [MR_SLAB_V] = flat->v};
            for (int what = MR_SLAB_WEIGHTS; what <= MR_SLAB_V; what++) {
                if (!mr_tensor_exists(memory[what]) ||
                    !mr_flat_kept_whole(params, (mr_flat_kind)k, (mr_slab_kind)what))
                    continue;
                start_sharing(params, flat, memory[what]);
                params->be->ops->wait(params->be, &flat->publish);
            }
        }
}

void mr_params_read(mr_params *params, int id, float *out)
{
    mr_params_use(params, params->param[id].unit, -1);
    params->be->ops->download(params->be, out, mr_params_weight(params, id));
}
