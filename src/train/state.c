#include "train/state.h"

#include "base/hash.h"
#include "config/schema.h"
#include "model/params_impl.h"
#include "store/json.h"

#include <stdio.h>
#include <string.h>

/** Which part of the parameters an array of a checkpoint is. */
typedef struct array_of {
    int unit;
    mr_flat_kind flat;
    mr_slab_kind what;
} array_of;

struct mr_state_arrays {
    int count;
    mr_checkpoint_slab *slab;
    array_of *of;
    char (*name)[64];
};

void mr_state_folder(const mr_config *config, char *path, size_t room)
{
    snprintf(path, room, "%s/%s.checkpoints", config->run.output, config->run.name);
}

/* Frozen weights stand in the configuration's words: drawn from its seed or read from its folder;
 * unless merges change them. */
static bool is_saved(const mr_model *model, int flat, int what)
{
    if (flat == MR_FLAT_FROZEN) return what == MR_SLAB_WEIGHTS && mr_model_changes_frozen(model);
    return true;
}

static void name_array(const mr_model *model, const array_of *of, char *name, size_t room)
{
    static const char *const flats[] = {"frozen", "trained", "adapter"};
    static const char *const kinds[] = {"weights", "m", "v"};
    char unit[32] = "embedding";
    if (of->unit > mr_model_arch(model)->num_hidden_layers)
        snprintf(unit, sizeof unit, "head");
    else if (of->unit > 0)
        snprintf(unit, sizeof unit, "layers.%d", of->unit - 1);
    snprintf(name, room, "%s/%s/%s", unit, flats[of->flat], kinds[of->what]);
}

static void free_arrays(struct mr_state_arrays **arrays)
{
    if (!*arrays) return;
    mr_free((*arrays)->slab);
    mr_free((*arrays)->of);
    mr_free((*arrays)->name);
    mr_free(*arrays);
    *arrays = NULL;
}

static mr_status list_arrays(const mr_model *model, struct mr_state_arrays **out)
{
    const mr_params *params = mr_model_params(model);
    size_t most = (size_t)params->unit_count * MR_FLATS * 3;
    struct mr_state_arrays *arrays = mr_alloc(MR_MEM_OTHER, sizeof *arrays);
    *out = arrays;
    if (!arrays) return MR_ERR_MEMORY;
    arrays->slab = mr_alloc_array(MR_MEM_OTHER, most, sizeof *arrays->slab);
    arrays->of = mr_alloc_array(MR_MEM_OTHER, most, sizeof *arrays->of);
    arrays->name = mr_alloc_array(MR_MEM_OTHER, most, sizeof *arrays->name);
    if (!arrays->slab || !arrays->of || !arrays->name) {
        free_arrays(out);
        return MR_ERR_MEMORY;
    }
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++)
            for (int w = MR_SLAB_WEIGHTS; w <= MR_SLAB_V; w++) {
                const mr_flat *flat = &params->unit[u].flat[k];
                if (flat->used == 0 || !is_saved(model, k, w)) continue;
                int i = arrays->count++;
                arrays->of[i] = (array_of){u, (mr_flat_kind)k, (mr_slab_kind)w};
                name_array(model, &arrays->of[i], arrays->name[i], sizeof arrays->name[i]);
                mr_slab own = mr_flat_shard(params, u, (mr_flat_kind)k, (mr_slab_kind)w);
                arrays->slab[i] = (mr_checkpoint_slab){.name = arrays->name[i],
                                                       .extent = flat->used,
                                                       .first = own.first,
                                                       .count = own.count};
            }
    return MR_OK;
}

size_t mr_state_staging_bytes(const mr_model *model)
{
    const mr_params *params = mr_model_params(model);
    int64_t elements = 0;
    for (int u = 0; u < params->unit_count; u++)
        for (int k = 0; k < MR_FLATS; k++)
            for (int w = MR_SLAB_WEIGHTS; w <= MR_SLAB_V; w++) {
                /* Of all ranks 0 has most: a whole shard, or all there is. */
                const mr_flat *flat = &params->unit[u].flat[k];
                int64_t shard = flat->count / params->comm->size;
                if (is_saved(model, k, w)) elements += shard < flat->used ? shard : flat->used;
            }
    return (size_t)elements * sizeof(float);
}

mr_status mr_state_create_writer(mr_trainer *t)
{
    char folder[2 * MR_CONFIG_STRING + 16];
    struct mr_state_arrays *arrays = NULL;
    mr_state_folder(t->config, folder, sizeof folder);
    mr_status status = mr_comm_agree(t->comm, list_arrays(t->model, &arrays));
    if (status == MR_OK)
        status = mr_checkpointer_create(t->comm, folder, t->config->checkpoint.keep, arrays->slab,
                                        arrays->count, t->plan.bytes[MR_MEM_CHECKPOINT],
                                        &t->checkpointer);
    free_arrays(&arrays);
    return status;
}

/** What copies arrays out of a trainer. */
typedef struct copier {
    const mr_params *params;
    const struct mr_state_arrays *arrays;
} copier;

static void copy_out(void *context, int index, int64_t first, int64_t count, float *out)
{
    const copier *from = context;
    const array_of *of = &from->arrays->of[index];
    mr_slab own = mr_flat_shard(from->params, of->unit, of->flat, of->what);
    MR_INVARIANT(first >= own.first && first + count <= own.first + own.count);
    from->params->be->ops->download(from->params->be, out,
                                    mr_tensor_cols(own.values, first - own.first, count));
}

/* Names, shapes and places of all parameters, as one hash: what arrays mean. */
static mr_status hash_layout(const mr_params *params, char out[MR_HASH_TEXT])
{
    mr_hash *hash;
    MR_TRY(mr_hash_create(&hash));
    for (int i = 0; i < params->param_count; i++) {
        const mr_param *p = &params->param[i];
        const int64_t numbers[] = {p->unit, (int64_t)p->kind, p->offset, p->rows, p->cols};
        mr_hash_add(hash, p->name, strlen(p->name) + 1);
        mr_hash_add(hash, numbers, sizeof numbers);
    }
    mr_hash_finish(&hash, out);
    return MR_OK;
}

/* What a model computes besides its tensors' shapes, and from what, as text. */
static mr_status describe_source(const mr_trainer *t, mr_text *out)
{
    const mr_hf_config *a = mr_model_arch(t->model);
    mr_text_add(out,
                "data %s, weights %s, heads %lld of %lld, rms_norm_eps %.17g, rope_theta %.17g",
                t->data_hash, t->weights_hash[0] ? t->weights_hash : "drawn",
                (long long)a->num_attention_heads, (long long)a->num_key_value_heads,
                a->rms_norm_eps, a->rope_theta);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

/* Scalars of the trainer, for rank 0. */
static mr_status pack_scalars(const mr_trainer *t, json_t *run, json_t **out)
{
    const mr_guard_state *g = &t->guard;
    mr_text config = {0}, source = {0};
    char layout[MR_HASH_TEXT];
    json_t *steps = json_array();
    *out = NULL;
    mr_status status = mr_config_resolved(t->config, &config);
    if (status == MR_OK) status = hash_layout(mr_model_params(t->model), layout);
    if (status == MR_OK) status = describe_source(t, &source);
    for (int i = 0; i < mr_model_params(t->model)->param_count; i++)
        mr_json_append(&steps, json_integer((json_int_t)t->optimizer.param_steps[i]));
    if (status == MR_OK) {
        *out = json_pack(
            "{s:s, s:s, s:s, s:I, s:I, s:b, s:O, s:{s:I, s:f, s:f, s:I, s:I, s:I}, s:O}", "config",
            mr_text_get(&config), "source", mr_text_get(&source), "layout", layout, "step",
            (json_int_t)t->step, "threads", (json_int_t)t->be->threads, "rank_free", t->rank_free,
            "param_steps", steps, "guard", "seen", (json_int_t)g->seen, "mean", g->mean, "variance",
            g->variance, "nonfinite", (json_int_t)g->nonfinite, "spikes", (json_int_t)g->spikes,
            "skipped", (json_int_t)g->skipped, "run", run);
        if (!*out) status = mr_fail(MR_ERR_MEMORY, "cannot make the scalars of a checkpoint");
    }
    json_decref(steps);
    mr_text_free(&config);
    mr_text_free(&source);
    return status;
}

mr_status mr_state_save(mr_trainer *t, json_t *run)
{
    json_t *state = NULL;
    copier from = {.params = mr_model_params(t->model)};
    struct mr_state_arrays *arrays = NULL;
    mr_status status = list_arrays(t->model, &arrays);
    if (status == MR_OK && t->comm->rank == 0) status = pack_scalars(t, run, &state);
    status = mr_comm_agree(t->comm, status);
    from.arrays = arrays;
    if (status == MR_OK)
        status = mr_checkpointer_start(t->checkpointer, t->step, state, copy_out, &from);
    json_decref(state);
    free_arrays(&arrays);
    return status;
}

static mr_status restore_scalars(mr_trainer *t, const mr_checkpoint *checkpoint)
{
    const mr_params *params = mr_model_params(t->model);
    const char *path = mr_checkpoint_path(checkpoint), *layout, *source, *problem = NULL;
    json_int_t step, seen, nonfinite, spikes, skipped;
    json_t *steps, *run;
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
                             "{s:s, s:s, s:I, s:b, s:o, s:{s:I, s:F, s:F, s:I, s:I, s:I}, s:o}",
                             "source", &source, "layout", &layout, "step", &step, "rank_free",
                             &rank_free, "param_steps", &steps, "guard", "seen", &seen, "mean",
                             &g->mean, "variance", &g->variance, "nonfinite", &nonfinite, "spikes",
                             &spikes, "skipped", &skipped, "run", &run);
    MR_CHECK(!bad, MR_ERR_FORMAT, "%s: its state cannot be read: %s", path, error.text);
    MR_TRY(hash_layout(params, own));
    mr_text now = {0};
    mr_status status = describe_source(t, &now);
    if (status == MR_OK && strcmp(mr_text_get(&now), source) != 0)
        status = mr_fail(MR_ERR_FORMAT, "%s: its run had %s; this one has %s", path, source,
                         mr_text_get(&now));
    mr_text_free(&now);
    MR_TRY(status);
    if (strcmp(own, layout) != 0)
        problem = "it was saved from a model with other tensors";
    else if (!json_is_array(steps) || json_array_size(steps) != (size_t)params->param_count)
        problem = "its step counts do not fit the model";
    else if (step < 0 || step > t->total_steps)
        problem = "its step lies behind the end of the run";
    MR_CHECK(!problem, MR_ERR_FORMAT, "%s: %s", path, problem);
    t->step = step;
    /* What depended on the number of ranks once does so to the end. */
    t->rank_free = t->rank_free && rank_free;
    g->seen = seen;
    g->nonfinite = nonfinite;
    g->spikes = spikes;
    g->skipped = skipped;
    for (int i = 0; i < params->param_count; i++)
        t->optimizer.param_steps[i] = json_integer_value(json_array_get(steps, (size_t)i));
    return MR_OK;
}

/* Reads what this rank keeps of one array, in pieces. */
static mr_status restore_array(mr_params *params, mr_checkpoint *checkpoint,
                               const mr_checkpoint_slab *slab, const array_of *of, float *piece,
                               int64_t room)
{
    mr_slab kept = mr_flat_kept(params, of->unit, of->flat, of->what);
    for (int64_t done = 0; done < kept.count; done += room) {
        int64_t part = kept.count - done < room ? kept.count - done : room;
        MR_TRY(mr_checkpoint_read_slab(checkpoint, slab->name, slab->extent, kept.first + done,
                                       part, piece));
        params->be->ops->upload(params->be, mr_tensor_cols(kept.values, done, part), piece);
    }
    return MR_OK;
}

mr_status mr_state_restore(mr_trainer *t, mr_checkpoint *checkpoint)
{
    enum { ROOM = 1 << 20 };
    mr_params *params = mr_model_params(t->model);
    struct mr_state_arrays *arrays = NULL;
    float *piece = mr_alloc_array(MR_MEM_OTHER, ROOM, sizeof *piece);
    mr_status status = piece ? list_arrays(t->model, &arrays) : MR_ERR_MEMORY;
    if (status == MR_OK) status = restore_scalars(t, checkpoint);
    mr_params_invalidate(params);
    for (int i = 0; status == MR_OK && i < arrays->count; i++)
        status = restore_array(params, checkpoint, &arrays->slab[i], &arrays->of[i], piece, ROOM);
    mr_params_invalidate(params);
    mr_free(piece);
    free_arrays(&arrays);
    MR_AGREE(t->comm, status);
    if (mr_model_method(t->model)->merges)
        mr_model_set_restart(t->model, t->step / t->config->method.merge_every);
    return MR_OK;
}

mr_status mr_state_config(const mr_checkpoint *checkpoint, mr_config *out)
{
    const char *text =
        json_string_value(json_object_get(mr_checkpoint_state(checkpoint), "config"));
    MR_CHECK(text, MR_ERR_FORMAT, "%s: its state names no configuration",
             mr_checkpoint_path(checkpoint));
    mr_status status = mr_config_parse_resolved(text, out);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "%s", mr_checkpoint_path(checkpoint));
}

const char *mr_state_differing_key(const mr_config *a, const mr_config *b)
{
    static const char *const others[] = {"run.name",
                                         "run.output",
                                         "run.save_model",
                                         "eval.batch",
                                         "parallel.",
                                         "log.",
                                         "checkpoint.",
                                         "train.stop_after",
                                         "train.check_every",
                                         "train.on_nonfinite",
                                         "train.on_spike",
                                         "train.spike_zscore",
                                         NULL};
    for (int i = 0; i < mr_schema_count(); i++) {
        const mr_key *key = mr_schema_at(i);
        if (mr_schema_is_listed(others, key->key)) continue;
        /* The configuration is plain data without gaps that vary: mr_config_defaults zeroes it. */
        if (memcmp((const char *)a + key->offset, (const char *)b + key->offset, key->bytes) != 0)
            return key->key;
    }
    return NULL;
}
