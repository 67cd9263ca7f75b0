#include "report/layout.h"
#include "report/table.h"
#include "config/value.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What is being printed. */
typedef struct page {
    const mr_paper_table *paper;
    const mr_results *results;
    const mr_setting *setting;
    const mr_table_row *row; /* [rows] */
    int64_t rows;
    char ours[64], theirs[64]; /* what stands above the two sides of the scores */
    mr_text *out;
} page;

static const char *r_text(int64_t r, char text[MR_LAYOUT_NUMBER])
{
    if (r == 0) return "-";
    snprintf(text, MR_LAYOUT_NUMBER, "%lld", (long long)r);
    return text;
}

/* The method's name, behind it the keys in which its groups of one r differ. */
static mr_status add_label(const page *p, const mr_table_row *row, mr_text *out)
{
    mr_text_add(out, "%s", row->group ? row->group->first->method : row->paper->method);
    for (int i = 0; row->group && i < mr_schema_count(); i++) {
        const mr_key *key = mr_schema_at(i);
        bool varies;
        if (!mr_results_in_variant(key->key)) continue;
        MR_TRY(mr_table_key_varies(p->setting, row->group, key->key, &varies));
        if (!varies) continue;
        mr_text_add(out, " %s=", strchr(key->key, '.') + 1);
        mr_value_text(key, &row->group->first->config, MR_VALUE_PLAIN, out);
    }
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

static mr_status rate_text(double lr, mr_text *out)
{
    mr_config config;
    mr_config_defaults(&config);
    config.train.lr = lr;
    return mr_config_value_text(&config, "train.lr", out);
}

/* "0.001*+": the rate and its marks, which the footnotes explain. */
static mr_status cell_rate(mr_grid *grid, const mr_group *group, const mr_rate *rate)
{
    mr_text text = {0};
    mr_status status = rate_text(rate->lr, &text);
    bool edge = group->edge && rate == group->best;
    if (status == MR_OK)
        mr_grid_cell(grid, "%s%s%s", mr_text_get(&text), edge ? "*" : "",
                     rate->left_out > 0 ? "+" : "");
    mr_text_free(&text);
    return status;
}

/* Characters that the spread of a score takes, which others in its column leave free. */
static int spread_width(const page *p)
{
    return p->paper->decimals + 5;
}

/* In the decimals of the paper; what is far from all it has in three digits. */
static const char *score_text(const page *p, double score, char text[MR_LAYOUT_NUMBER])
{
    double value = p->paper->scale * score;
    if (fabs(value) < 1e6)
        snprintf(text, MR_LAYOUT_NUMBER, "%.*f", p->paper->decimals, value);
    else
        snprintf(text, MR_LAYOUT_NUMBER, "%.3g", value);
    return text;
}

static void cell_score(const page *p, const mr_rate *rate, int64_t e, mr_grid *grid)
{
    char mean[MR_LAYOUT_NUMBER], spread[MR_LAYOUT_NUMBER];
    score_text(p, rate->mean[e], mean);
    if (rate->seeds > 1)
        mr_grid_cell(grid, "%*s ±%-*s", p->paper->decimals + 4, mean, spread_width(p) - 2,
                     score_text(p, rate->spread[e], spread));
    else
        mr_grid_cell(grid, "%*s%*s", p->paper->decimals + 4, mean, spread_width(p), "");
}

static void make_headings(page *p)
{
    const char *steps = p->paper->by_step ? " at step" : "";
    long long r = mr_paper_only_r(p->paper);
    snprintf(p->ours, sizeof p->ours, "ours: %s%s", p->paper->caption, steps);
    if (r > 0)
        snprintf(p->theirs, sizeof p->theirs, "paper: r %lld%s", r, steps);
    else
        snprintf(p->theirs, sizeof p->theirs, "paper:%s", steps);
}

static void add_score_columns(const page *p, int64_t first, int64_t count, bool with_paper,
                              mr_grid *grid)
{
    for (int i = 0; i < 4; i++)
        mr_grid_column(grid, i > 0 ? "  " : "", "", i == 1);
    for (int64_t e = first; e < first + count; e++)
        mr_grid_column(grid, e > first ? "  " : " | ", e > first ? NULL : p->ours, true);
    for (int c = 0; with_paper && c < p->paper->columns; c++)
        mr_grid_column(grid, c > 0 ? " " : " | ", c > 0 ? NULL : p->theirs, true);
}

static mr_status add_score_row(const page *p, const mr_table_row *row, int64_t first, int64_t count,
                               bool with_paper, mr_grid *grid)
{
    char number[MR_LAYOUT_NUMBER];
    const mr_group *group = row->group;
    const mr_rate *best = group ? group->best : NULL;
    mr_text label = {0};
    mr_status status = add_label(p, row, &label);
    mr_grid_cell(grid, "%s", mr_text_get(&label));
    mr_text_free(&label);
    MR_TRY(status);
    if (group)
        mr_grid_cell(grid, "%s", r_text(group->first->r, number));
    else /* the only r stands above the paper's columns */
        mr_grid_cell(grid, "%s",
                     mr_paper_only_r(p->paper) > 0 ? "-" : r_text(row->paper->r, number));
    if (best) {
        MR_TRY(cell_rate(grid, group, best));
        mr_grid_cell(grid, "%lld", (long long)best->seeds);
    } else {
        mr_grid_cell(grid, "-");
        mr_grid_cell(grid, "-");
    }
    for (int64_t e = first; e < first + count; e++) {
        if (best)
            cell_score(p, best, e, grid);
        else
            mr_grid_cell(grid, "-%*s", spread_width(p), "");
    }
    for (int c = 0; with_paper && c < p->paper->columns; c++) {
        if (row->paper)
            mr_grid_cell(grid, "%.*f", p->paper->decimals, row->paper->value[c]);
        else
            mr_grid_cell(grid, "-");
    }
    return MR_OK;
}

/* A table of our steps first..first+count-1, the first such table with the paper's columns. */
static mr_status make_scores(const page *p, int64_t first, int64_t count, bool with_paper,
                             mr_grid *grid)
{
    add_score_columns(p, first, count, with_paper, grid);
    static const char *const names[] = {"method", "r", "lr", "seeds"};
    for (int i = 0; i < 4; i++)
        mr_grid_cell(grid, "%s", names[i]);
    for (int64_t e = first; e < first + count; e++)
        mr_grid_cell(grid, "%s%.0f%*s", p->paper->by_step ? "" : "step ",
                     p->setting->first->step[e], spread_width(p), "");
    for (int c = 0; with_paper && c < p->paper->columns; c++)
        mr_grid_cell(grid, "%s", p->paper->column[c]);
    for (int64_t i = 0; i < p->rows; i++) {
        if (!with_paper && !p->row[i].group) continue;
        MR_TRY(add_score_row(p, &p->row[i], first, count, with_paper, grid));
    }
    return MR_OK;
}

/* Breaks the evaluated steps into as many tables as the width of a line asks for. */
static mr_status print_scores(const page *p)
{
    enum { STEPS = 32 }; /* more are wider than a line in any case */
    int64_t steps = p->setting->first->left_out ? 0 : p->setting->first->evaluations;
    int64_t first = p->paper->by_step || steps == 0 ? 0 : steps - 1;
    bool with_paper = true;
    do {
        mr_grid grid = {0};
        int64_t count = steps - first < STEPS ? steps - first : STEPS;
        mr_status status = make_scores(p, first, count, with_paper, &grid);
        while (status == MR_OK && count > 1 && mr_grid_width(&grid) > MR_LAYOUT_WIDTH) {
            mr_grid_free(&grid);
            status = make_scores(p, first, --count, with_paper, &grid);
        }
        if (status == MR_OK) mr_grid_print(&grid, 0, p->out);
        mr_grid_free(&grid);
        MR_TRY(status);
        mr_text_add(p->out, "\n");
        first += count;
        with_paper = false;
    } while (first < steps);
    return MR_OK;
}

static mr_status add_rate_row(const page *p, const mr_table_row *row, const mr_rate *rate,
                              mr_grid *grid)
{
    const mr_group *group = row->group;
    bool first = rate == group->rate;
    char number[MR_LAYOUT_NUMBER];
    mr_text label = {0};
    mr_status status = first ? add_label(p, row, &label) : MR_OK;
    mr_grid_cell(grid, "%s", mr_text_get(&label));
    mr_text_free(&label);
    MR_TRY(status);
    mr_grid_cell(grid, "%s", first ? r_text(group->first->r, number) : "");
    mr_grid_cell(grid, "%s", first ? mr_layout_integer(group->first->trainable, number) : "");
    if (first && group->tried < group->rates)
        mr_grid_cell(grid, "%lld of %lld", (long long)group->tried, (long long)group->rates);
    else if (first)
        mr_grid_cell(grid, "%lld", (long long)group->rates);
    else
        mr_grid_cell(grid, " ");
    MR_TRY(cell_rate(grid, group, rate));
    mr_grid_cell(grid, "%lld", (long long)rate->seeds);
    if (rate->seeds > 0) {
        cell_score(p, rate, group->first->evaluations - 1, grid);
        mr_grid_cell(grid, "%s", score_text(p, rate->average, number));
    } else {
        mr_grid_cell(grid, "-%*s", spread_width(p), "");
        mr_grid_cell(grid, "-");
    }
    mr_grid_cell(grid, "%s", rate == group->best ? "best" : "");
    return MR_OK;
}

/* Every rate tried, so that the choice can be judged. */
static mr_status print_rates(const page *p)
{
    char step[MR_LAYOUT_NUMBER + 8] = "";
    const mr_result *first = p->setting->first;
    if (!first->left_out)
        snprintf(step, sizeof step, "step %.0f%*s", first->step[first->evaluations - 1],
                 spread_width(p), "");
    mr_grid grid = {0};
    static const char *const names[] = {"method", "r", "trained", "rates", "lr", "seeds"};
    for (int i = 0; i < 9; i++)
        mr_grid_column(&grid, i > 0 ? "  " : "", NULL, i == 1 || i == 2 || i == 6 || i == 7);
    for (int i = 0; i < 6; i++)
        mr_grid_cell(&grid, "%s", names[i]);
    mr_grid_cell(&grid, "%s", step);
    mr_grid_cell(&grid, "all steps");
    mr_grid_cell(&grid, "%s", "");
    mr_status status = MR_OK;
    for (int64_t i = 0; i < p->rows; i++) {
        const mr_group *group = p->row[i].group;
        for (int64_t k = 0; status == MR_OK && group && k < group->rates; k++)
            status = add_rate_row(p, &p->row[i], &group->rate[k], &grid);
    }
    mr_text_add(p->out, "ours: rates tried, %s at the last step and averaged over all %s\n",
                p->paper->caption, p->paper->by_step ? "above" : "evaluations");
    if (status == MR_OK) mr_grid_print(&grid, 0, p->out);
    mr_grid_free(&grid);
    mr_text_add(p->out, "\n");
    return status;
}

static void print_footnotes(const page *p)
{
    bool edge = false, left_out = false, spread = false;
    for (int64_t i = 0; i < p->rows; i++) {
        const mr_group *group = p->row[i].group;
        edge = edge || (group && group->edge);
        for (int64_t k = 0; group && k < group->rates; k++) {
            left_out = left_out || group->rate[k].left_out > 0;
            spread = spread || group->rate[k].seeds > 1;
        }
    }
    char choice[160];
    snprintf(choice, sizeof choice,
             "lr: the rate with the best mean at our last step; on ties the %s mean over all "
             "steps, then the lower rate",
             p->paper->measure.lower_is_better ? "lower" : "higher");
    mr_layout_wrap("   ", 3, choice, p->out);
    if (spread) mr_layout_wrap("±  ", 3, "sample standard deviation over seeds", p->out);
    if (edge)
        mr_layout_wrap(
            "*  ", 3, "best rate at the edge of the grid: a better one may lie outside it", p->out);
    if (left_out) mr_layout_wrap("+  ", 3, "runs at this rate are left out, see below", p->out);
}

static mr_status print_left_out(const page *p)
{
    bool begun = false;
    for (int64_t i = p->setting->begin; i < p->setting->end; i++) {
        const mr_result *run = p->results->run[i];
        if (!run->left_out) continue;
        char number[MR_LAYOUT_NUMBER];
        mr_text rate = {0}, line = {0};
        mr_status status = rate_text(run->config.train.lr, &rate);
        mr_text_add(&line, "%s (%s, r %s, lr %s, seed %lld): %s; %s", run->config.run.name,
                    run->method, r_text(run->r, number), mr_text_get(&rate),
                    (long long)run->config.run.seed, run->left_out, run->path);
        if (line.failed) p->out->failed = true;
        if (!begun) mr_text_add(p->out, "\nleft out:\n");
        mr_layout_wrap("   ", 6, mr_text_get(&line), p->out);
        mr_text_free(&rate);
        mr_text_free(&line);
        MR_TRY(status);
        begun = true;
    }
    return MR_OK;
}

/* "task.pairs=128, ...": what tells a setting apart from the others; the data, where no key does.
 */
static mr_status add_difference(const page *p, mr_text *out)
{
    bool begun = false;
    for (int i = 0; i < mr_schema_count(); i++) {
        const mr_key *key = mr_schema_at(i);
        if (!mr_results_in_setting(key->key)) continue;
        mr_text mine = {0}, other = {0};
        bool differs = false;
        mr_value_text(key, &p->setting->first->config, MR_VALUE_PLAIN, &mine);
        for (int64_t s = 0; s < p->results->settings && !differs; s++) {
            mr_text_free(&other);
            mr_value_text(key, &p->results->setting[s].first->config, MR_VALUE_PLAIN, &other);
            differs = strcmp(mr_text_get(&mine), mr_text_get(&other)) != 0;
        }
        if (differs)
            mr_text_add(out, "%s%s=%s", begun ? ", " : "", key->key,
                        mine.length > 0 ? mr_text_get(&mine) : "\"\"");
        if (mine.failed || other.failed) out->failed = true;
        mr_text_free(&mine);
        mr_text_free(&other);
        begun = begun || differs;
    }
    if (!begun) mr_text_add(out, "data %.12s", p->setting->first->data_hash);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

static mr_status print_title(const page *p, int64_t index)
{
    mr_text line = {0};
    mr_status status = MR_OK;
    mr_table_name(p->results, p->setting, &line);
    mr_text_add(&line, ": our runs beside %s", p->paper->source);
    if (p->results->settings > 1) {
        mr_text_add(&line, "; setting %lld of %lld: ", (long long)index + 1,
                    (long long)p->results->settings);
        status = add_difference(p, &line);
    }
    if (line.failed) p->out->failed = true;
    mr_layout_wrap("", 7, mr_text_get(&line), p->out);
    mr_text_free(&line);
    return status;
}

/* The data and how much of them is learned: synthetic data end, a folder's are told in tokens. */
static void add_amount(const page *p, mr_text *out)
{
    const mr_result *run = p->setting->first;
    const mr_config *c = &run->config;
    char number[MR_LAYOUT_NUMBER];
    double samples = (double)run->steps * (double)c->train.global_batch;
    bool folder = c->task.data[0] != '\0';
    if (folder)
        mr_text_add(out, "data %s", c->task.data);
    else
        mr_text_add(out, "%s %s", mr_layout_integer(c->task.pairs, number), p->paper->sample);
    mr_text_add(out, ", batch %lld %s", (long long)c->train.global_batch, p->paper->sample);
    if (run->steps == 0) return;
    mr_text_add(out, ", %s steps ", mr_layout_integer(run->steps, number));
    if (folder)
        mr_text_add(out, "(%s tokens)",
                    mr_layout_integer(llround(samples * (double)run->seq_len), number));
    else
        mr_text_add(out, "(%.4g passes over the data)", samples / (double)c->task.pairs);
}

/* What methods may differ in, told with their names. */
typedef int64_t (*property)(const mr_result *run);

static int64_t schedule_of(const mr_result *run)
{
    return run->config.train.schedule;
}

static int64_t merges_of(const mr_result *run)
{
    return run->merges;
}

/* Tells whether no group before g has its property and, where a method is given, is of that. */
static bool is_first(const mr_setting *setting, int64_t g, property of, const char *method)
{
    int64_t mine = of(setting->group[g].first);
    for (int64_t k = 0; k < g; k++) {
        const mr_result *run = setting->group[k].first;
        if (of(run) == mine && (!method || strcmp(run->method, method) == 0)) return false;
    }
    return true;
}

/* Appends " (lora, mora)": the methods with the property of group g, each once. */
static void add_methods(const mr_setting *setting, int64_t g, property of, mr_text *out)
{
    const char *before = " (";
    for (int64_t k = g; k < setting->groups; k++) {
        const mr_result *run = setting->group[k].first;
        if (of(run) != of(setting->group[g].first) || !is_first(setting, k, of, run->method))
            continue;
        mr_text_add(out, "%s%s", before, run->method);
        before = ", ";
    }
    mr_text_add(out, ")");
}

/* The schedule; of several each, and which methods have it. Then the merges of those that merge. */
static mr_status add_courses(const page *p, mr_text *out)
{
    const mr_setting *setting = p->setting;
    bool varies;
    MR_TRY(mr_table_key_varies(setting, NULL, "train.schedule", &varies));
    for (int64_t g = 0; g < setting->groups; g++) {
        if (!is_first(setting, g, schedule_of, NULL)) continue;
        mr_text_add(out, ", ");
        MR_TRY(mr_config_value_text(&setting->group[g].first->config, "train.schedule", out));
        mr_text_add(out, " schedule");
        if (varies) add_methods(setting, g, schedule_of, out);
    }
    for (int64_t g = 0; g < setting->groups; g++) {
        long long merges = merges_of(setting->group[g].first);
        if (merges == 0 || !is_first(setting, g, merges_of, NULL)) continue;
        mr_text_add(out, ", %lld merge%s", merges, merges == 1 ? "" : "s");
        add_methods(setting, g, merges_of, out);
    }
    return MR_OK;
}

/* Our setting in the words of the configuration. */
static mr_status add_ours(const page *p, mr_text *out)
{
    const mr_result *run = p->setting->first;
    const mr_config *c = &run->config;
    char number[MR_LAYOUT_NUMBER];
    mr_text init = {0}, dtype = {0};
    mr_status status = mr_config_value_text(c, "model.init", &init);
    if (status == MR_OK) status = mr_config_value_text(c, "model.dtype", &dtype);
    mr_text_add(out, "model %s (%s, %s parameters, %s), ",
                c->model.path[0] ? c->model.path : c->model.config, mr_text_get(&init),
                mr_layout_integer(run->base_parameters, number), mr_text_get(&dtype));
    mr_text_free(&init);
    mr_text_free(&dtype);
    MR_TRY(status);
    add_amount(p, out);
    mr_text_add(out, ", %lld tokens a sample", (long long)run->seq_len);
    MR_TRY(add_courses(p, out));
    mr_text_add(out, ", %lld warm-up steps", (long long)c->train.warmup_steps);
    if (run->scored > 0)
        mr_text_add(out, ", %s held-out %s scored", mr_layout_integer(run->scored, number),
                    p->paper->measure.count);
    return MR_OK;
}

/* Programs of different commits may compute different things. */
static void print_commits(const page *p)
{
    mr_text line = {0};
    int commits = 0;
    for (int64_t i = p->setting->begin; i < p->setting->end; i++) {
        const mr_result *run = p->results->run[i];
        bool seen = run->left_out != NULL;
        for (int64_t k = p->setting->begin; k < i && !seen; k++)
            seen = !p->results->run[k]->left_out &&
                   strcmp(p->results->run[k]->commit, run->commit) == 0;
        if (seen) continue;
        mr_text_add(&line, "%s%s", commits > 0 ? ", " : "", run->commit);
        commits++;
    }
    if (line.failed) p->out->failed = true;
    if (commits > 1)
        mr_layout_wrap("note:  runs of several commits: ", 7, mr_text_get(&line), p->out);
    mr_text_free(&line);
}

static mr_status print_setting(page *p, int64_t index)
{
    mr_text ours = {0}, note = {0};
    MR_TRY(print_title(p, index));
    mr_status status = add_ours(p, &ours);
    if (ours.failed) p->out->failed = true;
    mr_text_add(p->out, "\n");
    mr_layout_wrap("ours:  ", 7, mr_text_get(&ours), p->out);
    mr_text_free(&ours);
    MR_TRY(status);
    mr_layout_wrap("paper: ", 7, p->paper->setting, p->out);
    mr_text_add(&note, "%s", p->paper->note);
    if (isfinite(p->paper->chance))
        mr_text_add(&note, " Guessing scores %.*f.", p->paper->decimals, p->paper->chance);
    if (note.failed) p->out->failed = true;
    mr_layout_wrap("note:  ", 7, mr_text_get(&note), p->out);
    mr_text_free(&note);
    print_commits(p);
    mr_text_add(p->out, "\n");
    MR_TRY(print_scores(p));
    MR_TRY(print_rates(p));
    print_footnotes(p);
    return print_left_out(p);
}

mr_status mr_table_text(const mr_paper_table *paper, const mr_results *results, mr_text *out)
{
    for (int64_t s = 0; s < results->settings; s++) {
        mr_table_row *rows = NULL;
        page p = {.paper = paper, .results = results, .setting = &results->setting[s], .out = out};
        mr_status status = mr_table_rows(paper, p.setting, &rows, &p.rows);
        p.row = rows;
        make_headings(&p);
        if (s > 0) mr_text_add(out, "\n\n");
        if (status == MR_OK) status = print_setting(&p, s);
        mr_free(rows);
        MR_TRY(status);
    }
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}
