#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Stands before every block, in a cache line of its own so that the block stays aligned. */
typedef struct header {
    size_t bytes;
    mr_purpose purpose;
    uint32_t magic;
} header;

static const uint32_t HEADER_MAGIC = 0x6d6f7261u; /* "mora" */

static atomic_size_t live_bytes[MR_MEM_PURPOSES];
static atomic_size_t live_total;
static atomic_size_t peak_total;
#ifdef MR_DEBUG
static _Thread_local int guard_depth;
#endif

const char *mr_purpose_name(mr_purpose purpose)
{
    static const char *const names[MR_MEM_PURPOSES] = {
        [MR_MEM_WEIGHTS] = "weights",     [MR_MEM_GRADIENTS] = "gradients",
        [MR_MEM_OPTIMIZER] = "optimizer", [MR_MEM_GATHER] = "gather",
        [MR_MEM_REDUCE] = "reduce",       [MR_MEM_ACTIVATIONS] = "activations",
        [MR_MEM_EVAL] = "eval",           [MR_MEM_CHECKPOINT] = "checkpoint",
        [MR_MEM_SPECTRA] = "spectra",     [MR_MEM_DATA] = "data",
        [MR_MEM_OTHER] = "other",
    };
    return names[purpose];
}

size_t mr_bytes_add(size_t bytes, int64_t count, size_t size)
{
    MR_INVARIANT(count >= 0);
    if (bytes > MR_BYTES_MOST) bytes = MR_BYTES_MOST;
    if (size > 0 && (size_t)count > (MR_BYTES_MOST - bytes) / size) return MR_BYTES_MOST;
    return bytes + (size_t)count * size;
}

static header *header_of(void *memory)
{
    header *head = (header *)(void *)((char *)memory - MR_MEM_ALIGNMENT);
    MR_INVARIANT(head->magic == HEADER_MAGIC);
    return head;
}

/* The peak is raised by whichever thread saw the most. */
void mr_memory_hold(mr_purpose purpose, size_t bytes)
{
    atomic_fetch_add(&live_bytes[purpose], bytes);
    size_t total = atomic_fetch_add(&live_total, bytes) + bytes, peak = atomic_load(&peak_total);
    while (total > peak && !atomic_compare_exchange_weak(&peak_total, &peak, total))
        continue;
}

void mr_memory_release(mr_purpose purpose, size_t bytes)
{
    atomic_fetch_sub(&live_bytes[purpose], bytes);
    atomic_fetch_sub(&live_total, bytes);
}

void *mr_alloc(mr_purpose purpose, size_t bytes)
{
#ifdef MR_DEBUG
    if (guard_depth > 0)
        mr_abort("allocation of %zu bytes (%s) inside a guarded section", bytes,
                 mr_purpose_name(purpose));
#endif
    char *block = NULL;
    if (bytes <= SIZE_MAX - 2 * (size_t)MR_MEM_ALIGNMENT) {
        size_t whole = bytes + MR_MEM_ALIGNMENT;
        whole += (MR_MEM_ALIGNMENT - whole % MR_MEM_ALIGNMENT) % MR_MEM_ALIGNMENT;
        block = aligned_alloc(MR_MEM_ALIGNMENT, whole);
    }
    if (!block) {
        mr_fail(MR_ERR_MEMORY, "cannot allocate %zu bytes for %s (%zu held already)", bytes,
                mr_purpose_name(purpose), mr_memory_live_total());
        return NULL;
    }
    header *head = (header *)(void *)block;
    *head = (header){.bytes = bytes, .purpose = purpose, .magic = HEADER_MAGIC};
    mr_memory_hold(purpose, bytes);
    return memset(block + MR_MEM_ALIGNMENT, 0, bytes);
}

void *mr_alloc_array(mr_purpose purpose, size_t count, size_t size)
{
    if (size > 0 && count > SIZE_MAX / size) {
        mr_fail(MR_ERR_MEMORY, "cannot allocate %zu items of %zu bytes for %s: too large", count,
                size, mr_purpose_name(purpose));
        return NULL;
    }
    return mr_alloc(purpose, count * size);
}

mr_status mr_grow(mr_purpose purpose, void *array, int64_t *room, int64_t need, size_t size)
{
    enum { FIRST = 16 };
    MR_INVARIANT(*room >= 0 && need >= 0);
    if (need <= *room) return MR_OK;
    int64_t more = *room <= INT64_MAX / 2 ? 2 * *room : need;
    if (more < FIRST) more = FIRST;
    if (more < need) more = need;
    void *old, *fresh = mr_alloc_array(purpose, (size_t)more, size);
    if (!fresh) return MR_ERR_MEMORY;
    /* The pointer's type is the caller's: read and written as bytes. */
    memcpy(&old, array, sizeof old);
    if (old) memcpy(fresh, old, (size_t)*room * size);
    memcpy(array, &fresh, sizeof fresh);
    mr_free(old);
    *room = more;
    return MR_OK;
}

char *mr_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = mr_alloc(MR_MEM_OTHER, bytes);
    return copy ? memcpy(copy, text, bytes) : NULL;
}

void mr_free(void *memory)
{
    if (!memory) return;
    header *head = header_of(memory);
    mr_memory_release(head->purpose, head->bytes);
    head->magic = 0;
    free(head);
}

size_t mr_memory_live(mr_purpose purpose)
{
    return atomic_load(&live_bytes[purpose]);
}

size_t mr_memory_live_total(void)
{
    return atomic_load(&live_total);
}

size_t mr_memory_peak_total(void)
{
    return atomic_load(&peak_total);
}

void mr_memory_guard(bool on)
{
#ifdef MR_DEBUG
    guard_depth += on ? 1 : -1;
    MR_INVARIANT(guard_depth >= 0);
#else
    (void)on;
#endif
}
