/* Causal attention of short sequences in BF16 on the tensor cores. All keys and values of a head,
 * or its queries and gradients of outputs, stand in shared memory at once; a warp takes rows of the
 * other side, 16 M at a time, and of its products nothing leaves its registers but the results.
 *
 * The backward pass makes the probabilities twice, once by rows of queries for dQ and once by rows
 * of keys for dK and dV: so no block adds to what another has, each sum has one order, and what
 * would have to be passed on takes longer than making it again (scores of all heads are gigabytes).
 * Source: Dao 2023 (FlashAttention-2), for what is computed. */

#include "backend/cuda/attention.cuh"
#include "backend/cuda/attention_mma.cuh"

enum {
    HELD = 32, /* rows of shared memory that a warp's are held against at a time */
    MOST_TOKENS = MR_DEVICE_SHORT,
    MOST_SIZE = 64,
};

/* Blocks of a multiprocessor, as their memory leaves room: of two one computes while the other
 * waits for its rows. */
template <int D> constexpr int BLOCKS = D <= 48 ? 2 : 1;

/* Warps of a block, as registers allow, and rows that they take together. */
template <int D, int M> constexpr int WARPS = 16 / M / BLOCKS<D>;
template <int D, int M> constexpr int ROWS = 16 * M *WARPS<D, M>;

static constexpr float LOG2E = 1.44269504f;

/* A power of 2: one instruction, of which denormals are 0. */
static __device__ float power(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* The head that a block has. */
struct head_place {
    int64_t row, col, kv_col; /* of q, o; of k, v */
    int64_t sequence, head;

    __device__ head_place(const attention<bf16> &a)
        : sequence(blockIdx.x / (unsigned)a.heads), head(blockIdx.x % (unsigned)a.heads)
    {
        row = sequence * a.tokens;
        col = head * a.size;
        kv_col = head / a.group * a.size;
    }
    __device__ const float *lse(const attention<bf16> &a) const
    {
        return a.lse + (sequence * a.heads + head) * a.lse_stride;
    }
    __device__ float *delta(const attention<bf16> &a) const
    {
        return a.delta + (sequence * a.heads + head) * a.tokens;
    }
};

/* What a block keeps of its head in shared memory: rows of two tensors, in whole pieces of ROWS. */
template <int D, int M> struct held_rows {
    int pieces, rows;
    uint32_t first, second; /* where those of each begin */

    static __host__ __device__ int pieces_of(int tokens)
    {
        return (tokens + ROWS<D, M> - 1) / ROWS<D, M>;
    }

    /* Starts fetching them, from a row and a column on. */
    __device__ held_rows(const attention<bf16> &a, int64_t row, matrix<bf16> one,
                         matrix<bf16> other, int64_t col)
    {
        extern __shared__ __align__(128) unsigned char memory[];
        pieces = pieces_of(a.tokens);
        rows = pieces * ROWS<D, M>;
        first = (uint32_t)__cvta_generic_to_shared(memory);
        second = first + (uint32_t)(rows * D * 2);
        fetch_rows<D>(first, one, row, col, rows, a.tokens, a.size);
        fetch_rows<D>(second, other, row, col, rows, a.tokens, a.size);
    }
};

/* Rows that a lane has of a warp's: from where they see keys. */
template <int M> struct row_starts {
    int at[M][2], first, last; /* of the lane's; of the warp's first and last row */

    __device__ row_starts(const attention<bf16> &a, int64_t row, int from) : at{}, first(0), last(0)
    {
        if (!a.starts) return;
        const lane_place lane;
        const int end = a.tokens - 1;
        for (int i = 0; i < M; i++)
            for (int h = 0; h < 2; h++)
                at[i][h] = a.starts[row + min(from + 16 * i + 8 * h + lane.g, end)];
        first = a.starts[row + from];
        last = a.starts[row + min(from + 16 * M - 1, end)];
    }
};

/* Takes away what rows `from`.. may not see of scores against keys `at`... */
template <int M>
static __device__ void hide_keys(results<M, HELD> &s, int from, int at, const row_starts<M> &starts)
{
    const lane_place lane;
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int n = 0; n < HELD / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int key = at + 8 * n + 2 * lane.t + e % 2;
                const int row = from + 16 * i + e / 2 * 8 + lane.g;
                const bool hidden = (key > row) | (key < starts.at[i][e / 2]); /* no branch */
                s.at[i][n][e] = hidden ? -INFINITY : s.at[i][n][e];
            }
}

/* As hide_keys where rows are keys: of scores against queries `at`.., that see keys from start on.
 */
template <int M>
static __device__ void hide_queries(results<M, HELD> &s, int from, int at, const int *start)
{
    const lane_place lane;
#pragma unroll
    for (int n = 0; n < HELD / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int query = at + 8 * n + 2 * lane.t + e % 2, begin = start[query];
#pragma unroll
            for (int i = 0; i < M; i++) {
                const int key = from + 16 * i + e / 2 * 8 + lane.g;
                const bool hidden = (key > query) | (key < begin);
                s.at[i][n][e] = hidden ? -INFINITY : s.at[i][n][e];
            }
        }
}

/* The rows that a warp takes of a piece of ROWS, so that all warps have as much: the further down a
 * row is the more keys it sees. */
template <int D, int M> static __device__ int rows_of_piece(int piece)
{
    constexpr int LAST = WARPS<D, M> - 1;
    const int warp = threadIdx.x / 32;
    return piece * ROWS<D, M> + (piece % 2 ? LAST - warp : warp) * 16 * M;
}

template <int D, int M>
static __global__ void __launch_bounds__(32 * WARPS<D, M>, BLOCKS<D>) forward(attention<bf16> a)
{
    const head_place at(a);
    const lane_place lane;
    const float scale = a.scale * LOG2E;
    const held_rows<D, M> held(a, at.row, a.k, a.v, at.kv_col);
    approach(a.q, at.row, at.col, a.tokens, a.size);
    await_rows();
    for (int piece = 0; piece < held.pieces; piece++) {
        const int from = rows_of_piece<D, M>(piece);
        if (from >= a.tokens) continue;
        own_rows<D, M> q;
        results<M, D> sum;
        const row_starts<M> starts(a, at.row, from);
        float top[M][2], total[M][2] = {};
        q.read(a.q, at.row, at.col, from, a.tokens, a.size);
        sum.clear();
        for (int i = 0; i < 2 * M; i++)
            top[i / 2][i % 2] = -INFINITY;
        for (int key = starts.first / HELD * HELD; key < from + 16 * M; key += HELD) {
            results<M, HELD> s;
            uint32_t p[M][HELD / 16][4];
            against_rows(s, q, held.first, key);
            if (key + HELD > from || key < starts.last) hide_keys(s, from, key, starts);
#pragma unroll
            for (int i = 0; i < M; i++)
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    float most = top[i][h];
#pragma unroll
                    for (int n = 0; n < HELD / 8; n++)
                        most = fmaxf(most, fmaxf(s.at[i][n][2 * h], s.at[i][n][2 * h + 1]));
                    most = lanes_max(most);
                    const float base = most == -INFINITY ? 0 : most * scale; /* none seen yet */
                    const float factor = power(top[i][h] * scale - base);
                    top[i][h] = most;
                    total[i][h] *= factor;
#pragma unroll
                    for (int n = 0; n < D / 8; n++) {
                        sum.at[i][n][2 * h] *= factor;
                        sum.at[i][n][2 * h + 1] *= factor;
                    }
#pragma unroll
                    for (int n = 0; n < HELD / 8; n++)
#pragma unroll
                        for (int e = 2 * h; e < 2 * h + 2; e++) {
                            s.at[i][n][e] = power(s.at[i][n][e] * scale - base);
                            total[i][h] += s.at[i][n][e];
                        }
                }
            as_factor(p, s);
            add_rows(sum, p, held.second, key);
        }
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int row = from + 16 * i + 8 * h + lane.g;
                total[i][h] = lanes_sum(total[i][h]);
                if (lane.t == 0 && row < a.tokens)
                    a.lse[(at.sequence * a.heads + at.head) * a.lse_stride + row] =
                        top[i][h] * a.scale + logf(total[i][h]);
                total[i][h] = 1 / total[i][h];
            }
        sum.write(a.o, at.row, at.col, from, a.tokens, a.size, total);
    }
}

/* dQ, a warp 16 M rows of it: with P = exp(scores - lse), dP = dO V^T and delta the sum of dO O,
 * dQ = scale P (dP - delta) K. Writes delta, for the kernel behind. */
template <int D, int M>
static __global__ void __launch_bounds__(32 * WARPS<D, M>, BLOCKS<D>)
    backward_queries(attention<bf16> a)
{
    const head_place at(a);
    const lane_place lane;
    const float scale = a.scale * LOG2E;
    const held_rows<D, M> held(a, at.row, a.k, a.v, at.kv_col);
    approach(a.q, at.row, at.col, a.tokens, a.size);
    approach(a.o, at.row, at.col, a.tokens, a.size);
    approach(a.d_o, at.row, at.col, a.tokens, a.size);
    await_rows();
    for (int piece = 0; piece < held.pieces; piece++) {
        const int from = rows_of_piece<D, M>(piece);
        if (from >= a.tokens) continue;
        own_rows<D, M> q, d_o;
        results<M, D> sum;
        const row_starts<M> starts(a, at.row, from);
        float lse[M][2], delta[M][2] = {}, factor[M][2];
        d_o.read(a.d_o, at.row, at.col, from, a.tokens, a.size);
        q.read(a.o, at.row, at.col, from, a.tokens, a.size); /* o, for a moment */
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int row = from + 16 * i + 8 * h + lane.g;
#pragma unroll
                for (int c = 0; c < D / 16; c++)
#pragma unroll
                    for (int e = h; e < 4; e += 2) {
                        const uint32_t x = d_o.at[i][c][e], y = q.at[i][c][e];
                        delta[i][h] += __uint_as_float(x << 16) * __uint_as_float(y << 16);
                        delta[i][h] +=
                            __uint_as_float(x & 0xffff0000u) * __uint_as_float(y & 0xffff0000u);
                    }
                delta[i][h] = lanes_sum(delta[i][h]);
                lse[i][h] = row < a.tokens ? at.lse(a)[row] * LOG2E : INFINITY;
                if (lane.t == 0 && row < a.tokens) at.delta(a)[row] = delta[i][h];
                factor[i][h] = a.scale;
            }
        q.read(a.q, at.row, at.col, from, a.tokens, a.size);
        sum.clear();
        for (int key = starts.first / HELD * HELD; key < from + 16 * M; key += HELD) {
            results<M, HELD> p, ds;
            uint32_t weights[M][HELD / 16][4];
            against_rows(p, q, held.first, key);
            against_rows(ds, d_o, held.second, key);
            if (key + HELD > from || key < starts.last) hide_keys(p, from, key, starts);
#pragma unroll
            for (int i = 0; i < M; i++)
#pragma unroll
                for (int n = 0; n < HELD / 8; n++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        ds.at[i][n][e] = power(p.at[i][n][e] * scale - lse[i][e / 2]) *
                                         (ds.at[i][n][e] - delta[i][e / 2]);
            as_factor(weights, ds);
            add_rows(sum, weights, held.first, key);
        }
        sum.write(a.d_q, at.row, at.col, from, a.tokens, a.size, factor);
    }
}

/* dK and dV, a warp 16 M rows of them, by the transposed of all: dV = P^T dO,
 * dK = scale (P (dP - delta))^T Q. Heads do not share keys. */
template <int D, int M>
static __global__ void __launch_bounds__(32 * WARPS<D, M>, BLOCKS<D>)
    backward_keys(attention<bf16> a)
{
    __shared__ __align__(8) float lse[MOST_TOKENS], delta[MOST_TOKENS];
    __shared__ int start[MOST_TOKENS];
    const head_place at(a);
    const lane_place lane;
    const float scale = a.scale * LOG2E;
    const held_rows<D, M> held(a, at.row, a.q, a.d_o, at.col);
    approach(a.k, at.row, at.col, a.tokens, a.size);
    approach(a.v, at.row, at.col, a.tokens, a.size);
    for (int i = threadIdx.x; i < held.rows; i += 32 * WARPS<D, M>) {
        const bool there = i < a.tokens;
        lse[i] = there ? at.lse(a)[i] * LOG2E : INFINITY; /* then P is 0 */
        delta[i] = there ? at.delta(a)[i] : 0;
        start[i] = a.starts ? a.starts[at.row + min(i, a.tokens - 1)] : 0;
    }
    await_rows();
    for (int piece = 0; piece < held.pieces; piece++) {
        const int from = rows_of_piece<D, M>(piece);
        if (from >= a.tokens) continue;
        own_rows<D, M> k, v;
        results<M, D> d_k, d_v;
        float factor[M][2], one[M][2];
        k.read(a.k, at.row, at.col, from, a.tokens, a.size);
        v.read(a.v, at.row, at.col, from, a.tokens, a.size);
        d_k.clear();
        d_v.clear();
        for (int row = from / HELD * HELD; row < a.tokens; row += HELD) {
            results<M, HELD> p, ds;
            uint32_t weights[M][HELD / 16][4];
            if (start[row] >= from + 16 * M) break; /* segments only start later further on */
            const bool edge = row < from + 16 * M || start[row + HELD - 1] > from;
            against_rows(p, k, held.first, row);
            if (edge) hide_queries(p, from, row, start);
#pragma unroll
            for (int n = 0; n < HELD / 8; n++) {
                const float2 both = *(const float2 *)&lse[row + 8 * n + 2 * lane.t];
#pragma unroll
                for (int i = 0; i < M; i++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        p.at[i][n][e] = power(p.at[i][n][e] * scale - (e % 2 ? both.y : both.x));
            }
            as_factor(weights, p);
            add_rows(d_v, weights, held.second, row);
            against_rows(ds, v, held.second, row);
#pragma unroll
            for (int n = 0; n < HELD / 8; n++) {
                const float2 both = *(const float2 *)&delta[row + 8 * n + 2 * lane.t];
#pragma unroll
                for (int i = 0; i < M; i++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        ds.at[i][n][e] =
                            p.at[i][n][e] * (ds.at[i][n][e] - (e % 2 ? both.y : both.x));
            }
            as_factor(weights, ds);
            add_rows(d_k, weights, held.first, row);
        }
        for (int i = 0; i < 2 * M; i++) {
            factor[i / 2][i % 2] = a.scale;
            one[i / 2][i % 2] = 1;
        }
        d_k.write(a.d_k, at.row, at.col, from, a.tokens, a.size, factor);
        d_v.write(a.d_v, at.row, at.col, from, a.tokens, a.size, one);
    }
}

template <int D, int M>
static void launch(mr_backend *be, void (*kernel)(attention<bf16>), int64_t heads,
                   const attention<bf16> &a)
{
    const int shared = held_rows<D, M>::pieces_of(a.tokens) * ROWS<D, M> * D * 2 * 2;
    mr_cuda_note(be,
                 cudaFuncSetAttribute((const void *)kernel,
                                      cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
                 "attention");
    mr_cuda_note(be,
                 cudaFuncSetAttribute((const void *)kernel,
                                      cudaFuncAttributePreferredSharedMemoryCarveout,
                                      cudaSharedmemCarveoutMaxShared),
                 "attention");
    kernel<<<(unsigned)heads, 32 * WARPS<D, M>, (size_t)shared, mr_cuda_of(be)->stream>>>(a);
}

/* Rows of a warp are what was fastest on an H200 for 16 heads of 48, or 32 of 64, and 512 tokens.
 */
template <int D> static void attend(mr_backend *be, const mr_attention_args *args, bool backward)
{
    constexpr int FORWARD = 1, QUERIES = D <= 48 ? 1 : 2, KEYS = 2;
    const int64_t heads = args->shape.batch * args->shape.heads;
    attention<bf16> a(args);
    if (!backward) {
        launch<D, FORWARD>(be, forward<D, FORWARD>, heads, a);
        return;
    }
    a.delta = (float *)mr_cuda_scratch(be, (size_t)(heads * a.tokens) * sizeof *a.delta);
    if (!a.delta) return; /* noted */
    launch<D, QUERIES>(be, backward_queries<D, QUERIES>, heads, a);
    launch<D, KEYS>(be, backward_keys<D, KEYS>, heads, a);
}

bool mr_cuda_attention_short(mr_backend *be, const mr_attention_args *args, bool backward)
{
    const mr_attention_shape *s = &args->shape;
    const bool fits = s->tokens <= MOST_TOKENS && s->head_size <= MOST_SIZE &&
                      s->head_size % 8 == 0 && s->kv_heads == s->heads;
    /* cuDNN takes no segments here, and is slower in one case. */
    const bool wanted = mr_tensor_exists(args->starts) || (backward && mr_device_short(s));
    if (args->q.dtype != MR_BF16 || !fits || !wanted ||
        !all_wide(8,
                  {args->q, args->k, args->v, args->o, args->d_o, args->d_q, args->d_k, args->d_v}))
        return false;
    if (s->head_size <= 32)
        attend<32>(be, args, backward);
    else if (s->head_size <= 48)
        attend<48>(be, args, backward);
    else
        attend<64>(be, args, backward);
    return true;
}
