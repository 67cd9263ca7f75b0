#include "linalg/product.h"

#include "base/memory.h"
#include "linalg/lapack_impl.h"

#include <limits.h>
#include <string.h>

void mr_product(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, double alpha,
                const double *a, const double *b, double beta, double *c)
{
    if (m == 0 || n == 0) return;
    /* Read column by column, row-major matrices are their transposes: c^T = op(b)^T op(a)^T. */
    const int rows = (int)m, cols = (int)n, inner = (int)k, one = 1;
    const int lda = transpose_a ? rows : inner, ldb = transpose_b ? inner : cols;
    dgemm_(transpose_b ? "T" : "N", transpose_a ? "T" : "N", &cols, &rows, &inner, &alpha, b,
           ldb > 0 ? &ldb : &one, a, lda > 0 ? &lda : &one, &beta, c, &cols, 1, 1);
}

mr_status mr_triangle_of_rows(double *a, int64_t rows, int64_t cols, double *triangle)
{
    MR_CHECK(rows >= 1 && rows <= cols && cols <= INT_MAX, MR_ERR_ARG,
             "triangle of rows: expected 1..%d columns and no more rows than columns, found %lld x "
             "%lld",
             INT_MAX, (long long)rows, (long long)cols);
    /* Column by column a is A^T = Q R, and A = R^T Q^T. */
    const int m = (int)cols, n = (int)rows, query = -1;
    int info = 0;
    double best = 0, unused = 0;
    dgeqrf_(&m, &n, a, &m, &unused, &best, &query, &info);
    MR_CHECK(info == 0 && best >= 1 && best <= INT_MAX, MR_ERR_NUMERIC,
             "triangle of rows: dgeqrf asks for a workspace of %g numbers for a %d x %d matrix, "
             "info %d",
             best, n, m, info);
    const int lwork = (int)best;
    double *work = mr_alloc_array(MR_MEM_OTHER, (size_t)lwork + (size_t)n, sizeof *work);
    if (!work) return MR_ERR_MEMORY;
    dgeqrf_(&m, &n, a, &m, work + lwork, work, &lwork, &info);
    mr_free(work);
    MR_CHECK(info == 0, MR_ERR_NUMERIC, "triangle of rows: dgeqrf of a %d x %d matrix: info %d", n,
             m, info);
    memset(triangle, 0, (size_t)(rows * rows) * sizeof *triangle);
    for (int64_t i = 0; i < rows; i++)
        memcpy(triangle + i * rows, a + i * cols, (size_t)(i + 1) * sizeof *triangle);
    return MR_OK;
}

mr_status mr_cholesky(double *a, int64_t n)
{
    MR_CHECK(n >= 1 && n <= INT_MAX, MR_ERR_ARG, "Cholesky: expected 1..%d rows, found %lld",
             INT_MAX, (long long)n);
    const int order = (int)n;
    int info = 0;
    /* The upper triangle, column by column, is the lower one, row by row. */
    dpotrf_("U", &order, a, &order, &info, 1);
    MR_CHECK(info == 0, MR_ERR_NUMERIC,
             "Cholesky: a %d x %d matrix is not positive definite at row %d", order, order,
             info - 1);
    for (int64_t i = 0; i < n; i++)
        memset(a + i * n + i + 1, 0, (size_t)(n - i - 1) * sizeof *a);
    return MR_OK;
}
