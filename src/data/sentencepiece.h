#ifndef MR_DATA_SENTENCEPIECE_H
#define MR_DATA_SENTENCEPIECE_H

/** @file
 * The SentencePiece library behind functions of C: unigram, BPE, word and character models alike.
 *
 * No exception leaves these functions. They return NULL on success, else what went wrong as text:
 * the library's own words in `problem`, or a constant. The library allocates for itself.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MR_SENTENCEPIECE_PROBLEM = 256 }; /**< bytes of a problem with its terminating zero */

#define MR_SENTENCEPIECE_BLANK "\xe2\x96\x81" /**< U+2581, which stands for a blank in pieces */

/** A loaded model. */
typedef struct mr_sentencepiece mr_sentencepiece;

extern const char mr_sentencepiece_no_memory[]; /**< what is returned where memory runs out */

/** Loads a model from the bytes of its file. Local.
 * @param[out] out      set on success, else NULL
 * @param[out] problem  [MR_SENTENCEPIECE_PROBLEM] */
const char *mr_sentencepiece_create(const void *model, size_t bytes, mr_sentencepiece **out,
                                    char *problem);

/** Frees *model and sets it to NULL; NULL is allowed. Local. */
void mr_sentencepiece_destroy(mr_sentencepiece **model);

/** Returns the number of pieces, ids 0.. of it. Local. */
int32_t mr_sentencepiece_size(const mr_sentencepiece *model);

/** Tells the ids of the special pieces, -1 where the model has none. Local. */
void mr_sentencepiece_special(const mr_sentencepiece *model, int32_t *bos, int32_t *eos,
                              int32_t *pad);

/** Returns the piece of an id below the size; borrowed. Local. */
const char *mr_sentencepiece_piece(const mr_sentencepiece *model, int32_t id);

/** Tells whether a text is a piece of its own. Local. */
int mr_sentencepiece_has_piece(const mr_sentencepiece *model, const char *text);

/** Lets encode go word by word from now on (not 0) or as at first by whole texts: for models whose
 * mr_sentencepiece_facts.words is true and whose blank is a piece the ids are the same. Words come
 * again and again, and those of few bytes are remembered: LLaMA-2's model encodes English text
 * several times as fast, and in memory that does not grow to a hundred times the text's. Local. */
void mr_sentencepiece_set_words(mr_sentencepiece *model, int on);

/** Encodes UTF-8 text, which may hold zeros. Local; one call at a time on a model.
 * @param[out] ids    [capacity], gets the first min(*count, capacity) ids; may be NULL at 0
 * @param[out] count  the ids of the whole text */
const char *mr_sentencepiece_encode(const mr_sentencepiece *model, const char *text, size_t bytes,
                                    int32_t *ids, int64_t capacity, int64_t *count, char *problem);

/** Called with a decoded text; a result that is not 0 is handed on. */
typedef int mr_sentencepiece_sink(void *context, const char *text, size_t bytes);

/** Decodes ids [count] below the number of pieces, and calls sink once. Local.
 * @param[out] sunk  what sink returned */
const char *mr_sentencepiece_decode(const mr_sentencepiece *model, const int32_t *ids,
                                    int64_t count, mr_sentencepiece_sink *sink, void *context,
                                    int *sunk, char *problem);

#ifdef __cplusplus
}
#endif

#endif
