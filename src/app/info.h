#ifndef MR_APP_INFO_H
#define MR_APP_INFO_H

/** @file
 * What a file is and what it holds: recognised by its content, described as JSON, and that printed
 * for people. */

#include "base/text.h"

#include <jansson.h>

/** Kinds of files this program reads or writes. */
typedef enum mr_info_kind {
    MR_INFO_RUN_LOG,
    MR_INFO_SAFETENSORS,
    MR_INFO_INDEX,  /**< model.safetensors.index.json */
    MR_INFO_FOLDER, /**< config.json and weights */
    MR_INFO_MODEL,  /**< config.json alone */
    MR_INFO_RUNS,   /**< YAML of one or more runs */
} mr_info_kind;

/** Finds out what a file or folder is from its first bytes. Local.
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT ("path: not a file this program knows: ..."),
 *         MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_info_recognise(const char *path, mr_info_kind *kind);

/** Describes a file of any kind but MR_INFO_RUNS. Local.
 * @param config  of a run log: with its resolved configuration
 * @param[out] out  an object the caller gives back with json_decref; NULL on failure
 * @return MR_OK, what reading it returns, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_info_describe(const char *path, mr_info_kind kind, bool config,
                                        json_t **out);

/** As mr_info_describe, for a run log. Local. */
MR_NODISCARD mr_status mr_info_run_log(const char *path, bool config, json_t **out);

/** Puts a value into an object; a NULL value (no memory, or text that is not UTF-8) becomes null.
 * Local. */
void mr_info_put(json_t *object, const char *key, json_t *value);

/** Returns a number as JSON, null where it is not finite. Local. */
json_t *mr_info_number(double value);

/** Appends a description as text: values by lines, lists of objects as tables. Local. */
void mr_info_text(const json_t *description, mr_text *out);

#endif
