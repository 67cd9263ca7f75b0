#ifndef MR_BACKEND_CUDA_ATTENTION_MMA_CUH
#define MR_BACKEND_CUDA_ATTENTION_MMA_CUH

/** @file
 * Rows of a head in BF16 as factors of the tensor cores: many in shared memory, D columns each, and
 * 16 M in the registers of a warp, with which products are made of them. */

#include "backend/cuda/mma.cuh"

/** Where a lane stands in squares (mma.cuh). */
struct lane_place {
    int g, t;

    __device__ lane_place() : g((int)threadIdx.x % 32 / 4), t((int)threadIdx.x % 4)
    {
    }
};

/** Which pack of 16 bytes of its row stands at the first place is another for rows of a square, so
 * that these meet in no bank. */
template <int D> __device__ inline int turn_of(int row)
{
    return D == 64 ? row & 7 : D == 48 ? row >> 2 & 1 : row >> 1 & 3;
}

template <int D> __device__ inline uint32_t place(uint32_t room, int row, int pack)
{
    return room + (uint32_t)((row * (D / 8) + (pack ^ turn_of<D>(row & 7))) * 16);
}

/** Starts fetching rows of a head, zeros where it ends. */
template <int D>
__device__ inline void fetch_rows(uint32_t room, matrix<bf16> from, int64_t row, int64_t col,
                                  int rows, int tokens, int size)
{
    for (int i = threadIdx.x; i < rows * (D / 8); i += blockDim.x) {
        const int r = i / (D / 8), pack = i % (D / 8);
        const bool there = r < tokens && 8 * pack < size;
        fetch_pack(place<D>(room, r, pack),
                   from.at(there ? row + r : row, there ? col + 8 * pack : 0), there);
    }
}

/** Brings lines of rows that are read later nearer. */
__device__ inline void approach(matrix<bf16> from, int64_t row, int64_t col, int tokens, int size)
{
    for (int r = threadIdx.x; r < tokens; r += blockDim.x) {
        asm volatile("prefetch.global.L2 [%0];" ::"l"(from.at(row + r, col)));
        asm volatile("prefetch.global.L2 [%0];" ::"l"(from.at(row + r, col + size - 8)));
    }
}

__device__ inline void await_rows()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
}

/** A warp's rows, as left factors. */
template <int D, int M> struct own_rows {
    uint32_t at[M][D / 16][4];

    __device__ void read(matrix<bf16> from, int64_t row, int64_t col, int first, int tokens,
                         int size)
    {
        const lane_place lane;
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int r = first + 16 * i + 8 * h + lane.g;
                const bool there = r < tokens;
                const uint32_t *data =
                    (const uint32_t *)from.at(row + (there ? r : 0), col + 2 * lane.t);
#pragma unroll
                for (int k = 0; k < D / 8; k++) /* columns by 8 */
                    at[i][k / 2][h + k % 2 * 2] = there && 8 * k < size ? data[4 * k] : 0;
            }
    }
};

/** A tile [16 M, N] of results. */
template <int M, int N> struct results {
    float at[M][N / 8][4];

    __device__ void clear()
    {
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
            for (int n = 0; n < N / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    at[i][n][e] = 0;
    }

    /* Writes rows of a head, times a factor for each of a lane's. */
    __device__ void write(matrix<bf16> to, int64_t row, int64_t col, int first, int tokens,
                          int size, const float (&factor)[M][2]) const
    {
        const lane_place lane;
#pragma unroll
        for (int i = 0; i < M; i++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int r = first + 16 * i + 8 * h + lane.g;
                if (r >= tokens) continue;
                uint32_t *data = (uint32_t *)to.at(row + r, col + 2 * lane.t);
#pragma unroll
                for (int n = 0; n < N / 8; n++)
                    if (8 * n < size)
                        data[4 * n] = pair_of(at[i][n][2 * h] * factor[i][h],
                                              at[i][n][2 * h + 1] * factor[i][h]);
            }
    }
};

/** Results as left factors: columns become what is summed over. */
template <int M, int N>
__device__ inline void as_factor(uint32_t (&to)[M][N / 16][4], const results<M, N> &from)
{
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int n = 0; n < N / 16; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                to[i][n][e] = pair_of(from.at[i][2 * n + e / 2][e % 2 * 2],
                                      from.at[i][2 * n + e / 2][e % 2 * 2 + 1]);
}

/** out = own rows^T, against N rows of shared memory. */
template <int D, int M, int N>
__device__ inline void against_rows(results<M, N> &out, const own_rows<D, M> &own, uint32_t room,
                                    int first)
{
    const int lane = threadIdx.x % 32, low = lane % 8 + lane / 16 * 8, pack = lane / 8 % 2;
    const int turn = turn_of<D>(lane % 8);
    const uint32_t begin = room + (uint32_t)((first + low) * D * 2);
    out.clear();
#pragma unroll
    for (int c = 0; c < D / 16; c++)
#pragma unroll
        for (int n = 0; n < N / 16; n++) {
            uint32_t b[4];
            read_squares(b, begin + (uint32_t)(n * 16 * D * 2 + ((2 * c + pack) ^ turn) * 16));
#pragma unroll
            for (int i = 0; i < M; i++) {
                multiply(out.at[i][2 * n], own.at[i][c], b[0], b[1]);
                multiply(out.at[i][2 * n + 1], own.at[i][c], b[2], b[3]);
            }
        }
}

/** sum += weights rows, of 16 N rows of shared memory. */
template <int D, int M, int N>
__device__ inline void add_rows(results<M, D> &sum, const uint32_t (&weights)[M][N][4],
                                uint32_t room, int first)
{
    const int lane = threadIdx.x % 32, turn = turn_of<D>(lane % 8);
    const uint32_t begin = room + (uint32_t)((first + lane % 16) * D * 2);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int c = 0; c < D / 16; c++) {
            uint32_t b[4];
            read_squares_turned(
                b, begin + (uint32_t)(n * 16 * D * 2 + ((2 * c + lane / 16) ^ turn) * 16));
#pragma unroll
            for (int i = 0; i < M; i++) {
                multiply(sum.at[i][2 * c], weights[i][n], b[0], b[1]);
                multiply(sum.at[i][2 * c + 1], weights[i][n], b[2], b[3]);
            }
        }
}

/** Sums over the four lanes that have a row between them. */
__device__ inline float lanes_sum(float value)
{
    value += __shfl_xor_sync(0xffffffffu, value, 1);
    return value + __shfl_xor_sync(0xffffffffu, value, 2);
}

__device__ inline float lanes_max(float value)
{
    value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
    return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}

#endif
