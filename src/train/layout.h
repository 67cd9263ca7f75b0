#ifndef MR_TRAIN_LAYOUT_H
#define MR_TRAIN_LAYOUT_H

/** @file
 * What a run is made of, laid out and planned: for trainer.c. */

#include "train/trainer.h"

/** Lays out model, evaluator and spectra of a trainer for a geometry, in place of what was laid out
 * before, and plans their memory. Local; ranks differ in nothing.
 * @return as mr_trainer_create */
MR_NODISCARD mr_status mr_trainer_lay_out(mr_trainer *trainer, const mr_hf_config *arch,
                                          mr_geometry geometry);

#endif
