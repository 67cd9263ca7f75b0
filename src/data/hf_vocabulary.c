#include "data/hf_vocabulary.h"

#include "base/hash.h"
#include "base/memory.h"
#include "data/hf_text.h"

#include <stdio.h>
#include <string.h>

static const char mark[] = "\xe2\x96\x81"; /* of a blank, U+2581 */

int mr_hf_byte_of(uint32_t point)
{
    if ((point >= '!' && point <= '~') || (point >= 0xa1 && point <= 0xac) ||
        (point >= 0xae && point <= 0xff))
        return (int)point;
    /* The others in order, from 256 on: 0..32, 127..160, 173. */
    if (point < 256 || point > 256 + 67) return -1;
    const int other = (int)point - 256;
    return other <= 32 ? other : other == 67 ? 173 : other + 94;
}

/* Finding. */

static uint64_t hash_text(const char *text, size_t bytes)
{
    uint64_t hash = bytes, word = 0;
    for (; bytes >= sizeof word; bytes -= sizeof word, text += sizeof word) {
        memcpy(&word, text, sizeof word);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, text, bytes);
    return mr_hash_mix(hash ^ word);
}

/* The place of a key: where it is, or else would be. */
static size_t place_of(const mr_hf_vocabulary *v, const char *text, size_t bytes)
{
    size_t place = hash_text(text, bytes) & v->found_mask;
    for (;; place = (place + 1) & v->found_mask) {
        const int32_t id = v->found[place];
        if (id < 0) return place;
        const mr_hf_piece *key = &v->key[id];
        if (key->bytes == bytes && memcmp(v->text + key->at, text, bytes) == 0) return place;
    }
}

int32_t mr_hf_vocabulary_find(const mr_hf_vocabulary *v, const char *text, size_t bytes)
{
    return bytes > v->longest ? -1 : v->found[place_of(v, text, bytes)];
}

static size_t merge_place(const mr_hf_vocabulary *v, int32_t left, int32_t right)
{
    const uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t place = mr_hash_mix(pair) & v->merge_mask;
    for (;; place = (place + 1) & v->merge_mask) {
        const mr_hf_merge *m = &v->merge[place];
        if (m->order == 0 || (m->left == left && m->right == right)) return place;
    }
}

const mr_hf_merge *mr_hf_vocabulary_merge(const mr_hf_vocabulary *v, int32_t left, int32_t right)
{
    const mr_hf_merge *m = &v->merge[merge_place(v, left, right)];
    return m->order > 0 ? m : NULL;
}

mr_hf_string mr_hf_vocabulary_piece(const mr_hf_vocabulary *v, int32_t id)
{
    if (id < 0 || id >= v->ids || v->piece[id].at == MR_HF_NO_PIECE) return (mr_hf_string){NULL, 0};
    return (mr_hf_string){v->text + v->piece[id].at, v->piece[id].bytes};
}

/* Reading. */

/* A table of places for a number of items: a power of two that they fill by half at most. */
static size_t table_size(size_t items)
{
    size_t size = 16;
    while (size < 2 * items)
        size *= 2;
    return size;
}

/* Counts the bytes of the pieces, and the ids. */
static mr_status measure(const mr_hf_place *at, const json_t *vocab, size_t file_bytes,
                         size_t *bytes, int32_t *ids)
{
    const char *key;
    json_t *value;
    const int64_t most = file_bytes < INT32_MAX ? (int64_t)file_bytes : INT32_MAX - 1;
    *bytes = 0;
    *ids = 0;
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value)
    {
        const json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || id >= most) {
            char piece[48];
            snprintf(piece, sizeof piece, "\"%.*s\"", 40, key);
            const mr_hf_place here = mr_hf_key(at, piece);
            return mr_hf_expected(&here, value, "an id below %lld, the bytes of the file",
                                  (long long)most);
        }
        *bytes += strlen(key);
        if (id >= *ids) *ids = (int32_t)id + 1;
    }
    return MR_OK;
}

/* Writes the bytes that a piece of ByteLevel stands for; false where it stands for none. */
static bool write_bytes(mr_hf_string piece, char *to, uint32_t *written)
{
    *written = 0;
    for (size_t at = 0; at < piece.bytes;) {
        uint32_t point;
        at += (size_t)mr_hf_character(piece.text + at, &point);
        const int byte = mr_hf_byte_of(point);
        if (byte < 0) return false;
        to[(*written)++] = (char)byte;
    }
    return true;
}

static mr_status take_pieces(const mr_hf_place *at, const json_t *vocab, mr_hf_vocabulary *v)
{
    const char *key;
    json_t *value;
    uint32_t used = 0;
    json_object_foreach((json_t *)(uintptr_t)vocab, key, value)
    {
        const int32_t id = (int32_t)json_integer_value(value);
        MR_CHECK(
            v->piece[id].at == MR_HF_NO_PIECE, MR_ERR_FORMAT,
            "tokenizer: '%s': %s: expected an id for each piece, found %d of both \"%.*s\" and "
            "\"%.64s\"",
            at->file, at->at, id, (int)(v->piece[id].bytes < 64 ? v->piece[id].bytes : 64),
            v->text + v->piece[id].at, key);
        const size_t bytes = mr_hf_key_text(at, key, v->text + used);
        const mr_hf_string piece = {v->text + used, bytes};
        v->piece[id] = (mr_hf_piece){used, (uint32_t)bytes};
        used += (uint32_t)bytes;
        if (!v->bytes) continue;
        uint32_t written;
        if (write_bytes(piece, v->text + used, &written)) v->key[id] = (mr_hf_piece){used, written};
        used += written;
    }
    return MR_OK;
}

static void index_pieces(mr_hf_vocabulary *v)
{
    for (int32_t id = 0; id < v->ids; id++) {
        const mr_hf_piece *key = &v->key[id];
        if (key->at == MR_HF_NO_PIECE) continue;
        if (key->bytes > v->longest) v->longest = key->bytes;
        v->found[place_of(v, v->text + key->at, key->bytes)] = id;
    }
    for (int byte = 0; byte < MR_HF_BYTES; byte++) {
        const char one = (char)byte;
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte);
        v->single[byte] = v->bytes || byte < 0x80 ? mr_hf_vocabulary_find(v, &one, 1) : -1;
        v->fallback[byte] = v->bytes ? -1 : mr_hf_vocabulary_find(v, name, strlen(name));
    }
}

static mr_status read_pieces(const mr_hf_place *at, const json_t *model, size_t file_bytes,
                             mr_hf_vocabulary *v)
{
    const mr_hf_place here = mr_hf_key(at, "vocab");
    const json_t *vocab = json_object_get(model, "vocab");
    size_t bytes;
    if (!json_is_object(vocab)) return mr_hf_expected(&here, vocab, "an object of pieces");
    if (json_object_size(vocab) == 0) return mr_hf_expected(&here, NULL, "pieces");
    MR_TRY(measure(&here, vocab, file_bytes, &bytes, &v->ids));
    MR_CHECK(2 * bytes < MR_HF_NO_PIECE, MR_ERR_FORMAT,
             "tokenizer: '%s': %s: expected at most 2 GiB of pieces, found %zu bytes", at->file,
             here.at, bytes);
    const size_t size = table_size(json_object_size(vocab)), ids = (size_t)v->ids;
    v->text = mr_alloc(MR_MEM_DATA, (v->bytes ? 2 : 1) * bytes + 1);
    v->piece = mr_alloc_array(MR_MEM_DATA, ids, sizeof *v->piece);
    v->key = v->bytes ? mr_alloc_array(MR_MEM_DATA, ids, sizeof *v->key) : v->piece;
    v->found = mr_alloc_array(MR_MEM_DATA, size, sizeof *v->found);
    if (!v->text || !v->piece || !v->key || !v->found) return MR_ERR_MEMORY;
    v->found_mask = size - 1;
    for (size_t i = 0; i < size; i++)
        v->found[i] = -1;
    for (size_t i = 0; i < ids; i++)
        v->piece[i].at = v->key[i].at = MR_HF_NO_PIECE;
    MR_TRY(take_pieces(&here, vocab, v));
    index_pieces(v);
    return MR_OK;
}

/* The two sides of a merge. */
static mr_status split_merge(const mr_hf_place *at, const json_t *value, mr_hf_string side[2])
{
    if (json_is_array(value) && json_array_size(value) == 2 &&
        json_is_string(json_array_get(value, 0)) && json_is_string(json_array_get(value, 1))) {
        for (size_t i = 0; i < 2; i++)
            side[i] = (mr_hf_string){json_string_value(json_array_get(value, i)),
                                     json_string_length(json_array_get(value, i))};
        return MR_OK;
    }
    const char *text = json_string_value(value);
    const size_t bytes = json_string_length(value);
    const char *blank = text ? memchr(text, ' ', bytes) : NULL;
    if (!blank || memchr(blank + 1, ' ', bytes - (size_t)(blank + 1 - text)))
        return mr_hf_expected(at, value, "two pieces, as \"a b\" or [\"a\", \"b\"]");
    side[0] = (mr_hf_string){text, (size_t)(blank - text)};
    side[1] = (mr_hf_string){blank + 1, bytes - side[0].bytes - 1};
    return MR_OK;
}

static mr_status find_piece(const mr_hf_place *at, const json_t *vocab, mr_hf_string piece,
                            int32_t *id)
{
    const json_t *value = mr_hf_look_up(at, vocab, piece);
    MR_CHECK(value, MR_ERR_FORMAT,
             "tokenizer: '%s': %s: expected pieces of the vocabulary, found \"%.*s\"", at->file,
             at->at, (int)(piece.bytes < 64 ? piece.bytes : 64), piece.text);
    *id = (int32_t)json_integer_value(value);
    return MR_OK;
}

/* Whether the mark stands behind another character of a piece. */
static bool has_inner_mark(mr_hf_string piece)
{
    uint32_t point;
    bool other = false;
    for (size_t at = 0; at < piece.bytes;) {
        const size_t length = (size_t)mr_hf_character(piece.text + at, &point);
        const bool here = length == 3 && memcmp(piece.text + at, mark, 3) == 0;
        if (here && other) return true;
        other = other || !here;
        at += length;
    }
    return false;
}

static mr_status read_merges(const mr_hf_place *at, const json_t *model, mr_hf_vocabulary *v)
{
    const json_t *list, *vocab = json_object_get(model, "vocab");
    const mr_hf_place here = mr_hf_key(at, "merges");
    mr_hf_buffer both = {0};
    mr_status status = mr_hf_read_list(at, model, "merges", &list);
    const size_t count = json_array_size(list), size = table_size(count);
    if (status != MR_OK) return status;
    MR_CHECK(count < INT32_MAX, MR_ERR_FORMAT, "tokenizer: '%s': %s: too many", at->file, here.at);
    v->merge = mr_alloc_array(MR_MEM_DATA, size, sizeof *v->merge);
    if (!v->merge) return MR_ERR_MEMORY;
    v->merge_mask = size - 1;
    for (size_t i = 0; i < count && status == MR_OK; i++) {
        const mr_hf_place item = mr_hf_item(&here, i);
        mr_hf_string side[2];
        mr_hf_merge merge = {.order = (int32_t)i + 1};
        both.bytes = 0;
        status = split_merge(&item, json_array_get(list, i), side);
        if (status == MR_OK) status = find_piece(&item, vocab, side[0], &merge.left);
        if (status == MR_OK) status = find_piece(&item, vocab, side[1], &merge.right);
        if (status == MR_OK) status = mr_hf_buffer_add(&both, side[0].text, side[0].bytes);
        if (status == MR_OK) status = mr_hf_buffer_add(&both, side[1].text, side[1].bytes);
        const mr_hf_string made = {both.bytes > 0 ? both.data : "", both.bytes};
        if (status == MR_OK) status = find_piece(&item, vocab, made, &merge.id);
        if (status != MR_OK) break;
        if (v->words && has_inner_mark(made)) v->words = false;
        v->merge[merge_place(v, merge.left, merge.right)] = merge;
    }
    mr_hf_buffer_free(&both);
    return status;
}

static mr_status read_settings(const mr_hf_place *at, const json_t *model, mr_hf_vocabulary *v)
{
    static const char *const types[] = {"BPE", NULL};
    static const char *const known[] = {"type",
                                        "dropout",
                                        "unk_token",
                                        "continuing_subword_prefix",
                                        "end_of_word_suffix",
                                        "fuse_unk",
                                        "byte_fallback",
                                        "ignore_merges",
                                        "vocab",
                                        "merges",
                                        NULL};
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    int which;
    /* Older files do not name the type, of which there was one. */
    if (!json_is_object(model) || json_object_get(model, "type"))
        MR_TRY(mr_hf_read_choice(at, model, "type", types, &which));
    MR_TRY(mr_hf_check_keys(at, model, known));
    for (int i = 0; i < 2; i++) {
        const json_t *affix = json_object_get(model, affixes[i]);
        const mr_hf_place here = mr_hf_key(at, affixes[i]);
        if (!mr_hf_is_null(model, affixes[i]) &&
            !(json_is_string(affix) && json_string_length(affix) == 0))
            return mr_hf_expected(&here, affix, "null, as parts of words are not marked here");
    }
    const json_t *dropout = json_object_get(model, "dropout");
    const mr_hf_place here = mr_hf_key(at, "dropout");
    if (!mr_hf_is_null(model, "dropout") &&
        !(json_is_number(dropout) && json_number_value(dropout) == 0))
        return mr_hf_expected(&here, dropout, "null, as merges are not left out at random here");
    MR_TRY(mr_hf_read_bool(at, model, "fuse_unk", 0, &v->fuse_unknown));
    MR_TRY(mr_hf_read_bool(at, model, "byte_fallback", 0, &v->byte_fallback));
    return mr_hf_read_bool(at, model, "ignore_merges", 0, &v->ignore_merges);
}

/* Whether no character is left out, so that its neighbours would meet. */
static bool keeps_characters(const json_t *model, const mr_hf_vocabulary *v)
{
    bool keeps = v->byte_fallback;
    for (int byte = 0; byte < MR_HF_BYTES; byte++)
        keeps = keeps && v->fallback[byte] >= 0;
    return keeps || !mr_hf_is_null(model, "unk_token");
}

static mr_status read_model(const mr_hf_place *at, const json_t *model, size_t file_bytes,
                            mr_hf_vocabulary *v)
{
    mr_hf_string unknown;
    MR_TRY(read_settings(at, model, v));
    MR_TRY(read_pieces(at, model, file_bytes, v));
    v->words = !v->bytes && !v->ignore_merges && keeps_characters(model, v) &&
               mr_hf_vocabulary_find(v, mark, 3) >= 0;
    MR_TRY(read_merges(at, model, v));
    for (int byte = 0; v->bytes && v->byte_fallback && byte < MR_HF_BYTES; byte++)
        MR_CHECK(v->single[byte] >= 0, MR_ERR_FORMAT,
                 "tokenizer: '%s': %s.byte_fallback: expected a piece for each byte behind "
                 "ByteLevel, found none for byte %d",
                 at->file, at->at, byte);
    v->unknown = -1;
    if (mr_hf_is_null(model, "unk_token")) return MR_OK;
    MR_TRY(mr_hf_read_string(at, model, "unk_token", &unknown));
    const json_t *id = mr_hf_look_up(at, json_object_get(model, "vocab"), unknown);
    v->has_unknown = true;
    if (id) v->unknown = (int32_t)json_integer_value(id);
    return MR_OK;
}

mr_status mr_hf_vocabulary_read(const mr_hf_place *at, const json_t *model, size_t file_bytes,
                                bool bytes, mr_hf_vocabulary **out)
{
    mr_hf_vocabulary *v = mr_alloc(MR_MEM_DATA, sizeof *v);
    *out = NULL;
    if (!v) return MR_ERR_MEMORY;
    v->bytes = bytes;
    mr_status status = read_model(at, model, file_bytes, v);
    if (status == MR_OK)
        *out = v;
    else
        mr_hf_vocabulary_destroy(&v);
    return status;
}

void mr_hf_vocabulary_destroy(mr_hf_vocabulary **vocabulary)
{
    mr_hf_vocabulary *v = *vocabulary;
    if (!v) return;
    if (v->key != v->piece) mr_free(v->key);
    mr_free(v->piece);
    mr_free(v->text);
    mr_free(v->found);
    mr_free(v->merge);
    mr_free(v);
    *vocabulary = NULL;
}
