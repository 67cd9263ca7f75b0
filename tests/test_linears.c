/** @file
 * The linears of a model one by one, on any number of ranks and under every way of sharding: what a
 * merge would make of them, what they were at the start, and the structure of what they learnt. */

#include "model/linears.h"
#include "ranks.h"
#include "tiny.h"

static const mr_shard shards[] = {MR_SHARD_FULL, MR_SHARD_OPTIMIZER, MR_SHARD_NONE};

enum { SHARDS = 3, LINEARS = 14 };

static const char *const methods[] = {"fft",  "lora",   "lora_plus", "asylora",
                                      "dora", "relora", "mora",      "remora"};

enum { METHODS = sizeof methods / sizeof *methods };

static float *must_allocate(int64_t count)
{
    float *values = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof *values);
    if (!values) mr_abort("%s", mr_message());
    return values;
}

/* All merged rows of a linear. */
static float *merged(tiny *t, const mr_model_linear *linear, const mr_merge_scratch *scratch)
{
    const mr_param *param = mr_params_at(mr_model_params(t->model), linear->weight);
    float *all = must_allocate(param->rows * param->cols);
    mr_model_use_layer(t->model, linear->layer, -1);
    for (int64_t first = 0; first < param->rows; first += MR_MERGE_ROWS) {
        int64_t left = param->rows - first;
        mr_model_merged_rows(t->model, linear, first, left < MR_MERGE_ROWS ? left : MR_MERGE_ROWS,
                             scratch, all + first * param->cols);
    }
    return all;
}

/* Whether merged rows are what merging makes of the weights, bit for bit. */
static bool merged_rows_foretell_the_merge(const tiny_options *options)
{
    tiny t = tiny_create(options);
    float *foretold[LINEARS];
    mr_merge_scratch scratch = {0};
    bool same = true;
    int count = 0;
    tiny_stir(&t, 5);
    must(mr_merge_scratch_create(t.model, &scratch));
    for (mr_model_linear at = {0}; mr_model_next_linear(t.model, &at);)
        foretold[count++] = merged(&t, &at, &scratch);
    mr_merge_scratch_free(t.model, &scratch);
    must(mr_model_merge(t.model));
    count = 0;
    for (mr_model_linear at = {0}; mr_model_next_linear(t.model, &at); count++) {
        float *after = tiny_weights(&t, at.weight);
        size_t bytes = (size_t)tiny_count(&t, at.weight) * sizeof *after;
        same = same && memcmp(after, foretold[count], bytes) == 0;
        mr_free(after);
        mr_free(foretold[count]);
    }
    tiny_destroy(&t);
    return same && count == LINEARS;
}

static void merged_rows_are_what_a_merge_makes(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++)
        for (int s = 0; s < SHARDS; s++) {
            tiny_options options = tiny_defaults(&world, methods[m]);
            options.shard = shards[s];
            bool same = merged_rows_foretell_the_merge(&options);
            if (!same) print_error("%s, shard %d\n", methods[m], s);
            assert_on_all_ranks(same);
        }
}

static void starting_values_are_drawn_again_by_ranges(void **state)
{
    (void)state;
    tiny_options options = tiny_defaults(&world, "relora");
    tiny t = tiny_create(&options);
    const mr_params *params = mr_model_params(t.model);
    bool same = true;
    for (int i = 0; i < mr_params_length(params); i++) {
        if (mr_params_at(params, i)->adapter) continue;
        int64_t count = tiny_count(&t, i), half = count / 2 + 1;
        float *now = tiny_weights(&t, i), *start = must_allocate(count);
        const uint64_t seed = (uint64_t)t.config->run.seed;
        must(mr_model_start_values(t.model, seed, NULL, i, half, count - half, start + half));
        must(mr_model_start_values(t.model, seed, NULL, i, 0, half, start));
        same = same && memcmp(now, start, (size_t)count * sizeof *now) == 0;
        mr_free(now);
        mr_free(start);
    }
    tiny_destroy(&t);
    assert_on_all_ranks(same);
}

static void linears_are_walked_in_order_with_their_adapters(void **state)
{
    (void)state;
    tiny_options options = tiny_defaults(&world, "lora");
    options.targets = (mr_string_list){.count = 2, .item = {"k_proj", "down_proj"}};
    options.saved = (mr_string_list){.count = 1, .item = {"layers.1.mlp.up_proj"}};
    tiny t;
    must(tiny_lay_out(&options, &t));
    static const char *const names[] = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                        "gate_proj", "up_proj", "down_proj"};
    bool right = true;
    int count = 0;
    for (mr_model_linear at = {0}; mr_model_next_linear(t.model, &at); count++) {
        bool adapted = count % 7 == 1 || count % 7 == 6, trained = count == 12;
        const mr_param *param = mr_params_at(mr_model_params(t.model), at.weight);
        right = right && at.layer == count / 7 && strcmp(at.projection, names[count % 7]) == 0 &&
                strstr(param->name, at.projection) && (at.place >= 0) == adapted &&
                mr_model_changes(t.model, &at) == (adapted || trained);
    }
    tiny_destroy(&t);
    assert_on_all_ranks(right && count == LINEARS);
}

/* How many linears tell a structure of what they have learnt, before and after a merge. */
static void count_updates(const char *method, bool allocated, int *before, int *after)
{
    tiny_options options = tiny_defaults(&world, method);
    tiny t;
    if (allocated)
        t = tiny_create(&options);
    else
        must(tiny_lay_out(&options, &t));
    int *const counts[] = {before, after};
    for (int restart = 0; restart < 2; restart++) {
        mr_update update;
        *counts[restart] = 0;
        mr_model_set_restart(t.model, restart);
        for (mr_model_linear at = {0}; mr_model_next_linear(t.model, &at);) {
            if (allocated && at.place >= 0 && mr_model_update_is_sharded(t.model, &at))
                mr_model_use_layer(t.model, at.layer, -1);
            int lengths;
            if (allocated ? !mr_model_update(t.model, &at, &update)
                          : !mr_model_is_structured(t.model, &at) ||
                                !mr_model_adapter_update(t.model, &at, &update, &lengths))
                continue;
            const mr_tensor part = update.kind == MR_UPDATE_PRODUCT ? update.a : update.m;
            *counts[restart] += mr_tensor_count(part) > 0 && mr_tensor_exists(part) == allocated;
        }
    }
    tiny_destroy(&t);
}

static void what_is_learnt_has_a_structure_until_it_is_merged(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++)
        for (int allocated = 0; allocated < 2; allocated++) {
            bool none = strcmp(methods[m], "fft") == 0 || strcmp(methods[m], "dora") == 0;
            int before, after;
            count_updates(methods[m], allocated > 0, &before, &after);
            if (before != (none ? 0 : LINEARS)) print_error("%s: %d\n", methods[m], before);
            assert_on_all_ranks(before == (none ? 0 : LINEARS) && after == 0);
        }
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merged_rows_are_what_a_merge_makes),
        cmocka_unit_test(starting_values_are_drawn_again_by_ranges),
        cmocka_unit_test(linears_are_walked_in_order_with_their_adapters),
        cmocka_unit_test(what_is_learnt_has_a_structure_until_it_is_merged),
    };
    return ranks_end(cmocka_run_group_tests(tests, NULL, NULL));
}
