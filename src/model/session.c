/* A pass without gradients over a cache of keys and values; the contract stands in model/session.h.
 */

#include "model/session.h"

#include "base/hash.h"
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
    mr_tensor branch, work;
    mr_scaled cast;
    mr_tensor told; /* I32 [1, told_count]: what a pass is told, list behind list */
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

/* Elements of all lists of indices that a pass is told, at most. */
static int64_t told_count(const mr_session_shape *shape)
{
    return 3 * shape->rows + shape->sequences * (table_cols(shape) + 2) + 1 + 2 * shape->copies;
}

/* Elements of the host's scratch: of these lists, or of a prediction's. */
static int64_t host_count(const mr_session_shape *shape)
{
    const int64_t told = told_count(shape);
    return told > shape->outputs ? told : shape->outputs;
}

static void place(mr_session *s, mr_arena *arena)
{
    const mr_hf_config *a = &s->model->arch;
    const mr_session_shape *shape = &s->shape;
    const mr_dtype compute = s->model->compute;
    const int64_t rows = shape->rows, kv_cols = a->num_key_value_heads * a->head_dim;
    mr_layer_place(s->model, NULL, arena, rows, 1, 1, NULL, &s->acts);
    s->acts.x = mr_arena_take(arena, compute, rows, a->hidden_size);
    s->branch = mr_arena_take(arena, compute, rows, a->hidden_size);
    s->told = mr_arena_take(arena, MR_I32, 1, told_count(shape));
    s->work = mr_arena_take(arena, compute, rows, mr_model_adapter_work(s->model));
    s->cast = mr_eight_place_cast(s->model, arena, rows);
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

/* A list of so many indices behind those that there are: where it will be told, and, returned,
 * where to write it. */
static int32_t *add_list(mr_session *s, int64_t count, int64_t *used, mr_tensor *told)
{
    int32_t *list = s->host + *used;
    *told = mr_tensor_cols(s->told, *used, count);
    *used += count;
    return list;
}

/* Tells the device of a pass, all at once; returns its new tokens, and where what is told stands.
 */
static int64_t tell(mr_session *s, const mr_session_pass *p, mr_tensor *tokens,
                    mr_tensor *positions, mr_cache *cache)
{
    const int64_t cols = table_cols(&s->shape);
    int64_t fresh = 0, used = 0, row = 0;
    for (int64_t i = 0; i < p->count; i++)
        fresh += p->runs[i].count;
    MR_INVARIANT(fresh <= p->rows);
    memset(s->host, 0, (size_t)host_count(&s->shape) * sizeof *s->host);
    int32_t *token = add_list(s, p->rows, &used, tokens);
    int32_t *position = add_list(s, p->rows, &used, positions);
    int32_t *place = add_list(s, fresh, &used, &cache->rows);
    int32_t *offset = add_list(s, p->count + 1, &used, &cache->offsets);
    int32_t *length = add_list(s, p->count, &used, &cache->lengths);
    int32_t *pages = add_list(s, p->count * cols, &used, &cache->pages);
    int32_t *from = add_list(s, p->copies, &used, &cache->from);
    int32_t *to = add_list(s, p->copies, &used, &cache->to);
    cache->pages = mr_tensor_reshape(cache->pages, p->count, cols);
    for (int64_t i = 0; i < p->count; i++) {
        const mr_session_run *run = &p->runs[i];
        const int64_t all = run->before + run->count;
        MR_INVARIANT(run->count > 0 && all <= s->shape.tokens);
        for (int64_t t = 0; t < run->count; t++, row++) {
            token[row] = run->ids[t];
            position[row] = (int32_t)(run->before + t);
            place[row] = place_of(run, run->before + t);
        }
        offset[i + 1] = (int32_t)row;
        length[i] = (int32_t)all;
        memcpy(pages + i * cols, run->pages, (size_t)mr_session_pages(all) * sizeof *pages);
    }
    if (p->copies > 0) {
        memcpy(from, p->from, (size_t)p->copies * sizeof *from);
        memcpy(to, p->to, (size_t)p->copies * sizeof *to);
    }
    upload(s, s->told, used);
    return fresh;
}

/* What the operations of a pass of one token a sequence follow from, and their arguments: where
 * the session's tensors stand, its shape, and which weights the adapters' tables are of. */
static uint64_t pass_key(const mr_session *s, const mr_session_pass *p)
{
    const uint64_t parts[] = {(uint64_t)(uintptr_t)s->memory, (uint64_t)p->rows, (uint64_t)p->count,
                              s->model->params->generation};
    return mr_hash_fnv(MR_HASH_FNV, parts, sizeof parts);
}

void mr_session_run_pass(mr_session *s, const mr_session_pass *p)
{
    mr_model *model = s->model;
    mr_backend *be = model->be;
    const mr_session_shape *shape = &s->shape;
    MR_INVARIANT(p->rows > 0 && p->rows <= shape->rows && p->count <= shape->sequences &&
                 p->copies <= shape->copies);
    mr_cache cache = s->cache;
    mr_tensor tokens, positions;
    const int64_t fresh = tell(s, p, &tokens, &positions, &cache);
    const int layers = (int)model->arch.num_hidden_layers;
    mr_layer_acts acts = mr_layer_first_rows(&s->acts, p->rows);
    mr_tensor branch = mr_tensor_rows(s->branch, 0, p->rows);
    cache.copied = mr_tensor_rows(cache.copied, 0, p->copies);
    mr_pass pass = {.rows = p->rows,
                    .shape = {.batch = p->count,
                              .heads = model->arch.num_attention_heads,
                              .kv_heads = model->arch.num_key_value_heads,
                              .head_size = model->arch.head_dim},
                    .positions = positions,
                    .rope = &s->rope,
                    .adapter_work = s->work,
                    .cast = s->cast,
                    .cache = &cache};
    /* Of texts that go on by a token each, a pass is as the one before it but for what is told. */
    const bool repeats = fresh == p->count && p->copies == 0 && !model->params->gather;
    mr_params_use(model->params, 0, mr_model_layer_unit(0));
    mr_eight_refresh(model);
    if (repeats && !be->ops->repeat_begin(be, pass_key(s, p))) return;
    mr_embedding_forward(be, acts.x, mr_params_weight(model->params, model->embed), tokens);
    for (int l = 0; l < layers; l++) {
        mr_params_use(model->params, mr_model_layer_unit(l),
                      l + 1 < layers ? mr_model_layer_unit(l + 1) : model->head_unit);
        mr_layer_forward(model, l, &pass, &acts, l == 0 ? (mr_tensor){0} : acts.h, branch);
    }
    if (repeats) be->ops->repeat_end(be);
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
    be->each_row = true;
    mr_linear_forward(be, s->logits, s->normed, mr_params_weight(model->params, model->head), 0);
    be->each_row = false;
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
