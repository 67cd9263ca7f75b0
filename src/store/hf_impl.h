#ifndef MR_STORE_HF_IMPL_H
#define MR_STORE_HF_IMPL_H

/** @file
 * What the files of store/hf.h share: the open weights of a folder. */

#include "store/hf.h"

#include <jansson.h>

#define MR_HF_HEAD "lm_head.weight"

enum { MR_HF_NAME = 128 }; /**< bytes of a tensor's name that this program writes */

/** Where a tensor is. */
typedef struct mr_hf_place {
    const char *name; /**< borrowed from entry */
    const mr_safetensors *file;
    const mr_safetensors_entry *entry;
} mr_hf_place;

struct mr_hf {
    char *folder; /**< owned */
    bool partly;  /**< shards that are not sound are left out, files that were cut kept */
    int64_t n_files;
    char **file_names;      /**< owned, [n_files] ascending; NULL for the single file */
    mr_safetensors **files; /**< owned, [n_files] */
    int64_t count;
    mr_hf_place *places; /**< owned, [count] by name */
};

/** Tells whether a file of a folder exists. */
bool mr_hf_holds(const char *folder, const char *name);

/** Returns a configuration as the object of a config.json, NULL where memory is short; the caller
 * gives it back with json_decref. */
json_t *mr_hf_config_json(const mr_hf_config *config);

#endif
