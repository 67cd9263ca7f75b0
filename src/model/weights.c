/* Where weights come from and go to: random draws, files in, files out. */

#include "base/file.h"
#include "base/hash.h"
#include "linalg/orthonormal.h"
#include "model/model_impl.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* FNV-1a of a name, and of a number where it is not 0. */
static uint64_t name_hash(const char *name, int64_t number)
{
    uint64_t hash = mr_hash_fnv(MR_HASH_FNV, name, strlen(name));
    for (uint64_t rest = (uint64_t)number; rest > 0; rest >>= 8)
        hash = mr_hash_fnv(hash, &(uint8_t){(uint8_t)rest}, 1);
    return hash >> 8;
}

/* What values are drawn from. */
typedef struct draw_source {
    uint64_t seed;
    int64_t restart;
    float *whole; /* the matrix of a parameter whose elements depend on one another, owned */
} draw_source;

/* A stream for a name: draws do not depend on how many parameters stand before it. */
static mr_random stream_of(const draw_source *source, const mr_param *param)
{
    return mr_random_stream(source->seed, param->adapter ? MR_RANDOM_ADAPTER : MR_RANDOM_WEIGHTS,
                            name_hash(param->name, param->adapter ? source->restart : 0));
}

/* Every rank orthonormalises the whole matrix and keeps what it must. */
static mr_status draw_orthonormal(draw_source *source, const mr_param *param)
{
    size_t count = (size_t)(param->rows * param->cols);
    mr_random random = stream_of(source, param);
    double *rows = mr_alloc_array(MR_MEM_OTHER, count, sizeof *rows);
    source->whole = mr_alloc_array(MR_MEM_OTHER, count, sizeof *source->whole);
    mr_status status = rows && source->whole ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) {
        for (size_t i = 0; i < count; i++)
            rows[i] = mr_random_normal(&random, i);
        status = mr_orthonormal_rows(rows, param->rows, param->cols);
    }
    if (status == MR_OK)
        for (size_t i = 0; i < count; i++)
            source->whole[i] = (float)rows[i];
    mr_free(rows);
    return status;
}

static mr_status draw(void *context, const mr_param *param, int64_t first, int64_t count,
                      float *out)
{
    draw_source *source = context;
    mr_random random = stream_of(source, param);
    if (param->init == MR_INIT_ORTHONORMAL && !source->whole)
        MR_TRY(draw_orthonormal(source, param));
    for (int64_t i = 0; i < count; i++) {
        uint64_t index = (uint64_t)(first + i);
        double value = 0;
        switch (param->init) {
        case MR_INIT_ZERO:
            break;
        case MR_INIT_ONE:
            value = 1;
            break;
        case MR_INIT_UNIFORM:
            value = param->init_scale * (2 * mr_random_uniform(&random, index) - 1);
            break;
        case MR_INIT_NORMAL:
            value = param->init_scale * mr_random_normal(&random, index);
            break;
        case MR_INIT_ORTHONORMAL:
            value = (double)source->whole[index];
            break;
        }
        out[i] = (float)value;
    }
    return MR_OK;
}

mr_status mr_model_draw(mr_model *model, uint64_t seed, bool base, bool adapters)
{
    mr_status status = MR_OK;
    for (int i = 0; i < model->params->param_count && status == MR_OK; i++) {
        if (model->params->param[i].adapter ? !adapters : !base) continue;
        draw_source source = {.seed = seed, .restart = model->restart};
        status = mr_params_fill(model->params, i, draw, &source);
        mr_free(source.whole);
    }
    mr_params_invalidate(model->params);
    return status;
}

struct entry_source {
    const mr_safetensors *file;
    const mr_safetensors_entry *entry;
};

static mr_status read_entry(void *context, const mr_param *param, int64_t first, int64_t count,
                            float *out)
{
    (void)param;
    const struct entry_source *source = context;
    return mr_safetensors_read_f32(source->file, source->entry, first, count, out);
}

static mr_status load_param(mr_model *model, int id, const mr_safetensors *file,
                            const mr_safetensors_entry *entry)
{
    const mr_param *param = &model->params->param[id];
    /* Norm weights are vectors in the public format, one row here. */
    const int64_t shape[2] = {param->rows, param->cols};
    bool vector = entry->dims == 1 && param->rows == 1;
    MR_TRY(mr_safetensors_expect(file, entry, vector ? 1 : 2, vector ? &shape[1] : shape));
    struct entry_source source = {file, entry};
    return mr_params_fill(model->params, id, read_entry, &source);
}

mr_status mr_model_load(mr_model *model, const mr_hf *weights)
{
    for (int i = 0; i < model->params->param_count; i++) {
        const mr_param *param = &model->params->param[i];
        if (param->adapter) continue;
        const mr_safetensors *file;
        const mr_safetensors_entry *entry;
        MR_TRY(mr_hf_find(weights, param->name, &file, &entry));
        MR_TRY(load_param(model, i, file, entry));
    }
    mr_params_invalidate(model->params);
    return MR_OK;
}

/* Lists the parameters of one file: adapters or all others. */
static mr_status open_writer(const mr_model *model, bool adapters, const char *path,
                             mr_safetensors_writer **writer)
{
    const mr_params *params = model->params;
    mr_safetensors_spec *specs =
        mr_alloc_array(MR_MEM_OTHER, (size_t)params->param_count, sizeof *specs);
    if (!specs) return MR_ERR_MEMORY;
    int count = 0;
    for (int i = 0; i < params->param_count; i++) {
        const mr_param *param = &params->param[i];
        if (param->adapter != adapters) continue;
        mr_safetensors_spec *spec = &specs[count++];
        spec->name = param->name;
        /* Norm weights are vectors in the public format. */
        spec->dims = param->rows == 1 && !adapters ? 1 : 2;
        spec->shape[0] = spec->dims == 1 ? param->cols : param->rows;
        spec->shape[1] = param->cols;
    }
    const mr_safetensors_pair format = {"format", "pt"};
    mr_status status = mr_safetensors_create(path, specs, count, &format, 1, writer);
    mr_free(specs);
    return status;
}

/* Every rank takes part in reading a parameter; rank 0 writes it. */
static mr_status write_file(mr_model *model, const char *path, bool adapters)
{
    mr_params *params = model->params;
    mr_safetensors_writer *writer = NULL;
    mr_status status = MR_OK;
    if (model->comm->rank == 0) status = open_writer(model, adapters, path, &writer);
    int entry = 0;
    for (int i = 0; i < params->param_count; i++) {
        const mr_param *param = &params->param[i];
        if (param->adapter != adapters) continue;
        int64_t count = param->rows * param->cols;
        float *values = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *values);
        mr_status room = mr_comm_agree(model->comm, values ? MR_OK : MR_ERR_MEMORY);
        if (room != MR_OK) {
            mr_free(values);
            mr_safetensors_abandon(&writer);
            return room;
        }
        mr_params_read(params, i, values);
        if (writer && status == MR_OK)
            status = mr_safetensors_write(writer, entry, 0, values, count);
        entry++;
        mr_free(values);
    }
    if (writer && status == MR_OK) status = mr_safetensors_finish(&writer);
    mr_safetensors_abandon(&writer);
    return mr_comm_agree_root(model->comm, status);
}

static mr_status write_config(const mr_model *model, const char *folder)
{
    char path[PATH_MAX];
    MR_TRY(mr_file_make_folders(folder));
    MR_TRY(mr_file_path(path, "%s/config.json", folder));
    return mr_hf_config_write(path, &model->arch);
}

mr_status mr_model_save(mr_model *model, const char *folder)
{
    char path[PATH_MAX];
    bool first = model->comm->rank == 0;
    MR_TRY(mr_comm_agree_root(model->comm, first ? write_config(model, folder) : MR_OK));
    MR_TRY(mr_file_path(path, "%s/model.safetensors", folder));
    MR_TRY(write_file(model, path, false));
    MR_TRY(mr_file_path(path, "%s/adapter.safetensors", folder));
    if (model->method->trains_base) {
        if (first) unlink(path); /* of an earlier run: it does not go with these weights */
        return MR_OK;
    }
    return write_file(model, path, true);
}
