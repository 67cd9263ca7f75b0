/* What `mora run --help` says of keys. */

#include "config/registry.h"
#include "config/value.h"

#include <string.h>

enum { HELP_INDENT = 30, HELP_WIDTH = 96 };

/* Appends words from the indented column on, wrapped. */
static void add_wrapped(const char *text, mr_text *out)
{
    int column = HELP_INDENT;
    while (*text) {
        int length = (int)strcspn(text, " ");
        bool first = column == HELP_INDENT;
        if (!first && column + 1 + length > HELP_WIDTH) {
            mr_text_add(out, "\n%*s", HELP_INDENT, "");
            column = HELP_INDENT;
            first = true;
        }
        mr_text_add(out, "%s%.*s", first ? "" : " ", length, text);
        column += length + !first;
        text += length;
        text += strspn(text, " ");
    }
    mr_text_add(out, "\n");
}

/* The row that a topic names, "method.mora", in *table; -1: none. */
static int row_of_topic(const mr_registry *registry, const char *topic, int *table)
{
    for (*table = 0; topic && *table < registry->tables; ++*table) {
        const char *key = registry->table[*table].key;
        size_t section = strcspn(key, ".") + 1;
        if (strncmp(key, topic, section) != 0 || strcmp(key + section, "name") != 0) continue;
        int row = mr_registry_row(registry, *table, topic + section);
        if (row >= 0) return row;
    }
    return -1;
}

/* Whether a key belongs to a topic. */
static bool is_on(const mr_registry *registry, const char *topic, const mr_registry_key *about)
{
    int table, row = row_of_topic(registry, topic, &table);
    if (!topic) return true;
    if (row >= 0) return about->table == table && (about->rows >> row & 1);
    size_t length = strlen(topic);
    return strncmp(about->key->key, topic, length) == 0 &&
           (about->key->key[length] == '.' || about->key->key[length] == '\0');
}

/* The choices of a table, each with what it is. */
static void add_choices(const mr_choice *rows, mr_text *out)
{
    for (; rows->name; rows++) {
        if (!rows->summary) continue;
        mr_text_add(out, "    %-*s", HELP_INDENT - 4, rows->name);
        add_wrapped(rows->summary, out);
    }
}

/* A key of an item: its name, what it may be, and its help. */
static void add_item_key(const mr_key *key, mr_text *out)
{
    mr_text line = {0};
    mr_value_expected(key, &line);
    mr_text_add(&line, " (default %s): %s", key->fallback[0] ? key->fallback : "empty", key->help);
    mr_text_add(out, "      %-*s", HELP_INDENT - 6, key->key);
    add_wrapped(mr_text_get(&line), out);
    out->failed = out->failed || line.failed;
    mr_text_free(&line);
}

/* The kinds that items of a list may be, each with its keys. */
static void add_kinds(const mr_choice *kind, mr_text *out)
{
    for (; kind->name; kind++) {
        mr_text_add(out, "    %-*s", HELP_INDENT - 4, kind->name);
        add_wrapped(kind->summary ? kind->summary : "", out);
        for (int i = 0; kind->schema && i < kind->schema->count; i++)
            add_item_key(&kind->schema->key[i], out);
    }
}

/* Says who has a key that not every choice has. */
static void add_owners(const mr_registry *registry, const mr_registry_key *about, mr_text *out)
{
    mr_text line = {0};
    mr_text_add(&line, "Of ");
    mr_registry_list(registry, about->table, about->rows, " and ", &line);
    mr_text_add(&line, ".");
    mr_text_add(out, "%*s", HELP_INDENT, "");
    add_wrapped(mr_text_get(&line), out);
    out->failed = out->failed || line.failed;
    mr_text_free(&line);
}

static void add_key(const mr_registry *registry, int index, bool owners, mr_text *out)
{
    const mr_registry_key *about = &registry->at[index];
    const mr_key *key = about->key;
    int table = mr_registry_table_of(registry, index);
    mr_text line = {0};
    if (table >= 0)
        mr_value_one_of_choices(registry->table[table].rows, &line);
    else
        mr_value_expected(key, &line);
    if (key->unit) mr_text_add(&line, ", %s", key->unit);
    /* A key's default may be a name of another command's: the core says task.name's. */
    if (table < 0 || mr_registry_row(registry, table, key->fallback) >= 0)
        mr_text_add(&line, " (default %s)", key->fallback[0] ? key->fallback : "empty");
    mr_text_add(out, "  %-*s", HELP_INDENT - 2, key->key);
    add_wrapped(mr_text_get(&line), out);
    mr_text_add(out, "%*s", HELP_INDENT, "");
    add_wrapped(key->help, out);
    out->failed = out->failed || line.failed;
    mr_text_free(&line);
    if (about->table >= 0 && owners) add_owners(registry, about, out);
    if (table >= 0 && owners) add_choices(registry->table[table].rows, out);
    if (key->kinds) add_kinds(key->kinds, out);
}

static mr_status fail_topic(const char *topic)
{
    return mr_fail(MR_ERR_USAGE,
                   "--help: expected a section, a key, or a choice such as method.mora, found "
                   "\"%.100s\"",
                   topic);
}

mr_status mr_config_help(const mr_registry *registry, const char *topic, mr_text *out)
{
    int table, row = row_of_topic(registry, topic, &table), before = -1, shown = 0;
    mr_text_add(out, "Keys of a run's YAML file, and of --set key=value:\n");
    if (row >= 0) {
        const mr_choice *choice = &registry->table[table].rows[row];
        mr_text_add(out, "\n%s%s%s\n", topic, choice->summary ? ": " : "",
                    choice->summary ? choice->summary : "");
    }
    for (int i = 0; i < registry->count; i++) {
        const char *key = registry->at[i].key->key;
        if (!is_on(registry, topic, &registry->at[i])) continue;
        int section = (int)strcspn(key, ".");
        bool opens =
            before < 0 || strncmp(registry->at[before].key->key, key, (size_t)section + 1) != 0;
        if (opens && row < 0) mr_text_add(out, "\n%.*s\n", section, key);
        add_key(registry, i, row < 0, out);
        before = i;
        shown++;
    }
    if (shown == 0 && row < 0 && strcmp(topic, "matrix") != 0) return fail_topic(topic);
    if (shown == 0 && row >= 0) mr_text_add(out, "  It has no keys of its own.\n");
    if (!topic) mr_text_add(out, "\nA path may start with ~/, your home folder.\n");
    if (!topic || strcmp(topic, "matrix") == 0)
        mr_text_add(
            out, "\nmatrix\n"
                 "  A mapping of keys to lists of values runs every combination, the first key\n"
                 "  varying slowest; a list of such mappings runs one after another. --set of a\n"
                 "  key of the matrix puts its one value in place of the list. A key that the\n"
                 "  method or task of a combination does not have drops out of it, and\n"
                 "  combinations that become equal are one run.\n"
                 "    matrix: {method.name: [lora, mora], train.lr: [1e-4, 3e-4]}\n");
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}
