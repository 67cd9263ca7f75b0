#ifndef MR_DATA_ORDER_H
#define MR_DATA_ORDER_H

/** @file
 * Which item of the data stands at which place of a run: a function of the seed and of the number
 * of samples before it, never of the number of ranks, and without any state to save or rebuild.
 *
 * An epoch's permutation is a Feistel network with Philox as its round function, on the smallest
 * even number of bits that holds the items; a value outside the items goes through again until it
 * falls inside (cycle walking), which keeps the map one to one.
 * Source: Black and Rogaway 2002, "Ciphers with arbitrary finite domains", section 4.
 */

#include "base/random.h"

#include <stdint.h>

/** An order of a run. Plain data, copied freely. */
typedef struct mr_order {
    uint64_t seed;
    int64_t items; /**< of the data, 1 or more */
} mr_order;

/** Returns where a stream's permutation of 0..items-1 puts index. Local. No allocation. */
int64_t mr_order_permute(const mr_random *stream, int64_t items, int64_t index);

/** Returns the item at a position: the count of samples since the start of the run, 0 or more.
 * Every epoch of `items` positions is a permutation of its own. Local. No allocation. */
int64_t mr_order_item(const mr_order *order, int64_t position);

/** Returns the i-th of `count` places that are spread evenly over 0..there - 1: i * there / count,
 * rounded down, without overflow; each place once. Local. No allocation.
 * @param there  count or more
 * @param i      0..count - 1 */
int64_t mr_order_spread(int64_t there, int64_t count, int64_t i);

#endif
