#ifndef MR_REPORT_SPECTRUM_H
#define MR_REPORT_SPECTRUM_H

/** @file
 * What was found of updates on disk, as tables for people, JSON, CSV and a file of spectra. Columns
 * are the measures, then the numbers of the comparison with the base, then those of noise. */

#include "base/text.h"
#include "spectra/analysis.h"

#include <jansson.h>

/** All there is to report. Borrows everything. */
typedef struct mr_spectrum {
    const char *what, *base; /**< as the user named them; base may be NULL */
    const mr_updates *updates;
    const mr_analysis_options *options;
    const mr_analysis *all; /**< [updates->count] */
} mr_spectrum;

/** Returns how many columns there are. Local. */
int mr_spectrum_columns(void);

/** Describes a column; its texts are constants but for the name, of which noise's is put together.
 * Local. */
typedef struct mr_spectrum_column {
    char name[64];
    const char *unit, *definition;
    bool whole;
} mr_spectrum_column;
mr_spectrum_column mr_spectrum_column_of(int column);

/** A mean over the layers of a projection that have a value. */
typedef struct mr_spectrum_summary {
    int64_t defined;
    double mean, least, most; /**< NaN where there are none */
} mr_spectrum_summary;

/** Returns the items of a projection from `first` on that are of it; more than 0. Local. */
int64_t mr_spectrum_layers(const mr_spectrum *spectrum, int64_t first);

/** Sums up a column over items first..first+count-1. Local. */
mr_spectrum_summary mr_spectrum_sum_up(const mr_spectrum *spectrum, int64_t first, int64_t count,
                                       int column);

/** Appends tables of all projections, with a sparkline of each spectrum where utf8. Local. */
void mr_spectrum_text(const mr_spectrum *spectrum, bool utf8, mr_text *out);

/** Returns everything but the singular values; NULL where memory is short. Local. */
json_t *mr_spectrum_json(const mr_spectrum *spectrum);

/** Writes a row a matrix, as comma-separated values with a line of names. Local.
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_spectrum_csv(const mr_spectrum *spectrum, const char *path);

/** Writes a file of spectra (store/spectra_file.h) with one snapshot. Local.
 * @return as mr_spectra_file_create and mr_spectra_file_append */
MR_NODISCARD mr_status mr_spectrum_file(const mr_spectrum *spectrum, const char *path);

#endif
