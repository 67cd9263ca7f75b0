/* Cross-entropy and the most probable token, a block a row. */

#include "backend/cuda/kernel.cuh"

enum { THREADS = 512, TILE = 8 }; /* packs of a row that a thread has at a time */

/* Of logits of BF16 to far less than their own rounding; what is below 2^-126 is 0. */
template <typename T> static __device__ float exponential(float x)
{
    const float log2e = 1.44269504f;
    float y;
    if (sizeof(T) == sizeof(float)) return expf(x);
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * log2e));
    return y;
}

/* The largest of some logits, and the sum of exponentials of all less that one. */
template <typename T> struct softmax_sum {
    float top, sum;

    /* What is no number comes through. */
    template <int N> __device__ void add(const float (&v)[N])
    {
        float most = top;
#pragma unroll
        for (int i = 0; i < N; i++)
            most = fmaxf(most, v[i]);
        if (most > top) sum *= exponential<T>(top - most);
        top = most;
        const float from = top == -INFINITY ? 0.0f : top;
#pragma unroll
        for (int i = 0; i < N; i++)
            sum += exponential<T>(v[i] - from);
    }
};

/* A thread's whole packs of a row, from a column on; behind the last one, what is nothing to a
 * softmax. */
template <typename T, int N>
static __device__ void fetch(pack<T, N> (&tile)[TILE], const T *row, int64_t col, int64_t cols)
{
#pragma unroll
    for (int p = 0; p < TILE; p++, col += THREADS * N) {
#pragma unroll
        for (int i = 0; i < N; i++)
            tile[p].v[i] = from_float<T>(-INFINITY);
        if (col + N <= cols) tile[p] = pack_at<N>(row + col);
    }
}

/* Whole packs of a row go by tiles: one tile is read once, and again for the gradient where there
 * are several. What is behind the last pack goes by elements, one a thread. */
template <typename T, int N>
static __global__ void __launch_bounds__(THREADS, 2)
    cross_entropy(matrix<T> logits, int64_t cols, const int32_t *targets, double *losses,
                  bool gradient, float scale)
{
    const int64_t first = (int64_t)threadIdx.x * N, step = (int64_t)THREADS * N;
    const int64_t rest = threadIdx.x < cols % N ? cols - 1 - threadIdx.x : -1;
    const int32_t target = targets[blockIdx.x];
    T *row = logits.at(blockIdx.x, 0);
    if (target < 0) {
        if (threadIdx.x == 0) losses[blockIdx.x] = 0;
        for (int64_t col = threadIdx.x; gradient && col < cols; col += THREADS)
            row[col] = from_float<T>(0);
        return;
    }
    pack<T, N> tile[TILE];
    float v[N], one[1];
    softmax_sum<T> own = {-INFINITY, 0};
    for (int64_t col = first; col < cols; col += TILE * step) {
        fetch(tile, row, col, cols);
#pragma unroll
        for (int p = 0; p < TILE; p++) {
            unpack<N>(v, tile[p]);
            own.add(v);
        }
    }
    if (rest >= 0) {
        one[0] = to_float(row[rest]);
        own.add(one);
    }
    const float top = block_max(own.top);
    const double total = block_sum((double)(own.sum * exponential<T>(own.top - top)));
    if (threadIdx.x == 0)
        losses[blockIdx.x] = log(total) - ((double)to_float(row[target]) - (double)top);
    if (!gradient) return;
    __syncthreads(); /* the target's logit has been read */
    const float factor = (float)((double)scale / total);
    for (int64_t col = first; col < cols; col += TILE * step) {
        if (cols > TILE * step) fetch(tile, row, col, cols);
#pragma unroll
        for (int p = 0; p < TILE; p++) {
            const int64_t at = col + p * step;
            const int hit = (int)(target - at);
            if (at + N > cols) continue;
            unpack<N>(v, tile[p]);
#pragma unroll
            for (int i = 0; i < N; i++)
                v[i] = exponential<T>(v[i] - top) * factor - (i == hit ? scale : 0.0f);
            store<N>(row + at, v);
        }
    }
    if (rest >= 0)
        row[rest] =
            from_float<T>(exponential<T>(one[0] - top) * factor - (rest == target ? scale : 0.0f));
}

void mr_cuda_cross_entropy(mr_backend *be, mr_tensor logits, mr_tensor targets, mr_tensor losses,
                           bool gradient, float scale)
{
    if (logits.rows == 0) return;
    mr_tensor starts = logits; /* rows need not end with a pack */
    starts.cols = 0;
    MR_BY_TYPE(logits.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(logits.dtype), {starts}), T, N, {
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
