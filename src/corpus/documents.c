#include "corpus/documents.h"

#include "base/hash.h"
#include "base/text.h"
#include "base/utf8.h"
#include "corpus/objects.h"
#include "store/json.h"

#include <ctype.h>
#include <stdarg.h>
#include <string.h>

struct mr_documents {
    mr_lines *lines;     /* owned; NULL where objects are */
    mr_objects *objects; /* of an array; owned */
    bool json;
    size_t longest; /* bytes of a document or JSON object */
    json_t *object; /* of the document given last; owned */
};

mr_status mr_documents_open(const mr_lines_place *place, mr_input_format format, mr_documents **out)
{
    *out = NULL;
    mr_documents *d = mr_alloc(MR_MEM_DATA, sizeof *d);
    if (!d) return MR_ERR_MEMORY;
    d->json = format != MR_INPUT_TEXT;
    d->longest = place->longest;
    mr_status status = format == MR_INPUT_JSON ? mr_objects_open(place, &d->objects)
                                               : mr_lines_open(place, &d->lines);
    if (status == MR_OK)
        *out = d;
    else
        mr_documents_close(&d);
    return status;
}

void mr_documents_close(mr_documents **documents)
{
    mr_documents *d = *documents;
    if (!d) return;
    json_decref(d->object);
    mr_lines_close(&d->lines);
    mr_objects_close(&d->objects);
    mr_free(d);
    *documents = NULL;
}

int64_t mr_documents_offset(const mr_documents *d)
{
    return d->objects ? mr_objects_offset(d->objects) : mr_lines_offset(d->lines);
}

int64_t mr_documents_consumed(const mr_documents *d)
{
    return d->objects ? mr_objects_consumed(d->objects) : mr_lines_consumed(d->lines);
}

static void set_fault(mr_document *out, mr_fault fault, const char *fmt, ...) MR_PRINTF(3, 4);
static void set_fault(mr_document *out, mr_fault fault, const char *fmt, ...)
{
    va_list args;
    out->faulty = true;
    out->fault = fault;
    va_start(args, fmt);
    mr_fault_tell(out->what, fmt, args);
    va_end(args);
}

/* A whole file has many lines: the fault's is found by counting. */
static void set_utf8_fault(mr_document *out, size_t at)
{
    size_t line_start = 0;
    for (size_t i = 0; i < at; i++) {
        if (out->text[i] != '\n') continue;
        out->line++;
        line_start = i + 1;
    }
    set_fault(out, MR_FAULT_UTF8, "not UTF-8: byte %zu of the line is 0x%02x", at - line_start + 1,
              (unsigned char)out->text[at]);
}

/* The code unit of UTF-16 that an escape \\uXXXX stands for; -1 where there is none. */
static int32_t escaped_unit(const char *text, size_t bytes)
{
    enum { ESCAPE = 6 };
    int32_t unit = 0;
    if (bytes < ESCAPE || text[0] != '\\' || text[1] != 'u') return -1;
    for (int i = 2; i < ESCAPE; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *at = strchr(digits, tolower((unsigned char)text[i]));
        if (!at || *at == '\0') return -1;
        unit = unit * 16 + (int32_t)(at - digits);
    }
    return unit;
}

/* Whether text in JSON has half a surrogate pair, which is no character, before `end`. */
static bool has_half_pair(const char *text, size_t bytes, size_t end)
{
    enum { PAIR = 6, HIGH = 0xd800, LOW = 0xdc00, BEHIND = 0xe000 };
    for (size_t i = 0; i < end; i++) {
        if (text[i] != '\\') continue;
        const int32_t unit = escaped_unit(text + i, bytes - i);
        const int32_t next =
            unit < 0 ? -1 : escaped_unit(text + i + PAIR, bytes - i > PAIR ? bytes - i - PAIR : 0);
        if (unit >= HIGH && unit < LOW && next >= LOW && next < BEHIND)
            i += PAIR; /* and what every escape has behind its backslash */
        else if (unit >= HIGH && unit < BEHIND)
            return true;
        i++;
    }
    return false;
}

/* The library tells with bytes of the line, which may be any. */
static void set_json_fault(const mr_documents *d, mr_document *out, const json_error_t *error)
{
    mr_text clean = {0};
    const size_t end = error->position > 0 ? (size_t)error->position : 0;
    const bool half = has_half_pair(out->text, out->bytes, end < out->bytes ? end : out->bytes);
    mr_text_add_clean(&clean, error->text, strlen(error->text));
    out->line += error->line - 1;
    const bool cut = d->lines && json_error_code(error) == json_error_premature_end_of_input;
    set_fault(out, half ? MR_FAULT_SURROGATE : MR_FAULT_JSON, "%s: column %d: %s%s",
              half ? "half a surrogate pair" : "cannot read JSON", error->column,
              mr_text_get(&clean), cut ? " (an object stands in a line, or in an array)" : "");
    mr_text_free(&clean);
}

/* Other fields may hold integers past 64 bits and zeros in text. What is past a double, half a
 * surrogate pair and a zero in a name the library refuses, though the grammar has them. */
static const size_t json_flags = JSON_ALLOW_NUL | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL;

/* Reads the JSON object; of a name that stands twice in one, nothing says which is meant. */
static void take_record(mr_documents *d, mr_document *out)
{
    json_error_t error;
    d->object = json_loadb(out->text, out->bytes, json_flags | JSON_REJECT_DUPLICATES, &error);
    if (!d->object) {
        /* One at the start of a file is gone already; here it comes of files that were joined. */
        if (mr_utf8_mark(out->text, out->bytes) > 0)
            set_fault(out, MR_FAULT_JSON, "not JSON: a byte-order mark stands before it");
        else
            set_json_fault(d, out, &error);
        return;
    }
    if (!json_is_object(d->object)) {
        set_fault(out, MR_FAULT_JSON, "expected a JSON object, found %s", mr_json_kind(d->object));
        return;
    }
    out->record = d->object;
}

void mr_document_take_field(mr_document *out, const char *field)
{
    const json_t *value = json_object_get(out->record, field);
    out->record = NULL;
    if (!json_is_string(value)) {
        set_fault(out, value ? MR_FAULT_TYPE : MR_FAULT_FIELD,
                  "expected text in field \"%s\", found %s", field, mr_json_kind(value));
        return;
    }
    out->text = json_string_value(value);
    out->bytes = json_string_length(value);
}

static bool is_blank(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (!strchr(" \t\r", text[i]) || text[i] == '\0') return false;
    return true;
}

static mr_status next_line(mr_documents *d, mr_document *out, bool *too_long)
{
    MR_TRY(mr_lines_next(d->lines, &out->text, &out->bytes));
    out->line = mr_lines_number(d->lines);
    *too_long = mr_lines_too_long(d->lines);
    out->blank = out->text && d->json && !*too_long && is_blank(out->text, out->bytes);
    return MR_OK;
}

static mr_status next_item(mr_documents *d, mr_document *out, bool *too_long)
{
    mr_object item;
    MR_TRY(mr_objects_next(d->objects, &item));
    out->text = item.text;
    out->bytes = item.bytes;
    out->line = item.line;
    *too_long = item.too_long;
    if (item.problem) set_fault(out, MR_FAULT_JSON, "%s", item.problem);
    return MR_OK;
}

mr_status mr_documents_next(mr_documents *d, mr_document *out)
{
    json_decref(d->object);
    d->object = NULL;
    *out = (mr_document){.text = NULL};
    bool too_long = false;
    MR_TRY(d->objects ? next_item(d, out, &too_long) : next_line(d, out, &too_long));
    if (too_long)
        set_fault(out, MR_FAULT_LONG, "a %s of more than %zu bytes, the most there may be",
                  d->objects ? "record"
                  : d->json  ? "line"
                             : "document",
                  d->longest);
    if (!out->text || out->blank || out->faulty) return MR_OK;
    size_t valid = mr_utf8_valid(out->text, out->bytes);
    if (valid < out->bytes)
        set_utf8_fault(out, valid);
    else if (d->json)
        take_record(d, out);
    return MR_OK;
}

/* Whether the first line that is not blank is a whole JSON object. */
static mr_status are_json_lines(const char *path, bool compressed, bool *json)
{
    enum { LONGEST = 64 << 20 };
    const mr_lines_place place = {.path = path, .compressed = compressed, .longest = LONGEST};
    mr_lines *lines = NULL;
    const char *text = NULL;
    size_t bytes = 0;
    *json = false;
    MR_TRY(mr_lines_open(&place, &lines));
    mr_status status = MR_OK;
    do
        status = mr_lines_next(lines, &text, &bytes);
    while (status == MR_OK && text && is_blank(text, bytes));
    if (status == MR_OK && text) {
        json_t *value = json_loadb(text, bytes, json_flags, NULL);
        *json = json_is_object(value);
        json_decref(value);
    }
    mr_lines_close(&lines);
    return status;
}

mr_status mr_documents_probe(const char *path, bool compressed, bool json, mr_input_format *out)
{
    bool there;
    *out = MR_INPUT_JSON;
    MR_TRY(mr_objects_are_there(path, compressed, !json, &there));
    if (there) return MR_OK;
    *out = MR_INPUT_JSONL;
    if (json) return MR_OK;
    MR_TRY(are_json_lines(path, compressed, &there));
    if (!there) *out = MR_INPUT_TEXT;
    return MR_OK;
}

/* Eight bytes at a time are mixed in; what the hash is belongs to the format of a prepared folder,
 * as it decides what is held out. */
static const uint64_t hash_start = 0x9e3779b97f4a7c15u;

static bool is_held_out(uint64_t hash, double fraction)
{
    return (double)(mr_hash_mix(hash) >> 11) * 0x1p-53 < fraction;
}

bool mr_document_held_out(const char *text, size_t bytes, double fraction)
{
    uint64_t hash = hash_start ^ bytes;
    while (bytes > 0) {
        unsigned char word[8] = {0};
        const size_t part = bytes < sizeof word ? bytes : sizeof word;
        uint64_t value = 0;
        memcpy(word, text, part);
        for (int i = 0; i < 8; i++)
            value |= (uint64_t)word[i] << (8 * i);
        hash = mr_hash_mix(hash ^ value) + hash_start;
        text += part;
        bytes -= part;
    }
    return is_held_out(hash, fraction);
}

bool mr_tokens_held_out(const int32_t *ids, int64_t count, double fraction)
{
    uint64_t hash = hash_start ^ (uint64_t)count;
    for (int64_t i = 0; i < count; i++)
        hash = mr_hash_mix(hash ^ (uint64_t)ids[i]) + hash_start;
    return is_held_out(hash, fraction);
}
