#include "train/done.h"

#include "base/log.h"
#include "mr_build_info.h"
#include "store/runlog_read.h"
#include "train/kept.h"
#include "train/record.h"
#include "train/saved.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What runs are compared by in a set of a log. Older logs do not say which score that is: it is the
 * first of the kind that has it. */
static mr_status score_of_log(mr_runlog_reader *reader, const char *set, mr_run_score *score)
{
    char dataset[256];
    double *values;
    int64_t count;
    mr_runlog_about about;
    MR_TRY(mr_runlog_tells(reader, set, NULL, &about));
    const mr_eval_kind *kind;
    for (int i = 0; about.primary[0] == '\0' && (kind = mr_eval_kind_at(i)); i++) {
        if (kind->scores == 0) continue;
        snprintf(dataset, sizeof dataset, "/eval/%s/%s", set, kind->score[0].name);
        if (!mr_runlog_has(reader, dataset)) continue;
        snprintf(about.primary, sizeof about.primary, "%s", kind->score[0].name);
        snprintf(about.unit, sizeof about.unit, "%s", kind->score[0].unit);
    }
    snprintf(dataset, sizeof dataset, "/eval/%s/%s", set, about.primary);
    if (about.primary[0] == '\0' || !mr_runlog_has(reader, dataset)) return MR_OK;
    if (about.told) MR_TRY(mr_runlog_tells(reader, set, about.primary, &about));
    MR_TRY(mr_runlog_series(reader, dataset, &values, &count));
    if (count > 0) mr_run_score_put(score, set, about.primary, about.unit, values[count - 1]);
    mr_free(values);
    return MR_OK;
}

/* Fills the outcome from a finished log. */
static mr_status outcome_of_log(mr_run_outcome *outcome)
{
    mr_runlog_reader *reader = NULL;
    mr_names evaluations = {0};
    double *values = NULL;
    char *set = NULL;
    int64_t count;
    MR_TRY(mr_runlog_open(outcome->log, &reader));
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
    if (status == MR_OK && mr_runlog_has_attribute(reader, "primary_set"))
        status = mr_runlog_get_text(reader, "primary_set", &set);
    if (status == MR_OK && evaluations.count > 0)
        status = score_of_log(reader, set ? set : evaluations.item[0], &outcome->score);
    mr_free(set);
    mr_names_free(&evaluations);
    mr_runlog_close_reader(&reader);
    return status;
}

/* What a finished run of these inputs is without: its model, or the tensors it kept. */
static mr_status find_left_behind(const mr_config *config, const mr_record_found *found,
                                  mr_done *done)
{
    char kept[MR_KEPT_PATH];
    bool whole = true;
    mr_kept_path(config, kept);
    bool there = access(kept, F_OK) == 0;
    if (config->run.save_model[0])
        MR_TRY(mr_saved_find(config, found->steps, &found->inputs, !found->kept[0], &whole));
    *done = whole ? MR_DONE_YES : there ? MR_DONE_UNSAVED : MR_DONE_NO;
    if (*done == MR_DONE_NO)
        mr_warn("%s: done, but its model is not in '%s' and neither are its trained tensors in "
                "'%s': it is trained again",
                config->run.name, config->run.save_model, kept);
    bool missed = *done == MR_DONE_YES && config->run.keep != MR_KEEP_NONE && !there;
    if (missed && strcmp(found->kept, mr_kept_word(MR_KEEP_NONE)) == 0)
        mr_warn("%s: its trained tensors were not kept (run.keep: none); --resume never trains "
                "them again",
                config->run.name);
    else if (missed && found->kept[0]) /* older programs kept none */
        mr_warn("%s: the trained tensors that it kept in '%s' are gone; --resume never trains "
                "them again",
                config->run.name, kept);
    return MR_OK;
}

static void say_without_spectra(const mr_config *config)
{
    char spectra[MR_SPECTRA_PATH];
    mr_record_spectra_path(config, spectra);
    if (config->log.spectrum_every > 0 && access(spectra, F_OK) != 0)
        mr_warn("%s: done without the spectra that log.spectrum_every asks for; --resume never "
                "trains it again, with them",
                config->run.name);
}

static void say_done(const mr_config *config, const mr_run_outcome *outcome,
                     const mr_record_found *found, const char *unknown)
{
    bool known = strcmp(MR_BUILD_COMMIT, "unknown") != 0 && found->commit[0];
    bool other = known && strcmp(found->commit, MR_BUILD_COMMIT) != 0;
    mr_log("%s: done already, see %s%s%.12s%s%s%s", config->run.name, outcome->log,
           other ? "; by the program of commit " : "", other ? found->commit : "",
           other ? ", this is " MR_BUILD_COMMIT : "",
           unknown[0] ? "; its inputs cannot be compared: " : "", unknown);
}

/* Decides on rank 0, where the log is of a finished run and its inputs have been read or, with a
 * message why, could not be. */
static mr_status judge(const mr_config *config, const mr_record_found *found, const mr_inputs *now,
                       const char *sets_now, const char *unknown, mr_run_outcome *outcome,
                       mr_done *done)
{
    mr_text differing = {0};
    mr_status status = MR_OK;
    bool drawn = config->model.init == MR_INIT_RANDOM, differs = false;
    if (!unknown[0]) {
        differs = mr_inputs_differ(&found->inputs, now, drawn, &differing);
        differs = mr_sets_differ(found->sets_hashes, sets_now, &differing) || differs;
    }
    if (differs) {
        mr_log("%s: %s is of other inputs (%s): it is kept, and the run begun anew",
               config->run.name, outcome->log, mr_text_get(&differing));
        *done = MR_DONE_OTHERS;
    } else {
        status = find_left_behind(config, found, done);
        if (status == MR_OK && *done >= MR_DONE_UNSAVED) status = outcome_of_log(outcome);
        if (status == MR_OK && *done == MR_DONE_YES) say_done(config, outcome, found, unknown);
        if (status == MR_OK && *done == MR_DONE_YES) say_without_spectra(config);
    }
    mr_text_free(&differing);
    return status;
}

/* An unsound log is no finished run: it is written anew. One that cannot be read now may be sound.
 */
static mr_status do_again(mr_status status)
{
    if (status == MR_OK || mr_record_tells_nothing(status)) return status;
    mr_warn("%s; the run is done again", mr_message());
    return MR_OK;
}

mr_status mr_done_find(const mr_comm *comm, const mr_config *config, mr_run_outcome *outcome,
                       mr_done *done)
{
    mr_record_found found = {0};
    mr_inputs now;
    const mr_run_outcome blank = *outcome;
    mr_status status = MR_OK;
    *done = MR_DONE_NO;
    if (comm->rank == 0) {
        status = mr_record_find(config, outcome->log, &found);
        if (status != MR_OK) found.ours = false;
        status = do_again(status);
    }
    MR_TRY(mr_comm_agree_root(comm, status));
    bool finished = mr_comm_any(comm, found.ours && found.completed);
    if (!finished) return MR_OK;
    mr_status read = mr_trainer_inputs(comm, config, &now);
    if (comm->rank == 0) {
        char unknown[MR_MESSAGE_MAX], sets_now[MR_SETS_HASHES] = "";
        if (read == MR_OK) read = mr_sets_hashes(config, sets_now);
        snprintf(unknown, sizeof unknown, "%s", read == MR_OK ? "" : mr_message());
        status = judge(config, &found, &now, sets_now, unknown, outcome, done);
        if (status != MR_OK) *done = MR_DONE_NO;
        status = do_again(status);
        if (*done < MR_DONE_UNSAVED) *outcome = blank;
    }
    MR_TRY(mr_comm_agree_root(comm, status));
    mr_comm_broadcast(comm, done, sizeof *done, 0);
    mr_comm_broadcast(comm, outcome, sizeof *outcome, 0);
    return MR_OK;
}
