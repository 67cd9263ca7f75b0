#ifndef MR_APP_BENCH_PRODUCTS_H
#define MR_APP_BENCH_PRODUCTS_H

/** @file
 * Plain matrix products, beside which `mora bench` sets its steps. */

#include "backend/backend.h"
#include "comm/comm.h"

/** A product of this rank. Owns its matrices, start from {0}; borrows be. */
typedef struct mr_products {
    mr_backend *be;
    mr_tensor a, b, c; /**< [m, k] [k, n] -> [m, n] */
    double rate;       /**< FLOP/s, the best of several repetitions */
} mr_products;

/** Finds the product of the highest rate among several shapes, each long enough to fill a fast
 * device. Local, to be called on all ranks at once: they share caches and memory.
 * @return MR_OK, MR_ERR_MEMORY, or what the backend met */
MR_NODISCARD mr_status mr_products_create(mr_backend *be, mr_dtype dtype, mr_products *out);

/** Frees the matrices. Local. */
void mr_products_destroy(mr_products *products);

/** Runs so many FLOP of products on every rank, more than none, from a common start until the last
 * rank is done.
 * @param[out] rate  FLOP/s of all ranks, by the time that took
 * @return MR_OK, or what the backend met. Collective. */
MR_NODISCARD mr_status mr_products_run(const mr_comm *comm, mr_products *products, double flops,
                                       double *rate);

#endif
