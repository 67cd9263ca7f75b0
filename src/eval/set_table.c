/* Rows of cells: csv and its like. Source: RFC 4180; a row ends as a line of any system does; a
 * cell in quotes may hold separators, line ends as they are, and quotes twice; a quote amid a cell
 * is one. */

#include "eval/set_impl.h"

#include <string.h>

/* A file being cut into cells. */
typedef struct table {
    mr_set_reader *reader;
    const char *at, *end;
    char separator;
    int64_t line;
    mr_text cell;
} table;

static mr_status fail_at(const table *t, const char *what)
{
    const mr_set_record place = {.file = t->reader->path, .line = t->line};
    return mr_set_fail(&place, "%s", what);
}

/* Reads what stands in quotes up to the closing one. */
static mr_status read_quoted(table *t)
{
    const int64_t opened = t->line;
    for (t->at++; t->at < t->end; t->at++) {
        if (*t->at == '"') {
            t->at++;
            if (t->at == t->end || *t->at != '"') return MR_OK;
        }
        if (*t->at == '\n') t->line++;
        mr_text_add_bytes(&t->cell, t->at, 1);
    }
    t->line = opened;
    return fail_at(t, "a quote that is not closed");
}

/* Reads a cell; last: the row ends behind it. */
static mr_status read_cell(table *t, bool *last)
{
    mr_text_clear(&t->cell);
    if (t->at < t->end && *t->at == '"') MR_TRY(read_quoted(t));
    while (t->at < t->end && *t->at != t->separator && *t->at != '\n' && *t->at != '\r')
        mr_text_add_bytes(&t->cell, t->at++, 1);
    *last = t->at == t->end || *t->at != t->separator;
    if (t->end - t->at > 1 && t->at[0] == '\r' && t->at[1] == '\n') t->at++;
    if (t->at < t->end) t->at++;
    return t->cell.failed ? MR_ERR_MEMORY : MR_OK;
}

/* Reads a row as a list of texts. */
static mr_status read_row(table *t, json_t *cells)
{
    for (bool last = false; !last;) {
        MR_TRY(read_cell(t, &last));
        json_t *text = json_stringn(mr_text_get(&t->cell), t->cell.length);
        if (!text) return fail_at(t, "a cell that is not UTF-8");
        if (json_array_append_new(cells, text) != 0) return MR_ERR_MEMORY;
        if (last) t->line++;
    }
    return MR_OK;
}

static mr_status add_row(table *t, const json_t *columns, json_t *cells, int64_t line)
{
    const size_t count = json_array_size(columns);
    const mr_set_record place = {.file = t->reader->path, .line = line};
    if (json_array_size(cells) != count)
        return mr_set_fail(&place, "expected %zu cells, found %zu", count, json_array_size(cells));
    json_t *record = json_object();
    for (size_t i = 0; i < count; i++)
        if (json_object_set(record, json_string_value(json_array_get(columns, i)),
                            json_array_get(cells, i)) != 0) {
            json_decref(record);
            return MR_ERR_MEMORY;
        }
    return mr_set_add_record(t->reader, record, line);
}

static mr_status take_names(const table *t, json_t *columns, const json_t *cells)
{
    if (json_array_extend(columns, (json_t *)(uintptr_t)cells) != 0) return MR_ERR_MEMORY;
    for (size_t i = 0; i < json_array_size(columns); i++)
        for (size_t k = 0; k < i; k++)
            if (json_equal(json_array_get(columns, i), json_array_get(columns, k))) {
                const mr_set_record place = {.file = t->reader->path, .line = 1};
                return mr_set_fail(&place, "two columns \"%.64s\"",
                                   json_string_value(json_array_get(columns, i)));
            }
    return MR_OK;
}

/* Reads rows; the first one names the columns where `columns` is empty. */
static mr_status read_rows(table *t, json_t *columns)
{
    while (t->at < t->end) {
        const int64_t line = t->line;
        const bool blank = *t->at == '\n' || *t->at == '\r';
        const bool names = json_array_size(columns) == 0;
        json_t *cells = json_array();
        mr_status status = cells ? read_row(t, cells) : MR_ERR_MEMORY;
        if (status == MR_OK && names) status = take_names(t, columns, cells);
        if (status == MR_OK && !names && !(blank && json_array_size(cells) == 1))
            status = add_row(t, columns, cells, line);
        json_decref(cells);
        MR_TRY(status);
    }
    return MR_OK;
}

mr_status mr_set_read_table(mr_set_reader *reader, char separator)
{
    mr_text text = {0};
    json_t *columns = json_array();
    mr_status status = columns ? mr_set_read_all(reader->path, &text) : MR_ERR_MEMORY;
    for (int i = 0; i < reader->set->columns.count && status == MR_OK; i++)
        if (json_array_append_new(columns, json_string(reader->set->columns.item[i])) != 0)
            status = MR_ERR_MEMORY;
    table t = {.reader = reader, .separator = separator, .line = 1};
    t.at = mr_text_get(&text);
    t.end = t.at + text.length;
    if (status == MR_OK) status = read_rows(&t, columns);
    mr_text_free(&t.cell);
    mr_text_free(&text);
    json_decref(columns);
    return status;
}
