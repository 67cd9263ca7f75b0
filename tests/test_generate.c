/* mora generate, on a model that a run made and on one that writes text. */

#include "base/file.h"
#include "program.h"
#include "store/json.h"

#include <jansson.h>

#include <math.h>
#include <stdlib.h>

static const program_setting alone = {0};

/* A model of bytes with random weights, large enough for texts to differ, and prompts: more than
 * are continued at a time. */
static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_make_model();
    program_write("prompts.txt", "one\n\na longer prompt than the others\nfour\nfive\n");
    program_write("prompts.jsonl", "{\"prompt\": \"one\"}\n\n{\"prompt\": \"two\", \"id\": 2}\n");
    return 0;
}

static void fails(int exit_code, const char *arguments, const char *message)
{
    program_fail(alone, exit_code, message, "generate %s", arguments);
}

static void the_command_line_is_checked(void **state)
{
    (void)state;
    fails(2, "--prompt a", "mora generate: expected a model folder or a run");
    fails(2, "model", "expected --prompt or --prompts, found neither");
    fails(2, "model --prompt a --prompts prompts.txt", "--prompt or --prompts, found both");
    fails(2, "model --prompt a --temperature hot",
          "--temperature: expected a number in 0..1e+06, found \"hot\"");
    fails(2, "model --prompt a --temperature 1 --top-p 1.5",
          "--top-p: expected a number in 1e-09..1, found \"1.5\"");
    fails(2, "model --prompt a --top-p 0.5", "--top-p: at --temperature 0 nothing is drawn");
    fails(2, "model --prompt a --seed 0", "--seed: at --temperature 0 nothing is drawn");
    fails(2, "model --prompt a --batch 0", "--batch: expected 1..");
    fails(2, "model --prompt a --max-new-tokens 0", "--max-new-tokens: expected 1..");
    fails(2, "model --prompt a --set train.lr=1",
          "train.lr has no effect on a model that is run and not trained");
    fails(1, "model --prompt a --set train.rl=1", "train.rl");
    fails(2, "model --prompt a --field text", "--field is of --prompts");
    fails(2, "model --prompt a --stop=", "--stop: expected a text, found an empty one");
}

static void what_cannot_be_read_is_named(void **state)
{
    (void)state;
    fails(1, "nowhere --prompt a", "cannot open the model folder 'nowhere'");
    fails(1, "model --prompts nowhere", "cannot open 'nowhere'");
    program_make_folder("empty");
    fails(1, "empty --prompt a",
          "'empty': neither a model folder (no config.json in it) nor one of checkpoints");
    fails(1, "model --prompt a --max-new-tokens 127",
          "a prompt of 2 tokens and 127 behind it are more than the model's "
          "max_position_embeddings, 128");
    fails(1, "model --prompt= --no-bos", "prompt 1: it is empty, and --no-bos begins no text");
    program_write("bad.jsonl", "{\"prompt\": \"one\"}\n{\"text\": \"two\"}\n");
    fails(1, "model --prompts bad.jsonl", "bad.jsonl:2: ");
    program_write("none.txt", "%s", "");
    fails(1, "model --prompts none.txt", "none.txt: there is no prompt in it");
}

static json_t *results_of(program_setting setting, const char *model, const char *arguments)
{
    program_result result = program_succeed(setting, "generate %s %s --json", model, arguments);
    json_t *root = json_loads(result.out, 0, NULL);
    program_free(&result);
    assert_non_null(root);
    json_t *list = json_incref(json_object_get(root, "results"));
    assert_true(json_real_value(json_object_get(root, "tokens_per_second")) > 0);
    json_decref(root);
    return list;
}

static json_t *results(program_setting setting, const char *arguments)
{
    return results_of(setting, "model", arguments);
}

/* Merged weights are rounded once: the same tokens, log-probabilities within 1e-4. */
static void assert_near(json_t *a, json_t *b)
{
    assert_int_equal(json_array_size(a), json_array_size(b));
    for (size_t i = 0; i < json_array_size(a); i++) {
        const json_t *one = json_array_get(a, i), *other = json_array_get(b, i);
        const json_t *p = json_object_get(one, "logprobs"), *q = json_object_get(other, "logprobs");
        assert_true(json_equal(json_object_get(one, "tokens"), json_object_get(other, "tokens")));
        for (size_t t = 0; t < json_array_size(p); t++)
            assert_true(fabs(json_real_value(json_array_get(p, t)) -
                             json_real_value(json_array_get(q, t))) < 1e-4);
    }
}

/* Drawn texts, their log-probabilities and their ends: the same bits. */
static void the_text_is_the_same_on_any_number_of_ranks(void **state)
{
    (void)state;
    static const char arguments[] = "--prompts prompts.txt --temperature 1.5 --top-p 0.9 --seed 7 "
                                    "--max-new-tokens 24 --batch 2 --threads 1";
    json_t *one = results(alone, arguments);
    assert_int_equal(json_array_size(one), 5);
    for (int ranks = 2; ranks <= 4; ranks *= 2) {
        json_t *more = results((program_setting){.ranks = ranks}, arguments);
        assert_true(json_equal(one, more));
        json_decref(more);
    }
    /* Every prompt draws numbers of its own, and another seed draws others. */
    json_t *other = results(alone, "--prompts prompts.txt --temperature 1.5 --top-p 0.9 --seed 8 "
                                   "--max-new-tokens 24 --batch 2 --threads 1");
    assert_false(json_equal(one, other));
    json_decref(other);
    json_decref(one);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    fails(1, "model --prompt a --set parallel.memory_gib=1e-9",
          "GiB a rank and 9.31e-10 GiB are allowed (parallel.memory_gib); a smaller --batch, "
          "shorter texts or more ranks take less");
}

/* Every method, from tensors that are kept and from a checkpoint: what the saved model writes. */
static void a_run_writes_what_its_saved_model_does(void **state)
{
    (void)state;
    static const char *const methods[] = {"fft",    "lora", "asylora", "dora",
                                          "relora", "mora", "remora"};
    static const char *const forms[] = {"left/runs.%s.h5", "left/runs.%s.trained.safetensors",
                                        "stopped/runs.%s.h5", "stopped/runs.%s.checkpoints"};
    enum { METHODS = sizeof methods / sizeof *methods, FORMS = sizeof forms / sizeof *forms };
    static const char asked[] = "--prompts prompts.txt --max-new-tokens 12";
    program_write("runs.yaml",
                  "run: {seed: 3, output: left}\nmodel: {path: model}\n"
                  "task: {name: uuid, pairs: 8}\nmethod: {r: 4, merge_every: 2}\n"
                  "train: {steps: 5, global_batch: 8, micro_batch: 4, lr: 0.02, "
                  "schedule: constant}\n"
                  "eval: {items: 1}\nparallel: {threads: 1}\n"
                  "matrix: {method.name: [fft, lora, asylora, dora, relora, mora, remora]}\n");
    program_result ended = program_succeed(alone, "run runs.yaml --set run.save_model=saved");
    program_result stopped =
        program_succeed(alone, "run runs.yaml --set run.output=stopped --set train.steps=9 --set "
                               "train.stop_after=5");
    program_free(&ended);
    program_free(&stopped);
    json_t *base = results(alone, asked);
    for (int i = 0; i < METHODS; i++) {
        char path[96];
        snprintf(path, sizeof path, "saved/runs.%s", methods[i]);
        json_t *expected = results_of(alone, path, asked);
        assert_false(json_equal(expected, base));
        for (int f = 0; f < FORMS; f++) {
            snprintf(path, sizeof path, forms[f], methods[i]);
            json_t *found = results_of((program_setting){.ranks = f == 1 ? 2 : 0}, path, asked);
            assert_near(expected, found);
            json_decref(found);
        }
        json_decref(expected);
    }
    json_decref(base);
    /* The base that a run began with is no other. */
    fails(1, "left/runs.lora.h5 --prompt a --set model.path=saved/runs.fft",
          "saved/runs.fft: the weights are not those that the run began with");
}

static void lines_and_json_lines_are_prompts(void **state)
{
    (void)state;
    json_t *list = results(alone, "--prompts prompts.jsonl --max-new-tokens 3");
    assert_int_equal(json_array_size(list), 2);
    const json_t *second = json_array_get(list, 1);
    assert_string_equal(json_string_value(json_object_get(second, "prompt")), "two");
    const json_t *ids = json_object_get(second, "ids");
    assert_int_equal(json_array_size(ids), 4);
    assert_int_equal(json_integer_value(json_array_get(ids, 0)), 256);
    assert_int_equal(json_integer_value(json_array_get(ids, 3)), 'o');
    assert_string_equal(json_string_value(json_object_get(second, "stop")), "length");
    json_decref(list);
    list = results(alone, "--prompt two --no-bos --max-new-tokens 3");
    assert_int_equal(json_array_size(json_object_get(json_array_get(list, 0), "ids")), 3);
    json_decref(list);
}

/* The first token that was written, once it is said to end a text. */
static void end_ids_of_generation_end_a_text(void **state)
{
    (void)state;
    json_t *list = results(alone, "--prompt one --max-new-tokens 9");
    const json_t *tokens = json_object_get(json_array_get(list, 0), "tokens");
    assert_int_equal(json_array_size(tokens), 9);
    program_write("model/generation_config.json", "{\"eos_token_id\": [258, %d]}",
                  (int)json_integer_value(json_array_get(tokens, 0)));
    json_decref(list);
    list = results(alone, "--prompt one --max-new-tokens 9");
    assert_int_equal(json_array_size(json_object_get(json_array_get(list, 0), "tokens")), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "stop")), "eos");
    json_decref(list);
    assert_int_equal(remove("model/generation_config.json"), 0);
}

static void the_stories_model_writes_its_known_text(void **state)
{
    (void)state;
    char folder[TEST_PATH], known[TEST_PATH];
    test_shared("data/weights/stories260K-hf", folder);
    test_shared("data/weights/stories260K_expected_greedy_200.txt", known);
    char *expected = program_read(known, NULL);
    for (int ranks = 1; ranks <= 4; ranks *= 2) {
        program_result r = program_succeed((program_setting){.ranks = ranks},
                                           "generate %s --prompt= --max-new-tokens 200", folder);
        r.out[strlen(r.out) - 1] = '\0'; /* the end of its line */
        assert_string_equal(r.out, expected);
        assert_contains(r.err, "200 tokens in ");
        program_free(&r);
    }
    mr_free(expected);
    program_result r =
        program_succeed(alone, "generate %s --prompt= --stop=ball --stop=Lily --stop=day", folder);
    assert_string_equal(r.out, "Once upon a time, there was a little girl named \n");
    program_free(&r);
}

#define TEST(function) cmocka_unit_test(function)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_command_line_is_checked),
        TEST(what_cannot_be_read_is_named),
        TEST(the_text_is_the_same_on_any_number_of_ranks),
        TEST(what_does_not_fit_is_refused),
        TEST(a_run_writes_what_its_saved_model_does),
        TEST(lines_and_json_lines_are_prompts),
        TEST(end_ids_of_generation_end_a_text),
        TEST(the_stories_model_writes_its_known_text),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
