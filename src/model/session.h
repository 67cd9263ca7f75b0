#ifndef MR_MODEL_SESSION_H
#define MR_MODEL_SESSION_H

/** @file
 * Running a model forward over sequences that grow, with their keys and values kept: what
 * evaluation needs besides mr_model_evaluate.
 */

#include "model/model.h"

/** B sequences on their way. Owns its memory; borrows the model. */
typedef struct mr_session mr_session;

/** Returns the most sequences of a session, `wanted` at most and 1 at least, whose logits and rows
 * stay within what the model computes at once. Local. */
int64_t mr_session_batch(const mr_model *model, int64_t wanted, int64_t prompt, int64_t capacity);

/** Lays out a session without allocating its tensors: enough for plans. Local.
 * @param prompt    most tokens of a sequence that mr_session_start takes
 * @param capacity  most tokens of a sequence at its end, at least prompt
 * @return MR_OK, MR_ERR_ARG (more tokens than can be counted), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_session_create(mr_model *model, int64_t batch, int64_t prompt,
                                         int64_t capacity, mr_session **out);

/** Adds to bytes[purpose] what mr_session_allocate will take. Local. */
void mr_session_bytes(const mr_session *session, size_t bytes[MR_MEM_PURPOSES]);

/** Allocates. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_session_allocate(mr_session *session);

/** Frees everything and sets *out to NULL; NULL is allowed. Local. */
void mr_session_destroy(mr_session **out);

/** Starts every sequence anew with a prompt, and predicts what follows it.
 * @param[in] prompts [B, prompt], right-padded with any valid id
 * @param[in] lengths [B], tokens of each prompt, 1..prompt
 * Collective where weights are sharded. No allocation. */
void mr_session_start(mr_session *session, const int32_t *prompts, const int32_t *lengths);

/** Appends one token to every sequence, and predicts what follows it; there must be room for it.
 * @param[in] ids [B]
 * Collective where weights are sharded. No allocation. */
void mr_session_append(mr_session *session, const int32_t *ids);

/** Copies the logits of the next token of every sequence to out [B, V]. Local. */
void mr_session_logits(mr_session *session, float *out);

/** Copies the most probable next token of every sequence to ids [B]. Local. */
void mr_session_best(mr_session *session, int32_t *ids);

#endif
