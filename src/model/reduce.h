#ifndef MR_MODEL_REDUCE_H
#define MR_MODEL_REDUCE_H

/** @file
 * Gradients of micro-batches, and their sums.
 *
 * Each micro-batch writes a *leaf*, and leaves are summed by the tree of model/tree.h over the
 * index of the micro-batch in the global batch. A step is `waves` waves; in a wave every rank takes
 * `in_wave` neighbouring micro-batches. The local ones are summed here, the ranks' sums by an
 * exchange (each rank gets all pieces of its shard and adds them as a tree), the waves' again here,
 * in the slots that the parameters keep for it.
 */

#include "model/params.h"

/** A reduction of the gradients of some parameters. Owns its lanes; borrows the parameters. */
typedef struct mr_reduce mr_reduce;

/** Lays out the reduction of laid-out parameters, without its lanes. Local.
 * @param in_wave    micro-batches a rank takes in a wave; 1 on one rank
 * @param long_unit  unit whose leaf stays open while others come and go (tied head), or -1
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_reduce_create(const mr_params *params, int64_t in_wave, int long_unit,
                                        mr_reduce **out);

/** Adds to bytes[purpose] what mr_reduce_allocate will take. Local. */
void mr_reduce_bytes(const mr_reduce *reduce, size_t bytes[MR_MEM_PURPOSES]);

/** Allocates the lanes, zeroed; the parameters are allocated by now. Local.
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_reduce_allocate(mr_reduce *reduce);

/** Frees everything and sets *out to NULL; NULL is allowed. Local. */
void mr_reduce_destroy(mr_reduce **out);

/** Opens the leaf of a unit for one micro-batch; may wait for the unit two before it. */
void mr_reduce_leaf_begin(mr_reduce *reduce, int unit);

/** Returns where the gradient of a parameter of an open leaf is to be written [rows, cols], absent
 * where the parameter is frozen; every trained parameter of the unit must be written. */
mr_tensor mr_reduce_grad(const mr_reduce *reduce, int id);

/** Closes the leaf; with the last leaf of a wave the unit's reduction starts. Collective. */
void mr_reduce_leaf_end(mr_reduce *reduce, int unit);

/** Waits for all reductions: own gradients are whole. Collective. */
void mr_reduce_finish(mr_reduce *reduce);

#endif
