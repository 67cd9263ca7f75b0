#ifndef MR_LINALG_SCALAPACK_IMPL_H
#define MR_LINALG_SCALAPACK_IMPL_H

/** @file
 * Prototypes of the BLACS, ScaLAPACK and LAPACK routines that distributed factorisations call; the
 * libraries ship none. Fortran's integers are int; every character argument has its length, a
 * size_t, behind all others. Rows and columns of a submatrix count from 1. */

#include <mpi.h>

#include <stddef.h>

int Csys2blacs_handle(MPI_Comm comm);
void Cfree_blacs_system_handle(int handle);
void Cblacs_gridinit(int *context, const char *order, int nprow, int npcol);
void Cblacs_gridinfo(int context, int *nprow, int *npcol, int *myrow, int *mycol);
void Cblacs_gridexit(int context);
void Cblacs_set(int context, int what, const int *value);

int numroc_(const int *n, const int *nb, const int *proc, const int *first, const int *procs);
void descinit_(int *desc, const int *m, const int *n, const int *mb, const int *nb, const int *rsrc,
               const int *csrc, const int *context, const int *lld, int *info);

void pdgesvd_(const char *jobu, const char *jobvt, const int *m, const int *n, double *a,
              const int *ia, const int *ja, const int *desca, double *s, double *u, const int *iu,
              const int *ju, const int *descu, double *vt, const int *ivt, const int *jvt,
              const int *descvt, double *work, const int *lwork, int *info, size_t jobu_length,
              size_t jobvt_length);
void pdgeqrf_(const int *m, const int *n, double *a, const int *ia, const int *ja, const int *desca,
              double *tau, double *work, const int *lwork, int *info);
void pdgebrd_(const int *m, const int *n, double *a, const int *ia, const int *ja, const int *desca,
              double *d, double *e, double *tauq, double *taup, double *work, const int *lwork,
              int *info);
void pdsyrk_(const char *uplo, const char *trans, const int *n, const int *k, const double *alpha,
             const double *a, const int *ia, const int *ja, const int *desca, const double *beta,
             double *c, const int *ic, const int *jc, const int *descc, size_t uplo_length,
             size_t trans_length);
void pdsytrd_(const char *uplo, const int *n, double *a, const int *ia, const int *ja,
              const int *desca, double *d, double *e, double *tau, double *work, const int *lwork,
              int *info, size_t uplo_length);
void pdlaset_(const char *uplo, const int *m, const int *n, const double *alpha, const double *beta,
              double *a, const int *ia, const int *ja, const int *desca, size_t uplo_length);
void pdlared1d_(const int *n, const int *ia, const int *ja, const int *desc, const double *bycol,
                double *byall, double *work, const int *lwork);
void pdlared2d_(const int *n, const int *ia, const int *ja, const int *desc, const double *byrow,
                double *byall, double *work, const int *lwork);

void dlasq1_(const int *n, double *d, double *e, double *work, int *info);
void dsterf_(const int *n, double *d, double *e, int *info);

#endif
