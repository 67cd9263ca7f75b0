#include "train/state.h"

#include "base/hash.h"
#include "base/log.h"
#include "config/schema.h"
#include "store/json.h"
#include "train/registry.h"

#include <stdio.h>
#include <string.h>

enum { NAME = MR_PARAM_NAME + 16 };

/** What of a parameter a tensor of a checkpoint is. */
typedef struct tensor_of {
    int param;
    mr_slab_kind what;
} tensor_of;

/** The tensors of a checkpoint: weights by the names that parameters have in the public format, and
 * moments behind them, as PyTorch calls them. */
typedef struct tensors {
    int count;
    mr_checkpoint_slab *slab;
    tensor_of *of;
    char (*name)[NAME];
} tensors;

void mr_state_folder(const mr_config *config, char *path, size_t room)
{
    snprintf(path, room, "%s/%s.checkpoints", config->run.output, config->run.name);
}

/* Frozen weights stand in the configuration's words: drawn from its seed or read from its folder;
 * unless merges change them. */
static bool is_saved(const mr_model *model, const mr_param *param, int what)
{
    return what == MR_SLAB_WEIGHTS ? mr_frozen_is_saved(model, param) : param->trained;
}

static void free_tensors(tensors *list)
{
    mr_free(list->slab);
    mr_free(list->of);
    mr_free(list->name);
    *list = (tensors){0};
}

static void add_tensor(tensors *list, const mr_params *params, int id, mr_slab_kind what)
{
    static const char *const behind[] = {"", ".exp_avg", ".exp_avg_sq"};
    const mr_param *param = mr_params_at(params, id);
    const mr_slab own = mr_params_shard(params, id, what);
    /* Norm weights are vectors in the public format. */
    bool vector = param->rows == 1 && !param->adapter;
    int i = list->count++;
    list->of[i] = (tensor_of){id, what};
    snprintf(list->name[i], NAME, "%s%s", param->name, behind[what]);
    list->slab[i] = (mr_checkpoint_slab){
        .name = list->name[i],
        .dims = vector ? 1 : 2,
        .shape = {vector ? param->cols : param->rows, vector ? 0 : param->cols},
        .dtype =
            mr_params_type(params, id, what) == MR_BF16 ? MR_SAFETENSORS_BF16 : MR_SAFETENSORS_F32,
        .first = own.first,
        .count = own.count};
}

static mr_status list_tensors(const mr_model *model, tensors *out)
{
    const mr_params *params = mr_model_params(model);
    size_t most = (size_t)mr_params_length(params) * 3;
    *out = (tensors){.slab = mr_alloc_array(MR_MEM_OTHER, most, sizeof *out->slab),
                     .of = mr_alloc_array(MR_MEM_OTHER, most, sizeof *out->of),
                     .name = mr_alloc_array(MR_MEM_OTHER, most, sizeof *out->name)};
    if (!out->slab || !out->of || !out->name) {
        free_tensors(out);
        return MR_ERR_MEMORY;
    }
    for (mr_params_walk at = {0}; mr_params_next(params, &at);)
        for (int what = MR_SLAB_WEIGHTS; what <= MR_SLAB_V; what++)
            if (is_saved(model, at.param, what)) add_tensor(out, params, at.id, (mr_slab_kind)what);
    return MR_OK;
}

size_t mr_state_staging_bytes(const mr_model *model)
{
    return sizeof(float) *
           (size_t)mr_params_shard_most(mr_model_params(model), mr_model_changes_frozen(model));
}

mr_status mr_state_create_writer(mr_trainer *t)
{
    char folder[2 * MR_CONFIG_STRING + 16];
    tensors list;
    mr_state_folder(t->config, folder, sizeof folder);
    mr_status status = mr_comm_agree(t->comm, list_tensors(t->model, &list));
    if (status == MR_OK)
        status =
            mr_checkpointer_create(&t->nodes.parts, folder, t->config->checkpoint.keep, list.slab,
                                   list.count, t->plan.bytes[MR_MEM_CHECKPOINT], &t->checkpointer);
    free_tensors(&list);
    return status;
}

/** What copies tensors out of a trainer and into it. */
typedef struct copier {
    const mr_params *params;
    tensors list;
} copier;

/* Where elements of a tensor stand here. */
static mr_tensor place_of(const copier *c, int index, int64_t first, int64_t count)
{
    const tensor_of *of = &c->list.of[index];
    mr_slab own = mr_params_shard(c->params, of->param, of->what);
    MR_INVARIANT(first >= own.first && first + count <= own.first + own.count);
    return mr_tensor_cols(own.values, first - own.first, count);
}

static void copy_out(void *context, int index, int64_t first, int64_t count, float *out)
{
    const copier *c = context;
    mr_backend *be = mr_params_backend(c->params);
    be->ops->download(be, out, place_of(c, index, first, count));
}

static void copy_in(void *context, int index, int64_t first, int64_t count, const float *values)
{
    const copier *c = context;
    mr_backend *be = mr_params_backend(c->params);
    be->ops->upload(be, place_of(c, index, first, count), values);
}

/* Names and shapes of all parameters, as one hash: frozen ones, which are not saved, among them. */
static mr_status hash_shapes(const mr_params *params, char out[MR_HASH_TEXT])
{
    mr_hash *hash;
    MR_TRY(mr_hash_create(&hash));
    for (mr_params_walk at = {0}; mr_params_next(params, &at);) {
        const int64_t shape[] = {at.param->rows, at.param->cols};
        mr_hash_add(hash, at.param->name, strlen(at.param->name) + 1);
        mr_hash_add(hash, shape, sizeof shape);
    }
    mr_hash_finish(&hash, out);
    return MR_OK;
}

static json_t *inputs_json(const mr_trainer *t)
{
    mr_inputs inputs = t->inputs;
    mr_inputs_field field[MR_INPUTS_FIELDS];
    json_t *object = json_object();
    mr_inputs_fields(&inputs, field);
    for (int i = 0; i < MR_INPUTS_FIELDS; i++)
        if (json_object_set_new(object, field[i].name, json_string(field[i].text)) != 0) {
            json_decref(object);
            return NULL;
        }
    return object;
}

/* A checkpoint of other inputs is of another run. */
static mr_status check_inputs(const mr_trainer *t, const char *path, const json_t *saved)
{
    mr_inputs then = {.data_hash = ""};
    mr_inputs_field field[MR_INPUTS_FIELDS];
    mr_text differing = {0};
    mr_status status = MR_OK;
    mr_inputs_fields(&then, field);
    for (int i = 0; i < MR_INPUTS_FIELDS; i++) {
        const char *text = json_string_value(json_object_get(saved, field[i].name));
        snprintf(field[i].text, field[i].room, "%s", text ? text : "");
    }
    if (mr_inputs_differ(&then, &t->inputs, t->config->model.init == MR_INIT_RANDOM, &differing))
        status = mr_fail(MR_ERR_FORMAT,
                         "%s: the inputs of its run are others now: %s; --resume never starts over "
                         "and keeps it",
                         path, mr_text_get(&differing));
    mr_text_free(&differing);
    return status;
}

/* Scalars of the trainer, for rank 0. */
static mr_status pack_scalars(const mr_trainer *t, json_t *run, json_t **out)
{
    const mr_guard_state *g = &t->guard;
    mr_text config = {0};
    char shapes[MR_HASH_TEXT];
    json_t *steps = json_array();
    *out = NULL;
    mr_status status = mr_config_resolved(t->config, &config);
    if (status == MR_OK) status = hash_shapes(mr_model_params(t->model), shapes);
    for (int i = 0; i < mr_params_length(mr_model_params(t->model)); i++)
        mr_json_append(&steps, json_integer((json_int_t)t->optimizer.param_steps[i]));
    if (status == MR_OK) {
        *out = json_pack(
            "{s:s, s:o, s:s, s:I, s:s, s:I, s:I, s:b, s:I, s:O, s:{s:I, s:f, s:f, s:I, s:I, s:I}, "
            "s:O}",
            "config", mr_text_get(&config), "inputs", inputs_json(t), "shapes", shapes,
            "trainable_parameters", (json_int_t)mr_params_count(mr_model_params(t->model), true),
            "frozen_digest", t->frozen_digest, "step", (json_int_t)t->step, "threads",
            (json_int_t)t->be->threads, "rank_free", t->rank_free, "stretches",
            (json_int_t)t->stretches, "param_steps", steps, "guard", "seen", (json_int_t)g->seen,
            "mean", g->mean, "variance", g->variance, "nonfinite", (json_int_t)g->nonfinite,
            "spikes", (json_int_t)g->spikes, "skipped", (json_int_t)g->skipped, "run", run);
        if (!*out) status = mr_fail(MR_ERR_MEMORY, "cannot make the scalars of a checkpoint");
    }
    json_decref(steps);
    mr_text_free(&config);
    return status;
}

mr_status mr_state_save(mr_trainer *t, json_t *run)
{
    json_t *state = NULL;
    copier from = {.params = mr_model_params(t->model)};
    mr_status status = list_tensors(t->model, &from.list);
    if (status == MR_OK && t->comm->rank == 0) status = pack_scalars(t, run, &state);
    status = mr_comm_agree(t->comm, status);
    if (status == MR_OK)
        status = mr_checkpointer_start(t->checkpointer, t->step, state, copy_out, &from);
    json_decref(state);
    free_tensors(&from.list);
    return status;
}

/* What is trained, and what is not, must be what it was; older checkpoints tell neither. */
static mr_status check_frozen(const mr_trainer *t, const mr_checkpoint *checkpoint)
{
    const json_t *state = mr_checkpoint_state(checkpoint);
    const json_t *then = json_object_get(state, "trainable_parameters");
    const char *frozen = json_string_value(json_object_get(state, "frozen_digest"));
    const char *path = mr_checkpoint_path(checkpoint);
    const int64_t now = mr_params_count(mr_model_params(t->model), true);
    MR_CHECK(!json_is_integer(then) || json_integer_value(then) == now, MR_ERR_FORMAT,
             "%s: it was saved with %lld trainable parameters, and the run has %lld now", path,
             (long long)json_integer_value(then), (long long)now);
    MR_CHECK(!frozen || strcmp(frozen, t->frozen_digest) == 0, MR_ERR_FORMAT,
             "%s: the weights that it leaves out, as they are not trained, are others now: digest "
             "%s instead of %s",
             path, t->frozen_digest, frozen);
    mr_log("%s: %lld trainable parameters, digest of frozen weights %s%s", t->config->run.name,
           (long long)now, t->frozen_digest[0] ? t->frozen_digest : "of none",
           frozen ? ", as it was saved" : ", which the checkpoint does not tell");
    return MR_OK;
}

/* Checkpoints that do not tell were summed by the tree of all micro-batches where their number is a
 * power of two. */
static void warn_of_other_sums(const mr_trainer *t, const mr_checkpoint *checkpoint)
{
    const json_t *cut = json_object_get(mr_checkpoint_state(checkpoint), "stretches");
    const int64_t then = cut ? json_integer_value(cut) : t->micro_batches;
    if (t->rank_free && then != t->stretches)
        mr_warn("%s: gradients were summed in another order before the checkpoint "
                "(parallel.same_bits_up_to): the bits differ from those of a run without a stop",
                t->config->run.name);
}

static mr_status restore_scalars(mr_trainer *t, const mr_checkpoint *checkpoint)
{
    const mr_params *params = mr_model_params(t->model);
    const char *path = mr_checkpoint_path(checkpoint), *shapes, *problem = NULL;
    json_int_t step, seen, nonfinite, spikes, skipped;
    json_t *inputs, *steps, *run;
    char own[MR_HASH_TEXT];
    json_error_t error;
    mr_guard_state *g = &t->guard;
    /* jansson takes no constant, and changes nothing in unpacking. */
    union {
        const json_t *constant;
        json_t *plain;
    } state = {.constant = mr_checkpoint_state(checkpoint)};
    int rank_free,
        bad = json_unpack_ex(state.plain, &error, 0,
                             "{s:o, s:s, s:I, s:b, s:o, s:{s:I, s:F, s:F, s:I, s:I, s:I}, s:o}",
                             "inputs", &inputs, "shapes", &shapes, "step", &step, "rank_free",
                             &rank_free, "param_steps", &steps, "guard", "seen", &seen, "mean",
                             &g->mean, "variance", &g->variance, "nonfinite", &nonfinite, "spikes",
                             &spikes, "skipped", &skipped, "run", &run);
    MR_CHECK(!bad, MR_ERR_FORMAT, "%s: its state cannot be read: %s", path, error.text);
    MR_TRY(hash_shapes(params, own));
    MR_TRY(check_inputs(t, path, inputs));
    if (strcmp(own, shapes) != 0)
        problem = "it was saved from a model with other tensors";
    else if (!json_is_array(steps) || json_array_size(steps) != (size_t)mr_params_length(params))
        problem = "its step counts do not fit the model";
    else if (step < 0 || step > t->total_steps)
        problem = "its step lies behind the end of the run";
    MR_CHECK(!problem, MR_ERR_FORMAT, "%s: %s", path, problem);
    MR_TRY(check_frozen(t, checkpoint));
    warn_of_other_sums(t, checkpoint);
    t->step = step;
    /* What depended on the number of ranks once does so to the end. */
    t->rank_free = t->rank_free && rank_free;
    g->seen = seen;
    g->nonfinite = nonfinite;
    g->spikes = spikes;
    g->skipped = skipped;
    for (int i = 0; i < mr_params_length(params); i++)
        t->optimizer.param_steps[i] = json_integer_value(json_array_get(steps, (size_t)i));
    return MR_OK;
}

mr_status mr_state_restore(mr_trainer *t, mr_checkpoint *checkpoint)
{
    mr_params *params = mr_model_params(t->model);
    copier to = {.params = params};
    mr_params_write_begin(params);
    mr_status status = list_tensors(t->model, &to.list);
    if (status == MR_OK) status = restore_scalars(t, checkpoint);
    mr_params_invalidate(params);
    if (status == MR_OK)
        status = mr_checkpoint_read(checkpoint, to.list.slab, to.list.count, copy_in, &to);
    free_tensors(&to.list);
    MR_AGREE(t->comm, status);
    mr_params_share(params, mr_model_changes_frozen(t->model));
    if (mr_model_method(t->model)->merges)
        mr_model_set_restart(t->model, t->step / mr_adapter_config_of(t->config)->merge_every);
    return MR_OK;
}

mr_status mr_state_config(const mr_checkpoint *checkpoint, mr_config *out)
{
    const char *text =
        json_string_value(json_object_get(mr_checkpoint_state(checkpoint), "config"));
    MR_CHECK(text, MR_ERR_FORMAT, "%s: its state names no configuration",
             mr_checkpoint_path(checkpoint));
    mr_status status = mr_config_parse_resolved(mr_registry_of_program(), text, out);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "%s", mr_checkpoint_path(checkpoint));
}

const char *mr_state_differing_key(const mr_config *a, const mr_config *b)
{
    static const char *const others[] = {"run.name",
                                         "run.output",
                                         "run.save_model",
                                         "run.keep",
                                         "eval.batch",
                                         "parallel.",
                                         "log.",
                                         "checkpoint.",
                                         "train.stop_after",
                                         "train.recompute",
                                         "train.check_every",
                                         "train.on_nonfinite",
                                         "train.on_spike",
                                         "train.spike_zscore",
                                         NULL};
    for (int i = 0; i < a->registry->count; i++) {
        const char *name = a->registry->at[i].key->key;
        size_t base;
        const mr_key *key = mr_registry_bind(a, i, &base);
        if (!key || mr_schema_is_listed(others, name)) continue;
        /* Of two methods the name, which comes first, has differed before one lacks a key. Fields
         * are plain data without gaps that vary: mr_config_defaults zeroes them. */
        const char *theirs = mr_config_field(b, name);
        if (!theirs || memcmp((const char *)a + base + key->offset, theirs, key->bytes) != 0)
            return name;
    }
    return NULL;
}
