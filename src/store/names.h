#ifndef MR_STORE_NAMES_H
#define MR_STORE_NAMES_H

/** @file
 * A growing list of strings. */

#include "base/memory.h"

#include <stdint.h>

/** A list of strings. Start from {0}; free with mr_names_free. Owns its items. */
typedef struct mr_names {
    int64_t count;
    int64_t room;
    char **item; /**< [count] */
} mr_names;

/** Appends a copy of a string. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_names_add(mr_names *names, const char *name);

/** Frees the items and empties the list. Local. */
void mr_names_free(mr_names *names);

#endif
