#ifndef MR_REPORT_PAPER_H
#define MR_REPORT_PAPER_H

/** @file
 * Published numbers as data, to stand beside ours.
 *
 * A further table is a further entry in paper.c; its rows are found by the names methods have in
 * run logs, and by r where the table has several.
 */

#include "report/results.h"

enum { MR_PAPER_COLUMNS = 8 }; /**< most columns of a table */

/** One method's results. */
typedef struct mr_paper_row {
    const char *method; /**< its name in run logs */
    int64_t r;          /**< 0: none, the base weights are trained */
    double value[MR_PAPER_COLUMNS];
} mr_paper_row;

/** One table. All pointers are to constants of the program. */
typedef struct mr_paper_table {
    const char *name;    /**< of --paper */
    const char *source;  /**< where it was published */
    const char *setting; /**< what was run, and what is not told about it */
    const char *note;    /**< how far ours may be compared with it */
    mr_measure measure;  /**< what of our logs is compared with it */
    const char *caption; /**< what a number says, with its unit */
    const char *sample;  /**< what a batch has a number of, in the plural */
    double scale;        /**< a score of ours times this is in the table's unit */
    double chance;       /**< what guessing scores, in the table's unit; NAN: not a constant */
    int decimals;
    bool by_step; /**< columns are evaluated steps; else ours have one, the last evaluation */
    int columns;
    const char *column[MR_PAPER_COLUMNS];
    int rows;
    const mr_paper_row *row;
} mr_paper_table;

/** Returns the table of a name, or NULL. Local. */
const mr_paper_table *mr_paper_find(const char *name);

/** Returns the first table whose measure is of a task, or NULL. Local. */
const mr_paper_table *mr_paper_of_task(const char *task);

/** Returns the r of all rows that have one, 0 where there are several. Local. */
int64_t mr_paper_only_r(const mr_paper_table *table);

/** Returns the row of a method, or NULL. A table of one r is compared with ours at any: its row is
 * found by name alone. Local. */
const mr_paper_row *mr_paper_row_of(const mr_paper_table *table, const char *method, int64_t r);

/** Appends the names of all tables, joined by commas. Local. */
void mr_paper_names(mr_text *out);

#endif
