#ifndef MR_TRAIN_OPTIMUM_H
#define MR_TRAIN_OPTIMUM_H

/** @file
 * The best approximation of a matrix that an update can be, from the update's structure. */

#include "adapter/adapter.h"

/** Finds the least ||dW - T||_F / ||T||_F over the sums dW of `parts` updates of an adapter, which
 * has one linear.
 *
 * - Products of two trained factors: T's singular values behind the first r * parts.
 *   Source: Eckart and Young 1936.
 * - Updates that are linear in one trained tensor: the least squares problem, by conjugate
 * gradients on the adapter's own forward and backward passes. Source: Bjorck 1996, CGLS.
 * - Others: not known, NaN.
 *
 * Changes the adapter's restart, and saved, work, y of the call. Local.
 * @param[in,out] call   of a pass of I rows: x is the identity [I, I]; frozen weights are read
 * @param[in]     values [min(O, I)] singular values of T, descending
 * @param[in]     target [O, I]
 * @return MR_OK, MR_ERR_MEMORY, MR_ERR_NUMERIC (no convergence) */
MR_NODISCARD mr_status mr_optimum(mr_adapter *adapter, const mr_adapter_call *call, int64_t parts,
                                  const double *values, const double *target, double *out);

#endif
