/* A configuration as one line of text, and what of it another differs in. */

#include "store/hf.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* What decides the values a model computes. */
static const struct {
    const char *name;
    size_t offset;
    enum { WHOLE, REAL, FLAG, ROPE } type;
} keys[] = {
    {"hidden_size", offsetof(mr_hf_config, hidden_size), WHOLE},
    {"intermediate_size", offsetof(mr_hf_config, intermediate_size), WHOLE},
    {"num_hidden_layers", offsetof(mr_hf_config, num_hidden_layers), WHOLE},
    {"num_attention_heads", offsetof(mr_hf_config, num_attention_heads), WHOLE},
    {"num_key_value_heads", offsetof(mr_hf_config, num_key_value_heads), WHOLE},
    {"head_dim", offsetof(mr_hf_config, head_dim), WHOLE},
    {"vocab_size", offsetof(mr_hf_config, vocab_size), WHOLE},
    {"rms_norm_eps", offsetof(mr_hf_config, rms_norm_eps), REAL},
    {"rope_theta", offsetof(mr_hf_config, rope_theta), REAL},
    {"rope_type", offsetof(mr_hf_config, rope.type), ROPE},
    {"rope_factor", offsetof(mr_hf_config, rope.factor), REAL},
    {"rope_low_freq_factor", offsetof(mr_hf_config, rope.low_freq_factor), REAL},
    {"rope_high_freq_factor", offsetof(mr_hf_config, rope.high_freq_factor), REAL},
    {"rope_original_max_position_embeddings",
     offsetof(mr_hf_config, rope.original_max_position_embeddings), WHOLE},
    {"initializer_range", offsetof(mr_hf_config, initializer_range), REAL},
    {"tie_word_embeddings", offsetof(mr_hf_config, tie_word_embeddings), FLAG},
};

enum { KEYS = sizeof keys / sizeof *keys, VALUE = 40 };

static void value_text(const mr_hf_config *config, int key, char out[VALUE])
{
    const char *at = (const char *)config + keys[key].offset;
    if (keys[key].type == WHOLE)
        snprintf(out, VALUE, "%" PRId64, *(const int64_t *)(const void *)at);
    else if (keys[key].type == REAL)
        snprintf(out, VALUE, "%.17g", *(const double *)(const void *)at);
    else if (keys[key].type == ROPE)
        snprintf(out, VALUE, "%s", mr_hf_rope_name(*(const int32_t *)(const void *)at));
    else
        snprintf(out, VALUE, "%s", *(const bool *)(const void *)at ? "true" : "false");
}

void mr_hf_config_text(const mr_hf_config *config, char out[MR_HF_CONFIG_TEXT])
{
    size_t length = 0;
    char value[VALUE];
    for (int i = 0; i < KEYS; i++) {
        value_text(config, i, value);
        length += (size_t)snprintf(out + length, MR_HF_CONFIG_TEXT - length, "%s%s %s",
                                   i > 0 ? ", " : "", keys[i].name, value);
        MR_INVARIANT(length < MR_HF_CONFIG_TEXT);
    }
}

/* Finds the value behind a key in a text; NULL where it has none. */
static const char *find_value(const char *text, const char *key, int *length)
{
    size_t start = strlen(key);
    while (text && (strncmp(text, key, start) != 0 || text[start] != ' '))
        text = (text = strstr(text, ", ")) ? text + 2 : NULL;
    if (!text) return NULL;
    text += start + 1;
    *length = (int)strcspn(text, ",");
    return text;
}

bool mr_hf_config_differs(const char *now, const char *then, bool drawn,
                          char out[MR_HF_CONFIG_TEXT])
{
    for (int i = 0; i < KEYS; i++) {
        int new_length, old_length;
        const char *new = find_value(now, keys[i].name, &new_length);
        const char *old = find_value(then, keys[i].name, &old_length);
        bool counts = drawn || keys[i].offset != offsetof(mr_hf_config, initializer_range);
        if (!new || !old || !counts) continue;
        if (new_length == old_length && strncmp(new, old, (size_t)new_length) == 0) continue;
        snprintf(out, MR_HF_CONFIG_TEXT, "%s %.*s instead of %.*s", keys[i].name, new_length, new,
                 old_length, old);
        return true;
    }
    return false;
}
