/* mora eval: scores a model by published evaluations. */

#include "app/command.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "comm/node.h"
#include "eval/set_ask.h"
#include "store/json.h"
#include "train/adapter_start.h"
#include "train/loaded.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 8, WIDEST = 1 << 16, NOT_GIVEN = -1 };

/* What the command line says. */
typedef struct request {
    const char *model, *adapter, *data, *out;
    mr_option_list set, override;
    int64_t limit, batch, window, threads;
    bool no_bos, no_sharing, show, json;
} request;

/* All that an evaluation works with. */
typedef struct work {
    const request *request;
    const mr_comm *comm;
    mr_sets sets;
    mr_loaded *loaded;
    mr_set_run_options options;
    mr_set_run *run;   /* [sets.count], owned */
    mr_row_file *file; /* rank 0's; NULL without --out */
    char weights[MR_HF_HASH], adapter[MR_HASH_TEXT], trained[MR_WEIGHTS_DIGEST];
    json_t *results; /* a list; rank 0's */
    int now;         /* the set being run */
} work;

static mr_status load_sets(work *w)
{
    mr_text names = {0};
    for (int i = 0; i < w->request->set.count; i++)
        mr_text_add(&names, "%s%s", i > 0 ? "," : "", w->request->set.item[i]);
    mr_status status = names.failed ? MR_ERR_MEMORY : mr_sets_load(mr_text_get(&names), &w->sets);
    mr_text_free(&names);
    for (int i = 0; i < w->sets.count && status == MR_OK; i++)
        status = mr_set_read(&w->sets.set[i], w->request->data);
    return status;
}

static void show_progress(void *context, int64_t done, int64_t items)
{
    const work *w = context;
    mr_log_progress(w->sets.set[w->now].name, done, items, "");
}

/* Orders the items of all sets and encodes what is generated behind. Local. */
static mr_status begin_runs(work *w)
{
    const request *r = w->request;
    const mr_hf_config *arch = &w->loaded->arch;
    MR_CHECK(r->window <= arch->max_position_embeddings, MR_ERR_USAGE,
             "mora eval: --window: expected at most the model's max_position_embeddings, %lld",
             (long long)arch->max_position_embeddings);
    w->options =
        (mr_set_run_options){.tokenizer = w->loaded->tokenizer,
                             .bos = !r->no_bos,
                             .apart = r->no_sharing,
                             .window = r->window > 0 ? r->window : arch->max_position_embeddings,
                             .batch = r->batch,
                             .limit = r->limit > 0 ? r->limit : 0,
                             .progress = show_progress,
                             .context = w};
    w->run = mr_alloc_array(MR_MEM_OTHER, (size_t)w->sets.count, sizeof *w->run);
    if (!w->run) return MR_ERR_MEMORY;
    for (int i = 0; i < w->sets.count; i++) {
        mr_status status = mr_set_run_begin(&w->sets.set[i], &w->options, &w->run[i]);
        if (status != MR_OK) return mr_fail_in(status, "set %s", w->sets.set[i].name);
    }
    return MR_OK;
}

/* --show */

/* Prints the first item of a set as the model is given it. */
static mr_status print_first(const work *w, const mr_set_run *run)
{
    mr_set_encoded e;
    mr_text text = {0}, id = {0};
    const int64_t item = run->order[0];
    const mr_tokenizer *tokenizer = w->options.tokenizer;
    MR_TRY(mr_set_encode(run->set, item, tokenizer, w->options.bos, w->options.window, &e));
    const mr_prompt *prompt = &e.tokens.options[0].prompt;
    mr_status status = mr_set_id(run->set, item, &id);
    const bool before = w->options.bos && tokenizer->before_count > 0 && e.cut == 0;
    mr_text_add(&text, "== %s, item %s: %lld tokens%s\n", run->set->name, mr_text_get(&id),
                (long long)prompt->length, before ? ", the first of them begins a text" : "");
    if (status == MR_OK)
        status = mr_tokenizer_decode_special(tokenizer, prompt->ids, prompt->length, &text);
    mr_text_add(&text, "\n");
    const int64_t options = run->set->metric ? mr_set_options(run->set, item) : 0;
    for (int64_t o = 0; o < options && status == MR_OK; o++) {
        mr_text_add(&text, "-- option %lld, %lld tokens:", (long long)o,
                    (long long)e.tokens.options[o].text.length);
        status = mr_set_option(run->set, item, o, &text);
        mr_text_add(&text, "%s\n",
                    run->set->record[run->set->at[item]].gold == o ? " (right)" : "");
    }
    if (status == MR_OK) status = mr_print_text(&text);
    mr_text_free(&text);
    mr_text_free(&id);
    mr_item_tokens_free(&e.tokens);
    return status;
}

static mr_status show(const work *w)
{
    for (int i = 0; i < w->sets.count; i++)
        MR_TRY(print_first(w, &w->run[i]));
    return MR_OK;
}

/* Running. */

static mr_status lay_out(void *context, mr_model *model)
{
    work *w = context;
    for (int i = 0; i < w->sets.count; i++)
        MR_TRY(mr_set_run_lay_out(&w->run[i], model));
    return MR_OK;
}

/* Sets come one after another: the largest counts. */
static void add_bytes(const void *context, size_t bytes[MR_MEM_PURPOSES])
{
    const work *w = context;
    for (int i = 0; i < w->sets.count; i++) {
        size_t one[MR_MEM_PURPOSES] = {0};
        mr_set_run_bytes(&w->run[i], one);
        for (int m = 0; m < MR_MEM_PURPOSES; m++)
            if (one[m] > bytes[m]) bytes[m] = one[m];
    }
}

/* Prints the scores of a set. On rank 0. */
static mr_status tell_scores(work *w, const mr_set_scores *scores)
{
    mr_text text = {0};
    if (w->request->json) {
        mr_json_append(&w->results, mr_set_scores_json(scores));
        return MR_OK;
    }
    mr_set_scores_print(scores, &text);
    mr_status status = mr_print_text(&text);
    fflush(stdout);
    mr_text_free(&text);
    return status;
}

/* Begins a set behind what the file has of it. On rank 0. */
static mr_status begin_set(work *w, const mr_set_run *run, const mr_asked *asked, int64_t *done)
{
    const mr_loaded *l = w->loaded;
    const mr_asked_model model = {.path = w->request->model,
                                  .weights = w->weights,
                                  .adapter = w->adapter,
                                  .trained = w->trained,
                                  .steps = l->run ? l->files.about.steps : 0};
    json_t *head = mr_set_head(run, &model);
    mr_status status = mr_asking_begin(asked, w->file, head, done);
    json_decref(head);
    if (status != MR_ERR_FORMAT) return status;
    char message[MR_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s", mr_message());
    return mr_fail(status, "%.900s; another --out begins anew", message);
}

/* Tells how much work the items were that were asked now. */
static void tell_work(const mr_set_run *run, double seconds)
{
    const double rate = 1 / fmax(seconds, 1e-9);
    if (run->ran > 0)
        mr_log(
            "%s: ran %lld tokens in %.1f s, %.4g tok/s; %lld more are in common with texts before",
            run->set->name, (long long)run->ran, seconds, (double)run->ran * rate,
            (long long)(run->whole - run->ran));
    if (run->generated > 0)
        mr_log("%s: generated %lld tokens in %.1f s, %.4g tok/s", run->set->name,
               (long long)run->generated, seconds, (double)run->generated * rate);
}

static mr_status run_set(work *w, mr_set_run *run)
{
    const bool first = w->comm->rank == 0;
    mr_set_asking asking = {.run = run, .model = w->loaded->model};
    const mr_asked asked = mr_set_asked(&asking);
    int64_t done = 0;
    mr_status status =
        mr_comm_agree_root(w->comm, first ? begin_set(w, run, &asked, &done) : MR_OK);
    const double start = mr_clock();
    if (status == MR_OK) status = mr_asking_finish(w->comm, &asked, w->file, done);
    if (status == MR_OK) tell_work(run, mr_clock() - start);
    if (status == MR_OK)
        status = mr_comm_agree_root(w->comm, first ? tell_scores(w, &asking.scores) : MR_OK);
    mr_set_asking_free(&asking);
    return status;
}

static mr_status print_results(const work *w)
{
    json_t *all =
        json_pack("{s:o, s:O?}", "model", mr_json_text(w->request->model), "sets", w->results);
    mr_status status = all && w->results ? mr_print_json(all) : MR_ERR_MEMORY;
    json_decref(all);
    return status;
}

static mr_status run_sets(work *w, mr_backend *be)
{
    const request *r = w->request;
    const bool first = w->comm->rank == 0;
    if (r->out) {
        MR_TRY(mr_loaded_hash(w->loaded, w->weights));
        MR_AGREE(w->comm, mr_adapter_start_hash(&w->loaded->config, w->adapter));
        MR_TRY(mr_comm_agree_root(w->comm, first ? mr_row_file_open(r->out, &w->file) : MR_OK));
    }
    MR_TRY(mr_loaded_fit(w->loaded, be, &(mr_loaded_room){lay_out, add_bytes, w}));
    for (int i = 0; i < w->sets.count; i++)
        mr_set_run_put_away(&w->run[i]);
    MR_TRY(mr_loaded_read(w->loaded));
    if (r->out) MR_TRY(mr_loaded_digest(w->loaded, w->trained));
    w->results = json_array();
    for (w->now = 0; w->now < w->sets.count; w->now++) {
        mr_status status = run_set(w, &w->run[w->now]);
        if (status == MR_STOPPED && r->out)
            return mr_fail(status, "stopped; the same command goes on behind what '%s' holds",
                           r->out);
        MR_TRY(status);
    }
    return mr_comm_agree_root(w->comm, first && r->json ? print_results(w) : MR_OK);
}

static mr_status evaluate(work *w)
{
    const request *r = w->request;
    mr_backend *be = NULL;
    MR_TRY(mr_comm_agree_first(w->comm, load_sets(w), 0));
    MR_TRY(mr_loaded_open(w->comm, r->model, r->override.item, r->override.count, &w->loaded));
    if (r->adapter) MR_TRY(mr_loaded_put_adapter(w->loaded, r->adapter));
    MR_TRY(mr_loaded_tokenizer(w->loaded));
    MR_TRY(mr_comm_agree_first(w->comm, begin_runs(w), 0));
    if (r->show) return mr_comm_agree_root(w->comm, w->comm->rank == 0 ? show(w) : MR_OK);
    const mr_config *config = &w->loaded->config;
    const int threads =
        mr_node_threads(w->comm, r->threads > 0 ? r->threads : config->parallel.threads);
    mr_status status = mr_comm_agree(
        w->comm, mr_backend_create(config->parallel.backend, mr_node_rank(w->comm), threads, &be));
    if (status == MR_OK) status = run_sets(w, be);
    for (int i = 0; i < w->sets.count; i++)
        mr_set_run_put_away(&w->run[i]);
    mr_model_destroy(&w->loaded->model);
    mr_backend_destroy(&be);
    return status;
}

static mr_status run_request(const mr_comm *comm, const request *r)
{
    work w = {.request = r, .comm = comm};
    mr_status status = evaluate(&w);
    mr_status closed = mr_row_file_close(&w.file);
    if (status == MR_OK) status = closed;
    for (int i = 0; w.run && i < w.sets.count; i++)
        mr_set_run_end(&w.run[i]);
    mr_free(w.run);
    json_decref(w.results);
    mr_loaded_destroy(&w.loaded);
    mr_sets_free(&w.sets);
    return mr_comm_agree_root(comm, status);
}

/* The sets of the program and what a file of them may say, for --help. */
static mr_status list_sets(mr_text *out)
{
    mr_sets sets;
    MR_TRY(mr_sets_load(NULL, &sets));
    mr_text_add(out, "RUN is what a run left: its log, the tensors it keeps, or its checkpoints.\n"
                     "\nsets (version; whose rules these are; metric, or rules of answers):\n");
    for (int i = 0; i < sets.count; i++) {
        const mr_set *s = &sets.set[i];
        mr_text_add(out, "  %-26s %s (%lld; %s", s->name, s->about, (long long)s->version,
                    s->source);
        if (s->metric) mr_text_add(out, "; %s", s->metric->name);
        for (int r = 0; r < s->rule_names.count; r++)
            mr_text_add(out, "; %s %d", s->rule[r]->name, s->rule[r]->version);
        mr_text_add(out, ")\n");
    }
    mr_sets_free(&sets);
    mr_text_add(out, "\n");
    mr_sets_explain(out);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

static mr_status check(const request *r, int operands)
{
    MR_CHECK(operands == 1, MR_ERR_USAGE,
             "mora eval: expected a model folder or a run; usage: mora eval %s",
             mr_command_eval.usage);
    MR_CHECK(r->set.count > 0, MR_ERR_USAGE,
             "mora eval: expected --set; `mora eval --help` lists the sets");
    MR_CHECK(r->data, MR_ERR_USAGE, "mora eval: expected --data, the folder of the sets' files");
    MR_CHECK(r->batch >= 1 && r->batch <= WIDEST, MR_ERR_USAGE,
             "mora eval: --batch: expected 1..%d, found %lld", WIDEST, (long long)r->batch);
    MR_CHECK(r->limit != 0, MR_ERR_USAGE, "mora eval: --limit: expected at least 1, found 0");
    MR_CHECK(r->window != 0, MR_ERR_USAGE, "mora eval: --window: expected at least 1, found 0");
    return MR_OK;
}

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    request r = {.limit = NOT_GIVEN, .window = NOT_GIVEN, .batch = BATCH};
    mr_text more = {0};
    bool help;
    int operands;
    const mr_option options[] = {
        {"set", MR_OPTION_LIST, &r.set, "NAME,...|FILE.yaml",
         "what is asked: sets of the program, or those of a file; may be repeated"},
        {"adapter", MR_OPTION_PATH, &r.adapter, "DIR",
         "adapter folder of PEFT or of the MoRA fork, on a MODEL_DIR"},
        {"data", MR_OPTION_PATH, &r.data, "DIR", "folder of the files of the sets"},
        {"limit", MR_OPTION_INT, &r.limit, "N",
         "only the first N items, of sets with classes of each"},
        {"out", MR_OPTION_PATH, &r.out, "FILE",
         "keep what is found of every item here, as it comes, and go on behind what is there"},
        {"show", MR_OPTION_FLAG, &r.show, NULL,
         "print the first prompt of each set as the model is given it, and ask nothing"},
        {"no-bos", MR_OPTION_FLAG, &r.no_bos, NULL, "put no id that begins a text before a prompt"},
        {"window", MR_OPTION_INT, &r.window, "N",
         "tokens that the model is given at most: longer ones lose their beginning (its "
         "positions)"},
        {"batch", MR_OPTION_INT, &r.batch, "N", "texts generated at a time and a rank (8)"},
        {"no-sharing", MR_OPTION_FLAG, &r.no_sharing, NULL,
         "run every option's full text, also what texts begin with in common"},
        {"threads", MR_OPTION_INT, &r.threads, "N", "threads a rank; 0: all processors"},
        {"override", MR_OPTION_LIST, &r.override, "KEY=VALUE",
         "override a configuration key (model.tokenizer, parallel.backend, ...)"},
        {"json", MR_OPTION_FLAG, &r.json, NULL, "print scores as JSON"},
    };
    mr_status status = mr_options_help(argc, argv) ? list_sets(&more) : MR_OK;
    if (status == MR_OK)
        status =
            mr_options_parse(comm, &mr_command_eval, options, sizeof options / sizeof options[0],
                             argc, argv, &r.model, 1, &operands, mr_text_get(&more), &help);
    mr_text_free(&more);
    MR_TRY(status);
    if (help) return MR_OK;
    MR_TRY(check(&r, operands));
    mr_signals_catch(SIGUSR2);
    return run_request(comm, &r);
}

const mr_command mr_command_eval = {
    .name = "eval",
    .usage = "MODEL_DIR|RUN [--adapter DIR] --set NAME,...|FILE.yaml --data DIR [--out FILE] "
             "[--limit N] [--show] "
             "[--json] ...",
    .summary = "score a model by published evaluations, item by item",
    .run = run,
};
