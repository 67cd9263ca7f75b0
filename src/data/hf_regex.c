#define PCRE2_CODE_UNIT_WIDTH 8

#include "data/hf_regex.h"

#include "base/text.h"

#include <pcre2.h>
#include <string.h>

struct mr_hf_pattern {
    pcre2_code *code; /* owned; NULL: a literal */
    char *literal;    /* [bytes], owned; NULL where code is not */
    size_t bytes;
};

/* Translation. */

typedef struct translation {
    const char *at, *end;
    bool in_class;
    mr_text out;
    char problem[96]; /* "" while there is none */
} translation;

static void refuse(translation *t, const char *what)
{
    if (!t->problem[0]) snprintf(t->problem, sizeof t->problem, "%s", what);
    t->at = t->end;
}

static void copy(translation *t, size_t bytes)
{
    mr_text_add(&t->out, "%.*s", (int)bytes, t->at);
    t->at += bytes;
}

static void put(translation *t, const char *text, size_t skip)
{
    mr_text_add(&t->out, "%s", text);
    t->at += skip;
}

/* \p{...}, \P{...}: a general category, or a script. */
static void translate_property(translation *t)
{
    const char *open = t->at + 2, *close = NULL;
    if (open < t->end && *open == '{') close = memchr(open, '}', (size_t)(t->end - open));
    if (!close) {
        refuse(t, "a property without braces");
        return;
    }
    const bool inverse = open[1] == '^';
    const char *name = open + 1 + inverse;
    const int length = (int)(close - name);
    const bool negative = (t->at[1] == 'P') != inverse;
    mr_text_add(&t->out, "\\%c{%s%.*s}", negative ? 'P' : 'p', length > 2 ? "sc:" : "", length,
                name);
    t->at = close + 1;
}

static void translate_escape(translation *t)
{
    static const char word[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
    /* Outside classes Oniguruma takes these of ISO 8859-1 for characters of words, too. */
    static const char latin[] = "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
    const char letter = t->at + 1 < t->end ? t->at[1] : '\0';
    char problem[64];
    switch (letter) {
    case 's':
        put(t, "\\p{White_Space}", 2);
        return;
    case 'S':
        put(t, "\\P{White_Space}", 2);
        return;
    case 'w':
        mr_text_add(&t->out, t->in_class ? "%s" : "[%s%s]", word, latin);
        t->at += 2;
        return;
    case 'W':
        if (t->in_class) break;
        mr_text_add(&t->out, "[^%s%s]", word, latin);
        t->at += 2;
        return;
    case 'p':
    case 'P':
        translate_property(t);
        return;
    case 'v':
        put(t, "\\x0b", 2);
        return;
    case 'u':
        if (t->end - t->at < 6) break;
        mr_text_add(&t->out, "\\x{%.4s}", t->at + 2);
        t->at += 6;
        return;
    default:
        if (letter != '\0' && strchr("dDnrtfaexAzZ", letter)) {
            copy(t, 2);
            return;
        }
        /* Of what is no letter and no digit, itself. */
        if (letter == '\0' || strchr("0123456789", letter) || (letter >= 'a' && letter <= 'z') ||
            (letter >= 'A' && letter <= 'Z'))
            break;
        copy(t, 2);
        return;
    }
    snprintf(problem, sizeof problem, "\\%c%s", letter, t->in_class ? " in a class" : "");
    refuse(t, problem);
}

static void translate_group(translation *t)
{
    static const char *const same[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:"};
    const size_t left = (size_t)(t->end - t->at);
    if (left < 2 || t->at[1] != '?') {
        copy(t, 1);
        return;
    }
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        const size_t length = strlen(same[i]);
        if (left >= length && memcmp(t->at, same[i], length) == 0) {
            copy(t, length);
            return;
        }
    }
    /* Options without a group reach differently far, unless they stand first. */
    if (t->out.length == 0 && left >= 4 && memcmp(t->at, "(?i)", 4) == 0)
        copy(t, 4);
    else
        refuse(t, "a group other than (...), (?:, (?i:, (?-i:, (?=, (?!, (?<=, (?<!, (?>");
}

/* A count {m,n} or {m}; a brace that begins none is itself. */
static void translate_brace(translation *t)
{
    const char *digits = "0123456789", *at = t->at + 1;
    const char *first = at;
    while (at < t->end && strchr(digits, *at) && *at)
        at++;
    const bool least = at > first;
    const bool comma = at < t->end && *at == ',';
    at += comma;
    const char *second = at;
    while (at < t->end && strchr(digits, *at) && *at)
        at++;
    if (at >= t->end || *at != '}' || (!least && at == second)) {
        put(t, "\\{", 1);
        return;
    }
    if (at + 1 < t->end && at[1] == '+') {
        refuse(t, "a count followed by +, which only PCRE2 takes as possessive");
        return;
    }
    mr_text_add(&t->out, "{%s%.*s", least ? "" : "0", (int)(at + 1 - first), first);
    t->at = at + 1;
}

static void translate_class(translation *t)
{
    const char c = *t->at;
    if (c == ']')
        t->in_class = false;
    else if (c == '[')
        refuse(t, "a class within a class");
    else if (c == '&' && t->at + 1 < t->end && t->at[1] == '&')
        refuse(t, "&& in a class");
    if (t->at < t->end) copy(t, 1);
}

/* Writes a pattern of Oniguruma as one of PCRE2 that matches the same. */
static void translate(translation *t)
{
    while (t->at < t->end) {
        if (*t->at == '\0')
            put(t, "\\x00", 1);
        else if (*t->at == '\\')
            translate_escape(t);
        else if (t->in_class)
            translate_class(t);
        else if (*t->at == '[') {
            t->in_class = true;
            copy(t, t->at + 1 < t->end && t->at[1] == '^' ? 2 : 1);
            if (t->at < t->end && *t->at == ']') put(t, "\\]", 1);
        } else if (*t->at == '(')
            translate_group(t);
        else if (*t->at == '{')
            translate_brace(t);
        else
            copy(t, 1);
    }
}

static mr_status compile(const mr_hf_place *at, const char *regex, size_t bytes, pcre2_code **out)
{
    translation t = {.at = regex, .end = regex + bytes};
    char words[128] = "";
    int number;
    PCRE2_SIZE offset;
    *out = NULL;
    translate(&t);
    if (t.out.failed) return MR_ERR_MEMORY;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context && !t.problem[0]) {
        pcre2_set_newline(context, PCRE2_NEWLINE_LF);
        *out = pcre2_compile((PCRE2_SPTR)mr_text_get(&t.out), t.out.length,
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &number, &offset, context);
        if (!*out) pcre2_get_error_message(number, (PCRE2_UCHAR *)words, sizeof words);
    }
    pcre2_compile_context_free(context);
    mr_text_free(&t.out);
    MR_CHECK(context, MR_ERR_MEMORY, "tokenizer: cannot allocate a regular expression");
    if (*out) {
        pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* without it the interpreter matches */
        return MR_OK;
    }
    return mr_fail(MR_ERR_FORMAT, "tokenizer: '%s': %s: %s%s in the regular expression \"%.300s\"",
                   at->file, at->at, t.problem[0] ? "unsupported: " : words, t.problem, regex);
}

mr_status mr_hf_pattern_create(const mr_hf_place *at, const char *regex, mr_hf_pattern **out)
{
    mr_hf_pattern *pattern = mr_alloc(MR_MEM_DATA, sizeof *pattern);
    *out = NULL;
    if (!pattern) return MR_ERR_MEMORY;
    mr_status status = compile(at, regex, strlen(regex), &pattern->code);
    if (status == MR_OK)
        *out = pattern;
    else
        mr_hf_pattern_destroy(&pattern);
    return status;
}

mr_status mr_hf_pattern_read(const mr_hf_place *at, const json_t *object, const char *key,
                             mr_hf_pattern **out)
{
    static const char *const kinds[] = {"String", "Regex", NULL};
    const json_t *value = json_object_get(object, key);
    const mr_hf_place here = mr_hf_key(at, key);
    mr_hf_string text;
    *out = NULL;
    MR_TRY(mr_hf_check_keys(&here, value, kinds));
    const bool regex = json_object_get(value, "Regex") != NULL;
    MR_TRY(mr_hf_read_string(&here, value, regex ? "Regex" : "String", &text));
    const mr_hf_place inside = mr_hf_key(&here, regex ? "Regex" : "String");
    MR_CHECK(text.bytes > 0, MR_ERR_FORMAT, "tokenizer: '%s': %s: expected a text, found none",
             at->file, inside.at);
    mr_hf_pattern *pattern = mr_alloc(MR_MEM_DATA, sizeof *pattern);
    if (!pattern) return MR_ERR_MEMORY;
    pattern->bytes = text.bytes;
    if (!regex) pattern->literal = mr_alloc(MR_MEM_DATA, text.bytes);
    if (pattern->literal) memcpy(pattern->literal, text.text, text.bytes);
    mr_status status = regex              ? compile(&inside, text.text, text.bytes, &pattern->code)
                       : pattern->literal ? MR_OK
                                          : MR_ERR_MEMORY;
    if (status == MR_OK)
        *out = pattern;
    else
        mr_hf_pattern_destroy(&pattern);
    return status;
}

void mr_hf_pattern_destroy(mr_hf_pattern **pattern)
{
    if (!*pattern) return;
    pcre2_code_free((*pattern)->code);
    mr_free((*pattern)->literal);
    mr_free(*pattern);
    *pattern = NULL;
}

size_t mr_hf_pattern_least(const mr_hf_pattern *pattern)
{
    return pattern->literal ? pattern->bytes : 0;
}

/* Matching. */

void *mr_hf_match_create(void)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (!data) (void)mr_fail(MR_ERR_MEMORY, "tokenizer: cannot allocate memory for matches");
    return data;
}

void mr_hf_match_free(void *data)
{
    pcre2_match_data_free(data);
}

mr_status mr_hf_matches_begin(const mr_hf_pattern *pattern, void *data, const char *text,
                              size_t bytes, mr_hf_buffer *aside, mr_hf_matches *out)
{
    *out = (mr_hf_matches){
        .pattern = pattern, .text = text, .bytes = bytes, .last_end = SIZE_MAX, .data = data};
    if (pattern->literal || !mr_hf_has_newer(text, bytes)) return MR_OK;
    aside->bytes = 0;
    MR_TRY(mr_hf_buffer_add(aside, text, bytes));
    mr_hf_replace_newer(aside->data, bytes);
    out->text = aside->data;
    return MR_OK;
}

static bool find_literal(const mr_hf_matches *m, size_t *from, size_t *to)
{
    const char *at = m->text + m->at, *end = m->text + m->bytes;
    const size_t bytes = m->pattern->bytes;
    const char first = m->pattern->literal[0];
    while ((size_t)(end - at) >= bytes) {
        at = memchr(at, first, (size_t)(end - at) - bytes + 1);
        if (!at) return false;
        if (memcmp(at, m->pattern->literal, bytes) == 0) {
            *from = (size_t)(at - m->text);
            *to = *from + bytes;
            return true;
        }
        at++;
    }
    return false;
}

static mr_status find_regex(mr_hf_matches *m, size_t *from, size_t *to, bool *found)
{
    char words[128];
    uint32_t point;
    for (;;) {
        *found = false;
        if (m->at > m->bytes) return MR_OK;
        int got = pcre2_match(m->pattern->code, (PCRE2_SPTR)m->text, m->bytes, m->at,
                              PCRE2_NO_UTF_CHECK, m->data, NULL);
        if (got == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter takes its memory from the heap */
            got = pcre2_match(m->pattern->code, (PCRE2_SPTR)m->text, m->bytes, m->at,
                              PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m->data, NULL);
        if (got == PCRE2_ERROR_NOMATCH) return MR_OK;
        if (got < 0) {
            pcre2_get_error_message(got, (PCRE2_UCHAR *)words, sizeof words);
            return mr_fail(MR_ERR_ARG, "a regular expression cannot be matched at byte %zu: %s",
                           m->at, words);
        }
        const PCRE2_SIZE *places = pcre2_get_ovector_pointer(m->data);
        *from = places[0];
        *to = places[1];
        *found = true;
        if (*from < *to || *to != m->last_end) return MR_OK;
        /* Not an empty match right behind another. */
        m->at += m->at < m->bytes ? (size_t)mr_hf_character(m->text + m->at, &point) : 1;
    }
}

mr_status mr_hf_matches_next(mr_hf_matches *matches, size_t *from, size_t *to, bool *found)
{
    *found = false;
    if (matches->pattern->literal)
        *found = find_literal(matches, from, to);
    else
        MR_TRY(find_regex(matches, from, to, found));
    if (*found) matches->at = matches->last_end = *to;
    return MR_OK;
}
