#ifndef MR_TESTS_HF_FILES_H
#define MR_TESTS_HF_FILES_H

/** @file
 * Small files tokenizer.json, made of parts. Local. */

#include "data/tokenizer.h"

/** A file in parts; NULL is the usual one, and quotation marks are written as '. The usual
 * vocabulary is "a", "b", "c", " ", "ab", "abc" and the mark of a blank, 0..6; a and b, and ab and
 * c, are merged. */
typedef struct hf_parts {
    const char *added, *normalizer, *pre, *vocab, *merges, *model, *post, *decoder, *more;
} hf_parts;

/** Writes a file; fails the test where it cannot. */
void hf_write(const char *path, hf_parts parts);

#define ADDED(id, text, flags) "{'id': " id ", 'content': '" text "', " flags ", 'special': true}"
#define PLAIN "'single_word': false, 'lstrip': false, 'rstrip': false, 'normalized': false"
#define LEFT "'single_word': false, 'lstrip': true, 'rstrip': false, 'normalized': false"
#define RIGHT "'single_word': false, 'lstrip': false, 'rstrip': true, 'normalized': false"
#define WORD "'single_word': true, 'lstrip': false, 'rstrip': false, 'normalized': false"
#define NORMAL "'single_word': false, 'lstrip': false, 'rstrip': false, 'normalized': true"

#define SPLIT(pattern, behavior, invert)                                                           \
    "{'type': 'Split', 'pattern': " pattern ", 'behavior': '" behavior "', 'invert': " invert "}"

#endif
