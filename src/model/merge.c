/* Adapters and base weights: what starts from them, what is merged into them, and starting anew. */

#include "model/linears.h"
#include "model/model_impl.h"

/* Chunks start at multiples of it and are computed whole, whatever part of them a rank keeps: how a
 * product is cut shows in its bits. */
enum { CHUNK = MR_MERGE_ROWS };

/* As mr_layer_adapter_weights, with parts as they are kept. */
static mr_adapter_call kept_weights(const mr_model *model, int index, int site)
{
    const mr_layer *layer = &model->layer[index];
    mr_adapter_call call = mr_layer_adapter_weights(model, index, site);
    for (int i = 0; i < layer->adapted[site]; i++)
        for (int p = 0; p < layer->adapter[site]->params; p++)
            call.weight[i][p] = mr_model_kept_part(model, layer->adapter_param[site][i][p]);
    return call;
}

mr_status mr_model_prepare_adapters(mr_model *model)
{
    int layers = (int)model->arch.num_hidden_layers;
    const mr_nodes *nodes = &model->params->nodes;
    mr_status status = MR_OK;
    if (!model->method->start) return MR_OK;
    for (int l = 0; l < layers; l++) { /* to the end in any case: other ranks count on this one */
        mr_model_use_layer(model, l, l + 1 < layers ? l + 1 : -1);
        /* One rank of a node writes a layer's. */
        if (l % nodes->ranks != nodes->place) continue;
        for (int s = 0; s < MR_SITES; s++) {
            if (!model->layer[l].adapter[s] || status != MR_OK) continue;
            mr_adapter_call call = kept_weights(model, l, s);
            status = mr_adapter_start(model->layer[l].adapter[s], &call);
            if (status != MR_OK) status = mr_fail_in(status, "model.layers.%d", l);
        }
    }
    mr_params_invalidate(model->params);
    return mr_comm_agree(model->comm, status);
}

/* Merges the rows of one linear that this rank keeps part of. */
static void merge_linear(mr_model *model, const mr_adapter *adapter, const mr_adapter_call *call,
                         int linear, int id, const mr_merge_scratch *scratch)
{
    mr_backend *be = model->be;
    const mr_param *param = &model->params->param[id];
    mr_slab kept = mr_params_kept(model->params, id, MR_SLAB_WEIGHTS);
    for (int64_t first = 0; first < param->rows; first += CHUNK) {
        int64_t count = param->rows - first < CHUNK ? param->rows - first : CHUNK;
        int64_t begin = first * param->cols, end = begin + count * param->cols;
        int64_t low = begin > kept.first ? begin : kept.first;
        int64_t high = end < kept.first + kept.count ? end : kept.first + kept.count;
        if (low >= high) continue;
        mr_tensor rows = mr_tensor_cols(scratch->rows, 0, end - begin);
        mr_tensor here = mr_tensor_cols(rows, low - begin, high - low);
        mr_tensor there = mr_tensor_cols(kept.values, low - kept.first, high - low);
        if (high - low < end - begin) be->ops->fill(be, rows, 0);
        be->ops->copy(be, here, there);
        mr_adapter_merge_rows(adapter, call, linear, first,
                              mr_tensor_reshape(rows, count, param->cols));
        be->ops->copy(be, there, here);
    }
}

static void merge_layer(mr_model *model, int index, const mr_merge_scratch *scratch)
{
    const mr_layer *layer = &model->layer[index];
    mr_adapter_call calls[MR_SITES];
    for (int s = 0; s < MR_SITES; s++) {
        if (!layer->adapter[s]) continue;
        calls[s] = mr_layer_adapter_weights(model, index, s);
        calls[s].work = scratch->work;
        mr_adapter_refresh(layer->adapter[s], &calls[s], model->params->generation);
    }
    mr_params_write_begin(model->params);
    for (int s = 0; s < MR_SITES; s++) {
        mr_adapter *adapter = layer->adapter[s];
        if (!adapter) continue;
        for (int i = 0; i < layer->adapted[s]; i++)
            merge_linear(model, adapter, &calls[s], i, layer->linear[layer->target[s][i]], scratch);
    }
}

static int64_t most_inputs(const mr_model *model)
{
    int64_t most = 0;
    for (int64_t l = 0; l < model->arch.num_hidden_layers; l++)
        for (int s = 0; s < MR_SITES; s++) {
            const mr_adapter *adapter = model->layer[l].adapter[s];
            if (adapter && adapter->in > most) most = adapter->in;
        }
    return most;
}

size_t mr_merge_scratch_bytes(const mr_model *model)
{
    int64_t inputs = most_inputs(model), cols = inputs + mr_model_adapter_work(model);
    return inputs > 0 ? mr_bytes_add(0, CHUNK * cols, sizeof(float)) : 0;
}

mr_status mr_merge_scratch_create(const mr_model *model, mr_merge_scratch *scratch)
{
    MR_TRY(mr_backend_tensor(model->be, MR_MEM_OTHER, MR_F32, 1, CHUNK * most_inputs(model),
                             &scratch->rows));
    return mr_backend_tensor(model->be, MR_MEM_OTHER, MR_F32, CHUNK, mr_model_adapter_work(model),
                             &scratch->work);
}

void mr_merge_scratch_free(const mr_model *model, mr_merge_scratch *scratch)
{
    mr_backend_free(model->be, &scratch->rows);
    mr_backend_free(model->be, &scratch->work);
}

mr_status mr_model_merge(mr_model *model)
{
    mr_merge_scratch scratch = {0};
    int layers = (int)model->arch.num_hidden_layers;
    mr_status status = mr_comm_agree(model->comm, mr_merge_scratch_create(model, &scratch));
    for (int l = 0; l < layers && status == MR_OK; l++) {
        mr_model_use_layer(model, l, l + 1 < layers ? l + 1 : -1);
        merge_layer(model, l, &scratch);
    }
    mr_params_invalidate(model->params);
    mr_merge_scratch_free(model, &scratch);
    return status;
}

void mr_model_set_restart(mr_model *model, int64_t restart)
{
    model->restart = restart;
    for (int64_t l = 0; l < model->arch.num_hidden_layers; l++)
        for (int s = 0; s < MR_SITES; s++)
            if (model->layer[l].adapter[s])
                mr_adapter_set_restart(model->layer[l].adapter[s], restart);
}

mr_status mr_model_restart(mr_model *model, int64_t restart)
{
    mr_model_set_restart(model, restart);
    mr_params_write_begin(model->params);
    MR_AGREE(model->comm, mr_model_draw(model, model->seed, false, true));
    return mr_model_prepare_adapters(model);
}
