#include "config/yaml_fields.h"
#include "data/template_impl.h"

#include <stddef.h>
#include <string.h>

/* What a mapping holds beside what it becomes: nodes of lists and mappings, 0 where there is none,
 * and names that are still texts. */
typedef struct root_parts {
    const char *about;
    int reads, begin, forms, optional;
    bool strip_end, zeros;
} root_parts;

typedef struct form_parts {
    const char *role;
    int after, when, spans;
} form_parts;

typedef struct value_parts {
    const char *field;
    int lines, strip;
} value_parts;

typedef struct span_parts {
    const char *text, *token;
    value_parts value;
    bool learned;
} span_parts;

static const char *const reads_words[] = {"fields", "messages", NULL};
static const char *const lines_words[] = {"all", "first", "rest", NULL};
static const char *const strip_words[] = {"none", "start", "end", "both", NULL};

static const mr_yaml_field root_fields[] = {
    MR_YAML_FIELD(root_parts, about, "about", MR_FIELD_TEXT, false),
    MR_YAML_WORD(root_parts, reads, "reads", reads_words, true),
    MR_YAML_FIELD(root_parts, begin, "begin", MR_FIELD_LIST, false),
    MR_YAML_FIELD(root_parts, forms, "forms", MR_FIELD_LIST, true),
    MR_YAML_FIELD(root_parts, optional, "optional", MR_FIELD_LIST, false),
    MR_YAML_FIELD(root_parts, strip_end, "strip_end", MR_FIELD_FLAG, false),
    MR_YAML_FIELD(root_parts, zeros, "zeros", MR_FIELD_FLAG, false),
    {0},
};

static const mr_yaml_field form_fields[] = {
    MR_YAML_FIELD(form_parts, role, "role", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(form_parts, after, "after", MR_FIELD_LIST, false),
    MR_YAML_FIELD(form_parts, when, "when", MR_FIELD_KEYS, false),
    MR_YAML_FIELD(form_parts, spans, "spans", MR_FIELD_LIST, true),
    {0},
};

static const mr_yaml_field value_fields[] = {
    MR_YAML_FIELD(value_parts, field, "field", MR_FIELD_TEXT, true),
    MR_YAML_WORD(value_parts, lines, "lines", lines_words, false),
    MR_YAML_WORD(value_parts, strip, "strip", strip_words, false),
    {0},
};

static const mr_yaml_field span_fields[] = {
    MR_YAML_FIELD(span_parts, text, "text", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(span_parts, token, "token", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(span_parts, value.field, "field", MR_FIELD_TEXT, false),
    MR_YAML_WORD(span_parts, value.lines, "lines", lines_words, false),
    MR_YAML_WORD(span_parts, value.strip, "strip", strip_words, false),
    MR_YAML_FIELD(span_parts, learned, "learned", MR_FIELD_FLAG, false),
    {0},
};

static const mr_yaml_field text_field = {.kind = MR_FIELD_TEXT};

static int find_name(const mr_template *t, const char *name)
{
    for (int i = 0; i < t->names; i++)
        if (strcmp(t->name[i].name, name) == 0) return i;
    return -1;
}

/* Finds a name, or adds it. */
static mr_status take_name(const mr_yaml_taker *taker, int at, const char *name, mr_template *t,
                           int *out)
{
    *out = find_name(t, name);
    if (*out >= 0) return MR_OK;
    if (t->names == MR_TEMPLATE_NAMES)
        return mr_yaml_fail(taker, at, "expected at most %d names of fields and roles",
                            MR_TEMPLATE_NAMES);
    t->name[t->names] = (mr_template_name_of){.name = name};
    *out = t->names++;
    return MR_OK;
}

static mr_status take_value(const mr_yaml_taker *taker, int at, const value_parts *parts,
                            mr_template *t, mr_template_value *out)
{
    out->lines = (mr_field_lines)parts->lines;
    out->strip = (mr_strip)parts->strip;
    return take_name(taker, at, parts->field, t, &out->name);
}

/* Finds a token, or adds it: there is room for one a span. */
static int take_token(mr_template *t, const char *text)
{
    for (int i = 0; i < t->tokens; i++)
        if (strcmp(t->token[i].text, text) == 0) return i;
    t->token[t->tokens].text = text;
    return t->tokens++;
}

static mr_status take_span(const mr_yaml_taker *taker, int at, mr_template *t,
                           mr_template_span *out)
{
    span_parts parts = {0};
    MR_TRY(mr_yaml_take(taker, at, span_fields, &parts));
    if (!!parts.text + !!parts.token + !!parts.value.field != 1)
        return mr_yaml_fail(taker, at, "expected one of the keys text, field and token");
    if (!parts.value.field && (parts.value.lines || parts.value.strip))
        return mr_yaml_fail(taker, at, "lines and strip are for a field alone");
    out->learned = parts.learned;
    out->text = parts.text;
    if (parts.value.field) {
        out->kind = MR_SPAN_FIELD;
        return take_value(taker, at, &parts.value, t, &out->value);
    }
    out->kind = parts.token ? MR_SPAN_TOKEN : MR_SPAN_TEXT;
    if (parts.token) out->token = take_token(t, parts.token);
    if (parts.learned && parts.token && strcmp(parts.token, "before") == 0)
        return mr_yaml_fail(taker, at, "the ids before a text cannot be learned");
    return MR_OK;
}

static mr_status take_spans(const mr_yaml_taker *taker, int list, mr_template *t,
                            mr_template_spans *out)
{
    const int count = mr_yaml_items(taker, list);
    out->span = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *out->span);
    if (!out->span) return MR_ERR_MEMORY;
    out->count = count;
    for (int i = 0, at = list + 1; i < count; i++, at = taker->yaml->nodes[at].end)
        MR_TRY(take_span(taker, at, t, &out->span[i]));
    return MR_OK;
}

static mr_status take_role(const mr_yaml_taker *taker, int at, const char *role, mr_template *t,
                           mr_form *out)
{
    out->role = -1;
    if (!t->messages && role) return mr_yaml_fail(taker, at, "role is for messages alone");
    if (!t->messages) return MR_OK;
    if (!role) return mr_yaml_fail(taker, at, "the key \"role\" is missing");
    if (strcmp(role, "start") == 0)
        return mr_yaml_fail(taker, at, "\"start\" cannot be a role: it is what stands before all");
    return take_name(taker, at, role, t, &out->role);
}

/* Roles are known by now. */
static mr_status take_after(const mr_yaml_taker *taker, int list, const mr_template *t,
                            mr_form *out)
{
    out->after = UINT64_MAX;
    if (list == 0) return MR_OK;
    if (!t->messages) return mr_yaml_fail(taker, list, "after is for messages alone");
    out->after = 0;
    for (int at = list + 1; at < taker->yaml->nodes[list].end; at = taker->yaml->nodes[at].end) {
        const char *role;
        MR_TRY(mr_yaml_take_value(taker, &text_field, at, &role));
        int name = strcmp(role, "start") == 0 ? MR_TEMPLATE_NAMES : -1;
        for (int f = 0; name < 0 && f < t->forms; f++)
            if (strcmp(t->name[t->form[f].role].name, role) == 0) name = t->form[f].role;
        if (name < 0) return mr_yaml_fail(taker, at, "no form is of the role \"%s\"", role);
        out->after |= (uint64_t)1 << name;
    }
    return MR_OK;
}

static mr_status take_form(const mr_yaml_taker *taker, int at, const form_parts *parts, bool last,
                           mr_template *t, mr_form *out)
{
    value_parts value = {0};
    out->when.name = -1;
    if (parts->when > 0) {
        MR_TRY(mr_yaml_take(taker, parts->when, value_fields, &value));
        MR_TRY(take_value(taker, parts->when, &value, t, &out->when));
    }
    if (last && !t->messages && parts->when > 0)
        return mr_yaml_fail(taker, at, "the last form must apply to every record: no when");
    MR_TRY(take_after(taker, parts->after, t, out));
    return take_spans(taker, parts->spans, t, &out->spans);
}

static mr_status take_forms(const mr_yaml_taker *taker, int list, mr_template *t)
{
    const int count = mr_yaml_items(taker, list);
    form_parts *parts = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *parts);
    t->form = mr_alloc_array(MR_MEM_DATA, (size_t)count, sizeof *t->form);
    mr_status status = parts && t->form ? MR_OK : MR_ERR_MEMORY;
    /* Roles first: a form may name in `after` one that comes later. */
    for (int i = 0, at = list + 1; i < count && status == MR_OK; at = taker->yaml->nodes[at].end) {
        status = mr_yaml_take(taker, at, form_fields, &parts[i]);
        if (status == MR_OK) status = take_role(taker, at, parts[i].role, t, &t->form[i]);
        if (status == MR_OK) t->forms = ++i;
    }
    for (int i = 0, at = list + 1; i < count && status == MR_OK; at = taker->yaml->nodes[at].end) {
        status = take_form(taker, at, &parts[i], i == count - 1, t, &t->form[i]);
        i++;
    }
    mr_free(parts);
    return status;
}

static mr_status take_optional(const mr_yaml_taker *taker, int list, mr_template *t)
{
    for (int at = list + 1; at < taker->yaml->nodes[list].end; at = taker->yaml->nodes[at].end) {
        const char *name;
        MR_TRY(mr_yaml_take_value(taker, &text_field, at, &name));
        const int found = find_name(t, name);
        if (found < 0) return mr_yaml_fail(taker, at, "no span has the field \"%s\"", name);
        t->name[found].optional = true;
    }
    return MR_OK;
}

mr_status mr_template_parse(const char *name, mr_template *t)
{
    root_parts parts = {.about = ""};
    MR_TRY(mr_yaml_parse(name, t->text, t->bytes, MR_YAML_ROOT_MAPPING, &t->yaml));
    const mr_yaml_taker taker = {name, &t->yaml};
    MR_TRY(mr_yaml_take(&taker, 0, root_fields, &parts));
    t->about = parts.about;
    t->messages = parts.reads == 1;
    t->strip_end = parts.strip_end;
    t->zeros = parts.zeros;
    t->token = mr_alloc_array(MR_MEM_DATA, (size_t)t->yaml.count, sizeof *t->token);
    if (!t->token) return MR_ERR_MEMORY;
    if (t->messages) {
        MR_TRY(take_name(&taker, 0, "messages", t, &t->list));
        MR_TRY(take_name(&taker, 0, "role", t, &t->role));
    }
    MR_TRY(take_forms(&taker, parts.forms, t));
    if (parts.begin > 0) MR_TRY(take_spans(&taker, parts.begin, t, &t->begin));
    return parts.optional > 0 ? take_optional(&taker, parts.optional, t) : MR_OK;
}

mr_status mr_template_parse_spans(const mr_yaml_taker *taker, int list, mr_template *t)
{
    t->about = "";
    t->zeros = true;
    t->token = mr_alloc_array(MR_MEM_DATA, (size_t)mr_yaml_items(taker, list), sizeof *t->token);
    t->form = mr_alloc(MR_MEM_DATA, sizeof *t->form);
    if (!t->token || !t->form) return MR_ERR_MEMORY;
    t->forms = 1;
    t->form->role = -1;
    t->form->when.name = -1;
    t->form->after = UINT64_MAX;
    const mr_template_spans *spans = &t->form->spans;
    MR_TRY(take_spans(taker, list, t, &t->form->spans));
    for (int i = 0, at = list + 1; i < spans->count; i++, at = taker->yaml->nodes[at].end)
        if (spans->span[i].kind == MR_SPAN_TOKEN || spans->span[i].learned)
            return mr_yaml_fail(taker, at, "expected a text or a field, and nothing learned");
    return MR_OK;
}
