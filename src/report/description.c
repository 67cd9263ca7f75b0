#include "report/description.h"

#include "report/layout.h"

#include <stdio.h>
#include <string.h>

enum { STEP_IN = 2, KEY_WIDTH = 40 };

static void add_value(const json_t *value, mr_text *out)
{
    char number[MR_LAYOUT_NUMBER];
    switch (json_typeof(value)) {
    case JSON_STRING:
        mr_text_add_line(out, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        mr_text_add(out, "%s", mr_layout_integer(json_integer_value(value), number));
        break;
    case JSON_REAL:
        mr_text_add(out, "%.6g", json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        mr_text_add(out, "%s", json_is_true(value) ? "yes" : "no");
        break;
    case JSON_NULL:
        mr_text_add(out, "-");
        break;
    case JSON_ARRAY:
        mr_text_add(out, "[");
        for (size_t i = 0; i < json_array_size(value); i++) {
            mr_text_add(out, "%s", i > 0 ? ", " : "");
            add_value(json_array_get(value, i), out);
        }
        mr_text_add(out, "]");
        break;
    case JSON_OBJECT:
        mr_text_add(out, "{...}");
        break;
    }
}

/* A column of numbers, also where some are missing. */
static bool is_column_of_numbers(const json_t *rows, const char *key)
{
    bool any = false;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *cell = json_object_get(json_array_get(rows, i), key);
        if (cell && !json_is_number(cell) && !json_is_null(cell)) return false;
        any = any || json_is_number(cell);
    }
    return any;
}

/* A list of objects with the same keys; what a table has no columns for is only counted. */
static void add_table(const json_t *rows, int indent, mr_text *out)
{
    mr_grid grid = {0};
    const char *keys[MR_LAYOUT_COLUMNS], *key;
    json_t *first = json_array_get(rows, 0), *value;
    size_t left_out = 0;
    json_object_foreach(first, key, value)
    {
        if (grid.columns < MR_LAYOUT_COLUMNS) {
            keys[grid.columns] = key;
            mr_grid_column(&grid, grid.columns > 0 ? "  " : "", NULL,
                           is_column_of_numbers(rows, key));
        } else {
            left_out++;
        }
    }
    for (int c = 0; c < grid.columns; c++)
        mr_grid_cell(&grid, "%s", keys[c]);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        for (int c = 0; c < grid.columns; c++) {
            const json_t *cell = json_object_get(json_array_get(rows, i), keys[c]);
            mr_text text = {0};
            if (cell) add_value(cell, &text);
            mr_grid_cell(&grid, "%s", mr_text_get(&text));
            if (text.failed) out->failed = true;
            mr_text_free(&text);
        }
    }
    mr_grid_print(&grid, indent, out);
    mr_grid_free(&grid);
    if (left_out > 0) mr_text_add(out, "%*sand %zu more columns\n", indent, "", left_out);
}

static void add_lines(const char *text, int indent, mr_text *out)
{
    while (*text) {
        int length = (int)strcspn(text, "\n");
        mr_text_add(out, "%*s%.*s\n", indent, "", length, text);
        text += length + (text[length] == '\n');
    }
}

static bool is_block(const json_t *value)
{
    if (json_is_string(value)) return strchr(json_string_value(value), '\n') != NULL;
    if (json_is_array(value) && json_array_size(value) > 0)
        return !json_is_number(json_array_get(value, 0));
    return json_is_object(value) && json_object_size(value) > 0;
}

static void add_object(const json_t *object, int indent, mr_text *out);

static void add_block(const json_t *value, int indent, mr_text *out)
{
    if (json_is_string(value)) {
        add_lines(json_string_value(value), indent, out);
    } else if (json_is_object(value)) {
        add_object(value, indent, out);
    } else if (json_is_object(json_array_get(value, 0))) {
        add_table(value, indent, out);
    } else {
        for (size_t i = 0; i < json_array_size(value); i++) {
            mr_text_add(out, "%*s", indent, "");
            add_value(json_array_get(value, i), out);
            mr_text_add(out, "\n");
        }
    }
}

static bool is_empty(const json_t *value)
{
    return (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static void add_object(const json_t *object, int indent, mr_text *out)
{
    int width = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (!is_block(value) && (int)strlen(key) > width) width = (int)strlen(key);
    }
    if (width > KEY_WIDTH) width = KEY_WIDTH;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (is_empty(value)) {
            mr_text_add(out, "%*s%-*s  none\n", indent, "", width, key);
        } else if (is_block(value)) {
            mr_text_add(out, "%*s%s:\n", indent, "", key);
            add_block(value, indent + STEP_IN, out);
        } else {
            mr_text_add(out, "%*s%-*s  ", indent, "", width, key);
            add_value(value, out);
            mr_text_add(out, "\n");
        }
    }
}

void mr_description_text(const json_t *description, mr_text *out)
{
    add_object(description, 0, out);
}

void mr_description_put(json_t *object, const char *key, json_t *value)
{
    json_object_set_new(object, key, value ? value : json_null());
}
