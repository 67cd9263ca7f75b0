#ifndef MR_DATA_HF_DECODER_H
#define MR_DATA_HF_DECODER_H

/** @file
 * The decoder of a tokenizer.json, which makes a text of tokens: ByteLevel, Metaspace, Replace,
 * ByteFallback, Fuse, Strip, and Sequence of them. Bytes that are not UTF-8 become U+FFFD. */

#include "data/hf_regex.h"

/** A decoder. Read-only once made. */
typedef struct mr_hf_decoder mr_hf_decoder;

/** Some tokens as text: [bytes of ends / sizeof(size_t)] of them, each to its end. Start from {0}.
 */
typedef struct mr_hf_tokens {
    mr_hf_buffer text, ends;
} mr_hf_tokens;

/** Memory of one thread. Start from {0}; match is borrowed. */
typedef struct mr_hf_decoder_room {
    mr_hf_tokens tokens; /**< what is to be decoded */
    mr_hf_tokens made;
    mr_hf_buffer aside;
    void *match;
} mr_hf_decoder_room;

/** Reads a decoder; null is one that puts blanks between the tokens. Local.
 * @param[out] out  set on MR_OK, else NULL @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_decoder_read(const mr_hf_place *at, const json_t *value,
                                          mr_hf_decoder **out);

/** Frees *decoder and sets it to NULL; NULL is allowed. Local. */
void mr_hf_decoder_destroy(mr_hf_decoder **decoder);

/** Empties tokens, and appends one of UTF-8. Local. @return MR_OK, MR_ERR_MEMORY */
void mr_hf_tokens_clear(mr_hf_tokens *tokens);
MR_NODISCARD mr_status mr_hf_tokens_add(mr_hf_tokens *tokens, const char *text, size_t bytes);

/** Decodes room->tokens, which are used up. Local.
 * @param[out] out  in room @return MR_OK, MR_ERR_ARG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_decode(const mr_hf_decoder *decoder, mr_hf_decoder_room *room,
                                    mr_hf_string *out);

/** Frees what is in a room but match. Local. */
void mr_hf_decoder_room_free(mr_hf_decoder_room *room);

#endif
