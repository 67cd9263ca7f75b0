#ifndef MR_BASE_MEMORY_H
#define MR_BASE_MEMORY_H

/** @file
 * Counted allocation: every byte the program holds stands under a purpose, so that a plan made
 * before a run can be compared with what the run took, and what is left at exit can be named. Any
 * thread may allocate and free.
 */

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** What memory is for. All but the last are what `--dry-run` plans to the byte. */
typedef enum mr_purpose {
    MR_MEM_WEIGHTS,     /**< parameters this rank keeps */
    MR_MEM_GRADIENTS,   /**< reduced gradients and their partial sums */
    MR_MEM_OPTIMIZER,   /**< first and second moments */
    MR_MEM_GATHER,      /**< units gathered for use */
    MR_MEM_REDUCE,      /**< unit gradients on their way to their owners */
    MR_MEM_ACTIVATIONS, /**< what the backward pass needs, and scratch of a pass */
    MR_MEM_EVAL,        /**< key-value caches and logits of evaluations */
    MR_MEM_CHECKPOINT,  /**< the state of a checkpoint on its way to the disk */
    MR_MEM_SPECTRA,     /**< matrices whose singular values are computed, and what comes of it */
    MR_MEM_DATA,        /**< samples, batches, tokenizers */
    MR_MEM_OTHER,       /**< everything else */
    MR_MEM_PURPOSES
} mr_purpose;

enum { MR_MEM_ALIGNMENT = 64 }; /**< bytes; a cache line and the widest vector */

/** Sizes that a plan counts end here: what comes out larger is this, more than any machine has. */
#define MR_BYTES_MOST ((size_t)1 << 62)

/** Returns bytes + count * size, MR_BYTES_MOST at most; count is not negative. Local. */
size_t mr_bytes_add(size_t bytes, int64_t count, size_t size);

/** Returns the name of a purpose ("weights", ...). Local. */
const char *mr_purpose_name(mr_purpose purpose);

/** Returns bytes of zeroed memory aligned to MR_MEM_ALIGNMENT, or NULL with a message. Local. */
void *mr_alloc(mr_purpose purpose, size_t bytes) MR_NODISCARD;

/** Allocates count * size bytes as mr_alloc does; an overflowing product fails. Local. */
void *mr_alloc_array(mr_purpose purpose, size_t count, size_t size) MR_NODISCARD;

/** Makes room for at least need items of size bytes in a growing array: at least doubles it, so
 * that adding one by one costs no more than its length. Items keep their values, new ones are zero.
 * Local.
 * @param[in,out] array  address of the pointer to the items, which are NULL where *room is 0
 * @param[in,out] room   items there is room for
 * @return MR_OK, MR_ERR_MEMORY; then both are as they were */
MR_NODISCARD mr_status mr_grow(mr_purpose purpose, void *array, int64_t *room, int64_t need,
                               size_t size);

/** Returns a counted copy of a string, or NULL with a message. Local. */
char *mr_strdup(const char *text) MR_NODISCARD;

/** Frees memory of mr_alloc; NULL is allowed. Local. */
void mr_free(void *memory);

/** Counts bytes that are held elsewhere, on a device, as mr_alloc counts its own; and takes them
 * off again. Local. */
void mr_memory_hold(mr_purpose purpose, size_t bytes);
void mr_memory_release(mr_purpose purpose, size_t bytes);

/** Returns the bytes held now for a purpose. Alignment and bookkeeping are not counted. Local. */
size_t mr_memory_live(mr_purpose purpose);

/** Returns the bytes held now for all purposes. Local. */
size_t mr_memory_live_total(void);

/** Returns the largest value mr_memory_live_total has had. Local. */
size_t mr_memory_peak_total(void);

/** Makes any allocation of the calling thread fatal while on; on and off nest. Debug builds only,
 * else no effect. */
void mr_memory_guard(bool on);

#endif
