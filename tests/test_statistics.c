/** @file
 * Standard errors, intervals and paired tests: own vectors, those of SciPy and NumPy
 * (<root>/eval/statistics.jsonl of the roots of MORA_GOLDEN), and how often intervals hold the
 * truth. */

#include "base/memory.h"
#include "golden_lines.h"
#include "report/paired.h"

#include <math.h>

enum { MOST = 1 << 16 };

static const double rounding = 1e-12;

static bool near(double found, double expected, double within)
{
    return fabs(found - expected) <= within * fmax(1, fabs(expected));
}

/* Published. */

static void check_mean(const json_t *line)
{
    size_t count;
    double *items = golden_numbers(line, "items", &count);
    const mr_estimate e = mr_estimate_of(items, (int64_t)count);
    golden_assert(line, near(e.mean, golden_number(line, "mean"), rounding));
    golden_assert(line, near(mr_estimate_error(e), golden_number(line, "stderr"), rounding));
    mr_free(items);
}

static void check_group(const json_t *line)
{
    size_t count, same;
    double *sizes = golden_numbers(line, "sizes", &count);
    double *ones = golden_numbers(line, "ones", &same);
    mr_estimate *groups = mr_alloc_array(MR_MEM_OTHER, count, sizeof *groups);
    golden_assert(line, count == same && groups);
    for (size_t i = 0; i < count; i++) {
        const double p = ones[i] / sizes[i];
        groups[i] =
            (mr_estimate){(int64_t)sizes[i], p, sqrt(sizes[i] * p * (1 - p) / (sizes[i] - 1))};
    }
    const mr_estimate e = mr_estimate_pool(groups, (int64_t)count);
    golden_assert(line, near(e.mean, golden_number(line, "weighted_mean"), rounding));
    golden_assert(line, near(e.mean, golden_number(line, "micro_mean"), rounding));
    golden_assert(line, near(mr_estimate_error(e), golden_number(line, "pooled_stderr"), rounding));
    mr_free(sizes);
    mr_free(ones);
    mr_free(groups);
}

static bool is_between(const json_t *line, const char *key, double value)
{
    const json_t *ends = json_object_get(line, key);
    return value >= json_number_value(json_array_get(ends, 0)) - rounding &&
           value <= json_number_value(json_array_get(ends, 1)) + rounding;
}

static void check_ends(const json_t *line, const mr_paired *p)
{
    golden_assert(line, is_between(line, "low_between", p->interval.low));
    golden_assert(line, is_between(line, "high_between", p->interval.high));
}

static mr_paired compare_line(const json_t *line)
{
    size_t count, same;
    double *a = golden_numbers(line, "a", &count), *b = golden_numbers(line, "b", &same);
    mr_paired p;
    golden_assert(line, count == same);
    must(mr_paired_compare(a, b, (int64_t)count, &(mr_resampling){.seed = 1}, &p));
    golden_assert(line, near(p.difference, golden_number(line, "difference"), rounding));
    check_ends(line, &p);
    mr_free(a);
    mr_free(b);
    return p;
}

static void check_binary(const json_t *line)
{
    const mr_paired p = compare_line(line);
    const json_t *interval = json_object_get(line, "bootstrap_interval");
    golden_assert(line, p.binary);
    golden_assert(line, p.only_first == (int64_t)golden_number(line, "only_a_right"));
    golden_assert(line, p.only_second == (int64_t)golden_number(line, "only_b_right"));
    golden_assert(line, near(p.p, golden_number(line, "mcnemar_p"), rounding));
    golden_assert(line, near(p.deviation, golden_number(line, "bootstrap_sd"), rounding));
    golden_assert(line,
                  near(p.interval.low, json_number_value(json_array_get(interval, 0)), rounding));
    golden_assert(line,
                  near(p.interval.high, json_number_value(json_array_get(interval, 1)), rounding));
}

/* A deviation of 10,000 values is off by 0.7 % in the mean. */
static bool is_deviation(const json_t *line, double found)
{
    const double expected = golden_number(line, "bootstrap_sd");
    return fabs(found - expected) <= 0.04 * expected;
}

static void check_real(const json_t *line)
{
    const mr_paired p = compare_line(line);
    golden_assert(line, !p.binary && isnan(p.p));
    golden_assert(line, is_deviation(line, p.deviation));
}

static void check_mcnemar(const json_t *line)
{
    const double p = mr_mcnemar((int64_t)golden_number(line, "only_a_right"),
                                (int64_t)golden_number(line, "only_b_right"));
    const double expected = golden_number(line, "p");
    golden_assert(line, fabs(p - expected) <= rounding * expected);
}

static void read_classes(const json_t *line, const char *key, int64_t items, int32_t *to)
{
    size_t count;
    double *numbers = golden_numbers(line, key, &count);
    golden_assert(line, (int64_t)count == items && count <= MOST);
    for (size_t i = 0; i < count; i++)
        to[i] = (int32_t)numbers[i];
    mr_free(numbers);
}

/* As percent, as the line has it. */
static void check_weighted_f1(const json_t *line)
{
    static int32_t label[MOST], a[MOST], b[MOST];
    mr_labels l = {.items = (int64_t)golden_list(line, "labels"),
                   .classes = (int32_t)golden_number(line, "classes"),
                   .label = label,
                   .prediction = a};
    mr_paired p;
    read_classes(line, "labels", l.items, label);
    read_classes(line, "a", l.items, a);
    read_classes(line, "b", l.items, b);
    must(mr_paired_metric(mr_metric_find("weighted_f1"), &l, b, &(mr_resampling){.seed = 1}, &p));
    golden_assert(line, near(100 * p.difference, golden_number(line, "difference"), rounding));
    golden_assert(line, is_deviation(line, 100 * p.deviation));
    p.interval = (mr_interval){100 * p.interval.low, 100 * p.interval.high};
    check_ends(line, &p);
}

static void statistics_are_those_of_references(void **state)
{
    (void)state;
    static const golden_kind kinds[] = {
        {"mean_stderr", check_mean},
        {"group", check_group},
        {"paired_binary", check_binary},
        {"paired_real", check_real},
        {"paired_weighted_f1", check_weighted_f1},
        {"mcnemar", check_mcnemar},
        {NULL, NULL},
    };
    golden_lines("eval/statistics.jsonl", kinds);
}

/* Own vectors. */

static void student_is_as_in_tables(void **state)
{
    (void)state;
    static const struct {
        double p;
        int64_t freedom;
        double t;
    } cases[] = {
        {0.975, 1, 12.706204736174698},    {0.975, 2, 4.3026527297494637},
        {0.975, 4, 2.7764451051977934},    {0.975, 9, 2.2621571627982053},
        {0.995, 3, 5.8409093097333571},    {0.95, 30, 1.6972608865939587},
        {0.975, 1000, 1.9623390808264083}, {0.025, 4, -2.7764451051977934},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const double t = mr_student_quantile(cases[i].p, cases[i].freedom);
        if (!near(t, cases[i].t, 1e-11))
            fail_msg("t(%g, %lld) is %.15g", cases[i].p, (long long)cases[i].freedom, t);
    }
    assert_true(fabs(mr_student_quantile(0.5, 7)) < 1e-12);
}

static void one_value_tells_of_no_interval(void **state)
{
    (void)state;
    static const double value[] = {3, 5, 4};
    const mr_estimate one = mr_estimate_of(value, 1), all = mr_estimate_of(value, 3);
    assert_true(isnan(mr_estimate_error(one)));
    assert_true(isnan(mr_estimate_interval(one, 0.95).low));
    assert_true(isnan(mr_estimate_interval((mr_estimate){0}, 0.95).high));
    assert_true(
        near(mr_estimate_interval(all, 0.95).high, 4 + 4.3026527297494637 / sqrt(3), 1e-11));
    assert_true(near(mr_estimate_interval(all, 0.95).low, 4 - 4.3026527297494637 / sqrt(3), 1e-11));
    assert_int_equal(mr_estimate_pool(NULL, 0).n, 0);
    /* Groups of one value have no spread within. */
    assert_true(mr_estimate_pool((mr_estimate[]){{1, 3, 0}, {1, 5, 0}}, 2).spread == 0);
}

static void equal_runs_do_not_differ(void **state)
{
    (void)state;
    static const double a[] = {0, 1, 1, 0.25}, b[] = {0, 1, 0, 1};
    mr_paired p;
    must(mr_paired_compare(a, a, 4, &(mr_resampling){.samples = 100}, &p));
    assert_true(p.difference == 0 && p.interval.low == 0 && p.interval.high == 0 && !p.binary);
    must(mr_paired_compare(b, b, 4, &(mr_resampling){0}, &p));
    assert_true(p.binary && p.p == 1 && p.interval.low == 0 && p.interval.high == 0);
    assert_true(p.first == 0.5 && p.second == 0.5);
}

/* Two items, of which the second has one right: the sum over a sample is 0, 1 or 2 with 1/4, 1/2
 * and 1/4. */
static void a_distribution_of_two_items_is_known(void **state)
{
    (void)state;
    static const double a[] = {0, 0}, b[] = {0, 1};
    mr_paired p;
    must(mr_paired_compare(a, b, 2, &(mr_resampling){.probability = 0.4}, &p));
    assert_true(p.interval.low == 0.5 && p.interval.high == 0.5);
    must(mr_paired_compare(a, b, 2, &(mr_resampling){.probability = 0.6}, &p));
    assert_true(p.interval.low == 0 && p.interval.high == 1);
    assert_true(near(p.deviation, sqrt(0.125), rounding));
}

static void a_seed_draws_the_same_samples(void **state)
{
    (void)state;
    enum { ITEMS = 30 };
    double a[ITEMS], b[ITEMS];
    const mr_random random = mr_random_stream(5, MR_RANDOM_DATA, 0);
    mr_paired p, q, other;
    for (int i = 0; i < ITEMS; i++) {
        a[i] = mr_random_uniform(&random, (uint64_t)i);
        b[i] = mr_random_uniform(&random, (uint64_t)(ITEMS + i));
    }
    must(mr_paired_compare(a, b, ITEMS, &(mr_resampling){.samples = 200, .seed = 3}, &p));
    must(mr_paired_compare(a, b, ITEMS, &(mr_resampling){.samples = 200, .seed = 3}, &q));
    must(mr_paired_compare(a, b, ITEMS, &(mr_resampling){.samples = 200, .seed = 4}, &other));
    assert_memory_equal(&p.interval, &q.interval, sizeof p.interval);
    assert_true(p.deviation != other.deviation);
    /* The two the other way round: the same samples. */
    must(mr_paired_compare(b, a, ITEMS, &(mr_resampling){.samples = 200, .seed = 3}, &q));
    assert_true(near(p.deviation, q.deviation, rounding));
}

/* Truth is a difference of 0.1: 0.25 of all items are gained, 0.15 lost. */
static void intervals_of_rights_and_wrongs_hold_the_truth(void **state)
{
    (void)state;
    enum { TRIALS = 1000, ITEMS = 100 };
    double a[ITEMS], b[ITEMS];
    int held = 0, rejected = 0;
    for (int t = 0; t < TRIALS; t++) {
        const mr_random random = mr_random_stream(7, MR_RANDOM_DATA, (uint64_t)t);
        mr_paired p;
        for (int i = 0; i < ITEMS; i++) {
            const double u = mr_random_uniform(&random, (uint64_t)i);
            /* Lost, gained, right in both, wrong in both. */
            a[i] = u < 0.15 || (u > 0.4 && u < 0.7);
            b[i] = u >= 0.15 && u < 0.7;
        }
        must(mr_paired_compare(a, b, ITEMS, &(mr_resampling){0}, &p));
        held += p.interval.low <= 0.1 && p.interval.high >= 0.1;
        /* The same without a difference: half of what changed, either way. */
        const int64_t changed = p.only_first + p.only_second;
        int64_t to_first = 0;
        for (int64_t i = 0; i < changed; i++)
            to_first += mr_random_uniform(&random, (uint64_t)(ITEMS + i)) < 0.5;
        rejected += mr_mcnemar(to_first, changed - to_first) < 0.05;
    }
    print_message("%d of %d intervals of 95 %% hold the difference; McNemar's test calls %d of "
                  "%d equal pairs different at 0.05\n",
                  held, TRIALS, rejected, TRIALS);
    assert_in_range(held, 930, 970);
    assert_in_range(rejected, 10, 50); /* exact: at most 0.05 */
}

static void intervals_of_real_values_hold_the_truth(void **state)
{
    (void)state;
    enum { TRIALS = 500, ITEMS = 60, SAMPLES = 400 };
    double a[ITEMS], b[ITEMS];
    int held = 0;
    for (int t = 0; t < TRIALS; t++) {
        const mr_random random = mr_random_stream(9, MR_RANDOM_DATA, (uint64_t)t);
        mr_paired p;
        for (int i = 0; i < ITEMS; i++) {
            a[i] = mr_random_normal(&random, (uint64_t)(2 * i));
            b[i] = a[i] + 0.3 + 0.5 * mr_random_normal(&random, (uint64_t)(2 * i + 1));
        }
        must(mr_paired_compare(a, b, ITEMS,
                               &(mr_resampling){.samples = SAMPLES, .seed = (uint64_t)t}, &p));
        held += p.interval.low <= 0.3 && p.interval.high >= 0.3;
    }
    print_message("%d of %d intervals of 95 %% hold the difference\n", held, TRIALS);
    assert_in_range(held, 455, 490);
}

static void student_holds_the_mean_of_few_values(void **state)
{
    (void)state;
    enum { TRIALS = 2000, SEEDS = 3 };
    int held = 0;
    for (int t = 0; t < TRIALS; t++) {
        const mr_random random = mr_random_stream(11, MR_RANDOM_DATA, (uint64_t)t);
        double value[SEEDS];
        for (int i = 0; i < SEEDS; i++)
            value[i] = 5 + 2 * mr_random_normal(&random, (uint64_t)i);
        const mr_interval interval = mr_estimate_interval(mr_estimate_of(value, SEEDS), 0.95);
        held += interval.low <= 5 && interval.high >= 5;
    }
    print_message("%d of %d intervals of 95 %% hold the mean\n", held, TRIALS);
    assert_in_range(held, 1870, 1930);
}

static void what_cannot_be_compared_is_told(void **state)
{
    (void)state;
    static const double a[] = {0, 1}, b[] = {0, NAN};
    static const int32_t label[] = {0, 1}, beyond[] = {0, 2};
    const mr_labels l = {.items = 2, .classes = 2, .label = label, .prediction = label};
    mr_paired p;
    assert_int_equal(mr_paired_compare(a, b, 0, &(mr_resampling){0}, &p), MR_ERR_ARG);
    assert_contains(mr_message(), "expected items, found none");
    assert_int_equal(mr_paired_compare(a, b, 2, &(mr_resampling){0}, &p), MR_ERR_ARG);
    assert_contains(mr_message(), "item 1: expected finite numbers, found 1 and nan");
    assert_int_equal(
        mr_paired_metric(mr_metric_find("accuracy"), &l, beyond, &(mr_resampling){0}, &p),
        MR_ERR_ARG);
    assert_contains(mr_message(), "item 1: expected a prediction of 0..1, found 2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(student_is_as_in_tables),
        cmocka_unit_test(one_value_tells_of_no_interval),
        cmocka_unit_test(equal_runs_do_not_differ),
        cmocka_unit_test(a_distribution_of_two_items_is_known),
        cmocka_unit_test(a_seed_draws_the_same_samples),
        cmocka_unit_test(intervals_of_rights_and_wrongs_hold_the_truth),
        cmocka_unit_test(intervals_of_real_values_hold_the_truth),
        cmocka_unit_test(student_holds_the_mean_of_few_values),
        cmocka_unit_test(what_cannot_be_compared_is_told),
        cmocka_unit_test(statistics_are_those_of_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
