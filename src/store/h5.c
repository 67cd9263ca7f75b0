#include "store/h5.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const size_t GROW_BYTES = (size_t)1 << 20;
static const size_t VERIFY_BYTES = (size_t)1 << 20;

mr_status mr_h5_start(void)
{
    MR_CHECK(H5open() >= 0 && H5Eset_auto2(H5E_DEFAULT, NULL, NULL) >= 0, MR_ERR_IO,
             "the HDF5 library does not start");
    return MR_OK;
}

/* Walking upward, the first record is the innermost: where the failure happened. */
static herr_t take_innermost(unsigned depth, const H5E_error2_t *error, void *out)
{
    if (depth == 0) snprintf(out, MR_MESSAGE_MAX, "%s", error->desc ? error->desc : "");
    return 0;
}

mr_status mr_h5_fail(mr_status code, const char *path, const char *fmt, ...)
{
    char what[MR_MESSAGE_MAX], why[MR_MESSAGE_MAX] = "";
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_innermost, why);
    return mr_fail(code, "%s: %s: %s", path, what, why[0] ? why : "HDF5 gives no reason");
}

hid_t mr_h5_access(bool in_memory)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access < 0) return access;
    /* The formats of 1.8 have checksums in their metadata, which the older ones lack; those of 1.10
     * refuse a file that its writer has not closed, as it is in every flushed image. */
    herr_t result = H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    if (result >= 0) result = H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
#if H5_VERSION_GE(1, 12, 1) || (H5_VERSION_GE(1, 10, 7) && !H5_VERSION_GE(1, 11, 0))
    if (result >= 0) result = H5Pset_file_locking(access, false, true);
#endif
    if (result >= 0 && in_memory) result = H5Pset_fapl_core(access, GROW_BYTES, false);
    if (result >= 0) return access;
    H5Pclose(access);
    return H5I_INVALID_HID;
}

bool mr_h5_exists(hid_t file, const char *name)
{
    char partial[MR_H5_PATH];
    size_t length = strlen(name);
    if (length == 0 || length >= sizeof partial || name[0] != '/') return false;
    /* H5Lexists answers only for the last step of a path whose other steps exist. */
    for (size_t i = 1; i <= length; i++) {
        if (name[i] != '/' && name[i] != '\0') continue;
        memcpy(partial, name, i);
        partial[i] = '\0';
        if (i > 1 && H5Lexists(file, partial, H5P_DEFAULT) <= 0) return false;
    }
    return true;
}

bool mr_h5_is_group(hid_t file, const char *name)
{
    hid_t object = H5Oopen(file, name, H5P_DEFAULT);
    if (object < 0) return false;
    bool is_group = H5Iget_type(object) == H5I_GROUP;
    H5Oclose(object);
    return is_group;
}

static const char *class_name(H5T_class_t class)
{
    return class == H5T_INTEGER ? "a whole number" : class == H5T_FLOAT ? "a number" : "a text";
}

mr_status mr_h5_set_attribute(hid_t object, const char *path, const char *name, hid_t file_type,
                              hid_t type, const void *value)
{
    mr_status status = MR_OK;
    hid_t space = H5I_INVALID_HID, attribute = H5I_INVALID_HID;
    htri_t exists;
    MR_H5(exists = H5Aexists(object, name), MR_ERR_IO, path, "attribute '%s'", name);
    if (exists > 0)
        MR_H5(H5Adelete(object, name), MR_ERR_IO, path, "cannot replace attribute '%s'", name);
    MR_H5(space = H5Screate(H5S_SCALAR), MR_ERR_IO, path, "attribute '%s'", name);
    MR_H5(attribute = H5Acreate2(object, name, file_type, space, H5P_DEFAULT, H5P_DEFAULT),
          MR_ERR_IO, path, "cannot create attribute '%s'", name);
    MR_H5(H5Awrite(attribute, type, value), MR_ERR_IO, path, "cannot write attribute '%s'", name);
cleanup:
    if (attribute >= 0) H5Aclose(attribute);
    if (space >= 0) H5Sclose(space);
    return status;
}

mr_status mr_h5_attribute(hid_t object, const char *path, const char *name, H5T_class_t class,
                          void *value, size_t room, size_t *bytes)
{
    htri_t exists = H5Aexists(object, name);
    MR_CHECK(exists != 0, MR_ERR_FORMAT, "%s: no attribute '%s'", path, name);
    mr_status status = MR_OK;
    hid_t attribute = H5I_INVALID_HID, type = H5I_INVALID_HID, space = H5I_INVALID_HID;
    hid_t memory = H5I_INVALID_HID, file = H5I_INVALID_HID;
    hsize_t file_bytes = 0;
    MR_H5(attribute = H5Aopen(object, name, H5P_DEFAULT), MR_ERR_FORMAT, path, "attribute '%s'",
          name);
    MR_H5(type = H5Aget_type(attribute), MR_ERR_FORMAT, path, "attribute '%s'", name);
    MR_H5(space = H5Aget_space(attribute), MR_ERR_FORMAT, path, "attribute '%s'", name);
    MR_H5(file = H5Iget_file_id(object), MR_ERR_FORMAT, path, "attribute '%s'", name);
    MR_H5(H5Fget_filesize(file, &file_bytes), MR_ERR_FORMAT, path, "its size");
    size_t stored = H5Tget_size(type);
    if (H5Tget_class(type) != class || H5Sget_simple_extent_npoints(space) != 1 ||
        (class == H5T_STRING && H5Tis_variable_str(type) != 0) || stored > file_bytes) {
        status =
            mr_fail(MR_ERR_FORMAT, "%s: attribute '%s' is not %s", path, name, class_name(class));
        goto cleanup;
    }
    /* Room for a zero of our own: other writers fill fixed texts to their last byte. */
    *bytes = class == H5T_STRING ? stored + 1 : 8;
    if (room == 0) goto cleanup;
    MR_INVARIANT(room >= *bytes);
    if (class == H5T_STRING) {
        MR_H5(memory = H5Tcopy(type), MR_ERR_FORMAT, path, "attribute '%s'", name);
        ((char *)value)[stored] = '\0';
    } else {
        MR_H5(memory = H5Tcopy(class == H5T_INTEGER ? H5T_NATIVE_INT64 : H5T_NATIVE_DOUBLE),
              MR_ERR_FORMAT, path, "attribute '%s'", name);
    }
    MR_H5(H5Aread(attribute, memory, value), MR_ERR_FORMAT, path, "cannot read attribute '%s'",
          name);
cleanup:
    if (file >= 0) H5Fclose(file);
    if (memory >= 0) H5Tclose(memory);
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (attribute >= 0) H5Aclose(attribute);
    return status;
}

mr_status mr_h5_check_format(hid_t file, const char *path, const char *format, int64_t version)
{
    char text[64];
    size_t bytes = 0;
    MR_TRY(mr_h5_attribute(file, path, "format", H5T_STRING, NULL, 0, &bytes));
    MR_CHECK(bytes <= sizeof text, MR_ERR_FORMAT, "%s: format: expected '%s'", path, format);
    MR_TRY(mr_h5_attribute(file, path, "format", H5T_STRING, text, sizeof text, &bytes));
    MR_CHECK(strcmp(text, format) == 0, MR_ERR_FORMAT, "%s: format: expected '%s', found '%s'",
             path, format, text);
    int64_t found = 0;
    MR_TRY(
        mr_h5_attribute(file, path, "format_version", H5T_INTEGER, &found, sizeof found, &bytes));
    MR_CHECK(found == version, MR_ERR_FORMAT,
             "%s: format_version: expected %" PRId64 ", found %" PRId64, path, version, found);
    return MR_OK;
}

mr_status mr_h5_members(hid_t file, const char *path, const char *group, mr_names *names)
{
    if (strcmp(group, "/") != 0 && !mr_h5_exists(file, group)) return MR_OK;
    mr_status status = MR_OK;
    H5G_info_t about;
    hid_t handle = H5I_INVALID_HID;
    MR_H5(handle = H5Gopen2(file, group, H5P_DEFAULT), MR_ERR_FORMAT, path, "group %s", group);
    MR_H5(H5Gget_info(handle, &about), MR_ERR_FORMAT, path, "group %s", group);
    for (hsize_t i = 0; i < about.nlinks; i++) {
        char name[MR_H5_PATH];
        ssize_t length;
        MR_H5(length = H5Lget_name_by_idx(handle, ".", H5_INDEX_NAME, H5_ITER_INC, i, name,
                                          sizeof name, H5P_DEFAULT),
              MR_ERR_FORMAT, path, "group %s: member %" PRIu64, group, (uint64_t)i);
        if ((size_t)length >= sizeof name) {
            status = mr_fail(MR_ERR_FORMAT, "%s: group %s: a member's name has %zd bytes", path,
                             group, length);
            goto cleanup;
        }
        if ((status = mr_names_add(names, name)) != MR_OK) goto cleanup;
    }
cleanup:
    if (handle >= 0) H5Gclose(handle);
    return status;
}

/* Extents are believed only as far as the file holds bytes for them: every row is written. */
static mr_status check_stored(hid_t file, const mr_h5_table *table, const char *path,
                              const char *name)
{
    hsize_t file_bytes = 0;
    mr_status status = MR_OK;
    MR_H5(H5Fget_filesize(file, &file_bytes), MR_ERR_FORMAT, path, "its size");
    uint64_t stored = H5Dget_storage_size(table->handle);
    uint64_t row_bytes = (uint64_t)table->columns * table->item_bytes;
    if (stored > file_bytes || (uint64_t)table->columns > stored / table->item_bytes ||
        (uint64_t)table->rows > stored / (row_bytes > 0 ? row_bytes : 1))
        status = mr_fail(MR_ERR_FORMAT,
                         "%s: %s: %" PRId64 " rows of %" PRId64 " do not fit the %" PRIu64
                         " bytes stored",
                         path, name, table->rows, table->columns, stored);
cleanup:
    return status;
}

mr_status mr_h5_table_open(hid_t file, const char *path, const char *name, mr_h5_table *table)
{
    *table = (mr_h5_table){.handle = H5I_INVALID_HID};
    MR_CHECK(mr_h5_exists(file, name), MR_ERR_FORMAT, "%s: no dataset %s", path, name);
    mr_status status = MR_OK;
    hid_t type = H5I_INVALID_HID, space = H5I_INVALID_HID;
    hsize_t extents[H5S_MAX_RANK] = {0};
    MR_H5(table->handle = H5Dopen2(file, name, H5P_DEFAULT), MR_ERR_FORMAT, path, "dataset %s",
          name);
    MR_H5(type = H5Dget_type(table->handle), MR_ERR_FORMAT, path, "%s: type", name);
    MR_H5(space = H5Dget_space(table->handle), MR_ERR_FORMAT, path, "%s: extents", name);
    int dims;
    MR_H5(dims = H5Sget_simple_extent_dims(space, extents, NULL), MR_ERR_FORMAT, path,
          "%s: extents", name);
    table->class = H5Tget_class(type);
    table->item_bytes = H5Tget_size(type);
    table->flat = dims == 1;
    bool known = table->class == H5T_INTEGER || table->class == H5T_FLOAT ||
                 (table->class == H5T_STRING && H5Tis_variable_str(type) == 0);
    if (dims < 1 || dims > 2 || !known || table->item_bytes == 0) {
        status = mr_fail(MR_ERR_FORMAT,
                         "%s: %s: expected numbers or fixed-size texts in 1 or 2 dimensions", path,
                         name);
        goto cleanup;
    }
    hsize_t columns = dims == 1 ? 1 : extents[1];
    if (extents[0] > INT64_MAX || columns > INT64_MAX / table->item_bytes) {
        status = mr_fail(MR_ERR_FORMAT, "%s: %s: extents out of range", path, name);
        goto cleanup;
    }
    table->rows = (int64_t)extents[0];
    table->columns = (int64_t)columns;
    if (table->rows > 0) status = check_stored(file, table, path, name);
cleanup:
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (status != MR_OK) mr_h5_table_close(table);
    return status;
}

void mr_h5_table_close(mr_h5_table *table)
{
    if (table->handle >= 0) H5Dclose(table->handle);
    table->handle = H5I_INVALID_HID;
}

mr_status mr_h5_table_read(const mr_h5_table *table, const char *path, const char *name,
                           int64_t first, int64_t count, hid_t type, void *data)
{
    if (count == 0) return MR_OK;
    mr_status status = MR_OK;
    hid_t rows = H5I_INVALID_HID, block = H5I_INVALID_HID;
    int dims = table->flat ? 1 : 2;
    const hsize_t start[2] = {(hsize_t)first, 0};
    const hsize_t extents[2] = {(hsize_t)count, (hsize_t)table->columns};
    MR_H5(rows = H5Dget_space(table->handle), MR_ERR_FORMAT, path, "%s: extents", name);
    MR_H5(H5Sselect_hyperslab(rows, H5S_SELECT_SET, start, NULL, extents, NULL), MR_ERR_FORMAT,
          path, "%s: row %" PRId64, name, first);
    MR_H5(block = H5Screate_simple(dims, extents, NULL), MR_ERR_FORMAT, path, "%s: rows", name);
    MR_H5(H5Dread(table->handle, type, block, rows, H5P_DEFAULT, data), MR_ERR_FORMAT, path,
          "cannot read %s", name);
cleanup:
    if (block >= 0) H5Sclose(block);
    if (rows >= 0) H5Sclose(rows);
    return status;
}

static mr_status verify_table(hid_t file, const char *path, const char *name)
{
    mr_h5_table table;
    MR_TRY(mr_h5_table_open(file, path, name, &table));
    mr_status status = MR_OK;
    hid_t type = H5I_INVALID_HID;
    char *data = NULL;
    size_t row_bytes = (size_t)table.columns * table.item_bytes;
    int64_t block =
        row_bytes > 0 && row_bytes < VERIFY_BYTES ? (int64_t)(VERIFY_BYTES / row_bytes) : 1;
    if (block > table.rows) block = table.rows;
    MR_H5(type = H5Dget_type(table.handle), MR_ERR_FORMAT, path, "%s: type", name);
    data = mr_alloc_array(MR_MEM_OTHER, (size_t)block, row_bytes);
    if (!data) status = MR_ERR_MEMORY;
    for (int64_t row = 0; status == MR_OK && row < table.rows; row += block) {
        int64_t count = table.rows - row < block ? table.rows - row : block;
        status = mr_h5_table_read(&table, path, name, row, count, type, data);
    }
cleanup:
    mr_free(data);
    if (type >= 0) H5Tclose(type);
    mr_h5_table_close(&table);
    return status;
}

static mr_status verify_group(hid_t file, const char *path, const char *group, int depth)
{
    MR_CHECK(depth < MR_H5_DEPTH, MR_ERR_FORMAT, "%s: group %s: too many groups within groups",
             path, group);
    mr_names names = {0};
    mr_status status = mr_h5_members(file, path, group, &names);
    for (int64_t i = 0; status == MR_OK && i < names.count; i++) {
        char name[MR_H5_PATH];
        int length = snprintf(name, sizeof name, "%s/%s", strcmp(group, "/") == 0 ? "" : group,
                              names.item[i]);
        if (length < 0 || (size_t)length >= sizeof name) {
            status = mr_fail(MR_ERR_FORMAT, "%s: group %s: a path is too long", path, group);
            break;
        }
        status = mr_h5_is_group(file, name) ? verify_group(file, path, name, depth + 1)
                                            : verify_table(file, path, name);
    }
    mr_names_free(&names);
    return status;
}

/* Reads an attribute, and with it the checksum of where it lies. */
static herr_t read_attribute(hid_t object, const char *name, const H5A_info_t *about, void *unused)
{
    (void)about;
    (void)unused;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    hid_t type = attribute >= 0 ? H5Aget_type(attribute) : H5I_INVALID_HID;
    hsize_t bytes = attribute >= 0 ? H5Aget_storage_size(attribute) : 0;
    void *value = type >= 0 ? mr_alloc(MR_MEM_OTHER, (size_t)bytes + 1) : NULL;
    herr_t result = value ? H5Aread(attribute, type, value) : -1;
    mr_free(value);
    if (type >= 0) H5Tclose(type);
    if (attribute >= 0) H5Aclose(attribute);
    return result;
}

mr_status mr_h5_verify(hid_t file, const char *path, const char *group)
{
    MR_CHECK(H5Aiterate2(file, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, read_attribute, NULL) >= 0,
             MR_ERR_FORMAT, "%s: an attribute cannot be read", path);
    return verify_group(file, path, group, 0);
}
