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

static bool same_steps(const mr_result *a, const mr_result *b)
{
    if (a->evaluations != b->evaluations) return false;
    for (int64_t i = 0; i < a->evaluations; i++)
        if (a->step[i] < b->step[i] || a->step[i] > b->step[i]) return false;
    return true;
}

/* Decides which runs of a setting count. A run may be there twice, in two folders or under two
 * names; as two seeds it would make the spread too small. */
static mr_status choose_runs(mr_result **run, int64_t begin, int64_t end)
{
    const mr_result *model = NULL, *last = NULL;
    for (int64_t i = begin; i < end; i++) {
        mr_result *r = run[i];
        if (strcmp(r->stop_reason, MR_STOP_COMPLETED) != 0)
            MR_TRY(leave_out(r, r->stop_reason, ""));
        else if (r->evaluations == 0)
            MR_TRY(leave_out(r, "completed, but never evaluated", ""));
        else if (!isfinite(r->score[r->evaluations - 1]))
            MR_TRY(leave_out(r, "completed, but its last score is not finite", ""));
        else if (model && !same_steps(r, model))
            MR_TRY(leave_out(r, "evaluated at other steps than ", model->path));
        else if (last && compare_groups(r, last) == 0 &&
                 compare_numbers(r->config.train.lr, last->config.train.lr) == 0 &&
                 r->config.run.seed == last->config.run.seed)
            MR_TRY(leave_out(r, "the same method, rate and seed as ", last->path));
        if (r->left_out) continue;
        if (!model) model = r;
        last = r;
    }
    return MR_OK;
}

/* Mean and sample standard deviation over the seeds of a rate, in two passes. */
static mr_status average(mr_rate *rate)
{
    int64_t evaluations = rate->run[0]->evaluations, n = rate->seeds;
    rate->mean = mr_alloc_array(MR_MEM_OTHER, (size_t)evaluations, sizeof *rate->mean);
    rate->spread = mr_alloc_array(MR_MEM_OTHER, (size_t)evaluations, sizeof *rate->spread);
    if (!rate->mean || !rate->spread) return MR_ERR_MEMORY;
    for (int64_t e = 0; e < evaluations; e++) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < n; i++)
            sum += rate->run[i]->score[e];
        rate->mean[e] = sum / (double)n;
        for (int64_t i = 0; i < n; i++) {
            double off = rate->run[i]->score[e] - rate->mean[e];
            squares += off * off;
        }
        rate->spread[e] = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
        rate->average += rate->mean[e] / (double)evaluations;
    }
    return MR_OK;
}

static mr_status fill_rate(mr_result *const *run, int64_t count, mr_rate *rate)
{
    rate->lr = run[0]->config.train.lr;
    rate->run = mr_alloc_array(MR_MEM_OTHER, (size_t)count, sizeof(mr_result *));
    if (!rate->run) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        if (run[i]->left_out)
            rate->left_out++;
        else
            rate->run[rate->seeds++] = run[i];
    }
    return rate->seeds > 0 ? average(rate) : MR_OK;
}

/* By how much a is ahead of b. Means that differ by rounding alone are a tie: sums over seeds in
 * another order would turn them around. */
static double lead(const mr_measure *measure, double a, double b)
{
    const double rounding = 1e-12 * fmax(1, fmin(fabs(a), fabs(b)));
    double ahead = measure->lower_is_better ? b - a : a - b;
    return fabs(ahead) > rounding ? ahead : 0;
}

/* Rates come ascending, so on a tie the lower one, seen first, stays. */
static bool better(const mr_measure *measure, const mr_rate *a, const mr_rate *b)
{
    int64_t last = a->run[0]->evaluations - 1;
    double ahead = lead(measure, a->mean[last], b->mean[last]);
    return ahead > 0 || (ahead >= 0 && lead(measure, a->average, b->average) > 0);
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
static mr_status fill_group(const mr_results *results, int64_t begin, int64_t end, mr_group *group)
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
        MR_TRY(fill_rate(run + at, next - at, rate));
        at = next;
        if (rate->seeds == 0) continue;
        group->tried++;
        if (!group->best || better(&results->measure, rate, group->best)) group->best = rate;
    }
    group->edge =
        rates > 1 && (group->best == &group->rate[0] || group->best == &group->rate[rates - 1]);
    return MR_OK;
}

static mr_status fill_setting(const mr_results *results, mr_setting *setting)
{
    mr_result **run = results->run;
    int64_t groups = 0, begin = setting->begin, end = setting->end;
    MR_TRY(choose_runs(run, begin, end));
    setting->first = first_that_counts(run, begin, end);
    for (int64_t at = begin; at < end; at = same_group(run, at, end))
        groups++;
    setting->group = mr_alloc_array(MR_MEM_OTHER, (size_t)groups, sizeof *setting->group);
    if (!setting->group) return MR_ERR_MEMORY;
    for (int64_t at = begin; at < end;) {
        int64_t next = same_group(run, at, end);
        MR_TRY(fill_group(results, at, next, &setting->group[setting->groups++]));
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

static mr_status sort_runs(mr_results *results)
{
    number_settings(results);
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

static mr_status take_file(const char *path, mr_results *results)
{
    mr_result *run = NULL;
    mr_status status = mr_result_read(path, &results->measure, &run);
    if (status == MR_ERR_MEMORY) return status;
    if (status != MR_OK) {
        mr_warn("%s; passed over", mr_message());
        return mr_names_add(&results->unsound, mr_message());
    }
    results->logs++;
    if (!run) return MR_OK;
    status = add_run(results, run);
    if (status != MR_OK) mr_result_free(&run);
    return status;
}

mr_status mr_results_read(const char *folder, const mr_measure *measure, mr_results *out)
{
    mr_names paths = {0};
    out->measure = *measure;
    mr_status status = mr_results_find(folder, &paths);
    for (int64_t i = 0; status == MR_OK && i < paths.count; i++)
        status = take_file(paths.item[i], out);
    if (status == MR_OK && out->logs == 0)
        status = mr_fail(MR_ERR_FORMAT, "%s: expected run logs (*.h5), found no sound one", folder);
    if (status == MR_OK && out->count == 0)
        status =
            mr_fail(MR_ERR_FORMAT, "%s: expected run logs of the task %s, found %lld of others",
                    folder, measure->task, (long long)out->logs);
    if (status == MR_OK) status = sort_runs(out);
    mr_names_free(&paths);
    return status;
}

static void free_group(mr_group *group)
{
    for (int64_t i = 0; i < group->rates; i++) {
        mr_free(group->rate[i].run);
        mr_free(group->rate[i].mean);
        mr_free(group->rate[i].spread);
    }
    mr_free(group->rate);
}

void mr_results_free(mr_results *results)
{
    for (int64_t s = 0; results->setting && s < results->settings; s++) {
        for (int64_t g = 0; g < results->setting[s].groups; g++)
            free_group(&results->setting[s].group[g]);
        mr_free(results->setting[s].group);
    }
    mr_free(results->setting);
    for (int64_t i = 0; i < results->count; i++)
        mr_result_free(&results->run[i]);
    mr_free(results->run);
    mr_names_free(&results->unsound);
    *results = (mr_results){0};
}
