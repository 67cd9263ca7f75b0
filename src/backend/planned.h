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

/** Where square matrices work: columns of all blocks, the products of each linear and the gradient
 * of the columns, the matrices with a matrix a block, and their gradients in F32. */
typedef struct mr_device_squares {
    int64_t pitch; /**< of a matrix's rows, which begin at 16 bytes */
    size_t before; /**< bytes before the gradients */
    size_t bytes;  /**< of all */
} mr_device_squares;

static inline mr_device_squares mr_device_squares_of(const mr_square_shape *s, mr_dtype dtype)
{
    const int64_t size = (int64_t)mr_dtype_size(dtype);
    mr_device_squares room;
    room.pitch = mr_even_cols(s->side, dtype);
    const int64_t wide = s->blocks * room.pitch;
    const int64_t all = s->rows * (2 + s->linears) * wide + s->linears * wide * room.pitch;
    const int64_t gradients = (s->blocks == 1 ? s->linears : 1) * wide * room.pitch;
    room.before = (size_t)(all * size + 15);
    room.before -= room.before % 16;
    room.bytes = room.before + (size_t)gradients * sizeof(float);
    return room;
}

/** The entry own_bytes of a device: workspaces of products, and the largest scratch, which is that
 * of square matrices, or of attention's backward pass: a row's sums, and by cuDNN, in BF16, the
 * gradients of all scores, [B, NH, T, T]. */
static inline size_t mr_device_own_bytes(mr_backend *be, const mr_attention_shape *attention,
                                         const mr_square_shape *square, mr_dtype dtype)
{
    enum { LEAST_TOKENS = 64, MOST_SIZE = 128 }; /* that cuDNN takes */
    (void)be;
    const size_t row = mr_bytes_add(0, attention->batch, (size_t)attention->heads);
    const size_t rows = mr_bytes_add(0, attention->tokens, row);
    const bool library = dtype == MR_BF16 && attention->head_size % 8 == 0 &&
                         attention->head_size <= MOST_SIZE && attention->tokens >= LEAST_TOKENS &&
                         !mr_device_short(attention);
    const size_t products = 3 * MR_DEVICE_WORKSPACE + MR_DEVICE_SLOT; /* a third for even factors */
    const size_t squares = square ? mr_device_squares_of(square, dtype).bytes : 0;
    size_t scratch = mr_bytes_add(0, (int64_t)rows, sizeof(float));
    if (library)
        scratch =
            mr_bytes_add(scratch, (int64_t)rows, (size_t)attention->tokens * mr_dtype_size(dtype));
    return mr_bytes_add(products, 1, squares > scratch ? squares : scratch);
}

/** Makes be one that plans alone are made of, in place of a device. */
void mr_planned_init(mr_backend *be);

#endif
