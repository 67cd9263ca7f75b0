#ifndef MR_TENSOR_TENSOR_H
#define MR_TENSOR_TENSOR_H

/** @file
 * Matrices of a backend's memory: dtype, shape and place, no arithmetic, no pointer to follow.
 *
 * Every tensor is a matrix [rows, cols] of row stride `stride` elements in a buffer that a backend
 * owns; a vector is one row. Views share the buffer.
 */

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mr_dtype {
    MR_F32,
    MR_BF16, /**< storage only until a backend computes in it */
    MR_F64,  /**< reductions */
    MR_I32,  /**< token ids and other indices */
    MR_E4M3, /**< 8 bits: 4 of exponent, 3 of mantissa; factors of products (backend/eight.h) */
} mr_dtype;

typedef struct mr_buffer mr_buffer; /**< memory of a backend (backend/backend.h) */

/** A view of a matrix. Plain data; borrows buffer. A tensor with a NULL buffer means "absent". */
typedef struct mr_tensor {
    mr_buffer *buffer;
    int64_t offset; /**< elements from the start of the buffer */
    int64_t rows, cols;
    int64_t stride; /**< elements from one row to the next, >= cols */
    int64_t spare;  /**< of them behind a row that are its own, and zeros: what writes the tensor
                         leaves them so, so that a product may take them in */
    int64_t below;  /**< rows below its own that are there and hold numbers of the same type, of
                         others, which nothing that is not queued behind them uses meanwhile: a
                         product may take them in, and leaves them as they were. Parts of a tensor
                         have none. */
    mr_dtype dtype;
} mr_tensor;

/** Returns bytes of one element. Local. */
size_t mr_dtype_size(mr_dtype dtype);

/** Returns a dense matrix at an element offset of a buffer. Local. */
mr_tensor mr_tensor_of(mr_buffer *buffer, mr_dtype dtype, int64_t offset, int64_t rows,
                       int64_t cols);

/** Returns rows first..first+count-1 of t. Local. */
mr_tensor mr_tensor_rows(mr_tensor t, int64_t first, int64_t count);

/** Returns columns first..first+count-1 of t. Local. */
mr_tensor mr_tensor_cols(mr_tensor t, int64_t first, int64_t count);

/** Returns two dense matrices as one, of which the second begins where the first ends. Local. */
mr_tensor mr_tensor_stack(mr_tensor first, mr_tensor second);

/** Returns memory of a dense scratch tensor as a dense matrix of its rows and `cols` columns,
 * behind what `first` columns take in the same manner. Local. */
mr_tensor mr_tensor_carve(mr_tensor t, int64_t first, int64_t cols);

/** Returns the elements of a dense tensor in another shape of the same count. Local. */
mr_tensor mr_tensor_reshape(mr_tensor t, int64_t rows, int64_t cols);

/** Tells whether a tensor stands for something. Local. */
static inline bool mr_tensor_exists(mr_tensor t)
{
    return t.buffer != NULL;
}

/** Returns rows * cols. Local. */
static inline int64_t mr_tensor_count(mr_tensor t)
{
    return t.rows * t.cols;
}

/** Tells whether rows follow one another without gaps. Local. */
static inline bool mr_tensor_is_dense(mr_tensor t)
{
    return t.stride == t.cols || t.rows <= 1;
}

/** Tells whether two tensors have the same shape and dtype. Local. */
static inline bool mr_tensor_alike(mr_tensor a, mr_tensor b)
{
    return a.rows == b.rows && a.cols == b.cols && a.dtype == b.dtype;
}

#endif
