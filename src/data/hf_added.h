#ifndef MR_DATA_HF_ADDED_H
#define MR_DATA_HF_ADDED_H

/** @file
 * The added tokens of a tokenizer.json: texts that are one token wherever they stand, cut out
 * before anything else is done. Those with `normalized` are looked for, as the normalizer leaves
 * them, in the normalised text, the others in the text as it is. All flags are honoured. */

#include "data/hf_normalizer.h"
#include "data/hf_vocabulary.h"

/** An added token. */
typedef struct mr_hf_added_token {
    char *text; /**< [bytes], as in the file; owned */
    size_t bytes;
    char *shown; /**< [shown_bytes], what a decoder gets: of `normalized` its normal form; owned */
    size_t shown_bytes;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
    bool skipped; /**< has no text: what a decoder gets is the text of a special token */
} mr_hf_added_token;

/** The added tokens. Read-only once made. */
typedef struct mr_hf_added mr_hf_added;

/** Reads the list; a missing one has none. Local.
 * @param room  for the normalizer
 * @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_FORMAT (also where an id is not the one that the Hugging Face tokenizers
 * give: that of the piece of the same text, else the next number), MR_ERR_ARG, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_added_read(const mr_hf_place *at, const json_t *root,
                                        const mr_hf_vocabulary *vocabulary,
                                        const mr_hf_normalizer *normalizer,
                                        mr_hf_normalizer_room *room, mr_hf_added **out);

/** Frees *added and sets it to NULL; NULL is allowed. Local. */
void mr_hf_added_destroy(mr_hf_added **added);

/** Returns the token of an id, of a text, or NULL. Local. */
const mr_hf_added_token *mr_hf_added_of_id(const mr_hf_added *added, int32_t id);
const mr_hf_added_token *mr_hf_added_of_text(const mr_hf_added *added, mr_hf_string text);

/** Returns the largest id and 1, 0 where there is no token; and the bytes of the shortest. Local.
 */
int32_t mr_hf_added_ids(const mr_hf_added *added);
size_t mr_hf_added_shortest(const mr_hf_added *added);

/** Takes a stretch of a text: token is NULL between the added tokens. */
typedef mr_status mr_hf_stretch_sink(void *context, const mr_hf_added_token *token, size_t from,
                                     size_t to);

/** Gives the stretches of a text, in order, none between tokens empty. Of several tokens that begin
 * at a place the longest counts. Local. Source: find_matches of tokenizers' AddedVocabulary.
 * @param normalized  look for those in normalised text, else for the others
 * @return as sink */
MR_NODISCARD mr_status mr_hf_added_split(const mr_hf_added *added, bool normalized,
                                         mr_hf_string text, mr_hf_stretch_sink *sink,
                                         void *context);

#endif
