/* How a run begins: alone in its places, anew or from a checkpoint. */

#include "base/file.h"
#include "base/log.h"
#include "store/json.h"
#include "train/due.h"
#include "train/run_impl.h"
#include "train/state.h"

#include <stdio.h>
#include <string.h>

/* Brings the scalars of a run back. */
static void restore_scalars(mr_run_state *run, const mr_checkpoint *checkpoint)
{
    const json_t *about = json_object_get(mr_checkpoint_state(checkpoint), "run");
    const json_t *score = json_object_get(about, "score"), *loss = json_object_get(about, "loss");
    const char *set = json_string_value(json_object_get(about, "score_set"));
    const char *name = json_string_value(json_object_get(about, "score_name"));
    const char *unit = json_string_value(json_object_get(about, "score_unit"));
    run->tokens = json_integer_value(json_object_get(about, "tokens"));
    run->training_seconds = json_number_value(json_object_get(about, "seconds"));
    run->evaluated = !json_is_false(json_object_get(about, "evaluated"));
    run->outcome->steps = run->trainer->step;
    if (json_is_number(loss)) run->outcome->loss = json_number_value(loss);
    if (set && name && unit && json_is_number(score))
        mr_run_score_put(&run->outcome->score, set, name, unit, json_number_value(score));
}

static void warn_of_other_bits(const mr_run_state *run, const mr_checkpoint *checkpoint)
{
    int64_t ranks = mr_checkpoint_ranks(checkpoint), threads = run->trainer->be->threads;
    json_int_t then =
        json_integer_value(json_object_get(mr_checkpoint_state(checkpoint), "threads"));
    if (ranks != run->comm->size && !run->trainer->rank_free)
        mr_warn("%s: saved by %lld ranks, on %d now: the bits of this run depend on that number",
                run->config->run.name, (long long)ranks, run->comm->size);
    if (then != threads && run->trainer->be->idle_threads == 0)
        mr_warn("%s: saved on %lld threads a rank, on %lld now: bits depend on that number",
                run->config->run.name, (long long)then, (long long)threads);
}

/* Goes on from a checkpoint; from a named one (own is false) with a new folder of checkpoints. */
static mr_status go_on_from(mr_run_state *run, mr_checkpoint *checkpoint, const char *folder,
                            bool own, const char *passed_over)
{
    mr_status status = MR_OK;
    MR_TRY(mr_state_restore(run->trainer, checkpoint));
    restore_scalars(run, checkpoint);
    run->saved_step = run->trainer->step;
    mr_log("%s: goes on at step %lld from %s", run->config->run.name, (long long)run->trainer->step,
           mr_checkpoint_path(checkpoint));
    warn_of_other_bits(run, checkpoint);
    if (run->comm->rank == 0 && own) status = mr_checkpoint_set_aside(folder, run->trainer->step);
    if (status == MR_OK)
        status = mr_record_resume(&run->record, mr_checkpoint_path(checkpoint),
                                  mr_checkpoint_ranks(checkpoint), own, run->evaluated);
    if (status == MR_OK && passed_over[0])
        status = mr_record_event(&run->record, "damaged", passed_over);
    return mr_comm_agree_root(run->comm, status);
}

/* Finds the checkpoint to go on from: the newest sound one of this run's, or that of a path; NULL
 * where the run starts anew. */
static mr_status find(mr_run_state *run, const char *resume, const char *folder,
                      mr_checkpoint **checkpoint, mr_text *passed_over)
{
    bool own = strcmp(resume, MR_RESUME_AUTO) == 0;
    mr_config theirs;
    *checkpoint = NULL;
    if (strcmp(resume, MR_RESUME_NEVER) == 0) return MR_OK;
    mr_status status =
        mr_checkpoint_find(run->comm, own ? folder : resume, checkpoint, passed_over);
    /* What cannot be read now, or is another program's, is not to be thrown away. */
    if (own && (status == MR_ERR_IO || status == MR_ERR_ARG))
        return mr_fail(status, "%s; nothing is changed%s; --resume never starts over and keeps it",
                       mr_message(), status == MR_ERR_IO ? ": run again when it can be read" : "");
    MR_TRY(status);
    if (!*checkpoint) {
        MR_CHECK(own, MR_ERR_IO, "--resume: %s: there is no sound checkpoint", resume);
        /* To start over without a word would throw away what a repair may bring back. */
        MR_CHECK(passed_over->length == 0, MR_ERR_FORMAT,
                 "%s: no checkpoint is sound; --resume never starts over and keeps them", folder);
        return MR_OK;
    }
    MR_AGREE(run->comm, mr_state_config(*checkpoint, &theirs));
    const char *key = mr_state_differing_key(run->config, &theirs);
    if (!key) return MR_OK;
    MR_CHECK(own, MR_ERR_CONFIG, "--resume: %s is of another configuration: %s differs",
             mr_checkpoint_path(*checkpoint), key);
    mr_log("%s: its checkpoints are of another configuration (%s differs): it starts anew",
           run->config->run.name, key);
    mr_checkpoint_close(checkpoint);
    return MR_OK;
}

/* Two processes on one run would write over each other's log and checkpoints. */
static mr_status take_lock(mr_run_state *run)
{
    const mr_config *c = run->config;
    MR_TRY(mr_file_make_folders(c->run.output));
    snprintf(run->lock_path, sizeof run->lock_path, "%s/%s.lock", c->run.output, c->run.name);
    return mr_file_lock(run->lock_path, &run->lock);
}

mr_status mr_run_take_places(mr_run_state *run)
{
    MR_TRY(mr_comm_agree_root(run->comm, run->comm->rank == 0 ? take_lock(run) : MR_OK));
    if (!run->config->run.save_model[0]) return MR_OK;
    return mr_saved_take(run->comm, run->config, &run->saved);
}

mr_status mr_run_begin(mr_run_state *run, const char *resume)
{
    char folder[2 * MR_CONFIG_STRING + 16];
    mr_checkpoint *checkpoint = NULL;
    mr_text passed_over = {0};
    bool own = strcmp(resume, MR_RESUME_AUTO) == 0;
    mr_state_folder(run->config, folder, sizeof folder);
    mr_status status = mr_run_take_places(run);
    if (status == MR_OK) status = find(run, resume, folder, &checkpoint, &passed_over);
    if (status == MR_OK && checkpoint)
        status = go_on_from(run, checkpoint, folder, own, mr_text_get(&passed_over));
    else if (status == MR_OK)
        status = mr_comm_agree_root(run->comm, mr_record_begin(&run->record));
    if (status == MR_OK)
        status = mr_spectra_begin(&run->spectra, run->trainer, &run->record, checkpoint != NULL);
    if (status == MR_OK && !checkpoint) run->evaluated = !mr_sets_due(run->trainer, 0, false);
    mr_checkpoint_close(&checkpoint);
    mr_text_free(&passed_over);
    return status;
}
