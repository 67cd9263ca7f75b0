#include "base/text.h"

#include "base/utf8.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

void mr_text_add(mr_text *text, const char *fmt, ...)
{
    if (text->failed) return;
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int wanted = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    size_t needed = text->length + (size_t)(wanted < 0 ? 0 : wanted) + 1;
    if (mr_grow(MR_MEM_OTHER, &text->data, &text->room, (int64_t)needed, 1) == MR_OK) {
        vsnprintf(text->data + text->length, needed - text->length, fmt, again);
        text->length = needed - 1;
    } else {
        text->failed = true;
    }
    va_end(again);
}

void mr_text_add_bytes(mr_text *text, const char *bytes, size_t count)
{
    if (text->failed || count == 0) return;
    const size_t needed = text->length + count + 1;
    if (mr_grow(MR_MEM_OTHER, &text->data, &text->room, (int64_t)needed, 1) != MR_OK) {
        text->failed = true;
        return;
    }
    memcpy(text->data + text->length, bytes, count);
    text->length += count;
    text->data[text->length] = '\0';
}

int mr_text_clean(const char *bytes, size_t count, bool lines, char out[MR_TEXT_CLEAN])
{
    uint32_t point = 0;
    const int length = mr_utf8_decode(bytes, count, &point);
    const int taken = length > 0 ? length : 1;
    const bool kept = lines && (point == '\n' || point == '\t');
    const bool control = (point < 0x20 && !kept) || (point >= 0x7f && point < 0xa0);
    if (length > 0 && !control) {
        memcpy(out, bytes, (size_t)taken);
        out[taken] = '\0';
        return taken;
    }
    for (int i = 0; i < taken; i++)
        snprintf(out + (size_t)4 * (size_t)i, 5, "\\x%02x", (unsigned char)bytes[i]);
    return taken;
}

static void add_clean(mr_text *text, const char *bytes, size_t count, bool lines)
{
    while (count > 0) {
        /* Most of it is plain, and goes by the stretch. */
        int plain = 0;
        while ((size_t)plain < count && plain < INT_MAX && bytes[plain] >= ' ' &&
               bytes[plain] < 127)
            plain++;
        char clean[MR_TEXT_CLEAN];
        const int taken = plain > 0 ? plain : mr_text_clean(bytes, count, lines, clean);
        if (plain > 0)
            mr_text_add(text, "%.*s", plain, bytes);
        else
            mr_text_add(text, "%s", clean);
        bytes += taken;
        count -= (size_t)taken;
    }
}

void mr_text_add_clean(mr_text *text, const char *bytes, size_t count)
{
    add_clean(text, bytes, count, true);
}

void mr_text_add_line(mr_text *text, const char *bytes, size_t count)
{
    add_clean(text, bytes, count, false);
}

const char *mr_text_get(const mr_text *text)
{
    return text->data ? text->data : "";
}

void mr_text_clear(mr_text *text)
{
    text->length = 0;
    if (text->data) text->data[0] = '\0';
}

void mr_text_free(mr_text *text)
{
    mr_free(text->data);
    *text = (mr_text){0};
}

/* Texts one behind another, zeros between them. */
typedef struct mr_texts_block {
    struct mr_texts_block *older;
    size_t used, room;
    char bytes[];
} block;

const char *mr_texts_keep(mr_texts *texts, const char *text)
{
    enum { FIRST = 256, LARGEST = 1 << 16 };
    const size_t bytes = strlen(text) + 1;
    block *into = texts->block;
    if (!into || into->room - into->used < bytes) {
        size_t room = into ? 2 * into->room : FIRST;
        if (room > LARGEST) room = LARGEST;
        if (room < bytes) room = bytes;
        into = mr_alloc(MR_MEM_OTHER, sizeof *into + room);
        if (!into) return NULL;
        into->room = room;
        into->older = texts->block;
        texts->block = into;
    }
    char *kept = memcpy(into->bytes + into->used, text, bytes);
    into->used += bytes;
    return kept;
}

void mr_texts_free(mr_texts *texts)
{
    while (texts->block) {
        block *older = texts->block->older;
        mr_free(texts->block);
        texts->block = older;
    }
}

bool mr_text_is_number(const char *text)
{
    if (*text == '+' || *text == '-') text++;
    size_t whole = strspn(text, "0123456789");
    text += whole;
    size_t fraction = 0;
    if (*text == '.') {
        fraction = strspn(text + 1, "0123456789");
        text += 1 + fraction;
    }
    if (whole + fraction == 0) return false;
    if (*text == 'e' || *text == 'E') {
        text++;
        if (*text == '+' || *text == '-') text++;
        size_t exponent = strspn(text, "0123456789");
        if (exponent == 0) return false;
        text += exponent;
    }
    return *text == '\0';
}

int mr_text_distance(const char *a, const char *b)
{
    enum { LIMIT = 128 };
    size_t na = strlen(a), nb = strlen(b);
    if (na >= LIMIT || nb >= LIMIT) return INT_MAX;
    int row[LIMIT];
    for (size_t j = 0; j <= nb; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            int above = row[j];
            int replaced = diagonal + (a[i - 1] != b[j - 1]);
            int moved = (above < row[j - 1] ? above : row[j - 1]) + 1;
            row[j] = replaced < moved ? replaced : moved;
            diagonal = above;
        }
    }
    return row[nb];
}
