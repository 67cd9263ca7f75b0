/* config.json of a model, and the same bytes as generation_config.json beside a sound one. */

#include "fuzz.h"
#include "store/hf.h"

static const char sound[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 8, \"intermediate_size\": 8, "
    "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"vocab_size\": 16}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mr_hf_config config;
    char text[MR_HF_CONFIG_TEXT];
    if (mr_hf_config_read(fuzz_file("config.json", data, size), &config) == MR_OK)
        mr_hf_config_text(&config, text);
    if (mr_hf_config_read(fuzz_file("config.json", (const uint8_t *)sound, sizeof sound - 1),
                          &config) != MR_OK)
        __builtin_trap();
    fuzz_file("generation_config.json", data, size);
    if (mr_hf_generation_read(fuzz_folder(), &config) == MR_OK) mr_hf_config_text(&config, text);
    return 0;
}
