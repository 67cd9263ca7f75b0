#ifndef MR_MODEL_PARAMS_H
#define MR_MODEL_PARAMS_H

/** @file
 * The named parameters of a model, cut into units, and what each rank keeps of them.
 *
 * A *unit* is what is gathered together: the embedding, one decoder layer, the head with the final
 * norm. `parallel.shard` decides what is kept, by N nodes of G ranks that share memory, which may
 * be 1:
 *
 *               weights of the base   adapter weights   gradients   moments
 *     full      1/N a node            all a node        1/N a node  1/N a node
 *     optimizer all a node            all a node        1/N a node  1/N a node
 *     none      all a node            all a node        all a node  all a node
 *
 * Of what a node keeps each of its ranks writes a G-th, and reads all weights: the three are one
 * where there is one node. A rank's part of a parameter is a run of its elements, row after row;
 * where it begins and ends has nothing to do with rows. How parameters lie in memory is known to
 * model/params_impl.h alone: others walk them by mr_params_next, or ask by id. Gradients are
 * written and summed by model/reduce.h.
 */

#include "adapter/adapter.h"
#include "comm/nodes.h"

enum { MR_PARAM_NAME = 128 };

/** Which parameters of a unit lie together. */
typedef enum mr_flat_kind {
    MR_FLAT_FROZEN,
    MR_FLAT_TRAINED, /**< of the base */
    MR_FLAT_ADAPTER, /**< trained tensors of adapters */
    MR_FLATS
} mr_flat_kind;

/** One named tensor. */
typedef struct mr_param {
    char
        name[MR_PARAM_NAME]; /**< as in a Hugging Face LLaMA; adapters behind their linear's name */
    int64_t rows, cols;
    bool trained;
    bool adapter; /**< belongs to an adapter, trained or not */
    mr_init_kind init;
    double init_scale;
    double lr_scale; /**< factor on train.lr */
    int unit;
    mr_flat_kind kind;
    int64_t offset; /**< elements from the start of its flat (model/params_impl.h) */
} mr_param;

/** All parameters. */
typedef struct mr_params mr_params;

/** A walk over all parameters: `for (mr_params_walk at = {0}; mr_params_next(params, &at);)`. */
typedef struct mr_params_walk {
    int id;
    const mr_param *param;
    int next; /**< id of the one that follows */
} mr_params_walk;

/** What a rank holds of one parameter and updates: dense vectors of the same `count` elements. */
typedef struct mr_own {
    int64_t first; /**< index of the first element within the parameter */
    int64_t count; /**< 0 where this rank owns none of it */
    mr_tensor weight, grad, m, v;
    mr_tensor copy; /**< what is computed with, in its type; absent where that is the weight */
} mr_own;

/** What a slab is of. */
typedef enum mr_slab_kind { MR_SLAB_WEIGHTS, MR_SLAB_M, MR_SLAB_V } mr_slab_kind;

/** A run of a parameter's elements. */
typedef struct mr_slab {
    int64_t first;    /**< index of the first element within the parameter */
    int64_t count;    /**< 0 where there is none */
    mr_tensor values; /**< [1, count], absent where there is none or before the allocation; borrowed
                       */
} mr_slab;

/** What parameters are kept in. Gradients are F32, and so are adapters and their moments. */
typedef struct mr_params_types {
    mr_dtype
        compute;     /**< of what mr_params_weight returns: a copy where they are kept in another */
    mr_dtype states; /**< of trained weights of the base and of their moments: F32, or BF16, then
                          rounded stochastically */
    bool keeps_frozen; /**< frozen weights are kept in F32: they change too */
} mr_params_types;

/** Creates an empty list of `units` units. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_params_create(const mr_comm *comm, mr_backend *be, mr_shard shard,
                                        mr_params_types types, int units, mr_params **out);

/** Lets the ranks of a node keep in common memory what they read of each other: weights, and sums
 * of gradients on their way. Before mr_params_layout; nodes are borrowed. Local. */
void mr_params_share_memory(mr_params *params, const mr_nodes *nodes);

/** Appends a parameter to a unit; id gets its index. What is of kind MR_FLAT_ADAPTER is marked as
 * an adapter's, and lr_scale is 1, which may be changed until mr_params_layout. Local.
 * @return MR_OK, MR_ERR_ARG (more elements than sizes can count), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_params_add(mr_params *params, int unit, mr_flat_kind kind,
                                     const char *name, int64_t rows, int64_t cols,
                                     mr_init_kind init, double init_scale, int *id);

/** Appends a tensor of an adapter of a linear of this name, trained or not. As mr_params_add. */
MR_NODISCARD mr_status mr_params_add_adapter(mr_params *params, int unit, const char *linear,
                                             const mr_adapter_param *param, int *id);

/** Fixes the layout once all parameters are in, and what sums of gradients are kept beside the
 * parameters (model/reduce.h): so many slots of them, whole or of this rank's shards. Local. */
void mr_params_layout(mr_params *params, int slots, bool whole);

/** Adds to bytes[purpose] what mr_params_allocate will take. Local. */
void mr_params_bytes(const mr_params *params, size_t bytes[MR_MEM_PURPOSES]);

/** Makes the memory that ranks share, if they do: before mr_params_allocate. Collective.
 * @return MR_OK, MR_ERR_MEMORY (no room: says how much is needed); the same on every rank */
MR_NODISCARD mr_status mr_params_open(mr_params *params);

/** Allocates weights, gradients, moments and lanes, zeroed. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_params_allocate(mr_params *params);

/** Frees everything and sets *out to NULL, after waiting for gathers under way. Local, but
 * collective where memory is shared. */
void mr_params_destroy(mr_params **out);

/** Return what parameters are spread over, and where they lie; borrowed. */
const mr_comm *mr_params_comm(const mr_params *params);
const mr_nodes *mr_params_nodes(const mr_params *params);
mr_backend *mr_params_backend(const mr_params *params);

/** Goes to the next parameter in the order of ids; false behind the last one. Local. */
bool mr_params_next(const mr_params *params, mr_params_walk *walk);

/** Returns how many parameters there are: ids are 0..length-1. */
int mr_params_length(const mr_params *params);

/** Returns the parameter of an id; borrowed. */
const mr_param *mr_params_at(const mr_params *params, int id);

/** Returns the type that a parameter, or a moment of it, is kept in. Local. */
mr_dtype mr_params_type(const mr_params *params, int id, mr_slab_kind what);

/** Returns the elements of all trained (or all) parameters. */
int64_t mr_params_count(const mr_params *params, bool trained_only);

/** To be called before weights are written that others may have read (mr_params_share_gradients
 * does): waits until no rank of the node reads them any more. Collective. */
void mr_params_write_begin(mr_params *params);

/** To be called before adapters' weights are read without mr_params_use, which does it too, and
 * before passes that not every rank runs as many of: waits until the weights are written.
 * Collective.
 */
void mr_params_read_begin(mr_params *params);

/** Makes a unit's weights readable through mr_params_weight until the next call, and starts
 * gathering `next` (-1: none) for it. Collective where weights are gathered (mr_model_gathers):
 * every rank asks for the same units in the same order; and after weights were written. */
void mr_params_use(mr_params *params, int unit, int next);

/** Returns a parameter's weights [rows, cols], to compute with; its unit must be in use, adapters
 * always are. */
mr_tensor mr_params_weight(const mr_params *params, int id);

/** Returns a trained tensor of an adapter [rows, cols] as its node keeps it, F32: to be written
 * where it is to last; what is computed with follows after mr_params_invalidate. */
mr_tensor mr_params_adapter(const mr_params *params, int id);

/** To be called before weights are updated by their gradients: ends what still reads them, and
 * under shard none makes the gradients whole on every node. Collective. */
void mr_params_share_gradients(mr_params *params);

/** Hands own weights, updated with their copies, to the nodes that keep all of them, and forgets
 * what was gathered before the update. Collective. */
void mr_params_publish(mr_params *params);

/** Returns this rank's part of a trained parameter, for the optimizer. Local. */
mr_own mr_params_own(const mr_params *params, int id);

/** Returns how many sums mr_params_square_sums writes. Local. */
int64_t mr_params_square_count(const mr_params *params);

/** Writes to sums F64 [1, mr_params_square_count] the sums of squares of the gradient elements that
 * this rank answers for: over all ranks each element is in one sum. Local. */
void mr_params_square_sums(const mr_params *params, mr_tensor sums);

/** Returns what of a parameter this rank writes in a checkpoint and reads from one: each element is
 * one rank's, in every mode. There are no moments of frozen weights. After writing into it, call
 * mr_params_share. Local. */
mr_slab mr_params_shard(const mr_params *params, int id, mr_slab_kind what);

/** Returns the elements that are so of the rank that has most, weights and moments together, those
 * of frozen parameters too or not. Local. */
int64_t mr_params_shard_most(const mr_params *params, bool frozen);

/** Hands every rank's shards of weights and moments, those of frozen parameters too or not, to the
 * nodes that keep all of them, and forgets what was gathered before. Collective. */
void mr_params_share(mr_params *params, bool frozen);

/** Returns what of a parameter this rank keeps: its shard, or its part of what its node keeps,
 * which is all. After writing into it, call mr_params_invalidate. Local. */
mr_slab mr_params_kept(const mr_params *params, int id, mr_slab_kind what);

/** Tells whether every node keeps all of it, so that what ranks of one place keep is the same.
 * Local. */
bool mr_params_replicated(const mr_params *params, int id, mr_slab_kind what);

/** Source of values for mr_params_fill: writes elements first..first+count-1 of a parameter. */
typedef mr_status (*mr_params_source)(void *context, const mr_param *param, int64_t first,
                                      int64_t count, float *out);

/** Writes the elements of a parameter that this rank keeps, and no others, from a source. Local.
 * @return MR_OK, the source's error, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_params_fill(mr_params *params, int id, mr_params_source source,
                                      void *context);

/** Copies a whole parameter, as it is computed with, to out [rows * cols] on every rank.
 * Collective. */
void mr_params_read(mr_params *params, int id, float *out);

/** Forgets gathered copies and raises the generation, after weights were written. Local. */
void mr_params_invalidate(mr_params *params);

#endif
