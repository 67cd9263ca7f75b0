#ifndef MR_DATA_TOKENIZER_H
#define MR_DATA_TOKENIZER_H

/** @file
 * Text to token ids and back: one table of operations an implementation. */

#include "base/hash.h"
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct mr_tokenizer mr_tokenizer;

enum {
    MR_TOKENIZER_NAME = 256, /**< bytes of a name with its terminating zero */
    /** Bytes of a text for a SentencePiece model or a tokenizer.json. The SentencePiece library
     * takes 75 (t5-base's unigram model) to 100 (LLaMA-2's BPE model, where not encoded by words)
     * times the bytes of a text, measured on 20 MB of English in one line: up to 7 GB for a text of
     * this length. Of a tokenizer.json it is 36 times the bytes of a word that nothing cuts. */
    MR_TOKENIZER_MOST_PIECES = 64 << 20,
};

/** What an implementation fills; every entry is required. */
typedef struct mr_tokenizer_ops {
    /** Fills a tokenizer whose ops, source, name and hash are set, the rest zero, from the bytes of
     * its file, none for `bytes`. */
    mr_status (*load)(mr_tokenizer *tokenizer, const char *path, const char *file, size_t size);
    /** Frees state; called after a failed load too. */
    void (*destroy)(mr_tokenizer *tokenizer);
    mr_status (*encode)(const mr_tokenizer *tokenizer, const char *text, size_t bytes, int32_t *ids,
                        int64_t capacity, int64_t *count);
    mr_status (*decode)(const mr_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                        bool keep_special, mr_text *out);
    mr_status (*piece)(const mr_tokenizer *tokenizer, int32_t id, mr_text *out);
    int64_t (*longest)(const mr_tokenizer *tokenizer, size_t bytes);
} mr_tokenizer_ops;

enum { MR_TOKENIZER_ENDS = 16 }; /**< most ids that end a text */

/** A tokenizer. Ids are 0..vocabulary - 1, the special ones among them. */
struct mr_tokenizer {
    const mr_tokenizer_ops *ops;  /**< borrowed, a constant of the program */
    char name[MR_TOKENIZER_NAME]; /**< "bytes", or the model's file name without its folder */
    char hash[MR_HASH_TEXT];      /**< SHA-256 of the model's file; "" for `bytes` */
    char *source;                 /**< as it was given to mr_tokenizer_create; owned */
    const char *reason;           /**< for it, a constant of the program; "" where none was said */
    int32_t vocabulary;
    int32_t bos, eos, pad; /**< special ids: they stand for no text; -1 where there is none */
    /** Ids that end a text that is written: [ends], eos among them, where there is one. */
    int64_t end[MR_TOKENIZER_ENDS];
    int ends;
    /** Ids that stand around a text: [before_count] and [behind_count], borrowed. A
     * tokenizer.json's post-processor tells them; of the other kinds bos stands before, where there
     * is one. */
    const int32_t *before, *behind;
    int64_t before_count, behind_count;
    size_t most_bytes; /**< of a text to encode, for the memory that it takes */
    void *state;       /**< the implementation's, owned; NULL where it needs none */
};

/** Adds an id to those that end a text, unless it is one; none is added for one below 0, nor beyond
 * MR_TOKENIZER_ENDS. Local. */
void mr_tokenizer_add_end(mr_tokenizer *tokenizer, int64_t id);

/** Ids of `bytes`: a byte is its own id, the special ids follow. */
enum {
    MR_BYTES_BOS = 256,
    MR_BYTES_EOS = 257,
    MR_BYTES_PAD = 258,
    MR_BYTES_VOCABULARY = 259,
};

/** Creates a tokenizer. Local.
 * @param[in]  source  "bytes", or the path of a SentencePiece model (unigram, BPE, ...) or of a
 *                     tokenizer.json (hf_tokenizer.h), told apart by their content
 * @param[out] out     set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (no model; both messages name the path), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_tokenizer_create(const char *source, mr_tokenizer **out);

/** Frees *tokenizer and sets it to NULL; NULL is allowed. Local. */
void mr_tokenizer_destroy(mr_tokenizer **tokenizer);

/** Encodes bytes of text, which may hold zeros; no special ids are added. `bytes` encodes any text,
 * SentencePiece UTF-8, its other bytes by its own rules, a tokenizer.json UTF-8 alone, in which the
 * texts of added tokens are these tokens. Local. No allocation by `bytes`; the libraries allocate
 * for themselves.
 * @param[out] ids    [capacity], gets the first min(*count, capacity) ids; may be NULL at 0
 * @param[out] count  the ids of the whole text, also where that is more than capacity
 * @return MR_OK, MR_ERR_ARG (the text is refused), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_tokenizer_encode(const mr_tokenizer *tokenizer, const char *text,
                                           size_t bytes, int32_t *ids, int64_t capacity,
                                           int64_t *count);

/** Appends the text of ids [count] to out. Special ids, and ids past the vocabulary (of a model
 * whose table is padded), have no text and are skipped. The blank that SentencePiece, or a
 * tokenizer.json of its kind, put before a text is left out. Local.
 * @return MR_OK, MR_ERR_ARG (a negative id), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_tokenizer_decode(const mr_tokenizer *tokenizer, const int32_t *ids,
                                           int64_t count, mr_text *out);

/** As mr_tokenizer_decode, but the special tokens of a tokenizer.json are written out. Local. */
MR_NODISCARD mr_status mr_tokenizer_decode_special(const mr_tokenizer *tokenizer,
                                                   const int32_t *ids, int64_t count, mr_text *out);

/** Appends an id as the vocabulary writes it (of `bytes` the byte, its special ids by name), for a
 * reader; nothing of an id past it. Local. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_tokenizer_piece(const mr_tokenizer *tokenizer, int32_t id, mr_text *out);

/** Returns a number of tokens that no text of `bytes` bytes exceeds; exact for `bytes`. Local. */
int64_t mr_tokenizer_longest(const mr_tokenizer *tokenizer, size_t bytes);

#endif
