/* Whole runs on a device against the same on the host: every method in float32, with what is scored
 * on the way, killed and gone on with, and by two ranks that share the device; in bf16 with what is
 * computed again; with products in 8 bits. MORA_BACKEND names the device's backend; without, all is
 * skipped. */
#include "logs.h"
#include "program.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const methods[] = {"fft",
                                      "fft-optimizer_dtypebf16",
                                      "lora",
                                      "lora_plus",
                                      "asylora",
                                      "dora",
                                      "relora",
                                      "mora-operatorsharing",
                                      "mora-operatorrotation",
                                      "remora"};

enum { METHODS = sizeof methods / sizeof *methods };

static const char yaml[] =
    "run: {name: m, seed: 3, output: out}\n"
    "model: {config: small.json, init: random, tokenizer: bytes}\n"
    "task: {name: uuid, pairs: 8}\n"
    "train: {steps: 8, global_batch: 8, micro_batch: 2, lr: 0.003, check_every: 4}\n"
    "eval:\n"
    "  every: 4\n"
    "  sets:\n"
    "    - {kind: benchmark, set: ask.yaml, data: ./}\n"
    "    - {kind: generate, items: 2}\n"
    "log: {spectrum_every: 4}\n"
    "checkpoint: {every_steps: 2, every_minutes: 0}\n"
    "parallel: {threads: 1}\n"
    "matrix:\n"
    "- {method.name: fft}\n"
    "- {method.name: fft, train.optimizer_dtype: bf16}\n"
    "- {method.name: [lora, lora_plus, asylora, dora], method.r: 4}\n"
    "- {method.name: relora, method.r: 4, method.merge_every: 3}\n"
    "- {method.name: mora, method.r: 4, method.operator: [sharing, rotation]}\n"
    "- {method.name: remora, method.r: 4, method.merge_every: 3}\n";

static const char halves[] =
    "run: {name: h, seed: 3, output: halves}\n"
    "model: {config: small.json, init: random, dtype: bf16, tokenizer: bytes}\n"
    "task: {name: uuid, pairs: 8}\n"
    "train: {steps: 6, global_batch: 8, micro_batch: 2, seq_len: 128, lr: 0.003}\n"
    "eval: {items: 1}\n"
    "log: {spectrum_every: 3}\n"
    "checkpoint: {every_minutes: 0}\n"
    "parallel: {threads: 1}\n"
    "matrix: {method.name: [fft, lora, dora, mora], method.operator: [sharing, rotation],\n"
    "         train.recompute: [none, attention, layer]}\n";

static const char eights[] =
    "run: {name: e, seed: 3, output: eights}\n"
    "model: {config: small.json, init: random, matmul: fp8, tokenizer: bytes}\n"
    "task: {name: uuid, pairs: 8}\n"
    "method: {name: lora, r: 8}\n"
    "train: {steps: 8, global_batch: 4, micro_batch: 2, seq_len: 128, lr: 0.003}\n"
    "eval: {items: 1}\n"
    "checkpoint: {every_minutes: 0}\n"
    "parallel: {threads: 1}\n";

static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_write("small.json",
                  "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
                  "\"hidden_act\": \"silu\", \"hidden_size\": 256, \"intermediate_size\": 688, "
                  "\"num_attention_heads\": 4, \"num_key_value_heads\": 4, "
                  "\"num_hidden_layers\": 3, \"vocab_size\": 264, "
                  "\"max_position_embeddings\": 256, \"rms_norm_eps\": 1e-6, "
                  "\"initializer_range\": 0.02, \"tie_word_embeddings\": false, "
                  "\"rope_theta\": 10000.0}\n");
    program_write("ask.yaml", "sets:\n"
                              "  - name: ask\n"
                              "    about: questions\n"
                              "    source: nobody\n"
                              "    version: 1\n"
                              "    items: [q.csv]\n"
                              "    read: csv\n"
                              "    item: [{field: q}, {text: \"?\"}]\n"
                              "    options: [yes, never]\n"
                              "    gold: a\n"
                              "    metric: accuracy\n");
    program_write("q.csv", "q,a\nis it,yes\nwas it so,never\n\"who, me\",yes\nare we,yes\n");
    program_write("m.yaml", "%s", yaml);
    program_write("halves.yaml", "%s", halves);
    program_write("eights.yaml", "%s", eights);
    return 0;
}

static void train(int ranks, const char *file, const char *output, const char *backend)
{
    program_result result = program_succeed((program_setting){.ranks = ranks, .seconds = 280},
                                            "run %s --set run.output=%s --set parallel.backend=%s",
                                            file, output, backend);
    program_free(&result);
}

/* AdamW divides by the root of what is nearly nothing: differences of rounding grow. */
static void every_method_gives_the_losses_of_the_host(void **state)
{
    (void)state;
    train(1, "m.yaml", "host", "cpu");
    train(1, "m.yaml", "device", test_backend());
    for (int i = 0; i < METHODS; i++) {
        char host[128], device[128];
        snprintf(host, sizeof host, "host/m.%s.h5", methods[i]);
        snprintf(device, sizeof device, "device/m.%s.h5", methods[i]);
        log_assert_text(device, "backend", test_backend());
        log_assert_close(device, host, "/train/loss", i == 1 ? 1e-2 : 1e-4);
        log_assert_close(device, host, "/train/grad_norm", i == 1 ? 5e-2 : 1e-3);
        log_assert_same_bits(device, host, "/eval/ask/step", 0);
    }
}

/* All that was trained and scored has the bits of the runs of one rank that nothing happened to. */
static void assert_as_on_one(const char *output)
{
    static const char *const series[] = {"/train/loss", "/train/grad_norm", "/eval/ask/accuracy",
                                         "/eval/generate/accuracy"};
    for (int i = 0; i < METHODS; i++) {
        char one[128], other[128];
        snprintf(one, sizeof one, "device/m.%s.h5", methods[i]);
        snprintf(other, sizeof other, "%s/m.%s.h5", output, methods[i]);
        for (size_t s = 0; s < sizeof series / sizeof *series; s++)
            log_assert_same_bits(other, one, series[s], 0);
    }
}

static void two_ranks_on_one_device_give_the_bits_of_one(void **state)
{
    (void)state;
    train(2, "m.yaml", "two", test_backend());
    assert_as_on_one("two");
}

static void killed_runs_go_on_with_the_same_bits(void **state)
{
    (void)state;
    for (unsigned seconds = 1; seconds <= 4; seconds++) {
        program_child child = program_start(
            (program_setting){0}, "run m.yaml --set run.output=killed --set parallel.backend=%s",
            test_backend());
        sleep(seconds);
        kill(-child.pid, SIGKILL);
        program_result result = program_finish(&child);
        program_free(&result);
    }
    train(1, "m.yaml", "killed", test_backend());
    assert_as_on_one("killed");
}

static void what_is_computed_again_has_the_same_bits_in_bf16(void **state)
{
    (void)state;
    static const char *const of[] = {"fft", "lora", "dora", "mora-operatorsharing",
                                     "mora-operatorrotation"};
    train(1, "halves.yaml", "halves", test_backend());
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        for (int k = 0; k < 2; k++) {
            char none[128], again[128];
            snprintf(none, sizeof none, "halves/h.%s-recomputenone.h5", of[i]);
            snprintf(again, sizeof again, "halves/h.%s-recompute%s.h5", of[i],
                     k == 0 ? "attention" : "layer");
            log_assert_same_bits(again, none, "/train/loss", 0);
            log_assert_same_bits(again, none, "/train/grad_norm", 0);
        }
}

static void train_in_eight(const char *name, const char *more)
{
    program_result result =
        program_succeed((program_setting){.seconds = 280},
                        "run eights.yaml --set run.name=%s --set parallel.backend=%s %s", name,
                        test_backend(), more);
    program_free(&result);
}

/* What is nearly halfway between two numbers of 8 bits may be rounded otherwise. */
static void products_in_8_bits_are_those_of_the_host(void **state)
{
    (void)state;
    static const char *const some[] = {"lora", "dora", "mora"};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        char more[128], host[64], device[64];
        snprintf(more, sizeof more, "--set method.name=%s --set parallel.backend=cpu", some[i]);
        snprintf(host, sizeof host, "host-%s", some[i]);
        train_in_eight(host, more);
        snprintf(more, sizeof more, "--set method.name=%s", some[i]);
        train_in_eight(some[i], more);
        snprintf(host, sizeof host, "eights/host-%s.h5", some[i]);
        snprintf(device, sizeof device, "eights/%s.h5", some[i]);
        log_assert_close(device, host, "/train/loss", 1e-3);
        log_assert_close(device, host, "/train/grad_norm", 5e-2);
    }
}

static void products_in_8_bits_have_the_same_bits_again(void **state)
{
    (void)state;
    static const char *const others[][2] = {
        {"again", ""},
        {"norms", "--set train.recompute=attention"},
        {"layers", "--set train.recompute=layer"},
        {"stopped", "--set train.stop_after=3"},
        {"stopped", ""},
    };
    static const char *const some[] = {"lora", "mora"}; /* both streams: both kinds of updates */
    enum { OTHERS = sizeof others / sizeof *others };
    for (size_t i = 0; i < 2 * (OTHERS + 1); i++) {
        const char *method = some[i / (OTHERS + 1)], *more = "", *turn = "once";
        const size_t k = i % (OTHERS + 1);
        char all[256], name[32], log[64], first[64];
        if (k > 0) {
            turn = others[k - 1][0];
            more = others[k - 1][1];
        }
        snprintf(all, sizeof all,
                 "--set model.dtype=bf16 --set checkpoint.every_steps=2 --set method.name=%s %s",
                 method, more);
        snprintf(name, sizeof name, "%s-%s", method, turn);
        train_in_eight(name, all);
        if (k == 0 || strstr(more, "stop_after")) continue;
        snprintf(log, sizeof log, "eights/%s.h5", name);
        snprintf(first, sizeof first, "eights/%s-once.h5", method);
        log_assert_same_bits(log, first, "/train/loss", 0);
        log_assert_same_bits(log, first, "/train/grad_norm", 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_gives_the_losses_of_the_host),
        cmocka_unit_test(two_ranks_on_one_device_give_the_bits_of_one),
        cmocka_unit_test(killed_runs_go_on_with_the_same_bits),
        cmocka_unit_test(what_is_computed_again_has_the_same_bits_in_bf16),
        cmocka_unit_test(products_in_8_bits_are_those_of_the_host),
        cmocka_unit_test(products_in_8_bits_have_the_same_bits_again),
    };
    if (strcmp(test_backend(), "cpu") == 0) {
        printf("skipped: MORA_BACKEND names no device\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
