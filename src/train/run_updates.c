#include "train/run_updates.h"

#include "model/draw.h"
#include "model/linears.h"
#include "train/adapter_start.h"
#include "train/run_files.h"

#include <stdio.h>
#include <string.h>

/* Owns all it points to. */
typedef struct run_state {
    mr_run_files files;
    mr_hf_config arch;
    mr_model *model; /* laid out, on this rank alone */
    mr_peft
        *start; /* of method.adapter, where a checkpoint leaves out what stayed as it was there */
    int *id;    /* [parameters] 0, 1, ..: what parts point to */
} run_state;

/* Reads what the run left of a parameter. */
static mr_status read_now(const void *from, const void *which, int64_t first, int64_t count,
                          float *out)
{
    const run_state *state = from;
    const mr_param *param = mr_params_at(mr_model_params(state->model), *(const int *)which);
    return mr_run_files_read(&state->files, param, first, count, out);
}

/* Draws a tensor of an adapter that stays as it was, which checkpoints do not hold. */
static mr_status read_drawn(const void *from, const void *which, int64_t first, int64_t count,
                            float *out)
{
    const run_state *state = from;
    const int *id = which;
    const mr_param *param = mr_params_at(mr_model_params(state->model), *id);
    mr_draw draw = {.seed = (uint64_t)state->files.about.config.run.seed,
                    .restart = state->files.about.restart};
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
    return mr_model_start_values(state->model, (uint64_t)state->files.about.config.run.seed,
                                 updates->base, *(const int *)which, first, count, out);
}

/* Whether a checkpoint leaves a tensor out: of an adapter, and not trained. */
static bool is_left_out(const run_state *state, int64_t id)
{
    const mr_param *param = mr_params_at(mr_model_params(state->model), (int)id);
    return param->adapter && !param->trained && !state->files.kept;
}

static mr_stored stored(const run_state *state, int64_t id)
{
    const mr_param *param = mr_params_at(mr_model_params(state->model), (int)id);
    return (mr_stored){.rows = param->rows,
                       .cols = param->cols,
                       .read = is_left_out(state, id) ? read_drawn : read_now,
                       .from = state,
                       .which = &state->id[id]};
}

/* A factor of a product, which the run may have started from and left alone. */
static mr_status factor(const run_state *state, const mr_model_linear *linear, mr_peft_part part,
                        int64_t id, mr_stored *out)
{
    char module[MR_PARAM_NAME];
    const mr_safetensors_entry *entry;
    *out = stored(state, id);
    if (!state->start || !is_left_out(state, id)) return MR_OK;
    mr_model_linear_module(state->model, linear, module);
    MR_TRY(mr_peft_need(state->start, module, part, &entry));
    return mr_stored_of(state->start->file, entry, out);
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
    if (weight->trained || state->files.about.restart > 0) out->now = stored(state, linear->weight);
    if (linear->place < 0) return MR_OK;
    MR_CHECK(mr_model_adapter_update(state->model, linear, &update, &lengths), MR_ERR_FORMAT,
             "the method %s tells no structure of its updates", updates->method);
    MR_TRY(mr_structure_describe(&update, weight->rows, weight->cols, &out->structure));
    if (update.kind == MR_UPDATE_PRODUCT) {
        MR_TRY(factor(state, linear, MR_PEFT_A, update.a.offset, &out->a));
        MR_TRY(factor(state, linear, MR_PEFT_B, update.b.offset, &out->b));
    } else {
        out->m = stored(state, update.m.offset);
    }
    if (lengths >= 0) out->lengths = stored(state, lengths);
    return MR_OK;
}

static mr_status parts(const mr_updates *updates, const mr_updates_item *item,
                       mr_updates_parts *out)
{
    const run_state *state = updates->state;
    for (mr_model_linear at = {0}; mr_model_next_linear(state->model, &at);) {
        char name[MR_PARAM_NAME];
        mr_model_linear_module(state->model, &at, name);
        if (strcmp(name, item->name) == 0) return parts_of(updates, &at, out);
    }
    mr_abort("no linear %s", item->name);
}

static void close_run(mr_updates *updates)
{
    run_state *state = updates->state;
    if (!state) return;
    mr_model_destroy(&state->model);
    mr_run_files_close(&state->files);
    mr_peft_close(&state->start);
    mr_free(state->id);
    mr_free(state);
}

static const mr_updates_ops run_ops = {.close = close_run, .parts = parts};

/* Opens the base, and sees that it is the one the run began with. Collective. */
static mr_status open_base(const mr_comm *comm, mr_updates *updates)
{
    const run_state *state = updates->state;
    MR_AGREE(comm, mr_hf_open(state->files.about.config.model.path, &updates->base));
    return mr_run_files_check_base(comm, &state->files, updates->base, &state->arch);
}

/* Lays the model out and lists its linears. Local. */
static mr_status lay_out(mr_updates *updates)
{
    run_state *state = updates->state;
    const mr_config *config = &state->files.about.config;
    MR_TRY(mr_model_create(
        &(mr_model_options){
            .comm = mr_comm_self(),
            .be = updates->be,
            .arch = &state->arch,
            .method = mr_adapter_find(config->method.name),
            .adapter = mr_adapter_config_of(config),
            .shard = MR_SHARD_NONE,
            .compute = mr_trainer_dtype(config),
            .seed = (uint64_t)config->run.seed,
            .geometry = {.batch = 1, .tokens = 2, .micros = 1, .in_wave = 1, .stretches = 1}},
        &state->model));
    mr_model_set_restart(state->model, state->files.about.restart);
    const int length = mr_params_length(mr_model_params(state->model));
    state->id = mr_alloc_array(MR_MEM_OTHER, (size_t)length, sizeof *state->id);
    if (!state->id) return MR_ERR_MEMORY;
    for (int i = 0; i < length; i++)
        state->id[i] = i;
    for (mr_model_linear at = {0}; mr_model_next_linear(state->model, &at);) {
        char name[MR_PARAM_NAME];
        bool added;
        const mr_param *weight = mr_params_at(mr_model_params(state->model), at.weight);
        if (!mr_model_changes(state->model, &at)) continue;
        mr_model_linear_module(state->model, &at, name);
        MR_TRY(mr_updates_add(updates, name, weight->rows, weight->cols, &added));
    }
    return MR_OK;
}

static void describe(mr_updates *updates)
{
    const run_state *state = updates->state;
    const mr_config *config = &state->files.about.config;
    snprintf(updates->kind, sizeof updates->kind, "%s of a run of %s",
             state->files.kept ? "trained tensors" : "a checkpoint", config->method.name);
    snprintf(updates->method, sizeof updates->method, "%s", config->method.name);
    updates->r = mr_adapter_config_of(config)->r;
    updates->step = state->files.about.steps;
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
    MR_TRY(mr_run_files_open(comm, path, &state->files));
    mr_config *config = &state->files.about.config;
    MR_TRY(move_base(config, base));
    MR_TRY(mr_trainer_arch(comm, config, &state->arch));
    if (config->model.init == MR_INIT_PRETRAINED) MR_TRY(open_base(comm, updates));
    mr_status status = lay_out(updates);
    if (status == MR_OK && state->files.about.restart == 0 && !state->files.kept)
        status = mr_adapter_start_open(config, &state->start);
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
