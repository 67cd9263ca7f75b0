#ifndef MR_BACKEND_BACKEND_H
#define MR_BACKEND_BACKEND_H

/** @file
 * The narrow table of device operations. Everything that computes goes through it; a second
 * backend fills the same table and nothing above this layer changes.
 *
 * Operations are queued: they return nothing, and what they computed may be read only after
 * `download` or `synchronize`, where their errors surface. A training step reads twice at most, so
 * that a device never waits for the host: one vector, and the errors. No address of a backend's
 * memory leaves it; what travels between ranks does so through it. Callers check shapes; backends
 * assume valid input. No operation allocates.
 *
 * Letters: N rows (tokens), C columns, V vocabulary, B sequences, T tokens of each, NH query and
 * NKV key/value heads of HS. Types: what is said to be of another type is that; x, y, w, q, k, v,
 * o, logits and their gradients are of the type that the model computes in, F32 or what else the
 * backend offers (`computes`), one for all of a call; everything else, among it the
 * gradients of parameters, statistics of rows and what the optimizer works on, is F32. Inputs and
 * outputs do not overlap unless said otherwise.
 */

#include "base/memory.h"
#include "base/node_memory.h"
#include "base/random.h"
#include "comm/exact.h"
#include "config/registry.h"
#include "tensor/tensor.h"

typedef struct mr_backend mr_backend;

enum {
    MR_SQUARE_RUN = 1024,                                /**< elements of one sum of squares */
    MR_EXACT_WORDS = sizeof(mr_exact) / sizeof(int32_t), /**< of an exact sum's memory */
};

/** What time is booked on, for `mora bench`. */
typedef enum mr_phase {
    MR_PHASE_LINEAR,
    MR_PHASE_ADAPTER,
    MR_PHASE_ATTENTION,
    MR_PHASE_LOSS, /**< the head's products and the cross-entropy */
    MR_PHASE_ELEMENTWISE,
    MR_PHASE_OPTIMIZER,
    MR_PHASE_COMM,
    MR_PHASES
} mr_phase;

/** A transfer between ranks under way. A zeroed one is idle. */
typedef struct mr_transfer {
    mr_request request; /**< of MPI, where the backend goes through the host */
    void *state;        /**< the backend's own */
} mr_transfer;

/** What buffers are taken from. */
typedef struct mr_backend_memory {
    mr_node_memory each; /**< what the processes that share one may take together */
    int devices;         /**< of a node, each with so much, its processes dealt over them in turn by
                              node_rank; 1 where all share one, as they do the host's */
} mr_backend_memory;

/** Shape of a causal attention: rows of q are tokens (sequence-major), columns heads of HS. */
typedef struct mr_attention_shape {
    int64_t batch;     /**< B */
    int64_t tokens;    /**< T */
    int64_t heads;     /**< NH */
    int64_t kv_heads;  /**< NKV, divides NH; query head h reads key/value head h / (NH / NKV) */
    int64_t head_size; /**< HS */
} mr_attention_shape;

/** Tensors of one attention. q, o [N, NH*HS]; k, v [N, NKV*HS]; lse [B*NH, T]: the logarithm of
 * each row's softmax denominator. starts I32 [1, N], or absent where a sequence is one segment: the
 * token of its sequence, 0..T-1, that a row's segment starts at, so that row t sees keys
 * starts[t]..t. Segments follow one another: starts[t] is t or starts[t - 1], and 0 for the first
 * row. The d* are gradients, used by the backward pass only. */
typedef struct mr_attention_args {
    mr_attention_shape shape;
    mr_tensor q, k, v, o, lse, starts;
    mr_tensor d_o, d_q, d_k, d_v;
} mr_attention_args;

enum { MR_CACHE_PAGE = 32 }; /**< positions of a page of cached keys and values */

/** Tensors of attention against cached keys and values, those of the new tokens included, of B
 * sequences with any number of new tokens each: prefill, decoding and the scoring of several
 * continuations of one text are the same operation.
 *
 * q, o [M, NH*HS]: the new tokens of sequence s are rows offsets[s]..offsets[s + 1] - 1, I32
 * [1, B + 1], from 0, ascending; a sequence may have none. k, v [pages * MR_CACHE_PAGE, NKV*HS]:
 * position t of sequence s is row t mod MR_CACHE_PAGE of page pages[s][t / MR_CACHE_PAGE], I32
 * [B, any number], so that sequences that begin alike may have their first pages in common. lengths
 * I32 [1, B]: positions that count, the new ones, which are the last, included. A new token sees
 * all up to itself. shape.batch is B; shape.tokens is unused.
 *
 * The bits of a row of o follow from its sequence up to it, and not from the sequences beside it,
 * the pages, or how many new tokens come with it, but for one: a token that is the only new one of
 * its sequence may get others. */
typedef struct mr_cached_attention_args {
    mr_attention_shape shape;
    mr_tensor q, k, v, o;
    mr_tensor offsets, lengths, pages;
} mr_cached_attention_args;

/** A map of `length` virtual positions onto `groups` groups; position t stands for element
 * t mod n of a vector of n elements.
 * strided: position t is in group t mod groups.
 * contiguous: the first length mod groups groups hold ceil(length / groups) consecutive positions,
 * the others floor; length is n.
 * Source: MoRA (arXiv 2405.12130) section 4.2, index maps of the published code. */
typedef struct mr_group_map {
    bool contiguous;
    int64_t groups;
    int64_t length;
} mr_group_map;

/** Square matrices that one input meets: those of some linears of a site, or one a block of its
 * columns. */
typedef struct mr_square_shape {
    int64_t rows; /**< of the input */
    int linears;
    int64_t blocks, side; /**< of columns; 1 block where they are summed over groups */
    bool turned;          /**< blocks are rotated */
} mr_square_shape;

/** Returns columns and those that rows need behind them to begin at 16 bytes. */
static inline int64_t mr_even_cols(int64_t cols, mr_dtype dtype)
{
    const int64_t pack = 16 / (int64_t)mr_dtype_size(dtype);
    return (cols + pack - 1) / pack * pack;
}

/** A matrix in 8 bits: values E4M3 [N, C], dense, times scale F32 [1, N], a power of two for each
 * row (backend/eight.h). */
typedef struct mr_scaled {
    mr_tensor values, scale;
} mr_scaled;

/** How the update of a linear is made of its parts. */
typedef enum mr_update_kind {
    MR_UPDATE_NONE,
    MR_UPDATE_PRODUCT, /**< scale B A */
    MR_UPDATE_GROUPS,  /**< inputs summed over the groups of `in`, M, spread over those of `out` */
    MR_UPDATE_BLOCKS,  /**< inputs cut into blocks of R and turned, M on each, spread over `out` */
} mr_update_kind;

/** What a method makes of a frozen linear, W' = diag(ratio) (W + update), by its structure. What a
 * kind does not have is absent or 0; so is a gradient that is not wanted. */
typedef struct mr_update {
    mr_update_kind kind;
    float scale;
    mr_tensor a, b;       /**< product: A [r, I], B [O, r] */
    mr_tensor m;          /**< groups, blocks: M [R, R] */
    mr_group_map in, out; /**< groups: of inputs and outputs; blocks: of outputs alone */
    mr_tensor compressed; /**< groups: [N, mr_even_cols(R)], kept from forward to backward: room for
                               the backend to sum inputs in, or absent */
    int64_t blocks;       /**< as in block_rotate, with R for its width */
    bool rotate;
    mr_tensor cosine, sine;
    mr_tensor ratio;   /**< [1, O], or absent where rows are not scaled */
    mr_tensor inverse; /**< [1, O]: 1 / length of the rows of W + update; with ratio */
    mr_tensor d_a, d_b, d_m, d_magnitude; /**< gradients; of ratio's numerator the last */
} mr_update;

enum { MR_SITE_LINEARS = 3 }; /**< most linears that share an input */

/** Linears that share an input, with their updates. */
typedef struct mr_site_args {
    int linears;
    mr_tensor x;                   /**< [N, I] */
    mr_tensor w[MR_SITE_LINEARS];  /**< W [O, I] */
    mr_scaled w8[MR_SITE_LINEARS]; /**< where it exists, what the product takes for w: forward W
                                        [O, I], backward W^T [I, O] */
    mr_scaled cast; /**< with any w8: scratch for what meets it, values [1, N ..], scale [1, N] */
    mr_tensor y[MR_SITE_LINEARS]; /**< [N, O]: outputs; backward: their gradients, read */
    mr_update update[MR_SITE_LINEARS];
    mr_tensor saved; /**< [N, ..]: kept from forward to backward, for the backend to use */
    mr_tensor work;  /**< [N, ..] dense scratch */
    double dropout;  /**< probability that an input of the updates is dropped, here and now */
    mr_random stream;
    int64_t first_row; /**< of the mask, as in the entry dropout */
    bool gates_again;  /**< forward: gated alone is made, from what an earlier call left in y and in
                            saved; never false where that call was not */
    mr_tensor gated;   /**< [N, O], where the outputs of a site of two are used for that alone:
                            silu(y[0]) y[1]; y need not be written then, but belongs to the backend */
    mr_tensor d_gated; /**< backward: its gradient, read, with y as forward left it; overwritten */
    mr_tensor d_x;     /**< backward: [N, I], written where it exists */
    mr_tensor d_w[MR_SITE_LINEARS]; /**< backward: [O, I], written where it exists */
} mr_site_args;

/** One AdamW update of a dense tensor. Source: Loshchilov and Hutter 2019, as torch.optim.AdamW. */
typedef struct mr_adamw_args {
    mr_tensor weight, grad, m, v; /**< of one shape, dense; grad is read only. The others F32, or
                                     all BF16: then each is rounded where it is stored,
                                     stochastically (backend/optimizer.h), and until then F32 */
    mr_tensor copy;     /**< of the type that they are not, or absent: gets the new weight, as the
                             entry convert makes it of the one stored */
    mr_random rounding; /**< of BF16: its numbers of 32 bits from `first` on are the elements' */
    int64_t first;
    double grad_scale; /**< factor on grad (clipping) */
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step; /**< of this update, from 1 */
} mr_adamw_args;

/** Tensors of the entry row_factors. */
typedef struct mr_row_factors_args {
    mr_tensor inverse, ratio, gain; /**< written */
    mr_tensor base, h, b, magnitude;
} mr_row_factors_args;

/** The operations of a backend; every entry is required but those of a site. */
typedef struct mr_backend_ops {
    const char *name;

    /** Tells whether models may compute in a type, F32 always; of E4M3, whether the entry
     * gemm_scaled is for them. */
    bool (*computes)(mr_backend *be, mr_dtype dtype);
    /** Tells what buffers will be taken from: the host's memory by base/node_memory.h, of a device
     * what is free on it now. To be asked before any process of the node creates buffers. */
    mr_backend_memory (*memory)(mr_backend *be);
    /** Returns what the backend takes for itself, beside buffers, while a model is trained that
     * computes in a type, attends in such micro-batches and has such square matrices (NULL: none):
     * for plans. */
    size_t (*own_bytes)(mr_backend *be, const mr_attention_shape *attention,
                        const mr_square_shape *square, mr_dtype dtype);
    /** Frees what the backend itself holds. */
    void (*destroy)(mr_backend *be);
    /** Creates zeroed memory of bytes, counted under purpose. @return MR_OK, MR_ERR_MEMORY */
    mr_status (*buffer_create)(mr_backend *be, mr_purpose purpose, size_t bytes, mr_buffer **out);
    /** Takes memory of the host that ranks share, which stays its owner's, for a buffer. NULL where
     * a backend cannot compute on it. @return MR_OK, MR_ERR_MEMORY */
    mr_status (*buffer_share)(mr_backend *be, void *memory, mr_buffer **out);
    /** Frees *buffer and sets it to NULL; NULL is allowed. */
    void (*buffer_destroy)(mr_backend *be, mr_buffer **buffer);
    /** Copies rows * cols elements from or to dense host memory, where they are of the tensor's
     * type, but F32 where that is BF16, then rounded to the nearest, to even of two. */
    void (*upload)(mr_backend *be, mr_tensor dst, const void *src);
    void (*download)(mr_backend *be, void *dst, mr_tensor src);
    /** Waits for all that is queued. @return MR_OK, or the first error of what was queued */
    mr_status (*synchronize)(mr_backend *be);
    /** Opens and closes a stretch of queued work that is booked on a phase; stretches of one phase
     * do not nest. */
    void (*phase_begin)(mr_backend *be, mr_phase phase);
    void (*phase_end)(mr_backend *be, mr_phase phase);
    /** Copies what was booked on each phase since the last call, in seconds, and starts anew. Waits
     * for all that is queued; with NULL, ends the booking where that costs time. */
    void (*phase_seconds)(mr_backend *be, double seconds[MR_PHASES]);
    /** Telling the time costs nothing; else nothing is booked before the first phase_seconds, or
     * behind one with NULL. */
    bool books_freely;

    /** Opens and closes a stretch of operations that will be queued again with the same arguments,
     * while what stands in the tensors changes: a device may record it. The key is that of no other
     * stretch for as long as the buffers that it works on exist. @return true where the operations
     * are to be called, and repeat_end behind them; false where they are queued already. In between
     * nothing is uploaded, downloaded or passed between ranks, and no buffer created or freed. @{
     */
    bool (*repeat_begin)(mr_backend *be, uint64_t key);
    void (*repeat_end)(mr_backend *be);
    /** @} */

    /** Starts gathering equal shards [1, n] of all ranks into whole [1, P * n], ordered by rank; n
     * is a multiple of MR_SHARD_BLOCK. shard is absent where this rank's stands in its place in
     * whole already. Any dtype. Neither is touched until `wait`. Collective. */
    void (*gather_start)(mr_backend *be, const mr_comm *comm, mr_tensor whole, mr_tensor shard,
                         mr_transfer *transfer);
    /** Starts sending piece p of whole [1, P * n] to rank p; pieces [1, P * n] will hold what each
     * rank sent here, in their order. As gather_start otherwise. Collective. */
    void (*exchange_start)(mr_backend *be, const mr_comm *comm, mr_tensor pieces, mr_tensor whole,
                           mr_transfer *transfer);
    /** What is queued from here on sees what a transfer brought; an idle one is that at once. */
    void (*wait)(mr_backend *be, mr_transfer *transfer);

    /** x [1, n], F32 or BF16 = scale times standard normal numbers, those of a stream from index
     * first on (mr_random_normal), each rounded from double to F32, and from there on: the same
     * bits from every backend. May wait for what is queued. */
    void (*normal)(mr_backend *be, mr_tensor x, mr_random stream, int64_t first, double scale);
    /** t = value; any shape. */
    void (*fill)(mr_backend *be, mr_tensor t, float value);
    /** dst = src, of one shape; any strides and any dtype alike. */
    void (*copy)(mr_backend *be, mr_tensor dst, mr_tensor src);
    /** dst = src, of one shape, each F32 or BF16: rounded to the nearest, to even of two. */
    void (*convert)(mr_backend *be, mr_tensor dst, mr_tensor src);
    /** y += x, of one shape. */
    void (*add)(mr_backend *be, mr_tensor y, mr_tensor x);
    /** y = beta y + x mask / (1 - p), p < 1; mask is 1 with probability 1 - p, a function of the
     * stream and of (first_row + row) * cols + col only. y may be x. beta is 0 or 1. */
    void (*dropout)(mr_backend *be, mr_tensor y, mr_tensor x, float beta, double p,
                    mr_random stream, int64_t first_row);
    /** y [1, n] = sum of the rows of pieces [P, n] by a fixed binary tree; pieces may be
     * overwritten, but not where they are of a shared buffer; there y may be one of them.
     * Neighbours are added first, so P = 4 gives (0 + 1) + (2 + 3). */
    void (*sum_pieces)(mr_backend *be, mr_tensor y, mr_tensor pieces);
    /** out F64 [1, ceil(n / MR_SQUARE_RUN)] = sums of squares of runs of MR_SQUARE_RUN elements of
     * x, dense. */
    void (*square_sums)(mr_backend *be, mr_tensor out, mr_tensor x);
    /** out I32 [1, MR_EXACT_WORDS] = the memory of an mr_exact (comm/exact.h) that the elements of
     * x, F64, dense, were added to: one value whatever their order. */
    void (*exact_sum)(mr_backend *be, mr_tensor out, mr_tensor x);
    /** out F64 [1, 1] = how many elements of x, dense, are neither 0 nor NaN. */
    void (*count_nonzero)(mr_backend *be, mr_tensor out, mr_tensor x);
    /** out I32 [1, 2] = low and high half of a 64-bit digest of the bits and places of the elements
     * of x, dense, of any dtype, BF16 as the F32 that it is: the sum modulo 2^64 of
     * mr_hash_mix(bits + place * 0x9e3779b97f4a7c15), place given of the first element, so that the
     * order of addition is free and one changed element always shows. */
    void (*digest)(mr_backend *be, mr_tensor out, mr_tensor x, uint64_t place);

    /** c [M, N] = alpha op(a) op(b) + beta c, op transposing where asked; any strides. a and b are
     * of one type, c of that or F32. */
    void (*gemm)(mr_backend *be, bool transpose_a, bool transpose_b, float alpha, mr_tensor a,
                 mr_tensor b, float beta, mr_tensor c);

    /** y = x [N, C] in 8 bits, or where transposed x [C, N] turned round: each row of y has a scale
     * of its own, and what it holds is rounded to the nearest, to even of two. Where a row holds a
     * number that is not finite, its scale is NaN. */
    void (*quantize)(mr_backend *be, mr_scaled y, mr_tensor x, bool transposed);
    /** c [M, N] = a [M, K] b [N, K]^T + beta c, with sums in F32; c is of any type that is computed
     * in. */
    void (*gemm_scaled)(mr_backend *be, mr_scaled a, mr_scaled b, float beta, mr_tensor c);

    /** out F64 [1, N] = beta out + sum over columns of a [N, C] b [N, C]; out is not read where
     * beta is 0. a may be b. */
    void (*row_dots)(mr_backend *be, mr_tensor out, mr_tensor a, mr_tensor b, double beta);
    /** y [N, C] = beta y + x s, s [1, C] a factor a column; y is not read where beta is 0, and may
     * be x. Where kept [N, C] exists, it gets x. */
    void (*scale_columns)(mr_backend *be, mr_tensor y, mr_tensor kept, mr_tensor x, mr_tensor s,
                          float beta);
    /** x [N, C] = x s, s [1, N] a factor a row. */
    void (*scale_rows)(mr_backend *be, mr_tensor x, mr_tensor s);
    /** Factors of rows whose lengths are trained apart, all [1, N]: inverse = 1 / sqrt(squares),
     * squares = base, F64, + sum over columns of h [N, C] b [N, C], where these exist; 0 where that
     * is not above 0 (NaN stays NaN); ratio = magnitude inverse, magnitude a weight; gain = ratio
     * - 1; each rounded once from double. */
    void (*row_factors)(mr_backend *be, const mr_row_factors_args *args);
    /** ds [1, C] = sum over rows of dy x, the gradient of the factors of scale_columns; where dx
     * exists, dx [N, C] = dy s, and may be x; s is not read else. */
    void (*scale_columns_backward)(mr_backend *be, mr_tensor dx, mr_tensor ds, mr_tensor dy,
                                   mr_tensor x, mr_tensor s);

    /** y [N, C] = x rstd w, rstd [1, N] = 1 / sqrt(mean(x^2) + eps), w [1, C]. Where addend [N, C]
     * exists, sum = x + addend is stored first and takes x's place, as it is stored: without an
     * addend sum gives the same bits. sum may be x or addend. */
    void (*rmsnorm_forward)(mr_backend *be, mr_tensor y, mr_tensor rstd, mr_tensor sum, mr_tensor x,
                            mr_tensor addend, mr_tensor w, double eps);
    /** dx [N, C] += gradient of rmsnorm at x; dw [1, C] = its weight gradient, where dw exists. */
    void (*rmsnorm_backward)(mr_backend *be, mr_tensor dx, mr_tensor dw, mr_tensor dy, mr_tensor x,
                             mr_tensor rstd, mr_tensor w);
    /** Rotates x [N, heads * head_size] in place: pairs (c, c + HS/2) by the angle whose cosine and
     * sine stand in row positions[n] of cosine, sine [T, HS/2]; inverse turns back. positions I32
     * [1, N]. Source: Su et al. 2021 (RoPE), half-split as in Hugging Face. */
    void (*rope)(mr_backend *be, mr_tensor x, mr_tensor cosine, mr_tensor sine, mr_tensor positions,
                 int64_t head_size, bool inverse);
    /** o = softmax(q k^T / sqrt(HS)) v, each row over the keys of its segment up to itself, in
     * blocks; memory linear in T, work in the lengths of segments squared. Writes lse.
     * Source: Dao et al. 2022 (FlashAttention), Milakov and Gimelshein 2018 (online softmax). */
    void (*attention_forward)(mr_backend *be, const mr_attention_args *args);
    /** d_q, d_k, d_v from d_o, with o and lse of the forward pass; all are overwritten. */
    void (*attention_backward)(mr_backend *be, const mr_attention_args *args);
    /** As attention_forward for new tokens against cached keys and values; writes no lse. */
    void (*attention_cached)(mr_backend *be, const mr_cached_attention_args *args);
    /** y = silu(gate) up, elementwise; y may be gate or up. */
    void (*swiglu_forward)(mr_backend *be, mr_tensor y, mr_tensor gate, mr_tensor up);
    /** dgate, dup from dy; dgate may be gate, dup may be up. */
    void (*swiglu_backward)(mr_backend *be, mr_tensor dgate, mr_tensor dup, mr_tensor dy,
                            mr_tensor gate, mr_tensor up);
    /** y [N, C] = rows ids of w [V, C]; ids I32 [1, N]. */
    void (*gather_rows)(mr_backend *be, mr_tensor y, mr_tensor w, mr_tensor ids);
    /** Rows ids of y [M, C] = rows of x [N, C]; ids I32 [1, N], without repetition. */
    void (*scatter_rows)(mr_backend *be, mr_tensor y, mr_tensor x, mr_tensor ids);
    /** Rows ids of y [V, C] += rows of x [N, C], repeated ids in the order of n. */
    void (*scatter_add_rows)(mr_backend *be, mr_tensor y, mr_tensor x, mr_tensor ids);
    /** losses F64 [1, N] = -log softmax(logits [N, V])[targets], 0 where a target is negative;
     * targets I32 [1, N]. With gradient, logits become (softmax - onehot) scale, 0 for unscored
     * rows; without, they stay. */
    void (*cross_entropy)(mr_backend *be, mr_tensor logits, mr_tensor targets, mr_tensor losses,
                          bool gradient, float scale);
    /** ids I32 [1, N] = index of the largest of each row, the first of equals. */
    void (*argmax)(mr_backend *be, mr_tensor ids, mr_tensor logits);

    /** y [N, groups] = sums of x [N, n] over the groups of the map (compress). */
    void (*group_sum)(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map);
    /** y [N, n] += x [N, groups] spread over the map: the adjoint of group_sum (decompress). */
    void (*group_spread)(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map);
    /** y [N, blocks * R]: row i is row g mod R of m [R, R] in block g / R and 0 elsewhere, g the
     * group of position first + i in the map; 0 where the map does not reach that far. */
    void (*group_rows)(mr_backend *be, mr_tensor y, mr_tensor m, mr_group_map map, int64_t first);
    /** y [N, blocks * width]: column b * width + c = x[(b * width + c) mod n], block b turned by
     * angles of position b where rotate. width is even where rotate.
     * cosine, sine [blocks, width / 2]. Source: MoRA Eq. 9, pairs (c, c + width/2) as published. */
    void (*block_rotate)(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width, bool rotate,
                         mr_tensor cosine, mr_tensor sine);
    /** y [N, n] += the adjoint of block_rotate of x [N, blocks * width]; x is overwritten. */
    void (*block_rotate_adjoint)(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width,
                                 bool rotate, mr_tensor cosine, mr_tensor sine);

    /** y[i] = x W'[i]^T for the linears of a site at once, for a backend that is faster so. Where
     * they are NULL, or return false, which they do for the same sites and then having done
     * nothing, the base's products and the parts of the updates are entries of their own. They book
     * their time themselves. @{ */
    bool (*site_forward)(mr_backend *be, const mr_site_args *args);
    bool (*site_backward)(mr_backend *be, const mr_site_args *args);
    /** @} */

    /** Updates weight, m and v of each of a list in place. @param args  [count], read in the call
     */
    void (*adamw)(mr_backend *be, const mr_adamw_args *args, int64_t count);
} mr_backend_ops;

/** A backend in use. Owned by its creator. */
struct mr_backend {
    const mr_backend_ops *ops;
    int threads;
    int idle_threads;   /**< of these: while the backend computes, as a device does by itself */
    size_t chunk_bytes; /**< of a matrix that is computed part by part: enough to keep it busy */
    int64_t pass_rows; /**< of a pass forward: enough to keep it busy, in whole tiles of products */
    bool each_row; /**< bits of a row of a product with weights are to follow from that row alone,
                        in whole tiles: set while those of a pass are queued that is none of a
                        step's */
    void *state;   /**< the backend's own, owned */
};

/** Lets libraries be chosen that must be chosen before the program starts: OpenBLAS picks its
 * kernels as it is loaded, and one older than the processor falls back to those of half its vector
 * width. Where that happened the program is started again with the right ones named
 * (OPENBLAS_CORETYPE, left alone where it is set). To be called first in main. Local. */
void mr_backend_prepare(char **argv);

/** Creates the backend of a name ("cpu", "cuda", "auto": cuda where there is a device) for the
 * node_rank-th process of this node, computing on `threads` threads of the host. Local.
 * @return MR_OK, MR_ERR_ARG (unknown name, lists the known ones; no such device or not in this
 * build, says what to do), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_backend_create(const char *name, int node_rank, int threads,
                                         mr_backend **out);

/** As mr_backend_create, for laying out and plans alone: a device that is asked for by name and not
 * here is taken to be one as `memory` then says; of its operations there are none that compute. */
MR_NODISCARD mr_status mr_backend_create_planned(const char *name, int node_rank, int threads,
                                                 mr_backend **out);

/** What is known of a device. */
typedef struct mr_device_facts {
    char name[256], uuid[48];
    char libraries[256]; /**< what computes on it, with versions */
    int major, minor, multiprocessors;
    size_t bytes, free_bytes;
    int reaches; /**< other devices whose memory it reads without the host */
} mr_device_facts;

/** Describes the index-th device that this process sees, of *count. Local.
 * @return MR_OK, MR_ERR_ARG (there is none, or no backend for one in this build; says what to do)
 */
MR_NODISCARD mr_status mr_backend_device(int index, mr_device_facts *out, int *count);

/** Frees *be and sets it to NULL; its buffers must be gone. */
void mr_backend_destroy(mr_backend **be);

/** Returns the backends as choices of parallel.backend, a NULL name behind. */
const mr_choice *mr_backend_choices(void);

/** Creates a buffer and returns it as a dense [rows, cols] tensor. */
MR_NODISCARD mr_status mr_backend_tensor(mr_backend *be, mr_purpose purpose, mr_dtype dtype,
                                         int64_t rows, int64_t cols, mr_tensor *out);

/** Makes of x [N, C] rows in 8 bits, in room for such: values [1, N C ..], scale [1, N ..].
 * Local. */
mr_scaled mr_backend_quantize(mr_backend *be, mr_scaled room, mr_tensor x);

/** Frees the buffer of a tensor and makes it absent. */
void mr_backend_free(mr_backend *be, mr_tensor *t);

/** Returns the name of a phase ("attention", ...). */
const char *mr_phase_name(mr_phase phase);

/** As the entries of the table. */
static inline void mr_phase_begin(mr_backend *be, mr_phase phase)
{
    be->ops->phase_begin(be, phase);
}

static inline void mr_phase_end(mr_backend *be, mr_phase phase)
{
    be->ops->phase_end(be, phase);
}

#endif
