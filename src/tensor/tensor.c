#include "tensor/tensor.h"

size_t mr_dtype_size(mr_dtype dtype)
{
    switch (dtype) {
    case MR_F32:
        return 4;
    case MR_BF16:
        return 2;
    case MR_F64:
        return 8;
    case MR_I32:
        return 4;
    case MR_E4M3:
        return 1;
    }
    mr_abort("unknown dtype %d", (int)dtype);
}

mr_tensor mr_tensor_of(mr_buffer *buffer, mr_dtype dtype, int64_t offset, int64_t rows,
                       int64_t cols)
{
    return (mr_tensor){.buffer = buffer,
                       .offset = offset,
                       .rows = rows,
                       .cols = cols,
                       .stride = cols,
                       .dtype = dtype};
}

mr_tensor mr_tensor_rows(mr_tensor t, int64_t first, int64_t count)
{
    MR_INVARIANT(first >= 0 && count >= 0 && first + count <= t.rows);
    t.offset += first * t.stride;
    t.rows = count;
    t.below = 0;
    return t;
}

mr_tensor mr_tensor_cols(mr_tensor t, int64_t first, int64_t count)
{
    MR_INVARIANT(first >= 0 && count >= 0 && first + count <= t.cols);
    t.offset += first;
    t.cols = count;
    t.spare = 0;
    t.below = 0;
    return t;
}

mr_tensor mr_tensor_stack(mr_tensor first, mr_tensor second)
{
    MR_INVARIANT(second.buffer == first.buffer && second.cols == first.cols &&
                 second.offset == first.offset + first.rows * first.cols);
    first.rows += second.rows;
    first.below = second.below;
    return first;
}

mr_tensor mr_tensor_carve(mr_tensor t, int64_t first, int64_t cols)
{
    MR_INVARIANT(mr_tensor_is_dense(t) && first >= 0 && cols >= 0 && first + cols <= t.cols);
    return mr_tensor_of(t.buffer, t.dtype, t.offset + t.rows * first, t.rows, cols);
}

mr_tensor mr_tensor_reshape(mr_tensor t, int64_t rows, int64_t cols)
{
    MR_INVARIANT(mr_tensor_is_dense(t) && rows * cols == mr_tensor_count(t));
    t.rows = rows;
    t.cols = cols;
    t.stride = cols;
    t.spare = 0;
    t.below = 0;
    return t;
}
