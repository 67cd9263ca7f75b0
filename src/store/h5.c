#include "store/h5_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MR_H5_HAS_LOCKING                                                                          \
    (H5_VERSION_GE(1, 12, 1) || (H5_VERSION_GE(1, 10, 7) && !H5_VERSION_GE(1, 11, 0)))

static const char LOCKING[] = "HDF5_USE_FILE_LOCKING";

static const size_t GROW_BYTES = (size_t)1 << 20;
static const size_t CACHE_BYTES = (size_t)64 << 20; /* of unpacked chunks, each unpacked once */

mr_status mr_h5_start(void)
{
    /* The environment would override what mr_h5_access says of locks. A variable that is not there
     * is left so: other threads may be reading the environment, and to add one may move it. */
#if MR_H5_HAS_LOCKING
    bool overridden = getenv(LOCKING) != NULL;
#else
    bool overridden = true;
#endif
    bool set = !overridden || setenv(LOCKING, "FALSE", 1) == 0;
    MR_CHECK(set && H5open() >= 0 && H5Eset_auto2(H5E_DEFAULT, NULL, NULL) >= 0, MR_ERR_IO,
             "the HDF5 library does not start");
    /* A link to another file is not followed: that file may be anything, a pipe without a writer.
     */
    if (H5Lis_registered(H5L_TYPE_EXTERNAL) > 0) H5Lunregister(H5L_TYPE_EXTERNAL);
    return MR_OK;
}

/* What HDF5 says went wrong, where it did. */
typedef struct failure {
    char text[MR_MESSAGE_MAX];
    int reason; /* error number of the operating system; 0: it refused nothing */
    bool memory;
} failure;

/* Walking upward, the first record is the innermost: where the failure happened. */
static herr_t take_innermost(unsigned depth, const H5E_error2_t *error, void *out)
{
    failure *what = out;
    if (depth > 0) return 0;
    const char *text = error->desc ? error->desc : "", *number = strstr(text, "errno = ");
    snprintf(what->text, sizeof what->text, "%s", text);
    if (number) what->reason = (int)strtol(number + strlen("errno = "), NULL, 10);
    what->memory = error->maj_num == H5E_RESOURCE && error->min_num == H5E_NOSPACE;
    return 0;
}

mr_status mr_h5_fail(mr_status code, const char *path, const char *fmt, ...)
{
    char what[MR_MESSAGE_MAX];
    failure why = {.reason = 0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_innermost, &why);
    if (why.reason != 0) return mr_fail(MR_ERR_IO, "%s: %s: %s", path, what, strerror(why.reason));
    if (why.memory) code = MR_ERR_MEMORY;
    return mr_fail(code, "%s: %s: %s", path, what, why.text[0] ? why.text : "HDF5 gives no reason");
}

hid_t mr_h5_access(mr_h5_use use)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access < 0) return access;
    herr_t result = H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
#if MR_H5_HAS_LOCKING
    if (result >= 0) result = H5Pset_file_locking(access, false, true);
#endif
    /* The formats of 1.8 have checksums in their metadata, which the older ones lack; those of 1.10
     * refuse a file that its writer has not closed, as it is in every flushed image. */
    if (result >= 0 && use != MR_H5_READ)
        result = H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    if (result >= 0 && use == MR_H5_IN_MEMORY) result = H5Pset_fapl_core(access, GROW_BYTES, false);
    if (result >= 0 && use != MR_H5_IN_MEMORY) result = H5Pset_fapl_sec2(access);
    if (result >= 0 && use == MR_H5_READ) result = H5Pset_cache(access, 0, 521, CACHE_BYTES, 0.75);
    if (result >= 0) return access;
    H5Pclose(access);
    return H5I_INVALID_HID;
}

mr_status mr_h5_open(const char *path, hid_t *file)
{
    mr_status status = MR_OK;
    hid_t access_list = H5I_INVALID_HID;
    struct stat about;
    *file = H5I_INVALID_HID;
    MR_CHECK(access(path, R_OK) == 0 && stat(path, &about) == 0, MR_ERR_IO, "cannot open '%s': %s",
             path, strerror(errno));
    MR_CHECK(S_ISREG(about.st_mode), MR_ERR_IO, "cannot open '%s': not a regular file", path);
    MR_TRY(mr_h5_start());
    MR_H5(access_list = mr_h5_access(MR_H5_READ), MR_ERR_IO, path, "cannot open it");
    MR_H5(*file = H5Fopen(path, H5F_ACC_RDONLY, access_list), MR_ERR_FORMAT, path,
          "cannot open it");
cleanup:
    if (access_list >= 0) H5Pclose(access_list);
    return status;
}

mr_status mr_h5_unsound(const char *path, const char *what)
{
    size_t length = strlen(path);
    const char *why = mr_message();
    if (strncmp(why, path, length) == 0 && strncmp(why + length, ": ", 2) == 0) why += length + 2;
    return mr_fail(MR_ERR_FORMAT, "%s: not %s: %s", path, what, why);
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

mr_status mr_h5_is_group(hid_t file, const char *path, const char *name, bool *group)
{
    mr_status status = MR_OK;
    H5O_info_t about;
    *group = false;
#if H5_VERSION_GE(1, 12, 0)
    MR_H5(H5Oget_info_by_name3(file, name, &about, H5O_INFO_BASIC, H5P_DEFAULT), MR_ERR_FORMAT,
          path, "%s", name);
#else
    MR_H5(H5Oget_info_by_name2(file, name, &about, H5O_INFO_BASIC, H5P_DEFAULT), MR_ERR_FORMAT,
          path, "%s", name);
#endif
    *group = about.type == H5O_TYPE_GROUP;
    /* A group of several names may be within itself; a dataset of many would be read as often. */
    if (about.rc > 1) status = mr_fail(MR_ERR_FORMAT, "%s: %s: has %u names", path, name, about.rc);
cleanup:
    return status;
}

mr_status mr_h5_make_text_type(const char *path, size_t bytes, hid_t *type)
{
    mr_status status = MR_OK;
    MR_H5(*type = H5Tcopy(H5T_C_S1), MR_ERR_IO, path, "the type of texts");
    MR_H5(H5Tset_size(*type, bytes), MR_ERR_IO, path, "the type of texts");
    MR_H5(H5Tset_cset(*type, H5T_CSET_UTF8), MR_ERR_IO, path, "the type of texts");
cleanup:
    return status;
}

mr_status mr_h5_text_type(hid_t stored, const char *path, const char *name, hid_t *type)
{
    mr_status status = MR_OK;
    MR_H5(*type = H5Tcopy(stored), MR_ERR_FORMAT, path, "%s: its type", name);
    if (H5Tis_variable_str(stored) > 0) return MR_OK;
    MR_H5(H5Tset_size(*type, H5Tget_size(stored) + 1), MR_ERR_FORMAT, path, "%s: its type", name);
    MR_H5(H5Tset_strpad(*type, H5T_STR_NULLTERM), MR_ERR_FORMAT, path, "%s: its type", name);
cleanup:
    return status;
}

/* What a listing of a group fills. */
typedef struct listing {
    const char *path, *group;
    mr_names *names;
    mr_status status;
} listing;

static herr_t add_member(hid_t group, const char *name, const H5L_info_t *about, void *out)
{
    listing *list = out;
    size_t length = strlen(name);
    (void)group;
    if (about->type != H5L_TYPE_HARD) return 0;
    list->status = length < MR_H5_PATH
                       ? mr_names_add(list->names, name)
                       : mr_fail(MR_ERR_FORMAT, "%s: group %s: a member's name has %zu bytes",
                                 list->path, list->group, length);
    return list->status == MR_OK ? 0 : -1;
}

mr_status mr_h5_members(hid_t file, const char *path, const char *group, mr_names *names)
{
    if (strcmp(group, "/") != 0 && !mr_h5_exists(file, group)) return MR_OK;
    mr_status status = MR_OK;
    listing list = {.path = path, .group = group, .names = names};
    hid_t handle = H5I_INVALID_HID;
    MR_H5(handle = H5Gopen2(file, group, H5P_DEFAULT), MR_ERR_FORMAT, path, "group %s", group);
    if (H5Literate(handle, H5_INDEX_NAME, H5_ITER_INC, NULL, add_member, &list) < 0)
        status = list.status != MR_OK
                     ? list.status
                     : mr_h5_fail(MR_ERR_FORMAT, path, "group %s: its members", group);
cleanup:
    if (handle >= 0) H5Gclose(handle);
    return status;
}

/* The most bytes that so many stored ones are believed to stand for. Where packed, a thousandfold
 * is what deflate can do, as far as a log that nobody made up has that much of the same; beyond,
 * what numbers and texts that differ come to. */
static uint64_t believable(uint64_t stored, bool packed, bool texts, uint64_t far)
{
    const uint64_t once = 1032, ever = texts ? 256 : 64;
    if (!packed) return stored;
    if (stored > UINT64_MAX / once) return UINT64_MAX;
    uint64_t most = ever * stored > far ? ever * stored : far;
    return once * stored < most ? once * stored : most;
}

/* Tells whether chunks are packed, which changes their size, and refuses values that are elsewhere
 * or packed by one filter upon another. */
static mr_status check_layout(hid_t layout, const char *path, const char *name, bool *packed)
{
    int packers = 0;
    H5D_layout_t kind = H5Pget_layout(layout);
    bool within = kind == H5D_CHUNKED || kind == H5D_COMPACT ||
                  (kind == H5D_CONTIGUOUS && H5Pget_external_count(layout) == 0);
    MR_CHECK(within, MR_ERR_FORMAT, "%s: %s: its values are in other files", path, name);
    int filters = kind == H5D_CHUNKED ? H5Pget_nfilters(layout) : 0;
    for (int i = 0; i < filters; i++) {
        unsigned flags;
        size_t values = 0;
        char filter_name[64] = "";
        H5Z_filter_t filter = H5Pget_filter2(layout, (unsigned)i, &flags, &values, NULL,
                                             sizeof filter_name, filter_name, NULL);
        /* No fault of the file: another program reads it. */
        MR_CHECK(H5Zfilter_avail(filter) > 0, MR_ERR_IO,
                 "%s: %s: packed by the filter %d (%.*s), which this HDF5 does not have; "
                 "`h5repack -f GZIP=6` writes it in another way",
                 path, name, (int)filter, (int)sizeof filter_name - 1, filter_name);
        packers += filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32;
    }
    MR_CHECK(packers < 2, MR_ERR_FORMAT, "%s: %s: packed by %d filters, one upon the other", path,
             name, packers);
    *packed = packers > 0;
    return MR_OK;
}

/* Extents are believed only as far as the file holds bytes for them: every row is written. */
static mr_status check_stored(hid_t file, const mr_h5_table *table, const char *path,
                              const char *name)
{
    hsize_t file_bytes = 0, chunk[H5S_MAX_RANK];
    mr_status status = MR_OK;
    hid_t layout = H5I_INVALID_HID;
    bool packed = false;
    MR_H5(H5Fget_filesize(file, &file_bytes), MR_ERR_FORMAT, path, "its size");
    MR_H5(layout = H5Dget_create_plist(table->handle), MR_ERR_FORMAT, path, "%s: layout", name);
    if ((status = check_layout(layout, path, name, &packed)) != MR_OK) goto cleanup;
    const uint64_t far = (uint64_t)64 << 20, far_rows = (uint64_t)1 << 20;
    bool texts = table->class == H5T_STRING;
    uint64_t stored = H5Dget_storage_size(table->handle);
    uint64_t most = believable(stored, packed, texts, far);
    uint64_t columns = (uint64_t)table->columns, rows = (uint64_t)table->rows;
    bool many = rows > far_rows && rows > believable(stored, packed, texts, 0) / table->item_bytes;
    if (stored > file_bytes || many || columns > most / table->item_bytes || columns == 0 ||
        rows > most / (columns * table->item_bytes)) {
        status = mr_fail(MR_ERR_FORMAT,
                         "%s: %s: %" PRId64 " rows of %" PRId64 " do not fit the %" PRIu64
                         " bytes stored",
                         path, name, table->rows, table->columns, stored);
        goto cleanup;
    }
    if (H5Pget_layout(layout) != H5D_CHUNKED) goto cleanup;
    int dims;
    MR_H5(dims = H5Pget_chunk(layout, H5S_MAX_RANK, chunk), MR_ERR_FORMAT, path, "%s: layout",
          name);
    for (int i = 0; status == MR_OK && i < dims; i++) {
        most /= chunk[i] > 0 ? chunk[i] : 1;
        if (most < table->item_bytes)
            status =
                mr_fail(MR_ERR_FORMAT, "%s: %s: its chunks do not fit the %" PRIu64 " bytes stored",
                        path, name, stored);
    }
cleanup:
    if (layout >= 0) H5Pclose(layout);
    return status;
}

/* Opens a dataset of least to most dimensions. */
static mr_status open_table(hid_t file, const char *path, const char *name, int least, int most,
                            mr_h5_table *table)
{
    *table = (mr_h5_table){.handle = H5I_INVALID_HID};
    bool group;
    MR_CHECK(mr_h5_exists(file, name), MR_ERR_FORMAT, "%s: no dataset %s", path, name);
    MR_TRY(mr_h5_is_group(file, path, name, &group));
    MR_CHECK(!group, MR_ERR_FORMAT, "%s: %s: expected a dataset, found a group", path, name);
    mr_status status = MR_OK;
    hid_t type = H5I_INVALID_HID, space = H5I_INVALID_HID;
    hsize_t extents[H5S_MAX_RANK] = {0}, columns = 1;
    MR_H5(table->handle = H5Dopen2(file, name, H5P_DEFAULT), MR_ERR_FORMAT, path, "dataset %s",
          name);
    MR_H5(type = H5Dget_type(table->handle), MR_ERR_FORMAT, path, "%s: type", name);
    MR_H5(space = H5Dget_space(table->handle), MR_ERR_FORMAT, path, "%s: extents", name);
    int dims;
    MR_H5(dims = H5Sget_simple_extent_dims(space, extents, NULL), MR_ERR_FORMAT, path,
          "%s: extents", name);
    table->class = H5Tget_class(type);
    table->item_bytes = H5Tget_size(type);
    table->dims = dims;
    table->flat = dims == 1;
    bool known =
        table->class == H5T_INTEGER || table->class == H5T_FLOAT || table->class == H5T_STRING;
    if (dims < least || dims > most || !known || table->item_bytes == 0) {
        status = mr_fail(MR_ERR_FORMAT, "%s: %s: expected numbers or texts in %s%d dimension%s",
                         path, name, least < most ? "1 or " : "", most, most > 1 ? "s" : "");
        goto cleanup;
    }
    bool small = extents[0] <= INT64_MAX;
    for (int i = 0; i < dims; i++)
        table->extent[i] = extents[i];
    for (int i = 1; i < dims && small; i++) {
        hsize_t room = INT64_MAX / table->item_bytes / (columns > 0 ? columns : 1);
        small = extents[i] <= room;
        columns *= extents[i];
    }
    if (!small) {
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

mr_status mr_h5_table_open(hid_t file, const char *path, const char *name, mr_h5_table *table)
{
    return open_table(file, path, name, 1, 2, table);
}

mr_status mr_h5_table_open_as(hid_t file, const char *path, const char *name, int dims,
                              mr_h5_table *table)
{
    return open_table(file, path, name, dims, dims, table);
}

void mr_h5_table_close(mr_h5_table *table)
{
    if (table->handle >= 0) H5Dclose(table->handle);
    table->handle = H5I_INVALID_HID;
}

int64_t mr_h5_table_block(const mr_h5_table *table, size_t item_bytes)
{
    const size_t most = (size_t)1 << 20;
    size_t row = (size_t)table->columns * item_bytes;
    int64_t block = row > 0 && row < most ? (int64_t)(most / row) : 1;
    return block < table->rows || table->rows == 0 ? block : table->rows;
}

mr_status mr_h5_table_read(const mr_h5_table *table, const char *path, const char *name,
                           int64_t first, int64_t count, hid_t type, void *data)
{
    if (count == 0) return MR_OK;
    mr_status status = MR_OK;
    hid_t rows = H5I_INVALID_HID, block = H5I_INVALID_HID;
    const hsize_t start[MR_H5_DIMS] = {(hsize_t)first};
    hsize_t extents[MR_H5_DIMS] = {(hsize_t)count};
    for (int i = 1; i < table->dims; i++)
        extents[i] = table->extent[i];
    MR_H5(rows = H5Dget_space(table->handle), MR_ERR_FORMAT, path, "%s: extents", name);
    MR_H5(H5Sselect_hyperslab(rows, H5S_SELECT_SET, start, NULL, extents, NULL), MR_ERR_FORMAT,
          path, "%s: row %" PRId64, name, first);
    MR_H5(block = H5Screate_simple(table->dims, extents, NULL), MR_ERR_FORMAT, path, "%s: rows",
          name);
    MR_H5(H5Dread(table->handle, type, block, rows, H5P_DEFAULT, data), MR_ERR_FORMAT, path,
          "cannot read %s", name);
cleanup:
    if (block >= 0) H5Sclose(block);
    if (rows >= 0) H5Sclose(rows);
    return status;
}

/* Reads texts of any length one by one: each is stored, so that all are no longer than the file. */
static mr_status read_variable(const mr_h5_table *table, const char *path, const char *name,
                               hid_t type, mr_names *out)
{
    hsize_t left = 0;
    mr_status status = MR_OK;
    hid_t file = H5I_INVALID_HID;
    MR_H5(file = H5Iget_file_id(table->handle), MR_ERR_FORMAT, path, "%s", name);
    MR_H5(H5Fget_filesize(file, &left), MR_ERR_FORMAT, path, "its size");
    for (int64_t i = 0; status == MR_OK && i < table->rows; i++) {
        char *text = NULL;
        status = mr_h5_table_read(table, path, name, i, 1, type, &text);
        size_t length = text ? strlen(text) : 0;
        if (status == MR_OK && length > left)
            status = mr_fail(MR_ERR_FORMAT, "%s: %s: texts longer than the file", path, name);
        if (status == MR_OK) status = mr_names_add(out, text ? text : "");
        left -= length;
        if (text) H5free_memory(text);
    }
cleanup:
    if (file >= 0) H5Fclose(file);
    return status;
}

static mr_status read_fixed(const mr_h5_table *table, const char *path, const char *name,
                            hid_t type, mr_names *out)
{
    size_t cell = table->item_bytes + 1;
    int64_t block = mr_h5_table_block(table, cell);
    char *cells = mr_alloc_array(MR_MEM_OTHER, (size_t)block, cell);
    mr_status status = cells ? MR_OK : MR_ERR_MEMORY;
    for (int64_t row = 0; status == MR_OK && row < table->rows; row += block) {
        int64_t count = table->rows - row < block ? table->rows - row : block;
        status = mr_h5_table_read(table, path, name, row, count, type, cells);
        for (int64_t i = 0; status == MR_OK && i < count; i++)
            status = mr_names_add(out, cells + (size_t)i * cell);
    }
    mr_free(cells);
    return status;
}

mr_status mr_h5_table_texts(const mr_h5_table *table, const char *path, const char *name,
                            mr_names *out)
{
    hid_t stored = H5I_INVALID_HID, type = H5I_INVALID_HID;
    mr_status status = MR_OK;
    MR_H5(stored = H5Dget_type(table->handle), MR_ERR_FORMAT, path, "%s: type", name);
    status = mr_h5_text_type(stored, path, name, &type);
    if (status == MR_OK)
        status = H5Tis_variable_str(type) > 0 ? read_variable(table, path, name, type, out)
                                              : read_fixed(table, path, name, type, out);
cleanup:
    if (type >= 0) H5Tclose(type);
    if (stored >= 0) H5Tclose(stored);
    return status;
}
