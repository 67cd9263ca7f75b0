/* A report for machines: the tables, and what of the results stands behind each row.
 *
 * What cannot be made is NULL, and so is what it is packed into: memory alone can be short. */

#include "config/registry.h"
#include "report/render.h"
#include "report/setting.h"
#include "store/json.h"

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

/* Which numbers of a cell are listed. */
typedef enum part { STEP, MEAN, SPREAD, INTERVAL } part;

/* Where the mean over all seeds is with a probability of 95 %. */
static json_t *interval_json(const mr_estimate *value)
{
    const mr_interval interval = mr_estimate_interval(*value, 0.95);
    return json_pack("[o, o]", mr_json_number(interval.low), mr_json_number(interval.high));
}

/* One score of a row of the rates at each step; the spread of a single seed is unknown, not 0. */
static json_t *numbers(const mr_table *table, int64_t row, int score, part which)
{
    static const int64_t seeds[] = {[STEP] = 0, [MEAN] = 1, [SPREAD] = 2, [INTERVAL] = 2};
    if (table->row[row].rate->seeds < seeds[which]) return json_null();
    json_t *list = json_array();
    for (int64_t c = 0; c < table->columns; c++) {
        const mr_column *column = &table->column[c];
        const mr_estimate *value = &mr_table_cell(table, row, c)->value;
        if (column->score != score || isnan(column->step)) continue;
        mr_json_append(&list, which == STEP     ? mr_json_number(column->step)
                              : which == MEAN   ? mr_json_number(value->mean)
                              : which == SPREAD ? mr_json_number(value->spread)
                                                : interval_json(value));
    }
    return list;
}

static json_t *mean_of_steps(const mr_table *table, int64_t row, int score)
{
    for (int64_t c = 0; c < table->columns; c++) {
        const mr_cell *cell = mr_table_cell(table, row, c);
        if (table->column[c].score == score && table->column[c].kind == MR_COLUMN_NUMBER)
            return cell->value.n > 0 ? mr_json_number(cell->value.mean) : json_null();
    }
    return json_null();
}

/* All scores of a row, where there are several. */
static json_t *scores_json(const mr_measure *measure, const mr_table *table, int64_t row)
{
    json_t *list = json_array();
    for (int k = 0; k < measure->scores; k++)
        mr_json_append(&list,
                       json_pack("{s:s*, s:s*, s:s, s:o, s:o, s:o, s:o, s:o}", "set",
                                 measure->score[k].set, "projection", measure->score[k].projection,
                                 "score", measure->score[k].name, "steps",
                                 numbers(table, row, k, STEP), "mean", numbers(table, row, k, MEAN),
                                 "spread", numbers(table, row, k, SPREAD), "interval",
                                 numbers(table, row, k, INTERVAL), "mean_of_steps",
                                 mean_of_steps(table, row, k)));
    return list;
}

static json_t *rate_json(const mr_measure *measure, const mr_table *table, int64_t row)
{
    const mr_rate *rate = table->row[row].rate;
    const int choice = measure->choice;
    json_t *seeds = json_array(), *logs = json_array();
    for (int64_t i = 0; i < rate->seeds; i++) {
        mr_json_append(&seeds, json_integer(rate->run[i]->config.run.seed));
        mr_json_append(&logs, mr_json_text(rate->run[i]->path));
    }
    json_t *object = json_pack(
        "{s:f, s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "lr", rate->lr, "seeds", seeds, "left_out",
        (json_int_t)rate->left_out, "mean", numbers(table, row, choice, MEAN), "spread",
        numbers(table, row, choice, SPREAD), "interval", numbers(table, row, choice, INTERVAL),
        "mean_of_steps", mean_of_steps(table, row, choice), "logs", logs);
    if (measure->scores > 1) put(&object, "scores", scores_json(measure, table, row));
    return object;
}

static json_t *group_json(const mr_measure *measure, const mr_table *table, const mr_group *group,
                          json_t *config)
{
    json_t *rates = json_array(), *best = group->best ? NULL : json_null();
    for (int64_t i = 0; i < table->rows; i++) {
        if (table->row[i].group != group) continue;
        mr_json_append(&rates, rate_json(measure, table, i));
        if (table->row[i].rate == group->best) best = rate_json(measure, table, i);
    }
    return json_pack("{s:o, s:I, s:I, s:o, s:b, s:I, s:o}", "config", config,
                     "trainable_parameters", (json_int_t)group->first->trainable, "merges",
                     (json_int_t)group->first->merges, "best", best, "best_at_edge", group->edge,
                     "rates_tried", (json_int_t)group->tried, "rates", rates);
}

/* The keys of a method in which the groups that are alike (NULL: all) differ, as `group` has them;
 * none where that is NULL. */
static json_t *varying_json(const mr_setting *setting, const mr_group *alike, const mr_group *group)
{
    json_t *object = json_object();
    const mr_registry *registry = setting->first->config.registry;
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

static json_t *paper_json(const mr_table *table, int64_t row)
{
    if (!table->row[row].paper) return json_null();
    json_t *list = json_array();
    for (int64_t c = 0; c < table->columns; c++) {
        const mr_estimate *value = &mr_table_cell(table, row, c)->value;
        if (table->column[c].part == MR_COLUMN_PAPER)
            mr_json_append(&list, value->n > 0 ? mr_json_number(value->mean) : json_null());
    }
    return list;
}

static json_t *row_json(const mr_measure *measure, const mr_section *section, int64_t i)
{
    const mr_table *scores = &section->table[MR_TABLE_SCORES];
    const mr_row *row = &scores->row[i];
    const mr_group *group = row->group;
    json_t *ours = group ? group_json(measure, &section->table[MR_TABLE_RATES], group,
                                      varying_json(section->setting, NULL, group))
                         : json_null();
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "method",
                     mr_json_text(group ? group->first->method : row->paper->method), "r",
                     r_json(group ? group->first->r : row->paper->r), "variant",
                     varying_json(section->setting, group, group), "ours", ours, "paper",
                     paper_json(scores, i));
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

static json_t *section_json(const mr_report *report, const mr_section *section)
{
    const mr_setting *setting = section->setting;
    const mr_result *first = setting->first;
    const mr_measure *measure = &report->paper->measure;
    int64_t scored = first->series[measure->choice].scored;
    mr_text name = {0};
    json_t *rows = json_array();
    for (int64_t i = 0; i < section->table[MR_TABLE_SCORES].rows; i++)
        mr_json_append(&rows, row_json(measure, section, i));
    mr_setting_name(report->results, setting, &name);
    json_t *object = json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "name",
                               name.failed ? NULL : mr_json_text(mr_text_get(&name)), "config",
                               shared_json(setting), "data_hash", mr_json_text(first->data_hash),
                               "base_parameters", (json_int_t)first->base_parameters, "train_steps",
                               (json_int_t)first->steps, "seq_len", (json_int_t)first->seq_len,
                               "scored", scored > 0 ? json_integer(scored) : json_null(), "steps",
                               numbers(&section->table[MR_TABLE_RATES], 0, measure->choice, STEP),
                               "rows", rows, "left_out", left_out_json(report->results, setting));
    mr_text_free(&name);
    return object;
}

static const char *better(const mr_score *score)
{
    return score->lower_is_better ? "lower" : "higher";
}

/* The scores of the measure, where there are several. */
static json_t *measure_json(const mr_measure *measure)
{
    json_t *list = json_array();
    for (int k = 0; k < measure->scores; k++) {
        const mr_score *score = &measure->score[k];
        mr_json_append(&list, json_pack("{s:s*, s:s*, s:s, s:s, s:s, s:o}", "set", score->set,
                                        "projection", score->projection, "score", score->name,
                                        "caption", score->caption, "better", better(score),
                                        "chance", mr_json_number(score->chance)));
    }
    return list;
}

static json_t *table_json(const mr_paper_table *paper)
{
    json_t *columns = json_array();
    for (int c = 0; c < paper->columns; c++)
        mr_json_append(&columns, json_string(paper->column[c]));
    return json_pack("{s:s, s:s, s:s, s:o, s:o}", "table", paper->name, "source", paper->source,
                     "setting", paper->setting, "r", r_json(mr_paper_only_r(paper)), "columns",
                     columns);
}

static json_t *report_json(const mr_report *report)
{
    const mr_measure *measure = &report->paper->measure;
    const mr_score *score = &measure->score[measure->choice];
    json_t *settings = json_array(), *unsound = json_array();
    for (int64_t s = 0; s < report->sections; s++)
        mr_json_append(&settings, section_json(report, &report->section[s]));
    for (int64_t i = 0; i < report->results->unsound.count; i++)
        mr_json_append(&unsound, mr_json_text(report->results->unsound.item[i]));
    json_t *root =
        json_pack("{s:o, s:s, s:s, s:s, s:o, s:o, s:o}", "paper", table_json(report->paper), "task",
                  measure->task, "score", score->caption, "better", better(score), "chance",
                  mr_json_number(score->chance), "settings", settings, "unsound", unsound);
    if (measure->scores > 1) put(&root, "scores", measure_json(measure));
    return root;
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
