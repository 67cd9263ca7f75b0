/* What all files of this folder ask of the device that they work on, and what it tells of itself.
 */

#include "backend/cuda/cuda_impl.h"

#include <stdio.h>

#ifdef MR_CUDNN
#include <cudnn_version.h>
#endif
#ifdef MR_NCCL
#include <nccl.h>
#endif

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

mr_status mr_cuda_find(int *devices)
{
    *devices = mr_cuda_devices();
    MR_CHECK(*devices > 0, MR_ERR_ARG, "no device of NVIDIA with a driver for CUDA %d.%d was found",
             CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    return MR_OK;
}

/* The libraries as they are loaded, or where they do not tell, as they were compiled against. */
static void name_libraries(char *text, size_t room)
{
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    int used =
        snprintf(text, room, "CUDA %d.%d (driver %d.%d), cuBLASLt %zu", runtime / 1000,
                 runtime % 1000 / 10, driver / 1000, driver % 1000 / 10, cublasLtGetVersion());
#ifdef MR_CUDNN
    used += snprintf(text + used, room - (size_t)used, ", cuDNN %d", CUDNN_VERSION);
#else
    used += snprintf(text + used, room - (size_t)used, ", no cuDNN");
#endif
#ifdef MR_NCCL
    snprintf(text + used, room - (size_t)used, ", NCCL %d", NCCL_VERSION_CODE);
#else
    snprintf(text + used, room - (size_t)used, ", no NCCL");
#endif
}

mr_status mr_cuda_describe(int index, mr_device_facts *out)
{
    int devices = 0;
    struct cudaDeviceProp device;
    MR_TRY(mr_cuda_find(&devices));
    cudaError_t error = cudaGetDeviceProperties(&device, index);
    if (error == cudaSuccess) error = cudaSetDevice(index);
    if (error == cudaSuccess) error = cudaMemGetInfo(&out->free_bytes, &out->bytes);
    MR_CHECK(error == cudaSuccess, MR_ERR_ARG, "CUDA device %d: %s", index,
             cudaGetErrorString(error));
    snprintf(out->name, sizeof out->name, "%s", device.name);
    int used = snprintf(out->uuid, sizeof out->uuid, "GPU-");
    for (size_t i = 0; i < sizeof device.uuid.bytes; i++)
        used += snprintf(out->uuid + used, sizeof out->uuid - (size_t)used, "%s%02x",
                         i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                         (unsigned)(unsigned char)device.uuid.bytes[i]);
    out->major = device.major;
    out->minor = device.minor;
    out->multiprocessors = device.multiProcessorCount;
    for (int other = 0; other < devices; other++) {
        int reached = 0;
        if (other != index && cudaDeviceCanAccessPeer(&reached, index, other) == cudaSuccess)
            out->reaches += reached;
    }
    name_libraries(out->libraries, sizeof out->libraries);
    return MR_OK;
}

void mr_cuda_grow(mr_backend *be, mr_buffer *memory, size_t bytes)
{
    if (bytes <= memory->bytes) return;
    /* Beside, what was queued before is waited for, too. */
    mr_cuda_note(be, cudaStreamSynchronize(mr_cuda_queue(mr_cuda_of(be))), "queued work");
    mr_cuda_of(be)->moved++;
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
