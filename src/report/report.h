#ifndef MR_REPORT_REPORT_H
#define MR_REPORT_REPORT_H

/** @file
 * Our results beside a published table, as a document: a section a setting, or where a table is of
 * several tasks a section a model, in it words, tables and notes. Renderers (report/render.h) write
 * it down. */

#include "report/table.h"

enum {
    MR_SECTION_WORDS = 96, /**< most paragraphs, and most notes, of a section */
    MR_TABLE_SCORES = 0,   /**< the paper's rows and ours, at the rate that was chosen */
    MR_TABLE_RATES = 1,    /**< every rate tried of the first block, then of others */
    MR_SECTION_TABLES = MR_TABLE_RATES + MR_BLOCKS,
};

/** Text behind a label or a mark. Borrows that, owns text. */
typedef struct mr_paragraph {
    const char *label;
    char *text;
} mr_paragraph;

/** Runs of one setting of one task. Borrows both. */
typedef struct mr_report_block {
    const mr_results *results;
    const mr_setting *setting; /**< NULL: there are no runs of the task */
    bool forgot;               /**< a run of it tells what it forgot of other text */
} mr_report_block;

/** Runs that stand in one table. Owns everything but what blocks borrow. */
typedef struct mr_section {
    int blocks; /**< at least 1 */
    mr_report_block block[MR_BLOCKS];
    char *title;
    int paragraphs;
    mr_paragraph paragraph[MR_SECTION_WORDS];
    int tables; /**< 1 + blocks; those of blocks without runs have no rows */
    mr_table table[MR_SECTION_TABLES];
    int notes;
    mr_paragraph note[MR_SECTION_WORDS]; /**< the label is the mark in cells; "": of none */
    mr_names left_out;                   /**< runs that do not count, each with the reason */
} mr_section;

/** All of it. Start from {0}; free with mr_report_free. Borrows paper and results. */
typedef struct mr_report {
    const mr_paper_table *paper;
    const mr_results *results; /**< [paper->tasks] */
    int64_t sections, room;
    mr_section *section; /**< [sections] */
} mr_report;

/** Makes a report. A scores table lists its lines ascending by r, in it the paper's before others;
 * beside a paper's table of one r, methods that train the base weights first, then the paper's,
 * then others. Local.
 * @param results  [paper->tasks] read by the measures of the paper's table
 * @param others   names of other tables that the runs can be compared with; "": it is not told
 * @param out      to be freed on failure, too
 * @return MR_OK, MR_ERR_ARG (a section of more than MR_BLOCKS settings), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_report_make(const mr_paper_table *paper, const mr_results *results,
                                      const char *others, mr_report *out);

/** Frees everything and empties it. Local. */
void mr_report_free(mr_report *report);

#endif
