#ifndef MR_DATA_MODEL_TOKENIZER_H
#define MR_DATA_MODEL_TOKENIZER_H

/** @file
 * Which tokenizer a model takes: model.tokenizer where it is set, else the tokenizer.json of
 * model.path, else its tokenizer.model, else bytes; never bytes where a file or the size of the
 * model's table shows that it was trained on other ids.
 *
 * Where both files stand, tokenizer.json is taken: Transformers reads it, and tokens that were
 * added to a model, as those of a chat, stand in it alone. Of a file that normalises with Prepend
 * and Replace the ids are those of tokenizer.model on every text without added tokens; one with
 * Metaspace puts no second blank before a text that begins with one. */

#include "config/config.h"
#include "data/tokenizer.h"
#include "store/hf.h"

/** Creates the tokenizer that a configuration means, and warns where a model that begins with
 * random weights has far more ids than bytes need. A text of a model's own tokenizer ends at any id
 * that its generation_config.json names, or else its config.json; at those of model.tokenizer, at
 * that one's. Local.
 * @param[in]  arch  of the model
 * @param[out] out  set on MR_OK, else NULL; its source and reason are set
 * @return MR_OK, MR_ERR_CONFIG (a tokenizer is there that is not read, or its file is missing; the
 * message names what is there and what to do), as mr_tokenizer_create */
MR_NODISCARD mr_status mr_model_tokenizer_create(const mr_config *config, const mr_hf_config *arch,
                                                 mr_tokenizer **out);

#endif
