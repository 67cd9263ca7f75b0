#include "eval/answer.h"

#include "base/utf8.h"
#include "eval/answer_impl.h"

#include <math.h>
#include <string.h>
#include <utf8proc.h>

static const mr_answer_rule *const rules[] = {
    &mr_answer_gsm8k_strict,   &mr_answer_gsm8k_flexible, &mr_answer_gsm8k_cot_strict,
    &mr_answer_metamath_gsm8k, &mr_answer_peft_gsm8k,     &mr_answer_metamath_math,
    &mr_answer_hendrycks_math, &mr_answer_convfinqa,      &mr_answer_ner,
    &mr_answer_first_line,
};

enum { RULES = sizeof rules / sizeof rules[0] };

const mr_answer_rule *mr_answer_rule_at(int index)
{
    return index < RULES ? rules[index] : NULL;
}

const mr_answer_rule *mr_answer_rule_find(const char *name)
{
    for (int i = 0; i < RULES; i++)
        if (strcmp(rules[i]->name, name) == 0) return rules[i];
    return NULL;
}

mr_status mr_answer_score(const mr_answer_rule *rule, const mr_answer *found, const mr_answer *gold,
                          double *out)
{
    *out = 0;
    if (found->state != MR_ANSWER_FOUND || gold->state != MR_ANSWER_FOUND) return MR_OK;
    return rule->score(found, gold, out);
}

void mr_answer_free(mr_answer *answer)
{
    mr_text_free(&answer->text);
    mr_free(answer->part);
    *answer = (mr_answer){0};
}

size_t mr_answer_stop(const char *text, size_t bytes, const char *const *stops, int64_t count)
{
    size_t end = bytes;
    for (int64_t s = 0; s < count; s++) {
        const size_t length = strlen(stops[s]);
        for (size_t at = 0; at + length <= bytes && at < end; at++)
            if (memcmp(text + at, stops[s], length) == 0) end = at;
    }
    return end;
}

/* Parts. */

mr_view mr_answer_view(const mr_answer *answer, int64_t part)
{
    const mr_answer_part *p = &answer->part[part];
    return (mr_view){mr_text_get(&answer->text) + p->from, p->bytes};
}

mr_status mr_answer_add(mr_answer *answer, mr_view text, double number)
{
    MR_TRY(mr_grow(MR_MEM_EVAL, &answer->part, &answer->room, answer->count + 1,
                   sizeof *answer->part));
    answer->part[answer->count++] =
        (mr_answer_part){.from = answer->text.length, .bytes = text.bytes, .number = number};
    answer->state = MR_ANSWER_FOUND;
    mr_text_add_bytes(&answer->text, text.at, text.bytes);
    return answer->text.failed ? MR_ERR_MEMORY : MR_OK;
}

/* Text as Python sees it. */

size_t mr_answer_character(mr_view text, uint32_t *point)
{
    const int bytes = mr_utf8_decode(text.at, text.bytes, point);
    if (bytes > 0) return (size_t)bytes;
    *point = UINT32_MAX;
    return 1;
}

size_t mr_answer_step_back(mr_view text, size_t at)
{
    size_t from = at - 1;
    while (from > 0 && at - from < 4 && ((unsigned char)text.at[from] & 0xc0) == 0x80)
        from--;
    return from;
}

mr_view mr_answer_strip(mr_view text)
{
    const size_t from = mr_utf8_spaces_at_start(text.at, text.bytes);
    text = (mr_view){text.at + from, text.bytes - from};
    text.bytes -= mr_utf8_spaces_at_end(text.at, text.bytes);
    return text;
}

bool mr_answer_same(mr_view a, mr_view b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.at, b.at, a.bytes) == 0);
}

mr_view mr_answer_before(mr_view text, const char *mark)
{
    return (mr_view){text.at, mr_answer_stop(text.at, text.bytes, &mark, 1)};
}

bool mr_answer_behind(mr_view text, const char *mark, mr_view *out)
{
    const size_t length = strlen(mark);
    bool found = false;
    for (size_t at = 0; at + length <= text.bytes;) {
        if (memcmp(text.at + at, mark, length) != 0) {
            at++;
            continue;
        }
        at += length;
        *out = (mr_view){text.at + at, text.bytes - at};
        found = true;
    }
    return found;
}

static bool is_digit(uint32_t point)
{
    return point != UINT32_MAX &&
           utf8proc_category((utf8proc_int32_t)point) == UTF8PROC_CATEGORY_ND;
}

/* Unicode has digits in runs of ten that begin with a zero, some runs right behind another. */
int mr_answer_digit(mr_view text, size_t at, size_t *bytes)
{
    uint32_t point;
    *bytes = mr_answer_character((mr_view){text.at + at, text.bytes - at}, &point);
    if (!is_digit(point)) return -1;
    int before = 0;
    while (is_digit(point - 1 - (uint32_t)before))
        before++;
    return before % 10;
}

/* Patterns. */

mr_status mr_answer_compile(const char *pattern, mr_pattern **out)
{
    char problem[MR_PATTERN_PROBLEM];
    mr_status status = mr_pattern_create(pattern, out, problem);
    if (status != MR_ERR_FORMAT) return status;
    return mr_fail(status, "'%s' is no regular expression: %s", pattern, problem);
}

mr_status mr_answer_search(const mr_pattern *pattern, mr_view text, size_t from, mr_span *spans,
                           bool *found)
{
    char problem[MR_PATTERN_PROBLEM];
    mr_status status = mr_pattern_search(pattern, text.at, text.bytes, from, spans, found, problem);
    if (status != MR_ERR_FORMAT) return status;
    return mr_fail(status, "an answer of %zu bytes: its pattern cannot be matched: %s", text.bytes,
                   problem);
}

/* What a match says, as re.findall and RegexFilter have it. */
static mr_span of_match(const mr_span *spans, int groups)
{
    for (int i = 1; i <= groups; i++)
        if (groups == 1 || spans[i].to > spans[i].from) return spans[i];
    return groups > 1 ? (mr_span){spans[0].from, spans[0].from} : spans[0];
}

static mr_status find(const mr_pattern *pattern, mr_view text, bool last, mr_span *spans,
                      mr_span *out, bool *any)
{
    const int groups = mr_pattern_groups(pattern);
    size_t from = 0;
    *any = false;
    while (from <= text.bytes) {
        bool found;
        MR_TRY(mr_answer_search(pattern, text, from, spans, &found));
        if (!found) break;
        *out = of_match(spans, groups);
        *any = groups < 2 || out->to > out->from;
        if (!last) break;
        uint32_t point;
        from = spans[0].to;
        /* An empty match is passed by. */
        if (spans[0].to == spans[0].from)
            from += from < text.bytes
                        ? mr_answer_character((mr_view){text.at + from, text.bytes - from}, &point)
                        : 1;
    }
    return MR_OK;
}

mr_status mr_answer_by_pattern(const char *pattern, bool last, const char *text, size_t bytes,
                               mr_answer *out)
{
    mr_pattern *compiled;
    mr_span of;
    bool any = false;
    MR_TRY(mr_answer_compile(pattern, &compiled));
    const size_t groups = (size_t)mr_pattern_groups(compiled);
    mr_span *spans = mr_alloc_array(MR_MEM_EVAL, 1 + groups, sizeof *spans);
    mr_status status =
        spans ? find(compiled, (mr_view){text, bytes}, last, spans, &of, &any) : MR_ERR_MEMORY;
    if (status == MR_OK && any)
        status =
            mr_answer_add(out, mr_answer_strip((mr_view){text + of.from, of.to - of.from}), NAN);
    else if (status == MR_OK)
        mr_text_add(&out->text, "[invalid]");
    mr_free(spans);
    mr_pattern_destroy(&compiled);
    return status == MR_OK && out->text.failed ? MR_ERR_MEMORY : status;
}
