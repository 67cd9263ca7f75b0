#include "eval/continuation.h"

#include "eval/answer.h"

#include <math.h>
#include <string.h>

/* What a rank works with. Borrows what is no array of its own. */
typedef struct work {
    mr_generator *generator;
    const mr_continue_options *options;
    const mr_prompt *prompts;
    int64_t count, vocab;
    mr_continuation *out;
    int32_t *padded, *lengths; /* [B, longest prompt], [B] */
    bool *ended;               /* [B] */
    float *logits;             /* [B, V] */
    mr_candidate *room;        /* [V]; NULL at temperature 0 */
    mr_status status;          /* of the first failure here: the other ranks count on this one */
} work;

static mr_status allocate(work *w)
{
    const size_t batch = (size_t)w->generator->batch, vocab = (size_t)w->vocab;
    w->padded =
        mr_alloc_array(MR_MEM_EVAL, batch * (size_t)w->generator->prompt, sizeof *w->padded);
    w->lengths = mr_alloc_array(MR_MEM_EVAL, batch, sizeof *w->lengths);
    w->ended = mr_alloc_array(MR_MEM_EVAL, batch, sizeof *w->ended);
    w->logits = mr_alloc_array(MR_MEM_EVAL, batch * vocab, sizeof *w->logits);
    if (!w->padded || !w->lengths || !w->ended || !w->logits) return MR_ERR_MEMORY;
    if (w->options->sampling.temperature > 0) {
        w->room = mr_alloc_array(MR_MEM_EVAL, vocab, sizeof *w->room);
        if (!w->room) return MR_ERR_MEMORY;
    }
    for (int64_t i = 0; i < w->count; i++) {
        const size_t most = (size_t)w->options->most;
        w->out[i].tokens = mr_alloc_array(MR_MEM_EVAL, most, sizeof(int32_t));
        if (!w->out[i].tokens) return MR_ERR_MEMORY;
        if (!w->options->logprobs) continue;
        w->out[i].logprobs = mr_alloc_array(MR_MEM_EVAL, most, sizeof(double));
        if (!w->out[i].logprobs) return MR_ERR_MEMORY;
    }
    return MR_OK;
}

static void free_work(work *w)
{
    mr_free(w->padded);
    mr_free(w->lengths);
    mr_free(w->ended);
    mr_free(w->logits);
    mr_free(w->room);
}

void mr_continuations_free(mr_continuation *continuations, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        mr_free(continuations[i].tokens);
        mr_free(continuations[i].logprobs);
        continuations[i] = (mr_continuation){0};
    }
}

/* Decodes prompt and continuation together, as the one may decide how the other is written. */
static mr_status decode_whole(const mr_tokenizer *tokenizer, const mr_prompt *prompt,
                              const mr_continuation *c, mr_text *text)
{
    const size_t length = (size_t)prompt->length, more = (size_t)c->count;
    int32_t *ids = mr_alloc_array(MR_MEM_EVAL, length + more, sizeof *ids);
    if (!ids) return MR_ERR_MEMORY;
    memcpy(ids, prompt->ids, length * sizeof *ids);
    if (more > 0) memcpy(ids + length, c->tokens, more * sizeof *ids);
    mr_status status = mr_tokenizer_decode(tokenizer, ids, prompt->length + c->count, text);
    mr_free(ids);
    return status;
}

mr_status mr_continuation_text(const mr_continue_options *options, const mr_prompt *prompt,
                               const mr_continuation *c, mr_text *text, size_t *from, bool *stopped)
{
    mr_text before = {0};
    const size_t start = text->length;
    mr_status status =
        mr_tokenizer_decode(options->tokenizer, prompt->ids, prompt->length, &before);
    if (status == MR_OK) status = decode_whole(options->tokenizer, prompt, c, text);
    *from = start + before.length;
    /* A prompt that ends amid a character reads otherwise once that is whole. */
    if (status == MR_OK &&
        (text->length < *from ||
         (before.length > 0 && memcmp(text->data + start, before.data, before.length) != 0))) {
        *from = text->length;
        status = mr_tokenizer_decode(options->tokenizer, c->tokens, c->count, text);
    }
    mr_text_free(&before);
    if (status != MR_OK) return status;
    const size_t end = *from + mr_answer_stop(mr_text_get(text) + *from, text->length - *from,
                                              options->stops, options->stop_count);
    *stopped = end < text->length;
    if (*stopped) text->data[text->length = end] = '\0';
    return MR_OK;
}

/* Pads the prompts of a group; rows past the last prompt are fillers. */
static void set_prompts(work *w, int64_t first)
{
    const int64_t width = w->generator->prompt;
    memset(w->padded, 0, (size_t)(w->generator->batch * width) * sizeof *w->padded);
    for (int64_t b = 0; b < w->generator->batch; b++) {
        w->ended[b] = first + b >= w->count;
        w->lengths[b] = 1;
        if (w->ended[b]) continue;
        const mr_prompt *prompt = &w->prompts[first + b];
        MR_INVARIANT(prompt->length >= 1 && prompt->length <= width);
        memcpy(w->padded + b * width, prompt->ids, (size_t)prompt->length * sizeof *w->padded);
        w->lengths[b] = (int32_t)prompt->length;
    }
}

static bool is_end(const mr_continue_options *o, int32_t id)
{
    for (int64_t i = 0; i < o->eos_count; i++)
        if (o->eos[i] == id) return true;
    return false;
}

/* Tells whether a continuation has come to its end. */
static mr_status judge(const work *w, int64_t index, bool *ended)
{
    const mr_continue_options *o = w->options;
    mr_continuation *c = &w->out[index];
    mr_text text = {0};
    size_t from;
    bool stopped = false;
    mr_status status = MR_OK;
    if (is_end(o, c->tokens[c->count - 1]))
        c->stop = MR_STOP_EOS;
    else if (o->stop_count > 0)
        status = mr_continuation_text(o, &w->prompts[index], c, &text, &from, &stopped);
    mr_text_free(&text);
    if (stopped) c->stop = MR_STOP_STRING;
    *ended = stopped || c->stop == MR_STOP_EOS || c->count == o->most;
    if (status == MR_OK && o->grown) status = o->grown(o->context, index, c, *ended);
    return status;
}

/* Chooses the next token of row b, of prompt `index`. */
static mr_status choose(work *w, int64_t b, int64_t index)
{
    mr_continuation *c = &w->out[index];
    int32_t *id = &w->generator->ids[b];
    const float *logits = w->logits + b * w->vocab;
    for (int64_t i = 0; i < w->vocab; i++)
        MR_CHECK(isfinite(logits[i]), MR_ERR_NUMERIC,
                 "prompt %lld, token %lld behind it: a logit is not finite", (long long)index + 1,
                 (long long)c->count + 1);
    *id = mr_sampling_choose(&w->options->sampling, logits, w->vocab, index, c->count, w->room);
    if (c->logprobs) c->logprobs[c->count] = mr_sampling_log_probability(logits, w->vocab, *id);
    c->tokens[c->count++] = *id;
    return judge(w, index, &w->ended[b]);
}

/* Continues the prompts of one group to their ends; where weights are gathered, on every rank as
 * long as on any. */
static void continue_group(work *w, int64_t first)
{
    mr_session *session = w->generator->session;
    const mr_comm *comm = mr_model_comm(w->generator->model);
    const bool together = mr_model_gathers(w->generator->model);
    if (!together && (first >= w->count || w->status != MR_OK)) return;
    set_prompts(w, first);
    mr_session_start(session, w->padded, w->lengths);
    for (;;) {
        bool going = false;
        memset(w->generator->ids, 0, (size_t)w->generator->batch * sizeof *w->generator->ids);
        mr_session_logits(session, w->logits);
        for (int64_t b = 0; b < w->generator->batch && w->status == MR_OK; b++) {
            if (!w->ended[b]) w->status = choose(w, b, first + b);
            going = going || !w->ended[b];
        }
        going = going && w->status == MR_OK;
        if (!(together ? mr_comm_any(comm, going) : going)) return;
        mr_session_append(session, w->generator->ids);
    }
}

/* Gives every rank what one of them has found for a prompt. Collective. */
static mr_status share(work *w, int64_t index, bool own)
{
    const mr_comm *comm = mr_model_comm(w->generator->model);
    mr_continuation *c = &w->out[index];
    const int64_t length = 2 + 2 * w->options->most;
    int64_t *record = mr_alloc_array(MR_MEM_EVAL, (size_t)length, sizeof *record);
    MR_AGREE(comm, record ? MR_OK : MR_ERR_MEMORY);
    int64_t *tokens = record + 2, *logprobs = tokens + w->options->most;
    if (own) {
        record[0] = c->count;
        record[1] = (int64_t)c->stop;
        for (int64_t t = 0; t < c->count; t++)
            tokens[t] = c->tokens[t];
        if (c->logprobs) memcpy(logprobs, c->logprobs, (size_t)c->count * sizeof *logprobs);
    }
    mr_comm_sum_i64(comm, record, length);
    c->count = record[0];
    c->stop = (mr_stop)record[1];
    for (int64_t t = 0; t < c->count; t++)
        c->tokens[t] = (int32_t)tokens[t];
    if (c->logprobs) memcpy(c->logprobs, logprobs, (size_t)c->count * sizeof *logprobs);
    mr_free(record);
    return MR_OK;
}

mr_status mr_continue(mr_generator *generator, const mr_continue_options *options,
                      const mr_prompt *prompts, int64_t count, mr_continuation *out)
{
    const mr_comm *comm = mr_model_comm(generator->model);
    const int64_t batch = generator->batch;
    work w = {.generator = generator,
              .options = options,
              .prompts = prompts,
              .count = count,
              .vocab = mr_model_arch(generator->model)->vocab_size,
              .out = out};
    MR_INVARIANT(options->most > 0 && generator->prompt + options->most <= generator->capacity);
    memset(out, 0, (size_t)count * sizeof *out);
    mr_status status = mr_comm_agree(comm, allocate(&w));
    for (int64_t first = 0; status == MR_OK && first < count; first += batch * comm->size) {
        continue_group(&w, first + comm->rank * batch);
        if (mr_model_gathers(generator->model)) status = mr_comm_agree(comm, w.status);
    }
    if (status == MR_OK) status = mr_comm_agree(comm, w.status);
    for (int64_t i = 0; status == MR_OK && i < count && comm->size > 1; i++)
        status = share(&w, i, i / batch % comm->size == comm->rank);
    free_work(&w);
    if (status != MR_OK) mr_continuations_free(out, count);
    return status;
}
