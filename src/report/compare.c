#include "base/file.h"
#include "eval/row_file.h"
#include "report/compare_impl.h"

#include <errno.h>
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
        status = mr_comparison_refuse(p->path, "%s differs, \"%.*s\" and \"%.*s\"", what, SHOWN,
                                      text[0], SHOWN, text[1]);
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
    if (length[0] == length[1]) return MR_OK;
    return mr_comparison_refuse(p->path, "seq_len differs, %lld and %lld", (long long)length[0],
                                (long long)length[1]);
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

/* What two logs say of a set must be the same; what neither says is. */
static mr_status check_said(const pair *p, const char *set, const char *what, const char *a,
                            const char *b)
{
    if (strcmp(a, b) == 0) return MR_OK;
    return mr_comparison_refuse(p->path, "/eval/%s: %s differs, \"%s\" and \"%s\"", set, what, a,
                                b);
}

static mr_status check_kind(const pair *p, const char *set, const mr_runlog_about about[2])
{
    const mr_runlog_about *a = &about[0], *b = &about[1];
    char version[2][24];
    for (int i = 0; i < 2; i++)
        snprintf(version[i], sizeof version[i], "%lld", (long long)about[i].version);
    MR_TRY(check_said(p, set, "the set", a->set, b->set));
    MR_TRY(check_said(p, set, "its version", version[0], version[1]));
    MR_TRY(check_said(p, set, "its rules", a->rules, b->rules));
    MR_TRY(check_said(p, set, "what was asked (items_hash)", a->items_hash, b->items_hash));
    if (strcmp(a->kind, b->kind) == 0 && strcmp(a->part, b->part) == 0) return MR_OK;
    return mr_comparison_refuse(p->path, "/eval/%s holds %s of the part %s, and %s of the part %s",
                                set, a->kind, a->part, b->kind, b->part);
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
    if (items[0] != items[1])
        return mr_comparison_refuse(p->path, "/eval/%s has %lld items and %lld", set->name,
                                    (long long)items[0], (long long)items[1]);
    set->paired.items = items[0];
    return MR_OK;
}

/* Compares a set by the rows beside the logs; why not, where there are none of these items, is
 * kept.
 */
static mr_status compare_by_rows(const pair *p, const mr_resampling *how, mr_compared_set *set)
{
    char path[2][PATH_MAX];
    const char *const paths[2] = {path[0], path[1]};
    mr_status status = MR_OK;
    for (int i = 0; i < 2 && status == MR_OK; i++) {
        const char *slash = strrchr(p->path[i], '/');
        const int folder = slash ? (int)(slash + 1 - p->path[i]) : 0;
        mr_runlog_about about;
        status = mr_runlog_tells(p->log[i], set->name, NULL, &about);
        if (status == MR_OK)
            status = mr_file_path(path[i], "%.*s%s", folder, p->path[i], about.rows);
    }
    if (status == MR_OK) status = mr_compared_by_rows(paths, set->about.set, how, set);
    if (status == MR_OK || status == MR_ERR_MEMORY) return status;
    set->not_by = mr_strdup(mr_message());
    return set->not_by ? MR_OK : MR_ERR_MEMORY;
}

static mr_status compare_set(const pair *p, const mr_resampling *how, mr_compared_set *set)
{
    MR_TRY(read_set(p, set));
    const int64_t items = set->paired.items;
    const mr_metric *metric = mr_metric_find(set->about.primary);
    if (metric && !metric->is_mean) set->by = metric;
    if (set->by) MR_TRY(compare_by_rows(p, how, set));
    if (set->by && !set->not_by) return MR_OK;
    mr_status status = mr_paired_compare(set->value[0], set->value[1], items, how, &set->paired);
    if (status == MR_ERR_ARG)
        return mr_fail_in(status, "%s and %s: /eval/%s", p->path[0], p->path[1], set->name);
    return status == MR_OK ? mr_compared_order(set) : status;
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

/* @param others  why the data of the runs are not the same; "": they are */
static mr_status add_set(const pair *p, const char *name, const char *others,
                         const mr_resampling *how, mr_comparison *out)
{
    const char *reason = reason_against(p, name);
    if (!reason && others[0]) {
        mr_runlog_about about;
        MR_TRY(mr_runlog_tells(p->log[0], name, NULL, &about));
        if (!about.items_hash[0]) reason = others;
    }
    if (reason) return mr_comparison_leave_out(out, name, reason);
    mr_compared_set *set = mr_comparison_add(out, name);
    return set ? compare_set(p, how, set) : MR_ERR_MEMORY;
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

static mr_status compare(const pair *p, const char *set, const mr_resampling *how,
                         mr_comparison *out)
{
    mr_names sets = {0};
    for (int i = 0; i < 2; i++)
        MR_TRY(read_run(p->log[i], p->path[i], &out->run[i]));
    /* A published evaluation, or other text, is the same whatever the runs are of. */
    char others[MR_MESSAGE_MAX] = "";
    mr_status status = check_items(p);
    if (status != MR_OK && status != MR_ERR_ARG) return status;
    if (status != MR_OK) snprintf(others, sizeof others, "%s", mr_message());
    status = set ? mr_names_add(&sets, set) : list_sets(p, &sets);
    for (int64_t i = 0; i < sets.count && status == MR_OK; i++)
        status = add_set(p, sets.item[i], others, how, out);
    mr_names_free(&sets);
    if (status == MR_OK && out->sets == 0 && others[0]) return mr_fail(MR_ERR_ARG, "%s", others);
    return status == MR_OK ? mr_comparison_check(p->path, out) : status;
}

static mr_status are_rows(const char *path, bool *rows)
{
    enum { HEAD = 1 << 16 };
    FILE *file = fopen(path, "rb");
    MR_CHECK(file, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    char *begin = mr_alloc(MR_MEM_OTHER, HEAD);
    if (begin) *rows = mr_row_file_is(begin, fread(begin, 1, HEAD, file));
    mr_status status = begin ? MR_OK : MR_ERR_MEMORY;
    mr_free(begin);
    fclose(file);
    return status;
}

mr_status mr_comparison_make(const char *const path[2], const char *set, const mr_resampling *how,
                             mr_comparison *out)
{
    pair p = {.path = path};
    bool rows[2];
    for (int i = 0; i < 2; i++)
        MR_TRY(are_rows(path[i], &rows[i]));
    MR_CHECK(rows[0] == rows[1], MR_ERR_ARG,
             "%s and %s cannot be compared: %s holds rows of items, %s does not", path[0], path[1],
             path[rows[1]], path[rows[0]]);
    if (rows[0]) return mr_comparison_of_rows(path, set, how, out);
    mr_status status = mr_runlog_open(path[0], &p.log[0]);
    if (status == MR_OK) status = mr_runlog_open(path[1], &p.log[1]);
    if (status == MR_OK) status = compare(&p, set, how, out);
    mr_runlog_close_reader(&p.log[0]);
    mr_runlog_close_reader(&p.log[1]);
    return status;
}
