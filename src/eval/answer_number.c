/* Answers that are numbers: GSM8K by MetaMath and by PEFT, ConvFinQA by AdaptLLM. */

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

/* PEFT's benchmark. */

/* Returns a text without any of some ASCII characters at its end, and at its start too. */
static mr_view strip_of(mr_view text, const char *characters, bool start)
{
    while (text.bytes > 0 && text.at[text.bytes - 1] != '\0' &&
           strchr(characters, text.at[text.bytes - 1]))
        text.bytes--;
    while (start && text.bytes > 0 && text.at[0] != '\0' && strchr(characters, text.at[0]))
        text = (mr_view){text.at + 1, text.bytes - 1};
    return text;
}

/* A number as decimal.Decimal reads one. */
typedef struct decimal {
    mr_answer_state
        state;         /* NONE: the text is no number; STOPPED: one that float() does not take */
    long double value; /* Decimal divides with 28 digits, which are rounded to double behind */
} decimal;

static mr_status read_decimal(mr_view text, decimal *out)
{
    mr_pattern *pattern;
    mr_span span[2];
    mr_text plain = {0};
    bool found;
    size_t bytes;
    *out = (decimal){.state = MR_ANSWER_NONE};
    text = mr_answer_strip(text);
    for (size_t at = 0; at < text.bytes; at += bytes) {
        const int digit = mr_answer_digit(text, at, &bytes);
        if (digit >= 0)
            mr_text_add(&plain, "%d", digit);
        else if (text.at[at] != '_')
            mr_text_add_bytes(&plain, text.at + at, bytes);
    }
    if (plain.failed) return MR_ERR_MEMORY;
    MR_TRY(mr_answer_compile("\\A[-+]?(?:(?:\\d+\\.?\\d*|\\.\\d+)(?:[eE][-+]?\\d+)?|"
                             "[iI][nN][fF](?:[iI][nN][iI][tT][yY])?|"
                             "[nN][aA][nN]\\d*|([sS][nN][aA][nN])\\d*)\\z",
                             &pattern));
    const mr_view number = {mr_text_get(&plain), plain.length};
    mr_status status = mr_answer_search(pattern, number, 0, span, &found);
    if (status == MR_OK && found) {
        out->state = span[1].to > span[1].from ? MR_ANSWER_STOPPED : MR_ANSWER_FOUND;
        const bool nan = strchr(number.at, 'a') || strchr(number.at, 'A');
        out->value = nan ? NAN : strtold(number.at, NULL);
    }
    mr_text_free(&plain);
    mr_pattern_destroy(&pattern);
    return status;
}

/* A number or a fraction of two. */
static mr_status read_fraction(mr_view text, decimal *out)
{
    const mr_view above = mr_answer_before(text, "/");
    decimal below;
    if (above.bytes == text.bytes) return read_decimal(text, out);
    const mr_view rest = {above.at + above.bytes + 1, text.bytes - above.bytes - 1};
    *out = (decimal){.state = MR_ANSWER_NONE};
    if (mr_answer_before(rest, "/").bytes < rest.bytes) return MR_OK;
    MR_TRY(read_decimal(above, out));
    MR_TRY(read_decimal(rest, &below));
    /* What a signalling NaN or two infinities would raise is caught here. */
    if (out->state != MR_ANSWER_FOUND || below.state != MR_ANSWER_FOUND || below.value == 0 ||
        (isinf(out->value) && isinf(below.value)))
        out->state = MR_ANSWER_NONE;
    else
        out->value /= below.value;
    return MR_OK;
}

/* An answer is its text, with a part behind it where that is a number. */
static mr_status read_peft(const char *text, size_t bytes, mr_answer *out)
{
    static const char *const marks[] = {"The answer is: ", "The answer is ",
                                        "The final answer is: ", "The final answer is ", "#### "};
    const mr_view all = strip_of(mr_answer_strip((mr_view){text, bytes}), ".!?", false);
    mr_view answer;
    bool found = false;
    for (size_t m = 0; m < sizeof marks / sizeof marks[0] && !found; m++)
        found = mr_answer_behind(all, marks[m], &answer);
    if (!found) return MR_OK;
    answer = strip_of(mr_answer_before(mr_answer_strip(answer), "\n"), " .!?$%", true);
    decimal number;
    MR_TRY(mr_answer_add(out, answer, NAN));
    MR_TRY(read_fraction(answer, &number));
    if (number.state == MR_ANSWER_FOUND)
        return mr_answer_add(out, (mr_view){"", 0}, (double)number.value);
    if (number.state == MR_ANSWER_STOPPED) out->state = MR_ANSWER_STOPPED;
    return MR_OK;
}

static mr_status same_number_or_text(const mr_answer *found, const mr_answer *gold, double *out)
{
    if (found->count != gold->count)
        *out = 0;
    else if (found->count == 2)
        *out = found->part[1].number == gold->part[1].number;
    else
        *out = mr_answer_same(mr_answer_view(found, 0), mr_answer_view(gold, 0));
    return MR_OK;
}

const mr_answer_rule mr_answer_peft_gsm8k = {
    .name = "peft_gsm8k",
    .version = 1,
    .summary =
        "line behind the last \"The answer is\" or \"####\"; as a number or fraction, else as text",
    .gold = read_peft,
    .found = read_peft,
    .score = same_number_or_text,
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
