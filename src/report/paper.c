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

enum { MOST_COLUMNS = 32, MOST_SCORES = 48 };

static const mr_embedded own[] = {
#include "mr_paper.h"
};

/* What an entry of a list holds beside what it becomes. */
typedef struct score_parts {
    mr_score score;
    const char *task, *column;
    int64_t decimals;
    int better, of;
} score_parts;

typedef struct row_parts {
    mr_paper_row row;
    int with, values;
} row_parts;

typedef struct table_parts {
    mr_paper_table table;
    const char *task, *choice, *held_out;
    int scores, columns, rows;
} table_parts;

static const char *const better_words[] = {"higher", "lower", NULL};

static const mr_yaml_field score_fields[] = {
    MR_YAML_FIELD(score_parts, task, "task", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(score_parts, score.set, "set", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(score_parts, score.projection, "spectra", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(score_parts, of, "of", MR_FIELD_KEYS, false),
    MR_YAML_FIELD(score_parts, column, "column", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(score_parts, score.name, "name", MR_FIELD_TEXT, false),
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
    MR_YAML_FIELD(table_parts, held_out, "held_out", MR_FIELD_TEXT, false),
    MR_YAML_FIELD(table_parts, table.searched, "searched", MR_FIELD_FLAG, false),
    MR_YAML_FIELD(table_parts, table.by_step, "by_step", MR_FIELD_FLAG, false),
    MR_YAML_FIELD(table_parts, columns, "columns", MR_FIELD_LIST, true),
    MR_YAML_FIELD(table_parts, rows, "rows", MR_FIELD_LIST, true),
    {0},
};

/* The measure of a task, made where the table has none; memory is there for all of them. */
static mr_measure *measure_of(mr_paper_table *table, const char *task, const table_parts *parts)
{
    for (int t = 0; t < table->tasks; t++)
        if (strcmp(table->measure[t].task, task) == 0) return &table->measure[t];
    mr_measure *measure = &table->measure[table->tasks++];
    *measure = (mr_measure){
        .task = task, .held_out = parts->held_out, .partial = table->searched, .choice = -1};
    return measure;
}

static mr_status add_score(const mr_yaml_taker *r, int at, mr_measure *measure,
                           const mr_score *score)
{
    if (measure->scores == MOST_SCORES)
        return mr_yaml_fail(r, at, "expected at most %d scores", MOST_SCORES);
    if (!measure->score)
        measure->score = mr_alloc_array(MR_MEM_OTHER, MOST_SCORES, sizeof *measure->score);
    if (!measure->score) return MR_ERR_MEMORY;
    measure->score[measure->scores++] = *score;
    return MR_OK;
}

/* The sets of a mean: "set/dataset" each. */
static mr_status take_parts(const mr_yaml_taker *r, int list, mr_score *score)
{
    static const mr_yaml_field text = {.kind = MR_FIELD_TEXT};
    int items = mr_yaml_items(r, list), at = list + 1;
    score->part = mr_alloc_array(MR_MEM_OTHER, (size_t)items, sizeof *score->part);
    if (!score->part) return MR_ERR_MEMORY;
    for (; score->parts < items; at = r->yaml->nodes[at].end) {
        const char **part = &score->part[score->parts++];
        MR_TRY(mr_yaml_take_value(r, &text, at, part));
        if (!strchr(*part, '/'))
            return mr_yaml_fail(r, at, "expected SET/DATASET, found \"%s\"", *part);
    }
    return MR_OK;
}

/* One score for each whose rules it may be asked by. */
static mr_status take_alternatives(const mr_yaml_taker *r, int mapping, mr_measure *measure,
                                   mr_score *score)
{
    const mr_yaml_node *nodes = r->yaml->nodes;
    for (int at = mapping + 1; at < nodes[mapping].end; at = nodes[at].end) {
        if (nodes[at].kind != MR_YAML_SEQUENCE)
            return mr_yaml_fail(r, at, "expected a list of SET/DATASET");
        score->rules = nodes[at].path + strlen("of.");
        score->name = score->caption;
        score->part = NULL;
        score->parts = 0;
        mr_status status = take_parts(r, at, score);
        if (status == MR_OK) status = add_score(r, at, measure, score);
        if (status != MR_OK) {
            mr_free(score->part);
            return status;
        }
        score->again = true;
    }
    return MR_OK;
}

static mr_status take_score(const mr_yaml_taker *r, int at, const table_parts *parts,
                            mr_paper_table *table)
{
    score_parts taken = {.score = {.chance = NAN, .column = -1}};
    MR_TRY(mr_yaml_take(r, at, score_fields, &taken));
    if ((taken.score.set != NULL) + (taken.score.projection != NULL) + (taken.of > 0) != 1)
        return mr_yaml_fail(r, at, "expected one of the keys set, spectra and of");
    if (taken.of > 0 && !table->searched)
        return mr_yaml_fail(r, taken.of, "of: only where the table has searched: true");
    if (taken.of == 0 && !taken.score.name)
        return mr_yaml_fail(r, at, "the key \"name\" is missing");
    if (taken.decimals > 9) return mr_yaml_fail(r, at, "decimals: expected at most 9");
    for (int c = 0; taken.column && c < table->columns; c++)
        if (strcmp(table->column[c], taken.column) == 0) taken.score.column = c;
    if (taken.column && taken.score.column < 0)
        return mr_yaml_fail(r, at, "column: the table has none of the name \"%s\"", taken.column);
    taken.score.decimals = (int)taken.decimals;
    taken.score.lower_is_better = taken.better == 1;
    mr_measure *measure = measure_of(table, taken.task ? taken.task : parts->task, parts);
    if (table->tasks > 1 && !table->searched)
        return mr_yaml_fail(r, at, "task: several only where the table has searched: true");
    if (taken.of > 0) return take_alternatives(r, taken.of, measure, &taken.score);
    return add_score(r, at, measure, &taken.score);
}

static mr_status take_scores(const mr_yaml_taker *r, const table_parts *parts,
                             mr_paper_table *table)
{
    int items = mr_yaml_items(r, parts->scores), at = parts->scores + 1;
    if (items > MOST_SCORES)
        return mr_yaml_fail(r, parts->scores, "expected at most %d scores", MOST_SCORES);
    table->measure = mr_alloc_array(MR_MEM_OTHER, (size_t)items, sizeof *table->measure);
    if (!table->measure) return MR_ERR_MEMORY;
    for (int k = 0; k < items; k++, at = r->yaml->nodes[at].end)
        MR_TRY(take_score(r, at, parts, table));
    for (int t = 0; t < table->tasks; t++) {
        mr_measure *measure = &table->measure[t];
        for (int k = measure->scores - 1; k >= 0; k--)
            if (!parts->choice || strcmp(parts->choice, measure->score[k].name) == 0)
                measure->choice = k;
        if (measure->choice < 0)
            return mr_yaml_fail(r, parts->scores, "choice: no score has the name \"%s\"",
                                parts->choice);
    }
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
    MR_TRY(take_columns(r, parts.columns, table));
    MR_TRY(take_scores(r, &parts, table));
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
        for (int m = 0; m < table->tasks; m++) {
            mr_measure *measure = &table->measure[m];
            for (int k = 0; k < measure->scores; k++)
                mr_free(measure->score[k].part);
            mr_free(measure->score);
        }
        mr_free(table->measure);
    }
    mr_free(paper->table);
    mr_yaml_free(&paper->yaml);
    *paper = (mr_paper){0};
}

static const mr_paper_table *of_name(const mr_paper *paper, const char *name)
{
    for (int t = 0; t < paper->tables; t++)
        if (strcmp(paper->table[t].name, name) == 0) return &paper->table[t];
    return NULL;
}

void mr_paper_names(const mr_paper *paper, mr_text *out)
{
    for (int t = 0; t < paper->tables; t++)
        if (of_name(paper, paper->table[t].name) == &paper->table[t])
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

/* Whose logs there are: task and method of each by turns. */
static mr_status read_kinds(const char *const *folder, int folders, mr_names *kinds)
{
    mr_names paths = {0};
    mr_status status = mr_results_find(folder, folders, &paths);
    for (int64_t i = 0; status == MR_OK && i < paths.count; i++) {
        mr_runlog_reader *log = NULL;
        char *task = NULL, *method = NULL;
        mr_status read = mr_runlog_open(paths.item[i], &log);
        if (read == MR_OK) read = mr_runlog_get_text(log, "task", &task);
        if (read == MR_OK) read = mr_runlog_get_text(log, "method", &method);
        if (read == MR_OK) status = mr_names_add(kinds, task);
        if (read == MR_OK && status == MR_OK) status = mr_names_add(kinds, method);
        mr_free(task);
        mr_free(method);
        mr_runlog_close_reader(&log);
    }
    mr_names_free(&paths);
    return status;
}

/* The method of all rows; NULL: they have several. */
static const char *only_method(const mr_paper_table *table)
{
    for (int i = 1; i < table->rows; i++)
        if (strcmp(table->row[i].method, table->row[0].method) != 0) return NULL;
    return table->row[0].method;
}

/* How many tasks of a table there are logs of; of a table of one method none where there is a log
 * of another. */
static int tasks_there(const mr_paper_table *table, const mr_names *kinds, bool *other_method)
{
    const char *only = only_method(table);
    int there = 0;
    *other_method = false;
    for (int t = 0; t < table->tasks; t++) {
        bool found = false;
        for (int64_t i = 0; i < kinds->count; i += 2) {
            if (strcmp(kinds->item[i], table->measure[t].task) != 0) continue;
            found = true;
            if (only && strcmp(kinds->item[i + 1], only) != 0) *other_method = true;
        }
        there += found;
    }
    return there;
}

/* Names the tasks that tables are of, each once. */
static mr_status fail_tasks(const mr_paper *paper, const char *folder, int64_t logs)
{
    mr_names seen = {0};
    mr_text tasks = {0};
    mr_status status = MR_OK;
    for (int t = 0; t < paper->tables; t++)
        for (int k = 0; status == MR_OK && k < paper->table[t].tasks; k++) {
            const char *task = paper->table[t].measure[k].task;
            bool known = false;
            for (int64_t i = 0; i < seen.count; i++)
                known = known || strcmp(seen.item[i], task) == 0;
            if (known) continue;
            mr_text_add(&tasks, "%s%s", seen.count > 0 ? ", " : "", task);
            status = mr_names_add(&seen, task);
        }
    if (status == MR_OK)
        status = mr_fail(MR_ERR_FORMAT,
                         "%s: expected run logs of a task that a table is of (%s), found %lld of "
                         "others",
                         folder, mr_text_get(&tasks), (long long)logs);
    mr_names_free(&seen);
    mr_text_free(&tasks);
    return status;
}

mr_status mr_paper_choose(const mr_paper *paper, const char *name, const char *const *folder,
                          int folders, const mr_paper_table **out, mr_text *others)
{
    mr_names kinds = {0};
    int most = 0;
    *out = name ? of_name(paper, name) : &paper->table[0];
    if (!*out) return fail_unknown(paper, name);
    mr_status status = read_kinds(folder, folders, &kinds);
    for (int t = 0; status == MR_OK && t < paper->tables; t++) {
        const mr_paper_table *table = &paper->table[t];
        bool other_method;
        if (name && strcmp(table->name, name) != 0) continue;
        int there = tasks_there(table, &kinds, &other_method);
        if (there == 0 || (!name && other_method)) continue;
        if (there > most || (there == most && table->tasks < (*out)->tasks)) *out = table;
        if (there > most) most = there;
    }
    if (status == MR_OK && !name && most == 0 && kinds.count > 0)
        status = fail_tasks(paper, folder[0], kinds.count / 2);
    for (int t = 0; status == MR_OK && t < paper->tables; t++) {
        const mr_paper_table *table = &paper->table[t];
        bool other_method;
        if (strcmp(table->name, (*out)->name) == 0 || of_name(paper, table->name) != table ||
            tasks_there(table, &kinds, &other_method) == 0)
            continue;
        mr_text_add(others, "%s%s", others->length > 0 ? ", " : "", table->name);
    }
    mr_names_free(&kinds);
    return status == MR_OK && others->failed ? MR_ERR_MEMORY : status;
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
        *has = mr_config_has(&run->config, row->key[k].key);
        if (!*has) break;
        mr_status status = mr_config_value_text(&run->config, row->key[k].key, &value);
        const char *wanted = row->key[k].value, *found = mr_text_get(&value);
        /* "sharing, r_hat 20" */
        if (strcmp(found, "auto") == 0 && run->became &&
            strncmp(run->became, wanted, strlen(wanted)) == 0 && run->became[strlen(wanted)] == ',')
            found = wanted;
        *has = strcmp(found, wanted) == 0;
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
