#ifndef MR_APP_INFO_H
#define MR_APP_INFO_H

/** @file
 * What a file is and what it holds: recognised by its content, described as JSON. */

#include "comm/comm.h"

#include <jansson.h>

/** Kinds of files this program reads or writes. */
typedef enum mr_info_kind {
    MR_INFO_RUN_LOG,
    MR_INFO_SPECTRA, /**< of a run's updates */
    MR_INFO_SAFETENSORS,
    MR_INFO_INDEX,       /**< model.safetensors.index.json */
    MR_INFO_FOLDER,      /**< config.json and weights */
    MR_INFO_MODEL,       /**< config.json alone */
    MR_INFO_MARK,        /**< mora.json of a model folder */
    MR_INFO_ROWS,        /**< of evaluated items */
    MR_INFO_TEMPLATE,    /**< YAML of how records become samples */
    MR_INFO_SHARDS,      /**< folder that `mora data prepare` wrote */
    MR_INFO_CHECKPOINT,  /**< folder of one checkpoint */
    MR_INFO_CHECKPOINTS, /**< folder of a run's checkpoints */
    MR_INFO_RUNS,        /**< YAML of one or more runs */
} mr_info_kind;

/** Finds out what a file or folder is from its first bytes. Local.
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT ("path: not a file this program knows: ..."),
 *         MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_info_recognise(const char *path, mr_info_kind *kind);

/** Recognises what a folder without config.json is: by the `format` of its manifest.json, or by the
 * checkpoints in it. Local.
 * @param[out] known  false with MR_OK where it is none of them
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (message names the manifest), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_info_recognise_folder(const char *path, mr_info_kind *kind, bool *known);

/** Describes a file or folder of a kind before MR_INFO_CHECKPOINT. Local.
 * @param config  of a run log or a saved model: with its resolved configuration
 * @param[out] out  an object the caller gives back with json_decref; NULL on failure
 * @return MR_OK, what reading it returns, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_info_describe(const char *path, mr_info_kind kind, bool config,
                                        json_t **out);

/** As mr_info_describe, for spectra: what they are of, and of the last snapshot a table a measure.
 * Local. */
MR_NODISCARD mr_status mr_info_spectra(const char *path, json_t **out);

/** As mr_info_describe, for a run log, and the spectra of its run where they are beside it. Local.
 */
MR_NODISCARD mr_status mr_info_run_log(const char *path, bool config, json_t **out);

/** Adds what rows of evaluated items say: the model, what it was asked, and where a set is complete
 * its scores. Local. @return as mr_row_file_read */
MR_NODISCARD mr_status mr_info_rows(const char *path, json_t *object);

/** Appends the scores of groups of items that a file of rows ends with, to an array. Local.
 * @return as mr_row_file_read */
MR_NODISCARD mr_status mr_info_groups(const char *path, json_t **list);

/** As mr_info_describe, for a folder of token shards: its manifest and the sizes of its shards are
 * checked, the tokens are not read. Local. */
MR_NODISCARD mr_status mr_info_shards(const char *path, json_t **out);

/** Describes one checkpoint after testing all of it. Collective.
 * @param config  with the configuration it was saved under
 * @param[out] out  the same on every rank, given back with json_decref; NULL on failure
 * @return as mr_checkpoint_open and mr_state_config; the same on every rank */
MR_NODISCARD mr_status mr_info_checkpoint(const mr_comm *comm, const char *path, bool config,
                                          json_t **out);

/** Lists the checkpoints of a run, the latest first, after testing all of each: a damaged one is
 * no failure, what is wrong with it stands in the list. Collective.
 * @param[out] out  the same on every rank, given back with json_decref; NULL on failure
 * @return MR_OK, MR_ERR_IO (of the folder itself), MR_ERR_MEMORY; the same on every rank */
MR_NODISCARD mr_status mr_info_checkpoints(const mr_comm *comm, const char *path, json_t **out);

/** Describes the devices that this process may compute on, and the libraries that do. Local.
 * @param[out] out  given back with json_decref; NULL on failure
 * @return MR_OK, MR_ERR_ARG (none, or not in this build: the message says what to do) */
MR_NODISCARD mr_status mr_info_devices(json_t **out);

#endif
