#ifndef MR_BACKEND_CUDA_MMA_CUH
#define MR_BACKEND_CUDA_MMA_CUH

/** @file
 * Products of the tensor cores, [16, 16] of BF16 by [16, 8], and what brings their factors there.
 *
 * Elements lie across a warp: with g = lane / 4 and t = lane mod 4 a lane has, of the left factor,
 * columns 2t, 2t + 1 of rows g and g + 8, then those 8 columns behind; of the right one the same
 * rows of column g; of the result columns 2t and 2t + 1 of rows g and g + 8. */

#include "backend/cuda/kernel.cuh"

/** c += a b. */
__device__ inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/** The same with the first 8 columns of the left factor alone, and as many rows of the right. */
__device__ inline void multiply(float (&c)[4], const uint32_t (&a)[2], uint32_t b)
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b));
}

/** Two elements in a word. */
__device__ inline uint32_t pair_of(float low, float high)
{
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *(const uint32_t *)&both;
}

/** Reads four squares of 8 x 8 elements, each lane's address that of a row of 16 bytes, eight lanes
 * a square; of a square a lane gets elements 2t, 2t + 1 of row g, or turned, of column g. @{ */
__device__ inline void read_squares(uint32_t (&to)[4], uint32_t at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
}

__device__ inline void read_squares_turned(uint32_t (&to)[4], uint32_t at)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(at)
                 : "memory");
}
/** @} */

/** Starts fetching 16 bytes to shared memory, zeros where there are none. */
__device__ inline void fetch_pack(uint32_t to, const bf16 *from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}

#endif
