#include "eval/answer_latex.h"

#include "eval/answer_impl.h"

#include <string.h>

/* The place of a text in another from a place on, or the end. */
static size_t find(const mr_text *text, const char *mark, size_t from)
{
    const char *data = mr_text_get(text);
    return from + mr_answer_stop(data + from, text->length - from, &mark, 1);
}

static int64_t count(const mr_text *text, const char *mark)
{
    int64_t found = 0;
    for (size_t at = find(text, mark, 0); at < text->length;
         at = find(text, mark, at + strlen(mark)))
        found++;
    return found;
}

static void set(mr_text *text, mr_text *value)
{
    value->failed = value->failed || text->failed;
    mr_text_free(text);
    *text = *value;
}

static void add_in_braces(mr_text *text, const char *bytes, size_t length)
{
    mr_text_add(text, "{");
    mr_text_add_bytes(text, bytes, length);
    mr_text_add(text, "}");
}

static void replace(mr_text *text, const char *old, const char *other)
{
    mr_text out = {0};
    size_t from = 0;
    for (size_t at = find(text, old, 0); at < text->length; at = find(text, old, from)) {
        mr_text_add_bytes(&out, text->data + from, at - from);
        mr_text_add(&out, "%s", other);
        from = at + strlen(old);
    }
    if (from == 0) return;
    mr_text_add_bytes(&out, text->data + from, text->length - from);
    set(text, &out);
}

/* Keeps bytes [from, to). */
static void keep(mr_text *text, size_t from, size_t to)
{
    mr_text out = {0};
    mr_text_add_bytes(&out, mr_text_get(text) + from, to - from);
    set(text, &out);
}

static mr_view rest(const mr_text *text, size_t from, size_t to)
{
    return (mr_view){mr_text_get(text) + from, to - from};
}

static size_t character(mr_view text)
{
    uint32_t point;
    return mr_answer_character(text, &point);
}

/* Steps; false: the published code raises an exception. */

static bool remove_units(mr_text *text)
{
    const int64_t units = count(text, "\\text{ ");
    if (units == 1) keep(text, 0, find(text, "\\text{ ", 0));
    return units < 2;
}

/* "x=5" is 5: what stands before the only = has two characters at most. */
static void remove_name(mr_text *text)
{
    if (count(text, "=") != 1) return;
    const size_t at = find(text, "=", 0);
    size_t characters = 0, from = 0;
    for (; from < at; characters++)
        from += character(rest(text, from, at));
    if (characters <= 2) keep(text, at + 1, text->length);
}

/* \sqrt3 is \sqrt{3}. */
static bool fix_roots(mr_text *text)
{
    static const char root[] = "\\sqrt";
    mr_text out = {0};
    size_t at = find(text, root, 0);
    mr_text_add_bytes(&out, mr_text_get(text), at);
    while (at < text->length) {
        const size_t inner = at + strlen(root), next = find(text, root, inner);
        const mr_view of = rest(text, inner, next);
        if (of.bytes == 0) {
            mr_text_free(&out);
            return false;
        }
        mr_text_add(&out, "%s", root);
        const size_t first = of.at[0] == '{' ? 0 : character(of);
        if (first > 0) add_in_braces(&out, of.at, first);
        mr_text_add_bytes(&out, of.at + first, of.bytes - first);
        at = next;
    }
    set(text, &out);
    return true;
}

/* \frac12 is \frac{1}{2}, \frac1{2} too; where there is but one character behind one, nothing is
 * changed. */
static bool fix_fractions(mr_text *text)
{
    static const char fraction[] = "\\frac";
    mr_text out = {0};
    size_t at = find(text, fraction, 0);
    mr_text_add_bytes(&out, mr_text_get(text), at);
    while (at < text->length) {
        const size_t inner = at + strlen(fraction), next = find(text, fraction, inner);
        mr_view of = rest(text, inner, next);
        const size_t a = of.bytes > 0 ? character(of) : 0;
        if (a == 0 || (of.at[0] != '{' && a == of.bytes)) {
            mr_text_free(&out);
            return a > 0;
        }
        mr_text_add(&out, "%s", fraction);
        if (of.at[0] != '{') {
            add_in_braces(&out, of.at, a);
            of = (mr_view){of.at + a, of.bytes - a};
            if (of.at[0] != '{') {
                const size_t b = character(of);
                add_in_braces(&out, of.at, b);
                of = (mr_view){of.at + b, of.bytes - b};
            }
        }
        mr_text_add_bytes(&out, of.at, of.bytes);
        at = next;
    }
    set(text, &out);
    return true;
}

typedef enum integer { NO_INTEGER, AN_INTEGER, A_PLAIN_INTEGER } integer;

/* What int() of Python makes of a text: the number it stands for, which str() writes the same
 * where it is plain. */
static integer read_integer(mr_view text)
{
    enum { MOST_DIGITS = 4300 }; /* sys.get_int_max_str_digits() */
    const mr_view number = mr_answer_strip(text);
    bool plain = number.bytes == text.bytes, behind_digit = false;
    size_t at = 0, bytes, digits = 0;
    /* int() takes these of ASCII for no white space. */
    for (size_t i = 0; i < text.bytes; i++)
        if (text.at[i] >= 0x1c && text.at[i] <= 0x1f) return NO_INTEGER;
    if (number.bytes > 0 && (number.at[0] == '-' || number.at[0] == '+')) {
        plain = plain && number.at[0] == '-';
        at = 1;
    }
    for (; at < number.bytes; at += bytes) {
        const bool joint = number.at[at] == '_' && behind_digit;
        const int digit = joint ? 0 : mr_answer_digit(number, at, &bytes);
        if (digit < 0) return NO_INTEGER;
        if (joint) bytes = 1;
        /* Nor 0 before others, nor -0. */
        if (joint || bytes > 1 || (digits == 0 && digit == 0 && number.bytes > 1)) plain = false;
        behind_digit = !joint;
        digits += !joint;
    }
    if (!behind_digit || digits > MOST_DIGITS) return NO_INTEGER;
    return plain ? A_PLAIN_INTEGER : AN_INTEGER;
}

/* 1/2 is \frac{1}{2}, of whole numbers. */
static bool fix_slash(mr_text *text)
{
    if (count(text, "/") != 1) return true;
    const size_t at = find(text, "/", 0);
    const mr_view above = rest(text, 0, at), below = rest(text, at + 1, text->length);
    const integer a = read_integer(above), b = read_integer(below);
    if (a == NO_INTEGER || b == NO_INTEGER) return false;
    if (a != A_PLAIN_INTEGER || b != A_PLAIN_INTEGER) return true;
    mr_text out = {0};
    mr_text_add(&out, "\\frac{");
    mr_text_add_bytes(&out, above.at, above.bytes);
    mr_text_add(&out, "}{");
    mr_text_add_bytes(&out, below.at, below.bytes);
    mr_text_add(&out, "}");
    set(text, &out);
    return true;
}

static bool normalise(mr_text *s)
{
    static const char *const alike[][2] = {
        {"\n", ""},     {"\\!", ""},     {"\\\\", "\\"},    {"tfrac", "frac"}, {"dfrac", "frac"},
        {"\\left", ""}, {"\\right", ""}, {"^{\\circ}", ""}, {"^\\circ", ""},   {"\\$", ""},
    };
    for (size_t i = 0; i < sizeof alike / sizeof alike[0]; i++)
        replace(s, alike[i][0], alike[i][1]);
    if (!remove_units(s)) return false;
    /* The published code does it twice, which also takes what the first time brings together. */
    replace(s, "\\%", "");
    replace(s, "\\%", "");
    replace(s, " .", " 0.");
    replace(s, "{.", "{0.");
    if (s->length == 0) return true;
    if (s->data[0] == '.') {
        mr_text out = {0};
        mr_text_add(&out, "0");
        mr_text_add_bytes(&out, s->data, s->length);
        set(s, &out);
    }
    remove_name(s);
    if (!fix_roots(s)) return false;
    replace(s, " ", "");
    if (!fix_fractions(s)) return false;
    if (mr_answer_same(rest(s, 0, s->length), (mr_view){"0.5", 3})) {
        mr_text half = {0};
        mr_text_add(&half, "\\frac{1}{2}");
        set(s, &half);
    }
    return fix_slash(s);
}

mr_status mr_latex_normalise(const char *text, size_t bytes, mr_text *out, bool *failed)
{
    mr_text_add_bytes(out, text, bytes);
    *failed = !normalise(out);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

mr_status mr_latex_equal(const char *a, size_t a_bytes, const char *b, size_t b_bytes, bool *equal)
{
    mr_text plain_a = {0}, plain_b = {0};
    bool a_failed, b_failed = false;
    mr_status status = mr_latex_normalise(a, a_bytes, &plain_a, &a_failed);
    if (status == MR_OK) status = mr_latex_normalise(b, b_bytes, &plain_b, &b_failed);
    *equal = a_failed || b_failed ? mr_answer_same((mr_view){a, a_bytes}, (mr_view){b, b_bytes})
                                  : mr_answer_same(rest(&plain_a, 0, plain_a.length),
                                                   rest(&plain_b, 0, plain_b.length));
    mr_text_free(&plain_a);
    mr_text_free(&plain_b);
    return status;
}

bool mr_latex_last_boxed(const char *text, size_t bytes, size_t *from, size_t *length)
{
    const mr_view all = {text, bytes};
    mr_view behind;
    size_t mark = strlen("\\boxed");
    if (!mr_answer_behind(all, "\\boxed", &behind)) {
        mark = strlen("\\fbox");
        if (!mr_answer_behind(all, "\\fbox", &behind)) return false;
    }
    int64_t open = 0;
    for (size_t i = 0; i < behind.bytes; i++) {
        if (behind.at[i] == '{') open++;
        if (behind.at[i] != '}' || --open != 0) continue;
        *from = (size_t)(behind.at - text) - mark;
        *length = mark + i + 1;
        return true;
    }
    return false;
}

bool mr_latex_unbox(const char *text, size_t bytes, size_t *from, size_t *length)
{
    static const char open[] = "\\boxed{";
    *from = strlen(open);
    if (bytes <= *from || memcmp(text, open, *from) != 0 || text[bytes - 1] != '}') return false;
    *length = bytes - *from - 1;
    return true;
}
