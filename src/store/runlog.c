#include "store/runlog.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/utf8.h"
#include "store/h5.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    PENDING = 256, /* training rows held back, so that a step costs no HDF5 call */
    CHUNK_BYTES = 8192,
    CHUNK_COLUMNS = 16384,
};

static const double FLUSH_INTERVAL = 1.0; /* seconds, at least */
static const double FLUSH_FACTOR = 50.0;  /* times the duration of the last flush, at least */

struct mr_runlog {
    char *path;            /* owned */
    hid_t file;            /* owned, in memory */
    double opened;         /* mr_clock when this process began */
    double seconds_before; /* of the processes before this one */
    double next_flush;     /* mr_clock */
    bool dirty;            /* something is not in the file at path */
    int n_pending;
    mr_runlog_step pending[PENDING];
};

/* Creates the dataset `name` with no rows yet. columns 0: one-dimensional. */
static mr_status create_table(mr_runlog *log, const char *name, hid_t type, int64_t columns)
{
    mr_status status = MR_OK;
    hid_t space = H5I_INVALID_HID, links = H5I_INVALID_HID, layout = H5I_INVALID_HID;
    hid_t dataset = H5I_INVALID_HID;
    int dims = columns > 0 ? 2 : 1;
    hsize_t width = columns > 0 ? (hsize_t)columns : 1;
    const hsize_t extents[2] = {0, width}, most[2] = {H5S_UNLIMITED, width};
    hsize_t chunk[2] = {1, width < CHUNK_COLUMNS ? width : CHUNK_COLUMNS};
    size_t row_bytes = (size_t)chunk[1] * H5Tget_size(type);
    if (row_bytes < CHUNK_BYTES) chunk[0] = CHUNK_BYTES / row_bytes;

    MR_H5(space = H5Screate_simple(dims, extents, most), MR_ERR_IO, log->path, "%s", name);
    MR_H5(links = H5Pcreate(H5P_LINK_CREATE), MR_ERR_IO, log->path, "%s", name);
    MR_H5(H5Pset_create_intermediate_group(links, 1), MR_ERR_IO, log->path, "%s", name);
    MR_H5(layout = H5Pcreate(H5P_DATASET_CREATE), MR_ERR_IO, log->path, "%s", name);
    MR_H5(H5Pset_chunk(layout, dims, chunk), MR_ERR_IO, log->path, "%s", name);
    MR_H5(H5Pset_fletcher32(layout), MR_ERR_IO, log->path, "%s", name);
    /* No times: equal runs leave equal bytes. */
    MR_H5(H5Pset_obj_track_times(layout, false), MR_ERR_IO, log->path, "%s", name);
    MR_H5(dataset = H5Dcreate2(log->file, name, type, space, links, layout, H5P_DEFAULT), MR_ERR_IO,
          log->path, "cannot create %s", name);
cleanup:
    if (dataset >= 0) H5Dclose(dataset);
    if (layout >= 0) H5Pclose(layout);
    if (links >= 0) H5Pclose(links);
    if (space >= 0) H5Sclose(space);
    return status;
}

/* Appends data [rows, columns] of a memory type, creating the dataset with file_type at first. */
static mr_status append(mr_runlog *log, const char *name, hid_t file_type, hid_t type, int64_t rows,
                        int64_t columns, const void *data)
{
    if (!mr_h5_exists(log->file, name)) MR_TRY(create_table(log, name, file_type, columns));
    mr_h5_table table;
    MR_TRY(mr_h5_table_open(log->file, log->path, name, &table));
    mr_status status = MR_OK;
    hid_t target = H5I_INVALID_HID, block = H5I_INVALID_HID;
    int64_t width = columns > 0 ? columns : 1;
    if (table.flat != (columns == 0) || table.columns != width) {
        status = mr_fail(MR_ERR_ARG, "%s: %s has rows of %" PRId64 " values, not of %" PRId64,
                         log->path, name, table.columns, width);
        goto cleanup;
    }
    int dims = table.flat ? 1 : 2;
    const hsize_t start[2] = {(hsize_t)table.rows, 0};
    const hsize_t count[2] = {(hsize_t)rows, (hsize_t)width};
    const hsize_t extents[2] = {(hsize_t)(table.rows + rows), (hsize_t)width};
    log->dirty = true;
    MR_H5(H5Dset_extent(table.handle, extents), MR_ERR_IO, log->path, "cannot extend %s", name);
    MR_H5(target = H5Dget_space(table.handle), MR_ERR_IO, log->path, "%s", name);
    MR_H5(H5Sselect_hyperslab(target, H5S_SELECT_SET, start, NULL, count, NULL), MR_ERR_IO,
          log->path, "%s", name);
    MR_H5(block = H5Screate_simple(dims, count, NULL), MR_ERR_IO, log->path, "%s", name);
    MR_H5(H5Dwrite(table.handle, type, block, target, H5P_DEFAULT, data), MR_ERR_IO, log->path,
          "cannot write %s", name);
cleanup:
    if (block >= 0) H5Sclose(block);
    if (target >= 0) H5Sclose(target);
    mr_h5_table_close(&table);
    return status;
}

static mr_status append_ints(mr_runlog *log, const char *name, int64_t rows, const int64_t *values)
{
    return append(log, name, H5T_STD_I64LE, H5T_NATIVE_INT64, rows, 0, values);
}

static mr_status append_doubles(mr_runlog *log, const char *name, int64_t rows,
                                const double *values)
{
    return append(log, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, rows, 0, values);
}

static mr_status write_pending(mr_runlog *log)
{
    static const struct {
        const char *name;
        size_t offset;
    } columns[] = {
        {"/train/loss", offsetof(mr_runlog_step, loss)},
        {"/train/lr", offsetof(mr_runlog_step, lr)},
        {"/train/grad_norm", offsetof(mr_runlog_step, grad_norm)},
        {"/train/seconds", offsetof(mr_runlog_step, seconds)},
    };
    int n = log->n_pending;
    if (n == 0) return MR_OK;
    int64_t ints[PENDING] = {0};
    for (int i = 0; i < n; i++)
        ints[i] = log->pending[i].step;
    MR_TRY(append_ints(log, "/train/step", n, ints));
    for (int i = 0; i < n; i++)
        ints[i] = log->pending[i].tokens;
    MR_TRY(append_ints(log, "/train/tokens", n, ints));
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
        double doubles[PENDING];
        for (int i = 0; i < n; i++)
            memcpy(&doubles[i], (const char *)&log->pending[i] + columns[c].offset, sizeof(double));
        MR_TRY(append_doubles(log, columns[c].name, n, doubles));
    }
    log->n_pending = 0;
    return MR_OK;
}

static mr_runlog *allocate(const char *path)
{
    mr_runlog *log = mr_alloc(MR_MEM_OTHER, sizeof *log);
    if (!log) return NULL;
    log->file = H5I_INVALID_HID;
    log->opened = mr_clock();
    log->path = mr_strdup(path);
    if (!log->path) mr_runlog_abandon(&log);
    return log;
}

mr_status mr_runlog_create(const char *path, mr_runlog **out)
{
    *out = NULL;
    MR_TRY(mr_h5_start());
    mr_runlog *log = allocate(path);
    if (!log) return MR_ERR_MEMORY;
    mr_status status = MR_OK;
    hid_t access = H5I_INVALID_HID;
    MR_H5(access = mr_h5_access(true), MR_ERR_IO, path, "cannot start a run log");
    MR_H5(log->file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access), MR_ERR_IO, path,
          "cannot start a run log");
    if ((status = mr_runlog_set_text(log, "format", MR_RUNLOG_FORMAT)) != MR_OK) goto cleanup;
    if ((status = mr_runlog_set_int(log, "format_version", MR_RUNLOG_VERSION)) != MR_OK)
        goto cleanup;
    *out = log;
    log = NULL;
cleanup:
    if (access >= 0) H5Pclose(access);
    mr_runlog_abandon(&log);
    return status;
}

/* Every dataset of a group must have as many rows as its `step`; a group without one is passed. */
static mr_status check_rows(const mr_runlog *log, const char *group)
{
    char name[MR_H5_PATH];
    snprintf(name, sizeof name, "%s/step", group);
    if (!mr_h5_exists(log->file, name)) return MR_OK;
    mr_h5_table table;
    MR_TRY(mr_h5_table_open(log->file, log->path, name, &table));
    int64_t rows = table.rows;
    mr_h5_table_close(&table);
    mr_names names = {0};
    mr_status status = mr_h5_members(log->file, log->path, group, &names);
    for (int64_t i = 0; status == MR_OK && i < names.count; i++) {
        snprintf(name, sizeof name, "%s/%s", group, names.item[i]);
        status = mr_h5_table_open(log->file, log->path, name, &table);
        if (status == MR_OK && table.rows != rows)
            status = mr_fail(MR_ERR_FORMAT, "%s: %s has %" PRId64 " rows, %s/step %" PRId64,
                             log->path, name, table.rows, group, rows);
        mr_h5_table_close(&table);
    }
    mr_names_free(&names);
    return status;
}

static mr_status check_evaluations(const mr_runlog *log)
{
    mr_names names = {0};
    mr_status status = mr_h5_members(log->file, log->path, "/eval", &names);
    for (int64_t i = 0; status == MR_OK && i < names.count; i++) {
        char group[MR_H5_PATH];
        snprintf(group, sizeof group, "/eval/%s", names.item[i]);
        status = check_rows(log, group);
    }
    mr_names_free(&names);
    return status;
}

/* Takes the events' clock up where it stopped. */
static mr_status resume_clock(mr_runlog *log)
{
    const char *name = "/events/seconds";
    if (!mr_h5_exists(log->file, name)) return MR_OK;
    mr_h5_table table;
    MR_TRY(mr_h5_table_open(log->file, log->path, name, &table));
    mr_status status = MR_OK;
    if (table.rows > 0)
        status = mr_h5_table_read(&table, log->path, name, table.rows - 1, 1, H5T_NATIVE_DOUBLE,
                                  &log->seconds_before);
    mr_h5_table_close(&table);
    return status;
}

bool mr_runlog_is(const char *head, size_t bytes)
{
    static const char signature[] = "\x89HDF\r\n\x1a\n";
    size_t length = sizeof signature - 1;
    return bytes >= length && memcmp(head, signature, length) == 0;
}

mr_status mr_runlog_unsound(const char *path)
{
    size_t length = strlen(path);
    const char *why = mr_message();
    if (strncmp(why, path, length) == 0 && strncmp(why + length, ": ", 2) == 0) why += length + 2;
    return mr_fail(MR_ERR_FORMAT, "%s: not a sound run log: %s", path, why);
}

static mr_status load(mr_runlog *log)
{
    mr_status status = MR_OK;
    hid_t access = H5I_INVALID_HID;
    MR_H5(access = mr_h5_access(true), MR_ERR_IO, log->path, "cannot load it");
    MR_H5(log->file = H5Fopen(log->path, H5F_ACC_RDWR, access), MR_ERR_FORMAT, log->path,
          "cannot load it");
    if ((status = mr_h5_check_format(log->file, log->path, MR_RUNLOG_FORMAT, MR_RUNLOG_VERSION)) !=
        MR_OK)
        goto cleanup;
    if ((status = mr_h5_verify(log->file, log->path, "/")) != MR_OK) goto cleanup;
    if ((status = check_rows(log, "/train")) != MR_OK) goto cleanup;
    if ((status = check_rows(log, "/events")) != MR_OK) goto cleanup;
    if ((status = check_evaluations(log)) != MR_OK) goto cleanup;
    status = resume_clock(log);
cleanup:
    if (access >= 0) H5Pclose(access);
    return status;
}

mr_status mr_runlog_reopen(const char *path, mr_runlog **out)
{
    *out = NULL;
    MR_CHECK(access(path, R_OK) == 0, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    MR_TRY(mr_h5_start());
    mr_runlog *log = allocate(path);
    if (!log) return MR_ERR_MEMORY;
    mr_status status = load(log);
    if (status == MR_ERR_FORMAT) status = mr_runlog_unsound(path);
    if (status != MR_OK)
        mr_runlog_abandon(&log);
    else
        *out = log;
    return status;
}

/* Counts the leading rows of a group's `step` that are not behind a step; -1 where it has none. */
static mr_status count_kept(const mr_runlog *log, const char *group, int64_t step, int64_t *kept)
{
    char name[MR_H5_PATH];
    *kept = -1;
    snprintf(name, sizeof name, "%s/step", group);
    if (!mr_h5_exists(log->file, name)) return MR_OK;
    mr_h5_table table;
    MR_TRY(mr_h5_table_open(log->file, log->path, name, &table));
    mr_status status = MR_OK;
    double *steps = NULL;
    if (table.columns != 1 || table.class == H5T_STRING) {
        status = mr_fail(MR_ERR_FORMAT, "%s: %s is not one number a row", log->path, name);
        goto cleanup;
    }
    steps = mr_alloc_array(MR_MEM_OTHER, (size_t)table.rows, sizeof *steps);
    if (!steps) {
        status = MR_ERR_MEMORY;
        goto cleanup;
    }
    status = mr_h5_table_read(&table, log->path, name, 0, table.rows, H5T_NATIVE_DOUBLE, steps);
    if (status != MR_OK) goto cleanup;
    *kept = table.rows;
    while (*kept > 0 && steps[*kept - 1] > (double)step)
        (*kept)--;
cleanup:
    mr_free(steps);
    mr_h5_table_close(&table);
    return status;
}

static mr_status cut_table(mr_runlog *log, const char *name, int64_t rows)
{
    mr_h5_table table;
    MR_TRY(mr_h5_table_open(log->file, log->path, name, &table));
    mr_status status = MR_OK;
    const hsize_t extents[2] = {(hsize_t)rows, (hsize_t)table.columns};
    if (table.rows <= rows) goto cleanup;
    log->dirty = true;
    MR_H5(H5Dset_extent(table.handle, extents), MR_ERR_IO, log->path, "cannot shorten %s", name);
cleanup:
    mr_h5_table_close(&table);
    return status;
}

static mr_status rewind_group(mr_runlog *log, const char *group, int64_t step, int depth)
{
    MR_CHECK(depth < MR_H5_DEPTH, MR_ERR_FORMAT, "%s: group %s: too many groups within groups",
             log->path, group);
    int64_t kept;
    MR_TRY(count_kept(log, group, step, &kept));
    mr_names names = {0};
    mr_status status = mr_h5_members(log->file, log->path, depth == 0 ? "/" : group, &names);
    for (int64_t i = 0; status == MR_OK && i < names.count; i++) {
        char name[MR_H5_PATH];
        int length = snprintf(name, sizeof name, "%s/%s", group, names.item[i]);
        if (length < 0 || (size_t)length >= sizeof name) {
            status = mr_fail(MR_ERR_FORMAT, "%s: group %s: a path is too long", log->path, group);
        } else if (mr_h5_is_group(log->file, name)) {
            if (strcmp(name, "/events") != 0) status = rewind_group(log, name, step, depth + 1);
        } else if (kept >= 0) {
            status = cut_table(log, name, kept);
        }
    }
    mr_names_free(&names);
    return status;
}

mr_status mr_runlog_rewind(mr_runlog *log, int64_t step, bool evaluated)
{
    MR_TRY(write_pending(log));
    MR_TRY(rewind_group(log, "", step, 0));
    if (evaluated || !mr_h5_exists(log->file, "/eval")) return MR_OK;
    return rewind_group(log, "/eval", step - 1, 1);
}

static mr_status set_attribute(mr_runlog *log, const char *name, hid_t file_type, hid_t type,
                               const void *value)
{
    log->dirty = true;
    return mr_h5_set_attribute(log->file, log->path, name, file_type, type, value);
}

/* Makes the type of texts of up to bytes-1 bytes, closed by zeros. */
static mr_status make_text_type(const mr_runlog *log, size_t bytes, hid_t *type)
{
    mr_status status = MR_OK;
    MR_H5(*type = H5Tcopy(H5T_C_S1), MR_ERR_IO, log->path, "the type of texts");
    MR_H5(H5Tset_size(*type, bytes), MR_ERR_IO, log->path, "the type of texts");
    MR_H5(H5Tset_cset(*type, H5T_CSET_UTF8), MR_ERR_IO, log->path, "the type of texts");
cleanup:
    return status;
}

mr_status mr_runlog_set_text(mr_runlog *log, const char *name, const char *value)
{
    hid_t type = H5I_INVALID_HID;
    mr_status status = make_text_type(log, strlen(value) + 1, &type);
    if (status == MR_OK) status = set_attribute(log, name, type, type, value);
    if (type >= 0) H5Tclose(type);
    return status;
}

mr_status mr_runlog_set_int(mr_runlog *log, const char *name, int64_t value)
{
    return set_attribute(log, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

mr_status mr_runlog_set_double(mr_runlog *log, const char *name, double value)
{
    return set_attribute(log, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

mr_status mr_runlog_train(mr_runlog *log, const mr_runlog_step *row)
{
    if (log->n_pending == PENDING) MR_TRY(write_pending(log));
    log->pending[log->n_pending++] = *row;
    log->dirty = true;
    return MR_OK;
}

/* Forms "/eval/<group>/<member>" and refuses what HDF5 would read as another path. */
static mr_status eval_path(const mr_runlog *log, const char *group, const char *member,
                           char path[MR_H5_PATH])
{
    const char *const parts[] = {group, member};
    for (size_t i = 0; i < 2; i++)
        MR_CHECK(parts[i][0] && parts[i][0] != '.' && !strchr(parts[i], '/'), MR_ERR_ARG,
                 "%s: '%s' cannot name an evaluation or a score", log->path, parts[i]);
    int length = snprintf(path, MR_H5_PATH, "/eval/%s/%s", group, member);
    MR_CHECK(length > 0 && length < MR_H5_PATH, MR_ERR_ARG, "%s: the name '%.64s...' is too long",
             log->path, group);
    return MR_OK;
}

/* The second and later evaluations of a name must fill the very datasets the first one made. */
static mr_status check_scores(const mr_runlog *log, const char *name,
                              const char *const *score_names, int64_t n_scores, int64_t n_items)
{
    char path[MR_H5_PATH];
    for (int64_t i = 0; i < n_scores; i++) {
        MR_TRY(eval_path(log, name, score_names[i], path));
        MR_CHECK(strcmp(score_names[i], "step") != 0 && strcmp(score_names[i], "items") != 0,
                 MR_ERR_ARG, "%s: a score of '%s' cannot be named '%s'", log->path, name,
                 score_names[i]);
        for (int64_t j = 0; j < i; j++)
            MR_CHECK(strcmp(score_names[i], score_names[j]) != 0, MR_ERR_ARG,
                     "%s: '%s' has the score '%s' twice", log->path, name, score_names[i]);
    }
    MR_TRY(eval_path(log, name, "step", path));
    if (!mr_h5_exists(log->file, path)) return MR_OK;

    mr_names members = {0};
    *strrchr(path, '/') = '\0';
    mr_status status = mr_h5_members(log->file, log->path, path, &members);
    bool same = members.count == 1 + n_scores + (n_items > 0 ? 1 : 0);
    mr_names_free(&members);
    MR_TRY(status);
    for (int64_t i = 0; same && i < n_scores; i++) {
        MR_TRY(eval_path(log, name, score_names[i], path));
        same = mr_h5_exists(log->file, path);
    }
    if (same && n_items > 0) {
        MR_TRY(eval_path(log, name, "items", path));
        mr_h5_table table;
        MR_TRY(mr_h5_table_open(log->file, log->path, path, &table));
        same = table.columns == n_items;
        mr_h5_table_close(&table);
    }
    MR_CHECK(same, MR_ERR_ARG,
             "%s: evaluation '%s' comes with other scores or another number of items than before",
             log->path, name);
    return MR_OK;
}

mr_status mr_runlog_eval(mr_runlog *log, const char *name, int64_t step,
                         const char *const *score_names, const double *scores, int64_t n_scores,
                         const float *items, int64_t n_items)
{
    char path[MR_H5_PATH];
    MR_TRY(check_scores(log, name, score_names, n_scores, n_items));
    MR_TRY(eval_path(log, name, "step", path));
    MR_TRY(append_ints(log, path, 1, &step));
    for (int64_t i = 0; i < n_scores; i++) {
        MR_TRY(eval_path(log, name, score_names[i], path));
        MR_TRY(append_doubles(log, path, 1, &scores[i]));
    }
    if (n_items == 0) return MR_OK;
    MR_TRY(eval_path(log, name, "items", path));
    return append(log, path, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 1, n_items, items);
}

/* Sets a text attribute of an object. */
static mr_status set_text_of(const mr_runlog *log, hid_t object, const char *name,
                             const char *value)
{
    hid_t type = H5I_INVALID_HID;
    mr_status status = make_text_type(log, strlen(value) + 1, &type);
    if (status == MR_OK) status = mr_h5_set_attribute(object, log->path, name, type, type, value);
    if (type >= 0) H5Tclose(type);
    return status;
}

mr_status mr_runlog_describe(mr_runlog *log, const char *name, const mr_runlog_set *about)
{
    char path[MR_H5_PATH];
    hid_t object = H5I_INVALID_HID;
    mr_status status = MR_OK;
    snprintf(path, sizeof path, "/eval/%s", name);
    MR_H5(object = H5Oopen(log->file, path, H5P_DEFAULT), MR_ERR_IO, log->path, "%s", path);
    const char *const texts[][2] = {{"kind", about->kind},
                                    {"part", about->part},
                                    {"item", about->item},
                                    {"primary", about->score[0].name}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts && status == MR_OK; i++)
        status = set_text_of(log, object, texts[i][0], texts[i][1]);
    for (int i = 0; i < about->scores && status == MR_OK; i++) {
        const mr_runlog_score *score = &about->score[i];
        int64_t lower = score->lower_is_better;
        H5Oclose(object);
        MR_TRY(eval_path(log, name, score->name, path));
        MR_H5(object = H5Oopen(log->file, path, H5P_DEFAULT), MR_ERR_IO, log->path, "%s", path);
        status = set_text_of(log, object, "unit", score->unit);
        if (status == MR_OK)
            status = mr_h5_set_attribute(object, log->path, "lower_is_better", H5T_STD_I64LE,
                                         H5T_NATIVE_INT64, &lower);
    }
cleanup:
    if (object >= 0) H5Oclose(object);
    return status;
}

/* Appends a text of at most bytes-1 bytes, cut before a character of UTF-8 that does not fit. */
static mr_status append_text(mr_runlog *log, const char *name, const char *text, size_t bytes)
{
    char cell[MR_RUNLOG_TEXT] = "";
    snprintf(cell, sizeof cell, "%.*s", (int)mr_utf8_cut(text, bytes - 1), text);
    hid_t type = H5I_INVALID_HID;
    mr_status status = make_text_type(log, bytes, &type);
    if (status == MR_OK) status = append(log, name, type, type, 1, 0, cell);
    if (type >= 0) H5Tclose(type);
    return status;
}

mr_status mr_runlog_event(mr_runlog *log, int64_t step, const char *kind, const char *text)
{
    double seconds = log->seconds_before + mr_clock() - log->opened;
    MR_TRY(append_ints(log, "/events/step", 1, &step));
    MR_TRY(append_doubles(log, "/events/seconds", 1, &seconds));
    MR_TRY(append_text(log, "/events/kind", kind, MR_RUNLOG_KIND));
    return append_text(log, "/events/text", text, MR_RUNLOG_TEXT);
}

/* Finds the bytes of the file in memory, valid until the next call of HDF5. They are the driver's
 * own: H5Fget_file_image of 1.10 clears a byte of the first block and leaves its checksum. */
static mr_status find_image(const mr_runlog *log, const void **image, size_t *bytes)
{
    mr_status status = MR_OK;
    hid_t access = H5I_INVALID_HID;
    ssize_t size;
    void *handle = NULL;
    MR_H5(H5Fflush(log->file, H5F_SCOPE_LOCAL), MR_ERR_IO, log->path, "cannot flush");
    MR_H5(access = H5Fget_access_plist(log->file), MR_ERR_IO, log->path, "cannot find its image");
    MR_H5(H5Fget_vfd_handle(log->file, access, &handle), MR_ERR_IO, log->path,
          "cannot find its image");
    MR_H5(size = H5Fget_file_image(log->file, NULL, 0), MR_ERR_IO, log->path,
          "cannot find the size of its image");
    memcpy(image, handle, sizeof *image);
    *bytes = (size_t)size;
cleanup:
    if (access >= 0) H5Pclose(access);
    return status;
}

mr_status mr_runlog_flush(mr_runlog *log, bool force)
{
    double before = mr_clock();
    if (!log->dirty || (!force && before < log->next_flush)) return MR_OK;
    const void *image = NULL;
    size_t bytes = 0;
    MR_TRY(write_pending(log));
    MR_TRY(find_image(log, &image, &bytes));
    mr_status status = mr_file_write(log->path, image, bytes);
    log->dirty = status != MR_OK;
    double after = mr_clock(), pause = FLUSH_FACTOR * (after - before);
    log->next_flush = after + (pause > FLUSH_INTERVAL ? pause : FLUSH_INTERVAL);
    return status;
}

mr_status mr_runlog_close(mr_runlog **log)
{
    if (!*log) return MR_OK;
    mr_status status = mr_runlog_flush(*log, true);
    mr_runlog_abandon(log);
    return status;
}

void mr_runlog_abandon(mr_runlog **log)
{
    mr_runlog *old = *log;
    if (!old) return;
    if (old->file >= 0) H5Fclose(old->file);
    mr_free(old->path);
    mr_free(old);
    *log = NULL;
}
