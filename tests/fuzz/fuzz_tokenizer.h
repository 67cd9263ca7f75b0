#ifndef MR_TESTS_FUZZ_TOKENIZER_H
#define MR_TESTS_FUZZ_TOKENIZER_H

/** @file
 * A tokenizer from an input, used on a text with much that is hard about texts. */

#include "base/text.h"
#include "data/tokenizer.h"
#include "fuzz.h"

/** Loads the input as a file of this name; encodes and decodes where it is taken. */
static inline int fuzz_tokenizer(const char *name, const uint8_t *data, size_t size)
{
    enum { ROOM = 512 };
    static const char text[] = " Hello  w\xc3\xb6rld, it's 12345\t\r\n\xe2\x96\x81x <s></s>"
                               "\xf0\x9f\x98\x80\xe4\xb8\xad\xe6\x96\x87 e\xcc\x81\xcc\x81.";
    static int32_t ids[ROOM];
    mr_tokenizer *tokenizer = NULL;
    if (mr_tokenizer_create(fuzz_file(name, data, size), &tokenizer) == MR_OK) {
        int64_t count = 0;
        mr_text out = {0};
        if (mr_tokenizer_encode(tokenizer, text, sizeof text - 1, ids, ROOM, &count) == MR_OK) {
            if (count > mr_tokenizer_longest(tokenizer, sizeof text - 1)) __builtin_trap();
            count = count < ROOM ? count : ROOM;
            for (int64_t i = 0; i < count; i++)
                if (ids[i] < 0 || ids[i] >= tokenizer->vocabulary) __builtin_trap();
            if (mr_tokenizer_decode(tokenizer, ids, count, &out) != MR_OK) __builtin_trap();
            if (mr_tokenizer_decode_special(tokenizer, ids, count, &out) != MR_OK) __builtin_trap();
            for (int64_t i = 0; i < count; i++)
                if (mr_tokenizer_piece(tokenizer, ids[i], &out) != MR_OK) __builtin_trap();
        }
        mr_text_free(&out);
    }
    mr_tokenizer_destroy(&tokenizer);
    return 0;
}

#endif
