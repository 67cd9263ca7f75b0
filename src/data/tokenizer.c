#include "data/tokenizer.h"

#include <string.h>

static mr_status bytes_create(mr_tokenizer *tokenizer)
{
    tokenizer->vocabulary = MR_BYTES_VOCABULARY;
    tokenizer->bos = MR_BYTES_BOS;
    tokenizer->eos = MR_BYTES_EOS;
    tokenizer->pad = MR_BYTES_PAD;
    return MR_OK;
}

static void bytes_destroy(mr_tokenizer *tokenizer)
{
    (void)tokenizer;
}

static mr_status bytes_encode(const mr_tokenizer *tokenizer, const char *text, size_t bytes,
                              int32_t *ids, int64_t capacity, int64_t *count)
{
    (void)tokenizer;
    *count = (int64_t)bytes;
    for (int64_t i = 0; i < *count && i < capacity; i++)
        ids[i] = (unsigned char)text[i];
    return MR_OK;
}

static mr_status bytes_decode(const mr_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                              mr_text *out)
{
    (void)tokenizer;
    for (int64_t i = 0; i < count; i++) {
        MR_CHECK(ids[i] >= 0, MR_ERR_ARG, "token %lld to decode is %d, expected an id of 0 or more",
                 (long long)i, ids[i]);
        if (ids[i] < MR_BYTES_BOS) mr_text_add(out, "%c", (int)ids[i]);
    }
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

static int64_t bytes_longest(const mr_tokenizer *tokenizer, size_t bytes)
{
    (void)tokenizer;
    return (int64_t)bytes;
}

static const mr_tokenizer_ops bytes_ops = {
    .name = "bytes",
    .summary = "256 bytes and three special tokens; needs no file",
    .create = bytes_create,
    .destroy = bytes_destroy,
    .encode = bytes_encode,
    .decode = bytes_decode,
    .longest = bytes_longest,
};

/* One row a tokenizer. */
static const mr_tokenizer_ops *const table[] = {&bytes_ops};

enum { TOKENIZERS = sizeof table / sizeof table[0] };

const char *const *mr_tokenizer_names(void)
{
    static const char *names[TOKENIZERS + 1];
    for (int i = 0; i < TOKENIZERS; i++)
        names[i] = table[i]->name;
    return names;
}

mr_status mr_tokenizer_create(const char *name, mr_tokenizer **out)
{
    *out = NULL;
    for (int i = 0; i < TOKENIZERS; i++) {
        if (strcmp(table[i]->name, name) != 0) continue;
        mr_tokenizer *tokenizer = mr_alloc(MR_MEM_DATA, sizeof *tokenizer);
        if (!tokenizer) return MR_ERR_MEMORY;
        tokenizer->ops = table[i];
        mr_status status = tokenizer->ops->create(tokenizer);
        if (status == MR_OK)
            *out = tokenizer;
        else
            mr_tokenizer_destroy(&tokenizer);
        return status;
    }
    return mr_fail(MR_ERR_ARG, "tokenizer: expected bytes, found \"%s\"", name);
}

void mr_tokenizer_destroy(mr_tokenizer **tokenizer)
{
    if (!*tokenizer) return;
    (*tokenizer)->ops->destroy(*tokenizer);
    mr_free(*tokenizer);
    *tokenizer = NULL;
}

mr_status mr_tokenizer_encode(const mr_tokenizer *tokenizer, const char *text, size_t bytes,
                              int32_t *ids, int64_t capacity, int64_t *count)
{
    return tokenizer->ops->encode(tokenizer, text, bytes, ids, capacity, count);
}

mr_status mr_tokenizer_decode(const mr_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                              mr_text *out)
{
    return tokenizer->ops->decode(tokenizer, ids, count, out);
}

int64_t mr_tokenizer_longest(const mr_tokenizer *tokenizer, size_t bytes)
{
    return tokenizer->ops->longest(tokenizer, bytes);
}
