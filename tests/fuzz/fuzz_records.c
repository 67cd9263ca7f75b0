/* Records, JSON lines or plain text, compressed or not. */

#include "corpus/compressed.h"
#include "corpus/documents.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file("records.jsonl", data, size);
    mr_documents *documents = NULL;
    mr_lines_place place = {.path = path, .longest = 4096};
    if (mr_compressed_probe(path, &place.compressed) != MR_OK) return 0;
    mr_status status = mr_documents_open(&place, "text", &documents);
    mr_document document = {.text = ""};
    while (status == MR_OK && document.text)
        status = mr_documents_next(documents, &document);
    mr_documents_close(&documents);
    return 0;
}
