#include "base/file.h"
#include "base/text.h"
#include "model_files.h"
#include "ranks.h"
#include "store/hf.h"

#include <stdlib.h>
#include <unistd.h>

enum { VOCABULARY = 40 };

static model_files *files; /* those of the test under way; NULL between tests */

static int begin(void **state)
{
    (void)state;
    files = model_files_make(VOCABULARY, 2, false, 1);
    return 0;
}

static int end(void **state)
{
    (void)state;
    model_files_free(&files);
    return 0;
}

/* Rank 0 writes the files, all check them. */
static mr_status check(char hash[MR_HF_HASH])
{
    mr_hf_config arch;
    mr_hf *weights;
    mr_comm_barrier(&world);
    if (world.rank == 0) model_files_write(files, "model");
    mr_comm_barrier(&world);
    must(mr_hf_config_read("model/config.json", &arch));
    must(mr_hf_open("model", &weights));
    mr_status status = mr_hf_check(&world, weights, &arch, "model/config.json");
    if (status == MR_OK && hash) must(mr_hf_hash(&world, weights, &arch, hash));
    mr_hf_close(&weights);
    return status;
}

static void assert_refused(const char *message)
{
    mr_status status = check(NULL);
    bool right = status == MR_ERR_FORMAT && strstr(mr_message(), message);
    if (!right) fprintf(stderr, "expected \"%s\", found \"%s\"\n", message, mr_message());
    assert_on_all_ranks(right);
}

static void assert_sound(void)
{
    mr_status status = check(NULL);
    if (status != MR_OK) fprintf(stderr, "found \"%s\"\n", mr_message());
    assert_on_all_ranks(status == MR_OK);
}

static void a_sound_folder_passes(void **state)
{
    (void)state;
    assert_sound();
}

/* A tensor that would be left out, and the message about it. */
typedef struct missed {
    const char *name;
    const char *message;
} missed;

static void refuses(void **state)
{
    const missed *one = *state;
    model_files_add(files, one->name, "F32", 16, 0, 0.5F);
    assert_refused(one->message);
}

/* One that is passed over, with its type. */
typedef struct buffer {
    const char *name, *dtype;
} buffer;

static void passes(void **state)
{
    const buffer *one = *state;
    char before[MR_HF_HASH], after[MR_HF_HASH];
    must(check(before));
    model_files_add(files, one->name, one->dtype, 2, 4, 1);
    assert_on_all_ranks(check(after) == MR_OK);
    assert_on_all_ranks(strcmp(before, after) == 0);
}

static void fewer_layers_in_the_configuration_show_both(void **state)
{
    (void)state;
    files->layers = 1;
    assert_refused("model/model.safetensors: tensor 'model.layers.1.input_layernorm.weight', but "
                   "model/config.json says num_hidden_layers 1");
}

static void more_layers_in_the_configuration_show_both(void **state)
{
    (void)state;
    files->layers = 5;
    assert_refused("model folder 'model': its files hold 2 layers, but model/config.json says "
                   "num_hidden_layers 5");
}

static void a_layer_left_out_is_named_by_its_tensor(void **state)
{
    (void)state;
    model_files_drop(files, "model.layers.0.mlp.up_proj.weight");
    assert_refused("model folder 'model': no tensor 'model.layers.0.mlp.up_proj.weight' in its "
                   "weights");
}

/* As what wraps a model writes its tensors. */
static void tensors_of_other_names_are_named(void **state)
{
    (void)state;
    for (int i = 0; i < files->count; i++) {
        char name[sizeof files->tensor[i].name];
        snprintf(name, sizeof name, "%s", files->tensor[i].name);
        snprintf(files->tensor[i].name, sizeof name, "module.%.80s", name);
    }
    assert_refused("model folder 'model': no tensor of a LLaMA in its weights: expected "
                   "'model.embed_tokens.weight' and others, found 'module.lm_head.weight'");
}

static void a_head_left_out_is_no_tied_one(void **state)
{
    (void)state;
    model_files_drop(files, "lm_head.weight");
    assert_refused("no tensor 'lm_head.weight' in its weights, and tie_word_embeddings of "
                   "model/config.json is not true");
}

static void another_vocabulary_shows_both(void **state)
{
    (void)state;
    files->vocabulary = 50;
    assert_refused("tensor 'model.embed_tokens.weight': shape [40, 16], expected [50, 16] "
                   "(vocab_size 50, hidden_size 16 of model/config.json)");
}

static void another_width_of_heads_shows_both(void **state)
{
    (void)state;
    snprintf(files->extra, sizeof files->extra, ", \"head_dim\": 8");
    assert_refused("tensor 'model.layers.0.self_attn.q_proj.weight': shape [16, 16], expected "
                   "[32, 16] (num_attention_heads 4 x head_dim 8, hidden_size 16 of "
                   "model/config.json)");
}

static void weights_of_another_type_are_refused(void **state)
{
    (void)state;
    model_files_drop(files, "model.layers.1.mlp.up_proj.weight");
    model_files_add(files, "model.layers.1.mlp.up_proj.weight", "F8_E4M3", 24, 16, 1);
    assert_refused("tensor 'model.layers.1.mlp.up_proj.weight': dtype F8_E4M3, expected F32, F16, "
                   "BF16 or F64");
}

/* Turns the model into one whose head is said to be tied. */
static void tie(float change)
{
    model_tensor *head = model_files_find(files, "lm_head.weight");
    memcpy(head->bytes, model_files_find(files, "model.embed_tokens.weight")->bytes, head->size);
    if (change != 0) memcpy(head->bytes + head->size - sizeof change, &change, sizeof change);
    snprintf(files->extra, sizeof files->extra, ", \"tie_word_embeddings\": true");
}

static void a_tied_head_that_stands_in_the_file_too_passes(void **state)
{
    (void)state;
    tie(0);
    assert_sound();
}

/* Reads the configuration of the files and decides whether its head is tied. */
static mr_hf_config decide(void)
{
    mr_hf_config arch;
    mr_comm_barrier(&world);
    if (world.rank == 0) model_files_write(files, "model");
    mr_comm_barrier(&world);
    must(mr_hf_config_read("model/config.json", &arch));
    must(mr_hf_untie(&world, "model", &arch));
    return arch;
}

static void an_equal_head_stays_tied(void **state)
{
    (void)state;
    tie(0);
    assert_on_all_ranks(decide().tie_word_embeddings);
    model_files_drop(files, "lm_head.weight");
    assert_on_all_ranks(decide().tie_word_embeddings);
}

/* One bit of the last element, which one rank alone compares. */
static void a_head_of_its_own_is_kept_and_untied(void **state)
{
    (void)state;
    char text[MR_HF_CONFIG_TEXT], tied[MR_HF_HASH], untied[MR_HF_HASH];
    tie(0);
    must(check(tied));
    tie(3);
    mr_hf_config arch = decide();
    assert_on_all_ranks(!arch.tie_word_embeddings);
    mr_hf_config_text(&arch, text);
    assert_on_all_ranks(strstr(text, "tie_word_embeddings false") != NULL);
    mr_hf *weights;
    must(mr_hf_open("model", &weights));
    must(mr_hf_check(&world, weights, &arch, "model/config.json"));
    must(mr_hf_hash(&world, weights, &arch, untied));
    mr_hf_close(&weights);
    assert_on_all_ranks(mr_hf_uses(&arch, "lm_head.weight") && strcmp(tied, untied) != 0);
}

static void a_tied_head_of_another_shape_is_refused(void **state)
{
    (void)state;
    tie(0);
    model_files_drop(files, "lm_head.weight");
    model_files_add(files, "lm_head.weight", "F32", VOCABULARY + 1, 16, 1);
    mr_hf_config arch = decide();
    mr_hf *weights;
    must(mr_hf_open("model", &weights));
    mr_status status = mr_hf_check(&world, weights, &arch, "model/config.json");
    mr_hf_close(&weights);
    assert_on_all_ranks(status == MR_ERR_FORMAT &&
                        strstr(mr_message(), "tensor 'lm_head.weight': shape [41, 16], expected "
                                             "[40, 16] (vocab_size 40, hidden_size 16"));
}

/* A plan needs no weights. */
static void a_tied_head_without_weights_stays_tied(void **state)
{
    (void)state;
    tie(0);
    must(check(NULL));
    if (world.rank == 0) assert_int_equal(unlink("model/model.safetensors"), 0);
    mr_comm_barrier(&world);
    mr_hf_config arch;
    must(mr_hf_config_read("model/config.json", &arch));
    must(mr_hf_untie(&world, "model", &arch));
    assert_on_all_ranks(arch.tie_word_embeddings);
}

/* What a shard holds is of the model, whether or not the index names it. */
static void a_tensor_that_the_index_forgets_is_refused(void **state)
{
    (void)state;
    mr_text index = {0};
    model_files_add(files, "model.layers.0.self_attn.o_proj.bias", "F32", 16, 0, 1);
    mr_text_add(&index, "{\"weight_map\":{");
    for (int i = 0; i + 1 < files->count; i++)
        mr_text_add(&index, "%s\"%s\":\"part.safetensors\"", i > 0 ? "," : "",
                    files->tensor[i].name);
    mr_text_add(&index, "}}");
    if (world.rank == 0) {
        must(mr_file_make_folders("model"));
        must(mr_file_write("model/" MR_HF_INDEX, mr_text_get(&index), index.length));
        model_files_write_part(files, "model/part.safetensors", 0, files->count);
    }
    mr_text_free(&index);
    assert_refused("model/part.safetensors: tensor 'model.layers.0.self_attn.o_proj.bias' is no "
                   "part of the model");
    mr_comm_barrier(&world);
    if (world.rank == 0)
        assert_true(unlink("model/" MR_HF_INDEX) == 0 && unlink("model/part.safetensors") == 0);
}

/* The last bit of the last element of every tensor that is used counts. */
static void every_byte_changes_the_hash(void **state)
{
    (void)state;
    char first[MR_HF_HASH], other[MR_HF_HASH];
    must(check(first));
    assert_on_all_ranks(strncmp(first, MR_HF_HASH_TAG, strlen(MR_HF_HASH_TAG)) == 0);
    for (int i = 0; i < files->count; i++) {
        model_tensor *t = &files->tensor[i];
        size_t places[] = {0, t->size / 2, t->size - 1};
        for (size_t p = 0; p < sizeof places / sizeof *places; p++) {
            t->bytes[places[p]] ^= 1;
            must(check(other));
            t->bytes[places[p]] ^= 1;
            assert_on_all_ranks(strcmp(first, other) != 0);
        }
    }
    must(check(other));
    assert_on_all_ranks(strcmp(first, other) == 0);
}

/* Of more pieces than one, over this number of ranks as over one. */
static void a_hash_does_not_depend_on_the_ranks(void **state)
{
    (void)state;
    mr_comm alone;
    mr_hf_config arch;
    mr_hf *weights;
    char together[MR_HF_HASH], here[MR_HF_HASH];
    model_files_free(&files);
    files = model_files_make(150000, 1, true, 2);
    must(check(together));
    must(mr_comm_create(MPI_COMM_SELF, &alone));
    must(mr_hf_config_read("model/config.json", &arch));
    must(mr_hf_open("model", &weights));
    must(mr_hf_hash(&alone, weights, &arch, here));
    mr_hf_close(&weights);
    mr_comm_destroy(&alone);
    assert_on_all_ranks(strcmp(together, here) == 0);
}

#define CASE(what, function, type, ...)                                                            \
    {                                                                                              \
        what, function, begin, end, &(type)                                                        \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define REFUSES(name, message) CASE("refuses " name, refuses, missed, name, message)
#define PASSES(name, dtype) CASE("passes " name " " dtype, passes, buffer, name, dtype)
#define TEST(function) cmocka_unit_test_setup_teardown(function, begin, end)
#define LAYER "model.layers.0."

int main(int argc, char **argv)
{
    ranks_begin(&argc, &argv);
    const struct CMUnitTest tests[] = {
        TEST(a_sound_folder_passes),
        REFUSES(LAYER "self_attn.q_proj.bias",
                "model/model.safetensors: tensor 'model.layers.0.self_attn.q_proj.bias' is no part "
                "of the model that model/config.json describes, where attention_bias is not set; "
                "without it another model would be trained"),
        REFUSES(LAYER "mlp.down_proj.bias", "where mlp_bias is not set"),
        REFUSES(LAYER "input_layernorm.bias", "input_layernorm.bias' is no part of the model"),
        REFUSES(LAYER "self_attn.q_norm.weight", "q_norm.weight' is no part of the model"),
        REFUSES(LAYER "self_attn.q_proj.weight_scale", "weight_scale' is no part of the model"),
        REFUSES("model.embed_positions.weight", "embed_positions.weight' is no part of the model"),
        REFUSES("lm_head.bias", "lm_head.bias' is no part of the model"),
        REFUSES(LAYER "self_attn.bias", "self_attn.bias' is no part of the model"),
        REFUSES("model.layers.00.mlp.up_proj.weight", "00.mlp.up_proj.weight' is no part of the"),
        REFUSES("base_model.model.layers.0.self_attn.q_proj.lora_A.weight", "is no part of the"),
        PASSES(LAYER "self_attn.rotary_emb.inv_freq", "F32"),
        PASSES("model.position_ids", "I64"),
        PASSES("model.causal_mask", "BOOL"),
        PASSES(LAYER "self_attn.bias", "BOOL"),
        PASSES(LAYER "self_attn.masked_bias", "F16"),
        PASSES(LAYER "self_attn._extra_state", "U8"),
        PASSES(LAYER "self_attn.scale_of_others", "F8_E4M3"),
        PASSES("score.weight", "F32"),
        PASSES("v_head.summary.bias", "F32"),
        TEST(fewer_layers_in_the_configuration_show_both),
        TEST(more_layers_in_the_configuration_show_both),
        TEST(a_layer_left_out_is_named_by_its_tensor),
        TEST(tensors_of_other_names_are_named),
        TEST(a_head_left_out_is_no_tied_one),
        TEST(another_vocabulary_shows_both),
        TEST(another_width_of_heads_shows_both),
        TEST(weights_of_another_type_are_refused),
        TEST(a_tied_head_that_stands_in_the_file_too_passes),
        TEST(an_equal_head_stays_tied),
        TEST(a_head_of_its_own_is_kept_and_untied),
        TEST(a_tied_head_of_another_shape_is_refused),
        TEST(a_tied_head_without_weights_stays_tied),
        TEST(a_tensor_that_the_index_forgets_is_refused),
        TEST(every_byte_changes_the_hash),
        TEST(a_hash_does_not_depend_on_the_ranks),
    };
    return ranks_end(cmocka_run_group_tests(tests, ranks_enter_folder, ranks_leave_folder));
}
