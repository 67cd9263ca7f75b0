/* mora generate: continues texts by a model, to look at it. */

#include "app/command.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "comm/node.h"
#include "corpus/compressed.h"
#include "corpus/documents.h"
#include "eval/continuation.h"
#include "store/json.h"
#include "train/loaded.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NEW = 256, MOST_BATCH = 8 }; /* defaults */
enum { NOT_GIVEN = -1 };

/* What the command line says. */
typedef struct request {
    const char *model, *prompts, *field;
    const char *temperature, *top_p; /* numbers as they stand; NULL: the default */
    mr_option_list prompt, stop, sets;
    int64_t most, batch, seed; /* or NOT_GIVEN */
    int64_t threads;
    bool no_bos, json;
    mr_sampling sampling;
} request;

/* Prompts as text and as ids. Owns all. */
typedef struct prompts {
    int64_t count, room, longest; /* longest in tokens */
    mr_text *text;                /* [count] */
    mr_prompt *prompt;            /* [count]; ids owned */
} prompts;

static void free_prompts(prompts *p)
{
    for (int64_t i = 0; i < p->count; i++) {
        mr_text_free(&p->text[i]);
        mr_free((void *)(uintptr_t)p->prompt[i].ids);
    }
    mr_free(p->text);
    mr_free(p->prompt);
}

static mr_status add_text(prompts *p, const char *text, size_t bytes)
{
    int64_t room = p->room;
    MR_TRY(mr_grow(MR_MEM_DATA, &p->text, &p->room, p->count + 1, sizeof *p->text));
    MR_TRY(mr_grow(MR_MEM_DATA, &p->prompt, &room, p->count + 1, sizeof *p->prompt));
    p->text[p->count] = (mr_text){0};
    p->prompt[p->count] = (mr_prompt){0};
    mr_text *to = &p->text[p->count++];
    for (size_t i = 0; i < bytes; i++)
        mr_text_add(to, "%c", text[i]);
    return to->failed ? MR_ERR_MEMORY : MR_OK;
}

/* Takes every line, or the field of every JSON object, as a prompt. */
static mr_status read_documents(const request *r, mr_documents *documents, prompts *p)
{
    for (;;) {
        mr_document document;
        MR_TRY(mr_documents_next(documents, &document));
        if (document.record) mr_document_take_field(&document, r->field);
        if (!document.text && !document.faulty) return MR_OK;
        MR_CHECK(!document.faulty, MR_ERR_FORMAT, "%s:%lld: %s", r->prompts,
                 (long long)document.line, document.what);
        if (!document.blank) MR_TRY(add_text(p, document.text, document.bytes));
    }
}

static mr_status read_file(const request *r, prompts *p)
{
    enum { LONGEST = 1 << 24 };
    mr_lines_place place = {.path = r->prompts, .longest = LONGEST};
    mr_documents *documents;
    mr_input_format format;
    MR_TRY(mr_compressed_probe(r->prompts, &place.compressed));
    MR_TRY(mr_documents_probe(r->prompts, place.compressed, false, &format));
    MR_TRY(mr_documents_open(&place, format, &documents));
    mr_status status = read_documents(r, documents, p);
    mr_documents_close(&documents);
    return status;
}

static mr_status read_texts(const request *r, prompts *p)
{
    for (int i = 0; i < r->prompt.count; i++)
        MR_TRY(add_text(p, r->prompt.item[i], strlen(r->prompt.item[i])));
    if (r->prompts) MR_TRY(read_file(r, p));
    MR_CHECK(p->count > 0, MR_ERR_FORMAT, "%s: there is no prompt in it", r->prompts);
    return MR_OK;
}

/* Turns prompts into ids, with what the tokenizer puts before a text unless that is not wanted. */
static mr_status encode(const request *r, const mr_tokenizer *tokenizer, prompts *p)
{
    for (int64_t i = 0; i < p->count; i++) {
        const mr_text *text = &p->text[i];
        const int64_t before = r->no_bos ? 0 : tokenizer->before_count;
        int64_t room = mr_tokenizer_longest(tokenizer, text->length), count = 0;
        int32_t *ids = mr_alloc_array(MR_MEM_DATA, (size_t)(room + before) + 1, sizeof *ids);
        if (!ids) return MR_ERR_MEMORY;
        p->prompt[i].ids = ids;
        for (int64_t b = 0; b < before; b++)
            ids[b] = tokenizer->before[b];
        mr_status status = mr_tokenizer_encode(tokenizer, mr_text_get(text), text->length,
                                               ids + before, room, &count);
        if (status != MR_OK) return mr_fail_in(status, "prompt %lld", (long long)i + 1);
        MR_INVARIANT(count <= room);
        p->prompt[i].length = count + before;
        MR_CHECK(p->prompt[i].length > 0, MR_ERR_ARG,
                 "prompt %lld: it is empty, and %s begins no text; expected at least one token",
                 (long long)i + 1, r->no_bos ? "--no-bos" : "a tokenizer without such an id");
        if (p->prompt[i].length > p->longest) p->longest = p->prompt[i].length;
    }
    return MR_OK;
}

/* How many tokens may follow: what is asked for, or what fits. */
static mr_status choose_length(const request *r, const mr_loaded *l, const prompts *p,
                               int64_t *most)
{
    const int64_t fits = l->arch.max_position_embeddings - p->longest;
    MR_CHECK(fits >= 1 && r->most <= fits, MR_ERR_ARG,
             "a prompt of %lld tokens and %lld behind it are more than the model's "
             "max_position_embeddings, %lld",
             (long long)p->longest, (long long)(r->most > 0 ? r->most : 1),
             (long long)l->arch.max_position_embeddings);
    *most = r->most > 0 ? r->most : (fits < MOST_NEW ? fits : MOST_NEW);
    return MR_OK;
}

/* The generator that is laid out with the model. */
typedef struct room {
    int64_t batch, longest, most;
    mr_generator *generator;
} room;

static mr_status lay_out(void *context, mr_model *model)
{
    room *r = context;
    mr_generator_destroy(&r->generator);
    return mr_generator_create(model, r->batch, r->longest, r->most, &r->generator);
}

static void add_bytes(const void *context, size_t bytes[MR_MEM_PURPOSES])
{
    mr_generator_bytes(((const room *)context)->generator, bytes);
}

/* Prints a text as it grows. */
typedef struct stream {
    const prompts *prompts;
    const mr_continue_options *options;
    size_t printed, longest_stop;
} stream;

/* How many of the bytes of a text do not end amid a character. */
static size_t whole_characters(const char *text, size_t bytes)
{
    enum { LONGEST = 4 };
    size_t last = bytes;
    uint32_t point;
    while (last > 0 && bytes - last < LONGEST && ((unsigned char)text[last - 1] & 0xc0) == 0x80)
        last--;
    if (last == 0 || (unsigned char)text[last - 1] < 0xc0) return bytes;
    return mr_utf8_decode(text + last - 1, bytes - last + 1, &point) > 0 ? bytes : last - 1;
}

/* Prints what cannot change any more: not what may become a stop, nor half a character. */
static mr_status print_growth(void *context, int64_t prompt, const mr_continuation *c, bool ended)
{
    static const char replacement[] = "\xef\xbf\xbd"; /* which decoders write for half of one */
    stream *s = context;
    mr_text text = {0}, clean = {0};
    size_t from;
    bool stopped;
    mr_status status =
        mr_continuation_text(s->options, &s->prompts->prompt[prompt], c, &text, &from, &stopped);
    size_t end = text.length;
    if (status == MR_OK && !ended) {
        const size_t held = s->longest_stop > 0 ? s->longest_stop - 1 : 0;
        end = end - from > held ? end - held : from;
        end = from + whole_characters(mr_text_get(&text) + from, end - from);
        while (end - from >= 3 && memcmp(mr_text_get(&text) + end - 3, replacement, 3) == 0)
            end -= 3;
    }
    if (status == MR_OK && end - from > s->printed) {
        mr_text_add_clean(&clean, mr_text_get(&text) + from + s->printed, end - from - s->printed);
        s->printed = end - from;
        if (clean.failed) status = MR_ERR_MEMORY;
        fputs(mr_text_get(&clean), stdout);
        fflush(stdout);
    }
    mr_text_free(&clean);
    mr_text_free(&text);
    return status;
}

static const char *const stop_names[] = {
    [MR_STOP_LENGTH] = "length", [MR_STOP_EOS] = "eos", [MR_STOP_STRING] = "stop"};

/* Prints a prompt with what follows it, under a line that counts. */
static mr_status print_one(const prompts *p, int64_t i, const mr_continue_options *o,
                           const mr_continuation *c)
{
    mr_text text = {0};
    size_t from;
    bool stopped;
    mr_status status = mr_continuation_text(o, &p->prompt[i], c, &text, &from, &stopped);
    if (status == MR_OK) {
        printf("== prompt %lld of %lld: %lld tokens, %lld behind them (%s)\n", (long long)i + 1,
               (long long)p->count, (long long)p->prompt[i].length, (long long)c->count,
               stop_names[c->stop]);
        status = mr_print_text(&p->text[i]);
    }
    mr_text clean = {0};
    if (status == MR_OK) {
        mr_text_add_clean(&clean, mr_text_get(&text) + from, text.length - from);
        printf("%s\n", mr_text_get(&clean));
    }
    mr_text_free(&clean);
    mr_text_free(&text);
    return status;
}

static mr_status result_json(const prompts *p, int64_t i, const mr_continue_options *o,
                             const mr_continuation *c, json_t **out)
{
    mr_text text = {0};
    size_t from;
    bool stopped;
    json_t *ids = json_array(), *tokens = json_array(), *logprobs = json_array();
    for (int64_t t = 0; t < p->prompt[i].length; t++)
        mr_json_append(&ids, json_integer(p->prompt[i].ids[t]));
    for (int64_t t = 0; t < c->count; t++) {
        mr_json_append(&tokens, json_integer(c->tokens[t]));
        mr_json_append(&logprobs, json_real(c->logprobs[t]));
    }
    mr_status status = mr_continuation_text(o, &p->prompt[i], c, &text, &from, &stopped);
    *out = json_pack("{s:o, s:o, s:o, s:o, s:o, s:s}", "prompt",
                     mr_json_text(mr_text_get(&p->text[i])), "ids", ids, "tokens", tokens,
                     "logprobs", logprobs, "continuation",
                     mr_json_text(mr_text_get(&text) + (status == MR_OK ? from : 0)), "stop",
                     stop_names[c->stop]);
    mr_text_free(&text);
    if (status == MR_OK && !*out) status = MR_ERR_MEMORY;
    return status;
}

static mr_status print_json(const request *r, const prompts *p, const mr_continue_options *o,
                            const mr_continuation *c, int64_t tokens, double seconds)
{
    json_t *list = json_array(), *one = NULL;
    mr_status status = MR_OK;
    for (int64_t i = 0; i < p->count && status == MR_OK; i++) {
        status = result_json(p, i, o, &c[i], &one);
        if (status == MR_OK) mr_json_append(&list, one);
    }
    json_t *root = json_pack("{s:o, s:o, s:I, s:f, s:f}", "model", mr_json_text(r->model),
                             "results", list, "tokens", (json_int_t)tokens, "seconds", seconds,
                             "tokens_per_second", (double)tokens / seconds);
    if (status == MR_OK) status = root ? mr_print_json(root) : MR_ERR_MEMORY;
    json_decref(root);
    return status;
}

/* Prints what is not printed yet. On rank 0. */
static mr_status print(const request *r, const prompts *p, const mr_continue_options *o,
                       const mr_continuation *c, double seconds)
{
    int64_t tokens = 0;
    for (int64_t i = 0; i < p->count; i++)
        tokens += c[i].count;
    if (r->json) return print_json(r, p, o, c, tokens, seconds);
    if (o->grown) printf("\n");
    for (int64_t i = 0; i < p->count && !o->grown; i++)
        MR_TRY(print_one(p, i, o, &c[i]));
    fflush(stdout);
    mr_log("%lld tokens in %.2f s, %.4g tok/s", (long long)tokens, seconds,
           (double)tokens / seconds);
    return MR_OK;
}

/* Continues all prompts and prints them; one alone as it grows. Collective. */
static mr_status continue_all(const request *r, const mr_loaded *l, const prompts *p, int64_t most,
                              mr_generator *generator)
{
    stream growth = {.prompts = p};
    mr_continue_options options = {.sampling = r->sampling,
                                   .most = most,
                                   .logprobs = r->json,
                                   .eos = l->tokenizer->end,
                                   .eos_count = l->tokenizer->ends,
                                   .stops = r->stop.item,
                                   .stop_count = r->stop.count,
                                   .tokenizer = l->tokenizer,
                                   .context = &growth};
    growth.options = &options;
    for (int i = 0; i < r->stop.count; i++)
        if (strlen(r->stop.item[i]) > growth.longest_stop)
            growth.longest_stop = strlen(r->stop.item[i]);
    const bool first = l->comm->rank == 0;
    mr_continuation *c = mr_alloc_array(MR_MEM_OTHER, (size_t)p->count, sizeof *c);
    MR_AGREE(l->comm, c ? MR_OK : MR_ERR_MEMORY);
    mr_status status = MR_OK;
    if (p->count == 1 && !r->json) {
        options.grown = print_growth;
        if (first) status = mr_print_text(&p->text[0]);
    }
    const double start = mr_clock();
    status = mr_comm_agree_root(l->comm, status);
    if (status == MR_OK) {
        status = mr_continue(generator, &options, p->prompt, p->count, c);
        const double seconds = fmax(mr_clock() - start, 1e-9);
        if (status == MR_OK)
            status = mr_comm_agree_root(l->comm, first ? print(r, p, &options, c, seconds) : MR_OK);
        mr_continuations_free(c, p->count);
    }
    mr_free(c);
    return status;
}

static mr_status run_prompts(const request *r, mr_loaded *l, mr_backend *be, const prompts *p)
{
    room own = {.longest = p->longest};
    MR_AGREE(l->comm, choose_length(r, l, p, &own.most));
    own.batch = r->batch > 0 ? r->batch : p->count < MOST_BATCH ? p->count : MOST_BATCH;
    mr_status status = mr_loaded_fit(l, be, &(mr_loaded_room){lay_out, add_bytes, &own});
    if (status == MR_OK) status = mr_loaded_read(l);
    if (status == MR_OK) status = mr_comm_agree(l->comm, mr_generator_allocate(own.generator));
    if (status == MR_OK) status = continue_all(r, l, p, own.most, own.generator);
    mr_generator_destroy(&own.generator);
    return status;
}

static mr_status run_request(const mr_comm *comm, const request *r)
{
    mr_loaded *l = NULL;
    mr_backend *be = NULL;
    prompts p = {0};
    MR_TRY(mr_loaded_open(comm, r->model, r->sets.item, r->sets.count, &l));
    mr_status status = mr_loaded_tokenizer(l);
    if (status == MR_OK) status = read_texts(r, &p);
    if (status == MR_OK) status = encode(r, l->tokenizer, &p);
    status = mr_comm_agree_first(comm, status, 0);
    const int threads =
        mr_node_threads(comm, r->threads > 0 ? r->threads : l->config.parallel.threads);
    if (status == MR_OK)
        status = mr_comm_agree(
            comm, mr_backend_create(l->config.parallel.backend, mr_node_rank(comm), threads, &be));
    if (status == MR_OK) status = run_prompts(r, l, be, &p);
    free_prompts(&p);
    mr_loaded_destroy(&l);
    mr_backend_destroy(&be);
    return status;
}

static mr_status read_number(const char *text, const char *option, double low, double high,
                             double *out)
{
    if (!text) return MR_OK;
    const double number = mr_text_is_number(text) ? strtod(text, NULL) : NAN;
    MR_CHECK(number >= low && number <= high, MR_ERR_USAGE,
             "mora generate: --%s: expected a number in %g..%g, found \"%s\"", option, low, high,
             text);
    *out = number;
    return MR_OK;
}

static mr_status check(request *r, int operands)
{
    enum { LONGEST = 1 << 24, WIDEST = 1 << 16 };
    MR_CHECK(operands == 1, MR_ERR_USAGE,
             "mora generate: expected a model folder or a run; usage: mora generate %s",
             mr_command_generate.usage);
    MR_CHECK((r->prompt.count > 0) != (r->prompts != NULL), MR_ERR_USAGE,
             "mora generate: expected --prompt or --prompts, %s",
             r->prompts ? "found both" : "found neither");
    r->sampling = (mr_sampling){.top_p = 1, .seed = r->seed < 0 ? 0 : (uint64_t)r->seed};
    MR_TRY(read_number(r->temperature, "temperature", 0, 1e6, &r->sampling.temperature));
    MR_TRY(read_number(r->top_p, "top-p", 1e-9, 1, &r->sampling.top_p));
    MR_CHECK(r->sampling.temperature > 0 || (!r->top_p && r->seed < 0), MR_ERR_USAGE,
             "mora generate: --%s: at --temperature 0 nothing is drawn",
             r->top_p ? "top-p" : "seed");
    MR_CHECK(!r->field || r->prompts, MR_ERR_USAGE, "mora generate: --field is of --prompts");
    if (!r->field) r->field = "prompt";
    MR_CHECK(r->most != 0 && r->most <= LONGEST, MR_ERR_USAGE,
             "mora generate: --max-new-tokens: expected 1..%d", LONGEST);
    MR_CHECK(r->batch != 0 && r->batch <= WIDEST, MR_ERR_USAGE,
             "mora generate: --batch: expected 1..%d", WIDEST);
    for (int i = 0; i < r->stop.count; i++)
        MR_CHECK(r->stop.item[i][0] != '\0', MR_ERR_USAGE,
                 "mora generate: --stop: expected a text, found an empty one");
    return MR_OK;
}

static const char more[] =
    "RUN is what a run left: its log, the tensors it keeps, or its checkpoints.\n";

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    request r = {.seed = NOT_GIVEN, .most = NOT_GIVEN, .batch = NOT_GIVEN};
    bool help;
    int operands;
    const mr_option options[] = {
        {"prompt", MR_OPTION_LIST, &r.prompt, "TEXT", "a text to continue; may be repeated"},
        {"prompts", MR_OPTION_PATH, &r.prompts, "FILE",
         "texts to continue: lines, JSON lines or an array, compressed or not"},
        {"field", MR_OPTION_TEXT, &r.field, "NAME", "of JSON that holds the text (prompt)"},
        {"max-new-tokens", MR_OPTION_INT, &r.most, "N",
         "tokens behind a prompt at most (256, or what the model's positions allow)"},
        {"temperature", MR_OPTION_TEXT, &r.temperature, "T",
         "logits are divided by it; 0: the most probable token each time (0)"},
        {"top-p", MR_OPTION_TEXT, &r.top_p, "P",
         "draw from the fewest most probable tokens that together reach it (1)"},
        {"seed", MR_OPTION_INT, &r.seed, "N",
         "of what is drawn, with the prompt's number and the position (0)"},
        {"stop", MR_OPTION_LIST, &r.stop, "TEXT", "end a text before this; may be repeated"},
        {"no-bos", MR_OPTION_FLAG, &r.no_bos, NULL, "put no id that begins a text before a prompt"},
        {"batch", MR_OPTION_INT, &r.batch, "N", "prompts at a time and a rank (at most 8)"},
        {"threads", MR_OPTION_INT, &r.threads, "N", "threads a rank; 0: all processors"},
        {"set", MR_OPTION_LIST, &r.sets, "KEY=VALUE",
         "override a configuration key (model.tokenizer, parallel.backend, ...)"},
        {"json", MR_OPTION_FLAG, &r.json, NULL,
         "print ids, tokens, log-probabilities and texts as JSON"},
    };
    MR_TRY(mr_options_parse(comm, &mr_command_generate, options, sizeof options / sizeof options[0],
                            argc, argv, &r.model, 1, &operands, more, &help));
    if (help) return MR_OK;
    MR_TRY(check(&r, operands));
    return run_request(comm, &r);
}

const mr_command mr_command_generate = {
    .name = "generate",
    .usage =
        "MODEL_DIR|RUN --prompt TEXT... | --prompts FILE [--max-new-tokens N] [--temperature T] "
        "[--top-p P] [--seed N] [--stop TEXT]... [--json] ...",
    .summary = "continue texts by a model, to look at it",
    .run = run,
};
