#ifndef MR_STORE_JSON_H
#define MR_STORE_JSON_H

/** @file
 * Whole JSON files, read strictly, and values for what is written. */

#include "base/memory.h"

#include <jansson.h>

/** Reads a file that holds one JSON object; a key standing twice is refused, a byte-order mark of
 * UTF-8 is passed over. Local.
 * @param[out] out  a reference the caller gives back with json_decref; NULL on failure
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (message "path:line:column: ..."), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_json_read(const char *path, json_t **out);

/** Writes a file of a value, indented, at once; each number in the fewest digits that read back as
 * the same one. Local. @param[in] value  NULL, what a failed json_pack gives, is MR_ERR_MEMORY
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_json_write(const char *path, const json_t *value);

/** Returns a string of text of others, as the name of a file: a byte that is no UTF-8, which JSON
 * could not hold, stands as \xNN. Local. */
json_t *mr_json_text(const char *text);

/** Returns a number, or null where it is not finite: JSON has no others. Local. */
json_t *mr_json_number(double value);

/** Appends an item to *list and takes it over. Where the item could not be made, or *list not
 * before, *list is dropped and NULL: what is packed with it then fails as a whole. Local. */
void mr_json_append(json_t **list, json_t *item);

/** Names the kind of a value for messages ("a string", "nothing" for NULL). Local. */
const char *mr_json_kind(const json_t *value);

#endif
