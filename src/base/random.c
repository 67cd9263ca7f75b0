#include "base/random.h"

__extension__ typedef unsigned __int128 u128; /* not ISO C, but GCC and Clang have it */

mr_random mr_random_stream(uint64_t seed, mr_random_use use, uint64_t stream)
{
    /* The use stands in the top byte of the stream word: 2^56 streams a use. */
    uint64_t word = ((uint64_t)use << 56) | (stream & 0x00ffffffffffffffu);
    return (mr_random){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                       .stream = {(uint32_t)word, (uint32_t)(word >> 32)}};
}

uint32_t mr_random_u32(const mr_random *random, uint64_t index)
{
    const uint64_t pair = mr_random_u64(random, index / 2);
    return (uint32_t)(index % 2 ? pair >> 32 : pair);
}

uint64_t mr_random_below(const mr_random *random, uint64_t index, uint64_t bound)
{
    return (uint64_t)(((u128)mr_random_u64(random, index) * bound) >> 64);
}
