#include "linalg/grid.h"

#include "linalg/scalapack_impl.h"

#include <limits.h>

/* What blacs_set numbers so: nonzero makes every combine sum in one order. */
enum { REPEATABLE_TOPOLOGIES = 15 };

void mr_process_grid_sides(int size, int *nprow, int *npcol)
{
    *nprow = 1;
    for (int rows = 1; rows <= size / rows; rows++)
        if (size % rows == 0) *nprow = rows;
    *npcol = size / *nprow;
}

void mr_process_grid_create(const mr_comm *comm, mr_process_grid *out)
{
    *out = (mr_process_grid){.comm = comm};
    mr_process_grid_sides(comm->size, &out->nprow, &out->npcol);
    /* The BLACS do not look at what MPI returns: on their communicator a failure has to be fatal.
     */
    MR_MPI(MPI_Comm_dup(comm->handle, &out->handle));
    MR_MPI(MPI_Comm_set_errhandler(out->handle, MPI_ERRORS_ARE_FATAL));
    const int repeatable = 1;
    int nprow, npcol;
    out->system = Csys2blacs_handle(out->handle);
    out->context = out->system;
    Cblacs_gridinit(&out->context, "R", out->nprow, out->npcol);
    Cblacs_set(out->context, REPEATABLE_TOPOLOGIES, &repeatable);
    Cblacs_gridinfo(out->context, &nprow, &npcol, &out->myrow, &out->mycol);
    MR_INVARIANT(nprow == out->nprow && npcol == out->npcol &&
                 out->myrow * npcol + out->mycol == comm->rank);
}

void mr_process_grid_destroy(mr_process_grid *grid)
{
    Cblacs_gridexit(grid->context);
    Cfree_blacs_system_handle(grid->system);
    MR_MPI(MPI_Comm_free(&grid->handle));
    *grid = (mr_process_grid){0};
}

int64_t mr_process_grid_extent(int64_t n, int proc, int procs)
{
    MR_INVARIANT(n >= 0 && n <= INT_MAX);
    const int extent = (int)n, nb = MR_GRID_BLOCK, zero = 0;
    return numroc_(&extent, &nb, &proc, &zero, &procs);
}

mr_status mr_block_matrix_create(const mr_process_grid *grid, int64_t rows, int64_t cols,
                                 mr_block_matrix *out)
{
    MR_INVARIANT(rows >= 1 && rows <= INT_MAX && cols >= 1 && cols <= INT_MAX);
    *out = (mr_block_matrix){
        .grid = grid,
        .rows = rows,
        .cols = cols,
        .local_rows = mr_process_grid_extent(rows, grid->myrow, grid->nprow),
        .local_cols = mr_process_grid_extent(cols, grid->mycol, grid->npcol),
    };
    const int64_t most =
        mr_process_grid_extent(rows, 0, grid->nprow) * mr_process_grid_extent(cols, 0, grid->npcol);
    MR_CHECK(most <= INT_MAX, MR_ERR_ARG,
             "a %lld x %lld matrix on %d ranks is %lld elements on one of them, expected at most "
             "%d: use more ranks",
             (long long)rows, (long long)cols, grid->comm->size, (long long)most, INT_MAX);
    const int m = (int)rows, n = (int)cols, nb = MR_GRID_BLOCK, zero = 0;
    const int lld = out->local_rows > 0 ? (int)out->local_rows : 1;
    int info = 0;
    descinit_(out->desc, &m, &n, &nb, &nb, &zero, &zero, &grid->context, &lld, &info);
    MR_INVARIANT(info == 0);
    size_t count = (size_t)lld * (size_t)(out->local_cols > 0 ? out->local_cols : 1);
    out->local = mr_alloc_array(MR_MEM_OTHER, count, sizeof *out->local);
    mr_status status = mr_comm_agree(grid->comm, out->local ? MR_OK : MR_ERR_MEMORY);
    if (status != MR_OK) mr_block_matrix_destroy(out);
    return status;
}

void mr_block_matrix_destroy(mr_block_matrix *matrix)
{
    mr_free(matrix->local);
    matrix->local = NULL;
}
