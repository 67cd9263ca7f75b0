#include "linalg/orthonormal.h"

#include "base/memory.h"
#include "linalg/lapack_impl.h"

#include <limits.h>
#include <math.h>

/* The workspace both routines are happy with. */
static mr_status query_work(double *a, int rows, int cols, int *lwork)
{
    const int query = -1;
    int info[2] = {0};
    double best[2] = {0}, unused = 0;
    dgeqrf_(&cols, &rows, a, &cols, &unused, &best[0], &query, &info[0]);
    dorgqr_(&cols, &rows, &rows, a, &cols, &unused, &best[1], &query, &info[1]);
    double most = best[0] > best[1] ? best[0] : best[1];
    MR_CHECK(info[0] == 0 && info[1] == 0 && most >= 1 && most <= INT_MAX, MR_ERR_NUMERIC,
             "orthonormal rows: LAPACK asks for a workspace of %g numbers for a %d x %d matrix, "
             "info %d and %d",
             most, rows, cols, info[0], info[1]);
    *lwork = (int)most;
    return MR_OK;
}

/* Read column by column, a row-major matrix is its transpose: its columns are our rows. */
static mr_status factorise(double *a, int rows, int cols, double *tau, double *sign, double *work,
                           int lwork)
{
    int info = 0;
    dgeqrf_(&cols, &rows, a, &cols, tau, work, &lwork, &info);
    MR_CHECK(info == 0, MR_ERR_NUMERIC, "orthonormal rows: dgeqrf of a %d x %d matrix: info %d",
             rows, cols, info);
    for (int i = 0; i < rows; i++) {
        double diagonal = a[(size_t)i * (size_t)cols + (size_t)i];
        MR_CHECK(isfinite(diagonal) && diagonal != 0, MR_ERR_NUMERIC,
                 "orthonormal rows: row %d of a %d x %d matrix depends on those before it, or is "
                 "not finite",
                 i, rows, cols);
        sign[i] = diagonal < 0 ? -1 : 1;
    }
    dorgqr_(&cols, &rows, &rows, a, &cols, tau, work, &lwork, &info);
    MR_CHECK(info == 0, MR_ERR_NUMERIC, "orthonormal rows: dorgqr of a %d x %d matrix: info %d",
             rows, cols, info);
    /* LAPACK leaves the signs to chance; a row that points its own way makes them unique. */
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++)
            a[(size_t)i * (size_t)cols + (size_t)j] *= sign[i];
    return MR_OK;
}

mr_status mr_orthonormal_rows(double *a, int64_t rows, int64_t cols)
{
    MR_CHECK(rows >= 1 && rows <= cols && cols <= INT_MAX, MR_ERR_ARG,
             "orthonormal rows: expected 1..%d columns and no more rows than columns, found %lld x "
             "%lld",
             INT_MAX, (long long)rows, (long long)cols);
    int lwork = 0;
    MR_TRY(query_work(a, (int)rows, (int)cols, &lwork));
    double *tau = mr_alloc_array(MR_MEM_OTHER, (size_t)rows, sizeof *tau);
    double *sign = mr_alloc_array(MR_MEM_OTHER, (size_t)rows, sizeof *sign);
    double *work = mr_alloc_array(MR_MEM_OTHER, (size_t)lwork, sizeof *work);
    mr_status status = tau && sign && work
                           ? factorise(a, (int)rows, (int)cols, tau, sign, work, lwork)
                           : MR_ERR_MEMORY;
    mr_free(tau);
    mr_free(sign);
    mr_free(work);
    return status;
}
