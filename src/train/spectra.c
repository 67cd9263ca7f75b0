#include "train/spectra.h"

#include "base/log.h"
#include "comm/node.h"

#include <string.h>

/* Snapshots a whole run takes, for the file's room. */
static int64_t expected(const mr_trainer *t)
{
    const int64_t every = t->config->log.spectrum_every;
    const int64_t merges = mr_adapter_config_of(t->config)->merge_every;
    return t->total_steps / every + (merges > 0 ? t->total_steps / merges : 0) + 1;
}

static void describe(mr_spectra *s)
{
    const mr_config *c = s->trainer->config;
    s->layout = (mr_spectra_layout){
        .run = c->run.name,
        .method = c->method.name,
        .update = "W of the step, the adapter merged, minus W at the start of the run; at a step "
                  "that a merge follows with what is merged",
        .r = mr_adapter_config_of(c)->r,
        .snapshots = expected(s->trainer)};
    mr_snapshots_layout(s->trainer->snapshots, &s->layout);
}

/* The last step in the file, 0 where there is none. */
static mr_status find_last(const char *path, int64_t *step)
{
    mr_spectra_file *file;
    int64_t count;
    MR_TRY(mr_spectra_file_open(path, &file));
    const int64_t *steps = mr_spectra_file_steps(file, &count);
    *step = count > 0 ? steps[count - 1] : 0;
    mr_spectra_file_close(&file);
    return MR_OK;
}

/* What rank 0 prepares. */
static mr_status prepare(mr_spectra *s, bool resumed)
{
    const size_t groups = (size_t)s->layout.groups;
    s->row = mr_alloc_array(MR_MEM_OTHER, groups, sizeof *s->row);
    if (!s->row) return MR_ERR_MEMORY;
    for (int64_t g = 0; g < s->layout.groups; g++)
        MR_TRY(mr_spectra_row_make(&s->layout, g, &s->row[g]));
    /* A log that is not gone on with is put aside later, and its spectra with it. */
    s->ours = resumed && s->record->claimed;
    if (!s->ours) return MR_OK;
    MR_TRY(mr_spectra_file_resume(s->path, &s->layout, s->trainer->step));
    return find_last(s->path, &s->step);
}

static bool is_due(const mr_trainer *t)
{
    return t->step > 0 && (t->step % t->config->log.spectrum_every == 0 ||
                           t->step == t->total_steps || mr_trainer_merges_after(t, t->step));
}

static mr_status take(mr_spectra *s, bool stoppable)
{
    mr_trainer *t = s->trainer;
    if (!t->snapshots || t->step == s->step || !is_due(t)) return MR_OK;
    MR_TRY(mr_spectra_collect(s));
    MR_TRY(mr_spectra_flush(s));
    MR_TRY(mr_snapshots_start(t->snapshots, s->beside, stoppable));
    s->step = t->step;
    return MR_OK;
}

mr_status mr_spectra_take(mr_spectra *s)
{
    return take(s, true);
}

/* The first merge ends what has a structure; of later ones a snapshot is the same before and after,
 * and after it may be broken off. */
static mr_status take_before_merge(void *context)
{
    mr_spectra *s = context;
    const mr_trainer *t = s->trainer;
    return t->step == mr_adapter_config_of(t->config)->merge_every ? take(s, false) : MR_OK;
}

mr_status mr_spectra_begin(mr_spectra *s, mr_trainer *trainer, mr_record *record, bool resumed)
{
    const mr_comm *comm = trainer->comm;
    *s = (mr_spectra){.trainer = trainer, .record = record};
    if (!trainer->snapshots) return MR_OK;
    mr_record_spectra_path(trainer->config, s->path);
    describe(s);
    s->beside = mr_node_threads(comm, 0) - trainer->be->threads + trainer->be->idle_threads;
    trainer->before_merge = take_before_merge;
    trainer->merge_context = s;
    MR_TRY(mr_comm_agree_root(comm, comm->rank == 0 ? prepare(s, resumed) : MR_OK));
    mr_comm_broadcast(comm, &s->step, sizeof s->step, 0);
    return MR_OK;
}

bool mr_spectra_busy(const mr_spectra *s)
{
    return s->trainer->snapshots && mr_snapshots_busy(s->trainer->snapshots);
}

static mr_status append(mr_spectra *s)
{
    MR_TRY(mr_record_claim(s->record));
    if (!s->ours) MR_TRY(mr_spectra_file_create(s->path, &s->layout));
    s->ours = true;
    /* An append that failed may have come as far as that the step counts. */
    if (s->behind) MR_TRY(mr_spectra_file_resume(s->path, &s->layout, s->step - 1));
    return mr_spectra_file_append(s->path, &s->layout, s->step, s->row);
}

/* Appends what waits, on rank 0. Once the file could be written, a time at which it cannot be is
 * waited out, unless somebody insists. */
static mr_status write_row(mr_spectra *s, bool insist, bool *written)
{
    const mr_status status = append(s);
    *written = status == MR_OK;
    if (status != MR_ERR_IO || insist || !s->written) {
        if (*written && s->behind) mr_log("%s: written again", s->path);
        s->written = s->written || *written;
        s->behind = s->behind && !*written;
        return status;
    }
    if (!s->behind) mr_warn("%s; it is tried again while the run goes on", mr_message());
    s->behind = true;
    return MR_OK;
}

static mr_status write_what_waits(mr_spectra *s, bool insist)
{
    const mr_comm *comm = s->trainer->comm;
    bool written = false;
    if (!s->waits) return MR_OK;
    MR_TRY(mr_comm_agree_root(comm, comm->rank == 0 ? write_row(s, insist, &written) : MR_OK));
    s->waits = !mr_comm_any(comm, written);
    return MR_OK;
}

mr_status mr_spectra_collect(mr_spectra *s)
{
    mr_snapshots *snapshots = s->trainer->snapshots;
    if (snapshots && mr_snapshots_under_way(snapshots)) {
        mr_status status = mr_snapshots_finish(snapshots, s->row);
        if (status != MR_OK) return mr_fail_in(status, "step %lld", (long long)s->step);
        s->waits = true;
    }
    return write_what_waits(s, false);
}

mr_status mr_spectra_flush(mr_spectra *s)
{
    return write_what_waits(s, true);
}

mr_status mr_spectra_end(mr_spectra *s)
{
    MR_TRY(mr_spectra_collect(s));
    MR_TRY(mr_spectra_flush(s));
    return mr_comm_agree_root(s->trainer->comm, s->ours ? mr_spectra_file_trim(s->path) : MR_OK);
}

void mr_spectra_free(mr_spectra *s)
{
    for (int64_t g = 0; s->row && g < s->layout.groups; g++)
        mr_spectra_row_free(&s->row[g]);
    mr_free(s->row);
    s->row = NULL;
}
