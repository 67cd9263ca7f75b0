#include "backend/cpu/cpu.h"

#include <string.h>

/* Length of the longest run from position t that is contiguous among elements and groups alike. */
static int64_t strided_run(mr_group_map map, int64_t elements, int64_t t)
{
    int64_t run = map.groups - t % map.groups;
    int64_t in_elements = elements - t % elements;
    if (in_elements < run) run = in_elements;
    return map.length - t < run ? map.length - t : run;
}

void mr_cpu_group_sum(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map)
{
    float *py = mr_cpu_f32(y);
    const float *px = mr_cpu_f32(x);
    int64_t few = map.length / map.groups, larger = map.length % map.groups;
#pragma omp parallel for num_threads(mr_cpu_threads(be, x.rows *x.cols))
    for (int64_t i = 0; i < x.rows; i++) {
        float *yi = py + i * y.stride;
        const float *xi = px + i * x.stride;
        if (map.contiguous) {
            int64_t t = 0;
            for (int64_t group = 0; group < map.groups; group++) {
                float sum = 0;
                for (int64_t end = t + few + (group < larger); t < end; t++)
                    sum += xi[t];
                yi[group] = sum;
            }
            continue;
        }
        memset(yi, 0, (size_t)map.groups * sizeof *yi);
        for (int64_t t = 0; t < map.length;) {
            int64_t run = strided_run(map, x.cols, t);
            float *to = yi + t % map.groups;
            const float *from = xi + t % x.cols;
            for (int64_t j = 0; j < run; j++)
                to[j] += from[j];
            t += run;
        }
    }
}

void mr_cpu_group_spread(mr_backend *be, mr_tensor y, mr_tensor x, mr_group_map map)
{
    float *py = mr_cpu_f32(y);
    const float *px = mr_cpu_f32(x);
    int64_t few = map.length / map.groups, larger = map.length % map.groups;
#pragma omp parallel for num_threads(mr_cpu_threads(be, y.rows *y.cols))
    for (int64_t i = 0; i < y.rows; i++) {
        float *yi = py + i * y.stride;
        const float *xi = px + i * x.stride;
        if (map.contiguous) {
            int64_t t = 0;
            for (int64_t group = 0; group < map.groups; group++)
                for (int64_t end = t + few + (group < larger); t < end; t++)
                    yi[t] += xi[group];
            continue;
        }
        for (int64_t t = 0; t < map.length;) {
            int64_t run = strided_run(map, y.cols, t);
            float *to = yi + t % y.cols;
            const float *from = xi + t % map.groups;
            for (int64_t j = 0; j < run; j++)
                to[j] += from[j];
            t += run;
        }
    }
}

/* The group of position t, -1 where the map does not reach that far. */
static int64_t group_of(mr_group_map map, int64_t t)
{
    if (t >= map.length) return -1;
    if (!map.contiguous) return t % map.groups;
    int64_t few = map.length / map.groups, larger = map.length % map.groups;
    int64_t edge = larger * (few + 1);
    return t < edge ? t / (few + 1) : larger + (t - edge) / few;
}

void mr_cpu_group_rows(mr_backend *be, mr_tensor y, mr_tensor m, mr_group_map map, int64_t first)
{
    float *py = mr_cpu_f32(y);
    const float *pm = mr_cpu_f32(m);
    int64_t side = m.cols;
#pragma omp parallel for num_threads(mr_cpu_threads(be, y.rows *y.cols))
    for (int64_t i = 0; i < y.rows; i++) {
        float *yi = py + i * y.stride;
        int64_t group = group_of(map, first + i);
        memset(yi, 0, (size_t)y.cols * sizeof *yi);
        if (group < 0) continue;
        memcpy(yi + group / side * side, pm + group % side * m.stride, (size_t)side * sizeof *yi);
    }
}

/* out[j] = in[(start + j) mod wrap], in contiguous runs. */
static void gather_wrapped(float *out, const float *in, int64_t start, int64_t count, int64_t wrap)
{
    for (int64_t j = 0; j < count;) {
        int64_t at = (start + j) % wrap;
        int64_t run = wrap - at < count - j ? wrap - at : count - j;
        memcpy(out + j, in + at, (size_t)run * sizeof *out);
        j += run;
    }
}

/* out[(start + j) mod wrap] += in[j], in contiguous runs. */
static void scatter_wrapped(float *out, const float *in, int64_t start, int64_t count, int64_t wrap)
{
    for (int64_t j = 0; j < count;) {
        int64_t at = (start + j) % wrap;
        int64_t run = wrap - at < count - j ? wrap - at : count - j;
        for (int64_t i = 0; i < run; i++)
            out[at + i] += in[j + i];
        j += run;
    }
}

/* Turns the pairs (c, c + half) of one block in place; sign -1 turns back. */
static void turn(float *block, int64_t half, const float *cosine, const float *sine, float sign)
{
#pragma omp simd
    for (int64_t c = 0; c < half; c++) {
        float a = block[c], b = block[c + half], s = sign * sine[c];
        block[c] = a * cosine[c] - b * s;
        block[c + half] = b * cosine[c] + a * s;
    }
}

void mr_cpu_block_rotate(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width, bool rotate,
                         mr_tensor cosine, mr_tensor sine)
{
    float *py = mr_cpu_f32(y);
    const float *px = mr_cpu_f32(x);
    int64_t blocks = y.cols / width;
#pragma omp parallel for num_threads(mr_cpu_threads(be, y.rows *y.cols))
    for (int64_t i = 0; i < y.rows; i++)
        for (int64_t b = 0; b < blocks; b++) {
            float *block = py + i * y.stride + b * width;
            gather_wrapped(block, px + i * x.stride, b * width, width, x.cols);
            if (rotate)
                turn(block, width / 2, mr_cpu_f32(cosine) + b * cosine.stride,
                     mr_cpu_f32(sine) + b * sine.stride, 1.0f);
        }
}

void mr_cpu_block_rotate_adjoint(mr_backend *be, mr_tensor y, mr_tensor x, int64_t width,
                                 bool rotate, mr_tensor cosine, mr_tensor sine)
{
    float *py = mr_cpu_f32(y), *px = mr_cpu_f32(x);
    int64_t blocks = x.cols / width;
#pragma omp parallel for num_threads(mr_cpu_threads(be, x.rows *x.cols))
    for (int64_t i = 0; i < x.rows; i++)
        for (int64_t b = 0; b < blocks; b++) {
            float *block = px + i * x.stride + b * width;
            if (rotate)
                turn(block, width / 2, mr_cpu_f32(cosine) + b * cosine.stride,
                     mr_cpu_f32(sine) + b * sine.stride, -1.0f);
            scatter_wrapped(py + i * y.stride, block, b * width, width, y.cols);
        }
}
