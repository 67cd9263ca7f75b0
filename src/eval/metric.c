#include "eval/metric.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

/* What is counted of a class; room has three numbers a class. */
typedef struct tally {
    int64_t right, labels, predictions;
} tally;

enum { ALL_GROUPS = -1 };

/* Counts the items of a group; returns how many there are. */
static int64_t count(const mr_labels *l, const int32_t *times, int32_t group, tally *classes)
{
    int64_t items = 0;
    memset(classes, 0, (size_t)l->classes * sizeof *classes);
    for (int64_t i = 0; i < l->items; i++) {
        if (group != ALL_GROUPS && l->group[i] != group) continue;
        const int64_t n = times ? times[i] : 1;
        items += n;
        classes[l->label[i]].labels += n;
        classes[l->prediction[i]].predictions += n;
        if (l->label[i] == l->prediction[i]) classes[l->label[i]].right += n;
    }
    return items;
}

/* F1 of a class that was told or predicted: 2 TP / (2 TP + FP + FN). */
static double f1(const tally *c)
{
    return 2 * (double)c->right / (double)(c->labels + c->predictions);
}

static double accuracy(const mr_labels *l, const int32_t *times, int64_t *room)
{
    tally *classes = (tally *)room;
    const int64_t items = count(l, times, ALL_GROUPS, classes);
    int64_t right = 0;
    for (int32_t c = 0; c < l->classes; c++)
        right += classes[c].right;
    return items > 0 ? (double)right / (double)items : NAN;
}

static double weighted(const mr_labels *l, const int32_t *times, int32_t group, tally *classes)
{
    const int64_t items = count(l, times, group, classes);
    double sum = 0;
    for (int32_t c = 0; c < l->classes; c++)
        if (classes[c].labels > 0) sum += (double)classes[c].labels * f1(&classes[c]);
    return items > 0 ? sum / (double)items : NAN;
}

static double weighted_f1(const mr_labels *l, const int32_t *times, int64_t *room)
{
    return weighted(l, times, ALL_GROUPS, (tally *)room);
}

static double macro_f1(const mr_labels *l, const int32_t *times, int64_t *room)
{
    tally *classes = (tally *)room;
    const int64_t items = count(l, times, ALL_GROUPS, classes);
    double sum = 0;
    int64_t seen = 0;
    for (int32_t c = 0; c < l->classes; c++) {
        if (classes[c].labels + classes[c].predictions == 0) continue;
        sum += f1(&classes[c]);
        seen++;
    }
    return items > 0 ? sum / (double)seen : NAN;
}

static double grouped_weighted_f1(const mr_labels *l, const int32_t *times, int64_t *room)
{
    double sum = 0;
    for (int32_t g = 0; g < l->groups; g++)
        sum += weighted(l, times, g, (tally *)room);
    return sum / l->groups;
}

static const mr_metric metrics[] = {
    {"accuracy", "share of items whose class was told", .is_mean = true, .of = accuracy},
    /* Every item has one class: precision, recall and F1 of all classes together are accuracy. */
    {"micro_f1", "F1 of all classes together", .is_mean = true, .of = accuracy},
    {"weighted_f1", "mean of F1 over classes, weighted by their items", .of = weighted_f1},
    {"macro_f1", "mean of F1 over classes seen", .of = macro_f1},
    {"grouped_weighted_f1", "mean of weighted F1 over groups of items", .grouped = true,
     .of = grouped_weighted_f1},
};

enum { METRICS = sizeof metrics / sizeof metrics[0] };

const mr_metric *mr_metric_at(int index)
{
    return index < METRICS ? &metrics[index] : NULL;
}

const mr_metric *mr_metric_find(const char *name)
{
    for (int i = 0; i < METRICS; i++)
        if (strcmp(metrics[i].name, name) == 0) return &metrics[i];
    return NULL;
}

static mr_status check(const mr_metric *metric, const mr_labels *l)
{
    MR_CHECK(l->items > 0, MR_ERR_ARG, "%s: expected items, found none", metric->name);
    for (int64_t i = 0; i < l->items; i++) {
        MR_CHECK(l->label[i] >= 0 && l->label[i] < l->classes, MR_ERR_ARG,
                 "%s: item %lld: expected a class of 0..%d, found %d", metric->name, (long long)i,
                 l->classes - 1, l->label[i]);
        MR_CHECK(l->prediction[i] >= 0 && l->prediction[i] < l->classes, MR_ERR_ARG,
                 "%s: item %lld: expected a prediction of 0..%d, found %d", metric->name,
                 (long long)i, l->classes - 1, l->prediction[i]);
        MR_CHECK(!metric->grouped || (l->group && l->group[i] >= 0 && l->group[i] < l->groups),
                 MR_ERR_ARG, "%s: item %lld: expected a group of 0..%d, found %d", metric->name,
                 (long long)i, l->groups - 1, l->group ? l->group[i] : -1);
    }
    return MR_OK;
}

static mr_status check_groups(const mr_metric *metric, const mr_labels *l)
{
    for (int32_t g = 0; metric->grouped && g < l->groups; g++) {
        int64_t i = 0;
        while (i < l->items && l->group[i] != g)
            i++;
        MR_CHECK(i < l->items, MR_ERR_ARG, "%s: group %d of 0..%d has no item", metric->name, g,
                 l->groups - 1);
    }
    return MR_OK;
}

mr_status mr_metric_of(const mr_metric *metric, const mr_labels *labels, double *out)
{
    *out = NAN;
    MR_TRY(check(metric, labels));
    MR_TRY(check_groups(metric, labels));
    int64_t *room = mr_alloc_array(MR_MEM_EVAL, (size_t)labels->classes, 3 * sizeof *room);
    if (!room) return MR_ERR_MEMORY;
    *out = metric->of(labels, NULL, room);
    mr_free(room);
    return MR_OK;
}
