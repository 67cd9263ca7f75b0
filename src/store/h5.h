#ifndef MR_STORE_H5_H
#define MR_STORE_H5_H

/** @file
 * What the writer and the reader of run logs share of HDF5: error reporting, property lists, and
 * checked access to attributes and to tables, the datasets whose first extent grows by a row at a
 * time. Files come from any tool, and may be made up: numbers of every width and texts of every
 * kind are read, in any layout within the file, at a cost that follows its size.
 *
 * HDF5 prints nothing itself once mr_h5_start was called; a failed call becomes a message by MR_H5.
 */

#include "store/names.h"

#include <hdf5.h>

#include <stdbool.h>
#include <stdint.h>

enum {
    MR_H5_PATH = 1024, /**< bytes of a path within a file with its terminating zero */
    MR_H5_DEPTH = 16,  /**< groups within groups: more is a loop */
    MR_H5_DIMS = 3,    /**< of a table, at most */
};

/** A dataset [rows], [rows, columns] or [rows, ...]. */
typedef struct mr_h5_table {
    hid_t handle; /**< owned; H5I_INVALID_HID while closed */
    int dims;
    hsize_t extent[MR_H5_DIMS]; /**< [dims] */
    bool flat;                  /**< one-dimensional; columns is then 1 */
    int64_t rows;               /**< extent that grows */
    int64_t columns;            /**< product of the other extents */
    H5T_class_t class;          /**< H5T_INTEGER, H5T_FLOAT, H5T_STRING */
    size_t item_bytes;          /**< of one element in the file */
} mr_h5_table;

/** Starts the library and silences its own printing; may be called again. Local. */
MR_NODISCARD mr_status mr_h5_start(void);

/** Records "path: <formatted>: <HDF5's innermost description>" and returns code, or where the
 * operating system refused something MR_ERR_IO with its reason, and MR_ERR_MEMORY where memory was
 * short: neither tells anything of the file. Local. */
mr_status mr_h5_fail(mr_status code, const char *path, const char *fmt, ...) MR_PRINTF(3, 4);

/** Takes a failed HDF5 call (a negative result) to the label cleanup with `status` set. */
#define MR_H5(call, code, path, ...)                                                               \
    do {                                                                                           \
        if ((call) < 0) {                                                                          \
            status = mr_h5_fail((code), (path), __VA_ARGS__);                                      \
            goto cleanup;                                                                          \
        }                                                                                          \
    } while (0)

/** What a file is opened for. */
typedef enum mr_h5_use {
    MR_H5_READ,
    MR_H5_IN_MEMORY, /**< to be written, in memory, and never written back */
    MR_H5_CREATE,    /**< to be written, on the disk */
} mr_h5_use;

/** Makes a file access list without file locks: sound files are only ever replaced whole, or have
 * values put into room that was made for them. Local.
 * @return the list, for H5Pclose, or a negative value */
hid_t mr_h5_access(mr_h5_use use);

/** Opens a file for reading, whatever the environment says of locks. Local.
 * @param[out] file  for H5Fclose; negative on failure
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY, MR_ERR_FORMAT (not HDF5, or damaged) */
MR_NODISCARD mr_status mr_h5_open(const char *path, hid_t *file);

/** Turns the recorded message "path: <why>" into "path: not <what>: <why>". Local.
 * @return MR_ERR_FORMAT */
mr_status mr_h5_unsound(const char *path, const char *what);

/** Tells whether an object is at an absolute path. Local. */
bool mr_h5_exists(hid_t file, const char *name);

/** Tells whether what is at an absolute path is a group. Local.
 * @return MR_OK, MR_ERR_FORMAT (nothing is there, or it has several names) */
MR_NODISCARD mr_status mr_h5_is_group(hid_t file, const char *path, const char *name, bool *group);

/** Puts one value of a type in place of an object's attribute of that name. Local.
 * @param file_type, type  in the file and at value
 * @return MR_OK, MR_ERR_IO (message names the attribute) */
MR_NODISCARD mr_status mr_h5_set_attribute(hid_t object, const char *path, const char *name,
                                           hid_t file_type, hid_t type, const void *value);

/** As mr_h5_set_attribute, of a text. Local. */
MR_NODISCARD mr_status mr_h5_set_text(hid_t object, const char *path, const char *name,
                                      const char *value);

/** Makes the type of texts of up to bytes-1 bytes, closed by zeros. Local.
 * @param[out] type  for H5Tclose; negative on failure */
MR_NODISCARD mr_status mr_h5_make_text_type(const char *path, size_t bytes, hid_t *type);

/** Reads the one value of an attribute of a file, group or dataset: a whole number, a number, or a
 * text, which is the caller's, for mr_free. Local.
 * @return MR_OK, MR_ERR_FORMAT (absent, or no such value; message names the attribute),
 *         MR_ERR_MEMORY @{ */
MR_NODISCARD mr_status mr_h5_int(hid_t object, const char *path, const char *name, int64_t *out);
MR_NODISCARD mr_status mr_h5_double(hid_t object, const char *path, const char *name, double *out);
MR_NODISCARD mr_status mr_h5_text(hid_t object, const char *path, const char *name, char **out);
/** @} */

/** Checks the attributes `format` and `format_version`. Local. @return MR_OK, MR_ERR_FORMAT */
MR_NODISCARD mr_status mr_h5_check_format(hid_t file, const char *path, const char *format,
                                          int64_t version);

/** Lists the members of a group, ascending by name, without links that stand for a path; an absent
 * group has none. Local.
 * @param[out] names  start from {0}; the caller frees it, also on failure */
MR_NODISCARD mr_status mr_h5_members(hid_t file, const char *path, const char *group,
                                     mr_names *names);

/** Opens a dataset and checks that its extents agree with the bytes stored for it, packed or not.
 * Local.
 * @param path       of the file, for messages
 * @param[out] table closed on failure
 * @return MR_OK, MR_ERR_FORMAT (message names path and dataset) */
MR_NODISCARD mr_status mr_h5_table_open(hid_t file, const char *path, const char *name,
                                        mr_h5_table *table);

/** As mr_h5_table_open, for one of so many dimensions, of 1 to MR_H5_DIMS. Local. */
MR_NODISCARD mr_status mr_h5_table_open_as(hid_t file, const char *path, const char *name, int dims,
                                           mr_h5_table *table);

/** Closes a table; closed ones are left. Local. */
void mr_h5_table_close(mr_h5_table *table);

/** Returns how many rows of so many bytes an item are read at once, at least 1. Local. */
int64_t mr_h5_table_block(const mr_h5_table *table, size_t item_bytes);

/** Reads rows first..first+count-1 as type into data [count, columns]. Local.
 * @return MR_OK, MR_ERR_FORMAT (a checksum fails) */
MR_NODISCARD mr_status mr_h5_table_read(const mr_h5_table *table, const char *path,
                                        const char *name, int64_t first, int64_t count, hid_t type,
                                        void *data);

/** Reads all of a table of texts. Local.
 * @param[out] out  start from {0}; the caller frees it, also on failure
 * @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_h5_table_texts(const mr_h5_table *table, const char *path,
                                         const char *name, mr_names *out);

#endif
