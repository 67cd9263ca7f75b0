#include "data/hf_bpe.h"

#include "base/hash.h"

#include <string.h>

enum {
    CACHED_BYTES = 31, /* of a word that is remembered */
    CACHED_IDS = 7,
    CACHED_WORDS = 1 << 16, /* a power of two */
    SHORT = 32,             /* parts of a word that are merged without a heap */
};

/* A word that came before: a cache line. */
typedef struct known_word {
    char key[CACHED_BYTES + 1]; /* the bytes of the word, zeros, their number */
    int32_t ids[CACHED_IDS];
    int32_t count; /* 0: none */
} known_word;

/* A part of a long word. */
typedef struct part {
    int32_t id; /* -1: merged into the one before */
    int32_t before, next;
} part;

struct mr_hf_bpe_room {
    known_word *known;  /* [CACHED_WORDS], each in the place of its hash; owned */
    mr_hf_buffer ids;   /* int32_t, of the word at hand */
    mr_hf_buffer parts; /* part */
    mr_hf_buffer heap;  /* uint64_t */
};

mr_status mr_hf_bpe_room_create(mr_purpose purpose, mr_hf_bpe_room **out)
{
    mr_hf_bpe_room *room = mr_alloc(purpose, sizeof *room);
    *out = NULL;
    if (!room) return MR_ERR_MEMORY;
    room->known = mr_alloc_array(purpose, CACHED_WORDS, sizeof *room->known);
    if (room->known)
        *out = room;
    else
        mr_hf_bpe_room_destroy(&room);
    return *out ? MR_OK : MR_ERR_MEMORY;
}

void mr_hf_bpe_room_destroy(mr_hf_bpe_room **room)
{
    if (!*room) return;
    mr_free((*room)->known);
    mr_hf_buffer_free(&(*room)->ids);
    mr_hf_buffer_free(&(*room)->parts);
    mr_hf_buffer_free(&(*room)->heap);
    mr_free(*room);
    *room = NULL;
}

/* The word in pieces of one character. */

typedef struct pieces {
    int32_t *ids;
    size_t count;
    int32_t unknown; /* waits for more unknown characters; -1: none */
} pieces;

static void add_known(pieces *p, int32_t id)
{
    if (p->unknown >= 0) p->ids[p->count++] = p->unknown;
    p->unknown = -1;
    p->ids[p->count++] = id;
}

static mr_status add_unknown(const mr_hf_vocabulary *v, const char *text, size_t bytes, pieces *p)
{
    bool falls_back = v->byte_fallback;
    for (size_t i = 0; i < bytes && falls_back; i++)
        falls_back = v->fallback[(unsigned char)text[i]] >= 0;
    if (falls_back) { /* past what waits, as there */
        for (size_t i = 0; i < bytes; i++)
            p->ids[p->count++] = v->fallback[(unsigned char)text[i]];
        return MR_OK;
    }
    if (!v->has_unknown) return MR_OK; /* left out, as there */
    MR_CHECK(v->unknown >= 0, MR_ERR_ARG,
             "\"%.*s\" is no piece of the vocabulary, and nor is unk_token", (int)bytes, text);
    if (p->unknown >= 0 && !v->fuse_unknown) p->ids[p->count++] = p->unknown;
    p->unknown = v->unknown;
    return MR_OK;
}

/* Room for a piece a byte has been made. */
static mr_status cut(const mr_hf_vocabulary *v, const char *text, size_t bytes, pieces *p)
{
    if (v->bytes && !v->has_unknown) { /* the common case in a loop of its own */
        for (size_t i = 0; i < bytes; i++) {
            const int32_t id = v->single[(unsigned char)text[i]];
            if (id >= 0) p->ids[p->count++] = id;
        }
        return MR_OK;
    }
    for (size_t at = 0; at < bytes;) {
        uint32_t point;
        const unsigned char lead = (unsigned char)text[at];
        const bool single = v->bytes || lead < 0x80;
        const size_t length = single ? 1 : (size_t)mr_hf_character(text + at, &point);
        const int32_t id = single ? v->single[lead] : mr_hf_vocabulary_find(v, text + at, length);
        if (id >= 0)
            add_known(p, id);
        else
            MR_TRY(add_unknown(v, text + at, length, p));
        at += length;
    }
    if (p->unknown >= 0) p->ids[p->count++] = p->unknown;
    return MR_OK;
}

/* Merging. */

/* Merges ids [count], count at most SHORT, in place and returns how many are left. */
static size_t merge_short(const mr_hf_vocabulary *v, int32_t *ids, size_t count)
{
    const mr_hf_merge *pair[SHORT]; /* of i and i + 1 */
    for (size_t i = 0; i + 1 < count; i++)
        pair[i] = mr_hf_vocabulary_merge(v, ids[i], ids[i + 1]);
    for (;;) {
        const mr_hf_merge *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i + 1 < count; i++)
            if (pair[i] && (!best || pair[i]->order < best->order)) best = pair[at = i];
        if (!best) return count;
        ids[at] = best->id;
        count--;
        for (size_t i = at + 1; i < count; i++)
            ids[i] = ids[i + 1];
        for (size_t i = at + 1; i + 1 < count; i++)
            pair[i] = pair[i + 1];
        if (at + 1 < count) pair[at] = mr_hf_vocabulary_merge(v, ids[at], ids[at + 1]);
        if (at > 0) pair[at - 1] = mr_hf_vocabulary_merge(v, ids[at - 1], ids[at]);
    }
}

/* A heap of what may be merged: order and place of its left part, the least first. */

static void heap_push(uint64_t *heap, size_t *count, uint64_t item)
{
    size_t at = (*count)++;
    for (; at > 0 && heap[(at - 1) / 2] > item; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = item;
}

static uint64_t heap_pop(uint64_t *heap, size_t *count)
{
    const uint64_t top = heap[0], last = heap[--*count];
    size_t at = 0;
    for (size_t child = 1; child < *count; child = 2 * at + 1) {
        if (child + 1 < *count && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= last) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

typedef struct long_word {
    const mr_hf_vocabulary *v;
    part *parts;
    uint64_t *heap;
    size_t waiting;
} long_word;

/* Lets the pair of a part and its next wait, if there is a merge for it. */
static void wait_for(long_word *w, int32_t left)
{
    if (left < 0 || w->parts[left].next < 0) return;
    const mr_hf_merge *m =
        mr_hf_vocabulary_merge(w->v, w->parts[left].id, w->parts[w->parts[left].next].id);
    if (m) heap_push(w->heap, &w->waiting, (uint64_t)m->order << 32 | (uint32_t)left);
}

static void merge_all(long_word *w)
{
    while (w->waiting > 0) {
        const uint64_t top = heap_pop(w->heap, &w->waiting);
        const int32_t left = (int32_t)(uint32_t)top, order = (int32_t)(top >> 32);
        part *a = &w->parts[left];
        if (a->id < 0 || a->next < 0) continue;
        part *b = &w->parts[a->next];
        const mr_hf_merge *m = mr_hf_vocabulary_merge(w->v, a->id, b->id);
        if (!m || m->order != order) continue; /* of a pair that is no more */
        a->id = m->id;
        a->next = b->next;
        b->id = -1;
        if (a->next >= 0) w->parts[a->next].before = left;
        wait_for(w, a->before);
        wait_for(w, left);
    }
}

/* As merge_short, of any number of ids. */
static mr_status merge_long(const mr_hf_vocabulary *v, mr_hf_bpe_room *room, int32_t *ids,
                            size_t *count)
{
    long_word w = {.v = v};
    size_t left = 0;
    MR_CHECK(*count < INT32_MAX, MR_ERR_ARG, "a word of %zu characters is too long", *count);
    room->parts.bytes = room->heap.bytes = 0;
    MR_TRY(mr_hf_buffer_reserve(&room->parts, *count * sizeof *w.parts));
    /* A pair waits for each border at first, and two more after each merge, which ends one. */
    MR_TRY(mr_hf_buffer_reserve(&room->heap, 2 * *count * sizeof *w.heap));
    w.parts = (part *)(void *)room->parts.data;
    w.heap = (uint64_t *)(void *)room->heap.data;
    for (size_t i = 0; i < *count; i++)
        w.parts[i] = (part){
            .id = ids[i], .before = (int32_t)i - 1, .next = i + 1 < *count ? (int32_t)i + 1 : -1};
    for (size_t i = 0; i < *count; i++)
        wait_for(&w, (int32_t)i);
    merge_all(&w);
    for (size_t i = 0; i < *count; i++)
        if (w.parts[i].id >= 0) ids[left++] = w.parts[i].id;
    *count = left;
    return MR_OK;
}

/* Words. */

static mr_status merge_word(const mr_hf_vocabulary *v, mr_hf_bpe_room *room, const char *text,
                            size_t bytes, pieces *p)
{
    room->ids.bytes = 0;
    MR_TRY(mr_hf_buffer_reserve(&room->ids, (bytes + 1) * sizeof *p->ids));
    *p = (pieces){.ids = (int32_t *)(void *)room->ids.data, .unknown = -1};
    if (v->ignore_merges) {
        const int32_t whole = mr_hf_vocabulary_find(v, text, bytes);
        if (whole >= 0) {
            p->ids[p->count++] = whole;
            return MR_OK;
        }
    }
    MR_TRY(cut(v, text, bytes, p));
    if (p->count > SHORT) return merge_long(v, room, p->ids, &p->count);
    p->count = merge_short(v, p->ids, p->count);
    return MR_OK;
}

static mr_status encode_word(const mr_hf_vocabulary *v, mr_hf_bpe_room *room, const char *text,
                             size_t bytes, mr_hf_ids *out)
{
    pieces p;
    if (bytes > CACHED_BYTES) {
        MR_TRY(merge_word(v, room, text, bytes, &p));
        for (size_t i = 0; i < p.count; i++)
            mr_hf_ids_add(out, p.ids[i]);
        return MR_OK;
    }
    char key[CACHED_BYTES + 1] = {0};
    uint64_t word[sizeof key / sizeof(uint64_t)];
    memcpy(key, text, bytes);
    key[CACHED_BYTES] = (char)bytes;
    memcpy(word, key, sizeof word);
    const uint64_t hash =
        mr_hash_mix(word[0] * 0x9e3779b97f4a7c15u ^ word[1] * 0xc2b2ae3d27d4eb4fu ^
                    word[2] * 0x165667b19e3779f9u ^ word[3] * 0xff51afd7ed558ccdu);
    known_word *known = &room->known[hash & (CACHED_WORDS - 1)];
    if (known->count == 0 || memcmp(known->key, key, sizeof key) != 0) {
        MR_TRY(merge_word(v, room, text, bytes, &p));
        if (p.count == 0 || p.count > CACHED_IDS) {
            for (size_t i = 0; i < p.count; i++)
                mr_hf_ids_add(out, p.ids[i]);
            return MR_OK;
        }
        memcpy(known->key, key, sizeof key);
        memcpy(known->ids, p.ids, p.count * sizeof *p.ids);
        known->count = (int32_t)p.count;
    }
    for (int32_t i = 0; i < known->count; i++)
        mr_hf_ids_add(out, known->ids[i]);
    return MR_OK;
}

mr_status mr_hf_bpe_encode(const mr_hf_vocabulary *v, mr_hf_bpe_room *room, const char *text,
                           size_t bytes, mr_hf_ids *out)
{
    enum { MARK = 3 };
    static const char mark[] = "\xe2\x96\x81";
    if (!v->words) return encode_word(v, room, text, bytes, out);
    size_t from = 0;
    bool other = false; /* the word has a character that is no mark */
    for (size_t at = 0; at < bytes;) {
        const bool here =
            text[at] == mark[0] && bytes - at >= MARK && memcmp(text + at, mark, MARK) == 0;
        if (here && other) {
            MR_TRY(encode_word(v, room, text + from, at - from, out));
            from = at;
        }
        other = !here;
        at += here ? MARK : 1;
    }
    return from < bytes ? encode_word(v, room, text + from, bytes - from, out) : MR_OK;
}
