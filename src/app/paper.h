#ifndef MR_APP_PAPER_H
#define MR_APP_PAPER_H

/** @file
 * Published numbers as data, to stand beside ours.
 *
 * A further table is a further entry in paper.c; its rows are found by the names methods have in
 * run logs.
 */

#include "base/text.h"

#include <stdint.h>

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
    const char *task;    /**< whose logs it is compared with */
    const char *score;   /**< dataset of /eval/<task> */
    const char *caption; /**< what a number says, with its unit */
    double scale;        /**< a score of ours times this is in the table's unit */
    double chance;       /**< what guessing scores, in the table's unit */
    int columns;
    const char *column[MR_PAPER_COLUMNS];
    int rows;
    const mr_paper_row *row;
} mr_paper_table;

/** Returns the table of a name, or NULL. Local. */
const mr_paper_table *mr_paper_find(const char *name);

/** Returns the row of a method, or NULL. Local. */
const mr_paper_row *mr_paper_row_of(const mr_paper_table *table, const char *method, int64_t r);

/** Appends the names of all tables, joined by commas. Local. */
void mr_paper_names(mr_text *out);

#endif
