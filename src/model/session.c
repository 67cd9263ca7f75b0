/* A pass without gradients over a cache of keys and values; the contract stands in model/session.h.
 */

#include "model/session.h"

#include "model/model_impl.h"

#include <limits.h>

struct mr_session {
    mr_model *model;
    int64_t batch;    /* B */
    int64_t prompt;   /* tokens of a sequence that come at once */
    int64_t capacity; /* tokens a sequence may reach */
    mr_buffer *memory;
    size_t bytes;
    mr_layer_acts acts; /* of [B * prompt] rows, shared by all layers */
    mr_tensor branch, tokens, positions, last, stream, addend, normed, rstd, logits, ids, work;
    mr_cache cache;
    mr_rope rope;
    int32_t *host;    /* [B * prompt + 1] scratch for indices, owned */
    int32_t *lengths; /* [B] tokens so far, owned */
};

/* Sequences whose rows can be counted. */
static int64_t most_sequences(const mr_model *model, int64_t prompt, int64_t capacity)
{
    int64_t longest = prompt * mr_model_product_rows(model);
    return INT_MAX / (longest > capacity ? longest : capacity);
}

int64_t mr_session_batch(const mr_model *model, int64_t wanted, int64_t prompt, int64_t capacity)
{
    int64_t rows = most_sequences(model, prompt, capacity);
    int64_t logits = mr_model_logits_rows(model);
    if (wanted > rows) wanted = rows;
    if (wanted > logits) wanted = logits;
    return wanted > 1 ? wanted : 1;
}

static void place(mr_session *s, mr_arena *arena)
{
    const mr_hf_config *a = &s->model->arch;
    int64_t rows = s->batch * s->prompt, kv_cols = a->num_key_value_heads * a->head_dim;
    mr_layer_place(s->model, NULL, arena, rows, s->batch, s->prompt, &s->acts);
    s->acts.x = mr_arena_take(arena, s->model->compute, rows, a->hidden_size);
    s->branch = mr_arena_take(arena, s->model->compute, rows, a->hidden_size);
    s->tokens = mr_arena_take(arena, MR_I32, 1, rows);
    s->positions = mr_arena_take(arena, MR_I32, 1, rows);
    s->last = mr_arena_take(arena, MR_I32, 1, s->batch);
    s->stream = mr_arena_take(arena, s->model->compute, s->batch, a->hidden_size);
    s->addend = mr_arena_take(arena, s->model->compute, s->batch, a->hidden_size);
    s->normed = mr_arena_take(arena, s->model->compute, s->batch, a->hidden_size);
    s->rstd = mr_arena_take(arena, MR_F32, 1, s->batch);
    s->logits = mr_arena_take(arena, s->model->compute, s->batch, a->vocab_size);
    s->ids = mr_arena_take(arena, MR_I32, 1, s->batch);
    s->work = mr_arena_take(arena, s->model->compute, rows, mr_model_adapter_work(s->model));
    s->cache.capacity = s->capacity;
    s->cache.rows = mr_arena_take(arena, MR_I32, 1, rows);
    s->cache.offsets = mr_arena_take(arena, MR_I32, 1, s->batch + 1);
    s->cache.lengths = mr_arena_take(arena, MR_I32, 1, s->batch);
    for (int64_t l = 0; l < a->num_hidden_layers; l++) {
        s->cache.k[l] = mr_arena_take(arena, s->model->compute, s->batch * s->capacity, kv_cols);
        s->cache.v[l] = mr_arena_take(arena, s->model->compute, s->batch * s->capacity, kv_cols);
    }
}

mr_status mr_session_create(mr_model *model, int64_t batch, int64_t prompt, int64_t capacity,
                            mr_session **out)
{
    *out = NULL;
    MR_CHECK(batch <= most_sequences(model, prompt, capacity), MR_ERR_ARG,
             "generation: %lld sequences of up to %lld tokens are more rows than %d",
             (long long)batch, (long long)capacity, INT_MAX);
    mr_session *s = mr_alloc(MR_MEM_OTHER, sizeof *s);
    if (!s) return MR_ERR_MEMORY;
    *s = (mr_session){.model = model, .batch = batch, .prompt = prompt, .capacity = capacity};
    size_t layers = (size_t)model->arch.num_hidden_layers;
    s->cache.k = mr_alloc_array(MR_MEM_OTHER, layers, sizeof *s->cache.k);
    s->cache.v = mr_alloc_array(MR_MEM_OTHER, layers, sizeof *s->cache.v);
    if (!s->cache.k || !s->cache.v) {
        mr_session_destroy(&s);
        return MR_ERR_MEMORY;
    }
    mr_arena measure = {0};
    place(s, &measure);
    s->bytes = measure.used;
    *out = s;
    return MR_OK;
}

void mr_session_bytes(const mr_session *s, size_t bytes[MR_MEM_PURPOSES])
{
    size_t eval = mr_bytes_add(bytes[MR_MEM_EVAL], 1, s->bytes);
    eval = mr_bytes_add(eval, s->capacity * s->model->arch.head_dim, sizeof(float));
    bytes[MR_MEM_EVAL] = mr_bytes_add(eval, s->batch * s->prompt + 1 + s->batch, sizeof(int32_t));
}

mr_status mr_session_allocate(mr_session *s)
{
    mr_backend *be = s->model->be;
    MR_TRY(be->ops->buffer_create(be, MR_MEM_EVAL, s->bytes, &s->memory));
    s->host = mr_alloc_array(MR_MEM_EVAL, (size_t)(s->batch * s->prompt + 1), sizeof *s->host);
    s->lengths = mr_alloc_array(MR_MEM_EVAL, (size_t)s->batch, sizeof *s->lengths);
    if (!s->host || !s->lengths) return MR_ERR_MEMORY;
    mr_arena arena = {.buffer = s->memory};
    place(s, &arena);
    for (int64_t b = 0; b <= s->batch; b++)
        s->host[b] = (int32_t)b;
    be->ops->upload(be, s->cache.offsets, s->host);
    return mr_model_rope(s->model, s->capacity, MR_MEM_EVAL, &s->rope);
}

void mr_session_destroy(mr_session **out)
{
    mr_session *s = *out;
    if (!s) return;
    mr_rope_destroy(s->model->be, &s->rope);
    s->model->be->ops->buffer_destroy(s->model->be, &s->memory);
    mr_free(s->cache.k);
    mr_free(s->cache.v);
    mr_free(s->host);
    mr_free(s->lengths);
    mr_free(s);
    *out = NULL;
}

/* Runs the layers over `rows` rows whose tokens, positions and cache places are uploaded, and
 * leaves the most probable next token of every sequence in ids: after rows `last`, or after its one
 * new row. */
static void run_pass(mr_session *s, int64_t rows, bool decode)
{
    mr_model *model = s->model;
    mr_backend *be = model->be;
    int layers = (int)model->arch.num_hidden_layers;
    mr_layer_acts acts = mr_layer_first_rows(&s->acts, rows);
    mr_tensor branch = mr_tensor_rows(s->branch, 0, rows);
    mr_cache cache = s->cache;
    cache.rows = mr_tensor_cols(s->cache.rows, 0, rows);
    mr_pass pass = {.rows = rows,
                    .shape = {.batch = s->batch,
                              .tokens = rows / s->batch,
                              .heads = model->arch.num_attention_heads,
                              .kv_heads = model->arch.num_key_value_heads,
                              .head_size = model->arch.head_dim},
                    .positions = mr_tensor_cols(s->positions, 0, rows),
                    .rope = &s->rope,
                    .adapter_work = s->work,
                    .cache = &cache,
                    .decode = decode};
    mr_params_use(model->params, 0, mr_model_layer_unit(0));
    mr_embedding_forward(be, acts.x, mr_params_weight(model->params, model->embed),
                         mr_tensor_cols(s->tokens, 0, rows));
    for (int l = 0; l < layers; l++) {
        mr_params_use(model->params, mr_model_layer_unit(l),
                      l + 1 < layers ? mr_model_layer_unit(l + 1) : model->head_unit);
        mr_layer_forward(model, l, &pass, &acts, l == 0 ? (mr_tensor){0} : acts.h, branch);
    }
    mr_params_use(model->params, model->head_unit, -1);
    mr_tensor last = decode ? mr_tensor_cols(cache.offsets, 0, s->batch) : s->last;
    be->ops->gather_rows(be, s->stream, acts.h, last);
    be->ops->gather_rows(be, s->addend, branch, last);
    mr_rmsnorm_forward(be, s->normed, s->rstd, s->stream, s->stream, s->addend,
                       mr_params_weight(model->params, model->final_norm),
                       model->arch.rms_norm_eps);
    mr_linear_forward(be, s->logits, s->normed, mr_params_weight(model->params, model->head), 0);
    be->ops->argmax(be, s->ids, s->logits);
}

void mr_session_start(mr_session *s, const int32_t *prompts, const int32_t *lengths)
{
    mr_backend *be = s->model->be;
    int64_t rows = s->batch * s->prompt;
    be->ops->upload(be, s->tokens, prompts);
    for (int64_t i = 0; i < rows; i++)
        s->host[i] = (int32_t)(i % s->prompt);
    be->ops->upload(be, s->positions, s->host);
    for (int64_t i = 0; i < rows; i++)
        s->host[i] = (int32_t)(i / s->prompt * s->capacity + i % s->prompt);
    be->ops->upload(be, s->cache.rows, s->host);
    for (int64_t b = 0; b < s->batch; b++) {
        s->lengths[b] = lengths[b];
        s->host[b] = (int32_t)(b * s->prompt) + lengths[b] - 1;
    }
    be->ops->upload(be, s->last, s->host);
    run_pass(s, rows, false);
}

void mr_session_append(mr_session *s, const int32_t *ids)
{
    mr_backend *be = s->model->be;
    be->ops->upload(be, mr_tensor_cols(s->tokens, 0, s->batch), ids);
    be->ops->upload(be, mr_tensor_cols(s->positions, 0, s->batch), s->lengths);
    for (int64_t b = 0; b < s->batch; b++) {
        MR_INVARIANT(s->lengths[b] < s->capacity);
        s->host[b] = (int32_t)(b * s->capacity) + s->lengths[b]++;
    }
    be->ops->upload(be, mr_tensor_cols(s->cache.rows, 0, s->batch), s->host);
    be->ops->upload(be, s->cache.lengths, s->lengths);
    run_pass(s, s->batch, true);
}

void mr_session_best(mr_session *s, int32_t *ids)
{
    s->model->be->ops->download(s->model->be, ids, s->ids);
}

void mr_session_logits(mr_session *s, float *out)
{
    s->model->be->ops->download(s->model->be, out, s->logits);
}
