#include "report/report.h"

#include "config/value.h"
#include "report/setting.h"
#include "train/registry.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a section is made of. */
typedef struct maker {
    const mr_paper_table *paper;
    const mr_results *results;
    const mr_setting *setting;
    const mr_row *row; /* lines of the table of scores */
    int64_t rows;
    mr_section *section;
} maker;

static const mr_score *score_that_chooses(const maker *m)
{
    return &m->paper->measure.score[m->paper->measure.choice];
}

/* Lists the lines of the table of scores; room is for all rows of the paper and all groups. */
static mr_status list_rows(const maker *m, mr_row *rows, int64_t *count)
{
    const mr_setting *setting = m->setting;
    const mr_paper_row **of = mr_alloc_array(MR_MEM_OTHER, (size_t)setting->groups, sizeof *of);
    mr_status status = of ? MR_OK : MR_ERR_MEMORY;
    for (int64_t g = 0; status == MR_OK && g < setting->groups; g++)
        status = mr_paper_row_of(m->paper, setting->group[g].first, &of[g]);
    int64_t next = 0; /* groups before it, ascending by r, stand in the list or have a paper row */
    bool any_r = mr_paper_only_r(m->paper) > 0;
    for (int p = 0; status == MR_OK && p <= m->paper->rows; p++) {
        const mr_paper_row *paper = p < m->paper->rows ? &m->paper->row[p] : NULL;
        int64_t above = !paper ? INT64_MAX : any_r ? 1 : paper->r;
        for (; next < setting->groups && setting->group[next].first->r < above; next++)
            if (!of[next]) rows[(*count)++].group = &setting->group[next];
        if (!paper) break;
        int64_t before = *count;
        for (int64_t g = 0; g < setting->groups; g++)
            if (of[g] == paper) rows[(*count)++].group = &setting->group[g];
        if (*count == before) (*count)++;
        for (int64_t i = before; i < *count; i++)
            rows[i].paper = paper;
    }
    for (int64_t i = 0; i < *count; i++)
        rows[i].rate = rows[i].group ? rows[i].group->best : NULL;
    mr_free(of);
    return status;
}

/* The value of a key that tells the paper's row from others; NULL: it does not. */
static const char *value_in_paper(const mr_row *row, const char *key)
{
    for (int k = 0; row->paper && k < row->paper->keys; k++)
        if (strcmp(row->paper->key[k].key, key) == 0) return row->paper->key[k].value;
    return NULL;
}

/* The method's name, behind it the keys in which the paper's rows or our groups of one r differ. */
static mr_status add_label(const maker *m, const mr_row *row, mr_table *table)
{
    mr_text text = {0};
    mr_status status = MR_OK;
    mr_text_add(&text, "%s", row->group ? row->group->first->method : row->paper->method);
    const mr_registry *registry = mr_registry_of_program();
    for (int i = 0; status == MR_OK && i < registry->count; i++) {
        const char *key = registry->at[i].key->key;
        const char *in_paper = value_in_paper(row, key);
        bool told = in_paper != NULL;
        if (!told && row->group && mr_results_in_variant(key))
            status = mr_setting_key_varies(m->setting, row->group, key, &told);
        if (told) mr_text_add(&text, " %s=", strchr(key, '.') + 1);
        if (in_paper)
            mr_text_add(&text, "%s", in_paper);
        else if (told && status == MR_OK)
            status = mr_config_value_text(&row->group->first->config, key, &text);
    }
    mr_table_add_text(table, mr_text_get(&text), NULL);
    if (text.failed) status = MR_ERR_MEMORY;
    mr_text_free(&text);
    return status;
}

static void add_r(int64_t r, mr_table *table)
{
    if (r == 0)
        mr_table_add_missing(table);
    else
        mr_table_add_number(table, (double)r);
}

/* In the form that configurations have it in. */
static mr_status rate_text(double lr, mr_text *out)
{
    mr_config config;
    mr_config_defaults(NULL, &config);
    config.train.lr = lr;
    return mr_config_value_text(&config, "train.lr", out);
}

static mr_status add_rate(const mr_group *group, const mr_rate *rate, mr_table *table)
{
    static const char *const marks[2][2] = {{NULL, "+"}, {"*", "*+"}};
    mr_text text = {0};
    mr_status status = rate_text(rate->lr, &text);
    bool edge = group->edge && rate == group->best;
    mr_table_add_text(table, mr_text_get(&text), marks[edge][rate->left_out > 0]);
    mr_text_free(&text);
    return status;
}

static void add_score(const mr_score *score, mr_estimate value, mr_table *table)
{
    value.mean *= score->scale;
    value.spread *= score->scale;
    mr_table_add_estimate(table, value);
}

static mr_column *add_label_column(mr_table *table, mr_column_kind kind, const char *heading)
{
    mr_column *column = mr_table_column(table, kind, heading);
    column->right = kind != MR_COLUMN_TEXT;
    return column;
}

/* A column of one score of ours, at a step. */
static mr_column *add_score_column(const maker *m, int score, double step, bool named,
                                   mr_table *table)
{
    char heading[64];
    snprintf(heading, sizeof heading, "%s%.0f", named ? "step " : "", step);
    mr_column *column = add_label_column(table, MR_COLUMN_ESTIMATE, isnan(step) ? "" : heading);
    column->score = score;
    column->step = step;
    column->decimals = m->paper->measure.score[score].decimals;
    return column;
}

/* Evaluations of a score that count; a setting whose runs are all left out has none. */
static const mr_series *series_of(const maker *m, int score)
{
    static const mr_series none = {0};
    return m->setting->first->left_out ? &none : &m->setting->first->series[score];
}

/* The first evaluation that the table of scores shows. */
static int64_t first_shown(const maker *m, int score)
{
    int64_t steps = series_of(m, score)->count;
    return m->paper->by_step || steps == 0 ? 0 : steps - 1;
}

static void add_scores_columns(const maker *m, mr_table *table)
{
    const char *at_step = m->paper->by_step ? " at step" : "";
    char above[256];
    add_label_column(table, MR_COLUMN_TEXT, "method");
    add_label_column(table, MR_COLUMN_INTEGER, "r");
    add_label_column(table, MR_COLUMN_TEXT, "lr");
    add_label_column(table, MR_COLUMN_INTEGER, "seeds")->right = false;
    for (int k = 0; k < m->paper->measure.scores; k++) {
        const mr_series *series = series_of(m, k);
        snprintf(above, sizeof above, "%s%s%s", k == 0 ? "ours: " : "",
                 m->paper->measure.score[k].caption, at_step);
        for (int64_t e = first_shown(m, k); e < series->count; e++) {
            mr_column *column = add_score_column(m, k, series->step[e], !m->paper->by_step, table);
            column->part = MR_COLUMN_OURS;
            if (e == first_shown(m, k)) column->above = mr_table_keep(table, above);
        }
    }
    long long r = mr_paper_only_r(m->paper);
    if (r > 0)
        snprintf(above, sizeof above, "paper: r %lld%s", r, at_step);
    else
        snprintf(above, sizeof above, "paper:%s", at_step);
    for (int c = 0; c < m->paper->columns; c++) {
        mr_column *column = add_label_column(table, MR_COLUMN_NUMBER, m->paper->column[c]);
        column->part = MR_COLUMN_PAPER;
        column->decimals = m->paper->measure.score[m->paper->measure.scores - 1].decimals;
        if (c == 0) column->above = mr_table_keep(table, above);
    }
}

static mr_status add_scores_row(const maker *m, const mr_row *row, mr_table *table)
{
    const mr_measure *measure = &m->paper->measure;
    const mr_rate *rate = row->rate;
    MR_TRY(add_label(m, row, table));
    if (row->group)
        add_r(row->group->first->r, table);
    else /* the only r stands above the paper's columns */
        add_r(mr_paper_only_r(m->paper) > 0 ? 0 : row->paper->r, table);
    if (rate) {
        MR_TRY(add_rate(row->group, rate, table));
        mr_table_add_number(table, (double)rate->seeds);
    } else {
        mr_table_add_missing(table);
        mr_table_add_missing(table);
    }
    for (int k = 0; k < measure->scores; k++)
        for (int64_t e = first_shown(m, k); e < series_of(m, k)->count; e++)
            add_score(&measure->score[k], rate ? rate->course[k].at[e] : (mr_estimate){0}, table);
    for (int c = 0; c < m->paper->columns; c++) {
        if (row->paper && !isnan(row->paper->value[c]))
            mr_table_add_number(table, row->paper->value[c]);
        else
            mr_table_add_missing(table);
    }
    return MR_OK;
}

static mr_status make_scores(const maker *m)
{
    mr_table *table = &m->section->table[MR_TABLE_SCORES];
    int64_t columns = 4 + m->paper->columns;
    for (int k = 0; k < m->paper->measure.scores; k++)
        columns += series_of(m, k)->count - first_shown(m, k);
    MR_TRY(mr_table_create(columns, m->rows, table));
    add_scores_columns(m, table);
    for (int64_t i = 0; i < m->rows; i++) {
        table->row[i] = m->row[i];
        MR_TRY(add_scores_row(m, &m->row[i], table));
    }
    return table->failed ? MR_ERR_MEMORY : MR_OK;
}

/* Whether a score is of several evaluations: of spectra the last snapshot counts alone. */
static bool has_average(const mr_score *score)
{
    return !score->projection;
}

/* Every score at every step; pages show the last. A setting without evaluations has an empty one.
 */
static void add_rates_columns(const maker *m, mr_table *table)
{
    const mr_measure *measure = &m->paper->measure;
    add_label_column(table, MR_COLUMN_TEXT, "method")->once = true;
    add_label_column(table, MR_COLUMN_INTEGER, "r")->once = true;
    add_label_column(table, MR_COLUMN_COUNT, "trained")->once = true;
    add_label_column(table, MR_COLUMN_TEXT, "rates")->once = true;
    add_label_column(table, MR_COLUMN_TEXT, "lr");
    add_label_column(table, MR_COLUMN_INTEGER, "seeds")->right = false;
    for (int k = 0; k < measure->scores; k++) {
        const mr_series *series = series_of(m, k);
        int64_t before = table->columns_added;
        for (int64_t e = 0; e < series->count; e++)
            add_score_column(m, k, series->step[e], true, table)->detail = e + 1 < series->count;
        if (series->count == 0) add_score_column(m, k, NAN, true, table);
        if (has_average(&measure->score[k])) {
            mr_column *all = add_label_column(table, MR_COLUMN_NUMBER, "all steps");
            all->score = k;
            all->decimals = measure->score[k].decimals;
        }
        /* Of many scores a page has pieces; those who look for one find all of its columns. */
        for (int64_t c = before; k > 0 && c < table->columns_added; c++)
            table->column[c].part = MR_COLUMN_OURS;
        if (measure->scores > 1)
            table->column[before].above = mr_table_keep(table, measure->score[k].caption);
    }
    mr_column *choice = add_label_column(table, MR_COLUMN_TEXT, "");
    if (measure->scores > 1) choice->above = mr_table_keep(table, "");
}

static mr_status add_rates_row(const maker *m, const mr_row *row, mr_table *table)
{
    const mr_measure *measure = &m->paper->measure;
    const mr_group *group = row->group;
    const mr_rate *rate = row->rate;
    char tried[64];
    MR_TRY(add_label(m, row, table));
    add_r(group->first->r, table);
    mr_table_add_number(table, (double)group->first->trainable);
    if (group->tried < group->rates)
        snprintf(tried, sizeof tried, "%lld of %lld", (long long)group->tried,
                 (long long)group->rates);
    else
        snprintf(tried, sizeof tried, "%lld", (long long)group->rates);
    mr_table_add_text(table, tried, NULL);
    MR_TRY(add_rate(group, rate, table));
    mr_table_add_number(table, (double)rate->seeds);
    for (int k = 0; k < measure->scores; k++) {
        int64_t steps = series_of(m, k)->count > 0 ? series_of(m, k)->count : 1;
        for (int64_t e = 0; e < steps; e++)
            add_score(&measure->score[k],
                      rate->seeds > 0 ? rate->course[k].at[e] : (mr_estimate){0}, table);
        if (!has_average(&measure->score[k])) continue;
        if (rate->seeds > 0)
            mr_table_add_number(table, measure->score[k].scale * rate->course[k].average);
        else
            mr_table_add_missing(table);
    }
    mr_table_add_text(table, rate == group->best ? "best" : "", NULL);
    return MR_OK;
}

static char *rates_caption(const maker *m, mr_table *table)
{
    mr_text text = {0};
    mr_text_add(&text, "ours: rates tried, ");
    for (int k = 0; k < m->paper->measure.scores; k++)
        mr_text_add(&text, "%s%s", k > 0 ? ", " : "", m->paper->measure.score[k].caption);
    mr_text_add(&text, " at the last step and averaged over all %s",
                m->paper->by_step ? "above" : "evaluations");
    char *caption = mr_table_keep(table, mr_text_get(&text));
    if (text.failed) table->failed = true;
    mr_text_free(&text);
    return caption;
}

static mr_status make_rates(const maker *m)
{
    mr_table *table = &m->section->table[MR_TABLE_RATES];
    int64_t columns = 7, rows = 0;
    for (int k = 0; k < m->paper->measure.scores; k++) {
        int64_t steps = series_of(m, k)->count;
        columns += has_average(&m->paper->measure.score[k]) + (steps > 0 ? steps : 1);
    }
    for (int64_t i = 0; i < m->rows; i++)
        rows += m->row[i].group ? m->row[i].group->rates : 0;
    MR_TRY(mr_table_create(columns, rows, table));
    table->caption = rates_caption(m, table);
    add_rates_columns(m, table);
    int64_t next = 0;
    for (int64_t i = 0; i < m->rows; i++) {
        const mr_group *group = m->row[i].group;
        for (int64_t k = 0; group && k < group->rates; k++) {
            table->row[next] = (mr_row){m->row[i].paper, group, &group->rate[k]};
            MR_TRY(add_rates_row(m, &table->row[next++], table));
        }
    }
    return table->failed ? MR_ERR_MEMORY : MR_OK;
}

static mr_status keep(mr_paragraph *list, int *count, const char *label, const mr_text *text)
{
    MR_INVARIANT(*count < MR_SECTION_WORDS);
    char *copy = text->failed ? NULL : mr_strdup(mr_text_get(text));
    if (!copy) return MR_ERR_MEMORY;
    list[(*count)++] = (mr_paragraph){label, copy};
    return MR_OK;
}

static mr_status add_paragraph(const maker *m, const char *label, const mr_text *text)
{
    return keep(m->section->paragraph, &m->section->paragraphs, label, text);
}

static mr_status add_note(const maker *m, const char *mark, const char *words)
{
    mr_text text = {0};
    mr_text_add(&text, "%s", words);
    mr_status status = keep(m->section->note, &m->section->notes, mark, &text);
    mr_text_free(&text);
    return status;
}

static mr_status make_title(const maker *m, int64_t index)
{
    mr_text text = {0};
    mr_setting_name(m->results, m->setting, &text);
    mr_text_add(&text, ": our runs beside %s", m->paper->source);
    if (m->results->settings > 1) {
        mr_text_add(&text, "; setting %lld of %lld: ", (long long)index + 1,
                    (long long)m->results->settings);
        mr_setting_difference(m->results, m->setting, &text);
    }
    m->section->title = text.failed ? NULL : mr_strdup(mr_text_get(&text));
    mr_text_free(&text);
    return m->section->title ? MR_OK : MR_ERR_MEMORY;
}

static mr_status make_paragraphs(const maker *m)
{
    const mr_score *score = score_that_chooses(m);
    mr_text ours = {0}, paper = {0}, note = {0}, commits = {0};
    mr_status status = mr_setting_words(m->paper, m->setting, &ours);
    if (status == MR_OK) status = add_paragraph(m, "ours", &ours);
    mr_text_add(&paper, "%s", m->paper->setting);
    if (status == MR_OK) status = add_paragraph(m, "paper", &paper);
    mr_text_add(&note, "%s", m->paper->note);
    if (isfinite(score->chance))
        mr_text_add(&note, " Guessing scores %.*f.", score->decimals, score->chance);
    if (status == MR_OK) status = add_paragraph(m, "note", &note);
    mr_text_add(&commits, "runs of several commits: ");
    bool several = mr_setting_commits(m->results, m->setting, &commits) > 1;
    if (status == MR_OK && several) status = add_paragraph(m, "note", &commits);
    mr_text_free(&ours);
    mr_text_free(&paper);
    mr_text_free(&note);
    mr_text_free(&commits);
    return status;
}

static mr_status make_notes(const maker *m)
{
    const mr_score *score = score_that_chooses(m);
    bool edge = false, left_out = false, spread = false, several = m->paper->measure.scores > 1;
    for (int64_t i = 0; i < m->rows; i++) {
        const mr_group *group = m->row[i].group;
        edge = edge || (group && group->edge);
        for (int64_t k = 0; group && k < group->rates; k++) {
            left_out = left_out || group->rate[k].left_out > 0;
            spread = spread || group->rate[k].seeds > 1;
        }
    }
    char choice[256];
    const int chooses = m->results->measure.choice;
    snprintf(choice, sizeof choice,
             "lr: the rate with the best mean%s%s%s at our last step; on ties the %s mean over all "
             "steps, then the lower rate",
             several ? " of " : "", several ? score->caption : "",
             m->results->validated ? " on the validation part" : "",
             mr_results_lower_is_better(m->results, chooses) ? "lower" : "higher");
    MR_TRY(add_note(m, "", choice));
    if (!m->results->validated)
        MR_TRY(add_note(
            m, "", "these runs have no validation part: rates are chosen on what is reported"));
    for (int k = 0; k < m->results->measure.scores; k++) {
        const char *unit = mr_results_unit(m->results, k);
        if (!unit) continue;
        snprintf(choice, sizeof choice, "%s is logged as %s, %s is better",
                 m->results->measure.score[k].name, unit,
                 mr_results_lower_is_better(m->results, k) ? "lower" : "higher");
        MR_TRY(add_note(m, "", choice));
    }
    if (spread) MR_TRY(add_note(m, "±", "sample standard deviation over seeds"));
    if (edge)
        MR_TRY(
            add_note(m, "*", "best rate at the edge of the grid: a better one may lie outside it"));
    if (left_out) MR_TRY(add_note(m, "+", "runs at this rate are left out, see below"));
    return MR_OK;
}

static mr_status add_left_out(const maker *m, const mr_result *run)
{
    mr_text text = {0};
    mr_text_add(&text, "%s (%s, r ", run->config.run.name, run->method);
    if (run->r == 0)
        mr_text_add(&text, "-, lr ");
    else
        mr_text_add(&text, "%lld, lr ", (long long)run->r);
    mr_status status = rate_text(run->config.train.lr, &text);
    mr_text_add(&text, ", seed %lld): %s; %s", (long long)run->config.run.seed, run->left_out,
                run->path);
    if (status == MR_OK && text.failed) status = MR_ERR_MEMORY;
    if (status == MR_OK) status = mr_names_add(&m->section->left_out, mr_text_get(&text));
    mr_text_free(&text);
    return status;
}

static mr_status make_section(const mr_report *report, int64_t index)
{
    const mr_setting *setting = &report->results->setting[index];
    mr_row *row =
        mr_alloc_array(MR_MEM_OTHER, (size_t)(report->paper->rows + setting->groups), sizeof *row);
    if (!row) return MR_ERR_MEMORY;
    maker m = {.paper = report->paper,
               .results = report->results,
               .setting = setting,
               .row = row,
               .section = &report->section[index]};
    m.section->setting = setting;
    mr_status status = list_rows(&m, row, &m.rows);
    if (status == MR_OK) status = make_title(&m, index);
    if (status == MR_OK) status = make_paragraphs(&m);
    if (status == MR_OK) status = make_scores(&m);
    if (status == MR_OK) status = make_rates(&m);
    if (status == MR_OK) status = make_notes(&m);
    for (int64_t i = setting->begin; status == MR_OK && i < setting->end; i++)
        if (report->results->run[i]->left_out) status = add_left_out(&m, report->results->run[i]);
    mr_free(row);
    return status;
}

mr_status mr_report_make(const mr_paper_table *paper, const mr_results *results, mr_report *out)
{
    *out = (mr_report){.paper = paper, .results = results};
    out->section = mr_alloc_array(MR_MEM_OTHER, (size_t)results->settings, sizeof *out->section);
    if (!out->section) return MR_ERR_MEMORY;
    for (; out->sections < results->settings; out->sections++)
        MR_TRY(make_section(out, out->sections));
    return MR_OK;
}

static void free_section(mr_section *section)
{
    mr_free(section->title);
    for (int i = 0; i < section->paragraphs; i++)
        mr_free(section->paragraph[i].text);
    for (int i = 0; i < section->notes; i++)
        mr_free(section->note[i].text);
    for (int t = 0; t < MR_SECTION_TABLES; t++)
        mr_table_free(&section->table[t]);
    mr_names_free(&section->left_out);
}

void mr_report_free(mr_report *report)
{
    for (int64_t s = 0; report->section && s < report->results->settings; s++)
        free_section(&report->section[s]);
    mr_free(report->section);
    *report = (mr_report){0};
}
