#include "report/compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Both logs, while they are open. */
typedef struct pair {
    mr_runlog_reader *log[2];
    const char *const *path; /* [2] */
} pair;

static mr_status read_run(const mr_runlog_reader *log, const char *path, mr_compared_run *run)
{
    run->path = mr_strdup(path);
    if (!run->path) return MR_ERR_MEMORY;
    MR_TRY(mr_runlog_get_text(log, "run", &run->run));
    MR_TRY(mr_runlog_get_text(log, "task", &run->task));
    MR_TRY(mr_runlog_get_text(log, "method", &run->method));
    MR_TRY(mr_runlog_get_int(log, "r", &run->r));
    return mr_runlog_get_int(log, "seed", &run->seed);
}

/* Both must say the same of what items are made of; what logs of older programs do not say is not
 * needed. */
static mr_status check_text(const pair *p, const char *name, bool needed, const char *what)
{
    enum { SHOWN = 16 };
    char *text[2] = {NULL, NULL};
    mr_status status = MR_OK;
    for (int i = 0; i < 2 && status == MR_OK; i++)
        status = needed || mr_runlog_has_attribute(p->log[i], name)
                     ? mr_runlog_get_text(p->log[i], name, &text[i])
                     : MR_OK;
    if (status == MR_OK && text[0] && text[1] && strcmp(text[0], text[1]) != 0)
        status = mr_fail(MR_ERR_ARG,
                         "%s and %s cannot be compared item by item: %s differs, \"%.*s\" and "
                         "\"%.*s\"",
                         p->path[0], p->path[1], what, SHOWN, text[0], SHOWN, text[1]);
    mr_free(text[0]);
    mr_free(text[1]);
    return status;
}

static mr_status check_items(const pair *p)
{
    int64_t length[2];
    MR_TRY(check_text(p, "task", true, "the task"));
    MR_TRY(check_text(p, "data_hash", true, "the data (data_hash)"));
    MR_TRY(check_text(p, "tokenizer_hash", false, "the tokenizer (tokenizer_hash)"));
    for (int i = 0; i < 2; i++)
        MR_TRY(mr_runlog_get_int(p->log[i], "seq_len", &length[i]));
    MR_CHECK(length[0] == length[1], MR_ERR_ARG,
             "%s and %s cannot be compared item by item: seq_len differs, %lld and %lld",
             p->path[0], p->path[1], (long long)length[0], (long long)length[1]);
    return MR_OK;
}

/* Sets. */

static mr_status dataset_of(char out[512], const char *set, const char *name)
{
    const int length = snprintf(out, 512, "/eval/%s/%s", set, name);
    MR_CHECK(length < 512, MR_ERR_FORMAT, "the name of the set '%.64s...' is too long", set);
    return MR_OK;
}

/* Reads the last row of a dataset of evaluations. */
static mr_status read_last(const mr_runlog_reader *log, const char *path, const char *set,
                           const char *name, double *out)
{
    char dataset[512];
    double *values = NULL;
    int64_t count;
    MR_TRY(dataset_of(dataset, set, name));
    MR_TRY(mr_runlog_series(log, dataset, &values, &count));
    if (count > 0) *out = values[count - 1];
    mr_free(values);
    MR_CHECK(count > 0, MR_ERR_FORMAT, "%s: %s: expected evaluations, found none", path, dataset);
    return MR_OK;
}

static mr_status read_items(const mr_runlog_reader *log, const char *path, const char *set,
                            double **out, int64_t *items)
{
    char dataset[512];
    double *values = NULL;
    int64_t rows;
    MR_TRY(dataset_of(dataset, set, "items"));
    MR_TRY(mr_runlog_matrix(log, dataset, &values, &rows, items));
    mr_status status = MR_OK;
    if (rows == 0 || *items == 0)
        status = mr_fail(MR_ERR_FORMAT, "%s: %s: expected records, found none", path, dataset);
    *out = status == MR_OK ? mr_alloc_array(MR_MEM_OTHER, (size_t)*items, sizeof **out) : NULL;
    if (*out)
        memcpy(*out, values + (rows - 1) * *items, (size_t)*items * sizeof **out);
    else if (status == MR_OK)
        status = MR_ERR_MEMORY;
    mr_free(values);
    return status;
}

static mr_status check_kind(const pair *p, const char *set, const mr_runlog_about about[2])
{
    MR_CHECK(strcmp(about[0].kind, about[1].kind) == 0 && strcmp(about[0].part, about[1].part) == 0,
             MR_ERR_ARG,
             "%s and %s cannot be compared item by item: /eval/%s holds %s of the part %s, and %s "
             "of the part %s",
             p->path[0], p->path[1], set, about[0].kind, about[0].part, about[1].kind,
             about[1].part);
    return MR_OK;
}

static mr_status read_set(const pair *p, mr_compared_set *set)
{
    int64_t items[2];
    mr_runlog_about about[2];
    for (int i = 0; i < 2; i++) {
        const mr_runlog_reader *log = p->log[i];
        double step;
        MR_TRY(mr_runlog_tells(log, set->name, NULL, &about[i]));
        MR_TRY(read_last(log, p->path[i], set->name, "step", &step));
        set->step[i] = llround(step);
        set->score[i] = NAN;
        if (about[i].primary[0])
            MR_TRY(read_last(log, p->path[i], set->name, about[i].primary, &set->score[i]));
        MR_TRY(read_items(log, p->path[i], set->name, &set->value[i], &items[i]));
    }
    set->about = about[0];
    MR_TRY(check_kind(p, set->name, about));
    MR_CHECK(items[0] == items[1], MR_ERR_ARG,
             "%s and %s cannot be compared item by item: /eval/%s has %lld items and %lld",
             p->path[0], p->path[1], set->name, (long long)items[0], (long long)items[1]);
    set->paired.items = items[0];
    return MR_OK;
}

static int most_first(const void *a, const void *b)
{
    const mr_compared_item *x = a, *y = b;
    if (x->apart != y->apart) return x->apart < y->apart ? 1 : -1;
    return (x->item > y->item) - (x->item < y->item);
}

static mr_status compare_set(const pair *p, const mr_resampling *how, mr_compared_set *set)
{
    MR_TRY(read_set(p, set));
    const int64_t items = set->paired.items;
    mr_status status = mr_paired_compare(set->value[0], set->value[1], items, how, &set->paired);
    if (status == MR_ERR_ARG)
        return mr_fail_in(status, "%s and %s: /eval/%s", p->path[0], p->path[1], set->name);
    MR_TRY(status);
    set->order = mr_alloc_array(MR_MEM_OTHER, (size_t)items, sizeof *set->order);
    if (!set->order) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < items; i++) {
        const double apart = fabs(set->value[1][i] - set->value[0][i]);
        if (apart > 0) set->order[set->differ++] = (mr_compared_item){i, apart};
    }
    qsort(set->order, (size_t)set->differ, sizeof *set->order, most_first);
    return MR_OK;
}

bool mr_compared_differ(const mr_compared_set *set)
{
    const mr_paired *p = &set->paired;
    return p->binary ? p->p < 0.05 : p->interval.low > 0 || p->interval.high < 0;
}

/* Why a set is not compared; NULL where it is. */
static const char *reason_against(const pair *p, const char *set)
{
    static const char *const lacks[] = {"A has no such set", "B has no such set"};
    static const char *const bare[] = {"A has no records of its items",
                                       "B has no records of its items"};
    char group[512], items[512];
    snprintf(group, sizeof group, "/eval/%s", set);
    snprintf(items, sizeof items, "/eval/%s/items", set);
    for (int i = 0; i < 2; i++)
        if (!mr_runlog_has(p->log[i], group)) return lacks[i];
    for (int i = 0; i < 2; i++)
        if (!mr_runlog_has(p->log[i], items)) return bare[i];
    return NULL;
}

static mr_status add_set(const pair *p, const char *name, const mr_resampling *how,
                         mr_comparison *out)
{
    const char *reason = reason_against(p, name);
    if (reason) {
        char text[512];
        snprintf(text, sizeof text, "%s: %s", name, reason);
        return mr_names_add(&out->left_out, text);
    }
    MR_TRY(mr_grow(MR_MEM_OTHER, &out->set, &out->room, out->sets + 1, sizeof *out->set));
    mr_compared_set *set = &out->set[out->sets++];
    set->name = mr_strdup(name);
    return set->name ? compare_set(p, how, set) : MR_ERR_MEMORY;
}

static bool has(const mr_names *names, const char *name)
{
    for (int64_t i = 0; i < names->count; i++)
        if (strcmp(names->item[i], name) == 0) return true;
    return false;
}

/* The sets of both logs, those of A first. */
static mr_status list_sets(const pair *p, mr_names *out)
{
    for (int i = 0; i < 2; i++) {
        mr_names names = {0};
        mr_status status = mr_runlog_list(p->log[i], "/eval", &names);
        for (int64_t k = 0; k < names.count && status == MR_OK; k++)
            if (!has(out, names.item[k])) status = mr_names_add(out, names.item[k]);
        mr_names_free(&names);
        MR_TRY(status);
    }
    return MR_OK;
}

/* Says why nothing could be compared. */
static mr_status nothing(const pair *p, const mr_comparison *c)
{
    mr_text reasons = {0};
    for (int64_t i = 0; i < c->left_out.count; i++)
        mr_text_add(&reasons, "%s%s", i > 0 ? "; " : "", c->left_out.item[i]);
    mr_status status = mr_fail(
        MR_ERR_ARG, "%s and %s have no records of the same set of evaluations: %s", p->path[0],
        p->path[1], reasons.length > 0 ? mr_text_get(&reasons) : "they have no evaluations");
    mr_text_free(&reasons);
    return status;
}

static mr_status compare(const pair *p, const char *set, const mr_resampling *how,
                         mr_comparison *out)
{
    mr_names sets = {0};
    for (int i = 0; i < 2; i++)
        MR_TRY(read_run(p->log[i], p->path[i], &out->run[i]));
    MR_TRY(check_items(p));
    mr_status status = set ? mr_names_add(&sets, set) : list_sets(p, &sets);
    for (int64_t i = 0; i < sets.count && status == MR_OK; i++)
        status = add_set(p, sets.item[i], how, out);
    mr_names_free(&sets);
    return status == MR_OK && out->sets == 0 ? nothing(p, out) : status;
}

mr_status mr_comparison_make(const char *const path[2], const char *set, const mr_resampling *how,
                             mr_comparison *out)
{
    pair p = {.path = path};
    mr_status status = mr_runlog_open(path[0], &p.log[0]);
    if (status == MR_OK) status = mr_runlog_open(path[1], &p.log[1]);
    if (status == MR_OK) status = compare(&p, set, how, out);
    mr_runlog_close_reader(&p.log[0]);
    mr_runlog_close_reader(&p.log[1]);
    return status;
}

void mr_comparison_free(mr_comparison *comparison)
{
    for (int i = 0; i < 2; i++) {
        mr_free(comparison->run[i].path);
        mr_free(comparison->run[i].run);
        mr_free(comparison->run[i].task);
        mr_free(comparison->run[i].method);
    }
    for (int64_t i = 0; i < comparison->sets; i++) {
        mr_compared_set *set = &comparison->set[i];
        mr_free(set->name);
        mr_free(set->value[0]);
        mr_free(set->value[1]);
        mr_free(set->order);
    }
    mr_free(comparison->set);
    mr_names_free(&comparison->left_out);
    *comparison = (mr_comparison){.sets = 0};
}
