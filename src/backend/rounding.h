#ifndef MR_BACKEND_ROUNDING_H
#define MR_BACKEND_ROUNDING_H

/** @file
 * Stochastic rounding of F32 to BF16: up with the probability that the part cut off is of a unit of
 * the last place, so that the mean over many roundings is the number itself. All backends round by
 * the same random bits. */

#include "base/device.h"

#include <stdint.h>
#include <string.h>

/** What random bits of a rounding are for: words of a block (mr_random_block), of which block p is
 * that of elements 2 p and 2 p + 1, the lower half of each word the even one's. */
enum { MR_ROUND_WEIGHT, MR_ROUND_M, MR_ROUND_V };

/** Rounds by 16 random bits, of which what stands above is left out; infinity and NaN stay. Local.
 * @return the bits of a BF16 */
MR_DEVICE static inline uint16_t mr_round_stochastic(float value, uint32_t random)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    if ((bits & 0x7fffffffu) == 0x7f800000u) return (uint16_t)(bits >> 16);
    return (uint16_t)((bits + (random & 0xffffu)) >> 16);
}

#endif
