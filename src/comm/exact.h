#ifndef MR_COMM_EXACT_H
#define MR_COMM_EXACT_H

/** @file
 * Sums of doubles that do not depend on the order or the grouping of the summands, nor on how many
 * ranks hold them: an integer as wide as the range of a double. Used for what decides a step (loss,
 * gradient norm), so that 1, 2 and 4 ranks decide alike to the last bit.
 */

#include "comm/comm.h"

enum { MR_EXACT_DIGITS = 68 }; /**< 32-bit digits covering 2^-1074 .. 2^1024 and carries */

/** An exact sum. Start from {0}; plain data. Holds up to 2^30 summands between reductions. */
typedef struct mr_exact {
    int64_t digit[MR_EXACT_DIGITS]; /**< digit[i] weighs 2^(32 i - 1088) */
    int64_t nonfinite;              /**< summands that were NaN or infinite; not in the digits */
} mr_exact;

/** Adds one double. Local. */
void mr_exact_add(mr_exact *sum, double value);

/** Adds what another sum holds; both together may have as many summands as one. Local. */
void mr_exact_merge(mr_exact *sum, const mr_exact *other);

/** Sums over all ranks in place, several sums in one reduction. Collective. */
void mr_exact_reduce(const mr_comm *comm, mr_exact *sums, int count);

/** Returns the sum as a double, to within an ulp and always the same; NaN where a summand was not
 * finite. Local. */
double mr_exact_value(const mr_exact *sum);

#endif
