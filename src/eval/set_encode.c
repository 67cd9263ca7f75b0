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

/* A prompt to generate behind loses its beginning where it is too long. */
static mr_status cut_prompt(encoder *e, int64_t window)
{
    const mr_set *set = e->set;
    mr_prompt *prompt = &e->out->tokens.options[0].prompt;
    int64_t most = window - set->new_tokens;
    MR_CHECK(most > 0, MR_ERR_ARG, "the model takes %lld tokens, and %lld are to be generated",
             (long long)window, (long long)set->new_tokens);
    if (set->prompt_tokens > 0 && set->prompt_tokens < most) most = set->prompt_tokens;
    e->out->cut = prompt->length > most ? prompt->length - most : 0;
    prompt->ids += e->out->cut;
    prompt->length -= e->out->cut;
    return MR_OK;
}

static mr_status encode(encoder *e, int64_t window)
{
    static const char *const nothing[] = {""};
    static const size_t none[] = {0};
    const mr_set *set = e->set;
    mr_item_tokens *t = &e->out->tokens;
    MR_TRY(fit_shots(e));
    mr_item_text text = {.prompt = mr_text_get(&e->prompt),
                         .prompt_bytes = e->prompt.length,
                         .options = nothing,
                         .option_bytes = none,
                         .count = 1,
                         .bare = !e->bos};
    if (set->metric) {
        text.count = mr_set_options(set, e->item);
        MR_TRY(write_options(e, text.count));
        text.options = e->at;
        text.option_bytes = e->bytes;
    }
    const bool apart = !set->metric || set->form == MR_OPTION_NEXT;
    MR_TRY(
        mr_item_encode(e->tokenizer, apart ? MR_BORDER_APART : (mr_border)set->border, &text, t));
    if (!set->metric) MR_TRY(cut_prompt(e, window));
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
