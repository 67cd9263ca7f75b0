/* Answers that are compared as text: those of lm-evaluation-harness for GSM8K, and first lines. */

#include "eval/answer_impl.h"

#include <math.h>

static mr_status whole(const char *text, size_t bytes, mr_answer *out)
{
    return mr_answer_add(out, (mr_view){text, bytes}, NAN);
}

static void drop_zeros(mr_text *text)
{
    while (text->length > 0 && text->data[text->length - 1] == '\0')
        text->length--;
}

static void drop(mr_text *text, char c)
{
    size_t kept = 0;
    for (size_t i = 0; i < text->length; i++)
        if (text->data[i] != c) text->data[kept++] = text->data[i];
    text->length = kept;
}

/* What is compared of a text: exact_match with gsm8k's regexes_to_ignore, ",", "\$", "(?s).*#### "
 * and "\.$", each of which leaves an array of NumPy behind, that drops zeros at the end. */
static mr_status normalise(mr_view text, mr_text *out)
{
    mr_view behind;
    mr_text all = {0};
    mr_text_add_bytes(&all, text.at, text.bytes);
    drop(&all, ',');
    drop_zeros(&all);
    drop(&all, '$');
    drop_zeros(&all);
    if (!mr_answer_behind((mr_view){mr_text_get(&all), all.length}, "#### ", &behind))
        behind = (mr_view){mr_text_get(&all), all.length};
    mr_text_add_bytes(out, behind.at, behind.bytes);
    const bool failed = all.failed || out->failed;
    mr_text_free(&all);
    if (failed) return MR_ERR_MEMORY;
    drop_zeros(out);
    /* $ is the end, and before a line end there. */
    const size_t line = out->length > 0 && out->data[out->length - 1] == '\n';
    if (out->length > line && out->data[out->length - 1 - line] == '.') {
        out->length--;
        if (line) out->data[out->length - 1] = '\n';
    }
    drop_zeros(out);
    for (size_t i = 0; i < out->length; i++)
        if (out->data[i] >= 'A' && out->data[i] <= 'Z') out->data[i] += 'a' - 'A';
    return MR_OK;
}

static mr_status same_number(const mr_answer *found, const mr_answer *gold, double *out)
{
    mr_text a = {0}, b = {0};
    mr_status status = normalise(mr_answer_view(found, 0), &a);
    if (status == MR_OK) status = normalise(mr_answer_view(gold, 0), &b);
    if (status == MR_OK)
        *out = mr_answer_same((mr_view){mr_text_get(&a), a.length},
                              (mr_view){mr_text_get(&b), b.length});
    mr_text_free(&a);
    mr_text_free(&b);
    return status;
}

static mr_status strict(const char *text, size_t bytes, mr_answer *out)
{
    return mr_answer_by_pattern("#### (\\-?[0-9\\.\\,]+)", false, text, bytes, out);
}

static mr_status flexible(const char *text, size_t bytes, mr_answer *out)
{
    return mr_answer_by_pattern("(-?[$0-9.,]{2,})|(-?[0-9]+)", true, text, bytes, out);
}

/* The last dot is any character, as published. */
static mr_status cot_strict(const char *text, size_t bytes, mr_answer *out)
{
    return mr_answer_by_pattern("The answer is (\\-?[0-9\\.\\,]+).", false, text, bytes, out);
}

const mr_answer_rule mr_answer_gsm8k_strict = {
    .name = "lm_eval_gsm8k_strict",
    .version = 1,
    .summary = "number behind the first \"#### \"; as text, without , and $",
    .gold = whole,
    .found = strict,
    .score = same_number,
};

const mr_answer_rule mr_answer_gsm8k_flexible = {
    .name = "lm_eval_gsm8k_flexible",
    .version = 1,
    .summary = "last number; as text, without , and $",
    .gold = whole,
    .found = flexible,
    .score = same_number,
};

const mr_answer_rule mr_answer_gsm8k_cot_strict = {
    .name = "lm_eval_gsm8k_cot_strict",
    .version = 1,
    .summary = "number behind the first \"The answer is \", with a character behind it; as text",
    .gold = whole,
    .found = cot_strict,
    .score = same_number,
};

/* First lines. */

static mr_status first_line(const char *text, size_t bytes, mr_answer *out)
{
    const mr_view line = mr_answer_strip(mr_answer_before((mr_view){text, bytes}, "\n"));
    return line.bytes > 0 ? mr_answer_add(out, line, NAN) : MR_OK;
}

static mr_status same_text(const mr_answer *found, const mr_answer *gold, double *out)
{
    *out = mr_answer_same(mr_answer_view(found, 0), mr_answer_view(gold, 0));
    return MR_OK;
}

const mr_answer_rule mr_answer_first_line = {
    .name = "first_line",
    .version = 1,
    .summary = "first line without the white space around it; as text",
    .gold = first_line,
    .found = first_line,
    .score = same_text,
};
