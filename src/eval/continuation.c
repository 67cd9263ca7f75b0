#include "eval/continuation.h"

#include "eval/answer.h"

#include <math.h>
#include <string.h>

/* A text on its way. */
typedef struct slot {
    int64_t prompt; /* its index; -1: the slot is free */
    int64_t fed;    /* tokens of it that have run */
} slot;

/* What a rank works with. Borrows what is no array of its own. */
typedef struct work {
    mr_generator *generator;
    const mr_continue_options *options;
    const mr_prompt *prompts;
    int64_t count, vocab;
    int64_t next;   /* prompts before it have begun, or are other ranks' */
    int64_t common; /* tokens that all prompts begin with, in whole pages */
    mr_continuation *out;
    slot *slots;          /* [B] */
    mr_session_run *runs; /* [B] of a pass, of the slots in `at` */
    int64_t *at;          /* [B] */
    int32_t *rows, *ids;  /* [B]: rows that are predicted behind, and with what */
    double *losses;       /* [B] */
    float *logits;        /* [B, V], and */
    mr_candidate *room;   /* [V], NULL at temperature 0 */
} work;

static mr_status allocate(work *w)
{
    const size_t batch = (size_t)w->generator->batch, vocab = (size_t)w->vocab;
    w->slots = mr_alloc_array(MR_MEM_EVAL, batch, sizeof *w->slots);
    w->runs = mr_alloc_array(MR_MEM_EVAL, batch, sizeof *w->runs);
    w->at = mr_alloc_array(MR_MEM_EVAL, batch, sizeof *w->at);
    w->rows = mr_alloc_array(MR_MEM_EVAL, batch, sizeof *w->rows);
    w->ids = mr_alloc_array(MR_MEM_EVAL, batch, sizeof *w->ids);
    w->losses = mr_alloc_array(MR_MEM_EVAL, batch, sizeof *w->losses);
    if (!w->slots || !w->runs || !w->at || !w->rows || !w->ids || !w->losses) return MR_ERR_MEMORY;
    for (size_t b = 0; b < batch; b++)
        w->slots[b].prompt = -1;
    if (w->options->sampling.temperature > 0) {
        w->logits = mr_alloc_array(MR_MEM_EVAL, batch * vocab, sizeof *w->logits);
        w->room = mr_alloc_array(MR_MEM_EVAL, vocab, sizeof *w->room);
        if (!w->logits || !w->room) return MR_ERR_MEMORY;
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
    mr_free(w->slots);
    mr_free(w->runs);
    mr_free(w->at);
    mr_free(w->rows);
    mr_free(w->ids);
    mr_free(w->losses);
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
    *ended = c->stop == MR_STOP_NOT_FINITE;
    if (*ended) return MR_OK;
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

static bool is_own(const work *w, int64_t prompt)
{
    const mr_comm *comm = mr_model_comm(w->generator->model);
    return prompt % comm->size == comm->rank;
}

/* Gives free slots prompts of this rank that wait, in their order. */
static void refill(work *w)
{
    for (int64_t b = 0; b < w->generator->batch; b++) {
        if (w->slots[b].prompt >= 0) continue;
        while (w->next < w->count && !is_own(w, w->next))
            w->next++;
        if (w->next >= w->count) return;
        MR_INVARIANT(w->prompts[w->next].length >= 1 &&
                     w->prompts[w->next].length <= w->generator->prompt);
        w->slots[b] = (slot){.prompt = w->next++, .fed = w->common};
    }
}

static int32_t *pages_of(const work *w, int64_t b)
{
    return w->generator->pages + b * mr_session_pages(w->generator->capacity);
}

/* Tokens that all prompts begin with, in whole pages. Two of each prompt are left, as one that runs
 * alone may get other bits. */
static int64_t common_tokens(const mr_prompt *prompts, int64_t count)
{
    int64_t common = count > 1 ? prompts[0].length - 2 : 0;
    for (int64_t i = 1; i < count; i++) {
        if (common > prompts[i].length - 2) common = prompts[i].length - 2;
        for (int64_t t = 0; t < common; t++)
            if (prompts[i].ids[t] != prompts[0].ids[t]) common = t;
    }
    return common > 0 ? common - common % MR_CACHE_PAGE : 0;
}

/* Deals the pages out to the slots, and runs what all prompts begin with in those of the first,
 * which the texts of all have in common. Collective where weights are gathered. */
static void begin(work *w)
{
    const mr_generator *g = w->generator;
    const int64_t each = mr_session_pages(g->capacity);
    w->common = common_tokens(w->prompts, w->count);
    for (int64_t b = 0; b < g->batch; b++)
        for (int64_t p = 0; p < each; p++)
            pages_of(w, b)[p] = (int32_t)(p < w->common / MR_CACHE_PAGE ? p : b * each + p);
    for (int64_t from = 0, count; from < w->common; from += count) {
        count = w->common - from < g->rows ? w->common - from : g->rows;
        if (w->common - from - count == 1) count--;
        const mr_session_run run = {.ids = w->prompts[0].ids + from,
                                    .count = count,
                                    .before = from,
                                    .pages = pages_of(w, 0)};
        mr_session_run_pass(
            g->session,
            &(mr_session_pass){.runs = &run, .count = 1, .rows = mr_session_even(count)});
    }
}

/* Adds the next `count` tokens of a slot's text to a pass; returns its rows then. */
static int64_t add_run(work *w, mr_session_pass *pass, int64_t b, const int32_t *ids, int64_t count,
                       int64_t rows)
{
    slot *s = &w->slots[b];
    w->runs[pass->count] = (mr_session_run){
        .ids = ids,
        .count = count,
        .before = s->fed,
        .pages = pages_of(w, b),
    };
    w->at[pass->count] = b;
    w->rows[pass->count++] = (int32_t)(rows + count - 1);
    s->fed += count;
    return rows + count;
}

/* Puts what prompts have left of themselves into a pass, as much as its rows take. A prompt's part
 * is one token only where all of it is: such a token may get other bits than in a longer part. */
static int64_t add_prompts(work *w, mr_session_pass *pass)
{
    int64_t rows = 0;
    for (int64_t b = 0; b < w->generator->batch; b++) {
        const slot *s = &w->slots[b];
        if (s->prompt < 0 || s->fed >= w->prompts[s->prompt].length) continue;
        const mr_prompt *prompt = &w->prompts[s->prompt];
        const int64_t left = prompt->length - s->fed, room = w->generator->rows - rows;
        int64_t count = left < room ? left : room;
        if (left - count == 1) count--;
        if (count < 1 || (count == 1 && prompt->length > 1)) break;
        rows = add_run(w, pass, b, prompt->ids + s->fed, count, rows);
    }
    return rows;
}

/* Puts the last token of every text that goes on into a pass. */
static int64_t add_tokens(work *w, mr_session_pass *pass)
{
    int64_t rows = 0;
    for (int64_t b = 0; b < w->generator->batch; b++) {
        if (w->slots[b].prompt < 0) continue;
        const mr_continuation *c = &w->out[w->slots[b].prompt];
        rows = add_run(w, pass, b, &c->tokens[c->count - 1], 1, rows);
    }
    return rows;
}

/* Chooses a token behind each of the rows that were predicted behind, of the slots in `at`. */
static mr_status choose(work *w, int64_t count)
{
    mr_session *session = w->generator->session;
    if (w->logits)
        mr_session_logits(session, w->logits);
    else
        mr_session_best(session, w->ids);
    for (int64_t i = 0; w->logits && i < count; i++) {
        const int64_t prompt = w->slots[w->at[i]].prompt;
        w->ids[i] = mr_sampling_choose(&w->options->sampling, w->logits + i * w->vocab, w->vocab,
                                       prompt, w->out[prompt].count, w->room);
    }
    mr_session_losses(session, w->ids, w->losses);
    for (int64_t i = 0; i < count; i++) {
        const int64_t prompt = w->slots[w->at[i]].prompt;
        mr_continuation *c = &w->out[prompt];
        if (!isfinite(w->losses[i])) {
            MR_CHECK(w->options->not_finite_ends, MR_ERR_NUMERIC,
                     "prompt %lld, token %lld behind it: a logit is not finite",
                     (long long)prompt + 1, (long long)c->count + 1);
            c->stop = MR_STOP_NOT_FINITE;
            continue;
        }
        if (c->logprobs) c->logprobs[c->count] = -w->losses[i];
        c->tokens[c->count++] = w->ids[i];
    }
    return MR_OK;
}

/* Goes on with the texts of a pass whose prompts are through; those at their end leave their slots.
 */
static mr_status go_on(work *w, const mr_session_pass *pass)
{
    int64_t through = 0;
    for (int64_t i = 0; i < pass->count; i++) {
        const slot *s = &w->slots[w->at[i]];
        if (s->fed < w->prompts[s->prompt].length) continue;
        w->rows[through] = w->rows[i];
        w->at[through++] = w->at[i];
    }
    mr_session_predict(w->generator->session, w->rows, through);
    MR_TRY(choose(w, through));
    for (int64_t i = 0; i < through; i++) {
        slot *s = &w->slots[w->at[i]];
        bool ended;
        MR_TRY(judge(w, s->prompt, &ended));
        if (ended) s->prompt = -1;
    }
    return MR_OK;
}

/* Continues the prompts of this rank to their ends, a pass after another: prompts first, as long as
 * there are slots for them. Where weights are gathered, on every rank as long as on any, also after
 * a failure: the other ranks count on this one. */
static mr_status continue_own(work *w)
{
    const mr_comm *comm = mr_model_comm(w->generator->model);
    const bool together = mr_model_gathers(w->generator->model);
    mr_status status = MR_OK;
    begin(w);
    for (;;) {
        mr_session_pass pass = {.runs = w->runs, .rows = w->generator->batch};
        if (status == MR_OK) {
            refill(w);
            const int64_t rows = add_prompts(w, &pass);
            if (rows > 0)
                pass.rows = mr_session_even(rows);
            else
                add_tokens(w, &pass);
        }
        const bool going = pass.count > 0;
        if (!(together ? mr_comm_any(comm, going) : going)) return status;
        mr_session_run_pass(w->generator->session, &pass);
        if (going) status = go_on(w, &pass);
    }
}

/* Writes what was found for a prompt as numbers, or reads it from there: count, stop, tokens, bits
 * of logprobs. */
static void write_record(const mr_continuation *c, int64_t most, int64_t *record)
{
    record[0] = c->count;
    record[1] = (int64_t)c->stop;
    for (int64_t t = 0; t < c->count; t++)
        record[2 + t] = c->tokens[t];
    if (c->logprobs) memcpy(record + 2 + most, c->logprobs, (size_t)c->count * sizeof *record);
}

static void read_record(mr_continuation *c, int64_t most, const int64_t *record)
{
    c->count = record[0];
    c->stop = (mr_stop)record[1];
    for (int64_t t = 0; t < c->count; t++)
        c->tokens[t] = (int32_t)record[2 + t];
    if (c->logprobs) memcpy(c->logprobs, record + 2 + most, (size_t)c->count * sizeof *record);
}

/* Gives every rank what each has found for its prompts. Collective. */
static mr_status share(work *w)
{
    enum { PIECE = 1 << 16 }; /* numbers at a time, and those of one prompt at least */
    const mr_comm *comm = mr_model_comm(w->generator->model);
    const int64_t most = w->options->most, length = 2 + (w->options->logprobs ? 2 : 1) * most;
    const int64_t at_once = length < PIECE ? PIECE / length : 1;
    int64_t *records = mr_alloc_array(MR_MEM_EVAL, (size_t)(at_once * length), sizeof *records);
    MR_AGREE(comm, records ? MR_OK : MR_ERR_MEMORY);
    for (int64_t first = 0; first < w->count; first += at_once) {
        const int64_t count = w->count - first < at_once ? w->count - first : at_once;
        memset(records, 0, (size_t)(count * length) * sizeof *records);
        for (int64_t i = 0; i < count; i++)
            if (is_own(w, first + i)) write_record(&w->out[first + i], most, records + i * length);
        mr_comm_sum_i64(comm, records, count * length);
        for (int64_t i = 0; i < count; i++)
            read_record(&w->out[first + i], most, records + i * length);
    }
    mr_free(records);
    return MR_OK;
}

mr_status mr_continue(mr_generator *generator, const mr_continue_options *options,
                      const mr_prompt *prompts, int64_t count, mr_continuation *out)
{
    const mr_comm *comm = mr_model_comm(generator->model);
    work w = {.generator = generator,
              .options = options,
              .prompts = prompts,
              .count = count,
              .vocab = mr_model_arch(generator->model)->vocab_size,
              .out = out};
    MR_INVARIANT(options->most > 0 && generator->prompt + options->most <= generator->capacity);
    memset(out, 0, (size_t)count * sizeof *out);
    mr_status status = mr_comm_agree(comm, allocate(&w));
    if (status == MR_OK) {
        mr_params_read_begin(mr_model_params(generator->model));
        status = mr_comm_agree(comm, continue_own(&w));
    }
    if (status == MR_OK && comm->size > 1) status = share(&w);
    free_work(&w);
    if (status != MR_OK) mr_continuations_free(out, count);
    return status;
}
