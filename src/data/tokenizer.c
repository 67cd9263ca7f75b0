#include "data/tokenizer.h"

#include "base/file.h"
#include "base/utf8.h"
#include "data/hf_tokenizer.h"
#include "data/sentencepiece.h"
#include "data/sentencepiece_model.h"

#include <string.h>

static const char bytes_name[] = "bytes";

static mr_status check_ids(const int32_t *ids, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        MR_CHECK(ids[i] >= 0, MR_ERR_ARG, "token %lld to decode is %d, expected an id of 0 or more",
                 (long long)i, ids[i]);
    return MR_OK;
}

static void put_bos_before(mr_tokenizer *tokenizer)
{
    tokenizer->before = &tokenizer->bos;
    tokenizer->before_count = tokenizer->bos >= 0;
}

/* The tokenizer of bytes. */

static mr_status bytes_load(mr_tokenizer *tokenizer, const char *path, const char *file,
                            size_t size)
{
    (void)path;
    (void)file;
    (void)size;
    tokenizer->vocabulary = MR_BYTES_VOCABULARY;
    tokenizer->bos = MR_BYTES_BOS;
    put_bos_before(tokenizer);
    tokenizer->eos = MR_BYTES_EOS;
    tokenizer->pad = MR_BYTES_PAD;
    tokenizer->most_bytes = SIZE_MAX;
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
                              bool keep_special, mr_text *out)
{
    (void)tokenizer;
    (void)keep_special; /* they have no text */
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < MR_BYTES_BOS) mr_text_add(out, "%c", (int)ids[i]);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

static mr_status bytes_piece(const mr_tokenizer *tokenizer, int32_t id, mr_text *out)
{
    static const char *const names[] = {"<bos>", "<eos>", "<pad>"};
    (void)tokenizer;
    if (id >= 0 && id < MR_BYTES_BOS)
        mr_text_add(out, "%c", (int)id);
    else if (id >= MR_BYTES_BOS && id < MR_BYTES_VOCABULARY)
        mr_text_add(out, "%s", names[id - MR_BYTES_BOS]);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

static int64_t bytes_longest(const mr_tokenizer *tokenizer, size_t bytes)
{
    (void)tokenizer;
    return (int64_t)bytes;
}

static const mr_tokenizer_ops bytes_ops = {
    .load = bytes_load,
    .destroy = bytes_destroy,
    .encode = bytes_encode,
    .decode = bytes_decode,
    .piece = bytes_piece,
    .longest = bytes_longest,
};

/* SentencePiece models. */

typedef struct pieces {
    mr_sentencepiece *model; /* owned */
    int64_t growth;          /* tokens of a byte of text, at most */
} pieces;

/* Every token stands for a character of the normalised text, or a byte of one. A model without a
 * map of characters keeps them as they are; NFKC makes at most eleven bytes of one (UAX 15, section
 * "Maximum Expansion Factors"). The blank becomes three bytes, as does a byte that is not UTF-8:
 * one token each unless it is no piece. */
static int64_t growth_of(const mr_sentencepiece *model, bool maps)
{
    enum { NFKC = 11, MARK = 3 };
    const bool blank = mr_sentencepiece_has_piece(model, MR_SENTENCEPIECE_BLANK);
    if (maps) return blank ? NFKC : NFKC * MARK;
    return blank && mr_sentencepiece_has_piece(model, "\xef\xbf\xbd") ? 1 : MARK;
}

/* What a file is that is no SentencePiece model, as far as it is known; else NULL. */
static const char *other_tokenizer(const char *file, size_t size)
{
    static const char pointer[] = "version https://git-lfs.github.com/";
    size_t at;
    if (strncmp(file, pointer, sizeof pointer - 1) == 0)
        return "a pointer of Git LFS, in whose place the file itself is still to be fetched";
    /* Lines of base64, a blank and a rank. */
    at = strspn(file, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=");
    if (at > 0 && at < size && file[at] == ' ' && strspn(file + at + 1, "0123456789") > 0)
        return "a table of tiktoken, which is not read";
    return NULL;
}

static mr_status pieces_load(mr_tokenizer *tokenizer, const char *path, const char *file,
                             size_t size)
{
    char problem[MR_SENTENCEPIECE_PROBLEM];
    const char *other = other_tokenizer(file, size);
    MR_CHECK(!other, MR_ERR_FORMAT,
             "tokenizer: expected a SentencePiece model or a tokenizer.json, found in '%s' %s",
             path, other);
    MR_CHECK(
        mr_sentencepiece_is_sound(file, size), MR_ERR_FORMAT,
        "tokenizer: '%s' is not a SentencePiece model: it is cut short, damaged, or something else",
        path);
    pieces *state = mr_alloc(MR_MEM_DATA, sizeof *state);
    if (!state) return MR_ERR_MEMORY;
    tokenizer->state = state;
    const char *failure = mr_sentencepiece_create(file, size, &state->model, problem);
    MR_CHECK(failure != mr_sentencepiece_no_memory, MR_ERR_MEMORY, "tokenizer: '%s': %s", path,
             failure);
    MR_CHECK(!failure, MR_ERR_FORMAT, "tokenizer: '%s' is not a SentencePiece model: %s", path,
             failure);
    tokenizer->vocabulary = mr_sentencepiece_size(state->model);
    MR_CHECK(tokenizer->vocabulary > 0, MR_ERR_FORMAT,
             "tokenizer: '%s' is not a SentencePiece model: it has no pieces", path);
    mr_sentencepiece_special(state->model, &tokenizer->bos, &tokenizer->eos, &tokenizer->pad);
    put_bos_before(tokenizer);
    tokenizer->most_bytes = MR_TOKENIZER_MOST_PIECES;
    const mr_sentencepiece_facts facts = mr_sentencepiece_read_facts(file, size);
    state->growth = growth_of(state->model, facts.maps);
    if (facts.words && mr_sentencepiece_has_piece(state->model, MR_SENTENCEPIECE_BLANK))
        mr_sentencepiece_set_words(state->model, 1);
    return MR_OK;
}

static void pieces_destroy(mr_tokenizer *tokenizer)
{
    pieces *state = tokenizer->state;
    if (!state) return;
    mr_sentencepiece_destroy(&state->model);
    mr_free(state);
    tokenizer->state = NULL;
}

static mr_status refused(const mr_tokenizer *tokenizer, const char *what, const char *failure)
{
    return mr_fail(failure == mr_sentencepiece_no_memory ? MR_ERR_MEMORY : MR_ERR_ARG,
                   "tokenizer '%s': cannot %s: %s", tokenizer->name, what, failure);
}

static mr_status pieces_encode(const mr_tokenizer *tokenizer, const char *text, size_t bytes,
                               int32_t *ids, int64_t capacity, int64_t *count)
{
    const pieces *state = tokenizer->state;
    char problem[MR_SENTENCEPIECE_PROBLEM];
    const char *failure =
        mr_sentencepiece_encode(state->model, text, bytes, ids, capacity, count, problem);
    if (failure) return refused(tokenizer, "encode", failure);
    return MR_OK;
}

static int append(void *context, const char *text, size_t bytes)
{
    mr_text *out = context;
    mr_text_add_bytes(out, text, bytes);
    return out->failed;
}

static mr_status pieces_decode(const mr_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                               bool keep_special, mr_text *out)
{
    const pieces *state = tokenizer->state;
    (void)keep_special; /* the library writes none */
    char problem[MR_SENTENCEPIECE_PROBLEM];
    int64_t kept = 0;
    int failed = 0;
    int32_t *known = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *known);
    if (!known) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++)
        if (ids[i] < tokenizer->vocabulary) known[kept++] = ids[i];
    const char *failure =
        mr_sentencepiece_decode(state->model, known, kept, append, out, &failed, problem);
    mr_free(known);
    if (failure) return refused(tokenizer, "decode", failure);
    return failed ? MR_ERR_MEMORY : MR_OK;
}

static mr_status pieces_piece(const mr_tokenizer *tokenizer, int32_t id, mr_text *out)
{
    const pieces *state = tokenizer->state;
    if (id >= 0 && id < tokenizer->vocabulary)
        mr_text_add(out, "%s", mr_sentencepiece_piece(state->model, id));
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

static int64_t pieces_longest(const mr_tokenizer *tokenizer, size_t bytes)
{
    const pieces *state = tokenizer->state;
    enum { PREFIX = 3 }; /* the blank before a text */
    return state->growth * (int64_t)bytes + PREFIX;
}

static const mr_tokenizer_ops pieces_ops = {
    .load = pieces_load,
    .destroy = pieces_destroy,
    .encode = pieces_encode,
    .decode = pieces_decode,
    .piece = pieces_piece,
    .longest = pieces_longest,
};

/* Whether a file holds an object of JSON, and so no model of SentencePiece. */
static bool is_json(const char *file, size_t size)
{
    const size_t at = strspn(file, " \t\r\n");
    return at < size && file[at] == '{';
}

static mr_status load_file(mr_tokenizer *tokenizer, const char *path)
{
    char *file = NULL;
    size_t size = 0;
    mr_status status = mr_file_read(path, MR_MEM_OTHER, &file, &size);
    if (status == MR_ERR_IO)
        return mr_fail_in(status, "tokenizer: expected bytes, or the file of a tokenizer.json or a "
                                  "SentencePiece model");
    if (status == MR_OK) status = mr_hash_bytes(file, size, tokenizer->hash);
    if (status == MR_OK && size == 0)
        status = mr_fail(MR_ERR_FORMAT, "tokenizer: '%s' is an empty file", path);
    if (status == MR_OK) {
        const size_t at = mr_utf8_mark(file, size);
        tokenizer->ops = is_json(file + at, size - at) ? &mr_hf_tokenizer_ops : &pieces_ops;
        status = tokenizer->ops->load(tokenizer, path, file + at, size - at);
    }
    mr_free(file);
    return status;
}

static mr_status load(mr_tokenizer *tokenizer, const char *source)
{
    const char *slash = strrchr(source, '/'), *name = slash ? slash + 1 : source;
    const size_t length = strlen(name);
    MR_CHECK(length < sizeof tokenizer->name, MR_ERR_IO, "tokenizer: path too long: '%s'", source);
    memcpy(tokenizer->name, name, length + 1);
    tokenizer->source = mr_strdup(source);
    if (!tokenizer->source) return MR_ERR_MEMORY;
    if (strcmp(source, bytes_name) == 0) return tokenizer->ops->load(tokenizer, source, NULL, 0);
    return load_file(tokenizer, source);
}

mr_status mr_tokenizer_create(const char *source, mr_tokenizer **out)
{
    *out = NULL;
    mr_tokenizer *tokenizer = mr_alloc(MR_MEM_DATA, sizeof *tokenizer);
    if (!tokenizer) return MR_ERR_MEMORY;
    tokenizer->ops = &bytes_ops; /* until the file is known */
    tokenizer->reason = "";
    mr_status status = load(tokenizer, source);
    if (status == MR_OK) {
        mr_tokenizer_add_end(tokenizer, tokenizer->eos);
        *out = tokenizer;
    } else {
        mr_tokenizer_destroy(&tokenizer);
    }
    return status;
}

void mr_tokenizer_add_end(mr_tokenizer *tokenizer, int64_t id)
{
    for (int i = 0; i < tokenizer->ends; i++)
        if (tokenizer->end[i] == id) return;
    if (id >= 0 && tokenizer->ends < MR_TOKENIZER_ENDS) tokenizer->end[tokenizer->ends++] = id;
}

void mr_tokenizer_destroy(mr_tokenizer **tokenizer)
{
    if (!*tokenizer) return;
    (*tokenizer)->ops->destroy(*tokenizer);
    mr_free((*tokenizer)->source);
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
    MR_TRY(check_ids(ids, count));
    return tokenizer->ops->decode(tokenizer, ids, count, false, out);
}

mr_status mr_tokenizer_decode_special(const mr_tokenizer *tokenizer, const int32_t *ids,
                                      int64_t count, mr_text *out)
{
    MR_TRY(check_ids(ids, count));
    return tokenizer->ops->decode(tokenizer, ids, count, true, out);
}

mr_status mr_tokenizer_piece(const mr_tokenizer *tokenizer, int32_t id, mr_text *out)
{
    return tokenizer->ops->piece(tokenizer, id, out);
}

int64_t mr_tokenizer_longest(const mr_tokenizer *tokenizer, size_t bytes)
{
    return tokenizer->ops->longest(tokenizer, bytes);
}
