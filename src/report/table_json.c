#include "report/table.h"
#include "config/value.h"
#include "store/json.h"

/* What is being written. jansson refuses text that is not UTF-8, as names of files may be. */
typedef struct writer {
    const mr_paper_table *paper;
    const mr_results *results;
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

static json_t *numbers(writer *w, const double *value, int64_t count, double scale)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++)
        append(w, list, mr_json_number(scale * value[i]));
    return list;
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

/* The spread of a single seed is unknown, not 0. */
static json_t *rate_json(writer *w, const mr_rate *rate)
{
    double scale = w->paper->scale;
    json_t *seeds = json_array(), *logs = json_array();
    for (int64_t i = 0; i < rate->seeds; i++) {
        append(w, seeds, json_integer(rate->run[i]->config.run.seed));
        append(w, logs, json_string(rate->run[i]->path));
    }
    int64_t evaluations = rate->seeds > 0 ? rate->run[0]->evaluations : 0;
    return keep(
        w, json_pack("{s:f, s:o, s:I, s:o, s:o, s:o, s:o}", "lr", rate->lr, "seeds", seeds,
                     "left_out", (json_int_t)rate->left_out, "mean",
                     rate->seeds > 0 ? numbers(w, rate->mean, evaluations, scale) : json_null(),
                     "spread",
                     rate->seeds > 1 ? numbers(w, rate->spread, evaluations, scale) : json_null(),
                     "mean_of_steps",
                     rate->seeds > 0 ? mr_json_number(scale * rate->average) : json_null(), "logs",
                     logs));
}

static json_t *group_json(writer *w, const mr_group *group, json_t *config)
{
    json_t *rates = json_array();
    for (int64_t k = 0; k < group->rates; k++)
        append(w, rates, rate_json(w, &group->rate[k]));
    return keep(w, json_pack("{s:o, s:I, s:I, s:o, s:b, s:I, s:o}", "config", config,
                             "trainable_parameters", (json_int_t)group->first->trainable, "merges",
                             (json_int_t)group->first->merges, "best",
                             group->best ? rate_json(w, group->best) : json_null(), "best_at_edge",
                             group->edge, "rates_tried", (json_int_t)group->tried, "rates", rates));
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
        MR_TRY(mr_table_key_varies(setting, alike, key->key, &varies));
        if (varies) add_key(w, key, &group->first->config, object);
    }
    return MR_OK;
}

static mr_status add_row(writer *w, const mr_setting *setting, const mr_table_row *row,
                         json_t *rows)
{
    const mr_group *group = row->group;
    json_t *variant = json_object(), *config = json_object();
    mr_status status = MR_OK;
    if (group) status = add_varying(w, setting, group, group, variant);
    if (group && status == MR_OK) status = add_varying(w, setting, NULL, group, config);
    append(
        w, rows,
        json_pack("{s:s, s:o, s:o, s:o, s:o}", "method",
                  group ? group->first->method : row->paper->method, "r",
                  r_json(group ? group->first->r : row->paper->r), "variant", variant, "ours",
                  group ? group_json(w, group, json_incref(config)) : json_null(), "paper",
                  row->paper ? numbers(w, row->paper->value, w->paper->columns, 1) : json_null()));
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
            MR_TRY(mr_table_key_varies(setting, NULL, key->key, &apart));
        if (!apart) add_key(w, key, &setting->first->config, config);
    }
    return MR_OK;
}

static json_t *left_out_json(writer *w, const mr_setting *setting)
{
    json_t *list = json_array();
    for (int64_t i = setting->begin; i < setting->end; i++) {
        const mr_result *run = w->results->run[i];
        if (!run->left_out) continue;
        append(w, list,
               json_pack("{s:s, s:s, s:o, s:f, s:I, s:s, s:s}", "run", run->config.run.name,
                         "method", run->method, "r", r_json(run->r), "lr", run->config.train.lr,
                         "seed", (json_int_t)run->config.run.seed, "reason", run->left_out, "log",
                         run->path));
    }
    return list;
}

static mr_status add_setting(writer *w, const mr_setting *setting, json_t *settings)
{
    const mr_result *first = setting->first;
    mr_table_row *row = NULL;
    int64_t count = 0;
    mr_text name = {0};
    json_t *config = json_object(), *rows = json_array();
    mr_status status = add_shared(w, setting, config);
    if (status == MR_OK) status = mr_table_rows(w->paper, setting, &row, &count);
    for (int64_t i = 0; status == MR_OK && i < count; i++)
        status = add_row(w, setting, &row[i], rows);
    mr_table_name(w->results, setting, &name);
    if (name.failed) w->failed = true;
    int64_t evaluations = first->left_out ? 0 : first->evaluations;
    append(w, settings,
           json_pack("{s:s, s:o, s:s, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "name",
                     mr_text_get(&name), "config", config, "data_hash", first->data_hash,
                     "base_parameters", (json_int_t)first->base_parameters, "train_steps",
                     (json_int_t)first->steps, "seq_len", (json_int_t)first->seq_len, "scored",
                     first->scored > 0 ? json_integer(first->scored) : json_null(), "steps",
                     numbers(w, first->step, evaluations, 1), "rows", rows, "left_out",
                     left_out_json(w, setting)));
    mr_text_free(&name);
    mr_free(row);
    return status;
}

mr_status mr_table_json(const mr_paper_table *paper, const mr_results *results, json_t **out)
{
    writer w = {.paper = paper, .results = results};
    json_t *columns = json_array(), *settings = json_array(), *unsound = json_array();
    mr_status status = MR_OK;
    for (int c = 0; c < paper->columns; c++)
        append(&w, columns, json_string(paper->column[c]));
    for (int64_t s = 0; status == MR_OK && s < results->settings; s++)
        status = add_setting(&w, &results->setting[s], settings);
    for (int64_t i = 0; i < results->unsound.count; i++)
        append(&w, unsound, json_string(results->unsound.item[i]));
    *out = keep(&w,
                json_pack("{s:{s:s, s:s, s:s, s:o, s:o}, s:s, s:s, s:s, s:o, s:o, s:o}", "paper",
                          "table", paper->name, "source", paper->source, "setting", paper->setting,
                          "r", r_json(mr_paper_only_r(paper)), "columns", columns, "task",
                          paper->measure.task, "score", paper->caption, "better",
                          paper->measure.lower_is_better ? "lower" : "higher", "chance",
                          mr_json_number(paper->chance), "settings", settings, "unsound", unsound));
    if (status == MR_OK && w.failed)
        status =
            mr_fail(MR_ERR_FORMAT, "cannot write JSON: the name of a file or run is not UTF-8, "
                                   "or memory is short");
    if (status != MR_OK) {
        json_decref(*out);
        *out = NULL;
    }
    return status;
}
