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

void mr_text_add_clean(mr_text *text, const char *bytes, size_t count)
{
    while (count > 0) {
        uint32_t point = 0;
        const int length = mr_utf8_decode(bytes, count, &point);
        const bool control =
            (point < 0x20 && point != '\n' && point != '\t') || (point >= 0x7f && point < 0xa0);
        const int taken = length > 0 ? length : 1;
        for (int i = 0; i < taken; i++)
            mr_text_add(text, length == 0 || control ? "\\x%02x" : "%c", (unsigned char)bytes[i]);
        bytes += taken;
        count -= (size_t)taken;
    }
}

const char *mr_text_get(const mr_text *text)
{
    return text->data ? text->data : "";
}

void mr_text_free(mr_text *text)
{
    mr_free(text->data);
    *text = (mr_text){0};
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
