#include "train/frozen.h"

#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PIECE = 1 << 18 }; /* elements that are copied to the host at once */

bool mr_frozen_is_saved(const mr_model *model, const mr_param *param)
{
    return param->trained || mr_model_changes_frozen(model);
}

/* Digest of elements first..first+count-1 of a parameter, which name stands for. */
static uint64_t digest(const float *values, int64_t first, int64_t count, uint64_t name,
                       int threads)
{
    uint64_t sum = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        sum += mr_hash_mix(bits + (name + (uint64_t)(first + i)) * 0x9e3779b97f4a7c15u);
    }
    return sum;
}

/* Digest of what this rank answers for of a parameter. */
static uint64_t digest_of(const mr_params *params, const mr_params_walk *at, float *piece)
{
    mr_backend *be = mr_params_backend(params);
    const mr_slab own = mr_params_shard(params, at->id, MR_SLAB_WEIGHTS);
    const uint64_t name =
        mr_hash_mix(mr_hash_fnv(MR_HASH_FNV, at->param->name, strlen(at->param->name)));
    uint64_t sum = 0;
    for (int64_t done = 0; done < own.count; done += PIECE) {
        const int64_t count = own.count - done < PIECE ? own.count - done : PIECE;
        be->ops->download(be, piece, mr_tensor_cols(own.values, done, count));
        sum += digest(piece, own.first + done, count, name, be->threads);
    }
    return sum;
}

mr_status mr_weights_digest(const mr_model *model, mr_digested *of, const void *context,
                            char out[MR_WEIGHTS_DIGEST])
{
    const mr_params *params = mr_model_params(model);
    const mr_comm *comm = mr_params_comm(params);
    bool any = false;
    uint64_t sum = 0;
    float *piece = mr_alloc_array(MR_MEM_OTHER, PIECE, sizeof *piece);
    MR_AGREE(comm, piece ? MR_OK : MR_ERR_MEMORY);
    for (mr_params_walk at = {0}; mr_params_next(params, &at);) {
        if (!of(context, at.param)) continue;
        any = true;
        sum += digest_of(params, &at, piece);
    }
    mr_free(piece);
    /* By halves, so that no sum leaves the range of its type. */
    int64_t halves[2] = {(int64_t)(sum & UINT32_MAX), (int64_t)(sum >> 32)};
    mr_comm_sum_i64(comm, halves, 2);
    sum = (uint64_t)halves[0] + ((uint64_t)halves[1] << 32);
    out[0] = '\0';
    if (any) snprintf(out, MR_WEIGHTS_DIGEST, "%016" PRIx64, sum);
    return MR_OK;
}

static bool is_saved(const void *model, const mr_param *param)
{
    return mr_frozen_is_saved(model, param);
}

static bool is_not_saved(const void *model, const mr_param *param)
{
    return !mr_frozen_is_saved(model, param);
}

mr_status mr_frozen_digest(const mr_model *model, char out[MR_WEIGHTS_DIGEST])
{
    return mr_weights_digest(model, is_not_saved, model, out);
}

mr_status mr_saved_digest(const mr_model *model, char out[MR_WEIGHTS_DIGEST])
{
    return mr_weights_digest(model, is_saved, model, out);
}
