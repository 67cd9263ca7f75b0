/* A report for machines: the tables, and what of the results stands behind each row. */

#include "config/value.h"
#include "report/render.h"
#include "report/setting.h"
#include "store/json.h"

#include <math.h>
#include <stdlib.h>

/* What is being written. jansson refuses text that is not UTF-8, as names of files may be. */
typedef struct writer {
    const mr_report *report;
    const mr_measure *measure;
    bool failed;
} writer;

static json_t *keep(writer *w, json_t *value)
{
    if (!value) w->failed = true;
    return value;
}

static void append(writer *w, json_t *list, json_t *item)
{
    if (json_array_append_new(list, item) != 0) w->failed = true;
}

static json_t *r_json(int64_t r)
{
    return r == 0 ? json_null() : json_integer(r);
}

static void add_key(writer *w, const mr_key *key, const mr_config *config, json_t *object)
{
    mr_text text = {0};
    mr_value_text(key, config, MR_VALUE_PLAIN, &text);
    if (text.failed || json_object_set_new(object, key->key, json_string(mr_text_get(&text))) != 0)
        w->failed = true;
    mr_text_free(&text);
}

/* Which numbers of a cell are listed. */
typedef enum part { STEP, MEAN, SPREAD } part;

/* One score of a row of the rates at each step; the spread of a single seed is unknown, not 0. */
static json_t *numbers(writer *w, const mr_table *table, int64_t row, int score, part which)
{
    const mr_rate *rate = table->row[row].rate;
    if (rate->seeds < (int64_t)which) return json_null();
    json_t *list = json_array();
    for (int64_t c = 0; c < table->columns; c++) {
        const mr_column *column = &table->column[c];
        const mr_estimate *value = &mr_table_cell(table, row, c)->value;
        if (column->score != score || isnan(column->step)) continue;
        append(w, list,
               mr_json_number(which == STEP   ? column->step
                              : which == MEAN ? value->mean
                                              : value->spread));
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
static json_t *scores_json(writer *w, const mr_table *table, int64_t row)
{
    json_t *list = json_array();
    for (int k = 0; k < w->measure->scores; k++)
        append(w, list,
               json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "set", w->measure->score[k].set, "score",
                         w->measure->score[k].name, "steps", numbers(w, table, row, k, STEP),
                         "mean", numbers(w, table, row, k, MEAN), "spread",
                         numbers(w, table, row, k, SPREAD), "mean_of_steps",
                         mean_of_steps(table, row, k)));
    return list;
}

static void put(writer *w, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0) w->failed = true;
}

static json_t *rate_json(writer *w, const mr_table *table, int64_t row)
{
    const mr_rate *rate = table->row[row].rate;
    const int choice = w->measure->choice;
    json_t *seeds = json_array(), *logs = json_array();
    for (int64_t i = 0; i < rate->seeds; i++) {
        append(w, seeds, json_integer(rate->run[i]->config.run.seed));
        append(w, logs, json_string(rate->run[i]->path));
    }
    json_t *object = keep(w, json_pack("{s:f, s:o, s:I, s:o, s:o, s:o, s:o}", "lr", rate->lr,
                                       "seeds", seeds, "left_out", (json_int_t)rate->left_out,
                                       "mean", numbers(w, table, row, choice, MEAN), "spread",
                                       numbers(w, table, row, choice, SPREAD), "mean_of_steps",
                                       mean_of_steps(table, row, choice), "logs", logs));
    if (w->measure->scores > 1) put(w, object, "scores", scores_json(w, table, row));
    return object;
}

static json_t *group_json(writer *w, const mr_section *section, const mr_group *group,
                          json_t *config)
{
    const mr_table *table = &section->table[MR_TABLE_RATES];
    json_t *rates = json_array(), *best = NULL;
    for (int64_t i = 0; i < table->rows; i++) {
        if (table->row[i].group != group) continue;
        append(w, rates, rate_json(w, table, i));
        if (table->row[i].rate == group->best) best = rate_json(w, table, i);
    }
    return keep(w, json_pack("{s:o, s:I, s:I, s:o, s:b, s:I, s:o}", "config", config,
                             "trainable_parameters", (json_int_t)group->first->trainable, "merges",
                             (json_int_t)group->first->merges, "best", best ? best : json_null(),
                             "best_at_edge", group->edge, "rates_tried", (json_int_t)group->tried,
                             "rates", rates));
}

/* The keys of a method in which the groups that are alike (NULL: all) differ, as `group` has them.
 */
static mr_status add_varying(writer *w, const mr_setting *setting, const mr_group *alike,
                             const mr_group *group, json_t *object)
{
    for (int i = 0; i < mr_schema_count(); i++) {
        const mr_key *key = mr_schema_at(i);
        bool varies;
        if (!mr_results_in_variant(key->key)) continue;
        MR_TRY(mr_setting_key_varies(setting, alike, key->key, &varies));
        if (varies) add_key(w, key, &group->first->config, object);
    }
    return MR_OK;
}

static json_t *paper_json(writer *w, const mr_table *table, int64_t row)
{
    if (!table->row[row].paper) return json_null();
    json_t *list = json_array();
    for (int64_t c = 0; c < table->columns; c++) {
        const mr_estimate *value = &mr_table_cell(table, row, c)->value;
        if (table->column[c].part == MR_COLUMN_PAPER)
            append(w, list, value->n > 0 ? mr_json_number(value->mean) : json_null());
    }
    return list;
}

static mr_status add_row(writer *w, const mr_section *section, int64_t i, json_t *rows)
{
    const mr_table *table = &section->table[MR_TABLE_SCORES];
    const mr_row *row = &table->row[i];
    const mr_group *group = row->group;
    json_t *variant = json_object(), *config = json_object();
    mr_status status = MR_OK;
    if (group) status = add_varying(w, section->setting, group, group, variant);
    if (group && status == MR_OK) status = add_varying(w, section->setting, NULL, group, config);
    append(w, rows,
           json_pack("{s:s, s:o, s:o, s:o, s:o}", "method",
                     group ? group->first->method : row->paper->method, "r",
                     r_json(group ? group->first->r : row->paper->r), "variant", variant, "ours",
                     group ? group_json(w, section, group, json_incref(config)) : json_null(),
                     "paper", paper_json(w, table, i)));
    json_decref(config);
    return status;
}

/* What all runs of a setting share. */
static mr_status add_shared(writer *w, const mr_setting *setting, json_t *config)
{
    for (int i = 0; i < mr_schema_count(); i++) {
        const mr_key *key = mr_schema_at(i);
        bool apart = !mr_results_in_setting(key->key);
        if (mr_results_in_variant(key->key))
            MR_TRY(mr_setting_key_varies(setting, NULL, key->key, &apart));
        if (!apart) add_key(w, key, &setting->first->config, config);
    }
    return MR_OK;
}

static json_t *left_out_json(writer *w, const mr_setting *setting)
{
    json_t *list = json_array();
    for (int64_t i = setting->begin; i < setting->end; i++) {
        const mr_result *run = w->report->results->run[i];
        if (!run->left_out) continue;
        append(w, list,
               json_pack("{s:s, s:s, s:o, s:f, s:I, s:s, s:s}", "run", run->config.run.name,
                         "method", run->method, "r", r_json(run->r), "lr", run->config.train.lr,
                         "seed", (json_int_t)run->config.run.seed, "reason", run->left_out, "log",
                         run->path));
    }
    return list;
}

static mr_status add_setting(writer *w, const mr_section *section, json_t *settings)
{
    const mr_setting *setting = section->setting;
    const mr_result *first = setting->first;
    const mr_series *series = &first->series[w->measure->choice];
    mr_text name = {0};
    json_t *config = json_object(), *rows = json_array(), *steps = json_array();
    mr_status status = add_shared(w, setting, config);
    for (int64_t i = 0; status == MR_OK && i < section->table[MR_TABLE_SCORES].rows; i++)
        status = add_row(w, section, i, rows);
    for (int64_t e = 0; !first->left_out && e < series->count; e++)
        append(w, steps, mr_json_number(series->step[e]));
    mr_setting_name(w->report->results, setting, &name);
    if (name.failed) w->failed = true;
    append(w, settings,
           json_pack("{s:s, s:o, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "name",
                     mr_text_get(&name), "config", config, "data_hash", first->data_hash,
                     "base_parameters", (json_int_t)first->base_parameters, "train_steps",
                     (json_int_t)first->steps, "seq_len", (json_int_t)first->seq_len, "scored",
                     series->scored > 0 ? json_integer(series->scored) : json_null(), "steps",
                     steps, "rows", rows, "left_out", left_out_json(w, setting)));
    mr_text_free(&name);
    return status;
}

static const char *better(const mr_score *score)
{
    return score->lower_is_better ? "lower" : "higher";
}

/* The scores of the measure, where there are several. */
static json_t *measure_json(writer *w)
{
    json_t *list = json_array();
    for (int k = 0; k < w->measure->scores; k++) {
        const mr_score *score = &w->measure->score[k];
        append(w, list,
               json_pack("{s:s, s:s, s:s, s:s, s:o}", "set", score->set, "score", score->name,
                         "caption", score->caption, "better", better(score), "chance",
                         mr_json_number(score->chance)));
    }
    return list;
}

static json_t *paper_head(writer *w, const mr_paper_table *paper)
{
    json_t *columns = json_array();
    for (int c = 0; c < paper->columns; c++)
        append(w, columns, json_string(paper->column[c]));
    return keep(w, json_pack("{s:s, s:s, s:s, s:o, s:o}", "table", paper->name, "source",
                             paper->source, "setting", paper->setting, "r",
                             r_json(mr_paper_only_r(paper)), "columns", columns));
}

static mr_status make(writer *w, json_t **out)
{
    const mr_results *results = w->report->results;
    const mr_score *score = &w->measure->score[w->measure->choice];
    json_t *settings = json_array(), *unsound = json_array();
    mr_status status = MR_OK;
    for (int64_t s = 0; status == MR_OK && s < w->report->sections; s++)
        status = add_setting(w, &w->report->section[s], settings);
    for (int64_t i = 0; i < results->unsound.count; i++)
        append(w, unsound, json_string(results->unsound.item[i]));
    *out =
        keep(w, json_pack("{s:o, s:s, s:s, s:s, s:o, s:o, s:o}", "paper",
                          paper_head(w, w->report->paper), "task", w->measure->task, "score",
                          score->caption, "better", better(score), "chance",
                          mr_json_number(score->chance), "settings", settings, "unsound", unsound));
    if (*out && w->measure->scores > 1) put(w, *out, "scores", measure_json(w));
    return status;
}

static mr_status render(const mr_report *report, mr_text *out)
{
    writer w = {.report = report, .measure = &report->paper->measure};
    json_t *root = NULL;
    mr_status status = make(&w, &root);
    char *text = status == MR_OK && !w.failed ? json_dumps(root, JSON_INDENT(1)) : NULL;
    if (text) mr_text_add(out, "%s\n", text);
    if (status == MR_OK && !text)
        status =
            mr_fail(MR_ERR_FORMAT, "cannot write JSON: the name of a file or run is not UTF-8, "
                                   "or memory is short");
    if (status == MR_OK && out->failed) status = MR_ERR_MEMORY;
    free(text);
    json_decref(root);
    return status;
}

const mr_renderer mr_renderer_json = {.name = "json", .render = render};
