#include "report/layout.h"

#include "base/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void mr_grid_column(mr_grid *grid, const char *gap, const char *heading, bool right)
{
    MR_INVARIANT(grid->columns < MR_LAYOUT_COLUMNS && grid->cells.count == 0);
    grid->column[grid->columns++] = (mr_grid_head){.gap = gap, .heading = heading, .right = right};
}

void mr_grid_cell(mr_grid *grid, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!grid->failed) grid->failed = mr_names_add(&grid->cells, text) != MR_OK;
}

/* The column after the ones that the heading of column c stands above. */
static int heading_end(const mr_grid *grid, int c)
{
    int end = c + 1;
    while (end < grid->columns && !grid->column[end].heading)
        end++;
    return end;
}

/* Widths of the columns; a heading that does not fit widens the columns it stands above. */
static void measure(const mr_grid *grid, int width[MR_LAYOUT_COLUMNS])
{
    memset(width, 0, MR_LAYOUT_COLUMNS * sizeof *width);
    for (int64_t i = 0; i < grid->cells.count; i++) {
        int cell = mr_utf8_width(grid->cells.item[i], strlen(grid->cells.item[i])),
            c = (int)(i % grid->columns);
        if (cell > width[c]) width[c] = cell;
    }
    for (int c = 0; c < grid->columns; c++) {
        if (!grid->column[c].heading) continue;
        int end = heading_end(grid, c), span = width[c];
        for (int k = c + 1; k < end; k++)
            span += mr_utf8_width(grid->column[k].gap, strlen(grid->column[k].gap)) + width[k];
        int missing =
            mr_utf8_width(grid->column[c].heading, strlen(grid->column[c].heading)) - span;
        for (int k = end; missing > 0; missing--) {
            k = k > c + 1 ? k - 1 : end - 1;
            width[k]++;
        }
    }
}

int mr_grid_width(const mr_grid *grid)
{
    int width[MR_LAYOUT_COLUMNS], sum = 0;
    measure(grid, width);
    for (int c = 0; c < grid->columns; c++)
        sum += mr_utf8_width(grid->column[c].gap, strlen(grid->column[c].gap)) + width[c];
    return sum;
}

/* Ends a line without the spaces at its end. */
static void end_line(mr_text *out)
{
    while (out->length > 0 && out->data[out->length - 1] == ' ')
        out->data[--out->length] = '\0';
    mr_text_add(out, "\n");
}

static void print_headings(const mr_grid *grid, const int *width, int indent, mr_text *out)
{
    mr_text_add(out, "%*s", indent, "");
    for (int c = 0; c < grid->columns;) {
        const mr_grid_head *column = &grid->column[c];
        int end = heading_end(grid, c), span = width[c];
        for (int k = c + 1; k < end; k++)
            span += mr_utf8_width(grid->column[k].gap, strlen(grid->column[k].gap)) + width[k];
        const char *text = column->heading ? column->heading : "";
        mr_text_add(out, "%s%s%*s", column->gap, text, span - mr_utf8_width(text, strlen(text)),
                    "");
        c = end;
    }
    end_line(out);
}

void mr_grid_print(const mr_grid *grid, int indent, mr_text *out)
{
    int width[MR_LAYOUT_COLUMNS];
    bool headed = false;
    measure(grid, width);
    for (int c = 0; c < grid->columns; c++)
        headed = headed || (grid->column[c].heading && grid->column[c].heading[0]);
    if (headed) print_headings(grid, width, indent, out);
    for (int64_t i = 0; i < grid->cells.count; i++) {
        int c = (int)(i % grid->columns);
        const char *cell = grid->cells.item[i];
        int pad = width[c] - mr_utf8_width(cell, strlen(cell));
        bool right = grid->column[c].right;
        if (c == 0) mr_text_add(out, "%*s", indent, "");
        mr_text_add(out, "%s%*s%s%*s", grid->column[c].gap, right ? pad : 0, "", cell,
                    right ? 0 : pad, "");
        if (c == grid->columns - 1) end_line(out);
    }
    if (grid->failed) out->failed = true;
}

void mr_grid_free(mr_grid *grid)
{
    mr_names_free(&grid->cells);
    *grid = (mr_grid){0};
}

void mr_layout_wrap(const char *label, int indent, const char *text, mr_text *out)
{
    int column = mr_utf8_width(label, strlen(label));
    bool begun = false;
    mr_text_add(out, "%s", label);
    while (*text) {
        size_t length = strcspn(text, " ");
        int width = mr_utf8_width(text, length);
        if (begun && column + 1 + width > MR_LAYOUT_WIDTH) {
            mr_text_add(out, "\n%*s", indent, "");
            column = indent;
            begun = false;
        }
        mr_text_add(out, "%s%.*s", begun ? " " : "", (int)length, text);
        column += begun + width;
        begun = true;
        text += length;
        text += strspn(text, " ");
    }
    mr_text_add(out, "\n");
}

const char *mr_layout_integer(int64_t value, char number[MR_LAYOUT_NUMBER])
{
    char digits[MR_LAYOUT_NUMBER];
    int length = snprintf(digits, sizeof digits, "%" PRId64, value);
    int sign = value < 0, at = 0;
    for (int i = 0; i < length; i++) {
        if (i > sign && (length - i) % 3 == 0) number[at++] = ',';
        number[at++] = digits[i];
    }
    number[at] = '\0';
    return number;
}
