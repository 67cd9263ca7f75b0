#ifndef MR_STORE_RUNLOG_IMPL_H
#define MR_STORE_RUNLOG_IMPL_H

/** @file
 * What the files of the run log's writer share. Private to them. */

#include "store/h5.h"
#include "store/runlog.h"

enum { MR_RUNLOG_PENDING = 256 }; /**< training rows held back, so that a step costs no HDF5 call */

struct mr_runlog {
    char *path;            /**< owned */
    char *folder;          /**< from the root, in which the path is looked for; owned */
    hid_t file;            /**< owned, in memory */
    double opened;         /**< mr_clock when this process began */
    double seconds_before; /**< of the processes before this one */
    double next_flush;     /**< mr_clock */
    bool dirty;            /**< something is not in the file at path */
    bool written;          /**< the file at path could be written before */
    int n_pending;
    mr_runlog_step pending[MR_RUNLOG_PENDING];
};

/** Creates the dataset `name` with no rows yet, unless it is there. Local.
 * @param type     in the file
 * @param columns  0: one-dimensional
 * @return MR_OK, MR_ERR_IO */
MR_NODISCARD mr_status mr_runlog_make_table(mr_runlog *log, const char *name, hid_t type,
                                            int64_t columns);

/** Appends data [rows, columns] of a type in memory to a dataset, which is made with file_type at
 * first. Local. @return MR_OK, MR_ERR_ARG (rows of another length stand there), MR_ERR_IO */
MR_NODISCARD mr_status mr_runlog_append(mr_runlog *log, const char *name, hid_t file_type,
                                        hid_t type, int64_t rows, int64_t columns,
                                        const void *data);

/** Appends texts of at most bytes-1 bytes, each cut before a character of UTF-8 that does not fit.
 * Local. */
MR_NODISCARD mr_status mr_runlog_append_texts(mr_runlog *log, const char *name,
                                              const char *const *texts, int64_t count,
                                              size_t bytes);

/** Appends the training rows that are held back. Local. */
MR_NODISCARD mr_status mr_runlog_write_pending(mr_runlog *log);

#endif
