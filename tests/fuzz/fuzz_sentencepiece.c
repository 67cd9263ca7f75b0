/* A SentencePiece model. */

#include "fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_tokenizer("tokenizer.model", data, size);
}
