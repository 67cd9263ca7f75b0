/* The optimizer: a list of tensors in few launches, each element read and written once, with the
 * copy that is computed with. */

#include "backend/cuda/kernel.cuh"

#include <math.h>

enum { THREADS = 256, AT_ONCE = 4, PARTS = 2, SHARE = THREADS * AT_ONCE * PARTS, LIST = 128 };

/* One tensor of an update, its numbers as the CPU rounds them. */
struct update {
    float *w, *m, *v;
    const float *g;
    bf16 *copy;             /* or NULL */
    int64_t n, first_block; /* elements; of the launch */
    float beta1, beta2, gain1, gain2, scale, decay, rate, root, eps;
    bool wide; /* all begin at 16 bytes */
};

struct updates {
    int count;
    update of[LIST];
};

static __device__ void update_one(const update &u, float &w, float &m, float &v, float g)
{
    g *= u.scale;
    m = u.beta1 * m + u.gain1 * g;
    v = u.beta2 * v + u.gain2 * g * g;
    w = w * u.decay - u.rate * m / (sqrtf(v) * u.root + u.eps);
}

template <int N> static __device__ void update_pack(const update &u, int64_t at)
{
    float w[N], m[N], v[N], g[N];
    load<N>(g, u.g + at);
    load<N>(w, u.w + at);
    load<N>(m, u.m + at);
    load<N>(v, u.v + at);
#pragma unroll
    for (int i = 0; i < N; i++)
        update_one(u, w[i], m[i], v[i], g[i]);
    store<N>(u.w + at, w);
    store<N>(u.m + at, m);
    store<N>(u.v + at, v);
    if (u.copy) store<N>(u.copy + at, w);
}

static __global__ void adamw_kernel(const __grid_constant__ updates list)
{
    int k = 0, beyond = list.count; /* the last one that begins at or before this block */
    while (beyond - k > 1) {
        int middle = (k + beyond) / 2;
        if ((int64_t)blockIdx.x >= list.of[middle].first_block)
            k = middle;
        else
            beyond = middle;
    }
    const update &u = list.of[k];
    const int64_t first = ((int64_t)blockIdx.x - u.first_block) * SHARE + threadIdx.x * AT_ONCE;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        const int64_t at = first + part * THREADS * AT_ONCE;
        if (u.wide && at + AT_ONCE <= u.n)
            update_pack<AT_ONCE>(u, at);
        else
            for (int i = 0; i < AT_ONCE && at + i < u.n; i++)
                update_pack<1>(u, at + i);
    }
}

static update update_of(const mr_adamw_args *args, int64_t first_block)
{
    update u;
    u.w = (float *)mr_cuda_at(args->weight);
    u.m = (float *)mr_cuda_at(args->m);
    u.v = (float *)mr_cuda_at(args->v);
    u.g = (const float *)mr_cuda_at(args->grad);
    u.copy = mr_tensor_exists(args->copy) ? (bf16 *)mr_cuda_at(args->copy) : NULL;
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
    u.wide = ((uintptr_t)u.w | (uintptr_t)u.m | (uintptr_t)u.v | (uintptr_t)u.g |
              2 * (uintptr_t)u.copy) %
                 16 ==
             0;
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
