/* Products by cuBLASLt. How one is computed is settled the first time that its shape occurs and
 * kept by shape: the library's first proposal, which is the same in every run, and so are the bits.
 */

#include "backend/cuda/cuda_impl.h"

#include <limits.h>
#include <string.h>

/* All that a plan depends on, without padding: it is hashed and compared as bytes. */
typedef struct shape {
    int64_t m, n, k, lda, ldb, ldc;
    int32_t type_ab, type_c;
    int32_t transpose_a, transpose_b;
    int32_t adds; /* beta is not 0 */
    int32_t align_a, align_b, align_c;
} shape;

struct mr_cuda_plan {
    shape shape;
    bool used, known; /* known: the library takes it */
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
};

mr_status mr_cuda_plans_create(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    cu->plans = mr_alloc_array(MR_MEM_OTHER, MR_CUDA_PLANS, sizeof *cu->plans);
    if (!cu->plans) return MR_ERR_MEMORY;
    MR_CHECK(cudaMalloc(&cu->workspace, MR_CUDA_WORKSPACE) == cudaSuccess &&
                 cublasLtCreate(&cu->blas) == CUBLAS_STATUS_SUCCESS,
             MR_ERR_MEMORY, "CUDA device %d: cannot start cuBLASLt with %zu bytes of workspace",
             cu->device, MR_CUDA_WORKSPACE);
    return MR_OK;
}

static void forget(mr_cuda_plan *plan)
{
    if (plan->product) cublasLtMatmulDescDestroy(plan->product);
    if (plan->a) cublasLtMatrixLayoutDestroy(plan->a);
    if (plan->b) cublasLtMatrixLayoutDestroy(plan->b);
    if (plan->c) cublasLtMatrixLayoutDestroy(plan->c);
    *plan = (mr_cuda_plan){0};
}

void mr_cuda_plans_destroy(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    for (int i = 0; cu->plans && i < MR_CUDA_PLANS; i++)
        forget(&cu->plans[i]);
    mr_free(cu->plans);
    if (cu->blas) cublasLtDestroy(cu->blas);
    cudaFree(cu->workspace);
}

static cudaDataType_t type_of(int32_t dtype)
{
    return dtype == MR_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* The largest power of two up to 256 that an address is a multiple of. */
static int32_t alignment_of(mr_tensor t)
{
    uintptr_t at = (uintptr_t)mr_cuda_at(t) | 256;
    return (int32_t)(at & -at);
}

static shape shape_of(bool transpose_a, bool transpose_b, mr_tensor a, mr_tensor b, float beta,
                      mr_tensor c)
{
    return (shape){.m = c.rows,
                   .n = c.cols,
                   .k = transpose_a ? a.rows : a.cols,
                   .lda = a.stride,
                   .ldb = b.stride,
                   .ldc = c.stride,
                   .type_ab = (int32_t)a.dtype,
                   .type_c = (int32_t)c.dtype,
                   .transpose_a = transpose_a,
                   .transpose_b = transpose_b,
                   .adds = beta != 0,
                   .align_a = alignment_of(a),
                   .align_b = alignment_of(b),
                   .align_c = alignment_of(c)};
}

/* A row-major matrix is to the library one of columns: its rows, of the stride's length. */
static cublasStatus_t layout(cublasLtMatrixLayout_t *out, int32_t dtype, int64_t rows, int64_t cols,
                             int64_t stride)
{
    return cublasLtMatrixLayoutCreate(out, type_of(dtype), (uint64_t)cols, (uint64_t)rows, stride);
}

static cublasStatus_t choose(mr_cuda *cu, mr_cuda_plan *plan)
{
    const shape *s = &plan->shape;
    const size_t workspace = MR_CUDA_WORKSPACE;
    const uint32_t first = (uint32_t)s->align_b, second = (uint32_t)s->align_a,
                   third = (uint32_t)s->align_c;
    cublasLtMatmulPreference_t wish;
    cublasLtMatmulHeuristicResult_t found;
    int count = 0;
    cublasStatus_t status = cublasLtMatmulPreferenceCreate(&wish);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
#define WISH(name, value)                                                                          \
    cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_##name, &(value), sizeof(value))
    WISH(MAX_WORKSPACE_BYTES, workspace);
    WISH(MIN_ALIGNMENT_A_BYTES, first);
    WISH(MIN_ALIGNMENT_B_BYTES, second);
    WISH(MIN_ALIGNMENT_C_BYTES, third);
    WISH(MIN_ALIGNMENT_D_BYTES, third);
#undef WISH
    status = cublasLtMatmulAlgoGetHeuristic(cu->blas, plan->product, plan->b, plan->a, plan->c,
                                            plan->c, wish, 1, &found, &count);
    cublasLtMatmulPreferenceDestroy(wish);
    if (status == CUBLAS_STATUS_SUCCESS && count == 0) status = CUBLAS_STATUS_NOT_SUPPORTED;
    plan->algorithm = found.algo;
    return status;
}

/* c = op(a) op(b) by rows is c^T = op(b)^T op(a)^T by columns: b is the library's first factor. */
static void make(mr_cuda *cu, mr_cuda_plan *plan)
{
    const shape *s = &plan->shape;
    const cublasOperation_t first = s->transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N,
                            second = s->transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasStatus_t status =
        cublasLtMatmulDescCreate(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, &first,
                                                sizeof first);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSB, &second,
                                                sizeof second);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = s->transpose_b ? layout(&plan->b, s->type_ab, s->n, s->k, s->ldb)
                                : layout(&plan->b, s->type_ab, s->k, s->n, s->ldb);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = s->transpose_a ? layout(&plan->a, s->type_ab, s->k, s->m, s->lda)
                                : layout(&plan->a, s->type_ab, s->m, s->k, s->lda);
    if (status == CUBLAS_STATUS_SUCCESS) status = layout(&plan->c, s->type_c, s->m, s->n, s->ldc);
    plan->known = status == CUBLAS_STATUS_SUCCESS && choose(cu, plan) == CUBLAS_STATUS_SUCCESS;
}

/* The plan of a shape, made where it is not there. Of shapes that fall on one place beyond a few
 * probes, the last one stays. */
static mr_cuda_plan *plan_of(mr_cuda *cu, const shape *s)
{
    enum { PROBES = 16 };
    uint64_t hash = 14695981039346656037u;
    const unsigned char *bytes = (const void *)s;
    for (size_t i = 0; i < sizeof *s; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    hash ^= hash >> 32;
    mr_cuda_plan *plan = NULL;
    for (uint64_t i = 0; i < PROBES; i++) {
        plan = &cu->plans[(hash + i) % MR_CUDA_PLANS];
        if (!plan->used) break;
        if (memcmp(&plan->shape, s, sizeof *s) == 0) return plan;
    }
    forget(plan);
    plan->shape = *s;
    plan->used = true;
    make(cu, plan);
    return plan;
}

void mr_cuda_gemm(mr_backend *be, bool transpose_a, bool transpose_b, float alpha, mr_tensor a,
                  mr_tensor b, float beta, mr_tensor c)
{
    mr_cuda *cu = mr_cuda_of(be);
    if (c.rows == 0 || c.cols == 0) return;
    mr_cuda_plan *plan = NULL;
    if (a.dtype == b.dtype) {
        shape s = shape_of(transpose_a, transpose_b, a, b, beta, c);
        plan = plan_of(cu, &s);
    }
    if (!plan || !plan->known) {
        mr_cuda_gemm_any(be, transpose_a, transpose_b, alpha, a, b, beta, c);
        return;
    }
    cublasStatus_t status =
        cublasLtMatmul(cu->blas, plan->product, &alpha, mr_cuda_at(b), plan->b, mr_cuda_at(a),
                       plan->a, &beta, mr_cuda_at(c), plan->c, mr_cuda_at(c), plan->c,
                       &plan->algorithm, cu->workspace, MR_CUDA_WORKSPACE, cu->stream);
    if (status != CUBLAS_STATUS_SUCCESS)
        mr_cuda_note_failure(be, "a matrix product", cublasLtGetStatusString(status));
}
