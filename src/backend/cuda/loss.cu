/* Cross-entropy and the most probable token, a block a row. */

#include "backend/cuda/kernel.cuh"

enum { THREADS = 512 };

/* N elements of a row from a column on, `other` behind the row's end: rows may end within a pack
 * that their stride has room for. */
template <int N, typename T>
static __device__ void load_some(float (&out)[N], const T *row, int64_t col, int64_t cols,
                                 float other)
{
    if (col + N <= cols)
        load<N>(out, row + col);
    else
        for (int i = 0; i < N; i++)
            out[i] = col + i < cols ? to_float(row[col + i]) : other;
}

template <int N, typename T>
static __device__ void store_some(T *row, int64_t col, int64_t cols, const float (&in)[N])
{
    if (col + N <= cols)
        store<N>(row + col, in);
    else
        for (int i = 0; i < N && col + i < cols; i++)
            row[col + i] = from_float<T>(in[i]);
}

template <typename T, int N>
static __global__ void cross_entropy(matrix<T> logits, int64_t cols, const int32_t *targets,
                                     double *losses, bool gradient, float scale)
{
    T *row = logits.at(blockIdx.x, 0);
    const int64_t first = (int64_t)threadIdx.x * N, step = (int64_t)THREADS * N;
    const int32_t target = targets[blockIdx.x];
    float v[N];
    if (target < 0) {
        if (threadIdx.x == 0) losses[blockIdx.x] = 0;
        for (int i = 0; i < N; i++)
            v[i] = 0;
        for (int64_t col = first; gradient && col < cols; col += step)
            store_some<N>(row, col, cols, v);
        return;
    }
    float top = -INFINITY, sum = 0;
    for (int64_t col = first; col < cols; col += step) {
        load_some<N>(v, row, col, cols, -INFINITY);
        for (int i = 0; i < N; i++)
            top = fmaxf(top, v[i]);
    }
    top = block_max(top);
    for (int64_t col = first; col < cols; col += step) {
        load_some<N>(v, row, col, cols, -INFINITY);
        for (int i = 0; i < N; i++)
            sum += expf(v[i] - top);
    }
    double total = block_sum((double)sum);
    if (threadIdx.x == 0)
        losses[blockIdx.x] = log(total) - ((double)to_float(row[target]) - (double)top);
    if (!gradient) return;
    __syncthreads(); /* the target's logit has been read */
    const float factor = (float)((double)scale / total);
    for (int64_t col = first; col < cols; col += step) {
        load_some<N>(v, row, col, cols, -INFINITY);
        for (int i = 0; i < N; i++)
            v[i] = expf(v[i] - top) * factor - (col + i == target ? scale : 0.0f);
        store_some<N>(row, col, cols, v);
    }
}

void mr_cuda_cross_entropy(mr_backend *be, mr_tensor logits, mr_tensor targets, mr_tensor losses,
                           bool gradient, float scale)
{
    if (logits.rows == 0) return;
    mr_tensor rows = logits; /* that are taken by packs where they begin at one */
    rows.cols = rows.rows > 1 ? rows.stride : 0;
    MR_BY_TYPE(logits.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(logits.dtype), {rows}), T, N, {
            cross_entropy<T, N><<<(unsigned)logits.rows, THREADS, 0, mr_cuda_of(be)->stream>>>(
                logits, logits.cols, (const int32_t *)mr_cuda_at(targets),
                (double *)mr_cuda_at(losses), gradient, scale);
        });
    });
}

/* What comes first of two: the larger, of equals the one that stands first. */
static __device__ void take_better(float &value, int64_t &at, float other, int64_t other_at)
{
    if (other > value || (other == value && other_at < at)) {
        value = other;
        at = other_at;
    }
}

template <typename T> static __global__ void argmax(int32_t *ids, matrix<T> logits, int64_t cols)
{
    __shared__ float values[THREADS / 32];
    __shared__ int64_t places[THREADS / 32];
    const T *row = logits.at(blockIdx.x, 0);
    /* Nothing is larger than a first element that is no number. */
    float best = to_float(row[0]);
    int64_t at = 0;
    for (int64_t col = threadIdx.x; col < cols; col += THREADS)
        take_better(best, at, to_float(row[col]), col);
    for (int step = 16; step > 0; step /= 2)
        take_better(best, at, __shfl_xor_sync(0xffffffffu, best, step),
                    __shfl_xor_sync(0xffffffffu, at, step));
    if (threadIdx.x % 32 == 0) {
        values[threadIdx.x / 32] = best;
        places[threadIdx.x / 32] = at;
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int i = 0; i < THREADS / 32; i++)
        take_better(best, at, values[i], places[i]);
    ids[blockIdx.x] = (int32_t)at;
}

void mr_cuda_argmax(mr_backend *be, mr_tensor ids, mr_tensor logits)
{
    if (logits.rows == 0) return;
    MR_BY_TYPE(logits.dtype, T, {
        argmax<T><<<(unsigned)logits.rows, THREADS, 0, mr_cuda_of(be)->stream>>>(
            (int32_t *)mr_cuda_at(ids), logits, logits.cols);
    });
}
