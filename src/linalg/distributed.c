#include "linalg/distributed.h"

#include "comm/exact.h"
#include "linalg/scalapack_impl.h"
#include "linalg/svd_impl.h"

#include <float.h>
#include <limits.h>
#include <math.h>

enum { VECTORS = 10 }; /* vectors of n numbers that a rank holds beside the matrix */

/* m >= n, and the most of them that any rank holds: of m and n over the rows of the grid, of n over
 * its columns. */
typedef struct extents {
    int64_t m, n, mp, np, nq;
} extents;

/* One matrix under way, as a route sees it. */
typedef struct problem {
    const mr_comm *comm;
    int rows, cols; /* as given, for messages */
    mr_process_grid grid;
    mr_block_matrix a; /* [m, n]: the matrix or its transpose */
    int m, n;
    extents most;
    double *vectors; /* [VECTORS, n] */
    double *values;  /* [n]; rank 0's count */
} problem;

/* A routine of ScaLAPACK on the problem's matrix, or on another one. Told *lwork = -1 it only
 * writes how many numbers of workspace it needs. */
typedef struct routine {
    const char *name;
    void (*call)(const problem *p, const mr_block_matrix *a, double *work, const int *lwork,
                 int *info);
    int64_t (*numbers)(const extents *most); /* of workspace, by its documentation */
} routine;

/* A way from the matrix to its values. */
typedef struct recipe {
    const char *name;
    double resolution;
    mr_status (*run)(problem *p);
    int64_t (*numbers)(const extents *most); /* that a rank holds beside the vectors, at most */
    double (*flops)(double m, double n);
} recipe;

static const int one = 1;

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static extents most_of(int64_t rows, int64_t cols, int size)
{
    int nprow, npcol;
    mr_process_grid_sides(size, &nprow, &npcol);
    const int64_t m = larger(rows, cols), n = rows < cols ? rows : cols;
    return (extents){
        .m = m,
        .n = n,
        .mp = mr_process_grid_extent(m, 0, nprow),
        .np = mr_process_grid_extent(n, 0, nprow),
        .nq = mr_process_grid_extent(n, 0, npcol),
    };
}

static double *vector(const problem *p, int index)
{
    return p->vectors + (int64_t)index * p->n;
}

/* Finds out how many numbers of workspace a routine takes on this rank. */
static mr_status ask_workspace(const problem *p, const routine *r, const mr_block_matrix *a,
                               int *count)
{
    const int query = -1;
    double asked = 0;
    int info = 0;
    r->call(p, a, &asked, &query, &info);
    MR_CHECK(info == 0, MR_ERR_NUMERIC,
             "singular values: %s refuses a %d x %d matrix when asked for its workspace, INFO %d",
             r->name, p->rows, p->cols, info);
    /* A double holds any count that fits a machine; an int, which the routine computes with, may
     * not. */
    const int64_t planned = r->numbers(&p->most);
    MR_CHECK(asked <= INT_MAX && planned <= INT_MAX, MR_ERR_ARG,
             "singular values: %s of a %d x %d matrix on %d ranks takes a workspace of %.0f "
             "numbers, expected at most %d: use more ranks",
             r->name, p->rows, p->cols, p->comm->size, fmax(asked, (double)planned), INT_MAX);
    *count = (int)larger(planned, (int64_t)asked);
    return MR_OK;
}

static mr_status check_info(const problem *p, const routine *r, int info)
{
    MR_CHECK(info >= 0, MR_ERR_NUMERIC,
             "singular values: %s of a %d x %d matrix does not take its argument %d, INFO %d",
             r->name, p->rows, p->cols, info < -100 ? -info / 100 : -info, info);
    MR_CHECK(info == 0, MR_ERR_NUMERIC, "singular values: %s of a %d x %d matrix: %s, INFO %d",
             r->name, p->rows, p->cols,
             info == p->n + 1 ? "the ranks found different values (do their processors differ?)"
                              : "no convergence",
             info);
    return MR_OK;
}

/* Calls a routine with the workspace it takes. Collective. */
static mr_status call(const problem *p, const routine *r, const mr_block_matrix *a)
{
    int count = 0, info = 0;
    MR_AGREE(p->comm, ask_workspace(p, r, a, &count));
    double *work = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *work);
    mr_status status = mr_comm_agree(p->comm, work ? MR_OK : MR_ERR_MEMORY);
    if (status == MR_OK) {
        r->call(p, a, work, &count, &info);
        status = mr_comm_agree(p->comm, check_info(p, r, info));
    }
    mr_free(work);
    return status;
}

static void call_pdgesvd(const problem *p, const mr_block_matrix *a, double *work, const int *lwork,
                         int *info)
{
    pdgesvd_("N", "N", &p->m, &p->n, a->local, &one, &one, a->desc, p->values, a->local, &one, &one,
             a->desc, a->local, &one, &one, a->desc, work, lwork, info, 1, 1);
}

static void call_pdgeqrf(const problem *p, const mr_block_matrix *a, double *work, const int *lwork,
                         int *info)
{
    pdgeqrf_(&p->m, &p->n, a->local, &one, &one, a->desc, vector(p, 0), work, lwork, info);
}

static void call_pdgebrd(const problem *p, const mr_block_matrix *a, double *work, const int *lwork,
                         int *info)
{
    pdgebrd_(&p->n, &p->n, a->local, &one, &one, a->desc, vector(p, 0), vector(p, 1), vector(p, 2),
             vector(p, 3), work, lwork, info);
}

static void call_pdsytrd(const problem *p, const mr_block_matrix *a, double *work, const int *lwork,
                         int *info)
{
    pdsytrd_("L", &p->n, a->local, &one, &one, a->desc, vector(p, 0), vector(p, 1), vector(p, 2),
             work, lwork, info, 1);
}

static int64_t pdgebrd_numbers(const extents *x)
{
    return MR_GRID_BLOCK * (x->np + x->nq + 1) + x->nq;
}

static int64_t pdgeqrf_numbers(const extents *x)
{
    return MR_GRID_BLOCK * (x->mp + x->nq + MR_GRID_BLOCK);
}

static int64_t pdsytrd_numbers(const extents *x)
{
    return MR_GRID_BLOCK * larger(x->np + 1, 3);
}

static int64_t pdgesvd_numbers(const extents *x)
{
    const int64_t pdgebrd = MR_GRID_BLOCK * (x->mp + x->nq + 1) + x->nq;
    return 1 + 6 * x->m + larger(pdgebrd, 4 * x->n);
}

static const routine pdgesvd = {"pdgesvd", call_pdgesvd, pdgesvd_numbers};
static const routine pdgeqrf = {"pdgeqrf", call_pdgeqrf, pdgeqrf_numbers};
static const routine pdgebrd = {"pdgebrd", call_pdgebrd, pdgebrd_numbers};
static const routine pdsytrd = {"pdsytrd", call_pdsytrd, pdsytrd_numbers};

static mr_status run_pdgesvd(problem *p)
{
    return call(p, &pdgesvd, &p->a);
}

static int64_t run_pdgesvd_numbers(const extents *x)
{
    return x->mp * x->nq + pdgesvd_numbers(x);
}

static double pdgesvd_flops(double m, double n)
{
    return 4 * m * n * n - 4.0 / 3 * n * n * n;
}

/* The values of the bidiagonal matrix of diagonal d and off-diagonal e, on rank 0. */
static mr_status bidiagonal_values(const problem *p, double *d, double *e)
{
    int info = 0;
    dlasq1_(&p->n, d, e, vector(p, 6), &info);
    MR_CHECK(info == 0, MR_ERR_NUMERIC,
             "singular values: dlasq1 of a bidiagonal matrix of side %d did not converge, INFO %d",
             p->n, info);
    for (int i = 0; i < p->n; i++)
        p->values[i] = d[i];
    return MR_OK;
}

/* A = Q R with R [n, n], R = U B V^T with B bidiagonal, in place. */
static mr_status run_bidiagonal(problem *p)
{
    if (p->m > p->n) {
        const int below = p->n - 1, two = 2;
        const double zero = 0;
        MR_TRY(call(p, &pdgeqrf, &p->a));
        if (below > 0)
            pdlaset_("L", &below, &below, &zero, &zero, p->a.local, &two, &one, p->a.desc, 1);
    }
    MR_TRY(call(p, &pdgebrd, &p->a));
    double *d = vector(p, 4), *e = vector(p, 5);
    pdlared1d_(&p->n, &one, &one, p->a.desc, vector(p, 0), d, vector(p, 6), &p->n);
    pdlared2d_(&p->n, &one, &one, p->a.desc, vector(p, 1), e, vector(p, 6), &p->n);
    return mr_comm_agree_root(p->comm, p->comm->rank == 0 ? bidiagonal_values(p, d, e) : MR_OK);
}

static int64_t run_bidiagonal_numbers(const extents *x)
{
    return x->mp * x->nq + larger(x->m > x->n ? pdgeqrf_numbers(x) : 0, pdgebrd_numbers(x));
}

static double bidiagonal_flops(double m, double n)
{
    const double reduce = m > n ? 2 * m * n * n - 2.0 / 3 * n * n * n : 0;
    return reduce + 8.0 / 3 * n * n * n;
}

/* The roots of the eigenvalues of the tridiagonal matrix of diagonal d and off-diagonal e, on rank
 * 0. Rounding may leave some below zero. */
static mr_status tridiagonal_values(const problem *p, double *d, double *e)
{
    int info = 0;
    dsterf_(&p->n, d, e, &info);
    MR_CHECK(info == 0, MR_ERR_NUMERIC,
             "singular values: dsterf of a tridiagonal matrix of side %d did not converge, INFO %d",
             p->n, info);
    for (int i = 0; i < p->n; i++)
        p->values[i] = sqrt(fmax(d[p->n - 1 - i], 0));
    return MR_OK;
}

/* G = A^T A, then Q^T G Q tridiagonal. pdsyevd would do the same and vectors too: it has no other
 * way. */
static mr_status run_gram(problem *p)
{
    mr_block_matrix gram;
    const double alpha = 1, beta = 0;
    MR_TRY(mr_block_matrix_create(&p->grid, p->n, p->n, &gram));
    pdsyrk_("L", "T", &p->n, &p->m, &alpha, p->a.local, &one, &one, p->a.desc, &beta, gram.local,
            &one, &one, gram.desc, 1, 1);
    mr_block_matrix_destroy(&p->a);
    mr_status status = call(p, &pdsytrd, &gram);
    double *d = vector(p, 4), *e = vector(p, 5);
    if (status == MR_OK) {
        pdlared1d_(&p->n, &one, &one, gram.desc, vector(p, 0), d, vector(p, 6), &p->n);
        pdlared1d_(&p->n, &one, &one, gram.desc, vector(p, 1), e, vector(p, 6), &p->n);
    }
    mr_block_matrix_destroy(&gram);
    MR_TRY(status);
    return mr_comm_agree_root(p->comm, p->comm->rank == 0 ? tridiagonal_values(p, d, e) : MR_OK);
}

static int64_t run_gram_numbers(const extents *x)
{
    return x->np * x->nq + larger(x->mp * x->nq, pdsytrd_numbers(x));
}

static double gram_flops(double m, double n)
{
    return m * n * n + 4.0 / 3 * n * n * n;
}

static const recipe *recipe_of(mr_distributed_route route)
{
    static const recipe recipes[MR_DISTRIBUTED_ROUTES] = {
        [MR_DISTRIBUTED_BIDIAGONAL] = {"pdgeqrf, pdgebrd, dlasq1", 1e-12, run_bidiagonal,
                                       run_bidiagonal_numbers, bidiagonal_flops},
        [MR_DISTRIBUTED_GRAM] = {"pdsyrk, pdsytrd, dsterf", 3e-8, run_gram, run_gram_numbers,
                                 gram_flops},
        [MR_DISTRIBUTED_PDGESVD] = {"pdgesvd", 1e-12, run_pdgesvd, run_pdgesvd_numbers,
                                    pdgesvd_flops},
    };
    MR_INVARIANT(route >= 0 && route < MR_DISTRIBUTED_ROUTES);
    return &recipes[route];
}

const char *mr_distributed_route_name(mr_distributed_route route)
{
    return recipe_of(route)->name;
}

double mr_distributed_resolution(mr_distributed_route route)
{
    return recipe_of(route)->resolution;
}

double mr_distributed_flops(int64_t rows, int64_t cols, mr_distributed_route route)
{
    return recipe_of(route)->flops((double)larger(rows, cols), (double)(rows < cols ? rows : cols));
}

size_t mr_distributed_bytes(int64_t rows, int64_t cols, int size, mr_distributed_route route)
{
    const extents most = most_of(rows, cols, size);
    const size_t matrix = mr_bytes_add(0, most.mp * most.nq, sizeof(double));
    const size_t filling = matrix + mr_scatter_bytes(size);
    const size_t computing = mr_bytes_add(mr_bytes_add(0, VECTORS * most.n, sizeof(double)),
                                          recipe_of(route)->numbers(&most), sizeof(double));
    return filling > computing ? filling : computing;
}

/* Scales the matrix by 2^-*exponent, so that no square of its elements over- or underflows, and
 * sums those. Collective.
 * @param[out] exponent  the elements are below 2^*exponent, and not all below half of it; INT64_MIN
 *                       where all are zero */
static void scale(problem *p, int64_t *exponent, double *squares)
{
    double largest = 0, *local = p->a.local;
    mr_exact sum = {0};
    const int64_t rows = p->a.local_rows, count = rows * p->a.local_cols;
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(local[i]));
    int own = 0;
    frexp(largest, &own);
    *exponent = largest > 0 ? own : INT64_MIN;
    mr_comm_max_i64(p->comm, exponent, 1);
    if (*exponent == INT64_MIN) return;
    /* 2^-*exponent itself may be beyond double; two factors are not. */
    const int half = (int)(-*exponent / 2), rest = (int)-*exponent - half;
    const double first = ldexp(1, half), second = ldexp(1, rest);
    for (int64_t j = 0; j < p->a.local_cols; j++) {
        double column = 0;
        for (int64_t i = j * rows; i < (j + 1) * rows; i++) {
            local[i] = local[i] * first * second;
            column += local[i] * local[i];
        }
        mr_exact_add(&sum, column);
    }
    mr_exact_reduce(p->comm, &sum, 1);
    *squares = mr_exact_value(&sum);
}

/* Compares the values with the elements, and takes the scale off them. Same on all ranks. */
static mr_status check_values(const problem *p, const recipe *r, int64_t exponent, double squares)
{
    double sum = 0;
    for (int i = p->n - 1; i >= 0; i--)
        sum += p->values[i] * p->values[i];
    const double tolerance = 16 * DBL_EPSILON * ((double)p->m + p->n);
    MR_CHECK(fabs(sum - squares) <= tolerance * squares, MR_ERR_NUMERIC,
             "singular values: the squares of those of a %d x %d matrix by %s sum to %.17g, those "
             "of its elements to %.17g, expected a relative difference of at most %.2g",
             p->rows, p->cols, r->name, ldexp(sum, 2 * (int)exponent),
             ldexp(squares, 2 * (int)exponent), tolerance);
    for (int i = 0; i < p->n; i++)
        p->values[i] = ldexp(p->values[i], (int)exponent);
    return mr_svd_check_largest(p->rows, p->cols, p->values[0]);
}

/* From the filled grid to the values. Collective. */
static mr_status compute(problem *p, const mr_matrix_parts *parts, const recipe *r)
{
    int64_t exponent;
    double squares = 0;
    MR_TRY(mr_scatter(parts, &p->a));
    scale(p, &exponent, &squares);
    if (exponent == INT64_MIN) {
        for (int i = 0; i < p->n; i++)
            p->values[i] = 0;
        return MR_OK;
    }
    p->vectors = mr_alloc_array(MR_MEM_OTHER, (size_t)p->n, VECTORS * sizeof *p->vectors);
    MR_AGREE(p->comm, p->vectors ? MR_OK : MR_ERR_MEMORY);
    MR_TRY(r->run(p));
    mr_comm_broadcast(p->comm, p->values, (size_t)p->n * sizeof *p->values, 0);
    return check_values(p, r, exponent, squares);
}

mr_status mr_distributed_values(const mr_comm *comm, const mr_matrix_parts *parts,
                                mr_distributed_route route, double *values)
{
    MR_TRY(mr_svd_check_extents(parts->rows, parts->cols));
    problem p = {
        .comm = comm,
        .rows = (int)parts->rows,
        .cols = (int)parts->cols,
        .most = most_of(parts->rows, parts->cols, comm->size),
    };
    p.values = values;
    p.m = (int)p.most.m;
    p.n = (int)p.most.n;
    mr_process_grid_create(comm, &p.grid);
    mr_status status = mr_block_matrix_create(&p.grid, p.m, p.n, &p.a);
    if (status == MR_OK) status = compute(&p, parts, recipe_of(route));
    mr_free(p.vectors);
    mr_block_matrix_destroy(&p.a);
    mr_process_grid_destroy(&p.grid);
    return status;
}
