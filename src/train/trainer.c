#include "train/trainer.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "data/model_tokenizer.h"
#include "train/adapter_start.h"
#include "train/layout.h"
#include "train/sets.h"
#include "train/sharing.h"
#include "train/state.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

mr_status mr_trainer_config_path(const mr_config *config, char path[PATH_MAX])
{
    bool alone = config->model.config[0] != '\0';
    return mr_file_path(path, "%s%s", alone ? config->model.config : config->model.path,
                        alone ? "" : "/config.json");
}

/* A configuration given apart from the folder that the weights are read from must be that one's. */
static mr_status check_apart(const mr_config *config, const char *path, const mr_hf_config *arch)
{
    char other[PATH_MAX], differing[MR_HF_CONFIG_TEXT];
    char ours[MR_HF_CONFIG_TEXT], of_folder[MR_HF_CONFIG_TEXT];
    mr_hf_config theirs;
    MR_TRY(mr_file_path(other, "%s/config.json", config->model.path));
    MR_TRY(mr_hf_config_read(other, &theirs));
    mr_hf_config_text(arch, ours);
    mr_hf_config_text(&theirs, of_folder);
    MR_CHECK(!mr_hf_config_differs(ours, of_folder, false, differing), MR_ERR_CONFIG,
             "model.config: %s differs from %s: %s", path, other, differing);
    return MR_OK;
}

static mr_status read_arch(const mr_config *config, mr_hf_config *arch)
{
    bool pretrained = config->model.init == MR_INIT_PRETRAINED;
    char path[PATH_MAX];
    if (pretrained) MR_TRY(mr_hf_check_folder(config->model.path));
    MR_TRY(mr_trainer_config_path(config, path));
    MR_TRY(mr_hf_config_read(path, arch));
    return pretrained && config->model.config[0] ? check_apart(config, path, arch) : MR_OK;
}

mr_status mr_trainer_arch(const mr_comm *comm, const mr_config *config, mr_hf_config *arch)
{
    MR_TRY(mr_comm_agree_root(comm, comm->rank == 0 ? read_arch(config, arch) : MR_OK));
    mr_comm_broadcast(comm, arch, sizeof *arch, 0);
    bool pretrained = config->model.init == MR_INIT_PRETRAINED;
    return pretrained ? mr_hf_untie(comm, config->model.path, arch) : MR_OK;
}

static mr_status open_data(mr_trainer *t, const mr_hf_config *arch)
{
    MR_TRY(mr_model_tokenizer_create(t->config, arch, &t->tokenizer));
    MR_CHECK(t->tokenizer->vocabulary <= arch->vocab_size, MR_ERR_ARG,
             "the tokenizer has %d ids, the model's vocab_size is %lld", t->tokenizer->vocabulary,
             (long long)arch->vocab_size);
    return mr_dataset_create(t->config, t->tokenizer, &t->dataset);
}

static mr_status create_data(mr_trainer *t, const mr_hf_config *arch, bool plan_only)
{
    const mr_config *c = t->config;
    MR_CHECK(t->be->ops->computes(t->be, mr_trainer_dtype(c)), MR_ERR_CONFIG,
             "model.dtype: backend '%s' computes in f32 only, found \"bf16\"", t->be->ops->name);
    mr_status status = open_data(t, arch);
    /* A plan needs of the data only what the configuration may say as well. */
    bool spared = plan_only && status == MR_ERR_IO && c->train.steps > 0 && c->train.seq_len > 0;
    if (spared)
        mr_warn("%s; planned without it", mr_message());
    else if (status != MR_OK)
        return status;
    t->seq_len = c->train.seq_len > 0 ? c->train.seq_len : t->dataset->longest;
    t->total_steps = c->train.steps;
    if (t->dataset) {
        const int64_t rows = mr_dataset_rows(t->dataset);
        t->order = (mr_order){.seed = (uint64_t)c->run.seed, .items = rows};
        double steps = (double)t->total_steps;
        if (steps == 0)
            steps = ceil(c->train.epochs * (double)rows / (double)c->train.global_batch);
        MR_CHECK(steps >= 1 && steps <= 1e12, MR_ERR_CONFIG,
                 "train.epochs: %g passes over %lld items are %g steps, expected 1..1e12",
                 c->train.epochs, (long long)rows, steps);
        t->total_steps = (int64_t)steps;
    }
    MR_CHECK(c->train.warmup_steps <= t->total_steps, MR_ERR_CONFIG,
             "train.warmup_steps: %lld are more than the %lld steps of the run",
             (long long)c->train.warmup_steps, (long long)t->total_steps);
    MR_CHECK(t->seq_len >= 2 && t->seq_len <= arch->max_position_embeddings, MR_ERR_CONFIG,
             "train.seq_len: expected 2..%lld, the model's max_position_embeddings, found %lld",
             (long long)arch->max_position_embeddings, (long long)t->seq_len);
    t->schedule = mr_schedule_of(c, t->total_steps);
    return MR_OK;
}

static mr_status create(mr_trainer *t, const mr_hf_config *arch, bool plan_only)
{
    t->held = mr_memory_live(MR_MEM_OTHER);
    MR_TRY(create_data(t, arch, plan_only));
    if (t->dataset) MR_TRY(mr_sets_open(t, arch));
    mr_geometry geometry;
    MR_TRY(mr_trainer_cut_batch(t, &geometry));
    MR_TRY(mr_trainer_lay_out(t, arch, geometry));
    if (mr_model_method(t->model)->merges &&
        mr_adapter_config_of(t->config)->merge_every > t->total_steps)
        mr_warn("method.merge_every: %lld, so that a run of %lld steps never merges",
                (long long)mr_adapter_config_of(t->config)->merge_every, (long long)t->total_steps);
    return mr_trainer_choose_waves(t, arch, geometry);
}

mr_status mr_trainer_check_memory(const mr_trainer *t)
{
    MR_CHECK(t->plan.total <= t->limit.bytes, MR_ERR_ARG,
             "the plan takes %.3g GiB a rank and %.3g GiB are allowed (%s); "
             "smaller train.micro_batch, train.global_batch or eval.batch, train.recompute: layer, "
             "%sparallel.shard: full or more ranks take less%s",
             (double)t->plan.total / 0x1p30, (double)t->limit.bytes / 0x1p30, t->limit.why,
             mr_model_method(t->model)->trains_base ? "train.optimizer_dtype: bf16, " : "",
             mr_model_geometry(t->model)->stretches > 1
                 ? ", and so may parallel.same_bits_up_to, with fewer sums of gradients"
                 : "");
    return MR_OK;
}

static mr_status create_agreed(const mr_comm *comm, const mr_config *config, mr_backend *be,
                               const mr_hf_config *arch, mr_memory_limit limit, bool plan_only,
                               int64_t node_ranks, mr_trainer **out)
{
    mr_nodes nodes = mr_sharing_find(comm, config, be, node_ranks, config->run.name);
    *out = NULL;
    mr_trainer *t = mr_alloc(MR_MEM_OTHER, sizeof *t);
    mr_status status = t ? MR_OK : MR_ERR_MEMORY;
    if (t) {
        *t = (mr_trainer){.comm = comm, .config = config, .be = be, .limit = limit, .nodes = nodes};
        status = create(t, arch, plan_only);
    } else {
        mr_nodes_destroy(&nodes);
    }
    status = mr_comm_agree(comm, status);
    if (status == MR_OK) {
        const bool here = comm->rank == 0 && t->dataset;
        status = mr_comm_agree_root(comm, here ? mr_dataset_check(t->dataset) : MR_OK);
    }
    if (status == MR_OK)
        *out = t;
    else
        mr_trainer_destroy(&t);
    return status;
}

mr_status mr_trainer_create(const mr_comm *comm, const mr_config *config, mr_backend *be,
                            const mr_hf_config *arch, mr_trainer **out)
{
    mr_memory_limit limit = mr_memory_limit_of(comm, config, be, 0, NULL);
    return create_agreed(comm, config, be, arch, limit, false, 0, out);
}

mr_status mr_trainer_plan(const mr_comm *comm, const mr_config *config, mr_backend *be,
                          const mr_hf_config *arch, mr_memory_limit limit, int64_t node_ranks,
                          mr_trainer **out)
{
    return create_agreed(comm, config, be, arch, limit, true, node_ranks, out);
}

mr_status mr_trainer_open_weights(const mr_comm *comm, const mr_config *config,
                                  const mr_hf_config *arch, mr_hf **weights)
{
    char path[PATH_MAX];
    mr_status status = mr_trainer_config_path(config, path);
    *weights = NULL;
    if (status == MR_OK) status = mr_hf_open(config->model.path, weights);
    status = mr_comm_agree(comm, status);
    return status == MR_OK ? mr_hf_check(comm, *weights, arch, path) : status;
}

static mr_status read_weights(mr_trainer *t)
{
    const mr_hf_config *arch = mr_model_arch(t->model);
    mr_hf *weights;
    mr_status status = mr_trainer_open_weights(t->comm, t->config, arch, &weights);
    if (status == MR_OK) status = mr_comm_agree(t->comm, mr_model_load(t->model, weights));
    if (status == MR_OK) status = mr_hf_hash(t->comm, weights, arch, t->inputs.weights_hash);
    if (t->snapshots)
        t->base = weights; /* stays open: W at the start is read again */
    else
        mr_hf_close(&weights);
    return status;
}

static mr_status set_weights(mr_trainer *t)
{
    const uint64_t seed = (uint64_t)t->config->run.seed;
    bool pretrained = t->config->model.init == MR_INIT_PRETRAINED;
    MR_AGREE(t->comm, mr_model_draw(t->model, seed, !pretrained, true));
    if (pretrained) MR_TRY(read_weights(t));
    if (t->snapshots) mr_snapshots_set_start(t->snapshots, seed, t->base);
    return MR_OK;
}

/* Names what is trained on, and with: all but the weights. */
static mr_status name_inputs(const mr_trainer *t, const mr_hf_config *arch, mr_inputs *out)
{
    memcpy(out->tokenizer_hash, t->tokenizer->hash, sizeof out->tokenizer_hash);
    mr_hf_config_text(arch, out->model);
    mr_inputs_take_ends(out, t->tokenizer);
    MR_TRY(mr_adapter_start_hash(t->config, out->adapter_hash));
    return mr_dataset_hash(t->dataset, out->data_hash);
}

static mr_status read_data(const mr_config *config, const mr_hf_config *arch, mr_inputs *out)
{
    mr_trainer t = {.config = config};
    mr_status status = open_data(&t, arch);
    if (status == MR_OK) status = name_inputs(&t, arch, out);
    mr_dataset_destroy(&t.dataset);
    mr_tokenizer_destroy(&t.tokenizer);
    return status;
}

mr_status mr_trainer_inputs(const mr_comm *comm, const mr_config *config, mr_inputs *out)
{
    mr_hf_config arch;
    mr_hf *weights;
    *out = (mr_inputs){.data_hash = ""};
    MR_TRY(mr_trainer_arch(comm, config, &arch));
    MR_AGREE(comm, read_data(config, &arch, out));
    if (config->model.init != MR_INIT_PRETRAINED) return MR_OK;
    mr_status status = mr_trainer_open_weights(comm, config, &arch, &weights);
    if (status == MR_OK) status = mr_hf_hash(comm, weights, &arch, out->weights_hash);
    mr_hf_close(&weights);
    return status;
}

static mr_status allocate_rows(const mr_geometry *g, mr_rows *out)
{
    const size_t tokens = (size_t)(g->micros * g->batch * g->tokens);
    int32_t **const part[] = {&out->tokens, &out->targets, &out->positions, &out->starts};
    for (int i = 0; i < (g->packed ? 4 : 2); i++) {
        *part[i] = mr_alloc_array(MR_MEM_DATA, tokens, sizeof **part[i]);
        if (!*part[i]) return MR_ERR_MEMORY;
    }
    return MR_OK;
}

static mr_status allocate(mr_trainer *t)
{
    MR_TRY(mr_model_allocate(t->model));
    MR_TRY(mr_evaluator_allocate(t->evaluator));
    if (t->snapshots) MR_TRY(mr_snapshots_allocate(t->snapshots));
    MR_TRY(mr_optimizer_create(mr_model_params(t->model), t->config, &t->optimizer));
    MR_TRY(allocate_rows(mr_model_geometry(t->model), &t->rows));
    return name_inputs(t, mr_model_arch(t->model), &t->inputs);
}

mr_status mr_trainer_allocate(mr_trainer *t)
{
    MR_AGREE(t->comm, mr_trainer_check_memory(t));
    /* A run and each of its resumptions read all of their data once, each rank its share: bytes /
     * ranks at the rate of SHA-256, which is seconds where a step is seconds. The first use of a
     * shard would be no better a time: the order is random, so that every rank would soon have read
     * all of it. */
    MR_TRY(mr_dataset_verify(t->dataset, t->comm));
    MR_TRY(mr_evaluator_verify(t->evaluator, t->comm));
    MR_AGREE(t->comm, allocate(t));
    MR_TRY(mr_state_create_writer(t));
    mr_plan_check(&t->plan);
    MR_TRY(set_weights(t));
    MR_TRY(mr_model_prepare_adapters(t->model));
    MR_TRY(mr_adapter_start_read(t->comm, t->config, t->model));
    return mr_frozen_digest(t->model, t->frozen_digest);
}

void mr_trainer_destroy(mr_trainer **out)
{
    mr_trainer *t = *out;
    if (!t) return;
    mr_checkpointer_destroy(&t->checkpointer);
    mr_snapshots_destroy(&t->snapshots);
    mr_hf_close(&t->base);
    mr_optimizer_destroy(&t->optimizer);
    mr_evaluator_destroy(&t->evaluator);
    mr_model_destroy(&t->model);
    mr_nodes_destroy(&t->nodes);
    mr_dataset_destroy(&t->dataset);
    mr_tokenizer_destroy(&t->tokenizer);
    mr_free(t->rows.tokens);
    mr_free(t->rows.targets);
    mr_free(t->rows.positions);
    mr_free(t->rows.starts);
    mr_free(t);
    *out = NULL;
}

/* Fills this rank's micro-batches of a step; scored gets their scored targets. */
static mr_status fill_step(mr_trainer *t, int64_t step, int64_t *scored)
{
    const mr_geometry *g = mr_model_geometry(t->model);
    *scored = 0;
    for (int64_t wave = 0; wave < mr_geometry_waves(g); wave++)
        for (int64_t w = 0; w < mr_geometry_in_wave(g, wave); w++) {
            int64_t micro = mr_model_first_micro(t->model, wave) + w, here = wave * g->in_wave + w,
                    part;
            int64_t position = step * t->config->train.global_batch + micro * g->batch;
            mr_rows rows = mr_rows_behind(t->rows, here * g->batch, g->tokens);
            MR_TRY(
                mr_batch_fill(t->dataset, &t->order, position, g->batch, g->tokens, rows, &part));
            *scored += part;
        }
    return MR_OK;
}

/* Forward and backward of the whole step; adds up token losses and squared gradient elements. */
static mr_status run_waves(mr_trainer *t, double scale, mr_exact *loss, mr_exact *squares)
{
    const mr_geometry *g = mr_model_geometry(t->model);
    const mr_model_batch batch = {.tokens = t->rows.tokens,
                                  .targets = t->rows.targets,
                                  .positions = t->rows.positions,
                                  .starts = t->rows.starts};
    mr_model_set_batches(t->model, 0, g->micros, &batch);
    for (int64_t wave = 0; wave < mr_geometry_waves(g); wave++)
        mr_model_train_wave(t->model, wave, scale, (uint64_t)t->step);
    return mr_model_finish_step(t->model, loss, squares);
}

/* Reads the data of the next step and adds up what is told of them, and other numbers, in one
 * reduction. Returns this rank's failure to read. */
static mr_status read_data_of_step(mr_trainer *t, int64_t *sums, int count)
{
    int64_t all[2 + MR_RIDERS] = {0}; /* scored targets, ranks whose data failed, riders */
    double began = mr_clock();
    MR_INVARIANT(count <= MR_RIDERS);
    mr_memory_guard(true);
    mr_status status = fill_step(t, t->step, &all[0]);
    all[1] = status != MR_OK;
    for (int i = 0; i < count; i++)
        all[2 + i] = sums[i];
    mr_comm_sum_i64(t->comm, all, 2 + count);
    for (int i = 0; i < count; i++)
        sums[i] = all[2 + i];
    t->data = (mr_step_data){
        .there = all[1] == 0, .step = t->step, .scored = all[0], .seconds = mr_clock() - began};
    mr_memory_guard(false);
    return status;
}

void mr_trainer_read_ahead(mr_trainer *t, int64_t *sums, int count)
{
    if (t->step == t->total_steps)
        mr_comm_sum_i64(t->comm, sums, count);
    else
        (void)read_data_of_step(t, sums, count); /* the step tries once more, and tells */
}

mr_status mr_trainer_step(mr_trainer *t, mr_step_result *result)
{
    double began = mr_clock(), before = 0;
    if (t->data.there && t->data.step == t->step) {
        before = t->data.seconds;
    } else {
        mr_status status = read_data_of_step(t, NULL, 0);
        if (!t->data.there) return mr_comm_agree(t->comm, status);
    }
    t->data.there = false;
    mr_status status = mr_trainer_compute(t, t->data.scored, result);
    int64_t check = t->config->train.check_every;
    if (status == MR_OK && check > 0 && t->step % check == 0) status = mr_trainer_check_ranks(t);
    result->seconds = before + mr_clock() - began;
    return status;
}

mr_status mr_trainer_check_ranks(const mr_trainer *t)
{
    mr_status status = mr_guard_check_ranks(&t->optimizer);
    return status == MR_OK ? MR_OK : mr_fail_in(status, "step %lld", (long long)t->step);
}

/* The failure that a step's verdict is where the configuration says stop. */
static mr_status refuse(const mr_trainer *t, const mr_step_result *result)
{
    MR_CHECK(result->verdict != MR_VERDICT_NOT_FINITE, MR_ERR_NUMERIC,
             "step %lld: loss %g, gradient norm %g: not finite", (long long)result->step,
             result->loss, result->grad_norm);
    return mr_fail(MR_ERR_NUMERIC,
                   "step %lld: loss %g is a spike: more than %g deviations above the running mean "
                   "%g",
                   (long long)result->step, result->loss, t->config->train.spike_zscore,
                   t->guard.mean);
}

bool mr_trainer_merges_after(const mr_trainer *t, int64_t step)
{
    return mr_model_method(t->model)->merges &&
           step % mr_adapter_config_of(t->config)->merge_every == 0;
}

/* Merges the adapters into the weights and starts them anew where their time has come. */
static mr_status merge_if_due(mr_trainer *t, mr_step_result *result)
{
    if (!mr_trainer_merges_after(t, t->step)) return MR_OK;
    if (t->before_merge) MR_TRY(t->before_merge(t->merge_context));
    result->restart = t->step / mr_adapter_config_of(t->config)->merge_every;
    MR_TRY(mr_model_merge(t->model));
    MR_TRY(mr_model_restart(t->model, result->restart));
    return mr_optimizer_reset_adapters(&t->optimizer, &result->reset);
}

mr_status mr_trainer_compute(mr_trainer *t, int64_t all_scored, mr_step_result *result)
{
    mr_exact sums[3] = {0}; /* loss, squared gradient, ranks whose backend failed */
    double scored = all_scored > 0 ? (double)all_scored : 1;
    mr_memory_guard(true);
    mr_status status = run_waves(t, 1 / scored, &sums[0], &sums[1]);
    if (status != MR_OK) mr_exact_add(&sums[2], 1);
    mr_phase_begin(t->be, MR_PHASE_COMM);
    mr_exact_reduce(t->comm, sums, 3);
    mr_phase_end(t->be, MR_PHASE_COMM);
    if (mr_exact_value(&sums[2]) > 0) {
        mr_memory_guard(false);
        return mr_comm_agree(t->comm, status);
    }

    *result = (mr_step_result){
        .step = t->step + 1,
        .loss = mr_exact_value(&sums[0]) / scored,
        .grad_norm = sqrt(mr_exact_value(&sums[1])),
        .lr = t->config->train.lr * mr_schedule_at(&t->schedule, t->step),
        .tokens = t->config->train.global_batch * t->seq_len,
    };
    mr_guard act;
    result->verdict = mr_guard_judge(&t->guard, t->config, result->loss, result->grad_norm, &act);
    result->updated = act == MR_GUARD_LOG;
    if (result->updated) mr_optimizer_update(&t->optimizer, result->lr, result->grad_norm);
    mr_memory_guard(false);
    /* An update that cannot be judged sound is not to become part of the weights. */
    bool poisonous =
        result->verdict == MR_VERDICT_NOT_FINITE && mr_trainer_merges_after(t, result->step);
    if (act == MR_GUARD_STOP || poisonous) return refuse(t, result);
    t->step++;
    return merge_if_due(t, result);
}
