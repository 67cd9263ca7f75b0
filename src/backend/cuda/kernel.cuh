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

/* What as many bytes are read and written as. */
template <int BYTES> struct word;

template <> struct word<2> {
    typedef uint16_t type;
};

template <> struct word<4> {
    typedef uint32_t type;
};

template <> struct word<8> {
    typedef uint2 type;
};

template <> struct word<16> {
    typedef uint4 type;
};

/* A pack in as many registers as it has words, which the compiler takes apart where it is read by
 * elements of 2 bytes. */
template <int N, typename T> __device__ inline pack<T, N> pack_at(const T *from)
{
    typedef typename word<N * sizeof(T)>::type whole;
    pack<T, N> raw;
    *reinterpret_cast<whole *>(&raw) = *reinterpret_cast<const whole *>(from);
    return raw;
}

template <typename W> __device__ inline void put_word(W *to, const W &word)
{
    *to = word;
}

/* By hand, since the compiler takes some words apart and stores element by element. */
__device__ inline void put_word(uint2 *to, const uint2 &word)
{
    asm volatile("st.global.v2.u32 [%0], {%1, %2};" ::"l"(to), "r"(word.x), "r"(word.y) : "memory");
}

__device__ inline void put_word(uint4 *to, const uint4 &word)
{
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(word.x), "r"(word.y),
                 "r"(word.z), "r"(word.w)
                 : "memory");
}

template <int N, typename T> __device__ inline void put_pack(T *to, const pack<T, N> &raw)
{
    constexpr int BYTES = N * (int)sizeof(T), WORD = BYTES < 16 ? BYTES : 16;
    typedef typename word<WORD>::type whole;
#pragma unroll
    for (int i = 0; i < BYTES / WORD; i++)
        put_word(reinterpret_cast<whole *>(to) + i, reinterpret_cast<const whole *>(&raw)[i]);
}

template <int N, typename T> __device__ inline void unpack(float (&out)[N], const pack<T, N> &raw)
{
#pragma unroll
    for (int i = 0; i < N; i++) {
        if (sizeof(T) == 2 && N % 2 == 0) {
            const uint32_t word = reinterpret_cast<const uint32_t *>(&raw)[i / 2];
            out[i] = __uint_as_float(i % 2 ? word & 0xffff0000u : word << 16);
        } else {
            out[i] = to_float(raw.v[i]);
        }
    }
}

template <int N, typename T> __device__ inline void store(T *to, const float (&in)[N])
{
    pack<T, N> raw;
#pragma unroll
    for (int i = 0; i < N; i++)
        raw.v[i] = from_float<T>(in[i]);
    put_pack<N>(to, raw);
}

/** Divides by one number many times: n / d for n below 2^31 by a product and a shift.
 * Source: Granlund and Montgomery 1994. */
struct divider {
    uint32_t by, factor;
    int shift;

    __host__ divider(uint32_t d) : by(d), factor(0), shift(0)
    {
        while (((uint64_t)1 << shift) < d)
            shift++;
        factor = (uint32_t)((((uint64_t)1 << 32) * (((uint64_t)1 << shift) - d)) / d + 1);
    }
    __device__ uint32_t divide(uint32_t n) const
    {
        return (__umulhi(n, factor) + n) >> shift;
    }
};

enum { EACH_THREADS = 256 };

template <int N, class F>
__global__ void each_kernel(uint32_t count, divider packs, int64_t row, int64_t pack, F body)
{
    const uint32_t at = blockIdx.x * EACH_THREADS + threadIdx.x;
    if (at >= count) return;
    const uint32_t down = packs.divide(at);
    body(row + down, (pack + (at - down * packs.by)) * N);
}

/** Runs body(row, col) for every N-th column of every row, a thread each. */
template <int N, class F> void each(mr_backend *be, int64_t rows, int64_t cols, F body)
{
    constexpr int64_t MOST = (int64_t)1 << 30; /* threads a launch */
    const int64_t packs = cols / N;
    for (int64_t pack = 0; pack < packs; pack += MOST) {
        const int64_t across = packs - pack < MOST ? packs - pack : MOST, down = MOST / across;
        for (int64_t row = 0; row < rows; row += down) {
            const int64_t count = (rows - row < down ? rows - row : down) * across;
            each_kernel<N><<<(unsigned)((count + EACH_THREADS - 1) / EACH_THREADS), EACH_THREADS, 0,
                             mr_cuda_queue(mr_cuda_of(be))>>>(
                (uint32_t)count, divider((uint32_t)across), row, pack, body);
        }
    }
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

/** Where sums over columns go: some may be absent. */
template <int SUMS> struct column_sums {
    float *out[SUMS];
};

/* Sums over a block's share of the rows: a row of partial a block and sum. Rows are fetched a few
 * at a time before any is used, and stay as they were read until then: of F32 they would be twice
 * as large, and fewer blocks would run at once. */
template <typename T, int N, int IN, int SUMS, class Fetch, class Term>
__global__ void __launch_bounds__(256, 3)
    column_partials(float *partial, int64_t rows, int64_t cols, Fetch fetch, Term term)
{
    enum { AHEAD = 2 };
    __shared__ float sums[8][32 * N];
    const int64_t col = ((int64_t)blockIdx.x * 32 + threadIdx.x) * N, step = gridDim.y * 8;
    float sum[SUMS][N] = {};
    if (col < cols)
        for (int64_t row = blockIdx.y * 8 + threadIdx.y; row < rows; row += AHEAD * step) {
            pack<T, N> in[AHEAD][IN];
#pragma unroll
            for (int k = 0; k < AHEAD; k++)
                if (row + k * step < rows) fetch(row + k * step, col, in[k]);
#pragma unroll
            for (int k = 0; k < AHEAD; k++)
                if (row + k * step < rows) term(row + k * step, col, in[k], sum);
        }
#pragma unroll
    for (int k = 0; k < SUMS; k++) {
        __syncthreads(); /* the sums before may still be read */
#pragma unroll
        for (int i = 0; i < N; i++)
            sums[threadIdx.y][threadIdx.x * N + i] = sum[k][i];
        __syncthreads();
        for (int at = threadIdx.y * 32 + threadIdx.x; at < 32 * N; at += 256) {
            int64_t to = (int64_t)blockIdx.x * 32 * N + at;
            float all = 0;
            for (int i = 0; i < 8; i++)
                all += sums[i][at];
            if (to < cols) partial[(k * gridDim.y + blockIdx.y) * cols + to] = all;
        }
    }
}

/* Sums of 32 columns over all chunks: a warp those of every eighth, added in order at the end. */
template <int SUMS>
static __global__ void __launch_bounds__(256)
    column_finish(column_sums<SUMS> to, const float *partial, int chunks, int64_t cols)
{
    __shared__ double sums[8][32];
    const int64_t col = (int64_t)blockIdx.x * 32 + threadIdx.x;
#pragma unroll
    for (int k = 0; k < SUMS; k++) {
        double sum = 0;
        if (col < cols)
            for (int i = threadIdx.y; i < chunks; i += 8)
                sum += (double)partial[((int64_t)k * chunks + i) * cols + col];
        __syncthreads(); /* the sums before may still be read */
        sums[threadIdx.y][threadIdx.x] = sum;
        __syncthreads();
        if (threadIdx.y > 0 || col >= cols || !to.out[k]) continue;
        for (int i = 1; i < 8; i++)
            sum += sums[i][threadIdx.x];
        to.out[k][col] = (float)sum;
    }
}

/** Sums over chunks of rows, a row of partial each, sum after sum. */
template <int SUMS>
void finish_columns(mr_backend *be, column_sums<SUMS> out, const float *partial, int chunks,
                    int64_t cols)
{
    column_finish<SUMS><<<(unsigned)((cols + 31) / 32), dim3(32, 8), 0, mr_cuda_of(be)->stream>>>(
        out, partial, chunks, cols);
}

/** Each of SUMS sums of columns = sum over rows, in a fixed order, of what term(row, col, in, sum)
 * adds to sum [SUMS][N], packs in [IN] being what fetch(row, col, in) read of that row. */
template <typename T, int N, int IN, int SUMS, class Fetch, class Term>
void sum_columns(mr_backend *be, column_sums<SUMS> out, int64_t rows, int64_t cols, Fetch fetch,
                 Term term)
{
    int64_t wanted = (rows + 63) / 64;
    unsigned chunks = (unsigned)(wanted < 1 ? 1 : wanted < 128 ? wanted : 128);
    float *partial = (float *)mr_cuda_scratch(be, SUMS * chunks * (size_t)cols * sizeof *partial);
    cudaStream_t stream = mr_cuda_of(be)->stream;
    if (!partial || cols == 0) return;
    dim3 grid((unsigned)((cols / N + 31) / 32), chunks), block(32, 8);
    column_partials<T, N, IN, SUMS><<<grid, block, 0, stream>>>(partial, rows, cols, fetch, term);
    finish_columns<SUMS>(be, out, partial, (int)chunks, cols);
}

#endif
