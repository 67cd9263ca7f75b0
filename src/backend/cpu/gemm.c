#include "backend/cpu/cpu.h"

#include <cblas.h>
#include <omp.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* OpenBLAS's own controls, absent in other libraries. */
extern void openblas_set_num_threads(int num_threads) __attribute__((weak));
extern char *openblas_get_corename(void) __attribute__((weak));

void mr_cpu_choose_kernels(char **argv)
{
#if defined(__x86_64__)
    if (!openblas_get_corename || getenv("OPENBLAS_CORETYPE")) return;
    const char *core = openblas_get_corename();
    bool narrow = strcmp(core, "Haswell") == 0 || strcmp(core, "Zen") == 0 ||
                  strcmp(core, "Prescott") == 0 || strcmp(core, "Barcelona") == 0;
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!narrow || !wide || setenv("OPENBLAS_CORETYPE", "SkylakeX", 1) != 0) return;
    execv("/proc/self/exe", argv);
    /* Still here: slower kernels compute the same. */
#else
    (void)argv;
#endif
}

void mr_cpu_blas_single_thread(void)
{
    if (openblas_set_num_threads) openblas_set_num_threads(1);
    omp_set_num_threads(1); /* which others go by; our own regions all say how many they are */
}

bool mr_cpu_rows_alike(void)
{
    enum { ROWS = 48, SIDE = 64 }; /* rows of a whole tile of any kernel */
    static float a[ROWS * SIDE], b[SIDE * SIDE], c[ROWS * SIDE];
    static int alike = -1;
    if (alike >= 0) return alike;
    for (int i = 0; i < SIDE * SIDE; i++)
        b[i] = (float)(i * 37 % 101) / 101;
    for (int i = 0; i < ROWS * SIDE; i++)
        a[i] = (float)(i % SIDE * 53 % 97) / 97;
    mr_cpu_sgemm(false, true, ROWS, SIDE, SIDE, 1, a, SIDE, b, SIDE, 0, c, SIDE);
    alike = 1;
    for (int i = 1; i < ROWS; i++)
        alike = alike && memcmp(c, c + i * SIDE, SIDE * sizeof *c) == 0;
    return alike;
}

static int blas_int(int64_t extent)
{
    MR_INVARIANT(extent >= 0 && extent <= INT_MAX);
    return (int)extent;
}

void mr_cpu_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                  const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                  int64_t ldc)
{
    if (m == 0 || n == 0) return;
    if (m == 1 && !transpose_a && transpose_b) { /* reads b once, where a product packs it first */
        cblas_sgemv(CblasRowMajor, CblasNoTrans, blas_int(n), blas_int(k), alpha, b, blas_int(ldb),
                    a, 1, beta, c, 1);
        return;
    }
    cblas_sgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
                transpose_b ? CblasTrans : CblasNoTrans, blas_int(m), blas_int(n), blas_int(k),
                alpha, a, blas_int(lda), b, blas_int(ldb), beta, c, blas_int(ldc));
}

/* Returns the first of part i of `parts` near-equal parts of extent, in multiples of unit. */
static int64_t cut(int64_t extent, int64_t unit, int part, int parts)
{
    int64_t units = (extent + unit - 1) / unit;
    int64_t first = units * part / parts * unit;
    return first < extent ? first : extent;
}

/* Whether the library may give a row other bits with other rows: where it knows a way of its own
 * for products of 100^3 multiply-adds and less, a small weight's are some of these. */
static bool rows_differ(int64_t n, int64_t k)
{
    enum { LEAST = 16, SMALL = 1000000 }; /* rows that a larger weight is multiplied with */
    return n * k * LEAST <= SMALL || !mr_cpu_rows_alike();
}

void mr_cpu_gemm(mr_backend *be, bool transpose_a, bool transpose_b, float alpha, mr_tensor a,
                 mr_tensor b, float beta, mr_tensor c)
{
    int64_t m = c.rows, n = c.cols, k = transpose_a ? a.rows : a.cols;
    const float *pa = mr_cpu_f32(a), *pb = mr_cpu_f32(b);
    float *pc = mr_cpu_f32(c);
    /* The longer side of c is cut, and each thread computes its part alone: less to synchronise
     * than in the library's own threading. 48 is a multiple of the usual kernels' tiles. */
    enum { TILE = 48 };
    int threads = mr_cpu_threads(be, m * n * k / 8);
    bool by_rows = m >= n;
    if (be->each_row && !transpose_a && transpose_b && k > 0 && rows_differ(n, k)) {
        mr_cpu_product_turned(be, m, n, k, alpha, (mr_cpu_matrix){pa, a.stride},
                              (mr_cpu_matrix){pb, b.stride}, beta, pc, c.stride);
        return;
    }
#pragma omp parallel num_threads(threads)
    {
        int part = omp_get_thread_num(), parts = omp_get_num_threads();
        int64_t extent = by_rows ? m : n;
        int64_t first = cut(extent, TILE, part, parts);
        int64_t count = cut(extent, TILE, part + 1, parts) - first;
        if (by_rows)
            mr_cpu_sgemm(transpose_a, transpose_b, count, n, k, alpha,
                         pa + first * (transpose_a ? 1 : a.stride), a.stride, pb, b.stride, beta,
                         pc + first * c.stride, c.stride);
        else
            mr_cpu_sgemm(transpose_a, transpose_b, m, count, k, alpha, pa, a.stride,
                         pb + first * (transpose_b ? b.stride : 1), b.stride, beta, pc + first,
                         c.stride);
    }
}
