#ifndef MR_BACKEND_EIGHT_H
#define MR_BACKEND_EIGHT_H

/** @file
 * Numbers of 8 bits as all backends make them: E4M3, which has no infinity, 448 for its largest
 * number, 2^-6 for its smallest with three bits of mantissa, and 2^-9 for its smallest. Source:
 * Micikevicius et al. 2022 (arXiv 2209.05433).
 *
 * A row of a matrix is scaled by the least power of two with which its largest fits. So scaling
 * rounds nothing, and an element is the same number whether its row or its column is scaled, unless
 * it is 2^-13 of the largest there or less: a weight and its transpose are one matrix. Gradients
 * are E4M3 too, as in DeepSeek-V3 (arXiv 2412.19437, section 3.3): a scale a token has the range
 * that one a tensor needs E5M2 for, at half the rounding. */

#include "base/device.h"

#include <stdint.h>
#include <string.h>

#define MR_E4M3_NAN 0x7f /**< the bits of what is no number */

/** Returns the F32 of some bits. Local. */
MR_DEVICE static inline float mr_float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/** Returns the bits of |x|: they are in the order of the numbers, infinity and then NaN above all.
 * Local. */
MR_DEVICE static inline uint32_t mr_size_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & 0x7fffffffu;
}

/** Returns the exponent, from 1 as F32 stores it, of the scale of a row whose largest element has
 * these bits without sign: that of the least normal power of two s with most <= 448 s. Local. */
MR_DEVICE static inline uint32_t mr_scale_exponent(uint32_t most)
{
    const uint32_t exponent = (most >> 23) + ((most & 0x7fffffu) > 0x600000u); /* 448 = 1.75 2^8 */
    return exponent > 9 ? exponent - 8 : 1;
}

/** Returns the scale of such a row: NaN where its largest is not finite. Local. */
MR_DEVICE static inline float mr_scale_of(uint32_t most)
{
    return mr_float_of_bits(most < 0x7f800000u ? mr_scale_exponent(most) << 23 : 0x7fc00000u);
}

/** Returns what elements of such a row are multiplied by. Local. */
MR_DEVICE static inline float mr_scale_inverse(uint32_t most)
{
    return mr_float_of_bits((254 - mr_scale_exponent(most)) << 23);
}

/** Returns the value of a number of 8 bits. Local. */
MR_DEVICE static inline float mr_of_e4m3(uint8_t bits)
{
    const uint32_t size = bits & 0x7fu, sign = (uint32_t)(bits & 0x80u) << 24;
    float value = mr_float_of_bits((size << 20) + (120u << 23)); /* biases are 127 and 7 */
    if (size < 8) value = (float)size * 0x1p-9f;
    if (size == MR_E4M3_NAN) value = mr_float_of_bits(0x7fc00000u);
    return sign ? -value : value;
}

#endif
