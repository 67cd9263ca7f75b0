/** @file
 * Modules whose own weights are trained beside adapters (method.modules_to_save). */

#include "find_param.h"
#include "ranks.h"
#include "tiny.h"

#include <math.h>

static const mr_shard shards[] = {MR_SHARD_FULL, MR_SHARD_OPTIMIZER, MR_SHARD_NONE};

enum { SHARDS = 3 };

static mr_string_list list_of(const char *a, const char *b, const char *c)
{
    mr_string_list list = {0};
    const char *const items[] = {a, b, c};
    for (int i = 0; i < 3; i++)
        if (items[i]) snprintf(list.item[list.count++], sizeof list.item[0], "%s", items[i]);
    return list;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

/* Whether the base weights that are trained are those with one of these endings, and all others
 * frozen; adapters are not looked at. */
static bool trains_just(const tiny *t, const char *const *endings, int count)
{
    const mr_params *params = mr_model_params(t->model);
    bool right = true;
    for (int i = 0; i < mr_params_length(params); i++) {
        if (mr_params_at(params, i)->adapter) continue;
        bool expected = false;
        for (int e = 0; e < count; e++)
            expected = expected || ends_with(mr_params_at(params, i)->name, endings[e]);
        right = right && mr_params_at(params, i)->trained == expected;
    }
    return right;
}

/* Lays a model out on these modules and tells whether it trains weights with these endings. */
static bool lays_out(bool tied, mr_string_list saved, const char *const *endings, int count)
{
    tiny_options options = tiny_defaults(&world, "lora");
    tiny t;
    options.tied = tied;
    options.saved = saved;
    must(tiny_lay_out(&options, &t));
    bool right = trains_just(&t, endings, count);
    tiny_destroy(&t);
    return right;
}

static void modules_are_named_by_their_ends(void **state)
{
    (void)state;
    const char *none[1] = {NULL}, *head[] = {"model.norm.weight", "lm_head.weight"};
    const char *norms[] = {"input_layernorm.weight"}, *one[] = {"layers.1.mlp.up_proj.weight"};
    assert_on_all_ranks(lays_out(false, list_of(NULL, NULL, NULL), none, 0));
    assert_on_all_ranks(lays_out(false, list_of("norm", "lm_head", NULL), head, 2));
    assert_on_all_ranks(lays_out(false, list_of("input_layernorm", NULL, NULL), norms, 1));
    assert_on_all_ranks(lays_out(false, list_of("layers.1.mlp.up_proj", NULL, NULL), one, 1));
}

static void modules_are_named_by_expressions(void **state)
{
    (void)state;
    const char *norms[] = {"norm.weight"}, *first[] = {"layers.0.input_layernorm.weight",
                                                       "layers.0.post_attention_layernorm.weight"};
    assert_on_all_ranks(lays_out(false, list_of(".*norm", NULL, NULL), norms, 1));
    assert_on_all_ranks(
        lays_out(false, list_of("model\\.layers\\.0\\..*norm", NULL, NULL), first, 2));
}

static void a_tied_head_goes_by_both_names(void **state)
{
    (void)state;
    const char *embed[] = {"embed_tokens.weight"};
    assert_on_all_ranks(lays_out(true, list_of("lm_head", NULL, NULL), embed, 1));
    assert_on_all_ranks(lays_out(true, list_of("embed_tokens", NULL, NULL), embed, 1));
    assert_on_all_ranks(lays_out(false, list_of("embed_tokens", NULL, NULL), embed, 1));
}

static void a_trained_linear_gets_no_adapter(void **state)
{
    (void)state;
    tiny_options options = tiny_defaults(&world, "lora");
    tiny t;
    options.saved = list_of("v_proj", "layers.1.mlp.down_proj", NULL);
    must(tiny_lay_out(&options, &t));
    const mr_params *params = mr_model_params(t.model);
    bool v = find_param(params, "model.layers.0.self_attn.v_proj.lora_A") >= 0;
    bool q = find_param(params, "model.layers.0.self_attn.q_proj.lora_A") >= 0;
    bool first = find_param(params, "model.layers.0.mlp.down_proj.lora_A") >= 0;
    bool second = find_param(params, "model.layers.1.mlp.down_proj.lora_A") >= 0;
    tiny_destroy(&t);
    assert_on_all_ranks(!v && q && first && !second);
}

static const char *refusal(mr_string_list saved)
{
    tiny_options options = tiny_defaults(&world, "lora");
    tiny t;
    options.saved = saved;
    return tiny_lay_out(&options, &t) == MR_ERR_CONFIG ? mr_message() : "";
}

static void a_module_that_is_not_there_is_refused_by_name(void **state)
{
    (void)state;
    const char *message = refusal(list_of("norm", "wte", NULL));
    assert_contains(message, "method.modules_to_save: \"wte\" matches no module; there are "
                             "embed_tokens, lm_head, norm, input_layernorm, ");
    assert_contains(refusal(list_of("all-linear", NULL, NULL)), "\"all-linear\" matches no module");
    assert_contains(refusal(list_of("norm(", NULL, NULL)),
                    "method.modules_to_save: 'norm(' is not a regular expression");
}

static void full_fine_tuning_trains_all_whatever_is_named(void **state)
{
    (void)state;
    const char *all[] = {".weight"};
    tiny_options options = tiny_defaults(&world, "fft");
    tiny t;
    options.saved = list_of("wte", NULL, NULL);
    must(tiny_lay_out(&options, &t));
    bool right = trains_just(&t, all, 1);
    tiny_destroy(&t);
    assert_on_all_ranks(right);
}

/* Compares the gradients of trained base weights with those of full fine-tuning. Beside an adapter
 * that changes nothing they are the same numbers. */
static bool gradients_are_those_of_full(tiny *t, tiny *full)
{
    const mr_params *params = mr_model_params(t->model);
    bool right = true;
    int compared = 0;
    for (int i = 0; i < mr_params_length(params); i++) {
        if (mr_params_at(params, i)->adapter || !mr_params_at(params, i)->trained) continue;
        int twin = find_param(mr_model_params(full->model), mr_params_at(params, i)->name);
        float *ours = tiny_gradient(t, i), *theirs = tiny_gradient(full, twin);
        double difference = 0, size = 0;
        for (int64_t e = 0; e < tiny_count(t, i); e++) {
            difference += fabs((double)ours[e] - (double)theirs[e]);
            size += fabs((double)theirs[e]);
        }
        if (!(difference == 0 && size > 0)) {
            print_error("%s: gradients differ by %g of %g\n", mr_params_at(params, i)->name,
                        difference, size);
            right = false;
        }
        compared++;
        mr_free(ours);
        mr_free(theirs);
    }
    return right && compared > 0;
}

static void check_gradients(tiny_options options, const char *method, mr_string_list saved)
{
    tiny_options bare = options;
    bare.method = "fft";
    options.method = method;
    options.saved = saved;
    tiny t = tiny_create(&options), full = tiny_create(&bare);
    tiny_train(&t);
    tiny_train(&full);
    bool right = gradients_are_those_of_full(&t, &full);
    tiny_destroy(&t);
    tiny_destroy(&full);
    assert_on_all_ranks(right);
}

static void gradients_are_those_of_full_fine_tuning(void **state)
{
    (void)state;
    const mr_string_list lists[] = {
        list_of("embed_tokens", "lm_head", ".*norm"),
        list_of("embed_tokens", NULL, NULL),
        list_of("lm_head", NULL, NULL),
        list_of("norm", NULL, NULL),
        list_of("input_layernorm", NULL, NULL),
        list_of("post_attention_layernorm", NULL, NULL),
        list_of("v_proj", "layers.1.mlp.gate_proj", "o_proj"),
        list_of("layers.0.self_attn.q_proj", NULL, NULL),
    };
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (int tied = 0; tied < 2; tied++)
            for (int recompute = 0; recompute < 2; recompute++)
                for (int s = 0; s < SHARDS; s++) {
                    tiny_options options = tiny_defaults(&world, "");
                    options.tied = tied;
                    if (recompute)
                        options.recompute = tied ? MR_RECOMPUTE_LAYER : MR_RECOMPUTE_ATTENTION;
                    options.shard = shards[s];
                    check_gradients(options, "lora", lists[i]);
                    check_gradients(options, "remora", lists[i]);
                }
}

/* Bytes of the gradients of a model that trains these modules besides its adapters. */
static size_t gradient_bytes(mr_string_list saved)
{
    tiny_options options = tiny_defaults(&world, "remora");
    size_t bytes[MR_MEM_PURPOSES] = {0};
    options.saved = saved;
    tiny t = tiny_create(&options);
    tiny_train(&t);
    mr_model_bytes(t.model, bytes);
    size_t taken = mr_memory_live(MR_MEM_GRADIENTS);
    tiny_destroy(&t);
    return taken == bytes[MR_MEM_GRADIENTS] ? taken : 0;
}

/* What is not named takes no room. Head and final norm lie together, padded to whole blocks a rank,
 * and the sums of a rank's micro-batches are of all of it. */
static void only_what_is_named_has_a_gradient(void **state)
{
    (void)state;
    size_t without = gradient_bytes((mr_string_list){0});
    size_t with = gradient_bytes(list_of("lm_head", "norm", NULL));
    size_t stretch = MR_SHARD_BLOCK * (size_t)world.size, elements = 37 * 36 + 36;
    size_t more = (elements + stretch - 1) / stretch * stretch * sizeof(float);
    assert_on_all_ranks(without > 0 && with == without + more);
}

static void trained_modules_are_counted(void **state)
{
    (void)state;
    tiny_options options = tiny_defaults(&world, "lora");
    tiny without, with;
    must(tiny_lay_out(&options, &without));
    options.saved = list_of("embed_tokens", "norm", NULL);
    must(tiny_lay_out(&options, &with));
    int64_t more = mr_params_count(mr_model_params(with.model), true) -
                   mr_params_count(mr_model_params(without.model), true);
    int64_t expected = (with.arch.vocab_size + 1) * with.arch.hidden_size;
    bool same = mr_params_count(mr_model_params(with.model), false) ==
                mr_params_count(mr_model_params(without.model), false);
    tiny_destroy(&without);
    tiny_destroy(&with);
    assert_on_all_ranks(more == expected && same);
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modules_are_named_by_their_ends),
        cmocka_unit_test(modules_are_named_by_expressions),
        cmocka_unit_test(a_tied_head_goes_by_both_names),
        cmocka_unit_test(a_trained_linear_gets_no_adapter),
        cmocka_unit_test(a_module_that_is_not_there_is_refused_by_name),
        cmocka_unit_test(full_fine_tuning_trains_all_whatever_is_named),
        cmocka_unit_test(gradients_are_those_of_full_fine_tuning),
        cmocka_unit_test(only_what_is_named_has_a_gradient),
        cmocka_unit_test(trained_modules_are_counted),
    };
    return ranks_end(cmocka_run_group_tests(tests, NULL, NULL));
}
