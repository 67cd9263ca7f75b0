#ifndef MR_BACKEND_CPU_VECTOR_H
#define MR_BACKEND_CPU_VECTOR_H

/** @file
 * Elementary functions the compiler can vectorise, and stores it does not know. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

/** Returns e^x to within 2 ulp; 0 below -87.3, e^88.3 above 88.3, NaN of NaN. */
static inline float mr_expf(float x)
{
    /* x = n ln 2 + f, |f| <= ln 2 / 2; the added constant rounds n to an integer held in the low
     * bits of the sum. ln 2 in two parts keeps f exact. */
    const float round_bits = 12582912.0f;
    float clamped = x > 88.3f ? 88.3f : x;
    clamped = clamped < -87.3f ? -87.3f : clamped;
    float shifted = clamped * 1.44269504f + round_bits;
    float n = shifted - round_bits;
    float f = clamped - n * 0.693359375f;
    f = f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * f + 1.3981999507e-3f;
    p = p * f + 8.3334519073e-3f;
    p = p * f + 4.1665795894e-2f;
    p = p * f + 1.6666665459e-1f;
    p = p * f + 5.0000001201e-1f;
    p = p * (f * f) + f + 1.0f;
    uint32_t bits; /* without sign: those of a NaN may be the greatest */
    memcpy(&bits, &shifted, sizeof bits);
    const uint32_t exponent = (bits + 127) << 23;
    float scale;
    memcpy(&scale, &exponent, sizeof scale);
    float value = p * scale;
    return x < -87.3f ? 0.0f : value;
}

/** Returns a b + c, rounded once where the processor does so as fast. */
static inline float mr_multiply_add(float a, float b, float c)
{
#ifdef __FP_FAST_FMAF
    return fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

/** Copies what is read long after: past the caches, where the processor can, so that its lines are
 * not fetched first and put no others out. mr_stream_end goes before another thread reads it. */
static inline void mr_stream(float *to, const float *from, int64_t count)
{
#if defined(__SSE__)
    for (; count > 0 && (uintptr_t)to % 16 != 0; count--)
        *to++ = *from++;
    for (; count >= 4; count -= 4, to += 4, from += 4)
        _mm_stream_ps(to, _mm_loadu_ps(from));
#endif
    memcpy(to, from, (size_t)count * sizeof *to);
}

static inline void mr_stream_end(void)
{
#if defined(__SSE__)
    _mm_sfence();
#endif
}

#endif
