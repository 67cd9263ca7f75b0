/* Products of factors of 8 bits, as what a device computes is specified: the host has no
 * instructions for them, so that they are made F32 again, tile by tile. */

#include "backend/eight.h"

#include "backend/cpu/cpu.h"

#include <math.h>

static uint8_t *bytes_of(mr_tensor t)
{
    return (uint8_t *)t.buffer->data + t.offset;
}

/* To the nearest, to even of two, of numbers up to 448. */
static uint8_t e4m3_of(float value)
{
    uint32_t bits, size = mr_size_bits(value);
    memcpy(&bits, &value, sizeof bits);
    const uint8_t sign = (uint8_t)(bits >> 24 & 0x80u);
    if (size < 0x3c800000u) return (uint8_t)(sign | (uint8_t)lrintf(fabsf(value) * 0x1p9f));
    size += 0x7ffffu + (size >> 20 & 1u);
    return (uint8_t)(sign | (uint8_t)((size >> 20) - 960u)); /* biases are 127 and 7 */
}

void mr_cpu_quantize(mr_backend *be, mr_scaled y, mr_tensor x, bool transposed)
{
    const float *px = mr_cpu_f32(x);
    float *scale = mr_cpu_f32(y.scale);
    const int64_t rows = y.values.rows, cols = y.values.cols;
    const int64_t down = transposed ? 1 : x.stride, along = transposed ? x.stride : 1;
#pragma omp parallel for num_threads(mr_cpu_threads(be, rows *cols))
    for (int64_t i = 0; i < rows; i++) {
        const float *from = px + i * down;
        uint8_t *to = bytes_of(y.values) + i * cols;
        uint32_t most = 0;
        for (int64_t j = 0; j < cols; j++) {
            const uint32_t size = mr_size_bits(from[j * along]);
            most = size > most ? size : most;
        }
        scale[i] = mr_scale_of(most);
        const float inverse = mr_scale_inverse(most);
        for (int64_t j = 0; j < cols; j++)
            to[j] = most < 0x7f800000u ? e4m3_of(from[j * along] * inverse) : MR_E4M3_NAN;
    }
}

/* A part of a matrix as F32, in rows of `side`. */
static void unpack(float *to, int64_t side, mr_scaled a, int64_t row, int64_t rows, int64_t col,
                   int64_t cols)
{
    for (int64_t i = row; i < row + rows; i++, to += side) {
        const uint8_t *from = bytes_of(a.values) + i * a.values.cols + col;
        const float scale = mr_cpu_f32(a.scale)[i];
        for (int64_t j = 0; j < cols; j++)
            to[j] = scale * mr_of_e4m3(from[j]);
    }
}

static int64_t part(int64_t extent, int64_t first, int64_t most)
{
    return extent - first < most ? extent - first : most;
}

void mr_cpu_gemm_scaled(mr_backend *be, mr_scaled a, mr_scaled b, float beta, mr_tensor c)
{
    enum { SIDE = MR_CPU_BLOCK }; /* two squares are the scratch of a thread */
    const int64_t m = c.rows, n = c.cols, k = a.values.cols;
    const int64_t across = (n + SIDE - 1) / SIDE, tiles = (m + SIDE - 1) / SIDE * across;
#pragma omp parallel for num_threads(mr_cpu_threads(be, m *n *k / 8))
    for (int64_t tile = 0; tile < tiles; tile++) {
        float *left = mr_cpu_scratch(be), *right = left + SIDE * SIDE;
        const int64_t row = tile / across * SIDE, col = tile % across * SIDE;
        const int64_t rows = part(m, row, SIDE), cols = part(n, col, SIDE);
        for (int64_t at = 0; at < k; at += SIDE) {
            const int64_t inner = part(k, at, SIDE);
            unpack(left, SIDE, a, row, rows, at, inner);
            unpack(right, SIDE, b, col, cols, at, inner);
            mr_cpu_sgemm(false, true, rows, cols, inner, 1, left, SIDE, right, SIDE,
                         at == 0 ? beta : 1, mr_cpu_f32(c) + row * c.stride + col, c.stride);
        }
    }
}
