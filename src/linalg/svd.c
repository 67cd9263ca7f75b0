#include "linalg/svd.h"

#include "base/memory.h"
#include "linalg/lapack_impl.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* A factorisation of a matrix read column by column: the transpose of the row-major one, whose
 * singular values are the same and whose vectors have changed sides, so that no element moves. */
typedef struct problem {
    int m, n, smaller; /* m x n */
    double *a;         /* overwritten */
    double *values;    /* [smaller] */
    double *u;         /* m x smaller, or NULL: values alone */
    double *vt;        /* smaller x n, or NULL */
    int *iwork;
} problem;

static mr_status check_extents(int64_t rows, int64_t cols)
{
    MR_CHECK(rows >= 1 && rows <= INT_MAX && cols >= 1 && cols <= INT_MAX, MR_ERR_ARG,
             "singular values: expected a matrix with extents of 1..%d, found %lld x %lld", INT_MAX,
             (long long)rows, (long long)cols);
    return MR_OK;
}

/* dgesdd gives back NaN for what is not finite, or never comes back where vectors are asked for. */
static mr_status check_finite(const double *a, int64_t rows, int64_t cols)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            MR_CHECK(isfinite(a[i * cols + j]), MR_ERR_NUMERIC,
                     "singular values: row %lld, column %lld of a %lld x %lld matrix is %g, "
                     "expected a finite number",
                     (long long)i, (long long)j, (long long)rows, (long long)cols, a[i * cols + j]);
    return MR_OK;
}

/* Calls dgesdd with a workspace, or asks for its size by lwork -1. Returns info. */
static int call(const problem *p, double *work, int lwork)
{
    const int one = 1;
    int info = 0;
    double unused = 0;
    dgesdd_(p->u ? "S" : "N", &p->m, &p->n, p->a, &p->m, p->values, p->u ? p->u : &unused,
            p->u ? &p->m : &one, p->vt ? p->vt : &unused, p->vt ? &p->smaller : &one, work, &lwork,
            p->iwork, &info, 1);
    return info;
}

static mr_status solve(const problem *p)
{
    double best = 0;
    int info = call(p, &best, -1);
    MR_CHECK(info == 0 && best >= 1 && best <= INT_MAX, MR_ERR_NUMERIC,
             "singular values: dgesdd asks for a workspace of %g numbers for a %d x %d matrix, "
             "info %d",
             best, p->n, p->m, info);
    double *work = mr_alloc_array(MR_MEM_OTHER, (size_t)best, sizeof *work);
    if (!work) return MR_ERR_MEMORY;
    info = call(p, work, (int)best);
    mr_free(work);
    MR_CHECK(info == 0, MR_ERR_NUMERIC, "singular values: dgesdd of a %d x %d matrix: info %d",
             p->n, p->m, info);
    MR_CHECK(isfinite(p->values[0]), MR_ERR_NUMERIC,
             "singular values: the largest one of a %d x %d matrix is %g, expected a finite number",
             p->n, p->m, p->values[0]);
    return MR_OK;
}

/* u [smaller, n] from its transpose. */
static void take_left(const problem *p, double *u)
{
    for (int64_t j = 0; j < p->smaller; j++)
        for (int64_t i = 0; i < p->n; i++)
            u[j * p->n + i] = p->vt[i * p->smaller + j];
}

static mr_status factorise(const double *a, int64_t rows, int64_t cols, double *values, double *u,
                           double *v)
{
    MR_TRY(check_extents(rows, cols));
    MR_TRY(check_finite(a, rows, cols));
    problem p = {.m = (int)cols,
                 .n = (int)rows,
                 .smaller = (int)(rows < cols ? rows : cols),
                 .values = values,
                 .u = v};
    /* Two extents below 2^31 do not overflow size_t; their bytes may, which mr_alloc_array sees. */
    const size_t count = (size_t)rows * (size_t)cols;
    p.a = mr_alloc_array(MR_MEM_OTHER, count, sizeof *p.a);
    p.iwork = mr_alloc_array(MR_MEM_OTHER, (size_t)p.smaller, 8 * sizeof *p.iwork);
    if (u) p.vt = mr_alloc_array(MR_MEM_OTHER, (size_t)p.smaller * (size_t)rows, sizeof *p.vt);
    mr_status status = p.a && p.iwork && (!u || p.vt) ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) {
        memcpy(p.a, a, count * sizeof *a);
        status = solve(&p);
    }
    if (status == MR_OK && u) take_left(&p, u);
    mr_free(p.a);
    mr_free(p.iwork);
    mr_free(p.vt);
    return status;
}

mr_status mr_svd_values(const double *a, int64_t rows, int64_t cols, double *values)
{
    return factorise(a, rows, cols, values, NULL, NULL);
}

mr_status mr_svd(const double *a, int64_t rows, int64_t cols, double *values, double *u, double *v)
{
    return factorise(a, rows, cols, values, u, v);
}

double mr_svd_flops(int64_t rows, int64_t cols)
{
    /* Golub and Van Loan, 5.4: bidiagonalisation, of the triangle of a QR where that is cheaper. */
    const double large = (double)(rows > cols ? rows : cols);
    const double small = (double)(rows > cols ? cols : rows);
    return 3 * large >= 5 * small ? 2 * small * small * (large + small)
                                  : 4 * small * small * (large - small / 3);
}

size_t mr_svd_bytes(int64_t rows, int64_t cols)
{
    enum { BLOCK = 64 }; /* the largest of LAPACK's block sizes */
    const int64_t small = rows < cols ? rows : cols;
    size_t bytes = mr_bytes_add(0, rows * cols, sizeof(double));
    bytes = mr_bytes_add(bytes, small * small, sizeof(double));
    bytes = mr_bytes_add(bytes, (rows + cols + small) * BLOCK, sizeof(double));
    return mr_bytes_add(bytes, small, 8 * sizeof(int));
}
