/* Products of which an element is one chain of multiply-adds, so that a row has the same bits
 * wherever it stands and whatever rows come with it. Those of a library have not: small ones take
 * other ways than large ones, and kernels for some processors sum the rows of a tile in several
 * orders. */

#include "backend/cpu/cpu.h"
#include "backend/cpu/vector.h"

enum {
    TALL = 4, /* rows and columns of what a product keeps in registers */
    WIDE = 32,
    PART = 128, /* of a sum: rows of a factor that are turned at a time */
    ROWS = 128  /* whose sums are kept meanwhile */
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* c [rows, cols] = alpha (a b + c), c not read unless `add`; rows <= TALL, cols <= WIDE. */
static inline void tile(int64_t rows, int64_t cols, int64_t k, float alpha, mr_cpu_matrix a,
                        mr_cpu_matrix b, float *c, int64_t c_stride, bool add)
{
    float sum[TALL][WIDE];
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            sum[i][j] = add ? c[i * c_stride + j] : 0;
    for (int64_t p = 0; p < k; p++)
        for (int64_t i = 0; i < rows; i++) {
            const float ai = a.at[i * a.stride + p];
            for (int64_t j = 0; j < cols; j++)
                sum[i][j] = mr_multiply_add(ai, b.at[p * b.stride + j], sum[i][j]);
        }
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            c[i * c_stride + j] = alpha * sum[i][j];
}

/* Whole tiles have their extents as constants, for the compiler. */
void mr_cpu_product(int64_t m, int64_t n, int64_t k, float alpha, mr_cpu_matrix a, mr_cpu_matrix b,
                    float *c, int64_t c_stride, bool add)
{
    for (int64_t j = 0; j < n; j += WIDE) {
        const int64_t cols = smaller(WIDE, n - j);
        const mr_cpu_matrix bj = {b.at + j, b.stride};
        int64_t i = 0;
        for (; i + TALL <= m && cols == WIDE; i += TALL)
            tile(TALL, WIDE, k, alpha, (mr_cpu_matrix){a.at + i * a.stride, a.stride}, bj,
                 c + i * c_stride + j, c_stride, add);
        for (; i < m && cols == WIDE; i++)
            tile(1, WIDE, k, alpha, (mr_cpu_matrix){a.at + i * a.stride, a.stride}, bj,
                 c + i * c_stride + j, c_stride, add);
        for (; i < m; i++)
            tile(1, cols, k, alpha, (mr_cpu_matrix){a.at + i * a.stride, a.stride}, bj,
                 c + i * c_stride + j, c_stride, add);
    }
}

/* Columns of c = alpha a b^T + beta c, at most WIDE from j on. */
static void columns(int64_t m, int64_t k, int64_t j, int64_t cols, float alpha, mr_cpu_matrix a,
                    mr_cpu_matrix b, float beta, float *c, int64_t c_stride)
{
    float turned[PART * WIDE], sums[ROWS * WIDE];
    for (int64_t row = 0; row < m; row += ROWS) {
        const int64_t rows = smaller(ROWS, m - row);
        for (int64_t from = 0; from < k; from += PART) {
            const int64_t part = smaller(PART, k - from);
            for (int64_t i = 0; i < WIDE; i++)
                for (int64_t p = 0; p < part; p++)
                    turned[p * WIDE + i] = i < cols ? b.at[(j + i) * b.stride + from + p] : 0;
            mr_cpu_product(rows, WIDE, part, 1,
                           (mr_cpu_matrix){a.at + row * a.stride + from, a.stride},
                           (mr_cpu_matrix){turned, WIDE}, sums, WIDE, from > 0);
        }
        for (int64_t i = 0; i < rows; i++) {
            float *ci = c + (row + i) * c_stride + j;
            for (int64_t p = 0; p < cols; p++)
                ci[p] = alpha * sums[i * WIDE + p] + (beta == 0 ? 0 : beta * ci[p]);
        }
    }
}

void mr_cpu_product_turned(const mr_backend *be, int64_t m, int64_t n, int64_t k, float alpha,
                           mr_cpu_matrix a, mr_cpu_matrix b, float beta, float *c, int64_t c_stride)
{
#pragma omp parallel for num_threads(mr_cpu_threads(be, m *n *k / 8))
    for (int64_t j = 0; j < n; j += WIDE)
        columns(m, k, j, smaller(WIDE, n - j), alpha, a, b, beta, c, c_stride);
}
