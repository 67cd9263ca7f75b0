#include "hf_files.h"

#include "data_files.h"

#define VOCAB "'a': 0, 'b': 1, 'c': 2, ' ': 3, 'ab': 4, 'abc': 5, '\xe2\x96\x81': 6"

static const char *or_else(const char *given, const char *otherwise)
{
    return given ? given : otherwise;
}

void hf_write(const char *path, hf_parts p)
{
    enum { TEXT = 1 << 14 };
    static char text[TEXT];
    const int length = snprintf(
        text, sizeof text,
        "{'version': '1.0', 'truncation': {'max_length': 1}, 'padding': null, 'added_tokens': [%s],"
        "'normalizer': %s, 'pre_tokenizer': %s, 'post_processor': %s, 'decoder': %s,"
        "'model': {'type': 'BPE', 'vocab': {%s}, 'merges': [%s]%s}%s}",
        or_else(p.added, ""), or_else(p.normalizer, "null"), or_else(p.pre, "null"),
        or_else(p.post, "null"), or_else(p.decoder, "{'type': 'Fuse'}"), or_else(p.vocab, VOCAB),
        or_else(p.merges, "'a b', ['ab', 'c']"), or_else(p.model, ""), or_else(p.more, ""));
    assert_true(length > 0 && length < TEXT);
    for (int i = 0; i < length; i++)
        if (text[i] == '\'') text[i] = '"';
    data_write(path, text, (size_t)length);
}
