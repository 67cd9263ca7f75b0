#include "train/approximate.h"

#include "adapter/adapter.h"
#include "comm/exact.h"
#include "linalg/svd.h"
#include "model/draw.h"
#include "model/reduce.h"
#include "nn/nn.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "spectra/measures.h"
#include "train/optimum.h"
#include "train/target.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const mr_registry *mr_approximate_registry(void)
{
    static const char *const without[] = {"run.output",
                                          "run.save_model",
                                          "run.keep",
                                          "model.",
                                          "method.target_modules",
                                          "method.modules_to_save",
                                          "train.epochs",
                                          "train.stop_after",
                                          "train.global_batch",
                                          "train.micro_batch",
                                          "train.seq_len",
                                          "train.packing",
                                          "train.lr_scale",
                                          "train.optimizer_dtype",
                                          "train.recompute",
                                          "train.on_nonfinite",
                                          "train.spike_zscore",
                                          "train.on_spike",
                                          "train.check_every",
                                          "eval.",
                                          "parallel.",
                                          "log.",
                                          "checkpoint.",
                                          NULL};
    static mr_registry keys;
    static mr_choice_table tables[2];
    if (keys.count > 0) return &keys;
    tables[0] = (mr_choice_table){"method.name", mr_adapter_choices()};
    tables[1] = (mr_choice_table){"task.name", mr_target_choices()};
    mr_registry_build_without(tables, 2, without, &keys);
    return &keys;
}

/* A linear that is trained alone, x the identity: its output is its weight, transposed. Owns all
 * but be and config. */
typedef struct lone_linear {
    const mr_config *config;
    mr_backend *be;
    const mr_adapter_method *method;
    int64_t in, out;
    mr_params *params;
    mr_reduce *reduce;
    mr_optimizer optimizer;
    mr_adapter *adapter; /* NULL where the base is trained */
    int base, param[MR_ADAPTER_PARAMS];
    uint64_t generation;
    mr_tensor x, y;    /* [I, I], [I, O] */
    mr_tensor aim;     /* [I, O]: -(W0 + T)^T */
    mr_tensor factors; /* [1, I]: from the error to its gradient */
    mr_tensor saved, work;
    mr_tensor error_sums, gradient_sums; /* F64: of squares */
    float *host;                         /* [I, O] */
    double *sums;                        /* [all sums of squares] */
    double *start, *target;              /* [O, I]: W0, T */
    double *values;                      /* [min(O, I)] */
    double norm;                         /* of T */
} lone_linear;

static const mr_dtype compute = MR_F32; /* of all that is computed with */

static const char name[] = "linear";

static mr_status add_tensors(lone_linear *l)
{
    const mr_params_types types = {.compute = compute, .keeps_frozen = l->method->merges};
    MR_TRY(mr_params_create(mr_comm_self(), l->be, MR_SHARD_NONE, types, 1, &l->params));
    MR_TRY(mr_params_add(l->params, 0, l->adapter ? MR_FLAT_FROZEN : MR_FLAT_TRAINED, name, l->out,
                         l->in, MR_INIT_NORMAL, 1 / sqrt((double)l->in), &l->base));
    for (int k = 0; l->adapter && k < l->adapter->params; k++)
        MR_TRY(mr_params_add_adapter(l->params, 0, name, &l->adapter->param[0][k], &l->param[k]));
    const mr_reduce_cut cut = {
        .leaves = 1, .meetings = 1, .stretches = 1, .whole = true, .long_unit = -1};
    mr_reduce_layout(l->params, &cut);
    MR_TRY(mr_params_allocate(l->params));
    MR_TRY(mr_reduce_create(l->params, &cut, &l->reduce));
    MR_TRY(mr_reduce_allocate(l->reduce));
    return mr_optimizer_create(l->params, l->config, &l->optimizer);
}

static mr_status add_memory(lone_linear *l)
{
    const int64_t in = l->in, out = l->out, count = in * out, less = in < out ? in : out;
    const int64_t runs = (count + MR_SQUARE_RUN - 1) / MR_SQUARE_RUN;
    const int64_t squares = mr_params_square_count(l->params);
    const struct {
        mr_tensor *tensor;
        mr_dtype dtype;
        int64_t rows, cols;
    } wanted[] = {
        {&l->x, compute, in, in},
        {&l->y, compute, in, out},
        {&l->aim, compute, in, out},
        {&l->factors, compute, 1, in},
        {&l->saved, compute, in, l->adapter ? l->adapter->saved_cols : 0},
        {&l->work, compute, in > out ? in : out, l->adapter ? mr_adapter_work_cols(l->adapter) : 0},
        {&l->error_sums, MR_F64, 1, runs},
        {&l->gradient_sums, MR_F64, 1, squares},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if (wanted[i].cols > 0)
            MR_TRY(mr_backend_tensor(l->be, MR_MEM_OTHER, wanted[i].dtype, wanted[i].rows,
                                     wanted[i].cols, wanted[i].tensor));
    const int64_t most = count > in * in ? count : in * in;
    l->host = mr_alloc_array(MR_MEM_OTHER, (size_t)most, sizeof *l->host);
    l->sums =
        mr_alloc_array(MR_MEM_OTHER, (size_t)(runs > squares ? runs : squares), sizeof *l->sums);
    l->start = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *l->start);
    l->target = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *l->target);
    l->values = mr_alloc_array(MR_MEM_OTHER, (size_t)less, sizeof *l->values);
    return l->host && l->sums && l->start && l->target && l->values ? MR_OK : MR_ERR_MEMORY;
}

/* What the linear is, without activations. */
static mr_adapter_call weights_of(const lone_linear *l)
{
    mr_adapter_call call = {.be = l->be, .work = l->work};
    call.base[0] = mr_params_weight(l->params, l->base);
    for (int k = 0; l->adapter && k < l->adapter->params; k++)
        call.weight[0][k] = mr_params_weight(l->params, l->param[k]);
    return call;
}

static mr_status draw(lone_linear *l, int64_t restart)
{
    const uint64_t seed = (uint64_t)l->config->run.seed;
    MR_TRY(mr_draw_params(l->params, seed, restart, restart == 0, true));
    l->generation++;
    mr_params_use(l->params, 0, -1);
    if (!l->adapter) return MR_OK;
    mr_adapter_set_restart(l->adapter, restart);
    mr_adapter_call call = weights_of(l);
    return mr_adapter_start(l->adapter, &call);
}

/* Makes x, the target and what the output is compared with. */
static mr_status aim(lone_linear *l)
{
    const int64_t in = l->in, out = l->out, count = in * out;
    double squares = 0;
    for (int64_t i = 0; i < in * in; i++)
        l->host[i] = i % (in + 1) == 0 ? 1.0f : 0.0f;
    l->be->ops->upload(l->be, l->x, l->host);
    l->be->ops->download(l->be, l->host, mr_params_weight(l->params, l->base));
    for (int64_t i = 0; i < count; i++) {
        l->start[i] = (double)l->host[i];
        squares += l->start[i] * l->start[i];
    }
    MR_TRY(mr_target_fill(l->config, l->target));
    l->norm = mr_target_config_of(l->config)->norm * sqrt(squares);
    for (int64_t i = 0; i < count; i++)
        l->target[i] *= l->norm;
    for (int64_t row = 0; row < out; row++)
        for (int64_t col = 0; col < in; col++)
            l->host[col * out + row] =
                (float)-(l->start[row * in + col] + l->target[row * in + col]);
    l->be->ops->upload(l->be, l->aim, l->host);
    l->be->ops->fill(l->be, l->factors, (float)(2 / (l->norm * l->norm)));
    return mr_svd_values(l->target, out, in, l->values);
}

/* Sums of squares of a tensor, which the backend left there. */
static double sum_of(lone_linear *l, mr_tensor sums)
{
    mr_exact exact = {0};
    l->be->ops->download(l->be, l->sums, sums);
    for (int64_t i = 0; i < sums.cols; i++)
        mr_exact_add(&exact, l->sums[i]);
    return mr_exact_value(&exact);
}

/* y = W'^T; the call is that of the pass. */
static mr_adapter_call forward(lone_linear *l, bool dropout, int64_t step)
{
    mr_params_use(l->params, 0, -1);
    mr_adapter_call call = weights_of(l);
    call.x = l->x;
    call.y[0] = l->y;
    call.saved = l->saved;
    if (l->adapter) call.work = mr_tensor_rows(l->work, 0, l->in);
    call.dropout = dropout;
    call.stream =
        mr_random_stream((uint64_t)l->config->run.seed, MR_RANDOM_DROPOUT, (uint64_t)step);
    mr_linear_forward(l->be, l->y, l->x, call.base[0], 0);
    if (!l->adapter) return call;
    mr_adapter_refresh(l->adapter, &call, l->generation);
    mr_adapter_forward(l->adapter, &call);
    return call;
}

/* y becomes the error, and its square over that of T is returned. */
static double compare(lone_linear *l)
{
    l->be->ops->add(l->be, l->y, l->aim);
    l->be->ops->square_sums(l->be, l->error_sums, mr_tensor_reshape(l->y, 1, l->in * l->out));
    return sum_of(l, l->error_sums) / (l->norm * l->norm);
}

/* Gradients of the error that stands in y. */
static void backward(lone_linear *l, mr_adapter_call *call)
{
    l->be->ops->scale_rows(l->be, l->y, l->factors);
    mr_reduce_leaf_begin(l->reduce, 0);
    if (l->adapter) {
        for (int k = 0; k < l->adapter->params; k++)
            call->grad[0][k] = mr_reduce_grad(l->reduce, l->param[k]);
        mr_adapter_backward_output(l->adapter, call);
        mr_adapter_backward(l->adapter, call);
    } else {
        mr_linear_backward_weight(l->be, mr_reduce_grad(l->reduce, l->base), l->y, l->x, 0);
    }
    mr_reduce_leaf_end(l->reduce, 0);
    mr_reduce_finish(l->reduce);
}

/* Adds the update to the base and begins it anew. */
static mr_status merge(lone_linear *l, int64_t restart)
{
    mr_optimizer_reset_count count;
    mr_adapter_call call = weights_of(l);
    mr_adapter_refresh(l->adapter, &call, l->generation);
    mr_adapter_merge_rows(l->adapter, &call, 0, 0, call.base[0]);
    MR_TRY(draw(l, restart));
    return mr_optimizer_reset_adapters(&l->optimizer, &count);
}

static mr_status train(lone_linear *l, mr_approximation *out)
{
    const int64_t steps = l->config->train.steps;
    const int64_t every = mr_adapter_config_of(l->config)->merge_every;
    const mr_schedule schedule = mr_schedule_of(l->config, steps);
    for (; out->steps < steps; out->steps++) {
        mr_adapter_call call = forward(l, true, out->steps);
        const double error = compare(l);
        backward(l, &call);
        mr_params_square_sums(l->params, l->gradient_sums);
        const double steep = sqrt(sum_of(l, l->gradient_sums));
        if (!isfinite(error) || !isfinite(steep)) break;
        mr_optimizer_update(&l->optimizer,
                            l->config->train.lr * mr_schedule_at(&schedule, out->steps), steep);
        l->generation++;
        if (l->method->merges && (out->steps + 1) % every == 0)
            MR_TRY(merge(l, (out->steps + 1) / every));
    }
    forward(l, false, steps);
    l->be->ops->download(l->be, l->host, l->y);
    out->error = sqrt(compare(l));
    return l->be->ops->synchronize(l->be);
}

static double effective_rank(const lone_linear *l)
{
    mr_measures measures;
    mr_measures_of(l->values, l->in < l->out ? l->in : l->out, 0, &measures);
    return measures.effective_rank;
}

/* The effective rank of what was learnt; host holds W'^T. */
static mr_status measure(lone_linear *l, mr_approximation *out)
{
    const int64_t in = l->in, rows = l->out;
    out->rank = NAN;
    if (!isfinite(out->error)) {
        out->error = NAN;
        return MR_OK;
    }
    for (int64_t row = 0; row < rows; row++)
        for (int64_t col = 0; col < in; col++)
            l->target[row * in + col] =
                (double)l->host[col * rows + row] - l->start[row * in + col];
    MR_TRY(mr_svd_values(l->target, rows, in, l->values));
    out->rank = effective_rank(l);
    return MR_OK;
}

/* The least error, before the first step. */
static mr_status bound(lone_linear *l, mr_approximation *out)
{
    out->optimum = 0;
    if (!l->adapter) return MR_OK;
    const int64_t steps = l->config->train.steps;
    const int64_t every = mr_adapter_config_of(l->config)->merge_every;
    mr_adapter_call call = forward(l, false, 0);
    mr_status status =
        mr_optimum(l->adapter, &call, l->method->merges ? (steps + every - 1) / every : 1,
                   l->values, l->target, &out->optimum);
    mr_adapter_set_restart(l->adapter, 0);
    l->generation = l->adapter->refreshed + 1;
    return status;
}

static mr_status create(lone_linear *l)
{
    static const char *const names[] = {name};
    l->method = mr_adapter_find(l->config->method.name);
    l->in = mr_target_config_of(l->config)->cols;
    l->out = mr_target_config_of(l->config)->rows;
    if (!l->method->trains_base) {
        MR_TRY(mr_adapter_create(l->be, compute, l->method, mr_adapter_config_of(l->config), 1,
                                 l->in, &l->out, names, &l->adapter));
        MR_TRY(mr_adapter_allocate(l->adapter));
    }
    MR_TRY(add_tensors(l));
    MR_TRY(add_memory(l));
    MR_TRY(draw(l, 0));
    return aim(l);
}

static void destroy(lone_linear *l)
{
    mr_tensor *const tensors[] = {&l->x,     &l->y,    &l->aim,        &l->factors,
                                  &l->saved, &l->work, &l->error_sums, &l->gradient_sums};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        mr_backend_free(l->be, tensors[i]);
    mr_free(l->host);
    mr_free(l->sums);
    mr_free(l->start);
    mr_free(l->target);
    mr_free(l->values);
    mr_optimizer_destroy(&l->optimizer);
    mr_reduce_destroy(&l->reduce);
    mr_adapter_destroy(&l->adapter);
    mr_params_destroy(&l->params);
}

mr_status mr_approximate(mr_backend *be, const mr_config *config, mr_approximation *out)
{
    lone_linear l = {.be = be, .config = config};
    *out = (mr_approximation){.choice = ""};
    mr_status status = create(&l);
    if (status == MR_OK) {
        out->parameters = mr_params_count(l.params, true);
        out->target_rank = effective_rank(&l);
        if (l.adapter) l.method->describe(l.adapter, 0, out->choice, sizeof out->choice);
        status = bound(&l, out);
    }
    if (status == MR_OK) status = train(&l, out);
    if (status == MR_OK) status = measure(&l, out);
    destroy(&l);
    return status;
}
