#ifndef MR_DATA_HF_TEXT_H
#define MR_DATA_HF_TEXT_H

/** @file
 * What a tokenizer.json needs of text: buffers for what is made of it, and facts about characters
 * by Unicode 16, as the Hugging Face tokenizers know them: by utf8proc, and by a table of what is
 * newer than Unicode 14, which the oldest libraries that we build with know. All Local. */

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Memory that grows with the longest text so far. Start from {0}. It is taken outside mr_alloc, as
 * libraries take theirs, for a text may be encoded in the middle of a step; and counted as other.
 */
typedef struct mr_hf_buffer {
    char *data;
    size_t bytes; /**< in use */
    size_t room;
} mr_hf_buffer;

/** Makes room for `more` bytes behind those in use. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_buffer_reserve(mr_hf_buffer *buffer, size_t more);

/** Appends bytes. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_buffer_add(mr_hf_buffer *buffer, const char *text, size_t bytes);

/** Frees the memory and empties the buffer. */
void mr_hf_buffer_free(mr_hf_buffer *buffer);

/** Decodes the character at text, which is UTF-8, and returns its bytes. */
int mr_hf_character(const char *text, uint32_t *point);

/** Tells whether a character is a number (N). */
bool mr_hf_is_number(uint32_t point);

/** Returns the bytes of white space at the start and at the end of a text. */
size_t mr_hf_spaces_at_start(const char *text, size_t bytes);
size_t mr_hf_spaces_at_end(const char *text, size_t bytes);

/** Tells whether a text begins, or ends, with a character of words; false of none. */
bool mr_hf_starts_with_word(const char *text, size_t bytes);
bool mr_hf_ends_with_word(const char *text, size_t bytes);

/** Puts in the place of every character newer than Unicode 14 one of the same category and length
 * that is older, for a regular expression to match. @return whether there was one
 * @param[in,out] text  UTF-8 */
bool mr_hf_has_newer(const char *text, size_t bytes);
void mr_hf_replace_newer(char *text, size_t bytes);

#endif
