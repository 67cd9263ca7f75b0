#ifndef MR_APP_DATA_MANIFEST_H
#define MR_APP_DATA_MANIFEST_H

/** @file
 * What a folder of token shards says about itself, for a reader. */

#include "data/token_manifest.h"

#include <jansson.h>

/** Returns a manifest as JSON; NULL where memory is short. Local. */
json_t *mr_manifest_json(const mr_token_manifest *manifest);

/** Prints what made the tokens: the tokenizer, and the template where there is one. Local. */
void mr_manifest_print_origin(const mr_token_manifest *manifest);

/** Prints a row of numbers for each split. Local. */
void mr_manifest_print_totals(const mr_token_manifest *manifest);

/** Prints all of it. Local. @param verified  whether every shard was compared with its SHA-256 */
void mr_manifest_print(const char *folder, const mr_token_manifest *manifest, bool verified);

#endif
