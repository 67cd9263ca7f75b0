#ifndef MR_EVAL_BORDER_H
#define MR_EVAL_BORDER_H

/** @file
 * A prompt and the options behind it as tokens. Where texts are tokenized together, what stands on
 * both sides of a border may become one token, and so it needs a rule which tokens are the
 * option's: those of the whole beyond as many as the prompt alone has. */

#include "data/tokenizer.h"
#include "eval/options.h"

/** Which rule holds. */
typedef enum mr_border {
    /** White space at the end of the prompt goes to the options; an option's tokens are given to
     * the model behind those of the prompt alone. Source: lm-evaluation-harness 0.4,
     * TemplateLM._encode_pair. */
    MR_BORDER_HARNESS,
    /** No white space is moved; the model is given the tokens of the whole. */
    MR_BORDER_WHOLE,
    /** Prompt and options are tokenized each by itself, and an option may have no tokens. */
    MR_BORDER_APART
} mr_border;

/** A prompt with its options. Borrowed. */
typedef struct mr_item_text {
    const char *prompt; /**< [prompt_bytes] */
    size_t prompt_bytes;
    const char *const *options; /**< [count] of option_bytes each */
    const size_t *option_bytes;
    int64_t count;
    bool bare; /**< nothing stands before the text: not what the tokenizer puts there */
} mr_item_text;

/** The same as tokens. Owns all; for mr_item_tokens_free. */
typedef struct mr_item_tokens {
    int32_t *ids;
    mr_scored_option *options; /**< [count], of the ids: most have one prompt in common */
    int64_t count;
    int64_t merged; /**< options whose tokens reach over the border */
} mr_item_tokens;

/** Encodes an item, with what the tokenizer puts before a text unless that is bare. Local.
 * @param[out] out  {0} on failure
 * @return MR_OK, MR_ERR_ARG (an option that adds no token; a text that the tokenizer refuses),
 *         MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_item_encode(const mr_tokenizer *tokenizer, mr_border border,
                                      const mr_item_text *text, mr_item_tokens *out);

/** Frees what an item owns. Local. */
void mr_item_tokens_free(mr_item_tokens *item);

#endif
