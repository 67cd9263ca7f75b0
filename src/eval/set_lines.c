/* Records out of lines that are no JSON, and turns of conversations. */

#include "base/utf8.h"
#include "corpus/compressed.h"
#include "corpus/lines.h"
#include "eval/set_impl.h"
#include "store/json.h"

#include <string.h>

enum { LONGEST = 64 << 20 };

/* A file of lines, and what is kept between them. */
typedef struct source {
    mr_set_reader *reader;
    mr_lines *lines;
    mr_text line; /* the current one */
    /* abstracts: */
    mr_text id;
    int64_t sentence;
    /* conll: */
    mr_text text, entities, name, type;
    int64_t first; /* line of the sentence */
    int64_t tokens;
} source;

static mr_status fail_at(const source *s, const char *what)
{
    const mr_set_record place = {.file = s->reader->path, .line = mr_lines_number(s->lines)};
    return mr_set_fail(&place, "%s", what);
}

/* Every byte of Latin-1 is a character. */
static void add_latin1(mr_text *out, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c < 0x80)
            mr_text_add(out, "%c", c);
        else
            mr_text_add(out, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
    }
}

/* Takes the next line as UTF-8. */
static mr_status next(source *s, bool *end)
{
    const char *text;
    size_t bytes;
    MR_TRY(mr_lines_next(s->lines, &text, &bytes));
    *end = !text;
    if (*end) return MR_OK;
    if (mr_lines_too_long(s->lines)) return fail_at(s, "a line of more than 64 MiB");
    mr_text_clear(&s->line);
    if (mr_utf8_valid(text, bytes) == bytes)
        mr_text_add_bytes(&s->line, text, bytes);
    else if (s->reader->set->latin1)
        add_latin1(&s->line, text, bytes);
    else
        return fail_at(s, "not UTF-8");
    return s->line.failed ? MR_ERR_MEMORY : MR_OK;
}

static json_t *text_json(const mr_text *text)
{
    return json_stringn(mr_text_get(text), text->length);
}

static mr_status add_line(source *s)
{
    if (s->line.length == 0) return MR_OK;
    return mr_set_add_record(s->reader, json_pack("{s:o}", "line", text_json(&s->line)),
                             mr_lines_number(s->lines));
}

static mr_status add_sentence(source *s)
{
    const char *line = mr_text_get(&s->line), *tab = strchr(line, '\t');
    if (s->line.length == 0) return MR_OK;
    if (strncmp(line, "###", 3) == 0) {
        mr_text_clear(&s->id);
        mr_text_add(&s->id, "%s", line + 3);
        s->sentence = 0;
        return s->id.failed ? MR_ERR_MEMORY : MR_OK;
    }
    if (s->id.length == 0) return fail_at(s, "expected \"###\" and a name before sentences");
    if (!tab) return fail_at(s, "expected a label, a tab and a sentence");
    mr_text id = {0};
    mr_text_add(&id, "%s:%lld", mr_text_get(&s->id), (long long)s->sentence++);
    json_t *record = json_pack("{s:o, s:s%, s:s}", "@id", text_json(&id), "label", line,
                               (size_t)(tab - line), "text", tab + 1);
    mr_text_free(&id);
    return mr_set_add_record(s->reader, record, mr_lines_number(s->lines));
}

/* Ends an entity, where there is one. */
static void end_entity(source *s)
{
    if (s->name.length > 0)
        mr_text_add(&s->entities, "%s%s (%s)", s->entities.length > 0 ? ", " : "",
                    mr_text_get(&s->name), mr_text_get(&s->type));
    mr_text_clear(&s->name);
    mr_text_clear(&s->type);
}

static mr_status end_sentence(source *s)
{
    if (s->tokens == 0) return MR_OK;
    end_entity(s);
    json_t *record =
        json_pack("{s:o, s:o}", "text", text_json(&s->text), "entities", text_json(&s->entities));
    mr_text_clear(&s->text);
    mr_text_clear(&s->entities);
    s->tokens = 0;
    return mr_set_add_record(s->reader, record, s->first);
}

/* A line of a token, further columns, and its tag: O, or a prefix, "-" and the type. Neighbours of
 * one type are one entity. */
static mr_status add_token(source *s)
{
    const char *line = mr_text_get(&s->line);
    const size_t token = strcspn(line, " \t");
    if (strspn(line, " \t") == s->line.length) return end_sentence(s);
    if (strncmp(line, "-DOCSTART-", 10) == 0) return MR_OK;
    size_t end = s->line.length;
    while (end > 0 && strchr(" \t", line[end - 1]))
        end--;
    size_t start = end;
    while (start > 0 && !strchr(" \t", line[start - 1]))
        start--;
    if (token == 0 || start <= token) return fail_at(s, "expected a token and its tag");
    const char *dash = memchr(line + start, '-', end - start);
    const size_t type = dash ? end - (size_t)(dash + 1 - line) : 0;
    if (dash ? type == 0 : end - start != 1 || line[start] != 'O')
        return fail_at(s, "expected a tag O, or as I-PER");
    if (s->tokens++ == 0) s->first = mr_lines_number(s->lines);
    mr_text_add(&s->text, "%s%.*s", s->text.length > 0 ? " " : "", (int)token, line);
    if (!dash || s->type.length != type || memcmp(s->type.data, dash + 1, type) != 0) end_entity(s);
    if (!dash) return MR_OK;
    if (s->type.length == 0) mr_text_add_bytes(&s->type, dash + 1, type);
    mr_text_add(&s->name, "%s%.*s", s->name.length > 0 ? " " : "", (int)token, line);
    return s->text.failed || s->name.failed || s->type.failed ? MR_ERR_MEMORY : MR_OK;
}

/* Calls add for every line, and behind the last one end. */
static mr_status read_lines(mr_set_reader *reader, mr_status (*add)(source *),
                            mr_status (*end)(source *))
{
    mr_lines_place place = {.path = reader->path, .longest = LONGEST};
    source s = {.reader = reader};
    bool ended = false;
    MR_TRY(mr_compressed_probe(reader->path, &place.compressed));
    MR_TRY(mr_lines_open(&place, &s.lines));
    mr_status status = MR_OK;
    while (status == MR_OK && !ended) {
        status = next(&s, &ended);
        if (status == MR_OK && !ended) status = add(&s);
    }
    if (status == MR_OK && end) status = end(&s);
    mr_lines_close(&s.lines);
    mr_text *const texts[] = {&s.line, &s.id, &s.text, &s.entities, &s.name, &s.type};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        mr_text_free(texts[i]);
    return status;
}

mr_status mr_set_read_lines(mr_set_reader *reader)
{
    return read_lines(reader, add_line, NULL);
}

mr_status mr_set_read_abstracts(mr_set_reader *reader)
{
    return read_lines(reader, add_sentence, NULL);
}

mr_status mr_set_read_conll(mr_set_reader *reader)
{
    return read_lines(reader, add_token, end_sentence);
}

/* ConvFinQA. */

/* Adds the table: a line of the names of its columns, then one a row, in the order in which rows
 * appear first. */
static mr_status add_table(const mr_set_record *place, const json_t *table, mr_text *out)
{
    char room[32];
    size_t bytes;
    const char *column, *row;
    const json_t *cells, *cell;
    json_t *rows = json_object();
    if (!rows) return MR_ERR_MEMORY;
    mr_text_add(out, "| |");
    json_object_foreach((json_t *)(uintptr_t)table, column, cells)
    {
        mr_text_add(out, " %s |", column);
        json_object_foreach((json_t *)(uintptr_t)cells, row,
                            cell) if (json_object_set_new(rows, row, json_true()) != 0)
            out->failed = true;
    }
    mr_text_add(out, "\n");
    mr_status status = MR_OK;
    json_object_foreach(rows, row, cell)
    {
        mr_text_add(out, "| %s |", row);
        json_object_foreach((json_t *)(uintptr_t)table, column, cells)
        {
            cell = json_object_get(cells, row);
            const char *text =
                cell && !json_is_null(cell) ? mr_set_text_of(cell, room, &bytes) : "";
            if (!text)
                status = mr_set_fail(place, "expected a number or a text in the table, found %s",
                                     mr_json_kind(cell));
            mr_text_add(out, " %s |", text ? text : "");
        }
        mr_text_add(out, "\n");
    }
    json_decref(rows);
    return status;
}

static mr_status add_document(const mr_set_record *place, const json_t *record, mr_text *out)
{
    static const char *const names[] = {"pre_text", "post_text"};
    const json_t *table = json_object_get(record, "table");
    for (int i = 0; i < 2; i++) {
        const json_t *text = json_object_get(record, names[i]);
        if (!json_is_string(text))
            return mr_set_fail(place, "expected text in field \"%s\", found %s", names[i],
                               mr_json_kind(text));
        mr_text_add_bytes(out, json_string_value(text), json_string_length(text));
        if (i == 1) break;
        if (!json_is_object(table))
            return mr_set_fail(place, "expected a table in field \"table\", found %s",
                               mr_json_kind(table));
        mr_text_add(out, "\n");
        MR_TRY(add_table(place, table, out));
    }
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

/* Adds turn number i, given the document and the turns before it, and appends it to these. */
static mr_status add_turn(mr_set_reader *reader, const mr_set_record *place, const json_t *record,
                          size_t i, const mr_text *document, mr_text *earlier)
{
    char room[32];
    size_t bytes, answer_bytes;
    const json_t *questions = json_object_get(record, "questions");
    const json_t *answers = json_object_get(record, "answers");
    const char *id = json_string_value(json_object_get(record, "id"));
    const char *question = json_string_value(json_array_get(questions, i));
    const char *answer = mr_set_text_of(json_array_get(answers, i), room, &answer_bytes);
    if (!id || !question || !answer)
        return mr_set_fail(place, "expected texts in id, questions and answers");
    bytes = strlen(question);
    mr_text name = {0};
    mr_text_add(&name, "%s:%zu", id, i);
    json_t *json = json_pack("{s:o, s:o, s:o, s:s%, s:s%}", "@id", text_json(&name), "document",
                             text_json(document), "earlier", text_json(earlier), "question",
                             question, bytes, "answer", answer, answer_bytes);
    mr_text_free(&name);
    mr_text_add(earlier, "Question: %s\nAnswer: %s\n", question, answer);
    return mr_set_add_record(reader, json, place->line);
}

mr_status mr_set_add_conversation(mr_set_reader *reader, const json_t *record, int64_t line)
{
    const mr_set_record place = {.file = reader->path, .line = line};
    const size_t turns = json_array_size(json_object_get(record, "questions"));
    mr_text document = {0}, earlier = {0};
    if (turns == 0 || turns != json_array_size(json_object_get(record, "answers")))
        return mr_set_fail(&place, "expected lists of as many questions as answers");
    mr_status status = add_document(&place, record, &document);
    for (size_t i = 0; i < turns && status == MR_OK; i++)
        status = add_turn(reader, &place, record, i, &document, &earlier);
    mr_text_free(&document);
    mr_text_free(&earlier);
    return status;
}
