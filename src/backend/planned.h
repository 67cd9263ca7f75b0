#ifndef MR_BACKEND_PLANNED_H
#define MR_BACKEND_PLANNED_H

/** @file
 * What plans need of a device that need not be here. */

#include "backend/backend.h"

#define MR_DEVICE_WORKSPACE ((size_t)64 << 20) /**< of products, a stream; there are two */
#define MR_DEVICE_SLOT ((size_t)8 << 20)       /**< of what is converted on its way */
#define MR_DEVICE_CHUNK ((size_t)512 << 20)    /**< of a matrix that is computed part by part */
#define MR_DEVICE_PASS 3840                    /**< rows of a pass forward */
#define MR_DEVICE_SHORT 512 /**< tokens of a sequence whose heads are kept whole */

/** Whether attention's backward pass in BF16 keeps heads whole, as that is faster than cuDNN, which
 * takes their columns for 64. */
static inline bool mr_device_short(const mr_attention_shape *s)
{
    return s->tokens > MR_DEVICE_SHORT / 2 && s->tokens <= MR_DEVICE_SHORT && s->head_size > 32 &&
           s->head_size <= 48 && s->head_size % 8 == 0 && s->kv_heads == s->heads;
}

/** The entry own_bytes of a device: workspaces of products, and the largest scratch, which is that
 * of attention's backward pass: a row's sums, and by cuDNN, in BF16, the gradients of all scores,
 * [B, NH, T, T]. */
static inline size_t mr_device_own_bytes(mr_backend *be, const mr_attention_shape *attention,
                                         mr_dtype dtype)
{
    enum { LEAST_TOKENS = 64, MOST_SIZE = 128 }; /* that cuDNN takes */
    (void)be;
    const size_t row = mr_bytes_add(0, attention->batch, (size_t)attention->heads);
    const size_t rows = mr_bytes_add(0, attention->tokens, row);
    const bool library = dtype == MR_BF16 && attention->head_size % 8 == 0 &&
                         attention->head_size <= MOST_SIZE && attention->tokens >= LEAST_TOKENS &&
                         !mr_device_short(attention);
    size_t bytes = 3 * MR_DEVICE_WORKSPACE + MR_DEVICE_SLOT; /* a third for factors made even */
    bytes = mr_bytes_add(bytes, (int64_t)rows, sizeof(float));
    if (!library) return bytes;
    return mr_bytes_add(bytes, (int64_t)rows, (size_t)attention->tokens * mr_dtype_size(dtype));
}

/** Makes be one that plans alone are made of, in place of a device. */
void mr_planned_init(mr_backend *be);

#endif
