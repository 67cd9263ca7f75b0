/* A Hugging Face tokenizer.json. */

#include "fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_tokenizer("tokenizer.json", data, size);
}
