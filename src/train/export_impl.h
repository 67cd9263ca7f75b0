#ifndef MR_TRAIN_EXPORT_IMPL_H
#define MR_TRAIN_EXPORT_IMPL_H

/** @file
 * The forms that train/export.c writes. All are collective. */

#include "train/export.h"

/** Tells whether what the method of a laid-out model learns can be written in a form. Local.
 * @return MR_OK, MR_ERR_USAGE (with the forms that can) */
MR_NODISCARD mr_status mr_export_check(const mr_model *model, mr_export_form form);

/** Writes the adapter of a model into a folder that is there.
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_export_adapter(const mr_loaded *loaded, mr_export_form form,
                                         const char *folder, mr_export_outcome *out);

/** Merges a model and writes it into a folder that is there, in files as its base has them.
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_NUMERIC, MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_export_merged(mr_loaded *loaded, bool f32, const char *folder,
                                        mr_export_outcome *out);

#endif
