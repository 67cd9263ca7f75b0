/* A pass without gradients over a cache of keys and values; the contract stands in model/session.h.
 */

#include "model/session.h"

#include "model/model_impl.h"

#include <limits.h>
#include <string.h>

struct mr_session {
    mr_model *model;
    mr_session_shape shape;
    int64_t predicted; /* rows of the last prediction */
    mr_buffer *memory;
    size_t bytes;
    mr_layer_acts acts; /* of shape.rows rows, shared by all layers */
    mr_tensor branch, tokens, positions, work;
    mr_tensor outputs, stream, addend, normed, rstd, logits, ids, targets, losses;
    mr_cache cache;
    mr_rope rope;
    int32_t *host; /* [host_count] scratch for indices, owned */
};

int64_t mr_session_rows(const mr_model *model)
{
    return model->be->pass_rows;
}

int64_t mr_session_outputs(const mr_model *model, int64_t wanted)
{
    const int64_t most = mr_model_logits_rows(model);
    return wanted > most ? most : wanted < 1 ? 1 : wanted;
}

/* Pages in a row of the table. */
static int64_t table_cols(const mr_session_shape *shape)
{
    return mr_session_pages(shape->tokens);
}

/* Elements of the longest list of indices that a pass is told. */
static int64_t host_count(const mr_session_shape *shape)
{
    const int64_t counts[] = {shape->rows, shape->sequences * table_cols(shape),
                              shape->sequences + 1, shape->copies, shape->outputs};
    int64_t most = 0;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        most = counts[i] > most ? counts[i] : most;
    return most;
}

static void place(mr_session *s, mr_arena *arena)
{
    const mr_hf_config *a = &s->model->arch;
    const mr_session_shape *shape = &s->shape;
    const mr_dtype compute = s->model->compute;
    const int64_t rows = shape->rows, kv_cols = a->num_key_value_heads * a->head_dim;
    mr_layer_place(s->model, NULL, arena, rows, 1, 1, &s->acts);
    s->acts.x = mr_arena_take(arena, compute, rows, a->hidden_size);
    s->branch = mr_arena_take(arena, compute, rows, a->hidden_size);
    s->tokens = mr_arena_take(arena, MR_I32, 1, rows);
    s->positions = mr_arena_take(arena, MR_I32, 1, rows);
    s->work = mr_arena_take(arena, compute, rows, mr_model_adapter_work(s->model));
    s->outputs = mr_arena_take(arena, MR_I32, 1, shape->outputs);
    s->stream = mr_arena_take(arena, compute, shape->outputs, a->hidden_size);
    s->addend = mr_arena_take(arena, compute, shape->outputs, a->hidden_size);
    s->normed = mr_arena_take(arena, compute, shape->outputs, a->hidden_size);
    s->rstd = mr_arena_take(arena, MR_F32, 1, shape->outputs);
    s->logits = mr_arena_take(arena, compute, shape->outputs, a->vocab_size);
    s->ids = mr_arena_take(arena, MR_I32, 1, shape->outputs);
    s->targets = mr_arena_take(arena, MR_I32, 1, shape->outputs);
    s->losses = mr_arena_take(arena, MR_F64, 1, shape->outputs);
    mr_cache *c = &s->cache;
    c->rows = mr_arena_take(arena, MR_I32, 1, rows);
    c->offsets = mr_arena_take(arena, MR_I32, 1, shape->sequences + 1);
    c->lengths = mr_arena_take(arena, MR_I32, 1, shape->sequences);
    c->pages = mr_arena_take(arena, MR_I32, shape->sequences, table_cols(shape));
    c->from = mr_arena_take(arena, MR_I32, 1, shape->copies);
    c->to = mr_arena_take(arena, MR_I32, 1, shape->copies);
    c->copied = mr_arena_take(arena, compute, shape->copies, kv_cols);
    for (int64_t l = 0; l < a->num_hidden_layers; l++) {
        c->k[l] = mr_arena_take(arena, compute, shape->pages * MR_CACHE_PAGE, kv_cols);
        c->v[l] = mr_arena_take(arena, compute, shape->pages * MR_CACHE_PAGE, kv_cols);
    }
}

mr_status mr_session_create(mr_model *model, const mr_session_shape *shape, mr_session **out)
{
    *out = NULL;
    MR_CHECK(shape->rows <= INT_MAX / mr_model_product_rows(model), MR_ERR_ARG,
             "evaluation: %lld tokens at once are more rows of a product than %d",
             (long long)shape->rows, INT_MAX);
    MR_CHECK(shape->pages <= INT_MAX / MR_CACHE_PAGE, MR_ERR_ARG,
             "evaluation: %lld pages of %d keys are more rows than %d", (long long)shape->pages,
             MR_CACHE_PAGE, INT_MAX);
    mr_session *s = mr_alloc(MR_MEM_OTHER, sizeof *s);
    if (!s) return MR_ERR_MEMORY;
    *s = (mr_session){.model = model, .shape = *shape};
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
    eval = mr_bytes_add(eval, s->shape.tokens * s->model->arch.head_dim, sizeof(float));
    bytes[MR_MEM_EVAL] = mr_bytes_add(eval, host_count(&s->shape), sizeof *s->host);
}

mr_status mr_session_allocate(mr_session *s)
{
    mr_backend *be = s->model->be;
    MR_TRY(be->ops->buffer_create(be, MR_MEM_EVAL, s->bytes, &s->memory));
    s->host = mr_alloc_array(MR_MEM_EVAL, (size_t)host_count(&s->shape), sizeof *s->host);
    if (!s->host) return MR_ERR_MEMORY;
    mr_arena arena = {.buffer = s->memory};
    place(s, &arena);
    return mr_model_rope(s->model, s->shape.tokens, MR_MEM_EVAL, &s->rope);
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
    mr_free(s);
    *out = NULL;
}

/* Uploads the first `count` of the scratch. */
static void upload(mr_session *s, mr_tensor to, int64_t count)
{
    mr_backend *be = s->model->be;
    be->ops->upload(be, mr_tensor_cols(to, 0, count), s->host);
}

/* Where position t of a run stands in the cache. */
static int32_t place_of(const mr_session_run *run, int64_t t)
{
    return run->pages[t / MR_CACHE_PAGE] * MR_CACHE_PAGE + (int32_t)(t % MR_CACHE_PAGE);
}

/* Tells the device of a pass; returns its new tokens. */
static int64_t tell(mr_session *s, const mr_session_pass *p)
{
    mr_backend *be = s->model->be;
    const int64_t cols = table_cols(&s->shape);
    int64_t fresh = 0;
    memset(s->host, 0, (size_t)host_count(&s->shape) * sizeof *s->host);
    for (int64_t i = 0; i < p->count; fresh += p->runs[i++].count) {
        const mr_session_run *run = &p->runs[i];
        MR_INVARIANT(run->count > 0 && run->before + run->count <= s->shape.tokens &&
                     fresh + run->count <= p->rows);
        memcpy(s->host + fresh, run->ids, (size_t)run->count * sizeof *s->host);
    }
    upload(s, s->tokens, p->rows);
    for (int64_t i = 0, row = 0; i < p->count; i++)
        for (int64_t t = 0; t < p->runs[i].count; t++)
            s->host[row++] = (int32_t)(p->runs[i].before + t);
    for (int64_t row = fresh; row < p->rows; row++)
        s->host[row] = 0;
    upload(s, s->positions, p->rows);
    if (fresh == 0) return 0;
    for (int64_t i = 0, row = 0; i < p->count; i++)
        for (int64_t t = 0; t < p->runs[i].count; t++)
            s->host[row++] = place_of(&p->runs[i], p->runs[i].before + t);
    upload(s, s->cache.rows, fresh);
    s->host[0] = 0;
    for (int64_t i = 0; i < p->count; i++)
        s->host[i + 1] = s->host[i] + (int32_t)p->runs[i].count;
    upload(s, s->cache.offsets, p->count + 1);
    for (int64_t i = 0; i < p->count; i++)
        s->host[i] = (int32_t)(p->runs[i].before + p->runs[i].count);
    upload(s, s->cache.lengths, p->count);
    for (int64_t i = 0; i < p->count; i++)
        memcpy(s->host + i * cols, p->runs[i].pages,
               (size_t)mr_session_pages(p->runs[i].before + p->runs[i].count) * sizeof *s->host);
    be->ops->upload(be, mr_tensor_rows(s->cache.pages, 0, p->count), s->host);
    if (p->copies == 0) return fresh;
    be->ops->upload(be, mr_tensor_cols(s->cache.from, 0, p->copies), p->from);
    be->ops->upload(be, mr_tensor_cols(s->cache.to, 0, p->copies), p->to);
    return fresh;
}

void mr_session_run_pass(mr_session *s, const mr_session_pass *p)
{
    mr_model *model = s->model;
    mr_backend *be = model->be;
    const mr_session_shape *shape = &s->shape;
    MR_INVARIANT(p->rows > 0 && p->rows <= shape->rows && p->count <= shape->sequences &&
                 p->copies <= shape->copies);
    const int64_t fresh = tell(s, p);
    const int layers = (int)model->arch.num_hidden_layers;
    mr_layer_acts acts = mr_layer_first_rows(&s->acts, p->rows);
    mr_tensor branch = mr_tensor_rows(s->branch, 0, p->rows);
    mr_cache cache = s->cache;
    cache.rows = mr_tensor_cols(cache.rows, 0, fresh);
    cache.offsets = mr_tensor_cols(cache.offsets, 0, p->count + 1);
    cache.lengths = mr_tensor_cols(cache.lengths, 0, p->count);
    cache.pages = mr_tensor_rows(cache.pages, 0, p->count);
    cache.from = mr_tensor_cols(cache.from, 0, p->copies);
    cache.to = mr_tensor_cols(cache.to, 0, p->copies);
    cache.copied = mr_tensor_rows(cache.copied, 0, p->copies);
    mr_pass pass = {.rows = p->rows,
                    .shape = {.batch = p->count,
                              .heads = model->arch.num_attention_heads,
                              .kv_heads = model->arch.num_key_value_heads,
                              .head_size = model->arch.head_dim},
                    .positions = mr_tensor_cols(s->positions, 0, p->rows),
                    .rope = &s->rope,
                    .adapter_work = s->work,
                    .cache = &cache};
    mr_params_use(model->params, 0, mr_model_layer_unit(0));
    mr_embedding_forward(be, acts.x, mr_params_weight(model->params, model->embed),
                         mr_tensor_cols(s->tokens, 0, p->rows));
    for (int l = 0; l < layers; l++) {
        mr_params_use(model->params, mr_model_layer_unit(l),
                      l + 1 < layers ? mr_model_layer_unit(l + 1) : model->head_unit);
        mr_layer_forward(model, l, &pass, &acts, l == 0 ? (mr_tensor){0} : acts.h, branch);
    }
    mr_params_use(model->params, model->head_unit, -1);
}

void mr_session_predict(mr_session *s, const int32_t *rows, int64_t count)
{
    mr_model *model = s->model;
    mr_backend *be = model->be;
    MR_INVARIANT(count >= 0 && count <= s->shape.outputs);
    memset(s->host, 0, (size_t)s->shape.outputs * sizeof *s->host);
    memcpy(s->host, rows, (size_t)count * sizeof *s->host);
    upload(s, s->outputs, s->shape.outputs);
    be->ops->gather_rows(be, s->stream, s->acts.h, s->outputs);
    be->ops->gather_rows(be, s->addend, s->branch, s->outputs);
    mr_rmsnorm_forward(be, s->normed, s->rstd, s->stream, s->stream, s->addend,
                       mr_params_weight(model->params, model->final_norm),
                       model->arch.rms_norm_eps);
    mr_linear_forward(be, s->logits, s->normed, mr_params_weight(model->params, model->head), 0);
    s->predicted = count;
}

void mr_session_logits(mr_session *s, float *out)
{
    if (s->predicted == 0) return;
    s->model->be->ops->download(s->model->be, out, mr_tensor_rows(s->logits, 0, s->predicted));
}

void mr_session_best(mr_session *s, int32_t *ids)
{
    mr_backend *be = s->model->be;
    if (s->predicted == 0) return;
    be->ops->argmax(be, s->ids, s->logits);
    be->ops->download(be, ids, mr_tensor_cols(s->ids, 0, s->predicted));
}

void mr_session_losses(mr_session *s, const int32_t *targets, double *losses)
{
    mr_backend *be = s->model->be;
    if (s->predicted == 0) return;
    memcpy(s->host, targets, (size_t)s->predicted * sizeof *s->host);
    for (int64_t i = s->predicted; i < s->shape.outputs; i++)
        s->host[i] = -1;
    upload(s, s->targets, s->shape.outputs);
    be->ops->cross_entropy(be, s->logits, s->targets, s->losses, false, 0);
    be->ops->download(be, losses, mr_tensor_cols(s->losses, 0, s->predicted));
}
