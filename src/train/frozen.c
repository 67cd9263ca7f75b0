#include "train/frozen.h"

#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool mr_frozen_is_saved(const mr_model *model, const mr_param *param)
{
    return param->trained || mr_model_changes_frozen(model);
}

/* Digests of what this rank answers for, I32 [.., 2], each element's place counted from what its
 * parameter's name stands for; returns how many. */
static int64_t digest_own(const mr_params *params, mr_digested *of, const void *context,
                          mr_tensor digests, bool *any)
{
    mr_backend *be = mr_params_backend(params);
    int64_t used = 0;
    for (mr_params_walk at = {0}; mr_params_next(params, &at);) {
        const char *name = at.param->name;
        if (!of(context, at.param)) continue;
        *any = true;
        const mr_slab own = mr_params_shard(params, at.id, MR_SLAB_WEIGHTS);
        if (own.count == 0) continue;
        be->ops->digest(be, mr_tensor_rows(digests, used++, 1), own.values,
                        mr_hash_mix(mr_hash_fnv(MR_HASH_FNV, name, strlen(name))) +
                            (uint64_t)own.first);
    }
    return used;
}

mr_status mr_weights_digest(const mr_model *model, mr_digested *of, const void *context,
                            char out[MR_WEIGHTS_DIGEST])
{
    const mr_params *params = mr_model_params(model);
    const mr_comm *comm = mr_params_comm(params);
    mr_backend *be = mr_params_backend(params);
    const int64_t room = mr_params_length(params);
    bool any = false;
    uint64_t sum = 0;
    mr_tensor digests = {0};
    int32_t *host = mr_alloc_array(MR_MEM_OTHER, 2 * (size_t)room, sizeof *host);
    mr_status status =
        host ? mr_backend_tensor(be, MR_MEM_OTHER, MR_I32, room, 2, &digests) : MR_ERR_MEMORY;
    status = mr_comm_agree(comm, status);
    if (status == MR_OK) {
        const int64_t used = digest_own(params, of, context, digests, &any);
        be->ops->download(be, host, digests);
        for (int64_t i = 0; i < used; i++)
            sum += (uint32_t)host[2 * i] + ((uint64_t)(uint32_t)host[2 * i + 1] << 32);
        /* By halves, so that no sum leaves the range of its type. */
        int64_t halves[2] = {(int64_t)(sum & UINT32_MAX), (int64_t)(sum >> 32)};
        mr_comm_sum_i64(comm, halves, 2);
        sum = (uint64_t)halves[0] + ((uint64_t)halves[1] << 32);
        out[0] = '\0';
        if (any) snprintf(out, MR_WEIGHTS_DIGEST, "%016" PRIx64, sum);
    }
    mr_backend_free(be, &digests);
    mr_free(host);
    return status;
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
