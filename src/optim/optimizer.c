#include "optim/optimizer.h"

mr_status mr_optimizer_create(mr_params *params, const mr_config *config, mr_optimizer *out)
{
    *out = (mr_optimizer){.params = params,
                          .beta1 = config->train.beta1,
                          .beta2 = config->train.beta2,
                          .eps = config->train.eps,
                          .weight_decay = config->train.weight_decay,
                          .clip_norm = config->train.clip_norm};
    int64_t sums = mr_params_square_count(params);
    MR_TRY(mr_backend_tensor(mr_params_backend(params), MR_MEM_OTHER, MR_F64, 1, sums, &out->sums));
    out->host_sums = mr_alloc_array(MR_MEM_OTHER, (size_t)sums, sizeof *out->host_sums);
    out->param_steps =
        mr_alloc_array(MR_MEM_OTHER, (size_t)mr_params_length(params), sizeof *out->param_steps);
    out->updates =
        mr_alloc_array(MR_MEM_OTHER, (size_t)mr_params_length(params), sizeof *out->updates);
    if (out->host_sums && out->param_steps && out->updates) return MR_OK;
    mr_optimizer_destroy(out);
    return MR_ERR_MEMORY;
}

void mr_optimizer_destroy(mr_optimizer *optimizer)
{
    if (!optimizer->params) return;
    mr_backend_free(mr_params_backend(optimizer->params), &optimizer->sums);
    mr_free(optimizer->host_sums);
    mr_free(optimizer->param_steps);
    mr_free(optimizer->updates);
    *optimizer = (mr_optimizer){0};
}

void mr_optimizer_square_sum(mr_optimizer *optimizer, mr_exact *sum)
{
    mr_backend *be = mr_params_backend(optimizer->params);
    mr_phase_begin(be, MR_PHASE_OPTIMIZER);
    mr_params_square_sums(optimizer->params, optimizer->sums);
    be->ops->download(be, optimizer->host_sums, optimizer->sums);
    for (int64_t i = 0; i < optimizer->sums.cols; i++)
        mr_exact_add(sum, optimizer->host_sums[i]);
    mr_phase_end(be, MR_PHASE_OPTIMIZER);
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
    mr_params_invalidate(params); /* nothing may still read the weights that change now */
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

/* Zeroes a dense tensor and returns how many of its elements were not. */
static int64_t clear(mr_backend *be, mr_tensor t, float *piece, int64_t room)
{
    int64_t count = 0;
    for (int64_t first = 0; first < t.cols; first += room) {
        int64_t part = t.cols - first < room ? t.cols - first : room;
        be->ops->download(be, piece, mr_tensor_cols(t, first, part));
        for (int64_t i = 0; i < part; i++)
            count += piece[i] < 0 || piece[i] > 0;
    }
    be->ops->fill(be, t, 0);
    return count;
}

mr_status mr_optimizer_reset_adapters(mr_optimizer *optimizer, mr_optimizer_reset_count *out)
{
    enum { ROOM = 1 << 16 };
    mr_params *params = optimizer->params;
    const mr_comm *comm = mr_params_comm(params);
    float *piece = mr_alloc_array(MR_MEM_OTHER, ROOM, sizeof *piece);
    MR_AGREE(comm, piece ? MR_OK : MR_ERR_MEMORY);
    int64_t counts[2] = {0, 0};
    for (mr_params_walk at = {0}; mr_params_next(params, &at);) {
        if (!at.param->adapter || !at.param->trained) continue;
        optimizer->param_steps[at.id] = 0;
        mr_own own = mr_params_own(params, at.id);
        if (own.count == 0) continue;
        int64_t cleared = clear(mr_params_backend(params), own.m, piece, ROOM) +
                          clear(mr_params_backend(params), own.v, piece, ROOM);
        /* What every rank has, one speaks for. */
        if (comm->rank > 0 && mr_params_replicated(params, at.id, MR_SLAB_M)) continue;
        counts[0] += 2 * own.count;
        counts[1] += cleared;
    }
    mr_free(piece);
    mr_comm_sum_i64(comm, counts, 2);
    *out = (mr_optimizer_reset_count){.entries = counts[0], .cleared = counts[1]};
    return MR_OK;
}
