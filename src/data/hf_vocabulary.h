#ifndef MR_DATA_HF_VOCABULARY_H
#define MR_DATA_HF_VOCABULARY_H

/** @file
 * The model of a tokenizer.json, which is BPE: pieces by id and by text, merges by pair of ids.
 *
 * Where words are bytes (ByteLevel), pieces are found by the bytes they stand for. Merges are
 * strings "a b" or pairs ["a", "b"]; the last of equal ones counts. Prefixes and suffixes of parts
 * of words, and dropout, are refused by name. */

#include "data/hf_place.h"

/** What a pair of neighbours becomes. */
typedef struct mr_hf_merge {
    int32_t left, right; /**< ids */
    int32_t id;          /**< of the piece that both make */
    int32_t order;       /**< the lower ones come first; from 1 on, 0: an empty place */
} mr_hf_merge;

/** Bytes of pieces. */
typedef struct mr_hf_piece {
    uint32_t at, bytes; /**< in mr_hf_vocabulary.text; at MR_HF_NO_PIECE: there is none */
} mr_hf_piece;

#define MR_HF_NO_PIECE UINT32_MAX

enum { MR_HF_BYTES = 256 };

/** A model. Read-only once made. */
typedef struct mr_hf_vocabulary {
    char *text;         /**< of all pieces, owned */
    int32_t ids;        /**< the largest id and 1 */
    mr_hf_piece *piece; /**< [ids], as in the file; owned */
    mr_hf_piece *key;   /**< [ids], as they are found: `piece`, or its bytes; owned where bytes */
    int32_t *found;     /**< [found_mask + 1], ids by the hash of their key and -1; owned */
    size_t found_mask;
    mr_hf_merge *merge; /**< [merge_mask + 1], by the hash of their pair; owned */
    size_t merge_mask;
    size_t longest;                /**< bytes of a key */
    int32_t single[MR_HF_BYTES];   /**< the id of each byte, or ASCII character, or -1 */
    int32_t fallback[MR_HF_BYTES]; /**< the id of <0xNN>, or -1 */
    int32_t unknown;               /**< the id of unk_token, -1: none */
    bool has_unknown;              /**< there is an unk_token, be it no piece */
    bool bytes;                    /**< words are bytes */
    bool fuse_unknown, byte_fallback, ignore_merges;
    /** No piece that a merge makes has the mark of a blank behind another character, the mark is a
     * piece, and no character is left out: words can be merged one by one, cut before each mark
     * that follows none. */
    bool words;
} mr_hf_vocabulary;

/** Reads a model. Local.
 * @param file_bytes  of the whole file: what no id can reach, as each takes some of them
 * @param bytes       words are bytes
 * @param[out] out    set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_vocabulary_read(const mr_hf_place *at, const json_t *model,
                                             size_t file_bytes, bool bytes, mr_hf_vocabulary **out);

/** Frees *vocabulary and sets it to NULL; NULL is allowed. Local. */
void mr_hf_vocabulary_destroy(mr_hf_vocabulary **vocabulary);

/** Returns the id of the piece of a text as words have it, or -1. Local. */
int32_t mr_hf_vocabulary_find(const mr_hf_vocabulary *v, const char *text, size_t bytes);

/** Returns the merge of a pair of ids, or NULL. Local. */
const mr_hf_merge *mr_hf_vocabulary_merge(const mr_hf_vocabulary *v, int32_t left, int32_t right);

/** Returns a piece as the file has it; text is NULL where there is none. Local. */
mr_hf_string mr_hf_vocabulary_piece(const mr_hf_vocabulary *v, int32_t id);

/** Returns the byte that ByteLevel writes as a character, or -1. Local. */
int mr_hf_byte_of(uint32_t point);

#endif
