/** @file
 * Parity with reference tensors: every folder found below the roots that MORA_GOLDEN names
 * (colon-separated; without it ../shared/golden beside the sources, where that is), and always the
 * small set in tests/golden. One test a folder and file. */

#include "eval/continuation.h"
#include "find_param.h"
#include "golden_check.h"
#include "linalg/svd.h"
#include "optim/schedule.h"
#include "ranks.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { CUT_STEPS = 3 };

static const mr_golden_cut whole = {.shard = MR_SHARD_FULL, .recompute = MR_RECOMPUTE_NONE};

static void training_matches_its_reference(void **state)
{
    mr_golden_item *item = *state;
    mr_golden_rig *rig = NULL;
    mr_golden_begin(item);
    mr_status status =
        mr_golden_rig_create(item->comm, item->folder->path, item->stem, whole, &rig);
    if (status == MR_OK) status = mr_golden_compare_logits(item, rig, rig->file, "logits");
    if (status == MR_OK) status = mr_golden_compare_training(item, rig);
    mr_golden_rig_destroy(&rig);
    mr_golden_conclude(item, status);
}

/* Rotations tell distances only, so that positions which go on over a border change nothing: those
 * that are given are in use where others give other losses. */
static mr_status expect_positions_to_count(mr_golden_rig *rig)
{
    const int64_t count = rig->share * rig->tokens;
    double *given = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *given);
    MR_AGREE(rig->comm, given ? MR_OK : MR_ERR_MEMORY);
    mr_golden_evaluate(rig, NULL, given);
    for (int64_t i = 0; i < count * rig->comm->size; i++)
        rig->positions[i] /= 2;
    mr_golden_evaluate(rig, NULL, NULL);
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fmax(most, fabs(given[i] - rig->losses[i]));
    mr_free(given);
    MR_CHECK(mr_comm_any(rig->comm, most > 1e-3), MR_ERR_NUMERIC,
             "losses do not depend on the positions that are given");
    return MR_OK;
}

/* Several documents in a row: as if each stood alone, in whatever micro-batches. */
static void packed_documents_do_not_see_each_other(void **state)
{
    mr_golden_item *item = *state;
    mr_golden_cut cut = {.packed = true};
    mr_golden_begin(item);
    mr_status status = MR_OK;
    for (int single = 0; single < 2 && status == MR_OK; single++) {
        mr_golden_rig *rig = NULL;
        double loss, grad_norm;
        cut.single = single;
        status = mr_golden_rig_create(item->comm, item->folder->path, item->stem, cut, &rig);
        if (status == MR_OK && !single) status = mr_golden_compare_token_losses(item, rig);
        if (status == MR_OK) status = mr_golden_compare_gradients(item, rig, &loss, &grad_norm);
        if (status == MR_OK && !single) status = expect_positions_to_count(rig);
        mr_golden_rig_destroy(&rig);
    }
    mr_golden_conclude(item, status);
}

/* Trains with one constant of the optimizer a thousandth larger, or smaller where it is beta2,
 * which would pass 1: the comparison must find it. Not so eps, 1e-8 beside gradients of 1e-3, and
 * the norm to clip to, which AdamW's steps do not depend on. */
static mr_status train_with_fault(mr_golden_item *item, int constant)
{
    mr_golden_item faulty = *item;
    faulty.quiet = true;
    mr_golden_rig *rig;
    MR_TRY(mr_golden_rig_create(item->comm, item->folder->path, item->stem, whole, &rig));
    mr_config *c = rig->config;
    static const char *const names[] = {"lr", "beta1", "beta2", "weight_decay"};
    double *const constants[] = {&c->train.lr, &c->train.beta1, &c->train.beta2,
                                 &c->train.weight_decay};
    const double before = *constants[constant];
    mr_status status = MR_OK;
    if (before != 0) {
        *constants[constant] *= constant == 2 ? 1 - 1e-3 : 1 + 1e-3;
        mr_optimizer_destroy(&rig->optimizer);
        status = mr_comm_agree(item->comm, mr_optimizer_create(mr_model_params(rig->model),
                                                               rig->config, &rig->optimizer));
        if (status == MR_OK) status = mr_golden_compare_training(&faulty, rig);
        if (status == MR_OK && faulty.disagreements == 0)
            mr_golden_disagree(item, "%s: %.9g in place of %.9g is not found", names[constant],
                               *constants[constant], before);
    }
    mr_golden_rig_destroy(&rig);
    return status;
}

static void constants_off_by_a_thousandth_are_found(void **state)
{
    mr_golden_item *item = *state;
    mr_status status = MR_OK;
    mr_golden_begin(item);
    for (int constant = 0; constant < 4 && status == MR_OK; constant++)
        status = train_with_fault(item, constant);
    mr_golden_conclude(item, status);
}

/** What a few steps led to. */
typedef struct course {
    double loss[CUT_STEPS], grad_norm[CUT_STEPS];
    float *weights; /**< all trained parameters, one after another; owned */
    size_t count;
} course;

/* Copies all trained parameters of a model. Collective. */
static mr_status read_weights(mr_golden_rig *rig, course *out)
{
    mr_params *params = mr_model_params(rig->model);
    out->count = (size_t)mr_params_count(params, true);
    out->weights = mr_alloc_array(MR_MEM_OTHER, out->count, sizeof *out->weights);
    MR_AGREE(rig->comm, out->weights ? MR_OK : MR_ERR_MEMORY);
    float *at = out->weights;
    for (int i = 0; i < mr_params_length(params); i++) {
        if (!mr_params_at(params, i)->trained) continue;
        mr_params_read(params, i, at);
        const mr_param *param = mr_params_at(params, i);
        at += param->rows * param->cols;
    }
    return MR_OK;
}

static mr_status run_course(const mr_golden_item *item, mr_golden_cut cut, course *out)
{
    mr_golden_rig *rig;
    MR_TRY(mr_golden_rig_create(item->comm, item->folder->path, item->stem, cut, &rig));
    for (int s = 0; s < CUT_STEPS; s++) {
        mr_golden_gradients(rig, &out->loss[s], &out->grad_norm[s]);
        mr_golden_update(rig, out->grad_norm[s]);
    }
    mr_status status = read_weights(rig, out);
    mr_golden_rig_destroy(&rig);
    return status;
}

/* Bits, not values: -0 and 0 differ. */
static bool same_bits(const void *a, const void *b, size_t bytes)
{
    return memcmp(a, b, bytes) == 0;
}

static void expect_same_bits(mr_golden_item *item, const course *a, const course *b,
                             const char *what)
{
    if (!same_bits(a->loss, b->loss, sizeof a->loss))
        mr_golden_disagree(item, "losses differ by %s", what);
    if (!same_bits(a->grad_norm, b->grad_norm, sizeof a->grad_norm))
        mr_golden_disagree(item, "gradient norms differ by %s", what);
    size_t differing = 0;
    for (size_t i = 0; i < a->count; i++)
        differing += !same_bits(&a->weights[i], &b->weights[i], sizeof *a->weights);
    if (differing > 0)
        mr_golden_disagree(item, "%zu of %zu weights differ by %s", differing, a->count, what);
}

static void recomputation_and_shards_change_no_bit(void **state)
{
    static const struct {
        const char *what;
        mr_golden_cut cut;
    } others[] = {
        {"train.recompute: attention",
         {.shard = MR_SHARD_FULL, .recompute = MR_RECOMPUTE_ATTENTION}},
        {"train.recompute: layer", {.shard = MR_SHARD_FULL, .recompute = MR_RECOMPUTE_LAYER}},
        {"parallel.shard: optimizer", {.shard = MR_SHARD_OPTIMIZER}},
        {"parallel.shard: none", {.shard = MR_SHARD_NONE}},
    };
    mr_golden_item *item = *state;
    course first = {0};
    mr_golden_begin(item);
    mr_status status = run_course(item, whole, &first);
    for (size_t i = 0; i < sizeof others / sizeof *others && status == MR_OK; i++) {
        course other = {0};
        status = run_course(item, others[i].cut, &other);
        if (status == MR_OK) expect_same_bits(item, &first, &other, others[i].what);
        mr_free(other.weights);
    }
    mr_free(first.weights);
    mr_golden_conclude(item, status);
}

static void micro_batches_of_one_sequence_match_the_reference(void **state)
{
    mr_golden_item *item = *state;
    mr_status status = MR_OK;
    mr_golden_begin(item);
    for (int wide = 0; wide < 2 && status == MR_OK; wide++) {
        mr_golden_rig *rig;
        const mr_golden_cut cut = {.shard = MR_SHARD_FULL, .single = true, .wide = wide};
        status = mr_golden_rig_create(item->comm, item->folder->path, item->stem, cut, &rig);
        if (status != MR_OK) break;
        status = mr_golden_compare_training(item, rig);
        /* Several in a wave save gathering; a tied head keeps its gradient open for one only. */
        if (item->comm->size == 1 || rig->arch.tie_word_embeddings) wide = 1;
        mr_golden_rig_destroy(&rig);
    }
    mr_golden_conclude(item, status);
}

/* Compares one dense update [O, I] and its singular values with the reference. */
static mr_status compare_dense(mr_golden_item *item, const mr_safetensors *file, const char *linear,
                               const float *ours, int64_t out, int64_t in)
{
    int64_t least = in < out ? in : out;
    const int64_t shape[2] = {out, in};
    char name[256];
    mr_golden_squares dense = {0}, values = {0};
    float *theirs = NULL, *their_values = NULL;
    double *wide = NULL, *our_values = NULL;
    mr_status status = MR_ERR_MEMORY;
    wide = mr_alloc_array(MR_MEM_OTHER, (size_t)(in * out), sizeof *wide);
    our_values = mr_alloc_array(MR_MEM_OTHER, (size_t)least, sizeof *our_values);
    if (!wide || !our_values) goto cleanup;
    snprintf(name, sizeof name, "delta.%s", linear);
    status = mr_golden_read(file, name, 2, shape, 0, in * out, &theirs);
    if (status != MR_OK) goto cleanup;
    mr_golden_add(&dense, ours, theirs, NULL, in * out);
    mr_golden_expect(item, dense, MR_GOLDEN_DENSE, name);
    for (int64_t i = 0; i < in * out; i++)
        wide[i] = (double)ours[i];
    snprintf(name, sizeof name, "sv.%s", linear);
    status = mr_golden_read(file, name, 1, &least, 0, least, &their_values);
    if (status == MR_OK) status = mr_svd_values(wide, out, in, our_values);
    for (int64_t i = 0; i < least && status == MR_OK; i++)
        mr_golden_add(&values, &(float){(float)our_values[i]}, &their_values[i], NULL, 1);
    if (status == MR_OK) mr_golden_expect(item, values, MR_GOLDEN_DENSE, name);
cleanup:
    mr_free(theirs);
    mr_free(their_values);
    mr_free(wide);
    mr_free(our_values);
    return status;
}

static mr_status give_zero(void *context, const mr_param *param, int64_t first, int64_t count,
                           float *out)
{
    (void)context;
    (void)param;
    (void)first;
    memset(out, 0, (size_t)count * sizeof *out);
    return MR_OK;
}

/* The id of the weight that an adapter's tensor belongs to. */
static int weight_of(const mr_params *params, const mr_param *adapter)
{
    char name[MR_PARAM_NAME + 8];
    int length = (int)(strrchr(adapter->name, '.') - adapter->name);
    snprintf(name, sizeof name, "%.*s.weight", length, adapter->name);
    return find_param(params, name);
}

/* Compares what merging made of zeros. Collective. */
static mr_status compare_update(mr_golden_item *item, mr_golden_rig *rig,
                                const mr_safetensors *file, int id)
{
    mr_params *params = mr_model_params(rig->model);
    const mr_param *weight = mr_params_at(params, id);
    char name[MR_PARAM_NAME];
    float *ours = mr_alloc_array(MR_MEM_OTHER, (size_t)(weight->rows * weight->cols), sizeof *ours);
    MR_AGREE(item->comm, ours ? MR_OK : MR_ERR_MEMORY);
    mr_params_read(params, id, ours);
    snprintf(name, sizeof name, "%s", weight->name);
    *strrchr(name, '.') = '\0'; /* ".weight" */
    mr_status status = compare_dense(item, file, name, ours, weight->rows, weight->cols);
    mr_free(ours);
    return mr_comm_agree(item->comm, status);
}

/* Every adapted linear; collective, and the same on every rank. */
static mr_status compare_updates(mr_golden_item *item, mr_golden_rig *rig,
                                 const mr_safetensors *file)
{
    mr_params *params = mr_model_params(rig->model);
    int compared = 0;
    for (mr_params_walk at = {0}; mr_params_next(params, &at);)
        if (at.param->adapter)
            MR_AGREE(item->comm,
                     mr_params_fill(params, weight_of(params, at.param), give_zero, NULL));
    mr_params_invalidate(params);
    MR_TRY(mr_model_merge(rig->model));
    for (mr_params_walk at = {0}; mr_params_next(params, &at);) {
        if (!at.param->adapter) continue;
        MR_TRY(compare_update(item, rig, file, weight_of(params, at.param)));
        compared++;
    }
    return compared > 0 ? MR_OK : mr_fail(MR_ERR_FORMAT, "nothing is adapted");
}

static void dense_updates_and_their_singular_values_agree(void **state)
{
    mr_golden_item *item = *state;
    mr_golden_rig *rig = NULL;
    mr_safetensors *init = NULL;
    mr_golden_begin(item);
    mr_status status =
        mr_golden_rig_create(item->comm, item->folder->path, item->stem, whole, &rig);
    if (status == MR_OK)
        status = mr_comm_agree(item->comm,
                               mr_golden_open(item->folder->path, item->stem, "_init", &init));
    if (status == MR_OK) status = compare_updates(item, rig, init);
    mr_safetensors_close(&init);
    mr_golden_rig_destroy(&rig);
    mr_golden_conclude(item, status);
}

static mr_status copy_range(void *context, const mr_param *param, int64_t first, int64_t count,
                            float *out)
{
    (void)param;
    const float *values = context;
    memcpy(out, values + first, (size_t)count * sizeof *out);
    return MR_OK;
}

/* Compares one base weight of a merged model, and hands it to a bare one. Collective. */
static mr_status compare_weight(mr_golden_item *item, mr_golden_rig *rig, mr_golden_rig *bare,
                                const mr_safetensors *file, int id)
{
    const mr_param *param = mr_params_at(mr_model_params(rig->model), id);
    const int64_t shape[2] = {param->rows, param->cols};
    int64_t count = param->rows * param->cols;
    bool vector = param->rows == 1;
    mr_golden_squares sums = {0};
    float *theirs = NULL;
    float *merged = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *merged);
    mr_status status = merged ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK)
        status = mr_golden_read(file, param->name, vector ? 1 : 2, vector ? &shape[1] : shape, 0,
                                count, &theirs);
    status = mr_comm_agree(item->comm, status);
    if (status == MR_OK) {
        MR_INVARIANT(merged && theirs);
        mr_params_read(mr_model_params(rig->model), id, merged);
        mr_golden_add(&sums, merged, theirs, NULL, count);
        mr_golden_expect(item, sums, MR_GOLDEN_MERGED, param->name);
        int twin = find_param(mr_model_params(bare->model), param->name);
        MR_INVARIANT(twin >= 0);
        status = mr_params_fill(mr_model_params(bare->model), twin, copy_range, merged);
    }
    mr_free(theirs);
    mr_free(merged);
    return mr_comm_agree(item->comm, status);
}

/* Merges the trained adapter of the reference, and evaluates it as it is and as a bare model. */
static mr_status compare_merged(mr_golden_item *item, mr_golden_rig *rig, mr_golden_rig *bare,
                                const mr_safetensors *file)
{
    MR_AGREE(item->comm, mr_golden_load_adapter(rig, rig->file, "after."));
    MR_TRY(mr_golden_compare_logits(item, rig, file, "merged_logits"));
    MR_TRY(mr_model_merge(rig->model));
    for (mr_params_walk at = {0}; mr_params_next(mr_model_params(rig->model), &at);)
        if (!at.param->adapter) MR_TRY(compare_weight(item, rig, bare, file, at.id));
    mr_params_invalidate(mr_model_params(bare->model));
    MR_TRY(mr_golden_compare_logits(item, bare, file, "merged_logits"));
    /* Begun anew the adapter changes nothing: the model is the bare one. */
    MR_TRY(mr_model_restart(rig->model, 1));
    return mr_golden_compare_logits(item, rig, file, "merged_logits");
}

static void merged_weights_agree_and_compute_the_same(void **state)
{
    mr_golden_item *item = *state;
    const char *folder = item->folder->path;
    mr_golden_rig *rig = NULL, *bare = NULL;
    mr_safetensors *file = NULL;
    mr_golden_begin(item);
    mr_status status = mr_golden_rig_create(item->comm, folder, item->stem, whole, &rig);
    if (status == MR_OK) status = mr_golden_rig_create(item->comm, folder, NULL, whole, &bare);
    if (status == MR_OK)
        status = mr_comm_agree(item->comm, mr_golden_open(folder, item->stem, "_merged", &file));
    if (status == MR_OK) status = compare_merged(item, rig, bare, file);
    mr_safetensors_close(&file);
    mr_golden_rig_destroy(&bare);
    mr_golden_rig_destroy(&rig);
    mr_golden_conclude(item, status);
}

/* Log-probabilities of the token that follows each position, [B, T - 1]. Collective. */
static mr_status compare_log_probabilities(mr_golden_item *item, mr_golden_rig *rig,
                                           const mr_safetensors *file)
{
    int64_t last = rig->tokens - 1, all = rig->sequences * last, first,
            rows = mr_golden_own_rows(rig, &first);
    const int64_t shape[2] = {rig->sequences, last};
    float *theirs = NULL;
    mr_golden_squares sums = {0};
    MR_AGREE(item->comm, mr_golden_read(file, "logprob", 2, shape, 0, all, &theirs));
    for (int64_t i = 0; i < rig->sequences * rig->tokens; i++)
        rig->targets[i] = i % rig->tokens < last ? rig->ids[i + 1] : -1;
    mr_golden_evaluate(rig, NULL, rig->losses);
    for (int64_t i = 0; i < rows; i++) {
        int64_t row = (first + i) / rig->tokens, t = (first + i) % rig->tokens;
        float ours = (float)-rig->losses[i];
        if (t < last) mr_golden_add(&sums, &ours, &theirs[row * last + t], NULL, 1);
    }
    mr_free(theirs);
    mr_golden_reduce(item->comm, &sums, 1);
    mr_golden_expect(item, sums, MR_GOLDEN_LOGITS, "logprob");
    return MR_OK;
}

/** Prompts and their greedy continuations. Owns its arrays. */
typedef struct continuation {
    int64_t batch, prompt, total; /**< prompts, tokens of each, tokens with what is generated */
    int32_t *ids, *expected;
    mr_prompt *prompts;     /* [batch] */
    mr_continuation *found; /* [batch] */
} continuation;

static mr_status read_continuation(const mr_safetensors *file, int64_t vocab, continuation *c)
{
    const mr_safetensors_entry *prompt = mr_safetensors_find(file, "prompt");
    const mr_safetensors_entry *greedy = mr_safetensors_find(file, "greedy");
    const char *path = mr_safetensors_path(file);
    MR_CHECK(prompt && greedy && prompt->dims == 2 && greedy->dims == 2 && prompt->count > 0 &&
                 greedy->shape[0] == prompt->shape[0] && greedy->shape[1] > prompt->shape[1],
             MR_ERR_FORMAT, "%s: expected prompt [B, P] and greedy [B, > P]", path);
    c->batch = prompt->shape[0];
    c->prompt = prompt->shape[1];
    c->total = greedy->shape[1];
    c->ids = mr_alloc_array(MR_MEM_DATA, (size_t)prompt->count, sizeof *c->ids);
    c->expected = mr_alloc_array(MR_MEM_DATA, (size_t)greedy->count, sizeof *c->expected);
    c->prompts = mr_alloc_array(MR_MEM_DATA, (size_t)c->batch, sizeof *c->prompts);
    c->found = mr_alloc_array(MR_MEM_DATA, (size_t)c->batch, sizeof *c->found);
    if (!c->ids || !c->expected || !c->prompts || !c->found) return MR_ERR_MEMORY;
    MR_TRY(mr_golden_read_ids(file, prompt, c->ids));
    MR_TRY(mr_golden_read_ids(file, greedy, c->expected));
    for (int64_t i = 0; i < prompt->count; i++) {
        int64_t row = i / c->prompt, t = i % c->prompt;
        MR_CHECK(c->ids[i] >= 0 && c->ids[i] < vocab, MR_ERR_FORMAT, "%s: prompt: token %d of %lld",
                 path, c->ids[i], (long long)vocab);
        MR_CHECK(c->expected[row * c->total + t] == c->ids[i], MR_ERR_FORMAT,
                 "%s: greedy does not start with the prompt", path);
        c->prompts[row] = (mr_prompt){c->ids + row * c->prompt, c->prompt};
    }
    return MR_OK;
}

/* Continues the prompts on every rank alike. Collective. */
static mr_status compare_greedy(mr_golden_item *item, mr_golden_rig *rig,
                                const mr_safetensors *file)
{
    continuation c = {0};
    mr_generator *generator = NULL;
    mr_status status = read_continuation(file, rig->arch.vocab_size, &c);
    int64_t count = c.total - c.prompt;
    if (status == MR_OK)
        status = mr_generator_create(rig->model, c.batch, c.prompt, count, &generator);
    if (status == MR_OK) status = mr_generator_allocate(generator);
    status = mr_comm_agree(item->comm, status);
    const mr_continue_options options = {.most = count, .sampling = {.top_p = 1}};
    if (status == MR_OK) status = mr_continue(generator, &options, c.prompts, c.batch, c.found);
    if (status == MR_OK) {
        for (int64_t b = 0; b < c.batch; b++)
            for (int64_t t = 0; t < count; t++)
                if (c.found[b].tokens[t] != c.expected[b * c.total + c.prompt + t]) {
                    mr_golden_disagree(item, "greedy: prompt %lld: token %lld is %d, expected %d",
                                       (long long)b, (long long)t, c.found[b].tokens[t],
                                       c.expected[b * c.total + c.prompt + t]);
                    break;
                }
        mr_continuations_free(c.found, c.batch);
    }
    mr_generator_destroy(&generator);
    mr_free(c.ids);
    mr_free(c.expected);
    mr_free(c.prompts);
    mr_free(c.found);
    return status;
}

static void greedy_tokens_and_log_probabilities_agree(void **state)
{
    mr_golden_item *item = *state;
    mr_golden_rig *rig = NULL;
    mr_safetensors *file = NULL;
    mr_golden_begin(item);
    mr_status status = mr_golden_rig_create(item->comm, item->folder->path, NULL, whole, &rig);
    if (status == MR_OK)
        status =
            mr_comm_agree(item->comm, mr_golden_open(item->folder->path, item->stem, "", &file));
    if (status == MR_OK) status = compare_greedy(item, rig, file);
    if (status == MR_OK) status = compare_log_probabilities(item, rig, file);
    mr_safetensors_close(&file);
    mr_golden_rig_destroy(&rig);
    mr_golden_conclude(item, status);
}

/* Compares one trace, named kind.w<warmup>.t<total>. */
static mr_status compare_schedule(mr_golden_item *item, const mr_safetensors *file,
                                  const mr_safetensors_entry *entry)
{
    static const struct {
        const char *name;
        mr_schedule_kind kind;
    } kinds[] = {{"linear", MR_SCHEDULE_LINEAR},
                 {"cosine", MR_SCHEDULE_COSINE},
                 {"constant", MR_SCHEDULE_CONSTANT},
                 {"constant_with_warmup", MR_SCHEDULE_CONSTANT}};
    enum { KINDS = sizeof kinds / sizeof *kinds };
    const double one_rounding = 1e-7; /* to F32, of the peak rate */
    char name[64];
    long long warmup, total;
    int end = 0, k = 0;
    float *theirs;
    int fields = sscanf(entry->name, "%63[^.].w%lld.t%lld%n", name, &warmup, &total, &end);
    while (fields == 3 && k < KINDS && strcmp(kinds[k].name, name) != 0)
        k++;
    MR_CHECK(fields == 3 && entry->name[end] == '\0' && k < KINDS && warmup >= 0, MR_ERR_FORMAT,
             "%s: '%s' names no schedule of this program", mr_safetensors_path(file), entry->name);
    MR_TRY(mr_golden_read(file, entry->name, 1, entry->shape, 0, entry->count, &theirs));
    for (int64_t s = 0; s < entry->count; s++) {
        double ours = mr_schedule_factor(kinds[k].kind, warmup, total, s);
        if (!(fabs(ours - (double)theirs[s]) <= one_rounding))
            mr_golden_disagree(item, "%s: step %lld: %.9g, expected %.9g", entry->name,
                               (long long)s, ours, (double)theirs[s]);
    }
    mr_free(theirs);
    return MR_OK;
}

static void learning_rate_schedules_agree(void **state)
{
    mr_golden_item *item = *state;
    mr_safetensors *file;
    mr_golden_begin(item);
    mr_status status = mr_golden_open(item->folder->path, item->stem, "", &file);
    for (int64_t e = 0; status == MR_OK && e < mr_safetensors_count(file); e++)
        status = compare_schedule(item, file, mr_safetensors_at(file, e));
    mr_safetensors_close(&file);
    mr_golden_conclude(item, mr_comm_agree(item->comm, status));
}

static void a_folder_of_references_can_be_read(void **state)
{
    mr_golden_item *item = *state;
    fail_msg("%s: %s", item->folder->path,
             item->folder->problem ? item->folder->problem : "holds no reference");
}

static void references_stand_beside_the_sources(void **state)
{
    (void)state;
    char path[TEST_PATH];
    test_shared("golden", path);
}

/** The tests to run, in the order of folders and files. Owns its arrays. */
typedef struct golden_plan {
    const mr_comm *comm;
    int count;
    int64_t item_room, test_room;
    mr_golden_item **item;
    struct CMUnitTest *test;
    mr_text skipped; /**< files of methods that do not exist yet */
} golden_plan;

static void add_test(golden_plan *plan, const mr_golden_folder *folder, const char *stem,
                     const char *what, CMUnitTestFunction function)
{
    const int64_t need = plan->count + 1;
    must(mr_grow(MR_MEM_OTHER, &plan->item, &plan->item_room, need, sizeof *plan->item));
    must(mr_grow(MR_MEM_OTHER, &plan->test, &plan->test_room, need, sizeof *plan->test));
    mr_golden_item *item = mr_alloc(MR_MEM_OTHER, sizeof *item);
    if (!item) mr_abort("%s", mr_message());
    *item = (mr_golden_item){.comm = plan->comm, .folder = folder};
    snprintf(item->stem, sizeof item->stem, "%s", stem);
    snprintf(item->name, sizeof item->name, "%s %s%s", folder->label, stem, what);
    plan->item[plan->count] = item;
    plan->test[plan->count++] =
        (struct CMUnitTest){.name = item->name, .test_func = function, .initial_state = item};
}

static bool is_listed(const mr_names *names, const char *stem, const char *ending)
{
    char name[160];
    snprintf(name, sizeof name, "%s%s", stem, ending);
    for (int64_t i = 0; i < names->count; i++)
        if (strcmp(names->item[i], name) == 0) return true;
    return false;
}

/* Tells whether a file belongs to another one: <stem>_init, <stem>_merged. */
static bool is_companion(const mr_names *names, const char *stem)
{
    char owner[128];
    const char *line = strrchr(stem, '_');
    if (!line || (strcmp(line, "_init") != 0 && strcmp(line, "_merged") != 0)) return false;
    snprintf(owner, sizeof owner, "%.*s", (int)(line - stem), stem);
    return is_listed(names, owner, "");
}

/* Adds those of a folder's packed batches, where there are any. */
static void plan_packing(golden_plan *plan, const mr_golden_folder *folder)
{
    char path[PATH_MAX];
    mr_names stems = {0};
    mr_golden_packing(folder->path, path, sizeof path);
    if (access(path, F_OK) != 0) return;
    must(mr_golden_stems(path, &stems));
    for (int64_t i = 0; i < stems.count; i++)
        if (strchr(stems.item[i], '_'))
            add_test(plan, folder, stems.item[i], " packed",
                     packed_documents_do_not_see_each_other);
    mr_names_free(&stems);
}

/* Adds the tests of one folder. */
static void plan_folder(golden_plan *plan, const mr_golden_folder *folder)
{
    mr_names stems = {0};
    int before = plan->count;
    bool fft_cut = false, mora_cut = false;
    must(mr_golden_stems(folder->path, &stems));
    for (int64_t i = 0; i < stems.count; i++) {
        const char *stem = stems.item[i];
        mr_golden_kind kind;
        if (strcmp(stem, "batch") == 0 || is_companion(&stems, stem)) continue;
        if (strcmp(stem, "decode") == 0) {
            add_test(plan, folder, stem, "", greedy_tokens_and_log_probabilities_agree);
        } else if (strcmp(stem, "schedules") == 0) {
            add_test(plan, folder, stem, "", learning_rate_schedules_agree);
        } else if (!mr_golden_kind_of(stem, &kind)) {
            mr_text_add(&plan->skipped, " %s/%s", folder->label, stem);
        } else {
            bool fft = strcmp(kind.method, "fft") == 0, mora = kind.mora_type != 0;
            bool lora = strcmp(kind.method, "lora") == 0;
            add_test(plan, folder, stem, "", training_matches_its_reference);
            if (fft)
                add_test(plan, folder, stem, " with a fault",
                         constants_off_by_a_thousandth_are_found);
            if (mora)
                add_test(plan, folder, stem, " dense update",
                         dense_updates_and_their_singular_values_agree);
            if (is_listed(&stems, stem, "_merged"))
                add_test(plan, folder, stem, " merged", merged_weights_agree_and_compute_the_same);
            /* One of many of a kind is enough, and LoRA shows nothing its variants do not. */
            if (!(lora || (fft && fft_cut) || (mora && mora_cut))) {
                add_test(plan, folder, stem, " recomputed and sharded",
                         recomputation_and_shards_change_no_bit);
                add_test(plan, folder, stem, " in micro-batches",
                         micro_batches_of_one_sequence_match_the_reference);
            }
            fft_cut = fft_cut || fft;
            mora_cut = mora_cut || mora;
        }
    }
    plan_packing(plan, folder);
    if (plan->count == before)
        add_test(plan, folder, "", "can be read", a_folder_of_references_can_be_read);
    mr_names_free(&stems);
}

/* Finds the folders below the tree's own root and all others. */
static void find_folders(golden_plan *plan, mr_golden_set *set)
{
    static char label[] = "../shared/golden";
    static const mr_golden_folder beside = {.label = label};
    const char *source = getenv("MR_SOURCE_DIR"), *named = getenv("MORA_GOLDEN");
    if (!source) mr_abort("MR_SOURCE_DIR is not set: run this test through ctest");
    char root[PATH_MAX];
    snprintf(root, sizeof root, "%s/tests/golden", source);
    must(mr_golden_find(root, set));
    const bool shared = !named || !*named;
    if (shared) add_test(plan, &beside, "", "is there", references_stand_beside_the_sources);
    mr_names roots = {0};
    must(mr_golden_roots(&roots));
    for (int64_t i = 0; i < roots.count; i++)
        if (!shared || test_has_shared()) must(mr_golden_find(roots.item[i], set));
    mr_names_free(&roots);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    mr_golden_set set = {0};
    golden_plan plan = {.comm = &world};
    find_folders(&plan, &set);
    for (int i = 0; i < set.count; i++) {
        if (set.folder[i].problem)
            add_test(&plan, &set.folder[i], "", "can be read", a_folder_of_references_can_be_read);
        else
            plan_folder(&plan, &set.folder[i]);
    }
    if (plan.skipped.length > 0)
        printf("skipped, no method of this program:%s\n", mr_text_get(&plan.skipped));
    int failed = _cmocka_run_group_tests("golden", plan.test, (size_t)plan.count, NULL, NULL);
    for (int i = 0; i < plan.count; i++)
        mr_free(plan.item[i]);
    mr_free(plan.item);
    mr_free(plan.test);
    mr_text_free(&plan.skipped);
    mr_golden_set_free(&set);
    return ranks_end(failed);
}
