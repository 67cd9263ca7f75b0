#ifndef MR_TESTS_REPORTED_H
#define MR_TESTS_REPORTED_H

/** @file
 * Reports beside tables made up. All functions fail the test on trouble. */

#include "report/report.h"

enum { REPORTED_TASKS = 4 };

/** A report and what it is made of. */
typedef struct reported {
    mr_paper paper;
    const mr_paper_table *table;
    mr_results results[REPORTED_TASKS];
    mr_report report;
} reported;

/** Makes the report of the logs below a folder beside the table of a name (NULL: what suits them)
 * of some tables (NULL: the program's). */
void reported_make(const char *yaml, const char *name, const char *folder, reported *r);

/** Appends it in a form. */
void reported_render(const reported *r, const char *form, mr_text *out);

/** Frees everything. */
void reported_free(reported *r);

#endif
