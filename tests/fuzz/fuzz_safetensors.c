/* A safetensors file: its header, and every tensor's first and last elements. */

#include "fuzz.h"
#include "store/safetensors.h"

static void read_ends(const mr_safetensors *file, const mr_safetensors_entry *entry)
{
    float value;
    unsigned char byte;
    const int64_t bytes = mr_safetensors_bytes(entry);
    const int64_t ends[] = {0, entry->count - 1};
    for (int i = 0; i < 2 && entry->count > 0; i++)
        if (mr_safetensors_read_f32(file, entry, ends[i], 1, &value) != MR_OK) break;
    if (bytes > 0 && mr_safetensors_read_raw(file, entry, bytes - 1, 1, &byte) != MR_OK)
        __builtin_trap(); /* what was handed out can be read */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mr_safetensors *file = NULL;
    if (mr_safetensors_open(fuzz_file("model.safetensors", data, size), &file) == MR_OK) {
        int64_t pairs;
        for (int64_t i = 0; i < mr_safetensors_count(file); i++)
            read_ends(file, mr_safetensors_at(file, i));
        (void)mr_safetensors_pairs(file, &pairs);
    }
    mr_safetensors_close(&file);
    return 0;
}
