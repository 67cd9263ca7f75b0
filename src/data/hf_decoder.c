#include "data/hf_decoder.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "data/hf_vocabulary.h"

#include <string.h>

static const char *const kinds[] = {"Sequence",     "ByteLevel", "Metaspace", "Replace",
                                    "ByteFallback", "Fuse",      "Strip",     NULL};
enum { SEQUENCE, BYTE_LEVEL, METASPACE, REPLACE, BYTE_FALLBACK, FUSE, STRIP };

static const char instead[] = "\xef\xbf\xbd"; /* of what is not UTF-8, U+FFFD */

enum { CHARACTER = 4, INSTEAD = sizeof instead - 1 };

typedef struct step {
    int kind;
    mr_hf_pattern *pattern; /* of REPLACE, owned */
    char *content;          /* of REPLACE: [bytes], owned */
    size_t bytes;
    char mark[CHARACTER]; /* of METASPACE and STRIP: [mark_bytes] */
    size_t mark_bytes;
    bool drops_first;    /* of METASPACE: the marks of the first token */
    int64_t start, stop; /* of STRIP */
} step;

struct mr_hf_decoder {
    step *steps; /* [count], owned */
    int64_t count, room;
    bool joins; /* blanks come between tokens */
};

/* Reading. */

static mr_status read_mark(const mr_hf_place *at, const json_t *value, const char *key, step *s)
{
    mr_hf_string mark;
    MR_TRY(mr_hf_read_character(at, value, key, &mark));
    memcpy(s->mark, mark.text, mark.bytes);
    s->mark_bytes = mark.bytes;
    return MR_OK;
}

static mr_status read_metaspace(const mr_hf_place *at, const json_t *value, step *s)
{
    static const char *const known[] = {
        "type", "replacement", "add_prefix_space", "split", "str_rep", "prepend_scheme", NULL};
    static const char *const schemes[] = {"first", "never", "always", NULL};
    enum { NEVER = 1 };
    int scheme;
    bool prefix;
    MR_TRY(mr_hf_check_keys(at, value, known));
    MR_TRY(read_mark(at, value, "replacement", s));
    MR_TRY(mr_hf_read_bool(at, value, "add_prefix_space", 1, &prefix));
    s->drops_first = prefix;
    if (mr_hf_is_null(value, "prepend_scheme")) return MR_OK;
    MR_TRY(mr_hf_read_choice(at, value, "prepend_scheme", schemes, &scheme));
    s->drops_first = scheme != NEVER;
    return MR_OK;
}

static mr_status read_replace(const mr_hf_place *at, const json_t *value, step *s)
{
    static const char *const known[] = {"type", "pattern", "content", NULL};
    mr_hf_string text;
    MR_TRY(mr_hf_check_keys(at, value, known));
    MR_TRY(mr_hf_pattern_read(at, value, "pattern", &s->pattern));
    MR_TRY(mr_hf_read_string(at, value, "content", &text));
    s->content = mr_alloc(MR_MEM_DATA, text.bytes + 1);
    if (!s->content) return MR_ERR_MEMORY;
    memcpy(s->content, text.text, text.bytes);
    s->bytes = text.bytes;
    return MR_OK;
}

static mr_status read_strip(const mr_hf_place *at, const json_t *value, step *s)
{
    static const char *const known[] = {"type", "content", "start", "stop", NULL};
    MR_TRY(mr_hf_check_keys(at, value, known));
    MR_TRY(read_mark(at, value, "content", s));
    MR_TRY(mr_hf_read_number(at, value, "start", 0, INT32_MAX, &s->start));
    return mr_hf_read_number(at, value, "stop", 0, INT32_MAX, &s->stop);
}

static mr_status read_steps(const mr_hf_place *at, const json_t *value, mr_hf_decoder *d);

static mr_status read_sequence(const mr_hf_place *at, const json_t *value, mr_hf_decoder *d)
{
    static const char *const known[] = {"type", "decoders", NULL};
    const mr_hf_place here = mr_hf_key(at, "decoders");
    const json_t *list;
    MR_TRY(mr_hf_check_keys(at, value, known));
    MR_TRY(mr_hf_read_list(at, value, "decoders", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const mr_hf_place item = mr_hf_item(&here, i);
        MR_TRY(read_steps(&item, json_array_get(list, i), d));
    }
    return MR_OK;
}

static mr_status read_steps(const mr_hf_place *at, const json_t *value, mr_hf_decoder *d)
{
    static const char *const none[] = {"type", NULL};
    static const char *const bytes[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                        NULL};
    int kind;
    MR_TRY(mr_hf_read_choice(at, value, "type", kinds, &kind));
    if (kind == SEQUENCE) return read_sequence(at, value, d);
    MR_TRY(mr_grow(MR_MEM_DATA, &d->steps, &d->room, d->count + 1, sizeof *d->steps));
    step *s = &d->steps[d->count++];
    s->kind = kind;
    switch (kind) {
    case BYTE_LEVEL:
        return mr_hf_check_keys(at, value, bytes);
    case METASPACE:
        return read_metaspace(at, value, s);
    case REPLACE:
        return read_replace(at, value, s);
    case STRIP:
        return read_strip(at, value, s);
    default:
        return mr_hf_check_keys(at, value, none);
    }
}

mr_status mr_hf_decoder_read(const mr_hf_place *at, const json_t *value, mr_hf_decoder **out)
{
    mr_hf_decoder *d = mr_alloc(MR_MEM_DATA, sizeof *d);
    *out = NULL;
    if (!d) return MR_ERR_MEMORY;
    d->joins = !value || json_is_null(value);
    mr_status status = d->joins ? MR_OK : read_steps(at, value, d);
    if (status == MR_OK)
        *out = d;
    else
        mr_hf_decoder_destroy(&d);
    return status;
}

void mr_hf_decoder_destroy(mr_hf_decoder **decoder)
{
    mr_hf_decoder *d = *decoder;
    if (!d) return;
    for (int64_t i = 0; i < d->count; i++) {
        mr_hf_pattern_destroy(&d->steps[i].pattern);
        mr_free(d->steps[i].content);
    }
    mr_free(d->steps);
    mr_free(d);
    *decoder = NULL;
}

/* Lists of tokens. */

void mr_hf_tokens_clear(mr_hf_tokens *tokens)
{
    tokens->text.bytes = tokens->ends.bytes = 0;
}

static mr_status end_token(mr_hf_tokens *tokens)
{
    const size_t end = tokens->text.bytes;
    return mr_hf_buffer_add(&tokens->ends, (const char *)&end, sizeof end);
}

mr_status mr_hf_tokens_add(mr_hf_tokens *tokens, const char *text, size_t bytes)
{
    MR_TRY(mr_hf_buffer_add(&tokens->text, text, bytes));
    return end_token(tokens);
}

static size_t count_of(const mr_hf_tokens *tokens)
{
    return tokens->ends.bytes / sizeof(size_t);
}

static mr_hf_string token_of(const mr_hf_tokens *tokens, size_t i)
{
    size_t ends[2] = {0};
    memcpy(&ends[1], tokens->ends.data + i * sizeof ends[0], sizeof ends[0]);
    if (i > 0) memcpy(&ends[0], tokens->ends.data + (i - 1) * sizeof ends[0], sizeof ends[0]);
    return (mr_hf_string){tokens->text.bytes > 0 ? tokens->text.data + ends[0] : "",
                          ends[1] - ends[0]};
}

/* The steps: each makes tokens of tokens. */

/* Bytes of the longest start of a character that the text begins with, at least 1. */
static size_t broken_bytes(const char *text, size_t bytes)
{
    size_t most = 1;
    uint32_t point;
    for (size_t have = 2; have < CHARACTER && have <= bytes; have++) {
        char whole[CHARACTER] = {'\x80', '\x80', '\x80', '\x80'};
        memcpy(whole, text, have);
        if (mr_utf8_decode(whole, CHARACTER, &point) > (int)have) most = have;
    }
    return most;
}

/* Appends bytes as UTF-8. Source: String::from_utf8_lossy of Rust. */
static mr_status add_lossy(mr_hf_buffer *out, const char *text, size_t bytes)
{
    while (bytes > 0) {
        const size_t valid = mr_utf8_valid(text, bytes);
        MR_TRY(mr_hf_buffer_add(out, text, valid));
        text += valid;
        bytes -= valid;
        if (bytes == 0) break;
        const size_t broken = broken_bytes(text, bytes);
        MR_TRY(mr_hf_buffer_add(out, instead, INSTEAD));
        text += broken;
        bytes -= broken;
    }
    return MR_OK;
}

/* All bytes of all tokens are one text: a character may be spread over several. */
static mr_status decode_bytes(const mr_hf_tokens *in, mr_hf_buffer *aside, mr_hf_tokens *out)
{
    aside->bytes = 0;
    for (size_t i = 0; i < count_of(in); i++) {
        const mr_hf_string token = token_of(in, i);
        const size_t start = aside->bytes;
        MR_TRY(mr_hf_buffer_reserve(aside, token.bytes));
        for (size_t at = 0; at < token.bytes;) {
            uint32_t point;
            at += (size_t)mr_hf_character(token.text + at, &point);
            const int byte = mr_hf_byte_of(point);
            if (byte < 0) { /* no token of bytes, as added ones are not */
                aside->bytes = start;
                MR_TRY(mr_hf_buffer_add(aside, token.text, token.bytes));
                break;
            }
            aside->data[aside->bytes++] = (char)byte;
        }
    }
    MR_TRY(add_lossy(&out->text, aside->bytes > 0 ? aside->data : "", aside->bytes));
    return end_token(out);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte of <0xNN>, or -1. */
static int fallback_byte(mr_hf_string token)
{
    enum { LENGTH = 6 };
    if (token.bytes != LENGTH || memcmp(token.text, "<0x", 3) != 0 || token.text[5] != '>')
        return -1;
    const int high = hex_digit(token.text[3]), low = hex_digit(token.text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Bytes in a row are a text, or each is broken. */
static mr_status end_bytes(mr_hf_buffer *bytes, mr_hf_tokens *out)
{
    if (bytes->bytes == 0) return MR_OK;
    if (mr_utf8_valid(bytes->data, bytes->bytes) == bytes->bytes)
        MR_TRY(mr_hf_tokens_add(out, bytes->data, bytes->bytes));
    else
        for (size_t i = 0; i < bytes->bytes; i++)
            MR_TRY(mr_hf_tokens_add(out, instead, INSTEAD));
    bytes->bytes = 0;
    return MR_OK;
}

static mr_status decode_fallback(const mr_hf_tokens *in, mr_hf_buffer *aside, mr_hf_tokens *out)
{
    aside->bytes = 0;
    for (size_t i = 0; i < count_of(in); i++) {
        const mr_hf_string token = token_of(in, i);
        const int byte = fallback_byte(token);
        const char one = (char)byte;
        if (byte >= 0) {
            MR_TRY(mr_hf_buffer_add(aside, &one, 1));
            continue;
        }
        MR_TRY(end_bytes(aside, out));
        MR_TRY(mr_hf_tokens_add(out, token.text, token.bytes));
    }
    return end_bytes(aside, out);
}

static bool is_mark(const step *s, const char *text, size_t bytes)
{
    return bytes >= s->mark_bytes && memcmp(text, s->mark, s->mark_bytes) == 0;
}

static mr_status decode_marks(const step *s, mr_hf_string token, bool first, mr_hf_tokens *out)
{
    for (size_t at = 0; at < token.bytes;) {
        uint32_t point;
        const size_t bytes = (size_t)mr_hf_character(token.text + at, &point);
        if (!is_mark(s, token.text + at, token.bytes - at))
            MR_TRY(mr_hf_buffer_add(&out->text, token.text + at, bytes));
        else if (!first || !s->drops_first)
            MR_TRY(mr_hf_buffer_add(&out->text, " ", 1));
        at += bytes;
    }
    return end_token(out);
}

static mr_status decode_replace(const step *s, mr_hf_decoder_room *room, mr_hf_string token,
                                mr_hf_tokens *out)
{
    mr_hf_matches matches;
    size_t from, to, done = 0;
    bool found;
    MR_TRY(mr_hf_matches_begin(s->pattern, room->match, token.text, token.bytes, &room->aside,
                               &matches));
    for (;;) {
        MR_TRY(mr_hf_matches_next(&matches, &from, &to, &found));
        if (!found) break;
        MR_TRY(mr_hf_buffer_add(&out->text, token.text + done, from - done));
        MR_TRY(mr_hf_buffer_add(&out->text, s->content, s->bytes));
        done = to;
    }
    return mr_hf_tokens_add(out, token.text + done, token.bytes - done);
}

static mr_status decode_strip(const step *s, mr_hf_string token, mr_hf_tokens *out)
{
    for (int64_t i = 0; i < s->start && is_mark(s, token.text, token.bytes); i++)
        token = (mr_hf_string){token.text + s->mark_bytes, token.bytes - s->mark_bytes};
    for (int64_t i = 0; i < s->stop && token.bytes >= s->mark_bytes &&
                        is_mark(s, token.text + token.bytes - s->mark_bytes, s->mark_bytes);
         i++)
        token.bytes -= s->mark_bytes;
    return mr_hf_tokens_add(out, token.text, token.bytes);
}

static mr_status decode_each(const step *s, mr_hf_decoder_room *room, mr_hf_tokens *out)
{
    for (size_t i = 0; i < count_of(&room->tokens); i++) {
        const mr_hf_string token = token_of(&room->tokens, i);
        if (s->kind == METASPACE)
            MR_TRY(decode_marks(s, token, i == 0, out));
        else if (s->kind == REPLACE)
            MR_TRY(decode_replace(s, room, token, out));
        else
            MR_TRY(decode_strip(s, token, out));
    }
    return MR_OK;
}

static mr_status run_step(const step *s, mr_hf_decoder_room *room, mr_hf_tokens *out)
{
    switch (s->kind) {
    case BYTE_LEVEL:
        return decode_bytes(&room->tokens, &room->aside, out);
    case BYTE_FALLBACK:
        return decode_fallback(&room->tokens, &room->aside, out);
    case FUSE:
        return mr_hf_tokens_add(out, room->tokens.text.data, room->tokens.text.bytes);
    default:
        return decode_each(s, room, out);
    }
}

static mr_status join(mr_hf_decoder_room *room, mr_hf_tokens *out)
{
    for (size_t i = 0; i < count_of(&room->tokens); i++) {
        const mr_hf_string token = token_of(&room->tokens, i);
        if (i > 0) MR_TRY(mr_hf_buffer_add(&out->text, " ", 1));
        MR_TRY(mr_hf_tokens_add(out, token.text, token.bytes));
    }
    return MR_OK;
}

mr_status mr_hf_decode(const mr_hf_decoder *decoder, mr_hf_decoder_room *room, mr_hf_string *out)
{
    const int64_t steps = decoder->joins ? 1 : decoder->count;
    for (int64_t i = 0; i < steps; i++) {
        mr_hf_tokens_clear(&room->made);
        MR_TRY(decoder->joins ? join(room, &room->made)
                              : run_step(&decoder->steps[i], room, &room->made));
        const mr_hf_tokens made = room->made;
        room->made = room->tokens;
        room->tokens = made;
    }
    *out = (mr_hf_string){room->tokens.text.bytes > 0 ? room->tokens.text.data : "",
                          room->tokens.text.bytes};
    return MR_OK;
}

void mr_hf_decoder_room_free(mr_hf_decoder_room *room)
{
    mr_hf_buffer_free(&room->tokens.text);
    mr_hf_buffer_free(&room->tokens.ends);
    mr_hf_buffer_free(&room->made.text);
    mr_hf_buffer_free(&room->made.ends);
    mr_hf_buffer_free(&room->aside);
}
