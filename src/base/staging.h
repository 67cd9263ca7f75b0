#ifndef MR_BASE_STAGING_H
#define MR_BASE_STAGING_H

/** @file
 * A folder that appears whole or not at all: its files are written into FOLDER.tmp beside it, which
 * is renamed at the end. Whatever stands at FOLDER is never touched. */

#include "base/file.h"

/** A folder being made. Plain data; begin and end on one rank, write from any. */
typedef struct mr_staging {
    char folder[PATH_MAX]; /**< as it will be named */
    char beside[PATH_MAX]; /**< where files are written now */
    int lock;              /**< handle that keeps other runs out; -1 where not begun */
    /** Tells whether a file of a name may be one that an earlier run was ended amid. */
    bool (*is_ours)(const char *name);
} mr_staging;

/** Names both folders; what ends on slashes loses them. Local.
 * @param is_ours  as of mr_staging @return MR_OK, MR_ERR_IO */
MR_NODISCARD mr_status mr_staging_name(const char *folder, bool (*is_ours)(const char *name),
                                       mr_staging *out);

/** Makes the folder beside, or takes over that of a run that was ended in the middle, whose files
 * are removed. Local.
 * @return MR_OK, MR_ERR_IO (another run is at it; it holds foreign files; both named) */
MR_NODISCARD mr_status mr_staging_begin(mr_staging *staging);

/** Renames the folder to its name. Local. @return MR_OK, MR_ERR_IO (something stands there) */
MR_NODISCARD mr_status mr_staging_commit(mr_staging *staging);

/** Removes the folder beside, after a failure; nothing where not begun. Local. */
void mr_staging_abandon(mr_staging *staging);

#endif
