#include "base/file.h"
#include "base/text.h"
#include "config/config.h"
#include "program.h"
#include "store/runlog.h"
#include "store/safetensors.h"
#include "train/registry.h"

#include <jansson.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static program_result info(const char *arguments)
{
    return program_succeed((program_setting){0}, "info %s", arguments);
}

static void assert_prints(const char *arguments, const char *text)
{
    program_result result = info(arguments);
    assert_contains(result.out, text);
    program_free(&result);
}

static void assert_error(const char *arguments, int exit_code, const char *message)
{
    program_result result = program_run((program_setting){0}, "info %s", arguments);
    assert_contains(result.err, message);
    assert_int_equal(result.exit_code, exit_code);
    assert_string_equal(result.out, "");
    program_free(&result);
}

/* Runs up to a step, from the checkpoint before it where there is one, and stops at another. */
static void save_at(const char *name, int step)
{
    program_result result =
        program_succeed((program_setting){0},
                        "run saving.yaml --set run.name=%s --set train.stop_after=%d", name, step);
    program_free(&result);
}

static void save_three(const char *name)
{
    save_at(name, 2);
    save_at(name, 4);
    save_at(name, 5);
}

static void make_shards(const char *folder)
{
    program_write("lines.txt", "one\ntwo\nthree\n");
    program_result result =
        program_succeed((program_setting){0}, "data prepare lines.txt --heldout 0 --to %s", folder);
    program_free(&result);
}

/* Changes one byte of a file. */
static void damage(const char *path, size_t at)
{
    size_t size;
    char *bytes = program_read(path, &size);
    assert_true(at < size);
    bytes[at] ^= 1;
    must(mr_file_write(path, bytes, size));
    mr_free(bytes);
}

/* Puts one text for another, which must be there. */
static void replace_text(const char *path, const char *text, const char *by)
{
    mr_text changed = {0};
    char *whole = program_read(path, NULL), *at = strstr(whole, text);
    assert_non_null(at);
    mr_text_add(&changed, "%.*s%s%s", (int)(at - whole), whole, by, at + strlen(text));
    must(mr_file_write(path, mr_text_get(&changed), changed.length));
    mr_text_free(&changed);
    mr_free(whole);
}

/* The name tells nothing: kinds are recognised by content. */
static void make_log(const char *path)
{
    mr_config config;
    mr_text text = {0};
    mr_runlog *log;
    static const char *const names[] = {"accuracy", "exact"};
    const double scores[2][2] = {{0.25, 0}, {0.5, 0.125}};
    mr_config_defaults(mr_registry_of_program(), &config);
    must(mr_config_resolved(&config, &text));
    must(mr_runlog_create(path, &log));
    must(mr_runlog_set_text(log, "run", "uuid.mora-r8"));
    must(mr_runlog_set_text(log, "stop_reason", "completed"));
    must(mr_runlog_set_text(log, "config", mr_text_get(&text)));
    must(mr_runlog_set_int(log, "trainable_parameters", 1234567));
    must(mr_runlog_set_double(log, "seconds", 12.5));
    for (int64_t step = 1; step <= 3; step++)
        must(mr_runlog_train(log, &(mr_runlog_step){.step = step,
                                                    .loss = 4.0 / (double)step,
                                                    .lr = 1e-3,
                                                    .tokens = 528,
                                                    .seconds = 0.25}));
    for (int64_t i = 0; i < 2; i++)
        must(mr_runlog_eval(log, "uuid", 100 * (i + 1), names, scores[i], 2, NULL, 0));
    must(mr_runlog_event(log, 0, "adapter", "q_proj: sharing, r_hat 32"));
    must(mr_runlog_close(&log));
    mr_text_free(&text);
}

static int make_files(void **state)
{
    if (program_enter_folder(state) != 0) return -1;
    make_log("log");
    program_write("saving.yaml",
                  "run: {output: out}\nmodel: {config: tiny.json, init: random}\n"
                  "task: {name: uuid, pairs: 16}\nmethod: {name: mora, r: 4}\n"
                  "train: {steps: 6, global_batch: 4, micro_batch: 2}\neval: {items: 1}\n"
                  "parallel: {threads: 1}\ncheckpoint: {every_minutes: 0, keep: 3}\n");
    save_three("whole");
    make_shards("shards");
    mr_safetensors_writer *writer;
    const mr_safetensors_spec specs[] = {
        {.name = "w", .dims = 2, .shape = {2, 3}},
        {.name = "bias", .dims = 1, .shape = {4}},
    };
    const mr_safetensors_pair pairs[] = {{"format", "pt"}, {"note", "two\nlines"}};
    const float values[6] = {0};
    must(mr_safetensors_create("tensors", specs, 2, pairs, 2, &writer));
    must(mr_safetensors_write(writer, 0, 0, values, 6));
    must(mr_safetensors_write(writer, 1, 0, values, 4));
    must(mr_safetensors_finish(&writer));
    program_write("runs", "run: {name: study}\nmatrix: {train.lr: [1e-3, 3e-3]}\n"
                          "model: {config: tiny.json, init: random}\ntrain: {steps: 3}\n");
    return 0;
}

static void a_run_log_shows_its_attributes(void **state)
{
    (void)state;
    program_result result = info("log");
    assert_contains(result.out, "kind                  run log\nfile                  log\n");
    assert_contains(result.out, "\ntrainable_parameters  1,234,567\n");
    assert_contains(result.out, "\nseconds               12.5\n");
    program_free(&result);
}

static void a_run_log_shows_ends_and_range_of_series(void **state)
{
    (void)state;
    assert_prints("log", "\n  loss          3      4  1.33333  1.33333      4\n");
}

static void a_run_log_shows_its_evaluations(void **state)
{
    (void)state;
    assert_prints("log", "evaluations:\n  uuid:\n    step  accuracy  exact\n"
                         "     100      0.25      0\n     200       0.5  0.125\n");
}

static void a_run_log_shows_its_events(void **state)
{
    (void)state;
    assert_prints("log", "\n     0  adapter  q_proj: sharing, r_hat 32\n");
}

static void a_run_log_hides_its_configuration(void **state)
{
    (void)state;
    program_result result = info("log");
    assert_null(strstr(result.out, "lora_alpha"));
    program_free(&result);
}

static void config_shows_the_configuration_of_a_run_log(void **state)
{
    (void)state;
    assert_prints("log --config", "\n    lora_alpha: 16\n");
}

static void a_run_log_reads_as_json(void **state)
{
    (void)state;
    program_result result = info("log --json");
    json_t *root = json_loads(result.out, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    const json_t *rows = json_object_get(json_object_get(root, "evaluations"), "uuid");
    const json_t *last = json_array_get(rows, 1);
    assert_int_equal(json_integer_value(json_object_get(last, "step")), 200);
    assert_float_equal(json_real_value(json_object_get(last, "exact")), 0.125, 0);
    json_decref(root);
    program_free(&result);
}

static void a_file_whose_name_is_no_text_reads_as_json(void **state)
{
    (void)state;
    size_t size;
    char *log = program_read("log", &size);
    must(mr_file_write("a\xff\"\\b", log, size));
    mr_free(log);
    program_result result = info("a\xff\"\\b --json");
    assert_contains(result.out, "\"file\": \"a\\\\xff\\\"\\\\b\"");
    program_free(&result);
    assert_prints("a\xff\"\\b", "file                  a\\xff\"\\b");
}

static void a_cut_run_log_is_not_sound(void **state)
{
    (void)state;
    make_log("cut_log");
    assert_int_equal(truncate("cut_log", 2000), 0);
    assert_error("cut_log", 1, "format: cut_log: not a sound run log: ");
}

static void safetensors_show_every_tensor(void **state)
{
    (void)state;
    program_result result = info("tensors");
    assert_contains(result.out, "kind      safetensors\n");
    assert_contains(result.out, "tensors   2\nelements  10\nelements_by_dtype:\n  F32  10\n");
    assert_contains(result.out, "  name  dtype  shape   elements  bytes\n"
                                "  w     F32    [2, 3]         6     24\n"
                                "  bias  F32    [4]            4     16\n");
    program_free(&result);
}

static void safetensors_show_their_metadata(void **state)
{
    (void)state;
    assert_prints("tensors", "metadata:\n  format  pt\n  note:\n    two\n    lines\n");
}

/* U+009B starts a command to a terminal as ESC [ does. */
static const char hostile[] = "{\"__metadata__\":{\"no\xc2\x9b\":\"\\u001b[2J\xc2\x9b"
                              "2J\"},\"w\xc2\x9b\":{\"dtype\":\"F32\",\"shape\":[1],"
                              "\"data_offsets\":[0,4]}}  ";

static void names_and_texts_of_others_do_not_steer_a_terminal(void **state)
{
    (void)state;
    char bytes[256] = {(char)(sizeof hostile - 1)};
    memcpy(bytes + 8, hostile, sizeof hostile - 1);
    must(mr_file_write("hostile", bytes, 8 + sizeof hostile - 1 + 4));
    assert_prints("hostile", "  no\\xc2\\x9b  \\x1b[2J\\xc2\\x9b2J\n");
    assert_prints("hostile", "\n  w\\xc2\\x9b  F32");
    assert_prints("hostile --json", "\"no\\u009B\": \"\\u001B[2J\\u009B2J\"");
    program_result text = info("hostile"), json = info("hostile --json");
    assert_null(strstr(text.out, "\xc2\x9b"));
    assert_null(strstr(json.out, "\xc2\x9b"));
    program_free(&text);
    program_free(&json);
    must(mr_file_write("hostile", bytes, 8 + sizeof hostile - 1));
    assert_error("hostile", 1, "w\\xc2\\x9b");
}

/* More scores than a table has columns for. */
static void an_evaluation_of_many_scores_is_cut(void **state)
{
    (void)state;
    enum { SCORES = 100 };
    mr_runlog *log;
    char text[SCORES][16];
    const char *names[SCORES];
    double scores[SCORES] = {0};
    for (int i = 0; i < SCORES; i++) {
        snprintf(text[i], sizeof text[i], "s%03d", i);
        names[i] = text[i];
    }
    must(mr_runlog_create("many", &log));
    must(mr_runlog_eval(log, "wide", 1, names, scores, SCORES, NULL, 0));
    must(mr_runlog_close(&log));
    assert_prints("many", "and 21 more columns\n");
    assert_prints("many --json", "\"s099\": 0");
}

static void cut_safetensors_name_the_tensor(void **state)
{
    (void)state;
    program_write("cut_tensors", "%s", "");
    char *bytes = program_read("tensors", NULL);
    must(mr_file_write("cut_tensors", bytes, 140));
    mr_free(bytes);
    assert_error("cut_tensors", 1, "format: cut_tensors: ");
}

static void a_model_folder_shows_configuration_and_totals(void **state)
{
    (void)state;
    program_write("save.yaml", "run: {name: save, output: out, save_model: saved}\n"
                               "model: {config: tiny.json, init: random}\n"
                               "task: {name: uuid, pairs: 4}\nmethod: {name: fft}\n"
                               "train: {steps: 1, global_batch: 4}\neval: {items: 1}\n");
    program_result result = program_succeed((program_setting){0}, "run save.yaml");
    program_free(&result);
    result = info("saved --json");
    json_t *root = json_loads(result.out, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    const json_t *config = json_object_get(root, "config");
    assert_int_equal(json_integer_value(json_object_get(config, "hidden_size")), 32);
    assert_int_equal(json_integer_value(json_object_get(root, "elements")),
                     json_integer_value(json_object_get(root, "parameters")));
    json_decref(root);
    program_free(&result);
}

static void a_model_folder_without_weights_has_no_tensors(void **state)
{
    (void)state;
    program_make_folder("bare");
    program_write_shape("bare/config.json", 32, 259, false);
    assert_prints("bare", "\ntensors     0\n");
}

static void a_configuration_counts_its_parameters(void **state)
{
    (void)state;
    program_write("shape", "{\"model_type\": \"llama\", \"hidden_size\": 8, "
                           "\"intermediate_size\": 16, \"num_hidden_layers\": 2, "
                           "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, "
                           "\"vocab_size\": 100, \"tie_word_embeddings\": false}");
    /* 2 x 800 words, 2 layers of (2 x 64 + 2 x 32 + 3 x 128 + 16), 8 of the final norm. */
    assert_prints("shape", "\nparameters  2,792\n");
}

static void an_index_shows_tensors_by_file(void **state)
{
    (void)state;
    program_write("index", "{\"metadata\": {\"total_size\": 80}, \"weight_map\": "
                           "{\"a\": \"one\", \"b\": \"two\", \"c\": \"one\"}}");
    assert_prints("index", "tensors_by_file:\n  one  2\n  two  1\n");
}

static void an_index_of_no_files_is_refused(void **state)
{
    (void)state;
    program_write("numbers", "{\"weight_map\": {\"a\": 1}}");
    assert_error("numbers", 1,
                 "format: numbers: weight_map: 'a': expected a file, found a whole number");
}

static void runs_are_counted_and_named(void **state)
{
    (void)state;
    assert_prints("runs", "runs  2\nnames:\n  study.lr0.001\n  study.lr0.003\n");
}

static void errors_of_a_yaml_have_their_place(void **state)
{
    (void)state;
    program_write("wrong", "train: {steps: 3}\nmethod: {rr: 8}\n");
    assert_error("wrong", 1, "config: wrong:2:10: unknown key \"method.rr\"");
}

static void templates_show_their_names(void **state)
{
    (void)state;
    program_write("t.yaml", "about: some\nreads: messages\n"
                            "forms: [{role: a, spans: [{field: b}]}]\n");
    assert_prints("t.yaml", "template");
    assert_prints("t.yaml", "messages, role, a, b");
    program_write("t.yaml", "reads: fields\nforms: [{spans: [{fields: b}]}]\n");
    assert_error("t.yaml", 1, "config: t.yaml:2:27: unknown key \"fields\"");
}

static void two_ranks_read_the_runs_once(void **state)
{
    (void)state;
    program_result result = program_succeed((program_setting){.ranks = 2}, "info runs");
    assert_int_equal(program_lines_with(result.out, "run configuration"), 1);
    program_free(&result);
}

#define WHOLE "out/whole.checkpoints"

static void a_checkpoint_shows_its_run(void **state)
{
    (void)state;
    program_result result = info(WHOLE "/step-00000005");
    assert_contains(result.out, "kind       checkpoint\nfile       " WHOLE "/step-00000005\n"
                                "condition  sound\nstep       5\nranks      1\n");
    assert_contains(result.out, "\nrun        whole\ntask       uuid\nmethod     mora\n"
                                "skipped    0\n");
    program_free(&result);
}

static void a_checkpoint_shows_its_tensors(void **state)
{
    (void)state;
    program_result result = info(WHOLE "/step-00000004");
    assert_contains(result.out, "tensors    42\ntensor:\n"
                                "  name                                               shape\n"
                                "  model.layers.0.self_attn.q_proj.mora_M             [16, 16]\n"
                                "  model.layers.0.self_attn.q_proj.mora_M.exp_avg     [16, 16]\n");
    program_free(&result);
}

static void a_checkpoint_is_known_under_any_name(void **state)
{
    (void)state;
    save_at("moved", 2);
    assert_int_equal(rename("out/moved.checkpoints/step-00000002", "kept"), 0);
    assert_prints("kept", "\nstep       2\n");
}

static void config_shows_the_configuration_of_a_checkpoint(void **state)
{
    (void)state;
    assert_prints(WHOLE "/step-00000002 --config", "\n    stop_after: 2\n");
}

static void a_checkpoint_hides_its_configuration(void **state)
{
    (void)state;
    program_result result = info(WHOLE "/step-00000002");
    assert_null(strstr(result.out, "stop_after"));
    program_free(&result);
}

static void a_checkpoint_reads_as_json(void **state)
{
    (void)state;
    program_result result = info(WHOLE "/step-00000005 --json");
    json_t *root = json_loads(result.out, JSON_REJECT_DUPLICATES, NULL);
    struct stat shard;
    assert_non_null(root);
    assert_int_equal(stat(WHOLE "/step-00000005/shard-00000-of-00001.safetensors", &shard), 0);
    assert_int_equal(json_integer_value(json_object_get(root, "bytes")), shard.st_size);
    assert_int_equal(json_array_size(json_object_get(root, "tensor")), 42);
    json_decref(root);
    program_free(&result);
}

static void two_ranks_read_a_checkpoint_once(void **state)
{
    (void)state;
    program_result result =
        program_succeed((program_setting){.ranks = 2}, "info " WHOLE "/step-00000005");
    assert_int_equal(program_lines_with(result.out, "condition  sound"), 1);
    program_free(&result);
}

static void a_checkpoint_tells_the_ranks_that_saved_it(void **state)
{
    (void)state;
    program_result result =
        program_succeed((program_setting){.ranks = 2},
                        "run saving.yaml --set run.name=two --set train.stop_after=5");
    program_free(&result);
    assert_prints("out/two.checkpoints/step-00000005", "\nranks      2\n");
}

static void a_damaged_checkpoint_names_the_file(void **state)
{
    (void)state;
    save_at("damaged", 5);
    damage("out/damaged.checkpoints/step-00000005/shard-00000-of-00001.safetensors", 5000);
    assert_error("out/damaged.checkpoints/step-00000005", 1,
                 "format: out/damaged.checkpoints/step-00000005: shard-00000-of-00001.safetensors: "
                 "checksum differs");
}

static void a_changed_manifest_of_a_checkpoint_is_named(void **state)
{
    (void)state;
    save_at("changed", 5);
    replace_text("out/changed.checkpoints/step-00000005/manifest.json", "\"threads\": 1",
                 "\"threads\": 2");
    assert_error("out/changed.checkpoints/step-00000005", 1,
                 "format: out/changed.checkpoints/step-00000005: manifest.json: checksum differs");
}

static void checkpoints_are_listed_the_latest_first(void **state)
{
    (void)state;
    program_result result = info(WHOLE);
    assert_contains(result.out, "kind               checkpoints of a run\n");
    assert_contains(result.out, "checkpoints        3\nsound              3\n"
                                "newest_sound_step  5\n");
    const char *fifth = strstr(result.out, "\n     5  step-00000005      1  ");
    const char *fourth = strstr(result.out, "\n     4  step-00000004      1  ");
    assert_true(fifth && fourth && fifth < fourth);
    program_free(&result);
}

/* A list is no failure for what is wrong in it; two ranks say the same as one. */
static void damaged_checkpoints_are_listed_with_what_is_wrong(void **state)
{
    (void)state;
    save_three("list");
    damage("out/list.checkpoints/step-00000005/shard-00000-of-00001.safetensors", 5000);
    assert_int_equal(unlink("out/list.checkpoints/step-00000004/manifest.json"), 0);
    assert_int_equal(
        rename("out/list.checkpoints/step-00000002", "out/list.checkpoints/step-00000003"), 0);
    program_make_folder("out/list.checkpoints/.step-00000006.partial");
    program_result alone = info("out/list.checkpoints");
    assert_contains(alone.out, "checkpoints        4\nsound              0\n"
                               "newest_sound_step  -\n");
    assert_contains(alone.out, "  not whole: being written, or left by a kill\n");
    assert_contains(alone.out, "  shard-00000-of-00001.safetensors: checksum differs\n");
    assert_contains(alone.out, "  manifest.json: No such file or directory\n");
    assert_contains(alone.out, "  manifest.json: step: expected 3, found 2\n");
    program_result two =
        program_succeed((program_setting){.ranks = 2}, "info out/list.checkpoints");
    assert_string_equal(two.out, alone.out);
    program_free(&alone);
    program_free(&two);
}

static void checkpoints_read_as_json(void **state)
{
    (void)state;
    program_result result = info(WHOLE " --json");
    json_t *root = json_loads(result.out, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    const json_t *last = json_array_get(json_object_get(root, "checkpoint"), 2);
    assert_int_equal(json_integer_value(json_object_get(last, "step")), 2);
    assert_string_equal(json_string_value(json_object_get(last, "condition")), "sound");
    json_decref(root);
    program_free(&result);
}

static void token_shards_show_tokenizer_and_shards(void **state)
{
    (void)state;
    program_result result = info("shards");
    assert_contains(result.out, "kind         token shards\nfile         shards\n");
    assert_contains(result.out, "\nshards       1\ntoken_bytes  2\ntokenizer:\n"
                                "  name        bytes\n  sha256      -\n");
    program_free(&result);
}

static void token_shards_show_splits_errors_and_inputs(void **state)
{
    (void)state;
    program_result result = info("shards");
    assert_contains(result.out, "splits:\n"
                                "  split    documents  tokens  learned  bytes_of_text  shards\n"
                                "  train            3      14       14             11       1\n"
                                "  heldout          0       0        0              0       0\n"
                                "errors:\n  utf8       0\n  json       0\n");
    assert_contains(result.out, "input:\n"
                                "  path       format  bytes  documents  tokens  errors\n"
                                "  lines.txt  text       14          3      14       0\n");
    program_free(&result);
}

static void token_shards_read_as_json(void **state)
{
    (void)state;
    program_result result = info("shards --json");
    json_t *root = json_loads(result.out, JSON_REJECT_DUPLICATES, NULL);
    const char *tokenizer = "";
    int shards = 0, vocabulary = 0;
    assert_int_equal(json_unpack(root, "{s:i, s:{s:s, s:i}}", "shards", &shards, "tokenizer",
                                 "name", &tokenizer, "vocabulary", &vocabulary),
                     0);
    assert_int_equal(shards, 1);
    assert_string_equal(tokenizer, "bytes");
    assert_int_equal(vocabulary, 259);
    json_decref(root);
    program_free(&result);
}

static void a_cut_shard_is_named(void **state)
{
    (void)state;
    make_shards("cut_shards");
    assert_int_equal(truncate("cut_shards/train-00000-000000.bin", 6), 0);
    assert_error(
        "cut_shards", 1,
        "format: cut_shards/train-00000-000000.bin: expected 28 bytes (14 tokens), found 6");
}

static void a_wrong_manifest_of_token_shards_is_named(void **state)
{
    (void)state;
    make_shards("miscounted");
    replace_text("miscounted/manifest.json", "\"documents\": 3", "\"documents\": -3");
    assert_error("miscounted", 1,
                 "format: miscounted/manifest.json: documents: expected a count, found -3");
}

static void a_manifest_of_another_kind_is_named(void **state)
{
    (void)state;
    program_make_folder("other");
    program_write("other/manifest.json", "{\"format\": \"luggage\"}");
    assert_error("other", 1,
                 "format: other/manifest.json: format: expected 'mora-checkpoint' or 'mora "
                 "tokens', found 'luggage'");
}

static void a_manifest_without_a_format_is_named(void **state)
{
    (void)state;
    program_make_folder("formless");
    program_write("formless/manifest.json", "{\"format\": 7}");
    assert_error("formless", 1,
                 "format: formless/manifest.json: format: expected 'mora-checkpoint' or 'mora "
                 "tokens', found a whole number");
}

static void a_garbled_manifest_has_its_place(void **state)
{
    (void)state;
    program_make_folder("garbled");
    program_write("garbled/manifest.json", "{\"format\": \"mora tokens\",\n  oops}");
    assert_error("garbled", 1, "format: garbled/manifest.json:2:");
}

static const char unknown[] =
    ": not a file this program knows: expected a run log, spectra, checkpoints, "
    "token shards, safetensors, a model folder, its config.json, rows of an evaluation or the "
    "YAML of runs or of a template, found ";

static void assert_unknown(const char *path, const char *found)
{
    char message[512];
    snprintf(message, sizeof message, "format: %s%s%s", path, unknown, found);
    assert_error(path, 1, message);
}

static void text_of_another_kind_is_unknown(void **state)
{
    (void)state;
    program_write("note", "dear reader: this\nis no run:\n  train: 3\n");
    assert_unknown("note", "text without a section of a configuration");
}

static void bytes_of_another_kind_are_unknown(void **state)
{
    (void)state;
    must(mr_file_write("bytes", "\x7f\0EL", 4));
    assert_unknown("bytes", "bytes 7f 00 45 4c ...");
}

static void an_empty_file_is_unknown(void **state)
{
    (void)state;
    program_write("nothing", "%s", "");
    assert_unknown("nothing", "an empty file");
}

static void json_of_another_kind_is_unknown(void **state)
{
    (void)state;
    program_write("object", "{\"a\": 1}");
    assert_unknown("object", "a JSON object without model_type and weight_map");
}

static void a_folder_of_another_kind_is_unknown(void **state)
{
    (void)state;
    program_make_folder("folder");
    assert_unknown("folder", "a folder without config.json and manifest.json");
}

static void a_device_is_unknown(void **state)
{
    (void)state;
    assert_unknown("/dev/null", "neither a file nor a folder");
}

static void broken_json_has_its_place(void **state)
{
    (void)state;
    program_write("broken", "{\"model_type\": \"llama\",\n  oops}");
    assert_error("broken", 1, "format: broken:2:");
}

static void a_missing_file_is_named(void **state)
{
    (void)state;
    assert_error("nowhere", 1, "i/o: cannot open 'nowhere': No such file or directory");
}

static void no_file_is_bad_usage(void **state)
{
    (void)state;
    assert_error("--json", 2, "mora info: expected a file or folder; usage: mora info PATH");
}

/* Without a device, or in a build without, it says what is needed. */
static void devices_are_described_or_asked_for(void **state)
{
    (void)state;
    program_result result = program_run((program_setting){0}, "info --device");
    if (result.exit_code == 0) {
        assert_contains(result.out, "devices of this node");
        assert_contains(result.out, "multiprocessors");
    } else {
        assert_contains(result.err, "CUDA");
        assert_null(strstr(result.err, "parallel.backend"));
        assert_string_equal(result.out, "");
    }
    program_free(&result);
    assert_error("--device file", 2, "expected nothing beside --device but --json");
    assert_error("--device --config", 2, "expected nothing beside --device but --json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_log_shows_its_attributes),
        cmocka_unit_test(a_run_log_shows_ends_and_range_of_series),
        cmocka_unit_test(a_run_log_shows_its_evaluations),
        cmocka_unit_test(a_run_log_shows_its_events),
        cmocka_unit_test(a_run_log_hides_its_configuration),
        cmocka_unit_test(config_shows_the_configuration_of_a_run_log),
        cmocka_unit_test(a_run_log_reads_as_json),
        cmocka_unit_test(a_file_whose_name_is_no_text_reads_as_json),
        cmocka_unit_test(a_cut_run_log_is_not_sound),
        cmocka_unit_test(safetensors_show_every_tensor),
        cmocka_unit_test(safetensors_show_their_metadata),
        cmocka_unit_test(names_and_texts_of_others_do_not_steer_a_terminal),
        cmocka_unit_test(an_evaluation_of_many_scores_is_cut),
        cmocka_unit_test(cut_safetensors_name_the_tensor),
        cmocka_unit_test(a_model_folder_shows_configuration_and_totals),
        cmocka_unit_test(a_model_folder_without_weights_has_no_tensors),
        cmocka_unit_test(a_configuration_counts_its_parameters),
        cmocka_unit_test(an_index_shows_tensors_by_file),
        cmocka_unit_test(an_index_of_no_files_is_refused),
        cmocka_unit_test(runs_are_counted_and_named),
        cmocka_unit_test(errors_of_a_yaml_have_their_place),
        cmocka_unit_test(templates_show_their_names),
        cmocka_unit_test(two_ranks_read_the_runs_once),
        cmocka_unit_test(a_checkpoint_shows_its_run),
        cmocka_unit_test(a_checkpoint_shows_its_tensors),
        cmocka_unit_test(a_checkpoint_is_known_under_any_name),
        cmocka_unit_test(config_shows_the_configuration_of_a_checkpoint),
        cmocka_unit_test(a_checkpoint_hides_its_configuration),
        cmocka_unit_test(a_checkpoint_reads_as_json),
        cmocka_unit_test(two_ranks_read_a_checkpoint_once),
        cmocka_unit_test(a_checkpoint_tells_the_ranks_that_saved_it),
        cmocka_unit_test(a_damaged_checkpoint_names_the_file),
        cmocka_unit_test(a_changed_manifest_of_a_checkpoint_is_named),
        cmocka_unit_test(checkpoints_are_listed_the_latest_first),
        cmocka_unit_test(damaged_checkpoints_are_listed_with_what_is_wrong),
        cmocka_unit_test(checkpoints_read_as_json),
        cmocka_unit_test(token_shards_show_tokenizer_and_shards),
        cmocka_unit_test(token_shards_show_splits_errors_and_inputs),
        cmocka_unit_test(token_shards_read_as_json),
        cmocka_unit_test(a_cut_shard_is_named),
        cmocka_unit_test(a_wrong_manifest_of_token_shards_is_named),
        cmocka_unit_test(a_manifest_of_another_kind_is_named),
        cmocka_unit_test(a_manifest_without_a_format_is_named),
        cmocka_unit_test(a_garbled_manifest_has_its_place),
        cmocka_unit_test(text_of_another_kind_is_unknown),
        cmocka_unit_test(bytes_of_another_kind_are_unknown),
        cmocka_unit_test(an_empty_file_is_unknown),
        cmocka_unit_test(json_of_another_kind_is_unknown),
        cmocka_unit_test(a_folder_of_another_kind_is_unknown),
        cmocka_unit_test(a_device_is_unknown),
        cmocka_unit_test(broken_json_has_its_place),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(no_file_is_bad_usage),
        cmocka_unit_test(devices_are_described_or_asked_for),
    };
    return cmocka_run_group_tests_name("app_info", tests, make_files, folder_leave);
}
