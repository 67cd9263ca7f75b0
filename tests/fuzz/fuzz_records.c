/* Records, JSON lines, an array or plain text, compressed or not. */

#include "corpus/compressed.h"
#include "corpus/documents.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file("records.jsonl", data, size);
    mr_documents *documents = NULL;
    mr_lines_place place = {.path = path, .longest = 4096};
    mr_input_format format;
    if (mr_compressed_probe(path, &place.compressed) != MR_OK) return 0;
    mr_status status = mr_documents_probe(path, place.compressed, true, &format);
    if (status == MR_OK) status = mr_documents_open(&place, format, &documents);
    mr_document document = {.text = ""};
    while (status == MR_OK && document.text) {
        status = mr_documents_next(documents, &document);
        if (status == MR_OK && document.record) mr_document_take_field(&document, "text");
    }
    mr_documents_close(&documents);
    return 0;
}
