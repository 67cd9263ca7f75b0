#ifndef MR_REPORT_SETTING_H
#define MR_REPORT_SETTING_H

/** @file
 * What is said of a setting: its name, what it shares and what tells it apart, in words. */

#include "report/report.h"

/** Returns a run of the setting whose method has a key; NULL: none has. Borrowed. Local. */
const mr_result *mr_setting_with(const mr_setting *setting, const char *key);

/** Tells whether a key of the schema tells apart groups that have it. Local.
 * @param alike  a group: only groups of its method and r are looked at; NULL: all
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_setting_key_varies(const mr_setting *setting, const mr_group *alike,
                                             const char *key, bool *varies);

/** Appends the name of a setting: what stands before the first dot of its runs' names, each once.
 * Local. */
void mr_setting_name(const mr_results *results, const mr_setting *setting, mr_text *out);

/** Appends what tells a setting apart from the others ("task.pairs=128, ..."); the data, where no
 * key does. Local. */
void mr_setting_difference(const mr_results *results, const mr_setting *setting, mr_text *out);

/** Appends what was run, in the words of the configuration. Local.
 * @param paper  gives the name of samples
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_setting_words(const mr_paper_table *paper, const mr_report_block *block,
                                        mr_text *out);

/** Appends the commits of the programs whose runs count, and returns their number: different ones
 * may compute different things. Local. */
int mr_setting_commits(const mr_results *results, const mr_setting *setting, mr_text *out);

#endif
