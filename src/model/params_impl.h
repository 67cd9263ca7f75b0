#ifndef MR_MODEL_PARAMS_IMPL_H
#define MR_MODEL_PARAMS_IMPL_H

/** @file
 * How parameters lie in memory: for the files of this folder. What others may rely on stands in
 * model/params.h.
 *
 * A unit's parameters lie in up to three *flats*, dense buffers padded to whole blocks a rank:
 * frozen weights, trained weights, and adapter tensors. The part of a flat a rank is responsible
 * for is its *own* part: under full and optimizer the rank-th of P equal shards, under none
 * everything.
 */

#include "model/params.h"

/** One flat of a unit. count 0 means there is none. Tensors are owned. */
typedef struct mr_flat {
    int64_t used;      /**< elements of parameters */
    int64_t count;     /**< with padding: a multiple of P * MR_SHARD_BLOCK */
    mr_tensor weights; /**< [1, count] or [1, count / P] */
    mr_tensor copy;    /**< the same in the type that is computed in; absent where that is theirs */
    mr_tensor grad;    /**< [1, count] or [1, count / P]; absent where frozen */
    mr_tensor partial; /**< [slots, count] or [slots, count / P]: sums of gradients on their way;
                            without slot 0 where that is grad */
    mr_tensor m, v;    /**< moments of the own part */
    mr_transfer publish; /**< gather of updated weights under way */
} mr_flat;

typedef struct mr_unit {
    mr_flat flat[MR_FLATS];
} mr_unit;

typedef struct mr_gather_lane mr_gather_lane;

/** Owns its buffers; borrows comm and be. */
struct mr_params {
    const mr_comm *comm;
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
};

/** Returns the elements of a flat that one rank is responsible for: count / P. */
static inline int64_t mr_flat_shard_count(const mr_params *params, const mr_flat *flat)
{
    return flat->count / params->comm->size;
}

/** Tells whether a rank keeps all of the flats of a kind, or its shard of each. */
static inline bool mr_flat_kept_whole(const mr_params *params, mr_flat_kind kind, mr_slab_kind what)
{
    if (what != MR_SLAB_WEIGHTS) return params->shard == MR_SHARD_NONE;
    return params->shard != MR_SHARD_FULL || kind == MR_FLAT_ADAPTER;
}

/** Returns a slot of the sums of gradients, [1, count] where they are whole, else [1, count / P].
 */
mr_tensor mr_flat_slot(const mr_params *params, const mr_flat *flat, int slot);

/** Returns where the gradient of this rank's shard ends up, [1, count / P]. */
mr_tensor mr_flat_own_grad(const mr_params *params, const mr_flat *flat);

#endif
