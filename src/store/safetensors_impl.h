#ifndef MR_STORE_SAFETENSORS_IMPL_H
#define MR_STORE_SAFETENSORS_IMPL_H

/** @file
 * Reading safetensors inside: for store/safetensors*.c alone. All functions are Local. */

#include "store/safetensors.h"

#include <stdbool.h>

struct mr_safetensors {
    char *path;                           /* owned */
    int handle;                           /* owned, -1 while closed */
    int64_t data_start;                   /* bytes from the start of the file */
    int64_t data_bytes;                   /* that are in the file */
    bool partly;                          /* it may end before its tensors do */
    int64_t count;                        /* tensors */
    mr_safetensors_entry *entries;        /* owned, [count] by begin */
    const mr_safetensors_entry **by_name; /* owned, [count] pointers into entries */
    int64_t n_pairs;
    mr_safetensors_pair *pairs; /* owned, [n_pairs] */
    char *strings;              /* owned; every name, key and value */
    size_t strings_used;
};

/** Reads bytes of a file at a place. @return whether all were there; errno is 0 where they end */
bool mr_safetensors_read_exactly(int handle, void *out, size_t bytes, int64_t at);

/** Records that a file cannot be read. @return MR_ERR_IO */
mr_status mr_safetensors_read_failure(const char *path);

/** Records that a tensor ends behind the end of its file. @return code */
mr_status mr_safetensors_reaches_beyond(mr_status code, const mr_safetensors *file,
                                        const mr_safetensors_entry *entry);

/** Orders pointers to entries by name, for qsort and bsearch. */
int mr_safetensors_compare_names(const void *a, const void *b);

/** Reads the header of an open file: where data start, and all tensors and pairs.
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_safetensors_load_header(mr_safetensors *file);

#endif
