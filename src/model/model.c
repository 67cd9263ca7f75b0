/* Layout and memory of a model; the contract stands in model/model.h. */

#include "model/model_impl.h"

#include <limits.h>

int64_t mr_model_adapter_work(const mr_model *model)
{
    int64_t most = 0;
    for (int64_t l = 0; l < model->arch.num_hidden_layers; l++)
        for (int s = 0; s < MR_SITES; s++) {
            const mr_adapter *adapter = model->layer[l].adapter[s];
            if (adapter && mr_adapter_work_cols(adapter) > most)
                most = mr_adapter_work_cols(adapter);
        }
    return most;
}

int64_t mr_model_product_rows(const mr_model *model)
{
    int64_t most = 1;
    for (int64_t l = 0; l < model->arch.num_hidden_layers; l++)
        for (int s = 0; s < MR_SITES; s++) {
            const mr_adapter *adapter = model->layer[l].adapter[s];
            if (adapter && adapter->product_rows > most) most = adapter->product_rows;
        }
    return most;
}

int64_t mr_model_logits_rows(const mr_model *model)
{
    enum { EVEN = 128 }; /* rows that products like to be whole multiples of */
    const size_t size = mr_dtype_size(model->compute);
    int64_t rows = (int64_t)(model->be->chunk_bytes / size) / model->arch.vocab_size;
    if (rows > EVEN) rows -= rows % EVEN;
    return rows < 1 ? 1 : rows;
}

/* Products have less than 2^31 rows: BLAS counts them so. */
static mr_status check_rows(const mr_model *model)
{
    int64_t n = model->geometry.batch * model->geometry.tokens;
    int64_t rows = mr_model_product_rows(model);
    MR_CHECK(n <= INT_MAX / rows, MR_ERR_ARG,
             "train.micro_batch: %lld samples of %lld tokens are %lld rows of a product of method "
             "%s, %lld a token, and more than %d; take fewer",
             (long long)model->geometry.batch, (long long)model->geometry.tokens,
             (long long)(n * rows), model->method->name, (long long)rows, INT_MAX);
    return MR_OK;
}

/* Places everything of a pass in an arena; called once to measure and once to place. */
static void place_activations(mr_model *model, mr_arena *arena)
{
    const mr_hf_config *a = &model->arch;
    const mr_geometry *g = &model->geometry;
    int64_t n = g->batch * g->tokens, layers = a->num_hidden_layers;
    int64_t q_cols = a->num_attention_heads * a->head_dim;
    int64_t kv_cols = a->num_key_value_heads * a->head_dim;
    const bool whole = model->recompute == MR_RECOMPUTE_LAYER;
    mr_layer_acts shared = {0};
    if (model->recompute == MR_RECOMPUTE_ATTENTION) mr_layer_place_remade(model, arena, n, &shared);
    for (int64_t w = 0; w < g->in_wave; w++) {
        mr_micro *micro = &model->micro[w];
        for (int64_t l = 0; l < layers; l++) {
            if (l == 0 || !whole)
                mr_layer_place(model, whole ? NULL : &model->layer[l], arena, n, g->batch,
                               g->tokens, &shared, &micro->layer[l]);
            else
                micro->layer[l] = micro->layer[0];
        }
        for (int64_t l = 0; l < layers; l++)
            micro->layer[l].x = mr_arena_take(arena, model->compute, n, a->hidden_size);
        micro->branch = mr_arena_take(arena, model->compute, n, a->hidden_size);
    }
    mr_scratch *s = &model->scratch;
    int64_t chunk = mr_model_logits_rows(model);
    s->final = mr_arena_take(arena, model->compute, n, a->hidden_size);
    s->normed = mr_arena_take(arena, model->compute, n, a->hidden_size);
    s->rstd = mr_arena_take(arena, MR_F32, 1, n);
    s->logits = mr_arena_take_rows(arena, model->compute, chunk < n ? chunk : n, a->vocab_size);
    s->d_normed = mr_arena_take(arena, model->compute, n, a->hidden_size);
    s->d_attended = mr_arena_take(arena, model->compute, n, q_cols);
    s->d_q = mr_arena_take(arena, model->compute, n, q_cols);
    s->d_k = mr_arena_take(arena, model->compute, n, kv_cols);
    s->d_v = mr_arena_take(arena, model->compute, n, kv_cols);
    s->d_product = mr_arena_take_rows(arena, model->compute, n, a->intermediate_size);
    s->adapter = mr_arena_take(arena, model->compute, n, mr_model_adapter_work(model));
    s->cast = mr_eight_place_cast(model, arena, n);
    int64_t here = g->micros;
    model->tokens = mr_arena_take(arena, MR_I32, here, n);
    model->targets = mr_arena_take(arena, MR_I32, here, n);
    if (g->packed) {
        model->positions = mr_arena_take(arena, MR_I32, here, n);
        model->starts = mr_arena_take(arena, MR_I32, here, n);
    }
    model->in_order = mr_arena_take(arena, MR_I32, 1, n);
    model->readings =
        mr_arena_take(arena, MR_F64, 1, here * n + mr_params_square_count(model->params));
    model->told = mr_arena_take(arena, MR_I32, 2, MR_EXACT_WORDS);
}

mr_status mr_model_create(const mr_model_options *options, mr_model **out)
{
    *out = NULL;
    mr_model *model = mr_alloc(MR_MEM_OTHER, sizeof *model);
    if (!model) return MR_ERR_MEMORY;
    *model = (mr_model){.comm = options->comm,
                        .be = options->be,
                        .arch = *options->arch,
                        .method = options->method,
                        .compute = options->compute,
                        .recompute = options->recompute,
                        .in_eight = options->fp8,
                        .frozen = options->frozen,
                        .seed = options->seed,
                        .geometry = options->geometry};
    size_t layers = (size_t)model->arch.num_hidden_layers;
    size_t in_wave = (size_t)model->geometry.in_wave;
    mr_status status = MR_ERR_MEMORY;
    model->layer = mr_alloc_array(MR_MEM_OTHER, layers, sizeof *model->layer);
    model->micro = mr_alloc_array(MR_MEM_OTHER, in_wave, sizeof *model->micro);
    if (!model->layer || !model->micro) goto cleanup;
    for (size_t w = 0; w < in_wave; w++) {
        model->micro[w].layer = mr_alloc_array(MR_MEM_OTHER, layers, sizeof(mr_layer_acts));
        if (!model->micro[w].layer) goto cleanup;
    }
    status = mr_model_lay_out(model, options);
    if (status == MR_OK) status = check_rows(model);
    if (status != MR_OK) goto cleanup;
    mr_arena measure = {0};
    place_activations(model, &measure);
    model->activation_bytes = measure.used;
    *out = model;
    return MR_OK;
cleanup:
    mr_model_destroy(&model);
    return status;
}

/* 0..T-1 for each sequence of a micro-batch. */
static mr_status set_positions(mr_model *model)
{
    mr_backend *be = model->be;
    int64_t count = model->geometry.tokens;
    int32_t *positions = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *positions);
    if (!positions) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++)
        positions[i] = (int32_t)i;
    for (int64_t b = 0; b < model->geometry.batch; b++)
        be->ops->upload(be, mr_tensor_cols(model->in_order, b * count, count), positions);
    mr_free(positions);
    return MR_OK;
}

mr_status mr_model_allocate(mr_model *model)
{
    mr_backend *be = model->be;
    MR_TRY(mr_params_open(model->params));
    MR_TRY(mr_reduce_open(model->reduce));
    MR_TRY(mr_params_allocate(model->params));
    MR_TRY(mr_reduce_allocate(model->reduce));
    MR_TRY(mr_eight_allocate(model));
    for (int64_t l = 0; l < model->arch.num_hidden_layers; l++)
        for (int s = 0; s < MR_SITES; s++)
            if (model->layer[l].adapter[s]) MR_TRY(mr_adapter_allocate(model->layer[l].adapter[s]));
    MR_TRY(be->ops->buffer_create(be, MR_MEM_ACTIVATIONS, model->activation_bytes,
                                  &model->activations));
    mr_arena arena = {.buffer = model->activations};
    place_activations(model, &arena);
    MR_TRY(mr_model_rope(model, model->geometry.tokens, MR_MEM_ACTIVATIONS, &model->rope));
    return set_positions(model);
}

const mr_comm *mr_model_comm(const mr_model *model)
{
    return model->comm;
}

bool mr_model_gathers(const mr_model *model)
{
    return mr_params_gathers(model->params);
}

const mr_hf_config *mr_model_arch(const mr_model *model)
{
    return &model->arch;
}

const mr_adapter_method *mr_model_method(const mr_model *model)
{
    return model->method;
}

const mr_geometry *mr_model_geometry(const mr_model *model)
{
    return &model->geometry;
}

mr_params *mr_model_params(const mr_model *model)
{
    return model->params;
}

bool mr_model_changes_frozen(const mr_model *model)
{
    return model->method->merges;
}

bool mr_model_next_choice(const mr_model *model, mr_model_choice *choice)
{
    for (; choice->site < MR_SITES; choice->site++, choice->place = 0)
        for (int64_t l = 0; l < model->arch.num_hidden_layers; l++) {
            const mr_layer *layer = &model->layer[l];
            const mr_adapter *adapter = layer->adapter[choice->site];
            if (!adapter) continue;
            if (choice->place == adapter->linears) break;
            int place = choice->place++;
            adapter->method->describe(adapter, place, choice->text, sizeof choice->text);
            choice->weight =
                model->params->param[layer->linear[layer->target[choice->site][place]]].name;
            return true;
        }
    return false;
}

void mr_model_destroy(mr_model **out)
{
    mr_model *model = *out;
    if (!model) return;
    for (int64_t l = 0; model->layer && l < model->arch.num_hidden_layers; l++)
        for (int s = 0; s < MR_SITES; s++)
            mr_adapter_destroy(&model->layer[l].adapter[s]);
    for (int64_t w = 0; model->micro && w < model->geometry.in_wave; w++)
        mr_free(model->micro[w].layer);
    mr_reduce_destroy(&model->reduce);
    mr_params_destroy(&model->params);
    mr_rope_destroy(model->be, &model->rope);
    model->be->ops->buffer_destroy(model->be, &model->eight);
    model->be->ops->buffer_destroy(model->be, &model->activations);
    mr_free(model->layer);
    mr_free(model->micro);
    mr_free(model);
    *out = NULL;
}
