/* A comparison of two runs, for people and as JSON. */

#include "base/utf8.h"
#include "report/compare.h"
#include "report/layout.h"
#include "store/json.h"

#include <math.h>
#include <string.h>

static const char side[] = "AB";

static void print_runs(const mr_comparison *c, mr_text *out)
{
    for (int i = 0; i < 2; i++) {
        const mr_compared_run *run = &c->run[i];
        mr_text_add(out, "%c  ", side[i]);
        mr_text_add_line(out, run->path, strlen(run->path));
        if (run->model) {
            mr_text_add(out, ": rows of ");
            mr_text_add_line(out, run->model, strlen(run->model));
            mr_text_add(out, "\n");
            continue;
        }
        mr_text_add(out, ": %s", run->method);
        if (run->r > 0) mr_text_add(out, ", r %lld", (long long)run->r);
        mr_text_add(out, ", seed %lld\n", (long long)run->seed);
    }
}

/* What a split of right and wrong tells has columns where a set has one. */
static bool any_binary(const mr_comparison *c)
{
    for (int64_t i = 0; i < c->sets; i++)
        if (c->set[i].paired.binary) return true;
    return false;
}

static void add_split(const mr_paired *p, mr_grid *grid)
{
    if (!p->binary) {
        for (int i = 0; i < 3; i++)
            mr_grid_cell(grid, "-");
        return;
    }
    mr_grid_cell(grid, "%lld", (long long)p->only_first);
    mr_grid_cell(grid, "%lld", (long long)p->only_second);
    mr_grid_cell(grid, "%.2g", p->p);
}

static void add_row(const mr_compared_set *set, bool split, mr_grid *grid)
{
    char items[MR_LAYOUT_NUMBER];
    const mr_paired *p = &set->paired;
    mr_grid_cell(grid, "%s", set->name);
    if (set->step[0] == set->step[1])
        mr_grid_cell(grid, "%lld", (long long)set->step[0]);
    else
        mr_grid_cell(grid, "%lld, %lld", (long long)set->step[0], (long long)set->step[1]);
    mr_grid_cell(grid, "%s", mr_layout_integer(p->items, items));
    mr_grid_cell(grid, "%.4f", p->first);
    mr_grid_cell(grid, "%.4f", p->second);
    mr_grid_cell(grid, "%+.4f", p->difference);
    mr_grid_cell(grid, "%+.4f..%+.4f", p->interval.low, p->interval.high);
    if (split) add_split(p, grid);
    mr_grid_cell(grid, "%s", mr_compared_differ(set) ? "more than chance" : "within chance");
}

static void print_sets(const mr_comparison *c, bool split, mr_text *out)
{
    static const char *const headings[] = {
        "set", "step", "items", "A", "B", "B - A", "95 % of samples", "A only", "B only", "p", ""};
    enum { COLUMNS = sizeof headings / sizeof headings[0], SPLIT = 7, SPLIT_END = 10 };
    mr_grid grid = {.columns = 0};
    for (int i = 0; i < COLUMNS; i++)
        if (split || i < SPLIT || i >= SPLIT_END)
            mr_grid_column(&grid, i > 0 ? "  " : "", NULL, i > 0 && i < COLUMNS - 1);
    for (int i = 0; i < COLUMNS; i++)
        if (split || i < SPLIT || i >= SPLIT_END) mr_grid_cell(&grid, "%s", headings[i]);
    for (int64_t i = 0; i < c->sets; i++)
        add_row(&c->set[i], split, &grid);
    mr_grid_print(&grid, 0, out);
    mr_grid_free(&grid);
}

/* Adds a cell of text of others: a line, cut. */
static void add_text(const char *text, mr_grid *grid)
{
    enum { SHOWN = 28 };
    mr_text line = {0};
    const size_t length = strlen(text), cut = mr_utf8_cut(text, SHOWN);
    mr_text_add_line(&line, text, length <= SHOWN ? length : cut);
    mr_grid_cell(grid, "%s%s", mr_text_get(&line), length <= SHOWN ? "" : "...");
    mr_text_free(&line);
}

static void print_answers(const mr_compared_set *set, int64_t shown, mr_text *out)
{
    static const char *const headings[] = {"item", "right", "A found", "B found", "A", "B"};
    enum { COLUMNS = sizeof headings / sizeof headings[0], TEXTS = 4 };
    mr_grid grid = {.columns = 0};
    for (int i = 0; i < COLUMNS; i++)
        mr_grid_column(&grid, i > 0 ? "  " : "", NULL, i >= TEXTS);
    for (int i = 0; i < COLUMNS; i++)
        mr_grid_cell(&grid, "%s", headings[i]);
    for (int64_t i = 0; i < shown; i++) {
        const mr_compared_answer *answer = &set->answer[i];
        add_text(answer->id, &grid);
        add_text(answer->gold, &grid);
        add_text(answer->found[0], &grid);
        add_text(answer->found[1], &grid);
        for (int k = 0; k < 2; k++)
            mr_grid_cell(&grid, "%.4g", set->value[k][set->order[i].item]);
    }
    mr_grid_print(&grid, 2, out);
    mr_grid_free(&grid);
}

static void print_items(const mr_compared_set *set, int64_t most, mr_text *out)
{
    mr_grid grid = {.columns = 0};
    const int64_t shown = set->differ < most ? set->differ : most;
    mr_text_add(out, "\n%s: %s; %lld of %lld items differ", set->name,
                set->about.item[0] ? set->about.item : "records", (long long)set->differ,
                (long long)set->paired.items);
    if (shown < set->differ && shown > 0) mr_text_add(out, ", most:");
    mr_text_add(out, "\n");
    if (shown == 0) return;
    if (set->answer) {
        print_answers(set, shown, out);
        return;
    }
    for (int i = 0; i < 4; i++)
        mr_grid_column(&grid, i > 0 ? "  " : "", NULL, true);
    mr_grid_cell(&grid, "item");
    mr_grid_cell(&grid, "A");
    mr_grid_cell(&grid, "B");
    mr_grid_cell(&grid, "B - A");
    for (int64_t i = 0; i < shown; i++) {
        const int64_t item = set->order[i].item;
        const double a = set->value[0][item], b = set->value[1][item];
        mr_grid_cell(&grid, "%lld", (long long)item);
        mr_grid_cell(&grid, "%.4g", a);
        mr_grid_cell(&grid, "%.4g", b);
        mr_grid_cell(&grid, "%+.4g", b - a);
    }
    mr_grid_print(&grid, 2, out);
    mr_grid_free(&grid);
}

/* What a set is scored by is not what is compared. */
static void print_not_by(const mr_compared_set *set, mr_text *out)
{
    mr_text label = {0}, text = {0};
    if (!set->not_by) return;
    mr_text_add(&label, "%s: ", set->name);
    mr_text_add(&text,
                "A, B are the share of right answers, not its %s, which is %.4f and %.4f and no "
                "mean over items: its rows beside the logs would tell (%s).",
                set->by->name, set->score[0], set->score[1], set->not_by);
    mr_layout_wrap(mr_text_get(&label), 2, mr_text_get(&text), out);
    out->failed = out->failed || label.failed || text.failed;
    mr_text_free(&label);
    mr_text_free(&text);
}

mr_status mr_comparison_print(const mr_comparison *comparison, int64_t items, mr_text *out)
{
    const bool split = any_binary(comparison);
    print_runs(comparison, out);
    mr_text_add(out, "\n");
    print_sets(comparison, split, out);
    for (int64_t i = 0; i < comparison->sets; i++)
        print_items(&comparison->set[i], items, out);
    mr_text_add(out, "\n");
    for (int64_t i = 0; i < comparison->left_out.count; i++)
        mr_layout_wrap("left out: ", 10, comparison->left_out.item[i], out);
    mr_text means = {0};
    mr_text_add(&means, "means over items");
    for (int64_t i = 0; i < comparison->sets; i++) {
        const mr_compared_set *set = &comparison->set[i];
        if (set->by && !set->not_by)
            mr_text_add(&means, ", of %s its %s", set->name, set->by->name);
    }
    mr_text_add(&means, ". 95 %% of samples: B - A of as many items drawn again from these. "
                        "What another seed of a run would change is not in it.");
    mr_layout_wrap("A, B: ", 6, mr_text_get(&means), out);
    out->failed = out->failed || means.failed;
    mr_text_free(&means);
    for (int64_t i = 0; i < comparison->sets; i++)
        print_not_by(&comparison->set[i], out);
    if (split)
        mr_layout_wrap("A only, B only: ", 16,
                       "items that are right in one alone; p: of a split as uneven or more, were "
                       "both as good (McNemar's test, exact).",
                       out);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

/* JSON. */

static json_t *run_json(const mr_compared_run *run)
{
    if (run->model)
        return json_pack("{s:o, s:o}", "path", mr_json_text(run->path), "model",
                         mr_json_text(run->model));
    return json_pack("{s:o, s:o, s:o, s:o, s:I, s:I}", "path", mr_json_text(run->path), "run",
                     mr_json_text(run->run), "task", mr_json_text(run->task), "method",
                     mr_json_text(run->method), "r", (json_int_t)run->r, "seed",
                     (json_int_t)run->seed);
}

static json_t *items_json(const mr_compared_set *set)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < set->differ; i++) {
        const int64_t item = set->order[i].item;
        json_t *one = json_pack("{s:I, s:f, s:f}", "item", (json_int_t)item, "a",
                                set->value[0][item], "b", set->value[1][item]);
        if (one && set->answer) {
            const mr_compared_answer *answer = &set->answer[i];
            json_object_set_new(one, "id", mr_json_text(answer->id));
            json_object_set_new(one, "gold", mr_json_text(answer->gold));
            json_object_set_new(one, "found_a", mr_json_text(answer->found[0]));
            json_object_set_new(one, "found_b", mr_json_text(answer->found[1]));
        }
        mr_json_append(&list, one);
    }
    return list;
}

static json_t *set_json(const mr_compared_set *set)
{
    const mr_paired *p = &set->paired;
    json_t *only = p->binary ? json_pack("{s:I, s:I, s:f}", "only_a", (json_int_t)p->only_first,
                                         "only_b", (json_int_t)p->only_second, "p", p->p)
                             : json_null();
    return json_pack("{s:o, s:s, s:o, s:o, s:[I, I], s:o, s:[o, o], s:I, s:f, s:f, s:f, s:f, "
                     "s:[f, f], s:o, s:b, s:o}",
                     "set", mr_json_text(set->name), "compared",
                     set->by && !set->not_by ? set->by->name : "mean of items", "kind",
                     mr_json_text(set->about.kind), "item", mr_json_text(set->about.item), "steps",
                     (json_int_t)set->step[0], (json_int_t)set->step[1], "score",
                     mr_json_text(set->about.primary), "scores", mr_json_number(set->score[0]),
                     mr_json_number(set->score[1]), "items", (json_int_t)p->items, "mean_a",
                     p->first, "mean_b", p->second, "difference", p->difference, "deviation",
                     p->deviation, "interval", p->interval.low, p->interval.high, "mcnemar", only,
                     "differ", mr_compared_differ(set), "items_that_differ", items_json(set));
}

json_t *mr_comparison_json(const mr_comparison *comparison)
{
    json_t *sets = json_array(), *left_out = json_array();
    for (int64_t i = 0; i < comparison->sets; i++)
        mr_json_append(&sets, set_json(&comparison->set[i]));
    for (int64_t i = 0; i < comparison->left_out.count; i++)
        mr_json_append(&left_out, mr_json_text(comparison->left_out.item[i]));
    return json_pack("{s:o, s:o, s:o, s:o}", "a", run_json(&comparison->run[0]), "b",
                     run_json(&comparison->run[1]), "sets", sets, "left_out", left_out);
}
