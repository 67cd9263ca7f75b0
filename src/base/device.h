#ifndef MR_BASE_DEVICE_H
#define MR_BASE_DEVICE_H

/** @file
 * What a function needs that kernels of a device call too: it stands before `static inline`. */

#ifdef __CUDACC__
#define MR_DEVICE __host__ __device__
#else
#define MR_DEVICE
#endif

#endif
