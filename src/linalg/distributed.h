#ifndef MR_LINALG_DISTRIBUTED_H
#define MR_LINALG_DISTRIBUTED_H

/** @file
 * Singular values of a dense matrix that the ranks hold together, through ScaLAPACK.
 *
 * With e = 2^-52, n the smaller side, s the largest value and v the exact one:
 *
 * | route | calls | error of v at most | FLOP, m x n |
 * |---|---|---|---|
 * | bidiagonal | pdgeqrf, pdgebrd, dlasq1 | 1e-12 s | 2 m n^2 + 2 n^3 |
 * | gram | pdsyrk, pdsytrd, dsterf | 1e-12 s or 4 e s^2 / v | m n^2 + 4/3 n^3 |
 * | pdgesvd | pdgesvd | 1e-12 s | 4 m n^2 - 4/3 n^3 |
 *
 * gram tells nothing of values below 2 sqrt(e) s = 3e-8 s: what it gives for them is rounding of at
 * most that size. A value of any route that is small beside s is not exact relative to itself.
 *
 * bidiagonal is the default: as exact as pdgesvd, and it makes products of matrices of what pdgesvd
 * makes products with vectors of. gram takes about half its time and sends fewer messages, but
 * holds the Gram matrix too. pdgesvd is the reference that both are tried against. Seen on one
 * rank, in processor time, at 4096 x 11008: bidiagonal 50 s and 348 MiB, gram 21 s and 472 MiB; at
 * 2048 x 5504: 4.2 s, 2.5 s, and pdgesvd 17 s. results/README.md has 1, 2 and 4 ranks.
 */

#include "linalg/scatter.h"

typedef enum mr_distributed_route {
    MR_DISTRIBUTED_BIDIAGONAL,
    MR_DISTRIBUTED_GRAM,
    MR_DISTRIBUTED_PDGESVD,
    MR_DISTRIBUTED_ROUTES
} mr_distributed_route;

/** Returns how a route computes, for results to say ("pdgeqrf, pdgebrd, dlasq1"). Local. */
const char *mr_distributed_route_name(mr_distributed_route route);

/** Returns the ratio to the largest value below which a route's values are rounding. Local. */
double mr_distributed_resolution(mr_distributed_route route);

/** Computes all singular values in descending order, the same bits on every rank and in every run
 * of as many ranks and BLAS threads. The sum of their squares is checked against that of the
 * elements. Collective; MPI must be up.
 * @param[in]  parts   the matrix, extents 1..INT_MAX
 * @param[out] values  [min(rows, cols)]; undefined on failure
 * @return MR_OK; MR_ERR_ARG (extents, counts of parts, more elements or workspace on a rank than
 *         ScaLAPACK can count); MR_ERR_NUMERIC (an element or a singular value is not finite, no
 *         convergence, ranks or sums that disagree: the message has the routine and its INFO); what
 *         a source returned; MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_distributed_values(const mr_comm *comm, const mr_matrix_parts *parts,
                                             mr_distributed_route route, double *values);

/** Returns the most bytes that mr_distributed_values takes on one of `size` ranks; buffers of the
 * BLACS and PBLAS are not in it. Local. */
size_t mr_distributed_bytes(int64_t rows, int64_t cols, int size, mr_distributed_route route);

/** Returns its floating-point operations, of all ranks. Local. */
double mr_distributed_flops(int64_t rows, int64_t cols, mr_distributed_route route);

#endif
