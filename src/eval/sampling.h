#ifndef MR_EVAL_SAMPLING_H
#define MR_EVAL_SAMPLING_H

/** @file
 * Which token follows, of the logits of all. */

#include <stdint.h>

/** How a token is chosen. */
typedef struct mr_sampling {
    double temperature; /**< logits are divided by it; 0: the most probable token */
    double top_p;       /**< only the fewest most probable tokens that together reach it; 1: all */
    uint64_t seed;
} mr_sampling;

/** A token and its probability. */
typedef struct mr_candidate {
    double probability;
    int32_t id;
} mr_candidate;

/** Chooses one of V tokens, the first of equals where it is the most probable one. What is drawn
 * depends on (seed, prompt, position) alone. Local. No allocation.
 * @param logits    [V], finite
 * @param prompt    index of the prompt
 * @param position  of the token behind its prompt, from 0
 * @param room      [V], scratch; may be NULL at temperature 0
 * Source: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration" (top-p). */
int32_t mr_sampling_choose(const mr_sampling *sampling, const float *logits, int64_t vocab,
                           int64_t prompt, int64_t position, mr_candidate *room);

#endif
