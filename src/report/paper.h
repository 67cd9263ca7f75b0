#ifndef MR_REPORT_PAPER_H
#define MR_REPORT_PAPER_H

/** @file
 * Published numbers as data, to stand beside ours: paper.yaml, which says what its keys mean, is
 * built into the program. Rows are found by the names that methods have in run logs, and by r where
 * a table has several. */

#include "config/yaml.h"
#include "report/results.h"

/** A key of our configuration and its value as text. Borrows both. */
typedef struct mr_paper_key {
    const char *key, *value;
} mr_paper_key;

/** One method's results. Borrows its texts; owns its arrays. */
typedef struct mr_paper_row {
    const char *method;
    int64_t r; /**< 0: none, the base weights are trained */
    int keys;
    mr_paper_key *key; /**< [keys] that a run has to have beside method and r */
    double *value;     /**< [columns]; NAN where the paper has none */
} mr_paper_row;

/** One table. Borrows its texts; owns its arrays. */
typedef struct mr_paper_table {
    const char *name, *source, *setting, *note, *sample;
    int tasks;
    mr_measure *measure; /**< [tasks] what of our logs is compared; owned with its scores */
    bool by_step;        /**< columns are evaluated steps; else ours is the last evaluation */
    /** A line is a method at an r, and of its other keys those that the paper's rows name: the rest
     * is searched as the rate is. Else groups of runs have lines of their own. */
    bool searched;
    int columns;
    const char **column; /**< [columns] headings */
    int rows;
    mr_paper_row *row; /**< [rows] */
} mr_paper_table;

/** All tables. Start from {0}; free with mr_paper_free. Owns everything. */
typedef struct mr_paper {
    int tables;
    mr_paper_table *table; /**< [tables] */
    mr_yaml yaml;          /**< holds the texts */
} mr_paper;

/** Reads the program's own tables. Local. @return MR_OK, MR_ERR_CONFIG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_paper_read(mr_paper *out);

/** Reads tables from YAML. Local.
 * @param name  stands before line and column in messages
 * @param out   to be freed on failure, too
 * @return MR_OK, MR_ERR_CONFIG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_paper_parse(const char *name, const char *text, size_t bytes,
                                      mr_paper *out);

/** Frees everything and empties it. Local. */
void mr_paper_free(mr_paper *paper);

/** Appends the names of all tables, joined by commas. Local. */
void mr_paper_names(const mr_paper *paper, mr_text *out);

/** Finds the table of a name for the logs below some folders. Of several, all of them where name
 * is NULL, that with most of the tasks of the logs; of these that with fewest others, then the
 * first; one whose rows are all of one method only where all logs of its task are of that. Local.
 * @param[out] out     borrowed from paper
 * @param[out] others  appended: names of other tables that the logs can be compared with, joined by
 *                     commas
 * @return MR_OK, MR_ERR_USAGE (no such table; message lists them), MR_ERR_FORMAT (without a name,
 *         and all logs are of tasks of no table), MR_ERR_IO (a folder cannot be read),
 *         MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_paper_choose(const mr_paper *paper, const char *name,
                                       const char *const *folder, int folders,
                                       const mr_paper_table **out, mr_text *others);

/** Returns the r of all rows that have one, 0 where there are several. Local. */
int64_t mr_paper_only_r(const mr_paper_table *table);

/** Finds the first row that a run belongs to; a key that is `auto` is what it became. A table of
 * one r is compared with ours at any: its row is found by name and keys alone. Local.
 * @param[out] out  borrowed from table; NULL: none
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_paper_row_of(const mr_paper_table *table, const mr_result *run,
                                       const mr_paper_row **out);

#endif
