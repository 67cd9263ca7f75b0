#include "model/params_impl.h"
#include "model/tree.h"

#include <stdio.h>
#include <string.h>

/* A place a unit's sharded weights are gathered into. */
struct mr_gather_lane {
    mr_tensor memory; /* [1, largest unit], owned */
    int unit;         /* whose weights stand here or are on their way, -1 for none */
    mr_transfer transfer[MR_FLATS];
};

enum { GATHER_LANES = 2 };

/* Elements of all parameters: with any number of copies bytes stay below 2^62. */
static const int64_t MOST_ELEMENTS = (int64_t)1 << 50;

mr_status mr_params_create(const mr_comm *comm, mr_backend *be, mr_shard shard,
                           mr_params_types types, int units, mr_params **out)
{
    *out = NULL;
    mr_params *params = mr_alloc(MR_MEM_OTHER, sizeof *params);
    if (!params) return MR_ERR_MEMORY;
    *params = (mr_params){.comm = comm,
                          .be = be,
                          .shard = shard,
                          .types = types,
                          .unit_count = units,
                          .waves = 1,
                          .generation = 1};
    params->unit = mr_alloc_array(MR_MEM_OTHER, (size_t)units, sizeof *params->unit);
    if (!params->unit) {
        mr_params_destroy(&params);
        return MR_ERR_MEMORY;
    }
    *out = params;
    return MR_OK;
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

void mr_params_layout(mr_params *params, int64_t waves)
{
    int64_t unit = (int64_t)params->comm->size * MR_SHARD_BLOCK;
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++) {
            mr_flat *flat = &params->unit[u].flat[k];
            flat->count = (flat->used + unit - 1) / unit * unit;
        }
    params->waves = waves;
}

/* The elements of a flat that one rank is responsible for. */
static int64_t shard_count(const mr_params *params, const mr_flat *flat)
{
    return flat->count / params->comm->size;
}

static bool weights_sharded(const mr_params *params, int kind)
{
    return params->shard == MR_SHARD_FULL && kind != MR_FLAT_ADAPTER;
}

/* Elements a rank keeps of one flat: the one place that says so, for the plan and the allocation.
 */
typedef struct flat_size {
    int64_t weights, grad, partial_rows, partial_cols, moment;
} flat_size;

/* The type that the weights of a flat are kept in. */
static mr_dtype kept_type(const mr_params *params, int kind)
{
    return kind == MR_FLAT_FROZEN && !params->types.keeps_frozen ? params->types.compute : MR_F32;
}

static bool is_copied(const mr_params *params, int kind)
{
    return kept_type(params, kind) != params->types.compute;
}

static flat_size size_of_flat(const mr_params *params, int unit, int kind)
{
    const mr_flat *flat = &params->unit[unit].flat[kind];
    int64_t whole = flat->count, shard = shard_count(params, flat);
    flat_size size = {.weights = weights_sharded(params, kind) ? shard : whole};
    if (kind == MR_FLAT_FROZEN || whole == 0) return size;
    size.grad = size.moment = params->shard == MR_SHARD_NONE ? whole : shard;
    size.partial_rows = mr_tree_slots(params->waves) - 1;
    size.partial_cols = shard;
    return size;
}

/* Elements of the largest gathered unit; 0 where nothing is gathered. */
static int64_t gather_count(const mr_params *params)
{
    int64_t most = 0;
    if (params->shard != MR_SHARD_FULL || params->comm->size == 1) return 0;
    for (int u = 0; u < params->unit_count; u++) {
        const mr_unit *unit = &params->unit[u];
        int64_t count = unit->flat[MR_FLAT_FROZEN].count + unit->flat[MR_FLAT_TRAINED].count;
        if (count > most) most = count;
    }
    return most;
}

void mr_params_bytes(const mr_params *params, size_t bytes[MR_MEM_PURPOSES])
{
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++) {
            flat_size size = size_of_flat(params, u, k);
            bytes[MR_MEM_WEIGHTS] += mr_dtype_size(kept_type(params, k)) * (size_t)size.weights;
            if (is_copied(params, k))
                bytes[MR_MEM_WEIGHTS] +=
                    mr_dtype_size(params->types.compute) * (size_t)size.weights;
            bytes[MR_MEM_GRADIENTS] +=
                4 * (size_t)(size.grad + size.partial_rows * size.partial_cols);
            bytes[MR_MEM_OPTIMIZER] += 8 * (size_t)size.moment;
        }
    bytes[MR_MEM_GATHER] +=
        mr_dtype_size(params->types.compute) * (size_t)(GATHER_LANES * gather_count(params));
}

static mr_status allocate_flat(mr_params *params, int unit, int kind)
{
    mr_backend *be = params->be;
    mr_flat *flat = &params->unit[unit].flat[kind];
    if (flat->count == 0) return MR_OK;
    flat_size size = size_of_flat(params, unit, kind);
    MR_TRY(mr_backend_tensor(be, MR_MEM_WEIGHTS, kept_type(params, kind), 1, size.weights,
                             &flat->weights));
    if (is_copied(params, kind))
        MR_TRY(mr_backend_tensor(be, MR_MEM_WEIGHTS, params->types.compute, 1, size.weights,
                                 &flat->copy));
    if (size.grad == 0) return MR_OK;
    MR_TRY(mr_backend_tensor(be, MR_MEM_GRADIENTS, MR_F32, 1, size.grad, &flat->grad));
    if (size.partial_rows > 0)
        MR_TRY(mr_backend_tensor(be, MR_MEM_GRADIENTS, MR_F32, size.partial_rows, size.partial_cols,
                                 &flat->partial));
    MR_TRY(mr_backend_tensor(be, MR_MEM_OPTIMIZER, MR_F32, 1, size.moment, &flat->m));
    return mr_backend_tensor(be, MR_MEM_OPTIMIZER, MR_F32, 1, size.moment, &flat->v);
}

mr_status mr_params_allocate(mr_params *params)
{
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++)
            MR_TRY(allocate_flat(params, u, k));
    int64_t gathered = gather_count(params);
    if (gathered > 0) {
        params->gather = mr_alloc_array(MR_MEM_OTHER, GATHER_LANES, sizeof *params->gather);
        if (!params->gather) return MR_ERR_MEMORY;
        for (int i = 0; i < GATHER_LANES; i++) {
            params->gather[i].unit = -1;
            MR_TRY(mr_backend_tensor(params->be, MR_MEM_GATHER, params->types.compute, 1, gathered,
                                     &params->gather[i].memory));
        }
    }
    return MR_OK;
}

void mr_params_destroy(mr_params **out)
{
    mr_params *params = *out;
    if (!params) return;
    mr_backend *be = params->be;
    mr_params_invalidate(params); /* a gather may still be writing into what is freed here */
    for (int u = 0; params->unit && u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++) {
            mr_flat *flat = &params->unit[u].flat[k];
            mr_backend_free(be, &flat->weights);
            mr_backend_free(be, &flat->copy);
            mr_backend_free(be, &flat->grad);
            mr_backend_free(be, &flat->partial);
            mr_backend_free(be, &flat->m);
            mr_backend_free(be, &flat->v);
        }
    for (int i = 0; params->gather && i < GATHER_LANES; i++)
        mr_backend_free(be, &params->gather[i].memory);
    mr_free(params->gather);
    mr_free(params->unit);
    mr_free(params->param);
    mr_free(params);
    *out = NULL;
}

const mr_comm *mr_params_comm(const mr_params *params)
{
    return params->comm;
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

int64_t mr_params_count(const mr_params *params, bool trained_only)
{
    int64_t count = 0;
    for (int i = 0; i < params->param_count; i++)
        if (!trained_only || params->param[i].trained)
            count += params->param[i].rows * params->param[i].cols;
    return count;
}

/* What a flat is computed with. */
static mr_tensor computed(const mr_flat *flat)
{
    return mr_tensor_exists(flat->copy) ? flat->copy : flat->weights;
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

static void start_gather(mr_params *params, mr_gather_lane *lane, int unit)
{
    lane->unit = unit;
    int64_t at = 0;
    for (int k = 0; k < MR_FLATS; k++) {
        mr_flat *flat = &params->unit[unit].flat[k];
        if (flat->count == 0 || !weights_sharded(params, k)) continue;
        mr_tensor place = mr_tensor_cols(lane->memory, at, flat->count);
        params->be->ops->gather_start(params->be, params->comm, place, computed(flat),
                                      &lane->transfer[k]);
        at += flat->count;
    }
}

static void finish_gather(const mr_params *params, mr_gather_lane *lane)
{
    for (int k = 0; k < MR_FLATS; k++)
        params->be->ops->wait(params->be, &lane->transfer[k]);
}

/* Starts putting together a flat of which this rank has its own part in place. */
static void start_sharing(const mr_params *params, mr_flat *flat, mr_tensor whole)
{
    params->be->ops->gather_start(params->be, params->comm, whole, (mr_tensor){0}, &flat->publish);
}

static void finish_sharing(mr_params *params)
{
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++)
            params->be->ops->wait(params->be, &params->unit[u].flat[k].publish);
}

void mr_params_use(mr_params *params, int unit, int next)
{
    copy_weights(params);
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
    mr_tensor flat = computed(&unit->flat[param->kind]);
    if (params->gather && weights_sharded(params, (int)param->kind)) {
        const mr_gather_lane *lane = &params->gather[params->lane_in_use];
        MR_INVARIANT(lane->unit == param->unit);
        int64_t at = param->kind == MR_FLAT_TRAINED ? unit->flat[MR_FLAT_FROZEN].count : 0;
        flat = mr_tensor_cols(lane->memory, at, unit->flat[param->kind].count);
    }
    return mr_tensor_reshape(mr_tensor_cols(flat, param->offset, param->rows * param->cols),
                             param->rows, param->cols);
}

/* Forgets what was gathered, once it is there. */
static void forget_gathered(mr_params *params)
{
    params->generation++;
    for (int i = 0; params->gather && i < GATHER_LANES; i++) {
        finish_gather(params, &params->gather[i]);
        params->gather[i].unit = -1;
    }
}

void mr_params_invalidate(mr_params *params)
{
    forget_gathered(params);
    for (int k = 0; k < MR_FLATS; k++)
        params->stale[k] = true;
}

mr_tensor mr_flat_slot(const mr_params *params, const mr_flat *flat, int slot)
{
    int64_t shard = shard_count(params, flat);
    if (slot > 0) return mr_tensor_rows(flat->partial, slot - 1, 1);
    /* Under none the own part of the gradient has its place in the whole. */
    bool whole = params->shard == MR_SHARD_NONE;
    return mr_tensor_cols(flat->grad, whole ? params->comm->rank * shard : 0, shard);
}

/* Sums of squares are of whole blocks, so that they are the same ones however a flat is dealt out.
 */
_Static_assert(MR_SHARD_BLOCK % MR_SQUARE_RUN == 0, "a shard must be whole runs of squares");

int64_t mr_params_square_count(const mr_params *params)
{
    int64_t count = 0;
    for (int u = 0; u < params->unit_count; u++)
        for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++)
            count += shard_count(params, &params->unit[u].flat[k]) / MR_SQUARE_RUN;
    return count;
}

void mr_params_square_sums(const mr_params *params, mr_tensor sums)
{
    int64_t at = 0;
    for (int u = 0; u < params->unit_count; u++)
        for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
            const mr_flat *flat = &params->unit[u].flat[k];
            int64_t runs = shard_count(params, flat) / MR_SQUARE_RUN;
            if (runs == 0) continue;
            params->be->ops->square_sums(params->be, mr_tensor_cols(sums, at, runs),
                                         mr_flat_slot(params, flat, 0));
            at += runs;
        }
}

void mr_params_share_gradients(mr_params *params)
{
    forget_gathered(params);
    if (params->shard != MR_SHARD_NONE || params->comm->size == 1) return;
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
    params->stale[MR_FLAT_TRAINED] = params->stale[MR_FLAT_ADAPTER] = true;
    bool shared = params->shard != MR_SHARD_NONE && params->comm->size > 1;
    for (int u = 0; shared && u < params->unit_count; u++)
        for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
            mr_flat *flat = &params->unit[u].flat[k];
            if (flat->count == 0 || weights_sharded(params, k)) continue;
            start_sharing(params, flat, flat->weights);
        }
    finish_sharing(params);
    mr_phase_end(params->be, MR_PHASE_COMM);
}

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
        extent = shard_count(params, flat);
        from = params->comm->rank * extent;
    }
    mr_own own = {0};
    own.count = overlap(param, from, extent, &own.first);
    if (own.count == 0) return own;
    int64_t in_flat = param->offset + own.first, in_own = in_flat - from;
    bool sharded = weights_sharded(params, (int)param->kind);
    own.weight = mr_tensor_cols(flat->weights, sharded ? in_own : in_flat, own.count);
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

/* Whether a rank keeps all of a flat. */
static bool kept_whole(const mr_params *params, mr_flat_kind kind, mr_slab_kind what)
{
    return what == MR_SLAB_WEIGHTS ? !weights_sharded(params, (int)kind)
                                   : params->shard == MR_SHARD_NONE;
}

/* Element of the flat that its kept memory starts with. */
static int64_t kept_from(const mr_params *params, const mr_flat *flat, mr_flat_kind kind,
                         mr_slab_kind what)
{
    return kept_whole(params, kind, what) ? 0 : params->comm->rank * shard_count(params, flat);
}

/* As mr_params_shard and mr_params_kept, of a whole flat; first counts its elements. */
static mr_slab flat_shard(const mr_params *params, int unit, mr_flat_kind kind, mr_slab_kind what)
{
    const mr_flat *flat = &params->unit[unit].flat[kind];
    int64_t extent = shard_count(params, flat);
    if (kind == MR_FLAT_FROZEN && what != MR_SLAB_WEIGHTS) return (mr_slab){0};
    return slab_of(flat, memory_of(flat, what), kept_from(params, flat, kind, what),
                   params->comm->rank * extent, extent);
}

static mr_slab flat_kept(const mr_params *params, int unit, mr_flat_kind kind, mr_slab_kind what)
{
    const mr_flat *flat = &params->unit[unit].flat[kind];
    int64_t from = kept_from(params, flat, kind, what);
    int64_t extent = kept_whole(params, kind, what) ? flat->count : shard_count(params, flat);
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
    return kept_whole(params, param->kind, what) && (param->trained || what == MR_SLAB_WEIGHTS);
}

void mr_params_share(mr_params *params, bool frozen)
{
    mr_params_invalidate(params);
    for (int u = 0; params->comm->size > 1 && u < params->unit_count; u++)
        for (int k = frozen ? MR_FLAT_FROZEN : MR_FLAT_TRAINED; k < MR_FLATS; k++)
            for (int what = MR_SLAB_WEIGHTS; what <= MR_SLAB_V; what++) {
                mr_flat *flat = &params->unit[u].flat[k];
                mr_tensor memory = memory_of(flat, (mr_slab_kind)what);
                if (!mr_tensor_exists(memory) ||
                    !kept_whole(params, (mr_flat_kind)k, (mr_slab_kind)what))
                    continue;
                start_sharing(params, flat, memory);
                params->be->ops->wait(params->be, &flat->publish);
            }
}

int64_t mr_params_shard_most(const mr_params *params, bool frozen)
{
    int64_t count = 0;
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++) {
            const mr_flat *flat = &params->unit[u].flat[k];
            int64_t shard = shard_count(params, flat);
            int64_t most = shard < flat->used ? shard : flat->used;
            if (k != MR_FLAT_FROZEN) count += 3 * most;
            if (k == MR_FLAT_FROZEN && frozen) count += most;
        }
    return count;
}

mr_status mr_params_fill(mr_params *params, int id, mr_params_source source, void *context)
{
    enum { CHUNK = 1 << 20 };
    const mr_param *param = &params->param[id];
    const mr_flat *flat = &params->unit[param->unit].flat[param->kind];
    int64_t from = kept_from(params, flat, param->kind, MR_SLAB_WEIGHTS), first;
    int64_t count = overlap(param, from, flat->weights.cols, &first);
    if (count == 0) return MR_OK;
    float *values =
        mr_alloc_array(MR_MEM_OTHER, (size_t)(count < CHUNK ? count : CHUNK), sizeof *values);
    if (!values) return MR_ERR_MEMORY;
    mr_status status = MR_OK;
    for (int64_t done = 0; done < count && status == MR_OK; done += CHUNK) {
        int64_t part = count - done < CHUNK ? count - done : CHUNK;
        status = source(context, param, first + done, part, values);
        if (status != MR_OK) break;
        int64_t at = param->offset + first + done - from;
        params->be->ops->upload(params->be, mr_tensor_cols(flat->weights, at, part), values);
    }
    mr_free(values);
    return status;
}

void mr_params_read(mr_params *params, int id, float *out)
{
    mr_params_use(params, params->param[id].unit, -1);
    params->be->ops->download(params->be, out, mr_params_weight(params, id));
}
