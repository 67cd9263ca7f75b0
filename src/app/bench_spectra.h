#ifndef MR_APP_BENCH_SPECTRA_H
#define MR_APP_BENCH_SPECTRA_H

/** @file
 * What spectra cost a run: for `mora bench`. */

#include "train/trainer.h"

/** What a snapshot costs: that of several whose `seconds` are the median, with its parts. */
typedef struct mr_spectra_cost {
    double step;    /**< seconds of a step with none under way, the median */
    double calls;   /**< seconds of the snapshot's own calls in the thread that trains */
    double beside;  /**< seconds that the steps after its start, until all ranks have worked it off,
                         take beyond as many others */
    double seconds; /**< of both together */
    double steps;   /**< that are taken meanwhile */
    int64_t linears;
} mr_spectra_cost;

/** Takes a step of a trainer and tells its seconds until what it queued is done, ranks waiting for
 * each other before and behind it. Collective.
 * @param[out] behind  seconds of these that this rank waited behind it; NULL: not told
 * @return as mr_trainer_compute, or what the backend met; the same on every rank */
MR_NODISCARD mr_status mr_bench_step(mr_trainer *trainer, double *seconds, double *behind);

/** Returns the median of values [count], which it sorts; of an even number the greater. Local. */
double mr_bench_median(double *values, int64_t count);

/** Measures snapshots of a trainer that has taken at least one step, and for which every step is
 * due (log.spectrum_every 1), with a file in a temporary folder. Once-a-run facts of the base are
 * computed before. Collective.
 * @param pairs  of a snapshot and `pairs` steps with none under way
 * @return MR_OK, errors of steps, spectra and files; the same on every rank */
MR_NODISCARD mr_status mr_bench_spectra(mr_trainer *trainer, int64_t pairs, mr_spectra_cost *cost);

#endif
