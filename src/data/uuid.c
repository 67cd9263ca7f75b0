/** @file
 * Task uuid: memorise random pairs. A sample is the prompt with its key, the value, and EOS where
 * the tokenizer has one; the value alone is learned, or with task.loss all the prompt too.
 *
 * Pairs are drawn where they are asked for, and nothing is stored. That they are distinct is not
 * looked at: among the 2^30 keys that there may be at most, of 122 random bits, two are equal with
 * a probability of 2^-63.
 *
 * Source: MoRA (arXiv 2405.12130) sections 3 and 5.1, which give neither a prompt nor what the loss
 * covers; its author's recipe (kongds/MoRA issue 18) is task.hyphens, task.bos and task.loss all.
 * Deviation: the defaults, which are older than that; EOS, which is not learned, behind a sample.
 */

#include "data/pair.h"
#include "data/task.h"

typedef enum loss_kind { LOSS_VALUE, LOSS_ALL } loss_kind;

static const char *const loss_texts[] = {[LOSS_VALUE] = "value", [LOSS_ALL] = "all", NULL};

typedef struct uuid_config {
    mr_pair_config pair;
    bool hyphens, bos;
    int32_t loss; /* loss_kind */
} uuid_config;

typedef struct pairs {
    mr_prompt prompt;
    uint64_t seed;
    bool hyphens, bos, learns_prompt;
} pairs;

static mr_uuid uuid_of(const pairs *state, mr_uuid_kind kind, int64_t index)
{
    mr_random stream = mr_uuid_stream(state->seed, kind, 0);
    return mr_uuid_draw(&stream, index);
}

static const mr_key keys[] = {
    MR_PAIR_KEYS,
    {MR_KEY_FIELD(uuid_config, "task.hyphens", hyphens), .type = MR_KEY_BOOL, .fallback = "false",
     .help = "Write keys and values with hyphens; scored are the digits all the same."},
    {MR_KEY_FIELD(uuid_config, "task.bos", bos), .type = MR_KEY_BOOL, .fallback = "false",
     .help = "Begin a sample with what the tokenizer puts before a text, its BOS."},
    {MR_KEY_FIELD(uuid_config, "task.loss", loss), .type = MR_KEY_ENUM, .fallback = "value",
     .choices = loss_texts, .help = "What is learned: the value, or the prompt with its key too."},
};

static const mr_schema schema = MR_SCHEMA(uuid_config, keys);

static mr_status create(const mr_config *config, mr_dataset *dataset)
{
    const uuid_config *own = mr_task_config(config);
    const mr_tokenizer *tokenizer = dataset->tokenizer;
    MR_INVARIANT(own->pair.pairs > 0);
    mr_prompt prompt;
    MR_TRY(mr_prompt_parse(own->pair.prompt, own->hyphens, &prompt));
    MR_CHECK(!own->bos || tokenizer->before_count > 0, MR_ERR_CONFIG,
             "task.bos: the tokenizer, %s, puts nothing before a text", tokenizer->source);
    pairs *state = mr_alloc(MR_MEM_DATA, sizeof *state);
    if (!state) return MR_ERR_MEMORY;
    dataset->state = state;
    *state = (pairs){.prompt = prompt,
                     .seed = (uint64_t)own->pair.data_seed,
                     .hyphens = own->hyphens,
                     .bos = own->bos,
                     .learns_prompt = own->loss == LOSS_ALL};
    dataset->items = own->pair.pairs;
    dataset->longest = mr_tokenizer_longest(tokenizer, prompt.bytes) +
                       mr_tokenizer_longest(tokenizer, mr_uuid_bytes(own->hyphens)) +
                       (own->bos ? tokenizer->before_count : 0) + (tokenizer->eos >= 0);
    return MR_OK;
}

static void destroy(mr_dataset *dataset)
{
    mr_free(dataset->state);
    dataset->state = NULL;
}

static mr_status add_prompt(const mr_dataset *dataset, int64_t index, bool learned, mr_sample *out)
{
    const pairs *state = dataset->state;
    char text[MR_PROMPT_MAX];
    for (int64_t i = 0; state->bos && i < dataset->tokenizer->before_count; i++)
        mr_sample_add_id(out, dataset->tokenizer->before[i], false);
    mr_prompt_print(&state->prompt, uuid_of(state, MR_UUID_KEY, index), text);
    return mr_sample_add(out, text, state->prompt.bytes, learned);
}

static mr_status prompt_of(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    return add_prompt(dataset, index, false, out);
}

static mr_status sample(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    const pairs *state = dataset->state;
    char value[MR_UUID_TEXT];
    mr_uuid_print(uuid_of(state, MR_UUID_VALUE, index), state->hyphens, value);
    MR_TRY(add_prompt(dataset, index, state->learns_prompt, out));
    MR_TRY(mr_sample_add(out, value, mr_uuid_bytes(state->hyphens), true));
    if (dataset->tokenizer->eos >= 0) mr_sample_add_id(out, dataset->tokenizer->eos, false);
    return MR_OK;
}

static mr_status answer(const mr_dataset *dataset, int64_t index, mr_text *text, int64_t *tokens)
{
    const pairs *state = dataset->state;
    return mr_uuid_answer(uuid_of(state, MR_UUID_VALUE, index), state->hyphens, dataset->tokenizer,
                          text, tokens);
}

static double score(const mr_dataset *dataset, int64_t index, const char *text, size_t bytes)
{
    const pairs *state = dataset->state;
    return mr_uuid_score(uuid_of(state, MR_UUID_VALUE, index), state->hyphens, text, bytes);
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
