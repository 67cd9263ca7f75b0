#include "base/staging.h"
#include "store/hf_beside.h"
#include "train/export_impl.h"
#include "train/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SEQUENCES = 2, TOKENS = 64, SEED = 1 }; /* of the sample */

/* Token ids, and logits on them. Owns all. */
typedef struct sample {
    int64_t tokens, vocabulary; /* of a sequence; ids */
    int32_t *ids, *none;        /* [SEQUENCES, tokens], [tokens] */
    double *losses;             /* [tokens] */
    float *logits;              /* [SEQUENCES, tokens, vocabulary] */
} sample;

static int64_t sample_tokens(const mr_hf_config *arch)
{
    return arch->max_position_embeddings < TOKENS ? arch->max_position_embeddings : TOKENS;
}

static mr_status draw_sample(const mr_hf_config *arch, sample *s)
{
    s->tokens = sample_tokens(arch);
    s->vocabulary = arch->vocab_size;
    const size_t count = (size_t)(SEQUENCES * s->tokens);
    const mr_random random = mr_random_stream(SEED, MR_RANDOM_SAMPLE, 0);
    s->ids = mr_alloc_array(MR_MEM_OTHER, count, sizeof *s->ids);
    s->none = mr_alloc_array(MR_MEM_OTHER, (size_t)s->tokens, sizeof *s->none);
    s->losses = mr_alloc_array(MR_MEM_OTHER, (size_t)s->tokens, sizeof *s->losses);
    s->logits = mr_alloc_array(MR_MEM_OTHER, count * (size_t)s->vocabulary, sizeof *s->logits);
    if (!s->ids || !s->none || !s->losses || !s->logits) return MR_ERR_MEMORY;
    for (size_t i = 0; i < count; i++)
        s->ids[i] = (int32_t)(mr_random_uniform(&random, i) * (double)s->vocabulary);
    for (int64_t t = 0; t < s->tokens; t++)
        s->none[t] = -1;
    return MR_OK;
}

static void free_sample(sample *s)
{
    mr_free(s->ids);
    mr_free(s->none);
    mr_free(s->losses);
    mr_free(s->logits);
}

/* Computes the logits of a sequence. Collective. */
static void compute(mr_model *model, const sample *s, int64_t sequence, float *logits)
{
    const mr_model_batch batch = {.tokens = s->ids + sequence * s->tokens, .targets = s->none};
    mr_model_evaluate(model, &batch, 1, s->losses, logits);
}

/* Lays out a model to be run on the sample, spread over the ranks, where that fits. Collective. */
static mr_status lay_out(mr_loaded *l, mr_backend *be)
{
    const mr_memory_limit limit = mr_memory_limit_of(l->comm, &l->config, be, 0, NULL);
    MR_TRY(mr_loaded_lay_out(l, be, MR_SHARD_FULL, sample_tokens(&l->arch)));
    const mr_plan plan = mr_plan_of(l->model, NULL, 1, 0, 0);
    MR_CHECK(plan.total <= limit.bytes, MR_ERR_ARG,
             "the model takes %.3g GiB a rank and %.3g GiB are allowed (%s); more ranks take less",
             (double)plan.total / 0x1p30, (double)limit.bytes / 0x1p30, limit.why);
    mr_model_set_restart(l->model, l->files.about.restart);
    return MR_OK;
}

/* Holds a token's logits against those of the run's model. */
static void compare(const float *theirs, const float *ours, int64_t count, mr_export_outcome *out)
{
    int64_t best[2] = {0};
    for (int64_t i = 0; i < count; i++) {
        const double off = fabs((double)theirs[i] - (double)ours[i]);
        /* What is not a number is no small difference. */
        if (!(off <= out->difference)) out->difference = off;
        if (fabs((double)ours[i]) > out->most) out->most = fabs((double)ours[i]);
        if (theirs[i] > theirs[best[0]]) best[0] = i;
        if (ours[i] > ours[best[1]]) best[1] = i;
    }
    out->tokens++;
    out->agree += best[0] == best[1];
}

/* Reads the written model, in memory as the run's, and compares its logits. Collective. */
static mr_status hold_against(const mr_loaded *run, mr_backend *be, const char *folder,
                              const sample *s, mr_export_outcome *out)
{
    const mr_comm *comm = run->comm;
    mr_loaded *l = NULL;
    const size_t row = (size_t)(s->tokens * s->vocabulary);
    MR_TRY(mr_loaded_open(comm, folder, NULL, 0, &l));
    l->config.parallel = run->config.parallel;
    float *logits = mr_alloc_array(MR_MEM_OTHER, row, sizeof *logits);
    mr_status status = mr_comm_agree(comm, logits ? MR_OK : MR_ERR_MEMORY);
    if (status == MR_OK) status = lay_out(l, be);
    if (status == MR_OK) status = mr_loaded_read(l);
    for (int64_t i = 0; status == MR_OK && i < SEQUENCES; i++) {
        compute(l->model, s, i, logits);
        for (int64_t t = 0; t < s->tokens; t++)
            compare(logits + t * s->vocabulary, s->logits + (i * s->tokens + t) * s->vocabulary,
                    s->vocabulary, out);
    }
    mr_free(logits);
    mr_loaded_destroy(&l);
    return status;
}

static mr_status judge(const mr_export_outcome *out)
{
    MR_CHECK(out->difference <= out->bound, MR_ERR_NUMERIC,
             "the merged model is not the adapted one: a logit differs by %.3g, more than the "
             "bound %g, of logits up to %.3g; a larger --bound accepts it, --dtype f32 differs "
             "least",
             out->difference, out->bound, out->most);
    return MR_OK;
}

/* Writes and checks a merged model. Collective. */
static mr_status merged(mr_loaded *l, mr_backend *be, const mr_export_options *o,
                        const char *folder, mr_export_outcome *out)
{
    sample s = {0};
    mr_status status = mr_comm_agree(l->comm, draw_sample(&l->arch, &s));
    for (int64_t i = 0; status == MR_OK && i < SEQUENCES; i++)
        compute(l->model, &s, i, s.logits + i * s.tokens * s.vocabulary);
    if (status == MR_OK) status = mr_export_merged(l, o->f32, folder, out);
    mr_model_destroy(&l->model);
    if (status == MR_OK) status = hold_against(l, be, folder, &s, out);
    const bool wide = strcmp(out->types, "F32") == 0;
    out->bound = o->bound > 0 ? o->bound : wide ? MR_EXPORT_BOUND_F32 : MR_EXPORT_BOUND_16;
    free_sample(&s);
    return status == MR_OK ? judge(out) : status;
}

static mr_status check_place(const char *folder)
{
    MR_CHECK(access(folder, F_OK) != 0 || mr_file_is_empty_folder(folder), MR_ERR_USAGE,
             "--out: '%s' is there already, and nothing is written over; name another folder",
             folder);
    return MR_OK;
}

static mr_status write_form(mr_loaded *l, mr_backend *be, const mr_export_options *o,
                            mr_staging *staging, mr_export_outcome *out)
{
    const mr_comm *comm = l->comm;
    MR_TRY(mr_comm_agree_root(comm, comm->rank == 0 ? mr_staging_begin(staging) : MR_OK));
    MR_TRY(mr_loaded_read(l));
    if (o->form == MR_EXPORT_MERGED)
        MR_TRY(merged(l, be, o, staging->beside, out));
    else
        MR_TRY(mr_export_adapter(l, o->form, staging->beside, out));
    return mr_comm_agree_root(comm, comm->rank == 0 ? mr_staging_commit(staging) : MR_OK);
}

static mr_status export_run(mr_loaded *l, mr_backend *be, const mr_export_options *o,
                            mr_export_outcome *out)
{
    const mr_comm *comm = l->comm;
    mr_staging staging;
    MR_CHECK(l->run, MR_ERR_USAGE,
             "'%s' is a model folder: expected a run, by its log, its kept tensors or its "
             "checkpoints",
             o->run);
    snprintf(out->method, sizeof out->method, "%s", l->config.method.name);
    out->steps = l->files.about.steps;
    out->restart = l->files.about.restart;
    MR_AGREE(comm, mr_staging_name(o->out, mr_hf_beside_is_file, &staging));
    MR_TRY(mr_comm_agree_root(comm, comm->rank == 0 ? check_place(staging.folder) : MR_OK));
    MR_TRY(lay_out(l, be));
    MR_AGREE(comm, mr_export_check(l->model, o->form));
    mr_status status = write_form(l, be, o, &staging, out);
    if (comm->rank == 0 && status != MR_OK) mr_staging_abandon(&staging);
    return status;
}

mr_status mr_export(const mr_comm *comm, mr_backend *be, const mr_export_options *o,
                    mr_export_outcome *out)
{
    mr_loaded *l = NULL;
    *out = (mr_export_outcome){.bound = o->bound};
    MR_TRY(mr_loaded_open(comm, o->run, o->sets, o->set_count, &l));
    mr_status status = export_run(l, be, o, out);
    mr_loaded_destroy(&l);
    return status;
}
