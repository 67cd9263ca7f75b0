#include "eval/set_run.h"

#include "base/hash.h"
#include "base/signals.h"
#include "eval/evaluator.h"
#include "store/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PIECE_TOKENS = 8192, /* that options of a piece and a rank run, about */
    PIECE_TEXTS = 16,    /* generated of a piece, a slot and rank */
    HASH_DIGITS = 16,
};

/* Items of a piece, with what the model is asked. Owns all. */
typedef struct piece {
    mr_set_run *run;
    mr_model *model;
    int64_t first, count, room, end_room;
    mr_set_encoded *encoded;   /* [count] of options */
    mr_scored_option *options; /* [option_count] of all */
    int64_t option_count, option_room;
    int64_t *end;  /* [count]: options up to the end of each item */
    int64_t ended; /* texts that this rank is done with */
} piece;

/* Order. */

static mr_status put_in_order(mr_set_run *run)
{
    const mr_set *set = run->set;
    const int64_t limit = run->options->limit > 0 ? run->options->limit : set->items;
    run->order = mr_alloc_array(MR_MEM_DATA, (size_t)set->items, sizeof *run->order);
    if (!run->order) return MR_ERR_MEMORY;
    for (int32_t class = 0; class < set->class_count || class == 0; class ++) {
        int64_t taken = 0;
        for (int64_t i = 0; i < set->items && taken < limit; i++) {
            if (set->record[set->at[i]].class != class) continue;
            run->order[run->items++] = i;
            taken++;
        }
    }
    return MR_OK;
}

static mr_status encode_prompts(mr_set_run *run)
{
    const mr_set_run_options *o = run->options;
    run->prompt = mr_alloc_array(MR_MEM_DATA, (size_t)run->items, sizeof *run->prompt);
    if (!run->prompt) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < run->items; i++) {
        mr_set_encoded *prompt = &run->prompt[i];
        MR_TRY(mr_set_encode(run->set, run->order[i], o->tokenizer, o->bos, o->window, prompt));
        const int64_t length = prompt->tokens.options[0].prompt.length;
        if (length > run->longest) run->longest = length;
    }
    return MR_OK;
}

mr_status mr_set_run_begin(const mr_set *set, const mr_set_run_options *options, mr_set_run *out)
{
    *out = (mr_set_run){.set = set, .options = options};
    mr_status status = put_in_order(out);
    if (status == MR_OK && !set->metric) status = encode_prompts(out);
    if (status != MR_OK) mr_set_run_end(out);
    return status;
}

void mr_set_run_end(mr_set_run *run)
{
    mr_set_run_put_away(run);
    for (int64_t i = 0; run->prompt && i < run->items; i++)
        mr_item_tokens_free(&run->prompt[i].tokens);
    mr_free(run->prompt);
    mr_free(run->order);
    *run = (mr_set_run){.set = NULL};
}

/* Room. */

mr_status mr_set_run_lay_out(mr_set_run *run, mr_model *model)
{
    const mr_set_run_options *o = run->options;
    mr_set_run_put_away(run);
    if (run->set->metric)
        return mr_scorer_create(model, mr_session_rows(model), o->window, &run->scorer);
    const int64_t batch = o->batch < run->items ? o->batch : run->items;
    return mr_generator_create(model, batch, run->longest, run->set->new_tokens, &run->generator);
}

void mr_set_run_bytes(const mr_set_run *run, size_t bytes[MR_MEM_PURPOSES])
{
    if (run->scorer)
        mr_scorer_bytes(run->scorer, bytes);
    else
        mr_generator_bytes(run->generator, bytes);
}

mr_status mr_set_run_allocate(mr_set_run *run)
{
    return run->scorer ? mr_scorer_allocate(run->scorer) : mr_generator_allocate(run->generator);
}

bool mr_set_run_has_room(const mr_set_run *run)
{
    return run->scorer || run->generator;
}

void mr_set_run_put_away(mr_set_run *run)
{
    mr_scorer_destroy(&run->scorer);
    mr_generator_destroy(&run->generator);
}

/* Rows. */

/* The hash of what an item is asked by, as text. */
static mr_status hash_prompt(const mr_set *set, int64_t item, int64_t shots,
                             char out[HASH_DIGITS + 1])
{
    mr_text text = {0};
    char all[MR_HASH_TEXT];
    mr_status status = mr_set_prompt(set, item, shots, &text);
    if (status == MR_OK) status = mr_hash_bytes(mr_text_get(&text), text.length, all);
    if (status == MR_OK) snprintf(out, HASH_DIGITS + 1, "%.*s", HASH_DIGITS, all);
    mr_text_free(&text);
    return status;
}

/* What every row begins with. */
static mr_status begin_row(const mr_set_run *run, int64_t index, const mr_set_encoded *e,
                           int64_t cut, json_t **out)
{
    const mr_set *set = run->set;
    char hash[HASH_DIGITS + 1], room[32];
    mr_text id = {0};
    const char *class = mr_set_group(set, run->order[index], 0, room);
    mr_status status = hash_prompt(set, run->order[index], e->shots, hash);
    if (status == MR_OK) status = mr_set_id(set, run->order[index], &id);
    if (status == MR_OK) {
        *out = json_pack("{s:o, s:s*, s:s}", "item", mr_json_text(mr_text_get(&id)), "class", class,
                         "prompt", hash);
        bool good = *out != NULL;
        if (e->shots < set->shots.count)
            good = good && json_object_set_new(*out, "shots", json_integer(e->shots)) == 0;
        if (cut > 0) good = good && json_object_set_new(*out, "cut", json_integer(cut)) == 0;
        if (!good) status = MR_ERR_MEMORY;
    }
    mr_text_free(&id);
    return status;
}

static mr_status end_row(const mr_set_run *run, int64_t index, json_t *row, json_t *rest)
{
    mr_status status = row && rest && json_object_update(row, rest) == 0 ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) status = run->row(run->row_context, index, row);
    json_decref(rest);
    json_decref(row);
    return status;
}

/* Tells of an item whose options were scored. */
static mr_status tell_options(const piece *p, int64_t i, const mr_option_scores *scores)
{
    const mr_set_run *run = p->run;
    const int64_t from = i > 0 ? p->end[i - 1] : 0, count = p->end[i] - from;
    const int64_t best = mr_option_best(scores, from, count);
    const int32_t gold = run->set->record[run->set->at[run->order[p->first + i]]].gold;
    json_t *sums = json_array(), *tokens = json_array(), *row = NULL;
    int64_t cut = 0;
    for (int64_t o = from; o < from + count; o++) {
        double sum = 0;
        const int64_t scored = scores->first[o + 1] - scores->first[o];
        const int64_t length = p->options[o].prompt.length + scored - 1;
        for (int64_t k = scores->first[o]; k < scores->first[o + 1]; k++)
            sum -= scores->nll[k];
        mr_json_append(&sums, json_real(sum));
        mr_json_append(&tokens, json_integer(scored));
        if (length - run->options->window > cut) cut = length - run->options->window;
    }
    mr_status status = begin_row(run, p->first + i, &p->encoded[i], cut, &row);
    json_t *rest = json_pack("{s:o, s:o, s:i, s:I, s:i}", "loglikelihood", sums, "tokens", tokens,
                             "gold", gold, "found", (json_int_t)best, "score", best == gold);
    if (status == MR_OK) return end_row(run, p->first + i, row, rest);
    json_decref(row);
    json_decref(rest);
    return status;
}

/* Appends an answer to a list, its parts with commas between them. */
static void append_answer(const mr_answer *answer, json_t **list)
{
    mr_text text = {0};
    for (int64_t i = 0; i < answer->count; i++) {
        if (i > 0) mr_text_add(&text, ", ");
        mr_text_add_bytes(&text, answer->text.data + answer->part[i].from, answer->part[i].bytes);
    }
    if (answer->count == 0) mr_text_add(&text, "%s", mr_text_get(&answer->text));
    mr_json_append(list, text.failed ? NULL : mr_json_text(mr_text_get(&text)));
    mr_text_free(&text);
}

/* Reads the answer of a text by a rule, and appends it and its score to lists. */
static mr_status judge(const mr_answer_rule *rule, const char *gold, size_t gold_bytes,
                       const char *text, size_t bytes, json_t **found, json_t **score)
{
    mr_answer right = {.state = MR_ANSWER_NONE}, answer = {.state = MR_ANSWER_NONE};
    double value = 0;
    mr_status status = rule->gold(gold, gold_bytes, &right);
    if (status == MR_OK) status = rule->found(text, bytes, &answer);
    if (status == MR_OK) status = mr_answer_score(rule, &answer, &right, &value);
    if (status == MR_OK) append_answer(&answer, found);
    mr_json_append(score, json_real(value));
    mr_answer_free(&right);
    mr_answer_free(&answer);
    return status;
}

/* Tells of an item that a text was generated for. */
static mr_status tell_text(const mr_set_run *run, int64_t index, const char *text, size_t bytes,
                           mr_stop stop)
{
    static const char *const stops[] = {
        [MR_STOP_LENGTH] = "length", [MR_STOP_EOS] = "eos", [MR_STOP_STRING] = "stop"};
    const mr_set_encoded *e = &run->prompt[index];
    const mr_set *set = run->set;
    char room[32];
    size_t gold_bytes;
    const char *gold = mr_set_answer(set, run->order[index], room, &gold_bytes);
    json_t *found = json_array(), *score = json_array(), *row = NULL;
    mr_status status = MR_OK;
    for (int r = 0; r < set->rule_names.count && status == MR_OK; r++)
        status = judge(set->rule[r], gold, gold_bytes, text, bytes, &found, &score);
    if (status == MR_OK) status = begin_row(run, index, e, e->cut, &row);
    json_t *rest =
        json_pack("{s:o, s:o, s:o, s:o, s:s}", "gold", mr_json_text(gold), "text",
                  mr_json_text(text), "found", found, "score", score, "stop", stops[stop]);
    if (status == MR_OK) return end_row(run, index, row, rest);
    json_decref(row);
    json_decref(rest);
    return status;
}

static bool take_number(const json_t *value, double low, double high, double *out)
{
    *out = json_number_value(value);
    return json_is_number(value) && *out >= low && *out <= high;
}

/* Whether a row is of this item, asked as it would be now. */
static mr_status check_row(const mr_set_run *run, int64_t index, const json_t *row)
{
    const mr_set *set = run->set;
    char hash[HASH_DIGITS + 1];
    mr_text id = {0};
    double shots = (double)set->shots.count;
    const json_t *dropped = json_object_get(row, "shots");
    const char *item = json_string_value(json_object_get(row, "item"));
    const char *prompt = json_string_value(json_object_get(row, "prompt"));
    MR_CHECK(item && prompt, MR_ERR_FORMAT, "expected the row of an item");
    MR_CHECK(!dropped || take_number(dropped, 0, shots, &shots), MR_ERR_FORMAT,
             "expected at most %lld shots", (long long)set->shots.count);
    mr_status status = mr_set_id(set, run->order[index], &id);
    if (status == MR_OK && strcmp(item, mr_text_get(&id)) != 0)
        status = mr_fail(MR_ERR_FORMAT, "expected item %s, found %s", mr_text_get(&id), item);
    mr_text_free(&id);
    MR_TRY(status);
    MR_TRY(hash_prompt(set, run->order[index], (int64_t)shots, hash));
    MR_CHECK(strcmp(prompt, hash) == 0, MR_ERR_FORMAT,
             "item %s was asked by another text than now: its hash is %s, now %s", item, prompt,
             hash);
    return MR_OK;
}

mr_status mr_set_run_read(const mr_set_run *run, int64_t index, const json_t *row,
                          mr_set_outcome *out)
{
    const mr_set *set = run->set;
    const json_t *score = json_object_get(row, "score"), *found = json_object_get(row, "found");
    double number = 0;
    *out = (mr_set_outcome){.cut = (int64_t)json_number_value(json_object_get(row, "cut"))};
    MR_TRY(check_row(run, index, row));
    if (set->metric) {
        const double options = (double)mr_set_options(set, run->order[index]);
        MR_CHECK(take_number(found, 0, options - 1, &number) &&
                     take_number(score, 0, 1, &out->score[0]),
                 MR_ERR_FORMAT, "expected an option as \"found\" and its \"score\"");
        out->found = (int32_t)number;
        return MR_OK;
    }
    MR_CHECK(json_array_size(score) == (size_t)set->rule_names.count, MR_ERR_FORMAT,
             "expected a \"score\" for each of %d rules", set->rule_names.count);
    for (int r = 0; r < set->rule_names.count; r++)
        MR_CHECK(take_number(json_array_get(score, (size_t)r), 0, 1, &out->score[r]), MR_ERR_FORMAT,
                 "expected scores of 0 to 1");
    return MR_OK;
}

/* Pieces. */

static void tell_progress(void *context, int64_t done, int64_t all)
{
    const piece *p = context;
    const mr_set_run_options *o = p->run->options;
    const double part = all > done ? (double)done / (double)all : 1;
    if (o->progress)
        o->progress(o->context, p->first + (int64_t)(part * (double)p->count), p->run->items);
}

static void empty(piece *p)
{
    for (int64_t i = 0; i < p->count; i++)
        mr_item_tokens_free(&p->encoded[i].tokens);
    p->count = p->option_count = 0;
}

/* Tokens that an item adds to those of the item before it, about. */
static int64_t own_tokens(const piece *p, int64_t i)
{
    const mr_item_tokens *t = &p->encoded[i].tokens;
    const mr_prompt *a = &t->options[0].prompt;
    int64_t tokens = a->length, same = 0;
    if (i > 0) {
        const mr_prompt *b = &p->encoded[i - 1].tokens.options[0].prompt;
        while (same < a->length && same < b->length && a->ids[same] == b->ids[same])
            same++;
    }
    for (int64_t o = 0; o < t->count; o++)
        tokens += t->options[o].text.length;
    return tokens - same;
}

/* Encodes items from p->first on: of one class, until they are many tokens. */
static mr_status fill(piece *p)
{
    mr_set_run *run = p->run;
    const mr_set *set = run->set;
    const mr_set_run_options *o = run->options;
    const int64_t most = PIECE_TOKENS * (int64_t)mr_model_comm(p->model)->size;
    int64_t tokens = 0;
    while (p->first + p->count < run->items && tokens < most) {
        const int64_t item = run->order[p->first + p->count];
        if (p->count > 0 &&
            set->record[set->at[item]].class != set->record[set->at[run->order[p->first]]].class)
            break;
        MR_TRY(mr_grow(MR_MEM_DATA, &p->encoded, &p->room, p->count + 1, sizeof *p->encoded));
        MR_TRY(mr_grow(MR_MEM_DATA, &p->end, &p->end_room, p->count + 1, sizeof *p->end));
        mr_set_encoded *e = &p->encoded[p->count];
        MR_TRY(mr_set_encode(set, item, o->tokenizer, o->bos, o->window, e));
        const int64_t all = p->option_count + e->tokens.count;
        p->count++;
        MR_TRY(mr_grow(MR_MEM_DATA, &p->options, &p->option_room, all, sizeof *p->options));
        memcpy(p->options + p->option_count, e->tokens.options,
               (size_t)e->tokens.count * sizeof *p->options);
        p->option_count = all;
        p->end[p->count - 1] = all;
        tokens += own_tokens(p, p->count - 1);
    }
    return MR_OK;
}

static mr_status score_piece(piece *p)
{
    mr_set_run *run = p->run;
    const mr_comm *comm = mr_model_comm(p->model);
    mr_option_scores scores;
    MR_AGREE(comm, fill(p));
    const mr_scoring scoring = {.options = p->options,
                                .count = p->option_count,
                                .form = (mr_option_form)run->set->form,
                                .apart = run->options->apart,
                                .progress = tell_progress,
                                .context = p};
    mr_status status = mr_score_options(run->scorer, &scoring, &scores);
    if (status != MR_OK)
        return mr_fail_in(status, "set %s, items %lld to %lld", run->set->name, (long long)p->first,
                          (long long)(p->first + p->count - 1));
    run->ran += scores.tokens;
    run->whole += scores.whole;
    for (int64_t i = 0; comm->rank == 0 && i < p->count && status == MR_OK; i++)
        status = tell_options(p, i, &scores);
    mr_option_scores_free(&scores);
    return mr_comm_agree_root(comm, status);
}

static mr_status tell_grown(void *context, int64_t prompt, const mr_continuation *so_far,
                            bool ended)
{
    (void)so_far;
    (void)prompt;
    piece *p = context;
    const int64_t ranks = mr_model_comm(p->model)->size;
    if (ended) tell_progress(p, ++p->ended, (p->count + ranks - 1) / ranks);
    /* A piece may take far longer than there is between a request to stop and the end. */
    MR_CHECK(mr_signals_caught() == 0, MR_STOPPED, "an evaluation was broken off by a signal");
    return MR_OK;
}

static mr_status tell_texts(piece *p, const mr_continue_options *options, const mr_prompt *prompts,
                            const mr_continuation *c)
{
    mr_text text = {0};
    mr_status status = MR_OK;
    for (int64_t i = 0; i < p->count && status == MR_OK; i++) {
        size_t from = 0;
        bool stopped;
        text.length = 0;
        status = mr_continuation_text(options, &prompts[i], &c[i], &text, &from, &stopped);
        if (status == MR_OK)
            status = tell_text(p->run, p->first + i, mr_text_get(&text) + from, text.length - from,
                               stopped ? MR_STOP_STRING : c[i].stop);
    }
    mr_text_free(&text);
    return status;
}

static mr_status generate_piece(piece *p)
{
    mr_set_run *run = p->run;
    const mr_comm *comm = mr_model_comm(p->model);
    const mr_set_run_options *o = run->options;
    const int64_t most = PIECE_TEXTS * run->generator->batch * comm->size;
    p->count = run->items - p->first < most ? run->items - p->first : most;
    p->ended = 0;
    const mr_continue_options options = {.sampling = {.top_p = 1},
                                         .most = run->set->new_tokens,
                                         .eos = o->tokenizer->end,
                                         .eos_count = o->tokenizer->ends,
                                         .stops = run->set->stops.item,
                                         .stop_count = run->set->stops.count,
                                         .tokenizer = o->tokenizer,
                                         .grown = tell_grown,
                                         .context = p};
    mr_prompt *prompts = mr_alloc_array(MR_MEM_EVAL, (size_t)p->count, sizeof *prompts);
    mr_continuation *c = mr_alloc_array(MR_MEM_EVAL, (size_t)p->count, sizeof *c);
    mr_status status = mr_comm_agree(comm, prompts && c ? MR_OK : MR_ERR_MEMORY);
    for (int64_t i = 0; status == MR_OK && i < p->count; i++)
        prompts[i] = run->prompt[p->first + i].tokens.options[0].prompt;
    if (status == MR_OK) {
        status = mr_continue(run->generator, &options, prompts, p->count, c);
        for (int64_t i = 0; status == MR_OK && i < p->count; i++)
            run->generated += c[i].count;
        if (status == MR_OK) {
            status = mr_comm_agree_root(comm, comm->rank == 0 ? tell_texts(p, &options, prompts, c)
                                                              : MR_OK);
            mr_continuations_free(c, p->count);
        }
    }
    mr_free(prompts);
    mr_free(c);
    return status;
}

mr_status mr_set_run_items(mr_set_run *run, mr_model *model, int64_t first, mr_item_row *row,
                           void *context)
{
    run->row = row;
    run->row_context = context;
    piece p = {.run = run, .model = model, .first = first};
    mr_status status = MR_OK;
    while (p.first < run->items && status == MR_OK) {
        status = mr_eval_go_on(mr_model_comm(model));
        if (status == MR_OK) status = run->scorer ? score_piece(&p) : generate_piece(&p);
        p.first += p.count;
        if (run->scorer)
            empty(&p);
        else
            p.count = 0;
        if (status == MR_OK) tell_progress(&p, 1, 1);
    }
    mr_free(p.encoded);
    mr_free(p.options);
    mr_free(p.end);
    return status;
}
