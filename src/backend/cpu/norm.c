#include "backend/cpu/cpu.h"

#include <math.h>

void mr_cpu_rmsnorm_forward(mr_backend *be, mr_tensor y, mr_tensor rstd, mr_tensor sum, mr_tensor x,
                            mr_tensor addend, mr_tensor w, double eps)
{
    const float *pw = mr_cpu_f32(w), *px = mr_cpu_f32(x);
    const float *pa = mr_tensor_exists(addend) ? mr_cpu_f32(addend) : NULL;
    float *ps = pa ? mr_cpu_f32(sum) : NULL;
    float *py = mr_cpu_f32(y), *pr = mr_cpu_f32(rstd);
    int64_t width = y.cols;
#pragma omp parallel for num_threads(mr_cpu_threads(be, y.rows *width))
    for (int64_t i = 0; i < y.rows; i++) {
        const float *xi = px + i * x.stride;
        if (pa) {
            float *si = ps + i * sum.stride;
            const float *ai = pa + i * addend.stride;
            for (int64_t j = 0; j < width; j++)
                si[j] = xi[j] + ai[j];
            xi = si;
        }
        double squares = 0;
#pragma omp simd reduction(+ : squares)
        for (int64_t j = 0; j < width; j++)
            squares += (double)xi[j] * (double)xi[j];
        float r = (float)(1.0 / sqrt(squares / (double)width + eps));
        pr[i] = r;
        float *yi = py + i * y.stride;
        for (int64_t j = 0; j < width; j++)
            yi[j] = xi[j] * r * pw[j];
    }
}

void mr_cpu_rmsnorm_backward(mr_backend *be, mr_tensor dx, mr_tensor dw, mr_tensor dy, mr_tensor x,
                             mr_tensor rstd, mr_tensor w)
{
    const float *pw = mr_cpu_f32(w), *px = mr_cpu_f32(x), *pr = mr_cpu_f32(rstd);
    const float *pd = mr_cpu_f32(dy);
    float *pdx = mr_cpu_f32(dx);
    int64_t width = x.cols;
    /* With xh = x rstd and g = dy w: dx = rstd (g - xh mean(g xh)), dw = sum over rows of dy xh. */
#pragma omp parallel for num_threads(mr_cpu_threads(be, x.rows *width))
    for (int64_t i = 0; i < x.rows; i++) {
        const float *xi = px + i * x.stride, *di = pd + i * dy.stride;
        float *dxi = pdx + i * dx.stride;
        double product = 0;
#pragma omp simd reduction(+ : product)
        for (int64_t j = 0; j < width; j++)
            product += (double)(di[j] * pw[j]) * (double)xi[j];
        float r = pr[i];
        float mean = (float)(product / (double)width) * r * r * r;
        for (int64_t j = 0; j < width; j++)
            dxi[j] += di[j] * pw[j] * r - xi[j] * mean;
    }
    if (!mr_tensor_exists(dw)) return;

    enum { RUN = 64 };
    float *pdw = mr_cpu_f32(dw);
#pragma omp parallel for num_threads(mr_cpu_threads(be, x.rows *width))
    for (int64_t first = 0; first < width; first += RUN) {
        int64_t run = width - first < RUN ? width - first : RUN;
        double sums[RUN] = {0};
        for (int64_t i = 0; i < x.rows; i++) {
            const float *xi = px + i * x.stride + first, *di = pd + i * dy.stride + first;
            for (int64_t j = 0; j < run; j++)
                sums[j] += (double)(di[j] * xi[j] * pr[i]);
        }
        for (int64_t j = 0; j < run; j++)
            pdw[first + j] = (float)sums[j];
    }
}

void mr_cpu_rope(mr_backend *be, mr_tensor x, mr_tensor cosine, mr_tensor sine, mr_tensor positions,
                 int64_t head_size, bool inverse)
{
    int64_t half = head_size / 2;
    const float sign = inverse ? -1.0f : 1.0f;
    const int32_t *position = mr_cpu_i32(positions);
    const float *pc = mr_cpu_f32(cosine), *ps = mr_cpu_f32(sine);
    float *px = mr_cpu_f32(x);
#pragma omp parallel for num_threads(mr_cpu_threads(be, x.rows *x.cols))
    for (int64_t i = 0; i < x.rows; i++) {
        const float *c = pc + position[i] * cosine.stride, *s = ps + position[i] * sine.stride;
        for (int64_t head = 0; head < x.cols; head += head_size) {
            float *low = px + i * x.stride + head, *high = low + half;
#pragma omp simd
            for (int64_t j = 0; j < half; j++) {
                float a = low[j], b = high[j], sj = sign * s[j];
                low[j] = a * c[j] - b * sj;
                high[j] = b * c[j] + a * sj;
            }
        }
    }
}
