#include "corpus/prepare.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/utf8.h"
#include "corpus/worker.h"
#include "data/token_shards.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

mr_recipe mr_prepare_defaults(void)
{
    return (mr_recipe){.field = "text",
                       .documents = MR_DOCUMENTS_LINES,
                       .on_error = MR_FAULT_STOP,
                       .heldout = 0.01,
                       .unit_bytes = MR_PREPARE_UNIT};
}

/* The manifest is JSON, which holds UTF-8 only. */
static mr_status check_utf8(const char *what, const char *text)
{
    size_t length = strlen(text);
    MR_CHECK(mr_utf8_valid(text, length) == length, MR_ERR_USAGE,
             "%s: expected UTF-8, which the manifest can hold, found \"%s\"", what, text);
    return MR_OK;
}

static mr_status check_options(const mr_prepare_options *options, const mr_tokenizer *tokenizer)
{
    const mr_recipe *recipe = &options->recipe;
    MR_INVARIANT(recipe->unit_bytes > 0 && options->longest > 0);
    MR_CHECK(options->count > 0, MR_ERR_USAGE, "expected at least one file to prepare");
    MR_CHECK(recipe->heldout >= 0 && recipe->heldout < 1, MR_ERR_USAGE,
             "heldout: expected a share of 0 to below 1, found %g", recipe->heldout);
    MR_TRY(check_utf8("field", recipe->field));
    MR_TRY(check_utf8("tokenizer", tokenizer->name));
    MR_CHECK(tokenizer->eos >= 0, MR_ERR_CONFIG,
             "tokenizer '%s' has no EOS, which is to stand behind every document; a tokenizer.json "
             "has it from config.json or tokenizer_config.json beside it",
             tokenizer->name);
    return MR_OK;
}

/* Whether what was asked for applies to what the inputs turned out to be. */
static mr_status check_inputs(const mr_prepare_options *options, const mr_template *template,
                              const mr_survey *survey)
{
    bool json = false;
    for (int i = 0; i < survey->inputs; i++) {
        const bool text = survey->input[i].format == MR_INPUT_TEXT;
        json = json || !text;
        MR_CHECK(!text || !template, MR_ERR_USAGE,
                 "template %s: it reads records of JSON, but '%s' is plain text; --format jsonl or "
                 "json says that it is JSON",
                 mr_template_name(template), survey->input[i].path);
    }
    MR_CHECK(
        json || options->field_count == 0, MR_ERR_USAGE,
        "field: \"%s\" is one of JSON, but '%s'%s plain text; JSON is known by its name (.jsonl, "
        ".ndjson, .json), its first bytes, or --format jsonl or json",
        options->recipe.field, survey->input[0].path,
        survey->inputs > 1 ? " and all others are" : " is");
    return MR_OK;
}

/* What the manifest will say before a document is read. */
static mr_status begin_manifest(const mr_prepare_options *options, const mr_survey *survey,
                                const mr_tokenizer *tokenizer, const mr_template *template,
                                mr_token_manifest *out)
{
    mr_token_manifest_set_origin(out, tokenizer, template);
    out->recipe = options->recipe;
    out->input = mr_alloc_array(MR_MEM_DATA, (size_t)survey->inputs, sizeof *out->input);
    if (!out->input) return MR_ERR_MEMORY;
    out->inputs = survey->inputs;
    for (int i = 0; i < survey->inputs; i++) {
        mr_token_manifest_input *in = &out->input[i];
        in->path = mr_strdup(survey->input[i].path);
        if (!in->path) return MR_ERR_MEMORY;
        in->format = survey->input[i].format;
        in->bytes = survey->input[i].bytes;
        memcpy(in->sha256, survey->input[i].sha256, sizeof in->sha256);
    }
    return MR_OK;
}

/* Whether the finished folder can take the place of an empty one: known before the work, not after
 * hours of it. A link, a mount point and what goes by "." cannot be renamed to. */
static mr_status check_replaceable(const char *folder)
{
    char above[PATH_MAX];
    struct stat own, parent;
    const char *slash = strrchr(folder, '/'), *name = slash ? slash + 1 : folder;
    MR_TRY(mr_file_path(above, "%s/%s", folder, ".."));
    MR_CHECK(lstat(folder, &own) == 0, MR_ERR_IO, "cannot look at '%s': %s", folder,
             strerror(errno));
    MR_CHECK(S_ISDIR(own.st_mode) && stat(above, &parent) == 0 && own.st_dev == parent.st_dev &&
                 strcmp(name, ".") != 0 && strcmp(name, "..") != 0,
             MR_ERR_IO,
             "'%s' is a link, a mount point or a working folder, which the finished folder cannot "
             "replace; choose another, as '%s/tokens'",
             folder, folder);
    return MR_OK;
}

/* What can be said of the folder before any input is read; *there where one to compare with is. */
static mr_status check_folder(const char *folder, bool *there)
{
    char path[PATH_MAX];
    struct stat own, behind;
    *there = false;
    if (lstat(folder, &own) != 0) {
        MR_CHECK(errno == ENOENT, MR_ERR_IO, "cannot make '%s': %s", folder, strerror(errno));
        return MR_OK;
    }
    /* To an empty folder the new one may be renamed. */
    if (mr_file_is_empty_folder(folder)) return check_replaceable(folder);
    MR_CHECK(stat(folder, &behind) == 0, MR_ERR_IO,
             "'%s' is a link that leads nowhere; choose another", folder);
    MR_TRY(mr_file_path(path, "%s/%s", folder, "manifest.json"));
    MR_CHECK(access(path, F_OK) == 0, MR_ERR_IO,
             "'%s' exists and is no folder of mora data prepare; choose another", folder);
    *there = true;
    return MR_OK;
}

/* Compares what stands at the folder's name with what is wanted; *already where it is that, down to
 * its tokens, which are read for it: at the rate of SHA-256, a small part of preparing them. */
static mr_status compare_folder(const char *folder, const mr_token_manifest *wanted, bool *already)
{
    mr_token_shards *shards = NULL;
    bool there;
    MR_TRY(check_folder(folder, &there));
    if (!there) return MR_OK;
    mr_status status = mr_token_shards_open(folder, 1, &shards);
    if (status != MR_OK) return mr_fail_in(status, "'%s' exists, but is damaged", folder);
    const char *difference = mr_token_manifest_difference(mr_token_shards_manifest(shards), wanted);
    const bool older = mr_token_shards_manifest(shards)->version < MR_TOKEN_MANIFEST_VERSION;
    if (!difference) status = mr_token_shards_verify(shards, mr_comm_self());
    mr_token_shards_close(&shards);
    if (status != MR_OK) return mr_fail_in(status, "'%s' exists, but is damaged", folder);
    MR_CHECK(!difference, MR_ERR_IO,
             "'%s' exists, made with another setting (%s); choose another folder or remove it",
             folder, difference);
    if (older)
        mr_warn(
            "'%s' is of an older version, which does not tell where documents end; remove it to "
            "have it made anew",
            folder);
    *already = true;
    return MR_OK;
}

/* Rank 0's part before the work: looks at the folder, and makes the one beside it. */
static mr_status begin_folder(const mr_prepare_options *options, const mr_survey *survey,
                              const mr_tokenizer *tokenizer, const mr_template *template,
                              mr_staging *staging, mr_prepare_outcome *out)
{
    MR_TRY(begin_manifest(options, survey, tokenizer, template, &out->manifest));
    MR_TRY(compare_folder(staging->folder, &out->manifest, &out->already));
    if (!out->already) return mr_staging_begin(staging);
    mr_token_manifest_free(&out->manifest);
    return mr_token_manifest_read(staging->folder, &out->manifest);
}

/* Bytes done on all ranks when they last met, of the total; what rank 0 has done since is added. */
typedef struct display {
    int64_t total, met, own_then;
    double began;
} display;

static void show(void *context, int64_t own)
{
    const display *d = context;
    const int64_t done = d->met + own - d->own_then;
    const double seconds = mr_clock() - d->began;
    char text[64];
    snprintf(text, sizeof text, "MB, %.1f MB/s", seconds > 0 ? (double)done / 1e6 / seconds : 0);
    mr_log_progress("prepare", done / 1000000, d->total / 1000000, text);
}

/* Works in rounds of a unit each, so that a failure anywhere ends all soon. Collective. */
static mr_status work_in_rounds(const mr_comm *comm, mr_worker *work, display *d)
{
    bool more = true;
    while (more) {
        bool left = false;
        MR_AGREE(comm, mr_worker_step(work, comm->rank == 0 ? show : NULL, d, &left));
        int64_t sums[2] = {left, mr_worker_done(work)};
        d->own_then = sums[1];
        mr_comm_sum_i64(comm, sums, 2);
        d->met = sums[1];
        show(d, d->own_then);
        more = sums[0] > 0;
    }
    mr_log_progress_end();
    return MR_OK;
}

static int by_unit(const void *a, const void *b)
{
    const mr_unit_record *x = a, *y = b;
    if (x->input != y->input) return x->input < y->input ? -1 : 1;
    return (x->unit > y->unit) - (x->unit < y->unit);
}

static int by_line(const void *a, const void *b)
{
    const mr_fault_report *x = a, *y = b;
    if (x->input != y->input) return x->input < y->input ? -1 : 1;
    return (x->line > y->line) - (x->line < y->line);
}

static void add_unit(mr_token_manifest *m, const mr_unit_record *record)
{
    mr_token_manifest_input *in = &m->input[record->input];
    for (int f = 0; f < MR_FAULTS; f++) {
        in->errors += record->faults[f];
        m->errors[f] += record->faults[f];
    }
    for (int s = 0; s < MR_SPLITS; s++) {
        const mr_token_totals *of = &record->split[s];
        in->documents += of->documents;
        in->tokens += of->tokens;
        m->split[s].documents += of->documents;
        m->split[s].tokens += of->tokens;
        m->split[s].bytes += of->bytes;
        m->split[s].learned += of->learned;
        m->split[s].none_learned += of->none_learned;
        m->split[s].all_learned += of->all_learned;
        if (of->documents > 0) m->shard[m->shards++] = record->shard[s];
    }
}

/* Warnings about what was left out, the same whatever the ranks: each rank's first reports of a
 * kind hold the first of all. */
static void warn_of(const mr_token_manifest *m, mr_fault_report *report, int64_t count)
{
    int64_t told[MR_FAULTS] = {0};
    qsort(report, (size_t)count, sizeof *report, by_line);
    for (int64_t i = 0; i < count; i++)
        if (told[report[i].fault]++ < MR_PREPARE_REPORTS)
            mr_warn("%s:%lld: %s; left out", m->input[report[i].input].path,
                    (long long)report[i].line, report[i].what);
}

/* How many documents were left out, and, behind a colon, why. The caller frees kinds. */
static int64_t count_faults(const mr_token_manifest *m, mr_text *kinds)
{
    int64_t left_out = 0;
    for (int f = 0; f < MR_FAULTS; f++) {
        if (m->errors[f] == 0) continue;
        mr_text_add(kinds, "%s %s %lld", left_out > 0 ? "," : ":", mr_fault_name((mr_fault)f),
                    (long long)m->errors[f]);
        left_out += m->errors[f];
    }
    return left_out;
}

/* Warns of samples of which nothing or all is learned, which is seldom what is wanted. */
static void warn_of_masks(const mr_token_manifest *m, const mr_unit_record *record, int64_t records)
{
    static const char *const what[] = {"nothing", "every token"};
    for (int all = 0; all < 2 && m->marked; all++) {
        int64_t count = 0, i = 0;
        for (int s = 0; s < MR_SPLITS; s++)
            count += all ? m->split[s].all_learned : m->split[s].none_learned;
        if (count == 0) continue;
        while (i + 1 < records && (all ? record[i].all_line : record[i].none_line) == 0)
            i++;
        mr_warn(
            "%s is learned of %lld of %lld documents, the first at %s:%lld", what[all],
            (long long)count,
            (long long)(m->split[MR_SPLIT_TRAIN].documents + m->split[MR_SPLIT_HELDOUT].documents),
            m->input[record[i].input].path,
            (long long)(all ? record[i].all_line : record[i].none_line));
    }
}

/* Tells what was left out. That nothing is left is an error: a wrong field, or no text. */
static mr_status check_documents(const mr_token_manifest *m)
{
    mr_text kinds = {0};
    const int64_t left_out = count_faults(m, &kinds);
    mr_status status = MR_OK;
    if (left_out > 0)
        mr_warn("%lld documents left out%s", (long long)left_out, mr_text_get(&kinds));
    if (m->split[MR_SPLIT_TRAIN].documents + m->split[MR_SPLIT_HELDOUT].documents == 0)
        status = mr_fail(MR_ERR_FORMAT, "no document in '%s'%s; %lld left out%s", m->input[0].path,
                         m->inputs > 1 ? " and the files after it" : "", (long long)left_out,
                         mr_text_get(&kinds));
    mr_text_free(&kinds);
    return status;
}

/* Rank 0's part after the work. */
static mr_status finish_folder(mr_unit_record *record, int64_t records, mr_fault_report *report,
                               int64_t reports, mr_staging *staging, mr_token_manifest *m)
{
    qsort(record, (size_t)records, sizeof *record, by_unit);
    m->shard = mr_alloc_array(MR_MEM_DATA, (size_t)records * MR_SPLITS, sizeof *m->shard);
    if (!m->shard) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < records; i++)
        add_unit(m, &record[i]);
    warn_of(m, report, reports);
    MR_TRY(check_documents(m));
    warn_of_masks(m, record, records);
    MR_TRY(mr_token_manifest_write(m, staging->beside));
    return mr_staging_commit(staging);
}

/* Works, gathers what became of it, and finishes the folder. Collective. */
static mr_status process(const mr_comm *comm, const mr_prepare_options *options,
                         const mr_survey *survey, const mr_tokenizer *tokenizer,
                         const mr_template *template, mr_staging *staging,
                         mr_token_manifest *manifest)
{
    mr_worker *work = NULL;
    void *records = NULL, *reports = NULL;
    size_t record_bytes = 0, report_bytes = 0;
    int64_t own = 0;
    display d = {.began = mr_clock()};
    for (int i = 0; i < survey->inputs; i++)
        d.total += survey->input[i].bytes;
    mr_status status = mr_comm_agree(
        comm, mr_worker_create(comm, options, survey, tokenizer, template, staging, &work));
    if (status == MR_OK) status = work_in_rounds(comm, work, &d);
    if (status == MR_OK) status = mr_survey_check(comm, survey);
    if (status != MR_OK) goto cleanup;
    const mr_unit_record *record = mr_worker_records(work, &own);
    status = mr_comm_gather_to_root(comm, MR_MEM_DATA, record, (size_t)own * sizeof *record,
                                    &records, &record_bytes);
    if (status != MR_OK) goto cleanup;
    const mr_fault_report *report = mr_worker_reports(work, &own);
    status = mr_comm_gather_to_root(comm, MR_MEM_DATA, report, (size_t)own * sizeof *report,
                                    &reports, &report_bytes);
    if (status != MR_OK) goto cleanup;
    if (comm->rank == 0)
        status = finish_folder(records, (int64_t)(record_bytes / sizeof *record), reports,
                               (int64_t)(report_bytes / sizeof *report), staging, manifest);
    status = mr_comm_agree_root(comm, status);
cleanup:
    mr_free(reports);
    mr_free(records);
    mr_worker_destroy(&work);
    return status;
}

/* A shard (SPLIT-00000-000000.bin), its index or the manifest; what others call .bin is not for us
 * to remove. */
static bool is_ours(const char *name)
{
    size_t word = strspn(name, "abcdefghijklmnopqrstuvwxyz");
    size_t number = name[word] == '-' ? strspn(name + word, "-0123456789") : 0;
    const char *ending = name + word + number;
    return (number > 0 && (strcmp(ending, ".bin") == 0 || strcmp(ending, ".idx") == 0)) ||
           strcmp(name, "manifest.json") == 0 || strcmp(name, "manifest.json.tmp") == 0;
}

/* Takes what the files call fields: of plain text the one that is read, of a template any. */
static mr_status take_fields(const mr_prepare_options *options, mr_template *template,
                             char field[MR_RECIPE_FIELD])
{
    mr_text list = {0};
    MR_CHECK(template || options->field_count <= 1, MR_ERR_USAGE,
             "field: expected one, of the text, found %d", options->field_count);
    for (int i = 0; i < options->field_count; i++) {
        static const char own[] = "text="; /* as templates have it; that of plain text is text */
        const char *name = options->fields[i];
        const mr_status status = template ? mr_template_rename(template, name) : MR_OK;
        if (!template && strncmp(name, own, sizeof own - 1) == 0) name += sizeof own - 1;
        mr_text_add(&list, "%s%s", i > 0 ? "," : "", name);
        if (status != MR_OK) {
            mr_text_free(&list);
            return mr_fail_in(status, "field");
        }
    }
    const bool fits = list.length < MR_RECIPE_FIELD;
    if (fits && (template || list.length > 0)) memcpy(field, mr_text_get(&list), list.length + 1);
    mr_text_free(&list);
    MR_CHECK(fits, MR_ERR_USAGE, "field: more than %d bytes", MR_RECIPE_FIELD - 1);
    return MR_OK;
}

/* Makes tokenizer and template, NULL for plain text. */
static mr_status open_origin(mr_prepare_options *options, mr_tokenizer **tokenizer,
                             mr_template **template)
{
    MR_TRY(mr_tokenizer_create(options->tokenizer, tokenizer));
    if (options->template && strcmp(options->template, "plain") != 0)
        MR_TRY(mr_template_load(options->template, template));
    MR_TRY(take_fields(options, *template, options->recipe.field));
    MR_TRY(check_options(options, *tokenizer));
    return *template ? mr_template_bind(*template, *tokenizer) : MR_OK;
}

mr_status mr_prepare(const mr_comm *comm, const mr_prepare_options *wanted, mr_prepare_outcome *out)
{
    const double began = mr_clock();
    bool there = false;
    mr_prepare_options own = *wanted, *options = &own;
    mr_tokenizer *tokenizer = NULL;
    mr_template *template = NULL;
    mr_survey survey = {.inputs = 0};
    mr_staging staging;
    *out = (mr_prepare_outcome){.already = false};
    MR_AGREE(comm, mr_staging_name(options->folder, is_ours, &staging));
    MR_TRY(
        mr_comm_agree_root(comm, comm->rank == 0 ? check_folder(staging.folder, &there) : MR_OK));
    mr_status status = mr_comm_agree(comm, open_origin(options, &tokenizer, &template));
    if (status != MR_OK) goto cleanup;
    status = mr_survey_create(comm, options->inputs, options->count, &options->recipe,
                              options->format, &survey);
    if (status == MR_OK) status = check_inputs(options, template, &survey);
    if (status != MR_OK) goto cleanup;
    if (comm->rank == 0)
        status = begin_folder(options, &survey, tokenizer, template, &staging, out);
    status = mr_comm_agree_root(comm, status);
    if (status != MR_OK) goto cleanup;
    mr_comm_broadcast(comm, &out->already, sizeof out->already, 0);
    if (!out->already)
        status = process(comm, options, &survey, tokenizer, template, &staging, &out->manifest);
cleanup:
    if (comm->rank == 0) mr_staging_abandon(&staging);
    mr_survey_free(&survey);
    mr_template_destroy(&template);
    mr_tokenizer_destroy(&tokenizer);
    out->seconds = mr_clock() - began;
    return status;
}
