#ifndef MR_TRAIN_FROZEN_H
#define MR_TRAIN_FROZEN_H

/** @file
 * A digest of what training leaves as it is and a checkpoint does not hold: it is drawn or read
 * again, and must be what it was. */

#include "model/model.h"

enum { MR_FROZEN_DIGEST = 17 }; /**< bytes of the text with its zero */

/** Tells whether a checkpoint holds the weights of a parameter. Local. */
bool mr_frozen_is_saved(const mr_model *model, const mr_param *param);

/** Digests names, places and bits of all weights that checkpoints do not hold, as they are kept: a
 * sum modulo 2^64, the same on any number of ranks and in every parallel.shard. Collective.
 * @param[out] out  16 hexadecimal digits; "" where there are no such weights
 * @return MR_OK, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_frozen_digest(const mr_model *model, char out[MR_FROZEN_DIGEST]);

#endif
