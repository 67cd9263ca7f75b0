#include "linalg/svd.h"

#include "base/memory.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* The last argument is the hidden length of jobz that Fortran compilers pass. */
void dgesdd_(const char *jobz, const int *m, const int *n, double *a, const int *lda, double *s,
             double *u, const int *ldu, double *vt, const int *ldvt, double *work, const int *lwork,
             int *iwork, int *info, size_t jobz_length);

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

/* a is the row-major matrix [rows, cols], to be overwritten. */
static mr_status factorise(double *a, int rows, int cols, double *values)
{
    /* Read column by column, a row-major matrix is its transpose, whose singular values are the
     * same: no element has to move. */
    const int m = cols, n = rows, smaller = m < n ? m : n, one = 1, query = -1;
    int info = 0;
    double best = 0, unused = 0;
    double *work = NULL;
    int *iwork = NULL;
    mr_status status = MR_OK;

    iwork = mr_alloc_array(MR_MEM_OTHER, (size_t)smaller, 8 * sizeof *iwork);
    if (!iwork) {
        status = MR_ERR_MEMORY;
        goto cleanup;
    }
    dgesdd_("N", &m, &n, a, &m, values, &unused, &one, &unused, &one, &best, &query, iwork, &info,
            1);
    if (info != 0 || !(best >= 1 && best <= INT_MAX)) {
        status = mr_fail(MR_ERR_NUMERIC,
                         "singular values: dgesdd asks for a workspace of %g numbers for a %d x %d "
                         "matrix, info %d",
                         best, rows, cols, info);
        goto cleanup;
    }
    const int lwork = (int)best;
    work = mr_alloc_array(MR_MEM_OTHER, (size_t)lwork, sizeof *work);
    if (!work) {
        status = MR_ERR_MEMORY;
        goto cleanup;
    }
    dgesdd_("N", &m, &n, a, &m, values, &unused, &one, &unused, &one, work, &lwork, iwork, &info,
            1);
    if (info != 0)
        status = mr_fail(MR_ERR_NUMERIC, "singular values: dgesdd of a %d x %d matrix: info %d",
                         rows, cols, info);
    else if (!isfinite(values[0]))
        status = mr_fail(MR_ERR_NUMERIC,
                         "singular values: the largest one of a %d x %d matrix is %g, expected a "
                         "finite number",
                         rows, cols, values[0]);
cleanup:
    mr_free(work);
    mr_free(iwork);
    return status;
}

mr_status mr_svd_values(const double *a, int64_t rows, int64_t cols, double *values)
{
    MR_CHECK(rows >= 1 && rows <= INT_MAX && cols >= 1 && cols <= INT_MAX, MR_ERR_ARG,
             "singular values: expected a matrix with extents of 1..%d, found %lld x %lld", INT_MAX,
             (long long)rows, (long long)cols);
    MR_TRY(check_finite(a, rows, cols));
    /* Two extents below 2^31 do not overflow size_t; their bytes may, which mr_alloc_array sees. */
    size_t count = (size_t)rows * (size_t)cols;
    double *copy = mr_alloc_array(MR_MEM_OTHER, count, sizeof *copy);
    if (!copy) return MR_ERR_MEMORY;
    memcpy(copy, a, count * sizeof *copy);
    mr_status status = factorise(copy, (int)rows, (int)cols, values);
    mr_free(copy);
    return status;
}
