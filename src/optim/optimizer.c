#include "optim/optimizer.h"

mr_status mr_optimizer_create(mr_params *params, const mr_config *config, mr_optimizer *out)
{
    *out = (mr_optimizer){.params = params,
                          .beta1 = config->train.beta1,
                          .beta2 = config->train.beta2,
                          .eps = config->train.eps,
                          .weight_decay = config->train.weight_decay,
                          .clip_norm = config->train.clip_norm,
                          .seed = (uint64_t)config->run.seed};
    out->param_steps =
        mr_alloc_array(MR_MEM_OTHER, (size_t)mr_params_length(params), sizeof *out->param_steps);
    out->updates =
        mr_alloc_array(MR_MEM_OTHER, (size_t)mr_params_length(params), sizeof *out->updates);
    if (out->param_steps && out->updates) return MR_OK;
    mr_optimizer_destroy(out);
    return MR_ERR_MEMORY;
}

void mr_optimizer_bytes(const mr_params *params, size_t bytes[MR_MEM_PURPOSES])
{
    const mr_optimizer *none = NULL;
    bytes[MR_MEM_OTHER] = mr_bytes_add(bytes[MR_MEM_OTHER], mr_params_length(params),
                                       sizeof *none->param_steps + sizeof *none->updates);
}

void mr_optimizer_destroy(mr_optimizer *optimizer)
{
    if (!optimizer->params) return;
    mr_free(optimizer->param_steps);
    mr_free(optimizer->updates);
    *optimizer = (mr_optimizer){0};
}

/* The random bits of a parameter's step: those of a repeated one are the same. */
static mr_random rounding_of(const mr_optimizer *optimizer, int id)
{
    enum { ID_BITS = 24 };
    MR_INVARIANT(id < 1 << ID_BITS);
    return mr_random_stream(optimizer->seed, MR_RANDOM_ROUNDING,
                            (uint64_t)optimizer->param_steps[id] << ID_BITS | (uint64_t)id);
}

void mr_optimizer_update(mr_optimizer *optimizer, double lr, double grad_norm)
{
    mr_params *params = optimizer->params;
    mr_backend *be = mr_params_backend(params);
    double scale = 1;
    if (optimizer->clip_norm > 0) {
        scale = optimizer->clip_norm / (grad_norm + 1e-6);
        scale = scale < 1 ? scale : 1;
    }
    mr_params_share_gradients(params);
    mr_phase_begin(be, MR_PHASE_OPTIMIZER);
    int64_t count = 0;
    for (mr_params_walk at = {0}; mr_params_next(params, &at);) {
        if (!at.param->trained) continue;
        optimizer->param_steps[at.id]++;
        mr_own own = mr_params_own(params, at.id);
        if (own.count == 0) continue;
        optimizer->updates[count++] = (mr_adamw_args){.weight = own.weight,
                                                      .grad = own.grad,
                                                      .m = own.m,
                                                      .v = own.v,
                                                      .copy = own.copy,
                                                      .rounding = rounding_of(optimizer, at.id),
                                                      .first = own.first,
                                                      .grad_scale = scale,
                                                      .lr = lr * at.param->lr_scale,
                                                      .beta1 = optimizer->beta1,
                                                      .beta2 = optimizer->beta2,
                                                      .eps = optimizer->eps,
                                                      .weight_decay = optimizer->weight_decay,
                                                      .step = optimizer->param_steps[at.id]};
    }
    be->ops->adamw(be, optimizer->updates, count);
    mr_phase_end(be, MR_PHASE_OPTIMIZER);
    mr_params_publish(params);
}

/* Clears the moments of what is reset here, after the nonzero elements of this rank's shards are
 * counted into counts F64 [1, ..]; returns how many numbers that are. */
static int64_t clear(mr_optimizer *optimizer, mr_tensor counts, int64_t *entries)
{
    mr_params *params = optimizer->params;
    mr_backend *be = mr_params_backend(params);
    int64_t used = 0;
    for (mr_params_walk at = {0}; mr_params_next(params, &at);) {
        if (!at.param->adapter || !at.param->trained) continue;
        optimizer->param_steps[at.id] = 0;
        for (int what = MR_SLAB_M; what <= MR_SLAB_V; what++) {
            const mr_slab kept = mr_params_kept(params, at.id, (mr_slab_kind)what);
            const mr_slab shard = mr_params_shard(params, at.id, (mr_slab_kind)what);
            if (shard.count > 0)
                be->ops->count_nonzero(be, mr_tensor_cols(counts, used++, 1), shard.values);
            if (kept.count > 0) be->ops->fill(be, kept.values, 0);
            *entries += shard.count;
        }
    }
    return used;
}

mr_status mr_optimizer_reset_adapters(mr_optimizer *optimizer, mr_optimizer_reset_count *out)
{
    mr_params *params = optimizer->params;
    mr_backend *be = mr_params_backend(params);
    const mr_comm *comm = mr_params_comm(params);
    int64_t room = 2 * (int64_t)mr_params_length(params), counts[2] = {0, 0};
    mr_tensor cleared = {0};
    double *host = mr_alloc_array(MR_MEM_OTHER, (size_t)room, sizeof *host);
    mr_status status =
        host ? mr_backend_tensor(be, MR_MEM_OTHER, MR_F64, 1, room, &cleared) : MR_ERR_MEMORY;
    status = mr_comm_agree(comm, status);
    if (status == MR_OK) {
        int64_t used = clear(optimizer, cleared, &counts[0]);
        be->ops->download(be, host, cleared);
        for (int64_t i = 0; i < used; i++)
            counts[1] += (int64_t)host[i];
        mr_comm_sum_i64(comm, counts, 2);
        *out = (mr_optimizer_reset_count){.entries = counts[0], .cleared = counts[1]};
    }
    mr_backend_free(be, &cleared);
    mr_free(host);
    return status;
}
