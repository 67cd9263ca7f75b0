#include "base/log.h"
#include "store/hf_impl.h"
#include "store/json.h"

#include <inttypes.h>
#include <string.h>

/* Bounds that keep every product of two sizes far from overflow. */
enum {
    SIZE_LIMIT = 1 << 24,
    LAYER_LIMIT = 1 << 16,
    POSITION_LIMIT = 1 << 30,
};

static const json_t *get(const json_t *root, const char *key)
{
    const json_t *value = json_object_get(root, key);
    return json_is_null(value) ? NULL : value;
}

/* Reads a whole number in low..high; an absent or null key leaves *out, or fails if required. */
static mr_status get_int(const char *path, const json_t *root, const char *key, bool required,
                         int64_t low, int64_t high, int64_t *out)
{
    const json_t *value = get(root, key);
    if (!value && !required) return MR_OK;
    MR_CHECK(json_is_integer(value), MR_ERR_FORMAT,
             "%s: %s: expected a whole number in %" PRId64 "..%" PRId64 ", found %s", path, key,
             low, high, mr_json_kind(value));
    int64_t found = json_integer_value(value);
    MR_CHECK(found >= low && found <= high, MR_ERR_FORMAT,
             "%s: %s: expected a whole number in %" PRId64 "..%" PRId64 ", found %" PRId64, path,
             key, low, high, found);
    *out = found;
    return MR_OK;
}

/* Reads a number in low..high; an absent or null key leaves *out. */
static mr_status get_double(const char *path, const json_t *root, const char *key, double low,
                            double high, double *out)
{
    const json_t *value = get(root, key);
    if (!value) return MR_OK;
    MR_CHECK(json_is_number(value), MR_ERR_FORMAT, "%s: %s: expected a number, found %s", path, key,
             mr_json_kind(value));
    double found = json_number_value(value);
    MR_CHECK(found >= low && found <= high, MR_ERR_FORMAT,
             "%s: %s: expected a number in %g..%g, found %g", path, key, low, high, found);
    *out = found;
    return MR_OK;
}

static mr_status get_bool(const char *path, const json_t *root, const char *key, bool *out)
{
    const json_t *value = get(root, key);
    if (!value) return MR_OK;
    MR_CHECK(json_is_boolean(value), MR_ERR_FORMAT, "%s: %s: expected true or false, found %s",
             path, key, mr_json_kind(value));
    *out = json_is_true(value);
    return MR_OK;
}

/* Refuses any value of a key but one. */
static mr_status require_word(const char *path, const json_t *root, const char *key,
                              bool may_be_absent, const char *expected)
{
    const json_t *value = get(root, key);
    if (!value && may_be_absent) return MR_OK;
    MR_CHECK(json_is_string(value), MR_ERR_FORMAT, "%s: %s: expected '%s', found %s", path, key,
             expected, mr_json_kind(value));
    MR_CHECK(strcmp(json_string_value(value), expected) == 0, MR_ERR_FORMAT,
             "%s: %s: '%.64s' is not supported, only '%s'", path, key, json_string_value(value),
             expected);
    return MR_OK;
}

static mr_status require_false(const char *path, const json_t *root, const char *key)
{
    bool found = false;
    MR_TRY(get_bool(path, root, key, &found));
    MR_CHECK(!found, MR_ERR_FORMAT, "%s: %s: true is not supported", path, key);
    return MR_OK;
}

/* Reads rope_scaling (the older place) or rope_parameters (the newer one). */
static mr_status read_rope(const char *path, const json_t *root, const char *key, double *theta)
{
    const json_t *rope = get(root, key);
    if (!rope) return MR_OK;
    MR_CHECK(json_is_object(rope), MR_ERR_FORMAT, "%s: %s: expected an object, found %s", path, key,
             mr_json_kind(rope));
    static const char *const type_keys[] = {"rope_type", "type"};
    for (size_t i = 0; i < sizeof type_keys / sizeof *type_keys; i++) {
        const json_t *type = get(rope, type_keys[i]);
        if (!type) continue;
        MR_CHECK(json_is_string(type), MR_ERR_FORMAT, "%s: %s.%s: expected a string, found %s",
                 path, key, type_keys[i], mr_json_kind(type));
        MR_CHECK(strcmp(json_string_value(type), "default") == 0, MR_ERR_FORMAT,
                 "%s: %s: '%.64s' is not supported, only 'default'", path, key,
                 json_string_value(type));
    }
    double fraction = 1.0;
    MR_TRY(get_double(path, rope, "partial_rotary_factor", 0.0, 1.0, &fraction));
    MR_CHECK(fraction == 1.0, MR_ERR_FORMAT,
             "%s: %s.partial_rotary_factor: %g is not supported, only 1", path, key, fraction);
    return get_double(path, rope, "rope_theta", 1.0, 1e12, theta);
}

static mr_status read_theta(const char *path, const json_t *root, mr_hf_config *config)
{
    double top = 0.0, nested = 0.0;
    MR_TRY(get_double(path, root, "rope_theta", 1.0, 1e12, &top));
    MR_TRY(read_rope(path, root, "rope_scaling", &nested));
    MR_TRY(read_rope(path, root, "rope_parameters", &nested));
    MR_CHECK(top == 0.0 || nested == 0.0 || top == nested, MR_ERR_FORMAT,
             "%s: rope_theta: %g at the top level, but %g beside the rope type", path, top, nested);
    config->rope_theta = top > 0.0 ? top : nested > 0.0 ? nested : 10000.0;
    return MR_OK;
}

/* Reads one id. -1 is how some programs write that there is none; *found tells. */
static mr_status read_token(const char *path, const char *key, const json_t *value,
                            int64_t vocab_size, int64_t *out, bool *found)
{
    MR_CHECK(json_is_integer(value), MR_ERR_FORMAT,
             "%s: %s: expected a token id, a list of them, or null, found %s", path, key,
             mr_json_kind(value));
    int64_t id = json_integer_value(value);
    *found = id != -1;
    if (!*found) {
        mr_warn("%s: %s: -1 is no token id and is taken as none", path, key);
        return MR_OK;
    }
    MR_CHECK(id >= 0 && id < vocab_size, MR_ERR_FORMAT,
             "%s: %s: expected a token id in 0..%" PRId64 " (vocab_size %" PRId64
             "), found %" PRId64,
             path, key, vocab_size - 1, vocab_size, id);
    *out = id;
    return MR_OK;
}

static mr_status read_tokens(const char *path, const json_t *root, mr_hf_config *config)
{
    const json_t *bos = json_object_get(root, "bos_token_id");
    bool found = false;
    config->bos_token_id = bos || config->vocab_size <= 1 ? -1 : 1;
    if (bos && !json_is_null(bos))
        MR_TRY(read_token(path, "bos_token_id", bos, config->vocab_size, &config->bos_token_id,
                          &found));

    const json_t *eos = json_object_get(root, "eos_token_id");
    if (!eos && config->vocab_size > 2) {
        config->eos_count = 1;
        config->eos_token_id[0] = 2;
    }
    if (!eos || json_is_null(eos)) return MR_OK;
    bool listed = json_is_array(eos);
    size_t count = listed ? json_array_size(eos) : 1;
    MR_CHECK(count <= MR_HF_EOS_MAX, MR_ERR_FORMAT,
             "%s: eos_token_id: a list of %zu ids, at most %d are accepted", path, count,
             (int)MR_HF_EOS_MAX);
    for (size_t i = 0; i < count; i++) {
        MR_TRY(read_token(path, "eos_token_id", listed ? json_array_get(eos, i) : eos,
                          config->vocab_size, &config->eos_token_id[config->eos_count], &found));
        config->eos_count += found;
    }
    return MR_OK;
}

static mr_status read_sizes(const char *path, const json_t *root, mr_hf_config *c)
{
    MR_TRY(get_int(path, root, "hidden_size", true, 1, SIZE_LIMIT, &c->hidden_size));
    MR_TRY(get_int(path, root, "intermediate_size", true, 1, SIZE_LIMIT, &c->intermediate_size));
    MR_TRY(get_int(path, root, "num_hidden_layers", true, 1, LAYER_LIMIT, &c->num_hidden_layers));
    MR_TRY(
        get_int(path, root, "num_attention_heads", true, 1, LAYER_LIMIT, &c->num_attention_heads));
    MR_TRY(get_int(path, root, "vocab_size", true, 1, SIZE_LIMIT, &c->vocab_size));
    c->max_position_embeddings = 2048;
    MR_TRY(get_int(path, root, "max_position_embeddings", false, 1, POSITION_LIMIT,
                   &c->max_position_embeddings));
    c->num_key_value_heads = c->num_attention_heads;
    MR_TRY(
        get_int(path, root, "num_key_value_heads", false, 1, LAYER_LIMIT, &c->num_key_value_heads));
    MR_CHECK(c->num_attention_heads % c->num_key_value_heads == 0, MR_ERR_FORMAT,
             "%s: num_key_value_heads: %" PRId64 " does not divide num_attention_heads %" PRId64,
             path, c->num_key_value_heads, c->num_attention_heads);
    if (get(root, "head_dim")) {
        MR_TRY(get_int(path, root, "head_dim", true, 1, LAYER_LIMIT, &c->head_dim));
    } else {
        MR_CHECK(c->hidden_size % c->num_attention_heads == 0, MR_ERR_FORMAT,
                 "%s: num_attention_heads: %" PRId64 " does not divide hidden_size %" PRId64
                 ", and there is no head_dim",
                 path, c->num_attention_heads, c->hidden_size);
        c->head_dim = c->hidden_size / c->num_attention_heads;
    }
    MR_CHECK(c->head_dim % 2 == 0, MR_ERR_FORMAT,
             "%s: head_dim: %" PRId64 " is odd, rotary positions need an even one", path,
             c->head_dim);
    MR_CHECK(c->num_attention_heads * c->head_dim <= SIZE_LIMIT, MR_ERR_FORMAT,
             "%s: head_dim: %" PRId64 " heads of %" PRId64 " are too wide", path,
             c->num_attention_heads, c->head_dim);
    return MR_OK;
}

static mr_status read_config(const char *path, const json_t *root, mr_hf_config *config)
{
    MR_TRY(require_word(path, root, "model_type", false, "llama"));
    MR_TRY(require_word(path, root, "hidden_act", true, "silu"));
    MR_TRY(require_false(path, root, "attention_bias"));
    MR_TRY(require_false(path, root, "mlp_bias"));
    MR_CHECK(!get(root, "quantization_config"), MR_ERR_FORMAT,
             "%s: quantization_config: quantized weights are not supported", path);
    MR_TRY(read_sizes(path, root, config));
    config->rms_norm_eps = 1e-6;
    MR_TRY(get_double(path, root, "rms_norm_eps", 0.0, 1.0, &config->rms_norm_eps));
    config->initializer_range = 0.02;
    MR_TRY(get_double(path, root, "initializer_range", 0.0, 10.0, &config->initializer_range));
    MR_TRY(get_bool(path, root, "tie_word_embeddings", &config->tie_word_embeddings));
    double dropout = 0.0, fraction = 1.0;
    MR_TRY(get_double(path, root, "attention_dropout", 0.0, 1.0, &dropout));
    if (dropout > 0.0) mr_warn("%s: attention_dropout: %g is not applied", path, dropout);
    MR_TRY(get_double(path, root, "partial_rotary_factor", 0.0, 1.0, &fraction));
    MR_CHECK(fraction == 1.0, MR_ERR_FORMAT,
             "%s: partial_rotary_factor: %g is not supported, only 1", path, fraction);
    MR_TRY(read_theta(path, root, config));
    return read_tokens(path, root, config);
}

mr_status mr_hf_config_read(const char *path, mr_hf_config *config)
{
    *config = (mr_hf_config){0};
    json_t *root = NULL;
    MR_TRY(mr_json_read(path, &root));
    mr_status status = read_config(path, root, config);
    json_decref(root);
    return status;
}

static json_t *id_or_null(int64_t id)
{
    return id < 0 ? json_null() : json_integer(id);
}

/* One id stands alone, several in a list. */
static json_t *eos_json(const mr_hf_config *config)
{
    if (config->eos_count <= 1)
        return id_or_null(config->eos_count == 0 ? -1 : config->eos_token_id[0]);
    json_t *list = json_array();
    for (int32_t i = 0; i < config->eos_count; i++)
        mr_json_append(&list, json_integer(config->eos_token_id[i]));
    return list;
}

json_t *mr_hf_config_json(const mr_hf_config *config)
{
    /* Transformers 5 looks in rope_parameters, every version before it at the top level. */
    return json_pack(
        "{s:[s], s:b, s:o, s:o, s:I, s:s, s:I, s:f, s:I, s:I, s:b, s:s, s:I, s:I, s:I, s:f,"
        " s:{s:f, s:s}, s:f, s:b, s:s, s:I}",
        "architectures", "LlamaForCausalLM", "attention_bias", 0, "bos_token_id",
        id_or_null(config->bos_token_id), "eos_token_id", eos_json(config), "head_dim",
        (json_int_t)config->head_dim, "hidden_act", "silu", "hidden_size",
        (json_int_t)config->hidden_size, "initializer_range", config->initializer_range,
        "intermediate_size", (json_int_t)config->intermediate_size, "max_position_embeddings",
        (json_int_t)config->max_position_embeddings, "mlp_bias", 0, "model_type", "llama",
        "num_attention_heads", (json_int_t)config->num_attention_heads, "num_hidden_layers",
        (json_int_t)config->num_hidden_layers, "num_key_value_heads",
        (json_int_t)config->num_key_value_heads, "rms_norm_eps", config->rms_norm_eps,
        "rope_parameters", "rope_theta", config->rope_theta, "rope_type", "default", "rope_theta",
        config->rope_theta, "tie_word_embeddings", (int)config->tie_word_embeddings, "torch_dtype",
        "float32", "vocab_size", (json_int_t)config->vocab_size);
}
