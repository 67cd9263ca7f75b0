#include "data/sentencepiece_model.h"

#include "data/sentencepiece.h"

#include <stdint.h>
#include <string.h>

/* A message of protobuf, and a field of one. */
typedef struct message {
    const unsigned char *at, *end;
} message;

typedef struct field {
    uint64_t number;
    uint64_t value; /* of a number; 0 where it is none */
    message bytes;  /* of text and messages; empty where it is none */
} field;

/* Reads a number of seven-bit groups; false at the end of the data. */
static bool read_varint(message *m, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64 && m->at < m->end; shift += 7) {
        unsigned char group = *m->at++;
        *out |= (uint64_t)(group & 0x7f) << shift;
        if (group < 0x80) return true;
    }
    return false;
}

/* Reads the next field; false at the end of the message. */
static bool read_field(message *m, field *out)
{
    enum { VARINT = 0, EIGHT_BYTES = 1, BYTES = 2, FOUR_BYTES = 5 };
    uint64_t tag, length = 0;
    *out = (field){.number = 0};
    if (!read_varint(m, &tag)) return false;
    switch (tag & 7) {
    case VARINT:
        if (!read_varint(m, &out->value)) return false;
        break;
    case EIGHT_BYTES:
        length = 8;
        break;
    case BYTES:
        if (!read_varint(m, &length)) return false;
        break;
    case FOUR_BYTES:
        length = 4;
        break;
    default:
        return false;
    }
    if (length > (uint64_t)(m->end - m->at)) return false;
    if ((tag & 7) == BYTES) out->bytes = (message){m->at, m->at + length};
    m->at += length;
    out->number = tag >> 3;
    return true;
}

/* Reads four little-endian bytes. */
static uint32_t read_word(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* Whether a map of characters can be followed wherever a text leads: four bytes that tell the size
 * of a trie, the trie, and texts, each with a zero behind it. A unit of the trie leads to any unit
 * of a block of 256, or with its highest bit set to a text. The library follows it without a look.
 * Source: SentencePiece, src/normalizer.cc; darts-clone, include/darts.h. */
static bool is_sound_map(message m)
{
    enum { WORD = 4, BLOCK = 256, LONG = 1 << 9 };
    const size_t bytes = (size_t)(m.end - m.at);
    if (bytes == 0) return true;
    if (bytes < WORD) return false;
    const size_t trie = read_word(m.at), units = trie / WORD, texts = bytes - WORD - trie;
    if (trie > bytes - WORD || trie % WORD != 0 || units == 0) return false;
    if (texts == 0 || m.end[-1] != '\0') return false;
    for (size_t i = 0; i < units; i++) {
        const uint32_t unit = read_word(m.at + WORD + WORD * i);
        const uint32_t offset = (unit >> 10) << ((unit & LONG) >> 6);
        const bool text = unit >> 31;
        if (text ? (unit & 0x7fffffff) >= texts : ((i ^ offset) | (BLOCK - 1)) >= units)
            return false;
    }
    return true;
}

/* Whether settings of how texts are normalised, or made readable again, have a sound map. */
static bool has_sound_map(message m)
{
    enum { MAP = 2 };
    field f;
    while (read_field(&m, &f))
        if (f.number == MAP && f.bytes.at && !is_sound_map(f.bytes)) return false;
    return true;
}

/* Whether a message consists of fields to its end, and those of its fields that are messages too:
 * of a model pieces, settings and tests (1 to 5), of the tests their samples (1). */
static bool is_sound(message m, uint64_t first, uint64_t last)
{
    enum { NORMALIZER = 3, TESTS = 4, DENORMALIZER = 5, SAMPLES = 1 };
    field f;
    while (m.at < m.end) {
        if (!read_field(&m, &f)) return false;
        if (!f.bytes.at || f.number < first || f.number > last) continue;
        const bool model = last > SAMPLES;
        if (!is_sound(f.bytes, SAMPLES, model && f.number == TESTS ? SAMPLES : 0)) return false;
        if (model && (f.number == NORMALIZER || f.number == DENORMALIZER) &&
            !has_sound_map(f.bytes))
            return false;
    }
    return true;
}

bool mr_sentencepiece_is_sound(const void *model, size_t bytes)
{
    enum { FIRST = 1, LAST = 5 };
    const unsigned char *at = model;
    return is_sound((message){at, at + bytes}, FIRST, LAST);
}

/* Whether the mark of a blank stands behind another character of a piece. */
static bool has_inner_blank(message piece)
{
    static const char mark[] = MR_SENTENCEPIECE_BLANK;
    const size_t mark_bytes = sizeof mark - 1;
    for (bool other = false; piece.at < piece.end;) {
        const bool blank =
            (size_t)(piece.end - piece.at) >= mark_bytes && memcmp(piece.at, mark, mark_bytes) == 0;
        if (blank && other) return true;
        other = other || !blank;
        piece.at += blank ? mark_bytes : 1;
    }
    return false;
}

static bool piece_keeps_words(message m)
{
    enum { PIECE = 1, TYPE = 3, USER_DEFINED = 4 };
    field f;
    bool keeps = true;
    while (read_field(&m, &f)) {
        if (f.number == PIECE && has_inner_blank(f.bytes)) keeps = false;
        if (f.number == TYPE && f.value == USER_DEFINED) keeps = false;
    }
    return keeps;
}

static bool trainer_keeps_words(message m)
{
    enum { MODEL_TYPE = 3, BPE = 2, BLANK_AS_SUFFIX = 24 };
    field f;
    bool bpe = false, suffix = false; /* the defaults */
    while (read_field(&m, &f)) {
        if (f.number == MODEL_TYPE) bpe = f.value == BPE;
        if (f.number == BLANK_AS_SUFFIX) suffix = f.value != 0;
    }
    return bpe && !suffix;
}

static bool normalizer_keeps_words(message m, bool *maps)
{
    enum { CHARSMAP = 2, DUMMY_PREFIX = 3, FEWER_BLANKS = 4, ESCAPES = 5 };
    field f;
    bool prefix = true, fewer = true, escapes = true; /* the defaults */
    while (read_field(&m, &f)) {
        if (f.number == CHARSMAP) *maps = f.bytes.at < f.bytes.end;
        if (f.number == DUMMY_PREFIX) prefix = f.value != 0;
        if (f.number == FEWER_BLANKS) fewer = f.value != 0;
        if (f.number == ESCAPES) escapes = f.value != 0;
    }
    return !*maps && prefix && !fewer && escapes;
}

mr_sentencepiece_facts mr_sentencepiece_read_facts(const void *model, size_t bytes)
{
    enum { PIECES = 1, TRAINER = 2, NORMALIZER = 3 };
    const unsigned char *at = model;
    message m = {at, at + bytes};
    field f;
    bool maps = false, pieces = true, trainer = false, normalizer = false;
    while (read_field(&m, &f)) {
        if (f.number == PIECES) pieces = piece_keeps_words(f.bytes) && pieces;
        if (f.number == TRAINER) trainer = trainer_keeps_words(f.bytes);
        if (f.number == NORMALIZER) normalizer = normalizer_keeps_words(f.bytes, &maps);
    }
    return (mr_sentencepiece_facts){.maps = maps, .words = pieces && trainer && normalizer};
}
