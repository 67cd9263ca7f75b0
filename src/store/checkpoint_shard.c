#include "store/checkpoint_shard.h"

#include "store/checkpoint_frame.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static mr_status put_int(hid_t object, const char *path, const char *name, int64_t value)
{
    return mr_h5_set_attribute(object, path, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

static mr_status get_int(hid_t object, const char *path, const char *name, int64_t *value)
{
    size_t bytes = 0;
    return mr_h5_attribute(object, path, name, H5T_INTEGER, value, sizeof *value, &bytes);
}

/* Creates a dataset whose data has its place in the file, but is never touched by HDF5. The bytes
 * go there as they lie in memory, which the type has to say. */
static mr_status make_dataset(hid_t file, const char *path, const mr_checkpoint_slab *slab,
                              int64_t *offset)
{
    mr_status status = MR_OK;
    hid_t create = H5I_INVALID_HID, link = H5I_INVALID_HID, space = H5I_INVALID_HID;
    hid_t dataset = H5I_INVALID_HID;
    const hsize_t extent = (hsize_t)slab->count;
    haddr_t address;
    MR_H5(create = H5Pcreate(H5P_DATASET_CREATE), MR_ERR_IO, path, "array %s", slab->name);
    MR_H5(H5Pset_alloc_time(create, H5D_ALLOC_TIME_EARLY), MR_ERR_IO, path, "array %s", slab->name);
    MR_H5(H5Pset_fill_time(create, H5D_FILL_TIME_NEVER), MR_ERR_IO, path, "array %s", slab->name);
    MR_H5(link = H5Pcreate(H5P_LINK_CREATE), MR_ERR_IO, path, "array %s", slab->name);
    MR_H5(H5Pset_create_intermediate_group(link, 1), MR_ERR_IO, path, "array %s", slab->name);
    MR_H5(space = H5Screate_simple(1, &extent, NULL), MR_ERR_IO, path, "array %s", slab->name);
    MR_H5(dataset =
              H5Dcreate2(file, slab->name, H5T_NATIVE_FLOAT, space, link, create, H5P_DEFAULT),
          MR_ERR_IO, path, "cannot create array %s", slab->name);
    status = put_int(dataset, path, "first", slab->first);
    if (status == MR_OK) status = put_int(dataset, path, "extent", slab->extent);
    if (status != MR_OK) goto cleanup;
    address = H5Dget_offset(dataset);
    if (address == HADDR_UNDEF)
        status = mr_h5_fail(MR_ERR_IO, path, "array %s has no place", slab->name);
    else
        *offset = (int64_t)address;
cleanup:
    if (dataset >= 0) H5Dclose(dataset);
    if (space >= 0) H5Sclose(space);
    if (link >= 0) H5Pclose(link);
    if (create >= 0) H5Pclose(create);
    return status;
}

/* Makes the file without data in a frame. */
static mr_status make_frame(mr_frame *frame, const char *path, const mr_checkpoint_shard *about,
                            const mr_checkpoint_slab *slabs, int count, int64_t *offsets)
{
    hid_t driver, file;
    MR_TRY(mr_frame_create(frame, path, &driver, &file));
    mr_status status = put_int(file, path, "rank", about->rank);
    if (status == MR_OK) status = put_int(file, path, "ranks", about->ranks);
    if (status == MR_OK) status = put_int(file, path, "step", about->step);
    for (int i = 0; i < count && status == MR_OK; i++) {
        offsets[i] = 0;
        if (slabs[i].count > 0) status = make_dataset(file, path, &slabs[i], &offsets[i]);
    }
    if (H5Fclose(file) < 0 && status == MR_OK)
        status = mr_h5_fail(MR_ERR_IO, path, "cannot complete it");
    H5FDunregister(driver);
    return frame->failed ? MR_ERR_MEMORY : status;
}

mr_status mr_checkpoint_shard_make(const char *path, const mr_checkpoint_shard *about,
                                   const mr_checkpoint_slab *slabs, int count, int64_t *offsets,
                                   int *handle)
{
    *handle = -1;
    MR_TRY(mr_h5_start());
    mr_frame frame = {0};
    mr_status status = make_frame(&frame, path, about, slabs, count, offsets);
    if (status == MR_OK) {
        int disk = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        int failure = disk < 0 ? errno : mr_frame_copy(&frame, disk);
        if (failure == 0) {
            *handle = disk;
        } else {
            if (disk >= 0) close(disk);
            status = mr_fail(MR_ERR_IO, "cannot write '%s': %s", path, strerror(failure));
        }
    }
    mr_frame_free(&frame);
    return status;
}

static mr_status check_int(hid_t file, const char *path, const char *name, int64_t expected)
{
    int64_t found = 0;
    MR_TRY(get_int(file, path, name, &found));
    MR_CHECK(found == expected, MR_ERR_FORMAT, "%s: %s: expected %" PRId64 ", found %" PRId64, path,
             name, expected, found);
    return MR_OK;
}

mr_status mr_checkpoint_shard_open(const char *path, const mr_checkpoint_shard *about, hid_t *file)
{
    *file = H5I_INVALID_HID;
    MR_TRY(mr_h5_start());
    mr_status status = MR_OK;
    hid_t access = H5I_INVALID_HID;
    MR_H5(access = mr_h5_access(false), MR_ERR_IO, path, "cannot open it");
    MR_H5(*file = H5Fopen(path, H5F_ACC_RDONLY, access), MR_ERR_IO, path, "cannot open it");
    status = check_int(*file, path, "rank", about->rank);
    if (status == MR_OK) status = check_int(*file, path, "ranks", about->ranks);
    if (status == MR_OK) status = check_int(*file, path, "step", about->step);
cleanup:
    if (access >= 0) H5Pclose(access);
    if (status != MR_OK && *file >= 0) {
        H5Fclose(*file);
        *file = H5I_INVALID_HID;
    }
    return status;
}

static mr_status open_array(hid_t file, const char *path, const char *name, mr_h5_table *table)
{
    char dataset[MR_H5_PATH];
    int length = snprintf(dataset, sizeof dataset, "/%s", name);
    MR_CHECK(length > 0 && (size_t)length < sizeof dataset, MR_ERR_FORMAT,
             "%s: array %.64s...: name too long", path, name);
    return mr_h5_table_open(file, path, dataset, table);
}

mr_status mr_checkpoint_shard_part(hid_t file, const char *path, const char *name, int64_t extent,
                                   mr_checkpoint_part *part)
{
    *part = (mr_checkpoint_part){0};
    char dataset[MR_H5_PATH];
    snprintf(dataset, sizeof dataset, "/%s", name);
    if (!mr_h5_exists(file, dataset)) return MR_OK;
    mr_h5_table table = {.handle = H5I_INVALID_HID};
    MR_TRY(open_array(file, path, name, &table));
    int64_t stated = 0;
    mr_status status = MR_OK;
    if (!table.flat || table.class != H5T_FLOAT || table.item_bytes != sizeof(float))
        status = mr_fail(MR_ERR_FORMAT, "%s: array %s: expected F32 values in one dimension", path,
                         name);
    char label[PATH_MAX + MR_H5_PATH];
    snprintf(label, sizeof label, "%s: array %s", path, name);
    if (status == MR_OK) status = get_int(table.handle, label, "extent", &stated);
    if (status == MR_OK) status = get_int(table.handle, label, "first", &part->first);
    part->count = table.rows;
    if (status == MR_OK && stated != extent)
        status =
            mr_fail(MR_ERR_FORMAT, "%s: array %s: extent: expected %" PRId64 ", found %" PRId64,
                    path, name, extent, stated);
    mr_h5_table_close(&table);
    return status;
}

mr_status mr_checkpoint_shard_read(hid_t file, const char *path, const char *name, int64_t at,
                                   int64_t count, float *out)
{
    mr_h5_table table;
    MR_TRY(open_array(file, path, name, &table));
    mr_status status = mr_h5_table_read(&table, path, name, at, count, H5T_NATIVE_FLOAT, out);
    mr_h5_table_close(&table);
    return status;
}
