#include "report/results.h"

#include "base/log.h"
#include "report/results_read.h"
#include "train/run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare_numbers(double a, double b)
{
    return (a > b) - (a < b);
}

static int compare_integers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* Orders by what makes a group; methods of one budget stand together. */
static int compare_groups(const mr_result *a, const mr_result *b)
{
    int order = compare_integers(a->setting_index, b->setting_index);
    if (order == 0) order = compare_integers(a->r, b->r);
    if (order == 0) order = strcmp(a->method, b->method);
    return order != 0 ? order : strcmp(a->variant, b->variant);
}

static int compare_runs(const void *left, const void *right)
{
    const mr_result *a = *(const mr_result *const *)left;
    const mr_result *b = *(const mr_result *const *)right;
    int order = compare_groups(a, b);
    if (order == 0) order = compare_numbers(a->config.train.lr, b->config.train.lr);
    if (order == 0) order = compare_integers(a->config.run.seed, b->config.run.seed);
    return order != 0 ? order : strcmp(a->path, b->path);
}

static mr_status leave_out(mr_result *run, const char *reason, const char *other)
{
    mr_text text = {0};
    mr_text_add(&text, "%s%s", reason, other);
    run->left_out = text.failed ? NULL : mr_strdup(mr_text_get(&text));
    mr_text_free(&text);
    return run->left_out ? MR_OK : MR_ERR_MEMORY;
}

static bool same_steps(const mr_series *a, const mr_series *b)
{
    if (a->count != b->count) return false;
    for (int64_t i = 0; i < a->count; i++)
        if (compare_numbers(a->step[i], b->step[i]) != 0) return false;
    return true;
}

/* What a run lacks, and what it has. */
static mr_status leave_out_without(mr_result *run, const mr_score *score)
{
    mr_text text = {0};
    if (score->projection)
        mr_text_add(&text, "spectra of %s", score->projection);
    else if (run->sets == 0)
        mr_text_add(&text, "any evaluation");
    else if (score->set)
        mr_text_add(&text, "the set %s", score->set);
    else
        mr_text_add(&text, "the sets of %s (%s)", score->caption, score->rules);
    for (int64_t i = 0; !score->projection && i < run->sets; i++)
        mr_text_add(&text, "%s%s", i > 0 ? ", " : ": it has ", run->set[i].group);
    mr_status status =
        text.failed ? MR_ERR_MEMORY : leave_out(run, "completed, but without ", mr_text_get(&text));
    mr_text_free(&text);
    return status;
}

/* Leaves out a completed run that has no sound score at each step at which `model` has one. */
static mr_status judge_score(mr_result *run, const mr_result *model, const mr_measure *measure,
                             int k)
{
    const mr_series *series = &run->series[k];
    const bool none_has = measure->partial && (!model || model->series[k].count == 0);
    if (series->count == 0 && none_has) return MR_OK;
    if (series->count == 0) return leave_out_without(run, &measure->score[k]);
    if (!isfinite(series->value[series->count - 1]))
        return leave_out(run, "completed, but its last score is not finite", "");
    if (model && !same_steps(series, &model->series[k]))
        return leave_out(run, "evaluated at other steps than ", model->path);
    return MR_OK;
}

/* Leaves out a run that was asked other items of a set than `model` was. */
static mr_status judge_items(mr_result *run, const mr_result *model, const mr_score *score)
{
    for (int p = 0; !run->left_out && p < score->parts; p++) {
        const mr_result_set *a = mr_result_find(run, score->part[p]),
                            *b = mr_result_find(model, score->part[p]);
        if (!a || !b ||
            (a->about.version == b->about.version && a->items == b->items &&
             strcmp(a->about.items_hash, b->about.items_hash) == 0))
            continue;
        mr_text text = {0};
        mr_text_add(&text, "asked other items of %s, or another version of it, than ", a->group);
        mr_status status = leave_out(run, mr_text_get(&text), model->path);
        mr_text_free(&text);
        MR_TRY(status);
    }
    return MR_OK;
}

static mr_status judge_scores(mr_result *run, const mr_result *model, const mr_measure *measure)
{
    bool has_one = false;
    for (int k = 0; !run->left_out && k < measure->scores; k++) {
        has_one = has_one || run->series[k].count > 0 || run->series[k].there > 0;
        MR_TRY(judge_score(run, model, measure, k));
        if (model) MR_TRY(judge_items(run, model, &measure->score[k]));
    }
    if (run->left_out || has_one) return MR_OK;
    return leave_out_without(run, &measure->score[0]);
}

static bool same_run(const mr_result *a, const mr_result *b)
{
    return compare_groups(a, b) == 0 &&
           compare_numbers(a->config.train.lr, b->config.train.lr) == 0 &&
           a->config.run.seed == b->config.run.seed;
}

/* Decides which runs of a setting count. A run may be there twice, in two folders or under two
 * names; as two seeds it would make the spread too small. */
static mr_status choose_runs(const mr_results *results, int64_t begin, int64_t end)
{
    const mr_result *model = NULL, *last = NULL;
    for (int64_t i = begin; i < end; i++) {
        mr_result *r = results->run[i];
        if (strcmp(r->stop_reason, MR_STOP_COMPLETED) != 0)
            MR_TRY(leave_out(r, r->stop_reason, ""));
        else
            MR_TRY(judge_scores(r, model, &results->measure));
        if (!r->left_out && last && same_run(r, last))
            MR_TRY(leave_out(r, "the same method, rate and seed as ", last->path));
        if (r->left_out) continue;
        if (!model) model = r;
        last = r;
    }
    return MR_OK;
}

/* Estimates one score at each evaluation; value has room for one number a seed. */
static mr_status fill_course(const mr_rate *rate, int score, double *value, mr_course *course)
{
    course->count = rate->run[0]->series[score].count;
    course->at = mr_alloc_array(MR_MEM_OTHER, (size_t)course->count, sizeof *course->at);
    if (!course->at) return MR_ERR_MEMORY;
    for (int64_t e = 0; e < course->count; e++) {
        for (int64_t i = 0; i < rate->seeds; i++)
            value[i] = rate->run[i]->series[score].value[e];
        course->at[e] = mr_estimate_of(value, rate->seeds);
        course->average += course->at[e].mean / (double)course->count;
    }
    return MR_OK;
}

/* value has room for one number a seed. */
static mr_estimate estimate_forgotten(const mr_rate *rate, double *value)
{
    for (int64_t i = 0; i < rate->seeds; i++) {
        value[i] = rate->run[i]->forgotten;
        if (isnan(value[i])) return (mr_estimate){0};
    }
    return mr_estimate_of(value, rate->seeds);
}

/* What training took: the mean over seeds. */
static void average_costs(mr_rate *rate)
{
    rate->tokens = rate->seconds = 0;
    for (int64_t i = 0; i < rate->seeds; i++) {
        const mr_result *run = rate->run[i];
        rate->tokens += run->tokens > 0 ? run->tokens / (double)rate->seeds : NAN;
        rate->seconds += run->seconds > 0 ? run->seconds / (double)rate->seeds : NAN;
    }
}

/* A score that none of the runs has is of no evaluations. */
static mr_status fill_courses(mr_rate *rate, int scores, int chooses)
{
    rate->course = mr_alloc_array(MR_MEM_OTHER, (size_t)scores + 1, sizeof *rate->course);
    rate->error = mr_alloc_array(MR_MEM_OTHER, (size_t)scores, sizeof *rate->error);
    double *value = mr_alloc_array(MR_MEM_OTHER, (size_t)rate->seeds, sizeof *value);
    mr_status status = rate->course && rate->error && value ? MR_OK : MR_ERR_MEMORY;
    for (int k = 0; status == MR_OK && k < scores + (chooses == scores); k++)
        status = fill_course(rate, k, value, &rate->course[k]);
    if (status == MR_OK) rate->forgotten = estimate_forgotten(rate, value);
    for (int k = 0; status == MR_OK && k < scores; k++) {
        double squares = 0;
        for (int64_t i = 0; i < rate->seeds; i++)
            squares += rate->run[i]->series[k].error * rate->run[i]->series[k].error;
        rate->error[k] = sqrt(squares / (double)rate->seeds);
    }
    mr_free(value);
    return status;
}

static mr_status fill_rate(mr_result *const *run, int64_t count, const mr_results *results,
                           const mr_setting *setting, mr_rate *rate)
{
    rate->lr = run[0]->config.train.lr;
    rate->tokens = rate->seconds = NAN;
    rate->run = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof(mr_result *));
    if (!rate->run) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        if (run[i]->left_out)
            rate->left_out++;
        else
            rate->run[rate->seeds++] = run[i];
    }
    if (rate->seeds == 0) return MR_OK;
    average_costs(rate);
    return fill_courses(rate, results->measure.scores, setting->chooses);
}

bool mr_results_better(const mr_results *results, const mr_setting *setting, const mr_rate *a,
                       const mr_rate *b)
{
    const mr_measure *measure = &results->measure;
    const int chooses = setting->chooses;
    const mr_course *of_a = &a->course[chooses], *of_b = &b->course[chooses];
    const bool apart = chooses == measure->scores;
    const bool lower = apart && measure->held_out
                           ? true
                           : mr_results_lower_is_better(results, apart ? measure->choice : chooses);
    int64_t last = of_a->count - 1;
    if (of_a->count == 0 || of_b->count != of_a->count) return false;
    double ahead = mr_statistics_lead(of_a->at[last].mean, of_b->at[last].mean, lower);
    return ahead > 0 || (ahead >= 0 && mr_statistics_lead(of_a->average, of_b->average, lower) > 0);
}

static int64_t same_rate(mr_result *const *run, int64_t begin, int64_t end)
{
    int64_t next = begin + 1;
    while (next < end &&
           compare_numbers(run[next]->config.train.lr, run[begin]->config.train.lr) == 0)
        next++;
    return next;
}

static int64_t same_group(mr_result *const *run, int64_t begin, int64_t end)
{
    int64_t next = begin + 1;
    while (next < end && compare_groups(run[next], run[begin]) == 0)
        next++;
    return next;
}

static const mr_result *first_that_counts(mr_result *const *run, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++)
        if (!run[i]->left_out) return run[i];
    return run[begin];
}

/* A rate whose runs all diverged was tried all the same: it bounds the grid. */
static mr_status fill_group(const mr_results *results, const mr_setting *setting, int64_t begin,
                            int64_t end, mr_group *group)
{
    mr_result *const *run = results->run;
    group->first = first_that_counts(run, begin, end);
    int64_t rates = 0;
    for (int64_t at = begin; at < end; at = same_rate(run, at, end))
        rates++;
    group->rate = mr_alloc_array(MR_MEM_OTHER, (size_t)rates, sizeof *group->rate);
    if (!group->rate) return MR_ERR_MEMORY;
    for (int64_t at = begin; at < end;) {
        int64_t next = same_rate(run, at, end);
        mr_rate *rate = &group->rate[group->rates++];
        MR_TRY(fill_rate(run + at, next - at, results, setting, rate));
        at = next;
        if (rate->seeds == 0) continue;
        group->tried++;
        /* Rates come ascending, so on a tie the lower one, seen first, stays. */
        if (!group->best || mr_results_better(results, setting, rate, group->best))
            group->best = rate;
    }
    group->edge =
        rates > 1 && (group->best == &group->rate[0] || group->best == &group->rate[rates - 1]);
    return MR_OK;
}

/* What chooses apart from what is reported, where every run that counts has it; else the score that
 * chooses, or where the runs lack that the first that they have. */
static int what_chooses(const mr_results *results, const mr_setting *setting)
{
    const mr_measure *measure = &results->measure;
    bool apart = true;
    int first = measure->choice;
    for (int64_t i = setting->begin; i < setting->end; i++) {
        const mr_result *run = results->run[i];
        if (run->left_out) continue;
        const mr_series *of = &run->series[measure->scores];
        apart = apart && of->count > 0 && isfinite(of->value[of->count - 1]) &&
                same_steps(of, &setting->first->series[measure->scores]) &&
                (measure->held_out || of->count == run->series[0].count);
    }
    if (apart && !setting->first->left_out) return measure->scores;
    for (int k = measure->scores - 1; setting->first->series[first].count == 0 && k >= 0; k--)
        if (setting->first->series[k].count > 0) first = k;
    return first;
}

static mr_status fill_setting(const mr_results *results, mr_setting *setting)
{
    mr_result **run = results->run;
    int64_t groups = 0, begin = setting->begin, end = setting->end;
    MR_TRY(choose_runs(results, begin, end));
    setting->first = first_that_counts(run, begin, end);
    setting->chooses = what_chooses(results, setting);
    for (int64_t at = begin; at < end; at = same_group(run, at, end))
        groups++;
    setting->group = mr_alloc_array(MR_MEM_OTHER, (size_t)groups, sizeof *setting->group);
    if (!setting->group) return MR_ERR_MEMORY;
    for (int64_t at = begin; at < end;) {
        int64_t next = same_group(run, at, end);
        MR_TRY(fill_group(results, setting, at, next, &setting->group[setting->groups++]));
        at = next;
    }
    return MR_OK;
}

/* Runs come ascending by path. */
static void number_settings(mr_results *results)
{
    for (int64_t i = 0; i < results->count; i++) {
        mr_result *run = results->run[i];
        int64_t same = 0;
        while (same < i && strcmp(results->run[same]->setting, run->setting) != 0)
            same++;
        run->setting_index = same < i ? results->run[same]->setting_index : results->settings++;
    }
}

/* The first log that says something of a score; NULL: none does. */
static const mr_runlog_about *told(const mr_results *results, int score)
{
    for (int64_t i = 0; i < results->count; i++)
        if (results->run[i]->told[score].told) return &results->run[i]->told[score];
    return NULL;
}

bool mr_results_lower_is_better(const mr_results *results, int score)
{
    const mr_runlog_about *about = told(results, score);
    return about ? about->lower_is_better : results->measure.score[score].lower_is_better;
}

const char *mr_results_unit(const mr_results *results, int score)
{
    const mr_runlog_about *about = told(results, score);
    return about ? about->unit : NULL;
}

static mr_status sort_runs(mr_results *results)
{
    number_settings(results);
    if (results->count > 0)
        qsort(results->run, (size_t)results->count, sizeof(mr_result *), compare_runs);
    results->setting =
        mr_alloc_array(MR_MEM_OTHER, (size_t)results->settings, sizeof *results->setting);
    if (!results->setting) return MR_ERR_MEMORY;
    int64_t at = 0;
    for (int64_t s = 0; s < results->settings; s++) {
        mr_setting *setting = &results->setting[s];
        setting->begin = at;
        while (at < results->count && results->run[at]->setting_index == s)
            at++;
        setting->end = at;
        MR_TRY(fill_setting(results, setting));
    }
    return MR_OK;
}

static mr_status add_run(mr_results *results, mr_result *run)
{
    MR_TRY(mr_grow(MR_MEM_OTHER, &results->run, &results->room, results->count + 1,
                   sizeof *results->run));
    results->run[results->count++] = run;
    return MR_OK;
}

static mr_status take_file(const char *path, const mr_measure *measure, int tasks, mr_results *out)
{
    mr_result *run = NULL;
    int task;
    mr_status status = mr_result_read(path, measure, tasks, &task, &run);
    if (status == MR_ERR_MEMORY) return status;
    if (status != MR_OK) {
        mr_warn("%s; passed over", mr_message());
        return mr_names_add(&out->unsound, mr_message());
    }
    out->logs++;
    if (!run) return MR_OK;
    status = add_run(&out[task], run);
    if (status != MR_OK) mr_result_free(&run, measure[task].scores);
    return status;
}

static mr_status fail_without(const char *folder, const mr_measure *measure, int tasks,
                              int64_t logs)
{
    mr_text names = {0};
    if (logs == 0)
        return mr_fail(MR_ERR_FORMAT, "%s: expected run logs (*.h5), found no sound one", folder);
    for (int t = 0; t < tasks; t++)
        mr_text_add(&names, "%s%s", t > 0 ? ", " : "", measure[t].task);
    mr_status status =
        mr_fail(MR_ERR_FORMAT, "%s: expected run logs of the task%s %s, found %lld of others",
                folder, tasks > 1 ? "s" : "", mr_text_get(&names), (long long)logs);
    mr_text_free(&names);
    return status;
}

mr_status mr_results_read(const char *const *folder, int folders, const mr_measure *measure,
                          int tasks, mr_results *out)
{
    mr_names paths = {0};
    int64_t count = 0;
    for (int t = 0; t < tasks; t++)
        out[t].measure = measure[t];
    mr_status status = mr_results_find(folder, folders, &paths);
    for (int64_t i = 0; status == MR_OK && i < paths.count; i++)
        status = take_file(paths.item[i], measure, tasks, out);
    for (int t = 0; t < tasks; t++)
        count += out[t].count;
    if (status == MR_OK && count == 0) status = fail_without(folder[0], measure, tasks, out->logs);
    for (int t = 0; status == MR_OK && t < tasks; t++)
        status = sort_runs(&out[t]);
    mr_names_free(&paths);
    return status;
}

static void free_group(mr_group *group, int scores)
{
    for (int64_t i = 0; i < group->rates; i++) {
        mr_rate *rate = &group->rate[i];
        for (int k = 0; rate->course && k <= scores; k++)
            mr_free(rate->course[k].at);
        mr_free(rate->course);
        mr_free(rate->error);
        mr_free(rate->run);
    }
    mr_free(group->rate);
}

void mr_results_free(mr_results *results)
{
    for (int64_t s = 0; results->setting && s < results->settings; s++) {
        for (int64_t g = 0; g < results->setting[s].groups; g++)
            free_group(&results->setting[s].group[g], results->measure.scores);
        mr_free(results->setting[s].group);
    }
    mr_free(results->setting);
    for (int64_t i = 0; i < results->count; i++)
        mr_result_free(&results->run[i], results->measure.scores);
    mr_free(results->run);
    mr_names_free(&results->unsound);
    *results = (mr_results){0};
}
