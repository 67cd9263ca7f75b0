#include "eval/generate.h"

static void place(mr_generator *g, mr_arena *arena)
{
    const mr_hf_config *a = &g->model->arch;
    int64_t rows = g->batch * g->prompt, kv_cols = a->num_key_value_heads * a->head_dim;
    mr_layer_place(g->model, NULL, arena, rows, g->batch, g->prompt, &g->acts);
    g->acts.x = mr_arena_take(arena, MR_F32, rows, a->hidden_size);
    g->branch = mr_arena_take(arena, MR_F32, rows, a->hidden_size);
    g->tokens = mr_arena_take(arena, MR_I32, 1, rows);
    g->positions = mr_arena_take(arena, MR_I32, 1, rows);
    g->last = mr_arena_take(arena, MR_I32, 1, g->batch);
    g->stream = mr_arena_take(arena, MR_F32, g->batch, a->hidden_size);
    g->addend = mr_arena_take(arena, MR_F32, g->batch, a->hidden_size);
    g->normed = mr_arena_take(arena, MR_F32, g->batch, a->hidden_size);
    g->rstd = mr_arena_take(arena, MR_F32, 1, g->batch);
    g->logits = mr_arena_take(arena, MR_F32, g->batch, a->vocab_size);
    g->ids = mr_arena_take(arena, MR_I32, 1, g->batch);
    g->work = mr_arena_take(arena, MR_F32, rows, mr_model_adapter_work(g->model));
    g->cache.capacity = g->capacity;
    g->cache.rows = mr_arena_take(arena, MR_I32, 1, rows);
    g->cache.offsets = mr_arena_take(arena, MR_I32, 1, g->batch + 1);
    g->cache.lengths = mr_arena_take(arena, MR_I32, 1, g->batch);
    for (int64_t l = 0; l < a->num_hidden_layers; l++) {
        g->cache.k[l] = mr_arena_take(arena, MR_F32, g->batch * g->capacity, kv_cols);
        g->cache.v[l] = mr_arena_take(arena, MR_F32, g->batch * g->capacity, kv_cols);
    }
}

mr_status mr_generator_create(mr_model *model, int64_t batch, int64_t prompt, int64_t new_tokens,
                              mr_generator **out)
{
    *out = NULL;
    mr_generator *g = mr_alloc(MR_MEM_OTHER, sizeof *g);
    if (!g) return MR_ERR_MEMORY;
    *g = (mr_generator){
        .model = model, .batch = batch, .prompt = prompt, .capacity = prompt + new_tokens};
    size_t layers = (size_t)model->arch.num_hidden_layers;
    g->cache.k = mr_alloc_array(MR_MEM_OTHER, layers, sizeof *g->cache.k);
    g->cache.v = mr_alloc_array(MR_MEM_OTHER, layers, sizeof *g->cache.v);
    g->host = mr_alloc_array(MR_MEM_OTHER, (size_t)(batch * prompt + 1), sizeof *g->host);
    if (!g->cache.k || !g->cache.v || !g->host) {
        mr_generator_destroy(&g);
        return MR_ERR_MEMORY;
    }
    mr_arena measure = {0};
    place(g, &measure);
    g->bytes = measure.used;
    *out = g;
    return MR_OK;
}

void mr_generator_bytes(const mr_generator *g, size_t bytes[MR_MEM_PURPOSES])
{
    bytes[MR_MEM_EVAL] +=
        g->bytes + (size_t)(g->capacity * g->model->arch.head_dim) * sizeof(float);
}

mr_status mr_generator_allocate(mr_generator *g)
{
    mr_backend *be = g->model->be;
    MR_TRY(be->ops->buffer_create(be, MR_MEM_EVAL, g->bytes, &g->memory));
    mr_arena arena = {.buffer = g->memory};
    place(g, &arena);
    return mr_rope_create(be, g->capacity, g->model->arch.head_dim, g->model->arch.rope_theta,
                          MR_MEM_EVAL, &g->rope);
}

void mr_generator_destroy(mr_generator **out)
{
    mr_generator *g = *out;
    if (!g) return;
    mr_rope_destroy(g->model->be, &g->rope);
    g->model->be->ops->buffer_destroy(g->model->be, &g->memory);
    mr_free(g->cache.k);
    mr_free(g->cache.v);
    mr_free(g->host);
    mr_free(g);
    *out = NULL;
}

/* The activations of a layer, cut to the rows of a pass. */
static mr_layer_acts first_rows(const mr_layer_acts *acts, int64_t rows)
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

/* Runs the layers over `rows` rows whose tokens, positions and cache places are uploaded, and
 * leaves the most probable next token after rows `last` in ids. */
static void run_pass(mr_generator *g, int64_t rows, bool decode)
{
    mr_model *model = g->model;
    mr_backend *be = model->be;
    int layers = (int)model->arch.num_hidden_layers;
    mr_layer_acts acts = first_rows(&g->acts, rows);
    mr_tensor branch = mr_tensor_rows(g->branch, 0, rows);
    mr_cache cache = g->cache;
    cache.rows = mr_tensor_cols(g->cache.rows, 0, rows);
    mr_pass pass = {.rows = rows,
                    .shape = {.batch = g->batch,
                              .tokens = rows / g->batch,
                              .heads = model->arch.num_attention_heads,
                              .kv_heads = model->arch.num_key_value_heads,
                              .head_size = model->arch.head_dim},
                    .positions = mr_tensor_cols(g->positions, 0, rows),
                    .rope = &g->rope,
                    .adapter_work = g->work,
                    .cache = &cache,
                    .decode = decode};
    mr_params_use(model->params, 0, mr_model_layer_unit(0));
    mr_embedding_forward(be, acts.x, mr_params_weight(model->params, model->embed),
                         mr_tensor_cols(g->tokens, 0, rows));
    for (int l = 0; l < layers; l++) {
        mr_params_use(model->params, mr_model_layer_unit(l),
                      l + 1 < layers ? mr_model_layer_unit(l + 1) : model->head_unit);
        mr_layer_forward(model, l, &pass, &acts, l == 0 ? (mr_tensor){0} : acts.h, branch);
    }
    mr_params_use(model->params, model->head_unit, -1);
    be->ops->gather_rows(be, g->stream, acts.h, g->last);
    be->ops->gather_rows(be, g->addend, branch, g->last);
    mr_rmsnorm_forward(be, g->normed, g->rstd, g->stream, g->stream, g->addend,
                       mr_params_weight(model->params, model->final_norm),
                       model->arch.rms_norm_eps);
    mr_linear_forward(be, g->logits, g->normed, mr_params_weight(model->params, model->head), 0);
    be->ops->argmax(be, g->ids, g->logits);
}

void mr_generator_run(mr_generator *g, const int32_t *prompts, const int32_t *lengths,
                      int64_t count, int32_t *out)
{
    mr_backend *be = g->model->be;
    int64_t rows = g->batch * g->prompt;
    be->ops->upload(be, g->tokens, prompts);
    for (int64_t i = 0; i < rows; i++)
        g->host[i] = (int32_t)(i % g->prompt);
    be->ops->upload(be, g->positions, g->host);
    for (int64_t i = 0; i < rows; i++)
        g->host[i] = (int32_t)(i / g->prompt * g->capacity + i % g->prompt);
    be->ops->upload(be, g->cache.rows, g->host);
    for (int64_t b = 0; b < g->batch; b++)
        g->host[b] = (int32_t)(b * g->prompt) + lengths[b] - 1;
    be->ops->upload(be, g->last, g->host);
    run_pass(g, rows, false);

    for (int64_t b = 0; b <= g->batch; b++)
        g->host[b] = (int32_t)b;
    be->ops->upload(be, g->cache.offsets, g->host);
    for (int64_t t = 0;; t++) {
        be->ops->download(be, g->host, g->ids);
        for (int64_t b = 0; b < g->batch; b++)
            out[b * count + t] = g->host[b];
        if (t + 1 == count) return;
        be->ops->upload(be, mr_tensor_cols(g->tokens, 0, g->batch), g->host);
        for (int64_t b = 0; b < g->batch; b++)
            g->host[b] = lengths[b] + (int32_t)t;
        be->ops->upload(be, mr_tensor_cols(g->positions, 0, g->batch), g->host);
        for (int64_t b = 0; b < g->batch; b++)
            g->host[b] = (int32_t)(b * g->capacity) + lengths[b] + (int32_t)t;
        be->ops->upload(be, mr_tensor_cols(g->cache.rows, 0, g->batch), g->host);
        for (int64_t b = 0; b < g->batch; b++)
            g->host[b] = lengths[b] + (int32_t)t + 1;
        be->ops->upload(be, g->cache.lengths, g->host);
        for (int64_t b = 0; b < g->batch; b++)
            g->host[b] = (int32_t)b;
        be->ops->upload(be, g->last, g->host);
        run_pass(g, g->batch, true);
    }
}
