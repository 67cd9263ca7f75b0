#include "eval/sampling.h"

#include "base/random.h"

#include <math.h>
#include <stdlib.h>

static int32_t most_probable(const float *logits, int64_t vocab)
{
    int64_t best = 0;
    for (int64_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

/* The most probable first; of equals the first. */
static int compare(const void *a, const void *b)
{
    const mr_candidate *x = a, *y = b;
    if (x->probability != y->probability) return x->probability > y->probability ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Lists the fewest most probable of all tokens, whose probabilities sum up to 1, that reach top_p.
 * Tokens of less than (1 - top_p) / V cannot be among them: all of these together are too few. */
static int64_t list_candidates(double top_p, int64_t vocab, mr_candidate *room)
{
    const double least = (1 - top_p) / (double)vocab;
    int64_t count = 0, kept = 0;
    for (int64_t i = 0; i < vocab; i++)
        if (room[i].probability >= least) room[count++] = room[i];
    qsort(room, (size_t)count, sizeof *room, compare);
    for (double sum = 0; kept < count && sum < top_p; kept++)
        sum += room[kept].probability;
    return kept;
}

int32_t mr_sampling_choose(const mr_sampling *sampling, const float *logits, int64_t vocab,
                           int64_t prompt, int64_t position, mr_candidate *room)
{
    const int32_t best = most_probable(logits, vocab);
    if (sampling->temperature == 0) return best;
    double sum = 0;
    for (int64_t i = 0; i < vocab; i++) {
        const double below = (double)logits[i] - (double)logits[best];
        room[i] = (mr_candidate){exp(below / sampling->temperature), (int32_t)i};
        sum += room[i].probability;
    }
    for (int64_t i = 0; i < vocab; i++)
        room[i].probability /= sum;
    int64_t count = sampling->top_p < 1 ? list_candidates(sampling->top_p, vocab, room) : vocab;
    sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += room[i].probability;
    const mr_random random = mr_random_stream(sampling->seed, MR_RANDOM_SAMPLE, (uint64_t)prompt);
    const double drawn = sum * mr_random_uniform(&random, (uint64_t)position);
    int64_t chosen = 0;
    for (double below = room[0].probability; chosen + 1 < count && below <= drawn;)
        below += room[++chosen].probability;
    return room[chosen].id;
}
