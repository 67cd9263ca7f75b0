/* What of parameters the ranks of a node share; the layout is told in
 * model/params_impl.h. */

#include "model/arena.h"
#include "model/params_impl.h"

int64_t mr_params_gather_count(const mr_params *params)
{
    int64_t most = 0;
    if (!mr_params_gathers(params)) return 0;
    for (int u = 0; u < params->unit_count; u++) {
        const mr_unit *unit = &params->unit[u];
        int64_t count = unit->flat[MR_FLAT_FROZEN].count + unit->flat[MR_FLAT_TRAINED].count;
        if (count > most) most = count;
    }
    return most;
}

/* Places what all ranks of the node keep of a flat's weights, in a type; returns all of it and, in
 * own, this one's. */
static mr_tensor place_weights(const mr_params *params, const mr_flat *flat, int kind,
                               mr_dtype dtype, mr_arena *arena, mr_tensor *own)
{
    const int64_t kept = mr_flat_kept(params, flat, (mr_flat_kind)kind, MR_SLAB_WEIGHTS).count;
    const mr_tensor all = mr_arena_take(arena, dtype, 1, params->nodes.ranks * kept);
    *own = mr_tensor_cols(all, params->nodes.place * kept, kept);
    return all;
}

/* Places what a node shares of a flat. */
static void place_flat(const mr_params *params, mr_flat *flat, int kind, mr_arena *arena)
{
    if (flat->count == 0) return;
    flat->all =
        place_weights(params, flat, kind, mr_flat_kept_type(params, kind), arena, &flat->weights);
    flat->node = flat->all;
    if (mr_flat_is_copied(params, kind))
        flat->node = place_weights(params, flat, kind, params->types.compute, arena, &flat->copy);
    if (kind != MR_FLAT_FROZEN && mr_params_shares_sums(params))
        flat->sums = mr_arena_take(arena, MR_F32, params->nodes.ranks, flat->count);
}

/* Places all that a node shares; called once to measure and once to place.
 * Lanes get theirs where they are there. */
static void place(const mr_params *params, mr_arena *arena)
{
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++) {
            mr_flat measured = params->unit[u].flat[k];
            place_flat(params, arena->buffer ? &params->unit[u].flat[k] : &measured, k, arena);
        }
    const int64_t gathered = mr_params_gather_count(params);
    for (int i = 0; i < MR_GATHER_LANES && gathered > 0; i++) {
        mr_tensor memory = mr_arena_take(arena, params->types.compute, 1, gathered);
        if (params->gather) params->gather[i].memory = memory;
    }
}

static size_t shared_bytes(const mr_params *params)
{
    mr_arena measure = {0};
    place(params, &measure);
    return measure.used;
}

void mr_params_part_bytes(const mr_params *params, size_t bytes[MR_MEM_PURPOSES])
{
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++) {
            const mr_flat_size size = mr_flat_size_of(params, u, k);
            bytes[MR_MEM_WEIGHTS] += size.weight * (size_t)size.weights;
            bytes[MR_MEM_GRADIENTS] += sizeof(float) * (size_t)size.sums;
        }
    bytes[MR_MEM_GATHER] +=
        mr_dtype_size(params->types.compute) *
        (size_t)(MR_GATHER_LANES * mr_params_gather_count(params) / params->nodes.ranks);
}

/* Takes the pages of a tensor that this rank writes in the window. */
static mr_status reserve(const mr_params *params, mr_tensor own)
{
    const size_t size = mr_dtype_size(own.dtype);
    if (own.buffer != params->shared) return MR_OK;
    return mr_window_reserve(params->window, (size_t)own.offset * size, (size_t)own.cols * size);
}

static mr_status reserve_part(const mr_params *params)
{
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++) {
            const mr_flat *flat = &params->unit[u].flat[k];
            MR_TRY(reserve(params, flat->weights));
            MR_TRY(reserve(params, flat->copy));
            if (mr_tensor_exists(flat->sums))
                MR_TRY(reserve(params, mr_tensor_rows(flat->sums, params->nodes.place, 1)));
        }
    for (int i = 0; params->gather && i < MR_GATHER_LANES; i++)
        MR_TRY(reserve(params, mr_params_own_part(params, params->gather[i].memory)));
    return MR_OK;
}

/* Lays the window out, and takes the pages of this rank's part. */
static mr_status take_memory(mr_params *params)
{
    size_t part[MR_MEM_PURPOSES] = {0};
    MR_TRY(
        params->be->ops->buffer_share(params->be, mr_window_data(params->window), &params->shared));
    mr_arena arena = {.buffer = params->shared};
    place(params, &arena);
    mr_params_part_bytes(params, part);
    for (int i = 0; i < MR_MEM_PURPOSES; i++)
        mr_memory_hold((mr_purpose)i, part[i]);
    return reserve_part(params);
}

mr_status mr_params_open_window(const mr_params *params, size_t bytes, int counters,
                                mr_window **out)
{
    const mr_status status = mr_window_create(&params->nodes, bytes, counters, out);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "parallel.shared_memory");
}

mr_status mr_params_open(mr_params *params)
{
    if (!mr_params_shares(params)) return MR_OK;
    if (mr_params_gather_count(params) > 0)
        params->gather = mr_alloc_array(MR_MEM_OTHER, MR_GATHER_LANES, sizeof *params->gather);
    const bool there = params->gather || mr_params_gather_count(params) == 0;
    MR_AGREE(params->comm, there ? MR_OK : MR_ERR_MEMORY);
    MR_TRY(mr_params_open_window(params, shared_bytes(params), MR_TELLS, &params->window));
    return mr_comm_agree(params->comm, take_memory(params));
}

void mr_params_close(mr_params *params)
{
    size_t part[MR_MEM_PURPOSES] = {0};
    if (params->shared) {
        mr_params_part_bytes(params, part);
        for (int i = 0; i < MR_MEM_PURPOSES; i++)
            mr_memory_release((mr_purpose)i, part[i]);
        params->be->ops->buffer_destroy(params->be, &params->shared);
    }
    mr_window_destroy(&params->window);
}

void mr_params_meet(mr_params *params, int tell)
{
    mr_window_post(params->window, tell, ++params->told[tell]);
    mr_window_await(params->window, tell, params->told[tell]);
}
