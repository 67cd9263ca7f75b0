/* A wave through the whole model: layer by layer, every micro-batch of the wave through a layer
 * before the next, so that a gathered unit serves them all. */

#include "model/model_impl.h"

/* Uploads the first rows of micro-batches. */
static void upload(mr_model *model, int64_t first, int64_t count, int64_t rows,
                   const mr_model_batch *batch)
{
    mr_backend *be = model->be;
    const mr_tensor to[] = {model->tokens, model->targets, model->positions, model->starts};
    const int32_t *const from[] = {batch->tokens, batch->targets, batch->positions, batch->starts};
    MR_INVARIANT(!batch->positions == !batch->starts && (!batch->starts || model->geometry.packed));
    model->segments = batch->starts;
    for (int i = 0; i < (model->segments ? 4 : 2); i++)
        be->ops->upload(be, mr_tensor_cols(mr_tensor_rows(to[i], first, count), 0, rows), from[i]);
}

/* Points the micro-batches on their way at a wave's part of the step. */
static void take_wave(mr_model *model, int64_t wave)
{
    for (int64_t w = 0; w < mr_geometry_in_wave(&model->geometry, wave); w++) {
        mr_micro *micro = &model->micro[w];
        int64_t at = wave * model->geometry.in_wave + w, rows = model->in_order.cols;
        micro->tokens = mr_tensor_rows(model->tokens, at, 1);
        micro->targets = mr_tensor_rows(model->targets, at, 1);
        micro->losses = mr_tensor_cols(model->readings, at * rows, rows);
        micro->positions = model->in_order;
        micro->starts = (mr_tensor){0};
        if (!model->segments) continue;
        micro->positions = mr_tensor_rows(model->positions, at, 1);
        micro->starts = mr_tensor_rows(model->starts, at, 1);
    }
}

/* Of `sequences` sequences of a micro-batch; first_micro is the index in the global batch of
 * micro-batch 0 of those on their way. */
static mr_pass pass_of(const mr_model *model, int64_t sequences, bool dropout, uint64_t step,
                       int64_t first_micro, int64_t w)
{
    const mr_geometry *g = &model->geometry;
    const mr_micro *micro = &model->micro[w];
    int64_t rows = sequences * g->tokens;
    mr_tensor starts = micro->starts;
    if (mr_tensor_exists(starts)) starts = mr_tensor_cols(starts, 0, rows);
    return (mr_pass){.rows = rows,
                     .shape = {.batch = sequences,
                               .tokens = g->tokens,
                               .heads = model->arch.num_attention_heads,
                               .kv_heads = model->arch.num_key_value_heads,
                               .head_size = model->arch.head_dim},
                     .positions = mr_tensor_cols(micro->positions, 0, rows),
                     .starts = starts,
                     .rope = &model->rope,
                     .dropout = dropout,
                     .step = step,
                     .first_row = (first_micro + w) * g->batch * g->tokens,
                     .adapter_work = model->scratch.adapter,
                     .cast = model->scratch.cast};
}

static void forward(mr_model *model, int64_t sequences, int64_t in_wave, bool dropout,
                    uint64_t step, int64_t first_micro)
{
    int layers = (int)model->arch.num_hidden_layers;
    int64_t rows = sequences * model->geometry.tokens;
    mr_params_use(model->params, 0, mr_model_layer_unit(0));
    mr_eight_refresh(model);
    for (int64_t w = 0; w < in_wave; w++)
        mr_embedding_forward(model->be, mr_tensor_rows(model->micro[w].layer[0].x, 0, rows),
                             mr_params_weight(model->params, model->embed),
                             mr_tensor_cols(model->micro[w].tokens, 0, rows));
    for (int l = 0; l < layers; l++) {
        mr_params_use(model->params, mr_model_layer_unit(l),
                      l + 1 < layers ? mr_model_layer_unit(l + 1) : model->head_unit);
        for (int64_t w = 0; w < in_wave; w++) {
            mr_micro *micro = &model->micro[w];
            mr_pass pass = pass_of(model, sequences, dropout, step, first_micro, w);
            mr_layer_acts acts = mr_layer_first_rows(&micro->layer[l], rows);
            acts.lse = mr_tensor_rows(acts.lse, 0, sequences * model->arch.num_attention_heads);
            mr_tensor stream = {0}; /* there is none before the first layer */
            if (l > 0) stream = mr_tensor_rows(micro->layer[l - 1].h, 0, rows);
            mr_layer_forward(model, l, &pass, &acts, stream,
                             mr_tensor_rows(micro->branch, 0, rows));
        }
    }
}

/* The final norm of a micro-batch's first rows into scratch.normed. */
static void final_norm(mr_model *model, const mr_micro *micro, int64_t rows)
{
    mr_scratch *s = &model->scratch;
    int last = (int)model->arch.num_hidden_layers - 1;
    mr_rmsnorm_forward(
        model->be, mr_tensor_rows(s->normed, 0, rows), mr_tensor_cols(s->rstd, 0, rows),
        mr_tensor_rows(s->final, 0, rows), mr_tensor_rows(micro->layer[last].h, 0, rows),
        mr_tensor_rows(micro->branch, 0, rows), mr_params_weight(model->params, model->final_norm),
        model->arch.rms_norm_eps);
}

/* Loss, and the gradient of the stream into micro->branch. */
static void head(mr_model *model, mr_micro *micro, float scale)
{
    mr_backend *be = model->be;
    mr_scratch *s = &model->scratch;
    final_norm(model, micro, s->normed.rows);
    mr_head_loss(be, &(mr_head_args){
                         .x = s->normed,
                         .w = mr_params_weight(model->params, model->head),
                         .targets = micro->targets,
                         .losses = micro->losses,
                         .logits = s->logits,
                         .d_x = s->d_normed,
                         .d_w = mr_reduce_grad(model->reduce, model->head),
                         .scale = scale,
                     });
    be->ops->fill(be, micro->branch, 0);
    mr_rmsnorm_backward(be, micro->branch, mr_reduce_grad(model->reduce, model->final_norm),
                        s->d_normed, s->final, s->rstd,
                        mr_params_weight(model->params, model->final_norm));
}

static void embedding_backward(mr_model *model, mr_micro *micro)
{
    mr_tensor grad = mr_reduce_grad(model->reduce, model->embed);
    if (!mr_tensor_exists(grad)) return;
    /* Tied: the head has written its part of the same gradient already. */
    if (model->embed != model->head) model->be->ops->fill(model->be, grad, 0);
    mr_embedding_backward(model->be, grad, micro->branch, micro->tokens);
}

int64_t mr_model_first_micro(const mr_model *model, int64_t wave)
{
    const mr_geometry *g = &model->geometry;
    if (g->meet_in_waves) return (wave * model->comm->size + model->comm->rank) * g->in_wave;
    return model->comm->rank * g->micros + wave * g->in_wave;
}

void mr_model_train_wave(mr_model *model, int64_t wave, double scale, uint64_t step)
{
    mr_params *params = model->params;
    int64_t in_wave = mr_geometry_in_wave(&model->geometry, wave);
    int64_t first_micro = mr_model_first_micro(model, wave);
    int layers = (int)model->arch.num_hidden_layers;
    bool tied = model->head_unit == 0;
    take_wave(model, wave);
    forward(model, model->geometry.batch, in_wave, true, step, first_micro);

    mr_params_use(params, model->head_unit, mr_model_layer_unit(layers - 1));
    for (int64_t w = 0; w < in_wave; w++) {
        mr_reduce_leaf_begin(model->reduce, model->head_unit);
        head(model, &model->micro[w], (float)scale);
        if (!tied) mr_reduce_leaf_end(model->reduce, model->head_unit);
    }
    for (int l = layers - 1; l >= 0; l--) {
        int unit = mr_model_layer_unit(l);
        mr_params_use(params, unit, l > 0 ? mr_model_layer_unit(l - 1) : -1);
        for (int64_t w = 0; w < in_wave; w++) {
            mr_micro *micro = &model->micro[w];
            mr_pass pass = pass_of(model, model->geometry.batch, true, step, first_micro, w);
            if (model->recompute == MR_RECOMPUTE_LAYER &&
                l < layers - 1) { /* the last one's still stand */
                /* acts->x holds the sum already: the layer starts from it as the first one does. */
                pass.replay = true;
                mr_layer_forward(model, l, &pass, &micro->layer[l], (mr_tensor){0},
                                 model->scratch.final);
            }
            mr_reduce_leaf_begin(model->reduce, unit);
            mr_layer_backward(model, l, &pass, &micro->layer[l], micro->branch);
            mr_reduce_leaf_end(model->reduce, unit);
        }
    }
    for (int64_t w = 0; w < in_wave; w++) {
        if (!tied) mr_reduce_leaf_begin(model->reduce, 0);
        embedding_backward(model, &model->micro[w]);
        mr_reduce_leaf_end(model->reduce, 0);
    }
}

mr_status mr_model_finish_step(mr_model *model, mr_exact *loss, mr_exact *squares)
{
    mr_backend *be = model->be;
    const mr_geometry *g = &model->geometry;
    int64_t losses = g->micros * g->batch * g->tokens, all = model->readings.cols;
    mr_tensor of_losses = mr_tensor_cols(model->readings, 0, losses);
    mr_tensor of_squares = mr_tensor_cols(model->readings, losses, all - losses);
    mr_exact told[2];
    mr_reduce_finish(model->reduce);
    mr_phase_begin(be, MR_PHASE_OPTIMIZER);
    mr_params_square_sums(model->params, of_squares);
    be->ops->exact_sum(be, mr_tensor_rows(model->told, 0, 1), of_losses);
    be->ops->exact_sum(be, mr_tensor_rows(model->told, 1, 1), of_squares);
    be->ops->download(be, told, model->told);
    mr_status status = be->ops->synchronize(be);
    mr_exact_merge(loss, &told[0]);
    mr_exact_merge(squares, &told[1]);
    mr_phase_end(be, MR_PHASE_OPTIMIZER);
    return status;
}

void mr_model_evaluate(mr_model *model, const mr_model_batch *batch, int64_t sequences,
                       double *losses, float *logits)
{
    mr_backend *be = model->be;
    int64_t rows = sequences * model->geometry.tokens;
    MR_INVARIANT(sequences <= model->geometry.batch);
    upload(model, 0, 1, rows, batch);
    take_wave(model, 0);
    forward(model, sequences, 1, false, 0, 0);
    mr_params_use(model->params, model->head_unit, -1);
    final_norm(model, &model->micro[0], rows);
    mr_tensor w = mr_params_weight(model->params, model->head);
    mr_tensor normed = mr_tensor_rows(model->scratch.normed, 0, rows);
    mr_tensor own = mr_tensor_cols(model->micro[0].losses, 0, rows);
    be->each_row = true;
    mr_head_loss(be, &(mr_head_args){.x = normed,
                                     .w = w,
                                     .targets = mr_tensor_cols(model->micro[0].targets, 0, rows),
                                     .losses = own,
                                     .logits = model->scratch.logits});
    be->ops->download(be, losses, own);
    int64_t room = model->scratch.logits.rows;
    for (int64_t first = 0; logits && first < rows; first += room) {
        int64_t count = rows - first < room ? rows - first : room;
        mr_tensor part = mr_tensor_rows(model->scratch.logits, 0, count);
        mr_linear_forward(be, part, mr_tensor_rows(normed, first, count), w, 0);
        be->ops->download(be, logits + first * w.rows, part);
    }
    be->each_row = false;
}

void mr_model_set_batches(mr_model *model, int64_t first, int64_t count,
                          const mr_model_batch *batch)
{
    upload(model, first, count, model->in_order.cols, batch);
}
