#ifndef MR_DATA_SAMPLE_H
#define MR_DATA_SAMPLE_H

/** @file
 * Writing one sample: pieces of text, each encoded by itself, with what is to be predicted. */

#include "data/tokenizer.h"

enum { MR_NOT_SCORED = -1 }; /**< target of a position that the loss leaves out */

/** A sample being written. Start with mr_sample_begin. Borrows everything. */
typedef struct mr_sample {
    const mr_tokenizer *tokenizer;
    int32_t *tokens;  /**< [capacity] */
    int32_t *targets; /**< [capacity], or NULL where only the tokens are wanted */
    int64_t capacity;
    int64_t length; /**< tokens so far; past capacity they are counted but not written */
} mr_sample;

/** Returns an empty sample that writes to tokens and targets. Local. */
mr_sample mr_sample_begin(const mr_tokenizer *tokenizer, int32_t *tokens, int32_t *targets,
                          int64_t capacity);

/** Appends one id, 0..vocabulary - 1. The position before it gets it as its target if scored, else
 * MR_NOT_SCORED; the last position of a sample has nothing to predict. Local. No allocation. */
void mr_sample_add_id(mr_sample *sample, int32_t id, bool scored);

/** Appends bytes of text, all of its tokens scored or none. Local. No allocation.
 * @return as mr_tokenizer_encode */
MR_NODISCARD mr_status mr_sample_add(mr_sample *sample, const char *text, size_t bytes,
                                     bool scored);

#endif
