#ifndef MR_REPORT_RENDER_H
#define MR_REPORT_RENDER_H

/** @file
 * Forms a report is written in: a file and a row of the table in render.c each. */

#include "report/report.h"

/** One form. */
typedef struct mr_renderer {
    const char *name;
    /** Appends all of a report. Local.
     * @return MR_OK, MR_ERR_MEMORY */
    mr_status (*render)(const mr_report *report, mr_text *out);
} mr_renderer;

extern const mr_renderer mr_renderer_text, mr_renderer_markdown, mr_renderer_latex, mr_renderer_csv,
    mr_renderer_json;

#define MR_RENDERER_NAMES "text|markdown|latex|csv|json"

/** Returns the form of a name, or NULL. Local. */
const mr_renderer *mr_renderer_find(const char *name);

/** Appends text in which nothing is a command of a form. Local. */
typedef void mr_render_plain(const char *text, mr_text *out);

/** Appends text of others in a form, on one line. Local. */
void mr_render_text(const char *text, mr_render_plain *plain, mr_text *out);

/** Appends a number in the decimals of its column; what is far from all a score has in three
 * digits. Local. */
void mr_render_number(const mr_column *column, double value, mr_text *out);

/** Appends a cell as words, of estimates with their spread or error, and its marks. Local. */
void mr_render_cell(const mr_column *column, const mr_cell *cell, mr_text *out);

/** Returns what stands above a column, "" where nothing does. Local. */
const char *mr_render_above(const mr_table *table, int64_t column);

/** Tells whether a cell repeats that of the row before, where people read. Local. */
bool mr_render_repeats(const mr_table *table, int64_t row, int64_t column);

#endif
