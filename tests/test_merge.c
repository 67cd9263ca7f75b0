/** @file
 * Merging adapters into a model's weights and beginning them anew, on any number of ranks and under
 * every way of sharding. */

#include "find_param.h"
#include "ranks.h"
#include "tiny.h"

#include <math.h>

static mr_comm alone; /* this rank by itself */

static const mr_shard shards[] = {MR_SHARD_FULL, MR_SHARD_OPTIMIZER, MR_SHARD_NONE};

enum { SHARDS = 3, RESTARTS = 5 };

static const char *const methods[] = {"lora",   "lora_plus", "asylora", "dora",
                                      "relora", "mora",      "remora"};

enum { METHODS = sizeof methods / sizeof methods[0] };

/* Largest difference from what was there before, over the largest logit. NaN where there is one. */
static double change_of(tiny *t, const float *before)
{
    double difference = 0, largest = 0;
    tiny_evaluate(t);
    for (int64_t i = 0; i < t->logit_count; i++) {
        double off = fabs((double)t->logits[i] - (double)before[i]);
        if (!(off <= difference)) difference = off;
        largest = fmax(largest, fabs((double)before[i]));
    }
    return difference / largest;
}

static float *copy_logits(tiny *t)
{
    tiny_evaluate(t);
    float *copy = mr_alloc_array(MR_MEM_OTHER, (size_t)t->logit_count, sizeof *copy);
    if (!copy) mr_abort("%s", mr_message());
    memcpy(copy, t->logits, (size_t)t->logit_count * sizeof *copy);
    return copy;
}

/* Largest change of the function by any of several merges and restarts, each of an adapter that
 * changes the function much: least_effect gets the smallest change that one made. */
static double change_by_merges(const tiny_options *options, double *least_effect)
{
    tiny t = tiny_create(options);
    double most = 0;
    *least_effect = INFINITY;
    for (int64_t k = 1; k <= RESTARTS; k++) {
        float *bare = copy_logits(&t);
        tiny_stir(&t, (uint64_t)k);
        *least_effect = fmin(*least_effect, change_of(&t, bare));
        mr_free(bare);
        float *before = copy_logits(&t);
        must(mr_model_merge(t.model));
        must(mr_model_restart(t.model, k));
        double change = change_of(&t, before);
        if (!(change <= most)) most = change;
        mr_free(before);
    }
    tiny_destroy(&t);
    return most;
}

static void a_merge_leaves_the_function_as_it_is(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++)
        for (int s = 0; s < SHARDS; s++)
            for (int cycle = 0; cycle < 2; cycle++) {
                if (cycle > 0 && strcmp(methods[m], "remora") != 0) continue;
                tiny_options options = tiny_defaults(&world, methods[m]);
                double effect;
                options.shard = shards[s];
                options.cycle = cycle > 0 ? "code" : NULL;
                double change = change_by_merges(&options, &effect);
                if (!(change < 1e-5 && effect > 1e-2))
                    print_error("%s, shard %d, cycle %d: a merge changes %g of the logits, the "
                                "adapter %g\n",
                                methods[m], s, cycle, change, effect);
                assert_on_all_ranks(change < 1e-5);
                assert_on_all_ranks(effect > 1e-2);
            }
}

static void a_merge_leaves_the_function_of_every_operator(void **state)
{
    (void)state;
    for (int operator= MR_MORA_TRUNCATION; operator<= MR_MORA_ROTATION; operator++) {
        tiny_options options = tiny_defaults(&world, "mora");
        double effect;
        options.operator=(mr_mora_operator) operator;
        double change = change_by_merges(&options, &effect);
        assert_on_all_ranks(change < 1e-5);
        assert_on_all_ranks(effect > 1e-2);
    }
}

/* All parameters after a few merges, one after another; count gets their elements. */
static float *weights_after_merges(const tiny_options *options, int64_t *count)
{
    tiny t = tiny_create(options);
    const mr_params *params = mr_model_params(t.model);
    for (int64_t k = 1; k <= 3; k++) {
        tiny_stir(&t, (uint64_t)k);
        must(mr_model_merge(t.model));
        must(mr_model_restart(t.model, k));
    }
    *count = mr_params_count(params, false);
    float *all = mr_alloc_array(MR_MEM_OTHER, (size_t)*count, sizeof *all), *at = all;
    if (!all) mr_abort("%s", mr_message());
    for (int i = 0; i < mr_params_length(params); i++) {
        mr_params_read(mr_model_params(t.model), i, at);
        at += tiny_count(&t, i);
    }
    tiny_destroy(&t);
    return all;
}

static bool same_bits_everywhere(const char *method)
{
    tiny_options options = tiny_defaults(&alone, method);
    int64_t count, other_count;
    float *first = weights_after_merges(&options, &count);
    bool same = true;
    options.comm = &world;
    for (int s = 0; s < SHARDS; s++) {
        options.shard = shards[s];
        float *other = weights_after_merges(&options, &other_count);
        same = same && count == other_count &&
               memcmp(first, other, (size_t)count * sizeof *first) == 0;
        mr_free(other);
    }
    mr_free(first);
    return same;
}

static void merged_bits_depend_on_neither_ranks_nor_shards(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++) {
        bool same = same_bits_everywhere(methods[m]);
        if (!same) print_error("%s: bits differ\n", methods[m]);
        assert_on_all_ranks(same);
    }
}

/* Whether a merge changed just the weights that are adapted. */
static void a_merge_changes_the_targets_alone(void **state)
{
    (void)state;
    tiny_options options = tiny_defaults(&world, "relora");
    options.targets = (mr_string_list){.count = 2, .item = {"k_proj", "down_proj"}};
    tiny t = tiny_create(&options);
    tiny_stir(&t, 1);
    bool right = true;
    int changed = 0;
    for (int pass = 0; pass < 2; pass++) {
        static float *before[64];
        for (int i = 0; i < mr_params_length(mr_model_params(t.model)); i++) {
            const char *name = mr_params_at(mr_model_params(t.model), i)->name;
            bool target = strstr(name, "k_proj.weight") || strstr(name, "down_proj.weight");
            if (pass == 0) {
                before[i] = tiny_weights(&t, i);
                continue;
            }
            float *after = tiny_weights(&t, i);
            bool same = memcmp(before[i], after, (size_t)tiny_count(&t, i) * sizeof *after) == 0;
            right = right && same != target;
            changed += !same;
            mr_free(after);
            mr_free(before[i]);
        }
        if (pass == 0) must(mr_model_merge(t.model));
    }
    tiny_destroy(&t);
    assert_on_all_ranks(right && changed == 4);
}

/* Whether all elements of a parameter are 0. */
static bool is_zero(tiny *t, int id)
{
    float *values = tiny_weights(t, id);
    bool zero = true;
    for (int64_t i = 0; i < tiny_count(t, id); i++)
        zero = zero && !(values[i] < 0) && !(values[i] > 0);
    mr_free(values);
    return zero;
}

static void a_restart_draws_anew(void **state)
{
    (void)state;
    tiny_options options = tiny_defaults(&world, "relora");
    tiny t = tiny_create(&options);
    int a = find_param(mr_model_params(t.model), "model.layers.1.self_attn.v_proj.lora_A");
    int b = find_param(mr_model_params(t.model), "model.layers.1.self_attn.v_proj.lora_B");
    size_t bytes = (size_t)tiny_count(&t, a) * sizeof(float);
    float *drawn[4];
    bool zero = is_zero(&t, b);
    for (int64_t k = 0; k < 3; k++) {
        tiny_stir(&t, (uint64_t)k);
        must(mr_model_restart(t.model, k));
        drawn[k] = tiny_weights(&t, a);
        zero = zero && is_zero(&t, b);
    }
    must(mr_model_restart(t.model, 1));
    drawn[3] = tiny_weights(&t, a);
    bool again = memcmp(drawn[1], drawn[3], bytes) == 0;
    bool anew = memcmp(drawn[0], drawn[1], bytes) != 0 && memcmp(drawn[1], drawn[2], bytes) != 0 &&
                memcmp(drawn[0], drawn[2], bytes) != 0;
    for (int k = 0; k < 4; k++)
        mr_free(drawn[k]);
    tiny_destroy(&t);
    assert_on_all_ranks(zero);
    assert_on_all_ranks(anew);
    assert_on_all_ranks(again);
}

static void restart_0_is_how_a_model_starts(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++) {
        tiny_options options = tiny_defaults(&world, methods[m]);
        tiny first = tiny_create(&options), second = tiny_create(&options);
        tiny_stir(&second, 1);
        must(mr_model_restart(second.model, 3));
        must(mr_model_restart(second.model, 0));
        bool same = true;
        for (int i = 0; i < mr_params_length(mr_model_params(first.model)); i++) {
            float *a = tiny_weights(&first, i), *b = tiny_weights(&second, i);
            same = same && memcmp(a, b, (size_t)tiny_count(&first, i) * sizeof *a) == 0;
            mr_free(a);
            mr_free(b);
        }
        tiny_destroy(&first);
        tiny_destroy(&second);
        assert_on_all_ranks(same);
    }
}

/* A resumed run takes its weights from elsewhere and needs the grouping alone. */
static void setting_a_restart_leaves_the_weights(void **state)
{
    (void)state;
    tiny_options options = tiny_defaults(&world, "remora");
    options.cycle = "code";
    tiny whole = tiny_create(&options), resumed = tiny_create(&options);
    must(mr_model_restart(whole.model, 2));
    tiny_stir(&whole, 5);
    tiny_stir(&resumed, 5);
    tiny_evaluate(&whole);
    double other_grouping = change_of(&resumed, whole.logits);
    mr_model_set_restart(resumed.model, 2);
    double same_grouping = change_of(&resumed, whole.logits);
    tiny_destroy(&whole);
    tiny_destroy(&resumed);
    assert_on_all_ranks(other_grouping > 1e-3);
    assert_on_all_ranks(same_grouping == 0);
}

static void only_methods_that_merge_change_frozen_weights(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++) {
        tiny_options options = tiny_defaults(&world, methods[m]);
        tiny t;
        must(tiny_lay_out(&options, &t));
        bool changes = mr_model_changes_frozen(t.model);
        tiny_destroy(&t);
        assert_on_all_ranks(changes == (strncmp(methods[m], "re", 2) == 0));
    }
}

static void every_method_starts_as_its_base(void **state)
{
    (void)state;
    tiny_options full = tiny_defaults(&world, "fft");
    tiny base = tiny_create(&full);
    tiny_evaluate(&base);
    for (int m = 0; m < METHODS; m++) {
        tiny_options options = tiny_defaults(&world, methods[m]);
        tiny t = tiny_create(&options);
        double change = change_of(&t, base.logits);
        tiny_destroy(&t);
        assert_on_all_ranks(change < 1e-5);
    }
    tiny_destroy(&base);
}

static mr_status give_nan(void *context, const mr_param *param, int64_t first, int64_t count,
                          float *out)
{
    (void)context;
    (void)param;
    for (int64_t i = 0; i < count; i++)
        out[i] = first + i == 100 ? NAN : 1;
    return MR_OK;
}

static void a_base_that_is_not_finite_is_refused_where_it_matters(void **state)
{
    (void)state;
    tiny_options options = tiny_defaults(&world, "dora");
    tiny t = tiny_create(&options);
    int id = find_param(mr_model_params(t.model), "model.layers.1.self_attn.k_proj.weight");
    must(mr_params_fill(mr_model_params(t.model), id, give_nan, NULL));
    mr_params_invalidate(mr_model_params(t.model));
    mr_status status = mr_model_prepare_adapters(t.model);
    bool named = strstr(mr_message(), "model.layers.1: dora: row 2 of a weight [12, 36]") != NULL;
    tiny_destroy(&t);
    assert_on_all_ranks(status == MR_ERR_NUMERIC);
    assert_on_all_ranks(named);
}

static void give_nine(mr_backend *be, mr_tensor out, mr_tensor a, mr_tensor b, double beta)
{
    (void)a;
    (void)b;
    (void)beta;
    for (int64_t i = 0; i < out.cols; i++)
        be->ops->upload(be, mr_tensor_cols(out, i, 1), &(double){9});
}

/* Adapters are kept in F32 and computed with in BF16: what an adapter starts from must be kept. */
static void a_start_lasts_where_copies_are_computed_with(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++) {
        tiny t;
        tiny_options options = tiny_defaults(&world, "dora");
        options.shard = shards[s];
        options.compute = MR_BF16;
        must(tiny_lay_out(&options, &t));
        must(mr_model_allocate(t.model));
        must(mr_model_draw(t.model, 11, true, true));
        const mr_backend_ops *const own = t.be->ops;
        mr_backend_ops ops = *own;
        ops.row_dots = give_nine; /* for backends that compute in F32 only */
        t.be->ops = &ops;
        must(mr_model_prepare_adapters(t.model));
        t.be->ops = own;
        const int id = find_param(mr_model_params(t.model),
                                  "model.layers.1.self_attn.k_proj.lora_magnitude_vector");
        float *magnitudes = tiny_weights(&t, id);
        bool right = true;
        for (int64_t i = 0; i < tiny_count(&t, id); i++)
            right = right && magnitudes[i] == 3;
        mr_free(magnitudes);
        tiny_destroy(&t);
        assert_on_all_ranks(right);
    }
}

/* A frozen A lies among the base weights, sharded as they are; B is trained as ever. */
static void a_frozen_tensor_is_drawn_orthonormal_and_not_trained(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++)
        for (int frozen = 0; frozen < 2; frozen++) {
            tiny_options options = tiny_defaults(&world, "asylora");
            options.shard = shards[s];
            options.freeze_a = frozen;
            tiny t = tiny_create(&options);
            bool right = true;
            for (int i = 0; i < mr_params_length(mr_model_params(t.model)); i++) {
                const mr_param *param = mr_params_at(mr_model_params(t.model), i);
                if (!strstr(param->name, "lora_A")) continue;
                float *rows = tiny_weights(&t, i);
                for (int64_t a = 0; a < param->rows; a++)
                    for (int64_t b = 0; b <= a; b++) {
                        double dot = 0;
                        for (int64_t c = 0; c < param->cols; c++)
                            dot += (double)rows[a * param->cols + c] *
                                   (double)rows[b * param->cols + c];
                        right = right && fabs(dot - (a == b)) < 1e-6;
                    }
                mr_free(rows);
                right = right && param->adapter &&
                        mr_params_at(mr_model_params(t.model), i)->trained != frozen;
            }
            tiny_train(&t);
            int b = find_param(mr_model_params(t.model), "model.layers.0.mlp.down_proj.lora_B");
            float *gradient = tiny_gradient(&t, b);
            double sum = 0;
            for (int64_t i = 0; i < tiny_count(&t, b); i++)
                sum += fabs((double)gradient[i]);
            mr_free(gradient);
            tiny_destroy(&t);
            assert_on_all_ranks(right);
            assert_on_all_ranks(sum > 0 && isfinite(sum));
        }
}

/* All gradients after one step with dropout, one after another. */
static float *gradients_of(const tiny_options *options, int64_t *count)
{
    tiny t = tiny_create(options);
    const mr_params *params = mr_model_params(t.model);
    tiny_stir(&t, 3);
    tiny_train(&t);
    *count = mr_params_count(params, true);
    float *all = mr_alloc_array(MR_MEM_OTHER, (size_t)*count, sizeof *all), *at = all;
    if (!all) mr_abort("%s", mr_message());
    for (int i = 0; i < mr_params_length(params); i++) {
        if (!mr_params_at(params, i)->trained) continue;
        float *one = tiny_gradient(&t, i);
        memcpy(at, one, (size_t)tiny_count(&t, i) * sizeof *at);
        at += tiny_count(&t, i);
        mr_free(one);
    }
    tiny_destroy(&t);
    return all;
}

static void recomputation_with_dropout_changes_no_bit_of_a_gradient(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++) {
        tiny_options options = tiny_defaults(&world, methods[m]);
        int64_t count, other_count;
        options.dropout = 0.3;
        float *kept = gradients_of(&options, &count);
        options.recompute = MR_RECOMPUTE_LAYER;
        options.shard = MR_SHARD_NONE;
        float *again = gradients_of(&options, &other_count);
        options.dropout = 0;
        float *without = gradients_of(&options, &other_count);
        bool same = memcmp(kept, again, (size_t)count * sizeof *kept) == 0;
        bool other = memcmp(kept, without, (size_t)count * sizeof *kept) != 0;
        mr_free(kept);
        mr_free(again);
        mr_free(without);
        assert_on_all_ranks(same);
        assert_on_all_ranks(other);
    }
}

static void factors_on_learning_rates_multiply(void **state)
{
    (void)state;
    tiny_options options = tiny_defaults(&world, "lora_plus");
    tiny t;
    options.lr_ratio = 3;
    options.lr_scale = (mr_string_list){.count = 1, .item = {"v_proj=0.5"}};
    must(tiny_lay_out(&options, &t));
    const mr_params *params = mr_model_params(t.model);
    double found[4];
    static const char *const names[4] = {
        "model.layers.0.self_attn.v_proj.lora_A", "model.layers.0.self_attn.v_proj.lora_B",
        "model.layers.0.self_attn.q_proj.lora_A", "model.layers.0.self_attn.q_proj.lora_B"};
    for (int i = 0; i < 4; i++)
        found[i] = mr_params_at(params, find_param(params, names[i]))->lr_scale;
    tiny_destroy(&t);
    assert_on_all_ranks(found[0] == 0.5 && found[1] == 1.5 && found[2] == 1 && found[3] == 3);
}

static void a_rate_of_its_own_does_not_depend_on_the_others(void **state)
{
    (void)state;
    tiny_options options = tiny_defaults(&world, "lora_plus");
    tiny t;
    options.lr_ratio = 3;
    options.lr_scale = (mr_string_list){.count = 1, .item = {"v_proj@0.25"}};
    must(tiny_lay_out(&options, &t));
    const mr_params *params = mr_model_params(t.model);
    double lr = t.config->train.lr, found[3];
    static const char *const names[3] = {"model.layers.0.self_attn.v_proj.lora_A",
                                         "model.layers.0.self_attn.v_proj.lora_B",
                                         "model.layers.0.self_attn.q_proj.lora_B"};
    for (int i = 0; i < 3; i++)
        found[i] = lr * mr_params_at(params, find_param(params, names[i]))->lr_scale;
    tiny_destroy(&t);
    assert_on_all_ranks(found[0] == 0.25 && found[1] == 0.25 && found[2] == 3 * lr);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    must(mr_comm_create(MPI_COMM_SELF, &alone));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_merge_leaves_the_function_as_it_is),
        cmocka_unit_test(a_merge_leaves_the_function_of_every_operator),
        cmocka_unit_test(merged_bits_depend_on_neither_ranks_nor_shards),
        cmocka_unit_test(a_merge_changes_the_targets_alone),
        cmocka_unit_test(a_restart_draws_anew),
        cmocka_unit_test(restart_0_is_how_a_model_starts),
        cmocka_unit_test(setting_a_restart_leaves_the_weights),
        cmocka_unit_test(only_methods_that_merge_change_frozen_weights),
        cmocka_unit_test(every_method_starts_as_its_base),
        cmocka_unit_test(a_base_that_is_not_finite_is_refused_where_it_matters),
        cmocka_unit_test(a_start_lasts_where_copies_are_computed_with),
        cmocka_unit_test(a_frozen_tensor_is_drawn_orthonormal_and_not_trained),
        cmocka_unit_test(recomputation_with_dropout_changes_no_bit_of_a_gradient),
        cmocka_unit_test(factors_on_learning_rates_multiply),
        cmocka_unit_test(a_rate_of_its_own_does_not_depend_on_the_others),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mr_comm_destroy(&alone);
    return ranks_end(failed);
}
