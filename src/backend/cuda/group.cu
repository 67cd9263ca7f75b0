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

/* Whether so many elements are 16 bytes, so that there is no better way to take them. */
static bool is_full(int pack, mr_dtype dtype)
{
    return pack >= pack_of(dtype);
}

/* Whether rows of both, 16 bytes at a time, and one of x in shared memory will do. */
static bool rows_fit(mr_tensor y, mr_tensor x)
{
    const size_t most = 48 << 10;
    return all_wide(pack_of(x.dtype), {y, x}) && (size_t)x.cols * mr_dtype_size(x.dtype) <= most;
}

template <typename T, int N, class F>
static __global__ void row_kernel(matrix<T> y, matrix<T> x, int y_cols, int x_cols, F body)
{
    extern __shared__ uint4 row_memory[];
    pack<T, N> *packs = (pack<T, N> *)row_memory;
    const T *in = (const T *)row_memory;
    const int64_t row = blockIdx.x;
    for (int at = threadIdx.x; at < x_cols / N; at += blockDim.x)
        packs[at] = *(const pack<T, N> *)x.at(row, at * N);
    __syncthreads();
    for (int col = threadIdx.x * N; col < y_cols; col += blockDim.x * N) {
        float v[N];
        body(in, row, col, v);
        store<N>(y.at(row, col), v);
    }
}

/* Runs body(row of x in shared memory, row, col, float (&)[N]), which gives N elements of y. */
template <typename T, int N, class F>
static void each_row(mr_backend *be, mr_tensor y, mr_tensor x, F body)
{
    int64_t packs = (y.cols > x.cols ? y.cols : x.cols) / N, threads = (packs + 31) / 32 * 32;
    if (y.rows == 0) return;
    row_kernel<T, N>
        <<<(unsigned)y.rows, (unsigned)(threads < 256 ? threads : 256), (size_t)x.cols * sizeof(T),
           mr_cuda_of(be)->stream>>>(y, x, (int)y.cols, (int)x.cols, body);
}

/* The map as kernels see it: 32 bits divide faster. */
struct map32 {
    bool contiguous;
    int groups, length, few, larger, side, pitch;

    __host__ map32(mr_group_map map, mr_cuda_blocks blocks)
        : contiguous(map.contiguous), groups((int)map.groups), length((int)map.length),
          few((int)(map.length / map.groups)), larger((int)(map.length % map.groups)),
          side((int)blocks.side), pitch((int)blocks.pitch)
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
        return side == pitch ? group : group / side * pitch + group % side;
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
    return mr_cuda_blocks{map.groups, map.groups};
}

void mr_cuda_sum(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map, mr_cuda_blocks blocks)
{
    const map32 m(map, blocks);
    const int n = (int)x.cols;
    int pack = common_pack({map.groups, map.length, n, blocks.side, blocks.pitch, y.cols}, {y, x});
    if (map.contiguous) pack = 1;
    if (!is_full(pack, x.dtype) && !map.contiguous && blocks.pitch % pack_of(x.dtype) == 0 &&
        rows_fit(y, x)) {
        MR_BY_TYPE(x.dtype, T, {
            constexpr int N = 16 / sizeof(T);
            each_row<T, N>(be, y, x, [=] __device__(const T *in, int64_t, int col, float(&v)[N]) {
                const int block = col / m.pitch, at = col % m.pitch;
                for (int i = 0; i < N; i++) {
                    float sum = 0;
                    if (at + i < m.side)
                        for (int t = block * m.side + at + i; t < m.length; t += m.groups)
                            sum += to_float(in[t < n ? t : t % n]);
                    v[i] = sum;
                }
            });
        });
        return;
    }
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

void mr_cuda_spread(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map,
                    mr_cuda_blocks blocks, bool adds)
{
    const map32 m(map, blocks);
    const int n = (int)y.cols;
    int64_t reached = map.length < y.cols && adds ? map.length : y.cols;
    int pack = common_pack({map.groups, map.length, n, blocks.side, blocks.pitch}, {y, x});
    if (map.contiguous) pack = 1;
    if (!is_full(pack, y.dtype) && !map.contiguous && rows_fit(y, x)) {
        MR_BY_TYPE(y.dtype, T, {
            constexpr int N = 16 / sizeof(T);
            matrix<T> to(y);
            each_row<T, N>(be, y, x,
                           [=] __device__(const T *in, int64_t row, int col, float(&v)[N]) {
                               for (int i = 0; i < N; i++)
                                   v[i] = 0;
                               if (adds) load<N>(v, to.at(row, col));
                               for (int first = col; first < m.length; first += n) {
                                   int group = first % m.groups, at = group % m.side;
                                   int begin = group / m.side * m.pitch;
                                   for (int i = 0; i < N && first + i < m.length; i++) {
                                       v[i] += to_float(in[begin + at]);
                                       if (++at == m.side) {
                                           at = 0;
                                           begin += m.pitch;
                                       }
                                       if (++group == m.groups) group = at = begin = 0;
                                   }
                               }
                           });
        });
        return;
    }
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

void mr_cuda_rotate(mr_backend *be, mr_tensor y, mr_tensor x, mr_cuda_blocks blocks, bool rotate,
                    mr_tensor cosine, mr_tensor sine)
{
    const int n = (int)x.cols, side = (int)blocks.side, pitch = (int)blocks.pitch, half = side / 2;
    int pack = common_pack({n, side, pitch, y.cols, rotate ? half : 0}, {y, x, cosine, sine});
    if (!is_full(pack, y.dtype) && rotate && pitch % pack_of(y.dtype) == 0 && rows_fit(y, x)) {
        MR_BY_TYPE(y.dtype, T, {
            constexpr int N = 16 / sizeof(T);
            matrix<float> cosines(cosine), sines(sine);
            each_row<T, N>(be, y, x, [=] __device__(const T *in, int64_t, int col, float(&v)[N]) {
                const int block = col / pitch, at = col % pitch, begin = block * side;
                for (int i = 0; i < N; i++) {
                    const int c = at + i;
                    v[i] = 0;
                    if (c >= side) continue;
                    const bool low = c < half;
                    const int pair = low ? c : c - half;
                    const int own = begin + c, other = low ? own + half : own - half;
                    float b = to_float(in[other < n ? other : other % n]);
                    v[i] = to_float(in[own < n ? own : own % n]) * *cosines.at(block, pair) -
                           (low ? b : -b) * *sines.at(block, pair);
                }
            });
        });
        return;
    }
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_PACK(pack, T, N, {
            matrix<T> to(y), from(x);
            matrix<float> cosines(cosine), sines(sine);
            each<N>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
                float v[N] = {};
                int block = (int)col / pitch, in = (int)col % pitch;
                auto place = [=](int c) { return (block * side + c) % n; };
                if (in < side && rotate)
                    turned<N>(v, from, row, in, half, place, cosines.at(block, 0),
                              sines.at(block, 0), 1.0f);
                else if (in < side)
                    load<N>(v, from.at(row, place(in)));
                store<N>(to.at(row, col), v);
            });
        });
    });
}

void mr_cuda_rotate_back(mr_backend *be, mr_tensor y, mr_tensor x, mr_cuda_blocks blocks,
                         bool rotate, mr_tensor cosine, mr_tensor sine, bool adds)
{
    const int n = (int)y.cols, side = (int)blocks.side, pitch = (int)blocks.pitch, half = side / 2;
    const int length = (int)(x.cols / pitch) * side;
    int pack = common_pack({n, side, pitch, rotate ? half : 0}, {y, x, cosine, sine});
    if (!is_full(pack, y.dtype) && rotate && rows_fit(y, x)) {
        MR_BY_TYPE(y.dtype, T, {
            constexpr int N = 16 / sizeof(T);
            matrix<T> to(y);
            matrix<float> cosines(cosine), sines(sine);
            each_row<T, N>(be, y, x,
                           [=] __device__(const T *in, int64_t row, int col, float(&v)[N]) {
                               for (int i = 0; i < N; i++)
                                   v[i] = 0;
                               if (adds) load<N>(v, to.at(row, col));
                               for (int first = col; first < length; first += n)
                                   for (int i = 0; i < N && first + i < length; i++) {
                                       const int block = (first + i) / side, c = (first + i) % side;
                                       const bool low = c < half;
                                       const int pair = low ? c : c - half, own = block * pitch + c;
                                       float b = to_float(in[low ? own + half : own - half]);
                                       v[i] += to_float(in[own]) * *cosines.at(block, pair) +
                                               (low ? b : -b) * *sines.at(block, pair);
                                   }
                           });
        });
        return;
    }
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_PACK(pack, T, N, {
            matrix<T> to(y), from(x);
            matrix<float> cosines(cosine), sines(sine);
            each<N>(be, y.rows, n, [=] __device__(int64_t row, int64_t col) {
                float sum[N] = {}, v[N];
                if (adds) load<N>(sum, to.at(row, col));
                for (int t = (int)col; t < length; t += n) {
                    int block = t / side, in = t % side;
                    auto place = [=](int c) { return block * pitch + c; };
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

void mr_cuda_block_rotate(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width, bool rotate,
                          mr_tensor cosine, mr_tensor sine)
{
    mr_cuda_rotate(be, y, x, mr_cuda_blocks{width, width}, rotate, cosine, sine);
}

void mr_cuda_block_rotate_adjoint(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width,
                                  bool rotate, mr_tensor cosine, mr_tensor sine)
{
    mr_cuda_rotate_back(be, y, x, mr_cuda_blocks{width, width}, rotate, cosine, sine, true);
}

void mr_cuda_pad(mr_backend *be, mr_tensor y, mr_tensor m, int64_t side)
{
    const int rows = (int)side, pitch = (int)y.cols, cols = (int)m.cols;
    MR_BY_TYPE(y.dtype, T, {
        matrix<T> to(y), from(m);
        each<1>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
            int block = (int)row / pitch, in = (int)row % pitch;
            bool there = in < rows && col < cols;
            *to.at(row, col) = there ? *from.at(block * rows + in, col) : from_float<T>(0);
        });
    });
}
