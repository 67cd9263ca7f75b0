#ifndef MR_BACKEND_CUDA_KERNEL_CUH
#define MR_BACKEND_CUDA_KERNEL_CUH

/** @file
 * What kernels are made of: elements of F32 and BF16 by packs of 16 bytes, loops over a matrix,
 * sums over a block and over columns. Arithmetic is in F32.
 *
 * An operation picks its element type T by MR_BY_TYPE and the N elements a thread takes at once by
 * MR_BY_WIDTH: 16 bytes where rows allow it, else one element. */

#include "backend/cuda/cuda_impl.h"

#include <cuda_bf16.h>

#include <initializer_list>

typedef __nv_bfloat16 bf16;

#define MR_BY_TYPE(dtype_, T, ...)                                                                 \
    do {                                                                                           \
        if ((dtype_) == MR_F32) {                                                                  \
            typedef float T;                                                                       \
            __VA_ARGS__                                                                            \
        } else {                                                                                   \
            typedef bf16 T;                                                                        \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    } while (0)

#define MR_BY_WIDTH(wide_, T, N, ...)                                                              \
    do {                                                                                           \
        if (wide_) {                                                                               \
            constexpr int N = 16 / sizeof(T);                                                      \
            __VA_ARGS__                                                                            \
        } else {                                                                                   \
            constexpr int N = 1;                                                                   \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    } while (0)

/** Returns how many elements of a type 16 bytes hold. */
inline int pack_of(mr_dtype dtype)
{
    return dtype == MR_BF16 ? 8 : 4;
}

/** Whether rows of all tensors, absent ones left out, can be taken n elements at a time. */
inline bool all_wide(int n, std::initializer_list<mr_tensor> tensors)
{
    for (const mr_tensor &t : tensors) {
        if (!mr_tensor_exists(t)) continue;
        if (t.cols % n || (t.rows > 1 && t.stride % n) || (uintptr_t)mr_cuda_at(t) % 16)
            return false;
    }
    return true;
}

/** A matrix as kernels see it. */
template <typename T> struct matrix {
    T *data;
    int64_t stride;

    __host__ matrix(mr_tensor t)
        : data(mr_tensor_exists(t) ? (T *)mr_cuda_at(t) : NULL), stride(t.stride)
    {
    }
    __device__ T *at(int64_t row, int64_t col) const
    {
        return data + row * stride + col;
    }
    __device__ bool exists() const
    {
        return data != NULL;
    }
};

template <typename T, int N> struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) pack {
    T v[N];
};

__device__ inline float to_float(float x)
{
    return x;
}

__device__ inline float to_float(bf16 x)
{
    return __bfloat162float(x);
}

template <typename T> __device__ inline T from_float(float x);

template <> __device__ inline float from_float<float>(float x)
{
    return x;
}

template <> __device__ inline bf16 from_float<bf16>(float x)
{
    return __float2bfloat16(x);
}

template <int N, typename T> __device__ inline void load(float (&out)[N], const T *from)
{
    pack<T, N> raw = *reinterpret_cast<const pack<T, N> *>(from);
#pragma unroll
    for (int i = 0; i < N; i++)
        out[i] = to_float(raw.v[i]);
}

template <int N, typename T> __device__ inline void store(T *to, const float (&in)[N])
{
    pack<T, N> raw;
#pragma unroll
    for (int i = 0; i < N; i++)
        raw.v[i] = from_float<T>(in[i]);
    *reinterpret_cast<pack<T, N> *>(to) = raw;
}

template <int N, class F> __global__ void each_kernel(int64_t packs, F body)
{
    for (int64_t at = (int64_t)blockIdx.y * blockDim.x + threadIdx.x; at < packs;
         at += (int64_t)gridDim.y * blockDim.x)
        body((int64_t)blockIdx.x, at * N);
}

/** Runs body(row, col) for every N-th column of every row. */
template <int N, class F> void each(mr_backend *be, int64_t rows, int64_t cols, F body)
{
    constexpr int64_t THREADS = 256, MOST = 65535;
    int64_t packs = cols / N, threads = (packs + 31) / 32 * 32;
    if (rows <= 0 || packs <= 0) return;
    if (threads > THREADS) threads = THREADS;
    int64_t parts = (packs + threads - 1) / threads;
    dim3 grid((unsigned)rows, (unsigned)(parts < MOST ? parts : MOST));
    each_kernel<N><<<grid, (unsigned)threads, 0, mr_cuda_of(be)->stream>>>(packs, body);
}

/** Returns the sum over a warp, the same in every lane. */
template <typename S> __device__ inline S warp_sum(S value)
{
#pragma unroll
    for (int step = 16; step > 0; step /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
}

__device__ inline float warp_max(float value)
{
#pragma unroll
    for (int step = 16; step > 0; step /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, step));
    return value;
}

/** Returns the sum over a block of whole warps, the same in every thread. */
template <typename S> __device__ inline S block_sum(S value)
{
    __shared__ S part[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    value = warp_sum(value);
    __syncthreads(); /* part may still be read */
    if (lane == 0) part[warp] = value;
    __syncthreads();
    return warp_sum(lane < warps ? part[lane] : (S)0);
}

__device__ inline float block_max(float value)
{
    __shared__ float part[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    value = warp_max(value);
    __syncthreads();
    if (lane == 0) part[warp] = value;
    __syncthreads();
    return warp_max(lane < warps ? part[lane] : -INFINITY);
}

/* Sums of value over a block's share of the rows: a row of partial a block. */
template <int N, class F>
__global__ void column_partials(float *partial, int64_t rows, int64_t cols, F value)
{
    __shared__ float sums[8][32 * N];
    int64_t col = ((int64_t)blockIdx.x * 32 + threadIdx.x) * N;
    float sum[N] = {};
    if (col < cols)
        for (int64_t row = blockIdx.y * 8 + threadIdx.y; row < rows; row += gridDim.y * 8) {
            float here[N];
            value(row, col, here);
#pragma unroll
            for (int i = 0; i < N; i++)
                sum[i] += here[i];
        }
#pragma unroll
    for (int i = 0; i < N; i++)
        sums[threadIdx.y][threadIdx.x * N + i] = sum[i];
    __syncthreads();
    for (int at = threadIdx.y * 32 + threadIdx.x; at < 32 * N; at += 256) {
        int64_t to = (int64_t)blockIdx.x * 32 * N + at;
        float all = 0;
        for (int k = 0; k < 8; k++)
            all += sums[k][at];
        if (to < cols) partial[blockIdx.y * cols + to] = all;
    }
}

static __global__ void column_finish(float *out, const float *partial, int chunks, int64_t cols)
{
    int64_t col = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (col >= cols) return;
    double sum = 0;
    for (int i = 0; i < chunks; i++)
        sum += (double)partial[i * cols + col];
    out[col] = (float)sum;
}

/** out[col] = sum over rows of what value(row, col, float (&)[N]) gives, in a fixed order. */
template <int N, class F>
void sum_columns(mr_backend *be, float *out, int64_t rows, int64_t cols, F value)
{
    int64_t wanted = (rows + 63) / 64;
    unsigned chunks = (unsigned)(wanted < 1 ? 1 : wanted < 128 ? wanted : 128);
    float *partial = (float *)mr_cuda_scratch(be, chunks * (size_t)cols * sizeof *partial);
    cudaStream_t stream = mr_cuda_of(be)->stream;
    if (!partial || cols == 0) return;
    dim3 grid((unsigned)((cols / N + 31) / 32), chunks), block(32, 8);
    column_partials<N><<<grid, block, 0, stream>>>(partial, rows, cols, value);
    column_finish<<<(unsigned)((cols + 127) / 128), 128, 0, stream>>>(out, partial, (int)chunks,
                                                                      cols);
}

#endif
