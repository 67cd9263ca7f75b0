#ifndef MR_LINALG_LAPACK_IMPL_H
#define MR_LINALG_LAPACK_IMPL_H

/** @file
 * The routines of BLAS and LAPACK that linalg calls, as Fortran compilers pass their arguments: by
 * address, the lengths of texts behind all others. Matrices are column by column. */

#include <stddef.h>

void dgemm_(const char *transpose_a, const char *transpose_b, const int *m, const int *n,
            const int *k, const double *alpha, const double *a, const int *lda, const double *b,
            const int *ldb, const double *beta, double *c, const int *ldc, size_t, size_t);
void dgeqrf_(const int *m, const int *n, double *a, const int *lda, double *tau, double *work,
             const int *lwork, int *info);
void dorgqr_(const int *m, const int *n, const int *k, double *a, const int *lda, const double *tau,
             double *work, const int *lwork, int *info);
void dgeqrt_(const int *m, const int *n, const int *block, double *a, const int *lda, double *t,
             const int *ldt, double *work, int *info);
void dgemqrt_(const char *side, const char *transpose, const int *m, const int *n, const int *k,
              const int *block, const double *v, const int *ldv, const double *t, const int *ldt,
              double *c, const int *ldc, double *work, int *info, size_t, size_t);
void dbdsqr_(const char *uplo, const int *n, const int *right, const int *left, const int *others,
             double *d, double *e, double *vt, const int *ldvt, double *u, const int *ldu,
             double *c, const int *ldc, double *work, int *info, size_t);
void dpotrf_(const char *uplo, const int *n, double *a, const int *lda, int *info, size_t);
void dgesdd_(const char *jobz, const int *m, const int *n, double *a, const int *lda, double *s,
             double *u, const int *ldu, double *vt, const int *ldvt, double *work, const int *lwork,
             int *iwork, int *info, size_t);

#endif
