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

/** Whether two streams pay: not with a few rows, and not where factors are made even first, for
 * which there is room for one product at a time. */
static inline bool mr_cuda_has_beside(const mr_site_args *args)
{
    enum { FEW = 64, EVEN = 8 };
    return args->x.rows > FEW && (args->x.dtype != MR_BF16 || args->x.rows % EVEN == 0);
}

/** Work is queued beside from here on. */
static inline void mr_cuda_go_beside(mr_backend *be, const mr_site_args *args)
{
    if (mr_cuda_has_beside(args) && !mr_cuda_of(be)->beside) mr_cuda_side_begin(be);
}

static inline void mr_cuda_come_back(mr_backend *be)
{
    if (mr_cuda_of(be)->beside) mr_cuda_side_end(be);
}

/** Where the square matrices of a bundle work: with rows that begin at 16 bytes, in the scratch of
 * an operation, of which each of these takes a part, or in the tensors themselves where a map
 * leaves columns where they are. A block of columns has a matrix of its own, which turns it too. */
typedef struct mr_cuda_squares {
    mr_buffer buffer;      /* the scratch */
    mr_cuda_blocks blocks; /* of the columns of the next three */
    int count;             /* of blocks */
    mr_group_map in_map;   /* of inputs to columns, whole blocks */
    bool keeps;            /* `in` stays from forward to backward */
    bool late;             /* `back` is spread behind the base's products */
    mr_tensor in;          /* [N, count * pitch]: what M is applied to, maybe the input */
    mr_tensor out;         /* of each linear such a one: products, or gradients there; with one
                              block side by side, where all linears are one product */
    mr_tensor back;        /* [N, count * pitch], the gradient of `in` */
    mr_tensor m;           /* [linears * count * pitch, pitch] */
    mr_tensor p;           /* F32: gradients of those of one linear, or with one block of all */
} mr_cuda_squares;

/** y of the bundle's linears becomes their updates alone, of those behind the first beside what is
 * queued next. */
void mr_cuda_squares_forward(mr_backend *be, const mr_site_args *args, const mr_cuda_bundle *b,
                             const mr_tensor *y, mr_tensor x);

/** Gradients of a bundle's matrices, and of their input x: written where `begins`, else added; or
 * where r->late says so, left to mr_cuda_squares_end. What r holds is there until then. */
void mr_cuda_squares_backward(mr_backend *be, const mr_site_args *args, const mr_cuda_bundle *b,
                              const mr_tensor *d_y, mr_tensor x, mr_tensor d_x, bool begins,
                              mr_cuda_squares *r);

/** Adds what is late to the gradient of the input, once the second stream is joined. */
void mr_cuda_squares_end(mr_backend *be, const mr_site_args *args, const mr_cuda_squares *r);

#endif
