/* model.matmul: fp8, whole runs on the host, which makes of 8 bits what a device does: losses
 * beside those of float32, the same bits on any ranks, after a stop and of what is computed again,
 * what is planned, and what cannot be. */
#include "base/memory.h"
#include "logs.h"
#include "program.h"

#include <jansson.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const program_setting alone = {0};

/* Linears of one layer of even.json: q and o, k and v, gate, up and down. */
enum { LAYERS = 2, WIDTH = 32, HEADS = 16, INNER = 48 };

static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_write("even.json",
                  "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
                  "\"hidden_act\": \"silu\", \"hidden_size\": %d, \"intermediate_size\": %d, "
                  "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
                  "\"num_hidden_layers\": %d, \"vocab_size\": 259, "
                  "\"max_position_embeddings\": 128, \"rms_norm_eps\": 1e-5, "
                  "\"initializer_range\": 0.02, \"tie_word_embeddings\": false, "
                  "\"rope_theta\": 10000.0}\n",
                  WIDTH, INNER, LAYERS);
    program_write("m.yaml",
                  "run: {name: m, seed: 3, output: out}\n"
                  "model: {config: even.json, init: random, matmul: fp8, tokenizer: bytes}\n"
                  "task: {name: uuid, pairs: 16}\n"
                  "method: {name: lora, r: 4}\n"
                  "train: {steps: 8, global_batch: 16, micro_batch: 2, lr: 0.003}\n"
                  "eval: {at_steps: [8], items: 4}\n"
                  "checkpoint: {every_minutes: 0}\n"
                  "parallel: {threads: 1}\n");
    return 0;
}

/* Runs under a name; returns what was said, to be freed. */
static program_result train(int ranks, const char *name, const char *more)
{
    return program_succeed((program_setting){.ranks = ranks}, "run m.yaml --set run.name=%s %s",
                           name, more);
}

static void leave_it(int ranks, const char *name, const char *more)
{
    program_result result = train(ranks, name, more);
    program_free(&result);
}

static void assert_as(const char *name, const char *other)
{
    static const char *const series[] = {"/train/loss", "/train/grad_norm", "/eval/uuid/accuracy"};
    char one[64], two[64];
    snprintf(one, sizeof one, "out/%s.h5", name);
    snprintf(two, sizeof two, "out/%s.h5", other);
    for (size_t i = 0; i < sizeof series / sizeof *series; i++)
        log_assert_same_bits(one, two, series[i], 0);
}

static void losses_are_beside_those_of_float(void **state)
{
    (void)state;
    static const char *const methods[] = {
        "--set method.name=lora", "--set method.name=mora --set method.operator=sharing",
        "--set method.name=mora --set method.operator=rotation", "--set method.name=dora",
        "--set method.name=lora --set method.modules_to_save=[q_proj,down_proj]"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char more[256], name[32], other[32], log[64], of_float[64];
        int64_t count;
        snprintf(name, sizeof name, "eight%zu", i);
        snprintf(other, sizeof other, "float%zu", i);
        snprintf(more, sizeof more, "%s --set model.matmul=dtype", methods[i]);
        program_result said = train(0, name, methods[i]);
        assert_contains(said.err, ": products with frozen weights of layers take copies in fp8");
        program_free(&said);
        said = train(0, other, more);
        assert_null(strstr(said.err, "fp8"));
        program_free(&said);
        snprintf(log, sizeof log, "out/%s.h5", name);
        snprintf(of_float, sizeof of_float, "out/%s.h5", other);
        log_assert_text(log, "matmul", "fp8");
        log_assert_text(of_float, "matmul", "dtype");
        log_assert_close(log, of_float, "/train/loss", 5e-4);
        log_assert_close(log, of_float, "/train/grad_norm", 5e-2);
        double *a = log_series(log, "/train/loss", &count);
        double *b = log_series(of_float, "/train/loss", &count);
        assert_true(a[0] != b[0]);
        mr_free(a);
        mr_free(b);
    }
}

static void bits_are_the_same_on_any_ranks(void **state)
{
    (void)state;
    leave_it(0, "alone", "");
    leave_it(2, "full", "--set parallel.shard=full"); /* of memory in common */
    leave_it(4, "optimizer", "--set parallel.shard=optimizer");
    leave_it(2, "none", "--set parallel.shard=none --set parallel.shared_memory=off");
    leave_it(0, "again", "--set train.recompute=layer");
    leave_it(0, "norms", "--set train.recompute=attention");
    assert_as("full", "alone");
    assert_as("optimizer", "alone");
    assert_as("none", "alone");
    assert_as("again", "alone");
    assert_as("norms", "alone");
}

/* Merges change the weights, whose copies follow: before a stop and behind it. */
static void a_stopped_run_that_merges_goes_on_with_the_same_bits(void **state)
{
    (void)state;
    const char *merges = "--set method.name=relora --set method.merge_every=3";
    char stops[128];
    leave_it(0, "through", merges);
    for (int stop = 2; stop <= 6; stop += 2) {
        snprintf(stops, sizeof stops, "%s --set train.stop_after=%d", merges, stop);
        leave_it(0, "stopped", stops);
    }
    leave_it(0, "stopped", merges);
    assert_as("stopped", "through");
}

/* What is exported is of the weights themselves, or logits would differ more than they may. */
static void what_a_run_leaves_is_exported_and_looked_at(void **state)
{
    (void)state;
    leave_it(0, "base", "--set method.name=fft --set model.matmul=dtype --set run.save_model=base");
    leave_it(0, "left", "--set model.init=pretrained --set model.path=base --set model.config=");
    program_result result =
        program_succeed(alone, "export out/left.h5 --to merged --out merged --threads 1");
    program_free(&result);
    result = program_succeed(alone, "generate out/left.h5 --prompt a --threads 1");
    program_free(&result);
    result = program_succeed(alone, "info out/left.h5");
    assert_contains(result.out, "\nmatmul                fp8\noptimizer_dtype       f32\n");
    program_free(&result);
}

/* Bytes of weights of a plan, and of all. */
static long long planned(const char *more, long long *all)
{
    program_result result = program_succeed(alone, "run m.yaml --dry-run --json %s", more);
    json_t *rows = json_loads(result.out, 0, NULL);
    const json_t *plan = json_array_get(rows, 0);
    long long bytes =
        json_integer_value(json_object_get(json_object_get(plan, "bytes"), "weights"));
    *all = json_integer_value(json_object_get(plan, "total_bytes"));
    json_decref(rows);
    program_free(&result);
    return bytes;
}

/* What tensors of one layer take, each from a line of 64 bytes on. */
static long long lines(long long bytes)
{
    return (bytes + 63) / 64 * 64;
}

static long long of_linear(long long out, long long in)
{
    return 2 * lines(out * in) + lines(4 * out) + lines(4 * in);
}

static void copies_are_planned_to_the_byte(void **state)
{
    (void)state;
    long long with_all, without_all;
    const long long with = planned("", &with_all),
                    without = planned("--set model.matmul=dtype", &without_all);
    const long long layer = 2 * of_linear(WIDTH, WIDTH) + 2 * of_linear(HEADS, WIDTH) +
                            2 * of_linear(INNER, WIDTH) + of_linear(WIDTH, INNER);
    assert_true(with - without <= LAYERS * layer);
    assert_true(with - without > LAYERS * layer - 64); /* behind the last there is no next line */
    assert_true(with_all - without_all > with - without);
    /* What is held differs by what is planned, and by what knows of the buffer. */
    long long bytes[2][2];
    for (int i = 0; i < 2; i++) {
        program_result result = program_succeed(
            alone,
            "bench --model even.json --methods lora --batch 2 --seq 16 --steps 1 --threads 1 "
            "--json --set model.matmul=%s",
            i ? "fp8" : "dtype");
        json_t *rows = json_loads(result.out, 0, NULL);
        bytes[i][0] = json_integer_value(json_object_get(json_array_get(rows, 0), "planned_bytes"));
        bytes[i][1] = json_integer_value(json_object_get(json_array_get(rows, 0), "held_bytes"));
        json_decref(rows);
        program_free(&result);
    }
    assert_true(bytes[1][0] > bytes[0][0]);
    const long long apart = bytes[1][1] - bytes[0][1] - (bytes[1][0] - bytes[0][0]);
    assert_true(apart >= 0 && apart <= 16);
}

static void what_cannot_be_is_an_error_that_names_the_key(void **state)
{
    (void)state;
    program_fail(alone, 1,
                 "model.matmul: fp8 is for frozen weights of layers, and method fft trains all of "
                 "them",
                 "run m.yaml --set method.name=fft");
    program_fail(alone, 1,
                 "model.matmul: fp8 takes weights whose rows and columns are multiples of 16, and "
                 "model.layers.0.mlp.gate_proj.weight is [44, 32]",
                 "run m.yaml --set model.config=tiny.json");
    program_fail(
        (program_setting){.ranks = 2}, 1,
        "model.matmul: fp8 needs whole weights on each of the 2 ranks, and parallel.shard: "
        "full splits them; take optimizer or none",
        "run m.yaml --set parallel.shared_memory=off");
    program_fail(alone, 1, "model.matmul: expected one of dtype, fp8, found \"fp4\"",
                 "run m.yaml --set model.matmul=fp4");
    leave_it(0, "changed", "--set train.stop_after=2");
    program_result other = train(0, "changed", "--set model.matmul=dtype");
    assert_contains(other.err, "of another configuration (model.matmul differs)");
    program_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_beside_those_of_float),
        cmocka_unit_test(bits_are_the_same_on_any_ranks),
        cmocka_unit_test(a_stopped_run_that_merges_goes_on_with_the_same_bits),
        cmocka_unit_test(what_a_run_leaves_is_exported_and_looked_at),
        cmocka_unit_test(copies_are_planned_to_the_byte),
        cmocka_unit_test(what_cannot_be_is_an_error_that_names_the_key),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
