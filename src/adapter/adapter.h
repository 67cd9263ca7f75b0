#ifndef MR_ADAPTER_ADAPTER_H
#define MR_ADAPTER_ADAPTER_H

/** @file
 * Trainable updates of frozen linear layers: one file a method and one row in the table of
 * adapter.c. A method changes y = x W0^T into y = x W'^T, with a W' of its parameters that it never
 * forms but when it is merged; most add to y, W' = W0 + dW.
 *
 * An adapter serves a *site*: the linears of a decoder layer that read one input (q, k, v; o; gate,
 * up; down), so that what depends on the input alone is computed once. Its parameters are held by
 * the model and handed in with each call; the adapter itself holds shapes and constant tables.
 *
 * Letters: N tokens, I inputs, O outputs of a linear, r the budget of the paper (never an MPI
 * rank), R = r_hat the side of MoRA's square matrix.
 */

#include "backend/backend.h"
#include "config/registry.h"

#include <math.h>

enum {
    MR_ADAPTER_PARAMS = 3, /**< most tensors a linear gets */
};

/** What a configuration tells any method; a method's own keys follow it in a struct of its own. */
typedef struct mr_adapter_config {
    int64_t r; /**< 0: the base weights are trained */
    double lora_alpha, lora_dropout;
    bool use_rslora; /**< of methods that scale: by lora_alpha / sqrt(r) */
    mr_string_list target_modules, modules_to_save;
    char adapter[MR_CONFIG_STRING]; /**< folder of the adapter to start from; "": none */
    int64_t merge_every;            /**< optimizer steps; 0: the method never merges */
} mr_adapter_config;

/** Rows of a method's table of keys: what every adapter has. */
#define MR_ADAPTER_KEYS                                                                            \
    {MR_KEY_FIELD(mr_adapter_config, "method.r", r),                                               \
     .type = MR_KEY_INT,                                                                           \
     .fallback = "8",                                                                              \
     .min = 1,                                                                                     \
     .max = 65536,                                                                                 \
     .help = "Budget of the update: as many parameters as LoRA has at this r."},                   \
        {MR_KEY_FIELD(mr_adapter_config, "method.lora_alpha", lora_alpha),                         \
         .type = MR_KEY_FLOAT,                                                                     \
         .fallback = "16",                                                                         \
         .low_open = true,                                                                         \
         .high = INFINITY,                                                                         \
         .help = "The update is scaled by lora_alpha / r where the method scales."},               \
        {MR_KEY_FIELD(mr_adapter_config, "method.lora_dropout", lora_dropout),                     \
         .type = MR_KEY_FLOAT,                                                                     \
         .fallback = "0",                                                                          \
         .high = 1,                                                                                \
         .high_open = true,                                                                        \
         .help = "Probability that an input of the update is dropped in training."},               \
        {MR_KEY_FIELD(mr_adapter_config, "method.target_modules", target_modules),                 \
         .type = MR_KEY_STRINGS, .fallback = "[all-linear]",                                       \
         .help = "Linear layers that are updated, by name (q_proj, ...), or all-linear."},         \
        {MR_KEY_FIELD(mr_adapter_config, "method.modules_to_save", modules_to_save),               \
         .type = MR_KEY_STRINGS, .fallback = "[]",                                                 \
         .help = "Further modules whose own weights are trained, by name (embed_tokens, lm_head, " \
                 "norm, ...)."},                                                                   \
    {                                                                                              \
        MR_KEY_FIELD(mr_adapter_config, "method.adapter", adapter),                                \
            .type = MR_KEY_STRING, .is_path = true, .fallback = "",                                \
            .help =                                                                                \
                "Adapter folder of PEFT, or for mora of the published fork, to start from: of "    \
                "this r, scale and these modules. What is learnt is told against the base "        \
                "without it."                                                                      \
    }

/** The row of methods that merge. */
#define MR_ADAPTER_MERGE_KEY                                                                       \
    {                                                                                              \
        MR_KEY_FIELD(mr_adapter_config, "method.merge_every", merge_every),                        \
            .type = MR_KEY_INT, .fallback = "2000", .min = 1, .max = MR_KEY_BILLION,               \
            .unit = "optimizer steps",                                                             \
            .help = "Steps from one merge into the weights to the next."                           \
    }

/** How a tensor starts. */
typedef enum mr_init_kind {
    MR_INIT_ZERO,
    MR_INIT_ONE,
    MR_INIT_UNIFORM,     /**< in [-scale, scale) */
    MR_INIT_NORMAL,      /**< of standard deviation scale */
    MR_INIT_ORTHONORMAL, /**< rows of length 1 at right angles; no more rows than columns */
} mr_init_kind;

/** One tensor of a linear's adapter. */
typedef struct mr_adapter_param {
    const char *suffix; /**< its name behind the linear's, "lora_A" */
    int64_t rows, cols;
    mr_init_kind init;
    double init_scale;
    double lr_scale; /**< factor on train.lr; 0 stands for 1 */
    bool frozen;     /**< stays as it was drawn; the same for all linears of a site */
} mr_adapter_param;

typedef struct mr_adapter mr_adapter;

/** What a call works on. Tensors are borrowed for the call.
 *
 * The k-th parameters of the site's linears lie one after another without gaps, so that methods may
 * take them as one stacked matrix; the same holds for their gradients. */
typedef struct mr_adapter_call {
    mr_backend *be;
    mr_tensor base[MR_SITE_LINEARS]; /**< W0 [O, I] */
    mr_tensor weight[MR_SITE_LINEARS][MR_ADAPTER_PARAMS];
    mr_tensor grad[MR_SITE_LINEARS][MR_ADAPTER_PARAMS]; /**< backward: written, not added to; absent
                                                             where not wanted */
    mr_tensor x;                                        /**< [N, I] */
    mr_tensor y[MR_SITE_LINEARS]; /**< [N, O]; forward: x W0^T, becomes x W'^T. Backward: the
                                       gradient there, read */
    mr_tensor d_x;                /**< [N, I]; backward: += , where it exists */
    mr_tensor saved;   /**< [N, saved_cols], kept from forward to backward, scratch there */
    mr_tensor work;    /**< [N, mr_adapter_work_cols], dense scratch */
    bool dropout;      /**< training: apply lora_dropout */
    mr_random stream;  /**< of the dropout mask, by step, layer and site */
    int64_t first_row; /**< index of row 0 among the tokens of the global batch */
} mr_adapter_call;

/** A method: a row of the table. What is marked optional may be NULL. */
typedef struct mr_adapter_method {
    const char *name;
    const char *summary;
    const mr_schema *schema; /**< its keys, over a struct that starts with mr_adapter_config */
    bool trains_base; /**< the base weights are trained and there is no adapter: nothing follows */
    bool scales_rows; /**< what is learnt is no sum W0 + dW: mr_update.ratio is not absent */
    bool merges; /**< every method.merge_every steps the update is added to the base, and starts
                      anew */

    /** Fills a->params, a->param, a->saved_cols, a->work_cols, a->macs, a->table_bytes, a->state,
     * and a->product_rows where it is more than 1, without the tensors of the state: plans are made
     * of it. config starts the struct of schema; names are the linears', for messages.
     * @return MR_OK, MR_ERR_ARG, MR_ERR_CONFIG, MR_ERR_MEMORY */
    mr_status (*setup)(mr_adapter *a, const mr_adapter_config *config, const char *const *names);
    /** Allocates the state's tensors, a->table_bytes of MR_MEM_ACTIVATIONS.
     * @return MR_OK, MR_ERR_MEMORY. Optional. */
    mr_status (*allocate)(mr_adapter *a);
    /** Frees a->state; also called where setup failed. Optional. */
    void (*teardown)(mr_adapter *a);
    /** Becomes what restart number `restart` of the run asks for, weights apart. Optional. */
    void (*set_restart)(mr_adapter *a, int64_t restart);
    /** Sets the weights that start from the base's, from call's base and weight.
     * @return MR_OK, MR_ERR_NUMERIC, MR_ERR_MEMORY. Optional. */
    mr_status (*start)(const mr_adapter *a, const mr_adapter_call *call);
    /** Computes what depends on weights alone into a->state, from call's base and weight: called
     * before anything else that follows a change of weights. A base that changes is followed by
     * start. No allocation. Optional. */
    void (*refresh)(const mr_adapter *a, const mr_adapter_call *call);
    /** y becomes x W'^T. call->dropout tells whether x is masked; y is the base's product of x
     * without a mask. */
    void (*forward)(const mr_adapter *a, const mr_adapter_call *call);
    /** Runs before the base's backward products, which read call->y[i] afterwards: may replace it
     * by a tensor in call->work or saved, which stay until backward returns. call->x and d_x are
     * absent. Optional. */
    void (*backward_output)(const mr_adapter *a, mr_adapter_call *call);
    /** Writes grad, adds to d_x what the base's product has not. */
    void (*backward)(const mr_adapter *a, const mr_adapter_call *call);
    /** As mr_adapter_update. Optional: where it is NULL, the update has no structure to tell. */
    void (*update)(const mr_adapter *a, const mr_adapter_call *call, int linear, mr_update *out);
    /** As mr_adapter_merge_rows. */
    void (*merge_rows)(const mr_adapter *a, const mr_adapter_call *call, int linear, int64_t first,
                       mr_tensor rows);
    /** Writes one line about what was chosen for this site ("rotation, r_hat 256"). */
    void (*describe)(const mr_adapter *a, int linear, char *text, size_t room);
    /** Returns the number that the update has in the published code of its method, which tells it
     * apart from others of the same shapes; 0: that has none. Optional: NULL where shapes tell all.
     */
    int64_t (*published_type)(const mr_adapter *a);
} mr_adapter_method;

/** A method at a site. Owns state; borrows be until destroyed. */
struct mr_adapter {
    const mr_adapter_method *method;
    mr_backend *be;
    mr_dtype compute; /**< of the model */
    int64_t r;
    double lora_alpha, lora_dropout;
    bool use_rslora;
    int linears;
    int64_t in;
    int64_t out[MR_SITE_LINEARS];
    int params; /**< tensors a linear gets */
    mr_adapter_param param[MR_SITE_LINEARS][MR_ADAPTER_PARAMS];
    int64_t saved_cols, work_cols; /**< floats a token; without dropout's copy of x */
    int64_t macs;                  /**< multiply-adds a token of the forward products */
    int64_t product_rows;          /**< rows of the tallest product, a token */
    size_t table_bytes;            /**< of the tensors in state */
    uint64_t refreshed;            /**< generation of the weights at the last refresh; 0: none */
    void *state;                   /**< the method's own, owned */
};

/** Returns the methods as choices of method.name, in the order of the table, a NULL name behind. */
const mr_choice *mr_adapter_choices(void);

/** Returns what a configuration tells its method. Borrowed. */
const mr_adapter_config *mr_adapter_config_of(const mr_config *config);

/** Returns the method of a name, NULL where there is none. */
const mr_adapter_method *mr_adapter_find(const char *name);

/** Creates the adapter of a site: `linears` linears of `in` inputs and out[] outputs, without its
 * tables. Local.
 * @param[in] compute  the type that the model computes in
 * @param[in] config  of this method
 * @param[in] names  the linears' names, for messages
 * @return MR_OK, MR_ERR_ARG (r not in 1..max(I, O), or more than the method takes: names the
 *         linear), MR_ERR_CONFIG (operator), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_adapter_create(mr_backend *be, mr_dtype compute,
                                         const mr_adapter_method *method,
                                         const mr_adapter_config *config, int linears, int64_t in,
                                         const int64_t *out, const char *const *names,
                                         mr_adapter **out_adapter);

/** Allocates the adapter's tables, a->table_bytes; everything but destroy needs them. Local.
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_adapter_allocate(mr_adapter *a);

/** Frees *a and sets it to NULL; NULL is allowed. */
void mr_adapter_destroy(mr_adapter **a);

/** Returns floats a token of scratch a call needs in `work`. */
int64_t mr_adapter_work_cols(const mr_adapter *a);

/** Becomes what restart number `restart` asks for (from 0), weights apart. Local. */
void mr_adapter_set_restart(mr_adapter *a, int64_t restart);

/** Sets the weights that start from the base's; reads call's base, writes its weight. Local.
 * @return MR_OK, MR_ERR_NUMERIC (base weights that are not finite), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_adapter_start(const mr_adapter *a, const mr_adapter_call *call);

/** Brings what depends on weights alone up to a generation of them; nothing where it is. Every
 * other call but start needs it. Reads call's base and weight. Local, no allocation. */
void mr_adapter_refresh(mr_adapter *a, const mr_adapter_call *call, uint64_t generation);

/** y[i] = x W0^T becomes x W'^T, with dropout of x where asked; fills saved. Local, no allocation.
 */
void mr_adapter_forward(const mr_adapter *a, const mr_adapter_call *call);

/** To be called before the base's backward products: call->y[i] becomes what they must read instead
 * of the gradient of y, which itself stays as it is. x and d_x are not used. Local, no allocation.
 */
void mr_adapter_backward_output(const mr_adapter *a, mr_adapter_call *call);

/** Gradients of a forward call of the same x, saved, stream: grad, and d_x += where it exists,
 * which holds the base's product of call->y already. Follows mr_adapter_backward_output on the same
 * call; the two may overwrite saved. Local, no allocation. */
void mr_adapter_backward(const mr_adapter *a, const mr_adapter_call *call);

/** Describes the update of a linear by its parts and, where call has them, their gradients; nothing
 * is computed, but rows' factors are those of the last refresh. Local.
 * @return false where the method tells no structure */
bool mr_adapter_update(const mr_adapter *a, const mr_adapter_call *call, int linear,
                       mr_update *out);

/** Turns rows first..first+count-1 of the base weight of a linear into those of the merged one, W',
 * in F32. Each element depends on its own and the adapter's weights only.
 * @param[in]     call  be, weight and base; work [>= count, mr_adapter_work_cols]
 * @param[in,out] rows  [count, I], dense
 * Local, no allocation. */
void mr_adapter_merge_rows(const mr_adapter *a, const mr_adapter_call *call, int linear,
                           int64_t first, mr_tensor rows);

/** Returns the tensor that the k-th parameters of linears first..first+count-1 form together. */
mr_tensor mr_adapter_stacked(const mr_tensor tensors[][MR_ADAPTER_PARAMS], int k, int first,
                             int count);

#endif
