#include "data/hf_normalizer.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static const char *const kinds[] = {"Sequence", "Prepend", "Replace",   "NFC",   "NFD",
                                    "NFKC",     "NFKD",    "Lowercase", "Strip", NULL};
enum { SEQUENCE, PREPEND, REPLACE, NFC, NFD, NFKC, NFKD, LOWERCASE, STRIP };

typedef struct step {
    int kind;
    mr_hf_pattern *pattern; /* of REPLACE, owned */
    char *content;          /* of PREPEND and REPLACE: [bytes], owned */
    size_t bytes;
    bool left, right; /* of STRIP */
} step;

struct mr_hf_normalizer {
    step *steps; /* [count], owned */
    int64_t count, room;
};

static mr_status read_content(const mr_hf_place *at, const json_t *value, const char *key, step *s)
{
    mr_hf_string text;
    MR_TRY(mr_hf_read_string(at, value, key, &text));
    s->content = mr_alloc(MR_MEM_DATA, text.bytes + 1);
    if (!s->content) return MR_ERR_MEMORY;
    memcpy(s->content, text.text, text.bytes);
    s->bytes = text.bytes;
    return MR_OK;
}

static mr_status read_step(const mr_hf_place *at, const json_t *value, step *s)
{
    static const char *const none[] = {"type", NULL};
    static const char *const prepend[] = {"type", "prepend", NULL};
    static const char *const replace[] = {"type", "pattern", "content", NULL};
    static const char *const strip[] = {"type", "strip_left", "strip_right", NULL};
    switch (s->kind) {
    case PREPEND:
        MR_TRY(mr_hf_check_keys(at, value, prepend));
        return read_content(at, value, "prepend", s);
    case REPLACE:
        MR_TRY(mr_hf_check_keys(at, value, replace));
        MR_TRY(mr_hf_pattern_read(at, value, "pattern", &s->pattern));
        return read_content(at, value, "content", s);
    case STRIP:
        MR_TRY(mr_hf_check_keys(at, value, strip));
        MR_TRY(mr_hf_read_bool(at, value, "strip_left", -1, &s->left));
        return mr_hf_read_bool(at, value, "strip_right", -1, &s->right);
    default:
        return mr_hf_check_keys(at, value, none);
    }
}

static mr_status read_steps(const mr_hf_place *at, const json_t *value, mr_hf_normalizer *n);

static mr_status read_sequence(const mr_hf_place *at, const json_t *value, mr_hf_normalizer *n)
{
    static const char *const known[] = {"type", "normalizers", NULL};
    const mr_hf_place here = mr_hf_key(at, "normalizers");
    const json_t *list;
    MR_TRY(mr_hf_check_keys(at, value, known));
    MR_TRY(mr_hf_read_list(at, value, "normalizers", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const mr_hf_place item = mr_hf_item(&here, i);
        MR_TRY(read_steps(&item, json_array_get(list, i), n));
    }
    return MR_OK;
}

/* Appends the steps of a normalizer. How deep sequences stand in each other the parser of JSON
 * limits. */
static mr_status read_steps(const mr_hf_place *at, const json_t *value, mr_hf_normalizer *n)
{
    int kind;
    MR_TRY(mr_hf_read_choice(at, value, "type", kinds, &kind));
    if (kind == SEQUENCE) return read_sequence(at, value, n);
    MR_TRY(mr_grow(MR_MEM_DATA, &n->steps, &n->room, n->count + 1, sizeof *n->steps));
    step *s = &n->steps[n->count++];
    s->kind = kind;
    return read_step(at, value, s);
}

mr_status mr_hf_normalizer_read(const mr_hf_place *at, const json_t *value, mr_hf_normalizer **out)
{
    mr_hf_normalizer *n = mr_alloc(MR_MEM_DATA, sizeof *n);
    *out = NULL;
    if (!n) return MR_ERR_MEMORY;
    mr_status status = !value || json_is_null(value) ? MR_OK : read_steps(at, value, n);
    if (status == MR_OK)
        *out = n;
    else
        mr_hf_normalizer_destroy(&n);
    return status;
}

void mr_hf_normalizer_destroy(mr_hf_normalizer **normalizer)
{
    mr_hf_normalizer *n = *normalizer;
    if (!n) return;
    for (int64_t i = 0; i < n->count; i++) {
        mr_hf_pattern_destroy(&n->steps[i].pattern);
        mr_free(n->steps[i].content);
    }
    mr_free(n->steps);
    mr_free(n);
    *normalizer = NULL;
}

static mr_status prepend(const step *s, mr_hf_string text, mr_hf_buffer *out)
{
    if (text.bytes == 0) return MR_OK;
    MR_TRY(mr_hf_buffer_add(out, s->content, s->bytes));
    return mr_hf_buffer_add(out, text.text, text.bytes);
}

static mr_status replace(const step *s, mr_hf_normalizer_room *room, mr_hf_string text,
                         mr_hf_buffer *out)
{
    mr_hf_matches matches;
    size_t from, to, done = 0;
    bool found;
    MR_TRY(mr_hf_matches_begin(s->pattern, room->match, text.text, text.bytes, &room->aside,
                               &matches));
    for (;;) {
        MR_TRY(mr_hf_matches_next(&matches, &from, &to, &found));
        if (!found) break;
        MR_TRY(mr_hf_buffer_add(out, text.text + done, from - done));
        MR_TRY(mr_hf_buffer_add(out, s->content, s->bytes));
        done = to;
    }
    return mr_hf_buffer_add(out, text.text + done, text.bytes - done);
}

/* The lower case of a character, also of those that Unicode 16 and 17 added. */
static utf8proc_int32_t lower_of(uint32_t point)
{
    static const struct {
        uint32_t first, last, lower; /* of the first */
    } newer[] = {{0x1c89, 0x1c89, 0x1c8a},   {0xa7cb, 0xa7cb, 0x264},  {0xa7cc, 0xa7cc, 0xa7cd},
                 {0xa7ce, 0xa7ce, 0xa7cf},   {0xa7d2, 0xa7d2, 0xa7d3}, {0xa7d4, 0xa7d4, 0xa7d5},
                 {0xa7da, 0xa7da, 0xa7db},   {0xa7dc, 0xa7dc, 0x19b},  {0x10d50, 0x10d65, 0x10d70},
                 {0x16ea0, 0x16eb8, 0x16ebb}};
    for (size_t i = 0; point >= newer[0].first && i < sizeof newer / sizeof newer[0]; i++)
        if (point >= newer[i].first && point <= newer[i].last)
            return (utf8proc_int32_t)(newer[i].lower + point - newer[i].first);
    return utf8proc_tolower((utf8proc_int32_t)point);
}

static mr_status lowercase(mr_hf_string text, mr_hf_buffer *out)
{
    enum { DOTTED_I = 0x130, LONGEST = 4 };
    char made[LONGEST];
    for (size_t at = 0; at < text.bytes;) {
        uint32_t point;
        at += (size_t)mr_hf_character(text.text + at, &point);
        if (point == DOTTED_I) { /* the only one whose lower case is two characters */
            MR_TRY(mr_hf_buffer_add(out, "i\xcc\x87", 3));
            continue;
        }
        const size_t bytes =
            (size_t)utf8proc_encode_char(lower_of(point), (utf8proc_uint8_t *)made);
        MR_TRY(mr_hf_buffer_add(out, made, bytes));
    }
    return MR_OK;
}

static mr_status compose_stretch(const char *text, size_t bytes, int options, mr_hf_buffer *out)
{
    utf8proc_uint8_t *made = NULL;
    const utf8proc_ssize_t length = utf8proc_map(
        (const utf8proc_uint8_t *)text, (utf8proc_ssize_t)bytes, &made, (utf8proc_option_t)options);
    MR_CHECK(length >= 0, length == UTF8PROC_ERROR_NOMEM ? MR_ERR_MEMORY : MR_ERR_ARG,
             "cannot normalise a text: %s", utf8proc_errmsg(length));
    mr_status status = mr_hf_buffer_add(out, (const char *)made, (size_t)length);
    free(made);
    return status;
}

/* Characters below a limit begin something new, and stay as they are where nothing above follows:
 * of NFC those below U+0300, the first that combine; of the others ASCII. So the library gets only
 * stretches of others, each with the character before. */
static mr_status compose(int kind, mr_hf_string text, mr_hf_buffer *out)
{
    static const int options[] = {
        [NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    const unsigned char limit = kind == NFC ? 0xcc : 0x80; /* the lead byte of U+0300 */
    size_t done = 0, before = 0;                           /* before: the last below the limit */
    for (size_t at = 0; at < text.bytes;) {
        uint32_t point;
        if ((unsigned char)text.text[at] < limit) {
            before = at;
            at += (unsigned char)text.text[at] < 0x80 ? 1 : 2;
            continue;
        }
        if (at == 0) before = 0;
        MR_TRY(mr_hf_buffer_add(out, text.text + done, before - done));
        while (at < text.bytes && (unsigned char)text.text[at] >= limit)
            at += (size_t)mr_hf_character(text.text + at, &point);
        MR_TRY(compose_stretch(text.text + before, at - before, options[kind], out));
        done = before = at;
    }
    return mr_hf_buffer_add(out, text.text + done, text.bytes - done);
}

static mr_hf_string strip(const step *s, mr_hf_string text)
{
    if (s->left) {
        const size_t spaces = mr_hf_spaces_at_start(text.text, text.bytes);
        text = (mr_hf_string){text.text + spaces, text.bytes - spaces};
    }
    if (s->right) text.bytes -= mr_hf_spaces_at_end(text.text, text.bytes);
    return text;
}

mr_status mr_hf_normalize(const mr_hf_normalizer *normalizer, mr_hf_normalizer_room *room,
                          mr_hf_string text, mr_hf_string *out, size_t *cut)
{
    int next = 0;
    if (cut) *cut = 0;
    for (int64_t i = 0; i < normalizer->count; i++) {
        const step *s = &normalizer->steps[i];
        mr_hf_buffer *made = &room->made[next];
        if (s->kind == STRIP) {
            const char *start = text.text;
            text = strip(s, text);
            if (cut) *cut += (size_t)(text.text - start);
            continue;
        }
        made->bytes = 0;
        if (s->kind == PREPEND)
            MR_TRY(prepend(s, text, made));
        else if (s->kind == REPLACE)
            MR_TRY(replace(s, room, text, made));
        else if (s->kind == LOWERCASE)
            MR_TRY(lowercase(text, made));
        else
            MR_TRY(compose(s->kind, text, made));
        text = (mr_hf_string){made->data, made->bytes};
        next = !next;
    }
    *out = text;
    return MR_OK;
}

void mr_hf_normalizer_growth(const mr_hf_normalizer *normalizer,
                             bool (*is_token)(const void *of, mr_hf_string text), const void *of,
                             int64_t *times, int64_t *more)
{
    /* Of bytes of UTF-8: UAX 15, section "Maximum Expansion Factors"; U+0130 and U+023A. */
    static const int64_t factor[] = {
        [NFC] = 3, [NFD] = 3, [NFKC] = 11, [NFKD] = 11, [LOWERCASE] = 2};
    *times = 1;
    *more = 0;
    for (int64_t i = 0; i < normalizer->count; i++) {
        const step *s = &normalizer->steps[i];
        int64_t bytes = (int64_t)s->bytes;
        if (s->content && is_token(of, (mr_hf_string){s->content, s->bytes})) bytes = 1;
        if (s->kind == PREPEND) {
            *more += bytes;
        } else if (s->kind == REPLACE) {
            /* An expression may match nothing, before each character and at the end. */
            const int64_t least = (int64_t)mr_hf_pattern_least(s->pattern);
            const int64_t grown = least > 0 ? (bytes + least - 1) / least : bytes + 1;
            *times *= grown > 1 ? grown : 1;
            *more = *more * (grown > 1 ? grown : 1) + (least > 0 ? 0 : bytes);
        } else if (s->kind != STRIP) {
            *times *= factor[s->kind];
            *more *= factor[s->kind];
        }
    }
}

void mr_hf_normalizer_room_free(mr_hf_normalizer_room *room)
{
    mr_hf_buffer_free(&room->made[0]);
    mr_hf_buffer_free(&room->made[1]);
    mr_hf_buffer_free(&room->aside);
}
