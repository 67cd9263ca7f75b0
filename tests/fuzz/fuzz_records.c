/* Records, JSON lines, an array or plain text, compressed or not, and the samples that templates
 * make of them. */

#include "corpus/compressed.h"
#include "corpus/documents.h"
#include "data/template.h"
#include "fuzz.h"

#include <stdlib.h>

static const char *const names[] = {"tulu", "alpaca", "metamath", "llama2_chat", "chatml"};
enum { TEMPLATES = sizeof names / sizeof *names };

static mr_tokenizer *tokenizer;
static mr_template *templates[TEMPLATES];

static void set_up(void)
{
    if (mr_tokenizer_create("bytes", &tokenizer) != MR_OK) abort();
    for (int i = 0; i < TEMPLATES; i++)
        if (mr_template_load(names[i], &templates[i]) != MR_OK) abort();
}

static void render(const json_t *record)
{
    mr_rendered sample = {0};
    for (int i = 0; i < TEMPLATES; i++) {
        mr_fault fault;
        char what[MR_FAULT_TEXT];
        if (mr_template_bind(templates[i], tokenizer) != MR_OK) continue; /* a token it lacks */
        if (mr_template_render(templates[i], record, &sample, &fault, what) != MR_OK) break;
        for (int64_t id = 0; id < sample.count; id++)
            if (sample.learned[id] > 1) abort();
    }
    mr_rendered_free(&sample);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file("records.jsonl", data, size);
    mr_documents *documents = NULL;
    mr_lines_place place = {.path = path, .longest = 4096};
    mr_document document = {.text = ""};
    mr_input_format format;
    if (!tokenizer) set_up();
    if (mr_compressed_probe(path, &place.compressed) != MR_OK) return 0;
    mr_status status = mr_documents_probe(path, place.compressed, true, &format);
    if (status == MR_OK) status = mr_documents_open(&place, format, &documents);
    while (status == MR_OK && document.text) {
        status = mr_documents_next(documents, &document);
        if (status == MR_OK && document.text && document.record && !document.faulty)
            render(document.record);
    }
    mr_documents_close(&documents);
    return 0;
}
