#ifndef MR_REPORT_REPORT_IMPL_H
#define MR_REPORT_REPORT_IMPL_H

/** @file
 * What the files that make a report share. All functions are Local. */

#include "report/report.h"

/** A section under way. */
typedef struct mr_report_maker {
    const mr_paper_table *paper;
    mr_section *section;
    mr_row *row; /**< [rows] lines of the table of scores; owned */
    int64_t rows;
} mr_report_maker;

/** Lists the lines of the table of scores. */
MR_NODISCARD mr_status mr_report_list_rows(mr_report_maker *m);

/** Makes the table of scores, and the table of rates of a block. @{ */
MR_NODISCARD mr_status mr_report_make_scores(const mr_report_maker *m);
MR_NODISCARD mr_status mr_report_make_rates(const mr_report_maker *m, int block);
/** @} */

/** The value of a key that tells the paper's row from others; NULL: it does not. */
const char *mr_report_in_paper(const mr_paper_row *row, const char *key);

/** Whether a run belongs to a line. */
MR_NODISCARD mr_status mr_report_takes(const mr_paper_table *paper, const mr_row *row,
                                       const mr_result *run, bool *takes);

/** Whether rows of the paper of a method name a key of it. */
bool mr_report_names_key(const mr_paper_table *paper, const char *method, const char *key);

/** Whether a score is told of: of several that ask the same by other rules those that the runs of a
 * block have, and where they have none the first. */
bool mr_report_shows(const mr_report_block *block, int score);

/** Whether a run of a block was evaluated on the set of "set/dataset". */
bool mr_report_has_set(const mr_report_block *block, const char *part);

/** Evaluations of a score that count; runs that are all left out have none. */
const mr_series *mr_report_series(const mr_report_block *block, int score);

/** Appends "key=value", behind a blank where something stands before: what the paper has, or where
 * that is NULL what a run has. */
MR_NODISCARD mr_status mr_report_add_key(const char *key, const char *in_paper,
                                         const mr_result *run, mr_text *text);

/** Adds the cell of a line: the method's name, behind it the keys that the paper's rows name and,
 * where a setting is given, those in which its groups of one method and r differ.
 * @param run  of the line; NULL: none of ours */
MR_NODISCARD mr_status mr_report_add_label(const mr_report_maker *m, const mr_row *row,
                                           const mr_result *run, const mr_setting *setting,
                                           mr_table *table);

/** Add the cell of an r, 0 being none; of a rate with its marks; and of evaluation e of score k at
 * a rate, where a mean of sets of which the runs have some says of how many. @{ */
void mr_report_add_r(int64_t r, mr_table *table);
MR_NODISCARD mr_status mr_report_add_rate(const mr_group *group, const mr_rate *rate,
                                          mr_table *table);
void mr_report_add_score(const mr_score *score, const mr_rate *rate, int k, int64_t e,
                         mr_table *table);
/** @} */

/** Add a column, numbers to the right, and a column of a score of ours at a step. @{ */
mr_column *mr_report_label_column(mr_table *table, mr_column_kind kind, const char *heading);
mr_column *mr_report_score_column(const mr_report_maker *m, int block, int score, double step,
                                  const char *heading, mr_table *table);
/** @} */

/** Writes "step 100", or the number alone; nothing where step is NAN. @return text */
const char *mr_report_step_text(double step, bool named, char text[64]);

/** Writes the name of a block's task, of further settings of one task with their number. */
void mr_report_block_name(const mr_report_maker *m, int block, char name[64]);

/** A rate in the form that configurations have it in. */
MR_NODISCARD mr_status mr_report_rate_text(double lr, mr_text *out);

#endif
