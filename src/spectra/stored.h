#ifndef MR_SPECTRA_STORED_H
#define MR_SPECTRA_STORED_H

/** @file
 * Matrices that are not in memory: each is read by ranges of its elements, row after row, from
 * wherever it stands. */

#include "store/safetensors.h"

/** A matrix [rows, cols]; a vector is one row. Borrows from and which. */
typedef struct mr_stored {
    int64_t rows, cols;
    /** Writes elements first..first+count-1 to out; threads may call it. NULL: there is none.
     * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY */
    mr_status (*read)(const void *from, const void *which, int64_t first, int64_t count,
                      float *out);
    const void *from, *which;
} mr_stored;

/** Tells whether a matrix stands for something. Local. */
static inline bool mr_stored_exists(const mr_stored *stored)
{
    return stored->read != NULL;
}

/** Returns a matrix of a safetensors file. Borrows both. Local.
 * @return MR_OK; MR_ERR_FORMAT (no matrix or vector, no elements), MR_ERR_IO (the file was cut):
 *         message names file and tensor */
MR_NODISCARD mr_status mr_stored_of(const mr_safetensors *file, const mr_safetensors_entry *entry,
                                    mr_stored *out);

/** Reads rows first..first+count-1 to out [count, cols]. Local. @return as read */
MR_NODISCARD mr_status mr_stored_rows(const mr_stored *stored, int64_t first, int64_t count,
                                      double *out);

/** Reads all of it. Local. @param[out] out  [rows, cols], for mr_free; NULL on failure
 * @return as read; MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_stored_all(const mr_stored *stored, float **out);

#endif
