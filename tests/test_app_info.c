#include "base/file.h"
#include "config/config.h"
#include "program.h"
#include "store/runlog.h"
#include "store/safetensors.h"

#include <jansson.h>

#include <unistd.h>

static void must(mr_status status)
{
    if (status != MR_OK) fail_msg("%s", mr_message());
}

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

/* The name tells nothing: kinds are recognised by content. */
static void make_log(const char *path)
{
    mr_config config;
    mr_text text = {0};
    mr_runlog *log;
    static const char *const names[] = {"accuracy", "exact"};
    const double scores[2][2] = {{0.25, 0}, {0.5, 0.125}};
    mr_config_defaults(&config);
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

static void two_ranks_read_the_runs_once(void **state)
{
    (void)state;
    program_result result = program_succeed((program_setting){.ranks = 2}, "info runs");
    assert_int_equal(program_lines_with(result.out, "run configuration"), 1);
    program_free(&result);
}

static const char unknown[] = ": not a file this program knows: expected a run log, safetensors, "
                              "a model folder, its config.json or the YAML of runs, found ";

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
    assert_unknown("folder", "a folder without config.json");
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
    assert_error("--json", 2, "mora info: expected a file or folder; usage: mora info FILE");
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
        cmocka_unit_test(a_cut_run_log_is_not_sound),
        cmocka_unit_test(safetensors_show_every_tensor),
        cmocka_unit_test(safetensors_show_their_metadata),
        cmocka_unit_test(cut_safetensors_name_the_tensor),
        cmocka_unit_test(a_model_folder_shows_configuration_and_totals),
        cmocka_unit_test(a_model_folder_without_weights_has_no_tensors),
        cmocka_unit_test(a_configuration_counts_its_parameters),
        cmocka_unit_test(an_index_shows_tensors_by_file),
        cmocka_unit_test(an_index_of_no_files_is_refused),
        cmocka_unit_test(runs_are_counted_and_named),
        cmocka_unit_test(errors_of_a_yaml_have_their_place),
        cmocka_unit_test(two_ranks_read_the_runs_once),
        cmocka_unit_test(text_of_another_kind_is_unknown),
        cmocka_unit_test(bytes_of_another_kind_are_unknown),
        cmocka_unit_test(an_empty_file_is_unknown),
        cmocka_unit_test(json_of_another_kind_is_unknown),
        cmocka_unit_test(a_folder_of_another_kind_is_unknown),
        cmocka_unit_test(a_device_is_unknown),
        cmocka_unit_test(broken_json_has_its_place),
        cmocka_unit_test(a_missing_file_is_named),
        cmocka_unit_test(no_file_is_bad_usage),
    };
    return cmocka_run_group_tests_name("app_info", tests, make_files, program_leave_folder);
}
