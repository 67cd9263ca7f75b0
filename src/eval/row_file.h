#ifndef MR_EVAL_ROW_FILE_H
#define MR_EVAL_ROW_FILE_H

/** @file
 * The file of an evaluation's rows: JSON lines, of each set what was asked of which model, a row an
 * item as it comes, and the scores. What is there already, of an evaluation that was broken off, is
 * gone through first, and what is half a line at its end is cut off. Rank 0's alone; all Local. */

#include "base/status.h"

#include <jansson.h>

#include <stdbool.h>

/** A file being gone on with. */
typedef struct mr_row_file mr_row_file;

/** Tells whether the first bytes of a file are those of one. Local. */
bool mr_row_file_is(const char *head, size_t bytes);

/** Opens or makes a file, and keeps others from writing to it.
 * @param[out] out  for mr_row_file_close; NULL on failure
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_row_file_open(const char *path, mr_row_file **out);

/** Returns the line that a file begins with, for json_decref; NULL where it is empty, or that is
 * none. */
json_t *mr_row_file_head(const mr_row_file *file);

/** Writes the line that a set begins with, or finds it where it is expected.
 * @return MR_OK, MR_ERR_FORMAT (another line is there: the file is of another evaluation; message
 * tells the first key that differs), MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_row_file_begin(mr_row_file *file, const json_t *head);

/** Gives the next row that is there; NULL: there are no more of this set. For json_decref.
 * @return MR_OK, MR_ERR_FORMAT */
MR_NODISCARD mr_status mr_row_file_next(mr_row_file *file, json_t **row);

/** Records that the row given last does not fit. @return status, its message with the place */
mr_status mr_row_file_fail(const mr_row_file *file, mr_status status);

/** Appends a row. @return MR_OK, MR_ERR_FORMAT (lines of further sets are there), MR_ERR_IO,
 * MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_row_file_add(mr_row_file *file, const json_t *row);

/** Writes the scores that a set ends with, unless they are there. @return as mr_row_file_add */
MR_NODISCARD mr_status mr_row_file_end(mr_row_file *file, const json_t *scores);

/** Reads all of a file, to look at it: a list of objects, one a set, each with the `head`, the
 * `rows` and, where it came to its end, the `scores` of the file.
 * @param[out] out  for json_decref; NULL on failure
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (message "path:line: ..."), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_row_file_read(const char *path, json_t **out);

/** Syncs and closes *file and sets it to NULL; NULL is allowed. @return MR_OK, MR_ERR_IO */
MR_NODISCARD mr_status mr_row_file_close(mr_row_file **file);

#endif
