#ifndef MR_MODEL_ARENA_H
#define MR_MODEL_ARENA_H

/** @file
 * One buffer that many tensors are placed in. */

#include "base/memory.h"
#include "tensor/tensor.h"

/** Where the next tensor goes. Start from {0} to measure, which ends at MR_BYTES_MOST, or from a
 * buffer to place. */
typedef struct mr_arena {
    mr_buffer *buffer; /**< borrowed */
    size_t used;       /**< bytes */
} mr_arena;

/** Places a dense tensor at the next cache line of an arena. Local. */
mr_tensor mr_arena_take(mr_arena *arena, mr_dtype dtype, int64_t rows, int64_t cols);

/** Places a tensor as mr_arena_take does, but with every row at a cache line of its own: products
 * of odd widths are faster so. Local. */
mr_tensor mr_arena_take_rows(mr_arena *arena, mr_dtype dtype, int64_t rows, int64_t cols);

#endif
