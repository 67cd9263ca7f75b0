#include "eval/border.h"

#include "base/utf8.h"

#include <string.h>

/* A text as tokens, in room that is used again. */
typedef struct encoded {
    int32_t *ids;
    int64_t count;
} encoded;

/* What is found of an item before it is known where its ids will stand. */
typedef struct finding {
    const mr_tokenizer *tokenizer;
    int64_t before; /* ids before a prompt */
    encoded prompt, whole;
    mr_text text;       /* of a prompt with an option */
    int64_t *at;        /* [2 * count]: first ids of each option's prompt and text, owned */
    int64_t used, room; /* of the item's ids */
} finding;

/* Encodes a text behind the first `before` of what stands before one. */
static mr_status encode(const finding *f, int64_t before, const char *text, size_t bytes,
                        encoded *out)
{
    const mr_tokenizer *tokenizer = f->tokenizer;
    const int64_t room = mr_tokenizer_longest(tokenizer, bytes);
    mr_free(out->ids);
    out->ids = mr_alloc_array(MR_MEM_DATA, (size_t)(before + room) + 1, sizeof *out->ids);
    if (!out->ids) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < before; i++)
        out->ids[i] = tokenizer->before[i];
    MR_TRY(mr_tokenizer_encode(tokenizer, text, bytes, out->ids + before, room, &out->count));
    out->count += before;
    return MR_OK;
}

/* Appends ids to the item's; *at is their place. */
static mr_status append(finding *f, mr_item_tokens *item, const int32_t *ids, int64_t count,
                        int64_t *at)
{
    MR_TRY(mr_grow(MR_MEM_DATA, &item->ids, &f->room, f->used + count, sizeof *ids));
    memcpy(item->ids + f->used, ids, (size_t)count * sizeof *ids);
    *at = f->used;
    f->used += count;
    return MR_OK;
}

/* Adds an option that is encoded by itself. */
static mr_status add_apart(finding *f, const mr_item_text *text, int64_t i, mr_item_tokens *item)
{
    MR_TRY(encode(f, 0, text->options[i], text->option_bytes[i], &f->whole));
    item->options[i].prompt.length = f->prompt.count;
    item->options[i].text.length = f->whole.count;
    f->at[2 * i] = 0;
    return append(f, item, f->whole.ids, f->whole.count, &f->at[2 * i + 1]);
}

static mr_status add_option(finding *f, mr_border border, const mr_item_text *text, int64_t i,
                            mr_item_tokens *item)
{
    const encoded *prompt = &f->prompt, *whole = &f->whole;
    f->text.length = 0;
    mr_text_add_bytes(&f->text, text->prompt, text->prompt_bytes);
    mr_text_add_bytes(&f->text, text->options[i], text->option_bytes[i]);
    if (f->text.failed) return MR_ERR_MEMORY;
    MR_TRY(encode(f, f->before, mr_text_get(&f->text), f->text.length, &f->whole));
    MR_CHECK(whole->count > prompt->count, MR_ERR_ARG, "option %lld adds no token to its prompt",
             (long long)i + 1);
    mr_scored_option *o = &item->options[i];
    o->prompt.length = prompt->count;
    o->text.length = whole->count - prompt->count;
    const bool merges =
        memcmp(whole->ids, prompt->ids, (size_t)prompt->count * sizeof *whole->ids) != 0;
    item->merged += merges;
    f->at[2 * i] = 0; /* where the prompt's own are */
    if (merges && border == MR_BORDER_WHOLE)
        MR_TRY(append(f, item, whole->ids, prompt->count, &f->at[2 * i]));
    return append(f, item, whole->ids + prompt->count, o->text.length, &f->at[2 * i + 1]);
}

static mr_status encode_all(finding *f, mr_border border, const mr_item_text *text,
                            mr_item_tokens *item)
{
    size_t bytes = text->prompt_bytes;
    if (border == MR_BORDER_HARNESS) bytes -= mr_utf8_spaces_at_end(text->prompt, bytes);
    int64_t at;
    MR_TRY(encode(f, f->before, text->prompt, bytes, &f->prompt));
    MR_TRY(append(f, item, f->prompt.ids, f->prompt.count, &at));
    for (int64_t i = 0; i < text->count; i++)
        MR_TRY(border == MR_BORDER_APART ? add_apart(f, text, i, item)
                                         : add_option(f, border, text, i, item));
    for (int64_t i = 0; i < text->count; i++) {
        item->options[i].prompt.ids = item->ids + f->at[2 * i];
        item->options[i].text.ids = item->ids + f->at[2 * i + 1];
    }
    return MR_OK;
}

mr_status mr_item_encode(const mr_tokenizer *tokenizer, mr_border border, const mr_item_text *text,
                         mr_item_tokens *out)
{
    finding f = {.tokenizer = tokenizer, .before = text->bare ? 0 : tokenizer->before_count};
    *out = (mr_item_tokens){.count = text->count};
    out->options = mr_alloc_array(MR_MEM_DATA, (size_t)text->count, sizeof *out->options);
    f.at = mr_alloc_array(MR_MEM_DATA, 2 * (size_t)text->count, sizeof *f.at);
    mr_status status = out->options && f.at ? encode_all(&f, border, text, out) : MR_ERR_MEMORY;
    mr_free(f.prompt.ids);
    mr_free(f.whole.ids);
    mr_free(f.at);
    mr_text_free(&f.text);
    if (status != MR_OK) mr_item_tokens_free(out);
    return status;
}

void mr_item_tokens_free(mr_item_tokens *item)
{
    mr_free(item->ids);
    mr_free(item->options);
    *item = (mr_item_tokens){0};
}
