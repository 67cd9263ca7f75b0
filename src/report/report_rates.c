/* The tables of a report of every rate that was tried. */

#include "report/report_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Whether the mean of a score over its evaluations is told: of spectra the last snapshot counts
 * alone, and where methods are searched there are many scores. */
static bool has_average(const mr_report_maker *m, const mr_score *score)
{
    return !score->projection && !m->paper->searched;
}

/* Whether a score has a column: where methods are searched, of those that the runs have some of. */
static bool is_told(const mr_report_maker *m, const mr_report_block *block, int score)
{
    const mr_series *series = mr_report_series(block, score);
    return !m->paper->searched ||
           (mr_report_shows(block, score) && (series->count > 0 || series->there > 0));
}

/* Every score at every step; pages show the last. Runs without evaluations have an empty one. */
static void add_rates_scores(const mr_report_maker *m, int block, mr_table *table)
{
    const mr_report_block *at = &m->section->block[block];
    const mr_measure *measure = &at->results->measure;
    char heading[256];
    for (int k = 0; k < measure->scores; k++) {
        const mr_score *score = &measure->score[k];
        const mr_series *series = mr_report_series(at, k);
        int64_t before = table->columns_added;
        if (!is_told(m, at, k)) continue;
        for (int64_t e = 0; e < series->count; e++)
            mr_report_score_column(m, block, k, series->step[e],
                                   mr_report_step_text(series->step[e], true, heading), table)
                ->detail = e + 1 < series->count;
        if (series->count == 0) mr_report_score_column(m, block, k, NAN, "", table);
        if (has_average(m, score)) {
            mr_column *all = mr_report_label_column(table, MR_COLUMN_NUMBER, "all steps");
            all->block = block;
            all->score = k;
            all->decimals = score->decimals;
        }
        /* Of many scores a page has pieces; those who look for one find all of its columns. */
        for (int64_t c = before; (k > 0 || m->paper->searched) && c < table->columns_added; c++)
            table->column[c].part = MR_COLUMN_OURS;
        if (score->rules)
            snprintf(heading, sizeof heading, "%s, %s", score->caption, score->rules);
        else
            snprintf(heading, sizeof heading, "%s", score->caption);
        if (measure->scores > 1) table->column[before].above = mr_table_keep(table, heading);
    }
}

static bool chosen_apart(const mr_report_block *block)
{
    return block->setting->chooses == block->results->measure.scores;
}

static void add_size_columns(mr_table *table)
{
    mr_report_label_column(table, MR_COLUMN_COUNT, "trained")->once = true;
    mr_report_label_column(table, MR_COLUMN_TEXT, "rates")->once = true;
}

/* What runs took, what chose among them, and what they forgot: apart from labels, which stand in
 * every piece. */
static void add_cost_columns(const mr_report_block *block, mr_table *table)
{
    const int64_t before = table->columns_added;
    add_size_columns(table);
    mr_report_label_column(table, MR_COLUMN_COUNT, "tokens");
    mr_report_label_column(table, MR_COLUMN_NUMBER, "minutes")->decimals = 2;
    mr_column *chooses = mr_report_label_column(table, MR_COLUMN_ESTIMATE, "loss");
    chooses->decimals = 3;
    chooses->above = mr_table_keep(table, "held out");
    if (block->forgot) {
        mr_column *forgotten = mr_report_label_column(table, MR_COLUMN_ESTIMATE, "after - before");
        forgotten->decimals = 3;
        forgotten->above = mr_table_keep(table, "other text, loss");
    }
    table->column[before].above = mr_table_keep(table, "runs");
    for (int64_t c = before; c < table->columns_added; c++) {
        table->column[c].part = MR_COLUMN_OURS;
        table->column[c].tied = c > before;
    }
}

static void add_rates_columns(const mr_report_maker *m, int block, mr_table *table)
{
    const mr_report_block *at = &m->section->block[block];
    mr_report_label_column(table, MR_COLUMN_TEXT, "method")->once = true;
    mr_report_label_column(table, MR_COLUMN_INTEGER, "r")->once = true;
    if (!m->paper->searched) add_size_columns(table);
    mr_report_label_column(table, MR_COLUMN_TEXT, "lr");
    mr_report_label_column(table, MR_COLUMN_INTEGER, "seeds")->right = false;
    if (m->paper->searched) {
        mr_report_label_column(table, MR_COLUMN_TEXT, "");
        add_cost_columns(at, table);
        add_rates_scores(m, block, table);
        return;
    }
    add_rates_scores(m, block, table);
    mr_column *choice = mr_report_label_column(table, MR_COLUMN_TEXT, "");
    if (at->results->measure.scores > 1) choice->above = mr_table_keep(table, "");
}

/* Tokens, minutes, what chose, and what was forgotten. */
static void add_cost(const mr_report_maker *m, const mr_row *row, int block, mr_table *table)
{
    const mr_report_block *at = &m->section->block[block];
    const mr_rate *rate = row->rate[block];
    const int held_out = at->results->measure.scores;
    const double costs[] = {rate->tokens, rate->seconds / 60};
    for (int i = 0; i < 2; i++) {
        if (isfinite(costs[i]))
            mr_table_add_number(table, costs[i]);
        else
            mr_table_add_missing(table);
    }
    if (chosen_apart(at) && rate->seeds > 0)
        mr_table_add_estimate(table, rate->course[held_out].at[rate->course[held_out].count - 1]);
    else
        mr_table_add_missing(table);
    if (!at->forgot) return;
    if (rate->forgotten.n > 0)
        mr_table_add_estimate(table, rate->forgotten);
    else
        mr_table_add_missing(table);
}

/* What a group trains, and how many rates were tried of it. */
static void add_size(const mr_group *group, mr_table *table)
{
    char tried[64];
    mr_table_add_number(table, (double)group->first->trainable);
    if (group->tried < group->rates)
        snprintf(tried, sizeof tried, "%lld of %lld", (long long)group->tried,
                 (long long)group->rates);
    else
        snprintf(tried, sizeof tried, "%lld", (long long)group->rates);
    mr_table_add_text(table, tried, NULL);
}

static mr_status add_rates_row(const mr_report_maker *m, const mr_row *row, int block,
                               const char *best, mr_table *table)
{
    const mr_report_block *at = &m->section->block[block];
    const mr_measure *measure = &at->results->measure;
    const mr_group *group = row->group[block];
    const mr_rate *rate = row->rate[block];
    MR_TRY(mr_report_add_label(m, row, group->first, at->setting, table));
    mr_report_add_r(group->first->r, table);
    if (!m->paper->searched) add_size(group, table);
    MR_TRY(mr_report_add_rate(group, rate, table));
    mr_table_add_number(table, (double)rate->seeds);
    if (m->paper->searched) {
        mr_table_add_text(table, best, NULL);
        add_size(group, table);
        add_cost(m, row, block, table);
    }
    for (int k = 0; k < measure->scores; k++) {
        int64_t steps = mr_report_series(at, k)->count;
        if (!is_told(m, at, k)) continue;
        for (int64_t e = 0; e < (steps > 0 ? steps : 1); e++)
            mr_report_add_score(&measure->score[k], rate, k, e, table);
        if (!has_average(m, &measure->score[k])) continue;
        if (rate->seeds > 0)
            mr_table_add_number(table, measure->score[k].scale * rate->course[k].average);
        else
            mr_table_add_missing(table);
    }
    if (!m->paper->searched) mr_table_add_text(table, best, NULL);
    return MR_OK;
}

static char *rates_caption(const mr_report_maker *m, int block, mr_table *table)
{
    const mr_measure *measure = &m->section->block[block].results->measure;
    mr_text text = {0};
    char name[64];
    mr_report_block_name(m, block, name);
    mr_text_add(&text, "ours: rates tried, ");
    if (m->paper->searched) mr_text_add(&text, "%s", name);
    for (int k = 0; !m->paper->searched && k < measure->scores; k++)
        mr_text_add(&text, "%s%s", k > 0 ? ", " : "", measure->score[k].caption);
    mr_text_add(&text, " at the last step");
    if (!m->paper->searched)
        mr_text_add(&text, " and averaged over all %s",
                    m->paper->by_step ? "above" : "evaluations");
    char *caption = mr_table_keep(table, mr_text_get(&text));
    if (text.failed) table->failed = true;
    mr_text_free(&text);
    return caption;
}

/* The groups of a block that belong to a line, in their order. */
static mr_status add_rates_of(const mr_report_maker *m, const mr_row *line, int block,
                              mr_table *table, int64_t *next)
{
    const mr_setting *setting = m->section->block[block].setting;
    for (int64_t g = 0; g < setting->groups; g++) {
        const mr_group *group = &setting->group[g];
        bool takes = group == line->group[block];
        if (m->paper->searched) MR_TRY(mr_report_takes(m->paper, line, group->first, &takes));
        for (int64_t k = 0; takes && k < group->rates; k++) {
            const mr_rate *rate = &group->rate[k];
            const char *best = rate == line->rate[block] ? "best" : "";
            mr_row *row = &table->row[(*next)++];
            *row = (mr_row){.paper = line->paper, .like = group->first};
            row->group[block] = group;
            row->rate[block] = rate;
            MR_TRY(add_rates_row(m, row, block, best, table));
        }
    }
    return MR_OK;
}

mr_status mr_report_make_rates(const mr_report_maker *m, int block)
{
    mr_table *table = &m->section->table[MR_TABLE_RATES + block];
    const mr_report_block *at = &m->section->block[block];
    int64_t most = 11, rows = 0, next = 0;
    for (int k = 0; k < at->results->measure.scores; k++)
        most += 2 + mr_report_series(at, k)->count;
    for (int64_t g = 0; at->setting && g < at->setting->groups; g++)
        rows += at->setting->group[g].rates;
    MR_TRY(mr_table_create(most, rows, table));
    if (!at->setting) {
        table->columns = 0;
        return MR_OK;
    }
    table->caption = rates_caption(m, block, table);
    add_rates_columns(m, block, table);
    table->columns = table->columns_added;
    for (int64_t i = 0; i < m->rows; i++)
        if (m->row[i].like) MR_TRY(add_rates_of(m, &m->row[i], block, table, &next));
    return table->failed ? MR_ERR_MEMORY : MR_OK;
}
