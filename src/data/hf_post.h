#ifndef MR_DATA_HF_POST_H
#define MR_DATA_HF_POST_H

/** @file
 * The post-processor of a tokenizer.json: the ids that stand before and behind a text which is
 * encoded with special ids: TemplateProcessing, ByteLevel (which ids do not feel), and Sequence of
 * them. Templates for pairs of texts are not used. */

#include "data/hf_place.h"

/** Ids around a text. Start from {0}; owns its lists. */
typedef struct mr_hf_post {
    int32_t *before; /**< [before_count] */
    int32_t *behind; /**< [behind_count] */
    int64_t before_count, behind_count;
} mr_hf_post;

/** Reads a post-processor; null is one that does nothing. Local.
 * @param ids  the largest id and 1
 * @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_post_read(const mr_hf_place *at, const json_t *value, int32_t ids,
                                       mr_hf_post *post);

/** Frees the lists. Local. */
void mr_hf_post_free(mr_hf_post *post);

#endif
