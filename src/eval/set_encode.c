/* Items as tokens. */

#include "eval/set_impl.h"

#include <string.h>

/* An item being encoded. */
typedef struct encoder {
    const mr_set *set;
    int64_t item;
    const mr_tokenizer *tokenizer;
    bool bos;
    mr_text prompt;
    mr_text options; /* one after another */
    size_t *bytes;   /* [count] of each */
    const char **at; /* [count] in options */
    int64_t room;    /* of the ids */
    mr_set_encoded *out;
} encoder;

/* Finds how many shots leave a prompt of no more tokens than there may be, and writes it. */
static mr_status fit_shots(encoder *e)
{
    const mr_set *set = e->set;
    int64_t *shots = &e->out->shots;
    for (*shots = set->shots.count;; --*shots) {
        int64_t count = 0;
        e->prompt.length = 0;
        MR_TRY(mr_set_prompt(set, e->item, *shots, &e->prompt));
        if (*shots == 0 || set->most_tokens == 0) return MR_OK;
        MR_TRY(mr_tokenizer_encode(e->tokenizer, mr_text_get(&e->prompt), e->prompt.length, NULL, 0,
                                   &count));
        if (count <= set->most_tokens) return MR_OK;
    }
}

static mr_status write_options(encoder *e, int64_t count)
{
    e->bytes = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *e->bytes);
    e->at = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *e->at);
    if (!e->bytes || !e->at) return MR_ERR_MEMORY;
    for (int64_t o = 0; o < count; o++) {
        const size_t before = e->options.length;
        MR_TRY(mr_set_option(e->set, e->item, o, &e->options));
        e->bytes[o] = e->options.length - before;
    }
    size_t from = 0;
    for (int64_t o = 0; o < count; from += e->bytes[o++])
        e->at[o] = e->options.data + from;
    return MR_OK;
}

/* Encodes a text behind the ids that are there; *count gets how many there are then. */
static mr_status add_ids(encoder *e, const char *text, size_t bytes, int64_t *count)
{
    mr_item_tokens *t = &e->out->tokens;
    int64_t added = mr_tokenizer_longest(e->tokenizer, bytes);
    MR_TRY(mr_grow(MR_MEM_DATA, &t->ids, &e->room, *count + added + 1, sizeof *t->ids));
    MR_TRY(mr_tokenizer_encode(e->tokenizer, text, bytes, t->ids + *count, added, &added));
    *count += added;
    return MR_OK;
}

/* Encodes the prompt by itself, and each option by itself; *prompt gets the tokens of the former.
 */
static mr_status encode_apart(encoder *e, int64_t options, int64_t *prompt)
{
    mr_item_tokens *t = &e->out->tokens;
    const int64_t before = e->bos ? e->tokenizer->before_count : 0;
    int64_t count = before;
    MR_TRY(mr_grow(MR_MEM_DATA, &t->ids, &e->room, before + 1, sizeof *t->ids));
    for (int64_t i = 0; i < before; i++)
        t->ids[i] = e->tokenizer->before[i];
    MR_TRY(add_ids(e, mr_text_get(&e->prompt), e->prompt.length, &count));
    *prompt = count;
    for (int64_t o = 0; o < options; o++) {
        MR_TRY(add_ids(e, e->at[o], e->bytes[o], &count));
        t->options[o].text.length = count;
    }
    return MR_OK;
}

static mr_status encode_next(encoder *e, int64_t options)
{
    mr_item_tokens *t = &e->out->tokens;
    int64_t prompt, from;
    t->count = options;
    t->options = mr_alloc_array(MR_MEM_DATA, (size_t)options, sizeof *t->options);
    if (!t->options) return MR_ERR_MEMORY;
    MR_TRY(encode_apart(e, options, &prompt));
    from = prompt;
    for (int64_t o = 0; o < options; o++) {
        const int64_t end = t->options[o].text.length;
        t->options[o] = (mr_scored_option){{t->ids, prompt}, {t->ids + from, end - from}};
        from = end;
    }
    return MR_OK;
}

/* A prompt to generate behind loses its beginning where it is too long. */
static mr_status encode_prompt(encoder *e, int64_t window)
{
    const mr_set *set = e->set;
    mr_item_tokens *t = &e->out->tokens;
    int64_t length, most = window - set->new_tokens;
    MR_CHECK(most > 0, MR_ERR_ARG, "the model takes %lld tokens, and %lld are to be generated",
             (long long)window, (long long)set->new_tokens);
    if (set->prompt_tokens > 0 && set->prompt_tokens < most) most = set->prompt_tokens;
    t->options = mr_alloc(MR_MEM_DATA, sizeof *t->options);
    if (!t->options) return MR_ERR_MEMORY;
    t->count = 1;
    MR_TRY(encode_apart(e, 0, &length));
    e->out->cut = length > most ? length - most : 0;
    t->options[0].prompt = (mr_prompt){t->ids + e->out->cut, length - e->out->cut};
    return MR_OK;
}

static mr_status encode(encoder *e, int64_t window)
{
    mr_item_tokens *t = &e->out->tokens;
    MR_TRY(fit_shots(e));
    if (!e->set->metric) {
        MR_TRY(encode_prompt(e, window));
    } else {
        const int64_t count = mr_set_options(e->set, e->item);
        MR_TRY(write_options(e, count));
        const mr_item_text text = {.prompt = mr_text_get(&e->prompt),
                                   .prompt_bytes = e->prompt.length,
                                   .options = e->at,
                                   .option_bytes = e->bytes,
                                   .count = count,
                                   .bare = !e->bos};
        if (e->set->form == MR_OPTION_NEXT)
            MR_TRY(encode_next(e, count));
        else
            MR_TRY(mr_item_encode(e->tokenizer, (mr_border)e->set->border, &text, t));
    }
    for (int64_t o = 0; o < t->count; o++)
        MR_CHECK(t->options[o].prompt.length > 0, MR_ERR_ARG,
                 "an empty prompt, and no token begins a text: expected at least one token");
    return MR_OK;
}

mr_status mr_set_encode(const mr_set *set, int64_t item, const mr_tokenizer *tokenizer, bool bos,
                        int64_t window, mr_set_encoded *out)
{
    encoder e = {.set = set, .item = item, .tokenizer = tokenizer, .bos = bos, .out = out};
    const mr_set_record *r = &set->record[set->at[item]];
    *out = (mr_set_encoded){.shots = 0};
    mr_status status = encode(&e, window);
    mr_text_free(&e.prompt);
    mr_text_free(&e.options);
    mr_free(e.bytes);
    mr_free(e.at);
    if (status == MR_ERR_ARG) {
        mr_text id = {0};
        if (mr_set_id(set, item, &id) == MR_OK)
            status = mr_fail_in(MR_ERR_ARG, "%s: item %s", r->file, mr_text_get(&id));
        mr_text_free(&id);
    }
    if (status != MR_OK) mr_item_tokens_free(&out->tokens);
    return status;
}
