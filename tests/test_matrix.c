/** @file
 * The matrix of a configuration: its runs, their names, what is refused. */

#include "base/memory.h"
#include "config_case.h"

static void expect_names(const char *text, const char *const *sets, int set_count,
                         const char *names)
{
    mr_run_list list;
    must(config_load(text, sets, set_count, &list));
    mr_text found = {0};
    for (int i = 0; i < list.count; i++) {
        char name[MR_CONFIG_STRING];
        mr_config config = config_run(&list, i);
        if (world.rank == 0) {
            must(mr_run_list_name(&list, i, name));
            assert_string_equal(name, config.run.name);
        }
        mr_text_add(&found, "%s%s", i > 0 ? " " : "", config.run.name);
    }
    assert_string_equal(mr_text_get(&found), names);
    mr_text_free(&found);
    mr_run_list_free(&list);
}

static void a_matrix_is_every_combination_in_order(void **state)
{
    (void)state;
    expect_names(CONFIG_MODEL "matrix:\n"
                              "  method.name: [lora, mora]\n"
                              "  train: {lr: [1e-3, 0.01]}\n"
                              "  method.r: 16\n"
                              "  run.seed: [1]\n",
                 NULL, 0, "uuid.lora-lr0.001 uuid.lora-lr0.01 uuid.mora-lr0.001 uuid.mora-lr0.01");
}

static void runs_of_a_matrix_have_its_values(void **state)
{
    (void)state;
    mr_run_list list;
    assert_int_equal(config_load(CONFIG_MODEL "matrix: {method.r: [8, 256], run.seed: [1, 2], "
                                              "train.lr: 0.5}\n",
                                 NULL, 0, &list),
                     MR_OK);
    assert_int_equal(list.count, 4);
    mr_config third = config_run(&list, 2), fourth = config_run(&list, 3);
    assert_string_equal(third.run.name, "uuid.r256-seed1");
    assert_int_equal(method_of(&third)->r, 256);
    assert_int_equal(third.run.seed, 1);
    assert_true(fourth.train.lr == 0.5);
    assert_int_equal(fourth.run.seed, 2);
    mr_run_list_free(&list);
}

static void a_matrix_of_blocks_is_one_after_another(void **state)
{
    (void)state;
    expect_names(CONFIG_MODEL "matrix:\n"
                              "- {method.name: fft, train.lr: 0.1}\n"
                              "- {method.name: [lora, mora], method.r: [8, 256], train.lr: 0.1}\n",
                 NULL, 0, "uuid.fft uuid.lora-r8 uuid.lora-r256 uuid.mora-r8 uuid.mora-r256");
}

static void a_key_of_some_blocks_varies_if_it_differs_from_the_file(void **state)
{
    (void)state;
    expect_names(CONFIG_MODEL "matrix: [{method.name: fft}, {method.name: lora, train.lr: 0.1}]\n",
                 NULL, 0, "uuid.fft uuid.lora-lr0.1");
    expect_names(CONFIG_MODEL "matrix: [{method.name: fft}, {method.name: lora, train.lr: 1e-3}]\n",
                 NULL, 0, "uuid.fft uuid.lora");
}

static void expect_folders(const char *text, const char *const *sets, int set_count,
                           const char *folders)
{
    mr_run_list list;
    mr_text found = {0};
    must(config_load(text, sets, set_count, &list));
    for (int i = 0; i < list.count; i++)
        mr_text_add(&found, "%s%s", i > 0 ? " " : "", config_run(&list, i).run.save_model);
    assert_string_equal(mr_text_get(&found), folders);
    mr_text_free(&found);
    mr_run_list_free(&list);
}

static void runs_save_their_models_apart(void **state)
{
    (void)state;
    static const char *const set[] = {"run.save_model=m//"};
    const char *const matrix = CONFIG_MODEL "matrix: {method.r: [4, 8]}\n";
    expect_folders(matrix, set, 1, "m/uuid.r4 m/uuid.r8");
    expect_folders(matrix, NULL, 0, " ");
    expect_folders(CONFIG_MODEL, set, 1, "m");
    expect_folders(CONFIG_MODEL "matrix: [{method.r: 4, run.save_model: a}, {method.r: 8}]\n", NULL,
                   0, "a ");
    expect_folders(CONFIG_MODEL "matrix: {run.save_model: [a, b]}\n", set, 1,
                   "m/uuid.save_modelm__");
}

static void runs_that_a_matrix_gives_one_folder_are_refused(void **state)
{
    (void)state;
    config_assert_error(
        CONFIG_MODEL "matrix: [{method.r: 4, run.save_model: a}, "
                     "{method.r: 8, run.save_model: ./a/}]\n",
        "uuid.yaml:3:9: run.save_model: runs 0 and 1 both save their model to 'a'; outside the "
        "matrix, run.save_model gives each a folder below it");
    config_assert_error(CONFIG_MODEL "matrix: {method.r: [4, 8, 16], run.save_model: /x/y}\n",
                        "uuid.yaml:3:9: run.save_model: runs 0 and 1 both save their model to "
                        "'/x/y'; outside the matrix, run.save_model gives each a folder below it");
}

static void an_empty_matrix_is_one_run(void **state)
{
    (void)state;
    expect_names(CONFIG_MODEL "matrix:\n", NULL, 0, "uuid");
    expect_names(CONFIG_MODEL "matrix: {}\n", NULL, 0, "uuid");
    expect_names(CONFIG_MODEL "matrix: {method.r: [4]}\n", NULL, 0, "uuid");
}

static void a_matrix_may_name_its_runs(void **state)
{
    (void)state;
    expect_names(CONFIG_MODEL "matrix: [{run.name: a, run.seed: [1, 2]}, {run.name: b}]\n", NULL, 0,
                 "a.seed1 a.seed2 b");
}

static void lists_in_a_matrix_are_nested(void **state)
{
    (void)state;
    expect_names(CONFIG_MODEL "matrix: {method.target_modules: [[q, v], [all-linear]]}\n", NULL, 0,
                 "uuid.target_modulesq+v uuid.target_modulesall-linear");
    config_assert_error(
        CONFIG_MODEL "matrix: {method.target_modules: [q, v]}\n",
        "uuid.yaml:3:34: method.target_modules: each value of a list key in the matrix "
        "is a list itself: [[a, b], [c]]");
}

static void names_of_runs_are_safe_for_files(void **state)
{
    (void)state;
    expect_names("train.steps: 1\nmatrix: {model.path: [a/b, c d]}\n", NULL, 0,
                 "uuid.patha_b uuid.pathc_d");
}

static void values_that_names_cannot_tell_apart_have_a_hash(void **state)
{
    (void)state;
    expect_names(CONFIG_MODEL "matrix: {task.prompt: ['{key}:', '{key}=', '{key}.']}\n", NULL, 0,
                 "uuid.prompt_key__ uuid.prompt_key___e40ffb uuid.prompt_key_.");
    expect_names(CONFIG_MODEL "matrix: {task.prompt: ['{key}:', '{key}.', '{key}=', '{key}?']}\n",
                 NULL, 0,
                 "uuid.prompt_key__ uuid.prompt_key_. uuid.prompt_key___e40ffb "
                 "uuid.prompt_key___e9dd19");
    expect_names(
        "train.steps: 1\nmatrix: [{model.path: \u043c\u0430}, {model.path: \u0434\u0430}]\n", NULL,
        0, "uuid.path____ uuid.path_____ab2111");
    expect_names(CONFIG_MODEL "matrix: {method.target_modules: [[q, v], [q+v]]}\n", NULL, 0,
                 "uuid.target_modulesq+v uuid.target_modulesq+v_3ae977");
    static const char *const sets[] = {"task.prompt={key}="};
    expect_names(CONFIG_MODEL "matrix: {task.prompt: ['{key}:', '{key}=']}\n", sets, 1,
                 "uuid.prompt_key___e40ffb");
}

static void names_of_runs_have_a_length(void **state)
{
    (void)state;
    char text[2048];
    snprintf(text, sizeof text, "train.steps: 1\nmatrix: {model.path: [%0511d, a]}\n", 0);
    config_assert_error(text, "uuid.yaml:2:9: run.name: the name of a run has over 511 bytes");
}

static void values_of_a_matrix_are_checked_in_their_place(void **state)
{
    (void)state;
    config_assert_error(
        CONFIG_MODEL "matrix:\n  method.r: [8, eight]\n",
        "uuid.yaml:4:17: method.r: expected an integer in 1..65536, found \"eight\"");
    config_assert_error(
        CONFIG_MODEL "matrix: {method.name: [lora, lroa]}\n",
        "uuid.yaml:3:30: method.name: expected one of fft, lora, relora, mora, found \"lroa\"; "
        "did you mean \"lora\"?");
    config_assert_error(CONFIG_MODEL "matrix: {method.rr: [8]}\n",
                        "uuid.yaml:3:10: unknown key \"method.rr\"; did you mean \"method.r\"?");
    config_assert_error(CONFIG_MODEL "matrix: {method.r: []}\n",
                        "uuid.yaml:3:20: method.r: a list of no values, so no runs");
    config_assert_error(CONFIG_MODEL "matrix: {method.r: [[8]]}\n",
                        "uuid.yaml:3:21: method.r: expected an integer in 1..65536, found a list");
}

static void expect_merged(const char *text, const char *names, int merged)
{
    mr_run_list list;
    expect_names(text, NULL, 0, names);
    must(config_load(text, NULL, 0, &list));
    assert_int_equal(list.merged, merged);
    mr_run_list_free(&list);
}

static void a_key_that_a_run_does_not_have_drops_out_of_it(void **state)
{
    (void)state;
    expect_merged(CONFIG_MODEL "matrix: {method.name: [lora, mora, fft], method.operator: "
                               "[sharing, rotation]}\n",
                  "uuid.lora uuid.mora-operatorsharing uuid.mora-operatorrotation uuid.fft", 2);
    expect_merged(CONFIG_MODEL "matrix: {method.operator: [sharing, rotation], method.name: "
                               "[lora, mora], run.seed: [1, 2]}\n",
                  "uuid.lora-seed1 uuid.lora-seed2 uuid.operatorsharing-mora-seed1 "
                  "uuid.operatorsharing-mora-seed2 uuid.operatorrotation-mora-seed1 "
                  "uuid.operatorrotation-mora-seed2",
                  2);
    expect_merged(CONFIG_MODEL "matrix: {task.name: [uuid, math], task.pairs: [8, 16]}\n",
                  "uuid.nameuuid-pairs8 uuid.nameuuid-pairs16 uuid.namemath", 1);
}

static void equal_runs_of_several_blocks_are_one(void **state)
{
    (void)state;
    expect_merged(CONFIG_MODEL "matrix:\n"
                               "- {method.name: fft, train.lr: 0.1}\n"
                               "- {method.name: [fft, lora], method.r: [4, 8], train.lr: 0.1}\n",
                  "uuid.fft uuid.lora-r4 uuid.lora-r8", 2);
    /* 0.1 as it stands outside: the name of the first remains. */
    expect_merged(CONFIG_MODEL "train.lr: 0.1\n"
                               "matrix: [{method.name: fft}, "
                               "{method.name: [fft, lora], train.lr: [0.1, 0.2]}]\n",
                  "uuid.fft uuid.fft-lr0.2 uuid.lora-lr0.1 uuid.lora-lr0.2", 1);
    /* Names that were asked for are two runs. */
    expect_merged(CONFIG_MODEL
                  "matrix: [{run.name: a, method.name: fft}, {run.name: b, method.name: fft}]\n",
                  "a b", 0);
}

static void what_drops_out_leaves_no_trace_in_a_run(void **state)
{
    (void)state;
    mr_run_list list;
    must(config_load(CONFIG_MODEL "method: {r: 4}\n"
                                  "matrix: {method.name: [mora, fft, lora], method.operator: "
                                  "[sharing], method.lora_alpha: 3}\n",
                     NULL, 0, &list));
    assert_int_equal(list.count, 3);
    mr_config mora = config_run(&list, 0), fft = config_run(&list, 1), lora = config_run(&list, 2);
    assert_int_equal(method_of(&mora)->operator, 2);
    assert_int_equal(method_of(&lora)->operator, 0);
    assert_true(method_of(&lora)->r == 4 && method_of(&lora)->lora_alpha == 3);
    for (size_t b = 0; b < sizeof fft.method.keys.bytes; b++)
        assert_int_equal(fft.method.keys.bytes[b], 0);
    mr_run_list_free(&list);
}

static void keys_outside_a_matrix_are_of_some_method_in_it(void **state)
{
    (void)state;
    static const char text[] = CONFIG_MODEL "method: {r: 4, operator: sharing}\n"
                                            "matrix: {method.name: [fft, mora]}\n";
    static const char *const one[] = {"method.name=fft"}, *const key[] = {"method.r=6"};
    expect_names(text, NULL, 0, "uuid.fft uuid.mora");
    expect_names(text, one, 1, "uuid.fft");
    expect_names(text, key, 1, "uuid.fft uuid.mora");
    config_assert_error(CONFIG_MODEL "method: {r: 4, operator: sharing}\n"
                                     "matrix: {method.name: [fft, lora]}\n",
                        "uuid.yaml:3:16: method.operator: not a key of method fft or lora; mora "
                        "has it");
    mr_run_list list;
    static const char *const operator[] = {"method.operator=sharing"};
    assert_int_equal(
        config_load(CONFIG_MODEL "matrix: {method.name: [fft, lora]}\n", operator, 1, &list),
        MR_ERR_CONFIG);
    assert_string_equal(mr_message(), "--set method.operator=sharing: method.operator: not a key "
                                      "of method fft or lora; mora has it");
}

static void the_form_of_a_matrix_is_checked(void **state)
{
    (void)state;
    config_assert_error(CONFIG_MODEL "matrix: 8\n",
                        "uuid.yaml:3:9: matrix: expected a mapping of keys to "
                        "values, or a list of such mappings");
    config_assert_error(CONFIG_MODEL "matrix: [8]\n",
                        "uuid.yaml:3:10: matrix: expected a mapping of keys to values");
    config_assert_error(CONFIG_MODEL "matrix: []\n",
                        "uuid.yaml:3:9: matrix: a list of no mappings, so no runs");
}

static void keys_are_checked_together_in_every_run(void **state)
{
    (void)state;
    config_assert_error(
        CONFIG_MODEL "matrix: {run.seed: [1, 2], train.micro_batch: [4, 3]}\n",
        "uuid.yaml:3:51: run 'uuid.seed1-micro_batch3': train.micro_batch: 3 does not "
        "divide train.global_batch 8");
}

static void two_runs_of_one_name_are_refused(void **state)
{
    (void)state;
    config_assert_error(CONFIG_MODEL "matrix: {method.r: [8, 4, 8]}\n",
                        "uuid.yaml:3:9: matrix: runs 0 and 2 are the same, 'uuid.r8'; give each "
                        "combination once");
}

static void two_runs_that_differ_and_have_one_name_are_told_so(void **state)
{
    (void)state;
    config_assert_error(
        CONFIG_MODEL "matrix:\n- {run.name: a, method.r: [4, 8]}\n- {run.name: a.r4}\n",
        "uuid.yaml:4:1: matrix: runs 0 and 2 differ in method.r, yet both are named "
        "'a.r4'; give each a run.name");
}

/* A run is made when it is asked for: many take no more memory than few, and one asks nothing of
 * the others. */
static void runs_are_made_one_at_a_time(void **state)
{
    (void)state;
    mr_run_list list;
    mr_config config;
    size_t before = mr_memory_live_total();
    config_write(CONFIG_MODEL
                 "matrix: {run.seed: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], train.lr: [1, 2, 3, 4, "
                 "5, 6, 7, 8, 9, 10], train.beta1: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, "
                 "0.9, 0.95], train.weight_decay: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "
                 "train.micro_batch: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}\n");
    must(mr_config_load(&world, "uuid.yaml", NULL, 0, config_registry(), &list));
    assert_int_equal(list.count, 100000);
    must(mr_run_list_get(&list, 99987, &config));
    assert_string_equal(config.run.name, "uuid.seed10-lr10-beta10.95-weight_decay8-micro_batch8");
    if (mr_memory_live_total() - before > 200000)
        fail_msg("%zu bytes are held", mr_memory_live_total() - before);
    assert_int_equal(mr_run_list_get(&list, 99989, &config), MR_ERR_CONFIG);
    assert_contains(mr_message(), "train.micro_batch: 10 does not divide train.global_batch 8");
    assert_int_equal(mr_run_list_check(&list), MR_ERR_CONFIG);
    assert_contains(mr_message(), "run 'uuid.seed1-lr1-beta10.1-weight_decay0-micro_batch3': ");
    mr_run_list_free(&list);
}

static void what_is_held_grows_with_the_text_alone(void **state)
{
    (void)state;
    mr_run_list list;
    mr_config config;
    mr_text text = {0};
    mr_text_add(&text, CONFIG_MODEL "matrix:\n  run.seed: [0");
    for (int i = 1; i < 100000; i++)
        mr_text_add(&text, ",%d", i);
    mr_text_add(&text, "]\n");
    config_write(mr_text_get(&text));
    size_t bytes = text.length;
    mr_text_free(&text);
    size_t before = mr_memory_live_total();
    must(mr_config_load(&world, "uuid.yaml", NULL, 0, config_registry(), &list));
    if (mr_memory_live_total() - before > 40 * bytes)
        fail_msg("%zu bytes are held of a text of %zu", mr_memory_live_total() - before, bytes);
    must(mr_run_list_get(&list, 54321, &config));
    assert_string_equal(config.run.name, "uuid.seed54321");
    mr_run_list_free(&list);
}

static void too_many_runs_are_refused_before_they_are_made(void **state)
{
    (void)state;
    mr_text text = {0};
    mr_text_add(&text, CONFIG_MODEL "matrix:\n");
    static const char *const keys[] = {"run.seed", "task.data_seed", "train.lr", "method.r"};
    for (int k = 0; k < 4; k++) {
        mr_text_add(&text, "  %s: [1", keys[k]);
        for (int i = 2; i <= 100; i++)
            mr_text_add(&text, ", %d", i);
        mr_text_add(&text, "]\n");
    }
    config_assert_error(mr_text_get(&text), "uuid.yaml:4:3: matrix: more than 100000 runs");
    mr_text_free(&text);
}

static void an_override_replaces_a_dimension(void **state)
{
    (void)state;
    static const char text[] =
        CONFIG_MODEL "matrix: {method.name: [lora, mora], run.seed: [1, 2, 3]}\n";
    static const char *const sets[] = {"run.seed=7"};
    expect_names(text, sets, 1, "uuid.lora-seed7 uuid.mora-seed7");
}

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_matrix_is_every_combination_in_order),
        cmocka_unit_test(runs_of_a_matrix_have_its_values),
        cmocka_unit_test(a_matrix_of_blocks_is_one_after_another),
        cmocka_unit_test(a_key_of_some_blocks_varies_if_it_differs_from_the_file),
        cmocka_unit_test(runs_save_their_models_apart),
        cmocka_unit_test(runs_that_a_matrix_gives_one_folder_are_refused),
        cmocka_unit_test(an_empty_matrix_is_one_run),
        cmocka_unit_test(a_matrix_may_name_its_runs),
        cmocka_unit_test(lists_in_a_matrix_are_nested),
        cmocka_unit_test(names_of_runs_are_safe_for_files),
        cmocka_unit_test(values_that_names_cannot_tell_apart_have_a_hash),
        cmocka_unit_test(names_of_runs_have_a_length),
        cmocka_unit_test(values_of_a_matrix_are_checked_in_their_place),
        cmocka_unit_test(a_key_that_a_run_does_not_have_drops_out_of_it),
        cmocka_unit_test(equal_runs_of_several_blocks_are_one),
        cmocka_unit_test(what_drops_out_leaves_no_trace_in_a_run),
        cmocka_unit_test(keys_outside_a_matrix_are_of_some_method_in_it),
        cmocka_unit_test(the_form_of_a_matrix_is_checked),
        cmocka_unit_test(keys_are_checked_together_in_every_run),
        cmocka_unit_test(two_runs_of_one_name_are_refused),
        cmocka_unit_test(two_runs_that_differ_and_have_one_name_are_told_so),
        cmocka_unit_test(runs_are_made_one_at_a_time),
        cmocka_unit_test(what_is_held_grows_with_the_text_alone),
        cmocka_unit_test(too_many_runs_are_refused_before_they_are_made),
        cmocka_unit_test(an_override_replaces_a_dimension),
    };
    return ranks_end(cmocka_run_group_tests(tests, ranks_enter_folder, ranks_leave_folder));
}
