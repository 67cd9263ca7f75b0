#ifndef MR_DATA_HF_REGEX_H
#define MR_DATA_HF_REGEX_H

/** @file
 * Patterns of a tokenizer.json: a literal text, or a regular expression in Oniguruma's Ruby syntax,
 * compiled with PCRE2 where both mean the same or can be made to; the rest is refused by name.
 *
 * What is made to: \s is White_Space (PCRE2's has U+180E, too), \w is Alphabetic, M, Nd and Pc; \v
 * is one character; ^ and $ match at lines; {,n} counts from 0; a script is none of its extensions;
 * characters newer than Unicode 14 are matched as older ones of their category. */

#include "data/hf_place.h"
#include "data/hf_text.h"

/** A pattern. Read-only once made: any thread may match. */
typedef struct mr_hf_pattern mr_hf_pattern;

/** Where matching stands in a text. */
typedef struct mr_hf_matches {
    const mr_hf_pattern *pattern; /**< borrowed */
    const char *text;             /**< what is matched: [bytes] */
    size_t bytes;
    size_t at;       /**< where to look next */
    size_t last_end; /**< of the last match; SIZE_MAX: there was none */
    void *data;      /**< PCRE2's, of the thread that matches; borrowed */
} mr_hf_matches;

/** Reads {"String": ...} or {"Regex": ...}. Local.
 * @param[out] out  set on MR_OK, else NULL @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_pattern_read(const mr_hf_place *at, const json_t *object,
                                          const char *key, mr_hf_pattern **out);

/** Makes a pattern of a regular expression of this program. Local. */
MR_NODISCARD mr_status mr_hf_pattern_create(const mr_hf_place *at, const char *regex,
                                            mr_hf_pattern **out);

/** Frees *pattern and sets it to NULL; NULL is allowed. Local. */
void mr_hf_pattern_destroy(mr_hf_pattern **pattern);

/** Returns the bytes of a literal, 0 of a regular expression, which may match nothing. Local. */
size_t mr_hf_pattern_least(const mr_hf_pattern *pattern);

/** Returns PCRE2's memory for matches of one thread, or NULL with a message; mr_hf_match_free frees
 * it. Local. */
void *mr_hf_match_create(void) MR_NODISCARD;
void mr_hf_match_free(void *data);

/** Starts to match in a text of UTF-8. Local.
 * @param aside  takes what is matched in place of the text where that has newer characters
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_hf_matches_begin(const mr_hf_pattern *pattern, void *data,
                                           const char *text, size_t bytes, mr_hf_buffer *aside,
                                           mr_hf_matches *out);

/** Finds the next match, which overlaps none before; an empty one is found where no match ends.
 * Local. Source: FindMatches of rust-onig 6.5.
 * @param[out] found  false: there is none @return MR_OK, MR_ERR_ARG (PCRE2 gave up) */
MR_NODISCARD mr_status mr_hf_matches_next(mr_hf_matches *matches, size_t *from, size_t *to,
                                          bool *found);

#endif
