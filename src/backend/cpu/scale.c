#include "backend/cpu/cpu.h"
#include "backend/cpu/vector.h"

#include <math.h>
#include <string.h>

void mr_cpu_row_dots(mr_backend *be, mr_tensor out, mr_tensor a, mr_tensor b, double beta)
{
    double *po = mr_cpu_f64(out);
    const float *pa = mr_cpu_f32(a), *pb = mr_cpu_f32(b);
#pragma omp parallel for num_threads(mr_cpu_threads(be, a.rows *a.cols))
    for (int64_t i = 0; i < a.rows; i++) {
        const float *ai = pa + i * a.stride, *bi = pb + i * b.stride;
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < a.cols; j++)
            sum += (double)ai[j] * (double)bi[j];
        po[i] = beta != 0 ? beta * po[i] + sum : sum;
    }
}

/* One row of y = beta y + x s. */
static void scale_row(float *y, const float *x, const float *s, int64_t width, float beta)
{
    if (beta != 0) {
#pragma omp simd
        for (int64_t j = 0; j < width; j++)
            y[j] = beta * y[j] + x[j] * s[j];
    } else {
#pragma omp simd
        for (int64_t j = 0; j < width; j++)
            y[j] = x[j] * s[j];
    }
}

void mr_cpu_scale_columns(mr_backend *be, mr_tensor y, mr_tensor kept, mr_tensor x, mr_tensor s,
                          float beta)
{
    float *py = mr_cpu_f32(y), *pk = mr_tensor_exists(kept) ? mr_cpu_f32(kept) : NULL;
    const float *px = mr_cpu_f32(x), *ps = mr_cpu_f32(s);
#pragma omp parallel num_threads(mr_cpu_threads(be, y.rows *y.cols))
    {
#pragma omp for
        for (int64_t i = 0; i < y.rows; i++) {
            if (pk) mr_stream(pk + i * kept.stride, px + i * x.stride, y.cols);
            scale_row(py + i * y.stride, px + i * x.stride, ps, y.cols, beta);
        }
        mr_stream_end();
    }
}

void mr_cpu_scale_rows(mr_backend *be, mr_tensor x, mr_tensor s)
{
    float *px = mr_cpu_f32(x);
    const float *ps = mr_cpu_f32(s);
#pragma omp parallel for num_threads(mr_cpu_threads(be, x.rows *x.cols))
    for (int64_t i = 0; i < x.rows; i++) {
        float *xi = px + i * x.stride;
#pragma omp simd
        for (int64_t j = 0; j < x.cols; j++)
            xi[j] *= ps[i];
    }
}

void mr_cpu_row_factors(mr_backend *be, const mr_row_factors_args *args)
{
    (void)be;
    float *pi = mr_cpu_f32(args->inverse), *pr = mr_cpu_f32(args->ratio);
    float *pg = mr_cpu_f32(args->gain);
    const double *base = mr_cpu_f64(args->base);
    const float *pm = mr_cpu_f32(args->magnitude);
    const mr_tensor h = args->h, b = args->b;
    for (int64_t i = 0; i < args->base.cols; i++) {
        double square = base[i];
        for (int64_t j = 0; mr_tensor_exists(h) && j < h.cols; j++)
            square +=
                (double)mr_cpu_f32(h)[i * h.stride + j] * (double)mr_cpu_f32(b)[i * b.stride + j];
        double one = square <= 0 ? 0 : 1 / sqrt(square), scaled = (double)pm[i] * one;
        pi[i] = (float)one;
        pr[i] = (float)scaled;
        pg[i] = (float)(scaled - 1);
    }
}

void mr_cpu_scale_columns_backward(mr_backend *be, mr_tensor dx, mr_tensor ds, mr_tensor dy,
                                   mr_tensor x, mr_tensor s)
{
    enum { PARTS = 16, RUN = 2048 };
    float *pds = mr_cpu_f32(ds), *pdx = mr_tensor_exists(dx) ? mr_cpu_f32(dx) : NULL;
    const float *pdy = mr_cpu_f32(dy), *px = mr_cpu_f32(x);
    const float *ps = pdx ? mr_cpu_f32(s) : NULL;
    const int64_t rows = (x.rows + PARTS - 1) / PARTS;
    double sums[PARTS][RUN];
    for (int64_t first = 0; first < x.cols; first += RUN) {
        int64_t run = x.cols - first < RUN ? x.cols - first : RUN;
        /* Cut by rows, which memory holds in one piece, into so many parts on any number of
         * threads: the same sums. */
#pragma omp parallel for num_threads(mr_cpu_threads(be, x.rows *run))
        for (int64_t part = 0; part < PARTS; part++) {
            memset(sums[part], 0, (size_t)run * sizeof *sums[part]);
            for (int64_t i = part * rows; i < (part + 1) * rows && i < x.rows; i++) {
                const float *gi = pdy + i * dy.stride + first, *xi = px + i * x.stride + first;
#pragma omp simd
                for (int64_t j = 0; j < run; j++)
                    sums[part][j] += (double)gi[j] * (double)xi[j];
                if (pdx) scale_row(pdx + i * dx.stride + first, gi, ps + first, run, 0);
            }
        }
        for (int64_t j = 0; j < run; j++) {
            double sum = 0;
            for (int part = 0; part < PARTS; part++)
                sum += sums[part][j];
            pds[first + j] = (float)sum;
        }
    }
}
