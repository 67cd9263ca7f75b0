#ifndef MR_LINALG_THREAD_H
#define MR_LINALG_THREAD_H

/** Makes BLAS and LAPACK compute on the calling thread alone, whatever they do on others: to be
 * called first on every thread that is neither the program's first, which the backend sets, nor one
 * of a parallel region. Local.
 *
 * OpenBLAS takes as many threads as OpenMP would on the calling one, a number that each thread has
 * its own of; its own number is of the whole process and stays as it is. Built over POSIX threads
 * it has that alone, and the backend has set it to 1. */
void mr_linalg_use_one_thread(void);

#endif
