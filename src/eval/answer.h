#ifndef MR_EVAL_ANSWER_H
#define MR_EVAL_ANSWER_H

/** @file
 * Rules that read an answer out of what a model wrote, and say how right it is.
 *
 * A rule gives what the published code that it is named after gives, quirks included; where that
 * code would end with an error the answer is MR_ANSWER_STOPPED, which is wrong. Texts are bytes,
 * UTF-8 where they are text, and may hold zeros. White space is Python's (str.isspace), digits are
 * Unicode's (Nd) where a rule says so. All functions are Local.
 *
 * Source: lm-evaluation-harness 0.4.13; MetaMath@fe667b1; LMOps/adaptllm@4f2a9de, nereval 0.2.5;
 * peft@0134244, method_comparison/MetaMathQA.
 */

#include "base/text.h"

/** What came of reading. */
typedef enum mr_answer_state {
    MR_ANSWER_NONE,    /**< there is no answer */
    MR_ANSWER_FOUND,   /**< the parts are it */
    MR_ANSWER_STOPPED, /**< the published code ends here */
} mr_answer_state;

/** A part of an answer. */
typedef struct mr_answer_part {
    size_t from, bytes; /**< in the text of the answer */
    double number;      /**< what that text is worth; NAN: none that can be compared */
} mr_answer_part;

/** An answer. Start from {0}; free with mr_answer_free. Owns its members. */
typedef struct mr_answer {
    mr_answer_state state;
    mr_text text; /**< of all parts; where there is none, what stands in a record for it, or "" */
    int64_t count, room;
    mr_answer_part *part; /**< [count]; of entities, name and type in turn */
} mr_answer;

/** A rule. */
typedef struct mr_answer_rule {
    const char *name;
    int version;         /**< grows whenever the same text may give another answer or score */
    const char *summary; /**< one line for --help */
    /** Reads the answer of a set's record, that of a model. @param[out] out  {0}; to be freed on
     * failure, too @return MR_OK, MR_ERR_FORMAT (the text takes a pattern too long), MR_ERR_MEMORY
     * @{ */
    mr_status (*gold)(const char *text, size_t bytes, mr_answer *out);
    mr_status (*found)(const char *text, size_t bytes, mr_answer *out);
    /** @} */
    /** Says how right an answer is, 0 to 1; both are FOUND. @return MR_OK, as gold */
    mr_status (*score)(const mr_answer *found, const mr_answer *gold, double *out);
} mr_answer_rule;

/** Returns rule number index, NULL behind the last one. */
const mr_answer_rule *mr_answer_rule_at(int index);

/** Returns the rule of a name, or NULL. */
const mr_answer_rule *mr_answer_rule_find(const char *name);

/** Scores an answer, 0 where one of both is none. @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_answer_score(const mr_answer_rule *rule, const mr_answer *found,
                                       const mr_answer *gold, double *out);

/** Reads the first or the last match of a pattern without the white space around it: of its group
 * where it has one, of the first group that took part where it has several. The text of no answer
 * is "[invalid]". @return MR_OK, MR_ERR_FORMAT (no pattern, or the text takes it too long; message
 * has both), MR_ERR_MEMORY
 * Source: lm-evaluation-harness, RegexFilter. */
MR_NODISCARD mr_status mr_answer_by_pattern(const char *pattern, bool last, const char *text,
                                            size_t bytes, mr_answer *out);

/** Frees everything and empties it. */
void mr_answer_free(mr_answer *answer);

/** Returns the place of the first of stops in a text, where it is to be cut; bytes where there is
 * none. @param stops  [count], none empty */
size_t mr_answer_stop(const char *text, size_t bytes, const char *const *stops, int64_t count);

#endif
