#ifndef MR_COMM_DEAL_H
#define MR_COMM_DEAL_H

/** @file
 * Dealing work over ranks by what it costs. */

#include "base/memory.h"

/** Gives each item, the costliest first and equal ones in their order, to the rank that has least
 * to do so far: every rank comes to the same result without a word. Local.
 * @param cost        [count]; an item of a negative cost is nobody's
 * @param[out] owner  [count] ranks; -1: nobody
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_deal(int ranks, int64_t count, const double *cost, int *owner);

#endif
