#include "report/paired.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

double mr_mcnemar(int64_t only_first, int64_t only_second)
{
    const int64_t n = only_first + only_second;
    const int64_t less = only_first < only_second ? only_first : only_second;
    if (2 * less == n) return 1;
    /* The sum of C(n, k) / 2^n over k <= less, as multiples of its last term. */
    double sum = 1, term = 1;
    for (int64_t k = less; k > 0 && term > 0; k--) {
        term *= (double)k / (double)(n - k + 1);
        sum += term;
    }
    const long double log_last = lgammal((long double)n + 1) - lgammal((long double)less + 1) -
                                 lgammal((long double)(n - less) + 1) - (long double)n * logl(2);
    const double p = 2 * (double)expl(log_last) * sum;
    return p < 1 ? p : 1;
}

/* All samples of items that are -1, 0 or 1. */

/* Probabilities of whole numbers from low on. Owns p. */
typedef struct distribution {
    int64_t low, count;
    double *p; /* [count] */
} distribution;

/* Ends that are rarer than this are cut: far below what any quantile sees. */
static const double RARE = 1e-30;

static mr_status add_up(const distribution *a, const distribution *b, distribution *out)
{
    const int64_t count = a->count + b->count - 1;
    *out = (distribution){.low = a->low + b->low};
    out->p = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *out->p);
    if (!out->p) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < a->count; i++)
        for (int64_t j = 0; j < b->count; j++)
            out->p[i + j] += a->p[i] * b->p[j];
    int64_t first = 0, last = count - 1;
    while (first < last && out->p[first] < RARE)
        first++;
    while (last > first && out->p[last] < RARE)
        last--;
    out->low += first;
    out->count = last - first + 1;
    memmove(out->p, out->p + first, (size_t)out->count * sizeof *out->p);
    return MR_OK;
}

/* Replaces *to by the sum of two that are independent. */
static mr_status add_to(distribution *to, const distribution *a, const distribution *b)
{
    distribution sum;
    MR_TRY(add_up(a, b, &sum));
    mr_free(to->p);
    *to = sum;
    return MR_OK;
}

/* The distribution of the sum of n items. */
static mr_status add_times(distribution *item, int64_t n, distribution *out)
{
    *out = (distribution){.count = 1, .p = mr_alloc(MR_MEM_OTHER, sizeof *out->p)};
    mr_status status = out->p ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) out->p[0] = 1;
    for (; n > 0 && status == MR_OK; n /= 2) {
        if (n % 2 == 1) status = add_to(out, out, item);
        if (status == MR_OK && n > 1) status = add_to(item, item, item);
    }
    return status;
}

/* The least number that is not passed with probability p or more. */
static int64_t quantile_of(const distribution *d, double p)
{
    double sum = 0;
    int64_t i = 0;
    for (; i < d->count - 1; i++) {
        sum += d->p[i];
        if (sum >= p) break;
    }
    return d->low + i;
}

static mr_status compare_binary(double outside, mr_paired *out)
{
    const double n = (double)out->items;
    const double less = (double)out->only_first / n, more = (double)out->only_second / n;
    distribution item = {.low = -1, .count = 3}, sum = {.p = NULL};
    item.p = mr_alloc_array(MR_MEM_OTHER, 3, sizeof *item.p);
    mr_status status = item.p ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) {
        item.p[0] = less;
        item.p[1] = (double)(out->items - out->only_first - out->only_second) / n;
        item.p[2] = more;
        status = add_times(&item, out->items, &sum);
    }
    if (status == MR_OK) {
        out->p = mr_mcnemar(out->only_first, out->only_second);
        out->deviation = sqrt((less + more - (more - less) * (more - less)) / n);
        out->interval.low = (double)quantile_of(&sum, outside) / n;
        out->interval.high = (double)quantile_of(&sum, 1 - outside) / n;
    }
    mr_free(item.p);
    mr_free(sum.p);
    return status;
}

/* Drawn samples. */

static mr_status resample(const mr_resampling *how, mr_statistic *of, const void *what,
                          mr_paired *out)
{
    mr_resampled found;
    MR_TRY(mr_resample(how, out->items, of, what, &found));
    out->deviation = found.deviation;
    out->interval = found.interval;
    return MR_OK;
}

typedef struct values {
    const double *first, *second;
    int64_t items;
} values;

static double difference_of_means(const void *of, const int32_t *times)
{
    const values *v = of;
    double sum = 0;
    for (int64_t i = 0; i < v->items; i++)
        sum += (double)times[i] * (v->second[i] - v->first[i]);
    return sum / (double)v->items;
}

mr_status mr_paired_compare(const double *first, const double *second, int64_t items,
                            const mr_resampling *how, mr_paired *out)
{
    const mr_resampling all = mr_resampling_completed(how);
    const values v = {first, second, items};
    *out = (mr_paired){.items = items, .binary = true, .p = NAN};
    MR_CHECK(items > 0, MR_ERR_ARG, "expected items, found none");
    double sum = 0;
    for (int64_t i = 0; i < items; i++) {
        const double a = first[i], b = second[i];
        MR_CHECK(isfinite(a) && isfinite(b), MR_ERR_ARG,
                 "item %lld: expected finite numbers, found %g and %g", (long long)i, a, b);
        if ((a != 0 && a != 1) || (b != 0 && b != 1)) out->binary = false;
        out->only_first += a == 1 && b == 0;
        out->only_second += a == 0 && b == 1;
        sum += b - a;
    }
    out->first = mr_estimate_of(first, items).mean;
    out->second = mr_estimate_of(second, items).mean;
    out->difference = sum / (double)items;
    if (out->binary) return compare_binary((1 - all.probability) / 2, out);
    out->only_first = out->only_second = 0;
    return resample(how, difference_of_means, &v, out);
}

typedef struct predictions {
    const mr_metric *metric;
    mr_labels first, second;
    int64_t *room;
} predictions;

static double difference_of_metrics(const void *of, const int32_t *times)
{
    const predictions *p = of;
    return p->metric->of(&p->second, times, p->room) - p->metric->of(&p->first, times, p->room);
}

mr_status mr_paired_metric(const mr_metric *metric, const mr_labels *labels, const int32_t *second,
                           const mr_resampling *how, mr_paired *out)
{
    predictions p = {.metric = metric, .first = *labels, .second = *labels};
    p.second.prediction = second;
    *out = (mr_paired){.items = labels->items, .p = NAN, .interval = {NAN, NAN}};
    MR_TRY(mr_metric_of(metric, &p.first, &out->first));
    MR_TRY(mr_metric_of(metric, &p.second, &out->second));
    out->difference = out->second - out->first;
    p.room = mr_alloc_array(MR_MEM_OTHER, (size_t)labels->classes, 3 * sizeof *p.room);
    mr_status status = p.room ? resample(how, difference_of_metrics, &p, out) : MR_ERR_MEMORY;
    mr_free(p.room);
    return status;
}
