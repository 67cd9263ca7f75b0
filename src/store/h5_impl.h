#ifndef MR_STORE_H5_IMPL_H
#define MR_STORE_H5_IMPL_H

/** @file
 * What the files of store/h5.h share. Private to them. */

#include "store/h5.h"

/** Makes the type in memory of texts in the file, whatever they are closed or filled by there.
 * Local. @param[out] type  for H5Tclose; negative on failure */
MR_NODISCARD mr_status mr_h5_text_type(hid_t stored, const char *path, const char *name,
                                       hid_t *type);

#endif
