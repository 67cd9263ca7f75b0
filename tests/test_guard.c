/** @file
 * Guards of a step: losses that are judged, optimizer state that is reset, ranks that differ. */

#include "ranks.h"
#include "train/guard.h"

#include <math.h>
#include <stdlib.h>

static mr_backend *be;

static mr_config config_with(double zscore, mr_guard on_spike, mr_guard on_nonfinite)
{
    mr_config config;
    mr_config_defaults(NULL, &config);
    config.train.spike_zscore = zscore;
    config.train.on_spike = (int32_t)on_spike;
    config.train.on_nonfinite = (int32_t)on_nonfinite;
    return config;
}

/* A loss that falls slowly and shakes. */
static double calm_loss(int step)
{
    return 5 - 0.01 * step + (step % 2 ? 0.05 : -0.05);
}

static void a_calm_loss_is_sound(void **state)
{
    (void)state;
    mr_config config = config_with(4, MR_GUARD_STOP, MR_GUARD_STOP);
    mr_guard_state guard = {0};
    mr_guard act;
    for (int step = 0; step < 300; step++) {
        assert_int_equal(mr_guard_judge(&guard, &config, calm_loss(step), 1, &act),
                         MR_VERDICT_SOUND);
        assert_int_equal(act, MR_GUARD_LOG);
    }
    assert_int_equal(guard.spikes + guard.nonfinite + guard.skipped, 0);
}

static void a_jump_is_a_spike_and_a_lasting_rise_is_accepted(void **state)
{
    (void)state;
    mr_config config = config_with(6, MR_GUARD_SKIP, MR_GUARD_STOP);
    mr_guard_state guard = {0};
    mr_guard act;
    for (int step = 0; step < 100; step++)
        mr_guard_judge(&guard, &config, calm_loss(step), 1, &act);
    assert_int_equal(mr_guard_judge(&guard, &config, 9, 1, &act), MR_VERDICT_SPIKE);
    assert_int_equal(act, MR_GUARD_SKIP);
    assert_int_equal(guard.skipped, 1);
    int refused = 1;
    while (refused < 200 && mr_guard_judge(&guard, &config, 9, 1, &act) == MR_VERDICT_SPIKE)
        refused++;
    assert_in_range(refused, 2, 100);
}

static void the_first_losses_are_no_spikes(void **state)
{
    (void)state;
    mr_config config = config_with(0.001, MR_GUARD_STOP, MR_GUARD_STOP);
    mr_guard_state guard = {0};
    mr_guard act;
    for (int step = 0; step < 32; step++)
        assert_int_equal(mr_guard_judge(&guard, &config, step, 1, &act), MR_VERDICT_SOUND);
    assert_int_equal(mr_guard_judge(&guard, &config, 100, 1, &act), MR_VERDICT_SPIKE);
    assert_int_equal(act, MR_GUARD_STOP);
}

static void what_is_not_finite_is_judged_by_loss_and_by_gradient(void **state)
{
    (void)state;
    mr_config config = config_with(0, MR_GUARD_LOG, MR_GUARD_SKIP);
    mr_guard_state guard = {0};
    mr_guard act;
    assert_int_equal(mr_guard_judge(&guard, &config, NAN, 1, &act), MR_VERDICT_NOT_FINITE);
    assert_int_equal(act, MR_GUARD_SKIP);
    assert_int_equal(mr_guard_judge(&guard, &config, 1, INFINITY, &act), MR_VERDICT_NOT_FINITE);
    assert_int_equal(mr_guard_judge(&guard, &config, 1, 1, &act), MR_VERDICT_SOUND);
    assert_int_equal(guard.nonfinite, 2);
    assert_int_equal(guard.skipped, 2);
    assert_int_equal(guard.seen, 1);
    assert_true(guard.mean == 1);
    config.train.on_nonfinite = MR_GUARD_STOP;
    mr_guard_judge(&guard, &config, NAN, 1, &act);
    assert_int_equal(act, MR_GUARD_STOP);
}

static mr_status ones(void *context, const mr_param *param, int64_t first, int64_t count,
                      float *out)
{
    (void)context;
    (void)param;
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)(first + i + 1);
    return MR_OK;
}

static mr_nodes nodes; /* whose ranks share memory */

/* A frozen matrix, a trained one, and an adapter's two tensors. */
static mr_optimizer create(mr_shard shard)
{
    mr_config config;
    mr_params *params;
    mr_optimizer optimizer;
    int id;
    mr_config_defaults(NULL, &config);
    must(mr_params_create(&world, be, shard, (mr_params_types){0}, 2, &params));
    must(mr_params_add(params, 0, MR_FLAT_FROZEN, "w", 60, 70, MR_INIT_ZERO, 0, &id));
    must(mr_params_add(params, 0, MR_FLAT_TRAINED, "norm", 1, 70, MR_INIT_ZERO, 0, &id));
    must(mr_params_add(params, 0, MR_FLAT_ADAPTER, "w.lora_A", 4, 70, MR_INIT_ZERO, 0, &id));
    must(mr_params_add(params, 1, MR_FLAT_ADAPTER, "w.lora_B", 600, 4, MR_INIT_ZERO, 0, &id));
    mr_params_share_memory(params, &nodes);
    mr_params_layout(params, 1, false);
    must(mr_params_open(params));
    must(mr_params_allocate(params));
    for (int i = 0; i < mr_params_length(params); i++)
        must(mr_params_fill(params, i, ones, NULL));
    mr_params_invalidate(params);
    must(mr_optimizer_create(params, &config, &optimizer));
    return optimizer;
}

static void destroy(mr_optimizer *optimizer)
{
    mr_params *params = optimizer->params;
    mr_optimizer_destroy(optimizer);
    mr_params_destroy(&params);
}

/* Gives every trained parameter the gradient `value`, on every rank's own part. */
static void set_gradients(mr_optimizer *optimizer, float value)
{
    mr_params *params = optimizer->params;
    for (int i = 0; i < mr_params_length(params); i++) {
        if (!mr_params_at(params, i)->trained) continue;
        mr_own own = mr_params_own(params, i);
        if (own.count > 0) be->ops->fill(be, own.grad, value);
    }
}

static void a_reset_clears_the_adapters_and_nothing_else(void **state)
{
    (void)state;
    for (int shard = MR_SHARD_FULL; shard <= MR_SHARD_NONE; shard++) {
        mr_optimizer optimizer = create((mr_shard)shard);
        mr_optimizer_reset_count count;
        for (int step = 0; step < 3; step++) {
            set_gradients(&optimizer, 0.5f);
            mr_optimizer_update(&optimizer, 1e-3, 0);
        }
        must(mr_optimizer_reset_adapters(&optimizer, &count));
        assert_on_all_ranks(count.entries == 2 * (4 * 70 + 600 * 4));
        assert_on_all_ranks(count.cleared == count.entries);
        assert_on_all_ranks(optimizer.param_steps[1] == 3);
        assert_on_all_ranks(optimizer.param_steps[2] == 0 && optimizer.param_steps[3] == 0);
        mr_own norm = mr_params_own(optimizer.params, 1);
        mr_own b = mr_params_own(optimizer.params, 3);
        float value = 1;
        if (norm.count > 0) be->ops->download(be, &value, mr_tensor_cols(norm.v, 0, 1));
        assert_on_all_ranks(value > 0);
        value = 0;
        if (b.count > 0) be->ops->download(be, &value, mr_tensor_cols(b.v, b.count - 1, 1));
        assert_on_all_ranks(value <= 0);
        must(mr_optimizer_reset_adapters(&optimizer, &count));
        assert_on_all_ranks(count.cleared == 0);
        destroy(&optimizer);
    }
}

/* Adam's first step after a reset moves by the learning rate, whatever came before. */
static void after_a_reset_adam_starts_anew(void **state)
{
    (void)state;
    mr_optimizer optimizer = create(MR_SHARD_NONE);
    mr_optimizer_reset_count count;
    for (int step = 0; step < 50; step++) {
        set_gradients(&optimizer, step < 25 ? 1.0f : -3.0f);
        mr_optimizer_update(&optimizer, 1e-3, 0);
    }
    must(mr_optimizer_reset_adapters(&optimizer, &count));
    float before, after;
    mr_own own = mr_params_own(optimizer.params, 2);
    be->ops->download(be, &before, mr_tensor_cols(own.weight, 0, 1));
    set_gradients(&optimizer, 2.0f);
    mr_optimizer_update(&optimizer, 0.25, 0);
    be->ops->download(be, &after, mr_tensor_cols(own.weight, 0, 1));
    assert_on_all_ranks(fabsf(before - after - 0.25f) < 1e-6f);
    destroy(&optimizer);
}

static void ranks_that_agree_pass(void **state)
{
    (void)state;
    for (int shard = MR_SHARD_FULL; shard <= MR_SHARD_NONE; shard++) {
        mr_optimizer optimizer = create((mr_shard)shard);
        set_gradients(&optimizer, 0.5f);
        mr_optimizer_update(&optimizer, 1e-3, 0);
        assert_on_all_ranks(mr_guard_check_ranks(&optimizer) == MR_OK);
        destroy(&optimizer);
    }
}

/* Flips the lowest bit of one element of what a rank keeps of a parameter. */
static void flip(const mr_optimizer *optimizer, int id, mr_slab_kind what)
{
    uint32_t bits;
    mr_tensor one = mr_tensor_cols(mr_params_kept(optimizer->params, id, what).values, 17, 1);
    be->ops->download(be, &bits, one);
    bits ^= 1;
    be->ops->upload(be, one, &bits);
}

static void the_rank_that_differs_is_named(void **state)
{
    (void)state;
    if (world.size == 1) skip_because("for several ranks");
    for (int shard = MR_SHARD_FULL; shard <= MR_SHARD_NONE; shard++) {
        mr_optimizer optimizer = create((mr_shard)shard);
        if (world.rank == world.size - 1) flip(&optimizer, 3, MR_SLAB_WEIGHTS);
        assert_on_all_ranks(mr_guard_check_ranks(&optimizer) == MR_ERR_RANKS);
        const char *expected = world.size == 2 ? "ranks 0, 1 of 2: their copies of the replicated "
                                                 "state differ, and no majority"
                                               : "rank 3 of 4: the copy of the replicated state "
                                                 "differs from that of 3 other ranks";
        assert_on_all_ranks(strstr(mr_message(), expected) != NULL);
        destroy(&optimizer);
    }
}

static void weights_kept_whole_are_compared_too(void **state)
{
    (void)state;
    if (world.size == 1) skip_because("for several ranks");
    mr_optimizer optimizer = create(MR_SHARD_OPTIMIZER);
    if (world.rank == 0) flip(&optimizer, 0, MR_SLAB_WEIGHTS);
    assert_on_all_ranks(mr_guard_check_ranks(&optimizer) == MR_ERR_RANKS);
    destroy(&optimizer);
    optimizer = create(MR_SHARD_NONE);
    if (world.rank == 0) flip(&optimizer, 3, MR_SLAB_V);
    assert_on_all_ranks(mr_guard_check_ranks(&optimizer) == MR_ERR_RANKS);
    destroy(&optimizer);
    optimizer = create(MR_SHARD_NONE);
    if (world.rank == 0) flip(&optimizer, 3, MR_SLAB_M);
    assert_on_all_ranks(mr_guard_check_ranks(&optimizer) == MR_ERR_RANKS);
    destroy(&optimizer);
    optimizer = create(MR_SHARD_FULL);
    if (world.rank == 0) optimizer.param_steps[2]++;
    assert_on_all_ranks(mr_guard_check_ranks(&optimizer) == MR_ERR_RANKS);
    destroy(&optimizer);
}

/* What ranks share there is one copy of, which differs from another node's for all of them. */
static void the_node_that_differs_is_named_by_its_ranks(void **state)
{
    (void)state;
    if (world.size < 4) skip_because("for two nodes of two ranks");
    setenv("MORA_NODE_RANKS", "2", 1);
    nodes = mr_nodes_create(&world);
    unsetenv("MORA_NODE_RANKS");
    for (int shard = MR_SHARD_FULL; shard <= MR_SHARD_NONE; shard++) {
        mr_optimizer optimizer = create((mr_shard)shard);
        mr_optimizer_reset_count count;
        set_gradients(&optimizer, 0.5f);
        mr_optimizer_update(&optimizer, 1e-3, 0);
        assert_on_all_ranks(mr_guard_check_ranks(&optimizer) == MR_OK);
        must(mr_optimizer_reset_adapters(&optimizer, &count));
        assert_on_all_ranks(count.entries == 2 * (4 * 70 + 600 * 4));
        assert_on_all_ranks(count.cleared == count.entries);
        if (world.rank == 3) flip(&optimizer, 3, MR_SLAB_WEIGHTS);
        assert_on_all_ranks(mr_guard_check_ranks(&optimizer) == MR_ERR_RANKS);
        assert_on_all_ranks(strstr(mr_message(), "ranks 0, 1, 2, 3 of 4: their copies") != NULL);
        destroy(&optimizer);
    }
    mr_nodes_destroy(&nodes);
    nodes = mr_nodes_apart(&world);
}

/* Where eps weighs as much as the gradient, a step shows the gradient's length. */
static void a_gradient_shorter_than_the_clip_is_left_as_it_is(void **state)
{
    (void)state;
    mr_optimizer optimizer = create(MR_SHARD_NONE);
    float before, after;
    optimizer.clip_norm = 1;
    mr_own own = mr_params_own(optimizer.params, 2);
    be->ops->fill(be, own.weight, 0);
    be->ops->download(be, &before, mr_tensor_cols(own.weight, 0, 1));
    set_gradients(&optimizer, 1e-8f);
    mr_optimizer_update(&optimizer, 1, 1e-6);
    be->ops->download(be, &after, mr_tensor_cols(own.weight, 0, 1));
    assert_on_all_ranks(fabsf(before - after - 0.5f) < 1e-3f);
    destroy(&optimizer);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    must(mr_backend_create(test_backend(), 0, 1, &be));
    nodes = mr_nodes_apart(&world);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_calm_loss_is_sound),
        cmocka_unit_test(a_jump_is_a_spike_and_a_lasting_rise_is_accepted),
        cmocka_unit_test(the_first_losses_are_no_spikes),
        cmocka_unit_test(what_is_not_finite_is_judged_by_loss_and_by_gradient),
        cmocka_unit_test(a_reset_clears_the_adapters_and_nothing_else),
        cmocka_unit_test(after_a_reset_adam_starts_anew),
        cmocka_unit_test(ranks_that_agree_pass),
        cmocka_unit_test(the_rank_that_differs_is_named),
        cmocka_unit_test(weights_kept_whole_are_compared_too),
        cmocka_unit_test(the_node_that_differs_is_named_by_its_ranks),
        cmocka_unit_test(a_gradient_shorter_than_the_clip_is_left_as_it_is),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mr_backend_destroy(&be);
    return ranks_end(failed);
}
