/* Leaves of micro-batches and their reduction; the contract stands in model/reduce.h. */

#include "model/reduce.h"

#include "model/params_impl.h"
#include "model/tree.h"

enum { LANES = 3, LONG_LANE = 2 };

/* A place where a unit's leaves are written and summed before they travel. */
typedef struct reduce_lane {
    mr_tensor leaf;   /* [slots of the tree in a wave, largest leaf], owned */
    mr_tensor pieces; /* [1, largest leaf]: what the other ranks sent, owned */
    int unit;         /* whose leaf this is, -1 for none */
    bool open, travelling;
    mr_tree tree;
    mr_transfer transfer[MR_FLATS];
} reduce_lane;

struct mr_reduce {
    const mr_params *params;
    int64_t in_wave;
    int long_unit;
    reduce_lane lane[LANES]; /* two that take turns, and one for the long unit */
    int turn;
    mr_tree (*waves)[MR_FLATS]; /* [units] trees over waves, in the slots of the flats; owned */
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
static int lanes_with_memory(const mr_reduce *r)
{
    if (r->params->comm->size == 1) return 0;
    return r->long_unit >= 0 ? LANES : LANES - 1;
}

mr_status mr_reduce_create(const mr_params *params, int64_t in_wave, int long_unit, mr_reduce **out)
{
    /* One rank writes leaves straight into the slots of the tree over waves: there is no other. */
    MR_INVARIANT(params->comm->size > 1 || in_wave == 1);
    *out = NULL;
    mr_reduce *r = mr_alloc(MR_MEM_OTHER, sizeof *r);
    if (!r) return MR_ERR_MEMORY;
    *r = (mr_reduce){.params = params, .in_wave = in_wave, .long_unit = long_unit};
    for (int i = 0; i < LANES; i++)
        r->lane[i].unit = -1;
    r->waves = mr_alloc_array(MR_MEM_OTHER, (size_t)params->unit_count, sizeof *r->waves);
    if (!r->waves) {
        mr_reduce_destroy(&r);
        return MR_ERR_MEMORY;
    }
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++)
            r->waves[u][k] = mr_tree_of(params->waves);
    *out = r;
    return MR_OK;
}

void mr_reduce_bytes(const mr_reduce *r, size_t bytes[MR_MEM_PURPOSES])
{
    int64_t slots = mr_tree_slots(r->in_wave) + 1;
    bytes[MR_MEM_REDUCE] +=
        sizeof(float) * (size_t)(lanes_with_memory(r) * slots * largest_leaf(r->params));
}

mr_status mr_reduce_allocate(mr_reduce *r)
{
    mr_backend *be = r->params->be;
    int64_t most = largest_leaf(r->params);
    for (int i = 0; i < lanes_with_memory(r) && most > 0; i++) {
        MR_TRY(mr_backend_tensor(be, MR_MEM_REDUCE, MR_F32, mr_tree_slots(r->in_wave), most,
                                 &r->lane[i].leaf));
        MR_TRY(mr_backend_tensor(be, MR_MEM_REDUCE, MR_F32, 1, most, &r->lane[i].pieces));
    }
    return MR_OK;
}

void mr_reduce_destroy(mr_reduce **out)
{
    mr_reduce *r = *out;
    if (!r) return;
    for (int i = 0; i < LANES; i++) {
        mr_backend_free(r->params->be, &r->lane[i].leaf);
        mr_backend_free(r->params->be, &r->lane[i].pieces);
    }
    mr_free(r->waves);
    mr_free(r);
    *out = NULL;
}

/* Adds a leaf of a flat's tree over waves that stands in slot tree.depth. */
static void push_wave(const mr_reduce *r, int unit, int kind)
{
    const mr_flat *flat = &r->params->unit[unit].flat[kind];
    mr_tree *tree = &r->waves[unit][kind];
    for (int additions = mr_tree_push(tree); additions > 0; additions--) {
        int into = mr_tree_pop(tree);
        r->params->be->ops->add(r->params->be, mr_flat_slot(r->params, flat, into),
                                mr_flat_slot(r->params, flat, into + 1));
    }
}

/* Waits for a travelling leaf and adds the ranks' pieces into the tree over waves. */
static void finish(const mr_reduce *r, reduce_lane *lane)
{
    if (!lane->travelling) return;
    mr_phase_begin(r->params->be, MR_PHASE_COMM);
    const mr_params *params = r->params;
    const mr_unit *unit = &params->unit[lane->unit];
    int ranks = params->comm->size;
    int64_t at = 0;
    for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
        const mr_flat *flat = &unit->flat[k];
        if (flat->count == 0) continue;
        params->be->ops->wait(params->be, &lane->transfer[k]);
        mr_tensor pieces = mr_tensor_reshape(mr_tensor_cols(lane->pieces, at, flat->count), ranks,
                                             flat->count / ranks);
        params->be->ops->sum_pieces(
            params->be, mr_flat_slot(params, flat, r->waves[lane->unit][k].depth), pieces);
        push_wave(r, lane->unit, k);
        at += flat->count;
    }
    lane->travelling = false;
    lane->unit = -1;
    mr_phase_end(params->be, MR_PHASE_COMM);
}

static int lane_of(const mr_reduce *r, int unit)
{
    for (int i = 0; i < LANES; i++)
        if (r->lane[i].unit == unit && !r->lane[i].travelling) return i;
    return -1;
}

/* Starts a step's trees anew where the last one is complete. */
static void open_trees(const mr_reduce *r, int unit)
{
    for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++)
        if (mr_tree_complete(&r->waves[unit][k])) r->waves[unit][k] = mr_tree_of(r->params->waves);
}

/* The lane that a unit's leaves of the next wave go to, once what it carried has arrived. */
static reduce_lane *take_lane(mr_reduce *r, int unit)
{
    int turn = LONG_LANE;
    if (unit != r->long_unit) {
        turn = r->turn;
        r->turn = 1 - r->turn;
    }
    reduce_lane *lane = &r->lane[turn];
    finish(r, lane);
    MR_INVARIANT(!lane->open);
    lane->unit = unit;
    lane->tree = mr_tree_of(r->in_wave);
    return lane;
}

void mr_reduce_leaf_begin(mr_reduce *r, int unit)
{
    const mr_params *params = r->params;
    if (leaf_count(&params->unit[unit]) == 0) return;
    int found = lane_of(r, unit);
    reduce_lane *lane = found < 0 ? take_lane(r, unit) : &r->lane[found];
    MR_INVARIANT(!lane->open);
    lane->open = true;
    if (params->comm->size == 1) {
        open_trees(r, unit);
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

mr_tensor mr_reduce_grad(const mr_reduce *r, int id)
{
    const mr_params *params = r->params;
    const mr_param *param = &params->param[id];
    if (!param->trained) return (mr_tensor){0};
    const mr_unit *unit = &params->unit[param->unit];
    int found = lane_of(r, param->unit);
    MR_INVARIANT(found >= 0 && r->lane[found].open);
    const reduce_lane *lane = &r->lane[found];
    const mr_flat *flat = &unit->flat[param->kind];
    mr_tensor leaf;
    if (params->comm->size == 1) {
        leaf = mr_flat_slot(params, flat, r->waves[param->unit][param->kind].depth);
    } else {
        int64_t at = param->kind == MR_FLAT_ADAPTER ? unit->flat[MR_FLAT_TRAINED].count : 0;
        leaf = mr_tensor_cols(mr_tensor_rows(lane->leaf, lane->tree.depth, 1), at, flat->count);
    }
    return mr_tensor_reshape(mr_tensor_cols(leaf, param->offset, param->rows * param->cols),
                             param->rows, param->cols);
}

/* Sends the wave's local sum, slot 0 of the lane, to the owners of its shards. */
static void start_exchange(mr_reduce *r, reduce_lane *lane)
{
    const mr_params *params = r->params;
    const mr_unit *unit = &params->unit[lane->unit];
    mr_tensor sum = mr_tensor_rows(lane->leaf, 0, 1);
    mr_backend *be = params->be;
    int64_t at = 0;
    open_trees(r, lane->unit);
    for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
        const mr_flat *flat = &unit->flat[k];
        if (flat->count == 0) continue;
        be->ops->exchange_start(be, params->comm, mr_tensor_cols(lane->pieces, at, flat->count),
                                mr_tensor_cols(sum, at, flat->count), &lane->transfer[k]);
        at += flat->count;
    }
    lane->travelling = true;
}

void mr_reduce_leaf_end(mr_reduce *r, int unit)
{
    const mr_params *params = r->params;
    if (leaf_count(&params->unit[unit]) == 0) return;
    mr_phase_begin(params->be, MR_PHASE_COMM);
    int found = lane_of(r, unit);
    MR_INVARIANT(found >= 0 && r->lane[found].open);
    reduce_lane *lane = &r->lane[found];
    lane->open = false;
    if (params->comm->size == 1) {
        for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++)
            if (params->unit[unit].flat[k].count > 0) push_wave(r, unit, k);
        lane->unit = -1;
    } else {
        int64_t count = leaf_count(&params->unit[unit]);
        for (int additions = mr_tree_push(&lane->tree); additions > 0; additions--) {
            int into = mr_tree_pop(&lane->tree);
            mr_tensor sum = mr_tensor_cols(mr_tensor_rows(lane->leaf, into, 1), 0, count);
            mr_tensor top = mr_tensor_cols(mr_tensor_rows(lane->leaf, into + 1, 1), 0, count);
            params->be->ops->add(params->be, sum, top);
        }
        if (mr_tree_complete(&lane->tree)) start_exchange(r, lane);
    }
    mr_phase_end(params->be, MR_PHASE_COMM);
}

void mr_reduce_finish(mr_reduce *r)
{
    /* The lane whose turn is next is the older one: waves of a unit arrive in their order. */
    const int order[LANES] = {r->turn, 1 - r->turn, LONG_LANE};
    for (int i = 0; i < LANES; i++) {
        finish(r, &r->lane[order[i]]);
        MR_INVARIANT(!r->lane[order[i]].open);
    }
}
