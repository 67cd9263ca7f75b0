#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/signals.h"
#include "comm/node.h"
#include "store/json.h"
#include "train/done.h"
#include "train/due.h"
#include "train/kept.h"
#include "train/run_impl.h"
#include "train/state.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char STOP_AFTER[] = "stopped by train.stop_after";
static const char STOP_SIGNAL[] = "stopped by a signal, at a checkpoint";
static const char *const STOP_VERDICT[] = {
    [MR_VERDICT_NOT_FINITE] = "loss or gradient not finite",
    [MR_VERDICT_SPIKE] = "spike of the loss",
};
static const char STOP_RANKS[] = "the ranks' copies of one state differ";

static void show_progress(mr_run_state *run, const mr_step_result *result)
{
    int64_t total = run->trainer->total_steps, step = run->trainer->step;
    double left = run->training_seconds / (double)step * (double)(total - step);
    double shown = step < total ? left : run->training_seconds;
    char text[160];
    snprintf(text, sizeof text, "loss %.4f lr %.3g %.0f tok/s %s %.0f:%02.0f", result->loss,
             result->lr, (double)run->tokens / run->training_seconds, step < total ? "ETA" : "in",
             floor(shown / 60), floor(fmod(shown, 60)));
    mr_log_progress(run->config->run.name, step, total, text);
}

/* Starts a checkpoint of what stands now. Where ranks are compared at all they are before each:
 * what differs is not to be gone on with. */
static mr_status begin_save(mr_run_state *run)
{
    json_t *about = NULL;
    if (run->config->train.check_every > 0) MR_TRY(mr_trainer_check_ranks(run->trainer));
    MR_TRY(mr_comm_agree_root(run->comm, mr_record_claim(&run->record)));
    if (run->comm->rank == 0) {
        const mr_run_score *score = &run->outcome->score;
        about =
            json_pack("{s:I, s:f, s:s, s:s, s:s, s:o, s:o, s:b}", "tokens", (json_int_t)run->tokens,
                      "seconds", run->training_seconds, "score_set", score->set, "score_name",
                      score->name, "score_unit", score->unit, "score", mr_json_number(score->value),
                      "loss", mr_json_number(run->outcome->loss), "evaluated", run->evaluated);
    }
    mr_status status = mr_state_save(run->trainer, about);
    json_decref(about);
    run->begun_step = run->trainer->step;
    run->saved_at = mr_clock();
    return status;
}

/* A checkpoint that cannot be written costs the run nothing else, and is told once in a row. */
static mr_status forgive(mr_run_state *run, mr_status status)
{
    if (status != MR_ERR_IO && status != MR_ERR_MEMORY) return status;
    if (!run->unsaved)
        mr_warn("%s: step %lld: no checkpoint: %s; the run goes on", run->config->run.name,
                (long long)run->trainer->step, mr_message());
    run->unsaved = true;
    return mr_comm_agree_root(run->comm,
                              mr_record_event(&run->record, "no_checkpoint", mr_message()));
}

/* Makes a checkpoint under way visible; log and spectra are current before it, but written only
 * once the shards are: on a full disk one that cannot be completed must be out of the log's way. */
static mr_status finish_save(mr_run_state *run, bool forgiving)
{
    mr_checkpointer *checkpointer = run->trainer->checkpointer;
    if (!mr_checkpointer_under_way(checkpointer)) return MR_OK;
    MR_TRY(mr_spectra_collect(&run->spectra));
    mr_status status = mr_checkpointer_wait(checkpointer);
    if (status == MR_OK) {
        status = mr_spectra_flush(&run->spectra);
        if (status == MR_OK) status = mr_comm_agree_root(run->comm, mr_record_flush(&run->record));
        if (status != MR_OK) mr_checkpointer_cancel(checkpointer);
    }
    if (status == MR_OK) status = mr_checkpointer_finish(checkpointer);
    if (status == MR_OK) run->unsaved = false;
    if (status == MR_OK) run->saved_step = run->begun_step;
    return forgiving ? forgive(run, status) : status;
}

/* An evaluation that may last is gone on with where it was killed: from a checkpoint of its step.
 */
static mr_status save_before(mr_run_state *run)
{
    if (run->saved_step == run->trainer->step) return MR_OK;
    MR_TRY(finish_save(run, true));
    MR_TRY(forgive(run, begin_save(run)));
    return finish_save(run, true);
}

/* Runs every set that is due; the first one's first score is the run's. */
static mr_status evaluate(mr_run_state *run)
{
    const mr_trainer *t = run->trainer;
    mr_evaluator *evaluator = t->evaluator;
    char trained[MR_WEIGHTS_DIGEST] = "", rows[MR_ROWS_PREFIX];
    mr_record_rows_prefix(run->config, rows);
    if (mr_sets_due(t, t->step, true)) MR_TRY(save_before(run));
    MR_TRY(mr_saved_digest(t->model, trained));
    const mr_eval_occasion occasion = {.model = {.path = run->outcome->log,
                                                 .weights = t->inputs.weights_hash,
                                                 .adapter = t->inputs.adapter_hash,
                                                 .trained = trained,
                                                 .steps = t->step},
                                       .data = t->inputs.data_hash,
                                       .rows = rows};
    for (int i = 0; i < evaluator->sets; i++) {
        mr_evaluation found;
        if (!mr_set_due(t, &evaluator->set[i], t->step)) continue;
        MR_TRY(mr_evaluator_run(evaluator, i, &occasion, &found));
        const mr_eval_score *score = &found.set->score[0];
        if (i == 0)
            mr_run_score_put(&run->outcome->score, found.set->name, score->name, score->unit,
                             found.value[0]);
        MR_TRY(mr_comm_agree_root(run->comm, mr_record_evaluation(&run->record, &found)));
    }
    run->evaluated = true;
    return MR_OK;
}

/** What all ranks agree on after a step. */
typedef struct run_signs {
    bool stop; /**< somebody was asked to stop, and there is something left to compute */
    bool due;  /**< it is time for a checkpoint */
    bool idle; /**< no rank writes or computes anything beside the steps */
} run_signs;

static mr_status agree_on_signs(mr_run_state *run, mr_status log_status, run_signs *signs)
{
    const mr_config *c = run->config;
    int64_t step = run->trainer->step, every = c->checkpoint.every_steps;
    double minutes = c->checkpoint.every_minutes;
    bool late = run->comm->rank == 0 && minutes > 0 && mr_clock() - run->saved_at > 60 * minutes;
    bool busy = mr_checkpointer_busy(run->trainer->checkpointer) || mr_spectra_busy(&run->spectra);
    int64_t sums[4] = {mr_signals_caught() != 0, late, busy, log_status != MR_OK};
    mr_trainer_read_ahead(run->trainer, sums, 4);
    if (sums[3] > 0) return mr_comm_agree_root(run->comm, log_status);
    bool goes_on = step < run->trainer->total_steps;
    *signs = (run_signs){.stop = sums[0] > 0 && (goes_on || mr_sets_due(run->trainer, step, false)),
                         .due = goes_on && (sums[1] > 0 || (every > 0 && step % every == 0)),
                         .idle = sums[2] == 0};
    return MR_OK;
}

/* Brings in the spectra that are computed, and takes those that are due, unless the run stops. */
static mr_status take_spectra(mr_run_state *run, bool idle, bool *stop)
{
    if (idle) MR_TRY(mr_spectra_collect(&run->spectra));
    if (*stop) return MR_OK;
    mr_status status = mr_spectra_take(&run->spectra);
    *stop = status == MR_STOPPED;
    return *stop ? MR_OK : status;
}

/* Evaluation, spectra and checkpoints after a step. A request to stop comes first, also in the
 * middle of an evaluation or of spectra: the grace time may be short, and they are made up for when
 * the run goes on. Tells of the request in *stop. */
static mr_status after_step(mr_run_state *run, mr_status log_status, bool last, bool *stop)
{
    run_signs signs = {0};
    MR_TRY(agree_on_signs(run, log_status, &signs));
    *stop = signs.stop;
    if (signs.idle || *stop || last) MR_TRY(finish_save(run, true));
    run->evaluated = !mr_sets_due(run->trainer, run->trainer->step, false);
    MR_TRY(take_spectra(run, signs.idle, stop));
    if (!run->evaluated && !*stop) {
        mr_status status = evaluate(run);
        *stop = status == MR_STOPPED;
        if (!*stop) MR_TRY(status);
    }
    /* At its end a run has its log and its model; before, it is to be gone on with. */
    if (*stop || (last && run->trainer->step < run->trainer->total_steps)) {
        MR_TRY(begin_save(run));
        return finish_save(run, false);
    }
    if (!signs.due || mr_checkpointer_under_way(run->trainer->checkpointer)) return MR_OK;
    MR_TRY(forgive(run, begin_save(run)));
    return run->trainer->plan.bytes[MR_MEM_CHECKPOINT] > 0 ? MR_OK : finish_save(run, true);
}

/* What a run that was asked to stop returns, saved as it is. */
static mr_status stopped(const mr_run_state *run, const char **stop_reason)
{
    *stop_reason = STOP_SIGNAL;
    return mr_fail(
        MR_STOPPED,
        "stopped at step %lld of %lld by a signal, at a checkpoint; the same command goes "
        "on from there",
        (long long)run->trainer->step, (long long)run->trainer->total_steps);
}

/* Trains to the end, or until it has to stop; stop_reason stays NULL after a failure. A failure to
 * write the log is the run's failure, agreed where ranks meet next; the step itself stays
 * collective. */
static mr_status train(mr_run_state *run, const char **stop_reason)
{
    const mr_config *c = run->config;
    mr_trainer *t = run->trainer;
    int64_t last = t->total_steps;
    if (c->train.stop_after > 0 && c->train.stop_after < last) last = c->train.stop_after;
    /* What a run that was stopped still owed. */
    mr_status owed = mr_spectra_take(&run->spectra);
    if (owed == MR_OK && !run->evaluated) owed = evaluate(run);
    if (owed == MR_STOPPED) return stopped(run, stop_reason);
    MR_TRY(owed);
    while (t->step < last) {
        mr_step_result result = {0};
        bool stop = false;
        mr_status status = mr_trainer_step(t, &result);
        bool judged = status == MR_ERR_NUMERIC && result.verdict != MR_VERDICT_SOUND;
        if (status != MR_OK && status != MR_ERR_RANKS && !judged) return status;
        run->training_seconds += result.seconds;
        run->tokens += result.tokens;
        run->outcome->loss = result.loss;
        run->outcome->steps = result.step;
        if (status != MR_OK) {
            char message[MR_MESSAGE_MAX];
            snprintf(message, sizeof message, "%s", mr_message());
            if (judged) *stop_reason = STOP_VERDICT[result.verdict];
            MR_TRY(mr_comm_agree_root(run->comm, mr_record_step(&run->record, &result)));
            return mr_fail(status, "%s", message);
        }
        status = mr_record_step(&run->record, &result);
        if (mr_file_keep_lock(run->lock_path, &run->lock) != MR_OK)
            mr_warn("%s: %s", run->config->run.name, mr_message());
        show_progress(run, &result);
        MR_TRY(after_step(run, status, t->step == last, &stop));
        if (stop) return stopped(run, stop_reason);
    }
    /* Skipping what is not finite is for what passes. */
    if (t->step == t->total_steps && !isfinite(run->outcome->loss)) {
        *stop_reason = STOP_VERDICT[MR_VERDICT_NOT_FINITE];
        return mr_fail(MR_ERR_NUMERIC, "ended at step %lld with loss %g; %lld updates were skipped",
                       (long long)t->step, run->outcome->loss, (long long)t->guard.skipped);
    }
    *stop_reason = t->step == t->total_steps ? MR_STOP_COMPLETED : STOP_AFTER;
    return MR_OK;
}

static mr_status end(mr_run_state *run, const char *stop_reason)
{
    return mr_record_end(&run->record, stop_reason, run->outcome);
}

/* What became of what a run leaves behind at its end. */
typedef struct ending {
    mr_status status;
    char message[MR_MESSAGE_MAX]; /* of the first failure */
    bool done;                    /* the run need not be trained again */
} ending;

/* Notes a failure, with what can be done about it. */
static void note_failure(ending *end, mr_status status, const char *remedy)
{
    if (end->status == MR_OK)
        snprintf(end->message, sizeof end->message, "%.800s%s%s", mr_message(),
                 remedy[0] ? "; " : "", remedy);
    if (end->status == MR_OK) end->status = status;
}

/* Keeps the trained tensors at the end of a run, or else, since a disk may be full for some files
 * and not for others, a checkpoint. Without being asked to it does so only for a save that fails.
 */
static void keep_trained(mr_run_state *run, ending *end)
{
    const bool asked = run->config->run.keep != MR_KEEP_NONE;
    mr_status status = mr_kept_write(run->trainer);
    end->done = status == MR_OK;
    if (status == MR_OK) return;
    if (!asked) {
        mr_warn("%s: %s", run->config->run.name, mr_message());
        return;
    }
    ending failed = {0};
    note_failure(&failed, status, "");
    status = begin_save(run);
    if (status == MR_OK) status = finish_save(run, false);
    mr_fail(failed.status, "%s", failed.message);
    note_failure(end, failed.status,
                 status == MR_OK ? "the same command goes on from a checkpoint of the last step"
                                 : "");
}

/* Removes what was kept for the time of the save alone. */
static void drop_kept(const mr_run_state *run)
{
    char path[MR_KEPT_PATH];
    if (run->config->run.keep != MR_KEEP_NONE || run->comm->rank != 0) return;
    mr_kept_path(run->config, path);
    unlink(path);
}

/* Leaves behind what was asked for. Trained tensors come first: the model is merged in place. A run
 * that was stopped has a checkpoint. */
static ending leave_behind(mr_run_state *run, bool completed)
{
    const mr_keep keep = (mr_keep)run->config->run.keep;
    ending end = {.status = MR_OK};
    /* The log first: it makes a folder that was taken away again. A disk that refuses is told
     * later. */
    mr_status status = mr_comm_agree_root(run->comm, mr_record_flush(&run->record));
    if (status != MR_OK && status != MR_ERR_IO) {
        note_failure(&end, status, "");
        return end;
    }
    if (completed && (keep != MR_KEEP_NONE || run->saved)) keep_trained(run, &end);
    bool kept = end.done;
    end.done = completed && end.status == MR_OK;
    if (run->saved) {
        status = mr_saved_write(run->saved, run->trainer);
        if (status != MR_OK)
            note_failure(&end, status,
                         kept ? "the same command saves the model from the trained tensors, "
                                "without training"
                              : "");
        if (status == MR_OK && kept) drop_kept(run);
        end.done = end.done && (kept || status == MR_OK);
    }
    if (end.done)
        status = mr_comm_agree_root(run->comm, mr_record_kept(&run->record, mr_kept_word(keep)));
    if (end.done && status != MR_OK) note_failure(&end, status, "");
    return end;
}

/* Saves the model of a run that was trained before. */
static mr_status save_of_kept(mr_run_state *run)
{
    const mr_config *c = run->config;
    MR_TRY(mr_run_take_places(run));
    mr_status status = mr_kept_read(run->trainer);
    if (status != MR_OK) {
        char message[MR_MESSAGE_MAX];
        snprintf(message, sizeof message, "%s", mr_message());
        return mr_fail(status, "%.900s; --resume never trains the run again", message);
    }
    MR_TRY(mr_saved_write(run->saved, run->trainer));
    drop_kept(run);
    mr_log("%s: done already, see %s; its model is saved to %s from its trained tensors",
           c->run.name, run->outcome->log, c->run.save_model);
    return MR_OK;
}

/* Ends the log of a run that failed: what was recorded stays readable, with the reason it ends. */
static mr_status end_failed(mr_run_state *run, mr_status status, const char *stop_reason)
{
    char message[MR_MESSAGE_MAX], reason[MR_MESSAGE_MAX];
    snprintf(message, sizeof message, "%s", mr_message());
    if (stop_reason) {
        /* What ranks hold that differ is not to be gone on with; what was started before it was
         * compared is. */
        mr_status saved = finish_save(run, true);
        if (saved == MR_OK) saved = mr_spectra_end(&run->spectra);
        if (status == MR_ERR_RANKS && saved == MR_OK)
            saved = mr_comm_agree_root(run->comm,
                                       mr_record_event(&run->record, "ranks_differ", message));
        if (saved != MR_OK) mr_warn("%s", mr_message());
        MR_TRY(mr_comm_agree_root(run->comm, end(run, stop_reason)));
    } else if (run->record.claimed) {
        snprintf(reason, sizeof reason, "failed: %.900s", message);
        if (end(run, reason) != MR_OK) mr_runlog_abandon(&run->record.log);
    }
    return mr_fail(status, "%s", message);
}

static mr_status run_trainer(mr_run_state *run, const char *resume, bool trained)
{
    mr_trainer *t = run->trainer;
    mr_run_outcome *outcome = run->outcome;
    const char *stop_reason = NULL; /* why the run ends, unless it fails */
    MR_TRY(mr_trainer_allocate(t));
    if (trained) return save_of_kept(run);
    run->record = (mr_record){.config = run->config, .trainer = t, .path = outcome->log};
    run->evaluated = true;
    run->saved_step = -1;
    MR_TRY(mr_run_begin(run, resume));
    run->saved_at = mr_clock();
    mr_status status = train(run, &stop_reason);
    mr_log_progress_end();
    if (status == MR_ERR_RANKS) stop_reason = STOP_RANKS;
    if (status == MR_OK) {
        status = mr_spectra_end(&run->spectra);
        if (status != MR_OK) stop_reason = NULL;
    }
    if (status == MR_OK) {
        ending left = leave_behind(run, t->step == t->total_steps);
        if (left.status != MR_OK) status = mr_fail(left.status, "%s", left.message);
        if (status != MR_OK && !left.done) stop_reason = NULL;
    }
    outcome->seconds = mr_clock() - run->began;
    outcome->tokens_per_second =
        run->training_seconds > 0 ? (double)run->tokens / run->training_seconds : 0;
    if (status == MR_OK) return mr_comm_agree_root(run->comm, end(run, stop_reason));
    return end_failed(run, status, stop_reason);
}

static void reset_outcome(const mr_config *config, mr_run_outcome *outcome)
{
    *outcome = (mr_run_outcome){.loss = NAN, .score = {.value = NAN}};
    snprintf(outcome->log, sizeof outcome->log, "%s/%s.h5", config->run.output, config->run.name);
}

/* A request to stop that came since the run before this one looked for it. */
static mr_status stopped_before(const mr_comm *comm)
{
    MR_CHECK(!mr_comm_any(comm, mr_signals_caught() != 0), MR_STOPPED,
             "stopped by a signal before its start; the same command goes on");
    return MR_OK;
}

mr_status mr_run(const mr_comm *comm, const mr_config *config, const char *resume,
                 mr_run_outcome *outcome)
{
    static const int signals[] = {
        [MR_SIGNAL_USR2] = SIGUSR2, [MR_SIGNAL_USR1] = SIGUSR1, [MR_SIGNAL_INT] = SIGINT};
    reset_outcome(config, outcome);
    mr_done done = MR_DONE_NO;
    if (strcmp(resume, MR_RESUME_AUTO) == 0) MR_TRY(mr_done_find(comm, config, outcome, &done));
    outcome->skipped = done >= MR_DONE_UNSAVED;
    if (done == MR_DONE_YES) return MR_OK;
    if (done == MR_DONE_OTHERS) resume = MR_RESUME_NEVER; /* its checkpoints are of those too */
    mr_signals_catch(signals[config->checkpoint.signal]);
    MR_TRY(stopped_before(comm));
    mr_run_state run = {
        .comm = comm, .config = config, .outcome = outcome, .began = mr_clock(), .lock = -1};
    mr_backend *be = NULL;
    mr_hf_config arch;
    int threads = mr_node_threads(comm, config->parallel.threads);
    mr_status status = mr_comm_agree(
        comm, mr_backend_create(config->parallel.backend, mr_node_rank(comm), threads, &be));
    if (status == MR_OK) status = mr_trainer_arch(comm, config, &arch);
    if (status == MR_OK) status = mr_trainer_create(comm, config, be, &arch, &run.trainer);
    if (status == MR_OK) status = run_trainer(&run, resume, done == MR_DONE_UNSAVED);
    mr_spectra_free(&run.spectra);
    mr_runlog_abandon(&run.record.log);
    mr_file_unlock(run.lock_path, &run.lock);
    mr_saved_free(&run.saved);
    mr_trainer_destroy(&run.trainer);
    mr_backend_destroy(&be);
    return status;
}
