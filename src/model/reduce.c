/* Leaves of micro-batches and their reduction; the contract stands in model/params.h. */

#include "model/params.h"

enum { LANES = 3, LONG_LANE = 2 };

/* A place where a unit's leaves are written and summed before they travel. */
struct mr_reduce_lane {
    mr_tensor leaf;   /* [slots of the tree in a wave, largest leaf], owned */
    mr_tensor pieces; /* [1, largest leaf]: what the other ranks sent, owned */
    int unit;         /* whose leaf this is, -1 for none */
    bool open, travelling;
    mr_tree tree;
    mr_request request[MR_FLATS];
};

static int64_t leaf_count(const mr_unit *unit)
{
    return unit->flat[MR_FLAT_TRAINED].count + unit->flat[MR_FLAT_ADAPTER].count;
}

static int64_t largest_leaf(const mr_params *params)
{
    int64_t most = 0;
    for (int u = 0; u < params->unit_count; u++)
        if (leaf_count(&params->unit[u]) > most) most = leaf_count(&params->unit[u]);
    return most;
}

/* On one rank leaves are written straight into the slots of the flat's tree: no lane holds memory.
 */
static int lanes_with_memory(const mr_params *params)
{
    if (params->comm->size == 1) return 0;
    return params->long_unit >= 0 ? LANES : LANES - 1;
}

size_t mr_reduce_bytes(const mr_params *params)
{
    int64_t slots = mr_tree_slots(params->in_wave) + 1;
    return sizeof(float) * (size_t)(lanes_with_memory(params) * slots * largest_leaf(params));
}

mr_status mr_reduce_create(mr_params *params)
{
    params->reduce = mr_alloc_array(MR_MEM_OTHER, LANES, sizeof *params->reduce);
    if (!params->reduce) return MR_ERR_MEMORY;
    int64_t most = largest_leaf(params);
    for (int i = 0; i < LANES; i++) {
        mr_reduce_lane *lane = &params->reduce[i];
        lane->unit = -1;
        if (i >= lanes_with_memory(params) || most == 0) continue;
        MR_TRY(mr_backend_tensor(params->be, MR_MEM_REDUCE, MR_F32, mr_tree_slots(params->in_wave),
                                 most, &lane->leaf));
        MR_TRY(mr_backend_tensor(params->be, MR_MEM_REDUCE, MR_F32, 1, most, &lane->pieces));
    }
    return MR_OK;
}

void mr_reduce_destroy(mr_params *params)
{
    for (int i = 0; params->reduce && i < LANES; i++) {
        mr_backend_free(params->be, &params->reduce[i].leaf);
        mr_backend_free(params->be, &params->reduce[i].pieces);
    }
    mr_free(params->reduce);
    params->reduce = NULL;
}

/* Adds a leaf of a flat's tree over waves that stands in slot tree.depth. */
static void push_wave(mr_params *params, mr_flat *flat)
{
    for (int additions = mr_tree_push(&flat->tree); additions > 0; additions--) {
        int into = mr_tree_pop(&flat->tree);
        params->be->ops->add(params->be, mr_flat_slot(params, flat, into),
                             mr_flat_slot(params, flat, into + 1));
    }
}

/* Waits for a travelling leaf and adds the ranks' pieces into the tree over waves. */
static void finish(mr_params *params, mr_reduce_lane *lane)
{
    if (!lane->travelling) return;
    double began = mr_phase_begin();
    mr_unit *unit = &params->unit[lane->unit];
    int ranks = params->comm->size;
    int64_t at = 0;
    for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
        mr_flat *flat = &unit->flat[k];
        if (flat->count == 0) continue;
        mr_comm_wait(&lane->request[k]);
        mr_tensor pieces = mr_tensor_reshape(mr_tensor_cols(lane->pieces, at, flat->count), ranks,
                                             flat->count / ranks);
        params->be->ops->sum_pieces(params->be, mr_flat_slot(params, flat, flat->tree.depth),
                                    pieces);
        push_wave(params, flat);
        at += flat->count;
    }
    lane->travelling = false;
    lane->unit = -1;
    mr_phase_end(params->be, MR_PHASE_COMM, began);
}

static mr_reduce_lane *lane_of(const mr_params *params, int unit)
{
    for (int i = 0; i < LANES; i++)
        if (params->reduce[i].unit == unit && !params->reduce[i].travelling)
            return &params->reduce[i];
    return NULL;
}

/* Starts a step's trees anew where the last one is complete. */
static void open_trees(mr_params *params, mr_unit *unit)
{
    for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++)
        if (mr_tree_complete(&unit->flat[k].tree)) unit->flat[k].tree = mr_tree_of(params->waves);
}

void mr_params_leaf_begin(mr_params *params, int unit)
{
    if (leaf_count(&params->unit[unit]) == 0) return;
    mr_reduce_lane *lane = lane_of(params, unit);
    if (!lane) {
        if (unit == params->long_unit) {
            lane = &params->reduce[LONG_LANE];
        } else {
            lane = &params->reduce[params->reduce_turn];
            params->reduce_turn = 1 - params->reduce_turn;
        }
        finish(params, lane);
        MR_INVARIANT(!lane->open);
        lane->unit = unit;
        lane->tree = mr_tree_of(params->in_wave);
    }
    MR_INVARIANT(!lane->open);
    lane->open = true;
    if (params->comm->size == 1) {
        open_trees(params, &params->unit[unit]);
        return;
    }
    /* Lanes serve units of other layouts in turn: what is padding here may hold old numbers. */
    mr_tensor slot = mr_tensor_rows(lane->leaf, lane->tree.depth, 1);
    int64_t at = 0;
    for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
        const mr_flat *flat = &params->unit[unit].flat[k];
        params->be->ops->fill(params->be,
                              mr_tensor_cols(slot, at + flat->used, flat->count - flat->used), 0);
        at += flat->count;
    }
}

mr_tensor mr_params_grad(const mr_params *params, int id)
{
    const mr_param *param = &params->param[id];
    if (param->kind == MR_FLAT_FROZEN) return (mr_tensor){0};
    mr_unit *unit = &params->unit[param->unit];
    const mr_reduce_lane *lane = lane_of(params, param->unit);
    MR_INVARIANT(lane && lane->open);
    mr_flat *flat = &unit->flat[param->kind];
    mr_tensor leaf;
    if (params->comm->size == 1) {
        leaf = mr_flat_slot(params, flat, flat->tree.depth);
    } else {
        int64_t at = param->kind == MR_FLAT_ADAPTER ? unit->flat[MR_FLAT_TRAINED].count : 0;
        leaf = mr_tensor_cols(mr_tensor_rows(lane->leaf, lane->tree.depth, 1), at, flat->count);
    }
    return mr_tensor_reshape(mr_tensor_cols(leaf, param->offset, param->rows * param->cols),
                             param->rows, param->cols);
}

/* Sends the wave's local sum, slot 0 of the lane, to the owners of its shards. */
static void start_exchange(mr_params *params, mr_reduce_lane *lane)
{
    mr_unit *unit = &params->unit[lane->unit];
    mr_tensor sum = mr_tensor_rows(lane->leaf, 0, 1);
    mr_backend *be = params->be;
    int64_t at = 0;
    open_trees(params, unit);
    for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
        const mr_flat *flat = &unit->flat[k];
        if (flat->count == 0) continue;
        mr_comm_exchange_start(
            params->comm, be->ops->address(be, mr_tensor_cols(sum, at, flat->count)),
            be->ops->address(be, mr_tensor_cols(lane->pieces, at, flat->count)),
            flat->count / params->comm->size / MR_SHARD_BLOCK, sizeof(float), &lane->request[k]);
        at += flat->count;
    }
    lane->travelling = true;
}

void mr_params_leaf_end(mr_params *params, int unit)
{
    if (leaf_count(&params->unit[unit]) == 0) return;
    double began = mr_phase_begin();
    mr_reduce_lane *lane = lane_of(params, unit);
    MR_INVARIANT(lane && lane->open);
    lane->open = false;
    if (params->comm->size == 1) {
        for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++)
            if (params->unit[unit].flat[k].count > 0)
                push_wave(params, &params->unit[unit].flat[k]);
        lane->unit = -1;
    } else {
        int64_t count = leaf_count(&params->unit[unit]);
        for (int additions = mr_tree_push(&lane->tree); additions > 0; additions--) {
            int into = mr_tree_pop(&lane->tree);
            mr_tensor sum = mr_tensor_cols(mr_tensor_rows(lane->leaf, into, 1), 0, count);
            mr_tensor top = mr_tensor_cols(mr_tensor_rows(lane->leaf, into + 1, 1), 0, count);
            params->be->ops->add(params->be, sum, top);
        }
        if (mr_tree_complete(&lane->tree)) start_exchange(params, lane);
    }
    mr_phase_end(params->be, MR_PHASE_COMM, began);
}

void mr_params_reduce_finish(mr_params *params)
{
    /* The lane whose turn is next is the older one: waves of a unit arrive in their order. */
    const int order[LANES] = {params->reduce_turn, 1 - params->reduce_turn, LONG_LANE};
    for (int i = 0; i < LANES; i++) {
        finish(params, &params->reduce[order[i]]);
        MR_INVARIANT(!params->reduce[order[i]].open);
    }
}
