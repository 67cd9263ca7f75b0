#ifndef MR_BACKEND_CPU_CPU_H
#define MR_BACKEND_CPU_CPU_H

/** @file
 * The CPU backend: BLAS for products, OpenMP over rows or heads for the rest, F32 with double
 * accumulation where it is cheap. It is the specification other backends are tested against.
 *
 * Work is cut so that every element is computed by one thread in one order: the bits of every
 * operation but gemm are the same on any number of threads. Those of gemm are the same at the same
 * number: where the library's tiles fall depends on how a product is cut. Rows of activations times
 * a weight have bits of their own in whole tiles, and with each_row always. What each operation
 * does stands in backend/backend.h.
 */

#include "backend/backend.h"

#include <string.h>

struct mr_buffer {
    void *data;  /**< owned unless shared */
    bool shared; /**< memory that ranks share: another owns it */
};

enum {
    MR_CPU_BLOCK = 128,                               /**< rows and columns of an attention block */
    MR_CPU_SCRATCH = 2 * MR_CPU_BLOCK * MR_CPU_BLOCK, /**< floats of scratch a thread */
    MR_CPU_GRAIN = 1 << 15, /**< elements below which a loop is not worth a second thread */
};

/** Fills be->ops and be->state. @return MR_OK, MR_ERR_MEMORY */
mr_status mr_cpu_init(mr_backend *be, int node_rank);

/** Returns the first element of a tensor. */
static inline float *mr_cpu_f32(mr_tensor t)
{
    return (float *)t.buffer->data + t.offset;
}

static inline int32_t *mr_cpu_i32(mr_tensor t)
{
    return (int32_t *)t.buffer->data + t.offset;
}

static inline double *mr_cpu_f64(mr_tensor t)
{
    return (double *)t.buffer->data + t.offset;
}

/** Rounds to the nearest BF16, to even of two; NaN stays NaN. */
static inline uint16_t mr_cpu_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/** Returns the value of a BF16. */
static inline float mr_cpu_of_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/** Returns the number of threads for work of so many elements. */
static inline int mr_cpu_threads(const mr_backend *be, int64_t elements)
{
    return elements < MR_CPU_GRAIN ? 1 : be->threads;
}

/** Returns this thread's MR_CPU_SCRATCH floats. To be called inside a parallel region. */
float *mr_cpu_scratch(const mr_backend *be);

/** Computes c = alpha op(a) op(b) + beta c of row-major matrices on the calling thread. */
void mr_cpu_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, float alpha,
                  const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                  int64_t ldc);

/** A row-major matrix. */
typedef struct mr_cpu_matrix {
    const float *at;
    int64_t stride;
} mr_cpu_matrix;

/** Computes c [m, n] = alpha (a b + c), c not read unless `add`, on the calling thread; an element
 * is one chain of multiply-adds along k. */
void mr_cpu_product(int64_t m, int64_t n, int64_t k, float alpha, mr_cpu_matrix a, mr_cpu_matrix b,
                    float *c, int64_t c_stride, bool add);

/** Computes c [m, n] = alpha a b^T + beta c, k > 0, by such chains. */
void mr_cpu_product_turned(const mr_backend *be, int64_t m, int64_t n, int64_t k, float alpha,
                           mr_cpu_matrix a, mr_cpu_matrix b, float beta, float *c,
                           int64_t c_stride);

/** Tells whether rows that are equal come out equal of the library's whole tiles: with kernels for
 * AVX2 they do not. */
bool mr_cpu_rows_alike(void);

/** Turns scores [from, to) of one row of an attention into exp(score - largest) in place, zero
 * elsewhere; updates the running maximum and denominator and returns the factor for what was summed
 * before. */
float mr_cpu_softmax_row(float *score, int64_t from, int64_t to, int64_t count, float *largest,
                         double *denominator);

/** Starts the program again with OpenBLAS's AVX-512 kernels where the processor has it and the
 * library, not knowing the processor, took lesser ones. Returns where there is nothing to do. */
void mr_cpu_choose_kernels(char **argv);

/** Makes the BLAS library compute on the calling thread only: the threads are ours. */
void mr_cpu_blas_single_thread(void);

/* The entries of the table, by file. */
void mr_cpu_gemm(mr_backend *be, bool transpose_a, bool transpose_b, float alpha, mr_tensor a,
                 mr_tensor b, float beta, mr_tensor c);
void mr_cpu_quantize(mr_backend *be, mr_scaled y, mr_tensor x, bool transposed);
void mr_cpu_gemm_scaled(mr_backend *be, mr_scaled a, mr_scaled b, float beta, mr_tensor c);
void mr_cpu_fill(mr_backend *be, mr_tensor t, float value);
void mr_cpu_copy(mr_backend *be, mr_tensor dst, mr_tensor src);
void mr_cpu_convert(mr_backend *be, mr_tensor dst, mr_tensor src);
void mr_cpu_add(mr_backend *be, mr_tensor y, mr_tensor x);
void mr_cpu_dropout(mr_backend *be, mr_tensor y, mr_tensor x, float beta, double p,
                    mr_random stream, int64_t first_row);
void mr_cpu_sum_pieces(mr_backend *be, mr_tensor y, mr_tensor pieces);
void mr_cpu_square_sums(mr_backend *be, mr_tensor out, mr_tensor x);
void mr_cpu_exact_sum(mr_backend *be, mr_tensor out, mr_tensor x);
void mr_cpu_count_nonzero(mr_backend *be, mr_tensor out, mr_tensor x);
void mr_cpu_normal(mr_backend *be, mr_tensor x, mr_random stream, int64_t first, double scale);
void mr_cpu_digest(mr_backend *be, mr_tensor out, mr_tensor x, uint64_t place);
void mr_cpu_row_dots(mr_backend *be, mr_tensor out, mr_tensor a, mr_tensor b, double beta);
void mr_cpu_scale_columns(mr_backend *be, mr_tensor y, mr_tensor kept, mr_tensor x, mr_tensor s,
                          float beta);
void mr_cpu_scale_rows(mr_backend *be, mr_tensor x, mr_tensor s);
void mr_cpu_row_factors(mr_backend *be, const mr_row_factors_args *args);
void mr_cpu_scale_columns_backward(mr_backend *be, mr_tensor dx, mr_tensor ds, mr_tensor dy,
                                   mr_tensor x, mr_tensor s);
void mr_cpu_swiglu_forward(mr_backend *be, mr_tensor y, mr_tensor gate, mr_tensor up);
void mr_cpu_swiglu_backward(mr_backend *be, mr_tensor dgate, mr_tensor dup, mr_tensor dy,
                            mr_tensor gate, mr_tensor up);
void mr_cpu_gather_rows(mr_backend *be, mr_tensor y, mr_tensor w, mr_tensor ids);
void mr_cpu_scatter_rows(mr_backend *be, mr_tensor y, mr_tensor x, mr_tensor ids);
void mr_cpu_scatter_add_rows(mr_backend *be, mr_tensor y, mr_tensor x, mr_tensor ids);
void mr_cpu_adamw(mr_backend *be, const mr_adamw_args *args, int64_t count);
void mr_cpu_rmsnorm_forward(mr_backend *be, mr_tensor y, mr_tensor rstd, mr_tensor sum, mr_tensor x,
                            mr_tensor addend, mr_tensor w, double eps);
void mr_cpu_rmsnorm_backward(mr_backend *be, mr_tensor dx, mr_tensor dw, mr_tensor dy, mr_tensor x,
                             mr_tensor rstd, mr_tensor w);
void mr_cpu_rope(mr_backend *be, mr_tensor x, mr_tensor cosine, mr_tensor sine, mr_tensor positions,
                 int64_t head_size, bool inverse);
void mr_cpu_attention_forward(mr_backend *be, const mr_attention_args *args);
void mr_cpu_attention_backward(mr_backend *be, const mr_attention_args *args);
void mr_cpu_attention_cached(mr_backend *be, const mr_cached_attention_args *args);
void mr_cpu_cross_entropy(mr_backend *be, mr_tensor logits, mr_tensor targets, mr_tensor losses,
                          bool gradient, float scale);
void mr_cpu_argmax(mr_backend *be, mr_tensor ids, mr_tensor logits);
void mr_cpu_group_sum(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map);
void mr_cpu_group_spread(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map);
void mr_cpu_group_rows(mr_backend *be, mr_tensor y, mr_tensor m, mr_group_map map, int64_t first);
void mr_cpu_block_rotate(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width, bool rotate,
                         mr_tensor cosine, mr_tensor sine);
void mr_cpu_block_rotate_adjoint(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width,
                                 bool rotate, mr_tensor cosine, mr_tensor sine);

#endif
