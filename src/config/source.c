#include "config/source.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

enum { SHOWN_SET = 200 }; /* bytes of a --set argument shown before a message */

mr_status mr_source_choose(int table, const char *name, mr_config *config)
{
    const mr_registry *registry = config->registry;
    const mr_choice *rows = registry->table[table].rows;
    const mr_key *key = mr_schema_key(&mr_schema_core, registry->table[table].key);
    MR_TRY(mr_value_check_name(key, rows, name));
    MR_TRY(mr_value_set_text(key, key->key, name, config));
    mr_block *block = mr_registry_block(registry, table, config);
    if (!block) return MR_OK;
    memset(&block->keys, 0, sizeof block->keys);
    const mr_schema *schema = rows[mr_registry_row(registry, table, name)].schema;
    for (int i = 0; schema && i < schema->count; i++) {
        const mr_key *own = &schema->key[i];
        if (mr_value_set_text(own, "default", own->fallback, &block->keys) != MR_OK)
            mr_abort("%s", mr_message());
    }
    return MR_OK;
}

void mr_config_defaults(const mr_registry *registry, mr_config *out)
{
    memset(out, 0, sizeof *out);
    out->registry = registry ? registry : mr_registry_core();
    for (int i = 0; i < mr_schema_core.count; i++) {
        const mr_key *key = &mr_schema_core.key[i];
        if (mr_value_set_text(key, "default", key->fallback, out) != MR_OK)
            mr_abort("%s", mr_message());
    }
    /* A default that is no choice is found by mr_source_check_names. */
    for (int t = 0; t < out->registry->tables; t++) {
        const mr_key *key = mr_schema_key(&mr_schema_core, out->registry->table[t].key);
        if (mr_registry_row(out->registry, t, key->fallback) >= 0 &&
            mr_source_choose(t, key->fallback, out) != MR_OK)
            mr_abort("%s", mr_message());
    }
}

mr_status mr_source_create(const char *file, const mr_registry *registry, mr_source *out)
{
    *out = (mr_source){.file = file, .version = MR_CONFIG_VERSION};
    mr_config_defaults(registry, &out->config);
    out->registry = out->config.registry;
    out->origins =
        mr_alloc_array(MR_MEM_OTHER, (size_t)out->registry->count + 1, sizeof *out->origins);
    return out->origins ? MR_OK : MR_ERR_MEMORY;
}

mr_status mr_source_fail_at(const mr_source *source, const mr_yaml_node *node, mr_status code)
{
    return mr_fail_in(code, "%s:%d:%d", source->file, node->line, node->column);
}

static mr_status fail_at_key(const mr_source *source, const mr_yaml_node *node, mr_status code)
{
    return mr_fail_in(code, "%s:%d:%d", source->file, node->key_line, node->key_column);
}

static mr_status fail_at_fault(const mr_source *source, const mr_yaml *yaml, mr_value_fault fault,
                               mr_status code)
{
    const mr_yaml_node *node = &yaml->nodes[fault.node];
    return fault.at_key ? fail_at_key(source, node, code) : mr_source_fail_at(source, node, code);
}

mr_status mr_source_fail_of(const mr_source *source, int key, mr_status code)
{
    const mr_origin *origin = &source->origins[key];
    if (origin->set) return mr_fail_in(code, "--set %.*s", SHOWN_SET, origin->set);
    if (origin->node == 0) return mr_fail_in(code, "%s", source->file);
    return mr_source_fail_at(source, &source->yaml->nodes[origin->node], code);
}

/* Checks a text that names a choice. */
static mr_status check_name(const mr_registry *registry, int key, const mr_config *config)
{
    int table = mr_registry_table_of(registry, key);
    if (table < 0) return MR_OK;
    const mr_key *about = registry->at[key].key;
    return mr_value_check_name(about, registry->table[table].rows,
                               (const char *)config + about->offset);
}

mr_status mr_source_set(const mr_source *source, const mr_yaml *yaml, int node, int key,
                        mr_config *config)
{
    size_t base;
    const mr_key *about = mr_registry_bind(config, key, &base);
    if (!about) return MR_OK;
    mr_value_fault fault;
    mr_status status = mr_value_set(about, yaml, node, (char *)config + base, &fault);
    if (status == MR_OK) status = check_name(source->registry, key, config);
    if (status == MR_OK) return MR_OK;
    return fail_at_fault(source, yaml, fault, status);
}

/* Where a key's field stands while no choice is made: any block has room for it. */
static void *loose_base(const mr_registry *registry, int key, mr_config *scratch)
{
    return registry->at[key].table < 0 ? (void *)scratch : (void *)&scratch->method.keys;
}

static mr_status add_texts(const mr_key *key, const void *base, mr_source_texts *out)
{
    if (!out) return MR_OK;
    mr_value_text(key, base, MR_VALUE_YAML, &out->yaml);
    mr_value_text(key, base, MR_VALUE_NAME, &out->plain);
    return out->yaml.failed || out->plain.failed ? MR_ERR_MEMORY : MR_OK;
}

mr_status mr_source_check(const mr_source *source, const mr_yaml *yaml, int node, int key,
                          mr_source_texts *out)
{
    mr_config scratch;
    void *base = loose_base(source->registry, key, &scratch);
    const mr_key *about = source->registry->at[key].key;
    mr_value_fault fault;
    mr_status status = mr_value_set(about, yaml, node, base, &fault);
    if (status == MR_OK) status = check_name(source->registry, key, &scratch);
    if (status != MR_OK) return fail_at_fault(source, yaml, fault, status);
    return add_texts(about, base, out);
}

static const char *value_of(const char *set)
{
    return strchr(set, '=') + 1;
}

mr_status mr_source_value(const mr_source *source, int key, bool set, mr_source_texts *out)
{
    const mr_origin *origin = &source->origins[key];
    mr_config scratch;
    void *base = loose_base(source->registry, key, &scratch);
    const mr_key *about = source->registry->at[key].key;
    set = set && origin->set;
    if (!set && origin->node > 0)
        return mr_source_check(source, source->yaml, origin->node, key, out);
    MR_TRY(
        mr_value_set_text(about, "default", set ? value_of(origin->set) : about->fallback, base));
    return add_texts(about, base, out);
}

mr_status mr_source_check_names(const mr_source *source, const mr_config *config)
{
    for (int i = 0; i < source->registry->count; i++) {
        mr_status status = check_name(source->registry, i, config);
        if (status != MR_OK) return mr_source_fail_of(source, i, status);
    }
    return MR_OK;
}

mr_status mr_source_each(const mr_source *source, const mr_yaml *yaml, int mapping, size_t prefix,
                         mr_source_extras *extras, mr_source_take take, void *context)
{
    int at = mapping + 1;
    while (at < yaml->nodes[mapping].end) {
        const mr_yaml_node *node = &yaml->nodes[at];
        const char *path = node->path + prefix;
        int key = mr_registry_find(source->registry, path);
        if (key >= 0) {
            MR_TRY(take(context, key, at));
            at = node->end;
        } else if (extras && strcmp(path, "matrix") == 0) {
            extras->matrix = at;
            at = node->end;
        } else if (extras && strcmp(path, "version") == 0) {
            extras->version = at;
            at = node->end;
        } else if (!mr_schema_is_section(path)) {
            return fail_at_key(source, node,
                               mr_registry_fail_unknown(source->registry, path, MR_ERR_CONFIG));
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

static mr_status take_key(void *context, int key, int node)
{
    mr_source *source = context;
    source->origins[key].node = node;
    if (source->registry->at[key].table >= 0)
        return mr_source_check(source, source->yaml, node, key, NULL);
    return mr_source_set(source, source->yaml, node, key, &source->config);
}

static mr_status read_version(mr_source *source, int node)
{
    static const mr_key version = {.key = "version",
                                   .type = MR_KEY_INT,
                                   .bytes = sizeof(int64_t),
                                   .min = 1,
                                   .max = MR_CONFIG_VERSION};
    int64_t found = 0;
    mr_value_fault fault;
    mr_status status = mr_value_set(&version, source->yaml, node, &found, &fault);
    if (status != MR_OK) return fail_at_fault(source, source->yaml, fault, status);
    source->version = (int)found;
    return MR_OK;
}

mr_status mr_source_read(mr_source *source, const mr_yaml *yaml, int version, int *matrix)
{
    mr_source_extras extras = {0};
    source->yaml = yaml;
    source->version = version;
    MR_TRY(mr_source_each(source, yaml, 0, 0, &extras, take_key, source));
    if (extras.version > 0) MR_TRY(read_version(source, extras.version));
    mr_registry_chosen(&source->config, source->written);
    if (matrix) {
        *matrix = extras.matrix;
        return MR_OK;
    }
    if (extras.matrix == 0) return MR_OK;
    return fail_at_key(source, &yaml->nodes[extras.matrix],
                       mr_registry_fail_unknown(source->registry, "matrix", MR_ERR_CONFIG));
}

/* Finds the key of "key=value"; label gets what stands before messages. */
static mr_status find_key(const mr_registry *registry, const char *set, int *key,
                          char label[SHOWN_SET + 8])
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
    *key = mr_registry_find(registry, path);
    MR_CHECK(
        strcmp(path, "matrix") != 0, MR_ERR_CONFIG,
        "%s: a matrix stands in the file; set one of its keys, and that one value is left of it",
        label);
    if (*key >= 0) return MR_OK;
    return mr_fail_in(mr_registry_fail_unknown(registry, path, MR_ERR_CONFIG), "%s", label);
}

mr_status mr_config_set(mr_config *config, const char *assignment)
{
    char label[SHOWN_SET + 8];
    int key;
    size_t base;
    const mr_registry *registry = config->registry;
    MR_TRY(find_key(registry, assignment, &key, label));
    int table = mr_registry_table_of(registry, key);
    if (table >= 0) {
        mr_status status = mr_source_choose(table, value_of(assignment), config);
        return status == MR_OK ? MR_OK : mr_fail_in(status, "%s", label);
    }
    const mr_key *about = mr_registry_bind(config, key, &base);
    if (about) return mr_value_set_text(about, label, value_of(assignment), (char *)config + base);
    table = registry->at[key].table;
    int row = mr_registry_row(registry, table, mr_registry_block(registry, table, config)->name);
    return mr_fail_in(mr_registry_fail_choice(registry, key, row < 0 ? 0 : UINT64_C(1) << row),
                      "%s", label);
}

mr_status mr_source_override(mr_source *source, const char *set)
{
    char label[SHOWN_SET + 8];
    int key = -1;
    mr_config scratch;
    MR_TRY(find_key(source->registry, set, &key, label));
    bool core = source->registry->at[key].table < 0;
    void *base = core ? (void *)&source->config : loose_base(source->registry, key, &scratch);
    MR_TRY(mr_value_set_text(source->registry->at[key].key, label, value_of(set), base));
    mr_status status = check_name(source->registry, key, &source->config);
    if (status != MR_OK) return mr_fail_in(status, "%s", label);
    source->origins[key].set = set;
    return MR_OK;
}

mr_status mr_source_fill(const mr_source *source, mr_config *config)
{
    const mr_registry *registry = source->registry;
    for (int t = 0; t < registry->tables; t++) {
        const mr_block *block = mr_registry_block(registry, t, config);
        char name[MR_CONFIG_NAME];
        /* A name that is none yet may come with the matrix, or else is told of by its check. */
        if (!block || mr_registry_row(registry, t, block->name) < 0) continue;
        memcpy(name, block->name, sizeof name);
        MR_TRY(mr_source_choose(t, name, config));
    }
    for (int key = 0; key < registry->count; key++) {
        const mr_origin *origin = &source->origins[key];
        size_t base;
        if (registry->at[key].table < 0) continue;
        const mr_key *about = mr_registry_bind(config, key, &base);
        if (!about) continue;
        if (origin->set)
            MR_TRY(mr_value_set_text(about, "--set", value_of(origin->set), (char *)config + base));
        else if (origin->node > 0)
            MR_TRY(mr_source_set(source, source->yaml, origin->node, key, config));
    }
    return MR_OK;
}

/* Tells what keys of the file --set of a name left without effect. */
static void tell_dropped(const mr_source *source, const uint64_t *made)
{
    mr_text keys = {0};
    for (int key = 0; key < source->registry->count; key++) {
        const mr_registry_key *about = &source->registry->at[key];
        if (about->table < 0 || source->origins[key].node == 0) continue;
        if (about->rows & made[about->table]) continue;
        mr_text_add(&keys, "%s%s", keys.length > 0 ? ", " : "", about->key->key);
    }
    if (keys.length > 0)
        mr_log("%s: without effect, as --set chooses what has no such key: %s", source->file,
               mr_text_get(&keys));
    mr_text_free(&keys);
}

mr_status mr_source_check_choices(const mr_source *source, const uint64_t *in_file,
                                  const uint64_t *made)
{
    const mr_registry *registry = source->registry;
    if (source->version < MR_CONFIG_VERSION) return MR_OK;
    for (int key = 0; key < registry->count; key++) {
        const mr_registry_key *about = &registry->at[key];
        const mr_origin *origin = &source->origins[key];
        if (about->table < 0) continue;
        if (origin->node > 0 && !(about->rows & in_file[about->table]))
            return fail_at_key(source, &source->yaml->nodes[origin->node],
                               mr_registry_fail_choice(registry, key, in_file[about->table]));
        if (origin->set && !(about->rows & made[about->table]))
            return mr_source_fail_of(source, key,
                                     mr_registry_fail_choice(registry, key, made[about->table]));
    }
    tell_dropped(source, made);
    return MR_OK;
}

void mr_source_free(mr_source *source)
{
    mr_free(source->origins);
    *source = (mr_source){0};
}
