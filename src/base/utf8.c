#include "base/utf8.h"

#include <stdbool.h>
#include <string.h>

static bool is_tail(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

/* Bytes of the character at `at`, 0 where there is none. */
static size_t character(const unsigned char *at, size_t left)
{
    const unsigned char lead = at[0];
    if (lead < 0x80) return 1;
    if (lead < 0xc2 || lead > 0xf4 || left < 2) return 0;
    /* What the lead allows next excludes overlong forms, surrogates and values too large. */
    const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < low || at[1] > high) return 0;
    if (lead < 0xe0) return 2;
    if (left < 3 || !is_tail(at[2])) return 0;
    if (lead < 0xf0) return 3;
    return left >= 4 && is_tail(at[3]) ? 4 : 0;
}

size_t mr_utf8_mark(const char *text, size_t bytes)
{
    const bool there = bytes >= MR_UTF8_MARK && memcmp(text, "\xef\xbb\xbf", MR_UTF8_MARK) == 0;
    return there ? MR_UTF8_MARK : 0;
}

size_t mr_utf8_valid(const char *text, size_t bytes)
{
    const unsigned char *all = (const unsigned char *)text;
    size_t at = 0;
    while (at < bytes) {
        uint64_t word;
        if (bytes - at >= sizeof word) {
            memcpy(&word, all + at, sizeof word);
            if ((word & 0x8080808080808080u) == 0) {
                at += sizeof word;
                continue;
            }
        }
        size_t length = character(all + at, bytes - at);
        if (length == 0) return at;
        at += length;
    }
    return at;
}

int mr_utf8_decode(const char *text, size_t bytes, uint32_t *point)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t length = bytes > 0 ? character(at, bytes) : 0;
    if (length == 0) return 0;
    *point = length == 1 ? at[0] : at[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++)
        *point = *point << 6 | (at[i] & 0x3fu);
    return (int)length;
}

size_t mr_utf8_cut(const char *text, size_t most)
{
    size_t length = strnlen(text, most + 1);
    if (length <= most) return length;
    for (length = most; length > 0 && is_tail((unsigned char)text[length]);)
        length--;
    return length;
}

int mr_utf8_width(const char *text, size_t bytes)
{
    int width = 0;
    for (size_t i = 0; i < bytes; i++)
        width += !is_tail((unsigned char)text[i]);
    return width;
}

bool mr_utf8_is_space(uint32_t point)
{
    if (point < 0x80) return point == ' ' || (point >= '\t' && point <= '\r');
    return point == 0x85 || point == 0xa0 || point == 0x1680 ||
           (point >= 0x2000 && point <= 0x200a) || point == 0x2028 || point == 0x2029 ||
           point == 0x202f || point == 0x205f || point == 0x3000;
}

static bool is_stripped(uint32_t point)
{
    return mr_utf8_is_space(point) || (point >= 0x1c && point <= 0x1f);
}

size_t mr_utf8_spaces_at_start(const char *text, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        uint32_t point;
        const int length = mr_utf8_decode(text + at, bytes - at, &point);
        if (length == 0 || !is_stripped(point)) break;
        at += (size_t)length;
    }
    return at;
}

size_t mr_utf8_spaces_at_end(const char *text, size_t bytes)
{
    size_t at = bytes;
    while (at > 0) {
        size_t before = at - 1;
        uint32_t point;
        while (before > 0 && is_tail((unsigned char)text[before]))
            before--;
        const int length = mr_utf8_decode(text + before, at - before, &point);
        if (length == 0 || (size_t)length != at - before || !is_stripped(point)) break;
        at = before;
    }
    return bytes - at;
}
