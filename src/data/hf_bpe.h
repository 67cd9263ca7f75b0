#ifndef MR_DATA_HF_BPE_H
#define MR_DATA_HF_BPE_H

/** @file
 * Byte-pair encoding of words: pairs of neighbours are merged in the order of the merges, the first
 * of equal ones first.
 *
 * Source: Sennrich et al. 2016, arXiv:1508.07909, section 3.2; unknown characters, byte fallback
 * and ignore_merges as in tokenizers 0.23. */

#include "base/memory.h"
#include "data/hf_text.h"
#include "data/hf_vocabulary.h"

/** Ids on their way out: all are counted, those there is room for are kept. */
typedef struct mr_hf_ids {
    int32_t *ids; /**< [capacity] */
    int64_t capacity, count;
} mr_hf_ids;

/** Appends an id. Local. */
static inline void mr_hf_ids_add(mr_hf_ids *out, int32_t id)
{
    if (out->count < out->capacity) out->ids[out->count] = id;
    out->count++;
}

/** Memory of one thread, with the ids of words that came before. */
typedef struct mr_hf_bpe_room mr_hf_bpe_room;

/** Makes room. Local. @param[out] out  set on MR_OK, else NULL @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_bpe_room_create(mr_purpose purpose, mr_hf_bpe_room **out);

/** Frees *room and sets it to NULL; NULL is allowed. Local. */
void mr_hf_bpe_room_destroy(mr_hf_bpe_room **room);

/** Appends the ids of a word, as a pre-tokenizer gives it; UTF-8, or bytes where the vocabulary is
 * of bytes. Local.
 * @return MR_OK, MR_ERR_ARG (a character is unknown and unk_token is no piece), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_bpe_encode(const mr_hf_vocabulary *v, mr_hf_bpe_room *room,
                                        const char *text, size_t bytes, mr_hf_ids *out);

#endif
