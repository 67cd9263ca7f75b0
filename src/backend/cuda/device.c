/* What all files of this folder ask of the device that they work on. */

#include "backend/cuda/cuda_impl.h"

#include <stdio.h>

void mr_cuda_note_failure(mr_backend *be, const char *what, const char *why)
{
    mr_cuda *cu = mr_cuda_of(be);
    if (cu->failure[0]) return;
    snprintf(cu->failure, sizeof cu->failure, "CUDA device %d: %s: %s", cu->device, what, why);
}

void mr_cuda_note(mr_backend *be, cudaError_t error, const char *what)
{
    if (error != cudaSuccess) mr_cuda_note_failure(be, what, cudaGetErrorString(error));
}

int mr_cuda_devices(void)
{
    int count = 0;
    if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
    cudaGetLastError(); /* told once, by what asks here */
    return 0;
}

void *mr_cuda_scratch(mr_backend *be, size_t bytes)
{
    mr_cuda *cu = mr_cuda_of(be);
    if (bytes <= cu->scratch_bytes) return cu->scratch;
    mr_cuda_note(be, cudaStreamSynchronize(cu->stream), "queued work");
    cudaFree(cu->scratch);
    mr_memory_release(MR_MEM_OTHER, cu->scratch_bytes);
    cu->scratch_bytes = 0;
    cudaError_t error = cudaMalloc(&cu->scratch, bytes);
    if (error != cudaSuccess) {
        cu->scratch = NULL;
        mr_cuda_note(be, error, "scratch of an operation");
        return NULL;
    }
    cu->scratch_bytes = bytes;
    mr_memory_hold(MR_MEM_OTHER, bytes);
    return cu->scratch;
}
