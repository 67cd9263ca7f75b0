#ifndef MR_TRAIN_RUN_IMPL_H
#define MR_TRAIN_RUN_IMPL_H

/** @file
 * A run under way: for train/run*.c alone. */

#include "train/record.h"
#include "train/saved.h"
#include "train/spectra.h"

/** A run under way on this rank. */
typedef struct mr_run_state {
    const mr_comm *comm;
    const mr_config *config;
    mr_trainer *trainer;
    mr_record record;
    mr_spectra spectra;
    mr_saved *saved; /**< the folder of run.save_model; NULL where there is none */
    char lock_path[2 * MR_CONFIG_STRING + 16];
    int lock; /**< rank 0: handle that keeps other processes off this run's files; -1 elsewhere */
    double began, saved_at; /**< clock at the start, and at the last checkpoint */
    int64_t begun_step;     /**< of the last checkpoint that was begun */
    int64_t saved_step;     /**< of the last one that is whole; -1: none */
    bool evaluated;         /**< no evaluation of the present step is owed */
    bool unsaved;           /**< the last checkpoint could not be written */
    int64_t tokens;
    double training_seconds;
    mr_run_outcome *outcome;
} mr_run_state;

/** Takes what nobody else may write to meanwhile. Collective.
 * @return MR_OK, MR_ERR_IO (another process has it), errors of run.save_model */
MR_NODISCARD mr_status mr_run_take_places(mr_run_state *run);

/** Starts the log of an allocated run, or goes on from a checkpoint. Collective.
 * @param resume  as of mr_run
 * @return MR_OK, errors of finding and reading checkpoints, and of the log */
MR_NODISCARD mr_status mr_run_begin(mr_run_state *run, const char *resume);

#endif
