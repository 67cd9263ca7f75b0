#include "config/value.h"

#include "base/text.h"
#include "base/utf8.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *field_of(const mr_key *key, void *base)
{
    return (char *)base + key->offset;
}

static const void *const_field_of(const mr_key *key, const void *base)
{
    return (const char *)base + key->offset;
}

static void one_of(const char *const *names, mr_text *out)
{
    mr_text_add(out, "one of ");
    for (int i = 0; names[i]; i++)
        mr_text_add(out, "%s%s", i > 0 ? ", " : "", names[i]);
}

static void expect_integer(const mr_key *key, const char *one, mr_text *out)
{
    if (key->max == INT64_MAX)
        mr_text_add(out, "%s >= %lld", one, (long long)key->min);
    else
        mr_text_add(out, "%s in %lld..%lld", one, (long long)key->min, (long long)key->max);
}

/* What an item may be; nothing, where no table of kinds was handed in. */
static const mr_choice *kinds_of(const mr_key *key)
{
    static const mr_choice none = {0};
    return key->kinds ? key->kinds : &none;
}

void mr_value_expected(const mr_key *key, mr_text *out)
{
    switch (key->type) {
    case MR_KEY_INT:
        expect_integer(key, "an integer", out);
        return;
    case MR_KEY_FLOAT:
        if (isinf(key->high))
            mr_text_add(out, "a number %s %g", key->low_open ? ">" : ">=", key->low);
        else
            mr_text_add(out, "a number in %c%g, %g%c", key->low_open ? '(' : '[', key->low,
                        key->high, key->high_open ? ')' : ']');
        return;
    case MR_KEY_BOOL:
        mr_text_add(out, "true or false");
        return;
    case MR_KEY_STRING:
        mr_text_add(out, "a text of at most %zu bytes", key->bytes - 1);
        return;
    case MR_KEY_ENUM:
        one_of(key->choices, out);
        return;
    case MR_KEY_STRINGS:
        mr_text_add(out, "a list of at most %d texts of 1..%d bytes", (int)MR_CONFIG_LIST,
                    (int)MR_CONFIG_NAME - 1);
        return;
    case MR_KEY_INTS:
        mr_text_add(out, "a list of at most %d values, each ", (int)MR_CONFIG_LIST);
        expect_integer(key, "an integer", out);
        return;
    case MR_KEY_ITEMS:
        mr_text_add(out, "a list of at most %d mappings, each with its kind, ",
                    (int)MR_CONFIG_ITEMS);
        mr_value_one_of_choices(kinds_of(key), out);
        return;
    }
}

/* Writes a value as a message shows it: cut. */
static void describe(const mr_yaml_node *node, char out[128])
{
    if (node->kind != MR_YAML_SCALAR) {
        snprintf(out, 128, "%s", node->kind == MR_YAML_SEQUENCE ? "a list" : "a mapping");
        return;
    }
    if (mr_yaml_is_null(node)) {
        snprintf(out, 128, "nothing");
        return;
    }
    enum { SHOWN = 60 };
    size_t cut = mr_utf8_cut(node->text, SHOWN);
    snprintf(out, 128, "\"%.*s%s\"", (int)cut, node->text, node->text[cut] ? "..." : "");
}

static mr_status fail_found(const mr_key *key, const char *expected, const mr_yaml_node *node,
                            const char *hint)
{
    char found[128];
    describe(node, found);
    return mr_fail(MR_ERR_CONFIG, "%s: expected %s, found %s%s", key->key, expected, found, hint);
}

static mr_status fail_type(const mr_key *key, const mr_yaml_node *node, const char *hint)
{
    mr_text expected = {0};
    mr_value_expected(key, &expected);
    mr_status status = fail_found(key, mr_text_get(&expected), node, hint);
    mr_text_free(&expected);
    return status;
}

static bool is_plain(const mr_yaml_node *node)
{
    return node->kind == MR_YAML_SCALAR && !node->quoted && !mr_yaml_is_null(node);
}

/* Digits with a sign, no leading zeros: "010" is eight to some readers of YAML and ten to others.
 */
static bool is_integer(const char *text)
{
    if (*text == '+' || *text == '-') text++;
    if (text[0] == '0' && text[1] != '\0') return false;
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && text[digits] == '\0';
}

static const char *hint_for_integer(const mr_yaml_node *node)
{
    if (node->kind != MR_YAML_SCALAR) return "";
    const char *text = node->text;
    if (node->quoted && is_integer(text)) return " in quotes, which is a text";
    size_t digits = strspn(text, "0123456789_");
    bool underscored = digits > 0 && text[digits] == '\0' && strchr(text, '_');
    if (underscored || (mr_text_is_number(text) && !is_integer(text)))
        return "; write it in plain digits";
    return "";
}

static mr_status read_integer(const mr_key *key, const mr_yaml_node *node, int64_t *out)
{
    if (!is_plain(node) || !is_integer(node->text))
        return fail_type(key, node, hint_for_integer(node));
    errno = 0;
    long long value = strtoll(node->text, NULL, 10);
    if (errno == ERANGE || value < key->min || value > key->max) return fail_type(key, node, "");
    *out = value;
    return MR_OK;
}

static mr_status read_number(const mr_key *key, const mr_yaml_node *node, double *out)
{
    if (!is_plain(node) || !mr_text_is_number(node->text)) {
        bool quoted = node->kind == MR_YAML_SCALAR && node->quoted && mr_text_is_number(node->text);
        return fail_type(key, node, quoted ? " in quotes, which is a text" : "");
    }
    double value = strtod(node->text, NULL);
    if (isinf(value)) return fail_type(key, node, ", which is too large for a double");
    bool below = key->low_open ? value <= key->low : value < key->low;
    bool above = key->high_open ? value >= key->high : value > key->high;
    if (below || above) return fail_type(key, node, "");
    *out = value + 0.0; /* no negative zero */
    return MR_OK;
}

static mr_status read_bool(const mr_key *key, const mr_yaml_node *node, bool *out)
{
    bool is_true = is_plain(node) && strcmp(node->text, "true") == 0;
    bool is_false = is_plain(node) && strcmp(node->text, "false") == 0;
    if (!is_true && !is_false) return fail_type(key, node, "");
    *out = is_true;
    return MR_OK;
}

static mr_status read_string(const mr_key *key, const mr_yaml_node *node, size_t least, char *out,
                             size_t bytes)
{
    bool usable = node->kind == MR_YAML_SCALAR && !mr_yaml_is_null(node);
    if (!usable) return fail_type(key, node, "");
    size_t length = strlen(node->text);
    if (length >= bytes) {
        char hint[48];
        snprintf(hint, sizeof hint, " of %zu bytes", length);
        return fail_type(key, node, hint);
    }
    if (length < least) return fail_type(key, node, ", which is empty");
    if (mr_utf8_valid(node->text, length) != length)
        return fail_type(key, node, ", which is not UTF-8");
    memset(out, 0, bytes);
    memcpy(out, node->text, length);
    return MR_OK;
}

/* Returns the nearest name that differs from found in no more than half its letters, or NULL. */
static const char *nearest_name(const char *const *names, const char *found)
{
    const char *nearest = NULL;
    int best = INT_MAX;
    for (int i = 0; names[i]; i++) {
        int distance = mr_text_distance(found, names[i]);
        size_t longer = strlen(found) > strlen(names[i]) ? strlen(found) : strlen(names[i]);
        if (distance >= best || (size_t)distance > longer / 2) continue;
        best = distance;
        nearest = names[i];
    }
    return nearest;
}

static mr_status fail_name(const mr_key *key, const char *const *names, const mr_yaml_node *node)
{
    mr_text expected = {0}, hint = {0};
    one_of(names, &expected);
    const char *nearest = node->kind == MR_YAML_SCALAR ? nearest_name(names, node->text) : NULL;
    if (nearest) mr_text_add(&hint, "; did you mean \"%s\"?", nearest);
    mr_status status = fail_found(key, mr_text_get(&expected), node, mr_text_get(&hint));
    mr_text_free(&expected);
    mr_text_free(&hint);
    return status;
}

static mr_status read_enum(const mr_key *key, const mr_yaml_node *node, int32_t *out)
{
    for (int i = 0; node->kind == MR_YAML_SCALAR && key->choices[i]; i++) {
        if (strcmp(node->text, key->choices[i]) != 0) continue;
        *out = (int32_t)i;
        return MR_OK;
    }
    return fail_name(key, key->choices, node);
}

/* Reads the items of a list; a scalar is a list of one. */
static mr_status read_list(const mr_key *key, const mr_yaml *yaml, int node, void *field,
                           mr_value_fault *fault)
{
    const mr_yaml_node *whole = &yaml->nodes[node];
    bool texts = key->type == MR_KEY_STRINGS;
    mr_string_list *strings = field;
    mr_int_list *ints = field;
    if (whole->kind == MR_YAML_MAPPING || mr_yaml_is_null(whole)) return fail_type(key, whole, "");
    if (whole->kind == MR_YAML_SCALAR && whole->text[0] == '\0')
        return fail_type(key, whole, "; a list of nothing is []");
    if (is_plain(whole) && strchr(whole->text, ','))
        return fail_type(key, whole, "; write a list in brackets: [a, b]");
    memset(field, 0, key->bytes);
    /* Messages about an item say what an item must be. */
    mr_key one = *key;
    one.type = texts ? MR_KEY_STRING : MR_KEY_INT;
    one.bytes = texts ? MR_CONFIG_NAME : sizeof(int64_t);
    int end = whole->kind == MR_YAML_SEQUENCE ? whole->end : node + 1;
    int32_t count = 0;
    for (int at = whole->kind == MR_YAML_SEQUENCE ? node + 1 : node; at < end;
         at = yaml->nodes[at].end) {
        fault->node = at;
        const mr_yaml_node *item = &yaml->nodes[at];
        if (count == MR_CONFIG_LIST) return fail_type(key, whole, " with more items");
        if (texts)
            MR_TRY(read_string(&one, item, 1, strings->item[count], one.bytes));
        else
            MR_TRY(read_integer(&one, item, &ints->item[count]));
        count++;
    }
    if (texts)
        strings->count = count;
    else
        ints->count = count;
    return MR_OK;
}

/* The name that an item gives as its kind. */
static mr_status read_kind(const mr_key *key, const mr_yaml *yaml, int item, mr_value_fault *fault,
                           const mr_choice **kind)
{
    static const mr_key about = {.key = "kind", .type = MR_KEY_STRING, .bytes = MR_CONFIG_NAME};
    char name[MR_CONFIG_NAME] = "";
    for (int at = item + 1; at < yaml->nodes[item].end; at = yaml->nodes[at].end) {
        if (strcmp(yaml->nodes[at].path, "kind") != 0) continue;
        fault->node = at;
        MR_TRY(read_string(&about, &yaml->nodes[at], 1, name, sizeof name));
        MR_TRY(mr_value_check_name(&about, kinds_of(key), name));
    }
    if (name[0] == '\0') {
        mr_text expected = {0};
        mr_value_one_of_choices(kinds_of(key), &expected);
        mr_status status =
            mr_fail(MR_ERR_CONFIG, "kind: missing; expected %s", mr_text_get(&expected));
        mr_text_free(&expected);
        return status;
    }
    for (*kind = kinds_of(key); strcmp((*kind)->name, name) != 0; ++*kind)
        ;
    return MR_OK;
}

static mr_status fail_item_key(const mr_choice *kind, const char *found)
{
    mr_text known = {0};
    mr_text_add(&known, "kind");
    for (int i = 0; kind->schema && i < kind->schema->count; i++)
        mr_text_add(&known, ", %s", kind->schema->key[i].key);
    mr_status status = mr_fail(MR_ERR_CONFIG, "unknown key \"%.100s\"; the keys of %s are %s",
                               found, kind->name, mr_text_get(&known));
    mr_text_free(&known);
    return status;
}

static mr_status read_item(const mr_key *key, const mr_yaml *yaml, int item, struct mr_item *out,
                           mr_value_fault *fault)
{
    const mr_choice *kind = NULL;
    MR_TRY(read_kind(key, yaml, item, fault, &kind));
    memcpy(out->kind, kind->name, strlen(kind->name));
    for (int i = 0; kind->schema && i < kind->schema->count; i++)
        MR_TRY(mr_value_set_text(&kind->schema->key[i], "default", kind->schema->key[i].fallback,
                                 &out->keys));
    for (int at = item + 1; at < yaml->nodes[item].end; at = yaml->nodes[at].end) {
        const char *path = yaml->nodes[at].path;
        if (strcmp(path, "kind") == 0) continue;
        const mr_key *own = kind->schema ? mr_schema_key(kind->schema, path) : NULL;
        *fault = (mr_value_fault){at, !own};
        if (!own) return fail_item_key(kind, path);
        MR_TRY(mr_value_set(own, yaml, at, &out->keys, fault));
    }
    return MR_OK;
}

static mr_status read_items(const mr_key *key, const mr_yaml *yaml, int node, mr_item_list *field,
                            mr_value_fault *fault)
{
    const mr_yaml_node *whole = &yaml->nodes[node];
    if (whole->kind != MR_YAML_SEQUENCE) return fail_type(key, whole, "");
    memset(field, 0, sizeof *field);
    for (int at = node + 1; at < whole->end; at = yaml->nodes[at].end) {
        if (field->count == MR_CONFIG_ITEMS) return fail_type(key, whole, " with more items");
        fault->node = at;
        if (yaml->nodes[at].kind != MR_YAML_MAPPING)
            return fail_found(key, "a mapping", &yaml->nodes[at], "");
        mr_status status = read_item(key, yaml, at, &field->item[field->count++], fault);
        if (status != MR_OK) return mr_fail_in(status, "%s", key->key);
    }
    return MR_OK;
}

mr_status mr_value_set(const mr_key *key, const mr_yaml *yaml, int node, void *base,
                       mr_value_fault *fault)
{
    const mr_yaml_node *value = &yaml->nodes[node];
    void *field = field_of(key, base);
    *fault = (mr_value_fault){.node = node};
    switch (key->type) {
    case MR_KEY_INT:
        return read_integer(key, value, field);
    case MR_KEY_FLOAT:
        return read_number(key, value, field);
    case MR_KEY_BOOL:
        return read_bool(key, value, field);
    case MR_KEY_STRING:
        return read_string(key, value, 0, field, key->bytes);
    case MR_KEY_ENUM:
        return read_enum(key, value, field);
    case MR_KEY_STRINGS:
    case MR_KEY_INTS:
        return read_list(key, yaml, node, field, fault);
    case MR_KEY_ITEMS:
        return read_items(key, yaml, node, field, fault);
    }
    mr_abort("%s: unknown type %d", key->key, (int)key->type);
}

mr_status mr_value_set_text(const mr_key *key, const char *name, const char *text, void *base)
{
    mr_yaml yaml = {0};
    MR_TRY(mr_yaml_parse_value(name, text, &yaml));
    mr_value_fault fault;
    mr_status status = mr_value_set(key, &yaml, 0, base, &fault);
    if (status != MR_OK) status = mr_fail_in(status, "%s", name);
    mr_yaml_free(&yaml);
    return status;
}

static void list_names(const mr_choice *rows, const char *names[MR_CHOICES + 1])
{
    int count = 0;
    for (; rows[count].name; count++)
        names[count] = rows[count].name;
    names[count] = NULL;
}

void mr_value_one_of_choices(const mr_choice *rows, mr_text *out)
{
    const char *names[MR_CHOICES + 1];
    list_names(rows, names);
    one_of(names, out);
}

mr_status mr_value_check_name(const mr_key *key, const mr_choice *rows, const char *name)
{
    const char *names[MR_CHOICES + 1];
    char text[MR_CONFIG_STRING];
    list_names(rows, names);
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0) return MR_OK;
    snprintf(text, sizeof text, "%s", name);
    mr_yaml_node node = {.kind = MR_YAML_SCALAR, .quoted = true, .text = text};
    return fail_name(key, names, &node);
}

static void add_number(double value, mr_text *out)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    mr_text_add(out, "%s", text);
}

/* YAML folds or refuses these inside quotes: controls, line separators, byte-order marks. */
static bool needs_escape(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x2028 || point == 0x2029 ||
           point == 0xfeff || point == 0xfffe || point == 0xffff;
}

static void add_string(const char *text, mr_value_form form, mr_text *out)
{
    if (form != MR_VALUE_YAML) {
        mr_text_add(out, "%s", text);
        return;
    }
    mr_text_add(out, "\"");
    for (size_t left = strlen(text); left > 0;) {
        uint32_t point = 0;
        int length = mr_utf8_decode(text, left, &point);
        if (length == 0) { /* not UTF-8, which no reader of a configuration lets through */
            length = 1;
            point = '?';
            mr_text_add(out, "?");
        } else if (point == '"' || point == '\\') {
            mr_text_add(out, "\\%c", (char)point);
        } else if (point == '\n') {
            mr_text_add(out, "\\n");
        } else if (needs_escape(point)) {
            mr_text_add(out, "\\u%04x", (unsigned)point);
        } else {
            mr_text_add(out, "%.*s", length, text);
        }
        text += length;
        left -= (size_t)length;
    }
    mr_text_add(out, "\"");
}

static void add_list(const mr_key *key, const void *field, mr_value_form form, mr_text *out)
{
    bool texts = key->type == MR_KEY_STRINGS;
    const mr_string_list *strings = field;
    const mr_int_list *ints = field;
    const char *separator = form == MR_VALUE_YAML ? ", " : ",";
    int32_t count = texts ? strings->count : ints->count;
    if (form == MR_VALUE_YAML) mr_text_add(out, "[");
    for (int32_t i = 0; i < count; i++) {
        if (i > 0) mr_text_add(out, "%s", separator);
        if (texts)
            add_string(strings->item[i], form, out);
        else
            mr_text_add(out, "%lld", (long long)ints->item[i]);
    }
    if (form == MR_VALUE_YAML) mr_text_add(out, "]");
}

/* What an item is called: of a path its last part. */
static const char *name_of_item(const mr_choice *kind, const struct mr_item *item)
{
    for (int i = 0; kind->schema && i < kind->schema->count; i++) {
        const mr_key *own = &kind->schema->key[i];
        const char *text = const_field_of(own, &item->keys);
        if (own->type != MR_KEY_STRING || text[0] == '\0') continue;
        const char *slash = strrchr(text, '/');
        return slash && slash[1] ? slash + 1 : text;
    }
    return kind->name;
}

static void add_items(const mr_key *key, const mr_item_list *list, mr_value_form form, mr_text *out)
{
    if (form == MR_VALUE_YAML) mr_text_add(out, "[");
    for (int32_t n = 0; n < list->count; n++) {
        const mr_choice *kind = kinds_of(key);
        while (strcmp(kind->name, list->item[n].kind) != 0)
            kind++;
        if (form == MR_VALUE_NAME) {
            mr_text_add(out, "%s%s", n > 0 ? "," : "", name_of_item(kind, &list->item[n]));
            continue;
        }
        mr_text_add(out, "%s{kind: ", n > 0 ? ", " : "");
        add_string(kind->name, form, out);
        for (int i = 0; kind->schema && i < kind->schema->count; i++) {
            mr_text_add(out, ", %s: ", kind->schema->key[i].key);
            mr_value_text(&kind->schema->key[i], &list->item[n].keys, form, out);
        }
        mr_text_add(out, "}");
    }
    if (form == MR_VALUE_YAML) mr_text_add(out, "]");
}

void mr_value_text(const mr_key *key, const void *base, mr_value_form form, mr_text *out)
{
    const void *field = const_field_of(key, base);
    switch (key->type) {
    case MR_KEY_INT:
        mr_text_add(out, "%lld", (long long)*(const int64_t *)field);
        return;
    case MR_KEY_FLOAT:
        add_number(*(const double *)field, out);
        return;
    case MR_KEY_BOOL:
        mr_text_add(out, "%s", *(const bool *)field ? "true" : "false");
        return;
    case MR_KEY_STRING:
        add_string(field, form, out);
        return;
    case MR_KEY_ENUM:
        mr_text_add(out, "%s", key->choices[*(const int32_t *)field]);
        return;
    case MR_KEY_STRINGS:
    case MR_KEY_INTS:
        add_list(key, field, form, out);
        return;
    case MR_KEY_ITEMS:
        add_items(key, field, form, out);
        return;
    }
}
