/* Two files of rows of items beside each other. */

#include "eval/row_file.h"
#include "report/compare_impl.h"
#include "store/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A set of both files. Borrows all. */
typedef struct rows {
    const char *const *path; /* [2] */
    const char *name;
    const json_t *head[2], *row[2];
    int64_t items;
} rows;

static mr_status fail_rows(const rows *r, const char *what, const json_t *a, const json_t *b)
{
    char *one = a ? json_dumps(a, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    char *other = b ? json_dumps(b, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    mr_status status = mr_comparison_refuse(r->path, "%s: %s differs, %.100s and %.100s", r->name,
                                            what, one ? one : "none", other ? other : "none");
    free(one);
    free(other);
    return status;
}

static bool same(const json_t *a, const json_t *b)
{
    return (!a && !b) || (a && b && json_equal(a, b));
}

/* Both must be complete, and of the same items, asked and judged alike. */
static mr_status check(const rows *r)
{
    static const char *const keys[] = {"kind",   "part",  "data",   "width", "version",
                                       "source", "rules", "metric", "items"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const json_t *a = json_object_get(r->head[0], keys[k]);
        const json_t *b = json_object_get(r->head[1], keys[k]);
        if (!same(a, b)) return fail_rows(r, keys[k], a, b);
    }
    for (int i = 0; i < 2; i++)
        MR_CHECK((int64_t)json_array_size(r->row[i]) == r->items, MR_ERR_ARG,
                 "%s: %s is not complete: %lld of %lld items are there", r->path[i], r->name,
                 (long long)json_array_size(r->row[i]), (long long)r->items);
    for (int64_t k = 0; k < r->items; k++) {
        const json_t *a = json_array_get(r->row[0], (size_t)k);
        const json_t *b = json_array_get(r->row[1], (size_t)k);
        char what[64];
        snprintf(what, sizeof what, "item number %lld", (long long)k);
        if (!same(json_object_get(a, "item"), json_object_get(b, "item")))
            return fail_rows(r, what, json_object_get(a, "item"), json_object_get(b, "item"));
        snprintf(what, sizeof what, "the prompt of item number %lld", (long long)k);
        if (!same(json_object_get(a, "prompt"), json_object_get(b, "prompt")))
            return fail_rows(r, what, json_object_get(a, "prompt"), json_object_get(b, "prompt"));
    }
    return MR_OK;
}

/* The member of an item, by rule where there are some. */
static const json_t *member(const rows *r, int side, int64_t item, const char *key, int rule)
{
    const json_t *value = json_object_get(json_array_get(r->row[side], (size_t)item), key);
    return json_is_array(value) ? json_array_get(value, (size_t)rule) : value;
}

static mr_status read_values(const rows *r, int rule, mr_compared_set *set)
{
    for (int i = 0; i < 2; i++) {
        set->value[i] = mr_alloc_array(MR_MEM_OTHER, (size_t)r->items, sizeof *set->value[i]);
        if (!set->value[i]) return MR_ERR_MEMORY;
        for (int64_t k = 0; k < r->items; k++) {
            const json_t *score = member(r, i, k, "score", rule);
            MR_CHECK(json_is_number(score), MR_ERR_FORMAT,
                     "%s: %s: item number %lld: expected a number as \"score\"", r->path[i],
                     r->name, (long long)k);
            set->value[i][k] = json_number_value(score);
        }
    }
    return MR_OK;
}

/* Labels. */

static mr_status read_labels(const rows *r, int side, const char *key, int32_t *classes,
                             int32_t *out)
{
    enum { MOST = 1 << 20 };
    for (int64_t k = 0; k < r->items; k++) {
        const json_t *value = member(r, side, k, key, 0);
        MR_CHECK(json_is_integer(value) && json_integer_value(value) >= 0 &&
                     json_integer_value(value) < MOST,
                 MR_ERR_FORMAT, "%s: %s: item number %lld: expected an option as \"%s\"",
                 r->path[side], r->name, (long long)k, key);
        out[k] = (int32_t)json_integer_value(value);
        if (out[k] >= *classes) *classes = out[k] + 1;
    }
    return MR_OK;
}

/* Numbers the classes of items in the order in which they come. */
static int32_t number_groups(const rows *r, int32_t *out)
{
    json_t *numbers = json_object();
    for (int64_t k = 0; k < r->items; k++) {
        const char *class = json_string_value(member(r, 0, k, "class", 0));
        if (!class) class = "";
        if (!json_object_get(numbers, class))
            json_object_set_new(numbers, class,
                                json_integer((json_int_t)json_object_size(numbers)));
        out[k] = (int32_t)json_integer_value(json_object_get(numbers, class));
    }
    const int32_t groups = (int32_t)json_object_size(numbers);
    json_decref(numbers);
    return groups;
}

/* By a metric that is no mean over items. */
static mr_status compare_labels(const rows *r, const mr_resampling *how, mr_compared_set *set)
{
    const size_t items = (size_t)r->items;
    int32_t *room = mr_alloc_array(MR_MEM_OTHER, 4 * items, sizeof *room), classes = 0;
    if (!room) return MR_ERR_MEMORY;
    int32_t *gold = room, *group = room + items, *found[2] = {group + items, group + 2 * items};
    mr_status status = read_labels(r, 0, "gold", &classes, gold);
    for (int i = 0; i < 2 && status == MR_OK; i++)
        status = read_labels(r, i, "found", &classes, found[i]);
    if (status == MR_OK) {
        const mr_labels labels = {.items = r->items,
                                  .classes = classes,
                                  .label = gold,
                                  .prediction = found[0],
                                  .group = set->by->grouped ? group : NULL,
                                  .groups = number_groups(r, group)};
        status = mr_paired_metric(set->by, &labels, found[1], how, &set->paired);
    }
    mr_free(room);
    return status;
}

/* What was found. */

static char *text_of(const json_t *value)
{
    if (json_is_string(value)) return mr_strdup(json_string_value(value));
    char *dumped = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    char *text = mr_strdup(dumped ? dumped : "");
    free(dumped);
    return text;
}

static mr_status read_answers(const rows *r, int rule, mr_compared_set *set)
{
    set->answer = mr_alloc_array(MR_MEM_OTHER, (size_t)set->differ + 1, sizeof *set->answer);
    if (!set->answer) return MR_ERR_MEMORY;
    for (int64_t k = 0; k < set->differ; k++) {
        const int64_t item = set->order[k].item;
        mr_compared_answer *answer = &set->answer[k];
        answer->id = text_of(member(r, 0, item, "item", 0));
        answer->gold = text_of(member(r, 0, item, "gold", 0));
        for (int i = 0; i < 2; i++)
            answer->found[i] = text_of(member(r, i, item, "found", rule));
        if (!answer->id || !answer->gold || !answer->found[0] || !answer->found[1])
            return MR_ERR_MEMORY;
    }
    return MR_OK;
}

/* What a head says; of a published evaluation, whose heads do not, `otherwise`. */
static const char *said(const rows *r, const char *key, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(r->head[0], key));
    return text ? text : otherwise;
}

/* Compares a set by one of its rules, or by its metric. */
static mr_status compare_by(const rows *r, int rule, const char *score, bool alone,
                            const mr_resampling *how, mr_comparison *out)
{
    char name[256], item[128];
    snprintf(name, sizeof name, "%s%s%s", r->name, alone ? "" : " ", alone ? "" : score);
    mr_compared_set *set = mr_comparison_add(out, name);
    if (!set) return MR_ERR_MEMORY;
    snprintf(set->about.kind, sizeof set->about.kind, "%s", said(r, "kind", "benchmark"));
    snprintf(item, sizeof item, "score of an answer by %s, 0 to 1", score);
    snprintf(set->about.item, sizeof set->about.item, "%s", said(r, "record", item));
    snprintf(set->about.primary, sizeof set->about.primary, "%s", score);
    snprintf(set->about.unit, sizeof set->about.unit, "%s", said(r, "unit", "fraction"));
    for (int i = 0; i < 2; i++)
        set->step[i] = json_integer_value(json_object_get(r->head[i], "steps"));
    MR_TRY(read_values(r, rule, set));
    const mr_metric *metric = mr_metric_find(score);
    if (metric && !metric->is_mean) set->by = metric;
    mr_status status =
        set->by ? compare_labels(r, how, set)
                : mr_paired_compare(set->value[0], set->value[1], r->items, how, &set->paired);
    if (status == MR_ERR_ARG)
        return mr_fail_in(status, "%s and %s: %s", r->path[0], r->path[1], r->name);
    MR_TRY(status);
    set->score[0] = set->paired.first;
    set->score[1] = set->paired.second;
    MR_TRY(mr_compared_order(set));
    return read_answers(r, rule, set);
}

static mr_status compare_set(const rows *r, const mr_resampling *how, mr_comparison *out)
{
    MR_TRY(check(r));
    const json_t *rules = json_object_get(r->head[0], "rules");
    const size_t count = json_array_size(rules);
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_object_get(json_array_get(rules, i), "name"));
        MR_TRY(compare_by(r, (int)i, name ? name : "", count == 1, how, out));
    }
    const char *metric = json_string_value(json_object_get(r->head[0], "metric"));
    return count > 0 ? MR_OK : compare_by(r, 0, metric ? metric : "accuracy", true, how, out);
}

static const json_t *find_set(const json_t *file, const char *name)
{
    size_t i;
    const json_t *set;
    json_array_foreach(file, i, set)
    {
        const char *own = json_string_value(json_object_get(json_object_get(set, "head"), "set"));
        if (own && strcmp(own, name) == 0) return set;
    }
    return NULL;
}

static rows rows_of(const char *const path[2], const char *name, const json_t *a, const json_t *b)
{
    return (rows){.path = path,
                  .name = name,
                  .head = {json_object_get(a, "head"), json_object_get(b, "head")},
                  .row = {json_object_get(a, "rows"), json_object_get(b, "rows")},
                  .items =
                      json_integer_value(json_object_get(json_object_get(a, "head"), "items"))};
}

/* The sets of one of the files; the first tells of both. */
static mr_status compare_sets(const char *const path[2], json_t *const file[2], int side,
                              const char *wanted, const mr_resampling *how, mr_comparison *out)
{
    size_t i;
    const json_t *mine;
    json_array_foreach(file[side], i, mine)
    {
        const char *name = json_string_value(json_object_get(json_object_get(mine, "head"), "set"));
        const json_t *theirs = name ? find_set(file[!side], name) : NULL;
        if (!name || (wanted && strcmp(wanted, name) != 0)) continue;
        if (!theirs)
            MR_TRY(mr_comparison_leave_out(out, name,
                                           side == 0 ? "B has no such set" : "A has no such set"));
        if (!theirs || side == 1) continue;
        const rows r = rows_of(path, name, mine, theirs);
        MR_TRY(compare_set(&r, how, out));
    }
    return MR_OK;
}

/* Rows of an earlier evaluation, or of other items, are not those of the records. */
static mr_status check_records(const rows *r, const mr_compared_set *set)
{
    MR_CHECK(r->items == set->paired.items, MR_ERR_ARG, "%s holds %lld items of %s, the log %lld",
             r->path[0], (long long)r->items, r->name, (long long)set->paired.items);
    for (int i = 0; i < 2; i++) {
        const json_int_t step = json_integer_value(json_object_get(r->head[i], "steps"));
        MR_CHECK(step == set->step[i], MR_ERR_ARG, "%s is of step %lld, the log of %lld",
                 r->path[i], (long long)step, (long long)set->step[i]);
    }
    return check(r);
}

mr_status mr_compared_by_rows(const char *const path[2], const char *name, const mr_resampling *how,
                              mr_compared_set *set)
{
    json_t *file[2] = {NULL, NULL};
    const json_t *of[2];
    mr_status status = MR_OK;
    for (int i = 0; i < 2 && status == MR_OK; i++) {
        status = mr_row_file_read(path[i], &file[i]);
        of[i] = find_set(file[i], name);
        if (status == MR_OK && !of[i])
            status = mr_fail(MR_ERR_ARG, "%s has no rows of %s", path[i], name);
    }
    if (status == MR_OK) {
        const rows r = rows_of(path, name, of[0], of[1]);
        status = check_records(&r, set);
        if (status == MR_OK) status = compare_labels(&r, how, set);
        if (status == MR_OK) status = mr_compared_order(set);
        if (status == MR_OK) status = read_answers(&r, 0, set);
    }
    json_decref(file[0]);
    json_decref(file[1]);
    return status;
}

static mr_status tell_model(const char *path, const json_t *file, mr_compared_run *run)
{
    const json_t *head = json_object_get(json_array_get(file, 0), "head");
    run->path = mr_strdup(path);
    run->model = text_of(json_object_get(head, "model"));
    return run->path && run->model ? MR_OK : MR_ERR_MEMORY;
}

mr_status mr_comparison_of_rows(const char *const path[2], const char *set,
                                const mr_resampling *how, mr_comparison *out)
{
    json_t *file[2] = {NULL, NULL};
    mr_status status = MR_OK;
    for (int i = 0; i < 2 && status == MR_OK; i++) {
        status = mr_row_file_read(path[i], &file[i]);
        if (status == MR_OK) status = tell_model(path[i], file[i], &out->run[i]);
    }
    for (int i = 0; i < 2 && status == MR_OK; i++)
        status = compare_sets(path, file, i, set, how, out);
    json_decref(file[0]);
    json_decref(file[1]);
    if (status == MR_OK && set && out->sets == 0 && out->left_out.count == 0)
        status = mr_comparison_leave_out(out, set, "neither has such a set");
    return status == MR_OK ? mr_comparison_check(path, out) : status;
}
