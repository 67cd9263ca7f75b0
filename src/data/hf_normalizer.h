#ifndef MR_DATA_HF_NORMALIZER_H
#define MR_DATA_HF_NORMALIZER_H

/** @file
 * The normalizer of a tokenizer.json: Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, Strip,
 * and Sequence of them.
 *
 * Normal forms are those of utf8proc's Unicode. Deviation: the Hugging Face tokenizers leave some
 * characters newer than Unicode 9 as they are (134 of them by NFKC, one by NFD, none by NFC). */

#include "data/hf_regex.h"

/** A normalizer. Read-only once made. */
typedef struct mr_hf_normalizer mr_hf_normalizer;

/** Memory of one thread. Start from {0}; match is borrowed. */
typedef struct mr_hf_normalizer_room {
    mr_hf_buffer made[2], aside;
    void *match;
} mr_hf_normalizer_room;

/** Reads a normalizer; null is one that does nothing. Local.
 * @param[out] out  set on MR_OK, else NULL @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_normalizer_read(const mr_hf_place *at, const json_t *value,
                                             mr_hf_normalizer **out);

/** Frees *normalizer and sets it to NULL; NULL is allowed. Local. */
void mr_hf_normalizer_destroy(mr_hf_normalizer **normalizer);

/** Normalises UTF-8. Local.
 * @param[out] out  the text itself, part of it, or in room
 * @param[out] cut  bytes that were taken off the start of the text; may be NULL
 * @return MR_OK, MR_ERR_ARG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_normalize(const mr_hf_normalizer *normalizer,
                                       mr_hf_normalizer_room *room, mr_hf_string text,
                                       mr_hf_string *out, size_t *cut);

/** Returns how many times as many bytes a text may come to, and how many it may get besides: those
 * of a piece that stands for one token count as one. Local.
 * @param is_token  tells whether a text is one token */
void mr_hf_normalizer_growth(const mr_hf_normalizer *normalizer,
                             bool (*is_token)(const void *of, mr_hf_string text), const void *of,
                             int64_t *times, int64_t *more);

/** Frees what is in a room but match. Local. */
void mr_hf_normalizer_room_free(mr_hf_normalizer_room *room);

#endif
