#ifndef MR_LINALG_GRID_H
#define MR_LINALG_GRID_H

/** @file
 * ScaLAPACK's process grid over all ranks of a communicator, and matrices of double that lie on it
 * in blocks, dealt over its rows and columns in turn.
 *
 * Blocks are square: pdgebrd demands it, and pdgesvd, which does not look at its answer, returns
 * values that nothing wrote where they are not. MPI must be up; calls come from one thread.
 */

#include "comm/comm.h"

enum {
    MR_GRID_BLOCK = 32, /**< side of a block in elements */
    MR_GRID_DESC = 9,   /**< numbers in ScaLAPACK's description of a matrix */
};

/** A process grid. All ranks of comm are in it, row by row. */
typedef struct mr_process_grid {
    const mr_comm *comm; /**< borrowed until destroy */
    MPI_Comm handle;     /**< owned */
    int system;          /**< the BLACS's number of handle; owned */
    int context;         /**< the BLACS's number of the grid; owned */
    int nprow, npcol;
    int myrow, mycol;
} mr_process_grid;

/** A matrix on a grid. Owns local. */
typedef struct mr_block_matrix {
    const mr_process_grid *grid; /**< borrowed until destroy */
    int64_t rows, cols;
    int64_t local_rows, local_cols; /**< of this rank */
    int desc[MR_GRID_DESC];
    double *local; /**< [local_cols, max(local_rows, 1)]: column-major, as Fortran has it */
} mr_block_matrix;

/** Computes the sides of the grid of `size` ranks: as near to a square as they allow, no more rows
 * than columns. Local. */
void mr_process_grid_sides(int size, int *nprow, int *npcol);

/** Makes a grid of all ranks whose sums have the same bits in every run. Collective. */
void mr_process_grid_create(const mr_comm *comm, mr_process_grid *out);

/** Frees the grid. Collective. */
void mr_process_grid_destroy(mr_process_grid *grid);

/** Returns how many of n rows or columns lie on the process row or column of a number, of `procs`.
 * Local. */
int64_t mr_process_grid_extent(int64_t n, int proc, int procs);

/** Makes a matrix of zeros. Collective.
 * @param rows, cols  1..INT_MAX each
 * @return MR_OK; MR_ERR_ARG (some rank would hold 2^31 elements or more, which ScaLAPACK cannot
 *         count); MR_ERR_MEMORY; the same on every rank. Then out holds nothing */
MR_NODISCARD mr_status mr_block_matrix_create(const mr_process_grid *grid, int64_t rows,
                                              int64_t cols, mr_block_matrix *out);

/** Frees what the matrix holds; one that holds nothing is allowed. Local. */
void mr_block_matrix_destroy(mr_block_matrix *matrix);

#endif
