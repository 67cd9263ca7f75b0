#ifndef MR_TRAIN_SETS_H
#define MR_TRAIN_SETS_H

/** @file
 * The sets that a run scores, as its configuration has them. All functions are Local. */

#include "train/trainer.h"

/** Opens the sets of a run, once for all layouts: those of eval.sets, or what its task offers to be
 * scored by, under the task's name.
 * @return MR_OK, errors of mr_evaluator_open */
MR_NODISCARD mr_status mr_sets_open(mr_trainer *trainer, const mr_hf_config *arch);

enum { MR_SETS_HASHES = MR_CONFIG_ITEMS * MR_HASH_TEXT }; /**< bytes of a text with its zero */

/** Hashes what the items of eval.sets are read from: one mr_eval_hash an item, "-" where it has
 * nothing of its own, with a blank between.
 * @return MR_OK, errors of mr_eval_hash */
MR_NODISCARD mr_status mr_sets_hashes(const mr_config *config, char out[MR_SETS_HASHES]);

/** Appends which items differ, "eval.sets item 2 0123 instead of 4567, ...": the later hashes
 * first.
 * "", as older programs left it, differs from nothing. @return whether any does */
bool mr_sets_differ(const char *then, const char *now, mr_text *out);

#endif
