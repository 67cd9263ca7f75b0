/* A report for machines, of one shape for all tables (experiments/README.md tells it): of each
 * section the blocks of runs, the lines of the table of scores with what was chosen of each block,
 * and every rate tried, in which each score at a step is a cell.
 *
 * What cannot be made is NULL, and so is what it is packed into: memory alone can be short. */

#include "config/registry.h"
#include "report/render.h"
#include "report/setting.h"
#include "store/json.h"
#include "train/registry.h"

#include <math.h>
#include <stdlib.h>

/* Puts a value into *object and takes it over, as mr_json_append does. */
static void put(json_t **object, const char *key, json_t *value)
{
    if (json_object_set_new(*object, key, value) == 0) return;
    json_decref(*object);
    *object = NULL;
}

static json_t *r_json(int64_t r)
{
    return r == 0 ? json_null() : json_integer(r);
}

static void put_key(json_t **object, const char *key, const mr_config *config)
{
    mr_text text = {0};
    mr_status status = mr_config_value_text(config, key, &text);
    put(object, key, status == MR_OK ? mr_json_text(mr_text_get(&text)) : NULL);
    mr_text_free(&text);
}

static const char *better(const mr_score *score)
{
    return score->lower_is_better ? "lower" : "higher";
}

/* Where the mean over all seeds is with a probability of 95 %. */
static json_t *interval_json(const mr_estimate *value)
{
    const mr_interval interval = mr_estimate_interval(*value, 0.95);
    return json_pack("[o, o]", mr_json_number(interval.low), mr_json_number(interval.high));
}

static json_t *seeds_json(const mr_rate *rate)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < rate->seeds; i++)
        mr_json_append(&list, json_integer(rate->run[i]->config.run.seed));
    return list;
}

static json_t *logs_json(const mr_rate *rate)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < rate->seeds; i++)
        mr_json_append(&list, mr_json_text(rate->run[i]->path));
    return list;
}

/* The keys of a method in which the groups that are alike (NULL: all) differ, as `group` has them;
 * none where that is NULL. */
static json_t *varying_json(const mr_setting *setting, const mr_group *alike, const mr_group *group)
{
    json_t *object = json_object();
    const mr_registry *registry = mr_registry_of_program();
    for (int i = 0; group && i < registry->count; i++) {
        const char *key = registry->at[i].key->key;
        bool varies;
        if (!mr_results_in_variant(key) || !mr_config_has(&group->first->config, key)) continue;
        if (mr_setting_key_varies(setting, alike, key, &varies) != MR_OK)
            put(&object, key, NULL);
        else if (varies)
            put_key(&object, key, &group->first->config);
    }
    return object;
}

/* What all runs of a setting share. */
static json_t *shared_json(const mr_setting *setting)
{
    json_t *object = json_object();
    const mr_registry *registry = setting->first->config.registry;
    for (int i = 0; i < registry->count; i++) {
        const char *key = registry->at[i].key->key;
        const mr_result *run = mr_setting_with(setting, key);
        bool apart = !mr_results_in_setting(key);
        if (run && mr_results_in_variant(key) &&
            mr_setting_key_varies(setting, NULL, key, &apart) != MR_OK)
            put(&object, key, NULL);
        else if (run && !apart)
            put_key(&object, key, &run->config);
    }
    return object;
}

static json_t *left_out_json(const mr_results *results, const mr_setting *setting)
{
    json_t *list = json_array();
    for (int64_t i = setting->begin; i < setting->end; i++) {
        const mr_result *run = results->run[i];
        if (!run->left_out) continue;
        mr_json_append(&list,
                       json_pack("{s:o, s:o, s:o, s:f, s:I, s:o, s:o}", "run",
                                 mr_json_text(run->config.run.name), "method",
                                 mr_json_text(run->method), "r", r_json(run->r), "lr",
                                 run->config.train.lr, "seed", (json_int_t)run->config.run.seed,
                                 "reason", mr_json_text(run->left_out), "log",
                                 mr_json_text(run->path)));
    }
    return list;
}

static json_t *sets_json(const mr_score *score)
{
    json_t *list = json_array();
    for (int p = 0; p < score->parts; p++)
        mr_json_append(&list, json_string(score->part[p]));
    if (score->set) mr_json_append(&list, json_sprintf("%s/%s", score->set, score->name));
    return list;
}

/* What is scored, in the order of the measure. */
static json_t *scores_json(const mr_measure *measure)
{
    json_t *list = json_array();
    for (int k = 0; k < measure->scores; k++) {
        const mr_score *score = &measure->score[k];
        mr_json_append(&list, json_pack("{s:s, s:s?, s:s?, s:o, s:s, s:o}", "score", score->caption,
                                        "rules", score->rules, "projection", score->projection,
                                        "sets", sets_json(score), "better", better(score), "chance",
                                        mr_json_number(score->chance)));
    }
    return list;
}

/* What a block of runs shares, and what chose its rates. */
static json_t *block_json(const mr_report_block *block)
{
    const mr_measure *measure = &block->results->measure;
    const mr_setting *setting = block->setting;
    if (!setting) return json_pack("{s:s, s:n}", "task", measure->task, "name");
    const bool apart = setting->chooses == measure->scores;
    const mr_score *score = &measure->score[apart ? measure->choice : setting->chooses];
    const mr_result *first = setting->first;
    const int64_t scored = first->series[measure->choice].scored;
    mr_text name = {0};
    mr_setting_name(block->results, setting, &name);
    json_t *object = json_pack(
        "{s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:s, s:o, s:b, s:o}", "task", measure->task,
        "name", name.failed ? NULL : mr_json_text(mr_text_get(&name)), "config",
        shared_json(setting), "data_hash", mr_json_text(first->data_hash), "base_parameters",
        (json_int_t)first->base_parameters, "train_steps", (json_int_t)first->steps, "seq_len",
        (json_int_t)first->seq_len, "scored", scored > 0 ? json_integer(scored) : json_null(),
        "scores", scores_json(measure), "score", measure->score[measure->choice].caption,
        "chosen_by",
        apart && measure->held_out ? json_sprintf("%s/%s", first->held_out, measure->held_out)
                                   : json_string(score->caption),
        "chosen_apart", apart, "left_out", left_out_json(block->results, setting));
    mr_text_free(&name);
    return object;
}

static json_t *estimate_json(const mr_cell *cell)
{
    const mr_estimate *value = &cell->value;
    const bool one = value->n > 0, several = value->n > 1;
    return json_pack("{s:I, s:o, s:o, s:o, s:o, s:b, s:b, s:o}", "seeds", (json_int_t)value->n,
                     "mean", one ? mr_json_number(value->mean) : json_null(), "spread",
                     several ? mr_json_number(value->spread) : json_null(), "interval",
                     several ? interval_json(value) : json_null(), "standard_error",
                     one ? mr_json_number(cell->error) : json_null(), "best", cell->best,
                     "within_best", cell->within, "missing",
                     !one && cell->text ? mr_json_text(cell->text) : json_null());
}

/* What a rate was tried at, and what that took. */
static json_t *tried_json(const mr_report_block *block, const mr_group *group, const mr_rate *rate)
{
    return json_pack("{s:f, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:b, s:b, s:o}", "lr", rate->lr,
                     "config", varying_json(block->setting, NULL, group), "seeds", seeds_json(rate),
                     "left_out", (json_int_t)rate->left_out, "trainable_parameters",
                     (json_int_t)group->first->trainable, "merges",
                     (json_int_t)group->first->merges, "tokens", mr_json_number(rate->tokens),
                     "seconds", mr_json_number(rate->seconds), "forgotten",
                     rate->forgotten.n > 0 ? mr_json_number(rate->forgotten.mean) : json_null(),
                     "best", rate == group->best, "at_edge", group->edge && rate == group->best,
                     "logs", logs_json(rate));
}

static json_t *cell_json(const mr_section *section, const mr_table *table, int64_t row, int64_t c)
{
    const mr_column *column = &table->column[c];
    const mr_report_block *block = &section->block[column->block];
    const mr_score *score = &block->results->measure.score[column->score];
    json_t *object = estimate_json(mr_table_cell(table, row, c));
    if (column->kind == MR_COLUMN_NUMBER) put(&object, "seeds", json_null());
    put(&object, "task", json_string(block->results->measure.task));
    put(&object, "block", json_integer(column->block));
    put(&object, "score", json_string(score->caption));
    put(&object, "rules", score->rules ? json_string(score->rules) : json_null());
    put(&object, "sets", sets_json(score));
    put(&object, "better", json_string(better(score)));
    put(&object, "step", mr_json_number(column->step)); /* null: the mean over all of them */
    return object;
}

static json_t *cells_json(const mr_section *section, const mr_table *table, int64_t row)
{
    json_t *list = json_array();
    for (int64_t c = 0; c < table->columns; c++)
        if (table->column[c].score >= 0) mr_json_append(&list, cell_json(section, table, row, c));
    return list;
}

/* Every rate tried of a block, with its scores. */
static json_t *tries_json(const mr_section *section, int b)
{
    const mr_table *table = &section->table[MR_TABLE_RATES + b];
    json_t *list = json_array();
    for (int64_t i = 0; i < table->rows; i++) {
        json_t *one = tried_json(&section->block[b], table->row[i].group[b], table->row[i].rate[b]);
        put(&one, "method", mr_json_text(table->row[i].like->method));
        put(&one, "label", mr_json_text(mr_table_cell(table, i, 0)->text));
        put(&one, "r", r_json(table->row[i].like->r));
        put(&one, "cells", cells_json(section, table, i));
        mr_json_append(&list, one);
    }
    return list;
}

static json_t *line_json(const mr_section *section, const char *const *columns, int64_t i)
{
    const mr_table *table = &section->table[MR_TABLE_SCORES];
    const mr_row *row = &table->row[i];
    json_t *chosen = json_array(), *paper = row->paper ? json_object() : json_null();
    for (int b = 0; b < section->blocks; b++)
        mr_json_append(&chosen, row->rate[b]
                                    ? tried_json(&section->block[b], row->group[b], row->rate[b])
                                    : json_null());
    for (int64_t c = 0; row->paper && c < table->columns; c++) {
        const mr_cell *cell = mr_table_cell(table, i, c);
        if (table->column[c].paper < 0) continue;
        put(&paper, columns[table->column[c].paper],
            cell->value.n > 0 ? mr_json_number(cell->value.mean) : json_null());
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "method",
                     mr_json_text(row->like ? row->like->method : row->paper->method), "label",
                     mr_json_text(mr_table_cell(table, i, 0)->text), "r",
                     r_json(row->like ? row->like->r : row->paper->r), "chosen", chosen, "cells",
                     cells_json(section, table, i), "paper", paper);
}

static json_t *section_json(const mr_section *section, const char *const *columns)
{
    json_t *blocks = json_array(), *rows = json_array(), *tries = json_array();
    for (int b = 0; b < section->blocks; b++) {
        mr_json_append(&blocks, block_json(&section->block[b]));
        mr_json_append(&tries, tries_json(section, b));
    }
    for (int64_t i = 0; i < section->table[MR_TABLE_SCORES].rows; i++)
        mr_json_append(&rows, line_json(section, columns, i));
    return json_pack("{s:o, s:o, s:o, s:o}", "title", mr_json_text(section->title), "blocks",
                     blocks, "rows", rows, "rates", tries);
}

static json_t *table_json(const mr_paper_table *paper)
{
    json_t *columns = json_array();
    for (int c = 0; c < paper->columns; c++)
        mr_json_append(&columns, json_string(paper->column[c]));
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "table", paper->name, "source",
                     paper->source, "setting", paper->setting, "note", paper->note, "r",
                     r_json(mr_paper_only_r(paper)), "columns", columns);
}

static json_t *report_json(const mr_report *report)
{
    json_t *sections = json_array(), *unsound = json_array();
    for (int64_t s = 0; s < report->sections; s++)
        mr_json_append(&sections, section_json(&report->section[s], report->paper->column));
    for (int64_t i = 0; i < report->results->unsound.count; i++)
        mr_json_append(&unsound, mr_json_text(report->results->unsound.item[i]));
    return json_pack("{s:o, s:o, s:o}", "paper", table_json(report->paper), "sections", sections,
                     "unsound", unsound);
}

static mr_status render(const mr_report *report, mr_text *out)
{
    json_t *root = report_json(report);
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    MR_CHECK(text, MR_ERR_MEMORY, "cannot allocate the JSON of the table");
    mr_text_add(out, "%s\n", text);
    free(text);
    return out->failed ? MR_ERR_MEMORY : MR_OK;
}

const mr_renderer mr_renderer_json = {.name = "json", .render = render};
