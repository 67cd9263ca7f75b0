/* The optimizer: a list of tensors in few launches, each element read and written once, with the
 * copy that is computed with. */

#include "backend/cuda/kernel.cuh"
#include "backend/optimizer.h"

/* BLOCKS blocks run on a multiprocessor at once, so that it waits for up to 100 kB (BF16) at a
 * time. */
enum { THREADS = 256, BLOCKS = 5, LIST = 128 };

/* One tensor of an update. */
struct update {
    void *w, *m, *v; /* of one type */
    const float *g;
    void *copy; /* of the other type, or NULL */
    mr_random rounding;
    uint64_t first;         /* element of the rounding */
    int64_t n, first_block; /* elements; of the launch */
    mr_adamw_numbers numbers;
    bool wide; /* all begin at whole packs, with whole blocks of random bits */
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

/* Elements of a pack of 16 bytes, of a block of threads, and of a block of random bits. */
template <typename T> constexpr int PACK = 16 / (int)sizeof(T);
template <typename T> constexpr int64_t SHARE = THREADS *PACK<T>;
enum { DRAWN = 4 };

/* Elements as they are read. */
template <typename T, int N> struct elements {
    pack<T, N> w, m, v;
    float g[N];
};

template <typename T, int N>
static __device__ void put(const update &u, int64_t at, const pack<T, N> &w, const pack<T, N> &m,
                           const pack<T, N> &v)
{
    put_pack<N>((T *)u.w + at, w);
    put_pack<N>((T *)u.m + at, m);
    put_pack<N>((T *)u.v + at, v);
    if (!u.copy) return;
    float wide[N];
    unpack<N>(wide, w);
    store<N>((typename other_type<T>::type *)u.copy + at, wide);
}

template <int N> static __device__ void step(elements<float, N> &of, const update &u, int64_t at)
{
#pragma unroll
    for (int i = 0; i < N; i++)
        mr_adamw_update(&u.numbers, &of.w.v[i], &of.m.v[i], &of.v.v[i], of.g[i]);
    put(u, at, of.w, of.m, of.v);
}

/* Root and reciprocal to 22 bits or so, of what is below 2^-126 as of 0; of 0 and of infinity they
 * are right. @{ */
static __device__ float near_root(float x)
{
    float y;
    asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

static __device__ float near_reciprocal(float x)
{
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
/* @} */

/* The pack of the upper halves of words. */
template <int N> static __device__ pack<bf16, N> upper_halves(const uint32_t (&bits)[N])
{
    pack<bf16, N> out;
    if (N == 1) *reinterpret_cast<uint16_t *>(&out) = (uint16_t)(bits[0] >> 16);
#pragma unroll
    for (int i = 0; i + 1 < N; i += 2)
        reinterpret_cast<uint32_t *>(&out)[i / 2] = __byte_perm(bits[i], bits[i + 1], 0x7632);
    return out;
}

/* As mr_adamw_update, but for a quotient whose last bits would be rounded off. */
template <int N> static __device__ void step(elements<bf16, N> &of, const update &u, int64_t at)
{
    const mr_adamw_numbers &n = u.numbers;
    const uint64_t element = u.first + (uint64_t)at;
    float w[N], m[N], v[N];
    uint32_t random[DRAWN], bits[MR_KEPT][N];
    unpack<N>(w, of.w);
    unpack<N>(m, of.m);
    unpack<N>(v, of.v);
#pragma unroll
    for (int i = 0; i < N; i++) {
        if (i % DRAWN == 0) mr_random_block(&u.rounding, element / DRAWN | i / DRAWN, random);
        mr_adamw_moments(&n, &m[i], &v[i], of.g[i]);
        w[i] = w[i] * n.decay - n.rate * m[i] * near_reciprocal(near_root(v[i]) * n.root + n.eps);
        const float kept[MR_KEPT] = {w[i], m[i], v[i]};
        uint32_t rounded[MR_KEPT];
        mr_round_kept(kept, random[N == 1 ? element % DRAWN : i % DRAWN], rounded);
#pragma unroll
        for (int k = 0; k < MR_KEPT; k++)
            bits[k][i] = rounded[k];
    }
    put(u, at, upper_halves(bits[MR_KEPT_WEIGHT]), upper_halves(bits[MR_KEPT_M]),
        upper_halves(bits[MR_KEPT_V]));
}

template <typename T, int N> static __device__ void update_pack(const update &u, int64_t at)
{
    elements<T, N> of = {pack_at<N>((const T *)u.w + at), pack_at<N>((const T *)u.m + at),
                         pack_at<N>((const T *)u.v + at)};
    load<N>(of.g, u.g + at);
    step(of, u, at);
}

template <typename T>
static __global__ void __launch_bounds__(THREADS, BLOCKS)
    adamw_kernel(const __grid_constant__ updates list)
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
    const int64_t first = ((int64_t)blockIdx.x - u.first_block) * SHARE<T>;
    const int64_t end = first + SHARE<T> < u.n ? first + SHARE<T> : u.n;
    if (u.wide && end - first == SHARE<T>) {
        update_pack<T, PACK<T>>(u, first + threadIdx.x * PACK<T>);
        return;
    }
#pragma unroll 1
    for (int64_t at = first + threadIdx.x; at < end; at += THREADS)
        update_pack<T, 1>(u, at);
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
    const bool half = args->weight.dtype == MR_BF16; /* else a pack of the copy has 8 bytes */
    const uintptr_t all = (uintptr_t)u.w | (uintptr_t)u.m | (uintptr_t)u.v | (uintptr_t)u.g |
                          (half ? 1 : 2) * (uintptr_t)u.copy;
    u.wide = all % 16 == 0 && (!half || u.first % PACK<bf16> == 0);
    return u;
}

void mr_cuda_adamw(mr_backend *be, const mr_adamw_args *args, int64_t count)
{
    for (int64_t first = 0; first < count;) {
        updates list;
        int64_t blocks = 0;
        const mr_dtype type = args[first].weight.dtype;
        MR_BY_TYPE(type, T, {
            for (list.count = 0;
                 list.count < LIST && first < count && args[first].weight.dtype == type; first++) {
                list.of[list.count] = update_of(&args[first], blocks);
                blocks += (list.of[list.count++].n + SHARE<T> - 1) / SHARE<T>;
            }
            if (blocks > 0)
                adamw_kernel<T><<<(unsigned)blocks, THREADS, 0, mr_cuda_of(be)->stream>>>(list);
        });
    }
}
