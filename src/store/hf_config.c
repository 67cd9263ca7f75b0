#include "base/file.h"
#include "base/log.h"
#include "store/hf_impl.h"
#include "store/json.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>

/* Bounds that keep every product of two sizes far from overflow. */
enum {
    SIZE_LIMIT = 1 << 24,
    LAYER_LIMIT = 1 << 16,
    POSITION_LIMIT = 1 << 30,
};

enum { SHOWN = 32 }; /* bytes of a value in a message */

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

/* What a value is, a number by itself. */
static void describe(const json_t *value, char out[SHOWN])
{
    if (json_is_integer(value))
        snprintf(out, SHOWN, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(out, SHOWN, "%g", json_real_value(value));
    else
        snprintf(out, SHOWN, "%s", mr_json_kind(value));
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

/* Refuses true. */
static mr_status require_false(const char *path, const json_t *root, const char *key,
                               const char *supported)
{
    bool found = false;
    MR_TRY(get_bool(path, root, key, &found));
    MR_CHECK(!found, MR_ERR_FORMAT, "%s: %s: true is not supported, only false (%s)", path, key,
             supported);
    return MR_OK;
}

static const char *const rope_names[] = {[MR_HF_ROPE_DEFAULT] = "default",
                                         [MR_HF_ROPE_LINEAR] = "linear",
                                         [MR_HF_ROPE_LLAMA3] = "llama3"};

const char *mr_hf_rope_name(int32_t type)
{
    return rope_names[type];
}

/* Without a type positions are as by default, of which only these keys say more. */
static mr_status expect_nothing_typed(const char *path, const json_t *rope)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)rope, key, value)
    {
        bool known = strcmp(key, "rope_theta") == 0 || strcmp(key, "partial_rotary_factor") == 0 ||
                     strcmp(key, "rope_type") == 0 || strcmp(key, "type") == 0;
        MR_CHECK(known || json_is_null(value), MR_ERR_FORMAT,
                 "%s.rope_type: expected one beside %.64s, found nothing", path, key);
    }
    return MR_OK;
}

/* The rope type of an object, in the newer key or the older one; NULL where it has none. */
static mr_status rope_word(const char *path, const json_t *rope, const char **word)
{
    static const char *const keys[] = {"rope_type", "type"};
    *word = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *type = get(rope, keys[i]);
        if (!type) continue;
        const char *text = json_string_value(type);
        MR_CHECK(text, MR_ERR_FORMAT, "%s.%s: expected a string, found %s", path, keys[i],
                 mr_json_kind(type));
        MR_CHECK(!*word || strcmp(*word, text) == 0, MR_ERR_FORMAT,
                 "%s: rope_type '%.64s', but type '%.64s'", path, *word, text);
        *word = text;
    }
    return *word ? MR_OK : expect_nothing_typed(path, rope);
}

static mr_status read_rope_type(const char *path, const json_t *rope, int32_t *type)
{
    enum { TYPES = sizeof rope_names / sizeof *rope_names };
    const char *word;
    *type = MR_HF_ROPE_DEFAULT;
    MR_TRY(rope_word(path, rope, &word));
    if (!word) return MR_OK;
    while (*type < TYPES && strcmp(rope_names[*type], word) != 0)
        ++*type;
    MR_CHECK(*type < TYPES, MR_ERR_FORMAT,
             "%s: '%.64s' is not supported, only 'default', 'linear' and 'llama3'%s", path, word,
             strcmp(word, "dynamic") == 0
                 ? ": its frequencies depend on the longest sequence of a call"
                 : "");
    return MR_OK;
}

/* Reads a number that a rope type needs. */
static mr_status need_double(const char *path, const json_t *rope, const char *key, double low,
                             double *out)
{
    MR_CHECK(get(rope, key), MR_ERR_FORMAT, "%s: %s: expected a number, found nothing", path, key);
    return get_double(path, rope, key, low, 1e6, out);
}

/* Reads rope_scaling (the older place) or rope_parameters (the newer one). */
static mr_status read_rope(const char *config, const json_t *root, const char *key, double *theta,
                           mr_hf_rope *out)
{
    const json_t *rope = get(root, key);
    char path[PATH_MAX];
    if (!rope) return MR_OK;
    MR_TRY(mr_file_path(path, "%s: %s", config, key));
    MR_CHECK(json_is_object(rope), MR_ERR_FORMAT, "%s: expected an object, found %s", path,
             mr_json_kind(rope));
    MR_TRY(read_rope_type(path, rope, &out->type));
    double fraction = 1.0;
    MR_TRY(get_double(path, rope, "partial_rotary_factor", 0.0, 1.0, &fraction));
    MR_CHECK(fraction == 1.0, MR_ERR_FORMAT,
             "%s: partial_rotary_factor: %g is not supported, only 1", path, fraction);
    MR_TRY(get_double(path, rope, "rope_theta", 1.0, 1e12, theta));
    if (out->type == MR_HF_ROPE_DEFAULT) return MR_OK;
    MR_TRY(need_double(path, rope, "factor", 1.0, &out->factor));
    if (out->type == MR_HF_ROPE_LINEAR) return MR_OK;
    MR_TRY(need_double(path, rope, "low_freq_factor", 1e-6, &out->low_freq_factor));
    MR_TRY(need_double(path, rope, "high_freq_factor", 1e-6, &out->high_freq_factor));
    MR_CHECK(out->high_freq_factor > out->low_freq_factor, MR_ERR_FORMAT,
             "%s: high_freq_factor: expected more than low_freq_factor %g, found %g", path,
             out->low_freq_factor, out->high_freq_factor);
    return get_int(path, rope, "original_max_position_embeddings", true, 1, POSITION_LIMIT,
                   &out->original_max_position_embeddings);
}

static bool same_rope(const mr_hf_rope *a, const mr_hf_rope *b)
{
    return a->type == b->type && a->factor == b->factor &&
           a->low_freq_factor == b->low_freq_factor && a->high_freq_factor == b->high_freq_factor &&
           a->original_max_position_embeddings == b->original_max_position_embeddings;
}

/* Both places may stand side by side, for older and newer readers, and must then say the same. */
static mr_status read_positions(const char *path, const json_t *root, mr_hf_config *config)
{
    double top = 0.0, older = 0.0, newer = 0.0;
    mr_hf_rope scaling = {0}, parameters = {0};
    MR_TRY(get_double(path, root, "rope_theta", 1.0, 1e12, &top));
    MR_TRY(read_rope(path, root, "rope_scaling", &older, &scaling));
    MR_TRY(read_rope(path, root, "rope_parameters", &newer, &parameters));
    MR_CHECK(older == 0.0 || newer == 0.0 || older == newer, MR_ERR_FORMAT,
             "%s: rope_parameters: rope_theta %g, but %g in rope_scaling", path, newer, older);
    const double nested = newer > 0.0 ? newer : older;
    MR_CHECK(top == 0.0 || nested == 0.0 || top == nested, MR_ERR_FORMAT,
             "%s: rope_theta: %g at the top level, but %g beside the rope type", path, top, nested);
    config->rope_theta = top > 0.0 ? top : nested > 0.0 ? nested : 10000.0;
    const bool both = get(root, "rope_scaling") && get(root, "rope_parameters");
    MR_CHECK(
        !both || same_rope(&scaling, &parameters), MR_ERR_FORMAT,
        "%s: rope_parameters: not the scaling of rope_scaling ('%s' there, '%s' here, or other "
        "numbers)",
        path, rope_names[scaling.type], rope_names[parameters.type]);
    config->rope = get(root, "rope_scaling") ? scaling : parameters;
    return MR_OK;
}

/* Reads one id. -1 is how some programs write that there is none; *found tells. */
static mr_status read_token(const char *path, const char *key, const json_t *value,
                            int64_t vocab_size, int64_t *out, bool *found)
{
    MR_CHECK(json_is_integer(value), MR_ERR_FORMAT,
             "%s: %s: expected a token id%s or null, found %s", path, key,
             strcmp(key, "eos_token_id") == 0 ? ", a list of them," : "", mr_json_kind(value));
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

/* Reads one end id, or a list of them. */
static mr_status read_ends(const char *path, const json_t *eos, mr_hf_config *config)
{
    bool listed = json_is_array(eos), found = false;
    config->eos_count = 0;
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
    return eos && !json_is_null(eos) ? read_ends(path, eos, config) : MR_OK;
}

mr_status mr_hf_generation_read(const char *folder, mr_hf_config *config)
{
    char path[PATH_MAX];
    json_t *root = NULL;
    if (!mr_hf_holds(folder, MR_HF_GENERATION)) return MR_OK;
    MR_TRY(mr_file_path(path, "%s/%s", folder, MR_HF_GENERATION));
    MR_TRY(mr_json_read(path, &root));
    const json_t *eos = get(root, "eos_token_id");
    mr_status status = eos ? read_ends(path, eos, config) : MR_OK;
    json_decref(root);
    return status;
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

/* Refuses attention that sees a window of what went before. */
static mr_status refuse_windows(const char *path, const json_t *root)
{
    const json_t *window = get(root, "sliding_window"), *types = get(root, "layer_types");
    char found[SHOWN];
    MR_TRY(require_false(path, root, "use_sliding_window", "full attention"));
    /* Where the use is denied in so many words, the width says nothing. */
    describe(window, found);
    MR_CHECK(!window || json_is_false(get(root, "use_sliding_window")), MR_ERR_FORMAT,
             "%s: sliding_window: %s is not supported, only null (full attention)", path, found);
    MR_CHECK(!types || json_is_array(types), MR_ERR_FORMAT,
             "%s: layer_types: expected a list, found %s", path, mr_json_kind(types));
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        MR_CHECK(type && strcmp(type, "full_attention") == 0, MR_ERR_FORMAT,
                 "%s: layer_types: '%.64s' is not supported, only 'full_attention'", path,
                 type ? type : mr_json_kind(json_array_get(types, i)));
    }
    return MR_OK;
}

/* Refuses a mixture of experts, by the keys that its architectures number them by. */
static mr_status refuse_experts(const char *path, const json_t *root)
{
    static const char *const keys[] = {"num_local_experts", "num_experts", "n_routed_experts",
                                       "moe_num_experts"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        int64_t experts = 0;
        MR_TRY(get_int(path, root, keys[i], false, 0, SIZE_LIMIT, &experts));
        MR_CHECK(experts == 0, MR_ERR_FORMAT,
                 "%s: %s: %" PRId64 " experts are not supported, only layers with one MLP", path,
                 keys[i], experts);
    }
    return MR_OK;
}

/* Refuses a number that would change what is computed; so would true, or anything but a number. */
static mr_status refuse_factor(const char *path, const json_t *root, const char *key,
                               double neutral)
{
    const json_t *value = get(root, key);
    char found[SHOWN];
    if (!value || json_is_false(value)) return MR_OK;
    describe(value, found);
    /* A root may have been taken otherwise. */
    bool same =
        json_is_number(value) && fabs(json_number_value(value) - neutral) <= 1e-12 * neutral;
    MR_CHECK(same, MR_ERR_FORMAT, "%s: %s: %s is not supported, only %g or null", path, key, found,
             neutral);
    return MR_OK;
}

/* Refuses what makes another function of a LLaMA's tensors: factors, caps and norms that
 * architectures near to it have, by their keys. */
static mr_status refuse_factors(const char *path, const json_t *root, const mr_hf_config *config)
{
    static const struct {
        const char *key;
        double neutral;
    } factors[] = {
        {"logit_scale", 1.0},
        {"logits_scaling", 1.0},
        {"embedding_multiplier", 1.0},
        {"residual_multiplier", 1.0},
        {"scale_emb", 1.0},
        {"rotary_pct", 1.0},
        {"rotary_emb_fraction", 1.0},
        {"final_logit_softcapping", 0},
        {"attn_logit_softcapping", 0},
        {"logits_soft_cap", 0},
        {"clip_qkv", 0},
        {"qk_norm", 0},
        {"use_qk_norm", 0},
        {"qk_layernorm", 0},
        {"alibi", 0},
        {"use_parallel_residual", 0},
        {"parallel_attn", 0},
    };
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++)
        MR_TRY(refuse_factor(path, root, factors[i].key, factors[i].neutral));
    return refuse_factor(path, root, "attention_multiplier", 1.0 / sqrt((double)config->head_dim));
}

/* Tells of a model that comes with code of its own, which may compute something else. */
static void warn_of_code(const char *path, const json_t *root)
{
    const json_t *map = get(root, "auto_map");
    const char *code = json_string_value(json_object_get(map, "AutoModelForCausalLM"));
    if (map)
        mr_warn("%s: auto_map: code of the model's own%s%.128s%s is not run: what is computed is a "
                "LLaMA",
                path, code ? ", " : "", code ? code : "", code ? "," : "");
}

/* Refuses what the architecture is not. */
static mr_status refuse_others(const char *path, const json_t *root)
{
    MR_TRY(require_word(path, root, "model_type", false, "llama"));
    const char *act = json_string_value(get(root, "hidden_act"));
    if (!act || strcmp(act, "swish") != 0) /* silu's other name */
        MR_TRY(require_word(path, root, "hidden_act", true, "silu"));
    MR_TRY(require_word(path, root, "hidden_activation", true, "silu"));
    MR_TRY(require_false(path, root, "attention_bias", "linears without bias"));
    MR_TRY(require_false(path, root, "mlp_bias", "linears without bias"));
    MR_TRY(refuse_windows(path, root));
    MR_TRY(refuse_experts(path, root));
    MR_CHECK(!get(root, "quantization_config"), MR_ERR_FORMAT,
             "%s: quantization_config: quantized weights are not supported, only F32, F16, BF16 "
             "and F64",
             path);
    return MR_OK;
}

static mr_status read_config(const char *path, const json_t *root, mr_hf_config *config)
{
    MR_TRY(refuse_others(path, root));
    MR_TRY(read_sizes(path, root, config));
    MR_TRY(refuse_factors(path, root, config));
    warn_of_code(path, root);
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
    MR_TRY(read_positions(path, root, config));
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

/* What a rope type needs to be told, NULL where memory is short. */
static json_t *rope_json(const mr_hf_rope *rope)
{
    json_t *out = json_pack("{s:s}", "rope_type", rope_names[rope->type]);
    int failed = 0;
    if (rope->type != MR_HF_ROPE_DEFAULT)
        failed |= json_object_set_new(out, "factor", json_real(rope->factor));
    if (rope->type == MR_HF_ROPE_LLAMA3) {
        failed |= json_object_set_new(out, "low_freq_factor", json_real(rope->low_freq_factor));
        failed |= json_object_set_new(out, "high_freq_factor", json_real(rope->high_freq_factor));
        failed |= json_object_set_new(out, "original_max_position_embeddings",
                                      json_integer(rope->original_max_position_embeddings));
    }
    if (!failed) return out;
    json_decref(out);
    return NULL;
}

/* Transformers 5 looks in rope_parameters, version 4 in rope_scaling and at the top level. */
static bool put_rope(json_t *out, const mr_hf_config *config)
{
    json_t *parameters = rope_json(&config->rope);
    bool scaled = config->rope.type != MR_HF_ROPE_DEFAULT;
    return json_object_set_new(parameters, "rope_theta", json_real(config->rope_theta)) == 0 &&
           json_object_set_new(out, "rope_parameters", parameters) == 0 &&
           json_object_set_new(out, "rope_theta", json_real(config->rope_theta)) == 0 &&
           json_object_set_new(out, "rope_scaling",
                               scaled ? rope_json(&config->rope) : json_null()) == 0;
}

json_t *mr_hf_config_json(const mr_hf_config *config)
{
    json_t *out = json_pack(
        "{s:[s], s:b, s:o, s:o, s:I, s:s, s:I, s:f, s:I, s:I, s:b, s:s, s:I, s:I, s:I, s:f,"
        " s:b, s:s, s:I}",
        "architectures", "LlamaForCausalLM", "attention_bias", 0, "bos_token_id",
        id_or_null(config->bos_token_id), "eos_token_id", eos_json(config), "head_dim",
        (json_int_t)config->head_dim, "hidden_act", "silu", "hidden_size",
        (json_int_t)config->hidden_size, "initializer_range", config->initializer_range,
        "intermediate_size", (json_int_t)config->intermediate_size, "max_position_embeddings",
        (json_int_t)config->max_position_embeddings, "mlp_bias", 0, "model_type", "llama",
        "num_attention_heads", (json_int_t)config->num_attention_heads, "num_hidden_layers",
        (json_int_t)config->num_hidden_layers, "num_key_value_heads",
        (json_int_t)config->num_key_value_heads, "rms_norm_eps", config->rms_norm_eps,
        "tie_word_embeddings", (int)config->tie_word_embeddings, "torch_dtype", "float32",
        "vocab_size", (json_int_t)config->vocab_size);
    if (out && put_rope(out, config)) return out;
    json_decref(out);
    return NULL;
}
