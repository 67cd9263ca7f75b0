#include "config/registry.h"

#include <limits.h>
#include <string.h>

/* Of the tables whose choices may have keys: where in a configuration these stand. */
static const struct {
    const char *key;
    size_t offset;
} blocks[] = {
    {"method.name", offsetof(mr_config, method)},
    {"task.name", offsetof(mr_config, task)},
};

static bool block_offset(const char *key, size_t *offset)
{
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (strcmp(blocks[i].key, key) == 0) {
            *offset = blocks[i].offset;
            return true;
        }
    return false;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool declared_alike(const mr_key *a, const mr_key *b)
{
    return a->type == b->type && a->bytes == b->bytes && a->min == b->min && a->max == b->max &&
           a->low == b->low && a->high == b->high && a->low_open == b->low_open &&
           a->high_open == b->high_open && a->choices == b->choices &&
           same_text(a->fallback, b->fallback) && same_text(a->unit, b->unit) &&
           same_text(a->help, b->help);
}

/* The key with the kinds of its items, where it is a list of them and there is a table. */
static const mr_key *with_kinds(const mr_key *key, mr_registry *out)
{
    if (key->type != MR_KEY_ITEMS) return key;
    for (int t = 0; t < out->tables; t++) {
        if (strcmp(out->table[t].key, key->key) != 0) continue;
        for (const mr_choice *kind = out->table[t].rows; kind->name; kind++)
            MR_INVARIANT(!kind->schema || kind->schema->bytes <= MR_CONFIG_ITEM);
        out->list[t] = *key;
        out->list[t].kinds = out->table[t].rows;
        return &out->list[t];
    }
    return key;
}

static void add_key(const mr_key *key, int table, int row, mr_registry *out)
{
    int at = mr_registry_find(out, key->key);
    if (at < 0) {
        MR_INVARIANT(out->count < MR_REGISTRY_KEYS);
        at = out->count++;
        out->at[at] = (mr_registry_key){.key = key, .table = table};
    }
    mr_registry_key *one = &out->at[at];
    if (one->table != table || !declared_alike(one->key, key))
        mr_abort("key %s is declared in two ways", key->key);
    if (table >= 0) one->rows |= UINT64_C(1) << row;
}

static bool is_left_out(const mr_registry *registry, const char *key)
{
    return registry->without && mr_schema_is_listed(registry->without, key);
}

static void add_choices(int table, mr_registry *out)
{
    const mr_choice *rows = out->table[table].rows;
    const char *section = out->table[table].key;
    size_t length = strcspn(section, ".") + 1, offset;
    for (int row = 0; rows[row].name; row++) {
        const mr_schema *schema = rows[row].schema;
        MR_INVARIANT(row < MR_CHOICES);
        if (!schema) continue;
        MR_INVARIANT(block_offset(section, &offset) && schema->bytes <= MR_CONFIG_BLOCK);
        for (int i = 0; i < schema->count; i++) {
            MR_INVARIANT(strncmp(schema->key[i].key, section, length) == 0);
            if (is_left_out(out, schema->key[i].key)) continue;
            add_key(&schema->key[i], table, row, out);
        }
    }
}

void mr_registry_build(const mr_choice_table *tables, int count, mr_registry *out)
{
    mr_registry_build_without(tables, count, NULL, out);
}

void mr_registry_build_without(const mr_choice_table *tables, int count, const char *const *without,
                               mr_registry *out)
{
    MR_INVARIANT(count <= MR_REGISTRY_TABLES);
    *out = (mr_registry){.table = tables, .tables = count, .without = without};
    for (int i = 0; i < mr_schema_core.count; i++) {
        if (is_left_out(out, mr_schema_core.key[i].key)) continue;
        add_key(with_kinds(&mr_schema_core.key[i], out), -1, 0, out);
        int table = mr_registry_table_of(out, out->count - 1);
        if (table >= 0) add_choices(table, out);
    }
}

const mr_registry *mr_registry_core(void)
{
    static mr_registry core;
    if (core.count == 0) mr_registry_build(NULL, 0, &core);
    return &core;
}

int mr_registry_find(const mr_registry *registry, const char *key)
{
    for (int i = 0; i < registry->count; i++)
        if (strcmp(registry->at[i].key->key, key) == 0) return i;
    return -1;
}

int mr_registry_table_of(const mr_registry *registry, int key)
{
    const mr_key *about = registry->at[key].key;
    for (int t = 0; t < registry->tables && about->type == MR_KEY_STRING; t++)
        if (strcmp(registry->table[t].key, about->key) == 0) return t;
    return -1;
}

int mr_registry_row(const mr_registry *registry, int table, const char *name)
{
    const mr_choice *rows = registry->table[table].rows;
    for (int i = 0; rows[i].name; i++)
        if (strcmp(rows[i].name, name) == 0) return i;
    return -1;
}

mr_block *mr_registry_block(const mr_registry *registry, int table, mr_config *config)
{
    size_t offset;
    if (!block_offset(registry->table[table].key, &offset)) return NULL;
    return (mr_block *)(void *)((char *)config + offset);
}

const mr_key *mr_registry_bind(const mr_config *config, int key, size_t *base)
{
    const mr_registry *registry = config->registry;
    const mr_registry_key *about = &registry->at[key];
    *base = 0;
    if (about->table < 0) return about->key;
    if (!block_offset(registry->table[about->table].key, base)) return NULL;
    const mr_block *block = (const void *)((const char *)config + *base);
    int row = mr_registry_row(registry, about->table, block->name);
    if (row < 0 || !(about->rows >> row & 1)) return NULL;
    *base += offsetof(mr_block, keys);
    return mr_schema_key(registry->table[about->table].rows[row].schema, about->key->key);
}

bool mr_config_has(const mr_config *config, const char *key)
{
    return mr_config_field(config, key) != NULL;
}

const void *mr_config_field(const mr_config *config, const char *key)
{
    size_t base;
    int index = mr_registry_find(config->registry, key);
    const mr_key *about = index < 0 ? NULL : mr_registry_bind(config, index, &base);
    return about ? (const char *)config + base + about->offset : NULL;
}

void mr_registry_chosen(const mr_config *config, uint64_t chosen[MR_REGISTRY_TABLES])
{
    const mr_registry *registry = config->registry;
    for (int t = 0; t < registry->tables; t++) {
        size_t offset;
        chosen[t] = 0;
        if (!block_offset(registry->table[t].key, &offset)) continue;
        const mr_block *block = (const void *)((const char *)config + offset);
        int row = mr_registry_row(registry, t, block->name);
        if (row >= 0) chosen[t] = UINT64_C(1) << row;
    }
}

void mr_registry_list(const mr_registry *registry, int table, uint64_t rows, const char *last,
                      mr_text *out)
{
    const char *separator = "";
    for (int row = 0; rows != 0; row++, rows >>= 1) {
        if (!(rows & 1)) continue;
        if (*separator && rows == 1) separator = last;
        mr_text_add(out, "%s%s", separator, registry->table[table].rows[row].name);
        separator = ", ";
    }
}

mr_status mr_registry_fail_choice(const mr_registry *registry, int key, uint64_t chosen)
{
    const mr_registry_key *about = &registry->at[key];
    const char *section = registry->table[about->table].key;
    mr_text without = {0}, with = {0};
    mr_registry_list(registry, about->table, chosen, " or ", &without);
    mr_registry_list(registry, about->table, about->rows, " and ", &with);
    bool one = (about->rows & (about->rows - 1)) == 0;
    mr_status status = mr_fail(MR_ERR_CONFIG, "%s: not a key of %.*s %s; %s %s it", about->key->key,
                               (int)strcspn(section, "."), section, mr_text_get(&without),
                               mr_text_get(&with), one ? "has" : "have");
    mr_text_free(&without);
    mr_text_free(&with);
    return status;
}

static bool key_is_in(const char *key, const char *section, size_t length)
{
    return strncmp(key, section, length) == 0 && key[length] == '.';
}

static bool starts_section(const mr_registry *registry, int index)
{
    if (index == 0) return true;
    const char *key = registry->at[index].key->key;
    return !key_is_in(registry->at[index - 1].key->key, key, strcspn(key, "."));
}

static const char *last_part(const char *key)
{
    const char *dot = strrchr(key, '.');
    return dot ? dot + 1 : key;
}

/* The known name nearest to an unknown one so far; name is not zero-terminated. */
typedef struct nearest {
    const char *name;
    size_t length;
    int distance;
} nearest;

static void consider(nearest *best, const char *unknown, const char *name, size_t length)
{
    char known[64];
    MR_INVARIANT(length < sizeof known);
    memcpy(known, name, length);
    known[length] = '\0';
    int distance = mr_text_distance(unknown, known);
    /* A known key in a wrong section, or without one, is as near as one letter. */
    if (distance > 1 && strcmp(last_part(unknown), last_part(known)) == 0) distance = 1;
    if (distance < best->distance) *best = (nearest){name, length, distance};
}

static bool suggest_nearest(const mr_registry *registry, const char *unknown, mr_text *out)
{
    static const char matrix[] = "matrix";
    nearest best = {.distance = INT_MAX};
    consider(&best, unknown, matrix, strlen(matrix));
    for (int i = 0; i < registry->count; i++) {
        const char *key = registry->at[i].key->key;
        consider(&best, unknown, key, strlen(key));
        if (starts_section(registry, i)) consider(&best, unknown, key, strcspn(key, "."));
    }
    int third = (int)strlen(unknown) / 3;
    if (best.distance > (third > 2 ? third : 2)) return false;
    mr_text_add(out, "; did you mean \"%.*s\"?", (int)best.length, best.name);
    return true;
}

/* Appends the keys of a section, if it is one; tells whether. */
static bool suggest_keys(const mr_registry *registry, const char *section, size_t length,
                         mr_text *out)
{
    const char *separator = "";
    for (int i = 0; i < registry->count; i++) {
        const char *key = registry->at[i].key->key;
        if (!key_is_in(key, section, length)) continue;
        if (*separator == '\0') mr_text_add(out, "; the keys of %.*s are ", (int)length, section);
        mr_text_add(out, "%s%s", separator, key + length + 1);
        separator = ", ";
    }
    return *separator != '\0';
}

static void suggest(const mr_registry *registry, const char *unknown, mr_text *out)
{
    size_t length = strcspn(unknown, ".");
    bool section = unknown[length] == '\0' || unknown[length + 1] == '\0';
    if (section && suggest_keys(registry, unknown, length, out)) return;
    if (suggest_nearest(registry, unknown, out)) return;
    if (unknown[length] == '.' && suggest_keys(registry, unknown, length, out)) return;
    mr_text_add(out, "; the sections are ");
    for (int i = 0; i < registry->count; i++) {
        const char *key = registry->at[i].key->key;
        if (starts_section(registry, i)) mr_text_add(out, "%.*s, ", (int)strcspn(key, "."), key);
    }
    mr_text_add(out, "matrix");
}

mr_status mr_registry_fail_unknown(const mr_registry *registry, const char *unknown, mr_status code)
{
    mr_text hint = {0};
    suggest(registry, unknown, &hint);
    mr_status status = mr_fail(code, "unknown key \"%.100s\"%s", unknown, mr_text_get(&hint));
    mr_text_free(&hint);
    return status;
}
