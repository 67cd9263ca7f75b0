/* One decoder layer, forward and backward: attention and gated MLP with pre-norms and residuals. */

#include "model/model_impl.h"

const struct mr_site_table mr_sites[MR_SITES] = {
    [MR_SITE_QKV] = {3, {MR_LINEAR_Q, MR_LINEAR_K, MR_LINEAR_V}},
    [MR_SITE_O] = {1, {MR_LINEAR_O}},
    [MR_SITE_GATE_UP] = {2, {MR_LINEAR_GATE, MR_LINEAR_UP}},
    [MR_SITE_DOWN] = {1, {MR_LINEAR_DOWN}},
};

static const mr_tensor none; /* where a site goes without one */

/* Columns the adapters of a site keep: those of one layer, or the most of all. */
static int64_t saved_cols(const mr_model *model, const mr_layer *layer, int site)
{
    if (layer) return layer->adapter[site] ? layer->adapter[site]->saved_cols : 0;
    int64_t most = 0;
    for (int64_t l = 0; l < model->arch.num_hidden_layers; l++) {
        int64_t cols = saved_cols(model, &model->layer[l], site);
        most = cols > most ? cols : most;
    }
    return most;
}

/* Both norms' outputs are in one place: the first is used up before the second is made. */
void mr_layer_place_remade(const mr_model *model, mr_arena *arena, int64_t rows,
                           mr_layer_acts *acts)
{
    const mr_hf_config *a = &model->arch;
    acts->normed1 = acts->normed2 = mr_arena_take(arena, model->compute, rows, a->hidden_size);
    acts->product = mr_arena_take_rows(arena, model->compute, rows, a->intermediate_size);
}

void mr_layer_place(const mr_model *model, const mr_layer *layer, mr_arena *arena, int64_t rows,
                    int64_t batch, int64_t tokens, const mr_layer_acts *shared, mr_layer_acts *acts)
{
    const mr_hf_config *a = &model->arch;
    const bool remade = shared && shared->product.rows > 0;
    int64_t q_cols = a->num_attention_heads * a->head_dim;
    int64_t kv_cols = a->num_key_value_heads * a->head_dim;
    *acts = remade ? *shared : (mr_layer_acts){.x = acts->x};
    if (!remade) acts->normed1 = mr_arena_take(arena, model->compute, rows, a->hidden_size);
    acts->rstd1 = mr_arena_take(arena, MR_F32, 1, rows);
    acts->q = mr_arena_take(arena, model->compute, rows, q_cols);
    acts->k = mr_arena_take(arena, model->compute, rows, kv_cols);
    acts->v = mr_arena_take(arena, model->compute, rows, kv_cols);
    acts->lse = mr_arena_take(arena, MR_F32, batch * a->num_attention_heads, tokens);
    acts->attended = mr_arena_take(arena, model->compute, rows, q_cols);
    acts->h = mr_arena_take(arena, model->compute, rows, a->hidden_size);
    if (!remade) acts->normed2 = mr_arena_take(arena, model->compute, rows, a->hidden_size);
    acts->rstd2 = mr_arena_take(arena, MR_F32, 1, rows);
    acts->gate = mr_arena_take_rows(arena, model->compute, rows, a->intermediate_size);
    acts->up = mr_arena_take_rows(arena, model->compute, rows, a->intermediate_size);
    if (!remade)
        acts->product = mr_arena_take_rows(arena, model->compute, rows, a->intermediate_size);
    for (int s = 0; s < MR_SITES; s++)
        acts->saved[s] = mr_arena_take(arena, model->compute, rows, saved_cols(model, layer, s));
}

mr_layer_acts mr_layer_first_rows(const mr_layer_acts *acts, int64_t rows)
{
    mr_layer_acts cut = *acts;
    mr_tensor *matrices[] = {&cut.x, &cut.normed1, &cut.q,    &cut.k,  &cut.v,      &cut.attended,
                             &cut.h, &cut.normed2, &cut.gate, &cut.up, &cut.product};
    for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++)
        *matrices[i] = mr_tensor_rows(*matrices[i], 0, rows);
    for (int s = 0; s < MR_SITES; s++)
        cut.saved[s] = mr_tensor_rows(cut.saved[s], 0, rows);
    cut.rstd1 = mr_tensor_cols(cut.rstd1, 0, rows);
    cut.rstd2 = mr_tensor_cols(cut.rstd2, 0, rows);
    return cut;
}

mr_adapter_call mr_layer_adapter_weights(const mr_model *model, int index, int site)
{
    const mr_layer *layer = &model->layer[index];
    mr_adapter_call call = {.be = model->be};
    for (int i = 0; i < layer->adapted[site]; i++) {
        call.base[i] = mr_params_weight(model->params, layer->linear[layer->target[site][i]]);
        for (int p = 0; p < layer->adapter[site]->params; p++)
            call.weight[i][p] = mr_params_weight(model->params, layer->adapter_param[site][i][p]);
    }
    return call;
}

/* Place among the linears of its site of the i-th one that is adapted. */
static int place_in_site(const mr_layer *layer, int site, int i)
{
    int place = 0;
    while (mr_sites[site].linear[place] != layer->target[site][i])
        place++;
    return place;
}

/* A call of a site's adapter in a pass. y holds the tensors of all linears of the site. */
static mr_adapter_call adapter_call(const mr_model *model, int index, int site, const mr_pass *pass,
                                    mr_tensor x, const mr_tensor *y, mr_tensor saved)
{
    const mr_layer *layer = &model->layer[index];
    const mr_adapter *adapter = layer->adapter[site];
    mr_adapter_call call = mr_layer_adapter_weights(model, index, site);
    call.x = x;
    call.saved = mr_tensor_cols(saved, 0, adapter->saved_cols);
    call.work = mr_tensor_carve(mr_tensor_rows(pass->adapter_work, 0, pass->rows), 0,
                                mr_adapter_work_cols(adapter));
    call.dropout = pass->dropout;
    call.stream = mr_random_stream(
        model->seed, MR_RANDOM_DROPOUT,
        (pass->step * (uint64_t)model->arch.num_hidden_layers + (uint64_t)index) * MR_SITES +
            (uint64_t)site);
    call.first_row = pass->first_row;
    for (int i = 0; i < layer->adapted[site]; i++)
        call.y[i] = y[place_in_site(layer, site, i)];
    return call;
}

/* Whether the backend is asked to take a site as one: linears and what the adapter makes of them.
 */
static bool is_told(const mr_model *model, const mr_adapter *adapter)
{
    return model->be->ops->site_forward && (!adapter || adapter->method->update);
}

/* A site as the backend takes it. call is that of the adapter, where there is one. */
static mr_site_args site_args(const mr_model *model, int index, int site, const mr_pass *pass,
                              mr_tensor x, const mr_tensor *y, const mr_adapter_call *call)
{
    const mr_layer *layer = &model->layer[index];
    const mr_adapter *adapter = layer->adapter[site];
    mr_site_args args = {.linears = mr_sites[site].count, .x = x, .cast = pass->cast};
    for (int i = 0; i < args.linears; i++) {
        args.w[i] = mr_params_weight(model->params, layer->linear[mr_sites[site].linear[i]]);
        args.w8[i] = layer->eight[mr_sites[site].linear[i]].forward;
        args.y[i] = y[i];
    }
    if (!adapter) return args;
    for (int i = 0; i < layer->adapted[site]; i++)
        mr_adapter_update(adapter, call, i, &args.update[place_in_site(layer, site, i)]);
    args.saved = call->saved;
    args.work = call->work;
    args.dropout = call->dropout ? adapter->lora_dropout : 0;
    args.stream = call->stream;
    args.first_row = call->first_row;
    return args;
}

/* y[i] = x W_i^T. */
static void multiply_weights(const mr_model *model, int index, int site, const mr_pass *pass,
                             mr_tensor x, const mr_tensor *y)
{
    const mr_layer *layer = &model->layer[index];
    mr_scaled cast = {.scale = {0}}; /* made once, for all that take it */
    mr_phase_begin(model->be, MR_PHASE_LINEAR);
    for (int i = 0; i < mr_sites[site].count; i++) {
        const mr_linear_id linear = mr_sites[site].linear[i];
        const mr_scaled w8 = layer->eight[linear].forward;
        if (!mr_tensor_exists(w8.values)) {
            mr_linear_forward(model->be, y[i], x,
                              mr_params_weight(model->params, layer->linear[linear]), 0);
            continue;
        }
        if (!mr_tensor_exists(cast.values)) cast = mr_backend_quantize(model->be, pass->cast, x);
        mr_linear_scaled(model->be, y[i], cast, w8, 0);
    }
    mr_phase_end(model->be, MR_PHASE_LINEAR);
}

/* y[i] = x W_i^T, or what an adapter makes of it, for the linears of a site. Where gated exists, it
 * becomes silu(y[0]) y[1], and y is what the backward pass alone may read. */
static void site_forward(mr_model *model, int index, int site, const mr_pass *pass, mr_tensor x,
                         const mr_tensor *y, mr_tensor gated, mr_tensor saved)
{
    const mr_layer *layer = &model->layer[index];
    mr_adapter *adapter = layer->adapter[site];
    mr_adapter_call call = {0};
    if (adapter) {
        call = adapter_call(model, index, site, pass, x, y, saved);
        mr_adapter_refresh(adapter, &call, model->params->generation);
    }
    if (is_told(model, adapter)) {
        mr_site_args args = site_args(model, index, site, pass, x, y, &call);
        args.gated = gated;
        if (model->be->ops->site_forward(model->be, &args)) return;
    }
    model->be->each_row = !pass->dropout; /* not while tables are made of weights */
    multiply_weights(model, index, site, pass, x, y);
    if (adapter) mr_adapter_forward(adapter, &call);
    model->be->each_row = false;
    if (mr_tensor_exists(gated)) mr_swiglu_forward(model->be, gated, y[0], y[1]);
}

/* Makes what the site of gate and up gave as gated again, from what its backward pass has yet. */
static void gate_again(mr_model *model, int index, const mr_pass *pass, mr_layer_acts *acts)
{
    const mr_adapter *adapter = model->layer[index].adapter[MR_SITE_GATE_UP];
    const mr_tensor y[] = {acts->gate, acts->up}, saved = acts->saved[MR_SITE_GATE_UP];
    mr_adapter_call call = {0};
    if (is_told(model, adapter)) {
        if (adapter)
            call = adapter_call(model, index, MR_SITE_GATE_UP, pass, acts->normed2, y, saved);
        mr_site_args args = site_args(model, index, MR_SITE_GATE_UP, pass, acts->normed2, y, &call);
        args.gated = acts->product;
        args.gates_again = true;
        if (model->be->ops->site_forward(model->be, &args)) return;
    }
    mr_swiglu_forward(model->be, acts->product, acts->gate, acts->up);
}

/* Whether the gradients of a site's own tensors are taken, which its input is for. */
static bool learns(const mr_model *model, int index, int site)
{
    const mr_layer *layer = &model->layer[index];
    bool learns = layer->adapter[site];
    for (int i = 0; i < mr_sites[site].count; i++)
        learns =
            learns || mr_params_at(model->params, layer->linear[mr_sites[site].linear[i]])->trained;
    return learns;
}

/* Makes the output of a layer's first norm, or of its second, again. */
static void norm_again(mr_model *model, int index, int site, mr_tensor normed, mr_tensor rstd,
                       mr_tensor x)
{
    if (model->recompute != MR_RECOMPUTE_ATTENTION || !learns(model, index, site)) return;
    const int norm = model->layer[index].norm[site == MR_SITE_GATE_UP];
    mr_rmsnorm_forward(model->be, normed, rstd, x, x, none, mr_params_weight(model->params, norm),
                       model->arch.rms_norm_eps);
}

/* d_x (where it exists) and weight gradients from d_y of a site; where d_gated exists, from that,
 * and d_y is what site_forward left in y. */
static void site_backward(mr_model *model, int index, int site, const mr_pass *pass, mr_tensor x,
                          const mr_tensor *d_y, mr_tensor d_gated, mr_tensor saved, mr_tensor d_x)
{
    const mr_layer *layer = &model->layer[index];
    const mr_adapter *adapter = layer->adapter[site];
    mr_adapter_call call = {0};
    mr_tensor given[MR_SITE_LINEARS] = {{0}}; /* what the base's products read for d_y */
    for (int i = 0; i < mr_sites[site].count; i++)
        given[i] = d_y[i];
    if (adapter) {
        call = adapter_call(model, index, site, pass, x, d_y, saved);
        call.d_x = d_x;
        for (int i = 0; i < layer->adapted[site]; i++)
            for (int p = 0; p < adapter->params; p++)
                call.grad[i][p] = mr_reduce_grad(model->reduce, layer->adapter_param[site][i][p]);
    }
    if (is_told(model, adapter)) {
        mr_site_args args = site_args(model, index, site, pass, x, d_y, &call);
        args.d_gated = d_gated;
        args.d_x = d_x;
        for (int i = 0; i < args.linears; i++) {
            args.w8[i] = layer->eight[mr_sites[site].linear[i]].backward;
            args.d_w[i] = mr_reduce_grad(model->reduce, layer->linear[mr_sites[site].linear[i]]);
        }
        if (model->be->ops->site_backward(model->be, &args)) return;
    }
    if (mr_tensor_exists(d_gated))
        mr_swiglu_backward(model->be, d_y[0], d_y[1], d_gated, d_y[0], d_y[1]);
    if (adapter) {
        mr_adapter_backward_output(adapter, &call);
        for (int i = 0; i < layer->adapted[site]; i++)
            given[place_in_site(layer, site, i)] = call.y[i];
    }
    mr_phase_begin(model->be, MR_PHASE_LINEAR);
    for (int i = 0; i < mr_sites[site].count; i++) {
        int id = layer->linear[mr_sites[site].linear[i]];
        const mr_scaled w8 = layer->eight[mr_sites[site].linear[i]].backward;
        const float beta = i == 0 ? 0.0f : 1.0f;
        if (mr_tensor_exists(d_x) && mr_tensor_exists(w8.values))
            mr_linear_scaled(model->be, d_x, mr_backend_quantize(model->be, pass->cast, given[i]),
                             w8, beta);
        else if (mr_tensor_exists(d_x))
            mr_linear_backward_input(model->be, d_x, given[i], mr_params_weight(model->params, id),
                                     beta);
        if (mr_params_at(model->params, id)->trained)
            mr_linear_backward_weight(model->be, mr_reduce_grad(model->reduce, id), given[i], x, 0);
    }
    mr_phase_end(model->be, MR_PHASE_LINEAR);
    if (adapter) mr_adapter_backward(adapter, &call);
}

/* Stores keys or values of the new tokens, and copies what sequences have in common. */
static void store(mr_backend *be, const mr_cache *cache, mr_tensor kept, mr_tensor fresh)
{
    be->ops->scatter_rows(be, kept, mr_tensor_rows(fresh, 0, cache->rows.cols), cache->rows);
    if (cache->from.cols == 0) return;
    be->ops->gather_rows(be, cache->copied, kept, cache->from);
    be->ops->scatter_rows(be, kept, cache->copied, cache->to);
}

/* Attention of the pass's kind: over the rows themselves, or over the cache. */
static void attend(mr_model *model, int index, const mr_pass *pass, mr_layer_acts *acts)
{
    mr_backend *be = model->be;
    const mr_cache *cache = pass->cache;
    mr_rope_apply(be, pass->rope, acts->q, acts->k, pass->positions, model->arch.head_dim, false);
    if (cache) {
        if (cache->rows.cols == 0) return; /* of a rank that only helps others to their weights */
        store(be, cache, cache->k[index], acts->k);
        store(be, cache, cache->v[index], acts->v);
        mr_attention_cached(be, &(mr_cached_attention_args){.shape = pass->shape,
                                                            .q = acts->q,
                                                            .k = cache->k[index],
                                                            .v = cache->v[index],
                                                            .o = acts->attended,
                                                            .offsets = cache->offsets,
                                                            .lengths = cache->lengths,
                                                            .pages = cache->pages});
        return;
    }
    mr_attention_forward(be, &(mr_attention_args){.shape = pass->shape,
                                                  .q = acts->q,
                                                  .k = acts->k,
                                                  .v = acts->v,
                                                  .o = acts->attended,
                                                  .starts = pass->starts,
                                                  .lse = acts->lse});
}

void mr_layer_forward(mr_model *model, int index, const mr_pass *pass, mr_layer_acts *acts,
                      mr_tensor stream, mr_tensor branch)
{
    mr_backend *be = model->be;
    const mr_layer *layer = &model->layer[index];
    double eps = model->arch.rms_norm_eps;
    bool first = !mr_tensor_exists(stream);
    mr_rmsnorm_forward(be, acts->normed1, acts->rstd1, acts->x, first ? acts->x : stream,
                       first ? (mr_tensor){0} : branch,
                       mr_params_weight(model->params, layer->norm[0]), eps);
    site_forward(model, index, MR_SITE_QKV, pass, acts->normed1,
                 (mr_tensor[]){acts->q, acts->k, acts->v}, none, acts->saved[MR_SITE_QKV]);
    attend(model, index, pass, acts);
    site_forward(model, index, MR_SITE_O, pass, acts->attended, &branch, none,
                 acts->saved[MR_SITE_O]);
    mr_rmsnorm_forward(be, acts->normed2, acts->rstd2, acts->h, acts->x, branch,
                       mr_params_weight(model->params, layer->norm[1]), eps);
    site_forward(model, index, MR_SITE_GATE_UP, pass, acts->normed2,
                 (mr_tensor[]){acts->gate, acts->up}, acts->product, acts->saved[MR_SITE_GATE_UP]);
    if (pass->replay && !layer->adapter[MR_SITE_DOWN]) return;
    site_forward(model, index, MR_SITE_DOWN, pass, acts->product, &branch, none,
                 acts->saved[MR_SITE_DOWN]);
}

void mr_layer_backward(mr_model *model, int index, const mr_pass *pass, mr_layer_acts *acts,
                       mr_tensor d_stream)
{
    mr_backend *be = model->be;
    const mr_layer *layer = &model->layer[index];
    const mr_scratch *s = &model->scratch;
    if (model->recompute == MR_RECOMPUTE_ATTENTION && learns(model, index, MR_SITE_DOWN))
        gate_again(model, index, pass, acts);
    site_backward(model, index, MR_SITE_DOWN, pass, acts->product, &d_stream, none,
                  acts->saved[MR_SITE_DOWN], s->d_product);
    norm_again(model, index, MR_SITE_GATE_UP, acts->normed2, acts->rstd2, acts->h);
    site_backward(model, index, MR_SITE_GATE_UP, pass, acts->normed2,
                  (mr_tensor[]){acts->gate, acts->up}, s->d_product, acts->saved[MR_SITE_GATE_UP],
                  s->d_normed);
    mr_rmsnorm_backward(be, d_stream, mr_reduce_grad(model->reduce, layer->norm[1]), s->d_normed,
                        acts->h, acts->rstd2, mr_params_weight(model->params, layer->norm[1]));
    site_backward(model, index, MR_SITE_O, pass, acts->attended, &d_stream, none,
                  acts->saved[MR_SITE_O], s->d_attended);
    mr_attention_backward(be, &(mr_attention_args){.shape = pass->shape,
                                                   .q = acts->q,
                                                   .k = acts->k,
                                                   .v = acts->v,
                                                   .o = acts->attended,
                                                   .starts = pass->starts,
                                                   .lse = acts->lse,
                                                   .d_o = s->d_attended,
                                                   .d_q = s->d_q,
                                                   .d_k = s->d_k,
                                                   .d_v = s->d_v});
    mr_rope_apply(be, pass->rope, s->d_q, s->d_k, pass->positions, model->arch.head_dim, true);
    /* Nothing under the first layer may be trained: then its input's gradient is nobody's. */
    bool wanted = index > 0 || model->below;
    norm_again(model, index, MR_SITE_QKV, acts->normed1, acts->rstd1, acts->x);
    site_backward(model, index, MR_SITE_QKV, pass, acts->normed1,
                  (mr_tensor[]){s->d_q, s->d_k, s->d_v}, none, acts->saved[MR_SITE_QKV],
                  wanted ? s->d_normed : (mr_tensor){0});
    if (wanted)
        mr_rmsnorm_backward(be, d_stream, mr_reduce_grad(model->reduce, layer->norm[0]),
                            s->d_normed, acts->x, acts->rstd1,
                            mr_params_weight(model->params, layer->norm[0]));
}
