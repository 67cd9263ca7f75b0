/* A record of a set: what is made of it, its class, its options and the right one. */

#include "base/utf8.h"
#include "corpus/compressed.h"
#include "eval/answer_impl.h"
#include "eval/set_impl.h"
#include "store/json.h"

#include <stdio.h>
#include <string.h>

mr_status mr_set_fail(const mr_set_record *record, const char *fmt, ...)
{
    char what[MR_MESSAGE_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    if (record->line == 0) return mr_fail(MR_ERR_FORMAT, "%s: %s", record->file, what);
    return mr_fail(MR_ERR_FORMAT, "%s:%lld: %s", record->file, (long long)record->line, what);
}

const char *mr_set_text_of(const json_t *value, char room[32], size_t *bytes)
{
    if (json_is_array(value)) value = json_array_get(value, 0);
    if (json_is_string(value)) {
        *bytes = json_string_length(value);
        return json_string_value(value);
    }
    if (!json_is_number(value)) return NULL;
    *bytes = (size_t)snprintf(room, 32, "%.15g", json_number_value(value));
    return room;
}

mr_status mr_set_read_all(const char *path, mr_text *out)
{
    enum { STEP = 1 << 16 };
    char *room = mr_alloc(MR_MEM_DATA, STEP);
    mr_compressed *file = NULL;
    bool compressed;
    size_t got = 1;
    if (!room) return MR_ERR_MEMORY;
    mr_status status = mr_compressed_probe(path, &compressed);
    if (status == MR_OK) status = mr_compressed_open(path, compressed, &file);
    while (status == MR_OK && got > 0) {
        status = mr_compressed_read(file, room, STEP, &got);
        if (status == MR_OK) mr_text_add_bytes(out, room, got);
        if (out->failed) status = MR_ERR_MEMORY;
    }
    mr_compressed_close(&file);
    mr_free(room);
    const size_t mark = status == MR_OK && out->data ? mr_utf8_mark(out->data, out->length) : 0;
    if (mark > 0) {
        out->length -= mark;
        memmove(out->data, out->data + mark, out->length + 1);
    }
    return status;
}

/* Records. */

/* Puts a text into a record; NULL fails as a lack of memory. */
static mr_status put(json_t *record, const char *name, json_t *value)
{
    return json_object_set_new(record, name, value) == 0 ? MR_OK : MR_ERR_MEMORY;
}

static mr_status join_list(const mr_set_record *r, const mr_set_field *f, const json_t *list,
                           mr_text *out)
{
    if (!json_is_array(list))
        return mr_set_fail(r, "expected a list in field \"%s\", found %s", f->of,
                           mr_json_kind(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (!json_is_string(item))
            return mr_set_fail(r, "expected texts in field \"%s\", found %s", f->of,
                               mr_json_kind(item));
        if (i > 0) mr_text_add(out, "%s", f->join);
        mr_text_add_bytes(out, json_string_value(item), json_string_length(item));
    }
    return MR_OK;
}

static mr_status match(const mr_set_record *r, const mr_set_field *f, const char *text,
                       size_t bytes, mr_text *out)
{
    const size_t groups = (size_t)mr_pattern_groups(f->compiled);
    mr_span *spans = mr_alloc_array(MR_MEM_DATA, 1 + groups, sizeof *spans);
    bool found = false;
    if (!spans) return MR_ERR_MEMORY;
    mr_status status = mr_answer_search(f->compiled, (mr_view){text, bytes}, 0, spans, &found);
    if (status == MR_OK && !found)
        status = mr_set_fail(r, "expected what matches '%s' in field \"%s\"", f->pattern, f->of);
    if (status == MR_OK) mr_text_add_bytes(out, text + spans[1].from, spans[1].to - spans[1].from);
    mr_free(spans);
    return status;
}

static mr_status by_rule(const mr_set_record *r, const mr_set_field *f, const char *text,
                         size_t bytes, mr_text *out)
{
    mr_answer answer = {.state = MR_ANSWER_NONE};
    mr_status status = f->rule->gold(text, bytes, &answer);
    if (status == MR_OK && answer.state != MR_ANSWER_FOUND)
        status = mr_set_fail(r, "%s finds no answer in field \"%s\"", f->rule->name, f->of);
    if (status == MR_OK) {
        const mr_view part = mr_answer_view(&answer, 0);
        mr_text_add_bytes(out, part.at, part.bytes);
    }
    mr_answer_free(&answer);
    return status;
}

/* The name that a text is among those of. */
static mr_status find_name(const mr_set_record *r, const mr_set_field *f, const char *text,
                           mr_text *out)
{
    for (int n = 0; n < f->names; n++)
        for (int i = 0; i < f->among[n].texts.count; i++)
            if (strcmp(f->among[n].texts.item[i], text) == 0) {
                mr_text_add(out, "%s", f->among[n].name);
                return MR_OK;
            }
    return mr_set_fail(r, "\"%.64s\" of field \"%s\" is not among the texts of field \"%s\"", text,
                       f->of, f->name);
}

static mr_status make_field(const mr_set_record *r, const mr_set_field *f, mr_text *out)
{
    char room[32];
    size_t bytes = 0;
    const json_t *value = mr_template_find(r->json, f->of);
    if (f->join) return join_list(r, f, value, out);
    const char *text = mr_set_text_of(value, room, &bytes);
    if (!text)
        return mr_set_fail(r, "expected text in field \"%s\", found %s", f->of,
                           mr_json_kind(value));
    if (f->pattern) return match(r, f, text, bytes, out);
    if (f->rule) return by_rule(r, f, text, bytes, out);
    if (f->among) return find_name(r, f, text, out);
    for (size_t i = 0; i < bytes; i++)
        mr_text_add_bytes(out, text[i] == '_' ? " " : text + i, 1);
    return MR_OK;
}

static mr_status make_fields(const mr_set *set, const mr_set_record *r)
{
    for (int i = 0; i < set->fields; i++) {
        mr_text text = {0};
        mr_status status = make_field(r, &set->field[i], &text);
        if (status == MR_OK && text.failed) status = MR_ERR_MEMORY;
        if (status == MR_OK)
            status =
                put(r->json, set->field[i].name, json_stringn(mr_text_get(&text), text.length));
        mr_text_free(&text);
        MR_TRY(status);
    }
    return MR_OK;
}

/* Finds the class of a record; -1: one that does not count. */
static mr_status find_class(mr_set *set, mr_set_record *r)
{
    char room[32];
    size_t bytes;
    r->class = 0;
    if (!set->class_field) return MR_OK;
    const json_t *value = mr_template_find(r->json, set->class_field);
    const char *name = mr_set_text_of(value, room, &bytes);
    if (!name)
        return mr_set_fail(r, "expected text in field \"%s\", found %s", set->class_field,
                           mr_json_kind(value));
    for (r->class = 0; r->class < set->class_count; r->class ++)
        if (strcmp(set->class_name[r->class], name) == 0) return MR_OK;
    if (set->classes.count > 0) {
        r->class = -1;
        return MR_OK;
    }
    MR_TRY(mr_grow(MR_MEM_DATA, &set->class_name, &set->class_room, set->class_count + 1,
                   sizeof *set->class_name));
    set->class_name[set->class_count] = mr_strdup(name);
    if (!set->class_name[set->class_count]) return MR_ERR_MEMORY;
    set->class_count++;
    return MR_OK;
}

/* Finds the right option of a record, by its number or its label. */
static mr_status find_gold(const mr_set *set, mr_set_record *r, const mr_set_texts *options)
{
    char room[32];
    size_t bytes;
    const json_t *value = mr_template_find(r->json, set->gold);
    const char *label = mr_set_text_of(value, room, &bytes);
    const mr_set_texts *labels = set->labels.count > 0 ? &set->labels : options;
    if (!label)
        return mr_set_fail(r, "expected the right answer in field \"%s\", found %s", set->gold,
                           mr_json_kind(value));
    if (json_is_number(value)) {
        const double number = json_number_value(value);
        r->gold = (int32_t)number;
        if (number >= 0 && number < options->count && r->gold == number) return MR_OK;
        return mr_set_fail(r, "expected the right option, 0..%d, in field \"%s\", found %s",
                           options->count - 1, set->gold, label);
    }
    for (r->gold = 0; r->gold < labels->count && r->gold < options->count; r->gold++)
        if (strcmp(labels->item[r->gold], label) == 0) return MR_OK;
    mr_text known = {0}, found = {0};
    for (int i = 0; i < labels->count; i++)
        mr_text_add(&known, "%s%s", i > 0 ? ", " : "", labels->item[i]);
    mr_text_add_line(&found, label, bytes);
    mr_status status = mr_set_fail(r, "expected one of %.400s in field \"%s\", found \"%.64s\"",
                                   mr_text_get(&known), set->gold, mr_text_get(&found));
    mr_text_free(&known);
    mr_text_free(&found);
    return status;
}

/* The texts of a record's options, in a list that is freed by the caller. */
static mr_status list_options(const mr_set *set, const mr_set_record *r, mr_set_texts *out)
{
    size_t count = (size_t)set->options.count;
    for (int i = 0; i < set->option_fields.count; i++) {
        const json_t *value = mr_template_find(r->json, set->option_fields.item[i]);
        count += json_is_array(value) ? json_array_size(value) : 1;
    }
    out->item = mr_alloc_array(MR_MEM_DATA, count + 1, sizeof *out->item);
    if (!out->item) return MR_ERR_MEMORY;
    for (int i = 0; i < set->options.count; i++)
        out->item[out->count++] = set->options.item[i];
    for (int i = 0; i < set->option_fields.count; i++) {
        const char *field = set->option_fields.item[i];
        const json_t *value = mr_template_find(r->json, field);
        const size_t items = json_is_array(value) ? json_array_size(value) : 1;
        for (size_t k = 0; k < items; k++) {
            const json_t *one = json_is_array(value) ? json_array_get(value, k) : value;
            if (!json_is_string(one))
                return mr_set_fail(r, "expected text in field \"%s\", found %s", field,
                                   mr_json_kind(one));
            out->item[out->count++] = json_string_value(one);
        }
    }
    return out->count > 0 ? MR_OK : mr_set_fail(r, "it has no options");
}

static mr_status set_gold(const mr_set *set, mr_set_record *r)
{
    mr_set_texts options = {.count = 0};
    char room[32];
    size_t bytes;
    r->gold = -1;
    if (!set->metric) {
        const json_t *value = mr_template_find(r->json, set->gold);
        if (mr_set_text_of(value, room, &bytes)) return MR_OK;
        return mr_set_fail(r, "expected the right answer in field \"%s\", found %s", set->gold,
                           mr_json_kind(value));
    }
    mr_status status = list_options(set, r, &options);
    if (status == MR_OK) status = find_gold(set, r, &options);
    if (status == MR_OK) status = put(r->json, "@option", json_string(options.item[r->gold]));
    mr_free(options.item);
    return status;
}

/* Tells whether a record lacks what it needs to be one. */
static bool is_left_out(const mr_set *set, const json_t *json)
{
    return set->needs && json_string_length(mr_template_find(json, set->needs)) == 0;
}

static mr_status add_one(mr_set_reader *reader, json_t *json, int64_t line)
{
    mr_set *set = reader->set;
    MR_TRY(mr_grow(MR_MEM_DATA, &set->record, &set->record_room, set->records + 1,
                   sizeof *set->record));
    mr_set_record *r = &set->record[set->records];
    *r = (mr_set_record){.json = json, .file = reader->path, .line = line};
    MR_TRY(make_fields(set, r));
    if (is_left_out(set, json)) return MR_OK;
    MR_TRY(find_class(set, r));
    if (r->class < 0) return MR_OK;
    MR_TRY(set_gold(set, r));
    json_incref(json);
    set->records++;
    return MR_OK;
}

/* Adds what a record is to one of a set's variants. */
static mr_status add_variant(mr_set_reader *reader, const json_t *json, const mr_set_variant *v,
                             int64_t line)
{
    const mr_set_record place = {.file = reader->path, .line = line};
    json_t *label = json_object_get(json, v->label), *copy = json_copy((json_t *)(uintptr_t)json);
    mr_status status = copy ? MR_OK : MR_ERR_MEMORY;
    if (!label) status = mr_set_fail(&place, "there is no field \"%s\"", v->label);
    if (status == MR_OK) status = put(copy, "@class", json_string(v->class));
    if (status == MR_OK && json_object_set(copy, "@label", label) != 0) status = MR_ERR_MEMORY;
    if (status == MR_OK) status = add_one(reader, copy, line);
    json_decref(copy);
    return status;
}

static mr_status add_record(mr_set_reader *reader, json_t *json, int64_t line)
{
    const mr_set *set = reader->set;
    MR_TRY(put(json, "@row", json_integer(reader->row++)));
    MR_TRY(put(json, "@file", json_string(reader->stem)));
    for (int v = 0; v < set->variants; v++)
        MR_TRY(add_variant(reader, json, &set->variant[v], line));
    return set->variants > 0 ? MR_OK : add_one(reader, json, line);
}

mr_status mr_set_add_record(mr_set_reader *reader, json_t *json, int64_t line)
{
    if (!json) return MR_ERR_MEMORY;
    mr_status status = add_record(reader, json, line);
    json_decref(json);
    return status;
}

/* Items. */

int64_t mr_set_options(const mr_set *set, int64_t item)
{
    const json_t *json = set->record[set->at[item]].json;
    int64_t count = set->options.count;
    for (int i = 0; i < set->option_fields.count; i++) {
        const json_t *value = mr_template_find(json, set->option_fields.item[i]);
        count += json_is_array(value) ? (int64_t)json_array_size(value) : 1;
    }
    return count;
}

mr_status mr_set_option(const mr_set *set, int64_t item, int64_t option, mr_text *out)
{
    const json_t *json = set->record[set->at[item]].json;
    const char *text = option < set->options.count ? set->options.item[option] : NULL;
    int64_t behind = option - set->options.count;
    for (int i = 0; i < set->option_fields.count && !text; i++) {
        const json_t *value = mr_template_find(json, set->option_fields.item[i]);
        const int64_t items = json_is_array(value) ? (int64_t)json_array_size(value) : 1;
        if (behind < items)
            text = json_string_value(json_is_array(value) ? json_array_get(value, (size_t)behind)
                                                          : value);
        behind -= items;
    }
    MR_INVARIANT(text);
    mr_text_add(out, " %s", text);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}
