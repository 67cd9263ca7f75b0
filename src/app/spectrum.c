/* mora spectrum: the spectra of what was learned, of anything that lies on disk. */

#define _POSIX_C_SOURCE 200809L /* newlocale */ /* NOLINT(bugprone-reserved-identifier) */

#include "report/spectrum.h"

#include "app/command.h"
#include "app/info.h"
#include "base/file.h"
#include "base/log.h"
#include "comm/node.h"
#include "report/layout.h"
#include "store/peft.h"
#include "train/plan.h"
#include "train/run_updates.h"

#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the command line says. */
typedef struct request {
    const char *what, *base, *modules, *out;
    const char *threshold, *epsilon, *memory; /* numbers as they stand; NULL: the default */
    int64_t directions, seed;
    int route;
    bool json, dry_run;
} request;

static mr_status read_number(const char *text, const char *option, double *out)
{
    char *end;
    if (!text) return MR_OK;
    *out = mr_text_is_number(text) ? strtod(text, &end) : NAN;
    MR_CHECK(*out >= 0 && *out < INFINITY, MR_ERR_USAGE,
             "mora spectrum: --%s: expected a number, 0 or more, found \"%s\"", option, text);
    return MR_OK;
}

/* The options of the analysis, and the backend whose memory they share. Collective. */
static mr_status read_options(const mr_comm *comm, const request *r, mr_backend *be,
                              mr_analysis_options *out)
{
    static const mr_distributed_route routes[] = {
        MR_DISTRIBUTED_BIDIAGONAL, MR_DISTRIBUTED_BIDIAGONAL, MR_DISTRIBUTED_BIDIAGONAL,
        MR_DISTRIBUTED_GRAM, MR_DISTRIBUTED_PDGESVD};
    static mr_config config; /* what of it counts is 0, a default */
    *out = (mr_analysis_options){.threshold = 0.1,
                                 .directions = r->directions,
                                 .epsilon = 0.5,
                                 .seed = (uint64_t)r->seed,
                                 .threads = mr_node_threads(comm, 0),
                                 .where = r->route == 0   ? MR_ANALYSIS_AUTO
                                          : r->route == 1 ? MR_ANALYSIS_LOCAL
                                                          : MR_ANALYSIS_TOGETHER,
                                 .route = routes[r->route]};
    MR_TRY(read_number(r->threshold, "threshold", &out->threshold));
    MR_TRY(read_number(r->epsilon, "epsilon", &out->epsilon));
    MR_TRY(read_number(r->memory, "memory-gib", &config.parallel.memory_gib));
    out->bytes = mr_memory_limit_of(comm, &config, be, 0, NULL).bytes;
    return MR_OK;
}

static bool has_utf8(void)
{
    locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    if (locale == (locale_t)0) return false;
    const bool utf8 = strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;
    freelocale(locale);
    return utf8;
}

/* Says what the work will take. Local. */
static mr_status print_plan(const mr_comm *comm, const request *r, const mr_updates *updates,
                            const mr_analysis_options *options)
{
    mr_analysis_plan *plan = mr_alloc_array(MR_MEM_OTHER, (size_t)updates->count, sizeof *plan);
    int threads = 1;
    double flops = 0, all = 0;
    size_t most = 0, together = 0;
    int64_t shared = 0;
    mr_text text = {0};
    mr_status status = plan ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK)
        status = mr_analysis_make_plan(updates, comm->size, options, plan, &threads);
    for (int64_t i = 0; status == MR_OK && i < updates->count; i++) {
        const mr_updates_item *item = &updates->item[i];
        size_t *bytes = plan[i].together ? &together : &most;
        if (plan[i].bytes > *bytes) *bytes = plan[i].bytes;
        shared += plan[i].together;
        flops += plan[i].flops;
        all += (double)item->rows * (double)item->cols;
    }
    const size_t rank = most * (size_t)threads > together ? most * (size_t)threads : together;
    if (r->json) {
        if (status == MR_OK)
            mr_text_add(&text,
                        "{\"matrices\": %lld, \"elements\": %.0f, \"flops\": %.6g, "
                        "\"bytes_a_rank\": %zu, \"threads\": %d, \"on_all_ranks\": %lld}\n",
                        (long long)updates->count, all, flops, rank, threads, (long long)shared);
        if (!text.failed) mr_print_json_text(mr_text_get(&text));
    } else if (status == MR_OK) {
        mr_text_add(&text,
                    "%s: %s: %lld matrices of %.4g million elements\n"
                    "%.3g GFLOP over %d ranks, about %.3g GiB a rank, %d matrices at a time",
                    r->what, updates->kind, (long long)updates->count, all / 1e6, flops / 1e9,
                    comm->size, (double)rank / 0x1p30, threads);
        if (shared > 0)
            mr_text_add(&text, "; %lld of them on all ranks together, by %s", (long long)shared,
                        mr_distributed_route_name(options->route));
        mr_text_add(&text, "\n");
        status = mr_print_text(&text);
    }
    mr_text_free(&text);
    mr_free(plan);
    return status;
}

static mr_status write_files(const mr_spectrum *spectrum, const char *prefix)
{
    char path[PATH_MAX];
    MR_TRY(mr_file_path(path, "%s", prefix));
    char *name = strrchr(path, '/');
    if (name && name > path) {
        *name = '\0';
        MR_TRY(mr_file_make_folders(path));
    }
    MR_TRY(mr_file_path(path, "%s.spectra.h5", prefix));
    MR_TRY(mr_spectrum_file(spectrum, path));
    MR_TRY(mr_file_path(path, "%s.csv", prefix));
    return mr_spectrum_csv(spectrum, path);
}

static mr_status print_results(const mr_spectrum *spectrum, bool json)
{
    mr_text text = {0};
    if (json) {
        json_t *value = mr_spectrum_json(spectrum);
        mr_status status = value ? mr_print_json(value) : MR_ERR_MEMORY;
        json_decref(value);
        return status;
    }
    mr_spectrum_text(spectrum, has_utf8(), &text);
    mr_status status = mr_print_text(&text);
    mr_text_free(&text);
    return status;
}

/* Names what was left out; rank 0. */
static mr_status tell(const mr_spectrum *spectrum, const request *r)
{
    const mr_updates *updates = spectrum->updates;
    int64_t left_out = 0;
    for (int64_t i = 0; i < updates->count; i++) {
        if (spectrum->all[i].done) continue;
        left_out++;
        mr_warn("%s: %s; left out", updates->item[i].name, spectrum->all[i].message);
    }
    if (left_out < updates->count) {
        MR_TRY(print_results(spectrum, r->json));
        if (r->out) MR_TRY(write_files(spectrum, r->out));
    }
    MR_CHECK(left_out == 0, MR_ERR_FORMAT, "%s: %lld of %lld matrices were left out", r->what,
             (long long)left_out, (long long)updates->count);
    return MR_OK;
}

static mr_status analyse(const mr_comm *comm, const request *r, const mr_updates *updates,
                         const mr_analysis_options *options)
{
    mr_spectrum spectrum = {
        .what = r->what, .base = r->base, .updates = updates, .options = options};
    mr_analysis *all;
    MR_TRY(mr_analyse(comm, updates, options, &all));
    spectrum.all = all;
    mr_status status = mr_comm_agree_root(comm, comm->rank == 0 ? tell(&spectrum, r) : MR_OK);
    mr_analyses_free(&all, updates->count);
    return status;
}

/* Finds out what there is: an adapter, or what mora info tells. Local. */
static mr_status recognise(const char *path, bool *of_run)
{
    mr_info_kind kind = MR_INFO_FOLDER;
    if (!mr_peft_is(path)) MR_TRY(mr_info_recognise(path, &kind));
    *of_run = kind == MR_INFO_RUN_LOG || kind == MR_INFO_SAFETENSORS ||
              kind == MR_INFO_CHECKPOINT || kind == MR_INFO_CHECKPOINTS;
    MR_CHECK(
        *of_run || kind == MR_INFO_FOLDER, MR_ERR_FORMAT,
        "%s: nothing that was learnt: expected a run log, its trained tensors, checkpoints, an "
        "adapter or a model folder",
        path);
    return MR_OK;
}

static mr_status open_updates(const mr_comm *comm, const request *r, mr_backend *be,
                              mr_updates **out)
{
    bool of_run = false;
    MR_TRY(mr_comm_agree_root(comm, comm->rank == 0 ? recognise(r->what, &of_run) : MR_OK));
    mr_comm_broadcast(comm, &of_run, sizeof of_run, 0);
    mr_status status = of_run ? mr_run_updates_open(comm, be, r->what, r->base, out)
                              : mr_updates_open(be, r->what, r->base, out);
    if (status == MR_OK && r->modules) status = mr_updates_choose(*out, r->modules);
    return mr_comm_agree_first(comm, status, comm->rank);
}

static mr_status run_request(const mr_comm *comm, const request *r)
{
    mr_backend *be = NULL;
    mr_updates *updates = NULL;
    mr_analysis_options options;
    mr_status status = mr_comm_agree(comm, mr_backend_create("cpu", 0, 1, &be));
    if (status == MR_OK) status = read_options(comm, r, be, &options);
    if (status == MR_OK) status = open_updates(comm, r, be, &updates);
    if (status == MR_OK && r->dry_run)
        status = mr_comm_agree_root(comm, comm->rank == 0 ? print_plan(comm, r, updates, &options)
                                                          : MR_OK);
    else if (status == MR_OK)
        status = analyse(comm, r, updates, &options);
    mr_updates_close(&updates);
    if (be) mr_backend_destroy(&be);
    return status;
}

static mr_status run(const mr_comm *comm, int argc, char **argv)
{
    request r = {.directions = 10, .seed = 1};
    int operands, progress = MR_PROGRESS_AUTO;
    bool help;
    const mr_option options[] = {
        {"base", MR_OPTION_PATH, &r.base, "DIR", "model that the update is of"},
        {"modules", MR_OPTION_TEXT, &r.modules, "a,b", "projections or whole names (all)"},
        {"threshold", MR_OPTION_TEXT, &r.threshold, "X", "count singular values above it (0.1)"},
        {"k", MR_OPTION_INT, &r.directions, "N",
         "leading directions compared with the base's; 0: none (10)"},
        {"epsilon", MR_OPTION_TEXT, &r.epsilon, "X",
         "|cosine| to all of the base's below which a direction is an intruder (0.5)"},
        {"seed", MR_OPTION_INT, &r.seed, "N", "of the noise of equal norm (1)"},
        {"route", MR_OPTION_CHOICE, &r.route, "auto|local|bidiagonal|gram|pdgesvd",
         "where and how: each matrix on a rank, or on all by ScaLAPACK; auto: as it fits"},
        {"memory-gib", MR_OPTION_TEXT, &r.memory, "X", "that a rank may take (0.8 of its share)"},
        {"out", MR_OPTION_PATH, &r.out, "PREFIX", "write PREFIX.spectra.h5 and PREFIX.csv"},
        {"dry-run", MR_OPTION_FLAG, &r.dry_run, NULL, "print bytes and FLOP, compute nothing"},
        {"progress", MR_OPTION_CHOICE, &progress, "auto|bar|lines|none",
         "how progress is shown; auto: a bar on a terminal, else lines"},
        {"json", MR_OPTION_FLAG, &r.json, NULL, "print every matrix as JSON"},
    };
    MR_TRY(mr_options_parse(comm, &mr_command_spectrum, options, sizeof options / sizeof options[0],
                            argc, argv, &r.what, 1, &operands, NULL, &help));
    if (help) return MR_OK;
    mr_log_set_progress((mr_progress)progress);
    MR_CHECK(operands == 1, MR_ERR_USAGE,
             "mora spectrum: expected a file or folder; usage: mora spectrum %s",
             mr_command_spectrum.usage);
    return run_request(comm, &r);
}

const mr_command mr_command_spectrum = {
    .name = "spectrum",
    .usage = "WHAT [--base DIR] [--out PREFIX] ... [--json]",
    .summary =
        "singular values of what was learned: a run, a checkpoint, a PEFT adapter, two models",
    .run = run,
};
