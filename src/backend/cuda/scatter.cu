/* Adding rows where ids repeat: ids are sorted, each keeping its row's number, and one block adds
 * all rows of an id in their order. */

#include "backend/cuda/kernel.cuh"

#include <cub/device/device_radix_sort.cuh>

enum { THREADS = 128 };

template <typename T, int N>
static __global__ void add_runs(matrix<float> y, matrix<T> x, const int32_t *ids,
                                const int32_t *rows, int count, int64_t cols)
{
    enum { AHEAD = 4 }; /* rows that are read before they are added */
    const int first = (int)blockIdx.x, id = ids[first];
    if (first > 0 && ids[first - 1] == id) return;
    int end = first + 1;
    while (end < count && ids[end] == id)
        end++;
    for (int64_t col = (int64_t)threadIdx.x * N; col < cols; col += (int64_t)THREADS * N) {
        float sum[N], v[AHEAD][N];
        load<N>(sum, y.at(id, col));
        int at = first;
        for (; at + AHEAD <= end; at += AHEAD) {
#pragma unroll
            for (int k = 0; k < AHEAD; k++)
                load<N>(v[k], x.at(rows[at + k], col));
#pragma unroll
            for (int k = 0; k < AHEAD; k++)
                for (int i = 0; i < N; i++)
                    sum[i] += v[k][i];
        }
        for (; at < end; at++) {
            load<N>(v[0], x.at(rows[at], col));
            for (int i = 0; i < N; i++)
                sum[i] += v[0][i];
        }
        store<N>(y.at(id, col), sum);
    }
}

static __global__ void number(int32_t *rows, int count)
{
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < count) rows[i] = i;
}

void mr_cuda_scatter_add_rows(mr_backend *be, mr_tensor y, mr_tensor x, mr_tensor ids)
{
    const int count = (int)ids.cols;
    const int32_t *id = (const int32_t *)mr_cuda_at(ids);
    cudaStream_t stream = mr_cuda_of(be)->stream;
    size_t room = 0, list = ((size_t)count * sizeof(int32_t) + 255) / 256 * 256;
    if (count == 0) return;
    mr_cuda_note(be,
                 cub::DeviceRadixSort::SortPairs(NULL, room, id, (int32_t *)NULL, (int32_t *)NULL,
                                                 (int32_t *)NULL, count, 0, 32, stream),
                 "a sort");
    char *scratch = (char *)mr_cuda_scratch(be, 3 * list + room);
    if (!scratch) return;
    int32_t *rows = (int32_t *)scratch, *sorted = (int32_t *)(scratch + list);
    int32_t *sorted_rows = (int32_t *)(scratch + 2 * list);
    number<<<(unsigned)((count + THREADS - 1) / THREADS), THREADS, 0, stream>>>(rows, count);
    mr_cuda_note(be,
                 cub::DeviceRadixSort::SortPairs(scratch + 3 * list, room, id, sorted, rows,
                                                 sorted_rows, count, 0, 32, stream),
                 "a sort");
    MR_BY_TYPE(x.dtype, T, {
        MR_BY_WIDTH(all_wide(pack_of(x.dtype), {y, x}), T, N, {
            add_runs<T, N>
                <<<(unsigned)count, THREADS, 0, stream>>>(y, x, sorted, sorted_rows, count, x.cols);
        });
    });
}
