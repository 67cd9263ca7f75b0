#ifndef MR_MODEL_TREE_H
#define MR_MODEL_TREE_H

/** @file
 * The fixed binary tree by which gradients of micro-batches are summed, as a stack of partial sums
 * that grows with the logarithm of their number.
 *
 * count = 2^k o leaves (o odd) form o blocks of 2^k; a block is summed as a balanced binary tree,
 * neighbours first, and the blocks are added in order. The shape depends on count alone, so the
 * ranks of a power of two that divides it may each take a subtree and the bits stay the same.
 */

#include <stdbool.h>
#include <stdint.h>

typedef struct mr_tree {
    int levels;     /**< k */
    int64_t blocks; /**< o */
    int64_t pushed; /**< leaves so far */
    int depth;      /**< slots in use */
} mr_tree;

/** Returns the empty tree of count leaves. Local. */
mr_tree mr_tree_of(int64_t count);

/** Returns the most slots that are in use at a time. Local. */
int mr_tree_slots(int64_t count);

/** Takes the leaf written into slot `depth`; returns how many times the top two slots are to be
 * added (slot depth-2 += slot depth-1, each time one slot fewer), which the caller does with
 * mr_tree_pop. Local. */
int mr_tree_push(mr_tree *tree);

/** Books one addition of the top two slots; returns the slot that was added into. Local. */
int mr_tree_pop(mr_tree *tree);

/** Tells whether all leaves are in: slot 0 holds their sum. Local. */
bool mr_tree_complete(const mr_tree *tree);

#endif
