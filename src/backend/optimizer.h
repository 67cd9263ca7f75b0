#ifndef MR_BACKEND_OPTIMIZER_H
#define MR_BACKEND_OPTIMIZER_H

/** @file
 * One update of AdamW as all backends compute it: in F32, by numbers that are rounded once, and
 * where BF16 is kept, rounded by the same random bits. Source: Loshchilov and Hutter 2019, as
 * torch.optim.AdamW. */

#include "backend/backend.h"
#include "base/device.h"

#include <math.h>
#include <string.h>

/** The numbers of an update that are the same for all elements of a tensor. */
typedef struct mr_adamw_numbers {
    float beta1, beta2, gain1, gain2, scale, decay, rate, root, eps;
} mr_adamw_numbers;

/** Returns those of an update. Local. */
static inline mr_adamw_numbers mr_adamw_numbers_of(const mr_adamw_args *args)
{
    mr_adamw_numbers n;
    n.beta1 = (float)args->beta1;
    n.beta2 = (float)args->beta2;
    n.gain1 = (float)(1.0 - args->beta1);
    n.gain2 = (float)(1.0 - args->beta2);
    n.scale = (float)args->grad_scale;
    n.decay = (float)(1.0 - args->lr * args->weight_decay);
    n.rate = (float)(args->lr / (1.0 - pow(args->beta1, (double)args->step)));
    n.root = (float)(1.0 / sqrt(1.0 - pow(args->beta2, (double)args->step)));
    n.eps = (float)args->eps;
    return n;
}

/** Updates an element's weight and moments by its gradient. Local. */
MR_DEVICE static inline void mr_adamw_update(const mr_adamw_numbers *n, float *w, float *m,
                                             float *v, float gradient)
{
    const float g = gradient * n->scale;
    *m = n->beta1 * *m + n->gain1 * g;
    *v = n->beta2 * *v + n->gain2 * g * g;
    *w = *w * n->decay - n->rate * *m / (sqrtf(*v) * n->root + n->eps);
}

/** What random bits of a rounding are for: words of a block (mr_random_block), of which block p is
 * that of elements 2 p and 2 p + 1, the lower half of each word the even one's. */
enum { MR_ROUND_WEIGHT, MR_ROUND_M, MR_ROUND_V };

/** Rounds F32 to BF16 stochastically: up with the probability that the part cut off is of a unit of
 * the last place, so that the mean over many roundings is the number itself. Takes the lower 16
 * random bits; infinity and NaN stay. Local. @return the bits of a BF16 */
MR_DEVICE static inline uint16_t mr_round_stochastic(float value, uint32_t random)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    if ((bits & 0x7fffffffu) == 0x7f800000u) return (uint16_t)(bits >> 16);
    return (uint16_t)((bits + (random & 0xffffu)) >> 16);
}

#endif
