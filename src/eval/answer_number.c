/* Answers that are numbers: GSM8K by MetaMath, ConvFinQA by AdaptLLM. */

#include "eval/answer_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* MetaMath. */

/* Writes a text with ASCII's digits for Unicode's and without commas. */
static mr_status write_plain(mr_view text, mr_text *out)
{
    size_t bytes;
    for (size_t at = 0; at < text.bytes; at += bytes) {
        const int digit = mr_answer_digit(text, at, &bytes);
        if (digit >= 0)
            mr_text_add(out, "%d", digit);
        else if (text.at[at] != ',')
            mr_text_add_bytes(out, text.at + at, bytes);
    }
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

/* The number of a match, "3", "-1.5", "1/3", rounded half to even, as Python's float and round have
 * it. An endless one is none, but stops where it is below zero or a fraction's. */
static mr_answer_state round_match(const char *match, bool divides_by_0, double *out)
{
    char *end;
    double value = strtod(match, &end);
    const bool fraction = *end == '/';
    *out = NAN;
    if (end == match) return MR_ANSWER_NONE; /* "/3" */
    if (!fraction && value > 0 && isinf(value)) return MR_ANSWER_NONE;
    if (fraction) {
        const double divisor = strtod(end + 1, NULL);
        if (!isfinite(divisor) || (divisor == 0 && !divides_by_0)) return MR_ANSWER_STOPPED;
        if (divisor != 0) value /= divisor;
    }
    if (!isfinite(value)) return MR_ANSWER_STOPPED;
    *out = nearbyint(value) + 0.0; /* no -0 */
    return MR_ANSWER_FOUND;
}

static mr_status metamath_found(const char *text, size_t bytes, mr_answer *out)
{
    mr_view behind;
    mr_pattern *pattern;
    mr_span span;
    mr_text plain = {0};
    bool found;
    double number;
    if (!mr_answer_behind((mr_view){text, bytes}, "The answer is: ", &behind)) return MR_OK;
    MR_TRY(mr_answer_compile("[-+]?\\d*[.,/]?\\d+", &pattern));
    mr_status status = mr_answer_search(pattern, behind, 0, &span, &found);
    if (status == MR_OK && found) {
        const mr_view match = {behind.at + span.from, span.to - span.from};
        status = write_plain(match, &plain);
        /* By "0" it does not divide at all; other zeros end it. */
        const bool by_0 = match.bytes > 1 && memcmp(match.at + match.bytes - 2, "/0", 2) == 0;
        if (status == MR_OK) out->state = round_match(mr_text_get(&plain), by_0, &number);
        if (status == MR_OK && out->state == MR_ANSWER_FOUND)
            status = mr_answer_add(out, match, number);
    }
    mr_text_free(&plain);
    mr_pattern_destroy(&pattern);
    return status;
}

/* The whole number between the first two "#### ". */
static mr_status metamath_gold(const char *text, size_t bytes, mr_answer *out)
{
    static const char mark[] = "#### ";
    const size_t before = mr_answer_before((mr_view){text, bytes}, mark).bytes,
                 from = before + strlen(mark);
    mr_text plain = {0};
    out->state = MR_ANSWER_STOPPED;
    if (before == bytes) return MR_OK;
    const mr_view number =
        mr_answer_strip(mr_answer_before((mr_view){text + from, bytes - from}, mark));
    mr_status status = write_plain(number, &plain);
    const char *digits = mr_text_get(&plain);
    digits += *digits == '-' || *digits == '+';
    const size_t length = strspn(digits, "0123456789");
    if (status == MR_OK && length > 0 && digits + length == mr_text_get(&plain) + plain.length)
        status = mr_answer_add(out, number, strtod(mr_text_get(&plain), NULL));
    mr_text_free(&plain);
    return status;
}

static mr_status same_number(const mr_answer *found, const mr_answer *gold, double *out)
{
    *out = found->part[0].number == gold->part[0].number;
    return MR_OK;
}

const mr_answer_rule mr_answer_metamath_gsm8k = {
    .name = "metamath_gsm8k",
    .version = 1,
    .summary = "first number behind the last \"The answer is: \", rounded; as a number",
    .gold = metamath_gold,
    .found = metamath_found,
    .score = same_number,
};

/* ConvFinQA. */

/* The number that eval() of Python makes of a match without its commas, each % of which divides by
 * 100; infinite where it makes none, NAN where it makes one too large to be compared. */
static double evaluate(const char *match)
{
    enum { MOST_DIGITS = 4300 }; /* sys.get_int_max_str_digits() */
    const char *number = match + (*match == '-' || *match == '+');
    const size_t digits = strspn(number, "0123456789");
    char *end;
    double value = strtod(match, &end);
    const size_t percents = strspn(end, "%");
    if (end == match || end[percents] != '\0') return INFINITY; /* ".5.5", other digits */
    if (number + digits == end) {
        /* A whole number has no 0 before others. */
        if (number[0] == '0' && strspn(number, "0") < digits) return INFINITY;
        if (digits > MOST_DIGITS) return INFINITY;
        if (isinf(value)) return percents > 0 ? INFINITY : NAN;
    }
    for (size_t i = 0; i < percents; i++)
        value /= 100;
    return value;
}

/* All numbers of the first line. */
static mr_status read_numbers(const char *text, size_t bytes, mr_answer *out)
{
    const mr_view line = mr_answer_before((mr_view){text, bytes}, "\n");
    mr_pattern *pattern;
    bool found = true;
    size_t from = 0;
    MR_TRY(mr_answer_compile("[-+]?[.]?\\d+(?:,\\d\\d\\d)*[.]?\\d*(?:[eE][-+]?\\d+)?%*", &pattern));
    mr_status status = MR_OK;
    while (status == MR_OK && found) {
        mr_span span;
        status = mr_answer_search(pattern, line, from, &span, &found);
        if (status != MR_OK || !found) break;
        const mr_view match = {line.at + span.from, span.to - span.from};
        mr_text plain = {0};
        for (size_t i = 0; i < match.bytes; i++)
            if (match.at[i] != ',') mr_text_add_bytes(&plain, match.at + i, 1);
        status =
            plain.failed ? MR_ERR_MEMORY : mr_answer_add(out, match, evaluate(mr_text_get(&plain)));
        mr_text_free(&plain);
        from = span.to;
    }
    mr_pattern_destroy(&pattern);
    return status;
}

/* math.isclose(a, b, abs_tol=1e-2). */
static bool is_close(double a, double b)
{
    if (a == b) return true;
    if (isinf(a) || isinf(b)) return false;
    const double apart = fabs(b - a);
    return apart <= 1e-9 * fabs(b) || apart <= 1e-9 * fabs(a) || apart <= 1e-2;
}

/* The first number of the gold against any. */
static mr_status any_is_close(const mr_answer *found, const mr_answer *gold, double *out)
{
    const double expected = gold->part[0].number;
    *out = 0;
    for (int64_t i = 0; i < found->count && *out == 0; i++) {
        if (isnan(expected) || isnan(found->part[i].number)) return MR_OK; /* it stops here */
        *out = is_close(found->part[i].number, expected);
    }
    return MR_OK;
}

const mr_answer_rule mr_answer_convfinqa = {
    .name = "adaptllm_convfinqa",
    .version = 1,
    .summary = "numbers of the first line; the gold's first against any of them, within 0.01",
    .gold = read_numbers,
    .found = read_numbers,
    .score = any_is_close,
};
