#include "base/file.h"
#include "folder.h"
#include "store/hf_impl.h"
#include "store/json.h"
#include "test.h"

#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const file_names[] = {"config.json",
                                         "model.safetensors",
                                         "model.safetensors.index.json",
                                         "model-00001-of-00002.safetensors",
                                         "model-00002-of-00002.safetensors",
                                         "pytorch_model.bin",
                                         "consolidated.safetensors",
                                         "adapter_config.json",
                                         "adapter.safetensors",
                                         "generation_config.json",
                                         "mora.json"};
enum { FILE_NAMES = sizeof file_names / sizeof *file_names };

static const char folder[] = "model", config_path[] = "model/config.json";

static int enter(void **state)
{
    if (folder_enter(state) != 0) return -1;
    return mkdir(folder, 0700);
}

static int empty_folder(void **state)
{
    (void)state;
    for (int i = 0; i < FILE_NAMES; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", folder, file_names[i]);
        unlink(path);
    }
    return 0;
}

static int leave(void **state)
{
    empty_folder(state);
    rmdir(folder);
    return folder_leave_empty(state);
}

static void put_text(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    must(mr_file_write(path, text, strlen(text)));
}

/* Writes a file whose every tensor is [2] of its own index. */
static void put_weights(const char *file_name, const char *const *names, int64_t count)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, file_name);
    mr_safetensors_spec specs[8];
    for (int64_t i = 0; i < count; i++)
        specs[i] = (mr_safetensors_spec){.name = names[i], .dims = 1, .shape = {2}};
    mr_safetensors_writer *writer;
    must(mr_safetensors_create(path, specs, count, NULL, 0, &writer));
    for (int64_t i = 0; i < count; i++)
        must(mr_safetensors_write(writer, i, 0, (const float[]){(float)i, (float)i}, 2));
    must(mr_safetensors_finish(&writer));
}

static int own_stderr = -1;

/* Sends what is warned of to a file, until assert_warned. */
static void listen_to_warnings(void)
{
    fflush(stderr);
    own_stderr = dup(STDERR_FILENO);
    int file = open("warnings", O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(own_stderr >= 0 && file >= 0 && dup2(file, STDERR_FILENO) >= 0);
    close(file);
}

/* Expects a part of the one warning since then; NULL: none. */
static void assert_warned(const char *part)
{
    char *text;
    fflush(stderr);
    assert_true(dup2(own_stderr, STDERR_FILENO) >= 0);
    close(own_stderr);
    must(mr_file_read("warnings", MR_MEM_OTHER, &text, NULL));
    unlink("warnings");
    const char *first = strstr(text, "mora: warning: ");
    bool right = part ? first && strstr(text, part) : !first;
    if (!right) print_error("expected %s, found \"%s\"\n", part ? part : "no warning", text);
    mr_free(text);
    assert_true(right);
}

#define SIZES                                                                                      \
    "\"hidden_size\":64,\"intermediate_size\":172,\"num_hidden_layers\":5,"                        \
    "\"num_attention_heads\":8,\"vocab_size\":512"
#define LLAMA "\"model_type\":\"llama\","

static void reads(const char *text, mr_hf_config *config)
{
    put_text("config.json", text);
    must(mr_hf_config_read(config_path, config));
}

/* A config.json that must be refused, and a part of the message behind the path. */
typedef struct bad_config {
    const char *text;
    const char *message;
} bad_config;

static void refuses(void **state)
{
    const bad_config *bad = *state;
    put_text("config.json", bad->text);
    mr_hf_config config;
    assert_int_equal(mr_hf_config_read(config_path, &config), MR_ERR_FORMAT);
    assert_contains(mr_message(), config_path);
    assert_contains(mr_message(), bad->message);
}

static void absent_keys_have_the_defaults_of_the_architecture(void **state)
{
    (void)state;
    mr_hf_config config;
    reads("{" LLAMA SIZES "}", &config);
    assert_int_equal(config.num_key_value_heads, 8);
    assert_int_equal(config.head_dim, 8);
    assert_int_equal(config.max_position_embeddings, 2048);
    assert_true(config.rms_norm_eps == 1e-6);
    assert_true(config.rope_theta == 10000.0);
    assert_true(config.initializer_range == 0.02);
    assert_false(config.tie_word_embeddings);
    assert_int_equal(config.bos_token_id, 1);
    assert_int_equal(config.eos_count, 1);
    assert_int_equal(config.eos_token_id[0], 2);
}

static void rope_theta_is_read_at_the_top_level(void **state)
{
    (void)state;
    mr_hf_config config;
    reads("{" LLAMA SIZES ",\"rope_theta\":500000,\"rope_scaling\":null}", &config);
    assert_true(config.rope_theta == 500000.0);
}

static void rope_theta_is_read_in_rope_parameters(void **state)
{
    (void)state;
    mr_hf_config config;
    reads("{" LLAMA SIZES
          ",\"rope_parameters\":{\"rope_theta\":500000.0,\"rope_type\":\"default\"}}",
          &config);
    assert_true(config.rope_theta == 500000.0);
}

/* Both spellings of a scaling, alone and side by side. */
static void scaled_positions_are_read_in_both_places(void **state)
{
    (void)state;
#define LLAMA3                                                                                     \
    "\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"                             \
    "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192"
    static const char *const texts[] = {
        "{" LLAMA SIZES ",\"rope_theta\":500000,\"rope_scaling\":{" LLAMA3 "}}",
        "{" LLAMA SIZES ",\"rope_parameters\":{\"rope_theta\":500000," LLAMA3 "}}",
        "{" LLAMA SIZES ",\"rope_theta\":500000,\"rope_scaling\":{" LLAMA3
        "},\"rope_parameters\":{\"rope_theta\":500000," LLAMA3 "}}",
    };
    mr_hf_config config;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        reads(texts[i], &config);
        assert_true(config.rope_theta == 500000 && config.rope.type == MR_HF_ROPE_LLAMA3);
        assert_true(config.rope.factor == 8 && config.rope.low_freq_factor == 1);
        assert_true(config.rope.high_freq_factor == 4);
        assert_int_equal(config.rope.original_max_position_embeddings, 8192);
    }
    reads("{" LLAMA SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}", &config);
    assert_true(config.rope.type == MR_HF_ROPE_LINEAR && config.rope.factor == 2);
    assert_true(config.rope_theta == 10000);
}

static void another_scaling_is_another_model(void **state)
{
    (void)state;
    mr_hf_config config;
    char plain[MR_HF_CONFIG_TEXT], scaled[MR_HF_CONFIG_TEXT], differing[MR_HF_CONFIG_TEXT];
    reads("{" LLAMA SIZES "}", &config);
    mr_hf_config_text(&config, plain);
    reads("{" LLAMA SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}}", &config);
    mr_hf_config_text(&config, scaled);
    assert_true(mr_hf_config_differs(scaled, plain, false, differing));
    assert_string_equal(differing, "rope_type linear instead of default");
    reads("{" LLAMA SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":3}}", &config);
    mr_hf_config_text(&config, plain);
    assert_true(mr_hf_config_differs(scaled, plain, false, differing));
    assert_string_equal(differing, "rope_factor 2 instead of 3");
}

static void a_width_that_is_not_used_is_passed_over(void **state)
{
    (void)state;
    mr_hf_config config;
    reads("{" LLAMA SIZES ",\"sliding_window\":4096,\"use_sliding_window\":false,"
          "\"num_local_experts\":0,\"layer_types\":[\"full_attention\"]}",
          &config);
    reads("{" LLAMA SIZES ",\"sliding_window\":null,\"layer_types\":null}", &config);
    assert_int_equal(config.hidden_size, 64);
}

static void keys_that_change_nothing_are_passed_over(void **state)
{
    (void)state;
    mr_hf_config config;
    reads("{" LLAMA SIZES ",\"hidden_act\":\"swish\",\"logit_scale\":1.0,\"clip_qkv\":null,"
          "\"qk_norm\":false,\"rotary_pct\":1,\"rope_parameters\":{\"rope_theta\":1000}}",
          &config);
    assert_true(config.rope_theta == 1000.0);
}

/* What the configuration of generation says goes before what config.json says. */
static void end_ids_of_generation_go_first(void **state)
{
    (void)state;
    mr_hf_config config;
    reads("{" LLAMA SIZES ",\"eos_token_id\":7}", &config);
    must(mr_hf_generation_read(folder, &config));
    assert_true(config.eos_count == 1 && config.eos_token_id[0] == 7);
    put_text("generation_config.json", "{\"temperature\": 0.6}");
    must(mr_hf_generation_read(folder, &config));
    assert_true(config.eos_count == 1 && config.eos_token_id[0] == 7);
    put_text("generation_config.json", "{\"eos_token_id\": [11, 12]}");
    must(mr_hf_generation_read(folder, &config));
    assert_true(config.eos_count == 2 && config.eos_token_id[1] == 12);
    put_text("generation_config.json", "{\"eos_token_id\": [11, 512]}");
    assert_int_equal(mr_hf_generation_read(folder, &config), MR_ERR_FORMAT);
    assert_contains(mr_message(), "model/generation_config.json: eos_token_id: expected a token id "
                                  "in 0..511 (vocab_size 512), found 512");
}

static void null_heads_count_as_absent(void **state)
{
    (void)state;
    mr_hf_config config;
    reads("{" LLAMA SIZES ",\"num_key_value_heads\":null,\"head_dim\":null}", &config);
    assert_int_equal(config.num_key_value_heads, 8);
    assert_int_equal(config.head_dim, 8);
}

static void head_dim_may_differ_from_the_quotient(void **state)
{
    (void)state;
    mr_hf_config config;
    reads("{" LLAMA SIZES ",\"num_key_value_heads\":2,\"head_dim\":32}", &config);
    assert_int_equal(config.num_key_value_heads, 2);
    assert_int_equal(config.head_dim, 32);
}

static void end_ids_may_be_a_list(void **state)
{
    (void)state;
    mr_hf_config config;
    reads("{" LLAMA SIZES ",\"bos_token_id\":5,\"eos_token_id\":[7,9,511]}", &config);
    assert_int_equal(config.bos_token_id, 5);
    assert_int_equal(config.eos_count, 3);
    assert_int_equal(config.eos_token_id[2], 511);
}

static void ids_may_be_null(void **state)
{
    (void)state;
    mr_hf_config config;
    reads("{" LLAMA SIZES ",\"bos_token_id\":null,\"eos_token_id\":null}", &config);
    assert_int_equal(config.bos_token_id, -1);
    assert_int_equal(config.eos_count, 0);
}

static void a_byte_order_mark_is_passed_over(void **state)
{
    (void)state;
    mr_hf_config config;
    reads("\xef\xbb\xbf{" LLAMA SIZES "}", &config);
    assert_int_equal(config.hidden_size, 64);
}

static void an_id_of_minus_1_is_none(void **state)
{
    (void)state;
    mr_hf_config config;
    listen_to_warnings();
    reads("{" LLAMA SIZES ",\"bos_token_id\":-1,\"eos_token_id\":-1}", &config);
    assert_warned("model/config.json: bos_token_id: -1 is no token id and is taken as none");
    assert_int_equal(config.bos_token_id, -1);
    assert_int_equal(config.eos_count, 0);
    reads("{" LLAMA SIZES ",\"eos_token_id\":[7,-1,9]}", &config);
    assert_int_equal(config.eos_count, 2);
    assert_int_equal(config.eos_token_id[1], 9);
    reads("{" LLAMA SIZES ",\"eos_token_id\":[]}", &config);
    assert_int_equal(config.eos_count, 0);
}

static void dropout_of_attention_is_warned_of(void **state)
{
    (void)state;
    mr_hf_config config;
    listen_to_warnings();
    reads("{" LLAMA SIZES ",\"attention_dropout\":0.1}", &config);
    assert_warned("model/config.json: attention_dropout: 0.1 is not applied");
    listen_to_warnings();
    reads("{" LLAMA SIZES ",\"attention_dropout\":0.0}", &config);
    assert_warned(NULL);
}

static void code_of_a_models_own_is_warned_of(void **state)
{
    (void)state;
    mr_hf_config config;
    listen_to_warnings();
    reads("{" LLAMA SIZES ",\"auto_map\":{\"AutoModelForCausalLM\":\"modeling_x.X\"}}", &config);
    assert_warned("model/config.json: auto_map: code of the model's own, modeling_x.X, is not run: "
                  "what is computed is a LLaMA");
}

static void a_missing_config_is_named(void **state)
{
    (void)state;
    mr_hf_config config;
    assert_int_equal(mr_hf_config_read("no/config.json", &config), MR_ERR_IO);
    assert_contains(mr_message(), "cannot open 'no/config.json'");
}

static mr_status write_config(const mr_hf_config *config)
{
    json_t *root = mr_hf_config_json(config);
    mr_status status = mr_json_write(config_path, root);
    json_decref(root);
    return status;
}

static void a_written_config_reads_back_to_the_same_values(void **state)
{
    (void)state;
    const mr_hf_config written = {.hidden_size = 96,
                                  .intermediate_size = 100,
                                  .num_hidden_layers = 2,
                                  .num_attention_heads = 6,
                                  .num_key_value_heads = 2,
                                  .head_dim = 8,
                                  .vocab_size = 131,
                                  .max_position_embeddings = 128,
                                  .rms_norm_eps = 1.0 / 3.0 * 1e-5,
                                  .rope_theta = 500000.0,
                                  .rope = {.type = MR_HF_ROPE_LLAMA3,
                                           .factor = 32,
                                           .low_freq_factor = 1,
                                           .high_freq_factor = 4,
                                           .original_max_position_embeddings = 8192},
                                  .initializer_range = 0.02,
                                  .tie_word_embeddings = true,
                                  .bos_token_id = -1,
                                  .eos_count = 2,
                                  .eos_token_id = {3, 4}};
    mr_hf_config got;
    must(write_config(&written));
    must(mr_hf_config_read(config_path, &got));
    assert_int_equal(got.hidden_size, 96);
    assert_int_equal(got.intermediate_size, 100);
    assert_int_equal(got.num_hidden_layers, 2);
    assert_int_equal(got.num_attention_heads, 6);
    assert_int_equal(got.num_key_value_heads, 2);
    assert_int_equal(got.head_dim, 8);
    assert_int_equal(got.vocab_size, 131);
    assert_int_equal(got.max_position_embeddings, 128);
    assert_true(got.rms_norm_eps == written.rms_norm_eps);
    assert_true(got.rope_theta == written.rope_theta);
    char texts[2][MR_HF_CONFIG_TEXT];
    mr_hf_config_text(&written, texts[0]);
    mr_hf_config_text(&got, texts[1]);
    assert_string_equal(texts[0], texts[1]);
    assert_true(got.initializer_range == written.initializer_range);
    assert_true(got.tie_word_embeddings);
    assert_int_equal(got.bos_token_id, -1);
    assert_int_equal(got.eos_count, 2);
    assert_int_equal(got.eos_token_id[1], 4);
}

static void a_written_config_has_short_numbers_and_both_places_of_theta(void **state)
{
    (void)state;
    mr_hf_config config;
    reads("{" LLAMA SIZES ",\"rms_norm_eps\":1e-05,\"rope_theta\":10000}", &config);
    must(write_config(&config));
    char *text;
    must(mr_file_read(config_path, MR_MEM_OTHER, &text, NULL));
    bool as_expected = strstr(text, "\"rms_norm_eps\": 1e-5,") &&
                       strstr(text, "\"rope_parameters\": {\n  \"rope_type\": \"default\",\n"
                                    "  \"rope_theta\": 10000.0\n },\n"
                                    " \"rope_theta\": 10000.0,\n"
                                    " \"rope_scaling\": null\n") &&
                       strstr(text, "\"eos_token_id\": 2,");
    mr_free(text);
    assert_true(as_expected);
}

static mr_status open_folder(mr_hf **weights)
{
    return mr_hf_open(folder, weights);
}

static void json_holds_bytes_that_are_no_text(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *written;
    } cases[] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"quote\" back\\ tab\t bell\a", "\"quote\\\" back\\\\ tab\\t bell\\u0007\""},
        {"caf\xc3\xa9 \xf0\x9f\x98\x80", "\"caf\xc3\xa9 \xf0\x9f\x98\x80\""},
        {"a\xff"
         "b",
         "\"a\\\\xffb\""},
        {"cut \xc3", "\"cut \\\\xc3\""},
        {"\xed\xa0\x80", "\"\\\\xed\\\\xa0\\\\x80\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *text = mr_json_text(cases[i].bytes);
        char *written = json_dumps(text, JSON_ENCODE_ANY);
        assert_non_null(written);
        assert_string_equal(written, cases[i].written);
        free(written);
        json_decref(text);
    }
}

static void a_missing_folder_is_named(void **state)
{
    (void)state;
    mr_hf *weights;
    assert_int_equal(mr_hf_open("no_such_model", &weights), MR_ERR_IO);
    assert_null(weights);
    assert_contains(mr_message(),
                    "cannot open the model folder 'no_such_model': No such file or directory");
}

static void a_file_is_not_a_model_folder(void **state)
{
    (void)state;
    put_text("config.json", "{}");
    mr_hf *weights;
    assert_int_equal(mr_hf_open(config_path, &weights), MR_ERR_IO);
    assert_contains(mr_message(), "not a folder");
}

static void a_folder_without_config_is_refused(void **state)
{
    (void)state;
    mr_hf *weights;
    assert_int_equal(open_folder(&weights), MR_ERR_IO);
    assert_contains(mr_message(), "no config.json in it");
}

static void a_folder_without_weights_is_refused(void **state)
{
    (void)state;
    put_text("config.json", "{}");
    mr_hf *weights;
    assert_int_equal(open_folder(&weights), MR_ERR_IO);
    assert_contains(mr_message(),
                    "neither model.safetensors nor model.safetensors.index.json in it");
}

static void a_pickle_is_not_read(void **state)
{
    (void)state;
    put_text("config.json", "{}");
    put_text("pytorch_model.bin", "");
    mr_hf *weights;
    assert_int_equal(open_folder(&weights), MR_ERR_IO);
    assert_contains(mr_message(), "pytorch_model.bin is not read, save the model as safetensors");
}

/* Checks that a tensor is there and holds what put_weights gave it. */
static void holds(const mr_hf *weights, const char *name, float expected)
{
    const mr_safetensors *file;
    const mr_safetensors_entry *entry;
    float got[2];
    must(mr_hf_find(weights, name, &file, &entry));
    must(mr_safetensors_read_f32(file, entry, 0, 2, got));
    assert_true(got[0] == expected && got[1] == expected);
}

static void a_single_file_is_opened(void **state)
{
    (void)state;
    put_text("config.json", "{}");
    put_weights("model.safetensors", (const char *const[]){"b", "a"}, 2);
    mr_hf *weights;
    must(open_folder(&weights));
    assert_int_equal(mr_hf_count(weights), 2);
    assert_string_equal(mr_hf_name(weights, 0), "a");
    assert_true(mr_hf_has(weights, "b"));
    assert_false(mr_hf_has(weights, "c"));
    holds(weights, "b", 0.0f);
    holds(weights, "a", 1.0f);
    mr_hf_close(&weights);
    assert_null(weights);
}

static void a_missing_tensor_is_named(void **state)
{
    (void)state;
    put_text("config.json", "{}");
    put_weights("model.safetensors", (const char *const[]){"a"}, 1);
    mr_hf *weights;
    must(open_folder(&weights));
    const mr_safetensors *file;
    const mr_safetensors_entry *entry;
    assert_int_equal(mr_hf_find(weights, "lm_head.weight", &file, &entry), MR_ERR_FORMAT);
    mr_hf_close(&weights);
    assert_contains(mr_message(), "no tensor 'lm_head.weight' in its weights");
}

static void put_shards(const char *index)
{
    put_text("config.json", "{}");
    put_weights("model-00001-of-00002.safetensors", (const char *const[]){"x", "a"}, 2);
    put_weights("model-00002-of-00002.safetensors", (const char *const[]){"b", "x"}, 2);
    put_text("model.safetensors.index.json", index);
}

static void shards_are_opened_by_their_index(void **state)
{
    (void)state;
    put_shards("{\"metadata\":{\"total_size\":24},\"weight_map\":{"
               "\"x\":\"model-00002-of-00002.safetensors\","
               "\"a\":\"model-00001-of-00002.safetensors\","
               "\"b\":\"model-00002-of-00002.safetensors\"}}");
    mr_hf *weights;
    must(open_folder(&weights));
    assert_int_equal(mr_hf_count(weights), 3);
    holds(weights, "a", 1.0f);
    holds(weights, "b", 0.0f);
    holds(weights, "x", 1.0f); /* of the file the index names, though the other one has it too */
    mr_hf_close(&weights);
}

/* An index that must be refused. */
static void refuses_index(void **state)
{
    const bad_config *bad = *state;
    put_shards(bad->text);
    mr_hf *weights;
    assert_int_not_equal(open_folder(&weights), MR_OK);
    assert_null(weights);
    assert_contains(mr_message(), "model.safetensors.index.json");
    assert_contains(mr_message(), bad->message);
}

static void an_index_wins_over_a_stray_file_which_is_named(void **state)
{
    (void)state;
    put_shards("{\"weight_map\":{\"x\":\"model-00002-of-00002.safetensors\"}}");
    put_weights("model.safetensors", (const char *const[]){"x", "stray"}, 2);
    put_weights("consolidated.safetensors", (const char *const[]){"norm.weight"}, 1);
    mr_hf *weights;
    listen_to_warnings();
    must(open_folder(&weights));
    bool first = mr_hf_count(weights) == 1;
    holds(weights, "x", 1.0f);
    mr_hf_close(&weights);
    assert_warned(
        "model folder 'model': the weights are those of model.safetensors.index.json; not "
        "read: model");
    assert_true(first);
}

static void every_file_of_the_weights_named_by_its_index_is_no_stray(void **state)
{
    (void)state;
    put_text("config.json", "{}");
    put_weights("model.safetensors", (const char *const[]){"a"}, 1);
    put_text("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"model.safetensors\"}}");
    mr_hf *weights;
    listen_to_warnings();
    must(open_folder(&weights));
    mr_hf_close(&weights);
    assert_warned(NULL);
}

static void a_shard_that_is_gone_is_named_with_the_file_beside_the_index(void **state)
{
    (void)state;
    put_shards("{\"weight_map\":{\"a\":\"model-3.safetensors\"}}");
    put_weights("model.safetensors", (const char *const[]){"a"}, 1);
    mr_hf *weights;
    assert_int_equal(open_folder(&weights), MR_ERR_IO);
    assert_contains(mr_message(), "model.safetensors.index.json: weight_map: ");
    assert_contains(mr_message(), "model-3.safetensors': No such file or directory; there is "
                                  "model.safetensors too, which the index does not name");
}

/* An adapter beside or instead of a model would be left out without a word. */
static void a_folder_with_an_adapter_is_refused(void **state)
{
    (void)state;
    mr_hf *weights;
    put_text("adapter_config.json", "{}");
    assert_int_equal(open_folder(&weights), MR_ERR_FORMAT);
    assert_contains(mr_message(), "model folder 'model': adapter_config.json in it is an adapter, "
                                  "which would be left out: give a folder whose weights it is "
                                  "merged into");
    empty_folder(state);
    put_text("config.json", "{}");
    put_weights("model.safetensors", (const char *const[]){"a"}, 1);
    put_weights("adapter.safetensors", (const char *const[]){"a"}, 1);
    assert_int_equal(open_folder(&weights), MR_ERR_FORMAT);
    assert_contains(mr_message(), "adapter.safetensors in it is an adapter");
}

static void a_folder_whose_save_was_broken_off_is_refused(void **state)
{
    (void)state;
    mr_hf *weights;
    put_text("config.json", "{}");
    put_weights("model.safetensors", (const char *const[]){"a"}, 1);
    put_text("mora.json", "{\"format\": \"mora model\", \"whole\": false}");
    assert_int_equal(open_folder(&weights), MR_ERR_FORMAT);
    assert_contains(mr_message(), "model folder 'model': it is not whole (mora.json): the run that "
                                  "saves there has not ended, or its save was broken off");
    put_text("mora.json", "{\"format\": \"mora model\", \"whole\": true}");
    must(open_folder(&weights));
    mr_hf_close(&weights);
}

static void a_damaged_shard_is_named(void **state)
{
    (void)state;
    put_shards("{\"weight_map\":{\"a\":\"model-00001-of-00002.safetensors\"}}");
    put_text("model-00001-of-00002.safetensors", "short");
    mr_hf *weights;
    assert_int_equal(open_folder(&weights), MR_ERR_FORMAT);
    assert_contains(mr_message(), "model-00001-of-00002.safetensors: 5 bytes are too few");
}

static void reads_a_model_of_the_older_config(void **state)
{
    (void)state;
    char sample[TEST_PATH], path[TEST_PATH + 16];
    test_shared("data/weights/stories260K-hf", sample);
    snprintf(path, sizeof path, "%s/config.json", sample);
    mr_hf_config config;
    must(mr_hf_config_read(path, &config));
    assert_int_equal(config.num_key_value_heads, 4);
    assert_int_equal(config.head_dim, 8);
    assert_true(config.tie_word_embeddings && config.rms_norm_eps == 1e-5);
    mr_hf *weights;
    must(mr_hf_open(sample, &weights));
    const mr_safetensors *file;
    const mr_safetensors_entry *entry;
    must(mr_hf_find(weights, "model.embed_tokens.weight", &file, &entry));
    must(mr_safetensors_expect(file, entry, 2, (const int64_t[]){512, 64}));
    mr_hf_close(&weights);
}

static void reads_a_model_of_the_newer_config(void **state)
{
    (void)state;
    char sample[TEST_PATH], path[TEST_PATH + 16];
    test_shared("golden/gqa/model", sample);
    snprintf(path, sizeof path, "%s/config.json", sample);
    mr_hf_config config;
    must(mr_hf_config_read(path, &config));
    assert_int_equal(config.num_attention_heads, 6);
    assert_int_equal(config.num_key_value_heads, 2);
    assert_true(config.rope_theta == 500000.0 && config.rms_norm_eps == 1e-6);
    assert_true(config.initializer_range == 0.08);
    mr_hf *weights;
    must(mr_hf_open(sample, &weights));
    assert_true(mr_hf_has(weights, "lm_head.weight"));
    mr_hf_close(&weights);
}

#define BAD(function, what, text, part)                                                            \
    {                                                                                              \
        "refuses_" what, function, NULL, empty_folder, &(bad_config)                               \
        {                                                                                          \
            text, part                                                                             \
        }                                                                                          \
    }
#define REFUSES(what, text, part) BAD(refuses, what, text, part)
#define REFUSES_INDEX(what, text, part) BAD(refuses_index, what, text, part)
#define TEST(function) cmocka_unit_test_teardown(function, empty_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(absent_keys_have_the_defaults_of_the_architecture),
        TEST(rope_theta_is_read_at_the_top_level),
        TEST(rope_theta_is_read_in_rope_parameters),
        TEST(scaled_positions_are_read_in_both_places),
        TEST(another_scaling_is_another_model),
        TEST(a_width_that_is_not_used_is_passed_over),
        TEST(keys_that_change_nothing_are_passed_over),
        TEST(end_ids_of_generation_go_first),
        TEST(null_heads_count_as_absent),
        TEST(head_dim_may_differ_from_the_quotient),
        TEST(end_ids_may_be_a_list),
        TEST(ids_may_be_null),
        TEST(a_byte_order_mark_is_passed_over),
        TEST(an_id_of_minus_1_is_none),
        TEST(dropout_of_attention_is_warned_of),
        TEST(code_of_a_models_own_is_warned_of),
        TEST(a_missing_config_is_named),
        REFUSES("broken_json", "{\n  \"a\": }", ":2:"),
        REFUSES("a_list", "[]", "expected an object, found a list"),
        REFUSES("a_key_standing_twice", "{\"a\":1,\"a\":2}", "duplicate object key"),
        REFUSES("a_missing_model_type", "{" SIZES "}",
                "model_type: expected 'llama', found nothing"),
        REFUSES("another_model_type", "{\"model_type\":\"gpt2\"}",
                "model_type: 'gpt2' is not supported, only 'llama'"),
        REFUSES("another_activation", "{" LLAMA SIZES ",\"hidden_act\":\"gelu\"}",
                "hidden_act: 'gelu' is not supported, only 'silu'"),
        REFUSES("attention_bias", "{" LLAMA SIZES ",\"attention_bias\":true}",
                "attention_bias: true is not supported, only false (linears without bias)"),
        REFUSES("mlp_bias", "{" LLAMA SIZES ",\"mlp_bias\":true}",
                "mlp_bias: true is not supported, only false (linears without bias)"),
        REFUSES("a_bias_that_is_no_boolean", "{" LLAMA SIZES ",\"mlp_bias\":1}",
                "mlp_bias: expected true or false, found a whole number"),
        REFUSES("quantized_weights", "{" LLAMA SIZES ",\"quantization_config\":{}}",
                "quantization_config: quantized weights are not supported, only F32, F16, BF16"),
        REFUSES("dynamic_scaling",
                "{" LLAMA SIZES ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2.0}}",
                "config.json: rope_scaling: 'dynamic' is not supported, only 'default', 'linear' "
                "and 'llama3': its frequencies depend on the longest sequence of a call"),
        REFUSES("another_scaling",
                "{" LLAMA SIZES ",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":2.0}}",
                "config.json: rope_parameters: 'yarn' is not supported, only 'default', 'linear' "
                "and 'llama3'"),
        REFUSES("two_rope_types",
                "{" LLAMA SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"rope_type\":\"llama3\"}}",
                "config.json: rope_scaling: rope_type 'llama3', but type 'linear'"),
        REFUSES("a_factor_without_a_type", "{" LLAMA SIZES ",\"rope_scaling\":{\"factor\":2.0}}",
                "rope_scaling.rope_type: expected one beside factor, found nothing"),
        REFUSES("a_scaling_without_factor",
                "{" LLAMA SIZES ",\"rope_scaling\":{\"type\":\"linear\"}}",
                "rope_scaling: factor: expected a number, found nothing"),
        REFUSES("a_factor_that_is_a_text",
                "{" LLAMA SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":\"2\"}}",
                "rope_scaling: factor: expected a number, found a string"),
        REFUSES("a_factor_below_1",
                "{" LLAMA SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0.5}}",
                "rope_scaling: factor: expected a number in 1..1e+06, found 0.5"),
        REFUSES("llama3_without_its_wavelengths",
                "{" LLAMA SIZES ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8}}",
                "rope_scaling: low_freq_factor: expected a number, found nothing"),
        REFUSES("llama3_without_its_first_length",
                "{" LLAMA SIZES ",\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8,"
                "\"low_freq_factor\":1,\"high_freq_factor\":4}}",
                "rope_parameters: original_max_position_embeddings: expected a whole number in "
                "1..1073741824, found nothing"),
        REFUSES("llama3_of_no_range",
                "{" LLAMA SIZES ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
                "\"low_freq_factor\":4,\"high_freq_factor\":4}}",
                "rope_scaling: high_freq_factor: expected more than low_freq_factor 4, found 4"),
        REFUSES("two_scalings",
                "{" LLAMA SIZES ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},"
                "\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":4}}",
                "rope_parameters: not the scaling of rope_scaling ('linear' there, 'linear' here, "
                "or other numbers)"),
        REFUSES("two_nested_thetas",
                "{" LLAMA SIZES ",\"rope_scaling\":{\"rope_theta\":10},"
                "\"rope_parameters\":{\"rope_theta\":20}}",
                "rope_parameters: rope_theta 20, but 10 in rope_scaling"),
        REFUSES("a_window", "{" LLAMA SIZES ",\"sliding_window\":4096}",
                "sliding_window: 4096 is not supported, only null (full attention)"),
        REFUSES("a_window_that_is_no_number", "{" LLAMA SIZES ",\"sliding_window\":\"4096\"}",
                "sliding_window: a string is not supported, only null (full attention)"),
        REFUSES("ropes_of_layers",
                "{" LLAMA SIZES
                ",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\","
                "\"factor\":4}}}",
                "rope_parameters.rope_type: expected one beside full_attention, found nothing"),
        REFUSES("a_scale_of_logits", "{" LLAMA SIZES ",\"logit_scale\":0.0625}",
                "logit_scale: 0.0625 is not supported, only 1 or null"),
        REFUSES("a_cap_of_logits", "{" LLAMA SIZES ",\"final_logit_softcapping\":30}",
                "final_logit_softcapping: 30 is not supported, only 0 or null"),
        REFUSES("norms_of_queries", "{" LLAMA SIZES ",\"use_qk_norm\":true}",
                "use_qk_norm: true is not supported, only 0 or null"),
        REFUSES("another_scale_of_attention",
                "{" LLAMA SIZES ",\"attention_multiplier\":0.0078125}",
                "attention_multiplier: 0.0078125 is not supported, only 0.353553 or null"),
        REFUSES("a_list_where_one_begins", "{" LLAMA SIZES ",\"bos_token_id\":[1]}",
                "bos_token_id: expected a token id or null, found a list"),
        REFUSES("a_window_that_is_used", "{" LLAMA SIZES ",\"use_sliding_window\":true}",
                "use_sliding_window: true is not supported, only false (full attention)"),
        REFUSES("layers_of_other_attention",
                "{" LLAMA SIZES ",\"layer_types\":[\"full_attention\",\"sliding_attention\"]}",
                "layer_types: 'sliding_attention' is not supported, only 'full_attention'"),
        REFUSES("layer_types_that_are_no_list", "{" LLAMA SIZES ",\"layer_types\":{}}",
                "layer_types: expected a list, found an object"),
        REFUSES("experts", "{" LLAMA SIZES ",\"num_local_experts\":8}",
                "num_local_experts: 8 experts are not supported, only layers with one MLP"),
        REFUSES("routed_experts", "{" LLAMA SIZES ",\"n_routed_experts\":64}",
                "n_routed_experts: 64 experts are not supported"),
        REFUSES("a_rope_type_that_is_no_text",
                "{" LLAMA SIZES ",\"rope_parameters\":{\"rope_type\":3}}",
                "rope_parameters.rope_type: expected a string, found a whole number"),
        REFUSES("rope_scaling_that_is_no_object", "{" LLAMA SIZES ",\"rope_scaling\":2}",
                "rope_scaling: expected an object, found a whole number"),
        REFUSES("partial_rotation",
                "{" LLAMA SIZES ",\"rope_parameters\":{\"partial_rotary_factor\":0.5}}",
                "rope_parameters: partial_rotary_factor: 0.5 is not supported, only 1"),
        REFUSES("partial_rotation_of_the_older_key",
                "{" LLAMA SIZES ",\"partial_rotary_factor\":0.25}",
                "config.json: partial_rotary_factor: 0.25 is not supported, only 1"),
        REFUSES("two_thetas",
                "{" LLAMA SIZES ",\"rope_theta\":10000,\"rope_parameters\":{\"rope_theta\":20000}}",
                "rope_theta: 10000 at the top level, but 20000 beside the rope type"),
        REFUSES("a_theta_out_of_range", "{" LLAMA SIZES ",\"rope_theta\":0}",
                "rope_theta: expected a number in 1..1e+12, found 0"),
        REFUSES("a_missing_size", "{" LLAMA "\"hidden_size\":64}",
                "intermediate_size: expected a whole number in 1..16777216, found nothing"),
        REFUSES("a_size_that_is_a_text", "{" LLAMA "\"hidden_size\":\"64\"}",
                "hidden_size: expected a whole number in 1..16777216, found a string"),
        REFUSES("a_size_of_zero", "{" LLAMA "\"hidden_size\":0}",
                "hidden_size: expected a whole number in 1..16777216, found 0"),
        REFUSES("heads_that_do_not_divide", "{" LLAMA SIZES ",\"num_key_value_heads\":3}",
                "num_key_value_heads: 3 does not divide num_attention_heads 8"),
        REFUSES("a_hidden_size_that_heads_do_not_divide",
                "{" LLAMA "\"hidden_size\":60,\"intermediate_size\":1,\"num_hidden_layers\":1,"
                "\"num_attention_heads\":8,\"vocab_size\":5}",
                "num_attention_heads: 8 does not divide hidden_size 60, and there is no head_dim"),
        REFUSES("an_odd_head", "{" LLAMA SIZES ",\"head_dim\":7}",
                "head_dim: 7 is odd, rotary positions need an even one"),
        REFUSES("heads_too_wide",
                "{" LLAMA "\"hidden_size\":60,\"intermediate_size\":1,\"num_hidden_layers\":1,"
                "\"num_attention_heads\":65536,\"vocab_size\":5,\"head_dim\":512}",
                "head_dim: 65536 heads of 512 are too wide"),
        REFUSES("an_epsilon_that_is_a_text", "{" LLAMA SIZES ",\"rms_norm_eps\":\"1e-5\"}",
                "rms_norm_eps: expected a number, found a string"),
        REFUSES("a_token_outside_the_vocabulary", "{" LLAMA SIZES ",\"bos_token_id\":512}",
                "bos_token_id: expected a token id in 0..511 (vocab_size 512), found 512"),
        REFUSES("a_token_below_zero", "{" LLAMA SIZES ",\"eos_token_id\":-2}",
                "eos_token_id: expected a token id in 0..511 (vocab_size 512), found -2"),
        REFUSES("utf_16", "\xff\xfe{", "config.json: expected UTF-8, found UTF-16 or UTF-32"),
        REFUSES("a_token_that_is_a_text", "{" LLAMA SIZES ",\"eos_token_id\":\"</s>\"}",
                "eos_token_id: expected a token id, a list of them, or null, found a string"),
        REFUSES("too_many_end_ids", "{" LLAMA SIZES ",\"eos_token_id\":[1,2,3,4,5,6,7,8,9]}",
                "eos_token_id: a list of 9 ids, at most 8 are accepted"),
        TEST(a_written_config_reads_back_to_the_same_values),
        TEST(a_written_config_has_short_numbers_and_both_places_of_theta),
        TEST(a_missing_folder_is_named),
        TEST(json_holds_bytes_that_are_no_text),
        TEST(a_file_is_not_a_model_folder),
        TEST(a_folder_without_config_is_refused),
        TEST(a_folder_without_weights_is_refused),
        TEST(a_pickle_is_not_read),
        TEST(a_single_file_is_opened),
        TEST(a_missing_tensor_is_named),
        TEST(shards_are_opened_by_their_index),
        REFUSES_INDEX("an_index_without_a_map", "{}",
                      "weight_map: expected an object that names tensors, found nothing"),
        REFUSES_INDEX("an_empty_map", "{\"weight_map\":{}}",
                      "weight_map: expected an object that names tensors, found an empty one"),
        REFUSES_INDEX("a_file_name_that_is_no_text", "{\"weight_map\":{\"a\":1}}",
                      "weight_map: 'a': expected a file name, found a whole number"),
        REFUSES_INDEX("a_shard_outside_the_folder", "{\"weight_map\":{\"a\":\"../x\"}}",
                      "weight_map: 'a': '../x' is not the name of a file in the folder"),
        REFUSES_INDEX("an_unknown_shard", "{\"weight_map\":{\"a\":\"model-3.safetensors\"}}",
                      "model-3.safetensors': No such file or directory"),
        REFUSES_INDEX("a_tensor_that_is_not_in_its_shard",
                      "{\"weight_map\":{\"b\":\"model-00001-of-00002.safetensors\"}}",
                      "tensor 'b' is not in 'model-00001-of-00002.safetensors'"),
        TEST(an_index_wins_over_a_stray_file_which_is_named),
        TEST(every_file_of_the_weights_named_by_its_index_is_no_stray),
        TEST(a_shard_that_is_gone_is_named_with_the_file_beside_the_index),
        TEST(a_folder_with_an_adapter_is_refused),
        TEST(a_folder_whose_save_was_broken_off_is_refused),
        TEST(a_damaged_shard_is_named),
        TEST(reads_a_model_of_the_older_config),
        TEST(reads_a_model_of_the_newer_config),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
