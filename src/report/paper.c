#include "report/paper.h"

#include "config/schema.h"
#include "report/results_read.h"
#include "store/runlog_read.h"
#include "train/registry.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 32, MOST_SCORES = 16 };

/* The bytes of paper.yaml, which the build writes as numbers. */
static const char own_text[] = {
#include "mr_paper_yaml.h"
};

typedef struct reader {
    const char *name;
    const mr_yaml *yaml;
} reader;

/* What a key holds, and what its field is. */
typedef enum kind {
    TEXT,   /* const char * */
    NUMBER, /* double */
    WHOLE,  /* int64_t, not negative */
    FLAG,   /* bool */
    BETTER, /* bool lower_is_better */
    LIST,   /* int: the node */
    KEYS,   /* int: the node */
} kind;

static const char *const kind_names[] = {
    "a text",          "a number", "a whole number", "true or false",
    "higher or lower", "a list",   "a mapping",
};

typedef struct field {
    const char *key;
    kind kind;
    bool needed;
    size_t offset;
} field;

/* What an entry of a list holds beside what it becomes. */
typedef struct score_parts {
    mr_score score;
    int64_t decimals;
} score_parts;

typedef struct row_parts {
    mr_paper_row row;
    int with, values;
} row_parts;

typedef struct table_parts {
    mr_paper_table table;
    const char *task, *choice;
    int scores, columns, rows;
} table_parts;

static const field score_fields[] = {
    {"set", TEXT, false, offsetof(score_parts, score.set)},
    {"spectra", TEXT, false, offsetof(score_parts, score.projection)},
    {"name", TEXT, true, offsetof(score_parts, score.name)},
    {"count", TEXT, false, offsetof(score_parts, score.count)},
    {"caption", TEXT, true, offsetof(score_parts, score.caption)},
    {"scale", NUMBER, true, offsetof(score_parts, score.scale)},
    {"decimals", WHOLE, true, offsetof(score_parts, decimals)},
    {"better", BETTER, true, offsetof(score_parts, score.lower_is_better)},
    {"chance", NUMBER, false, offsetof(score_parts, score.chance)},
    {0},
};

static const field row_fields[] = {
    {"method", TEXT, true, offsetof(row_parts, row.method)},
    {"r", WHOLE, false, offsetof(row_parts, row.r)},
    {"with", KEYS, false, offsetof(row_parts, with)},
    {"values", LIST, true, offsetof(row_parts, values)},
    {0},
};

static const field table_fields[] = {
    {"name", TEXT, true, offsetof(table_parts, table.name)},
    {"task", TEXT, true, offsetof(table_parts, task)},
    {"source", TEXT, true, offsetof(table_parts, table.source)},
    {"setting", TEXT, true, offsetof(table_parts, table.setting)},
    {"note", TEXT, true, offsetof(table_parts, table.note)},
    {"sample", TEXT, true, offsetof(table_parts, table.sample)},
    {"scores", LIST, true, offsetof(table_parts, scores)},
    {"choice", TEXT, false, offsetof(table_parts, choice)},
    {"by_step", FLAG, false, offsetof(table_parts, table.by_step)},
    {"columns", LIST, true, offsetof(table_parts, columns)},
    {"rows", LIST, true, offsetof(table_parts, rows)},
    {0},
};

static mr_status fail_at(const reader *r, int at, const char *fmt, const char *what)
{
    mr_fail(MR_ERR_CONFIG, fmt, what);
    return mr_fail_in(MR_ERR_CONFIG, "%s:%d:%d", r->name, r->yaml->nodes[at].line,
                      r->yaml->nodes[at].column);
}

static mr_status fail_kind(const reader *r, int at, kind expected)
{
    const mr_yaml_node *node = &r->yaml->nodes[at];
    const char *found = node->kind == MR_YAML_MAPPING ? "a mapping"
                        : node->end > at + 1          ? "a list"
                                                      : "an empty list";
    char text[64];
    snprintf(text, sizeof text, "\"%.48s\"", node->text);
    return mr_fail(MR_ERR_CONFIG, "%s:%d:%d: expected %s, found %s", r->name, node->line,
                   node->column, kind_names[expected], node->kind == MR_YAML_SCALAR ? text : found);
}

static mr_status take_number(const reader *r, int at, double *out)
{
    const mr_yaml_node *node = &r->yaml->nodes[at];
    if (node->kind != MR_YAML_SCALAR || node->quoted || !mr_text_is_number(node->text))
        return fail_kind(r, at, NUMBER);
    *out = strtod(node->text, NULL);
    return MR_OK;
}

static mr_status take_field(const reader *r, const field *f, int at, void *base)
{
    const mr_yaml_node *node = &r->yaml->nodes[at];
    void *to = (char *)base + f->offset;
    bool scalar = node->kind == MR_YAML_SCALAR && !mr_yaml_is_null(node), good = false;
    double number = 0;
    switch (f->kind) {
    case TEXT:
        good = scalar;
        *(const char **)to = node->text;
        break;
    case NUMBER:
        return take_number(r, at, to);
    case WHOLE:
        MR_TRY(take_number(r, at, &number));
        good = number >= 0 && number <= 1e9 && number <= floor(number);
        *(int64_t *)to = good ? (int64_t)number : 0;
        break;
    case FLAG:
    case BETTER: {
        const char *yes = f->kind == FLAG ? "true" : "lower";
        *(bool *)to = strcmp(node->text, yes) == 0;
        good = scalar &&
               (*(bool *)to || strcmp(node->text, f->kind == FLAG ? "false" : "higher") == 0);
        break;
    }
    case LIST:
        good = node->kind == MR_YAML_SEQUENCE && node->end > at + 1;
        *(int *)to = at;
        break;
    case KEYS:
        good = node->kind == MR_YAML_MAPPING;
        *(int *)to = at;
        break;
    }
    return good ? MR_OK : fail_kind(r, at, f->kind);
}

/* Takes the keys of a mapping, each into its field. */
static mr_status take_fields(const reader *r, int mapping, const field *fields, void *base)
{
    const mr_yaml_node *nodes = r->yaml->nodes;
    if (nodes[mapping].kind != MR_YAML_MAPPING) return fail_kind(r, mapping, KEYS);
    for (int at = mapping + 1; at < nodes[mapping].end; at = nodes[at].end) {
        const field *f = fields;
        while (f->key && strcmp(f->key, nodes[at].path) != 0)
            f++;
        if (!f->key) return fail_at(r, at, "unknown key \"%s\"", nodes[at].path);
        MR_TRY(take_field(r, f, at, base));
    }
    for (const field *f = fields; f->key; f++) {
        bool found = !f->needed;
        for (int at = mapping + 1; !found && at < nodes[mapping].end; at = nodes[at].end)
            found = strcmp(f->key, nodes[at].path) == 0;
        if (!found) return fail_at(r, mapping, "the key \"%s\" is missing", f->key);
    }
    return MR_OK;
}

static int items_of(const reader *r, int list)
{
    int items = 0;
    for (int at = list + 1; at < r->yaml->nodes[list].end; at = r->yaml->nodes[at].end)
        items++;
    return items;
}

static mr_status take_scores(const reader *r, const table_parts *parts, mr_paper_table *table)
{
    int items = items_of(r, parts->scores), at = parts->scores + 1, choice = -1;
    if (items > MOST_SCORES) return fail_at(r, parts->scores, "expected at most %s scores", "16");
    mr_score *score = mr_alloc_array(MR_MEM_OTHER, (size_t)items, sizeof *score);
    if (!score) return MR_ERR_MEMORY;
    table->measure = (mr_measure){.task = parts->task, .scores = items, .score = score};
    for (int k = 0; k < items; k++, at = r->yaml->nodes[at].end) {
        score_parts taken = {.score.chance = NAN};
        MR_TRY(take_fields(r, at, score_fields, &taken));
        if (!taken.score.set == !taken.score.projection)
            return fail_at(r, at, "expected one of the keys set and %s", "spectra");
        if (taken.decimals > 9) return fail_at(r, at, "decimals: expected at most %s", "9");
        score[k] = taken.score;
        score[k].decimals = (int)taken.decimals;
        if (choice < 0 && (!parts->choice || strcmp(parts->choice, score[k].name) == 0)) choice = k;
    }
    if (choice < 0)
        return fail_at(r, parts->scores, "choice: no score has the name \"%s\"", parts->choice);
    table->measure.choice = choice;
    return MR_OK;
}

static mr_status take_columns(const reader *r, int list, mr_paper_table *table)
{
    const field heading = {.kind = TEXT};
    int items = items_of(r, list), at = list + 1;
    if (items > MOST_COLUMNS) return fail_at(r, list, "expected at most %s columns", "32");
    table->column = mr_alloc_array(MR_MEM_OTHER, (size_t)items, sizeof *table->column);
    if (!table->column) return MR_ERR_MEMORY;
    table->columns = items;
    for (int c = 0; c < items; c++, at = r->yaml->nodes[at].end)
        MR_TRY(take_field(r, &heading, at, &table->column[c]));
    return MR_OK;
}

/* Keys of our configuration, written flat or nested. */
static mr_status take_keys(const reader *r, int mapping, mr_paper_row *row)
{
    const mr_yaml_node *nodes = r->yaml->nodes;
    const size_t prefix = strlen("with.");
    row->key =
        mr_alloc_array(MR_MEM_OTHER, (size_t)(nodes[mapping].end - mapping), sizeof *row->key);
    if (!row->key) return MR_ERR_MEMORY;
    for (int at = mapping + 1; at < nodes[mapping].end; at++) {
        if (nodes[at].kind == MR_YAML_MAPPING) continue;
        const char *key = nodes[at].path + prefix;
        if (nodes[at].kind != MR_YAML_SCALAR) return fail_kind(r, at, TEXT);
        if (mr_registry_find(mr_registry_of_program(), key) < 0)
            return fail_at(r, at, "unknown key \"%s\"", key);
        row->key[row->keys++] = (mr_paper_key){key, nodes[at].text};
    }
    return MR_OK;
}

static mr_status take_row(const reader *r, int mapping, int columns, mr_paper_row *out)
{
    row_parts parts = {0};
    MR_TRY(take_fields(r, mapping, row_fields, &parts));
    *out = parts.row;
    if (parts.with > 0) MR_TRY(take_keys(r, parts.with, out));
    if (items_of(r, parts.values) != columns)
        return fail_at(r, parts.values, "%s", "expected as many values as the table has columns");
    out->value = mr_alloc_array(MR_MEM_OTHER, (size_t)columns, sizeof *out->value);
    if (!out->value) return MR_ERR_MEMORY;
    for (int c = 0, at = parts.values + 1; c < columns; c++, at = r->yaml->nodes[at].end) {
        out->value[c] = NAN;
        if (!mr_yaml_is_null(&r->yaml->nodes[at])) MR_TRY(take_number(r, at, &out->value[c]));
    }
    return MR_OK;
}

static mr_status take_table(const reader *r, int mapping, mr_paper_table *table)
{
    table_parts parts = {0};
    MR_TRY(take_fields(r, mapping, table_fields, &parts));
    *table = parts.table;
    MR_TRY(take_scores(r, &parts, table));
    MR_TRY(take_columns(r, parts.columns, table));
    int items = items_of(r, parts.rows), at = parts.rows + 1;
    table->row = mr_alloc_array(MR_MEM_OTHER, (size_t)items, sizeof *table->row);
    if (!table->row) return MR_ERR_MEMORY;
    for (; table->rows < items; at = r->yaml->nodes[at].end)
        MR_TRY(take_row(r, at, table->columns, &table->row[table->rows++]));
    return MR_OK;
}

mr_status mr_paper_parse(const char *name, const char *text, size_t bytes, mr_paper *out)
{
    struct {
        int tables;
    } parts;
    static const field fields[] = {{"tables", LIST, true, 0}, {0}};
    MR_TRY(mr_yaml_parse(name, text, bytes, MR_YAML_ROOT_MAPPING, &out->yaml));
    const reader r = {name, &out->yaml};
    MR_TRY(take_fields(&r, 0, fields, &parts));
    int items = items_of(&r, parts.tables), at = parts.tables + 1;
    out->table = mr_alloc_array(MR_MEM_OTHER, (size_t)items, sizeof *out->table);
    if (!out->table) return MR_ERR_MEMORY;
    for (; out->tables < items; at = out->yaml.nodes[at].end)
        MR_TRY(take_table(&r, at, &out->table[out->tables++]));
    return MR_OK;
}

mr_status mr_paper_read(mr_paper *out)
{
    return mr_paper_parse("paper.yaml", own_text, sizeof own_text, out);
}

void mr_paper_free(mr_paper *paper)
{
    for (int t = 0; t < paper->tables; t++) {
        mr_paper_table *table = &paper->table[t];
        for (int i = 0; i < table->rows; i++) {
            mr_free(table->row[i].key);
            mr_free(table->row[i].value);
        }
        mr_free(table->row);
        mr_free(table->column);
        mr_free(table->measure.score);
    }
    mr_free(paper->table);
    mr_yaml_free(&paper->yaml);
    *paper = (mr_paper){0};
}

static bool has_name(const mr_paper_table *table, const char *name)
{
    return !name || strcmp(table->name, name) == 0;
}

static const mr_paper_table *of_task(const mr_paper *paper, const char *name, const char *task)
{
    for (int t = 0; t < paper->tables; t++)
        if (has_name(&paper->table[t], name) &&
            (!task || strcmp(paper->table[t].measure.task, task) == 0))
            return &paper->table[t];
    return NULL;
}

void mr_paper_names(const mr_paper *paper, mr_text *out)
{
    for (int t = 0; t < paper->tables; t++)
        if (of_task(paper, paper->table[t].name, NULL) == &paper->table[t])
            mr_text_add(out, "%s%s", t > 0 ? ", " : "", paper->table[t].name);
}

static mr_status fail_unknown(const mr_paper *paper, const char *name)
{
    mr_text known = {0};
    mr_paper_names(paper, &known);
    mr_status status =
        mr_fail(MR_ERR_USAGE, "unknown table \"%s\"; known are: %s", name, mr_text_get(&known));
    mr_text_free(&known);
    return status;
}

mr_status mr_paper_choose(const mr_paper *paper, const char *name, const char *folder,
                          const mr_paper_table **out)
{
    mr_names paths = {0};
    int tables = 0;
    for (int t = 0; t < paper->tables; t++)
        tables += has_name(&paper->table[t], name);
    *out = of_task(paper, name, NULL);
    if (!*out) return fail_unknown(paper, name);
    if (tables == 1) return MR_OK;
    const mr_paper_table *found = NULL;
    mr_status status = mr_results_find(folder, &paths);
    for (int64_t i = 0; status == MR_OK && !found && i < paths.count; i++) {
        mr_runlog_reader *log = NULL;
        char *task = NULL;
        mr_status read = mr_runlog_open(paths.item[i], &log);
        if (read == MR_OK) read = mr_runlog_get_text(log, "task", &task);
        if (read == MR_OK) found = of_task(paper, name, task);
        mr_free(task);
        mr_runlog_close_reader(&log);
    }
    mr_names_free(&paths);
    if (found) *out = found;
    return status;
}

int64_t mr_paper_only_r(const mr_paper_table *table)
{
    int64_t only = 0;
    for (int i = 0; i < table->rows; i++) {
        int64_t r = table->row[i].r;
        if (only > 0 && r > 0 && r != only) return 0;
        if (r > 0) only = r;
    }
    return only;
}

static mr_status has_keys(const mr_paper_row *row, const mr_result *run, bool *has)
{
    *has = true;
    for (int k = 0; *has && k < row->keys; k++) {
        mr_text value = {0};
        mr_status status = mr_config_value_text(&run->config, row->key[k].key, &value);
        *has = strcmp(mr_text_get(&value), row->key[k].value) == 0;
        mr_text_free(&value);
        MR_TRY(status);
    }
    return MR_OK;
}

mr_status mr_paper_row_of(const mr_paper_table *table, const mr_result *run,
                          const mr_paper_row **out)
{
    bool any_r = mr_paper_only_r(table) > 0;
    *out = NULL;
    for (int i = 0; !*out && i < table->rows; i++) {
        const mr_paper_row *row = &table->row[i];
        bool has;
        if ((!any_r && row->r != run->r) || strcmp(row->method, run->method) != 0) continue;
        MR_TRY(has_keys(row, run, &has));
        if (has) *out = row;
    }
    return MR_OK;
}
