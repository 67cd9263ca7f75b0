#ifndef MR_STORE_CHECKPOINT_FRAME_H
#define MR_STORE_CHECKPOINT_FRAME_H

/** @file
 * An HDF5 file in memory that holds no more than HDF5 itself writes into it: data of datasets that
 * is never written takes no room, however large.
 *
 * HDF5 does not survive a disk that fills while it closes a file, and tells no reason. So a shard's
 * frame (all but its data) is made here by a driver that cannot fail, and copied to the disk. */

#include "store/h5.h"

enum { MR_FRAME_PAGE = 1024 }; /**< bytes kept together */

/** A piece of the file. */
typedef struct mr_frame_page {
    int64_t at;                /**< a multiple of MR_FRAME_PAGE */
    char bytes[MR_FRAME_PAGE]; /**< what was not written is zero */
} mr_frame_page;

/** A file in memory. Start from {0}; free with mr_frame_free. */
typedef struct mr_frame {
    mr_frame_page *page; /**< [pages], owned */
    int64_t pages;
    int64_t room;
    int64_t bytes; /**< of the whole file, holes included; known when it is closed */
    bool failed;   /**< an allocation failed: the frame is not complete */
} mr_frame;

/** Creates a file in a frame. Local.
 * @param[in] path     for messages
 * @param[out] driver  H5FDunregister is the caller's, after H5Fclose; invalid on failure
 * @param[out] file    invalid on failure
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_frame_create(mr_frame *frame, const char *path, hid_t *driver,
                                       hid_t *file);

/** Copies a closed frame to the start of an open file, and makes that as long as the frame; holes
 * stay holes. Local. @return 0 or an error number */
MR_NODISCARD int mr_frame_copy(const mr_frame *frame, int handle);

/** Frees a frame and empties it. Local. */
void mr_frame_free(mr_frame *frame);

#endif
