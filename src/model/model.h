#ifndef MR_MODEL_MODEL_H
#define MR_MODEL_MODEL_H

/** @file
 * A LLaMA model with its adapters, sharded over a communicator.
 *
 * Shapes: a micro-batch is B sequences of T tokens, N = B*T rows; C hidden_size, V vocab_size, L
 * layers. The residual stream is kept before each norm; a layer's output is left as two addends
 * (the stream and the last branch), and the next norm adds them in its own pass over memory.
 */

#include "model/params.h"
#include "nn/nn.h"
#include "store/hf.h"

/** Linears of a decoder layer, in the order their parameters are laid out. */
typedef enum mr_linear_id {
    MR_LINEAR_Q,
    MR_LINEAR_K,
    MR_LINEAR_V,
    MR_LINEAR_O,
    MR_LINEAR_GATE,
    MR_LINEAR_UP,
    MR_LINEAR_DOWN,
    MR_LINEARS
} mr_linear_id;

/** Sites: linears that share an input (adapter/adapter.h). */
typedef enum mr_site_id {
    MR_SITE_QKV,
    MR_SITE_O,
    MR_SITE_GATE_UP,
    MR_SITE_DOWN,
    MR_SITES
} mr_site_id;

/** What micro-batches look like. */
typedef struct mr_geometry {
    int64_t batch;   /**< B, sequences of a micro-batch */
    int64_t tokens;  /**< T, tokens of a sequence */
    int64_t waves;   /**< waves of a step */
    int64_t in_wave; /**< micro-batches this rank takes in a wave; 1 where the head is tied */
} mr_geometry;

/** Parameters and adapters of one decoder layer. */
typedef struct mr_layer {
    int norm[2]; /**< before attention, before the MLP */
    int linear[MR_LINEARS];
    mr_adapter *adapter[MR_SITES]; /**< NULL where no linear of the site is adapted; owned */
    int adapted[MR_SITES]; /**< linears of the site that are; their own weights are frozen */
    mr_linear_id target[MR_SITES][MR_SITE_LINEARS];
    int adapter_param[MR_SITES][MR_SITE_LINEARS][MR_ADAPTER_PARAMS];
} mr_layer;

/** What the forward pass of one layer leaves for the backward pass; rows are tokens. */
typedef struct mr_layer_acts {
    mr_tensor x; /**< [N, C], the stream before the first norm */
    mr_tensor normed1, rstd1;
    mr_tensor q, k, v; /**< rotated q and k */
    mr_tensor lse, attended;
    mr_tensor h; /**< [N, C], the stream before the second norm */
    mr_tensor normed2, rstd2;
    mr_tensor gate, up, product;
    mr_tensor saved[MR_SITES];
} mr_layer_acts;

/** One micro-batch on its way. */
typedef struct mr_micro {
    mr_layer_acts *layer;      /**< [L]; with recomputation all but x is shared. Owned */
    mr_tensor branch;          /**< [N, C], last branch forward; gradient of the stream backward */
    mr_tensor tokens, targets; /**< I32 [1, N] */
    mr_tensor losses;          /**< F64 [1, N] */
} mr_micro;

/** Scratch of a pass, shared by all micro-batches and layers. */
typedef struct mr_scratch {
    mr_tensor final, normed, rstd; /**< the stream at the end, normed */
    mr_tensor logits;              /**< [chunk, V] */
    mr_tensor d_normed, d_attended, d_q, d_k, d_v, d_product;
    mr_tensor adapter; /**< [N, most work_cols] */
} mr_scratch;

/** Where a pass stands, for what depends on more than the layer. */
typedef struct mr_pass {
    int64_t rows;
    mr_attention_shape shape;
    mr_tensor positions; /**< I32 [1, rows] */
    const mr_rope *rope;
    bool replay; /**< recomputation: the layer's last output is not needed again */
    bool dropout;
    uint64_t step;     /**< optimizer step, for dropout */
    int64_t first_row; /**< index of row 0 among the tokens of the global batch, for dropout */
    mr_tensor adapter_work;
    const struct mr_cache *cache; /**< generation: keys and values are kept here; else NULL */
    bool decode;                  /**< one new token a sequence, against the cache */
} mr_pass;

/** Keys and values of generation. */
typedef struct mr_cache {
    int64_t capacity;  /**< tokens a sequence may reach */
    mr_tensor *k, *v;  /**< [L] of [B * capacity, NKV*HS]; owned */
    mr_tensor rows;    /**< I32 [1, rows]: where each row of this pass is stored */
    mr_tensor offsets; /**< I32 [1, B + 1]: first new row of each sequence, and their number */
    mr_tensor lengths; /**< I32 [1, B]: positions that count, this pass included */
} mr_cache;

/** A model. Owns all but comm and be. */
typedef struct mr_model {
    const mr_comm *comm;
    mr_backend *be;
    mr_hf_config arch;
    const mr_adapter_method *method;
    bool recompute;
    uint64_t seed;
    int64_t restart; /**< merges into the base so far, where the method does that */
    mr_geometry geometry;
    mr_params *params;
    int embed, final_norm, head; /**< parameters; head is embed where tied */
    int head_unit;               /**< unit of final_norm and head; 0 where tied */
    mr_layer *layer;             /**< [L] */
    mr_rope rope;
    mr_tensor positions;    /**< I32 [1, N], 0..T-1 over and over */
    mr_buffer *activations; /**< one arena for micro, scratch and positions */
    size_t activation_bytes;
    mr_micro *micro; /**< [in_wave] */
    mr_scratch scratch;
    bool below; /**< something under the first layer is trained: its gradient goes down */
} mr_model;

/** A run's demands on a model. Pointers are borrowed for the call, comm and be until destroy. */
typedef struct mr_model_options {
    const mr_comm *comm;
    mr_backend *be;
    const mr_hf_config *arch;
    const mr_config *config; /**< method, train.lr_scale, recompute, shard, seed; a module of
                                  method.modules_to_save has its own weights trained, no adapter */
    mr_geometry geometry;
} mr_model_options;

/** Lays a model out without allocating its tensors: enough for plans. Local.
 * @return MR_OK, MR_ERR_ARG (r), MR_ERR_CONFIG (target_modules, modules_to_save, operator,
 *         lr_scale), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_model_create(const mr_model_options *options, mr_model **out);

/** Allocates parameters and activations, zeroed. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_model_allocate(mr_model *model);

/** Frees everything and sets *out to NULL; NULL is allowed. Local. */
void mr_model_destroy(mr_model **out);

/** Adds to bytes[purpose] what mr_model_allocate will take. Local. */
void mr_model_bytes(const mr_model *model, size_t bytes[MR_MEM_PURPOSES]);

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
static inline bool mr_model_changes_frozen(const mr_model *model)
{
    return model->method->merges;
}

/** Reads one parameter from a safetensors entry. Local. @return as mr_model_load */
MR_NODISCARD mr_status mr_model_load_param(mr_model *model, int id, const mr_safetensors *file,
                                           const mr_safetensors_entry *entry);

/** Writes base weights (config.json, model.safetensors) and, with adapters, adapter.safetensors
 * into a folder, made where it is missing. Collective; rank 0 writes.
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_model_save(mr_model *model, const char *folder);

/** Uploads micro-batch w of the wave: tokens and targets [N], targets negative where not scored. */
void mr_model_set_batch(mr_model *model, int64_t w, const int32_t *tokens, const int32_t *targets);

/** Runs the wave's micro-batches forward and backward: losses of each, gradients into the leaves.
 * @param[in] scale       1 / scored targets of the global batch
 * @param[in] step        optimizer steps taken, for dropout
 * @param[in] first_micro index in the global batch of this rank's first micro-batch of the wave
 * Collective; no allocation. */
void mr_model_train_wave(mr_model *model, double scale, uint64_t step, int64_t first_micro);

/** Runs micro-batch 0 forward without gradients: losses, and where logits is not NULL all logits
 * [N, V] into it (host). Collective; no allocation. */
void mr_model_evaluate(mr_model *model, float *logits);

/** Copies the losses of micro-batch w to host memory [N]. Local. */
void mr_model_losses(mr_model *model, int64_t w, double *losses);

/** One buffer that many tensors are placed in. Without a buffer it only measures. */
typedef struct mr_arena {
    mr_buffer *buffer; /**< borrowed */
    size_t used;       /**< bytes */
} mr_arena;

/** Places a dense tensor at the next cache line of an arena. Local. */
mr_tensor mr_arena_take(mr_arena *arena, mr_dtype dtype, int64_t rows, int64_t cols);

/** Places the activations of one layer, or (layer NULL) a set that serves any layer, for so many
 * rows of B sequences; x is left to the caller. */
void mr_layer_place(const mr_model *model, const mr_layer *layer, mr_arena *arena, int64_t rows,
                    int64_t batch, int64_t tokens, mr_layer_acts *acts);

/** One decoder layer forward. Stream in: acts->x where stream is absent (first layer), else
 * stream + branch, written to acts->x. Stream out: acts->h + branch. */
void mr_layer_forward(mr_model *model, int index, const mr_pass *pass, mr_layer_acts *acts,
                      mr_tensor stream, mr_tensor branch);

/** One decoder layer backward: d_stream [N, C] is the gradient after the layer, becomes that before
 * it. Gradients of trained parameters go to the unit's open leaf. */
void mr_layer_backward(mr_model *model, int index, const mr_pass *pass, mr_layer_acts *acts,
                       mr_tensor d_stream);

/** Returns a call of a site's adapter that has the weights, of the base and its own, and nothing
 * else. The layer's unit must be in use. Local. */
mr_adapter_call mr_layer_adapter_weights(const mr_model *model, int index, int site);

/** Returns the unit of a layer. */
static inline int mr_model_layer_unit(int index)
{
    return 1 + index;
}

/** Returns the most work columns an adapter of the model asks for. */
int64_t mr_model_adapter_work(const mr_model *model);

/** Returns how many rows of logits are kept at once, whatever the vocabulary. */
int64_t mr_model_logits_rows(const mr_hf_config *arch);

/** Linears of a site. */
extern const struct mr_site_table {
    int count;
    mr_linear_id linear[MR_SITE_LINEARS];
} mr_sites[MR_SITES];

#endif
