#ifndef MR_SPECTRA_STRUCTURE_H
#define MR_SPECTRA_STRUCTURE_H

/** @file
 * The update dW [rows, cols] of a linear by its structure, on the host: its singular values without
 * forming it where that is cheaper, itself, and its products.
 *
 * Everything is in double, from float32 parts. Letters: O rows, I cols, r the budget, R = r_hat the
 * side of MoRA's square matrix M. */

#include "backend/backend.h"
#include "linalg/leading.h"

/** An update. Owns its arrays: free with mr_structure_free. Of kind MR_UPDATE_NONE, it is dense. */
typedef struct mr_structure {
    int64_t rows, cols;
    mr_update_kind kind;
    double scale;         /**< of a product, groups and blocks */
    int64_t r;            /**< product: r; groups, blocks: R */
    float *a, *b;         /**< product: [r, cols], [rows, r] */
    float *m;             /**< groups, blocks: [R, R] */
    mr_group_map in, out; /**< groups: of inputs and outputs; blocks: of outputs alone */
    int64_t blocks;       /**< as in mr_update */
    bool rotate;          /**< blocks: block b is turned by the angles of position b */
    double *dense;        /**< kind MR_UPDATE_NONE: [rows, cols] */
} mr_structure;

/** How singular values were computed. */
typedef enum mr_route {
    MR_ROUTE_DENSE,     /**< of dW itself */
    MR_ROUTE_TRIANGLES, /**< of the product of the triangles of both factors */
    MR_ROUTE_GROUPS,    /**< of M between the factors of the maps' Gram matrices */
    MR_ROUTE_BLOCKS,    /**< of M, block by block */
    MR_ROUTES
} mr_route;

/** Returns in words a mr_route, or MR_ROUTES and a mr_distributed_route. */
const char *mr_route_text(int route);

/** Describes an update without its numbers: enough for route, flops and bytes. Local.
 * @return MR_OK; MR_ERR_ARG (rows are scaled, or no structure: to be made dense) */
MR_NODISCARD mr_status mr_structure_describe(const mr_update *update, int64_t rows, int64_t cols,
                                             mr_structure *out);

/** Copies an update from the backend. Local.
 * @param[out] out  freed by the caller after MR_OK
 * @return as mr_structure_describe; MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_structure_take(mr_backend *be, const mr_update *update, int64_t rows,
                                         int64_t cols, mr_structure *out);

/** Frees the arrays of a structure and empties it. */
void mr_structure_free(mr_structure *s);

/** Tells how mr_structure_values goes about it; from shape and kind alone. Local. */
mr_route mr_structure_route(const mr_structure *s);

/** Computes all singular values of dW, zeros included, within 1e-12 of the largest of what it is
 * multiplied from (||B|| ||A|| of a product). Local.
 * @param[out] values  [min(rows, cols)], descending
 * @return MR_OK; MR_ERR_NUMERIC (a number that is not finite: names its place); MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_structure_values(const mr_structure *s, double *values);

/** Computes dW itself. Local. @param[out] out  [rows, cols]  @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_structure_dense(const mr_structure *s, double *out);

/** Returns the operator of dW, for mr_leading. Borrows s. */
mr_operator mr_structure_operator(const mr_structure *s);

/** Returns the floating-point operations of mr_structure_values; from shape and kind alone. Local.
 */
double mr_structure_flops(const mr_structure *s);

/** Returns an upper bound of the bytes that mr_structure_values holds while it runs; from shape and
 * kind alone. Local. */
size_t mr_structure_bytes(const mr_structure *s);

#endif
