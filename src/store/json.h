#ifndef MR_STORE_JSON_H
#define MR_STORE_JSON_H

/** @file
 * Whole JSON files, read strictly. */

#include "base/memory.h"

#include <jansson.h>

/** Reads a file that holds one JSON object; a key standing twice is refused, a byte-order mark of
 * UTF-8 is passed over. Local.
 * @param[out] out  a reference the caller gives back with json_decref; NULL on failure
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (message "path:line:column: ..."), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_json_read(const char *path, json_t **out);

/** Returns a number, or null where it is not finite: JSON has no others. Local. */
json_t *mr_json_number(double value);

/** Appends an item to *list and takes it over. Where the item could not be made, or *list not
 * before, *list is dropped and NULL: what is packed with it then fails as a whole. Local. */
void mr_json_append(json_t **list, json_t *item);

/** Names the kind of a value for messages ("a string", "nothing" for NULL). Local. */
const char *mr_json_kind(const json_t *value);

#endif
