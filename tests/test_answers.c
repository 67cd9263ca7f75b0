/** @file
 * What is read out of answers, and how right it is: own vectors, and those of the published code
 * (<root>/eval/scoring.jsonl and <root>/answer_scoring.jsonl of the roots of MORA_GOLDEN). */

#include "eval/answer.h"
#include "eval/answer_latex.h"
#include "golden_lines.h"

#include <math.h>

static mr_answer read_by(const char *rule, bool gold, const char *text, size_t bytes)
{
    const mr_answer_rule *r = mr_answer_rule_find(rule);
    mr_answer answer = {.state = MR_ANSWER_NONE};
    assert_non_null(r);
    must(gold ? r->gold(text, bytes, &answer) : r->found(text, bytes, &answer));
    return answer;
}

static double score_by(const char *rule, const mr_answer *found, const mr_answer *gold)
{
    double score = NAN;
    must(mr_answer_score(mr_answer_rule_find(rule), found, gold, &score));
    return score;
}

/* How right an answer is, both given as they are read. */
static double score_of(const char *rule, const char *text, const char *gold)
{
    mr_answer a = read_by(rule, false, text, strlen(text));
    mr_answer b = read_by(rule, true, gold, strlen(gold));
    const double score = score_by(rule, &a, &b);
    mr_answer_free(&a);
    mr_answer_free(&b);
    return score;
}

static bool part_is(const mr_answer *answer, int64_t part, const char *text, size_t bytes)
{
    const mr_answer_part *p = &answer->part[part];
    return p->bytes == bytes && memcmp(mr_text_get(&answer->text) + p->from, text, bytes) == 0;
}

/* An answer that is a text as it stands. */
static mr_answer text_answer(const char *text, size_t bytes, mr_answer_part *part)
{
    mr_answer answer = {.state = MR_ANSWER_FOUND, .count = 1, .part = part};
    *part = (mr_answer_part){.bytes = bytes, .number = NAN};
    mr_text_add_bytes(&answer.text, text, bytes);
    return answer;
}

/* Published. */

static void check_extraction(const json_t *line, const char *rule, const char *key,
                             const char *verdict)
{
    size_t bytes;
    const char *text = golden_text(line, "completion", &bytes);
    mr_answer found = read_by(rule, false, text, bytes);
    text = golden_text(line, "gold", &bytes);
    mr_answer gold = read_by(rule, true, text, bytes);
    text = golden_text(line, key, &bytes);
    golden_assert(line, found.text.length == bytes);
    golden_assert(line, memcmp(mr_text_get(&found.text), text, bytes) == 0);
    golden_assert(line, score_by(rule, &found, &gold) == golden_truth(line, verdict));
    mr_answer_free(&found);
    mr_answer_free(&gold);
}

static void check_gsm8k(const json_t *line)
{
    check_extraction(line, "lm_eval_gsm8k_strict", "strict", "strict_correct");
    check_extraction(line, "lm_eval_gsm8k_flexible", "flexible", "flexible_correct");
}

static void check_gsm8k_cot(const json_t *line)
{
    check_extraction(line, "lm_eval_gsm8k_cot_strict", "strict", "strict_correct");
    check_extraction(line, "lm_eval_gsm8k_flexible", "flexible", "flexible_correct");
}

static mr_answer read_completion(const json_t *line, const char *rule)
{
    size_t bytes;
    const char *text = golden_text(line, "completion", &bytes);
    return read_by(rule, false, text, bytes);
}

static void check_number(const json_t *line, const mr_answer *found)
{
    const json_t *number = json_object_get(line, "number");
    const mr_answer_state expected = json_is_number(number)            ? MR_ANSWER_FOUND
                                     : json_object_get(line, "raises") ? MR_ANSWER_STOPPED
                                                                       : MR_ANSWER_NONE;
    golden_assert(line, found->state == expected);
    if (json_is_number(number))
        golden_assert(line, found->part[0].number == json_number_value(number));
}

static void check_metamath_gsm8k(const json_t *line)
{
    char text[64];
    mr_answer found = read_completion(line, "metamath_gsm8k");
    check_number(line, &found);
    snprintf(text, sizeof text, "so it is #### %.0f", golden_number(line, "gold"));
    mr_answer gold = read_by("metamath_gsm8k", true, text, strlen(text));
    golden_assert(line, score_by("metamath_gsm8k", &found, &gold) == golden_truth(line, "correct"));
    mr_answer_free(&found);
    mr_answer_free(&gold);
}

static void check_metamath_number(const json_t *line)
{
    mr_answer found = read_completion(line, "metamath_gsm8k");
    check_number(line, &found);
    mr_answer_free(&found);
}

/* The gold stands in the line; where the solution does, too, it is what is read out of that. */
static void check_math(const json_t *line, const char *rule, const char *gold_key)
{
    const json_t *gold_text = json_object_get(line, gold_key);
    const json_t *solution = json_object_get(line, "solution");
    mr_answer_part part;
    mr_answer found = read_completion(line, rule), gold = {.state = MR_ANSWER_NONE};
    if (json_is_string(gold_text))
        gold = text_answer(json_string_value(gold_text), json_string_length(gold_text), &part);
    golden_assert(line, score_by(rule, &found, &gold) == golden_truth(line, "correct"));
    if (json_is_string(solution)) {
        mr_answer read =
            read_by(rule, true, json_string_value(solution), json_string_length(solution));
        golden_assert(line, read.state == gold.state);
        if (gold.state == MR_ANSWER_FOUND)
            golden_assert(line, part_is(&read, 0, mr_text_get(&gold.text), gold.text.length));
        mr_answer_free(&read);
    }
    mr_text_free(&gold.text);
    mr_answer_free(&found);
}

static void check_metamath_math(const json_t *line)
{
    check_math(line, "metamath_math", "gold");
}

static void check_metamath_completion(const json_t *line)
{
    check_math(line, "metamath_math", "answer");
}

static void check_hendrycks(const json_t *line)
{
    size_t bytes;
    const char *answer = golden_text(line, "answer", &bytes);
    mr_answer found = read_completion(line, "lm_eval_hendrycks_math");
    golden_assert(line, part_is(&found, 0, answer, bytes));
    mr_answer_free(&found);
    check_math(line, "lm_eval_hendrycks_math", "gold");
}

static void check_numbers(const json_t *line, const char *key, const mr_answer *answer)
{
    const size_t count = golden_list(line, key);
    golden_assert(line, answer->count == (int64_t)count);
    for (size_t i = 0; i < count; i++) {
        const json_t *expected = json_array_get(json_object_get(line, key), i);
        const double number = answer->part[i].number;
        if (json_is_string(expected)) /* "inf" */
            golden_assert(line, isinf(number));
        else
            golden_assert(line, fabs(number - json_number_value(expected)) <=
                                    1e-15 * fabs(json_number_value(expected)));
    }
}

static void read_pair(const json_t *line, const char *rule, mr_answer *found, mr_answer *gold)
{
    size_t bytes;
    const char *text = golden_text(line, "prediction", &bytes);
    *found = read_by(rule, false, text, bytes);
    text = golden_text(line, "label", &bytes);
    *gold = read_by(rule, true, text, bytes);
}

static void check_convfinqa(const json_t *line)
{
    mr_answer found, gold;
    read_pair(line, "adaptllm_convfinqa", &found, &gold);
    check_numbers(line, "label_numbers", &gold);
    check_numbers(line, "prediction_numbers", &found);
    golden_assert(line,
                  score_by("adaptllm_convfinqa", &found, &gold) == golden_truth(line, "correct"));
    mr_answer_free(&found);
    mr_answer_free(&gold);
}

static void check_entities(const json_t *line, const char *key, const mr_answer *answer)
{
    const size_t count = golden_list(line, key);
    golden_assert(line, answer->count == 2 * (int64_t)count);
    for (size_t i = 0; i < 2 * count; i++) {
        const json_t *entity = json_array_get(json_object_get(line, key), i / 2);
        const json_t *text = json_array_get(entity, i % 2);
        golden_assert(
            line, part_is(answer, (int64_t)i, json_string_value(text), json_string_length(text)));
    }
}

static void check_ner(const json_t *line)
{
    mr_answer found, gold;
    read_pair(line, "adaptllm_ner", &found, &gold);
    check_entities(line, "label_entities", &gold);
    check_entities(line, "prediction_entities", &found);
    golden_assert(line, fabs(score_by("adaptllm_ner", &found, &gold) - golden_number(line, "f1")) <=
                            1e-15);
    mr_answer_free(&found);
    mr_answer_free(&gold);
}

static void check_stop(const json_t *line)
{
    enum { MOST = 16 };
    const char *stops[MOST];
    size_t bytes, kept;
    const size_t count = golden_list(line, "stop");
    golden_assert(line, count <= MOST);
    for (size_t i = 0; i < count; i++)
        stops[i] = json_string_value(json_array_get(json_object_get(line, "stop"), i));
    const char *text = golden_text(line, "text", &bytes), *rest = golden_text(line, "kept", &kept);
    golden_assert(line, mr_answer_stop(text, bytes, stops, (int64_t)count) == kept);
    golden_assert(line, memcmp(text, rest, kept) == 0);
}

static void check_strip(const json_t *line)
{
    size_t bytes;
    const char *text = golden_text(line, "in", &bytes);
    const json_t *expected = json_object_get(line, "out");
    mr_text out = {0};
    bool failed;
    must(mr_latex_normalise(text, bytes, &out, &failed));
    golden_assert(line, failed == json_is_null(expected));
    if (!failed) golden_assert(line, strcmp(mr_text_get(&out), json_string_value(expected)) == 0);
    mr_text_free(&out);
}

static void check_equiv(const json_t *line)
{
    size_t a_bytes, b_bytes;
    bool equal;
    const char *a = golden_text(line, "a", &a_bytes), *b = golden_text(line, "b", &b_bytes);
    must(mr_latex_equal(a, a_bytes, b, b_bytes, &equal));
    golden_assert(line, equal == golden_truth(line, "equal"));
}

static void check_boxed(const json_t *line)
{
    size_t bytes, from, length, inner, inner_length;
    const char *text = golden_text(line, "solution", &bytes);
    const json_t *boxed = json_object_get(line, "boxed"), *answer = json_object_get(line, "answer");
    const bool found = mr_latex_last_boxed(text, bytes, &from, &length);
    golden_assert(line, found == json_is_string(boxed));
    if (!found) return;
    golden_assert(line, length == json_string_length(boxed));
    golden_assert(line, memcmp(text + from, json_string_value(boxed), length) == 0);
    const bool opened = mr_latex_unbox(text + from, length, &inner, &inner_length);
    golden_assert(line, opened == json_is_string(answer));
    if (!opened) return;
    golden_assert(line, inner_length == json_string_length(answer));
    golden_assert(line, memcmp(text + from + inner, json_string_value(answer), inner_length) == 0);
}

static void answers_are_what_the_published_code_reads(void **state)
{
    (void)state;
    static const golden_kind kinds[] = {
        {"lm_eval_gsm8k", check_gsm8k},
        {"lm_eval_gsm8k_cot", check_gsm8k_cot},
        {"metamath_gsm8k", check_metamath_gsm8k},
        {"metamath_math", check_metamath_math},
        {"lm_eval_hendrycks_math", check_hendrycks},
        {"convfinqa", check_convfinqa},
        {"ner", check_ner},
        {"stop", check_stop},
        {NULL, NULL},
    };
    golden_lines("eval/scoring.jsonl", kinds);
}

static void formulas_are_alike_where_the_published_code_says_so(void **state)
{
    (void)state;
    static const golden_kind kinds[] = {
        {"strip", check_strip},           {"equiv", check_equiv},
        {"boxed", check_boxed},           {"math_completion", check_metamath_completion},
        {"gsm8k", check_metamath_number}, {NULL, NULL},
    };
    golden_lines("answer_scoring.jsonl", kinds);
}

/* Own vectors. */

/* Fails unless a rule reads so many parts of an answer, the first of which is as given. */
static void reads(const char *rule, const char *text, size_t bytes, int64_t count,
                  const char *first)
{
    mr_answer a = read_by(rule, false, text, bytes);
    if (a.count != count || (count > 0 && !part_is(&a, 0, first, strlen(first))))
        fail_msg("%s of \"%s\": %lld parts, \"%s\"; expected %lld, \"%s\"", rule, text,
                 (long long)a.count, mr_text_get(&a.text), (long long)count, first);
    mr_answer_free(&a);
}

static void scores(const char *rule, const char *text, const char *gold, double expected)
{
    const double score = score_of(rule, text, gold);
    if (fabs(score - expected) > 1e-15)
        fail_msg("%s: \"%s\" against \"%s\" scores %g, expected %g", rule, text, gold, score,
                 expected);
}

static void a_rule_has_one_name_and_a_version(void **state)
{
    (void)state;
    for (int i = 0; mr_answer_rule_at(i); i++) {
        const mr_answer_rule *rule = mr_answer_rule_at(i);
        assert_ptr_equal(mr_answer_rule_find(rule->name), rule);
        assert_true(rule->version >= 1 && rule->summary[0] != '\0');
        /* Nothing is no answer, or a wrong one. */
        assert_true(score_of(rule->name, "", "#### 5 \\boxed{5} (A)") == 0);
    }
    assert_null(mr_answer_rule_find("gsm8k"));
}

static void numbers_of_gsm8k_are_compared_as_text(void **state)
{
    (void)state;
    static const char strict[] = "lm_eval_gsm8k_strict", flexible[] = "lm_eval_gsm8k_flexible",
                      cot[] = "lm_eval_gsm8k_cot_strict";
    scores(strict, "so #### 1,234.", "It is\n#### 1234", 1);
    scores(strict, "#### 18.0", "#### 18", 0);
    scores(strict, "#### 5 and #### 6", "#### 5", 1);
    scores(strict, "####5", "#### 5", 0);
    scores(flexible, "costs $18.", "#### 18", 1);
    scores(flexible, "18 ...", "#### 18", 0); /* "..." is the last */
    scores(flexible, "a 5 b -6", "#### -6", 1);
    scores(cot, "The answer is 18.", "18", 1);
    scores(cot, "The answer is 18", "1", 1); /* any character stands behind it */
    scores(cot, "The answer is 5\n", "5", 0);
    scores(cot, "The answer is 5\xc2\xa0", "5", 1);
    scores(flexible, "costs 5", "#### $5.", 1);
    mr_answer a = read_by(strict, false, "no", 2);
    assert_int_equal(a.state, MR_ANSWER_NONE);
    assert_string_equal(mr_text_get(&a.text), "[invalid]");
    mr_answer_free(&a);
    reads(strict, "a\0#### 7", 8, 1, "7");
    reads(flexible, "\xff 12 \xff\xfe", 7, 1, "12");
}

static void patterns_of_several_groups_give_the_one_that_took_part(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text, *expected;
        bool last;
    } cases[] = {
        {"a(b)?(c)?", "xac", "c", false}, {"(b)|(c)", "c b", "b", true},
        {"[a-z]+", " ab cd", "cd", true}, {"is( \\w+ )", "it is so .", "so", false},
        {"x*", "ab", "", true},           {"(a)?(b)?", "zz", "[invalid]", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mr_answer a = {.state = MR_ANSWER_NONE};
        must(mr_answer_by_pattern(cases[i].pattern, cases[i].last, cases[i].text,
                                  strlen(cases[i].text), &a));
        assert_string_equal(mr_text_get(&a.text), cases[i].expected);
        mr_answer_free(&a);
    }
}

static void bad_patterns_are_told_of(void **state)
{
    (void)state;
    mr_answer a = {.state = MR_ANSWER_NONE};
    char text[64];
    assert_int_equal(mr_answer_by_pattern("(a", false, "a", 1, &a), MR_ERR_FORMAT);
    assert_contains(mr_message(), "'(a' is no regular expression: missing closing parenthesis");
    memset(text, 'a', sizeof text);
    assert_int_equal(mr_answer_by_pattern("(a|aa)+[^a]", false, text, sizeof text, &a),
                     MR_ERR_FORMAT);
    assert_contains(mr_message(), "an answer of 64 bytes: its pattern cannot be matched");
    mr_answer_free(&a);
}

static void numbers_of_metamath_are_rounded_half_to_even(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double number; /* NAN: none */
    } cases[] = {
        {"The answer is: 2.5", 2},
        {"The answer is: 3.5", 4},
        {"The answer is: -2.5", -2},
        {"The answer is: 2.6 m", 3},
        {"The answer is: 1,234,567", 1234},
        {"The answer is: 1/3", 0},
        {"The answer is: 7/2", 4},
        {"The answer is: 7/0", 7},
        {"The answer is: 7/00", NAN},
        {"The answer is: /5", NAN},
        {"The answer is: +/5", NAN},
        {"The answer is: 5. The answer is: 6", 6},
        {"The answer is:5", NAN},
        {"the answer is: 5", NAN},
        {"The answer is: none", NAN},
        {"The answer is: -.4", 0},
        {"The answer is: \xd9\xa1\xd9\xa8", 18},                 /* Arabic-Indic */
        {"The answer is: \xf0\x9d\x9f\x97\xf0\x9d\x9f\x98", 90}, /* mathematical bold, sans-serif */
        {"The answer is: $5", 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mr_answer a = read_by("metamath_gsm8k", false, cases[i].text, strlen(cases[i].text));
        const double number = a.count > 0 ? a.part[0].number : NAN;
        if (number != cases[i].number && !(isnan(number) && isnan(cases[i].number)))
            fail_msg("\"%s\" is %g, expected %g", cases[i].text, number, cases[i].number);
        mr_answer_free(&a);
    }
    scores("metamath_gsm8k", "The answer is: 2.6", "#### 3", 1);
    scores("metamath_gsm8k", "The answer is: 70000", "a\n#### 70,000\n", 1);
    mr_answer gold = read_by("metamath_gsm8k", true, "18", 2);
    assert_int_equal(gold.state, MR_ANSWER_STOPPED);
    mr_answer_free(&gold);
    gold = read_by("metamath_gsm8k", true, "#### 1.5", 8);
    assert_int_equal(gold.state, MR_ANSWER_STOPPED);
    mr_answer_free(&gold);
}

static void numbers_of_peft_are_decimals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double number; /* NAN: none */
    } cases[] = {
        {"The answer is: 18", 18},
        {"#### 5. The answer is $18.50.", 18.5},
        {"The final answer is: 8!", 8},
        {"The answer is 7. The final answer is: 8", NAN}, /* marks in their order */
        {"The answer is: 1\n\nThe answer is: 20/8\nmore", 2.5},
        {"The answer is: 0.3/0.1", 3},
        {"The answer is: 1_000", 1000},
        {"The answer is: 1e3 %", 1000},
        {"The answer is: \xd9\xa1\xd9\xa8", 18}, /* Arabic-Indic */
        {"The answer is: -inf", -INFINITY},
        {"The answer is: 1,000", NAN},
        {"The answer is: 1/0.0", NAN},
        {"The answer is: 1/2/3", NAN},
        {"The answer is: inf/inf", NAN},
        {"The answer is: 5 m", NAN},
        {"The answer is:5", NAN},
        {"####5", NAN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mr_answer a = read_by("peft_gsm8k", false, cases[i].text, strlen(cases[i].text));
        const double number = a.count == 2 ? a.part[1].number : NAN;
        if (number != cases[i].number && !(isnan(number) && isnan(cases[i].number)))
            fail_msg("\"%s\" is %g, expected %g", cases[i].text, number, cases[i].number);
        mr_answer_free(&a);
    }
    scores("peft_gsm8k", "The answer is: 18.0", "2 * 9 = 18\n#### 18", 1);
    scores("peft_gsm8k", "The answer is 1,000.", "#### 1,000", 1);
    scores("peft_gsm8k", "The answer is: 1000", "#### 1,000", 0);
    scores("peft_gsm8k", "The answer is: nan", "#### nan", 0);
    scores("peft_gsm8k", "18", "#### 18", 0);
    mr_answer a = read_by("peft_gsm8k", false, "The answer is: sNaN", 19);
    assert_int_equal(a.state, MR_ANSWER_STOPPED);
    mr_answer_free(&a);
}

static void formulas_are_made_plain(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out; /* NULL: an exception */
    } cases[] = {
        {"\\tfrac12", "\\frac{1}{2}"},
        {"\\frac1{72}", "\\frac{1}{72}"},
        {"\\frac{72}1", "\\frac{72}1"},
        {"\\frac1", "\\frac1"},
        {"1+\\frac", NULL},
        {"\\sqrt2+\\sqrt{3}", "\\sqrt{2}+\\sqrt{3}"},
        {"2\\sqrt", NULL},
        {"\\sqrt\xcf\x80", "\\sqrt{\xcf\x80}"},
        {"\\frac\xcf\x80\xcf\x84", "\\frac{\xcf\x80}{\xcf\x84}"},
        {"x=.5", ".5"}, /* the zero comes before x= goes */
        {"k = \\$ .5", "\\frac{1}{2}"},
        {"kk = .5", "kk=0.5"},
        {"0.5", "\\frac{1}{2}"},
        {"5\\text{ cm}", "5"},
        {"5\\text{ cm}\\text{ m}", NULL},
        {"1/2", "\\frac{1}{2}"},
        {"-1/-2", "\\frac{-1}{-2}"},
        {"01/2", "01/2"},
        {"-0/2", "-0/2"},
        {"1_0/2", "1_0/2"},
        {"1__0/2", NULL},
        {"1/", NULL},
        {"a/b", NULL},
        {"1/2/3", "1/2/3"},
        {"\xd9\xa1/2", "\xd9\xa1/2"},
        {"90^\\circ", "90"},
        {"50\\%", "50"},
        {"50%", "50%"},
        {"50\\\\\\%%", "50"},
        {"50\\\\\\\\\\%%%", "50\\%"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mr_text out = {0};
        bool failed;
        must(mr_latex_normalise(cases[i].in, strlen(cases[i].in), &out, &failed));
        if (failed != !cases[i].out ||
            (cases[i].out && strcmp(mr_text_get(&out), cases[i].out) != 0))
            fail_msg("\"%s\" is \"%s\"%s, expected \"%s\"", cases[i].in, mr_text_get(&out),
                     failed ? " (failed)" : "", cases[i].out ? cases[i].out : "a failure");
        mr_text_free(&out);
    }
}

static void answers_of_math_are_read_by_two_rules(void **state)
{
    (void)state;
    static const char meta[] = "metamath_math", hendrycks[] = "lm_eval_hendrycks_math";
    scores(meta, "The answer is: 5. The answer is: \\frac12.\nSo", "so \\boxed{\\frac{1}{2}}.", 1);
    scores(meta, "The answer is: 7", "\\fbox{7}", 0);
    scores(meta, "\\boxed{7}", "\\boxed{7}", 0);
    scores(meta, "The answer is: x/y", "\\boxed{x/y}", 1); /* compared as they stand */
    scores(hendrycks, "the $ 7 $", "\\boxed{7}", 1);
    scores(hendrycks, "7", "\\boxed 7$ and", 1);
    scores(hendrycks, "so $7$, not $8$", "\\boxed{7}", 0);
    scores(hendrycks, "\\boxed{7}", "\\boxed{7}", 0);
    scores(hendrycks, "$", "\\boxed{$}", 1);
    mr_answer gold = read_by(hendrycks, true, "\\fbox{7}", 8);
    assert_int_equal(gold.state, MR_ANSWER_STOPPED);
    mr_answer_free(&gold);
}

static void numbers_of_convfinqa_are_what_python_evaluates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double number; /* NAN: none that can be compared */
    } cases[] = {
        {"14.1%", 0.141},    {"5%%", 0.0005}, {"1,234,5", 1234}, {"007", INFINITY},
        {"007.5", 7.5},      {"00", 0},       {"-.5", -0.5},     {".5.5", INFINITY},
        {"5.e1", 50},        {"1e3", 1000},   {"05%", INFINITY}, {"\xef\xbc\x95", INFINITY},
        {"1e999", INFINITY}, {"+3", 3},       {"0,000", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mr_answer a = read_by("adaptllm_convfinqa", false, cases[i].text, strlen(cases[i].text));
        if (a.count < 1 || a.part[0].number != cases[i].number)
            fail_msg("\"%s\" is %g, expected %g", cases[i].text,
                     a.count > 0 ? a.part[0].number : NAN, cases[i].number);
        mr_answer_free(&a);
    }
    scores("adaptllm_convfinqa", "from 3 to 7", "7.005", 1);
    scores("adaptllm_convfinqa", "\n7", "7", 0);
    scores("adaptllm_convfinqa", "yes 7", "yes", 0);
    scores("adaptllm_convfinqa", "0.9%", "0.3%", 1);
    scores("adaptllm_convfinqa", "07", "05", 1);
    char huge[401];
    memset(huge, '9', 400);
    huge[400] = '\0';
    scores("adaptllm_convfinqa", huge, huge, 0); /* no float: the published code stops */
}

static void entities_share_a_name_or_a_type(void **state)
{
    (void)state;
    static const char ner[] = "adaptllm_ner";
    scores(ner, "Bob (PER)", "Bob (PER)", 1);
    scores(ner, "Al (PER)", "Bob (PER)", 0.5);
    scores(ner, "Bob (ORG)", "Bob (PER)", 0.5);
    scores(ner, "Bob (PER), Bob (PER)", "Bob (PER)", 1);
    scores(ner, "Bob(PER)", "Bob (PER)", 0);
    scores(ner, "anything", "nobody", 0);
    scores(ner, "New York (LOC), Bob (PER)", "York (LOC)", 2. / 3);
    reads(ner, "Bank  (ORG)", 11, 2, "Bank ");
    reads(ner, "Bank\xe3\x80\x80(ORG))", 13, 2, "Bank");
    /* U+180E is no white space, U+001D is. */
    reads(ner, "a\xe1\xa0\x8e(B)", 7, 0, "");
    reads(ner, "a\x1d(B)", 5, 2, "a");
}

static void first_lines_and_stops_cut(void **state)
{
    (void)state;
    static const char *const stops[] = {"Q:", "</s>", "s>"};
    scores("first_line", " yes \nno", "yes", 1);
    scores("first_line", "\nyes", "yes", 0);
    scores("first_line", "\xc2\xa0yes\x1f", "yes", 1);
    assert_int_equal(mr_answer_stop("a\0</s> Q:", 9, stops, 3), 2);
    assert_int_equal(mr_answer_stop("aQ", 2, stops, 3), 2);
    assert_int_equal(mr_answer_stop("", 0, stops, 3), 0);
    assert_int_equal(mr_answer_stop("Q:Q:", 4, stops, 0), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rule_has_one_name_and_a_version),
        cmocka_unit_test(numbers_of_gsm8k_are_compared_as_text),
        cmocka_unit_test(patterns_of_several_groups_give_the_one_that_took_part),
        cmocka_unit_test(bad_patterns_are_told_of),
        cmocka_unit_test(numbers_of_metamath_are_rounded_half_to_even),
        cmocka_unit_test(numbers_of_peft_are_decimals),
        cmocka_unit_test(formulas_are_made_plain),
        cmocka_unit_test(answers_of_math_are_read_by_two_rules),
        cmocka_unit_test(numbers_of_convfinqa_are_what_python_evaluates),
        cmocka_unit_test(entities_share_a_name_or_a_type),
        cmocka_unit_test(first_lines_and_stops_cut),
        cmocka_unit_test(answers_are_what_the_published_code_reads),
        cmocka_unit_test(formulas_are_alike_where_the_published_code_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
