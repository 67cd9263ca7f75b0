#ifndef MR_MODEL_MODEL_H
#define MR_MODEL_MODEL_H

/** @file
 * A LLaMA model with its adapters, sharded over a communicator: what its users need. Generation and
 * other evaluation go through model/session.h; how a model is made stands in model/model_impl.h,
 * which is for this folder.
 *
 * Shapes: a micro-batch is B sequences of T tokens, N = B*T rows; V vocab_size.
 */

#include "comm/exact.h"
#include "model/params.h"
#include "store/hf.h"

/** A model. Owns its parameters and activations; borrows comm and be. */
typedef struct mr_model mr_model;

/** What micro-batches look like. */
typedef struct mr_geometry {
    int64_t batch;      /**< B, sequences of a micro-batch */
    int64_t tokens;     /**< T, tokens of a sequence */
    int64_t micros;     /**< micro-batches this rank takes in a step */
    int64_t in_wave;    /**< of them at once; 1 where the head is tied. The last wave may have fewer
                             where ranks meet once a step */
    int64_t stretches;  /**< that the gradients of micros are summed by (model/tree.h) */
    bool meet_in_waves; /**< gradients of the ranks meet after each wave, not once a step: in_wave
                             is then some stretches, a power of two of all */
    bool packed; /**< a sequence may hold several segments: mr_model_batch.starts may be given */
} mr_geometry;

/** Returns the waves of a step. Local. */
static inline int64_t mr_geometry_waves(const mr_geometry *g)
{
    return (g->micros + g->in_wave - 1) / g->in_wave;
}

/** Returns the micro-batches in a wave. Local. */
static inline int64_t mr_geometry_in_wave(const mr_geometry *g, int64_t wave)
{
    const int64_t left = g->micros - wave * g->in_wave;
    return left < g->in_wave ? left : g->in_wave;
}

/** Micro-batches of this rank, one after another, [count, N] each; borrowed for the call. */
typedef struct mr_model_batch {
    const int32_t *tokens;
    const int32_t *targets;   /**< negative where not scored */
    const int32_t *positions; /**< of each token in its text, 0..T-1; NULL: 0, 1, ... in a row */
    const int32_t *starts;    /**< as mr_attention_args.starts; NULL: a sequence is one segment */
} mr_model_batch;

/** A run's demands on a model. Pointers are borrowed for the call, comm and be until destroy. */
typedef struct mr_model_options {
    const mr_comm *comm;
    const mr_nodes *nodes; /**< whose ranks share memory where the backend can; NULL: none do */
    mr_backend *be;
    const mr_hf_config *arch;
    const mr_adapter_method *method;
    const mr_adapter_config *adapter; /**< of the method; a module of modules_to_save has its own
                                           weights trained, and no adapter */
    const mr_string_list *lr_scale;   /**< train.lr_scale, of trained tensors; NULL: none */
    double lr;                        /**< train.lr, which lr_scale's rates are told by */
    mr_shard shard;
    mr_dtype states;  /**< of trained weights of the base and their moments (model/params.h) */
    mr_dtype compute; /**< dtype of activations and of the weights they meet */
    bool fp8;         /**< products with frozen weights of layers take 8 bits */
    mr_recompute recompute; /**< what layers compute again in the backward pass */
    bool frozen;   /**< the model is only run: a method that trains the base trains nothing */
    uint64_t seed; /**< of restarts and dropout */
    mr_geometry geometry;
} mr_model_options;

/** Lays a model out without allocating its tensors: enough for plans. Local.
 * @return MR_OK, MR_ERR_ARG (r; more parameters, or rows of a product, than can be counted),
 *         MR_ERR_CONFIG (target_modules, modules_to_save, operator, lr_scale, optimizer_dtype,
 *         matmul),
 *         MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_model_create(const mr_model_options *options, mr_model **out);

/** Allocates parameters and activations, zeroed. Collective.
 * @return MR_OK, MR_ERR_MEMORY; the same on every rank where memory is shared and there is no room
 * for that; else local */
MR_NODISCARD mr_status mr_model_allocate(mr_model *model);

/** Frees everything and sets *out to NULL; NULL is allowed. Local. */
void mr_model_destroy(mr_model **out);

/** Return what a model is of; borrowed. */
const mr_comm *mr_model_comm(const mr_model *model);
const mr_hf_config *mr_model_arch(const mr_model *model);
const mr_adapter_method *mr_model_method(const mr_model *model);
const mr_geometry *mr_model_geometry(const mr_model *model);
mr_params *mr_model_params(const mr_model *model);

/** Tells whether a pass gathers weights, so that all ranks must run as many. Local. */
bool mr_model_gathers(const mr_model *model);

/** Adds to bytes[purpose] what mr_model_allocate will take. Local. */
void mr_model_bytes(const mr_model *model, size_t bytes[MR_MEM_PURPOSES]);

/** Returns the most bytes (MR_MEM_OTHER) that drawing weights or merging take while they last,
 * pieces of a few MiB apart. Local. */
size_t mr_model_scratch(const mr_model *model);

/** What travels between ranks. */
typedef enum mr_flow_kind {
    MR_FLOW_GATHERS,   /**< of a unit's weights, before they are used */
    MR_FLOW_EXCHANGES, /**< of a unit's gradients */
    MR_FLOW_UPDATES,   /**< of new weights, or of whole gradients, to the ranks that keep all */
    MR_FLOWS
} mr_flow_kind;

/** What one rank receives of a kind in a step: a message is what one other rank sends of a flat. */
typedef struct mr_flow {
    int64_t units;           /**< times a unit travels */
    double messages, bytes;  /**< from all other ranks */
    double messages_in_node; /**< of them, from those of the same node */
    double bytes_in_node;
} mr_flow;

/** What a step costs, whatever it is computed on. */
typedef struct mr_model_cost {
    double flops;   /**< over all ranks: 2 a multiply-add, causal attention as half a square,
                         nothing that is computed twice */
    double traffic; /**< bytes this rank receives, of all kinds */
    double waits;   /**< times that ranks of a node wait for each other by what they share */
    mr_flow flow[MR_FLOWS];
} mr_model_cost;

/** Returns the name of a kind ("gathers", ...). */
const char *mr_flow_name(mr_flow_kind kind);

/** Returns the cost of a step of a laid-out model, where so many ranks share a node. Local; ranks
 * differ in nothing. */
mr_model_cost mr_model_step_cost(const mr_model *model, int64_t node_ranks);

/** What was chosen for an adapted linear, on a walk over those of every site, each in the first
 * layer that has one there: layers of a shape choose alike. */
typedef struct mr_model_choice {
    const char *weight; /**< name of the linear's weight */
    char text[64];      /**< as the method puts it: "rotation, r_hat 256" */
    int site, place;    /**< where the walk goes on */
} mr_model_choice;

/** Goes to the next choice from {0}; false behind the last one. Local. */
bool mr_model_next_choice(const mr_model *model, mr_model_choice *choice);

/** Draws every parameter's initial value from (seed, name): the same on any number of ranks. What
 * starts from the base weights is left to mr_model_prepare_adapters. Local.
 * @return MR_OK, MR_ERR_MEMORY, MR_ERR_NUMERIC */
MR_NODISCARD mr_status mr_model_draw(mr_model *model, uint64_t seed, bool base, bool adapters);

/** Reads base weights from an open folder, each rank only the elements it keeps. Local.
 * @return MR_OK, MR_ERR_FORMAT (missing tensor, other shape: names both), MR_ERR_IO */
MR_NODISCARD mr_status mr_model_load(mr_model *model, const mr_hf *weights);

/** Sets what of the adapters starts from the base weights, once these are there. Collective.
 * @return MR_OK, MR_ERR_NUMERIC (base weights that are not finite); the same on every rank */
MR_NODISCARD mr_status mr_model_prepare_adapters(mr_model *model);

/** Turns the weight of every adapted linear into the merged one, in F32, the part of it that this
 * rank keeps; the adapters stay as they are and must be restarted, or the model left unused. The
 * bits depend neither on the number of ranks nor on parallel.shard. Collective; allocates scratch.
 * @return MR_OK, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_model_merge(mr_model *model);

/** Begins the adapters anew as number `restart` of the run: weights as mr_model_draw and
 * mr_model_prepare_adapters would set them, of streams of their own. Optimizer state is the
 * caller's. Collective. @return MR_OK, MR_ERR_MEMORY, MR_ERR_NUMERIC; the same on every rank */
MR_NODISCARD mr_status mr_model_restart(mr_model *model, int64_t restart);

/** Becomes what a restart asks for, weights apart: for a run that is resumed. Local. */
void mr_model_set_restart(mr_model *model, int64_t restart);

/** Tells whether training changes frozen weights too, so that a checkpoint must hold them. */
bool mr_model_changes_frozen(const mr_model *model);

/** Which tensors of a model a file holds. */
typedef enum mr_model_part {
    MR_PART_PUBLIC,  /**< those of the public format: adapters left out */
    MR_PART_TRAINED, /**< those that training changes, merges too, and all of adapters */
    MR_PART_ALL
} mr_model_part;

/** Writes a part of a model as one safetensors file, in F32, pieces at a time through rank 0.
 * Collective.
 * @param pairs  [n_pairs] metadata, on rank 0
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_model_write(const mr_model *model, mr_model_part part, const char *path,
                                      const mr_safetensors_pair *pairs, int64_t n_pairs);

/** A tensor of a file that is written. */
typedef struct mr_model_tensor {
    int id;           /**< of the parameter */
    bool vector;      /**< of one dimension */
    const char *name; /**< in the file */
    mr_safetensors_dtype dtype;
} mr_model_tensor;

/** Writes tensors in an order as one safetensors file, as mr_model_write. Collective.
 * @param tensors  [count], the same on every rank
 * @return MR_OK, MR_ERR_IO, MR_ERR_ARG (names), MR_ERR_NUMERIC (an element is beyond its type),
 *         MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_model_write_tensors(const mr_model *model, const mr_model_tensor *tensors,
                                              int count, const char *path,
                                              const mr_safetensors_pair *pairs, int64_t n_pairs);

/** Reads what mr_model_write wrote of the same part into a model that stands where that one did
 * (mr_model_set_restart). Local.
 * @return MR_OK, MR_ERR_FORMAT (other tensors; message names one), MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_model_read(mr_model *model, mr_model_part part,
                                     const mr_safetensors *file);

/** Uploads micro-batches first..first+count-1 of this rank's step, in one go. positions and starts
 * are both given or both NULL, and NULL where geometry.packed is not set. Local; no allocation. */
void mr_model_set_batches(mr_model *model, int64_t first, int64_t count,
                          const mr_model_batch *batch);

/** Returns the index in the global batch of this rank's first micro-batch of a wave. Local. */
int64_t mr_model_first_micro(const mr_model *model, int64_t wave);

/** Runs a wave's micro-batches forward and backward: gradients into the leaves.
 * @param[in] wave  0..waves-1, in their order
 * @param[in] scale 1 / scored targets of the global batch
 * @param[in] step  optimizer steps taken, for dropout
 * Collective; no allocation. */
void mr_model_train_wave(mr_model *model, int64_t wave, double scale, uint64_t step);

/** Waits until the gradients of all waves of a step are whole, and reads what the host needs of
 * it, once: adds this rank's token losses, in nats, to loss, and the squares of the gradient
 * elements it answers for to squares: over all ranks each element is in one sum. Collective; no
 * allocation.
 * @return MR_OK, or the first error of what the backend did in the step: this rank's alone */
MR_NODISCARD mr_status mr_model_finish_step(mr_model *model, mr_exact *loss, mr_exact *squares);

/** Runs sequences forward without gradients, at most as many as a micro-batch has, in the place of
 * micro-batch 0: losses [sequences * T] (host) in nats, 0 where not scored, and where logits is not
 * NULL all logits [sequences * T, V] into it (host). Collective; no allocation. */
void mr_model_evaluate(mr_model *model, const mr_model_batch *batch, int64_t sequences,
                       double *losses, float *logits);

#endif
