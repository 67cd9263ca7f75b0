/* Norms of rows, and rotary positions. A row is kept in registers between the sum over it and its
 * use where it is short enough: KEPT packs a thread, else it is read twice. */

#include "backend/cuda/kernel.cuh"

static constexpr int64_t MOST_THREADS = 512;

static unsigned threads_for(int64_t packs)
{
    int64_t threads = (packs + 31) / 32 * 32;
    return (unsigned)(threads < MOST_THREADS ? threads : MOST_THREADS);
}

/* Runs body(k, col) for this thread's packs of a row. */
template <int N, int KEPT, class F> __device__ void over_row(int64_t cols, F body)
{
    if (KEPT > 0) {
#pragma unroll
        for (int k = 0; k < KEPT; k++) {
            int64_t col = ((int64_t)k * blockDim.x + threadIdx.x) * N;
            if (col < cols) body(k, col);
        }
    } else {
        for (int64_t col = (int64_t)threadIdx.x * N; col < cols; col += (int64_t)blockDim.x * N)
            body(0, col);
    }
}

#define KEPT_ROOM(KEPT) (KEPT > 0 ? KEPT : 1)

template <typename T, typename W, int N, int KEPT>
static __global__ void forward(matrix<T> y, float *rstd, matrix<T> sum, matrix<T> x,
                               matrix<T> addend, const W *w, int64_t cols, float eps)
{
    int64_t row = blockIdx.x;
    matrix<T> normed = addend.exists() ? sum : x;
    float kept[KEPT_ROOM(KEPT)][N], squares = 0;
    over_row<N, KEPT>(cols, [&](int k, int64_t col) {
        load<N>(kept[k], x.at(row, col));
        if (addend.exists()) {
            float other[N];
            load<N>(other, addend.at(row, col));
            for (int i = 0; i < N; i++) /* what is stored: from there on it gives the same bits */
                kept[k][i] = to_float(from_float<T>(kept[k][i] + other[i]));
            store<N>(sum.at(row, col), kept[k]);
        }
        for (int i = 0; i < N; i++)
            squares += kept[k][i] * kept[k][i];
    });
    float r = 1.0f / sqrtf(block_sum(squares) / (float)cols + eps);
    if (threadIdx.x == 0) rstd[row] = r;
    over_row<N, KEPT>(cols, [&](int k, int64_t col) {
        float factor[N];
        if (KEPT == 0) load<N>(kept[k], normed.at(row, col));
        load<N>(factor, w + col);
        for (int i = 0; i < N; i++)
            factor[i] *= kept[k][i] * r;
        store<N>(y.at(row, col), factor);
    });
}

/* With xh = x rstd and g = dy w: dx = rstd (g - xh mean(g xh)). */
template <typename T, typename W, int N, int KEPT>
static __global__ void backward(matrix<T> dx, matrix<T> dy, matrix<T> x, const float *rstd,
                                const W *w, int64_t cols)
{
    int64_t row = blockIdx.x;
    float at_x[KEPT_ROOM(KEPT)][N], g[KEPT_ROOM(KEPT)][N], product = 0, r = rstd[row];
    auto read = [&](int k, int64_t col) {
        float factor[N];
        load<N>(at_x[k], x.at(row, col));
        load<N>(g[k], dy.at(row, col));
        load<N>(factor, w + col);
        for (int i = 0; i < N; i++)
            g[k][i] *= factor[i];
    };
    over_row<N, KEPT>(cols, [&](int k, int64_t col) {
        read(k, col);
        for (int i = 0; i < N; i++)
            product += g[k][i] * at_x[k][i];
    });
    float mean = block_sum(product) / (float)cols * r * r * r;
    over_row<N, KEPT>(cols, [&](int k, int64_t col) {
        float out[N];
        if (KEPT == 0) read(k, col);
        load<N>(out, dx.at(row, col));
        for (int i = 0; i < N; i++)
            out[i] += g[k][i] * r - at_x[k][i] * mean;
        store<N>(dx.at(row, col), out);
    });
}

/* The longest rows of KEPT packs a thread that a multiprocessor has registers for. */
template <int KEPT> constexpr int ROWS_AT_ONCE = KEPT == 1 ? 2 : 1;

/* As backward for rows that are kept, of which a block takes many, one after another while the next
 * is on its way: then the gradient of w, dw = sum of dy xh over rows, needs no pass of its own.
 * Sums of a block's rows are a row of partial. */
template <typename T, typename W, int N, int KEPT>
static __global__ void __launch_bounds__(MOST_THREADS, ROWS_AT_ONCE<KEPT>)
    backward_all(matrix<T> dx, float *partial, matrix<T> dy, matrix<T> x, const float *rstd,
                 const W *w, int64_t rows, int64_t cols)
{
    float factor[KEPT][N], sum[KEPT][N] = {};
    pack<T, N> next_x[KEPT], next_g[KEPT], next_out[KEPT];
    auto fetch = [&](int64_t row) {
        over_row<N, KEPT>(cols, [&](int k, int64_t col) {
            next_x[k] = pack_at<N>(x.at(row, col));
            next_g[k] = pack_at<N>(dy.at(row, col));
            next_out[k] = pack_at<N>(dx.at(row, col));
        });
    };
    over_row<N, KEPT>(cols, [&](int k, int64_t col) { load<N>(factor[k], w + col); });
    fetch(blockIdx.x);
    for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
        const float r = rstd[row];
        pack<T, N> at_x[KEPT], out[KEPT];
        float g[KEPT][N], product = 0;
        over_row<N, KEPT>(cols, [&](int k, int64_t) {
            float a[N];
            at_x[k] = next_x[k];
            out[k] = next_out[k];
            unpack<N>(a, at_x[k]);
            unpack<N>(g[k], next_g[k]);
            for (int i = 0; i < N; i++) {
                sum[k][i] += a[i] * (g[k][i] * r);
                g[k][i] *= factor[k][i];
                product += g[k][i] * a[i];
            }
        });
        if (row + gridDim.x < rows) fetch(row + gridDim.x);
        const float mean = block_sum(product) / (float)cols * r * r * r;
        over_row<N, KEPT>(cols, [&](int k, int64_t col) {
            float a[N], to[N];
            unpack<N>(a, at_x[k]);
            unpack<N>(to, out[k]);
            for (int i = 0; i < N; i++)
                to[i] += g[k][i] * r - a[i] * mean;
            store<N>(dx.at(row, col), to);
        });
    }
    over_row<N, KEPT>(cols, [&](int k, int64_t col) {
        store<N>(partial + (int64_t)blockIdx.x * cols + col, sum[k]);
    });
}

/* Runs BODY with KEPT, the packs of a row that a thread has, 0 for many. */
#define MR_BY_LENGTH(packs_, KEPT, ...)                                                            \
    do {                                                                                           \
        if ((packs_) <= MOST_THREADS) {                                                            \
            constexpr int KEPT = 1;                                                                \
            __VA_ARGS__                                                                            \
        } else if ((packs_) <= 2 * MOST_THREADS) {                                                 \
            constexpr int KEPT = 2;                                                                \
            __VA_ARGS__                                                                            \
        } else {                                                                                   \
            constexpr int KEPT = 0;                                                                \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    } while (0)

void mr_cuda_rmsnorm_forward(mr_backend *be, mr_tensor y, mr_tensor rstd, mr_tensor sum,
                             mr_tensor x, mr_tensor addend, mr_tensor w, double eps)
{
    cudaStream_t stream = mr_cuda_of(be)->stream;
    if (y.rows == 0) return;
    if (!mr_tensor_exists(addend)) sum = mr_tensor{};
    MR_BY_TYPE(y.dtype, T, {
        MR_BY_TYPE(w.dtype, W, {
            MR_BY_WIDTH(all_wide(pack_of(y.dtype), {y, sum, x, addend, w}), T, N, {
                MR_BY_LENGTH(y.cols / N, KEPT, {
                    forward<T, W, N, KEPT>
                        <<<(unsigned)y.rows, threads_for(y.cols / N), 0, stream>>>(
                            y, (float *)mr_cuda_at(rstd), sum, x, addend, (const W *)mr_cuda_at(w),
                            y.cols, (float)eps);
                });
            });
        });
    });
}

template <typename T, typename W, int N, int KEPT>
static void run_backward(mr_backend *be, mr_tensor dx, mr_tensor dw, mr_tensor dy, mr_tensor x,
                         mr_tensor rstd, mr_tensor w)
{
    enum { MULTIPROCESSORS = 132 }; /* of an H200, on any device: sums are taken alike */
    cudaStream_t stream = mr_cuda_of(be)->stream;
    const float *r = (const float *)mr_cuda_at(rstd);
    const W *factor = (const W *)mr_cuda_at(w);
    const unsigned threads = threads_for(x.cols / N);
    matrix<T> g(dy), from(x);
    if constexpr (KEPT > 0) {
        if (mr_tensor_exists(dw)) {
            const int64_t most = MULTIPROCESSORS * (ROWS_AT_ONCE<KEPT> * MOST_THREADS / threads);
            const unsigned blocks = (unsigned)(x.rows < most ? x.rows : most);
            float *partial =
                (float *)mr_cuda_scratch(be, blocks * (size_t)x.cols * sizeof *partial);
            if (!partial) return;
            backward_all<T, W, N, KEPT>
                <<<blocks, threads, 0, stream>>>(dx, partial, dy, x, r, factor, x.rows, x.cols);
            finish_columns<1>(be, {{(float *)mr_cuda_at(dw)}}, partial, (int)blocks, x.cols);
            return;
        }
    }
    backward<T, W, N, KEPT><<<(unsigned)x.rows, threads, 0, stream>>>(dx, dy, x, r, factor, x.cols);
    if (!mr_tensor_exists(dw)) return;
    sum_columns<T, N, 2, 1>(
        be, {{(float *)mr_cuda_at(dw)}}, x.rows, x.cols,
        [=] __device__(int64_t row, int64_t col, pack<T, N>(&in)[2]) {
            in[0] = pack_at<N>(g.at(row, col));
            in[1] = pack_at<N>(from.at(row, col));
        },
        [=] __device__(int64_t row, int64_t, const pack<T, N>(&in)[2], float(&sum)[1][N]) {
            float a[N], b[N];
            unpack(a, in[0]);
            unpack(b, in[1]);
            for (int i = 0; i < N; i++)
                sum[0][i] += b[i] * (a[i] * r[row]);
        });
}

void mr_cuda_rmsnorm_backward(mr_backend *be, mr_tensor dx, mr_tensor dw, mr_tensor dy, mr_tensor x,
                              mr_tensor rstd, mr_tensor w)
{
    if (x.rows == 0) return;
    MR_BY_TYPE(x.dtype, T, {
        MR_BY_TYPE(w.dtype, W, {
            MR_BY_WIDTH(all_wide(pack_of(x.dtype), {dx, dy, x, w}), T, N, {
                MR_BY_LENGTH(x.cols / N, KEPT,
                             { run_backward<T, W, N, KEPT>(be, dx, dw, dy, x, rstd, w); });
            });
        });
    });
}

void mr_cuda_rope(mr_backend *be, mr_tensor x, mr_tensor cosine, mr_tensor sine,
                  mr_tensor positions, int64_t head_size, bool inverse)
{
    const int half = (int)(head_size / 2);
    const float sign = inverse ? -1.0f : 1.0f;
    const int32_t *position = (const int32_t *)mr_cuda_at(positions);
    const int n = pack_of(x.dtype);
    MR_BY_TYPE(x.dtype, T, {
        MR_BY_WIDTH(half % n == 0 && all_wide(n, {x, cosine, sine}), T, N, {
            matrix<T> to(x);
            matrix<float> cosines(cosine), sines(sine);
            each<N>(be, x.rows, x.cols / 2, [=] __device__(int64_t row, int64_t pair) {
                int head = (int)pair / half, j = (int)pair % half;
                T *low = to.at(row, (int64_t)head * 2 * half + j), *high = low + half;
                float a[N], b[N], c[N], s[N];
                load<N>(a, low);
                load<N>(b, high);
                load<N>(c, cosines.at(position[row], j));
                load<N>(s, sines.at(position[row], j));
                for (int i = 0; i < N; i++) {
                    float si = sign * s[i], ai = a[i];
                    a[i] = ai * c[i] - b[i] * si;
                    b[i] = b[i] * c[i] + ai * si;
                }
                store<N>(low, a);
                store<N>(high, b);
            });
        });
    });
}
