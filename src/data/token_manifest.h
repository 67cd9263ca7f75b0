#ifndef MR_DATA_TOKEN_MANIFEST_H
#define MR_DATA_TOKEN_MANIFEST_H

/** @file
 * What a folder of token shards says about itself: manifest.json, written last, so that a folder
 * that has one is whole.
 *
 * A shard X.bin is a file of tokens and nothing else, each a little-endian integer without sign, of
 * two bytes where the vocabulary has at most 65,536 ids, else of four. Where tokens are marked, the
 * highest bit of each tells that it is learned, and two bytes hold at most 32,768 ids. Beside it
 * stands X.idx, an mr_token_document of four little-endian uint32 for each document of X.bin, in
 * their order. Folders of version 1 have no X.idx, and all their tokens are learned.
 */

#include "base/file.h"
#include "base/hash.h"
#include "data/recipe.h"
#include "data/template.h"
#include "data/tokenizer.h"

#include <jansson.h>

#define MR_TOKEN_MANIFEST_FORMAT "mora tokens" /**< the field `format` of every manifest */

enum {
    MR_TOKEN_MANIFEST_VERSION = 2,
    MR_TOKEN_SHARD_NAME = 64, /**< bytes of a shard's file name with its terminating zero */
    MR_TOKEN_TEMPLATE_NAME = 256,
    MR_TOKEN_DOCUMENT_BYTES = 16, /**< of a document in X.idx */
};

/** What X.idx says of one document. */
typedef struct mr_token_document {
    uint32_t tokens, learned;
    uint32_t first_learned;  /**< place of the first learned token; `tokens` where there is none */
    uint32_t behind_learned; /**< place behind the last learned token; 0 where there is none */
} mr_token_document;

/** What a document is for. */
typedef enum mr_split { MR_SPLIT_TRAIN, MR_SPLIT_HELDOUT, MR_SPLITS } mr_split;

typedef struct mr_token_manifest_input {
    char *path; /**< as given; owned */
    mr_input_format format;
    int64_t bytes; /**< of the file as it is, compressed or not */
    char sha256[MR_HASH_TEXT];
    int64_t documents, tokens; /**< of both splits */
    int64_t errors;            /**< documents left out */
} mr_token_manifest_input;

typedef struct mr_token_manifest_shard {
    int64_t tokens, documents; /**< documents are 0 in version 1, which does not tell */
    mr_split split;
    char file[MR_TOKEN_SHARD_NAME]; /**< ends in .bin */
    char sha256[MR_HASH_TEXT];
    char index_sha256[MR_HASH_TEXT]; /**< of X.idx; "" in version 1 */
} mr_token_manifest_shard;

typedef struct mr_token_totals {
    int64_t documents;
    int64_t tokens;  /**< each document's, and what the template puts around them, as EOS */
    int64_t bytes;   /**< of the documents' text or records */
    int64_t learned; /**< tokens */
    int64_t none_learned, all_learned; /**< documents */
} mr_token_totals;

/** A manifest. Start from {0}; free with mr_token_manifest_free. */
typedef struct mr_token_manifest {
    char tokenizer[MR_TOKENIZER_NAME];
    char tokenizer_hash[MR_HASH_TEXT]; /**< "" for `bytes` */
    int32_t vocabulary, eos;
    int token_bytes; /**< 2 or 4 */
    int version; /**< of what was read: 1 or MR_TOKEN_MANIFEST_VERSION, the one that is written */
    char template_name[MR_TOKEN_TEMPLATE_NAME]; /**< "plain" for text with EOS behind */
    char template_hash[MR_HASH_TEXT];           /**< "" where it is no file */
    int32_t end;      /**< token that stands behind what is learned, as EOS; -1: none */
    bool end_learned; /**< wherever it stands so */
    bool marked;      /**< tokens say whether they are learned */
    mr_recipe recipe;
    int64_t errors[MR_FAULTS];
    mr_token_totals split[MR_SPLITS];
    mr_token_manifest_input *input; /**< [inputs], owned */
    int inputs;
    mr_token_manifest_shard *shard; /**< [shards], owned; in the order of the text */
    int64_t shards;
} mr_token_manifest;

/** Returns the name of a split ("train", "heldout"). Local. */
const char *mr_split_name(mr_split split);

/** Returns what of a text is learned, as manifests have it: "all", or "marked". Local. */
const char *mr_learned_name(bool marked);

/** Returns what X.idx says of a document. Local.
 * @param learned  [count] of its tokens; NULL where all are */
mr_token_document mr_token_document_of(const uint8_t *learned, int64_t count);

/** Adds a document to totals, but for its bytes. Local. */
void mr_token_totals_add(mr_token_totals *totals, mr_token_document document);

/** Writes the path of the X.idx that stands beside an X.bin. Local.
 * @return MR_OK, MR_ERR_IO (too long) */
MR_NODISCARD mr_status mr_token_index_path(char out[PATH_MAX], const char *shard);

/** Takes the identity of a tokenizer and of a template bound to it, NULL for plain text, and the
 * bytes of a token that follow. Local. */
void mr_token_manifest_set_origin(mr_token_manifest *manifest, const mr_tokenizer *tokenizer,
                                  const mr_template *template);

/** Checks that a tokenizer is the one a folder was prepared with: the same model, whatever its
 * file's name. Local. @return MR_OK, MR_ERR_CONFIG (message names both) */
MR_NODISCARD mr_status mr_token_manifest_check_tokenizer(const mr_token_manifest *manifest,
                                                         const char *folder,
                                                         const mr_tokenizer *tokenizer);

/** Returns the totals of a split, and the documents left out by kind of fault, as manifest.json and
 * what is printed of it have them; NULL where there is no memory. For the caller to own. Local. */
json_t *mr_token_totals_json(const mr_token_totals *split);
json_t *mr_token_errors_json(const mr_token_manifest *manifest);

/** Writes manifest.json to a folder. Local. @return MR_OK, MR_ERR_IO, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_token_manifest_write(const mr_token_manifest *manifest,
                                               const char *folder);

/** Reads manifest.json of a folder: every value is checked, totals against their parts; the shards
 * themselves are not looked at (data/token_shards.h). Local.
 * @param[out] out  freed by the caller, also on failure
 * @return MR_OK, MR_ERR_IO, MR_ERR_FORMAT (message names the file), MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_token_manifest_read(const char *folder, mr_token_manifest *out);

/** Tells whether two folders hold the same tokens: made of the same inputs, whatever their paths,
 * by the same tokenizer with the same settings. Local.
 * @return NULL, or what differs ("tokenizer", "inputs", ...), text of the program */
const char *mr_token_manifest_difference(const mr_token_manifest *a, const mr_token_manifest *b);

/** Computes what names the samples of a folder: a SHA-256 over what decides them and nothing else,
 * so that inputs given by another path, or shards of other names, are the same data. Of tokens that
 * are one stream, all of them learned, it is that of the text
 *
 *     mora samples 1
 *     TOKENIZER VOCABULARY EOS TOKEN_BYTES
 *     SPLIT TOKENS SHA-256        (a line a shard, in the order of the text)
 *
 * whatever the version; of marked tokens, and of documents, that of
 *
 *     mora samples 2
 *     TOKENIZER VOCABULARY EOS TOKEN_BYTES
 *     all|marked TEMPLATE
 *     SPLIT TOKENS SHA-256 DOCUMENTS SHA-256-OF-THE-INDEX
 *
 * where TOKENIZER and TEMPLATE are the SHA-256 of the file, or the name of what has none. The
 * number behind `samples` changes whenever the same shards are cut into other sequences
 * (data/token_shards.h). Local.
 * @param documents  samples are documents: their borders decide, too
 * @return MR_OK, MR_ERR_MEMORY */
MR_NODISCARD mr_status mr_token_manifest_hash(const mr_token_manifest *manifest, bool documents,
                                              char out[MR_HASH_TEXT]);

/** Frees what a manifest owns and empties it. Local. */
void mr_token_manifest_free(mr_token_manifest *manifest);

#endif
