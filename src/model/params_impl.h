#ifndef MR_MODEL_PARAMS_IMPL_H
#define MR_MODEL_PARAMS_IMPL_H

/** @file
 * How parameters lie in memory: for the files of this folder. What others may rely on stands in
 * model/params.h.
 *
 * A unit's parameters lie in up to three *flats*, dense buffers padded to whole blocks a rank:
 * frozen weights, trained weights, and adapter tensors. A flat is P equal *shards*, in the order of
 * parts (comm/nodes.h), which is that of ranks on one node. What a node keeps of it is all of it,
 * or the shards of its G ranks; what a rank *keeps* is its G-th part of that, which it alone of the
 * node writes. Without memory in common a node is a rank.
 *
 * Where the ranks of a node share memory, what they read of each other lies in a window: all
 * weights that the node keeps, and slot 0 of the sums of whole gradients.
 */

#include "model/params.h"

/** One flat of a unit. count 0 means there is none. Tensors are owned. */
typedef struct mr_flat {
    int64_t used;      /**< elements of parameters */
    int64_t count;     /**< with padding: a multiple of P * MR_SHARD_BLOCK */
    mr_tensor weights; /**< [1, kept] */
    mr_tensor copy;    /**< the same in the type that is computed in; absent where that is theirs */
    mr_tensor all;  /**< [1, G * kept]: weights of all ranks of the node; borrowed where it is not
                         shared */
    mr_tensor node; /**< [1, G * kept]: what is computed with of them; as all */
    mr_tensor sums; /**< [G, count]: slot 0 of every rank of the node; absent where not shared */
    mr_tensor grad; /**< [1, kept]; absent where frozen, borrowed of slot 0 where that is of a
                         whole flat */
    mr_tensor partial;   /**< [slots, count] or [slots, count / P]: sums of gradients on their way;
                              without slot 0 where that is grad or in sums */
    mr_tensor m, v;      /**< [1, kept] */
    mr_transfer publish; /**< gather of updated weights under way */
} mr_flat;

typedef struct mr_unit {
    mr_flat flat[MR_FLATS];
} mr_unit;

enum { MR_GATHER_LANES = 2 };

/** A place a unit's sharded weights are gathered into. */
typedef struct mr_gather_lane {
    mr_tensor memory; /**< [1, largest unit], owned, or of the window */
    int unit;         /**< whose weights stand here or are on their way, -1 for none */
    bool coming;      /**< they are on their way */
    mr_transfer transfer[MR_FLATS];
} mr_gather_lane;

/** What a node tells each other of parameters (mr_window_post). */
enum {
    MR_TELL_WRITTEN, /**< own weights are as they are to be read */
    MR_TELL_READ,    /**< nothing of others' weights is read any more */
    MR_TELL_ARRIVED, /**< + lane: own part of a gathered unit is there */
    MR_TELL_LEFT = MR_TELL_ARRIVED + MR_GATHER_LANES, /**< + lane: it is not read any more */
    MR_TELLS = MR_TELL_LEFT + MR_GATHER_LANES,
};

/** Owns its buffers; borrows comm and be. */
struct mr_params {
    const mr_comm *comm;
    mr_nodes nodes; /**< borrowed communicators */
    mr_window *window;
    mr_buffer *shared; /**< its memory; owned */
    mr_backend *be;
    mr_shard shard;
    mr_params_types types;
    bool stale[MR_FLATS]; /**< weights have changed since they were copied */
    int unit_count, param_count;
    int64_t param_room;
    mr_unit *unit;
    mr_param *param;
    int slots;              /**< of sums of gradients */
    bool whole;             /**< these are of whole flats, not of own shards */
    int64_t elements;       /**< of all parameters */
    mr_gather_lane *gather; /**< two lanes: the unit in use and the next; owned */
    int lane_in_use;
    uint64_t generation; /**< raised whenever weights have changed; never 0 */
    uint64_t rewritten;  /**< raised where frozen ones may have, too; never 0 */
    bool written;        /**< weights may have been since ranks last met to read them in place */
    uint64_t told[MR_TELLS]; /**< of the window's counters */
};

/** Returns the elements of a flat that one rank is responsible for: count / P. */
static inline int64_t mr_flat_shard_count(const mr_params *params, const mr_flat *flat)
{
    return flat->count / params->comm->size;
}

/** Tells whether ranks of a node share memory. */
static inline bool mr_params_shares(const mr_params *params)
{
    return params->nodes.ranks > 1;
}

/** Tells whether units are gathered: a node keeps a share of the base's weights. */
static inline bool mr_params_gathers(const mr_params *params)
{
    return params->shard == MR_SHARD_FULL && params->nodes.count > 1;
}

/** Tells whether sums of whole gradients are where the node's other ranks read them. */
static inline bool mr_params_shares_sums(const mr_params *params)
{
    return mr_params_shares(params) && params->whole;
}

/** Tells whether an update writes weights that others read where they are. */
static inline bool mr_params_updates_in_place(const mr_params *params)
{
    bool trained = false;
    for (int u = 0; u < params->unit_count; u++)
        for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++)
            trained = trained || params->unit[u].flat[k].count > 0;
    return trained && mr_params_shares(params);
}

/** Counts one up on a counter of the window, and waits until all ranks of the node have. */
void mr_params_meet(mr_params *params, int tell);

/** Returns the type that moments of a flat are kept in. */
static inline mr_dtype mr_flat_moment_type(const mr_params *params, int kind)
{
    return kind == MR_FLAT_TRAINED ? params->types.states : MR_F32;
}

/** Returns the type that the weights of a flat are kept in. */
static inline mr_dtype mr_flat_kept_type(const mr_params *params, int kind)
{
    bool computed = kind == MR_FLAT_FROZEN && !params->types.keeps_frozen;
    return computed ? params->types.compute : mr_flat_moment_type(params, kind);
}

/** Tells whether they are computed with in another one, in which there is a copy. */
static inline bool mr_flat_is_copied(const mr_params *params, int kind)
{
    return mr_flat_kept_type(params, kind) != params->types.compute;
}

/** Returns this place's columns of what its node has together: all of them where no memory is
 * shared. */
static inline mr_tensor mr_params_own_part(const mr_params *params, mr_tensor whole)
{
    const int64_t count = whole.cols / params->nodes.ranks;
    return mr_tensor_cols(whole, params->nodes.place * count, count);
}

/** Returns the elements of the largest gathered unit; 0 where nothing is gathered. */
int64_t mr_params_gather_count(const mr_params *params);

/** Makes a window of the ranks of a node, as mr_window_create; a failure names the key that spares
 * it. Collective. */
mr_status mr_params_open_window(const mr_params *params, size_t bytes, int counters,
                                mr_window **out);

/** Frees what mr_params_open made; what lies there is gone. */
void mr_params_close(mr_params *params);

/** Tells whether a node keeps all of the flats of a kind, or its shards of each. */
static inline bool mr_flat_kept_whole(const mr_params *params, mr_flat_kind kind, mr_slab_kind what)
{
    if (what != MR_SLAB_WEIGHTS) return params->shard == MR_SHARD_NONE;
    return params->shard != MR_SHARD_FULL || kind == MR_FLAT_ADAPTER;
}

/** A run of a flat's elements. */
typedef struct mr_run {
    int64_t from, count;
} mr_run;

/** Returns what of a flat is this rank's shard: one of P. */
static inline mr_run mr_flat_shard(const mr_params *params, const mr_flat *flat)
{
    const int64_t count = mr_flat_shard_count(params, flat);
    return (mr_run){params->nodes.part * count, count};
}

/** Returns what of a flat this rank keeps; its shard is part of it. */
static inline mr_run mr_flat_kept(const mr_params *params, const mr_flat *flat, mr_flat_kind kind,
                                  mr_slab_kind what)
{
    if (!mr_flat_kept_whole(params, kind, what)) return mr_flat_shard(params, flat);
    const int64_t count = flat->count / params->nodes.ranks;
    return (mr_run){params->nodes.place * count, count};
}

/** What of a flat is allocated: the one place that says so, for the plan and the allocation. */
typedef struct mr_flat_size {
    int64_t weights, moment, grad; /**< elements a rank keeps; grad: apart from slot 0 */
    int64_t sums;                  /**< of slot 0, where it is shared */
    int64_t partial_rows, partial_cols;
    size_t weight; /**< bytes of one with its copy */
} mr_flat_size;

mr_flat_size mr_flat_size_of(const mr_params *params, int unit, int kind);

/** Adds to bytes[purpose] this rank's part of what ranks of a node read where it is, alone or
 * together: of weights and lanes, and of slot 0 where that is shared. */
void mr_params_part_bytes(const mr_params *params, size_t bytes[MR_MEM_PURPOSES]);

/** Returns what a parameter has in a flat, [1, count] of weights or gradients, as [rows, cols];
 * what lies behind it there is below. */
static inline mr_tensor mr_flat_part(mr_tensor flat, const mr_param *param)
{
    const int64_t count = param->rows * param->cols;
    mr_tensor t =
        mr_tensor_reshape(mr_tensor_cols(flat, param->offset, count), param->rows, param->cols);
    t.below = (flat.cols - param->offset - count) / param->cols;
    return t;
}

/** Returns a slot of the sums of gradients, [1, count] where they are whole, else [1, count / P].
 */
mr_tensor mr_flat_slot(const mr_params *params, const mr_flat *flat, int slot);

/** Returns where the gradient of this rank's shard ends up, [1, count / P]. */
mr_tensor mr_flat_own_grad(const mr_params *params, const mr_flat *flat);

#endif
