#ifndef MR_BASE_RANDOM_H
#define MR_BASE_RANDOM_H

/** @file
 * Counter-based random numbers: every value is a function of (seed, stream, index), so the same
 * numbers come out on any number of ranks, in any order, and no state has to be saved to resume.
 *
 * Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", Philox4x32-10.
 */

#include "base/device.h"

#include <math.h>
#include <stdint.h>

/** What a stream is drawn for; two purposes never share numbers. Values are part of the format. */
typedef enum mr_random_use {
    MR_RANDOM_WEIGHTS = 1,  /**< initial weights */
    MR_RANDOM_ADAPTER = 2,  /**< initial adapter tensors */
    MR_RANDOM_DROPOUT = 3,  /**< dropout masks */
    MR_RANDOM_ORDER = 4,    /**< order of samples */
    MR_RANDOM_DATA = 5,     /**< synthetic data */
    MR_RANDOM_SAMPLE = 6,   /**< sampling in generation */
    MR_RANDOM_SPECTRA = 7,  /**< noise that spectra are compared with, start of an iteration */
    MR_RANDOM_RESAMPLE = 8, /**< items drawn again, for intervals */
    MR_RANDOM_ROUNDING = 9, /**< stochastic rounding of what the optimizer keeps */
} mr_random_use;

/** A stream of numbers addressed by index. Plain data, copied freely. */
typedef struct mr_random {
    uint32_t key[2];
    uint32_t stream[2];
} mr_random;

/** Computes the Philox4x32-10 block of a counter under a key. Local. */
MR_DEVICE static inline void mr_philox(const uint32_t key[2], const uint32_t counter[4],
                                       uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/** Returns the stream of a seed for a use; stream numbers tell apart tensors, layers, epochs. */
mr_random mr_random_stream(uint64_t seed, mr_random_use use, uint64_t stream);

/** Returns 32 random bits at an index. Local. */
uint32_t mr_random_u32(const mr_random *random, uint64_t index);

/** Returns a number below bound (bound > 0) at an index; bias below 2^-32. Local. */
uint64_t mr_random_below(const mr_random *random, uint64_t index, uint64_t bound);

/** Writes the block of 128 random bits at an index: numbers of 32 bits 4 index and on, of 64 bits
 * 2 index and on. Local. */
MR_DEVICE static inline void mr_random_block(const mr_random *random, uint64_t index,
                                             uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), random->stream[0],
                                 random->stream[1]};
    mr_philox(random->key, counter, out);
}

/** Returns 64 random bits at an index. Local. */
MR_DEVICE static inline uint64_t mr_random_u64(const mr_random *random, uint64_t index)
{
    uint32_t out[4];
    mr_random_block(random, index / 2, out);
    const uint32_t *pair = out + 2 * (index % 2);
    return (uint64_t)pair[0] | (uint64_t)pair[1] << 32;
}

/** Returns a double in [0, 1) with 53 random bits at an index. Local. */
MR_DEVICE static inline double mr_random_uniform(const mr_random *random, uint64_t index)
{
    return (double)(mr_random_u64(random, index) >> 11) * 0x1p-53;
}

/** Returns a standard normal double at an index (Box-Muller); its last bits are those of the
 * library's logarithm, sine and cosine. Local. */
MR_DEVICE static inline double mr_random_normal(const mr_random *random, uint64_t index)
{
    /* Each pair of indices shares one draw: cosine for the even, sine for the odd. */
    const uint64_t pair = index & ~(uint64_t)1;
    const double radius = sqrt(-2.0 * log(1.0 - mr_random_uniform(random, pair)));
    const double angle = 6.283185307179586476925 * mr_random_uniform(random, pair + 1);
    return radius * (index & 1 ? sin(angle) : cos(angle));
}

#endif
