/* A report as comma-separated values, RFC 4180: a row a cell of the tables of scores, ours and the
 * paper's; numbers to ten digits, what is not known empty. */

#include "report/render.h"

#include <math.h>
#include <string.h>

static void add_plain(const char *text, mr_text *out)
{
    const bool quoted = strpbrk(text, ",\"") != NULL;
    if (quoted) mr_text_add(out, "\"");
    for (; *text; text++)
        mr_text_add(out, "%s%c", *text == '"' ? "\"" : "", *text);
    if (quoted) mr_text_add(out, "\"");
}

/* A value, quoted where it has to be; separators come before all but the first. */
static void add_text(const char *text, mr_text *out)
{
    mr_render_text(text, add_plain, out);
}

static void next_text(const char *text, mr_text *out)
{
    mr_text_add(out, ",");
    if (text) add_text(text, out);
}

static void next_number(double value, mr_text *out)
{
    mr_text_add(out, ",");
    if (isfinite(value)) mr_text_add(out, "%.10g", value);
}

/* What the paper's number is of: beside ours it stands below the same caption. */
static const char *paper_score(const mr_report *report, const mr_table *table, int64_t c)
{
    const mr_column *column = &table->column[c];
    return column->tied ? mr_render_above(table, c) : report->paper->column[column->paper];
}

/* The text of the column of a heading that is of a block, or of none; NULL: there is none. */
static const char *text_of(const mr_table *table, int64_t row, const char *heading, int block)
{
    for (int64_t c = 0; c < table->columns; c++) {
        const mr_column *column = &table->column[c];
        if (column->kind == MR_COLUMN_TEXT && column->block == block &&
            strcmp(column->heading, heading) == 0)
            return mr_table_cell(table, row, c)->text;
    }
    return NULL;
}

/* What chose a cell's rate, and what its runs took; empty fields for the paper's. */
static void add_runs(const mr_table *table, int64_t row, const mr_column *column, mr_text *out)
{
    const mr_row *of = &table->row[row];
    const mr_rate *rate = column->paper >= 0 ? NULL : of->rate[column->block];
    next_number(rate ? rate->lr : NAN, out);
    next_text(rate ? text_of(table, row, "with", column->block) : NULL, out);
    next_number(rate ? (double)rate->seeds : NAN, out);
    next_number(rate && rate->seeds > 0 ? (double)of->group[column->block]->first->trainable : NAN,
                out);
    next_number(rate ? rate->tokens : NAN, out);
    next_number(rate ? rate->seconds : NAN, out);
    next_number(rate && rate->forgotten.n > 0 ? rate->forgotten.mean : NAN, out);
}

static void add_value(const mr_cell *cell, bool ours, mr_text *out)
{
    const mr_estimate *value = &cell->value;
    const mr_interval interval = mr_estimate_interval(*value, 0.95);
    next_number(value->n > 0 ? value->mean : NAN, out);
    next_number(value->n > 1 ? value->spread : NAN, out);
    next_number(interval.low, out);
    next_number(interval.high, out);
    next_number(cell->error, out);
    const char *near = cell->best ? "best" : cell->within ? "yes" : "no";
    next_text(ours && value->n > 0 ? near : NULL, out);
    next_text(value->n > 0 ? NULL : cell->text ? cell->text : "none", out);
}

static void add_cell(const mr_report *report, int64_t s, int64_t row, int64_t c, mr_text *out)
{
    const mr_section *section = &report->section[s];
    const mr_table *table = &section->table[MR_TABLE_SCORES];
    const mr_column *column = &table->column[c];
    const mr_measure *measure = &section->block[column->block].results->measure;
    const mr_row *of = &table->row[row];
    const mr_score *score = column->paper >= 0 ? NULL : &measure->score[column->score];
    add_text(report->paper->name, out);
    next_number((double)s + 1, out);
    next_text(column->paper >= 0 ? "paper" : "ours", out);
    next_text(measure->task, out);
    const char *method = of->like ? of->like->method : of->paper->method;
    const int64_t r = of->like ? of->like->r : of->paper->r;
    next_text(method, out);
    const char *label = text_of(table, row, "method", 0);
    next_text(label + strlen(method) + strspn(label + strlen(method), " "), out);
    next_number(r > 0 ? (double)r : NAN, out);
    next_text(score ? score->caption : paper_score(report, table, c), out);
    next_text(score ? score->rules : NULL, out);
    next_text(!score ? NULL : score->lower_is_better ? "lower" : "higher", out);
    next_number(column->step, out);
    add_value(mr_table_cell(table, row, c), score != NULL, out);
    add_runs(table, row, column, out);
    mr_text_add(out, "\r\n");
}

static mr_status render(const mr_report *report, mr_text *out)
{
    mr_text_add(out, "table,section,whose,task,method,keys,r,score,rules,better,step,mean,"
                     "standard_deviation_of_seeds,interval_95_low,interval_95_high,"
                     "standard_error_of_items,within_best,missing,lr,with,seeds,"
                     "trained_parameters,tokens,seconds,forgotten\r\n");
    for (int64_t s = 0; s < report->sections; s++) {
        const mr_table *table = &report->section[s].table[MR_TABLE_SCORES];
        for (int64_t i = 0; i < table->rows; i++)
            for (int64_t c = 0; c < table->columns; c++)
                if (table->column[c].score >= 0 || table->column[c].paper >= 0)
                    add_cell(report, s, i, c, out);
    }
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

const mr_renderer mr_renderer_csv = {.name = "csv", .render = render};
