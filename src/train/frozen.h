#ifndef MR_TRAIN_FROZEN_H
#define MR_TRAIN_FROZEN_H

/** @file
 * Digests of weights: of what training leaves as it is and a checkpoint does not hold, which is
 * drawn or read again and must be what it was; and of what it trains. */

#include "model/model.h"

enum { MR_WEIGHTS_DIGEST = 17 }; /**< bytes of the text with its zero */

/** Tells whether a checkpoint holds the weights of a parameter. Local. */
bool mr_frozen_is_saved(const mr_model *model, const mr_param *param);

/** Which parameters are meant. */
typedef bool mr_digested(const void *context, const mr_param *param);

/** Digests names, places and bits of weights, as they are kept: a sum modulo 2^64, the same on any
 * number of ranks and in every parallel.shard. Collective.
 * @param[out] out  16 hexadecimal digits; "" where there are no such weights
 * @return MR_OK, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_weights_digest(const mr_model *model, mr_digested *of,
                                         const void *context, char out[MR_WEIGHTS_DIGEST]);

/** Digests all weights that checkpoints do not hold, or those that they do. Collective.
 * @return as mr_weights_digest @{ */
MR_NODISCARD mr_status mr_frozen_digest(const mr_model *model, char out[MR_WEIGHTS_DIGEST]);
MR_NODISCARD mr_status mr_saved_digest(const mr_model *model, char out[MR_WEIGHTS_DIGEST]);
/** @} */

#endif
