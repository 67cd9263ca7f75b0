#include "backend/cpu/cpu.h"

#include "base/clock.h"

#include <omp.h>

#include <string.h>

typedef struct cpu_state {
    float *scratch; /**< [threads, MR_CPU_SCRATCH], owned */
    double began[MR_PHASES], seconds[MR_PHASES];
} cpu_state;

static void destroy(mr_backend *be)
{
    cpu_state *state = be->state;
    mr_free(state->scratch);
    mr_free(state);
    be->state = NULL;
}

static mr_status buffer_create(mr_backend *be, mr_purpose purpose, size_t bytes, mr_buffer **out)
{
    (void)be;
    *out = mr_alloc(MR_MEM_OTHER, sizeof **out);
    if (!*out) return MR_ERR_MEMORY;
    (*out)->data = mr_alloc(purpose, bytes);
    if (!(*out)->data) {
        mr_free(*out);
        *out = NULL;
        return MR_ERR_MEMORY;
    }
    return MR_OK;
}

static mr_status buffer_share(mr_backend *be, void *memory, mr_buffer **out)
{
    (void)be;
    *out = mr_alloc(MR_MEM_OTHER, sizeof **out);
    if (!*out) return MR_ERR_MEMORY;
    **out = (mr_buffer){.data = memory, .shared = true};
    return MR_OK;
}

static void buffer_destroy(mr_backend *be, mr_buffer **buffer)
{
    (void)be;
    if (!*buffer) return;
    if (!(*buffer)->shared) mr_free((*buffer)->data);
    mr_free(*buffer);
    *buffer = NULL;
}

static char *place(mr_tensor t)
{
    return (char *)t.buffer->data + (size_t)t.offset * mr_dtype_size(t.dtype);
}

static bool computes(mr_backend *be, mr_dtype dtype)
{
    (void)be;
    return dtype == MR_F32 || dtype == MR_E4M3;
}

static mr_backend_memory memory(mr_backend *be)
{
    (void)be;
    return (mr_backend_memory){.each = mr_node_memory_find(""), .devices = 1};
}

/* BF16 elements of a tensor from, or to, F32 on the host. */
static void upload_bf16(mr_tensor dst, const float *src)
{
    for (int64_t i = 0; i < dst.rows; i++)
        for (int64_t j = 0; j < dst.cols; j++) {
            uint16_t half = mr_cpu_bf16(src[i * dst.cols + j]);
            memcpy(place(dst) + 2 * (i * dst.stride + j), &half, sizeof half);
        }
}

static void download_bf16(float *dst, mr_tensor src)
{
    for (int64_t i = 0; i < src.rows; i++)
        for (int64_t j = 0; j < src.cols; j++) {
            uint16_t half;
            memcpy(&half, place(src) + 2 * (i * src.stride + j), sizeof half);
            dst[i * src.cols + j] = mr_cpu_of_bf16(half);
        }
}

static void upload(mr_backend *be, mr_tensor dst, const void *src)
{
    (void)be;
    if (dst.dtype == MR_BF16) {
        upload_bf16(dst, src);
        return;
    }
    size_t size = mr_dtype_size(dst.dtype), row = (size_t)dst.cols * size;
    for (int64_t i = 0; i < dst.rows; i++)
        memcpy(place(dst) + (size_t)(i * dst.stride) * size, (const char *)src + (size_t)i * row,
               row);
}

static void download(mr_backend *be, void *dst, mr_tensor src)
{
    (void)be;
    if (src.dtype == MR_BF16) {
        download_bf16(dst, src);
        return;
    }
    size_t size = mr_dtype_size(src.dtype), row = (size_t)src.cols * size;
    for (int64_t i = 0; i < src.rows; i++)
        memcpy((char *)dst + (size_t)i * row, place(src) + (size_t)(i * src.stride) * size, row);
}

static mr_status synchronize(mr_backend *be)
{
    (void)be; /* operations run as they are called and cannot fail */
    return MR_OK;
}

static void phase_begin(mr_backend *be, mr_phase phase)
{
    cpu_state *state = be->state;
    state->began[phase] = mr_clock();
}

static void phase_end(mr_backend *be, mr_phase phase)
{
    cpu_state *state = be->state;
    state->seconds[phase] += mr_clock() - state->began[phase];
}

static void phase_seconds(mr_backend *be, double seconds[MR_PHASES])
{
    cpu_state *state = be->state;
    if (seconds) memcpy(seconds, state->seconds, sizeof state->seconds);
    memset(state->seconds, 0, sizeof state->seconds);
}

/* Calling an operation costs next to nothing here. */
static bool repeat_begin(mr_backend *be, uint64_t key)
{
    (void)be;
    (void)key;
    return true;
}

static void repeat_end(mr_backend *be)
{
    (void)be;
}

static int64_t blocks_of(const mr_comm *comm, mr_tensor whole)
{
    return whole.cols / comm->size / MR_SHARD_BLOCK;
}

static void gather_start(mr_backend *be, const mr_comm *comm, mr_tensor whole, mr_tensor shard,
                         mr_transfer *transfer)
{
    (void)be;
    mr_comm_gather_start(comm, mr_tensor_exists(shard) ? place(shard) : NULL, place(whole),
                         blocks_of(comm, whole), mr_dtype_size(whole.dtype), &transfer->request);
}

static void exchange_start(mr_backend *be, const mr_comm *comm, mr_tensor pieces, mr_tensor whole,
                           mr_transfer *transfer)
{
    (void)be;
    mr_comm_exchange_start(comm, place(whole), place(pieces), blocks_of(comm, whole),
                           mr_dtype_size(whole.dtype), &transfer->request);
}

static void wait_for(mr_backend *be, mr_transfer *transfer)
{
    (void)be;
    mr_comm_wait(&transfer->request);
}

float *mr_cpu_scratch(const mr_backend *be)
{
    const cpu_state *state = be->state;
    return state->scratch + (size_t)omp_get_thread_num() * MR_CPU_SCRATCH;
}

/* What its threads have is made before plans are. */
static size_t own_bytes(mr_backend *be, const mr_attention_shape *attention,
                        const mr_square_shape *square, mr_dtype dtype)
{
    (void)be;
    (void)attention;
    (void)square;
    (void)dtype;
    return 0;
}

static const mr_backend_ops cpu_ops = {
    .name = "cpu",
    .computes = computes,
    .memory = memory,
    .own_bytes = own_bytes,
    .destroy = destroy,
    .buffer_create = buffer_create,
    .buffer_share = buffer_share,
    .buffer_destroy = buffer_destroy,
    .upload = upload,
    .download = download,
    .synchronize = synchronize,
    .phase_begin = phase_begin,
    .phase_end = phase_end,
    .phase_seconds = phase_seconds,
    .books_freely = true,
    .repeat_begin = repeat_begin,
    .repeat_end = repeat_end,
    .gather_start = gather_start,
    .exchange_start = exchange_start,
    .wait = wait_for,
    .normal = mr_cpu_normal,
    .fill = mr_cpu_fill,
    .copy = mr_cpu_copy,
    .convert = mr_cpu_convert,
    .add = mr_cpu_add,
    .dropout = mr_cpu_dropout,
    .sum_pieces = mr_cpu_sum_pieces,
    .square_sums = mr_cpu_square_sums,
    .exact_sum = mr_cpu_exact_sum,
    .count_nonzero = mr_cpu_count_nonzero,
    .digest = mr_cpu_digest,
    .gemm = mr_cpu_gemm,
    .quantize = mr_cpu_quantize,
    .gemm_scaled = mr_cpu_gemm_scaled,
    .row_dots = mr_cpu_row_dots,
    .scale_columns = mr_cpu_scale_columns,
    .scale_rows = mr_cpu_scale_rows,
    .row_factors = mr_cpu_row_factors,
    .scale_columns_backward = mr_cpu_scale_columns_backward,
    .rmsnorm_forward = mr_cpu_rmsnorm_forward,
    .rmsnorm_backward = mr_cpu_rmsnorm_backward,
    .rope = mr_cpu_rope,
    .attention_forward = mr_cpu_attention_forward,
    .attention_backward = mr_cpu_attention_backward,
    .attention_cached = mr_cpu_attention_cached,
    .swiglu_forward = mr_cpu_swiglu_forward,
    .swiglu_backward = mr_cpu_swiglu_backward,
    .gather_rows = mr_cpu_gather_rows,
    .scatter_rows = mr_cpu_scatter_rows,
    .scatter_add_rows = mr_cpu_scatter_add_rows,
    .cross_entropy = mr_cpu_cross_entropy,
    .argmax = mr_cpu_argmax,
    .group_sum = mr_cpu_group_sum,
    .group_spread = mr_cpu_group_spread,
    .group_rows = mr_cpu_group_rows,
    .block_rotate = mr_cpu_block_rotate,
    .block_rotate_adjoint = mr_cpu_block_rotate_adjoint,
    .adamw = mr_cpu_adamw,
};

mr_status mr_cpu_init(mr_backend *be, int node_rank)
{
    (void)node_rank; /* the host is every rank's */
    if (be->threads < 1) be->threads = 1;
    be->chunk_bytes = (size_t)64 << 20;
    be->pass_rows = 480;
    cpu_state *state = mr_alloc(MR_MEM_OTHER, sizeof *state);
    if (!state) return MR_ERR_MEMORY;
    state->scratch =
        mr_alloc_array(MR_MEM_OTHER, (size_t)be->threads * MR_CPU_SCRATCH, sizeof *state->scratch);
    if (!state->scratch) {
        mr_free(state);
        return MR_ERR_MEMORY;
    }
    mr_cpu_rows_alike(); /* found out once, on one thread */
    be->ops = &cpu_ops;
    be->state = state;
    return MR_OK;
}
