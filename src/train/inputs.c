#include "train/inputs.h"

#include <stdio.h>
#include <string.h>

void mr_inputs_fields(mr_inputs *inputs, mr_inputs_field out[MR_INPUTS_FIELDS])
{
    out[0] = (mr_inputs_field){"data_hash", inputs->data_hash, sizeof inputs->data_hash};
    out[1] =
        (mr_inputs_field){"tokenizer_hash", inputs->tokenizer_hash, sizeof inputs->tokenizer_hash};
    out[2] = (mr_inputs_field){"weights_hash", inputs->weights_hash, sizeof inputs->weights_hash};
    out[3] = (mr_inputs_field){"adapter_hash", inputs->adapter_hash, sizeof inputs->adapter_hash};
    out[4] = (mr_inputs_field){"model_config", inputs->model, sizeof inputs->model};
    out[5] = (mr_inputs_field){"end_ids", inputs->ends, sizeof inputs->ends};
}

void mr_inputs_take_ends(mr_inputs *inputs, const mr_tokenizer *tokenizer)
{
    size_t length = 0;
    snprintf(inputs->ends, sizeof inputs->ends, "none");
    for (int i = 0; i < tokenizer->ends; i++)
        length += (size_t)snprintf(inputs->ends + length, sizeof inputs->ends - length, "%s%lld",
                                   i > 0 ? " " : "", (long long)tokenizer->end[i]);
}

/* Whether a hash is of whole weights. */
static bool is_whole(const char *hash)
{
    return strncmp(hash, MR_HF_HASH_TAG, strlen(MR_HF_HASH_TAG)) == 0;
}

/* shown: characters of each in the text, at most. */
static void compare(const char *what, const char *then, const char *now, int shown, mr_text *out)
{
    if (!then[0] || !now[0] || strcmp(then, now) == 0) return;
    mr_text_add(out, "%s%s %.*s instead of %.*s", out->length > 0 ? ", " : "", what, shown, now,
                shown, then);
}

bool mr_inputs_differ(const mr_inputs *then, const mr_inputs *now, bool drawn, mr_text *out)
{
    enum { DIGITS = 12 }; /* of a hash */
    char model[MR_HF_CONFIG_TEXT];
    const size_t length = out->length, tag = strlen(MR_HF_HASH_TAG);
    compare("data", then->data_hash, now->data_hash, DIGITS, out);
    compare("tokenizer", then->tokenizer_hash, now->tokenizer_hash, DIGITS, out);
    compare("adapter", then->adapter_hash, now->adapter_hash, DIGITS, out);
    compare("end ids", then->ends, now->ends, MR_INPUTS_ENDS, out);
    if (is_whole(then->weights_hash) && is_whole(now->weights_hash))
        compare("base weights", then->weights_hash + tag, now->weights_hash + tag, DIGITS, out);
    if (mr_hf_config_differs(now->model, then->model, drawn, model))
        mr_text_add(out, "%s%s", out->length > 0 ? ", " : "", model);
    return out->length > length;
}
