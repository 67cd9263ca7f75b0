#ifndef MR_MODEL_REDUCE_IMPL_H
#define MR_MODEL_REDUCE_IMPL_H

/** @file
 * What a reduction of gradients is made of: for reduce.c, which takes leaves through it, and
 * reduce_memory.c, which makes it. What others may rely on stands in model/reduce.h. */

#include "model/params_impl.h"
#include "model/reduce.h"
#include "model/tree.h"

enum { MR_REDUCE_LANES = 3, MR_LONG_LANE = 2, MR_REDUCE_SPARES = 2 };

/** Counters of what ranks of a node tell each other: a sum is there, and others' have been read. */
enum { MR_TELL_SUM_THERE, MR_TELL_SUM_READ, MR_SUM_TELLS };

/** What a unit's sums travel from and to, one unit at a time. */
typedef struct mr_reduce_lane {
    mr_tensor
        leaves;     /**< [G, slots * largest leaf]: leaf of all ranks of the node, of the window */
    mr_tensor leaf; /**< [slots, largest leaf] where leaves come together, owned unless shared */
    mr_tensor pieces; /**< [1, largest leaf / G]: what other ranks sent, owned */
    mr_tensor sum;    /**< [1, largest leaf / G]: what the node has come to, where memory is shared
                           and there are several; owned */
    int unit;         /**< that has the lane, -1 for none */
    bool travelling;
    bool met; /**< the node's sum is made, and on its way to others */
    mr_transfer transfer[MR_FLATS];
} mr_reduce_lane;

/** Where the sums of a unit stand. */
typedef struct mr_unit_sums {
    mr_tree own;        /**< of the leaves until they meet */
    mr_tree met;        /**< of the sums over the ranks */
    bool open;          /**< a leaf is being written */
    uint64_t announced; /**< in place: number of this rank's sum, which others may read, among all
                             of the run; 0: there is none, or all ranks' are added up */
} mr_unit_sums;

/** Owns its lanes; borrows params. */
struct mr_reduce {
    const mr_params *params;
    mr_reduce_cut cut;
    mr_reduce_lane lane[MR_REDUCE_LANES]; /**< two that take turns, and one for the long unit */
    int turn;
    mr_tensor spare[MR_REDUCE_SPARES]; /**< [1, largest leaf]: a leaf that is added to another at
                                once, the long unit's apart; owned */
    mr_unit_sums *sums;                /**< [units], owned */
    mr_window *window;
    mr_buffer *shared;        /**< its memory, owned */
    uint64_t *met;            /**< [channels] meetings of what a channel is about, owned */
    uint64_t announced;       /**< in place: sums so far */
    uint64_t finished, begun; /**< in place: steps so far */
};

/** Returns the empty tree of a unit's leaves until they meet, and that of what they come to. @{ */
static inline mr_tree mr_reduce_own_tree(const mr_reduce_cut *cut)
{
    return mr_tree_of(cut->stretches / cut->meetings, cut->leaves * cut->meetings / cut->stretches);
}

static inline mr_tree mr_reduce_met_tree(const mr_reduce_cut *cut)
{
    return mr_tree_of(cut->meetings, 1);
}
/** @} */

/** Tells whether all ranks' sums lie where each adds up its part of them: nothing takes turns. */
static inline bool mr_reduce_in_place(const mr_reduce *r)
{
    return mr_params_shares_sums(r->params) && r->params->nodes.count == 1;
}

/** Returns the elements of a unit's leaf; 0 where nothing is trained. */
static inline int64_t mr_unit_leaf_count(const mr_unit *unit)
{
    return unit->flat[MR_FLAT_TRAINED].count + unit->flat[MR_FLAT_ADAPTER].count;
}

#endif
