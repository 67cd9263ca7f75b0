#ifndef MR_REPORT_REPORT_H
#define MR_REPORT_REPORT_H

/** @file
 * Our results beside a published table, as a document: a section a setting, in it words, tables and
 * notes. Renderers (report/render.h) write it down. */

#include "report/table.h"

enum { MR_SECTION_WORDS = 8 }; /**< most paragraphs, and most notes, of a section */

/** The tables of a section. */
enum {
    MR_TABLE_SCORES, /**< the paper's rows and ours, at the rate that was chosen */
    MR_TABLE_RATES,  /**< every rate tried, so that the choice can be judged */
    MR_SECTION_TABLES
};

/** Text behind a label or a mark. Borrows that, owns text. */
typedef struct mr_paragraph {
    const char *label;
    char *text;
} mr_paragraph;

/** Runs of one setting. Owns everything but setting. */
typedef struct mr_section {
    const mr_setting *setting;
    char *title;
    int paragraphs;
    mr_paragraph paragraph[MR_SECTION_WORDS];
    mr_table table[MR_SECTION_TABLES];
    int notes;
    mr_paragraph note[MR_SECTION_WORDS]; /**< the label is the mark in cells; "": of none */
    mr_names left_out;                   /**< runs that do not count, each with the reason */
} mr_section;

/** All of it. Start from {0}; free with mr_report_free. Borrows paper and results. */
typedef struct mr_report {
    const mr_paper_table *paper;
    const mr_results *results;
    int64_t sections;
    mr_section *section; /**< [sections], as the settings of the results */
} mr_report;

/** Makes a report. A scores table lists its lines ascending by r, in it the paper's before others;
 * beside a paper's table of one r, methods that train the base weights first, then the paper's,
 * then others. Local.
 * @param results  read by the measure of the paper's table
 * @param out      to be freed on failure, too
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_report_make(const mr_paper_table *paper, const mr_results *results,
                                      mr_report *out);

/** Frees everything and empties it. Local. */
void mr_report_free(mr_report *report);

#endif
