#include "base/file.h"
#include "base/log.h"
#include "store/spectra_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The room of a new file: for all snapshots that are expected, as far as that makes a file (of
 * holes) of no more than MOST_BYTES; else, and where none are, for LEAST_ROOM. */
enum { LEAST_ROOM = 64 };
static const double MOST_BYTES = 0x1p30;

/* The value of a whole number that is not defined, and the step of no snapshot. */
static const int64_t UNDEFINED = -1;

static mr_status set_int(hid_t object, const char *path, const char *name, int64_t value)
{
    return mr_h5_set_attribute(object, path, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

static mr_status set_double(hid_t object, const char *path, const char *name, double value)
{
    return mr_h5_set_attribute(object, path, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

/* Makes the property list of a dataset whose values stand in one piece, there from the start. */
static mr_status make_plist(const char *path, const mr_spectra_field *field, hid_t *out)
{
    mr_status status = MR_OK;
    const bool step = field->dims == 1;
    MR_H5(*out = H5Pcreate(H5P_DATASET_CREATE), MR_ERR_IO, path, "%s", field->name);
    MR_H5(H5Pset_layout(*out, H5D_CONTIGUOUS), MR_ERR_IO, path, "%s", field->name);
    MR_H5(H5Pset_alloc_time(*out, H5D_ALLOC_TIME_EARLY), MR_ERR_IO, path, "%s", field->name);
    /* Room that is not filled is a hole, which takes no disk. */
    MR_H5(H5Pset_fill_time(*out, step ? H5D_FILL_TIME_ALLOC : H5D_FILL_TIME_NEVER), MR_ERR_IO, path,
          "%s", field->name);
    if (step)
        MR_H5(H5Pset_fill_value(*out, H5T_NATIVE_INT64, &UNDEFINED), MR_ERR_IO, path, "%s",
              field->name);
    MR_H5(H5Pset_obj_track_times(*out, false), MR_ERR_IO, path, "%s", field->name);
cleanup:
    return status;
}

static mr_status make_dataset(hid_t file, const char *path, const mr_spectra_field *field)
{
    mr_status status = MR_OK;
    hid_t type = H5I_INVALID_HID, space = H5I_INVALID_HID, plist = H5I_INVALID_HID;
    hid_t dataset = H5I_INVALID_HID;
    if ((status = mr_spectra_type(path, field->kind, &type)) != MR_OK ||
        (status = make_plist(path, field, &plist)) != MR_OK)
        goto cleanup;
    MR_H5(space = H5Screate_simple(field->dims, field->extent, NULL), MR_ERR_IO, path, "%s",
          field->name);
    MR_H5(dataset = H5Dcreate2(file, field->name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT),
          MR_ERR_IO, path, "cannot create %s", field->name);
    status = mr_h5_set_text(dataset, path, "unit", field->unit);
    if (status == MR_OK) status = mr_h5_set_text(dataset, path, "definition", field->definition);
    if (status == MR_OK && field->kind == MR_SPECTRA_DOUBLE)
        status = set_double(dataset, path, "undefined", NAN);
    if (status == MR_OK && field->kind == MR_SPECTRA_INTEGER)
        status = set_int(dataset, path, "undefined", UNDEFINED);
cleanup:
    if (dataset >= 0) H5Dclose(dataset);
    if (plist >= 0) H5Pclose(plist);
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    return status;
}

static mr_status make_layers(hid_t group, const char *path, const mr_spectra_group *g)
{
    mr_status status = MR_OK;
    hid_t space = H5I_INVALID_HID, plist = H5I_INVALID_HID, dataset = H5I_INVALID_HID;
    const hsize_t extent = (hsize_t)g->layers;
    MR_H5(space = H5Screate_simple(1, &extent, NULL), MR_ERR_IO, path, "layer");
    MR_H5(plist = H5Pcreate(H5P_DATASET_CREATE), MR_ERR_IO, path, "layer");
    MR_H5(H5Pset_obj_track_times(plist, false), MR_ERR_IO, path, "layer");
    MR_H5(dataset =
              H5Dcreate2(group, "layer", H5T_STD_I64LE, space, H5P_DEFAULT, plist, H5P_DEFAULT),
          MR_ERR_IO, path, "cannot create layer");
    MR_H5(H5Dwrite(dataset, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, g->layer), MR_ERR_IO,
          path, "cannot write layer");
    status = mr_h5_set_text(dataset, path, "unit", "1");
    if (status == MR_OK)
        status = mr_h5_set_text(dataset, path, "definition",
                                "which decoder layer a matrix is of, from 0");
cleanup:
    if (dataset >= 0) H5Dclose(dataset);
    if (plist >= 0) H5Pclose(plist);
    if (space >= 0) H5Sclose(space);
    return status;
}

static mr_status make_group(hid_t file, const char *path, const mr_spectra_layout *layout,
                            int64_t index)
{
    const mr_spectra_group *g = &layout->group[index];
    mr_status status = MR_OK;
    hid_t plist = H5I_INVALID_HID, group = H5I_INVALID_HID;
    MR_H5(plist = H5Pcreate(H5P_GROUP_CREATE), MR_ERR_IO, path, "/%s", g->projection);
    MR_H5(H5Pset_obj_track_times(plist, false), MR_ERR_IO, path, "/%s", g->projection);
    MR_H5(group = H5Gcreate2(file, g->projection, H5P_DEFAULT, plist, H5P_DEFAULT), MR_ERR_IO, path,
          "cannot create /%s", g->projection);
    if ((status = set_int(group, path, "rows", g->rows)) != MR_OK ||
        (status = set_int(group, path, "cols", g->cols)) != MR_OK ||
        (status = make_layers(group, path, g)) != MR_OK)
        goto cleanup;
    for (int64_t i = 0; status == MR_OK && i < mr_spectra_fields(layout, index); i++) {
        mr_spectra_field field;
        mr_spectra_field_of(layout, index, i, &field);
        status = make_dataset(file, path, &field);
    }
cleanup:
    if (group >= 0) H5Gclose(group);
    if (plist >= 0) H5Pclose(plist);
    return status;
}

/* Sets an attribute of names separated by commas. */
static mr_status set_names(hid_t file, const char *path, const char *name, mr_text *names)
{
    mr_status status =
        names->failed ? MR_ERR_MEMORY : mr_h5_set_text(file, path, name, mr_text_get(names));
    mr_text_free(names);
    return status;
}

static mr_status describe(hid_t file, const char *path, const mr_spectra_layout *layout)
{
    mr_text projections = {0}, columns = {0};
    for (int64_t g = 0; g < layout->groups; g++)
        mr_text_add(&projections, "%s%s", g > 0 ? "," : "", layout->group[g].projection);
    for (int64_t c = 0; c < layout->columns; c++)
        mr_text_add(&columns, "%s%s", c > 0 ? "," : "", layout->column[c].name);
    mr_status status = set_names(file, path, "projections", &projections);
    mr_status other = set_names(file, path, "columns", &columns);
    MR_TRY(status);
    MR_TRY(other);
    MR_TRY(mr_h5_set_text(file, path, "format", MR_SPECTRA_FORMAT));
    MR_TRY(set_int(file, path, "format_version", MR_SPECTRA_VERSION));
    MR_TRY(mr_h5_set_text(file, path, "run", layout->run));
    MR_TRY(mr_h5_set_text(file, path, "method", layout->method));
    MR_TRY(mr_h5_set_text(file, path, "update", layout->update));
    MR_TRY(set_int(file, path, "r", layout->r));
    return set_double(file, path, "threshold", layout->threshold);
}

/* Makes a file with room for layout->snapshots, which is known to be good. */
static mr_status make_file(const char *path, const mr_spectra_layout *layout)
{
    enum { ALIGNMENT = 8 }; /* a step's number is within one page, and so written at once */
    mr_status status = MR_OK;
    hid_t access = H5I_INVALID_HID, file = H5I_INVALID_HID;
    mr_spectra_field step;
    mr_spectra_step_field(layout, &step);
    MR_TRY(mr_h5_start());
    MR_H5(access = mr_h5_access(MR_H5_CREATE), MR_ERR_IO, path, "cannot create it");
    MR_H5(H5Pset_alignment(access, 1, ALIGNMENT), MR_ERR_IO, path, "cannot create it");
    MR_H5(file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access), MR_ERR_IO, path,
          "cannot create it");
    status = describe(file, path, layout);
    if (status == MR_OK) status = make_dataset(file, path, &step);
    for (int64_t g = 0; status == MR_OK && g < layout->groups; g++)
        status = make_group(file, path, layout, g);
    if (status != MR_OK) goto cleanup;
    MR_H5(H5Fflush(file, H5F_SCOPE_GLOBAL), MR_ERR_IO, path, "cannot write it");
cleanup:
    if (file >= 0 && H5Fclose(file) < 0 && status == MR_OK)
        status = mr_h5_fail(MR_ERR_IO, path, "cannot write it");
    if (access >= 0) H5Pclose(access);
    return status;
}

static int64_t first_room(const mr_spectra_layout *layout)
{
    int64_t most = (int64_t)(MOST_BYTES / mr_spectra_file_row_bytes(layout));
    if (most < LEAST_ROOM) most = LEAST_ROOM;
    if (layout->snapshots <= 0) return LEAST_ROOM;
    return layout->snapshots < most ? layout->snapshots : most;
}

static mr_status open_to_write(const char *path, int *handle)
{
    *handle = open(path, O_WRONLY | O_CLOEXEC);
    MR_CHECK(*handle >= 0, MR_ERR_IO, "cannot open '%s': %s", path, strerror(errno));
    return MR_OK;
}

/* Makes a file beside a path, with so much room, and opens it to be written. */
static mr_status make_beside(const char *path, const mr_spectra_layout *layout, int64_t room,
                             char beside[PATH_MAX], int *handle)
{
    mr_spectra_layout roomy = *layout;
    roomy.snapshots = room;
    *handle = -1;
    MR_TRY(mr_file_path(beside, "%s.tmp", path));
    mr_status status = make_file(beside, &roomy);
    if (status == MR_OK) status = open_to_write(beside, handle);
    if (status != MR_OK) unlink(beside);
    return status;
}

static mr_status sync(int handle, const char *path)
{
    MR_CHECK(fsync(handle) == 0, MR_ERR_IO, "cannot write '%s': %s", path, strerror(errno));
    return MR_OK;
}

/* Keeps what stands at a path under another name. */
static mr_status put_aside(const char *path)
{
    char aside[PATH_MAX];
    if (access(path, F_OK) != 0) return MR_OK;
    MR_TRY(mr_file_put_aside(path, "previous", aside));
    mr_log("%s kept as %s", path, aside);
    return MR_OK;
}

mr_status mr_spectra_file_path(const char *log, char out[PATH_MAX])
{
    static const char ending[] = ".h5";
    size_t length = strlen(log), tail = sizeof ending - 1;
    if (length > tail && strcmp(log + length - tail, ending) == 0) length -= tail;
    MR_CHECK(length < PATH_MAX, MR_ERR_IO, "the path '%.64s...' is too long", log);
    return mr_file_path(out, "%.*s.spectra%s", (int)length, log, ending);
}

mr_status mr_spectra_file_create(const char *path, const mr_spectra_layout *layout)
{
    char beside[PATH_MAX];
    int handle;
    MR_TRY(mr_spectra_check_layout(path, layout));
    MR_TRY(make_beside(path, layout, first_room(layout), beside, &handle));
    /* What stands there is in no one's way before this file is whole, and on the disk. */
    mr_status status = sync(handle, beside);
    if (status == MR_OK) status = put_aside(path);
    if (status == MR_OK) return mr_file_publish(handle, beside, path);
    close(handle);
    unlink(beside);
    return status;
}

/* Finds where in the file the values of a dataset begin. */
static mr_status find_values(hid_t file, const char *path, const mr_spectra_field *field,
                             int64_t *offset)
{
    mr_h5_table table;
    hid_t type = H5I_INVALID_HID, found = H5I_INVALID_HID;
    MR_TRY(mr_spectra_open_field(file, path, field, &table));
    mr_status status = mr_spectra_type(path, field->kind, &type);
    if (status != MR_OK) goto cleanup;
    MR_H5(found = H5Dget_type(table.handle), MR_ERR_FORMAT, path, "%s: type", field->name);
    haddr_t address = H5Dget_offset(table.handle);
    *offset = (int64_t)address;
    if (address == HADDR_UNDEF || H5Tequal(type, found) <= 0)
        status = mr_fail(MR_ERR_FORMAT,
                         "%s: %s: its values are not in one piece of this machine's kind: the "
                         "file was written anew by another program, and can only be read",
                         path, field->name);
cleanup:
    if (found >= 0) H5Tclose(found);
    if (type >= 0) H5Tclose(type);
    mr_h5_table_close(&table);
    return status;
}

/* Writes rows of a dataset, as they are kept in the file, behind the first `first`. */
static mr_status write_rows(hid_t file, int handle, const char *path, const mr_spectra_field *field,
                            int64_t first, int64_t count, const void *data)
{
    int64_t offset = 0;
    MR_TRY(find_values(file, path, field, &offset));
    int failure = mr_file_write_at(handle, data, (size_t)count * field->bytes,
                                   offset + first * (int64_t)field->bytes);
    MR_CHECK(failure == 0, MR_ERR_IO, "cannot write '%s': %s: %s", path, field->name,
             strerror(failure));
    return MR_OK;
}

/* Writes a dataset's part of a snapshot. */
static mr_status write_part(hid_t file, int handle, const char *path, const mr_spectra_field *field,
                            int64_t snapshot, const void *data)
{
    if (field->kind != MR_SPECTRA_INTEGER)
        return write_rows(file, handle, path, field, snapshot, 1, data);
    const double *values = data;
    int64_t *whole = mr_alloc_array(MR_MEM_OTHER, (size_t)field->items, sizeof *whole);
    if (!whole) return MR_ERR_MEMORY;
    for (int64_t i = 0; i < field->items; i++)
        whole[i] = values[i] >= 0 && values[i] < 0x1p63 ? (int64_t)values[i] : UNDEFINED;
    mr_status status = write_rows(file, handle, path, field, snapshot, 1, whole);
    mr_free(whole);
    return status;
}

/* Puts a snapshot into free room; only then, once it is on the disk, does it count. */
static mr_status add_snapshot(const mr_spectra_file *f, int64_t step, const mr_spectra_row *rows)
{
    const mr_spectra_layout *l = &f->layout;
    mr_spectra_field field;
    int handle;
    MR_TRY(open_to_write(f->path, &handle));
    mr_status status = MR_OK;
    for (int64_t g = 0; g < l->groups; g++) {
        for (int64_t i = 0; status == MR_OK && i < mr_spectra_fields(l, g); i++) {
            mr_spectra_field_of(l, g, i, &field);
            status = write_part(f->file, handle, f->path, &field, f->count,
                                mr_spectra_field_data(l, g, i, &rows[g]));
        }
    }
    mr_spectra_step_field(l, &field);
    if (status == MR_OK) status = sync(handle, f->path);
    if (status == MR_OK) status = write_rows(f->file, handle, f->path, &field, f->count, 1, &step);
    if (status == MR_OK) status = sync(handle, f->path);
    close(handle);
    return status;
}

/* Copies the first rows of a dataset into another file. */
static mr_status copy_rows(const mr_spectra_file *f, const mr_spectra_field *field, int64_t rows,
                           const mr_spectra_field *there, hid_t to, int handle, const char *path)
{
    const size_t most = (size_t)1 << 20;
    int64_t block = field->bytes < most ? (int64_t)(most / field->bytes) : 1;
    if (block > rows) block = rows;
    char *data = mr_alloc_array(MR_MEM_OTHER, (size_t)block, field->bytes);
    mr_status status = data ? MR_OK : MR_ERR_MEMORY;
    for (int64_t row = 0; status == MR_OK && row < rows; row += block) {
        int64_t count = rows - row < block ? rows - row : block;
        status = mr_spectra_read_rows(f, field, row, count, data);
        if (status == MR_OK) status = write_rows(to, handle, path, there, row, count, data);
    }
    mr_free(data);
    return status;
}

/* Copies the first snapshots into a file of another room. */
static mr_status copy_snapshots(const mr_spectra_file *f, int64_t kept, int64_t room,
                                const char *path, int handle)
{
    mr_spectra_layout roomy = f->layout;
    mr_spectra_field from, to;
    hid_t file;
    roomy.snapshots = room;
    MR_TRY(mr_h5_open(path, &file));
    mr_spectra_step_field(&f->layout, &from);
    mr_spectra_step_field(&roomy, &to);
    mr_status status = copy_rows(f, &from, kept, &to, file, handle, path);
    for (int64_t g = 0; g < roomy.groups; g++) {
        for (int64_t i = 0; status == MR_OK && i < mr_spectra_fields(&roomy, g); i++) {
            mr_spectra_field_of(&f->layout, g, i, &from);
            mr_spectra_field_of(&roomy, g, i, &to);
            status = copy_rows(f, &from, kept, &to, file, handle, path);
        }
    }
    H5Fclose(file);
    return status;
}

/* Puts a file of the first snapshots and of so much room in a file's place. */
static mr_status replace(const mr_spectra_file *f, int64_t kept, int64_t room)
{
    char beside[PATH_MAX];
    int handle;
    MR_TRY(make_beside(f->path, &f->layout, room, beside, &handle));
    mr_status status = copy_snapshots(f, kept, room, beside, handle);
    if (status == MR_OK) return mr_file_publish(handle, beside, f->path);
    close(handle);
    unlink(beside);
    return status;
}

/* Replaces a file that is full by one of more room, and opens that. */
static mr_status grow(const mr_spectra_layout *layout, mr_spectra_file **f)
{
    char path[PATH_MAX];
    int64_t room = (*f)->layout.snapshots, first = first_room(layout), next = 2 * room;
    if (layout->snapshots > room && layout->snapshots < next) next = layout->snapshots;
    MR_TRY(mr_file_path(path, "%s", (*f)->path));
    MR_TRY(replace(*f, (*f)->count, first > room ? first : next));
    mr_spectra_file_close(f);
    return mr_spectra_file_open(path, f);
}

mr_status mr_spectra_file_append(const char *path, const mr_spectra_layout *layout, int64_t step,
                                 const mr_spectra_row *rows)
{
    mr_spectra_file *f;
    MR_TRY(mr_spectra_file_open(path, &f));
    int64_t last = f->count > 0 ? f->step[f->count - 1] : -1;
    mr_status status = mr_spectra_file_check(f, layout);
    if (status == MR_OK && step <= last)
        status = mr_fail(MR_ERR_ARG,
                         "%s: a snapshot of step %" PRId64 " cannot follow one of step %" PRId64,
                         path, step, last);
    if (status == MR_OK && f->count == f->layout.snapshots) status = grow(layout, &f);
    if (status == MR_OK) status = add_snapshot(f, step, rows);
    mr_spectra_file_close(&f);
    return status;
}

/* Tells whether the values can be written where they are. */
static bool is_in_place(const mr_spectra_file *f)
{
    mr_spectra_field field;
    int64_t offset = 0;
    mr_spectra_step_field(&f->layout, &field);
    mr_status status = find_values(f->file, f->path, &field, &offset);
    for (int64_t g = 0; g < f->layout.groups; g++) {
        for (int64_t i = 0; status == MR_OK && i < mr_spectra_fields(&f->layout, g); i++) {
            mr_spectra_field_of(&f->layout, g, i, &field);
            status = find_values(f->file, f->path, &field, &offset);
        }
    }
    return status == MR_OK;
}

/* Lets the snapshots behind the first ones count no more, the last one first: whatever interrupts
 * it, those that count stand together. */
static mr_status drop_snapshots(const mr_spectra_file *f, int64_t kept)
{
    mr_spectra_field field;
    int handle, dropped = 0;
    mr_spectra_step_field(&f->layout, &field);
    MR_TRY(open_to_write(f->path, &handle));
    mr_status status = MR_OK;
    for (int64_t i = f->layout.snapshots - 1; status == MR_OK && i >= kept; i--) {
        if (f->step[i] == UNDEFINED) continue;
        status = write_rows(f->file, handle, f->path, &field, i, 1, &UNDEFINED);
        dropped++;
    }
    if (status == MR_OK && dropped > 0) status = sync(handle, f->path);
    close(handle);
    return status;
}

mr_status mr_spectra_file_rewind(const char *path, int64_t step)
{
    mr_spectra_file *f;
    MR_TRY(mr_spectra_file_open(path, &f));
    int64_t kept = f->count;
    while (kept > 0 && f->step[kept - 1] > step)
        kept--;
    mr_status status =
        is_in_place(f) ? drop_snapshots(f, kept) : replace(f, kept, f->layout.snapshots);
    mr_spectra_file_close(&f);
    return status;
}

mr_status mr_spectra_file_resume(const char *path, const mr_spectra_layout *layout, int64_t step)
{
    mr_spectra_file *f;
    if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return mr_spectra_file_create(path, layout);
    mr_status status = mr_spectra_file_open(path, &f);
    if (status == MR_OK) status = mr_spectra_file_check(f, layout);
    mr_spectra_file_close(&f);
    if (status == MR_OK) return mr_spectra_file_rewind(path, step);
    if (status != MR_ERR_FORMAT) return status;
    mr_warn("%s", mr_message());
    return mr_spectra_file_create(path, layout);
}

mr_status mr_spectra_file_trim(const char *path)
{
    mr_spectra_file *f;
    MR_TRY(mr_spectra_file_open(path, &f));
    const bool roomy = f->count > 0 && f->count < f->layout.snapshots;
    mr_status status = roomy ? replace(f, f->count, f->count) : MR_OK;
    mr_spectra_file_close(&f);
    return status;
}
