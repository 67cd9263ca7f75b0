#include "report/statistics.h"

#include <math.h>

mr_estimate mr_estimate_of(const double *value, int64_t n)
{
    double sum = 0, squares = 0;
    if (n == 0) return (mr_estimate){0};
    for (int64_t i = 0; i < n; i++)
        sum += value[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (value[i] - mean) * (value[i] - mean);
    return (mr_estimate){
        .n = n, .mean = mean, .spread = n > 1 ? sqrt(squares / (double)(n - 1)) : 0};
}

double mr_statistics_lead(double a, double b, bool lower_is_better)
{
    const double rounding = 1e-12 * fmax(1, fmin(fabs(a), fabs(b)));
    double ahead = lower_is_better ? b - a : a - b;
    return fabs(ahead) > rounding ? ahead : 0;
}
