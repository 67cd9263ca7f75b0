#ifndef MR_MODEL_TREE_H
#define MR_MODEL_TREE_H

/** @file
 * The fixed tree by which gradients of micro-batches are summed, as a stack of partial sums that
 * grows with the logarithm of their number.
 *
 * The leaves are cut into 2^k stretches of one length. Those of a stretch are added in order, and
 * the stretches as a balanced binary tree, neighbours first. The shape depends on the numbers
 * alone, so the ranks of a power of two, up to 2^k, may each take as many stretches, which are a
 * subtree, and the bits stay the same. Where the length is 1 any subtree is as good, and ranks may
 * take leaves in turn.
 */

#include <stdbool.h>
#include <stdint.h>

typedef struct mr_tree {
    int levels;     /**< k */
    int64_t length; /**< leaves of a stretch */
    int64_t pushed; /**< leaves so far */
    int depth;      /**< slots in use */
} mr_tree;

/** Returns into how many stretches count leaves are cut: the largest power of two that divides
 * count and is no more than most, 0 for no bound. Local. */
int64_t mr_tree_stretches(int64_t count, int64_t most);

/** Returns the empty tree of 2^k stretches. Local. */
mr_tree mr_tree_of(int64_t stretches, int64_t length);

/** Returns the most slots that are in use at a time, where a leaf that joins has none. Local. */
int mr_tree_slots(const mr_tree *tree);

/** Tells whether the next leaf is added to the one before it at once: then it need not be in slot
 * `depth` and may stand anywhere. Local. */
bool mr_tree_joins(const mr_tree *tree);

/** Tells whether any leaf does. Local. */
bool mr_tree_has_joins(const mr_tree *tree);

/** Takes the leaf written into slot `depth`; returns how many times the top two slots are to be
 * added (slot depth-2 += slot depth-1, each time one slot fewer), which the caller does with
 * mr_tree_pop. Local. */
int mr_tree_push(mr_tree *tree);

/** Books one addition of the top two slots; returns the slot that was added into. Local. */
int mr_tree_pop(mr_tree *tree);

/** Tells whether all leaves are in: slot 0 holds their sum. Local. */
bool mr_tree_complete(const mr_tree *tree);

#endif
