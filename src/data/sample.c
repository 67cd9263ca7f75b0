#include "data/sample.h"

mr_sample mr_sample_begin(const mr_tokenizer *tokenizer, int32_t *tokens, int32_t *targets,
                          int64_t capacity)
{
    return (mr_sample){
        .tokenizer = tokenizer, .tokens = tokens, .targets = targets, .capacity = capacity};
}

/* Counts the id that stands, or has no room, at position length. */
static void count_id(mr_sample *sample, int32_t id, bool scored)
{
    int64_t at = sample->length++;
    if (!sample->targets) return;
    if (at > 0 && at <= sample->capacity) sample->targets[at - 1] = scored ? id : MR_NOT_SCORED;
    if (at < sample->capacity) sample->targets[at] = MR_NOT_SCORED;
}

void mr_sample_add_id(mr_sample *sample, int32_t id, bool scored)
{
    /* A special id that a tokenizer lacks is -1, which no table of weights has. */
    MR_INVARIANT(id >= 0 && id < sample->tokenizer->vocabulary);
    if (sample->length < sample->capacity) sample->tokens[sample->length] = id;
    count_id(sample, id, scored);
}

mr_status mr_sample_add(mr_sample *sample, const char *text, size_t bytes, bool scored)
{
    int64_t room = sample->capacity - sample->length, count = 0;
    int32_t *next = room > 0 ? sample->tokens + sample->length : NULL;
    if (room < 0) room = 0;
    MR_TRY(mr_tokenizer_encode(sample->tokenizer, text, bytes, next, room, &count));
    /* What had no room is unknown here, hence never a target. */
    for (int64_t i = 0; i < count; i++)
        count_id(sample, i < room ? next[i] : MR_NOT_SCORED, scored && i < room);
    return MR_OK;
}
