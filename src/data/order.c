#include "data/order.h"

#include "base/status.h"

/* Four rounds already pass for a random permutation (Luby and Rackoff); the halves of a small set
 * have few bits, for which more are cheap insurance. */
enum { ROUNDS = 8 };

static uint64_t feistel(const mr_random *stream, int half, uint64_t value)
{
    const uint64_t mask = ((uint64_t)1 << half) - 1;
    uint64_t left = value >> half, right = value & mask;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        /* Each (round, right) reads the first word of a Philox block of its own. */
        uint64_t mixed = left ^ (mr_random_u32(stream, 4 * (round << 32 | right)) & mask);
        left = right;
        right = mixed;
    }
    return left << half | right;
}

int64_t mr_order_permute(const mr_random *stream, int64_t items, int64_t index)
{
    MR_INVARIANT(index >= 0 && index < items);
    int half = 1;
    while (half < 32 && (uint64_t)items > (uint64_t)1 << (2 * half))
        half++;
    uint64_t value = (uint64_t)index;
    do
        value = feistel(stream, half, value);
    while (value >= (uint64_t)items);
    return (int64_t)value;
}

int64_t mr_order_item(const mr_order *order, int64_t position)
{
    MR_INVARIANT(position >= 0 && order->items > 0);
    uint64_t epoch = (uint64_t)(position / order->items);
    mr_random stream = mr_random_stream(order->seed, MR_RANDOM_ORDER, epoch);
    return mr_order_permute(&stream, order->items, position % order->items);
}

int64_t mr_order_spread(int64_t there, int64_t count, int64_t i)
{
    MR_INVARIANT(i >= 0 && i < count && count <= there);
    return there / count * i + there % count * i / count;
}
