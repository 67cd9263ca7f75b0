#ifndef MR_TESTS_SPECTRA_CASE_H
#define MR_TESTS_SPECTRA_CASE_H

/** @file
 * Spectra made up for tests: two projections of three layers, every value a function of step,
 * projection, layer and place, some of them not defined. All functions fail the test on trouble. */

#include "store/spectra_file.h"
#include "test.h"

enum { SPECTRA_GROUPS = 2, SPECTRA_COLUMNS = 3 };

extern const mr_spectra_layout spectra_layout;

/** Returns the value of a dataset: number 0 sigma, 1.. columns, 4 and 5 cosines. */
double spectra_value(int64_t step, int64_t group, int64_t dataset, int64_t place);

/** Fills rows [groups] of a layout with the values of a step. */
void spectra_fill(const mr_spectra_layout *layout, int64_t step, mr_spectra_row *rows);

/** Makes and frees rows [groups]. @{ */
void spectra_make_rows(const mr_spectra_layout *layout, mr_spectra_row *rows);
void spectra_free_rows(const mr_spectra_layout *layout, mr_spectra_row *rows);
/** @} */

/** Appends the snapshot of a step to a file. */
mr_status spectra_append(const char *path, const mr_spectra_layout *layout, int64_t step);

/** Checks every value of every snapshot of a file, and returns how many there are.
 * @param every  their steps are every, 2 every, ... */
int64_t spectra_check(const char *path, const mr_spectra_layout *layout, int64_t every);

#endif
