#include "data/hf_text.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

mr_status mr_hf_buffer_reserve(mr_hf_buffer *buffer, size_t more)
{
    enum { FIRST = 256 };
    const size_t need = buffer->bytes + more;
    MR_CHECK(need >= more, MR_ERR_MEMORY, "tokenizer: a text is too long");
    if (need <= buffer->room) return MR_OK;
    size_t room = need > 2 * buffer->room ? need : 2 * buffer->room;
    if (room < FIRST) room = FIRST;
    char *data = realloc(buffer->data, room);
    MR_CHECK(data, MR_ERR_MEMORY, "tokenizer: cannot allocate %zu bytes for a text", room);
    mr_memory_hold(MR_MEM_OTHER, room - buffer->room);
    buffer->data = data;
    buffer->room = room;
    return MR_OK;
}

mr_status mr_hf_buffer_add(mr_hf_buffer *buffer, const char *text, size_t bytes)
{
    if (bytes == 0) return MR_OK;
    MR_TRY(mr_hf_buffer_reserve(buffer, bytes));
    memcpy(buffer->data + buffer->bytes, text, bytes);
    buffer->bytes += bytes;
    return MR_OK;
}

void mr_hf_buffer_free(mr_hf_buffer *buffer)
{
    mr_memory_release(MR_MEM_OTHER, buffer->room);
    free(buffer->data);
    *buffer = (mr_hf_buffer){.data = NULL};
}

int mr_hf_character(const char *text, uint32_t *point)
{
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x80) {
        *point = at[0];
        return 1;
    }
    const int length = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    *point = at[0] & (0xffu >> (length + 1));
    for (int i = 1; i < length; i++)
        *point = *point << 6 | (at[i] & 0x3fu);
    return length;
}

/* Characters that Unicode 15 to 16 added. Source: the general categories that the regular
 * expressions of tokenizers 0.23.3 tell, less those of Unicode 14. */
enum {
    LU = UTF8PROC_CATEGORY_LU,
    LL = UTF8PROC_CATEGORY_LL,
    LM = UTF8PROC_CATEGORY_LM,
    LO = UTF8PROC_CATEGORY_LO,
    MN = UTF8PROC_CATEGORY_MN,
    MC = UTF8PROC_CATEGORY_MC,
    ND = UTF8PROC_CATEGORY_ND,
    NO = UTF8PROC_CATEGORY_NO,
    PD = UTF8PROC_CATEGORY_PD,
    PO = UTF8PROC_CATEGORY_PO,
    SM = UTF8PROC_CATEGORY_SM,
    SO = UTF8PROC_CATEGORY_SO,
    CF = UTF8PROC_CATEGORY_CF,
    CATEGORIES = UTF8PROC_CATEGORY_CO + 1
};

typedef struct newer_range {
    uint32_t first, last;
    int category;
} newer_range;

static const newer_range newer[] = {
    {0x00897, 0x00897, MN}, {0x00cf3, 0x00cf3, MC}, {0x00ece, 0x00ece, MN}, {0x01b4e, 0x01b4f, PO},
    {0x01b7f, 0x01b7f, PO}, {0x01c89, 0x01c89, LU}, {0x01c8a, 0x01c8a, LL}, {0x02427, 0x02429, SO},
    {0x02ffc, 0x02fff, SO}, {0x031e4, 0x031e5, SO}, {0x031ef, 0x031ef, SO}, {0x0a7cb, 0x0a7cc, LU},
    {0x0a7cd, 0x0a7cd, LL}, {0x0a7da, 0x0a7da, LU}, {0x0a7db, 0x0a7db, LL}, {0x0a7dc, 0x0a7dc, LU},
    {0x105c0, 0x105f3, LO}, {0x10d40, 0x10d49, ND}, {0x10d4a, 0x10d4d, LO}, {0x10d4e, 0x10d4e, LM},
    {0x10d4f, 0x10d4f, LO}, {0x10d50, 0x10d65, LU}, {0x10d69, 0x10d6d, MN}, {0x10d6e, 0x10d6e, PD},
    {0x10d6f, 0x10d6f, LM}, {0x10d70, 0x10d85, LL}, {0x10d8e, 0x10d8f, SM}, {0x10ec2, 0x10ec4, LO},
    {0x10efc, 0x10eff, MN}, {0x1123f, 0x11240, LO}, {0x11241, 0x11241, MN}, {0x11380, 0x11389, LO},
    {0x1138b, 0x1138b, LO}, {0x1138e, 0x1138e, LO}, {0x11390, 0x113b5, LO}, {0x113b7, 0x113b7, LO},
    {0x113b8, 0x113ba, MC}, {0x113bb, 0x113c0, MN}, {0x113c2, 0x113c2, MC}, {0x113c5, 0x113c5, MC},
    {0x113c7, 0x113ca, MC}, {0x113cc, 0x113cd, MC}, {0x113ce, 0x113ce, MN}, {0x113cf, 0x113cf, MC},
    {0x113d0, 0x113d0, MN}, {0x113d1, 0x113d1, LO}, {0x113d2, 0x113d2, MN}, {0x113d3, 0x113d3, LO},
    {0x113d4, 0x113d5, PO}, {0x113d7, 0x113d8, PO}, {0x113e1, 0x113e2, MN}, {0x116d0, 0x116e3, ND},
    {0x11b00, 0x11b09, PO}, {0x11bc0, 0x11be0, LO}, {0x11be1, 0x11be1, PO}, {0x11bf0, 0x11bf9, ND},
    {0x11f00, 0x11f01, MN}, {0x11f02, 0x11f02, LO}, {0x11f03, 0x11f03, MC}, {0x11f04, 0x11f10, LO},
    {0x11f12, 0x11f33, LO}, {0x11f34, 0x11f35, MC}, {0x11f36, 0x11f3a, MN}, {0x11f3e, 0x11f3f, MC},
    {0x11f40, 0x11f40, MN}, {0x11f41, 0x11f41, MC}, {0x11f42, 0x11f42, MN}, {0x11f43, 0x11f4f, PO},
    {0x11f50, 0x11f59, ND}, {0x11f5a, 0x11f5a, MN}, {0x1342f, 0x1342f, LO}, {0x13439, 0x1343f, CF},
    {0x13440, 0x13440, MN}, {0x13441, 0x13446, LO}, {0x13447, 0x13455, MN}, {0x13460, 0x143fa, LO},
    {0x16100, 0x1611d, LO}, {0x1611e, 0x16129, MN}, {0x1612a, 0x1612c, MC}, {0x1612d, 0x1612f, MN},
    {0x16130, 0x16139, ND}, {0x16d40, 0x16d42, LM}, {0x16d43, 0x16d6a, LO}, {0x16d6b, 0x16d6c, LM},
    {0x16d6d, 0x16d6f, PO}, {0x16d70, 0x16d79, ND}, {0x18cff, 0x18cff, LO}, {0x1b132, 0x1b132, LO},
    {0x1b155, 0x1b155, LO}, {0x1cc00, 0x1ccef, SO}, {0x1ccf0, 0x1ccf9, ND}, {0x1cd00, 0x1ceb3, SO},
    {0x1d2c0, 0x1d2d3, NO}, {0x1df25, 0x1df2a, LL}, {0x1e030, 0x1e06d, LM}, {0x1e08f, 0x1e08f, MN},
    {0x1e4d0, 0x1e4ea, LO}, {0x1e4eb, 0x1e4eb, LM}, {0x1e4ec, 0x1e4ef, MN}, {0x1e4f0, 0x1e4f9, ND},
    {0x1e5d0, 0x1e5ed, LO}, {0x1e5ee, 0x1e5ef, MN}, {0x1e5f0, 0x1e5f0, LO}, {0x1e5f1, 0x1e5fa, ND},
    {0x1e5ff, 0x1e5ff, PO}, {0x1f6dc, 0x1f6dc, SO}, {0x1f774, 0x1f776, SO}, {0x1f77b, 0x1f77f, SO},
    {0x1f7d9, 0x1f7d9, SO}, {0x1f8b2, 0x1f8bb, SO}, {0x1f8c0, 0x1f8c1, SO}, {0x1fa75, 0x1fa77, SO},
    {0x1fa87, 0x1fa89, SO}, {0x1fa8f, 0x1fa8f, SO}, {0x1faad, 0x1faaf, SO}, {0x1fabb, 0x1fabf, SO},
    {0x1fac6, 0x1fac6, SO}, {0x1face, 0x1facf, SO}, {0x1fada, 0x1fadc, SO}, {0x1fadf, 0x1fadf, SO},
    {0x1fae8, 0x1fae9, SO}, {0x1faf7, 0x1faf8, SO}, {0x1fbcb, 0x1fbef, SO}, {0x2b739, 0x2b739, LO},
    {0x2ebf0, 0x2ee5d, LO}, {0x31350, 0x323af, LO},
};

/* The range of a character, or NULL. */
static const newer_range *find_newer(uint32_t point)
{
    size_t low = 0, high = sizeof newer / sizeof newer[0];
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (point > newer[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    const bool found = low < sizeof newer / sizeof newer[0] && point >= newer[low].first;
    return found ? &newer[low] : NULL;
}

static int category_of(uint32_t point)
{
    const int category = (int)utf8proc_category((utf8proc_int32_t)point);
    const newer_range *range = category == UTF8PROC_CATEGORY_CN ? find_newer(point) : NULL;
    return range ? range->category : category;
}

bool mr_hf_is_number(uint32_t point)
{
    if (point < 0x80) return point >= '0' && point <= '9';
    const int category = category_of(point);
    return category == ND || category == NO || category == UTF8PROC_CATEGORY_NL;
}

/* Whether a character is one of words (as \w of Unicode's technical standard 18). */
static bool is_word(uint32_t point)
{
    switch (category_of(point)) {
    case LU:
    case LL:
    case LM:
    case LO:
    case MN:
    case MC:
    case ND:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* those that join, and letters in circles and squares, which are alphabetic */
        return point == 0x200c || point == 0x200d || (point >= 0x24b6 && point <= 0x24e9) ||
               (point >= 0x1f130 && point <= 0x1f149) || (point >= 0x1f150 && point <= 0x1f169) ||
               (point >= 0x1f170 && point <= 0x1f189);
    }
}

/* The start of the last character of a text that is not empty. */
static size_t last_character(const char *text, size_t bytes)
{
    do
        bytes--;
    while (bytes > 0 && (text[bytes] & 0xc0) == 0x80);
    return bytes;
}

size_t mr_hf_spaces_at_start(const char *text, size_t bytes)
{
    size_t at = 0;
    uint32_t point;
    while (at < bytes) {
        const int length = mr_hf_character(text + at, &point);
        if (!mr_utf8_is_space(point)) break;
        at += (size_t)length;
    }
    return at;
}

size_t mr_hf_spaces_at_end(const char *text, size_t bytes)
{
    size_t at = bytes;
    uint32_t point;
    while (at > 0) {
        const size_t before = last_character(text, at);
        mr_hf_character(text + before, &point);
        if (!mr_utf8_is_space(point)) break;
        at = before;
    }
    return bytes - at;
}

bool mr_hf_starts_with_word(const char *text, size_t bytes)
{
    uint32_t point;
    if (bytes == 0) return false;
    mr_hf_character(text, &point);
    return is_word(point);
}

bool mr_hf_ends_with_word(const char *text, size_t bytes)
{
    uint32_t point;
    if (bytes == 0) return false;
    mr_hf_character(text + last_character(text, bytes), &point);
    return is_word(point);
}

/* Finds the first newer character from *at on; NULL where there is none. */
static const newer_range *next_newer(const char *text, size_t bytes, size_t *at, int *length)
{
    enum { FAST = 8 };
    while (*at < bytes) {
        uint64_t word;
        uint32_t point;
        if (bytes - *at >= FAST) {
            memcpy(&word, text + *at, FAST);
            if ((word & 0x8080808080808080u) == 0) {
                *at += FAST;
                continue;
            }
        }
        *length = mr_hf_character(text + *at, &point);
        if (*length >= 3 && (point < 0x31f0 || point > 0xa7ca)) {
            const newer_range *range = find_newer(point);
            if (range) return range;
        }
        *at += (size_t)*length;
    }
    return NULL;
}

bool mr_hf_has_newer(const char *text, size_t bytes)
{
    size_t at = 0;
    int length;
    return next_newer(text, bytes, &at, &length) != NULL;
}

void mr_hf_replace_newer(char *text, size_t bytes)
{
    /* Of three and of four bytes, of each category; Han characters are four bytes long. */
    static const uint32_t old[CATEGORIES][2] = {
        [LU] = {0x1e00, 0x10400}, [LL] = {0x1e01, 0x10428}, [LM] = {0x1d2c, 0x16b40},
        [LO] = {0x0e01, 0x10280}, [MN] = {0x0e31, 0x10a01}, [MC] = {0x0903, 0x11000},
        [ND] = {0x0966, 0x104a0}, [NO] = {0x0b72, 0x10107}, [PD] = {0x2010, 0x10ead},
        [PO] = {0x2016, 0x10100}, [SM] = {0x2200, 0x1d6c1}, [SO] = {0x2300, 0x1d000},
        [CF] = {0x200b, 0x110bd}};
    enum { HAN = 0x20000 };
    const newer_range *range;
    size_t at = 0;
    int length;
    while ((range = next_newer(text, bytes, &at, &length)) != NULL) {
        const uint32_t point = range->first >= HAN ? HAN : old[range->category][length == 4];
        utf8proc_encode_char((utf8proc_int32_t)point, (utf8proc_uint8_t *)text + at);
        at += (size_t)length;
    }
}
