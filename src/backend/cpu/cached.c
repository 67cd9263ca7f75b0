/* Attention against pages of cached keys and values. Its products are those of product.c, so that a
 * row has the same bits whatever rows come with it and wherever the passes over its text begin and
 * end. */

#include "backend/cpu/cpu.h"
#include "backend/cpu/vector.h"

#include <math.h>

enum {
    PAGE = MR_CACHE_PAGE,
    BLOCK = MR_CPU_BLOCK, /* query rows at a time */
    PART = 128            /* columns of keys that are turned at a time */
};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Query rows on their way over the keys: tokens of one head, or heads of one token. */
typedef struct query_block {
    int64_t rows, size;
    mr_cpu_matrix q;
    float *o;
    int64_t o_stride;
    float *scores, *turned; /* scratch: [BLOCK, PAGE], [PART, PAGE] */
    int64_t head, group; /* rows are heads from `head` on, `group` of which share keys; 0: tokens */
    float largest[BLOCK];
    double denominator[BLOCK];
} query_block;

static query_block begin_block(const mr_cached_attention_args *args, int64_t rows, int64_t row,
                               int64_t head, float *scratch)
{
    const int64_t size = args->shape.head_size;
    query_block b = {
        .rows = rows,
        .size = size,
        .q = {mr_cpu_f32(args->q) + row * args->q.stride + head * size, args->q.stride},
        .o = mr_cpu_f32(args->o) + row * args->o.stride + head * size,
        .o_stride = args->o.stride,
        .scores = scratch,
        .turned = scratch + BLOCK * PAGE,
    };
    for (int64_t i = 0; i < rows; i++) {
        b.largest[i] = -INFINITY;
        b.denominator[i] = 0;
    }
    return b;
}

/* The keys or values of row i, where rows are heads. */
static mr_cpu_matrix of_head(const query_block *b, mr_cpu_matrix m, int64_t i)
{
    return (mr_cpu_matrix){m.at + ((b->head + i) / b->group - b->head / b->group) * b->size,
                           m.stride};
}

/* By dot products: turning the keys costs more than one row of them. */
static void score_heads(const query_block *b, mr_cpu_matrix keys, int64_t count, float scale)
{
    for (int64_t i = 0; i < b->rows; i++) {
        const float *q = b->q.at + i * b->q.stride;
        const mr_cpu_matrix k = of_head(b, keys, i);
        for (int64_t t = 0; t < count; t++) {
            const float *kt = k.at + t * k.stride;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t j = 0; j < b->size; j++)
                sum += q[j] * kt[j];
            b->scores[i * PAGE + t] = sum * scale;
        }
    }
}

static void add_values(const query_block *b, mr_cpu_matrix values, int64_t count, bool first)
{
    for (int64_t i = 0; i < b->rows; i++) {
        const mr_cpu_matrix v = of_head(b, values, i);
        float *oi = b->o + i * b->o_stride;
        for (int64_t j = 0; first && j < b->size; j++)
            oi[j] = 0;
        for (int64_t t = 0; t < count; t++) {
            const float weight = b->scores[i * PAGE + t];
            const float *vt = v.at + t * v.stride;
#pragma omp simd
            for (int64_t j = 0; j < b->size; j++)
                oi[j] = mr_multiply_add(weight, vt[j], oi[j]);
        }
    }
}

static void score_tokens(const query_block *b, mr_cpu_matrix k, int64_t count, float scale)
{
    for (int64_t from = 0; from < b->size; from += PART) {
        const int64_t part = smaller(PART, b->size - from);
        for (int64_t i = 0; i < count; i++)
            for (int64_t j = 0; j < part; j++)
                b->turned[j * PAGE + i] = k.at[i * k.stride + from + j];
        mr_cpu_product(b->rows, count, part, from + part < b->size ? 1 : scale,
                       (mr_cpu_matrix){b->q.at + from, b->q.stride},
                       (mr_cpu_matrix){b->turned, PAGE}, b->scores, PAGE, from > 0);
    }
}

/* Adds the first `count` keys of a page to what each row has seen. Token i sees those up to and
 * with number `diagonal` + i, a head all. */
static void see_page(query_block *b, mr_cpu_matrix k, mr_cpu_matrix v, int64_t count,
                     int64_t diagonal, bool first)
{
    const float scale = 1.0f / sqrtf((float)b->size);
    if (b->group)
        score_heads(b, k, count, scale);
    else
        score_tokens(b, k, count, scale);
    for (int64_t i = 0; i < b->rows; i++) {
        const int64_t seen = b->group ? count : smaller(count, diagonal + i + 1);
        float factor = mr_cpu_softmax_row(b->scores + i * PAGE, 0, seen, count, &b->largest[i],
                                          &b->denominator[i]);
        float *oi = b->o + i * b->o_stride;
        for (int64_t j = 0; !first && j < b->size; j++)
            oi[j] *= factor;
    }
    if (b->group)
        add_values(b, v, count, first);
    else
        mr_cpu_product(b->rows, b->size, count, 1, (mr_cpu_matrix){b->scores, PAGE}, v, b->o,
                       b->o_stride, !first);
}

/* Takes a block over the keys of a sequence: token i of it sees positions up to diagonal + i. */
static void attend(query_block *b, const mr_cached_attention_args *args, int64_t sequence,
                   int64_t head, int64_t diagonal)
{
    const mr_attention_shape *s = &args->shape;
    const int32_t *pages = mr_cpu_i32(args->pages) + sequence * args->pages.stride;
    const int64_t kv_col = head / (s->heads / s->kv_heads) * s->head_size;
    const int64_t end = diagonal + (b->group ? 1 : b->rows);
    for (int64_t from = 0; from < end; from += PAGE) {
        const int64_t at = (int64_t)pages[from / PAGE] * PAGE;
        see_page(
            b, (mr_cpu_matrix){mr_cpu_f32(args->k) + at * args->k.stride + kv_col, args->k.stride},
            (mr_cpu_matrix){mr_cpu_f32(args->v) + at * args->v.stride + kv_col, args->v.stride},
            smaller(PAGE, end - from), diagonal - from, from == 0);
    }
    for (int64_t i = 0; i < b->rows; i++) {
        const float inverse = (float)(1.0 / b->denominator[i]);
        float *oi = b->o + i * b->o_stride;
        for (int64_t j = 0; j < b->size; j++)
            oi[j] *= inverse;
    }
}

/* What a thread is given: a block of tokens of one head, or of a sequence with one new token
 * `heads` heads, page by page: memory is read as it lies. */
static void attend_block(const mr_cached_attention_args *args, int64_t sequence, int64_t head,
                         int64_t first, int64_t heads, float *scratch)
{
    const mr_attention_shape *s = &args->shape;
    const int32_t *offsets = mr_cpu_i32(args->offsets) + sequence;
    const int64_t all = offsets[1] - offsets[0], row = offsets[0] + first;
    const int64_t diagonal = mr_cpu_i32(args->lengths)[sequence] - all + first;
    if (first >= all || (all == 1 && head % heads != 0)) return;
    query_block b =
        begin_block(args, all == 1 ? smaller(heads, s->heads - head) : smaller(BLOCK, all - first),
                    row, head, scratch);
    if (all == 1) {
        b.head = head;
        b.group = s->heads / s->kv_heads;
        b.q.stride = b.o_stride = s->head_size;
    }
    attend(&b, args, sequence, head, diagonal);
}

/* Heads of a token at a time: all, unless threads would be without work. */
static int64_t heads_at_once(const mr_attention_shape *s, int threads)
{
    const int64_t parts = s->batch >= 4 * (int64_t)threads ? 1 : threads;
    return smaller(BLOCK, (s->heads + parts - 1) / parts);
}

void mr_cpu_attention_cached(mr_backend *be, const mr_cached_attention_args *args)
{
    const mr_attention_shape *s = &args->shape;
    const int32_t *offsets = mr_cpu_i32(args->offsets);
    int64_t most = 1;
    for (int64_t b = 0; b < s->batch; b++)
        if (offsets[b + 1] - offsets[b] > most) most = offsets[b + 1] - offsets[b];
    const int64_t blocks = (most + BLOCK - 1) / BLOCK, tasks = s->batch * s->heads * blocks;
    const int threads =
        mr_cpu_threads(be, offsets[s->batch] * s->heads * s->head_size * args->pages.cols * PAGE);
    const int64_t heads = heads_at_once(s, threads);
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (int64_t task = 0; task < tasks; task++)
        attend_block(args, task / blocks / s->heads, task / blocks % s->heads,
                     (blocks - 1 - task % blocks) * BLOCK, heads, mr_cpu_scratch(be));
}
