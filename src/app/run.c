/* mora run: train the runs a YAML file describes. */

#include "train/run.h"

#include "app/command.h"
#include "config/load.h"
#include "store/json.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_header(void)
{
    printf("%-44s %6s %9s %12s %10s %8s  %s\n", "run", "steps", "loss", "score", "tokens/s",
           "seconds", "log");
}

static void print_outcome(const mr_config *config, const mr_run_outcome *o)
{
    char score[32] = "-", loss[16] = "-";
    bool percent = strcmp(o->score.name, "accuracy") == 0;
    if (isfinite(o->score.value))
        snprintf(score, sizeof score, percent ? "%.2f %%" : "%.3f ppl",
                 percent ? 100 * o->score.value : o->score.value);
    if (isfinite(o->loss)) snprintf(loss, sizeof loss, "%.4f", o->loss);
    printf("%-44s %6lld %9s %12s %10.0f %8.1f  %s%s\n", config->run.name, (long long)o->steps, loss,
           score, o->tokens_per_second, o->seconds, o->log, o->skipped ? " (done before)" : "");
    fflush(stdout);
}

static void add_outcome(json_t *rows, const mr_config *config, const mr_run_outcome *o)
{
    json_array_append_new(
        rows, json_pack("{s:s, s:I, s:o, s:o, s:f, s:f, s:s, s:b}", "run", config->run.name,
                        "steps", (json_int_t)o->steps, "loss", mr_json_number(o->loss),
                        o->score.name[0] ? o->score.name : "score", mr_json_number(o->score.value),
                        "tokens_per_second", o->tokens_per_second, "seconds", o->seconds, "log",
                        o->log, "skipped", o->skipped));
}

static void print_plan(const mr_config *config, const mr_run_plan *p)
{
    const mr_geometry *g = &p->geometry;
    printf("%s\n  %-14s %14s\n", config->run.name, "bytes a rank", "MiB");
    for (int i = 0; i < MR_PLANNED; i++)
        printf("    %-12s %14.2f  (%zu bytes)\n", mr_purpose_name((mr_purpose)i),
               (double)p->plan.bytes[i] / 0x1p20, p->plan.bytes[i]);
    printf("    %-12s %14.2f  (%zu bytes)\n", "total", (double)p->plan.total / 0x1p20,
           p->plan.total);
    printf("  parameters     %lld, trained %lld (%.3f %%)\n", (long long)p->parameters,
           (long long)p->trained, 100.0 * (double)p->trained / (double)p->parameters);
    printf("  step           %d ranks x %lld waves x %lld micro-batches of %lld x %lld tokens\n",
           p->ranks, (long long)g->waves, (long long)g->in_wave, (long long)g->batch,
           (long long)g->tokens);
    printf("                 %.4g FLOP, %.2f MiB received a rank, %lld gathers of a unit\n",
           p->plan.flops, p->plan.traffic / 0x1p20, (long long)p->plan.gathers);
}

static void add_plan(json_t *rows, const mr_config *config, const mr_run_plan *p)
{
    json_t *bytes = json_object();
    for (int i = 0; i < MR_PLANNED; i++)
        json_object_set_new(bytes, mr_purpose_name((mr_purpose)i),
                            json_integer((json_int_t)p->plan.bytes[i]));
    json_array_append_new(
        rows, json_pack("{s:s, s:i, s:o, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:b}", "run",
                        config->run.name, "ranks", p->ranks, "bytes", bytes, "total_bytes",
                        (json_int_t)p->plan.total, "parameters", (json_int_t)p->parameters,
                        "trainable_parameters", (json_int_t)p->trained, "waves",
                        (json_int_t)p->geometry.waves, "micro_batches_in_wave",
                        (json_int_t)p->geometry.in_wave, "flops_per_step", p->plan.flops,
                        "bytes_received_per_step", p->plan.traffic, "gathers_per_step",
                        (json_int_t)p->plan.gathers, "fits", p->fits));
}

/* Plans runs first..last-1; one that does not fit is printed all the same, and is the verdict. */
static mr_status plan_runs(const mr_comm *comm, const mr_run_list *list, int first, int last,
                           int64_t ranks, bool json)
{
    json_t *rows = json_array();
    mr_run_plan plan;
    mr_config config;
    char verdict[MR_MESSAGE_MAX] = "";
    mr_status status = MR_OK;
    for (int i = first; i < last && status == MR_OK; i++) {
        status = mr_run_list_get(list, i, &config);
        if (status == MR_OK) status = mr_run_dry(comm, &config, ranks, &plan);
        if (status != MR_OK) break;
        if (!plan.fits && !verdict[0])
            snprintf(verdict, sizeof verdict, "%.200s: %.800s", config.run.name, plan.verdict);
        if (comm->rank == 0 && json) add_plan(rows, &config, &plan);
        if (comm->rank == 0 && !json) print_plan(&config, &plan);
    }
    if (comm->rank == 0 && json && status == MR_OK) status = mr_print_json(rows);
    json_decref(rows);
    fflush(stdout);
    if (status == MR_OK && verdict[0]) status = mr_fail(MR_ERR_ARG, "%s", verdict);
    return status;
}

/* Rank 0 prints the numbers and names of runs first..last-1. */
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
    json_decref(rows);
    return status;
}

/* Trains runs first..last-1. A diverged run is a result: the others still run, the exit code tells.
 */
static mr_status train_runs(const mr_comm *comm, const mr_run_list *list, int first, int last,
                            const char *resume, bool json)
{
    mr_status verdict = MR_OK;
    bool speaks = comm->rank == 0;
    json_t *rows = json_array();
    char message[MR_MESSAGE_MAX] = "";
    if (speaks && !json) print_header();
    for (int i = first; i < last; i++) {
        mr_run_outcome outcome;
        mr_config config;
        MR_TRY(mr_run_list_get(list, i, &config));
        mr_status status = mr_run(comm, &config, resume, &outcome);
        if (status != MR_OK) {
            status = mr_fail_in(status, "%s", config.run.name);
            snprintf(message, sizeof message, "%s", mr_message());
            verdict = status;
        }
        if (status != MR_OK && status != MR_ERR_NUMERIC) break;
        if (speaks && json) add_outcome(rows, &config, &outcome);
        if (speaks && !json) print_outcome(&config, &outcome);
    }
    mr_status printed = speaks && json ? mr_print_json(rows) : MR_OK;
    json_decref(rows);
    return verdict == MR_OK ? printed : mr_fail(verdict, "%s", message);
}

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    mr_option_list sets = {0};
    bool list_only = false, dry = false, json = false, help;
    const char *index_text = NULL, *resume = MR_RESUME_AUTO, *operand[1];
    int64_t ranks = 0;
    int operands, choice_count;
    const mr_config_choices *choices = mr_choices(&choice_count);
    const mr_option options[] = {
        {"set", MR_OPTION_LIST, &sets, "KEY=VALUE", "override a key; may be repeated"},
        {"list", MR_OPTION_FLAG, &list_only, NULL, "print the runs of the matrix and stop"},
        {"index", MR_OPTION_TEXT, &index_text, "N", "run number N of --list only"},
        {"dry-run", MR_OPTION_FLAG, &dry, NULL,
         "print bytes a rank, FLOP and traffic of a step, and stop"},
        {"ranks", MR_OPTION_INT, &ranks, "N", "with --dry-run: plan for N ranks"},
        {"resume", MR_OPTION_TEXT, &resume, "auto|never|DIR",
         "go on from the run's newest sound checkpoint (auto), from none, or from DIR"},
        {"json", MR_OPTION_FLAG, &json, NULL, "print results as JSON"},
    };
    mr_text keys = {0};
    mr_status status = mr_config_help(choices, choice_count, &keys);
    if (status == MR_OK)
        status =
            mr_options_parse(comm, &mr_command_run, options, sizeof options / sizeof options[0],
                             argc, argv, operand, 1, &operands, mr_text_get(&keys), &help);
    mr_text_free(&keys);
    MR_TRY(status);
    if (help) return MR_OK;
    MR_CHECK(ranks == 0 || dry, MR_ERR_USAGE, "mora run: --ranks goes with --dry-run");
    MR_CHECK(ranks <= INT_MAX, MR_ERR_USAGE, "mora run: --ranks: expected at most %d", INT_MAX);
    MR_CHECK(operands == 1, MR_ERR_USAGE, "mora run: expected a YAML file; usage: mora run %s",
             mr_command_run.usage);

    mr_run_list list;
    MR_TRY(mr_config_load(comm, operand[0], sets.item, sets.count, choices, choice_count, &list));
    int first = 0, last = list.count;
    if (index_text) {
        char *end;
        long index = strtol(index_text, &end, 10);
        if (end == index_text || *end || index < 0 || index >= list.count) {
            status = mr_fail(MR_ERR_USAGE, "mora run: --index: expected 0..%d, found \"%s\"",
                             list.count - 1, index_text);
            goto cleanup;
        }
        first = (int)index;
        last = first + 1;
    }
    bool path = strcmp(resume, MR_RESUME_AUTO) != 0 && strcmp(resume, MR_RESUME_NEVER) != 0;
    if (path && last - first > 1) {
        status = mr_fail(MR_ERR_USAGE,
                         "mora run: --resume: expected auto or never for %d runs, found \"%s\"; a "
                         "checkpoint is of one run: add --index",
                         last - first, resume);
        goto cleanup;
    }
    /* One run of many is asked for by every task of a job array: the others are not touched. */
    if (!index_text) status = mr_run_list_check(&list);
    if (status != MR_OK) goto cleanup;
    if (list_only) {
        if (comm->rank == 0) status = list_runs(&list, first, last, json);
    } else if (dry) {
        status = plan_runs(comm, &list, first, last, ranks, json);
    } else {
        status = train_runs(comm, &list, first, last, resume, json);
    }
cleanup:
    mr_run_list_free(&list);
    return status;
}

const mr_command mr_command_run = {
    .name = "run",
    .usage = "FILE.yaml [--set KEY=VALUE]... [--list] [--index N] [--dry-run [--ranks N]]\n"
             "                    [--resume auto|never|DIR] [--json]",
    .summary = "train, evaluate and record the runs a YAML file describes",
    .run = run,
};
