#ifndef MR_STORE_RUNLOG_H
#define MR_STORE_RUNLOG_H

/** @file
 * The record of a run, one HDF5 file, written by one process (rank 0).
 *
 * The file is kept in memory; a flush writes its image beside the path and renames it. So whoever
 * opens the path at any time, also after a kill -9, finds a whole file as of the last flush, never
 * locked. Every dataset is chunked, extendible and carries Fletcher32
 * checksums; of the metadata, what HDF5 1.8 checksums: all but the indexes of chunks.
 *
 *     attributes                          format, format_version, and what the caller sets
 *     /train/{step,loss,lr,grad_norm,tokens,seconds}        [steps]
 *     /eval/<name>/{step,<score>...,items}                  [evaluations], items [.., n_items],
 *                                                           with attributes (mr_runlog_describe)
 *     /events/{step,seconds,kind,text}                      [events]
 *
 * A log must be closed before MPI ends, with which HDF5 itself ends.
 */

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Bytes of an event's kind and text with their terminating zero; longer ones are cut. */
enum { MR_RUNLOG_KIND = 32, MR_RUNLOG_TEXT = 1024 };

#define MR_RUNLOG_FORMAT "mora-run-log" /**< the attribute `format` of every log */
enum { MR_RUNLOG_VERSION = 1 };         /**< the attribute `format_version` */

typedef struct mr_runlog mr_runlog;

/** One optimizer step. */
typedef struct mr_runlog_step {
    int64_t step;
    double loss; /**< nats a scored token, of the whole global batch */
    double lr;
    double grad_norm; /**< before clipping */
    int64_t tokens;   /**< of the step, over all ranks */
    double seconds;   /**< of the step */
} mr_runlog_step;

/** Tells whether the first bytes of a file are those of a log, or of another file of its container.
 * Local. */
bool mr_runlog_is(const char *head, size_t bytes);

/** Starts a log in memory; what stands at path is replaced at the first flush. Local.
 * @param[out] out  set on MR_OK, else NULL
 * @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_runlog_create(const char *path, mr_runlog **out);

/** Turns the recorded message "path: <why>" into "path: not a sound run log: <why>", for its
 * readers. Local. @return MR_ERR_FORMAT */
mr_status mr_runlog_unsound(const char *path);

/** Loads a log to go on with it, whatever tool wrote the file, after reading all of it. Local.
 * @return MR_OK, MR_ERR_IO (it cannot be read now), MR_ERR_FORMAT ("path: not a sound run log:
 *         <why>"), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_runlog_reopen(const char *path, mr_runlog **out);

/** Drops what was recorded after a step: in every group that has a dataset `step`, the rows behind
 * the last one whose step is not greater. /events keeps its rows: they are history. Local.
 * @param evaluated  false: below /eval the rows of the step itself go too, as it is to be evaluated
 */
MR_NODISCARD mr_status mr_runlog_rewind(mr_runlog *log, int64_t step, bool evaluated);

/** Sets an attribute of the file, in place of one of that name. Local. @{ */
MR_NODISCARD mr_status mr_runlog_set_text(mr_runlog *log, const char *name, const char *value);
MR_NODISCARD mr_status mr_runlog_set_int(mr_runlog *log, const char *name, int64_t value);
MR_NODISCARD mr_status mr_runlog_set_double(mr_runlog *log, const char *name, double value);
/** @} */

/** Appends a row to /train. Local. */
MR_NODISCARD mr_status mr_runlog_train(mr_runlog *log, const mr_runlog_step *row);

/** What a score is, beside its numbers. */
typedef struct mr_runlog_score {
    const char *name, *unit;
    bool lower_is_better;
} mr_runlog_score;

/** What a set of evaluations is, beside its numbers. Borrows its texts; but for kind and item, what
 * is NULL or 0 is not told. */
typedef struct mr_runlog_set {
    const char *kind;       /**< how it is scored */
    const char *part;       /**< which part of the data */
    const char *item;       /**< what the record of an item is */
    const char *set;        /**< name of the published evaluation */
    int64_t version;        /**< of it */
    const char *source;     /**< whose rules it is scored by */
    const char *rules;      /**< these, with their versions */
    const char *data;       /**< folder it is read from */
    const char *items_hash; /**< of what its items are */
    const char *rows;       /**< file of a row an item, beside the log */
    int scores;
    const mr_runlog_score *score; /**< [scores]; the first is what runs are compared by */
} mr_runlog_set;

/** Describes /eval/<name>, which has been evaluated: attributes of the group under the names of
 * mr_runlog_set, and primary; unit and lower_is_better of each score. Local. @return MR_OK,
 * MR_ERR_IO */
MR_NODISCARD mr_status mr_runlog_describe(mr_runlog *log, const char *name,
                                          const mr_runlog_set *about);

/** Appends an evaluation to /eval/<name>. Local.
 *
 * Every evaluation of a name has the same scores and the same n_items.
 * @param score_names  [n_scores], none of them "step" or "items"
 * @param scores       [n_scores]
 * @param items        [n_items], one record an item; may be NULL where n_items is 0
 * @return MR_OK, MR_ERR_ARG (names, or another set of scores than before), MR_ERR_IO */
MR_NODISCARD mr_status mr_runlog_eval(mr_runlog *log, const char *name, int64_t step,
                                      const char *const *score_names, const double *scores,
                                      int64_t n_scores, const float *items, int64_t n_items);

/** Appends to /events what happened at a step; its seconds count from the log's creation, without
 * the time between a stop and a reopening. Local. */
MR_NODISCARD mr_status mr_runlog_event(mr_runlog *log, int64_t step, const char *kind,
                                       const char *text);

/** Tells whether a flush without force would write now. Local. */
bool mr_runlog_due(const mr_runlog *log);

/** Makes the file at the path current; a folder that was taken away since it was written is made
 * again, and what others put in its way is put aside. Without force it does so at most once a
 * second, and not before 50 times the duration of the last flush have passed, so at most 2 % of the
 * time. Local.
 * @return MR_OK, MR_ERR_IO (what stood at the path still does), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_runlog_flush(mr_runlog *log, bool force);

/** Flushes by force, frees *log and sets it to NULL, also on failure; NULL is allowed. Local. */
MR_NODISCARD mr_status mr_runlog_close(mr_runlog **log);

/** Frees *log without writing and sets it to NULL; NULL is allowed. Local. */
void mr_runlog_abandon(mr_runlog **log);

#endif
