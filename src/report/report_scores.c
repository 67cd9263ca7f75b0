/* The table of scores of a report: ours, at the rates that were chosen, beside the paper's. */

#include "config/value.h"
#include "report/report_impl.h"
#include "report/setting.h"
#include "train/registry.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Degrees of freedom behind which Student's t is the normal distribution for all that is told. */
enum { MOST_FREEDOM = 10000 };

/* The keys that were searched beside the rate, as the chosen group has them. */
static mr_status chosen_keys(const mr_report_maker *m, const mr_row *row, int block, mr_text *out)
{
    const mr_group *group = row->group[block];
    const mr_registry *registry = mr_registry_of_program();
    for (int i = 0; group && row->rate[block] && i < registry->count; i++) {
        const char *key = registry->at[i].key->key;
        bool varies = false;
        if (!mr_results_in_variant(key) || !mr_config_has(&group->first->config, key) ||
            mr_report_names_key(m->paper, group->first->method, key))
            continue;
        MR_TRY(mr_setting_key_varies(m->section->block[block].setting, group, key, &varies));
        if (varies) MR_TRY(mr_report_add_key(key, NULL, group->first, out));
    }
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

static mr_column *add_paper_column(int c, int decimals, const char *heading, mr_table *table)
{
    mr_column *column = mr_report_label_column(table, MR_COLUMN_NUMBER, heading);
    column->paper = c;
    column->decimals = decimals;
    return column;
}

/* The first evaluation that the table of scores shows. */
static int64_t first_shown(const mr_report_maker *m, int block, int score)
{
    int64_t steps = mr_report_series(&m->section->block[block], score)->count;
    return m->paper->by_step || steps == 0 ? 0 : steps - 1;
}

/* Ours before the paper's: of one block. */
static void add_apart_columns(const mr_report_maker *m, mr_table *table)
{
    const mr_report_block *block = m->section->block;
    const mr_measure *measure = &block->results->measure;
    const char *at_step = m->paper->by_step ? " at step" : "";
    char above[256], heading[64];
    for (int k = 0; k < measure->scores; k++) {
        const mr_series *series = mr_report_series(block, k);
        snprintf(above, sizeof above, "%s%s%s", k == 0 ? "ours: " : "", measure->score[k].caption,
                 at_step);
        for (int64_t e = first_shown(m, 0, k); e < series->count; e++) {
            const double step = series->step[e];
            mr_column *column = mr_report_score_column(
                m, 0, k, step, mr_report_step_text(step, !m->paper->by_step, heading), table);
            column->part = MR_COLUMN_OURS;
            if (e == first_shown(m, 0, k)) column->above = mr_table_keep(table, above);
        }
    }
    long long r = mr_paper_only_r(m->paper);
    if (r > 0)
        snprintf(above, sizeof above, "paper: r %lld%s", r, at_step);
    else
        snprintf(above, sizeof above, "paper:%s", at_step);
    for (int c = 0; c < m->paper->columns; c++) {
        mr_column *column = add_paper_column(c, measure->score[measure->scores - 1].decimals,
                                             m->paper->column[c], table);
        column->part = MR_COLUMN_PAPER;
        if (c == 0) column->above = mr_table_keep(table, above);
    }
}

/* Whether a block is the first of its task, beside which the paper's numbers stand. */
static bool is_first(const mr_report_maker *m, int block)
{
    return block == 0 || m->section->block[block - 1].results != m->section->block[block].results;
}

/* Whether something was searched beside the rate. */
static mr_status searches_keys(const mr_report_maker *m, int block, bool *does)
{
    mr_text text = {0};
    mr_status status = MR_OK;
    for (int64_t i = 0; status == MR_OK && i < m->rows; i++)
        status = chosen_keys(m, &m->row[i], block, &text);
    *does = text.length > 0;
    mr_text_free(&text);
    return status;
}

/* The rate, what else was chosen, and the seeds of a block. */
static void add_chosen_columns(const mr_report_maker *m, int block, bool keys, mr_table *table)
{
    const bool several = m->section->blocks > 1;
    const int64_t before = table->columns_added;
    char name[64];
    mr_report_block_name(m, block, name);
    mr_report_label_column(table, MR_COLUMN_TEXT, "lr");
    if (keys) mr_report_label_column(table, MR_COLUMN_TEXT, "with");
    mr_report_label_column(table, MR_COLUMN_INTEGER, "seeds")->right = false;
    for (int64_t c = before; several && c < table->columns_added; c++) {
        table->column[c].part = MR_COLUMN_OURS;
        table->column[c].block = block;
        table->column[c].tied = c > before;
    }
    if (several) table->column[before].above = mr_table_keep(table, name);
}

/* Each score of ours with the paper's beside it. */
static void add_beside_columns(const mr_report_maker *m, int block, bool tied, mr_table *table)
{
    const mr_report_block *at = &m->section->block[block];
    const mr_measure *measure = &at->results->measure;
    for (int k = 0, shown = 0; k < measure->scores; k++) {
        const mr_score *score = &measure->score[k];
        const mr_series *series = mr_report_series(at, k);
        const bool alone = !score->again && (k + 1 == measure->scores || !score[1].again);
        if (!score->again) shown = 0;
        if (!mr_report_shows(at, k)) continue;
        mr_column *column = mr_report_score_column(
            m, block, k, series->count > 0 ? series->step[series->count - 1] : NAN,
            alone || !score->rules ? "ours" : score->rules, table);
        column->part = MR_COLUMN_OURS;
        column->tied = tied || shown > 0;
        tied = false;
        if (shown == 0) column->above = mr_table_keep(table, score->caption);
        if (shown++ > 0 || score->column < 0 || !is_first(m, block)) continue;
        /* Behind ours by whichever rules comes first. */
        column = add_paper_column(score->column, score->decimals, "paper", table);
        column->block = block;
        column->part = MR_COLUMN_OURS;
        column->tied = true;
    }
}

static mr_status add_chosen_cells(const mr_report_maker *m, const mr_row *row, int block, bool keys,
                                  mr_table *table)
{
    const mr_rate *rate = row->rate[block];
    mr_text text = {0};
    mr_status status = MR_OK;
    if (rate)
        MR_TRY(mr_report_add_rate(row->group[block], rate, table));
    else
        mr_table_add_missing(table);
    if (keys) {
        status = chosen_keys(m, row, block, &text);
        if (text.length > 0)
            mr_table_add_text(table, mr_text_get(&text), NULL);
        else
            mr_table_add_missing(table);
        mr_text_free(&text);
    }
    if (rate)
        mr_table_add_number(table, (double)rate->seeds);
    else
        mr_table_add_missing(table);
    return status;
}

/* A cell of a column that add_..._columns made. */
static void add_cell(const mr_report_maker *m, const mr_row *row, const mr_column *column,
                     mr_table *table)
{
    const double value = column->paper >= 0 && row->paper ? row->paper->value[column->paper] : NAN;
    if (column->paper < 0) {
        const mr_report_block *block = &m->section->block[column->block];
        const mr_series *series = mr_report_series(block, column->score);
        int64_t e = 0;
        while (e + 1 < series->count && series->step[e] < column->step - 0.5)
            e++;
        mr_report_add_score(&block->results->measure.score[column->score], row->rate[column->block],
                            column->score, e, table);
    } else if (isnan(value)) {
        mr_table_add_missing(table);
    } else {
        mr_table_add_number(table, value);
    }
}

static mr_status add_scores_row(const mr_report_maker *m, const mr_row *row, const bool *keys,
                                mr_table *table)
{
    const mr_section *section = m->section;
    MR_TRY(mr_report_add_label(m, row, row->like,
                               m->paper->searched ? NULL : section->block[0].setting, table));
    if (row->like)
        mr_report_add_r(row->like->r, table);
    else /* the only r stands above the paper's columns */
        mr_report_add_r(mr_paper_only_r(m->paper) > 0 ? 0 : row->paper->r, table);
    for (int64_t c = 2; c < table->columns; c++) {
        const mr_column *column = &table->column[c];
        if (column->score >= 0 || column->paper >= 0) {
            add_cell(m, row, column, table);
        } else if (strcmp(column->heading, "lr") == 0) { /* and what stands behind it */
            MR_TRY(add_chosen_cells(m, row, column->block, keys[column->block], table));
            c += keys[column->block] + 1;
        }
    }
    return MR_OK;
}

/* The variance of what a cell tells, and its degrees of freedom; NAN where it is not known. Seeds
 * that agree say nothing of other items, so the larger of both errors counts. */
static double variance_of(const mr_cell *cell, double *freedom)
{
    const double seeds = mr_estimate_error(cell->value), items = cell->error;
    const bool by_seeds = seeds >= items || isnan(items);
    *freedom = by_seeds ? (double)(cell->value.n - 1) : MOST_FREEDOM;
    return by_seeds ? seeds * seeds : items * items;
}

/* Whether two cells differ by no more than an interval of 95 % of their difference: Welch's. */
static bool is_within(const mr_cell *a, const mr_cell *b)
{
    double of_a, of_b;
    const double left = variance_of(a, &of_a), right = variance_of(b, &of_b), sum = left + right;
    if (!(sum > 0)) return false;
    double freedom = floor(sum * sum / (left * left / of_a + right * right / of_b));
    freedom = fmin(fmax(freedom, 1), MOST_FREEDOM);
    return fabs(a->value.mean - b->value.mean) <=
           mr_student_quantile(0.975, (int64_t)freedom) * sqrt(sum);
}

/* Marks what is not apart from the best of a column of ours. */
static void mark_column(const mr_report_maker *m, int64_t c, mr_table *table)
{
    const mr_column *column = &table->column[c];
    const mr_results *results = m->section->block[column->block].results;
    const bool lower = mr_results_lower_is_better(results, column->score);
    const mr_cell *best = NULL;
    int64_t cells = 0;
    for (int64_t i = 0; i < table->rows; i++) {
        const mr_cell *cell = mr_table_cell(table, i, c);
        cells += cell->value.n > 0;
        if (cell->value.n > 0 &&
            (!best || mr_statistics_lead(cell->value.mean, best->value.mean, lower) > 0))
            best = cell;
    }
    for (int64_t i = 0; best && i < table->rows; i++) {
        mr_cell *cell = &table->cell[i * table->columns + c];
        const bool told = cell->value.n > 0;
        const bool tied = told && cell->value.mean == best->value.mean;
        cell->best = tied && cells > 1;
        cell->within = told && !tied && is_within(cell, best);
        if (cell->within) cell->marks = "~";
    }
}

mr_status mr_report_make_scores(const mr_report_maker *m)
{
    mr_table *table = &m->section->table[MR_TABLE_SCORES];
    int64_t most = 2 + m->paper->columns;
    bool keys[MR_BLOCKS] = {false};
    for (int b = 0; b < m->section->blocks; b++) {
        most += 3 + 2 * m->section->block[b].results->measure.scores;
        for (int k = 0; k < m->section->block[b].results->measure.scores; k++)
            most += mr_report_series(&m->section->block[b], k)->count;
    }
    MR_TRY(mr_table_create(most, m->rows, table));
    mr_report_label_column(table, MR_COLUMN_TEXT, "method");
    mr_report_label_column(table, MR_COLUMN_INTEGER, "r");
    for (int b = 0; b < m->section->blocks; b++) {
        const bool runs = m->section->block[b].setting != NULL;
        if (runs && m->paper->searched) MR_TRY(searches_keys(m, b, &keys[b]));
        if (runs) add_chosen_columns(m, b, keys[b], table);
        if (m->paper->searched) add_beside_columns(m, b, runs && m->section->blocks > 1, table);
    }
    if (!m->paper->searched) add_apart_columns(m, table);
    table->columns = table->columns_added;
    for (int64_t i = 0; i < m->rows; i++) {
        table->row[i] = m->row[i];
        MR_TRY(add_scores_row(m, &m->row[i], keys, table));
    }
    for (int64_t c = 0; m->paper->searched && c < table->columns; c++)
        if (table->column[c].score >= 0) mark_column(m, c, table);
    return table->failed ? MR_ERR_MEMORY : MR_OK;
}
