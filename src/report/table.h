#ifndef MR_REPORT_TABLE_H
#define MR_REPORT_TABLE_H

/** @file
 * A table as words and numbers, before anything is rounded, laid out or cut: what every renderer
 * starts from. */

#include "base/text.h"
#include "report/paper.h"

enum { MR_BLOCKS = 16 }; /**< most settings whose runs stand in one table */

/** What the cells of a column hold. */
typedef enum mr_column_kind {
    MR_COLUMN_TEXT,
    MR_COLUMN_INTEGER,  /**< a whole number that names something, as r does */
    MR_COLUMN_COUNT,    /**< a whole number of things */
    MR_COLUMN_NUMBER,   /**< a number of which no spread is told */
    MR_COLUMN_ESTIMATE, /**< a mean over runs, and its spread */
} mr_column_kind;

/** What a column is to a table that is wider than the page. */
typedef enum mr_column_part {
    MR_COLUMN_LABEL, /**< stands in every piece */
    MR_COLUMN_OURS,  /**< pieces are cut between these, but not before one that is tied */
    MR_COLUMN_PAPER, /**< stands in the first piece */
} mr_column_part;

/** A column. Owns its texts. */
typedef struct mr_column {
    mr_column_kind kind;
    mr_column_part part;
    char *heading;
    char *above;  /**< above this and the columns behind it that have none; NULL: none */
    int decimals; /**< NUMBER and ESTIMATE */
    int block;    /**< of the section, whose measure score is an index in */
    int score;    /**< index in the measure of what the numbers are; -1: no score */
    double step;  /**< of a score; NAN: of no single one */
    int paper;    /**< index of the paper's column, whose numbers these are; -1: ours */
    bool right;   /**< aligned to the right */
    bool tied;    /**< stands beside the column before it */
    bool once;    /**< the same in all rows of a group: enough in the first, where people read */
    bool detail;  /**< one of many steps: for those who compute, not for a page */
} mr_column;

/** A cell. Owns text. */
typedef struct mr_cell {
    mr_estimate value; /**< in the unit of the caption; n is 0 where the cell is missing */
    double error;      /**< standard, of the choice of items of one run; NAN: not known */
    bool best;         /**< of its column, where methods are searched */
    bool within;       /**< not apart from the best of its column by more than chance makes */
    char *text;        /**< TEXT; of a missing cell why, or NULL */
    const char *marks; /**< of the notes it refers to; NULL: none; borrowed */
} mr_cell;

/** What a row tells of, by blocks of the section. Borrows all of it. */
typedef struct mr_row {
    const mr_paper_row *paper;        /**< NULL: the paper has none */
    const mr_result *like;            /**< a run of ours; NULL: we have none */
    const mr_group *group[MR_BLOCKS]; /**< NULL: none of the block */
    const mr_rate *rate[MR_BLOCKS];   /**< NULL: no run of the group counts */
} mr_row;

/** A table, filled from the left and then from above. Start from {0}; free with mr_table_free. Owns
 * everything. */
typedef struct mr_table {
    char *caption; /**< NULL: none */
    int64_t columns, rows;
    mr_column *column; /**< [columns] */
    mr_row *row;       /**< [rows] */
    mr_cell *cell;     /**< [rows, columns] */
    int64_t columns_added, cells_added;
    bool failed; /**< an allocation failed; the table is incomplete */
} mr_table;

/** Makes a table of empty columns, rows and cells. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_table_create(int64_t columns, int64_t rows, mr_table *out);

/** Sets kind and heading of the next column, which is a label. Local. @return it */
mr_column *mr_table_column(mr_table *table, mr_column_kind kind, const char *heading);

/** Returns a copy of a text for the table to own; NULL, and sets failed, where there is no memory.
 * Local. */
char *mr_table_keep(mr_table *table, const char *text);

/** Sets the next cell. Local. @{ */
void mr_table_add_missing(mr_table *table);
void mr_table_add_absent(mr_table *table, const char *why);
void mr_table_add_text(mr_table *table, const char *text, const char *marks);
void mr_table_add_number(mr_table *table, double value);
void mr_table_add_estimate(mr_table *table, mr_estimate value);
/** @} */

/** Returns the cell of a row and column. Local. */
const mr_cell *mr_table_cell(const mr_table *table, int64_t row, int64_t column);

/** Frees everything and empties the table. Local. */
void mr_table_free(mr_table *table);

#endif
