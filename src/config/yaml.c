#include "config/yaml.h"

#include <yaml.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A container whose end has not been read yet. */
typedef struct frame {
    int node;
    int scope; /* from which node the paths of its children start */
    bool expects_key;
} frame;

typedef struct builder {
    const char *name;
    mr_yaml_root root;
    mr_yaml *out;
    frame open[MR_YAML_DEPTH];
    int depth;
    char key[MR_YAML_PATH]; /* read, its value not yet */
    yaml_mark_t key_mark;
} builder;

static int line_of(yaml_mark_t mark)
{
    return (int)mark.line + 1;
}

static int column_of(yaml_mark_t mark)
{
    return (int)mark.column + 1;
}

static mr_status fail_at(const builder *build, yaml_mark_t mark, const char *what)
{
    return mr_fail(MR_ERR_CONFIG, "%s:%d:%d: %s", build->name, line_of(mark), column_of(mark),
                   what);
}

static bool in_mapping(const builder *build)
{
    return build->depth > 0 &&
           build->out->nodes[build->open[build->depth - 1].node].kind == MR_YAML_MAPPING;
}

static mr_status take_key(builder *build, const yaml_event_t *event)
{
    static const size_t most = 128;
    if (event->type != YAML_SCALAR_EVENT)
        return fail_at(build, event->start_mark, "a key must be a text, found a list or mapping");
    const char *text = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;
    if (length == 0) return fail_at(build, event->start_mark, "a key must not be empty");
    if (length >= most || strlen(text) != length)
        return fail_at(build, event->start_mark,
                       "a key must be a text of at most 127 bytes without zero bytes");
    memcpy(build->key, text, length + 1);
    build->key_mark = event->start_mark;
    build->open[build->depth - 1].expects_key = false;
    return MR_OK;
}

/* Writes where a new node stands: its path, and the node that path starts from. */
static mr_status place_node(const builder *build, yaml_mark_t mark, char path[MR_YAML_PATH],
                            int *scope)
{
    path[0] = '\0';
    *scope = build->out->count;
    if (build->depth == 0) return MR_OK;
    const frame *parent = &build->open[build->depth - 1];
    *scope = parent->scope;
    if (!in_mapping(build)) return MR_OK;
    const char *above = build->out->nodes[parent->node].path;
    int length = snprintf(path, MR_YAML_PATH, "%s%s%s", above, above[0] ? "." : "", build->key);
    if (length >= MR_YAML_PATH)
        return fail_at(build, mark, "the path of this key is longer than 255 bytes");
    return MR_OK;
}

static mr_status add_node(builder *build, const yaml_event_t *event, mr_yaml_kind kind, int *index)
{
    mr_yaml *out = build->out;
    yaml_mark_t mark = event->start_mark;
    if (out->count == MR_YAML_NODES)
        return fail_at(build, mark, "more than 1000000 values in one document");
    char path[MR_YAML_PATH];
    int scope;
    MR_TRY(place_node(build, mark, path, &scope));
    MR_TRY(mr_grow(MR_MEM_OTHER, &out->nodes, &out->room, out->count + 1, sizeof *out->nodes));
    bool keyed = in_mapping(build);
    yaml_mark_t key_mark = keyed ? build->key_mark : mark;
    const char *text = "";
    if (kind == MR_YAML_SCALAR) {
        text = (const char *)event->data.scalar.value;
        if (strlen(text) != event->data.scalar.length)
            return fail_at(build, mark, "a text must not hold zero bytes");
    }
    *index = out->count;
    mr_yaml_node *node = &out->nodes[out->count++];
    *node = (mr_yaml_node){
        .kind = kind,
        .quoted = kind == MR_YAML_SCALAR && event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE,
        .path = mr_texts_keep(&out->texts, path),
        .text = mr_texts_keep(&out->texts, text),
        .line = line_of(mark),
        .column = column_of(mark),
        .key_line = line_of(key_mark),
        .key_column = column_of(key_mark),
        .scope = scope,
        .end = out->count,
    };
    if (keyed) build->open[build->depth - 1].expects_key = true;
    return node->path && node->text ? MR_OK : MR_ERR_MEMORY;
}

static mr_status open_container(builder *build, const yaml_event_t *event, mr_yaml_kind kind)
{
    if (build->depth == MR_YAML_DEPTH)
        return fail_at(build, event->start_mark, "lists and mappings nested deeper than 16");
    int index = 0;
    MR_TRY(add_node(build, event, kind, &index));
    /* The root, an item of a list, and every list start paths anew for what stands in them. */
    bool anew = kind == MR_YAML_SEQUENCE || build->depth == 0 || !in_mapping(build);
    build->open[build->depth++] = (frame){
        .node = index,
        .scope = anew ? index : build->out->nodes[index].scope,
        .expects_key = kind == MR_YAML_MAPPING,
    };
    return MR_OK;
}

static const char *unsupported(const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return "aliases (*name) are not supported";
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    default:
        break;
    }
    if (anchor) return "anchors (&name) are not supported";
    if (tag) return "tags (!name) are not supported";
    return NULL;
}

static mr_status take_content(builder *build, const yaml_event_t *event)
{
    const char *why = unsupported(event);
    if (why) return fail_at(build, event->start_mark, why);
    if (event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT) {
        build->depth--;
        build->out->nodes[build->open[build->depth].node].end = build->out->count;
        return MR_OK;
    }
    if (build->depth == 0 && build->root == MR_YAML_ROOT_MAPPING &&
        event->type != YAML_MAPPING_START_EVENT)
        return fail_at(build, event->start_mark,
                       event->type == YAML_SCALAR_EVENT
                           ? "expected a mapping of keys, found a single value"
                           : "expected a mapping of keys, found a list");
    if (in_mapping(build) && build->open[build->depth - 1].expects_key)
        return take_key(build, event);
    if (event->type == YAML_SEQUENCE_START_EVENT)
        return open_container(build, event, MR_YAML_SEQUENCE);
    if (event->type == YAML_MAPPING_START_EVENT)
        return open_container(build, event, MR_YAML_MAPPING);
    int index = 0;
    return add_node(build, event, MR_YAML_SCALAR, &index);
}

/* libyaml gives the bytes read before a bad character, not its line. */
static yaml_mark_t mark_of_offset(const char *text, size_t bytes, size_t offset)
{
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < bytes && i < offset; i++) {
        bool newline = text[i] == '\n';
        mark.line += newline;
        mark.column = newline ? 0 : mark.column + 1;
    }
    return mark;
}

static mr_status fail_of_parser(const builder *build, const yaml_parser_t *parser, const char *text,
                                size_t bytes)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return mr_fail(MR_ERR_MEMORY, "%s: not enough memory to read it", build->name);
    const char *problem = parser->problem ? parser->problem : "not YAML";
    if (parser->error == YAML_READER_ERROR) {
        yaml_mark_t mark = mark_of_offset(text, bytes, parser->problem_offset);
        return fail_at(build, mark, problem);
    }
    char what[256];
    if (parser->context)
        snprintf(what, sizeof what, "%s (%s)", problem, parser->context);
    else
        snprintf(what, sizeof what, "%s", problem);
    return fail_at(build, parser->problem_mark, what);
}

static mr_status take_event(builder *build, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (build->out->count == 0) return MR_OK;
        return fail_at(build, event->start_mark, "expected one document, found a second one");
    case YAML_STREAM_END_EVENT:
        if (build->out->count > 0) return MR_OK;
        return fail_at(build, event->start_mark,
                       "expected a mapping of keys, found an empty document");
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        return MR_OK;
    default:
        return take_content(build, event);
    }
}

static mr_status read_events(builder *build, const char *text, size_t bytes)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return mr_fail(MR_ERR_MEMORY, "%s: not enough memory to read it", build->name);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    mr_status status = MR_OK;
    bool ended = false;
    while (status == MR_OK && !ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            status = fail_of_parser(build, &parser, text, bytes);
            break;
        }
        ended = event.type == YAML_STREAM_END_EVENT;
        status = take_event(build, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return status;
}

static int by_path(const void *left, const void *right)
{
    const mr_yaml_node *a = *(const mr_yaml_node *const *)left;
    const mr_yaml_node *b = *(const mr_yaml_node *const *)right;
    if (a->scope != b->scope) return a->scope < b->scope ? -1 : 1;
    int order = strcmp(a->path, b->path);
    if (order != 0) return order;
    return a < b ? -1 : a > b;
}

static mr_status refuse_duplicates(const char *name, const mr_yaml *yaml)
{
    const mr_yaml_node **sorted =
        mr_alloc_array(MR_MEM_OTHER, (size_t)yaml->count, sizeof(const mr_yaml_node *));
    if (!sorted) return MR_ERR_MEMORY;
    for (int i = 0; i < yaml->count; i++)
        sorted[i] = &yaml->nodes[i];
    qsort(sorted, (size_t)yaml->count, sizeof(const mr_yaml_node *), by_path);
    const mr_yaml_node *first = NULL, *again = NULL;
    for (int i = 1; i < yaml->count; i++) {
        const mr_yaml_node *a = sorted[i - 1], *b = sorted[i];
        if (b->path[0] == '\0' || a->scope != b->scope || strcmp(a->path, b->path) != 0) continue;
        if (again && again < b) continue;
        first = a;
        again = b;
    }
    mr_free(sorted);
    if (!again) return MR_OK;
    return mr_fail(MR_ERR_CONFIG, "%s:%d:%d: %s: given twice; first at %s:%d:%d", name,
                   again->key_line, again->key_column, again->path, name, first->key_line,
                   first->key_column);
}

mr_status mr_yaml_parse(const char *name, const char *text, size_t bytes, mr_yaml_root root,
                        mr_yaml *out)
{
    *out = (mr_yaml){0};
    MR_CHECK(bytes <= MR_YAML_BYTES, MR_ERR_CONFIG, "%s: %zu bytes; a configuration has at most %d",
             name, bytes, (int)MR_YAML_BYTES);
    builder build = {.name = name, .root = root, .out = out};
    mr_status status = read_events(&build, text, bytes);
    if (status == MR_OK) status = refuse_duplicates(name, out);
    if (status != MR_OK) mr_yaml_free(out);
    return status;
}

mr_status mr_yaml_parse_value(const char *name, const char *text, mr_yaml *out)
{
    *out = (mr_yaml){0};
    if (text[0] == '[' || text[0] == '"' || text[0] == '\'')
        return mr_yaml_parse(name, text, strlen(text), MR_YAML_ROOT_ANY, out);
    out->nodes = mr_alloc(MR_MEM_OTHER, sizeof *out->nodes);
    if (!out->nodes) return MR_ERR_MEMORY;
    out->room = 1;
    out->count = 1;
    out->nodes[0] = (mr_yaml_node){
        .kind = MR_YAML_SCALAR,
        .quoted = text[0] == '\0',
        .path = "",
        .text = mr_texts_keep(&out->texts, text),
        .line = 1,
        .column = 1,
        .key_line = 1,
        .key_column = 1,
        .end = 1,
    };
    if (out->nodes[0].text) return MR_OK;
    mr_yaml_free(out);
    return MR_ERR_MEMORY;
}

bool mr_yaml_is_null(const mr_yaml_node *node)
{
    if (node->kind != MR_YAML_SCALAR || node->quoted) return false;
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++)
        if (strcmp(node->text, nulls[i]) == 0) return true;
    return false;
}

void mr_yaml_free(mr_yaml *yaml)
{
    mr_texts_free(&yaml->texts);
    mr_free(yaml->nodes);
    *yaml = (mr_yaml){0};
}
