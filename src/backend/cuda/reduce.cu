/* Sums over many elements, each in a fixed order, and the optimizer, which is told by them. */

#include "backend/cuda/kernel.cuh"
#include "base/hash.h"

#include <math.h>

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

static __global__ void square_runs(double *out, const float *x, int64_t n)
{
    int64_t first = (int64_t)blockIdx.x * MR_SQUARE_RUN;
    double sum = 0;
    for (int64_t i = threadIdx.x; i < MR_SQUARE_RUN && first + i < n; i += THREADS) {
        double value = (double)x[first + i];
        sum += value * value;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

void mr_cuda_square_sums(mr_backend *be, mr_tensor out, mr_tensor x)
{
    if (out.cols == 0) return;
    square_runs<<<(unsigned)out.cols, THREADS, 0, mr_cuda_of(be)->stream>>>(
        (double *)mr_cuda_at(out), (const float *)mr_cuda_at(x), mr_tensor_count(x));
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

template <typename U>
static __global__ void digest_kernel(unsigned long long *out, const U *x, int64_t n)
{
    unsigned long long sum = 0;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += gridDim.x * THREADS)
        sum += mr_hash_mix((uint64_t)x[i] + (uint64_t)i * 0x9e3779b97f4a7c15u);
    sum = block_sum(sum);
    if (threadIdx.x == 0) atomicAdd(out, sum);
}

void mr_cuda_digest(mr_backend *be, mr_tensor out, mr_tensor x)
{
    cudaStream_t stream = mr_cuda_of(be)->stream;
    unsigned long long *sum = (unsigned long long *)mr_cuda_scratch(be, sizeof *sum);
    if (!sum) return;
    mr_cuda_note(be, cudaMemsetAsync(sum, 0, sizeof *sum, stream), "a digest");
    int64_t n = mr_tensor_count(x);
    unsigned blocks = blocks_for(n);
    switch (mr_dtype_size(x.dtype)) {
    case 2:
        digest_kernel<<<blocks, THREADS, 0, stream>>>(sum, (const uint16_t *)mr_cuda_at(x), n);
        break;
    case 4:
        digest_kernel<<<blocks, THREADS, 0, stream>>>(sum, (const uint32_t *)mr_cuda_at(x), n);
        break;
    default:
        digest_kernel<<<blocks, THREADS, 0, stream>>>(sum, (const uint64_t *)mr_cuda_at(x), n);
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

/* One tensor of an update, its numbers as the CPU rounds them. */
struct update {
    float *w, *m, *v;
    const float *g;
    int64_t n, first_block; /* of the launch */
    float beta1, beta2, gain1, gain2, scale, decay, rate, root, eps;
};

enum { LIST = 40, SHARE = 4 * THREADS }; /* tensors a launch, elements a block */

struct updates {
    int count;
    update of[LIST];
};

static __global__ void adamw_kernel(const __grid_constant__ updates list)
{
    int k = 0;
    while (k + 1 < list.count && (int64_t)blockIdx.x >= list.of[k + 1].first_block)
        k++;
    const update &u = list.of[k];
    int64_t first = ((int64_t)blockIdx.x - u.first_block) * SHARE;
#pragma unroll
    for (int part = 0; part < SHARE / THREADS; part++) {
        int64_t i = first + part * THREADS + threadIdx.x;
        if (i >= u.n) return;
        float g = u.g[i] * u.scale;
        float m = u.beta1 * u.m[i] + u.gain1 * g, v = u.beta2 * u.v[i] + u.gain2 * g * g;
        u.m[i] = m;
        u.v[i] = v;
        u.w[i] = u.w[i] * u.decay - u.rate * m / (sqrtf(v) * u.root + u.eps);
    }
}

static update update_of(const mr_adamw_args *args, int64_t first_block)
{
    update u;
    u.w = (float *)mr_cuda_at(args->weight);
    u.m = (float *)mr_cuda_at(args->m);
    u.v = (float *)mr_cuda_at(args->v);
    u.g = (const float *)mr_cuda_at(args->grad);
    u.n = mr_tensor_count(args->weight);
    u.first_block = first_block;
    u.beta1 = (float)args->beta1;
    u.beta2 = (float)args->beta2;
    u.gain1 = (float)(1.0 - args->beta1);
    u.gain2 = (float)(1.0 - args->beta2);
    u.scale = (float)args->grad_scale;
    u.decay = (float)(1.0 - args->lr * args->weight_decay);
    u.rate = (float)(args->lr / (1.0 - pow(args->beta1, (double)args->step)));
    u.root = (float)(1.0 / sqrt(1.0 - pow(args->beta2, (double)args->step)));
    u.eps = (float)args->eps;
    return u;
}

void mr_cuda_adamw(mr_backend *be, const mr_adamw_args *args, int64_t count)
{
    for (int64_t first = 0; first < count;) {
        updates list;
        int64_t blocks = 0;
        for (list.count = 0; list.count < LIST && first < count; first++) {
            list.of[list.count] = update_of(&args[first], blocks);
            blocks += (list.of[list.count++].n + SHARE - 1) / SHARE;
        }
        if (blocks > 0)
            adamw_kernel<<<(unsigned)blocks, THREADS, 0, mr_cuda_of(be)->stream>>>(list);
    }
}
