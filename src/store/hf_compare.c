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
    enum { WHOLE, REAL, FLAG } type;
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

bool mr_hf_config_differs(const mr_hf_config *config, const char *text, bool drawn,
                          char out[MR_HF_CONFIG_TEXT])
{
    for (int i = 0; i < KEYS; i++) {
        char value[VALUE], start[64];
        if (!drawn && keys[i].offset == offsetof(mr_hf_config, initializer_range)) continue;
        size_t length = (size_t)snprintf(start, sizeof start, "%s ", keys[i].name);
        const char *at = text;
        while (at && strncmp(at, start, length) != 0)
            at = (at = strstr(at, ", ")) ? at + 2 : NULL;
        if (!at) continue; /* a text of a program that did not know the key */
        at += length;
        int room = (int)strcspn(at, ",");
        value_text(config, i, value);
        if ((size_t)room == strlen(value) && strncmp(at, value, (size_t)room) == 0) continue;
        snprintf(out, MR_HF_CONFIG_TEXT, "%s %.*s and %s", keys[i].name, room, at, value);
        return true;
    }
    return false;
}
