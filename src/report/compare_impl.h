#ifndef MR_REPORT_COMPARE_IMPL_H
#define MR_REPORT_COMPARE_IMPL_H

/** @file
 * Comparisons inside: for report/compare*.c alone. All functions are Local. */

#include "report/compare.h"

/* Adds an empty set of a name; NULL where there is no memory. Borrowed until the next. */
mr_compared_set *mr_comparison_add(mr_comparison *comparison, const char *name);

/* Adds a set that is not compared, with the reason. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_comparison_leave_out(mr_comparison *comparison, const char *name,
                                               const char *reason);

/* Fails as the two cannot be compared item by item, with what differs. @return MR_ERR_ARG */
MR_NODISCARD mr_status mr_comparison_refuse(const char *const path[2], const char *fmt, ...)
    MR_PRINTF(2, 3);

/* Lists the items of a set whose values differ, what differs most before others.
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_compared_order(mr_compared_set *set);

/* Fails unless anything is compared. @return MR_OK, MR_ERR_ARG */
MR_NODISCARD mr_status mr_comparison_check(const char *const path[2], const mr_comparison *c);

/* As mr_comparison_make, of files of rows. @return also MR_ERR_FORMAT, MR_ERR_IO */
MR_NODISCARD mr_status mr_comparison_of_rows(const char *const path[2], const char *set,
                                             const mr_resampling *how, mr_comparison *out);

/* Compares a set by a metric that is no mean over items, by files of its rows.
 * @param set  with its records and steps, which the rows must be of
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_ARG (they are not the rows of these items),
 *         MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_compared_by_rows(const char *const path[2], const char *name,
                                           const mr_resampling *how, mr_compared_set *set);

#endif
