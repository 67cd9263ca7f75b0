/* Where weights come from and go to: random draws (model/draw.h), files in, files out. */

#include "model/draw.h"
#include "model/linears.h"
#include "model/model_impl.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

mr_status mr_model_draw(mr_model *model, uint64_t seed, bool base, bool adapters)
{
    return mr_draw_params(model->params, seed, model->restart, base, adapters);
}

/* A tensor of a file that holds a parameter. */
typedef struct entry_source {
    const mr_safetensors *file;
    const mr_safetensors_entry *entry;
} entry_source;

static mr_status read_entry(void *context, const mr_param *param, int64_t first, int64_t count,
                            float *out)
{
    (void)param;
    const entry_source *source = context;
    return mr_safetensors_read_f32(source->file, source->entry, first, count, out);
}

static mr_status check_entry(const entry_source *source, const mr_param *param)
{
    /* Norm weights are vectors in the public format, one row here. */
    const int64_t shape[2] = {param->rows, param->cols};
    bool vector = source->entry->dims == 1 && param->rows == 1;
    return mr_safetensors_expect(source->file, source->entry, vector ? 1 : 2,
                                 vector ? &shape[1] : shape);
}

static mr_status load_param(mr_model *model, int id, entry_source source)
{
    MR_TRY(check_entry(&source, &model->params->param[id]));
    return mr_params_fill(model->params, id, read_entry, &source);
}

mr_status mr_model_load(mr_model *model, const mr_hf *weights)
{
    for (int i = 0; i < model->params->param_count; i++) {
        const mr_param *param = &model->params->param[i];
        entry_source source;
        if (param->adapter) continue;
        MR_TRY(mr_hf_find(weights, param->name, &source.file, &source.entry));
        MR_TRY(load_param(model, i, source));
    }
    mr_params_invalidate(model->params);
    return MR_OK;
}

mr_status mr_model_start_values(const mr_model *model, uint64_t seed, const mr_hf *weights, int id,
                                int64_t first, int64_t count, float *out)
{
    const mr_param *param = mr_params_at(model->params, id);
    mr_draw drawn = {.seed = seed};
    entry_source source;
    MR_INVARIANT(!param->adapter && param->init != MR_INIT_ORTHONORMAL);
    if (!weights) return mr_draw_values(&drawn, param, first, count, out);
    MR_TRY(mr_hf_find(weights, param->name, &source.file, &source.entry));
    MR_TRY(check_entry(&source, param));
    return read_entry(&source, param, first, count, out);
}

/* Whether merges change the weight of a linear. */
static bool is_merged_into(const mr_model *model, int id)
{
    if (model->restart == 0) return false;
    for (int64_t l = 0; l < model->arch.num_hidden_layers; l++) {
        const mr_layer *layer = &model->layer[l];
        for (int s = 0; s < MR_SITES; s++)
            for (int i = 0; layer->adapter[s] && i < layer->adapted[s]; i++)
                if (layer->linear[layer->target[s][i]] == id) return true;
    }
    return false;
}

static bool is_in(const mr_model *model, mr_model_part part, int id)
{
    const mr_param *param = &model->params->param[id];
    switch (part) {
    case MR_PART_PUBLIC:
        return !param->adapter;
    case MR_PART_TRAINED:
        return param->adapter || param->trained || is_merged_into(model, id);
    case MR_PART_ALL:
        break;
    }
    return true;
}

static mr_status open_writer(const mr_model *model, const mr_model_tensor *tensors, int count,
                             const char *path, const mr_safetensors_pair *pairs, int64_t n_pairs,
                             mr_safetensors_writer **writer)
{
    mr_safetensors_spec *specs = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *specs);
    if (!specs) return MR_ERR_MEMORY;
    for (int i = 0; i < count; i++) {
        const mr_model_tensor *tensor = &tensors[i];
        const mr_param *param = &model->params->param[tensor->id];
        specs[i] = (mr_safetensors_spec){
            .name = tensor->name,
            .dims = tensor->vector ? 1 : 2,
            .shape = {tensor->vector ? param->rows * param->cols : param->rows, param->cols},
            .dtype = tensor->dtype};
    }
    mr_status status = mr_safetensors_create(path, specs, count, pairs, n_pairs, writer);
    mr_free(specs);
    return status;
}

enum { PIECE = 1 << 20 }; /* elements on their way to rank 0 at once */

/* The part of elements first..first+count-1 of a parameter that is of a part (comm/nodes.h) in
 * checkpoints. */
static int64_t share_of(const mr_params *params, const mr_param *param, int part, int64_t first,
                        int64_t count, int64_t *at)
{
    int64_t extent = params->unit[param->unit].flat[param->kind].count / params->comm->size;
    int64_t low = part * extent - param->offset, high = low + extent;
    *at = first > low ? first : low;
    if (first + count < high) high = first + count;
    return high > *at ? high - *at : 0;
}

/* Brings elements first..first+count-1 of a parameter to rank 0, from whoever writes them in
 * checkpoints; elsewhere values is scratch. Collective. */
static void collect(const mr_params *params, int id, int64_t first, int64_t count, float *values)
{
    const mr_comm *comm = &params->nodes.parts; /* of which rank 0 is rank 0 too */
    const mr_param *param = &params->param[id];
    int64_t at, own = share_of(params, param, comm->rank, first, count, &at);
    if (own > 0) {
        mr_slab shard = mr_params_shard(params, id, MR_SLAB_WEIGHTS);
        params->be->ops->download(params->be, values + (comm->rank == 0 ? at - first : 0),
                                  mr_tensor_cols(shard.values, at - shard.first, own));
    }
    if (comm->rank > 0) {
        if (own > 0) mr_comm_send(comm, values, (size_t)own * sizeof *values, 0);
        return;
    }
    for (int r = 1; r < comm->size; r++) {
        int64_t theirs = share_of(params, param, r, first, count, &at);
        if (theirs > 0)
            mr_comm_receive(comm, values + (at - first), (size_t)theirs * sizeof *values, r);
    }
}

/* Whatever fails, rank 0 takes what the others send. */
static mr_status write_all(const mr_params *params, const mr_model_tensor *tensors, int count,
                           mr_safetensors_writer *writer, mr_status status, float *values)
{
    for (int i = 0; i < count; i++) {
        const mr_param *param = &params->param[tensors[i].id];
        int64_t whole = param->rows * param->cols;
        for (int64_t first = 0; first < whole; first += PIECE) {
            int64_t piece = whole - first < PIECE ? whole - first : PIECE;
            collect(params, tensors[i].id, first, piece, values);
            if (writer && status == MR_OK)
                status = mr_safetensors_write(writer, i, first, values, piece);
        }
    }
    return status;
}

mr_status mr_model_write_tensors(const mr_model *model, const mr_model_tensor *tensors, int count,
                                 const char *path, const mr_safetensors_pair *pairs,
                                 int64_t n_pairs)
{
    mr_safetensors_writer *writer = NULL;
    float *values = mr_alloc_array(MR_MEM_OTHER, PIECE, sizeof *values);
    mr_status status = mr_comm_agree(model->comm, values ? MR_OK : MR_ERR_MEMORY);
    if (status == MR_OK) {
        if (model->comm->rank == 0)
            status = open_writer(model, tensors, count, path, pairs, n_pairs, &writer);
        status = write_all(model->params, tensors, count, writer, status, values);
        if (writer && status == MR_OK) status = mr_safetensors_finish(&writer);
        mr_safetensors_abandon(&writer);
        status = mr_comm_agree_root(model->comm, status);
    }
    mr_free(values);
    return status;
}

mr_status mr_model_write(const mr_model *model, mr_model_part part, const char *path,
                         const mr_safetensors_pair *pairs, int64_t n_pairs)
{
    const mr_params *params = model->params;
    int count = 0;
    mr_model_tensor *tensors =
        mr_alloc_array(MR_MEM_OTHER, (size_t)params->param_count, sizeof *tensors);
    mr_status status = mr_comm_agree(model->comm, tensors ? MR_OK : MR_ERR_MEMORY);
    for (int i = 0; status == MR_OK && i < params->param_count; i++) {
        const mr_param *param = &params->param[i];
        if (!is_in(model, part, i)) continue;
        /* Norm weights are vectors in the public format. */
        tensors[count++] = (mr_model_tensor){
            .id = i, .name = param->name, .vector = param->rows == 1 && !param->adapter};
    }
    if (status == MR_OK)
        status = mr_model_write_tensors(model, tensors, count, path, pairs, n_pairs);
    mr_free(tensors);
    return status;
}

mr_status mr_model_read(mr_model *model, mr_model_part part, const mr_safetensors *file)
{
    mr_params *params = model->params;
    int64_t count = 0;
    for (int i = 0; i < params->param_count; i++) {
        if (!is_in(model, part, i)) continue;
        const mr_safetensors_entry *entry = mr_safetensors_find(file, params->param[i].name);
        MR_CHECK(entry, MR_ERR_FORMAT, "%s: no tensor '%s'", mr_safetensors_path(file),
                 params->param[i].name);
        MR_TRY(load_param(model, i, (entry_source){file, entry}));
        count++;
    }
    MR_CHECK(count == mr_safetensors_count(file), MR_ERR_FORMAT,
             "%s: %lld tensors, of which %lld are this run's", mr_safetensors_path(file),
             (long long)mr_safetensors_count(file), (long long)count);
    mr_params_invalidate(params);
    return MR_OK;
}
