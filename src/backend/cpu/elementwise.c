#include "backend/cpu/cpu.h"
#include "backend/cpu/vector.h"
#include "backend/optimizer.h"
#include "base/hash.h"

#include <math.h>
#include <string.h>

void mr_cpu_fill(mr_backend *be, mr_tensor t, float value)
{
    float *p = mr_cpu_f32(t);
#pragma omp parallel for num_threads(mr_cpu_threads(be, t.rows *t.cols))
    for (int64_t i = 0; i < t.rows; i++)
        for (int64_t j = 0; j < t.cols; j++)
            p[i * t.stride + j] = value;
}

void mr_cpu_copy(mr_backend *be, mr_tensor dst, mr_tensor src)
{
    size_t size = mr_dtype_size(dst.dtype);
    char *to = (char *)dst.buffer->data + (size_t)dst.offset * size;
    const char *from = (const char *)src.buffer->data + (size_t)src.offset * size;
#pragma omp parallel for num_threads(mr_cpu_threads(be, dst.rows *dst.cols))
    for (int64_t i = 0; i < dst.rows; i++)
        memcpy(to + (size_t)(i * dst.stride) * size, from + (size_t)(i * src.stride) * size,
               (size_t)dst.cols * size);
}

static float element(mr_tensor t, int64_t i)
{
    return t.dtype == MR_BF16 ? mr_cpu_of_bf16(((const uint16_t *)t.buffer->data)[i])
                              : ((const float *)t.buffer->data)[i];
}

void mr_cpu_convert(mr_backend *be, mr_tensor dst, mr_tensor src)
{
#pragma omp parallel for num_threads(mr_cpu_threads(be, dst.rows *dst.cols))
    for (int64_t i = 0; i < dst.rows; i++)
        for (int64_t j = 0; j < dst.cols; j++) {
            int64_t to = dst.offset + i * dst.stride + j;
            float value = element(src, src.offset + i * src.stride + j);
            if (dst.dtype == MR_BF16)
                ((uint16_t *)dst.buffer->data)[to] = mr_cpu_bf16(value);
            else
                ((float *)dst.buffer->data)[to] = value;
        }
}

void mr_cpu_add(mr_backend *be, mr_tensor y, mr_tensor x)
{
    float *py = mr_cpu_f32(y);
    const float *px = mr_cpu_f32(x);
    /* A long vector is one row: it is cut in runs instead. */
    if (y.rows == 1) {
#pragma omp parallel for simd num_threads(mr_cpu_threads(be, y.cols))
        for (int64_t j = 0; j < y.cols; j++)
            py[j] += px[j];
        return;
    }
#pragma omp parallel for num_threads(mr_cpu_threads(be, y.rows *y.cols))
    for (int64_t i = 0; i < y.rows; i++)
        for (int64_t j = 0; j < y.cols; j++)
            py[i * y.stride + j] += px[i * x.stride + j];
}

void mr_cpu_dropout(mr_backend *be, mr_tensor y, mr_tensor x, float beta, double p,
                    mr_random stream, int64_t first_row)
{
    const uint32_t threshold = (uint32_t)(p * 0x1p32);
    const float scale = (float)(1.0 / (1.0 - p));
    float *py = mr_cpu_f32(y);
    const float *px = mr_cpu_f32(x);
#pragma omp parallel for num_threads(mr_cpu_threads(be, y.rows *y.cols))
    for (int64_t i = 0; i < y.rows; i++) {
        uint64_t index = (uint64_t)((first_row + i) * y.cols);
        uint32_t bits[4];
        for (int64_t j = 0; j < y.cols; j++, index++) {
            if (j == 0 || index % 4 == 0) mr_random_block(&stream, index / 4, bits);
            float kept = bits[index % 4] >= threshold ? px[i * x.stride + j] * scale : 0.0f;
            float *at = &py[i * y.stride + j];
            *at = beta != 0 ? *at + kept : kept;
        }
    }
}

/* The sum of a run of elements of rows first..first+count-1, count a power of two, into sum; deeper
 * sums stand behind it. */
static void sum_rows(float *sum, const float *rows, int64_t stride, int64_t count, int64_t run)
{
    enum { RUN = MR_SQUARE_RUN };
    const float *left = rows, *right = rows + stride;
    if (count == 1) {
        memcpy(sum, rows, (size_t)run * sizeof *sum);
        return;
    }
    if (count > 2) {
        sum_rows(sum, rows, stride, count / 2, run);
        sum_rows(sum + RUN, rows + count / 2 * stride, stride, count / 2, run);
        left = sum;
        right = sum + RUN;
    }
    for (int64_t j = 0; j < run; j++)
        sum[j] = left[j] + right[j];
}

/* Of any number of rows: the largest power of two below it, then the rest likewise. */
static void sum_any_rows(float *sum, const float *rows, int64_t stride, int64_t count, int64_t run)
{
    enum { RUN = MR_SQUARE_RUN };
    int64_t power = 1;
    while (2 * power <= count)
        power *= 2;
    sum_rows(sum, rows, stride, power, run);
    if (power == count) return;
    sum_any_rows(sum + RUN, rows + power * stride, stride, count - power, run);
    for (int64_t j = 0; j < run; j++)
        sum[j] += sum[RUN + j];
}

void mr_cpu_sum_pieces(mr_backend *be, mr_tensor y, mr_tensor pieces)
{
    enum { RUN = MR_SQUARE_RUN };
    int64_t n = y.cols, count = pieces.rows;
    float *py = mr_cpu_f32(y);
    const float *pp = mr_cpu_f32(pieces);
    /* Sums stand one behind the other, no more than two a halving. */
    MR_INVARIANT(count < (int64_t)1 << (MR_CPU_SCRATCH / RUN / 2));
#pragma omp parallel for num_threads(mr_cpu_threads(be, n *count))
    for (int64_t first = 0; first < n; first += RUN) {
        int64_t run = n - first < RUN ? n - first : RUN;
        float *sum = mr_cpu_scratch(be);
        sum_any_rows(sum, pp + first, pieces.stride, count, run);
        memcpy(py + first, sum, (size_t)run * sizeof *py);
    }
}

void mr_cpu_square_sums(mr_backend *be, mr_tensor out, mr_tensor x)
{
    enum { RUN = MR_SQUARE_RUN };
    int64_t n = mr_tensor_count(x);
    const float *px = mr_cpu_f32(x);
    double *sums = mr_cpu_f64(out);
#pragma omp parallel for num_threads(mr_cpu_threads(be, n))
    for (int64_t i = 0; i < out.cols; i++) {
        int64_t first = i * RUN, last = first + RUN < n ? first + RUN : n;
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = first; j < last; j++)
            sum += (double)px[j] * (double)px[j];
        sums[i] = sum;
    }
}

void mr_cpu_exact_sum(mr_backend *be, mr_tensor out, mr_tensor x)
{
    const double *px = mr_cpu_f64(x);
    const int64_t n = mr_tensor_count(x);
    mr_exact all = {0};
#pragma omp parallel num_threads(mr_cpu_threads(be, n))
    {
        mr_exact part = {0};
#pragma omp for nowait
        for (int64_t i = 0; i < n; i++)
            mr_exact_add(&part, px[i]);
#pragma omp critical
        mr_exact_merge(&all, &part);
    }
    memcpy(mr_cpu_i32(out), &all, sizeof all);
}

void mr_cpu_count_nonzero(mr_backend *be, mr_tensor out, mr_tensor x)
{
    int64_t n = mr_tensor_count(x), count = 0;
    const float *px = mr_cpu_f32(x);
#pragma omp parallel for simd reduction(+ : count) num_threads(mr_cpu_threads(be, n))
    for (int64_t i = 0; i < n; i++)
        count += px[i] < 0 || px[i] > 0;
    *mr_cpu_f64(out) = (double)count;
}

void mr_cpu_normal(mr_backend *be, mr_tensor x, mr_random stream, int64_t first, double scale)
{
#pragma omp parallel for num_threads(mr_cpu_threads(be, x.cols))
    for (int64_t i = 0; i < x.cols; i++) {
        const float value = (float)(scale * mr_random_normal(&stream, (uint64_t)(first + i)));
        if (x.dtype == MR_BF16)
            ((uint16_t *)x.buffer->data)[x.offset + i] = mr_cpu_bf16(value);
        else
            mr_cpu_f32(x)[i] = value;
    }
}

void mr_cpu_digest(mr_backend *be, mr_tensor out, mr_tensor x, uint64_t place)
{
    const int shift = x.dtype == MR_BF16 ? 16 : 0; /* its bits are the upper ones of F32 */
    size_t size = mr_dtype_size(x.dtype);
    const char *data = (const char *)x.buffer->data + (size_t)x.offset * size;
    uint64_t sum = 0;
#pragma omp parallel for reduction(+ : sum) num_threads(mr_cpu_threads(be, mr_tensor_count(x)))
    for (int64_t i = 0; i < mr_tensor_count(x); i++) {
        uint64_t bits = 0;
        memcpy(&bits, data + (size_t)i * size, size); /* the low bytes: hosts are little-endian */
        sum += mr_hash_mix((bits << shift) + (place + (uint64_t)i) * 0x9e3779b97f4a7c15u);
    }
    mr_cpu_i32(out)[0] = (int32_t)(uint32_t)sum;
    mr_cpu_i32(out)[1] = (int32_t)(uint32_t)(sum >> 32);
}

void mr_cpu_swiglu_forward(mr_backend *be, mr_tensor y, mr_tensor gate, mr_tensor up)
{
    float *py = mr_cpu_f32(y);
    const float *pg = mr_cpu_f32(gate), *pu = mr_cpu_f32(up);
#pragma omp parallel for num_threads(mr_cpu_threads(be, y.rows *y.cols))
    for (int64_t i = 0; i < y.rows; i++) {
        float *yi = py + i * y.stride;
        const float *gi = pg + i * gate.stride, *ui = pu + i * up.stride;
#pragma omp simd
        for (int64_t j = 0; j < y.cols; j++)
            yi[j] = gi[j] / (1.0f + mr_expf(-gi[j])) * ui[j];
    }
}

void mr_cpu_swiglu_backward(mr_backend *be, mr_tensor dgate, mr_tensor dup, mr_tensor dy,
                            mr_tensor gate, mr_tensor up)
{
    float *pdg = mr_cpu_f32(dgate), *pdu = mr_cpu_f32(dup);
    const float *pdy = mr_cpu_f32(dy), *pg = mr_cpu_f32(gate), *pu = mr_cpu_f32(up);
#pragma omp parallel for num_threads(mr_cpu_threads(be, dy.rows *dy.cols))
    for (int64_t i = 0; i < dy.rows; i++) {
        float *dg = pdg + i * dgate.stride, *du = pdu + i * dup.stride;
        const float *d = pdy + i * dy.stride, *g = pg + i * gate.stride, *u = pu + i * up.stride;
        /* silu'(g) = s (1 + g (1 - s)), s the logistic function. */
#pragma omp simd
        for (int64_t j = 0; j < dy.cols; j++) {
            float gj = g[j], uj = u[j], dj = d[j];
            float s = 1.0f / (1.0f + mr_expf(-gj));
            du[j] = dj * gj * s;
            dg[j] = dj * uj * s * (1.0f + gj * (1.0f - s));
        }
    }
}

void mr_cpu_gather_rows(mr_backend *be, mr_tensor y, mr_tensor w, mr_tensor ids)
{
    const int32_t *id = mr_cpu_i32(ids);
    float *py = mr_cpu_f32(y);
    const float *pw = mr_cpu_f32(w);
#pragma omp parallel for num_threads(mr_cpu_threads(be, y.rows *y.cols))
    for (int64_t i = 0; i < y.rows; i++)
        memcpy(py + i * y.stride, pw + (int64_t)id[i] * w.stride, (size_t)y.cols * sizeof *py);
}

void mr_cpu_scatter_rows(mr_backend *be, mr_tensor y, mr_tensor x, mr_tensor ids)
{
    const int32_t *id = mr_cpu_i32(ids);
    float *py = mr_cpu_f32(y);
    const float *px = mr_cpu_f32(x);
#pragma omp parallel for num_threads(mr_cpu_threads(be, x.rows *x.cols))
    for (int64_t i = 0; i < x.rows; i++)
        memcpy(py + (int64_t)id[i] * y.stride, px + i * x.stride, (size_t)x.cols * sizeof *py);
}

void mr_cpu_scatter_add_rows(mr_backend *be, mr_tensor y, mr_tensor x, mr_tensor ids)
{
    enum { RUN = 64 };
    const int32_t *id = mr_cpu_i32(ids);
    float *py = mr_cpu_f32(y);
    const float *px = mr_cpu_f32(x);
    /* Cut by columns: repeated ids are added in the order of the rows on any number of threads. */
#pragma omp parallel for num_threads(mr_cpu_threads(be, x.rows *x.cols))
    for (int64_t first = 0; first < x.cols; first += RUN) {
        int64_t run = x.cols - first < RUN ? x.cols - first : RUN;
        for (int64_t i = 0; i < x.rows; i++) {
            float *to = py + (int64_t)id[i] * y.stride + first;
            const float *from = px + i * x.stride + first;
            for (int64_t j = 0; j < run; j++)
                to[j] += from[j];
        }
    }
}

static uint16_t *halves(mr_tensor t)
{
    return (uint16_t *)t.buffer->data + t.offset;
}

/* One element of BF16, by random bits of its own. */
static void update_half(const mr_adamw_args *args, const mr_adamw_numbers *numbers, int64_t i,
                        uint32_t random)
{
    uint16_t *at[MR_KEPT] = {halves(args->weight) + i, halves(args->m) + i, halves(args->v) + i};
    float kept[MR_KEPT];
    uint32_t bits[MR_KEPT];
    for (int k = 0; k < MR_KEPT; k++)
        kept[k] = mr_cpu_of_bf16(*at[k]);
    mr_adamw_update(numbers, &kept[MR_KEPT_WEIGHT], &kept[MR_KEPT_M], &kept[MR_KEPT_V],
                    mr_cpu_f32(args->grad)[i]);
    mr_round_kept(kept, random, bits);
    for (int k = 0; k < MR_KEPT; k++)
        *at[k] = (uint16_t)(bits[k] >> 16);
}

static void update_halves(mr_backend *be, const mr_adamw_args *args,
                          const mr_adamw_numbers *numbers)
{
    enum { DRAWN = 4 }; /* elements of a block of random bits */
    const int64_t n = mr_tensor_count(args->weight), first = args->first;
#pragma omp parallel for num_threads(mr_cpu_threads(be, n))
    for (int64_t block = first / DRAWN; block < (first + n + DRAWN - 1) / DRAWN; block++) {
        uint32_t words[DRAWN];
        mr_random_block(&args->rounding, (uint64_t)block, words);
        for (int k = 0; k < DRAWN; k++) {
            const int64_t i = DRAWN * block + k - first;
            if (i >= 0 && i < n) update_half(args, numbers, i, words[k]);
        }
    }
}

static void update(mr_backend *be, const mr_adamw_args *args)
{
    const mr_adamw_numbers numbers = mr_adamw_numbers_of(args);
    const int64_t n = mr_tensor_count(args->weight);
    if (args->weight.dtype == MR_BF16) {
        update_halves(be, args, &numbers);
    } else {
        float *w = mr_cpu_f32(args->weight), *m = mr_cpu_f32(args->m), *v = mr_cpu_f32(args->v);
        const float *g = mr_cpu_f32(args->grad);
#pragma omp parallel for simd num_threads(mr_cpu_threads(be, n))
        for (int64_t i = 0; i < n; i++)
            mr_adamw_update(&numbers, &w[i], &m[i], &v[i], g[i]);
    }
    if (mr_tensor_exists(args->copy)) mr_cpu_convert(be, args->copy, args->weight);
}

void mr_cpu_adamw(mr_backend *be, const mr_adamw_args *args, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        update(be, &args[i]);
}
