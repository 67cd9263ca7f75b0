/* The memory of a reduction of gradients; the contract stands in model/reduce.h. */

#include "model/arena.h"
#include "model/reduce_impl.h"

/* Whether sums of whole gradients are kept beside the parameters: one rank writes them where they
 * end up. */
static bool keeps_whole(const mr_params *params, const mr_reduce_cut *cut)
{
    return params->comm->size == 1 || cut->whole;
}

void mr_reduce_layout(mr_params *params, const mr_reduce_cut *cut)
{
    const mr_tree own = mr_reduce_own_tree(cut), met = mr_reduce_met_tree(cut);
    const bool whole = keeps_whole(params, cut);
    MR_INVARIANT(!whole || cut->meetings == 1);
    mr_params_layout(params, mr_tree_slots(whole ? &own : &met), whole);
}

/* Elements of a lane; 0 where nothing is trained. */
static int64_t largest_leaf(const mr_params *params)
{
    int64_t most = 0;
    for (int u = 0; u < params->unit_count; u++)
        if (mr_unit_leaf_count(&params->unit[u]) > most)
            most = mr_unit_leaf_count(&params->unit[u]);
    return most;
}

/* What is allocated, each of the largest leaf: the one place that says so. */
typedef struct sizes {
    int lanes;
    int slots; /* of leaves in a lane */
    int spares;
    bool pieces; /* are sent */
    bool sum;    /* of a node is sent from a place of its own */
} sizes;

static sizes sizes_of(const mr_reduce *r)
{
    const mr_tree own = mr_reduce_own_tree(&r->cut), met = mr_reduce_met_tree(&r->cut);
    const bool long_leaf = r->cut.long_unit >= 0;
    sizes s = {0};
    if (r->params->comm->size > 1 && !mr_reduce_in_place(r))
        s.lanes = long_leaf ? MR_REDUCE_LANES : MR_REDUCE_LANES - 1;
    if (!r->params->whole) s.slots = mr_tree_slots(&own);
    if (mr_tree_has_joins(&own)) s.spares = long_leaf ? MR_REDUCE_SPARES : 1;
    if (mr_tree_has_joins(&met) && s.spares == 0) s.spares = 1;
    s.pieces = r->params->nodes.count > 1;
    s.sum = s.pieces && mr_params_shares(r->params);
    return s;
}

/* Bytes of a lane's leaves. */
static size_t leaf_bytes(const mr_reduce *r)
{
    return sizeof(float) * (size_t)(sizes_of(r).slots * largest_leaf(r->params));
}

/* What ranks of a node tell each other is of all in turn, of a unit, or of a lane where its memory
 * is shared. */
static int channels(const mr_reduce *r)
{
    if (mr_reduce_in_place(r)) return 1;
    return r->params->whole ? r->params->unit_count : MR_REDUCE_LANES;
}

mr_status mr_reduce_create(const mr_params *params, const mr_reduce_cut *cut, mr_reduce **out)
{
    *out = NULL;
    mr_reduce *r = mr_alloc(MR_MEM_OTHER, sizeof *r);
    if (!r) return MR_ERR_MEMORY;
    *r = (mr_reduce){.params = params, .cut = *cut};
    for (int i = 0; i < MR_REDUCE_LANES; i++)
        r->lane[i].unit = -1;
    r->sums = mr_alloc_array(MR_MEM_OTHER, (size_t)params->unit_count, sizeof *r->sums);
    if (!r->sums) {
        mr_reduce_destroy(&r);
        return MR_ERR_MEMORY;
    }
    for (int u = 0; u < params->unit_count; u++)
        r->sums[u] = (mr_unit_sums){.own = mr_reduce_own_tree(cut), .met = mr_reduce_met_tree(cut)};
    *out = r;
    return MR_OK;
}

void mr_reduce_bytes(const mr_reduce *r, size_t bytes[MR_MEM_PURPOSES])
{
    const sizes s = sizes_of(r);
    const int64_t most = largest_leaf(r->params), part = most / r->params->nodes.ranks;
    bytes[MR_MEM_REDUCE] += (size_t)s.lanes * leaf_bytes(r);
    bytes[MR_MEM_REDUCE] +=
        sizeof(float) * (size_t)(s.lanes * (s.pieces + s.sum) * part + s.spares * most);
}

static size_t shared_bytes(const mr_reduce *r)
{
    return (size_t)(sizes_of(r).lanes * r->params->nodes.ranks) * leaf_bytes(r);
}

/* Lays the window out, and takes the pages of this rank's leaves. */
static mr_status take_memory(mr_reduce *r)
{
    const mr_params *params = r->params;
    const sizes s = sizes_of(r);
    MR_TRY(params->be->ops->buffer_share(params->be, mr_window_data(r->window), &r->shared));
    mr_memory_hold(MR_MEM_REDUCE, (size_t)s.lanes * leaf_bytes(r));
    mr_arena arena = {.buffer = r->shared};
    for (int i = 0; i < s.lanes && s.slots > 0; i++) {
        mr_reduce_lane *lane = &r->lane[i];
        lane->leaves =
            mr_arena_take(&arena, MR_F32, params->nodes.ranks, s.slots * largest_leaf(params));
        lane->leaf = mr_tensor_reshape(mr_tensor_rows(lane->leaves, params->nodes.place, 1),
                                       s.slots, largest_leaf(params));
        MR_TRY(
            mr_window_reserve(r->window, sizeof(float) * (size_t)lane->leaf.offset, leaf_bytes(r)));
    }
    return MR_OK;
}

mr_status mr_reduce_open(mr_reduce *r)
{
    const mr_params *params = r->params;
    if (!mr_params_shares(params) || largest_leaf(params) == 0) return MR_OK;
    r->met = mr_alloc_array(MR_MEM_OTHER, (size_t)channels(r), sizeof *r->met);
    MR_AGREE(params->comm, r->met ? MR_OK : MR_ERR_MEMORY);
    MR_TRY(mr_params_open_window(params, shared_bytes(r), MR_SUM_TELLS * channels(r), &r->window));
    return mr_comm_agree(params->comm, take_memory(r));
}

mr_status mr_reduce_allocate(mr_reduce *r)
{
    mr_backend *be = r->params->be;
    const sizes s = sizes_of(r);
    const int64_t most = largest_leaf(r->params);
    const int64_t part = most / r->params->nodes.ranks;
    for (int i = 0; i < s.lanes && most > 0; i++) {
        mr_reduce_lane *lane = &r->lane[i];
        if (s.slots > 0 && !r->shared)
            MR_TRY(mr_backend_tensor(be, MR_MEM_REDUCE, MR_F32, s.slots, most, &lane->leaf));
        if (s.pieces) MR_TRY(mr_backend_tensor(be, MR_MEM_REDUCE, MR_F32, 1, part, &lane->pieces));
        if (s.sum) MR_TRY(mr_backend_tensor(be, MR_MEM_REDUCE, MR_F32, 1, part, &lane->sum));
    }
    for (int i = 0; i < s.spares && most > 0; i++)
        MR_TRY(mr_backend_tensor(be, MR_MEM_REDUCE, MR_F32, 1, most, &r->spare[i]));
    return MR_OK;
}

void mr_reduce_destroy(mr_reduce **out)
{
    mr_reduce *r = *out;
    if (!r) return;
    mr_backend *be = r->params->be;
    for (int i = 0; i < MR_REDUCE_LANES; i++) {
        if (!r->shared) mr_backend_free(be, &r->lane[i].leaf);
        mr_backend_free(be, &r->lane[i].pieces);
        mr_backend_free(be, &r->lane[i].sum);
    }
    if (r->shared) mr_memory_release(MR_MEM_REDUCE, (size_t)sizes_of(r).lanes * leaf_bytes(r));
    be->ops->buffer_destroy(be, &r->shared);
    mr_window_destroy(&r->window);
    for (int i = 0; i < MR_REDUCE_SPARES; i++)
        mr_backend_free(be, &r->spare[i]);
    mr_free(r->met);
    mr_free(r->sums);
    mr_free(r);
    *out = NULL;
}
