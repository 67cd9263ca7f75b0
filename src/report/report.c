/* Sections of a report, and the words and notes around its tables. */

#include "report/report.h"

#include "config/value.h"
#include "report/layout.h"
#include "report/report_impl.h"
#include "report/setting.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static mr_status keep(mr_paragraph *list, int *count, const char *label, const mr_text *text)
{
    MR_INVARIANT(*count < MR_SECTION_WORDS);
    char *copy = text->failed ? NULL : mr_strdup(mr_text_get(text));
    if (!copy) return MR_ERR_MEMORY;
    list[(*count)++] = (mr_paragraph){label, copy};
    return MR_OK;
}

static mr_status add_paragraph(const mr_report_maker *m, const char *label, const mr_text *text)
{
    return keep(m->section->paragraph, &m->section->paragraphs, label, text);
}

static mr_status add_note(const mr_report_maker *m, const char *mark, const char *words)
{
    mr_text text = {0};
    mr_text_add(&text, "%s", words);
    mr_status status = keep(m->section->note, &m->section->notes, mark, &text);
    mr_text_free(&text);
    return status;
}

/* Title. */

/* "; setting 1 of 2: task.pairs=128"; of several tasks the model tells sections apart. */
static void add_place(const mr_report_maker *m, int64_t index, int64_t sections, mr_text *text)
{
    const mr_report_block *block = m->section->block;
    if (sections < 2) return;
    if (m->paper->tasks == 1) {
        mr_text_add(text, "; setting %lld of %lld: ", (long long)index + 1, (long long)sections);
        mr_setting_difference(block->results, block->setting, text);
        return;
    }
    while (!block->setting)
        block++;
    const mr_config *c = &block->setting->first->config;
    mr_text_add(text, "; model %lld of %lld: %s", (long long)index + 1, (long long)sections,
                c->model.path[0] ? c->model.path : c->model.config);
}

static mr_status make_title(const mr_report_maker *m, int64_t index, int64_t sections)
{
    mr_text text = {0};
    for (int b = 0; b < m->section->blocks; b++) {
        const mr_report_block *block = &m->section->block[b];
        mr_text name = {0};
        if (!block->setting) continue;
        mr_setting_name(block->results, block->setting, &name);
        if (text.length == 0 || strcmp(mr_text_get(&text), mr_text_get(&name)) != 0)
            mr_text_add(&text, "%s%s", text.length > 0 ? ", " : "", mr_text_get(&name));
        if (name.failed) text.failed = true;
        mr_text_free(&name);
    }
    mr_text_add(&text, ": our runs beside %s", m->paper->source);
    add_place(m, index, sections, &text);
    m->section->title = text.failed ? NULL : mr_strdup(mr_text_get(&text));
    mr_text_free(&text);
    return m->section->title ? MR_OK : MR_ERR_MEMORY;
}

/* Paragraphs. */

static const mr_score *score_that_chooses(const mr_report_block *block)
{
    return &block->results->measure.score[block->results->measure.choice];
}

/* Whether the setting is one of several of its task in the section. */
static bool has_sibling(const mr_report_maker *m, int block)
{
    const mr_report_block *all = m->section->block;
    return (block > 0 && all[block - 1].results == all[block].results) ||
           (block + 1 < m->section->blocks && all[block + 1].results == all[block].results);
}

/* The sets of the scores that are shown, each once: version, rules, and how many items. */
static mr_status add_sets(const mr_report_maker *m, const mr_report_block *block, const char *label)
{
    const mr_measure *measure = &block->results->measure;
    const mr_result *run = block->setting->first;
    mr_text text = {0};
    char number[MR_LAYOUT_NUMBER];
    for (int64_t i = 0; i < run->sets; i++) {
        const mr_result_set *set = &run->set[i];
        bool used = false;
        for (int k = 0; !used && k < measure->scores; k++)
            for (int p = 0; p < measure->score[k].parts; p++)
                used = used || (mr_report_shows(block, k) &&
                                mr_result_find(run, measure->score[k].part[p]) == set);
        if (!used || !set->about.set[0]) continue;
        mr_text_add(&text, "%s%s version %lld (%s), %s item%s",
                    text.length > 0 ? "; " : "sets: ", set->about.set,
                    (long long)set->about.version, set->about.source,
                    mr_layout_integer(set->items, number), set->items == 1 ? "" : "s");
    }
    mr_status status = text.length > 0 ? add_paragraph(m, label, &text) : MR_OK;
    mr_text_free(&text);
    return status;
}

static mr_status add_ours(const mr_report_maker *m, int b)
{
    const mr_report_block *block = &m->section->block[b];
    mr_text text = {0}, commits = {0};
    mr_status status = MR_OK;
    const char *label = m->section->blocks > 1 ? block->results->measure.task : "ours";
    if (!block->setting) {
        mr_text_add(&text, "no runs");
        status = add_paragraph(m, label, &text);
        mr_text_free(&text);
        return status;
    }
    if (has_sibling(m, b)) {
        mr_setting_difference(block->results, block->setting, &text);
        mr_text_add(&text, ": ");
    }
    if (status == MR_OK) status = mr_setting_words(m->paper, block, &text);
    if (status == MR_OK) status = add_paragraph(m, label, &text);
    if (status == MR_OK && m->paper->searched) status = add_sets(m, block, label);
    mr_text_add(&commits, "runs of several commits: ");
    bool several = mr_setting_commits(block->results, block->setting, &commits) > 1;
    if (status == MR_OK && several)
        status = add_paragraph(m, m->section->blocks > 1 ? label : "note", &commits);
    mr_text_free(&text);
    mr_text_free(&commits);
    return status;
}

/* What guessing scores: of the score that chooses, or of each that is shown. */
static void add_chances(const mr_report_maker *m, mr_text *note)
{
    const mr_score *chooses = score_that_chooses(m->section->block);
    if (!m->paper->searched && isfinite(chooses->chance))
        mr_text_add(note, " Guessing scores %.*f.", chooses->decimals, chooses->chance);
    const char *before = " Guessing scores";
    for (int b = 0; m->paper->searched && b < m->section->blocks; b++) {
        const mr_report_block *block = &m->section->block[b];
        for (int k = 0; k < block->results->measure.scores; k++) {
            const mr_score *score = &block->results->measure.score[k];
            if (score->again || !isfinite(score->chance) ||
                (b > 0 && block[-1].results == block->results))
                continue;
            mr_text_add(note, "%s %.*f in %s", before, score->decimals, score->chance,
                        score->caption);
            before = ",";
        }
    }
    if (m->paper->searched && before[0] == ',') mr_text_add(note, ".");
}

static mr_status make_paragraphs(const mr_report_maker *m)
{
    mr_text paper = {0}, note = {0};
    mr_status status = MR_OK;
    for (int b = 0; status == MR_OK && b < m->section->blocks; b++)
        status = add_ours(m, b);
    mr_text_add(&paper, "%s", m->paper->setting);
    if (status == MR_OK) status = add_paragraph(m, "paper", &paper);
    mr_text_add(&note, "%s", m->paper->note);
    add_chances(m, &note);
    if (status == MR_OK) status = add_paragraph(m, "note", &note);
    mr_text_free(&paper);
    mr_text_free(&note);
    return status;
}

/* Notes. */

/* What chose the rates of a block: a score, or what is apart from the scores. */
static void add_chooser(const mr_report_block *block, mr_text *text)
{
    const mr_measure *measure = &block->results->measure;
    const int chooses = block->setting->chooses;
    const bool apart = chooses == measure->scores;
    const mr_score *score = &measure->score[apart ? measure->choice : chooses];
    if (apart && measure->held_out)
        mr_text_add(text, " of the held-out %s (set %s)", measure->held_out,
                    block->setting->first->held_out);
    else if (measure->scores > 1)
        mr_text_add(text, " of %s%s%s", score->caption, score->rules ? ", " : "",
                    score->rules ? score->rules : "");
    if (apart && !measure->held_out) mr_text_add(text, " on the validation part");
}

/* "lr: the rate with the best mean of accuracy at our last step; ..." */
static mr_status add_choice(const mr_report_maker *m, int b)
{
    const mr_report_block *block = &m->section->block[b];
    const mr_measure *measure = &block->results->measure;
    const int chooses = block->setting->chooses;
    const bool apart = chooses == measure->scores, held_out = apart && measure->held_out;
    const bool lower =
        held_out || mr_results_lower_is_better(block->results, apart ? measure->choice : chooses);
    mr_text text = {0};
    char name[64];
    mr_report_block_name(m, b, name);
    if (m->section->blocks > 1) mr_text_add(&text, "%s, ", name);
    mr_text_add(&text, "lr: the rate%s with the best mean",
                m->paper->searched ? " and other keys of the method" : "");
    add_chooser(block, &text);
    mr_text_add(&text, " at our last step; on ties the %s mean over all steps, then the lower rate",
                lower ? "lower" : "higher");
    mr_status status = add_note(m, "", mr_text_get(&text));
    if (text.failed) status = MR_ERR_MEMORY;
    mr_text_free(&text);
    if (apart || status != MR_OK) return status;
    return add_note(m, "",
                    measure->held_out
                        ? "these runs have no held-out loss: rates are chosen on what is reported"
                        : "these runs have no validation part: rates are chosen on what is "
                          "reported");
}

/* What logs say of scores. */
static mr_status add_units(const mr_report_maker *m, const mr_report_block *block)
{
    char words[256];
    for (int k = 0; k < block->results->measure.scores; k++) {
        const char *unit = mr_results_unit(block->results, k);
        if (!unit) continue;
        snprintf(words, sizeof words, "%s is logged as %s, %s is better",
                 block->results->measure.score[k].name, unit,
                 mr_results_lower_is_better(block->results, k) ? "lower" : "higher");
        MR_TRY(add_note(m, "", words));
    }
    return MR_OK;
}

/* What a shown score of several sets lacks. */
static mr_status add_missing(const mr_report_maker *m, const mr_report_block *block)
{
    mr_status status = MR_OK;
    for (int k = 0; status == MR_OK && k < block->results->measure.scores; k++) {
        const mr_score *score = &block->results->measure.score[k];
        const char *before = ": these runs lack ";
        mr_text text = {0};
        if (!mr_report_shows(block, k)) continue;
        mr_text_add(&text, "%s, %s", score->caption, score->rules);
        for (int p = 0; p < score->parts; p++) {
            if (mr_report_has_set(block, score->part[p])) continue;
            mr_text_add(&text, "%s%.*s", before, (int)strcspn(score->part[p], "/"), score->part[p]);
            before = ", ";
        }
        if (before[0] == ',') status = add_note(m, "", mr_text_get(&text));
        if (text.failed) status = MR_ERR_MEMORY;
        mr_text_free(&text);
    }
    return status;
}

/* Which marks the tables of scores have. */
typedef struct marks {
    bool edge, left_out, spread, error, within, alike;
} marks;

static marks find_marks(const mr_report_maker *m)
{
    marks found = {0};
    for (int b = 0; b < m->section->blocks; b++) {
        const mr_setting *setting = m->section->block[b].setting;
        for (int64_t g = 0; setting && g < setting->groups; g++) {
            const mr_group *group = &setting->group[g];
            found.edge = found.edge || group->edge;
            for (int64_t k = 0; k < group->rates; k++) {
                found.left_out = found.left_out || group->rate[k].left_out > 0;
                found.spread = found.spread || group->rate[k].seeds > 1;
            }
        }
    }
    for (int t = 0; t < m->section->tables; t++) {
        const mr_table *table = &m->section->table[t];
        for (int64_t i = 0; i < table->rows * table->columns; i++) {
            const mr_cell *cell = &table->cell[i];
            found.error = found.error || (cell->value.n == 1 && isfinite(cell->error));
            found.within = found.within || cell->within;
            found.alike = found.alike || (cell->value.n > 0 && cell->error == 0);
        }
    }
    return found;
}

static mr_status make_notes(const mr_report_maker *m, const char *others)
{
    for (int b = 0; b < m->section->blocks; b++) {
        const mr_report_block *block = &m->section->block[b];
        if (!block->setting) continue;
        MR_TRY(add_choice(m, b));
        if (!m->paper->searched) MR_TRY(add_units(m, block));
    }
    const marks found = find_marks(m);
    if (found.spread) MR_TRY(add_note(m, "±", "sample standard deviation over seeds"));
    if (found.error) MR_TRY(add_note(m, "()", "of one seed: the standard error by its items"));
    if (found.alike)
        MR_TRY(
            add_note(m, "",
                     "where all answers of a set are right, or all wrong, the error of its n "
                     "items is 0 by its formula and bounds nothing: up to 3/n of other items may "
                     "not be so, at 95 %"));
    if (found.within)
        MR_TRY(add_note(m, "~",
                        "within the 95 % interval of the difference to the best of its column, by "
                        "the larger error of seeds and items (Welch's t; `mora compare` pairs the "
                        "items)"));
    if (found.edge)
        MR_TRY(
            add_note(m, "*", "best rate at the edge of the grid: a better one may lie outside it"));
    if (found.left_out) MR_TRY(add_note(m, "+", "runs at this rate are left out, see below"));
    for (int b = 0; m->paper->searched && b < m->section->blocks; b++)
        if (m->section->block[b].setting) MR_TRY(add_missing(m, &m->section->block[b]));
    if (m->paper->searched)
        MR_TRY(add_note(m, "",
                        "trained: parameters; tokens and minutes: of the training steps alone, the "
                        "mean over seeds"));
    bool forgotten = false;
    for (int b = 0; m->paper->searched && b < m->section->blocks; b++)
        forgotten = forgotten || m->section->block[b].forgot;
    if (forgotten)
        MR_TRY(add_note(m, "",
                        "other text: the loss in nats a token of text that is not the task's, "
                        "after the last step less that before the first"));
    if (!others[0]) return MR_OK;
    char words[256];
    snprintf(words, sizeof words, "this is %s; other tables of these runs, by --paper: %s",
             m->paper->name, others);
    return add_note(m, "", words);
}

static mr_status add_left_out(const mr_report_maker *m, const mr_result *run)
{
    mr_text text = {0};
    mr_text_add(&text, "%s (%s, r ", run->config.run.name, run->method);
    if (run->r == 0)
        mr_text_add(&text, "-, lr ");
    else
        mr_text_add(&text, "%lld, lr ", (long long)run->r);
    mr_status status = mr_report_rate_text(run->config.train.lr, &text);
    mr_text_add(&text, ", seed %lld): %s; %s", (long long)run->config.run.seed, run->left_out,
                run->path);
    if (status == MR_OK && text.failed) status = MR_ERR_MEMORY;
    if (status == MR_OK) status = mr_names_add(&m->section->left_out, mr_text_get(&text));
    mr_text_free(&text);
    return status;
}

/* Sections. */

static mr_status make_section(const mr_report *report, int64_t index, const char *others)
{
    mr_section *section = &report->section[index];
    mr_report_maker m = {.paper = report->paper, .section = section};
    section->tables = MR_TABLE_RATES + section->blocks;
    mr_status status = mr_report_list_rows(&m);
    if (status == MR_OK) status = make_title(&m, index, report->sections);
    if (status == MR_OK) status = make_paragraphs(&m);
    if (status == MR_OK) status = mr_report_make_scores(&m);
    for (int b = 0; status == MR_OK && b < section->blocks; b++)
        status = mr_report_make_rates(&m, b);
    if (status == MR_OK) status = make_notes(&m, others);
    for (int b = 0; b < section->blocks; b++) {
        const mr_report_block *block = &section->block[b];
        for (int64_t i = block->setting ? block->setting->begin : 0;
             status == MR_OK && block->setting && i < block->setting->end; i++)
            if (block->results->run[i]->left_out) status = add_left_out(&m, block->results->run[i]);
    }
    mr_free(m.row);
    return status;
}

static bool same_model(const mr_setting *a, const mr_setting *b)
{
    const mr_config *left = &a->first->config, *right = &b->first->config;
    return a->first->base_parameters == b->first->base_parameters &&
           strcmp(left->model.path, right->model.path) == 0 &&
           strcmp(left->model.config, right->model.config) == 0 &&
           left->model.init == right->model.init && left->model.dtype == right->model.dtype &&
           left->model.matmul == right->model.matmul;
}

static mr_status add_section(mr_report *report)
{
    MR_TRY(mr_grow(MR_MEM_OTHER, &report->section, &report->room, report->sections + 1,
                   sizeof *report->section));
    report->sections++;
    return MR_OK;
}

static bool forgot(const mr_results *results, const mr_setting *setting)
{
    for (int64_t i = setting ? setting->begin : 0; setting && i < setting->end; i++)
        if (!isnan(results->run[i]->forgotten)) return true;
    return false;
}

static mr_status add_block(mr_section *section, const mr_results *results,
                           const mr_setting *setting)
{
    MR_CHECK(section->blocks < MR_BLOCKS, MR_ERR_ARG,
             "a table holds runs of %d settings at most; name a folder of fewer", MR_BLOCKS);
    section->block[section->blocks++] =
        (mr_report_block){results, setting, forgot(results, setting)};
    return MR_OK;
}

/* A section a model: of each task the settings of it, or a block without runs. */
static mr_status add_models(mr_report *report)
{
    const int tasks = report->paper->tasks;
    for (int t = 0; t < tasks; t++)
        for (int64_t s = 0; s < report->results[t].settings; s++) {
            const mr_setting *model = &report->results[t].setting[s];
            bool seen = false;
            for (int u = 0; u <= t; u++)
                for (int64_t k = 0; k < report->results[u].settings; k++) {
                    const mr_setting *other = &report->results[u].setting[k];
                    seen = seen || ((u < t || k < s) && same_model(other, model));
                }
            if (seen) continue;
            MR_TRY(add_section(report));
            mr_section *section = &report->section[report->sections - 1];
            for (int u = 0; u < tasks; u++) {
                const mr_results *results = &report->results[u];
                const int before = section->blocks;
                for (int64_t k = 0; k < results->settings; k++)
                    if (same_model(&results->setting[k], model))
                        MR_TRY(add_block(section, results, &results->setting[k]));
                if (section->blocks == before) MR_TRY(add_block(section, results, NULL));
            }
        }
    return MR_OK;
}

static mr_status add_settings(mr_report *report)
{
    for (int64_t s = 0; s < report->results->settings; s++) {
        MR_TRY(add_section(report));
        MR_TRY(add_block(&report->section[s], report->results, &report->results->setting[s]));
    }
    return MR_OK;
}

mr_status mr_report_make(const mr_paper_table *paper, const mr_results *results, const char *others,
                         mr_report *out)
{
    *out = (mr_report){.paper = paper, .results = results};
    MR_TRY(paper->tasks > 1 ? add_models(out) : add_settings(out));
    for (int64_t s = 0; s < out->sections; s++)
        MR_TRY(make_section(out, s, others));
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
    for (int64_t s = 0; s < report->sections; s++)
        free_section(&report->section[s]);
    mr_free(report->section);
    *report = (mr_report){0};
}
