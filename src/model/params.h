#ifndef MR_MODEL_PARAMS_H
#define MR_MODEL_PARAMS_H

/** @file
 * The named parameters of a model, cut into units, and what each rank keeps of them.
 *
 * A *unit* is what is gathered together: the embedding, one decoder layer, the head with the final
 * norm. Its parameters lie in up to three *flats*, dense buffers padded to whole blocks a rank:
 * frozen weights, trained weights, and adapter tensors. `parallel.shard` decides what a rank keeps:
 *
 *               weights of the base   adapter weights   gradients   moments
 *     full      1/P                   all               1/P         1/P
 *     optimizer all                   all               1/P         1/P
 *     none      all                   all               all         all
 *
 * The part of a flat a rank is responsible for is its *own* part: under full and optimizer the
 * rank-th of P equal shards, under none everything.
 *
 * Gradients: each micro-batch writes a *leaf*, and leaves are summed by the tree of model/tree.h
 * over the index of the micro-batch in the global batch. A step is `waves` waves; in a wave every
 * rank takes `in_wave` neighbouring micro-batches. The local ones are summed here, the ranks'
 * sums by an exchange (each rank gets all pieces of its shard and adds them as a tree), the waves'
 * again here.
 */

#include "adapter/adapter.h"
#include "comm/comm.h"
#include "model/tree.h"

enum { MR_PARAM_NAME = 128 };

typedef enum mr_flat_kind {
    MR_FLAT_FROZEN,
    MR_FLAT_TRAINED,
    MR_FLAT_ADAPTER,
    MR_FLATS
} mr_flat_kind;

/** One named tensor. */
typedef struct mr_param {
    char
        name[MR_PARAM_NAME]; /**< as in a Hugging Face LLaMA; adapters behind their linear's name */
    int unit;
    mr_flat_kind kind;
    int64_t offset; /**< elements from the start of its flat */
    int64_t rows, cols;
    mr_init_kind init;
    double init_scale;
    double lr_scale; /**< factor on train.lr */
    bool adapter;    /**< belongs to an adapter, in whatever flat it lies */
} mr_param;

/** One flat of a unit. count 0 means there is none. Tensors are owned. */
typedef struct mr_flat {
    int64_t used;      /**< elements of parameters */
    int64_t count;     /**< with padding: a multiple of P * MR_SHARD_BLOCK */
    mr_tensor weights; /**< [1, count] or [1, count / P] */
    mr_tensor grad;    /**< [1, count] or [1, count / P]; absent where frozen */
    mr_tensor partial; /**< [slots - 1, count / P], further slots of the tree over waves */
    mr_tensor m, v;    /**< moments of the own part */
    mr_tree tree;
    mr_request publish; /**< gather of updated weights under way */
} mr_flat;

typedef struct mr_unit {
    mr_flat flat[MR_FLATS];
} mr_unit;

typedef struct mr_gather_lane mr_gather_lane;
typedef struct mr_reduce_lane mr_reduce_lane;

/** All parameters. Owns its buffers; borrows comm and be. */
typedef struct mr_params {
    const mr_comm *comm;
    mr_backend *be;
    mr_shard shard;
    int unit_count, param_count;
    int64_t param_room;
    mr_unit *unit;
    mr_param *param;
    int64_t waves, in_wave;
    int long_unit; /**< unit whose leaf stays open while others come and go (tied head), or -1 */
    mr_gather_lane *gather; /**< two lanes: the unit in use and the next; owned */
    mr_reduce_lane *reduce; /**< two lanes, and one for long_unit; owned */
    int lane_in_use, reduce_turn;
    uint64_t generation; /**< raised whenever weights have changed; never 0 */
} mr_params;

/** What a rank holds of one parameter and updates: dense vectors of the same `count` elements. */
typedef struct mr_own {
    int64_t first; /**< index of the first element within the parameter */
    int64_t count; /**< 0 where this rank owns none of it */
    mr_tensor weight, grad, m, v;
} mr_own;

/** What a slab is of. */
typedef enum mr_slab_kind { MR_SLAB_WEIGHTS, MR_SLAB_M, MR_SLAB_V } mr_slab_kind;

/** A run of elements of a flat, padding left out. */
typedef struct mr_slab {
    int64_t first;    /**< index of the first element within the flat */
    int64_t count;    /**< 0 where there is none */
    mr_tensor values; /**< [1, count], absent where there is none; borrowed */
} mr_slab;

/** Creates an empty list of `units` units. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_params_create(const mr_comm *comm, mr_backend *be, mr_shard shard,
                                        int units, mr_params **out);

/** Appends a parameter to a flat of a unit; id gets its index. What lies in MR_FLAT_ADAPTER is
 * marked as an adapter's, and lr_scale is 1; both may be changed until mr_params_layout. Local.
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_params_add(mr_params *params, int unit, mr_flat_kind kind,
                                     const char *name, int64_t rows, int64_t cols,
                                     mr_init_kind init, double init_scale, int *id);

/** Fixes the layout once all parameters are in, and the micro-batches a step has on this rank;
 * in_wave is 1 on one rank. */
void mr_params_layout(mr_params *params, int64_t waves, int64_t in_wave);

/** Adds to bytes[purpose] what mr_params_allocate will take. Local. */
void mr_params_bytes(const mr_params *params, size_t bytes[MR_MEM_PURPOSES]);

/** Allocates weights, gradients, moments and lanes, zeroed. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_params_allocate(mr_params *params);

/** Frees everything and sets *out to NULL, after waiting for gathers under way. Local. */
void mr_params_destroy(mr_params **out);

/** Returns the index of a name, -1 where there is none. */
int mr_params_find(const mr_params *params, const char *name);

/** Tells whether a parameter is trained. */
bool mr_params_trained(const mr_params *params, int id);

/** Returns the elements of all trained (or all) parameters. */
int64_t mr_params_count(const mr_params *params, bool trained_only);

/** Makes a unit's weights readable through mr_params_weight until the next call, and starts
 * gathering `next` (-1: none) for it. Collective where weights are sharded: every rank asks for the
 * same units in the same order. */
void mr_params_use(mr_params *params, int unit, int next);

/** Returns a parameter's weights [rows, cols]; its unit must be in use, adapters always are. */
mr_tensor mr_params_weight(const mr_params *params, int id);

/** Opens the leaf of a unit for one micro-batch; may wait for the unit two before it. */
void mr_params_leaf_begin(mr_params *params, int unit);

/** Returns where the gradient of a parameter of an open leaf is to be written [rows, cols], absent
 * where the parameter is frozen; every trained parameter of the unit must be written. */
mr_tensor mr_params_grad(const mr_params *params, int id);

/** Closes the leaf; with the last leaf of a wave the unit's reduction starts. Collective. */
void mr_params_leaf_end(mr_params *params, int unit);

/** Waits for all reductions: own gradients are whole. Collective. */
void mr_params_reduce_finish(mr_params *params);

/** Makes gradients whole on every rank under shard none; nothing elsewhere. Collective. */
void mr_params_share_gradients(mr_params *params);

/** Hands updated own weights to the ranks that keep all of them, and forgets what was gathered
 * before the update. Collective. */
void mr_params_publish(mr_params *params);

/** Returns this rank's part of a trained parameter, for the optimizer. Local. */
mr_own mr_params_own(const mr_params *params, int id);

/** Returns the gradient elements this rank answers for in sums over all ranks (norms): the rank-th
 * shard in every mode, [1, count / P]. Local. */
mr_tensor mr_params_grad_shard(const mr_params *params, int unit, mr_flat_kind kind);

/** Returns what of a flat this rank writes in a checkpoint: the rank-th shard in every mode, so
 * that each element is one rank's. There are no moments of frozen weights. Local. */
mr_slab mr_params_shard(const mr_params *params, int unit, mr_flat_kind kind, mr_slab_kind what);

/** Returns what of a flat this rank keeps, and so what it reads from a checkpoint: its shard or all
 * of it. After writing into it, call mr_params_invalidate. Local. */
mr_slab mr_params_kept(const mr_params *params, int unit, mr_flat_kind kind, mr_slab_kind what);

/** Source of values for mr_params_fill: writes elements first..first+count-1 of a parameter. */
typedef mr_status (*mr_params_source)(void *context, const mr_param *param, int64_t first,
                                      int64_t count, float *out);

/** Writes the elements of a parameter that this rank keeps, and no others, from a source. Local.
 * @return MR_OK, the source's error, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_params_fill(mr_params *params, int id, mr_params_source source,
                                      void *context);

/** Copies a whole parameter to out [rows * cols] on every rank. Collective. */
void mr_params_read(mr_params *params, int id, float *out);

/** Forgets gathered copies and raises the generation, after weights were written. Local. */
void mr_params_invalidate(mr_params *params);

/** Returns the slot of a tree over waves as [1, count / P]. For reduce.c. */
mr_tensor mr_flat_slot(const mr_params *params, mr_flat *flat, int slot);

/** Sizes, creation and destruction of the reduce lanes (reduce.c), for params.c. */
size_t mr_reduce_bytes(const mr_params *params);
MR_NODISCARD mr_status mr_reduce_create(mr_params *params);
void mr_reduce_destroy(mr_params *params);

#endif
