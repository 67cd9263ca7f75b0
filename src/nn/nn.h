#ifndef MR_NN_NN_H
#define MR_NN_NN_H

/** @file
 * Forward and backward of the parts of a decoder layer, over the backend table. Shapes are checked
 * here, once; a wrong one is a bug and fatal. Gradients named d_x are of the loss at x.
 *
 * Letters: N = B*T tokens, I inputs, O outputs, C width, V vocabulary. All calls are Local.
 */

#include "backend/backend.h"

/** y [N, O] = x [N, I] w^T + beta y, w [O, I]. */
void mr_linear_forward(mr_backend *be, mr_tensor y, mr_tensor x, mr_tensor w, float beta);

/** d_x [N, I] = d_y [N, O] w + beta d_x. */
void mr_linear_backward_input(mr_backend *be, mr_tensor d_x, mr_tensor d_y, mr_tensor w,
                              float beta);

/** d_w [O, I] = d_y^T x + beta d_w. */
void mr_linear_backward_weight(mr_backend *be, mr_tensor d_w, mr_tensor d_y, mr_tensor x,
                               float beta);

/** y [N, C] = rmsnorm(sum) w with sum = x + addend where addend exists, else x; rstd [1, N] is
 * kept for the backward pass. Source: Zhang and Sennrich 2019. */
void mr_rmsnorm_forward(mr_backend *be, mr_tensor y, mr_tensor rstd, mr_tensor sum, mr_tensor x,
                        mr_tensor addend, mr_tensor w, double eps);

/** d_x += gradient at x (the normed sum); d_w [1, C] where it exists. */
void mr_rmsnorm_backward(mr_backend *be, mr_tensor d_x, mr_tensor d_w, mr_tensor d_y, mr_tensor x,
                         mr_tensor rstd, mr_tensor w);

/** y [N, O] = x [N, I] w^T + beta y, w [O, I], with factors in 8 bits: forward of a weight, and
 * back to its input by its transpose. */
void mr_linear_scaled(mr_backend *be, mr_tensor y, mr_scaled x, mr_scaled w, float beta);

/** Angles of rotary embedding: cosine, sine [T, HS/2] of one model. Owned. */
typedef struct mr_rope {
    mr_tensor cosine, sine;
} mr_rope;

/** Fills tables for positions below `positions`, angles position * frequency in float32 as Hugging
 * Face computes them.
 * @param frequencies  [HS/2], radians a position
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_rope_create(mr_backend *be, int64_t positions, const float *frequencies,
                                      int64_t half, mr_purpose purpose, mr_rope *out);
void mr_rope_destroy(mr_backend *be, mr_rope *rope);

/** Turns q [N, NH*HS] and k [N, NKV*HS] in place by their rows' positions I32 [1, N]. */
void mr_rope_apply(mr_backend *be, const mr_rope *rope, mr_tensor q, mr_tensor k,
                   mr_tensor positions, int64_t head_size, bool inverse);

/** Causal grouped-query attention within segments; the table's contracts. */
void mr_attention_forward(mr_backend *be, const mr_attention_args *args);
void mr_attention_backward(mr_backend *be, const mr_attention_args *args);
void mr_attention_cached(mr_backend *be, const mr_cached_attention_args *args);

/** y = silu(gate) up. Source: Shazeer 2020. */
void mr_swiglu_forward(mr_backend *be, mr_tensor y, mr_tensor gate, mr_tensor up);
void mr_swiglu_backward(mr_backend *be, mr_tensor d_gate, mr_tensor d_up, mr_tensor d_y,
                        mr_tensor gate, mr_tensor up);

/** y [N, C] = rows of w [V, C]. */
void mr_embedding_forward(mr_backend *be, mr_tensor y, mr_tensor w, mr_tensor ids);

/** d_w [V, C] += rows of d_y [N, C]. */
void mr_embedding_backward(mr_backend *be, mr_tensor d_w, mr_tensor d_y, mr_tensor ids);

/** The head and its loss, in chunks of rows so that logits never take more than `logits` holds. */
typedef struct mr_head_args {
    mr_tensor x;       /**< [N, C], normed */
    mr_tensor w;       /**< [V, C] */
    mr_tensor targets; /**< I32 [1, N], negative = not scored */
    mr_tensor losses;  /**< F64 [1, N], written: nats a token */
    mr_tensor logits;  /**< [chunk, V] scratch */
    mr_tensor d_x;     /**< [N, C], written where it exists (training) */
    mr_tensor d_w;     /**< [V, C], written where it exists */
    float scale;       /**< factor on the loss gradient: 1 / scored targets of the global batch */
} mr_head_args;

/** Computes losses, and gradients where d_x exists. */
void mr_head_loss(mr_backend *be, const mr_head_args *args);

#endif
