#ifndef MR_BACKEND_CUDA_CUDA_H
#define MR_BACKEND_CUDA_CUDA_H

/** @file
 * The CUDA backend as the table of backends sees it. */

#include "backend/backend.h"

/** Returns how many devices this process sees. Local. */
int mr_cuda_devices(void);

/** As mr_backend_device. Local. */
mr_status mr_cuda_describe(int index, mr_device_facts *out);

/** Fills be->ops and be->state on device node_rank modulo how many there are. Local.
 * @return MR_OK, MR_ERR_ARG (no device), MR_ERR_MEMORY */
mr_status mr_cuda_init(mr_backend *be, int node_rank);

#endif
