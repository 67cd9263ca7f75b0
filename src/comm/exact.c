#include "comm/exact.h"

#include <math.h>
#include <string.h>

__extension__ typedef unsigned __int128 u128; /* not ISO C, but GCC and Clang have it */

enum { LOWEST_EXPONENT = -1088 };

void mr_exact_add(mr_exact *sum, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    int exponent = (int)(bits >> 52 & 0x7ff);
    uint64_t mantissa = bits & 0xfffffffffffffu;
    if (exponent == 0x7ff) {
        sum->nonfinite++;
        return;
    }
    /* |value| = mantissa * 2^(exponent - 1075), its lowest bit at `position` of the digits. */
    if (exponent > 0)
        mantissa |= (uint64_t)1 << 52;
    else
        exponent = 1;
    int position = exponent - 1075 - LOWEST_EXPONENT, digit = position / 32;
    u128 shifted = (u128)mantissa << position % 32;
    int64_t sign = bits >> 63 ? -1 : 1;
    for (int i = 0; i < 3; i++)
        sum->digit[digit + i] += sign * (int64_t)(uint32_t)(shifted >> (32 * i));
}

void mr_exact_merge(mr_exact *sum, const mr_exact *other)
{
    for (int i = 0; i < MR_EXACT_DIGITS; i++)
        sum->digit[i] += other->digit[i];
    sum->nonfinite += other->nonfinite;
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
