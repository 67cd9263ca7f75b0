#include "train/run.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "mr_build_info.h"
#include "store/runlog.h"
#include "store/runlog_read.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char STOP_AFTER[] = "stopped by train.stop_after";
static const char STOP_NOT_FINITE[] = "loss or gradient not finite";

void mr_run_log_path(const mr_config *config, char *path, size_t room)
{
    snprintf(path, room, "%s/%s.h5", config->run.output, config->run.name);
}

/* Whether a log tells of this very configuration run to its end. */
static mr_status completed_before(const mr_config *config, const char *path, bool *done)
{
    mr_runlog_reader *reader = NULL;
    char *stop = NULL, *text = NULL;
    mr_text mine = {0};
    *done = false;
    if (access(path, F_OK) != 0) return MR_OK;
    mr_status status = mr_runlog_open(path, &reader);
    if (status != MR_OK) goto cleanup;
    status = mr_runlog_get_text(reader, "stop_reason", &stop);
    if (status == MR_OK) status = mr_runlog_get_text(reader, "config", &text);
    if (status == MR_OK) status = mr_config_resolved(config, &mine);
    if (status != MR_OK) goto cleanup;
    *done = strcmp(stop, MR_STOP_COMPLETED) == 0 && strcmp(text, mr_text_get(&mine)) == 0;
    if (*done && config->run.save_model[0]) {
        char model[2 * MR_CONFIG_STRING];
        snprintf(model, sizeof model, "%s/model.safetensors", config->run.save_model);
        *done = access(model, F_OK) == 0;
    }
cleanup:
    mr_free(stop);
    mr_free(text);
    mr_text_free(&mine);
    mr_runlog_close_reader(&reader);
    return status;
}

/* Fills the outcome from a finished log. */
static mr_status outcome_of_log(const char *path, mr_run_outcome *outcome)
{
    mr_runlog_reader *reader = NULL;
    mr_names evaluations = {0};
    double *values = NULL;
    int64_t count;
    MR_TRY(mr_runlog_open(path, &reader));
    mr_status status =
        mr_runlog_get_double(reader, "tokens_per_second", &outcome->tokens_per_second);
    if (status == MR_OK) status = mr_runlog_get_double(reader, "seconds", &outcome->seconds);
    if (status == MR_OK) status = mr_runlog_get_int(reader, "steps", &outcome->steps);
    if (status == MR_OK && mr_runlog_has(reader, "/train/loss")) {
        status = mr_runlog_series(reader, "/train/loss", &values, &count);
        if (status == MR_OK && count > 0) outcome->loss = values[count - 1];
        mr_free(values);
    }
    if (status == MR_OK) status = mr_runlog_list(reader, "/eval", &evaluations);
    if (status == MR_OK && evaluations.count > 0) {
        char dataset[256];
        snprintf(dataset, sizeof dataset, "/eval/%s/accuracy", evaluations.item[0]);
        status = mr_runlog_series(reader, dataset, &values, &count);
        if (status == MR_OK && count > 0) outcome->score = values[count - 1];
        if (status == MR_OK) mr_free(values);
    }
    mr_names_free(&evaluations);
    mr_runlog_close_reader(&reader);
    return status;
}

/* A run under way on this rank. */
typedef struct run_state {
    const mr_comm *comm;
    const mr_config *config;
    mr_trainer *trainer;
    mr_runlog *log; /* rank 0 only */
    bool claimed;   /* the log's path is this run's: it has something to say */
    float *items;   /* [scored items] */
    double began;
    int64_t tokens;
    double training_seconds;
    mr_run_outcome *outcome;
} run_state;

/* What each site's adapter became (the operator of `auto`, r_hat), by the first layer that has one:
 * layers of a shape choose alike. */
static mr_status record_site(run_state *run, int site, bool *said)
{
    const mr_model *model = run->trainer->model;
    for (int64_t l = 0; l < model->arch.num_hidden_layers; l++) {
        const mr_layer *layer = &model->layer[l];
        const mr_adapter *adapter = layer->adapter[site];
        if (!adapter) continue;
        for (int i = 0; i < adapter->linears; i++) {
            char what[64], line[2 * MR_PARAM_NAME];
            adapter->method->describe(adapter, i, what, sizeof what);
            snprintf(line, sizeof line, "%.*s: %s", MR_PARAM_NAME - 1,
                     model->params->param[layer->linear[layer->target[site][i]]].name, what);
            MR_TRY(mr_runlog_event(run->log, 0, "adapter", line));
            if (!*said) mr_log("%s: %s, %s", run->config->run.name, model->method->name, what);
            *said = true;
        }
        return MR_OK;
    }
    return MR_OK;
}

static mr_status record_start(run_state *run)
{
    const mr_config *c = run->config;
    const mr_trainer *t = run->trainer;
    mr_runlog *log = run->log;
    mr_text text = {0};
    char hash[MR_DATASET_HASH], started[32];
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", &utc);
    MR_TRY(mr_dataset_hash(t->dataset, hash));
    mr_status status = mr_config_resolved(c, &text);
    const struct {
        const char *name, *value;
    } texts[] = {
        {"run", c->run.name},
        {"config", mr_text_get(&text)},
        {"git_commit", MR_BUILD_COMMIT},
        {"version", MR_BUILD_VERSION},
        {"build_options", MR_BUILD_OPTIONS},
        {"backend", t->be->ops->name},
        {"dtype", "f32"},
        {"task", c->task.name},
        {"method", c->method.name},
        {"data_hash", hash},
        {"started", started},
        {"stop_reason", "running, or killed"},
        {"same_bits_on", t->rank_free ? "1, 2, 4 ... ranks that divide the micro-batches, "
                                        "at the same number of threads"
                                      : "this number of ranks"},
    };
    const struct {
        const char *name;
        int64_t value;
    } ints[] = {
        {"seed", c->run.seed},
        {"ranks", run->comm->size},
        {"threads", t->be->threads},
        {"r", t->model->method->trains_base ? 0 : c->method.r},
        {"parameters", mr_params_count(t->model->params, false)},
        {"trainable_parameters", mr_params_count(t->model->params, true)},
        {"planned_bytes", (int64_t)t->plan.total},
        {"seq_len", t->seq_len},
        {"micro_batches", t->micro_batches},
        {"steps", 0},
    };
    for (size_t i = 0; status == MR_OK && i < sizeof texts / sizeof texts[0]; i++)
        status = mr_runlog_set_text(log, texts[i].name, texts[i].value);
    for (size_t i = 0; status == MR_OK && i < sizeof ints / sizeof ints[0]; i++)
        status = mr_runlog_set_int(log, ints[i].name, ints[i].value);
    if (status == MR_OK) status = mr_runlog_set_double(log, "flops_per_step", t->plan.flops);
    mr_text_free(&text);
    return status;
}

static mr_status open_log(run_state *run)
{
    if (run->comm->rank != 0) return MR_OK;
    const mr_int_list *at = &run->config->eval.at_steps;
    bool said = false;
    MR_TRY(mr_file_make_folders(run->config->run.output));
    MR_TRY(mr_runlog_create(run->outcome->log, &run->log));
    MR_TRY(record_start(run));
    for (int site = 0; site < MR_SITES; site++)
        MR_TRY(record_site(run, site, &said));
    if (at->count > 0 && at->item[at->count - 1] > run->trainer->total_steps)
        mr_warn("eval.at_steps: step %lld is behind the run's %lld steps",
                (long long)at->item[at->count - 1], (long long)run->trainer->total_steps);
    return MR_OK;
}

static bool evaluation_due(const run_state *run, int64_t step)
{
    const mr_config *c = run->config;
    if (!run->trainer->generator) return false;
    for (int i = 0; i < c->eval.at_steps.count; i++)
        if (c->eval.at_steps.item[i] == step) return true;
    if (c->eval.every > 0) return step % c->eval.every == 0;
    return c->eval.at_steps.count == 0 && step == run->trainer->total_steps;
}

static mr_status evaluate(run_state *run, int64_t step)
{
    mr_trainer *t = run->trainer;
    int64_t count = mr_trainer_scored_items(t), whole = 0;
    double accuracy;
    MR_TRY(mr_trainer_score(t, run->items, &accuracy));
    run->outcome->score = accuracy;
    if (!run->log) return mr_comm_agree_root(run->comm, MR_OK);
    for (int64_t i = 0; i < count; i++)
        whole += run->items[i] >= 1;
    static const char *const names[] = {"accuracy", "exact"};
    const double scores[] = {accuracy, (double)whole / (double)count};
    mr_status status =
        mr_runlog_eval(run->log, run->config->task.name, step, names, scores, 2, run->items, count);
    mr_log("%s: step %lld: accuracy %.2f %%, %lld of %lld items whole", run->config->run.name,
           (long long)step, 100 * accuracy, (long long)whole, (long long)count);
    return mr_comm_agree_root(run->comm, status);
}

static void show_progress(run_state *run, int64_t step, const mr_step_result *result)
{
    int64_t total = run->trainer->total_steps;
    double left = run->training_seconds / (double)step * (double)(total - step);
    char text[160];
    snprintf(text, sizeof text, "loss %.4f lr %.3g %.0f tok/s ETA %d:%02d", result->loss,
             result->lr, (double)run->tokens / run->training_seconds, (int)left / 60,
             (int)left % 60);
    mr_log_progress(run->config->run.name, step, total, text);
}

/* Before the log is first written: an older one of the same name, of another configuration or not
 * completed, is put aside, as `<log>.previous.N`. A run that fails before it has anything to say
 * leaves it where it is. */
static void claim_log(run_state *run)
{
    const char *path = run->outcome->log;
    char aside[sizeof run->outcome->log + 32];
    if (run->claimed) return;
    run->claimed = true;
    if (access(path, F_OK) != 0) return;
    for (int i = 1; i < 10000; i++) {
        snprintf(aside, sizeof aside, "%s.previous.%d", path, i);
        if (access(aside, F_OK) == 0) continue;
        if (rename(path, aside) == 0) mr_log("%s kept as %s", path, aside);
        return;
    }
}

static mr_status record_step(run_state *run, int64_t step, const mr_step_result *result)
{
    bool wanted = step % run->config->log.every == 0 || step == run->trainer->total_steps ||
                  !isfinite(result->loss) || !isfinite(result->grad_norm);
    if (!run->log || !wanted) return MR_OK;
    claim_log(run);
    MR_TRY(mr_runlog_train(run->log, &(mr_runlog_step){.step = step,
                                                       .loss = result->loss,
                                                       .lr = result->lr,
                                                       .grad_norm = result->grad_norm,
                                                       .tokens = result->tokens,
                                                       .seconds = result->seconds}));
    return mr_runlog_flush(run->log, false);
}

/* Trains to the end. A failure to write the log is the run's failure, agreed where ranks meet
 * next; the step itself stays collective. */
static mr_status train(run_state *run, const char **stop_reason)
{
    const mr_config *c = run->config;
    mr_trainer *t = run->trainer;
    int64_t last = t->total_steps;
    if (c->train.stop_after > 0 && c->train.stop_after < last) last = c->train.stop_after;
    mr_status log_status = MR_OK;
    for (int64_t step = 1; step <= last; step++) {
        mr_step_result result = {0};
        mr_status status = mr_trainer_step(t, &result);
        run->training_seconds += result.seconds;
        run->tokens += result.tokens;
        run->outcome->loss = result.loss;
        run->outcome->steps = step;
        if (status == MR_ERR_NUMERIC) {
            char message[MR_MESSAGE_MAX];
            snprintf(message, sizeof message, "%s", mr_message());
            *stop_reason = STOP_NOT_FINITE;
            MR_TRY(mr_comm_agree_root(run->comm, record_step(run, step, &result)));
            return mr_fail(status, "%s", message);
        }
        if (status != MR_OK) return status;
        if (log_status == MR_OK) log_status = record_step(run, step, &result);
        show_progress(run, step, &result);
        if (evaluation_due(run, step)) {
            MR_TRY(mr_comm_agree_root(run->comm, log_status));
            MR_TRY(evaluate(run, step));
        }
    }
    MR_TRY(mr_comm_agree_root(run->comm, log_status));
    *stop_reason = last == t->total_steps ? MR_STOP_COMPLETED : STOP_AFTER;
    return MR_OK;
}

static mr_status record_end(run_state *run, const char *stop_reason)
{
    mr_run_outcome *outcome = run->outcome;
    if (!run->log) return MR_OK;
    claim_log(run);
    MR_TRY(mr_runlog_set_text(run->log, "stop_reason", stop_reason));
    MR_TRY(mr_runlog_set_int(run->log, "steps", outcome->steps));
    MR_TRY(mr_runlog_set_int(run->log, "peak_bytes", (int64_t)mr_memory_peak_total()));
    MR_TRY(mr_runlog_set_double(run->log, "tokens_per_second", outcome->tokens_per_second));
    MR_TRY(mr_runlog_set_double(run->log, "seconds", outcome->seconds));
    return mr_runlog_close(&run->log);
}

static mr_status run_trainer(run_state *run)
{
    mr_trainer *t = run->trainer;
    const char *stop_reason = "failed";
    MR_TRY(mr_trainer_allocate(t));
    run->items = mr_alloc_array(MR_MEM_DATA, (size_t)mr_trainer_scored_items(t), sizeof(float));
    MR_AGREE(run->comm, run->items ? MR_OK : MR_ERR_MEMORY);
    MR_TRY(mr_comm_agree_root(run->comm, open_log(run)));
    mr_status status = train(run, &stop_reason);
    mr_log_progress_end();
    if (status == MR_OK && run->config->run.save_model[0])
        status = mr_model_save(t->model, run->config->run.save_model);
    run->outcome->seconds = mr_clock() - run->began;
    run->outcome->tokens_per_second =
        run->training_seconds > 0 ? (double)run->tokens / run->training_seconds : 0;
    if (status != MR_OK && status != MR_ERR_NUMERIC) {
        /* What was recorded stays readable, with the reason it ends. */
        if (run->log) {
            char reason[MR_MESSAGE_MAX];
            snprintf(reason, sizeof reason, "failed: %.900s", mr_message());
            mr_status closing = run->claimed ? record_end(run, reason) : MR_OK;
            if (closing != MR_OK || !run->claimed) mr_runlog_abandon(&run->log);
            mr_fail(status, "%s", reason + strlen("failed: "));
        }
        return status;
    }
    char message[MR_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s", mr_message());
    MR_TRY(mr_comm_agree_root(run->comm, record_end(run, stop_reason)));
    return status == MR_OK ? MR_OK : mr_fail(status, "%s", message);
}

static void reset_outcome(const mr_config *config, mr_run_outcome *outcome)
{
    *outcome = (mr_run_outcome){.loss = NAN, .score = NAN};
    mr_run_log_path(config, outcome->log, sizeof outcome->log);
}

/* Whether the run has been done already: decided by rank 0, known to all. */
static mr_status done_already(const mr_comm *comm, const mr_config *config, mr_run_outcome *outcome)
{
    bool done = false;
    if (comm->rank == 0) {
        /* An unsound log is no finished run: it is written anew. */
        mr_status status = completed_before(config, outcome->log, &done);
        if (status == MR_OK && done) status = outcome_of_log(outcome->log, outcome);
        if (status != MR_OK) {
            mr_warn("%s; the run is done again", mr_message());
            done = false;
            reset_outcome(config, outcome);
        }
    }
    outcome->skipped = done;
    mr_comm_broadcast(comm, outcome, sizeof *outcome, 0);
    return MR_OK;
}

mr_status mr_run(const mr_comm *comm, const mr_config *config, mr_run_outcome *outcome)
{
    reset_outcome(config, outcome);
    MR_TRY(done_already(comm, config, outcome));
    if (outcome->skipped) {
        mr_log("%s: done already, see %s", config->run.name, outcome->log);
        return MR_OK;
    }
    run_state run = {.comm = comm, .config = config, .outcome = outcome, .began = mr_clock()};
    mr_backend *be = NULL;
    mr_hf_config arch;
    int threads = mr_trainer_threads(comm, config->parallel.threads);
    mr_status status =
        mr_comm_agree(comm, mr_backend_create(config->parallel.backend, threads, &be));
    if (status == MR_OK) status = mr_trainer_arch(comm, config, &arch);
    if (status == MR_OK) status = mr_trainer_create(comm, config, be, &arch, &run.trainer);
    if (status == MR_OK) status = run_trainer(&run);
    mr_runlog_abandon(&run.log);
    mr_free(run.items);
    mr_trainer_destroy(&run.trainer);
    mr_backend_destroy(&be);
    return status;
}

mr_status mr_run_dry(const mr_comm *comm, const mr_config *config, int64_t ranks, mr_run_plan *out)
{
    mr_backend *be = NULL;
    mr_trainer *trainer = NULL;
    mr_hf_config arch;
    /* Laying out asks nothing of the other ranks but their number. */
    mr_comm planned = *comm;
    if (ranks > 0) planned.size = (int)ranks;
    if (ranks > 0) planned.rank = 0;
    int threads = mr_trainer_threads(comm, config->parallel.threads);
    mr_status status =
        mr_comm_agree(comm, mr_backend_create(config->parallel.backend, threads, &be));
    if (status == MR_OK) status = mr_trainer_arch(comm, config, &arch);
    if (status == MR_OK) status = mr_trainer_create(&planned, config, be, &arch, &trainer);
    if (status == MR_OK) {
        *out = (mr_run_plan){
            .plan = trainer->plan,
            .geometry = trainer->model->geometry,
            .ranks = planned.size,
            .parameters = mr_params_count(trainer->model->params, false),
            .trained = mr_params_count(trainer->model->params, true),
            .fits = mr_trainer_check_memory(trainer) == MR_OK,
        };
        snprintf(out->verdict, sizeof out->verdict, "%s", out->fits ? "" : mr_message());
    }
    mr_trainer_destroy(&trainer);
    mr_backend_destroy(&be);
    return status;
}
