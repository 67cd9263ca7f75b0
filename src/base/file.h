#ifndef MR_BASE_FILE_H
#define MR_BASE_FILE_H

/** @file
 * Whole files: read at once, written so that a reader never sees half of one. */

#include "base/memory.h"

/** Reads a whole file into out, zero-terminated; size (may be NULL) gets its bytes. Local.
 * @return MR_OK, MR_ERR_IO (message names the path), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_file_read(const char *path, mr_purpose purpose, char **out, size_t *size);

/** Writes a file beside path, syncs it, and renames it to path, so that path is always whole. */
MR_NODISCARD mr_status mr_file_write(const char *path, const void *data, size_t size);

/** Syncs the folder that path stands in: without it a rename may be lost when the machine stops.
 * Best effort. Local. */
void mr_file_sync_folder(const char *path);

/** Makes a folder and its missing parents. Local. @return MR_OK, MR_ERR_IO */
MR_NODISCARD mr_status mr_file_make_folders(const char *path);

#endif
