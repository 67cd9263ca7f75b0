#ifndef MR_BACKEND_CUDA_GEMM_IMPL_H
#define MR_BACKEND_CUDA_GEMM_IMPL_H

/** @file
 * Products by cuBLASLt, between what settles how one is computed and what makes matrices even. */

#include "backend/cuda/cuda_impl.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Multiply-adds of a product that what is done besides is little to. */
#define MR_CUDA_LARGE ((int64_t)1 << 30)

/** The factors of a product and where it goes; of a batch, of its first. */
typedef struct mr_cuda_operands {
    float alpha, beta;
    mr_tensor a, b, c;
    mr_cuda_batch batch;
    mr_tensor scale_a, scale_b; /**< of rows of factors in 8 bits, else absent */
} mr_cuda_operands;

/** Queues a product, or those of a batch, with extents as they are; of factors in 8 bits, b
 * transposed. */
void mr_cuda_multiply(mr_backend *be, bool transpose_a, bool transpose_b,
                      const mr_cuda_operands *o);

/** Queues a product whose sums have few terms by a kernel of its own, where it is such.
 * @return whether it is */
bool mr_cuda_gemm_outer(mr_backend *be, bool transpose_a, bool transpose_b,
                        const mr_cuda_operands *o);

#ifdef __cplusplus
}
#endif

#endif
