#include "report/results_read.h"

#include "base/file.h"
#include "config/value.h"
#include "store/runlog_read.h"
#include "store/spectra_file.h"
#include "train/registry.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDER_DEPTH = 32 }; /* most folders inside one another */

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool ends_in(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && strcmp(text + length - tail, end) == 0;
}

static mr_status find_below(const char *folder, int depth, mr_names *paths);

/* Takes one member of a folder: a log, or a folder to look into. What vanishes meanwhile, as the
 * temporary file of a log being written does, is nobody's. */
static mr_status take_member(const char *folder, const char *name, int depth, mr_names *paths)
{
    char path[PATH_MAX];
    struct stat about;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return MR_OK;
    bool slash = ends_in(folder, "/");
    MR_TRY(mr_file_path(path, "%s%s%s", folder, slash ? "" : "/", name));
    if (lstat(path, &about) != 0) return MR_OK;
    /* There are no logs among checkpoints; shards of older ones have the same ending. */
    if (S_ISDIR(about.st_mode) && strstr(name, ".checkpoints")) return MR_OK;
    if (S_ISDIR(about.st_mode)) return find_below(path, depth + 1, paths);
    /* Spectra stand beside the log of their run; a run may have a name that ends like theirs. */
    bool log = ends_in(name, ".h5") && !(ends_in(name, ".spectra.h5") && mr_spectra_file_is(path));
    return log ? mr_names_add(paths, path) : MR_OK;
}

static mr_status find_below(const char *folder, int depth, mr_names *paths)
{
    MR_CHECK(depth < FOLDER_DEPTH, MR_ERR_IO, "'%.256s...': more than %d folders deep", folder,
             FOLDER_DEPTH);
    DIR *listing = opendir(folder);
    MR_CHECK(listing, MR_ERR_IO, "cannot read the folder '%s': %s", folder, strerror(errno));
    mr_status status = MR_OK;
    for (const struct dirent *member; status == MR_OK && (member = readdir(listing));)
        status = take_member(folder, member->d_name, depth, paths);
    closedir(listing);
    return status;
}

mr_status mr_results_find(const char *folder, mr_names *paths)
{
    MR_TRY(find_below(folder, 0, paths));
    if (paths->count > 1)
        qsort(paths->item, (size_t)paths->count, sizeof *paths->item, compare_strings);
    return MR_OK;
}

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

/* A run stopped before its first evaluation has none. */
static mr_status read_series(const mr_runlog_reader *reader, const char *path,
                             const mr_score *score, mr_series *series)
{
    char dataset[256];
    double *counts = NULL;
    if (score->projection) return read_spectra(path, score, series);
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

/* Reads the score that chooses from the first set of the validation part that has it. */
static mr_status read_validation(const mr_runlog_reader *reader, const mr_measure *measure,
                                 mr_result *result)
{
    mr_names sets = {0};
    mr_status status = mr_runlog_list(reader, "/eval", &sets);
    for (int64_t i = 0; status == MR_OK && i < sets.count; i++) {
        mr_runlog_about about;
        mr_score score = measure->score[measure->choice];
        score.set = sets.item[i];
        score.count = NULL;
        status = mr_runlog_tells(reader, score.set, score.name, &about);
        if (status != MR_OK || !about.told || strcmp(about.part, "validation") != 0) continue;
        status = read_series(reader, result->path, &score, &result->series[measure->scores]);
        break;
    }
    mr_names_free(&sets);
    return status;
}

static mr_status read_scores(const mr_runlog_reader *reader, const mr_measure *measure,
                             mr_result *result)
{
    size_t scores = (size_t)measure->scores;
    result->series = mr_alloc_array(MR_MEM_OTHER, scores + 1, sizeof *result->series);
    result->told = mr_alloc_array(MR_MEM_OTHER, scores, sizeof *result->told);
    if (!result->series || !result->told) return MR_ERR_MEMORY;
    for (int k = 0; k < measure->scores; k++) {
        const mr_score *score = &measure->score[k];
        MR_TRY(read_series(reader, result->path, score, &result->series[k]));
        if (score->set) MR_TRY(mr_runlog_tells(reader, score->set, score->name, &result->told[k]));
    }
    return read_validation(reader, measure, result);
}

/* A resumed run tells what it does again a second time, at steps told before. */
static mr_status read_merges(const mr_runlog_reader *reader, mr_result *result)
{
    mr_names kinds = {0};
    double *step = NULL, last = -1;
    int64_t count = 0;
    if (!mr_runlog_has(reader, "/events/kind")) return MR_OK;
    mr_status status = mr_runlog_texts(reader, "/events/kind", &kinds);
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

mr_status mr_result_read(const char *path, const mr_measure *measure, mr_result **out)
{
    mr_runlog_reader *reader = NULL;
    mr_result *result = NULL;
    char *found = NULL;
    *out = NULL;
    mr_status status = mr_runlog_open(path, &reader);
    if (status != MR_OK) goto cleanup;
    status = mr_runlog_get_text(reader, "task", &found);
    if (status != MR_OK || strcmp(found, measure->task) != 0) goto cleanup;
    result = mr_alloc(MR_MEM_OTHER, sizeof *result);
    status = result ? MR_OK : MR_ERR_MEMORY;
    if (status != MR_OK) goto cleanup;
    result->path = mr_strdup(path);
    status = result->path ? MR_OK : MR_ERR_MEMORY;
    if (status == MR_OK) status = read_attributes(reader, result);
    if (status == MR_OK) status = read_config(reader, result);
    if (status == MR_OK) status = read_scores(reader, measure, result);
    if (status == MR_OK) status = read_merges(reader, result);
    if (status == MR_OK) {
        *out = result;
        result = NULL;
    }
cleanup:
    mr_result_free(&result, measure->scores);
    mr_free(found);
    mr_runlog_close_reader(&reader);
    return status;
}

void mr_result_free(mr_result **result, int scores)
{
    if (!*result) return;
    char *const texts[] = {
        (*result)->path,      (*result)->setting, (*result)->variant,     (*result)->method,
        (*result)->data_hash, (*result)->commit,  (*result)->stop_reason, (*result)->left_out,
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        mr_free(texts[i]);
    for (int k = 0; (*result)->series && k <= scores; k++) {
        mr_free((*result)->series[k].step);
        mr_free((*result)->series[k].value);
    }
    mr_free((*result)->series);
    mr_free((*result)->told);
    mr_free(*result);
    *result = NULL;
}
