#include "config/source.h"

#include <stdio.h>
#include <string.h>

enum { SHOWN_SET = 200 }; /* bytes of a --set argument shown before a message */

void mr_config_defaults(mr_config *out)
{
    memset(out, 0, sizeof *out);
    for (int i = 0; i < mr_schema_count(); i++) {
        const mr_key *key = mr_schema_at(i);
        mr_status status = mr_value_set_text(key, "default", key->fallback, out);
        if (status != MR_OK) mr_abort("%s", mr_message());
    }
}

mr_status mr_source_create(const char *file, const mr_config_choices *choices, int choices_count,
                           mr_source *out)
{
    *out = (mr_source){.file = file, .choices = choices, .choices_count = choices_count};
    mr_config_defaults(&out->written);
    out->config = out->written;
    out->origins = mr_alloc_array(MR_MEM_OTHER, (size_t)mr_schema_count(), sizeof *out->origins);
    return out->origins ? MR_OK : MR_ERR_MEMORY;
}

mr_status mr_source_fail_at(const mr_source *source, const mr_yaml_node *node, mr_status code)
{
    return mr_fail_in(code, "%s:%d:%d", source->file, node->line, node->column);
}

mr_status mr_source_fail_of(const mr_source *source, int key, mr_status code)
{
    const mr_origin *origin = &source->origins[key];
    if (origin->set) return mr_fail_in(code, "--set %.*s", SHOWN_SET, origin->set);
    if (origin->line == 0) return mr_fail_in(code, "%s", source->file);
    return mr_fail_in(code, "%s:%d:%d", source->file, origin->line, origin->column);
}

static mr_status check_names(const mr_source *source, const mr_key *key, const mr_config *config)
{
    for (int i = 0; i < source->choices_count; i++)
        if (strcmp(source->choices[i].key, key->key) == 0)
            MR_TRY(mr_value_check_name(key, source->choices[i].names, config));
    return MR_OK;
}

mr_status mr_source_set(const mr_source *source, const mr_yaml *yaml, int node, int key,
                        mr_config *config)
{
    const mr_key *about = mr_schema_at(key);
    int fault = node;
    mr_status status = mr_value_set(about, yaml, node, config, &fault);
    if (status == MR_OK) status = check_names(source, about, config);
    if (status == MR_OK) return MR_OK;
    return mr_source_fail_at(source, &yaml->nodes[fault], status);
}

mr_status mr_source_check_names(const mr_source *source)
{
    for (int i = 0; i < mr_schema_count(); i++) {
        mr_status status = check_names(source, mr_schema_at(i), &source->config);
        if (status != MR_OK) return mr_source_fail_of(source, i, status);
    }
    return MR_OK;
}

/* Records `unknown key "metod.r"; did you mean "method.r"?`; the place is put before it after. */
static mr_status fail_unknown(const char *path)
{
    mr_text hint = {0};
    mr_schema_suggest(path, &hint);
    mr_status status = mr_fail(MR_ERR_CONFIG, "unknown key \"%.100s\"%s", path, mr_text_get(&hint));
    mr_text_free(&hint);
    return status;
}

mr_status mr_source_each(const mr_source *source, const mr_yaml *yaml, int mapping, size_t prefix,
                         int *matrix, mr_source_take take, void *context)
{
    int at = mapping + 1;
    while (at < yaml->nodes[mapping].end) {
        const mr_yaml_node *node = &yaml->nodes[at];
        const char *path = node->path + prefix;
        int key = mr_schema_find(path);
        if (key >= 0) {
            MR_TRY(take(context, key, at));
            at = node->end;
        } else if (matrix && strcmp(path, "matrix") == 0) {
            *matrix = at;
            at = node->end;
        } else if (!mr_schema_is_section(path)) {
            return mr_fail_in(fail_unknown(path), "%s:%d:%d", source->file, node->key_line,
                              node->key_column);
        } else if (node->kind == MR_YAML_MAPPING) {
            at++;
        } else if (mr_yaml_is_null(node)) {
            at = node->end;
        } else {
            mr_status status = mr_fail(MR_ERR_CONFIG, "%s: expected a mapping of keys, found a %s",
                                       path, node->kind == MR_YAML_SCALAR ? "value" : "list");
            return mr_source_fail_at(source, node, status);
        }
    }
    return MR_OK;
}

typedef struct reading {
    mr_source *source;
    const mr_yaml *yaml;
} reading;

static mr_status take_key(void *context, int key, int node)
{
    reading *read = context;
    mr_source *source = read->source;
    MR_TRY(mr_source_set(source, read->yaml, node, key, &source->written));
    const mr_yaml_node *value = &read->yaml->nodes[node];
    source->origins[key] = (mr_origin){.line = value->line, .column = value->column};
    return MR_OK;
}

mr_status mr_source_read(mr_source *source, const mr_yaml *yaml, int *matrix)
{
    reading read = {.source = source, .yaml = yaml};
    MR_TRY(mr_source_each(source, yaml, 0, 0, matrix, take_key, &read));
    source->config = source->written;
    return MR_OK;
}

/* Takes "key=value" into config; key gets the key's number, label what stands before messages. */
static mr_status assign(const char *set, mr_config *config, int *key, char label[SHOWN_SET + 8])
{
    snprintf(label, SHOWN_SET + 8, "--set %.*s", SHOWN_SET, set);
    const char *equals = strchr(set, '=');
    MR_CHECK(set[0] != '\0', MR_ERR_USAGE, "--set: expected key=value, found an empty text");
    MR_CHECK(equals, MR_ERR_USAGE, "%s: expected key=value", label);
    MR_CHECK(equals > set, MR_ERR_USAGE, "%s: expected key=value, found no key", label);
    char path[MR_YAML_PATH];
    size_t length = (size_t)(equals - set);
    MR_CHECK(length < sizeof path, MR_ERR_USAGE, "%s: the key is longer than %zu bytes", label,
             sizeof path - 1);
    memcpy(path, set, length);
    path[length] = '\0';
    *key = mr_schema_find(path);
    MR_CHECK(
        strcmp(path, "matrix") != 0, MR_ERR_CONFIG,
        "%s: a matrix stands in the file; set one of its keys, and that one value is left of it",
        label);
    if (*key < 0) return mr_fail_in(fail_unknown(path), "%s", label);
    return mr_value_set_text(mr_schema_at(*key), label, equals + 1, config);
}

mr_status mr_config_set(mr_config *config, const char *assignment)
{
    char label[SHOWN_SET + 8];
    int key;
    return assign(assignment, config, &key, label);
}

mr_status mr_source_override(mr_source *source, const char *set)
{
    char label[SHOWN_SET + 8];
    int key = -1;
    MR_TRY(assign(set, &source->config, &key, label));
    mr_status status = check_names(source, mr_schema_at(key), &source->config);
    if (status != MR_OK) return mr_fail_in(status, "%s", label);
    source->origins[key].set = set;
    return MR_OK;
}

void mr_source_free(mr_source *source)
{
    mr_free(source->origins);
    *source = (mr_source){0};
}
