#include "golden_case.h"

#include "find_param.h"
#include "golden_rows.h"
#include "model/tree.h"
#include "settings.h"
#include "store/json.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

mr_status mr_golden_open(const char *folder, const char *stem, const char *ending,
                         mr_safetensors **out)
{
    char path[PATH_MAX];
    *out = NULL;
    int length = snprintf(path, sizeof path, "%s/%s%s.safetensors", folder, stem, ending);
    MR_CHECK(length < (int)sizeof path, MR_ERR_IO, "%s: the path is too long", folder);
    return mr_safetensors_open(path, out);
}

mr_status mr_golden_read(const mr_safetensors *file, const char *name, int dims,
                         const int64_t *shape, int64_t first, int64_t count, float **out)
{
    *out = NULL;
    const mr_safetensors_entry *entry = mr_safetensors_find(file, name);
    MR_CHECK(entry, MR_ERR_FORMAT, "%s: there is no tensor '%s'", mr_safetensors_path(file), name);
    MR_TRY(mr_safetensors_expect(file, entry, dims, shape));
    float *values = mr_alloc_array(MR_MEM_OTHER, (size_t)(count > 0 ? count : 1), sizeof *values);
    if (!values) return MR_ERR_MEMORY;
    mr_status status = mr_safetensors_read_f32(file, entry, first, count, values);
    if (status == MR_OK)
        *out = values;
    else
        mr_free(values);
    return status;
}

mr_status mr_golden_read_ids(const mr_safetensors *file, const mr_safetensors_entry *entry,
                             int32_t *out)
{
    MR_CHECK(entry->dtype == MR_SAFETENSORS_I32, MR_ERR_FORMAT, "%s: '%s': expected I32, found %s",
             mr_safetensors_path(file), entry->name, mr_safetensors_dtype_name(entry->dtype));
    return mr_safetensors_read_raw(file, entry, 0, mr_safetensors_bytes(entry), out);
}

/* The parameter that a name of a reference file means, -1 for none. */
static int named_param(const mr_model *model, const char *name)
{
    static const char head[] = "base_model.model.", tail[] = ".default.weight";
    char plain[MR_PARAM_NAME];
    size_t length = strlen(name);
    if (length >= sizeof plain + sizeof head + sizeof tail) return -1;
    if (length > sizeof head + sizeof tail && strncmp(name, head, sizeof head - 1) == 0 &&
        strcmp(name + length - (sizeof tail - 1), tail) == 0) {
        name += sizeof head - 1;
        length -= sizeof head - 1 + sizeof tail - 1;
    }
    if (length >= sizeof plain) return -1;
    memcpy(plain, name, length);
    plain[length] = '\0';
    bool tied = mr_model_arch(model)->tie_word_embeddings;
    if (tied && strcmp(plain, "lm_head.weight") == 0)
        snprintf(plain, sizeof plain, "model.embed_tokens.weight");
    return find_param(mr_model_params(model), plain);
}

mr_status mr_golden_match(const mr_model *model, const mr_safetensors *file, const char *prefix,
                          int64_t *entry_of)
{
    const mr_params *params = mr_model_params(model);
    const char *path = mr_safetensors_path(file);
    for (int i = 0; i < mr_params_length(params); i++)
        entry_of[i] = -1;
    for (int64_t e = 0; e < mr_safetensors_count(file); e++) {
        const mr_safetensors_entry *entry = mr_safetensors_at(file, e);
        if (strncmp(entry->name, prefix, strlen(prefix)) != 0) continue;
        int id = named_param(model, entry->name + strlen(prefix));
        MR_CHECK(id >= 0 &&
                     (mr_params_at(params, id)->trained || mr_params_at(params, id)->adapter),
                 MR_ERR_FORMAT, "%s: '%s' belongs to no trained parameter", path, entry->name);
        const int64_t shape[2] = {mr_params_at(params, id)->rows, mr_params_at(params, id)->cols};
        bool vector = entry->dims == 1 && shape[0] == 1;
        MR_TRY(mr_safetensors_expect(file, entry, vector ? 1 : 2, vector ? &shape[1] : shape));
        entry_of[id] = e;
    }
    for (int i = 0; i < mr_params_length(params); i++)
        MR_CHECK(!mr_params_at(params, i)->trained || entry_of[i] >= 0, MR_ERR_FORMAT,
                 "%s: there is no '%s' of the trained parameter '%s'", path, prefix,
                 mr_params_at(params, i)->name);
    return MR_OK;
}

/* A tensor of a file as a source of values. */
typedef struct tensor {
    const mr_safetensors *file;
    const mr_safetensors_entry *entry;
} tensor;

static mr_status read_tensor(void *context, const mr_param *param, int64_t first, int64_t count,
                             float *out)
{
    (void)param;
    const tensor *from = context;
    return mr_safetensors_read_f32(from->file, from->entry, first, count, out);
}

mr_status mr_golden_load_adapter(mr_golden_rig *rig, const mr_safetensors *file, const char *prefix)
{
    mr_params *params = mr_model_params(rig->model);
    int64_t *entry_of =
        mr_alloc_array(MR_MEM_OTHER, (size_t)mr_params_length(params), sizeof *entry_of);
    if (!entry_of) return MR_ERR_MEMORY;
    mr_status status = mr_golden_match(rig->model, file, prefix, entry_of);
    for (int i = 0; i < mr_params_length(params) && status == MR_OK; i++)
        if (entry_of[i] >= 0 && mr_params_at(params, i)->adapter)
            status = mr_params_fill(params, i, read_tensor,
                                    &(tensor){file, mr_safetensors_at(file, entry_of[i])});
    mr_free(entry_of);
    mr_params_invalidate(params);
    return status;
}

/* The note of a reference file, as far as it is about training. */
static mr_status read_note(const mr_safetensors *file, const mr_golden_kind *kind, mr_config *c)
{
    int64_t pairs;
    const mr_safetensors_pair *pair = mr_safetensors_pairs(file, &pairs);
    const char *path = mr_safetensors_path(file), *text = NULL;
    for (int64_t i = 0; i < pairs; i++)
        if (strcmp(pair[i].key, "note") == 0) text = pair[i].value;
    MR_CHECK(text, MR_ERR_FORMAT, "%s: there is no 'note' in its metadata", path);
    json_error_t error;
    json_t *note = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    MR_CHECK(json_is_object(note), MR_ERR_FORMAT, "%s: note: expected a JSON object, found '%s'",
             path, text);
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, wd = 0, clip = 0, lr = 0, alpha = 1, ratio = 1;
    json_int_t r = 1, type = kind->mora_type;
    const char *decayed = "all parameters";
    int failed = json_unpack_ex(
        note, &error, 0, "{s?F, s?F, s?F, s?F, s?F, s?F, s?I, s?I, s?[FF], s?s}", "lr", &lr, "wd",
        &wd, "clip", &clip, "eps", &eps, "lora_alpha", &alpha, "ratio", &ratio, "r", &r,
        "mora_type", &type, "betas", &beta1, &beta2, "wd_on", &decayed);
    bool all = failed || strcmp(decayed, "all parameters") == 0;
    json_decref(note);
    MR_CHECK(!failed, MR_ERR_FORMAT, "%s: note: %s", path, error.text);
    MR_CHECK(all, MR_ERR_FORMAT, "%s: note: expected a decay of all parameters", path);
    bool plus = strcmp(kind->method, "lora_plus") == 0;
    MR_CHECK(plus || ratio == 1, MR_ERR_FORMAT, "%s: note: a ratio of %g is another method", path,
             ratio);
    MR_CHECK(!kind->mora_type || (type == kind->mora_type && r == kind->mora_r), MR_ERR_FORMAT,
             "%s: note: type %lld and r %lld do not agree with the file's name", path,
             (long long)type, (long long)r);
    mr_adapter_config *adapter = settings_adapter(c);
    if (!mr_adapter_find(kind->method)->trains_base) {
        adapter->r = r;
        adapter->lora_alpha = alpha;
    }
    if (plus) settings_put(c, "method.loraplus_lr_ratio", "%.17g", ratio);
    c->train.lr = lr;
    c->train.weight_decay = wd;
    c->train.beta1 = beta1;
    c->train.beta2 = beta2;
    c->train.eps = eps;
    c->train.clip_norm = clip;
    return MR_OK;
}

void mr_golden_packing(const char *folder, char *out, size_t room)
{
    const char *slash = strrchr(folder, '/');
    MR_INVARIANT(slash);
    snprintf(out, room, "%.*s/packing%s", (int)(slash - folder), folder, slash);
}

/* The method's part of a stem: all of "lora", the end of "p0_lora". */
static const char *method_of(const char *stem, mr_golden_cut cut)
{
    const char *line = strchr(stem, '_');
    return cut.packed && line ? line + 1 : stem;
}

static mr_status configure(mr_golden_rig *rig, const char *folder, const char *stem,
                           mr_golden_cut cut)
{
    mr_golden_kind kind = {.method = "fft"};
    char packing[PATH_MAX];
    mr_golden_packing(folder, packing, sizeof packing);
    rig->config = mr_alloc(MR_MEM_OTHER, sizeof *rig->config);
    if (!rig->config) return MR_ERR_MEMORY;
    mr_config *c = rig->config;
    if (stem)
        MR_CHECK(mr_golden_kind_of(method_of(stem, cut), &kind), MR_ERR_ARG, "'%s' names no method",
                 stem);
    settings_of_method(c, kind.method);
    if (stem) {
        MR_TRY(mr_golden_open(cut.packed ? packing : folder, stem, "", &rig->file));
        MR_TRY(read_note(rig->file, &kind, c));
    }
    if (mr_config_has(c, "method.operator"))
        settings_put(c, "method.operator", "%s", mr_mora_operators[kind.operator]);
    c->train.recompute = (int32_t)cut.recompute;
    c->parallel.shard = (int32_t)cut.shard;
    return MR_OK;
}

/* Reads an I32 tensor of the batch's shape into memory for all ranks. */
static mr_status read_ids(const mr_safetensors *file, const char *name, const int64_t *shape,
                          size_t padded, int32_t **out)
{
    const mr_safetensors_entry *entry = mr_safetensors_find(file, name);
    MR_CHECK(entry, MR_ERR_FORMAT, "%s: there is no '%s'", mr_safetensors_path(file), name);
    MR_TRY(mr_safetensors_expect(file, entry, 2, shape));
    *out = mr_alloc_array(MR_MEM_DATA, padded, sizeof **out);
    if (!*out) return MR_ERR_MEMORY;
    return mr_golden_read_ids(file, entry, *out);
}

/* Reads positions and segments, and tells the places where these start. */
static mr_status read_borders(mr_golden_rig *rig, const mr_safetensors *file, size_t padded,
                              int32_t **segments)
{
    const int64_t shape[2] = {rig->sequences, rig->tokens};
    MR_TRY(read_ids(file, "positions", shape, padded, &rig->positions));
    MR_TRY(read_ids(file, "segments", shape, padded, segments));
    rig->starts = mr_alloc_array(MR_MEM_DATA, padded, sizeof *rig->starts);
    if (!rig->starts) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < (int64_t)padded; i++) {
        const int64_t t = i % rig->tokens;
        if (i >= rig->sequences * rig->tokens) (*segments)[i] = -1; /* a row that fills up */
        rig->starts[i] =
            t > 0 && (*segments)[i] == (*segments)[i - 1] ? rig->starts[i - 1] : (int32_t)t;
    }
    return MR_OK;
}

static mr_status open_batch(const char *folder, const char *stem, mr_golden_cut cut,
                            mr_safetensors **out)
{
    char packing[PATH_MAX], name[64];
    if (!cut.packed) return mr_golden_open(folder, "batch", "", out);
    mr_golden_packing(folder, packing, sizeof packing);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(stem, "_"), stem);
    return mr_golden_open(packing, name, "", out);
}

/* Reads ids and labels; a label belongs to the position before it. */
static mr_status read_batch(mr_golden_rig *rig, const char *folder, const char *stem,
                            mr_golden_cut cut)
{
    mr_safetensors *file = NULL;
    int32_t *labels = NULL, *segments = NULL;
    MR_TRY(open_batch(folder, stem, cut, &file));
    const mr_safetensors_entry *ids = mr_safetensors_find(file, "input_ids");
    const mr_safetensors_entry *scores = mr_safetensors_find(file, "labels");
    mr_status status = MR_ERR_FORMAT;
    if (!ids || ids->dims != 2 || ids->count == 0 || !scores) {
        mr_fail(status, "%s: expected input_ids and labels [B, T]", mr_safetensors_path(file));
        goto cleanup;
    }
    status = mr_safetensors_expect(file, scores, 2, ids->shape);
    if (status != MR_OK) goto cleanup;
    rig->sequences = ids->shape[0];
    rig->tokens = ids->shape[1];
    rig->share = (rig->sequences + rig->comm->size - 1) / rig->comm->size;
    size_t padded = (size_t)(rig->share * rig->comm->size * rig->tokens);
    rig->ids = mr_alloc_array(MR_MEM_DATA, padded, sizeof *rig->ids);
    rig->targets = mr_alloc_array(MR_MEM_DATA, padded, sizeof *rig->targets);
    rig->losses = mr_alloc_array(MR_MEM_DATA, (size_t)(rig->share * rig->tokens), sizeof(double));
    labels = mr_alloc_array(MR_MEM_DATA, padded, sizeof *labels);
    status = rig->ids && rig->targets && rig->losses && labels ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) status = mr_golden_read_ids(file, ids, rig->ids);
    if (status == MR_OK) status = mr_golden_read_ids(file, scores, labels);
    if (status == MR_OK && cut.packed) status = read_borders(rig, file, padded, &segments);
    for (int64_t i = 0; i < (int64_t)padded && status == MR_OK; i++) {
        bool last = i % rig->tokens == rig->tokens - 1;
        rig->targets[i] = i >= ids->count || last || labels[i + 1] < 0 ? -1 : labels[i + 1];
        rig->scored += rig->targets[i] >= 0;
        bool known = rig->ids[i] >= 0 && rig->ids[i] < rig->arch.vocab_size &&
                     rig->targets[i] < rig->arch.vocab_size;
        if (!known)
            status = mr_fail(MR_ERR_FORMAT, "%s: position %lld: token %d or label %d of %lld",
                             mr_safetensors_path(file), (long long)i, rig->ids[i], rig->targets[i],
                             (long long)rig->arch.vocab_size);
    }
    if (status == MR_OK && rig->scored == 0)
        status = mr_fail(MR_ERR_FORMAT, "%s: labels: no target is scored, so there is no loss",
                         mr_safetensors_path(file));
    if (status == MR_OK && segments) {
        status = mr_golden_refill(rig, segments);
        if (status != MR_OK) mr_fail_in(status, "%s", mr_safetensors_path(file));
    }
cleanup:
    mr_free(labels);
    mr_free(segments);
    mr_safetensors_close(&file);
    return status;
}

static mr_status create_model(mr_golden_rig *rig, const char *folder, mr_golden_cut cut)
{
    char path[PATH_MAX];
    mr_geometry geometry = {.batch = rig->share,
                            .tokens = rig->tokens,
                            .micros = 1,
                            .in_wave = 1,
                            .packed = cut.packed};
    if (cut.single) {
        geometry.batch = 1;
        geometry.micros = rig->share;
        geometry.in_wave = cut.wide ? rig->share : 1;
    }
    geometry.stretches = mr_tree_stretches(geometry.micros, 0);
    MR_TRY(mr_backend_create(test_backend(), 0, 1, &rig->be));
    MR_TRY(mr_model_create(&(mr_model_options){.comm = rig->comm,
                                               .be = rig->be,
                                               .arch = &rig->arch,
                                               .method = mr_adapter_find(rig->config->method.name),
                                               .adapter = mr_adapter_config_of(rig->config),
                                               .shard = cut.shard,
                                               .recompute = cut.recompute,
                                               .geometry = geometry},
                           &rig->model));
    MR_TRY(mr_model_allocate(rig->model));
    snprintf(path, sizeof path, "%s/model", folder);
    mr_hf *weights;
    MR_TRY(mr_hf_open(path, &weights));
    mr_status status = mr_model_load(rig->model, weights);
    mr_hf_close(&weights);
    return status;
}

/* Remembers the trained weights this rank owns. */
static mr_status keep_weights(mr_golden_rig *rig)
{
    const mr_params *params = mr_model_params(rig->model);
    size_t count = (size_t)mr_params_length(params);
    rig->before = mr_alloc_array(MR_MEM_OTHER, count, sizeof *rig->before);
    rig->grad_rms = mr_alloc_array(MR_MEM_OTHER, count, sizeof *rig->grad_rms);
    if (!rig->before || !rig->grad_rms) return MR_ERR_MEMORY;
    for (int i = 0; i < mr_params_length(params); i++) {
        if (!mr_params_at(params, i)->trained) continue;
        mr_own own = mr_params_own(params, i);
        if (own.count == 0) continue;
        rig->before[i] = mr_alloc_array(MR_MEM_OTHER, (size_t)own.count, sizeof **rig->before);
        if (!rig->before[i]) return MR_ERR_MEMORY;
        rig->be->ops->download(rig->be, rig->before[i], own.weight);
    }
    return MR_OK;
}

static mr_status create(mr_golden_rig *rig, const char *folder, const char *stem, mr_golden_cut cut)
{
    char path[PATH_MAX];
    MR_TRY(configure(rig, folder, stem, cut));
    snprintf(path, sizeof path, "%s/model/config.json", folder);
    MR_TRY(mr_hf_config_read(path, &rig->arch));
    MR_TRY(read_batch(rig, folder, stem, cut));
    MR_TRY(create_model(rig, folder, cut));
    if (!mr_model_method(rig->model)->trains_base) {
        mr_safetensors *init;
        MR_TRY(mr_golden_open(folder, method_of(stem, cut), "_init", &init));
        mr_status status = mr_golden_load_adapter(rig, init, "init.");
        mr_safetensors_close(&init);
        MR_TRY(status);
    }
    MR_TRY(keep_weights(rig));
    return mr_optimizer_create(mr_model_params(rig->model), rig->config, &rig->optimizer);
}

mr_status mr_golden_rig_create(const mr_comm *comm, const char *folder, const char *stem,
                               mr_golden_cut cut, mr_golden_rig **out)
{
    *out = NULL;
    mr_status status = MR_ERR_MEMORY;
    mr_golden_rig *rig = mr_alloc(MR_MEM_OTHER, sizeof *rig);
    if (rig) {
        *rig = (mr_golden_rig){.comm = comm};
        status = create(rig, folder, stem, cut);
    }
    status = mr_comm_agree(comm, status);
    if (status == MR_OK)
        *out = rig;
    else
        mr_golden_rig_destroy(&rig);
    return status;
}

void mr_golden_rig_destroy(mr_golden_rig **rig)
{
    mr_golden_rig *old = *rig;
    if (!old) return;
    for (int i = 0; old->before && i < mr_params_length(mr_model_params(old->model)); i++)
        mr_free(old->before[i]);
    mr_free(old->before);
    mr_free(old->grad_rms);
    mr_optimizer_destroy(&old->optimizer);
    mr_model_destroy(&old->model);
    if (old->be) mr_backend_destroy(&old->be);
    mr_safetensors_close(&old->file);
    mr_free(old->ids);
    mr_free(old->targets);
    mr_free(old->positions);
    mr_free(old->starts);
    mr_free(old->losses);
    mr_free(old->config);
    mr_free(old);
    *rig = NULL;
}

/* The part of the batch from an element on. */
static mr_model_batch batch_at(const mr_golden_rig *rig, int64_t at)
{
    return (mr_model_batch){.tokens = rig->ids + at,
                            .targets = rig->targets + at,
                            .positions = rig->positions ? rig->positions + at : NULL,
                            .starts = rig->starts ? rig->starts + at : NULL};
}

void mr_golden_evaluate(mr_golden_rig *rig, float *logits, double *losses)
{
    MR_INVARIANT(mr_model_geometry(rig->model)->batch == rig->share);
    const mr_model_batch batch = batch_at(rig, rig->comm->rank * rig->share * rig->tokens);
    mr_model_evaluate(rig->model, &batch, rig->share, losses ? losses : rig->losses, logits);
}

void mr_golden_gradients(mr_golden_rig *rig, double *loss, double *grad_norm)
{
    const mr_geometry *g = mr_model_geometry(rig->model);
    int64_t rows = g->batch * g->tokens;
    mr_exact sums[2] = {0};
    mr_memory_guard(true);
    for (int64_t wave = 0; wave < mr_geometry_waves(g); wave++) {
        const mr_model_batch batch = batch_at(rig, mr_model_first_micro(rig->model, wave) * rows);
        mr_model_set_batches(rig->model, wave * g->in_wave, g->in_wave, &batch);
        /* The step tells dropout's streams apart, and there is no dropout here. */
        mr_model_train_wave(rig->model, wave, 1.0 / (double)rig->scored, 0);
    }
    if (mr_model_finish_step(rig->model, &sums[0], &sums[1]) != MR_OK) mr_abort("%s", mr_message());
    mr_exact_reduce(rig->comm, sums, 2);
    mr_memory_guard(false);
    *loss = mr_exact_value(&sums[0]) / (double)rig->scored;
    *grad_norm = sqrt(mr_exact_value(&sums[1]));
}

void mr_golden_update(mr_golden_rig *rig, double grad_norm)
{
    mr_memory_guard(true);
    mr_optimizer_update(&rig->optimizer, rig->config->train.lr, grad_norm);
    mr_memory_guard(false);
}
