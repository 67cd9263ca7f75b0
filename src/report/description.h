#ifndef MR_REPORT_DESCRIPTION_H
#define MR_REPORT_DESCRIPTION_H

/** @file
 * What a file holds, described as JSON, laid out for people. */

#include "base/text.h"

#include <jansson.h>

/** Puts a value into an object; a NULL value (no memory, or text that is not UTF-8) becomes null.
 * Local. */
void mr_description_put(json_t *object, const char *key, json_t *value);

/** Appends a description as text: values by lines, lists of objects as tables. Local. */
void mr_description_text(const json_t *description, mr_text *out);

#endif
