#include "linalg/svd.h"

#include "base/memory.h"
#include "linalg/lapack_impl.h"
#include "linalg/svd_impl.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* A factorisation of a matrix read column by column: the transpose of the row-major one, whose
 * vectors have changed sides, so that no element moves. */
typedef struct problem {
    int m, n, smaller; /* m x n */
    double *a;         /* overwritten */
    double *values;    /* [smaller] */
    double *u;         /* m x smaller */
    double *vt;        /* smaller x n */
    int *iwork;
} problem;

mr_status mr_svd_check_extents(int64_t rows, int64_t cols)
{
    MR_CHECK(rows >= 1 && rows <= INT_MAX && cols >= 1 && cols <= INT_MAX, MR_ERR_ARG,
             "singular values: expected a matrix with extents of 1..%d, found %lld x %lld", INT_MAX,
             (long long)rows, (long long)cols);
    return MR_OK;
}

mr_status mr_svd_refuse(int64_t rows, int64_t cols, int64_t row, int64_t col, double value)
{
    return mr_fail(MR_ERR_NUMERIC,
                   "singular values: row %lld, column %lld of a %lld x %lld matrix is %g, expected "
                   "a finite number",
                   (long long)row, (long long)col, (long long)rows, (long long)cols, value);
}

mr_status mr_svd_check(const double *a, int64_t rows, int64_t cols, double *largest)
{
    MR_TRY(mr_svd_check_extents(rows, cols));
    *largest = 0;
    /* LAPACK gives back NaN for what is not finite, or never comes back where it makes vectors. */
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            const double x = fabs(a[i * cols + j]);
            if (!isfinite(x)) return mr_svd_refuse(rows, cols, i, j, a[i * cols + j]);
            if (x > *largest) *largest = x;
        }
    return MR_OK;
}

mr_status mr_svd_check_largest(int64_t rows, int64_t cols, double value)
{
    MR_CHECK(isfinite(value), MR_ERR_NUMERIC,
             "singular values: the largest one of a %lld x %lld matrix is %g, expected a finite "
             "number",
             (long long)rows, (long long)cols, value);
    return MR_OK;
}

/* Calls dgesdd with a workspace, or asks for its size by lwork -1. Returns info. */
static int call(const problem *p, double *work, int lwork)
{
    int info = 0;
    dgesdd_("S", &p->m, &p->n, p->a, &p->m, p->values, p->u, &p->m, p->vt, &p->smaller, work,
            &lwork, p->iwork, &info, 1);
    return info;
}

static mr_status solve(const problem *p)
{
    double best = 0;
    int info = call(p, &best, -1);
    MR_CHECK(info == 0 && best >= 1 && best <= INT_MAX, MR_ERR_NUMERIC,
             "singular vectors: dgesdd asks for a workspace of %g numbers for a %d x %d matrix, "
             "info %d",
             best, p->n, p->m, info);
    double *work = mr_alloc_array(MR_MEM_OTHER, (size_t)best, sizeof *work);
    if (!work) return MR_ERR_MEMORY;
    info = call(p, work, (int)best);
    mr_free(work);
    MR_CHECK(info == 0, MR_ERR_NUMERIC, "singular vectors: dgesdd of a %d x %d matrix: info %d",
             p->n, p->m, info);
    return mr_svd_check_largest(p->n, p->m, p->values[0]);
}

/* u [smaller, n] from its transpose. */
static void take_left(const problem *p, double *u)
{
    for (int64_t j = 0; j < p->smaller; j++)
        for (int64_t i = 0; i < p->n; i++)
            u[j * p->n + i] = p->vt[i * p->smaller + j];
}

mr_status mr_svd(const double *a, int64_t rows, int64_t cols, double *values, double *u, double *v)
{
    double largest;
    MR_TRY(mr_svd_check(a, rows, cols, &largest));
    problem p = {.m = (int)cols,
                 .n = (int)rows,
                 .smaller = (int)(rows < cols ? rows : cols),
                 .values = values,
                 .u = v};
    /* Two extents below 2^31 do not overflow size_t; their bytes may, which mr_alloc_array sees. */
    const size_t count = (size_t)rows * (size_t)cols;
    p.a = mr_alloc_array(MR_MEM_OTHER, count, sizeof *p.a);
    p.vt = mr_alloc_array(MR_MEM_OTHER, (size_t)p.smaller * (size_t)rows, sizeof *p.vt);
    p.iwork = mr_alloc_array(MR_MEM_OTHER, (size_t)p.smaller, 8 * sizeof *p.iwork);
    mr_status status = p.a && p.vt && p.iwork ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) {
        memcpy(p.a, a, count * sizeof *a);
        status = solve(&p);
    }
    if (status == MR_OK) take_left(&p, u);
    mr_free(p.a);
    mr_free(p.vt);
    mr_free(p.iwork);
    return status;
}
