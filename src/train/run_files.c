#include "train/run_files.h"

#include "base/file.h"
#include "store/runlog_read.h"
#include "train/registry.h"
#include "train/state.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static mr_status open_kept(const char *path, mr_run_files *files)
{
    MR_TRY(mr_safetensors_open_partly(path, &files->kept));
    return mr_kept_tell(files->kept, &files->about);
}

/* Opens the newest checkpoint at a path. Collective. */
static mr_status open_checkpoint(const mr_comm *comm, const char *path, mr_run_files *files)
{
    mr_inputs_field field[MR_INPUTS_FIELDS];
    mr_kept_about *about = &files->about;
    MR_TRY(mr_checkpoint_find(comm, path, &files->checkpoint, NULL));
    MR_CHECK(files->checkpoint, MR_ERR_IO, "%s: there is no checkpoint", path);
    MR_AGREE(comm, mr_state_config(files->checkpoint, &about->config));
    const json_t *inputs = json_object_get(mr_checkpoint_state(files->checkpoint), "inputs");
    mr_inputs_fields(&about->inputs, field);
    for (int i = 0; i < MR_INPUTS_FIELDS; i++) {
        const char *text = json_string_value(json_object_get(inputs, field[i].name));
        snprintf(field[i].text, field[i].room, "%s", text ? text : "");
    }
    const int64_t every = mr_adapter_config_of(&about->config)->merge_every;
    about->steps = mr_checkpoint_step(files->checkpoint);
    about->restart = every > 0 ? about->steps / every : 0;
    return MR_OK;
}

/* Reads the configuration of a log. */
static mr_status read_log(const char *path, mr_config *out)
{
    mr_runlog_reader *reader;
    char *text = NULL;
    MR_TRY(mr_runlog_open(path, &reader));
    mr_status status = mr_runlog_get_text(reader, "config", &text);
    if (status == MR_OK) status = mr_config_parse_resolved(mr_registry_of_program(), text, out);
    mr_free(text);
    mr_runlog_close_reader(&reader);
    return status;
}

/* Opens what lies beside a log: what is kept, else the newest checkpoint. Collective. */
static mr_status open_beside(const mr_comm *comm, const char *log, mr_run_files *files)
{
    static const char H5[] = ".h5";
    char stem[PATH_MAX], kept[PATH_MAX], checkpoints[PATH_MAX];
    mr_config config;
    const size_t length = strlen(log), tail = sizeof H5 - 1;
    const bool ends = length > tail && strcmp(log + length - tail, H5) == 0;
    mr_status status = mr_file_path(stem, "%.*s", (int)(ends ? length - tail : length), log);
    if (status == MR_OK) status = mr_file_path(kept, "%s.trained.safetensors", stem);
    if (status == MR_OK) status = mr_file_path(checkpoints, "%s.checkpoints", stem);
    if (status == MR_OK) status = read_log(log, &config);
    MR_AGREE(comm, status);
    if (!mr_comm_any(comm, access(kept, F_OK) == 0)) {
        status = open_checkpoint(comm, checkpoints, files);
        if (status == MR_ERR_IO && !files->checkpoint)
            return mr_fail(MR_ERR_IO,
                           "%s: nothing that was learnt is left: neither %s nor a checkpoint in %s",
                           log, kept, checkpoints);
        MR_TRY(status);
    } else {
        MR_AGREE(comm, open_kept(kept, files));
    }
    const char *key = mr_state_differing_key(&config, &files->about.config);
    MR_CHECK(!key, MR_ERR_FORMAT, "%s: what lies beside it is of another run: %s differs", log,
             key);
    return MR_OK;
}

static mr_status open_path(const mr_comm *comm, const char *path, mr_run_files *files)
{
    static const char KEPT[] = ".safetensors";
    struct stat about;
    const size_t length = strlen(path), tail = sizeof KEPT - 1;
    int32_t folder = 0;
    mr_status status = MR_OK;
    if (comm->rank == 0) {
        if (stat(path, &about) == 0)
            folder = S_ISDIR(about.st_mode);
        else
            status = mr_fail(MR_ERR_IO, "cannot open '%s'", path);
    }
    MR_TRY(mr_comm_agree_root(comm, status));
    mr_comm_broadcast(comm, &folder, sizeof folder, 0);
    if (folder) return open_checkpoint(comm, path, files);
    if (length > tail && strcmp(path + length - tail, KEPT) == 0) {
        MR_AGREE(comm, open_kept(path, files));
        return MR_OK;
    }
    return open_beside(comm, path, files);
}

mr_status mr_run_files_open(const mr_comm *comm, const char *path, mr_run_files *out)
{
    *out = (mr_run_files){0};
    mr_status status = open_path(comm, path, out);
    if (status != MR_OK) mr_run_files_close(out);
    return status;
}

void mr_run_files_close(mr_run_files *files)
{
    mr_safetensors_close(&files->kept);
    mr_checkpoint_close(&files->checkpoint);
}

mr_status mr_run_files_check_base(const mr_comm *comm, const mr_run_files *files,
                                  const mr_hf *weights, const mr_hf_config *arch)
{
    const char *then = files->about.inputs.weights_hash;
    char hash[MR_HF_HASH];
    MR_TRY(mr_hf_hash(comm, weights, arch, hash));
    /* Older hashes were of a sample, and cannot be compared. */
    const bool whole = strncmp(then, MR_HF_HASH_TAG, sizeof MR_HF_HASH_TAG - 1) == 0;
    MR_CHECK(!whole || strcmp(hash, then) == 0, MR_ERR_FORMAT,
             "%s: the weights are not those that the run began with: %s instead of %s",
             mr_hf_folder(weights), hash, then);
    return MR_OK;
}

bool mr_run_files_hold(const mr_run_files *files, const mr_param *param)
{
    int dims;
    const int64_t *shape;
    if (files->kept) return mr_safetensors_find(files->kept, param->name) != NULL;
    for (int64_t i = 0; i < mr_checkpoint_tensors(files->checkpoint); i++)
        if (strcmp(mr_checkpoint_tensor(files->checkpoint, i, &dims, &shape), param->name) == 0)
            return true;
    return false;
}

/* Copies what is read of a checkpoint. */
typedef struct copier {
    int64_t first;
    float *out;
} copier;

static void copy(void *context, int slab, int64_t first, int64_t count, const float *values)
{
    const copier *c = context;
    (void)slab;
    memcpy(c->out + first - c->first, values, (size_t)count * sizeof *values);
}

static mr_checkpoint_slab slab_of(const mr_param *param, int64_t first, int64_t count)
{
    const bool vector = param->rows == 1 && !param->adapter;
    return (mr_checkpoint_slab){
        .name = param->name,
        .dims = vector ? 1 : 2,
        .shape = {vector ? param->cols : param->rows, vector ? 0 : param->cols},
        .first = first,
        .count = count};
}

mr_status mr_run_files_read(const mr_run_files *files, const mr_param *param, int64_t first,
                            int64_t count, float *out)
{
    const mr_checkpoint_slab slab = slab_of(param, first, count);
    if (files->kept) {
        const mr_safetensors_entry *entry = mr_safetensors_find(files->kept, param->name);
        MR_CHECK(entry, MR_ERR_FORMAT, "%s: no tensor '%s'", mr_safetensors_path(files->kept),
                 param->name);
        MR_TRY(mr_safetensors_expect(files->kept, entry, slab.dims, slab.shape));
        MR_TRY(mr_safetensors_is_there(files->kept, entry));
        return mr_safetensors_read_f32(files->kept, entry, first, count, out);
    }
    copier to = {.first = first, .out = out};
    mr_status status;
    /* One shard at a time is open. */
#pragma omp critical(mr_run_files)
    status = mr_checkpoint_read(files->checkpoint, &slab, 1, copy, &to);
    return status;
}
