#ifndef MR_APP_DATA_SAMPLE_H
#define MR_APP_DATA_SAMPLE_H

/** @file
 * A sample for a reader: its text, with what is learned between marks. */

#include "data/tokenizer.h"

/** What stands around learned spans. */
typedef struct mr_sample_marks {
    const char *on, *off;
} mr_sample_marks;

/** Returns colours on a terminal, else double brackets; nothing where JSON is printed. Local. */
mr_sample_marks mr_sample_marks_here(bool json);

/** Appends the text of ids [count], as it may go to a terminal; bos, eos and pad by their names.
 * Without a tokenizer the ids themselves. Local.
 * @param learned  [count], 1 where an id is learned; NULL: nothing is marked
 * @return MR_OK, as mr_tokenizer_decode */
MR_NODISCARD mr_status mr_sample_text(const mr_tokenizer *tokenizer, const int32_t *ids,
                                      const uint8_t *learned, int64_t count, mr_sample_marks marks,
                                      mr_text *out);

/** What is said of a sample beside its text. */
typedef struct mr_sample_facts {
    int64_t tokens, learned, spans;
    bool end_learned; /**< a token that ends what is learned is learned */
} mr_sample_facts;

/** Counts what is learned of ids [count]. Local. @param end  what ends it; -1: nothing does */
mr_sample_facts mr_sample_facts_of(const int32_t *ids, const uint8_t *learned, int64_t count,
                                   int32_t end);

/** Appends "20 tokens, 4 learned in 1 span, </s> learned", and whether nothing or all is. Local.
 * @param end  the name of what ends what is learned; "": nothing does */
void mr_sample_add_facts(const mr_sample_facts *facts, const char *end, mr_text *out);

#endif
