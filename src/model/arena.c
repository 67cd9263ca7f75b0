#include "model/arena.h"

mr_tensor mr_arena_take(mr_arena *arena, mr_dtype dtype, int64_t rows, int64_t cols)
{
    size_t size = mr_dtype_size(dtype);
    size_t at = (arena->used + MR_MEM_ALIGNMENT - 1) / MR_MEM_ALIGNMENT * MR_MEM_ALIGNMENT;
    arena->used = mr_bytes_add(at, rows, mr_bytes_add(0, cols, size));
    return mr_tensor_of(arena->buffer, dtype, (int64_t)(at / size), rows, cols);
}

mr_tensor mr_arena_take_rows(mr_arena *arena, mr_dtype dtype, int64_t rows, int64_t cols)
{
    const int64_t line = MR_MEM_ALIGNMENT / (int64_t)mr_dtype_size(dtype);
    mr_tensor whole = mr_arena_take(arena, dtype, rows, (cols + line - 1) / line * line);
    mr_tensor t = mr_tensor_cols(whole, 0, cols);
    t.spare = whole.cols - cols;
    return t;
}
