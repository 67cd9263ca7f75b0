/* What is done element by element. */

#include "backend/cuda/kernel.cuh"

void mr_cuda_fill(mr_backend *be, mr_tensor t, float value)
{
    MR_BY_TYPE(t.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(t.dtype), {t}), T, N, {
            matrix<T> to(t);
            each<N>(be, t.rows, t.cols, [=] __device__(int64_t row, int64_t col) {
                float v[N];
                for (int i = 0; i < N; i++)
                    v[i] = value;
                store<N>(to.at(row, col), v);
            });
        });
    });
}

enum { COPY_THREADS = 256, COPY_EACH = 8 };

/* Elements one by one, those of a warp side by side: they fill whole lines of memory wherever rows
 * begin. */
template <typename T>
static __global__ void copy_odd(matrix<T> to, matrix<T> from, int64_t cols, uint32_t parts)
{
    const int64_t row = blockIdx.x / parts, part = blockIdx.x % parts;
    const int64_t first = part * COPY_THREADS * COPY_EACH + threadIdx.x;
    T v[COPY_EACH];
#pragma unroll
    for (int i = 0; i < COPY_EACH; i++)
        if (first + i * COPY_THREADS < cols) v[i] = *from.at(row, first + i * COPY_THREADS);
#pragma unroll
    for (int i = 0; i < COPY_EACH; i++)
        if (first + i * COPY_THREADS < cols) *to.at(row, first + i * COPY_THREADS) = v[i];
}

/* Whether rows are such, of as many elements as it takes to keep threads busy. */
static bool is_odd(mr_tensor dst, mr_tensor src)
{
    const size_t size = mr_dtype_size(dst.dtype);
    const size_t places = (size_t)dst.stride * size | (size_t)src.stride * size |
                          (uintptr_t)mr_cuda_at(dst) | (uintptr_t)mr_cuda_at(src);
    return dst.cols >= COPY_THREADS && places % 16 != 0;
}

template <typename T> static cudaError_t copy_rows(mr_backend *be, mr_tensor dst, mr_tensor src)
{
    constexpr int64_t PART = COPY_THREADS * COPY_EACH, MOST = (int64_t)1 << 30; /* blocks */
    const int64_t parts = (dst.cols + PART - 1) / PART, rows = MOST / parts;
    for (int64_t row = 0; row < dst.rows; row += rows) {
        const int64_t count = dst.rows - row < rows ? dst.rows - row : rows;
        copy_odd<T><<<(unsigned)(count * parts), COPY_THREADS, 0, mr_cuda_queue(mr_cuda_of(be))>>>(
            mr_tensor_rows(dst, row, count), mr_tensor_rows(src, row, count), dst.cols,
            (uint32_t)parts);
    }
    return cudaGetLastError();
}

void mr_cuda_copy(mr_backend *be, mr_tensor dst, mr_tensor src)
{
    size_t size = mr_dtype_size(dst.dtype), row = (size_t)dst.cols * size;
    cudaStream_t stream = mr_cuda_queue(mr_cuda_of(be));
    cudaError_t error;
    if (dst.rows == 0 || dst.cols == 0) return;
    if (dst.rows == 1 || (mr_tensor_is_dense(dst) && mr_tensor_is_dense(src)))
        error = cudaMemcpyAsync(mr_cuda_at(dst), mr_cuda_at(src), row * (size_t)dst.rows,
                                cudaMemcpyDeviceToDevice, stream);
    else if (is_odd(dst, src))
        error = size == 1   ? copy_rows<uint8_t>(be, dst, src)
                : size == 2 ? copy_rows<uint16_t>(be, dst, src)
                : size == 4 ? copy_rows<uint32_t>(be, dst, src)
                            : copy_rows<uint64_t>(be, dst, src);
    else
        error = cudaMemcpy2DAsync(mr_cuda_at(dst), (size_t)dst.stride * size, mr_cuda_at(src),
                                  (size_t)src.stride * size, row, (size_t)dst.rows,
                                  cudaMemcpyDeviceToDevice, stream);
    mr_cuda_note(be, error, "a copy");
}

template <typename T, typename S> static void convert(mr_backend *be, mr_tensor dst, mr_tensor src)
{
    matrix<T> to(dst);
    matrix<S> from(src);
    if (all_wide(8, {dst, src}))
        each<8>(be, dst.rows, dst.cols, [=] __device__(int64_t row, int64_t col) {
            float v[8];
            load<8>(v, from.at(row, col));
            store<8>(to.at(row, col), v);
        });
    else
        each<1>(be, dst.rows, dst.cols, [=] __device__(int64_t row, int64_t col) {
            *to.at(row, col) = from_float<T>(to_float(*from.at(row, col)));
        });
}

void mr_cuda_convert(mr_backend *be, mr_tensor dst, mr_tensor src)
{
    MR_BY_TYPE(dst.dtype, T, { MR_BY_TYPE(src.dtype, S, { convert<T, S>(be, dst, src); }); });
}

void mr_cuda_add(mr_backend *be, mr_tensor y, mr_tensor x)
{
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(y.dtype), {y, x}), T, N, {
            matrix<T> to(y), from(x);
            each<N>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
                float a[N], b[N];
                load<N>(a, to.at(row, col));
                load<N>(b, from.at(row, col));
                for (int i = 0; i < N; i++)
                    a[i] += b[i];
                store<N>(to.at(row, col), a);
            });
        });
    });
}

/* Whether each of N elements from an index on stays: a word of Philox each. */
template <int N>
static __device__ void mask(bool (&stays)[N], uint64_t index, mr_random stream, uint32_t threshold)
{
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < N; i++, index++) {
        if (i == 0 || index % 4 == 0) mr_random_block(&stream, index / 4, words);
        stays[i] = words[index % 4] >= threshold;
    }
}

void mr_cuda_dropout(mr_backend *be, mr_tensor y, mr_tensor x, float beta, double p,
                     mr_random stream, int64_t first_row)
{
    const uint32_t threshold = (uint32_t)(p * 0x1p32);
    const float scale = (float)(1.0 / (1.0 - p));
    const int64_t cols = y.cols;
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(y.dtype), {y, x}), T, N, {
            matrix<T> to(y), from(x);
            each<N>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
                float a[N], b[N] = {};
                bool stays[N];
                mask<N>(stays, (uint64_t)((first_row + row) * cols + col), stream, threshold);
                load<N>(a, from.at(row, col));
                if (beta != 0) load<N>(b, to.at(row, col));
                for (int i = 0; i < N; i++)
                    b[i] += stays[i] ? a[i] * scale : 0.0f;
                store<N>(to.at(row, col), b);
            });
        });
    });
}

/* Takes in zeros behind rows that end within a pack, where all have them: of zeros alone come
 * zeros. */
static void take_spare(std::initializer_list<mr_tensor *> tensors)
{
    for (mr_tensor *t : tensors)
        if (t->cols % pack_of(t->dtype) + t->spare < pack_of(t->dtype)) return;
    for (mr_tensor *t : tensors)
        t->cols = (t->cols + pack_of(t->dtype) - 1) / pack_of(t->dtype) * pack_of(t->dtype);
}

void mr_cuda_swiglu_forward(mr_backend *be, mr_tensor y, mr_tensor gate, mr_tensor up)
{
    take_spare({&y, &gate, &up});
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(y.dtype), {y, gate, up}), T, N, {
            matrix<T> to(y), g(gate), u(up);
            each<N>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
                float a[N], b[N];
                load<N>(a, g.at(row, col));
                load<N>(b, u.at(row, col));
                for (int i = 0; i < N; i++)
                    a[i] = a[i] / (1.0f + expf(-a[i])) * b[i];
                store<N>(to.at(row, col), a);
            });
        });
    });
}

void mr_cuda_swiglu_backward(mr_backend *be, mr_tensor dgate, mr_tensor dup, mr_tensor dy,
                             mr_tensor gate, mr_tensor up)
{
    take_spare({&dgate, &dup, &dy, &gate, &up});
    MR_BY_TYPE(dy.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(dy.dtype), {dgate, dup, dy, gate, up}), T, N, {
            matrix<T> dg(dgate), du(dup), d(dy), g(gate), u(up);
            each<N>(be, dy.rows, dy.cols, [=] __device__(int64_t row, int64_t col) {
                float a[N], b[N], c[N];
                load<N>(a, g.at(row, col));
                load<N>(b, u.at(row, col));
                load<N>(c, d.at(row, col));
                /* silu'(g) = s (1 + g (1 - s)), s the logistic function. */
                for (int i = 0; i < N; i++) {
                    float s = 1.0f / (1.0f + expf(-a[i])), by_up = c[i] * b[i];
                    b[i] = c[i] * a[i] * s;
                    a[i] = by_up * s * (1.0f + a[i] * (1.0f - s));
                }
                store<N>(dg.at(row, col), a);
                store<N>(du.at(row, col), b);
            });
        });
    });
}

/* Rows of y from rows of x, either of them by ids. */
static void move_rows(mr_backend *be, mr_tensor y, mr_tensor x, mr_tensor ids, bool gathers)
{
    const int32_t *id = (const int32_t *)mr_cuda_at(ids);
    int64_t rows = ids.cols;
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(y.dtype), {y, x}), T, N, {
            matrix<T> to(y), from(x);
            each<N>(be, rows, y.cols, [=] __device__(int64_t row, int64_t col) {
                int64_t there = id[row];
                float v[N];
                load<N>(v, from.at(gathers ? there : row, col));
                store<N>(to.at(gathers ? row : there, col), v);
            });
        });
    });
}

void mr_cuda_gather_rows(mr_backend *be, mr_tensor y, mr_tensor w, mr_tensor ids)
{
    move_rows(be, y, w, ids, true);
}

void mr_cuda_scatter_rows(mr_backend *be, mr_tensor y, mr_tensor x, mr_tensor ids)
{
    move_rows(be, y, x, ids, false);
}

void mr_cuda_scale_columns(mr_backend *be, mr_tensor y, mr_tensor kept, mr_tensor x, mr_tensor s,
                           float beta)
{
    const float *factor = (const float *)mr_cuda_at(s);
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(y.dtype), {y, kept, x, s}), T, N, {
            matrix<T> to(y), keep(kept), from(x);
            each<N>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
                float a[N], b[N] = {}, f[N];
                load<N>(a, from.at(row, col));
                load<N>(f, factor + col);
                if (beta != 0) load<N>(b, to.at(row, col));
                for (int i = 0; i < N; i++)
                    b[i] = (beta != 0 ? beta * b[i] : 0.0f) + a[i] * f[i];
                if (keep.exists()) store<N>(keep.at(row, col), a);
                store<N>(to.at(row, col), b);
            });
        });
    });
}

void mr_cuda_scale_rows(mr_backend *be, mr_tensor x, mr_tensor s)
{
    const float *factor = (const float *)mr_cuda_at(s);
    MR_BY_TYPE(x.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(x.dtype), {x}), T, N, {
            matrix<T> to(x);
            each<N>(be, x.rows, x.cols, [=] __device__(int64_t row, int64_t col) {
                float a[N];
                load<N>(a, to.at(row, col));
                for (int i = 0; i < N; i++)
                    a[i] *= factor[row];
                store<N>(to.at(row, col), a);
            });
        });
    });
}

void mr_cuda_scale_columns_backward(mr_backend *be, mr_tensor dx, mr_tensor ds, mr_tensor dy,
                                    mr_tensor x, mr_tensor s)
{
    float *out = (float *)mr_cuda_at(ds);
    const bool writes = mr_tensor_exists(dx);
    const float *factor = writes ? (const float *)mr_cuda_at(s) : NULL;
    if (!writes) s = mr_tensor{};
    MR_BY_TYPE(dy.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(dy.dtype), {dx, dy, x, s}), T, N, {
            matrix<T> g(dy), from(x), to(dx);
            sum_columns<T, N, 2, 1>(
                be, {{out}}, x.rows, x.cols,
                [=] __device__(int64_t row, int64_t col, pack<T, N>(&in)[2]) {
                    in[0] = pack_at<N>(g.at(row, col));
                    in[1] = pack_at<N>(from.at(row, col));
                },
                [=] __device__(int64_t row, int64_t col, const pack<T, N>(&in)[2],
                               float(&sum)[1][N]) {
                    float a[N], b[N], f[N];
                    unpack(a, in[0]);
                    unpack(b, in[1]);
                    for (int i = 0; i < N; i++)
                        sum[0][i] += b[i] * a[i];
                    if (!writes) return;
                    load<N>(f, factor + col); /* x has been read: dx may take its place */
                    for (int i = 0; i < N; i++)
                        a[i] *= f[i];
                    store<N>(to.at(row, col), a);
                });
        });
    });
}

void mr_cuda_scaled_swiglu(mr_backend *be, mr_tensor y, mr_tensor gate, mr_tensor up,
                           mr_tensor s_gate, mr_tensor s_up)
{
    const float *factor = (const float *)mr_cuda_at(s_gate);
    const float *other = (const float *)mr_cuda_at(s_up);
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(y.dtype), {y, gate, up, s_gate, s_up}), T, N, {
            matrix<T> to(y), g(gate), u(up);
            each<N>(be, y.rows, y.cols, [=] __device__(int64_t row, int64_t col) {
                float a[N], b[N], f[N], h[N];
                load<N>(a, g.at(row, col));
                load<N>(b, u.at(row, col));
                load<N>(f, factor + col);
                load<N>(h, other + col);
                for (int i = 0; i < N; i++) {
                    a[i] *= f[i];
                    a[i] = a[i] / (1.0f + expf(-a[i])) * (b[i] * h[i]);
                }
                store<N>(to.at(row, col), a);
            });
        });
    });
}

void mr_cuda_scaled_swiglu_backward(mr_backend *be, mr_tensor gate, mr_tensor up, mr_tensor ds_gate,
                                    mr_tensor ds_up, mr_tensor dy, mr_tensor s_gate, mr_tensor s_up)
{
    auto sums = [](mr_tensor t) { return mr_tensor_exists(t) ? (float *)mr_cuda_at(t) : NULL; };
    const float *factor = (const float *)mr_cuda_at(s_gate);
    const float *other = (const float *)mr_cuda_at(s_up);
    MR_BY_TYPE(dy.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(dy.dtype), {gate, up, dy, s_gate, s_up}), T, N, {
            matrix<T> g(gate), u(up), d(dy);
            sum_columns<T, N, 3, 2>(
                be, {{sums(ds_gate), sums(ds_up)}}, dy.rows, dy.cols,
                [=] __device__(int64_t row, int64_t col, pack<T, N>(&in)[3]) {
                    in[0] = pack_at<N>(g.at(row, col));
                    in[1] = pack_at<N>(u.at(row, col));
                    in[2] = pack_at<N>(d.at(row, col));
                },
                [=] __device__(int64_t row, int64_t col, const pack<T, N>(&in)[3],
                               float(&sum)[2][N]) {
                    float a[N], b[N], c[N], f[N], h[N];
                    unpack(a, in[0]);
                    unpack(b, in[1]);
                    unpack(c, in[2]);
                    load<N>(f, factor + col);
                    load<N>(h, other + col);
                    for (int i = 0; i < N; i++) {
                        const float at = a[i] * f[i], s = 1.0f / (1.0f + expf(-at));
                        const float d_gate = c[i] * (b[i] * h[i]) * s * (1.0f + at * (1.0f - s));
                        const float d_up = c[i] * at * s;
                        sum[0][i] += a[i] * d_gate;
                        sum[1][i] += b[i] * d_up;
                        a[i] = d_gate * f[i];
                        b[i] = d_up * h[i];
                    }
                    store<N>(g.at(row, col), a);
                    store<N>(u.at(row, col), b);
                });
        });
    });
}

void mr_cuda_row_factors(mr_backend *be, const mr_row_factors_args *args)
{
    const mr_tensor none = mr_tensor{}, one_b = mr_tensor_exists(args->h) ? args->b : none;
    float *pi = (float *)mr_cuda_at(args->inverse), *pr = (float *)mr_cuda_at(args->ratio);
    float *pg = (float *)mr_cuda_at(args->gain);
    const double *base = (const double *)mr_cuda_at(args->base);
    const int cols = mr_tensor_exists(args->h) ? (int)args->h.cols : 0;
    const mr_dtype type = cols > 0 ? args->h.dtype : MR_F32;
    MR_BY_TYPE(args->magnitude.dtype, T, {
        MR_BY_TYPE(type, H, {
            const T *pm = (const T *)mr_cuda_at(args->magnitude);
            matrix<H> h(args->h), b(one_b);
            each<1>(be, 1, args->base.cols, [=] __device__(int64_t, int64_t i) {
                double square = base[i];
                for (int j = 0; j < cols; j++)
                    square += (double)to_float(*h.at(i, j)) * (double)to_float(*b.at(i, j));
                double one = square <= 0 ? 0 : 1 / sqrt(square);
                double scaled = (double)to_float(pm[i]) * one;
                pi[i] = (float)one;
                pr[i] = (float)scaled;
                pg[i] = (float)(scaled - 1);
            });
        });
    });
}
