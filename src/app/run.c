/* mora run: train the runs a YAML file describes. */

#include "train/run.h"

#include "app/command.h"
#include "base/file.h"
#include "base/log.h"
#include "config/load.h"
#include "store/json.h"
#include "train/registry.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_header(void)
{
    printf("%-44s %6s %9s %12s  %-26s %10s %8s  %s\n", "run", "steps", "loss", "score",
           "of the first set", "tokens/s", "seconds", "log");
}

/* error: why the run failed, or "". */
static void print_outcome(const mr_config *config, const mr_run_outcome *o, const char *error)
{
    mr_text line = {0};
    char score[32] = "-", of[192] = "-", loss[16] = "-";
    bool share = strcmp(o->score.unit, "fraction") == 0;
    if (isfinite(o->score.value))
        snprintf(score, sizeof score, share ? "%.2f %s" : "%.3f %s",
                 share ? 100 * o->score.value : o->score.value, share ? "%" : o->score.unit);
    if (o->score.name[0]) snprintf(of, sizeof of, "%s: %s", o->score.set, o->score.name);
    if (isfinite(o->loss)) snprintf(loss, sizeof loss, "%.4f", o->loss);
    mr_text_add(&line, "%-44s %6lld %9s %12s  %-26s %10.0f %8.1f  %s%s\n", config->run.name,
                (long long)o->steps, loss, score, of, o->tokens_per_second, o->seconds, o->log,
                error[0] ? " (failed)" : (o->skipped ? " (done before)" : ""));
    if (mr_print_text(&line) != MR_OK) mr_warn("%s", mr_message());
    mr_text_free(&line);
    fflush(stdout);
}

static void add_outcome(json_t *rows, const mr_config *config, const mr_run_outcome *o,
                        const char *error)
{
    const char *score = o->score.name[0] ? o->score.name : NULL;
    json_t *scores = json_object(); /* by its name, for who looks for that */
    if (score) json_object_set_new(scores, score, mr_json_number(o->score.value));
    json_array_append_new(
        rows,
        json_pack("{s:s, s:I, s:o, s:s?, s:s?, s:s?, s:o, s:o, s:f, s:f, s:s, s:b, s:s?}", "run",
                  config->run.name, "steps", (json_int_t)o->steps, "loss", mr_json_number(o->loss),
                  "score_set", score ? o->score.set : NULL, "score_name", score, "score_unit",
                  score ? o->score.unit : NULL, "score", mr_json_number(o->score.value), "scores",
                  scores, "tokens_per_second", o->tokens_per_second, "seconds", o->seconds, "log",
                  o->log, "skipped", o->skipped, "error", error[0] ? error : NULL));
}

/* What a rank receives in a step, from ranks of its node and from others. */
static void print_traffic(const mr_model_cost *cost)
{
    printf("  %-14s %14s %10s %14s %10s %14s\n", "received", "units", "messages", "MiB", "across",
           "MiB across");
    for (int i = 0; i < MR_FLOWS; i++) {
        const mr_flow *flow = &cost->flow[i];
        printf("    %-12s %14lld %10.0f %14.2f %10.0f %14.2f\n", mr_flow_name((mr_flow_kind)i),
               (long long)flow->units, flow->messages, flow->bytes / 0x1p20,
               flow->messages - flow->messages_in_node,
               (flow->bytes - flow->bytes_in_node) / 0x1p20);
    }
    if (cost->waits > 0)
        printf("  %-14s %14.0f of ranks of a node for each other\n", "waits", cost->waits);
}

static json_t *traffic_json(const mr_model_cost *cost)
{
    json_t *flows = json_object();
    for (int i = 0; i < MR_FLOWS; i++) {
        const mr_flow *flow = &cost->flow[i];
        json_object_set_new(flows, mr_flow_name((mr_flow_kind)i),
                            json_pack("{s:I, s:f, s:f, s:f, s:f}", "units", (json_int_t)flow->units,
                                      "messages", flow->messages, "bytes", flow->bytes,
                                      "messages_across", flow->messages - flow->messages_in_node,
                                      "bytes_across", flow->bytes - flow->bytes_in_node));
    }
    return flows;
}

static void print_plan(const mr_config *config, const mr_run_plan *p)
{
    const mr_geometry *g = &p->geometry;
    printf("%s\n  %-14s %14s\n", config->run.name, "bytes a rank", "MiB");
    for (int i = 0; i < MR_MEM_PURPOSES; i++)
        printf("    %-12s %14.2f  (%zu bytes)\n", mr_purpose_name((mr_purpose)i),
               (double)p->plan.bytes[i] / 0x1p20, p->plan.bytes[i]);
    printf("    %-12s %14.2f  (%zu bytes)\n", "total", (double)p->plan.total / 0x1p20,
           p->plan.total);
    printf("  parameters     %lld, trained %lld (%.3f %%)\n", (long long)p->parameters,
           (long long)p->trained, 100.0 * (double)p->trained / (double)p->parameters);
    printf("  step           %d ranks x %lld waves x %lld micro-batches of %lld x %lld tokens\n",
           p->ranks, (long long)mr_geometry_waves(g), (long long)g->in_wave, (long long)g->batch,
           (long long)g->tokens);
    printf("                 %.4g FLOP, %.2f MiB received a rank\n", p->plan.cost.flops,
           p->plan.cost.traffic / 0x1p20);
    if (p->ranks > 1) print_traffic(&p->plan.cost);
    for (int i = 0; i < p->sets; i++)
        printf("  %-14s %s: %s, %lld items, %lld time%s\n", i == 0 ? "evaluations" : "",
               p->set[i].name, p->set[i].kind, (long long)p->set[i].items,
               (long long)p->set[i].times, p->set[i].times == 1 ? "" : "s");
    printf("  memory         %.2f MiB a rank allowed: %s\n", (double)p->limit.bytes / 0x1p20,
           p->limit.why);
}

static void add_plan(json_t *rows, const mr_config *config, const mr_run_plan *p)
{
    json_t *sets = json_array();
    for (int i = 0; i < p->sets; i++)
        json_array_append_new(sets, json_pack("{s:s, s:s, s:I, s:I}", "set", p->set[i].name, "kind",
                                              p->set[i].kind, "items", (json_int_t)p->set[i].items,
                                              "times", (json_int_t)p->set[i].times));
    json_t *bytes = json_object();
    for (int i = 0; i < MR_MEM_PURPOSES; i++)
        json_object_set_new(bytes, mr_purpose_name((mr_purpose)i),
                            json_integer((json_int_t)p->plan.bytes[i]));
    json_array_append_new(
        rows,
        json_pack(
            "{s:s, s:i, s:o, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o, s:f, s:b, s:I, s:s, s:o}",
            "run", config->run.name, "ranks", p->ranks, "bytes", bytes, "total_bytes",
            (json_int_t)p->plan.total, "parameters", (json_int_t)p->parameters,
            "trainable_parameters", (json_int_t)p->trained, "waves",
            (json_int_t)mr_geometry_waves(&p->geometry), "micro_batches_in_wave",
            (json_int_t)p->geometry.in_wave, "flops_per_step", p->plan.cost.flops,
            "bytes_received_per_step", p->plan.cost.traffic, "received_per_step",
            traffic_json(&p->plan.cost), "waits_in_node", p->plan.cost.waits, "fits", p->fits,
            "memory_limit_bytes", (json_int_t)p->limit.bytes, "memory_limit", p->limit.why,
            "evaluations", sets));
}

/* What failed of several runs, which go on past it, and what ended them all. */
typedef struct failures {
    const char *file;             /* that describes the runs; borrowed */
    int count;                    /* runs that failed */
    bool ended;                   /* something ended them all */
    mr_status code;               /* of what ended them, else of the first */
    char message[MR_MESSAGE_MAX]; /* likewise */
    mr_text lines;                /* one a run that failed */
} failures;

/* Notes that a run failed, as the recorded message says. */
static void note_failure(failures *all, const char *run, mr_status code)
{
    mr_text_add(&all->lines, "%s: %s: %s\n", run, mr_status_name(code), mr_message());
    if (all->count++ > 0) return;
    all->code = code;
    const bool of_file = code == MR_ERR_CONFIG;
    snprintf(all->message, sizeof all->message, "%.200s%s%.200s: %.600s", of_file ? all->file : "",
             of_file ? ": " : "", run, mr_message());
}

/* Notes that no run follows, as the recorded message says. */
static void note_end(failures *all, mr_status code)
{
    all->ended = true;
    all->code = code;
    snprintf(all->message, sizeof all->message, "%s", mr_message());
}

/* The verdict on so many runs. Names those that failed; frees all. */
static mr_status verdict_on(failures *all, int runs)
{
    const char *line = mr_text_get(&all->lines);
    for (; all->count + all->ended > 1 && *line; line += strcspn(line, "\n") + 1)
        mr_log("failed: %.*s", (int)strcspn(line, "\n"), line);
    mr_text_free(&all->lines);
    if (all->count + all->ended == 0) return MR_OK;
    if (all->ended || all->count == 1) return mr_fail(all->code, "%s", all->message);
    return mr_fail(all->code,
                   "%d of %d runs failed, named above; the same command does what is missing",
                   all->count, runs);
}

/* Plans runs first..last-1; one that does not fit is printed all the same, and has failed. */
static mr_status plan_runs(const mr_comm *comm, const mr_run_list *list, int first, int last,
                           int64_t ranks, int64_t node_ranks, bool json)
{
    bool speaks = comm->rank == 0;
    json_t *rows = json_array();
    failures failed = {.file = list->file};
    for (int i = first; i < last && !failed.ended; i++) {
        mr_config config;
        mr_run_plan plan;
        mr_status status = mr_run_list_get(list, i, &config);
        if (status != MR_OK) {
            note_end(&failed, status);
            break;
        }
        status = mr_run_dry(comm, &config, ranks, node_ranks, &plan);
        if (status == MR_OK && speaks && json) add_plan(rows, &config, &plan);
        if (status == MR_OK && speaks && !json) print_plan(&config, &plan);
        if (status == MR_OK && !plan.fits) status = mr_fail(MR_ERR_ARG, "%s", plan.verdict);
        if (status != MR_OK) note_failure(&failed, config.run.name, status);
    }
    mr_status printed = speaks && json ? mr_print_json(rows) : MR_OK;
    json_decref(rows);
    fflush(stdout);
    mr_status verdict = verdict_on(&failed, last - first);
    return verdict == MR_OK ? printed : verdict;
}

/* Prints the keys that stand behind --help, if it is given. */
static mr_status help_on_topic(const mr_comm *comm, int argc, char **argv, bool *done)
{
    mr_text keys = {0};
    int at = 1;
    while (at < argc && strcmp(argv[at - 1], "--help") != 0)
        at++;
    *done = at < argc;
    if (!*done) return MR_OK;
    mr_status status = mr_config_help(mr_registry_of_program(), argv[at], &keys);
    if (status == MR_OK && comm->rank == 0) fputs(mr_text_get(&keys), stdout);
    mr_text_free(&keys);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "mora run");
}

/* Prints numbers and names of runs first..last-1. On rank 0. */
static mr_status list_runs(const mr_run_list *list, int first, int last, bool json)
{
    json_t *rows = json_array();
    mr_status status = MR_OK;
    for (int i = first; i < last && status == MR_OK; i++) {
        char name[MR_CONFIG_STRING];
        status = mr_run_list_name(list, i, name);
        if (status == MR_OK && json)
            json_array_append_new(rows, json_string(name));
        else if (status == MR_OK)
            printf("%d %s\n", i, name);
    }
    if (status == MR_OK && json) status = mr_print_json(rows);
    if (list->merged > 0)
        mr_log("%d runs; %d more combination%s of the matrix %s equal to one of them", list->count,
               list->merged, list->merged == 1 ? "" : "s", list->merged == 1 ? "is" : "are");
    json_decref(rows);
    return status;
}

/* Runs under way. */
typedef struct sweep {
    const mr_comm *comm;
    json_t *rows; /* of --json; NULL: a table is printed */
    failures failed;
    int runs;
    bool headed;                 /* the table has its first line */
    char lost[MR_CONFIG_STRING]; /* output folder that cannot be written; "": none */
    int untried;                 /* runs into it */
} sweep;

/* Whether the output folder of a run cannot be written: decided by rank 0, known to all. */
static bool is_lost(const mr_comm *comm, const char *output)
{
    bool lost = false;
    if (comm->rank == 0)
        lost = mr_file_make_folders(output) != MR_OK || access(output, W_OK | X_OK) != 0;
    mr_comm_broadcast(comm, &lost, sizeof lost, 0);
    return lost;
}

/* Trains one run and reports it. What fails is its own affair, but for a request to stop, ranks
 * that differ, and an output folder that others write to. */
static void train_run(sweep *s, const mr_config *config, const char *resume, bool more)
{
    mr_run_outcome outcome;
    char error[MR_MESSAGE_MAX + 16] = "";
    mr_status status = mr_run(s->comm, config, resume, &outcome);
    if (status != MR_OK)
        snprintf(error, sizeof error, "%s: %s", mr_status_name(status), mr_message());
    if (status == MR_STOPPED || status == MR_ERR_RANKS) {
        note_end(&s->failed, mr_fail_in(status, "%s", config->run.name));
    } else if (status != MR_OK) {
        note_failure(&s->failed, config->run.name, status);
        if (status == MR_ERR_IO && is_lost(s->comm, config->run.output))
            memcpy(s->lost, config->run.output, sizeof s->lost);
        else if (more)
            mr_warn("%s: %s; the other runs go on", config->run.name, error);
    }
    if (s->comm->rank != 0 || status == MR_STOPPED) return;
    if (s->rows) {
        add_outcome(s->rows, config, &outcome, error);
        return;
    }
    /* Of one run that did not begin there is the message alone. */
    if (error[0] && s->runs == 1 && outcome.steps == 0) return;
    if (!s->headed) print_header();
    s->headed = true;
    print_outcome(config, &outcome, error);
}

/* Trains runs first..last-1, past those that fail. */
static mr_status train_runs(const mr_comm *comm, const mr_run_list *list, int first, int last,
                            const char *resume, bool json)
{
    sweep s = {.comm = comm,
               .rows = json ? json_array() : NULL,
               .runs = last - first,
               .failed = {.file = list->file}};
    for (int i = first; i < last && !s.failed.ended; i++) {
        mr_config config;
        char part[48] = "";
        if (s.runs > 1) snprintf(part, sizeof part, "run %d of %d", i - first + 1, s.runs);
        mr_log_set_part(part);
        mr_status status = mr_run_list_get(list, i, &config);
        if (status != MR_OK)
            note_end(&s.failed, status);
        else if (s.lost[0] && strcmp(config.run.output, s.lost) == 0)
            s.untried++;
        else
            train_run(&s, &config, resume, i + 1 < last);
    }
    mr_log_set_part("");
    if (s.untried > 0) mr_log("%d more runs into '%s' were not tried", s.untried, s.lost);
    mr_status printed = comm->rank == 0 && json ? mr_print_json(s.rows) : MR_OK;
    json_decref(s.rows);
    mr_status verdict = verdict_on(&s.failed, s.runs);
    return verdict == MR_OK ? printed : verdict;
}

typedef struct run_options {
    mr_option_list sets;
    const char *file, *index, *resume;
    int64_t ranks, node_ranks;
    int progress;
    bool list, dry, json, help;
} run_options;

static mr_status parse(const mr_comm *comm, int argc, char **argv, run_options *o)
{
    const mr_option options[] = {
        {"set", MR_OPTION_LIST, &o->sets, "KEY=VALUE", "override a key; may be repeated"},
        {"list", MR_OPTION_FLAG, &o->list, NULL, "print the runs of the matrix and stop"},
        {"index", MR_OPTION_TEXT, &o->index, "N", "run number N of --list only"},
        {"dry-run", MR_OPTION_FLAG, &o->dry, NULL,
         "print bytes a rank, FLOP and traffic of a step, and stop"},
        {"ranks", MR_OPTION_INT, &o->ranks, "N", "with --dry-run: plan for N ranks"},
        {"ranks-per-node", MR_OPTION_INT, &o->node_ranks, "N",
         "with --ranks: how many of them share the memory of a node like this one"},
        {"resume", MR_OPTION_PATH, &o->resume, "auto|never|DIR",
         "go on from the run's newest sound checkpoint (auto), from none, or from DIR"},
        {"progress", MR_OPTION_CHOICE, &o->progress, "auto|bar|lines|none",
         "how progress is shown; auto: a bar on a terminal, else lines"},
        {"json", MR_OPTION_FLAG, &o->json, NULL, "print results as JSON"},
    };
    int operands = 0;
    mr_text keys = {0};
    mr_status status = mr_config_help(mr_registry_of_program(), NULL, &keys);
    if (status == MR_OK)
        status =
            mr_options_parse(comm, &mr_command_run, options, sizeof options / sizeof options[0],
                             argc, argv, &o->file, 1, &operands, mr_text_get(&keys), &o->help);
    mr_text_free(&keys);
    if (status != MR_OK || o->help) return status;
    MR_CHECK(o->ranks == 0 || o->dry, MR_ERR_USAGE, "mora run: --ranks goes with --dry-run");
    MR_CHECK(o->ranks <= INT_MAX, MR_ERR_USAGE, "mora run: --ranks: expected at most %d", INT_MAX);
    MR_CHECK(o->node_ranks == 0 || o->ranks > 0, MR_ERR_USAGE,
             "mora run: --ranks-per-node goes with --ranks");
    MR_CHECK(operands == 1, MR_ERR_USAGE, "mora run: expected a YAML file; usage: mora run %s",
             mr_command_run.usage);
    return MR_OK;
}

/* Which runs are asked for: first..last-1. */
static mr_status choose(const run_options *o, int count, int *first, int *last)
{
    const bool path =
        strcmp(o->resume, MR_RESUME_AUTO) != 0 && strcmp(o->resume, MR_RESUME_NEVER) != 0;
    *first = 0;
    *last = count;
    if (o->index) {
        char *end;
        const long index = strtol(o->index, &end, 10);
        MR_CHECK(end != o->index && !*end && index >= 0 && index < count, MR_ERR_USAGE,
                 "mora run: --index: expected 0..%d, found \"%s\"", count - 1, o->index);
        *first = (int)index;
        *last = *first + 1;
    }
    MR_CHECK(
        !path || *last - *first <= 1, MR_ERR_USAGE,
        "mora run: --resume: expected auto or never for %d runs, found \"%s\"; a checkpoint is "
        "of one run: add --index",
        *last - *first, o->resume);
    return MR_OK;
}

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    run_options o = {.resume = MR_RESUME_AUTO, .progress = MR_PROGRESS_AUTO};
    mr_run_list list;
    int first, last;
    MR_TRY(help_on_topic(comm, argc, argv, &o.help));
    if (!o.help) MR_TRY(parse(comm, argc, argv, &o));
    if (o.help) return MR_OK;
    mr_log_set_progress((mr_progress)o.progress);
    MR_TRY(
        mr_config_load(comm, o.file, o.sets.item, o.sets.count, mr_registry_of_program(), &list));
    mr_status status = choose(&o, list.count, &first, &last);
    /* One run of many is asked for by every task of a job array: the others are not touched. */
    if (status == MR_OK && !o.index) status = mr_run_list_check(&list);
    if (status == MR_OK && o.list)
        status = comm->rank == 0 ? list_runs(&list, first, last, o.json) : MR_OK;
    else if (status == MR_OK && o.dry)
        status = plan_runs(comm, &list, first, last, o.ranks, o.node_ranks, o.json);
    else if (status == MR_OK)
        status = train_runs(comm, &list, first, last, o.resume, o.json);
    mr_run_list_free(&list);
    return status;
}

const mr_command mr_command_run = {
    .name = "run",
    .usage = "FILE.yaml [--set KEY=VALUE]... [--list] [--index N] [--resume auto|never|DIR]\n"
             "                    [--dry-run [--ranks N [--ranks-per-node M]]]\n"
             "                    [--progress auto|bar|lines|none] [--json]\n"
             "       mora run --help [SECTION | KEY | method.NAME | task.NAME]",
    .summary = "train, evaluate and record the runs a YAML file describes",
    .run = run,
};
