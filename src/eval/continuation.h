#ifndef MR_EVAL_CONTINUATION_H
#define MR_EVAL_CONTINUATION_H

/** @file
 * Continuing prompts of any lengths until each has come to its end. */

#include "data/tokenizer.h"
#include "eval/generate.h"
#include "eval/sampling.h"

/** Tokens to be continued. Borrowed. */
typedef struct mr_prompt {
    const int32_t *ids;
    int64_t length; /**< at least 1 */
} mr_prompt;

/** Why a continuation ended. */
typedef enum mr_stop {
    MR_STOP_LENGTH,
    MR_STOP_EOS,
    MR_STOP_STRING,
    MR_STOP_NOT_FINITE, /**< a logit behind it is not finite, so there is no next token */
} mr_stop;

/** What follows a prompt. */
typedef struct mr_continuation {
    int32_t *tokens;  /**< [count], the one that ended it included */
    double *logprobs; /**< [count], natural logarithms; NULL where they were not asked for */
    int64_t count;
    mr_stop stop;
} mr_continuation;

/** What is to be done with prompts. Pointers are borrowed for the call. */
typedef struct mr_continue_options {
    mr_sampling sampling;
    int64_t most; /**< tokens behind a prompt, what the generator was made for at most */
    bool logprobs;
    bool not_finite_ends; /**< logits that are not finite end their text, not the call */
    const int64_t *eos;   /**< [eos_count] ids that end a text */
    int64_t eos_count;
    const char *const *stops; /**< [stop_count] texts that end one, none empty */
    int64_t stop_count;
    const mr_tokenizer *tokenizer; /**< for stops; NULL where there are none */
    /** Called after every token of a prompt that this rank continues; NULL: nobody is. */
    mr_status (*grown)(void *context, int64_t prompt, const mr_continuation *so_far, bool ended);
    void *context;
} mr_continue_options;

/** Continues prompts, the generator's B at a time and a rank: the slot of one that has come to its
 * end is the next one's, and what all of them begin with runs once. What follows a prompt does not
 * depend on those beside it, nor on the number of ranks; on the CPU to the bit, as far as
 * mr_session_even says. Collective.
 * @param[in]  generator  allocated, for the longest prompt
 * @param[out] out        [count], the same on every rank; for mr_continuations_free
 * @return MR_OK, MR_ERR_MEMORY, MR_ERR_NUMERIC (logits that are not finite, unless these end a
 *         text), errors of grown; the same on every rank */
MR_NODISCARD mr_status mr_continue(mr_generator *generator, const mr_continue_options *options,
                                   const mr_prompt *prompts, int64_t count, mr_continuation *out);

/** Frees what continuations [count] own. Local. */
void mr_continuations_free(mr_continuation *continuations, int64_t count);

/** Writes what tokens add to the text of their prompt, as far as the first of the stops. Local.
 * @param[in]  options   tokenizer, stops
 * @param[out] text      appended to, also of what stands before
 * @param[out] from      what they add starts there in text
 * @param[out] stopped   one of the stops was found, and cut off with all behind it
 * @return MR_OK, MR_ERR_MEMORY, MR_ERR_ARG */
MR_NODISCARD mr_status mr_continuation_text(const mr_continue_options *options,
                                            const mr_prompt *prompt, const mr_continuation *c,
                                            mr_text *text, size_t *from, bool *stopped);

#endif
