#include "report/paper.h"

#include "base/embedded.h"
#include "config/schema.h"
#include "config/yaml_fields.h"
#include "report/results_read.h"
#include "store/runlog_read.h"
#include "train/registry.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

enum { MOST_COLUMNS = 32, MOST_SCORES = 16 };

static const mr_embedded own[] = {
#include "mr_paper.h"
};

/* What an entry of a list holds beside what it becomes. */
typedef struct score_parts {
    mr_score score;
    int64_t decimals;
    int better;
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

static const char *const better_words[] = {"higher", "lower", NULL};

static const mr_yaml_field score_fields[] = {
    MR_YAML_FIELD(score_parts, score.set, "set", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(score_parts, score.projection, "spectra", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(score_parts, score.name, "name", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(score_parts, score.count, "count", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(score_parts, score.caption, "caption", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(score_parts, score.scale, "scale", MR_FIELD_NUMBER, true),
    MR_YAML_FIELD(score_parts, decimals, "decimals", MR_FIELD_WHOLE, true),
    MR_YAML_WORD(score_parts, better, "better", better_words, true),
    MR_YAML_FIELD(score_parts, score.chance, "chance", MR_FIELD_NUMBER, false),
    {0},
};

static const mr_yaml_field row_fields[] = {
    MR_YAML_FIELD(row_parts, row.method, "method", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(row_parts, row.r, "r", MR_FIELD_WHOLE, false),
    MR_YAML_FIELD(row_parts, with, "with", MR_FIELD_KEYS, false),
    MR_YAML_FIELD(row_parts, values, "values", MR_FIELD_LIST, true),
    {0},
};

static const mr_yaml_field table_fields[] = {
    MR_YAML_FIELD(table_parts, table.name, "name", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(table_parts, task, "task", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(table_parts, table.source, "source", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(table_parts, table.setting, "setting", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(table_parts, table.note, "note", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(table_parts, table.sample, "sample", MR_FIELD_TEXT, true),
    MR_YAML_FIELD(table_parts, scores, "scores", MR_FIELD_LIST, true),
    MR_YAML_FIELD(table_parts, choice, "choice", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(table_parts, table.by_step, "by_step", MR_FIELD_FLAG, false),
    MR_YAML_FIELD(table_parts, columns, "columns", MR_FIELD_LIST, true),
    MR_YAML_FIELD(table_parts, rows, "rows", MR_FIELD_LIST, true),
    {0},
};

static mr_status take_scores(const mr_yaml_taker *r, const table_parts *parts,
                             mr_paper_table *table)
{
    int items = mr_yaml_items(r, parts->scores), at = parts->scores + 1, choice = -1;
    if (items > MOST_SCORES)
        return mr_yaml_fail(r, parts->scores, "expected at most %d scores", MOST_SCORES);
    mr_score *score = mr_alloc_array(MR_MEM_OTHER, (size_t)items, sizeof *score);
    if (!score) return MR_ERR_MEMORY;
    table->measure = (mr_measure){.task = parts->task, .scores = items, .score = score};
    for (int k = 0; k < items; k++, at = r->yaml->nodes[at].end) {
        score_parts taken = {.score.chance = NAN};
        MR_TRY(mr_yaml_take(r, at, score_fields, &taken));
        if (!taken.score.set == !taken.score.projection)
            return mr_yaml_fail(r, at, "expected one of the keys set and spectra");
        if (taken.decimals > 9) return mr_yaml_fail(r, at, "decimals: expected at most 9");
        score[k] = taken.score;
        score[k].decimals = (int)taken.decimals;
        score[k].lower_is_better = taken.better == 1;
        if (choice < 0 && (!parts->choice || strcmp(parts->choice, score[k].name) == 0)) choice = k;
    }
    if (choice < 0)
        return mr_yaml_fail(r, parts->scores, "choice: no score has the name \"%s\"",
                            parts->choice);
    table->measure.choice = choice;
    return MR_OK;
}

static mr_status take_columns(const mr_yaml_taker *r, int list, mr_paper_table *table)
{
    const mr_yaml_field heading = {.kind = MR_FIELD_TEXT};
    int items = mr_yaml_items(r, list), at = list + 1;
    if (items > MOST_COLUMNS)
        return mr_yaml_fail(r, list, "expected at most %d columns", MOST_COLUMNS);
    table->column = mr_alloc_array(MR_MEM_OTHER, (size_t)items, sizeof *table->column);
    if (!table->column) return MR_ERR_MEMORY;
    table->columns = items;
    for (int c = 0; c < items; c++, at = r->yaml->nodes[at].end)
        MR_TRY(mr_yaml_take_value(r, &heading, at, &table->column[c]));
    return MR_OK;
}

/* Keys of our configuration, written flat or nested. */
static mr_status take_keys(const mr_yaml_taker *r, int mapping, mr_paper_row *row)
{
    static const mr_yaml_field text = {.kind = MR_FIELD_TEXT};
    const mr_yaml_node *nodes = r->yaml->nodes;
    const size_t prefix = strlen("with.");
    row->key =
        mr_alloc_array(MR_MEM_OTHER, (size_t)(nodes[mapping].end - mapping), sizeof *row->key);
    if (!row->key) return MR_ERR_MEMORY;
    for (int at = mapping + 1; at < nodes[mapping].end; at++) {
        if (nodes[at].kind == MR_YAML_MAPPING) continue;
        const char *key = nodes[at].path + prefix, *value;
        MR_TRY(mr_yaml_take_value(r, &text, at, &value));
        if (mr_registry_find(mr_registry_of_program(), key) < 0)
            return mr_yaml_fail(r, at, "unknown key \"%s\"", key);
        row->key[row->keys++] = (mr_paper_key){key, value};
    }
    return MR_OK;
}

static mr_status take_row(const mr_yaml_taker *r, int mapping, int columns, mr_paper_row *out)
{
    static const mr_yaml_field number = {.kind = MR_FIELD_NUMBER};
    row_parts parts = {0};
    MR_TRY(mr_yaml_take(r, mapping, row_fields, &parts));
    *out = parts.row;
    if (parts.with > 0) MR_TRY(take_keys(r, parts.with, out));
    if (mr_yaml_items(r, parts.values) != columns)
        return mr_yaml_fail(r, parts.values, "expected as many values as the table has columns");
    out->value = mr_alloc_array(MR_MEM_OTHER, (size_t)columns, sizeof *out->value);
    if (!out->value) return MR_ERR_MEMORY;
    for (int c = 0, at = parts.values + 1; c < columns; c++, at = r->yaml->nodes[at].end) {
        out->value[c] = NAN;
        if (!mr_yaml_is_null(&r->yaml->nodes[at]))
            MR_TRY(mr_yaml_take_value(r, &number, at, &out->value[c]));
    }
    return MR_OK;
}

static mr_status take_table(const mr_yaml_taker *r, int mapping, mr_paper_table *table)
{
    table_parts parts = {0};
    MR_TRY(mr_yaml_take(r, mapping, table_fields, &parts));
    *table = parts.table;
    MR_TRY(take_scores(r, &parts, table));
    MR_TRY(take_columns(r, parts.columns, table));
    int items = mr_yaml_items(r, parts.rows), at = parts.rows + 1;
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
    static const mr_yaml_field fields[] = {{.key = "tables", .kind = MR_FIELD_LIST, .needed = true},
                                           {0}};
    MR_TRY(mr_yaml_parse(name, text, bytes, MR_YAML_ROOT_MAPPING, &out->yaml));
    const mr_yaml_taker r = {name, &out->yaml};
    MR_TRY(mr_yaml_take(&r, 0, fields, &parts));
    int items = mr_yaml_items(&r, parts.tables), at = parts.tables + 1;
    out->table = mr_alloc_array(MR_MEM_OTHER, (size_t)items, sizeof *out->table);
    if (!out->table) return MR_ERR_MEMORY;
    for (; out->tables < items; at = out->yaml.nodes[at].end)
        MR_TRY(take_table(&r, at, &out->table[out->tables++]));
    return MR_OK;
}

mr_status mr_paper_read(mr_paper *out)
{
    return mr_paper_parse("paper.yaml", own[0].text, own[0].bytes, out);
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
