#ifndef MR_MODEL_REDUCE_H
#define MR_MODEL_REDUCE_H

/** @file
 * Gradients of micro-batches, and their sums.
 *
 * Each micro-batch writes a *leaf*, and leaves are summed by the tree of model/tree.h over the
 * index of the micro-batch in the global batch. A rank adds up leaves of its own until they *meet*
 * those of the other ranks in an exchange: each rank gets all pieces of its shard and adds them as
 * a tree. Ranks that share memory read the pieces where the others wrote them, and what their nodes
 * have come to then travels between ranks of one place (comm/nodes.h): the same tree. There are two
 * ways, of the same bits where both can be had:
 *  - once a step: a rank takes a stretch of the tree, and keeps sums of whole gradients. Ranks of
 *    one node add a unit up when all have it, and wait for each other at the end of the step alone:
 *    what keeps a rank up now and then, others do not feel before;
 *  - after each wave, where the length of a stretch allows it: a rank keeps sums of its shards
 *    alone, and a few units' leaves, so that ranks wait for each other at each unit.
 */

#include "model/params.h"

/** A reduction of the gradients of some parameters. Owns its lanes; borrows the parameters. */
typedef struct mr_reduce mr_reduce;

/** How the leaves of a rank and a step come. */
typedef struct mr_reduce_cut {
    int64_t leaves;    /**< of a unit that are added up here before they meet the others' */
    int64_t meetings;  /**< of a step */
    int64_t stretches; /**< that all of them are cut into; divides leaves * meetings */
    bool whole; /**< sums of whole gradients are kept, and meetings is 1; else the leaves of a unit
                     that meet must come one after another, none of another unit between them */
    int long_unit; /**< unit whose leaf stays open while others come and go (tied head), or -1 */
} mr_reduce_cut;

/** Fixes the layout of parameters (mr_params_layout) with what their reduction keeps beside them.
 * Local. */
void mr_reduce_layout(mr_params *params, const mr_reduce_cut *cut);

/** Lays out the reduction of parameters that mr_reduce_layout laid out for the same cut, without
 * its lanes. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_reduce_create(const mr_params *params, const mr_reduce_cut *cut,
                                        mr_reduce **out);

/** Adds to bytes[purpose] what mr_reduce_allocate will take. Local. */
void mr_reduce_bytes(const mr_reduce *reduce, size_t bytes[MR_MEM_PURPOSES]);

/** Makes the memory that ranks share, if they do: before mr_reduce_allocate. Collective.
 * @return MR_OK, MR_ERR_MEMORY (no room: says how much is needed); the same on every rank */
MR_NODISCARD mr_status mr_reduce_open(mr_reduce *reduce);

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

/** Closes the leaf; with the last one before a meeting the unit's exchange starts. Collective. */
void mr_reduce_leaf_end(mr_reduce *reduce, int unit);

/** Waits for all reductions: own gradients are whole. Collective. */
void mr_reduce_finish(mr_reduce *reduce);

#endif
