#include "eval/set.h"

#include "base/embedded.h"
#include "base/file.h"
#include "eval/set_impl.h"

#include <string.h>

static const mr_embedded own[] = {
#include "mr_sets.h"
};

static const mr_embedded keys[] = {
#include "mr_set_keys.h"
};

enum { OWN = sizeof own / sizeof own[0], DEEPEST = 8 };

typedef struct root_keys {
    int sets;
} root_keys;

static const mr_yaml_field root_table[] = {
    MR_YAML_FIELD(root_keys, sets, "sets", MR_FIELD_LIST, true),
    {0},
};

/* Where a set stands. */
typedef struct entry {
    mr_yaml_taker taker;
    int at;
} entry;

/* Parses a document and puts it behind the others. */
static mr_status add_document(mr_sets *sets, const char *name, mr_text *text)
{
    MR_TRY(mr_grow(MR_MEM_DATA, &sets->document, &sets->document_room, sets->documents + 1,
                   sizeof *sets->document));
    mr_set_document *d = &sets->document[sets->documents++];
    d->name = mr_strdup(name);
    d->text = text->data;
    d->bytes = text->length;
    *text = (mr_text){0};
    if (!d->name) return MR_ERR_MEMORY;
    return mr_yaml_parse(d->name, d->text, d->bytes, MR_YAML_ROOT_MAPPING, &d->yaml);
}

static mr_status add_own(mr_sets *sets)
{
    for (int i = 0; i < OWN; i++) {
        char name[PATH_MAX];
        mr_text text = {0};
        MR_TRY(mr_file_path(name, "%s.yaml", own[i].name));
        mr_text_add_bytes(&text, own[i].text, own[i].bytes);
        mr_status status = text.failed ? MR_ERR_MEMORY : add_document(sets, name, &text);
        mr_text_free(&text);
        MR_TRY(status);
    }
    return MR_OK;
}

static mr_status take_root(const mr_set_document *d, int *list)
{
    const mr_yaml_taker taker = {d->name, &d->yaml};
    root_keys root = {0};
    MR_TRY(mr_yaml_take(&taker, 0, root_table, &root));
    *list = root.sets;
    return MR_OK;
}

/* The text of a key of an item of the list; NULL where there is none. */
static const char *text_of(const mr_yaml *yaml, int at, const char *key)
{
    const mr_yaml_node *nodes = yaml->nodes;
    for (int i = at + 1; nodes[at].kind == MR_YAML_MAPPING && i < nodes[at].end; i = nodes[i].end)
        if (nodes[i].kind == MR_YAML_SCALAR && strcmp(nodes[i].path, key) == 0)
            return nodes[i].text;
    return NULL;
}

/* Finds a set by its name in documents first..documents - 1, the last of them first. */
static mr_status find_set(const mr_sets *sets, const char *name, entry *out, bool *found)
{
    *found = false;
    for (int d = sets->documents - 1; d >= 0 && !*found; d--) {
        const mr_set_document *document = &sets->document[d];
        int list;
        MR_TRY(take_root(document, &list));
        const mr_yaml_node *nodes = document->yaml.nodes;
        for (int at = list + 1; at < nodes[list].end && !*found; at = nodes[at].end) {
            const char *other = text_of(&document->yaml, at, "name");
            *found = other && strcmp(other, name) == 0;
            *out = (entry){{document->name, &document->yaml}, at};
        }
    }
    return MR_OK;
}

/* Takes what the set that another is like says, and then what it says itself. */
static mr_status take_set(const mr_sets *sets, const entry *e, int depth, mr_set *set)
{
    const char *like = text_of(e->taker.yaml, e->at, "like");
    if (like) {
        entry other;
        bool found;
        if (depth == DEEPEST)
            return mr_yaml_fail(&e->taker, e->at, "sets are like one another without end");
        MR_TRY(find_set(sets, like, &other, &found));
        if (!found)
            return mr_yaml_fail(&e->taker, e->at, "there is no set \"%s\" to be like", like);
        MR_TRY(take_set(sets, &other, depth + 1, set));
    }
    return mr_set_take_keys(&e->taker, e->at, set);
}

static mr_status add_set(mr_sets *sets, const entry *e)
{
    MR_TRY(mr_grow(MR_MEM_DATA, &sets->set, &sets->room, sets->count + 1, sizeof *sets->set));
    mr_set *set = &sets->set[sets->count++];
    MR_TRY(take_set(sets, e, 0, set));
    for (int i = 0; i < sets->count - 1; i++)
        if (strcmp(sets->set[i].name, set->name) == 0)
            return mr_yaml_fail(&e->taker, e->at, "the set \"%s\" is there already", set->name);
    return mr_set_check(&e->taker, e->at, set);
}

static mr_status add_all(mr_sets *sets, int document)
{
    int list;
    MR_TRY(take_root(&sets->document[document], &list));
    for (int at = list + 1;;) {
        const mr_set_document *d = &sets->document[document];
        if (at >= d->yaml.nodes[list].end) return MR_OK;
        const entry e = {{d->name, &d->yaml}, at};
        MR_TRY(add_set(sets, &e));
        at = d->yaml.nodes[at].end;
    }
}

static mr_status add_file(mr_sets *sets, const char *path)
{
    char *text;
    size_t bytes;
    MR_TRY(mr_file_read(path, MR_MEM_DATA, &text, &bytes));
    mr_text taken = {.data = text, .length = bytes};
    mr_status status = add_document(sets, path, &taken);
    mr_text_free(&taken);
    MR_TRY(status);
    return add_all(sets, sets->documents - 1);
}

static mr_status fail_name(const mr_sets *sets, const char *name)
{
    mr_text known = {0};
    for (int d = 0; d < OWN; d++) {
        const mr_yaml *yaml = &sets->document[d].yaml;
        int list;
        MR_TRY(take_root(&sets->document[d], &list));
        for (int at = list + 1; at < yaml->nodes[list].end; at = yaml->nodes[at].end)
            mr_text_add(&known, "%s%s", known.length > 0 ? ", " : "", text_of(yaml, at, "name"));
    }
    mr_status status = mr_fail(MR_ERR_USAGE,
                               "there is no set \"%s\"; expected one of %s, or a "
                               "file of sets that ends on .yaml",
                               name, mr_text_get(&known));
    mr_text_free(&known);
    return status;
}

static bool is_file(const char *name)
{
    const char *dot = strrchr(name, '.');
    return strchr(name, '/') || (dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0));
}

static mr_status add_named(mr_sets *sets, const char *name)
{
    entry e;
    bool found;
    if (is_file(name)) return add_file(sets, name);
    MR_TRY(find_set(sets, name, &e, &found));
    if (!found) return fail_name(sets, name);
    for (int i = 0; i < sets->count; i++) /* a place in a file of the program would say nothing */
        MR_CHECK(strcmp(sets->set[i].name, name) != 0, MR_ERR_CONFIG,
                 "the set \"%s\" is there already", name);
    return add_set(sets, &e);
}

static mr_status load(const char *names, mr_sets *sets)
{
    MR_TRY(add_own(sets));
    for (int d = 0; !names && d < OWN; d++)
        MR_TRY(add_all(sets, d));
    for (const char *at = names; at && *at != '\0';) {
        char name[PATH_MAX];
        const size_t length = strcspn(at, ",");
        MR_CHECK(length > 0, MR_ERR_USAGE,
                 "expected the name of a set before every comma, found \"%s\"", names);
        MR_TRY(mr_file_path(name, "%.*s", (int)length, at));
        MR_TRY(add_named(sets, name));
        at += length + (at[length] == ',');
    }
    MR_CHECK(sets->count > 0, MR_ERR_USAGE, "expected names of sets, found \"\"");
    return MR_OK;
}

mr_status mr_sets_load(const char *names, mr_sets *out)
{
    *out = (mr_sets){0};
    mr_status status = load(names, out);
    if (status != MR_OK) mr_sets_free(out);
    return status;
}

mr_status mr_sets_hash(const mr_sets *sets, const char *data, char out[MR_HASH_TEXT])
{
    mr_hash *hash = NULL;
    mr_status status = mr_hash_create(&hash);
    for (int d = OWN; d < sets->documents && status == MR_OK; d++)
        mr_hash_add(hash, sets->document[d].text, sets->document[d].bytes);
    for (int i = 0; i < sets->count && status == MR_OK; i++) {
        const mr_set *set = &sets->set[i];
        mr_hash_add(hash, set->name, strlen(set->name) + 1);
        mr_hash_add(hash, &set->version, sizeof set->version);
        status = mr_set_hash_files(set, data, hash);
    }
    if (status == MR_OK)
        mr_hash_finish(&hash, out);
    else
        mr_hash_destroy(&hash);
    return status;
}

void mr_sets_free(mr_sets *sets)
{
    for (int i = 0; i < sets->count; i++)
        mr_set_free(&sets->set[i]);
    for (int d = 0; d < sets->documents; d++) {
        mr_yaml_free(&sets->document[d].yaml);
        mr_free(sets->document[d].name);
        mr_free(sets->document[d].text);
    }
    mr_free(sets->set);
    mr_free(sets->document);
    *sets = (mr_sets){0};
}

void mr_sets_explain(mr_text *out)
{
    mr_text_add_bytes(out, keys[0].text, keys[0].bytes);
    mr_text_add(out, "\nmetrics\n");
    for (int i = 0; mr_metric_at(i); i++)
        mr_text_add(out, "  %-26s %s\n", mr_metric_at(i)->name, mr_metric_at(i)->summary);
    mr_text_add(out, "\nrules of answers (version)\n");
    for (int i = 0; mr_answer_rule_at(i); i++)
        mr_text_add(out, "  %-26s %s (%d)\n", mr_answer_rule_at(i)->name,
                    mr_answer_rule_at(i)->summary, mr_answer_rule_at(i)->version);
}
