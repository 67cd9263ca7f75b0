#ifndef MR_DATA_HF_PRETOKENIZER_H
#define MR_DATA_HF_PRETOKENIZER_H

/** @file
 * The pre-tokenizer of a tokenizer.json, which cuts a text into the words that are merged each by
 * itself: ByteLevel (as the last one), Split, Digits, Metaspace, and Sequence of them. */

#include "data/hf_regex.h"

enum { MR_HF_STEPS = 16 }; /**< most pre-tokenizers in a sequence */

/** A pre-tokenizer. Read-only once made. */
typedef struct mr_hf_pretokenizer mr_hf_pretokenizer;

/** Memory of one thread. Start from {0}; match is borrowed. */
typedef struct mr_hf_pretokenizer_room {
    mr_hf_buffer made[MR_HF_STEPS], aside[MR_HF_STEPS];
    void *match;
} mr_hf_pretokenizer_room;

/** Takes a word. */
typedef mr_status mr_hf_sink(void *context, const char *text, size_t bytes);

/** Reads a pre-tokenizer; null is one that leaves a text whole. Local.
 * @param[out] out  set on MR_OK, else NULL @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_pretokenizer_read(const mr_hf_place *at, const json_t *value,
                                               mr_hf_pretokenizer **out);

/** Frees *pretokenizer and sets it to NULL; NULL is allowed. Local. */
void mr_hf_pretokenizer_destroy(mr_hf_pretokenizer **pretokenizer);

/** Tells whether words are bytes, which the vocabulary writes as characters of their own
 * (ByteLevel); words are given to the sink as the bytes themselves. Local. */
bool mr_hf_pretokenizer_is_bytes(const mr_hf_pretokenizer *pretokenizer);

/** Tells how many tokens a text may get besides its own (more), and each of its characters (times
 * is 2 then, else 1): a blank before it. Local. */
void mr_hf_pretokenizer_growth(const mr_hf_pretokenizer *pretokenizer, int64_t *times,
                               int64_t *more);

/** Gives the words of a text to a sink, in order, none empty. Local.
 * @param first  the text stands at the start of all that is encoded
 * @return MR_OK, MR_ERR_ARG, MR_ERR_MEMORY, as sink */
MR_NODISCARD mr_status mr_hf_pretokenize(const mr_hf_pretokenizer *pretokenizer,
                                         mr_hf_pretokenizer_room *room, const char *text,
                                         size_t bytes, bool first, mr_hf_sink *sink, void *context);

/** Frees what is in a room but match. Local. */
void mr_hf_pretokenizer_room_free(mr_hf_pretokenizer_room *room);

#endif
