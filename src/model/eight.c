/* Frozen weights of layers in 8 bits (backend/eight.h), for products that take such: made of the
 * weights once these are there, and again where they have changed, which stay what is merged,
 * exported and measured. */

#include "model/model_impl.h"

enum { MULTIPLE = 16 }; /* of rows and columns: what products in 8 bits are made for */

/* Whether products with a linear take 8 bits. */
static bool is_eight(const mr_model *model, const mr_layer *layer, int linear)
{
    return model->in_eight && !mr_params_at(model->params, layer->linear[linear])->trained;
}

static mr_status check_shapes(const mr_model *model)
{
    int count = 0;
    for (int64_t l = 0; l < model->arch.num_hidden_layers; l++)
        for (int i = 0; i < MR_LINEARS; i++) {
            const mr_layer *layer = &model->layer[l];
            const mr_param *param = mr_params_at(model->params, layer->linear[i]);
            if (!is_eight(model, layer, i)) continue;
            count++;
            MR_CHECK(param->rows % MULTIPLE == 0 && param->cols % MULTIPLE == 0, MR_ERR_CONFIG,
                     "model.matmul: fp8 takes weights whose rows and columns are multiples of %d, "
                     "and %s is [%lld, %lld]",
                     MULTIPLE, param->name, (long long)param->rows, (long long)param->cols);
        }
    MR_CHECK(count > 0, MR_ERR_CONFIG,
             "model.matmul: fp8 is for frozen weights of layers, and method %s trains all of them",
             model->method->name);
    return MR_OK;
}

mr_status mr_eight_check(const mr_model *model)
{
    mr_backend *be = model->be;
    if (!model->in_eight) return MR_OK;
    MR_CHECK(be->ops->computes(be, MR_E4M3), MR_ERR_CONFIG,
             "model.matmul: fp8 needs a device of compute capability 9.0 and cuBLASLt 12.9 or "
             "later, and backend '%s' here is none",
             be->ops->name);
    MR_CHECK(!mr_params_gathers(model->params), MR_ERR_CONFIG,
             "model.matmul: fp8 needs whole weights on each of the %d %s, and parallel.shard: full "
             "splits them; take optimizer or none",
             model->params->nodes.count, model->params->nodes.ranks > 1 ? "nodes" : "ranks");
    return check_shapes(model);
}

static mr_scaled take(mr_arena *arena, int64_t rows, int64_t cols)
{
    return (mr_scaled){.values = mr_arena_take(arena, MR_E4M3, rows, cols),
                       .scale = mr_arena_take(arena, MR_F32, 1, rows)};
}

/* Places all weights, or measures what they take. */
static void place(const mr_model *model, mr_arena *arena)
{
    for (int64_t l = 0; l < model->arch.num_hidden_layers; l++)
        for (int i = 0; i < MR_LINEARS; i++) {
            mr_layer *layer = &model->layer[l];
            mr_eight measured, *to = arena->buffer ? &layer->eight[i] : &measured;
            const mr_param *param = mr_params_at(model->params, layer->linear[i]);
            if (!is_eight(model, layer, i)) continue;
            to->forward = take(arena, param->rows, param->cols);
            if (!model->frozen) to->backward = take(arena, param->cols, param->rows);
        }
}

size_t mr_eight_bytes(const mr_model *model)
{
    mr_arena measure = {0};
    place(model, &measure);
    return measure.used;
}

mr_status mr_eight_allocate(mr_model *model)
{
    mr_backend *be = model->be;
    if (!model->in_eight) return MR_OK;
    MR_TRY(be->ops->buffer_create(be, MR_MEM_WEIGHTS, mr_eight_bytes(model), &model->eight));
    place(model, &(mr_arena){.buffer = model->eight});
    return MR_OK;
}

void mr_eight_refresh(mr_model *model)
{
    mr_backend *be = model->be;
    if (!model->in_eight || model->eight_from == model->params->rewritten) return;
    mr_phase_begin(be, MR_PHASE_LINEAR);
    for (int64_t l = 0; l < model->arch.num_hidden_layers; l++)
        for (int i = 0; i < MR_LINEARS; i++) {
            const mr_layer *layer = &model->layer[l];
            if (!is_eight(model, layer, i)) continue;
            const mr_tensor w = mr_params_weight(model->params, layer->linear[i]);
            be->ops->quantize(be, layer->eight[i].forward, w, false);
            if (!model->frozen) be->ops->quantize(be, layer->eight[i].backward, w, true);
        }
    mr_phase_end(be, MR_PHASE_LINEAR);
    model->eight_from = model->params->rewritten;
}

/* The most columns that a factor has, of a product with any of these weights. */
static int64_t most_columns(const mr_model *model)
{
    int64_t most = 0;
    for (int64_t l = 0; l < model->arch.num_hidden_layers; l++)
        for (int i = 0; i < MR_LINEARS; i++) {
            const mr_param *param = mr_params_at(model->params, model->layer[l].linear[i]);
            const int64_t longer = param->rows > param->cols ? param->rows : param->cols;
            if (is_eight(model, &model->layer[l], i) && longer > most) most = longer;
        }
    return most;
}

mr_scaled mr_eight_place_cast(const mr_model *model, mr_arena *arena, int64_t rows)
{
    if (!model->in_eight) return (mr_scaled){.scale = {0}};
    return (mr_scaled){.values = mr_arena_take(arena, MR_E4M3, 1, rows * most_columns(model)),
                       .scale = mr_arena_take(arena, MR_F32, 1, rows)};
}
