#include "base/file.h"
#include "base/log.h"
#include "store/spectra_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The room of a new file: for all snapshots that are expected, as far as that makes a file (of
 * holes) of no more than MOST_BYTES; else, and where none are, for LEAST_ROOM. */
enum { LEAST_ROOM = 64 };
static const double MOST_BYTES = 0x1p30;

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

/* Makes a file beside a path, with so much room, opened to be written. */
static mr_status make_beside(const char *path, const mr_spectra_layout *layout, int64_t room,
                             char beside[PATH_MAX], int *handle)
{
    mr_spectra_layout roomy = *layout;
    roomy.snapshots = room;
    MR_TRY(mr_file_path(beside, "%s.tmp", path));
    return mr_spectra_make(beside, &roomy, handle);
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
        whole[i] = values[i] >= 0 && values[i] < 0x1p63 ? (int64_t)values[i] : MR_SPECTRA_UNDEFINED;
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
    const int64_t undefined = MR_SPECTRA_UNDEFINED;
    mr_spectra_field field;
    int handle, dropped = 0;
    mr_spectra_step_field(&f->layout, &field);
    MR_TRY(open_to_write(f->path, &handle));
    mr_status status = MR_OK;
    for (int64_t i = f->layout.snapshots - 1; status == MR_OK && i >= kept; i--) {
        if (f->step[i] == MR_SPECTRA_UNDEFINED) continue;
        status = write_rows(f->file, handle, f->path, &field, i, 1, &undefined);
        dropped++;
    }
    if (status == MR_OK && dropped > 0) status = sync(handle, f->path);
    close(handle);
    return status;
}

/* Drops the snapshots behind a step, in a form in which others can follow. */
static mr_status rewind_to(const mr_spectra_file *f, int64_t step)
{
    int64_t kept = f->count;
    while (kept > 0 && f->step[kept - 1] > step)
        kept--;
    return is_in_place(f) ? drop_snapshots(f, kept) : replace(f, kept, f->layout.snapshots);
}

mr_status mr_spectra_file_resume(const char *path, const mr_spectra_layout *layout, int64_t step)
{
    mr_spectra_file *f;
    if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return mr_spectra_file_create(path, layout);
    mr_status status = mr_spectra_file_open(path, &f);
    if (status == MR_OK) status = mr_spectra_file_check(f, layout);
    const bool other = status == MR_ERR_FORMAT;
    if (status == MR_OK) status = rewind_to(f, step);
    mr_spectra_file_close(&f);
    if (!other) return status;
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
