/* Attention of new tokens against cached keys and values. In BF16 a block takes a tile of new
 * tokens of one sequence and head on the tensor cores, or, where a sequence has one new token, that
 * one by all its lanes; what these do not take goes token by token. */

#include "backend/cuda/mma.cuh"

template <typename T> struct cached {
    matrix<T> q, k, v, o;
    const int32_t *offsets, *lengths, *pages;
    int64_t pages_stride;
    int sequences, group, size;
    float scale;

    __host__ cached(const mr_cached_attention_args *a)
        : q(a->q), k(a->k), v(a->v), o(a->o), offsets((const int32_t *)mr_cuda_at(a->offsets)),
          lengths((const int32_t *)mr_cuda_at(a->lengths)),
          pages((const int32_t *)mr_cuda_at(a->pages)), pages_stride(a->pages.stride),
          sequences((int)a->shape.batch), group((int)(a->shape.heads / a->shape.kv_heads)),
          size((int)a->shape.head_size), scale(1.0f / sqrtf((float)a->shape.head_size))
    {
    }
    __device__ int fresh(int sequence) const
    {
        return offsets[sequence + 1] - offsets[sequence];
    }
    /* The row of the cache that a position of a sequence stands in. */
    __device__ int64_t place(int sequence, int at) const
    {
        const int32_t page = pages[sequence * pages_stride + at / MR_CACHE_PAGE];
        return (int64_t)page * MR_CACHE_PAGE + at % MR_CACHE_PAGE;
    }
};

/* Token by token. */
enum { CACHED_THREADS = 128, CACHED_KEYS = 128, CACHED_COLS = 2 };

template <typename T> static __global__ void each_token(cached<T> a)
{
    __shared__ float q[256], p[CACHED_KEYS];
    const int row = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int64_t col = (int64_t)blockIdx.y * a.size;
    const int64_t kv_col = (int64_t)(blockIdx.y / a.group) * a.size;
    int low = 0, high = a.sequences; /* the sequence whose rows have this one */
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (a.offsets[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    if (row >= a.offsets[low + 1]) return;
    const int seen = a.lengths[low] - (a.offsets[low + 1] - row) + 1;
    for (int c = threadIdx.x; c < a.size; c += CACHED_THREADS)
        q[c] = to_float(*a.q.at(row, col + c));
    float sum[CACHED_COLS] = {}, top = -INFINITY, total = 0;
    for (int from = 0; from < seen; from += CACHED_KEYS) {
        const int keys = min((int)CACHED_KEYS, seen - from);
        __syncthreads();
        for (int i = warp; i < keys; i += CACHED_THREADS / 32) {
            int at = from + i;
            int64_t there = a.place(low, at);
            float part = 0;
            for (int c = lane; c < a.size; c += 32)
                part += q[c] * to_float(*a.k.at(there, kv_col + c));
            part = warp_sum(part);
            if (lane == 0) p[i] = part * a.scale;
        }
        __syncthreads();
        float score = (int)threadIdx.x < keys ? p[threadIdx.x] : -INFINITY;
        float most = fmaxf(top, block_max(score));
        float e = expf(score - most), factor = expf(top - most);
        __syncthreads();
        if ((int)threadIdx.x < keys) p[threadIdx.x] = e;
        total = total * factor + block_sum(e);
        top = most;
        for (int k = 0; k < CACHED_COLS; k++) {
            int c = threadIdx.x + k * CACHED_THREADS;
            if (c >= a.size) break;
            sum[k] *= factor;
            for (int i = 0; i < keys; i++) {
                int at = from + i;
                int64_t there = a.place(low, at);
                sum[k] += p[i] * to_float(*a.v.at(there, kv_col + c));
            }
        }
    }
    for (int k = 0; k < CACHED_COLS; k++) {
        int c = threadIdx.x + k * CACHED_THREADS;
        if (c < a.size) *a.o.at(row, col + c) = from_float<T>(sum[k] / total);
    }
}

/* One new token of a sequence: LANES lanes have 8 columns each of a key, and groups of such take
 * keys in turn, each with sums of its own, which are brought together in their order. */
enum { ONE_THREADS = 128, ONE_AHEAD = 4 };

static __device__ void unpack(float (&out)[8], uint4 raw)
{
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        out[2 * i] = __uint_as_float(words[i] << 16);
        out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
}

template <int LANES> static __global__ void __launch_bounds__(ONE_THREADS) one_token(cached<bf16> a)
{
    constexpr int GROUPS = ONE_THREADS / LANES;
    __shared__ float tops[GROUPS], totals[GROUPS], sums[GROUPS][8 * LANES];
    const int sequence = blockIdx.x, group = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    if (a.fresh(sequence) != 1) return;
    const int64_t row = a.offsets[sequence], col = (int64_t)blockIdx.y * a.size + 8 * lane;
    const int64_t kv_col = (int64_t)(blockIdx.y / a.group) * a.size + 8 * lane;
    const int length = a.lengths[sequence];
    const bool has = 8 * lane < a.size;
    float q[8] = {}, sum[8] = {}, top = -INFINITY, total = 0;
    if (has) load<8>(q, a.q.at(row, col));
    for (int i = 0; i < 8; i++)
        q[i] *= a.scale;
    for (int from = group; from - group < length; from += GROUPS * ONE_AHEAD) {
        uint4 keys[ONE_AHEAD], values[ONE_AHEAD];
        float score[ONE_AHEAD], most = top;
#pragma unroll
        for (int j = 0; j < ONE_AHEAD; j++) {
            const int at = from + j * GROUPS;
            const bool there = at < length && has;
            const int64_t place = there ? a.place(sequence, at) : 0;
            keys[j] = there ? *(const uint4 *)a.k.at(place, kv_col) : uint4{};
            values[j] = there ? *(const uint4 *)a.v.at(place, kv_col) : uint4{};
        }
#pragma unroll
        for (int j = 0; j < ONE_AHEAD; j++) {
            float k[8], part = 0;
            unpack(k, keys[j]);
            for (int i = 0; i < 8; i++)
                part += q[i] * k[i];
#pragma unroll
            for (int step = LANES / 2; step > 0; step /= 2)
                part += __shfl_xor_sync(0xffffffffu, part, step);
            score[j] = from + j * GROUPS < length ? part : -INFINITY;
            most = fmaxf(most, score[j]);
        }
        const float base = most == -INFINITY ? 0 : most; /* there was none for this group yet */
        const float factor = expf(top - base);
        top = most;
        total *= factor;
        for (int i = 0; i < 8; i++)
            sum[i] *= factor;
#pragma unroll
        for (int j = 0; j < ONE_AHEAD; j++) {
            const float e = expf(score[j] - base);
            float v[8];
            unpack(v, values[j]);
            total += e;
            for (int i = 0; i < 8; i++)
                sum[i] += e * v[i];
        }
    }
    if (lane == 0) {
        tops[group] = top;
        totals[group] = total;
    }
    for (int i = 0; i < 8; i++)
        sums[group][8 * lane + i] = sum[i];
    __syncthreads();
    float most = -INFINITY, all = 0, out = 0;
    for (int i = 0; i < GROUPS; i++)
        most = fmaxf(most, tops[i]);
    for (int c = threadIdx.x; c < a.size; c += ONE_THREADS) {
        all = out = 0;
        for (int i = 0; i < GROUPS; i++) {
            const float weight = expf(tops[i] - most);
            all += weight * totals[i];
            out += weight * sums[i][c];
        }
        *a.o.at(row, (int64_t)blockIdx.y * a.size + c) = from_float<bf16>(out / all);
    }
}

/* A tile of new tokens: a warp has 16 of them, and all see tiles of keys in shared memory, two of
 * which are on their way. Rows do not meet, and keys behind a row's own change no bit of it. */
enum { TILE = 64, TILE_WARPS = TILE / 16 };

/* Where 16 bytes of a tile's row stand: shifted row by row, so that 8 rows meet in no bank. */
template <int D> static __device__ uint32_t tile_at(uint32_t tile, int row, int pack)
{
    return tile + (uint32_t)(row * D * 2 + ((pack ^ (row & 7)) * 16));
}

/* Starts fetching a tile of keys or values; zeros behind the sequence's end. */
template <int D>
static __device__ void fetch(const cached<bf16> &a, uint32_t tile, matrix<bf16> from, int64_t col,
                             int sequence, int first, int length)
{
    for (int i = threadIdx.x; i < TILE * (D / 8); i += 32 * TILE_WARPS) {
        const int row = i / (D / 8), pack = i % (D / 8), at = first + row;
        const bool there = at < length && 8 * pack < a.size;
        const bf16 *data = from.at(there ? a.place(sequence, at) : 0, there ? col + 8 * pack : 0);
        fetch_pack(tile_at<D>(tile, row, pack), data, there);
    }
}

/* The sequence and the first of its new tokens that this block has: sequences with more than one
 * have tiles, in their order. */
static __device__ bool find_tile(const cached<bf16> &a, int &sequence, int &first)
{
    const int lane = threadIdx.x % 32;
    int before = 0;
    for (int s = 0; s < a.sequences; s += 32) {
        const int fresh = s + lane < a.sequences ? a.fresh(s + lane) : 0;
        const int own = fresh > 1 ? (fresh + TILE - 1) / TILE : 0;
        int through = own;
#pragma unroll
        for (int step = 1; step < 32; step *= 2) {
            const int other = __shfl_up_sync(0xffffffffu, through, step);
            if (lane >= step) through += other;
        }
        const int tile = (int)blockIdx.x - before;
        const unsigned found = __ballot_sync(0xffffffffu, tile < through);
        if (found) {
            const int which = __ffs((int)found) - 1;
            sequence = s + which;
            first = (tile - __shfl_sync(0xffffffffu, through - own, which)) * TILE;
            return true;
        }
        before += __shfl_sync(0xffffffffu, through, 31);
    }
    return false;
}

template <int D>
static __global__ void __launch_bounds__(32 * TILE_WARPS) tiles_of_tokens(cached<bf16> a)
{
    constexpr uint32_t BYTES = TILE * D * 2; /* of a tile */
    extern __shared__ __align__(128) unsigned char room[];
    const uint32_t memory = (uint32_t)__cvta_generic_to_shared(room);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int sequence, first;
    if (!find_tile(a, sequence, first)) return;
    const int length = a.lengths[sequence], fresh = a.fresh(sequence);
    const int64_t col = (int64_t)blockIdx.y * a.size;
    const int64_t kv_col = (int64_t)(blockIdx.y / a.group) * a.size;
    const int64_t row0 = (int64_t)a.offsets[sequence];
    const int last = min(first + TILE, fresh) - 1; /* of the tile's new tokens */
    const int tiles = (length - fresh + last) / TILE + 1;
    const int own[2] = {first + 16 * warp + g, first + 16 * warp + g + 8};
    int limit[2]; /* the last position that a row sees */
    for (int i = 0; i < 2; i++)
        limit[i] = length - fresh + min(own[i], last);
    fetch<D>(a, memory, a.k, kv_col, sequence, 0, length);
    fetch<D>(a, memory + BYTES, a.v, kv_col, sequence, 0, length);
    asm volatile("cp.async.commit_group;" ::: "memory");
    uint32_t q[D / 16][4];
#pragma unroll
    for (int s = 0; s < D / 16; s++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int c = 16 * s + i / 2 * 8 + 2 * t;
            q[s][i] = own[i % 2] <= last && c < a.size
                          ? *(const uint32_t *)a.q.at(row0 + own[i % 2], col + c)
                          : 0;
        }
    const float scale = a.scale * 1.44269504f; /* powers of 2 */
    float sum[D / 8][4] = {}, top[2] = {-INFINITY, -INFINITY}, total[2] = {};
    for (int tile = 0; tile < tiles; tile++) {
        const uint32_t here = memory + (uint32_t)(tile % 2) * 2 * BYTES;
        if (tile + 1 < tiles) {
            const uint32_t next = memory + (uint32_t)((tile + 1) % 2) * 2 * BYTES;
            fetch<D>(a, next, a.k, kv_col, sequence, (tile + 1) * TILE, length);
            fetch<D>(a, next + BYTES, a.v, kv_col, sequence, (tile + 1) * TILE, length);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        __syncthreads();
        float s[TILE / 8][4] = {};
#pragma unroll
        for (int c = 0; c < D / 32; c++)
#pragma unroll
            for (int n = 0; n < TILE / 8; n++) {
                uint32_t k[4];
                read_squares(k, tile_at<D>(here, 8 * n + lane % 8, 4 * c + lane / 8));
                multiply(s[n], q[2 * c], k[0], k[1]);
                multiply(s[n], q[2 * c + 1], k[2], k[3]);
            }
        float most[2] = {top[0], top[1]};
#pragma unroll
        for (int n = 0; n < TILE / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int at = tile * TILE + 8 * n + 2 * t + e % 2;
                s[n][e] = at <= limit[e / 2] ? s[n][e] * scale : -INFINITY;
                most[e / 2] = fmaxf(most[e / 2], s[n][e]);
            }
        float factor[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            most[i] = fmaxf(most[i], __shfl_xor_sync(0xffffffffu, most[i], 1));
            most[i] = fmaxf(most[i], __shfl_xor_sync(0xffffffffu, most[i], 2));
            factor[i] = exp2f(top[i] - most[i]);
            top[i] = most[i];
            total[i] *= factor[i];
        }
#pragma unroll
        for (int c = 0; c < D / 8; c++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                sum[c][e] *= factor[e / 2];
#pragma unroll
        for (int n = 0; n < TILE / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                s[n][e] = exp2f(s[n][e] - top[e / 2]);
                total[e / 2] += s[n][e];
            }
#pragma unroll
        for (int n = 0; n < TILE / 16; n++) {
            const uint32_t p[4] = {pair_of(s[2 * n][0], s[2 * n][1]),
                                   pair_of(s[2 * n][2], s[2 * n][3]),
                                   pair_of(s[2 * n + 1][0], s[2 * n + 1][1]),
                                   pair_of(s[2 * n + 1][2], s[2 * n + 1][3])};
#pragma unroll
            for (int c = 0; c < D / 16; c++) {
                uint32_t v[4];
                read_squares_turned(
                    v, tile_at<D>(here + BYTES, 16 * n + lane % 16, 2 * c + lane / 16));
                multiply(sum[2 * c], p, v[0], v[1]);
                multiply(sum[2 * c + 1], p, v[2], v[3]);
            }
        }
        __syncthreads(); /* the tile is read: the one after the next takes its place */
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        total[i] += __shfl_xor_sync(0xffffffffu, total[i], 1);
        total[i] += __shfl_xor_sync(0xffffffffu, total[i], 2);
        if (own[i] > last) continue;
#pragma unroll
        for (int c = 0; c < D / 8; c++)
            if (8 * c < a.size)
                *(uint32_t *)a.o.at(row0 + own[i], col + 8 * c + 2 * t) =
                    pair_of(sum[c][2 * i] / total[i], sum[c][2 * i + 1] / total[i]);
    }
}

/* In BF16, where heads begin at 16 bytes. @return whether it is so */
static bool attend_tiles(mr_backend *be, const mr_cached_attention_args *args)
{
    const mr_attention_shape *s = &args->shape;
    cudaStream_t stream = mr_cuda_of(be)->stream;
    if (args->q.dtype != MR_BF16 || s->head_size % 8 != 0 || s->head_size > 128 ||
        !all_wide(8, {args->q, args->k, args->v, args->o}))
        return false;
    const cached<bf16> a(args);
    const int64_t rows = args->q.rows, longer = s->batch < rows / 2 ? s->batch : rows / 2;
    const dim3 each((unsigned)s->batch, (unsigned)s->heads);
    const dim3 tiles((unsigned)(rows / TILE + longer), (unsigned)s->heads);
    if (s->head_size <= 64) {
        one_token<8><<<each, ONE_THREADS, 0, stream>>>(a);
        if (tiles.x > 0)
            tiles_of_tokens<64><<<tiles, 32 * TILE_WARPS, 4 * TILE * 64 * 2, stream>>>(a);
        return true;
    }
    const int shared = 4 * TILE * 128 * 2;
    mr_cuda_note(be,
                 cudaFuncSetAttribute(tiles_of_tokens<128>,
                                      cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
                 "attention");
    one_token<16><<<each, ONE_THREADS, 0, stream>>>(a);
    if (tiles.x > 0) tiles_of_tokens<128><<<tiles, 32 * TILE_WARPS, shared, stream>>>(a);
    return true;
}

void mr_cuda_attention_cached(mr_backend *be, const mr_cached_attention_args *args)
{
    if (args->q.rows == 0 || args->shape.batch == 0 || attend_tiles(be, args)) return;
    MR_BY_TYPE(args->q.dtype, T, {
        dim3 grid((unsigned)args->q.rows, (unsigned)args->shape.heads);
        each_token<T><<<grid, CACHED_THREADS, 0, mr_cuda_of(be)->stream>>>(cached<T>(args));
    });
}
