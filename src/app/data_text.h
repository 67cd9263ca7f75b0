#ifndef MR_APP_DATA_TEXT_H
#define MR_APP_DATA_TEXT_H

/** @file
 * How a tokenizer cuts a text, for a reader. */

#include "base/status.h"

#include <stdbool.h>

/** Prints a text in its tokens with the borders between them, their ids and pieces, and the ids
 * that the tokenizer would put around it. On a terminal neighbours differ in colour. Local.
 * @param source  as mr_tokenizer_create
 * @param json    as one object
 * @return MR_OK, as mr_tokenizer_create and mr_tokenizer_encode */
MR_NODISCARD mr_status mr_data_show_text(const char *text, const char *source, bool json);

#endif
