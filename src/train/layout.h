#ifndef MR_TRAIN_LAYOUT_H
#define MR_TRAIN_LAYOUT_H

/** @file
 * What a run is made of, cut, laid out and planned: for trainer.c. */

#include "train/trainer.h"

/** Cuts the global batch of a trainer into micro-batches over the ranks, one in a wave, and tells
 * it their number and how they are summed. Local.
 * @return MR_OK, MR_ERR_ARG (what does not divide) */
MR_NODISCARD mr_status mr_trainer_cut_batch(mr_trainer *trainer, mr_geometry *geometry);

/** Lays out a trainer in that of the ways to take a step which receives least of those that fit, of
 * equals the one in which ranks wait for each other less often, then the smaller one; where none
 * does, in the smallest. A gathered unit may serve several
 * micro-batches at once, at the price of their activations, and gradients may travel once a step,
 * at the price of sums of whole ones: the tree's shape stays, and so do the bits. A tied head keeps
 * its unit's gradient open from end to end of the pass, so there it is one at once. Local.
 * @param geometry  of mr_trainer_cut_batch
 * @return as mr_trainer_create */
MR_NODISCARD mr_status mr_trainer_choose_waves(mr_trainer *trainer, const mr_hf_config *arch,
                                               mr_geometry geometry);

/** Lays out model, evaluator and spectra of a trainer for a geometry, in place of what was laid out
 * before, and plans their memory. Local; ranks differ in nothing.
 * @return as mr_trainer_create */
MR_NODISCARD mr_status mr_trainer_lay_out(mr_trainer *trainer, const mr_hf_config *arch,
                                          mr_geometry geometry);

#endif
