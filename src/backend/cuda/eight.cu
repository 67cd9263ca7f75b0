/* Matrices in 8 bits. A row is kept in registers between the search for its largest and its
 * rounding where it is short enough: KEPT packs a thread, else it is read twice. */

#include "backend/cuda/kernel.cuh"
#include "backend/eight.h"

#include <cuda_fp8.h>

static constexpr int MOST_THREADS = 512;

/* N numbers that are no larger than 448 as E4M3. */
template <int N> static __device__ void store_e4m3(uint8_t *to, const float (&in)[N])
{
    pack<uint8_t, N> raw;
    if (N % 2 == 0) {
#pragma unroll
        for (int i = 0; i + 1 < N; i += 2) {
            const __nv_fp8x2_storage_t two =
                __nv_cvt_float2_to_fp8x2(make_float2(in[i], in[i + 1]), __NV_SATFINITE, __NV_E4M3);
            raw.v[i] = (uint8_t)(two & 0xff);
            raw.v[i + 1] = (uint8_t)(two >> 8);
        }
    } else {
#pragma unroll
        for (int i = 0; i < N; i++)
            raw.v[i] = __nv_cvt_float_to_fp8(in[i], __NV_SATFINITE, __NV_E4M3);
    }
    *reinterpret_cast<pack<uint8_t, N> *>(to) = raw;
}

/* The largest over a block of whole warps, the same in every thread; called once. */
static __device__ uint32_t block_most(uint32_t value)
{
    __shared__ uint32_t part[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    value = __reduce_max_sync(0xffffffffu, value);
    if (lane == 0) part[warp] = value;
    __syncthreads();
    return __reduce_max_sync(0xffffffffu, lane < warps ? part[lane] : 0u);
}

template <int N> static __device__ uint32_t most_of(const float (&in)[N], uint32_t most)
{
#pragma unroll
    for (int i = 0; i < N; i++)
        most = max(most, mr_size_bits(in[i]));
    return most;
}

template <int N> static __device__ void round_pack(uint8_t *to, const float (&in)[N], uint32_t most)
{
    const float inverse = mr_scale_inverse(most);
    float out[N];
#pragma unroll
    for (int i = 0; i < N; i++)
        out[i] = in[i] * inverse;
    store_e4m3<N>(to, out);
}

/* A block a row. */
template <typename T, int N, int KEPT>
static __global__ void rows_kernel(uint8_t *y, float *scale, matrix<T> x, int64_t cols)
{
    constexpr int ROOM = KEPT > 0 ? KEPT : 1;
    const int64_t row = blockIdx.x, step = (int64_t)blockDim.x * N,
                  begin = (int64_t)threadIdx.x * N;
    uint8_t *to = y + row * cols;
    pack<T, N> kept[ROOM];
    uint32_t most = 0;
    float v[N];
    if (KEPT > 0) {
#pragma unroll
        for (int k = 0; k < ROOM; k++)
            if (begin + k * step < cols) kept[k] = pack_at<N>(x.at(row, begin + k * step));
#pragma unroll
        for (int k = 0; k < ROOM; k++) {
            if (begin + k * step >= cols) continue;
            unpack<N>(v, kept[k]);
            most = most_of<N>(v, most);
        }
    } else {
        for (int64_t col = begin; col < cols; col += step) {
            load<N>(v, x.at(row, col));
            most = most_of<N>(v, most);
        }
    }
    most = block_most(most);
    if (threadIdx.x == 0) scale[row] = mr_scale_of(most);
    if (KEPT > 0) {
#pragma unroll
        for (int k = 0; k < ROOM; k++) {
            if (begin + k * step >= cols) continue;
            unpack<N>(v, kept[k]);
            round_pack<N>(to + begin + k * step, v, most);
        }
    } else {
        for (int64_t col = begin; col < cols; col += step) {
            load<N>(v, x.at(row, col));
            round_pack<N>(to + col, v, most);
        }
    }
}

template <typename T, int N, int KEPT>
static void run_rows(mr_backend *be, mr_scaled y, mr_tensor x, unsigned threads)
{
    rows_kernel<T, N, KEPT><<<(unsigned)x.rows, threads, 0, mr_cuda_queue(mr_cuda_of(be))>>>(
        (uint8_t *)mr_cuda_at(y.values), (float *)mr_cuda_at(y.scale), x, x.cols);
}

template <typename T, int N> static void quantize_rows(mr_backend *be, mr_scaled y, mr_tensor x)
{
    const int64_t packs = x.cols / N, threads = (packs + 31) / 32 * 32;
    const unsigned block = (unsigned)(threads < MOST_THREADS ? threads : MOST_THREADS);
    if (packs <= MOST_THREADS)
        run_rows<T, N, 1>(be, y, x, block);
    else if (packs <= 2 * MOST_THREADS)
        run_rows<T, N, 2>(be, y, x, block);
    else if (packs <= 4 * MOST_THREADS)
        run_rows<T, N, 4>(be, y, x, block);
    else
        run_rows<T, N, 0>(be, y, x, block);
}

enum { SIDE = 32, DEPTH = 8, CHUNK = 256 }; /* CHUNK: rows of x that a block looks at */

/* The largest of each column, over a block's share of the rows: of integers, so that their order
 * does not count. */
template <typename T>
static __global__ void most_kernel(uint32_t *most, matrix<T> x, int64_t rows, int64_t cols)
{
    const int64_t col = (int64_t)blockIdx.x * SIDE + threadIdx.x,
                  first = (int64_t)blockIdx.y * CHUNK;
    uint32_t own = 0;
    if (col >= cols) return;
    for (int64_t row = first + threadIdx.y; row < first + CHUNK && row < rows; row += DEPTH)
        own = max(own, mr_size_bits(to_float(*x.at(row, col))));
    atomicMax(&most[col], own);
}

/* A square of x, turned round. */
template <typename T>
static __global__ void turn_kernel(uint8_t *y, const uint32_t *most, matrix<T> x, int64_t rows,
                                   int64_t cols)
{
    __shared__ float square[SIDE][SIDE + 1];
    const int64_t col = (int64_t)blockIdx.x * SIDE, row = (int64_t)blockIdx.y * SIDE;
    for (int i = threadIdx.y; i < SIDE; i += DEPTH)
        if (row + i < rows && col + threadIdx.x < cols)
            square[i][threadIdx.x] = to_float(*x.at(row + i, col + threadIdx.x));
    __syncthreads();
    for (int i = threadIdx.y; i < SIDE; i += DEPTH) {
        if (col + i >= cols || row + threadIdx.x >= rows) continue;
        const float one[1] = {square[threadIdx.x][i]};
        round_pack<1>(y + (col + i) * rows + row + threadIdx.x, one, most[col + i]);
    }
}

/* The scales stand for the largest until these are not asked for any more. */
template <typename T> static void quantize_columns(mr_backend *be, mr_scaled y, mr_tensor x)
{
    cudaStream_t stream = mr_cuda_queue(mr_cuda_of(be));
    uint32_t *most = (uint32_t *)mr_cuda_at(y.scale);
    float *scale = (float *)mr_cuda_at(y.scale);
    const unsigned across = (unsigned)((x.cols + SIDE - 1) / SIDE);
    const dim3 block(SIDE, DEPTH);
    mr_cuda_note(be, cudaMemsetAsync(most, 0, (size_t)x.cols * sizeof *most, stream),
                 "columns of 8 bits");
    most_kernel<T><<<dim3(across, (unsigned)((x.rows + CHUNK - 1) / CHUNK)), block, 0, stream>>>(
        most, x, x.rows, x.cols);
    turn_kernel<T><<<dim3(across, (unsigned)((x.rows + SIDE - 1) / SIDE)), block, 0, stream>>>(
        (uint8_t *)mr_cuda_at(y.values), most, x, x.rows, x.cols);
    each<1>(be, 1, x.cols,
            [=] __device__(int64_t, int64_t col) { scale[col] = mr_scale_of(most[col]); });
}

void mr_cuda_quantize(mr_backend *be, mr_scaled y, mr_tensor x, bool transposed)
{
    if (x.rows == 0 || x.cols == 0) return;
    MR_BY_TYPE(x.dtype, T, {
        if (transposed) {
            quantize_columns<T>(be, y, x);
        } else {
            const bool wide = all_wide(pack_of(x.dtype), {x}) &&
                              (uintptr_t)mr_cuda_at(y.values) % pack_of(x.dtype) == 0;
            MR_BY_WIDTH(wide, T, N, { quantize_rows<T, N>(be, y, x); });
        }
    });
}
