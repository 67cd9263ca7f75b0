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

void mr_cuda_grow(mr_backend *be, mr_buffer *memory, size_t bytes)
{
    if (bytes <= memory->bytes) return;
    mr_cuda_note(be, cudaStreamSynchronize(mr_cuda_of(be)->stream), "queued work");
    mr_cuda_shrink(memory);
    cudaError_t error = cudaMalloc(&memory->data, bytes);
    if (error != cudaSuccess) {
        memory->data = NULL;
        mr_cuda_note(be, error, "scratch of an operation");
        return;
    }
    memory->bytes = bytes;
    mr_memory_hold(MR_MEM_OTHER, bytes);
}

void mr_cuda_shrink(mr_buffer *memory)
{
    cudaFree(memory->data);
    mr_memory_release(MR_MEM_OTHER, memory->bytes);
    *memory = (mr_buffer){.purpose = MR_MEM_OTHER};
}

void *mr_cuda_scratch(mr_backend *be, size_t bytes)
{
    mr_buffer *memory = &mr_cuda_of(be)->scratch;
    mr_cuda_grow(be, memory, bytes);
    return memory->data;
}
