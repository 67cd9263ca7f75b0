#ifndef MR_REPORT_RESULTS_READ_H
#define MR_REPORT_RESULTS_READ_H

/** @file
 * Finding and reading the logs of a folder, one by one, before they are sorted. */

#include "report/results.h"

/** Lists the files below some folders whose names end in ".h5", but spectra, ascending by path,
 * each once. Local.
 * @param[out] paths  start from {0}; the caller frees it, also on failure
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_results_find(const char *const *folder, int folders, mr_names *paths);

/** Reads a log by the measure of its task; one of none of them gives *out NULL. Local.
 * @param[out] task  index of the measure
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (not a sound log; message names the path),
 *         MR_ERR_CONFIG (its configuration is not one), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_result_read(const char *path, const mr_measure *measure, int tasks,
                                      int *task, mr_result **out);

/** Frees *result, read with so many scores, and sets it to NULL; NULL is allowed. Local. */
void mr_result_free(mr_result **result, int scores);

#endif
