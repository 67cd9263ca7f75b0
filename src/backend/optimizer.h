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

/** Updates an element's moments by its gradient. Local. */
MR_DEVICE static inline void mr_adamw_moments(const mr_adamw_numbers *n, float *m, float *v,
                                              float gradient)
{
    const float g = gradient * n->scale;
    *m = n->beta1 * *m + n->gain1 * g;
    *v = n->beta2 * *v + n->gain2 * g * g;
}

/** Updates an element's weight and moments by its gradient. Local. */
MR_DEVICE static inline void mr_adamw_update(const mr_adamw_numbers *n, float *w, float *m,
                                             float *v, float gradient)
{
    mr_adamw_moments(n, m, v, gradient);
    *w = *w * n->decay - n->rate * *m / (sqrtf(*v) * n->root + n->eps);
}

/** What is kept of an element. */
enum { MR_KEPT_WEIGHT, MR_KEPT_M, MR_KEPT_V, MR_KEPT };

/** Rounds what is kept of an element from F32 to BF16 stochastically: up with the probability that
 * the part cut off is of a unit of the last place, so that the mean over many roundings is the
 * number itself. Of the element's 32 random bits (mr_random_u32 at its index) the weight takes the
 * lower half, m the upper one, and v their exclusive or: each is uniform, and any two are
 * independent. Infinity stays, having no part to cut off, and so does what is not a number: where
 * m or v is none the weight is none either, and then nothing is rounded up, lest a carry reach the
 * sign. Local. @param[out] bits  BF16 in the upper half of each */
MR_DEVICE static inline void mr_round_kept(const float kept[MR_KEPT], uint32_t random,
                                           uint32_t bits[MR_KEPT])
{
    memcpy(bits, kept, MR_KEPT * sizeof *bits);
    if (kept[MR_KEPT_WEIGHT] != kept[MR_KEPT_WEIGHT]) random = 0;
    bits[MR_KEPT_WEIGHT] += random & 0xffffu;
    bits[MR_KEPT_M] += random >> 16;
    bits[MR_KEPT_V] += (random ^ random >> 16) & 0xffffu;
}

#endif
