#ifndef MR_TRAIN_DUE_H
#define MR_TRAIN_DUE_H

/** @file
 * When the sets of a run are scored. All functions are Local, and the same on every rank. */

#include "train/trainer.h"

/** Tells whether a set is scored after a step; 0: before the first. */
bool mr_set_due(const mr_trainer *trainer, const mr_eval_set *set, int64_t step);

/** Tells whether any is. @param lasting  of those alone whose evaluation may last */
bool mr_sets_due(const mr_trainer *trainer, int64_t step, bool lasting);

/** Returns how often a set is scored, at most. */
int64_t mr_set_times(const mr_trainer *trainer, const mr_eval_set *set);

#endif
