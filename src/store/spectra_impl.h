#ifndef MR_STORE_SPECTRA_IMPL_H
#define MR_STORE_SPECTRA_IMPL_H

/** @file
 * What the writer and the reader of spectra share: the datasets of a layout, one by one. Private to
 * them. */

#include "base/text.h"
#include "store/h5.h"
#include "store/spectra_file.h"

/** A file that is read. */
struct mr_spectra_file {
    char *path;               /**< owned */
    hid_t file;               /**< owned */
    mr_texts texts;           /**< those of the layout; owned */
    mr_spectra_layout layout; /**< owns its columns, groups, and their layers */
    int64_t *step;            /**< [layout.snapshots]: those of snapshots first; owned */
    int64_t count;            /**< snapshots */
};

/** The value of a whole number that is not defined, and the step of no snapshot. */
enum { MR_SPECTRA_UNDEFINED = -1 };

/** How the values of a dataset are kept. */
typedef enum mr_spectra_kind {
    MR_SPECTRA_DOUBLE,
    MR_SPECTRA_INTEGER, /**< in memory doubles, NaN for what is -1 in the file */
    MR_SPECTRA_TEXT,    /**< of MR_SPECTRA_ROUTE bytes */
} mr_spectra_kind;

/** A dataset that has a row a snapshot. Borrows its texts. */
typedef struct mr_spectra_field {
    char name[MR_H5_PATH]; /**< from the root */
    mr_spectra_kind kind;
    int dims;
    hsize_t extent[MR_H5_DIMS]; /**< [dims]; the first is the room */
    int64_t items;              /**< of a row */
    size_t bytes;               /**< of a row */
    const char *unit, *definition;
} mr_spectra_field;

/** Returns how many such datasets a group has. Local. */
int64_t mr_spectra_fields(const mr_spectra_layout *layout, int64_t group);

/** Describes dataset `index` of a group; room is layout->snapshots. Local. */
void mr_spectra_field_of(const mr_spectra_layout *layout, int64_t group, int64_t index,
                         mr_spectra_field *out);

/** Returns where a row has the values of dataset `index` of its group. Local. */
void *mr_spectra_field_data(const mr_spectra_layout *layout, int64_t group, int64_t index,
                            const mr_spectra_row *row);

/** Describes /step. Local. */
void mr_spectra_step_field(const mr_spectra_layout *layout, mr_spectra_field *out);

/** Checks that a file can have a layout. Local. @return MR_OK, MR_ERR_ARG */
MR_NODISCARD mr_status mr_spectra_check_layout(const char *path, const mr_spectra_layout *layout);

/** Makes the type of a dataset's values, in the file and, but for MR_SPECTRA_INTEGER, in memory.
 * Local. @param[out] type  for H5Tclose; negative on failure */
MR_NODISCARD mr_status mr_spectra_type(const char *path, mr_spectra_kind kind, hid_t *type);

/** Opens a dataset and checks that it is as described. Local.
 * @return MR_OK, MR_ERR_FORMAT (message names it) */
MR_NODISCARD mr_status mr_spectra_open_field(hid_t file, const char *path,
                                             const mr_spectra_field *field, mr_h5_table *table);

/** Reads rows first..first+count-1 of a dataset into data, as they are kept in the file. Local.
 * @return MR_OK, MR_ERR_FORMAT, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_spectra_read_rows(const mr_spectra_file *file,
                                            const mr_spectra_field *field, int64_t first,
                                            int64_t count, void *data);

/** Makes a file without snapshots, with room for layout->snapshots, of a layout that was checked;
 * it is not on the disk yet. Local.
 * @param[out] handle  the file opened to be written; -1 on failure, and no file is there
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_spectra_make(const char *path, const mr_spectra_layout *layout,
                                       int *handle);

#endif
