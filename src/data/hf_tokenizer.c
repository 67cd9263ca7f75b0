#include "data/hf_tokenizer.h"

#include "base/utf8.h"
#include "data/hf_added.h"
#include "data/hf_bpe.h"
#include "data/hf_decoder.h"
#include "data/hf_post.h"
#include "data/hf_pretokenizer.h"
#include "data/hf_special.h"

#include <pthread.h>
#include <string.h>

/* What one thread needs, for one text at a time. */
typedef struct worker {
    mr_hf_normalizer_room normalizer;
    mr_hf_pretokenizer_room pretokenizer;
    mr_hf_decoder_room decoder;
    mr_hf_bpe_room *bpe; /* owned */
    void *match;         /* owned */
    struct worker *next;
} worker;

typedef struct hf_state {
    mr_hf_normalizer *normalizer;
    mr_hf_pretokenizer *pretokenizer;
    mr_hf_vocabulary *vocabulary;
    mr_hf_added *added;
    mr_hf_decoder *decoder;
    mr_hf_post post;
    pthread_mutex_t lock; /* of idle */
    worker *idle;         /* those that no thread has now; owned */
    int64_t times, more;  /* tokens of a text are at most bytes * times + more */
} hf_state;

/* Workers. */

static void worker_destroy(worker *w)
{
    if (!w) return;
    mr_hf_normalizer_room_free(&w->normalizer);
    mr_hf_pretokenizer_room_free(&w->pretokenizer);
    mr_hf_decoder_room_free(&w->decoder);
    mr_hf_bpe_room_destroy(&w->bpe);
    mr_hf_match_free(w->match);
    mr_free(w);
}

static mr_status worker_create(mr_purpose purpose, worker **out)
{
    worker *w = mr_alloc(purpose, sizeof *w);
    *out = NULL;
    if (!w) return MR_ERR_MEMORY;
    mr_status status = mr_hf_bpe_room_create(purpose, &w->bpe);
    w->match = status == MR_OK ? mr_hf_match_create() : NULL;
    if (w->match)
        *out = w;
    else
        worker_destroy(w);
    if (*out) w->normalizer.match = w->pretokenizer.match = w->decoder.match = w->match;
    return *out ? MR_OK : MR_ERR_MEMORY;
}

/* The first one is there from the start; more come with more threads. */
static mr_status borrow(hf_state *state, worker **out)
{
    pthread_mutex_lock(&state->lock);
    *out = state->idle;
    if (*out) state->idle = (*out)->next;
    pthread_mutex_unlock(&state->lock);
    return *out ? MR_OK : worker_create(MR_MEM_OTHER, out);
}

static void give_back(hf_state *state, worker *w)
{
    pthread_mutex_lock(&state->lock);
    w->next = state->idle;
    state->idle = w;
    pthread_mutex_unlock(&state->lock);
}

/* Reading. */

static bool is_one_token(const void *of, mr_hf_string text)
{
    return mr_hf_vocabulary_find(of, text.text, text.bytes) >= 0;
}

/* How many tokens a text may have: one a byte, but for what is put to it. What is put before a
 * stretch between added tokens, each of these makes up for unless it is very short. */
static void set_growth(hf_state *state)
{
    int64_t times, more;
    mr_hf_normalizer_growth(state->normalizer, is_one_token, state->vocabulary, &state->times,
                            &state->more);
    mr_hf_pretokenizer_growth(state->pretokenizer, &times, &more);
    const int64_t blank = mr_hf_vocabulary_find(state->vocabulary, "\xe2\x96\x81", 3) >= 0 ||
                                  mr_hf_pretokenizer_is_bytes(state->pretokenizer)
                              ? 1
                              : 3;
    state->times *= times * blank;
    state->more += more * blank;
    const int64_t shortest = (int64_t)mr_hf_added_shortest(state->added);
    if (mr_hf_added_ids(state->added) > 0 && shortest < 1 + state->more)
        state->times += state->more;
}

static mr_status read_added(hf_state *state, const mr_hf_place *at, const json_t *root)
{
    mr_hf_normalizer_room room = {.match = mr_hf_match_create()};
    if (!room.match) return MR_ERR_MEMORY;
    mr_status status =
        mr_hf_added_read(at, root, state->vocabulary, state->normalizer, &room, &state->added);
    mr_hf_normalizer_room_free(&room);
    mr_hf_match_free(room.match);
    return status;
}

static mr_status read_parts(mr_tokenizer *tokenizer, const mr_hf_place *at, const json_t *root,
                            size_t size)
{
    static const char *const known[] = {
        "version",       "truncation", "padding",        "added_tokens", "normalizer",
        "pre_tokenizer", "model",      "post_processor", "decoder",      NULL};
    hf_state *state = tokenizer->state;
    const mr_hf_place normalizer = mr_hf_key(at, "normalizer"), model = mr_hf_key(at, "model"),
                      pretokenizer = mr_hf_key(at, "pre_tokenizer"),
                      post = mr_hf_key(at, "post_processor"), decoder = mr_hf_key(at, "decoder");
    MR_TRY(mr_hf_check_keys(at, root, known));
    MR_TRY(mr_hf_normalizer_read(&normalizer, json_object_get(root, "normalizer"),
                                 &state->normalizer));
    MR_TRY(mr_hf_pretokenizer_read(&pretokenizer, json_object_get(root, "pre_tokenizer"),
                                   &state->pretokenizer));
    MR_TRY(mr_hf_vocabulary_read(&model, json_object_get(root, "model"), size,
                                 mr_hf_pretokenizer_is_bytes(state->pretokenizer),
                                 &state->vocabulary));
    MR_TRY(read_added(state, at, root));
    const int32_t added = mr_hf_added_ids(state->added), pieces = state->vocabulary->ids;
    tokenizer->vocabulary = added > pieces ? added : pieces;
    MR_TRY(mr_hf_post_read(&post, json_object_get(root, "post_processor"), tokenizer->vocabulary,
                           &state->post));
    return mr_hf_decoder_read(&decoder, json_object_get(root, "decoder"), &state->decoder);
}

static mr_status read_file(mr_tokenizer *tokenizer, const char *path, const char *file, size_t size)
{
    hf_state *state = tokenizer->state;
    mr_hf_place at = {.file = path};
    json_t *root;
    MR_TRY(mr_hf_parse(&at, file, size, &root));
    mr_status status = read_parts(tokenizer, &at, root, size);
    json_decref(root);
    MR_TRY(status);
    const mr_hf_post *post = &state->post;
    tokenizer->bos = post->before_count > 0 ? post->before[0] : -1;
    tokenizer->eos = post->behind_count > 0 ? post->behind[post->behind_count - 1] : -1;
    tokenizer->pad = -1;
    MR_TRY(mr_hf_special_read(path, state->added, state->vocabulary, tokenizer->vocabulary,
                              &tokenizer->bos, &tokenizer->eos, &tokenizer->pad));
    tokenizer->before = post->before;
    tokenizer->before_count = post->before_count;
    tokenizer->behind = post->behind;
    tokenizer->behind_count = post->behind_count;
    set_growth(state);
    return MR_OK;
}

static mr_status hf_load(mr_tokenizer *tokenizer, const char *path, const char *file, size_t size)
{
    hf_state *state = mr_alloc(MR_MEM_DATA, sizeof *state);
    if (!state) return MR_ERR_MEMORY;
    tokenizer->state = state;
    pthread_mutex_init(&state->lock, NULL);
    tokenizer->most_bytes = MR_TOKENIZER_MOST_PIECES;
    MR_TRY(read_file(tokenizer, path, file, size));
    return worker_create(MR_MEM_DATA, &state->idle);
}

static void hf_destroy(mr_tokenizer *tokenizer)
{
    hf_state *state = tokenizer->state;
    if (!state) return;
    while (state->idle) {
        worker *w = state->idle;
        state->idle = w->next;
        worker_destroy(w);
    }
    pthread_mutex_destroy(&state->lock);
    mr_hf_post_free(&state->post);
    mr_hf_decoder_destroy(&state->decoder);
    mr_hf_added_destroy(&state->added);
    mr_hf_vocabulary_destroy(&state->vocabulary);
    mr_hf_pretokenizer_destroy(&state->pretokenizer);
    mr_hf_normalizer_destroy(&state->normalizer);
    mr_free(state);
    tokenizer->state = NULL;
}

/* Encoding. */

/* A text on its way: from the text as it is to stretches of it, those normalised, words, ids. */
typedef struct passage {
    const hf_state *state;
    worker *worker;
    mr_hf_string text, normalized;
    bool first; /* what is normalised stands at the start of the text */
    mr_hf_ids out;
} passage;

static mr_status take_word(void *context, const char *text, size_t bytes)
{
    passage *p = context;
    return mr_hf_bpe_encode(p->state->vocabulary, p->worker->bpe, text, bytes, &p->out);
}

static mr_status take_normalized(void *context, const mr_hf_added_token *token, size_t from,
                                 size_t to)
{
    passage *p = context;
    if (token) {
        mr_hf_ids_add(&p->out, token->id);
        return MR_OK;
    }
    return mr_hf_pretokenize(p->state->pretokenizer, &p->worker->pretokenizer,
                             p->normalized.text + from, to - from, p->first && from == 0, take_word,
                             p);
}

static mr_status take_stretch(void *context, const mr_hf_added_token *token, size_t from, size_t to)
{
    passage *p = context;
    const mr_hf_string stretch = {p->text.text + from, to - from};
    size_t cut;
    if (token) {
        mr_hf_ids_add(&p->out, token->id);
        return MR_OK;
    }
    MR_TRY(mr_hf_normalize(p->state->normalizer, &p->worker->normalizer, stretch, &p->normalized,
                           &cut));
    p->first = from == 0 && cut == 0;
    return mr_hf_added_split(p->state->added, true, p->normalized, take_normalized, p);
}

static mr_status hf_encode(const mr_tokenizer *tokenizer, const char *text, size_t bytes,
                           int32_t *ids, int64_t capacity, int64_t *count)
{
    hf_state *state = tokenizer->state;
    passage p = {.state = state, .text = {text, bytes}, .out = {ids, capacity, 0}};
    const size_t valid = mr_utf8_valid(text, bytes);
    MR_CHECK(valid == bytes, MR_ERR_ARG, "tokenizer '%s': expected UTF-8, found byte %zu is none",
             tokenizer->name, valid);
    MR_TRY(borrow(state, &p.worker));
    mr_status status = mr_hf_added_split(state->added, false, p.text, take_stretch, &p);
    give_back(state, p.worker);
    *count = p.out.count;
    return status == MR_OK ? MR_OK : mr_fail_in(status, "tokenizer '%s'", tokenizer->name);
}

/* Decoding. */

/* What a decoder gets for an id: an added token, else a piece. */
static mr_hf_string text_of(const hf_state *state, int32_t id, bool *skipped)
{
    const mr_hf_added_token *token = mr_hf_added_of_id(state->added, id);
    *skipped = token && token->skipped;
    if (token) return (mr_hf_string){token->shown, token->shown_bytes};
    return mr_hf_vocabulary_piece(state->vocabulary, id);
}

static mr_status decode_with(const hf_state *state, worker *w, const int32_t *ids, int64_t count,
                             bool keep_special, mr_text *out)
{
    mr_hf_string text;
    bool skipped;
    mr_hf_tokens_clear(&w->decoder.tokens);
    for (int64_t i = 0; i < count; i++) {
        text = text_of(state, ids[i], &skipped);
        if (!text.text || (skipped && !keep_special)) continue;
        MR_TRY(mr_hf_tokens_add(&w->decoder.tokens, text.text, text.bytes));
    }
    MR_TRY(mr_hf_decode(state->decoder, &w->decoder, &text));
    mr_text_add_bytes(out, text.text, text.bytes);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

static mr_status hf_decode(const mr_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                           bool keep_special, mr_text *out)
{
    hf_state *state = tokenizer->state;
    worker *w;
    MR_TRY(borrow(state, &w));
    mr_status status = decode_with(state, w, ids, count, keep_special, out);
    give_back(state, w);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "tokenizer '%s'", tokenizer->name);
}

static mr_status hf_piece(const mr_tokenizer *tokenizer, int32_t id, mr_text *out)
{
    bool skipped;
    const mr_hf_string text = text_of(tokenizer->state, id, &skipped);
    if (text.text) mr_text_add_bytes(out, text.text, text.bytes);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

static int64_t hf_longest(const mr_tokenizer *tokenizer, size_t bytes)
{
    const hf_state *state = tokenizer->state;
    return (int64_t)bytes * state->times + state->more;
}

const mr_tokenizer_ops mr_hf_tokenizer_ops = {
    .load = hf_load,
    .destroy = hf_destroy,
    .encode = hf_encode,
    .decode = hf_decode,
    .piece = hf_piece,
    .longest = hf_longest,
};
