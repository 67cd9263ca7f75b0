/* Tensors from device to device by NCCL, on a stream of their own. It only moves them: sums are
 * taken by the fixed tree that they are taken by everywhere (backend.h: sum_pieces), so that bits
 * do not depend on how devices are linked. What NCCL adds up in switches (NVLS) is left off for
 * that. */

#include "backend/cuda/cuda_impl.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#ifdef MR_NCCL
#include <nccl.h>
#else
typedef void *ncclComm_t;
#endif

enum { COMMS = 4 }; /* communicators of MPI that tensors travel in */

struct mr_cuda_peers {
    cudaStream_t stream;
    cudaEvent_t ready; /* what travels is there */
    int count;
    struct {
        MPI_Comm of;
        ncclComm_t with; /* NULL: through the host; owned */
    } comm[COMMS];
};

mr_status mr_cuda_peers_create(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    cu->peers = mr_alloc(MR_MEM_OTHER, sizeof *cu->peers);
    if (!cu->peers) return MR_ERR_MEMORY;
    cudaError_t error = cudaStreamCreateWithFlags(&cu->peers->stream, cudaStreamNonBlocking);
    if (error == cudaSuccess)
        error = cudaEventCreateWithFlags(&cu->peers->ready, cudaEventDisableTiming);
    MR_CHECK(error == cudaSuccess, MR_ERR_MEMORY, "CUDA device %d: a stream for other ranks: %s",
             cu->device, cudaGetErrorString(error));
    return MR_OK;
}

/* Whether no two ranks compute on one device. Collective. */
static bool have_own_devices(mr_backend *be, const mr_comm *comm)
{
    struct cudaDeviceProp device;
    bool shared = cudaGetDeviceProperties(&device, mr_cuda_of(be)->device) != cudaSuccess;
    for (int rank = 0; rank < comm->size; rank++) {
        cudaUUID_t other = device.uuid;
        mr_comm_broadcast(comm, &other, sizeof other, rank);
        shared = shared || (rank != comm->rank && memcmp(&other, &device.uuid, sizeof other) == 0);
    }
    return !mr_comm_any(comm, shared);
}

#ifdef MR_NCCL

static void check(mr_backend *be, ncclResult_t result)
{
    if (result != ncclSuccess)
        mr_cuda_note_failure(be, "NCCL, between devices", ncclGetErrorString(result));
}

/* The communicator of devices for one of ranks. Collective. */
static ncclComm_t connect(const mr_backend *be, const mr_comm *comm)
{
    ncclUniqueId id;
    ncclComm_t made = NULL;
    ncclResult_t result = ncclSuccess;
    setenv("NCCL_NVLS_ENABLE", "0", 0);
    if (comm->rank == 0) result = ncclGetUniqueId(&id);
    mr_comm_broadcast(comm, &id, sizeof id, 0);
    mr_comm_barrier(comm);
    if (result == ncclSuccess) result = ncclCommInitRank(&made, comm->size, id, comm->rank);
    /* Others would wait for this one. */
    if (result != ncclSuccess)
        mr_abort("CUDA device %d: NCCL cannot reach the devices of %d ranks: %s",
                 mr_cuda_of(be)->device, comm->size, ncclGetErrorString(result));
    return made;
}

static ncclComm_t of_ranks(mr_backend *be, const mr_comm *comm)
{
    const mr_cuda_peers *peers = mr_cuda_of(be)->peers;
    for (int i = 0; i < peers->count; i++)
        if (peers->comm[i].of == comm->handle) return peers->comm[i].with;
    return NULL;
}

/* Lets the stream see what is queued so far. */
static cudaStream_t begin(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    mr_cuda_note(be, cudaEventRecord(cu->peers->ready, cu->stream), "a transfer between ranks");
    mr_cuda_note(be, cudaStreamWaitEvent(cu->peers->stream, cu->peers->ready, 0),
                 "a transfer between ranks");
    return cu->peers->stream;
}

void mr_cuda_peers_gather(mr_backend *be, const mr_comm *comm, void *whole, const void *part,
                          size_t bytes, cudaEvent_t arrived)
{
    cudaStream_t stream = begin(be);
    check(be, ncclAllGather(part, whole, bytes, ncclUint8, of_ranks(be, comm), stream));
    mr_cuda_note(be, cudaEventRecord(arrived, stream), "a transfer between ranks");
}

void mr_cuda_peers_exchange(mr_backend *be, const mr_comm *comm, void *pieces, const void *whole,
                            size_t bytes, cudaEvent_t arrived)
{
    cudaStream_t stream = begin(be);
    ncclComm_t with = of_ranks(be, comm);
    check(be, ncclGroupStart());
    for (int rank = 0; rank < comm->size; rank++) {
        const size_t at = (size_t)rank * bytes;
        check(be, ncclSend((const char *)whole + at, bytes, ncclUint8, rank, with, stream));
        check(be, ncclRecv((char *)pieces + at, bytes, ncclUint8, rank, with, stream));
    }
    check(be, ncclGroupEnd());
    mr_cuda_note(be, cudaEventRecord(arrived, stream), "a transfer between ranks");
}

#else

static ncclComm_t connect(const mr_backend *be, const mr_comm *comm)
{
    (void)be;
    if (comm->rank == 0)
        mr_warn("%d ranks have devices of their own, and this build has no NCCL: what they share "
                "goes through the host (cmake --preset cuda -DMR_NCCL=ON)",
                comm->size);
    return NULL;
}

void mr_cuda_peers_gather(mr_backend *be, const mr_comm *comm, void *whole, const void *part,
                          size_t bytes, cudaEvent_t arrived)
{
    (void)be, (void)comm, (void)whole, (void)part, (void)bytes, (void)arrived;
}

void mr_cuda_peers_exchange(mr_backend *be, const mr_comm *comm, void *pieces, const void *whole,
                            size_t bytes, cudaEvent_t arrived)
{
    (void)be, (void)comm, (void)whole, (void)pieces, (void)bytes, (void)arrived;
}

#endif

bool mr_cuda_peers_reached(mr_backend *be, const mr_comm *comm)
{
    mr_cuda_peers *peers = mr_cuda_of(be)->peers;
    for (int i = 0; i < peers->count; i++)
        if (peers->comm[i].of == comm->handle) return peers->comm[i].with != NULL;
    if (peers->count == COMMS) return false;
    const bool own = have_own_devices(be, comm);
    peers->comm[peers->count].of = comm->handle;
    peers->comm[peers->count].with = own ? connect(be, comm) : NULL;
    return peers->comm[peers->count++].with != NULL;
}

void mr_cuda_peers_destroy(mr_backend *be)
{
    mr_cuda_peers *peers = mr_cuda_of(be)->peers;
    if (!peers) return;
    if (peers->stream) cudaStreamSynchronize(peers->stream);
#ifdef MR_NCCL
    for (int i = 0; i < peers->count; i++)
        if (peers->comm[i].with) ncclCommDestroy(peers->comm[i].with);
#endif
    if (peers->ready) cudaEventDestroy(peers->ready);
    if (peers->stream) cudaStreamDestroy(peers->stream);
    mr_free(peers);
}
