#ifndef MR_EVAL_GENERATE_H
#define MR_EVAL_GENERATE_H

/** @file
 * Room for texts that a model continues, several at a time. */

#include "model/session.h"

/** Slots for B texts. Owns its session; borrows the model. */
typedef struct mr_generator {
    mr_model *model;
    int64_t batch;    /**< B */
    int64_t prompt;   /**< longest prompt, tokens */
    int64_t capacity; /**< longest prompt and what is generated behind it, tokens */
    int64_t rows;     /**< tokens of prompts that run at once, at most */
    mr_session *session;
    int32_t *pages; /**< [B, mr_session_pages(capacity)] of each slot, owned */
} mr_generator;

/** Lays out a generator without allocating its tensors: enough for plans. Local.
 * @param batch  wanted: B is less where the logits of so many are more than the model computes at
 *               once
 * @return as mr_session_create */
MR_NODISCARD mr_status mr_generator_create(mr_model *model, int64_t batch, int64_t prompt,
                                           int64_t new_tokens, mr_generator **out);

/** Adds to bytes[purpose] what mr_generator_allocate will take. Local. */
void mr_generator_bytes(const mr_generator *g, size_t bytes[MR_MEM_PURPOSES]);

/** Allocates. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_generator_allocate(mr_generator *g);

/** Frees everything and sets *out to NULL; NULL is allowed. */
void mr_generator_destroy(mr_generator **out);

#endif
