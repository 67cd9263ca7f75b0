#include "eval/statistics.h"

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

double mr_estimate_error(mr_estimate estimate)
{
    return estimate.n < 2 ? NAN : estimate.spread / sqrt((double)estimate.n);
}

mr_estimate mr_estimate_pool(const mr_estimate *group, int64_t groups)
{
    mr_estimate all = {.n = 0};
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < groups; i++) {
        all.n += group[i].n;
        sum += group[i].mean * (double)group[i].n;
        squares += group[i].spread * group[i].spread * (double)(group[i].n - 1);
    }
    if (all.n == 0) return all;
    all.mean = sum / (double)all.n;
    all.spread = all.n > groups ? sqrt(squares / (double)(all.n - groups)) : 0;
    return all;
}

/* The probability that |t| of Student is below a number. */
static double student_within(double t, int64_t freedom)
{
    const double pi = 3.14159265358979323846, angle = atan(t / sqrt((double)freedom));
    const double square = cos(angle) * cos(angle);
    double term = freedom % 2 == 1 ? cos(angle) : 1, sum = freedom == 1 ? 0 : term;
    for (int64_t k = freedom % 2 == 1 ? 3 : 2; k < freedom; k += 2) {
        term *= square * (double)(k - 1) / (double)k;
        sum += term;
    }
    return freedom % 2 == 1 ? 2 / pi * (angle + sin(angle) * sum) : sin(angle) * sum;
}

double mr_student_quantile(double p, int64_t freedom)
{
    const double within = fabs(2 * p - 1);
    double low = 0, high = 1;
    while (student_within(high, freedom) < within && high < 1e300)
        high *= 2;
    while (high - low > 1e-13 * high) {
        const double middle = low + (high - low) / 2;
        if (student_within(middle, freedom) < within)
            low = middle;
        else
            high = middle;
    }
    return p < 0.5 ? -high : high;
}

mr_interval mr_estimate_interval(mr_estimate estimate, double probability)
{
    if (estimate.n < 2) return (mr_interval){NAN, NAN};
    const double reach =
        mr_student_quantile(0.5 + probability / 2, estimate.n - 1) * mr_estimate_error(estimate);
    return (mr_interval){estimate.mean - reach, estimate.mean + reach};
}

double mr_statistics_lead(double a, double b, bool lower_is_better)
{
    const double rounding = 1e-12 * fmax(1, fmin(fabs(a), fabs(b)));
    double ahead = lower_is_better ? b - a : a - b;
    return fabs(ahead) > rounding ? ahead : 0;
}
