#ifndef MR_DATA_TOKENIZER_H
#define MR_DATA_TOKENIZER_H

/** @file
 * Text to token ids and back: one table of operations, implementations found by name. */

#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct mr_tokenizer mr_tokenizer;

/** What an implementation fills; every entry is required. */
typedef struct mr_tokenizer_ops {
    const char *name;
    const char *summary; /**< one line for --help */

    /** Fills a zeroed tokenizer whose ops are set. @return MR_OK, MR_ERR_MEMORY */
    mr_status (*create)(mr_tokenizer *tokenizer);
    /** Frees state; called after a failed create too. */
    void (*destroy)(mr_tokenizer *tokenizer);
    mr_status (*encode)(const mr_tokenizer *tokenizer, const char *text, size_t bytes, int32_t *ids,
                        int64_t capacity, int64_t *count);
    mr_status (*decode)(const mr_tokenizer *tokenizer, const int32_t *ids, int64_t count,
                        mr_text *out);
    int64_t (*longest)(const mr_tokenizer *tokenizer, size_t bytes);
} mr_tokenizer_ops;

/** A tokenizer. Ids are 0..vocabulary - 1, the special ones among them. */
struct mr_tokenizer {
    const mr_tokenizer_ops *ops; /**< borrowed, a constant of the program */
    int32_t vocabulary;
    int32_t bos, eos, pad; /**< special ids: they stand for no text */
    void *state;           /**< the implementation's, owned; NULL where it needs none */
};

/** Ids of `bytes`: a byte is its own id, the special ids follow. */
enum {
    MR_BYTES_BOS = 256,
    MR_BYTES_EOS = 257,
    MR_BYTES_PAD = 258,
    MR_BYTES_VOCABULARY = 259,
};

/** Returns the names of all tokenizers, NULL at the end. Local. */
const char *const *mr_tokenizer_names(void);

/** Creates the tokenizer of a name. Local.
 * @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_ARG (no such name), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_tokenizer_create(const char *name, mr_tokenizer **out);

/** Frees *tokenizer and sets it to NULL; NULL is allowed. Local. */
void mr_tokenizer_destroy(mr_tokenizer **tokenizer);

/** Encodes bytes of text, which may hold zeros; no special ids are added. Local. No allocation.
 * @param[out] ids    [capacity], gets the first min(*count, capacity) ids; may be NULL at 0
 * @param[out] count  the ids of the whole text, also where that is more than capacity
 * @return MR_OK; `bytes` encodes everything */
MR_NODISCARD mr_status mr_tokenizer_encode(const mr_tokenizer *tokenizer, const char *text,
                                           size_t bytes, int32_t *ids, int64_t capacity,
                                           int64_t *count);

/** Appends the text of ids [count] to out. Special ids, and ids past the vocabulary (of a model
 * whose table is padded), have no text and are skipped. Local.
 * @return MR_OK, MR_ERR_ARG (a negative id), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_tokenizer_decode(const mr_tokenizer *tokenizer, const int32_t *ids,
                                           int64_t count, mr_text *out);

/** Returns a number of tokens that no text of `bytes` bytes exceeds; exact for `bytes`. Local. */
int64_t mr_tokenizer_longest(const mr_tokenizer *tokenizer, size_t bytes);

#endif
