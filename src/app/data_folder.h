#ifndef MR_APP_DATA_FOLDER_H
#define MR_APP_DATA_FOLDER_H

/** @file
 * What a folder of token shards holds, for a reader. */

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

/** What to show. */
typedef struct mr_data_folder {
    const char *path;
    const char *tokenizer; /**< as mr_tokenizer_create; NULL: samples are ids, if it takes a file */
    int64_t items;         /**< samples of each split */
    int64_t seq_len;       /**< tokens of a sample that are shown; -1: the usual ones */
    bool verify;           /**< read all of it and compare it with what the manifest says */
    bool json;             /**< as one object */
} mr_data_folder;

/** Prints what a folder says of itself, and samples spread over each split: documents with what is
 * learned marked, where tokens say that, else sequences of all the text. Local.
 * @return MR_OK, as mr_token_shards_open, mr_token_shards_verify and mr_tokenizer_create */
MR_NODISCARD mr_status mr_data_show_folder(const mr_data_folder *what);

#endif
