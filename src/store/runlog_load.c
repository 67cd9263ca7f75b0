#include "base/log.h"
#include "store/runlog_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Taking a log up again. Whatever tool last wrote the file, its values are read, with which all
 * checksums are tested, and written anew in memory in the form that mr_runlog_append gives them: so
 * any layout, width of numbers and kind of texts can be gone on with. */

/* A file that is taken over. */
typedef struct source {
    hid_t file;
    const char *path;
} source;

static herr_t add_name(hid_t object, const char *name, const H5A_info_t *about, void *names)
{
    (void)object;
    (void)about;
    return mr_names_add(names, name) == MR_OK ? 0 : -1;
}

/* Copies an attribute that this program does not write, if its value stands for itself. */
static mr_status copy_foreign(const source *from, const char *name, hid_t attribute, hid_t type,
                              hid_t to)
{
    mr_status status = MR_OK;
    hid_t space = H5I_INVALID_HID, copy = H5I_INVALID_HID;
    hsize_t file_bytes = 0, bytes = H5Aget_storage_size(attribute);
    void *value = NULL;
    MR_H5(H5Fget_filesize(from->file, &file_bytes), MR_ERR_FORMAT, from->path, "its size");
    if (H5Tdetect_class(type, H5T_VLEN) > 0 || H5Tdetect_class(type, H5T_STRING) > 0 ||
        H5Tdetect_class(type, H5T_REFERENCE) > 0 || bytes > file_bytes) {
        mr_warn("%s: attribute '%s' is not kept", from->path, name);
        return MR_OK;
    }
    value = mr_alloc(MR_MEM_OTHER, (size_t)bytes + 1);
    status = value ? MR_OK : MR_ERR_MEMORY;
    if (status != MR_OK) goto cleanup;
    MR_H5(space = H5Aget_space(attribute), MR_ERR_FORMAT, from->path, "attribute '%s'", name);
    MR_H5(H5Aread(attribute, type, value), MR_ERR_FORMAT, from->path, "cannot read attribute '%s'",
          name);
    MR_H5(copy = H5Acreate2(to, name, type, space, H5P_DEFAULT, H5P_DEFAULT), MR_ERR_IO, from->path,
          "cannot create attribute '%s'", name);
    MR_H5(H5Awrite(copy, type, value), MR_ERR_IO, from->path, "cannot write attribute '%s'", name);
cleanup:
    if (copy >= 0) H5Aclose(copy);
    if (space >= 0) H5Sclose(space);
    mr_free(value);
    return status;
}

static mr_status copy_attribute(const source *from, const char *name, hid_t object, hid_t to)
{
    const char *path = from->path;
    char *text = NULL;
    int64_t whole;
    double number;
    mr_status status = MR_OK;
    hid_t attribute = H5I_INVALID_HID, type = H5I_INVALID_HID, space = H5I_INVALID_HID;
    MR_H5(attribute = H5Aopen(object, name, H5P_DEFAULT), MR_ERR_FORMAT, path, "attribute '%s'",
          name);
    MR_H5(type = H5Aget_type(attribute), MR_ERR_FORMAT, path, "attribute '%s'", name);
    MR_H5(space = H5Aget_space(attribute), MR_ERR_FORMAT, path, "attribute '%s'", name);
    bool one = H5Sget_simple_extent_npoints(space) == 1;
    H5T_class_t class = one ? H5Tget_class(type) : H5T_NO_CLASS;
    if (class == H5T_STRING) {
        status = mr_h5_text(object, path, name, &text);
        if (status == MR_OK) status = mr_h5_set_text(to, path, name, text);
        mr_free(text);
    } else if (class == H5T_INTEGER) {
        status = mr_h5_int(object, path, name, &whole);
        if (status == MR_OK)
            status = mr_h5_set_attribute(to, path, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &whole);
    } else if (class == H5T_FLOAT) {
        status = mr_h5_double(object, path, name, &number);
        if (status == MR_OK)
            status =
                mr_h5_set_attribute(to, path, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &number);
    } else {
        status = copy_foreign(from, name, attribute, type, to);
    }
cleanup:
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (attribute >= 0) H5Aclose(attribute);
    return status;
}

/* Copies the attributes of what stands at a path in both files; "" is the file. */
static mr_status copy_attributes(mr_runlog *log, const source *from, const char *at)
{
    mr_names names = {0};
    mr_status status = MR_OK;
    const char *where = at[0] ? at : "/";
    hid_t object = H5I_INVALID_HID, to = H5I_INVALID_HID;
    if (at[0] && !mr_h5_exists(log->file, at)) return MR_OK;
    MR_H5(object = H5Oopen(from->file, where, H5P_DEFAULT), MR_ERR_FORMAT, from->path, "%s", where);
    MR_H5(to = H5Oopen(log->file, where, H5P_DEFAULT), MR_ERR_IO, from->path, "%s", where);
    MR_H5(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, NULL, add_name, &names), MR_ERR_FORMAT,
          from->path, "%s: an attribute cannot be read", where);
    for (int64_t i = 0; status == MR_OK && i < names.count; i++)
        status = copy_attribute(from, names.item[i], object, to);
cleanup:
    if (to >= 0) H5Oclose(to);
    if (object >= 0) H5Oclose(object);
    mr_names_free(&names);
    return status;
}

/* Bytes of a text of a dataset as this program writes it. */
static size_t text_bytes(const char *name)
{
    const char *last = strrchr(name, '/') + 1;
    return strcmp(last, "kind") == 0 ? MR_RUNLOG_KIND : MR_RUNLOG_TEXT;
}

static mr_status copy_texts(mr_runlog *log, const source *from, const mr_h5_table *table,
                            const char *name)
{
    mr_names texts = {0};
    MR_CHECK(table->flat, MR_ERR_FORMAT, "%s: %s: expected texts in 1 dimension", from->path, name);
    mr_status status = mr_h5_table_texts(table, from->path, name, &texts);
    if (status == MR_OK)
        status = mr_runlog_append_texts(log, name, (const char *const *)(uintptr_t)texts.item,
                                        texts.count, text_bytes(name));
    mr_names_free(&texts);
    return status;
}

/* The records of items are the one thing kept in single precision. */
static mr_status copy_numbers(mr_runlog *log, const source *from, const mr_h5_table *table,
                              const char *name)
{
    bool whole = table->class == H5T_INTEGER, items = strcmp(strrchr(name, '/'), "/items") == 0;
    hid_t file_type = whole ? H5T_STD_I64LE : items ? H5T_IEEE_F32LE : H5T_IEEE_F64LE;
    hid_t type = whole ? H5T_NATIVE_INT64 : items ? H5T_NATIVE_FLOAT : H5T_NATIVE_DOUBLE;
    size_t bytes = H5Tget_size(type);
    int64_t block = mr_h5_table_block(table, bytes), columns = table->flat ? 0 : table->columns;
    MR_TRY(mr_runlog_make_table(log, name, file_type, columns));
    void *data = mr_alloc_array(MR_MEM_OTHER, (size_t)block * (size_t)table->columns, bytes);
    mr_status status = data ? MR_OK : MR_ERR_MEMORY;
    for (int64_t row = 0; status == MR_OK && row < table->rows; row += block) {
        int64_t count = table->rows - row < block ? table->rows - row : block;
        status = mr_h5_table_read(table, from->path, name, row, count, type, data);
        if (status == MR_OK)
            status = mr_runlog_append(log, name, file_type, type, count, columns, data);
    }
    mr_free(data);
    return status;
}

static mr_status copy_table(mr_runlog *log, const source *from, const char *name)
{
    mr_h5_table table;
    MR_TRY(mr_h5_table_open(from->file, from->path, name, &table));
    mr_status status = table.class == H5T_STRING ? copy_texts(log, from, &table, name)
                                                 : copy_numbers(log, from, &table, name);
    mr_h5_table_close(&table);
    return status;
}

/* Writes the path of a group's member, and whether it is a group itself. */
static mr_status find_member(hid_t file, const char *path, const char *group, const char *member,
                             char name[MR_H5_PATH], bool *inner)
{
    int length = snprintf(name, MR_H5_PATH, "%s/%s", group, member);
    MR_CHECK(length >= 0 && length < MR_H5_PATH, MR_ERR_FORMAT, "%s: group %s: a path is too long",
             path, group);
    return mr_h5_is_group(file, path, name, inner);
}

static mr_status copy_group(mr_runlog *log, const source *from, const char *group, int depth)
{
    MR_CHECK(depth < MR_H5_DEPTH, MR_ERR_FORMAT, "%s: group %s: too many groups within groups",
             from->path, group);
    mr_names names = {0};
    mr_status status = mr_h5_members(from->file, from->path, depth == 0 ? "/" : group, &names);
    for (int64_t i = 0; status == MR_OK && i < names.count; i++) {
        char name[MR_H5_PATH];
        bool inner;
        status = find_member(from->file, from->path, group, names.item[i], name, &inner);
        if (status == MR_OK)
            status = inner ? copy_group(log, from, name, depth + 1) : copy_table(log, from, name);
        if (status == MR_OK) status = copy_attributes(log, from, name);
    }
    mr_names_free(&names);
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

static mr_status take_over(mr_runlog *log, const source *from)
{
    MR_TRY(mr_h5_check_format(from->file, from->path, MR_RUNLOG_FORMAT, MR_RUNLOG_VERSION));
    MR_TRY(copy_attributes(log, from, ""));
    MR_TRY(copy_group(log, from, "", 0));
    MR_TRY(check_rows(log, "/train"));
    MR_TRY(check_rows(log, "/events"));
    MR_TRY(check_evaluations(log));
    return resume_clock(log);
}

mr_status mr_runlog_reopen(const char *path, mr_runlog **out)
{
    source from = {.path = path};
    mr_runlog *log = NULL;
    *out = NULL;
    mr_status status = mr_h5_open(path, &from.file);
    if (status == MR_OK) status = mr_runlog_create(path, &log);
    if (status == MR_OK) status = take_over(log, &from);
    if (from.file >= 0) H5Fclose(from.file);
    if (status == MR_ERR_FORMAT) status = mr_runlog_unsound(path);
    if (status != MR_OK) {
        mr_runlog_abandon(&log);
        return status;
    }
    log->dirty = false;
    log->written = true;
    *out = log;
    return MR_OK;
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
        bool inner;
        status = find_member(log->file, log->path, group, names.item[i], name, &inner);
        if (status != MR_OK || strcmp(name, "/events") == 0) continue;
        if (inner)
            status = rewind_group(log, name, step, depth + 1);
        else if (kept >= 0)
            status = cut_table(log, name, kept);
    }
    mr_names_free(&names);
    return status;
}

mr_status mr_runlog_rewind(mr_runlog *log, int64_t step, bool evaluated)
{
    MR_TRY(mr_runlog_write_pending(log));
    MR_TRY(rewind_group(log, "", step, 0));
    if (evaluated || !mr_h5_exists(log->file, "/eval")) return MR_OK;
    return rewind_group(log, "/eval", step - 1, 1);
}
