#ifndef MR_BASE_TEXT_H
#define MR_BASE_TEXT_H

/** @file
 * A growing string, and small helpers for messages. */

#include "base/memory.h"

#include <stdbool.h>

/** A growing zero-terminated string. Start from {0}; free with mr_text_free. Owns data. */
typedef struct mr_text {
    char *data;    /**< NULL while empty */
    size_t length; /**< bytes before the terminating zero */
    int64_t room;
    bool failed; /**< an allocation failed; the text is incomplete */
} mr_text;

/** Appends formatted text; on a failed allocation sets failed and keeps what is there. Local. */
void mr_text_add(mr_text *text, const char *fmt, ...) MR_PRINTF(2, 3);

/** Appends bytes as they are, zeros too; failures as mr_text_add. Local. */
void mr_text_add_bytes(mr_text *text, const char *bytes, size_t count);

enum { MR_TEXT_CLEAN = 17 }; /**< bytes that a cleaned character takes at most, with its zero */

/** Writes the first character of text of others as it may go to a terminal: every byte of a control
 * character, C1 ones among them, and of what is not UTF-8 stands as \xNN. Local.
 * @param count  bytes of the text, at least 1
 * @param lines  newline and tab stay as they are
 * @return bytes of the character */
int mr_text_clean(const char *bytes, size_t count, bool lines, char out[MR_TEXT_CLEAN]);

/** Appends text of others for a terminal, newlines and tabs as they are. Local. */
void mr_text_add_clean(mr_text *text, const char *bytes, size_t count);

/** Appends text of others that must stay on one line. Local. */
void mr_text_add_line(mr_text *text, const char *bytes, size_t count);

/** Returns the string, "" while empty. Borrowed until the next add or free. */
const char *mr_text_get(const mr_text *text);

/** Empties the string, and keeps its memory. Local. */
void mr_text_clear(mr_text *text);

/** Frees the string and empties it. */
void mr_text_free(mr_text *text);

/** Many texts that are kept until all are freed. Start from {0}; owns block. */
typedef struct mr_texts {
    struct mr_texts_block *block; /**< the newest */
} mr_texts;

/** Returns a copy of a text that stays where it is, or NULL with a message. Local. */
const char *mr_texts_keep(mr_texts *texts, const char *text) MR_NODISCARD;

/** Frees all texts. Local. */
void mr_texts_free(mr_texts *texts);

/** Tells whether text is a number in plain decimal notation, as 7, -0.5 or 1e-3, and nothing else.
 */
bool mr_text_is_number(const char *text);

/** Returns the edit distance (insert, delete, replace) of two words of under 128 bytes. */
int mr_text_distance(const char *a, const char *b);

#endif
