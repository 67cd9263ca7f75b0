/* What a model takes: products of the passes, what travels, and memory between the passes. */

#include "model/linears.h"
#include "model/model_impl.h"

/* Multiply-adds a token of the base linears of a layer: forward, backward to the input, and to the
 * weights that are trained. */
static double linear_macs(const mr_model *model, int layer)
{
    double macs = 0;
    for (int i = 0; i < MR_LINEARS; i++) {
        int id = model->layer[layer].linear[i];
        const mr_param *param = &model->params->param[id];
        int products = param->trained ? 3 : 2;
        macs += products * (double)param->rows * (double)param->cols;
    }
    return macs;
}

static double qkv_macs(const mr_model *model)
{
    double macs = 0;
    for (int i = MR_LINEAR_Q; i <= MR_LINEAR_V; i++) {
        const mr_param *param = &model->params->param[model->layer[0].linear[i]];
        macs += (double)param->rows * (double)param->cols;
    }
    return macs;
}

static double step_flops(const mr_model *model)
{
    const mr_hf_config *a = &model->arch;
    const mr_geometry *g = &model->geometry;
    double macs = 0; /* a token */
    for (int64_t l = 0; l < a->num_hidden_layers; l++) {
        macs += linear_macs(model, (int)l);
        for (int s = 0; s < MR_SITES; s++)
            if (model->layer[l].adapter[s]) macs += 3.0 * (double)model->layer[l].adapter[s]->macs;
        /* Two products forward, five backward, each over half of T x T. */
        macs += 7.0 * 0.5 * (double)(g->tokens * a->num_attention_heads * a->head_dim);
    }
    if (!model->below) macs -= qkv_macs(model);
    bool head = mr_params_at(model->params, model->head)->trained;
    macs += (double)a->vocab_size * (double)a->hidden_size * (head ? 3 : 2);
    double tokens =
        (double)(g->batch * g->tokens * g->in_wave * g->waves) * (double)model->comm->size;
    return 2 * macs * tokens;
}

/* The two lanes of mr_params_use, replayed to count what is gathered. */
typedef struct replay {
    const mr_params *params;
    int lane[2], in_use;
    double elements;
    int64_t gathers;
} replay;

static void replay_gather(replay *r, int lane, int unit)
{
    if (r->lane[lane] == unit) return;
    const mr_flat *flat = r->params->unit[unit].flat;
    r->lane[lane] = unit;
    r->elements += (double)(flat[MR_FLAT_FROZEN].count + flat[MR_FLAT_TRAINED].count);
    r->gathers++;
}

static void replay_use(replay *r, int unit, int next)
{
    if (r->lane[r->in_use] != unit) {
        r->in_use = 1 - r->in_use;
        replay_gather(r, r->in_use, unit);
    }
    if (next >= 0 && next != unit) replay_gather(r, 1 - r->in_use, next);
}

/* The order of model/pass.c: up, the head, down. */
static void replay_wave(const mr_model *model, replay *r)
{
    int layers = (int)model->arch.num_hidden_layers, head = model->head_unit;
    replay_use(r, 0, mr_model_layer_unit(0));
    for (int l = 0; l < layers; l++)
        replay_use(r, mr_model_layer_unit(l), l + 1 < layers ? mr_model_layer_unit(l + 1) : head);
    replay_use(r, head, mr_model_layer_unit(layers - 1));
    for (int l = layers - 1; l >= 0; l--)
        replay_use(r, mr_model_layer_unit(l), l > 0 ? mr_model_layer_unit(l - 1) : -1);
}

/* All waves but the first find in the lanes what the one before them left. */
static void replay_step(const mr_model *model, replay *r)
{
    replay_wave(model, r);
    replay first = *r;
    if (model->geometry.waves == 1) return;
    replay_wave(model, r);
    int64_t more = model->geometry.waves - 2;
    r->elements += (double)more * (r->elements - first.elements);
    r->gathers += more * (r->gathers - first.gathers);
}

static void count_traffic(const mr_model *model, mr_model_cost *cost)
{
    const mr_params *params = model->params;
    if (params->comm->size == 1) return;
    double elements = 0, bytes = 0;
    if (params->shard == MR_SHARD_FULL) {
        replay r = {.params = params, .lane = {-1, -1}};
        replay_step(model, &r);
        bytes = r.elements * (double)mr_dtype_size(params->types.compute);
        cost->gathers = r.gathers;
    }
    for (int u = 0; u < params->unit_count; u++) {
        const mr_flat *flat = params->unit[u].flat;
        double adapter = (double)flat[MR_FLAT_ADAPTER].count;
        double leaf = (double)flat[MR_FLAT_TRAINED].count + adapter;
        elements += leaf * (double)model->geometry.waves; /* the exchange of gradients */
        /* What is handed round after the update: weights kept whole, or gradients under none. */
        elements += params->shard == MR_SHARD_FULL ? adapter : leaf;
    }
    bytes += elements * sizeof(float);
    cost->traffic = bytes * (params->comm->size - 1) / params->comm->size;
}

mr_model_cost mr_model_step_cost(const mr_model *model)
{
    mr_model_cost cost = {.flops = step_flops(model)};
    count_traffic(model, &cost);
    return cost;
}

/* A matrix that is orthonormalised is drawn whole: in double precision, as it becomes, and what
 * LAPACK works in, some columns of it. */
static size_t draw_scratch(const mr_params *params)
{
    enum { WORK_COLUMNS = 64 };
    size_t most = 0;
    for (mr_params_walk at = {0}; mr_params_next(params, &at);) {
        if (at.param->init != MR_INIT_ORTHONORMAL) continue;
        size_t bytes =
            mr_bytes_add(0, at.param->rows * at.param->cols, sizeof(double) + sizeof(float));
        bytes = mr_bytes_add(bytes, at.param->rows * WORK_COLUMNS, sizeof(double));
        most = bytes > most ? bytes : most;
    }
    return most;
}

size_t mr_model_scratch(const mr_model *model)
{
    size_t merge = mr_merge_scratch_bytes(model), draw = draw_scratch(model->params);
    return merge > draw ? merge : draw;
}
