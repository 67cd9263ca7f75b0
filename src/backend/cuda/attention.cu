/* Causal attention within segments, forward and backward: no sum is taken by atomics. */

#include "backend/cuda/attention.cuh"

/* The first key that any row of a tile sees. */
template <typename T>
static __device__ int first_key(const attention<T> &a, int64_t sequence_row, int first)
{
    return a.starts ? a.starts[sequence_row + first] : 0;
}

/* Whether query t sees key s. */
static __device__ bool sees(int t, int s, int start)
{
    return s <= t && s >= start;
}

template <typename T, int D, int B> static __global__ void forward(attention<T> a)
{
    constexpr int R = B / 16;
    extern __shared__ float memory[];
    const tile<D> q{memory}, k{memory + B * (D + 1)}, v{memory + 2 * B * (D + 1)};
    const tile<B> p{memory + 3 * B * (D + 1)};
    const int head = blockIdx.y, first = (int)(gridDim.x - 1 - blockIdx.x) * B;
    const int64_t row = (int64_t)blockIdx.z * a.tokens;
    const int64_t col = (int64_t)head * a.size, kv_col = (int64_t)(head / a.group) * a.size;
    const int rows = min(B, a.tokens - first);
    float top[R], total[R], sum[R][D / 16] = {}, s[R][R];
    int start[R];
    for (int i = 0; i < R; i++) {
        int t = first + threadIdx.y + 16 * i;
        top[i] = -INFINITY;
        total[i] = 0;
        start[i] = a.starts && t < a.tokens ? a.starts[row + t] : 0;
    }
    read_tile<B>(q, a.q, row + first, col, rows, a.size);
    for (int from = first_key(a, row, first); from < first + rows; from += B) {
        int keys = min(B, first + rows - from);
        __syncthreads();
        read_tile<B>(k, a.k, row + from, kv_col, keys, a.size);
        read_tile<B>(v, a.v, row + from, kv_col, keys, a.size);
        __syncthreads();
        multiply<R, D>(s, q, k, a.size);
        for (int i = 0; i < R; i++) {
            int t = first + threadIdx.y + 16 * i;
            float most = top[i];
            for (int j = 0; j < R; j++) {
                int at = from + threadIdx.x + 16 * j;
                s[i][j] = sees(t, at, start[i]) ? s[i][j] * a.scale : -INFINITY;
                most = fmaxf(most, s[i][j]);
            }
            most = row_max(most);
            float part = 0, base = most == -INFINITY ? 0 : most; /* none is seen yet */
            for (int j = 0; j < R; j++) {
                float e = expf(s[i][j] - base);
                p.at(threadIdx.y + 16 * i, threadIdx.x + 16 * j) = e;
                part += e;
            }
            float factor = top[i] == -INFINITY ? 0 : expf(top[i] - base);
            total[i] = total[i] * factor + row_sum(part);
            top[i] = most;
            for (int c = 0; c < D / 16; c++)
                sum[i][c] *= factor;
        }
        __syncthreads();
        accumulate<B, R, D>(
            sum, [&](int key, int query) { return p.at(query, key); }, v);
    }
    for (int i = 0; i < R; i++) {
        int t = first + threadIdx.y + 16 * i;
        if (threadIdx.x == 0 && t < a.tokens)
            a.lse[((int64_t)blockIdx.z * a.heads + head) * a.lse_stride + t] =
                top[i] + logf(total[i]);
        for (int c = 0; c < D / 16; c++)
            sum[i][c] /= total[i];
    }
    write_rows<R, D>(a.o, sum, row + first, col, rows, a.size);
}

/* delta = sum over a head's columns of dO O; a warp a row and head. */
template <typename T> static __global__ void deltas(attention<T> a, int64_t rows)
{
    int64_t at = (int64_t)blockIdx.x * blockDim.y + threadIdx.y, row = at / a.heads;
    int head = (int)(at % a.heads);
    if (row >= rows) return;
    float sum = 0;
    for (int c = threadIdx.x; c < a.size; c += 32)
        sum += to_float(*a.d_o.at(row, (int64_t)head * a.size + c)) *
               to_float(*a.o.at(row, (int64_t)head * a.size + c));
    sum = warp_sum(sum);
    if (threadIdx.x == 0)
        a.delta[(row / a.tokens * a.heads + head) * a.tokens + row % a.tokens] = sum;
}

/* Probabilities and gradients of scores of a tile, of which this thread has its elements. */
template <typename T, int R, int D>
static __device__ void scores(const attention<T> &a, float (&p)[R][R], float (&ds)[R][R], tile<D> q,
                              tile<D> k, tile<D> d_o, tile<D> v, int64_t row, int64_t head_row,
                              int first, int from)
{
    multiply<R, D>(p, q, k, a.size);
    multiply<R, D>(ds, d_o, v, a.size);
    for (int i = 0; i < R; i++) {
        int t = first + threadIdx.y + 16 * i;
        bool there = t < a.tokens;
        int start = a.starts && there ? a.starts[row + t] : 0;
        float lse = there ? a.lse[head_row * a.lse_stride + t] : 0;
        float delta = there ? a.delta[head_row * a.tokens + t] : 0;
        for (int j = 0; j < R; j++) {
            bool seen = there && sees(t, from + threadIdx.x + 16 * j, start);
            p[i][j] = seen ? expf(p[i][j] * a.scale - lse) : 0.0f;
            ds[i][j] = p[i][j] * (ds[i][j] - delta) * a.scale;
        }
    }
}

/* Gradient of a tile of queries: sum of dS K. */
template <typename T, int D, int B> static __global__ void backward_queries(attention<T> a)
{
    constexpr int R = B / 16;
    extern __shared__ float memory[];
    const tile<D> q{memory}, d_o{memory + B * (D + 1)}, k{memory + 2 * B * (D + 1)};
    const tile<D> v{memory + 3 * B * (D + 1)};
    const tile<B> ds_tile{memory + 4 * B * (D + 1)};
    const int head = blockIdx.y, first = (int)(gridDim.x - 1 - blockIdx.x) * B;
    const int64_t row = (int64_t)blockIdx.z * a.tokens;
    const int64_t head_row = (int64_t)blockIdx.z * a.heads + head;
    const int64_t col = (int64_t)head * a.size, kv_col = (int64_t)(head / a.group) * a.size;
    const int rows = min(B, a.tokens - first);
    float sum[R][D / 16] = {}, p[R][R], ds[R][R];
    read_tile<B>(q, a.q, row + first, col, rows, a.size);
    read_tile<B>(d_o, a.d_o, row + first, col, rows, a.size);
    for (int from = first_key(a, row, first); from < first + rows; from += B) {
        int keys = min(B, first + rows - from);
        __syncthreads();
        read_tile<B>(k, a.k, row + from, kv_col, keys, a.size);
        read_tile<B>(v, a.v, row + from, kv_col, keys, a.size);
        __syncthreads();
        scores<T, R, D>(a, p, ds, q, k, d_o, v, row, head_row, first, from);
        for (int i = 0; i < R; i++)
            for (int j = 0; j < R; j++)
                ds_tile.at(threadIdx.y + 16 * i, threadIdx.x + 16 * j) = ds[i][j];
        __syncthreads();
        accumulate<B, R, D>(
            sum, [&](int key, int query) { return ds_tile.at(query, key); }, k);
    }
    write_rows<R, D>(a.d_q, sum, row + first, col, rows, a.size);
}

/* Gradients of a tile of keys and values: sums over the queries that see them, head by head of
 * those that share them. */
template <typename T, int D, int B> static __global__ void backward_keys(attention<T> a)
{
    constexpr int R = B / 16;
    extern __shared__ float memory[];
    const tile<D> q{memory}, d_o{memory + B * (D + 1)}, k{memory + 2 * B * (D + 1)};
    const tile<D> v{memory + 3 * B * (D + 1)};
    const tile<B> p_tile{memory + 4 * B * (D + 1)}, ds_tile{p_tile.data + B * (B + 1)};
    const int from = (int)blockIdx.x * B;
    const int64_t row = (int64_t)blockIdx.z * a.tokens, kv_col = (int64_t)blockIdx.y * a.size;
    const int keys = min(B, a.tokens - from);
    float dk[R][D / 16] = {}, dv[R][D / 16] = {}, p[R][R], ds[R][R];
    read_tile<B>(k, a.k, row + from, kv_col, keys, a.size);
    read_tile<B>(v, a.v, row + from, kv_col, keys, a.size);
    for (int g = 0; g < a.group; g++) {
        const int head = (int)blockIdx.y * a.group + g;
        const int64_t head_row = (int64_t)blockIdx.z * a.heads + head, col = (int64_t)head * a.size;
        for (int first = from; first < a.tokens; first += B) {
            /* Segments only start later further on. */
            if (first_key(a, row, first) >= from + keys) break;
            int rows = min(B, a.tokens - first);
            __syncthreads();
            read_tile<B>(q, a.q, row + first, col, rows, a.size);
            read_tile<B>(d_o, a.d_o, row + first, col, rows, a.size);
            __syncthreads();
            scores<T, R, D>(a, p, ds, q, k, d_o, v, row, head_row, first, from);
            for (int i = 0; i < R; i++)
                for (int j = 0; j < R; j++) {
                    p_tile.at(threadIdx.y + 16 * i, threadIdx.x + 16 * j) = p[i][j];
                    ds_tile.at(threadIdx.y + 16 * i, threadIdx.x + 16 * j) = ds[i][j];
                }
            __syncthreads();
            accumulate<B, R, D>(
                dv, [&](int query, int key) { return p_tile.at(query, key); }, d_o);
            accumulate<B, R, D>(
                dk, [&](int query, int key) { return ds_tile.at(query, key); }, q);
        }
    }
    write_rows<R, D>(a.d_k, dk, row + from, kv_col, keys, a.size);
    write_rows<R, D>(a.d_v, dv, row + from, kv_col, keys, a.size);
}

static size_t shared_bytes(int rows, int size, int wide, int square)
{
    return sizeof(float) * (size_t)(wide * rows * (size + 1) + square * rows * (rows + 1));
}

static unsigned tiles(int64_t tokens, int rows)
{
    return (unsigned)((tokens + rows - 1) / rows);
}

void mr_cuda_attention_forward(mr_backend *be, const mr_attention_args *args)
{
    const mr_attention_shape *s = &args->shape;
    if (s->batch * s->tokens == 0 || mr_cuda_attention_short(be, args, false) ||
        mr_cuda_attention_library(be, args, false))
        return;
    MR_BY_TYPE(args->q.dtype, T, {
        MR_BY_HEAD(s->head_size, D, B, {
            dim3 grid(tiles(s->tokens, B), (unsigned)s->heads, (unsigned)s->batch);
            launch_tiles(be, forward<T, D, B>, grid, shared_bytes(B, D, 3, 1), attention<T>(args));
        });
    });
}

void mr_cuda_attention_backward(mr_backend *be, const mr_attention_args *args)
{
    const mr_attention_shape *s = &args->shape;
    const int64_t rows = s->batch * s->tokens;
    if (rows == 0 || mr_cuda_attention_short(be, args, true) ||
        mr_cuda_attention_library(be, args, true))
        return;
    float *delta = (float *)mr_cuda_scratch(be, (size_t)(rows * s->heads) * sizeof *delta);
    if (!delta) return;
    MR_BY_TYPE(args->q.dtype, T, {
        attention<T> a(args);
        a.delta = delta;
        deltas<T>
            <<<(unsigned)((rows * s->heads + 7) / 8), dim3(32, 8), 0, mr_cuda_of(be)->stream>>>(
                a, rows);
        MR_BY_HEAD(s->head_size, D, B, {
            dim3 queries(tiles(s->tokens, B), (unsigned)s->heads, (unsigned)s->batch);
            dim3 keys(tiles(s->tokens, B), (unsigned)s->kv_heads, (unsigned)s->batch);
            launch_tiles(be, backward_queries<T, D, B>, queries, shared_bytes(B, D, 4, 1), a);
            launch_tiles(be, backward_keys<T, D, B>, keys, shared_bytes(B, D, 4, 2), a);
        });
    });
}
