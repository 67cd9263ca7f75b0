/** @file
 * Metrics of sets: own vectors, and those of the published code (<root>/eval/metrics.jsonl of the
 * roots of MORA_GOLDEN). */

#include "eval/answer.h"
#include "eval/metric.h"
#include "eval/options.h"
#include "golden_lines.h"

#include <math.h>

enum { MOST = 1 << 16 };

static const double within = 1e-12; /* of a fraction: sums in another order */

/* Reads whole numbers [golden_list(line, key)]; returns how many there are. */
static int64_t read_classes(const json_t *line, const char *key, int32_t *to, int32_t *classes)
{
    size_t count;
    double *numbers = golden_numbers(line, key, &count);
    golden_assert(line, count <= MOST);
    for (size_t i = 0; i < count; i++) {
        to[i] = (int32_t)numbers[i];
        if (to[i] >= *classes) *classes = to[i] + 1;
    }
    mr_free(numbers);
    return (int64_t)count;
}

static int32_t label[MOST], prediction[MOST], group[MOST];

static mr_labels read_labels(const json_t *line)
{
    mr_labels l = {.label = label, .prediction = prediction};
    l.items = read_classes(line, "labels", label, &l.classes);
    golden_assert(line, read_classes(line, "predictions", prediction, &l.classes) == l.items);
    return l;
}

static void check_metric(const json_t *line, const mr_labels *l, const char *name, const char *key)
{
    double value;
    must(mr_metric_of(mr_metric_find(name), l, &value));
    golden_assert(line, fabs(value - golden_number(line, key) / 100) <= within);
}

static void check_labels(const json_t *line)
{
    static const char *const names[] = {"accuracy", "micro_f1", "weighted_f1", "macro_f1"};
    const mr_labels l = read_labels(line);
    for (int i = 0; i < 4; i++)
        check_metric(line, &l, names[i], names[i]);
}

static void check_headline(const json_t *line)
{
    mr_labels l = read_labels(line);
    l.group = group;
    golden_assert(line, read_classes(line, "class_ids", group, &l.groups) == l.items);
    check_metric(line, &l, "grouped_weighted_f1", "value");
}

/* The mean of the scores of items. */
static void check_mean(const json_t *line, const char *rule_name)
{
    const mr_answer_rule *rule = mr_answer_rule_find(rule_name);
    const size_t items = golden_list(line, "labels");
    double sum = 0;
    for (size_t i = 0; i < items; i++) {
        const json_t *gold_text = json_array_get(json_object_get(line, "labels"), i);
        const json_t *text = json_array_get(json_object_get(line, "predictions"), i);
        mr_answer found = {.state = MR_ANSWER_NONE}, gold = found;
        double score;
        must(rule->gold(json_string_value(gold_text), json_string_length(gold_text), &gold));
        must(rule->found(json_string_value(text), json_string_length(text), &found));
        must(mr_answer_score(rule, &found, &gold, &score));
        sum += score;
        mr_answer_free(&found);
        mr_answer_free(&gold);
    }
    golden_assert(line, fabs(sum / (double)items - golden_number(line, "value") / 100) <= within);
}

static void check_ner(const json_t *line)
{
    check_mean(line, "adaptllm_ner");
}

static void check_convfinqa(const json_t *line)
{
    check_mean(line, "adaptllm_convfinqa");
}

static int64_t best_of(double *score, size_t options)
{
    return mr_option_best(&(mr_option_scores){.score = score}, 0, (int64_t)options);
}

static void check_choice(const json_t *line)
{
    enum { OPTIONS = 64 };
    double sum[OPTIONS] = {0}, mean[OPTIONS];
    const size_t options = golden_list(line, "token_logprobs");
    golden_assert(line, options <= OPTIONS);
    for (size_t o = 0; o < options; o++) {
        const json_t *list = json_array_get(json_object_get(line, "token_logprobs"), o);
        for (size_t t = 0; t < json_array_size(list); t++)
            sum[o] += json_number_value(json_array_get(list, t));
        mean[o] = sum[o] / (double)json_array_size(list);
    }
    golden_assert(line, best_of(sum, options) == (int64_t)golden_number(line, "lm_eval"));
    golden_assert(line, best_of(mean, options) == (int64_t)golden_number(line, "adaptllm"));
}

static void metrics_are_those_of_the_published_code(void **state)
{
    (void)state;
    static const golden_kind kinds[] = {
        {"labels", check_labels},       {"headline", check_headline}, {"ner", check_ner},
        {"convfinqa", check_convfinqa}, {"choice", check_choice},     {NULL, NULL},
    };
    golden_lines("eval/metrics.jsonl", kinds);
}

/* Own vectors. */

static double value_of(const char *name, const mr_labels *l)
{
    double value;
    must(mr_metric_of(mr_metric_find(name), l, &value));
    return value;
}

/* Of classes 0: 2 of 3 told right; 1: 1 of 1, of two predicted; 2: none, once predicted. */
static const int32_t told[] = {0, 0, 0, 1}, said[] = {0, 0, 1, 1}, off[] = {0, 2, 1, 1};

static void f1_is_of_classes_seen(void **state)
{
    (void)state;
    mr_labels l = {.items = 4, .classes = 5, .label = told, .prediction = said};
    assert_true(fabs(value_of("accuracy", &l) - 0.75) <= within);
    assert_true(fabs(value_of("micro_f1", &l) - 0.75) <= within);
    assert_true(fabs(value_of("weighted_f1", &l) - (3 * 0.8 + 2. / 3) / 4) <= within);
    assert_true(fabs(value_of("macro_f1", &l) - (0.8 + 2. / 3) / 2) <= within);
    /* A class that is only predicted weighs nothing, but is seen. */
    l.prediction = off;
    assert_true(fabs(value_of("weighted_f1", &l) - (3 * 0.5 + 2. / 3) / 4) <= within);
    assert_true(fabs(value_of("macro_f1", &l) - (0.5 + 2. / 3 + 0) / 3) <= within);
}

static void an_item_may_count_several_times(void **state)
{
    (void)state;
    static const int32_t times[] = {2, 0, 1, 1}, label3[] = {0, 0, 0, 1}, said3[] = {0, 0, 1, 1},
                         none[] = {0, 0, 0, 0}, groups[] = {0, 0, 1, 1};
    const mr_labels l = {
        .items = 4, .classes = 2, .label = told, .prediction = said, .group = groups, .groups = 2};
    const mr_labels same = {.items = 4, .classes = 2, .label = label3, .prediction = said3};
    int64_t room[6];
    for (int i = 0; mr_metric_at(i); i++) {
        const mr_metric *m = mr_metric_at(i);
        assert_true(isnan(m->of(&l, none, room)));
        if (!m->grouped)
            assert_true(fabs(m->of(&l, times, room) - value_of(m->name, &same)) <= within);
    }
}

static void groups_weigh_the_same(void **state)
{
    (void)state;
    static const int32_t groups[] = {0, 0, 0, 1};
    const mr_labels l = {
        .items = 4, .classes = 2, .label = told, .prediction = said, .group = groups, .groups = 2};
    assert_true(fabs(value_of("grouped_weighted_f1", &l) - (0.8 + 1) / 2) <= within);
}

static void bad_labels_are_told_of(void **state)
{
    (void)state;
    static const int32_t groups[] = {0, 0, 0, 2}, beyond[] = {0, 0, 2, 0}, below[] = {0, -1, 0, 0};
    const mr_labels good = {.items = 4, .classes = 2, .label = told, .prediction = said};
    const mr_metric *m = mr_metric_find("accuracy"), *g = mr_metric_find("grouped_weighted_f1");
    double value;
    mr_labels l = good;
    l.items = 0;
    assert_int_equal(mr_metric_of(m, &l, &value), MR_ERR_ARG);
    assert_contains(mr_message(), "accuracy: expected items, found none");
    l = good;
    l.label = beyond;
    assert_int_equal(mr_metric_of(m, &l, &value), MR_ERR_ARG);
    assert_contains(mr_message(), "accuracy: item 2: expected a class of 0..1, found 2");
    l = good;
    l.prediction = below;
    assert_int_equal(mr_metric_of(m, &l, &value), MR_ERR_ARG);
    assert_contains(mr_message(), "accuracy: item 1: expected a prediction of 0..1, found -1");
    l = good;
    assert_int_equal(mr_metric_of(g, &l, &value), MR_ERR_ARG);
    assert_contains(mr_message(), "item 0: expected a group of");
    l.group = groups;
    l.groups = 3;
    assert_int_equal(mr_metric_of(g, &l, &value), MR_ERR_ARG);
    assert_contains(mr_message(), "grouped_weighted_f1: group 1 of 0..2 has no item");
    assert_null(mr_metric_find("f1"));
}

static void the_first_of_equal_options_is_taken(void **state)
{
    (void)state;
    double score[] = {-4, -2, -2, -6};
    assert_int_equal(best_of(score, 4), 1);
    assert_int_equal(best_of(score, 1), 0);
}

/* Of four items three are told; other metrics say something else of them. */
static void means_are_those_over_items(void **state)
{
    (void)state;
    static const int32_t labels[] = {0, 0, 0, 1}, predictions[] = {0, 0, 1, 1}, groups[4];
    const mr_labels l = {.items = 4,
                         .classes = 2,
                         .label = labels,
                         .prediction = predictions,
                         .group = groups,
                         .groups = 1};
    for (int i = 0; mr_metric_at(i); i++) {
        double value;
        must(mr_metric_of(mr_metric_at(i), &l, &value));
        assert_int_equal(mr_metric_at(i)->is_mean, fabs(value - 0.75) < 1e-12);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_are_those_over_items),
        cmocka_unit_test(f1_is_of_classes_seen),
        cmocka_unit_test(an_item_may_count_several_times),
        cmocka_unit_test(groups_weigh_the_same),
        cmocka_unit_test(bad_labels_are_told_of),
        cmocka_unit_test(the_first_of_equal_options_is_taken),
        cmocka_unit_test(metrics_are_those_of_the_published_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
