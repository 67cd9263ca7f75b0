#include "data/pair.h"

#include "base/memory.h"

#include <string.h>

static const char key_mark[] = "{key}";

enum { KEY_MARK = sizeof key_mark - 1 };

mr_random mr_uuid_stream(uint64_t seed, mr_uuid_kind kind, int64_t number)
{
    MR_INVARIANT(number >= 0 && number < (int64_t)1 << 48);
    return mr_random_stream(seed, MR_RANDOM_DATA, (uint64_t)kind << 48 | (uint64_t)number);
}

mr_uuid mr_uuid_draw(const mr_random *stream, int64_t index)
{
    mr_uuid uuid;
    for (int word = 0; word < 4; word++) {
        uint32_t bits = mr_random_u32(stream, 4 * (uint64_t)index + (uint64_t)word);
        for (int byte = 0; byte < 4; byte++)
            uuid.bytes[4 * word + byte] = (uint8_t)(bits >> (8 * byte));
    }
    uuid.bytes[6] = (uint8_t)((uuid.bytes[6] & 0x0f) | 0x40);
    uuid.bytes[8] = (uint8_t)((uuid.bytes[8] & 0x3f) | 0x80);
    return uuid;
}

size_t mr_uuid_bytes(bool hyphens)
{
    return hyphens ? MR_UUID_TEXT : MR_UUID_DIGITS;
}

void mr_uuid_print(mr_uuid uuid, bool hyphens, char out[MR_UUID_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < MR_UUID_DIGITS / 2; i++) {
        if (hyphens && (i == 4 || i == 6 || i == 8 || i == 10)) *out++ = '-';
        *out++ = digits[uuid.bytes[i] >> 4];
        *out++ = digits[uuid.bytes[i] & 0x0f];
    }
}

mr_status mr_prompt_parse(const char *text, bool hyphens, mr_prompt *out)
{
    const char *mark = strstr(text, key_mark);
    MR_CHECK(mark && !strstr(mark + KEY_MARK, key_mark), MR_ERR_CONFIG,
             "task.prompt: expected a template with one {key}, found \"%s\"", text);
    size_t length = strlen(text);
    MR_INVARIANT(length < sizeof out->text);
    memcpy(out->text, text, length + 1);
    out->key_at = (size_t)(mark - text);
    out->bytes = length - KEY_MARK + mr_uuid_bytes(hyphens);
    out->hyphens = hyphens;
    return MR_OK;
}

void mr_prompt_print(const mr_prompt *prompt, mr_uuid key, char out[MR_PROMPT_MAX])
{
    const size_t bytes = mr_uuid_bytes(prompt->hyphens);
    memcpy(out, prompt->text, prompt->key_at);
    mr_uuid_print(key, prompt->hyphens, out + prompt->key_at);
    memcpy(out + prompt->key_at + bytes, prompt->text + prompt->key_at + KEY_MARK,
           prompt->bytes - bytes - prompt->key_at);
}

mr_status mr_uuid_answer(mr_uuid value, bool hyphens, const mr_tokenizer *tokenizer, mr_text *text,
                         int64_t *tokens)
{
    char own[MR_UUID_TEXT];
    mr_uuid_print(value, hyphens, own);
    mr_text_add(text, "%.*s", (int)mr_uuid_bytes(hyphens), own);
    *tokens = mr_tokenizer_longest(tokenizer, mr_uuid_bytes(hyphens));
    return text->failed ? MR_ERR_MEMORY : MR_OK;
}

double mr_uuid_score(mr_uuid value, bool hyphens, const char *text, size_t bytes)
{
    char digits[MR_UUID_TEXT];
    mr_uuid_print(value, false, digits);
    int right = 0, at = 0;
    for (size_t i = 0; at < MR_UUID_DIGITS && i < bytes; i++)
        if (!hyphens || text[i] != '-') right += text[i] == digits[at++];
    return (double)right / MR_UUID_DIGITS;
}
