/* From the text of a sample to its tokens, and which of them are learned. */

#include "data/template_impl.h"

#include <stdio.h>
#include <string.h>

static mr_status reserve(mr_rendered *r, int64_t count)
{
    MR_TRY(mr_grow(MR_MEM_DATA, &r->ids, &r->room, count, sizeof *r->ids));
    return mr_grow(MR_MEM_DATA, &r->learned, &r->learned_room, count, sizeof *r->learned);
}

static mr_status add_token(const mr_template_token *token, bool learned, mr_rendered *r)
{
    if (token->count == 0) return MR_OK;
    MR_TRY(reserve(r, r->count + token->count));
    memcpy(r->ids + r->count, token->ids, (size_t)token->count * sizeof *r->ids);
    memset(r->learned + r->count, learned, (size_t)token->count);
    r->count += token->count;
    return MR_OK;
}

/* Text between two tokens: its pieces, and where it starts, with the text of the token before it
 * where the tokenizer reads that as the token. */
typedef struct stretch {
    const mr_rendered_piece *piece; /* [pieces] */
    int64_t pieces;
    const char *text;
    size_t start;                  /* byte of the sample's text that text is of */
    const mr_template_token *lead; /* NULL: the text starts with none */
} stretch;

/* Encodes a stretch behind the ids of a sample, the token before it among them. */
static mr_status encode(const mr_template *t, const stretch *s, mr_rendered *r, int64_t *count)
{
    const size_t bytes = s->piece[s->pieces - 1].end - s->start;
    int64_t room = 0;
    *count = 1; /* at least, for a first try */
    do {
        MR_TRY(reserve(r, r->count + *count));
        room = (r->room < r->learned_room ? r->room : r->learned_room) - r->count;
        MR_TRY(mr_tokenizer_encode(t->tokenizer, s->text, bytes, r->ids + r->count, room, count));
    } while (*count > room);
    return MR_OK;
}

/* Tells of each token of an encoded stretch whether it is learned: where that changes within the
 * text, by the tokens of the text up to there. */
static mr_status mark(const mr_template *t, const stretch *s, int64_t count, mr_rendered *r)
{
    uint8_t *learned = r->learned + r->count;
    int64_t at = 0;
    for (int64_t p = 0; p < s->pieces && at < count; p++) {
        int64_t end = count;
        if (p + 1 < s->pieces && s->piece[p].end < s->piece[s->pieces - 1].end) {
            MR_TRY(mr_tokenizer_encode(t->tokenizer, s->text, s->piece[p].end - s->start, NULL, 0,
                                       &end));
            if (s->lead) end--;
        }
        for (; at < end && at < count; at++)
            learned[at] = s->piece[p].learned;
    }
    return MR_OK;
}

static mr_status add_stretch(const mr_template *t, stretch s, mr_rendered *r)
{
    int64_t count;
    MR_TRY(encode(t, &s, r, &count));
    int32_t *ids = r->ids + r->count;
    if (s.lead && (count == 0 || ids[0] != s.lead->id)) {
        /* Before this text it is no token, as one that is none within a word. */
        s.text += s.lead->lead.length;
        s.start += s.lead->lead.length;
        s.lead = NULL;
        MR_TRY(encode(t, &s, r, &count));
    } else if (s.lead) {
        count--;
        memmove(ids, ids + 1, (size_t)count * sizeof *ids);
    }
    MR_TRY(mark(t, &s, count, r));
    r->count += count;
    return MR_OK;
}

static bool is_too_long(const mr_template *t, size_t bytes, mr_fault *fault,
                        char what[MR_FAULT_TEXT])
{
    if (bytes <= t->tokenizer->most_bytes) return false;
    *fault = MR_FAULT_LONG;
    snprintf(what, MR_FAULT_TEXT, "a text of %zu bytes, more than the %zu there may be", bytes,
             t->tokenizer->most_bytes);
    return true;
}

mr_status mr_template_render(const mr_template *t, const json_t *record, mr_rendered *out,
                             mr_fault *fault, char what[MR_FAULT_TEXT])
{
    out->count = 0;
    MR_INVARIANT(t->tokenizer);
    MR_TRY(mr_template_compose(t, record, out, fault, what));
    if (*fault != MR_FAULTS) return MR_OK;
    const mr_template_token *before = NULL;
    for (int64_t p = 0; p < out->pieces;) {
        const mr_rendered_piece *piece = &out->piece[p];
        if (piece->token >= 0) {
            before = &t->token[piece->token];
            MR_TRY(add_token(before, piece->learned, out));
            p++;
            continue;
        }
        const size_t lead = before ? before->lead.length : 0;
        stretch s = {.piece = piece, .lead = lead > 0 ? before : NULL};
        s.start = (p > 0 ? piece[-1].end : 0) - lead;
        s.text = mr_text_get(&out->text) + s.start;
        while (p < out->pieces && out->piece[p].token < 0) {
            s.pieces++;
            p++;
        }
        const size_t bytes = s.piece[s.pieces - 1].end - s.start;
        if (is_too_long(t, bytes, fault, what)) return MR_OK;
        if (bytes > lead) MR_TRY(add_stretch(t, s, out));
    }
    return MR_OK;
}

mr_status mr_template_text(const mr_template *t, const json_t *record, mr_text *out,
                           mr_fault *fault, char what[MR_FAULT_TEXT])
{
    mr_rendered r = {0};
    mr_status status = mr_template_compose(t, record, &r, fault, what);
    for (int64_t p = 0; status == MR_OK && *fault == MR_FAULTS && p < r.pieces; p++) {
        const size_t before = p > 0 ? r.piece[p - 1].end : 0;
        if (r.piece[p].token < 0)
            mr_text_add_bytes(out, r.text.data + before, r.piece[p].end - before);
    }
    mr_rendered_free(&r);
    return status == MR_OK && out->failed ? MR_ERR_MEMORY : status;
}

void mr_rendered_free(mr_rendered *rendered)
{
    mr_free(rendered->ids);
    mr_free(rendered->learned);
    mr_free(rendered->piece);
    mr_text_free(&rendered->text);
    *rendered = (mr_rendered){0};
}
