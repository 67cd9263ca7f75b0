#ifndef MR_EVAL_GENERATE_H
#define MR_EVAL_GENERATE_H

/** @file
 * Batched greedy generation. */

#include "model/session.h"

/** Room for generating from B prompts at a time. Owns its session; borrows the model. */
typedef struct mr_generator {
    mr_model *model;
    int64_t batch;    /**< B */
    int64_t prompt;   /**< longest prompt, tokens */
    int64_t capacity; /**< longest prompt and what is generated behind it, tokens */
    mr_session *session;
    int32_t *ids; /**< [B], scratch, owned */
} mr_generator;

/** Lays out a generator without allocating its tensors: enough for plans. Local.
 * @return as mr_session_create */
MR_NODISCARD mr_status mr_generator_create(mr_model *model, int64_t batch, int64_t prompt,
                                           int64_t new_tokens, mr_generator **out);

/** Adds to bytes[purpose] what mr_generator_allocate will take. Local. */
void mr_generator_bytes(const mr_generator *g, size_t bytes[MR_MEM_PURPOSES]);

/** Allocates. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_generator_allocate(mr_generator *g);

/** Frees everything and sets *out to NULL; NULL is allowed. */
void mr_generator_destroy(mr_generator **out);

/** Continues every prompt by `count` tokens, each the most probable one.
 * @param[in]  prompts [B, prompt], right-padded with any valid id
 * @param[in]  lengths [B], tokens of each prompt, 1..prompt
 * @param[out] out     [B, count]
 * Collective where weights are sharded: every rank calls with the same count. No allocation. */
void mr_generator_run(mr_generator *g, const int32_t *prompts, const int32_t *lengths,
                      int64_t count, int32_t *out);

#endif
