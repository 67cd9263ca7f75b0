#include "report/render.h"

#include "report/layout.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const mr_renderer *mr_renderer_find(const char *name)
{
    static const mr_renderer *const renderers[] = {&mr_renderer_text, &mr_renderer_markdown,
                                                   &mr_renderer_latex, &mr_renderer_csv,
                                                   &mr_renderer_json};
    for (size_t i = 0; i < sizeof renderers / sizeof renderers[0]; i++)
        if (strcmp(renderers[i]->name, name) == 0) return renderers[i];
    return NULL;
}

void mr_render_text(const char *text, mr_render_plain *plain, mr_text *out)
{
    mr_text line = {0};
    mr_text_add_line(&line, text, strlen(text));
    plain(mr_text_get(&line), out);
    if (line.failed) out->failed = true;
    mr_text_free(&line);
}

void mr_render_number(const mr_column *column, double value, mr_text *out)
{
    if (fabs(value) < 1e6)
        mr_text_add(out, "%.*f", column->decimals, value);
    else
        mr_text_add(out, "%.3g", value);
}

static void add_estimate(const mr_column *column, const mr_cell *cell, mr_text *out)
{
    mr_render_number(column, cell->value.mean, out);
    if (cell->value.n > 1) {
        mr_text_add(out, " ±");
        mr_render_number(column, cell->value.spread, out);
    } else if (isfinite(cell->error)) {
        mr_text_add(out, " (");
        mr_render_number(column, cell->error, out);
        mr_text_add(out, ")");
    }
}

void mr_render_cell(const mr_column *column, const mr_cell *cell, mr_text *out)
{
    char text[MR_LAYOUT_NUMBER];
    if (cell->value.n == 0)
        mr_text_add(out, "%s", cell->text ? cell->text : "-");
    else if (column->kind == MR_COLUMN_TEXT)
        mr_text_add_line(out, cell->text, strlen(cell->text));
    else if (column->kind == MR_COLUMN_INTEGER)
        mr_text_add(out, "%.0f", cell->value.mean);
    else if (column->kind == MR_COLUMN_COUNT)
        mr_text_add(out, "%s", mr_layout_integer(llround(cell->value.mean), text));
    else if (column->kind == MR_COLUMN_NUMBER)
        mr_render_number(column, cell->value.mean, out);
    else
        add_estimate(column, cell, out);
    if (cell->marks) mr_text_add(out, "%s", cell->marks);
}

const char *mr_render_above(const mr_table *table, int64_t column)
{
    while (column > 0 && !table->column[column].above)
        column--;
    return table->column[column].above ? table->column[column].above : "";
}

bool mr_render_repeats(const mr_table *table, int64_t row, int64_t column)
{
    const mr_row *of = &table->row[row];
    return row > 0 && table->column[column].once && of->like && of->like == of[-1].like;
}
