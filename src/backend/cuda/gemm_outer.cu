/* Products whose sums have few terms, as what LoRA adds to an output is one: [m, k] by [k, n] with
 * k up to 32. They are bound by writing the result, at which the library's kernels are slower. */

#include "backend/cuda/gemm_impl.h"
#include "backend/cuda/mma.cuh"

enum {
    STEP = 8,                     /* terms of a product of the tensor cores */
    TILE = 16,                    /* rows of it */
    WIDE = 8,                     /* columns of it */
    TILES = 4,                    /* products that give each lane columns side by side */
    PACK = 2 * TILES,             /* such columns, which it writes at once */
    PARTS = 2,                    /* packs of a lane in a row */
    STRIP = PARTS * TILES * WIDE, /* columns of a warp: a line of 128 bytes */
    WARPS = 8,                    /* a block */
    DOWN = 4,                     /* tiles of a block, one below the other */
};

/* Terms `first` and the next one of column `col` of the right factor, [n, k] or turned [k, n]. */
template <bool TURNED> static __device__ uint32_t terms_at(matrix<bf16> b, int first, int col)
{
    if (!TURNED) return *(const uint32_t *)b.at(col, first);
    const __nv_bfloat162 both = {*b.at(first, col), *b.at(first + 1, col)};
    return *(const uint32_t *)&both;
}

/* Of a tile's columns a lane gets two. They stand for columns of the result such that those of
 * TILES products follow one another there: with g = lane / 4 column g of product j is column
 * 8 (g / 2) + 2 j + g mod 2. */
template <int STEPS, bool TURNED>
static __global__ void __launch_bounds__(32 * WARPS)
    outer(matrix<bf16> c, matrix<bf16> a, matrix<bf16> b, int rows, int cols, float alpha)
{
    const int lane = (int)threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int strip = ((int)blockIdx.x * WARPS + (int)threadIdx.x / 32) * STRIP;
    const int top = (int)blockIdx.y * DOWN * TILE;
    uint32_t right[PARTS * TILES][STEPS];
#pragma unroll
    for (int j = 0; j < PARTS * TILES; j++) {
        const int col = strip + j / TILES * TILES * WIDE + PACK * (g / 2) + 2 * (j % TILES) + g % 2;
#pragma unroll
        for (int s = 0; s < STEPS; s++)
            right[j][s] = col < cols ? terms_at<TURNED>(b, s * STEP + 2 * t, col) : 0;
    }
    for (int first = top + g; first - g < rows && first < top + DOWN * TILE; first += TILE) {
        uint32_t left[STEPS][2];
#pragma unroll
        for (int s = 0; s < STEPS; s++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int row = first + half * TILE / 2;
                left[s][half] = row < rows ? *(const uint32_t *)a.at(row, s * STEP + 2 * t) : 0;
            }
#pragma unroll
        for (int part = 0; part < PARTS; part++) {
            const int col = strip + part * TILES * WIDE + PACK * t;
            float sum[TILES][4] = {};
#pragma unroll
            for (int j = 0; j < TILES; j++)
#pragma unroll
                for (int s = 0; s < STEPS; s++)
                    multiply(sum[j], left[s], right[part * TILES + j][s]);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int row = first + half * TILE / 2;
                const float(*of)[4] = sum;
                if (row >= rows || col >= cols) continue;
                *(uint4 *)c.at(row, col) = {
                    pair_of(alpha * of[0][2 * half], alpha * of[0][2 * half + 1]),
                    pair_of(alpha * of[1][2 * half], alpha * of[1][2 * half + 1]),
                    pair_of(alpha * of[2][2 * half], alpha * of[2][2 * half + 1]),
                    pair_of(alpha * of[3][2 * half], alpha * of[3][2 * half + 1])};
            }
        }
    }
}

template <int STEPS> static void run(mr_backend *be, bool turned, const mr_cuda_operands *o)
{
    const int rows = (int)o->c.rows, cols = (int)o->c.cols;
    const dim3 grid((unsigned)((cols + WARPS * STRIP - 1) / (WARPS * STRIP)),
                    (unsigned)((rows + DOWN * TILE - 1) / (DOWN * TILE)));
    (turned ? outer<STEPS, true>
            : outer<STEPS, false>)<<<grid, 32 * WARPS, 0, mr_cuda_queue(mr_cuda_of(be))>>>(
        o->c, o->a, o->b, rows, cols, o->alpha);
}

/* Whether pairs of a factor's elements are words. */
static bool has_pairs(mr_tensor t)
{
    return t.dtype == MR_BF16 && t.stride % 2 == 0 && (uintptr_t)mr_cuda_at(t) % 4 == 0;
}

bool mr_cuda_gemm_outer(mr_backend *be, bool transpose_a, bool transpose_b,
                        const mr_cuda_operands *o)
{
    static void (*const by_steps[])(mr_backend *, bool,
                                    const mr_cuda_operands *) = {run<1>, run<2>, run<3>, run<4>};
    enum { STEPS = sizeof by_steps / sizeof *by_steps, MOST_DOWN = 65535 };
    const int64_t steps = o->a.cols / STEP;
    if (transpose_a || o->beta != 0 || o->a.cols % STEP != 0 || steps < 1 || steps > STEPS)
        return false;
    if (!has_pairs(o->a) || o->b.dtype != MR_BF16 || (transpose_b && !has_pairs(o->b)) ||
        o->c.dtype != MR_BF16 || !all_wide(PACK, {o->c}) ||
        o->c.rows > (int64_t)MOST_DOWN * DOWN * TILE || o->c.cols > INT32_MAX / 2)
        return false;
    if (o->c.rows > 0 && o->c.cols > 0) by_steps[steps - 1](be, !transpose_b, o);
    return true;
}
