#include "spectra/measures.h"

#include <math.h>

#define ROW(field, name, unit, whole, definition)                                                  \
    {                                                                                              \
        name, unit, definition, whole, offsetof(mr_measures, field)                                \
    }

static const char one[] = "1", weight[] = "weight", values_unit[] = "singular values";

const mr_measure mr_measure_rows[] = {
    ROW(count, "count", values_unit, true,
        "number of singular values above the threshold (Jiang et al. 2024, arXiv 2405.12130, "
        "figure 5: 0.1)"),
    ROW(effective_rank, "erank_sigma", values_unit, false,
        "exp(-sum p ln p), p = sigma / sum sigma (Roy and Vetterli 2007)"),
    ROW(per, "per", one, false, "erank_sigma / min(rows, cols) (arXiv 2509.12960)"),
    ROW(stable_rank, "stable_rank", values_unit, false, "||dW||_F^2 / sigma_1(dW)^2"),
    ROW(k90, "k90", values_unit, true,
        "least k with the sum of the k largest sigma^2 >= 0.9 of the sum of all (Biderman et al. "
        "2024, arXiv 2405.09673)"),
    ROW(participation_ratio, "participation_ratio", values_unit, false,
        "(sum sigma^2)^2 / sum sigma^4"),
    ROW(sigma1, "sigma1", weight, false, "largest singular value of dW"),
    ROW(frobenius, "frobenius", weight, false, "Frobenius norm of dW"),
    ROW(sigma1_ratio, "sigma1_ratio", one, false, "sigma_1(dW) / sigma_1(W0)"),
    ROW(frobenius_ratio, "frobenius_ratio", one, false, "||dW||_F / ||W0||_F"),
    ROW(intruder_threshold, "intruder_threshold", one, false,
        "s* = theta / sigma_1(dW), the factor on dW from which its leading direction is expected "
        "among those of W0 + s dW: above 1, none yet (arXiv 2607.23711; theta = "
        "D(sigma_1(W0))^-1/2 "
        "from the singular values of W0, sigma_1 itself left out of the sums of D, arXiv 1103.2221 "
        "and 1306.6042)"),
};

const int mr_measure_count = sizeof mr_measure_rows / sizeof mr_measure_rows[0];

double mr_measure_value(const mr_measures *measures, int row)
{
    return *(const double *)(const void *)((const char *)measures + mr_measure_rows[row].offset);
}

/* Least k with the sum of the k largest squares >= 0.9 of all, of values divided by the largest. */
static double least_of_energy(const double *values, int64_t n, double all)
{
    double sum = 0;
    int64_t k = 0;
    while (k < n && sum < 0.9 * all) {
        const double x = values[k++] / values[0];
        sum += x * x;
    }
    return (double)k;
}

void mr_measures_of(const double *values, int64_t n, double threshold, mr_measures *out)
{
    double sum = 0, squares = 0, fourths = 0, entropy = 0;
    *out = (mr_measures){.effective_rank = NAN,
                         .per = NAN,
                         .stable_rank = NAN,
                         .k90 = NAN,
                         .participation_ratio = NAN,
                         .sigma1 = values[0],
                         .sigma1_ratio = NAN,
                         .frobenius_ratio = NAN,
                         .intruder_threshold = NAN};
    for (int64_t i = 0; i < n; i++)
        out->count += values[i] > threshold;
    if (values[0] == 0) return;
    for (int64_t i = 0; i < n; i++) {
        const double x = values[i] / values[0];
        sum += x;
        squares += x * x;
        fourths += x * x * x * x;
    }
    for (int64_t i = 0; i < n; i++) {
        const double p = values[i] / values[0] / sum;
        if (p > 0) entropy -= p * log(p);
    }
    out->effective_rank = exp(entropy);
    out->per = out->effective_rank / (double)n;
    out->stable_rank = squares;
    out->k90 = least_of_energy(values, n, squares);
    out->participation_ratio = squares * squares / fourths;
    out->frobenius = values[0] * sqrt(squares);
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

void mr_measures_relate(mr_measures *measures, mr_base_facts base)
{
    measures->sigma1_ratio = ratio(measures->sigma1, base.sigma1);
    measures->frobenius_ratio = ratio(measures->frobenius, base.frobenius);
    measures->intruder_threshold = ratio(base.theta, measures->sigma1);
}

double mr_energy_top(const double *values, int64_t n, int64_t k)
{
    double top = 0, all = 0;
    for (int64_t i = 0; i < n && values[0] > 0; i++) {
        const double x = values[i] / values[0];
        all += x * x;
        if (i < k) top += x * x;
    }
    return ratio(top, all);
}

double mr_intruder_theta(const double *values, int64_t rows, int64_t cols)
{
    const int64_t small = rows < cols ? rows : cols, large = rows < cols ? cols : rows;
    if (small < 2) return NAN;
    /* In units of sigma_1, where z = 1: the sum of 1 / (1 - x^2). */
    double sum = 0;
    for (int64_t i = 1; i < small; i++) {
        const double x = values[i] / values[0];
        if (!(x < 1)) return 0;
        sum += 1 / ((1 - x) * (1 + x));
    }
    const double narrow = sum / (double)(small - 1);
    const double wide = (sum + (double)(large - small)) / (double)(large - 1);
    return values[0] / sqrt(narrow * wide);
}
