#ifndef MR_TESTS_CHECKPOINT_CASE_H
#define MR_TESTS_CHECKPOINT_CASE_H

/** @file
 * What the tests of checkpoints share: tensors cut over any number of ranks, whose values follow
 * from tensor, step and index; a folder for them; and ways to damage what stands in it. */

#include "ranks.h"
#include "store/checkpoint.h"

#include <sys/types.h>

enum { CASE_TENSORS = 4, CASE_LARGEST = 20000, CASE_PATH = 256 };

/** Cut evenly, all on the last rank, none at all, and cut evenly again. */
extern const char *const case_names[CASE_TENSORS];
extern const int64_t case_extents[CASE_TENSORS];

extern const char case_folder[];   /**< that of the checkpoints */
extern mr_comm case_groups[4 + 1]; /**< [n]: the first n ranks */
extern mr_status case_status;      /**< what the finding or opening under test returned */
extern const mr_comm case_alone;   /**< one process, which needs no MPI: the child of a fork */

/** Describes a part of a tensor of the case. */
mr_checkpoint_slab case_slab(int tensor, int64_t first, int64_t count);

/** Fills the slabs of a rank. */
void case_cut(const mr_comm *comm, mr_checkpoint_slab slabs[CASE_TENSORS]);

/** Gives values of the int64 step at context. */
void case_read(void *context, int slab, int64_t first, int64_t count, float *out);

/** Makes a writer of the tensors. Collective. */
mr_checkpointer *case_writer(const mr_comm *comm, int64_t keep, bool staged);

/** Starts and finishes a checkpoint. Collective. */
mr_status case_save(mr_checkpointer *cp, int64_t step);

/** Saves steps by a writer of their own, which keeps 2; all must succeed. Collective. */
void case_save_steps(const mr_comm *comm, int count, const int64_t *steps);

#define CASE_SAVE(...)                                                                             \
    case_save_steps(&world, (int)(sizeof(const int64_t[]){__VA_ARGS__} / sizeof(int64_t)),         \
                    (const int64_t[]){__VA_ARGS__})

/** Tells whether a range of a tensor is read as it was saved. Local. */
bool case_reads_range(mr_checkpoint *checkpoint, int tensor, int64_t first, int64_t count);

/** Finds the newest checkpoint and returns its step; -1 where there is none, -2 after a failure or
 * where it is not as it was saved. The text gets what was passed over. Collective. */
int64_t case_find(const mr_comm *comm, mr_text *passed_over);

/** Does the same on all ranks. Collective. */
int64_t case_found(void);

/** Opens the newest checkpoint, which must be sound. Collective. */
mr_checkpoint *case_open_newest(void);

/** Makes the path of something in the folder; the next call overwrites it. Local. */
const char *case_below(const char *name);

/** Tells whether something is in the folder. Local. */
bool case_there(const char *name);

/** Makes the name of the last rank's shard, "<step>/shard-...safetensors"; the next call overwrites
 * it. */
const char *case_last_shard(const char *step);

/** Runs a command on rank 0 while the others wait. Collective. */
void case_command(const char *fmt, ...) MR_PRINTF(1, 2);

/** Flips a bit of one byte of a file in the folder, counted from its end where at is negative.
 * Collective. */
void case_flip(const char *name, long at);

/** Waits for a child and returns what waitpid says. */
int case_wait(pid_t child);

/** Set-up of the group, tear-down of every test, and of the group. Collective. */
int case_make(void **unused);
int case_clear(void **unused);
int case_remove(void **unused);

#endif
