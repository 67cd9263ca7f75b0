#include "backend/cpu/cpu.h"
#include "backend/cpu/vector.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

enum { BLOCK = MR_CPU_BLOCK };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

float mr_cpu_softmax_row(float *score, int64_t from, int64_t to, int64_t count, float *largest,
                         double *denominator)
{
    if (from >= to) {
        memset(score, 0, (size_t)count * sizeof *score);
        return 1;
    }
    float top = *largest;
#pragma omp simd reduction(max : top)
    for (int64_t j = from; j < to; j++)
        top = score[j] > top ? score[j] : top;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = from; j < to; j++) {
        float e = mr_expf(score[j] - top);
        score[j] = e;
        sum += e;
    }
    for (int64_t j = 0; j < from; j++)
        score[j] = 0;
    for (int64_t j = to; j < count; j++)
        score[j] = 0;
    float factor = mr_expf(*largest - top);
    *denominator = *denominator * (double)factor + (double)sum;
    *largest = top;
    return factor;
}

/* Query rows of one head on their way over the keys. */
typedef struct query_block {
    int64_t rows, size;
    const float *q;
    float *o;
    int64_t q_stride, o_stride;
    float *scores; /* scratch */
    bool begun;    /* some keys have been seen: o holds a sum */
    float largest[BLOCK];
    double denominator[BLOCK];
} query_block;

/* Keys and values of one head, one after another. */
typedef struct key_run {
    const float *k, *v;
    int64_t k_stride, v_stride;
    int64_t count;
} key_run;

static key_run keys_of(mr_tensor k, mr_tensor v, int64_t row, int64_t col, int64_t count)
{
    return (key_run){.k = mr_cpu_f32(k) + row * k.stride + col,
                     .v = mr_cpu_f32(v) + row * v.stride + col,
                     .k_stride = k.stride,
                     .v_stride = v.stride,
                     .count = count};
}

static void begin_block(query_block *b)
{
    b->begun = false;
    for (int64_t i = 0; i < b->rows; i++) {
        b->largest[i] = -INFINITY;
        b->denominator[i] = 0;
    }
}

/* Adds keys, as many as the scratch takes, to what each row has seen. Row i sees those up to and
 * with number `diagonal` + i and, where there are starts, from number starts[i] - origin on. */
static void see_keys(query_block *b, key_run keys, int64_t diagonal, const int32_t *starts,
                     int64_t origin)
{
    const float scale = 1.0f / sqrtf((float)b->size);
    mr_cpu_sgemm(false, true, b->rows, keys.count, b->size, scale, b->q, b->q_stride, keys.k,
                 keys.k_stride, 0, b->scores, keys.count);
    for (int64_t i = 0; i < b->rows; i++) {
        int64_t from = starts ? larger(starts[i] - origin, 0) : 0;
        int64_t to = smaller(keys.count, diagonal + i + 1);
        float factor = mr_cpu_softmax_row(b->scores + i * keys.count, from, to, keys.count,
                                          &b->largest[i], &b->denominator[i]);
        if (!b->begun) continue;
        float *oi = b->o + i * b->o_stride;
        for (int64_t j = 0; j < b->size; j++)
            oi[j] *= factor;
    }
    mr_cpu_sgemm(false, false, b->rows, b->size, keys.count, 1, b->scores, keys.count, keys.v,
                 keys.v_stride, b->begun ? 1.0f : 0.0f, b->o, b->o_stride);
    b->begun = true;
}

static void finish_block(const query_block *b)
{
    for (int64_t i = 0; i < b->rows; i++) {
        float inverse = (float)(1.0 / b->denominator[i]);
        float *oi = b->o + i * b->o_stride;
        for (int64_t j = 0; j < b->size; j++)
            oi[j] *= inverse;
    }
}

/* Where the rows of a sequence start their segments; NULL where it is one. */
static const int32_t *starts_of(const mr_attention_args *args, int64_t sequence)
{
    if (!mr_tensor_exists(args->starts)) return NULL;
    return mr_cpu_i32(args->starts) + sequence * args->shape.tokens;
}

/* One block of query rows of one head against the keys from its first segment on. */
static void forward_block(const mr_attention_args *args, int64_t sequence, int64_t head,
                          int64_t first, float *scores)
{
    const mr_attention_shape *s = &args->shape;
    int64_t size = s->head_size, kv_col = head / (s->heads / s->kv_heads) * size;
    int64_t row = sequence * s->tokens, end = smaller(first + BLOCK, s->tokens);
    const int32_t *starts = starts_of(args, sequence);
    query_block b = {.rows = end - first,
                     .size = size,
                     .q = mr_cpu_f32(args->q) + (row + first) * args->q.stride + head * size,
                     .o = mr_cpu_f32(args->o) + (row + first) * args->o.stride + head * size,
                     .q_stride = args->q.stride,
                     .o_stride = args->o.stride,
                     .scores = scores};
    begin_block(&b);
    for (int64_t from = starts ? starts[first] : 0; from < end; from += BLOCK) {
        int64_t count = smaller(BLOCK, end - from);
        see_keys(&b, keys_of(args->k, args->v, row + from, kv_col, count), first - from,
                 starts ? starts + first : NULL, from);
    }
    finish_block(&b);
    float *lse = mr_cpu_f32(args->lse) + (sequence * s->heads + head) * args->lse.stride + first;
    for (int64_t i = 0; i < b.rows; i++)
        lse[i] = (float)((double)b.largest[i] + log(b.denominator[i]));
}

void mr_cpu_attention_forward(mr_backend *be, const mr_attention_args *args)
{
    const mr_attention_shape *s = &args->shape;
    int64_t blocks = (s->tokens + BLOCK - 1) / BLOCK;
    int64_t tasks = s->batch * s->heads * blocks;
    int threads = mr_cpu_threads(be, s->batch * s->heads * s->tokens * s->tokens);
    /* Dynamic: later blocks of a sequence see more keys. No result depends on who computes it. */
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t task = 0; task < tasks; task++)
        forward_block(args, task / blocks / s->heads, task / blocks % s->heads,
                      (blocks - 1 - task % blocks) * BLOCK, mr_cpu_scratch(be));
}

static void zero_rows(mr_tensor t, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    float *p = mr_cpu_f32(t) + row * t.stride + col;
    for (int64_t i = 0; i < rows; i++)
        memset(p + i * t.stride, 0, (size_t)cols * sizeof *p);
}

/* Turns scores into dS = P (dP - delta) scale and dP's place into P, one block of one head. */
static void backward_probabilities(float *scores, float *dp, int64_t rows, int64_t keys,
                                   int64_t diagonal, const int32_t *starts, int64_t origin,
                                   const float *lse, const float *delta, float scale)
{
    for (int64_t i = 0; i < rows; i++) {
        int64_t from = starts ? larger(starts[i] - origin, 0) : 0;
        int64_t to = larger(smaller(keys, diagonal + i + 1), from);
        float *si = scores + i * keys, *di = dp + i * keys;
        float li = lse[i], deltai = delta[i];
#pragma omp simd
        for (int64_t j = from; j < to; j++) {
            float p = mr_expf(si[j] - li);
            si[j] = p * (di[j] - deltai) * scale;
            di[j] = p;
        }
        for (int64_t j = 0; j < smaller(from, keys); j++)
            si[j] = di[j] = 0;
        for (int64_t j = to; j < keys; j++)
            si[j] = di[j] = 0;
    }
}

/* All blocks of one query head; adds into the head's rows of d_k and d_v. */
static void backward_head(const mr_attention_args *args, int64_t sequence, int64_t head,
                          float *scratch)
{
    const mr_attention_shape *s = &args->shape;
    int64_t size = s->head_size, kv_col = head / (s->heads / s->kv_heads) * size;
    int64_t row = sequence * s->tokens, col = head * size;
    const float scale = 1.0f / sqrtf((float)size);
    float *scores = scratch, *dp = scratch + (ptrdiff_t)BLOCK * BLOCK;
    zero_rows(args->d_q, row, s->tokens, col, size);
    const float *lse = mr_cpu_f32(args->lse) + (sequence * s->heads + head) * args->lse.stride;
    const int32_t *starts = starts_of(args, sequence);
    for (int64_t first = 0; first < s->tokens; first += BLOCK) {
        int64_t end = smaller(first + BLOCK, s->tokens), rows = end - first;
        const float *q = mr_cpu_f32(args->q) + (row + first) * args->q.stride + col;
        const float *o = mr_cpu_f32(args->o) + (row + first) * args->o.stride + col;
        const float *d_o = mr_cpu_f32(args->d_o) + (row + first) * args->d_o.stride + col;
        float *d_q = mr_cpu_f32(args->d_q) + (row + first) * args->d_q.stride + col;
        float delta[BLOCK]; /* sum over keys of P dP, which equals dO . O */
        for (int64_t i = 0; i < rows; i++) {
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t j = 0; j < size; j++)
                sum += d_o[i * args->d_o.stride + j] * o[i * args->o.stride + j];
            delta[i] = sum;
        }
        for (int64_t from = starts ? starts[first] : 0; from < end; from += BLOCK) {
            int64_t keys = smaller(BLOCK, end - from), at = row + from;
            const float *k = mr_cpu_f32(args->k) + at * args->k.stride + kv_col;
            const float *v = mr_cpu_f32(args->v) + at * args->v.stride + kv_col;
            float *d_k = mr_cpu_f32(args->d_k) + at * args->d_k.stride + kv_col;
            float *d_v = mr_cpu_f32(args->d_v) + at * args->d_v.stride + kv_col;
            mr_cpu_sgemm(false, true, rows, keys, size, scale, q, args->q.stride, k, args->k.stride,
                         0, scores, keys);
            mr_cpu_sgemm(false, true, rows, keys, size, 1, d_o, args->d_o.stride, v, args->v.stride,
                         0, dp, keys);
            backward_probabilities(scores, dp, rows, keys, first - from,
                                   starts ? starts + first : NULL, from, lse + first, delta, scale);
            mr_cpu_sgemm(true, false, keys, size, rows, 1, dp, keys, d_o, args->d_o.stride, 1, d_v,
                         args->d_v.stride);
            mr_cpu_sgemm(true, false, keys, size, rows, 1, scores, keys, q, args->q.stride, 1, d_k,
                         args->d_k.stride);
            mr_cpu_sgemm(false, false, rows, size, keys, 1, scores, keys, k, args->k.stride, 1, d_q,
                         args->d_q.stride);
        }
    }
}

void mr_cpu_attention_backward(mr_backend *be, const mr_attention_args *args)
{
    const mr_attention_shape *s = &args->shape;
    int64_t group = s->heads / s->kv_heads;
    int threads = mr_cpu_threads(be, s->batch * s->heads * s->tokens * s->tokens);
    /* One task a key/value head: its query heads add into the same d_k, d_v in a fixed order. */
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t task = 0; task < s->batch * s->kv_heads; task++) {
        int64_t sequence = task / s->kv_heads, kv_head = task % s->kv_heads;
        zero_rows(args->d_k, sequence * s->tokens, s->tokens, kv_head * s->head_size, s->head_size);
        zero_rows(args->d_v, sequence * s->tokens, s->tokens, kv_head * s->head_size, s->head_size);
        for (int64_t g = 0; g < group; g++)
            backward_head(args, sequence, kv_head * group + g, mr_cpu_scratch(be));
    }
}
