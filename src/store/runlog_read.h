#ifndef MR_STORE_RUNLOG_READ_H
#define MR_STORE_RUNLOG_READ_H

/** @file
 * Reading run logs, finished ones and those still being written (store/runlog.h says what they
 * hold). An open log shows the state of its last flush before the opening.
 */

#include "store/names.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct mr_runlog_reader mr_runlog_reader;

/** Opens a log without locking it. Local.
 * @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_IO (it cannot be read now), MR_ERR_FORMAT ("path: not a sound run log:
 *         <why>"), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_runlog_open(const char *path, mr_runlog_reader **out);

/** Closes *reader, frees it and sets it to NULL; NULL is allowed. Local. */
void mr_runlog_close_reader(mr_runlog_reader **reader);

/** Reads an attribute of the file. Local. The text is the caller's, for mr_free.
 * @return MR_OK, MR_ERR_FORMAT (absent, or of another kind; message names it), MR_ERR_MEMORY @{ */
MR_NODISCARD mr_status mr_runlog_get_text(const mr_runlog_reader *reader, const char *name,
                                          char **out);
MR_NODISCARD mr_status mr_runlog_get_int(const mr_runlog_reader *reader, const char *name,
                                         int64_t *out);
MR_NODISCARD mr_status mr_runlog_get_double(const mr_runlog_reader *reader, const char *name,
                                            double *out);
/** @} */

/** Tells whether the file has an attribute. Local. */
bool mr_runlog_has_attribute(const mr_runlog_reader *reader, const char *name);

/** Tells whether a group or dataset is at an absolute path ("/train/loss"). Local. */
bool mr_runlog_has(const mr_runlog_reader *reader, const char *path);

/** Lists the members of a group ("/eval"), ascending; an absent group has none. Local.
 * @param[out] names  overwritten; for mr_names_free */
MR_NODISCARD mr_status mr_runlog_list(const mr_runlog_reader *reader, const char *group,
                                      mr_names *names);

/** Lists the scores of an evaluation: the members of /eval/<name> but step and items. Local.
 * @param[out] names  overwritten; for mr_names_free */
MR_NODISCARD mr_status mr_runlog_scores(const mr_runlog_reader *reader, const char *name,
                                        mr_names *names);

/** What a log says of a set, or of a score of it. */
typedef struct mr_runlog_about {
    char kind[64], part[64], primary[64], unit[64]; /**< "" where the log does not say */
    char item[128];                                 /**< what the record of an item is; likewise */
    /** As of mr_runlog_set, likewise. @{ */
    char set[128], source[256], rules[256], items_hash[80], rows[512], data[512];
    int64_t version;
    /** @} */
    bool lower_is_better;
    bool told; /**< the log says it: older ones do not */
} mr_runlog_about;

/** Reads what a log says of /eval/<set>, and where score is not NULL of that score. Local.
 * @return MR_OK, MR_ERR_FORMAT (attributes of another kind; message names them) */
MR_NODISCARD mr_status mr_runlog_tells(const mr_runlog_reader *reader, const char *set,
                                       const char *score, mr_runlog_about *out);

/** Reads a one-dimensional dataset of numbers as doubles. Local.
 * @param[out] values  [*count], the caller's, for mr_free
 * @return MR_OK, MR_ERR_FORMAT (absent, damaged, or not such a dataset; message names path and
 *         dataset), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_runlog_series(const mr_runlog_reader *reader, const char *dataset,
                                        double **values, int64_t *count);

/** Reads a two-dimensional dataset of numbers as doubles. Local.
 * @param[out] values  [*rows, *columns], the caller's, for mr_free
 * @return as mr_runlog_series */
MR_NODISCARD mr_status mr_runlog_matrix(const mr_runlog_reader *reader, const char *dataset,
                                        double **values, int64_t *rows, int64_t *columns);

/** Reads a one-dimensional dataset of texts ("/events/kind"). Local.
 * @param[out] texts  overwritten; for mr_names_free
 * @return as mr_runlog_series */
MR_NODISCARD mr_status mr_runlog_texts(const mr_runlog_reader *reader, const char *dataset,
                                       mr_names *texts);

#endif
