#ifndef MR_SPECTRA_UPDATES_IMPL_H
#define MR_SPECTRA_UPDATES_IMPL_H

/** @file
 * The kinds of updates that a folder may hold. */

#include "spectra/updates.h"

extern const mr_updates_ops mr_updates_models, mr_updates_adapter;

/** Fill updates whose base, where one was given, is open. Local; as mr_updates_open. @{ */
MR_NODISCARD mr_status mr_updates_open_models(mr_updates *updates, const char *folder,
                                              const char *base);
MR_NODISCARD mr_status mr_updates_open_adapter(mr_updates *updates, const char *folder,
                                               const char *base);
/** @} */

enum { MR_UPDATES_PLACES = 7 }; /**< projections of a layer of LLaMA */

/** Their names, in the order of items. */
extern const char *const mr_updates_places[MR_UPDATES_PLACES];

/** Finds the weight of a module among the weights of a folder. Local.
 * @return MR_OK, MR_ERR_FORMAT (none, or no matrix), MR_ERR_IO (its file was cut) */
MR_NODISCARD mr_status mr_updates_weight(const mr_hf *weights, const char *module, mr_stored *out);

#endif
