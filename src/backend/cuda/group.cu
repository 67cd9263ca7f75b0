/* MoRA's maps: groups of positions, and blocks that are turned. Each element of a result is
 * gathered by one thread, position after position, so that no sum depends on who comes first. */

#include "backend/cuda/kernel.cuh"

/* The map as kernels see it: 32 bits divide faster. */
struct map32 {
    bool contiguous;
    int groups, length, few, larger;

    __host__ map32(mr_group_map map)
        : contiguous(map.contiguous), groups((int)map.groups), length((int)map.length),
          few((int)(map.length / map.groups)), larger((int)(map.length % map.groups))
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
};

/* Whether positions of a strided map keep together n at a time, among `elements` elements. */
static bool in_packs(mr_group_map map, int64_t elements, int n)
{
    return !map.contiguous && map.groups % n == 0 && map.length % n == 0 && elements % n == 0;
}

void mr_cuda_group_sum(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map)
{
    const map32 m(map);
    const int n = (int)x.cols, packed = pack_of(x.dtype);
    MR_BY_TYPE(x.dtype, T, {
        MR_BY_WIDTH(in_packs(map, n, packed) && all_wide(packed, {y, x}), T, N, {
            matrix<T> to(y), from(x);
            each<N>(be, y.rows, map.groups, [=] __device__(int64_t row, int64_t col) {
                int group = (int)col;
                float sum[N] = {}, v[N];
                if (m.contiguous) {
                    for (int t = m.begin(group); t < m.begin(group + 1); t++)
                        sum[0] += to_float(*from.at(row, t));
                } else {
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

void mr_cuda_group_spread(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map)
{
    const map32 m(map);
    const int n = (int)y.cols, packed = pack_of(y.dtype);
    int64_t reached = map.length < y.cols ? map.length : y.cols;
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_WIDTH(in_packs(map, n, packed) && all_wide(packed, {y, x}), T, N, {
            matrix<T> to(y), from(x);
            each<N>(be, y.rows, reached, [=] __device__(int64_t row, int64_t col) {
                float sum[N], v[N];
                load<N>(sum, to.at(row, col));
                for (int t = (int)col; t < m.length; t += n) {
                    load<N>(v, from.at(row, m.group_of(t)));
                    for (int i = 0; i < N; i++)
                        sum[i] += v[i];
                }
                store<N>(to.at(row, col), sum);
            });
        });
    });
}

template <typename T, typename S>
static void group_rows(mr_backend *be, mr_tensor y, mr_tensor m, mr_group_map map, int64_t first)
{
    const map32 groups(map);
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

void mr_cuda_block_rotate(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width, bool rotate,
                          mr_tensor cosine, mr_tensor sine)
{
    const int n = (int)x.cols, side = (int)width, half = side / 2, packed = pack_of(y.dtype);
    const bool wide = n % packed == 0 && all_wide(packed, {y, x});
    MR_BY_TYPE(y.dtype, T, {
        matrix<T> to(y), from(x);
        matrix<float> cosines(cosine), sines(sine);
        if (!rotate) {
            MR_BY_WIDTH(wide, T, N, {
                each<N>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
                    float v[N];
                    load<N>(v, from.at(row, (int)col % n));
                    store<N>(to.at(row, col), v);
                });
            });
            return;
        }
        MR_BY_WIDTH(wide && half % packed == 0 && all_wide(packed, {cosine, sine}), T, N, {
            each<N>(be, y.rows, y.cols / 2, [=] __device__(int64_t row, int64_t pair) {
                int block = (int)pair / half, c = (int)pair % half, at = block * side + c;
                float a[N], b[N], turn[N], s[N];
                load<N>(a, from.at(row, at % n));
                load<N>(b, from.at(row, (at + half) % n));
                load<N>(turn, cosines.at(block, c));
                load<N>(s, sines.at(block, c));
                for (int i = 0; i < N; i++) {
                    float ai = a[i];
                    a[i] = ai * turn[i] - b[i] * s[i];
                    b[i] = b[i] * turn[i] + ai * s[i];
                }
                store<N>(to.at(row, at), a);
                store<N>(to.at(row, at + half), b);
            });
        });
    });
}

void mr_cuda_block_rotate_adjoint(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width,
                                  bool rotate, mr_tensor cosine, mr_tensor sine)
{
    const int n = (int)y.cols, length = (int)x.cols, side = (int)width, half = side / 2;
    const int packed = pack_of(y.dtype);
    const bool wide = n % packed == 0 && (!rotate || half % packed == 0) && side % packed == 0 &&
                      all_wide(packed, {y, x, cosine, sine});
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_WIDTH(wide, T, N, {
            matrix<T> to(y), from(x);
            matrix<float> cosines(cosine), sines(sine);
            each<N>(be, y.rows, n, [=] __device__(int64_t row, int64_t col) {
                float sum[N], v[N], other[N], c[N], s[N];
                load<N>(sum, to.at(row, col));
                for (int t = (int)col; t < length; t += n) {
                    load<N>(v, from.at(row, t));
                    int block = t / side, in = t % side, pair = in < half ? in : in - half;
                    if (rotate) { /* turned back: its pair has a say */
                        load<N>(other, from.at(row, in < half ? t + half : t - half));
                        load<N>(c, cosines.at(block, pair));
                        load<N>(s, sines.at(block, pair));
                        for (int i = 0; i < N; i++)
                            v[i] = v[i] * c[i] + (in < half ? other[i] : -other[i]) * s[i];
                    }
                    for (int i = 0; i < N; i++)
                        sum[i] += v[i];
                }
                store<N>(to.at(row, col), sum);
            });
        });
    });
}
