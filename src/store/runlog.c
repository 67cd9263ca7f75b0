#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/utf8.h"
#include "store/runlog_impl.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CHUNK_BYTES = 8192,
    CHUNK_COLUMNS = 16384,
};

static const double FLUSH_INTERVAL = 1.0; /* seconds, at least */
static const double FLUSH_FACTOR = 50.0;  /* times the duration of the last flush, at least */

mr_status mr_runlog_make_table(mr_runlog *log, const char *name, hid_t type, int64_t columns)
{
    if (mr_h5_exists(log->file, name)) return MR_OK;
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

mr_status mr_runlog_append(mr_runlog *log, const char *name, hid_t file_type, hid_t type,
                           int64_t rows, int64_t columns, const void *data)
{
    MR_TRY(mr_runlog_make_table(log, name, file_type, columns));
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
    return mr_runlog_append(log, name, H5T_STD_I64LE, H5T_NATIVE_INT64, rows, 0, values);
}

static mr_status append_doubles(mr_runlog *log, const char *name, int64_t rows,
                                const double *values)
{
    return mr_runlog_append(log, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, rows, 0, values);
}

mr_status mr_runlog_write_pending(mr_runlog *log)
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
    int64_t ints[MR_RUNLOG_PENDING] = {0};
    for (int i = 0; i < n; i++)
        ints[i] = log->pending[i].step;
    MR_TRY(append_ints(log, "/train/step", n, ints));
    for (int i = 0; i < n; i++)
        ints[i] = log->pending[i].tokens;
    MR_TRY(append_ints(log, "/train/tokens", n, ints));
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
        double doubles[MR_RUNLOG_PENDING];
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
    char folder[PATH_MAX];
    log->path = mr_strdup(path);
    log->folder = mr_strdup(getcwd(folder, sizeof folder) ? folder : "/");
    if (!log->path || !log->folder) mr_runlog_abandon(&log);
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
    MR_H5(access = mr_h5_access(MR_H5_IN_MEMORY), MR_ERR_IO, path, "cannot start a run log");
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

bool mr_runlog_is(const char *head, size_t bytes)
{
    static const char signature[] = "\x89HDF\r\n\x1a\n";
    size_t length = sizeof signature - 1;
    /* Other tools may put a block of their own before it, of 512 bytes or a multiple by two. */
    for (size_t at = 0; at + length <= bytes; at = at == 0 ? 512 : 2 * at)
        if (memcmp(head + at, signature, length) == 0) return true;
    return false;
}

mr_status mr_runlog_unsound(const char *path)
{
    return mr_h5_unsound(path, "a sound run log");
}

static mr_status set_attribute(mr_runlog *log, const char *name, hid_t file_type, hid_t type,
                               const void *value)
{
    log->dirty = true;
    return mr_h5_set_attribute(log->file, log->path, name, file_type, type, value);
}

mr_status mr_runlog_set_text(mr_runlog *log, const char *name, const char *value)
{
    log->dirty = true;
    return mr_h5_set_text(log->file, log->path, name, value);
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
    if (log->n_pending == MR_RUNLOG_PENDING) MR_TRY(mr_runlog_write_pending(log));
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
    return mr_runlog_append(log, path, H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, 1, n_items, items);
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
                                    {"primary", about->score[0].name},
                                    {"set", about->set},
                                    {"source", about->source},
                                    {"rules", about->rules},
                                    {"data", about->data},
                                    {"items_hash", about->items_hash},
                                    {"rows", about->rows}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts && status == MR_OK; i++)
        if (texts[i][1]) status = mr_h5_set_text(object, log->path, texts[i][0], texts[i][1]);
    if (status == MR_OK && about->version > 0)
        status = mr_h5_set_attribute(object, log->path, "version", H5T_STD_I64LE, H5T_NATIVE_INT64,
                                     &about->version);
    for (int i = 0; i < about->scores && status == MR_OK; i++) {
        const mr_runlog_score *score = &about->score[i];
        int64_t lower = score->lower_is_better;
        H5Oclose(object);
        MR_TRY(eval_path(log, name, score->name, path));
        MR_H5(object = H5Oopen(log->file, path, H5P_DEFAULT), MR_ERR_IO, log->path, "%s", path);
        status = mr_h5_set_text(object, log->path, "unit", score->unit);
        if (status == MR_OK)
            status = mr_h5_set_attribute(object, log->path, "lower_is_better", H5T_STD_I64LE,
                                         H5T_NATIVE_INT64, &lower);
    }
cleanup:
    if (object >= 0) H5Oclose(object);
    return status;
}

mr_status mr_runlog_append_texts(mr_runlog *log, const char *name, const char *const *texts,
                                 int64_t count, size_t bytes)
{
    enum { BLOCK = 1024 };
    char *cells = mr_alloc_array(MR_MEM_OTHER, count < BLOCK ? (size_t)count : BLOCK, bytes);
    if (!cells) return MR_ERR_MEMORY;
    hid_t type = H5I_INVALID_HID;
    mr_status status = mr_h5_make_text_type(log->path, bytes, &type);
    if (status == MR_OK) status = mr_runlog_make_table(log, name, type, 0);
    for (int64_t first = 0; status == MR_OK && first < count; first += BLOCK) {
        int64_t rows = count - first < BLOCK ? count - first : BLOCK;
        memset(cells, 0, (size_t)rows * bytes);
        for (int64_t i = 0; i < rows; i++)
            memcpy(cells + (size_t)i * bytes, texts[first + i],
                   mr_utf8_cut(texts[first + i], bytes - 1));
        status = mr_runlog_append(log, name, type, type, rows, 0, cells);
    }
    if (type >= 0) H5Tclose(type);
    mr_free(cells);
    return status;
}

mr_status mr_runlog_event(mr_runlog *log, int64_t step, const char *kind, const char *text)
{
    double seconds = log->seconds_before + mr_clock() - log->opened;
    MR_TRY(append_ints(log, "/events/step", 1, &step));
    MR_TRY(append_doubles(log, "/events/seconds", 1, &seconds));
    MR_TRY(mr_runlog_append_texts(log, "/events/kind", &kind, 1, MR_RUNLOG_KIND));
    return mr_runlog_append_texts(log, "/events/text", &text, 1, MR_RUNLOG_TEXT);
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

/* Puts aside what is in the way of a folder, or of a file where one is wanted. */
static bool put_aside(const char *path)
{
    char aside[PATH_MAX];
    if (mr_file_put_aside(path, "previous", aside) != MR_OK) return false;
    mr_warn("'%s' was in the way of a run log and is now '%s'", path, aside);
    return true;
}

/* Goes back to the folder that the process was started in, where that was taken away. */
static bool go_back(const char *folder)
{
    char there[PATH_MAX];
    if (getcwd(there, sizeof there)) return false;
    if (mr_file_make_folders(folder) != MR_OK || chdir(folder) != 0) return false;
    mr_warn("'%s' was taken away; it is made again for the run log", folder);
    return true;
}

/* Makes way for a file that could be written before: its folder may have been taken away, or others
 * may have put something in its place. Tells whether anything was done. */
static bool make_way(const char *path)
{
    char part[PATH_MAX];
    struct stat about;
    bool done = false;
    int length = snprintf(part, sizeof part, "%s.tmp", path);
    if (length >= PATH_MAX) return false;
    if (stat(part, &about) == 0 && S_ISDIR(about.st_mode)) done = put_aside(part);
    part[length - 4] = '\0';
    if (stat(part, &about) == 0 && S_ISDIR(about.st_mode)) done = put_aside(part) || done;
    for (char *slash = strrchr(part, '/'); slash && slash > part; slash = strrchr(part, '/')) {
        *slash = '\0';
        bool there = stat(part, &about) == 0;
        if (there && S_ISDIR(about.st_mode)) break;
        if (there) done = put_aside(part) || done;
    }
    snprintf(part, sizeof part, "%s", path);
    char *slash = strrchr(part, '/');
    if (!slash || slash == part) return done;
    *slash = '\0';
    if (stat(part, &about) == 0 || mr_file_make_folders(part) != MR_OK) return done;
    if (!done) mr_warn("'%s' was taken away; it is made again for the run log", part);
    return true;
}

static mr_status write_image(const mr_runlog *log, const void *image, size_t bytes)
{
    char message[MR_MESSAGE_MAX];
    mr_status status = mr_file_write(log->path, image, bytes);
    if (status != MR_ERR_IO || !log->written) return status;
    snprintf(message, sizeof message, "%s", mr_message());
    bool back = go_back(log->folder);
    if (make_way(log->path) || back) return mr_file_write(log->path, image, bytes);
    return mr_fail(status, "%s", message);
}

bool mr_runlog_due(const mr_runlog *log)
{
    return log->dirty && mr_clock() >= log->next_flush;
}

mr_status mr_runlog_flush(mr_runlog *log, bool force)
{
    double before = mr_clock();
    if (!log->dirty || (!force && !mr_runlog_due(log))) return MR_OK;
    const void *image = NULL;
    size_t bytes = 0;
    MR_TRY(mr_runlog_write_pending(log));
    MR_TRY(find_image(log, &image, &bytes));
    mr_status status = write_image(log, image, bytes);
    log->written = log->written || status == MR_OK;
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
    mr_free(old->folder);
    mr_free(old);
    *log = NULL;
}
