#include "base/file.h"
#include "base/log.h"
#include "mr_build_info.h"
#include "store/runlog_read.h"
#include "train/kept.h"
#include "train/record_impl.h"
#include "train/state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Elements of the model without what adapters add. */
static int64_t base_parameters(const mr_params *params)
{
    int64_t count = 0;
    for (mr_params_walk at = {0}; mr_params_next(params, &at);)
        if (!at.param->adapter) count += at.param->rows * at.param->cols;
    return count;
}

/* What became of the documents of the data, for the log. */
static mr_status record_tally(const mr_record *record, mr_part part)
{
    const mr_tally *t = &record->trainer->dataset->tally[part];
    const struct {
        const char *name;
        int64_t value;
    } counts[] = {{"documents", t->documents},
                  {"documents_dropped", t->dropped},
                  {"documents_none_learned", t->none_learned},
                  {"samples_truncated", t->truncated},
                  {"samples_all_learned", t->all_learned}};
    for (size_t i = 0; t->documents > 0 && i < sizeof counts / sizeof *counts; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s_%s", mr_part_texts[part], counts[i].name);
        MR_TRY(mr_runlog_set_int(record->log, name, counts[i].value));
    }
    return MR_OK;
}

static const char *name_of(mr_dtype dtype)
{
    return dtype == MR_BF16 ? "bf16" : "f32";
}

/* Attributes that tell what runs. */
static mr_status describe(mr_record *record)
{
    const mr_config *c = record->config;
    const mr_trainer *t = record->trainer;
    const mr_params *params = mr_model_params(t->model);
    mr_runlog *log = record->log;
    mr_text text = {0};
    mr_inputs inputs = t->inputs;
    mr_inputs_field fields[MR_INPUTS_FIELDS];
    mr_inputs_fields(&inputs, fields);
    char sets_hashes[MR_SETS_HASHES] = "";
    mr_status status = mr_config_resolved(c, &text);
    if (status == MR_OK) status = mr_sets_hashes(c, sets_hashes);
    const struct {
        const char *name, *value;
    } texts[] = {
        {"run", c->run.name},
        {"config", mr_text_get(&text)},
        {"git_commit", MR_BUILD_COMMIT},
        {"version", MR_BUILD_VERSION},
        {"build_options", MR_BUILD_OPTIONS},
        {"backend", t->be->ops->name},
        {"dtype", name_of(mr_trainer_dtype(c))},
        {"matmul", c->model.matmul == MR_MATMUL_FP8 ? "fp8" : "dtype"},
        {"optimizer_dtype", name_of(mr_trainer_states(c))},
        {"task", c->task.name},
        {"method", c->method.name},
        {"tokenizer", t->tokenizer->source},
        {"sets_hashes", sets_hashes},
        {"stop_reason", "running, or killed"},
        {"same_bits_on", t->rank_free ? "1, 2, 4 ... same_bits_up_to ranks, "
                                        "at the same number of threads"
                                      : "this number of ranks"},
    };
    const struct {
        const char *name;
        int64_t value;
    } ints[] = {
        {"seed", c->run.seed},
        {"ranks", t->comm->size},
        {"threads", t->be->threads},
        {"r", mr_adapter_config_of(c)->r},
        {"parameters", mr_params_count(params, false)},
        {"base_parameters", base_parameters(params)},
        {"trainable_parameters", mr_params_count(params, true)},
        {"planned_bytes", (int64_t)t->plan.total},
        {"seq_len", t->seq_len},
        {"samples", t->dataset->items},
        {"rows", mr_dataset_rows(t->dataset)},
        {"micro_batches", t->micro_batches},
        {"same_bits_up_to", t->rank_free ? t->stretches : 0},
        {"steps", t->step},
    };
    for (size_t i = 0; status == MR_OK && i < sizeof texts / sizeof texts[0]; i++)
        status = mr_runlog_set_text(log, texts[i].name, texts[i].value);
    for (int i = 0; status == MR_OK && i < MR_INPUTS_FIELDS; i++)
        status = mr_runlog_set_text(log, fields[i].name, fields[i].text);
    for (size_t i = 0; status == MR_OK && i < sizeof ints / sizeof ints[0]; i++)
        status = mr_runlog_set_int(log, ints[i].name, ints[i].value);
    if (status == MR_OK) status = mr_runlog_set_double(log, "flops_per_step", t->plan.cost.flops);
    const double padding = mr_dataset_padding(t->dataset, t->seq_len);
    if (status == MR_OK && padding >= 0)
        status = mr_runlog_set_double(log, "padding_share", padding);
    if (status == MR_OK) status = record_tally(record, MR_PART_TRAIN);
    if (status == MR_OK) status = record_tally(record, MR_PART_HELDOUT);
    mr_text_free(&text);
    return status;
}

static void tell_of_tokenizer(const mr_record *record)
{
    const mr_tokenizer *tokenizer = record->trainer->tokenizer;
    mr_log("%s: tokenizer %s, %d ids, %s", record->config->run.name, tokenizer->source,
           tokenizer->vocabulary, tokenizer->reason);
}

static void tell_of_documents(const mr_record *record, mr_part part)
{
    const mr_tally *t = &record->trainer->dataset->tally[part];
    if (t->documents == 0) return;
    mr_log("%s: %s: %lld documents: %lld too long and dropped, %lld without a learned token left "
           "out, %lld truncated, %lld learned from end to end",
           record->config->run.name, mr_part_texts[part], (long long)t->documents,
           (long long)t->dropped, (long long)t->none_learned, (long long)t->truncated,
           (long long)t->all_learned);
}

static void tell_of_rows(const mr_record *record)
{
    const mr_trainer *t = record->trainer;
    const double padding = mr_dataset_padding(t->dataset, t->seq_len);
    if (padding < 0) return;
    mr_log("%s: %lld samples in %lld rows of %lld tokens, %.1f %% of them padding",
           record->config->run.name, (long long)t->dataset->items,
           (long long)mr_dataset_rows(t->dataset), (long long)t->seq_len, 100 * padding);
}

static void tell_of_data(const mr_record *record)
{
    tell_of_tokenizer(record);
    tell_of_documents(record, MR_PART_TRAIN);
    tell_of_documents(record, MR_PART_HELDOUT);
    tell_of_rows(record);
}

static void tell_of_types(const mr_record *record)
{
    if (record->config->model.matmul == MR_MATMUL_FP8)
        mr_log("%s: products with frozen weights of layers take copies in fp8 (e4m3, a scale a "
               "row), of activations and gradients too (model.matmul)",
               record->config->run.name);
    if (mr_trainer_states(record->config) == MR_BF16)
        mr_log("%s: trained weights of the base and their moments are kept in bf16, rounded "
               "stochastically (train.optimizer_dtype)",
               record->config->run.name);
}

/* What adapters became: the operator of `auto`, r_hat. */
static mr_status record_choices(mr_record *record)
{
    const mr_model *model = record->trainer->model;
    bool said = false;
    for (mr_model_choice at = {0}; mr_model_next_choice(model, &at);) {
        char line[2 * MR_PARAM_NAME];
        snprintf(line, sizeof line, "%.*s: %s", MR_PARAM_NAME - 1, at.weight, at.text);
        MR_TRY(mr_runlog_event(record->log, 0, "adapter", line));
        if (!said)
            mr_log("%s: %s, %s", record->config->run.name, mr_model_method(model)->name, at.text);
        said = true;
    }
    return MR_OK;
}

static mr_status start(mr_record *record)
{
    char started[32];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", &utc);
    MR_TRY(mr_runlog_create(record->path, &record->log));
    MR_TRY(mr_runlog_set_text(record->log, "started", started));
    MR_TRY(describe(record));
    tell_of_data(record);
    tell_of_types(record);
    return record_choices(record);
}

static void warn_of_late_evaluations(const mr_record *record)
{
    const mr_int_list *at = &record->config->eval.at_steps;
    if (at->count > 0 && at->item[at->count - 1] > record->trainer->total_steps)
        mr_warn("eval.at_steps: step %lld is behind the run's %lld steps",
                (long long)at->item[at->count - 1], (long long)record->trainer->total_steps);
}

mr_status mr_record_begin(mr_record *record)
{
    if (record->trainer->comm->rank != 0) return MR_OK;
    warn_of_late_evaluations(record);
    return start(record);
}

bool mr_record_tells_nothing(mr_status status)
{
    return status == MR_ERR_IO || status == MR_ERR_MEMORY;
}

/* Copies an attribute that older logs lack. */
static mr_status find_text(const mr_runlog_reader *reader, const char *name, char *out, size_t room)
{
    char *text;
    out[0] = '\0';
    if (!mr_runlog_has_attribute(reader, name)) return MR_OK;
    MR_TRY(mr_runlog_get_text(reader, name, &text));
    snprintf(out, room, "%s", text);
    mr_free(text);
    return MR_OK;
}

static mr_status find_run(const mr_config *config, const mr_runlog_reader *reader,
                          mr_record_found *out)
{
    mr_config theirs;
    char *stop = NULL, *text = NULL;
    mr_inputs_field fields[MR_INPUTS_FIELDS];
    mr_inputs_fields(&out->inputs, fields);
    mr_status status = mr_runlog_get_text(reader, "stop_reason", &stop);
    if (status == MR_OK) status = mr_runlog_get_text(reader, "config", &text);
    if (status == MR_OK) status = mr_config_parse_resolved(config->registry, text, &theirs);
    if (status == MR_OK) status = mr_runlog_get_int(reader, "steps", &out->steps);
    for (int i = 0; status == MR_OK && i < MR_INPUTS_FIELDS; i++)
        status = find_text(reader, fields[i].name, fields[i].text, fields[i].room);
    if (status == MR_OK) status = find_text(reader, "git_commit", out->commit, sizeof out->commit);
    if (status == MR_OK) status = find_text(reader, "kept", out->kept, sizeof out->kept);
    if (status == MR_OK)
        status = find_text(reader, "sets_hashes", out->sets_hashes, sizeof out->sets_hashes);
    if (status == MR_OK) {
        out->ours = !mr_state_differing_key(config, &theirs);
        out->completed = strcmp(stop, MR_STOP_COMPLETED) == 0;
    }
    mr_free(stop);
    mr_free(text);
    return status;
}

mr_status mr_record_find(const mr_config *config, const char *path, mr_record_found *out)
{
    mr_runlog_reader *reader = NULL;
    *out = (mr_record_found){0};
    if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR)) return MR_OK;
    mr_status status = mr_runlog_open(path, &reader);
    if (status == MR_OK) status = find_run(config, reader, out);
    mr_runlog_close_reader(&reader);
    return status;
}

mr_status mr_record_resume(mr_record *record, const char *checkpoint, int64_t ranks, bool own,
                           bool evaluated)
{
    const mr_trainer *t = record->trainer;
    mr_record_found found;
    char text[2 * MR_CONFIG_STRING + 128];
    if (t->comm->rank != 0) return MR_OK;
    record->checkpoints_claimed = own;
    warn_of_late_evaluations(record);
    mr_status status = mr_record_find(record->config, record->path, &found);
    bool ours = status == MR_OK && found.ours;
    if (ours) status = mr_runlog_reopen(record->path, &record->log);
    if (mr_record_tells_nothing(status)) return status;
    if (status == MR_OK && ours) {
        record->claimed = true;
        MR_TRY(mr_runlog_rewind(record->log, t->step, evaluated));
        MR_TRY(mr_record_check_sets(record));
        MR_TRY(describe(record));
        tell_of_data(record);
        tell_of_types(record);
    } else {
        if (status != MR_OK) mr_warn("%s", mr_message());
        mr_warn("%s: no log of this run to go on with: a new one starts at step %lld", record->path,
                (long long)t->step);
        MR_TRY(start(record));
    }
    snprintf(text, sizeof text, "from %s, saved by %lld ranks, on %d ranks of %d threads",
             checkpoint, (long long)ranks, t->comm->size, t->be->threads);
    return mr_record_event(record, "resume", text);
}

/* Keeps what stands at a path, unless it is an empty folder, under another name. */
static mr_status put_aside(const char *path)
{
    char aside[PATH_MAX];
    if (access(path, F_OK) != 0 || mr_file_is_empty_folder(path)) return MR_OK;
    MR_TRY(mr_file_put_aside(path, "previous", aside));
    mr_log("%s kept as %s", path, aside);
    return MR_OK;
}

void mr_record_rows_prefix(const mr_config *config, char prefix[MR_ROWS_PREFIX])
{
    snprintf(prefix, MR_ROWS_PREFIX, "%s/%s", config->run.output, config->run.name);
}

void mr_record_spectra_path(const mr_config *config, char path[MR_SPECTRA_PATH])
{
    snprintf(path, MR_SPECTRA_PATH, "%s/%s.spectra.h5", config->run.output, config->run.name);
}

/* Rows of the items of sets, of a run that is not gone on with. */
static mr_status put_rows_aside(const mr_record *record)
{
    const mr_evaluator *evaluator = record->trainer->evaluator;
    char prefix[MR_ROWS_PREFIX], path[PATH_MAX];
    mr_record_rows_prefix(record->config, prefix);
    for (int i = 0; i < evaluator->sets; i++) {
        MR_TRY(mr_eval_rows_path(&evaluator->set[i], prefix, path));
        MR_TRY(put_aside(path));
    }
    return MR_OK;
}

mr_status mr_record_claim(mr_record *record)
{
    char folder[2 * MR_CONFIG_STRING + 16];
    if (!record->log) return MR_OK;
    /* Checkpoints first: between the two, a kill leaves nothing that a new run would go on from. */
    mr_state_folder(record->config, folder, sizeof folder);
    if (!record->checkpoints_claimed) MR_TRY(put_aside(folder));
    record->checkpoints_claimed = true;
    if (!record->claimed) {
        char kept[MR_KEPT_PATH], spectra[MR_SPECTRA_PATH];
        mr_kept_path(record->config, kept);
        mr_record_spectra_path(record->config, spectra);
        MR_TRY(put_aside(kept));
        MR_TRY(put_aside(spectra));
        MR_TRY(put_rows_aside(record));
        MR_TRY(put_aside(record->path));
    }
    record->claimed = true;
    return MR_OK;
}

/* Events of a step: what its guards found, and its merge. */
static mr_status record_events(mr_record *record, const mr_step_result *result)
{
    char text[256];
    if (result->verdict != MR_VERDICT_SOUND) {
        bool finite = result->verdict == MR_VERDICT_SPIKE;
        snprintf(text, sizeof text, "loss %.9g, gradient norm %.9g%s", result->loss,
                 result->grad_norm, result->updated ? "" : "; no update");
        mr_warn("%s: step %lld: %s: %s", record->config->run.name, (long long)result->step,
                finite ? "a spike" : "not finite", text);
        MR_TRY(mr_runlog_event(record->log, result->step, finite ? "spike" : "not_finite", text));
    }
    if (result->restart == 0) return MR_OK;
    snprintf(text, sizeof text,
             "merge %lld: updates added to the weights, adapters begun anew; %lld of %lld moments "
             "were not zero and are now",
             (long long)result->restart, (long long)result->reset.cleared,
             (long long)result->reset.entries);
    return mr_record_event(record, "merge", text);
}

/* How far the run has come is told while it runs, too. */
static mr_status write_file(mr_record *record, bool force)
{
    MR_TRY(mr_runlog_set_int(record->log, "steps", record->trainer->step));
    return mr_runlog_flush(record->log, force);
}

/* Brings the file up to date now and then. Once it could be written, a time at which it cannot be
 * is waited out: the rows stay in memory, and checkpoints and the end insist. */
static mr_status flush(mr_record *record)
{
    if (!mr_runlog_due(record->log)) return MR_OK;
    mr_status status = write_file(record, false);
    if (status != MR_ERR_IO || !record->written) {
        if (status == MR_OK && record->behind) mr_log("%s: written again", record->path);
        record->written = record->written || status == MR_OK;
        record->behind = false;
        return status;
    }
    if (!record->behind) mr_warn("%s; it is tried again while the run goes on", mr_message());
    record->behind = true;
    return MR_OK;
}

mr_status mr_record_step(mr_record *record, const mr_step_result *result)
{
    if (!record->log) return MR_OK;
    bool wanted = result->step % record->config->log.every == 0 ||
                  result->step == record->trainer->total_steps ||
                  result->verdict != MR_VERDICT_SOUND || result->restart > 0;
    MR_TRY(mr_record_claim(record));
    if (wanted) {
        MR_TRY(mr_runlog_train(record->log, &(mr_runlog_step){.step = result->step,
                                                              .loss = result->loss,
                                                              .lr = result->lr,
                                                              .grad_norm = result->grad_norm,
                                                              .tokens = result->tokens,
                                                              .seconds = result->seconds}));
        MR_TRY(record_events(record, result));
    }
    return flush(record);
}

mr_status mr_record_event(mr_record *record, const char *kind, const char *text)
{
    return record->log ? mr_runlog_event(record->log, record->trainer->step, kind, text) : MR_OK;
}

mr_status mr_record_flush(mr_record *record)
{
    if (!record->log) return MR_OK;
    MR_TRY(mr_record_claim(record));
    return write_file(record, true);
}

mr_status mr_record_kept(mr_record *record, const char *kept)
{
    return record->log ? mr_runlog_set_text(record->log, "kept", kept) : MR_OK;
}

mr_status mr_record_end(mr_record *record, const char *stop_reason, const mr_run_outcome *outcome)
{
    const mr_guard_state *guard = &record->trainer->guard;
    if (!record->log) return MR_OK;
    MR_TRY(mr_record_claim(record));
    MR_TRY(mr_runlog_set_text(record->log, "stop_reason", stop_reason));
    MR_TRY(mr_runlog_set_int(record->log, "steps", outcome->steps));
    MR_TRY(mr_runlog_set_int(record->log, "steps_not_finite", guard->nonfinite));
    MR_TRY(mr_runlog_set_int(record->log, "steps_with_spike", guard->spikes));
    MR_TRY(mr_runlog_set_int(record->log, "updates_skipped", guard->skipped));
    MR_TRY(mr_runlog_set_int(record->log, "peak_bytes", (int64_t)mr_memory_peak_total()));
    MR_TRY(mr_runlog_set_double(record->log, "tokens_per_second", outcome->tokens_per_second));
    MR_TRY(mr_runlog_set_double(record->log, "seconds", outcome->seconds));
    MR_TRY(mr_runlog_close(&record->log));
    return strcmp(stop_reason, MR_STOP_COMPLETED) == 0 ? mr_record_changes(record) : MR_OK;
}
