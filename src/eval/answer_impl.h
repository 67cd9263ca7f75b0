#ifndef MR_EVAL_ANSWER_IMPL_H
#define MR_EVAL_ANSWER_IMPL_H

/** @file
 * For the files of rules. */

#include "base/pattern.h"
#include "eval/answer.h"

#include <stdint.h>

/** Text of others. Borrowed. */
typedef struct mr_view {
    const char *at;
    size_t bytes;
} mr_view;

/** Python's \s, for the inside of a class of PCRE2, whose own has U+180E and lacks U+001C to 1F. */
#define MR_ANSWER_SPACE                                                                            \
    "\\x09-\\x0d\\x1c-\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"  \
    "\\x{205f}\\x{3000}"

extern const mr_answer_rule mr_answer_gsm8k_strict, mr_answer_gsm8k_flexible,
    mr_answer_gsm8k_cot_strict, mr_answer_metamath_gsm8k, mr_answer_peft_gsm8k,
    mr_answer_metamath_math, mr_answer_hendrycks_math, mr_answer_convfinqa, mr_answer_ner,
    mr_answer_first_line;

/** Returns the view of a part. */
mr_view mr_answer_view(const mr_answer *answer, int64_t part);

/** Appends a part, and makes the answer FOUND. @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_answer_add(mr_answer *answer, mr_view text, double number);

/** Returns a text without the white space around it (str.strip). */
mr_view mr_answer_strip(mr_view text);

/** Returns what stands before the first of a text in another; all where there is none. */
mr_view mr_answer_before(mr_view text, const char *mark);

/** Finds what stands behind the last of a text in another. @return whether there is one */
bool mr_answer_behind(mr_view text, const char *mark, mr_view *out);

/** Returns the bytes of the character at text, 1 where those are not UTF-8, and its code point. */
size_t mr_answer_character(mr_view text, uint32_t *point);

/** Returns the place of the character that ends at a place behind the first. */
size_t mr_answer_step_back(mr_view text, size_t at);

/** Returns the value of the decimal digit (Nd) at a place of a text, -1 where it is none. */
int mr_answer_digit(mr_view text, size_t at, size_t *bytes);

/** Tells whether both are the same bytes. */
bool mr_answer_same(mr_view a, mr_view b);

/** Compiles a pattern; what is wrong with it stands in the message. */
MR_NODISCARD mr_status mr_answer_compile(const char *pattern, mr_pattern **out);

/** Finds a pattern in a text behind a place. @param[out] spans  as of mr_pattern_search */
MR_NODISCARD mr_status mr_answer_search(const mr_pattern *pattern, mr_view text, size_t from,
                                        mr_span *spans, bool *found);

#endif
