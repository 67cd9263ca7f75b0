/* Products by cuBLASLt. How one is computed is settled the first time that its shape occurs and
 * kept by shape: as the library proposes first, which is the same in every run, or faster with the
 * same bits. */

#include "backend/cuda/gemm_impl.h"

#include <limits.h>
#include <string.h>

/* All that a plan depends on, without padding: it is hashed and compared as bytes. */
typedef struct shape {
    int64_t m, n, k, lda, ldb, ldc;
    int64_t step_a, step_b, step_c; /* of a batch */
    int32_t type_ab, type_c;
    int32_t transpose_a, transpose_b;
    int32_t adds; /* beta is not 0 */
    int32_t align_a, align_b, align_c;
    int32_t count, none; /* of a batch; 0, in the place of padding */
} shape;

struct mr_cuda_plan {
    shape shape;
    bool used, known; /* known: the library takes it */
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulAlgo_t algorithm;
    bool tried; /* it is the fastest with the first proposal's bits, or the only one */
};

enum {
    FAST_SUMS = 0, /* of products of 8 bits: 1 would leave them in the tensor cores, which keep few
                      bits of them, to the end */
    PROPOSALS = 8,
};

mr_status mr_cuda_plans_create(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    cu->plans = mr_alloc_array(MR_MEM_OTHER, MR_CUDA_PLANS, sizeof *cu->plans);
    if (!cu->plans) return MR_ERR_MEMORY;
    MR_CHECK(cudaMalloc(&cu->workspace[0], MR_CUDA_WORKSPACE) == cudaSuccess &&
                 cudaMalloc(&cu->workspace[1], MR_CUDA_WORKSPACE) == cudaSuccess &&
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
    for (int i = 0; i < 2; i++)
        cudaFree(cu->workspace[i]);
}

static cudaDataType_t type_of(int32_t dtype)
{
    if (dtype == MR_E4M3) return CUDA_R_8F_E4M3;
    return dtype == MR_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static bool is_scaled(const mr_cuda_operands *o)
{
    return mr_tensor_exists(o->scale_a);
}

#if CUBLAS_VERSION >= 120900
bool mr_cuda_multiplies_scaled(const mr_backend *be)
{
    int major = 0, minor = 0;
    const int device = mr_cuda_of(be)->device;
    return cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) ==
               cudaSuccess &&
           cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) ==
               cudaSuccess &&
           major == 9 && minor == 0 && cublasLtGetVersion() >= 120900;
}

/* Where the scales of a product's factors stand: told anew each time. */
static cublasStatus_t point_to_scales(const mr_cuda_plan *plan, const mr_cuda_operands *o)
{
    const void *first = mr_cuda_at(o->scale_b), *second = mr_cuda_at(o->scale_a);
    cublasStatus_t status = cublasLtMatmulDescSetAttribute(
        plan->product, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &first, sizeof first);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    return cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER,
                                          &second, sizeof second);
}

/* A scale for each row of both factors: c = (s_a s_b^T) (a b^T) + beta c, element by element.
 * Source: cuBLAS documentation, Outer Vector Scaling for FP8 Data Types. */
static cublasStatus_t make_scaled(const mr_cuda_plan *plan, const mr_cuda_operands *o)
{
    const int32_t mode = CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F;
    const int8_t fast = FAST_SUMS;
    cublasStatus_t status = cublasLtMatmulDescSetAttribute(
        plan->product, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, &mode, sizeof mode);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_B_SCALE_MODE,
                                                &mode, sizeof mode);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_FAST_ACCUM,
                                                &fast, sizeof fast);
    return status == CUBLAS_STATUS_SUCCESS ? point_to_scales(plan, o) : status;
}
#else
bool mr_cuda_multiplies_scaled(const mr_backend *be)
{
    (void)be;
    return false;
}

static cublasStatus_t point_to_scales(const mr_cuda_plan *plan, const mr_cuda_operands *o)
{
    (void)plan;
    (void)o;
    return CUBLAS_STATUS_NOT_SUPPORTED;
}

static cublasStatus_t make_scaled(const mr_cuda_plan *plan, const mr_cuda_operands *o)
{
    return point_to_scales(plan, o);
}
#endif

/* The largest power of two up to 256 that an address, and all that are steps from it, are multiples
 * of. */
static int32_t alignment_of(mr_tensor t, int64_t step)
{
    uintptr_t at = (uintptr_t)mr_cuda_at(t) | (uintptr_t)step * mr_dtype_size(t.dtype) | 256;
    return (int32_t)(at & -at);
}

static shape shape_of(bool transpose_a, bool transpose_b, const mr_cuda_operands *o)
{
    const mr_cuda_batch *batch = &o->batch;
    return (shape){.m = o->c.rows,
                   .n = o->c.cols,
                   .k = transpose_a ? o->a.rows : o->a.cols,
                   .lda = o->a.stride,
                   .ldb = o->b.stride,
                   .ldc = o->c.stride,
                   .step_a = batch->step_a,
                   .step_b = batch->step_b,
                   .step_c = batch->step_c,
                   .type_ab = (int32_t)o->a.dtype,
                   .type_c = (int32_t)o->c.dtype,
                   .transpose_a = transpose_a,
                   .transpose_b = transpose_b,
                   .adds = o->beta != 0,
                   .align_a = alignment_of(o->a, batch->step_a),
                   .align_b = alignment_of(o->b, batch->step_b),
                   .align_c = alignment_of(o->c, batch->step_c),
                   .count = batch->count};
}

/* A row-major matrix is to the library one of columns: its rows, of the stride's length. */
static cublasStatus_t layout(cublasLtMatrixLayout_t *out, int32_t dtype, int64_t rows, int64_t cols,
                             int64_t stride)
{
    return cublasLtMatrixLayoutCreate(out, type_of(dtype), (uint64_t)cols, (uint64_t)rows, stride);
}

static cublasStatus_t make_batch(cublasLtMatrixLayout_t t, int32_t count, int64_t step)
{
    cublasStatus_t status = cublasLtMatrixLayoutSetAttribute(t, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                                                             &count, sizeof count);
    if (status != CUBLAS_STATUS_SUCCESS) return status;
    return cublasLtMatrixLayoutSetAttribute(t, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step,
                                            sizeof step);
}

/* The library's proposals, best first. */
static cublasStatus_t propose(mr_cuda *cu, mr_cuda_plan *plan, int wanted,
                              cublasLtMatmulHeuristicResult_t *found, int *count)
{
    const shape *s = &plan->shape;
    const size_t workspace = MR_CUDA_WORKSPACE;
    const uint32_t first = (uint32_t)s->align_b, second = (uint32_t)s->align_a,
                   third = (uint32_t)s->align_c;
    cublasLtMatmulPreference_t wish;
    *count = 0;
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
                                            plan->c, wish, wanted, found, count);
    cublasLtMatmulPreferenceDestroy(wish);
    if (status == CUBLAS_STATUS_SUCCESS && *count == 0) status = CUBLAS_STATUS_NOT_SUPPORTED;
    return status;
}

static cublasStatus_t choose(mr_cuda *cu, mr_cuda_plan *plan)
{
    cublasLtMatmulHeuristicResult_t found;
    int count;
    cublasStatus_t status = propose(cu, plan, 1, &found, &count);
    if (status == CUBLAS_STATUS_SUCCESS) plan->algorithm = found.algo;
    return status;
}

/* c = op(a) op(b) by rows is c^T = op(b)^T op(a)^T by columns: b is the library's first factor. */
static void make(mr_cuda *cu, mr_cuda_plan *plan, const mr_cuda_operands *o)
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
    if (status == CUBLAS_STATUS_SUCCESS && s->count > 1) {
        status = make_batch(plan->a, s->count, s->step_a);
        if (status == CUBLAS_STATUS_SUCCESS) status = make_batch(plan->b, s->count, s->step_b);
        if (status == CUBLAS_STATUS_SUCCESS) status = make_batch(plan->c, s->count, s->step_c);
    }
    if (status == CUBLAS_STATUS_SUCCESS && is_scaled(o)) status = make_scaled(plan, o);
    plan->known = status == CUBLAS_STATUS_SUCCESS && choose(cu, plan) == CUBLAS_STATUS_SUCCESS;
}

/* The plan of a shape, made where it is not there. Of shapes that fall on one place beyond a few
 * probes, the last one stays. */
static mr_cuda_plan *plan_of(mr_cuda *cu, const shape *s, const mr_cuda_operands *o)
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
    make(cu, plan, o);
    return plan;
}

static cublasStatus_t multiply(mr_cuda *cu, const mr_cuda_plan *plan, const mr_cuda_operands *o,
                               const cublasLtMatmulAlgo_t *algorithm, void *to)
{
    if (is_scaled(o) && point_to_scales(plan, o) != CUBLAS_STATUS_SUCCESS)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return cublasLtMatmul(cu->blas, plan->product, &o->alpha, mr_cuda_at(o->b), plan->b,
                          mr_cuda_at(o->a), plan->a, &o->beta, mr_cuda_at(o->c), plan->c, to,
                          plan->c, algorithm, cu->workspace[cu->beside], MR_CUDA_WORKSPACE,
                          mr_cuda_queue(cu));
}

/* Milliseconds of one product by an algorithm; a large number where it fails. */
static float time_of(mr_cuda *cu, const mr_cuda_plan *plan, const mr_cuda_operands *o,
                     const cublasLtMatmulAlgo_t *algorithm, void *to, const cudaEvent_t *events)
{
    enum { RUNS = 3 };
    float ms = 1e9f;
    bool done = multiply(cu, plan, o, algorithm, to) == CUBLAS_STATUS_SUCCESS;
    cudaEventRecord(events[0], mr_cuda_queue(cu));
    for (int i = 0; done && i < RUNS; i++)
        done = multiply(cu, plan, o, algorithm, to) == CUBLAS_STATUS_SUCCESS;
    cudaEventRecord(events[1], mr_cuda_queue(cu));
    if (cudaEventSynchronize(events[1]) == cudaSuccess && done)
        cudaEventElapsedTime(&ms, events[0], events[1]);
    return ms;
}

/* Tries proposals on the product itself, into zeroed memory of their own: twice `bytes`. */
static void try_proposals(mr_backend *be, mr_cuda_plan *plan, const mr_cuda_operands *o,
                          char *memory, size_t bytes)
{
    mr_cuda *cu = mr_cuda_of(be);
    cublasLtMatmulHeuristicResult_t found[PROPOSALS];
    const cudaEvent_t events[2] = {cu->try_begin, cu->try_end};
    int count;
    if (propose(cu, plan, PROPOSALS, found, &count) != CUBLAS_STATUS_SUCCESS) return;
    float best = time_of(cu, plan, o, &found[0].algo, memory, events);
    plan->tried = !mr_cuda_alike(be, memory, memory + bytes, bytes);
    if (!plan->tried) return; /* zeros, as where an update begins, come out alike of everything */
    for (int i = 1; i < count; i++) {
        cudaMemsetAsync(memory + bytes, 0, bytes, mr_cuda_queue(cu)); /* where results are added */
        float took = time_of(cu, plan, o, &found[i].algo, memory + bytes, events);
        if (took >= best || !mr_cuda_alike(be, memory, memory + bytes, bytes)) continue;
        best = took;
        plan->algorithm = found[i].algo;
    }
}

/* Whether products that differ in their rows alone have been tried that often: such do not come
 * again as often as trying would have to pay for. */
static bool has_many_heights(const mr_cuda *cu, const shape *s)
{
    enum { MOST = 4 };
    int found = 0;
    for (int i = 0; i < MR_CUDA_PLANS; i++) {
        shape other = cu->plans[i].shape;
        if (!cu->plans[i].tried) continue;
        other.m = s->m;
        found += memcmp(&other, s, sizeof other) == 0;
    }
    return found > MOST;
}

static void find_fastest(mr_backend *be, mr_cuda_plan *plan, const mr_cuda_operands *o)
{
    const int64_t worth = (int64_t)1 << 26; /* multiply-adds */
    const shape *s = &plan->shape;
    mr_cuda *cu = mr_cuda_of(be);
    char *memory = NULL;
    plan->tried = true;
    if (s->m * s->n * s->k * s->count < worth || has_many_heights(cu, s)) return;
    size_t bytes = (size_t)((s->count - 1) * s->step_c + (s->m - 1) * s->ldc + s->n) *
                   mr_dtype_size(o->c.dtype);
    bytes = (bytes + 255) / 256 * 256;
    if (cudaMalloc((void **)&memory, 2 * bytes) != cudaSuccess) {
        cudaGetLastError(); /* then by the first proposal */
        return;
    }
    mr_cuda_note(be, cudaMemsetAsync(memory, 0, 2 * bytes, mr_cuda_queue(cu)), "a product");
    cudaStreamSynchronize(cu->beside ? cu->stream : cu->side); /* it would be timed, too */
    try_proposals(be, plan, o, memory, bytes);
    cudaFree(memory);
}

/* One by one, as the library does not take them. Of 8 bits there are no batches. */
static void run_any(mr_backend *be, bool transpose_a, bool transpose_b, const mr_cuda_operands *o)
{
    mr_cuda_operands one = *o;
    if (is_scaled(o)) {
        mr_cuda_gemm_scaled_any(be, (mr_scaled){o->a, o->scale_a}, (mr_scaled){o->b, o->scale_b},
                                o->beta, o->c);
        return;
    }
    for (int i = 0; i < o->batch.count; i++) {
        mr_cuda_gemm_any(be, transpose_a, transpose_b, one.alpha, one.a, one.b, one.beta, one.c);
        one.a.offset += o->batch.step_a;
        one.b.offset += o->batch.step_b;
        one.c.offset += o->batch.step_c;
    }
}

void mr_cuda_multiply(mr_backend *be, bool transpose_a, bool transpose_b, const mr_cuda_operands *o)
{
    mr_cuda *cu = mr_cuda_of(be);
    mr_cuda_plan *plan = NULL;
    if (o->c.rows == 0 || o->c.cols == 0) return;
    if (o->a.dtype == o->b.dtype) {
        shape s = shape_of(transpose_a, transpose_b, o);
        plan = plan_of(cu, &s, o);
    }
    if (!plan || !plan->known) {
        if (is_scaled(o) && o->c.rows * o->c.cols * o->a.cols >= MR_CUDA_LARGE)
            mr_cuda_note_failure(be, "a large product of 8 bits", "cuBLASLt does not take it");
        else
            run_any(be, transpose_a, transpose_b, o);
        return;
    }
    if (!plan->tried && !cu->recording) find_fastest(be, plan, o);
    cublasStatus_t status = multiply(cu, plan, o, &plan->algorithm, mr_cuda_at(o->c));
    if (status != CUBLAS_STATUS_SUCCESS)
        mr_cuda_note_failure(be, "a matrix product", cublasLtGetStatusString(status));
}

void mr_cuda_gemm_batch(mr_backend *be, bool transpose_a, bool transpose_b, float alpha,
                        mr_tensor a, mr_tensor b, float beta, mr_tensor c, mr_cuda_batch batch)
{
    const mr_cuda_operands o = {
        .alpha = alpha, .beta = beta, .a = a, .b = b, .c = c, .batch = batch};
    mr_cuda_multiply(be, transpose_a, transpose_b, &o);
}
