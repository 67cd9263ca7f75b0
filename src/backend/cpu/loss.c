#include "backend/cpu/cpu.h"
#include "backend/cpu/vector.h"

#include <math.h>

/* Sums in double over runs: V is tens of thousands, and the sum decides every probability. */
static double exponentials(const float *logits, int64_t count, float top, float *out)
{
    enum { RUN = 512 };
    double total = 0;
    for (int64_t first = 0; first < count; first += RUN) {
        int64_t last = first + RUN < count ? first + RUN : count;
        float sum = 0;
        if (out) {
#pragma omp simd reduction(+ : sum)
            for (int64_t j = first; j < last; j++) {
                float e = mr_expf(logits[j] - top);
                out[j] = e;
                sum += e;
            }
        } else {
#pragma omp simd reduction(+ : sum)
            for (int64_t j = first; j < last; j++)
                sum += mr_expf(logits[j] - top);
        }
        total += (double)sum;
    }
    return total;
}

void mr_cpu_cross_entropy(mr_backend *be, mr_tensor logits, mr_tensor targets, mr_tensor losses,
                          bool gradient, float scale)
{
    const int32_t *target = mr_cpu_i32(targets);
    double *loss = mr_cpu_f64(losses);
    float *pl = mr_cpu_f32(logits);
    int64_t vocabulary = logits.cols;
#pragma omp parallel for schedule(static) num_threads(mr_cpu_threads(be, logits.rows *vocabulary))
    for (int64_t i = 0; i < logits.rows; i++) {
        float *row = pl + i * logits.stride;
        if (target[i] < 0) {
            loss[i] = 0;
            if (!gradient) continue;
            for (int64_t j = 0; j < vocabulary; j++)
                row[j] = 0;
            continue;
        }
        float top = row[0];
#pragma omp simd reduction(max : top)
        for (int64_t j = 0; j < vocabulary; j++)
            top = row[j] > top ? row[j] : top;
        double chosen = (double)row[target[i]] - (double)top;
        double total = exponentials(row, vocabulary, top, gradient ? row : NULL);
        loss[i] = log(total) - chosen;
        if (!gradient) continue;
        float factor = (float)((double)scale / total);
        for (int64_t j = 0; j < vocabulary; j++)
            row[j] *= factor;
        row[target[i]] -= scale;
    }
}

void mr_cpu_argmax(mr_backend *be, mr_tensor ids, mr_tensor logits)
{
    int32_t *id = mr_cpu_i32(ids);
    const float *pl = mr_cpu_f32(logits);
#pragma omp parallel for num_threads(mr_cpu_threads(be, logits.rows *logits.cols))
    for (int64_t i = 0; i < logits.rows; i++) {
        const float *row = pl + i * logits.stride;
        int64_t best = 0;
        for (int64_t j = 1; j < logits.cols; j++)
            if (row[j] > row[best]) best = j;
        id[i] = (int32_t)best;
    }
}
