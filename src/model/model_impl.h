#ifndef MR_MODEL_MODEL_IMPL_H
#define MR_MODEL_MODEL_IMPL_H

/** @file
 * What a model is made of: for the files of this folder. What others may rely on stands in
 * model/model.h and model/session.h.
 *
 * Letters: N rows of a pass, B sequences of T tokens in a micro-batch, C hidden_size, V vocab_size,
 * L layers. The residual stream is kept before each norm; a layer's output is left as two addends
 * (the stream and the last branch), and the next norm adds them in its own pass over memory.
 */

#include "model/arena.h"
#include "model/model.h"
#include "model/params_impl.h"
#include "model/reduce.h"
#include "nn/nn.h"

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

/** Linears of a site. */
extern const struct mr_site_table {
    int count;
    mr_linear_id linear[MR_SITE_LINEARS];
} mr_sites[MR_SITES];

/** A frozen weight in 8 bits, for both of its products. */
typedef struct mr_eight {
    mr_scaled forward;  /**< W [O, I] */
    mr_scaled backward; /**< W^T [I, O]; absent in a model that is only run */
} mr_eight;

/** Parameters and adapters of one decoder layer. */
typedef struct mr_layer {
    int norm[2]; /**< before attention, before the MLP */
    int linear[MR_LINEARS];
    mr_eight eight[MR_LINEARS];    /**< what products take for these; absent where they do not */
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
    mr_layer_acts *layer; /**< [L]; what is computed again is shared. Owned */
    mr_tensor branch;     /**< [N, C], last branch forward; gradient of the stream backward */
    mr_tensor tokens, targets, positions; /**< I32 [1, N], of the step's */
    mr_tensor starts;                     /**< I32 [1, N], absent where segments are sequences */
    mr_tensor losses;                     /**< F64 [1, N], of the readings */
} mr_micro;

/** Scratch of a pass, shared by all micro-batches and layers. */
typedef struct mr_scratch {
    mr_tensor final, normed, rstd; /**< the stream at the end, normed */
    mr_tensor logits;              /**< [chunk, V] */
    mr_tensor d_normed, d_attended, d_q, d_k, d_v, d_product;
    mr_tensor adapter; /**< [N, most work_cols] */
    mr_scaled cast;    /**< mr_eight_place_cast */
} mr_scratch;

/** Keys and values of a session, and where those of a pass stand. */
typedef struct mr_cache {
    mr_tensor *k, *v;   /**< [L] of [pages * MR_CACHE_PAGE, NKV*HS]; owned */
    mr_tensor rows;     /**< I32 [1, new tokens]: where each is stored */
    mr_tensor offsets;  /**< I32 [1, B + 1]: first new row of each sequence, and their number */
    mr_tensor lengths;  /**< I32 [1, B]: positions that count, this pass included */
    mr_tensor pages;    /**< I32 [B, most]: as mr_cached_attention_args has them */
    mr_tensor from, to; /**< I32 [1, copies]: rows that are copied once the new ones are stored */
    mr_tensor copied;   /**< [copies, NKV*HS], scratch */
} mr_cache;

/** Where a pass stands, for what depends on more than the layer. */
typedef struct mr_pass {
    int64_t rows;
    mr_attention_shape shape;
    mr_tensor positions; /**< I32 [1, rows] */
    mr_tensor starts;    /**< I32 [1, rows] of the attention, or absent */
    const mr_rope *rope;
    bool replay;       /**< recomputation: the layer's last output is not needed again */
    bool dropout;      /**< as a step's has; without, a row's bits are its own, in any batch */
    uint64_t step;     /**< optimizer step, for dropout */
    int64_t first_row; /**< index of row 0 among the tokens of the global batch, for dropout */
    mr_tensor adapter_work;
    mr_scaled cast;
    const mr_cache *cache; /**< sessions: keys and values are kept here; else NULL */
} mr_pass;

/** Owns all but comm and be. */
struct mr_model {
    const mr_comm *comm;
    mr_backend *be;
    mr_hf_config arch;
    const mr_adapter_method *method;
    mr_dtype compute; /**< of activations, and of weights in products */
    mr_recompute recompute;
    bool in_eight;       /**< products with frozen weights of layers take 8 bits (eight.c) */
    bool frozen;         /**< the model is only run */
    mr_buffer *eight;    /**< memory of these weights */
    uint64_t eight_from; /**< mr_params.rewritten as they were made; 0: not yet */
    uint64_t seed;
    int64_t restart; /**< merges into the base so far, where the method does that */
    mr_geometry geometry;
    mr_params *params;
    mr_reduce *reduce;
    int embed, final_norm, head; /**< parameters; head is embed where tied */
    int head_unit;               /**< unit of final_norm and head; 0 where tied */
    mr_layer *layer;             /**< [L] */
    mr_rope rope;
    /** The step's micro-batches, [micros, N] each; positions and starts are absent where
     * the geometry is not packed. */
    mr_tensor tokens, targets, positions, starts;
    bool segments;          /**< the step came with positions and starts */
    mr_tensor in_order;     /**< I32 [1, N], positions 0..T-1 over and over */
    mr_tensor readings;     /**< F64: losses of all micro-batches, then square sums */
    mr_tensor told;         /**< I32 [2, MR_EXACT_WORDS]: their exact sums */
    mr_buffer *activations; /**< one arena for micro, scratch and what a step is told and tells */
    size_t activation_bytes;
    mr_micro *micro; /**< [in_wave] */
    mr_scratch scratch;
    bool below; /**< something under the first layer is trained: its gradient goes down */
};

/** Returns the unit of a layer. */
static inline int mr_model_layer_unit(int index)
{
    return 1 + index;
}

/** Returns the name of a linear among those of its layer ("q_proj"). */
const char *mr_linear_name(int linear);

/** Lists a model's modules and parameters, by the configuration's lists of modules, and how its
 * gradients come. Local. @return as mr_model_create, but for rows of a product */
MR_NODISCARD mr_status mr_model_lay_out(mr_model *model, const mr_model_options *options);

/** Fills a table of angles for positions below `positions`, as the architecture scales them.
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_model_rope(const mr_model *model, int64_t positions, mr_purpose purpose,
                                     mr_rope *out);

/** Says whether a laid-out model can multiply in 8 bits as it was asked to.
 * @return MR_OK, MR_ERR_CONFIG (names model.matmul and what is in the way) */
MR_NODISCARD mr_status mr_eight_check(const mr_model *model);

/** Returns the bytes of frozen weights in 8 bits. */
size_t mr_eight_bytes(const mr_model *model);

/** Allocates them. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_eight_allocate(mr_model *model);

/** Makes them of the weights, where these have changed since. Weights must be readable
 * (mr_params_read_begin); no allocation. */
void mr_eight_refresh(mr_model *model);

/** Places room for what they meet in products of so many rows. */
mr_scaled mr_eight_place_cast(const mr_model *model, mr_arena *arena, int64_t rows);

/** Returns the most work columns an adapter of the model asks for. */
int64_t mr_model_adapter_work(const mr_model *model);

/** Returns how many rows of logits are kept at once, whatever the vocabulary. */
int64_t mr_model_logits_rows(const mr_model *model);

/** Returns the most rows that one token is in a product of the model. */
int64_t mr_model_product_rows(const mr_model *model);

/** Places the activations of one layer, or (layer NULL) a set that serves any layer, for so many
 * rows of B sequences; x is left to the caller. Those that `shared` has already are its; NULL for
 * none. */
void mr_layer_place(const mr_model *model, const mr_layer *layer, mr_arena *arena, int64_t rows,
                    int64_t batch, int64_t tokens, const mr_layer_acts *shared,
                    mr_layer_acts *acts);

/** Places what a layer gives that its backward pass makes again where it needs it. */
void mr_layer_place_remade(const mr_model *model, mr_arena *arena, int64_t rows,
                           mr_layer_acts *acts);

/** Returns activations cut to their first rows. lse keeps its shape: its rows are heads. */
mr_layer_acts mr_layer_first_rows(const mr_layer_acts *acts, int64_t rows);

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

/** Returns a tensor of an adapter as it is kept, F32 where it is trained: what is computed with may
 * be a copy of another type, made anew of that. The layer's unit must be in use. Local. */
mr_tensor mr_model_kept_part(const mr_model *model, int id);

#endif
