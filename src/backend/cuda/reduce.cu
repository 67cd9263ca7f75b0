/* Sums over many elements, each in a fixed order or of integers. */

#include "backend/cuda/kernel.cuh"
#include "base/hash.h"

enum { THREADS = 256 };

void mr_cuda_sum_pieces(mr_backend *be, mr_tensor y, mr_tensor pieces)
{
    const int64_t count = pieces.rows, stride = pieces.stride;
    float *to = (float *)mr_cuda_at(y), *from = (float *)mr_cuda_at(pieces);
    each<1>(be, 1, y.cols, [=] __device__(int64_t, int64_t col) {
        for (int64_t step = 1; step < count; step *= 2)
            for (int64_t i = 0; i + step < count; i += 2 * step)
                from[i * stride + col] += from[(i + step) * stride + col];
        to[col] = from[col];
    });
}

/* A warp a run, a lane four elements at a time. */
static __global__ void square_runs(double *out, int64_t runs, const float *x, int64_t n, bool wide)
{
    const int64_t run = (int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    const int64_t first = run * MR_SQUARE_RUN + threadIdx.x % 32 * 4;
    if (run >= runs) return;
    double sum = 0;
#pragma unroll
    for (int part = 0; part < MR_SQUARE_RUN; part += 128) {
        const int64_t at = first + part;
        float v[4];
        if (wide && at + 4 <= n)
            load<4>(v, x + at);
        else
            for (int i = 0; i < 4; i++)
                v[i] = at + i < n ? x[at + i] : 0.0f;
        for (int i = 0; i < 4; i++)
            sum += (double)v[i] * (double)v[i];
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) out[run] = sum;
}

void mr_cuda_square_sums(mr_backend *be, mr_tensor out, mr_tensor x)
{
    constexpr int64_t RUNS = THREADS / 32; /* of a block */
    if (out.cols == 0) return;
    square_runs<<<(unsigned)((out.cols + RUNS - 1) / RUNS), THREADS, 0, mr_cuda_of(be)->stream>>>(
        (double *)mr_cuda_at(out), out.cols, (const float *)mr_cuda_at(x), mr_tensor_count(x),
        (uintptr_t)mr_cuda_at(x) % 16 == 0);
}

/* A block a share of n elements. */
static unsigned blocks_for(int64_t n)
{
    int64_t blocks = (n + 8 * THREADS - 1) / (8 * THREADS);
    return (unsigned)(blocks < 1 ? 1 : blocks < 1024 ? blocks : 1024);
}

static __global__ void count_kernel(double *out, const float *x, int64_t n)
{
    int64_t count = 0;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += gridDim.x * THREADS)
        count += x[i] < 0 || x[i] > 0;
    count = block_sum((long long)count);
    if (threadIdx.x == 0) atomicAdd(out, (double)count); /* whole numbers: any order is exact */
}

void mr_cuda_count_nonzero(mr_backend *be, mr_tensor out, mr_tensor x)
{
    cudaStream_t stream = mr_cuda_of(be)->stream;
    mr_cuda_note(be, cudaMemsetAsync(mr_cuda_at(out), 0, sizeof(double), stream), "a count");
    count_kernel<<<blocks_for(mr_tensor_count(x)), THREADS, 0, stream>>>(
        (double *)mr_cuda_at(out), (const float *)mr_cuda_at(x), mr_tensor_count(x));
}

/* As mr_exact_add, and by its layout; a thread keeps the digits it adds to while they are the same.
 */
static __global__ void exact_kernel(unsigned long long *sum, const double *x, int64_t n)
{
    constexpr int LOWEST = -1088; /* what digit 0 weighs, as a power of two */
    __shared__ unsigned long long digits[MR_EXACT_DIGITS + 1];
    unsigned long long kept[3] = {};
    int there = 0;
    for (int i = threadIdx.x; i <= MR_EXACT_DIGITS; i += THREADS)
        digits[i] = 0;
    __syncthreads();
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += gridDim.x * THREADS) {
        const uint64_t bits = (uint64_t)__double_as_longlong(x[i]);
        uint64_t mantissa = bits & 0xfffffffffffffu;
        int exponent = (int)(bits >> 52 & 0x7ff);
        if (exponent == 0x7ff) {
            atomicAdd(&digits[MR_EXACT_DIGITS], 1ull);
            continue;
        }
        if (exponent > 0)
            mantissa |= (uint64_t)1 << 52;
        else
            exponent = 1;
        const int position = exponent - 1075 - LOWEST, shift = position % 32;
        const uint64_t low = mantissa << shift, high = shift ? mantissa >> (64 - shift) : 0;
        const uint64_t parts[3] = {low & 0xffffffffu, low >> 32, high};
        if (position / 32 != there) {
            for (int k = 0; k < 3; k++) {
                atomicAdd(&digits[there + k], kept[k]);
                kept[k] = 0;
            }
            there = position / 32;
        }
        for (int k = 0; k < 3; k++)
            kept[k] += bits >> 63 ? 0 - parts[k] : parts[k];
    }
    for (int k = 0; k < 3; k++)
        atomicAdd(&digits[there + k], kept[k]);
    __syncthreads();
    for (int i = threadIdx.x; i <= MR_EXACT_DIGITS; i += THREADS)
        if (digits[i] != 0) atomicAdd(&sum[i], digits[i]);
}

void mr_cuda_exact_sum(mr_backend *be, mr_tensor out, mr_tensor x)
{
    cudaStream_t stream = mr_cuda_of(be)->stream;
    unsigned long long *sum = (unsigned long long *)mr_cuda_scratch(be, sizeof(mr_exact));
    if (!sum) return;
    mr_cuda_note(be, cudaMemsetAsync(sum, 0, sizeof(mr_exact), stream), "an exact sum");
    exact_kernel<<<blocks_for(mr_tensor_count(x)), THREADS, 0, stream>>>(
        sum, (const double *)mr_cuda_at(x), mr_tensor_count(x));
    mr_cuda_note(
        be,
        cudaMemcpyAsync(mr_cuda_at(out), sum, sizeof(mr_exact), cudaMemcpyDeviceToDevice, stream),
        "an exact sum");
}

template <typename U>
static __global__ void digest_kernel(unsigned long long *out, const U *x, int64_t n, uint64_t place)
{
    constexpr int SHIFT = sizeof(U) == 2 ? 16 : 0; /* the bits of BF16 are the upper ones of F32 */
    unsigned long long sum = 0;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += gridDim.x * THREADS)
        sum += mr_hash_mix(((uint64_t)x[i] << SHIFT) + (place + (uint64_t)i) * 0x9e3779b97f4a7c15u);
    sum = block_sum(sum);
    if (threadIdx.x == 0) atomicAdd(out, sum);
}

void mr_cuda_digest(mr_backend *be, mr_tensor out, mr_tensor x, uint64_t place)
{
    cudaStream_t stream = mr_cuda_of(be)->stream;
    unsigned long long *sum = (unsigned long long *)mr_cuda_scratch(be, sizeof *sum);
    if (!sum) return;
    mr_cuda_note(be, cudaMemsetAsync(sum, 0, sizeof *sum, stream), "a digest");
    int64_t n = mr_tensor_count(x);
    unsigned blocks = blocks_for(n);
    switch (mr_dtype_size(x.dtype)) {
    case 2:
        digest_kernel<<<blocks, THREADS, 0, stream>>>(sum, (const uint16_t *)mr_cuda_at(x), n,
                                                      place);
        break;
    case 4:
        digest_kernel<<<blocks, THREADS, 0, stream>>>(sum, (const uint32_t *)mr_cuda_at(x), n,
                                                      place);
        break;
    default:
        digest_kernel<<<blocks, THREADS, 0, stream>>>(sum, (const uint64_t *)mr_cuda_at(x), n,
                                                      place);
    }
    mr_cuda_note(
        be, cudaMemcpyAsync(mr_cuda_at(out), sum, sizeof *sum, cudaMemcpyDeviceToDevice, stream),
        "a digest");
}

static __global__ void differences(int *found, const uint64_t *a, const uint64_t *b, int64_t n)
{
    bool differs = false;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += gridDim.x * THREADS)
        differs = differs || a[i] != b[i];
    if (differs) *found = 1;
}

bool mr_cuda_alike(mr_backend *be, const void *a, const void *b, size_t bytes)
{
    mr_cuda *cu = mr_cuda_of(be);
    const int64_t n = (int64_t)(bytes / sizeof(uint64_t));
    int *there = (int *)cu->slot_device, found = 1;
    mr_cuda_note(be, cudaMemsetAsync(there, 0, sizeof *there, cu->stream), "a comparison");
    differences<<<blocks_for(n), THREADS, 0, cu->stream>>>(there, (const uint64_t *)a,
                                                           (const uint64_t *)b, n);
    mr_cuda_note(be,
                 cudaMemcpyAsync(&found, there, sizeof found, cudaMemcpyDeviceToHost, cu->stream),
                 "a comparison");
    mr_cuda_note(be, cudaStreamSynchronize(cu->stream), "a comparison");
    return !found;
}

template <typename TA, typename TB>
static __global__ void row_dots(double *out, matrix<TA> a, matrix<TB> b, int64_t cols, double beta)
{
    double sum = 0;
    for (int64_t col = threadIdx.x; col < cols; col += THREADS)
        sum += (double)to_float(*a.at(blockIdx.x, col)) * (double)to_float(*b.at(blockIdx.x, col));
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = beta != 0 ? beta * out[blockIdx.x] + sum : sum;
}

void mr_cuda_row_dots(mr_backend *be, mr_tensor out, mr_tensor a, mr_tensor b, double beta)
{
    if (a.rows == 0) return;
    MR_BY_TYPE(a.dtype, TA, {
        MR_BY_TYPE(b.dtype, TB, {
            row_dots<TA, TB><<<(unsigned)a.rows, THREADS, 0, mr_cuda_of(be)->stream>>>(
                (double *)mr_cuda_at(out), matrix<TA>(a), matrix<TB>(b), a.cols, beta);
        });
    });
}
