/* The optimizer: a list of tensors in few launches, each element read and written once, with the
 * copy that is computed with. */

#include "backend/cuda/kernel.cuh"
#include "backend/optimizer.h"

enum { THREADS = 256, AT_ONCE = 4, PARTS = 2, SHARE = THREADS * AT_ONCE * PARTS, LIST = 128 };

/* One tensor of an update. */
struct update {
    void *w, *m, *v; /* of one type */
    const float *g;
    void *copy; /* of the other type, or NULL */
    mr_random rounding;
    uint64_t first;         /* element of the rounding's blocks */
    int64_t n, first_block; /* elements; of the launch */
    mr_adamw_numbers numbers;
    bool wide; /* all begin at whole packs, and these at whole blocks */
};

struct updates {
    int count;
    update of[LIST];
};

/* The type that a copy is of, beside weights of another. */
template <typename T> struct other_type;
template <> struct other_type<float> {
    typedef bf16 type;
};
template <> struct other_type<bf16> {
    typedef float type;
};

static __device__ float rounded(float value, uint32_t random)
{
    return __uint_as_float((uint32_t)mr_round_stochastic(value, random) << 16);
}

/* Rounds N elements from one of a rounding's on: of an even one where they are several. */
template <int N>
static __device__ void round_pack(const update &u, uint64_t element, float (&w)[N], float (&m)[N],
                                  float (&v)[N])
{
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < N; i++, element++) {
        if (i % 2 == 0) mr_random_block(&u.rounding, element / 2, words);
        const int shift = 16 * (int)(element % 2);
        w[i] = rounded(w[i], words[MR_ROUND_WEIGHT] >> shift);
        m[i] = rounded(m[i], words[MR_ROUND_M] >> shift);
        v[i] = rounded(v[i], words[MR_ROUND_V] >> shift);
    }
}

template <typename T, int N> static __device__ void update_pack(const update &u, int64_t at)
{
    typedef typename other_type<T>::type C;
    float w[N], m[N], v[N], g[N];
    load<N>(g, u.g + at);
    load<N>(w, (const T *)u.w + at);
    load<N>(m, (const T *)u.m + at);
    load<N>(v, (const T *)u.v + at);
#pragma unroll
    for (int i = 0; i < N; i++)
        mr_adamw_update(&u.numbers, &w[i], &m[i], &v[i], g[i]);
    if (sizeof(T) == sizeof(bf16)) round_pack<N>(u, u.first + (uint64_t)at, w, m, v);
    store<N>((T *)u.w + at, w);
    store<N>((T *)u.m + at, m);
    store<N>((T *)u.v + at, v);
    if (u.copy) store<N>((C *)u.copy + at, w);
}

template <typename T> static __global__ void adamw_kernel(const __grid_constant__ updates list)
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
            update_pack<T, AT_ONCE>(u, at);
        else
            for (int i = 0; i < AT_ONCE && at + i < u.n; i++)
                update_pack<T, 1>(u, at + i);
    }
}

static update update_of(const mr_adamw_args *args, int64_t first_block)
{
    update u;
    u.w = mr_cuda_at(args->weight);
    u.m = mr_cuda_at(args->m);
    u.v = mr_cuda_at(args->v);
    u.g = (const float *)mr_cuda_at(args->grad);
    u.copy = mr_tensor_exists(args->copy) ? mr_cuda_at(args->copy) : NULL;
    u.rounding = args->rounding;
    u.first = (uint64_t)args->first;
    u.n = mr_tensor_count(args->weight);
    u.first_block = first_block;
    u.numbers = mr_adamw_numbers_of(args);
    const uintptr_t kept = (uintptr_t)u.w | (uintptr_t)u.m | (uintptr_t)u.v;
    const bool half = args->weight.dtype == MR_BF16; /* packs of 8 bytes, of the copy else */
    u.wide =
        ((half ? 2 : 1) * kept | (half ? 1 : 2) * (uintptr_t)u.copy | (uintptr_t)u.g) % 16 == 0 &&
        u.first % 2 == 0;
    return u;
}

void mr_cuda_adamw(mr_backend *be, const mr_adamw_args *args, int64_t count)
{
    for (int64_t first = 0; first < count;) {
        updates list;
        int64_t blocks = 0;
        const mr_dtype type = args[first].weight.dtype;
        for (list.count = 0; list.count < LIST && first < count && args[first].weight.dtype == type;
             first++) {
            list.of[list.count] = update_of(&args[first], blocks);
            blocks += (list.of[list.count++].n + SHARE - 1) / SHARE;
        }
        if (blocks == 0) continue;
        MR_BY_TYPE(type, T, {
            adamw_kernel<T><<<(unsigned)blocks, THREADS, 0, mr_cuda_of(be)->stream>>>(list);
        });
    }
}
