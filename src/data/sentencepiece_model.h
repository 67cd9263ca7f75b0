#ifndef MR_DATA_SENTENCEPIECE_MODEL_H
#define MR_DATA_SENTENCEPIECE_MODEL_H

/** @file
 * What the file of a SentencePiece model says and the library does not tell. */

#include <stdbool.h>
#include <stddef.h>

/** Facts about a model. */
typedef struct mr_sentencepiece_facts {
    bool maps;  /**< characters are normalised by a map, else they stay as they are */
    bool words; /**< the ids of a text are those of its words, each by itself */
} mr_sentencepiece_facts;

/** Tells whether a file may be a model's: whether every length in it fits what it stands in, and
 * its maps of characters lead nowhere else. The library believes lengths up to 50 MB before it has
 * read as much, and maps wherever they lead. Local. */
bool mr_sentencepiece_is_sound(const void *model, size_t bytes);

/** Reads the facts from the bytes of a model's file, which the library has accepted. Local.
 *
 * `words` holds for a BPE model under these conditions, LLaMA's among them. It begins with single
 * characters and joins neighbours whose union is a piece. Where no piece holds the blank's mark,
 * U+2581, behind another character, no union ever reaches over the border between a character and a
 * blank behind it: what stands on one side has no say in the other, and the text may be cut there.
 * The blank that begins a word is what the library itself puts before a text. It must do so, and it
 * must neither take blanks away, nor map characters, nor find pieces of the user's in the text
 * before it joins anything. A unigram model weighs whole texts: for one it never holds.
 *
 * Source: SentencePiece, src/sentencepiece_model.proto, src/bpe_model.cc, src/normalizer.cc. */
mr_sentencepiece_facts mr_sentencepiece_read_facts(const void *model, size_t bytes);

#endif
