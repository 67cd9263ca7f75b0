#define _GNU_SOURCE /* memfd_create, SEEK_HOLE */ /* NOLINT(bugprone-reserved-identifier) */

#include "base/file.h"
#include "base/text.h"
#include "store/spectra_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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
    const int64_t undefined = MR_SPECTRA_UNDEFINED;
    MR_H5(*out = H5Pcreate(H5P_DATASET_CREATE), MR_ERR_IO, path, "%s", field->name);
    MR_H5(H5Pset_layout(*out, H5D_CONTIGUOUS), MR_ERR_IO, path, "%s", field->name);
    MR_H5(H5Pset_alloc_time(*out, H5D_ALLOC_TIME_EARLY), MR_ERR_IO, path, "%s", field->name);
    /* Room that is not filled is a hole, which takes no disk. */
    MR_H5(H5Pset_fill_time(*out, step ? H5D_FILL_TIME_ALLOC : H5D_FILL_TIME_NEVER), MR_ERR_IO, path,
          "%s", field->name);
    if (step)
        MR_H5(H5Pset_fill_value(*out, H5T_NATIVE_INT64, &undefined), MR_ERR_IO, path, "%s",
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
        status = set_int(dataset, path, "undefined", MR_SPECTRA_UNDEFINED);
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

/* Bytes that a file takes, at least: values, and more than what HDF5 puts around them. */
static double most_bytes(const mr_spectra_layout *layout)
{
    const double around = 4096, whole = 65536;
    double bytes = whole + (double)layout->snapshots * mr_spectra_file_row_bytes(layout);
    bytes += (double)(strlen(layout->run) + strlen(layout->method) + strlen(layout->update));
    for (int64_t g = 0; g < layout->groups; g++) {
        bytes += around + (double)layout->group[g].layers * (double)sizeof(int64_t);
        for (int64_t i = 0; i < mr_spectra_fields(layout, g); i++) {
            mr_spectra_field field;
            mr_spectra_field_of(layout, g, i, &field);
            bytes += around + (double)(strlen(field.unit) + strlen(field.definition));
        }
    }
    return bytes;
}

/* Makes the structure of the file in memory, where nothing is held of what are holes. HDF5 is told
 * that it writes the file at path: of a disk that is full it would tell its caller nothing at
 * times, and end the program at others. */
static mr_status make_structure(const char *path, int memory, const mr_spectra_layout *layout)
{
    enum { ALIGNMENT = 8 }; /* a step's number is within one page, and so written at once */
    mr_status status = MR_OK;
    hid_t access = H5I_INVALID_HID, file = H5I_INVALID_HID;
    void *handle = NULL;
    mr_spectra_field step;
    mr_spectra_step_field(layout, &step);
    MR_TRY(mr_h5_start());
    MR_H5(access = mr_h5_access(MR_H5_CREATE), MR_ERR_IO, path, "cannot create it");
    MR_H5(H5Pset_alignment(access, 1, ALIGNMENT), MR_ERR_IO, path, "cannot create it");
    MR_H5(file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access), MR_ERR_IO, path,
          "cannot create it");
    MR_H5(H5Fget_vfd_handle(file, access, &handle), MR_ERR_IO, path, "cannot create it");
    if (dup2(memory, *(const int *)handle) < 0)
        status = mr_fail(MR_ERR_IO, "%s: cannot make it in memory: %s", path, strerror(errno));
    if (status == MR_OK) status = describe(file, path, layout);
    if (status == MR_OK) status = make_dataset(file, path, &step);
    for (int64_t g = 0; status == MR_OK && g < layout->groups; g++)
        status = make_group(file, path, layout, g);
cleanup:
    if (file >= 0 && H5Fclose(file) < 0 && status == MR_OK)
        status = mr_h5_fail(MR_ERR_IO, path, "cannot create it");
    if (access >= 0) H5Pclose(access);
    return status;
}

/* Copies a part of one file into another. @return 0 or an error number */
static int copy_part(int from, int to, off_t begin, off_t end)
{
    char bytes[65536];
    while (begin < end) {
        size_t want = end - begin < (off_t)sizeof bytes ? (size_t)(end - begin) : sizeof bytes;
        ssize_t got = pread(from, bytes, want, begin);
        if (got <= 0) return got < 0 ? errno : EIO;
        int failure = mr_file_write_at(to, bytes, (size_t)got, begin);
        if (failure != 0) return failure;
        begin += got;
    }
    return 0;
}

/* Copies a file with its holes. @return 0 or an error number */
static int copy_sparse(int from, int to)
{
    off_t end = lseek(from, 0, SEEK_END), at = 0;
    int failure = end >= 0 && ftruncate(to, end) == 0 ? 0 : errno;
    while (failure == 0 && at < end) {
        off_t data = lseek(from, at, SEEK_DATA);
        if (data < 0) return errno == ENXIO ? 0 : errno;
        at = lseek(from, data, SEEK_HOLE);
        failure = at < 0 ? errno : copy_part(from, to, data, at);
    }
    return failure;
}

mr_status mr_spectra_make(const char *path, const mr_spectra_layout *layout, int *handle)
{
    const double bytes = most_bytes(layout);
    int memory = memfd_create("spectra", MFD_CLOEXEC), failure = memory >= 0 ? 0 : errno;
    *handle = failure == 0 ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (failure == 0 && *handle < 0) failure = errno;
    /* Where files may not be so large, HDF5 could not make it in memory either. */
    if (failure == 0 && ftruncate(*handle, (off_t)bytes) != 0) failure = errno;
    mr_status status = MR_OK;
    if (failure == 0) status = make_structure(path, memory, layout);
    if (failure == 0 && status == MR_OK) failure = copy_sparse(memory, *handle);
    if (failure != 0)
        status = mr_fail(MR_ERR_IO, "cannot create '%s' of %.4g bytes: %s", path, bytes,
                         strerror(failure));
    if (memory >= 0) close(memory);
    if (status == MR_OK) return MR_OK;
    if (*handle >= 0) close(*handle);
    *handle = -1;
    unlink(path);
    return status;
}
