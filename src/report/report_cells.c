/* Columns and cells that the tables of a report share, and which scores they tell of. */

#include "config/value.h"
#include "report/report_impl.h"
#include "report/setting.h"
#include "train/registry.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool mr_report_has_set(const mr_report_block *block, const char *part)
{
    const mr_setting *setting = block->setting;
    for (int64_t i = setting ? setting->begin : 0; setting && i < setting->end; i++)
        if (mr_result_find(block->results->run[i], part)) return true;
    return false;
}

static bool has_part(const mr_score *score, const char *part)
{
    for (int p = 0; p < score->parts; p++)
        if (strcmp(score->part[p], part) == 0) return true;
    return false;
}

/* Whether runs have a set of a score that no other of the same question has: first..end. */
static bool has_own(const mr_report_block *block, int score, int first, int end)
{
    const mr_score *of = block->results->measure.score;
    for (int p = 0; p < of[score].parts; p++) {
        bool shared = false;
        for (int k = first; k < end; k++)
            shared = shared || (k != score && has_part(&of[k], of[score].part[p]));
        if (!shared && mr_report_has_set(block, of[score].part[p])) return true;
    }
    return false;
}

bool mr_report_shows(const mr_report_block *block, int score)
{
    const mr_measure *measure = &block->results->measure;
    int first = score, end = score + 1;
    bool any = false;
    while (measure->score[first].again)
        first--;
    while (end < measure->scores && measure->score[end].again)
        end++;
    for (int k = first; k < end; k++)
        any = any || has_own(block, k, first, end);
    return any ? end - first == 1 || has_own(block, score, first, end) : score == first;
}

const mr_series *mr_report_series(const mr_report_block *block, int score)
{
    static const mr_series none = {0};
    const mr_setting *setting = block->setting;
    return !setting || setting->first->left_out ? &none : &setting->first->series[score];
}

/* Labels. */

mr_status mr_report_add_key(const char *key, const char *in_paper, const mr_result *run,
                            mr_text *text)
{
    mr_text_add(text, "%s%s=", text->length > 0 ? " " : "", strchr(key, '.') + 1);
    if (!in_paper) return mr_config_value_text(&run->config, key, text);
    mr_text_add(text, "%s", in_paper);
    return MR_OK;
}

/* The method's name, behind it the keys that the paper's row names, and, where a setting is given,
 * those in which groups of one method and r differ; without it those that rows of the paper name.
 */
mr_status mr_report_add_label(const mr_report_maker *m, const mr_row *row, const mr_result *run,
                              const mr_setting *setting, mr_table *table)
{
    mr_text text = {0};
    mr_status status = MR_OK;
    const mr_registry *registry = mr_registry_of_program();
    const char *method = run ? run->method : row->paper->method;
    mr_text_add(&text, "%s", method);
    for (int i = 0; status == MR_OK && i < registry->count; i++) {
        const char *key = registry->at[i].key->key;
        const char *in_paper = mr_report_in_paper(row->paper, key);
        bool told = in_paper != NULL;
        if (!told && run && mr_results_in_variant(key) && mr_config_has(&run->config, key)) {
            if (m->paper->searched) told = mr_report_names_key(m->paper, method, key);
            for (int64_t g = 0; setting && !told && g < setting->groups; g++)
                if (setting->group[g].first == run)
                    status = mr_setting_key_varies(setting, &setting->group[g], key, &told);
        }
        if (told && status == MR_OK) status = mr_report_add_key(key, in_paper, run, &text);
    }
    mr_table_add_text(table, mr_text_get(&text), NULL);
    if (text.failed) status = MR_ERR_MEMORY;
    mr_text_free(&text);
    return status;
}

void mr_report_add_r(int64_t r, mr_table *table)
{
    if (r == 0)
        mr_table_add_missing(table);
    else
        mr_table_add_number(table, (double)r);
}

mr_status mr_report_rate_text(double lr, mr_text *out)
{
    mr_config config;
    mr_config_defaults(NULL, &config);
    config.train.lr = lr;
    return mr_config_value_text(&config, "train.lr", out);
}

mr_status mr_report_add_rate(const mr_group *group, const mr_rate *rate, mr_table *table)
{
    static const char *const marks[2][2] = {{NULL, "+"}, {"*", "*+"}};
    mr_text text = {0};
    mr_status status = mr_report_rate_text(rate->lr, &text);
    bool edge = group->edge && rate == group->best;
    mr_table_add_text(table, mr_text_get(&text), marks[edge][rate->left_out > 0]);
    mr_text_free(&text);
    return status;
}

/* Scores. */

/* Evaluation e of a score at a rate; a mean of sets of which the run has some says of how many. */
void mr_report_add_score(const mr_score *score, const mr_rate *rate, int k, int64_t e,
                         mr_table *table)
{
    char why[64];
    if (!rate || rate->seeds == 0) {
        mr_table_add_missing(table);
        return;
    }
    if (rate->course[k].count <= e) {
        const int there = rate->run[0]->series[k].there;
        snprintf(why, sizeof why, "%d of %d sets", there, score->parts);
        if (there > 0)
            mr_table_add_absent(table, why);
        else
            mr_table_add_missing(table);
        return;
    }
    mr_estimate value = rate->course[k].at[e];
    value.mean *= score->scale;
    value.spread *= score->scale;
    mr_table_add_estimate(table, value);
    if (e + 1 == rate->course[k].count)
        table->cell[table->cells_added - 1].error = score->scale * rate->error[k];
}

mr_column *mr_report_label_column(mr_table *table, mr_column_kind kind, const char *heading)
{
    mr_column *column = mr_table_column(table, kind, heading);
    column->right = kind != MR_COLUMN_TEXT;
    return column;
}

/* A column of one score of ours, at a step. */
mr_column *mr_report_score_column(const mr_report_maker *m, int block, int score, double step,
                                  const char *heading, mr_table *table)
{
    mr_column *column = mr_report_label_column(table, MR_COLUMN_ESTIMATE, heading);
    column->block = block;
    column->score = score;
    column->step = step;
    column->decimals = m->section->block[block].results->measure.score[score].decimals;
    return column;
}

/* "step 100" */
const char *mr_report_step_text(double step, bool named, char text[64])
{
    text[0] = '\0';
    if (!isnan(step)) snprintf(text, 64, "%s%.0f", named ? "step " : "", step);
    return text;
}

/* The name of a block's task; of further settings of one task with their number. */
void mr_report_block_name(const mr_report_maker *m, int block, char name[64])
{
    const char *task = m->section->block[block].results->measure.task;
    int number = 1;
    for (int b = 0; b < block; b++)
        number += m->section->block[b].results == m->section->block[block].results;
    snprintf(name, 64, number > 1 ? "%s %d" : "%s", task, number);
}
