#include "data/hf_place.h"

#include "base/text.h"
#include "base/utf8.h"
#include "store/json.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ZERO = 3 }; /* bytes of what stands for U+0000 */

/* A character that is never one of text. */
typedef struct stand_in {
    const char *text, *escape;
} stand_in;

static const stand_in stand_ins[] = {{"\xef\xb7\x90", "\\ufdd0"}, {"\xef\xb7\x91", "\\ufdd1"},
                                     {"\xef\xb7\x92", "\\ufdd2"}, {"\xef\xb7\x93", "\\ufdd3"},
                                     {"\xef\xb7\x94", "\\ufdd4"}, {"\xef\xb7\x95", "\\ufdd5"},
                                     {"\xef\xb7\x96", "\\ufdd6"}, {"\xef\xb7\x97", "\\ufdd7"}};

static bool matches(const char *text, const char *with, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (tolower((unsigned char)text[i]) != with[i]) return false;
    return true;
}

static bool contains(const char *text, size_t bytes, const char *part, size_t part_bytes)
{
    for (size_t at = 0; at + part_bytes <= bytes; at++)
        if (tolower((unsigned char)text[at]) == part[0] && matches(text + at, part, part_bytes))
            return true;
    return false;
}

/* The end of the string that begins at a quotation mark. */
static size_t string_end(const char *text, size_t bytes, size_t at)
{
    for (at++; at < bytes && text[at] != '"'; at++)
        if (text[at] == '\\') at++;
    return at < bytes ? at + 1 : bytes;
}

/* Puts the escape of a stand-in in the place of that of U+0000 in all keys. */
static void replace_zeros(char *text, size_t bytes, const char *escape)
{
    enum { ESCAPE = 6 };
    for (size_t at = 0; at < bytes;) {
        if (text[at] != '"') {
            at++;
            continue;
        }
        const size_t end = string_end(text, bytes, at);
        size_t next = end;
        while (next < bytes && strchr(" \t\r\n", text[next]) && text[next])
            next++;
        const bool key = next < bytes && text[next] == ':';
        while (key && at + ESCAPE < end) {
            const bool zero = memcmp(text + at, "\\u0000", ESCAPE) == 0;
            if (zero) memcpy(text + at, escape, ESCAPE);
            at += text[at] == '\\' ? 2 : 1;
        }
        at = end;
    }
}

mr_status mr_hf_parse(mr_hf_place *at, const char *text, size_t bytes, json_t **out)
{
    static const char zero[] = "\\u0000";
    const size_t count = sizeof stand_ins / sizeof stand_ins[0];
    const stand_in *with = NULL;
    char *copy = NULL;
    json_error_t error;
    *out = NULL;
    at->zero = NULL;
    if (contains(text, bytes, zero, sizeof zero - 1)) {
        for (size_t i = 0; i < count && !with; i++)
            if (!contains(text, bytes, stand_ins[i].text, ZERO) &&
                !contains(text, bytes, stand_ins[i].escape, strlen(stand_ins[i].escape)))
                with = &stand_ins[i];
        copy = with ? mr_alloc(MR_MEM_OTHER, bytes) : NULL;
        if (with && !copy) return MR_ERR_MEMORY;
    }
    if (copy) {
        memcpy(copy, text, bytes);
        replace_zeros(copy, bytes, with->escape);
        at->zero = with->text;
    }
    *out = json_loadb(copy ? copy : text, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    mr_free(copy);
    MR_CHECK(*out, MR_ERR_FORMAT, "tokenizer: '%s':%d:%d: %s", at->file, error.line, error.column,
             error.text);
    return MR_OK;
}

const json_t *mr_hf_look_up(const mr_hf_place *at, const json_t *object, mr_hf_string key)
{
    if (!memchr(key.text, '\0', key.bytes)) return json_object_getn(object, key.text, key.bytes);
    mr_text written = {0};
    for (size_t i = 0; at->zero && i < key.bytes; i++)
        mr_text_add_bytes(&written, key.text[i] ? key.text + i : at->zero, key.text[i] ? 1 : ZERO);
    const json_t *found = json_object_get(object, mr_text_get(&written));
    mr_text_free(&written);
    return found;
}

size_t mr_hf_key_text(const mr_hf_place *at, const char *key, char *to)
{
    const char *start = to;
    while (*key) {
        const bool zero = at->zero && strncmp(key, at->zero, ZERO) == 0;
        *to++ = zero ? '\0' : *key;
        key += zero ? ZERO : 1;
    }
    return (size_t)(to - start);
}

mr_hf_place mr_hf_key(const mr_hf_place *of, const char *key)
{
    mr_hf_place place = {.file = of->file, .zero = of->zero};
    snprintf(place.at, sizeof place.at, "%.*s%s%s", (int)sizeof place.at / 2, of->at,
             of->at[0] ? "." : "", key);
    return place;
}

mr_hf_place mr_hf_item(const mr_hf_place *of, size_t index)
{
    mr_hf_place place = {.file = of->file, .zero = of->zero};
    snprintf(place.at, sizeof place.at, "%.*s[%zu]", (int)sizeof place.at / 2, of->at, index);
    return place;
}

/* What a value is, with the value where it is short. */
static void describe(const json_t *value, mr_text *out)
{
    enum { SHORT = 40 };
    if (json_is_string(value)) {
        const size_t bytes = json_string_length(value);
        size_t shown = bytes < SHORT ? bytes : SHORT;
        while (shown < bytes && shown > 0 && (json_string_value(value)[shown] & 0xc0) == 0x80)
            shown--;
        mr_text_add(out, "\"");
        mr_text_add_line(out, json_string_value(value), shown);
        mr_text_add(out, shown < bytes ? "...\"" : "\"");
    } else if (json_is_integer(value)) {
        mr_text_add(out, "%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        mr_text_add(out, "%g", json_real_value(value));
    } else {
        mr_text_add(out, "%s", mr_json_kind(value));
    }
}

mr_status mr_hf_expected(const mr_hf_place *at, const json_t *found, const char *fmt, ...)
{
    char expected[MR_MESSAGE_MAX / 2];
    mr_text what = {0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(expected, sizeof expected, fmt, args);
    va_end(args);
    describe(found, &what);
    const mr_status status =
        mr_fail(MR_ERR_FORMAT, "tokenizer: '%s': %s: expected %s, found %s", at->file,
                at->at[0] ? at->at : "the file", expected, mr_text_get(&what));
    mr_text_free(&what);
    return status;
}

/* The names of a list as "a, b, c". */
static void join(const char *const *names, mr_text *out)
{
    for (int i = 0; names[i]; i++)
        mr_text_add(out, "%s%s", i > 0 ? ", " : "", names[i]);
}

static bool is_one_of(const char *const *names, const char *text, size_t bytes, int *which)
{
    for (*which = 0; names[*which]; (*which)++)
        if (strlen(names[*which]) == bytes && memcmp(names[*which], text, bytes) == 0) return true;
    return false;
}

mr_status mr_hf_check_keys(const mr_hf_place *at, const json_t *object, const char *const *known)
{
    const char *key;
    json_t *value;
    int which;
    if (!json_is_object(object)) return mr_hf_expected(at, object, "an object");
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (is_one_of(known, key, strlen(key), &which)) continue;
        mr_text names = {0}, found = {0};
        join(known, &names);
        mr_text_add_line(&found, key, strlen(key));
        const mr_status status = mr_fail(
            MR_ERR_FORMAT, "tokenizer: '%s': %s: expected of keys only %s, found \"%.64s\"",
            at->file, at->at[0] ? at->at : "the file", mr_text_get(&names), mr_text_get(&found));
        mr_text_free(&names);
        mr_text_free(&found);
        return status;
    }
    return MR_OK;
}

mr_status mr_hf_read_choice(const mr_hf_place *at, const json_t *object, const char *key,
                            const char *const *names, int *which)
{
    const json_t *value = json_object_get(object, key);
    const mr_hf_place here = mr_hf_key(at, key);
    if (!json_is_object(object)) return mr_hf_expected(at, object, "an object");
    if (json_is_string(value) &&
        is_one_of(names, json_string_value(value), json_string_length(value), which))
        return MR_OK;
    mr_text list = {0};
    join(names, &list);
    const mr_status status =
        mr_hf_expected(&here, value, "%s%s", names[1] ? "one of " : "", mr_text_get(&list));
    mr_text_free(&list);
    return status;
}

mr_status mr_hf_read_string(const mr_hf_place *at, const json_t *object, const char *key,
                            mr_hf_string *out)
{
    const json_t *value = json_object_get(object, key);
    const mr_hf_place here = mr_hf_key(at, key);
    if (!json_is_string(value)) return mr_hf_expected(&here, value, "a string");
    *out = (mr_hf_string){json_string_value(value), json_string_length(value)};
    return MR_OK;
}

mr_status mr_hf_read_character(const mr_hf_place *at, const json_t *object, const char *key,
                               mr_hf_string *out)
{
    uint32_t point;
    const mr_hf_place here = mr_hf_key(at, key);
    MR_TRY(mr_hf_read_string(at, object, key, out));
    if (out->bytes == 0 || (size_t)mr_utf8_decode(out->text, out->bytes, &point) != out->bytes)
        return mr_hf_expected(&here, json_object_get(object, key), "one character");
    return MR_OK;
}

mr_status mr_hf_read_bool(const mr_hf_place *at, const json_t *object, const char *key,
                          int fallback, bool *out)
{
    const json_t *value = json_object_get(object, key);
    const mr_hf_place here = mr_hf_key(at, key);
    *out = value ? json_is_true(value) : fallback == 1;
    if (!value && fallback >= 0) return MR_OK;
    return json_is_boolean(value) ? MR_OK : mr_hf_expected(&here, value, "true or false");
}

mr_status mr_hf_read_number(const mr_hf_place *at, const json_t *object, const char *key,
                            int64_t least, int64_t most, int64_t *out)
{
    const json_t *value = json_object_get(object, key);
    const mr_hf_place here = mr_hf_key(at, key);
    *out = json_integer_value(value);
    if (!json_is_integer(value) || *out < least || *out > most)
        return mr_hf_expected(&here, value, "a whole number of %lld..%lld", (long long)least,
                              (long long)most);
    return MR_OK;
}

mr_status mr_hf_read_list(const mr_hf_place *at, const json_t *object, const char *key,
                          const json_t **out)
{
    const mr_hf_place here = mr_hf_key(at, key);
    *out = json_object_get(object, key);
    return json_is_array(*out) ? MR_OK : mr_hf_expected(&here, *out, "a list");
}

bool mr_hf_is_null(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return !value || json_is_null(value);
}
