#include "model/params_impl.h"
#include "model/reduce.h"
#include "model/tree.h"
#include "ranks.h"

#include <math.h>
#include <stdlib.h>

static mr_backend *be;
static mr_nodes nodes; /* whose ranks share memory */

static const mr_shard shards[] = {MR_SHARD_FULL, MR_SHARD_OPTIMIZER, MR_SHARD_NONE};

enum { SHARDS = 3, UNITS = 4, MOST_LEAVES = 64 };

/* Shapes that fill several blocks of a shard, less than one, or one and a little. */
static const struct shape {
    int unit;
    mr_flat_kind kind;
    int64_t rows, cols;
} shapes[] = {
    {0, MR_FLAT_TRAINED, 70, 61},  {1, MR_FLAT_FROZEN, 50, 31},  {1, MR_FLAT_FROZEN, 1, 1},
    {1, MR_FLAT_ADAPTER, 3, 7},    {1, MR_FLAT_TRAINED, 9, 130}, {1, MR_FLAT_ADAPTER, 64, 33},
    {2, MR_FLAT_FROZEN, 128, 65},  {2, MR_FLAT_ADAPTER, 1, 1},   {3, MR_FLAT_TRAINED, 1, 1025},
    {3, MR_FLAT_TRAINED, 41, 100},
};

enum { PARAMS = sizeof shapes / sizeof shapes[0], LARGEST = 128 * 65, MOST_BELOW = 3 * LARGEST };

static int64_t count_of(int id)
{
    return shapes[id].rows * shapes[id].cols;
}

/* A value of its own for every element. */
static float weight_of(int id, int64_t index)
{
    return (float)(id * 10000 + index) / 8;
}

/* What micro-batch number `micro` adds to the gradient: of many sizes, so that order shows. */
static float leaf_of(int id, int64_t index, int64_t micro)
{
    mr_random random = mr_random_stream((uint64_t)id, MR_RANDOM_DATA, (uint64_t)micro);
    uint32_t bits = mr_random_u32(&random, (uint64_t)index);
    return ((float)(bits >> 8) / 65536 - 128) * (float)(1 << (bits & 7));
}

/* The balanced tree over leaves[0..count-1], by recursion. */
static float balanced(const float *leaves, int64_t count)
{
    if (count == 1) return leaves[0];
    float left = balanced(leaves, count / 2);
    return left + balanced(leaves + count / 2, count / 2);
}

/* The sum of leaves[0..count-1] as model/tree.h draws it. */
static float tree_sum(const float *leaves, int64_t count, int64_t stretches)
{
    float sums[MOST_LEAVES];
    const int64_t length = count / stretches;
    for (int64_t s = 0; s < stretches; s++) {
        sums[s] = leaves[s * length];
        for (int64_t i = 1; i < length; i++)
            sums[s] += leaves[s * length + i];
    }
    return balanced(sums, stretches);
}

static bool same_bits(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

static void draw_leaves(float *leaves, int64_t count, int64_t index)
{
    for (int64_t m = 0; m < count; m++)
        leaves[m] = leaf_of(0, index, m);
}

/* The sum of leaves by the slots of an mr_tree; deepest gets the most slots in use. */
static float slot_sum(const float *leaves, int64_t count, int64_t stretches, int *deepest)
{
    float slot[MOST_LEAVES] = {0};
    mr_tree tree = mr_tree_of(stretches, count / stretches);
    *deepest = 0;
    for (int64_t m = 0; m < count; m++) {
        if (mr_tree_complete(&tree)) return 0;
        slot[tree.depth] = leaves[m];
        if (!mr_tree_joins(&tree) && tree.depth + 1 > *deepest) *deepest = tree.depth + 1;
        for (int additions = mr_tree_push(&tree); additions > 0; additions--) {
            int into = mr_tree_pop(&tree);
            slot[into] += slot[into + 1];
        }
    }
    return mr_tree_complete(&tree) && tree.depth == 1 ? slot[0] : 0;
}

static void a_tree_adds_as_its_definition_says(void **state)
{
    (void)state;
    float leaves[MOST_LEAVES];
    for (int64_t count = 1; count <= MOST_LEAVES; count++)
        for (int64_t most = 0; most <= 8; most = most == 0 ? 1 : 2 * most)
            for (int64_t index = 0; index < 5; index++) {
                const int64_t stretches = mr_tree_stretches(count, most);
                int deepest;
                draw_leaves(leaves, count, index);
                float found = slot_sum(leaves, count, stretches, &deepest);
                assert_on_all_ranks(same_bits(found, tree_sum(leaves, count, stretches)));
            }
}

static void leaves_are_cut_into_as_many_stretches_as_may_be(void **state)
{
    (void)state;
    static const int64_t cases[][3] = {{1, 0, 1},   {12, 0, 4}, {12, 2, 2}, {12, 8, 4},
                                       {64, 0, 64}, {64, 8, 8}, {64, 1, 1}, {683, 0, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_on_all_ranks(mr_tree_stretches(cases[i][0], cases[i][1]) == cases[i][2]);
}

static void a_tree_takes_the_slots_it_announces(void **state)
{
    (void)state;
    float leaves[MOST_LEAVES];
    for (int64_t count = 1; count <= MOST_LEAVES; count++)
        for (int64_t most = 0; most <= 8; most = most == 0 ? 1 : 2 * most) {
            const int64_t stretches = mr_tree_stretches(count, most);
            const mr_tree tree = mr_tree_of(stretches, count / stretches);
            int deepest;
            draw_leaves(leaves, count, 0);
            (void)slot_sum(leaves, count, stretches, &deepest);
            assert_on_all_ranks(deepest == mr_tree_slots(&tree));
        }
}

static void the_order_of_addition_shows_in_the_leaves(void **state)
{
    (void)state;
    int differ = 0;
    for (int64_t index = 0; index < 100; index++) {
        float leaves[8], plain = 0;
        draw_leaves(leaves, 8, index);
        for (int m = 0; m < 8; m++)
            plain += leaves[m];
        differ += !same_bits(plain, tree_sum(leaves, 8, 8));
    }
    assert_on_all_ranks(differ > 10);
}

/* How a step is cut. */
typedef struct step_cut {
    int64_t micros, in_wave;
    bool meet_in_waves;
    int64_t stretches; /* of one rank's leaves; 0: as many as may be */
    int long_unit;
} step_cut;

static int64_t waves_of(const step_cut *cut)
{
    return (cut->micros + cut->in_wave - 1) / cut->in_wave;
}

static int64_t stretches_of(const step_cut *cut)
{
    return cut->stretches > 0 ? cut->stretches : mr_tree_stretches(cut->micros, 0);
}

static mr_reduce_cut reduction_of(const step_cut *cut)
{
    return (mr_reduce_cut){.leaves = cut->meet_in_waves ? cut->in_wave : cut->micros,
                           .meetings = cut->meet_in_waves ? waves_of(cut) : 1,
                           .stretches = stretches_of(cut),
                           .whole = !cut->meet_in_waves,
                           .long_unit = cut->long_unit};
}

static const step_cut cuts[] = {
    {1, 1, false, 0, -1}, {2, 1, false, 0, -1},   {3, 1, false, 0, -1}, {4, 1, false, 0, -1},
    {6, 1, false, 0, -1}, {5, 2, false, 0, -1},   {7, 3, false, 0, -1}, {12, 5, false, 0, -1},
    {4, 4, false, 0, -1}, {12, 12, false, 0, -1}, {8, 1, false, 1, -1}, {8, 3, false, 2, -1},
    {8, 8, false, 2, -1}, {1, 1, true, 0, -1},    {2, 1, true, 0, -1},  {4, 1, true, 0, -1},
    {4, 2, true, 0, -1},  {8, 2, true, 0, -1},    {4, 4, true, 0, -1},  {12, 3, true, 0, -1},
    {12, 6, true, 0, -1}, {8, 4, true, 2, -1},    {8, 8, true, 1, -1},
};

static mr_params *lay_out_in(mr_shard shard, mr_params_types types, const step_cut *cut)
{
    const mr_reduce_cut reduction = reduction_of(cut);
    mr_params *params;
    must(mr_params_create(&world, be, shard, types, UNITS, &params));
    for (int i = 0; i < PARAMS; i++) {
        char name[32];
        int id;
        snprintf(name, sizeof name, "param%d", i);
        must(mr_params_add(params, shapes[i].unit, shapes[i].kind, name, shapes[i].rows,
                           shapes[i].cols, MR_INIT_ZERO, 0, &id));
        if (id != i) mr_abort("parameter %d got number %d", i, id);
    }
    mr_params_share_memory(params, &nodes);
    mr_reduce_layout(params, &reduction);
    return params;
}

static const step_cut plain = {.micros = 1, .in_wave = 1, .long_unit = -1};

static mr_params *lay_out(mr_shard shard, const step_cut *cut)
{
    return lay_out_in(shard, (mr_params_types){.compute = MR_F32}, cut);
}

/* Which elements a source was asked for. */
typedef struct asked {
    int64_t *times; /* [LARGEST] */
} asked;

static mr_status give_weights(void *context, const mr_param *param, int64_t first, int64_t count,
                              float *out)
{
    asked *record = context;
    for (int64_t i = 0; i < count; i++) {
        record->times[first + i]++;
        out[i] = weight_of(atoi(param->name + strlen("param")), first + i);
    }
    return MR_OK;
}

/* Counters of elements that are summed over the ranks. */
static int64_t *new_counters(void)
{
    int64_t *counters = mr_alloc_array(MR_MEM_OTHER, LARGEST, sizeof *counters);
    if (!counters) mr_abort("%s", mr_message());
    return counters;
}

/* Whether the ranks together counted every element of a parameter so many times. */
static bool all_counted(int64_t *counters, int id, int64_t times)
{
    mr_comm_sum_i64(&world, counters, (int)count_of(id));
    bool right = true;
    for (int64_t i = 0; i < count_of(id); i++) {
        right = right && counters[i] == times;
        counters[i] = 0;
    }
    return right;
}

static void fill(mr_params *params)
{
    asked record = {.times = new_counters()};
    for (int id = 0; id < PARAMS; id++)
        must(mr_params_fill(params, id, give_weights, &record));
    mr_params_invalidate(params);
    mr_free(record.times);
}

static mr_params *make(mr_shard shard, const step_cut *cut)
{
    mr_params *params = lay_out(shard, cut);
    must(mr_params_open(params));
    must(mr_params_allocate(params));
    fill(params);
    return params;
}

/* Parameters and the reduction of their gradients. */
typedef struct rig {
    step_cut cut;
    mr_params *params;
    mr_reduce *reduce;
} rig;

static rig make_rig(mr_shard shard, step_cut cut)
{
    const mr_reduce_cut reduction = reduction_of(&cut);
    rig r = {.cut = cut, .params = make(shard, &cut)};
    must(mr_reduce_create(r.params, &reduction, &r.reduce));
    must(mr_reduce_open(r.reduce));
    must(mr_reduce_allocate(r.reduce));
    return r;
}

static void destroy_rig(rig *r)
{
    mr_reduce_destroy(&r->reduce);
    mr_params_destroy(&r->params);
}

static void parameters_are_counted(void **state)
{
    (void)state;
    mr_params *params = lay_out(MR_SHARD_FULL, &plain);
    int64_t all = mr_params_count(params, false), trained = mr_params_count(params, true);
    mr_params_destroy(&params);
    int64_t expected = 0, expected_trained = 0;
    for (int i = 0; i < PARAMS; i++) {
        expected += count_of(i);
        if (shapes[i].kind != MR_FLAT_FROZEN) expected_trained += count_of(i);
    }
    assert_on_all_ranks(all == expected && trained == expected_trained);
}

static void more_parameters_than_can_be_counted_are_refused(void **state)
{
    (void)state;
    mr_params *params;
    int id;
    const int64_t side = (int64_t)1 << 25;
    must(mr_params_create(&world, be, MR_SHARD_FULL, (mr_params_types){0}, 2, &params));
    must(mr_params_add(params, 0, MR_FLAT_FROZEN, "most", side, side - 1, MR_INIT_ZERO, 0, &id));
    must(mr_params_add(params, 1, MR_FLAT_TRAINED, "rest", side, 1, MR_INIT_ZERO, 0, &id));
    mr_status status =
        mr_params_add(params, 1, MR_FLAT_ADAPTER, "one more", 1, 1, MR_INIT_ZERO, 0, &id);
    bool said = strstr(mr_message(), "one more [1, 1]: the model has more than 2^50 parameters");
    mr_params_destroy(&params);
    assert_on_all_ranks(status == MR_ERR_ARG && said);
}

static void what_is_allocated_is_what_was_announced(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++)
        for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c++)
            for (int long_unit = -1; long_unit <= 0; long_unit++) {
                size_t bytes[MR_MEM_PURPOSES] = {0};
                step_cut cut = cuts[c];
                cut.long_unit = long_unit;
                if (world.size == 1 && cut.meet_in_waves) continue;
                rig r = make_rig(shards[s], cut);
                mr_params_bytes(r.params, bytes);
                mr_reduce_bytes(r.reduce, bytes);
                bool right = true;
                for (int p = 0; p <= MR_MEM_EVAL; p++)
                    right = right && mr_memory_live((mr_purpose)p) == bytes[p];
                destroy_rig(&r);
                for (int p = 0; p <= MR_MEM_EVAL; p++)
                    right = right && mr_memory_live((mr_purpose)p) == 0;
                assert_on_all_ranks(right);
            }
}

static void every_element_is_filled_where_it_is_kept(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++) {
        mr_params *params = lay_out(shards[s], &plain);
        must(mr_params_open(params));
        must(mr_params_allocate(params));
        asked record = {.times = new_counters()};
        bool right = true;
        for (int id = 0; id < PARAMS; id++) {
            must(mr_params_fill(params, id, give_weights, &record));
            bool once = shards[s] == MR_SHARD_FULL && shapes[id].kind != MR_FLAT_ADAPTER;
            right = all_counted(record.times, id, once ? 1 : nodes.count) && right;
        }
        mr_free(record.times);
        mr_params_destroy(&params);
        assert_on_all_ranks(right);
    }
}

/* Whether every rank reads the whole of every parameter as expected. */
static bool reads(mr_params *params, float (*expected)(int id, int64_t index))
{
    float *values = mr_alloc_array(MR_MEM_OTHER, LARGEST, sizeof *values);
    if (!values) mr_abort("%s", mr_message());
    bool right = true;
    for (int id = 0; id < PARAMS; id++) {
        mr_params_read(params, id, values);
        for (int64_t i = 0; i < count_of(id); i++)
            right = right && same_bits(values[i], expected(id, i));
    }
    mr_free(values);
    return right;
}

static float rounded_weight_of(int id, int64_t index)
{
    float value = weight_of(id, index);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits = (bits + 0x7fffu + (bits >> 16 & 1u)) & 0xffff0000u;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float negated_rounded_weight_of(int id, int64_t index)
{
    float value = rounded_weight_of(id, index);
    return shapes[id].kind == MR_FLAT_FROZEN ? value : -value;
}

/* Negates this rank's part of what is trained, in the type that it is kept in, and its copy. */
static bool negate(mr_params *params)
{
    bool whole = true;
    for (int id = 0; id < PARAMS; id++) {
        if (!mr_params_at(params, id)->trained) continue;
        mr_own own = mr_params_own(params, id);
        for (int64_t i = 0; i < own.count; i++) {
            float value;
            mr_tensor one = mr_tensor_cols(own.weight, i, 1);
            be->ops->download(be, &value, one);
            whole = whole && own.weight.dtype == MR_F32 &&
                    same_bits(value, weight_of(id, own.first + i));
            value = -value;
            be->ops->upload(be, one, &value);
            if (mr_tensor_exists(own.copy))
                be->ops->upload(be, mr_tensor_cols(own.copy, i, 1), &value);
        }
    }
    return whole;
}

/* What is computed with in another type are copies; what is updated stays as exact as it was. */
static void weights_are_copied_into_the_type_that_is_computed_in(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++)
        for (int keeps = 0; keeps < 2; keeps++) {
            const mr_params_types types = {.compute = MR_BF16, .keeps_frozen = keeps};
            mr_params *params = lay_out_in(shards[s], types, &plain);
            size_t bytes[MR_MEM_PURPOSES] = {0};
            mr_params_bytes(params, bytes);
            must(mr_params_open(params));
            must(mr_params_allocate(params));
            bool right = mr_memory_live(MR_MEM_WEIGHTS) == bytes[MR_MEM_WEIGHTS] &&
                         mr_memory_live(MR_MEM_GATHER) == bytes[MR_MEM_GATHER];
            fill(params);
            right = reads(params, rounded_weight_of) && right;
            mr_params_share_gradients(params);
            right = negate(params) && right;
            mr_params_publish(params);
            right = reads(params, negated_rounded_weight_of) && right;
            mr_params_destroy(&params);
            assert_on_all_ranks(right);
        }
}

static void every_rank_reads_whole_parameters(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++) {
        mr_params *params = make(shards[s], &plain);
        bool right = reads(params, weight_of);
        mr_params_destroy(&params);
        assert_on_all_ranks(right);
    }
}

/* What lies below a parameter: at least those that follow it in its flat, up to whole rows. */
static mr_tensor below_of(mr_tensor t, int id, bool *right)
{
    int64_t follow = 0;
    for (int other = id + 1; other < PARAMS; other++)
        if (shapes[other].unit == shapes[id].unit && shapes[other].kind == shapes[id].kind)
            follow += count_of(other);
    *right = *right && t.below >= follow / t.cols && t.below * t.cols <= MOST_BELOW;
    t.offset += mr_tensor_count(t);
    t.rows = t.below;
    return t;
}

static bool unit_is_readable(mr_params *params, int unit)
{
    float *values = mr_alloc_array(MR_MEM_OTHER, MOST_BELOW, sizeof *values);
    if (!values) mr_abort("%s", mr_message());
    bool right = true;
    for (int id = 0; id < PARAMS; id++) {
        if (shapes[id].unit != unit) continue;
        const mr_tensor weight = mr_params_weight(params, id);
        const mr_tensor below = below_of(weight, id, &right);
        be->ops->download(be, values, weight);
        for (int64_t i = 0; i < count_of(id); i++)
            right = right && same_bits(values[i], weight_of(id, i));
        if (right) be->ops->download(be, values, below);
        for (int64_t i = 0; right && i < mr_tensor_count(below); i++)
            right = isfinite(values[i]);
    }
    mr_free(values);
    return right;
}

static void units_are_gathered_ahead_as_a_pass_uses_them(void **state)
{
    (void)state;
    /* Forward, the turn, backward; and again without an announcement, or with a wrong one. */
    static const int order[][2] = {{0, 1}, {1, 2}, {2, 3}, {3, 2}, {2, 1},  {1, 0}, {0, -1},
                                   {0, 3}, {1, 2}, {3, 3}, {2, 0}, {1, -1}, {0, 2}, {2, 2}};
    for (int s = 0; s < SHARDS; s++) {
        mr_params *params = make(shards[s], &plain);
        bool right = true;
        for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
            mr_params_use(params, order[i][0], order[i][1]);
            right = unit_is_readable(params, order[i][0]) && right;
        }
        mr_params_destroy(&params);
        assert_on_all_ranks(right);
    }
}

static void trained_elements_have_one_owner(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++) {
        mr_params *params = make(shards[s], &plain);
        int64_t *owners = new_counters();
        bool right = true;
        for (int id = 0; id < PARAMS; id++) {
            if (!mr_params_at(params, id)->trained) continue;
            mr_own own = mr_params_own(params, id);
            right = right && (own.count == 0 || own.first + own.count <= count_of(id));
            for (int64_t i = 0; i < own.count; i++)
                owners[own.first + i]++;
            right = all_counted(owners, id, shards[s] == MR_SHARD_NONE ? nodes.count : 1) && right;
        }
        mr_free(owners);
        mr_params_destroy(&params);
        assert_on_all_ranks(right);
    }
}

static float new_weight_of(int id, int64_t index)
{
    return shapes[id].kind == MR_FLAT_FROZEN ? weight_of(id, index) : -weight_of(id, index) - 1;
}

static void updates_of_owners_reach_every_rank(void **state)
{
    (void)state;
    float *values = mr_alloc_array(MR_MEM_OTHER, LARGEST, sizeof *values);
    if (!values) mr_abort("%s", mr_message());
    for (int s = 0; s < SHARDS; s++) {
        mr_params *params = make(shards[s], &plain);
        mr_params_use(params, 0, 1); /* a gathered copy from before the update */
        mr_params_share_gradients(params);
        bool right = true;
        for (int id = 0; id < PARAMS; id++) {
            if (!mr_params_at(params, id)->trained) continue;
            mr_own own = mr_params_own(params, id);
            if (own.count == 0) continue;
            be->ops->download(be, values, own.weight);
            for (int64_t i = 0; i < own.count; i++) {
                right = right && same_bits(values[i], weight_of(id, own.first + i));
                values[i] = new_weight_of(id, own.first + i);
            }
            be->ops->upload(be, own.weight, values);
        }
        mr_params_publish(params);
        right = reads(params, new_weight_of) && right;
        mr_params_destroy(&params);
        assert_on_all_ranks(right);
    }
    mr_free(values);
}

/* Adds to counters the elements of a parameter that lie in a slab; the slab's weights must be the
 * parameter's own. */
static bool count_slab(int id, mr_slab slab, mr_slab_kind what, int64_t *counters)
{
    static float values[LARGEST];
    if (slab.count == 0) return !mr_tensor_exists(slab.values);
    bool right = slab.values.rows == 1 && slab.values.cols == slab.count && slab.first >= 0 &&
                 slab.first + slab.count <= count_of(id);
    if (!right) return false;
    be->ops->download(be, values, slab.values);
    for (int64_t i = 0; i < slab.count; i++) {
        counters[slab.first + i]++;
        if (what == MR_SLAB_WEIGHTS)
            right = right && same_bits(values[i], weight_of(id, slab.first + i));
    }
    return right;
}

typedef mr_slab slab_function(const mr_params *params, int id, mr_slab_kind what);

/* Whether the slabs of all ranks hold every element as often as expected. */
static bool slabs_hold(slab_function *slab_of, mr_shard shard, mr_slab_kind what,
                       int64_t (*expected)(mr_shard shard, int id, mr_slab_kind what))
{
    mr_params *params = make(shard, &plain);
    int64_t *counters = new_counters();
    bool right = true;
    for (int id = 0; id < PARAMS; id++) {
        right = count_slab(id, slab_of(params, id, what), what, counters) && right;
        right = all_counted(counters, id, expected(shard, id, what)) && right;
    }
    mr_free(counters);
    mr_params_destroy(&params);
    return right;
}

static bool has(int id, mr_slab_kind what)
{
    return what == MR_SLAB_WEIGHTS || shapes[id].kind != MR_FLAT_FROZEN;
}

static int64_t once(mr_shard shard, int id, mr_slab_kind what)
{
    (void)shard;
    return has(id, what);
}

static int64_t as_kept(mr_shard shard, int id, mr_slab_kind what)
{
    bool cut = what == MR_SLAB_WEIGHTS
                   ? shard == MR_SHARD_FULL && shapes[id].kind != MR_FLAT_ADAPTER
                   : shard != MR_SHARD_NONE;
    return has(id, what) ? (cut ? 1 : nodes.count) : 0;
}

static void one_rank_writes_each_element_of_a_checkpoint(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++)
        for (int what = MR_SLAB_WEIGHTS; what <= MR_SLAB_V; what++)
            assert_on_all_ranks(slabs_hold(mr_params_shard, shards[s], (mr_slab_kind)what, once));
}

static void a_checkpoint_is_read_into_what_is_kept(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++)
        for (int what = MR_SLAB_WEIGHTS; what <= MR_SLAB_V; what++)
            assert_on_all_ranks(slabs_hold(mr_params_kept, shards[s], (mr_slab_kind)what, as_kept));
}

/* What a rank writes must be part of what it keeps, and the same memory. */
static void what_is_written_is_part_of_what_is_kept(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++) {
        mr_params *params = make(shards[s], &plain);
        bool right = true;
        for (int id = 0; id < PARAMS; id++)
            for (int what = MR_SLAB_WEIGHTS; what <= MR_SLAB_V; what++) {
                mr_slab written = mr_params_shard(params, id, (mr_slab_kind)what);
                mr_slab kept = mr_params_kept(params, id, (mr_slab_kind)what);
                if (mr_params_replicated(params, id, (mr_slab_kind)what) && nodes.ranks == 1)
                    right = right && kept.first == 0 && kept.count == count_of(id);
                if (written.count == 0) continue;
                right = right && written.first >= kept.first &&
                        written.first + written.count <= kept.first + kept.count &&
                        written.values.buffer == kept.values.buffer &&
                        written.values.offset - kept.values.offset == written.first - kept.first;
            }
        mr_params_destroy(&params);
        assert_on_all_ranks(right);
    }
}

static void a_change_of_weights_raises_the_generation(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++) {
        mr_params *params = make(shards[s], &plain);
        uint64_t first = params->generation;
        mr_params_use(params, 0, 1);
        mr_params_use(params, 1, -1);
        uint64_t used = params->generation;
        mr_params_publish(params);
        uint64_t updated = params->generation;
        fill(params);
        uint64_t filled = params->generation;
        mr_params_destroy(&params);
        assert_on_all_ranks(first > 0 && used == first && updated > used && filled > updated);
    }
}

/* As a product does, which writes below what is its own and puts back what stood there. */
static void write_leaf(const rig *r, int unit, int64_t micro)
{
    static float values[LARGEST], others[MOST_BELOW];
    for (int id = 0; id < PARAMS; id++) {
        if (shapes[id].unit != unit || shapes[id].kind == MR_FLAT_FROZEN) continue;
        bool right = true;
        const mr_tensor grad = mr_reduce_grad(r->reduce, id), below = below_of(grad, id, &right);
        if (!right) mr_abort("parameter %d: %lld rows below", id, (long long)grad.below);
        for (int64_t i = 0; i < count_of(id); i++)
            values[i] = leaf_of(id, i, micro);
        be->ops->download(be, others, below);
        be->ops->fill(be, below, 1e30f);
        be->ops->upload(be, grad, values);
        be->ops->upload(be, below, others);
    }
}

/* Writes the leaves of a step as a pass does: unit by unit from the last, the micro-batches of a
 * wave one after another; a long unit is open from the first to the last. Leaves are numbered from
 * `base`. */
static void reduce_step(const rig *r, int64_t base)
{
    const step_cut *cut = &r->cut;
    for (int64_t wave = 0; wave < waves_of(cut); wave++) {
        const int64_t done = wave * cut->in_wave, left = cut->micros - done;
        const int64_t in_wave = left < cut->in_wave ? left : cut->in_wave;
        int64_t first = base + world.rank * cut->micros + done;
        if (cut->meet_in_waves) first = base + (wave * world.size + world.rank) * in_wave;
        if (cut->long_unit >= 0) mr_reduce_leaf_begin(r->reduce, cut->long_unit);
        for (int unit = UNITS - 1; unit >= 0; unit--) {
            if (unit == cut->long_unit) continue;
            for (int64_t w = 0; w < in_wave; w++) {
                mr_reduce_leaf_begin(r->reduce, unit);
                write_leaf(r, unit, first + w);
                mr_reduce_leaf_end(r->reduce, unit);
            }
        }
        if (cut->long_unit < 0) continue;
        write_leaf(r, cut->long_unit, first);
        mr_reduce_leaf_end(r->reduce, cut->long_unit);
    }
    mr_reduce_finish(r->reduce);
}

static float gradient_of(const step_cut *cut, int id, int64_t index, int64_t base)
{
    float leaves[MOST_LEAVES] = {0};
    int64_t count = cut->micros * world.size;
    for (int64_t m = 0; m < count; m++)
        leaves[m] = leaf_of(id, index, base + m);
    return tree_sum(leaves, count, stretches_of(cut) * world.size);
}

/* Whether the gradients of what this rank owns are the trees over all ranks' leaves. */
static bool own_gradients_are_right(const rig *r, int64_t base)
{
    static float values[LARGEST];
    bool right = true;
    for (int id = 0; id < PARAMS; id++) {
        if (!mr_params_at(r->params, id)->trained) continue;
        mr_own own = mr_params_own(r->params, id);
        if (own.count == 0) continue;
        be->ops->download(be, values, own.grad);
        /* Not every element: the reference is slow. Both ends, and a stride in between. */
        for (int64_t i = 0; i < own.count; i += i + 8 < own.count ? 7 : 1)
            right = right && same_bits(values[i], gradient_of(&r->cut, id, own.first + i, base));
    }
    return right;
}

static void gradients_are_trees_over_all_ranks_and_waves(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++)
        for (size_t c = 0; c < sizeof cuts / sizeof cuts[0]; c++) {
            if (world.size == 1 && cuts[c].meet_in_waves) continue;
            rig r = make_rig(shards[s], cuts[c]);
            reduce_step(&r, 0);
            mr_params_share_gradients(r.params);
            bool right = own_gradients_are_right(&r, 0);
            destroy_rig(&r);
            assert_on_all_ranks(right);
        }
}

static void a_second_step_starts_anew(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++) {
        rig r = make_rig(shards[s], (step_cut){6, 4, false, 0, -1});
        bool right = true;
        for (int64_t step = 0; step < 3; step++) {
            reduce_step(&r, 1000 * step);
            mr_params_share_gradients(r.params);
            right = own_gradients_are_right(&r, 1000 * step) && right;
        }
        destroy_rig(&r);
        assert_on_all_ranks(right);
    }
}

static void a_unit_that_stays_open_is_reduced_too(void **state)
{
    (void)state;
    for (int s = 0; s < SHARDS; s++)
        for (int i = 0; i < 12; i++) {
            const step_cut cut = {1 + i / 2, 1, i % 2, 0, 0};
            const bool whole = mr_tree_stretches(cut.micros, 0) == cut.micros;
            if (cut.meet_in_waves && (world.size == 1 || !whole)) continue;
            rig r = make_rig(shards[s], cut);
            bool right = true;
            for (int64_t step = 0; step < 2; step++) {
                reduce_step(&r, 1000 * step);
                mr_params_share_gradients(r.params);
                right = own_gradients_are_right(&r, 1000 * step) && right;
            }
            destroy_rig(&r);
            assert_on_all_ranks(right);
        }
}

/* What norms are summed from: each element once over all ranks, and nothing of the padding. Leaves
 * of one count their elements. */
static void squares_of_gradients_cover_each_element_once(void **state)
{
    (void)state;
    static float values[LARGEST];
    for (int s = 0; s < SHARDS; s++) {
        rig r = make_rig(shards[s], (step_cut){2, 1, false, 0, -1});
        reduce_step(&r, 0); /* leaves other numbers in the lanes */
        for (int64_t i = 0; i < LARGEST; i++)
            values[i] = 1;
        for (int64_t wave = 0; wave < 2; wave++)
            for (int unit = UNITS - 1; unit >= 0; unit--) {
                mr_reduce_leaf_begin(r.reduce, unit);
                for (int id = 0; id < PARAMS; id++)
                    if (shapes[id].unit == unit && shapes[id].kind != MR_FLAT_FROZEN)
                        be->ops->upload(be, mr_reduce_grad(r.reduce, id), values);
                mr_reduce_leaf_end(r.reduce, unit);
            }
        mr_reduce_finish(r.reduce);
        mr_tensor sums;
        int64_t count = mr_params_square_count(r.params), sum = 0, each = 2 * world.size;
        double *found = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *found);
        if (!found) mr_abort("%s", mr_message());
        must(mr_backend_tensor(be, MR_MEM_OTHER, MR_F64, 1, count, &sums));
        mr_params_square_sums(r.params, sums);
        be->ops->download(be, found, sums);
        for (int64_t i = 0; i < count; i++)
            sum += (int64_t)found[i];
        mr_comm_sum_i64(&world, &sum, 1);
        int64_t expected = each * each * mr_params_count(r.params, true);
        mr_backend_free(be, &sums);
        mr_free(found);
        destroy_rig(&r);
        assert_on_all_ranks(sum == expected);
    }
}

static void a_frozen_unit_has_no_leaf(void **state)
{
    (void)state;
    mr_params *params;
    int id;
    must(mr_params_create(&world, be, MR_SHARD_FULL, (mr_params_types){0}, 1, &params));
    must(mr_params_add(params, 0, MR_FLAT_FROZEN, "frozen", 10, 10, MR_INIT_ONE, 0, &id));
    mr_reduce *reduce;
    const step_cut cut = {2, 1, false, 0, -1};
    const mr_reduce_cut reduction = reduction_of(&cut);
    mr_reduce_layout(params, &reduction);
    must(mr_params_open(params));
    must(mr_params_allocate(params));
    must(mr_reduce_create(params, &reduction, &reduce));
    must(mr_reduce_open(reduce));
    must(mr_reduce_allocate(reduce));
    mr_reduce_leaf_begin(reduce, 0);
    mr_reduce_leaf_end(reduce, 0);
    mr_reduce_finish(reduce);
    mr_params_share_gradients(params);
    mr_params_publish(params);
    bool right = mr_memory_live(MR_MEM_GRADIENTS) == 0 && mr_memory_live(MR_MEM_OPTIMIZER) == 0;
    mr_reduce_destroy(&reduce);
    mr_params_destroy(&params);
    assert_on_all_ranks(right);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    must(mr_backend_create(test_backend(), 0, 1, &be));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_adds_as_its_definition_says),
        cmocka_unit_test(leaves_are_cut_into_as_many_stretches_as_may_be),
        cmocka_unit_test(a_tree_takes_the_slots_it_announces),
        cmocka_unit_test(the_order_of_addition_shows_in_the_leaves),
        cmocka_unit_test(parameters_are_counted),
        cmocka_unit_test(more_parameters_than_can_be_counted_are_refused),
        cmocka_unit_test(what_is_allocated_is_what_was_announced),
        cmocka_unit_test(every_element_is_filled_where_it_is_kept),
        cmocka_unit_test(every_rank_reads_whole_parameters),
        cmocka_unit_test(weights_are_copied_into_the_type_that_is_computed_in),
        cmocka_unit_test(units_are_gathered_ahead_as_a_pass_uses_them),
        cmocka_unit_test(trained_elements_have_one_owner),
        cmocka_unit_test(updates_of_owners_reach_every_rank),
        cmocka_unit_test(one_rank_writes_each_element_of_a_checkpoint),
        cmocka_unit_test(a_checkpoint_is_read_into_what_is_kept),
        cmocka_unit_test(what_is_written_is_part_of_what_is_kept),
        cmocka_unit_test(a_change_of_weights_raises_the_generation),
        cmocka_unit_test(gradients_are_trees_over_all_ranks_and_waves),
        cmocka_unit_test(a_second_step_starts_anew),
        cmocka_unit_test(a_unit_that_stays_open_is_reduced_too),
        cmocka_unit_test(squares_of_gradients_cover_each_element_once),
        cmocka_unit_test(a_frozen_unit_has_no_leaf),
    };
    /* Ranks apart, on one node, and on nodes of two. */
    nodes = mr_nodes_apart(&world);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int of_two = 0; of_two <= (world.size == 4) && world.size > 1; of_two++) {
        if (of_two) setenv("MORA_NODE_RANKS", "2", 1);
        nodes = mr_nodes_create(&world);
        if (nodes.ranks != (of_two ? 2 : world.size)) mr_abort("%d ranks a node", nodes.ranks);
        failed += cmocka_run_group_tests(tests, NULL, NULL);
        mr_nodes_destroy(&nodes);
    }
    mr_backend_destroy(&be);
    return ranks_end(failed);
}
