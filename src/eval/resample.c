#include "eval/resample.h"

#include "base/memory.h"
#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

mr_resampling mr_resampling_completed(const mr_resampling *how)
{
    mr_resampling all = *how;
    if (all.probability == 0) all.probability = 0.95;
    if (all.samples == 0) all.samples = 10000;
    return all;
}

static void draw(const mr_resampling *how, int64_t sample, int64_t items, int32_t *times)
{
    const mr_random stream = mr_random_stream(how->seed, MR_RANDOM_RESAMPLE, (uint64_t)sample);
    memset(times, 0, (size_t)items * sizeof *times);
    for (int64_t i = 0; i < items; i++)
        times[mr_random_below(&stream, (uint64_t)i, (uint64_t)items)]++;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double sorted_quantile(const double *value, int64_t count, double p)
{
    int64_t i = (int64_t)ceil(p * (double)count) - 1;
    if (i < 0) i = 0;
    return value[i < count ? i : count - 1];
}

mr_status mr_resample(const mr_resampling *how, int64_t items, mr_statistic *of, const void *what,
                      mr_resampled *out)
{
    const mr_resampling all = mr_resampling_completed(how);
    const double outside = (1 - all.probability) / 2;
    *out = (mr_resampled){NAN, {NAN, NAN}};
    double *value = mr_alloc_array(MR_MEM_OTHER, (size_t)all.samples, sizeof *value);
    int32_t *times = mr_alloc_array(MR_MEM_OTHER, (size_t)items, sizeof *times);
    mr_status status = value && times ? MR_OK : MR_ERR_MEMORY;
    int64_t count = 0;
    for (int64_t s = 0; s < all.samples && status == MR_OK; s++) {
        draw(&all, s, items, times);
        value[count] = of(what, times);
        count += !isnan(value[count]);
    }
    if (status == MR_OK && count > 0) {
        if (count > 1) out->deviation = mr_estimate_of(value, count).spread;
        qsort(value, (size_t)count, sizeof *value, ascending);
        out->interval.low = sorted_quantile(value, count, outside);
        out->interval.high = sorted_quantile(value, count, 1 - outside);
    }
    mr_free(value);
    mr_free(times);
    return status;
}
