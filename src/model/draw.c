#include "model/draw.h"

#include "base/hash.h"
#include "linalg/orthonormal.h"

#include <string.h>

/* FNV-1a of a name, and of a number where it is not 0. */
static uint64_t name_hash(const char *name, int64_t number)
{
    uint64_t hash = mr_hash_fnv(MR_HASH_FNV, name, strlen(name));
    for (uint64_t rest = (uint64_t)number; rest > 0; rest >>= 8)
        hash = mr_hash_fnv(hash, &(uint8_t){(uint8_t)rest}, 1);
    return hash >> 8;
}

/* A stream for a name: draws do not depend on how many parameters stand before it. */
static mr_random stream_of(const mr_draw *source, const mr_param *param)
{
    return mr_random_stream(source->seed, param->adapter ? MR_RANDOM_ADAPTER : MR_RANDOM_WEIGHTS,
                            name_hash(param->name, param->adapter ? source->restart : 0));
}

/* Every rank orthonormalises the whole matrix and keeps what it must. */
static mr_status draw_orthonormal(mr_draw *source, const mr_param *param)
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

mr_status mr_draw_values(void *context, const mr_param *param, int64_t first, int64_t count,
                         float *out)
{
    mr_draw *source = context;
    mr_random random = stream_of(source, param);
    if (param->init == MR_INIT_ORTHONORMAL && !source->whole)
        MR_TRY(draw_orthonormal(source, param));
#pragma omp parallel for num_threads(source->threads > 0 ? source->threads : 1)
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

/* Numbers that each stand for themselves are drawn where the weights are kept. */
static mr_status draw_param(mr_params *params, int id, mr_draw *source)
{
    const mr_param *param = mr_params_at(params, id);
    const mr_slab kept = mr_params_kept(params, id, MR_SLAB_WEIGHTS);
    mr_backend *be = mr_params_backend(params);
    if (param->init != MR_INIT_NORMAL) return mr_params_fill(params, id, mr_draw_values, source);
    if (kept.count > 0)
        be->ops->normal(be, kept.values, stream_of(source, param), kept.first, param->init_scale);
    return MR_OK;
}

mr_status mr_draw_params(mr_params *params, uint64_t seed, int64_t restart, bool base,
                         bool adapters)
{
    mr_status status = MR_OK;
    for (mr_params_walk at = {0}; status == MR_OK && mr_params_next(params, &at);) {
        if (at.param->adapter ? !adapters : !base) continue;
        mr_draw source = {
            .seed = seed, .restart = restart, .threads = mr_params_backend(params)->threads};
        status = draw_param(params, at.id, &source);
        mr_free(source.whole);
    }
    mr_params_invalidate(params);
    return status;
}
