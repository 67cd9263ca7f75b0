/* adapter_config.json of PEFT, or of the MoRA fork, beside one pair of factors. */

#include "fuzz.h"
#include "spectra/updates.h"

#include <stdlib.h>
#include <string.h>

static const char tensors[] =
    "{\"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\": {\"dtype\": \"F32\", "
    "\"shape\": [1, 2], \"data_offsets\": [0, 8]}, "
    "\"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight\": {\"dtype\": \"F32\", "
    "\"shape\": [2, 1], \"data_offsets\": [8, 16]}}";

/* Writes adapter_model.safetensors. */
static void write_tensors(void)
{
    uint8_t file[8 + sizeof tensors - 1 + 16] = {0};
    const size_t bytes = sizeof tensors - 1;
    for (size_t i = 0; i < 8; i++)
        file[i] = (uint8_t)(bytes >> 8 * i);
    memcpy(file + 8, tensors, bytes);
    fuzz_file("adapter_model.safetensors", file, sizeof file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static mr_backend *backend;
    mr_updates *updates = NULL;
    if (!backend) {
        write_tensors();
        if (mr_backend_create("cpu", 0, 1, &backend) != MR_OK) abort();
    }
    fuzz_file("adapter_config.json", data, size);
    if (mr_updates_open(backend, fuzz_folder(), NULL, &updates) == MR_OK) {
        mr_updates_parts parts;
        for (int64_t i = 0; i < updates->count; i++)
            if (mr_updates_parts_of(updates, &updates->item[i], &parts) != MR_OK) break;
    }
    mr_updates_close(&updates);
    return 0;
}
