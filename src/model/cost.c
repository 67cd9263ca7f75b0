/* What a model takes: products of the passes, what travels, and memory. */

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
    double tokens = (double)(g->batch * g->tokens * g->micros) * (double)model->comm->size;
    return 2 * macs * tokens;
}

const char *mr_flow_name(mr_flow_kind kind)
{
    static const char *const names[MR_FLOWS] = {[MR_FLOW_GATHERS] = "gathers",
                                                [MR_FLOW_EXCHANGES] = "exchanges",
                                                [MR_FLOW_UPDATES] = "updates"};
    return names[kind];
}

/* Counts a flat of so many elements that travels so often between all ranks, of which one receives
 * all but its own part. */
static void count_flat(mr_flow *flow, int64_t elements, size_t size, double times)
{
    if (elements == 0) return;
    flow->messages += times;
    flow->bytes += times * (double)elements * (double)size;
}

/* The two lanes of mr_params_use, replayed to count what is gathered. */
typedef struct replay {
    const mr_params *params;
    int lane[2], in_use;
    mr_flow flow;
} replay;

static void replay_gather(replay *r, int lane, int unit)
{
    if (r->lane[lane] == unit) return;
    const mr_flat *flat = r->params->unit[unit].flat;
    const size_t size = mr_dtype_size(r->params->types.compute);
    r->lane[lane] = unit;
    count_flat(&r->flow, flat[MR_FLAT_FROZEN].count, size, 1);
    count_flat(&r->flow, flat[MR_FLAT_TRAINED].count, size, 1);
    r->flow.units++;
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
static mr_flow count_gathers(const mr_model *model)
{
    const int64_t waves = mr_geometry_waves(&model->geometry);
    replay r = {.params = model->params, .lane = {-1, -1}};
    replay_wave(model, &r);
    const mr_flow first = r.flow;
    if (waves == 1) return first;
    replay_wave(model, &r);
    const double more = (double)(waves - 2);
    mr_flow all = r.flow;
    all.units += (waves - 2) * (r.flow.units - first.units);
    all.messages += more * (r.flow.messages - first.messages);
    all.bytes += more * (r.flow.bytes - first.bytes);
    return all;
}

/* Of what travels between all ranks, what one receives, from so many of them near it. */
static void send_flow(mr_flow *flow, double ranks, double near)
{
    flow->messages_in_node = flow->messages * (near - 1);
    flow->bytes_in_node = flow->bytes * (near - 1) / ranks;
    flow->messages *= ranks - 1;
    flow->bytes *= (ranks - 1) / ranks;
}

/* Where a node shares memory, of its share of what comes from other nodes, and of what it reads of
 * its neighbours' sums; weights are used where they are. */
static void share_flow(const mr_nodes *nodes, mr_flow *flow, bool reads)
{
    const double near = nodes->ranks, count = nodes->count;
    flow->bytes_in_node = reads ? flow->bytes * (near - 1) / near : 0;
    flow->messages *= count - 1;
    flow->bytes = flow->bytes_in_node + flow->bytes * (count - 1) / count / near;
}

/* Where a node shares memory: that something is there, and that it has been read, of each unit that
 * travels, or of all at once. */
static double count_waits(const mr_model *model, const mr_model_cost *cost)
{
    const mr_params *params = model->params;
    const int64_t sums = cost->flow[MR_FLOW_EXCHANGES].units;
    const bool at_once = params->whole && params->nodes.count == 1 && sums > 0;
    if (!mr_params_shares(params)) return 0;
    double waits = 2 * (double)(at_once ? 1 : sums);
    waits += 2 * (double)cost->flow[MR_FLOW_GATHERS].units;
    return waits + (mr_params_updates_in_place(params) ? 2 : 0);
}

static void count_traffic(const mr_model *model, int64_t node_ranks, mr_model_cost *cost)
{
    const mr_params *params = model->params;
    const double ranks = params->comm->size, near = node_ranks < ranks ? (double)node_ranks : ranks;
    const bool in_waves = model->geometry.meet_in_waves;
    const int64_t meetings = in_waves ? mr_geometry_waves(&model->geometry) : 1;
    if (params->comm->size == 1) return;
    mr_flow *exchanges = &cost->flow[MR_FLOW_EXCHANGES], *updates = &cost->flow[MR_FLOW_UPDATES];
    if (mr_params_gathers(params)) cost->flow[MR_FLOW_GATHERS] = count_gathers(model);
    for (int u = 0; u < params->unit_count; u++) {
        const mr_flat *flat = params->unit[u].flat;
        bool trains = false, updated = false;
        for (int k = MR_FLAT_TRAINED; k < MR_FLATS; k++) {
            count_flat(exchanges, flat[k].count, sizeof(float), (double)meetings);
            trains = trains || flat[k].count > 0;
            if (params->shard == MR_SHARD_FULL && k == MR_FLAT_TRAINED) continue;
            /* Under none it is the gradients that all have in the end. */
            const size_t kept = mr_dtype_size(mr_flat_kept_type(params, k));
            count_flat(updates, flat[k].count,
                       params->shard == MR_SHARD_NONE ? sizeof(float) : kept, 1);
            updated = updated || flat[k].count > 0;
        }
        exchanges->units += trains ? meetings : 0;
        updates->units += updated;
    }
    for (int i = 0; i < MR_FLOWS; i++) {
        mr_flow *flow = &cost->flow[i];
        if (mr_params_shares(params))
            share_flow(&params->nodes, flow, i == MR_FLOW_EXCHANGES);
        else
            send_flow(flow, ranks, near);
        cost->traffic += flow->bytes;
    }
    cost->waits = count_waits(model, cost);
}

mr_model_cost mr_model_step_cost(const mr_model *model, int64_t node_ranks)
{
    mr_model_cost cost = {.flops = step_flops(model)};
    count_traffic(model, node_ranks, &cost);
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

/* Bytes of the rotary tables, which stand beside the arena. */
static size_t rope_bytes(const mr_model *model)
{
    return (size_t)(model->geometry.tokens * model->arch.head_dim) * sizeof(float);
}

/* Bytes of the tables of all adapters. */
static size_t table_bytes(const mr_model *model)
{
    size_t bytes = 0;
    for (int64_t l = 0; l < model->arch.num_hidden_layers; l++)
        for (int s = 0; s < MR_SITES; s++)
            if (model->layer[l].adapter[s]) bytes += model->layer[l].adapter[s]->table_bytes;
    return bytes;
}

/* Whether an update has square matrices, and which: with those of a linear before it, where these
 * see one input. */
static bool square_of(const mr_model *model, const mr_model_linear *linear, mr_square_shape *shape)
{
    mr_update update;
    int lengths;
    if (!mr_model_adapter_update(model, linear, &update, &lengths)) return false;
    const bool in_blocks = update.kind == MR_UPDATE_BLOCKS;
    if (!in_blocks && update.kind != MR_UPDATE_GROUPS) return false;
    const int64_t blocks = in_blocks ? update.blocks : 1;
    const bool joins = linear->place > 0 && shape->side == update.m.cols && shape->blocks == blocks;
    *shape = (mr_square_shape){.rows = model->geometry.batch * model->geometry.tokens,
                               .linears = joins ? shape->linears + 1 : 1,
                               .blocks = blocks,
                               .side = update.m.cols,
                               .turned = update.rotate};
    return true;
}

/* What the backend takes for itself while the model is trained. */
static size_t own_bytes(const mr_model *model)
{
    const mr_attention_shape attention = {.batch = model->geometry.batch,
                                          .tokens = model->geometry.tokens,
                                          .heads = model->arch.num_attention_heads,
                                          .kv_heads = model->arch.num_key_value_heads,
                                          .head_size = model->arch.head_dim};
    mr_backend *be = model->be;
    mr_square_shape square = {0};
    size_t most = be->ops->own_bytes(be, &attention, NULL, model->compute);
    for (mr_model_linear at = {0}; mr_model_next_linear(model, &at);) {
        if (!square_of(model, &at, &square)) continue;
        const size_t bytes = be->ops->own_bytes(be, &attention, &square, model->compute);
        most = bytes > most ? bytes : most;
    }
    return most;
}

void mr_model_bytes(const mr_model *model, size_t bytes[MR_MEM_PURPOSES])
{
    mr_params_bytes(model->params, bytes);
    mr_reduce_bytes(model->reduce, bytes);
    size_t activations = model->activation_bytes + rope_bytes(model) + table_bytes(model);
    bytes[MR_MEM_WEIGHTS] = mr_bytes_add(bytes[MR_MEM_WEIGHTS], 1, mr_eight_bytes(model));
    bytes[MR_MEM_ACTIVATIONS] = mr_bytes_add(bytes[MR_MEM_ACTIVATIONS], 1, activations);
    bytes[MR_MEM_OTHER] = mr_bytes_add(bytes[MR_MEM_OTHER], 1, own_bytes(model));
}
