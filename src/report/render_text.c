/* A report for a terminal: lines of at most MR_LAYOUT_WIDTH characters. */

#include "base/utf8.h"
#include "report/layout.h"
#include "report/render.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { INDENT = 7, MARK = 3 }; /* of paragraphs, of notes */

/* Characters that the spread of a mean takes, which others in its column leave free. */
static int spread_width(const mr_column *column)
{
    return column->decimals + 5;
}

static const char *number_text(const mr_column *column, double value, char text[MR_LAYOUT_NUMBER])
{
    mr_text number = {0};
    mr_render_number(column, value, &number);
    snprintf(text, MR_LAYOUT_NUMBER, "%s", mr_text_get(&number));
    mr_text_free(&number);
    return text;
}

static void add_estimate(const mr_column *column, const mr_cell *cell, mr_grid *grid)
{
    const mr_estimate *value = &cell->value;
    char mean[MR_LAYOUT_NUMBER], spread[MR_LAYOUT_NUMBER], behind[MR_LAYOUT_NUMBER + 8] = "";
    const char *marks = cell->marks ? cell->marks : "";
    int width = spread_width(column), left = column->decimals + 4;
    if (value->n == 0) {
        mr_grid_cell(grid, "%s%*s", cell->text ? cell->text : "-", cell->text ? 0 : width, "");
        return;
    }
    number_text(column, value->mean, mean);
    if (value->n > 1)
        snprintf(behind, sizeof behind, " ±%s", number_text(column, value->spread, spread));
    else if (isfinite(cell->error))
        snprintf(behind, sizeof behind, " (%s)", number_text(column, cell->error, spread));
    int rest = width - mr_utf8_width(behind, strlen(behind)) - (int)strlen(marks);
    mr_grid_cell(grid, "%*s%s%s%*s", left, mean, behind, marks, rest > 0 ? rest : 0, "");
}

static void add_cell(const mr_column *column, const mr_cell *cell, mr_grid *grid)
{
    mr_text text = {0};
    if (column->kind == MR_COLUMN_ESTIMATE) {
        add_estimate(column, cell, grid);
        return;
    }
    mr_render_cell(column, cell, &text);
    mr_grid_cell(grid, "%s", mr_text_get(&text));
    if (text.failed) grid->failed = true;
    mr_text_free(&text);
}

/* A piece of a table: all labels, of ours those from `first` on up to `end`, and in the first piece
 * the paper's. */
typedef struct piece {
    const mr_table *table;
    int64_t first, end; /* columns */
    bool with_paper;
} piece;

static bool is_in(const piece *p, int64_t c)
{
    const mr_column *column = &p->table->column[c];
    if (column->detail) return false;
    if (column->part == MR_COLUMN_PAPER) return p->with_paper;
    return column->part == MR_COLUMN_LABEL || (c >= p->first && c < p->end);
}

static void add_columns(const piece *p, mr_grid *grid)
{
    const char *last = NULL;
    for (int64_t c = 0; c < p->table->columns; c++) {
        const mr_column *column = &p->table->column[c];
        if (!is_in(p, c)) continue;
        const char *here = mr_render_above(p->table, c), *gap = last ? "  " : "";
        bool heads = !last || strcmp(here, last) != 0;
        if (heads && here[0])
            gap = " | ";
        else if (column->part == MR_COLUMN_PAPER)
            gap = " ";
        mr_grid_column(grid, gap, heads ? here : NULL, column->right);
        last = here;
    }
    for (int64_t c = 0; c < p->table->columns; c++) {
        const mr_column *column = &p->table->column[c];
        if (!is_in(p, c)) continue;
        if (column->kind == MR_COLUMN_ESTIMATE && column->heading[0])
            mr_grid_cell(grid, "%s%*s", column->heading, spread_width(column), "");
        else
            mr_grid_cell(grid, "%s", column->heading);
    }
}

/* Whether a row has nothing in the columns that stand in this piece alone. */
static bool is_empty(const piece *p, int64_t row)
{
    for (int64_t c = 0; c < p->table->columns; c++) {
        const mr_cell *cell = mr_table_cell(p->table, row, c);
        if (is_in(p, c) && p->table->column[c].part != MR_COLUMN_LABEL &&
            (cell->value.n > 0 || cell->text))
            return false;
    }
    return true;
}

static void make_piece(const piece *p, mr_grid *grid)
{
    const mr_table *table = p->table;
    add_columns(p, grid);
    for (int64_t i = 0; i < table->rows; i++) {
        if (!p->with_paper && is_empty(p, i)) continue;
        for (int64_t c = 0; c < table->columns; c++) {
            if (!is_in(p, c)) continue;
            if (mr_render_repeats(table, i, c))
                mr_grid_cell(grid, "%s", "");
            else
                add_cell(&table->column[c], mr_table_cell(table, i, c), grid);
        }
    }
}

/* Whether a piece may be cut before a column. */
static bool is_cut(const mr_column *column)
{
    return column->part == MR_COLUMN_OURS && !column->detail && !column->tied;
}

/* The column behind the next `count` ones of ours from `first` on, and what is tied to them. */
static int64_t end_of(const mr_table *table, int64_t first, int64_t count)
{
    int64_t end = first;
    for (; end < table->columns && (count > 0 || table->column[end].tied); end++)
        count -= is_cut(&table->column[end]);
    return end;
}

static int64_t ours_from(const mr_table *table, int64_t first)
{
    int64_t count = 0;
    for (int64_t c = first; c < table->columns; c++)
        count += is_cut(&table->column[c]);
    return count;
}

/* Breaks our columns into as many pieces as the width of a line asks for. */
static void add_table(const mr_table *table, mr_text *out)
{
    enum { MOST = 32 }; /* more are wider than a line in any case */
    piece p = {.table = table, .with_paper = true};
    if (table->caption) mr_text_add(out, "%s\n", table->caption);
    do {
        mr_grid grid = {0};
        int64_t left = ours_from(table, p.first), count = left < MOST ? left : MOST;
        p.end = end_of(table, p.first, count);
        make_piece(&p, &grid);
        while (count > 1 && mr_grid_width(&grid) > MR_LAYOUT_WIDTH) {
            mr_grid_free(&grid);
            p.end = end_of(table, p.first, --count);
            make_piece(&p, &grid);
        }
        mr_grid_print(&grid, 0, out);
        mr_grid_free(&grid);
        mr_text_add(out, "\n");
        p.first = p.end;
        p.with_paper = false;
    } while (ours_from(table, p.first) > 0);
}

/* Wraps a text behind a start of its line. */
static void wrap(const char *start, int indent, const char *text, mr_text *out)
{
    mr_text clean = {0};
    mr_text_add_line(&clean, text, strlen(text));
    mr_layout_wrap(start, indent, mr_text_get(&clean), out);
    if (clean.failed) out->failed = true;
    mr_text_free(&clean);
}

/* Wraps a paragraph behind its label, and further lines as far in. */
static void wrap_paragraph(const mr_paragraph *paragraph, const char *colon, int indent,
                           mr_text *out)
{
    char start[64];
    int width = mr_utf8_width(paragraph->label, strlen(paragraph->label)) + (int)strlen(colon);
    snprintf(start, sizeof start, "%s%s%*s", paragraph->label, colon, indent - width, "");
    wrap(start, indent, paragraph->text, out);
}

static void add_section(const mr_section *section, mr_text *out)
{
    wrap("", INDENT, section->title, out);
    mr_text_add(out, "\n");
    int indent = INDENT;
    for (int i = 0; i < section->paragraphs; i++)
        if ((int)strlen(section->paragraph[i].label) + 2 > indent)
            indent = (int)strlen(section->paragraph[i].label) + 2;
    for (int i = 0; i < section->paragraphs; i++)
        wrap_paragraph(&section->paragraph[i], ":", indent, out);
    mr_text_add(out, "\n");
    for (int t = 0; t < section->tables; t++)
        if (section->table[t].rows > 0) add_table(&section->table[t], out);
    for (int i = 0; i < section->notes; i++)
        wrap_paragraph(&section->note[i], "", MARK, out);
    if (section->left_out.count > 0) mr_text_add(out, "\nleft out:\n");
    for (int64_t i = 0; i < section->left_out.count; i++)
        wrap("   ", 6, section->left_out.item[i], out);
}

static mr_status render(const mr_report *report, mr_text *out)
{
    for (int64_t s = 0; s < report->sections; s++) {
        if (s > 0) mr_text_add(out, "\n\n");
        add_section(&report->section[s], out);
    }
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

const mr_renderer mr_renderer_text = {.name = "text", .render = render};
