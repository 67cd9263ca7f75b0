#include "model/linears.h"

#include "model/model_impl.h"

#include <string.h>

/* Finds the adapter of a linear. */
static void find_adapter(const mr_layer *layer, mr_linear_id id, mr_model_linear *linear)
{
    linear->place = -1;
    for (int s = 0; s < MR_SITES; s++)
        for (int i = 0; i < layer->adapted[s]; i++)
            if (layer->target[s][i] == id) {
                linear->site = s;
                linear->place = i;
            }
}

bool mr_model_next_linear(const mr_model *model, mr_model_linear *linear)
{
    if (linear->next == (int)model->arch.num_hidden_layers * MR_LINEARS) return false;
    const int at = linear->next++, id = at % MR_LINEARS;
    const mr_layer *layer = &model->layer[at / MR_LINEARS];
    linear->layer = at / MR_LINEARS;
    linear->projection = mr_linear_name(id);
    linear->weight = layer->linear[id];
    find_adapter(layer, (mr_linear_id)id, linear);
    return true;
}

bool mr_model_changes(const mr_model *model, const mr_model_linear *linear)
{
    return linear->place >= 0 || mr_params_at(model->params, linear->weight)->trained;
}

void mr_model_use_layer(mr_model *model, int64_t layer, int64_t next)
{
    mr_params_use(model->params, mr_model_layer_unit((int)layer),
                  next < 0 ? -1 : mr_model_layer_unit((int)next));
}

static const mr_adapter *adapter_of(const mr_model *model, const mr_model_linear *linear)
{
    return model->layer[linear->layer].adapter[linear->site];
}

/* Id of a tensor of a linear's adapter. */
static int part_id(const mr_model *model, const mr_model_linear *linear, int part)
{
    return model->layer[linear->layer].adapter_param[linear->site][linear->place][part];
}

bool mr_model_update_is_sharded(const mr_model *model, const mr_model_linear *linear)
{
    bool sharded = false;
    for (int p = 0; p < adapter_of(model, linear)->params; p++)
        sharded = sharded ||
                  !mr_params_replicated(model->params, part_id(model, linear, p), MR_SLAB_WEIGHTS);
    return sharded;
}

bool mr_model_is_structured(const mr_model *model, const mr_model_linear *linear)
{
    return linear->place >= 0 && model->restart == 0 &&
           !adapter_of(model, linear)->method->scales_rows;
}

mr_tensor mr_model_kept_part(const mr_model *model, int id)
{
    return mr_params_at(model->params, id)->trained ? mr_params_adapter(model->params, id)
                                                    : mr_params_weight(model->params, id);
}

bool mr_model_update(const mr_model *model, const mr_model_linear *linear, mr_update *out)
{
    if (!mr_model_is_structured(model, linear)) return false;
    const mr_adapter *adapter = adapter_of(model, linear);
    mr_adapter_call call = {.be = model->be};
    for (int p = 0; p < adapter->params; p++)
        call.weight[linear->place][p] = mr_model_kept_part(model, part_id(model, linear, p));
    return mr_adapter_update(adapter, &call, linear->place, out);
}

static bool is_part(const mr_update *update, int id)
{
    return update->kind == MR_UPDATE_PRODUCT ? update->a.offset == id || update->b.offset == id
                                             : update->m.offset == id;
}

bool mr_model_adapter_update(const mr_model *model, const mr_model_linear *linear, mr_update *out,
                             int *lengths)
{
    *lengths = -1;
    if (linear->place < 0) return false;
    const mr_adapter *adapter = adapter_of(model, linear);
    mr_adapter_call call = {.be = model->be};
    for (int p = 0; p < adapter->params; p++) {
        const int id = part_id(model, linear, p);
        const mr_param *param = mr_params_at(model->params, id);
        call.weight[linear->place][p] =
            mr_tensor_of(NULL, model->compute, id, param->rows, param->cols);
    }
    if (!mr_adapter_update(adapter, &call, linear->place, out)) return false;
    for (int p = 0; adapter->method->scales_rows && p < adapter->params; p++)
        if (!is_part(out, part_id(model, linear, p))) *lengths = part_id(model, linear, p);
    out->ratio = (mr_tensor){0};
    return true;
}

int64_t mr_model_published_type(const mr_model *model, const mr_model_linear *linear)
{
    const mr_adapter *adapter = linear->place >= 0 ? adapter_of(model, linear) : NULL;
    return adapter && adapter->method->published_type ? adapter->method->published_type(adapter)
                                                      : 0;
}

/* A linear's weight before merging, the one that is kept where this rank has all of it. */
static mr_tensor base_of(const mr_model *model, int id)
{
    const mr_param *param = mr_params_at(model->params, id);
    mr_slab kept = mr_params_kept(model->params, id, MR_SLAB_WEIGHTS);
    if (kept.count < param->rows * param->cols) return mr_params_weight(model->params, id);
    return mr_tensor_reshape(kept.values, param->rows, param->cols);
}

void mr_model_merged_rows(mr_model *model, const mr_model_linear *linear, int64_t first,
                          int64_t count, const mr_merge_scratch *scratch, float *out)
{
    mr_backend *be = model->be;
    mr_tensor base = mr_tensor_rows(base_of(model, linear->weight), first, count);
    if (linear->place < 0) {
        be->ops->download(be, out, base);
        return;
    }
    mr_adapter *adapter = model->layer[linear->layer].adapter[linear->site];
    mr_adapter_call call = mr_layer_adapter_weights(model, (int)linear->layer, linear->site);
    call.work = scratch->work;
    mr_adapter_refresh(adapter, &call, model->params->generation);
    mr_tensor rows =
        mr_tensor_reshape(mr_tensor_cols(scratch->rows, 0, count * base.cols), count, base.cols);
    be->ops->convert(be, rows, base);
    mr_adapter_merge_rows(adapter, &call, linear->place, first, rows);
    be->ops->download(be, out, rows);
}
