/* Leaves of micro-batches and their reduction; the contract stands in model/reduce.h. */

#include "model/reduce_impl.h"

/* The part of a lane's memory that is a flat's. */
static mr_tensor part_of(const mr_params *params, int unit, int kind, mr_tensor memory)
{
    const mr_flat *flat = params->unit[unit].flat;
    int64_t at = kind == MR_FLAT_ADAPTER ? flat[MR_FLAT_TRAINED].count : 0;
    return mr_tensor_cols(memory, at, flat[kind].count);
}

static int lane_of(const mr_reduce *r, int unit)
{
    for (int i = 0; i < MR_REDUCE_LANES; i++)
        if (r->lane[i].unit == unit && !r->lane[i].travelling) return i;
    return -1;
}

/* A slot of the sums of this rank's leaves. */
static mr_tensor own_slot(const mr_reduce *r, int unit, int kind, int slot)
{
    const mr_params *params = r->params;
    if (params->whole) return mr_flat_slot(params, &params->unit[unit].flat[kind], slot);
    int lane = lane_of(r, unit);
    MR_INVARIANT(lane >= 0);
    return part_of(params, unit, kind, mr_tensor_rows(r->lane[lane].leaf, slot, 1));
}

static mr_tensor spare_of(const mr_reduce *r, int unit, int kind)
{
    const int which = unit == r->cut.long_unit && mr_tensor_exists(r->spare[1]);
    return part_of(r->params, unit, kind, r->spare[which]);
}

/* Where a unit's next leaf is written. */
static mr_tensor leaf_place(const mr_reduce *r, int unit, int kind)
{
    const mr_tree *own = &r->sums[unit].own;
    return mr_tree_joins(own) ? spare_of(r, unit, kind) : own_slot(r, unit, kind, own->depth);
}

/* Where the next sum over the ranks of a unit goes, which only a rank's shards have slots for. */
static mr_tensor met_place(const mr_reduce *r, int unit, int kind)
{
    const mr_params *params = r->params;
    const mr_flat *flat = &params->unit[unit].flat[kind];
    const mr_tree *met = &r->sums[unit].met;
    if (params->whole) return mr_flat_own_grad(params, flat);
    if (!mr_tree_joins(met)) return mr_flat_slot(params, flat, met->depth);
    return mr_tensor_cols(part_of(params, unit, kind, r->spare[0]), 0,
                          mr_flat_shard_count(params, flat));
}

/* Takes a leaf, of a tree over this rank's or over sums of all, and adds what is to be added. */
static void push(const mr_reduce *r, int unit, mr_tree *tree, bool own)
{
    const mr_params *params = r->params;
    bool joins = mr_tree_joins(tree);
    for (int additions = mr_tree_push(tree); additions > 0; additions--, joins = false) {
        const int into = mr_tree_pop(tree);
        for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
            const mr_flat *flat = &params->unit[unit].flat[k];
            if (flat->count == 0) continue;
            mr_tensor sum = own ? own_slot(r, unit, k, into) : mr_flat_slot(params, flat, into);
            mr_tensor top;
            if (joins)
                top = mr_tensor_cols(own ? spare_of(r, unit, k)
                                         : part_of(params, unit, k, r->spare[0]),
                                     0, sum.cols);
            else
                top = own ? own_slot(r, unit, k, into + 1) : mr_flat_slot(params, flat, into + 1);
            params->be->ops->add(params->be, sum, top);
        }
    }
}

static int channel_of(const mr_reduce *r, const mr_reduce_lane *lane)
{
    return r->params->whole ? lane->unit : (int)(lane - r->lane);
}

/* The part of a lane's memory that is a flat's, where that holds a place's share of leaves. */
static mr_tensor share_of(const mr_params *params, int unit, int kind, mr_tensor memory)
{
    const mr_flat *flat = params->unit[unit].flat;
    const int ranks = params->nodes.ranks;
    int64_t at = kind == MR_FLAT_ADAPTER ? flat[MR_FLAT_TRAINED].count : 0;
    return mr_tensor_cols(memory, at / ranks, flat[kind].count / ranks);
}

/* Adds up what the node's ranks have, once all have it, and starts sending that to other nodes. */
static void meet_node(mr_reduce *r, mr_reduce_lane *lane)
{
    const mr_params *params = r->params;
    const mr_backend_ops *ops = params->be->ops;
    if (!lane->travelling || !r->window || lane->met) return;
    const int channel = channel_of(r, lane);
    const bool alone = params->nodes.count == 1;
    mr_window_await(r->window, MR_SUM_TELLS * channel + MR_TELL_SUM_THERE, r->met[channel]);
    for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
        if (params->unit[lane->unit].flat[k].count == 0) continue;
        mr_tensor sum =
            alone ? met_place(r, lane->unit, k) : share_of(params, lane->unit, k, lane->sum);
        mr_tensor all = params->whole ? params->unit[lane->unit].flat[k].sums
                                      : part_of(params, lane->unit, k, lane->leaves);
        ops->sum_pieces(params->be, sum, mr_params_own_part(params, all));
        if (!alone)
            ops->exchange_start(params->be, &params->nodes.across,
                                share_of(params, lane->unit, k, lane->pieces), sum,
                                &lane->transfer[k]);
    }
    mr_window_post(r->window, MR_SUM_TELLS * channel + MR_TELL_SUM_READ, r->met[channel]);
    lane->met = true;
}

/* Takes the sum over the ranks that stands in its place. */
static void take_met(mr_reduce *r, int unit)
{
    mr_unit_sums *sums = &r->sums[unit];
    push(r, unit, &sums->met, false);
    if (mr_tree_complete(&sums->met)) sums->met = mr_reduce_met_tree(&r->cut);
}

/* In place: adds up the units that all ranks have. */
static void add_announced(mr_reduce *r)
{
    const mr_params *params = r->params;
    for (int u = 0; u < params->unit_count; u++) {
        mr_unit_sums *sums = &r->sums[u];
        if (sums->announced == 0 ||
            !mr_window_reached(r->window, MR_TELL_SUM_THERE, sums->announced))
            continue;
        for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++)
            if (params->unit[u].flat[k].count > 0)
                params->be->ops->sum_pieces(
                    params->be, met_place(r, u, k),
                    mr_params_own_part(params, params->unit[u].flat[k].sums));
        take_met(r, u);
        sums->announced = 0;
    }
}

/* In place: tells that the sum of this rank's leaves is there, and adds up what others have told of
 * without waiting for them. */
static void announce(mr_reduce *r, int unit)
{
    mr_phase_begin(r->params->be, MR_PHASE_COMM);
    r->sums[unit].announced = ++r->announced;
    mr_window_post(r->window, MR_TELL_SUM_THERE, r->announced);
    add_announced(r);
    mr_phase_end(r->params->be, MR_PHASE_COMM);
}

/* In place: waits for the others once, and adds up what is left. */
static void finish_in_place(mr_reduce *r)
{
    mr_phase_begin(r->params->be, MR_PHASE_COMM);
    mr_window_await(r->window, MR_TELL_SUM_THERE, r->announced);
    add_announced(r);
    mr_window_post(r->window, MR_TELL_SUM_READ, ++r->finished);
    mr_phase_end(r->params->be, MR_PHASE_COMM);
}

/* In place: others have read the sums of the last step before this rank writes those of the next.
 */
static void begin_in_place(mr_reduce *r)
{
    if (r->begun > r->finished) return;
    mr_phase_begin(r->params->be, MR_PHASE_COMM);
    mr_window_await(r->window, MR_TELL_SUM_READ, r->finished);
    mr_phase_end(r->params->be, MR_PHASE_COMM);
    r->begun = r->finished + 1;
}

/* Waits for a travelling sum and adds the ranks' pieces. */
static void finish(mr_reduce *r, mr_reduce_lane *lane)
{
    if (!lane->travelling) return;
    const mr_params *params = r->params;
    const int ranks = params->nodes.count;
    mr_phase_begin(params->be, MR_PHASE_COMM);
    meet_node(r, lane);
    for (int k = MR_FLAT_TRAINED; k < MR_FLATS && ranks > 1; k++) {
        if (params->unit[lane->unit].flat[k].count == 0) continue;
        params->be->ops->wait(params->be, &lane->transfer[k]);
        mr_tensor pieces = share_of(params, lane->unit, k, lane->pieces);
        params->be->ops->sum_pieces(params->be, met_place(r, lane->unit, k),
                                    mr_tensor_reshape(pieces, ranks, pieces.cols / ranks));
    }
    lane->met = false;
    take_met(r, lane->unit);
    lane->travelling = false;
    lane->unit = -1;
    mr_phase_end(params->be, MR_PHASE_COMM);
}

/* Waits until the node's other ranks have read the sum of a channel's last meeting. */
static void await_read(mr_reduce *r, int channel)
{
    if (!r->window || r->met[channel] == 0) return;
    mr_phase_begin(r->params->be, MR_PHASE_COMM);
    mr_window_await(r->window, MR_SUM_TELLS * channel + MR_TELL_SUM_READ, r->met[channel]);
    mr_phase_end(r->params->be, MR_PHASE_COMM);
}

/* The lane that a unit takes next, once what it carried has arrived. */
static mr_reduce_lane *take_lane(mr_reduce *r, int unit)
{
    int turn = MR_LONG_LANE;
    if (unit != r->cut.long_unit) {
        turn = r->turn;
        r->turn = 1 - r->turn;
    }
    mr_reduce_lane *lane = &r->lane[turn];
    finish(r, lane);
    MR_INVARIANT(lane->unit < 0);
    lane->unit = unit;
    if (!r->params->whole) await_read(r, turn);
    return lane;
}

void mr_reduce_leaf_begin(mr_reduce *r, int unit)
{
    const mr_params *params = r->params;
    if (mr_unit_leaf_count(&params->unit[unit]) == 0) return;
    mr_unit_sums *sums = &r->sums[unit];
    MR_INVARIANT(!sums->open);
    sums->open = true;
    if (!params->whole && lane_of(r, unit) < 0) take_lane(r, unit);
    if (mr_reduce_in_place(r))
        begin_in_place(r);
    else if (params->whole && sums->own.pushed == 0)
        await_read(r, unit);
    if (params->whole && !mr_tree_joins(&sums->own)) return;
    /* Units of other layouts use this memory in turn: what is padding here may hold old numbers. */
    for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
        const mr_flat *flat = &params->unit[unit].flat[k];
        if (flat->count == flat->used) continue;
        params->be->ops->fill(
            params->be,
            mr_tensor_cols(leaf_place(r, unit, k), flat->used, flat->count - flat->used), 0);
    }
}

mr_tensor mr_reduce_grad(const mr_reduce *r, int id)
{
    const mr_param *param = &r->params->param[id];
    if (!param->trained) return (mr_tensor){0};
    MR_INVARIANT(r->sums[param->unit].open);
    return mr_flat_part(leaf_place(r, param->unit, param->kind), param);
}

/* Sends the sum of this rank's leaves, slot 0, to the owners of its shards. */
static void start_exchange(mr_reduce *r, int unit)
{
    const mr_params *params = r->params;
    mr_backend *be = params->be;
    mr_reduce_lane *lane = params->whole ? take_lane(r, unit) : &r->lane[lane_of(r, unit)];
    mr_phase_begin(be, MR_PHASE_COMM);
    for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
        if (params->unit[unit].flat[k].count == 0 || r->window) continue;
        be->ops->exchange_start(be, &params->nodes.across, part_of(params, unit, k, lane->pieces),
                                own_slot(r, unit, k, 0), &lane->transfer[k]);
    }
    lane->travelling = true;
    if (r->window) {
        const int channel = channel_of(r, lane);
        mr_window_post(r->window, MR_SUM_TELLS * channel + MR_TELL_SUM_THERE, ++r->met[channel]);
        /* Others may wait for this rank to have read what came before. */
        if (lane != &r->lane[MR_LONG_LANE] && params->nodes.count > 1)
            meet_node(r, &r->lane[r->turn]);
    }
    mr_phase_end(be, MR_PHASE_COMM);
    if (lane != &r->lane[MR_LONG_LANE] && params->nodes.count == 1) finish(r, &r->lane[r->turn]);
}

void mr_reduce_leaf_end(mr_reduce *r, int unit)
{
    const mr_params *params = r->params;
    if (mr_unit_leaf_count(&params->unit[unit]) == 0) return;
    mr_unit_sums *sums = &r->sums[unit];
    MR_INVARIANT(sums->open);
    sums->open = false;
    mr_phase_begin(params->be, MR_PHASE_ELEMENTWISE);
    push(r, unit, &sums->own, true);
    mr_phase_end(params->be, MR_PHASE_ELEMENTWISE);
    if (!mr_tree_complete(&sums->own)) return;
    sums->own = mr_reduce_own_tree(&r->cut);
    if (params->comm->size == 1) return;
    if (mr_reduce_in_place(r))
        announce(r, unit);
    else
        start_exchange(r, unit);
}

void mr_reduce_finish(mr_reduce *r)
{
    if (r->window && mr_reduce_in_place(r)) finish_in_place(r);
    /* The lane whose turn is next is the older one: sums of a unit arrive in their order. */
    const int order[MR_REDUCE_LANES] = {r->turn, 1 - r->turn, MR_LONG_LANE};
    for (int i = 0; i < MR_REDUCE_LANES; i++) {
        finish(r, &r->lane[order[i]]);
        MR_INVARIANT(r->lane[order[i]].unit < 0);
    }
}
