/** @file
 * Task copy: random pairs to be copied within one text, which trains the model that uuid runs start
 * from. Item i is `task.copies` fresh pairs, a line "prompt(key)value" each, then the same lines in
 * a random order; only the values of the second half are scored. Nothing is stored by item, so
 * task.pairs may be as large as a run is long.
 */

#include "data/order.h"
#include "data/pair.h"
#include "data/task.h"

typedef struct lines {
    mr_prompt prompt;
    uint64_t seed;
    int64_t copies;
} lines;

typedef struct copy_config {
    mr_pair_config pair;
    int64_t copies;
} copy_config;

static const mr_key keys[] = {
    MR_PAIR_KEYS,
    {MR_KEY_FIELD(copy_config, "task.copies", copies), .type = MR_KEY_INT, .fallback = "1",
     .min = 1, .max = 1000000, .unit = "pairs",
     .help = "Pairs in one sample of the copy task; each stands twice."},
};

static const mr_schema schema = MR_SCHEMA(copy_config, keys);

static mr_status create(const mr_config *config, mr_dataset *dataset)
{
    const copy_config *own = mr_task_config(config);
    MR_INVARIANT(own->pair.pairs > 0 && own->copies > 0);
    mr_prompt prompt;
    MR_TRY(mr_prompt_parse(own->pair.prompt, false, &prompt));
    lines *state = mr_alloc(MR_MEM_DATA, sizeof *state);
    if (!state) return MR_ERR_MEMORY;
    dataset->state = state;
    *state = (lines){prompt, (uint64_t)own->pair.data_seed, own->copies};
    const mr_tokenizer *tokenizer = dataset->tokenizer;
    const int64_t newline = mr_tokenizer_longest(tokenizer, 1);
    const int64_t line = mr_tokenizer_longest(tokenizer, prompt.bytes) +
                         mr_tokenizer_longest(tokenizer, MR_UUID_DIGITS) + newline;
    dataset->items = own->pair.pairs;
    dataset->longest = 2 * state->copies * line - newline;
    return MR_OK;
}

static void destroy(mr_dataset *dataset)
{
    mr_free(dataset->state);
    dataset->state = NULL;
}

/* No check against equal keys in one item: of 122 random bits they are never seen. */
static mr_uuid uuid_of(const lines *state, mr_uuid_kind kind, int64_t index, int64_t pair)
{
    mr_random stream = mr_uuid_stream(state->seed, kind, index);
    return mr_uuid_draw(&stream, pair);
}

static int64_t repeated_pair(const lines *state, int64_t index, int64_t place)
{
    mr_random stream = mr_uuid_stream(state->seed, MR_UUID_COPY_ORDER, index);
    return mr_order_permute(&stream, state->copies, place);
}

static mr_status add_prompt(const lines *state, int64_t index, int64_t pair, mr_sample *out)
{
    char text[MR_PROMPT_MAX];
    mr_prompt_print(&state->prompt, uuid_of(state, MR_UUID_COPY_KEY, index, pair), text);
    return mr_sample_add(out, text, state->prompt.bytes, false);
}

static mr_status add_value(const lines *state, int64_t index, int64_t pair, bool scored,
                           mr_sample *out)
{
    char text[MR_UUID_TEXT];
    mr_uuid_print(uuid_of(state, MR_UUID_COPY_VALUE, index, pair), false, text);
    return mr_sample_add(out, text, MR_UUID_DIGITS, scored);
}

/* The lines of the first half, each with the newline that parts it from the next. */
static mr_status add_first_half(const lines *state, int64_t index, mr_sample *out)
{
    for (int64_t pair = 0; pair < state->copies; pair++) {
        MR_TRY(add_prompt(state, index, pair, out));
        MR_TRY(add_value(state, index, pair, false, out));
        MR_TRY(mr_sample_add(out, "\n", 1, false));
    }
    return MR_OK;
}

static mr_status sample(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    const lines *state = dataset->state;
    MR_TRY(add_first_half(state, index, out));
    for (int64_t place = 0; place < state->copies; place++) {
        int64_t pair = repeated_pair(state, index, place);
        if (place > 0) MR_TRY(mr_sample_add(out, "\n", 1, false));
        MR_TRY(add_prompt(state, index, pair, out));
        MR_TRY(add_value(state, index, pair, true, out));
    }
    return MR_OK;
}

static mr_status prompt_of(const mr_dataset *dataset, int64_t index, mr_sample *out)
{
    const lines *state = dataset->state;
    MR_TRY(add_first_half(state, index, out));
    return add_prompt(state, index, repeated_pair(state, index, 0), out);
}

static mr_uuid asked_value(const lines *state, int64_t index)
{
    return uuid_of(state, MR_UUID_COPY_VALUE, index, repeated_pair(state, index, 0));
}

static mr_status answer(const mr_dataset *dataset, int64_t index, mr_text *text, int64_t *tokens)
{
    return mr_uuid_answer(asked_value(dataset->state, index), false, dataset->tokenizer, text,
                          tokens);
}

static double score(const mr_dataset *dataset, int64_t index, const char *text, size_t bytes)
{
    return mr_uuid_score(asked_value(dataset->state, index), false, text, bytes);
}

const mr_task mr_task_copy = {
    .name = "copy",
    .summary = "copy task.copies random values within a text; trains the model uuid starts from",
    .schema = &schema,
    .create = create,
    .destroy = destroy,
    .sample = sample,
    .prompt = prompt_of,
    .answer = answer,
    .score = score,
};
