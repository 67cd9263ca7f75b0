#ifndef MR_TRAIN_RECORD_H
#define MR_TRAIN_RECORD_H

/** @file
 * The run log as a run under way fills it. Rank 0 writes; on other ranks every call does nothing.
 * All functions are local; their failures are rank 0's, to be agreed. */

#include "store/runlog.h"
#include "train/run.h"
#include "train/sets.h"
#include "train/trainer.h"

/** The log of a run under way. Borrows all but log. */
typedef struct mr_record {
    const mr_config *config;
    const mr_trainer *trainer;
    const char *path;
    mr_runlog *log;           /**< rank 0 only */
    bool claimed;             /**< the path is this run's: the log has something to say */
    bool checkpoints_claimed; /**< so is the folder of checkpoints */
    bool written;             /**< the file could be written before */
    bool behind;              /**< and at the last try could not */
} mr_record;

/** Tells of a failure to read a log that it says nothing of the log: it may be read another time,
 * and must not be taken for damaged. */
bool mr_record_tells_nothing(mr_status status);

/** What a log says of the run it is of. Plain data. */
typedef struct mr_record_found {
    bool ours;      /**< of this very run; false where there is no log, and nothing below is set */
    bool completed; /**< it came to its end */
    int64_t steps;
    mr_inputs inputs;
    char sets_hashes[MR_SETS_HASHES];
    char commit[64]; /**< of the program */
    char kept[16];   /**< value of run.keep the end had; "" in older logs */
} mr_record_found;

/** Reads who the log at a path is of.
 * @return MR_OK, also where there is none; MR_ERR_FORMAT (not a sound log), MR_ERR_CONFIG,
 * MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_record_find(const mr_config *config, const char *path,
                                      mr_record_found *out);

enum { MR_SPECTRA_PATH = 2 * MR_CONFIG_STRING + 16 }; /**< bytes of a path with its zero */

/** Writes the path of a configuration's spectra, beside its log. Local. */
void mr_record_spectra_path(const mr_config *config, char path[MR_SPECTRA_PATH]);

enum { MR_ROWS_PREFIX = 2 * MR_CONFIG_STRING }; /**< bytes of a prefix with its zero */

/** Writes what the paths of rows of evaluated items begin with, as of mr_eval_rows_path. Local. */
void mr_record_rows_prefix(const mr_config *config, char prefix[MR_ROWS_PREFIX]);

/** Starts the log of a run; nothing is written yet. */
MR_NODISCARD mr_status mr_record_begin(mr_record *record);

/** Goes on with the log that stands at the path, set back to the trainer's step; starts one where
 * it is missing, unsound, or another run's, but not where it cannot be read now.
 * @param own        the run's own folder of checkpoints is gone on with; else it is put aside
 *                   before it is written to
 * @param evaluated  no evaluation of the trainer's step is owed: what the log has of it stays */
MR_NODISCARD mr_status mr_record_resume(mr_record *record, const char *checkpoint, int64_t ranks,
                                        bool own, bool evaluated);

/** Makes the paths of log, spectra, checkpoints, kept tensors and rows this run's, before any is
 * first written: what stands there of another run, or of one that is not gone on with, is put aside
 * as `<path>.previous.N`. A run that fails before it has anything to say leaves them where they
 * are.
 * @return MR_OK, MR_ERR_IO (it cannot be put aside) */
MR_NODISCARD mr_status mr_record_claim(mr_record *record);

/** Records a step where log.every asks for it, and always what is out of order in it. Where the
 * file was written before and cannot be now, that is a warning, and tried again. */
MR_NODISCARD mr_status mr_record_step(mr_record *record, const mr_step_result *result);

/** Records an evaluation after the trainer's step. */
MR_NODISCARD mr_status mr_record_evaluation(mr_record *record, const mr_evaluation *evaluation);

/** Records an event at the trainer's step. */
MR_NODISCARD mr_status mr_record_event(mr_record *record, const char *kind, const char *text);

/** Makes the file current, whatever the time since the last flush. */
MR_NODISCARD mr_status mr_record_flush(mr_record *record);

/** Records what of the model is kept (a value of run.keep). */
MR_NODISCARD mr_status mr_record_kept(mr_record *record, const char *kept);

/** Records how the run ended, and closes the log. */
MR_NODISCARD mr_status mr_record_end(mr_record *record, const char *stop_reason,
                                     const mr_run_outcome *outcome);

#endif
