#ifndef MR_BACKEND_CUDA_ATTENTION_CUH
#define MR_BACKEND_CUDA_ATTENTION_CUH

/** @file
 * Attention by tiles in shared memory, in F32 arithmetic: for both types, any head size up to 256
 * and any segments. A block of 16 x 16 threads works on a tile of B queries against tiles of B
 * keys; of a tile each thread has elements (y + 16 i, x + 16 j). */

#include "backend/cuda/kernel.cuh"

/** One attention as its kernels see it. */
template <typename T> struct attention {
    matrix<T> q, k, v, o, d_o, d_q, d_k, d_v;
    float *lse;
    float *delta; /**< [B*NH, T]: sums of dO O */
    int64_t lse_stride;
    const int32_t *starts; /**< or NULL */
    int tokens, heads, group, size;
    float scale;

    __host__ attention(const mr_attention_args *a)
        : q(a->q), k(a->k), v(a->v), o(a->o), d_o(a->d_o), d_q(a->d_q), d_k(a->d_k), d_v(a->d_v),
          lse((float *)mr_cuda_at(a->lse)), delta(NULL), lse_stride(a->lse.stride),
          starts(mr_tensor_exists(a->starts) ? (const int32_t *)mr_cuda_at(a->starts) : NULL),
          tokens((int)a->shape.tokens), heads((int)a->shape.heads),
          group((int)(a->shape.heads / a->shape.kv_heads)), size((int)a->shape.head_size),
          scale(1.0f / sqrtf((float)a->shape.head_size))
    {
    }
};

/** Sums or largest over the 16 threads of a row of a block. */
__device__ inline float row_sum(float value)
{
#pragma unroll
    for (int step = 8; step > 0; step /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}

__device__ inline float row_max(float value)
{
#pragma unroll
    for (int step = 8; step > 0; step /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, step));
    return value;
}

/** A tile of D columns in shared memory, rows one word apart in banks. */
template <int D> struct tile {
    float *data;

    __device__ float &at(int row, int col) const
    {
        return data[row * (D + 1) + col];
    }
};

/** Reads B rows of a head into a tile, zeros where rows or columns end. */
template <int B, int D, typename T>
__device__ inline void read_tile(tile<D> to, matrix<T> from, int64_t row, int64_t col, int rows,
                                 int size)
{
    for (int at = threadIdx.y * 16 + threadIdx.x; at < B * D; at += 256) {
        int r = at / D, c = at % D;
        to.at(r, c) = r < rows && c < size ? to_float(*from.at(row + r, col + c)) : 0.0f;
    }
}

/** out[i][j] = sum over columns of a[y + 16 i] b[x + 16 j]. */
template <int R, int D>
__device__ inline void multiply(float (&out)[R][R], tile<D> a, tile<D> b, int size)
{
#pragma unroll
    for (int i = 0; i < R; i++)
        for (int j = 0; j < R; j++)
            out[i][j] = 0;
    for (int c = 0; c < size; c++) {
        float left[R], right[R];
#pragma unroll
        for (int i = 0; i < R; i++) {
            left[i] = a.at(threadIdx.y + 16 * i, c);
            right[i] = b.at(threadIdx.x + 16 * i, c);
        }
#pragma unroll
        for (int i = 0; i < R; i++)
            for (int j = 0; j < R; j++)
                out[i][j] += left[i] * right[j];
    }
}

/** sum[i][c] += sum over B inner rows of weight(inner, y + 16 i) b[inner][x + 16 c]. */
template <int B, int R, int D, class W>
__device__ inline void accumulate(float (&sum)[R][D / 16], W weight, tile<D> b)
{
    for (int inner = 0; inner < B; inner++) {
        float left[R];
#pragma unroll
        for (int i = 0; i < R; i++)
            left[i] = weight(inner, threadIdx.y + 16 * i);
#pragma unroll
        for (int c = 0; c < D / 16; c++) {
            float right = b.at(inner, threadIdx.x + 16 * c);
#pragma unroll
            for (int i = 0; i < R; i++)
                sum[i][c] += left[i] * right;
        }
    }
}

/** Writes what threads have of rows y + 16 i of a head. */
template <int R, int D, typename T>
__device__ inline void write_rows(matrix<T> to, const float (&from)[R][D / 16], int64_t row,
                                  int64_t col, int rows, int size)
{
    for (int i = 0; i < R; i++)
        for (int c = 0; c < D / 16; c++) {
            int r = threadIdx.y + 16 * i, at = threadIdx.x + 16 * c;
            if (r < rows && at < size) *to.at(row + r, col + at) = from_float<T>(from[i][c]);
        }
}

/** Runs KERNEL<T, D, B> for the least D that takes the head size. */
#define MR_BY_HEAD(size_, D, B, ...)                                                               \
    do {                                                                                           \
        if ((size_) <= 32) {                                                                       \
            constexpr int D = 32, B = 64;                                                          \
            __VA_ARGS__                                                                            \
        } else if ((size_) <= 64) {                                                                \
            constexpr int D = 64, B = 64;                                                          \
            __VA_ARGS__                                                                            \
        } else if ((size_) <= 128) {                                                               \
            constexpr int D = 128, B = 64;                                                         \
            __VA_ARGS__                                                                            \
        } else {                                                                                   \
            constexpr int D = 256, B = 32;                                                         \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    } while (0)

/** Launches a kernel that takes more shared memory than is given unasked. */
template <typename A>
void launch_tiles(mr_backend *be, void (*kernel)(A), dim3 grid, size_t shared, A args)
{
    mr_cuda_note(be,
                 cudaFuncSetAttribute((const void *)kernel,
                                      cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared),
                 "attention");
    kernel<<<grid, dim3(16, 16), shared, mr_cuda_of(be)->stream>>>(args);
}

#endif
