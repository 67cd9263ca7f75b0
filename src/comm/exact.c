#include "comm/exact.h"

#include <math.h>

__extension__ typedef unsigned __int128 u128; /* not ISO C, but GCC and Clang have it */

enum { LOWEST_EXPONENT = -1088 };

void mr_exact_add(mr_exact *sum, double value)
{
    if (!isfinite(value)) {
        sum->nonfinite++;
        return;
    }
    if (value == 0) return;
    int exponent;
    /* value = mantissa * 2^exponent with a 53-bit integer mantissa. */
    int64_t mantissa = (int64_t)ldexp(frexp(value, &exponent), 53);
    exponent -= 53;
    int position = exponent - LOWEST_EXPONENT;
    if (position < 0) { /* denormal: the mantissa's low bits are zeros */
        mantissa /= (int64_t)1 << -position;
        position = 0;
    }
    int digit = position / 32, shift = position % 32;
    uint64_t magnitude = (uint64_t)(mantissa < 0 ? -mantissa : mantissa);
    u128 shifted = (u128)magnitude << shift;
    int64_t sign = mantissa < 0 ? -1 : 1;
    for (int i = 0; i < 3; i++)
        sum->digit[digit + i] += sign * (int64_t)(uint32_t)(shifted >> (32 * i));
}

/* Carries upward until every digit but the top one lies in [0, 2^32): the unique form. */
static void normalise(mr_exact *sum)
{
    for (int i = 0; i + 1 < MR_EXACT_DIGITS; i++) {
        int64_t low = (int64_t)((uint64_t)sum->digit[i] & 0xffffffffu);
        sum->digit[i + 1] += (sum->digit[i] - low) / ((int64_t)1 << 32);
        sum->digit[i] = low;
    }
}

void mr_exact_reduce(const mr_comm *comm, mr_exact *sums, int count)
{
    for (int i = 0; i < count; i++)
        normalise(&sums[i]);
    if (comm->size == 1) return;
    mr_comm_sum_i64(comm, (int64_t *)sums, count * (int)(sizeof(mr_exact) / sizeof(int64_t)));
    for (int i = 0; i < count; i++)
        normalise(&sums[i]);
}

double mr_exact_value(const mr_exact *sum)
{
    if (sum->nonfinite) return NAN;
    mr_exact magnitude = *sum;
    normalise(&magnitude);
    bool negative = magnitude.digit[MR_EXACT_DIGITS - 1] < 0;
    if (negative) {
        for (int i = 0; i < MR_EXACT_DIGITS; i++)
            magnitude.digit[i] = -magnitude.digit[i];
        normalise(&magnitude);
    }
    double value = 0;
    for (int i = MR_EXACT_DIGITS - 1; i >= 0; i--)
        value += ldexp((double)magnitude.digit[i], 32 * i + LOWEST_EXPONENT);
    return negative ? -value : value;
}
