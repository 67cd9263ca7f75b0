/* A template and records for it, a line each behind a line "---"; the records for the program's own
 * templates too. */

#include "data/template.h"
#include "fuzz.h"

#include <string.h>

/* Makes samples of records, a line each. */
static void render_lines(const mr_template *t, const char *text, size_t bytes)
{
    mr_rendered sample = {0};
    mr_fault fault;
    char what[MR_FAULT_TEXT];
    while (bytes > 0) {
        const char *newline = memchr(text, '\n', bytes);
        const size_t line = newline ? (size_t)(newline - text) : bytes;
        json_t *record = json_loadb(text, line, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
        if (record && mr_template_render(t, record, &sample, &fault, what) != MR_OK) bytes = 0;
        json_decref(record);
        if (!newline || bytes == 0) break;
        text += line + 1;
        bytes -= line + 1;
    }
    mr_rendered_free(&sample);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char border[] = "\n---\n";
    static const char *const own[] = {"tulu_open_instruct", "alpaca", "metamath", "llama2_chat"};
    static mr_tokenizer *tokenizer;
    const char *text = (const char *)data;
    size_t yaml = 0;
    while (yaml + sizeof border - 1 < size && memcmp(text + yaml, border, sizeof border - 1) != 0)
        yaml++;
    const size_t records = yaml + sizeof border - 1 < size ? yaml + sizeof border - 1 : size;
    if (!tokenizer && mr_tokenizer_create("bytes", &tokenizer) != MR_OK) return 0;
    for (size_t i = 0; i <= sizeof own / sizeof own[0]; i++) {
        mr_template *t = NULL;
        const char *source = i > 0 ? own[i - 1] : fuzz_file("t.yaml", data, yaml);
        if (mr_template_load(source, &t) == MR_OK && mr_template_bind(t, tokenizer) == MR_OK)
            render_lines(t, text + records, size - records);
        mr_template_destroy(&t);
    }
    return 0;
}
