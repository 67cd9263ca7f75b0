#include "base/random.h"

#include <math.h>

__extension__ typedef unsigned __int128 u128; /* not ISO C, but GCC and Clang have it */

mr_random mr_random_stream(uint64_t seed, mr_random_use use, uint64_t stream)
{
    /* The use stands in the top byte of the stream word: 2^56 streams a use. */
    uint64_t word = ((uint64_t)use << 56) | (stream & 0x00ffffffffffffffu);
    return (mr_random){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                       .stream = {(uint32_t)word, (uint32_t)(word >> 32)}};
}

static void block(const mr_random *random, uint64_t index, uint32_t out[4])
{
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), random->stream[0],
                                 random->stream[1]};
    mr_philox(random->key, counter, out);
}

uint32_t mr_random_u32(const mr_random *random, uint64_t index)
{
    uint32_t out[4];
    block(random, index / 4, out);
    return out[index % 4];
}

static uint64_t random_u64(const mr_random *random, uint64_t index)
{
    uint32_t out[4];
    block(random, index / 2, out);
    const uint32_t *pair = out + 2 * (index % 2);
    return (uint64_t)pair[0] | (uint64_t)pair[1] << 32;
}

uint64_t mr_random_below(const mr_random *random, uint64_t index, uint64_t bound)
{
    return (uint64_t)(((u128)random_u64(random, index) * bound) >> 64);
}

double mr_random_uniform(const mr_random *random, uint64_t index)
{
    return (double)(random_u64(random, index) >> 11) * 0x1p-53;
}

double mr_random_normal(const mr_random *random, uint64_t index)
{
    /* Each pair of indices shares one Box-Muller draw: cosine for the even, sine for the odd. */
    uint64_t pair = index & ~(uint64_t)1;
    double radius = sqrt(-2.0 * log(1.0 - mr_random_uniform(random, pair)));
    double angle = 6.283185307179586476925 * mr_random_uniform(random, pair + 1);
    return radius * (index & 1 ? sin(angle) : cos(angle));
}
