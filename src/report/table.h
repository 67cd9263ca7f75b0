#ifndef MR_REPORT_TABLE_H
#define MR_REPORT_TABLE_H

/** @file
 * A published table and our results side by side, as text and as JSON. */

#include "report/paper.h"
#include "report/results.h"

#include <jansson.h>

/** One line: a method of the paper, of ours, or of both. Borrows both. */
typedef struct mr_table_row {
    const mr_paper_row *paper; /**< NULL: the paper has none */
    const mr_group *group;     /**< NULL: we have none */
} mr_table_row;

/** Lists the lines of a setting's table: ascending by r, in it the paper's before others; beside a
 * table of one r, methods that train the base weights first, then the paper's, then others. Local.
 * @param[out] rows  [*count], for mr_free
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_table_rows(const mr_paper_table *paper, const mr_setting *setting,
                                     mr_table_row **rows, int64_t *count);

/** Tells whether a key of the schema tells apart groups. Local.
 * @param alike  a group: only groups of its method and r are looked at; NULL: all
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_table_key_varies(const mr_setting *setting, const mr_group *alike,
                                           const char *key, bool *varies);

/** Appends the name of a setting: what stands before the first dot of its runs' names, each once.
 * Local. */
void mr_table_name(const mr_results *results, const mr_setting *setting, mr_text *out);

/** Appends all of it as text of at most MR_LAYOUT_WIDTH characters a line. Local.
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_table_text(const mr_paper_table *paper, const mr_results *results,
                                     mr_text *out);

/** Makes all of it as JSON; scores in the unit of the paper's table. Local.
 * @param[out] out  a reference the caller gives back with json_decref; NULL on failure
 * @return MR_OK, MR_ERR_FORMAT (a name that is not UTF-8), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_table_json(const mr_paper_table *paper, const mr_results *results,
                                     json_t **out);

#endif
