#ifndef MR_DATA_HF_TOKENIZER_H
#define MR_DATA_HF_TOKENIZER_H

/** @file
 * A Hugging Face tokenizer.json: added tokens, normalizer, pre-tokenizer, BPE, post-processor and
 * decoder, as the file says and no class name does. What it asks for that is not here is an error
 * that names the place in the file. `truncation` and `padding` are ignored: they are what the last
 * user of a file wanted, and would cut a trainer's texts.
 *
 * The special ids are those of the post-processor (the first before a text is BOS, the last behind
 * it EOS); where it has none, those of config.json beside the file, then of tokenizer_config.json,
 * then of special_tokens_map.json.
 *
 * Texts must be UTF-8. Any number of threads may encode and decode with one tokenizer.
 *
 * Source: tokenizers 0.23.3, whose ids and texts these are. */

#include "data/tokenizer.h"

extern const mr_tokenizer_ops mr_hf_tokenizer_ops; /**< of a file that holds a JSON object */

#endif
