#ifndef MR_APP_BENCH_SPECTRA_H
#define MR_APP_BENCH_SPECTRA_H

/** @file
 * What spectra cost a run: for `mora bench`. */

#include "train/trainer.h"

/** What a snapshot costs. */
typedef struct mr_spectra_cost {
    double seconds; /**< that steps with one snapshot among them take longer than as many without */
    double alone;   /**< from its start to its row on the disk, with no step beside */
    int64_t linears;
} mr_spectra_cost;

/** Measures snapshots of a trainer that has taken at least one step, with a file in a temporary
 * folder: blocks of log.spectrum_every steps with one and without in turn. Collective.
 * @param pairs  of blocks; the median counts
 * @return MR_OK, errors of steps, spectra and files; the same on every rank */
MR_NODISCARD mr_status mr_bench_spectra(mr_trainer *trainer, int64_t pairs, mr_spectra_cost *cost);

#endif
