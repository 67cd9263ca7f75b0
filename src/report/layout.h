#ifndef MR_REPORT_LAYOUT_H
#define MR_REPORT_LAYOUT_H

/** @file
 * Text laid out for a terminal: tables with aligned columns, wrapped paragraphs, grouped digits.
 *
 * Widths are counted in characters of UTF-8. A failed allocation is remembered, as in mr_text, and
 * told once at the end.
 */

#include "base/text.h"
#include "store/names.h"

enum {
    MR_LAYOUT_WIDTH = 120,  /**< characters of a line */
    MR_LAYOUT_COLUMNS = 80, /**< most columns of a table */
    MR_LAYOUT_NUMBER = 32,  /**< bytes of a number with its terminating zero */
};

/** A column of a table. */
typedef struct mr_grid_head {
    const char *gap;     /**< what stands before it; borrowed */
    const char *heading; /**< above this and the following columns without one; NULL: none */
    bool right;          /**< aligned to the right */
} mr_grid_head;

/** A table under way: cells row by row. Start from {0}; free with mr_grid_free. Owns cells. */
typedef struct mr_grid {
    int columns;
    mr_grid_head column[MR_LAYOUT_COLUMNS];
    mr_names cells;
    bool failed; /**< an allocation failed; the table is incomplete */
} mr_grid;

/** Adds a column; all columns come before the first cell. Local. */
void mr_grid_column(mr_grid *grid, const char *gap, const char *heading, bool right);

/** Adds the next cell, row by row. Local. */
void mr_grid_cell(mr_grid *grid, const char *fmt, ...) MR_PRINTF(2, 3);

/** Returns the width of a line, in characters. Local. */
int mr_grid_width(const mr_grid *grid);

/** Appends the table, each line behind `indent` spaces and without spaces at its end. Local. */
void mr_grid_print(const mr_grid *grid, int indent, mr_text *out);

/** Frees the cells and empties the table. Local. */
void mr_grid_free(mr_grid *grid);

/** Appends `label` and words of `text` wrapped to MR_LAYOUT_WIDTH, further lines behind `indent`
 * spaces, and a line end. Local. */
void mr_layout_wrap(const char *label, int indent, const char *text, mr_text *out);

/** Writes a whole number with its digits in groups of three ("12,345"). Local.
 * @return number */
const char *mr_layout_integer(int64_t value, char number[MR_LAYOUT_NUMBER]);

#endif
