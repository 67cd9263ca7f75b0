#ifndef MR_ADAPTER_ADAPTER_H
#define MR_ADAPTER_ADAPTER_H

/** @file
 * Trainable updates of frozen linear layers. Every method maps x to y = x W0^T + delta(x) and
 * differs only in delta: one file a method and one row in the table of adapter.c.
 *
 * An adapter serves a *site*: the linears of a decoder layer that read one input (q, k, v; o; gate,
 * up; down), so that what depends on the input alone is computed once. Its parameters are held by
 * the model and handed in with each call; the adapter itself holds shapes and constant tables.
 *
 * Letters: N tokens, I inputs, O outputs of a linear, r the budget of the paper (never an MPI
 * rank), R = r_hat the side of MoRA's square matrix.
 */

#include "backend/backend.h"
#include "config/config.h"

enum {
    MR_SITE_LINEARS = 3,   /**< most linears of a site */
    MR_ADAPTER_PARAMS = 2, /**< most trainable tensors a linear gets */
};

/** How a tensor starts. */
typedef enum mr_init_kind {
    MR_INIT_ZERO,
    MR_INIT_ONE,
    MR_INIT_UNIFORM, /**< in [-scale, scale) */
    MR_INIT_NORMAL,  /**< of standard deviation scale */
} mr_init_kind;

/** One trainable tensor of a linear. */
typedef struct mr_adapter_param {
    const char *suffix; /**< its name behind the linear's, "lora_A" */
    int64_t rows, cols;
    mr_init_kind init;
    double init_scale;
} mr_adapter_param;

typedef struct mr_adapter mr_adapter;

/** What one forward or backward call works on. Tensors are borrowed for the call.
 *
 * The k-th parameters of the site's linears lie one after another without gaps, so that methods may
 * take them as one stacked matrix; the same holds for their gradients. */
typedef struct mr_adapter_call {
    mr_backend *be;
    mr_tensor weight[MR_SITE_LINEARS][MR_ADAPTER_PARAMS];
    mr_tensor grad[MR_SITE_LINEARS][MR_ADAPTER_PARAMS]; /**< backward: written, not added to */
    mr_tensor x;                                        /**< [N, I] */
    mr_tensor
        y[MR_SITE_LINEARS]; /**< [N, O]; forward: += delta(x). Backward: gradients there, read */
    mr_tensor d_x;          /**< [N, I]; backward: += , where it exists */
    mr_tensor saved;        /**< [N, saved_cols], kept from forward to backward */
    mr_tensor work;         /**< [N, mr_adapter_work_cols], dense scratch */
    bool dropout;           /**< training: apply lora_dropout */
    mr_random stream;       /**< of the dropout mask, by step, layer and site */
    int64_t first_row;      /**< index of row 0 among the tokens of the global batch */
} mr_adapter_call;

/** A method: a row of the table. */
typedef struct mr_adapter_method {
    const char *name;
    const char *summary;
    bool trains_base; /**< the base weights are trained and there is no adapter */

    /** Fills a->params, a->param, a->saved_cols, a->work_cols, a->macs and a->state. */
    mr_status (*setup)(mr_adapter *a);
    void (*teardown)(mr_adapter *a);
    void (*forward)(const mr_adapter *a, const mr_adapter_call *call);
    void (*backward)(const mr_adapter *a, const mr_adapter_call *call);
    /** Writes one line about what was chosen for this site ("rotation, r_hat 256"). */
    void (*describe)(const mr_adapter *a, int linear, char *text, size_t room);
} mr_adapter_method;

/** A method at a site. Owns state; borrows be until destroyed. */
struct mr_adapter {
    const mr_adapter_method *method;
    mr_backend *be;
    int64_t r;
    double lora_alpha, lora_dropout;
    mr_mora_operator mora_operator; /**< never auto once set up */
    int linears;
    int64_t in;
    int64_t out[MR_SITE_LINEARS];
    int params; /**< tensors a linear gets */
    mr_adapter_param param[MR_SITE_LINEARS][MR_ADAPTER_PARAMS];
    int64_t saved_cols, work_cols; /**< floats a token; without dropout's copy of x */
    int64_t macs;                  /**< multiply-adds a token of the forward products */
    void *state;                   /**< the method's own, owned */
};

/** Returns the NULL-terminated names of the methods, in the order of the table. */
const char *const *mr_adapter_names(void);

/** Returns the method of a name, NULL where there is none. */
const mr_adapter_method *mr_adapter_find(const char *name);

/** Creates the adapter of a site: `linears` linears of `in` inputs and out[] outputs. Local.
 * @param[in] names  the linears' names, for messages
 * @return MR_OK, MR_ERR_ARG (r not in 1..max(I, O), names the linear), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_adapter_create(mr_backend *be, const mr_config *config, int linears,
                                         int64_t in, const int64_t *out, const char *const *names,
                                         mr_adapter **out_adapter);

/** Frees *a and sets it to NULL; NULL is allowed. */
void mr_adapter_destroy(mr_adapter **a);

/** Returns floats a token of scratch a call needs in `work`. */
int64_t mr_adapter_work_cols(const mr_adapter *a);

/** y[i] += delta_i(x), with dropout of x where asked; fills saved. Local, no allocation. */
void mr_adapter_forward(const mr_adapter *a, const mr_adapter_call *call);

/** Gradients of a forward call of the same x, saved, stream: grad, and d_x += where it exists. */
void mr_adapter_backward(const mr_adapter *a, const mr_adapter_call *call);

/** Writes the dense update of every linear of the site: delta[i] [I, O], transposed (row j is what
 * input j adds to the outputs), F32. Allocates scratch; not for use inside a step. Local.
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_adapter_delta(const mr_adapter *a, mr_tensor weight[][MR_ADAPTER_PARAMS],
                                        mr_tensor *delta);

/** Returns the tensor that the k-th parameters of linears first..first+count-1 form together. */
mr_tensor mr_adapter_stacked(const mr_tensor tensors[][MR_ADAPTER_PARAMS], int k, int first,
                             int count);

/** The rows of the table. */
extern const mr_adapter_method mr_method_fft, mr_method_lora, mr_method_mora;

#endif
