/* The merged model as Transformers has it, in files and types as the base has them. */

#include "base/log.h"
#include "store/hf_beside.h"
#include "store/json.h"
#include "train/export_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A tensor and the file it goes to. */
typedef struct place {
    mr_model_tensor tensor;
    const char *file; /* name, borrowed of the base */
} place;

/* What a folder will hold. */
typedef struct layout {
    const mr_loaded *loaded;
    mr_hf *base;  /* owned; NULL: drawn */
    place *place; /* [count], file by file; owned */
    int count;
} layout;

static const char *file_name(const mr_safetensors *file)
{
    const char *path = mr_safetensors_path(file), *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The type a tensor of the base is written as. */
static mr_safetensors_dtype type_of(const mr_safetensors_entry *entry, bool f32)
{
    const bool narrow = entry->dtype == MR_SAFETENSORS_F16 || entry->dtype == MR_SAFETENSORS_BF16;
    return narrow && !f32 ? entry->dtype : MR_SAFETENSORS_F32;
}

/* By file, then wide types first, so that all lie on multiples of their size, then by name. */
static int compare(const void *a, const void *b)
{
    const place *x = a, *y = b;
    const int files = strcmp(x->file, y->file);
    const bool wide[] = {x->tensor.dtype == MR_SAFETENSORS_F32,
                         y->tensor.dtype == MR_SAFETENSORS_F32};
    if (files != 0) return files;
    return wide[0] != wide[1] ? wide[1] - wide[0] : strcmp(x->tensor.name, y->tensor.name);
}

/* Says which tensors of the base the model does not use, and are not written. */
static void tell_left_out(const layout *l)
{
    int64_t left_out = 0;
    const char *first = NULL;
    const mr_hf_config *arch = mr_model_arch(l->loaded->model);
    for (int64_t i = 0; i < mr_hf_count(l->base); i++) {
        const char *name = mr_hf_name(l->base, i);
        if (mr_hf_uses(arch, name)) continue;
        if (left_out++ == 0) first = name;
    }
    if (left_out > 0)
        mr_log("left out: %lld tensors of the base that the model does not use, as %s",
               (long long)left_out, first);
}

static mr_status lay_out(layout *l, bool f32)
{
    const mr_config *config = &l->loaded->config;
    const mr_params *params = mr_model_params(l->loaded->model);
    if (config->model.init == MR_INIT_PRETRAINED) MR_TRY(mr_hf_open(config->model.path, &l->base));
    l->place = mr_alloc_array(MR_MEM_OTHER, (size_t)mr_params_length(params), sizeof *l->place);
    if (!l->place) return MR_ERR_MEMORY;
    for (mr_params_walk at = {0}; mr_params_next(params, &at);) {
        const mr_safetensors *file;
        const mr_safetensors_entry *entry;
        if (at.param->adapter) continue;
        place *p = &l->place[l->count++];
        *p = (place){.file = MR_HF_WEIGHTS,
                     .tensor = {.id = at.id,
                                .name = at.param->name,
                                .vector = at.param->rows == 1,
                                .dtype = MR_SAFETENSORS_F32}};
        if (!l->base) continue;
        MR_TRY(mr_hf_find(l->base, at.param->name, &file, &entry));
        p->file = file_name(file);
        p->tensor.dtype = type_of(entry, f32);
        p->tensor.vector = entry->dims == 1;
    }
    qsort(l->place, (size_t)l->count, sizeof *l->place, compare);
    if (l->base && l->loaded->comm->rank == 0) tell_left_out(l);
    return MR_OK;
}

/* Writes the tensors of each file. Collective. */
static mr_status write_files(const layout *l, const char *folder, mr_export_outcome *out)
{
    const mr_safetensors_pair format = {"format", "pt"};
    const mr_model *model = l->loaded->model;
    mr_model_tensor *tensors = mr_alloc_array(MR_MEM_OTHER, (size_t)l->count, sizeof *tensors);
    mr_status status = mr_comm_agree(l->loaded->comm, tensors ? MR_OK : MR_ERR_MEMORY);
    for (int first = 0, end; status == MR_OK && first < l->count; first = end) {
        char path[PATH_MAX];
        for (end = first; end < l->count && strcmp(l->place[end].file, l->place[first].file) == 0;
             end++)
            tensors[end - first] = l->place[end].tensor;
        status = mr_comm_agree(l->loaded->comm,
                               mr_file_path(path, "%s/%s", folder, l->place[first].file));
        if (status == MR_OK)
            status = mr_model_write_tensors(model, tensors, end - first, path, &format, 1);
        out->files++;
    }
    mr_free(tensors);
    return status;
}

/* Counts tensors, bytes and types. */
static void count(const layout *l, mr_export_outcome *out)
{
    bool seen[MR_SAFETENSORS_DTYPES] = {false};
    size_t at = 0;
    for (int i = 0; i < l->count; i++) {
        const mr_model_tensor *t = &l->place[i].tensor;
        const mr_param *param = mr_params_at(mr_model_params(l->loaded->model), t->id);
        out->bytes += param->rows * param->cols * (t->dtype == MR_SAFETENSORS_F32 ? 4 : 2);
        out->tensors++;
        if (seen[t->dtype]) continue;
        seen[t->dtype] = true;
        at += (size_t)snprintf(out->types + at, sizeof out->types - at, "%s%s",
                               at > 0 ? " and " : "", mr_safetensors_dtype_name(t->dtype));
    }
}

/* Writes what names the files of several. */
static mr_status write_index(const layout *l, const char *folder, const mr_export_outcome *out)
{
    char path[PATH_MAX];
    json_t *map = json_object();
    int failed = 0;
    MR_TRY(mr_file_path(path, "%s/" MR_HF_INDEX, folder));
    for (int i = 0; i < l->count; i++)
        failed |= json_object_set_new(map, l->place[i].tensor.name, json_string(l->place[i].file));
    json_t *root = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)out->bytes,
                             "weight_map", map);
    mr_status status = mr_json_write(path, failed ? NULL : root);
    json_decref(root);
    return status;
}

/* Writes what stands beside the weights. On rank 0. */
static mr_status write_rest(const layout *l, bool f32, const char *folder,
                            const mr_export_outcome *out)
{
    const mr_config *config = &l->loaded->config;
    char path[PATH_MAX];
    mr_hf_beside *beside;
    if (out->files > 1 || strcmp(l->place[0].file, MR_HF_WEIGHTS) != 0)
        MR_TRY(write_index(l, folder, out));
    MR_TRY(mr_trainer_config_path(config, path));
    MR_TRY(mr_hf_beside_read(path, config->model.path, config->model.tokenizer, &beside));
    mr_status status = mr_hf_beside_write(beside, folder, mr_model_arch(l->loaded->model),
                                          f32 || !l->base ? "float32" : NULL);
    mr_hf_beside_free(&beside);
    return status;
}

mr_status mr_export_merged(mr_loaded *loaded, bool f32, const char *folder, mr_export_outcome *out)
{
    const mr_comm *comm = loaded->comm;
    layout l = {.loaded = loaded};
    mr_status status = mr_comm_agree(comm, lay_out(&l, f32));
    if (status == MR_OK && !mr_model_method(loaded->model)->trains_base)
        status = mr_model_merge(loaded->model);
    if (status == MR_OK) status = write_files(&l, folder, out);
    if (status == MR_OK) {
        count(&l, out);
        status =
            mr_comm_agree_root(comm, comm->rank == 0 ? write_rest(&l, f32, folder, out) : MR_OK);
    }
    mr_free(l.place);
    mr_hf_close(&l.base);
    return status;
}
