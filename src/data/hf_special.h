#ifndef MR_DATA_HF_SPECIAL_H
#define MR_DATA_HF_SPECIAL_H

/** @file
 * Special ids of a tokenizer.json that its post-processor does not tell, from the files beside it.
 */

#include "data/hf_added.h"

/** Sets what is -1 of the ids to what the files beside a tokenizer.json say: config.json
 * (bos_token_id, eos_token_id or its first, pad_token_id), else tokenizer_config.json, else
 * special_tokens_map.json (bos_token, eos_token, pad_token). Local.
 * @param ids  the largest id and 1; others are passed over
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (a file is no JSON), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_special_read(const char *path, const mr_hf_added *added,
                                          const mr_hf_vocabulary *vocabulary, int32_t ids,
                                          int32_t *bos, int32_t *eos, int32_t *pad);

#endif
