#ifndef MR_BACKEND_CUDA_SITE_IMPL_H
#define MR_BACKEND_CUDA_SITE_IMPL_H

/** @file
 * What a site is made of: linears whose updates are taken together. */

#include "backend/cuda/cuda_impl.h"

/** Linears first..last of a site whose updates see one compressed input, and are mapped alike to
 * their outputs. */
typedef struct mr_cuda_bundle {
    int first, last; /* the ones between that are not adapted stand aside */
    int count;
    int64_t inner;              /* columns of each: r, or R */
    int64_t saved;              /* first column in saved: of products */
    mr_tensor weight, gradient; /* stacked; the gradient where it is wanted */
} mr_cuda_bundle;

/** Goes to the bundle behind another one, which starts from {.last = -1}; false where there is
 * none. */
bool mr_cuda_next_bundle(const mr_site_args *args, mr_cuda_bundle *b);

static inline bool mr_cuda_is_adapted(const mr_site_args *args, int i)
{
    return args->update[i].kind != MR_UPDATE_NONE;
}

/** y of the bundle's linears, of square matrices, becomes their updates alone. */
void mr_cuda_squares_forward(mr_backend *be, const mr_site_args *args, const mr_cuda_bundle *b,
                             const mr_tensor *y, mr_tensor x);

/** Gradients of a bundle's matrices, and of their input x: written where `begins`, else added. */
void mr_cuda_squares_backward(mr_backend *be, const mr_site_args *args, const mr_cuda_bundle *b,
                              const mr_tensor *d_y, mr_tensor x, mr_tensor d_x, bool begins);

#endif
