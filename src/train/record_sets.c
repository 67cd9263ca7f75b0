/* What a run's log and its words have of the sets that it scores. */

#include "base/log.h"
#include "store/runlog_read.h"
#include "train/record_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The scores of an evaluation as the log has them: each, and behind them the standard errors of
 * all, where they are told. */
typedef struct score_rows {
    int count;
    char error_name[MR_EVAL_SCORES][80];
    const char *name[2 * MR_EVAL_SCORES];
    double value[2 * MR_EVAL_SCORES];
    mr_runlog_score score[2 * MR_EVAL_SCORES];
} score_rows;

static void add_score(score_rows *rows, mr_runlog_score score, double value)
{
    rows->name[rows->count] = score.name;
    rows->value[rows->count] = value;
    rows->score[rows->count++] = score;
}

static void list_scores(const mr_evaluation *e, score_rows *rows, mr_text *text)
{
    const mr_eval_set *set = e->set;
    rows->count = 0;
    for (int i = 0; i < set->scores; i++) {
        add_score(rows,
                  (mr_runlog_score){.name = set->score[i].name,
                                    .unit = set->score[i].unit,
                                    .lower_is_better = set->score[i].lower_is_better},
                  e->value[i]);
        mr_text_add(text, "%s%s %.6g", i > 0 ? ", " : "", set->score[i].name, e->value[i]);
        /* 0 is the error of items that all scored the same: no bound on others. */
        if (set->kind->errors && e->error[i] > 0) mr_text_add(text, " ±%.3g", e->error[i]);
    }
    for (int i = 0; set->kind->errors && i < set->scores; i++) {
        snprintf(rows->error_name[i], sizeof rows->error_name[i], "%s_standard_error",
                 set->score[i].name);
        add_score(rows,
                  (mr_runlog_score){.name = rows->error_name[i],
                                    .unit = set->score[i].unit,
                                    .lower_is_better = true},
                  e->error[i]);
    }
}

/* Refuses a set whose scores in the log are of other items. */
static mr_status check_items(const mr_runlog_reader *log, const mr_eval_set *set)
{
    char dataset[512];
    double *step = NULL;
    int64_t steps = 0;
    mr_runlog_about about;
    MR_TRY(mr_runlog_tells(log, set->name, NULL, &about));
    if (!about.items_hash[0] || strcmp(about.items_hash, set->about.items) == 0) return MR_OK;
    snprintf(dataset, sizeof dataset, "/eval/%s/step", set->name);
    MR_TRY(mr_runlog_series(log, dataset, &step, &steps));
    const double last = steps > 0 ? step[steps - 1] : 0;
    mr_free(step);
    MR_CHECK(steps == 0, MR_ERR_FORMAT,
             "eval: set %s: what is in '%s' now (items_hash %s) is not what was scored at step "
             "%.0f (%s): with that again the run goes on; --resume never starts over and keeps it",
             set->name, set->about.data, set->about.items, last, about.items_hash);
    return MR_OK;
}

/* As check_items, in the log that is being written, once it stands under its name. */
static mr_status check_set(const mr_record *record, const mr_eval_set *set)
{
    mr_runlog_reader *log = NULL;
    if (!set->about.items || !record->claimed) return MR_OK;
    mr_status status = mr_runlog_open(record->path, &log);
    if (status == MR_OK) status = check_items(log, set);
    mr_runlog_close_reader(&log);
    return status;
}

mr_status mr_record_check_sets(const mr_record *record)
{
    const mr_evaluator *evaluator = record->trainer->evaluator;
    for (int i = 0; i < evaluator->sets; i++)
        MR_TRY(check_set(record, &evaluator->set[i]));
    return MR_OK;
}

mr_status mr_record_evaluation(mr_record *record, const mr_evaluation *e)
{
    const int64_t step = record->trainer->step;
    const mr_eval_set *set = e->set;
    score_rows rows;
    if (!record->log) return MR_OK;
    MR_TRY(check_set(record, set));
    mr_text text = {0};
    list_scores(e, &rows, &text);
    mr_log("%s: step %lld: %s: %s (%lld items)", record->config->run.name, (long long)step,
           set->name, mr_text_get(&text), (long long)set->items);
    mr_text_free(&text);
    if (set == record->trainer->evaluator->set)
        MR_TRY(mr_runlog_set_text(record->log, "primary_set", set->name));
    MR_TRY(mr_runlog_eval(record->log, set->name, step, rows.name, rows.value, rows.count, e->items,
                          set->items));
    return mr_runlog_describe(
        record->log, set->name,
        &(mr_runlog_set){.kind = set->kind->name,
                         .part = set->dataset ? mr_part_texts[set->part] : NULL,
                         .item = set->kind->item,
                         .set = set->about.set,
                         .version = set->about.version,
                         .source = set->about.source,
                         .rules = set->about.rules,
                         .data = set->about.data,
                         .items_hash = set->about.items,
                         .rows = set->about.rows,
                         .scores = rows.count,
                         .score = rows.score});
}

/* Tells what a set scored before the run, and after it. */
static mr_status tell_change(const mr_record *record, const mr_runlog_reader *log,
                             const mr_eval_set *set)
{
    const mr_eval_score *score = &set->score[set->kind->told];
    char dataset[512];
    double *step = NULL, *value = NULL;
    int64_t steps = 0, values = 0;
    snprintf(dataset, sizeof dataset, "/eval/%s/step", set->name);
    mr_status status = mr_runlog_series(log, dataset, &step, &steps);
    snprintf(dataset, sizeof dataset, "/eval/%s/%s", set->name, score->name);
    if (status == MR_OK) status = mr_runlog_series(log, dataset, &value, &values);
    if (status == MR_OK && steps > 1 && values == steps && step[0] == 0) {
        const double change = value[values - 1] - value[0];
        const bool share = strcmp(score->unit, "fraction") == 0;
        mr_log("%s: %s: %s %.4g before, %.4g after (%+.3g%s%s)", record->config->run.name,
               set->name, score->name, value[0], value[values - 1], change, share ? "" : " ",
               share ? "" : score->unit);
    }
    mr_free(step);
    mr_free(value);
    return status;
}

mr_status mr_record_changes(const mr_record *record)
{
    const mr_evaluator *evaluator = record->trainer->evaluator;
    mr_runlog_reader *log = NULL;
    mr_status status = MR_OK;
    for (int i = 0; i < evaluator->sets && status == MR_OK; i++) {
        if (evaluator->set[i].when != MR_WHEN_ENDS) continue;
        if (!log) status = mr_runlog_open(record->path, &log);
        if (status == MR_OK) status = tell_change(record, log, &evaluator->set[i]);
    }
    mr_runlog_close_reader(&log);
    return status;
}
