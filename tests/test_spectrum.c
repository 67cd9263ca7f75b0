/** @file
 * `mora spectrum` as its users meet it, on small folders; numbers of references are tried in
 * test_spectrum_golden.c. */

#include "base/text.h"
#include "program.h"
#include "store/spectra_file.h"
#include "tensor_files.h"

#include <jansson.h>

#include <math.h>
#include <unistd.h>

enum { LAYERS = 2, SIDE = 16, WIDE = 24, R = 3 };

static const char *const projections[] = {"self_attn.q_proj", "mlp.up_proj", "mlp.down_proj"};

enum { PROJECTIONS = sizeof projections / sizeof *projections };

static int64_t rows_of(int projection)
{
    return projection == 1 ? WIDE : SIDE;
}

static int64_t cols_of(int projection)
{
    return projection == 2 ? WIDE : SIDE;
}

static void draw(float *values, int64_t count, uint64_t stream)
{
    const mr_random random = mr_random_stream(7, MR_RANDOM_SPECTRA, stream);
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)mr_random_normal(&random, (uint64_t)i);
}

/* The linears of a model; of seed 0 the base, of another that with a change of its own. */
static void make_model(tensor_files *out, int seed)
{
    for (int l = 0; l < LAYERS; l++)
        for (int p = 0; p < PROJECTIONS; p++) {
            const int64_t count = rows_of(p) * cols_of(p);
            float change[WIDE * WIDE] = {0};
            float *values = tensor_files_add(out, rows_of(p), cols_of(p),
                                             "model.layers.%d.%s.weight", l, projections[p]);
            draw(values, count, (uint64_t)(l * PROJECTIONS + p));
            if (seed > 0) draw(change, count, (uint64_t)(1000 * seed + l * PROJECTIONS + p));
            for (int64_t i = 0; i < count; i++)
                values[i] += 0.25f * change[i];
        }
    draw(tensor_files_add(out, 40, SIDE, "model.embed_tokens.weight"), 40 * SIDE, 99);
}

static void make_folder(const char *folder)
{
    char path[256];
    if (access(folder, F_OK) == 0) return;
    program_make_folder(folder);
    snprintf(path, sizeof path, "%s/config.json", folder);
    program_write_shape(path, SIDE, 40, false);
}

static void write_model(const tensor_files *files, const char *folder)
{
    char path[256];
    make_folder(folder);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    tensor_files_write(files, path);
}

/* The factors of an adapter, drawn. */
static void make_adapter(tensor_files *out)
{
    for (int l = 0; l < LAYERS; l++)
        for (int p = 0; p < PROJECTIONS; p++) {
            const uint64_t stream = (uint64_t)(500 + 2 * (l * PROJECTIONS + p));
            draw(tensor_files_add(out, R, cols_of(p),
                                  "base_model.model.model.layers.%d.%s.lora_A"
                                  ".weight",
                                  l, projections[p]),
                 R * cols_of(p), stream);
            draw(tensor_files_add(out, rows_of(p), R,
                                  "base_model.model.model.layers.%d.%s.lora_B"
                                  ".weight",
                                  l, projections[p]),
                 rows_of(p) * R, stream + 1);
        }
}

static void write_adapter(const tensor_files *files, const char *folder, const char *more)
{
    char path[256];
    if (access(folder, F_OK) != 0) program_make_folder(folder);
    snprintf(path, sizeof path, "%s/adapter_config.json", folder);
    program_write(path, "{\"peft_type\": \"LORA\", \"r\": %d, \"lora_alpha\": 6%s}", R, more);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    tensor_files_write(files, path);
}

static int enter(void **state)
{
    tensor_files base = {0}, tuned = {0}, adapter = {0};
    if (program_enter_folder(state) != 0) return -1;
    make_model(&base, 0);
    make_model(&tuned, 1);
    make_adapter(&adapter);
    write_model(&base, "base");
    write_model(&tuned, "tuned");
    write_adapter(&adapter, "lora", "");
    tensor_files_free(&base);
    tensor_files_free(&tuned);
    tensor_files_free(&adapter);
    return 0;
}

static json_t *json_of(int ranks, const char *arguments)
{
    program_result result = program_succeed((program_setting){.ranks = ranks},
                                            "spectrum %s --json --progress none", arguments);
    json_t *out = json_loads(result.out, 0, NULL);
    assert_non_null(out);
    program_free(&result);
    return out;
}

static double value_of(const json_t *spectrum, size_t matrix, const char *key)
{
    const json_t *at = json_array_get(json_object_get(spectrum, "matrices"), matrix);
    const json_t *value = json_object_get(at, key);
    if (!value) fail_msg("matrix %zu has no %s", matrix, key);
    return json_is_null(value) ? NAN : json_number_value(value);
}

/* Runs a command line that leaves something out or fails, and looks for a message. */
static void expect(int code, const char *arguments, const char *message, const char *printed)
{
    program_result result =
        program_run((program_setting){0}, "spectrum %s --progress none", arguments);
    if (result.exit_code != code || !strstr(result.err, message))
        fail_msg("%s: exit code %d, expected %d and \"%s\" in:\n%s", arguments, result.exit_code,
                 code, message, result.err);
    assert_null(strstr(result.out, "nan"));
    if (printed) assert_contains(result.out, printed);
    program_free(&result);
}

static void tables_name_projections_measures_and_the_control(void **state)
{
    (void)state;
    program_result result =
        program_succeed((program_setting){0}, "spectrum tuned --base base --progress none --k 4");
    assert_contains(result.out, "tuned: a model beside its base; base base\n");
    assert_contains(result.out, "count: above 0.1");
    assert_contains(result.out, "effective rank");
    assert_contains(result.out, "q_proj     16x16  2");
    assert_contains(result.out, "down_proj  16x24  2");
    assert_contains(result.out, "leading 4 directions of W0 + X, of dW and of noise of its norm");
    assert_int_equal(program_lines_with(result.out, "  noise  "), PROJECTIONS);
    assert_null(strstr(result.out, "nan"));
    program_free(&result);
    /* An adapter of products needs no base; then nothing is told that would need one. */
    result = program_succeed((program_setting){0}, "spectrum lora --progress none");
    assert_contains(result.out, "lora: an adapter of PEFT, lora, r 3\n");
    assert_null(strstr(result.out, "noise"));
    assert_null(strstr(result.out, "W0"));
    program_free(&result);
}

static void ranks_change_no_bit(void **state)
{
    (void)state;
    json_t *one = json_of(0, "tuned --base base"), *three = json_of(3, "tuned --base base");
    assert_int_equal(json_array_size(json_object_get(one, "matrices")), LAYERS * PROJECTIONS);
    assert_true(json_equal(one, three));
    json_decref(one);
    json_decref(three);
}

static void matrices_of_all_ranks_have_the_same_values(void **state)
{
    static const char *const routes[] = {"bidiagonal", "gram", "pdgesvd"};
    (void)state;
    json_t *one = json_of(0, "tuned --base base");
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        char arguments[64];
        snprintf(arguments, sizeof arguments, "tuned --base base --route %s", routes[i]);
        json_t *all = json_of(2, arguments);
        for (size_t m = 0; m < LAYERS * PROJECTIONS; m++) {
            static const char *const keys[] = {
                "erank_sigma",     "stable_rank",        "sigma1", "frobenius", "sigma1_ratio",
                "frobenius_ratio", "intruder_threshold", "count",  "k90"};
            for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
                const double wanted = value_of(one, m, keys[k]), found = value_of(all, m, keys[k]);
                if (!(fabs(found - wanted) <= 1e-9 * fabs(wanted)))
                    fail_msg("%s: %s of matrix %zu: expected %.17g, found %.17g", routes[i],
                             keys[k], m, wanted, found);
            }
            assert_true(isnan(value_of(all, m, "intruders")));
        }
        json_decref(all);
    }
    json_decref(one);
}

static void what_does_not_fit_a_rank_goes_to_all(void **state)
{
    (void)state;
    program_result result = program_succeed(
        (program_setting){.ranks = 2}, "spectrum tuned --base base --dry-run --memory-gib 1e-6");
    assert_contains(result.out, "6 matrices of 0.002048 million elements");
    assert_contains(result.out, "6 of them on all ranks together, by pdgeqrf, pdgebrd, dlasq1");
    program_free(&result);
    json_t *all = json_of(2, "tuned --base base --memory-gib 1e-6");
    const json_t *first = json_array_get(json_object_get(all, "matrices"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "route")),
                        "pdgeqrf, pdgebrd, dlasq1");
    json_decref(all);
    /* What is not told of them is said. */
    expect(0, "tuned --base base --route gram", "",
           "not computed: intruders, overlaps with W0 and their control by noise, of 6 matrices");
    result = program_succeed((program_setting){0}, "spectrum lora --dry-run");
    assert_contains(result.out, "GFLOP over 1 ranks, about");
    assert_null(strstr(result.out, "on all ranks"));
    program_free(&result);
}

static void modules_choose(void **state)
{
    (void)state;
    json_t *some = json_of(0, "tuned --base base --modules q_proj,model.layers.1.mlp.up_proj");
    json_t *all = json_of(0, "tuned --base base");
    assert_int_equal(json_array_size(json_object_get(some, "matrices")), LAYERS + 1);
    /* What is told of a matrix, its noise too, does not depend on the others. */
    assert_true(json_equal(json_array_get(json_object_get(some, "matrices"), 2),
                           json_array_get(json_object_get(all, "matrices"), 3)));
    json_decref(all);
    json_decref(some);
    program_result result = program_run((program_setting){0}, "spectrum lora --modules q_prj");
    assert_int_equal(result.exit_code, 2);
    assert_contains(result.err, "--modules: \"q_prj\" is neither the projection nor the name of");
    program_free(&result);
}

static void scale_follows_the_configuration(void **state)
{
    (void)state;
    tensor_files adapter = {0};
    make_adapter(&adapter);
    json_t *plain = json_of(0, "lora");
    write_adapter(&adapter, "patterns",
                  ", \"alpha_pattern\": {\"up_proj\": 12, \"layers\\\\.1\\\\..*q_proj\": 24, "
                  "\"layers\\\\.\\\\d\\\\.mlp\\\\.down_proj\": 3}");
    json_t *scaled = json_of(0, "patterns");
    const double wanted[] = {1, 4, 2, 2, 0.5, 0.5};
    for (size_t i = 0; i < LAYERS * PROJECTIONS; i++)
        assert_true(fabs(value_of(scaled, i, "sigma1") / value_of(plain, i, "sigma1") - wanted[i]) <
                    1e-12);
    json_decref(scaled);
    write_adapter(&adapter, "patterns", ", \"use_rslora\": true");
    scaled = json_of(0, "patterns");
    assert_true(fabs(value_of(scaled, 0, "sigma1") / value_of(plain, 0, "sigma1") - sqrt(3.0)) <
                1e-12);
    json_decref(scaled);
    json_decref(plain);
    tensor_files_free(&adapter);
}

static void files_hold_what_is_printed(void **state)
{
    (void)state;
    mr_spectra_file *file;
    int64_t count;
    json_t *told = json_of(0, "tuned --base base --out some/where");
    must(mr_spectra_file_open("some/where.spectra.h5", &file));
    const mr_spectra_layout *layout = mr_spectra_file_layout(file);
    mr_spectra_file_steps(file, &count);
    assert_int_equal(count, 1);
    assert_int_equal(layout->groups, PROJECTIONS);
    assert_string_equal(layout->method, "fft");
    for (int64_t g = 0, m = 0; g < layout->groups; g++) {
        mr_spectra_row row = {0};
        must(mr_spectra_row_make(layout, g, &row));
        must(mr_spectra_file_read(file, 0, g, &row));
        for (int64_t l = 0; l < LAYERS; l++, m++)
            for (int64_t c = 0; c < layout->columns; c++)
                assert_true(row.column[c * LAYERS + l] ==
                            value_of(told, (size_t)m, layout->column[c].name));
        mr_spectra_row_free(&row);
    }
    char *csv = program_read("some/where.csv", NULL), name[64];
    assert_int_equal(strncmp(csv, "name,projection,layer,rows,cols,route,count,erank_sigma,", 56),
                     0);
    assert_contains(csv, ",noise_intruders,");
    assert_int_equal(program_lines_with(csv, "_proj,"), LAYERS * PROJECTIONS);
    snprintf(name, sizeof name, ",%.17g,", value_of(told, 3, "erank_sigma"));
    assert_contains(csv, name);
    mr_free(csv);
    mr_spectra_file_close(&file);
    json_decref(told);
}

static void what_is_wrong_with_a_matrix_leaves_the_others(void **state)
{
    static const char broken[] = "broken --base base";
    (void)state;
    tensor_files tuned = {0};
    make_model(&tuned, 1);
    tensor_files_find(&tuned, "model.layers.1.self_attn.q_proj.weight")[21] = NAN;
    write_model(&tuned, "broken");
    expect(1, broken, "model.layers.1.self_attn.q_proj: ", "up_proj    24x16  2");
    expect(1, broken, "row 1, column 5", NULL);
    expect(1, broken, "broken: 1 of 6 matrices were left out", NULL);
    tensor_files_free(&tuned);
    make_model(&tuned, 1);
    tensor_files_drop(&tuned, "model.layers.0.mlp.up_proj.weight");
    write_model(&tuned, "broken");
    expect(1, broken, "model.layers.0.mlp.up_proj: model folder 'broken': no tensor",
           "q_proj     16x16  2");
    tensor_files_add(&tuned, SIDE, SIDE, "model.layers.0.mlp.up_proj.weight");
    tensor_files_add(&tuned, SIDE, SIDE, "model.layers.0.self_attn.o_proj.weight");
    write_model(&tuned, "broken");
    expect(1, broken,
           "model.layers.0.mlp.up_proj: its weight is [16, 16], expected [24, 16]; left out",
           "q_proj     16x16  2");
    expect(1, broken, "model.layers.0.self_attn.o_proj: model folder 'base': no tensor", NULL);
    tensor_files_free(&tuned);
}

static void folders_of_other_shapes_are_named(void **state)
{
    (void)state;
    make_folder("other");
    tensor_files tuned = {0};
    make_model(&tuned, 1);
    tensor_files_write(&tuned, "other/model.safetensors");
    program_write_shape("other/config.json", SIDE, 41, false);
    expect(0, "other --base base", "other: not of the shape of its base base: vocab_size 41",
           "q_proj     16x16  2");
    expect(0, "other --base base",
           "the linears of layers are compared, embeddings and heads are not", NULL);
    tensor_files_free(&tuned);
    expect(2, "tuned",
           "tuned: a model alone tells no update: name the one it was made of by --base", NULL);
    expect(1, "nowhere --base base", "nowhere", NULL);
    expect(2, "", "mora spectrum: expected a file or folder", NULL);
}

static void nothing_learnt_is_rank_0(void **state)
{
    (void)state;
    json_t *none = json_of(0, "base --base base");
    assert_true(value_of(none, 0, "count") == 0 && value_of(none, 0, "frobenius") == 0);
    assert_true(isnan(value_of(none, 0, "erank_sigma")));
    assert_true(value_of(none, 0, "intruders") == 0 && value_of(none, 0, "noise_intruders") == 0);
    json_decref(none);
    expect(0, "base --base base", "", "q_proj     16x16  2");
}

static void adapters_that_do_not_fit_are_named(void **state)
{
    (void)state;
    tensor_files adapter = {0}, base = {0};
    make_adapter(&adapter);
    write_adapter(&adapter, "named", ", \"base_model_name_or_path\": \"some/model-7b\"");
    expect(0, "named --base base",
           "named/adapter_config.json: made for the base 'some/model-7b', "
           "looked at beside 'base'",
           NULL);
    write_adapter(&adapter, "named", ", \"base_model_name_or_path\": \"elsewhere/base/\"");
    program_result result =
        program_succeed((program_setting){0}, "spectrum named --base base/ --progress none");
    assert_null(strstr(result.err, "warning"));
    program_free(&result);
    write_adapter(&adapter, "refused", ", \"fan_in_fan_out\": true");
    expect(1, "refused", "refused/adapter_config.json: fan_in_fan_out: true is not supported",
           NULL);
    write_adapter(&adapter, "refused", ", \"use_dora\": true");
    expect(2, "refused", "the update of dora is told by its base too", NULL);
    expect(1, "refused --base base", "lora_magnitude_vector", NULL);
    write_adapter(&adapter, "refused", ", \"use_mora\": true, \"mora_type\": 5");
    expect(1, "refused --base base", "mora_type: expected 1, 2, 3, 4 or 6, found", NULL);
    write_adapter(&adapter, "refused", ", \"alpha_pattern\": {\"(\": 3}");
    expect(1, "refused", "alpha_pattern: '(' is no regular expression: missing closing", NULL);
    write_adapter(&adapter, "refused", ", \"alpha_pattern\": {\"((a{999}){999}){999}\": 3}");
    expect(1, "refused", "is no regular expression: regular expression is too large", NULL);
    tensor_files_drop(&adapter, "base_model.model.model.layers.0.mlp.up_proj.lora_B.weight");
    tensor_files_add(&adapter, 40, R, "base_model.model.model.embed_tokens.lora_embedding_A");
    write_adapter(&adapter, "lacking", "");
    expect(1, "lacking --base base", "model.layers.0.mlp.up_proj: ", "q_proj     16x16  2");
    expect(1, "lacking --base base",
           "embed_tokens.lora_embedding_A is no part of a linear's update and left out", NULL);
    make_model(&base, 0);
    tensor_files_drop(&base, "model.layers.1.self_attn.q_proj.weight");
    write_model(&base, "lessbase");
    expect(1, "lora --base lessbase",
           "model.layers.1.self_attn.q_proj: an adapter of another base: ", NULL);
    tensor_files_free(&base);
    tensor_files_free(&adapter);
}

/* Copies a file without its last bytes. */
static void cut(const char *from, const char *to, size_t bytes)
{
    size_t size;
    char *all = program_read(from, &size);
    assert_true(bytes <= size);
    test_put_bytes(to, all, size - bytes);
    mr_free(all);
}

static void a_single_file_that_was_cut_leaves_what_it_has(void **state)
{
    (void)state;
    make_folder("cut");
    cut("tuned/model.safetensors", "cut/model.safetensors", 40 * SIDE * sizeof(float) + 100);
    expect(1, "cut --base base",
           "cut/model.safetensors: it was cut: 2 of its 7 tensors reach beyond its end",
           "q_proj     16x16  2");
    expect(1, "cut --base base",
           "model.layers.1.mlp.down_proj: cut/model.safetensors: tensor "
           "'model.layers.1.mlp.down_proj.weight': offsets ",
           "up_proj    24x16  2");
    expect(1, "cut --base base", "cut: 1 of 6 matrices were left out", "down_proj  16x24  1");
    /* Of the base as of what was made of it; not of its embeddings, which are not looked at. */
    expect(1, "tuned --base cut", "tuned: 1 of 6 matrices were left out", NULL);
    expect(1, "lora --base cut", "lora: 1 of 6 matrices were left out", NULL);
    cut("tuned/model.safetensors", "cut/model.safetensors", 100);
    expect(0, "cut --base base", "cut/model.safetensors: it was cut: 1 of its 7 tensors reach",
           "down_proj  16x24  2");
    cut("tuned/model.safetensors", "cut/model.safetensors",
        LAYERS * (SIDE * SIDE + 2 * SIDE * WIDE) * sizeof(float) + 40 * SIDE * sizeof(float));
    expect(1, "cut --base base", "cut: 6 of 6 matrices were left out", NULL);
    /* Without a whole header nothing can be told. */
    test_put_bytes("cut/model.safetensors", "0123456789", 10);
    expect(1, "cut --base base", "cut/model.safetensors: header of ", NULL);
}

static void an_adapter_that_was_cut_leaves_what_it_has(void **state)
{
    (void)state;
    program_make_folder("cutlora");
    cut("lora/adapter_config.json", "cutlora/adapter_config.json", 0);
    cut("lora/adapter_model.safetensors", "cutlora/adapter_model.safetensors", 100);
    expect(1, "cutlora",
           "model.layers.1.mlp.down_proj: cutlora/adapter_model.safetensors: tensor "
           "'base_model.model.model.layers.1.mlp.down_proj.lora_B.weight': offsets ",
           "q_proj     16x16  2");
    expect(1, "cutlora --base base", "cutlora: 1 of 6 matrices were left out", "down_proj  16x24");
}

static void what_both_folders_lack_is_named(void **state)
{
    (void)state;
    tensor_files both[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) {
        make_model(&both[i], i);
        tensor_files_drop(&both[i], "model.layers.1.mlp.up_proj.weight");
        write_model(&both[i], i == 0 ? "lackbase" : "lacktuned");
        tensor_files_free(&both[i]);
    }
    expect(1, "lacktuned --base lackbase",
           "model.layers.1.mlp.up_proj: model folder 'lackbase': no tensor", "q_proj     16x16  2");
    expect(1, "lacktuned --base lackbase", "lacktuned: 1 of 6 matrices were left out", NULL);
    expect(0, "lacktuned --base lackbase --modules q_proj,down_proj",
           "neither lacktuned nor its base lackbase has k_proj, v_proj, o_proj, gate_proj in any "
           "layer",
           NULL);
}

static void a_shard_that_was_cut_leaves_the_others(void **state)
{
    (void)state;
    size_t size;
    tensor_files part[2] = {{0}, {0}}, tuned = {0};
    mr_text map = {0};
    make_folder("shards");
    make_model(&tuned, 1);
    for (int i = 0; i < tuned.count; i++) {
        const int shard = strstr(tuned.tensor[i].name, "up_proj") != NULL;
        const int64_t rows = tuned.tensor[i].rows, cols = tuned.tensor[i].cols;
        float *to = tensor_files_add(&part[shard], rows, cols, "%s", tuned.tensor[i].name);
        memcpy(to, tuned.tensor[i].values, (size_t)(rows * cols) * sizeof *to);
        mr_text_add(&map, "%s\"%s\": \"part-%d.safetensors\"", i > 0 ? ", " : "",
                    tuned.tensor[i].name, shard);
    }
    program_write("shards/model.safetensors.index.json", "{\"weight_map\": {%s}}",
                  mr_text_get(&map));
    tensor_files_write(&part[0], "shards/part-0.safetensors");
    tensor_files_write(&part[1], "shards/part-1.safetensors");
    json_t *whole = json_of(0, "shards --base base"), *single = json_of(0, "tuned --base base");
    assert_true(
        json_equal(json_object_get(whole, "matrices"), json_object_get(single, "matrices")));
    json_decref(whole);
    json_decref(single);
    char *bytes = program_read("shards/part-1.safetensors", &size);
    test_put_bytes("shards/part-1.safetensors", bytes, size - 100);
    mr_free(bytes);
    expect(1, "shards --base base", "shards/part-1.safetensors: ", "q_proj     16x16  2");
    expect(1, "shards --base base",
           "model.layers.1.mlp.up_proj: shards/part-1.safetensors: tensor "
           "'model.layers.1.mlp.up_proj.weight': offsets ",
           "down_proj  16x24  2");
    expect(1, "shards --base base", "shards: 1 of 6 matrices were left out", NULL);
    test_put_bytes("shards/part-1.safetensors", "", 0);
    expect(1, "shards --base base", "model.layers.1.mlp.up_proj: model folder 'shards': no tensor",
           "down_proj  16x24  2");
    expect(1, "shards --base base", "shards: 2 of 6 matrices were left out", NULL);
    test_put_bytes("shards/part-0.safetensors", "", 0);
    expect(1, "shards --base base", "shards/part-1.safetensors", NULL);
    mr_text_free(&map);
    tensor_files_free(&part[0]);
    tensor_files_free(&part[1]);
    tensor_files_free(&tuned);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_name_projections_measures_and_the_control),
        cmocka_unit_test(ranks_change_no_bit),
        cmocka_unit_test(matrices_of_all_ranks_have_the_same_values),
        cmocka_unit_test(what_does_not_fit_a_rank_goes_to_all),
        cmocka_unit_test(modules_choose),
        cmocka_unit_test(scale_follows_the_configuration),
        cmocka_unit_test(files_hold_what_is_printed),
        cmocka_unit_test(what_is_wrong_with_a_matrix_leaves_the_others),
        cmocka_unit_test(folders_of_other_shapes_are_named),
        cmocka_unit_test(nothing_learnt_is_rank_0),
        cmocka_unit_test(adapters_that_do_not_fit_are_named),
        cmocka_unit_test(a_single_file_that_was_cut_leaves_what_it_has),
        cmocka_unit_test(an_adapter_that_was_cut_leaves_what_it_has),
        cmocka_unit_test(what_both_folders_lack_is_named),
        cmocka_unit_test(a_shard_that_was_cut_leaves_the_others),
    };
    return cmocka_run_group_tests(tests, enter, folder_leave);
}
