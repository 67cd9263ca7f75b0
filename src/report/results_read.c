#include "report/results_read.h"

#include "base/file.h"
#include "config/value.h"
#include "store/runlog_read.h"
#include "store/spectra_file.h"
#include "train/registry.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_of_a_method(const char *key)
{
    static const char *const keys[] = {"method.", "train.schedule", "train.restart_warmup_steps",
                                       "train.min_lr_ratio", NULL};
    return mr_schema_is_listed(keys, key);
}

bool mr_results_in_setting(const char *key)
{
    static const char *const others[] = {"run.",
                                         "train.lr",
                                         "parallel.",
                                         "log.",
                                         "checkpoint.",
                                         "train.micro_batch",
                                         "train.recompute",
                                         "train.check_every",
                                         "eval.at_start",
                                         "eval.batch",
                                         NULL};
    return !is_of_a_method(key) && !mr_schema_is_listed(others, key);
}

bool mr_results_in_variant(const char *key)
{
    static const char *const names[] = {"method.name", "method.r", NULL};
    return is_of_a_method(key) && !mr_schema_is_listed(names, key);
}

/* "key=value\n" of the keys that `in` picks, behind the hash of the data where it is given. */
static mr_status describe(const mr_config *config, bool (*in)(const char *), const char *data_hash,
                          char **out)
{
    mr_text text = {0};
    for (int i = 0; i < config->registry->count; i++) {
        size_t base;
        const mr_key *key = mr_registry_bind(config, i, &base);
        if (!key || !in(key->key)) continue;
        mr_text_add(&text, "%s=", key->key);
        mr_value_text(key, (const char *)config + base, MR_VALUE_PLAIN, &text);
        mr_text_add(&text, "\n");
    }
    if (data_hash) mr_text_add(&text, "data_hash=%s\n", data_hash);
    *out = text.failed ? NULL : mr_strdup(mr_text_get(&text));
    mr_text_free(&text);
    return *out ? MR_OK : MR_ERR_MEMORY;
}

/* Logs without the attribute are of methods that train all they add and nothing else. */
static mr_status read_base_parameters(const mr_runlog_reader *reader, mr_result *result)
{
    int64_t parameters;
    if (mr_runlog_has_attribute(reader, "base_parameters"))
        return mr_runlog_get_int(reader, "base_parameters", &result->base_parameters);
    MR_TRY(mr_runlog_get_int(reader, "parameters", &parameters));
    result->base_parameters = result->r == 0 ? parameters : parameters - result->trainable;
    return MR_OK;
}

static mr_status read_attributes(const mr_runlog_reader *reader, mr_result *result)
{
    MR_TRY(mr_runlog_get_text(reader, "method", &result->method));
    MR_TRY(mr_runlog_get_text(reader, "stop_reason", &result->stop_reason));
    MR_TRY(mr_runlog_get_text(reader, "data_hash", &result->data_hash));
    MR_TRY(mr_runlog_get_text(reader, "git_commit", &result->commit));
    MR_TRY(mr_runlog_get_int(reader, "r", &result->r));
    MR_TRY(mr_runlog_get_int(reader, "trainable_parameters", &result->trainable));
    MR_TRY(mr_runlog_get_int(reader, "steps", &result->steps));
    MR_TRY(mr_runlog_get_int(reader, "seq_len", &result->seq_len));
    return read_base_parameters(reader, result);
}

/* Reads a dataset of one row an evaluation. */
static mr_status read_evaluations(const mr_runlog_reader *reader, const char *path,
                                  const mr_score *score, const char *name, int64_t expected,
                                  double **values)
{
    char dataset[256];
    int64_t count;
    snprintf(dataset, sizeof dataset, "/eval/%s/%s", score->set, name);
    MR_TRY(mr_runlog_series(reader, dataset, values, &count));
    MR_CHECK(count == expected, MR_ERR_FORMAT,
             "%s: %s: expected as many rows as steps, %lld, found %lld", path, dataset,
             (long long)expected, (long long)count);
    return MR_OK;
}

static double mean_of_defined(const double *value, int64_t count)
{
    double sum = 0;
    int64_t defined = 0;
    for (int64_t i = 0; i < count; i++) {
        if (isnan(value[i])) continue;
        sum += value[i];
        defined++;
    }
    return sum / (double)defined;
}

/* Reads a measure of a projection from the last snapshot of a file; series stays empty where the
 * file has none of it. */
static mr_status read_snapshot(const mr_spectra_file *file, const mr_score *score,
                               mr_series *series)
{
    const mr_spectra_layout *layout = mr_spectra_file_layout(file);
    int64_t count, group = 0, column = 0;
    const int64_t *step = mr_spectra_file_steps(file, &count);
    while (group < layout->groups &&
           strcmp(layout->group[group].projection, score->projection) != 0)
        group++;
    while (column < layout->columns && strcmp(layout->column[column].name, score->name) != 0)
        column++;
    if (count == 0 || group == layout->groups || column == layout->columns) return MR_OK;
    mr_spectra_row row;
    const int64_t layers = layout->group[group].layers;
    MR_TRY(mr_spectra_row_make(layout, group, &row));
    mr_status status = mr_spectra_file_read(file, count - 1, group, &row);
    if (status == MR_OK) {
        series->step = mr_alloc_array(MR_MEM_OTHER, 1, sizeof *series->step);
        series->value = mr_alloc_array(MR_MEM_OTHER, 1, sizeof *series->value);
        if (!series->step || !series->value) status = MR_ERR_MEMORY;
    }
    if (status == MR_OK) {
        series->count = 1;
        series->step[0] = (double)step[count - 1];
        series->value[0] = mean_of_defined(row.column + column * layers, layers);
    }
    mr_spectra_row_free(&row);
    return status;
}

/* A run may have none beside its log; those that cannot be read are told of. */
static mr_status read_spectra(const char *log, const mr_score *score, mr_series *series)
{
    char path[PATH_MAX];
    mr_spectra_file *file;
    MR_TRY(mr_file_path(path, "%.*s.spectra.h5", (int)(strlen(log) - strlen(".h5")), log));
    if (access(path, F_OK) != 0) return MR_OK;
    MR_TRY(mr_spectra_file_open(path, &file));
    mr_status status = read_snapshot(file, score, series);
    mr_spectra_file_close(&file);
    return status;
}

const mr_result_set *mr_result_find(const mr_result *run, const char *name)
{
    const size_t length = strcspn(name, "/");
    for (int64_t i = 0; i < run->sets; i++) {
        const char *set = run->set[i].about.set[0] ? run->set[i].about.set : run->set[i].group;
        if (strlen(set) == length && strncmp(set, name, length) == 0) return &run->set[i];
    }
    return NULL;
}

/* The standard error of a score at its last evaluation, where the log has it. */
static mr_status read_error(const mr_runlog_reader *reader, const mr_score *score,
                            mr_series *series)
{
    char dataset[256];
    double *error = NULL;
    int64_t count;
    snprintf(dataset, sizeof dataset, "/eval/%s/%s_standard_error", score->set, score->name);
    if (series->count == 0 || !mr_runlog_has(reader, dataset)) return MR_OK;
    MR_TRY(mr_runlog_series(reader, dataset, &error, &count));
    if (count == series->count) series->error = error[count - 1];
    mr_free(error);
    return MR_OK;
}

static void empty_series(mr_series *series)
{
    mr_free(series->step);
    mr_free(series->value);
    *series = (mr_series){.error = NAN, .there = series->there};
}

static mr_status read_series(const mr_runlog_reader *reader, const mr_result *result,
                             const mr_score *score, mr_series *series);

static bool same_evaluations(const mr_series *a, const mr_series *b)
{
    bool same = a->count == b->count;
    for (int64_t i = 0; same && i < a->count; i++)
        same = fabs(a->step[i] - b->step[i]) < 0.5;
    return same;
}

/* The mean of several sets: where one is missing, or was evaluated at other steps, there is none.
 * Items of different sets are chosen apart. */
static mr_status read_part(const mr_runlog_reader *reader, const mr_result *result,
                           const char *name, mr_series *part)
{
    const mr_result_set *set = mr_result_find(result, name);
    *part = (mr_series){.error = NAN};
    if (!set) return MR_OK;
    const mr_score one = {.set = set->group, .name = strchr(name, '/') + 1};
    MR_TRY(read_series(reader, result, &one, part));
    return read_error(reader, &one, part);
}

static mr_status read_mean(const mr_runlog_reader *reader, const mr_result *result,
                           const mr_score *score, mr_series *series)
{
    double squares = 0;
    bool whole = true;
    for (int p = 0; p < score->parts; p++) {
        mr_series part;
        mr_status status = read_part(reader, result, score->part[p], &part);
        const bool first = p == 0 && status == MR_OK;
        series->there += part.count > 0;
        whole = whole && part.count > 0 && (p == 0 || same_evaluations(series, &part));
        for (int64_t i = 0; whole && p > 0 && i < series->count; i++)
            series->value[i] += part.value[i];
        squares += part.error * part.error;
        if (first) {
            *series = (mr_series){part.count, part.step, part.value, .there = series->there};
            continue;
        }
        mr_free(part.step);
        mr_free(part.value);
        if (status != MR_OK) return status;
    }
    if (!whole) {
        empty_series(series);
        return MR_OK;
    }
    for (int64_t i = 0; i < series->count; i++)
        series->value[i] /= score->parts;
    series->error = sqrt(squares) / score->parts;
    return MR_OK;
}

/* A run stopped before its first evaluation has none. */
static mr_status read_series(const mr_runlog_reader *reader, const mr_result *result,
                             const mr_score *score, mr_series *series)
{
    const char *path = result->path;
    char dataset[256];
    double *counts = NULL;
    series->error = NAN;
    if (score->projection) return read_spectra(path, score, series);
    if (score->parts > 0) return read_mean(reader, result, score, series);
    snprintf(dataset, sizeof dataset, "/eval/%s/step", score->set);
    if (!mr_runlog_has(reader, dataset)) return MR_OK;
    MR_TRY(mr_runlog_series(reader, dataset, &series->step, &series->count));
    MR_TRY(read_evaluations(reader, path, score, score->name, series->count, &series->value));
    if (!score->count) return MR_OK;
    mr_status status = read_evaluations(reader, path, score, score->count, series->count, &counts);
    if (status == MR_OK && series->count > 0) series->scored = llround(counts[series->count - 1]);
    mr_free(counts);
    return status;
}

/* Whether a set is what rates may be chosen by: of the validation part, or where the measure says
 * so held out by any name; text of its own is not the task's. */
static mr_status may_choose(const mr_runlog_reader *reader, const mr_measure *measure,
                            const char *set, const char *name, bool *may)
{
    mr_runlog_about about;
    MR_TRY(mr_runlog_tells(reader, set, name, &about));
    *may = about.told && !about.data[0] &&
           (strcmp(about.part, "validation") == 0 ||
            (measure->held_out && strcmp(about.part, "heldout") == 0));
    return MR_OK;
}

/* Reads what chooses apart from the scores from the first set that has it, that of the task's name
 * before others. */
static mr_status read_validation(const mr_runlog_reader *reader, const mr_measure *measure,
                                 mr_result *result)
{
    mr_score score = {.name = measure->held_out ? measure->held_out
                                                : measure->score[measure->choice].name};
    mr_series *series = &result->series[measure->scores];
    for (int64_t i = -1; series->count == 0 && i < result->sets; i++) {
        bool may;
        score.set = i < 0 ? measure->task : result->set[i].group;
        MR_TRY(may_choose(reader, measure, score.set, score.name, &may));
        if (!may) continue;
        MR_TRY(read_series(reader, result, &score, series));
        if (series->count == 0) continue;
        result->held_out = mr_strdup(score.set);
        if (!result->held_out) return MR_ERR_MEMORY;
    }
    return MR_OK;
}

/* What the log says of a set; how many of its items were scored, of a published one. */
static mr_status read_set(const mr_runlog_reader *reader, const char *group, mr_result_set *set)
{
    char dataset[256];
    double *record = NULL;
    int64_t rows;
    set->group = mr_strdup(group);
    if (!set->group) return MR_ERR_MEMORY;
    MR_TRY(mr_runlog_tells(reader, group, NULL, &set->about));
    snprintf(dataset, sizeof dataset, "/eval/%s/items", group);
    if (!set->about.set[0] || !mr_runlog_has(reader, dataset)) return MR_OK;
    MR_TRY(mr_runlog_matrix(reader, dataset, &record, &rows, &set->items));
    mr_free(record);
    return MR_OK;
}

/* What became of the loss of text that is not the task's. */
static mr_status read_forgotten(const mr_runlog_reader *reader, const mr_result_set *set,
                                mr_result *result)
{
    const mr_score score = {.set = set->group, .name = "loss"};
    mr_series loss = {0};
    if (!set->about.data[0] || set->about.set[0] || !isnan(result->forgotten)) return MR_OK;
    mr_status status = read_series(reader, result, &score, &loss);
    if (status == MR_OK && loss.count > 1 && loss.step[0] == 0 &&
        loss.step[loss.count - 1] == (double)result->steps)
        result->forgotten = loss.value[loss.count - 1] - loss.value[0];
    mr_free(loss.step);
    mr_free(loss.value);
    return status;
}

static mr_status read_sets(const mr_runlog_reader *reader, mr_result *result)
{
    mr_names groups = {0};
    mr_status status = mr_runlog_list(reader, "/eval", &groups);
    if (status == MR_OK) {
        result->set = mr_alloc_array(MR_MEM_OTHER, (size_t)groups.count, sizeof *result->set);
        if (!result->set) status = MR_ERR_MEMORY;
    }
    result->forgotten = NAN;
    for (int64_t i = 0; status == MR_OK && i < groups.count; i++) {
        mr_result_set *set = &result->set[result->sets++];
        status = read_set(reader, groups.item[i], set);
        if (status == MR_OK) status = read_forgotten(reader, set, result);
    }
    mr_names_free(&groups);
    return status;
}

static mr_status read_scores(const mr_runlog_reader *reader, const mr_measure *measure,
                             mr_result *result)
{
    size_t scores = (size_t)measure->scores;
    result->series = mr_alloc_array(MR_MEM_OTHER, scores + 1, sizeof *result->series);
    result->told = mr_alloc_array(MR_MEM_OTHER, scores, sizeof *result->told);
    if (!result->series || !result->told) return MR_ERR_MEMORY;
    MR_TRY(read_sets(reader, result));
    for (int k = 0; k < measure->scores; k++) {
        const mr_score *score = &measure->score[k];
        MR_TRY(read_series(reader, result, score, &result->series[k]));
        if (score->set) MR_TRY(mr_runlog_tells(reader, score->set, score->name, &result->told[k]));
    }
    return read_validation(reader, measure, result);
}

/* The sum over all steps; where not all are logged, by the mean of those that are. */
static mr_status read_sum(const mr_runlog_reader *reader, const char *dataset, int64_t steps,
                          double *sum)
{
    double *value = NULL;
    int64_t count;
    if (!mr_runlog_has(reader, dataset)) return MR_OK;
    MR_TRY(mr_runlog_series(reader, dataset, &value, &count));
    for (int64_t i = 0; i < count; i++)
        *sum += value[i] / (double)count * (double)steps;
    mr_free(value);
    return MR_OK;
}

/* The first linear stands for all: "layers.0.q_proj: sharing, r_hat 20". */
static mr_status read_became(const mr_runlog_reader *reader, const mr_names *kinds,
                             mr_result *result)
{
    mr_names texts = {0};
    if (!mr_runlog_has(reader, "/events/text")) return MR_OK;
    mr_status status = mr_runlog_texts(reader, "/events/text", &texts);
    for (int64_t i = 0; status == MR_OK && i < kinds->count && i < texts.count; i++) {
        const char *behind = strstr(texts.item[i], ": ");
        if (strcmp(kinds->item[i], "adapter") != 0 || !behind) continue;
        result->became = mr_strdup(behind + 2);
        if (!result->became) status = MR_ERR_MEMORY;
        break;
    }
    mr_names_free(&texts);
    return status;
}

/* A resumed run tells what it does again a second time, at steps told before. */
static mr_status read_events(const mr_runlog_reader *reader, mr_result *result)
{
    mr_names kinds = {0};
    double *step = NULL, last = -1;
    int64_t count = 0;
    if (!mr_runlog_has(reader, "/events/kind")) return MR_OK;
    mr_status status = mr_runlog_texts(reader, "/events/kind", &kinds);
    if (status == MR_OK) status = read_became(reader, &kinds, result);
    if (status == MR_OK) status = mr_runlog_series(reader, "/events/step", &step, &count);
    for (int64_t i = 0; status == MR_OK && i < count && i < kinds.count; i++) {
        if (strcmp(kinds.item[i], "merge") != 0 || step[i] <= last) continue;
        last = step[i];
        result->merges++;
    }
    mr_names_free(&kinds);
    mr_free(step);
    return status;
}

static mr_status read_config(const mr_runlog_reader *reader, mr_result *result)
{
    char *text = NULL;
    MR_TRY(mr_runlog_get_text(reader, "config", &text));
    mr_status status = mr_config_parse_resolved(mr_registry_of_program(), text, &result->config);
    mr_free(text);
    if (status != MR_OK) return mr_fail_in(status, "%s", result->path);
    MR_TRY(describe(&result->config, mr_results_in_setting, result->data_hash, &result->setting));
    return describe(&result->config, mr_results_in_variant, NULL, &result->variant);
}

static mr_status read_result(const mr_runlog_reader *reader, const mr_measure *measure,
                             mr_result *result)
{
    MR_TRY(read_attributes(reader, result));
    MR_TRY(read_config(reader, result));
    MR_TRY(read_scores(reader, measure, result));
    MR_TRY(read_sum(reader, "/train/tokens", result->steps, &result->tokens));
    MR_TRY(read_sum(reader, "/train/seconds", result->steps, &result->seconds));
    return read_events(reader, result);
}

mr_status mr_result_read(const char *path, const mr_measure *measure, int tasks, int *task,
                         mr_result **out)
{
    mr_runlog_reader *reader = NULL;
    mr_result *result = NULL;
    char *found = NULL;
    *out = NULL;
    *task = 0;
    mr_status status = mr_runlog_open(path, &reader);
    if (status == MR_OK) status = mr_runlog_get_text(reader, "task", &found);
    while (status == MR_OK && *task < tasks && strcmp(found, measure[*task].task) != 0)
        (*task)++;
    if (status != MR_OK || *task == tasks) goto cleanup;
    result = mr_alloc(MR_MEM_OTHER, sizeof *result);
    if (result) result->path = mr_strdup(path);
    status = result && result->path ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) status = read_result(reader, &measure[*task], result);
    if (status == MR_OK) {
        *out = result;
        result = NULL;
    }
cleanup:
    if (result) mr_result_free(&result, measure[*task].scores);
    mr_free(found);
    mr_runlog_close_reader(&reader);
    return status;
}

void mr_result_free(mr_result **result, int scores)
{
    if (!*result) return;
    char *const texts[] = {
        (*result)->path,      (*result)->setting,  (*result)->variant,     (*result)->method,
        (*result)->data_hash, (*result)->commit,   (*result)->stop_reason, (*result)->left_out,
        (*result)->became,    (*result)->held_out,
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        mr_free(texts[i]);
    for (int k = 0; (*result)->series && k <= scores; k++) {
        mr_free((*result)->series[k].step);
        mr_free((*result)->series[k].value);
    }
    mr_free((*result)->series);
    mr_free((*result)->told);
    for (int64_t i = 0; i < (*result)->sets; i++)
        mr_free((*result)->set[i].group);
    mr_free((*result)->set);
    mr_free(*result);
    *result = NULL;
}
