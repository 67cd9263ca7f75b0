/** @file
 * `mora spectrum` on what runs leave behind: against their models saved whole, between checkpoints
 * and shorter runs, and on what is missing or another's. */

#include "program.h"
#include "store/spectra_file.h"

#include <jansson.h>

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

/* Keys of the section method: merges leave a base that is another, frozen tensors are drawn. */
static const char *const methods[] = {
    "name: fft",
    "name: lora",
    "name: lora_plus",
    "name: asylora, freeze_a: true",
    "name: dora",
    "name: mora, operator: rotation",
    "name: mora, operator: sharing",
    "name: relora, merge_every: 2",
    "name: remora, merge_every: 2",
};

enum { METHODS = sizeof methods / sizeof *methods };

/* Runs every method as <folder>/m<number>. */
static void run_all(int ranks, const char *folder, const char *model, int steps, bool save)
{
    for (int m = 0; m < METHODS; m++) {
        program_write("run.yaml",
                      "run: {name: m%d, seed: 3, output: %s, save_model: '%s%.*d'}\n"
                      "model: {%s}\n"
                      "task: {name: uuid, pairs: 16}\n"
                      "method: {%s}\n"
                      "train: {steps: %d, global_batch: 16, micro_batch: 2, lr: 0.01, "
                      "schedule: constant}\n"
                      "eval: {items: 2}\n"
                      "parallel: {threads: 1}\n"
                      "checkpoint: {every_steps: 3}\n"
                      "log.spectrum_every: %d\n",
                      m, folder, save ? "saved-" : "", save ? 1 : 0, save ? m : 0, model,
                      methods[m], steps, save ? 5 : 0);
        program_result result =
            program_succeed((program_setting){.ranks = ranks}, "run run.yaml --progress none");
        program_free(&result);
    }
}

/* A base that is read, runs from it that save their models, and longer ones of the drawn model. */
static int enter(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    program_write("base.yaml", "%s",
                  "run: {name: base, seed: 5, output: out, save_model: base}\n"
                  "model: {config: tiny.json, init: random}\n"
                  "task: {name: uuid, pairs: 16}\n"
                  "method: {name: fft}\n"
                  "train: {steps: 2, global_batch: 16, micro_batch: 2, lr: 0.01}\n"
                  "eval: {items: 2}\n"
                  "parallel: {threads: 1}\n");
    program_result result = program_succeed((program_setting){0}, "run base.yaml --progress none");
    program_free(&result);
    run_all(2, "read", "path: base", 5, true);
    run_all(0, "drawn", "config: tiny.json, init: random", 5, false);
    run_all(0, "short", "config: tiny.json, init: random", 3, false);
    return 0;
}

static json_t *spectrum_of(int ranks, const char *arguments)
{
    program_result result = program_succeed((program_setting){.ranks = ranks},
                                            "spectrum %s --json --progress none", arguments);
    json_t *out = json_loads(result.out, 0, NULL);
    assert_non_null(out);
    program_free(&result);
    return out;
}

/* Compares all that is told of every matrix. */
static void assert_alike(const char *label, const json_t *found, const json_t *wanted, double bound)
{
    const json_t *matrices = json_object_get(found, "matrices"), *matrix;
    const json_t *others = json_object_get(wanted, "matrices");
    size_t i;
    assert_true(json_array_size(matrices) > 0);
    assert_int_equal(json_array_size(matrices), json_array_size(others));
    json_array_foreach(matrices, i, matrix)
    {
        static const char *const keys[] = {"count",           "erank_sigma",    "stable_rank",
                                           "sigma1",          "frobenius",      "sigma1_ratio",
                                           "frobenius_ratio", "cosine_sum_left"};
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            const double x = json_number_value(json_object_get(matrix, keys[k]));
            const double y = json_number_value(json_object_get(json_array_get(others, i), keys[k]));
            /* Entropies see the rounding of what was merged as values of their own. */
            const double at = strcmp(keys[k], "erank_sigma") == 0 ? 1000 * bound : bound;
            if (!(fabs(x - y) <= at * fabs(y)) || y == 0)
                fail_msg("%s: %s of matrix %zu: expected %.17g, found %.17g", label, keys[k], i, y,
                         x);
        }
    }
}

static void a_run_has_learnt_what_its_saved_model_tells(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++) {
        char arguments[128];
        snprintf(arguments, sizeof arguments, "read/m%d.h5 --threshold 0.01", m);
        json_t *run = spectrum_of(0, arguments), *ranks = spectrum_of(3, arguments);
        assert_true(json_equal(run, ranks));
        json_decref(ranks);
        snprintf(arguments, sizeof arguments, "saved-%d --base base --threshold 0.01", m);
        json_t *saved = spectrum_of(0, arguments);
        assert_alike(methods[m], run, saved, 1e-6);
        json_decref(run);
        json_decref(saved);
    }
}

/* A file of spectra that is read. */
static mr_spectra_file *open_spectra(const char *path, int64_t *last)
{
    mr_spectra_file *file;
    int64_t count;
    must(mr_spectra_file_open(path, &file));
    const int64_t *step = mr_spectra_file_steps(file, &count);
    assert_true(count > 0 && step[count - 1] == 5);
    *last = count - 1;
    return file;
}

/* Compares the values of a group of two snapshots, to a bound of sigma_1. */
static void assert_group(const char *label, const mr_spectra_file *a, int64_t at_a,
                         const mr_spectra_file *b, int64_t at_b, int64_t group, double bound)
{
    const mr_spectra_layout *layout[2] = {mr_spectra_file_layout(a), mr_spectra_file_layout(b)};
    const mr_spectra_group *g = &layout[0]->group[group], *h = &layout[1]->group[group];
    mr_spectra_row x = {0}, y = {0};
    assert_string_equal(g->projection, h->projection);
    assert_true(g->layers == h->layers && g->values == h->values);
    must(mr_spectra_row_make(layout[0], group, &x));
    must(mr_spectra_row_make(layout[1], group, &y));
    must(mr_spectra_file_read(a, at_a, group, &x));
    must(mr_spectra_file_read(b, at_b, group, &y));
    for (int64_t i = 0; i < g->layers * g->values; i++) {
        const double sigma1 = y.sigma[i - i % g->values];
        if (!(fabs(x.sigma[i] - y.sigma[i]) <= bound * sigma1))
            fail_msg("%s: %s: value %d: live %.17g, from disk %.17g", label, g->projection, (int)i,
                     y.sigma[i], x.sigma[i]);
    }
    for (int64_t i = 0; bound == 0 && i < g->layers; i++)
        assert_string_equal(x.route[i], y.route[i]);
    mr_spectra_row_free(&x);
    mr_spectra_row_free(&y);
}

static void a_run_has_learnt_what_was_recorded_while_it_trained(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++) {
        char arguments[128];
        int64_t last, only;
        const bool dense = strstr(methods[m], "fft") || strstr(methods[m], "dora") ||
                           strstr(methods[m], "merge_every");
        snprintf(arguments, sizeof arguments, "read/m%d.h5 --out disk", m);
        json_decref(spectrum_of(2, arguments));
        snprintf(arguments, sizeof arguments, "read/m%d.spectra.h5", m);
        mr_spectra_file *live = open_spectra(arguments, &last);
        mr_spectra_file *disk = open_spectra("disk.spectra.h5", &only);
        const int64_t groups = mr_spectra_file_layout(live)->groups;
        assert_int_equal(groups, mr_spectra_file_layout(disk)->groups);
        /* A dense one is of a merged weight in float32 while it trains. */
        for (int64_t g = 0; g < groups; g++)
            assert_group(methods[m], disk, only, live, last, g, dense ? 1e-5 : 0);
        mr_spectra_file_close(&live);
        mr_spectra_file_close(&disk);
    }
}

static void a_checkpoint_tells_what_a_shorter_run_keeps(void **state)
{
    (void)state;
    for (int m = 0; m < METHODS; m++) {
        char arguments[128];
        snprintf(arguments, sizeof arguments, "short/m%d.trained.safetensors", m);
        json_t *kept = spectrum_of(0, arguments);
        snprintf(arguments, sizeof arguments, "drawn/m%d.checkpoints/step-00000003", m);
        json_t *checkpoint = spectrum_of(m % 3, arguments);
        assert_int_equal(json_integer_value(json_object_get(checkpoint, "step")), 3);
        assert_true(
            json_equal(json_object_get(kept, "matrices"), json_object_get(checkpoint, "matrices")));
        json_decref(checkpoint);
        /* Without kept tensors the log leads to the newest checkpoint. */
        snprintf(arguments, sizeof arguments, "drawn/m%d.trained.safetensors", m);
        assert_int_equal(unlink(arguments), 0);
        snprintf(arguments, sizeof arguments, "drawn/m%d.h5", m);
        checkpoint = spectrum_of(0, arguments);
        assert_true(
            json_equal(json_object_get(kept, "matrices"), json_object_get(checkpoint, "matrices")));
        json_decref(checkpoint);
        json_decref(kept);
    }
}

static void expect(int code, const char *arguments, const char *message)
{
    program_result result =
        program_run((program_setting){0}, "spectrum %s --progress none", arguments);
    if (result.exit_code != code || !strstr(result.err, message))
        fail_msg("%s: exit code %d, expected %d and \"%s\" in:\n%s", arguments, result.exit_code,
                 code, message, result.err);
    program_free(&result);
}

static void shell(const char *command)
{
    if (system(command) != 0) fail_msg("%s", command);
}

static void what_is_gone_or_anothers_is_named(void **state)
{
    (void)state;
    expect(2, "short/m1.h5 --base base", "--base: the run drew its base weights, by run.seed");
    shell("mkdir lost && cp short/m1.h5 lost/m1.h5");
    expect(1, "lost/m1.h5",
           "lost/m1.h5: nothing that was learnt is left: neither lost/m1.trained.safetensors nor a "
           "checkpoint in lost/m1.checkpoints");
    shell("cp short/m2.trained.safetensors lost/m1.trained.safetensors");
    expect(1, "lost/m1.h5", "lost/m1.h5: what lies beside it is of another run: method.name");
    expect(1, "base/model.safetensors", "base/model.safetensors: kind: expected 'mora trained");
    expect(1, "run.yaml", "run.yaml: nothing that was learnt: expected a run log");
    expect(1, "lost", "lost");
    /* A file that was cut still tells what it holds. */
    shell("head -c -8 short/m1.trained.safetensors >lost/m1.trained.safetensors");
    expect(1, "lost/m1.h5", "lost/m1.trained.safetensors: it was cut: 1 of its ");
    expect(1, "lost/m1.h5", "lost/m1.h5: 1 of 14 matrices were left out");
    /* The base elsewhere, and another in its place. */
    shell("mv base moved");
    expect(1, "read/m1.h5", "base");
    expect(0, "read/m1.h5 --base moved", "");
    expect(1, "read/m1.h5 --base saved-0",
           "saved-0: the weights are not those that the run began with");
    shell("mv moved base");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_has_learnt_what_its_saved_model_tells),
        cmocka_unit_test(a_run_has_learnt_what_was_recorded_while_it_trained),
        cmocka_unit_test(a_checkpoint_tells_what_a_shorter_run_keeps),
        cmocka_unit_test(what_is_gone_or_anothers_is_named),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
