/** @file
 * Task uuid: memorise random pairs. A sample is the prompt with its key, the value's 32 digits, and
 * EOS where the tokenizer has one; only the 32 digits are scored.
 *
 * Source: MoRA (arXiv 2405.12130) sections 3 and 5.1. Deviation: the paper gives neither its prompt
 * nor what the loss covers.
 */

#include "data/pair.h"
#include "data/task.h"

typedef struct pairs {
    mr_prompt prompt;
    mr_uuid *keys;   /* [items], owned */
    mr_uuid *values; /* [items], owned */
} pairs;

static mr_status draw(uint64_t seed, mr_uuid_kind kind, int64_t count, mr_uuid **out)
{
    mr_uuid_set set = {0};
    *out = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof **out);
    if (!*out) return MR_ERR_MEMORY;
    MR_TRY(mr_uuid_set_create(*out, count, &set));
    for (int64_t i = 0; i < count; i++)
        mr_uuid_draw_distinct(seed, kind, i, *out, &set);
    mr_uuid_set_free(&set);
    return MR_OK;
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
    state->prompt = prompt;
    const uint64_t seed = (uint64_t)own->data_seed;
    MR_TRY(draw(seed, MR_UUID_KEY, own->pairs, &state->keys));
    MR_TRY(draw(seed, MR_UUID_VALUE, own->pairs, &state->values));
    dataset->items = own->pairs;
    dataset->longest = mr_tokenizer_longest(dataset->tokenizer, prompt.bytes) +
                       mr_tokenizer_longest(dataset->tokenizer, MR_UUID_DIGITS) +
                       (dataset->tokenizer->eos >= 0);
    return MR_OK;
}

static void destroy(mr_dataset *dataset)
{
    pairs *state = dataset->state;
    if (!state) return;
    mr_free(state->keys);
    mr_free(state->values);
    mr_free(state);
    dataset->state = NULL;
}

static mr_status prompt_of(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    const pairs *state = dataset->state;
    char text[MR_PROMPT_MAX];
    mr_prompt_print(&state->prompt, state->keys[index], text);
    return mr_sample_add(out, text, state->prompt.bytes, false);
}

static mr_status sample(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    const pairs *state = dataset->state;
    char value[MR_UUID_DIGITS];
    mr_uuid_print(state->values[index], value);
    MR_TRY(prompt_of(dataset, index, out));
    MR_TRY(mr_sample_add(out, value, sizeof value, true));
    if (dataset->tokenizer->eos >= 0) mr_sample_add_id(out, dataset->tokenizer->eos, false);
    return MR_OK;
}

static mr_status answer(const mr_dataset *dataset, int64_t index, mr_text *text, int64_t *tokens)
{
    const pairs *state = dataset->state;
    return mr_uuid_answer(state->values[index], dataset->tokenizer, text, tokens);
}

static double score(const mr_dataset *dataset, int64_t index, const char *text, size_t bytes)
{
    const pairs *state = dataset->state;
    return mr_uuid_score(state->values[index], text, bytes);
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
