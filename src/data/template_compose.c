/* What of a record stands in a sample: its text, in pieces that are learned or not, and tokens. */

#include "base/utf8.h"
#include "data/template_impl.h"
#include "store/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A record being put into text. */
typedef struct composer {
    const mr_template *t;
    mr_rendered *out;
    size_t stretch; /* byte of the text where it goes on behind the last token */
    mr_fault fault;
    char *what;
    char where[48]; /* stands before what is said of a field: "message 3: " */
} composer;

/* A text of the record; borrowed. */
typedef struct slice {
    const char *text;
    size_t bytes;
} slice;

static void set_fault(composer *c, mr_fault fault, const char *fmt, ...) MR_PRINTF(3, 4);
static void set_fault(composer *c, mr_fault fault, const char *fmt, ...)
{
    va_list args;
    c->fault = fault;
    va_start(args, fmt);
    mr_fault_tell(c->what, fmt, args);
    va_end(args);
}

const json_t *mr_template_find(const json_t *in, const char *name)
{
    const json_t *value = json_object_get(in, name);
    while (!value && in) {
        const size_t length = strcspn(name, ".");
        char *end;
        const unsigned long item = strtoul(name, &end, 10);
        if (json_is_object(in))
            in = json_object_getn(in, name, length);
        else
            in = length > 0 && end == name + length ? json_array_get(in, item) : NULL;
        if (name[length] == '\0') return in;
        name += length + 1;
    }
    return value;
}

/* Takes a text of a record or message; false with a fault. */
static bool get_text(composer *c, const json_t *from, int name, slice *out)
{
    const char *real = mr_template_real(c->t, name);
    const json_t *value = mr_template_find(from, real);
    *out = (slice){"", 0};
    if (c->t->name[name].optional && (!value || json_is_null(value))) return true;
    if (!json_is_string(value)) {
        set_fault(c, value ? MR_FAULT_TYPE : MR_FAULT_FIELD,
                  "%sexpected text in field \"%s\", found %s", c->where, real, mr_json_kind(value));
        return false;
    }
    *out = (slice){json_string_value(value), json_string_length(value)};
    if (c->t->zeros || !memchr(out->text, '\0', out->bytes)) return true;
    set_fault(c, MR_FAULT_TYPE, "%sexpected text in field \"%s\", found \\u0000 in it", c->where,
              real);
    return false;
}

static bool get_value(composer *c, const json_t *from, const mr_template_value *value, slice *out)
{
    if (!get_text(c, from, value->name, out)) return false;
    const char *newline = memchr(out->text, '\n', out->bytes);
    const size_t first = newline ? (size_t)(newline - out->text) : out->bytes;
    if (value->lines == MR_LINES_FIRST) out->bytes = first;
    if (value->lines == MR_LINES_REST) {
        const size_t skipped = first + (newline != NULL);
        out->text += skipped;
        out->bytes -= skipped;
    }
    if (value->strip & MR_STRIP_START) {
        const size_t spaces = mr_utf8_spaces_at_start(out->text, out->bytes);
        out->text += spaces;
        out->bytes -= spaces;
    }
    if (value->strip & MR_STRIP_END) out->bytes -= mr_utf8_spaces_at_end(out->text, out->bytes);
    return true;
}

static mr_status add_piece(composer *c, int token, bool learned)
{
    mr_rendered *r = c->out;
    mr_rendered_piece *last = r->pieces > 0 ? &r->piece[r->pieces - 1] : NULL;
    if (token < 0 && last && last->token < 0 && last->learned == learned) {
        last->end = r->text.length;
        return MR_OK;
    }
    MR_TRY(mr_grow(MR_MEM_DATA, &r->piece, &r->piece_room, r->pieces + 1, sizeof *r->piece));
    r->piece[r->pieces++] = (mr_rendered_piece){r->text.length, token, learned};
    return MR_OK;
}

static mr_status add_span(composer *c, const json_t *from, const mr_template_span *span)
{
    mr_text *text = &c->out->text;
    slice field;
    switch (span->kind) {
    case MR_SPAN_TEXT:
        mr_text_add_bytes(text, span->text, strlen(span->text));
        break;
    case MR_SPAN_FIELD:
        if (!get_value(c, from, &span->value, &field)) return MR_OK;
        mr_text_add_bytes(text, field.text, field.bytes);
        break;
    case MR_SPAN_TOKEN:
        mr_text_add_bytes(text, mr_text_get(&c->t->token[span->token].lead),
                          c->t->token[span->token].lead.length);
        c->stretch = text->length;
        break;
    }
    if (text->failed) return MR_ERR_MEMORY;
    return add_piece(c, span->kind == MR_SPAN_TOKEN ? span->token : -1, span->learned);
}

static mr_status add_spans(composer *c, const json_t *from, const mr_template_spans *spans)
{
    for (int i = 0; i < spans->count && c->fault == MR_FAULTS; i++)
        MR_TRY(add_span(c, from, &spans->span[i]));
    return MR_OK;
}

/* The first form that applies; NULL: none, or a fault. Bit `before` tells what stands before. */
static const mr_form *choose(composer *c, const json_t *from, int role, int before)
{
    for (int f = 0; f < c->t->forms; f++) {
        const mr_form *form = &c->t->form[f];
        slice value = {"", 1};
        if (form->role != role || !(form->after >> before & 1)) continue;
        if (form->when.name >= 0 && !get_value(c, from, &form->when, &value)) return NULL;
        if (value.bytes > 0) return form;
    }
    return NULL;
}

static bool is_role(const mr_template *t, int name)
{
    for (int f = 0; f < t->forms; f++)
        if (t->form[f].role == name) return true;
    return false;
}

/* Tells of a role that the template does not have. */
static void fault_role(composer *c, const slice *role)
{
    mr_text known = {0}, found = {0};
    mr_text_add_line(&found, role->text, role->bytes);
    for (int n = 0; n < c->t->names; n++)
        if (is_role(c->t, n))
            mr_text_add(&known, "%s%s", known.length > 0 ? ", " : "", mr_template_real(c->t, n));
    set_fault(c, MR_FAULT_ROLE, "%sexpected a role of %s, found \"%.48s\"", c->where,
              mr_text_get(&known), mr_text_get(&found));
    mr_text_free(&known);
    mr_text_free(&found);
}

/* The name of a message's role; -1 with a fault. */
static int find_role(composer *c, const json_t *message)
{
    slice role;
    if (!get_text(c, message, c->t->role, &role)) return -1;
    for (int n = 0; n < c->t->names; n++) {
        const char *real = mr_template_real(c->t, n);
        if (is_role(c->t, n) && strlen(real) == role.bytes &&
            memcmp(real, role.text, role.bytes) == 0)
            return n;
    }
    fault_role(c, &role);
    return -1;
}

/* Tells of a message that no form takes where it stands. */
static void fault_order(composer *c, int role, int before)
{
    const mr_template *t = c->t;
    if (before == MR_TEMPLATE_NAMES)
        set_fault(c, MR_FAULT_ORDER, "%s%s cannot be the first", c->where,
                  mr_template_real(t, role));
    else
        set_fault(c, MR_FAULT_ORDER, "%s%s cannot follow %s", c->where, mr_template_real(t, role),
                  mr_template_real(t, before));
}

static bool is_name(const mr_template *t, const char *key)
{
    for (int n = 0; n < t->names; n++)
        if (strcmp(mr_template_real(t, n), key) == 0) return true;
    return false;
}

/* Refuses what a message says beside its text that would be left out, unless the template has it:
 * calls of tools, and that it is not to be learned, as OpenAI's files and axolotl's say it. */
static void refuse_left_out(composer *c, const json_t *message, const mr_form *form)
{
    static const char *const calls[] = {"tool_calls", "function_call"};
    static const char *const marks[] = {"weight", "train", "training"};
    bool learned = false;
    for (int i = 0; i < form->spans.count; i++)
        learned = learned || form->spans.span[i].learned;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        const json_t *call = json_object_get(message, calls[i]);
        if (json_array_size(call) + json_object_size(call) + json_string_length(call) > 0 &&
            !is_name(c->t, calls[i]))
            set_fault(c, MR_FAULT_TYPE, "%sfield \"%s\" has no place in the template", c->where,
                      calls[i]);
    }
    for (size_t i = 0; i < sizeof marks / sizeof *marks && learned; i++) {
        const json_t *mark = json_object_get(message, marks[i]);
        const bool none = json_is_number(mark) && json_number_value(mark) == 0.0;
        if ((none || json_is_false(mark)) && !is_name(c->t, marks[i]))
            set_fault(c, MR_FAULT_TYPE,
                      "%sfield \"%s\" says that it is not learned, but the template learns it",
                      c->where, marks[i]);
    }
}

static mr_status add_message(composer *c, const json_t *message, int *before)
{
    if (!json_is_object(message)) {
        set_fault(c, MR_FAULT_TYPE, "%sexpected an object, found %s", c->where,
                  mr_json_kind(message));
        return MR_OK;
    }
    const int role = find_role(c, message);
    if (role < 0) return MR_OK;
    const mr_form *form = choose(c, message, role, *before);
    if (!form && c->fault == MR_FAULTS) fault_order(c, role, *before);
    *before = role;
    if (form) refuse_left_out(c, message, form);
    return form ? add_spans(c, message, &form->spans) : MR_OK;
}

static mr_status add_messages(composer *c, const json_t *record)
{
    const char *real = mr_template_real(c->t, c->t->list);
    const json_t *list = mr_template_find(record, real);
    int before = MR_TEMPLATE_NAMES;
    if (!json_is_array(list))
        set_fault(c, list ? MR_FAULT_TYPE : MR_FAULT_FIELD,
                  "expected a list in field \"%s\", found %s", real, mr_json_kind(list));
    else if (json_array_size(list) == 0)
        set_fault(c, MR_FAULT_EMPTY, "expected messages in field \"%s\", found none", real);
    for (size_t i = 0; i < json_array_size(list) && c->fault == MR_FAULTS; i++) {
        snprintf(c->where, sizeof c->where, "message %zu: ", i + 1);
        MR_TRY(add_message(c, json_array_get(list, i), &before));
    }
    return MR_OK;
}

static mr_status add_record(composer *c, const json_t *record)
{
    const mr_template *t = c->t;
    if (!json_is_object(record)) {
        set_fault(c, MR_FAULT_JSON, "expected an object, found %s", mr_json_kind(record));
        return MR_OK;
    }
    MR_TRY(add_spans(c, record, &t->begin));
    if (t->messages) return c->fault == MR_FAULTS ? add_messages(c, record) : MR_OK;
    const mr_form *form = choose(c, record, -1, 0);
    return form ? add_spans(c, record, &form->spans) : MR_OK;
}

/* Takes white space off the text behind the last token. */
static void strip_end(composer *c)
{
    mr_rendered *r = c->out;
    const size_t stretch = c->stretch;
    const size_t spaces =
        mr_utf8_spaces_at_end(mr_text_get(&r->text) + stretch, r->text.length - stretch);
    if (spaces == 0) return;
    r->text.length -= spaces;
    r->text.data[r->text.length] = '\0';
    for (int64_t p = r->pieces; p > 0 && r->piece[p - 1].end > r->text.length; p--)
        r->piece[p - 1].end = r->text.length;
}

mr_status mr_template_compose(const mr_template *t, const json_t *record, mr_rendered *out,
                              mr_fault *fault, char what[MR_FAULT_TEXT])
{
    composer c = {.t = t, .out = out, .fault = MR_FAULTS};
    c.what = what;
    out->text.length = 0;
    out->pieces = 0;
    MR_TRY(add_record(&c, record));
    *fault = c.fault;
    if (t->strip_end) strip_end(&c);
    return MR_OK;
}
