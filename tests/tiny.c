#include "tiny.h"

#include "settings.h"

#include <stdio.h>
#include <string.h>

enum { TOKENS = 9, VOCABULARY = 37 };

static void *must_allocate(size_t count, size_t size)
{
    void *memory = mr_alloc_array(MR_MEM_OTHER, count, size);
    if (!memory) mr_abort("%s", mr_message());
    return memory;
}

tiny_options tiny_defaults(const mr_comm *comm, const char *method)
{
    return (tiny_options){.comm = comm,
                          .shard = MR_SHARD_FULL,
                          .method = method,
                          .targets = {.count = 1, .item = {"all-linear"}}};
}

mr_status tiny_lay_out(const tiny_options *options, tiny *out)
{
    /* Linears of more rows than are merged at once, and of shapes no shard's border fits. */
    *out = (tiny){.comm = options->comm,
                  .arch = {.hidden_size = 36,
                           .intermediate_size = 150,
                           .num_hidden_layers = 2,
                           .num_attention_heads = 6,
                           .num_key_value_heads = 2,
                           .head_dim = 6,
                           .vocab_size = VOCABULARY,
                           .max_position_embeddings = 64,
                           .rms_norm_eps = 1e-6,
                           .rope_theta = 10000,
                           .initializer_range = 0.2,
                           .tie_word_embeddings = options->tied}};
    out->config = must_allocate(1, sizeof *out->config);
    mr_config *c = out->config;
    settings_of_method(c, options->method);
    mr_adapter_config *adapter = settings_adapter(c);
    adapter->r = 3;
    adapter->lora_alpha = 6;
    adapter->lora_dropout = options->dropout;
    adapter->target_modules = options->targets;
    adapter->modules_to_save = options->saved;
    if (mr_config_has(c, "method.operator"))
        settings_put(c, "method.operator", "%s", mr_mora_operators[options->operator]);
    if (options->cycle) settings_put(c, "method.remora_cycle", "%s", options->cycle);
    if (mr_config_has(c, "method.freeze_a"))
        settings_put(c, "method.freeze_a", "%s", options->freeze_a ? "true" : "false");
    if (options->lr_ratio > 0)
        settings_put(c, "method.loraplus_lr_ratio", "%.17g", options->lr_ratio);
    c->train.lr_scale = options->lr_scale;
    c->parallel.shard = (int32_t)options->shard;
    c->run.seed = 11;
    must(mr_backend_create(test_backend(), 0, 1, &out->be));
    mr_status status = mr_model_create(
        &(mr_model_options){
            .comm = out->comm,
            .be = out->be,
            .arch = &out->arch,
            .method = mr_adapter_find(options->method),
            .adapter = adapter,
            .lr_scale = &c->train.lr_scale,
            .lr = c->train.lr,
            .shard = options->shard,
            .compute = options->compute,
            .recompute = options->recompute,
            .seed = 11,
            .geometry = {.batch = 1, .tokens = TOKENS, .micros = 1, .in_wave = 1, .stretches = 1}},
        &out->model);
    if (status != MR_OK) tiny_destroy(out);
    return status;
}

tiny tiny_create(const tiny_options *options)
{
    tiny t;
    must(tiny_lay_out(options, &t));
    must(mr_model_allocate(t.model));
    must(mr_model_draw(t.model, (uint64_t)t.config->run.seed, true, true));
    must(mr_model_prepare_adapters(t.model));
    t.logit_count = (int64_t)TOKENS * VOCABULARY;
    t.logits = must_allocate((size_t)t.logit_count, sizeof *t.logits);
    return t;
}

void tiny_destroy(tiny *t)
{
    mr_model_destroy(&t->model);
    if (t->be) mr_backend_destroy(&t->be);
    mr_free(t->config);
    mr_free(t->logits);
    *t = (tiny){0};
}

static mr_status stir(void *context, const mr_param *param, int64_t first, int64_t count,
                      float *out)
{
    const uint64_t *stream = context;
    uint64_t name = 0;
    for (const char *c = param->name; *c; c++)
        name = name * 31 + (uint8_t)*c;
    mr_random random = mr_random_stream(name, MR_RANDOM_DATA, *stream);
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)(0.2 * mr_random_normal(&random, (uint64_t)(first + i)));
    return MR_OK;
}

void tiny_stir(tiny *t, uint64_t stream)
{
    mr_params *params = mr_model_params(t->model);
    for (int i = 0; i < mr_params_length(params); i++)
        if (mr_params_at(params, i)->adapter && mr_params_at(params, i)->trained)
            must(mr_params_fill(params, i, stir, &stream));
    mr_params_invalidate(params);
}

/* Sequence number `which`. */
static void draw_sequence(int which, int32_t tokens[TOKENS], int32_t targets[TOKENS])
{
    for (int i = 0; i < TOKENS; i++) {
        tokens[i] = (7 * i + 5 * which + 3) % VOCABULARY;
        targets[i] = i % 4 == 3 ? -1 : (11 * i + which) % VOCABULARY;
    }
}

void tiny_evaluate(tiny *t)
{
    int32_t tokens[TOKENS], targets[TOKENS];
    double losses[TOKENS];
    draw_sequence(0, tokens, targets);
    mr_model_evaluate(t->model, &(mr_model_batch){.tokens = tokens, .targets = targets}, 1, losses,
                      t->logits);
}

void tiny_train(tiny *t)
{
    int32_t tokens[TOKENS], targets[TOKENS];
    draw_sequence(t->comm->rank, tokens, targets);
    mr_model_set_batches(t->model, 0, 1, &(mr_model_batch){.tokens = tokens, .targets = targets});
    mr_memory_guard(true);
    mr_exact loss = {0}, squares = {0};
    mr_model_train_wave(t->model, 0, 0.125, 4);
    must(mr_model_finish_step(t->model, &loss, &squares));
    mr_params_share_gradients(mr_model_params(t->model));
    mr_memory_guard(false);
}

int64_t tiny_count(const tiny *t, int id)
{
    const mr_param *param = mr_params_at(mr_model_params(t->model), id);
    return param->rows * param->cols;
}

float *tiny_weights(tiny *t, int id)
{
    float *values = must_allocate((size_t)tiny_count(t, id), sizeof *values);
    mr_params_read(mr_model_params(t->model), id, values);
    return values;
}

float *tiny_gradient(tiny *t, int id)
{
    int64_t count = tiny_count(t, id);
    float *values = must_allocate((size_t)count, sizeof *values);
    mr_own own = mr_params_own(mr_model_params(t->model), id);
    if (own.count > 0) t->be->ops->download(t->be, values + own.first, own.grad);
    /* Each element is one rank's and zero elsewhere; without shards every rank has all of them. */
    if (t->config->parallel.shard != MR_SHARD_NONE)
        MR_MPI(
            MPI_Allreduce(MPI_IN_PLACE, values, (int)count, MPI_FLOAT, MPI_SUM, t->comm->handle));
    return values;
}
