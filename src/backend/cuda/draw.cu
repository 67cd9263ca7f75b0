/* Random numbers with the bits that the host gives them. */

#include "backend/cuda/kernel.cuh"

enum { THREADS = 256, DOUBTFUL = 1024 };
static const int64_t AT_ONCE = 1 << 28; /* elements */

/* Elements that another library's logarithm, sine and cosine might round to another number. */
struct doubtful {
    unsigned long long count;
    int64_t at[DOUBTFUL];
};

/* Both libraries are within a few units of the last place of a double, 2^-53, of the exact value:
 * what rounds to one number from 2^-46 below to 2^-46 above itself is beyond doubt. */
template <typename T>
static __global__ void normal_kernel(T *x, int64_t n, mr_random stream, uint64_t first,
                                     double scale, doubtful *list)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    const double value = scale * mr_random_normal(&stream, first + (uint64_t)i);
    const T low = from_float<T>((float)(value - 0x1p-46 * value));
    const T high = from_float<T>((float)(value + 0x1p-46 * value));
    x[i] = low;
    if (to_float(low) == to_float(high)) return;
    const unsigned long long place = atomicAdd(&list->count, 1ull);
    if (place < DOUBTFUL) list->at[place] = i;
}

static void draw(mr_backend *be, mr_tensor x, mr_random stream, int64_t first, double scale)
{
    mr_cuda *cu = mr_cuda_of(be);
    const int64_t n = x.cols;
    doubtful *list = (doubtful *)mr_cuda_scratch(be, sizeof *list), found;
    if (!list || n == 0) return;
    mr_cuda_note(be, cudaMemsetAsync(list, 0, sizeof list->count, cu->stream), "a draw");
    MR_BY_TYPE(x.dtype, T, {
        normal_kernel<T><<<(unsigned)((n + THREADS - 1) / THREADS), THREADS, 0, cu->stream>>>(
            (T *)mr_cuda_at(x), n, stream, (uint64_t)first, scale, list);
    });
    found.count = 0;
    mr_cuda_note(be,
                 cudaMemcpyAsync(&found, list, sizeof found, cudaMemcpyDeviceToHost, cu->stream),
                 "a draw");
    mr_cuda_note(be, cudaStreamSynchronize(cu->stream), "a draw");
    if (found.count > DOUBTFUL) { /* a list is long enough for some hundred million elements */
        draw(be, mr_tensor_cols(x, 0, n / 2), stream, first, scale);
        draw(be, mr_tensor_cols(x, n / 2, n - n / 2), stream, first + n / 2, scale);
        return;
    }
    for (unsigned long long k = 0; k < found.count; k++) {
        const int64_t i = found.at[k];
        const float value = (float)(scale * mr_random_normal(&stream, (uint64_t)(first + i)));
        mr_cuda_upload(be, mr_tensor_cols(x, i, 1), &value);
    }
}

void mr_cuda_normal(mr_backend *be, mr_tensor x, mr_random stream, int64_t first, double scale)
{
    for (int64_t done = 0; done < x.cols; done += AT_ONCE) {
        const int64_t left = x.cols - done, count = left < AT_ONCE ? left : (int64_t)AT_ONCE;
        draw(be, mr_tensor_cols(x, done, count), stream, first + done, scale);
    }
}
