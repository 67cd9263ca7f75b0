#include "eval/set_scores.h"

#include "eval/resample.h"
#include "store/json.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 1000 };

/* Room for the scores of all items, and for what they say class by class. */
typedef struct strata {
    double *score;      /* [items], owned */
    mr_estimate *class; /* [classes], owned */
} strata;

/* The mean score by one rule of some items, or of all: its spread is that within classes, of which
 * items come one after another, where there are fewer of them than items. */
static mr_estimate estimate(const mr_set_run *run, const mr_set_outcome *outcomes, int rule, int by,
                            const char *group, const strata *room)
{
    char name[32];
    int64_t count = 0, from = 0, classes = 0;
    int32_t class = 0;
    for (int64_t i = 0; i < run->items; i++) {
        if (group && strcmp(mr_set_group(run->set, run->order[i], by, name), group) != 0) continue;
        const int32_t own = run->set->record[run->set->at[run->order[i]]].class;
        if (count > from && own != class) {
            room->class[classes++] = mr_estimate_of(room->score + from, count - from);
            from = count;
        }
        class = own;
        room->score[count++] = outcomes[i].score[rule];
    }
    if (count > from) room->class[classes++] = mr_estimate_of(room->score + from, count - from);
    mr_estimate all = mr_estimate_of(room->score, count);
    if (classes > 1 && classes < count) all.spread = mr_estimate_pool(room->class, classes).spread;
    return all;
}

/* Groups. */

static mr_status add_group(mr_set_scores *out, int by, const char *name)
{
    for (int64_t g = 0; g < out->groups; g++)
        if (out->group[g].by == by && strcmp(out->group[g].name, name) == 0) return MR_OK;
    MR_TRY(mr_grow(MR_MEM_OTHER, &out->group, &out->room, out->groups + 1, sizeof *out->group));
    mr_set_group_score *g = &out->group[out->groups];
    *g = (mr_set_group_score){.name = mr_strdup(name), .by = by};
    if (!g->name) return MR_ERR_MEMORY;
    out->groups++;
    return MR_OK;
}

static mr_status add_groups(const mr_set_run *run, const mr_set_outcome *outcomes,
                            const strata *room, mr_set_scores *out)
{
    char name[32];
    for (int by = 0; by <= run->set->by.count; by++)
        for (int64_t i = 0; i < run->items; i++) {
            const char *group = mr_set_group(run->set, run->order[i], by, name);
            if (group) MR_TRY(add_group(out, by, group));
        }
    for (int64_t g = 0; g < out->groups; g++)
        for (int r = 0; r < out->scores; r++)
            out->group[g].score[r] =
                estimate(run, outcomes, r, out->group[g].by, out->group[g].name, room);
    return MR_OK;
}

/* Metrics of labels. */

/* Room for labels, owned. */
typedef struct labels {
    const mr_metric *metric; /* borrowed */
    int32_t *label, *prediction, *group;
    int64_t *room;
    mr_labels of;
} labels;

static void free_labels(labels *l)
{
    mr_free(l->label);
    mr_free(l->prediction);
    mr_free(l->group);
    mr_free(l->room);
}

static mr_status make_labels(const mr_set_run *run, const mr_set_outcome *outcomes, labels *l)
{
    const size_t items = (size_t)run->items;
    const mr_set *set = run->set;
    l->label = mr_alloc_array(MR_MEM_OTHER, items, sizeof *l->label);
    l->prediction = mr_alloc_array(MR_MEM_OTHER, items, sizeof *l->prediction);
    l->group = mr_alloc_array(MR_MEM_OTHER, items, sizeof *l->group);
    if (!l->label || !l->prediction || !l->group) return MR_ERR_MEMORY;
    l->of = (mr_labels){.items = run->items,
                        .label = l->label,
                        .prediction = l->prediction,
                        .group = set->metric->grouped ? l->group : NULL,
                        .groups = set->class_count};
    for (int64_t i = 0; i < run->items; i++) {
        const mr_set_record *r = &set->record[set->at[run->order[i]]];
        l->label[i] = r->gold;
        l->prediction[i] = outcomes[i].found;
        l->group[i] = r->class;
        const int32_t more = r->gold > outcomes[i].found ? r->gold : outcomes[i].found;
        if (more >= l->of.classes) l->of.classes = more + 1;
    }
    l->room = mr_alloc_array(MR_MEM_OTHER, 3 * (size_t)l->of.classes, sizeof *l->room);
    return l->room ? MR_OK : MR_ERR_MEMORY;
}

static double value_of(const void *of, const int32_t *times)
{
    const labels *l = of;
    return l->metric->of(&l->of, times, l->room);
}

static mr_status score_labels(const mr_set_run *run, const mr_set_outcome *outcomes,
                              mr_set_score *score)
{
    labels l = {.metric = run->set->metric};
    mr_resampled found = {.deviation = NAN};
    mr_status status = make_labels(run, outcomes, &l);
    if (status == MR_OK) status = mr_metric_of(l.metric, &l.of, &score->value);
    if (status == MR_OK)
        status =
            mr_resample(&(mr_resampling){.samples = SAMPLES}, run->items, value_of, &l, &found);
    score->error = found.deviation;
    score->items = run->items;
    free_labels(&l);
    return status;
}

static mr_status score_all(const mr_set_run *run, const mr_set_outcome *outcomes,
                           const strata *room, mr_set_scores *out)
{
    const mr_set *set = run->set;
    out->scores = set->metric ? 1 : set->rule_names.count;
    for (int r = 0; r < out->scores; r++) {
        out->score[r].name = set->metric ? set->metric->name : set->rule[r]->name;
        out->score[r].version = set->metric ? 0 : set->rule[r]->version;
    }
    for (int64_t i = 0; i < run->items; i++)
        out->cut += outcomes[i].cut > 0;
    MR_TRY(add_groups(run, outcomes, room, out));
    if (set->metric && !set->metric->is_mean) return score_labels(run, outcomes, &out->score[0]);
    for (int r = 0; r < out->scores; r++) {
        const mr_estimate all = estimate(run, outcomes, r, 0, NULL, room);
        out->score[r].items = all.n;
        out->score[r].value = all.mean;
        out->score[r].error = mr_estimate_error(all);
    }
    return MR_OK;
}

mr_status mr_set_scores_of(const mr_set_run *run, const mr_set_outcome *outcomes,
                           mr_set_scores *out)
{
    *out = (mr_set_scores){.set = run->set};
    const size_t classes = run->set->class_count > 0 ? (size_t)run->set->class_count : 1;
    const strata room = {
        mr_alloc_array(MR_MEM_OTHER, (size_t)run->items, sizeof *room.score),
        mr_alloc_array(MR_MEM_OTHER, classes, sizeof *room.class),
    };
    mr_status status =
        room.score && room.class ? score_all(run, outcomes, &room, out) : MR_ERR_MEMORY;
    mr_free(room.score);
    mr_free(room.class);
    if (status != MR_OK) mr_set_scores_free(out);
    return status;
}

void mr_set_scores_free(mr_set_scores *scores)
{
    for (int64_t g = 0; g < scores->groups; g++)
        mr_free(scores->group[g].name);
    mr_free(scores->group);
    *scores = (mr_set_scores){.set = NULL};
}

/* Text and JSON. */

static void print_number(double value, double error, mr_text *out)
{
    mr_text_add(out, "  %6.2f", 100 * value);
    if (isfinite(error))
        mr_text_add(out, " ±%-5.2f", 100 * error);
    else
        mr_text_add(out, "       ");
}

/* Tells what an error of 0 hides: of items that all scored the same, those to come need not. */
static void print_alike(const mr_set_scores *s, mr_text *out)
{
    for (int r = 0; r < s->scores; r++) {
        const long long items = (long long)s->score[r].items;
        if (s->score[r].error != 0) continue;
        mr_text_add(out,
                    "  ±0.00: all items (%lld) score the same; up to %.2f of others may not, at "
                    "95 %%\n",
                    items, 100 * (1 - pow(0.05, 1 / (double)items)));
        return;
    }
}

static int width_of(const mr_set_scores *s)
{
    size_t width = 0;
    for (int r = 0; r < s->scores; r++)
        if (strlen(s->score[r].name) > width) width = strlen(s->score[r].name);
    for (int64_t g = 0; g < s->groups; g++)
        if (strlen(s->group[g].name) > width) width = strlen(s->group[g].name);
    return (int)width;
}

void mr_set_scores_print(const mr_set_scores *s, mr_text *out)
{
    const int width = width_of(s);
    mr_text_add(out, "%s, version %lld", s->set->name, (long long)s->set->version);
    if (s->set->source[0] != '\0') mr_text_add(out, " (%s)", s->set->source);
    mr_text_add(out, "\n");
    for (int r = 0; r < s->scores; r++) {
        mr_text_add(out, "  %-*s", width + 2, s->score[r].name);
        print_number(s->score[r].value, s->score[r].error, out);
        mr_text_add(out, "  %lld items", (long long)s->score[r].items);
        if (s->score[r].version > 0) mr_text_add(out, "; rule version %d", s->score[r].version);
        mr_text_add(out, "\n");
    }
    for (int64_t g = 0; g < s->groups; g++) {
        mr_text_add(out, "    %-*s", width, s->group[g].name);
        for (int r = 0; r < s->scores; r++)
            print_number(s->group[g].score[r].mean, mr_estimate_error(s->group[g].score[r]), out);
        mr_text_add(out, "  %lld\n", (long long)s->group[g].score[0].n);
    }
    print_alike(s, out);
    if (s->cut > 0)
        mr_text_add(out, "  %lld items were longer than the model takes and lost their beginning\n",
                    (long long)s->cut);
}

static json_t *groups_json(const mr_set_scores *s)
{
    json_t *list = json_array();
    for (int64_t g = 0; g < s->groups; g++) {
        const mr_set_group_score *group = &s->group[g];
        json_t *scores = json_array(), *errors = json_array();
        for (int r = 0; r < s->scores; r++) {
            mr_json_append(&scores, json_real(group->score[r].mean));
            mr_json_append(&errors, mr_json_number(mr_estimate_error(group->score[r])));
        }
        const char *by = group->by == 0 ? s->set->class_field : s->set->by.item[group->by - 1];
        mr_json_append(&list,
                       json_pack("{s:s, s:o, s:I, s:o, s:o}", "by", by, "name",
                                 mr_json_text(group->name), "items", (json_int_t)group->score[0].n,
                                 "values", scores, "standard_errors", errors));
    }
    return list;
}

json_t *mr_set_scores_json(const mr_set_scores *s)
{
    json_t *scores = json_array();
    for (int r = 0; r < s->scores; r++) {
        json_t *score =
            json_pack("{s:s, s:o, s:o, s:I}", "name", s->score[r].name, "value",
                      mr_json_number(s->score[r].value), "standard_error",
                      mr_json_number(s->score[r].error), "items", (json_int_t)s->score[r].items);
        if (s->score[r].version > 0)
            json_object_set_new(score, "rule_version", json_integer(s->score[r].version));
        mr_json_append(&scores, score);
    }
    return json_pack("{s:s, s:I, s:s, s:o, s:o, s:I}", "set", s->set->name, "version",
                     (json_int_t)s->set->version, "source", s->set->source, "scores", scores,
                     "groups", groups_json(s), "cut", (json_int_t)s->cut);
}
