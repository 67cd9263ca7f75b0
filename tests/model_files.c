#include "model_files.h"

#include "base/file.h"
#include "base/random.h"

#include <inttypes.h>

enum { HIDDEN = 16, KEYS = 8, INTERMEDIATE = 24 };

static model_tensor *add(model_files *files, const char *name, const char *dtype, int64_t rows,
                         int64_t cols, size_t element)
{
    assert_true(files->count < MODEL_FILES_TENSORS);
    model_tensor *tensor = &files->tensor[files->count++];
    *tensor = (model_tensor){.dtype = dtype, .dims = cols > 0 ? 2 : 1, .shape = {rows, cols}};
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->size = (size_t)(rows * (cols > 0 ? cols : 1)) * element;
    tensor->bytes = mr_alloc(MR_MEM_OTHER, tensor->size);
    assert_non_null(tensor->bytes);
    return tensor;
}

static void draw(model_files *files, const char *name, int64_t rows, int64_t cols, int seed)
{
    model_tensor *tensor = add(files, name, "F32", rows, cols, sizeof(float));
    mr_random random = mr_random_stream((uint64_t)seed, MR_RANDOM_WEIGHTS, (uint64_t)files->count);
    for (size_t i = 0; i < tensor->size / sizeof(float); i++) {
        float value = (float)(0.1 * mr_random_normal(&random, i) + (cols == 0));
        memcpy(tensor->bytes + i * sizeof value, &value, sizeof value);
    }
}

model_files *model_files_make(int vocabulary, int layers, bool tied, int seed)
{
    static const struct {
        const char *name;
        int rows, cols;
    } of_layer[] = {
        {"input_layernorm", HIDDEN, 0},          {"post_attention_layernorm", HIDDEN, 0},
        {"self_attn.q_proj", HIDDEN, HIDDEN},    {"self_attn.k_proj", KEYS, HIDDEN},
        {"self_attn.v_proj", KEYS, HIDDEN},      {"self_attn.o_proj", HIDDEN, HIDDEN},
        {"mlp.gate_proj", INTERMEDIATE, HIDDEN}, {"mlp.up_proj", INTERMEDIATE, HIDDEN},
        {"mlp.down_proj", HIDDEN, INTERMEDIATE}};
    model_files *files = mr_alloc(MR_MEM_OTHER, sizeof *files);
    assert_non_null(files);
    *files = (model_files){.vocabulary = vocabulary, .layers = layers};
    if (tied) snprintf(files->extra, sizeof files->extra, ", \"tie_word_embeddings\": true");
    draw(files, "model.embed_tokens.weight", vocabulary, HIDDEN, seed);
    for (int l = 0; l < layers; l++)
        for (size_t i = 0; i < sizeof of_layer / sizeof *of_layer; i++) {
            char name[96];
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", l, of_layer[i].name);
            draw(files, name, of_layer[i].rows, of_layer[i].cols, seed);
        }
    draw(files, "model.norm.weight", HIDDEN, 0, seed);
    if (!tied) draw(files, "lm_head.weight", vocabulary, HIDDEN, seed);
    return files;
}

void model_files_free(model_files **files)
{
    for (int i = 0; i < (*files)->count; i++)
        mr_free((*files)->tensor[i].bytes);
    mr_free(*files);
    *files = NULL;
}

model_tensor *model_files_find(model_files *files, const char *name)
{
    for (int i = 0; i < files->count; i++)
        if (strcmp(files->tensor[i].name, name) == 0) return &files->tensor[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

void model_files_add(model_files *files, const char *name, const char *dtype, int64_t rows,
                     int64_t cols, float value)
{
    static const struct {
        const char *dtype;
        size_t bytes;
    } types[] = {{"F32", 4}, {"I64", 8}, {"BOOL", 1}, {"U8", 1}, {"F8_E4M3", 1}, {"F16", 2}};
    size_t element = 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].dtype, dtype) == 0) element = types[i].bytes;
    assert_true(element > 0);
    model_tensor *tensor = add(files, name, dtype, rows, cols, element);
    memset(tensor->bytes, (int)value, tensor->size);
    if (strcmp(dtype, "F32") != 0) return;
    for (size_t i = 0; i < tensor->size; i += sizeof value)
        memcpy(tensor->bytes + i, &value, sizeof value);
}

void model_files_drop(model_files *files, const char *name)
{
    model_tensor *tensor = model_files_find(files, name);
    mr_free(tensor->bytes);
    *tensor = files->tensor[--files->count];
}

void model_files_write_part(const model_files *files, const char *path, int first, int last)
{
    mr_text header = {0};
    size_t end = 0;
    mr_text_add(&header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = first; i < last; i++) {
        const model_tensor *t = &files->tensor[i];
        mr_text_add(&header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%" PRId64, t->name, t->dtype,
                    t->shape[0]);
        if (t->dims == 2) mr_text_add(&header, ",%" PRId64, t->shape[1]);
        mr_text_add(&header, "],\"data_offsets\":[%zu,%zu]}", end, end + t->size);
        end += t->size;
    }
    mr_text_add(&header, "}");
    while (header.length % 8 != 0)
        mr_text_add(&header, " ");
    uint64_t length = header.length;
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    bool written = fwrite(&length, sizeof length, 1, file) == 1 &&
                   fwrite(header.data, 1, header.length, file) == header.length;
    for (int i = first; i < last && written; i++)
        written =
            fwrite(files->tensor[i].bytes, 1, files->tensor[i].size, file) == files->tensor[i].size;
    assert_true(fclose(file) == 0 && written);
    mr_text_free(&header);
}

void model_files_write(const model_files *files, const char *folder)
{
    char path[256];
    mr_text config = {0};
    must(mr_file_make_folders(folder));
    mr_text_add(&config,
                "{\"model_type\": \"llama\", \"hidden_size\": %d, \"intermediate_size\": %d, "
                "\"num_hidden_layers\": %d, \"num_attention_heads\": 4, \"num_key_value_heads\": "
                "2, \"vocab_size\": %d, \"max_position_embeddings\": 128, \"rms_norm_eps\": "
                "1e-05%s}\n",
                HIDDEN, INTERMEDIATE, files->layers, files->vocabulary, files->extra);
    snprintf(path, sizeof path, "%s/config.json", folder);
    must(mr_file_write(path, mr_text_get(&config), config.length));
    mr_text_free(&config);
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    model_files_write_part(files, path, 0, files->count);
}
