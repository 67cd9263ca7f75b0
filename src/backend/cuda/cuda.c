#include "backend/cuda/cuda_impl.h"

#include <stdio.h>
#include <string.h>

static mr_status synchronize(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    mr_cuda_note(be, cudaStreamSynchronize(cu->stream), "queued work");
    mr_cuda_note(be, cudaGetLastError(), "queued work");
    if (!cu->failure[0]) return MR_OK;
    mr_status status = mr_fail(MR_ERR_NUMERIC, "%s", cu->failure);
    cu->failure[0] = '\0';
    return status;
}

static bool computes(mr_backend *be, mr_dtype dtype)
{
    if (dtype == MR_E4M3) return mr_cuda_multiplies_scaled(be);
    return dtype == MR_F32 || dtype == MR_BF16;
}

static mr_backend_memory memory(mr_backend *be)
{
    mr_backend_memory found = {.devices = mr_cuda_devices()};
    size_t available = 0, whole = 0;
    mr_cuda_note(be, cudaMemGetInfo(&available, &whole), "its memory");
    found.each.bytes = available;
    snprintf(found.each.what, sizeof found.each.what, "free memory of CUDA device %d",
             mr_cuda_of(be)->device);
    return found;
}

static void free_buffer(mr_buffer *buffer)
{
    cudaFree(buffer->data);
    mr_memory_release(buffer->purpose, buffer->bytes);
    mr_free(buffer);
}

static mr_status buffer_create(mr_backend *be, mr_purpose purpose, size_t bytes, mr_buffer **out)
{
    mr_cuda *cu = mr_cuda_of(be);
    *out = NULL;
    mr_buffer *buffer = mr_alloc(MR_MEM_OTHER, sizeof *buffer);
    if (!buffer) return MR_ERR_MEMORY;
    cudaError_t error = cudaMalloc(&buffer->data, bytes > 0 ? bytes : 1);
    if (error != cudaSuccess) {
        cudaGetLastError();
        mr_free(buffer);
        return mr_fail(MR_ERR_MEMORY, "CUDA device %d: cannot allocate %zu bytes for %s: %s",
                       cu->device, bytes, mr_purpose_name(purpose), cudaGetErrorString(error));
    }
    *buffer = (mr_buffer){.data = buffer->data, .bytes = bytes, .purpose = purpose};
    mr_memory_hold(purpose, bytes);
    mr_cuda_note(be, cudaMemsetAsync(buffer->data, 0, bytes, cu->stream), "a new buffer");
    *out = buffer;
    return MR_OK;
}

static void buffer_destroy(mr_backend *be, mr_buffer **buffer)
{
    if (!*buffer) return;
    mr_cuda_note(be, cudaStreamSynchronize(mr_cuda_of(be)->stream), "queued work");
    mr_cuda_of(be)->moved++;
    free_buffer(*buffer);
    *buffer = NULL;
}

/* Reads the oldest stretch that is not read yet; waits for its end. */
static void read_stretch(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    mr_cuda_stretch *oldest = &cu->stretches[cu->read++ % MR_CUDA_STRETCHES];
    float ms = 0;
    mr_cuda_note(be, cudaEventSynchronize(oldest->end), "the end of a phase");
    if (cudaEventElapsedTime(&ms, oldest->begin, oldest->end) == cudaSuccess)
        cu->seconds[oldest->phase] += 1e-3 * (double)ms;
}

static void phase_begin(mr_backend *be, mr_phase phase)
{
    mr_cuda *cu = mr_cuda_of(be);
    if (!cu->times) return;
    /* So long ago that it is over. */
    if (cu->booked - cu->read == MR_CUDA_STRETCHES) read_stretch(be);
    cu->open[phase] = cu->booked++;
    mr_cuda_stretch *stretch = &cu->stretches[cu->open[phase] % MR_CUDA_STRETCHES];
    stretch->phase = phase;
    mr_cuda_note(be, cudaEventRecord(stretch->begin, cu->stream), "the begin of a phase");
}

static void phase_end(mr_backend *be, mr_phase phase)
{
    mr_cuda *cu = mr_cuda_of(be);
    if (!cu->times) return;
    mr_cuda_stretch *stretch = &cu->stretches[cu->open[phase] % MR_CUDA_STRETCHES];
    mr_cuda_note(be, cudaEventRecord(stretch->end, cu->stream), "the end of a phase");
}

static void phase_seconds(mr_backend *be, double seconds[MR_PHASES])
{
    mr_cuda *cu = mr_cuda_of(be);
    while (cu->read < cu->booked)
        read_stretch(be);
    if (seconds) memcpy(seconds, cu->seconds, sizeof cu->seconds);
    memset(cu->seconds, 0, sizeof cu->seconds);
    cu->times = seconds != NULL;
}

static mr_status create_stretches(mr_cuda *cu)
{
    cu->stretches = mr_alloc_array(MR_MEM_OTHER, MR_CUDA_STRETCHES, sizeof *cu->stretches);
    if (!cu->stretches) return MR_ERR_MEMORY;
    for (int i = 0; i < MR_CUDA_STRETCHES; i++)
        if (cudaEventCreate(&cu->stretches[i].begin) != cudaSuccess ||
            cudaEventCreate(&cu->stretches[i].end) != cudaSuccess)
            return mr_fail(MR_ERR_MEMORY, "CUDA device %d: cannot create events", cu->device);
    return MR_OK;
}

static void destroy(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    if (cu->stream) cudaStreamSynchronize(cu->stream);
    mr_cuda_repeats_destroy(be);
    mr_cuda_attention_destroy(be);
    mr_cuda_plans_destroy(be);
    mr_cuda_peers_destroy(be);
    mr_cuda_staging_destroy(be);
    for (int i = 0; cu->stretches && i < MR_CUDA_STRETCHES; i++) {
        if (cu->stretches[i].begin) cudaEventDestroy(cu->stretches[i].begin);
        if (cu->stretches[i].end) cudaEventDestroy(cu->stretches[i].end);
    }
    mr_free(cu->stretches);
    mr_cuda_shrink(&cu->scratch);
    mr_cuda_shrink(&cu->aligned);
    if (cu->try_begin) cudaEventDestroy(cu->try_begin);
    if (cu->try_end) cudaEventDestroy(cu->try_end);
    if (cu->side_from) cudaEventDestroy(cu->side_from);
    if (cu->side_done) cudaEventDestroy(cu->side_done);
    if (cu->side) cudaStreamDestroy(cu->side);
    if (cu->stream) cudaStreamDestroy(cu->stream);
    mr_memory_release(MR_MEM_OTHER, MR_CUDA_FIXED);
    mr_free(cu);
    be->state = NULL;
}

void mr_cuda_side_begin(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    cu->beside = true;
    mr_cuda_note(be, cudaEventRecord(cu->side_from, cu->stream), "the second stream");
    mr_cuda_note(be, cudaStreamWaitEvent(cu->side, cu->side_from, 0), "the second stream");
}

void mr_cuda_side_end(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    cu->beside = false;
    cu->side_open = true;
    mr_cuda_note(be, cudaEventRecord(cu->side_done, cu->side), "the second stream");
}

void mr_cuda_side_join(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    if (!cu->side_open) return;
    cu->side_open = false;
    mr_cuda_note(be, cudaStreamWaitEvent(cu->stream, cu->side_done, 0), "the second stream");
}

static cudaError_t create_streams(mr_cuda *cu)
{
    int lowest = 0, highest = 0;
    cudaError_t error = cudaDeviceGetStreamPriorityRange(&lowest, &highest);
    if (error == cudaSuccess)
        error = cudaStreamCreateWithPriority(&cu->stream, cudaStreamNonBlocking, highest);
    if (error == cudaSuccess)
        error = cudaStreamCreateWithPriority(&cu->side, cudaStreamNonBlocking, lowest);
    if (error == cudaSuccess)
        error = cudaEventCreateWithFlags(&cu->side_from, cudaEventDisableTiming);
    if (error == cudaSuccess)
        error = cudaEventCreateWithFlags(&cu->side_done, cudaEventDisableTiming);
    if (error == cudaSuccess) error = cudaEventCreate(&cu->try_begin);
    if (error == cudaSuccess) error = cudaEventCreate(&cu->try_end);
    return error;
}

static const mr_backend_ops cuda_ops = {
    .name = "cuda",
    .computes = computes,
    .memory = memory,
    .own_bytes = mr_device_own_bytes,
    .destroy = destroy,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .upload = mr_cuda_upload,
    .download = mr_cuda_download,
    .synchronize = synchronize,
    .phase_begin = phase_begin,
    .phase_end = phase_end,
    .phase_seconds = phase_seconds,
    .repeat_begin = mr_cuda_repeat_begin,
    .repeat_end = mr_cuda_repeat_end,
    .gather_start = mr_cuda_gather_start,
    .exchange_start = mr_cuda_exchange_start,
    .wait = mr_cuda_wait,
    .normal = mr_cuda_normal,
    .fill = mr_cuda_fill,
    .copy = mr_cuda_copy,
    .convert = mr_cuda_convert,
    .add = mr_cuda_add,
    .dropout = mr_cuda_dropout,
    .sum_pieces = mr_cuda_sum_pieces,
    .square_sums = mr_cuda_square_sums,
    .exact_sum = mr_cuda_exact_sum,
    .count_nonzero = mr_cuda_count_nonzero,
    .digest = mr_cuda_digest,
    .gemm = mr_cuda_gemm,
    .quantize = mr_cuda_quantize,
    .gemm_scaled = mr_cuda_gemm_scaled,
    .row_dots = mr_cuda_row_dots,
    .scale_columns = mr_cuda_scale_columns,
    .scale_rows = mr_cuda_scale_rows,
    .row_factors = mr_cuda_row_factors,
    .scale_columns_backward = mr_cuda_scale_columns_backward,
    .rmsnorm_forward = mr_cuda_rmsnorm_forward,
    .rmsnorm_backward = mr_cuda_rmsnorm_backward,
    .rope = mr_cuda_rope,
    .attention_forward = mr_cuda_attention_forward,
    .attention_backward = mr_cuda_attention_backward,
    .attention_cached = mr_cuda_attention_cached,
    .swiglu_forward = mr_cuda_swiglu_forward,
    .swiglu_backward = mr_cuda_swiglu_backward,
    .gather_rows = mr_cuda_gather_rows,
    .scatter_rows = mr_cuda_scatter_rows,
    .scatter_add_rows = mr_cuda_scatter_add_rows,
    .cross_entropy = mr_cuda_cross_entropy,
    .argmax = mr_cuda_argmax,
    .group_sum = mr_cuda_group_sum,
    .group_spread = mr_cuda_group_spread,
    .group_rows = mr_cuda_group_rows,
    .block_rotate = mr_cuda_block_rotate,
    .block_rotate_adjoint = mr_cuda_block_rotate_adjoint,
    .site_forward = mr_cuda_site_forward,
    .site_backward = mr_cuda_site_backward,
    .adamw = mr_cuda_adamw,
};

mr_status mr_cuda_init(mr_backend *be, int node_rank)
{
    int devices = 0;
    MR_TRY(mr_cuda_find(&devices));
    mr_cuda *cu = mr_alloc(MR_MEM_OTHER, sizeof *cu);
    if (!cu) return MR_ERR_MEMORY;
    be->state = cu;
    be->ops = &cuda_ops;
    be->idle_threads = be->threads;
    be->chunk_bytes = MR_DEVICE_CHUNK;
    be->pass_rows = MR_DEVICE_PASS;
    cu->device = node_rank % devices;
    mr_memory_hold(MR_MEM_OTHER, MR_CUDA_FIXED);
    cudaError_t error = cudaSetDevice(cu->device);
    if (error == cudaSuccess) error = create_streams(cu);
    mr_status status = MR_OK;
    if (error != cudaSuccess)
        status = mr_fail(MR_ERR_ARG, "CUDA device %d: %s", cu->device, cudaGetErrorString(error));
    if (status == MR_OK) status = mr_cuda_plans_create(be);
    if (status == MR_OK) status = mr_cuda_staging_create(be);
    if (status == MR_OK) status = mr_cuda_peers_create(be);
    if (status == MR_OK) status = mr_cuda_attention_create(be);
    if (status == MR_OK) status = mr_cuda_repeats_create(be);
    if (status == MR_OK) status = create_stretches(cu);
    if (status != MR_OK) destroy(be);
    return status;
}
