#include "circles.h"

#include "test.h"

#include <ctype.h>

static bool is_word(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

static bool ends_in(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static int find_part(const circles *c, const char *name)
{
    for (int i = 0; i < c->parts; i++)
        if (strcmp(c->part[i], name) == 0) return i;
    return -1;
}

static int part_of(circles *c, const char *name, size_t length)
{
    char copy[CIRCLES_NAME];
    assert_in_range(length, 1, sizeof copy - 1);
    snprintf(copy, sizeof copy, "%.*s", (int)length, name);
    int part = find_part(c, copy);
    if (part >= 0) return part;
    assert_true(c->parts < CIRCLES_PARTS);
    strcpy(c->part[c->parts], copy);
    return c->parts++;
}

/* "config/load" of "config/load.c" and of "config/load.h". */
static int room_of(circles *c, const char *file)
{
    const char *dot = strrchr(file, '.');
    return part_of(c, file, dot ? (size_t)(dot - file) : strlen(file));
}

const char *circles_included(const char *line, size_t length, char opening)
{
    const char *end = line + length;
    while (line < end && isspace((unsigned char)*line))
        line++;
    if (line == end || *line++ != '#') return NULL;
    while (line < end && isspace((unsigned char)*line))
        line++;
    if (end - line < 7 || strncmp(line, "include", 7) != 0) return NULL;
    const char *open = memchr(line, opening, (size_t)(end - line));
    return open ? open + 1 : NULL;
}

void circles_add_includes(circles *c, const char *file, const char *text)
{
    if (!ends_in(file, ".h")) return;
    for (const char *line = text; *line; line += *line == '\n') {
        size_t length = strcspn(line, "\n");
        const char *name = circles_included(line, length, '"');
        if (name)
            c->asks[part_of(c, file, strlen(file))][part_of(c, name, strcspn(name, "\"\n"))] = true;
        line += length;
    }
}

/* The end of the comment, text, character or preprocessor line that starts here; `at` where none
 * does. */
static const char *behind_what_is_no_code(const char *start, const char *at)
{
    if (strncmp(at, "//", 2) == 0) return at + strcspn(at, "\n");
    if (strncmp(at, "/*", 2) == 0) {
        const char *end = strstr(at + 2, "*/");
        return end ? end + 2 : at + strlen(at);
    }
    if (*at == '"' || *at == '\'') {
        const char *end = at + 1;
        while (*end && *end != *at)
            end += *end == '\\' && end[1] ? 2 : 1;
        return *end ? end + 1 : end;
    }
    if (*at == '#' && (at == start || at[-1] == '\n')) {
        while (*at && *at != '\n')
            at += *at == '\\' && at[1] ? 2 : 1;
    }
    return at;
}

/* Calls `take` for each word of a text that a parenthesis follows: with depth 0 outside of braces.
 */
static void each_call(const char *text, circles *c, int room,
                      void (*take)(circles *c, int room, int depth, const char *word,
                                   size_t length))
{
    int depth = 0;
    for (const char *at = text; *at;) {
        const char *behind = behind_what_is_no_code(text, at);
        if (behind > at) {
            at = behind;
            continue;
        }
        depth += (*at == '{') - (*at == '}');
        size_t length = 0;
        while (is_word(at[length]))
            length++;
        if (length > 0 && at[length] == '(') take(c, room, depth, at, length);
        at += length > 0 ? length : 1;
    }
}

static circles_function *find_function(circles *c, const char *name, size_t length)
{
    for (int i = 0; i < c->functions; i++)
        if (strncmp(c->function[i].name, name, length) == 0 && !c->function[i].name[length])
            return &c->function[i];
    return NULL;
}

/* Functions have a prefix that file-local ones have not. */
static bool is_public(const char *word, size_t length)
{
    return length > 3 && length < CIRCLES_NAME && strncmp(word, "mr_", 3) == 0;
}

static void take_definition(circles *c, int room, int depth, const char *word, size_t length)
{
    if (depth > 0 || !is_public(word, length) || find_function(c, word, length)) return;
    assert_true(c->functions < CIRCLES_NAMES);
    circles_function *function = &c->function[c->functions++];
    snprintf(function->name, sizeof function->name, "%.*s", (int)length, word);
    function->part = room;
}

static void take_call(circles *c, int room, int depth, const char *word, size_t length)
{
    const circles_function *function = depth > 0 ? find_function(c, word, length) : NULL;
    if (function && function->part != room) c->asks[room][function->part] = true;
}

void circles_add_functions(circles *c, const char *file, const char *text)
{
    if (!ends_in(file, ".h")) each_call(text, c, room_of(c, file), take_definition);
}

void circles_add_calls(circles *c, const char *file, const char *text)
{
    each_call(text, c, room_of(c, file), take_call);
}

int circles_close(circles *c)
{
    memcpy(c->reaches, c->asks, sizeof c->reaches);
    for (int via = 0; via < c->parts; via++)
        for (int a = 0; a < c->parts; a++)
            for (int b = 0; c->reaches[a][via] && b < c->parts; b++)
                c->reaches[a][b] = c->reaches[a][b] || c->reaches[via][b];
    int inside = 0;
    for (int a = 0; a < c->parts; a++)
        inside += c->reaches[a][a];
    return inside;
}
