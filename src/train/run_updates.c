#include "train/run_updates.h"

#include "base/file.h"
#include "base/log.h"
#include "model/draw.h"
#include "model/linears.h"
#include "store/runlog_read.h"
#include "train/kept.h"
#include "train/registry.h"
#include "train/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Owns all it points to. */
typedef struct run_state {
    mr_kept_about about; /* whose tensors are read */
    mr_hf_config arch;
    mr_model *model; /* laid out, on this rank alone */
    int *id;         /* [parameters] 0, 1, ..: what parts point to */
    mr_safetensors *kept;
    mr_checkpoint *checkpoint; /* where there are none kept */
} run_state;

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

/* Reads what the run left of a parameter. */
static mr_status read_now(const void *from, const void *which, int64_t first, int64_t count,
                          float *out)
{
    const run_state *state = from;
    const int *id = which;
    const mr_param *param = mr_params_at(mr_model_params(state->model), *id);
    if (state->kept) {
        const mr_safetensors_entry *entry = mr_safetensors_find(state->kept, param->name);
        const int64_t shape[2] = {param->rows, param->cols};
        MR_CHECK(entry, MR_ERR_FORMAT, "%s: no tensor '%s'", mr_safetensors_path(state->kept),
                 param->name);
        MR_TRY(mr_safetensors_expect(state->kept, entry, 2, shape));
        return mr_safetensors_read_f32(state->kept, entry, first, count, out);
    }
    const mr_checkpoint_slab slab = slab_of(param, first, count);
    copier to = {.first = first, .out = out};
    mr_status status;
    /* One shard at a time is open. */
#pragma omp critical(mr_run_updates)
    status = mr_checkpoint_read(state->checkpoint, &slab, 1, copy, &to);
    return status;
}

/* Draws a tensor of an adapter that stays as it was, which checkpoints do not hold. */
static mr_status read_drawn(const void *from, const void *which, int64_t first, int64_t count,
                            float *out)
{
    const run_state *state = from;
    const int *id = which;
    const mr_param *param = mr_params_at(mr_model_params(state->model), *id);
    mr_draw draw = {.seed = (uint64_t)state->about.config.run.seed,
                    .restart = state->about.restart};
    mr_status status = mr_draw_values(&draw, param, first, count, out);
    mr_free(draw.whole);
    return status;
}

/* What W0 is read by: from the folder, or drawn again. */
static mr_status read_start(const void *from, const void *which, int64_t first, int64_t count,
                            float *out)
{
    const mr_updates *updates = from;
    const run_state *state = updates->state;
    return mr_model_start_values(state->model, (uint64_t)state->about.config.run.seed,
                                 updates->base, *(const int *)which, first, count, out);
}

static mr_stored stored(const run_state *state, int64_t id)
{
    const mr_param *param = mr_params_at(mr_model_params(state->model), (int)id);
    const bool drawn = param->adapter && !param->trained && !state->kept;
    return (mr_stored){.rows = param->rows,
                       .cols = param->cols,
                       .read = drawn ? read_drawn : read_now,
                       .from = state,
                       .which = &state->id[id]};
}

static mr_status parts_of(const mr_updates *updates, const mr_model_linear *linear,
                          mr_updates_parts *out)
{
    const run_state *state = updates->state;
    const mr_param *weight = mr_params_at(mr_model_params(state->model), linear->weight);
    mr_update update;
    int lengths;
    out->base = (mr_stored){.rows = weight->rows,
                            .cols = weight->cols,
                            .read = read_start,
                            .from = updates,
                            .which = &state->id[linear->weight]};
    if (weight->trained || state->about.restart > 0) out->now = stored(state, linear->weight);
    if (linear->place < 0) return MR_OK;
    MR_CHECK(mr_model_adapter_update(state->model, linear, &update, &lengths), MR_ERR_FORMAT,
             "the method %s tells no structure of its updates", updates->method);
    MR_TRY(mr_structure_describe(&update, weight->rows, weight->cols, &out->structure));
    if (update.kind == MR_UPDATE_PRODUCT) {
        out->a = stored(state, update.a.offset);
        out->b = stored(state, update.b.offset);
    } else {
        out->m = stored(state, update.m.offset);
    }
    if (lengths >= 0) out->lengths = stored(state, lengths);
    return MR_OK;
}

/* The name of a linear's module, its weight's without the ending. */
static void module_of(const run_state *state, const mr_model_linear *linear,
                      char out[MR_UPDATES_NAME])
{
    const char *name = mr_params_at(mr_model_params(state->model), linear->weight)->name;
    snprintf(out, MR_UPDATES_NAME, "%.*s", (int)(strrchr(name, '.') - name), name);
}

static mr_status parts(const mr_updates *updates, const mr_updates_item *item,
                       mr_updates_parts *out)
{
    const run_state *state = updates->state;
    for (mr_model_linear at = {0}; mr_model_next_linear(state->model, &at);) {
        char name[MR_UPDATES_NAME];
        module_of(state, &at, name);
        if (strcmp(name, item->name) == 0) return parts_of(updates, &at, out);
    }
    mr_abort("no linear %s", item->name);
}

static void close_run(mr_updates *updates)
{
    run_state *state = updates->state;
    if (!state) return;
    mr_model_destroy(&state->model);
    mr_safetensors_close(&state->kept);
    mr_checkpoint_close(&state->checkpoint);
    mr_free(state->id);
    mr_free(state);
}

static const mr_updates_ops run_ops = {.close = close_run, .parts = parts};

static mr_status open_kept(const char *path, run_state *state)
{
    MR_TRY(mr_safetensors_open(path, &state->kept));
    return mr_kept_tell(state->kept, &state->about);
}

/* Opens the newest checkpoint at a path. Collective. */
static mr_status open_checkpoint(const mr_comm *comm, const char *path, run_state *state)
{
    mr_inputs_field field[MR_INPUTS_FIELDS];
    mr_kept_about *about = &state->about;
    MR_TRY(mr_checkpoint_find(comm, path, &state->checkpoint, NULL));
    MR_CHECK(state->checkpoint, MR_ERR_IO, "%s: there is no checkpoint", path);
    MR_AGREE(comm, mr_state_config(state->checkpoint, &about->config));
    const json_t *inputs = json_object_get(mr_checkpoint_state(state->checkpoint), "inputs");
    mr_inputs_fields(&about->inputs, field);
    for (int i = 0; i < MR_INPUTS_FIELDS; i++) {
        const char *text = json_string_value(json_object_get(inputs, field[i].name));
        snprintf(field[i].text, field[i].room, "%s", text ? text : "");
    }
    const int64_t every = mr_adapter_config_of(&about->config)->merge_every;
    about->steps = mr_checkpoint_step(state->checkpoint);
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
static mr_status open_beside(const mr_comm *comm, const char *log, run_state *state)
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
        status = open_checkpoint(comm, checkpoints, state);
        if (status == MR_ERR_IO && !state->checkpoint)
            return mr_fail(MR_ERR_IO,
                           "%s: nothing that was learnt is left: neither %s nor a checkpoint in %s",
                           log, kept, checkpoints);
        MR_TRY(status);
    } else {
        MR_AGREE(comm, open_kept(kept, state));
    }
    const char *key = mr_state_differing_key(&config, &state->about.config);
    MR_CHECK(!key, MR_ERR_FORMAT, "%s: what lies beside it is of another run: %s differs", log,
             key);
    return MR_OK;
}

static mr_status open_path(const mr_comm *comm, const char *path, run_state *state)
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
    if (folder) return open_checkpoint(comm, path, state);
    if (length > tail && strcmp(path + length - tail, KEPT) == 0) {
        MR_AGREE(comm, open_kept(path, state));
        return MR_OK;
    }
    return open_beside(comm, path, state);
}

/* Opens the base, and sees that it is the one the run began with. Collective. */
static mr_status open_base(const mr_comm *comm, mr_updates *updates)
{
    const run_state *state = updates->state;
    const char *then = state->about.inputs.weights_hash;
    char hash[MR_HF_HASH];
    MR_AGREE(comm, mr_hf_open(state->about.config.model.path, &updates->base));
    MR_TRY(mr_hf_hash(comm, updates->base, &state->arch, hash));
    /* Older hashes were of a sample, and cannot be compared. */
    const bool whole = strncmp(then, MR_HF_HASH_TAG, sizeof MR_HF_HASH_TAG - 1) == 0;
    MR_CHECK(!whole || strcmp(hash, then) == 0, MR_ERR_FORMAT,
             "%s: the weights are not those that the run began with: %s instead of %s",
             state->about.config.model.path, hash, then);
    return MR_OK;
}

/* Lays the model out and lists its linears. Local. */
static mr_status lay_out(mr_updates *updates)
{
    run_state *state = updates->state;
    const mr_config *config = &state->about.config;
    MR_TRY(mr_model_create(&(mr_model_options){.comm = mr_comm_self(),
                                               .be = updates->be,
                                               .arch = &state->arch,
                                               .method = mr_adapter_find(config->method.name),
                                               .adapter = mr_adapter_config_of(config),
                                               .shard = MR_SHARD_NONE,
                                               .compute = mr_trainer_dtype(config),
                                               .seed = (uint64_t)config->run.seed,
                                               .geometry = {1, 2, 1, 1, false}},
                           &state->model));
    mr_model_set_restart(state->model, state->about.restart);
    const int length = mr_params_length(mr_model_params(state->model));
    state->id = mr_alloc_array(MR_MEM_OTHER, (size_t)length, sizeof *state->id);
    if (!state->id) return MR_ERR_MEMORY;
    for (int i = 0; i < length; i++)
        state->id[i] = i;
    for (mr_model_linear at = {0}; mr_model_next_linear(state->model, &at);) {
        char name[MR_UPDATES_NAME];
        bool added;
        const mr_param *weight = mr_params_at(mr_model_params(state->model), at.weight);
        if (!mr_model_changes(state->model, &at)) continue;
        module_of(state, &at, name);
        MR_TRY(mr_updates_add(updates, name, weight->rows, weight->cols, &added));
    }
    return MR_OK;
}

static void describe(mr_updates *updates)
{
    const run_state *state = updates->state;
    const mr_config *config = &state->about.config;
    snprintf(updates->kind, sizeof updates->kind, "%s of a run of %s",
             state->kept ? "trained tensors" : "a checkpoint", config->method.name);
    snprintf(updates->method, sizeof updates->method, "%s", config->method.name);
    updates->r = mr_adapter_config_of(config)->r;
    updates->step = state->about.steps;
}

/* The base where the user says it is. */
static mr_status move_base(mr_config *config, const char *base)
{
    if (!base) return MR_OK;
    MR_CHECK(config->model.init == MR_INIT_PRETRAINED, MR_ERR_USAGE,
             "--base: the run drew its base weights, by run.seed");
    MR_CHECK(strlen(base) < sizeof config->model.path, MR_ERR_USAGE,
             "--base: the path is too long");
    snprintf(config->model.path, sizeof config->model.path, "%s", base);
    config->model.config[0] = '\0';
    return MR_OK;
}

static mr_status open_all(const mr_comm *comm, const char *path, const char *base,
                          mr_updates *updates)
{
    run_state *state = mr_alloc(MR_MEM_OTHER, sizeof *state);
    MR_AGREE(comm, state ? MR_OK : MR_ERR_MEMORY);
    updates->state = state;
    MR_TRY(open_path(comm, path, state));
    mr_config *config = &state->about.config;
    MR_TRY(move_base(config, base));
    MR_TRY(mr_trainer_arch(comm, config, &state->arch));
    if (config->model.init == MR_INIT_PRETRAINED) MR_TRY(open_base(comm, updates));
    mr_status status = lay_out(updates);
    if (status == MR_OK) status = mr_updates_sort(updates, path);
    describe(updates);
    return mr_comm_agree_first(comm, status, 0);
}

mr_status mr_run_updates_open(const mr_comm *comm, mr_backend *be, const char *path,
                              const char *base, mr_updates **out)
{
    mr_status status = mr_comm_agree(comm, mr_updates_begin(be, &run_ops, out));
    if (status == MR_OK) status = open_all(comm, path, base, *out);
    if (status != MR_OK) mr_updates_close(out);
    return status;
}
