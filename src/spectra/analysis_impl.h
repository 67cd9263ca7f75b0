#ifndef MR_SPECTRA_ANALYSIS_IMPL_H
#define MR_SPECTRA_ANALYSIS_IMPL_H

/** @file
 * Work on one linear: by one rank, or by all. */

#include "spectra/analysis.h"

/** Analyses an item on this rank; the values of out are allocated here. Local; threads may each
 * take one. */
MR_NODISCARD mr_status mr_analyse_one(const mr_updates *updates, int64_t index,
                                      const mr_analysis_options *options, mr_analysis *out);

/** Analyses an item on all ranks, without a comparison of directions. Collective; all ranks get the
 * same. */
MR_NODISCARD mr_status mr_analyse_together(const mr_comm *comm, const mr_updates *updates,
                                           int64_t index, const mr_analysis_options *options,
                                           mr_analysis *out);

#endif
