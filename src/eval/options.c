#include "eval/options.h"

#include "eval/evaluator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { OUTPUTS = 32 }; /* rows that are predicted behind at a time */

/* What the model is given of an option: two pieces one after another, without their first `skip`
 * tokens. The `scored` last rows have the targets. */
typedef struct sequence {
    mr_prompt piece[2];
    int64_t skip, length;
    int64_t scored;
    const int32_t *targets; /* [scored] */
    int64_t index;          /* of the option */
    int64_t shared;         /* tokens that it has in common with the one before it */
} sequence;

/* A scored row of the pass. */
typedef struct output {
    int32_t row, target;
    int64_t place; /* in nll */
} output;

struct mr_scorer {
    mr_model *model;
    mr_session *session;
    mr_session_shape shape;
    int64_t most_outputs; /* of a pass */
    int64_t used;         /* rows of the pass */
    mr_session_pass pass; /* from, to: the next */
    mr_session_run *runs; /* [sequences], owned, as all arrays are */
    int32_t *ids;         /* [rows] */
    int32_t *pages;       /* [sequences, pages of the window] */
    int32_t *from, *to;   /* [copies] */
    int32_t *spare;       /* [pages]: those that are free */
    bool *held;           /* [pages], scratch */
    int64_t spares;
    output *outputs; /* [most_outputs] */
    int64_t output_count;
    /* Of the sequence that was added last, by position: */
    int32_t *row;    /* [window] its row of the pass, from `in_pass` on */
    int32_t *origin; /* [window] where keys are that are not copies of this pass */
    int64_t in_pass;
    int64_t length;
};

static int64_t table_cols(const mr_scorer *s)
{
    return mr_session_pages(s->shape.tokens);
}

mr_status mr_scorer_create(mr_model *model, int64_t rows, int64_t window, mr_scorer **out)
{
    *out = NULL;
    MR_INVARIANT(rows >= 2 && window >= 1);
    mr_scorer *s = mr_alloc(MR_MEM_OTHER, sizeof *s);
    if (!s) return MR_ERR_MEMORY;
    *s = (mr_scorer){.model = model, .most_outputs = rows + window};
    s->shape = (mr_session_shape){
        .rows = rows,
        .sequences = rows,
        .tokens = window,
        /* Of the sequence before a pass, of a long one in it, and a few for many short ones. */
        .pages = 2 * mr_session_pages(window) + rows / 6 + 1,
        .copies = 4 * rows + MR_CACHE_PAGE,
        .outputs = mr_session_outputs(model, OUTPUTS)};
    mr_status status = mr_session_create(model, &s->shape, &s->session);
    if (status == MR_OK)
        *out = s;
    else
        mr_scorer_destroy(&s);
    return status;
}

void mr_scorer_bytes(const mr_scorer *s, size_t bytes[MR_MEM_PURPOSES])
{
    const mr_session_shape *shape = &s->shape;
    mr_session_bytes(s->session, bytes);
    size_t eval = bytes[MR_MEM_EVAL];
    eval = mr_bytes_add(eval, shape->sequences, sizeof *s->runs);
    eval = mr_bytes_add(eval, shape->sequences * table_cols(s), sizeof *s->pages);
    eval = mr_bytes_add(eval, shape->rows, sizeof *s->ids);
    eval = mr_bytes_add(eval, shape->copies, sizeof *s->from + sizeof *s->to);
    eval = mr_bytes_add(eval, shape->pages, sizeof *s->spare + sizeof *s->held);
    eval = mr_bytes_add(eval, s->most_outputs, sizeof *s->outputs);
    bytes[MR_MEM_EVAL] = mr_bytes_add(eval, shape->tokens, sizeof *s->row + sizeof *s->origin);
}

mr_status mr_scorer_allocate(mr_scorer *s)
{
    const size_t rows = (size_t)s->shape.rows, sequences = (size_t)s->shape.sequences;
    const size_t pages = (size_t)s->shape.pages, window = (size_t)s->shape.tokens;
    s->runs = mr_alloc_array(MR_MEM_EVAL, sequences, sizeof *s->runs);
    s->pages = mr_alloc_array(MR_MEM_EVAL, sequences * (size_t)table_cols(s), sizeof *s->pages);
    s->ids = mr_alloc_array(MR_MEM_EVAL, rows, sizeof *s->ids);
    s->from = mr_alloc_array(MR_MEM_EVAL, (size_t)s->shape.copies, sizeof *s->from);
    s->to = mr_alloc_array(MR_MEM_EVAL, (size_t)s->shape.copies, sizeof *s->to);
    s->spare = mr_alloc_array(MR_MEM_EVAL, pages, sizeof *s->spare);
    s->held = mr_alloc_array(MR_MEM_EVAL, pages, sizeof *s->held);
    s->outputs = mr_alloc_array(MR_MEM_EVAL, (size_t)s->most_outputs, sizeof *s->outputs);
    s->row = mr_alloc_array(MR_MEM_EVAL, window, sizeof *s->row);
    s->origin = mr_alloc_array(MR_MEM_EVAL, window, sizeof *s->origin);
    if (!s->runs || !s->pages || !s->ids || !s->from || !s->to || !s->spare || !s->held ||
        !s->outputs || !s->row || !s->origin)
        return MR_ERR_MEMORY;
    return mr_session_allocate(s->session);
}

void mr_scorer_destroy(mr_scorer **out)
{
    mr_scorer *s = *out;
    if (!s) return;
    mr_session_destroy(&s->session);
    void *const arrays[] = {s->runs,  s->pages, s->ids,     s->from, s->to,
                            s->spare, s->held,  s->outputs, s->row,  s->origin};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++)
        mr_free(arrays[i]);
    mr_free(s);
    *out = NULL;
}

static int32_t token(const sequence *q, int64_t t)
{
    const int64_t at = q->skip + t;
    return at < q->piece[0].length ? q->piece[0].ids[at] : q->piece[1].ids[at - q->piece[0].length];
}

/* How many tokens two sequences begin with in common. */
static int64_t common(const sequence *a, const sequence *b)
{
    int64_t t = 0, most = a->length < b->length ? a->length : b->length;
    if (a->piece[0].ids == b->piece[0].ids && a->skip == b->skip) { /* of one prompt */
        const int64_t less =
            a->piece[0].length < b->piece[0].length ? a->piece[0].length : b->piece[0].length;
        t = less > a->skip ? less - a->skip : 0;
        if (t > most) t = most;
    }
    while (t < most && token(a, t) == token(b, t))
        t++;
    return t;
}

/* The order of their tokens; of one that another begins with, first; then that of the options. */
static int compare(const void *x, const void *y)
{
    const sequence *a = x, *b = y;
    const int64_t t = common(a, b);
    if (t < a->length && t < b->length) return token(a, t) < token(b, t) ? -1 : 1;
    if (a->length != b->length) return a->length < b->length ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static mr_status make_sequence(const mr_scorer *s, const mr_scoring *scoring, int64_t i,
                               sequence *out, int64_t *cut)
{
    const mr_scored_option *o = &scoring->options[i];
    const bool next = scoring->form == MR_OPTION_NEXT;
    MR_CHECK(o->prompt.length >= 1 && o->text.length >= 1, MR_ERR_ARG,
             "option %lld: %s has no tokens", (long long)i + 1,
             o->text.length < 1 ? "it" : "its prompt");
    *out = (sequence){.piece = {o->prompt, o->text},
                      .scored = next ? 1 : o->text.length,
                      .targets = next ? o->text.ids + o->text.length - 1 : o->text.ids,
                      .index = i};
    MR_CHECK(out->scored <= s->shape.tokens, MR_ERR_ARG,
             "option %lld: it has %lld tokens, and the model takes %lld", (long long)i + 1,
             (long long)out->scored, (long long)s->shape.tokens);
    out->length = o->prompt.length + out->scored - 1; /* behind the last token nothing is asked */
    if (out->length > s->shape.tokens) {
        out->skip = out->length - s->shape.tokens;
        out->length = s->shape.tokens;
        ++*cut;
    }
    return MR_OK;
}

/* Puts sequences in their order and tells each what it shares with the one before it. */
static void put_in_order(sequence *sequences, int64_t count, bool apart)
{
    qsort(sequences, (size_t)count, sizeof *sequences, compare);
    for (int64_t i = 1; i < count && !apart; i++)
        sequences[i].shared = common(&sequences[i - 1], &sequences[i]);
}

static int64_t own_tokens(const sequence *sequences, int64_t count)
{
    int64_t tokens = 0;
    for (int64_t i = 0; i < count; i++)
        tokens += sequences[i].length - sequences[i].shared;
    return tokens;
}

/* Gives this rank its part of the sequences, of about as many tokens as each other's. */
static void deal(const mr_comm *comm, sequence *sequences, int64_t count, int64_t *first,
                 int64_t *end)
{
    const double share = (double)own_tokens(sequences, count) / comm->size;
    int64_t tokens = 0;
    *first = *end = 0;
    for (int64_t i = 0; i < count; i++) {
        if ((double)tokens < share * comm->rank) *first = i + 1;
        if ((double)tokens < share * (comm->rank + 1)) *end = i + 1;
        tokens += sequences[i].length - sequences[i].shared;
    }
    if (comm->rank == comm->size - 1) *end = count;
    if (*first < *end) sequences[*first].shared = 0; /* what is before it is another rank's */
}

/* Empties the pass; only the pages of its last sequence are kept. */
static void begin_pass(mr_scorer *s)
{
    const int64_t cols = table_cols(s), keep = mr_session_pages(s->length);
    if (s->pass.count > 1)
        memmove(s->pages, s->pages + (s->pass.count - 1) * cols, (size_t)cols * sizeof *s->pages);
    memset(s->held, 0, (size_t)s->shape.pages * sizeof *s->held);
    for (int64_t i = 0; i < keep; i++)
        s->held[s->pages[i]] = true;
    s->spares = 0;
    for (int64_t i = s->shape.pages; i-- > 0;)
        if (!s->held[i]) s->spare[s->spares++] = (int32_t)i;
    for (int64_t t = 0; t < s->length; t++)
        s->origin[t] = s->pages[t / MR_CACHE_PAGE] * MR_CACHE_PAGE + (int32_t)(t % MR_CACHE_PAGE);
    s->pass =
        (mr_session_pass){.runs = s->runs, .rows = s->shape.rows, .from = s->from, .to = s->to};
    s->used = s->output_count = 0;
    s->in_pass = s->length;
}

/* Where a sequence begins to run, given the one that was added last. */
static int64_t first_row(const mr_scorer *s, const sequence *q)
{
    const int64_t scored = q->length - q->scored;
    int64_t first = q->shared;
    /* Scored rows must be of this pass. */
    if (scored < first && scored < s->in_pass) first = scored;
    /* A lone row may get other bits than among several (mr_session_run_pass). */
    if (q->length - first == 1 && first > 0) first--;
    return first;
}

/* Returns how many rows of a sequence from one on the pass takes, -1 where it must be run before.
 * `begins`: they are the first of the sequence. */
static int64_t room_for(const mr_scorer *s, const sequence *q, int64_t from, bool begins)
{
    const mr_session_shape *shape = &s->shape;
    const int64_t left = q->length - from, scored = q->length - q->scored;
    const int64_t pages = begins ? from / MR_CACHE_PAGE : mr_session_pages(from);
    int64_t take = shape->rows - s->used, kept = (pages + s->spares) * MR_CACHE_PAGE - from;
    if (take > kept) take = kept;
    if (take > left) take = left;
    if (left - take == 1) take--;
    if (take < left && take < 2) return -1;
    if (take > 0 && s->pass.count == shape->sequences) return -1;
    if (begins && s->pass.copies + from % MR_CACHE_PAGE > shape->copies) return -1;
    const int64_t first = begins || scored > from ? scored : from;
    return from + take - first > s->most_outputs - s->output_count ? -1 : take;
}

/* Adds rows of a sequence to the pass. */
static void add_rows(mr_scorer *s, const sequence *q, int64_t from, int64_t take, bool begins,
                     int64_t place)
{
    const int64_t cols = table_cols(s), end = from + take, scored = q->length - q->scored;
    int32_t *pages = s->pages + s->pass.count * cols;
    if (take > 0) {
        const int64_t kept = begins ? from / MR_CACHE_PAGE : mr_session_pages(from);
        if (s->pass.count > 0) memcpy(pages, pages - cols, (size_t)kept * sizeof *pages);
        for (int64_t p = kept; p < mr_session_pages(end); p++)
            pages[p] = s->spare[--s->spares];
        for (int64_t t = kept * MR_CACHE_PAGE; t < from; t++) {
            s->from[s->pass.copies] = s->origin[t];
            s->to[s->pass.copies++] = pages[kept] * MR_CACHE_PAGE + (int32_t)(t % MR_CACHE_PAGE);
        }
        s->runs[s->pass.count++] = (mr_session_run){
            .ids = s->ids + s->used, .count = take, .before = from, .pages = pages};
    }
    for (int64_t t = from; t < end; t++) {
        s->row[t] = (int32_t)s->used;
        s->ids[s->used++] = token(q, t);
        s->origin[t] = pages[t / MR_CACHE_PAGE] * MR_CACHE_PAGE + (int32_t)(t % MR_CACHE_PAGE);
    }
    if (from < s->in_pass) s->in_pass = from;
    s->length = end;
    for (int64_t t = begins || scored > from ? scored : from; t < end; t++)
        s->outputs[s->output_count++] =
            (output){s->row[t], q->targets[t - scored], place + t - scored};
}

/* Runs the pass and reads the losses of its scored rows. */
static void run_pass(mr_scorer *s, double *nll)
{
    int32_t rows[OUTPUTS], targets[OUTPUTS];
    double losses[OUTPUTS];
    mr_session_run_pass(s->session, &s->pass);
    for (int64_t first = 0, count; first < s->output_count; first += count) {
        const int64_t left = s->output_count - first;
        count = left < s->shape.outputs ? left : s->shape.outputs;
        for (int64_t i = 0; i < count; i++) {
            rows[i] = s->outputs[first + i].row;
            targets[i] = s->outputs[first + i].target;
        }
        mr_session_predict(s->session, rows, count);
        mr_session_losses(s->session, targets, losses);
        for (int64_t i = 0; i < count; i++)
            nll[s->outputs[first + i].place] = losses[i];
    }
}

/* What a rank works with. Borrows all. */
typedef struct work {
    mr_scorer *scorer;
    const mr_scoring *scoring;
    mr_option_scores *scores;
    sequence *sequences; /* [count] of all ranks, of which `first`..`end` - 1 are this one's */
    int64_t first, end;
} work;

/* Runs what has been added, or nothing, as long as any rank goes on that counts on this one's
 * weights. @return MR_OK, MR_STOPPED */
static mr_status go_on(work *w, bool *going)
{
    mr_scorer *s = w->scorer;
    const mr_comm *comm = mr_model_comm(s->model);
    const bool together = mr_model_gathers(s->model);
    MR_TRY(mr_eval_go_on(together ? comm : mr_comm_self()));
    if (together) *going = mr_comm_any(comm, *going);
    if (!*going) return MR_OK;
    w->scores->tokens += s->used;
    run_pass(s, w->scores->nll);
    begin_pass(s);
    return MR_OK;
}

/* Adds a sequence, over as many passes as it takes. */
static mr_status add(work *w, const sequence *q)
{
    mr_scorer *s = w->scorer;
    int64_t from = first_row(s, q);
    for (bool begins = true, going = true;;) {
        const int64_t take = room_for(s, q, from, begins);
        if (take >= 0) {
            add_rows(s, q, from, take, begins, w->scores->first[q->index]);
            from += take;
            begins = false;
            if (from == q->length) return MR_OK;
        }
        MR_TRY(go_on(w, &going));
        if (begins) from = first_row(s, q);
    }
}

/* Scores this rank's sequences. */
static mr_status score_own(work *w)
{
    mr_scorer *s = w->scorer;
    const mr_scoring *scoring = w->scoring;
    const int64_t all = own_tokens(w->sequences + w->first, w->end - w->first);
    int64_t done = 0;
    s->length = 0;
    s->pass.count = 0;
    begin_pass(s);
    for (int64_t i = w->first; i < w->end; i++) {
        const int64_t tokens = w->scores->tokens;
        MR_TRY(add(w, &w->sequences[i]));
        done += w->sequences[i].length - w->sequences[i].shared;
        if (scoring->progress && w->scores->tokens > tokens)
            scoring->progress(scoring->context, done, all);
    }
    bool going = s->output_count > 0;
    while (going || mr_model_gathers(s->model)) {
        MR_TRY(go_on(w, &going));
        if (!going) break;
        going = false;
    }
    for (int64_t i = w->first; i < w->end; i++) {
        const int64_t option = w->sequences[i].index;
        for (int64_t k = w->scores->first[option]; k < w->scores->first[option + 1]; k++)
            MR_CHECK(isfinite(w->scores->nll[k]), MR_ERR_NUMERIC,
                     "option %lld: the loss of a token is not finite", (long long)option + 1);
    }
    return MR_OK;
}

/* Makes the sequences and room for what is found, and deals them. Local. */
static mr_status begin(work *w)
{
    const mr_scoring *scoring = w->scoring;
    mr_option_scores *scores = w->scores;
    const size_t count = (size_t)scoring->count;
    w->sequences = mr_alloc_array(MR_MEM_EVAL, count, sizeof *w->sequences);
    scores->first = mr_alloc_array(MR_MEM_EVAL, count + 1, sizeof *scores->first);
    scores->score = mr_alloc_array(MR_MEM_EVAL, count, sizeof *scores->score);
    if (!w->sequences || !scores->first || !scores->score) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < scoring->count; i++) {
        MR_TRY(make_sequence(w->scorer, scoring, i, &w->sequences[i], &scores->cut));
        scores->first[i + 1] = scores->first[i] + w->sequences[i].scored;
        scores->whole += w->sequences[i].length;
    }
    scores->nll =
        mr_alloc_array(MR_MEM_EVAL, (size_t)scores->first[scoring->count], sizeof *scores->nll);
    if (!scores->nll) return MR_ERR_MEMORY;
    put_in_order(w->sequences, scoring->count, scoring->apart);
    deal(mr_model_comm(w->scorer->model), w->sequences, scoring->count, &w->first, &w->end);
    return MR_OK;
}

/* Puts together what each rank has found, zeros elsewhere: bit patterns are added. Collective. */
static void share(const mr_comm *comm, mr_option_scores *scores, int64_t count)
{
    enum { PIECE = 1024 };
    int64_t bits[PIECE];
    for (int64_t first = 0; comm->size > 1 && first < count; first += PIECE) {
        const int64_t part = count - first < PIECE ? count - first : PIECE;
        memcpy(bits, scores->nll + first, (size_t)part * sizeof *bits);
        mr_comm_sum_i64(comm, bits, part);
        memcpy(scores->nll + first, bits, (size_t)part * sizeof *bits);
    }
    mr_comm_sum_i64(comm, &scores->tokens, 1);
}

mr_status mr_score_options(mr_scorer *scorer, const mr_scoring *scoring, mr_option_scores *out)
{
    const mr_comm *comm = mr_model_comm(scorer->model);
    work w = {.scorer = scorer, .scoring = scoring, .scores = out};
    *out = (mr_option_scores){0};
    mr_status status = mr_comm_agree(comm, begin(&w));
    if (status == MR_OK) {
        mr_params_read_begin(mr_model_params(scorer->model));
        status = mr_comm_agree(comm, score_own(&w));
    }
    mr_free(w.sequences);
    if (status != MR_OK) {
        mr_option_scores_free(out);
        return status;
    }
    share(comm, out, out->first[scoring->count]);
    for (int64_t i = 0; i < scoring->count; i++) {
        for (int64_t k = out->first[i]; k < out->first[i + 1]; k++)
            out->score[i] -= out->nll[k];
        if (scoring->form == MR_OPTION_MEAN)
            out->score[i] /= (double)(out->first[i + 1] - out->first[i]);
    }
    return MR_OK;
}

int64_t mr_option_best(const mr_option_scores *scores, int64_t first, int64_t count)
{
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (scores->score[first + i] > scores->score[first + best]) best = i;
    return best;
}

void mr_option_scores_free(mr_option_scores *scores)
{
    mr_free(scores->nll);
    mr_free(scores->first);
    mr_free(scores->score);
    *scores = (mr_option_scores){0};
}
