/* Products that cuBLASLt does not take: factors of different types, rows at odd places. Small ones,
 * so that a plain kernel by tiles will do. */

#include "backend/cuda/kernel.cuh"
#include "backend/eight.h"

/* A matrix of any type. */
struct either {
    void *data;
    const float *scale; /* of its rows, with 8 bits */
    int64_t stride;
    bool half, transposed;

    __host__ either(mr_tensor t, bool transposed_)
        : data(mr_cuda_at(t)), scale(NULL), stride(t.stride), half(t.dtype == MR_BF16),
          transposed(transposed_)
    {
    }
    __host__ either(mr_scaled t, bool transposed_) : either(t.values, transposed_)
    {
        scale = (const float *)mr_cuda_at(t.scale);
    }
    __device__ float get(int64_t row, int64_t col) const
    {
        int64_t at = transposed ? col * stride + row : row * stride + col;
        if (scale) return scale[transposed ? col : row] * mr_of_e4m3(((const uint8_t *)data)[at]);
        return half ? to_float(((const bf16 *)data)[at]) : ((const float *)data)[at];
    }
    __device__ void put(int64_t row, int64_t col, float value) const
    {
        int64_t at = row * stride + col;
        if (half)
            ((bf16 *)data)[at] = from_float<bf16>(value);
        else
            ((float *)data)[at] = value;
    }
};

enum { TILE = 16 };

static __global__ void product(either a, either b, either c, int64_t m, int64_t n, int64_t k,
                               float alpha, float beta)
{
    __shared__ float left[TILE][TILE + 1], right[TILE][TILE + 1];
    int64_t row = (int64_t)blockIdx.x * TILE + threadIdx.y;
    int64_t col = (int64_t)blockIdx.y * TILE + threadIdx.x;
    float sum = 0;
    for (int64_t first = 0; first < k; first += TILE) {
        int64_t inner = first + threadIdx.x, other = first + threadIdx.y;
        left[threadIdx.y][threadIdx.x] = row < m && inner < k ? a.get(row, inner) : 0.0f;
        right[threadIdx.y][threadIdx.x] = other < k && col < n ? b.get(other, col) : 0.0f;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TILE; i++)
            sum += left[threadIdx.y][i] * right[i][threadIdx.x];
        __syncthreads();
    }
    if (row < m && col < n)
        c.put(row, col, alpha * sum + (beta != 0 ? beta * c.get(row, col) : 0.0f));
}

static void run(mr_backend *be, either a, either b, int64_t k, float alpha, float beta, mr_tensor c)
{
    dim3 grid((unsigned)((c.rows + TILE - 1) / TILE), (unsigned)((c.cols + TILE - 1) / TILE));
    product<<<grid, dim3(TILE, TILE), 0, mr_cuda_queue(mr_cuda_of(be))>>>(
        a, b, either(c, false), c.rows, c.cols, k, alpha, beta);
}

void mr_cuda_gemm_any(mr_backend *be, bool transpose_a, bool transpose_b, float alpha, mr_tensor a,
                      mr_tensor b, float beta, mr_tensor c)
{
    run(be, either(a, transpose_a), either(b, transpose_b), transpose_a ? a.rows : a.cols, alpha,
        beta, c);
}

void mr_cuda_gemm_scaled_any(mr_backend *be, mr_scaled a, mr_scaled b, float beta, mr_tensor c)
{
    run(be, either(a, false), either(b, true), a.values.cols, 1, beta, c);
}
