#include "app/info.h"
#include "base/file.h"
#include "report/description.h"
#include "store/json.h"
#include "store/runlog.h"
#include "store/runlog_read.h"
#include "store/spectra_file.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EVENTS_SHOWN = 20, LONGEST = 4096 };

typedef enum attribute_type { TEXT, INTEGER, REAL } attribute_type;

/* In the order they are shown; a log of an older program may lack some. */
static const struct {
    const char *name;
    attribute_type type;
} attributes[] = {
    {"run", TEXT},
    {"task", TEXT},
    {"method", TEXT},
    {"r", INTEGER},
    {"seed", INTEGER},
    {"stop_reason", TEXT},
    {"steps", INTEGER},
    {"started", TEXT},
    {"seconds", REAL},
    {"tokens_per_second", REAL},
    {"parameters", INTEGER},
    {"base_parameters", INTEGER},
    {"trainable_parameters", INTEGER},
    {"dtype", TEXT},
    {"matmul", TEXT},
    {"optimizer_dtype", TEXT},
    {"seq_len", INTEGER},
    {"samples", INTEGER},
    {"rows", INTEGER},
    {"padding_share", REAL},
    {"train_documents", INTEGER},
    {"train_documents_dropped", INTEGER},
    {"train_documents_none_learned", INTEGER},
    {"train_samples_truncated", INTEGER},
    {"train_samples_all_learned", INTEGER},
    {"heldout_documents", INTEGER},
    {"heldout_documents_dropped", INTEGER},
    {"heldout_documents_none_learned", INTEGER},
    {"heldout_samples_truncated", INTEGER},
    {"heldout_samples_all_learned", INTEGER},
    {"micro_batches", INTEGER},
    {"flops_per_step", REAL},
    {"ranks", INTEGER},
    {"threads", INTEGER},
    {"backend", TEXT},
    {"same_bits_on", TEXT},
    {"same_bits_up_to", INTEGER},
    {"planned_bytes", INTEGER},
    {"peak_bytes", INTEGER},
    {"tokenizer", TEXT},
    {"tokenizer_hash", TEXT},
    {"data_hash", TEXT},
    {"weights_hash", TEXT},
    {"adapter_hash", TEXT},
    {"model_config", TEXT},
    {"end_ids", TEXT},
    {"kept", TEXT},
    {"version", TEXT},
    {"git_commit", TEXT},
    {"build_options", TEXT},
};

static mr_status add_text(const mr_runlog_reader *reader, const char *name, json_t *object)
{
    char *text = NULL;
    MR_TRY(mr_runlog_get_text(reader, name, &text));
    mr_description_put(object, name, mr_json_text(text));
    mr_free(text);
    return MR_OK;
}

static mr_status add_attributes(const mr_runlog_reader *reader, json_t *object)
{
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++) {
        const char *name = attributes[i].name;
        int64_t integer;
        double real;
        if (!mr_runlog_has_attribute(reader, name)) continue;
        switch (attributes[i].type) {
        case TEXT:
            MR_TRY(add_text(reader, name, object));
            break;
        case INTEGER:
            MR_TRY(mr_runlog_get_int(reader, name, &integer));
            mr_description_put(object, name, json_integer(integer));
            break;
        case REAL:
            MR_TRY(mr_runlog_get_double(reader, name, &real));
            mr_description_put(object, name, mr_json_number(real));
            break;
        }
    }
    return MR_OK;
}

/* Length, ends and range of every series of training. */
static mr_status add_series(const mr_runlog_reader *reader, json_t *object)
{
    mr_names names = {0};
    json_t *rows = json_array();
    mr_status status = mr_runlog_list(reader, "/train", &names);
    for (int64_t i = 0; status == MR_OK && i < names.count; i++) {
        char dataset[LONGEST];
        double *value = NULL;
        int64_t count;
        snprintf(dataset, sizeof dataset, "/train/%s", names.item[i]);
        status = mr_runlog_series(reader, dataset, &value, &count);
        if (status != MR_OK) break;
        json_t *row = json_pack("{s:o, s:I}", "series", mr_json_text(names.item[i]), "rows",
                                (json_int_t)count);
        double least = count > 0 ? value[0] : 0, most = least;
        for (int64_t k = 0; k < count; k++) {
            if (value[k] < least) least = value[k];
            if (value[k] > most) most = value[k];
        }
        mr_description_put(row, "first", count > 0 ? mr_json_number(value[0]) : json_null());
        mr_description_put(row, "last", count > 0 ? mr_json_number(value[count - 1]) : json_null());
        mr_description_put(row, "least", count > 0 ? mr_json_number(least) : json_null());
        mr_description_put(row, "most", count > 0 ? mr_json_number(most) : json_null());
        json_array_append_new(rows, row);
        mr_free(value);
    }
    mr_names_free(&names);
    mr_description_put(object, "train", rows);
    return status;
}

/* Whole numbers come as doubles; what is none, in a file of another's making, stays as it is. */
static json_t *whole_number(double value)
{
    const double exact = 9007199254740992.0;
    return fabs(value) <= exact ? json_integer((json_int_t)value) : mr_json_number(value);
}

/* Puts a series as one column of a list of objects; the steps, which come first, make the list. */
static mr_status add_column(const mr_runlog_reader *reader, const char *evaluation,
                            const char *name, bool steps, json_t *rows)
{
    char dataset[LONGEST];
    double *value = NULL;
    int64_t count;
    mr_status status = MR_OK;
    snprintf(dataset, sizeof dataset, "/eval/%s/%s", evaluation, name);
    MR_TRY(mr_runlog_series(reader, dataset, &value, &count));
    for (int64_t i = 0; steps && i < count; i++)
        json_array_append_new(rows, json_object());
    if ((size_t)count != json_array_size(rows))
        status = mr_fail(MR_ERR_FORMAT, "%s: expected as many rows as steps, %zu, found %lld",
                         dataset, json_array_size(rows), (long long)count);
    for (int64_t i = 0; status == MR_OK && i < count; i++)
        mr_description_put(json_array_get(rows, (size_t)i), name,
                           steps ? whole_number(value[i]) : mr_json_number(value[i]));
    mr_free(value);
    return status;
}

static mr_status add_evaluation(const mr_runlog_reader *reader, const char *name, json_t *object)
{
    mr_names scores = {0};
    json_t *rows = json_array();
    mr_status status = add_column(reader, name, "step", true, rows);
    if (status == MR_OK) status = mr_runlog_scores(reader, name, &scores);
    for (int64_t i = 0; status == MR_OK && i < scores.count; i++)
        status = add_column(reader, name, scores.item[i], false, rows);
    mr_names_free(&scores);
    mr_description_put(object, name, rows);
    return status;
}

/* The file of a set's rows, beside the log; null where there is none, or no longer. */
static json_t *rows_of(const char *log, const char *rows)
{
    char path[PATH_MAX];
    const char *slash = strrchr(log, '/');
    const int folder = slash ? (int)(slash - log) + 1 : 0;
    if (!rows[0] || mr_file_path(path, "%.*s%s", folder, log, rows) != MR_OK) return json_null();
    return access(path, F_OK) == 0 ? mr_json_text(path) : json_null();
}

static json_t *text_or_null(const char *text)
{
    return text[0] ? mr_json_text(text) : json_null();
}

/* The scores of groups of items of all sets whose rows are there; what is wrong with these says
 * nothing of the log. */
static mr_status add_groups(const json_t *sets, json_t *object)
{
    json_t *groups = json_array(), *set;
    size_t i;
    mr_status status = MR_OK;
    json_array_foreach((json_t *)(uintptr_t)sets, i, set)
    {
        const char *rows = json_string_value(json_object_get(set, "rows"));
        if (rows && status == MR_OK) status = mr_info_groups(rows, &groups);
    }
    if (status != MR_OK && status != MR_ERR_MEMORY) {
        json_decref(groups);
        groups = mr_json_text(mr_message());
        status = MR_OK;
    }
    mr_description_put(object, "groups", groups);
    return status;
}

/* What sets are that are not of the run's own data. */
static mr_status add_sets(const mr_runlog_reader *reader, const char *path, json_t *object)
{
    mr_names names = {0};
    json_t *sets = json_array();
    mr_status status = mr_runlog_list(reader, "/eval", &names);
    for (int64_t i = 0; status == MR_OK && i < names.count; i++) {
        mr_runlog_about about;
        status = mr_runlog_tells(reader, names.item[i], NULL, &about);
        if (status != MR_OK || (!about.set[0] && !about.data[0])) continue;
        json_t *set =
            json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", mr_json_text(names.item[i]),
                      "set", text_or_null(about.set), "version",
                      about.version > 0 ? json_integer(about.version) : json_null(), "source",
                      text_or_null(about.source), "rules", text_or_null(about.rules), "data",
                      text_or_null(about.data), "rows", rows_of(path, about.rows));
        mr_json_append(&sets, set);
    }
    mr_names_free(&names);
    if (json_array_size(sets) == 0) {
        json_decref(sets);
        return status;
    }
    mr_description_put(object, "sets", sets);
    return status == MR_OK ? add_groups(sets, object) : status;
}

static mr_status add_evaluations(const mr_runlog_reader *reader, json_t *object)
{
    mr_names names = {0};
    json_t *evaluations = json_object();
    mr_status status = mr_runlog_list(reader, "/eval", &names);
    for (int64_t i = 0; status == MR_OK && i < names.count; i++)
        status = add_evaluation(reader, names.item[i], evaluations);
    mr_names_free(&names);
    mr_description_put(object, "evaluations", evaluations);
    return status;
}

/* The last events; how many there are stands beside them. */
static mr_status add_events(const mr_runlog_reader *reader, json_t *object)
{
    mr_names kinds = {0}, texts = {0};
    double *step = NULL;
    int64_t count = 0;
    json_t *rows = json_array();
    mr_status status = MR_OK;
    if (mr_runlog_has(reader, "/events/step")) {
        status = mr_runlog_series(reader, "/events/step", &step, &count);
        if (status == MR_OK) status = mr_runlog_texts(reader, "/events/kind", &kinds);
        if (status == MR_OK) status = mr_runlog_texts(reader, "/events/text", &texts);
    }
    if (kinds.count < count) count = kinds.count;
    if (texts.count < count) count = texts.count;
    int64_t first = count > EVENTS_SHOWN ? count - EVENTS_SHOWN : 0;
    for (int64_t i = first; status == MR_OK && i < count; i++)
        json_array_append_new(rows, json_pack("{s:o, s:o, s:o}", "step", whole_number(step[i]),
                                              "kind", mr_json_text(kinds.item[i]), "text",
                                              mr_json_text(texts.item[i])));
    mr_description_put(object, "events", json_integer(count));
    mr_description_put(object, "last_events", rows);
    mr_free(step);
    mr_names_free(&kinds);
    mr_names_free(&texts);
    return status;
}

/* What is wrong with spectra says nothing of the log. */
static mr_status add_spectra(const char *log, json_t *object)
{
    char path[PATH_MAX];
    json_t *spectra = NULL;
    MR_TRY(mr_spectra_file_path(log, path));
    if (access(path, F_OK) != 0) return MR_OK;
    mr_status status = mr_info_spectra(path, &spectra);
    if (status == MR_ERR_MEMORY) return status;
    mr_description_put(object, "spectra", status == MR_OK ? spectra : mr_json_text(mr_message()));
    return MR_OK;
}

mr_status mr_info_run_log(const char *path, bool config, json_t **out)
{
    mr_runlog_reader *reader = NULL;
    *out = NULL;
    MR_TRY(mr_runlog_open(path, &reader));
    json_t *object = json_object();
    mr_description_put(object, "kind", json_string("run log"));
    mr_description_put(object, "file", mr_json_text(path));
    mr_status status = add_attributes(reader, object);
    if (status == MR_OK) status = add_series(reader, object);
    if (status == MR_OK) status = add_evaluations(reader, object);
    if (status == MR_OK) status = add_sets(reader, path, object);
    if (status == MR_OK) status = add_events(reader, object);
    if (status == MR_OK) status = add_spectra(path, object);
    if (status == MR_OK && config) status = add_text(reader, "config", object);
    mr_runlog_close_reader(&reader);
    if (status == MR_ERR_FORMAT) status = mr_runlog_unsound(path);
    if (status != MR_OK) {
        json_decref(object);
        object = NULL;
    }
    *out = object;
    return status;
}
