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

extern const mr_renderer mr_renderer_text, mr_renderer_json;

/** Returns the form of a name, or NULL. Local. */
const mr_renderer *mr_renderer_find(const char *name);

#endif
