#ifndef MR_STORE_SPECTRA_FILE_H
#define MR_STORE_SPECTRA_FILE_H

/** @file
 * Spectra of the updates of a model's linears, one HDF5 file that gains a row a snapshot, written
 * by one process (rank 0).
 *
 * The structure of the file is written once, with room for a number of snapshots. An append puts
 * values into that room and, once they are on the disk, the step's number, by which the row counts:
 * nothing that HDF5 reads to find its way ever changes. So whoever opens the path at any time, in
 * the middle of an append or after a kill -9, by any tool, finds a sound file, never locked, whose
 * counted rows are whole. Where the room is used up the file is copied into a larger one beside,
 * which is renamed.
 *
 *     attributes                    format, format_version, run, method, update, r, threshold,
 *                                   projections, columns (names, separated by commas)
 *     /step                         [S] int64, ascending; -1: room of no snapshot, whose values
 *                                   mean nothing
 *     /<projection>/layer           [L] int64; the group's attributes rows and cols are the shape
 * of its matrices
 *     /<projection>/sigma           [S, L, values] singular values, descending
 *     /<projection>/<column>        [S, L] a measure, double or int64
 *     /<projection>/route           [S, L] text: how the values were computed
 *     /<projection>/cosines_left    [S, L, k], where k > 0
 *     /<projection>/cosines_right   [S, L, k]
 *
 * Every dataset has attributes unit, definition and, of numbers, undefined: the value of what is
 * not defined, NaN or -1.
 */

#include "base/status.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#define MR_SPECTRA_FORMAT "mora-spectra" /**< the attribute `format` */
enum {
    MR_SPECTRA_VERSION = 1, /**< the attribute `format_version` */
    MR_SPECTRA_ROUTE = 96,  /**< bytes of a route's text with its terminating zero */
};

/** A measure, of which every matrix has one value a snapshot. Borrows its texts. */
typedef struct mr_spectra_column {
    const char *name, *unit, *definition;
    bool integer; /**< kept as whole numbers */
} mr_spectra_column;

/** The matrices of a projection. Borrows name and layers. */
typedef struct mr_spectra_group {
    const char *projection;
    int64_t rows, cols; /**< shape of each matrix */
    int64_t layers;
    const int64_t *layer; /**< [layers] */
    int64_t values;       /**< singular values kept of each, 1..min(rows, cols) */
    int64_t cosines;      /**< of principal angles, 0..min(rows, cols); 0: none are kept */
} mr_spectra_group;

/** What a file is of and what it holds. Borrows all it points to. */
typedef struct mr_spectra_layout {
    const char *run, *method;
    const char *update; /**< which update: what is subtracted from what, and when */
    int64_t r;          /**< 0: the method has none */
    double threshold;   /**< above which singular values are counted */
    int64_t columns;
    const mr_spectra_column *column; /**< [columns] */
    int64_t groups;
    const mr_spectra_group *group; /**< [groups] */
    int64_t snapshots;             /**< to be expected in all; 0: unknown. Room, no limit */
} mr_spectra_layout;

/** A group's part of a snapshot. Start from {0}; mr_spectra_row_free. */
typedef struct mr_spectra_row {
    double *sigma;                        /**< [layers, values] */
    double *column;                       /**< [columns, layers]; NaN: not defined */
    double *cosines_left, *cosines_right; /**< [layers, cosines] */
    char (*route)[MR_SPECTRA_ROUTE];      /**< [layers], zero-terminated */
} mr_spectra_row;

/** Makes the arrays of a row, all zeros. Local. @return MR_OK, MR_ERR_MEMORY (nothing is held) */
MR_NODISCARD mr_status mr_spectra_row_make(const mr_spectra_layout *layout, int64_t group,
                                           mr_spectra_row *out);

/** Frees the arrays of a row and sets it to {0}. Local. */
void mr_spectra_row_free(mr_spectra_row *row);

/** Writes the path of the spectra of a run: of its log `<run>.h5`, `<run>.spectra.h5`. Local.
 * @return MR_OK, MR_ERR_IO (too long) */
MR_NODISCARD mr_status mr_spectra_file_path(const char *log, char out[PATH_MAX]);

/** Returns the bytes that a snapshot takes in the file. Local. */
double mr_spectra_file_row_bytes(const mr_spectra_layout *layout);

/** Makes a file without snapshots, whole or not at all; what stands at the path is kept as
 * `<path>.previous.N`. Local.
 * @return MR_OK, MR_ERR_ARG (names or extents that no file can have), MR_ERR_IO (what stood at the
 *         path stands there, or is kept so), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_spectra_file_create(const char *path, const mr_spectra_layout *layout);

/** Appends a snapshot and has it on the disk. Local.
 * @param layout  that of the file
 * @param step    greater than that of the last snapshot
 * @param rows    [layout->groups]
 * @return MR_OK, MR_ERR_ARG (step), MR_ERR_IO (what the file held it still does), MR_ERR_FORMAT
 * (not sound, or of another layout), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_spectra_file_append(const char *path, const mr_spectra_layout *layout,
                                              int64_t step, const mr_spectra_row *rows);

/** Makes the file at a path one to go on with behind a step: drops the snapshots behind it, so that
 * they can be appended again, or makes a new file where there is none. One that is not sound, or of
 * another layout, is kept as `<path>.previous.N`, with a warning that tells why. Local.
 * @return MR_OK, MR_ERR_ARG, MR_ERR_IO (also: it cannot be read now), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_spectra_file_resume(const char *path, const mr_spectra_layout *layout,
                                              int64_t step);

/** Gives back the room that no snapshot uses, once no more are to come soon. Local.
 * @return MR_OK, MR_ERR_IO (what the file held it still does), MR_ERR_FORMAT (not sound),
 *         MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_spectra_file_trim(const char *path);

/** A file that is read, as it was when it was opened. */
typedef struct mr_spectra_file mr_spectra_file;

/** Tells whether a file is one of spectra; of one that HDF5 cannot open, whether its name says so.
 * Local. */
bool mr_spectra_file_is(const char *path);

/** Opens a file without locking it. Local.
 * @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_IO (it cannot be read now), MR_ERR_FORMAT ("path: not sound spectra:
 *         <why>"), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_spectra_file_open(const char *path, mr_spectra_file **out);

/** Closes *file, frees it and sets it to NULL; NULL is allowed. Local. */
void mr_spectra_file_close(mr_spectra_file **file);

/** Returns what a file holds, valid until it is closed; its `snapshots` is the room there is.
 * Local.
 */
const mr_spectra_layout *mr_spectra_file_layout(const mr_spectra_file *file);

/** Returns the steps of the snapshots [*count], ascending, valid until the file is closed. Local.
 */
const int64_t *mr_spectra_file_steps(const mr_spectra_file *file, int64_t *count);

/** Reads a group's part of a snapshot into a row that mr_spectra_row_make made. Local.
 * @param snapshot  0..count-1
 * @return MR_OK, MR_ERR_FORMAT */
MR_NODISCARD mr_status mr_spectra_file_read(const mr_spectra_file *file, int64_t snapshot,
                                            int64_t group, mr_spectra_row *row);

/** Checks that a file holds what a layout says, whatever its room. Local.
 * @return MR_OK, MR_ERR_FORMAT (message names the first difference) */
MR_NODISCARD mr_status mr_spectra_file_check(const mr_spectra_file *file,
                                             const mr_spectra_layout *layout);

#endif
