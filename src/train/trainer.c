#define _GNU_SOURCE /* sched_getaffinity */ /* NOLINT(bugprone-reserved-identifier) */

#include "train/trainer.h"

#include "base/clock.h"
#include "base/log.h"
#include "optim/schedule.h"

#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The ranks on this node; to be freed. */
static MPI_Comm node_of(const mr_comm *comm)
{
    MPI_Comm node;
    MR_MPI(MPI_Comm_split_type(comm->handle, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
    return node;
}

static int node_ranks(const mr_comm *comm)
{
    MPI_Comm node = node_of(comm);
    int size;
    MR_MPI(MPI_Comm_size(node, &size));
    MR_MPI(MPI_Comm_free(&node));
    return size;
}

int mr_trainer_threads(const mr_comm *comm, int64_t wanted)
{
    /* Processors this rank may run on, shared with every rank of the node that may run on one of
     * them: right where a launcher binds ranks, and where it leaves them all to one set. */
    MPI_Comm node = node_of(comm);
    int size, sharing = 0;
    MR_MPI(MPI_Comm_size(node, &size));
    cpu_set_t mine, both;
    CPU_ZERO(&mine);
    bool known = sched_getaffinity(0, sizeof mine, &mine) == 0;
    cpu_set_t *all = mr_alloc_array(MR_MEM_OTHER, (size_t)size, sizeof *all);
    if (!all) mr_abort("%s", mr_message());
    MR_MPI(MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE, node));
    MR_MPI(MPI_Comm_free(&node));
    for (int i = 0; i < size; i++) {
        CPU_AND(&both, &mine, &all[i]);
        sharing += CPU_COUNT(&both) > 0;
    }
    mr_free(all);
    if (wanted > 0) return (int)wanted;
    int threads = known && sharing > 0 ? CPU_COUNT(&mine) / sharing : 1;
    return threads < 1 ? 1 : threads;
}

mr_status mr_trainer_arch(const mr_comm *comm, const mr_config *config, mr_hf_config *arch)
{
    mr_status status = MR_OK;
    if (comm->rank == 0) {
        char path[PATH_MAX];
        if (config->model.config[0])
            snprintf(path, sizeof path, "%s", config->model.config);
        else
            snprintf(path, sizeof path, "%s/config.json", config->model.path);
        status = mr_hf_config_read(path, arch);
    }
    MR_TRY(mr_comm_agree_root(comm, status));
    mr_comm_broadcast(comm, arch, sizeof *arch, 0);
    return MR_OK;
}

/* Cuts the global batch into micro-batches over ranks and waves. */
static mr_status cut_batch(mr_trainer *t, mr_geometry *geometry)
{
    const mr_config *c = t->config;
    int64_t ranks = t->comm->size;
    int64_t batch = c->train.global_batch, micro = c->train.micro_batch;
    MR_CHECK(batch % ranks == 0, MR_ERR_ARG,
             "train.global_batch: %lld samples do not divide among %lld ranks", (long long)batch,
             (long long)ranks);
    if (micro == 0) micro = batch / ranks;
    MR_CHECK(micro <= INT_MAX / t->seq_len, MR_ERR_ARG,
             "train.micro_batch: %lld samples of %lld tokens are more rows than %d",
             (long long)micro, (long long)t->seq_len, INT_MAX);
    MR_CHECK(batch % micro == 0, MR_ERR_ARG,
             "train.global_batch: %lld samples are not a whole number of micro-batches of %lld",
             (long long)batch, (long long)micro);
    t->micro_batches = batch / micro;
    MR_CHECK(t->micro_batches % ranks == 0, MR_ERR_ARG,
             "train.global_batch: %lld micro-batches of %lld samples do not divide among %lld "
             "ranks; set train.micro_batch to a divisor of %lld",
             (long long)t->micro_batches, (long long)micro, (long long)ranks,
             (long long)(batch / ranks));
    int64_t power = t->micro_batches & -t->micro_batches;
    t->rank_free = c->train.micro_batch > 0 && power % ranks == 0;
    *geometry = (mr_geometry){
        .batch = micro, .tokens = t->seq_len, .waves = t->micro_batches / ranks, .in_wave = 1};
    return MR_OK;
}

static mr_status create_data(mr_trainer *t, const mr_hf_config *arch)
{
    const mr_config *c = t->config;
    MR_CHECK(c->model.dtype == 0, MR_ERR_CONFIG,
             "model.dtype: backend '%s' computes in f32 only, found \"bf16\"", t->be->ops->name);
    MR_TRY(mr_tokenizer_create("bytes", &t->tokenizer));
    MR_CHECK(t->tokenizer->vocabulary <= arch->vocab_size, MR_ERR_ARG,
             "the tokenizer has %d ids, the model's vocab_size is %lld", t->tokenizer->vocabulary,
             (long long)arch->vocab_size);
    MR_TRY(mr_dataset_create(c, t->tokenizer, &t->dataset));
    t->seq_len = c->train.seq_len > 0 ? c->train.seq_len : t->dataset->longest;
    t->order = (mr_order){.seed = (uint64_t)c->run.seed, .items = t->dataset->items};
    t->total_steps = c->train.steps;
    double steps = (double)t->total_steps;
    if (steps == 0)
        steps = ceil(c->train.epochs * (double)t->dataset->items / (double)c->train.global_batch);
    MR_CHECK(steps >= 1 && steps <= 1e12, MR_ERR_CONFIG,
             "train.epochs: %g passes over %lld items are %g steps, expected 1..1e12",
             c->train.epochs, (long long)t->dataset->items, steps);
    t->total_steps = (int64_t)steps;
    MR_CHECK(c->train.warmup_steps <= t->total_steps, MR_ERR_CONFIG,
             "train.warmup_steps: %lld are more than the %lld steps of the run",
             (long long)c->train.warmup_steps, (long long)t->total_steps);
    return MR_OK;
}

/* Lays out model and generator for a geometry, and plans them. */
static mr_status lay_out(mr_trainer *t, const mr_hf_config *arch, mr_geometry geometry)
{
    mr_generator_destroy(&t->generator);
    mr_model_destroy(&t->model);
    MR_TRY(mr_model_create(
        &(mr_model_options){
            .comm = t->comm, .be = t->be, .arch = arch, .config = t->config, .geometry = geometry},
        &t->model));
    if (mr_dataset_generates(t->dataset)) {
        mr_text answer = {0};
        int64_t count = 0;
        mr_status status = mr_dataset_answer(t->dataset, 0, &answer, &count);
        mr_text_free(&answer);
        MR_TRY(status);
        int64_t share = (mr_trainer_scored_items(t) + t->comm->size - 1) / t->comm->size;
        int64_t batch = t->config->eval.batch < share ? t->config->eval.batch : share;
        if (batch > mr_model_logits_rows(arch)) batch = mr_model_logits_rows(arch);
        /* A sample holds prompt and answer, so a prompt is shorter by the answer. */
        MR_TRY(mr_generator_create(t->model, batch, t->dataset->longest - count, count,
                                   &t->generator));
    }
    t->plan = mr_plan_of(t->model, t->generator);
    return MR_OK;
}

/* The same on every rank, that of the smallest node: it decides how ranks cut their work. */
static size_t memory_limit(const mr_comm *comm, const mr_config *config)
{
    if (config->parallel.memory_gib > 0) return (size_t)(config->parallel.memory_gib * 0x1p30);
    int64_t negated = -sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGE_SIZE) / node_ranks(comm);
    mr_comm_max_i64(comm, &negated, 1);
    return (size_t)-negated;
}

static mr_status create(mr_trainer *t, const mr_hf_config *arch)
{
    MR_TRY(create_data(t, arch));
    mr_geometry geometry;
    MR_TRY(cut_batch(t, &geometry));
    MR_TRY(lay_out(t, arch, geometry));
    /* A gathered unit may serve several micro-batches at once, at the price of their activations:
     * as many as fit. The tree's shape stays, and so do the bits. A tied head keeps its unit's
     * gradient open from end to end of the pass, so there it is one. */
    bool gathers = t->comm->size > 1 && t->config->parallel.shard == MR_SHARD_FULL;
    while (gathers && !arch->tie_word_embeddings && geometry.waves % 2 == 0) {
        mr_geometry wider = geometry;
        wider.waves /= 2;
        wider.in_wave *= 2;
        MR_TRY(lay_out(t, arch, wider));
        if (t->plan.total > t->memory_limit) {
            MR_TRY(lay_out(t, arch, geometry));
            break;
        }
        geometry = wider;
    }
    return MR_OK;
}

mr_status mr_trainer_check_memory(const mr_trainer *t)
{
    MR_CHECK(t->plan.total <= t->memory_limit, MR_ERR_ARG,
             "the plan takes %.3g GiB a rank and %.3g GiB are allowed (parallel.memory_gib); "
             "smaller train.micro_batch, train.recompute: layer, parallel.shard: full or more "
             "ranks take less",
             (double)t->plan.total / 0x1p30, (double)t->memory_limit / 0x1p30);
    return MR_OK;
}

mr_status mr_trainer_create(const mr_comm *comm, const mr_config *config, mr_backend *be,
                            const mr_hf_config *arch, mr_trainer **out)
{
    *out = NULL;
    size_t limit = memory_limit(comm, config);
    mr_trainer *t = mr_alloc(MR_MEM_OTHER, sizeof *t);
    mr_status status = t ? MR_OK : MR_ERR_MEMORY;
    if (t) {
        *t = (mr_trainer){.comm = comm, .config = config, .be = be, .memory_limit = limit};
        status = create(t, arch);
    }
    status = mr_comm_agree(comm, status);
    if (status == MR_OK)
        *out = t;
    else
        mr_trainer_destroy(&t);
    return status;
}

static mr_status set_weights(mr_trainer *t)
{
    bool pretrained = t->config->model.init == MR_INIT_PRETRAINED;
    MR_TRY(mr_model_draw(t->model, (uint64_t)t->config->run.seed, !pretrained, true));
    if (!pretrained) return MR_OK;
    mr_hf *weights;
    MR_TRY(mr_hf_open(t->config->model.path, &weights));
    mr_status status = mr_model_load(t->model, weights);
    mr_hf_close(&weights);
    return status;
}

static mr_status allocate(mr_trainer *t)
{
    const mr_geometry *g = &t->model->geometry;
    size_t rows = (size_t)(g->batch * g->tokens), here = (size_t)(g->waves * g->in_wave);
    MR_TRY(mr_trainer_check_memory(t));
    MR_TRY(mr_model_allocate(t->model));
    if (t->generator) MR_TRY(mr_generator_allocate(t->generator));
    mr_plan_check(&t->plan);
    MR_TRY(mr_optimizer_create(t->model->params, t->config, &t->optimizer));
    t->tokens = mr_alloc_array(MR_MEM_DATA, here * rows, sizeof *t->tokens);
    t->targets = mr_alloc_array(MR_MEM_DATA, here * rows, sizeof *t->targets);
    t->losses = mr_alloc_array(MR_MEM_DATA, rows, sizeof *t->losses);
    if (!t->tokens || !t->targets || !t->losses) return MR_ERR_MEMORY;
    return set_weights(t);
}

mr_status mr_trainer_allocate(mr_trainer *trainer)
{
    return mr_comm_agree(trainer->comm, allocate(trainer));
}

void mr_trainer_destroy(mr_trainer **out)
{
    mr_trainer *t = *out;
    if (!t) return;
    mr_optimizer_destroy(&t->optimizer);
    mr_generator_destroy(&t->generator);
    mr_model_destroy(&t->model);
    mr_dataset_destroy(&t->dataset);
    mr_tokenizer_destroy(&t->tokenizer);
    mr_free(t->tokens);
    mr_free(t->targets);
    mr_free(t->losses);
    mr_free(t);
    *out = NULL;
}

/* Index in the global batch of this rank's first micro-batch of a wave. */
static int64_t first_micro(const mr_trainer *t, int64_t wave)
{
    const mr_geometry *g = &t->model->geometry;
    return (wave * t->comm->size + t->comm->rank) * g->in_wave;
}

/* Fills this rank's micro-batches of a step; scored gets their scored targets. */
static mr_status fill_step(mr_trainer *t, int64_t step, int64_t *scored)
{
    const mr_geometry *g = &t->model->geometry;
    int64_t rows = g->batch * g->tokens;
    *scored = 0;
    for (int64_t wave = 0; wave < g->waves; wave++)
        for (int64_t w = 0; w < g->in_wave; w++) {
            int64_t micro = first_micro(t, wave) + w, here = wave * g->in_wave + w, part;
            int64_t position = step * t->config->train.global_batch + micro * g->batch;
            MR_TRY(mr_batch_fill(t->dataset, &t->order, position, g->batch, g->tokens,
                                 t->tokens + here * rows, t->targets + here * rows, &part));
            *scored += part;
        }
    return MR_OK;
}

/* Forward and backward of the whole step; adds token losses to sum. */
static void run_waves(mr_trainer *t, int64_t step, double scale, mr_exact *sum)
{
    mr_model *model = t->model;
    const mr_geometry *g = &model->geometry;
    int64_t rows = g->batch * g->tokens;
    for (int64_t wave = 0; wave < g->waves; wave++) {
        for (int64_t w = 0; w < g->in_wave; w++) {
            int64_t at = (wave * g->in_wave + w) * rows;
            mr_model_set_batch(model, w, t->tokens + at, t->targets + at);
        }
        mr_model_train_wave(model, scale, (uint64_t)step, first_micro(t, wave));
        for (int64_t w = 0; w < g->in_wave; w++) {
            mr_model_losses(model, w, t->losses);
            for (int64_t i = 0; i < rows; i++)
                mr_exact_add(sum, t->losses[i]);
        }
    }
    mr_params_reduce_finish(model->params);
}

mr_status mr_trainer_step(mr_trainer *t, mr_step_result *result)
{
    double began = mr_clock();
    int64_t step = t->optimizer.steps;
    int64_t counts[2] = {0, 0}; /* scored targets, ranks whose data failed */
    mr_memory_guard(true);
    mr_status status = fill_step(t, step, &counts[0]);
    counts[1] = status != MR_OK;
    mr_comm_sum_i64(t->comm, counts, 2);
    mr_memory_guard(false);
    if (counts[1] > 0) return mr_comm_agree(t->comm, status);
    status = mr_trainer_compute(t, counts[0], result);
    result->seconds = mr_clock() - began;
    return status;
}

mr_status mr_trainer_compute(mr_trainer *t, int64_t all_scored, mr_step_result *result)
{
    int64_t step = t->optimizer.steps;
    mr_exact sums[2] = {0}; /* loss, squared gradient */
    double scored = all_scored > 0 ? (double)all_scored : 1;
    mr_memory_guard(true);
    run_waves(t, step, 1 / scored, &sums[0]);
    mr_optimizer_square_sum(&t->optimizer, &sums[1]);
    mr_exact_reduce(t->comm, sums, 2);

    *result = (mr_step_result){
        .loss = mr_exact_value(&sums[0]) / scored,
        .grad_norm = sqrt(mr_exact_value(&sums[1])),
        .lr = t->config->train.lr * mr_schedule_factor((mr_schedule_kind)t->config->train.schedule,
                                                       t->config->train.warmup_steps,
                                                       t->total_steps, step),
        .scored = all_scored,
        .tokens = t->config->train.global_batch * t->seq_len,
    };
    bool finite = isfinite(result->loss) && isfinite(result->grad_norm);
    if (finite) mr_optimizer_update(&t->optimizer, result->lr, result->grad_norm);
    mr_memory_guard(false);
    MR_CHECK(finite, MR_ERR_NUMERIC, "step %lld: loss %g, gradient norm %g: not finite",
             (long long)step + 1, result->loss, result->grad_norm);
    return MR_OK;
}

int64_t mr_trainer_scored_items(const mr_trainer *t)
{
    int64_t wanted = t->config->eval.items;
    return wanted > 0 && wanted < t->dataset->items ? wanted : t->dataset->items;
}

/* Generates for one batch of items and writes their scores; items at or past `items` are fillers.
 */
static mr_status score_batch(mr_trainer *t, int64_t first, int64_t items, int32_t *prompts,
                             int32_t *lengths, int32_t *generated, int64_t count, float *scores)
{
    mr_generator *g = t->generator;
    mr_status status = MR_OK;
    for (int64_t b = 0; b < g->batch; b++) {
        int64_t item = first + b < items ? first + b : 0, length = 1;
        int32_t *prompt = prompts + b * g->prompt;
        memset(prompt, 0, (size_t)g->prompt * sizeof *prompt);
        /* After a failure too the model runs, on fillers: the other ranks count on this one. */
        if (status == MR_OK)
            status = mr_dataset_prompt(t->dataset, item, prompt, g->prompt, &length);
        if (length > g->prompt)
            status = mr_fail(MR_ERR_FORMAT, "prompt of item %lld: %lld tokens, at most %lld fit",
                             (long long)item, (long long)length, (long long)g->prompt);
        lengths[b] = (int32_t)(status == MR_OK ? length : 1);
    }
    mr_generator_run(g, prompts, lengths, count, generated);
    mr_text text = {0};
    for (int64_t b = 0; b < g->batch && first + b < items && status == MR_OK; b++) {
        /* The first special id ends the text: what stands behind it is not part of the answer. */
        const int32_t *ids = generated + b * count;
        int64_t length = 0;
        while (length < count && ids[length] != t->tokenizer->eos &&
               ids[length] != t->tokenizer->bos && ids[length] != t->tokenizer->pad)
            length++;
        status = mr_tokenizer_decode(t->tokenizer, ids, length, &text);
        scores[first + b] =
            (float)mr_dataset_score(t->dataset, first + b, mr_text_get(&text), text.length);
        mr_text_free(&text);
    }
    return status;
}

mr_status mr_trainer_score(mr_trainer *t, float *items, double *mean)
{
    mr_generator *g = t->generator;
    int64_t count = mr_trainer_scored_items(t), new_tokens = g->capacity - g->prompt;
    size_t batch = (size_t)g->batch;
    int32_t *prompts = mr_alloc_array(MR_MEM_DATA, batch * (size_t)g->prompt, sizeof *prompts);
    int32_t *lengths = mr_alloc_array(MR_MEM_DATA, batch, sizeof *lengths);
    int32_t *generated = mr_alloc_array(MR_MEM_DATA, batch * (size_t)new_tokens, sizeof *generated);
    int64_t *bits = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *bits);
    bool room = prompts && lengths && generated && bits;
    mr_status status = mr_comm_agree(t->comm, room ? MR_OK : MR_ERR_MEMORY);
    if (status != MR_OK) goto cleanup;
    memset(items, 0, (size_t)count * sizeof *items);
    /* Every rank generates as often as the busiest: gathering weights is collective. */
    int64_t stride = g->batch * t->comm->size;
    mr_status local = MR_OK;
    for (int64_t first = 0; first < count; first += stride) {
        mr_status one = score_batch(t, first + t->comm->rank * g->batch, count, prompts, lengths,
                                    generated, new_tokens, items);
        if (one != MR_OK) local = one;
    }
    status = mr_comm_agree(t->comm, local);
    if (status != MR_OK) goto cleanup;
    /* Each score is one rank's and zero elsewhere: sums of bit patterns put them together. */
    for (int64_t i = 0; i < count; i++) {
        int32_t pattern;
        memcpy(&pattern, &items[i], sizeof pattern);
        bits[i] = pattern;
    }
    for (int64_t i = 0; i < count; i += INT_MAX)
        mr_comm_sum_i64(t->comm, bits + i, (int)(count - i < INT_MAX ? count - i : INT_MAX));
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        int32_t pattern = (int32_t)bits[i];
        memcpy(&items[i], &pattern, sizeof pattern);
        sum += (double)items[i];
    }
    *mean = sum / (double)count;
cleanup:
    mr_free(prompts);
    mr_free(lengths);
    mr_free(generated);
    mr_free(bits);
    return status;
}
