/* Between host and device, and between ranks, from device to device or by way of the host. What the
 * host hands over is free again when the call returns: it goes through pinned memory, by pieces
 * that take turns. */

#include "backend/cuda/cuda_impl.h"

#include <string.h>

/* A transfer between ranks. By way of the host both ends of it are there, pinned. Kept for the next
 * one. */
struct mr_cuda_lane {
    bool busy;
    bool direct;         /* from device to device */
    cudaEvent_t arrived; /* then: where it is done; owned */
    char *host;          /* owned */
    size_t bytes;
    size_t received; /* where in host what is received lies */
    mr_tensor to;    /* and where it goes */
};

mr_status mr_cuda_staging_create(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    cu->lanes = mr_alloc_array(MR_MEM_OTHER, MR_CUDA_LANES, sizeof *cu->lanes);
    if (!cu->lanes) return MR_ERR_MEMORY;
    cudaError_t error = cudaMalloc(&cu->slot_device, MR_CUDA_SLOT_BYTES);
    for (int i = 0; i < MR_CUDA_SLOTS && error == cudaSuccess; i++) {
        error = cudaMallocHost((void **)&cu->slot[i], MR_CUDA_SLOT_BYTES);
        if (error == cudaSuccess)
            error = cudaEventCreateWithFlags(&cu->slot_free[i], cudaEventDisableTiming);
    }
    MR_CHECK(error == cudaSuccess, MR_ERR_MEMORY, "CUDA device %d: pinned memory: %s", cu->device,
             cudaGetErrorString(error));
    return MR_OK;
}

void mr_cuda_staging_destroy(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    for (int i = 0; i < MR_CUDA_SLOTS; i++) {
        if (cu->slot_free[i]) cudaEventDestroy(cu->slot_free[i]);
        cudaFreeHost(cu->slot[i]);
    }
    cudaFree(cu->slot_device);
    for (int i = 0; cu->lanes && i < MR_CUDA_LANES; i++) {
        cudaFreeHost(cu->lanes[i].host);
        if (cu->lanes[i].arrived) cudaEventDestroy(cu->lanes[i].arrived);
    }
    mr_free(cu->lanes);
}

/* The slot whose turn it is, once it is free. */
static int next_slot(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    int slot = cu->turn++ % MR_CUDA_SLOTS;
    mr_cuda_note(be, cudaEventSynchronize(cu->slot_free[slot]), "an upload");
    return slot;
}

/* The part of a tensor, seen as a run of elements row after row, that one slot takes: whole rows,
 * or a stretch of one. */
static mr_tensor next_piece(mr_tensor t, int64_t done, int64_t most)
{
    int64_t row = done / t.cols, col = done % t.cols;
    if (col == 0 && t.cols <= most) {
        int64_t rows = most / t.cols, left = t.rows - row;
        return mr_tensor_rows(t, row, rows < left ? rows : left);
    }
    int64_t left = t.cols - col;
    return mr_tensor_cols(mr_tensor_rows(t, row, 1), col, left < most ? left : most);
}

/* Dense memory on the device as a tensor. */
static mr_tensor dense_like(mr_buffer *memory, mr_dtype dtype, mr_tensor t)
{
    return mr_tensor_of(memory, dtype, 0, t.rows, t.cols);
}

/* The type that elements have on the host. */
static mr_dtype host_type(mr_dtype dtype)
{
    return dtype == MR_BF16 ? MR_F32 : dtype;
}

/* Copies between a tensor and dense memory. */
static void move(mr_backend *be, void *dst, size_t dst_pitch, const void *src, size_t src_pitch,
                 mr_tensor t, enum cudaMemcpyKind kind)
{
    cudaStream_t stream = mr_cuda_of(be)->stream;
    size_t row = (size_t)t.cols * mr_dtype_size(t.dtype);
    cudaError_t error =
        t.rows == 1 || mr_tensor_is_dense(t)
            ? cudaMemcpyAsync(dst, src, row * (size_t)t.rows, kind, stream)
            : cudaMemcpy2DAsync(dst, dst_pitch, src, src_pitch, row, (size_t)t.rows, kind, stream);
    mr_cuda_note(be, error, "a copy between host and device");
}

void mr_cuda_upload(mr_backend *be, mr_tensor dst, const void *src)
{
    mr_cuda *cu = mr_cuda_of(be);
    const size_t size = mr_dtype_size(host_type(dst.dtype));
    const char *from = src;
    for (int64_t done = 0; done < mr_tensor_count(dst);) {
        mr_tensor piece = next_piece(dst, done, (int64_t)(MR_CUDA_SLOT_BYTES / size));
        size_t bytes = (size_t)mr_tensor_count(piece) * size;
        size_t pitch = (size_t)piece.stride * size, row = (size_t)piece.cols * size;
        int slot = next_slot(be);
        memcpy(cu->slot[slot], from, bytes);
        if (dst.dtype == MR_BF16) {
            mr_buffer memory = {.data = cu->slot_device};
            mr_tensor whole = dense_like(&memory, MR_F32, piece);
            move(be, cu->slot_device, row, cu->slot[slot], row, whole, cudaMemcpyHostToDevice);
            mr_cuda_convert(be, piece, whole);
        } else {
            move(be, mr_cuda_at(piece), pitch, cu->slot[slot], row, piece, cudaMemcpyHostToDevice);
        }
        mr_cuda_note(be, cudaEventRecord(cu->slot_free[slot], cu->stream), "an upload");
        from += bytes;
        done += mr_tensor_count(piece);
    }
}

void mr_cuda_download(mr_backend *be, void *dst, mr_tensor src)
{
    mr_cuda *cu = mr_cuda_of(be);
    const size_t size = mr_dtype_size(host_type(src.dtype));
    char *to = dst;
    for (int64_t done = 0; done < mr_tensor_count(src);) {
        mr_tensor piece = next_piece(src, done, (int64_t)(MR_CUDA_SLOT_BYTES / size));
        size_t bytes = (size_t)mr_tensor_count(piece) * size;
        size_t pitch = (size_t)piece.stride * size, row = (size_t)piece.cols * size;
        int slot = next_slot(be);
        if (src.dtype == MR_BF16) {
            mr_buffer memory = {.data = cu->slot_device};
            mr_tensor whole = dense_like(&memory, MR_F32, piece);
            mr_cuda_convert(be, whole, piece);
            move(be, cu->slot[slot], row, cu->slot_device, row, whole, cudaMemcpyDeviceToHost);
        } else {
            move(be, cu->slot[slot], row, mr_cuda_at(piece), pitch, piece, cudaMemcpyDeviceToHost);
        }
        mr_cuda_note(be, cudaStreamSynchronize(cu->stream), "a download");
        memcpy(to, cu->slot[slot], bytes);
        to += bytes;
        done += mr_tensor_count(piece);
    }
}

/* A lane that no transfer is using, with room for so many bytes on the host. */
static mr_cuda_lane *take_lane(mr_backend *be, size_t bytes)
{
    mr_cuda *cu = mr_cuda_of(be);
    int i = 0;
    while (i < MR_CUDA_LANES && cu->lanes[i].busy)
        i++;
    if (i == MR_CUDA_LANES) mr_abort("more than %d transfers are under way", MR_CUDA_LANES);
    mr_cuda_lane *lane = &cu->lanes[i];
    lane->busy = true;
    lane->direct = false;
    if (bytes <= lane->bytes) return lane;
    cudaFreeHost(lane->host);
    lane->bytes = bytes;
    if (cudaMallocHost((void **)&lane->host, bytes) != cudaSuccess)
        mr_abort("CUDA device %d: cannot pin %zu bytes for a transfer between ranks", cu->device,
                 bytes);
    return lane;
}

/* A lane that holds what this rank sends, with room behind it for what it receives. */
static mr_cuda_lane *send_from(mr_backend *be, mr_tensor from, mr_tensor to)
{
    mr_cuda *cu = mr_cuda_of(be);
    size_t size = mr_dtype_size(from.dtype), sent = (size_t)mr_tensor_count(from) * size;
    mr_cuda_lane *lane = take_lane(be, sent + (size_t)mr_tensor_count(to) * size);
    lane->received = sent;
    lane->to = to;
    mr_cuda_note(
        be, cudaMemcpyAsync(lane->host, mr_cuda_at(from), sent, cudaMemcpyDeviceToHost, cu->stream),
        "a transfer between ranks");
    mr_cuda_note(be, cudaStreamSynchronize(cu->stream), "a transfer between ranks");
    return lane;
}

/* A lane of a transfer from device to device. */
static mr_cuda_lane *direct_lane(mr_backend *be)
{
    mr_cuda_lane *lane = take_lane(be, 0);
    lane->direct = true;
    if (!lane->arrived)
        mr_cuda_note(be, cudaEventCreateWithFlags(&lane->arrived, cudaEventDisableTiming),
                     "a transfer between ranks");
    return lane;
}

/* Bytes of one rank's part of what all have. */
static size_t part_bytes(const mr_comm *comm, mr_tensor whole)
{
    return (size_t)(whole.cols / comm->size) * mr_dtype_size(whole.dtype);
}

static int64_t blocks_of(const mr_comm *comm, mr_tensor whole)
{
    return whole.cols / comm->size / MR_SHARD_BLOCK;
}

void mr_cuda_gather_start(mr_backend *be, const mr_comm *comm, mr_tensor whole, mr_tensor shard,
                          mr_transfer *transfer)
{
    int64_t own = whole.cols / comm->size;
    mr_tensor place = mr_tensor_cols(whole, comm->rank * own, own);
    if (comm->size == 1) {
        if (mr_tensor_exists(shard)) mr_cuda_copy(be, place, shard);
        return;
    }
    mr_tensor from = mr_tensor_exists(shard) ? shard : place;
    if (mr_cuda_peers_reached(be, comm)) {
        mr_cuda_lane *direct = direct_lane(be);
        transfer->state = direct;
        mr_cuda_peers_gather(be, comm, mr_cuda_at(whole), mr_cuda_at(from), part_bytes(comm, whole),
                             direct->arrived);
        return;
    }
    mr_cuda_lane *lane = send_from(be, from, whole);
    transfer->state = lane;
    mr_comm_gather_start(comm, lane->host, lane->host + lane->received, blocks_of(comm, whole),
                         mr_dtype_size(whole.dtype), &transfer->request);
}

void mr_cuda_exchange_start(mr_backend *be, const mr_comm *comm, mr_tensor pieces, mr_tensor whole,
                            mr_transfer *transfer)
{
    if (comm->size == 1) {
        mr_cuda_copy(be, pieces, whole);
        return;
    }
    if (mr_cuda_peers_reached(be, comm)) {
        mr_cuda_lane *direct = direct_lane(be);
        transfer->state = direct;
        mr_cuda_peers_exchange(be, comm, mr_cuda_at(pieces), mr_cuda_at(whole),
                               part_bytes(comm, whole), direct->arrived);
        return;
    }
    mr_cuda_lane *lane = send_from(be, whole, pieces);
    transfer->state = lane;
    mr_comm_exchange_start(comm, lane->host, lane->host + lane->received, blocks_of(comm, whole),
                           mr_dtype_size(whole.dtype), &transfer->request);
}

void mr_cuda_wait(mr_backend *be, mr_transfer *transfer)
{
    mr_cuda *cu = mr_cuda_of(be);
    mr_cuda_lane *lane = transfer->state;
    if (!lane) return;
    transfer->state = NULL;
    lane->busy = false;
    if (lane->direct) {
        mr_cuda_note(be, cudaStreamWaitEvent(cu->stream, lane->arrived, 0),
                     "a transfer between ranks");
        return;
    }
    mr_comm_wait(&transfer->request);
    size_t bytes = (size_t)mr_tensor_count(lane->to) * mr_dtype_size(lane->to.dtype);
    mr_cuda_note(be,
                 cudaMemcpyAsync(mr_cuda_at(lane->to), lane->host + lane->received, bytes,
                                 cudaMemcpyHostToDevice, cu->stream),
                 "a transfer between ranks");
    mr_cuda_note(be, cudaStreamSynchronize(cu->stream), "a transfer between ranks");
}
