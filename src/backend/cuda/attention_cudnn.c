/* Attention of one segment a sequence in BF16 by cuDNN, whose plans are kept by shape. The graphs
 * are those that its engines know: softmax attention, spelt out operation by operation in one
 * order. The backward pass is the one without atomics: dQ is written by the last product. */

#include "backend/cuda/cuda_impl.h"
#include "backend/cuda/cudnn_graph.h"

#include <math.h>
#include <string.h>

enum { PLANS = 16 };

/* Memory that a plan is run with. */
enum { Q = 1, K, V, O, LSE, D_O, D_Q, D_K, D_V, SUM, SCALE, LOWEST, ONE, IDS };

/* What a plan depends on, without padding. */
typedef struct key {
    int64_t backward, batch, tokens, heads, kv_heads, size;
    int64_t stride[IDS]; /* of rows */
} key;

typedef struct plan {
    key key;
    mr_cudnn_graph graph;
} plan;

struct mr_cuda_attention {
    cudnnHandle_t handle;
    int count;
    plan plans[PLANS];
};

/* A graph with the shapes that its tensors have. */
typedef struct draft {
    mr_cudnn_graph *g;
    const key *key;
} draft;

typedef cudnnBackendDescriptor_t part;

/* Rows of tokens, heads side by side: [B, heads, T, size], or transposed [B, heads, size, T]. */
static part rows(draft d, int64_t id, int64_t heads, bool transposed)
{
    const key *k = d.key;
    int64_t stride = k->stride[id];
    mr_cudnn_tensor t = {.type = CUDNN_DATA_BFLOAT16,
                         .extent = {k->batch, heads, k->tokens, k->size},
                         .stride = {k->tokens * stride, k->size, stride, 1},
                         .id = id};
    if (transposed) {
        t.extent[2] = k->size;
        t.extent[3] = k->tokens;
        t.stride[2] = 1;
        t.stride[3] = stride;
    }
    return mr_cudnn_add_tensor(d.g, t);
}

/* Scores [B, NH, T, T] without memory, or their transposed. */
static part scores(draft d, cudnnDataType_t type, bool transposed)
{
    const key *k = d.key;
    int64_t t = k->tokens;
    return mr_cudnn_add_tensor(
        d.g, (mr_cudnn_tensor){
                 .type = type,
                 .extent = {k->batch, k->heads, t, t},
                 .stride = {k->heads * t * t, t * t, transposed ? 1 : t, transposed ? t : 1}});
}

/* A number a row [B, NH, T, 1]. */
static part column(draft d, int64_t id)
{
    const key *k = d.key;
    return mr_cudnn_add_tensor(d.g,
                               (mr_cudnn_tensor){.type = CUDNN_DATA_FLOAT,
                                                 .extent = {k->batch, k->heads, k->tokens, 1},
                                                 .stride = {k->heads * k->tokens, k->tokens, 1, 1},
                                                 .id = id});
}

static part number(draft d, int64_t id)
{
    return mr_cudnn_add_tensor(d.g, (mr_cudnn_tensor){.type = CUDNN_DATA_FLOAT,
                                                      .extent = {1, 1, 1, 1},
                                                      .stride = {1, 1, 1, 1},
                                                      .id = id,
                                                      .by_value = true});
}

static part binary(draft d, cudnnPointwiseMode_t mode, part x, part b, part y)
{
    mr_cudnn_pointwise(d.g, mode, CUDNN_DATA_FLOAT, y, x, b, NULL);
    return y;
}

/* Scores where a row may see a column, else the lowest number. */
static part masked(draft d, part x)
{
    part row = scores(d, CUDNN_DATA_INT32, false), col = scores(d, CUDNN_DATA_INT32, false);
    part seen = scores(d, CUDNN_DATA_BOOLEAN, false), y = scores(d, CUDNN_DATA_FLOAT, false);
    mr_cudnn_index(d.g, 2, row, x);
    mr_cudnn_index(d.g, 3, col, x);
    mr_cudnn_pointwise(d.g, CUDNN_POINTWISE_CMP_GE, CUDNN_DATA_BOOLEAN, seen, row, col, NULL);
    mr_cudnn_pointwise(d.g, CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT, y, x,
                       number(d, LOWEST), seen);
    return y;
}

static part scaled_scores(draft d, part q, part k, part scale)
{
    part s = scores(d, CUDNN_DATA_FLOAT, false);
    mr_cudnn_matmul(d.g, q, k, s);
    return binary(d, CUDNN_POINTWISE_MUL, s, scale, scores(d, CUDNN_DATA_FLOAT, false));
}

static void draft_forward(draft d)
{
    const key *k = d.key;
    part s = scaled_scores(d, rows(d, Q, k->heads, false), rows(d, K, k->kv_heads, true),
                           number(d, SCALE));
    s = masked(d, s);
    part top = column(d, 0), sum = column(d, 0), log_sum = column(d, 0);
    mr_cudnn_reduce(d.g, CUDNN_REDUCE_TENSOR_MAX, top, s);
    s = binary(d, CUDNN_POINTWISE_SUB, s, top, scores(d, CUDNN_DATA_FLOAT, false));
    s = binary(d, CUDNN_POINTWISE_EXP, s, NULL, scores(d, CUDNN_DATA_FLOAT, false));
    mr_cudnn_reduce(d.g, CUDNN_REDUCE_TENSOR_ADD, sum, s);
    binary(d, CUDNN_POINTWISE_LOG, sum, NULL, log_sum);
    binary(d, CUDNN_POINTWISE_ADD, top, log_sum, column(d, LSE));
    part p = binary(d, CUDNN_POINTWISE_DIV, s, sum, scores(d, CUDNN_DATA_BFLOAT16, false));
    mr_cudnn_matmul(d.g, p, rows(d, V, k->kv_heads, false), rows(d, O, k->heads, false));
}

/* [B, NH, T, HS] without memory. */
static part between(draft d, cudnnDataType_t type, int64_t heads)
{
    const key *k = d.key;
    return mr_cudnn_add_tensor(d.g,
                               (mr_cudnn_tensor){.type = type,
                                                 .extent = {k->batch, heads, k->tokens, k->size},
                                                 .stride = {heads * k->tokens * k->size,
                                                            k->tokens * k->size, k->size, 1}});
}

/* The gradient of keys or values: of each query head, then summed over those that share one. */
static void gradient_of_keys(draft d, part weights, part of, int64_t id)
{
    const key *k = d.key;
    part out = rows(d, id, k->kv_heads, false);
    if (k->kv_heads == k->heads) {
        mr_cudnn_matmul(d.g, weights, of, out);
        return;
    }
    part all = between(d, CUDNN_DATA_BFLOAT16, k->heads);
    mr_cudnn_matmul(d.g, weights, of, all);
    mr_cudnn_reduce(d.g, CUDNN_REDUCE_TENSOR_ADD, out, all);
}

static void draft_backward(draft d)
{
    const key *k = d.key;
    const cudnnDataType_t f32 = CUDNN_DATA_FLOAT, bf16 = CUDNN_DATA_BFLOAT16;
    part d_o = rows(d, D_O, k->heads, false), q = rows(d, Q, k->heads, false);
    part keys = rows(d, K, k->kv_heads, true), scale = number(d, SCALE);
    part product =
        binary(d, CUDNN_POINTWISE_MUL, d_o, rows(d, O, k->heads, false), between(d, f32, k->heads));
    part row_sum = column(d, 0), sum = column(d, SUM);
    mr_cudnn_reduce(d.g, CUDNN_REDUCE_TENSOR_ADD, row_sum, product);
    binary(d, CUDNN_POINTWISE_MUL, row_sum, number(d, ONE), sum);
    part p = scaled_scores(d, q, keys, scale);
    p = binary(d, CUDNN_POINTWISE_SUB, p, column(d, LSE), scores(d, f32, false));
    p = binary(d, CUDNN_POINTWISE_EXP, masked(d, p), NULL, scores(d, f32, false));
    part turned = scores(d, bf16, true);
    mr_cudnn_reshape(d.g, turned, p);
    gradient_of_keys(d, turned, d_o, D_V);
    part ds = scores(d, f32, false);
    mr_cudnn_matmul(d.g, d_o, rows(d, V, k->kv_heads, true), ds);
    ds = binary(d, CUDNN_POINTWISE_SUB, ds, sum, scores(d, f32, false));
    ds = binary(d, CUDNN_POINTWISE_MUL, ds, p, scores(d, f32, false));
    ds = binary(d, CUDNN_POINTWISE_MUL, ds, scale, scores(d, f32, false));
    turned = scores(d, bf16, true);
    mr_cudnn_reshape(d.g, turned, ds);
    gradient_of_keys(d, turned, q, D_K);
    const int64_t stride = k->stride[K];
    part key_rows = mr_cudnn_add_tensor(
        d.g, (mr_cudnn_tensor){.type = bf16,
                               .extent = {k->batch, k->kv_heads, k->tokens, k->size},
                               .stride = {k->tokens * stride, k->size, stride, 1}});
    mr_cudnn_reshape(d.g, key_rows, keys);
    mr_cudnn_matmul(d.g, ds, key_rows, rows(d, D_Q, k->heads, false));
}

mr_status mr_cuda_attention_create(mr_backend *be)
{
    mr_cuda *cu = mr_cuda_of(be);
    cu->attention = mr_alloc(MR_MEM_OTHER, sizeof *cu->attention);
    if (!cu->attention) return MR_ERR_MEMORY;
    cudnnStatus_t status = cudnnCreate(&cu->attention->handle);
    if (status == CUDNN_STATUS_SUCCESS) status = cudnnSetStream(cu->attention->handle, cu->stream);
    MR_CHECK(status == CUDNN_STATUS_SUCCESS, MR_ERR_MEMORY,
             "CUDA device %d: cannot start cuDNN: %s", cu->device, cudnnGetErrorString(status));
    return MR_OK;
}

void mr_cuda_attention_destroy(mr_backend *be)
{
    mr_cuda_attention *a = mr_cuda_of(be)->attention;
    if (!a) return;
    for (int i = 0; i < a->count; i++)
        mr_cudnn_forget(&a->plans[i].graph);
    if (a->handle) cudnnDestroy(a->handle);
    mr_free(a);
}

/* Rows that cuDNN takes: of BF16, each at a multiple of 16 bytes. */
static bool is_even(mr_tensor t)
{
    return !mr_tensor_exists(t) ||
           (t.dtype == MR_BF16 && t.stride % 8 == 0 && (uintptr_t)mr_cuda_at(t) % 16 == 0);
}

/* Whether cuDNN has engines for it. */
static bool is_taken(const mr_attention_args *a)
{
    enum { LEAST_TOKENS = 64, MOST_SIZE = 128 };
    const mr_tensor tensors[] = {a->q, a->k, a->v, a->o, a->d_o, a->d_q, a->d_k, a->d_v};
    bool even = a->shape.head_size % 8 == 0 && a->shape.head_size <= MOST_SIZE &&
                a->shape.tokens >= LEAST_TOKENS && mr_tensor_is_dense(a->lse);
    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++)
        even = even && is_even(tensors[i]);
    return even && !mr_tensor_exists(a->starts);
}

static key key_of(const mr_attention_args *a, bool backward)
{
    const mr_attention_shape *s = &a->shape;
    key k = {.backward = backward,
             .batch = s->batch,
             .tokens = s->tokens,
             .heads = s->heads,
             .kv_heads = s->kv_heads,
             .size = s->head_size};
    const mr_tensor tensors[] = {[Q] = a->q,     [K] = a->k,     [V] = a->v,     [O] = a->o,
                                 [D_O] = a->d_o, [D_Q] = a->d_q, [D_K] = a->d_k, [D_V] = a->d_v};
    for (int i = Q; i <= D_V; i++)
        if (i != LSE) k.stride[i] = tensors[i].stride;
    return k;
}

/* The plan of a shape; NULL where there is none. The first of more shapes than there is room for
 * stay, and so does what they are computed by. */
static const plan *plan_of(mr_backend *be, const key *k)
{
    mr_cuda_attention *a = mr_cuda_of(be)->attention;
    for (int i = 0; i < a->count; i++)
        if (memcmp(&a->plans[i].key, k, sizeof *k) == 0)
            return a->plans[i].graph.plan ? &a->plans[i] : NULL;
    if (a->count == PLANS) return NULL;
    plan *made = &a->plans[a->count++];
    *made = (plan){.key = *k, .graph = {.handle = a->handle}};
    draft d = {&made->graph, &made->key};
    (k->backward ? draft_backward : draft_forward)(d);
    if (!mr_cudnn_finish(&made->graph)) made->graph.plan = NULL;
    return made->graph.plan ? made : NULL;
}

bool mr_cuda_attention_library(mr_backend *be, const mr_attention_args *args, bool backward)
{
    enum { FORWARD = 7, BACKWARD = 13 };
    static const int64_t forward_ids[FORWARD] = {Q, K, V, O, LSE, SCALE, LOWEST};
    static const int64_t backward_ids[BACKWARD] = {Q,   K,   V,   O,   LSE, SCALE, LOWEST,
                                                   D_O, D_Q, D_K, D_V, SUM, ONE};
    if (!is_taken(args)) return false;
    key k = key_of(args, backward);
    const plan *p = plan_of(be, &k);
    if (!p) return false;
    float scale = 1.0f / sqrtf((float)k.size), lowest = -INFINITY, one = 1;
    size_t sums = (size_t)(k.batch * k.heads * k.tokens) * sizeof(float);
    sums = (sums + 255) / 256 * 256;
    char *scratch = mr_cuda_scratch(be, sums + (size_t)p->graph.workspace);
    if (!scratch) return true; /* the failure is noted */
    void *memory[BACKWARD] = {mr_cuda_at(args->q),
                              mr_cuda_at(args->k),
                              mr_cuda_at(args->v),
                              mr_cuda_at(args->o),
                              mr_cuda_at(args->lse),
                              &scale,
                              &lowest};
    if (backward) {
        memory[7] = mr_cuda_at(args->d_o);
        memory[8] = mr_cuda_at(args->d_q);
        memory[9] = mr_cuda_at(args->d_k);
        memory[10] = mr_cuda_at(args->d_v);
        memory[11] = scratch;
        memory[12] = &one;
    }
    cudnnStatus_t status =
        mr_cudnn_run(&p->graph, backward ? BACKWARD : FORWARD,
                     backward ? backward_ids : forward_ids, memory, scratch + sums);
    if (status != CUDNN_STATUS_SUCCESS)
        mr_cuda_note_failure(be, "attention", cudnnGetErrorString(status));
    return true;
}
