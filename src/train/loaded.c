#include "train/loaded.h"

#include "base/file.h"
#include "data/model_tokenizer.h"
#include "train/adapter_start.h"
#include "train/plan.h"
#include "train/registry.h"
#include "train/sharing.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The configuration that a model folder alone stands for. */
static mr_status configure_folder(mr_config *config, const char *folder)
{
    mr_config_defaults(mr_registry_of_program(), config);
    MR_CHECK(strlen(folder) < sizeof config->model.path, MR_ERR_USAGE, "path too long: '%s'",
             folder);
    snprintf(config->model.path, sizeof config->model.path, "%s", folder);
    return mr_config_set(config, "method.name=fft");
}

/* Takes a key that matters where a model is run and not trained. */
static mr_status take_set(mr_config *config, const char *set)
{
    static const char *const keys[] = {"model.",
                                       "parallel.backend=",
                                       "parallel.threads=",
                                       "parallel.memory_gib=",
                                       "parallel.shared_memory=",
                                       "run.seed="};
    MR_TRY(mr_config_set(config, set));
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strncmp(set, keys[i], strlen(keys[i])) == 0) return MR_OK;
    return mr_fail(
        MR_ERR_USAGE,
        "%.*s has no effect on a model that is run and not trained; what has are model.*, "
        "parallel.backend, parallel.threads, parallel.memory_gib, parallel.shared_memory and "
        "run.seed",
        (int)strcspn(set, "="), set);
}

static mr_status configure(mr_loaded *l, const char *path, const char *const *sets, int set_count)
{
    if (l->run)
        l->config = l->files.about.config;
    else
        MR_TRY(configure_folder(&l->config, path));
    for (int i = 0; i < set_count; i++)
        MR_TRY(take_set(&l->config, sets[i]));
    return mr_config_expand_paths(&l->config, NULL);
}

/* Opens what a run left, unless the path is that of a model folder. Collective. */
static mr_status open_run(mr_loaded *l, const char *path)
{
    char config[PATH_MAX];
    struct stat about;
    int32_t what[2] = {0}; /* a path that is there, a folder */
    if (l->comm->rank == 0) {
        const bool fits = mr_file_path(config, "%s/config.json", path) == MR_OK;
        what[0] = fits && stat(path, &about) == 0 && access(config, F_OK) != 0;
        what[1] = what[0] && S_ISDIR(about.st_mode);
    }
    mr_comm_broadcast(l->comm, what, sizeof what, 0);
    l->run = what[0] != 0;
    mr_status status = l->run ? mr_run_files_open(l->comm, path, &l->files) : MR_OK;
    if (status == MR_ERR_IO && what[1])
        return mr_fail(status,
                       "'%s': neither a model folder (no config.json in it) nor one of "
                       "checkpoints",
                       path);
    return status;
}

static mr_status open_all(mr_loaded *l, const char *path, const char *const *sets, int set_count)
{
    MR_TRY(open_run(l, path));
    MR_AGREE(l->comm, configure(l, path, sets, set_count));
    MR_TRY(mr_trainer_arch(l->comm, &l->config, &l->arch));
    return MR_OK;
}

mr_status mr_loaded_put_adapter(mr_loaded *l, const char *folder)
{
    MR_CHECK(!l->run, MR_ERR_USAGE,
             "an adapter goes on a model folder, and what a run left has its own");
    return mr_comm_agree(l->comm, mr_adapter_start_configure(&l->config, folder));
}

mr_status mr_loaded_tokenizer(mr_loaded *l)
{
    mr_status status = mr_model_tokenizer_create(&l->config, &l->arch, &l->tokenizer);
    if (status == MR_OK && l->tokenizer->vocabulary > l->arch.vocab_size)
        status = mr_fail(MR_ERR_CONFIG, "the tokenizer has %d ids, the model's vocab_size is %lld",
                         l->tokenizer->vocabulary, (long long)l->arch.vocab_size);
    return mr_comm_agree(l->comm, status);
}

mr_status mr_loaded_open(const mr_comm *comm, const char *path, const char *const *sets,
                         int set_count, mr_loaded **out)
{
    mr_loaded *l = mr_alloc(MR_MEM_OTHER, sizeof *l);
    *out = l;
    if (l) l->comm = comm;
    if (l) l->path = path;
    MR_AGREE(comm, l ? MR_OK : MR_ERR_MEMORY);
    mr_status status = open_all(l, path, sets, set_count);
    if (status != MR_OK) mr_loaded_destroy(out);
    return status;
}

static mr_status create(mr_loaded *l, mr_backend *be, mr_shard shard, int64_t tokens)
{
    mr_model_destroy(&l->model);
    return mr_model_create(
        &(mr_model_options){
            .comm = l->comm,
            .nodes = &l->nodes,
            .be = be,
            .arch = &l->arch,
            .method = mr_adapter_find(l->config.method.name),
            .adapter = mr_adapter_config_of(&l->config),
            .shard = shard,
            .compute = mr_trainer_dtype(&l->config),
            .fp8 = l->config.model.matmul == MR_MATMUL_FP8,
            .frozen = true,
            .seed = (uint64_t)l->config.run.seed,
            .geometry = {.batch = 1, .tokens = tokens, .micros = 1, .in_wave = 1, .stretches = 1}},
        &l->model);
}

mr_status mr_loaded_lay_out(mr_loaded *l, mr_backend *be, mr_shard shard, int64_t tokens)
{
    if (l->nodes.ranks == 0) l->nodes = mr_sharing_find(l->comm, &l->config, be, 0, l->path);
    return mr_comm_agree(l->comm, create(l, be, shard, tokens));
}

mr_status mr_loaded_fit(mr_loaded *l, mr_backend *be, const mr_loaded_room *room)
{
    static const mr_shard shards[] = {MR_SHARD_NONE, MR_SHARD_FULL};
    const bool splits = l->config.model.matmul != MR_MATMUL_FP8; /* which takes whole weights */
    const mr_memory_limit limit = mr_memory_limit_of(l->comm, &l->config, be, 0, NULL);
    mr_plan plan = {0};
    for (int i = 0; i < 2 && (i == 0 || (splits && l->nodes.count > 1)); i++) {
        MR_TRY(mr_loaded_lay_out(l, be, shards[i], 2));
        MR_AGREE(l->comm, room->lay_out(room->context, l->model));
        plan = mr_plan_of(l->model, NULL, 1, 0, 0);
        size_t bytes[MR_MEM_PURPOSES] = {0};
        room->bytes(room->context, bytes);
        for (int m = 0; m < MR_MEM_PURPOSES; m++)
            mr_plan_add(&plan, (mr_purpose)m, bytes[m]);
        if (plan.total <= limit.bytes) return MR_OK;
    }
    return mr_fail(MR_ERR_ARG,
                   "the model takes %.3g GiB a rank and %.3g GiB are allowed (%s); a smaller "
                   "--batch, shorter texts or more ranks take less",
                   (double)plan.total / 0x1p30, (double)limit.bytes / 0x1p30, limit.why);
}

mr_status mr_loaded_hash(mr_loaded *l, char out[MR_HF_HASH])
{
    mr_hf *weights;
    out[0] = '\0';
    if (l->run) snprintf(out, MR_HF_HASH, "%s", l->files.about.inputs.weights_hash);
    if (l->run || l->config.model.init != MR_INIT_PRETRAINED) return MR_OK;
    mr_status status = mr_trainer_open_weights(l->comm, &l->config, &l->arch, &weights);
    if (status == MR_OK) status = mr_hf_hash(l->comm, weights, &l->arch, out);
    mr_hf_close(&weights);
    return status;
}

static mr_status read_base(mr_loaded *l)
{
    mr_hf *weights;
    mr_status status = mr_trainer_open_weights(l->comm, &l->config, &l->arch, &weights);
    if (status == MR_OK && l->run)
        status = mr_run_files_check_base(l->comm, &l->files, weights, &l->arch);
    if (status == MR_OK) status = mr_comm_agree(l->comm, mr_model_load(l->model, weights));
    mr_hf_close(&weights);
    return status;
}

static mr_status read_left(void *context, const mr_param *param, int64_t first, int64_t count,
                           float *out)
{
    return mr_run_files_read(context, param, first, count, out);
}

/* Reads what a run left over what it began with. Local. */
static mr_status read_run(mr_loaded *l)
{
    mr_params *params = mr_model_params(l->model);
    for (mr_params_walk at = {0}; mr_params_next(params, &at);)
        if (mr_run_files_hold(&l->files, at.param))
            MR_TRY(mr_params_fill(params, at.id, read_left, &l->files));
    mr_params_invalidate(params);
    return MR_OK;
}

mr_status mr_loaded_read(mr_loaded *l)
{
    const bool pretrained = l->config.model.init == MR_INIT_PRETRAINED;
    const bool adapted = !mr_adapter_find(l->config.method.name)->trains_base;
    MR_AGREE(l->comm, mr_model_allocate(l->model));
    /* Of an adapter a run leaves what it changed, and the rest is drawn. */
    if (l->run) mr_model_set_restart(l->model, l->files.about.restart);
    MR_AGREE(l->comm,
             mr_model_draw(l->model, (uint64_t)l->config.run.seed, !pretrained, l->run || adapted));
    if (pretrained) MR_TRY(read_base(l));
    if (!l->run && !adapted) return MR_OK;
    MR_TRY(mr_model_prepare_adapters(l->model));
    /* Kept tensors are all that adapters have; checkpoints leave out what is not trained. */
    if (!l->run || (!l->files.kept && l->files.about.restart == 0))
        MR_TRY(mr_adapter_start_read(l->comm, &l->config, l->model));
    return l->run ? mr_comm_agree(l->comm, read_run(l)) : MR_OK;
}

static bool is_held(const void *files, const mr_param *param)
{
    return mr_run_files_hold(files, param);
}

mr_status mr_loaded_digest(const mr_loaded *l, char out[MR_WEIGHTS_DIGEST])
{
    out[0] = '\0';
    return l->run ? mr_weights_digest(l->model, is_held, &l->files, out) : MR_OK;
}

void mr_loaded_destroy(mr_loaded **out)
{
    mr_loaded *l = *out;
    if (!l) return;
    mr_model_destroy(&l->model);
    mr_nodes_destroy(&l->nodes);
    mr_tokenizer_destroy(&l->tokenizer);
    mr_run_files_close(&l->files);
    mr_free(l);
    *out = NULL;
}
