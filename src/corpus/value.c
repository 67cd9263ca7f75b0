#include "corpus/value.h"

#include <string.h>

/* What the grammar has next. */
enum { VALUE, VALUE_OR_END, NAME, NAME_OR_END, COLON, BEHIND };

void mr_value_begin(mr_value *v, const char *known, int64_t indent)
{
    memset(v, 0, sizeof *v);
    v->known = known;
    v->indent = indent;
    v->column = -1;
    v->next = VALUE;
}

static bool in_object(const mr_value *v)
{
    const int64_t level = v->depth - 1;
    return level >= 0 && level < MR_VALUE_DEPTH && (v->object[level / 8] >> (level % 8) & 1) != 0;
}

/* Notes whether what comes is what the grammar has. */
static void expect(mr_value *v, bool fits)
{
    if (!fits) v->broken = true;
}

static void open_bracket(mr_value *v, bool object)
{
    const int64_t level = v->depth++;
    expect(v, v->next == VALUE || v->next == VALUE_OR_END);
    expect(v, level < MR_VALUE_DEPTH);
    if (level < MR_VALUE_DEPTH) {
        const uint8_t bit = (uint8_t)(1u << (level % 8));
        v->object[level / 8] &= (uint8_t)~bit;
        if (object) v->object[level / 8] |= bit;
    }
    v->next = object ? NAME_OR_END : VALUE_OR_END;
}

static bool close_bracket(mr_value *v, bool object)
{
    expect(v, v->depth > 0 && in_object(v) == object);
    expect(v, v->next == BEHIND || v->next == (object ? NAME_OR_END : VALUE_OR_END));
    if (v->depth > 0) v->depth--;
    v->next = BEHIND;
    return v->depth == 0;
}

static void open_string(mr_value *v)
{
    const bool name = v->next == NAME || v->next == NAME_OR_END;
    expect(v, name || v->next == VALUE || v->next == VALUE_OR_END);
    v->naming = name && v->depth == 1 && !v->named && !v->broken;
    v->string = true;
    v->next = name ? COLON : BEHIND;
}

/* Takes a byte of a string. */
static void take_text(mr_value *v, char c)
{
    const bool escaped = v->escaped, ends_line = c == '\n' || c == '\r';
    v->escaped = c == '\\' && !escaped;
    v->string = !(c == '"' && !escaped) && !ends_line;
    expect(v, !ends_line);
    if (!v->naming) return;
    if (v->string && v->name_bytes < MR_VALUE_NAME) v->name[v->name_bytes++] = c;
    if (v->string) return;
    const bool fits = v->name_bytes < MR_VALUE_NAME && !ends_line;
    v->name[fits ? v->name_bytes : 0] = '\0';
    v->naming = false;
    v->named = true;
}

/* Whether a byte may be of a number or of true, false and null. */
static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '+' || c == '.';
}

/* Takes a byte; true where the value ends with it. */
static bool take(mr_value *v, char c)
{
    const bool in_word = v->word && is_word(c);
    v->word = false;
    if (v->string) {
        take_text(v, c);
    } else if (in_word) {
        v->word = true;
    } else if (mr_value_blank(c)) {
        return false;
    } else if (c == '"') {
        open_string(v);
    } else if (c == '{' || c == '[') {
        open_bracket(v, c == '{');
    } else if (c == '}' || c == ']') {
        return close_bracket(v, c == '}');
    } else if (c == ',') {
        expect(v, v->next == BEHIND);
        v->next = in_object(v) ? NAME : VALUE;
    } else if (c == ':') {
        expect(v, v->next == COLON);
        v->next = VALUE;
    } else {
        expect(v, is_word(c) && (v->next == VALUE || v->next == VALUE_OR_END));
        v->word = true;
        v->next = BEHIND;
    }
    return false;
}

typedef enum answer { NO, YES, UNKNOWN } answer;

/* Whether text, which begins with a brace, goes on with a first name. */
static answer begins_with(const char *text, size_t bytes, const char *name)
{
    const size_t length = strlen(name);
    size_t at = 1;
    if (length == 0) return NO;
    while (at < bytes && mr_value_blank(text[at]))
        at++;
    for (size_t i = 0; i < length + 2; i++) {
        const char wanted = i == 0 || i == length + 1 ? '"' : name[i - 1];
        if (at + i == bytes) return UNKNOWN;
        if (text[at + i] != wanted) return NO;
    }
    return YES;
}

/* Whether the next object of the kind of a broken value begins at a brace. */
static answer begins_next(const mr_value *v, const char *text, size_t bytes)
{
    if (v->column >= 0 && (v->indent < 0 || v->column == v->indent)) return YES;
    const answer other = begins_with(text, bytes, v->known);
    const answer own = v->named ? begins_with(text, bytes, v->name) : NO;
    return other == YES || own == NO ? other : own;
}

/* Where the next object begins within the string that was followed last, up to `end`, which is
 * where a missing quote is noticed late; `end` where it does not. */
static size_t look_back(const mr_value *v, const char *text, size_t bytes, size_t end)
{
    for (size_t i = v->suspect; i < end; i++)
        if (text[i] == '{' && (begins_with(text + i, bytes - i, v->known) == YES ||
                               begins_with(text + i, bytes - i, v->named ? v->name : "") == YES))
            return i;
    return end;
}

size_t mr_value_follow(mr_value *v, const char *text, size_t bytes, size_t from, bool last,
                       bool *ended)
{
    *ended = true;
    if (from == 0) v->suspect = 0;
    for (size_t i = from; i < bytes; i++) {
        const char c = text[i];
        const bool sound = !v->broken, inside = v->string;
        if (c == '{' && (v->broken || (v->inner == 0 && v->depth > 0 && !inside))) {
            const answer next = v->broken ? begins_next(v, text + i, bytes - i)
                                          : begins_with(text + i, bytes - i, v->known);
            *ended = next != UNKNOWN || last;
            if (!*ended || (next == YES && v->broken)) return i;
            if (next == YES) v->inner = i;
        }
        if (c == '\n' || c == '\r')
            v->column = 0;
        else if (v->column >= 0)
            v->column = mr_value_blank(c) ? v->column + 1 : -1;
        const bool closed = take(v, c);
        if (sound && v->broken) {
            const size_t next = look_back(v, text, bytes, i);
            if (next < i) return next;
        }
        if (closed) return i + 1;
        if (v->string && !inside) v->suspect = i;
    }
    *ended = false;
    return bytes;
}
