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

/* What a thread takes: 16 bytes of AHEAD rows of one of some matrices, as packs of N elements, of
 * which those that lie side by side belong to the lanes of a warp. Where its columns come from is
 * found once for all rows, and as many loads are under way. */
enum { AHEAD = 4 };

template <int N, typename T> struct packs {
    enum { ALL = 16 / sizeof(T), COUNT = ALL / N };
    int which, first_row, rows, first_col;

    __device__ int col(int k) const
    {
        return first_col + 32 * N * k;
    }
};

/* Matrices of linears that are mapped alike. */
template <typename T> struct matrices {
    T *data[MR_SITE_LINEARS];
    uint32_t stride[MR_SITE_LINEARS]; /* bytes */

    __host__ matrices(int count, const mr_tensor *t) : data(), stride()
    {
        for (int i = 0; i < count; i++) {
            data[i] = (T *)mr_cuda_at(t[i]);
            stride[i] = (uint32_t)(t[i].stride * (int64_t)sizeof(T));
        }
    }
    /* A thread's rows, the last one once more in place of those that are not there. */
    template <int N> __device__ void rows(T *(&line)[AHEAD], const packs<N, T> &own) const
    {
        const uint64_t step = stride[own.which];
        const char *const from = (const char *)data[own.which] + (uint32_t)own.first_row * step;
#pragma unroll
        for (int r = 0; r < AHEAD; r++) {
            line[r] = (T *)(from + (uint32_t)(r < own.rows ? r : own.rows - 1) * step);
            asm("" : "+l"(line[r])); /* added to as they are, by one instruction */
            __builtin_assume(__isGlobal(line[r]));
        }
    }
};

enum { PACK_THREADS = 128 };

/* With few blocks at once in mind, for else registers are spared and loads wait for sums. */
template <int N, typename T, class F>
static __global__ void __launch_bounds__(PACK_THREADS, N * sizeof(T) < 4 ? 4 : 5)
    packs_kernel(uint32_t count, divider across, int row, int rows, F body)
{
    const uint32_t at = blockIdx.x * PACK_THREADS + threadIdx.x;
    if (at >= count) return;
    const uint32_t down = across.divide(at), along = at - down * across.by;
    const int first = row + (int)down * AHEAD, left = rows - first;
    body(packs<N, T>{(int)blockIdx.y, first, left < AHEAD ? left : AHEAD,
                     (int)(along / 32 * 32 * packs<N, T>::ALL + along % 32 * N)});
}

/* Runs body(packs) for `cols` columns of all rows of `count` matrices. */
template <int N, typename T, class F>
static void each_packs(mr_backend *be, int count, int64_t rows, int64_t cols, F body)
{
    enum { WARP = 32 * packs<N, T>::ALL };
    constexpr int64_t MOST = (int64_t)1 << 30; /* threads a launch, of a matrix */
    const int64_t across = (cols + WARP - 1) / WARP * 32, most = across ? MOST / across * AHEAD : 0;
    for (int64_t row = 0; most > 0 && row < rows; row += most) {
        const int64_t left = rows - row < most ? rows - row : most;
        const int64_t threads = (left + AHEAD - 1) / AHEAD * across;
        const dim3 grid((unsigned)((threads + PACK_THREADS - 1) / PACK_THREADS), (unsigned)count);
        packs_kernel<N, T><<<grid, PACK_THREADS, 0, mr_cuda_queue(mr_cuda_of(be))>>>(
            (uint32_t)threads, divider((uint32_t)across), (int)row, (int)rows, body);
    }
}

template <int N, typename T>
static __device__ void read_packs(pack<T, N> (&in)[packs<N, T>::COUNT][AHEAD],
                                  T *const (&line)[AHEAD], const int (&at)[packs<N, T>::COUNT])
{
#pragma unroll
    for (int k = 0; k < packs<N, T>::COUNT; k++)
#pragma unroll
        for (int r = 0; r < AHEAD; r++)
            in[k][r] = pack_at<N, T>(line[r] + at[k]);
}

/* Adds packs of rows at these columns to sums, where they are meant. */
template <int N, typename T>
static __device__ void add_packs(float (&sum)[packs<N, T>::COUNT][AHEAD][N],
                                 T *const (&line)[AHEAD], const int (&at)[packs<N, T>::COUNT],
                                 const bool (&meant)[packs<N, T>::COUNT])
{
    pack<T, N> in[packs<N, T>::COUNT][AHEAD];
    read_packs<N, T>(in, line, at);
#pragma unroll
    for (int k = 0; k < packs<N, T>::COUNT; k++)
#pragma unroll
        for (int r = 0; r < AHEAD; r++) {
            float v[N];
            unpack<N>(v, in[k][r]);
#pragma unroll
            for (int i = 0; i < N; i++)
                sum[k][r][i] += meant[k] ? v[i] : 0.0f;
        }
}

/* The map as kernels see it: 32 bits divide faster. */
struct map32 {
    bool contiguous;
    int groups, length, few, larger, side, pitch;
    divider by_groups, by_side, by_pitch;

    __host__ map32(mr_group_map map, mr_cuda_blocks blocks)
        : contiguous(map.contiguous), groups((int)map.groups), length((int)map.length),
          few((int)(map.length / map.groups)), larger((int)(map.length % map.groups)),
          side((int)blocks.side), pitch((int)blocks.pitch), by_groups((uint32_t)map.groups),
          by_side((uint32_t)blocks.side), by_pitch((uint32_t)blocks.pitch)
    {
    }
    /* Of a contiguous map: the first position of a group. */
    __device__ int begin(int group) const
    {
        return group * few + (group < larger ? group : larger);
    }
    template <int N> __device__ int group_of(int t) const
    {
        if (N > 1 || !contiguous) return t - (int)by_groups.divide((uint32_t)t) * groups;
        int edge = larger * (few + 1);
        return t < edge ? t / (few + 1) : larger + (t - edge) / few;
    }
    /* The column that a group stands in. */
    __device__ int place(int group) const
    {
        return group + (int)by_side.divide((uint32_t)group) * (pitch - side);
    }
    /* The column that N positions are spread from; behind the end that of the last ones. */
    template <int N> __device__ int source(int t) const
    {
        return place(group_of<N>(t + N <= length ? t : length - N));
    }
    /* Whether a column stands behind those of a block, and of one that does not, its group. */
    __device__ bool is_between(int col) const
    {
        return col - (int)by_pitch.divide((uint32_t)col) * pitch >= side;
    }
    __device__ int at_place(int col) const
    {
        return col - (int)by_pitch.divide((uint32_t)col) * (pitch - side);
    }
};

/* A map in blocks that stand side by side. */
static mr_cuda_blocks together(mr_group_map map)
{
    return mr_cuda_blocks{map.groups, map.groups};
}

/* Sums of a strided map. */
template <int N, typename T>
static void sum_packs(mr_backend *be, int count, const mr_tensor *y, const mr_tensor *x,
                      const map32 m)
{
    constexpr int K = packs<N, T>::COUNT;
    const int n = (int)x->cols, cols = (int)y->cols, step = m.groups % n;
    const divider by_n((uint32_t)n);
    const matrices<T> to(count, y), from(count, x);
    each_packs<N, T>(be, count, y->rows, cols, [=] __device__(const packs<N, T> &own) {
        T *line[AHEAD];
        int group[K], at[K];
        bool meant[K];
        float sum[K][AHEAD][N] = {};
        from.rows(line, own);
#pragma unroll
        for (int k = 0; k < K; k++) {
            group[k] = m.at_place(own.col(k) < cols ? own.col(k) : 0);
            at[k] = group[k] - (int)by_n.divide((uint32_t)group[k]) * n;
            meant[k] = true;
        }
        for (int i = 0; i < m.few; i++) {
            add_packs<N, T>(sum, line, at, meant);
#pragma unroll
            for (int k = 0; k < K; k++)
                at[k] = at[k] + step < n ? at[k] + step : at[k] + step - n;
        }
        if (m.larger > 0) {
#pragma unroll
            for (int k = 0; k < K; k++)
                meant[k] = group[k] < m.larger;
            add_packs<N, T>(sum, line, at, meant);
        }
        to.rows(line, own);
#pragma unroll
        for (int k = 0; k < K; k++) {
            const bool between = m.is_between(own.col(k));
#pragma unroll
            for (int r = 0; r < AHEAD; r++) {
#pragma unroll
                for (int i = 0; i < N; i++)
                    sum[k][r][i] = between ? 0.0f : sum[k][r][i];
                if (own.col(k) < cols && r < own.rows) store<N>(line[r] + own.col(k), sum[k][r]);
            }
        }
    });
}

static void sum_contiguous(mr_backend *be, mr_tensor y, mr_tensor x, const map32 m)
{
    MR_BY_TYPE(x.dtype, T, {
        matrix<T> to(y), from(x);
        each<1>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
            const int group = m.at_place((int)col);
            const int end = m.is_between((int)col) ? 0 : m.begin(group + 1);
            float sum = 0;
            for (int t = m.begin(group); t < end; t++)
                sum += to_float(*from.at(row, t));
            *to.at(row, col) = from_float<T>(sum);
        });
    });
}

/* The largest pack that all columns and rows of these linears can be taken by. */
static int map_pack(int count, const mr_tensor *y, const mr_tensor *x, mr_group_map map,
                    mr_cuda_blocks blocks)
{
    int pack = 8;
    for (int i = 0; i < count; i++) {
        const int one =
            common_pack({map.groups, map.length, blocks.side, blocks.pitch, y[i].cols, x[i].cols},
                        {y[i], x[i]});
        pack = one < pack ? one : pack;
    }
    return map.contiguous ? 1 : pack;
}

void mr_cuda_sum(mr_backend *be, int count, const mr_tensor *y, const mr_tensor *x,
                 mr_group_map map, mr_cuda_blocks blocks)
{
    const map32 m(map, blocks);
    if (count == 0) return;
    for (int i = 0; map.contiguous && i < count; i++)
        sum_contiguous(be, y[i], x[i], m);
    if (map.contiguous) return;
    MR_BY_TYPE(x->dtype, T, {
        MR_BY_PACK(map_pack(count, y, x, map, blocks), T, N,
                   { sum_packs<N, T>(be, count, y, x, m); });
    });
}

/* Writes what has one source, as it is. */
template <int N, typename T>
static void move_packs(mr_backend *be, int count, const mr_tensor *y, const mr_tensor *x,
                       const map32 m)
{
    constexpr int K = packs<N, T>::COUNT;
    const int cols = (int)y->cols;
    const matrices<T> to(count, y), from(count, x);
    each_packs<N, T>(be, count, y->rows, cols, [=] __device__(const packs<N, T> &own) {
        T *line[AHEAD];
        int at[K];
        pack<T, N> in[K][AHEAD];
        from.rows(line, own);
#pragma unroll
        for (int k = 0; k < K; k++)
            at[k] = m.template source<N>(own.col(k));
        read_packs<N, T>(in, line, at);
        to.rows(line, own);
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int r = 0; r < AHEAD; r++)
                if (own.col(k) < cols && r < own.rows) put_pack<N>(line[r] + own.col(k), in[k][r]);
    });
}

/* Writes sums of several sources, and of what is there where it is added to. */
template <int N, typename T>
static void spread_packs(mr_backend *be, int count, const mr_tensor *y, const mr_tensor *x,
                         const map32 m, bool adds)
{
    constexpr int K = packs<N, T>::COUNT;
    const int n = (int)y->cols, cols = adds && m.length < n ? m.length : n;
    const matrices<T> to(count, y), from(count, x);
    each_packs<N, T>(be, count, y->rows, cols, [=] __device__(const packs<N, T> &own) {
        T *line[AHEAD];
        int at[K];
        bool meant[K];
        float sum[K][AHEAD][N] = {};
        if (adds) {
            to.rows(line, own);
#pragma unroll
            for (int k = 0; k < K; k++) {
                meant[k] = own.col(k) < cols;
                at[k] = meant[k] ? own.col(k) : 0;
            }
            add_packs<N, T>(sum, line, at, meant);
        }
        from.rows(line, own);
        for (int before = 0; before < m.length; before += n) {
#pragma unroll
            for (int k = 0; k < K; k++) {
                meant[k] = before + own.col(k) < m.length;
                at[k] = m.template source<N>(before + own.col(k));
            }
            add_packs<N, T>(sum, line, at, meant);
        }
        to.rows(line, own);
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int r = 0; r < AHEAD; r++)
                if (own.col(k) < cols && r < own.rows) store<N>(line[r] + own.col(k), sum[k][r]);
    });
}

void mr_cuda_spread(mr_backend *be, int count, const mr_tensor *y, const mr_tensor *x,
                    mr_group_map map, mr_cuda_blocks blocks, bool adds)
{
    const map32 m(map, blocks);
    const bool moves = !adds && map.length == y->cols;
    if (count == 0) return;
    MR_BY_TYPE(y->dtype, T, {
        MR_BY_PACK(map_pack(count, y, x, map, blocks), T, N, {
            if (moves)
                move_packs<N, T>(be, count, y, x, m);
            else
                spread_packs<N, T>(be, count, y, x, m, adds);
        });
    });
}

void mr_cuda_group_sum(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map)
{
    mr_cuda_sum(be, 1, &y, &x, map, together(map));
}

void mr_cuda_group_spread(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map)
{
    mr_cuda_spread(be, 1, &y, &x, map, together(map), true);
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
            int group = groups.group_of<1>((int)(first + row)), begin = group / side * side;
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
    const divider by_pitch((uint32_t)pitch);
    MR_BY_TYPE(y.dtype, T, {
        constexpr int N = 16 / sizeof(T);
        matrix<T> to(y), from(m);
        each<N>(be, y.rows, y.cols, [=] __device__(int64_t at, int64_t place) {
            const int matrix = (int)by_pitch.divide((uint32_t)at), row = (int)at - matrix * pitch;
            pack<T, N> out = {};
            for (int i = 0; i < N; i++) {
                const int col = (int)place + i;
                if (row < side && col < side)
                    out.v[i] = *from.at((int64_t)matrix * side + row, col);
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
