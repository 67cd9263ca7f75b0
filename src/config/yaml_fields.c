#include "config/yaml_fields.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[] = {
    "a text", "a number", "a whole number", "true or false", NULL, "a list", "a list", "a mapping",
};

mr_status mr_yaml_fail(const mr_yaml_taker *taker, int at, const char *fmt, ...)
{
    char what[MR_MESSAGE_MAX];
    const mr_yaml_node *node = &taker->yaml->nodes[at];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    return mr_fail(MR_ERR_CONFIG, "%s:%d:%d: %s", taker->name, node->line, node->column, what);
}

/* "a, b or c". */
static void join_words(const char *const *words, mr_text *out)
{
    for (int i = 0; words[i]; i++)
        mr_text_add(out, "%s%s", i == 0 ? "" : words[i + 1] ? ", " : " or ", words[i]);
}

static mr_status fail_kind(const mr_yaml_taker *taker, int at, const mr_yaml_field *field)
{
    const mr_yaml_node *node = &taker->yaml->nodes[at];
    const char *found = node->kind == MR_YAML_MAPPING ? "a mapping"
                        : node->end > at + 1          ? "a list"
                                                      : "an empty list";
    char quoted[64];
    mr_text expected = {0};
    snprintf(quoted, sizeof quoted, "\"%.48s\"", node->text);
    if (field->kind == MR_FIELD_WORD)
        join_words(field->words, &expected);
    else
        mr_text_add(&expected, "%s", kind_names[field->kind]);
    mr_status status = mr_yaml_fail(taker, at, "expected %s, found %s", mr_text_get(&expected),
                                    node->kind == MR_YAML_SCALAR ? quoted : found);
    mr_text_free(&expected);
    return status;
}

static bool take_number(const mr_yaml_node *node, double *out)
{
    if (node->kind != MR_YAML_SCALAR || node->quoted || !mr_text_is_number(node->text))
        return false;
    *out = strtod(node->text, NULL);
    return true;
}

static bool take_whole(const mr_yaml_node *node, int64_t *out)
{
    double number;
    if (!take_number(node, &number) || number < 0 || number > 1e9 || number > floor(number))
        return false;
    *out = (int64_t)number;
    return true;
}

static bool take_word(const mr_yaml_node *node, const char *const *words, int *out)
{
    for (*out = 0; words[*out]; (*out)++)
        if (node->kind == MR_YAML_SCALAR && strcmp(node->text, words[*out]) == 0) return true;
    return false;
}

static bool take_flag(const mr_yaml_node *node, bool *out)
{
    static const char *const words[] = {"false", "true", NULL};
    int which;
    if (!take_word(node, words, &which)) return false;
    *out = which;
    return true;
}

mr_status mr_yaml_take_value(const mr_yaml_taker *taker, const mr_yaml_field *field, int at,
                             void *base)
{
    const mr_yaml_node *node = &taker->yaml->nodes[at];
    void *to = (char *)base + field->offset;
    bool good = false;
    switch (field->kind) {
    case MR_FIELD_TEXT:
        good = node->kind == MR_YAML_SCALAR && !mr_yaml_is_null(node);
        *(const char **)to = node->text;
        break;
    case MR_FIELD_NUMBER:
        good = take_number(node, to);
        break;
    case MR_FIELD_WHOLE:
        good = take_whole(node, to);
        break;
    case MR_FIELD_FLAG:
        good = take_flag(node, to);
        break;
    case MR_FIELD_WORD:
        good = take_word(node, field->words, to);
        break;
    case MR_FIELD_LIST:
    case MR_FIELD_ANY_LIST:
        good = node->kind == MR_YAML_SEQUENCE &&
               (node->end > at + 1 || field->kind == MR_FIELD_ANY_LIST);
        *(int *)to = at;
        break;
    case MR_FIELD_KEYS:
        good = node->kind == MR_YAML_MAPPING;
        *(int *)to = at;
        break;
    }
    return good ? MR_OK : fail_kind(taker, at, field);
}

/* The key of a node: what its path has behind that of its mapping. */
static const char *key_of(const mr_yaml_taker *taker, int mapping, int at)
{
    const mr_yaml_node *nodes = taker->yaml->nodes;
    const size_t above = nodes[at].scope == mapping ? 0 : strlen(nodes[mapping].path);
    return nodes[at].path + above + (above > 0);
}

mr_status mr_yaml_take(const mr_yaml_taker *taker, int mapping, const mr_yaml_field *fields,
                       void *base)
{
    static const mr_yaml_field keys = {.kind = MR_FIELD_KEYS};
    const mr_yaml_node *nodes = taker->yaml->nodes;
    if (nodes[mapping].kind != MR_YAML_MAPPING) return fail_kind(taker, mapping, &keys);
    for (int at = mapping + 1; at < nodes[mapping].end; at = nodes[at].end) {
        const char *key = key_of(taker, mapping, at);
        const mr_yaml_field *f = fields;
        while (f->key && strcmp(f->key, key) != 0)
            f++;
        if (!f->key) return mr_yaml_fail(taker, at, "unknown key \"%s\"", key);
        MR_TRY(mr_yaml_take_value(taker, f, at, base));
    }
    for (const mr_yaml_field *f = fields; f->key; f++) {
        bool found = !f->needed;
        for (int at = mapping + 1; !found && at < nodes[mapping].end; at = nodes[at].end)
            found = strcmp(f->key, key_of(taker, mapping, at)) == 0;
        if (!found) return mr_yaml_fail(taker, mapping, "the key \"%s\" is missing", f->key);
    }
    return MR_OK;
}

int mr_yaml_items(const mr_yaml_taker *taker, int list)
{
    int items = 0;
    for (int at = list + 1; at < taker->yaml->nodes[list].end; at = taker->yaml->nodes[at].end)
        items++;
    return items;
}
