#ifndef MR_TRAIN_SPECTRA_H
#define MR_TRAIN_SPECTRA_H

/** @file
 * The spectra of a run under way, `<run.output>/<run.name>.spectra.h5`: which steps are due, and
 * that each of them is there once, whatever stops the run.
 *
 * Due are multiples of log.spectrum_every, the last step, and every step a merge follows. What is
 * looked at is W of that step, adapters merged, minus W at the start: a merge changes nothing in
 * it. Before the first merge it has a structure, which is looked at before it is merged.
 *
 * A snapshot of a step is in the file before a checkpoint of that step or a later one is visible; a
 * run that goes on drops what is behind its checkpoint, and takes what is due at its step and not
 * there. Where nothing is asked for all functions do nothing. They are collective. */

#include "train/record.h"

/** Spectra of a run. Borrows all but its rows. */
typedef struct mr_spectra {
    mr_trainer *trainer;
    mr_record *record;
    char path[MR_SPECTRA_PATH];
    mr_spectra_layout layout;
    mr_spectra_row *row; /**< rank 0: [groups] of the snapshot that is brought home; owned */
    int beside;          /**< threads that are free beside those that train; fewer than 1: none */
    bool waits;          /**< a snapshot is at rank 0 and not in the file */
    bool ours;           /**< rank 0: the file at the path is this run's */
    bool written;        /**< rank 0: it could be written before */
    bool behind;         /**< rank 0: and at the last try could not */
    int64_t step;        /**< of the newest snapshot, in the file or on its way; 0: none */
} mr_spectra;

/** Prepares the spectra of a run; to be ended. resumed: the run goes on, its log is open.
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_spectra_begin(mr_spectra *spectra, mr_trainer *trainer, mr_record *record,
                                        bool resumed);

/** Takes a snapshot of the trainer's step, where it is due and not taken yet.
 * @return MR_OK; MR_STOPPED (a request to stop broke it off: it is still due); MR_ERR_IO, also
 *         where the one before cannot be written; MR_ERR_NUMERIC, MR_ERR_MEMORY; the same on every
 *         rank */
MR_NODISCARD mr_status mr_spectra_take(mr_spectra *spectra);

/** Tells whether this rank still computes spectra beside the steps. Local. */
bool mr_spectra_busy(const mr_spectra *spectra);

/** Waits for the snapshot under way, if there is one, and appends it to the file. Where the file
 * was written before and cannot be now, that is a warning, and tried again.
 * @return MR_OK, MR_ERR_IO, MR_ERR_NUMERIC, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_spectra_collect(mr_spectra *spectra);

/** Insists on the file being current. @return as mr_spectra_collect */
MR_NODISCARD mr_status mr_spectra_flush(mr_spectra *spectra);

/** Ends the file for now: current, and no larger than need be. @return as mr_spectra_collect */
MR_NODISCARD mr_status mr_spectra_end(mr_spectra *spectra);

/** Frees the rows. Local. */
void mr_spectra_free(mr_spectra *spectra);

#endif
