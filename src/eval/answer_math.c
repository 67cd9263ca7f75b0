/* Answers of MATH. */

#include "eval/answer_impl.h"
#include "eval/answer_latex.h"

#include <math.h>
#include <string.h>

static mr_status same_formula(const mr_answer *found, const mr_answer *gold, double *out)
{
    const mr_view a = mr_answer_view(found, 0), b = mr_answer_view(gold, 0);
    bool equal;
    MR_TRY(mr_latex_equal(a.at, a.bytes, b.at, b.bytes, &equal));
    *out = equal;
    return MR_OK;
}

/* What stands in the last \boxed{...}; of anything else `without`. */
static mr_status last_boxed(mr_view text, mr_answer_state without, mr_answer *out)
{
    size_t from, length, inner, inner_length;
    if (mr_latex_last_boxed(text.at, text.bytes, &from, &length) &&
        mr_latex_unbox(text.at + from, length, &inner, &inner_length))
        return mr_answer_add(out, (mr_view){text.at + from + inner, inner_length}, NAN);
    out->state = without;
    return MR_OK;
}

static mr_status metamath_gold(const char *text, size_t bytes, mr_answer *out)
{
    return last_boxed((mr_view){text, bytes}, MR_ANSWER_NONE, out);
}

static mr_status metamath_found(const char *text, size_t bytes, mr_answer *out)
{
    mr_view answer;
    if (!mr_answer_behind((mr_view){text, bytes}, "The answer is: ", &answer)) return MR_OK;
    answer = mr_answer_strip(mr_answer_before(answer, ".\n"));
    if (answer.bytes > 0 && answer.at[answer.bytes - 1] == '.') answer.bytes--;
    return mr_answer_add(out, mr_answer_strip(answer), NAN);
}

/* "\boxed 5$" gives 5: up to the dollar behind the last "\boxed ", if there is one. */
static mr_status hendrycks_gold(const char *text, size_t bytes, mr_answer *out)
{
    mr_view behind;
    if (mr_answer_behind((mr_view){text, bytes}, "\\boxed ", &behind))
        return mr_answer_add(out, mr_answer_before(behind, "$"), NAN);
    return last_boxed((mr_view){text, bytes}, MR_ANSWER_STOPPED, out);
}

static mr_status hendrycks_found(const char *text, size_t bytes, mr_answer *out)
{
    const char *first = bytes > 0 ? memchr(text, '$', bytes) : NULL;
    size_t last = bytes;
    while (first && text[last - 1] != '$')
        last--;
    if (first && text + last - 1 > first)
        return mr_answer_add(out, (mr_view){first + 1, (size_t)(text + last - 1 - (first + 1))},
                             NAN);
    return mr_answer_add(out, (mr_view){text, bytes}, NAN);
}

const mr_answer_rule mr_answer_metamath_math = {
    .name = "metamath_math",
    .version = 2,
    .summary = "what stands behind the last \"The answer is: \"; as a formula",
    .gold = metamath_gold,
    .found = metamath_found,
    .score = same_formula,
};

const mr_answer_rule mr_answer_hendrycks_math = {
    .name = "lm_eval_hendrycks_math",
    .version = 2,
    .summary = "what stands between the first and the last $, or all; as a formula",
    .gold = hendrycks_gold,
    .found = hendrycks_found,
    .score = same_formula,
};
