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

/* Turns the scores of one row into exp(score - largest) in place, zero behind `valid`; updates the
 * running maximum and denominator and returns the factor for what was summed before. */
static float softmax_row(float *score, int64_t valid, int64_t count, float *largest,
                         double *denominator)
{
    float top = *largest;
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < valid; j++)
        top = score[j] > top ? score[j] : top;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < valid; j++) {
        float e = mr_expf(score[j] - top);
        score[j] = e;
        sum += e;
    }
    for (int64_t j = valid; j < count; j++)
        score[j] = 0;
    float factor = mr_expf(*largest - top);
    *denominator = *denominator * (double)factor + (double)sum;
    *largest = top;
    return factor;
}

/* One block of query rows of one head against all key blocks up to it. */
static void forward_block(const mr_attention_args *args, int64_t sequence, int64_t head,
                          int64_t first, float *scores)
{
    const mr_attention_shape *s = &args->shape;
    int64_t size = s->head_size, kv_head = head / (s->heads / s->kv_heads);
    int64_t row = sequence * s->tokens;
    int64_t rows = smaller(BLOCK, s->tokens - first);
    const float *q = mr_cpu_f32(args->q) + (row + first) * args->q.stride + head * size;
    float *o = mr_cpu_f32(args->o) + (row + first) * args->o.stride + head * size;
    const float scale = 1.0f / sqrtf((float)size);
    float largest[BLOCK];
    double denominator[BLOCK];
    for (int64_t i = 0; i < rows; i++) {
        largest[i] = -INFINITY;
        denominator[i] = 0;
    }
    for (int64_t from = 0; from <= first; from += BLOCK) {
        int64_t keys = smaller(BLOCK, s->tokens - from);
        const float *k = mr_cpu_f32(args->k) + (row + from) * args->k.stride + kv_head * size;
        const float *v = mr_cpu_f32(args->v) + (row + from) * args->v.stride + kv_head * size;
        mr_cpu_sgemm(false, true, rows, keys, size, scale, q, args->q.stride, k, args->k.stride, 0,
                     scores, keys);
        for (int64_t i = 0; i < rows; i++) {
            int64_t valid = smaller(keys, first + i - from + 1);
            float factor =
                softmax_row(scores + i * keys, valid, keys, &largest[i], &denominator[i]);
            if (from == 0) continue;
            float *oi = o + i * args->o.stride;
            for (int64_t j = 0; j < size; j++)
                oi[j] *= factor;
        }
        mr_cpu_sgemm(false, false, rows, size, keys, 1, scores, keys, v, args->v.stride,
                     from == 0 ? 0.0f : 1.0f, o, args->o.stride);
    }
    float *lse = mr_cpu_f32(args->lse) + (sequence * s->heads + head) * args->lse.stride + first;
    for (int64_t i = 0; i < rows; i++) {
        float inverse = (float)(1.0 / denominator[i]);
        float *oi = o + i * args->o.stride;
        for (int64_t j = 0; j < size; j++)
            oi[j] *= inverse;
        lse[i] = (float)((double)largest[i] + log(denominator[i]));
    }
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
                                   int64_t diagonal, const float *lse, const float *delta,
                                   float scale)
{
    for (int64_t i = 0; i < rows; i++) {
        int64_t valid = smaller(keys, diagonal + i + 1);
        float *si = scores + i * keys, *di = dp + i * keys;
        float li = lse[i], deltai = delta[i];
#pragma omp simd
        for (int64_t j = 0; j < valid; j++) {
            float p = mr_expf(si[j] - li);
            si[j] = p * (di[j] - deltai) * scale;
            di[j] = p;
        }
        for (int64_t j = valid; j < keys; j++)
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
    for (int64_t first = 0; first < s->tokens; first += BLOCK) {
        int64_t rows = smaller(BLOCK, s->tokens - first);
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
        for (int64_t from = 0; from <= first; from += BLOCK) {
            int64_t keys = smaller(BLOCK, s->tokens - from), at = row + from;
            const float *k = mr_cpu_f32(args->k) + at * args->k.stride + kv_col;
            const float *v = mr_cpu_f32(args->v) + at * args->v.stride + kv_col;
            float *d_k = mr_cpu_f32(args->d_k) + at * args->d_k.stride + kv_col;
            float *d_v = mr_cpu_f32(args->d_v) + at * args->d_v.stride + kv_col;
            mr_cpu_sgemm(false, true, rows, keys, size, scale, q, args->q.stride, k, args->k.stride,
                         0, scores, keys);
            mr_cpu_sgemm(false, true, rows, keys, size, 1, d_o, args->d_o.stride, v, args->v.stride,
                         0, dp, keys);
            backward_probabilities(scores, dp, rows, keys, first - from, lse + first, delta, scale);
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

/* One new query of one head against the cached positions of its sequence. */
static void decode_head(const mr_decode_args *args, int64_t sequence, int64_t head, float *scores)
{
    const mr_attention_shape *s = &args->shape;
    int64_t size = s->head_size, kv_col = head / (s->heads / s->kv_heads) * size;
    int64_t length = mr_cpu_i32(args->lengths)[sequence];
    const float *q = mr_cpu_f32(args->q) + sequence * args->q.stride + head * size;
    float *o = mr_cpu_f32(args->o) + sequence * args->o.stride + head * size;
    const float scale = 1.0f / sqrtf((float)size);
    float largest = -INFINITY;
    double denominator = 0;
    memset(o, 0, (size_t)size * sizeof *o);
    for (int64_t from = 0; from < length; from += MR_CPU_SCRATCH) {
        int64_t keys = smaller(MR_CPU_SCRATCH, length - from);
        int64_t row = sequence * args->capacity + from;
        const float *k = mr_cpu_f32(args->k) + row * args->k.stride + kv_col;
        const float *v = mr_cpu_f32(args->v) + row * args->v.stride + kv_col;
        for (int64_t i = 0; i < keys; i++) {
            const float *ki = k + i * args->k.stride;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t j = 0; j < size; j++)
                sum += q[j] * ki[j];
            scores[i] = sum * scale;
        }
        float factor = softmax_row(scores, keys, keys, &largest, &denominator);
        for (int64_t j = 0; j < size; j++)
            o[j] *= factor;
        for (int64_t i = 0; i < keys; i++) {
            const float *vi = v + i * args->v.stride;
            for (int64_t j = 0; j < size; j++)
                o[j] += scores[i] * vi[j];
        }
    }
    float inverse = (float)(1.0 / denominator);
    for (int64_t j = 0; j < size; j++)
        o[j] *= inverse;
}

void mr_cpu_attention_decode(mr_backend *be, const mr_decode_args *args)
{
    const mr_attention_shape *s = &args->shape;
    int threads = mr_cpu_threads(be, s->batch * s->heads * s->head_size * args->capacity);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t task = 0; task < s->batch * s->heads; task++)
        decode_head(args, task / s->heads, task % s->heads, mr_cpu_scratch(be));
}
