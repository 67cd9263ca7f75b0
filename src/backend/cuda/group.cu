/* MoRA's maps: groups of positions, and blocks that are turned. Each element of a result is
 * gathered by one thread, position after position, so that no sum depends on who comes first.
 *
 * What stands between the maps and M may be padded: blocks of `side` columns stand `pitch` apart,
 * zeros between. Products are several times faster where rows begin at 16 bytes. */

#include "backend/cuda/kernel.cuh"

/* Runs the body with the most elements N a thread takes at once: a power of two that divides all of
 * `whole`, up to 16 bytes. */
#define MR_BY_PACK(n_, T, N, ...)                                                                  \
    do {                                                                                           \
        if ((n_) * sizeof(T) >= 16) {                                                              \
            constexpr int N = 16 / sizeof(T);                                                      \
            __VA_ARGS__                                                                            \
        } else if ((n_) >= 4) {                                                                    \
            constexpr int N = 4;                                                                   \
            __VA_ARGS__                                                                            \
        } else if ((n_) >= 2) {                                                                    \
            constexpr int N = 2;                                                                   \
            __VA_ARGS__                                                                            \
        } else {                                                                                   \
            constexpr int N = 1;                                                                   \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    } while (0)

/* The largest power of two, 8 at most, that divides all of them, and the places and rows of tensors
 * in elements. */
static int common_pack(std::initializer_list<int64_t> whole,
                       std::initializer_list<mr_tensor> tensors)
{
    int64_t bits = 8;
    for (int64_t value : whole)
        bits |= value;
    for (const mr_tensor &t : tensors) {
        if (!mr_tensor_exists(t)) continue;
        bits |= (int64_t)((uintptr_t)mr_cuda_at(t) / mr_dtype_size(t.dtype));
        if (t.rows > 1) bits |= t.stride;
    }
    return (int)(bits & -bits);
}

/* Whether rows of both are whole packs of 16 bytes that begin at one: then a run of elements from
 * any column on is read by the packs that it lies in. */
static bool rows_wide(mr_tensor y, mr_tensor x)
{
    return all_wide(pack_of(x.dtype), {y, x});
}

/* 16 bytes of a row of n elements from any one on; behind the last stands the first again. */
template <int N, typename T>
static __device__ void load_run(float (&out)[N], const T *row, int at, int n)
{
    const int begin = at / N * N, next = begin + N < n ? begin + N : 0;
    const unsigned bytes = (unsigned)(at - begin) * sizeof(T);
    const uint4 low = *(const uint4 *)(row + begin);
    const uint4 high = bytes ? *(const uint4 *)(row + next) : low;
    uint32_t w[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
    if (bytes & 8)
        for (int i = 0; i < 6; i++)
            w[i] = w[i + 2];
    if (bytes & 4)
        for (int i = 0; i < 5; i++)
            w[i] = w[i + 1];
    pack<T, N> raw;
    uint32_t *words = (uint32_t *)&raw;
    for (int i = 0; i < 4; i++)
        words[i] = sizeof(T) == 2 ? __funnelshift_r(w[i], w[i + 1], bytes & 2 ? 16 : 0) : w[i];
    for (int i = 0; i < N; i++)
        out[i] = to_float(raw.v[i]);
}

/* The map as kernels see it: 32 bits divide faster. */
struct map32 {
    bool contiguous, repeats; /* columns behind a block's are the groups that follow */
    int groups, length, few, larger, side, pitch;
    divider by_groups, by_side, by_pitch;

    __host__ map32(mr_group_map map, mr_cuda_blocks blocks)
        : contiguous(map.contiguous), repeats(blocks.repeats), groups((int)map.groups),
          length((int)map.length), few((int)(map.length / map.groups)),
          larger((int)(map.length % map.groups)), side((int)blocks.side), pitch((int)blocks.pitch),
          by_groups((uint32_t)map.groups), by_side((uint32_t)blocks.side),
          by_pitch((uint32_t)blocks.pitch)
    {
    }
    /* Of a contiguous map: the first position of a group. */
    __device__ int begin(int group) const
    {
        return group * few + (group < larger ? group : larger);
    }
    __device__ int group_of(int t) const
    {
        if (!contiguous) return t % groups;
        int edge = larger * (few + 1);
        return t < edge ? t / (few + 1) : larger + (t - edge) / few;
    }
    /* The column that a group stands in, and the group of a column, -1 between blocks. */
    __device__ int place(int group) const
    {
        return group + (int)by_side.divide((uint32_t)group) * (pitch - side);
    }
    __device__ int at_place(int col) const
    {
        if (side == pitch) return col;
        int in = col % pitch;
        return in < side ? col / pitch * side + in : -1;
    }
};

/* A map in blocks that stand side by side. */
static mr_cuda_blocks together(mr_group_map map)
{
    return mr_cuda_blocks{map.groups, map.groups, false};
}

/* Sums of a strided map where rows are wide: of N groups that follow one another, positions do too,
 * and at the end of a row begin anew. */
template <typename T> static void sum_runs(mr_backend *be, mr_tensor y, mr_tensor x, const map32 m)
{
    constexpr int N = 16 / sizeof(T);
    const int n = (int)x.cols;
    matrix<T> to(y), from(x);
    each<N>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
        const int block = (int)m.by_pitch.divide((uint32_t)col), in = (int)col - block * m.pitch;
        float sum[N] = {}, v[N];
        for (int t = block * m.side + in; t < m.length; t += m.groups) {
            const int at = t < n ? t : t % n;
            load_run<N>(v, from.at(row, 0), at, n);
            for (int i = 0; i < N; i++)
                sum[i] += t + i < m.length ? v[i] : 0.0f;
        }
        for (int i = 0; i < N; i++)
            if (in + i >= m.side) sum[i] = 0;
        store<N>(to.at(row, col), sum);
    });
}

void mr_cuda_sum(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map, mr_cuda_blocks blocks)
{
    const map32 m(map, blocks);
    const int n = (int)x.cols;
    int pack = common_pack({map.groups, map.length, n, blocks.side, blocks.pitch, y.cols}, {y, x});
    if (!map.contiguous && blocks.pitch % pack_of(x.dtype) == 0 && rows_wide(y, x)) {
        MR_BY_TYPE(x.dtype, T, { sum_runs<T>(be, y, x, m); });
        return;
    }
    if (map.contiguous) pack = 1;
    MR_BY_TYPE(x.dtype, T, {
        MR_BY_PACK(pack, T, N, {
            matrix<T> to(y), from(x);
            each<N>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
                int group = m.at_place((int)col);
                float sum[N] = {}, v[N];
                if (group >= 0 && m.contiguous) {
                    for (int t = m.begin(group); t < m.begin(group + 1); t++)
                        sum[0] += to_float(*from.at(row, t));
                } else if (group >= 0) {
                    for (int t = group; t < m.length; t += m.groups) {
                        load<N>(v, from.at(row, t < n ? t : t % n));
                        for (int i = 0; i < N; i++)
                            sum[i] += v[i];
                    }
                }
                store<N>(to.at(row, col), sum);
            });
        });
    });
}

/* N groups from one on, whose columns may end with a block's before: the others stand where the
 * next block begins, or the first one. */
template <int N, typename T>
static __device__ void load_groups(float (&out)[N], const T *row, const map32 &m, int group, int n)
{
    const int block = (int)m.by_side.divide((uint32_t)group), in = group - block * m.side;
    const int first = block * m.pitch + in, left = m.side - in;
    if (left >= N || m.repeats) {
        load_run<N>(out, row, first, n);
        return;
    }
    const int second = group + left < m.groups ? (block + 1) * m.pitch : 0;
#pragma unroll
    for (int i = 0; i < N; i++)
        out[i] = to_float(row[i < left ? first + i : second + i - left]);
}

/* As sum_runs. Blocks are not shorter than a pack. */
template <typename T>
static void spread_runs(mr_backend *be, mr_tensor y, mr_tensor x, const map32 m, bool adds)
{
    constexpr int N = 16 / sizeof(T);
    const int n = (int)y.cols, wide = (int)x.cols;
    matrix<T> to(y), from(x);
    each<N>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
        float sum[N] = {}, v[N];
        if (adds) load<N>(sum, to.at(row, col));
        for (int t = (int)col; t < m.length; t += n) {
            const int group = t - (int)m.by_groups.divide((uint32_t)t) * m.groups;
            load_groups<N>(v, from.at(row, 0), m, group, wide);
            for (int i = 0; i < N; i++)
                sum[i] += t + i < m.length ? v[i] : 0.0f;
        }
        store<N>(to.at(row, col), sum);
    });
}

void mr_cuda_spread(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map,
                    mr_cuda_blocks blocks, bool adds)
{
    const map32 m(map, blocks);
    const int n = (int)y.cols;
    int64_t reached = map.length < y.cols && adds ? map.length : y.cols;
    int pack = common_pack({map.groups, map.length, n, blocks.side, blocks.pitch}, {y, x});
    if (!map.contiguous && blocks.side >= pack_of(x.dtype) && rows_wide(y, x)) {
        MR_BY_TYPE(y.dtype, T, { spread_runs<T>(be, y, x, m, adds); });
        return;
    }
    if (map.contiguous) pack = 1;
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_PACK(pack, T, N, {
            matrix<T> to(y), from(x);
            each<N>(be, y.rows, reached, [=] __device__(int64_t row, int64_t col) {
                float sum[N] = {}, v[N];
                if (adds) load<N>(sum, to.at(row, col));
                for (int t = (int)col; t < m.length; t += n) {
                    load<N>(v, from.at(row, m.place(m.group_of(t))));
                    for (int i = 0; i < N; i++)
                        sum[i] += v[i];
                }
                store<N>(to.at(row, col), sum);
            });
        });
    });
}

void mr_cuda_group_sum(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map)
{
    mr_cuda_sum(be, y, x, map, together(map));
}

void mr_cuda_group_spread(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map)
{
    mr_cuda_spread(be, y, x, map, together(map), true);
}

template <typename T, typename S>
static void group_rows(mr_backend *be, mr_tensor y, mr_tensor m, mr_group_map map, int64_t first)
{
    const map32 groups(map, together(map));
    const int side = (int)m.cols;
    matrix<T> to(y);
    matrix<S> from(m);
    each<1>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
        float value = 0;
        if (first + row < groups.length) {
            int group = groups.group_of((int)(first + row)), begin = group / side * side;
            if (col >= begin && col < begin + side)
                value = to_float(*from.at(group % side, col - begin));
        }
        *to.at(row, col) = from_float<T>(value);
    });
}

void mr_cuda_group_rows(mr_backend *be, mr_tensor y, mr_tensor m, mr_group_map map, int64_t first)
{
    MR_BY_TYPE(y.dtype, T,
               { MR_BY_TYPE(m.dtype, S, { group_rows<T, S>(be, y, m, map, first); }); });
}

/* Elements of x at a place of its blocks, turned by the block's angles (sign -1: back) with those
 * of the other half. */
template <int N, typename T, class Place>
static __device__ void turned(float (&v)[N], matrix<T> x, int64_t row, int in, int half,
                              Place place, const float *cosine, const float *sine, float sign)
{
    float other[N], c[N], s[N];
    const int pair = in < half ? in : in - half;
    load<N>(v, x.at(row, place(in)));
    load<N>(other, x.at(row, place(in < half ? in + half : in - half)));
    load<N>(c, cosine + pair);
    load<N>(s, sine + pair);
    for (int i = 0; i < N; i++)
        v[i] = v[i] * c[i] - (in < half ? other[i] : -other[i]) * sign * s[i];
}

/* How a thread takes blocks of `width` columns, turned in halves. */
static int block_pack(int64_t n, int64_t width, bool rotate, mr_tensor y, mr_tensor x,
                      mr_tensor cosine, mr_tensor sine)
{
    return common_pack({n, width, rotate ? width / 2 : 0}, {y, x, cosine, sine});
}

void mr_cuda_block_rotate(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width, bool rotate,
                          mr_tensor cosine, mr_tensor sine)
{
    const int n = (int)x.cols, side = (int)width, half = side / 2;
    const int pack = block_pack(n, width, rotate, y, x, cosine, sine);
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_PACK(pack, T, N, {
            matrix<T> to(y), from(x);
            matrix<float> cosines(cosine), sines(sine);
            each<N>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
                float v[N];
                int block = (int)col / side, in = (int)col % side;
                auto place = [=](int c) { return (block * side + c) % n; };
                if (rotate)
                    turned<N>(v, from, row, in, half, place, cosines.at(block, 0),
                              sines.at(block, 0), 1.0f);
                else
                    load<N>(v, from.at(row, place(in)));
                store<N>(to.at(row, col), v);
            });
        });
    });
}

void mr_cuda_block_rotate_adjoint(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width,
                                  bool rotate, mr_tensor cosine, mr_tensor sine)
{
    const int n = (int)y.cols, side = (int)width, half = side / 2, length = (int)x.cols;
    const int pack = block_pack(n, width, rotate, y, x, cosine, sine);
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_PACK(pack, T, N, {
            matrix<T> to(y), from(x);
            matrix<float> cosines(cosine), sines(sine);
            each<N>(be, y.rows, n, [=] __device__(int64_t row, int64_t col) {
                float sum[N], v[N];
                load<N>(sum, to.at(row, col));
                for (int t = (int)col; t < length; t += n) {
                    int block = t / side, in = t % side;
                    auto place = [=](int c) { return block * side + c; };
                    if (rotate)
                        turned<N>(v, from, row, in, half, place, cosines.at(block, 0),
                                  sines.at(block, 0), -1.0f);
                    else
                        load<N>(v, from.at(row, place(in)));
                    for (int i = 0; i < N; i++)
                        sum[i] += v[i];
                }
                store<N>(to.at(row, col), sum);
            });
        });
    });
}

/* Matrices as they are, in packs that are written whole: their rows may begin anywhere. */
static void place(mr_backend *be, mr_tensor y, mr_tensor m)
{
    const int side = (int)m.cols, pitch = (int)y.cols;
    const bool repeats = pitch - side >= pack_of(y.dtype) - 1;
    const divider by_pitch((uint32_t)pitch);
    MR_BY_TYPE(y.dtype, T, {
        constexpr int N = 16 / sizeof(T);
        matrix<T> to(y), from(m);
        each<N>(be, y.rows, y.cols, [=] __device__(int64_t at, int64_t place) {
            const int matrix = (int)by_pitch.divide((uint32_t)at), row = (int)at - matrix * pitch;
            const int64_t line = (int64_t)matrix * side + (row < side ? row : row % side);
            pack<T, N> out = {};
            for (int i = 0; i < N; i++) {
                const int col = (int)place + i;
                if (repeats || (row < side && col < side))
                    out.v[i] = *from.at(line, col < side ? col : col % side);
            }
            *(pack<T, N> *)to.at(at, place) = out;
        });
    });
}

void mr_cuda_turn(mr_backend *be, mr_tensor y, mr_tensor m, int blocks, bool rotate,
                  mr_tensor cosine, mr_tensor sine)
{
    const int side = (int)m.cols, pitch = (int)y.cols, half = side / 2;
    const divider by_pitch((uint32_t)pitch), by_blocks((uint32_t)blocks);
    if (blocks == 1 && !rotate) {
        place(be, y, m);
        return;
    }
    const int pack = common_pack({side, pitch, rotate ? half : 0}, {y, m, cosine, sine});
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_PACK(pack, T, N, {
            matrix<T> to(y), from(m);
            matrix<float> cosines(cosine), sines(sine);
            each<N>(be, y.rows, y.cols, [=] __device__(int64_t at, int64_t place) {
                const int which = (int)by_pitch.divide((uint32_t)at), col = (int)place;
                const int matrix = (int)by_blocks.divide((uint32_t)which);
                const int row = (int)at - which * pitch, block = which - matrix * blocks;
                const int64_t line = (int64_t)matrix * side + row;
                float v[N] = {};
                if (row < side && col < side && rotate)
                    turned<N>(
                        v, from, line, col, half, [](int c) { return c; }, cosines.at(block, 0),
                        sines.at(block, 0), -1.0f);
                else if (row < side && col < side)
                    load<N>(v, from.at(line, col));
                store<N>(to.at(at, place), v);
            });
        });
    });
}

void mr_cuda_turn_back(mr_backend *be, mr_tensor d_m, mr_tensor p, int blocks, bool rotate,
                       mr_tensor cosine, mr_tensor sine)
{
    const int pitch = (int)p.cols, half = (int)d_m.cols / 2;
    matrix<float> to(d_m), from(p), cosines(cosine), sines(sine);
    if (blocks == 1 && !rotate && common_pack({d_m.cols}, {d_m, p}) > 1) {
        each<2>(be, d_m.rows, d_m.cols, [=] __device__(int64_t row, int64_t col) {
            *(float2 *)to.at(row, col) = *(const float2 *)from.at(row, col);
        });
        return;
    }
    each<1>(be, d_m.rows, d_m.cols, [=] __device__(int64_t row, int64_t place) {
        const int col = (int)place;
        const bool low = col < half;
        const int pair = low ? col : col - half;
        float sum = 0;
        for (int b = 0; b < blocks; b++) {
            const int64_t line = (int64_t)b * pitch + row;
            float value = *from.at(line, col);
            if (rotate) {
                const float other = *from.at(line, low ? col + half : pair);
                value = value * *cosines.at(b, pair) - (low ? other : -other) * *sines.at(b, pair);
            }
            sum += value;
        }
        *to.at(row, col) = sum;
    });
}
