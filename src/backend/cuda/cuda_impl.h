#ifndef MR_BACKEND_CUDA_CUDA_IMPL_H
#define MR_BACKEND_CUDA_CUDA_IMPL_H

/** @file
 * The CUDA backend: cuBLASLt for products, own kernels for the rest, one stream. F32 without TF32,
 * and BF16 with F32 accumulation. What each operation does stands in backend/backend.h.
 *
 * Every operation gives the same bits each time it is run on one kind of device: sums are taken in
 * a fixed order, and where atomics add, they add integers.
 *
 * Host code is C11; kernels stand in .cu files, which see this header as C++.
 */

#include <cublasLt.h>
#include <cuda_runtime.h>

#ifdef __cplusplus
#define noreturn [[noreturn]] /* headers of C say it so */
extern "C" {
#endif

#include "backend/cuda/cuda.h"
#include "backend/planned.h"

#ifdef __cplusplus
#undef noreturn
#endif

struct mr_buffer {
    void *data; /**< on the device, owned */
    size_t bytes;
    mr_purpose purpose;
};

enum {
    MR_CUDA_SLOTS = 2,        /**< of staging: one is filled while the other is copied */
    MR_CUDA_STRETCHES = 4096, /**< of work whose time is not read yet */
    MR_CUDA_PLANS = 1024,     /**< shapes of products; a power of two */
    MR_CUDA_LANES = 64,       /**< transfers between ranks that are under way at most */
};

#define MR_CUDA_SLOT_BYTES MR_DEVICE_SLOT
#define MR_CUDA_WORKSPACE MR_DEVICE_WORKSPACE                      /* of cuBLASLt */
#define MR_CUDA_FIXED (2 * MR_CUDA_WORKSPACE + MR_CUDA_SLOT_BYTES) /* taken from the start */

/** A stretch of queued work that is booked on a phase. */
typedef struct mr_cuda_stretch {
    mr_phase phase;
    cudaEvent_t begin, end;
} mr_cuda_stretch;

typedef struct mr_cuda_plan mr_cuda_plan;           /**< of a product (gemm.c) */
typedef struct mr_cuda_lane mr_cuda_lane;           /**< of a transfer between ranks (transfer.c) */
typedef struct mr_cuda_peers mr_cuda_peers;         /**< the devices of other ranks (peers.c) */
typedef struct mr_cuda_attention mr_cuda_attention; /**< plans of cuDNN (attention_cudnn.c) */
typedef struct mr_cuda_repeats mr_cuda_repeats;     /**< recorded stretches (repeat.c) */

/** What be->state points to. Owns all. */
typedef struct mr_cuda {
    int device;
    cudaStream_t stream, side;        /**< all work; what runs beside it at low priority */
    cudaEvent_t side_from, side_done; /**< where side leaves stream and comes back */
    bool beside, side_open;           /**< work goes to side; there is some not joined yet */
    cublasLtHandle_t blas;
    mr_cuda_plan *plans;            /**< [MR_CUDA_PLANS], a table by hash of the shape */
    void *workspace[2];             /**< MR_CUDA_WORKSPACE bytes, of each stream */
    mr_buffer scratch;              /**< of one operation */
    mr_buffer aligned;              /**< of one product: factors whose rows begin at odd places */
    cudaEvent_t try_begin, try_end; /**< around a product whose algorithms are tried */
    char *slot[MR_CUDA_SLOTS];      /**< pinned */
    cudaEvent_t slot_free[MR_CUDA_SLOTS];
    void *slot_device; /**< MR_CUDA_SLOT_BYTES: what is converted on its way */
    int turn;
    mr_cuda_lane *lanes; /**< [MR_CUDA_LANES] */
    mr_cuda_peers *peers;
    mr_cuda_attention *attention; /**< NULL in a build without cuDNN */
    mr_cuda_repeats *repeats;
    void *recording; /**< the one of repeats that is being recorded: nothing is waited for then */
    uint64_t moved;  /**< raised where memory that a recording may know by its address is freed */
    bool times;      /**< stretches are booked: someone has asked for the time */
    mr_cuda_stretch *stretches; /**< [MR_CUDA_STRETCHES], a ring */
    int64_t booked, read;       /**< stretches begun and read so far */
    int64_t open[MR_PHASES];    /**< the stretch of a phase that is open */
    double seconds[MR_PHASES];
    char failure[MR_MESSAGE_MAX]; /**< the first one since the last synchronize, "" without */
} mr_cuda;

static inline mr_cuda *mr_cuda_of(const mr_backend *be)
{
    return (mr_cuda *)be->state;
}

/** Returns the stream that products, maps and what goes element by element are queued in now. */
static inline cudaStream_t mr_cuda_queue(const mr_cuda *cu)
{
    return cu->beside ? cu->side : cu->stream;
}

/** Counts the devices. @return MR_OK, MR_ERR_ARG (none) */
mr_status mr_cuda_find(int *devices);

/** Records a failure of what is queued, for `synchronize` to tell; nothing where it is none. */
void mr_cuda_note(mr_backend *be, cudaError_t error, const char *what);
void mr_cuda_note_failure(mr_backend *be, const char *what, const char *why);

/** Makes memory larger where it is smaller; its data is NULL, with the failure noted, where there
 * is not so much. Frees it. */
void mr_cuda_grow(mr_backend *be, mr_buffer *memory, size_t bytes);
void mr_cuda_shrink(mr_buffer *memory);

/** Tells whether two pieces of device memory, multiples of 8 bytes, have the same bits; waits. */
bool mr_cuda_alike(mr_backend *be, const void *a, const void *b, size_t bytes);

/** Returns scratch of one operation, which the next operation overwrites; it grows the first time
 * that more is asked for, and is NULL, with the failure noted, where there is no memory. */
void *mr_cuda_scratch(mr_backend *be, size_t bytes);

/** Allocates the staging of uploads, downloads and transfers; frees it. */
mr_status mr_cuda_staging_create(mr_backend *be);
void mr_cuda_staging_destroy(mr_backend *be);

/** Creates and frees the table of plans. */
mr_status mr_cuda_plans_create(mr_backend *be);
void mr_cuda_plans_destroy(mr_backend *be);

/** Starts and ends what passes tensors between devices. */
mr_status mr_cuda_peers_create(mr_backend *be);
void mr_cuda_peers_destroy(mr_backend *be);

/** Tells whether the ranks of a communicator pass tensors from device to device: each has one of
 * its own, and the build has NCCL. Else they do through the host. Collective. */
bool mr_cuda_peers_reached(mr_backend *be, const mr_comm *comm);

/** Starts what the entries gather_start and exchange_start do, behind what is queued, beside what
 * will be; bytes are those of one rank's part. `arrived` is recorded behind it. Collective. @{ */
void mr_cuda_peers_gather(mr_backend *be, const mr_comm *comm, void *whole, const void *part,
                          size_t bytes, cudaEvent_t arrived);
void mr_cuda_peers_exchange(mr_backend *be, const mr_comm *comm, void *pieces, const void *whole,
                            size_t bytes, cudaEvent_t arrived);
/** @} */

/** Creates and frees the table of what is recorded. */
mr_status mr_cuda_repeats_create(mr_backend *be);
void mr_cuda_repeats_destroy(mr_backend *be);

#ifdef MR_CUDNN
/** Starts cuDNN; ends it. */
mr_status mr_cuda_attention_create(mr_backend *be);
void mr_cuda_attention_destroy(mr_backend *be);

/** Computes an attention by cuDNN, where it takes it. @return whether it does */
bool mr_cuda_attention_library(mr_backend *be, const mr_attention_args *args, bool backward);
#else
static inline mr_status mr_cuda_attention_create(mr_backend *be)
{
    (void)be;
    return MR_OK;
}

static inline void mr_cuda_attention_destroy(mr_backend *be)
{
    (void)be;
}

static inline bool mr_cuda_attention_library(mr_backend *be, const mr_attention_args *args,
                                             bool backward)
{
    (void)be;
    (void)args;
    (void)backward;
    return false;
}
#endif

/** Computes an attention of short sequences by kernels that keep a head in shared memory, where
 * they take it and cuDNN does not, or not as fast. @return whether they do */
bool mr_cuda_attention_short(mr_backend *be, const mr_attention_args *args, bool backward);

/** Returns the first element of a tensor. */
static inline void *mr_cuda_at(mr_tensor t)
{
    return (char *)t.buffer->data + (size_t)t.offset * mr_dtype_size(t.dtype);
}

/** Between begin and end products, maps and what goes element by element are queued in the second
 * stream, which sees what was queued before; after join the first one sees what they made. Scratch
 * that they take is theirs until then. */
void mr_cuda_side_begin(mr_backend *be);
void mr_cuda_side_end(mr_backend *be);
void mr_cuda_side_join(mr_backend *be);

/** How columns between the maps of an update and its matrix stand: in blocks of `side`, `pitch`
 * apart. What a map's groups are summed into has zeros between them. */
typedef struct mr_cuda_blocks {
    int64_t side, pitch;
} mr_cuda_blocks;

/** As the entries group_sum and group_spread, with columns so placed, for `count` tensors y and x
 * of linears, none to MR_SITE_LINEARS, which are mapped alike; where a result is not added to, it
 * is written. */
void mr_cuda_sum(mr_backend *be, int count, const mr_tensor *y, const mr_tensor *x,
                 mr_group_map map, mr_cuda_blocks blocks);
void mr_cuda_spread(mr_backend *be, int count, const mr_tensor *y, const mr_tensor *x,
                    mr_group_map map, mr_cuda_blocks blocks, bool adds);

/** y [k blocks pitch, pitch] = matrices m [k side, side], each once a block with its columns turned
 * back by the block's angles where rotate: M applied to a turned block is that matrix applied to
 * the block. Zeros beside and below. */
void mr_cuda_turn(mr_backend *be, mr_tensor y, mr_tensor m, int blocks, bool rotate,
                  mr_tensor cosine, mr_tensor sine);

/** d_m F32 [side, side] = the gradient of M from those of one such matrix a block, p F32
 * [blocks pitch, pitch]. */
void mr_cuda_turn_back(mr_backend *be, mr_tensor d_m, mr_tensor p, int blocks, bool rotate,
                       mr_tensor cosine, mr_tensor sine);

/** y = silu(gate s_gate) (up s_up), factors a column, and its backward pass: ds_gate and ds_up are
 * as in scale_columns_backward, where they exist, and gate and up become their gradients. @{ */
void mr_cuda_scaled_swiglu(mr_backend *be, mr_tensor y, mr_tensor gate, mr_tensor up,
                           mr_tensor s_gate, mr_tensor s_up);
void mr_cuda_scaled_swiglu_backward(mr_backend *be, mr_tensor gate, mr_tensor up, mr_tensor ds_gate,
                                    mr_tensor ds_up, mr_tensor dy, mr_tensor s_gate,
                                    mr_tensor s_up);
/** @} */

/** Several products of one shape: the factors and results of the i-th begin `steps` of a, b and c
 * elements times i behind those of the first. */
typedef struct mr_cuda_batch {
    int count;
    int64_t step_a, step_b, step_c;
} mr_cuda_batch;

void mr_cuda_gemm_batch(mr_backend *be, bool transpose_a, bool transpose_b, float alpha,
                        mr_tensor a, mr_tensor b, float beta, mr_tensor c, mr_cuda_batch batch);

/** As gemm and gemm_scaled for what cuBLASLt does not take: types that differ, rows at odd places.
 * @{ */
void mr_cuda_gemm_any(mr_backend *be, bool transpose_a, bool transpose_b, float alpha, mr_tensor a,
                      mr_tensor b, float beta, mr_tensor c);
void mr_cuda_gemm_scaled_any(mr_backend *be, mr_scaled a, mr_scaled b, float beta, mr_tensor c);
/** @} */

/** Tells whether the device and cuBLASLt, as it was compiled and is loaded, have products of 8 bits
 * with a scale a row. */
bool mr_cuda_multiplies_scaled(const mr_backend *be);

/* The entries of the table, by file. */
void mr_cuda_upload(mr_backend *be, mr_tensor dst, const void *src);
void mr_cuda_download(mr_backend *be, void *dst, mr_tensor src);
bool mr_cuda_repeat_begin(mr_backend *be, uint64_t key);
void mr_cuda_repeat_end(mr_backend *be);
void mr_cuda_gather_start(mr_backend *be, const mr_comm *comm, mr_tensor whole, mr_tensor shard,
                          mr_transfer *transfer);
void mr_cuda_exchange_start(mr_backend *be, const mr_comm *comm, mr_tensor pieces, mr_tensor whole,
                            mr_transfer *transfer);
void mr_cuda_wait(mr_backend *be, mr_transfer *transfer);
void mr_cuda_gemm(mr_backend *be, bool transpose_a, bool transpose_b, float alpha, mr_tensor a,
                  mr_tensor b, float beta, mr_tensor c);
void mr_cuda_quantize(mr_backend *be, mr_scaled y, mr_tensor x, bool transposed);
void mr_cuda_gemm_scaled(mr_backend *be, mr_scaled a, mr_scaled b, float beta, mr_tensor c);
void mr_cuda_normal(mr_backend *be, mr_tensor x, mr_random stream, int64_t first, double scale);
void mr_cuda_fill(mr_backend *be, mr_tensor t, float value);
void mr_cuda_copy(mr_backend *be, mr_tensor dst, mr_tensor src);
void mr_cuda_convert(mr_backend *be, mr_tensor dst, mr_tensor src);
void mr_cuda_add(mr_backend *be, mr_tensor y, mr_tensor x);
void mr_cuda_dropout(mr_backend *be, mr_tensor y, mr_tensor x, float beta, double p,
                     mr_random stream, int64_t first_row);
void mr_cuda_sum_pieces(mr_backend *be, mr_tensor y, mr_tensor pieces);
void mr_cuda_square_sums(mr_backend *be, mr_tensor out, mr_tensor x);
void mr_cuda_exact_sum(mr_backend *be, mr_tensor out, mr_tensor x);
void mr_cuda_count_nonzero(mr_backend *be, mr_tensor out, mr_tensor x);
void mr_cuda_digest(mr_backend *be, mr_tensor out, mr_tensor x, uint64_t place);
void mr_cuda_row_dots(mr_backend *be, mr_tensor out, mr_tensor a, mr_tensor b, double beta);
void mr_cuda_scale_columns(mr_backend *be, mr_tensor y, mr_tensor kept, mr_tensor x, mr_tensor s,
                           float beta);
void mr_cuda_scale_rows(mr_backend *be, mr_tensor x, mr_tensor s);
void mr_cuda_row_factors(mr_backend *be, const mr_row_factors_args *args);
void mr_cuda_scale_columns_backward(mr_backend *be, mr_tensor dx, mr_tensor ds, mr_tensor dy,
                                    mr_tensor x, mr_tensor s);
void mr_cuda_swiglu_forward(mr_backend *be, mr_tensor y, mr_tensor gate, mr_tensor up);
void mr_cuda_swiglu_backward(mr_backend *be, mr_tensor dgate, mr_tensor dup, mr_tensor dy,
                             mr_tensor gate, mr_tensor up);
void mr_cuda_gather_rows(mr_backend *be, mr_tensor y, mr_tensor w, mr_tensor ids);
void mr_cuda_scatter_rows(mr_backend *be, mr_tensor y, mr_tensor x, mr_tensor ids);
void mr_cuda_scatter_add_rows(mr_backend *be, mr_tensor y, mr_tensor x, mr_tensor ids);
void mr_cuda_adamw(mr_backend *be, const mr_adamw_args *args, int64_t count);
void mr_cuda_rmsnorm_forward(mr_backend *be, mr_tensor y, mr_tensor rstd, mr_tensor sum,
                             mr_tensor x, mr_tensor addend, mr_tensor w, double eps);
void mr_cuda_rmsnorm_backward(mr_backend *be, mr_tensor dx, mr_tensor dw, mr_tensor dy, mr_tensor x,
                              mr_tensor rstd, mr_tensor w);
void mr_cuda_rope(mr_backend *be, mr_tensor x, mr_tensor cosine, mr_tensor sine,
                  mr_tensor positions, int64_t head_size, bool inverse);
void mr_cuda_attention_forward(mr_backend *be, const mr_attention_args *args);
void mr_cuda_attention_backward(mr_backend *be, const mr_attention_args *args);
void mr_cuda_attention_cached(mr_backend *be, const mr_cached_attention_args *args);
void mr_cuda_cross_entropy(mr_backend *be, mr_tensor logits, mr_tensor targets, mr_tensor losses,
                           bool gradient, float scale);
void mr_cuda_argmax(mr_backend *be, mr_tensor ids, mr_tensor logits);
void mr_cuda_group_sum(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map);
void mr_cuda_group_spread(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map);
void mr_cuda_group_rows(mr_backend *be, mr_tensor y, mr_tensor m, mr_group_map map, int64_t first);
void mr_cuda_block_rotate(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width, bool rotate,
                          mr_tensor cosine, mr_tensor sine);
void mr_cuda_block_rotate_adjoint(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width,
                                  bool rotate, mr_tensor cosine, mr_tensor sine);
bool mr_cuda_site_forward(mr_backend *be, const mr_site_args *args);
bool mr_cuda_site_backward(mr_backend *be, const mr_site_args *args);

#ifdef __cplusplus
}
#endif

#endif
