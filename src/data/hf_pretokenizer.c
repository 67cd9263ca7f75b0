#include "data/hf_pretokenizer.h"

#include "base/memory.h"

#include <string.h>

static const char *const kinds[] = {"Sequence", "ByteLevel", "Split", "Digits", "Metaspace", NULL};
enum { SEQUENCE, BYTE_LEVEL, SPLIT, DIGITS, METASPACE };

static const char *const behaviors[] = {"Removed",        "Isolated",   "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous", NULL};
typedef enum behavior { REMOVED, ISOLATED, WITH_PREVIOUS, WITH_NEXT, CONTIGUOUS } behavior;

static const char *const schemes[] = {"first", "never", "always", NULL};
enum { FIRST, NEVER, ALWAYS };

/* The expression of GPT-2, which ByteLevel has by itself. */
static const char words_of_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

enum { CHARACTER = 4 }; /* bytes of one at most */

typedef struct step {
    int kind;
    mr_hf_pattern *pattern; /* of SPLIT, and of BYTE_LEVEL unless it takes texts whole; owned */
    behavior behavior;      /* of SPLIT and DIGITS */
    bool invert;            /* of SPLIT */
    bool prefix_space;      /* of BYTE_LEVEL */
    int scheme;             /* of METASPACE, as the next two */
    bool split;
    char mark[CHARACTER]; /* [mark_bytes] */
    size_t mark_bytes;
} step;

struct mr_hf_pretokenizer {
    step steps[MR_HF_STEPS];
    int count;
};

/* Reading. */

static mr_status read_byte_level(const mr_hf_place *at, const json_t *value, step *s)
{
    static const char *const known[] = {"type", "add_prefix_space", "trim_offsets", "use_regex",
                                        NULL};
    bool regex, offsets;
    MR_TRY(mr_hf_check_keys(at, value, known));
    MR_TRY(mr_hf_read_bool(at, value, "add_prefix_space", -1, &s->prefix_space));
    MR_TRY(mr_hf_read_bool(at, value, "trim_offsets", 1, &offsets)); /* of no concern to ids */
    MR_TRY(mr_hf_read_bool(at, value, "use_regex", 1, &regex));
    return regex ? mr_hf_pattern_create(at, words_of_gpt2, &s->pattern) : MR_OK;
}

static mr_status read_split(const mr_hf_place *at, const json_t *value, step *s)
{
    static const char *const known[] = {"type", "pattern", "behavior", "invert", NULL};
    int which;
    MR_TRY(mr_hf_check_keys(at, value, known));
    MR_TRY(mr_hf_pattern_read(at, value, "pattern", &s->pattern));
    MR_TRY(mr_hf_read_choice(at, value, "behavior", behaviors, &which));
    s->behavior = (behavior)which;
    return mr_hf_read_bool(at, value, "invert", -1, &s->invert);
}

static mr_status read_digits(const mr_hf_place *at, const json_t *value, step *s)
{
    static const char *const known[] = {"type", "individual_digits", NULL};
    bool individual;
    MR_TRY(mr_hf_check_keys(at, value, known));
    MR_TRY(mr_hf_read_bool(at, value, "individual_digits", 0, &individual));
    s->behavior = individual ? ISOLATED : CONTIGUOUS;
    return MR_OK;
}

/* Older files say add_prefix_space instead of prepend_scheme. */
static mr_status read_metaspace(const mr_hf_place *at, const json_t *value, step *s)
{
    static const char *const known[] = {
        "type", "replacement", "add_prefix_space", "split", "str_rep", "prepend_scheme", NULL};
    mr_hf_string mark;
    bool prefix;
    MR_TRY(mr_hf_check_keys(at, value, known));
    MR_TRY(mr_hf_read_character(at, value, "replacement", &mark));
    memcpy(s->mark, mark.text, mark.bytes);
    s->mark_bytes = mark.bytes;
    MR_TRY(mr_hf_read_bool(at, value, "split", 1, &s->split));
    MR_TRY(mr_hf_read_bool(at, value, "add_prefix_space", 1, &prefix));
    s->scheme = prefix ? ALWAYS : NEVER;
    if (mr_hf_is_null(value, "prepend_scheme")) return MR_OK;
    MR_TRY(mr_hf_read_choice(at, value, "prepend_scheme", schemes, &s->scheme));
    const mr_hf_place here = mr_hf_key(at, "prepend_scheme");
    if (!prefix && s->scheme != NEVER)
        return mr_hf_expected(&here, json_object_get(value, "prepend_scheme"),
                              "never, as add_prefix_space is false");
    return MR_OK;
}

static mr_status read_steps(const mr_hf_place *at, const json_t *value, mr_hf_pretokenizer *p);

static mr_status read_sequence(const mr_hf_place *at, const json_t *value, mr_hf_pretokenizer *p)
{
    static const char *const known[] = {"type", "pretokenizers", NULL};
    const mr_hf_place here = mr_hf_key(at, "pretokenizers");
    const json_t *list;
    MR_TRY(mr_hf_check_keys(at, value, known));
    MR_TRY(mr_hf_read_list(at, value, "pretokenizers", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const mr_hf_place item = mr_hf_item(&here, i);
        MR_TRY(read_steps(&item, json_array_get(list, i), p));
    }
    return MR_OK;
}

static mr_status read_steps(const mr_hf_place *at, const json_t *value, mr_hf_pretokenizer *p)
{
    int kind;
    MR_TRY(mr_hf_read_choice(at, value, "type", kinds, &kind));
    if (kind == SEQUENCE) return read_sequence(at, value, p);
    MR_CHECK(p->count < MR_HF_STEPS, MR_ERR_FORMAT,
             "tokenizer: '%s': %s: expected at most %d pre-tokenizers, found more", at->file,
             at->at, (int)MR_HF_STEPS);
    /* What follows would see the characters that bytes are written as. */
    MR_CHECK(p->count == 0 || p->steps[p->count - 1].kind != BYTE_LEVEL, MR_ERR_FORMAT,
             "tokenizer: '%s': %s: expected nothing behind ByteLevel, found %s", at->file, at->at,
             kinds[kind]);
    step *s = &p->steps[p->count++];
    s->kind = kind;
    switch (kind) {
    case BYTE_LEVEL:
        return read_byte_level(at, value, s);
    case SPLIT:
        return read_split(at, value, s);
    case DIGITS:
        return read_digits(at, value, s);
    default:
        return read_metaspace(at, value, s);
    }
}

mr_status mr_hf_pretokenizer_read(const mr_hf_place *at, const json_t *value,
                                  mr_hf_pretokenizer **out)
{
    mr_hf_pretokenizer *p = mr_alloc(MR_MEM_DATA, sizeof *p);
    *out = NULL;
    if (!p) return MR_ERR_MEMORY;
    mr_status status = !value || json_is_null(value) ? MR_OK : read_steps(at, value, p);
    if (status == MR_OK)
        *out = p;
    else
        mr_hf_pretokenizer_destroy(&p);
    return status;
}

void mr_hf_pretokenizer_destroy(mr_hf_pretokenizer **pretokenizer)
{
    mr_hf_pretokenizer *p = *pretokenizer;
    if (!p) return;
    for (int i = 0; i < p->count; i++)
        mr_hf_pattern_destroy(&p->steps[i].pattern);
    mr_free(p);
    *pretokenizer = NULL;
}

bool mr_hf_pretokenizer_is_bytes(const mr_hf_pretokenizer *p)
{
    return p->count > 0 && p->steps[p->count - 1].kind == BYTE_LEVEL;
}

void mr_hf_pretokenizer_growth(const mr_hf_pretokenizer *p, int64_t *times, int64_t *more)
{
    *times = 1;
    *more = 0;
    for (int i = 0; i < p->count; i++) {
        const step *s = &p->steps[i];
        const bool prefix = (s->kind == BYTE_LEVEL && s->prefix_space) ||
                            (s->kind == METASPACE && s->scheme != NEVER);
        if (!prefix) continue;
        *more += 1;
        if (i > 0) *times += 1;
    }
}

/* Cutting. */

/* A text on its way through the steps. */
typedef struct passage {
    const mr_hf_pretokenizer *pretokenizer;
    mr_hf_pretokenizer_room *room;
    mr_hf_sink *sink;
    void *context;
} passage;

/* Pieces of one text between two steps: what is held may still grow. */
typedef struct pieces {
    const passage *passage;
    int next; /* the step that gets them */
    const char *text;
    bool first;
    behavior behavior;
    size_t from, to; /* what is held */
    bool held, previous_matched;
} pieces;

static mr_status pass(const passage *through, int next, const char *text, size_t bytes, bool first);

static mr_status emit(const pieces *p, size_t from, size_t to)
{
    if (from == to) return MR_OK;
    return pass(p->passage, p->next, p->text + from, to - from, p->first && from == 0);
}

/* Takes the next stretch of the text, which is a match or stands between two. Source: split of
 * tokenizers' NormalizedString. */
static mr_status add_piece(pieces *p, size_t from, size_t to, bool match)
{
    bool grows = false;
    switch (p->behavior) {
    case REMOVED:
        return match ? MR_OK : emit(p, from, to);
    case ISOLATED:
        return emit(p, from, to);
    case WITH_PREVIOUS:
        grows = match && !p->previous_matched;
        break;
    case WITH_NEXT:
        grows = !match && p->previous_matched;
        break;
    case CONTIGUOUS:
        grows = match == p->previous_matched;
        break;
    }
    p->previous_matched = match;
    if (p->held && grows) {
        p->to = to;
        return MR_OK;
    }
    if (p->held) MR_TRY(emit(p, p->from, p->to));
    p->held = true;
    p->from = from;
    p->to = to;
    return MR_OK;
}

static mr_status end_pieces(const pieces *p)
{
    return p->held ? emit(p, p->from, p->to) : MR_OK;
}

static mr_status cut_by_pattern(const step *s, pieces *p, size_t bytes)
{
    mr_hf_pretokenizer_room *room = p->passage->room;
    mr_hf_matches matches;
    size_t done = 0, from = 0, to = 0;
    bool found;
    MR_TRY(mr_hf_matches_begin(s->pattern, room->match, p->text, bytes, &room->aside[p->next - 1],
                               &matches));
    for (;;) {
        MR_TRY(mr_hf_matches_next(&matches, &from, &to, &found));
        if (!found) break;
        if (done != from) MR_TRY(add_piece(p, done, from, s->invert));
        MR_TRY(add_piece(p, from, to, !s->invert));
        done = to;
    }
    if (done != bytes) MR_TRY(add_piece(p, done, bytes, s->invert));
    return end_pieces(p);
}

static mr_status cut_digits(pieces *p, size_t bytes)
{
    size_t done = 0;
    for (size_t at = 0; at < bytes;) {
        uint32_t point;
        const size_t here = at;
        at += (size_t)mr_hf_character(p->text + at, &point);
        if (!mr_hf_is_number(point)) continue;
        if (done < here) MR_TRY(add_piece(p, done, here, false));
        MR_TRY(add_piece(p, here, at, true));
        done = at;
    }
    if (done < bytes) MR_TRY(add_piece(p, done, bytes, false));
    return end_pieces(p);
}

static bool starts_with_mark(const step *s, const char *text, size_t bytes)
{
    return bytes >= s->mark_bytes && memcmp(text, s->mark, s->mark_bytes) == 0;
}

/* Blanks become marks, and one may come before the text. */
static mr_status put_marks(const step *s, const char *text, size_t bytes, bool first,
                           mr_hf_buffer *made)
{
    const bool marked = bytes > 0 && (text[0] == ' ' || starts_with_mark(s, text, bytes));
    made->bytes = 0;
    if (!marked && (s->scheme == ALWAYS || (s->scheme == FIRST && first)))
        MR_TRY(mr_hf_buffer_add(made, s->mark, s->mark_bytes));
    for (const char *end = text + bytes; text < end;) {
        const char *blank = memchr(text, ' ', (size_t)(end - text));
        MR_TRY(mr_hf_buffer_add(made, text, (size_t)((blank ? blank : end) - text)));
        if (blank) MR_TRY(mr_hf_buffer_add(made, s->mark, s->mark_bytes));
        text = blank ? blank + 1 : end;
    }
    return MR_OK;
}

static mr_status cut_at_marks(const step *s, pieces *p, size_t bytes)
{
    size_t done = 0;
    for (size_t at = 0; at < bytes;) {
        uint32_t point;
        if (starts_with_mark(s, p->text + at, bytes - at)) {
            if (done < at) MR_TRY(add_piece(p, done, at, false));
            MR_TRY(add_piece(p, at, at + s->mark_bytes, true));
            done = at + s->mark_bytes;
        }
        at += (size_t)mr_hf_character(p->text + at, &point);
    }
    if (done < bytes) MR_TRY(add_piece(p, done, bytes, false));
    return end_pieces(p);
}

static mr_status pass(const passage *through, int next, const char *text, size_t bytes, bool first)
{
    const mr_hf_pretokenizer *p = through->pretokenizer;
    if (next == p->count) return through->sink(through->context, text, bytes);
    const step *s = &p->steps[next];
    mr_hf_buffer *made = &through->room->made[next];
    pieces cut = {.passage = through, .next = next + 1, .text = text, .first = first};
    switch (s->kind) {
    case BYTE_LEVEL:
        if (s->prefix_space && text[0] != ' ') {
            made->bytes = 0;
            MR_TRY(mr_hf_buffer_add(made, " ", 1));
            MR_TRY(mr_hf_buffer_add(made, text, bytes));
            cut.text = made->data;
            bytes = made->bytes;
        }
        cut.behavior = ISOLATED;
        return s->pattern ? cut_by_pattern(s, &cut, bytes) : emit(&cut, 0, bytes);
    case SPLIT:
        cut.behavior = s->behavior;
        return cut_by_pattern(s, &cut, bytes);
    case DIGITS:
        cut.behavior = s->behavior;
        return cut_digits(&cut, bytes);
    default:
        MR_TRY(put_marks(s, text, bytes, first, made));
        cut.text = made->data;
        cut.behavior = WITH_NEXT;
        return s->split ? cut_at_marks(s, &cut, made->bytes) : emit(&cut, 0, made->bytes);
    }
}

mr_status mr_hf_pretokenize(const mr_hf_pretokenizer *pretokenizer, mr_hf_pretokenizer_room *room,
                            const char *text, size_t bytes, bool first, mr_hf_sink *sink,
                            void *context)
{
    const passage through = {pretokenizer, room, sink, context};
    return bytes > 0 ? pass(&through, 0, text, bytes, first) : MR_OK;
}

void mr_hf_pretokenizer_room_free(mr_hf_pretokenizer_room *room)
{
    for (int i = 0; i < MR_HF_STEPS; i++) {
        mr_hf_buffer_free(&room->made[i]);
        mr_hf_buffer_free(&room->aside[i]);
    }
}
