/** @file
 * Task uuid: memorise random pairs. A sample is the prompt with its key, the value's 32 digits, and
 * EOS where the tokenizer has one; only the 32 digits are scored.
 *
 * Pairs are drawn where they are asked for, and nothing is stored. That they are distinct is not
 * looked at: among the 2^30 keys that there may be at most, of 122 random bits, two are equal with
 * a probability of 2^-63.
 *
 * Source: MoRA (arXiv 2405.12130) sections 3 and 5.1. Deviation: the paper gives neither its prompt
 * nor what the loss covers.
 */

#include "data/pair.h"
#include "data/task.h"

typedef struct pairs {
    mr_prompt prompt;
    uint64_t seed;
} pairs;

static mr_uuid uuid_of(const pairs *state, mr_uuid_kind kind, int64_t index)
{
    mr_random stream = mr_uuid_stream(state->seed, kind, 0);
    return mr_uuid_draw(&stream, index);
}

static const mr_key keys[] = {MR_PAIR_KEYS};

static const mr_schema schema = MR_SCHEMA(mr_pair_config, keys);

static mr_status create(const mr_config *config, mr_dataset *dataset)
{
    const mr_pair_config *own = mr_task_config(config);
    MR_INVARIANT(own->pairs > 0);
    mr_prompt prompt;
    MR_TRY(mr_prompt_parse(own->prompt, &prompt));
    pairs *state = mr_alloc(MR_MEM_DATA, sizeof *state);
    if (!state) return MR_ERR_MEMORY;
    dataset->state = state;
    *state = (pairs){prompt, (uint64_t)own->data_seed};
    dataset->items = own->pairs;
    dataset->longest = mr_tokenizer_longest(dataset->tokenizer, prompt.bytes) +
                       mr_tokenizer_longest(dataset->tokenizer, MR_UUID_DIGITS) +
                       (dataset->tokenizer->eos >= 0);
    return MR_OK;
}

static void destroy(mr_dataset *dataset)
{
    mr_free(dataset->state);
    dataset->state = NULL;
}

static mr_status prompt_of(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    const pairs *state = dataset->state;
    char text[MR_PROMPT_MAX];
    mr_prompt_print(&state->prompt, uuid_of(state, MR_UUID_KEY, index), text);
    return mr_sample_add(out, text, state->prompt.bytes, false);
}

static mr_status sample(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    const pairs *state = dataset->state;
    char value[MR_UUID_DIGITS];
    mr_uuid_print(uuid_of(state, MR_UUID_VALUE, index), value);
    MR_TRY(prompt_of(dataset, index, out));
    MR_TRY(mr_sample_add(out, value, sizeof value, true));
    if (dataset->tokenizer->eos >= 0) mr_sample_add_id(out, dataset->tokenizer->eos, false);
    return MR_OK;
}

static mr_status answer(const mr_dataset *dataset, int64_t index, mr_text *text, int64_t *tokens)
{
    const pairs *state = dataset->state;
    return mr_uuid_answer(uuid_of(state, MR_UUID_VALUE, index), dataset->tokenizer, text, tokens);
}

static double score(const mr_dataset *dataset, int64_t index, const char *text, size_t bytes)
{
    const pairs *state = dataset->state;
    return mr_uuid_score(uuid_of(state, MR_UUID_VALUE, index), text, bytes);
}

const mr_task mr_task_uuid = {
    .name = "uuid",
    .summary = "memorise task.pairs random keys and values; scored by the digits generated",
    .schema = &schema,
    .create = create,
    .destroy = destroy,
    .sample = sample,
    .prompt = prompt_of,
    .answer = answer,
    .score = score,
};
