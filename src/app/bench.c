/* mora bench: speed of whole training steps, beside the machine's own matrix-product rate.
 *
 * That rate is told in two ways. `gemm` is the sum of each rank's best: what the processors can.
 * `at once` is by products of as many FLOP as a step (two seconds of them at most), which all ranks
 * start together and which are over when the last rank is done, as a step is: what of it is left on
 * a machine whose processors are not alike, or have other work too. Steps and such products take
 * turns.
 *
 * Of the time that a rank spends in exchanges, until the last rank is done with the step, the least
 * over the ranks is the communication: who comes last waits for nobody, so it is no less than what
 * the exchange itself takes. What others spend beyond it is waiting, told as its mean over the
 * ranks. Phases are those of the step whose seconds are the median.
 */

#include "adapter/adapter.h"
#include "app/bench_evaluate.h"
#include "app/bench_products.h"
#include "app/bench_spectra.h"
#include "app/command.h"
#include "base/clock.h"
#include "base/text.h"
#include "comm/node.h"
#include "train/registry.h"
#include "train/trainer.h"

#include <jansson.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Seconds of a step. */
typedef struct bench_step {
    double seconds;
    double phase[MR_PHASES]; /* mean over the ranks; communication as that of the rank that has
                                least */
    double waiting;          /* beyond that, mean over the ranks */
} bench_step;

/* What was measured of one method. */
typedef struct bench_row {
    const char *method;
    bench_step step;  /* the median */
    double tokens_s;  /* over all ranks */
    double flops;     /* of a step, all ranks */
    double gemm_rate; /* FLOP/s: the sum of each rank's best */
    double at_once;   /* FLOP/s of all ranks from a common start until the last is done */
    int64_t parameters, trained;
    mr_spectra_cost spectra;
    mr_evaluate_cost evaluate;
    size_t planned, held;   /* bytes a rank, as this one's plan has them and as they are */
    size_t device;          /* bytes of the device in use, by whatever; 0 where there is none */
    int64_t spectrum_every; /* steps that a snapshot's cost is spread over */
} bench_row;

typedef struct bench_options {
    const char *model, *methods;
    int64_t batch, seq, steps, r, threads;
    int64_t evaluate; /* prompts; -1: not given */
    mr_option_list sets;
    bool spectra, json, help;
} bench_options;

static void random_batch(mr_trainer *t)
{
    const mr_geometry *g = mr_model_geometry(t->model);
    int64_t count = g->batch * g->tokens * g->micros;
    mr_random random = mr_random_stream(1, MR_RANDOM_DATA, (uint64_t)t->comm->rank);
    uint64_t vocabulary = (uint64_t)mr_model_arch(t->model)->vocab_size;
    for (int64_t i = 0; i < count; i++) {
        t->rows.tokens[i] = (int32_t)mr_random_below(&random, (uint64_t)(2 * i), vocabulary);
        t->rows.targets[i] = (int32_t)mr_random_below(&random, (uint64_t)(2 * i + 1), vocabulary);
    }
}

/* Takes a step, and tells what its phases took. */
static mr_status told_step(mr_trainer *t, bench_step *out)
{
    double own[MR_PHASES], behind;
    int64_t sums[MR_PHASES], least;        /* nanoseconds */
    t->be->ops->phase_seconds(t->be, own); /* what was before */
    mr_status status = mr_bench_step(t, &out->seconds, &behind);
    t->be->ops->phase_seconds(t->be, own);
    own[MR_PHASE_COMM] += behind;
    for (int p = 0; p < MR_PHASES; p++)
        sums[p] = (int64_t)(1e9 * own[p]);
    least = -sums[MR_PHASE_COMM];
    mr_comm_max_i64(t->comm, &least, 1);
    mr_comm_sum_i64(t->comm, sums, MR_PHASES);
    const double ranks = 1e9 * t->comm->size;
    for (int p = 0; p < MR_PHASES; p++)
        out->phase[p] = p == MR_PHASE_COMM ? -1e-9 * (double)least : (double)sums[p] / ranks;
    out->waiting = (double)(sums[MR_PHASE_COMM] + t->comm->size * least) / ranks;
    return status;
}

static int by_seconds(const void *a, const void *b)
{
    const double x = ((const bench_step *)a)->seconds, y = ((const bench_step *)b)->seconds;
    return (x > y) - (x < y);
}

/* As mr_bench_median, of steps. */
static bench_step median_step(bench_step *steps, int64_t count)
{
    qsort(steps, (size_t)count, sizeof *steps, by_seconds);
    return steps[count / 2];
}

/* Where telling the time slows a step, its phases are those of another one. */
static mr_status tell_phases(mr_trainer *t, bench_step *step)
{
    enum { TOLD = 3 };
    bench_step told[TOLD];
    const double seconds = step->seconds;
    for (int i = 0; i < TOLD; i++)
        MR_TRY(told_step(t, &told[i]));
    t->be->ops->phase_seconds(t->be, NULL);
    *step = median_step(told, TOLD);
    step->seconds = seconds;
    return MR_OK;
}

/* Steps and products by turns; the first ones warm up. */
static mr_status take_turns(mr_trainer *t, mr_products *products, int64_t count, bench_row *row,
                            bench_step *steps, double *of_flop)
{
    const bool freely = t->be->ops->books_freely;
    const double most = 2 * row->gemm_rate;
    const double flops = (row->flops < most ? row->flops : most) / t->comm->size;
    for (int64_t i = -1; i < count; i++) {
        const int64_t at = i < 0 ? 0 : i;
        double rate;
        MR_TRY(freely ? told_step(t, &steps[at]) : mr_bench_step(t, &steps[at].seconds, NULL));
        MR_AGREE(t->comm, mr_products_run(t->comm, products, flops, &rate));
        of_flop[at] = 1 / rate;
    }
    row->step = median_step(steps, count);
    row->at_once = 1 / mr_bench_median(of_flop, count); /* of two the slower, as of steps */
    row->tokens_s = (double)(t->config->train.global_batch * t->seq_len) / row->step.seconds;
    return freely ? MR_OK : tell_phases(t, &row->step);
}

static mr_status measure_steps(mr_trainer *t, mr_products *products, int64_t count, bench_row *row)
{
    bench_step *steps = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *steps);
    double *of_flop = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *of_flop);
    mr_status status = mr_comm_agree(t->comm, steps && of_flop ? MR_OK : MR_ERR_MEMORY);
    if (status == MR_OK) status = take_turns(t, products, count, row, steps, of_flop);
    mr_free(steps);
    mr_free(of_flop);
    return status;
}

static size_t bytes_of(mr_tensor t)
{
    return (size_t)mr_tensor_count(t) * mr_dtype_size(t.dtype);
}

/* What is held, without the products that steps are measured beside. */
static void measure_memory(const mr_trainer *t, const mr_products *beside, bench_row *row)
{
    const size_t products = bytes_of(beside->a) + bytes_of(beside->b) + bytes_of(beside->c);
    mr_device_facts facts;
    int devices;
    row->planned = t->plan.total;
    row->held = mr_memory_live_total() - products;
    if (!t->be->ops->buffer_share && mr_backend_device(0, &facts, &devices) == MR_OK)
        row->device = (size_t)(facts.bytes - facts.free_bytes);
}

static mr_status bench_method(const mr_comm *comm, mr_backend *be, const bench_options *o,
                              const mr_hf_config *arch, const mr_config *config,
                              mr_products *products, bench_row *row)
{
    mr_trainer *t = NULL;
    MR_TRY(mr_trainer_create(comm, config, be, arch, &t));
    mr_status status = mr_trainer_allocate(t);
    if (status == MR_OK) {
        random_batch(t);
        row->method = mr_adapter_find(config->method.name)->name;
        row->flops = t->plan.cost.flops;
        row->parameters = mr_params_count(mr_model_params(t->model), false);
        row->trained = mr_params_count(mr_model_params(t->model), true);
        status = measure_steps(t, products, o->steps, row);
        measure_memory(t, products, row);
        if (status == MR_OK && o->spectra) status = mr_bench_spectra(t, o->steps, &row->spectra);
        if (status == MR_OK && o->evaluate > 0)
            status = mr_bench_evaluate(t, o->evaluate, &row->evaluate);
    }
    mr_trainer_destroy(&t);
    return status;
}

static void print_row(const bench_row *row, bool first)
{
    const double rate = row->flops / row->step.seconds;
    if (first) {
        printf("%-8s %10s %9s %9s %7s %7s |", "method", "tokens/s", "ms/step", "GFLOP/s", "of gemm",
               "at once");
        for (int p = 0; p < MR_PHASES; p++)
            printf(" %*s", 11, mr_phase_name((mr_phase)p));
        printf(" %9s (ms)\n", "waiting");
    }
    printf("%-8s %10.1f %9.1f %9.1f %6.1f%% %6.1f%% |", row->method, row->tokens_s,
           1e3 * row->step.seconds, rate / 1e9, 100 * rate / row->gemm_rate,
           100 * rate / row->at_once);
    for (int p = 0; p < MR_PHASES; p++)
        printf(" %*.1f", (int)strlen(mr_phase_name((mr_phase)p)) > 11 ? 13 : 11,
               1e3 * row->step.phase[p]);
    printf(" %9.1f\n%-8s memory a rank: planned %.1f MiB, held %.1f MiB", 1e3 * row->step.waiting,
           "", (double)row->planned / 0x1p20, (double)row->held / 0x1p20);
    if (row->device > 0) printf("; %.1f MiB of the device in use", (double)row->device / 0x1p20);
    printf("\n");
    fflush(stdout);
}

/* Seconds that spectra add to a step. */
static double spectra_of_step(const bench_row *row)
{
    return row->spectra.seconds / (double)row->spectrum_every;
}

static void print_spectra(const bench_row *row)
{
    const mr_spectra_cost *cost = &row->spectra;
    printf("%-8s spectra of %lld linears: %.2f ms a snapshot (%.2f ms its own calls, %+.2f ms "
           "%.0f steps beside), every %lld steps %.3f ms a step of %.2f ms, %.3f %%\n",
           "", (long long)cost->linears, 1e3 * cost->seconds, 1e3 * cost->calls, 1e3 * cost->beside,
           cost->steps, (long long)row->spectrum_every, 1e3 * spectra_of_step(row),
           1e3 * cost->step, 100 * spectra_of_step(row) / cost->step);
    fflush(stdout);
}

static json_t *spectra_json(const bench_row *row)
{
    const mr_spectra_cost *cost = &row->spectra;
    if (cost->linears == 0) return json_null();
    return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:f}", "linears",
                     (json_int_t)cost->linears, "snapshot_seconds", cost->seconds, "calls_seconds",
                     cost->calls, "beside_seconds", cost->beside, "steps_beside", cost->steps,
                     "step_seconds", cost->step, "every", (json_int_t)row->spectrum_every,
                     "share_of_step", spectra_of_step(row) / cost->step);
}

static void print_evaluate(const bench_row *row, const mr_comm *comm, int64_t seq)
{
    const mr_evaluate_cost *cost = &row->evaluate;
    const double texts = (double)(cost->texts * comm->size);
    printf("%-8s %lld prompts of %lld tokens with %lld options: %.2f items/s, %.0f tokens/s; %lld "
           "texts a rank at once behind them: first tokens after %.3f s, then %.2f ms a token of "
           "all, %.0f tokens/s\n",
           "", (long long)cost->items, (long long)seq, (long long)cost->options,
           (double)cost->items / cost->scoring, (double)cost->scored / cost->scoring,
           (long long)cost->texts, cost->prompts, 1e3 * cost->writing / (double)cost->tokens,
           texts * (double)cost->tokens / cost->writing);
    fflush(stdout);
}

static json_t *evaluate_json(const bench_row *row)
{
    const mr_evaluate_cost *cost = &row->evaluate;
    if (cost->items == 0) return json_null();
    return json_pack("{s:I, s:I, s:f, s:I, s:I, s:f, s:f}", "items", (json_int_t)cost->items,
                     "scored_tokens", (json_int_t)cost->scored, "scoring_seconds", cost->scoring,
                     "texts_a_rank", (json_int_t)cost->texts, "tokens_of_each",
                     (json_int_t)cost->tokens, "prompts_seconds", cost->prompts, "writing_seconds",
                     cost->writing);
}

static json_t *row_json(const bench_row *row)
{
    json_t *phases = json_object();
    for (int p = 0; p < MR_PHASES; p++)
        json_object_set_new(phases, mr_phase_name((mr_phase)p), json_real(row->step.phase[p]));
    json_object_set_new(phases, "waiting", json_real(row->step.waiting));
    const double rate = row->flops / row->step.seconds;
    return json_pack(
        "{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}",
        "method", row->method, "tokens_per_second", row->tokens_s, "step_seconds",
        row->step.seconds, "flops_per_second", rate, "gemm_flops_per_second", row->gemm_rate,
        "ratio_to_gemm", rate / row->gemm_rate, "gemm_at_once_flops_per_second", row->at_once,
        "ratio_to_gemm_at_once", rate / row->at_once, "parameters", (json_int_t)row->parameters,
        "trainable_parameters", (json_int_t)row->trained, "planned_bytes", (json_int_t)row->planned,
        "held_bytes", (json_int_t)row->held, "device_bytes", (json_int_t)row->device,
        "phase_seconds", phases, "spectra", spectra_json(row), "evaluate", evaluate_json(row));
}

/* Writes the next method of a comma-separated list; returns what follows. */
static const char *next_method(const char *list, char name[MR_CONFIG_NAME])
{
    size_t length = strcspn(list, ",");
    snprintf(name, MR_CONFIG_NAME, "%.*s", (int)length, list);
    return list + length + (list[length] == ',');
}

static mr_status check_methods(const char *list)
{
    while (*list) {
        char name[MR_CONFIG_NAME];
        list = next_method(list, name);
        if (mr_adapter_find(name)) continue;
        mr_text known = {0};
        for (const mr_choice *one = mr_adapter_choices(); one->name; one++)
            mr_text_add(&known, " %s", one->name);
        mr_status status =
            mr_fail(MR_ERR_USAGE, "mora bench: --methods: unknown method \"%s\"; there are%s", name,
                    mr_text_get(&known));
        mr_text_free(&known);
        return status;
    }
    return MR_OK;
}

/* Takes "key=value", unless the key is another method's. */
static mr_status set_if_there(mr_config *config, const char *set)
{
    char key[MR_CONFIG_NAME];
    snprintf(key, sizeof key, "%.*s", (int)strcspn(set, "="), set);
    bool known = mr_registry_find(config->registry, key) >= 0;
    return known && !mr_config_has(config, key) ? MR_OK : mr_config_set(config, set);
}

/* The configuration of a method: what is given, for the keys it has. */
static mr_status configure(const bench_options *o, const char *method, int ranks, mr_config *config)
{
    mr_text text = {0};
    mr_config_defaults(mr_registry_of_program(), config);
    mr_text_add(&text, "method.name=%s", method);
    mr_status status = mr_config_set(config, mr_text_get(&text));
    mr_text_free(&text);
    mr_text_add(&text, "method.r=%lld", (long long)o->r);
    if (status == MR_OK) status = set_if_there(config, mr_text_get(&text));
    mr_text_free(&text);
    if (status == MR_OK) status = set_if_there(config, "method.operator=sharing");
    snprintf(config->model.config, sizeof config->model.config, "%s", o->model);
    config->model.init = MR_INIT_RANDOM;
    /* Its tokens are random ones, of no text. */
    snprintf(config->model.tokenizer, sizeof config->model.tokenizer, "bytes");
    config->train.steps = 1000000;
    config->train.global_batch = o->batch * ranks;
    config->train.micro_batch = o->batch;
    config->train.seq_len = o->seq;
    config->train.lr = 1e-4;
    config->checkpoint.every_minutes = 0;
    config->eval.items = config->eval.batch = 1;
    config->parallel.threads = o->threads;
    snprintf(config->run.name, sizeof config->run.name, "bench");
    if (o->spectra) config->log.spectrum_every = 50;
    for (int i = 0; i < o->sets.count && status == MR_OK; i++)
        status = set_if_there(config, o->sets.item[i]);
    if (status == MR_OK) status = mr_config_expand_paths(config, NULL);
    return status == MR_OK ? mr_config_check(config, NULL) : status;
}

/* Measures each method of the comma-separated list in turn. */
static mr_status bench_methods(const mr_comm *comm, mr_backend *be, const bench_options *o,
                               const mr_hf_config *arch, mr_products *products, json_t *rows)
{
    bool first = true;
    mr_config config;
    char method[MR_CONFIG_NAME];
    next_method(o->methods, method);
    MR_TRY(configure(o, method, comm->size, &config));
    mr_comm_barrier(comm);
    MR_AGREE(comm, mr_products_create(be, mr_trainer_dtype(&config), products));
    int64_t kilo = (int64_t)(products->rate / 1e3);
    mr_comm_sum_i64(comm, &kilo, 1);
    if (comm->rank == 0 && !o->json)
        printf("%s, %d ranks x %d threads, global batch %lld x %lld tokens, r %lld, gemm %.1f "
               "GFLOP/s\n",
               o->model, comm->size, be->threads, (long long)config.train.global_batch,
               (long long)config.train.seq_len, (long long)o->r, (double)kilo / 1e6);
    for (const char *at = o->methods; *at;) {
        at = next_method(at, method);
        MR_TRY(configure(o, method, comm->size, &config));
        bench_row row = {.gemm_rate = (double)kilo * 1e3,
                         .spectrum_every = config.log.spectrum_every};
        if (o->spectra) config.log.spectrum_every = 1; /* one may be taken at any step */
        MR_TRY(bench_method(comm, be, o, arch, &config, products, &row));
        if (comm->rank == 0 && o->json) json_array_append_new(rows, row_json(&row));
        if (comm->rank == 0 && !o->json) print_row(&row, first);
        if (comm->rank == 0 && !o->json && o->spectra) print_spectra(&row);
        if (comm->rank == 0 && !o->json && o->evaluate > 0) print_evaluate(&row, comm, o->seq);
        first = false;
    }
    return MR_OK;
}

static mr_status parse(const mr_comm *comm, int argc, char **argv, bench_options *o)
{
    const mr_option options[] = {
        {"model", MR_OPTION_PATH, &o->model, "FILE",
         "config.json of the shape to train (experiments/models/llama-60m.json)"},
        {"methods", MR_OPTION_TEXT, &o->methods, "LIST",
         "methods, comma-separated (fft,lora,mora)"},
        {"batch", MR_OPTION_INT, &o->batch, "N", "sequences of a micro-batch, one a rank (4)"},
        {"seq", MR_OPTION_INT, &o->seq, "N", "tokens of a sequence (512)"},
        {"r", MR_OPTION_INT, &o->r, "N", "budget of the adapters (8)"},
        {"steps", MR_OPTION_INT, &o->steps, "N", "timed steps; the median counts (5)"},
        {"threads", MR_OPTION_INT, &o->threads, "N", "threads a rank; 0: all processors"},
        {"set", MR_OPTION_LIST, &o->sets, "KEY=VALUE", "override a configuration key"},
        {"spectra", MR_OPTION_FLAG, &o->spectra, NULL, "measure what spectra cost, too"},
        {"evaluate", MR_OPTION_INT, &o->evaluate, "N",
         "score N prompts of --seq tokens with options, and continue as many at once, too"},
        {"json", MR_OPTION_FLAG, &o->json, NULL, "print results as JSON"},
    };
    int operands;
    MR_TRY(mr_options_parse(comm, &mr_command_bench, options, sizeof options / sizeof options[0],
                            argc, argv, NULL, 0, &operands, NULL, &o->help));
    MR_CHECK(o->evaluate != 0, MR_ERR_USAGE,
             "mora bench: --evaluate: expected at least 1, found 0");
    MR_CHECK(o->steps > 0 && o->batch > 0 && o->seq > 0 && o->r > 0, MR_ERR_USAGE,
             "mora bench: --steps, --batch, --seq and --r must be at least 1");
    return MR_OK;
}

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    bench_options o = {.model = "experiments/models/llama-60m.json",
                       .methods = "fft,lora,mora",
                       .batch = 4,
                       .seq = 512,
                       .steps = 5,
                       .r = 8,
                       .evaluate = -1};
    MR_TRY(parse(comm, argc, argv, &o));
    if (o.help) return MR_OK;
    MR_TRY(check_methods(o.methods));
    mr_config config;
    char method[MR_CONFIG_NAME];
    next_method(o.methods, method);
    MR_TRY(configure(&o, method, comm->size, &config));
    mr_hf_config arch;
    MR_TRY(mr_trainer_arch(comm, &config, &arch));

    mr_backend *be = NULL;
    json_t *rows = json_array();
    int threads = mr_node_threads(comm, config.parallel.threads);
    mr_status status = mr_comm_agree(
        comm, mr_backend_create(config.parallel.backend, mr_node_rank(comm), threads, &be));
    mr_products products = {0};
    if (status == MR_OK) status = bench_methods(comm, be, &o, &arch, &products, rows);
    mr_products_destroy(&products);
    mr_backend_destroy(&be);
    if (status == MR_OK && o.json && comm->rank == 0) status = mr_print_json(rows);
    json_decref(rows);
    return status;
}

const mr_command mr_command_bench = {
    .name = "bench",
    .usage = "[--model FILE] [--methods LIST] [--batch N] [--seq N] [--json] ...",
    .summary = "measure tokens/s and FLOP/s of training steps against the rate of plain products",
    .run = run,
};
