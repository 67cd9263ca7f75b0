#ifndef MR_BASE_FILE_H
#define MR_BASE_FILE_H

/** @file
 * Whole files: read at once, written so that a reader never sees half of one. */

#include "base/memory.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

/** Formats a path. Local. @return MR_OK, MR_ERR_IO (too long) */
MR_NODISCARD mr_status mr_file_path(char out[PATH_MAX], const char *fmt, ...) MR_PRINTF(2, 3);

/** Writes a path as the system takes it: "~" and "~/..." as a shell would, by the environment's
 * HOME; any other as it is. Local.
 * @return MR_OK, MR_ERR_ARG (another user's "~name", no HOME, "$NAME"), MR_ERR_IO */
MR_NODISCARD mr_status mr_file_expand(const char *path, char out[PATH_MAX]);

/** Reads a whole file into out, zero-terminated; size (may be NULL) gets its bytes. Local.
 * @return MR_OK, MR_ERR_IO (message names the path), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_file_read(const char *path, mr_purpose purpose, char **out, size_t *size);

/** Writes a file beside path, syncs it, and renames it to path, so that path is always whole.
 * Local. @return MR_OK, MR_ERR_IO (message names the path) */
MR_NODISCARD mr_status mr_file_write(const char *path, const void *data, size_t size);

/** Makes a file that was written beside a path the one at the path: syncs it, closes it, renames
 * it. Local. @param handle  of the file beside; closed, and the file removed, on failure too
 * @return MR_OK, MR_ERR_IO (message names the path) */
MR_NODISCARD mr_status mr_file_publish(int handle, const char *beside, const char *path);

/** Writes all of data at an offset of an open file. Records no message: threads may call it. Local.
 * @return 0 or an error number */
int mr_file_write_at(int handle, const void *data, size_t bytes, int64_t offset);

/** Renames what stands at a path to `<path>.<word>.N` with the first N from 1 that is free. Local.
 * @param[out] aside  the new name
 * @return MR_OK, MR_ERR_IO */
MR_NODISCARD mr_status mr_file_put_aside(const char *path, const char *word, char aside[PATH_MAX]);

/** Tells whether a path is a folder with nothing in it. Local. */
bool mr_file_is_empty_folder(const char *path);

/** Syncs the folder that path stands in: without it a rename may be lost when the machine stops. A
 * file system that cannot sync folders is no failure. Local. @return 0 or an error number */
int mr_file_sync_folder(const char *path);

/** Opens or makes a file and locks it against other processes; the system lets go of the lock of
 * one that ends in whatever way. A file system without locks is taken as it is. Local.
 * @param[out] handle  mr_file_unlock ends it; -1 on failure
 * @return MR_OK, MR_ERR_IO (held by another: "'<path>' is locked: another process is writing here")
 */
MR_NODISCARD mr_status mr_file_lock(const char *path, int *handle);

/** Takes a lock again where others have removed its file, once its folder is there; *handle may be
 * -1. Local.
 * @return MR_OK, MR_ERR_IO (it cannot be had any more; *handle is -1 then) */
MR_NODISCARD mr_status mr_file_keep_lock(const char *path, int *handle);

/** Removes a locked file, unless another stands in its place, lets go of the lock and sets *handle
 * to -1, which is allowed. Local. */
void mr_file_unlock(const char *path, int *handle);

/** Makes a folder and its missing parents, through links that stand for some. Local.
 * @return MR_OK, MR_ERR_IO */
MR_NODISCARD mr_status mr_file_make_folders(const char *path);

#endif
