#ifndef MR_STORE_CHECKPOINT_FOLDER_H
#define MR_STORE_CHECKPOINT_FOLDER_H

/** @file
 * The folder of a run's checkpoints: its names, and the renames that make a checkpoint appear and
 * vanish whole. All functions are local and called by rank 0 where they change anything. */

#include "base/status.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define MR_CHECKPOINT_MANIFEST "manifest.json"

enum { MR_CHECKPOINT_NAME = 64 }; /**< bytes of a name of ours with its terminating zero */

/** What a folder of one step is. The order is that in which they are tried. */
typedef enum mr_checkpoint_kind {
    MR_CHECKPOINT_WHOLE,    /**< step-00000020 */
    MR_CHECKPOINT_REPLACED, /**< .step-00000020.replaced: renamed aside for another of its step */
    MR_CHECKPOINT_PARTIAL,  /**< .step-00000020.partial: being written, or being removed */
    MR_CHECKPOINT_KINDS
} mr_checkpoint_kind;

/** One folder of a step. */
typedef struct mr_checkpoint_entry {
    int64_t step;
    mr_checkpoint_kind kind;
} mr_checkpoint_entry;

/** Makes the path of a step's folder. Local. @return MR_OK, MR_ERR_IO (too long) */
MR_NODISCARD mr_status mr_checkpoint_folder_path(const char *folder, int64_t step,
                                                 mr_checkpoint_kind kind, char out[PATH_MAX]);

/** Makes the name of a rank's shard, "shard-00000-of-00002.safetensors". Local. */
void mr_checkpoint_shard_name(int64_t rank, int64_t ranks, char out[MR_CHECKPOINT_NAME]);

/** Tells whether the last step of a path is the name of a whole checkpoint. Local. */
bool mr_checkpoint_folder_named(const char *path);

/** Lists the folders of steps, the latest first; an absent folder has none, but a link that leads
 * nowhere is no absent folder. Local.
 * @param[out] entries  [*count], freed by the caller with mr_free; NULL on failure
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_checkpoint_folder_list(const char *folder, mr_checkpoint_entry **entries,
                                                 int64_t *count);

/** Makes the folder and, in it, the empty partial folder of a step, after removing what killed
 * writers left: partial folders, and replaced ones, which come back where none took their place.
 * Local. @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_checkpoint_folder_begin(const char *folder, int64_t step);

/** Gives the partial folder of a step its final name; one of that name is replaced. Local.
 * @return MR_OK, MR_ERR_IO (what stood under the name stands there again, unless it is the
 * folder that cannot be synced: the new one is seen then, but may not outlive the machine) */
MR_NODISCARD mr_status mr_checkpoint_folder_publish(const char *folder, int64_t step);

/** Removes whole checkpoints of steps above step, and all but the latest `keep` others. What cannot
 * be removed is a warning. Local. */
void mr_checkpoint_folder_prune(const char *folder, int64_t step, int64_t keep);

/** Removes the partial folder of a step, with a warning where that cannot be done. Local. */
void mr_checkpoint_folder_drop(const char *folder, int64_t step);

#endif
